//! Our parts in Azure's words, and back (Decides). What cannot be read back is not as we write it, and is written anew.

use std::{net::IpAddr, sync::Arc};

use evenkeel_core::net::IpFamily;
use serde_json::{Value, json};

use super::json::Child;
use crate::model::{Frontend, Members, Place, Probe, ProbeProtocol, Rule, SecurityRule, Transport};

/// The lists of a load balancer.
pub(super) mod list {
    pub(crate) const FRONTENDS: &str = "frontendIPConfigurations";
    pub(crate) const POOLS: &str = "backendAddressPools";
    pub(crate) const RULES: &str = "loadBalancingRules";
    pub(crate) const PROBES: &str = "probes";
    /// Those that are never ours.
    pub(crate) const OTHERS: [&str; 3] = ["inboundNatRules", "inboundNatPools", "outboundRules"];
    /// All.
    pub(crate) const ALL: [&str; 7] = [
        FRONTENDS, POOLS, RULES, PROBES, OTHERS[0], OTHERS[1], OTHERS[2],
    ];
    /// The list of a network security group.
    pub(crate) const SECURITY_RULES: &str = "securityRules";
}

/// The last part of the id that a value refers to.
pub(super) fn referred(value: &Value) -> Option<&str> {
    value["id"].as_str()?.rsplit('/').next()
}

fn number<T: TryFrom<u64>>(value: &Value) -> Option<T> {
    value.as_u64()?.try_into().ok()
}

pub(super) fn frontend(name: &Arc<str>, frontend: &Frontend, zones: &Value) -> Child {
    let child = match &frontend.place {
        Place::PublicIp(id) => Child::new(name, json!({ "publicIPAddress": { "id": **id } })),
        Place::Subnet { id, address } => {
            let mut properties = json!({ "subnet": { "id": **id } });
            match address {
                None => properties["privateIPAllocationMethod"] = "Dynamic".into(),
                Some(address) => {
                    properties["privateIPAllocationMethod"] = "Static".into();
                    properties["privateIPAddress"] = address.to_string().into();
                }
            }
            if frontend.family == IpFamily::V6 {
                properties["privateIPAddressVersion"] = "IPv6".into();
            }
            Child::new(name, properties)
        }
    };
    match zones {
        Value::Null => child,
        zones => child.with("zones", zones.clone()),
    }
}

pub(super) fn read_frontend(child: &Child) -> Option<Frontend> {
    let given: Option<IpAddr> = child
        .get("privateIPAddress")
        .as_str()
        .and_then(|ip| ip.parse().ok());
    if let Some(id) = child.get("publicIPAddress")["id"].as_str() {
        return Some(Frontend {
            family: family_of_name(&child.name),
            place: Place::PublicIp(id.into()),
            given: None,
        });
    }
    let is_static = child.get("privateIPAllocationMethod").as_str() == Some("Static");
    Some(Frontend {
        family: family_of_name(&child.name),
        place: Place::Subnet {
            id: child.get("subnet")["id"].as_str()?.into(),
            address: given.filter(|_| is_static),
        },
        given,
    })
}

/// Our names end in the family.
fn family_of_name(name: &str) -> IpFamily {
    if name.ends_with("6") {
        IpFamily::V6
    } else {
        IpFamily::V4
    }
}

/// A rule of the load balancer with this id.
pub(super) fn rule(id: &str, name: &Arc<str>, rule: &Rule, pool: &str) -> Child {
    let refer = |list: &str, name: &str| json!({ "id": format!("{id}/{list}/{name}") });
    let mut properties = json!({
        "frontendIPConfiguration": refer(list::FRONTENDS, &rule.frontend),
        "backendAddressPool": refer(list::POOLS, pool),
        "protocol": rule.transport.as_str(),
        "frontendPort": rule.port,
        "backendPort": rule.backend_port,
        "enableFloatingIP": rule.floating,
        "idleTimeoutInMinutes": rule.idle_minutes,
        "loadDistribution": if rule.sticky { "SourceIP" } else { "Default" },
        "disableOutboundSnat": rule.no_outbound,
    });
    if let Some(reset) = rule.tcp_reset {
        properties["enableTcpReset"] = reset.into();
    }
    if let Some(probe) = &rule.probe {
        properties["probe"] = refer(list::PROBES, probe);
    }
    Child::new(name, properties)
}

pub(super) fn read_rule(child: &Child) -> Option<Rule> {
    let transport = match child.get("protocol").as_str()? {
        word if word.eq_ignore_ascii_case("Tcp") => Transport::Tcp,
        word if word.eq_ignore_ascii_case("Udp") => Transport::Udp,
        _ => return None,
    };
    let flag = |name: &str| child.get(name).as_bool().unwrap_or_default();
    Some(Rule {
        frontend: referred(child.get("frontendIPConfiguration"))?.into(),
        family: family_of_name(referred(child.get("backendAddressPool"))?),
        transport,
        port: number(child.get("frontendPort"))?,
        backend_port: number(child.get("backendPort"))?,
        floating: flag("enableFloatingIP"),
        probe: referred(child.get("probe")).map(Arc::from),
        sticky: match child.get("loadDistribution").as_str() {
            None | Some("Default") => false,
            Some("SourceIP") => true,
            Some(_) => return None,
        },
        idle_minutes: child
            .get("idleTimeoutInMinutes")
            .as_u64()
            .map_or(Some(4), |minutes| minutes.try_into().ok())?,
        tcp_reset: match transport {
            Transport::Tcp => Some(flag("enableTcpReset")),
            // Azure answers false where nothing was asked.
            Transport::Udp => flag("enableTcpReset").then_some(true),
        },
        no_outbound: flag("disableOutboundSnat"),
    })
}

pub(super) fn probe(name: &Arc<str>, probe: &Probe) -> Child {
    let mut properties = json!({
        "protocol": probe.protocol.as_str(),
        "port": probe.port,
        "intervalInSeconds": probe.interval,
        "probeThreshold": probe.threshold,
    });
    if let Some(path) = &probe.path {
        properties["requestPath"] = (**path).into();
    }
    Child::new(name, properties)
}

pub(super) fn read_probe(child: &Child) -> Option<Probe> {
    Some(Probe {
        protocol: ProbeProtocol::parse(child.get("protocol").as_str()?)?,
        port: number(child.get("port"))?,
        path: child
            .get("requestPath")
            .as_str()
            .filter(|path| !path.is_empty())
            .map(Arc::from),
        interval: number(child.get("intervalInSeconds"))?,
        threshold: number(child.get("probeThreshold"))?,
    })
}

pub(super) fn pool(
    name: &Arc<str>,
    family: IpFamily,
    members: &Members,
    virtual_network: &str,
) -> Child {
    let addresses: Vec<Value> = members
        .0
        .get(&family)
        .into_iter()
        .flatten()
        .map(|(node, ip)| json!({ "name": node.as_str(), "properties": { "ipAddress": ip.to_string() } }))
        .collect();
    Child::new(
        name,
        json!({ "virtualNetwork": { "id": virtual_network }, super::json::ADDRESSES: addresses }),
    )
}

/// The nodes of a pool.
pub(super) fn read_pool(
    child: &Child,
) -> std::collections::BTreeMap<evenkeel_core::ids::NodeName, IpAddr> {
    let addresses = child.get(super::json::ADDRESSES).as_array();
    addresses
        .into_iter()
        .flatten()
        .filter_map(|address| {
            let ip = address["properties"]["ipAddress"].as_str()?.parse().ok()?;
            Some((address["name"].as_str()?.into(), ip))
        })
        .collect()
}

pub(super) fn security_rule(name: &Arc<str>, rule: &SecurityRule, priority: u64) -> Child {
    let mut properties = json!({
        "access": if rule.allow { "Allow" } else { "Deny" },
        "direction": "Inbound",
        "priority": priority,
        "protocol": rule.transport.map_or("*", Transport::as_str),
        "sourcePortRange": "*",
    });
    let mut several = |one: &str, many: &str, values: Vec<String>| match values.as_slice() {
        [value] => properties[one] = value.as_str().into(),
        values => properties[many] = values.into(),
    };
    let texts = |texts: &[Arc<str>]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
    several(
        "sourceAddressPrefix",
        "sourceAddressPrefixes",
        texts(&rule.sources),
    );
    several(
        "destinationAddressPrefix",
        "destinationAddressPrefixes",
        texts(&rule.destinations),
    );
    match rule.ports.as_slice() {
        [] => properties["destinationPortRange"] = "*".into(),
        ports => {
            let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
            properties["destinationPortRanges"] = ports.into();
        }
    }
    Child::new(name, properties)
}

pub(super) fn read_security_rule(child: &Child) -> Option<SecurityRule> {
    let several = |one: &str, many: &str| -> Vec<Arc<str>> {
        let listed = child.get(many).as_array().into_iter().flatten();
        let mut all: Vec<Arc<str>> = listed
            .chain([child.get(one)])
            .filter_map(|value| {
                value
                    .as_str()
                    .filter(|text| !text.is_empty())
                    .map(Arc::from)
            })
            .collect();
        all.sort();
        all
    };
    let ports = several("destinationPortRange", "destinationPortRanges");
    let mut numbers = Vec::new();
    for port in ports.iter().filter(|port| ***port != *"*") {
        numbers.push(port.parse().ok()?);
    }
    numbers.sort_unstable();
    Some(SecurityRule {
        allow: child.get("access").as_str()? == "Allow",
        transport: match child.get("protocol").as_str()? {
            "*" => None,
            word if word.eq_ignore_ascii_case("Tcp") => Some(Transport::Tcp),
            word if word.eq_ignore_ascii_case("Udp") => Some(Transport::Udp),
            _ => return None,
        },
        sources: several("sourceAddressPrefix", "sourceAddressPrefixes"),
        destinations: several("destinationAddressPrefix", "destinationAddressPrefixes"),
        ports: numbers,
    })
}
