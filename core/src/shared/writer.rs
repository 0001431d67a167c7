//! The async shell around a [`Desk`]: reads and writes the shared object when the desk says so (Reads and Writes).

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use futures::{StreamExt, channel::mpsc};

use super::{Claim, Desk, SharedBackend, SharedObject, Standing, Turn};
use crate::{error::CloudError, ids::GroupKey, provider::Wake, ticket::Ticket};

/// The one writer of a shared object: a [`Desk`] with its cloud.
pub struct Writer<B: SharedBackend> {
    desk: Mutex<Desk<Arc<B>>>,
    backend: Arc<B>,
    knock: Mutex<mpsc::Sender<()>>,
    ticket: Mutex<Ticket>,
    wake: Wake,
    /// Counts writes: a read that one of them overtook is old.
    writes: AtomicU64,
    /// One read at a time: who waited for it takes its result, if it began late enough.
    reading: futures::lock::Mutex<()>,
    /// Counts reads that began.
    reads: AtomicU64,
    /// The number of the last read that the desk has seen.
    seen: AtomicU64,
}

impl<B: SharedBackend> SharedObject for Arc<B> {
    type Live = B::Live;
    type Fragment = B::Fragment;

    fn merge(
        &self,
        live: &Self::Live,
        claims: &BTreeMap<GroupKey, Claim<Self::Fragment>>,
    ) -> Self::Live {
        (**self).merge(live, claims)
    }

    fn shows(&self, live: &Self::Live, key: &GroupKey, claim: &Claim<Self::Fragment>) -> bool {
        (**self).shows(live, key, claim)
    }

    fn excess(
        &self,
        live: &Self::Live,
        claims: &BTreeMap<GroupKey, Claim<Self::Fragment>>,
    ) -> Vec<(GroupKey, CloudError)> {
        (**self).excess(live, claims)
    }

    fn blamed(
        &self,
        error: &CloudError,
        tried: &BTreeMap<GroupKey, Claim<Self::Fragment>>,
    ) -> Option<GroupKey> {
        (**self).blamed(error, tried)
    }
}

impl<B: SharedBackend> Writer<B> {
    /// A writer, and the future that does its work: the owner spawns it. It ends when the writer is dropped, after the
    /// call that is on its way; whoever cannot wait for that aborts it.
    pub fn new(backend: B, wake: Wake) -> (Arc<Self>, impl Future<Output = ()> + Send + 'static) {
        let backend = Arc::new(backend);
        // One sender has one place, which is enough: a knock that finds another waiting has nothing to add.
        let (knock, knocks) = mpsc::channel(0);
        let writer = Arc::new(Self {
            desk: Mutex::new(Desk::new(backend.clone())),
            backend,
            knock: Mutex::new(knock),
            // Nobody has claimed, so nobody has given the right to write.
            ticket: Mutex::new(Ticket::until(Instant::now(), Arc::default())),
            wake,
            writes: AtomicU64::new(0),
            reading: futures::lock::Mutex::new(()),
            reads: AtomicU64::new(0),
            seen: AtomicU64::new(0),
        });
        let work = Self::work(Arc::downgrade(&writer), knocks);
        (writer, work)
    }

    /// Hands in a claim and returns at once. The group is woken when the claim is done, refused or stalled.
    ///
    /// # Errors
    /// What became of the same claim the last time; see [`Desk::claim`].
    pub fn claim(
        &self,
        key: GroupKey,
        claim: Claim<B::Fragment>,
        ticket: &Ticket,
    ) -> Result<(), CloudError> {
        {
            let mut held = lock(&self.ticket);
            // A run that began long ago may come later than one with a newer ticket.
            if !held.outlasts(ticket) {
                *held = ticket.clone();
            }
        }
        {
            let mut desk = lock(&self.desk);
            if ticket.remaining().is_ok() {
                desk.right_is_back();
            }
            desk.claim(key, claim)?;
        }
        // A full channel means that somebody knocked already.
        let _ = lock(&self.knock).try_send(());
        Ok(())
    }

    /// What a group claims now, and where that stands. A group that sees its claim queued is woken when that is over.
    pub fn view(&self, key: &GroupKey) -> Option<(Claim<B::Fragment>, Standing)> {
        let view = lock(&self.desk).view(key);
        if matches!(view, Some((_, Standing::Queued))) {
            let _ = lock(&self.knock).try_send(());
        }
        view
    }

    /// The object as last read or written, read now if it is not known or shall be fresh. Groups that ask at the same time share
    /// a read that began after they asked.
    ///
    /// # Errors
    /// When the cloud cannot be asked.
    pub async fn live(&self, fresh: bool) -> Result<B::Live, CloudError> {
        if !fresh && let Some(live) = lock(&self.desk).live() {
            return Ok(live.clone());
        }
        let asked = self.reads.load(Ordering::Acquire);
        let _one = self.reading.lock().await;
        if (!fresh || self.seen.load(Ordering::Acquire) > asked)
            && let Some(live) = lock(&self.desk).live()
        {
            return Ok(live.clone());
        }
        let number = self.reads.fetch_add(1, Ordering::AcqRel) + 1;
        let writes = self.writes.load(Ordering::Acquire);
        let live = self.backend.read().await?;
        let told = {
            let mut desk = lock(&self.desk);
            if desk.in_flight.is_none() && self.writes.load(Ordering::Acquire) == writes {
                self.seen.store(number, Ordering::Release);
                desk.read_ended(Ok(live.clone()))
            } else {
                Vec::new()
            }
        };
        self.tell(&told);
        Ok(live)
    }

    fn tell(&self, groups: &[GroupKey]) {
        for key in groups {
            (self.wake)(key);
        }
    }

    async fn work(writer: Weak<Self>, mut knocks: mpsc::Receiver<()>) {
        while knocks.next().await.is_some() {
            while let Some(turn) = writer.upgrade().map(|writer| writer.turn()) {
                // The writer is not held while the cloud is asked, so that it can be dropped meanwhile.
                let (backend, ticket, turn) = turn;
                let result = match turn {
                    Turn::Idle => break,
                    Turn::Read => Ended::Read(backend.read().await),
                    Turn::Write { base, body } => match ticket.begin() {
                        Ok(_writing) => Ended::Write(backend.write(&base, body, &ticket).await),
                        Err(ended) => Ended::NotBegun(ended),
                    },
                };
                let Some(writer) = writer.upgrade() else {
                    return;
                };
                writer.ended(result);
            }
        }
    }

    fn turn(&self) -> (Arc<B>, Ticket, Turn<B::Live>) {
        let (turn, done) = {
            let mut desk = lock(&self.desk);
            (desk.turn(), desk.take_done())
        };
        self.tell(&done);
        if matches!(turn, Turn::Write { .. }) {
            self.writes.fetch_add(1, Ordering::AcqRel);
        }
        (self.backend.clone(), lock(&self.ticket).clone(), turn)
    }

    fn ended(&self, call: Ended<B::Live>) {
        let told = match call {
            Ended::Read(result) => lock(&self.desk).read_ended(result),
            Ended::Write(result) => lock(&self.desk).write_ended(result),
            Ended::NotBegun(error) => lock(&self.desk).write_not_begun(error),
        };
        self.tell(&told);
    }
}

/// A call of the writer that has ended.
enum Ended<L> {
    Read(Result<L, CloudError>),
    Write(Result<L, CloudError>),
    NotBegun(CloudError),
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
