//! What the controller knows of nodes that no list of Nodes says (Decides).

use std::net::IpAddr;

use evenkeel_core::{
    ids::{NodeName, ProviderName},
    nodes::{Node, NodeReason, NodeSet, Placement, ProxyHealth},
};
use serde::{Deserialize, Serialize};

/// A provider's nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodesOf {
    /// The provider.
    pub provider: String,
    /// Whether the nodes were asked for kube-proxy's health, and do not answer.
    pub proxy_health_silent: bool,
    /// Nodes that vanished all at once, and are held until somebody confirms it.
    pub held: Vec<HeldNode>,
}

/// A node that is held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeldNode {
    /// Its name.
    pub name: String,
    /// `spec.providerID` that it had.
    pub provider_id: Option<String>,
    /// The addresses that it had.
    pub addresses: Vec<IpAddr>,
    /// The zone that it was in.
    pub zone: Option<String>,
}

impl NodesOf {
    /// What a set says beyond the list that it was made from.
    pub fn of(provider: &ProviderName, set: &NodeSet) -> Self {
        let held = set
            .left_out()
            .filter(|(_, reason)| *reason == NodeReason::HeldByBrake);
        Self {
            provider: provider.to_string(),
            proxy_health_silent: set.proxy_health() == ProxyHealth::Silent,
            held: held
                .map(|(node, _)| HeldNode {
                    name: node.name.to_string(),
                    provider_id: node.provider_id.as_ref().map(ToString::to_string),
                    addresses: node.addresses.clone(),
                    zone: node.zone.as_ref().map(ToString::to_string),
                })
                .collect(),
        }
    }

    /// The set of a list, with what is said beyond it.
    pub fn over(&self, listed: &NodeSet) -> NodeSet {
        let mut nodes = listed.nodes().to_vec();
        for held in &self.held {
            let node = Node {
                name: NodeName::new(held.name.as_str()),
                provider_id: held.provider_id.as_deref().map(Into::into),
                addresses: held.addresses.clone(),
                zone: held.zone.as_deref().map(Into::into),
                placement: Placement::KeepIfPresent(NodeReason::HeldByBrake),
            };
            match nodes.iter_mut().find(|known| known.name == node.name) {
                // It is back.
                Some(known) if known.placement == Placement::Add => {}
                Some(known) => *known = node,
                None => nodes.push(node),
            }
        }
        let set = NodeSet::new(nodes);
        if self.proxy_health_silent {
            set.with_proxy_health(ProxyHealth::Silent)
        } else {
            set
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, placement: Placement) -> Node {
        Node {
            name: NodeName::from(name),
            provider_id: Some("local://x".into()),
            addresses: vec!["10.0.0.1".parse().expect("an address")],
            zone: None,
            placement,
        }
    }

    #[test]
    fn what_is_told_makes_the_same_set_of_a_list() {
        let held = Placement::KeepIfPresent(NodeReason::HeldByBrake);
        let known = NodeSet::new(vec![
            node("a", Placement::Add),
            node("gone", held.clone()),
            node("lost-its-address", held),
        ]);
        let known = known.with_proxy_health(ProxyHealth::Silent);
        let listed = NodeSet::new(vec![
            node("a", Placement::Add),
            node("lost-its-address", Placement::Remove(NodeReason::NoAddress)),
        ]);
        let told = NodesOf::of(&ProviderName::from("local"), &known);
        let text = serde_json::to_string(&told).expect("is written");
        let told: NodesOf = serde_json::from_str(&text).expect("is read");
        assert_eq!(told.over(&listed), known);
        assert_ne!(listed, known);
    }

    #[test]
    fn nothing_told_changes_nothing_and_who_is_back_is_back() {
        let listed = NodeSet::new(vec![node("a", Placement::Add)]);
        assert_eq!(NodesOf::default().over(&listed), listed);
        let told = NodesOf {
            held: vec![HeldNode {
                name: "a".into(),
                provider_id: None,
                addresses: Vec::new(),
                zone: None,
            }],
            ..NodesOf::default()
        };
        assert_eq!(told.over(&listed), listed);
    }
}
