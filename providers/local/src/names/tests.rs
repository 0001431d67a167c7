//! Names are for ever: a change here orphans what exists.

use std::sync::Arc;

use evenkeel_core::{
    ids::{ServiceKey, ServiceUid},
    ports::Protocol,
};

use super::*;

const CLUSTER: &str = "1c3cf4a0-7a52-4f0e-9a2b-6a1f0c9d0001";

fn service(namespace: &str, name: &str, uid: &str) -> ServiceRef {
    ServiceRef {
        key: ServiceKey::new(namespace, name),
        uid: ServiceUid::from(uid),
    }
}

fn checkout() -> GroupKey {
    GroupKey::Service(service(
        "shop",
        "checkout",
        "0d3b6f7e-1111-4222-8333-444455556666",
    ))
}

fn https() -> PortKey {
    PortKey {
        port: 443,
        protocol: Protocol::Tcp,
    }
}

#[test]
fn names_stay_what_they_are() {
    let edge = GroupKey::Shared {
        namespace: "shop".into(),
        name: "edge".into(),
    };
    for (key, id, turn, want) in [
        (
            checkout(),
            lease_id(IpFamily::V4),
            0,
            "ek-shop-checkout-lease-ipv4-psq3psydsgkzm2fo",
        ),
        (
            checkout(),
            lease_id(IpFamily::V4),
            1,
            "ek-shop-checkout-lease-ipv4-vtqgkjb53tappvqt",
        ),
        (
            checkout(),
            backend_set_id(https(), IpFamily::V6),
            0,
            "ek-shop-checkout-bs-tcp-443-ipv6-x6ghymanaghaszgp",
        ),
        (
            checkout(),
            listener_id(https(), IpFamily::V4),
            0,
            "ek-shop-checkout-ls-tcp-443-ipv4-whgz2o64wdcfks5l",
        ),
        (
            edge,
            listener_id(https(), IpFamily::V4),
            0,
            "ek-shop-edge-ls-tcp-443-ipv4-5t6ilmkzx6ncmzwx",
        ),
    ] {
        assert_eq!(name(CLUSTER, &key, &id, turn), want);
    }
}

#[test]
fn whatever_differs_gives_another_name() {
    let id = lease_id(IpFamily::V4);
    let base = name(CLUSTER, &checkout(), &id, 0);
    let recreated = GroupKey::Service(service(
        "shop",
        "checkout",
        "0d3b6f7e-1111-4222-8333-444455556667",
    ));
    for (what, other) in [
        (
            "cluster",
            name("1c3cf4a0-7a52-4f0e-9a2b-6a1f0c9d0002", &checkout(), &id, 0),
        ),
        ("uid", name(CLUSTER, &recreated, &id, 0)),
        ("id", name(CLUSTER, &checkout(), &lease_id(IpFamily::V6), 0)),
        ("turn", name(CLUSTER, &checkout(), &id, 1)),
    ] {
        assert_ne!(base, other, "{what}");
    }
}

#[test]
fn the_longest_names_of_kubernetes_fit() {
    let key = GroupKey::Service(service(
        &"n".repeat(63),
        &"s".repeat(63),
        "0d3b6f7e-1111-4222-8333-444455556666",
    ));
    let port = PortKey {
        port: 65535,
        protocol: Protocol::Tcp,
    };
    let name = name(CLUSTER, &key, &listener_id(port, IpFamily::V6), u32::MAX);
    assert!(name.len() <= 128, "{name}");
    assert!(name.contains("-ls-tcp-65535-ipv6-"), "{name}");
}

#[test]
fn marks_say_whose_an_object_is() {
    let cluster = Cluster::new(CLUSTER, "harbour");
    let edge = GroupKey::Shared {
        namespace: Arc::from("shop"),
        name: Arc::from("edge"),
    };
    let member = service("shop", "search", "uid-search");
    let labels = [(label::ID, "lease/IPv4".to_owned())];

    let whole = group_marks(&cluster, &edge, true, &labels);
    assert_eq!(
        (
            &*whole.cluster,
            &*whole.group,
            &*whole.service,
            &*whole.member
        ),
        (CLUSTER, "shop/edge", "shop/edge", "shop/edge")
    );
    assert!(whole.retain);
    assert_eq!(
        whole.labels,
        BTreeMap::from([("id".to_owned(), "lease/IPv4".to_owned())])
    );

    let part = member_marks(&cluster, &edge, &member, false, &[]);
    assert_eq!(
        (&*part.group, &*part.service, &*part.member, part.retain),
        ("shop/edge", "shop/search", "uid-search", false)
    );

    assert!(is_ours(&part, CLUSTER, "shop/edge"));
    assert!(!is_ours(&part, "another cluster", "shop/edge"));
    assert!(!is_ours(&part, CLUSTER, "uid-search"));
}
