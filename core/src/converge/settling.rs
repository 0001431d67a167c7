//! That a run ends whatever the cloud shows and however the plan is made, and tells what is in the way.

use crate::{
    engine::{Ask, Engine, Report, Request, next_look},
    error::ErrorClass,
    scripted::{Manners, Scripted, minute, nodes, request, run, serve},
};

fn engine(manners: Manners) -> Engine<Scripted> {
    Engine::new(Scripted::new(manners))
}

fn write_count(engine: &Engine<Scripted>, name: &str) -> usize {
    let cloud = engine.provider().cloud();
    cloud
        .writes
        .iter()
        .filter(|written| *written == name)
        .count()
}

#[test]
fn what_was_removed_and_is_still_shown_is_waited_for() {
    let engine = engine(Manners::default());
    let objects = [("lb".to_owned(), "1".to_owned())];
    engine.provider().cloud().objects = objects.clone().into();
    engine.provider().cloud().shown = Some(objects.into());
    let report = run(&engine, request(Ask::Release));
    assert_eq!(
        (write_count(&engine, "lb"), report.gone),
        (1, false),
        "{report:#?}"
    );
    assert!(next_look(&report).is_some(), "nobody will tell it");
    engine.provider().cloud().shown = None;
    assert!(run(&engine, request(Ask::Release)).gone);
    assert_eq!(write_count(&engine, "lb"), 1);
}

#[test]
fn a_plan_that_contradicts_its_effects_writes_once_and_is_reported() {
    let engine = engine(Manners {
        forgets_effects: true,
        ..Manners::default()
    });
    let report = run(&engine, request(serve(&[("lb", "1")])));
    assert_eq!(
        (write_count(&engine, "lb"), write_count(&engine, "targets")),
        (1, 1)
    );
    let codes: Vec<_> = report
        .failures
        .iter()
        .map(|failure| failure.operation)
        .collect();
    assert_eq!(codes, ["plan"]);
}

/// A Service whose object is refused once, then the nodes change and the refusal is over for what they became.
fn refused_then_nodes_change(manners: Manners) -> (Report, Report, Report) {
    let engine = engine(manners);
    engine
        .provider()
        .cloud()
        .refuses
        .insert("targets".into(), ErrorClass::Quota);
    let refused = run(&engine, request(serve(&[])));
    let held = run(
        &engine,
        Request {
            now: minute(1),
            ..request(serve(&[]))
        },
    );
    assert_eq!(
        write_count(&engine, "targets"),
        1,
        "a hopeless write is not repeated"
    );
    engine.provider().cloud().refuses.clear();
    let later = Request {
        nodes: nodes(&["b"]),
        now: minute(2),
        ..request(serve(&[]))
    };
    (refused, held, run(&engine, later))
}

#[test]
fn a_failure_is_told_while_it_is_in_the_way_and_no_longer() {
    for holds_back in [false, true] {
        let manners = Manners {
            holds_back,
            ..Manners::default()
        };
        let (refused, held, later) = refused_then_nodes_change(manners);
        assert_eq!(
            (refused.failures.len(), held.failures.len()),
            (1, 1),
            "the plan holds back: {holds_back}"
        );
        assert!(!held.settled());
        assert!(
            later.settled(),
            "the plan holds back: {holds_back}: {later:#?}"
        );
    }
}

#[test]
fn what_failed_holds_no_removal_of_others_back_for_want_of_a_fresh_read() {
    let engine = engine(Manners {
        holds_back: true,
        ..Manners::default()
    });
    run(&engine, request(serve(&[("old", "1")])));
    engine
        .provider()
        .cloud()
        .refuses
        .insert("new".into(), ErrorClass::Rejected);
    let report = run(&engine, request(serve(&[("new", "1")])));
    assert_eq!(
        (report.failures.len(), report.waits.len()),
        (1, 0),
        "{report:#?}"
    );
    assert!(!engine.provider().cloud().objects.contains_key("old"));
}
