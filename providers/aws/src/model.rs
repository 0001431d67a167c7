//! The objects of this cloud as we want them, as we see them, and the writes between the two (Decides).
//!
//! ```text
//! load balancer ── listener, one per port number ── target group ── targets: instances at a NodePort, or pods
//!      │
//!      ├─ front-end security group: who may connect; one per load balancer
//!      └─ backend security group: one per cluster; each node group admits it once, for every NodePort
//! ```
//!
//! What is create-only on AWS (a load balancer's scheme; a target group's protocol, target type and family) is part of
//! an object's name, so that a successor can be made beside it before it goes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use evenkeel_core::ids::{ResourceId, ServiceRef, ServiceUid};
use serde::Serialize;

pub mod facts;
pub mod folded;
pub mod listener;
pub mod load_balancer;
pub mod observed;
pub mod opening;
pub mod security;
pub mod step;
pub mod target_group;
pub mod used;

pub use facts::Facts;
pub use folded::FoldedTargets;
pub use listener::{Listener, ListenerProtocol, SeenListener, Tls};
pub use load_balancer::{
    AddressType, LoadBalancer, Phase, SeenLoadBalancer, SubnetMapping, Subnets, ZoneAddresses,
};
pub use observed::{ListenerKey, NamedLoadBalancer, Observed};
pub use opening::{NodeGroup, Opening, Origin};
pub use security::{Rule, RuleProtocol, Security, SeenSecurityGroup, Source};
pub use step::{Effect, NewListener, NewLoadBalancer, NewTargetGroup, Object, Step, Told};
pub use target_group::{
    HealthCheck, ProbePort, ProbeProtocol, SeenTargetGroup, Target, TargetGroup, TargetProtocol,
    TargetState, TargetType,
};
pub use used::Used;

/// Attributes or tags: key and value as AWS spells them.
pub type Pairs = BTreeMap<Arc<str>, Arc<str>>;

/// What AWS calls an object: an ARN, `sg-…`, `subnet-…`. In a rehearsal it is foretold.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct CloudId(Arc<str>);

/// What a foretold id begins with; no id of AWS does.
const FORETOLD: &str = "known after apply: ";

impl CloudId {
    /// An id that AWS gave.
    pub fn new(id: impl Into<Arc<str>>) -> Self {
        Self(id.into())
    }

    /// The id that the object of this name will have.
    pub fn foretold(name: &str) -> Self {
        Self(format!("{FORETOLD}{name}").into())
    }

    /// Whether only a rehearsal knows the object.
    pub fn is_foretold(&self) -> bool {
        self.0.starts_with(FORETOLD)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CloudId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for CloudId {
    fn from(id: &str) -> Self {
        Self::new(id)
    }
}

/// Whose an object is. Kept on the object as tags (see [`crate::names`]), set in the call that creates it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Marks {
    /// UID of the cluster's namespace `kube-system`.
    pub cluster: Arc<str>,
    /// [`evenkeel_core::ids::GroupKey::identity`].
    pub group: Arc<str>,
    /// `namespace/name` of the Service, or of the shared group, for people.
    pub service: Arc<str>,
    /// UID of the member that it serves; the group's identity where it serves all of them.
    pub member: Arc<str>,
    /// The logical id: `lb`, `sg`, `tg/TCP/80`, `ls/80`.
    pub id: ResourceId,
    /// It stays when its Services are deleted.
    pub retain: bool,
}

impl Marks {
    /// The member that it serves.
    pub fn member(&self) -> ServiceUid {
        ServiceUid::new(Arc::clone(&self.member))
    }
}

/// What a group shall have. Targets follow the nodes and are not part of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Desired {
    /// The load balancer.
    pub load_balancer: LoadBalancer,
    /// By port number.
    pub listeners: Vec<Listener>,
    /// One per listener, in the same order.
    pub target_groups: Vec<TargetGroup>,
    /// Members that are there and cannot be read: what serves them stays as it is.
    pub unknown: BTreeSet<ServiceUid>,
    /// Whether the oldest member, which decides what all share, may be one of them. The load balancer then stays as it is, and is not
    /// made where there is none: by another's word it might be open to the world.
    pub shared_unknown: bool,
    /// Every member that is served, for what is published.
    pub members: Vec<ServiceRef>,
}
