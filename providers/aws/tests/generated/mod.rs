//! Services whose annotations are anybody's text, many of them right.

use std::collections::BTreeMap;

use evenkeel_aws::annotations::TABLE;
use evenkeel_core::{
    annotation::{self, KeyDoc},
    claim::{ClassRule, Profile},
    ids::{Cluster, ProviderName},
    intent::{self, Intent},
};
use k8s_openapi::api::core::v1::Service;
use proptest::prelude::*;
use serde::Deserialize as _;
use serde_json::{Value, json};

/// The cluster.
pub(crate) fn cluster() -> Cluster {
    Cluster::new("1c3cf4a0-7a52-4f0e-9a2b-6a1f0c9d0001", "harbour")
}

/// The keys that may stand on a Service of its own.
fn docs() -> Vec<&'static KeyDoc> {
    let apart =
        |doc: &&KeyDoc| !matches!(doc.key, annotation::key::GROUP | annotation::key::PAUSED);
    TABLE
        .keys
        .iter()
        .chain(annotation::reference())
        .filter(apart)
        .collect()
}

/// A key of a family.
fn one_of(family: &str, protocol: &str, number: &str) -> String {
    family.replace("{P}", protocol).replace("{n}", number)
}

/// A key of the tables or of nobody.
fn any_key() -> impl Strategy<Value = String> {
    let keys: Vec<&str> = docs().iter().map(|doc| doc.key).collect();
    let protocol = prop::sample::select(vec!["TCP", "UDP", "TCP_UDP", "TLS", "tcp"]);
    let number = prop::sample::select(vec!["53", "80", "443", "0", "http"]);
    let known = (prop::sample::select(keys), protocol, number);
    prop_oneof![
        8 => known.prop_map(|(key, protocol, number)| one_of(key, protocol, number)),
        1 => "[a-z.-]{0,20}".prop_map(|tail| format!("{}{tail}", evenkeel_aws::annotations::PREFIX)),
    ]
}

/// What might stand there, or anything.
fn any_value() -> impl Strategy<Value = String> {
    let examples: Vec<String> = docs().iter().map(|doc| doc.example.to_owned()).collect();
    let words = [
        "on",
        "off",
        "true",
        "false",
        "yes",
        "0",
        "1",
        "5",
        "53",
        "80,443",
        "web,dns",
        "*",
        "ssl",
        "dualstack",
        "ipv4",
        "traffic-port",
        "10s",
        "a=b",
        r"a=b\,c",
        "a=",
        "=",
        ",",
        "",
        "stickiness.enabled=true",
        "preserve_client_ip.enabled=false",
        "proxy_protocol_v2.enabled=true,stickiness.enabled=",
    ]
    .map(str::to_owned);
    prop_oneof![
        3 => prop::sample::select(examples),
        3 => prop::sample::select(words.to_vec()),
        1 => any::<String>(),
    ]
}

/// Annotations, of which many are right.
pub(crate) fn any_annotations() -> impl Strategy<Value = BTreeMap<String, String>> {
    let example = |doc: &KeyDoc| (one_of(doc.key, "TCP", "80"), doc.example.to_owned());
    let examples: Vec<_> = docs().into_iter().map(example).collect();
    let some = prop::collection::vec(prop::sample::select(examples), 0..6);
    prop_oneof![
        3 => some.prop_map(BTreeMap::from_iter),
        1 => prop::collection::btree_map(any_key(), any_value(), 0..4),
        1 => prop::collection::btree_map(any_key(), any_value(), 0..30),
    ]
}

fn any_ports() -> impl Strategy<Value = Vec<Value>> {
    let port = (
        prop::sample::select(vec![53u16, 80, 443]),
        prop::sample::select(vec!["TCP", "UDP"]),
        prop::option::weighted(0.9, 30_000u16..30_003),
    );
    prop::collection::vec(port, 1..5)
        .prop_map(|ports| {
            let ports: BTreeMap<_, _> = ports
                .into_iter()
                .map(|(number, protocol, node_port)| ((number, protocol), node_port))
                .collect();
            ports
                .into_iter()
                .map(|((number, protocol), node_port)| {
                    json!({
                        "name": format!("p{number}-{}", protocol.to_lowercase()),
                        "port": number,
                        "protocol": protocol,
                        "nodePort": node_port.unwrap_or_default(),
                    })
                })
                .collect::<Vec<_>>()
        })
        .prop_shuffle()
}

/// The spec of a Service that wants a load balancer.
pub(crate) fn any_spec() -> impl Strategy<Value = Value> {
    let families = vec![json!(["IPv4"]), json!(["IPv4", "IPv6"]), json!(["IPv6"])];
    let ranges = vec![
        json!([]),
        json!(["10.1.2.3/8"]),
        json!(["10.0.0.0/8", "2001:db8::/32"]),
    ];
    (
        any_ports(),
        prop_oneof![3 => Just(json!(["IPv4"])), 1 => prop::sample::select(families)],
        prop::sample::select(ranges),
        prop::sample::select(vec!["Cluster", "Local"]),
        prop::option::weighted(0.8, Just(32_000)),
        prop::sample::select(vec!["None", "ClientIP"]),
    )
        .prop_map(|(ports, families, ranges, policy, health, affinity)| {
            json!({
                "type": "LoadBalancer",
                "ports": ports,
                "ipFamilies": families,
                "loadBalancerSourceRanges": ranges,
                "externalTrafficPolicy": policy,
                "healthCheckNodePort": health,
                "sessionAffinity": affinity,
            })
        })
}

/// A Service of the namespace `shop`; None where it cannot be read.
pub(crate) fn read(
    name: &str,
    annotations: &BTreeMap<String, String>,
    spec: &Value,
    profile: Profile,
) -> Option<Intent> {
    let document = json!({
        "metadata": { "name": name, "namespace": "shop", "uid": format!("uid-{name}"), "annotations": annotations },
        "spec": spec,
    });
    let service = Service::deserialize(document).expect("a Service");
    let rule = ClassRule {
        provider: ProviderName::from("aws"),
        profile,
    };
    intent::read(&service, &rule)
        .ok()
        .map(|reading| reading.intent)
}

/// Whose defaults it gets.
pub(crate) fn any_profile() -> impl Strategy<Value = Profile> {
    prop::sample::select(vec![Profile::Neutral, Profile::Ccm, Profile::Lbc])
}
