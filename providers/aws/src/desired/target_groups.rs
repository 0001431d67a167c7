//! What the targets of a port are sent, and how (Decides).
//!
//! An attribute is said by several keys. The order, from the one that wins: `evenkeel.dev/…`, the PROXY protocol on all ports, on
//! some, attributes of one port, attributes of all.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use evenkeel_core::{
    annotation::{Asked, field, key as neutral, value::quote},
    claim::Profile,
    intent::Affinity,
    ports::Protocol,
    problem::{Problem, Warning, reason},
};

use super::{
    attributes::{
        self, Blank, DRAIN, DRAIN_CLOSES, PRESERVE_CLIENT_IP, PROXY_PROTOCOL, STICKINESS,
        STICKINESS_TYPE, UNHEALTHY_CLOSES, UNHEALTHY_DRAIN,
    },
    listeners,
};
use crate::{annotations::key, model::Pairs};

/// What the API server makes of an affinity without a timeout: nobody asked for it.
const DEFAULT_AFFINITY_SECONDS: u32 = 10_800;

/// What one Service asks of its target groups.
pub(super) struct Wishes {
    all: Pairs,
    by_port: BTreeMap<u16, (String, Pairs)>,
    proxy: Option<Proxy>,
    drain: Option<u32>,
    sticky: bool,
}

/// Which targets get PROXY protocol headers.
enum Proxy {
    All(bool),
    Some(BTreeSet<u16>),
}

impl Wishes {
    /// Reads what a Service asks.
    pub(super) fn read(asked: &mut Asked<'_>) -> Self {
        let all = attributes::read(
            asked,
            key::TARGET_GROUP_ATTRIBUTES,
            attributes::TARGET_GROUP,
            Blank::IsValue,
        );
        let mut by_port = BTreeMap::new();
        for (key, parts) in asked.keys.family(key::PORT_ATTRIBUTES) {
            let number: u16 = parts[0].parse().unwrap_or_default();
            if !asked
                .intent
                .ports
                .iter()
                .any(|port| port.key.port == number)
            {
                asked.warn(
                    key,
                    format_args!("has no effect, because the Service has no port {number}. Remove it, or write one that it has."),
                );
            }
            let attributes =
                attributes::read(asked, key, attributes::TARGET_GROUP, Blank::IsAbsent);
            by_port.insert(number, (key.to_owned(), attributes));
        }
        Self {
            proxy: proxy(asked, &all),
            all,
            by_port,
            drain: asked.intent.options.drain_seconds,
            sticky: asked.intent.affinity != Affinity::None,
        }
    }

    /// The attributes of the target group of a port.
    pub(super) fn of(&self, number: u16, tls: bool) -> Pairs {
        let mut attributes = self.all.clone();
        if let Some((_, own)) = self.by_port.get(&number) {
            attributes.extend(own.clone());
        }
        let mut set = |key: &str, value: String| attributes.insert(key.into(), value.into());
        match &self.proxy {
            None => {}
            Some(Proxy::All(on)) => drop(set(PROXY_PROTOCOL, on.to_string())),
            Some(Proxy::Some(ports)) => {
                set(PROXY_PROTOCOL, ports.contains(&number).to_string());
            }
        }
        if let Some(seconds) = self.drain {
            set(DRAIN, seconds.to_string());
        }
        let mut default = |key: &str, value: &str| {
            attributes.entry(key.into()).or_insert_with(|| value.into());
        };
        if self.drain.is_some() {
            // Without it AWS leaves connections alone after that time.
            default(DRAIN_CLOSES, "true");
        }
        if self.sticky && !tls {
            default(STICKINESS, "true");
        }
        if is(&attributes, STICKINESS, "true") {
            attributes
                .entry(STICKINESS_TYPE.into())
                .or_insert_with(|| "source_ip".into());
        }
        attributes
    }

    /// Whether the targets of a port get PROXY protocol headers.
    pub(super) fn has_proxy_protocol(attributes: &Pairs) -> bool {
        is(attributes, PROXY_PROTOCOL, "true")
    }

    /// What AWS would refuse of a combination, for every port, and what it cannot do.
    pub(super) fn check(&self, asked: &mut Asked<'_>, listeners: &listeners::Wishes) {
        if let Affinity::ClientIp { timeout_seconds } = asked.intent.affinity
            && timeout_seconds != DEFAULT_AFFINITY_SECONDS
        {
            asked.warnings.push(Warning::new(
                reason::UNSUPPORTED_FEATURE,
                format!(
                    "spec.sessionAffinityConfig.clientIP.timeoutSeconds: {timeout_seconds} has no effect, because the stickiness of a Network \
                     Load Balancer has no timeout. Leave it out, which is {DEFAULT_AFFINITY_SECONDS}.",
                ),
            ));
        }
        for port in &asked.intent.ports {
            let number = port.key.port;
            let udp = |other: &evenkeel_core::intent::PortIntent| {
                other.key.port == number && other.key.protocol == Protocol::Udp
            };
            let udp = asked.intent.ports.iter().any(udp);
            let tls = !udp && listeners.has_tls(number);
            let attributes = self.of(number, tls);
            let mut refuse = |attribute: &str, message: &str, advice: &str| {
                let value = attributes.get(attribute).cloned().unwrap_or_default();
                asked.problems.push(Problem::new(
                    field(&self.key_of(number, attribute)),
                    quote(&format!("{attribute}={value}")),
                    format!("{attribute} {message}"),
                    advice,
                ));
            };
            if udp && is(&attributes, PRESERVE_CLIENT_IP, "false") {
                refuse(
                    PRESERVE_CLIENT_IP,
                    "cannot be false for UDP",
                    "Set it for the TCP ports alone, each with its number behind a dot at the end of the key.",
                );
            }
            if udp && attributes.contains_key(UNHEALTHY_CLOSES) {
                refuse(
                    UNHEALTHY_CLOSES,
                    "cannot be set for UDP",
                    "Set it for the TCP ports alone, each with its number behind a dot at the end of the key.",
                );
            }
            let drains = attributes
                .get(UNHEALTHY_DRAIN)
                .is_some_and(|seconds| **seconds != *"0");
            if drains && !is(&attributes, UNHEALTHY_CLOSES, "false") {
                refuse(
                    UNHEALTHY_DRAIN,
                    "needs target_health_state.unhealthy.connection_termination.enabled=false",
                    "Add it, or remove this one.",
                );
            }
            if tls && is(&attributes, STICKINESS, "true") {
                refuse(
                    STICKINESS,
                    "cannot be true for a port with TLS",
                    "Set it for the other ports alone, each with its number behind a dot at the end of the key.",
                );
            }
            if tls && self.sticky {
                let warning = format!(
                    "spec.sessionAffinity: ClientIP has no effect on port {number}, because AWS has no stickiness for listeners with TLS. \
                     Use a plain TCP listener, or set it to None."
                );
                asked
                    .warnings
                    .push(Warning::new(reason::UNSUPPORTED_FEATURE, warning));
            }
        }
    }

    /// The annotation that an attribute of a port comes from.
    fn key_of(&self, number: u16, attribute: &str) -> String {
        match self.by_port.get(&number) {
            Some((key, own)) if own.contains_key(attribute) => key.clone(),
            _ => key::TARGET_GROUP_ATTRIBUTES.to_owned(),
        }
    }
}

fn is(attributes: &Pairs, key: &str, value: &str) -> bool {
    attributes.get(key).is_some_and(|found| **found == *value)
}

fn proxy(asked: &mut Asked<'_>, all: &Pairs) -> Option<Proxy> {
    let ports = proxy_ports(asked);
    let everywhere = asked.word(key::PROXY_PROTOCOL).is_some();
    let classic = everywhere && asked.intent.profile == Profile::Ccm;
    if classic {
        asked.warn(
            key::PROXY_PROTOCOL,
            format_args!(
                "was for Classic Load Balancers in the cloud controller manager, and has no effect with the profile ccm. Use {}, or remove it.",
                neutral::PROXY_PROTOCOL
            ),
        );
    }
    if let Some(on) = asked.intent.options.proxy_protocol {
        return Some(Proxy::All(on));
    }
    if everywhere && !classic {
        if is(all, PROXY_PROTOCOL, "false") {
            asked.warn(
                key::TARGET_GROUP_ATTRIBUTES,
                format_args!(
                    "{PROXY_PROTOCOL}=false has no effect beside {}. Remove one of the two.",
                    key::PROXY_PROTOCOL
                ),
            );
        }
        return Some(Proxy::All(true));
    }
    ports.map(Proxy::Some)
}

/// The ports that are named, by number or name.
fn proxy_ports(asked: &mut Asked<'_>) -> Option<BTreeSet<u16>> {
    let entries: Vec<Arc<str>> = asked.list(key::PROXY_PROTOCOL_PORTS)?;
    let mut ports = BTreeSet::new();
    let mut unknown = Vec::new();
    for entry in &entries {
        match super::port_of(asked.intent, entry) {
            Some(number) => drop(ports.insert(number)),
            None => unknown.push(format!("{:?}", quote(entry))),
        }
    }
    if !unknown.is_empty() {
        asked.wrong(
            key::PROXY_PROTOCOL_PORTS,
            format!(
                "must be numbers or names of ports of the Service, but {} is none",
                unknown.join(", ")
            ),
            "Write ports that it has.",
        );
    }
    Some(ports)
}
