//! Everything of this cluster in one call (Reads).

use std::collections::BTreeMap;

use evenkeel_core::{
    error::CloudError,
    ids::Cluster,
    provider::{Snapshot, SnapshotPart},
};

use super::{client::Client, cloud::Object, model::Observed};

/// Reads it.
///
/// # Errors
/// When the cloud cannot be asked.
pub async fn snapshot(
    client: &Client,
    cluster: &Cluster,
) -> Result<Snapshot<Observed>, CloudError> {
    let mut groups: BTreeMap<String, (String, Vec<Object>)> = BTreeMap::new();
    for object in client.list(&cluster.uid, None).await? {
        if let Some(marks) = &object.marks {
            let (_, objects) = groups
                .entry(marks.group.clone())
                .or_insert_with(|| (marks.service.clone(), Vec::new()));
            objects.push(object);
        }
    }
    let part = |(service, objects): (String, Vec<Object>)| SnapshotPart {
        service,
        objects: objects.len(),
        observed: Observed::of(objects),
    };
    Ok(Snapshot {
        groups: groups
            .into_iter()
            .map(|(group, found)| (group, part(found)))
            .collect(),
    })
}
