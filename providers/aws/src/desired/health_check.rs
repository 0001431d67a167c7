//! How targets are judged (Decides).
//!
//! | policy | profile | what is probed where nobody chose it |
//! | --- | --- | --- |
//! | Local | every | `/healthz` of the Service's health check node port: whether the node has endpoints |
//! | Cluster | neutral | kube-proxy's own `/healthz` on port 10256, which other probes than this one may replace |
//! | any, with pods as targets | every | a connection to the pod's port |
//! | Cluster | lbc, ccm | a connection to the node port; for UDP, which nothing can connect to, as neutral |
//!
//! With the PROXY protocol AWS puts its header before an HTTP probe too, which kube-proxy does not understand: then a
//! connection has to do.

mod wishes;

use std::collections::BTreeSet;

use evenkeel_core::{
    annotation::{Asked, field, key as neutral},
    claim::Profile,
    intent::TrafficPolicy,
    ports::Protocol,
    problem::Problem,
};

pub(super) use wishes::Wishes;

use crate::{
    Context,
    annotations::key,
    model::{HealthCheck, Opening, ProbePort, ProbeProtocol, TargetType},
};

/// Port of kube-proxy's own health.
pub(crate) const KUBE_PROXY_HEALTH_PORT: u16 = 10_256;

/// The path that kube-proxy answers on both of its health ports.
const HEALTH_PATH: &str = "/healthz";

/// The status codes of a healthy target, as both former controllers and AWS have them.
const MATCHER: &str = "200-399";

/// What a target group says to its health check.
#[derive(Clone, Copy)]
pub(super) struct Targets {
    /// What they are.
    pub(super) kind: TargetType,
    /// Nothing but datagrams goes to them.
    pub(super) udp_only: bool,
    /// They get PROXY protocol headers.
    pub(super) proxy_protocol: bool,
}

impl Wishes {
    /// The health check of a target group, and whether nobody chose it, so that it is kube-proxy's health.
    pub(super) fn of(&self, asked: &mut Asked<'_>, targets: Targets) -> (HealthCheck, bool) {
        let probe = self.probe(asked, targets);
        let (path, matcher) = match probe.protocol {
            ProbeProtocol::Tcp => (None, None),
            ProbeProtocol::Http | ProbeProtocol::Https => (
                Some(self.path.clone().unwrap_or_else(|| probe.path.into())),
                Some(self.matcher.clone().unwrap_or_else(|| MATCHER.into())),
            ),
        };
        self.warn(asked, &probe, targets);
        let numbers = numbers(asked, probe.protocol, targets.kind);
        let interval = self.interval.unwrap_or(numbers.interval);
        let timeout = self.timeout.unwrap_or(numbers.timeout.min(interval));
        if timeout > interval {
            let key = match asked.intent.options.health_check.timeout_seconds {
                Some(_) => neutral::HEALTH_CHECK_TIMEOUT,
                None => key::HEALTH_TIMEOUT,
            };
            asked.problems.push(Problem::new(
                field(key),
                timeout.to_string(),
                format!("must not be above the interval, which is {interval}"),
                "Write a smaller timeout, or a longer interval.",
            ));
        }
        let health_check = HealthCheck {
            protocol: probe.protocol,
            port: probe.port,
            path,
            matcher,
            interval,
            timeout,
            healthy: self.healthy.unwrap_or(numbers.healthy),
            unhealthy: self.unhealthy.unwrap_or(numbers.unhealthy),
        };
        (health_check, probe.by_default)
    }

    /// What nodes must admit for a probe beside the NodePorts and kube-proxy's health.
    pub(super) fn openings(context: &Context, health_check: &HealthCheck) -> BTreeSet<Opening> {
        match health_check.port {
            ProbePort::Number(port)
                if port != KUBE_PROXY_HEALTH_PORT && !context.node_ports.contains(&port) =>
            {
                [Opening::port(Protocol::Tcp, port)].into()
            }
            ProbePort::Number(_) | ProbePort::Traffic => BTreeSet::new(),
        }
    }

    fn probe(&self, asked: &mut Asked<'_>, targets: Targets) -> Probe {
        let neutral_profile = is_neutral(asked.intent.profile);
        if targets.kind == TargetType::Ip {
            return self.pod_probe(neutral_profile);
        }
        match asked.intent.traffic_policy {
            TrafficPolicy::Local {
                health_check_node_port,
            } => self.local_probe(asked, targets, health_check_node_port),
            // Nothing answers a connection to the node port of a UDP port.
            TrafficPolicy::Cluster if !self.chosen() && (neutral_profile || targets.udp_only) => {
                if targets.proxy_protocol {
                    let port = if targets.udp_only {
                        ProbePort::Number(KUBE_PROXY_HEALTH_PORT)
                    } else {
                        ProbePort::Traffic
                    };
                    return Probe::chosen(ProbeProtocol::Tcp, port, HEALTH_PATH);
                }
                Probe {
                    by_default: true,
                    ..Probe::chosen(
                        ProbeProtocol::Http,
                        ProbePort::Number(KUBE_PROXY_HEALTH_PORT),
                        HEALTH_PATH,
                    )
                }
            }
            TrafficPolicy::Cluster if neutral_profile => {
                // As everywhere: a port of which nobody said that it speaks HTTP is connected to.
                let connects = self.port == Some(ProbePort::Traffic) && self.path.is_none();
                let protocol = self.protocol.unwrap_or(if connects {
                    ProbeProtocol::Tcp
                } else {
                    ProbeProtocol::Http
                });
                let port = match protocol {
                    ProbeProtocol::Http => ProbePort::Number(KUBE_PROXY_HEALTH_PORT),
                    // kube-proxy does not speak TLS.
                    ProbeProtocol::Tcp | ProbeProtocol::Https => ProbePort::Traffic,
                };
                Probe::chosen(protocol, self.port.unwrap_or(port), HEALTH_PATH)
            }
            TrafficPolicy::Cluster => Probe::chosen(
                self.protocol.unwrap_or(ProbeProtocol::Tcp),
                self.port.unwrap_or(ProbePort::Traffic),
                "/",
            ),
        }
    }

    /// Pods are asked themselves: nobody else knows of them.
    fn pod_probe(&self, neutral_profile: bool) -> Probe {
        // As everywhere: a port of which nobody said that it speaks HTTP is connected to.
        let protocol = self.protocol.unwrap_or(match &self.path {
            Some(_) if neutral_profile => ProbeProtocol::Http,
            _ => ProbeProtocol::Tcp,
        });
        Probe::chosen(protocol, self.port.unwrap_or(ProbePort::Traffic), "/")
    }

    fn local_probe(
        &self,
        asked: &mut Asked<'_>,
        targets: Targets,
        node_port: Option<u16>,
    ) -> Probe {
        let neutral_profile = is_neutral(asked.intent.profile);
        if neutral_profile && !self.chosen() && targets.proxy_protocol && !targets.udp_only {
            // A node without endpoints drops what comes to the node port, so a connection tells the same.
            return Probe::chosen(ProbeProtocol::Tcp, ProbePort::Traffic, HEALTH_PATH);
        }
        let protocol = self.protocol.unwrap_or(ProbeProtocol::Http);
        let port = match (self.port, node_port) {
            (Some(port), _) => port,
            (None, _) if protocol == ProbeProtocol::Tcp && neutral_profile && !targets.udp_only => {
                ProbePort::Traffic
            }
            (None, Some(port)) => ProbePort::Number(port),
            (None, None) => {
                asked.problems.push(Problem::new(
                    "spec.healthCheckNodePort",
                    "",
                    "is needed with externalTrafficPolicy Local",
                    format!(
                        "Let the API server allocate one, or set {} and {}.",
                        neutral::HEALTH_CHECK_PROTOCOL,
                        neutral::HEALTH_CHECK_PORT
                    ),
                ));
                ProbePort::Traffic
            }
        };
        Probe::chosen(protocol, port, HEALTH_PATH)
    }

    fn warn(&self, asked: &mut Asked<'_>, probe: &Probe, targets: Targets) {
        let connects = probe.protocol == ProbeProtocol::Tcp;
        let options = &asked.intent.options.health_check;
        let either = |ours: bool, neutral_key, key| if ours { neutral_key } else { key };
        let path_key = either(
            options.path.is_some(),
            neutral::HEALTH_CHECK_PATH,
            key::HEALTH_PATH,
        );
        let port_key = either(
            options.port.is_some(),
            neutral::HEALTH_CHECK_PORT,
            key::HEALTH_PORT,
        );
        let protocol_key = either(
            options.protocol.is_some(),
            neutral::HEALTH_CHECK_PROTOCOL,
            key::HEALTH_PROTOCOL,
        );
        if connects && self.path.is_some() {
            asked.warn(
                path_key,
                format_args!(
                    "a tcp probe asks for no path. Remove it, or set {} to http.",
                    neutral::HEALTH_CHECK_PROTOCOL
                ),
            );
        }
        if connects && self.matcher.is_some() {
            asked.warn(
                key::HEALTH_CODES,
                format_args!(
                    "a tcp probe gets no status code. Remove it, or set {} to http.",
                    neutral::HEALTH_CHECK_PROTOCOL
                ),
            );
        }
        if !connects && targets.proxy_protocol {
            asked.warn(
                protocol_key,
                "AWS puts the PROXY protocol's header before http and https probes too, and a target that does not expect it there \
                 fails them, kube-proxy among them. Use tcp, or probe a port that takes the header.",
            );
        }
        if targets.kind == TargetType::Ip {
            if targets.udp_only && probe.port == ProbePort::Traffic {
                asked.warn(
                    port_key,
                    "a target of UDP is probed over TCP at the same port, so pods that do not listen there count as unhealthy, and AWS sends \
                     to all of them. Probe another port of the pods.",
                );
            }
            return;
        }
        if targets.udp_only && probe.port == ProbePort::Traffic {
            asked.warn(
                port_key,
                format_args!(
                    "nothing answers a probe on the node port of a UDP port, so every target counts as unhealthy, and AWS sends to all of them. \
                     Probe another port, for example {KUBE_PROXY_HEALTH_PORT} with http {HEALTH_PATH}.",
                ),
            );
        }
        let node_port = match asked.intent.traffic_policy {
            TrafficPolicy::Local {
                health_check_node_port,
            } => health_check_node_port,
            TrafficPolicy::Cluster => Some(KUBE_PROXY_HEALTH_PORT),
        };
        let asks_kube_proxy = node_port.map(ProbePort::Number) == Some(probe.port);
        if asks_kube_proxy && probe.protocol == ProbeProtocol::Https {
            asked.warn(
                protocol_key,
                "kube-proxy, which answers on that port, does not speak TLS. Use http, or probe another port.",
            );
        }
        let other_path = self
            .path
            .as_ref()
            .is_some_and(|path| **path != *HEALTH_PATH);
        if asks_kube_proxy && probe.protocol == ProbeProtocol::Http && other_path {
            asked.warn(
                path_key,
                format_args!(
                    "kube-proxy, which answers on that port, knows {HEALTH_PATH} only. Remove it, or set {} to the port that answers it, \
                     for example traffic-port.",
                    neutral::HEALTH_CHECK_PORT
                ),
            );
        }
        if asked.intent.traffic_policy == TrafficPolicy::Cluster {
            return;
        }
        if !connects && probe.port == ProbePort::Traffic {
            asked.warn(
                port_key,
                "with externalTrafficPolicy Local the probe goes to the pods of a node and not to its health check node port. Remove it, \
                 unless they answer there.",
            );
        }
        if connects && self.protocol.is_some() && asks_kube_proxy {
            asked.warn(
                protocol_key,
                "every node takes a connection on the health check node port, so that nodes without endpoints count as healthy. Use http.",
            );
        }
    }
}

/// Where a probe goes.
struct Probe {
    protocol: ProbeProtocol,
    port: ProbePort,
    /// The path where none is asked for.
    path: &'static str,
    by_default: bool,
}

impl Probe {
    fn chosen(protocol: ProbeProtocol, port: ProbePort, path: &'static str) -> Self {
        Self {
            protocol,
            port,
            path,
            by_default: false,
        }
    }
}

fn is_neutral(profile: Profile) -> bool {
    match profile {
        Profile::Neutral | Profile::Azure => true,
        Profile::Ccm | Profile::Lbc => false,
    }
}

/// The numbers of a health check, in seconds and probes.
struct Numbers {
    interval: u32,
    timeout: u32,
    healthy: u32,
    unhealthy: u32,
}

fn numbers(asked: &Asked<'_>, protocol: ProbeProtocol, kind: TargetType) -> Numbers {
    let local =
        asked.intent.traffic_policy != TrafficPolicy::Cluster && kind == TargetType::Instance;
    // AWS's own defaults of the timeout, which the cloud controller manager never sent.
    let aws_timeout = if protocol == ProbeProtocol::Http {
        6
    } else {
        10
    };
    let (interval, timeout, threshold) = match (asked.intent.profile, local) {
        (Profile::Lbc, false) => (10, 10, 3),
        (Profile::Lbc, true) => (10, 6, 2),
        (Profile::Ccm, false) => (30, aws_timeout, 3),
        (Profile::Ccm, true) => (10, aws_timeout, 2),
        (Profile::Neutral | Profile::Azure, false) => (10, 6, 2),
        // Pods come and go more often than nodes, and a node without a pod drops what it gets.
        (Profile::Neutral | Profile::Azure, true) => (5, 5, 2),
    };
    Numbers {
        interval,
        timeout,
        healthy: threshold,
        unhealthy: threshold,
    }
}
