//! What one group has, and what it rests on (Reads).

use evenkeel_core::{
    error::{CloudError, ErrorClass},
    ids::GroupKey,
    provider::Want,
};

use crate::{
    Context,
    client::Client,
    model::{Desired, Observed},
};

/// Reads what a group has.
///
/// # Errors
/// When AWS does not answer.
pub async fn observe(
    _context: &Context,
    _client: &Client,
    _key: &GroupKey,
    _want: &Want<Desired>,
) -> Result<Observed, CloudError> {
    Err(CloudError::new(ErrorClass::Transient, "observe", ""))
}
