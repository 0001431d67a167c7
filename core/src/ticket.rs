//! The right to write (Reads the clock, nothing else).
//!
//! Whoever leads has a [`Term`], renews it while its lease lasts, and takes it back. Tickets are what the rest of the
//! process sees of it. A term ends before the lease does, so that a write that starts under it is over when another
//! leader may begin; and it knows which writes are under way, so that the lead is given away after the last of them.

#[cfg(test)]
mod tests;

use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::Poll,
    time::{Duration, Instant},
};

use futures::task::AtomicWaker;

use crate::error::{CloudError, ErrorClass};

/// As nanoseconds after the base of a term: never.
const NEVER: u64 = u64::MAX;

#[derive(Debug)]
struct Shared {
    /// What the times below are counted from.
    base: Instant,
    /// When the term ends, in nanoseconds after the base.
    ends: AtomicU64,
    /// Until when nothing is destroyed, in nanoseconds after the base.
    destroys: AtomicU64,
    /// Writes under way.
    writing: AtomicUsize,
    /// Who waits until there are none.
    waits: AtomicWaker,
}

impl Shared {
    fn new(base: Instant, ends: u64) -> Arc<Self> {
        Arc::new(Self {
            base,
            ends: AtomicU64::new(ends),
            destroys: AtomicU64::new(0),
            writing: AtomicUsize::new(0),
            waits: AtomicWaker::new(),
        })
    }

    fn after_base(&self, time: Instant) -> u64 {
        let after = time.saturating_duration_since(self.base).as_nanos();
        u64::try_from(after).unwrap_or(NEVER - 1)
    }

    fn end(&self) -> Option<Instant> {
        match self.ends.load(Ordering::SeqCst) {
            NEVER => None,
            after => Some(self.base + Duration::from_nanos(after)),
        }
    }
}

/// The right to write, in the hand of who has the lead. Clones are the same term.
#[derive(Clone, Debug)]
pub struct Term(Ticket);

impl Default for Term {
    fn default() -> Self {
        Self::new()
    }
}

impl Term {
    /// A term that has not begun: its tickets allow nothing until it is renewed.
    pub fn new() -> Self {
        Self(Ticket::until(Instant::now(), Arc::default()))
    }

    /// A term that only ends when it is taken back: nobody competes.
    pub fn endless() -> Self {
        Self(Ticket::unlimited())
    }

    /// What others see of it.
    pub fn ticket(&self) -> Ticket {
        self.0.clone()
    }

    /// Puts the end off, in every ticket. Never brings it nearer, and never brings back what was taken back.
    pub fn renew(&self, until: Instant) {
        let shared = &self.0.shared;
        shared
            .ends
            .fetch_max(shared.after_base(until), Ordering::SeqCst);
    }

    /// Takes it back for good: no write begins any more. Those under way go on.
    pub fn revoke(&self) {
        self.0.revoked.store(true, Ordering::SeqCst);
    }

    /// Forbids to destroy anything before this time: late writes of a former leader could still meet it.
    pub fn hold_destroys(&self, until: Instant) {
        let shared = &self.0.shared;
        shared
            .destroys
            .fetch_max(shared.after_base(until), Ordering::SeqCst);
    }

    /// Waits until no write is under way. For one who waits at a time.
    pub async fn idle(&self) {
        let shared = &self.0.shared;
        poll_fn(|context| {
            shared.waits.register(context.waker());
            match shared.writing.load(Ordering::SeqCst) {
                0 => Poll::Ready(()),
                _ => Poll::Pending,
            }
        })
        .await;
    }
}

/// The right to write until a deadline, or until it is taken back. Clones are the same ticket.
#[derive(Clone, Debug)]
pub struct Ticket {
    shared: Arc<Shared>,
    revoked: Arc<AtomicBool>,
}

impl Ticket {
    /// A ticket without an end, for single-process use (a command line, a test).
    pub fn unlimited() -> Self {
        Self {
            shared: Shared::new(Instant::now(), NEVER),
            revoked: Arc::default(),
        }
    }

    /// A ticket that ends at `deadline`, and earlier when `revoked` becomes true.
    pub fn until(deadline: Instant, revoked: Arc<AtomicBool>) -> Self {
        let shared = Shared::new(Instant::now(), 0);
        let ends = shared.after_base(deadline);
        shared.ends.store(ends, Ordering::SeqCst);
        Self { shared, revoked }
    }

    /// Time left to write: the longest a call may take. None when there is no end.
    ///
    /// # Errors
    /// [`ErrorClass::Conflict`] when the ticket has ended: somebody else may be writing.
    pub fn remaining(&self) -> Result<Option<Duration>, CloudError> {
        let ended = || {
            CloudError::new(
                ErrorClass::Conflict,
                "write",
                "the right to write has ended with the leader lease",
            )
        };
        if self.revoked.load(Ordering::SeqCst) {
            return Err(ended());
        }
        match self.shared.end() {
            None => Ok(None),
            Some(deadline) => match deadline.checked_duration_since(Instant::now()) {
                Some(left) if !left.is_zero() => Ok(Some(left)),
                _ => Err(ended()),
            },
        }
    }

    /// Begins a write. It is under way until the result is dropped, and the lead is not given away before.
    ///
    /// # Errors
    /// As [`Ticket::remaining`].
    pub fn begin(&self) -> Result<Writing, CloudError> {
        // Counted before it is asked: who takes the right back then sees the write, or the write sees that.
        self.shared.writing.fetch_add(1, Ordering::SeqCst);
        let writing = Writing(self.shared.clone());
        self.remaining().map(|_| writing)
    }

    /// How long nothing may be destroyed yet; None when it may.
    pub fn destroys_wait(&self) -> Option<Duration> {
        let until = self.shared.destroys.load(Ordering::SeqCst);
        let until = self.shared.base + Duration::from_nanos(until);
        let left = until.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    /// Whether this ticket is still good and ends later than the other. One without an end is of another kind, and outlasts none.
    pub fn outlasts(&self, other: &Self) -> bool {
        if Arc::ptr_eq(&self.shared, &other.shared) {
            return false;
        }
        let later = matches!((self.shared.end(), other.shared.end()), (Some(mine), Some(its)) if mine > its);
        later && !self.revoked.load(Ordering::SeqCst)
    }
}

/// A write under way.
#[derive(Debug)]
#[must_use = "the write is over when this is dropped"]
pub struct Writing(Arc<Shared>);

impl Drop for Writing {
    fn drop(&mut self) {
        self.0.writing.fetch_sub(1, Ordering::SeqCst);
        self.0.waits.wake();
    }
}
