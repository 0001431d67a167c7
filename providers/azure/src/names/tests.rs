use evenkeel_core::{
    ids::{ServiceKey, ServiceRef},
    net::IpFamily,
};

use super::*;

const UID: &str = "0f6c1b52-7a0e-4c55-9a7b-2d8f5b1d9e01";

fn service(uid: &str) -> GroupKey {
    GroupKey::Service(ServiceRef {
        key: ServiceKey::new("shop", "checkout"),
        uid: uid.into(),
    })
}

fn shared(name: &str) -> GroupKey {
    GroupKey::Shared {
        namespace: "shop".into(),
        name: name.into(),
    }
}

#[test]
fn names_carry_the_cluster_and_the_uid_and_fit() {
    let of = Cluster::new("1c3cf4a0-7a52-4f0e-9a2b-6a1f0c9d0001", "prod-eu");
    let group = group(&of, &service(UID));
    assert!(
        group.ends_with("-0f6c1b527a0e4c559a7b2d8f5b1d9e01"),
        "{group}"
    );
    let port = PortKey {
        port: 65_535,
        protocol: Protocol::Tcp,
    };
    let key = shared("edge");
    let member = member(&of, &key, &ServiceUid::from(UID));
    let names = [
        frontend(&group, Some("/subscriptions/s/x"), IpFamily::V6).to_string(),
        rule(&member, port, IpFamily::V6).to_string(),
        probe(&member, port).to_string(),
        security_rule(
            &member,
            true,
            Some(Transport::Tcp),
            IpFamily::V6,
            "Internet",
        )
        .to_string(),
        public_ip(&group, IpFamily::V6, Some("/x"), &Pairs::new()),
    ];
    for name in &names {
        assert!(
            name.len() <= 80 && name.starts_with(&cluster(&of)),
            "{name}"
        );
        let last = name.chars().last().expect("a name");
        assert!(last.is_ascii_alphanumeric(), "{name}");
    }
    assert_eq!(port_of(&names[1], &member), Some(port));
    assert_eq!(port_of(&names[1], &group), None);
}

#[test]
fn no_group_begins_another() {
    let of = Cluster::new("a", "a");
    let keys = [
        service(UID),
        service("0f6c1b52-7a0e-4c55-9a7b-2d8f5b1d9e02"),
        service("uid"),
        service("uid-1"),
        shared("edge"),
        shared("edge-v4"),
        nodes_key(),
    ];
    let names: Vec<_> = keys.iter().map(|key| group(&of, key)).collect();
    for one in &names {
        for other in &names {
            assert_eq!(
                is_of(&format!("{one}-v4"), other),
                one == other,
                "{one} {other}"
            );
        }
    }
    let shouted = format!("{}-V4", names[0].to_uppercase());
    assert!(is_of(&shouted, &names[0]), "Azure's names know no case");
    assert_ne!(group(&Cluster::new("b", "a"), &keys[0]), names[0]);
}

#[test]
fn what_the_cloud_provider_made_is_recognised() {
    let base = peer::base(&ServiceUid::from(UID));
    assert_eq!(base, "a0f6c1b527a0e4c559a7b2d8f5b1d9e0");
    let of = |rest: &str| format!("{base}{rest}");
    let (short, long) = (
        "ilb-apps",
        "snet-weu-prod-platform-shared-internal-load-balancers-01",
    );
    assert_eq!(peer::frontend(&base, Some(short)), of("-ilb-apps"));
    assert_eq!(
        peer::rule(&base, Some(short), "TCP", 443),
        of("-ilb-apps-TCP-443")
    );
    assert_eq!(
        peer::frontend(&base, Some(long)),
        of("-snet-weu-prod-platform-shared-internal-loa")
    );
    assert_eq!(
        peer::rule(&base, Some(long), "TCP", 443),
        of("-snet-weu-prod-platform-shared-inte-TCP-443")
    );
    assert_eq!(
        peer::frontend(&base, Some("platform-internal-load-balancer-subnet-0001")),
        of("-platform-internal-load-balancer-subnet-00_")
    );
    assert_eq!(
        peer::public_ip("prod-eu", &base, None),
        format!("prod-eu-{base}")
    );
    assert_eq!(
        peer::public_ip("prod-eu", &base, Some("edge-prefix")),
        format!("prod-eu-{base}-edge-prefix")
    );
    let long = "prd-weu-kubernetes-platform-shared-services-cluster-0042";
    assert_eq!(
        peer::public_ip(long, &base, None),
        format!("{long}-a0f6c1b527a0e4c559")
    );
}
