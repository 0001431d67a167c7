//! What a group claims of the network security group (Decides).

use std::{net::IpAddr, sync::Arc};

use evenkeel_core::{
    ids::ResourceId,
    plan::{Action, Change, Plan, Reason, Until},
    problem::{Warning, reason},
    shared::Claim,
};

use super::{View, addresses::Placed, claims::hand_in};
use crate::{
    model::{Access, Desired, Opening, Reached, SecurityRule, Step},
    names,
};

/// What all addresses of the virtual network are, where nobody said which are the nodes'.
const NETWORK: &str = "VirtualNetwork";

/// Claims what the group lets in, once it is known to where; what it let in too while its part of the load balancer `moves`. Whether clients
/// are let in to all that is wanted, or cannot be.
pub(super) fn plan(
    plan: &mut Plan<Step>,
    view: View<'_>,
    desired: &Desired,
    placed: &Placed,
    moves: bool,
) -> bool {
    let Some(openings) = &desired.openings else {
        return true;
    };
    let id = ResourceId::from(names::ACCESS);
    let Some(seen) = &view.seen.security else {
        if !openings.is_empty() {
            plan.warnings.push(Warning::new(
                reason::PORT_NOT_OPENED,
                "the nodes' network security group is not known, so nothing lets clients in. Name it to evenkeel, or let in the ports of this \
                 Service.",
            ));
        }
        return true;
    };
    let mut access = Access::default();
    for opening in openings {
        let Some(destinations) = destinations(view, placed, opening) else {
            plan.wait(id, "the address that the security group opens", Until::Told);
            return true;
        };
        let rule = SecurityRule {
            destinations,
            ..opening.rule.clone()
        };
        access.rules.insert(Arc::clone(&opening.name), rule);
    }
    for uid in &desired.unknown {
        let member = names::member(&view.context.cluster, view.key, uid);
        let theirs = seen
            .access
            .rules
            .iter()
            .filter(|(name, _)| names::is_of(name, &member));
        access
            .rules
            .extend(theirs.map(|(name, rule)| (Arc::clone(name), rule.clone())));
    }
    let lets_in = covers(&seen.access, &access);
    if moves || other_serves(view, placed) {
        keep(&seen.access, &mut access);
    }
    let claim = Claim::Want(access.clone());
    let failed = view.failures.holds(&Step::ClaimAccess(claim)).is_some();
    hand_in_access(plan, view, access);
    lets_in || failed
}

/// Whether the other load balancer still serves.
fn other_serves(view: View<'_>, placed: &Placed) -> bool {
    let mut others = view.seen.balancers.iter();
    others.any(|(scheme, seen)| *scheme != placed.scheme && !seen.part.is_empty())
}

/// Whether all that is wanted to be let in is.
fn covers(live: &Access, wanted: &Access) -> bool {
    let mut wanted = wanted.rules.iter().filter(|(_, rule)| rule.allow);
    wanted.all(|(name, want)| {
        live.rules.get(name).is_some_and(|there| {
            let ports = want.ports.iter().all(|port| there.ports.contains(port));
            let mut to = want.destinations.iter();
            (there.ports.is_empty() || ports && !want.ports.is_empty())
                && to.all(|prefix| there.destinations.contains(prefix))
        })
    })
}

/// Lets in what is let in.
fn keep(live: &Access, access: &mut Access) {
    for (name, rule) in &live.rules {
        let both = access
            .rules
            .entry(Arc::clone(name))
            .or_insert_with(|| rule.clone());
        both.destinations.extend(rule.destinations.iter().cloned());
        both.destinations.sort();
        both.destinations.dedup();
        // None are all.
        if both.ports.is_empty() || rule.ports.is_empty() {
            both.ports.clear();
            continue;
        }
        both.ports.extend(&rule.ports);
        both.ports.sort_unstable();
        both.ports.dedup();
    }
}

/// Hands in what shall be of the group.
pub(super) fn hand_in_access(plan: &mut Plan<Step>, view: View<'_>, access: Access) {
    let Some(seen) = &view.seen.security else {
        return;
    };
    if access.rules.is_empty() && seen.is_free() {
        return;
    }
    let action = match (access.rules.is_empty(), seen.access.rules.is_empty()) {
        (true, _) => Action::Destroy,
        (false, true) => Action::Create,
        (false, false) => Action::Change,
    };
    let text = |access: &Access| {
        let rules: Vec<_> = access.rules.values().map(ToString::to_string).collect();
        rules.join("; ")
    };
    let change = Change::new(
        action,
        "security rules",
        ResourceId::from(names::ACCESS),
        text(&access),
    )
    .because(vec![Reason::new(
        "rules",
        text(&seen.access),
        text(&access),
    )]);
    let is_live = access == seen.access && !access.rules.is_empty();
    let claim = match access.rules.is_empty() {
        true => Claim::Gone,
        false => Claim::Want(access),
    };
    hand_in(
        plan,
        (&claim, is_live),
        seen.claim.as_ref(),
        Step::ClaimAccess(claim.clone()),
        change,
    );
}

/// Where packets go that a rule is about; None while that is not known.
fn destinations(view: View<'_>, placed: &Placed, opening: &Opening) -> Option<Vec<Arc<str>>> {
    let mut all: Vec<Arc<str>> = match &opening.reached {
        Reached::Nodes => {
            let prefixes = view.context.node_prefixes.iter();
            let prefixes = prefixes.filter(|prefix| prefix.family() == opening.family);
            let all: Vec<_> = prefixes.map(|prefix| prefix.to_string().into()).collect();
            if all.is_empty() {
                vec![NETWORK.into()]
            } else {
                all
            }
        }
        Reached::Frontend(further) => {
            let (name, frontend) = placed.of(opening.family)?;
            let there = view.seen.balancers.get(&placed.scheme);
            let given = there
                .and_then(|seen| seen.part.frontends.get(name))
                .and_then(|frontend| frontend.given);
            let own = view.seen.address(&frontend.place, given)?;
            let addresses = std::iter::once(&own).chain(further);
            addresses.map(|ip: &IpAddr| ip.to_string().into()).collect()
        }
    };
    all.sort();
    all.dedup();
    Some(all)
}
