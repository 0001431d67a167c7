//! Everything of this cluster in bulk calls: for restarts, drift, and objects whose Service is gone (Reads).

use evenkeel_core::{
    error::{CloudError, ErrorClass},
    provider::Snapshot,
};

use crate::{Context, client::Client, model::Observed};

/// Reads what every group of the cluster has.
///
/// # Errors
/// When AWS does not answer.
pub async fn snapshot(
    _context: &Context,
    _client: &Client,
) -> Result<Snapshot<Observed>, CloudError> {
    Err(CloudError::new(ErrorClass::Transient, "snapshot", ""))
}
