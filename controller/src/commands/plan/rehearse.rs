//! One group after another: what it asks, and what its provider foretells (Reads).

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use anyhow::{Result, anyhow};
use evenkeel_core::{
    Timestamp,
    claim::ClaimRules,
    endpoints::{
        EndpointSet, Endpoints, PodFacts, SERVICE_NAME_LABEL, SliceFacts, Use, endpoints,
        with_gates,
    },
    engine::Request,
    error::{CloudError, chain},
    ids::{Cluster as Identity, GroupKey, ProviderName, ServiceKey, ServiceRef},
    nodes::{Labels, NodeFacts, NodeLabels, NodeSet, node_set},
    ticket::Ticket,
};
use k8s_openapi::api::core::v1::Service;
use kube::{Api, Client, api::ListParams};

use super::{
    super::{
        ask::ask,
        cluster::{Cluster, answer, failed},
    },
    skipped,
};
use crate::{
    providers::Installed,
    reconcile::foresee::{Foreseen, foresee},
    view::{
        plan::{GroupPlan, Plan},
        standing::{Fault, Scope},
    },
    watch::{
        item::Item,
        services::{ServiceCache, reference},
    },
};

pub(in crate::commands) fn unreachable(
    provider: &ProviderName,
    error: &CloudError,
) -> anyhow::Error {
    anyhow!("{}", unreachable_text(provider, error))
}

fn unreachable_text(provider: &ProviderName, error: &CloudError) -> String {
    let next = if provider.as_str() == evenkeel_local::NAME {
        "run `evenkeel plan` on the data plane's machine, or name its socket with --local-socket"
    } else {
        "see that this machine may read that cloud"
    };
    format!(
        "the provider {provider} cannot be asked what is there: {}; {next}",
        chain(error)
    )
}

/// Each provider's nodes: from one list, and from what the controller knows beyond it.
pub(super) async fn node_sets(
    cluster: &mut Cluster,
    installed: &[Installed],
) -> Result<HashMap<ProviderName, Arc<NodeSet>>> {
    let api: Api<Item<NodeFacts>> = Api::all(cluster.client.clone());
    let listed = answer(api.list(&ListParams::default())).await;
    let listed = listed.map_err(|error| failed("the list of Nodes", &error))?;
    let mut labels = BTreeMap::new();
    let mut facts = Vec::new();
    for item in listed.items {
        let Ok(node) = item.body else { continue };
        let of = item.meta.labels.unwrap_or_default().into_iter();
        let of: Labels = of.map(|(key, value)| (key.into(), value.into())).collect();
        labels.insert(node.name.clone(), Arc::new(of));
        facts.push(node);
    }
    let labels = Arc::new(NodeLabels::all(labels));
    let scope = Scope {
        without_services: true,
        ..Scope::default()
    };
    let told = match ask(cluster, &scope).await {
        Ok(told) => told.standings.nodes,
        Err(error) => {
            cluster.assumed.push(format!(
                "no nodes are held, and kube-proxy's health answers on them, because the controller could not be asked: {error:#}"
            ));
            Vec::new()
        }
    };
    let set = |provider: &Installed| {
        let listed = node_set(&facts, &provider.nodes);
        let told = told
            .iter()
            .find(|told| told.provider == provider.name.as_str());
        let set = told.map_or_else(|| listed.clone(), |told| told.over(&listed));
        let set = set.with_labels(labels.clone());
        (provider.name.clone(), Arc::new(set))
    };
    Ok(installed.iter().map(set).collect())
}

/// What all groups are planned with.
pub(super) struct Planner<'a> {
    pub(super) rules: &'a ClaimRules,
    pub(super) identity: &'a Identity,
    pub(super) installed: &'a [Installed],
    pub(super) nodes: &'a HashMap<ProviderName, Arc<NodeSet>>,
    pub(super) endpoints: EndpointSource<'a>,
    pub(super) now: Timestamp,
}

/// Where endpoints are found.
pub(super) enum EndpointSource<'a> {
    /// In the cluster.
    Cluster(&'a Client),
    /// These are all that are known.
    Known(&'a BTreeMap<ServiceKey, Endpoints>),
}

impl Planner<'_> {
    pub(super) async fn group(
        &self,
        key: &GroupKey,
        services: &ServiceCache,
        left: &[ServiceRef],
        plan: &mut Plan,
    ) {
        let members = services.members(key);
        let (all, foreign) = foresee(
            key,
            self.identity,
            members.clone(),
            self.rules,
            !left.is_empty(),
        );
        for (service, hand) in foreign {
            plan.skipped.push(skipped(
                &service.key,
                Some(format!("it is left alone: {hand}")),
            ));
        }
        for foreseen in all {
            let Some(provider) = self
                .installed
                .iter()
                .find(|provider| provider.name == foreseen.provider)
            else {
                plan.groups.push(without_facts(&foreseen));
                continue;
            };
            let group = self
                .rehearse(key, foreseen, provider, (&members, left))
                .await;
            // A provider that never had anything to do with who left says so with an empty plan.
            let nobody = group.services.is_empty();
            if !(nobody && group.waves.is_empty() && group.error.is_none()) {
                plan.groups.push(named(group, left));
            }
        }
    }

    async fn rehearse(
        &self,
        key: &GroupKey,
        foreseen: Foreseen,
        provider: &Installed,
        (members, left): (&[Arc<Service>], &[ServiceRef]),
    ) -> GroupPlan {
        let keys = |all: &[ServiceRef]| -> Vec<String> {
            all.iter().map(|service| service.key.to_string()).collect()
        };
        let mut leaving = keys(&foreseen.leaving);
        if !foreseen.staying.is_empty() {
            leaving.extend(keys(left));
        }
        let mut group = GroupPlan {
            services: [keys(&foreseen.staying), leaving.clone()].concat(),
            releases: leaving,
            group: match key {
                GroupKey::Shared { name, .. } => Some(name.to_string()),
                GroupKey::Service(_) => None,
            },
            provider: provider.name.to_string(),
            paused: foreseen.paused,
            port_errors: foreseen.port_errors.iter().map(Fault::from).collect(),
            warnings: foreseen
                .warnings
                .iter()
                .map(|warning| Fault {
                    reason: warning.reason.to_owned(),
                    message: warning.message.clone(),
                    ..Fault::default()
                })
                .collect(),
            ..GroupPlan::default()
        };
        let nodes = self.nodes.get(&provider.name).cloned();
        let endpoints = match self.endpoints(key, &foreseen, provider, members).await {
            Ok((endpoints, blind)) => {
                group.warnings.extend(blind);
                endpoints
            }
            Err(error) => {
                group.error = Some(format!("{error:#}"));
                return group;
            }
        };
        let request = Request {
            key: key.clone(),
            ask: foreseen.ask,
            nodes: nodes.unwrap_or_else(|| Arc::new(NodeSet::empty())),
            endpoints: Arc::new(endpoints),
            approval: foreseen.approval,
            paused: foreseen.paused,
            look: true,
            // A rehearsal has nothing to write.
            ticket: Ticket::unlimited(),
            now: self.now,
        };
        match provider.engine.rehearse(&request).await {
            Ok(rehearsal) => group.foretold(&rehearsal),
            Err(error) => group.error = Some(unreachable_text(&provider.name, &error)),
        }
        group
    }
}

impl Planner<'_> {
    /// The endpoints of a group, where its targets are or may be endpoints. A Service that is not in the cluster has none.
    async fn endpoints(
        &self,
        key: &GroupKey,
        foreseen: &Foreseen,
        provider: &Installed,
        members: &[Arc<Service>],
    ) -> Result<(EndpointSet, Option<Fault>)> {
        let follows = || provider.engine.follows_endpoints(key, &foreseen.ask);
        if !provider.follows_endpoints || follows() == Some(false) {
            return Ok((EndpointSet::unknown(), None));
        }
        let (mut services, mut blind) = (BTreeMap::new(), None);
        for service in members {
            let of = reference(service);
            match &self.endpoints {
                EndpointSource::Cluster(client) => {
                    let mut found = endpoints_of(client, service).await?;
                    if let Err(error) = enlighten(client, &of, &mut found).await {
                        blind = Some(Fault {
                            reason: "PodsNotRead".to_owned(),
                            message: format!(
                                "Pods that wait at a readiness gate count as not ready here: {error:#}"
                            ),
                            ..Fault::default()
                        });
                    }
                    services.insert(of.uid, found);
                }
                EndpointSource::Known(known) => {
                    let known = known.get(&of.key).cloned();
                    services.extend(known.map(|known| (of.uid, known)));
                }
            }
        }
        Ok((EndpointSet::new(services), blind))
    }
}

/// The endpoints of a Service, in the cluster.
pub(in crate::commands) async fn endpoints_of(
    client: &Client,
    service: &Service,
) -> Result<Endpoints> {
    let key = reference(service).key;
    let api: Api<Item<SliceFacts>> = Api::namespaced(client.clone(), &key.namespace);
    let all = ListParams::default().labels(&format!("{SERVICE_NAME_LABEL}={}", key.name));
    let listed = answer(api.list(&all)).await;
    let listed = listed.map_err(|error| failed("the list of EndpointSlices", &error))?;
    let slices: Vec<_> = listed
        .items
        .into_iter()
        .filter_map(|item| item.body.ok())
        .collect();
    Ok(endpoints(service, &slices))
}

/// What endpoints are in the light of their pods, where one may wait at a readiness gate.
async fn enlighten(client: &Client, service: &ServiceRef, endpoints: &mut Endpoints) -> Result<()> {
    let mut all = endpoints.values().flatten();
    if all.all(|endpoint| endpoint.use_ == Use::Add) {
        return Ok(());
    }
    let api: Api<Item<PodFacts>> = Api::namespaced(client.clone(), &service.key.namespace);
    let listed = answer(api.list(&ListParams::default())).await;
    let listed = listed.map_err(|error| failed("the list of Pods", &error))?;
    let pods: HashMap<String, PodFacts> = listed
        .items
        .into_iter()
        .filter_map(|item| Some((item.meta.name?, item.body.ok()?)))
        .collect();
    with_gates(endpoints, &service.key, |pod| pods.get(pod));
    Ok(())
}

/// No plan, for lack of facts.
fn without_facts(foreseen: &Foreseen) -> GroupPlan {
    let all = foreseen.staying.iter().chain(&foreseen.leaving);
    GroupPlan {
        services: all.map(|service| service.key.to_string()).collect(),
        provider: foreseen.provider.to_string(),
        error: Some(format!(
            "there are no facts of the provider {}; name its file too with --facts",
            foreseen.provider
        )),
        ..GroupPlan::default()
    }
}

/// A plan for nobody but those who left is named after them.
fn named(mut group: GroupPlan, left: &[ServiceRef]) -> GroupPlan {
    if group.services.is_empty() {
        group.services = left.iter().map(|service| service.key.to_string()).collect();
        group.releases.clone_from(&group.services);
    }
    group
}
