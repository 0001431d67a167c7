//! Attributes of load balancers, target groups and listeners: which there are, what they may be, what they are by default. Decides.
//!
//! ELB API reference, LoadBalancerAttribute, TargetGroupAttribute, ListenerAttribute: the keys for Network Load Balancers and for all
//! types, with values and defaults.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::super::asked::{Parameters as _, pairs};
use super::super::refusal::{Answer, Refusal, invalid, misconfigured};
use super::super::turn::{Ask, Turn};
use super::listeners::Listener;
use super::load_balancers::LoadBalancer;
use super::target_groups::TargetGroup;

type Attributes = BTreeMap<String, String>;

/// What a value may be.
enum Domain {
    Bool,
    /// From, to.
    Number(u32, u32),
    /// The same, or `off`.
    NumberOrOff(u32, u32),
    OneOf(&'static [&'static str]),
    Text,
}

impl Domain {
    fn holds(&self, value: &str) -> bool {
        let within = |from: &u32, to: &u32| {
            value
                .parse::<u32>()
                .is_ok_and(|number| (*from..=*to).contains(&number))
        };
        match self {
            Self::Bool => matches!(value, "true" | "false"),
            Self::Number(from, to) => within(from, to),
            Self::NumberOrOff(from, to) => value == "off" || within(from, to),
            Self::OneOf(values) => values.contains(&value),
            Self::Text => value.len() <= 1024,
        }
    }
}

fn load_balancer_domain(key: &str) -> Option<Domain> {
    Some(match key {
        "deletion_protection.enabled"
        | "load_balancing.cross_zone.enabled"
        | "access_logs.s3.enabled"
        | "ipv6.deny_all_igw_traffic"
        | "zonal_shift.config.enabled" => Domain::Bool,
        "access_logs.s3.bucket" | "access_logs.s3.prefix" => Domain::Text,
        // "The possible values are availability_zone_affinity with 100 percent zonal affinity, partial_availability_zone_affinity with 85
        // percent zonal affinity, and any_availability_zone with 0 percent zonal affinity."
        "dns_record.client_routing_policy" => Domain::OneOf(&[
            "any_availability_zone",
            "availability_zone_affinity",
            "partial_availability_zone_affinity",
        ]),
        // "The number of secondary IP addresses to configure for your load balancer nodes. [...] The valid range is 0-7."
        "secondary_ips.auto_assigned.per_subnet" => Domain::Number(0, 7),
        _ => return None,
    })
}

fn target_group_domain(key: &str) -> Option<Domain> {
    Some(match key {
        "deregistration_delay.connection_termination.enabled"
        | "preserve_client_ip.enabled"
        | "proxy_protocol_v2.enabled"
        | "stickiness.enabled"
        | "target_health_state.unhealthy.connection_termination.enabled" => Domain::Bool,
        "deregistration_delay.timeout_seconds" => Domain::Number(0, 3600),
        "stickiness.type" => Domain::OneOf(&["source_ip"]),
        "load_balancing.cross_zone.enabled" => {
            Domain::OneOf(&["true", "false", "use_load_balancer_configuration"])
        }
        // "The possible values are off or an integer from 1 to the maximum number of targets."
        "target_group_health.dns_failover.minimum_healthy_targets.count" => {
            Domain::NumberOrOff(1, 1000)
        }
        "target_group_health.unhealthy_state_routing.minimum_healthy_targets.count" => {
            Domain::Number(1, 1000)
        }
        "target_group_health.dns_failover.minimum_healthy_targets.percentage"
        | "target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage" => {
            Domain::NumberOrOff(1, 100)
        }
        "target_health_state.unhealthy.draining_interval_seconds" => Domain::Number(0, 360_000),
        _ => return None,
    })
}

fn collect(pairs: &[(&str, &str)]) -> Attributes {
    let pairs = pairs.iter();
    pairs
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

/// The attributes of a new Network Load Balancer.
pub(super) fn of_load_balancer(scheme: &str) -> Attributes {
    // "ipv6.deny_all_igw_traffic [...] It is set to false for internet-facing load balancers and true for internal load balancers".
    let deny = if scheme == "internal" {
        "true"
    } else {
        "false"
    };
    collect(&[
        ("access_logs.s3.bucket", ""),
        ("access_logs.s3.enabled", "false"),
        ("access_logs.s3.prefix", ""),
        ("deletion_protection.enabled", "false"),
        ("dns_record.client_routing_policy", "any_availability_zone"),
        ("ipv6.deny_all_igw_traffic", deny),
        ("load_balancing.cross_zone.enabled", "false"),
        ("secondary_ips.auto_assigned.per_subnet", "0"),
        ("zonal_shift.config.enabled", "false"),
    ])
}

/// The attributes of a new target group.
pub(super) fn of_target_group(protocol: &str, target_type: &str) -> Attributes {
    let datagrams = matches!(protocol, "UDP" | "TCP_UDP");
    let text = |on: bool| if on { "true" } else { "false" };
    let mut attributes = collect(&[
        // "For new UDP/TCP_UDP target groups the default is true. Otherwise, the default is false."
        (
            "deregistration_delay.connection_termination.enabled",
            text(datagrams),
        ),
        ("deregistration_delay.timeout_seconds", "300"),
        (
            "load_balancing.cross_zone.enabled",
            "use_load_balancer_configuration",
        ),
        // "The default is disabled if the target group type is IP address and the target group protocol is TCP or TLS. Otherwise, the
        // default is enabled."
        (
            "preserve_client_ip.enabled",
            text(datagrams || target_type == "instance"),
        ),
        ("proxy_protocol_v2.enabled", "false"),
        ("stickiness.enabled", "false"),
        ("stickiness.type", "source_ip"),
        (
            "target_group_health.dns_failover.minimum_healthy_targets.count",
            "1",
        ),
        (
            "target_group_health.dns_failover.minimum_healthy_targets.percentage",
            "off",
        ),
        (
            "target_group_health.unhealthy_state_routing.minimum_healthy_targets.count",
            "1",
        ),
        (
            "target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage",
            "off",
        ),
    ]);
    // Network Load Balancer guide, "Target groups", target group attributes: termination for unhealthy targets is of TCP and TLS.
    if !datagrams {
        attributes.extend(collect(&[
            (
                "target_health_state.unhealthy.connection_termination.enabled",
                "true",
            ),
            (
                "target_health_state.unhealthy.draining_interval_seconds",
                "0",
            ),
        ]));
    }
    attributes
}

/// The attributes of a listener. "tcp.idle_timeout.seconds - The tcp idle timeout value, in seconds. The valid range is 60-6000 seconds. The
/// default is 350 seconds"; it is of TCP listeners (Network Load Balancer guide, "Update the TCP idle timeout").
pub(super) fn of_listener(protocol: &str) -> Attributes {
    match protocol {
        "TCP" => collect(&[("tcp.idle_timeout.seconds", "350")]),
        _ => Attributes::new(),
    }
}

fn unknown(what: &str, key: &str) -> Refusal {
    invalid(format!("{what} attribute key '{key}' is not recognized"))
}

fn wrong(what: &str, key: &str, value: &str) -> Refusal {
    invalid(format!(
        "{what} attribute key '{key}' cannot have the value '{value}'"
    ))
}

/// Sets all that was asked for; a call is refused as a whole.
fn set(
    turn: &Turn<'_>,
    what: &str,
    attributes: &mut Attributes,
    domain: impl Fn(&str) -> Option<Domain>,
) -> Result<Vec<(String, String)>, Refusal> {
    let mut given = Vec::new();
    for attribute in turn.asked.list("Attributes") {
        let key = attribute.text("Key").unwrap_or_default();
        let value = attribute.text("Value").unwrap_or_default();
        let domain = domain(key).ok_or_else(|| unknown(what, key))?;
        if !domain.holds(value) {
            return Err(wrong(what, key, value));
        }
        if !attributes.contains_key(key) {
            return Err(misconfigured(format!(
                "{what} attribute key '{key}' is not supported here"
            )));
        }
        attributes.insert(key.to_owned(), value.to_owned());
        given.push((key.to_owned(), value.to_owned()));
    }
    Ok(given)
}

fn load_balancer<'a>(ask: &Ask<'a>) -> Result<&'a LoadBalancer, Refusal> {
    let arn = ask.asked.required("LoadBalancerArn");
    super::load_balancers::get(ask.state, arn)
}

pub(in super::super) fn describe_load_balancer(ask: &Ask<'_>) -> Answer {
    Ok(json!({"Attributes": pairs(&load_balancer(ask)?.attributes)}))
}

pub(in super::super) fn modify_load_balancer(turn: &mut Turn<'_>) -> Answer {
    let old = load_balancer(&turn.ask())?.clone();
    let mut attributes = old.attributes.clone();
    if turn.asked.list("Attributes").len() > 20 {
        // LoadBalancerAttributes: "Maximum number of 20 items."
        return Err(invalid("At most 20 attributes can be modified in one call"));
    }
    set(turn, "Load balancer", &mut attributes, load_balancer_domain)?;
    let number = |attributes: &Attributes| {
        let number = attributes.get("secondary_ips.auto_assigned.per_subnet");
        number.and_then(|number| number.parse::<u32>().ok())
    };
    if number(&attributes) < number(&old.attributes) {
        // Network Load Balancer guide, "Secondary IP addresses": "the number of secondary IP addresses can't be decreased".
        return Err(misconfigured(
            "The number of secondary IP addresses cannot be decreased",
        ));
    }
    if attributes["access_logs.s3.enabled"] == "true"
        && attributes["access_logs.s3.bucket"].is_empty()
    {
        // "access_logs.s3.bucket - The name of the S3 bucket for the access logs. This attribute is required if access logs are enabled."
        return Err(misconfigured(
            "'access_logs.s3.bucket' must be specified if 'access_logs.s3.enabled' is true",
        ));
    }
    super::targets::check_load_balancer(
        turn,
        &old.arn,
        attributes.get("load_balancing.cross_zone.enabled"),
    )?;
    let shown = pairs(&attributes);
    if let Some(there) = turn.state.load_balancers.get_mut(&old.arn) {
        there.attributes = attributes;
    }
    Ok(json!({"Attributes": shown}))
}

fn target_group<'a>(ask: &Ask<'a>) -> Result<&'a TargetGroup, Refusal> {
    let arn = ask.asked.required("TargetGroupArn");
    super::target_groups::get(ask.state, arn)
}

pub(in super::super) fn describe_target_group(ask: &Ask<'_>) -> Answer {
    Ok(json!({"Attributes": pairs(&target_group(ask)?.attributes)}))
}

pub(in super::super) fn modify_target_group(turn: &mut Turn<'_>) -> Answer {
    let group = target_group(&turn.ask())?.clone();
    let mut attributes = group.attributes.clone();
    let given = set(turn, "Target group", &mut attributes, target_group_domain)?;
    let datagrams = matches!(&*group.protocol, "UDP" | "TCP_UDP");
    let is = |key: &str, value: &str| given.iter().any(|(k, v)| k == key && v == value);
    // Network Load Balancer guide, "Client IP preservation": it cannot be disabled for instance and IP targets of UDP and TCP_UDP.
    if datagrams && is("preserve_client_ip.enabled", "false") {
        return Err(misconfigured(format!(
            "You cannot disable client IP preservation for {} target groups",
            group.protocol
        )));
    }
    // The same, "Sticky sessions": "Sticky sessions are not supported with TLS listeners and TLS target groups."
    if group.protocol == "TLS" && is("stickiness.enabled", "true") {
        return Err(misconfigured(
            "You cannot enable stickiness on target groups with the TLS protocol",
        ));
    }
    let listeners = turn.state.listeners.values();
    let mut of_tls = listeners.filter(|one| one.protocol == "TLS" && one.forwards_to(&group.arn));
    if is("stickiness.enabled", "true") && of_tls.next().is_some() {
        return Err(misconfigured(
            "You cannot enable stickiness on target groups used by TLS listeners",
        ));
    }
    // "draining_interval_seconds [...]: this attribute can only be configured when connection_termination.enabled is false"; the guide,
    // "Connection termination for unhealthy targets".
    let interval = &attributes.get("target_health_state.unhealthy.draining_interval_seconds");
    let terminates = attributes.get("target_health_state.unhealthy.connection_termination.enabled");
    if interval.is_some_and(|interval| interval != "0") && terminates.is_some_and(|on| on == "true")
    {
        return Err(misconfigured(
            "An unhealthy draining interval needs connection termination for unhealthy targets to be off",
        ));
    }
    let shown = pairs(&attributes);
    if let Some(there) = turn.state.target_groups.get_mut(&group.arn) {
        there.attributes = attributes;
    }
    Ok(json!({"Attributes": shown}))
}

fn listener<'a>(ask: &Ask<'a>) -> Result<&'a Listener, Refusal> {
    let arn = ask.asked.required("ListenerArn");
    super::listeners::get(ask.state, arn)
}

pub(in super::super) fn describe_listener(ask: &Ask<'_>) -> Answer {
    Ok(json!({"Attributes": pairs(&listener(ask)?.attributes)}))
}

pub(in super::super) fn modify_listener(turn: &mut Turn<'_>) -> Answer {
    let listener = listener(&turn.ask())?.clone();
    let mut attributes = listener.attributes.clone();
    set(turn, "Listener", &mut attributes, |key| {
        (key == "tcp.idle_timeout.seconds").then_some(Domain::Number(60, 6000))
    })?;
    let shown: Value = pairs(&attributes);
    if let Some(there) = turn.state.listeners.get_mut(&listener.arn) {
        there.attributes = attributes;
    }
    Ok(json!({"Attributes": shown}))
}
