//! The wire types of the data plane's API: what the provider and the data plane say to each other.
//!
//! HTTP/1.1 with JSON bodies over a Unix socket, shaped like a small cloud: three kinds of named objects
//! (address leases, backend sets, listeners), each with an owner's marks, a generation for optimistic
//! concurrency (`If-Match`), and a status that only the data plane writes. Creating is `PUT` with
//! `If-None-Match: *` and is idempotent for the same owner and spec; deleting what is missing succeeds.
//!
//! | method and path | does |
//! | --- | --- |
//! | `GET /v1/health` | who runs: version, process id, limits |
//! | `GET /v1/objects?cluster=UID&group=IDENTITY` | everything one cluster, or one of its groups, owns, in one answer (everything without the query) |
//! | `GET /v1/snapshot?cluster=UID` | the same in far fewer bytes, for a first look |
//! | `GET /v1/{kind}/{name}` | one object |
//! | `PUT /v1/{kind}/{name}` | create or change one object |
//! | `DELETE /v1/{kind}/{name}` | remove one object; 409 `InUse` while another object refers to it |
//! | `GET /v1/metrics?cluster=UID&group=IDENTITY` | counters per listener and target, as OpenMetrics text |
//! | `POST /v1/handover` | hands everything over to another data plane of this machine |
//!
//! `{kind}` is `leases`, `backendsets` or `listeners`. Unknown fields are refused, so that a misspelt field is
//! an error and not a silence. `DELETE` carries the cluster in the header [`header::CLUSTER`]. Every answer that
//! is not 2xx has an [`ApiError`] as its body; a change is on disk before it is answered.

use std::{collections::BTreeMap, fmt, net::IpAddr};

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who an object belongs to, set at creation. The data plane stores the marks and never interprets them,
/// except that an object can only be changed or deleted by a request that carries the same cluster, and that
/// listeners of the same member share a limit of connections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Marks {
    /// UID of the cluster's `kube-system` namespace.
    pub cluster: String,
    /// Identity of the group that owns the object: the Service's UID, or `namespace/name` of a shared group.
    pub group: String,
    /// `namespace/name` of the member Service this object serves, or of the shared group where it serves all members.
    pub service: String,
    /// UID of the member Service this object serves; the same as `group` where it serves the whole group.
    pub member: String,
    /// Keep this object when its Service is deleted (reclaim policy Retain).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub retain: bool,
    /// What the owner wants to find again on the object: free text by key, as a cloud's tags. At most 16,
    /// with keys of 1 to 128 and values of at most 1,024 bytes without control characters.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// The parts of a `namespace/name`; a text without a namespace is a name.
pub(crate) fn namespace_and_name(service: &str) -> (&str, &str) {
    service.split_once('/').unwrap_or(("", service))
}

/// An object as the API stores and returns it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Object<Spec, Status> {
    /// Unique within its kind: 1 to 128 characters of `[a-z0-9-]`.
    pub name: String,
    /// The owner.
    pub marks: Marks,
    /// Grows with every change of `marks` or `spec`; sent back as `If-Match` to change exactly what was read.
    /// One counter serves all objects, so a number may be skipped and never comes back: an object that was
    /// deleted and created again does not match an old `If-Match`.
    pub generation: u64,
    /// What was asked.
    pub spec: Spec,
    /// What is.
    pub status: Status,
}

/// Body of a `PUT`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Put<Spec> {
    /// The owner; must name the same cluster as the stored object.
    pub marks: Marks,
    /// What is asked.
    pub spec: Spec,
}

/// Address family of a lease.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum Family {
    /// IPv4.
    #[serde(rename = "IPv4")]
    V4,
    /// IPv6.
    #[serde(rename = "IPv6")]
    V6,
}

impl Family {
    /// The family of an address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() {
            Self::V4
        } else {
            Self::V6
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// An address held for one group. Sticky: it stays until it is deleted, across restarts of everything.
pub type Lease = Object<LeaseSpec, LeaseStatus>;

/// What a lease asks. The address it got never changes: once created, `address` may only become the address
/// that is held (so that a user can pin it) or None.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LeaseSpec {
    /// The family of the address.
    pub family: Family,
    /// A particular address; it must lie in a pool and be free. None: the data plane picks one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// The name of the pool to take it from. None: the first that has one. Counts when the address is chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// The ports that are going to be listened on (at most 10,000). Of a shared pool that address is chosen which has most of
    /// them free, and other leases are chosen another one for them. They may change.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Port>,
}

impl LeaseSpec {
    /// Asks for any address of a family.
    #[must_use]
    pub fn of(family: Family) -> Self {
        Self {
            family,
            address: None,
            pool: None,
            ports: Vec::new(),
        }
    }
}

/// A port with its protocol.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(deny_unknown_fields)]
pub struct Port {
    /// The protocol.
    pub protocol: Protocol,
    /// The number.
    pub port: u16,
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.protocol.as_str(), self.port)
    }
}

/// What a lease got.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LeaseStatus {
    /// The address.
    pub address: IpAddr,
    /// The pool that it is of, by its name or else its addresses. None: of none any more; it is held all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
}

/// A set of targets that share one health check.
pub type BackendSet = Object<BackendSetSpec, BackendSetStatus>;

/// What a backend set asks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackendSetSpec {
    /// Where connections go, in any order (at most 10,000); a target is named by its address and port, and
    /// naming one twice is an error.
    pub targets: Vec<Target>,
    /// How a target is judged. None: every target counts as healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheck>,
    /// How long connections of a removed target, or of a removed listener, may live on, in seconds
    /// (0 to 86,400); 0 closes them at once.
    pub drain_seconds: u32,
    /// New connections of a client go to the target of its last one for this many seconds (1 to 86,400) after that, while
    /// the target is there and not unhealthy. A client is an IP address. None: every connection is placed anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity_seconds: Option<u32>,
}

/// One target: a node's address and a NodePort.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// The node's name, for people and for metrics.
    pub node: String,
    /// The node's address.
    pub address: IpAddr,
    /// The NodePort.
    pub port: u16,
}

/// How targets are probed. Probes with the same address, port and settings are made once and shared by
/// every backend set that asks for them.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(deny_unknown_fields)]
pub struct HealthCheck {
    /// What is done and what counts as an answer.
    pub kind: HealthCheckKind,
    /// Port to probe on the target's address; None probes the target's own port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Time between two probes, in milliseconds (100 to 300,000).
    pub interval_ms: u32,
    /// Time after which a probe has failed, in milliseconds (50 to 60,000).
    pub timeout_ms: u32,
    /// Successes in a row that make a target healthy (1 to 10). The very first probe decides alone.
    pub rise: u8,
    /// Failures in a row that make a target unhealthy (1 to 10).
    pub fall: u8,
}

/// What a probe does.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
pub enum HealthCheckKind {
    /// A TCP connection opens.
    Tcp,
    /// `GET path` answers 200.
    Http {
        /// Absolute path in visible ASCII, at most 1,024 characters, for example `/healthz`.
        path: String,
    },
}

/// What a backend set is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendSetStatus {
    /// Health by target, in the order of the spec.
    pub targets: Vec<TargetStatus>,
    /// Removed targets whose connections still drain.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub draining: Vec<Target>,
}

/// The health of one target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetStatus {
    /// Which target.
    pub target: Target,
    /// Its health.
    pub health: Health,
    /// Why, in a few words, when it is unhealthy (`refused`, `timeout`, `status 503`). `flapping`: it answers and
    /// changed too often of late; it gets connections only while no target is healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Health of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Not probed yet. Gets traffic only when no target of the set is healthy.
    Initial,
    /// Gets traffic.
    Healthy,
    /// Gets no new connections.
    Unhealthy,
}

/// A port of an address that clients connect to.
pub type Listener = Object<ListenerSpec, ListenerStatus>;

/// Transport protocol of a listener.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum Protocol {
    /// TCP.
    #[serde(rename = "TCP")]
    Tcp,
    /// UDP. What a client's address and port send and get back is a flow, which counts wherever connections do.
    #[serde(rename = "UDP")]
    Udp,
}

impl Protocol {
    /// As Kubernetes writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a listener asks. `lease`, `port` and `protocol` are immutable; the rest changes in place without
/// touching an open connection, and holds for connections opened afterwards. For UDP, `source_ranges`, `proxy_protocol` and
/// `idle_timeout_seconds` hold for every datagram from then on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListenerSpec {
    /// Name of the lease whose address is listened on.
    pub lease: String,
    /// The port.
    pub port: u16,
    /// The protocol.
    pub protocol: Protocol,
    /// Name of the backend set that gets the connections.
    pub backend_set: String,
    /// Who may connect (at most 10,000 prefixes). None means everyone, an empty list means nobody. Prefixes of
    /// another family than the address never match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<String>>")]
    pub source_ranges: Option<Vec<IpNet>>,
    /// Send a PROXY protocol v2 header to the target: at the start of a connection, in front of every datagram.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub proxy_protocol: bool,
    /// Close a connection after this many seconds (1 to 604,800) without a byte in either direction. None: never, and
    /// for UDP, where nothing else ends a flow, after 60 seconds. A UDP flow without any answer ends after 15 at the latest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_timeout_seconds: Option<u32>,
    /// Write a line to the log for every connection that ends or is refused.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub access_log: bool,
    /// Most connections (1 to 1,000,000) open at one time, counted over all listeners of the same member of the same cluster;
    /// further ones wait. None: as many as there may be in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<u32>,
}

impl ListenerSpec {
    /// Its port with the protocol.
    #[must_use]
    pub fn place(&self) -> Port {
        Port {
            protocol: self.protocol,
            port: self.port,
        }
    }
}

/// What a listener is doing. A listener whose port cannot be opened is stored all the same and tried again
/// every few seconds: the port may become free.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerStatus {
    /// Its phase.
    pub phase: ListenerPhase,
    /// Connections, or UDP flows, open now.
    pub connections: u64,
}

/// Phase of a listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "phase", rename_all = "lowercase")]
pub enum ListenerPhase {
    /// Accepting connections, or datagrams.
    Ready,
    /// The port could not be opened, or its address is not where it should be.
    Failed {
        /// CamelCase, stable; see [`failure`].
        code: String,
        /// What happened and what to do, naming the sysctl or capability where there is one.
        message: String,
    },
}

/// Everything, or everything of one cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Objects {
    /// All address leases.
    pub leases: Vec<Lease>,
    /// All backend sets.
    pub backend_sets: Vec<BackendSet>,
    /// All listeners.
    pub listeners: Vec<Listener>,
}

/// Answer of `GET /v1/snapshot`: the same as [`Objects`] in far fewer bytes. A thousand backend sets with the same thousand nodes
/// tell them once, and of health only how many are healthy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// All address leases.
    pub leases: Vec<Lease>,
    /// All listeners.
    pub listeners: Vec<Listener>,
    /// Lists of targets, without their port.
    pub lists: Vec<Vec<TargetAddress>>,
    /// All backend sets.
    pub backend_sets: Vec<BackendSetSummary>,
}

/// A target without its port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TargetAddress {
    /// The node's name.
    pub node: String,
    /// The node's address.
    pub address: IpAddr,
}

/// A backend set in a [`Snapshot`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackendSetSummary {
    /// Its name.
    pub name: String,
    /// The owner.
    pub marks: Marks,
    /// Its generation.
    pub generation: u64,
    /// Index of its targets in [`Snapshot::lists`].
    pub list: usize,
    /// The port of all its targets; None when it has none, or they differ.
    pub port: Option<u16>,
    /// How its targets are judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheck>,
    /// How long connections of a removed target may live on, in seconds.
    pub drain_seconds: u32,
    /// How long a client stays with its target, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity_seconds: Option<u32>,
    /// How many targets are healthy.
    pub healthy: u32,
}

/// Answer of `GET /v1/health`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Info {
    /// Version of the running data plane.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// The pools, as configured.
    pub pools: Vec<String>,
    /// Counters by name (connections accepted, refused, bytes), for a quick look.
    #[serde(default)]
    pub counters: BTreeMap<String, u64>,
}

/// The version of what two data planes say to each other in a handover.
pub const HANDOVER_VERSION: u32 = 1;

/// Body of `POST /v1/handover`, answered with 202: another data plane wants to take over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Handover {
    /// [`HANDOVER_VERSION`] of the one that asks.
    pub version: u32,
    /// Name of the Unix socket, in the directory of the API's, on which it waits for everything.
    pub socket: String,
    /// Its own version, for the log.
    pub by: String,
}

/// Body of every answer that is not 2xx.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: {message}")]
pub struct ApiError {
    /// CamelCase and stable; the provider classifies by it. See [`code`].
    pub code: String,
    /// One sentence for people, ending with what to do.
    pub message: String,
    /// The field of the body that is wrong, where one is (`spec.health_check.interval_ms`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

impl ApiError {
    /// An error that is about no particular field.
    #[must_use]
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            message: message.into(),
            field: None,
        }
    }

    /// The same error about one field.
    #[must_use]
    pub fn at(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }
}

/// Request headers beside HTTP's own `If-Match` and `If-None-Match`.
pub mod header {
    /// On `DELETE`: UID of the cluster that owns the object.
    pub const CLUSTER: &str = "x-evenkeel-cluster";
    /// On `PUT` and `DELETE`, if the caller does not wait for ever: when it gives up, in milliseconds of the machine's
    /// monotonic clock (`CLOCK_MONOTONIC`, clock_gettime(2)). What was not begun by then never is, so that a change that
    /// was given up cannot come after one that was asked for later.
    pub const DEADLINE: &str = "x-evenkeel-deadline";
}

/// Largest body of a request, in bytes: room for a full set of targets many times over.
pub const MAX_BODY_BYTES: usize = 8 << 20;

/// The codes of [`ListenerPhase::Failed`].
pub mod failure {
    /// Another process listens on the port.
    pub const PORT_IN_USE: &str = "PortInUse";
    /// The system forbids the port: `net.ipv4.ip_unprivileged_port_start`, or CAP_NET_BIND_SERVICE is missing.
    pub const PORT_FORBIDDEN: &str = "PortForbidden";
    /// No interface of this machine has the address.
    pub const ADDRESS_NOT_LOCAL: &str = "AddressNotLocal";
    /// The pool adds its addresses to an interface that is not there.
    pub const INTERFACE_MISSING: &str = "InterfaceMissing";
    /// The pool adds its addresses to an interface that is down.
    pub const INTERFACE_DOWN: &str = "InterfaceDown";
    /// The pool adds its addresses to an interface, and another one has this address, not by the data plane.
    pub const ADDRESS_ELSEWHERE: &str = "AddressElsewhere";
    /// The system lets the data plane add no address: CAP_NET_ADMIN is missing.
    pub const ADDRESS_FORBIDDEN: &str = "AddressForbidden";
    /// The address could not be added to its interface for another reason.
    pub const ADDRESS_NOT_ADDED: &str = "AddressNotAdded";
    /// The limit of open files is reached; connections wait.
    pub const TOO_MANY_FILES: &str = "TooManyFiles";
    /// Anything else the system said.
    pub const BIND_FAILED: &str = "BindFailed";
}

/// The codes of [`ApiError`], with the HTTP status they come with.
pub mod code {
    /// 400: the body does not parse, has unknown fields, or a value is out of range (413: it is too large; 405: the
    /// method is not one of the path's).
    pub const INVALID: &str = "Invalid";
    /// 404: no such object (never the answer to `DELETE`).
    pub const NOT_FOUND: &str = "NotFound";
    /// 403: the object belongs to another cluster.
    pub const FOREIGN: &str = "Foreign";
    /// 409: the name exists with another owner or spec and the request said `If-None-Match: *`.
    pub const EXISTS: &str = "Exists";
    /// 409: another object refers to this one.
    pub const IN_USE: &str = "InUse";
    /// 409: the port of that address is taken by another listener of the same protocol or a NodePort; of a lease, all its ports are.
    pub const PORT_TAKEN: &str = "PortTaken";
    /// 412: the generation is not the one that was read.
    pub const CHANGED: &str = "Changed";
    /// 409: the asked address is held by another lease.
    pub const ADDRESS_TAKEN: &str = "AddressTaken";
    /// 422: the asked address lies in no pool.
    pub const ADDRESS_NOT_IN_POOL: &str = "AddressNotInPool";
    /// 422: no pool has the asked name.
    pub const NO_SUCH_POOL: &str = "NoSuchPool";
    /// 422: the pools serve other namespaces.
    pub const NAMESPACE_NOT_SERVED: &str = "NamespaceNotServed";
    /// 409: the namespace holds as many addresses as it may.
    pub const NAMESPACE_LIMIT: &str = "NamespaceLimit";
    /// 507: every address of the family's pools is held.
    pub const POOL_EXHAUSTED: &str = "PoolExhausted";
    /// 422: a name that is referred to does not exist, or belongs to another cluster.
    pub const BAD_REFERENCE: &str = "BadReference";
    /// 422: an immutable field would change.
    pub const IMMUTABLE: &str = "Immutable";
    /// 500: the configuration could not be written to disk; nothing was changed.
    pub const STORAGE: &str = "Storage";
    /// 503: the data plane did not answer in time or is stopping; whether the change was made is unknown.
    pub const BUSY: &str = "Busy";
}
