//! Handing a claim in (Writes, later: the writer does).

use evenkeel_core::{error::CloudError, ids::GroupKey, shared::Writer, ticket::Ticket};

use super::{
    commit::Balancer,
    model::{Effect, Step},
};

/// Does it, and does not wait: the group is woken.
///
/// # Errors
/// What became of the same claim before.
pub fn apply(
    writer: &Writer<Balancer>,
    key: &GroupKey,
    step: &Step,
    ticket: &Ticket,
) -> Result<Effect, CloudError> {
    writer.claim(key.clone(), step.claim.clone(), ticket)?;
    Ok(Effect::Handed(step.claim.clone()))
}
