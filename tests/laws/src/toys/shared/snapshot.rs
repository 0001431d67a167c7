//! Everything of this cluster: the one object (Reads).

use evenkeel_core::{
    error::CloudError,
    ids::Cluster,
    provider::{Snapshot, SnapshotPart},
    shared::Writer,
};

use super::{
    commit::{Balancer, part_of},
    model::{Observed, Part},
};

/// Reads it.
///
/// # Errors
/// When the cloud cannot be asked.
pub async fn snapshot(
    writer: &Writer<Balancer>,
    cluster: &Cluster,
) -> Result<Snapshot<Observed>, CloudError> {
    let live = writer.live(true).await?;
    let part = |part: Part| {
        let found = SnapshotPart {
            service: part.service.clone(),
            objects: part.fronts.len(),
            observed: Observed {
                part: Some(part.clone()),
                updating: live.updating,
                ..Observed::default()
            },
        };
        (part.group, found)
    };
    Ok(Snapshot {
        groups: live
            .parts
            .values()
            .filter_map(|raw| part_of(raw, cluster))
            .map(part)
            .collect(),
    })
}
