use k8s_openapi::api::core::v1::Node as Resource;
use serde_json::{Value, json};

use super::*;

const AWS: NodeRules = NodeRules {
    provider_id_scheme: Some("aws"),
    needs_address: false,
    drains: true,
};
const LOCAL: NodeRules = NodeRules {
    provider_id_scheme: None,
    needs_address: true,
    drains: false,
};

fn node(labels: Value, taints: Value) -> Resource {
    serde_json::from_value(json!({
        "metadata": {"name": "node-1", "uid": "uid-1", "labels": labels},
        "spec": {"providerID": "aws:///eu-west-1a/i-0abc", "taints": taints},
        "status": {"addresses": [
            {"type": "Hostname", "address": "node-1"},
            {"type": "InternalIP", "address": "10.0.0.1"},
            {"type": "ExternalIP", "address": "192.0.2.1"},
            {"type": "InternalIP", "address": "2001:db8::1"},
            {"type": "InternalIP", "address": "10.0.0.1"},
            {"type": "InternalIP", "address": "banana"},
        ]},
    }))
    .expect("a Node")
}

fn facts(labels: Value, taints: Value) -> NodeFacts {
    NodeFacts::from_resource(&node(labels, taints))
}

fn plain() -> NodeFacts {
    facts(json!({}), json!([]))
}

#[test]
fn facts_hold_what_matters_of_a_node() {
    let facts = facts(
        json!({"topology.kubernetes.io/zone": "eu-west-1a", "other": "label"}),
        json!([]),
    );
    let want = NodeFacts {
        name: NodeName::from("node-1"),
        uid: Some("uid-1".into()),
        provider_id: Some("aws:///eu-west-1a/i-0abc".into()),
        addresses: ["10.0.0.1", "2001:db8::1"]
            .map(|ip| ip.parse().expect("an address"))
            .into(),
        zone: Some("eu-west-1a".into()),
        excluded: false,
        being_deleted: false,
        shutdown: false,
        out_of_service: false,
        uninitialized: false,
        marked_by_autoscaler: false,
    };
    assert_eq!(facts, want);
}

#[test]
fn a_node_without_anything_is_read_too() {
    let facts = NodeFacts::from_resource(&Resource::default());
    assert_eq!(
        AWS.place(&facts),
        Placement::Remove(NodeReason::NoProviderId)
    );
    assert_eq!(
        LOCAL.place(&facts),
        Placement::Remove(NodeReason::NoAddress)
    );
}

#[test]
fn the_exclusion_label_is_read_as_upstream_reads_it_since_1_34() {
    for (value, excluded) in [
        ("", true),
        ("true", true),
        ("1", true),
        ("banana", true),
        ("tRUE", true),
        (" false", true),
        ("no", true),
        ("false", false),
        ("False", false),
        ("FALSE", false),
        ("f", false),
        ("F", false),
        ("0", false),
    ] {
        let facts = facts(
            json!({"node.kubernetes.io/exclude-from-external-load-balancers": value}),
            json!([]),
        );
        let want = if excluded {
            Placement::Remove(NodeReason::ExcludedByLabel)
        } else {
            Placement::Add
        };
        assert_eq!(AWS.place(&facts), want, "{value:?}");
    }
}

#[test]
fn taints_decide_by_what_they_mean() {
    let gone = |reason| (Placement::Remove(reason), Placement::Remove(reason));
    let marked = (
        Placement::Remove(NodeReason::MarkedByAutoscaler),
        Placement::KeepIfPresent(NodeReason::MarkedByAutoscaler),
    );
    let stays = (Placement::Add, Placement::Add);
    for (key, effect, (draining, other)) in [
        (
            "node.cloudprovider.kubernetes.io/shutdown",
            "NoSchedule",
            gone(NodeReason::Shutdown),
        ),
        (
            "node.kubernetes.io/out-of-service",
            "NoExecute",
            gone(NodeReason::OutOfService),
        ),
        (
            "ToBeDeletedByClusterAutoscaler",
            "NoSchedule",
            marked.clone(),
        ),
        (
            "ToBeDeletedByClusterAutoscaler",
            "PreferNoSchedule",
            marked.clone(),
        ),
        ("karpenter.sh/disrupted", "NoSchedule", marked),
        ("karpenter.sh/disrupted", "NoExecute", stays.clone()),
        ("node.kubernetes.io/not-ready", "NoExecute", stays.clone()),
        ("node.kubernetes.io/unreachable", "NoExecute", stays.clone()),
        (
            "node.kubernetes.io/unschedulable",
            "NoSchedule",
            stays.clone(),
        ),
        (
            "node.cloudprovider.kubernetes.io/uninitialized",
            "NoSchedule",
            stays,
        ),
    ] {
        let facts = facts(json!({}), json!([{"key": key, "effect": effect}]));
        assert_eq!(
            AWS.place(&facts),
            draining,
            "{key}:{effect} where connections drain"
        );
        assert_eq!(
            LOCAL.place(&facts),
            other,
            "{key}:{effect} where they do not"
        );
    }
}

#[test]
fn a_node_that_its_cloud_has_not_seen_to_yet_is_told_from_one_that_lacks_something() {
    for (taint, waits) in [
        ("node.cloudprovider.kubernetes.io/uninitialized", true),
        ("node.kubernetes.io/not-ready", false),
    ] {
        let facts = facts(
            json!({}),
            json!([{"key": taint, "value": "true", "effect": "NoSchedule"}]),
        );
        assert_eq!(facts.uninitialized, waits, "{taint}");
    }
}

#[test]
fn a_node_that_is_not_ready_or_cordoned_stays_a_target() {
    let mut node = node(json!({}), json!([]));
    node.spec.get_or_insert_default().unschedulable = Some(true);
    let not_ready = json!([{"type": "Ready", "status": "Unknown"}]);
    node.status.get_or_insert_default().conditions =
        serde_json::from_value(not_ready).expect("conditions");
    assert_eq!(NodeFacts::from_resource(&node), plain());
    assert_eq!(AWS.place(&plain()), Placement::Add);
}

#[test]
fn a_node_that_is_being_deleted_leaves() {
    let mut node = node(json!({}), json!([]));
    node.metadata.deletion_timestamp = Some(jiff::Timestamp::UNIX_EPOCH.into());
    let place = LOCAL.place(&NodeFacts::from_resource(&node));
    assert_eq!(place, Placement::Remove(NodeReason::BeingDeleted));
}

#[test]
fn a_provider_takes_its_own_provider_ids_only() {
    for (id, ours) in [
        (Some("aws:///eu-west-1a/i-0abc"), true),
        (Some("aws://i-0abc"), true),
        (Some("aws://"), false),
        (Some("awsx:///i-0abc"), false),
        (Some("AWS:///i-0abc"), false),
        (Some("gce://project/zone/node-1"), false),
        (Some("kind://docker/kind/node-1"), false),
        (Some(""), false),
        (None, false),
    ] {
        let facts = NodeFacts {
            provider_id: id.map(Arc::from),
            ..plain()
        };
        let want = if ours {
            Placement::Add
        } else {
            Placement::Remove(NodeReason::NoProviderId)
        };
        assert_eq!(AWS.place(&facts), want, "{id:?}");
        assert_eq!(
            LOCAL.place(&facts),
            Placement::Add,
            "{id:?} where none is needed"
        );
    }
}

#[test]
fn what_a_person_decided_is_the_reason_that_is_told() {
    let taints = json!([{"key": "ToBeDeletedByClusterAutoscaler", "effect": "NoSchedule"}]);
    let mut facts = facts(
        json!({"node.kubernetes.io/exclude-from-external-load-balancers": ""}),
        taints,
    );
    facts.being_deleted = true;
    assert_eq!(
        LOCAL.place(&facts),
        Placement::Remove(NodeReason::ExcludedByLabel)
    );
}

#[test]
fn the_set_has_every_node_with_its_placement() {
    let named = |name: &str, facts: NodeFacts| NodeFacts {
        name: NodeName::from(name),
        ..facts
    };
    let marked = NodeFacts {
        marked_by_autoscaler: true,
        ..plain()
    };
    let excluded = NodeFacts {
        excluded: true,
        ..plain()
    };
    let all = [
        named("c", plain()),
        named("a", excluded),
        named("b", marked),
    ];
    let set = node_set(&all, &LOCAL);
    let names = |nodes: Vec<&Node>| {
        nodes
            .iter()
            .map(|node| node.name.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(set.nodes().iter().collect()), ["a", "b", "c"]);
    assert_eq!(names(set.eligible().collect()), ["c"]);
    assert_eq!(names(set.kept().collect()), ["b", "c"]);
    let left_out: Vec<_> = set
        .left_out()
        .map(|(node, reason)| (node.name.as_str(), reason))
        .collect();
    assert_eq!(
        left_out,
        [
            ("a", NodeReason::ExcludedByLabel),
            ("b", NodeReason::MarkedByAutoscaler)
        ]
    );

    let reversed = node_set(all.iter().rev(), &LOCAL);
    assert_eq!(reversed, set);
    assert_eq!(reversed.version(), set.version());
}
