//! How many calls a second a cloud is asked: buckets as clouds have them, shared by all groups (Decides; [`Line`] reads the clock,
//! and waits with its caller's timer).
//!
//! A cloud counts calls per account, and others draw on the same buckets. Each of ours halves its rate when the cloud says that it
//! is too much, and raises it again by a tenth for each minute of demand in which it said nothing, never beyond where it began. A
//! cloud that says for how long it wants to hear nothing has that, and one that says what is left is asked more slowly when that is
//! little. Where calls queue, what removes goes before what creates, and sweeps come last. Which calls share a bucket, and what an
//! answer says about it, each provider knows of its cloud.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    future::poll_fn,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
    time::{Duration, Instant},
};

/// Who goes first where calls queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Urgency {
    /// What removes, what moves targets (nodes come and go), and what ends a call that has begun.
    First,
    /// What a group needs to be served.
    Group,
    /// What looks whether all is well.
    Sweep,
}

/// How full a bucket can be, and how fast it fills.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Calls a second.
    pub per_second: f64,
    /// Calls at once after a rest.
    pub burst: f64,
}

impl Rate {
    /// As good as no limit, for an emulator.
    pub const UNLIMITED: Self = Self {
        per_second: 1e6,
        burst: 1e6,
    };

    /// The same at another number of calls a second: a rest is worth as many seconds as before.
    #[must_use]
    pub fn at(self, per_second: f64) -> Self {
        Self {
            per_second,
            // A bucket must hold the one call that takes its turn.
            burst: (self.burst / self.per_second * per_second).max(1.0),
        }
    }
}

/// For this long after a halving further complaints are about calls that were sent before it.
const HALVED: Duration = Duration::from_secs(1);

/// How long the cloud must have said nothing before a rate is raised.
const QUIET: Duration = Duration::from_secs(60);

/// The least that a rate falls to, as a part of where it began.
const LEAST: f64 = 1.0 / 16.0;

/// How fast a bucket fills while little is left in the cloud's.
const EASED: f64 = 0.5;

/// A place in a queue: the smaller goes first.
pub type Place = (Urgency, u64);

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Yours; the call is counted.
    Now,
    /// Yours, at this time.
    At(Instant),
    /// Not yours: others go before.
    Later,
}

/// One class of calls.
#[derive(Debug)]
pub struct Bucket {
    begun: Rate,
    per_second: f64,
    eased: bool,
    tokens: f64,
    /// Until when what came in is counted; nothing comes in before it.
    filled_at: Instant,
    /// When the rate was last changed, or began.
    changed_at: Instant,
    halved_at: Option<Instant>,
    waiting: BTreeSet<Place>,
    joined: u64,
}

impl Bucket {
    /// A full bucket.
    pub fn new(rate: Rate, now: Instant) -> Self {
        Self {
            begun: rate,
            per_second: rate.per_second,
            eased: false,
            tokens: rate.burst,
            filled_at: now,
            changed_at: now,
            halved_at: None,
            waiting: BTreeSet::new(),
            joined: 0,
        }
    }

    /// The rate that it fills at, calls a second.
    pub fn per_second(&self) -> f64 {
        match self.eased {
            true => self.per_second * EASED,
            false => self.per_second,
        }
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Takes a place in the queue.
    pub fn join(&mut self, urgency: Urgency) -> Place {
        let place = (urgency, self.joined);
        self.joined += 1;
        self.waiting.insert(place);
        place
    }

    /// Gives a place up, whether its turn came or not.
    pub fn leave(&mut self, place: Place) {
        self.waiting.remove(&place);
    }

    /// Whose turn it is. With [`Turn::Now`] the place is given up.
    pub fn ask(&mut self, place: Place, now: Instant) -> Turn {
        self.fill(now);
        if self.waiting.first().is_some_and(|first| *first < place) {
            return Turn::Later;
        }
        if self.tokens >= 1.0 && self.filled_at <= now {
            self.tokens -= 1.0;
            self.waiting.remove(&place);
            return Turn::Now;
        }
        self.raise(now);
        // Rounded up: a call that came a nanosecond early would find the bucket empty once more.
        let missing = (1.0 - self.tokens).max(0.0) / self.per_second();
        let from = self.filled_at.max(now);
        Turn::At(from + Duration::from_secs_f64(missing) + Duration::from_micros(1))
    }

    /// The cloud said that it was too much.
    pub fn throttled(&mut self, now: Instant) {
        self.fill(now);
        if self.halved_at.is_some_and(|at| now < at + HALVED) {
            return;
        }
        self.halved_at = Some(now);
        self.changed_at = now;
        self.tokens = 0.0;
        self.per_second = (self.per_second / 2.0).max(self.begun.per_second * LEAST);
    }

    /// The cloud said that it wants to hear nothing until then. One call goes then, the others at the rate after it.
    pub fn close(&mut self, until: Instant, now: Instant) {
        self.fill(now);
        self.tokens = self.tokens.min(1.0);
        self.filled_at = self.filled_at.max(until);
    }

    /// The cloud said what is left in its bucket, and whether that is little.
    pub fn ease(&mut self, little: bool, now: Instant) {
        self.fill(now);
        self.eased = little;
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.filled_at).as_secs_f64();
        self.tokens = (self.tokens + passed * self.per_second()).min(self.begun.burst);
        self.filled_at = self.filled_at.max(now);
    }

    /// Only where somebody waits: an idle minute proves nothing.
    fn raise(&mut self, now: Instant) {
        if now < self.changed_at + QUIET {
            return;
        }
        self.changed_at = now;
        self.per_second = (self.per_second * 1.1).min(self.begun.per_second);
    }
}

/// A bucket with those who wait for it.
#[derive(Debug)]
pub struct Line(Mutex<Waiting>);

#[derive(Debug)]
struct Waiting {
    bucket: Bucket,
    /// Of those who wait until they are first.
    wakers: BTreeMap<Place, Waker>,
}

impl Line {
    /// A full bucket.
    pub fn new(rate: Rate) -> Self {
        Self(Mutex::new(Waiting {
            bucket: Bucket::new(rate, Instant::now()),
            wakers: BTreeMap::new(),
        }))
    }

    /// Says something to the bucket, or asks it.
    pub fn with<T>(&self, told: impl FnOnce(&mut Bucket, Instant) -> T) -> T {
        told(&mut self.lock().bucket, Instant::now())
    }

    /// Waits for a token, with a timer of the caller's.
    pub async fn turn<S>(&self, urgency: Urgency, sleep_until: impl Fn(Instant) -> S)
    where
        S: Future<Output = ()>,
    {
        let place = self.with(|bucket, _| bucket.join(urgency));
        let _standing = Standing { line: self, place };
        loop {
            match self.with(|bucket, now| bucket.ask(place, now)) {
                Turn::Now => return,
                Turn::At(at) => sleep_until(at).await,
                Turn::Later => self.first(place).await,
            }
        }
    }

    /// Waits until nobody goes before.
    async fn first(&self, place: Place) {
        poll_fn(|context| {
            let mut waiting = self.lock();
            if waiting.bucket.waiting.first() == Some(&place) {
                return Poll::Ready(());
            }
            waiting.wakers.insert(place, context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives the place up, also when a call is not made after all.
struct Standing<'a> {
    line: &'a Line,
    place: Place,
}

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        let mut waiting = self.line.lock();
        waiting.bucket.leave(self.place);
        waiting.wakers.remove(&self.place);
        let next = waiting.bucket.waiting.first().copied();
        if let Some(waker) = next.and_then(|next| waiting.wakers.remove(&next)) {
            waker.wake();
        }
    }
}
