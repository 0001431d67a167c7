//! Eventual consistency: what reads see may lack the last writes. Decides.
//!
//! EC2 API reference, "Eventual consistency in the Amazon EC2 API": "the result of an API command you run that affects your Amazon EC2
//! resources might not be immediately visible to all subsequent commands you run." AWS documents no bound.

use std::collections::VecDeque;
use std::sync::Arc;

use jiff::Timestamp;

use super::settings::Settle;
use super::state::{Changes, State};

/// The state as reads see it.
#[derive(Debug, Default)]
pub(super) struct Replica {
    seen: State,
    /// What is not yet seen, with when it was written and how many reads have missed it.
    coming: VecDeque<(Arc<Changes>, Timestamp, u32)>,
}

impl Replica {
    pub(super) fn written(&mut self, changes: Arc<Changes>, now: Timestamp) {
        self.coming.push_back((changes, now, 0));
    }

    /// What a read sees now.
    pub(super) fn read(&mut self, lag: Settle, now: Timestamp) -> &State {
        while let Some((changes, written, missed)) = self.coming.front()
            && *missed >= lag.calls
            && now >= *written + lag.after
        {
            self.seen.apply(changes);
            self.coming.pop_front();
        }
        for (_, _, missed) in &mut self.coming {
            *missed = missed.saturating_add(1);
        }
        &self.seen
    }
}
