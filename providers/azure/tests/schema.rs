//! What we write, against the vendor's own description of the API: nothing that it does not have, nothing that only Azure writes.

use std::{collections::BTreeMap, sync::Arc};

use evenkeel_azure::{
    Context, Limits,
    model::{
        Access, Fragment, Frontend, Members, Part, Place, Probe, ProbeProtocol, Rule, SecurityRule,
        Transport,
    },
    shared::{Balancer, SecurityGroup},
};
use evenkeel_core::{
    ids::{Cluster, GroupKey, NodeName, ServiceKey, ServiceRef},
    intent::Scheme,
    net::IpFamily,
    shared::{Claim, SharedObject as _},
};
use serde_json::{Value, json};

/// Made from the vendor's description by a script, for the fake of Azure.
const SCHEMA: &str = include_str!("../../../tests/harness/azure/schema.json");

/// Lists of children, their types, and those of their properties.
const LISTS: [(&str, &str); 7] = [
    ("frontendIPConfigurations", "FrontendIpConfiguration"),
    ("backendAddressPools", "BackendAddressPool"),
    ("loadBalancingRules", "LoadBalancingRule"),
    ("probes", "Probe"),
    ("inboundNatRules", "InboundNatRule"),
    ("inboundNatPools", "InboundNatPool"),
    ("outboundRules", "OutboundRule"),
];

fn schema() -> Value {
    serde_json::from_str(SCHEMA).expect("it is JSON")
}

/// The fields of a type that only Azure writes.
fn read_only(schema: &Value, kind: &str) -> Vec<String> {
    let fields = schema[kind].as_object().expect("a type");
    let fields = fields
        .iter()
        .filter(|(_, field)| field["readonly"] == json!(true));
    fields.map(|(name, _)| name.clone()).collect()
}

/// What is wrong with a value of a type.
fn wrong(schema: &Value, kind: &str, value: &Value, path: &str, found: &mut Vec<String>) {
    let Some(fields) = value.as_object() else {
        return found.push(format!("{path} is no object"));
    };
    for (name, value) in fields {
        let path = format!("{path}/{name}");
        let field = &schema[kind][name];
        if field.is_null() || field["readonly"] == json!(true) {
            found.push(format!("{path} is not ours to write"));
        }
        let Some(of) = field["of"].as_str() else {
            let words = field["enum"].as_array();
            if words.is_some_and(|words| !words.contains(value)) {
                found.push(format!("{path} is {value}"));
            }
            continue;
        };
        match value.as_array() {
            Some(all) => all
                .iter()
                .for_each(|one| wrong(schema, of, one, &path, found)),
            None => wrong(schema, of, value, &path, found),
        }
    }
    for (name, field) in schema[kind].as_object().into_iter().flatten() {
        if field["required"] == json!(true) && value[name].is_null() {
            found.push(format!("{path}/{name} is missing"));
        }
    }
}

#[track_caller]
fn fits(kind: &str, body: &str) {
    let value: Value = serde_json::from_str(body).expect("it is JSON");
    let mut found = Vec::new();
    wrong(&schema(), kind, &value, "", &mut found);
    assert_eq!(found, [] as [String; 0], "{body}");
}

fn context() -> Arc<Context> {
    Arc::new(Context {
        cluster: Cluster::new("1c3cf4a0-7a52-4f0e-9a2b-6a1f0c9d0001", "prod-eu"),
        subscription: "s".into(),
        resource_group: "rg1".into(),
        location: "westeurope".into(),
        virtual_network: "/vnet1".into(),
        subnet: "nodes".into(),
        node_prefixes: Vec::new(),
        load_balancer: None,
        security_group: Some("/nsg1".into()),
        tags: [("team".into(), "net".into())].into(),
        disable_outbound_snat: false,
        shared_probe: false,
        priorities: 1500..=3499,
        limits: Limits::default(),
    })
}

fn key() -> GroupKey {
    GroupKey::Service(ServiceRef {
        key: ServiceKey::new("shop", "checkout"),
        uid: "0f6c1b52-7a0e-4c55-9a7b-2d8f5b1d9e01".into(),
    })
}

fn part() -> Part {
    let frontend = |family, place| Frontend {
        family,
        place,
        given: None,
    };
    let subnet = |address: Option<&str>| Place::Subnet {
        id: "/subnet".into(),
        address: address.map(|address| address.parse().expect("an address")),
    };
    let nodes = [(
        NodeName::from("n1"),
        "10.20.0.4".parse().expect("an address"),
    )];
    let rule = |transport, probe: Option<&str>| Rule {
        frontend: "a-v4".into(),
        family: IpFamily::V4,
        transport,
        port: 80,
        backend_port: 31_080,
        floating: false,
        probe: probe.map(Arc::from),
        sticky: transport == Transport::Tcp,
        idle_minutes: 4,
        tcp_reset: (transport == Transport::Tcp).then_some(true),
        no_outbound: true,
    };
    Part {
        frontends: [
            (
                "a-v4".into(),
                frontend(IpFamily::V4, Place::PublicIp("/ip".into())),
            ),
            ("b-v4".into(), frontend(IpFamily::V4, subnet(None))),
            (
                "c-v6".into(),
                frontend(IpFamily::V6, subnet(Some("fd00::1"))),
            ),
        ]
        .into(),
        rules: [
            ("r-v4".into(), rule(Transport::Tcp, Some("p"))),
            ("s-v4".into(), rule(Transport::Udp, None)),
        ]
        .into(),
        probes: [(
            "p".into(),
            Probe {
                protocol: ProbeProtocol::Http,
                port: 10_256,
                path: Some("/healthz".into()),
                interval: 5,
                threshold: 2,
            },
        )]
        .into(),
        seed: Members([(IpFamily::V4, nodes.into())].into()),
    }
}

#[test]
fn what_is_written_of_a_load_balancer_is_in_the_description() {
    let object = Balancer::new(context(), Scheme::Internal);
    let claims: BTreeMap<_, _> = [(key(), Claim::Want(Fragment::Part(part())))].into();
    let body = object.merge(&None, &claims).expect("it is wanted");
    fits("LoadBalancer", &body.put());
}

#[test]
fn what_is_written_of_a_security_group_is_in_the_description() {
    let object = SecurityGroup::new(context());
    let rule = |allow: bool, transport, many: usize| SecurityRule {
        allow,
        transport,
        sources: (0..many)
            .map(|one| format!("10.{one}.0.0/16").into())
            .collect(),
        destinations: (0..many)
            .map(|one| format!("10.20.{one}.0/24").into())
            .collect(),
        ports: (80..80 + u16::try_from(many).expect("few")).collect(),
    };
    let base = evenkeel_azure::names::group(&context().cluster, &key());
    let access = Access {
        rules: [
            (
                format!("{base}-a").into(),
                rule(true, Some(Transport::Tcp), 1),
            ),
            (format!("{base}-b").into(), rule(false, None, 2)),
        ]
        .into(),
    };
    let live =
        SecurityGroup::read(r#"{"location":"westeurope","properties":{}}"#).expect("it is JSON");
    let body = object.merge(&live, &[(key(), Claim::Want(access.clone()))].into());
    fits("NetworkSecurityGroup", &body.put());
    let read = SecurityGroup::read(&body.put()).expect("it is JSON");
    assert_eq!(object.access(&read, &key()), access, "it is read back");
}

#[test]
fn what_only_azure_writes_is_left_out_also_of_what_is_not_ours() {
    let schema = schema();
    let mut properties = serde_json::Map::new();
    for (list, kind) in LISTS {
        let mut child = json!({ "name": "theirs", "id": "/x", "properties": { "kept": [1.50, { "b": 1, "a": 2 }] } });
        for name in read_only(&schema, kind) {
            child[name] = "Azure's".into();
        }
        for name in read_only(&schema, &format!("{kind}PropertiesFormat")) {
            child["properties"][name] = json!(["Azure's"]);
        }
        properties.insert(list.to_owned(), json!([child]));
    }
    for name in read_only(&schema, "LoadBalancerPropertiesFormat") {
        properties.insert(name, "Azure's".into());
    }
    let mut body = json!({ "location": "westeurope", "properties": properties });
    for name in read_only(&schema, "LoadBalancer") {
        body[name] = "Azure's".into();
    }
    let put = Balancer::read(&body.to_string()).expect("it is JSON").put();
    assert!(!put.contains("Azure's"), "{put}");
    assert_eq!(
        put.matches(r#""kept":[1.5,{"a":2,"b":1}]"#).count(),
        LISTS.len(),
        "{put}"
    );
}
