//! How many calls a second the account is asked: buckets as AWS has them, shared by all groups (Decides; the waiting is in
//! [`Limiter`]).
//!
//! AWS counts calls per account and region, and the console and other tools draw on the same buckets. So ours are as its own,
//! fill at six tenths of their rates and hold half of what they hold: whoever else asks now and then is never refused for our sake. Each halves its
//! rate when AWS says that it is too much, and raises it again by a tenth for each minute of demand in which AWS said nothing,
//! never beyond where it began. Where calls queue, what removes or registers goes before what creates, and sweeps come last.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures::future::select;
use tokio::sync::Notify;

use crate::call::{Call, Service};

/// What a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// It changes nothing.
    Read,
    /// It changes an object.
    Write,
    /// It registers or deregisters targets.
    Register,
}

/// One of AWS's buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Elb,
    Register,
    Modify,
    /// Of one operation.
    Ec2Read(&'static str),
    Ec2Write(&'static str),
}

/// The buckets that a call takes from, the narrowest first: whoever has its token waits for the others with it.
fn kinds(call: &Call) -> impl Iterator<Item = Kind> {
    let (narrow, wide) = match (call.service, call.class) {
        (Service::Elb, Class::Register) => (Some(Kind::Register), Kind::Elb),
        (Service::Elb, _) if call.operation.starts_with("Modify") => {
            (Some(Kind::Modify), Kind::Elb)
        }
        (Service::Elb, _) => (None, Kind::Elb),
        // Of the token service no limit is documented that we could come near.
        (Service::Ec2 | Service::Sts, Class::Read) => (None, Kind::Ec2Read(call.operation)),
        (Service::Ec2 | Service::Sts, _) => (None, Kind::Ec2Write(call.operation)),
    };
    narrow.into_iter().chain([wide])
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
    /// Of all calls to ELB.
    pub elb: Rate,
    /// Of RegisterTargets and DeregisterTargets together, which count against the one of ELB too.
    pub register: Rate,
    /// Of the Modify calls to ELB together, which count against the one of ELB too.
    pub modify: Rate,
    /// Of each operation of EC2 that changes nothing.
    pub ec2_read: Rate,
    /// Of each operation of EC2 that changes something.
    pub ec2_write: Rate,
}

/// How much is ours of what comes into AWS's buckets.
const SHARE: f64 = 0.6;

/// How much is ours of what they hold. It is less, because calls that went out one after the other can arrive together.
const SHARE_AT_ONCE: f64 = 0.5;

impl Default for Rates {
    /// Our share of what AWS documents for an account where nobody asked for more: ELB user guide, "Request throttling for the
    /// ELB API", "Bucket capacity and refill rate"; EC2 developer guide, "Request throttling for the Amazon EC2 API", whose
    /// buckets of calls without filters are none of ours: we always have some.
    fn default() -> Self {
        let share = |burst, per_second| Rate {
            per_second: per_second * SHARE,
            burst: burst * SHARE_AT_ONCE,
        };
        Self {
            elb: share(40.0, 10.0),
            register: share(20.0, 4.0),
            modify: share(20.0, 3.0),
            ec2_read: share(100.0, 20.0),
            ec2_write: share(50.0, 5.0),
        }
    }
}

impl Rates {
    /// The names of all.
    pub const NAMES: [&str; 5] = ["elb", "register", "modify", "ec2-read", "ec2-write"];

    /// One by its name.
    pub fn named(&mut self, name: &str) -> Option<&mut Rate> {
        match name {
            "elb" => Some(&mut self.elb),
            "register" => Some(&mut self.register),
            "modify" => Some(&mut self.modify),
            "ec2-read" => Some(&mut self.ec2_read),
            "ec2-write" => Some(&mut self.ec2_write),
            _ => None,
        }
    }

    fn of(&self, kind: Kind) -> Rate {
        match kind {
            Kind::Elb => self.elb,
            Kind::Register => self.register,
            Kind::Modify => self.modify,
            Kind::Ec2Read(_) => self.ec2_read,
            Kind::Ec2Write(_) => self.ec2_write,
        }
    }

    /// As good as no limit, for an emulator.
    pub fn unlimited() -> Self {
        let rate = Rate {
            per_second: 1e6,
            burst: 1e6,
        };
        Self {
            elb: rate,
            register: rate,
            modify: rate,
            ec2_read: rate,
            ec2_write: rate,
        }
    }
}

/// For this long after a halving further complaints are about calls that were sent before it.
const HALVED: Duration = Duration::from_secs(1);

/// How long AWS must have said nothing before a rate is raised.
const QUIET: Duration = Duration::from_secs(60);

/// The least that a rate falls to, as a part of where it began.
const LEAST: f64 = 1.0 / 16.0;

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
        self.per_second = (self.per_second / 2.0).max(self.begun.per_second * LEAST);
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
        self.per_second = (self.per_second * 1.1).min(self.begun.per_second);
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
    rates: Rates,
    lines: Mutex<BTreeMap<Kind, Arc<Line>>>,
}

impl Limiter {
    /// Full buckets.
    pub fn new(rates: Rates) -> Self {
        Self {
            rates,
            lines: Mutex::default(),
        }
    }

    fn line(&self, kind: Kind) -> Arc<Line> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let line = lines
            .entry(kind)
            .or_insert_with(|| Arc::new(Line::new(self.rates.of(kind))));
        Arc::clone(line)
    }

    /// Waits until a call may be made.
    pub async fn turn(&self, call: &Call) {
        for kind in kinds(call) {
            self.line(kind).turn(call.urgency).await;
        }
    }

    /// AWS said that it was too much, and not of which bucket.
    pub fn throttled(&self, call: &Call) {
        for kind in kinds(call) {
            self.line(kind).bucket().throttled(Instant::now());
        }
    }
}

impl Line {
    /// Waits for a token.
    async fn turn(&self, urgency: Urgency) {
        let place = self.bucket().join(urgency);
        let _standing = Standing { line: self, place };
        loop {
            // Heard from here on, so that nothing moves unheard between the question and the waiting.
            let mut moved = pin!(self.moved.notified());
            moved.as_mut().enable();
            let turn = self.bucket().ask(place, Instant::now());
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
}
