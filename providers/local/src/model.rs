//! The objects of this cloud as we want them, as we see them, and the writes between the two (Decides).
//!
//! A load balancer is an address lease per family and, per port and family, a backend set (targets with one health
//! check) and a listener. Leases and listeners are seen in the words of the API; of a backend set the
//! targets are kept as members that all sets share, because a thousand Services on a thousand nodes would otherwise be
//! a million strings.

use std::{collections::BTreeSet, fmt, net::IpAddr, sync::Arc, time::Duration};

use evenkeel_core::{
    ids::{NodeName, ResourceId, ServiceUid},
    net::IpFamily,
    ports::{PortKey, Protocol},
};
use serde::Serialize;

use crate::{
    api::{
        self, Family, HealthCheck, HealthCheckKind, LeaseSpec, LeaseStatus, ListenerPhase,
        ListenerSpec, Marks, Put,
    },
    names::label,
};

mod observed;
#[cfg(test)]
mod tests;

pub use observed::{Observed, Seen, SeenLease, is_open, turn};

/// A kind of object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// An address.
    Lease,
    /// Targets with one health check.
    BackendSet,
    /// A port of an address.
    Listener,
}

impl Kind {
    /// In the words of plans and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lease => "address lease",
            Self::BackendSet => "backend set",
            Self::Listener => "listener",
        }
    }
}

/// What a group shall have; targets follow the nodes and are not part of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Desired {
    /// One per family, the primary one first.
    pub leases: Vec<Lease>,
    /// By port and family.
    pub backend_sets: Vec<BackendSet>,
    /// By port and family.
    pub listeners: Vec<Listener>,
    /// Members that are there and cannot be read: what serves them stays as it is.
    pub unknown: BTreeSet<ServiceUid>,
}

/// An address that shall be held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Lease {
    /// Its logical id.
    pub id: ResourceId,
    /// The family.
    pub family: IpFamily,
    /// A particular address, where one is asked for. None keeps the one that is held.
    pub address: Option<IpAddr>,
    /// The pool that a new one is taken from.
    pub pool: Option<Arc<str>>,
    /// The ports that are listened on; the listeners tell the same.
    #[serde(skip)]
    pub ports: Vec<api::Port>,
    /// Whose it is.
    pub marks: Marks,
}

/// A backend set that shall be there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BackendSet {
    /// Its logical id.
    pub id: ResourceId,
    /// Its name.
    pub name: String,
    /// The port of its targets.
    pub node_port: u16,
    /// What is spoken there.
    pub protocol: Protocol,
    /// The family of the addresses in front of it.
    pub family: IpFamily,
    /// How targets are judged. None: there is nothing to ask, and every one counts as healthy.
    pub health_check: Option<HealthCheck>,
    /// Whether nobody chose that, so that it may be a mere connection where kube-proxy's health does not answer.
    pub by_default: bool,
    /// How long connections of a leaving target may live on, in seconds.
    pub drain_seconds: u32,
    /// How long a client stays with its target, in seconds. None: not at all.
    pub affinity_seconds: Option<u32>,
    /// Whose it is.
    pub marks: Marks,
}

/// A listener that shall be there, on the lease of its family.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listener {
    /// Its logical id.
    pub id: ResourceId,
    /// The port and protocol.
    pub port: PortKey,
    /// The family.
    pub family: IpFamily,
    /// The name of its backend set.
    pub backend_set: String,
    /// Who may connect; None means everyone.
    pub source_ranges: Option<Vec<ipnet::IpNet>>,
    /// Whether targets get a PROXY protocol v2 header.
    pub proxy_protocol: bool,
    /// When a silent connection is closed, in seconds.
    pub idle_timeout_seconds: Option<u32>,
    /// Whether connections are logged.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub access_log: bool,
    /// Most connections of the Service, over all of its listeners.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<u32>,
    /// Whose it is.
    pub marks: Marks,
}

impl Listener {
    /// Its port and protocol in the words of the API.
    pub fn place(&self) -> api::Port {
        api::Port {
            protocol: protocol_of(self.port),
            port: self.port.port,
        }
    }

    /// What is asked of the data plane, on the lease of this name.
    pub fn on(&self, lease: &str) -> ListenerSpec {
        ListenerSpec {
            lease: lease.to_owned(),
            port: self.port.port,
            protocol: protocol_of(self.port),
            backend_set: self.backend_set.clone(),
            source_ranges: self.source_ranges.clone(),
            proxy_protocol: self.proxy_protocol,
            idle_timeout_seconds: self.idle_timeout_seconds,
            access_log: self.access_log,
            max_connections: self.max_connections,
        }
    }
}

fn protocol_of(port: PortKey) -> api::Protocol {
    match port.protocol {
        Protocol::Udp => api::Protocol::Udp,
        // No listener is wanted for what the data plane does not speak.
        Protocol::Tcp | Protocol::Sctp => api::Protocol::Tcp,
    }
}

/// The port and protocol of a listener in the words of the API.
pub fn port_key(listener: &ListenerSpec) -> PortKey {
    PortKey {
        port: listener.port,
        protocol: match listener.protocol {
            api::Protocol::Tcp => Protocol::Tcp,
            api::Protocol::Udp => Protocol::Udp,
        },
    }
}

/// A target without its port, which is the same for all targets of a set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Member {
    /// The node's name.
    pub node: NodeName,
    /// The node's address.
    pub address: IpAddr,
}

/// What is asked of a backend set, with its targets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BackendSetSpec {
    /// The port of all targets, now or later; None when somebody wrote targets of several ports.
    pub node_port: Option<u16>,
    /// The targets, sorted.
    pub members: Arc<[Member]>,
    /// How they are judged.
    pub health_check: Option<HealthCheck>,
    /// How long connections of a leaving target may live on, in seconds.
    pub drain_seconds: u32,
    /// How long a client stays with its target, in seconds. None: not at all.
    pub affinity_seconds: Option<u32>,
}

impl BackendSetSpec {
    /// In the words of the API.
    pub fn to_wire(&self) -> api::BackendSetSpec {
        // A port of 0 is refused by the data plane; no plan writes a set without a port.
        let port = self.node_port.unwrap_or(0);
        let target = |member: &Member| api::Target {
            node: member.node.to_string(),
            address: member.address,
            port,
        };
        api::BackendSetSpec {
            targets: self.members.iter().map(target).collect(),
            health_check: self.health_check.clone(),
            drain_seconds: self.drain_seconds,
            affinity_seconds: self.affinity_seconds,
        }
    }
}

/// One write. The generation that it changes or deletes is read from what was observed.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Creates or changes a lease.
    PutLease(Write<LeaseSpec>),
    /// Creates or changes a backend set.
    PutBackendSet(Write<BackendSetSpec>),
    /// Creates or changes a listener.
    PutListener(Write<ListenerSpec>),
    /// Deletes an object.
    Delete {
        /// What kind.
        kind: Kind,
        /// Its name.
        name: String,
    },
}

/// An object to be written.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Write<Spec> {
    /// Its name.
    pub name: String,
    /// What is asked.
    pub put: Put<Spec>,
}

impl<Spec> Write<Spec> {
    /// An object of this name, for this owner.
    pub fn new(name: impl Into<String>, marks: Marks, spec: Spec) -> Self {
        Self {
            name: name.into(),
            put: Put { marks, spec },
        }
    }
}

/// What a write did.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// The lease is now this.
    Lease(String, Seen<LeaseSpec, LeaseStatus>),
    /// The backend set is now this.
    BackendSet(String, Seen<BackendSetSpec, u32>),
    /// The listener is now this.
    Listener(String, Seen<ListenerSpec, ListenerPhase>),
    /// It is gone.
    Gone(Kind, String),
}

/// The logical id of an object as its label tells it; an object that somebody made by hand has its name.
pub fn id(kind: Kind, name: &str, marks: &Marks) -> ResourceId {
    match marks.labels.get(label::ID) {
        Some(id) => ResourceId::new(id.as_str()),
        None => ResourceId::new(format!("{}/{name}", kind.as_str().replace(' ', "-"))),
    }
}

impl From<IpFamily> for Family {
    fn from(family: IpFamily) -> Self {
        match family {
            IpFamily::V4 => Self::V4,
            IpFamily::V6 => Self::V6,
        }
    }
}

impl From<Family> for IpFamily {
    fn from(family: Family) -> Self {
        match family {
            Family::V4 => Self::V4,
            Family::V6 => Self::V6,
        }
    }
}

/// A health check in the words of a plan: `HTTP :10256/healthz`, and with `{:#}` also how often and how fast.
pub(crate) struct Probe<'a>(pub(crate) Option<&'a HealthCheck>);

impl fmt::Display for Probe<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(HealthCheck {
            kind,
            port,
            interval_ms,
            timeout_ms,
            rise,
            fall,
        }) = self.0
        else {
            return f.write_str("no health check");
        };
        let port = port.map_or_else(|| "node-port".to_owned(), |port| port.to_string());
        match kind {
            HealthCheckKind::Tcp => write!(f, "TCP :{port}")?,
            HealthCheckKind::Http { path } => write!(f, "HTTP :{port}{path}")?,
        }
        if f.alternate() {
            let [interval, timeout] =
                [interval_ms, timeout_ms].map(|ms| Duration::from_millis((*ms).into()));
            write!(
                f,
                " every {interval:?}, timeout {timeout:?}, up after {rise}, down after {fall}"
            )?;
        }
        Ok(())
    }
}
