//! What no two rules may share, and how many may meet at one node. Decides.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use serde_json::Value;

use super::pools;
use crate::fake_azure::addresses::is_interface;
use crate::fake_azure::json::{Parts as _, children, name_of, same};
use crate::fake_azure::refusal::{Answer, forbidden, refuse};
use crate::fake_azure::state::Kind;
use crate::fake_azure::turn::Turn;

pub(super) fn check(turn: &Turn<'_>, id: &str, goal: &Value) -> Answer<()> {
    frontends(id, goal)?;
    let interfaces = interfaces(turn);
    backends(&interfaces, id, goal)?;
    nodes(turn, &interfaces, id, goal)
}

/// The addresses of the interfaces in pools, by the pool's key.
type Interfaces = HashMap<String, BTreeSet<IpAddr>>;

fn interfaces(turn: &Turn<'_>) -> Interfaces {
    let mut interfaces = Interfaces::new();
    for one in turn.state.of(Kind::Other) {
        if !is_interface(&one.id) {
            continue;
        }
        for configuration in children(&one.goal, "ipConfigurations") {
            let address = configuration.text("/properties/privateIPAddress");
            let Some(address) = address.and_then(|address| address.parse().ok()) else {
                continue;
            };
            for pool in configuration.list("/properties/loadBalancerBackendAddressPools") {
                let pool = lower(pool, "/id");
                interfaces.entry(pool).or_default().insert(address);
            }
        }
    }
    interfaces
}

/// The addresses behind each pool of a load balancer, by the pool's key.
fn members(interfaces: &Interfaces, id: &str, body: &Value) -> Interfaces {
    let pools = children(body, "backendAddressPools").iter();
    pools
        .map(|pool| {
            let at = format!("{id}/backendAddressPools/{}", name_of(pool)).to_lowercase();
            let mut all: BTreeSet<_> = pools::addresses(pool).into_iter().collect();
            all.extend(interfaces.get(&at).into_iter().flatten());
            (at, all)
        })
        .collect()
}

fn lower(value: &Value, pointer: &str) -> String {
    value.text(pointer).unwrap_or_default().to_lowercase()
}

/// "Multiple frontends for Azure Load Balancer": a rule is found by frontend, protocol and port.
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
                return Err(forbidden(
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
fn backends(interfaces: &Interfaces, id: &str, goal: &Value) -> Answer<()> {
    let members = members(interfaces, id, goal);
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
/// balancer. The text is that of azure-docs#47423.
fn nodes(turn: &Turn<'_>, interfaces: &Interfaces, id: &str, goal: &Value) -> Answer<()> {
    let limit = turn.settings.quotas.rules_per_interface;
    let mut rules: HashMap<IpAddr, usize> = HashMap::new();
    let mut count = |id: &str, body: &Value| -> BTreeSet<IpAddr> {
        let members = members(interfaces, id, body);
        let mut of_pool: HashMap<String, usize> = HashMap::new();
        for rule in children(body, "loadBalancingRules") {
            for pool in rule.list("/properties/backendAddressPools") {
                *of_pool.entry(lower(pool, "/id")).or_default() += 1;
            }
        }
        for (pool, addresses) in &members {
            let count = of_pool.get(pool).copied().unwrap_or_default();
            for address in addresses {
                *rules.entry(*address).or_default() += count;
            }
        }
        members.into_values().flatten().collect()
    };
    let own = count(id, goal);
    let internal = is_internal(goal);
    for other in turn.state.of(Kind::LoadBalancer) {
        if other.id.eq_ignore_ascii_case(id) {
            continue;
        }
        let theirs = count(&other.id, &other.goal);
        if let Some(address) = own.intersection(&theirs).next()
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
        return Err(forbidden(
            "NetworkInterfaceRuleCountLimitReached",
            format!(
                "IpConfiguration {address} cannot have more than {} NAT or load balancing rules combined.",
                limit.saturating_sub(1)
            ),
        ));
    }
    Ok(())
}

fn is_internal(body: &Value) -> bool {
    let mut frontends = children(body, "frontendIPConfigurations").iter();
    frontends.any(|one| one.has("/properties/subnet"))
}
