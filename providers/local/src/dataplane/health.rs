//! When a target is healthy, and when it changes too often to be believed. Decides: no IO, no clock.
//!
//! Everything is counted in results of the probe, so it scales with the check's interval: a target that fell
//! [`FALLS`] times within [`WINDOW`] results is flapping. It stays out until it was good for a number of results in
//! a row, a number that doubles each time it flaps again, is bounded, and is forgotten once the target was steady
//! for long. Only while nothing else can be used does a flapping target that answers get traffic (see `balance`).

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::api::{Health, HealthCheck};

/// Falls that make a target a flapping one. A rolling replacement takes a node's pods away once or twice.
const FALLS: usize = 4;
/// Results within which they count: a minute of a check that looks every second.
const WINDOW: u64 = 60;
/// Good results in a row that end it, the first time.
const SHORTEST_HOLD: u64 = 10;
/// The same after it happened again and again, and the good results after which all is forgotten.
const LONGEST_HOLD: u64 = 160;
/// Checks that look rarely need fewer results: no hold is longer than this, in milliseconds of the check's interval.
const LONGEST_HOLD_MS: u64 = 300_000;

/// What is thought of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Not probed yet.
    Initial,
    Healthy,
    /// Answers now, and changed too often to be believed.
    Flapping,
    Unhealthy,
}

impl From<Health> for Standing {
    fn from(health: Health) -> Self {
        match health {
            Health::Initial => Self::Initial,
            Health::Healthy => Self::Healthy,
            Health::Unhealthy => Self::Unhealthy,
        }
    }
}

impl From<Standing> for Health {
    fn from(standing: Standing) -> Self {
        match standing {
            Standing::Initial => Self::Initial,
            Standing::Healthy => Self::Healthy,
            Standing::Flapping | Standing::Unhealthy => Self::Unhealthy,
        }
    }
}

/// The opinion about one target, formed from the results of its probe.
#[derive(Clone, Debug)]
pub(crate) struct Judge {
    health: Health,
    /// Results in a row that speak against `health`.
    against: u8,
    /// Until the first result, `health` is what was believed before this probe was there.
    probed: bool,
    damper: Damper,
}

impl Judge {
    /// A judge who has seen nothing yet and starts from what was believed so far.
    pub(crate) fn new(believed: Health) -> Self {
        Self {
            health: believed,
            against: 0,
            probed: false,
            damper: Damper::default(),
        }
    }

    /// A judge who goes on where another one stopped.
    pub(crate) fn following(memory: Memory) -> Self {
        let Memory {
            health,
            falls,
            good,
            times,
            holding,
        } = memory;
        let now = falls.iter().copied().max().unwrap_or(0);
        Self {
            damper: Damper {
                now,
                falls: falls.into_iter().map(|ago| now - ago).collect(),
                good,
                times,
                holding,
            },
            ..Self::new(health)
        }
    }

    /// The standing after the last result.
    pub(crate) fn standing(&self) -> Standing {
        match Standing::from(self.health) {
            Standing::Healthy if self.damper.holding => Standing::Flapping,
            standing => standing,
        }
    }

    /// What another judge has to know to go on; nothing where the target was steady.
    pub(crate) fn memory(&self) -> Option<Memory> {
        let Damper {
            now,
            falls,
            good,
            times,
            holding,
        } = &self.damper;
        let steady = falls.is_empty() && *times == 0;
        (!steady).then(|| Memory {
            health: self.health,
            falls: falls.iter().map(|fall| now - fall).collect(),
            good: *good,
            times: *times,
            holding: *holding,
        })
    }

    /// Takes one result into account and returns the standing after it.
    pub(crate) fn observe(&mut self, succeeded: bool, check: &HealthCheck) -> Standing {
        let says = if succeeded {
            Health::Healthy
        } else {
            Health::Unhealthy
        };
        let needed = match says {
            _ if !self.probed => 1,
            Health::Healthy => check.rise,
            Health::Unhealthy | Health::Initial => check.fall,
        };
        self.probed = true;
        let mut fell = false;
        if says == self.health {
            self.against = 0;
        } else {
            self.against = self.against.saturating_add(1);
            if self.against >= needed {
                fell = self.health == Health::Healthy;
                self.health = says;
                self.against = 0;
            }
        }
        self.damper.observe(succeeded, fell, check);
        self.standing()
    }
}

/// What is remembered of a target that fell, on its way to another judge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Memory {
    /// What is thought of it but for the damping.
    health: Health,
    /// How many results ago it fell, as far as that counts.
    falls: Vec<u64>,
    /// Good results in a row.
    good: u64,
    /// How often it flapped of late.
    times: u32,
    holding: bool,
}

/// Remembers how often a target fell, and holds it back when that was too often.
#[derive(Clone, Debug, Default)]
struct Damper {
    /// Results seen.
    now: u64,
    /// When it fell, as far as that is in the window.
    falls: VecDeque<u64>,
    /// Good results in a row.
    good: u64,
    /// How often it flapped of late.
    times: u32,
    holding: bool,
}

impl Damper {
    /// Takes one result into account.
    fn observe(&mut self, succeeded: bool, fell: bool, check: &HealthCheck) {
        self.now += 1;
        self.good = if succeeded { self.good + 1 } else { 0 };
        self.falls.retain(|fall| self.now - fall < WINDOW);
        if fell {
            self.falls.push_back(self.now);
        }
        if self.falls.len() >= FALLS {
            self.falls.clear();
            self.times += 1;
            self.holding = true;
        }
        if self.holding && self.good >= hold(self.times, check) {
            self.holding = false;
            // What it did while it was held back is paid for.
            self.falls.clear();
        }
        if self.good >= LONGEST_HOLD {
            self.times = 0;
        }
    }
}

/// Good results in a row that a target needs after it flapped for the `times`-th time, one or more.
fn hold(times: u32, check: &HealthCheck) -> u64 {
    let doubled = SHORTEST_HOLD
        .saturating_mul(1 << times.saturating_sub(1).min(32))
        .min(LONGEST_HOLD);
    let longest = LONGEST_HOLD_MS / u64::from(check.interval_ms.max(1));
    doubled.min(longest).max(check.rise.into())
}

#[cfg(test)]
mod tests;
