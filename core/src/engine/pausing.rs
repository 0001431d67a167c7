//! What a paused group costs, remembers and gives back.

use super::*;
use crate::{
    error::ErrorClass,
    scripted::{Manners, Scripted, minute, nodes, request, run, serve},
};

fn paused(ask: Ask) -> Request {
    Request {
        paused: true,
        ..request(ask)
    }
}

fn engine() -> Engine<Scripted> {
    Engine::new(Scripted::new(Manners::default()))
}

#[test]
fn a_paused_group_tells_what_it_would_do_and_reads_once() {
    let engine = engine();
    let first = run(&engine, paused(serve(&[("lb", "1")])));
    assert_eq!(
        (first.withheld.len(), first.reads, first.settled()),
        (2, 1, false)
    );
    let again = run(&engine, paused(serve(&[("lb", "1")])));
    assert_eq!(again.withheld, first.withheld);
    assert_eq!(
        engine.provider().cloud().reads,
        1,
        "an event that changes nothing makes no call"
    );
    let more_nodes = Request {
        nodes: nodes(&["a", "b"]),
        ..paused(serve(&[("lb", "2")]))
    };
    assert_eq!(run(&engine, more_nodes).withheld.len(), 2);
    let cloud = engine.provider().cloud();
    assert_eq!((cloud.reads, cloud.writes.len()), (1, 0));
}

#[test]
fn whoever_paused_worked_by_hand_so_resuming_looks() {
    let engine = engine();
    run(&engine, request(serve(&[("lb", "1")])));
    run(&engine, paused(serve(&[("lb", "1")])));
    engine.provider().cloud().objects.remove("lb");
    let report = run(&engine, request(serve(&[("lb", "1")])));
    assert_eq!(report.applied.len(), 1, "{report:#?}");
    assert_eq!(engine.provider().cloud().objects["lb"], "1");
}

#[test]
fn a_pause_does_not_forget_what_is_hopeless() {
    let engine = engine();
    engine
        .provider()
        .cloud()
        .refuses
        .insert("lb".into(), ErrorClass::Denied);
    run(&engine, request(serve(&[("lb", "1")])));
    run(&engine, paused(serve(&[("lb", "1")])));
    let report = run(
        &engine,
        Request {
            now: minute(1),
            ..request(serve(&[("lb", "1")]))
        },
    );
    assert_eq!(report.failures.len(), 1);
    let writes = engine.provider().cloud().writes.clone();
    assert_eq!(
        writes.iter().filter(|name| *name == "lb").count(),
        1,
        "{writes:?}"
    );
}

#[test]
fn a_paused_group_is_gone_when_nothing_is_left_to_remove() {
    for (name, objects, gone) in [
        ("nothing there", vec![], true),
        ("something there", vec!["lb"], false),
        ("retained", vec!["lb", "retain"], true),
    ] {
        let engine = engine();
        let objects = objects
            .into_iter()
            .map(|name| (name.to_owned(), String::new()));
        engine.provider().cloud().objects = objects.collect();
        let report = run(&engine, paused(Ask::Release));
        assert_eq!(report.gone, gone, "{name}: {report:#?}");
        assert!(engine.provider().cloud().writes.is_empty(), "{name}");
    }
}

#[test]
fn a_paused_group_that_cannot_be_read_says_so_and_is_read_again() {
    let engine = engine();
    engine.provider().cloud().unreadable = Some(ErrorClass::Transient);
    let report = run(&engine, paused(serve(&[("lb", "1")])));
    assert_eq!(
        (report.failures.len(), report.published.is_none()),
        (1, true)
    );
    engine.provider().cloud().unreadable = None;
    let report = run(&engine, paused(serve(&[("lb", "1")])));
    assert_eq!((report.failures.len(), report.withheld.len()), (0, 2));
}
