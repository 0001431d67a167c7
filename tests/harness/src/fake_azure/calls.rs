//! What went over the wire. Decides.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

/// One request.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// What it is: `PUT loadBalancers`, `LIST publicIPAddresses`, `GET loadBalancers/backendAddressPools`, `POLL`, `TOKEN`.
    pub kind: String,
    /// The path, as sent.
    pub path: String,
    /// The header `If-Match`.
    pub if_match: Option<String>,
    /// The header `x-ms-client-request-id`.
    pub request_id: Option<String>,
    /// The body, of a write.
    pub body: Option<Value>,
    /// The HTTP status; None: no reply.
    pub status: Option<u16>,
    /// The code of the error, the innermost of them.
    pub error: Option<String>,
    /// What broke it.
    pub fault: Option<String>,
    /// A write of the same load balancer or security group that had no reply, or whose operation was not over, when this write came.
    pub beside: Option<String>,
}

impl Call {
    /// Whether nothing lasts of it.
    #[must_use]
    pub fn is_read(&self) -> bool {
        ["GET ", "LIST ", "POLL", "TOKEN"]
            .iter()
            .any(|verb| self.kind.starts_with(verb))
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.path)?;
        if let Some(etag) = &self.if_match {
            write!(f, " if {etag}")?;
        }
        match (self.status, &self.error) {
            (Some(status), Some(error)) => write!(f, " -> {status} {error}")?,
            (Some(status), None) => write!(f, " -> {status}")?,
            (None, _) => write!(f, " -> no reply")?,
        }
        match &self.fault {
            Some(fault) => write!(f, " ({fault})"),
            None => Ok(()),
        }
    }
}

/// A moment in the log, to count one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(usize);

/// All calls in the order in which they arrived.
#[derive(Clone, Debug, Default)]
pub struct CallLog {
    calls: Arc<Mutex<Vec<Call>>>,
}

impl CallLog {
    /// All calls so far.
    #[must_use]
    pub fn all(&self) -> Vec<Call> {
        self.lock().clone()
    }

    /// Now.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark(self.lock().len())
    }

    /// The calls that arrived after `mark`.
    #[must_use]
    pub fn since(&self, mark: Mark) -> Vec<Call> {
        self.lock()[mark.0..].to_vec()
    }

    /// How many of each arrived after `mark`.
    #[must_use]
    pub fn count_since(&self, mark: Mark) -> Counts {
        Counts::of(&self.lock()[mark.0..])
    }

    /// Adds a call that arrived; returns its place.
    pub(super) fn arrived(&self, call: Call) -> usize {
        let mut calls = self.lock();
        calls.push(call);
        calls.len() - 1
    }

    /// Says more of a call.
    pub(super) fn change(&self, place: usize, change: impl FnOnce(&mut Call)) {
        change(&mut self.lock()[place]);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Call>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for CallLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lock()
            .iter()
            .try_for_each(|call| writeln!(f, "{call}"))
    }
}

/// How many calls, of which kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls that change nothing.
    pub reads: usize,
    /// Calls that change something.
    pub writes: usize,
    /// By kind: `PUT loadBalancers`.
    pub by_kind: BTreeMap<String, usize>,
}

impl Counts {
    /// Counts calls. Those for tokens are only in `by_kind`.
    #[must_use]
    pub fn of(calls: &[Call]) -> Self {
        let mut counts = Self::default();
        for call in calls {
            match call.is_read() {
                _ if call.kind == "TOKEN" => {}
                true => counts.reads += 1,
                false => counts.writes += 1,
            }
            *counts.by_kind.entry(call.kind.clone()).or_default() += 1;
        }
        counts
    }

    /// How many of a kind: `counts.of_kind("PUT loadBalancers")`.
    #[must_use]
    pub fn of_kind(&self, kind: &str) -> usize {
        self.by_kind.get(kind).copied().unwrap_or_default()
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} reads, {} writes", self.reads, self.writes)?;
        for (index, (kind, count)) in self.by_kind.iter().enumerate() {
            let separator = if index == 0 { ": " } else { ", " };
            write!(f, "{separator}{count} {kind}")?;
        }
        Ok(())
    }
}
