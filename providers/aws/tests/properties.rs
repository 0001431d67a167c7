//! What holds whatever a Service says: its annotations are anybody's text.

use std::collections::{BTreeMap, BTreeSet};

use evenkeel_aws::{
    Context,
    annotations::TABLE,
    desired::desired,
    model::{Desired, Security, TargetType},
};
use evenkeel_core::{
    annotation::{self, KeyDoc},
    claim::{ClassRule, Profile},
    group::Group,
    ids::{Cluster, ProviderName},
    intent::{self, Intent},
    provider::Verdict,
};
use k8s_openapi::api::core::v1::Service;
use proptest::prelude::*;
use serde::Deserialize as _;
use serde_json::{Value, json};

fn cluster() -> Cluster {
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
fn any_annotations() -> impl Strategy<Value = BTreeMap<String, String>> {
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

fn any_spec() -> impl Strategy<Value = Value> {
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

fn read(
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

fn any_profile() -> impl Strategy<Value = Profile> {
    prop::sample::select(vec![Profile::Neutral, Profile::Ccm, Profile::Lbc])
}

/// What AWS would refuse, and what would be found nowhere again.
fn consistent(group: &Group, desired: &Desired) -> Result<BTreeSet<String>, TestCaseError> {
    prop_assert!(!desired.listeners.is_empty(), "nothing is served");
    prop_assert!(desired.listeners.len() <= 50);
    prop_assert_eq!(desired.listeners.len(), desired.target_groups.len());
    let mut numbers = BTreeSet::new();
    let mut served = BTreeSet::new();
    for (listener, target_group) in desired.listeners.iter().zip(&desired.target_groups) {
        prop_assert!(numbers.insert(listener.port), "two listeners on one number");
        prop_assert_eq!(&listener.target_group, &target_group.id);
        prop_assert_eq!(&listener.marks.member, &target_group.marks.member);
        let check = &target_group.health_check;
        prop_assert!((5..=300).contains(&check.interval), "{}", check);
        prop_assert!(
            (2..=120).contains(&check.timeout) && check.timeout <= check.interval,
            "{}",
            check
        );
        prop_assert!(
            (2..=10).contains(&check.healthy) && (2..=10).contains(&check.unhealthy),
            "{}",
            check
        );
        for port in &listener.serves {
            let holder = group
                .members
                .iter()
                .find(|member| member.service.uid == listener.marks.member());
            let asked = holder.and_then(|member| member.port(*port));
            prop_assert!(asked.is_some(), "nobody asks for {port}");
            let reached = asked.and_then(|asked| match target_group.target_type {
                TargetType::Instance => asked.node_port,
                TargetType::Ip => asked.target_port.number().or(Some(listener.port)),
            });
            prop_assert_eq!(reached, Some(target_group.node_port));
            served.insert(format!("{} {port}", listener.marks.member));
        }
    }
    if let Security::Managed(rules) = &desired.load_balancer.security {
        prop_assert!(rules.len() <= 60);
    }
    Ok(served)
}

fn judged(group: &Group) -> Result<(), TestCaseError> {
    match desired(&Context::new(cluster()), group) {
        Verdict::Rejected(problems) => {
            prop_assert!(!problems.is_empty(), "rejected for no reason");
            for problem in problems.iter() {
                prop_assert!(!problem.field.is_empty() && !problem.message.is_empty());
                let advice = &problem.advice;
                let ends = advice.ends_with(['.', '?', ')']) || problem.message.ends_with('.');
                prop_assert!(ends, "{problem:?} says not what to do");
            }
        }
        Verdict::Accepted {
            desired,
            warnings,
            port_errors,
        } => {
            let served = consistent(group, &desired)?;
            for member in &group.members {
                for port in &member.ports {
                    let known = served.contains(&format!("{} {}", member.service.uid, port.key));
                    let told = port_errors
                        .iter()
                        .any(|error| error.service == member.service && error.port == port.key);
                    prop_assert!(
                        known != told,
                        "{} is served {known} and told {told}",
                        port.key
                    );
                }
            }
            let told: BTreeSet<_> = warnings.iter().collect();
            prop_assert_eq!(told.len(), warnings.len(), "a warning stands twice");
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn whatever_a_service_says_is_served_or_told(
        annotations in any_annotations(), spec in any_spec(), profile in any_profile(),
    ) {
        if let Some(intent) = read("checkout", &annotations, &spec, profile) {
            judged(&Group::single(cluster(), intent))?;
        }
    }

    #[test]
    fn whatever_two_services_of_a_group_say_is_served_or_told(
        first in any_annotations(), second in any_annotations(), specs in (any_spec(), any_spec()), profile in any_profile(),
    ) {
        let member = |name, annotations: &BTreeMap<String, String>, spec| {
            let mut annotations = annotations.clone();
            annotations.insert(annotation::key::GROUP.to_owned(), "edge".to_owned());
            read(name, &annotations, spec, profile)
        };
        let members = [member("checkout", &first, &specs.0), member("search", &second, &specs.1)];
        let members: Vec<_> = members.into_iter().flatten().collect();
        if let Some(oldest) = members.first() {
            let key = Group::key_of(oldest);
            judged(&Group { key, cluster: cluster(), members, unknown: Vec::new() })?;
        }
    }

    #[test]
    fn the_order_of_ports_and_ranges_changes_nothing(
        annotations in any_annotations(), spec in any_spec(), profile in any_profile(),
    ) {
        let mut turned = spec.clone();
        for list in ["ports", "loadBalancerSourceRanges"] {
            turned[list].as_array_mut().expect("a list").reverse();
        }
        let verdict = |spec: &Value| {
            let intent = read("checkout", &annotations, spec, profile)?;
            Some(desired(&Context::new(cluster()), &Group::single(cluster(), intent)))
        };
        prop_assert_eq!(verdict(&spec), verdict(&turned));
    }
}
