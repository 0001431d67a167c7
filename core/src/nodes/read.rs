//! Which nodes may be targets, and why the others may not (Decides).
//!
//! [`NodeFacts`] is all that is kept of a Node: the process holds one per node, of ten thousand. Readiness and
//! cordoning are not among them: a node that is not ready stays a target, because the health checks of the load
//! balancer see the data path and the control plane does not.

use std::{borrow::Borrow, net::IpAddr, sync::Arc};

use k8s_openapi::api::core::v1::Node as Resource;

use super::{Node, NodeReason, NodeSet, Placement};
use crate::ids::NodeName;

#[cfg(test)]
mod tests;

/// Label that takes a node out of load balancers.
const EXCLUDE_LABEL: &str = "node.kubernetes.io/exclude-from-external-load-balancers";
/// Label with the node's zone.
const ZONE_LABEL: &str = "topology.kubernetes.io/zone";
/// Taint set by a cloud controller manager on an instance that is shut down.
const SHUTDOWN_TAINT: &str = "node.cloudprovider.kubernetes.io/shutdown";
/// Taint set by people on a node that will not come back.
const OUT_OF_SERVICE_TAINT: &str = "node.kubernetes.io/out-of-service";
/// Taint of a node that a cloud controller manager has not seen to yet: it gets its providerID when this goes.
const UNINITIALIZED_TAINT: &str = "node.cloudprovider.kubernetes.io/uninitialized";
/// Taint of the cluster autoscaler, with any effect.
const AUTOSCALER_TAINT: &str = "ToBeDeletedByClusterAutoscaler";
/// Taint of Karpenter; only with the effect NoSchedule does the node go.
const KARPENTER_TAINT: &str = "karpenter.sh/disrupted";

/// What matters of a Node. Two equal facts need no second look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeFacts {
    /// Its name.
    pub name: NodeName,
    /// `metadata.uid`: a node that is made again under its name has another.
    pub uid: Option<Arc<str>>,
    /// `spec.providerID`; an empty one is none.
    pub provider_id: Option<Arc<str>>,
    /// Its InternalIP addresses, in the Node's order.
    pub addresses: Box<[IpAddr]>,
    /// Label `topology.kubernetes.io/zone`.
    pub zone: Option<Arc<str>>,
    /// The label `node.kubernetes.io/exclude-from-external-load-balancers` is there and does not say false.
    pub excluded: bool,
    /// `metadata.deletionTimestamp` is set.
    pub being_deleted: bool,
    /// The taint `node.cloudprovider.kubernetes.io/shutdown`.
    pub shutdown: bool,
    /// The taint `node.kubernetes.io/out-of-service`.
    pub out_of_service: bool,
    /// The taint `node.cloudprovider.kubernetes.io/uninitialized`.
    pub uninitialized: bool,
    /// An autoscaler is about to remove it.
    pub marked_by_autoscaler: bool,
}

impl NodeFacts {
    /// The facts of a Node. What cannot be read (an address that is none) is left out.
    pub fn from_resource(node: &Resource) -> Self {
        let spec = node.spec.as_ref();
        let label = |key: &str| node.metadata.labels.as_ref()?.get(key).map(String::as_str);
        let text = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(Arc::from);
        let tainted = |key: &str, effect: Option<&str>| {
            spec.and_then(|spec| spec.taints.as_ref())
                .into_iter()
                .flatten()
                .any(|taint| taint.key == key && effect.is_none_or(|effect| taint.effect == effect))
        };
        Self {
            name: NodeName::from(node.metadata.name.as_deref().unwrap_or_default()),
            uid: text(node.metadata.uid.as_deref()),
            provider_id: text(spec.and_then(|spec| spec.provider_id.as_deref())),
            addresses: internal_addresses(node),
            zone: text(label(ZONE_LABEL)),
            excluded: label(EXCLUDE_LABEL).is_some_and(|value| parse_bool(value) != Some(false)),
            being_deleted: node.metadata.deletion_timestamp.is_some(),
            shutdown: tainted(SHUTDOWN_TAINT, None),
            out_of_service: tainted(OUT_OF_SERVICE_TAINT, None),
            uninitialized: tainted(UNINITIALIZED_TAINT, None),
            marked_by_autoscaler: tainted(AUTOSCALER_TAINT, None)
                || tainted(KARPENTER_TAINT, Some("NoSchedule")),
        }
    }
}

fn internal_addresses(node: &Resource) -> Box<[IpAddr]> {
    let mut addresses = Vec::new();
    for address in node
        .status
        .iter()
        .flat_map(|status| status.addresses.iter().flatten())
    {
        if address.type_ == "InternalIP"
            && let Ok(ip) = address.address.parse()
            && !addresses.contains(&ip)
        {
            addresses.push(ip);
        }
    }
    addresses.into()
}

/// Reads a boolean as Go's `strconv.ParseBool`, with which upstream reads the exclusion label since 1.34.
fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// What a provider needs of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeRules {
    /// The scheme of its providerIDs: `aws` for `aws:///eu-west-1a/i-0abc`. None: it needs no providerID.
    pub provider_id_scheme: Option<&'static str>,
    /// Whether a target is named by its address.
    pub needs_address: bool,
    /// Whether connections of a target that leaves may end in peace. Where they may, a node that an autoscaler
    /// marked leaves at once; elsewhere it stays until it is gone.
    pub drains: bool,
}

impl NodeRules {
    /// What may be done with a node.
    pub fn place(&self, facts: &NodeFacts) -> Placement {
        if let Some(reason) = self.unfit(facts) {
            return Placement::Remove(reason);
        }
        match (facts.marked_by_autoscaler, self.drains) {
            (false, _) => Placement::Add,
            (true, true) => Placement::Remove(NodeReason::MarkedByAutoscaler),
            (true, false) => Placement::KeepIfPresent(NodeReason::MarkedByAutoscaler),
        }
    }

    /// Why the node cannot be a target at all; what a person decided comes first.
    fn unfit(&self, facts: &NodeFacts) -> Option<NodeReason> {
        [
            (facts.excluded, NodeReason::ExcludedByLabel),
            (facts.being_deleted, NodeReason::BeingDeleted),
            (facts.shutdown, NodeReason::Shutdown),
            (facts.out_of_service, NodeReason::OutOfService),
            (!self.has_provider_id(facts), NodeReason::NoProviderId),
            (
                self.needs_address && facts.addresses.is_empty(),
                NodeReason::NoAddress,
            ),
        ]
        .into_iter()
        .find_map(|(applies, reason)| applies.then_some(reason))
    }

    fn has_provider_id(&self, facts: &NodeFacts) -> bool {
        let Some(scheme) = self.provider_id_scheme else {
            return true;
        };
        facts
            .provider_id
            .as_deref()
            .and_then(|id| id.strip_prefix(scheme)?.strip_prefix("://"))
            .is_some_and(|rest| !rest.is_empty())
    }
}

/// The nodes of a provider, each with what may be done with it, whatever their order.
pub fn node_set<F: Borrow<NodeFacts>>(
    facts: impl IntoIterator<Item = F>,
    rules: &NodeRules,
) -> NodeSet {
    let node = |facts: F| {
        let facts = facts.borrow();
        Node {
            name: facts.name.clone(),
            provider_id: facts.provider_id.clone(),
            addresses: facts.addresses.to_vec(),
            zone: facts.zone.clone(),
            placement: rules.place(facts),
        }
    };
    NodeSet::new(facts.into_iter().map(node).collect())
}
