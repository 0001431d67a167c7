//! Everything that ever was, moment by moment: for "was there ever a time when ...". Decides.
//!
//! A moment begins with each call that changed something, and whenever time changed something by itself. Between two moments nothing changes.

use std::fmt;
use std::sync::Arc;

use anyhow::{Result, bail};
use jiff::Timestamp;

/// A state that is told by what changed since it was empty.
pub trait Replay: Default {
    /// What one call, or the passing of time, changed.
    type Changes: Clone + fmt::Debug;

    /// Makes these changes too.
    fn apply(&mut self, changes: &Self::Changes);
}

/// Why a moment began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A call: `elbv2:CreateListener`, `PUT loadBalancers`.
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
struct Event<C> {
    at: Timestamp,
    cause: Cause,
    changes: Arc<C>,
}

/// All moments so far; `B` is how the cloud behaves, where one must know that to read a state.
#[derive(Clone, Debug)]
pub struct History<S: Replay, B = ()> {
    events: Vec<Event<S::Changes>>,
    /// Each with the number of the first event at which it held; the first of them is there always.
    behaviours: Vec<(usize, Arc<B>)>,
}

/// Everything at one time.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a, S, B = ()> {
    /// When it began.
    pub at: Timestamp,
    /// Why.
    pub cause: &'a Cause,
    /// What is there.
    pub state: &'a S,
    pub(crate) behaviour: &'a B,
}

impl<S: Replay, B> History<S, B> {
    pub(crate) fn new(behaviour: B) -> Self {
        Self {
            events: Vec::new(),
            behaviours: vec![(0, Arc::new(behaviour))],
        }
    }

    /// Has the cloud behave like this from the next event on.
    pub(crate) fn behave(&mut self, behaviour: B) {
        let from = self.events.len();
        self.behaviours.push((from, Arc::new(behaviour)));
    }

    pub(crate) fn add(&mut self, at: Timestamp, cause: Cause, changes: Arc<S::Changes>) {
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
    pub fn walk(&self, mut visit: impl FnMut(&Moment<'_, S, B>) -> bool) {
        let mut state = S::default();
        let mut behaviours = self.behaviours.iter().peekable();
        let mut behaviour: &B = &self.behaviours[0].1;
        for (number, event) in self.events.iter().enumerate() {
            state.apply(&event.changes);
            while let Some((_, next)) = behaviours.next_if(|(from, _)| *from <= number) {
                behaviour = next;
            }
            let moment = Moment {
                at: event.at,
                cause: &event.cause,
                state: &state,
                behaviour,
            };
            if visit(&moment) {
                return;
            }
        }
    }

    /// Whether there was ever a moment like this.
    pub fn ever(&self, like: impl Fn(&Moment<'_, S, B>) -> bool) -> bool {
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
    pub fn always(&self, what: &str, like: impl Fn(&Moment<'_, S, B>) -> bool) -> Result<()> {
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
    pub fn never(&self, what: &str, like: impl Fn(&Moment<'_, S, B>) -> bool) -> Result<()> {
        self.always(&format!("never {what}"), |moment| !like(moment))
    }
}
