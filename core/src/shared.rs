//! One object shared by many groups, with one writer (Decides; [`Writer`] reads and writes).
//!
//! A cluster's one Azure load balancer, a network security group, the named ports of an instance group: groups never write
//! these. They hand a [`Claim`] to the object's [`Writer`], which merges all claims into the live object and writes it
//! whole, one write at a time. While a write is in flight claims queue; the next write carries them all. Only fragments
//! with a claim change: what is `Unknown` (not compiled yet, or rejected) and what is foreign stays as it is.
//!
//! A fragment that the cloud refuses is found, by name where the error names it and by halving the new ones where it
//! does not, set aside and reported; its neighbours go through. Nobody waits inside a reconcile: a claim returns at
//! once, and its group is woken when the write is over.
//!
//! [`Desk`] is the state machine without IO, and all decisions are in it; [`Writer`] is the shell around it.

mod writer;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt::Debug,
};

use async_trait::async_trait;
use serde::Serialize;

pub use writer::Writer;

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

    /// Whether the live object shows this claim already. Overridden where it can be told without building a body.
    fn shows(&self, live: &Self::Live, key: &GroupKey, claim: &Claim<Self::Fragment>) -> bool {
        self.merge(live, &BTreeMap::from([(key.clone(), claim.clone())])) == *live
    }

    /// The group whose fragment an error names, where it names one.
    fn blamed(&self, error: &CloudError, candidates: &BTreeSet<GroupKey>) -> Option<GroupKey>;
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
    /// The last write failed as a whole; it is tried again when somebody claims who knows of it.
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

/// How often a write is merged anew after a conflict, before it is left until somebody claims again.
const MAX_CONFLICTS: u32 = 3;

#[derive(Clone, Debug)]
struct Entry<F> {
    claim: Claim<F>,
    refused: Option<(ErrorClass, String)>,
    /// Whether the group was told of the refusal or of the stall: only who knows of it may try again.
    told: bool,
    /// Whether the group waits to be woken.
    waiting: bool,
}

impl<F> Entry<F> {
    fn new(claim: Claim<F>) -> Self {
        Self {
            claim,
            refused: None,
            told: false,
            waiting: true,
        }
    }
}

/// The state of a shared object's writer, without any IO.
pub struct Desk<O: SharedObject> {
    object: O,
    live: Option<O::Live>,
    claims: BTreeMap<GroupKey, Entry<O::Fragment>>,
    /// The claims that the write in flight carries beyond what is live.
    in_flight: Option<BTreeMap<GroupKey, Claim<O::Fragment>>>,
    /// Sets of suspects still to be tried apart, after a refusal that named nobody.
    suspects: VecDeque<BTreeSet<GroupKey>>,
    conflicts: u32,
    stalled: Option<(ErrorClass, String)>,
}

impl<O: SharedObject> Desk<O> {
    /// A desk that has seen nothing.
    pub fn new(object: O) -> Self {
        Self {
            object,
            live: None,
            claims: BTreeMap::new(),
            in_flight: None,
            suspects: VecDeque::new(),
            conflicts: 0,
            stalled: None,
        }
    }

    /// The object as last read or written.
    pub fn live(&self) -> Option<&O::Live> {
        self.live.as_ref()
    }

    /// Takes a group's claim. A claim of before that was refused or stalled is answered with that error once; handed in
    /// once more it is tried again, because whoever hands it in has waited.
    ///
    /// # Errors
    /// What became of the same claim the last time.
    pub fn claim(&mut self, key: GroupKey, claim: Claim<O::Fragment>) -> Result<(), CloudError> {
        let stalled = self.stalled.clone().filter(|_| {
            let entry = self.claims.get(&key);
            entry.is_some_and(|entry| self.is_pending(&key, entry))
        });
        match self
            .claims
            .get_mut(&key)
            .filter(|entry| entry.claim == claim)
        {
            Some(entry) => {
                let trouble = entry.refused.clone().or(stalled);
                if let (Some((class, message)), false) = (trouble, entry.told) {
                    entry.told = true;
                    return Err(CloudError::new(class, "shared write", message));
                }
                entry.refused = None;
                entry.told = false;
                entry.waiting = true;
            }
            None => drop(self.claims.insert(key, Entry::new(claim))),
        }
        self.stalled = None;
        self.conflicts = 0;
        Ok(())
    }

    /// What a group claims now, and where that stands.
    pub fn view(&self, key: &GroupKey) -> Option<(Claim<O::Fragment>, Standing)> {
        Some((self.claims.get(key)?.claim.clone(), self.standing(key)?))
    }

    /// Where a group's claim stands; None when there is none.
    pub fn standing(&self, key: &GroupKey) -> Option<Standing> {
        let entry = self.claims.get(key)?;
        if entry.claim == Claim::Unknown {
            return None;
        }
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
            Some((class, message)) => Standing::Stalled {
                class: *class,
                message: message.clone(),
            },
            None => Standing::Queued,
        })
    }

    /// What to do next.
    pub fn turn(&mut self) -> Turn<O::Live> {
        if self.in_flight.is_some() || self.stalled.is_some() {
            return Turn::Idle;
        }
        let Some(base) = self.live.clone() else {
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
        let claims = self.claims_of(&batch);
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
            // A quota is somebody's too: the others may still find room.
            Err(error) if matches!(error.class, ErrorClass::Rejected | ErrorClass::Quota) => {
                let blamed = self
                    .object
                    .blamed(&error, &batch)
                    .and_then(|key| tried.get_key_value(&key));
                if let Some((key, claim)) = blamed {
                    return self.refuse(key, claim, &error).into_iter().collect();
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
                self.conflicts += 1;
                if error.class == ErrorClass::Conflict && self.conflicts <= MAX_CONFLICTS {
                    return Vec::new();
                }
                self.stall(error)
            }
        }
    }

    /// The object is this now. Returns the groups whose wait that ends.
    fn lives(&mut self, live: O::Live) -> Vec<GroupKey> {
        self.live = Some(live);
        let pending = self.pending();
        let mut woken = Vec::new();
        self.claims.retain(|key, entry| {
            let done = !pending.contains(key) && entry.refused.is_none();
            if done && std::mem::take(&mut entry.waiting) {
                woken.push(key.clone());
            }
            // A claim that something be gone has done its work when it is.
            !(done && entry.claim == Claim::Gone)
        });
        woken
    }

    /// Nothing goes on until somebody claims who knows why. Returns everyone who waits.
    fn stall(&mut self, error: CloudError) -> Vec<GroupKey> {
        self.stalled = Some((error.class, error.message));
        let waits = |(key, entry): (&GroupKey, &Entry<_>)| entry.waiting.then(|| key.clone());
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
        entry.claim != Claim::Unknown
            && entry.refused.is_none()
            && self
                .live
                .as_ref()
                .is_none_or(|live| !self.object.shows(live, key, &entry.claim))
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
