//! What is wanted, what is seen, what is done, in our words (Decides).

mod access;
mod observed;
mod part;
mod public_ip;
mod step;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use evenkeel_core::{
    ids::{ServiceRef, ServiceUid},
    intent::Scheme,
    net::IpFamily,
};
use serde::Serialize;

pub use access::{Access, Opening, Reached, SecurityRule};
pub use observed::{Facts, Observed, OtherBalancer, SeenBalancer, SeenSecurity, Subnet};
pub use part::{Fragment, Frontend, Members, Part, Place, Probe, ProbeProtocol, Rule, Transport};
pub use public_ip::{Marks, NewPublicIp, Phase, SeenPublicIp};
pub use step::{Effect, Step, Told};

/// Keys with values: tags.
pub type Pairs = BTreeMap<Arc<str>, Arc<str>>;

/// What a group shall have. Targets follow the nodes and are not part of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Desired {
    /// Which load balancer.
    pub scheme: Scheme,
    /// Where each family's address comes from, the Service's first family first.
    pub addresses: Vec<(IpFamily, Source)>,
    /// The rules and the probes that they use; each rule names its frontend by family, see [`crate::names::frontend`].
    pub rules: Vec<Listener>,
    /// Probes by name.
    pub probes: BTreeMap<Arc<str>, Probe>,
    /// What the security group lets in; None where its rules are nobody's business of ours.
    pub openings: Option<Vec<Opening>>,
    /// Members that are there and cannot be read: what serves them stays as it is.
    pub unknown: BTreeSet<ServiceUid>,
    /// Whether the oldest member, which decides what all share, may be one of them. Then frontends stay as they are, and are not made.
    pub shared_unknown: bool,
    /// Every member that is served.
    pub members: Vec<ServiceRef>,
}

/// A rule for one port of one member, before its frontend is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listener {
    /// Its name.
    pub name: Arc<str>,
    /// The rule; its frontend is empty.
    pub rule: Rule,
}

/// Where an address comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Source {
    /// A public IP address that we make.
    Managed(NewPublicIp),
    /// One that is there, by its id.
    Named(Arc<str>),
    /// One that is there, by its address.
    Address(std::net::IpAddr),
    /// A subnet by name.
    Subnet {
        /// The name of the subnet.
        name: Arc<str>,
        /// The address in it; None for any.
        address: Option<std::net::IpAddr>,
    },
}
