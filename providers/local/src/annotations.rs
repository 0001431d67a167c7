//! What the annotations of a Service mean here (Decides).
//!
//! The neutral keys say most of what this provider can do, and nobody has Services to bring along from another controller
//! of this kind; the few keys of its own are for what only this data plane has. What the neutral options leave open is
//! filled in here, and what the data plane cannot do is refused here.

use std::sync::Arc;

use evenkeel_core::{
    annotation::{Grammar, KeyDoc, KeyTable, field, key},
    claim::Profile,
    intent::{
        Affinity, HealthCheckOptions, HealthCheckPort, HealthCheckProtocol, Intent, TrafficPolicy,
    },
    ports::{PortKey, Protocol},
    problem::{Problem, Problems, Warning, reason},
};

use crate::api::{HealthCheck, HealthCheckKind};

#[cfg(test)]
mod tests;

/// Prefix of this provider's own keys.
pub const PREFIX: &str = "local.evenkeel.dev/";

/// Whether connections are logged.
pub const ACCESS_LOG: &str = "local.evenkeel.dev/access-log";

/// The name of the pool that the addresses are taken from.
pub const ADDRESS_POOL: &str = "local.evenkeel.dev/address-pool";

/// Most connections of the Service at one time.
pub const MAX_CONNECTIONS: &str = "local.evenkeel.dev/max-connections";

/// The keys of this provider, beside the neutral ones.
pub static TABLE: KeyTable = KeyTable {
    prefixes: &[PREFIX],
    keys: &[
        KeyDoc {
            key: ACCESS_LOG,
            grammar: Grammar::Bool,
            default: "false",
            doc: "Whether the data plane writes a line to its log for every connection that ends or is refused.",
            example: "true",
        },
        KeyDoc {
            key: ADDRESS_POOL,
            grammar: Grammar::Name,
            default: "the first pool that has an address for the namespace",
            doc: "The name of the pool that the addresses are taken from. Counts when an address is first given.",
            example: "office",
        },
        KeyDoc {
            key: MAX_CONNECTIONS,
            grammar: Grammar::Int {
                min: 1,
                max: 1_000_000,
            },
            default: "as many as the data plane takes in all",
            doc: "Most connections of the Service at one time, over all of its ports and families; further ones wait until one ends.",
            example: "1000",
        },
    ],
};

/// Port of kube-proxy's own health: 200 while its rules are in sync and the node is neither being deleted nor marked by an
/// autoscaler. One probe per node serves every Service.
pub const KUBE_PROXY_HEALTH_PORT: u16 = 10256;

/// The path that kube-proxy answers on both of its health ports.
const HEALTH_PATH: &str = "/healthz";

/// Time that connections of a leaving target may live on, as clouds give it (AWS: 300 s, GCP: 30 s).
const DRAIN_SECONDS: u32 = 30;

/// The longest a probe may take (see [`HealthCheck::timeout_ms`]).
const MAX_TIMEOUT_SECONDS: u32 = 60;

/// What one Service asks of its listeners and backend sets, with every default filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The name of the pool that addresses are taken from.
    pub pool: Option<Arc<str>>,
    /// How targets are probed.
    pub health_check: HealthCheck,
    /// Whether nobody chose what is probed, so that it is kube-proxy's health.
    pub by_default: bool,
    /// How long connections of a leaving target may live on, in seconds.
    pub drain_seconds: u32,
    /// How long a client stays with its target, in seconds. None: not at all.
    pub affinity_seconds: Option<u32>,
    /// When a silent connection is closed, in seconds. None: never.
    pub idle_timeout_seconds: Option<u32>,
    /// Whether targets get a PROXY protocol v2 header.
    pub proxy_protocol: bool,
    /// Whether connections are logged.
    pub access_log: bool,
    /// Most connections at one time, over all ports and families.
    pub max_connections: Option<u32>,
}

impl Settings {
    /// The settings of one Service; what it should know goes to `warnings`.
    ///
    /// # Errors
    /// Everything the data plane cannot do.
    pub fn read(intent: &Intent, warnings: &mut Vec<Warning>) -> Result<Self, Problems> {
        let mut problems = Problems::none();
        let health_check = health_check(intent, &mut problems, warnings);
        address_names(intent, &mut problems);
        ignored(intent, warnings);
        warnings.extend(TABLE.unknown(&intent.annotations));
        let keys = TABLE.reader(&intent.annotations);
        let access_log = problems.take(keys.bool(ACCESS_LOG)).flatten();
        let pool = problems.take(keys.text(ADDRESS_POOL)).flatten();
        let max_connections = problems.take(keys.number(MAX_CONNECTIONS)).flatten();
        problems.check()?;
        let options = &intent.options;
        Ok(Self {
            pool,
            health_check,
            by_default: probes_kube_proxy(intent),
            drain_seconds: options.drain_seconds.unwrap_or(DRAIN_SECONDS),
            affinity_seconds: match intent.affinity {
                Affinity::None => None,
                Affinity::ClientIp { timeout_seconds } => Some(timeout_seconds),
            },
            idle_timeout_seconds: options.idle_timeout_seconds,
            proxy_protocol: options.proxy_protocol.unwrap_or(false),
            access_log: access_log.unwrap_or(false),
            max_connections,
        })
    }
}

impl Settings {
    /// The probe of one port's targets, and what its owner should know about it. A connection to the node port of a UDP
    /// port would say nothing about it, so its targets are not probed where nothing else is asked.
    pub fn probe(&self, port: PortKey) -> (Option<HealthCheck>, Option<Warning>) {
        let asks_traffic_port = self.health_check.port.is_none();
        if port.protocol != Protocol::Udp || !asks_traffic_port {
            return (Some(self.health_check.clone()), None);
        }
        let warning = Warning::new(
            reason::UNSUPPORTED_FEATURE,
            format!(
                "port {port}: the node port of a UDP port cannot be probed, so every node counts as healthy for it. Set {} to a port \
                 that tells the node's health, for example {KUBE_PROXY_HEALTH_PORT} with {} {HEALTH_PATH}.",
                key::HEALTH_CHECK_PORT,
                key::HEALTH_CHECK_PATH,
            ),
        );
        (None, Some(warning))
    }
}

/// Names of reserved addresses are for clouds that have them.
fn address_names(intent: &Intent, problems: &mut Problems) {
    let names = &intent.options.address_names;
    if !names.is_empty() {
        problems.push(
            Problem::new(
                field(key::STATIC_ADDRESS),
                names.join(", "),
                "names a reserved address, and the pools of this machine have addresses only",
                "Write the IP address itself, or remove the annotation for any free one.",
            )
            .with_reason(reason::UNSUPPORTED_FEATURE),
        );
    }
}

/// What is accepted and has no effect.
fn ignored(intent: &Intent, warnings: &mut Vec<Warning>) {
    if !intent.options.tags.is_empty() {
        warnings.push(Warning::new(
            reason::UNSUPPORTED_FEATURE,
            format!(
                "{}: objects of this machine's load balancer carry no tags. Remove the annotation.",
                field(key::TAGS)
            ),
        ));
    }
}

/// Whether the probe is the neutral profile's own: kube-proxy's health on the node.
fn probes_kube_proxy(intent: &Intent) -> bool {
    let options = &intent.options.health_check;
    intent.profile == Profile::Neutral
        && intent.traffic_policy == TrafficPolicy::Cluster
        && options.protocol.is_none()
        && options.port.is_none()
        && options.path.is_none()
}

/// What is probed: with the traffic policy Local what kube-proxy says about this Service on this node, with Cluster what it
/// says about the node.
fn health_check(
    intent: &Intent,
    problems: &mut Problems,
    warnings: &mut Vec<Warning>,
) -> HealthCheck {
    let options = &intent.options.health_check;
    let (default_port, numbers) = match intent.traffic_policy {
        // Pods come and go more often than nodes, and a node without a pod drops what it gets.
        TrafficPolicy::Local {
            health_check_node_port,
        } => (
            health_check_node_port,
            Numbers {
                interval: 1,
                timeout: 1,
                rise: 1,
                fall: 2,
            },
        ),
        // A probe to a node of the same network answers in milliseconds, so the clouds' 8 s would only delay.
        TrafficPolicy::Cluster => (
            Some(KUBE_PROXY_HEALTH_PORT),
            Numbers {
                interval: 2,
                timeout: 1,
                rise: 1,
                fall: 3,
            },
        ),
    };
    let kind = kind(intent, problems, warnings);
    // An open port says nothing about local endpoints: kube-proxy's health ports accept connections whatever they answer.
    // So TCP probes go to the port that gets the traffic.
    let default_port = if kind == HealthCheckKind::Tcp {
        Some(HealthCheckPort::Traffic)
    } else {
        default_port.map(HealthCheckPort::Number)
    };
    let port = match options.port.or(default_port) {
        Some(HealthCheckPort::Traffic) => None,
        Some(HealthCheckPort::Number(number)) => Some(number),
        None => {
            problems.push(Problem::new(
                "spec.healthCheckNodePort",
                "",
                "is needed with externalTrafficPolicy Local",
                format!(
                    "Let the API server allocate one, or set {} and {}.",
                    key::HEALTH_CHECK_PROTOCOL,
                    key::HEALTH_CHECK_PORT
                ),
            ));
            None
        }
    };
    if port.is_none() && kind != HealthCheckKind::Tcp && intent.options.proxy_protocol == Some(true)
    {
        warnings.push(Warning::new(
            reason::INVALID_CONFIGURATION,
            format!(
                "{}: probes carry no PROXY protocol header, and a target that insists on one fails them. Probe another port, or \
                 use {} tcp.",
                field(key::HEALTH_CHECK_PORT),
                key::HEALTH_CHECK_PROTOCOL
            ),
        ));
    }
    numbers.overridden(options, problems).check(kind, port)
}

/// What a probe does. Without a word about the protocol it is HTTP to kube-proxy's health ports, and a mere connection to
/// the application's own port, of which nobody said that it speaks HTTP.
fn kind(intent: &Intent, problems: &mut Problems, warnings: &mut Vec<Warning>) -> HealthCheckKind {
    let options = &intent.options.health_check;
    // Outside the neutral profile, a Service that says nothing is probed as where it comes from.
    let unasked = intent.profile != Profile::Neutral
        && intent.traffic_policy == TrafficPolicy::Cluster
        && options.port.is_none();
    let traffic_port =
        (unasked || options.port == Some(HealthCheckPort::Traffic)) && options.path.is_none();
    let protocol = options.protocol.unwrap_or(if traffic_port {
        HealthCheckProtocol::Tcp
    } else {
        HealthCheckProtocol::Http
    });
    let path = || options.path.as_deref().unwrap_or(HEALTH_PATH).to_owned();
    match protocol {
        HealthCheckProtocol::Http => HealthCheckKind::Http { path: path() },
        HealthCheckProtocol::Tcp => {
            if options.path.is_some() {
                warnings.push(Warning::new(
                    reason::INVALID_CONFIGURATION,
                    format!(
                        "{}: a tcp probe asks for no path. Remove the annotation, or set {} to http.",
                        field(key::HEALTH_CHECK_PATH),
                        key::HEALTH_CHECK_PROTOCOL
                    ),
                ));
            }
            HealthCheckKind::Tcp
        }
        HealthCheckProtocol::Https => {
            problems.push(
                Problem::new(
                    field(key::HEALTH_CHECK_PROTOCOL),
                    "https",
                    "is not supported on this machine's load balancer, which probes with tcp or http",
                    "Write tcp or http.",
                )
                .with_reason(reason::UNSUPPORTED_FEATURE),
            );
            HealthCheckKind::Http { path: path() }
        }
    }
}

/// The numbers of a health check, in seconds and probes.
struct Numbers {
    interval: u32,
    timeout: u32,
    rise: u32,
    fall: u32,
}

impl Numbers {
    fn overridden(self, options: &HealthCheckOptions, problems: &mut Problems) -> Self {
        let timeout = options.timeout_seconds.unwrap_or(self.timeout);
        if timeout > MAX_TIMEOUT_SECONDS {
            problems.push(Problem::new(
                field(key::HEALTH_CHECK_TIMEOUT),
                timeout.to_string(),
                format!("must be from 1 to {MAX_TIMEOUT_SECONDS} on this machine's load balancer"),
                "Write a smaller number, or remove the annotation for the default.",
            ));
        }
        Self {
            interval: options.interval_seconds.unwrap_or(self.interval),
            timeout,
            rise: options.healthy_threshold.unwrap_or(self.rise),
            fall: options.unhealthy_threshold.unwrap_or(self.fall),
        }
    }

    fn check(&self, kind: HealthCheckKind, port: Option<u16>) -> HealthCheck {
        // The grammar of the annotations bounds all four far below the limits of the types.
        let count = |number: u32| u8::try_from(number).unwrap_or(u8::MAX);
        HealthCheck {
            kind,
            port,
            interval_ms: self.interval.saturating_mul(1_000),
            timeout_ms: self.timeout.saturating_mul(1_000),
            rise: count(self.rise),
            fall: count(self.fall),
        }
    }
}
