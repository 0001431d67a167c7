//! Gathering what comes in bursts (Decides).

use std::time::{Duration, Instant};

/// When changes that come in bursts are acted on: after a quiet moment, and never later than a limit.
#[derive(Clone, Debug)]
pub struct Debounce {
    quiet: Duration,
    longest: Duration,
    pending: Option<(Instant, Instant)>,
}

impl Debounce {
    /// Acts after `quiet` without a change, and at most `longest` after the first.
    pub fn new(quiet: Duration, longest: Duration) -> Self {
        Self {
            quiet,
            longest,
            pending: None,
        }
    }

    /// Something changed.
    pub fn touch(&mut self, now: Instant) {
        let first = self.pending.map_or(now, |(first, _)| first);
        self.pending = Some((first, now));
    }

    /// When to act; None when nothing changed.
    pub fn due(&self) -> Option<Instant> {
        self.pending
            .map(|(first, last)| (last + self.quiet).min(first + self.longest))
    }

    /// It was acted on.
    pub fn clear(&mut self) {
        self.pending = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_gathered_but_not_for_ever() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut debounce = Debounce::new(Duration::from_secs(2), Duration::from_secs(10));
        assert_eq!(debounce.due(), None);
        debounce.touch(at(0));
        assert_eq!(debounce.due(), Some(at(2)));
        for second in 1..=9 {
            debounce.touch(at(second));
        }
        assert_eq!(
            debounce.due(),
            Some(at(10)),
            "not later than ten seconds after the first"
        );
        debounce.clear();
        assert_eq!(debounce.due(), None);
        debounce.touch(at(60));
        assert_eq!(debounce.due(), Some(at(62)));
    }
}
