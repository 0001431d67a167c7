//! Whether another cluster with our identity writes here (Reads, Writes one tag).
//!
//! The mark is a tag of the cluster's backend group, which every bulk look lists: reading it costs no call. It is written before the
//! first write of a process, and again after an hour at the next write; and before a write it is read, where the last look is older than five
//! minutes. So a process that writes nothing costs nothing, and one that writes has seen who else does.
//!
//! Who sees the mark of another stops writing. Had it seen its own before, the other came later and may not know: the mark is made
//! nobody's, so that both stop, and a person decides which goes on.

use std::{
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use evenkeel_core::{
    error::{CloudError, ErrorClass, FailureReason, ProviderFault},
    holder::{CONTESTED, Ledger, Record, Whose},
    ticket::Ticket,
};

use crate::{
    Aws,
    client::{GroupReply, filter},
    model::{CloudId, Pairs},
    names,
};

/// How old the last look at the mark may be for a write.
const FRESH: Duration = Duration::from_secs(5 * 60);

/// How old our mark may be for a write: a backup from before it tells that it is one.
const OLD: Duration = Duration::from_secs(60 * 60);

/// What remembers the marks, and the right to write.
struct Keeper {
    ledger: Arc<dyn Ledger>,
    ticket: Ticket,
}

#[derive(Debug, Default)]
struct State {
    /// What the cluster remembers, as it was last read or written.
    record: Option<Record>,
    /// The backend group.
    group: Option<CloudId>,
    /// When a mark that is not another's was last seen.
    seen_at: Option<Instant>,
    /// When this process put its mark there.
    marked_at: Option<Instant>,
    /// Another's mark.
    another: Option<Arc<str>>,
    /// Nothing can be remembered, and nobody is told from another.
    is_blind: bool,
}

/// Watches over the mark. Without a ledger it does nothing.
#[derive(Default)]
pub(crate) struct Holder {
    keeper: OnceLock<Keeper>,
    state: Mutex<State>,
    marking: tokio::sync::Mutex<()>,
}

impl std::fmt::Debug for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Holder").finish_non_exhaustive()
    }
}

impl Holder {
    /// Begins to watch.
    pub(crate) fn begin(&self, ledger: Arc<dyn Ledger>, ticket: Ticket) {
        // Set once, at the start.
        let _ = self.keeper.set(Keeper { ledger, ticket });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keeper(&self) -> Option<&Keeper> {
        self.keeper.get().filter(|_| !self.state().is_blind)
    }

    /// Whether all is ours as far as is known; makes no call.
    ///
    /// # Errors
    /// The fault that another cluster writes here.
    pub(crate) fn known(&self, aws: &Aws) -> Result<(), CloudError> {
        let another = self.state().another.clone();
        match (self.keeper(), another) {
            (Some(keeper), Some(mark)) => Err(fault(aws, keeper, &mark)),
            _ => Ok(()),
        }
    }

    /// Where another was seen: looks whether that still holds, by one call.
    ///
    /// # Errors
    /// As [`Holder::known`]; when AWS does not answer.
    pub(crate) async fn look_again(&self, aws: &Aws) -> Result<(), CloudError> {
        if self.state().another.is_none() {
            return Ok(());
        }
        // What was remembered may have been changed by a person.
        self.state().record = None;
        self.look(aws).await
    }

    async fn look(&self, aws: &Aws) -> Result<(), CloudError> {
        let Some(group) = self.state().group.clone() else {
            return Ok(());
        };
        let filters = vec![filter("group-id", [group.as_str()])];
        let found = aws.client.security_groups(filters).await?;
        self.saw(aws, found.first()).await
    }

    /// The backend group was read, or is not there.
    ///
    /// # Errors
    /// As [`Holder::known`]; when the cluster does not answer.
    pub(crate) async fn saw(
        &self,
        aws: &Aws,
        group: Option<&GroupReply>,
    ) -> Result<(), CloudError> {
        let Some(keeper) = self.keeper() else {
            return Ok(());
        };
        self.state().group = group.map(GroupReply::id);
        let tags = group.map(GroupReply::tags).unwrap_or_default();
        let seen = tags.get(&names::holder(keeper.ledger.installation()));
        let seen = seen.map(|mark| &**mark);
        let remembered = match seen {
            None => Some(Whose::Nobodys),
            Some(_) => {
                let state = self.state();
                state.record.as_ref().map(|record| record.whose(seen))
            }
        };
        let whose = match remembered {
            Some(whose @ (Whose::Ours | Whose::Nobodys)) => whose,
            // Another process of this cluster may have put it there since.
            Some(Whose::Anothers) | None => {
                let Some(record) = keeper.ledger.read().await? else {
                    self.state().is_blind = true;
                    return Ok(());
                };
                let whose = record.whose(seen);
                self.state().record = Some(record);
                whose
            }
        };
        let Some(mark) = seen.filter(|_| whose == Whose::Anothers) else {
            let mut state = self.state();
            if let (Whose::Nobodys, Some(mark)) = (whose, seen) {
                // The cluster remembers none: from now on it knows this one.
                let record = state.record.take().unwrap_or_default();
                state.record = Some(record.with(mark));
            }
            state.another = None;
            state.seen_at = Some(Instant::now());
            return Ok(());
        };
        let came_later = {
            let mut state = self.state();
            state.another = Some(mark.into());
            state.seen_at.take().is_some()
        };
        if came_later && !mark.starts_with(CONTESTED) {
            self.contest(aws, keeper, group).await;
        }
        self.known(aws)
    }

    /// Makes the mark nobody's. Where that fails the other goes on, and we have stopped all the same.
    async fn contest(&self, aws: &Aws, keeper: &Keeper, group: Option<&GroupReply>) {
        let last = {
            let state = self.state();
            let record = state.record.as_ref();
            record.and_then(|record| record.marks.last().cloned())
        };
        let (Some(group), Ok(_writing), Some(last)) = (group, keeper.ticket.begin(), last) else {
            return;
        };
        let mark: Arc<str> = format!("{CONTESTED}{last}").into();
        if put(aws, keeper, &group.id(), &mark, &keeper.ticket)
            .await
            .is_ok()
        {
            self.state().another = Some(mark);
        }
    }

    /// Sees to it that this process may write: that nobody else does, and that its own mark is there.
    ///
    /// # Errors
    /// As [`Holder::known`]; when the cluster or AWS does not answer.
    pub(crate) async fn before_write(&self, aws: &Aws, ticket: &Ticket) -> Result<(), CloudError> {
        let Some(keeper) = self.keeper() else {
            return Ok(());
        };
        self.known(aws)?;
        let Some(group) = self.state().group.clone() else {
            return Ok(());
        };
        let (is_seen, is_marked) = self.is_done(aws);
        if is_seen && is_marked {
            return Ok(());
        }
        let _marking = self.marking.lock().await;
        if !self.is_done(aws).0 {
            self.look(aws).await?;
        }
        if self.is_done(aws).1 {
            return Ok(());
        }
        if let Some(mark) = self.remember().await? {
            put(aws, keeper, &group, &mark, ticket).await?;
            self.state().marked_at = Some(Instant::now());
        }
        Ok(())
    }

    /// Whether the mark was seen, and whether it was put there, not long ago.
    fn is_done(&self, aws: &Aws) -> (bool, bool) {
        let state = self.state();
        let within = |at: Option<Instant>, age| at.is_some_and(|at| at.elapsed() < age);
        let fresh = FRESH.min(aws.context.sweep);
        (within(state.seen_at, fresh), within(state.marked_at, OLD))
    }

    /// A new mark, once it is remembered; None where nothing can be.
    async fn remember(&self) -> Result<Option<Arc<str>>, CloudError> {
        let Some(keeper) = self.keeper() else {
            return Ok(None);
        };
        let mark = keeper.ledger.new_mark();
        let record = self.state().record.clone().unwrap_or_default().with(&mark);
        let is_remembered = keeper.ledger.write(&record).await?;
        let mut state = self.state();
        state.is_blind = !is_remembered;
        state.record = Some(record);
        Ok(is_remembered.then(|| mark.into()))
    }

    /// The backend group was made, or found.
    pub(crate) fn made(&self, group: &CloudId) {
        self.state().group = Some(group.clone());
    }

    /// The mark of a backend group that is made now.
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub(crate) async fn of_new_group(&self) -> Result<Pairs, CloudError> {
        let Some(keeper) = self.keeper() else {
            return Ok(Pairs::new());
        };
        let Some(mark) = self.remember().await? else {
            return Ok(Pairs::new());
        };
        let now = Some(Instant::now());
        let mut state = self.state();
        (state.seen_at, state.marked_at) = (now, now);
        Ok([(names::holder(keeper.ledger.installation()), mark)].into())
    }
}

async fn put(
    aws: &Aws,
    keeper: &Keeper,
    group: &CloudId,
    mark: &Arc<str>,
    ticket: &Ticket,
) -> Result<(), CloudError> {
    let key = names::holder(keeper.ledger.installation());
    let tags = [(key, Arc::clone(mark))].into();
    aws.client.create_tags(group, &tags, ticket).await
}

fn fault(aws: &Aws, keeper: &Keeper, mark: &str) -> CloudError {
    let cluster = &aws.context.cluster.uid;
    let text = format!(
        "another cluster with the identity {cluster} writes here: the mark {mark} on the cluster's backend security group is none that \
         this cluster has put there. One of them was restored from a backup of the other. Stop evenkeel in the one that shall not have these \
         load balancers; if this is the other: {}",
        keeper.ledger.way_out(mark)
    );
    CloudError::new(ErrorClass::Denied, "who writes", text)
        .because(FailureReason::OwnershipConflict)
        .of_provider(ProviderFault::AnotherCluster)
}
