//! Everything that ever was, moment by moment: for "was there ever a time when ...". Decides.
//!
//! A moment begins with each call that changed something, and whenever an operation came to its end. Between two moments nothing changes.

use std::sync::Arc;

use anyhow::{Result, bail};
use jiff::Timestamp;

use super::state::{Changes, State};
use crate::fake_aws::Cause;

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
}

impl History {
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
