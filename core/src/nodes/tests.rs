use proptest::prelude::*;

use super::*;

fn node(name: &str) -> Node {
    Node {
        name: NodeName::from(name),
        provider_id: Some("aws:///eu-west-1a/i-0abc".into()),
        addresses: ["10.0.0.1", "2001:db8::1", "10.0.0.2"]
            .map(|ip| ip.parse().expect("an address"))
            .into(),
        zone: Some("eu-west-1a".into()),
        placement: Placement::Add,
    }
}

fn placed(name: &str, placement: Placement) -> Node {
    Node {
        placement,
        ..node(name)
    }
}

const MARKED: NodeReason = NodeReason::MarkedByAutoscaler;

#[test]
fn a_set_tells_who_is_added_kept_and_left_out() {
    let set = NodeSet::new(vec![
        placed("gone", Placement::Remove(NodeReason::Shutdown)),
        placed("new", Placement::Add),
        placed("marked", Placement::KeepIfPresent(MARKED)),
    ]);
    let eligible: Vec<_> = set.eligible().map(|node| node.name.as_str()).collect();
    assert_eq!(eligible, ["new"]);
    let kept: Vec<_> = set.kept().map(|node| node.name.as_str()).collect();
    assert_eq!(kept, ["marked", "new"]);
    let left_out: Vec<_> = set
        .left_out()
        .map(|(node, reason)| (node.name.as_str(), reason))
        .collect();
    assert_eq!(
        left_out,
        [("gone", NodeReason::Shutdown), ("marked", MARKED)]
    );
    assert_eq!(
        set.get(&NodeName::from("new"))
            .map(|node| node.name.as_str()),
        Some("new")
    );
    assert_eq!(set.get(&NodeName::from("nobody")), None);
}

#[test]
fn an_empty_set_has_a_version_too() {
    assert_eq!(NodeSet::empty(), NodeSet::new(vec![]));
    assert_ne!(
        NodeSet::empty().version(),
        NodeSet::new(vec![node("a")]).version()
    );
}

#[test]
fn every_part_of_a_node_is_in_the_version() {
    let version = |node: Node| NodeSet::new(vec![node]).version();
    let before = version(node("a"));
    for (what, other) in [
        ("name", node("b")),
        // A node deleted and made again under its name is another machine.
        (
            "providerID",
            Node {
                provider_id: Some("aws:///eu-west-1a/i-0def".into()),
                ..node("a")
            },
        ),
        (
            "address",
            Node {
                addresses: vec![],
                ..node("a")
            },
        ),
        (
            "zone",
            Node {
                zone: None,
                ..node("a")
            },
        ),
        ("placement", placed("a", Placement::KeepIfPresent(MARKED))),
    ] {
        assert_ne!(version(other), before, "{what}");
    }
}

#[test]
fn the_first_address_of_a_family_counts() {
    assert_eq!(
        node("a").address(IpFamily::V4),
        Some("10.0.0.1".parse().expect("an address"))
    );
    assert_eq!(
        node("a").address(IpFamily::V6),
        Some("2001:db8::1".parse().expect("an address"))
    );
    let without = Node {
        addresses: vec![],
        ..node("a")
    };
    assert_eq!(without.address(IpFamily::V4), None);
}

#[test]
fn every_reason_says_something_of_its_own() {
    let reasons = [
        NodeReason::ExcludedByLabel,
        NodeReason::BeingDeleted,
        NodeReason::Shutdown,
        NodeReason::OutOfService,
        NodeReason::MarkedByAutoscaler,
        NodeReason::NoProviderId,
        NodeReason::NoAddress,
        NodeReason::HeldByBrake,
    ];
    let mut texts: Vec<_> = reasons.iter().map(|reason| reason.as_str()).collect();
    texts.sort_unstable();
    texts.dedup();
    assert_eq!(texts.len(), reasons.len());
}

proptest! {
    #[test]
    fn the_order_of_nodes_does_not_matter(
        names in proptest::collection::btree_set("[a-z]{1,3}", 0..12)
            .prop_map(|names| names.into_iter().collect::<Vec<_>>())
            .prop_flat_map(|names| (Just(names.clone()), Just(names).prop_shuffle())),
    ) {
        let set = |names: &[String]| NodeSet::new(names.iter().map(|name| node(name)).collect());
        let (a, b) = (set(&names.0), set(&names.1));
        prop_assert_eq!(a.version(), b.version());
        prop_assert_eq!(a, b);
    }
}
