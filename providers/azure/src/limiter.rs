//! Which of Azure's buckets a call counts against, and what an answer says about them (Decides; the waiting is in [`Limiter`]).
//!
//! Azure Resource Manager counts reads, writes and deletes of each principal apart, per subscription and region, and the network's
//! provider counts all that changes something once more. Answers say what is left. Ours ([`evenkeel_core::limiter`]) fill more
//! slowly than Azure's, so that the subscription's owner is not shut out; where less than a fifth of the most that was ever left is
//! left, they fill half as fast, and where Azure says for how long, they are shut for so long. Polls are reads.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use evenkeel_core::limiter::{Bucket, Line};

use crate::{
    call::{Call, Verb},
    client::Rates,
};

/// What is left of this part of the most that was ever left is little.
const LITTLE: f64 = 0.2;

/// The headers that say what is left begin so; then comes what is counted: `reads`, `global-writes`.
const LEFT: &str = "x-ms-ratelimit-remaining-subscription-";

/// The buckets of one subscription and principal.
#[derive(Debug)]
pub(crate) struct Limiter {
    reads: Line,
    writes: Line,
    deletes: Line,
    network_writes: Line,
    /// The most that each header ever said.
    most: Mutex<BTreeMap<String, f64>>,
}

impl Limiter {
    /// Full buckets.
    pub(crate) fn new(rates: Rates) -> Self {
        Self {
            reads: Line::new(rates.reads),
            writes: Line::new(rates.writes),
            deletes: Line::new(rates.deletes),
            network_writes: Line::new(rates.network_writes),
            most: Mutex::default(),
        }
    }

    /// The buckets that a call takes from, the narrowest first; none for what is not Azure Resource Manager's.
    fn lines(&self, call: &Call) -> (&Line, Option<&Line>) {
        match call.verb {
            Verb::Get | Verb::List | Verb::Ask => (&self.reads, None),
            Verb::Put => (&self.writes, Some(&self.network_writes)),
            Verb::Delete => (&self.deletes, Some(&self.network_writes)),
        }
    }

    /// Waits until a call may be made.
    pub(crate) async fn turn(&self, call: &Call) {
        let sleep_until = |at: Instant| tokio::time::sleep_until(at.into());
        let (narrow, wide) = self.lines(call);
        narrow.turn(call.urgency, sleep_until).await;
        if let Some(wide) = wide {
            wide.turn(call.urgency, sleep_until).await;
        }
    }

    /// Azure said that it was too much, and maybe for how long; not of which bucket.
    pub(crate) fn throttled(&self, call: &Call, after: Option<Duration>) {
        let (narrow, wide) = self.lines(call);
        for line in [Some(narrow), wide].into_iter().flatten() {
            line.with(|bucket, now| match after {
                Some(after) => bucket.close(now + after, now),
                None => bucket.throttled(now),
            });
        }
    }

    /// Azure said what is left.
    pub(crate) fn left<'a>(
        &self,
        call: &Call,
        headers: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) {
        let mut little = None;
        let mut most = self.most.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, left) in headers {
            let Some(left) = name.strip_prefix(LEFT).and(left.parse::<f64>().ok()) else {
                continue;
            };
            let most = most.entry(name.to_owned()).or_insert(left);
            *most = most.max(left);
            little = Some(little.unwrap_or(false) || left < *most * LITTLE);
        }
        if let Some(little) = little {
            let told = |bucket: &mut Bucket, now| bucket.ease(little, now);
            self.lines(call).0.with(told);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use evenkeel_core::limiter::Rate;

    use super::{LEFT, Limiter};
    use crate::{
        call::{Call, POLL, Verb},
        client::Rates,
    };

    fn call(verb: Verb) -> &'static Call {
        Call::of(verb, "Microsoft.Network", "loadBalancers").expect("a call")
    }

    const RATE: Rate = Rate {
        per_second: 0.001,
        burst: 1.0,
    };

    async fn waits(limiter: &Limiter, call: &Call) -> bool {
        let patience = Duration::from_millis(5);
        let turn = tokio::time::timeout(patience, limiter.turn(call)).await;
        turn.is_err()
    }

    #[tokio::test]
    async fn reads_writes_and_deletes_are_counted_apart_and_what_changes_once_more() {
        let limiter = Limiter::new(Rates {
            reads: RATE,
            writes: RATE,
            ..Rates::unlimited()
        });
        limiter.turn(call(Verb::Put)).await;
        assert!(waits(&limiter, call(Verb::Put)).await);
        assert!(!waits(&limiter, call(Verb::Delete)).await);
        assert!(!waits(&limiter, call(Verb::Get)).await);
        assert!(waits(&limiter, &POLL).await, "a poll is a read");
        let limiter = Limiter::new(Rates {
            network_writes: RATE,
            ..Rates::unlimited()
        });
        limiter.turn(call(Verb::Put)).await;
        assert!(waits(&limiter, call(Verb::Delete)).await);
    }

    #[tokio::test]
    async fn while_it_is_shut_only_others_go() {
        let limiter = Limiter::new(Rates::unlimited());
        limiter.throttled(call(Verb::Put), Some(Duration::from_secs(17)));
        assert!(waits(&limiter, call(Verb::Put)).await);
        assert!(!waits(&limiter, call(Verb::Get)).await);
    }

    #[test]
    fn less_than_a_fifth_of_the_most_is_little() {
        let limiter = Limiter::new(Rates::default());
        let rate = |told: &[(&str, &str)]| {
            let name = |end: &str| format!("{LEFT}{end}");
            let told: Vec<_> = told.iter().map(|(end, left)| (name(end), *left)).collect();
            let told = told.iter().map(|(name, left)| (&**name, *left));
            limiter.left(call(Verb::Put), told);
            limiter.writes.with(|bucket, _| bucket.per_second())
        };
        for (told, expected) in [
            (&[("writes", "199"), ("global-writes", "2999")][..], 8.0),
            (&[("writes", "39"), ("global-writes", "2900")], 4.0),
            (&[], 4.0),
            (&[("writes", "banana")], 4.0),
            (&[("writes", "40"), ("global-writes", "2800")], 8.0),
            (&[("writes", "199"), ("global-writes", "599")], 4.0),
        ] {
            assert_eq!(rate(told), expected, "{told:?}");
        }
        assert_eq!(limiter.reads.with(|bucket, _| bucket.per_second()), 20.0);
    }
}
