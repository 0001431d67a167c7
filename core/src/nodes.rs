//! Nodes as targets: one shared set per provider, with the reason for every node left out (Decides).
//!
//! A node set is interned and versioned: all groups of a provider share one value, and a group whose targets
//! follow version N has nothing to do until there is another. The version is a digest of the content, so that the
//! same nodes in another order are the same set.

mod labels;
mod read;
#[cfg(test)]
mod tests;

use std::{net::IpAddr, sync::Arc};

use serde::Serialize;

pub use labels::{Labels, NodeLabels, NodeSelector};
pub use read::{NodeFacts, NodeRules, node_set};

use crate::{digest::Digest, ids::NodeName, net::IpFamily};

/// What may be done with a node as a target.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Placement {
    /// A target.
    Add,
    /// Stays where it is a target already, and is never added to anything new.
    KeepIfPresent(NodeReason),
    /// Not a target; where it is one it leaves.
    Remove(NodeReason),
}

/// Why a node is not simply a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum NodeReason {
    /// The label `node.kubernetes.io/exclude-from-external-load-balancers`.
    ExcludedByLabel,
    /// `metadata.deletionTimestamp` is set.
    BeingDeleted,
    /// The taint `node.cloudprovider.kubernetes.io/shutdown`.
    Shutdown,
    /// The taint `node.kubernetes.io/out-of-service`.
    OutOfService,
    /// The taint `ToBeDeletedByClusterAutoscaler`, or `karpenter.sh/disrupted:NoSchedule`.
    MarkedByAutoscaler,
    /// `spec.providerID` is missing, or names another cloud.
    NoProviderId,
    /// No InternalIP address.
    NoAddress,
    /// It vanished together with many others, which nobody has confirmed yet.
    HeldByBrake,
}

impl NodeReason {
    /// The reason in words, for events and for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ExcludedByLabel => {
                "excluded by label node.kubernetes.io/exclude-from-external-load-balancers"
            }
            Self::BeingDeleted => "being deleted",
            Self::Shutdown => "shut down (taint node.cloudprovider.kubernetes.io/shutdown)",
            Self::OutOfService => "out of service (taint node.kubernetes.io/out-of-service)",
            Self::MarkedByAutoscaler => "marked for removal by the autoscaler",
            Self::NoProviderId => "no providerID of this provider",
            Self::NoAddress => "no InternalIP address",
            Self::HeldByBrake => "vanished with many others, and not confirmed yet",
        }
    }

    /// Whether nobody has decided this: the node lacks something that it had, or should have.
    pub fn is_lack(self) -> bool {
        matches!(self, Self::NoProviderId | Self::NoAddress)
    }
}

/// A node as a target.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Node {
    /// Its name.
    pub name: NodeName,
    /// `spec.providerID`.
    pub provider_id: Option<Arc<str>>,
    /// Its InternalIP addresses, in the Node's order.
    pub addresses: Vec<IpAddr>,
    /// Label `topology.kubernetes.io/zone`.
    pub zone: Option<Arc<str>>,
    /// What may be done with it.
    pub placement: Placement,
}

impl Node {
    /// Its first address of a family.
    pub fn address(&self, family: IpFamily) -> Option<IpAddr> {
        self.addresses
            .iter()
            .copied()
            .find(|a| IpFamily::of(*a) == family)
    }
}

/// Whether kube-proxy's own health answers on the nodes, at port 10256. With a service proxy that does not serve it, a probe
/// of that port would take every node out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum ProxyHealth {
    /// It does, or nobody has asked a node yet.
    #[default]
    Answers,
    /// It was asked and does not.
    Silent,
}

/// Every node of a provider, sorted by name, shared by all its groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSet {
    nodes: Arc<[Node]>,
    proxy_health: ProxyHealth,
    labels: Option<Arc<NodeLabels>>,
    version: Digest,
}

impl NodeSet {
    /// The set of these nodes, in any order.
    pub fn new(mut nodes: Vec<Node>) -> Self {
        nodes.sort();
        let version = Digest::of(&nodes);
        Self {
            nodes: nodes.into(),
            proxy_health: ProxyHealth::Answers,
            labels: None,
            version,
        }
    }

    /// The same nodes with what is known of their labels. Those of nodes that are no targets are not in the version.
    #[must_use]
    pub fn with_labels(self, labels: Arc<NodeLabels>) -> Self {
        if labels.is_empty() {
            return self;
        }
        let of = self.kept().map(|node| labels.get(&node.name));
        let version = Digest::of(&(self.version, labels.keys(), of.collect::<Vec<_>>()));
        Self {
            labels: Some(labels),
            version,
            ..self
        }
    }

    /// What is known of the nodes' labels; None where nobody looks at any.
    pub fn labels(&self) -> Option<&Arc<NodeLabels>> {
        self.labels.as_ref()
    }

    /// Whether another set is the same for whoever looks at no labels.
    pub fn differs_in_labels_only(&self, other: &Self) -> bool {
        self.nodes == other.nodes && self.proxy_health == other.proxy_health
    }

    /// The same nodes with what was found out about kube-proxy's health.
    #[must_use]
    pub fn with_proxy_health(self, proxy_health: ProxyHealth) -> Self {
        let version = Digest::of(&(&self.nodes, proxy_health));
        let set = Self {
            nodes: self.nodes,
            proxy_health,
            labels: None,
            version,
        };
        match self.labels {
            Some(labels) => set.with_labels(labels),
            None => set,
        }
    }

    /// Whether kube-proxy's health may be what decides about a target of something new.
    pub fn proxy_health(&self) -> ProxyHealth {
        self.proxy_health
    }

    /// No nodes.
    pub fn empty() -> Self {
        Self::new(Vec::new())
    }

    /// All nodes with their placement.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The node of this name.
    pub fn get(&self, name: &NodeName) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name == *name)
    }

    /// The nodes that are targets of anything new.
    pub fn eligible(&self) -> impl Iterator<Item = &Node> {
        self.nodes
            .iter()
            .filter(|node| node.placement == Placement::Add)
    }

    /// The nodes that may be targets where they are targets already, beside the eligible ones.
    pub fn kept(&self) -> impl Iterator<Item = &Node> {
        self.nodes
            .iter()
            .filter(|node| !matches!(node.placement, Placement::Remove(_)))
    }

    /// The nodes left out, each with the reason.
    pub fn left_out(&self) -> impl Iterator<Item = (&Node, NodeReason)> {
        self.nodes.iter().filter_map(|node| match node.placement {
            Placement::Add => None,
            Placement::KeepIfPresent(reason) | Placement::Remove(reason) => Some((node, reason)),
        })
    }

    /// The version: equal for equal sets.
    pub fn version(&self) -> Digest {
        self.version
    }
}
