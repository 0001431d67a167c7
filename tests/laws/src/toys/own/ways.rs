//! What a cloud can do and how it goes about it (plain data): the differences between clouds that a controller has to cope with.

use std::{net::IpAddr, time::Duration};

use evenkeel_core::published::{Ingress, IpMode};

/// What a cloud can do, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ways {
    /// Whether one load balancer speaks TCP and UDP.
    pub mixed_protocols: bool,
    /// Whether it can say who may connect.
    pub source_ranges: bool,
    /// Whether a client's affinity ends after a time of the user's.
    pub affinity_timeout: bool,
    /// Whether traffic comes to the nodes on node ports. Otherwise it comes on the Service's own, with the load balancer's address.
    pub node_ports: bool,
    /// How many ports a load balancer has at most.
    pub most_ports: Option<usize>,
    /// What clients are told of an address.
    pub gives: Gives,
    /// How long an object that is deleted stays, as the cloud says; it goes when [`super::cloud::Cloud::let_leave`] is called. None: it goes at once.
    pub leaves_in: Option<Duration>,
    /// How soon an object that takes time is looked at again.
    pub soon: Duration,
}

impl Default for Ways {
    fn default() -> Self {
        Self {
            mixed_protocols: true,
            source_ranges: true,
            affinity_timeout: true,
            node_ports: true,
            most_ports: None,
            gives: Gives::Ip,
            leaves_in: None,
            soon: Duration::from_secs(1),
        }
    }
}

/// What clients are told of an address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Gives {
    /// The address.
    #[default]
    Ip,
    /// A host name, as the cloud spells it.
    Hostname(String),
    /// The address and a host name.
    Both(String),
    /// The address and another one.
    TwoIps(IpAddr),
}

impl Ways {
    /// What is published of an address.
    pub(super) fn ingress(&self, ip: IpAddr) -> Vec<Ingress> {
        let mode = if self.node_ports {
            IpMode::Proxy
        } else {
            IpMode::Vip
        };
        let ip = Ingress::Ip { ip, mode };
        match &self.gives {
            Gives::Ip => vec![ip],
            Gives::Hostname(name) => vec![Ingress::hostname(name)],
            Gives::Both(name) => vec![ip, Ingress::hostname(name)],
            Gives::TwoIps(other) => vec![ip, Ingress::Ip { ip: *other, mode }],
        }
    }
}
