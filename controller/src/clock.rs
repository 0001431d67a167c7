//! The clock and the dice: the only place that reads them (Reads). Whatever decides takes time and chance as values.
//!
//! A test can put the clock forward: what waits for a time then has it at once, and what takes time goes on as it was.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::watch;

/// The time of this process.
#[derive(Clone, Debug)]
pub struct Clock {
    /// How far it was put forward.
    ahead: watch::Sender<Duration>,
}

impl Default for Clock {
    fn default() -> Self {
        Self {
            ahead: watch::Sender::new(Duration::ZERO),
        }
    }
}

impl Clock {
    /// The time of day.
    #[expect(
        clippy::disallowed_methods,
        reason = "the edge: everything else takes the time as a value"
    )]
    pub fn now(&self) -> Timestamp {
        Timestamp::now() + *self.ahead.borrow()
    }

    /// The time that only ever goes forward.
    pub fn instant(&self) -> Instant {
        Instant::now() + *self.ahead.borrow()
    }

    /// Waits.
    pub async fn sleep(&self, time: Duration) {
        self.sleep_until(self.instant() + time).await;
    }

    /// Waits until a time of [`Clock::instant`].
    pub async fn sleep_until(&self, due: Instant) {
        let mut ahead = self.ahead.subscribe();
        loop {
            let left = due.saturating_duration_since(Instant::now() + *ahead.borrow_and_update());
            tokio::select! {
                () = tokio::time::sleep(left) => return,
                // The sender is in our hands.
                _ = ahead.changed() => {}
            }
        }
    }

    /// Puts the clock forward, in all its clones.
    pub fn put_forward(&self, by: Duration) {
        self.ahead.send_modify(|ahead| *ahead += by);
    }
}

/// A number from 0 to 1, so that what happens to many does not happen at once.
pub fn chance() -> f64 {
    fastrand::f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_waits_on_a_clock_that_is_put_forward_waits_no_more() {
        const HOUR: Duration = Duration::from_secs(3600);
        let clock = Clock::default();
        let (before, due) = (clock.now(), clock.instant() + HOUR);
        let waiting = tokio::spawn({
            let clock = clock.clone();
            async move { clock.sleep_until(due).await }
        });
        tokio::task::yield_now().await;
        clock.put_forward(HOUR);
        tokio::time::timeout(Duration::from_secs(10), waiting)
            .await
            .expect("ends at once")
            .expect("no panic");
        assert!(clock.now().duration_since(before) >= HOUR.try_into().expect("fits"));
        let soon = tokio::time::timeout(Duration::from_millis(10), clock.sleep(HOUR)).await;
        assert!(soon.is_err(), "what waits from now on waits its time");
    }
}
