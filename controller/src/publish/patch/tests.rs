use std::sync::Arc;

use evenkeel_core::{
    ids::{ServiceKey, ServiceUid},
    problem::reason,
    published::PublishedPort,
};

use super::*;

fn reference() -> ServiceRef {
    ServiceRef {
        key: ServiceKey::new("shop", "checkout"),
        uid: ServiceUid::new("u1"),
    }
}

fn service(status: Value) -> Service {
    serde_json::from_value(json!({
        "metadata": {"name": "checkout", "namespace": "shop", "uid": "u1", "resourceVersion": "7", "finalizers": ["other.example/x"]},
        "spec": {"type": "LoadBalancer", "ports": [
            {"port": 443, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}, {"port": 53}, {"port": 99, "protocol": "SCTP"},
        ]},
        "status": status,
    }))
    .expect("a Service")
}

fn published() -> Published {
    let open = |port, protocol| PublishedPort {
        service: reference(),
        port: PortKey { port, protocol },
    };
    Published {
        ingress: vec![
            Ingress::Ip {
                ip: "192.0.2.1".parse().expect("an address"),
                mode: IpMode::Proxy,
            },
            Ingress::hostname("LB.example.com"),
        ],
        ports: vec![open(443, Protocol::Tcp), open(53, Protocol::Tcp)],
        targets: None,
        pools: Vec::new(),
    }
}

fn errors() -> Vec<PortError> {
    vec![PortError {
        service: reference(),
        port: PortKey {
            port: 99,
            protocol: Protocol::Sctp,
        },
        reason: reason::PROTOCOL_NOT_SUPPORTED,
        message: Arc::from("no. Use TCP."),
    }]
}

fn condition(type_: ConditionType, status: &str, since: &str) -> Value {
    json!({"type": type_.as_str(), "status": status, "reason": "R", "message": "m", "lastTransitionTime": since})
}

fn conditions(all: &[Value]) -> Vec<Condition> {
    serde_json::from_value(Value::Array(all.to_vec())).expect("conditions")
}

#[test]
fn every_port_is_listed_with_its_error() {
    let ingress = ingress(&service(json!({})), &reference(), &published(), &errors());
    let ports = json!([
        {"port": 443, "protocol": "TCP"},
        {"port": 53, "protocol": "UDP", "error": "evenkeel.dev/NotReady"},
        {"port": 53, "protocol": "TCP"},
        {"port": 99, "protocol": "SCTP", "error": "evenkeel.dev/ProtocolNotSupported"},
    ]);
    let want = json!([
        {"ip": "192.0.2.1", "ipMode": "Proxy", "ports": ports},
        {"hostname": "lb.example.com", "ports": ports},
    ]);
    assert_eq!(serde_json::to_value(ingress).expect("serialises"), want);
}

#[test]
fn a_status_is_written_only_when_it_would_differ() {
    let service_ = service(json!({}));
    let wanted = Wanted {
        ingress: ingress(&service_, &reference(), &published(), &errors()),
        conditions: conditions(&[condition(
            ConditionType::Serving,
            "True",
            "2026-01-02T00:00:00Z",
        )]),
    };
    let written =
        json!({"loadBalancer": {"ingress": wanted.ingress}, "conditions": wanted.conditions});
    let changed = |path: &str, value: Value| {
        let mut status = written.clone();
        *status.pointer_mut(path).expect("is there") = value;
        status
    };
    for (name, status, writes) in [
        ("as it is", written.clone(), false),
        (
            "another time",
            changed(
                "/conditions/0/lastTransitionTime",
                json!("2026-01-01T00:00:00Z"),
            ),
            false,
        ),
        ("nothing there", json!({}), true),
        ("ingress wiped", changed("/loadBalancer", json!({})), true),
        (
            "another address",
            changed("/loadBalancer/ingress/0/ip", json!("192.0.2.9")),
            true,
        ),
        (
            "an error of a port",
            changed("/loadBalancer/ingress/0/ports/1/error", json!("x/Y")),
            true,
        ),
        ("conditions wiped", changed("/conditions", json!([])), true),
        (
            "another message",
            changed("/conditions/0/message", json!("other")),
            true,
        ),
        (
            "another status",
            changed("/conditions/0/status", json!("False")),
            true,
        ),
    ] {
        assert_eq!(
            status_patch(&service(status), &wanted).is_some(),
            writes,
            "{name}"
        );
    }
}

#[test]
fn a_patch_has_our_fields_alone_and_names_the_uid() {
    let patch = status_patch(
        &service(json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.1", "ipMode": "VIP"}]}})),
        &Wanted::default(),
    );
    let want = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "checkout", "namespace": "shop", "uid": "u1", "resourceVersion": "7"},
        "status": {"loadBalancer": {"ingress": []}, "conditions": []},
    });
    assert_eq!(patch, Some(want), "emptied, not left out");
}

#[test]
fn another_type_gets_no_addresses() {
    let mut service = service(json!({}));
    if let Some(spec) = &mut service.spec {
        spec.type_ = Some("ClusterIP".to_owned());
    }
    let wanted = Wanted {
        ingress: ingress(&service, &reference(), &published(), &[]),
        conditions: Vec::new(),
    };
    assert_eq!(status_patch(&service, &wanted), None);
}

#[test]
fn a_finalizer_is_added_beside_others() {
    let mut service = service(json!({}));
    assert_eq!(
        finalizer_patch(&service, "other.example/x"),
        None,
        "is there"
    );
    let patch = finalizer_patch(&service, "evenkeel.dev/local").expect("is missing");
    assert_eq!(
        patch[0],
        json!({"op": "test", "path": "/metadata/uid", "value": "u1"})
    );
    assert_eq!(
        patch[1],
        json!({"op": "test", "path": "/metadata/finalizers", "value": ["other.example/x"]})
    );
    assert_eq!(
        patch[2],
        json!({"op": "add", "path": "/metadata/finalizers/-", "value": "evenkeel.dev/local"})
    );
    service.metadata.finalizers = None;
    let patch = finalizer_patch(&service, "evenkeel.dev/local").expect("is missing");
    assert_eq!(
        patch[2],
        json!({"op": "add", "path": "/metadata/finalizers", "value": ["evenkeel.dev/local"]})
    );
}

#[test]
fn a_release_takes_what_is_ours_and_nothing_else() {
    let live = json!({
        "metadata": {"uid": "u1", "finalizers": ["other.example/x", "evenkeel.dev/local"]},
        "status": {
            "loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]},
            "conditions": [
                condition(ConditionType::Serving, "True", "2026-01-01T00:00:00Z"),
                {"type": "other.example/Ready"},
                condition(ConditionType::Degraded, "False", "2026-01-01T00:00:00Z"),
            ],
        },
    });
    let removed = |clear| -> Vec<String> {
        let patch = release_patch(&live, "evenkeel.dev/local", clear).expect("ours is there");
        let operations = patch.as_array().expect("a list").iter();
        operations
            .filter(|one| one["op"] == "remove")
            .map(|one| one["path"].as_str().expect("a path").to_owned())
            .collect()
    };
    assert_eq!(
        removed(true),
        [
            "/metadata/finalizers/1",
            "/status/conditions/2",
            "/status/conditions/0",
            "/status/loadBalancer/ingress"
        ]
    );
    assert!(
        !removed(false).contains(&"/status/loadBalancer/ingress".to_owned()),
        "the addresses are another's"
    );
    let nothing = json!({"metadata": {"uid": "u1", "finalizers": ["other.example/x"]}, "status": {"loadBalancer": {}}});
    assert_eq!(release_patch(&nothing, "evenkeel.dev/local", true), None);
}

#[test]
fn protocols_that_do_not_mix_have_upstreams_error() {
    let errors = [PortError {
        service: reference(),
        port: PortKey {
            port: 53,
            protocol: Protocol::Udp,
        },
        reason: reason::MIXED_PROTOCOLS,
        message: Arc::from("no. Make a Service for each."),
    }];
    let ingress = ingress(&service(json!({})), &reference(), &published(), &errors);
    let ports = ingress[0].ports.as_deref().unwrap_or_default();
    assert_eq!(ports[1].error.as_deref(), Some("MixedProtocolNotSupported"));
}
