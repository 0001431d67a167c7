//! When a Service is tried again (Decides).
//!
//! One [`Backoff`] per Service. Failures that may pass double the delay from 5 seconds to 5 minutes; failures that
//! only a person can end go to a slow lane of 5 to 15 minutes; a delay that a provider asks for is kept as it is and is no
//! failure. Time and jitter come in as arguments.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::error::ErrorClass;

#[cfg(test)]
mod tests;

/// The first delay and the longest; both before jitter.
const QUICK: (f64, f64) = (5.0, 300.0);
/// The same of the slow lane: with jitter they reach from 5 minutes to 15.
const SLOW: (f64, f64) = (375.0, 750.0);
/// The largest part of a delay that jitter adds or takes.
const JITTER: f64 = 0.2;

/// What one Service's failures add up to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backoff {
    failures: u32,
    hopeless: bool,
    next: Option<Timestamp>,
}

impl Backoff {
    /// Failures since the last success.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// When the next try is due; None when nothing holds it back.
    pub fn next(&self) -> Option<Timestamp> {
        self.next
    }

    /// Whether a try may start.
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.next.is_none_or(|next| next <= now)
    }

    /// A failure that may pass. `jitter` is from 0 (earliest) to 1; the result is when to try again.
    pub fn failed(&mut self, now: Timestamp, jitter: f64) -> Timestamp {
        self.count(false, now, jitter)
    }

    /// A failure that trying again does not end: something has to change first.
    pub fn hopeless(&mut self, now: Timestamp, jitter: f64) -> Timestamp {
        self.count(true, now, jitter)
    }

    /// A failure by its class. Where a cloud says when to come back, that is kept; jitter only makes it later, so that
    /// not all come back at once.
    pub fn failed_as(&mut self, class: ErrorClass, now: Timestamp, jitter: f64) -> Timestamp {
        match class {
            ErrorClass::Throttled { after: Some(after) } => {
                let later = after.as_secs_f64() * (1.0 + JITTER * part(jitter));
                self.asked(
                    now,
                    Duration::try_from_secs_f64(later).unwrap_or(Duration::MAX),
                )
            }
            class if class.is_hopeless() => self.hopeless(now, jitter),
            _ => self.failed(now, jitter),
        }
    }

    /// A provider asks for this delay: it waits for something. No failure, and no success either.
    pub fn asked(&mut self, now: Timestamp, after: Duration) -> Timestamp {
        let after = SignedDuration::try_from(after).unwrap_or(SignedDuration::MAX);
        // Past the end of time is never, which the last instant says well enough.
        let next = now.checked_add(after).unwrap_or(Timestamp::MAX);
        self.next = Some(next);
        next
    }

    /// All is well, or the user changed something: the past no longer counts.
    pub fn succeeded(&mut self) {
        *self = Self::default();
    }

    fn count(&mut self, hopeless: bool, now: Timestamp, jitter: f64) -> Timestamp {
        // Each lane starts at its own beginning.
        if self.hopeless != hopeless {
            self.failures = 0;
            self.hopeless = hopeless;
        }
        let (first, longest) = if hopeless { SLOW } else { QUICK };
        // 2^16 times the first delay is beyond the longest of both lanes.
        let doubled = first * f64::from(1_u32 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        let delay = doubled.min(longest) * (1.0 - JITTER + 2.0 * JITTER * part(jitter));
        self.asked(now, Duration::from_secs_f64(delay))
    }
}

/// A jitter within 0 to 1, whatever was given.
fn part(jitter: f64) -> f64 {
    if jitter.is_nan() {
        0.5
    } else {
        jitter.clamp(0.0, 1.0)
    }
}
