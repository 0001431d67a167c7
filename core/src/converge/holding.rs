//! What may be destroyed after the lead was taken from a leader that did not give it away.

use std::time::{Duration, Instant};

use super::{Action, Change, Plan, Until, hold_destroys};
use crate::{
    engine::{Ask, Engine, Report, Request, next_look},
    scripted::{Manners, Scripted, request, run, serve},
    ticket::Term,
};

const LEFT: Duration = Duration::from_secs(10);

#[test]
fn only_what_destroys_is_held_and_only_while_it_has_to_be() {
    for (name, action, left, held) in [
        ("create", Action::Create, Some(LEFT), false),
        ("change", Action::Change, Some(LEFT), false),
        ("replace", Action::Replace, Some(LEFT), true),
        ("destroy", Action::Destroy, Some(LEFT), true),
        ("destroy when it is over", Action::Destroy, None, false),
    ] {
        let mut plan = Plan::empty();
        plan.step((), Change::new(action, "listener", "ls/TCP/80".into(), ""));
        hold_destroys(&mut plan, left);
        assert_eq!(
            (plan.steps.len(), plan.waits.len()),
            (usize::from(!held), usize::from(held)),
            "{name}"
        );
        if let Some(wait) = plan.waits.first() {
            assert_eq!(wait.until, Until::After(LEFT), "{name}");
            assert!(wait.what.contains("listener ls/TCP/80"), "{name}: {wait:?}");
        }
    }
}

fn after_a_takeover(ask: Ask) -> Request {
    let term = Term::endless();
    term.hold_destroys(Instant::now() + Duration::from_secs(3600));
    Request {
        ticket: term.ticket(),
        ..request(ask)
    }
}

fn waits_and_comes_back(report: &Report) {
    assert_eq!(
        (report.waits.len(), report.failures.len(), report.gone),
        (1, 0, false),
        "{report:#?}"
    );
    assert!(next_look(report).is_some(), "nobody will tell it");
}

#[test]
fn a_release_waits_and_then_goes_through() {
    let engine = Engine::new(Scripted::new(Manners::default()));
    engine.provider().cloud().objects = [("lb".to_owned(), "1".to_owned())].into();
    waits_and_comes_back(&run(&engine, after_a_takeover(Ask::Release)));
    assert!(engine.provider().cloud().writes.is_empty());
    assert!(run(&engine, request(Ask::Release)).gone);
}

#[test]
fn what_is_added_is_added_at_once_and_what_goes_waits() {
    let engine = Engine::new(Scripted::new(Manners::default()));
    run(&engine, request(serve(&[("old", "1")])));
    waits_and_comes_back(&run(&engine, after_a_takeover(serve(&[("new", "1")]))));
    let there = |name: &str| engine.provider().cloud().objects.contains_key(name);
    assert!(there("new") && there("old"));
    let report = run(&engine, request(serve(&[("new", "1")])));
    assert!(
        report.settled() && there("new") && !there("old"),
        "{report:#?}"
    );
}
