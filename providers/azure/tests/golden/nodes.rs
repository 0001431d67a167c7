//! 8.6, first half: nodes.

use evenkeel_core::{
    intent::Scheme,
    nodes::{Node, NodeFacts, NodeReason, NodeSet, Placement, node_set},
};
use k8s_openapi::{api::core::v1::Node as Resource, serde::Deserialize as _};
use serde_json::json;

use super::{rig::*, stage::*};

const PUBLIC: Scheme = Scheme::InternetFacing;

/// A node with this value of the label that excludes it, as it is read.
fn labelled(value: &str) -> Node {
    let document = json!({
        "metadata": { "name": "n9", "labels": { "node.kubernetes.io/exclude-from-external-load-balancers": value } },
        "spec": { "providerID": "azure:///subscriptions/x" },
        "status": { "addresses": [{ "type": "InternalIP", "address": "10.20.0.99" }] },
    });
    let facts = NodeFacts::from_resource(&Resource::deserialize(document).expect("a node"));
    let set = node_set([&facts], &evenkeel_azure::NODE_RULES);
    set.nodes().first().expect("a node").clone()
}

#[test]
fn row_100_a_node_that_comes_is_one_write_whatever_the_number_of_services() {
    let mut world = World::new();
    for number in 0..50 {
        world.ask(&web().named(&format!("web{number}"), number));
    }
    world.settle();
    let before = world.log.len();
    world.nodes = nodes(3);
    world.settle();
    assert_eq!(world.log[before..], ["PUT lb/public"]);
    assert_eq!(world.pool(PUBLIC), ["10.20.0.4", "10.20.0.5", "10.20.0.6"]);
}

#[test]
fn row_101_a_label_that_says_false_excludes_nobody() {
    assert_eq!(labelled("false").placement, Placement::Add);
}

#[test]
fn row_102_any_other_does() {
    for value in ["true", ""] {
        assert_eq!(
            labelled(value).placement,
            Placement::Remove(NodeReason::ExcludedByLabel),
            "{value:?}"
        );
    }
    let mut world = made(&web());
    world.nodes = NodeSet::new(vec![
        node("n1", "10.20.0.4", Placement::Add),
        node(
            "n2",
            "10.20.0.5",
            Placement::Remove(NodeReason::ExcludedByLabel),
        ),
    ]);
    world.settle();
    assert_eq!(world.pool(PUBLIC), ["10.20.0.4"]);
}

#[test]
fn row_103_the_last_members_stay() {
    let mut world = made(&web());
    let before = world.log.len();
    world.nodes = NodeSet::new(vec![node(
        "n1",
        "10.20.0.4",
        Placement::Remove(NodeReason::ExcludedByLabel),
    )]);
    world.settle();
    assert_eq!(world.pool(PUBLIC), ["10.20.0.4", "10.20.0.5"]);
    assert_eq!(world.log.len(), before);
}

#[test]
fn row_104_another_address_of_a_node() {
    let mut world = made(&web());
    let before = world.log.len();
    world.nodes = NodeSet::new(vec![
        node("n1", "10.20.0.44", Placement::Add),
        node("n2", "10.20.0.5", Placement::Add),
    ]);
    world.settle();
    assert_eq!(world.pool(PUBLIC), ["10.20.0.44", "10.20.0.5"]);
    assert_eq!(world.log[before..], ["PUT lb/public"]);
}

#[test]
fn a_node_that_is_marked_stays_and_is_not_added() {
    let marked = Placement::KeepIfPresent(NodeReason::MarkedByAutoscaler);
    let mut world = made(&web());
    world.nodes = NodeSet::new(vec![
        node("n1", "10.20.0.4", Placement::Add),
        node("n2", "10.20.0.5", marked.clone()),
        node("n3", "10.20.0.6", marked),
    ]);
    world.settle();
    assert_eq!(world.pool(PUBLIC), ["10.20.0.4", "10.20.0.5"]);
}
