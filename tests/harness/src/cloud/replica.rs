//! Late reads: what is read may lack the last writes. Decides. Why a cloud reads late, and how late, is in its settings.

use std::collections::VecDeque;
use std::sync::Arc;

use jiff::Timestamp;

use super::Settle;
use super::history::Replay;

/// The state as reads see it.
#[derive(Debug, Default)]
pub(crate) struct Replica<S: Replay> {
    seen: S,
    /// What is not yet seen, with when it was written and how many reads have missed it.
    coming: VecDeque<(Arc<S::Changes>, Timestamp, u32)>,
}

impl<S: Replay> Replica<S> {
    pub(crate) fn written(&mut self, changes: Arc<S::Changes>, now: Timestamp) {
        self.coming.push_back((changes, now, 0));
    }

    /// What a read sees now.
    pub(crate) fn read(&mut self, lag: Settle, now: Timestamp) -> &S {
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
