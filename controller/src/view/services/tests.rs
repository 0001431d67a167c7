use evenkeel_core::{claim::ClassRule, ids::ProviderName};
use serde_json::{Value, json};

use super::*;

fn rules() -> ClaimRules {
    let local = ProviderName::from("local");
    ClaimRules::new([local.clone()]).with_default(ClassRule::neutral(local))
}

fn service(changes: Value) -> Service {
    let mut object = json!({
        "metadata": {"name": "checkout", "namespace": "shop", "uid": "u1", "finalizers": ["evenkeel.dev/local"]},
        "spec": {"type": "LoadBalancer", "loadBalancerClass": "evenkeel.dev/local", "ports": [{"port": 443, "nodePort": 30443}]},
    });
    for (pointer, value) in changes.as_object().expect("a map") {
        let (parent, field) = pointer.rsplit_once('/').expect("a pointer");
        object.pointer_mut(parent).expect("a parent")[field] = value.clone();
    }
    serde_json::from_value(object).expect("a Service")
}

/// A condition: `Type=Status:Reason`.
fn conditions(all: &[&str]) -> Value {
    let one = |text: &&str| {
        let (type_, rest) = text.split_once('=').expect("type");
        let (status, reason) = rest.split_once(':').expect("status");
        json!({
            "type": format!("evenkeel.dev/{type_}"), "status": status, "reason": reason, "message": format!("{type_} says why"),
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        })
    };
    json!({"/status": {"conditions": all.iter().map(one).collect::<Vec<_>>()}})
}

#[test]
fn the_state_is_told_by_conditions_where_nobody_else_tells_it() {
    let fine = [
        "Serving=True:Serving",
        "Provisioning=False:Complete",
        "Degraded=False:AsDesired",
    ];
    let broken = [
        "Serving=False:Unsupported",
        "Provisioning=False:InvalidConfiguration",
        "Degraded=True:InvalidConfiguration",
    ];
    let kept = [
        "Serving=True:Serving",
        "Provisioning=False:InvalidConfiguration",
        "Degraded=True:InvalidConfiguration",
    ];
    let begun = [
        "Serving=False:Provisioning",
        "Provisioning=True:InProgress",
        "Degraded=False:AsDesired",
    ];
    let paused = [
        "Serving=True:Serving",
        "Provisioning=False:Paused",
        "Degraded=False:AsDesired",
    ];
    let deleted = json!({"/metadata/deletionTimestamp": "2026-01-03T00:00:00Z"});
    let foreign = json!({
        "/spec/loadBalancerClass": null, "/metadata/finalizers": ["service.k8s.aws/resources"],
    });
    for (name, changes, state, reason) in [
        ("fine", conditions(&fine), "active", "Serving"),
        (
            "rejected",
            conditions(&broken),
            "rejected",
            "InvalidConfiguration",
        ),
        (
            "serves the last good state",
            conditions(&kept),
            "degraded",
            "InvalidConfiguration",
        ),
        ("begun", conditions(&begun), "claimed", "InProgress"),
        ("paused", conditions(&paused), "claimed", "Paused"),
        ("never seen", json!({}), "claimed", "NotSeen"),
        ("deleted", deleted, "releasing", "Releasing"),
        ("another's", foreign, "foreign", "OwnershipConflict"),
    ] {
        let row = Row::of(&service(changes), &rules(), None);
        assert_eq!(
            (row.state.as_str(), row.reason.as_str()),
            (state, reason),
            "{name}"
        );
        assert!(!row.message.is_empty(), "{name}");
        assert_eq!(row.is_fine(), name == "fine", "{name}");
    }
}

#[test]
fn what_the_controller_knows_wins_when_it_is_about_the_same_object() {
    let mut standing = Standing {
        uid: "u1".into(),
        provider: "local".into(),
        state: "active".into(),
        targets: Some(TargetHealth {
            healthy: 2,
            total: 3,
        }),
        pools: vec!["office".into()],
        ..Standing::default()
    };
    let row = Row::of(&service(json!({})), &rules(), Some(&standing));
    assert_eq!(
        (row.state.as_str(), row.targets.map(|t| t.total)),
        ("active", Some(3))
    );
    assert_eq!(row.pools, ["office"]);
    standing.uid = "another".into();
    let row = Row::of(&service(json!({})), &rules(), Some(&standing));
    assert_eq!((row.state.as_str(), row.targets), ("claimed", None));
}

#[test]
fn ports_with_an_error_are_not_open() {
    let status = json!({"/status": {"loadBalancer": {"ingress": [
        {"ip": "127.77.0.1", "ports": [{"port": 443, "protocol": "TCP"}, {"port": 80, "protocol": "TCP", "error": "evenkeel.dev/NotReady"}]},
        {"hostname": "lb.example", "ports": [{"port": 443, "protocol": "TCP"}]},
    ]}}});
    let row = Row::of(&service(status), &rules(), None);
    assert_eq!(row.addresses, ["127.77.0.1", "lb.example"]);
    assert_eq!(row.open_ports, ["443/TCP"]);
    assert_eq!(row.ports, ["443/TCP"]);
    assert_eq!(row.node_ports, [30443]);
}

#[test]
fn ages_are_short() {
    let now: Timestamp = "2026-01-03T00:00:00Z".parse().expect("a time");
    for (since, want) in [
        ("2026-01-02T23:59:18Z", "42s"),
        ("2026-01-02T23:55:00Z", "5m"),
        ("2026-01-02T21:00:00Z", "3h"),
        ("2025-12-31T00:00:00Z", "3d"),
        ("2026-01-03T00:00:09Z", "0s"),
    ] {
        assert_eq!(
            age(Some(since.parse().expect("a time")), now),
            want,
            "{since}"
        );
    }
    assert_eq!(age(None, now), "<unknown>");
}
