//! What an operator should know before the nodes are behind a load balancer (Decides).

use evenkeel_core::{
    intent::Scheme,
    plan::Plan,
    problem::{Problem, Warning, reason},
};

use super::{SCHEMES, View, addresses::Placed};
use crate::{
    model::{Facts, Step},
    names,
};

/// Looks at what serves the nodes already. Whether there can be a pool of addresses.
pub(super) fn plan(plan: &mut Plan<Step>, view: View<'_>, placed: &Placed) -> bool {
    let facts = &view.seen.facts;
    let there = view.seen.balancers.get(&placed.scheme);
    if there.is_some_and(|there| there.basic) {
        let name = view.context.load_balancer(placed.scheme);
        let problem = Problem::new(
            "load balancer",
            name,
            "is of the SKU Basic, whose pools are of network interfaces, and evenkeel's are of addresses",
            "Upgrade it to Standard, or name another one.",
        );
        let id = names::part_id(placed.scheme);
        plan.refuse(id, problem.with_reason(reason::UNSUPPORTED_FEATURE));
        return false;
    }
    // Where a part is there Azure has taken it: the nodes are not among them.
    let is_there = there.is_some_and(|there| !there.part.is_empty());
    if !is_there && let Some(other) = interfaces(facts, placed.scheme) {
        plan.warnings.push(Warning::new(
            reason::UNSUPPORTED_FEATURE,
            format!(
                "machines are behind load balancer {other} by their network interfaces, and Azure has each machine behind one public and one \
                 internal load balancer at most. Where the nodes are among them, have evenkeel use {other}: its pools of interfaces stay as they are."
            ),
        ));
    }
    if placed.scheme == Scheme::Internal && !has_way_out(view) {
        plan.warnings.push(Warning::new(
            reason::UNSUPPORTED_FEATURE,
            "the nodes' subnets have neither NAT gateway nor routes, and no public load balancer is known to give the nodes a way out: behind an \
             internal one they have no default outbound access. Give the subnets a NAT gateway.",
        ));
    }
    true
}

/// The load balancer of this kind that machines are behind by their interfaces.
fn interfaces(facts: &Facts, scheme: Scheme) -> Option<&str> {
    let mut others = facts.others.iter();
    let other = others.find(|other| other.scheme == scheme)?;
    Some(&other.name)
}

/// Whether the nodes reach the Internet by other means than Azure's default.
fn has_way_out(view: View<'_>) -> bool {
    let facts = &view.seen.facts;
    let by_balancer = SCHEMES.iter().any(|scheme| {
        let there = view.seen.balancers.get(scheme);
        there.is_some_and(|there| {
            there.outbound || *scheme == Scheme::InternetFacing && there.rules > 0
        })
    });
    let subnets = facts.subnets.values();
    let mut of_nodes = subnets.filter(|subnet| {
        let mut nodes = view.nodes.eligible();
        nodes.any(|node| {
            let mut addresses = node.addresses.iter();
            addresses.any(|ip| subnet.prefixes.iter().any(|prefix| prefix.contains(*ip)))
        })
    });
    view.context.disable_outbound_snat
        || by_balancer
        || interfaces(facts, Scheme::InternetFacing).is_some()
        || of_nodes.all(|subnet| subnet.way_out)
}
