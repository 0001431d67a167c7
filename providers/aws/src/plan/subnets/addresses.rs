//! The addresses that a load balancer gets in each of its subnets (Decides).
//!
//! Elastic IPs and prefixes for source NAT belong to subnets by their order; private IPv4 and IPv6 addresses to the subnet
//! that holds them.

use std::{fmt::Display, net::IpAddr, sync::Arc};

use evenkeel_core::{annotation::field, intent::Scheme, net::Cidr, problem::Problem};

use crate::{
    annotations::key,
    model::{AddressType, Desired, SubnetMapping, facts::Subnet},
    plan::{Stop, replace::scheme_word},
};

/// Each subnet with its addresses, in the order of the subnets.
pub(super) fn map(
    desired: &Desired,
    scheme: Scheme,
    address_type: AddressType,
    subnets: &[&Subnet],
) -> Result<Vec<SubnetMapping>, Stop> {
    let lb = &desired.load_balancer;
    let asked = &lb.addresses;
    let mut problems = Vec::new();
    let mut mapping: Vec<SubnetMapping> = subnets
        .iter()
        .map(|subnet| SubnetMapping {
            subnet: subnet.id.clone(),
            ..SubnetMapping::default()
        })
        .collect();
    let ids = || {
        let ids: Vec<&str> = subnets.iter().map(|subnet| &*subnet.id).collect();
        ids.join(", ")
    };
    let mut check = |key: &str, count: usize, fits: bool, needs: &str| -> bool {
        if count == 0 {
            return false;
        }
        if !fits {
            problems.push(Problem::new(
                field(key),
                count.to_string(),
                format!("addresses need {needs}"),
                "Change one of the two.",
            ));
        }
        if count != subnets.len() {
            problems.push(Problem::new(
                field(key),
                count.to_string(),
                format!(
                    "addresses for {} subnets ({}); each subnet needs one",
                    subnets.len(),
                    ids()
                ),
                "List as many as there are subnets, and list the subnets too.",
            ));
        }
        fits && count == subnets.len()
    };
    let is = scheme_word(scheme);
    if check(
        key::EIP_ALLOCATIONS,
        asked.allocations.len(),
        scheme == Scheme::InternetFacing,
        &format!("an internet-facing load balancer, and this one is {is}"),
    ) {
        for (place, allocation) in mapping.iter_mut().zip(&asked.allocations) {
            place.allocation = Some(Arc::clone(allocation));
        }
    }
    let private = check(
        key::PRIVATE_IPV4_ADDRESSES,
        asked.private.len(),
        scheme == Scheme::Internal,
        &format!("an internal load balancer, and this one is {is}"),
    );
    let dualstack = address_type == AddressType::Dualstack;
    let ipv6 = check(
        key::IPV6_ADDRESSES,
        asked.ipv6.len(),
        dualstack,
        "a dualstack load balancer, and this one is ipv4",
    );
    let nat = lb.source_nat == Some(true);
    let prefixes = check(
        key::SOURCE_NAT_PREFIXES,
        asked.source_nat_prefixes.len(),
        dualstack && nat,
        "a dualstack load balancer with prefixes for source NAT switched on",
    );
    if nat && !dualstack {
        problems.push(Problem::new(
            field(key::SOURCE_NAT),
            "on",
            "needs a dualstack load balancer, and this one is ipv4",
            "Ask for dualstack, or remove the annotation.",
        ));
    }
    let v4 = |subnet: &Subnet| subnet.prefix.into_iter().collect::<Vec<Cidr>>();
    let v6 = |subnet: &Subnet| subnet.ipv6.clone();
    if private {
        let held = by_containment(
            &asked.private,
            subnets,
            v4,
            key::PRIVATE_IPV4_ADDRESSES,
            &mut problems,
        );
        for (place, address) in mapping.iter_mut().zip(held) {
            place.private = address;
        }
    }
    if ipv6 {
        let held = by_containment(&asked.ipv6, subnets, v6, key::IPV6_ADDRESSES, &mut problems);
        for (place, address) in mapping.iter_mut().zip(held) {
            place.ipv6 = address;
        }
    }
    if prefixes {
        let pairs = subnets.iter().zip(&asked.source_nat_prefixes);
        for (place, (subnet, prefix)) in mapping.iter_mut().zip(pairs) {
            if let Err(problem) = in_subnet(prefix, subnet) {
                problems.push(*problem);
            }
            place.source_nat_prefix = Some(Arc::clone(prefix));
        }
    }
    if problems.is_empty() {
        Ok(mapping)
    } else {
        Err(Stop::Refused(problems))
    }
}

/// For each subnet the address that lies in it; every subnet needs exactly one.
fn by_containment<A: Copy + Into<IpAddr> + Display>(
    addresses: &[A],
    subnets: &[&Subnet],
    prefixes: impl Fn(&Subnet) -> Vec<Cidr>,
    key: &str,
    problems: &mut Vec<Problem>,
) -> Vec<Option<A>> {
    let holds = |subnet: &Subnet, address: &A| {
        prefixes(subnet)
            .iter()
            .any(|prefix| prefix.contains((*address).into()))
    };
    for address in addresses {
        if !subnets.iter().any(|subnet| holds(subnet, address)) {
            let all: Vec<String> = subnets
                .iter()
                .flat_map(|subnet| {
                    let id = &subnet.id;
                    prefixes(subnet)
                        .into_iter()
                        .map(move |prefix| format!("{prefix} ({id})"))
                })
                .collect();
            problems.push(Problem::new(
                field(key),
                address.to_string(),
                format!("lies in none of the subnets: {}", all.join(", ")),
                "Write one address of each subnet.",
            ));
        }
    }
    subnets
        .iter()
        .map(|subnet| {
            let mut held = addresses.iter().filter(|address| holds(subnet, address));
            let first = held.next().copied();
            if first.is_none() || held.next().is_some() {
                let count = if first.is_none() {
                    "no address"
                } else {
                    "more than one address"
                };
                problems.push(Problem::new(
                    field(key),
                    &*subnet.id,
                    format!("gets {count}, and needs one"),
                    "Write one address of each subnet.",
                ));
            }
            first
        })
        .collect()
}

/// Whether a prefix for source NAT is an IPv6 /80 of the subnet, or is left to AWS.
fn in_subnet(prefix: &str, subnet: &Subnet) -> Result<(), Box<Problem>> {
    if prefix == "auto_assigned" {
        return Ok(());
    }
    let problem = |message: String| {
        Box::new(Problem::new(
            field(key::SOURCE_NAT_PREFIXES),
            prefix,
            message,
            "Write an IPv6 prefix of length 80 of the subnet, or auto_assigned.",
        ))
    };
    let Ok(net) = prefix.parse::<Cidr>() else {
        return Err(problem("is no prefix".to_owned()));
    };
    if net.net().prefix_len() != 80 {
        return Err(problem("has not the length 80".to_owned()));
    }
    if !subnet
        .ipv6
        .iter()
        .any(|whole| whole.net().contains(&net.net()))
    {
        return Err(problem(format!("lies outside of the subnet {}", subnet.id)));
    }
    Ok(())
}
