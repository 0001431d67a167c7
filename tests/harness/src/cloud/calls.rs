//! What went over the wire: every call in order, and how many reads and writes that makes. Decides.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A call as a cloud writes it down.
pub trait Recorded: Clone + fmt::Display {
    /// Says what is asked for: `elbv2:CreateLoadBalancer`, `PUT loadBalancers`.
    type Operation: Clone + Eq + fmt::Display;

    /// What is asked for.
    fn operation(&self) -> Self::Operation;

    /// As what it counts.
    fn sort(&self) -> Sort;
}

/// As what a call counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// It changes nothing.
    Read,
    /// It changes something.
    Write,
    /// Neither: it is only counted by its name.
    Neither,
}

/// Writes how a call ended: the status of the reply as the caller saw it, the error code, and the fault that broke it.
pub(crate) fn write_end(
    f: &mut fmt::Formatter<'_>,
    status: Option<u16>,
    error: Option<&str>,
    fault: Option<&str>,
) -> fmt::Result {
    match (status, error) {
        (Some(status), Some(error)) => write!(f, " -> {status} {error}")?,
        (Some(status), None) => write!(f, " -> {status}")?,
        (None, _) => write!(f, " -> no reply")?,
    }
    match fault {
        Some(fault) => write!(f, " ({fault})"),
        None => Ok(()),
    }
}

/// A moment in the log, to count one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(usize);

/// All calls in the order in which they arrived.
#[derive(Clone, Debug)]
pub struct CallLog<C> {
    calls: Arc<Mutex<Vec<C>>>,
}

impl<C> Default for CallLog<C> {
    fn default() -> Self {
        Self {
            calls: Arc::default(),
        }
    }
}

impl<C: Recorded> CallLog<C> {
    /// All calls so far.
    #[must_use]
    pub fn all(&self) -> Vec<C> {
        self.lock().clone()
    }

    /// Now.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark(self.lock().len())
    }

    /// The calls that arrived after `mark`.
    #[must_use]
    pub fn since(&self, mark: Mark) -> Vec<C> {
        self.lock()[mark.0..].to_vec()
    }

    /// How many of each arrived after `mark`.
    #[must_use]
    pub fn count_since(&self, mark: Mark) -> Counts {
        Counts::of(&self.lock()[mark.0..])
    }

    /// Adds a call that arrived; returns its place.
    pub(crate) fn arrived(&self, call: C) -> usize {
        let mut calls = self.lock();
        calls.push(call);
        calls.len() - 1
    }

    pub(crate) fn get(&self, place: usize) -> C {
        self.lock()[place].clone()
    }

    /// Says more of a call.
    pub(crate) fn change(&self, place: usize, change: impl FnOnce(&mut C)) {
        change(&mut self.lock()[place]);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<C>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C: Recorded> fmt::Display for CallLog<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lock()
            .iter()
            .try_for_each(|call| writeln!(f, "{call}"))
    }
}

/// How many calls, of which operation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls that change nothing.
    pub reads: usize,
    /// Calls that change something.
    pub writes: usize,
    /// By name: `elbv2:CreateLoadBalancer`, `PUT loadBalancers`.
    pub by_operation: BTreeMap<String, usize>,
}

impl Counts {
    /// Counts calls.
    #[must_use]
    pub fn of(calls: &[impl Recorded]) -> Self {
        let mut counts = Self::default();
        for call in calls {
            match call.sort() {
                Sort::Read => counts.reads += 1,
                Sort::Write => counts.writes += 1,
                Sort::Neither => {}
            }
            let name = call.operation().to_string();
            *counts.by_operation.entry(name).or_default() += 1;
        }
        counts
    }

    /// How often an operation was called: `counts.of_operation("elbv2:RegisterTargets")`.
    #[must_use]
    pub fn of_operation(&self, name: &str) -> usize {
        self.by_operation.get(name).copied().unwrap_or_default()
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} reads, {} writes", self.reads, self.writes)?;
        for (index, (name, count)) in self.by_operation.iter().enumerate() {
            let separator = if index == 0 { ": " } else { ", " };
            write!(f, "{separator}{count} {name}")?;
        }
        Ok(())
    }
}
