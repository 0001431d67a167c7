//! One function per kind of step, each harmless to repeat (Writes).

use evenkeel_core::{
    error::{CloudError, ErrorClass},
    ids::GroupKey,
    ticket::Ticket,
};

use crate::{
    Context,
    client::Client,
    model::{Effect, Observed, Step},
};

/// Does one step.
///
/// # Errors
/// When AWS refuses, does not answer, or its answer is lost.
pub async fn apply(
    _context: &Context,
    _client: &Client,
    _key: &GroupKey,
    _step: &Step,
    _seen: &Observed,
    _ticket: &Ticket,
) -> Result<Effect, CloudError> {
    Err(CloudError::new(ErrorClass::Transient, "apply", ""))
}
