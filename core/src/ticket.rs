//! The right to write (Reads the clock, nothing else).
//!
//! A ticket is handed out by whoever holds the leader lease and ends before the lease does, so that a write that
//! starts under it is over when another leader may begin.

#[cfg(test)]
mod tests;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use crate::error::{CloudError, ErrorClass};

/// The right to write until a deadline, or until it is taken back.
#[derive(Clone, Debug)]
pub struct Ticket {
    deadline: Option<Instant>,
    revoked: Arc<AtomicBool>,
}

impl Ticket {
    /// A ticket without an end, for single-process use (a command line, a test).
    pub fn unlimited() -> Self {
        Self {
            deadline: None,
            revoked: Arc::default(),
        }
    }

    /// A ticket that ends at `deadline`, and earlier when `revoked` becomes true.
    pub fn until(deadline: Instant, revoked: Arc<AtomicBool>) -> Self {
        Self {
            deadline: Some(deadline),
            revoked,
        }
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
        if self.revoked.load(Ordering::Acquire) {
            return Err(ended());
        }
        match self.deadline {
            None => Ok(None),
            Some(deadline) => match deadline.checked_duration_since(Instant::now()) {
                Some(left) if !left.is_zero() => Ok(Some(left)),
                _ => Err(ended()),
            },
        }
    }

    /// Whether this ticket is still good and ends later than the other. One without an end is of another kind, and outlasts none.
    pub fn outlasts(&self, other: &Self) -> bool {
        let later =
            matches!((self.deadline, other.deadline), (Some(mine), Some(its)) if mine > its);
        later && !self.revoked.load(Ordering::Acquire)
    }
}
