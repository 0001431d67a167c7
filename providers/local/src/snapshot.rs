//! Everything of this cluster in one call: for restarts, drift, and objects whose Service is gone (Reads).

use evenkeel_core::{
    error::CloudError,
    ids::Cluster,
    provider::{Snapshot, SnapshotPart},
};

use crate::{api::Marks, client::Client, model::Observed};

/// Reads what every group of the cluster has.
///
/// # Errors
/// When the data plane does not answer.
pub async fn snapshot(
    client: &Client,
    cluster: &Cluster,
) -> Result<Snapshot<Observed>, CloudError> {
    let mut snapshot = client.snapshot().await?;
    // The data plane was asked about our cluster only; what it says is checked all the same.
    let ours = |marks: &Marks| *marks.cluster == *cluster.uid;
    snapshot.leases.retain(|lease| ours(&lease.marks));
    snapshot.backend_sets.retain(|set| ours(&set.marks));
    snapshot.listeners.retain(|listener| ours(&listener.marks));
    let part = |(identity, observed): (String, Observed)| {
        let (service, objects) = (service(&observed), observed.len());
        (
            identity,
            SnapshotPart {
                observed,
                service,
                objects,
            },
        )
    };
    Ok(Snapshot {
        groups: client
            .observed_by_group(snapshot)
            .into_iter()
            .map(part)
            .collect(),
    })
}

/// The Service, or the shared group, as the marks tell it.
pub(crate) fn service(observed: &Observed) -> String {
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
