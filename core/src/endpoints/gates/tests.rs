use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::ports::{PortKey, Protocol};

const OURS: &str = "target-health.evenkeel.dev/checkout";
const OTHER: &str = "target-health.evenkeel.dev/admin";
const PEERS: &str = "target-health.elbv2.k8s.aws/k8s-shop-checkout-0123456789";
const MESH: &str = "mesh.example.com/ready";

/// A pod with these gates, conditions such as `ContainersReady` or `!Ready`, and whatever else is merged into it.
fn pod(gates: &[&str], conditions: &[&str]) -> Pod {
    let gates: Value = gates
        .iter()
        .map(|gate| json!({"conditionType": gate}))
        .collect();
    let conditions: Value = conditions
        .iter()
        .map(|text| {
            let (text, reason) = text.split_once(' ').unwrap_or((text, ""));
            let type_ = text.trim_start_matches('!');
            json!({
                "type": type_, "status": if type_ == text { "True" } else { "False" }, "reason": reason,
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            })
        })
        .collect();
    serde_json::from_value(json!({
        "metadata": {"name": "web-1", "uid": "u1"},
        "spec": {"containers": [], "readinessGates": gates},
        "status": {"podIP": "10.1.0.1", "podIPs": [{"ip": "10.1.0.1"}, {"ip": "fd00::1"}], "conditions": conditions},
    }))
    .expect("a pod")
}

/// What an endpoint that is not ready is in the light of its pod.
fn told(pod: &Pod, endpoint: Endpoint) -> (Use, bool) {
    let facts = PodFacts::from_resource(pod);
    let port = PortKey {
        port: 80,
        protocol: Protocol::Tcp,
    };
    let mut endpoints: Endpoints = BTreeMap::from([(port, vec![endpoint])]);
    let service = ServiceKey::new("shop", "checkout");
    with_gates(&mut endpoints, &service, |name| {
        (name == "web-1").then_some(&facts)
    });
    let told = &endpoints[&port][0];
    (told.use_, told.waits.is_some())
}

fn endpoint(address: &str, use_: Use) -> Endpoint {
    Endpoint {
        address: address.parse().expect("an address"),
        port: 8080,
        use_,
        zone: None,
        pod: Some("web-1".into()),
        waits: None,
    }
}

#[test]
fn who_lacks_nothing_but_our_gate_is_a_target() {
    const READY: &str = "ContainersReady";
    let waits = (Use::Await, true);
    let no = (Use::LastResort, false);
    for (name, gates, conditions, want) in [
        ("waits", &[OURS][..], &[READY][..], waits),
        (
            "was told why",
            &[OURS],
            &[
                READY,
                "!target-health.evenkeel.dev/checkout Elb.InitialHealthChecking",
            ],
            waits,
        ),
        (
            "its containers are not ready",
            &[OURS],
            &["!ContainersReady"],
            no,
        ),
        ("has just come", &[OURS], &[], no),
        ("has no gate", &[], &[READY], no),
        ("has the gate of another Service", &[OTHER], &[READY], no),
        (
            "waits for another Service too",
            &[OURS, OTHER],
            &[READY],
            waits,
        ),
        (
            "waits for another load balancer too",
            &[OURS, PEERS],
            &[READY],
            waits,
        ),
        ("waits for somebody else", &[OURS, MESH], &[READY], no),
        (
            "somebody else is content",
            &[OURS, MESH],
            &[READY, MESH],
            waits,
        ),
        (
            "its gate is open, and the kubelet will see it",
            &[OURS],
            &[READY, OURS, "!Ready ReadinessGatesNotReady"],
            (Use::Await, false),
        ),
        (
            "its gate is open, and its node is lost",
            &[OURS],
            &[READY, OURS, "!Ready"],
            no,
        ),
        (
            "its gate is open, and another keeps it",
            &[OURS, OTHER],
            &[READY, OURS, "!Ready ReadinessGatesNotReady"],
            (Use::Await, false),
        ),
    ] {
        let pod = pod(gates, conditions);
        assert_eq!(
            told(&pod, endpoint("10.1.0.1", Use::LastResort)),
            want,
            "{name}"
        );
    }
}

#[test]
fn a_pod_that_leaves_is_no_target_any_more() {
    let mut pod = pod(&[OURS], &["ContainersReady"]);
    let now = "2026-01-01T00:00:00Z".parse().expect("a time");
    pod.metadata.deletion_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now));
    let told = told(&pod, endpoint("10.1.0.1", Use::LastResort));
    assert_eq!(told, (Use::LastResort, false));
}

#[test]
fn an_endpoint_is_its_pods_by_address_too() {
    let pod = pod(&[OURS], &["ContainersReady"]);
    for (address, want) in [
        ("10.1.0.1", (Use::Await, true)),
        ("fd00::1", (Use::Await, true)),
        ("10.1.0.2", (Use::LastResort, false)),
    ] {
        assert_eq!(
            told(&pod, endpoint(address, Use::LastResort)),
            want,
            "{address}"
        );
    }
    // A Service that publishes those that are not ready has it as a target at once; its gate waits all the same.
    assert_eq!(told(&pod, endpoint("10.1.0.1", Use::Add)), (Use::Add, true));
}

#[test]
fn a_pod_without_a_gate_of_ours_is_nothing() {
    let facts = PodFacts::from_resource(&pod(&[PEERS, MESH], &["ContainersReady"]));
    assert_eq!(facts, PodFacts::default());
}
