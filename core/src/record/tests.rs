//! What is said of documents that are wrong, and what is read of those that are right.

use serde_json::json;

use super::*;
use crate::{
    ids::Cluster,
    nodes::{NodeReason, NodeRules, Placement},
};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Pond {
    fish: Vec<Fish>,
    depth: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Fish {
    /// With a moustache.
    Carp,
    Pike,
}

impl Cloud for Pond {
    const KIND: &'static str = "PondFacts";
}

fn read(changes: &[(&str, Value)]) -> Result<Document<Pond>, String> {
    let pond = Pond {
        fish: vec![Fish::Carp],
        depth: None,
    };
    let document = Document::bare(ClusterRecord::new(&Cluster::new("u", "c"))).with(pond);
    let mut value = serde_json::to_value(document).expect("is written");
    for (path, change) in changes {
        let (parent, field) = path.rsplit_once('/').expect("a pointer");
        value.pointer_mut(parent).expect("a parent")[field] = change.clone();
    }
    Document::read(&value).map_err(|problems| problems.to_string())
}

#[test]
fn what_is_written_is_read() {
    assert_eq!(read(&[]).expect("is read").cloud.fish, [Fish::Carp]);
}

#[test]
fn everything_wrong_is_told_at_once_with_the_nearest_spelling() {
    let wrong = [
        ("/cluster/nmae", json!("x")),
        ("/cluster/ipFamilies", json!(["IPv5"])),
        ("/cloud/fish", json!(["crap", "pike", 3])),
        ("/cloud/depth", json!(70_000)),
        ("/nodes", json!([{"adresses": []}])),
    ];
    let text = read(&wrong).expect_err("wrong in many ways");
    for part in [
        "cluster.nmae: \"nmae\" is no field. Did you mean name?",
        "cluster.ipFamilies[0]: \"IPv5\" must be one of IPv4, IPv6. Did you mean IPv4?",
        "cloud.fish[0]: \"crap\" must be one of",
        "Did you mean carp?",
        "cloud.fish[2]: \"3\" must be one of",
        "cloud.depth: \"70000\" must be from 0 to 65535",
        "nodes[0].adresses: \"adresses\" is no field. Did you mean addresses?",
        "nodes[0].name: \"\" is missing",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}

#[test]
fn documents_of_other_versions_are_refused_with_what_to_do() {
    for (version, part) in [
        (
            json!("facts.evenkeel.dev/v2"),
            "of another version of evenkeel",
        ),
        (json!("v1"), "Write facts.evenkeel.dev/v1"),
        (Value::Null, "is missing"),
    ] {
        let text = read(&[("/apiVersion", version.clone())]).expect_err("another version");
        assert!(text.contains(part), "{version}: {text}");
    }
}

#[test]
fn nodes_are_read_as_the_api_server_has_them() {
    let nodes: Vec<NodeRecord> = serde_json::from_value(json!([
        {"name": "a", "addresses": ["10.0.0.1"], "zone": "z1", "labels": {"pool": "x"}},
        {"name": "b", "addresses": ["10.0.0.2"], "beingDeleted": true},
        {"name": "c", "labels": {"node.kubernetes.io/exclude-from-external-load-balancers": ""}},
        {"name": "d", "addresses": ["10.0.0.4"], "held": true},
        {"name": "e", "addresses": ["10.0.0.5"], "ready": false},
    ]))
    .expect("nodes");
    let rules = NodeRules {
        provider_id_scheme: None,
        needs_address: true,
        drains: true,
    };
    let set = cluster::nodes(&nodes, KubeProxyHealth::Silent, &rules);
    let placed: Vec<_> = set
        .nodes()
        .iter()
        .map(|node| node.placement.clone())
        .collect();
    let expected = [
        Placement::Add,
        Placement::Remove(NodeReason::BeingDeleted),
        Placement::Remove(NodeReason::ExcludedByLabel),
        Placement::KeepIfPresent(NodeReason::HeldByBrake),
        Placement::Add,
    ];
    assert_eq!(placed, expected);
    assert_eq!(set.nodes()[0].zone.as_deref(), Some("z1"));
    let labels = set.labels().and_then(|labels| labels.get(&"a".into()));
    assert_eq!(
        labels
            .and_then(|labels| labels.get("pool"))
            .map(|pool| &**pool),
        Some("x")
    );
}
