//! Where every Service stands, for whoever asks over HTTP (Reads memory alone).

use evenkeel_core::ids::GroupKey;

use super::{Reconciler, lock};
use crate::{
    metrics::State,
    publish::patch::current_ingress,
    view::{
        services::{addresses, open_ports},
        standing::{Standing, Standings},
    },
    watch::services::reference,
};

impl Reconciler {
    /// Where every Service stands that this process has to do with.
    pub(crate) fn standings(&self) -> Standings {
        let (services, census) = (self.services(), lock(&self.census));
        let mut all: Vec<_> = services
            .all()
            .map(|(service, group)| {
                let reference = reference(service);
                let known = census.standing(&reference.uid);
                let targets = known.and_then(|(name, ..)| census.targets_of(name, group));
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
                    trouble: census.trouble(&reference.uid),
                    uid: reference.uid.to_string(),
                }
            })
            .collect();
        drop((services, census));
        all.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        Standings {
            cluster: self.cluster.uid.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            services: all,
        }
    }
}
