//! Target groups, their health checks and targets (Decides).

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use evenkeel_core::{ids::ResourceId, net::IpFamily, nodes::NodeSelector, ports::Protocol};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{CloudId, Marks, Opening, Pairs, Source};
use crate::desired::attributes::PRESERVE_CLIENT_IP;

/// A target group that shall be there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TargetGroup {
    /// Its logical id: `tg/TCP/443`. Protocol, target type and family are create-only, and part of its name.
    pub id: ResourceId,
    /// The listener's port number.
    pub port: u16,
    /// What is spoken to the targets.
    pub protocol: TargetProtocol,
    /// What its targets are.
    pub target_type: TargetType,
    /// The family of its targets' addresses.
    pub family: IpFamily,
    /// The NodePort that its targets are reached at. Pods are reached at their target port: this one, where it is a number.
    pub node_port: u16,
    /// Which of the nodes.
    pub nodes: NodeSelector,
    /// How targets are judged.
    pub health_check: HealthCheck,
    /// Whether nobody chose what is probed: kube-proxy's own health, which gives way to a mere connection where it does not
    /// answer.
    pub probe_by_default: bool,
    /// The attributes that differ from AWS's defaults, or were asked for.
    pub attributes: Pairs,
    /// Where load balancers reach nodes beside the NodePorts and kube-proxy's health.
    pub openings: BTreeSet<Opening>,
    /// Who may connect; None: everyone. It matters where no security group of the load balancer says it.
    pub clients: Option<BTreeSet<Source>>,
    /// Whose it is.
    pub marks: Marks,
}

impl TargetGroup {
    /// Whether targets see the addresses of clients.
    pub fn preserves_clients(&self) -> bool {
        if self.protocol.has_udp() {
            return true;
        }
        match self.attributes.get(PRESERVE_CLIENT_IP) {
            Some(value) => &**value == "true",
            None => self.target_type == TargetType::Instance,
        }
    }
}

/// `Protocol` of a target group.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TargetProtocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// Both, on one port of the targets.
    TcpUdp,
    /// TLS, whose certificate AWS does not verify.
    Tls,
}

impl TargetProtocol {
    /// As AWS writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::TcpUdp => "TCP_UDP",
            Self::Tls => "TLS",
        }
    }

    /// What goes to the targets.
    pub fn transports(self) -> &'static [Protocol] {
        match self {
            Self::Tcp | Self::Tls => &[Protocol::Tcp],
            Self::Udp => &[Protocol::Udp],
            Self::TcpUdp => &[Protocol::Tcp, Protocol::Udp],
        }
    }

    /// Whether datagrams go to the targets.
    pub fn has_udp(self) -> bool {
        matches!(self, Self::Udp | Self::TcpUdp)
    }
}

impl fmt::Display for TargetProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// `TargetType`.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum TargetType {
    /// EC2 instances, reached at a NodePort.
    Instance,
    /// Addresses of pods.
    Ip,
}

impl TargetType {
    /// Whether targets are pods.
    pub fn is_pods(self) -> bool {
        self == Self::Ip
    }

    /// As AWS writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Instance => "instance",
            Self::Ip => "ip",
        }
    }
}

/// A health check, whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HealthCheck {
    /// How.
    pub protocol: ProbeProtocol,
    /// Where.
    pub port: ProbePort,
    /// The path of a request; None with TCP.
    pub path: Option<Arc<str>>,
    /// The status codes that count as healthy, as AWS writes them: `200-399`; None with TCP.
    pub matcher: Option<Arc<str>>,
    /// Seconds between two probes, 5 to 300.
    pub interval: u32,
    /// Seconds after which a probe has failed, 2 to 120.
    pub timeout: u32,
    /// Probes in a row that make a target healthy, 2 to 10.
    pub healthy: u32,
    /// Probes in a row that make it unhealthy, 2 to 10.
    pub unhealthy: u32,
}

/// `HealthCheckProtocol` of a Network Load Balancer.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "UPPERCASE")]
pub enum ProbeProtocol {
    /// A connection opens.
    Tcp,
    /// A request is answered.
    Http,
    /// The same over TLS.
    Https,
}

impl ProbeProtocol {
    /// As AWS writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Http => "HTTP",
            Self::Https => "HTTPS",
        }
    }
}

/// `HealthCheckPort`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum ProbePort {
    /// The port that gets the traffic.
    Traffic,
    /// This one.
    Number(u16),
}

impl fmt::Display for ProbePort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Traffic => f.write_str("traffic-port"),
            Self::Number(port) => port.fmt(f),
        }
    }
}

impl fmt::Display for HealthCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.protocol.as_str(), self.port)?;
        if let Some(path) = &self.path {
            write!(f, " {path}")?;
        }
        if let Some(matcher) = &self.matcher {
            write!(f, " {matcher}")?;
        }
        write!(
            f,
            " {}s/{}s/{}/{}",
            self.interval, self.timeout, self.healthy, self.unhealthy
        )
    }
}

/// A target: `Id` and `Port`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Target {
    /// An instance id, or a pod's address.
    pub id: Arc<str>,
    /// Where it is reached.
    pub port: u16,
}

/// `TargetHealth.State`. A target that drains, or is being deregistered, counts as not registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum TargetState {
    /// Registered, and not judged yet.
    Initial,
    /// Gets traffic.
    Healthy,
    /// Gets none while another is healthy.
    Unhealthy,
    /// Registered, and in no use: no listener forwards here, or its zone is not the load balancer's.
    Unused,
    /// Leaving.
    Draining,
    /// AWS does not say.
    Unavailable,
}

/// A target group that is there, or is foretold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenTargetGroup {
    /// Its ARN.
    pub arn: CloudId,
    /// Create-only.
    pub protocol: TargetProtocol,
    /// The NodePort, or the target port of pods, when it was created, and create-only; each target carries its own.
    pub port: u16,
    /// Create-only.
    pub target_type: TargetType,
    /// Create-only.
    pub family: IpFamily,
    /// As it is.
    pub health_check: HealthCheck,
    /// ARNs of the load balancers whose listeners forward here; AWS allows one.
    pub load_balancers: Vec<CloudId>,
    /// Its attributes that were read or written; None: they were not read, and no tag says that any was set.
    pub attributes: Option<Pairs>,
    /// Its targets; None: they were not read. A bulk look has none.
    pub targets: Option<BTreeMap<Target, TargetState>>,
    /// Where targets were not read: those that were registered since the look. A look has none.
    pub since: BTreeSet<Target>,
    /// Targets that AWS would not take since the look, and why. A look has none, so that they are tried again after one.
    pub not_taken: BTreeMap<Target, Arc<str>>,
    /// Whose it is.
    pub marks: Marks,
    /// All of its tags, those of others too.
    pub tags: Pairs,
}
