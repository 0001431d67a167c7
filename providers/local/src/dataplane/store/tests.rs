//! One rule of the store per row or test.

use proptest::prelude::*;

use super::*;
use crate::api::{Family, Protocol, Target};

const ABSENT: Expect = Expect {
    absent: true,
    generation: None,
};
const ANY: Expect = Expect {
    absent: false,
    generation: None,
};

fn at(generation: u64) -> Expect {
    Expect {
        absent: false,
        generation: Some(generation),
    }
}

fn marks(cluster: &str) -> Marks {
    Marks {
        cluster: cluster.into(),
        group: "uid-1".into(),
        service: "shop/checkout".into(),
        member: "uid-1".into(),
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

fn backend_set(port: u16) -> BackendSetSpec {
    let target = Target {
        node: "node-a".into(),
        address: "127.0.0.1".parse().expect("an address"),
        port,
    };
    BackendSetSpec {
        targets: vec![target],
        health_check: None,
        drain_seconds: 30,
        affinity_seconds: None,
    }
}

fn listener(port: u16) -> ListenerSpec {
    ListenerSpec {
        lease: "lease".into(),
        port,
        protocol: Protocol::Tcp,
        backend_set: "set".into(),
        source_ranges: None,
        proxy_protocol: false,
        idle_timeout_seconds: None,
        access_log: false,
        max_connections: None,
    }
}

fn put_lease(name: &str, cluster: &str, spec: LeaseSpec, expect: Expect) -> Request {
    Request::PutLease {
        name: name.into(),
        put: Put {
            marks: marks(cluster),
            spec,
        },
        expect,
    }
}

fn put_set(name: &str, cluster: &str, spec: BackendSetSpec, expect: Expect) -> Request {
    Request::PutBackendSet {
        name: name.into(),
        put: Put {
            marks: marks(cluster),
            spec,
        },
        expect,
    }
}

fn put_listener(name: &str, cluster: &str, spec: ListenerSpec, expect: Expect) -> Request {
    Request::PutListener {
        name: name.into(),
        put: Put {
            marks: marks(cluster),
            spec,
        },
        expect,
    }
}

fn delete(kind: Kind, name: &str, cluster: &str, expect: Expect) -> Request {
    Request::Delete {
        kind,
        name: name.into(),
        cluster: cluster.into(),
        expect,
    }
}

/// A store with one lease (generation 1), one set (2) and one listener (3) of cluster `c`.
fn store() -> Store {
    let pool = Pool::parse("127.77.0.0/29").expect("a pool");
    let mut store = Store::new(vec![pool].into());
    for request in [
        put_lease("lease", "c", lease(None), ABSENT),
        put_set("set", "c", backend_set(30_000), ABSENT),
        put_listener("listener", "c", listener(80), ABSENT),
    ] {
        store.apply(request).expect("a good request");
    }
    store
}

#[derive(Debug, PartialEq)]
enum Did {
    Nothing,
    Created,
    Changed,
    Deleted,
    Refused(&'static str),
}

fn did(result: &Result<Change, ApiError>) -> Did {
    fn edit<T>(edit: &Edit<T>) -> Did {
        match (&edit.before, &edit.after) {
            (None, Some(_)) => Did::Created,
            (Some(_), Some(_)) => Did::Changed,
            (Some(_), None) => Did::Deleted,
            (None, None) => Did::Nothing,
        }
    }
    match result {
        Ok(Change::Nothing) => Did::Nothing,
        Ok(Change::Lease(change)) => edit(change),
        Ok(Change::BackendSet(change)) => edit(change),
        Ok(Change::Listener(change)) => edit(change),
        Err(error) => Did::Refused(
            [
                code::INVALID,
                code::FOREIGN,
                code::EXISTS,
                code::IN_USE,
                code::PORT_TAKEN,
                code::CHANGED,
                code::ADDRESS_TAKEN,
                code::ADDRESS_NOT_IN_POOL,
                code::POOL_EXHAUSTED,
                code::BAD_REFERENCE,
                code::IMMUTABLE,
            ]
            .into_iter()
            .find(|known| *known == error.code)
            .expect("a known code"),
        ),
    }
}

#[test]
fn one_request_has_one_outcome() {
    let no_drain = BackendSetSpec {
        drain_seconds: 0,
        ..backend_set(30_000)
    };
    let pinned = lease(Some("127.77.0.1"));
    let elsewhere = ListenerSpec {
        lease: "other".into(),
        ..listener(80)
    };
    let no_set = ListenerSpec {
        backend_set: "other".into(),
        ..listener(81)
    };
    for (name, request, want) in [
        (
            "a new set",
            put_set("new", "c", backend_set(1), ABSENT),
            Did::Created,
        ),
        (
            "a new set without a word",
            put_set("new", "c", backend_set(1), ANY),
            Did::Created,
        ),
        (
            "a new set that should exist",
            put_set("new", "c", backend_set(1), at(1)),
            Did::Refused(code::CHANGED),
        ),
        (
            "the same set again",
            put_set("set", "c", backend_set(30_000), ABSENT),
            Did::Nothing,
        ),
        (
            "the same set put",
            put_set("set", "c", backend_set(30_000), ANY),
            Did::Nothing,
        ),
        (
            "the same set, matched",
            put_set("set", "c", backend_set(30_000), at(2)),
            Did::Nothing,
        ),
        (
            "another set of that name",
            put_set("set", "c", no_drain.clone(), ABSENT),
            Did::Refused(code::EXISTS),
        ),
        (
            "a changed set",
            put_set("set", "c", no_drain.clone(), ANY),
            Did::Changed,
        ),
        (
            "a changed set, matched",
            put_set("set", "c", no_drain.clone(), at(2)),
            Did::Changed,
        ),
        (
            "a set changed meanwhile",
            put_set("set", "c", no_drain.clone(), at(1)),
            Did::Refused(code::CHANGED),
        ),
        (
            "a foreign set",
            put_set("set", "d", no_drain, ANY),
            Did::Refused(code::FOREIGN),
        ),
        (
            "a foreign set, same spec",
            put_set("set", "d", backend_set(30_000), ABSENT),
            Did::Refused(code::FOREIGN),
        ),
        (
            "a bad name",
            put_set("Set", "c", backend_set(1), ANY),
            Did::Refused(code::INVALID),
        ),
        (
            "no cluster",
            put_set("new", "", backend_set(1), ANY),
            Did::Refused(code::INVALID),
        ),
        (
            "a second lease",
            put_lease("new", "c", lease(None), ABSENT),
            Did::Created,
        ),
        (
            "a free address",
            put_lease("new", "c", lease(Some("127.77.0.6")), ABSENT),
            Did::Created,
        ),
        (
            "a taken address",
            put_lease("new", "c", pinned.clone(), ABSENT),
            Did::Refused(code::ADDRESS_TAKEN),
        ),
        (
            "a foreign taken address",
            put_lease("new", "d", pinned.clone(), ABSENT),
            Did::Refused(code::ADDRESS_TAKEN),
        ),
        (
            "outside the pool",
            put_lease("new", "c", lease(Some("127.77.0.9")), ABSENT),
            Did::Refused(code::ADDRESS_NOT_IN_POOL),
        ),
        (
            "pin what is held",
            put_lease("lease", "c", pinned, at(1)),
            Did::Changed,
        ),
        (
            "move a lease",
            put_lease("lease", "c", lease(Some("127.77.0.5")), at(1)),
            Did::Refused(code::IMMUTABLE),
        ),
        (
            "turn a lease",
            put_lease("lease", "c", LeaseSpec::of(Family::V6), at(1)),
            Did::Refused(code::IMMUTABLE),
        ),
        (
            "a second listener",
            put_listener("new", "c", listener(81), ABSENT),
            Did::Created,
        ),
        (
            "the same port",
            put_listener("new", "c", listener(80), ABSENT),
            Did::Refused(code::PORT_TAKEN),
        ),
        (
            "no such lease",
            put_listener("new", "c", elsewhere.clone(), ABSENT),
            Did::Refused(code::BAD_REFERENCE),
        ),
        (
            "no such set",
            put_listener("new", "c", no_set, ABSENT),
            Did::Refused(code::BAD_REFERENCE),
        ),
        (
            "a foreign lease",
            put_listener("new", "d", listener(81), ABSENT),
            Did::Refused(code::BAD_REFERENCE),
        ),
        (
            "another port",
            put_listener("listener", "c", listener(81), at(3)),
            Did::Refused(code::IMMUTABLE),
        ),
        (
            "another lease",
            put_listener("listener", "c", elsewhere, at(3)),
            Did::Refused(code::IMMUTABLE),
        ),
        (
            "another header",
            put_listener(
                "listener",
                "c",
                ListenerSpec {
                    proxy_protocol: true,
                    ..listener(80)
                },
                at(3),
            ),
            Did::Changed,
        ),
        (
            "delete a used lease",
            delete(Kind::Lease, "lease", "c", ANY),
            Did::Refused(code::IN_USE),
        ),
        (
            "delete a used set",
            delete(Kind::BackendSet, "set", "c", ANY),
            Did::Refused(code::IN_USE),
        ),
        (
            "delete a foreign used set",
            delete(Kind::BackendSet, "set", "d", ANY),
            Did::Refused(code::FOREIGN),
        ),
        (
            "delete a foreign listener",
            delete(Kind::Listener, "listener", "d", ANY),
            Did::Refused(code::FOREIGN),
        ),
        (
            "delete a listener",
            delete(Kind::Listener, "listener", "c", ANY),
            Did::Deleted,
        ),
        (
            "delete it, matched",
            delete(Kind::Listener, "listener", "c", at(3)),
            Did::Deleted,
        ),
        (
            "delete it, changed",
            delete(Kind::Listener, "listener", "c", at(2)),
            Did::Refused(code::CHANGED),
        ),
        (
            "delete nothing",
            delete(Kind::Listener, "new", "c", ANY),
            Did::Nothing,
        ),
        (
            "delete nothing, matched",
            delete(Kind::Lease, "new", "c", at(9)),
            Did::Nothing,
        ),
    ] {
        let mut store = store();
        let before = store.clone();
        let result = store.apply(request);
        assert_eq!(did(&result), want, "{name}: {result:?}");
        assert_eq!(store.check(), Ok(()), "{name}");
        if let Ok(change) = result {
            store.undo(change);
        }
        assert!(
            same(&store, &before),
            "{name}: a refused or undone request leaves nothing behind"
        );
    }
}

fn same(one: &Store, other: &Store) -> bool {
    (&one.leases, &one.backend_sets, &one.listeners)
        == (&other.leases, &other.backend_sets, &other.listeners)
}

#[test]
fn generations_never_come_back() {
    let mut store = store();
    let first = store.listeners["listener"].generation;
    store
        .apply(delete(Kind::Listener, "listener", "c", ANY))
        .expect("deleted");
    store
        .apply(put_listener("listener", "c", listener(80), ABSENT))
        .expect("created");
    assert!(store.listeners["listener"].generation > first);
    let error = store
        .apply(delete(Kind::Listener, "listener", "c", at(first)))
        .expect_err("an old generation");
    assert_eq!(error.code, code::CHANGED);
}

#[test]
fn an_address_is_kept_until_its_lease_is_deleted() {
    let mut store = store();
    store
        .apply(put_lease("second", "c", lease(None), ABSENT))
        .expect("created");
    assert_eq!(
        store.leases["second"].spec.address.to_string(),
        "127.77.0.2"
    );
    store
        .apply(put_lease("second", "c", lease(Some("127.77.0.2")), ANY))
        .expect("pinned");
    store
        .apply(put_lease("second", "c", lease(None), ANY))
        .expect("unpinned");
    assert_eq!(
        store.leases["second"].spec.address.to_string(),
        "127.77.0.2"
    );
    store
        .apply(delete(Kind::Lease, "second", "c", ANY))
        .expect("deleted");
    store
        .apply(put_lease("third", "c", lease(None), ABSENT))
        .expect("created");
    assert_eq!(store.leases["third"].spec.address.to_string(), "127.77.0.2");
}

#[test]
fn an_exhausted_pool_says_how_many_are_held() {
    let mut store = store();
    for number in 2..=6 {
        store
            .apply(put_lease(
                &format!("lease-{number}"),
                "c",
                lease(None),
                ABSENT,
            ))
            .expect("a free address");
    }
    let error = store
        .apply(put_lease("last", "c", lease(None), ABSENT))
        .expect_err("no address is left");
    assert_eq!(error.code, code::POOL_EXHAUSTED);
    assert!(error.message.contains("all 6 addresses"), "{error}");
}

#[test]
fn inconsistent_objects_are_found() {
    type Breakage = fn(&mut Store);
    let cases: [(&str, Breakage, &str); 5] = [
        (
            "no lease",
            |store| store.leases.clear(),
            "there is no lease",
        ),
        (
            "no set",
            |store| store.backend_sets.clear(),
            "there is no backend set",
        ),
        (
            "old counter",
            |store| store.next_generation = 2,
            "the next one is 2",
        ),
        (
            "address twice",
            |store| {
                let twin = Arc::clone(&store.leases["lease"]);
                store.leases.insert("twin".into(), twin);
            },
            "held twice",
        ),
        (
            "port twice",
            |store| {
                let twin = Arc::clone(&store.listeners["listener"]);
                store.listeners.insert("twin".into(), twin);
            },
            "taken twice",
        ),
    ];
    for (name, break_it, says) in cases {
        let mut store = store();
        break_it(&mut store);
        let problem = store.check().expect_err(name);
        assert!(problem.contains(says), "{name}: {problem}");
    }
}

fn any_request() -> impl Strategy<Value = Request> {
    let name = || {
        prop_oneof![
            Just("lease"),
            Just("set"),
            Just("listener"),
            Just("b"),
            Just("")
        ]
        .prop_map(String::from)
    };
    let cluster = || prop_oneof![3 => Just("c"), 1 => Just("d")];
    let expect = || {
        (any::<bool>(), prop::option::weighted(0.2, 0..9u64))
            .prop_map(|(absent, generation)| Expect { absent, generation })
    };
    let address = prop::option::of((0..9u8).prop_map(|last| IpAddr::from([127, 77, 0, last])));
    prop_oneof![
        (name(), cluster(), address, expect()).prop_map(|(name, cluster, address, expect)| {
            put_lease(
                &name,
                cluster,
                LeaseSpec {
                    address,
                    ..LeaseSpec::of(Family::V4)
                },
                expect,
            )
        }),
        (name(), cluster(), 0..3u16, expect()).prop_map(|(name, cluster, port, expect)| {
            put_set(&name, cluster, backend_set(port), expect)
        }),
        (name(), cluster(), name(), name(), 79..82u16, expect()).prop_map(
            |(name, cluster, lease, backend_set, port, expect)| {
                put_listener(
                    &name,
                    cluster,
                    ListenerSpec {
                        lease,
                        backend_set,
                        ..listener(port)
                    },
                    expect,
                )
            }
        ),
        (
            prop_oneof![
                Just(Kind::Lease),
                Just(Kind::BackendSet),
                Just(Kind::Listener)
            ],
            name(),
            cluster(),
            expect()
        )
            .prop_map(|(kind, name, cluster, expect)| delete(kind, &name, cluster, expect)),
    ]
}

proptest! {
    #[test]
    fn any_requests_leave_consistent_objects(requests in prop::collection::vec(any_request(), 0..40)) {
        let mut store = store();
        let before = store.clone();
        let mut changes = Vec::new();
        for request in requests {
            if let Ok(change) = store.apply(request) {
                changes.push(change);
            }
            prop_assert_eq!(store.check(), Ok(()));
        }
        for change in changes.into_iter().rev() {
            store.undo(change);
        }
        prop_assert!(same(&store, &before));
    }
}
