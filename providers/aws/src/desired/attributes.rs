//! The attributes of load balancers, target groups and listeners: what may be written, and what AWS has without (Decides).
//!
//! AWS takes a call that modifies attributes whole or not at all, so that one mistyped key would hold back all others: values are
//! checked before any call. A key that is no longer asked for is set back to AWS's default, so the defaults are here too.
//! From "Edit attributes for your Network Load Balancer" and "Edit target group attributes for your Network Load Balancer" of the
//! user guide, and `LoadBalancerAttribute`, `TargetGroupAttribute`, `ListenerAttribute` of the API reference.

use evenkeel_core::{
    annotation::{Asked, Grammar, field, nearest},
    intent::Scheme,
    problem::Problem,
};

use crate::model::{Pairs, TargetProtocol, TargetType};

/// Whether targets get a PROXY protocol v2 header.
pub const PROXY_PROTOCOL: &str = "proxy_protocol_v2.enabled";
/// Whether targets see the client's address.
pub const PRESERVE_CLIENT_IP: &str = "preserve_client_ip.enabled";
/// How long connections of a leaving target may live on, in seconds.
pub const DRAIN: &str = "deregistration_delay.timeout_seconds";
/// Whether they are closed after that time.
pub const DRAIN_CLOSES: &str = "deregistration_delay.connection_termination.enabled";
/// Whether a client stays with its target.
pub const STICKINESS: &str = "stickiness.enabled";
/// By what a client is known.
pub const STICKINESS_TYPE: &str = "stickiness.type";
/// Whether connections to a target that turned unhealthy are closed.
pub const UNHEALTHY_CLOSES: &str = "target_health_state.unhealthy.connection_termination.enabled";
/// How long they may live on else, in seconds.
pub const UNHEALTHY_DRAIN: &str = "target_health_state.unhealthy.draining_interval_seconds";
/// When a silent TCP connection is forgotten, in seconds.
pub const IDLE_TIMEOUT: &str = "tcp.idle_timeout.seconds";
/// Whether targets of all zones get traffic of each.
pub const CROSS_ZONE: &str = "load_balancing.cross_zone.enabled";
/// Whether access is logged.
pub const ACCESS_LOG: &str = "access_logs.s3.enabled";
/// Where to.
pub const ACCESS_LOG_BUCKET: &str = "access_logs.s3.bucket";
/// Under which prefix.
pub const ACCESS_LOG_PREFIX: &str = "access_logs.s3.prefix";
/// Whether AWS refuses to delete the load balancer.
pub const DELETION_PROTECTION: &str = "deletion_protection.enabled";
/// How many further addresses it has in each subnet.
pub const SECONDARY_ADDRESSES: &str = "secondary_ips.auto_assigned.per_subnet";
/// Whether nothing comes in through an internet gateway over IPv6.
pub const DENY_INTERNET_GATEWAY: &str = "ipv6.deny_all_igw_traffic";

/// An attribute.
#[derive(Clone, Copy, Debug)]
pub struct Attribute {
    /// Its key.
    pub key: &'static str,
    /// What may be written.
    values: Values,
    /// What AWS has without, where nothing else decides that; None for one that cannot be set back.
    default: Option<&'static str>,
}

#[derive(Clone, Copy, Debug)]
enum Values {
    Bool,
    Number(u32, u32),
    OffOr(u32, u32),
    Words(&'static [&'static str]),
    Text,
}

const fn attribute(key: &'static str, values: Values, default: &'static str) -> Attribute {
    Attribute {
        key,
        values,
        default: Some(default),
    }
}

const fn lasting(key: &'static str, values: Values) -> Attribute {
    Attribute {
        key,
        values,
        default: None,
    }
}

/// Of load balancers.
pub const LOAD_BALANCER: &[Attribute] = &[
    attribute(DELETION_PROTECTION, Values::Bool, "false"),
    attribute(CROSS_ZONE, Values::Bool, "false"),
    attribute(ACCESS_LOG, Values::Bool, "false"),
    lasting(ACCESS_LOG_BUCKET, Values::Text),
    lasting(ACCESS_LOG_PREFIX, Values::Text),
    attribute(DENY_INTERNET_GATEWAY, Values::Bool, "false"),
    attribute("zonal_shift.config.enabled", Values::Bool, "false"),
    attribute(
        "dns_record.client_routing_policy",
        Values::Words(&[
            "any_availability_zone",
            "availability_zone_affinity",
            "partial_availability_zone_affinity",
        ]),
        "any_availability_zone",
    ),
    // AWS lets the number only grow.
    lasting(SECONDARY_ADDRESSES, Values::Number(0, 7)),
];

/// Of target groups.
pub const TARGET_GROUP: &[Attribute] = &[
    attribute(DRAIN, Values::Number(0, 3_600), "300"),
    attribute(DRAIN_CLOSES, Values::Bool, "false"),
    attribute(PRESERVE_CLIENT_IP, Values::Bool, "true"),
    attribute(PROXY_PROTOCOL, Values::Bool, "false"),
    attribute(
        "proxy_protocol_v2.client_to_server.header_placement",
        Values::Words(&["on_first_ack_with_payload", "on_first_ack"]),
        "on_first_ack_with_payload",
    ),
    attribute(STICKINESS, Values::Bool, "false"),
    attribute(STICKINESS_TYPE, Values::Words(&["source_ip"]), "source_ip"),
    attribute(
        CROSS_ZONE,
        Values::Words(&["true", "false", "use_load_balancer_configuration"]),
        "use_load_balancer_configuration",
    ),
    attribute(
        "target_group_health.dns_failover.minimum_healthy_targets.count",
        Values::OffOr(1, 1_000),
        "1",
    ),
    attribute(
        "target_group_health.dns_failover.minimum_healthy_targets.percentage",
        Values::OffOr(1, 100),
        "off",
    ),
    attribute(
        "target_group_health.unhealthy_state_routing.minimum_healthy_targets.count",
        Values::Number(1, 1_000),
        "1",
    ),
    attribute(
        "target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage",
        Values::OffOr(1, 100),
        "off",
    ),
    attribute(UNHEALTHY_CLOSES, Values::Bool, "true"),
    attribute(UNHEALTHY_DRAIN, Values::Number(0, 360_000), "0"),
];

/// Of listeners.
pub const LISTENER: &[Attribute] = &[attribute(IDLE_TIMEOUT, Values::Number(60, 6_000), "350")];

/// What AWS has where nobody set the attribute of a load balancer; None for a key that we do not know, and one
/// that cannot be set back.
pub fn load_balancer_default(key: &str, scheme: Scheme) -> Option<&'static str> {
    match (key, scheme) {
        (DENY_INTERNET_GATEWAY, Scheme::Internal) => Some("true"),
        _ => default(LOAD_BALANCER, key),
    }
}

/// What AWS has where nobody set the attribute of a target group; None for a key that we do not know, and one
/// that cannot be set back.
pub fn target_group_default(
    key: &str,
    protocol: TargetProtocol,
    target_type: TargetType,
) -> Option<&'static str> {
    match key {
        DRAIN_CLOSES if protocol.has_udp() => Some("true"),
        PRESERVE_CLIENT_IP if target_type == TargetType::Ip && !protocol.has_udp() => Some("false"),
        _ => default(TARGET_GROUP, key),
    }
}

/// What AWS has where nobody set the attribute of a listener; None for a key that we do not know, and one
/// that cannot be set back.
pub fn listener_default(key: &str) -> Option<&'static str> {
    default(LISTENER, key)
}

fn default(catalogue: &[Attribute], key: &str) -> Option<&'static str> {
    catalogue
        .iter()
        .find(|attribute| attribute.key == key)?
        .default
}

/// What becomes of an attribute that is written with nothing behind its `=`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Blank {
    /// It is a value, and mostly a wrong one.
    IsValue,
    /// It is as if it were not written.
    IsAbsent,
}

/// The attributes of an annotation, each as AWS writes it; what is wrong with them goes to `asked`.
pub(super) fn read(
    asked: &mut Asked<'_>,
    key: &str,
    catalogue: &'static [Attribute],
    blank: Blank,
) -> Pairs {
    let mut attributes = asked.map(key).unwrap_or_default();
    if blank == Blank::IsAbsent {
        attributes.retain(|_, value| !value.is_empty());
    }
    for (name, value) in &mut attributes {
        let known = catalogue.iter().find(|attribute| attribute.key == &**name);
        let read = match known {
            Some(attribute) => attribute.values.read(key, value),
            None => {
                let keys = catalogue.iter().map(|attribute| attribute.key);
                let advice = match nearest(name, keys) {
                    Some(near) => format!("Did you mean {near}?"),
                    None => "Remove it, or look it up among the attributes that AWS lists for Network Load Balancers.".to_owned(),
                };
                Err(Problem::new(
                    field(key),
                    "",
                    "is no attribute that AWS has here",
                    advice,
                ))
            }
        };
        match read {
            Ok(read) => *value = read.into(),
            Err(problem) => asked.problems.push(Problem {
                value: format!("{name}={value}"),
                message: format!("{name} {}", problem.message),
                ..problem
            }),
        }
    }
    attributes
}

impl Values {
    fn read(self, key: &str, value: &str) -> Result<String, Problem> {
        let grammar = match self {
            Self::OffOr(..) if value == "off" => return Ok("off".to_owned()),
            Self::Bool => Grammar::GoBool,
            Self::Number(min, max) | Self::OffOr(min, max) => Grammar::Int { min, max },
            Self::Words(words) => Grammar::Exactly(words),
            Self::Text => Grammar::Text,
        };
        let read = grammar.parse(key, value).map(|value| value.to_string());
        read.map_err(|problem| match self {
            Self::OffOr(..) => Problem {
                message: format!("{}, or off", problem.message),
                ..problem
            },
            _ => problem,
        })
    }
}
