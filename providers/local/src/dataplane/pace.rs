//! When probes look. Decides: no IO, no clock; chance comes in as a seed.
//!
//! A few probes that start together look at once. Of very many, as after a restart, the rest follow at a steady rate,
//! and the second look of each comes after a part of its interval, so that they stand spread over it from then on.

use std::time::Duration;

/// Probes that start at once.
const BURST: u32 = 256;
/// Time between two further ones: 2,000 a second.
const GAP: Duration = Duration::from_micros(500);

/// Lets probes start: a burst at once, then one after the other.
#[derive(Debug, Default)]
pub(crate) struct Starts {
    /// When the burst would be whole again.
    whole: Duration,
}

impl Starts {
    /// How long a probe that is wanted `now` waits for its first look. `now` is any time that only grows.
    pub(crate) fn delay(&mut self, now: Duration) -> Duration {
        self.whole = self.whole.max(now) + GAP;
        (self.whole - now).saturating_sub(GAP * BURST)
    }
}

/// The time between the looks of one probe.
#[derive(Clone, Debug)]
pub(crate) struct Spread {
    random: fastrand::Rng,
    looked: bool,
}

impl Spread {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            random: fastrand::Rng::with_seed(seed),
            looked: false,
        }
    }

    /// From the start of one look to the start of the next: after the first anywhere in the interval, afterwards the
    /// interval, a tenth more or less.
    pub(crate) fn next(&mut self, interval: Duration) -> Duration {
        let part = if std::mem::replace(&mut self.looked, true) {
            0.9 + 0.2 * self.random.f64()
        } else {
            0.1 + 0.9 * self.random.f64()
        };
        interval.mul_f64(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_start_at_once_and_many_one_after_the_other() {
        let mut starts = Starts::default();
        let at = Duration::from_secs(7);
        let delays: Vec<Duration> = (0..10_000).map(|_| starts.delay(at)).collect();
        assert!(delays[..256].iter().all(Duration::is_zero));
        assert_eq!(delays[256], GAP);
        assert_eq!(delays[9_999], GAP * (10_000 - 256));
        let later = at + Duration::from_secs(60);
        assert_eq!(starts.delay(later), Duration::ZERO, "it recovers");
    }

    #[test]
    fn looks_that_began_together_stand_spread() {
        let interval = Duration::from_secs(1);
        let mut tenths = [0; 10];
        for seed in 0..10_000 {
            let mut spread = Spread::new(seed);
            let second = spread.next(interval);
            assert!(second >= interval / 10 && second <= interval, "{second:?}");
            let mut at = second;
            for _ in 0..5 {
                let next = spread.next(interval);
                assert!(
                    next >= interval * 9 / 10 && next <= interval * 11 / 10,
                    "{next:?}"
                );
                at += next;
            }
            tenths[at.subsec_millis() as usize / 100] += 1;
        }
        assert!(
            tenths.iter().all(|count| (800..1_200).contains(count)),
            "{tenths:?}"
        );
    }

    #[test]
    fn the_same_seed_gives_the_same_times() {
        let times = |seed| {
            let mut spread = Spread::new(seed);
            [(); 4].map(|()| spread.next(Duration::from_secs(2)))
        };
        assert_eq!(times(5), times(5));
        assert_ne!(times(5), times(6));
    }
}
