//! Moments that two processes of one machine understand. Reads the clock.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// A moment of the machine's monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment {
    milliseconds: u64,
}

impl Moment {
    /// The moment that is written so.
    pub(crate) fn of_milliseconds(milliseconds: u64) -> Self {
        Self { milliseconds }
    }

    /// This moment.
    pub(crate) fn now() -> Self {
        let now = clock_gettime(ClockId::Monotonic);
        let part = |number: i64, unit: u64| u64::try_from(number).unwrap_or(0) * unit;
        Self {
            milliseconds: part(now.tv_sec, 1_000) + part(now.tv_nsec, 1) / 1_000_000,
        }
    }

    /// The moment so much later.
    pub(crate) fn plus(self, time: Duration) -> Self {
        let time = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self {
            milliseconds: self.milliseconds.saturating_add(time),
        }
    }

    pub(crate) fn milliseconds(self) -> u64 {
        self.milliseconds
    }

    /// Whether it is over.
    pub(crate) fn has_passed(self) -> bool {
        self <= Self::now()
    }
}
