//! What one group has: a single call (Reads).
//!
//! Its objects rest on no other facts: pools and ports are the data plane's own to judge.

use evenkeel_core::{
    error::CloudError,
    ids::{Cluster, GroupKey},
};

use crate::{client::Client, model::Observed, names};

/// Reads what a group has.
///
/// # Errors
/// When the data plane does not answer.
pub async fn observe(
    client: &Client,
    cluster: &Cluster,
    key: &GroupKey,
) -> Result<Observed, CloudError> {
    let objects = client.objects(Some(key)).await?;
    let identity = key.identity();
    Ok(client.observed(objects, |marks| {
        names::is_ours(marks, &cluster.uid, &identity)
    }))
}
