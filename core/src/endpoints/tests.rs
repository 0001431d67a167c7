use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};
use serde_json::{Value, json};

use super::*;
use crate::ports::Protocol;

fn service(ports: Value) -> Service {
    serde_json::from_value(json!({"spec": {"ports": ports}})).expect("a Service")
}

fn slice(ports: Value, endpoints: Value) -> SliceFacts {
    let slice: EndpointSlice = serde_json::from_value(json!({
        "metadata": {"name": "checkout-a", "namespace": "shop", "labels": {"kubernetes.io/service-name": "checkout"}},
        "addressType": "IPv4", "ports": ports, "endpoints": endpoints,
    }))
    .expect("an EndpointSlice");
    SliceFacts::from_resource(&slice)
}

fn told(service: &Service, slices: &[SliceFacts]) -> Vec<String> {
    let all = endpoints(service, slices);
    let one = |(key, found): (&PortKey, &Vec<Endpoint>)| {
        let found: Vec<_> = found
            .iter()
            .map(|one| format!("{}:{} {:?}", one.address, one.port, one.use_))
            .collect();
        format!("{key}: {}", found.join(", "))
    };
    all.iter().map(one).collect()
}

#[test]
fn what_may_be_done_with_an_endpoint() {
    let web = service(json!([{"port": 80}]));
    for (name, conditions, want) in [
        ("says nothing", json!({}), "10.1.0.1:8080 Add"),
        ("ready", json!({"ready": true}), "10.1.0.1:8080 Add"),
        (
            "not ready",
            json!({"ready": false}),
            "10.1.0.1:8080 LastResort",
        ),
        (
            "leaves and serves",
            json!({"ready": false, "serving": true, "terminating": true}),
            "10.1.0.1:8080 LastResort",
        ),
        (
            "leaves",
            json!({"ready": false, "serving": false, "terminating": true}),
            "",
        ),
        (
            "leaves, of a Service that publishes those that are not ready",
            json!({"ready": true, "serving": false, "terminating": true}),
            "10.1.0.1:8080 Add",
        ),
    ] {
        let slice = slice(
            json!([{"port": 8080, "protocol": "TCP", "name": ""}]),
            json!([{"addresses": ["10.1.0.1"], "conditions": conditions}]),
        );
        assert_eq!(told(&web, &[slice]), [format!("80/TCP: {want}")], "{name}");
    }
}

#[test]
fn ports_are_found_by_name_and_protocol_in_all_slices() {
    let dns = service(json!([
        {"name": "dns", "port": 53, "protocol": "UDP"},
        {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
        {"name": "metrics", "port": 9153},
    ]));
    let one = |address: &str| json!([{"addresses": [address, "10.9.9.9"]}]);
    let slices = [
        // Pods on which the named target port is another number are in a slice of their own.
        slice(
            json!([{"name": "dns", "port": 5353, "protocol": "UDP"}, {"name": "dns-tcp", "port": 5353}]),
            one("10.1.0.1"),
        ),
        slice(
            json!([{"name": "dns", "port": 5454, "protocol": "UDP"}, {"name": "dns", "port": 1, "protocol": "TCP"}, {"name": "all"}]),
            one("10.1.0.2"),
        ),
        slice(
            json!([{"name": "dns", "port": 5353, "protocol": "UDP"}]),
            one("fd00::1"),
        ),
        slice(
            json!([{"name": "dns", "port": 5353, "protocol": "UDP"}]),
            one("pod.example.com"),
        ),
    ];
    assert_eq!(
        told(&dns, &slices),
        [
            "53/TCP: 10.1.0.1:5353 Add",
            "53/UDP: 10.1.0.1:5353 Add, 10.1.0.2:5454 Add, fd00::1:5353 Add",
            "9153/TCP: ",
        ]
    );
}

#[test]
fn an_endpoint_of_two_slices_is_one_and_the_better_one() {
    let web = service(json!([{"port": 80}]));
    let with = |ready: bool| {
        slice(
            json!([{"port": 8080}]),
            json!([{"addresses": ["10.1.0.1"], "conditions": {"ready": ready}}]),
        )
    };
    for slices in [[with(false), with(true)], [with(true), with(false)]] {
        assert_eq!(told(&web, &slices), ["80/TCP: 10.1.0.1:8080 Add"]);
    }
}

#[test]
fn a_pod_is_named_and_its_zone_is_known() {
    let slice = slice(
        json!([{"port": 8080}]),
        json!([
            {"addresses": ["10.1.0.1"], "zone": "eu-west-1a", "targetRef": {"kind": "Pod", "name": "checkout-1"}},
            {"addresses": ["10.1.0.2"], "targetRef": {"kind": "VirtualMachine", "name": "checkout-2"}},
        ]),
    );
    assert_eq!(slice.service.as_deref(), Some("checkout"));
    let found = endpoints(&service(json!([{"port": 80}])), [&slice]);
    let key = PortKey {
        port: 80,
        protocol: Protocol::Tcp,
    };
    let told: Vec<_> = found[&key]
        .iter()
        .map(|one| (one.zone.as_deref(), one.pod.as_deref()))
        .collect();
    assert_eq!(
        told,
        [(Some("eu-west-1a"), Some("checkout-1")), (None, None)]
    );
}

#[test]
fn nothing_known_is_not_nothing_there() {
    let service = ServiceUid::new("u1");
    let port = PortKey {
        port: 80,
        protocol: Protocol::Tcp,
    };
    let none: Endpoints = [(port, Vec::new())].into();
    let set = EndpointSet::new([(service.clone(), none.clone())].into());
    assert_eq!(EndpointSet::unknown().of(&service), None);
    assert_eq!(set.of(&service), Some(&none));
    assert_ne!(set.version(), EndpointSet::unknown().version());
    assert_eq!(set.version(), set.clone().version());
}
