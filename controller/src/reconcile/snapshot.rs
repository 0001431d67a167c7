//! Where every Service stands, for whoever asks over HTTP (Reads memory; of some targets, the clouds).
//!
//! Nothing tells the controller that a target's health changes, and to ask for that all the time is not worth it. So the
//! health of what somebody looks at is read when it is looked at: of the ill first, and not of too many at once.

use std::sync::Arc;

use evenkeel_core::{
    endpoints::EndpointSet,
    engine::{Ask, Request},
    ids::{GroupKey, ProviderName},
    problem::Problems,
};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Service;

use super::{Reconciler, lock};
use crate::{
    metrics::State,
    publish::patch::current_ingress,
    version::VERSION,
    view::{
        services::{addresses, open_ports},
        standing::{NodesOf, Scope, Standing, Standings},
    },
    watch::services::reference,
};

/// How many groups are looked at for one answer.
const LOOKS: usize = 64;

/// How many of them at a time.
const AT_A_TIME: usize = 8;

impl Reconciler {
    /// Where every Service of a scope stands that this process has to do with.
    pub(crate) async fn standings(&self, scope: &Scope) -> Standings {
        let services: Vec<_> = self
            .services()
            .all()
            .filter(|(service, _)| scope.holds(&service.metadata))
            .map(|(service, group)| (service.clone(), group.clone()))
            .collect();
        self.look_at_targets(&services).await;
        let census = lock(&self.census);
        let mut all: Vec<_> = services
            .iter()
            .map(|(service, group)| {
                let reference = reference(service);
                let known = census.standing(&reference.uid);
                let targets = known.and_then(|(name, ..)| census.targets_of(name, group));
                let pools = known.map(|(name, ..)| census.pools_of(name, group));
                let state = known.map_or(State::Claimed, |(_, state, _)| *state);
                Standing {
                    namespace: reference.key.namespace.to_string(),
                    name: reference.key.name.to_string(),
                    provider: known.map_or_else(String::new, |(name, ..)| name.to_string()),
                    state: state.as_str().to_owned(),
                    since: known.and_then(|(.., since)| *since),
                    group: match group {
                        GroupKey::Shared { name, .. } => Some(name.to_string()),
                        GroupKey::Service(_) => None,
                    },
                    addresses: addresses(current_ingress(service)),
                    ports: open_ports(current_ingress(service)),
                    targets,
                    pools: pools.unwrap_or_default(),
                    trouble: census.trouble(&reference.uid),
                    uid: reference.uid.to_string(),
                }
            })
            .collect();
        drop(census);
        all.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        Standings {
            cluster: self.cluster.uid.to_string(),
            version: VERSION.to_owned(),
            services: all,
            nodes: self
                .providers
                .keys()
                .map(|name| NodesOf::of(name, &self.nodes().set(name)))
                .collect(),
        }
    }

    /// Reads the health of targets anew, where some is known.
    async fn look_at_targets(&self, services: &[(Arc<Service>, GroupKey)]) {
        let mut looks = Vec::new();
        {
            let mut census = lock(&self.census);
            if !census.may_look(self.clock.instant()) {
                return;
            }
            for (service, group) in services {
                let uid = reference(service).uid;
                let Some((name, ..)) = census.standing(&uid) else {
                    continue;
                };
                if let Some(known) = census.targets_of(name, group) {
                    let well = known.total > 0 && known.healthy == known.total;
                    looks.push((well, name.clone(), group.clone()));
                }
            }
        }
        looks.sort();
        looks.dedup();
        looks.truncate(LOOKS);
        futures::stream::iter(looks)
            .for_each_concurrent(AT_A_TIME, |(_, name, group)| async move {
                self.look_at(&name, group).await;
            })
            .await;
    }

    async fn look_at(&self, name: &ProviderName, key: GroupKey) {
        let Some(provider) = self.providers.get(name) else {
            return;
        };
        let request = Request {
            key,
            // Nothing is asked but what is there.
            ask: Ask::Keep(Problems::none()),
            nodes: self.nodes().set(name),
            endpoints: Arc::new(EndpointSet::unknown()),
            approval: None,
            paused: true,
            look: true,
            ticket: self.ticket.clone(),
            now: self.clock.now(),
        };
        let looked = provider.engine.rehearse(&request).await;
        let result = looked
            .as_ref()
            .map_or_else(|error| error.class.as_str(), |_| "done");
        self.metrics.looked(name.as_str(), result);
        if let Ok(rehearsal) = looked
            && let Some(targets) = rehearsal.published.targets
        {
            let mut census = lock(&self.census);
            // What was given back meanwhile has none any more.
            if census.targets_of(name, &request.key).is_some() {
                census.targets(name, &request.key, Some(targets));
                census.pools(name, &request.key, &rehearsal.published.pools);
            }
        }
    }
}
