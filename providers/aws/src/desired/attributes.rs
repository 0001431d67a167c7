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

use crate::model::{ListenerProtocol, Pairs, TargetProtocol, TargetType};

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
    /// What AWS has without, where nothing else decides that.
    without: &'static str,
    /// Who has it, and who can set it back.
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Every object has it, and it can be set back.
    Ordinary,
    /// Every object has it, and it cannot be set back.
    Lasting,
    /// Only objects of accounts that AWS has switched it on for have it.
    OnRequest,
}

#[derive(Clone, Copy, Debug)]
enum Values {
    Bool,
    Number(u32, u32),
    OffOr(u32, u32),
    Words(&'static [&'static str]),
    Text,
}

const fn attribute(key: &'static str, values: Values, without: &'static str) -> Attribute {
    Attribute {
        key,
        values,
        without,
        kind: Kind::Ordinary,
    }
}

const fn lasting(key: &'static str, values: Values, without: &'static str) -> Attribute {
    Attribute {
        kind: Kind::Lasting,
        ..attribute(key, values, without)
    }
}

const fn on_request(key: &'static str, values: Values, without: &'static str) -> Attribute {
    Attribute {
        kind: Kind::OnRequest,
        ..attribute(key, values, without)
    }
}

/// Of load balancers.
pub const LOAD_BALANCER: &[Attribute] = &[
    attribute(DELETION_PROTECTION, Values::Bool, "false"),
    attribute(CROSS_ZONE, Values::Bool, "false"),
    attribute(ACCESS_LOG, Values::Bool, "false"),
    lasting(ACCESS_LOG_BUCKET, Values::Text, ""),
    lasting(ACCESS_LOG_PREFIX, Values::Text, ""),
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
    lasting(SECONDARY_ADDRESSES, Values::Number(0, 7), "0"),
];

/// Of target groups.
pub const TARGET_GROUP: &[Attribute] = &[
    attribute(DRAIN, Values::Number(0, 3_600), "300"),
    attribute(DRAIN_CLOSES, Values::Bool, "false"),
    attribute(PRESERVE_CLIENT_IP, Values::Bool, "true"),
    attribute(PROXY_PROTOCOL, Values::Bool, "false"),
    // For servers that speak first. AWS's API reference does not have it, and its support switches it on account by account
    // (README.md of pires/go-proxyproto, "AWS"; ClickHouse's guide "SSL user certificate authentication").
    on_request(
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

/// What an attribute of a load balancer is set back to; None for a key that we do not know, and one that cannot be set back.
pub fn load_balancer_default(key: &str, scheme: Scheme) -> Option<&'static str> {
    default(LOAD_BALANCER, key, |attribute| {
        load_balancer_without(attribute, scheme)
    })
}

/// What AWS has where nobody set the attributes of a load balancer: all that there are.
pub fn load_balancer_attributes(
    scheme: Scheme,
) -> impl Iterator<Item = (&'static str, &'static str)> {
    all(LOAD_BALANCER, move |attribute| {
        Some(load_balancer_without(attribute, scheme))
    })
}

fn load_balancer_without(attribute: &Attribute, scheme: Scheme) -> &'static str {
    match (attribute.key, scheme) {
        (DENY_INTERNET_GATEWAY, Scheme::Internal) => "true",
        _ => attribute.without,
    }
}

/// What an attribute of a target group is set back to; None for a key that we do not know, one that such a target group does not
/// have, and one that cannot be set back.
pub fn target_group_default(
    key: &str,
    protocol: TargetProtocol,
    target_type: TargetType,
) -> Option<&'static str> {
    default(TARGET_GROUP, key, |attribute| {
        target_group_without(attribute, protocol, target_type)
    })
}

/// What AWS has where nobody set the attributes of a target group: all that there are.
pub fn target_group_attributes(
    protocol: TargetProtocol,
    target_type: TargetType,
) -> impl Iterator<Item = (&'static str, &'static str)> {
    all(TARGET_GROUP, move |attribute| {
        target_group_without(attribute, protocol, target_type)
    })
}

fn target_group_without(
    attribute: &Attribute,
    protocol: TargetProtocol,
    target_type: TargetType,
) -> Option<&'static str> {
    match attribute.key {
        DRAIN_CLOSES if protocol.has_udp() => Some("true"),
        PRESERVE_CLIENT_IP if target_type == TargetType::Ip && !protocol.has_udp() => Some("false"),
        // Connections are of TCP and TLS.
        UNHEALTHY_CLOSES | UNHEALTHY_DRAIN if protocol.has_udp() => None,
        _ => Some(attribute.without),
    }
}

/// What an attribute of a listener is set back to; None for a key that we do not know.
pub fn listener_default(key: &str) -> Option<&'static str> {
    default(LISTENER, key, |attribute| attribute.without)
}

/// What AWS has where nobody set the attributes of a listener: all that there are.
pub fn listener_attributes(
    protocol: ListenerProtocol,
) -> impl Iterator<Item = (&'static str, &'static str)> {
    // The idle timeout is one of TCP listeners only.
    all(LISTENER, move |attribute| {
        (protocol == ListenerProtocol::Tcp).then_some(attribute.without)
    })
}

fn default<V: Into<Option<&'static str>>>(
    catalogue: &[Attribute],
    key: &str,
    without: impl Fn(&Attribute) -> V,
) -> Option<&'static str> {
    let mut known = catalogue.iter();
    let attribute = known.find(|attribute| attribute.key == key)?;
    if attribute.kind == Kind::Lasting {
        return None;
    }
    without(attribute).into()
}

fn all(
    catalogue: &'static [Attribute],
    without: impl Fn(&Attribute) -> Option<&'static str>,
) -> impl Iterator<Item = (&'static str, &'static str)> {
    let everybodys = catalogue
        .iter()
        .filter(|attribute| attribute.kind != Kind::OnRequest);
    everybodys.filter_map(move |attribute| Some((attribute.key, without(attribute)?)))
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
