//! Which of AWS's buckets a call counts against (Decides; the waiting is in [`Limiter`]).
//!
//! AWS counts calls per account and region, and the console and other tools draw on the same buckets. So ours ([`evenkeel_core::limiter`])
//! are as its own, fill at six tenths of their rates and hold half of what they hold: whoever else asks now and then is never
//! refused for our sake.

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use evenkeel_core::limiter::{Bucket, Line, Rate};

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
        let rate = Rate::UNLIMITED;
        Self {
            elb: rate,
            register: rate,
            modify: rate,
            ec2_read: rate,
            ec2_write: rate,
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
            let sleep_until = |at: std::time::Instant| tokio::time::sleep_until(at.into());
            self.line(kind).turn(call.urgency, sleep_until).await;
        }
    }

    /// AWS said that it was too much, and not of which bucket.
    pub fn throttled(&self, call: &Call) {
        for kind in kinds(call) {
            self.line(kind).with(Bucket::throttled);
        }
    }
}
