//! What no two rules may share, and how many may meet at one node. Decides.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use serde_json::Value;

use super::pools;
use crate::fake_azure::json::{Parts as _, children, name_of, same};
use crate::fake_azure::refusal::{Answer, forbidden, refuse};
use crate::fake_azure::state::Kind;
use crate::fake_azure::turn::Turn;

pub(super) fn check(turn: &Turn<'_>, id: &str, goal: &Value) -> Answer<()> {
    frontends(id, goal)?;
    backends(id, goal)?;
    nodes(turn, id, goal)
}

fn lower(value: &Value, pointer: &str) -> String {
    value.text(pointer).unwrap_or_default().to_lowercase()
}

/// "Multiple frontends for Azure Load Balancer": a rule is found by frontend, protocol and port. The code is unverified.
fn frontends(id: &str, goal: &Value) -> Answer<()> {
    let mut seen: HashMap<(String, i64), Vec<(String, String)>> = HashMap::new();
    for collection in ["loadBalancingRules", "inboundNatRules"] {
        for rule in children(goal, collection) {
            let at = format!("{id}/{collection}/{}", name_of(rule));
            let protocol = rule.text("/properties/protocol").unwrap_or_default();
            let frontend = lower(rule, "/properties/frontendIPConfiguration/id");
            let port = rule.number("/properties/frontendPort").unwrap_or_default();
            // Protocol All has the port 0, which is all ports.
            let all = |port| (frontend.clone(), port);
            let with_all = seen.get(&all(0)).into_iter().flatten();
            let alike = seen.get(&all(port)).into_iter().flatten();
            let any: Vec<_> = match protocol {
                "All" => seen
                    .iter()
                    .filter(|((of, _), _)| *of == frontend)
                    .flat_map(|(_, rules)| rules)
                    .collect(),
                _ => with_all
                    .chain(alike.filter(|(_, other)| other == protocol))
                    .collect(),
            };
            if let Some((other, _)) = any.first() {
                return Err(refuse(
                    "RulesUseSameFrontendPortProtocolAndIPConfig",
                    format!(
                        "Load balancing rules {other} and {at} use the same frontend port {port} and protocol {protocol}, and must not be used with the same frontend IP configuration {}.",
                        rule.text("/properties/frontendIPConfiguration/id")
                            .unwrap_or_default()
                    ),
                ));
            }
            let key = (frontend, port);
            seen.entry(key).or_default().push((at, protocol.to_owned()));
        }
    }
    Ok(())
}

/// The codes and the text are those that users report (azure-docs#94673, #117762), of rules with the floating IP disabled.
fn backends(id: &str, goal: &Value) -> Answer<()> {
    let members: HashMap<String, BTreeSet<IpAddr>> = children(goal, "backendAddressPools")
        .iter()
        .map(|pool| {
            let at = format!("{id}/backendAddressPools/{}", name_of(pool)).to_lowercase();
            (at, pools::addresses(pool).into_iter().collect())
        })
        .collect();
    // The rules and pools that have a protocol and a port of the backends.
    let mut seen: HashMap<(&str, i64), Vec<(&str, &str)>> = HashMap::new();
    for rule in children(goal, "loadBalancingRules") {
        let properties = &rule["properties"];
        if properties.flag("/enableFloatingIP") || properties.flag("/allowBackendPortConflict") {
            continue;
        }
        let protocol = properties.text("/protocol").unwrap_or_default();
        let port = properties.number("/backendPort").unwrap_or_default();
        let alike = seen.entry((protocol, port)).or_default();
        for reference in properties.list("/backendAddressPools") {
            let pool = reference.text("/id").unwrap_or_default();
            for (other, their_pool) in alike.iter() {
                let text = |place: &str| {
                    format!(
                        "Load balancing rules {id}/loadBalancingRules/{other} and {id}/loadBalancingRules/{} with floating IP disabled use the same protocol {protocol} and backend port {port}, and must not be used with the same {place}.",
                        name_of(rule)
                    )
                };
                if same(pool, their_pool) {
                    let code = "RulesUseSameBackendPortProtocolAndPool";
                    return Err(refuse(code, text(&format!("backend address pool {pool}"))));
                }
                let of = |pool: &str| members.get(&pool.to_lowercase());
                let (Some(ours), Some(theirs)) = (of(pool), of(their_pool)) else {
                    continue;
                };
                if let Some(address) = ours.intersection(theirs).next() {
                    let code = "RulesUseSameBackendPortProtocolAndIPConfig";
                    return Err(refuse(code, text(&format!("backend ip {address}"))));
                }
            }
            alike.push((name_of(rule), pool));
        }
    }
    Ok(())
}

/// "Load balancer limits": 300 rules a network interface over all of its load balancers, and a machine in one public and one internal load
/// balancer. The text is that of azure-docs#47423; both codes are unverified.
fn nodes(turn: &Turn<'_>, id: &str, goal: &Value) -> Answer<()> {
    let limit = turn.settings.quotas.rules_per_interface;
    let mut rules: HashMap<IpAddr, usize> = HashMap::new();
    let mut count = |body: &Value| {
        let mut of_pool: HashMap<String, usize> = HashMap::new();
        for rule in children(body, "loadBalancingRules") {
            for pool in rule.list("/properties/backendAddressPools") {
                *of_pool.entry(lower(pool, "/id")).or_default() += 1;
            }
        }
        for pool in children(body, "backendAddressPools") {
            let end = format!("/backendaddresspools/{}", name_of(pool).to_lowercase());
            let count: usize = of_pool
                .iter()
                .filter(|(pool, _)| pool.ends_with(&end))
                .map(|(_, count)| count)
                .sum();
            for address in pools::addresses(pool) {
                *rules.entry(address).or_default() += count;
            }
        }
    };
    count(goal);
    let own: BTreeSet<IpAddr> = all_addresses(goal);
    let internal = is_internal(goal);
    let others: Vec<_> = turn
        .state
        .of(Kind::LoadBalancer)
        .filter(|other| !other.id.eq_ignore_ascii_case(id))
        .collect();
    for other in others {
        count(&other.goal);
        let shared = all_addresses(&other.goal);
        if let Some(address) = own.intersection(&shared).next()
            && is_internal(&other.goal) == internal
        {
            let kind = if internal { "internal" } else { "public" };
            return Err(forbidden(
                "BackendInMoreThanOneLoadBalancerOfAKind",
                format!(
                    "The address {address} is already a backend of the {kind} load balancer {}.",
                    other.id
                ),
            ));
        }
    }
    if let Some((address, _)) = rules
        .iter()
        .filter(|(address, _)| own.contains(address))
        .find(|(_, count)| **count > limit)
    {
        return Err(refuse(
            "NetworkInterfaceRuleCountLimitReached",
            format!(
                "IpConfiguration {address} cannot have more than {} NAT or load balancing rules combined.",
                limit.saturating_sub(1)
            ),
        ));
    }
    Ok(())
}

fn all_addresses(body: &Value) -> BTreeSet<IpAddr> {
    let pools = children(body, "backendAddressPools").iter();
    pools.flat_map(pools::addresses).collect()
}

fn is_internal(body: &Value) -> bool {
    let mut frontends = children(body, "frontendIPConfigurations").iter();
    frontends.any(|one| one.has("/properties/subnet"))
}
