use super::*;
use crate::nodes::{Node, NodeReason, NodeSet, Placement, ProxyHealth};

fn labels(pairs: &[(&str, &str)]) -> Labels {
    let pairs = pairs.iter();
    pairs
        .map(|(key, value)| (Arc::from(*key), Arc::from(*value)))
        .collect()
}

fn keys(keys: &[&str]) -> BTreeSet<Arc<str>> {
    keys.iter().copied().map(Arc::from).collect()
}

fn table(known: &[&str], of: &[(&str, &[(&str, &str)])]) -> Arc<NodeLabels> {
    let of = of
        .iter()
        .map(|(node, pairs)| (NodeName::from(*node), Arc::new(labels(pairs))));
    Arc::new(NodeLabels::of(keys(known), of.collect()))
}

fn nodes(placements: &[(&str, Placement)]) -> NodeSet {
    let node = |(name, placement): &(&str, Placement)| Node {
        name: NodeName::from(*name),
        provider_id: None,
        addresses: Vec::new(),
        zone: None,
        placement: placement.clone(),
    };
    NodeSet::new(placements.iter().map(node).collect())
}

#[test]
fn every_term_must_be_met() {
    let node = labels(&[
        ("pool", "edge"),
        ("kubernetes.io/arch", "arm64"),
        ("gpu", ""),
    ]);
    for (terms, chosen) in [
        (vec![], true),
        (vec!["pool=edge"], true),
        (vec!["pool"], true),
        (vec!["pool=core"], false),
        (vec!["pool="], false),
        (vec!["gpu="], true),
        (vec!["gpu"], true),
        (vec!["tier"], false),
        (vec!["tier="], false),
        (vec!["pool=edge", "kubernetes.io/arch=arm64"], true),
        (vec!["pool=edge", "kubernetes.io/arch=amd64"], false),
    ] {
        let selector = NodeSelector::of_terms(terms.clone());
        assert_eq!(selector.chooses(&node), chosen, "{terms:?}");
        assert_eq!(selector.terms().collect::<BTreeSet<_>>().len(), terms.len());
        let again: Vec<String> = selector.terms().collect();
        assert_eq!(
            NodeSelector::of_terms(again.iter().map(String::as_str)),
            selector
        );
    }
}

#[test]
fn what_can_be_no_label_is_named() {
    let long = "x".repeat(64);
    let deep = format!("{}.io/a", "x.".repeat(126));
    for (key, value, wrong) in [
        ("pool", Some("edge"), false),
        ("pool", None, false),
        ("pool", Some(""), false),
        ("topology.kubernetes.io/zone", Some("eu-west-1a"), false),
        ("A_b.c", Some("A_b.c"), false),
        ("", Some("edge"), true),
        ("-pool", Some("edge"), true),
        ("/pool", Some("edge"), true),
        ("a/b/c", Some("edge"), true),
        ("Example.com/pool", Some("edge"), true),
        ("ex_ample.com/pool", Some("edge"), true),
        ("pool!", Some("edge"), true),
        ("pool", Some("edge one"), true),
        ("pool", Some("edge-"), true),
        (&*long, None, true),
        ("pool", Some(&*long), true),
        (&*deep, None, true),
    ] {
        let read = NodeSelector::new([(key.into(), value.map(Arc::from))].into());
        assert_eq!(read.is_err(), wrong, "{key}={value:?}: {read:?}");
    }
    let both = NodeSelector::new([("!".into(), Some("?".into()))].into());
    assert_eq!(both.map_err(|wrong| wrong.len()), Err(2));
}

#[test]
fn only_labels_that_are_known_tell() {
    let some = table(&["pool"], &[]);
    for (terms, told) in [
        (vec![], true),
        (vec!["pool=a"], true),
        (vec!["pool", "b"], false),
    ] {
        let selector = NodeSelector::of_terms(terms.clone());
        assert_eq!(some.tell(&selector), told, "{terms:?}");
        assert!(NodeLabels::all(BTreeMap::new()).tell(&selector));
    }
    assert!(NodeLabels::of(BTreeSet::new(), BTreeMap::new()).is_empty());
    assert!(!some.is_empty() && !NodeLabels::all(BTreeMap::new()).is_empty());
}

#[test]
fn labels_of_targets_are_in_the_version_and_others_are_not() {
    let gone = Placement::Remove(NodeReason::Shutdown);
    let set = nodes(&[("a", Placement::Add), ("z", gone)]);
    let with = |labels| set.clone().with_labels(labels);
    let plain = with(table(&["pool"], &[]));
    assert_ne!(plain.version(), set.version(), "which are known");
    assert_eq!(with(table(&[], &[])).version(), set.version());
    let edge = with(table(&["pool"], &[("a", &[("pool", "edge")])]));
    assert_ne!(edge.version(), plain.version());
    let core = with(table(&["pool"], &[("a", &[("pool", "core")])]));
    assert_ne!(edge.version(), core.version());
    let left_out = with(table(&["pool"], &[("z", &[("pool", "edge")])]));
    assert_eq!(left_out.version(), plain.version());

    assert!(edge.differs_in_labels_only(&core) && edge.differs_in_labels_only(&set));
    let silent = edge.clone().with_proxy_health(ProxyHealth::Silent);
    assert!(!edge.differs_in_labels_only(&silent));
    assert!(!edge.differs_in_labels_only(&nodes(&[("a", Placement::Add)])));
}

#[test]
fn a_set_without_labels_is_no_larger_for_them() {
    // What a node costs, of ten thousand, is in neither of them.
    let before = size_of::<Arc<[Node]>>() + size_of::<crate::digest::Digest>();
    assert!(size_of::<NodeSet>() <= before + 2 * size_of::<usize>());
    let set = nodes(&[("a", Placement::Add)]);
    assert!(set.labels().is_none());
    assert!(set.with_labels(table(&[], &[])).labels().is_none());
}
