//! What a Service asks, cloud-neutral and typed (Decides).
//!
//! An [`Intent`] holds valid values only. Everything a provider needs from the Service is in it; the raw object
//! goes no further. Reading one is in `read`, which finds all problems at once.

mod read;
#[cfg(test)]
mod tests;

use std::{cmp::Ordering, collections::BTreeMap, fmt, net::IpAddr, sync::Arc};

use serde::{Deserialize, Serialize};

pub use read::{Reading, read};

use crate::{
    claim::Profile,
    ids::ServiceRef,
    net::{Cidr, IpFamily},
    ports::{PortKey, Protocol},
};

/// What one Service asks of its load balancer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Intent {
    /// The Service.
    pub service: ServiceRef,
    /// Where defaults come from when no annotation speaks.
    pub profile: Profile,
    /// The ports, sorted by number and protocol, whatever their order in the Service.
    pub ports: Vec<PortIntent>,
    /// The address families, in the order of `spec.ipFamilies`; never empty.
    pub families: Vec<IpFamily>,
    /// How nodes treat traffic, which decides the health check.
    pub traffic_policy: TrafficPolicy,
    /// Whether a client sticks to one endpoint.
    pub affinity: Affinity,
    /// Who may connect.
    pub source_ranges: SourceRanges,
    /// `spec.allocateLoadBalancerNodePorts`; with `false` a node port can be missing.
    pub allocate_node_ports: bool,
    /// What the neutral annotations (`evenkeel.dev/…`) and their fields ask.
    pub options: Options,
    /// Every annotation under another prefix, raw: the provider reads those of its cloud. A neutral key wins over
    /// the cloud's key for the same thing.
    pub annotations: BTreeMap<Arc<str>, Arc<str>>,
}

/// One port of a Service. Ports that differ in their names only are equal.
#[derive(Clone, Debug, Serialize)]
pub struct PortIntent {
    /// Port number and protocol: what names the listener.
    pub key: PortKey,
    /// Name, a hint for people only: renaming a port changes nothing.
    #[serde(skip)]
    pub name: Option<Arc<str>>,
    /// The NodePort; None when none is allocated.
    pub node_port: Option<u16>,
    /// `targetPort`; the API server's default is the port itself.
    pub target_port: TargetPort,
    /// `appProtocol`: what is spoken there, for providers whose health checks follow it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_protocol: Option<Arc<str>>,
}

/// Where the pods of a Service port listen. `targetPort`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum TargetPort {
    /// At this number.
    Number(u16),
    /// Where each pod's container port of this name is; its number may differ from pod to pod.
    Name(Arc<str>),
}

impl TargetPort {
    /// The number, where it is one.
    pub fn number(&self) -> Option<u16> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Name(_) => None,
        }
    }
}

impl fmt::Display for TargetPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl PortIntent {
    /// All that counts.
    fn parts(&self) -> (PortKey, Option<u16>, &TargetPort, Option<&str>) {
        (
            self.key,
            self.node_port,
            &self.target_port,
            self.app_protocol.as_deref(),
        )
    }
}

impl PartialEq for PortIntent {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for PortIntent {}

impl PartialOrd for PortIntent {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for PortIntent {
    fn cmp(&self, other: &Self) -> Ordering {
        self.parts().cmp(&other.parts())
    }
}

/// `spec.externalTrafficPolicy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum TrafficPolicy {
    /// Any node forwards to any endpoint.
    Cluster,
    /// A node forwards to its own endpoints only and says on this port whether it has any.
    Local {
        /// `spec.healthCheckNodePort`; None when the API server gave none.
        health_check_node_port: Option<u16>,
    },
}

/// `spec.sessionAffinity`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Affinity {
    /// None.
    None,
    /// By client address, for this many seconds (1 to 86,400; the API server's default is 10,800).
    ClientIp {
        /// Seconds since the client's last connection.
        timeout_seconds: u32,
    },
}

/// Who may connect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum SourceRanges {
    /// Everyone, of every family.
    All,
    /// These prefixes only, canonical, sorted and without duplicates. A family without any is denied.
    Only(Vec<Cidr>),
}

impl SourceRanges {
    /// The prefixes of one family; None means that everyone may connect.
    pub fn of_family(&self, family: IpFamily) -> Option<Vec<Cidr>> {
        match self {
            Self::All => None,
            Self::Only(ranges) => Some(
                ranges
                    .iter()
                    .copied()
                    .filter(|r| r.family() == family)
                    .collect(),
            ),
        }
    }
}

/// Whether the load balancer can be reached from outside the network it stands in.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Scheme {
    /// From the network only.
    Internal,
    /// From everywhere.
    InternetFacing,
}

/// What happens to the load balancer when its Service is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReclaimPolicy {
    /// It is deleted too.
    #[default]
    Delete,
    /// It stays, and is reported.
    Retain,
}

/// What the neutral annotations ask. None: the key is absent and the cloud's own key, then the profile's default, decides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Options {
    /// `evenkeel.dev/scheme`.
    pub scheme: Option<Scheme>,
    /// `evenkeel.dev/static-address`, else `spec.loadBalancerIP`: at most one address per family.
    pub addresses: Vec<IpAddr>,
    /// Whether the address is that of `spec.loadBalancerIP`, the deprecated field, which some controllers never looked at.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub address_of_field: bool,
    /// Names of addresses reserved in the cloud, from `evenkeel.dev/static-address`, for clouds that name them.
    pub address_names: Vec<Arc<str>>,
    /// `evenkeel.dev/health-check-*`.
    pub health_check: HealthCheckOptions,
    /// `evenkeel.dev/proxy-protocol`: `v2` or `off`.
    pub proxy_protocol: Option<bool>,
    /// `evenkeel.dev/idle-timeout`, in seconds.
    pub idle_timeout_seconds: Option<u32>,
    /// `evenkeel.dev/drain`: how long connections of a leaving target may live, in seconds; 0 closes at once.
    pub drain_seconds: Option<u32>,
    /// `evenkeel.dev/group`: the Services of one namespace that name the same group share one load balancer.
    pub group: Option<Arc<str>>,
    /// `evenkeel.dev/reclaim-policy`.
    pub reclaim_policy: ReclaimPolicy,
    /// `evenkeel.dev/tags`: tags for the cloud objects, for people and for bills.
    pub tags: BTreeMap<Arc<str>, Arc<str>>,
    /// `evenkeel.dev/approve`: the digest of the plan whose destructive steps are approved.
    pub approve: Option<Arc<str>>,
    /// `evenkeel.dev/paused`: nothing is written for this Service.
    pub paused: bool,
}

/// What the health check annotations ask; each None leaves the default of profile and traffic policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HealthCheckOptions {
    /// `evenkeel.dev/health-check-protocol`: `tcp`, `http`, `https`.
    pub protocol: Option<HealthCheckProtocol>,
    /// `evenkeel.dev/health-check-port`: a number, or `traffic-port`.
    pub port: Option<HealthCheckPort>,
    /// `evenkeel.dev/health-check-path`, absolute.
    pub path: Option<Arc<str>>,
    /// `evenkeel.dev/health-check-interval`, in seconds.
    pub interval_seconds: Option<u32>,
    /// `evenkeel.dev/health-check-timeout`, in seconds.
    pub timeout_seconds: Option<u32>,
    /// `evenkeel.dev/health-check-healthy-threshold`.
    pub healthy_threshold: Option<u32>,
    /// `evenkeel.dev/health-check-unhealthy-threshold`.
    pub unhealthy_threshold: Option<u32>,
}

/// How a target is probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthCheckProtocol {
    /// A connection opens.
    Tcp,
    /// A request is answered.
    Http,
    /// The same over TLS.
    Https,
}

/// Which port is probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HealthCheckPort {
    /// The port that gets the traffic.
    Traffic,
    /// This one.
    Number(u16),
}

impl Intent {
    /// The port with this key.
    pub fn port(&self, key: PortKey) -> Option<&PortIntent> {
        self.ports.iter().find(|port| port.key == key)
    }

    /// Whether any port speaks this protocol.
    pub fn speaks(&self, protocol: Protocol) -> bool {
        self.ports.iter().any(|port| port.key.protocol == protocol)
    }
}
