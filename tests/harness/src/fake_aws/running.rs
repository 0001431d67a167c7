//! Time that passes by itself on the fake, faster than on the wall. Reads the clock.

use std::time::Instant;

use jiff::Timestamp;

/// Since when it passes, and how fast.
#[derive(Clone, Copy, Debug)]
pub(super) struct Running {
    began: Instant,
    at: Timestamp,
    wall: Timestamp,
    factor: u32,
    /// How fast it passes for those who ask.
    theirs: u32,
}

impl Running {
    pub(super) fn from(at: Timestamp, wall: Timestamp, factor: u32, theirs: u32) -> Self {
        Self {
            began: Instant::now(),
            at,
            wall,
            factor,
            theirs,
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.at + self.began.elapsed() * self.factor
    }

    /// What the clock on the wall shows to those who ask.
    pub(super) fn wall(&self) -> Timestamp {
        self.wall + self.began.elapsed() * self.theirs
    }
}
