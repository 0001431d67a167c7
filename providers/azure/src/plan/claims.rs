//! Handing a claim in, once (Decides).

use evenkeel_core::{
    ids::ResourceId,
    plan::{Change, Plan, Until},
    shared::{Claim, Standing},
};

use crate::model::Step;

/// Hands a claim in, unless it is live and no other is on its way, or the writer has it already: then it is waited for.
pub(super) fn hand_in<F: PartialEq>(
    plan: &mut Plan<Step>,
    (claim, is_live): (&Claim<F>, bool),
    there: Option<&(Claim<F>, Standing)>,
    step: Step,
    change: Change,
) {
    let id: ResourceId = change.id.clone();
    match there {
        Some((queued, Standing::Queued)) if queued == claim => {
            plan.wait(
                id,
                format!("the next write of the {}", change.kind),
                Until::Told,
            );
        }
        Some((_, Standing::Queued)) => plan.step(step, change),
        _ if !is_live => plan.step(step, change),
        _ => {}
    }
}
