//! What a group owns (Reads).

use evenkeel_core::{
    error::CloudError,
    ids::{Cluster, GroupKey},
};

use super::{client::Client, model::Observed};

/// Reads it in one call.
///
/// # Errors
/// When the cloud cannot be asked.
pub async fn observe(
    client: &Client,
    cluster: &Cluster,
    key: &GroupKey,
) -> Result<Observed, CloudError> {
    Ok(Observed::of(
        client.list(&cluster.uid, Some(&key.identity())).await?,
    ))
}
