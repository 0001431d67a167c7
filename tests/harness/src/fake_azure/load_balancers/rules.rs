//! Rules, probes, NAT rules and outbound rules, each by itself. Decides.
//!
//! Ranges are those of the API's description (`LoadBalancingRulePropertiesFormat`, `ProbePropertiesFormat`, ...); where nobody reports the
//! code of a refusal it is our own, and its text names the place.

use std::ops::RangeInclusive;

use serde_json::Value;

use super::{Index, pools};
use crate::fake_azure::json::{Parts as _, children, name_of, same};
use crate::fake_azure::refusal::{Answer, forbidden, malformed, refuse};
use crate::fake_azure::turn::Turn;

pub(super) fn check(turn: &Turn<'_>, id: &str, goal: &Value) -> Answer<()> {
    let rules = children(goal, "loadBalancingRules");
    let quotas = &turn.settings.quotas;
    let count = rules.len() + children(goal, "inboundNatRules").len();
    if count > quotas.rules {
        return Err(forbidden(
            "LoadBalancingRuleCountLimitReached",
            format!(
                "Load balancer {id} cannot have more than {} rules.",
                quotas.rules
            ),
        ));
    }
    if children(goal, "outboundRules").len() > quotas.outbound_rules {
        return Err(forbidden(
            "OutboundRuleCountLimitReached",
            format!(
                "Load balancer {id} cannot have more than {} outbound rules.",
                quotas.outbound_rules
            ),
        ));
    }
    for probe in children(goal, "probes") {
        check_probe(&format!("{id}/probes/{}", name_of(probe)), probe)?;
    }
    let index = Index::of(id, goal);
    for rule in rules {
        check_rule(turn, &index, goal, rule)?;
    }
    for collection in ["inboundNatRules", "inboundNatPools"] {
        for rule in children(goal, collection) {
            let at = format!("{id}/{collection}/{}", name_of(rule));
            let frontend = &rule["properties"]["frontendIPConfiguration"];
            index.resolve("frontendIPConfigurations", frontend, &at)?;
        }
    }
    for rule in children(goal, "outboundRules") {
        check_outbound(&index, rule)?;
    }
    Ok(())
}

fn within(at: &str, rule: &Value, field: &str, range: RangeInclusive<i64>) -> Answer<()> {
    match rule.number(&format!("/properties/{field}")) {
        Some(value) if !range.contains(&value) => Err(forbidden(
            "ValueOutOfRange",
            format!(
                "{field} of {at} is {value}; it is {} to {}.",
                range.start(),
                range.end()
            ),
        )),
        _ => Ok(()),
    }
}

fn check_probe(at: &str, probe: &Value) -> Answer<()> {
    // "Possible values range from 1 to 65535, inclusive."
    within(at, probe, "port", 1..=65_535)?;
    // "The default value is 15, the minimum value is 5."
    within(at, probe, "intervalInSeconds", 5..=i64::from(i32::MAX))?;
    within(at, probe, "numberOfProbes", 1..=i64::from(i32::MAX))?;
    within(at, probe, "probeThreshold", 1..=100)?;
    // "Path is required if a protocol is set to http. Otherwise, it is not allowed."
    let path = probe.text("/properties/requestPath");
    match (probe.text("/properties/protocol"), path) {
        (Some("Tcp"), Some(_)) => Err(forbidden(
            "ProbeRequestPathNotAllowed",
            format!("{at} is Tcp and cannot have a requestPath."),
        )),
        (Some("Http" | "Https"), None | Some("")) => Err(forbidden(
            "ProbeRequestPathMissing",
            format!("{at} needs a requestPath."),
        )),
        (Some("Http" | "Https"), Some(path)) if !path.starts_with('/') => Err(forbidden(
            "ProbeRequestPathInvalid",
            format!("requestPath of {at} begins with a slash."),
        )),
        _ => Ok(()),
    }
}

fn check_rule(turn: &Turn<'_>, index: &Index<'_>, goal: &Value, rule: &Value) -> Answer<()> {
    let id = index.id;
    let at = format!("{id}/loadBalancingRules/{}", name_of(rule));
    let properties = &rule["properties"];
    let (protocol, front, back) = (
        properties.text("/protocol").unwrap_or_default(),
        properties.number("/frontendPort").unwrap_or_default(),
        properties.number("/backendPort").unwrap_or_default(),
    );
    // "Acceptable values are between 0 and 65534. Note that value 0 enables "Any Port"." and "between 0 and 65535".
    within(&at, rule, "frontendPort", 0..=65_534)?;
    within(&at, rule, "backendPort", 0..=65_535)?;
    // "Configure TCP reset and idle timeout": 4 to 100 minutes.
    within(&at, rule, "idleTimeoutInMinutes", 4..=100)?;
    // "High availability ports": protocol All and port 0, and only together.
    let any = (front == 0, back == 0, protocol == "All");
    if any != (true, true, true) && any != (false, false, false) {
        return Err(forbidden(
            "LoadBalancingRuleAnyPortNeedsProtocolAll",
            format!(
                "{at}: protocol {protocol}, frontendPort {front}, backendPort {back}; port 0 goes with protocol All, and both ports are 0 then."
            ),
        ));
    }
    // "enableTcpReset: ... This element is only used when the protocol is set to TCP."
    if properties.flag("/enableTcpReset") && protocol == "Udp" {
        return Err(forbidden(
            "LoadBalancingRuleTcpResetNeedsTcp",
            format!("{at} is Udp and cannot have enableTcpReset."),
        ));
    }
    // "Azure Load Balancer Floating IP configuration": the backend port is the frontend's.
    if properties.flag("/enableFloatingIP") && front != back {
        return Err(forbidden(
            "LoadBalancingRuleFloatingIPPortsDiffer",
            format!("{at} has a floating IP, so frontendPort {front} must be backendPort {back}."),
        ));
    }
    let frontend = index.resolve(
        "frontendIPConfigurations",
        &properties["frontendIPConfiguration"],
        &at,
    )?;
    if protocol == "All" && !frontend.has("/properties/subnet") {
        return Err(forbidden(
            "HAPortsNeedInternalFrontend",
            format!("{at}: high availability ports are for internal frontends."),
        ));
    }
    if properties.has("/probe") {
        index.resolve("probes", &properties["probe"], &at)?;
    }
    let v6 = family(turn, frontend);
    for pool in properties.list("/backendAddressPools") {
        let pool = index.resolve("backendAddressPools", pool, &at)?;
        let mut addresses = pools::addresses(pool).into_iter();
        if addresses.any(|address| address.is_ipv6() != v6) {
            return Err(forbidden(
                "LoadBalancingRuleMixesAddressVersions",
                format!(
                    "{at}: the frontend and the pool {} are of different versions.",
                    name_of(pool)
                ),
            ));
        }
    }
    if properties.has("/backendAddressPool") {
        index.resolve(
            "backendAddressPools",
            &properties["backendAddressPool"],
            &at,
        )?;
    }
    check_snat(id, goal, rule, &at)
}

/// Whether a frontend is of IPv6.
fn family(turn: &Turn<'_>, frontend: &Value) -> bool {
    let public = frontend.text("/properties/publicIPAddress/id");
    let public = public.and_then(|id| turn.state.resources.get(&id.to_lowercase()));
    let version = match public {
        Some(public) => public.goal.text("/properties/publicIPAddressVersion"),
        None => frontend.text("/properties/privateIPAddressVersion"),
    };
    version == Some("IPv6")
}

/// As users report it: a rule beside an outbound rule of the same frontend does not translate sources.
fn check_snat(id: &str, goal: &Value, rule: &Value, at: &str) -> Answer<()> {
    if rule.flag("/properties/disableOutboundSnat") {
        return Ok(());
    }
    let frontend = rule.text("/properties/frontendIPConfiguration/id");
    for outbound in children(goal, "outboundRules") {
        let mut of = outbound
            .list("/properties/frontendIPConfigurations")
            .iter()
            .filter_map(|one| one.text("/id"));
        if of.any(|of| frontend.is_some_and(|frontend| same(frontend, of))) {
            return Err(refuse(
                "LoadBalancingRuleMustDisableSNATSinceSameFrontendIPConfigurationIsReferencedByOutboundRule",
                format!(
                    "Load balancing rule {at} must disable SNAT since it references a frontend IP configuration that is also used by {id}/outboundRules/{}.",
                    name_of(outbound)
                ),
            ));
        }
    }
    Ok(())
}

fn check_outbound(index: &Index<'_>, rule: &Value) -> Answer<()> {
    let at = format!("{}/outboundRules/{}", index.id, name_of(rule));
    let frontends = rule.list("/properties/frontendIPConfigurations");
    if frontends.is_empty() {
        return Err(malformed(
            "MissingJsonReferenceId",
            format!("Value for reference id is missing. Path 'frontendIPConfigurations' of {at}."),
        ));
    }
    for reference in frontends {
        let frontend = index.resolve("frontendIPConfigurations", reference, &at)?;
        // "Outbound rules Azure Load Balancer": of public frontends.
        if frontend.has("/properties/subnet") {
            return Err(forbidden(
                "OutboundRuleNeedsPublicFrontend",
                format!("{at} refers to an internal frontend."),
            ));
        }
    }
    let pool = &rule["properties"]["backendAddressPool"];
    index.resolve("backendAddressPools", pool, &at)?;
    // API, `idleTimeoutInMinutes`; "Outbound rules": 4 to 100 minutes, ports in multiples of 8.
    within(&at, rule, "idleTimeoutInMinutes", 4..=100)?;
    let ports = rule
        .number("/properties/allocatedOutboundPorts")
        .unwrap_or(0);
    if ports % 8 != 0 || !(0..=64_000).contains(&ports) {
        return Err(forbidden(
            "OutboundRulePortsInvalid",
            format!(
                "allocatedOutboundPorts of {at} is {ports}; it is a multiple of 8, at most 64000."
            ),
        ));
    }
    Ok(())
}
