//! What is foretold, and what absorbing does.

use std::sync::Arc;

use super::*;
use crate::{
    api::{Family, LeaseSpec, ListenerSpec, Marks, Protocol},
    model::BackendSetSpec,
};

fn marks() -> Marks {
    Marks {
        cluster: "cluster".into(),
        group: "group".into(),
        service: "shop/checkout".into(),
        member: "group".into(),
        retain: false,
        labels: Default::default(),
    }
}

fn lease(address: Option<&str>) -> LeaseSpec {
    LeaseSpec {
        address: address.map(|text| text.parse().expect("an address")),
        ..LeaseSpec::of(Family::V4)
    }
}

fn put_lease(address: Option<&str>) -> Step {
    Step::PutLease(Write::new("lease", marks(), lease(address)))
}

fn set(node_port: u16) -> BackendSetSpec {
    BackendSetSpec {
        node_port: Some(node_port),
        members: Arc::from([]),
        health_check: None,
        drain_seconds: 30,
        affinity_seconds: None,
    }
}

fn listener() -> ListenerSpec {
    ListenerSpec {
        lease: "lease".into(),
        port: 443,
        protocol: Protocol::Tcp,
        backend_set: "set".into(),
        source_ranges: None,
        proxy_protocol: false,
        idle_timeout_seconds: None,
        access_log: false,
        max_connections: None,
    }
}

fn after(steps: &[Step]) -> Observed {
    let mut seen = Observed::default();
    for step in steps {
        let effect = predict(step, &seen);
        absorb(&mut seen, effect);
    }
    seen
}

#[test]
fn an_address_is_known_when_it_is_asked_for_or_held() {
    let any = after(&[put_lease(None)]);
    assert_eq!(any.leases["lease"].status, None);
    let asked = after(&[put_lease(Some("127.77.0.9"))]);
    assert_eq!(
        asked.leases["lease"].held(),
        Some("127.77.0.9".parse().expect("an address"))
    );
    let kept = after(&[put_lease(Some("127.77.0.9")), put_lease(None)]);
    assert_eq!(
        kept.leases["lease"].held(),
        Some("127.77.0.9".parse().expect("an address"))
    );
    assert_eq!(kept.leases["lease"].spec.address, None);
}

#[test]
fn what_is_written_is_there_and_its_generation_is_not_known() {
    let seen = after(&[
        put_lease(None),
        Step::PutBackendSet(Write::new("set", marks(), set(1))),
        Step::PutBackendSet(Write::new("set", marks(), set(2))),
        Step::PutListener(Write::new("listener", marks(), listener())),
    ]);
    assert_eq!(seen.len(), 3);
    assert_eq!(seen.backend_sets["set"].spec, set(2));
    assert_eq!(seen.listeners["listener"].spec, listener());
    assert_eq!(seen.backend_sets["set"].generation, None);
}

#[test]
fn a_port_that_is_closed_stays_closed_until_the_data_plane_says_otherwise() {
    let mut seen = after(&[Step::PutListener(Write::new(
        "listener",
        marks(),
        listener(),
    ))]);
    let failed = ListenerPhase::Failed {
        code: "PortInUse".into(),
        message: "taken".into(),
    };
    seen.listeners
        .get_mut("listener")
        .expect("it is there")
        .status = Some(failed.clone());
    let changed = ListenerSpec {
        proxy_protocol: true,
        ..listener()
    };
    let effect = predict(
        &Step::PutListener(Write::new("listener", marks(), changed)),
        &seen,
    );
    absorb(&mut seen, effect);
    assert_eq!(seen.listeners["listener"].status, Some(failed));
}

#[test]
fn what_is_deleted_is_gone_and_nothing_else() {
    let all = [
        put_lease(None),
        Step::PutBackendSet(Write::new("set", marks(), set(1))),
        Step::PutListener(Write::new("listener", marks(), listener())),
    ];
    for (kind, name) in [
        (Kind::Lease, "lease"),
        (Kind::BackendSet, "set"),
        (Kind::Listener, "listener"),
    ] {
        let mut steps = all.to_vec();
        steps.push(Step::Delete {
            kind,
            name: name.into(),
        });
        let seen = after(&steps);
        assert_eq!(seen.len(), 2, "{kind:?}");
        let there = match kind {
            Kind::Lease => seen.leases.contains_key(name),
            Kind::BackendSet => seen.backend_sets.contains_key(name),
            Kind::Listener => seen.listeners.contains_key(name),
        };
        assert!(!there, "{kind:?}");
        // Once more changes nothing.
        let mut again = seen.clone();
        let effect = predict(
            &Step::Delete {
                kind,
                name: name.into(),
            },
            &seen,
        );
        absorb(&mut again, effect);
        assert_eq!(again, seen, "{kind:?}");
    }
}
