//! The nodes behind the load balancers (Decides). They are no group's own: whichever group sees that they are others hands them in.

use std::collections::BTreeMap;

use evenkeel_core::{
    plan::{Action, Change, Disturbance, Plan, Reason},
    shared::Claim,
};

use super::{View, claims::hand_in};
use crate::{
    model::{Fragment, Members, Step},
    names,
};

/// Brings the pools that there are up to date.
pub(super) fn follow(plan: &mut Plan<Step>, view: View<'_>) {
    for (scheme, seen) in &view.seen.balancers {
        if seen.members.0.is_empty() {
            continue;
        }
        let members = next(view, &seen.members);
        let wanted: BTreeMap<_, _> = members
            .0
            .iter()
            .filter(|(family, _)| seen.members.0.contains_key(family))
            .collect();
        let is_live = wanted == seen.members.0.iter().collect();
        let count = |members: &Members| {
            members
                .0
                .values()
                .map(BTreeMap::len)
                .max()
                .unwrap_or_default()
        };
        let (from, to) = (count(&seen.members), count(&members));
        let change = Change::new(
            Action::Change,
            "load balancer",
            names::members_id(*scheme),
            format!("{to} nodes"),
        )
        .because(vec![Reason::new("nodes", from, to)])
        .disturbing(if to < from {
            Disturbance::Interrupts
        } else {
            Disturbance::None
        });
        let claim = Claim::Want(Fragment::Members(members.clone()));
        let step = Step::SetMembers {
            of: *scheme,
            members,
        };
        hand_in(
            plan,
            (&claim, is_live),
            seen.members_claim.as_ref(),
            step,
            change,
        );
    }
}

/// The nodes as they shall be, by family; never none where there were some.
pub(super) fn next(view: View<'_>, now: &Members) -> Members {
    let families = [
        evenkeel_core::net::IpFamily::V4,
        evenkeel_core::net::IpFamily::V6,
    ];
    let of = |family| {
        let now = now.0.get(&family).cloned().unwrap_or_default();
        let stay = view
            .nodes
            .kept()
            .filter(|node| now.contains_key(&node.name));
        let next: BTreeMap<_, _> = view
            .nodes
            .eligible()
            .chain(stay)
            .filter_map(|node| Some((node.name.clone(), node.address(family)?)))
            .collect();
        (family, if next.is_empty() { now } else { next })
    };
    Members(families.map(of).into_iter().collect())
}
