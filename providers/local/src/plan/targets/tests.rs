//! Who is a target, one row each.

use std::net::IpAddr;

use evenkeel_core::{ids::NodeName, nodes::NodeReason};

use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn node(name: &str, addresses: &[&str], placement: Placement) -> Node {
    Node {
        name: NodeName::from(name),
        provider_id: None,
        addresses: addresses.iter().map(|address| ip(address)).collect(),
        zone: None,
        placement,
    }
}

const KEEP: Placement = Placement::KeepIfPresent(NodeReason::MarkedByAutoscaler);
const REMOVE: Placement = Placement::Remove(NodeReason::BeingDeleted);

fn present(members: &[(&str, &str)]) -> Arc<[Member]> {
    members
        .iter()
        .map(|(node, address)| Member {
            node: NodeName::from(*node),
            address: ip(address),
        })
        .collect()
}

#[test]
fn a_node_is_a_target_as_its_placement_says() {
    let add = || Placement::Add;
    for (what, nodes, before, want) in [
        (
            "a new node",
            vec![node("a", &["10.0.0.1"], add())],
            vec![],
            vec![("a", "10.0.0.1")],
        ),
        (
            "one that stays",
            vec![node("a", &["10.0.0.1"], add())],
            vec![("a", "10.0.0.1")],
            vec![("a", "10.0.0.1")],
        ),
        (
            "one with another address",
            vec![node("a", &["10.0.0.9"], add())],
            vec![("a", "10.0.0.1")],
            vec![("a", "10.0.0.9")],
        ),
        (
            "one that may stay",
            vec![
                node("a", &["10.0.0.1"], KEEP),
                node("b", &["10.0.0.2"], add()),
            ],
            vec![("a", "10.0.0.1")],
            vec![("a", "10.0.0.1"), ("b", "10.0.0.2")],
        ),
        (
            "one that may stay and is not there",
            vec![
                node("a", &["10.0.0.1"], KEEP),
                node("b", &["10.0.0.2"], add()),
            ],
            vec![],
            vec![("b", "10.0.0.2")],
        ),
        (
            "one that leaves",
            vec![
                node("a", &["10.0.0.1"], REMOVE),
                node("b", &["10.0.0.2"], add()),
            ],
            vec![("a", "10.0.0.1"), ("b", "10.0.0.2")],
            vec![("b", "10.0.0.2")],
        ),
        (
            "one that is gone",
            vec![node("b", &["10.0.0.2"], add())],
            vec![("a", "10.0.0.1"), ("b", "10.0.0.2")],
            vec![("b", "10.0.0.2")],
        ),
        (
            "all exchanged",
            vec![node("b", &["10.0.0.2"], add())],
            vec![("a", "10.0.0.1")],
            vec![("b", "10.0.0.2")],
        ),
        (
            "the last one leaves",
            vec![node("a", &["10.0.0.1"], REMOVE)],
            vec![("a", "10.0.0.1")],
            vec![("a", "10.0.0.1")],
        ),
        (
            "no nodes at all",
            vec![],
            vec![("a", "10.0.0.1")],
            vec![("a", "10.0.0.1")],
        ),
        ("no nodes ever", vec![], vec![], vec![]),
        (
            "two with one address",
            vec![
                node("b", &["10.0.0.1"], add()),
                node("a", &["10.0.0.1"], add()),
            ],
            vec![],
            vec![("a", "10.0.0.1")],
        ),
        (
            "one without an address",
            vec![node("a", &[], add())],
            vec![],
            vec![],
        ),
    ] {
        let got = members(&NodeSet::new(nodes), IpFamily::V4, &present(&before));
        assert_eq!(got, present(&want), "{what}");
    }
}

#[test]
fn an_address_of_the_family_comes_first_and_any_other_will_do() {
    let nodes = NodeSet::new(vec![
        node("a", &["10.0.0.1", "fd00::1"], Placement::Add),
        node("b", &["10.0.0.2"], Placement::Add),
        node("c", &["fd00::3"], Placement::Add),
    ]);
    let none = present(&[]);
    assert_eq!(
        members(&nodes, IpFamily::V4, &none),
        present(&[("a", "10.0.0.1"), ("b", "10.0.0.2"), ("c", "fd00::3")])
    );
    assert_eq!(
        members(&nodes, IpFamily::V6, &none),
        present(&[("a", "fd00::1"), ("b", "10.0.0.2"), ("c", "fd00::3")])
    );
}

#[test]
fn an_unchanged_list_is_not_built_again() {
    let nodes = NodeSet::new(vec![node("a", &["10.0.0.1"], Placement::Add)]);
    let before = present(&[("a", "10.0.0.1")]);
    assert!(Arc::ptr_eq(
        &before,
        &members(&nodes, IpFamily::V4, &before)
    ));
}
