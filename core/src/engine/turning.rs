//! A group that lets others go first.

use futures::FutureExt as _;

use super::*;
use crate::{
    error::ErrorClass,
    scripted::{Manners, Scripted, minute, request, run, serve},
};

fn engine() -> Engine<Scripted> {
    Engine::new(Scripted::new(Manners {
        lets_others: true,
        ..Manners::default()
    }))
}

fn ask() -> Request {
    request(serve(&[("a", "1"), ("b", "1")]))
}

#[test]
fn each_turn_goes_on_where_the_last_ended_and_reads_nothing() {
    let engine = engine();
    for (written, reads) in [("a", 1), ("b", 0), ("targets", 0)] {
        let report = run(&engine, ask());
        let ids: Vec<&str> = report.applied.iter().map(|one| one.id.as_str()).collect();
        assert_eq!((ids, report.reads), (vec![written], reads));
        let last = written == "targets";
        assert_eq!(report.settled(), last, "{written}");
        let next = (!last).then_some(Duration::ZERO);
        assert_eq!(next_look(&report), next, "{written}");
    }
    assert!(run(&engine, ask()).applied.is_empty());
}

#[test]
fn a_repair_in_turns_is_one() {
    let engine = engine();
    while !run(&engine, ask()).settled() {}
    engine.provider().cloud().objects.clear();
    for (written, look) in [("a", true), ("b", false), ("targets", false)] {
        let report = run(
            &engine,
            Request {
                look,
                now: minute(1),
                ..ask()
            },
        );
        assert!(report.repaired, "{written}");
        assert_eq!(report.drifted.len(), 1, "{written}");
    }
}

#[test]
fn who_failed_does_not_wait_for_others() {
    let engine = engine();
    let refuse = [("a".to_owned(), ErrorClass::Transient)];
    engine.provider().cloud().refuses = refuse.into();
    let report = run(&engine, ask());
    assert!(report.applied.is_empty());
    assert!(report.waits.is_empty(), "{report:#?}");
    assert_eq!(report.failures.len(), 1);
}

#[test]
fn a_rehearsal_waits_for_nobody() {
    let engine = engine();
    let rehearsal = engine
        .rehearse(&ask())
        .now_or_never()
        .expect("it answers at once")
        .expect("it answers");
    assert_eq!((rehearsal.waves.len(), rehearsal.waits.len()), (3, 0));
}
