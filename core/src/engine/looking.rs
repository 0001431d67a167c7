//! When the engine looks at the cloud, and what it takes for a look.

use futures::FutureExt as _;

use super::*;
use crate::{
    converge::NoJournal,
    endpoints::{Endpoint, Use},
    ids::ResourceId,
    ports::{PortKey, Protocol},
    scripted::{Manners, Scripted, minute, nodes, request, run, serve},
};

fn engine() -> Engine<Scripted> {
    Engine::new(Scripted::new(Manners::default()))
}

#[test]
fn a_first_look_does_not_stand_for_the_cloud_for_ever() {
    let other = Request {
        key: GroupKey::Shared {
            namespace: "shop".into(),
            name: "other".into(),
        },
        ..request(Ask::Keep(Problems::none()))
    };
    for (name, after, reads) in [("soon", 9, 0), ("late", 10, 1)] {
        let engine = engine();
        engine.provider().cloud().objects = [("lb", "1"), ("targets", "a")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        let found = engine
            .inventory()
            .now_or_never()
            .expect("it answers at once");
        assert_eq!(found.expect("it answers").len(), 1);
        // The first run of anybody starts the clock.
        run(&engine, other.clone());
        engine.provider().cloud().reads = 0;
        let report = run(
            &engine,
            Request {
                now: minute(after),
                ..request(serve(&[("lb", "1")]))
            },
        );
        assert_eq!((report.applied.len(), report.reads), (0, reads), "{name}");
    }
}

#[test]
fn a_deletion_reads_once_before_and_once_after() {
    for (name, objects, reads) in [
        ("nothing there", vec![], 1),
        ("something there", vec!["lb"], 2),
    ] {
        let engine = engine();
        let objects = objects
            .into_iter()
            .map(|name| (name.to_owned(), String::new()));
        engine.provider().cloud().objects = objects.collect();
        let report = run(&engine, request(Ask::Release));
        assert!(report.gone, "{name}");
        assert_eq!(
            (report.reads, engine.provider().cloud().reads),
            (reads, reads),
            "{name}"
        );
    }
}

#[test]
fn a_deletion_that_waits_does_not_read_to_prove_what_cannot_be() {
    let engine = Engine::new(Scripted::new(Manners {
        waits: true,
        ..Manners::default()
    }));
    engine
        .provider()
        .cloud()
        .objects
        .insert("lb".into(), String::new());
    let report = run(&engine, request(Ask::Release));
    assert_eq!(
        (report.gone, report.waits.len(), report.reads),
        (false, 1, 1)
    );
}

#[test]
fn the_earliest_wait_that_nobody_ends_says_when_to_look() {
    let wait = |until| Wait {
        id: ResourceId::from("lb"),
        what: String::new(),
        until,
    };
    let seconds = Duration::from_secs;
    for (name, waits, want) in [
        ("nothing", vec![], None),
        ("told", vec![Until::Told], None),
        (
            "after",
            vec![
                Until::After(seconds(9)),
                Until::After(seconds(7)),
                Until::Told,
            ],
            Some(seconds(7)),
        ),
        (
            "a read that was not made",
            vec![Until::FreshRead],
            Some(seconds(5)),
        ),
    ] {
        let report = Report {
            waits: waits.into_iter().map(wait).collect(),
            ..Report::default()
        };
        assert_eq!(next_look(&report), want, "{name}");
    }
}

#[test]
fn a_run_that_was_cut_is_followed_by_a_look_whatever_an_inventory_said() {
    let engine = Engine::new(Scripted::new(Manners {
        hangs: true,
        ..Manners::default()
    }));
    let inventory = || {
        let found = engine
            .inventory()
            .now_or_never()
            .expect("it answers at once");
        assert_eq!(found.expect("it answers").len(), 1);
    };
    let ask = || request(serve(&[("lb", "1")]));
    inventory();
    let cut = engine.run(ask(), &NoJournal).now_or_never();
    assert!(cut.is_none(), "it hangs");
    inventory();
    let reads = engine.provider().cloud().reads;
    let report = run(&engine, ask());
    assert_eq!(
        (report.reads, engine.provider().cloud().reads),
        (1, reads + 1)
    );
    assert!(
        report.applied.is_empty() && report.settled(),
        "all was written before: {report:#?}"
    );
}

#[test]
fn other_endpoints_are_a_reason_to_plan_and_the_same_are_none() {
    let engine = engine();
    let with = |address: Option<&str>| {
        let endpoint = |address: &str| Endpoint {
            address: address.parse().expect("an address"),
            port: 8080,
            use_: Use::Add,
            zone: None,
            pod: None,
            waits: None,
        };
        let port = PortKey {
            port: 80,
            protocol: Protocol::Tcp,
        };
        let found = [(port, address.map(endpoint).into_iter().collect())].into();
        Request {
            endpoints: Arc::new(EndpointSet::new([(ServiceUid::new("uid"), found)].into())),
            ..request(serve(&[("lb", "1")]))
        }
    };
    for (name, address, plans) in [
        ("first", None, true),
        ("the same", None, false),
        ("one", Some("10.1.0.1"), true),
        ("the same one", Some("10.1.0.1"), false),
        ("another", Some("10.1.0.2"), true),
    ] {
        engine.provider().cloud().plans = 0;
        run(&engine, with(address));
        assert_eq!(engine.provider().cloud().plans > 0, plans, "{name}");
    }
}

#[test]
fn a_plan_is_told_which_nodes_were_followed_before() {
    let engine = engine();
    let on = |names: &[&str]| {
        let request = Request {
            nodes: nodes(names),
            ..request(serve(&[("lb", "1")]))
        };
        run(&engine, request);
        engine.provider().cloud().followed.clone()
    };
    assert_eq!(on(&["a"]), None);
    assert_eq!(on(&["a", "b"]).as_deref(), Some("a"));
    assert_eq!(on(&["b"]).as_deref(), Some("a b"));
}
