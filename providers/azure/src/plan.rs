//! Desired and observed in, the writes possible now out; all ordering, replacement and safety rules are here (Decides).
//!
//! ```text
//! make:   public IP address ─┬─> part of the load balancer ─┐
//!         subnet ────────────┘                              ├─> rules of the security group
//! break:  part of the load balancer ─> rules of the security group, public IP address
//! ```
//!
//! What serves already goes on serving: the security group lets clients in to what is new before the load balancer sends there, and to what
//! was for as long as it does.
//!
//! A change of addresses within one load balancer is one claim: the old goes in the write in which the new comes, because Azure takes no
//! two rules to one port of the nodes. Between the two load balancers the old one serves until the world is told of the new one.

mod access;
mod addresses;
mod claims;
mod delete;
mod members;
mod part;
mod preflight;

use evenkeel_core::{
    failure::Failures,
    ids::GroupKey,
    intent::Scheme,
    nodes::NodeSet,
    plan::{Plan, Until, approved},
    provider::{PlanInput, Provider, Want},
};

use crate::{
    Context,
    model::{Desired, Effect, Observed, Step},
    names,
};

/// Both kinds of load balancers.
const SCHEMES: [Scheme; 2] = [Scheme::InternetFacing, Scheme::Internal];

/// What every part of a plan is decided from.
#[derive(Clone, Copy)]
struct View<'a> {
    context: &'a Context,
    key: &'a GroupKey,
    seen: &'a Observed,
    fresh: bool,
    nodes: &'a NodeSet,
    failures: &'a Failures,
    approval: Option<&'a str>,
}

impl View<'_> {
    /// Whether a plan does nothing that has not failed.
    fn stands_still(&self, plan: &Plan<Step>) -> bool {
        let mut steps = plan.steps.iter();
        steps.all(|planned| self.failures.holds(&planned.step).is_some())
    }
}

/// Decides the writes possible now.
pub fn plan<P>(context: &Context, input: PlanInput<'_, P>) -> Plan<Step>
where
    P: Provider<Desired = Desired, Observed = Observed, Step = Step, Effect = Effect> + ?Sized,
{
    let view = View {
        context,
        key: input.key,
        seen: input.seen,
        fresh: input.fresh,
        nodes: input.nodes,
        failures: input.failures,
        approval: input.approval,
    };
    let mut plan = Plan::empty();
    match input.want {
        Want::Exists(desired) => exists(&mut plan, view, desired),
        Want::Frozen => members::follow(&mut plan, view),
        Want::FrozenWithout(gone) => {
            members::follow(&mut plan, view);
            delete::members(&mut plan, view, gone);
        }
        Want::Nothing => delete::everything(&mut plan, view),
        Want::Released => {}
    }
    plan
}

fn exists(plan: &mut Plan<Step>, view: View<'_>, desired: &Desired) {
    members::follow(plan, view);
    let lost = addresses::lost(view, desired);
    let stays = desired.shared_unknown
        || match approved(&lost, view.approval) {
            Ok(()) => false,
            Err(refusal) => {
                plan.refusals.push(*refusal);
                true
            }
        };
    let placed = if stays {
        addresses::as_they_are(view)
    } else {
        addresses::wanted(plan, view, desired)
    };
    // What is decided for the one load balancer says nothing of what serves on the other.
    let Some(placed) = placed.filter(|placed| placed.scheme == desired.scheme) else {
        return;
    };
    if !preflight::plan(plan, view, &placed) {
        return;
    }
    let Some(next) = part::next(plan, view, desired, &placed) else {
        return;
    };
    // Where something serves already, clients are let in to what is new before that is, and to what was until it is.
    let lets_in = access::plan(plan, view, desired, &placed, next.moves);
    if next.moves && !lets_in {
        let id = names::part_id(placed.scheme);
        plan.wait(id, "the security group to let clients in", Until::Told);
        return;
    }
    let replaced = (!stays).then(|| lost.first().cloned()).flatten();
    // What was refused, or failed, is no successor.
    let has_taken_over = next.is_live && lets_in;
    part::plan(plan, view, &placed, next, replaced);
    if has_taken_over && !stays && view.stands_still(plan) && plan.waits.is_empty() {
        delete::surplus(plan, view, desired, &placed, &lost);
    }
}
