//! What to do next about the Lease (Decides): one state machine, with the time as a value.
//!
//! Whether another holder is still there is judged by what is seen from here: its record has changed, or it has not
//! changed for as long as it asked for. The times in the Lease are never compared with our clock. Whoever has a doubt
//! reads before it acts, and every write names the version it is meant for.

#[cfg(test)]
mod tests;

use std::{
    fmt,
    time::{Duration, Instant},
};

use super::record::Record;

/// The times that follow from the duration of the Lease, in the proportions of Kubernetes' own leaders: 15, 10 and 2 s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pace {
    /// How long a holder that is not heard of stays the holder.
    pub(crate) lease: Duration,
    /// How long after the last renewal its holder gives up: well inside the lease, so that nothing it began is still under
    /// way when another begins. Also the longest that any write may take.
    pub(crate) deadline: Duration,
    /// How long between two renewals, or two attempts.
    pub(crate) retry: Duration,
    /// How long the API server may take to answer.
    pub(crate) answer: Duration,
}

impl Pace {
    /// The times of a lease of this duration.
    pub(crate) fn of(lease: Duration) -> Self {
        Self {
            lease,
            deadline: lease * 2 / 3,
            retry: lease * 2 / 15,
            answer: lease / 5,
        }
    }
}

/// From whom the lead was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taking {
    /// From nobody, or from one who gave it away after its last write.
    Free,
    /// From one who did not: something it wrote may still be under way.
    Unreleased,
}

/// Why the lead is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// It could not be renewed in time.
    NotRenewed(Duration),
    /// Another has it.
    Stolen(String),
    /// Somebody took our name off.
    Cleared,
    /// Somebody deleted it.
    Deleted,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRenewed(time) => {
                write!(f, "it could not be renewed for {:.1} s", time.as_secs_f32())
            }
            Self::Stolen(holder) => write!(f, "{holder} has taken it"),
            Self::Cleared => write!(f, "somebody took our name off it"),
            Self::Deleted => write!(f, "somebody deleted it"),
        }
    }
}

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    /// Read it.
    Look,
    /// Make one that is ours.
    Create(Taking),
    /// Make it ours.
    Take {
        /// As it was seen.
        seen: Record,
        /// From whom.
        taking: Taking,
    },
    /// Say that we are still there.
    Renew {
        /// As it was seen.
        seen: Record,
    },
    /// Nothing, until then or until there is news.
    Wait(Instant),
    /// End: the lead is lost.
    Lost(Loss),
}

/// What is known, and who we are.
#[derive(Clone, Debug)]
pub(crate) struct Election {
    us: String,
    pace: Pace,
    /// What was last seen: None, nothing yet; Some(None), that there is no Lease.
    known: Option<Option<Record>>,
    /// Whether that has to be read anew.
    stale: bool,
    /// Until when another holder that was seen may count on being left in peace.
    theirs: Option<Instant>,
    /// When the last renewal that went through was begun, while we lead.
    renewed: Option<Instant>,
    /// What was attempted last: the answer may have been lost.
    attempted: Option<Taking>,
    /// When to try again after an error.
    again: Option<Instant>,
}

impl Election {
    /// One who knows nothing yet.
    pub(crate) fn new(us: impl Into<String>, pace: Pace) -> Self {
        Self {
            us: us.into(),
            pace,
            known: None,
            stale: true,
            theirs: None,
            renewed: None,
            attempted: None,
            again: None,
        }
    }

    /// Whose the lease was when it was last seen, if that is another.
    pub(crate) fn holder(&self) -> Option<&str> {
        let holder = self.known.as_ref()?.as_ref()?.holder.as_deref()?;
        (holder != self.us).then_some(holder)
    }

    /// When the lead ends unless it is renewed; None while we do not lead.
    pub(crate) fn ends(&self) -> Option<Instant> {
        self.renewed.map(|renewed| renewed + self.pace.deadline)
    }

    /// It was read.
    pub(crate) fn read(&mut self, seen: Option<Record>, now: Instant) {
        self.note(seen, now);
        self.stale = false;
        self.again = None;
    }

    /// The watch tells of it. That may come later than what was read or written since: a leader who hears of another reads.
    pub(crate) fn told(&mut self, seen: Option<Record>, now: Instant) {
        if self.renewed.is_none() {
            return self.note(seen, now);
        }
        let holder = seen.and_then(|seen| seen.holder);
        if holder.as_deref() != Some(&*self.us) {
            self.stale = true;
        }
    }

    /// A write that was begun then has gone through. Returns from whom the lead was taken, if it was.
    pub(crate) fn wrote(&mut self, written: Record, began: Instant) -> Option<Taking> {
        self.known = Some(Some(written));
        self.stale = false;
        self.theirs = None;
        self.again = None;
        let gained = self.renewed.is_none();
        self.renewed = self.renewed.max(Some(began));
        let taking = self.attempted.take().unwrap_or(Taking::Unreleased);
        gained.then_some(taking)
    }

    /// A write met another version.
    pub(crate) fn conflicted(&mut self) {
        self.stale = true;
    }

    /// A call failed.
    pub(crate) fn failed(&mut self, now: Instant) {
        self.again = Some(now + self.pace.retry);
    }

    fn note(&mut self, seen: Option<Record>, now: Instant) {
        if self.known.as_ref() == Some(&seen) {
            return;
        }
        if let Some(record) = &seen {
            match &record.holder {
                None => self.theirs = None,
                Some(holder) if *holder == self.us => {}
                Some(_) => {
                    self.theirs = Some(now + record.lease.unwrap_or(self.pace.lease));
                }
            }
        }
        self.known = Some(seen);
    }

    /// What to do next.
    pub(crate) fn decide(&mut self, now: Instant) -> Step {
        let step = match self.renewed {
            Some(renewed) => self.as_leader(renewed, now),
            None => self.as_standby(now),
        };
        if let Step::Create(taking) | Step::Take { taking, .. } = &step {
            self.attempted = Some(*taking);
        }
        step
    }

    fn as_leader(&self, renewed: Instant, now: Instant) -> Step {
        let ends = renewed + self.pace.deadline;
        if now >= ends {
            return Step::Lost(Loss::NotRenewed(self.pace.deadline));
        }
        let pause = self.again.filter(|again| now < *again);
        let Some(known) = self.known.as_ref().filter(|_| !self.stale) else {
            return pause.map_or(Step::Look, |again| Step::Wait(again.min(ends)));
        };
        let Some(record) = known else {
            return Step::Lost(Loss::Deleted);
        };
        match &record.holder {
            None => Step::Lost(Loss::Cleared),
            Some(holder) if *holder != self.us => Step::Lost(Loss::Stolen(holder.clone())),
            Some(_) => {
                let due = pause.unwrap_or(renewed + self.pace.retry);
                if now < due {
                    return Step::Wait(due.min(ends));
                }
                Step::Renew {
                    seen: record.clone(),
                }
            }
        }
    }

    fn as_standby(&self, now: Instant) -> Step {
        if let Some(again) = self.again.filter(|again| now < *again) {
            return Step::Wait(again);
        }
        let Some(known) = self.known.as_ref().filter(|_| !self.stale) else {
            return Step::Look;
        };
        let theirs = self.theirs.filter(|theirs| now < *theirs);
        let Some(record) = known else {
            // Deleted under a holder that may not know it yet.
            return match (theirs, self.theirs) {
                (Some(theirs), _) => Step::Wait(theirs),
                (None, Some(_)) => Step::Create(Taking::Unreleased),
                (None, None) => Step::Create(Taking::Free),
            };
        };
        let taking = match &record.holder {
            None => Taking::Free,
            // A write of ours whose answer was lost.
            Some(holder) if *holder == self.us => self.attempted.unwrap_or(Taking::Unreleased),
            Some(_) => match theirs {
                Some(theirs) => return Step::Wait(theirs),
                None => Taking::Unreleased,
            },
        };
        Step::Take {
            seen: record.clone(),
            taking,
        }
    }
}
