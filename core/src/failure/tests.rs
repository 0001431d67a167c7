//! What is remembered of failures, and for how long.

use super::*;
use crate::plan::Action;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).expect("a time")
}

fn failure(class: ErrorClass, desired: &str, seconds: i64) -> Failure {
    let change = Change::new(Action::Create, "listener", "listener/443".into(), "");
    let error = CloudError::new(class, "CreateListener", "refused");
    Failure::new(change, &error, Digest::of(desired), at(seconds))
}

fn plan(steps: &[&'static str]) -> Plan<&'static str> {
    let mut plan = Plan::empty();
    for step in steps {
        plan.step(
            *step,
            Change::new(Action::Create, "listener", (*step).into(), ""),
        );
    }
    plan
}

#[test]
fn only_hopeless_writes_for_the_same_desired_state_are_held_and_not_for_ever() {
    let hold = HOLD.as_secs();
    for (class, desired, later, held) in [
        (ErrorClass::Rejected, "one", 0, true),
        (ErrorClass::Denied, "one", 1, true),
        (ErrorClass::Quota, "one", hold - 1, true),
        (ErrorClass::Rejected, "one", hold, false),
        (ErrorClass::Rejected, "other", 0, false),
        (ErrorClass::Transient, "one", 0, false),
        (ErrorClass::Conflict, "one", 0, false),
        (ErrorClass::Throttled { after: None }, "one", 0, false),
    ] {
        let mut failures = Failures::default();
        failures.record(&"step", failure(class, "one", 100));
        assert!(
            failures.holds(&"step").is_some(),
            "{class:?}: not twice in one run"
        );
        failures.begin(Digest::of(desired), at(100 + later));
        assert_eq!(
            failures.holds(&"step").is_some(),
            held,
            "{class:?}, {desired}, {later} s later"
        );
        assert_eq!(failures.is_empty(), !held);
    }
}

#[test]
fn what_is_held_back_leaves_the_plan_and_nothing_else_does() {
    let mut failures = Failures::default();
    failures.record(&"b", failure(ErrorClass::Rejected, "one", 0));
    failures.record(&"gone", failure(ErrorClass::Rejected, "one", 0));
    let mut plan = plan(&["a", "b", "c"]);
    let held = failures.hold_back(&mut plan);
    let left: Vec<_> = plan.steps.iter().map(|planned| planned.step).collect();
    assert_eq!(left, ["a", "c"]);
    assert_eq!(
        held.len(),
        1,
        "a failure of a step that nobody plans any more is in nobody's way: {held:?}"
    );
}

#[test]
fn failures_in_a_row_are_counted_and_the_last_one_is_kept() {
    let mut failures = Failures::default();
    failures.record(&"step", failure(ErrorClass::Rejected, "one", 1));
    failures.record(&"step", failure(ErrorClass::Quota, "two", 2));
    failures.record(&"step", failure(ErrorClass::Denied, "three", 3));
    let known = failures.holds(&"step").expect("recorded");
    assert_eq!(
        (known.times, known.class, known.at),
        (3, ErrorClass::Denied, at(3))
    );
    assert_eq!(known.desired, Digest::of("three"));
    assert_eq!(failures.iter().count(), 1);
}

#[test]
fn what_was_the_providers_fault_is_tried_again_at_once() {
    for (fault, held) in [
        (None, true),
        (Some(ProviderFault::CredentialsExpired), false),
    ] {
        let mut failures = Failures::default();
        let failure = Failure {
            of_provider: fault,
            ..failure(ErrorClass::Denied, "one", 0)
        };
        failures.record(&"step", failure);
        failures.begin(Digest::of("one"), at(1));
        assert_eq!(failures.holds(&"step").is_some(), held, "{fault:?}");
    }
}

#[test]
fn a_class_is_forgotten_alone() {
    let mut failures = Failures::default();
    failures.record(&"a", failure(ErrorClass::Conflict, "one", 0));
    failures.record(&"b", failure(ErrorClass::Rejected, "one", 0));
    failures.forget(ErrorClass::Conflict);
    assert!(failures.holds(&"a").is_none());
    assert!(failures.holds(&"b").is_some());
}
