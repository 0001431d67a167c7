//! Late reads: what is read may lack the last writes. Decides.
//!
//! "Azure Resource Manager ... propagation": a GET after a PUT may be served by another region's cache ("the resource group or resource ...
//! could not be found" after a creation; "Troubleshoot Azure resource not found errors"). Azure documents no bound.

use std::collections::VecDeque;
use std::sync::Arc;

use jiff::Timestamp;

use super::state::{Changes, State};
use crate::fake_aws::Settle;

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
