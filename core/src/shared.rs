//! One object shared by many groups, with one writer (Decides; [`Writer`] reads and writes).
//!
//! A cluster's one Azure load balancer, a network security group, the named ports of an instance group: groups never write
//! these. They hand a [`Claim`] to the object's [`Writer`], which merges all claims into the live object and writes it
//! whole, one write at a time. While a write is in flight claims queue; the next write carries them all. Only fragments
//! with a claim change: what is `Unknown` (not compiled yet, or rejected) and what is foreign stays as it is.
//!
//! A fragment that the cloud refuses is found, by name where the error names it and by halving the new ones where it
//! does not, set aside and reported; its neighbours go through. So is one for which a limit that is known leaves no room,
//! before any write. Nobody waits inside a reconcile: a claim returns at
//! once, and its group is woken when the write is over.
//!
//! [`Desk`] is the state machine without IO, and all decisions are in it; [`Writer`] is the shell around it.

#[cfg(test)]
mod board;
#[cfg(test)]
mod claiming;
#[cfg(test)]
mod gathering;
#[cfg(test)]
mod stalling;
mod writer;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt::Debug,
    time::Duration,
};

use async_trait::async_trait;
use serde::Serialize;

pub use writer::{Reading, Writer};

use crate::{
    error::{CloudError, ErrorClass},
    ids::GroupKey,
    ticket::Ticket,
};

/// What a group says about its fragment of a shared object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Claim<F> {
    /// It shall be this.
    Want(F),
    /// It shall not be.
    Gone,
    /// Nothing can be said: it stays as it is. The same as no claim at all.
    Unknown,
}

/// The pure part of a shared object: how claims become a body.
pub trait SharedObject: Send + Sync + 'static {
    /// The object as it was read, foreign parts included.
    type Live: Clone + PartialEq + Debug + Send + Sync;
    /// One group's part of it.
    type Fragment: Clone + PartialEq + Debug + Serialize + Send + Sync;

    /// The body with these claims put into the live object. Parts without a claim stay, byte for byte.
    fn merge(
        &self,
        live: &Self::Live,
        claims: &BTreeMap<GroupKey, Claim<Self::Fragment>>,
    ) -> Self::Live;

    /// Whether the live object shows this claim already. Asked once for each claim whenever the live object is another:
    /// overridden where it can be told without building a body.
    fn shows(&self, live: &Self::Live, key: &GroupKey, claim: &Claim<Self::Fragment>) -> bool {
        self.merge(live, &BTreeMap::from([(key.clone(), claim.clone())])) == *live
    }

    /// The claims of a batch for which there is no room, by limits that are known before the write, each with the error that it is
    /// refused with. The others are written.
    fn excess(
        &self,
        _live: &Self::Live,
        _claims: &BTreeMap<GroupKey, Claim<Self::Fragment>>,
    ) -> Vec<(GroupKey, CloudError)> {
        Vec::new()
    }

    /// The group whose fragment an error names, where it names one of these, which were tried together.
    fn blamed(
        &self,
        error: &CloudError,
        tried: &BTreeMap<GroupKey, Claim<Self::Fragment>>,
    ) -> Option<GroupKey>;
}

/// The impure part: reading and writing the whole object.
#[async_trait]
pub trait SharedBackend: SharedObject {
    /// Reads the object.
    ///
    /// # Errors
    /// When the cloud cannot be asked.
    async fn read(&self) -> Result<Self::Live, CloudError>;

    /// Writes the whole object over the version that `base` is, and returns it as the cloud has it now.
    ///
    /// # Errors
    /// Conflict when `base` is not the cloud's version any more; Rejected when a part is refused.
    async fn write(
        &self,
        base: &Self::Live,
        body: Self::Live,
        ticket: &Ticket,
    ) -> Result<Self::Live, CloudError>;

    /// How long claims are gathered before a write that would carry them. None: not at all.
    fn gathers(&self) -> Option<Gather> {
        None
    }

    /// Returns after this time. Asked only where claims are gathered: nothing here has a clock.
    async fn pause(&self, _: Duration) {}
}

/// How long claims are gathered before a write. A claim that comes while a write is in flight waits for the next one anyway; this
/// is for those who come together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gather {
    /// Until none has come for so long.
    pub quiet: Duration,
    /// At most so long.
    pub longest: Duration,
}

/// Where a claim stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Standing {
    /// The live object has it.
    Done,
    /// It waits for a write, or is in one.
    Queued,
    /// It was refused, with the cloud's message, and stays so until the fragment changes.
    Refused {
        /// What to do about it.
        class: ErrorClass,
        /// The cloud's words.
        message: String,
    },
    /// The last write or read failed as a whole; it is tried again when somebody claims who knows of it.
    Stalled {
        /// What to do about it.
        class: ErrorClass,
        /// The cloud's words.
        message: String,
    },
}

/// What the writer does next.
#[derive(Clone, Debug, PartialEq)]
pub enum Turn<L> {
    /// Nothing.
    Idle,
    /// Read the object.
    Read,
    /// Write this body over this base.
    Write {
        /// The version to write over.
        base: L,
        /// The new body.
        body: L,
    },
}

/// The operation in the errors that a claim is answered with: of the write that carried it.
pub const WRITE: &str = "shared write";

/// How often a write is merged anew after a conflict, before it is left until somebody claims again.
const MAX_CONFLICTS: u32 = 3;

#[derive(Clone, Debug)]
struct Entry<F> {
    claim: Claim<F>,
    /// Whether the object, as it was last known, shows the claim.
    shown: bool,
    refused: Option<(ErrorClass, String)>,
    /// Whether the group was told of the refusal: only who knows of it may try again.
    told: bool,
    /// The number of the stall that the group was told of last.
    told_of: Option<u64>,
    /// Whether the group waits to be woken.
    waiting: bool,
}

/// A call that failed as a whole, so that nothing goes on.
#[derive(Clone, Debug)]
struct Stall {
    class: ErrorClass,
    message: String,
    number: u64,
    /// Nothing was tried: the right to write had ended.
    without_right: bool,
}

/// The state of a shared object's writer, without any IO.
pub struct Desk<O: SharedObject> {
    object: O,
    live: Option<O::Live>,
    claims: BTreeMap<GroupKey, Entry<O::Fragment>>,
    /// The claims that the write in flight carries beyond what is live.
    in_flight: Option<BTreeMap<GroupKey, Claim<O::Fragment>>>,
    /// The groups whose claims were refused before a write, still to be woken.
    set_aside: Vec<GroupKey>,
    /// Sets of suspects still to be tried apart, after a refusal that named nobody.
    suspects: VecDeque<BTreeSet<GroupKey>>,
    conflicts: u32,
    stalled: Option<Stall>,
    /// How often it stalled.
    stalls: u64,
}

impl<O: SharedObject> Desk<O> {
    /// A desk that has seen nothing.
    pub fn new(object: O) -> Self {
        Self {
            object,
            live: None,
            claims: BTreeMap::new(),
            in_flight: None,
            set_aside: Vec::new(),
            suspects: VecDeque::new(),
            conflicts: 0,
            stalled: None,
            stalls: 0,
        }
    }

    /// The object as last read or written.
    pub fn live(&self) -> Option<&O::Live> {
        self.live.as_ref()
    }

    /// Takes a group's claim. One that was refused is answered with that error once; handed in once more it is tried again,
    /// because whoever hands it in has waited.
    ///
    /// While the object as a whole is stalled every claim is kept and answered with the error, and the first who was told of
    /// this very stall sets things going again. So a thousand groups, each with its own delays, make about as many tries as
    /// one of them would.
    ///
    /// # Errors
    /// What became of the same claim the last time, or why nothing goes on.
    pub fn claim(&mut self, key: GroupKey, claim: Claim<O::Fragment>) -> Result<(), CloudError> {
        if claim == Claim::Unknown {
            self.claims.remove(&key);
            return Ok(());
        }
        if self
            .claims
            .get(&key)
            .is_none_or(|entry| entry.claim != claim)
        {
            let live = self.live.as_ref();
            let entry = Entry {
                shown: live.is_some_and(|live| self.object.shows(live, &key, &claim)),
                claim,
                refused: None,
                told: false,
                told_of: None,
                waiting: true,
            };
            self.claims.insert(key.clone(), entry);
        }
        let failed = |class, message: &str| Err(CloudError::new(class, WRITE, message));
        let Some(entry) = self.claims.get_mut(&key) else {
            return Ok(());
        };
        if let Some((class, message)) = &entry.refused {
            if !std::mem::replace(&mut entry.told, true) {
                return failed(*class, message);
            }
            entry.refused = None;
            entry.told = false;
        }
        entry.waiting = true;
        if let Some(stall) = &self.stalled
            && self
                .claims
                .get(&key)
                .is_some_and(|entry| self.is_pending(&key, entry))
        {
            let told_of = self.claims.get_mut(&key).map(|entry| &mut entry.told_of);
            if let Some(told_of) = told_of.filter(|told_of| **told_of != Some(stall.number)) {
                *told_of = Some(stall.number);
                return failed(stall.class, &stall.message);
            }
            self.stalled = None;
            self.conflicts = 0;
        }
        if let Some(entry) = self.claims.get_mut(&key) {
            entry.told_of = None;
        }
        Ok(())
    }

    /// Somebody has the right to write: what stalled for want of it goes on.
    pub fn right_is_back(&mut self) {
        self.stalled.take_if(|stall| stall.without_right);
    }

    /// What a group claims now, and where that stands. Who sees its claim queued waits from now on and is woken, also where
    /// the claim was done before and somebody has undone it.
    pub fn view(&mut self, key: &GroupKey) -> Option<(Claim<O::Fragment>, Standing)> {
        let standing = self.standing(key)?;
        let entry = self.claims.get_mut(key)?;
        entry.waiting |= standing == Standing::Queued;
        Some((entry.claim.clone(), standing))
    }

    /// Where a group's claim stands; None when there is none.
    pub fn standing(&self, key: &GroupKey) -> Option<Standing> {
        let entry = self.claims.get(key)?;
        if let Some((class, message)) = &entry.refused {
            return Some(Standing::Refused {
                class: *class,
                message: message.clone(),
            });
        }
        if !self.is_pending(key, entry) {
            return Some(Standing::Done);
        }
        Some(match &self.stalled {
            Some(stall) => Standing::Stalled {
                class: stall.class,
                message: stall.message.clone(),
            },
            None => Standing::Queued,
        })
    }

    /// Whether there is nothing to do: no turn would read or write.
    pub fn is_idle(&self) -> bool {
        let busy = self.in_flight.is_some() || self.stalled.is_some();
        busy || match &self.live {
            None => self.claims.is_empty(),
            Some(_) => self.pending().is_empty(),
        }
    }

    /// What to do next.
    pub fn turn(&mut self) -> Turn<O::Live> {
        if self.in_flight.is_some() || self.stalled.is_some() {
            return Turn::Idle;
        }
        let Some(base) = &self.live else {
            return if self.claims.is_empty() {
                Turn::Idle
            } else {
                Turn::Read
            };
        };
        let pending = self.pending();
        // What has been settled in the meantime, or claimed anew, is no suspect any more.
        while self
            .suspects
            .front()
            .is_some_and(|suspects| suspects.is_disjoint(&pending))
        {
            self.suspects.pop_front();
        }
        let batch = match self.suspects.front() {
            Some(suspects) => suspects.intersection(&pending).cloned().collect(),
            None => pending,
        };
        if batch.is_empty() {
            return Turn::Idle;
        }
        let mut claims = self.claims_of(&batch);
        let base = base.clone();
        for (key, error) in self.object.excess(&base, &claims) {
            if let Some(claim) = claims.remove(&key) {
                let told = self.refuse(&key, &claim, &error);
                self.set_aside.extend(told);
            }
        }
        if claims.is_empty() {
            return self.turn();
        }
        let body = self.object.merge(&base, &claims);
        self.in_flight = Some(claims);
        Turn::Write { base, body }
    }

    /// A read has ended. Returns the groups to wake.
    pub fn read_ended(&mut self, result: Result<O::Live, CloudError>) -> Vec<GroupKey> {
        match result {
            Ok(live) => self.lives(live),
            Err(error) => self.stall(error),
        }
    }

    /// The write in flight has ended. Returns the groups to wake.
    pub fn write_ended(&mut self, result: Result<O::Live, CloudError>) -> Vec<GroupKey> {
        let tried = self.in_flight.take().unwrap_or_default();
        let batch: BTreeSet<GroupKey> = tried.keys().cloned().collect();
        match result {
            Ok(live) => {
                self.conflicts = 0;
                self.settle(&batch);
                self.lives(live)
            }
            Err(error) if error.class.is_hopeless() => {
                let blamed = self
                    .object
                    .blamed(&error, &tried)
                    .and_then(|key| tried.get_key_value(&key));
                if let Some((key, claim)) = blamed {
                    return self.refuse(key, claim, &error).into_iter().collect();
                }
                // A missing permission that names nobody is everybody's. A quota is somebody's: the others may still find room.
                if error.class == ErrorClass::Denied {
                    return self.stall(error);
                }
                self.settle(&batch);
                if let (1, Some((key, claim))) = (tried.len(), tried.first_key_value()) {
                    return self.refuse(key, claim, &error).into_iter().collect();
                }
                // Somebody in the batch is at fault: each half is tried by itself, and what is live already is never touched.
                let half = batch.len() / 2;
                let second = batch.iter().skip(half).cloned().collect();
                let first = batch.into_iter().take(half).collect();
                self.suspects.push_front(second);
                self.suspects.push_front(first);
                Vec::new()
            }
            Err(error) => {
                // Whatever happened to it, only a read knows.
                self.live = None;
                if error.class == ErrorClass::Conflict && self.conflicts < MAX_CONFLICTS {
                    self.conflicts += 1;
                    return Vec::new();
                }
                self.stall(error)
            }
        }
    }

    /// The write was not begun: the right to write has ended. Nothing that is known is lost. Returns the groups to wake, so
    /// that somebody comes who has the right.
    pub fn write_not_begun(&mut self, error: CloudError) -> Vec<GroupKey> {
        self.in_flight = None;
        let told = self.stall(error);
        if let Some(stall) = &mut self.stalled {
            stall.without_right = true;
        }
        told
    }

    /// The object is this now. Returns the groups whose wait that ends.
    fn lives(&mut self, live: O::Live) -> Vec<GroupKey> {
        for (key, entry) in &mut self.claims {
            entry.shown = self.object.shows(&live, key, &entry.claim);
        }
        self.live = Some(live);
        let done = self.take_done();
        // Refused and gone all the same: nobody will hand it in again.
        self.claims
            .retain(|_, entry| entry.claim != Claim::Gone || entry.waiting || !entry.shown);
        done
    }

    /// The groups that wait and need not: the live object shows their claims, perhaps since before they were handed in; or there is
    /// no room for them.
    pub fn take_done(&mut self) -> Vec<GroupKey> {
        let mut told = std::mem::take(&mut self.set_aside);
        let done: Vec<GroupKey> = self
            .claims
            .iter()
            .filter(|(key, entry)| {
                entry.waiting && entry.refused.is_none() && !self.is_pending(key, entry)
            })
            .map(|(key, _)| key.clone())
            .collect();
        for key in &done {
            if let Some(entry) = self.claims.get_mut(key) {
                entry.waiting = false;
                // A claim that something be gone has done its work when it is.
                if entry.claim == Claim::Gone {
                    self.claims.remove(key);
                }
            }
        }
        told.extend(done);
        told
    }

    /// Nothing goes on until somebody claims who knows why. Returns everyone who waits and was not told of a stall before:
    /// the others come back in their own time, and waking them would make each failure the cause of the next try.
    fn stall(&mut self, error: CloudError) -> Vec<GroupKey> {
        self.stalls += 1;
        self.stalled = Some(Stall {
            // Read anew often enough already: whoever claims shall come back later, not look again at once.
            class: match error.class {
                ErrorClass::Conflict => ErrorClass::Transient,
                class => class,
            },
            message: error.message,
            number: self.stalls,
            without_right: false,
        });
        let waits = |(key, entry): (&GroupKey, &Entry<_>)| {
            (entry.waiting && entry.told_of.is_none()).then(|| key.clone())
        };
        self.claims.iter().filter_map(waits).collect()
    }

    /// Whatever is live is old: somebody else may have written.
    pub fn forget_live(&mut self) {
        if self.in_flight.is_none() {
            self.live = None;
        }
    }

    /// The groups whose claim the live object does not show yet, without those that were refused.
    fn pending(&self) -> BTreeSet<GroupKey> {
        self.claims
            .iter()
            .filter(|(key, entry)| self.is_pending(key, entry))
            .map(|(key, _)| key.clone())
            .collect()
    }

    fn is_pending(&self, key: &GroupKey, entry: &Entry<O::Fragment>) -> bool {
        if entry.refused.is_some() {
            return false;
        }
        // What is live says nothing about a claim while a write carries another one of the same group.
        let overtaken = self
            .in_flight
            .as_ref()
            .and_then(|claims| claims.get(key))
            .is_some_and(|claim| *claim != entry.claim);
        overtaken || self.live.is_none() || !entry.shown
    }

    fn claims_of(&self, batch: &BTreeSet<GroupKey>) -> BTreeMap<GroupKey, Claim<O::Fragment>> {
        self.claims
            .iter()
            .filter(|(key, _)| batch.contains(key))
            .map(|(key, entry)| (key.clone(), entry.claim.clone()))
            .collect()
    }

    /// Sets a refused claim aside, unless it has been superseded while it was tried. Returns the group to wake.
    fn refuse(
        &mut self,
        key: &GroupKey,
        claim: &Claim<O::Fragment>,
        error: &CloudError,
    ) -> Option<GroupKey> {
        let entry = self
            .claims
            .get_mut(key)
            .filter(|entry| entry.claim == *claim)?;
        entry.refused = Some((error.class, error.message.clone()));
        entry.waiting = false;
        Some(key.clone())
    }

    /// A batch of suspects has been tried.
    fn settle(&mut self, batch: &BTreeSet<GroupKey>) {
        if self
            .suspects
            .front()
            .is_some_and(|suspects| !suspects.is_disjoint(batch))
        {
            self.suspects.pop_front();
        }
    }
}
