//! What a Service's status needs to know of its load balancer (Decides).

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{ids::ServiceRef, ports::PortKey};

/// How packets arrive at a node; published as `ipMode`, which tells kube-proxy whether to accept the address itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum IpMode {
    /// With the load balancer's address as destination, or with nothing lost when kube-proxy short-circuits.
    #[serde(rename = "VIP")]
    Vip,
    /// With the node's address as destination.
    Proxy,
}

/// One entry of `status.loadBalancer.ingress`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Ingress {
    /// An address.
    Ip {
        /// The address.
        ip: IpAddr,
        /// Its mode.
        mode: IpMode,
    },
    /// A name, in lower case: the API server accepts no other.
    Hostname(String),
}

impl Ingress {
    /// The address or the name.
    pub fn address(&self) -> String {
        match self {
            Self::Ip { ip, .. } => ip.to_string(),
            Self::Hostname(name) => name.clone(),
        }
    }

    /// A host name, brought to lower case.
    pub fn hostname(name: &str) -> Self {
        Self::Hostname(name.to_ascii_lowercase())
    }
}

/// A port that is open for clients, and for which Service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PublishedPort {
    /// The member Service.
    pub service: ServiceRef,
    /// The port.
    pub port: PortKey,
}

/// What can be told to the world, computed from what was observed and never from what was hoped for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// Final addresses, primary family first. Empty until there is one.
    pub ingress: Vec<Ingress>,
    /// The ports that are served.
    pub ports: Vec<PublishedPort>,
    /// Health of the targets, where the provider knows it without asking.
    pub targets: Option<TargetHealth>,
    /// The pools that the addresses are of, in their order and each once, by the names that people know. Empty where the
    /// provider has none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pools: Vec<String>,
}

/// Targets by health.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetHealth {
    /// Get traffic.
    pub healthy: u32,
    /// Registered, whatever their health.
    pub total: u32,
}
