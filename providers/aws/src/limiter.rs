//! How many calls a second the account is asked: one bucket per class of calls, shared by all groups (Decides; the
//! waiting is in [`Limiter`]).
//!
//! AWS counts calls per account and region, and the console and other tools draw on the same buckets. So each of ours
//! halves its rate when AWS says that it is too much, and raises it by a tenth for each minute of demand in which AWS said
//! nothing. Where calls queue, what removes or registers goes before what creates, and sweeps come last.

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeSet,
    pin::pin,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures::future::select;
use tokio::sync::Notify;

/// What a call counts against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// It changes nothing.
    Read,
    /// It changes an object.
    Write,
    /// It registers or deregisters targets, which AWS counts apart.
    Register,
}

/// Who goes first where calls queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Urgency {
    /// What removes, and what moves targets: nodes come and go.
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

/// The rates that buckets begin with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// Of reads.
    pub read: Rate,
    /// Of writes.
    pub write: Rate,
    /// Of registrations.
    pub register: Rate,
}

impl Default for Rates {
    /// A good part of what AWS allows an account where nobody asked for more.
    fn default() -> Self {
        let rate = |per_second, burst| Rate { per_second, burst };
        Self {
            read: rate(8.0, 32.0),
            write: rate(3.0, 10.0),
            register: rate(3.0, 15.0),
        }
    }
}

impl Rates {
    /// A class by its name: `read`, `write`, `register`.
    pub fn named(&mut self, class: &str) -> Option<&mut Rate> {
        match class {
            "read" => Some(&mut self.read),
            "write" => Some(&mut self.write),
            "register" => Some(&mut self.register),
            _ => None,
        }
    }

    /// As good as no limit, for an emulator.
    pub fn unlimited() -> Self {
        let rate = Rate {
            per_second: 1e6,
            burst: 1e6,
        };
        Self {
            read: rate,
            write: rate,
            register: rate,
        }
    }
}

/// For this long after a halving further complaints are about calls that were sent before it.
const HALVED: Duration = Duration::from_secs(1);

/// How long AWS must have said nothing before a rate is raised.
const QUIET: Duration = Duration::from_secs(60);

/// The most that a rate is raised to, and the least that it falls to, as parts of where it began.
const BOUNDS: (f64, f64) = (1.0 / 16.0, 4.0);

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
    tokens: f64,
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
        self.per_second
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
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            self.waiting.remove(&place);
            return Turn::Now;
        }
        self.raise(now);
        // Rounded up: a call that came a nanosecond early would find the bucket empty once more.
        let missing = (1.0 - self.tokens) / self.per_second;
        Turn::At(now + Duration::from_secs_f64(missing) + Duration::from_micros(1))
    }

    /// AWS said that it was too much.
    pub fn throttled(&mut self, now: Instant) {
        self.fill(now);
        if self.halved_at.is_some_and(|at| now < at + HALVED) {
            return;
        }
        self.halved_at = Some(now);
        self.changed_at = now;
        self.tokens = 0.0;
        self.per_second = (self.per_second / 2.0).max(self.begun.per_second * BOUNDS.0);
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.filled_at).as_secs_f64();
        self.tokens = (self.tokens + passed * self.per_second).min(self.begun.burst);
        self.filled_at = self.filled_at.max(now);
    }

    /// Only where somebody waits: an idle minute proves nothing.
    fn raise(&mut self, now: Instant) {
        if now < self.changed_at + QUIET {
            return;
        }
        self.changed_at = now;
        self.per_second = (self.per_second * 1.1).min(self.begun.per_second * BOUNDS.1);
    }
}

/// A bucket with those who wait for it.
#[derive(Debug)]
struct Line {
    bucket: Mutex<Bucket>,
    moved: Notify,
}

impl Line {
    fn new(rate: Rate) -> Self {
        Self {
            bucket: Mutex::new(Bucket::new(rate, Instant::now())),
            moved: Notify::new(),
        }
    }

    fn bucket(&self) -> MutexGuard<'_, Bucket> {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives the place up when a call is not made after all.
struct Standing<'a> {
    line: &'a Line,
    place: Place,
}

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        let mut bucket = self.line.bucket();
        bucket.leave(self.place);
        if bucket.waiting() > 0 {
            self.line.moved.notify_waiters();
        }
    }
}

/// All buckets of one account and region.
#[derive(Debug)]
pub struct Limiter {
    read: Line,
    write: Line,
    register: Line,
}

impl Limiter {
    /// Full buckets.
    pub fn new(rates: Rates) -> Self {
        Self {
            read: Line::new(rates.read),
            write: Line::new(rates.write),
            register: Line::new(rates.register),
        }
    }

    fn line(&self, class: Class) -> &Line {
        match class {
            Class::Read => &self.read,
            Class::Write => &self.write,
            Class::Register => &self.register,
        }
    }

    /// Waits until a call may be made.
    pub async fn turn(&self, class: Class, urgency: Urgency) {
        let line = self.line(class);
        let place = line.bucket().join(urgency);
        let _standing = Standing { line, place };
        loop {
            // Heard from here on, so that nothing moves unheard between the question and the waiting.
            let mut moved = pin!(line.moved.notified());
            moved.as_mut().enable();
            let turn = line.bucket().ask(place, Instant::now());
            match turn {
                Turn::Now => return,
                Turn::Later => moved.await,
                Turn::At(at) => {
                    let sleep = pin!(tokio::time::sleep_until(at.into()));
                    select(sleep, moved).await;
                }
            }
        }
    }

    /// AWS said that it was too much.
    pub fn throttled(&self, class: Class) {
        self.line(class).bucket().throttled(Instant::now());
    }
}
