//! What the laws need to know of a provider and its cloud.
//!
//! A [`Rig`] makes worlds and knows how to ask its provider for things. A [`World`] is one cloud, with providers that come
//! and go over it. Nothing assumes that the cloud is in this process: everything that touches it is async, and
//! nothing is judged by the clock on the wall.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use async_trait::async_trait;
use evenkeel_core::{
    ids::{Cluster, GroupKey, NodeName, ServiceUid},
    intent::{Intent, ReclaimPolicy},
    nodes::Node,
    plan::Change,
    ports::PortKey,
    provider::Provider,
};

use crate::{
    samples,
    tap::{Fault, Tap},
};

/// A provider under test: how to get a cloud for it, and what to ask of it.
#[async_trait]
pub trait Rig: Send + Sync + Sized {
    /// The provider.
    type Provider: Provider;
    /// Its cloud.
    type World: World<Provider = Self::Provider>;

    /// A fresh cloud with nothing of ours in it. Called some thousand times; what it takes is given back when it is dropped.
    async fn world(&self) -> Self::World;

    /// What applies to this provider.
    fn abilities(&self) -> Abilities {
        Abilities::default()
    }

    /// What was observed, without all that the cloud chooses by itself (ids, versions, addresses from a pool), so that what was
    /// foretold and what came true can be equal.
    fn normalise(
        &self,
        seen: <Self::Provider as Provider>::Observed,
    ) -> <Self::Provider as Provider>::Observed;

    /// The same for the words of a change.
    fn normalise_change(&self, change: Change) -> Change {
        change
    }

    /// The cluster that is served.
    fn cluster(&self) -> Cluster {
        samples::cluster()
    }

    /// A Service that this provider serves wholly: TCP ports 18080 and 18443. Equal names are equal Services.
    fn service(&self, name: &str) -> Intent {
        samples::service(name)
    }

    /// A port number for [`Rig::service`]'s Services beside those they have.
    fn another_port(&self) -> u16 {
        19090
    }

    /// The node of this number (1 to 200), a target of everything.
    fn node(&self, number: u8) -> Node {
        samples::node(number)
    }

    /// Asks for something that is changed in place.
    fn change(&self, intent: &mut Intent);

    /// Writes an annotation that cannot be read, so that the Service is rejected.
    fn break_annotation(&self, intent: &mut Intent);

    /// Asks for something that can only be had by giving up the address or the load balancer. False when there is no such
    /// thing.
    fn replace(&self, _intent: &mut Intent) -> bool {
        false
    }

    /// Adds a port that cannot be served while the others can. False when there is no such thing.
    fn add_unservable_port(&self, _intent: &mut Intent) -> bool {
        false
    }

    /// Asks for something that is well-formed and that the cloud refuses for good. False when there is no such thing.
    fn ask_the_refused(&self, _intent: &mut Intent) -> bool {
        false
    }

    /// Asks that the load balancer stay when the Service goes.
    fn retain(&self, intent: &mut Intent) {
        intent.options.reclaim_policy = ReclaimPolicy::Retain;
    }

    /// Which of a run's calls are broken, one after the other, each in every way. All of them, unless worlds are dear.
    fn fault_points(&self, calls: usize) -> Vec<usize> {
        (0..calls).collect()
    }

    /// How single calls are broken.
    fn faults(&self) -> Vec<Fault> {
        Fault::ALL.to_vec()
    }

    /// How many random ways are taken in one test, beside those that failed before. Fewer where worlds are dear.
    fn ways(&self) -> u32 {
        48
    }

    /// How long something that must happen may take before it counts as never. Only ever waited out by a law that fails.
    fn patience(&self) -> Duration {
        Duration::from_secs(10)
    }
}

/// What applies to a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// Services of one group share one load balancer.
    pub groups: bool,
    /// Groups share one object, written by a writer of its own: a run never waits for its writes, and claims that queue
    /// are written together.
    pub shared_writer: bool,
    /// A replacement puts the new one in place before the old one goes.
    pub gapless_replacement: bool,
    /// [`Rig::retain`] means something.
    pub retain: bool,
}

impl Default for Abilities {
    fn default() -> Self {
        Self {
            groups: true,
            shared_writer: false,
            gapless_replacement: true,
            retain: true,
        }
    }
}

/// One cloud.
#[async_trait]
pub trait World: Send + Sync {
    /// The provider of this cloud.
    type Provider: Provider;

    /// A provider as a process that starts makes it: it knows nothing. The one before it has been dropped.
    async fn provider(&self) -> Self::Provider;

    /// The tap that every call of the provider passes.
    fn tap(&self) -> &Tap;

    /// Every live object, whoever it belongs to. Not counted by the tap.
    async fn objects(&self) -> Vec<Object>;

    /// What clients meet now. Not counted by the tap.
    async fn picture(&self) -> Picture;

    /// Lets pending work go on: what takes time gets nearer to its end, and is there after a few calls.
    async fn advance(&self);

    /// Puts in objects of another cluster and of nobody, beside ours.
    async fn plant_neighbours(&self);

    /// Puts in an object of another cluster just where the provider will want to put the first one of this group. False
    /// when no such place exists.
    async fn plant_in_the_way(&self, _key: &GroupKey) -> bool {
        false
    }
}

/// A live object of the cloud.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Object {
    /// What kind: `listener`.
    pub kind: String,
    /// The group's identity as the marks tell it; None for an object that carries none.
    pub group: Option<String>,
    /// UID of the member Service it serves, where it serves one.
    pub member: Option<String>,
    /// All that can be asked of it, in words, without what the cloud chooses: two ways to one state give equal bodies.
    pub body: String,
    /// The cluster as the marks tell it.
    pub cluster: Option<String>,
    /// What the cloud calls it: no two live objects have the same kind and name.
    pub name: String,
}

impl Object {
    /// Whether its marks name this cluster.
    pub fn is_of(&self, cluster: &Cluster) -> bool {
        self.cluster.as_deref() == Some(&*cluster.uid)
    }

    /// What is compared between two clouds: all but the name.
    pub fn content(&self) -> (&str, Option<&str>, Option<&str>, &str) {
        (
            &self.kind,
            self.group.as_deref(),
            self.member.as_deref(),
            &self.body,
        )
    }
}

/// Where clients connect to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Frontend {
    /// The member Service.
    pub member: ServiceUid,
    /// The port.
    pub port: PortKey,
    /// The address, or name.
    pub address: String,
}

/// What clients meet: every frontend that accepts connections, with the nodes that get them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Picture {
    /// Our cluster's frontends and the targets of each.
    pub frontends: BTreeMap<Frontend, BTreeSet<NodeName>>,
}
