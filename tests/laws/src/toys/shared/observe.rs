//! A group's part of the live object, and where its claim stands (Reads).

use evenkeel_core::{
    error::CloudError,
    ids::{Cluster, GroupKey},
    shared::{Standing, Writer},
};

use super::{
    cloud::Body,
    commit::{Balancer, part_of},
    model::Observed,
    names,
};

/// Reads it: the object is read anew, unless the writer is about to know better.
///
/// # Errors
/// When the cloud cannot be asked.
pub async fn observe(
    writer: &Writer<Balancer>,
    cluster: &Cluster,
    key: &GroupKey,
) -> Result<Observed, CloudError> {
    let queued = matches!(writer.view(key), Some((_, Standing::Queued)));
    let live = writer.live(!queued).await?;
    let claim = writer.view(key);
    Ok(Observed {
        claim,
        ..of(&live, cluster, key)
    })
}

/// A group's part of a body.
pub fn of(body: &Body, cluster: &Cluster, key: &GroupKey) -> Observed {
    match body.parts.get(&names::part(cluster, key)) {
        None => Observed {
            updating: body.updating,
            ..Observed::default()
        },
        Some(raw) => {
            let part = part_of(raw, cluster);
            Observed {
                in_the_way: part.is_none(),
                part,
                updating: body.updating,
                claim: None,
            }
        }
    }
}
