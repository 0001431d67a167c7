//! Which call of a run shall go wrong. Decides; what goes wrong then, and how, says each cloud.
//!
//! A scenario runs once without faults; each of its calls is then an operation and an occurrence ([`At::all_of`]), which says the same in
//! the next run even where calls run side by side and their order differs. Occurrences are counted from when the fault is added.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::sync::watch;

use super::calls::Recorded;

/// Which calls are meant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct At<O> {
    /// What is asked for, as in [`Recorded::operation`].
    pub operation: O,
    /// The how-manieth call of the operation, from 1.
    pub occurrence: usize,
    /// How many calls of the operation in a row, from there. An SDK tries some failures again by itself: these are calls too.
    pub times: usize,
}

impl<O> At<O> {
    /// The first call of an operation.
    pub(crate) fn first_of(operation: O) -> Self {
        Self {
            operation,
            occurrence: 1,
            times: 1,
        }
    }

    /// Another occurrence.
    #[must_use]
    pub fn occurrence(mut self, occurrence: usize) -> Self {
        self.occurrence = occurrence;
        self
    }

    /// So many calls in a row.
    #[must_use]
    pub fn times(mut self, times: usize) -> Self {
        self.times = times;
        self
    }
}

impl<O: Eq> At<O> {
    /// Each call of a run without faults: the k-th is the k-th of these.
    #[must_use]
    pub fn all_of(calls: &[impl Recorded<Operation = O>]) -> Vec<Self> {
        let nth = |index: usize, operation: &O| {
            let earlier = calls[..=index].iter();
            earlier
                .filter(|other| other.operation() == *operation)
                .count()
        };
        let all = calls.iter().map(Recorded::operation).enumerate();
        all.map(|(index, operation)| {
            let occurrence = nth(index, &operation);
            Self::first_of(operation).occurrence(occurrence)
        })
        .collect()
    }
}

impl<O: fmt::Display> fmt::Display for At<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "call {} of {}", self.occurrence, self.operation)
    }
}

/// A fault on its way. It stays when this is dropped.
#[derive(Debug)]
pub struct Injected<H> {
    what: String,
    fired: watch::Receiver<usize>,
    /// By what a cloud takes hold of it.
    pub(crate) handle: H,
}

impl<H> Injected<H> {
    /// How many calls it has broken so far.
    #[must_use]
    pub fn fired(&self) -> usize {
        *self.fired.borrow()
    }

    /// Waits until it has broken a call.
    ///
    /// # Errors
    /// When it has not by the deadline.
    pub async fn wait(&self, deadline: Duration) -> Result<()> {
        let mut fired = self.fired.clone();
        tokio::time::timeout(deadline, fired.wait_for(|count| *count > 0))
            .await
            .with_context(|| format!("{} did not happen within {deadline:?}", self.what))?
            .with_context(|| format!("{}: the wire is gone", self.what))?;
        Ok(())
    }

    /// Fails unless it has broken as many calls as it should.
    pub(crate) fn hold_to(&self, fired: usize, times: usize) -> Result<()> {
        ensure!(
            fired == times,
            "{}: it fired {fired} times, not {times}",
            self.what
        );
        Ok(())
    }
}

/// All faults of a wire: `A` is what is done with a call.
#[derive(Debug)]
pub(crate) struct Faults<O, A> {
    planned: Mutex<Vec<Planned<O, A>>>,
}

#[derive(Debug)]
struct Planned<O, A> {
    at: At<O>,
    action: A,
    seen: usize,
    fired: watch::Sender<usize>,
}

impl<O, A> Default for Faults<O, A> {
    fn default() -> Self {
        Self {
            planned: Mutex::default(),
        }
    }
}

impl<O: Clone + Eq + fmt::Display, A: Clone + fmt::Display> Faults<O, A> {
    pub(crate) fn add<H>(&self, at: &At<O>, action: A, handle: H) -> Injected<H> {
        let (fired, receiver) = watch::channel(0);
        let injected = Injected {
            what: format!("{action} at {at}"),
            fired: receiver,
            handle,
        };
        self.lock().push(Planned {
            at: at.clone(),
            action,
            seen: 0,
            fired,
        });
        injected
    }

    /// What to do with a call that has arrived.
    pub(crate) fn on(&self, operation: &O) -> Option<A> {
        let mut result = None;
        for planned in self.lock().iter_mut() {
            if planned.at.operation != *operation {
                continue;
            }
            planned.seen += 1;
            let first = planned.at.occurrence;
            // One fault a call; the others count the call all the same.
            if result.is_none() && (first..first + planned.at.times).contains(&planned.seen) {
                planned.fired.send_modify(|count| *count += 1);
                result = Some(planned.action.clone());
            }
        }
        result
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Planned<O, A>>> {
        self.planned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_meets_its_occurrences_only() {
        let faults = Faults::<&str, &str>::default();
        let at = At::first_of("CreateListener").occurrence(2).times(2);
        let injected = faults.add(&at, "reset", ());
        let other = faults.add(&At::first_of("CreateRule"), "reset", ());
        let met: Vec<_> = (0..5)
            .map(|_| faults.on(&"CreateListener").is_some())
            .collect();
        assert_eq!(met, [false, true, true, false, false]);
        assert!(faults.on(&"DeleteListener").is_none());
        assert_eq!((injected.fired(), other.fired()), (2, 0));
    }
}
