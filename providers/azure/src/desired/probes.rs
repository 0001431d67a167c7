//! How nodes are judged (Decides).
//!
//! | policy | profile | what is probed where nobody chose it |
//! | --- | --- | --- |
//! | Local | every | `/healthz` of the Service's health check node port, by all of its ports |
//! | Cluster | azure | the port's NodePort, over what `appProtocol` says; UDP by nothing |
//! | Cluster | every other | kube-proxy's own `/healthz` on port 10256, one probe for all Services of the cluster |

use std::sync::Arc;

use evenkeel_core::{
    annotation::{Asked, field, key as neutral},
    intent::{HealthCheckPort, HealthCheckProtocol, PortIntent, TrafficPolicy},
    ports::Protocol,
    problem::{Problem, reason},
};

use super::floats;
use crate::{
    Context,
    annotations::key,
    model::{Probe, ProbeProtocol},
    names,
};

/// Port of kube-proxy's own health.
const KUBE_PROXY_HEALTH_PORT: u16 = 10_256;
/// The path that kube-proxy answers on both of its health ports.
const HEALTH_PATH: &str = "/healthz";
/// Azure's shortest interval, which the cloud provider takes too.
const INTERVAL: u32 = 5;
const THRESHOLD: u32 = 2;
/// A node is judged within two minutes.
const LONGEST: u32 = 120;

/// A probe by name; None: every node counts as healthy.
pub(super) type Named = Option<(Arc<str>, Probe)>;

/// Whether the Service says anything of its probes.
fn chosen(asked: &Asked<'_>, number: u16) -> bool {
    let options = &asked.intent.options.health_check;
    options.protocol.is_some()
        || options.port.is_some()
        || options.path.is_some()
        || [key::HEALTH_PROTOCOL, key::HEALTH_PATH]
            .iter()
            .any(|key| asked.keys.raw(key).is_some())
        || [
            key::PORT_HEALTH_PROTOCOL,
            key::PORT_HEALTH_PORT,
            key::PORT_HEALTH_PATH,
        ]
        .iter()
        .any(|key| asked.keys.raw(&of(key, number)).is_some())
}

/// A key of one port.
fn of(key: &str, number: u16) -> String {
    key.replace("{n}", &number.to_string())
}

/// The probe of one port.
pub(super) fn probe(
    context: &Context,
    asked: &mut Asked<'_>,
    member: &str,
    port: &PortIntent,
) -> Named {
    let number = port.key.port;
    if asked.says(&of(key::NO_PROBE, number)) {
        return None;
    }
    let cluster = asked.intent.traffic_policy == TrafficPolicy::Cluster;
    let azure = floats(asked.intent.profile);
    if cluster && (context.shared_probe || !azure && !chosen(asked, number)) {
        return Some((
            names::proxy_probe(&context.cluster),
            proxy_probe(asked, context.shared_probe),
        ));
    }
    if let TrafficPolicy::Local {
        health_check_node_port,
    } = asked.intent.traffic_policy
    {
        let own = of(key::PORT_HEALTH_PORT, number);
        if asked.keys.raw(&own).is_none() {
            return local(asked, member, health_check_node_port, number);
        }
    }
    if port.key.protocol == Protocol::Udp
        && cluster
        && azure
        && asked.keys.raw(&of(key::PORT_HEALTH_PORT, number)).is_none()
    {
        return None;
    }
    let protocol = protocol(asked, port);
    let to = probed_port(asked, port)?;
    let path = path(asked, number, protocol);
    let probe = Probe {
        protocol,
        port: to,
        path,
        interval: INTERVAL,
        threshold: THRESHOLD,
    };
    Some((
        names::probe(member, port.key),
        numbered(asked, probe, number),
    ))
}

/// One for all, so that its numbers are nobody's to choose.
fn proxy_probe(asked: &mut Asked<'_>, by_operator: bool) -> Probe {
    for key in [
        key::HEALTH_INTERVAL,
        key::HEALTH_COUNT,
        key::HEALTH_PROTOCOL,
        key::HEALTH_PATH,
    ] {
        if asked.keys.raw(key).is_some() {
            let advice = if by_operator {
                "The operator has chosen one probe of kube-proxy's health for all Services. Remove it."
            } else {
                "All Services are judged by one probe of kube-proxy's health. Choose a protocol too, or remove it."
            };
            asked.warn(key, format_args!("has no effect. {advice}"));
        }
    }
    Probe {
        protocol: ProbeProtocol::Http,
        port: KUBE_PROXY_HEALTH_PORT,
        path: Some(HEALTH_PATH.into()),
        interval: INTERVAL,
        threshold: THRESHOLD,
    }
}

/// Whether the node has endpoints of the Service: one probe for all ports.
fn local(asked: &mut Asked<'_>, member: &str, port: Option<u16>, number: u16) -> Named {
    for key in [key::HEALTH_PROTOCOL, key::HEALTH_PATH] {
        if asked.keys.raw(key).is_some() {
            asked.warn(
                key,
                "has no effect with externalTrafficPolicy Local, whose health check node port answers http /healthz. Remove it.",
            );
        }
    }
    let Some(port) = port else {
        asked.problems.push(Problem::new(
            "spec.healthCheckNodePort",
            "",
            "is needed with externalTrafficPolicy Local",
            format!(
                "Let the API server allocate one, or set {}.",
                of(key::PORT_HEALTH_PORT, number)
            ),
        ));
        return None;
    };
    for key in [key::PORT_HEALTH_INTERVAL, key::PORT_HEALTH_COUNT] {
        let own = of(key, number);
        if number != port && asked.keys.raw(&own).is_some() {
            let advice = of(key, port);
            asked.warn(&own, format_args!("has no effect with externalTrafficPolicy Local, where one probe serves all ports. Write {advice}."));
        }
    }
    let probe = Probe {
        protocol: ProbeProtocol::Http,
        port,
        path: Some(HEALTH_PATH.into()),
        interval: INTERVAL,
        threshold: THRESHOLD,
    };
    Some((names::local_probe(member), numbered(asked, probe, port)))
}

fn protocol(asked: &mut Asked<'_>, port: &PortIntent) -> ProbeProtocol {
    let words = [
        ("tcp", ProbeProtocol::Tcp),
        ("http", ProbeProtocol::Http),
        ("https", ProbeProtocol::Https),
    ];
    if let Some(protocol) = asked.intent.options.health_check.protocol {
        return match protocol {
            HealthCheckProtocol::Tcp => ProbeProtocol::Tcp,
            HealthCheckProtocol::Http => ProbeProtocol::Http,
            HealthCheckProtocol::Https => ProbeProtocol::Https,
        };
    }
    let own = asked.take(
        asked
            .keys
            .choice(&of(key::PORT_HEALTH_PROTOCOL, port.key.port), &words),
    );
    let all = asked.take(asked.keys.choice(key::HEALTH_PROTOCOL, &words));
    if let Some(own) = own {
        return own;
    }
    if floats(asked.intent.profile)
        && let Some(spoken) = &port.app_protocol
    {
        return match words
            .iter()
            .find(|(word, _)| spoken.eq_ignore_ascii_case(word))
        {
            Some((_, protocol)) => *protocol,
            None => ProbeProtocol::Tcp,
        };
    }
    all.unwrap_or(ProbeProtocol::Tcp)
}

fn path(asked: &mut Asked<'_>, number: u16, protocol: ProbeProtocol) -> Option<Arc<str>> {
    let own = asked.text(&of(key::PORT_HEALTH_PATH, number));
    let all = asked.text(key::HEALTH_PATH);
    let path = asked
        .intent
        .options
        .health_check
        .path
        .clone()
        .or(own)
        .or(all);
    (protocol != ProbeProtocol::Tcp).then(|| path.unwrap_or_else(|| "/".into()))
}

/// Where the probe goes: a port of the Service stands for its NodePort.
fn probed_port(asked: &mut Asked<'_>, port: &PortIntent) -> Option<u16> {
    match asked.intent.options.health_check.port {
        Some(HealthCheckPort::Number(number)) => return Some(number),
        Some(HealthCheckPort::Traffic) => return port.node_port,
        None => {}
    }
    let key = of(key::PORT_HEALTH_PORT, port.key.port);
    let Some(text) = asked.text(&key) else {
        return port.node_port;
    };
    let number: Option<u16> = text.parse().ok().filter(|number| *number > 0);
    let mut ports = asked.intent.ports.iter();
    let of_service = ports.find(|port| {
        Some(port.key.port) == number
            || port
                .name
                .as_deref()
                .is_some_and(|name| name.eq_ignore_ascii_case(&text))
    });
    match (of_service, number) {
        (Some(port), _) if port.node_port.is_some() => port.node_port,
        (_, Some(number)) => Some(number),
        (_, None) => {
            asked.wrong(
                &key,
                "must be the name or number of a port of the Service, or a number from 1 to 65535",
                "Write one of them.",
            );
            None
        }
    }
}

/// With its interval and threshold; `number` is the port whose keys count.
fn numbered(asked: &mut Asked<'_>, probe: Probe, number: u16) -> Probe {
    let options = asked.intent.options.health_check.clone();
    if options.timeout_seconds.is_some() {
        asked.warn(
            neutral::HEALTH_CHECK_TIMEOUT,
            "has no effect: a probe of Azure's has no time of its own to fail. Remove it.",
        );
    }
    if let (Some(healthy), Some(unhealthy)) =
        (options.healthy_threshold, options.unhealthy_threshold)
        && healthy != unhealthy
    {
        asked.warn(
            neutral::HEALTH_CHECK_HEALTHY_THRESHOLD,
            "has no effect beside another unhealthy threshold: Azure has one for both. Remove it.",
        );
    }
    let own_interval = asked.number(&of(key::PORT_HEALTH_INTERVAL, number));
    let own_count = asked.number(&of(key::PORT_HEALTH_COUNT, number));
    let interval = asked.number(key::HEALTH_INTERVAL);
    let count = asked.number(key::HEALTH_COUNT);
    let interval = options
        .interval_seconds
        .or(own_interval)
        .or(interval)
        .unwrap_or(probe.interval);
    let threshold = options
        .unhealthy_threshold
        .or(options.healthy_threshold)
        .or(own_count)
        .or(count)
        .unwrap_or(probe.threshold);
    if interval.saturating_mul(threshold) >= LONGEST {
        let problem = Problem::new(
            field(key::HEALTH_INTERVAL),
            interval.to_string(),
            format!("seconds times {threshold} probes must be below {LONGEST} seconds"),
            "Write a shorter interval, or fewer probes.",
        );
        asked
            .problems
            .push(problem.with_reason(reason::INVALID_CONFIGURATION));
    }
    Probe {
        interval,
        threshold,
        ..probe
    }
}
