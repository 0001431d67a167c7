//! The async shell around a [`Desk`]: reads and writes the shared object when the desk says so (Reads and Writes).

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use futures::{
    StreamExt,
    channel::mpsc,
    future::{Either, select},
};

use super::{Claim, Desk, Gather, SharedBackend, SharedObject, Standing, Turn};
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
        let reading = self.begin_read();
        let live = self.backend.read().await?;
        self.end_read(&reading, live.clone());
        Ok(live)
    }

    /// Somebody begins to read the object by a way of its own: where one call tells of several objects.
    pub fn begin_read(&self) -> Reading {
        Reading {
            number: self.reads.fetch_add(1, Ordering::AcqRel) + 1,
            writes: self.writes.load(Ordering::Acquire),
        }
    }

    /// Such a read has ended. It says nothing where a write has overtaken it.
    pub fn end_read(&self, reading: &Reading, live: B::Live) {
        let told = {
            let mut desk = lock(&self.desk);
            if desk.in_flight.is_some() || self.writes.load(Ordering::Acquire) != reading.writes {
                return;
            }
            self.seen.fetch_max(reading.number, Ordering::AcqRel);
            desk.read_ended(Ok(live))
        };
        self.tell(&told);
        // What somebody has undone is put right, whoever has seen it.
        let _ = lock(&self.knock).try_send(());
    }

    fn tell(&self, groups: &[GroupKey]) {
        for key in groups {
            (self.wake)(key);
        }
    }

    async fn work(writer: Weak<Self>, mut knocks: mpsc::Receiver<()>) {
        while knocks.next().await.is_some() {
            // What was just read is written over at once, before somebody else does.
            let mut hasty = false;
            loop {
                if !hasty {
                    Self::gather(&writer, &mut knocks).await;
                }
                let Some(turn) = writer.upgrade().map(|writer| writer.turn()) else {
                    return;
                };
                // The writer is not held while the cloud is asked, so that it can be dropped meanwhile.
                let (backend, ticket, turn) = turn;
                let result = match turn {
                    // Whoever knocked while claims were gathered is heard by now.
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
                hasty = !matches!(result, Ended::Write(Ok(_)));
                writer.ended(result);
            }
        }
    }

    /// Waits for others who claim at about the same time.
    async fn gather(writer: &Weak<Self>, knocks: &mut mpsc::Receiver<()>) {
        let Some(backend) = writer.upgrade().and_then(|writer| {
            let is_idle = lock(&writer.desk).is_idle();
            (!is_idle).then(|| writer.backend.clone())
        }) else {
            return;
        };
        let Some(Gather { quiet, longest }) = backend.gathers() else {
            return;
        };
        let mut end = backend.pause(longest);
        loop {
            let more = select(knocks.next(), backend.pause(quiet));
            match select(end, more).await {
                Either::Right((Either::Left((Some(()), _)), goes_on)) => end = goes_on,
                _ => return,
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

/// A read of the object that somebody has begun.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    number: u64,
    writes: u64,
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
