//! When something is so that takes time. Decides.

use std::time::Duration;

/// When something is so that takes time: the time has passed, and so many calls have met the old state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settle {
    /// On the fake's clock.
    pub after: Duration,
    /// Calls that meet the old state, however much time has passed.
    pub calls: u32,
}

impl Settle {
    /// No time at all.
    pub const AT_ONCE: Self = Self {
        after: Duration::ZERO,
        calls: 0,
    };

    /// After so much time.
    #[must_use]
    pub const fn after(after: Duration) -> Self {
        Self { after, calls: 0 }
    }

    /// After so many calls.
    #[must_use]
    pub const fn calls(calls: u32) -> Self {
        Self {
            after: Duration::ZERO,
            calls,
        }
    }
}
