//! Everything of this cluster in one call: for restarts, drift, and objects whose Service is gone (Reads).

use std::collections::BTreeMap;

use evenkeel_core::{
    error::CloudError,
    ids::Cluster,
    provider::{Snapshot, SnapshotPart},
};

use crate::{
    api::{Marks, Objects},
    client::Client,
    model::Observed,
};

/// Reads what every group of the cluster has.
///
/// # Errors
/// When the data plane does not answer.
pub async fn snapshot(
    client: &Client,
    cluster: &Cluster,
) -> Result<Snapshot<Observed>, CloudError> {
    let parts = by_group(client.objects(None).await?, &cluster.uid);
    let groups = parts.into_iter().map(|(identity, objects)| {
        let observed = client.observed(objects, |_| true);
        let part = SnapshotPart {
            service: service(&observed),
            objects: observed.len(),
            observed,
        };
        (identity, part)
    });
    Ok(Snapshot {
        groups: groups.collect(),
    })
}

fn by_group(objects: Objects, cluster: &str) -> BTreeMap<String, Objects> {
    let mut parts: BTreeMap<String, Objects> = BTreeMap::new();
    let ours = |marks: &Marks| marks.cluster == cluster;
    for lease in objects
        .leases
        .into_iter()
        .filter(|lease| ours(&lease.marks))
    {
        parts
            .entry(lease.marks.group.clone())
            .or_default()
            .leases
            .push(lease);
    }
    for set in objects
        .backend_sets
        .into_iter()
        .filter(|set| ours(&set.marks))
    {
        parts
            .entry(set.marks.group.clone())
            .or_default()
            .backend_sets
            .push(set);
    }
    for listener in objects
        .listeners
        .into_iter()
        .filter(|listener| ours(&listener.marks))
    {
        parts
            .entry(listener.marks.group.clone())
            .or_default()
            .listeners
            .push(listener);
    }
    parts
}

/// The Service, or the shared group, as the marks tell it.
fn service(observed: &Observed) -> String {
    let leases = observed.leases.values().map(|lease| &lease.marks);
    let sets = observed.backend_sets.values().map(|set| &set.marks);
    let listeners = observed.listeners.values().map(|listener| &listener.marks);
    leases
        .chain(sets)
        .chain(listeners)
        .map(|marks| marks.service.clone())
        .next()
        .unwrap_or_default()
}
