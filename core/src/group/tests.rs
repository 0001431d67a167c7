use serde_json::json;

use super::*;
use crate::{
    claim::ClassRule,
    ids::{ProviderName, ServiceKey, ServiceUid},
    intent::read,
    ports::Protocol,
};

fn intent(name: &str, group: &str, ports: &[(u16, &str)]) -> Intent {
    let ports: Vec<_> = ports
        .iter()
        .map(|(port, protocol)| json!({"name": format!("p{port}-{protocol}").to_lowercase(), "port": port, "protocol": protocol}))
        .collect();
    let service = json!({
        "metadata": {
            "namespace": "shop", "name": name, "uid": format!("uid-of-{name}"),
            "annotations": {"evenkeel.dev/group": group},
        },
        "spec": {"type": "LoadBalancer", "ports": ports},
    });
    let service = serde_json::from_value(service).expect("a Service");
    read(&service, &ClassRule::neutral(ProviderName::from("local")))
        .expect("it is valid")
        .intent
}

fn key(port: u16, protocol: Protocol) -> PortKey {
    PortKey { port, protocol }
}

fn group(members: Vec<Intent>) -> Group {
    Group {
        key: Group::key_of(&members[0]),
        cluster: Cluster::new("kube-system-uid", "test"),
        members,
        unknown: vec![],
    }
}

#[test]
fn a_service_is_its_own_group_unless_it_names_one() {
    let alone = intent("checkout", "", &[(80, "TCP")]);
    let service = ServiceRef {
        key: ServiceKey::new("shop", "checkout"),
        uid: ServiceUid::from("uid-of-checkout"),
    };
    assert_eq!(Group::key_of(&alone), GroupKey::Service(service));
    assert_eq!(Group::key_of(&alone).identity(), "uid-of-checkout");

    let shared = GroupKey::Shared {
        namespace: "shop".into(),
        name: "edge".into(),
    };
    for name in ["checkout", "cart"] {
        assert_eq!(Group::key_of(&intent(name, "edge", &[(80, "TCP")])), shared);
    }
    assert_eq!(shared.identity(), "shop/edge");

    let single = Group::single(Cluster::new("kube-system-uid", "test"), alone.clone());
    assert_eq!(single, group(vec![alone.clone()]));
    assert_eq!(single.first(), &alone);
}

#[test]
fn members_bring_their_ports_together() {
    let checkout = intent("checkout", "edge", &[(443, "TCP"), (53, "UDP")]);
    let cart = intent("cart", "edge", &[(53, "TCP"), (443, "UDP")]);
    let group = group(vec![checkout, cart]);
    let (ports, errors) = group.ports();
    assert_eq!(errors, []);
    let holders: Vec<_> = ports
        .iter()
        .map(|(key, (member, _))| (*key, member.service.to_string()))
        .collect();
    let want = [
        (key(53, Protocol::Tcp), "shop/cart".to_owned()),
        (key(53, Protocol::Udp), "shop/checkout".to_owned()),
        (key(443, Protocol::Tcp), "shop/checkout".to_owned()),
        (key(443, Protocol::Udp), "shop/cart".to_owned()),
    ];
    assert_eq!(holders, want);
}

#[test]
fn the_older_member_has_the_port_that_two_ask_for() {
    let older = intent("checkout", "edge", &[(443, "TCP")]);
    let younger = intent("cart", "edge", &[(443, "TCP"), (80, "TCP")]);
    let group = group(vec![older.clone(), younger.clone()]);
    let (ports, errors) = group.ports();
    assert_eq!(ports.len(), 2);
    assert_eq!(ports[&key(443, Protocol::Tcp)].0, &older);
    let [error] = &errors[..] else {
        panic!("{errors:?}")
    };
    assert_eq!(
        (&error.service, error.port),
        (&younger.service, key(443, Protocol::Tcp))
    );
    assert_eq!(error.reason, "PortConflict");
    assert!(
        error
            .message
            .starts_with("shop/checkout of the same group has port 443/TCP."),
        "{error}"
    );
}
