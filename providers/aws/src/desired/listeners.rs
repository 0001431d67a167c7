//! What clients speak to: protocols, certificates, attributes of listeners (Decides).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use evenkeel_core::{
    annotation::{Asked, field, key as neutral, value::quote},
    claim::Profile,
    ports::Protocol,
    problem::Problem,
};

use super::{
    attributes::{self, Blank, IDLE_TIMEOUT},
    ports::Front,
};
use crate::{
    Context,
    annotations::key,
    model::{ListenerProtocol, Pairs, TargetProtocol, Tls},
};

/// The shortest and the longest idle timeout of a TCP listener, in seconds.
const IDLE_TIMEOUTS: (u32, u32) = (60, 6_000);

/// What one Service asks of its listeners.
pub(super) struct Wishes {
    tls: Option<TlsWishes>,
    attributes: Vec<AttributeWish>,
    idle_timeout: Option<u32>,
}

/// What it asks of those with TLS.
struct TlsWishes {
    tls: Tls,
    /// The numbers of the TCP ports.
    ports: BTreeSet<u16>,
    /// Whether TLS is spoken to the targets too.
    to_targets: bool,
}

/// One annotation with attributes of a listener.
struct AttributeWish {
    key: String,
    protocol: String,
    number: u16,
    attributes: Pairs,
}

/// What a listener is, besides its place.
pub(super) struct Speech {
    /// What clients speak.
    pub(super) protocol: ListenerProtocol,
    /// What is spoken to targets.
    pub(super) to_targets: TargetProtocol,
    /// With TLS.
    pub(super) tls: Option<Tls>,
    /// The listener's attributes.
    pub(super) attributes: Pairs,
}

impl Wishes {
    /// Reads what a Service asks.
    pub(super) fn read(context: &Context, asked: &mut Asked<'_>) -> Self {
        let tls = tls(context, asked);
        let idle_timeout = asked.intent.options.idle_timeout_seconds;
        let (min, max) = IDLE_TIMEOUTS;
        if let Some(seconds) = idle_timeout.filter(|seconds| !(min..=max).contains(seconds)) {
            asked.problems.push(Problem::new(
                field(neutral::IDLE_TIMEOUT),
                seconds.to_string(),
                format!("must be from {min} to {max} seconds on AWS"),
                format!("The nearest is {}.", seconds.clamp(min, max)),
            ));
        }
        if asked.bool(key::TCP_UDP) == Some(false) {
            asked.warn(
                key::TCP_UDP,
                "has no effect: TCP and UDP of one number always share a listener, because AWS has one per number. Remove it.",
            );
        }
        Self {
            tls,
            attributes: attribute_wishes(asked),
            idle_timeout,
        }
    }

    /// Whether the listener of a TCP port has TLS.
    pub(super) fn has_tls(&self, number: u16) -> bool {
        self.tls
            .as_ref()
            .is_some_and(|tls| tls.ports.contains(&number))
    }

    /// What a listener is.
    pub(super) fn of(&self, asked: &mut Asked<'_>, front: &Front<'_>) -> Speech {
        let wished = self
            .tls
            .as_ref()
            .filter(|tls| tls.ports.contains(&front.number));
        if wished.is_some() && front.has_udp() {
            asked.warn(
                key::SSL_CERT,
                format_args!(
                    "port {0} has TCP and UDP, and what they share cannot have TLS, so it stays plain. Use another number for UDP, or name \
                     the other ports in {1}.",
                    front.number, key::SSL_PORTS
                ),
            );
        }
        let (protocol, to_targets, tls) = match (front.has_tcp(), front.has_udp(), wished) {
            (true, true, _) => (ListenerProtocol::TcpUdp, TargetProtocol::TcpUdp, None),
            (false, true, _) => (ListenerProtocol::Udp, TargetProtocol::Udp, None),
            (_, false, None) => (ListenerProtocol::Tcp, TargetProtocol::Tcp, None),
            (_, false, Some(wish)) => {
                let to_targets = if wish.to_targets {
                    TargetProtocol::Tls
                } else {
                    TargetProtocol::Tcp
                };
                (ListenerProtocol::Tls, to_targets, Some(wish.tls.clone()))
            }
        };
        Speech {
            protocol,
            to_targets,
            tls,
            attributes: self.attributes_of(asked, front.number, protocol),
        }
    }

    /// The attributes of one listener. AWS lets nobody change the idle timeout of a TLS listener ("Update the TCP idle timeout for
    /// your Network Load Balancer listener"), and UDP has none.
    fn attributes_of(
        &self,
        asked: &mut Asked<'_>,
        number: u16,
        protocol: ListenerProtocol,
    ) -> Pairs {
        let mut all = Pairs::new();
        let wishes = self.attributes.iter();
        for wish in
            wishes.filter(|wish| wish.number == number && wish.protocol == protocol.as_str())
        {
            match protocol {
                ListenerProtocol::Tcp | ListenerProtocol::TcpUdp => {
                    all.extend(wish.attributes.clone());
                }
                ListenerProtocol::Tls | ListenerProtocol::Udp => asked.warn(
                    &wish.key,
                    format_args!(
                        "has no effect: AWS has no attribute of {protocol} listeners, and the idle timeout of a TLS listener is always 350 \
                         seconds. Remove it.",
                    ),
                ),
            }
        }
        match (self.idle_timeout, protocol) {
            (Some(seconds), ListenerProtocol::Tcp) => {
                all.insert(IDLE_TIMEOUT.into(), seconds.to_string().into());
            }
            (Some(_), ListenerProtocol::Tls | ListenerProtocol::TcpUdp) => asked.warn(
                neutral::IDLE_TIMEOUT,
                format_args!(
                    "has no effect on port {number}: AWS lets the idle timeout be chosen for TCP listeners only, and this one is {protocol}. \
                     It stays at 350 seconds.",
                ),
            ),
            (Some(_), ListenerProtocol::Udp) | (None, _) => {}
        }
        all
    }

    /// Attributes for listeners that there are not.
    pub(super) fn warn_of_unused(
        &self,
        asked: &mut Asked<'_>,
        listeners: &BTreeMap<u16, ListenerProtocol>,
    ) {
        for wish in &self.attributes {
            match listeners.get(&wish.number) {
                Some(protocol) if protocol.as_str() == wish.protocol => {}
                Some(protocol) => asked.warn(
                    &wish.key,
                    format_args!(
                        "has no effect, because the listener of port {0} is {protocol}. Write {protocol}-{0} at its end.",
                        wish.number
                    ),
                ),
                None => asked.warn(
                    &wish.key,
                    format_args!(
                        "has no effect, because the Service has no listener on port {}. Remove it, or write one that it has.",
                        wish.number
                    ),
                ),
            }
        }
    }
}

fn attribute_wishes(asked: &mut Asked<'_>) -> Vec<AttributeWish> {
    let mut wishes = Vec::new();
    for (key, parts) in asked.keys.family(key::LISTENER_ATTRIBUTES) {
        let [protocol, number] = parts[..] else {
            continue;
        };
        wishes.push(AttributeWish {
            attributes: attributes::read(asked, key, attributes::LISTENER, Blank::IsValue),
            key: key.to_owned(),
            protocol: protocol.to_owned(),
            number: number.parse().unwrap_or_default(),
        });
    }
    wishes
}

fn tls(context: &Context, asked: &mut Asked<'_>) -> Option<TlsWishes> {
    // Everything is read, so that everything wrong is told, whatever else is missing.
    let ports = tls_ports(asked);
    let policy = asked.text(key::SSL_POLICY);
    let alpn = asked.word(key::ALPN_POLICY);
    let to_targets = to_targets(asked);
    if policy
        .as_ref()
        .is_some_and(|policy| !policy.starts_with("ELBSecurityPolicy-"))
    {
        asked.wrong(
            key::SSL_POLICY,
            "must be a security policy of AWS",
            "Write one such as ELBSecurityPolicy-TLS13-1-2-2021-06.",
        );
    }
    let Some(certificates) = asked.list(key::SSL_CERT) else {
        for key in [
            key::SSL_PORTS,
            key::SSL_POLICY,
            key::ALPN_POLICY,
            key::BACKEND_PROTOCOL,
        ] {
            let idle = key == key::BACKEND_PROTOCOL && !to_targets;
            if asked.keys.raw(key).is_some() && !idle {
                asked.warn(
                    key,
                    format_args!("has no effect without a certificate: no listener has TLS. Set {}, or remove it.", key::SSL_CERT),
                );
            }
        }
        return None;
    };
    let wrong: Vec<_> = certificates
        .iter()
        .filter(|arn| !is_certificate(arn))
        .map(|arn| format!("{:?}", quote(arn)))
        .collect();
    if !wrong.is_empty() {
        asked.wrong(
            key::SSL_CERT,
            format!(
                "must be ARNs of certificates, but {} is none",
                wrong.join(", ")
            ),
            "Write each as arn:aws:acm:REGION:ACCOUNT:certificate/ID.",
        );
    }
    if ports.is_empty() && !asked.intent.speaks(Protocol::Tcp) {
        asked.warn(
            key::SSL_CERT,
            "has no effect, because the Service has no TCP port. Remove it.",
        );
    }
    let (default, further) = certificates.split_first()?;
    let mut further: Vec<_> = further.to_vec();
    further.sort_unstable();
    Some(TlsWishes {
        tls: Tls {
            certificate: Arc::clone(default),
            further,
            policy: policy.unwrap_or_else(|| Arc::clone(&context.ssl_policy)),
            alpn: alpn.filter(|policy| *policy != "None").map(Arc::from),
        },
        ports,
        to_targets,
    })
}

fn is_certificate(arn: &str) -> bool {
    let mut parts = arn.splitn(6, ':');
    parts.next() == Some("arn")
        && parts
            .next()
            .is_some_and(|partition| partition.starts_with("aws"))
        && matches!(parts.next(), Some("acm" | "iam"))
        && parts.nth(2).is_some_and(|resource| !resource.is_empty())
}

/// The TCP ports that are named, by number or name; all where none is.
fn tls_ports(asked: &mut Asked<'_>) -> BTreeSet<u16> {
    let intent = asked.intent;
    let tcp = |number: &u16| {
        intent
            .ports
            .iter()
            .any(|port| port.key.port == *number && port.key.protocol == Protocol::Tcp)
    };
    let all = intent.ports.iter().map(|port| port.key.port).filter(tcp);
    let entries = match asked.list(key::SSL_PORTS) {
        Some(entries) if !entries.iter().any(|entry| **entry == *"*") => entries,
        _ => return all.collect(),
    };
    let mut ports = BTreeSet::new();
    let (mut unknown, mut udp) = (Vec::new(), Vec::new());
    for entry in &entries {
        match super::port_of(intent, entry) {
            None => unknown.push(format!("{:?}", quote(entry))),
            Some(number) if tcp(&number) => drop(ports.insert(number)),
            Some(_) => udp.push(format!("{:?}", quote(entry))),
        }
    }
    if !udp.is_empty() {
        asked.warn(
            key::SSL_PORTS,
            format_args!(
                "{} has no effect, because TLS is for TCP ports. Remove it.",
                udp.join(", ")
            ),
        );
    }
    if !unknown.is_empty() && intent.profile == Profile::Ccm {
        asked.warn(
            key::SSL_PORTS,
            format_args!(
                "{} names no port of the Service. Remove it, or write one that it has.",
                unknown.join(", ")
            ),
        );
    } else if !unknown.is_empty() {
        asked.wrong(
            key::SSL_PORTS,
            format!(
                "must be numbers or names of ports of the Service, but {} is none",
                unknown.join(", ")
            ),
            "Write ports that it has, or * for all TCP ports.",
        );
    }
    ports
}

/// Whether targets are spoken to with TLS. Other words than `ssl` and `tcp` were for Classic Load Balancers.
fn to_targets(asked: &mut Asked<'_>) -> bool {
    let Some(protocol) = asked.text(key::BACKEND_PROTOCOL) else {
        return false;
    };
    let ssl = protocol.eq_ignore_ascii_case("ssl");
    if !ssl && !protocol.eq_ignore_ascii_case("tcp") {
        asked.warn(
            key::BACKEND_PROTOCOL,
            "has no effect on a Network Load Balancer, to which only ssl and tcp say something. Write ssl for TLS to the targets, or remove it.",
        );
    }
    ssl
}
