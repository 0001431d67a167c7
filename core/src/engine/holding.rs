//! What a group costs while all that is in its way is held back.

use super::*;
use crate::{
    error::ErrorClass,
    scripted::{Manners, Scripted, minute, nodes, request, run, serve},
};

/// A group of which one write is refused so that only a person can end it, at the beginning.
fn refused(class: ErrorClass) -> Engine<Scripted> {
    let engine = Engine::new(Scripted::new(Manners::default()));
    engine.provider().cloud().refuses.insert("lb".into(), class);
    run(&engine, request(serve(&[("lb", "1")])));
    engine
}

fn at(time: i64) -> Request {
    Request {
        now: minute(time),
        ..request(serve(&[("lb", "1")]))
    }
}

#[test]
fn while_it_is_held_back_an_event_makes_no_call_and_tells_the_same() {
    for class in [ErrorClass::Rejected, ErrorClass::Denied, ErrorClass::Quota] {
        let engine = refused(class);
        let (reads, writes) = {
            let cloud = engine.provider().cloud();
            (cloud.reads, cloud.writes.len())
        };
        for time in [1, 5, 9] {
            let report = run(&engine, at(time));
            assert_eq!(report.failures.len(), 1, "{class:?}: {report:#?}");
            assert!(report.published.is_some() && report.reads == 0 && report.applied.is_empty());
        }
        let cloud = engine.provider().cloud();
        assert_eq!(
            (cloud.reads, cloud.writes.len()),
            (reads, writes),
            "{class:?}"
        );
    }
}

#[test]
fn what_ends_the_hold() {
    let looks = Request {
        look: true,
        ..at(1)
    };
    let another = Request {
        ask: serve(&[("lb", "2")]),
        ..at(1)
    };
    let more_nodes = Request {
        nodes: nodes(&["a", "b"]),
        ..at(1)
    };
    for (name, then, tried) in [
        ("time", at(10), true),
        ("another desired state", another, true),
        ("a look: the write stays held back", looks, false),
        ("nodes: the write stays held back", more_nodes, false),
    ] {
        let engine = refused(ErrorClass::Rejected);
        let reads = engine.provider().cloud().reads;
        engine.provider().cloud().refuses.clear();
        let report = run(&engine, then);
        assert!(engine.provider().cloud().reads > reads, "{name}: it looks");
        assert_eq!(report.failures.is_empty(), tried, "{name}: {report:#?}");
    }
}

#[test]
fn what_may_pass_is_tried_again_by_every_event() {
    let engine = refused(ErrorClass::Transient);
    engine.provider().cloud().refuses.clear();
    assert!(run(&engine, at(1)).failures.is_empty());
}

#[test]
fn what_cannot_be_read_is_read_again_by_every_event() {
    let engine = Engine::new(Scripted::new(Manners::default()));
    engine.provider().cloud().unreadable = Some(ErrorClass::Denied);
    assert!(run(&engine, at(0)).published.is_none());
    engine.provider().cloud().unreadable = None;
    assert!(run(&engine, at(1)).published.is_some());
}

#[test]
fn who_is_woken_tries_again_what_was_hopeless() {
    for class in [ErrorClass::Rejected, ErrorClass::Denied, ErrorClass::Quota] {
        let engine = refused(class);
        engine.attach(Arc::new(|_| {}));
        engine.provider().cloud().refuses.clear();
        engine.provider().wake();
        let report = run(&engine, at(1));
        assert!(report.settled(), "{class:?}: {report:#?}");
        assert_eq!(report.applied.len(), 1, "{class:?}");
    }
}
