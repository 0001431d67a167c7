//! The one task that changes anything: requests in, answers out. Reads and writes.
//!
//! ## Flow
//! Requests that wait at the same time are one batch: each is merged into the objects, the result is written to disk
//! once, then it takes effect, then all are answered. When the disk refuses, the whole batch is taken back and told so.
//!
//! ## Guarantees
//! What was answered survives a crash. A read sees every change answered before it. A change whose caller has given up is not
//! begun, so that who asks after that sees all there will ever be of it.

use std::{collections::HashMap, convert::Infallible, sync::Arc, time::Duration};

use serde::Serialize;
use tokio::{
    sync::{mpsc, oneshot},
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use super::route::Which;
use super::{
    disk::Disk,
    facts,
    handover::Socket,
    interfaces::Interfaces,
    listener::Shared,
    prober::Belief,
    runtime::Runtime,
    store::{
        Change, Edit, Held, Kind, Request, Store, Stored, Table,
        targets::{KeptSet, Node, Targets},
    },
};
use crate::api::{
    ApiError, BackendSet, BackendSetSummary, Health, Lease, LeaseStatus, Listener, ListenerSpec,
    Object, Objects, Snapshot, TargetAddress, code,
};
use crate::moment::Moment;

/// Requests that may wait; more are told to come back.
const QUEUE: usize = 1_024;
/// Most requests that one write to disk carries.
const BATCH: usize = 256;

/// What a change is answered with.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The object as it is now.
    Put {
        object: Box<AnyObject>,
        created: bool,
    },
    /// It is gone.
    Deleted,
}

/// An object of any kind.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum AnyObject {
    Lease(Lease),
    BackendSet(BackendSet),
    Listener(Listener),
}

/// What a read may look at.
pub(crate) struct View<'a> {
    pub(crate) store: &'a Store,
    pub(crate) runtime: &'a Runtime,
}

/// What a table has of a cluster, or of a group.
fn all<T, O>(table: &Table<T>, which: &Which, object: impl FnMut(&Stored<T>) -> O) -> Vec<O> {
    let wanted = |stored: &&Stored<T>| which.has(&stored.marks);
    table
        .values()
        .map(AsRef::as_ref)
        .filter(wanted)
        .map(object)
        .collect()
}

/// Lists of targets, each once.
#[derive(Default)]
struct Lists(HashMap<Arc<[Node]>, usize>);

impl Lists {
    fn index(&mut self, targets: &Targets) -> usize {
        let next = self.0.len();
        let nodes = Arc::clone(targets.nodes());
        *self.0.entry(nodes).or_insert(next)
    }

    fn in_order(self) -> Vec<Vec<TargetAddress>> {
        let mut lists: Vec<_> = self.0.into_iter().collect();
        lists.sort_by_key(|(_, index)| *index);
        let address = |(node, address): &Node| TargetAddress {
            node: node.clone(),
            address: *address,
        };
        lists
            .into_iter()
            .map(|(nodes, _)| nodes.iter().map(address).collect())
            .collect()
    }
}

impl View<'_> {
    /// One object.
    pub(crate) fn object(&self, kind: Kind, name: &str) -> Option<AnyObject> {
        Some(match kind {
            Kind::Lease => AnyObject::Lease(self.lease(self.store.leases.get(name)?)),
            Kind::BackendSet => {
                AnyObject::BackendSet(self.backend_set(self.store.backend_sets.get(name)?))
            }
            Kind::Listener => AnyObject::Listener(self.listener(self.store.listeners.get(name)?)),
        })
    }

    /// All objects, or those of one cluster or group.
    pub(crate) fn objects(&self, which: &Which) -> Objects {
        Objects {
            leases: all(&self.store.leases, which, |lease| self.lease(lease)),
            backend_sets: all(&self.store.backend_sets, which, |set| self.backend_set(set)),
            listeners: all(&self.store.listeners, which, |listener| {
                self.listener(listener)
            }),
        }
    }

    /// The same with the targets of all backend sets told once.
    pub(crate) fn snapshot(&self, which: &Which) -> Snapshot {
        let mut lists = Lists::default();
        let backend_sets = all(&self.store.backend_sets, which, |set| {
            self.summary(set, &mut lists)
        });
        Snapshot {
            leases: all(&self.store.leases, which, |lease| self.lease(lease)),
            listeners: all(&self.store.listeners, which, |listener| {
                self.listener(listener)
            }),
            lists: lists.in_order(),
            backend_sets,
        }
    }

    fn summary(&self, stored: &Stored<KeptSet>, lists: &mut Lists) -> BackendSetSummary {
        let KeptSet { targets, rest } = &stored.spec;
        let status = self.runtime.set_status(&stored.name);
        let healthy = status
            .targets
            .iter()
            .filter(|target| target.health == Health::Healthy)
            .count();
        BackendSetSummary {
            name: stored.name.clone(),
            marks: stored.marks.clone(),
            generation: stored.generation,
            list: lists.index(targets),
            port: targets.port(),
            health_check: rest.health_check.clone(),
            drain_seconds: rest.drain_seconds,
            affinity_seconds: rest.affinity_seconds,
            healthy: u32::try_from(healthy).unwrap_or(u32::MAX),
        }
    }

    fn lease(&self, stored: &Stored<Held>) -> Lease {
        let Stored {
            name,
            marks,
            generation,
            spec: Held { asked, address, .. },
            ..
        } = stored.clone();
        let pool = self.store.pool_of(address);
        Object {
            name,
            marks,
            generation,
            spec: asked,
            status: LeaseStatus {
                address,
                pool: pool.map(|pool| pool.label().to_owned()),
            },
        }
    }

    fn backend_set(&self, stored: &Stored<KeptSet>) -> BackendSet {
        let Stored {
            name,
            marks,
            generation,
            spec,
            ..
        } = stored.clone();
        let status = self.runtime.set_status(&name);
        Object {
            name,
            marks,
            generation,
            spec: spec.spec(),
            status,
        }
    }

    fn listener(&self, stored: &Stored<ListenerSpec>) -> Listener {
        let Stored {
            name,
            marks,
            generation,
            spec,
            ..
        } = stored.clone();
        let status = self.runtime.listener_status(&name);
        Object {
            name,
            marks,
            generation,
            spec,
            status,
        }
    }
}

type Read = Box<dyn FnOnce(&View<'_>) + Send>;

enum Command {
    Change(
        Box<Request>,
        Option<Moment>,
        oneshot::Sender<Result<Answer, ApiError>>,
    ),
    Read(Read),
    Freeze(oneshot::Sender<Result<Frozen, ApiError>>),
}

/// Nothing changes while this lives, and what is asked meanwhile waits.
pub(crate) struct Frozen {
    /// Every open port.
    pub(crate) sockets: Vec<(Socket, Shared)>,
    /// What is believed of the targets.
    pub(crate) beliefs: Vec<Belief>,
    _thaw: oneshot::Sender<Infallible>,
}

/// The way to the engine.
#[derive(Clone)]
pub(crate) struct Engine {
    commands: mpsc::Sender<Command>,
}

impl Engine {
    /// Changes something. When the caller stops waiting the change may be made all the same, unless the deadline has passed
    /// before it was begun.
    pub(crate) async fn change(
        &self,
        request: Request,
        deadline: Option<Moment>,
    ) -> Result<Answer, ApiError> {
        let (answer, answered) = oneshot::channel();
        self.commands
            .try_send(Command::Change(Box::new(request), deadline, answer))
            .map_err(|_| busy())?;
        answered.await.map_err(|_| busy())?
    }

    /// Looks at everything as it is between two batches.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        look: impl FnOnce(&View<'_>) -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let (answer, answered) = oneshot::channel();
        let read: Read = Box::new(move |view| {
            // A reader that went away needs no answer.
            let _ = answer.send(look(view));
        });
        self.commands
            .try_send(Command::Read(read))
            .map_err(|_| busy())?;
        answered.await.map_err(|_| busy())
    }
}

impl Engine {
    /// Stops all changes for as long as the answer lives. All that was answered before is on disk.
    pub(crate) async fn freeze(&self) -> Result<Frozen, ApiError> {
        let (answer, answered) = oneshot::channel();
        self.commands
            .send(Command::Freeze(answer))
            .await
            .map_err(|_| busy())?;
        answered.await.map_err(|_| busy())?
    }
}

/// The answer when none can be given now.
pub(crate) fn busy() -> ApiError {
    ApiError::new(
        code::BUSY,
        "the data plane is overloaded or stopping; ask again, and read before you assume anything",
    )
}

/// The answer to a change that was asked for too long ago.
fn too_late() -> ApiError {
    ApiError::new(
        code::BUSY,
        "the change comes after its deadline and was not begun; ask again with a later one",
    )
}

/// Makes an engine: the way to it, and the task to be run until `stop`. The task gives the runtime back.
pub(crate) fn engine(
    store: Store,
    runtime: Runtime,
    interfaces: Interfaces,
    disk: Disk,
    bind_retry: Duration,
    stop: CancellationToken,
) -> (Engine, impl Future<Output = Runtime> + Send + 'static) {
    let (commands, mut queue) = mpsc::channel(QUEUE);
    let mut work = Work {
        store,
        runtime,
        interfaces,
        disk,
        saved: true,
    };
    let run = async move {
        let mut retry = interval(bind_retry);
        retry.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                _ = retry.tick() => work.tick().await,
                _ = queue.recv_many(&mut batch, BATCH) => {
                    // None left means that nobody can ask any more; `stop` will come.
                    if batch.is_empty() {
                        stop.cancelled().await;
                        break;
                    }
                    if let Some(waiter) = work.batch(std::mem::take(&mut batch)).await {
                        tokio::select! {
                            () = stop.cancelled() => break,
                            () = work.freeze(waiter) => {}
                        }
                    }
                }
            }
        }
        work.runtime
    };
    (Engine { commands }, run)
}

struct Work {
    store: Store,
    runtime: Runtime,
    interfaces: Interfaces,
    disk: Disk,
    /// False when a failed save may have left a file with more than the store has.
    saved: bool,
}

/// A merged change and who waits for it.
struct Merged {
    kind: Kind,
    name: String,
    result: Result<Change, ApiError>,
    waiter: oneshot::Sender<Result<Answer, ApiError>>,
}

impl Work {
    async fn tick(&mut self) {
        self.store.facts.host = facts::host(&self.store.pools);
        self.settle().await;
        self.runtime.retry();
        if !self.saved && self.save().await.is_ok() {
            self.saved = true;
        }
    }

    /// Has addresses be where they should be.
    async fn settle(&mut self) {
        self.interfaces.settle(&self.store).await;
        self.runtime.addresses = self.interfaces.phases();
    }

    async fn freeze(&mut self, waiter: oneshot::Sender<Result<Frozen, ApiError>>) {
        if !self.saved {
            if let Err(error) = self.save().await {
                let refused =
                    format!("the state cannot be written: {error}; make room, and start again");
                let _ = waiter.send(Err(ApiError::new(code::STORAGE, refused)));
                return;
            }
            self.saved = true;
        }
        let (thaw, thawed) = oneshot::channel();
        let frozen = Frozen {
            sockets: self.runtime.sockets(),
            beliefs: self.runtime.probes.beliefs(),
            _thaw: thaw,
        };
        if waiter.send(Ok(frozen)).is_ok() {
            // Nothing is ever sent: it ends when the other side is dropped.
            let _ = thawed.await;
        }
    }

    /// Carries commands out. Who wants everything to be frozen after them is returned.
    async fn batch(
        &mut self,
        commands: Vec<Command>,
    ) -> Option<oneshot::Sender<Result<Frozen, ApiError>>> {
        let mut freeze = None;
        let mut merged = Vec::new();
        let mut reads = Vec::new();
        for command in commands {
            match command {
                Command::Read(read) => reads.push(read),
                Command::Change(request, deadline, waiter) => {
                    merged.push(self.merge(*request, deadline, waiter));
                }
                // There is never more than one.
                Command::Freeze(waiter) => freeze = Some(waiter),
            }
        }
        let news = |merged: &Merged| {
            merged
                .result
                .as_ref()
                .is_ok_and(|change| *change != Change::Nothing)
        };
        if merged.iter().any(news) {
            match self.save().await {
                Ok(()) => {
                    self.saved = true;
                    let changes = || {
                        merged
                            .iter()
                            .filter_map(|merged| merged.result.as_ref().ok())
                    };
                    let lease = |comes: bool| {
                        changes().any(|change| matches!(change, Change::Lease(edit) if edit.after.is_some() == comes))
                    };
                    // A listener needs its address from its first moment to its last.
                    if lease(true) {
                        self.settle().await;
                    }
                    for change in changes() {
                        self.runtime.apply(change, &self.store).await;
                    }
                    if lease(false) {
                        self.settle().await;
                    }
                }
                Err(error) => {
                    tracing::error!(error, "the state could not be written; nothing was changed");
                    self.saved = false;
                    self.take_back(&mut merged, &error);
                }
            }
        }
        let view = View {
            store: &self.store,
            runtime: &self.runtime,
        };
        for Merged {
            kind,
            name,
            result,
            waiter,
        } in merged
        {
            // Somebody who stopped waiting reads again.
            let _ = waiter.send(result.map(|change| answer(&view, kind, &name, &change)));
        }
        // Reads come last: what was asked together with a change may as well see it.
        for read in reads {
            read(&view);
        }
        freeze
    }

    fn merge(
        &mut self,
        request: Request,
        deadline: Option<Moment>,
        waiter: oneshot::Sender<Result<Answer, ApiError>>,
    ) -> Merged {
        let (kind, name) = request.subject();
        let name = name.to_owned();
        if deadline.is_some_and(Moment::has_passed) {
            return Merged {
                kind,
                name,
                result: Err(too_late()),
                waiter,
            };
        }
        if let Request::PutLease { put, .. } = &request
            && !self.store.leases.contains_key(&name)
        {
            self.store.facts = facts::look(&self.store.pools, &put.spec);
        }
        Merged {
            kind,
            name,
            result: self.store.apply(request),
            waiter,
        }
    }

    fn take_back(&mut self, merged: &mut [Merged], error: &str) {
        // A request that changed nothing may have found what another one of this batch had made.
        for merged in merged
            .iter_mut()
            .rev()
            .filter(|merged| merged.result.is_ok())
        {
            let refused = Err(ApiError::new(
                code::STORAGE,
                format!(
                    "the change could not be written to disk: {error}; nothing was changed, make room and ask again"
                ),
            ));
            if let Ok(change) = std::mem::replace(&mut merged.result, refused) {
                self.store.undo(change);
            }
        }
    }

    async fn save(&self) -> Result<(), String> {
        let (disk, store) = (self.disk.clone(), self.store.clone());
        let saved = tokio::task::spawn_blocking(move || disk.save(&store)).await;
        let said = match saved {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        Err(format!("{}: {said}", self.disk.path().display()))
    }
}

/// The answer to a request that was carried out. A later request of the same batch may have changed the object
/// again or removed it; then this one is answered as if it had come in between.
fn answer(view: &View<'_>, kind: Kind, name: &str, change: &Change) -> Answer {
    let created = |before: bool, after: bool| !before && after;
    let (created, object) = match change {
        Change::Nothing => (false, view.object(kind, name)),
        Change::Lease(Edit { before, after, .. }) => (
            created(before.is_some(), after.is_some()),
            after
                .as_deref()
                .map(|after| AnyObject::Lease(view.lease(after))),
        ),
        Change::BackendSet(Edit { before, after, .. }) => (
            created(before.is_some(), after.is_some()),
            after
                .as_deref()
                .map(|after| AnyObject::BackendSet(view.backend_set(after))),
        ),
        Change::Listener(Edit { before, after, .. }) => (
            created(before.is_some(), after.is_some()),
            after
                .as_deref()
                .map(|after| AnyObject::Listener(view.listener(after))),
        ),
    };
    match object {
        Some(object) => Answer::Put {
            object: Box::new(object),
            created,
        },
        None => Answer::Deleted,
    }
}
