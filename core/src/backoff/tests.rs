use proptest::prelude::*;

use super::*;

/// In the middle: no jitter.
const MIDDLE: f64 = 0.5;

fn now() -> Timestamp {
    Timestamp::constant(1_700_000_000, 0)
}

fn after(then: Timestamp) -> f64 {
    then.duration_since(now()).as_secs_f64()
}

fn is_near(seconds: f64, want: f64) -> bool {
    (seconds - want).abs() < 1e-6
}

#[track_caller]
fn assert_near(then: Timestamp, want: f64) {
    assert!(is_near(after(then), want), "{} is not {want}", after(then));
}

#[test]
fn delays_double_up_to_five_minutes() {
    let mut backoff = Backoff::default();
    for want in [5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 300.0] {
        assert_near(backoff.failed(now(), MIDDLE), want);
    }
    for _ in 0..100 {
        backoff.failed(now(), MIDDLE);
    }
    assert_near(backoff.failed(now(), MIDDLE), 300.0);
    assert_eq!(backoff.failures(), 109);
}

#[test]
fn jitter_moves_a_delay_by_a_fifth() {
    for (jitter, want) in [
        (0.0, 4.0),
        (0.25, 4.5),
        (1.0, 6.0),
        (-7.0, 4.0),
        (9.0, 6.0),
        (f64::NAN, 5.0),
    ] {
        assert_near(Backoff::default().failed(now(), jitter), want);
    }
}

#[test]
fn success_forgets_everything() {
    let mut backoff = Backoff::default();
    backoff.failed(now(), MIDDLE);
    backoff.hopeless(now(), MIDDLE);
    backoff.succeeded();
    assert_eq!(backoff, Backoff::default());
    assert_near(backoff.failed(now(), MIDDLE), 5.0);
}

#[test]
fn the_slow_lane_stays_within_five_to_fifteen_minutes() {
    for jitter in [0.0, MIDDLE, 1.0] {
        let mut backoff = Backoff::default();
        for _ in 0..20 {
            let delay = after(backoff.hopeless(now(), jitter));
            assert!(
                (299.999..=900.001).contains(&delay),
                "{delay} with jitter {jitter}"
            );
        }
    }
    let mut backoff = Backoff::default();
    assert_near(backoff.hopeless(now(), 0.0), 300.0);
    assert_near(backoff.hopeless(now(), 1.0), 900.0);
}

#[test]
fn a_change_of_lane_starts_at_its_beginning() {
    let mut backoff = Backoff::default();
    for _ in 0..5 {
        backoff.failed(now(), MIDDLE);
    }
    assert_near(backoff.hopeless(now(), MIDDLE), 375.0);
    assert_near(backoff.hopeless(now(), MIDDLE), 750.0);
    assert_near(backoff.failed(now(), MIDDLE), 5.0);
}

#[test]
fn a_delay_that_is_asked_for_is_no_failure() {
    let mut backoff = Backoff::default();
    backoff.failed(now(), MIDDLE);
    assert_near(backoff.asked(now(), Duration::from_secs(7)), 7.0);
    assert_eq!(backoff.failures(), 1);
    assert_near(backoff.failed(now(), MIDDLE), 10.0);
}

#[test]
fn a_failure_goes_to_the_lane_of_its_class() {
    let said = Duration::from_secs(60);
    for (class, jitter, want, failures) in [
        (ErrorClass::Transient, MIDDLE, 5.0, 1),
        (ErrorClass::Conflict, MIDDLE, 5.0, 1),
        (ErrorClass::Throttled { after: None }, MIDDLE, 5.0, 1),
        (ErrorClass::Throttled { after: Some(said) }, 0.0, 60.0, 0),
        (ErrorClass::Throttled { after: Some(said) }, 1.0, 72.0, 0),
        (ErrorClass::Rejected, MIDDLE, 375.0, 1),
        (ErrorClass::Denied, MIDDLE, 375.0, 1),
        (ErrorClass::Quota, MIDDLE, 375.0, 1),
    ] {
        let mut backoff = Backoff::default();
        assert_near(backoff.failed_as(class, now(), jitter), want);
        assert_eq!(backoff.failures(), failures, "{class:?}");
    }
}

#[test]
fn a_try_is_due_when_its_time_has_come() {
    let mut backoff = Backoff::default();
    assert!(backoff.is_due(now()));
    assert_eq!(backoff.next(), None);
    let next = backoff.failed(now(), MIDDLE);
    assert_eq!(backoff.next(), Some(next));
    assert!(!backoff.is_due(now()));
    assert!(!backoff.is_due(next - Duration::from_nanos(1)));
    assert!(backoff.is_due(next));
}

#[test]
fn the_end_of_time_is_no_panic() {
    let mut backoff = Backoff::default();
    assert_eq!(backoff.asked(now(), Duration::MAX), Timestamp::MAX);
    assert_eq!(backoff.failed(Timestamp::MAX, MIDDLE), Timestamp::MAX);
    backoff.failed_as(
        ErrorClass::Throttled {
            after: Some(Duration::MAX),
        },
        now(),
        1.0,
    );
}

proptest! {
    #[test]
    fn a_delay_is_never_shorter_than_four_seconds_nor_longer_than_a_quarter_of_an_hour(
        fates in proptest::collection::vec((any::<bool>(), 0.0..1.0), 1..40),
    ) {
        let mut backoff = Backoff::default();
        for (hopeless, jitter) in fates {
            let next = if hopeless { backoff.hopeless(now(), jitter) } else { backoff.failed(now(), jitter) };
            prop_assert!((3.999..=900.001).contains(&after(next)));
            prop_assert_eq!(backoff.next(), Some(next));
        }
    }
}
