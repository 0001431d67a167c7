//! Everything that ever was, moment by moment: for "was there ever a time when ...". Decides.
//!
//! A moment begins with each call that changed something, and whenever time changed something by itself: a target became healthy, a load
//! balancer active. Between two moments nothing changes.

use std::fmt;
use std::sync::Arc;

use anyhow::{Result, bail};
use jiff::Timestamp;

use super::elb::health::{self, Health};
use super::elb::target_groups::TargetGroup;
use super::elb::targets::Key;
use super::settings::Settings;
use super::state::{Changes, State};

/// Why a moment began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A call: `elbv2:CreateListener`.
    Call(String),
    /// Time passed.
    Time,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(name) => f.write_str(name),
            Self::Time => f.write_str("time"),
        }
    }
}

#[derive(Clone, Debug)]
struct Event {
    at: Timestamp,
    cause: Cause,
    changes: Arc<Changes>,
}

/// All moments so far.
#[derive(Clone, Debug, Default)]
pub struct History {
    events: Vec<Event>,
    pub(super) settings: Settings,
}

/// Everything at one time.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    /// When it began.
    pub at: Timestamp,
    /// Why.
    pub cause: &'a Cause,
    /// What is there.
    pub state: &'a State,
    settings: &'a Settings,
}

impl Moment<'_> {
    /// The health of all targets of a target group, as AWS would show it.
    #[must_use]
    pub fn health<'g>(&self, group: &'g TargetGroup) -> Vec<(&'g Key, Health)> {
        let balancers = group.load_balancers.iter();
        let balancers: Vec<_> = balancers
            .filter_map(|arn| self.state.load_balancers.get(arn))
            .collect();
        let of = |key| health::of(self.state, self.settings, self.at, group, &balancers, key);
        group.targets.keys().map(|key| (key, of(key))).collect()
    }

    /// How many targets of a target group are healthy.
    #[must_use]
    pub fn healthy(&self, group: &TargetGroup) -> usize {
        let all = self.health(group).into_iter();
        all.filter(|(_, health)| health.state == "healthy").count()
    }

    /// The target group of this name.
    #[must_use]
    pub fn target_group(&self, name: &str) -> Option<&TargetGroup> {
        let mut groups = self.state.target_groups.values();
        groups.find(|group| group.name == name)
    }
}

impl History {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            events: Vec::new(),
            settings: settings.clone(),
        }
    }

    pub(super) fn add(&mut self, at: Timestamp, cause: Cause, changes: Arc<Changes>) {
        self.events.push(Event { at, cause, changes });
    }

    /// How many moments there were.
    #[must_use]
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether nothing ever happened.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Walks through all moments, from the first; until `visit` says that it has seen enough.
    pub fn walk(&self, mut visit: impl FnMut(&Moment<'_>) -> bool) {
        let mut state = State::default();
        for event in &self.events {
            state.apply(&event.changes);
            let moment = Moment {
                at: event.at,
                cause: &event.cause,
                state: &state,
                settings: &self.settings,
            };
            if visit(&moment) {
                return;
            }
        }
    }

    /// Whether there was ever a moment like this.
    pub fn ever(&self, like: impl Fn(&Moment<'_>) -> bool) -> bool {
        let mut found = false;
        self.walk(|moment| {
            found = like(moment);
            found
        });
        found
    }

    /// Fails unless all moments were like this.
    ///
    /// # Errors
    /// With the first one that was not: when it began, and what began it.
    pub fn always(&self, what: &str, like: impl Fn(&Moment<'_>) -> bool) -> Result<()> {
        let mut broken = None;
        self.walk(|moment| {
            if !like(moment) {
                broken = Some(format!("{} by {}", moment.at, moment.cause));
            }
            broken.is_some()
        });
        match broken {
            None => Ok(()),
            Some(moment) => bail!("not always so: {what}: not at {moment}"),
        }
    }

    /// Fails if some moment was like this.
    ///
    /// # Errors
    /// As [`History::always`].
    pub fn never(&self, what: &str, like: impl Fn(&Moment<'_>) -> bool) -> Result<()> {
        self.always(&format!("never {what}"), |moment| !like(moment))
    }
}
