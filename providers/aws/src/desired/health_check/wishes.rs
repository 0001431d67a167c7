//! What one Service asks of its health checks (Decides).

use std::sync::Arc;

use evenkeel_core::{
    annotation::{Asked, field, key as neutral, value},
    intent::{HealthCheckPort, HealthCheckProtocol},
    problem::Problem,
};

use crate::{
    annotations::key,
    model::{ProbePort, ProbeProtocol, TargetType},
};

/// What one Service asks, a neutral key before the cloud's.
pub(in crate::desired) struct Wishes {
    pub(super) protocol: Option<ProbeProtocol>,
    pub(super) port: Option<ProbePort>,
    pub(super) path: Option<Arc<str>>,
    pub(super) matcher: Option<Arc<str>>,
    pub(super) interval: Option<u32>,
    pub(super) timeout: Option<u32>,
    pub(super) healthy: Option<u32>,
    pub(super) unhealthy: Option<u32>,
}

impl Wishes {
    /// Reads what a Service asks.
    pub(in crate::desired) fn read(asked: &mut Asked<'_>, kind: TargetType) -> Self {
        let theirs = asked.word(key::HEALTH_PROTOCOL).map(|word| match word {
            "http" => ProbeProtocol::Http,
            "https" => ProbeProtocol::Https,
            _ => ProbeProtocol::Tcp,
        });
        let options = &asked.intent.options.health_check;
        let protocol = options.protocol.map(|protocol| match protocol {
            HealthCheckProtocol::Tcp => ProbeProtocol::Tcp,
            HealthCheckProtocol::Http => ProbeProtocol::Http,
            HealthCheckProtocol::Https => ProbeProtocol::Https,
        });
        let port = options.port.map(|port| match port {
            HealthCheckPort::Traffic => ProbePort::Traffic,
            HealthCheckPort::Number(number) => ProbePort::Number(number),
        });
        let mut number = |neutral_key, ours: Option<u32>, key, min, max| {
            let theirs = asked.number(key);
            if let Some(number) = ours.filter(|number| !(min..=max).contains(number)) {
                asked.problems.push(Problem::new(
                    field(neutral_key),
                    number.to_string(),
                    format!("must be from {min} to {max} on AWS"),
                    format!("The nearest is {}.", number.clamp(min, max)),
                ));
            }
            ours.or(theirs)
        };
        let interval = number(
            neutral::HEALTH_CHECK_INTERVAL,
            options.interval_seconds,
            key::HEALTH_INTERVAL,
            5,
            300,
        );
        let timeout = number(
            neutral::HEALTH_CHECK_TIMEOUT,
            options.timeout_seconds,
            key::HEALTH_TIMEOUT,
            2,
            120,
        );
        let healthy = number(
            neutral::HEALTH_CHECK_HEALTHY_THRESHOLD,
            options.healthy_threshold,
            key::HEALTH_HEALTHY,
            2,
            10,
        );
        let unhealthy = number(
            neutral::HEALTH_CHECK_UNHEALTHY_THRESHOLD,
            options.unhealthy_threshold,
            key::HEALTH_UNHEALTHY,
            2,
            10,
        );
        let path = asked.text(key::HEALTH_PATH);
        Self {
            protocol: protocol.or(theirs),
            port: port.or_else(|| read_port(asked, kind)),
            path: options.path.clone().or(path),
            matcher: matcher(asked),
            interval,
            timeout,
            healthy,
            unhealthy,
        }
    }

    /// Whether anybody chose what is probed.
    pub(super) fn chosen(&self) -> bool {
        self.protocol.is_some() || self.port.is_some() || self.path.is_some()
    }
}

/// A number, the name of a port of the Service for where its targets are reached, or `traffic-port`.
fn read_port(asked: &mut Asked<'_>, kind: TargetType) -> Option<ProbePort> {
    let written = asked.text(key::HEALTH_PORT)?;
    let named = asked
        .intent
        .ports
        .iter()
        .find(|port| port.name.as_deref() == Some(&written));
    if let Some(port) = named
        && kind == TargetType::Ip
    {
        if port.target_port.number().is_none() {
            asked.wrong(
                key::HEALTH_PORT,
                "names a port whose targetPort is a name, which may be another number on each pod",
                "Write the number that the pods answer on.",
            );
        }
        return port.target_port.number().map(ProbePort::Number);
    }
    if let Some(port) = named {
        if port.node_port.is_none() {
            asked.wrong(
                key::HEALTH_PORT,
                "names a port that has no node port",
                "Set spec.allocateLoadBalancerNodePorts: true, or write a number.",
            );
        }
        return port.node_port.map(ProbePort::Number);
    }
    match value::port_or_traffic(key::HEALTH_PORT, &written) {
        Ok(HealthCheckPort::Traffic) => Some(ProbePort::Traffic),
        Ok(HealthCheckPort::Number(number)) => Some(ProbePort::Number(number)),
        Err(problem) => {
            asked.wrong(
                key::HEALTH_PORT,
                "must be a port number from 1 to 65535, the name of a port of the Service, or traffic-port",
                if problem.advice.starts_with("Write the number") {
                    "Write one of them.".to_owned()
                } else {
                    problem.advice
                },
            );
            None
        }
    }
}

/// Status codes as AWS takes them for a Network Load Balancer: `200`, `200,202`, `200-299`.
fn matcher(asked: &mut Asked<'_>) -> Option<Arc<str>> {
    let written = asked.text(key::HEALTH_CODES)?;
    let code = |text: &str| {
        let plain = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
        plain
            .then(|| text.parse::<u16>().ok())
            .flatten()
            .filter(|code| (200..=599).contains(code))
    };
    let entry = |text: &str| match text.split_once('-') {
        Some((first, last)) => {
            matches!((code(first), code(last)), (Some(first), Some(last)) if first <= last)
        }
        None => code(text).is_some(),
    };
    let entries: Vec<&str> = written.split(',').map(str::trim).collect();
    if entries.iter().all(|text| entry(text)) {
        return Some(entries.join(",").into());
    }
    asked.wrong(
        key::HEALTH_CODES,
        "must be status codes from 200 to 599",
        "Write them as 200, 200,202 or 200-299.",
    );
    None
}
