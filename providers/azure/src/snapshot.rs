//! Everything of this cluster in bulk calls: for restarts, drift, and objects whose Service is gone (Reads).
//!
//! An address says in its tags whose it is. What is inside a load balancer or the security group says it by its name: a Service's UID
//! stands there, of a shared group only a hash does, so that one without an address is found when somebody asks for it.

use std::collections::{BTreeMap, BTreeSet};

use evenkeel_core::{
    error::CloudError,
    ids::{Cluster, GroupKey, ServiceKey, ServiceRef, ServiceUid},
    provider::{Snapshot, SnapshotPart},
};

use crate::{
    Azure,
    index::{Address, group_of},
    model::{Observed, SeenPublicIp},
    names::{self, tag},
    observe,
    shared::{Balancer, SecurityGroup},
    writers::{both, is_missing},
};

/// Reads what every group of the cluster has.
///
/// # Errors
/// When Azure does not answer.
pub async fn snapshot(azure: &Azure) -> Result<Snapshot<Observed>, CloudError> {
    azure.index.look(azure).await?;
    azure.facts.keep(azure).await?;
    let cluster = &azure.context.cluster;
    let own = azure
        .index
        .addresses(&|_, seen: &SeenPublicIp| group_of(seen, &cluster.uid).is_some());
    let mut groups = BTreeMap::new();
    for (identity, service) in identities(cluster, &own, child_names(azure).await?) {
        let observed = observe::assemble(azure, &key(&identity, &service), None).await?;
        groups.extend(part(cluster, identity, service, observed));
    }
    Ok(Snapshot { groups })
}

/// The groups that these addresses and children are of, each with its Service as far as it is told.
pub(crate) fn identities(
    cluster: &Cluster,
    addresses: &[Address],
    children: BTreeSet<String>,
) -> BTreeMap<String, String> {
    let mut services: BTreeMap<String, String> = BTreeMap::new();
    for (_, seen) in addresses {
        let service = seen.tags.get(tag::SERVICE).map(ToString::to_string);
        if let Some(identity) = group_of(seen, &cluster.uid) {
            services.insert(identity.to_string(), service.unwrap_or_default());
        }
    }
    for name in children {
        if let Some(uid) = names::uid_of(cluster, &name) {
            services.entry(uid.to_string()).or_default();
        }
    }
    services
}

/// What a snapshot has of a group; nothing of one that has nothing.
pub(crate) fn part(
    cluster: &Cluster,
    identity: String,
    service: String,
    observed: Observed,
) -> Option<(String, SnapshotPart<Observed>)> {
    let part = SnapshotPart {
        objects: observed.len(&cluster.uid, &key(&identity, &service)),
        service,
        observed,
    };
    (part.objects > 0).then_some((identity, part))
}

/// The names of all that could be a group's in the shared objects.
async fn child_names(azure: &Azure) -> Result<BTreeSet<String>, CloudError> {
    let mut names = BTreeSet::new();
    for writer in both(&azure.writers).into_values() {
        if let Some(live) = writer.writer().live(false).await? {
            names.extend(Balancer::names(&live));
        }
    }
    if let Some(security) = &azure.writers.security {
        match security.writer().live(false).await {
            Err(error) if is_missing(&error) => {}
            live => names.extend(SecurityGroup::names(&live?)),
        }
    }
    Ok(names)
}

/// The group of an identity, as its marks tell it.
pub(crate) fn key(identity: &str, service: &str) -> GroupKey {
    GroupKey::shared(identity).unwrap_or_else(|| {
        let (namespace, name) = service.split_once('/').unwrap_or(("", service));
        GroupKey::Service(ServiceRef {
            key: ServiceKey::new(namespace, name),
            uid: ServiceUid::new(identity),
        })
    })
}
