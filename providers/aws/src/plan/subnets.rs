//! Where a load balancer stands: subnets found by their tags and routes, or listed; at most one per zone (Decides).
//!
//! A refusal names every subnet that was looked at, with the reason why it is none. A live load balancer keeps its subnets
//! until others are listed.

mod addresses;
mod live;

use std::{collections::BTreeMap, fmt::Write as _, sync::Arc};

use evenkeel_core::{
    annotation::field,
    intent::Scheme,
    plan::Plan,
    problem::{Problem, Warning, reason},
};

use super::{Stop, View, replace::scheme_word};
use crate::{
    annotations::key,
    model::{
        AddressType, Desired, Step, SubnetMapping, Subnets,
        facts::{Facts, Subnet},
    },
};

pub(super) use live::follow;

/// Addresses that a subnet must have free: AWS asks for eight in each subnet of a load balancer.
const FREE_ADDRESSES: u32 = 8;

/// What the tag keys of a cluster begin with.
const CLUSTER_TAG: &str = "kubernetes.io/cluster";

/// The subnets of a new load balancer, with the addresses that it gets in each.
pub(super) fn place(
    plan: &mut Plan<Step>,
    view: View<'_>,
    desired: &Desired,
    scheme: Scheme,
) -> Result<Vec<SubnetMapping>, Stop> {
    let lb = &desired.load_balancer;
    let address_type = lb.address_type.unwrap_or_default();
    let subnets = match &lb.subnets {
        Subnets::Discovered => discover(plan, view, scheme, address_type)?,
        Subnets::Listed(list) => listed(plan, view, list, address_type)?,
    };
    addresses::map(desired, scheme, address_type, &subnets)
}

/// Subnets of the VPC that are fit, one per zone, ascending by id.
pub(super) fn discover<'a>(
    plan: &mut Plan<Step>,
    view: View<'a>,
    scheme: Scheme,
    address_type: AddressType,
) -> Result<Vec<&'a Subnet>, Stop> {
    let facts: &Facts = &view.seen.facts;
    let role = match scheme {
        Scheme::Internal => "kubernetes.io/role/internal-elb",
        Scheme::InternetFacing => "kubernetes.io/role/elb",
    };
    let in_vpc = || {
        facts
            .subnets
            .values()
            .filter(|subnet| subnet.vpc == facts.vpc)
    };
    let is_tagged = |subnet: &Subnet| matches!(subnet.tags.get(role).map(|v| &**v), Some("" | "1"));
    let by_role = in_vpc().any(is_tagged);
    let wanted_public = scheme == Scheme::InternetFacing;
    if !by_role && !view.input.fresh && in_vpc().all(|subnet| subnet.public.is_none()) {
        return Err(Stop::FreshRead("a fresh look at the subnets"));
    }
    let own = format!("{CLUSTER_TAG}/{}", view.context.cluster.name);
    let unfit = |subnet: &Subnet| -> Option<String> {
        let of_a_cluster = subnet.tags.keys().any(|key| key.starts_with(CLUSTER_TAG));
        if by_role && !is_tagged(subnet) {
            Some(match subnet.tags.get(role) {
                Some(value) => format!("its tag {role} is {value:?} and not \"1\" or empty"),
                None => format!("it has no tag {role}"),
            })
        } else if !by_role && subnet.public != Some(wanted_public) {
            Some(match subnet.public {
                Some(true) => "its route table leads to an internet gateway".to_owned(),
                Some(false) => "its route table leads to no internet gateway".to_owned(),
                None => "its route table is not known".to_owned(),
            })
        } else if of_a_cluster && !subnet.tags.contains_key(&*own) {
            Some("its tags name another cluster".to_owned())
        } else if subnet.free_addresses < FREE_ADDRESSES {
            Some(format!(
                "it has {} free addresses and needs {FREE_ADDRESSES}",
                subnet.free_addresses
            ))
        } else if address_type == AddressType::Dualstack && subnet.ipv6.is_empty() {
            Some("it has no IPv6 prefix".to_owned())
        } else {
            None
        }
    };
    let mut zones: BTreeMap<&str, &'a Subnet> = BTreeMap::new();
    let mut rejected: Vec<(&Subnet, String)> = Vec::new();
    for subnet in view
        .seen
        .facts
        .subnets
        .values()
        .filter(|subnet| subnet.vpc == facts.vpc)
    {
        match unfit(subnet) {
            Some(why) => {
                if by_role && subnet.tags.contains_key(role) && !is_tagged(subnet) {
                    plan.warnings.push(ignored(subnet, &why));
                }
                rejected.push((subnet, why));
            }
            None => {
                // Those of the own cluster first, then the lowest id.
                let rank = |subnet: &Subnet| !subnet.tags.contains_key(&*own);
                let best = zones.entry(&subnet.zone).or_insert(subnet);
                if (rank(subnet), &subnet.id) < (rank(best), &best.id) {
                    *best = subnet;
                }
            }
        }
    }
    let mut subnets: Vec<&Subnet> = zones.into_values().collect();
    subnets.sort_by(|a, b| a.id.cmp(&b.id));
    if subnets.is_empty() {
        if !view.input.fresh {
            return Err(Stop::FreshRead("a fresh look at the subnets"));
        }
        return Err(Stop::refused(none_fits(facts, role, scheme, &rejected)));
    }
    one_locale(&subnets).map_err(Stop::refused)?;
    Ok(subnets)
}

fn ignored(subnet: &Subnet, why: &str) -> Warning {
    Warning::new(
        reason::INVALID_CONFIGURATION,
        format!("subnet {} ({}) is not used: {why}.", subnet.id, subnet.zone),
    )
}

fn none_fits(facts: &Facts, role: &str, scheme: Scheme, rejected: &[(&Subnet, String)]) -> Problem {
    let scheme = scheme_word(scheme);
    let mut message = format!(
        "no subnet of the VPC {} fits an {scheme} load balancer",
        facts.vpc
    );
    if rejected.is_empty() {
        message.push_str(": it has none");
    }
    for (number, (subnet, why)) in rejected.iter().enumerate() {
        let sign = if number == 0 { ':' } else { ';' };
        let _ = write!(message, "{sign} {} ({}): {why}", subnet.id, subnet.zone);
    }
    Problem::new(
        field(key::SUBNETS),
        "",
        message,
        format!("Tag a subnet of each zone with {role}=1, or list the subnets in the annotation."),
    )
}

/// All subnets have to stand in zones of one kind.
fn one_locale(subnets: &[&Subnet]) -> Result<(), Problem> {
    let Some(first) = subnets.first() else {
        return Ok(());
    };
    match subnets.iter().find(|subnet| subnet.locale != first.locale) {
        None => Ok(()),
        Some(other) => Err(Problem::new(
            field(key::SUBNETS),
            format!("{}, {}", first.id, other.id),
            format!(
                "are in zones of different kinds: {} is in {}, a {}, and {} in {}, a {}",
                first.id, first.zone, first.locale, other.id, other.zone, other.locale
            ),
            "List subnets of one kind of zone.",
        )),
    }
}

/// The subnets of a list, in its order.
pub(super) fn listed<'a>(
    plan: &mut Plan<Step>,
    view: View<'a>,
    list: &[Arc<str>],
    address_type: AddressType,
) -> Result<Vec<&'a Subnet>, Stop> {
    let facts: &'a Facts = &view.seen.facts;
    let mut subnets: Vec<&Subnet> = Vec::new();
    let mut problems: Vec<Problem> = Vec::new();
    let mut missing = false;
    let mut problem = |value: &str, message: String, advice: &str| {
        problems.push(Problem::new(field(key::SUBNETS), value, message, advice));
    };
    if list.is_empty() {
        problem(
            "",
            "lists no subnet".to_owned(),
            "List one subnet per zone, or remove the annotation to have them found by their tags.",
        );
    }
    let mut taken: BTreeMap<&str, usize> = BTreeMap::new();
    for entry in list {
        if let Some(subnet) = facts.subnets.get(entry) {
            if subnet.vpc != facts.vpc {
                problem(
                    entry,
                    format!(
                        "is in the VPC {}, and the cluster in {}",
                        subnet.vpc, facts.vpc
                    ),
                    "List subnets of the cluster's VPC.",
                );
            }
            subnets.push(subnet);
            continue;
        }
        if entry.starts_with("subnet-") {
            missing = true;
            problem(
                entry,
                "is not there".to_owned(),
                "List subnets of the cluster's VPC.",
            );
            continue;
        }
        // The k-th mention of a name is the k-th lowest id of that name.
        let mentions = taken.entry(entry).or_default();
        let named: Vec<&Subnet> = facts
            .subnets
            .values()
            .filter(|subnet| subnet.vpc == facts.vpc && subnet.tags.get("Name") == Some(entry))
            .collect();
        match named.get(*mentions) {
            Some(subnet) => subnets.push(subnet),
            None => {
                missing = true;
                let there = match named.len() {
                    0 => "no subnet of the VPC has this tag Name".to_owned(),
                    count => format!(
                        "{count} subnets of the VPC have this tag Name, and it is listed more often"
                    ),
                };
                problem(entry, there, "List subnets by id, or by their tag Name.");
            }
        }
        *mentions += 1;
    }
    if missing && !view.input.fresh {
        return Err(Stop::FreshRead("a fresh look at the subnets"));
    }
    for (index, subnet) in subnets.iter().enumerate() {
        let twin = subnets[..index]
            .iter()
            .find(|other| other.zone == subnet.zone);
        if let Some(twin) = twin {
            problem(
                &format!("{}, {}", twin.id, subnet.id),
                format!("are both in {}", subnet.zone),
                "List one subnet per zone.",
            );
        }
        if address_type == AddressType::Dualstack && subnet.ipv6.is_empty() {
            problem(
                &subnet.id,
                "has no IPv6 prefix, which a dualstack load balancer needs in each of its subnets"
                    .to_owned(),
                "Give the subnet an IPv6 prefix, or ask for ipv4.",
            );
        }
    }
    if let Err(kinds) = one_locale(&subnets) {
        problems.push(kinds);
    }
    if !problems.is_empty() {
        return Err(Stop::Refused(problems));
    }
    for subnet in &subnets {
        if subnet.free_addresses < FREE_ADDRESSES {
            plan.warnings.push(Warning::new(
                reason::INVALID_CONFIGURATION,
                format!(
                    "subnet {} ({}) has {} free addresses; AWS asks for {FREE_ADDRESSES} to place and scale a load balancer.",
                    subnet.id, subnet.zone, subnet.free_addresses
                ),
            ));
        }
    }
    Ok(subnets)
}
