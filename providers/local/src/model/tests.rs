//! What observations mean.

use std::net::IpAddr;

use evenkeel_core::{
    ids::{GroupKey, ServiceKey, ServiceRef, ServiceUid},
    published::{Ingress, IpMode, PublishedPort, TargetHealth},
};

use super::*;
use crate::names::label;

fn checkout() -> ServiceRef {
    ServiceRef {
        key: ServiceKey::new("shop", "checkout"),
        uid: ServiceUid::from("uid-checkout"),
    }
}

fn marks(labels: &[(&str, &str)]) -> Marks {
    Marks {
        cluster: "cluster".into(),
        group: "uid-checkout".into(),
        service: "shop/checkout".into(),
        member: "uid-checkout".into(),
        retain: false,
        labels: labels
            .iter()
            .map(|(key, value)| ((*key).into(), (*value).into()))
            .collect(),
    }
}

fn with_lease(mut seen: Observed, name: &str, address: &str, order: &str, turn: &str) -> Observed {
    let address: IpAddr = address.parse().expect("an address");
    let lease = Seen {
        marks: marks(&[(label::ORDER, order), (label::TURN, turn)]),
        spec: LeaseSpec::of(Family::of(address)),
        generation: Some(1),
        status: Some(api::LeaseStatus {
            address,
            pool: Some("home".into()),
        }),
    };
    seen.leases.insert(name.into(), lease);
    seen
}

fn with_listener(
    mut seen: Observed,
    lease: &str,
    port: u16,
    phase: Option<ListenerPhase>,
) -> Observed {
    let listener = Seen {
        marks: marks(&[]),
        spec: ListenerSpec {
            lease: lease.into(),
            port,
            protocol: api::Protocol::Tcp,
            backend_set: "set".into(),
            source_ranges: None,
            proxy_protocol: false,
            idle_timeout_seconds: None,
            access_log: false,
            max_connections: None,
        },
        generation: Some(1),
        status: phase,
    };
    seen.listeners.insert(format!("{lease}-{port}"), listener);
    seen
}

fn failed() -> Option<ListenerPhase> {
    Some(ListenerPhase::Failed {
        code: "PortInUse".into(),
        message: "taken".into(),
    })
}

const READY: Option<ListenerPhase> = Some(ListenerPhase::Ready);

fn published(seen: &Observed) -> (Vec<String>, Vec<u16>) {
    let published = seen.published(&GroupKey::Service(checkout()));
    let address = |ingress: &Ingress| match ingress {
        Ingress::Ip {
            ip,
            mode: IpMode::Proxy,
        } => ip.to_string(),
        other => panic!("{other:?}"),
    };
    (
        published.ingress.iter().map(address).collect(),
        published.ports.iter().map(|port| port.port.port).collect(),
    )
}

#[test]
fn the_primary_family_is_published_first() {
    for (v4, v6, want) in [
        ("0", "1", ["127.0.0.9", "::9"]),
        ("1", "0", ["::9", "127.0.0.9"]),
    ] {
        let seen = with_lease(Observed::default(), "four", "127.0.0.9", v4, "0");
        let seen = with_lease(seen, "six", "::9", v6, "0");
        assert_eq!(published(&seen).0, want);
    }
}

#[test]
fn each_pool_is_published_once() {
    let key = GroupKey::Service(checkout());
    let seen = with_lease(Observed::default(), "four", "127.0.0.9", "0", "0");
    let mut seen = with_lease(seen, "six", "::9", "1", "0");
    assert_eq!(seen.published(&key).pools, ["home"]);
    let mut six = seen.leases["six"].clone();
    if let Some(status) = &mut six.status {
        status.pool = Some("away".into());
    }
    seen.leases.insert("six".into(), six);
    assert_eq!(seen.published(&key).pools, ["home", "away"]);
}

#[test]
fn only_open_ports_of_addresses_in_use_are_published() {
    let seen = with_lease(Observed::default(), "lease", "127.0.0.9", "0", "0");
    let seen = with_listener(seen, "lease", 443, READY);
    let seen = with_listener(seen, "lease", 80, failed());
    // Foretold.
    let seen = with_listener(seen, "lease", 8080, None);
    assert_eq!(
        published(&seen),
        (vec!["127.0.0.9".into()], vec![443, 8080])
    );
    let key = GroupKey::Shared {
        namespace: "shop".into(),
        name: "edge".into(),
    };
    let ports = seen.published(&key).ports;
    assert_eq!(
        ports[0],
        PublishedPort {
            service: checkout(),
            port: PortKey {
                port: 443,
                protocol: Protocol::Tcp,
            }
        },
        "the member is told by the marks"
    );
    assert_eq!(published(&Observed::default()), (vec![], vec![]));
}

#[test]
fn an_address_is_published_until_its_successor_has_as_many_open_ports() {
    let seen = with_lease(Observed::default(), "old", "127.0.0.9", "0", "0");
    let seen = with_listener(with_listener(seen, "old", 443, READY), "old", 80, READY);
    let seen = with_lease(seen, "new", "127.0.0.10", "0", "1");
    assert_eq!(published(&seen).0, ["127.0.0.9"], "nothing is open");
    let seen = with_listener(seen, "new", 443, READY);
    assert_eq!(published(&seen).0, ["127.0.0.9"], "one of two is open");
    let half = with_listener(seen.clone(), "new", 80, failed());
    assert_eq!(published(&half).0, ["127.0.0.9"], "one of two failed");
    let seen = with_listener(seen, "new", 80, READY);
    assert_eq!(published(&seen), (vec!["127.0.0.10".into()], vec![80, 443]));
}

#[test]
fn targets_are_counted_over_all_sets() {
    let member = |node: &str| Member {
        node: NodeName::from(node),
        address: IpAddr::from([10, 0, 0, 1]),
    };
    let set = |status| Seen {
        marks: marks(&[]),
        spec: BackendSetSpec {
            node_port: Some(1),
            members: Arc::from([member("a"), member("b")]),
            health_check: None,
            drain_seconds: 0,
            affinity_seconds: None,
        },
        generation: Some(1),
        status,
    };
    let mut seen = Observed::default();
    let key = GroupKey::Service(checkout());
    assert_eq!(seen.published(&key).targets, None);
    seen.backend_sets.insert("one".into(), set(Some(1)));
    seen.backend_sets.insert("two".into(), set(Some(2)));
    seen.backend_sets.insert("foretold".into(), set(None));
    assert_eq!(
        seen.published(&key).targets,
        Some(TargetHealth {
            healthy: 3,
            total: 6
        })
    );
}

#[test]
fn a_stamp_on_the_lease_retains() {
    let mut seen = with_lease(Observed::default(), "lease", "127.0.0.9", "0", "0");
    assert!(!seen.retained());
    seen.leases
        .get_mut("lease")
        .expect("it is there")
        .marks
        .retain = true;
    assert!(seen.retained());
}

#[test]
fn what_nobody_labelled_has_its_name_for_an_id() {
    assert_eq!(
        id(Kind::BackendSet, "by-hand", &marks(&[])).as_str(),
        "backend-set/by-hand"
    );
    assert_eq!(
        id(
            Kind::Listener,
            "ours",
            &marks(&[(label::ID, "ls/TCP/443/IPv4")])
        )
        .as_str(),
        "ls/TCP/443/IPv4"
    );
}

#[test]
fn a_probe_is_told_in_short_and_in_full() {
    let check = HealthCheck {
        kind: HealthCheckKind::Http {
            path: "/healthz".into(),
        },
        port: Some(10256),
        interval_ms: 2_000,
        timeout_ms: 500,
        rise: 1,
        fall: 3,
    };
    assert_eq!(Probe(Some(&check)).to_string(), "HTTP :10256/healthz");
    assert_eq!(
        format!("{:#}", Probe(Some(&check))),
        "HTTP :10256/healthz every 2s, timeout 500ms, up after 1, down after 3"
    );
    let tcp = HealthCheck {
        kind: HealthCheckKind::Tcp,
        port: None,
        ..check
    };
    assert_eq!(Probe(Some(&tcp)).to_string(), "TCP :node-port");
    assert_eq!(Probe(None).to_string(), "no health check");
}
