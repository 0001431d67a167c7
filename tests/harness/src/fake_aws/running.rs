//! Time that passes by itself on the fake, faster than on the wall. Reads the clock.

use std::time::Instant;

use jiff::Timestamp;

/// Since when it passes, and how fast.
#[derive(Clone, Copy, Debug)]
pub(super) struct Running {
    began: Instant,
    at: Timestamp,
    factor: u32,
}

impl Running {
    pub(super) fn from(at: Timestamp, factor: u32) -> Self {
        Self {
            began: Instant::now(),
            at,
            factor,
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.at + self.began.elapsed() * self.factor
    }
}
