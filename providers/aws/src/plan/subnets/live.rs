//! The subnets and addresses of a live load balancer (Decides).
//!
//! A load balancer stands in a zone with the addresses that it got there first; others for the same zone are had only by leaving it.
//! So a subnet of a zone is changed in two steps, during which the zone is not served, and one whose address somebody chose is
//! only left under an approval.

use std::{collections::BTreeSet, sync::Arc};

use evenkeel_core::{
    annotation::field,
    plan::{Action, Change, Disturbance, Plan, Reason, approved},
    problem::{Problem, Warning, reason},
};

use super::{addresses, discover, listed};
use crate::{
    annotations::key,
    model::{
        AddressType, Desired, Object, SeenLoadBalancer, Step, SubnetMapping, Subnets, facts::Facts,
    },
    names::{self, tag},
    plan::{View, attributes, load_balancer_id, tags},
};

/// A prefix for source NAT that AWS chooses.
const AUTO_ASSIGNED: &str = "auto_assigned";

/// Brings subnets, source NAT and kinds of addresses up to date.
pub(in crate::plan) fn follow(
    plan: &mut Plan<Step>,
    view: View<'_>,
    desired: &Desired,
    name: &Arc<str>,
    live: &SeenLoadBalancer,
) {
    let want = &desired.load_balancer;
    let source_nat = attributes::source_nat(want, live).filter(|on| *on != live.source_nat);
    let is_needed = source_nat == Some(false) && has_udp(view, name, live);
    if is_needed {
        tell_needed(plan, desired);
    }
    // Only a dualstack load balancer has it: it comes after IPv6, and goes before.
    let address_type = match is_needed {
        true => live.address_type,
        false => attributes::address_type(want, live),
    };
    let may_come = live.address_type == AddressType::Dualstack
        && attributes::once(live, names::field::SOURCE_NAT);
    let source_nat = source_nat.filter(|on| if *on { may_come } else { !is_needed });
    let subnets = match &want.subnets {
        Subnets::Discovered => {
            tell_new_zones(plan, view, live, address_type);
            None
        }
        Subnets::Listed(list) => match subnets(plan, view, desired, list, live, address_type) {
            Ok(subnets) => Some(subnets),
            Err(stop) => return stop.tell(plan, &load_balancer_id()),
        },
    };
    let whole = |subnets: &[SubnetMapping]| subnets.iter().cloned().collect::<BTreeSet<_>>();
    let subnets = match subnets {
        Some(wanted) if whole(&wanted) != whole(&live.subnets) => {
            match towards(plan, view, live, wanted) {
                Some(next) => next,
                None => return,
            }
        }
        _ => live.subnets.clone(),
    };
    if whole(&subnets) != whole(&live.subnets) || source_nat.is_some() {
        set_subnets(plan, view, name, live, subnets, source_nat);
    } else if address_type != live.address_type {
        // The next wave sees the tag that says that it was asked for.
        if address_type == AddressType::Ipv4 || attributes::once(live, names::field::ADDRESS_TYPE) {
            set_address_type(plan, view, name, live, address_type);
        }
    } else {
        use_up_approval(plan, view, name, live);
    }
}

/// Whether datagrams come in, for which a dualstack load balancer needs source NAT: AWS takes it off when there is no such listener
/// any more.
fn has_udp(view: View<'_>, name: &Arc<str>, live: &SeenLoadBalancer) -> bool {
    if live.listeners_known {
        let mut listeners = view.seen.listeners_of(name);
        return listeners.any(|(_, listener)| listener.protocol.has_udp());
    }
    let mut groups = view.seen.target_groups.values();
    groups.any(|group| group.protocol.has_udp() && group.load_balancers.contains(&live.arn))
}

/// Says why source NAT stays, where that is for good.
fn tell_needed(plan: &mut Plan<Step>, desired: &Desired) {
    let mut listeners = desired.listeners.iter();
    let Some(udp) = listeners.find(|listener| listener.protocol.has_udp()) else {
        return;
    };
    plan.warnings.push(Warning::new(
        reason::INVALID_CONFIGURATION,
        format!(
            "{}: source NAT and dualstack stay while there are UDP ports, of which {} is one, because AWS takes them back from no load \
             balancer with such a listener. Write both annotations again, or move the UDP ports to another Service.",
            field(key::SOURCE_NAT),
            udp.port,
        ),
    ));
}

/// Notes an approval that approves nothing any more. An address can be given up, come back and be given up again: what was approved
/// the first time is not approved the second time, because the note is part of what an approval names.
fn use_up_approval(
    plan: &mut Plan<Step>,
    view: View<'_>,
    name: &Arc<str>,
    live: &SeenLoadBalancer,
) {
    let approvals = view.input.approval.unwrap_or_default().split_whitespace();
    let approvals: Vec<&str> = approvals
        .filter(|one| is_digest(one))
        .take(MOST_NOTED)
        .collect();
    if approvals.is_empty() {
        return;
    }
    let approval = &*approvals.join(" ");
    let noted = live.tags.get(tag::APPROVED).map_or("", |noted| noted);
    let chosen = live.subnets.iter().any(|held| chosen(held).is_some());
    if !chosen || noted == approval {
        return;
    }
    tags::write(
        plan,
        Object::LoadBalancer(Arc::clone(name)),
        load_balancer_id(),
        [(tag::APPROVED.into(), approval.into())].into(),
        BTreeSet::new(),
        vec![Reason::new("approval", noted, approval)],
    );
}

/// Approvals that the value of a tag has room for.
const MOST_NOTED: usize = 7;

/// Whether a text may be a digest.
fn is_digest(text: &str) -> bool {
    text.len() <= 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The listed subnets; those where it stands already with the addresses that it has there.
fn subnets(
    plan: &mut Plan<Step>,
    view: View<'_>,
    desired: &Desired,
    list: &[Arc<str>],
    live: &SeenLoadBalancer,
    address_type: AddressType,
) -> Result<Vec<SubnetMapping>, super::Stop> {
    let subnets = listed(plan, view, list, address_type)?;
    let wanted = addresses::map(desired, live.scheme, address_type, &subnets)?;
    let mut kept = Vec::new();
    let dualstack = live.address_type == AddressType::Dualstack;
    let mapping = wanted
        .into_iter()
        .map(|mut place| {
            place.source_nat_prefix.take_if(|_| !dualstack);
            let Some(held) = live.subnets.iter().find(|held| held.subnet == place.subnet) else {
                return place;
            };
            let mut held = held.clone();
            // Of the prefixes that AWS chooses one is as good as another.
            if place.source_nat_prefix.as_deref() != Some(AUTO_ASSIGNED) {
                held.source_nat_prefix = place.source_nat_prefix.take().or(held.source_nat_prefix);
            }
            // The one address that can come later, with the switch to dualstack.
            if !dualstack && held.ipv6.is_none() {
                held.ipv6 = place.ipv6;
            }
            if differs(&place, &held) {
                kept.push(place.subnet.to_string());
            }
            held
        })
        .collect();
    if !kept.is_empty() {
        plan.warnings.push(Warning::new(
            reason::INVALID_CONFIGURATION,
            format!(
                "{} and the other annotations for addresses: other addresses in {} have no effect, because a load balancer keeps \
                 those that it got there first. Take the old ones back, or leave these zones and come again.",
                field(key::EIP_ALLOCATIONS),
                kept.join(", "),
            ),
        ));
    }
    Ok(mapping)
}

/// Whether other addresses are asked for than there are.
fn differs(asked: &SubnetMapping, held: &SubnetMapping) -> bool {
    let other = |differs: bool, asked: bool| asked && differs;
    other(
        asked.allocation != held.allocation,
        asked.allocation.is_some(),
    ) || other(asked.private != held.private, asked.private.is_some())
        || other(asked.ipv6 != held.ipv6, asked.ipv6.is_some())
}

/// The subnets that can be set now on the way to those that are wanted; None where the way is barred, which is told.
fn towards(
    plan: &mut Plan<Step>,
    view: View<'_>,
    live: &SeenLoadBalancer,
    wanted: Vec<SubnetMapping>,
) -> Option<Vec<SubnetMapping>> {
    let facts: &Facts = &view.seen.facts;
    let zone = |place: &SubnetMapping| facts.subnets.get(&place.subnet).map(|known| &known.zone);
    let stays = |place: &SubnetMapping| ids(&live.subnets).contains(&place.subnet);
    let leaving: Vec<&SubnetMapping> = live
        .subnets
        .iter()
        .filter(|held| !ids(&wanted).contains(&held.subnet))
        .collect();
    let losses: Vec<Change> = leaving
        .iter()
        .filter_map(|held| given_up(live, held))
        .collect();
    if let Err(refusal) = approved(&losses, view.input.approval)
        && !losses.is_empty()
    {
        plan.refusals.push(*refusal);
        return None;
    }
    let swapped = |place: &SubnetMapping| {
        !stays(place) && leaving.iter().any(|held| zone(held) == zone(place))
    };
    let next: Vec<SubnetMapping> = wanted
        .iter()
        .filter(|place| !swapped(place))
        .cloned()
        .collect();
    if next.is_empty() {
        plan.refuse(
            load_balancer_id(),
            Problem::new(
                field(key::SUBNETS),
                ids(&wanted).into_iter().collect::<Vec<_>>().join(", "),
                "is in the zone of the only subnet that the load balancer has; AWS does not change a subnet for another of its zone \
                 in one step, and a load balancer needs one",
                "Add a subnet of another zone first.",
            ),
        );
        return None;
    }
    Some(next)
}

/// The loss of an address that somebody chose.
fn given_up(live: &SeenLoadBalancer, held: &SubnetMapping) -> Option<Change> {
    let address = chosen(held)?;
    let change = Change::new(
        Action::Change,
        "load balancer",
        load_balancer_id(),
        format!("leaves {} with its address {address}", held.subnet),
    );
    Some(
        change
            .because(vec![Reason::new("subnet", &held.subnet, "")])
            .disturbing(Disturbance::Interrupts)
            .giving_up(identity(live, held, &address)),
    )
}

/// The address that somebody chose.
fn chosen(held: &SubnetMapping) -> Option<String> {
    let allocation = held.allocation.as_ref().map(ToString::to_string);
    let private = held.private.map(|address| address.to_string());
    allocation
        .or(private)
        .or(held.ipv6.map(|address| address.to_string()))
}

/// What an approval of the loss of an address names.
fn identity(live: &SeenLoadBalancer, held: &SubnetMapping, address: &str) -> String {
    let used_up = live.tags.get(tag::APPROVED).map_or("", |noted| noted);
    format!("{} {} {address} {used_up}", live.arn, held.subnet)
}

fn set_subnets(
    plan: &mut Plan<Step>,
    view: View<'_>,
    name: &Arc<str>,
    live: &SeenLoadBalancer,
    subnets: Vec<SubnetMapping>,
    source_nat: Option<bool>,
) {
    let (from, to) = (ids(&live.subnets), ids(&subnets));
    let mut reasons = Vec::new();
    if from != to {
        reasons.push(Reason::new("subnets", list(&from), list(&to)));
    }
    if let Some(on) = source_nat {
        let word = |on| if on { "on" } else { "off" };
        reasons.push(Reason::new("IPv6 source NAT", word(!on), word(on)));
    }
    let leaves = from.difference(&to).next().is_some();
    let mut change = Change::new(
        Action::Change,
        "load balancer",
        load_balancer_id(),
        "subnets",
    )
    .because(reasons)
    .disturbing(if leaves {
        Disturbance::Interrupts
    } else {
        Disturbance::None
    });
    let lost: Vec<Arc<str>> = live
        .subnets
        .iter()
        .filter(|held| !to.contains(&held.subnet))
        .filter_map(|held| given_up(live, held)?.gives_up)
        .collect();
    if !lost.is_empty() {
        change = change.giving_up(lost.join("; "));
    }
    let step = Step::SetSubnets {
        load_balancer: Arc::clone(name),
        subnets,
        source_nat,
    };
    // What leaves a zone needs a fresh look, as every removal does.
    if leaves && !view.input.fresh {
        plan.wait(
            load_balancer_id(),
            "a fresh look at the subnets of the load balancer",
            evenkeel_core::plan::Until::FreshRead,
        );
        return;
    }
    plan.step(step, change);
}

/// Without IPv6 all addresses of that kind are lost: where somebody chose one, only under an approval.
fn set_address_type(
    plan: &mut Plan<Step>,
    view: View<'_>,
    name: &Arc<str>,
    live: &SeenLoadBalancer,
    address_type: AddressType,
) {
    let (disturbance, lost) = match address_type {
        AddressType::Dualstack => (Disturbance::None, Vec::new()),
        AddressType::Ipv4 => {
            let chosen = live.subnets.iter().filter_map(|held| {
                let address = held.ipv6?.to_string();
                Some(identity(live, held, &address))
            });
            (Disturbance::Interrupts, chosen.collect())
        }
    };
    let mut change = Change::new(
        Action::Change,
        "load balancer",
        load_balancer_id(),
        address_type.as_str(),
    )
    .because(vec![Reason::new(
        "address type",
        live.address_type,
        address_type,
    )])
    .disturbing(disturbance);
    if !lost.is_empty() {
        change = change.giving_up(lost.join("; "));
    }
    if let Err(refusal) = approved(std::slice::from_ref(&change), view.input.approval) {
        plan.refusals.push(*refusal);
        return;
    }
    plan.step(
        Step::SetAddressType {
            load_balancer: Arc::clone(name),
            address_type,
        },
        change,
    );
}

/// Says that the load balancer could stand in more zones.
fn tell_new_zones(
    plan: &mut Plan<Step>,
    view: View<'_>,
    live: &SeenLoadBalancer,
    address_type: AddressType,
) {
    let facts: &Facts = &view.seen.facts;
    let zones: BTreeSet<&str> = live
        .subnets
        .iter()
        .filter_map(|place| Some(&*facts.subnets.get(&place.subnet)?.zone))
        .collect();
    // What it says of other subnets is said when there is a load balancer to make.
    let mut unsaid = Plan::empty();
    let Ok(found) = discover(&mut unsaid, view, live.scheme, address_type) else {
        return;
    };
    let more: Vec<String> = found
        .iter()
        .filter(|subnet| !zones.contains(&*subnet.zone))
        .map(|subnet| format!("{} ({})", subnet.id, subnet.zone))
        .collect();
    if zones.is_empty() || more.is_empty() {
        return;
    }
    plan.warnings.push(Warning::new(
        reason::INVALID_CONFIGURATION,
        format!(
            "the load balancer stays in the zones where it was made ({}); it could stand in {} too. List all of its subnets in {} to \
             have it there.",
            zones.into_iter().collect::<Vec<_>>().join(", "),
            more.join(", "),
            field(key::SUBNETS),
        ),
    ));
}

fn ids(subnets: &[SubnetMapping]) -> BTreeSet<Arc<str>> {
    subnets.iter().map(|place| place.subnet.clone()).collect()
}

fn list(ids: &BTreeSet<Arc<str>>) -> String {
    ids.iter().map(|id| &**id).collect::<Vec<_>>().join(", ")
}
