//! When a group is worked on again (Decides).
//!
//! Failures grow a delay per group, an edit or a success ends it; what a provider waits for is no failure. Besides, each
//! group is looked at every now and then, at its own time, so that what changed behind our back is found.

use std::time::Duration;

use evenkeel_core::{backoff::Backoff, engine::Report, error::ErrorClass};
use jiff::{SignedDuration, Timestamp};

use crate::queue::Why;

/// How much a resync is moved at most, as a part of its period: so that not all groups are looked at at once.
const SPREAD: f64 = 0.2;

/// What one group remembers about its tries.
#[derive(Clone, Debug, Default)]
pub struct Retry {
    backoff: Backoff,
    look_at: Option<Timestamp>,
}

impl Retry {
    /// Tries so far that failed, since the last success.
    pub fn attempts(&self) -> u32 {
        self.backoff.failures()
    }

    /// A run begins. Returns whether the cloud is to be looked at.
    pub fn begin(&mut self, why: Why, now: Timestamp) -> bool {
        if why.changed {
            self.backoff.succeeded();
        }
        why.look || self.look_at.is_some_and(|at| at <= now)
    }

    /// A run has ended. Returns when the group is worked on again. `trouble` is what failed besides what is reported.
    pub fn ended(
        &mut self,
        report: &Report,
        trouble: bool,
        looked: bool,
        resync: Duration,
        now: Timestamp,
        chance: f64,
    ) -> Timestamp {
        let spread = resync.mul_f64(1.0 - SPREAD + 2.0 * SPREAD * chance);
        if looked || self.look_at.is_none() {
            self.look_at = Some(after(now, spread));
        }
        let failed = report.failures.iter().map(|failure| failure.class);
        let again = match failed.max_by_key(urgency) {
            Some(class) => Some(self.backoff.failed_as(class, now, chance)),
            None if trouble => Some(self.backoff.failed(now, chance)),
            None => {
                self.backoff.succeeded();
                evenkeel_core::engine::next_look(report).map(|wait| after(now, wait))
            }
        };
        // Pods that wait do not wait for what failed, too.
        let judge = report.judge_again.map(|wait| after(now, wait));
        let again = again.into_iter().chain(judge).min();
        let look = self.look_at.unwrap_or(Timestamp::MAX);
        again.map_or(look, |again| again.min(look))
    }
}

/// Of several failures the one that passes soonest says when to come back.
fn urgency(class: &ErrorClass) -> u8 {
    match class {
        ErrorClass::Transient | ErrorClass::Conflict => 2,
        ErrorClass::Throttled { .. } => 1,
        ErrorClass::Rejected | ErrorClass::Denied | ErrorClass::Quota => 0,
    }
}

fn after(now: Timestamp, wait: Duration) -> Timestamp {
    let wait = SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX);
    now.checked_add(wait).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use evenkeel_core::{
        digest::Digest,
        error::CloudError,
        failure::Failure,
        ids::ResourceId,
        plan::{Action, Change, Until, Wait},
    };

    use super::*;

    const RESYNC: Duration = Duration::from_secs(600);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).expect("a time")
    }

    fn failed(class: ErrorClass) -> Report {
        let change = Change::new(Action::Create, "listener", ResourceId::new("ls"), "");
        let failure = Failure::new(
            change,
            &CloudError::new(class, "op", "why"),
            Digest::of(""),
            at(0),
        );
        Report {
            failures: vec![failure],
            ..Report::default()
        }
    }

    fn waits(seconds: u64) -> Report {
        let until = Until::After(Duration::from_secs(seconds));
        Report {
            waits: vec![Wait {
                id: ResourceId::new("lb"),
                what: "w".into(),
                until,
            }],
            ..Report::default()
        }
    }

    #[test]
    fn when_it_is_tried_again() {
        for (name, reports, want) in [
            ("all is well: the next look", vec![Report::default()], 600),
            ("a wait", vec![waits(7)], 7),
            (
                "a wait is no failure",
                vec![waits(7), waits(7), waits(7)],
                7,
            ),
            ("a first failure", vec![failed(ErrorClass::Transient)], 5),
            (
                "failures grow",
                vec![failed(ErrorClass::Transient), failed(ErrorClass::Transient)],
                10,
            ),
            (
                "a success ends them",
                vec![
                    failed(ErrorClass::Transient),
                    Report::default(),
                    failed(ErrorClass::Transient),
                ],
                5,
            ),
            (
                "what only a person can end",
                vec![failed(ErrorClass::Denied)],
                375,
            ),
            (
                "the cloud says when",
                vec![failed(ErrorClass::Throttled {
                    after: Some(Duration::from_secs(42)),
                })],
                46,
            ),
        ] {
            let mut retry = Retry::default();
            let mut next = at(0);
            for report in &reports {
                retry.begin(Why::WORK, at(0));
                next = retry.ended(report, false, false, RESYNC, at(0), 0.5);
            }
            assert_eq!(next.duration_since(at(0)).as_secs(), want, "{name}");
        }
    }

    #[test]
    fn an_edit_starts_afresh() {
        let mut retry = Retry::default();
        for _ in 0..5 {
            retry.begin(Why::WORK, at(0));
            retry.ended(
                &failed(ErrorClass::Transient),
                false,
                false,
                RESYNC,
                at(0),
                0.5,
            );
        }
        assert_eq!(retry.attempts(), 5);
        retry.begin(Why::CHANGED, at(0));
        let next = retry.ended(&Report::default(), true, false, RESYNC, at(0), 0.5);
        assert_eq!(next, at(5), "trouble beside the report is a failure too");
    }

    #[test]
    fn looks_come_at_their_own_time_whatever_happens_between() {
        let mut retry = Retry::default();
        assert!(
            !retry.begin(Why::CHANGED, at(0)),
            "the first run has the first look of the start"
        );
        assert_eq!(
            retry.ended(&Report::default(), false, false, RESYNC, at(0), 1.0),
            at(720),
            "a fifth later"
        );
        assert!(!retry.begin(Why::WORK, at(500)));
        assert_eq!(
            retry.ended(&Report::default(), false, false, RESYNC, at(500), 0.0),
            at(720),
            "not put off by other runs"
        );
        assert!(retry.begin(Why::WORK, at(720)));
        assert_eq!(
            retry.ended(&Report::default(), false, true, RESYNC, at(720), 0.0),
            at(1200),
            "a fifth earlier"
        );
    }
}
