//! Makes the process do what the objects say. Writes: ports, probes, deadlines.
//!
//! Takes the changes that are on disk, in their order. What one change does not name stays untouched.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, SocketAddr},
    os::fd::OwnedFd,
    sync::Arc,
    time::Duration,
};

use super::{
    affinity::{
        file::{Memories, Revisions},
        share,
    },
    backends::BackendSet,
    handover::{Socket, take::Inherited},
    listener::{Listener, Settings, Shared},
    prober::Probes,
    store::{Change, Edit, Store, Stored, targets::KeptSet},
    traffic::Traffic,
};
use crate::api::{BackendSetStatus, ListenerPhase, ListenerSpec, ListenerStatus, failure};

/// Everything that runs.
#[derive(Debug)]
pub(crate) struct Runtime {
    pub(crate) sets: BTreeMap<String, Arc<BackendSet>>,
    pub(crate) listeners: BTreeMap<String, Listener>,
    pub(crate) probes: Probes,
    pub(crate) traffic: Arc<Traffic>,
    /// Addresses that are not where they should be, with what that means for their listeners.
    pub(crate) addresses: BTreeMap<IpAddr, ListenerPhase>,
    /// Open ports of the data plane that ran before; none once everything stored has started.
    inherited: HashMap<Socket, Vec<OwnedFd>>,
    /// How many sets remember clients.
    affine: usize,
}

impl Runtime {
    /// Starts all that is stored, from what was inherited where there is something; clients find the targets that are
    /// remembered of them.
    pub(crate) fn start(
        store: &Store,
        memories: Memories,
        traffic: Arc<Traffic>,
        inherited: Inherited,
    ) -> Self {
        let probes = Probes::default();
        probes.inherit(inherited.beliefs);
        let mut runtime = Self {
            sets: BTreeMap::new(),
            listeners: BTreeMap::new(),
            probes,
            traffic,
            addresses: BTreeMap::new(),
            inherited: inherited.sockets,
            affine: 0,
        };
        for set in store.backend_sets.values() {
            runtime.put_set(set);
        }
        for (name, memory) in memories {
            if let Some(set) = runtime.sets.get(&name) {
                set.recall(&memory);
            }
        }
        for listener in store.listeners.values() {
            runtime.put_listener(listener, store);
        }
        runtime.inherited = HashMap::new();
        runtime.probes.inherit(Vec::new());
        runtime
    }

    /// Lets one change take effect. `store` is as after the change, or later.
    pub(crate) async fn apply(&mut self, change: &Change, store: &Store) {
        match change {
            // A lease is only a note of who holds the address; its listeners come and go by themselves.
            Change::Nothing | Change::Lease(_) => {}
            Change::BackendSet(Edit { name, after, .. }) => match after {
                Some(set) => self.put_set(set),
                None => {
                    if let Some(set) = self.sets.remove(name) {
                        set.close();
                        self.share_memory(set.clients().is_some(), false);
                    }
                }
            },
            Change::Listener(Edit {
                name,
                before,
                after,
            }) => match (after, before) {
                (Some(listener), _) => self.put_listener(listener, store),
                (None, Some(before)) => {
                    if let Some(listener) = self.listeners.remove(name) {
                        let drain = self
                            .sets
                            .get(&before.spec.backend_set)
                            .map_or(Duration::ZERO, |set| set.drain());
                        listener.close(drain).await;
                        self.retry();
                    }
                }
                (None, None) => {}
            },
        }
    }

    /// Tries again to open every port that should be open and is not.
    pub(crate) fn retry(&mut self) {
        for listener in self
            .listeners
            .values_mut()
            .filter(|listener| listener.is_down())
        {
            listener.retry(&self.traffic);
        }
    }

    /// What is open, for the data plane that takes over.
    pub(crate) fn sockets(&self) -> Vec<(Socket, Shared)> {
        self.listeners
            .values()
            .flat_map(Listener::sockets)
            .collect()
    }

    /// Closes every port; open connections go on.
    pub(crate) async fn stop_accepting(&mut self) {
        for listener in std::mem::take(&mut self.listeners).into_values() {
            listener.stop_accepting().await;
        }
    }

    pub(crate) fn set_status(&self, name: &str) -> BackendSetStatus {
        self.sets
            .get(name)
            .map(|set| set.status())
            .unwrap_or_default()
    }

    pub(crate) fn listener_status(&self, name: &str) -> ListenerStatus {
        let Some(listener) = self.listeners.get(name) else {
            return ListenerStatus {
                phase: ListenerPhase::Failed {
                    code: failure::BIND_FAILED.to_owned(),
                    message: "the listener is no longer there; read it again".to_owned(),
                },
                connections: 0,
            };
        };
        let status = listener.status();
        match self.addresses.get(&listener.front.address.ip()) {
            Some(phase) => ListenerStatus {
                phase: phase.clone(),
                ..status
            },
            None => status,
        }
    }

    /// What all sets remember of clients.
    pub(crate) fn memories(&self) -> Memories {
        let memory = |(name, set): (&String, &Arc<BackendSet>)| Some((name.clone(), set.memory()?));
        self.sets.iter().filter_map(memory).collect()
    }

    /// The same, when anything has changed since.
    pub(crate) fn memories_since(&self, known: &Revisions) -> Option<(Revisions, Memories)> {
        let revision =
            |(name, set): (&String, &Arc<BackendSet>)| Some((name.clone(), set.revision()?));
        let revisions: Revisions = self.sets.iter().filter_map(revision).collect();
        (revisions != *known).then(|| (revisions, self.memories()))
    }

    fn put_set(&mut self, set: &Stored<KeptSet>) {
        let running = self.sets.get(&set.name).cloned();
        let before = running.as_ref().is_some_and(|set| set.clients().is_some());
        match running {
            Some(running) => running.update(&set.spec, &self.probes),
            None => {
                self.sets.insert(
                    set.name.clone(),
                    Arc::new(BackendSet::new(&set.spec, &self.probes)),
                );
            }
        }
        self.share_memory(before, set.spec.rest.affinity_seconds.is_some());
        if let Some(running) = self.sets.get(&set.name) {
            running.limit_clients(share(self.affine));
        }
    }

    /// Bounds what all sets remember together, after one of them began or ended to remember.
    fn share_memory(&mut self, before: bool, after: bool) {
        let was = share(self.affine);
        self.affine = self.affine + usize::from(after) - usize::from(before);
        let most = share(self.affine);
        if most != was {
            for set in self.sets.values() {
                set.limit_clients(most);
            }
        }
    }

    fn put_listener(&mut self, listener: &Stored<ListenerSpec>, store: &Store) {
        let Stored {
            name, marks, spec, ..
        } = listener;
        // Requests of one batch are stored together: what this one refers to may be gone again by a later one,
        // and then so is this listener.
        let (Some(lease), Some(set)) = (
            store.leases.get(&spec.lease),
            self.sets.get(&spec.backend_set),
        ) else {
            return;
        };
        let settings = Settings::new(spec, marks, Arc::clone(set), &self.traffic.shares);
        if let Some(running) = self.listeners.get_mut(name) {
            return running.update(marks, settings);
        }
        let address = SocketAddr::new(lease.spec.address, spec.port);
        let socket = Socket {
            protocol: spec.protocol,
            address,
        };
        let inherited = self.inherited.remove(&socket).unwrap_or_default();
        let running = Listener::open(name, marks, socket, settings, &self.traffic, inherited);
        self.listeners.insert(name.clone(), running);
    }
}
