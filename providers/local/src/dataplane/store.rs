//! The objects and the rules for changing them. Decides: no IO, no clock, no randomness.
//!
//! [`Store::apply`] merges one request into the objects or says why not, and returns the [`Change`] it made.
//! A change can be taken back with [`Store::undo`]: the caller applies requests, writes the result to disk and only
//! then lets it take effect, so that nothing is ever done that a restart would forget.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
    sync::{Arc, OnceLock},
};

use serde::{Deserialize, Serialize};

use self::lists::Lists;
use self::rules::{Verdict, admit, immutable, refer, write};
use self::targets::KeptSet;
use super::{
    allocate::{self, Facts, Granted},
    pool::Pool,
    validate,
};

use crate::api::{ApiError, BackendSetSpec, LeaseSpec, ListenerSpec, Marks, Put, code};

pub(crate) mod lists;
mod places;
mod rules;
pub(crate) mod targets;

/// A kind of object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Lease,
    BackendSet,
    Listener,
}

impl Kind {
    /// The kind whose objects stand under this segment of a path.
    pub(crate) fn from_path(segment: &str) -> Option<Self> {
        match segment {
            "leases" => Some(Self::Lease),
            "backendsets" => Some(Self::BackendSet),
            "listeners" => Some(Self::Listener),
            _ => None,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lease => "lease",
            Self::BackendSet => "backend set",
            Self::Listener => "listener",
        })
    }
}

/// An object as it is kept: all but what only the running process knows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Stored<T> {
    pub(crate) name: String,
    pub(crate) marks: Marks,
    pub(crate) generation: u64,
    pub(crate) spec: T,
    #[serde(skip)]
    pub(crate) text: Text,
}

/// An object's JSON, made when it is first written to disk and used for every further time.
///
/// The state file is written as a whole with every change; of thousands of objects one has changed.
#[derive(Debug, Default)]
pub(crate) struct Text(OnceLock<Written>);

/// What is written of an object.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) text: Box<str>,
    /// The list that the text names.
    pub(crate) list: Option<u64>,
}

impl Text {
    pub(crate) fn get_or_make(
        &self,
        make: impl FnOnce() -> serde_json::Result<Written>,
    ) -> serde_json::Result<&Written> {
        if let Some(written) = self.0.get() {
            return Ok(written);
        }
        let written = make()?;
        Ok(self.0.get_or_init(|| written))
    }
}

impl Clone for Text {
    /// A copy of an object is made to be changed, so it has no text yet.
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for Text {
    /// Objects are equal by what they say, not by whether it has been written down.
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

/// What was asked of a lease and the address it got.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Held {
    pub(crate) asked: LeaseSpec,
    pub(crate) address: IpAddr,
    /// Whether other leases may hold the address too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) shared: bool,
}

pub(crate) type Table<T> = BTreeMap<String, Arc<Stored<T>>>;

/// What a request says about the object it expects to find.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Expect {
    /// `If-None-Match: *`: there is none, or the very same one.
    pub(crate) absent: bool,
    /// `If-Match`: there is one, of this generation.
    pub(crate) generation: Option<u64>,
}

/// A request that changes something.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    PutLease {
        name: String,
        put: Put<LeaseSpec>,
        expect: Expect,
    },
    PutBackendSet {
        name: String,
        put: Put<BackendSetSpec>,
        expect: Expect,
    },
    PutListener {
        name: String,
        put: Put<ListenerSpec>,
        expect: Expect,
    },
    Delete {
        kind: Kind,
        name: String,
        cluster: String,
        expect: Expect,
    },
}

impl Request {
    /// The object that the request is about.
    pub(crate) fn subject(&self) -> (Kind, &str) {
        match self {
            Self::PutLease { name, .. } => (Kind::Lease, name),
            Self::PutBackendSet { name, .. } => (Kind::BackendSet, name),
            Self::PutListener { name, .. } => (Kind::Listener, name),
            Self::Delete { kind, name, .. } => (*kind, name),
        }
    }
}

/// What an applied request did to the objects.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Change {
    /// Nothing: the objects were so already.
    Nothing,
    Lease(Edit<Held>),
    BackendSet(Edit<KeptSet>),
    Listener(Edit<ListenerSpec>),
}

/// One object before and after a change; None where it does not exist.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Edit<T> {
    pub(crate) name: String,
    pub(crate) before: Option<Arc<Stored<T>>>,
    pub(crate) after: Option<Arc<Stored<T>>>,
}

/// All objects.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    pub(crate) pools: Arc<[Pool]>,
    /// What the machine was found to be when the last address was chosen.
    pub(crate) facts: Facts,
    /// The generation that the next change gets. Never goes back.
    pub(crate) next_generation: u64,
    pub(crate) leases: Table<Held>,
    pub(crate) backend_sets: Table<KeptSet>,
    pub(crate) listeners: Table<ListenerSpec>,
    /// The nodes of all backend sets.
    pub(crate) lists: Lists,
}

impl Store {
    pub(crate) fn new(pools: Arc<[Pool]>) -> Self {
        Self {
            pools,
            facts: Facts::default(),
            next_generation: 1,
            leases: Table::new(),
            backend_sets: Table::new(),
            listeners: Table::new(),
            lists: Lists::default(),
        }
    }

    /// The pool that an address is of, as the machine was last found.
    pub(crate) fn pool_of(&self, address: IpAddr) -> Option<&Pool> {
        allocate::pool_of(&self.pools, &self.facts.host, address)
    }

    /// Merges one request into the objects.
    ///
    /// # Errors
    /// Why the request was refused; the objects are then as before.
    pub(crate) fn apply(&mut self, request: Request) -> Result<Change, ApiError> {
        match request {
            Request::PutLease { name, put, expect } => self.put_lease(name, put, expect),
            Request::PutBackendSet { name, put, expect } => self.put_backend_set(name, put, expect),
            Request::PutListener { name, put, expect } => self.put_listener(name, put, expect),
            Request::Delete {
                kind,
                name,
                cluster,
                expect,
            } => self.delete(kind, name, &cluster, expect),
        }
    }

    /// Takes a change back. Changes are undone in the reverse order of their making.
    pub(crate) fn undo(&mut self, change: Change) {
        fn restore<T>(table: &mut Table<T>, edit: Edit<T>) {
            match edit.before {
                Some(before) => table.insert(edit.name, before),
                None => table.remove(&edit.name),
            };
        }
        match change {
            Change::Nothing => {}
            Change::Lease(edit) => restore(&mut self.leases, edit),
            Change::BackendSet(edit) => restore(&mut self.backend_sets, edit),
            Change::Listener(edit) => restore(&mut self.listeners, edit),
        }
    }

    fn put_lease(
        &mut self,
        name: String,
        put: Put<LeaseSpec>,
        expect: Expect,
    ) -> Result<Change, ApiError> {
        validate::name("name", &name)?;
        validate::marks(&put.marks)?;
        validate::lease(&put.spec)?;
        let before = self.leases.get(&name);
        let same =
            |stored: &Stored<Held>| stored.marks == put.marks && stored.spec.asked == put.spec;
        if let Verdict::Same = admit(Kind::Lease, &name, before, &put.marks.cluster, expect, same)?
        {
            return Ok(Change::Nothing);
        }
        let after = match before {
            None => {
                let holdings = self.holdings(&put.spec);
                let Granted { address, shared } =
                    allocate::allocate(&self.pools, &self.facts, &holdings, &put.spec, &put.marks)?;
                Held {
                    asked: put.spec,
                    address,
                    shared,
                }
            }
            Some(before) => {
                let held = before.spec.address;
                immutable("spec.family", &before.spec.asked.family, &put.spec.family)?;
                if let Some(asked) = put.spec.address {
                    immutable("spec.address", &held, &asked)?;
                }
                Held {
                    asked: put.spec,
                    ..before.spec.clone()
                }
            }
        };
        Ok(Change::Lease(write(
            &mut self.leases,
            &mut self.next_generation,
            name,
            put.marks,
            after,
        )))
    }

    fn put_backend_set(
        &mut self,
        name: String,
        put: Put<BackendSetSpec>,
        expect: Expect,
    ) -> Result<Change, ApiError> {
        validate::name("name", &name)?;
        validate::marks(&put.marks)?;
        validate::backend_set(&put.spec)?;
        let before = self.backend_sets.get(&name);
        let same =
            |stored: &Stored<KeptSet>| stored.marks == put.marks && stored.spec.is(&put.spec);
        if let Verdict::Same = admit(
            Kind::BackendSet,
            &name,
            before,
            &put.marks.cluster,
            expect,
            same,
        )? {
            return Ok(Change::Nothing);
        }
        let edit = write(
            &mut self.backend_sets,
            &mut self.next_generation,
            name,
            put.marks,
            KeptSet::of(put.spec, &self.lists),
        );
        Ok(Change::BackendSet(edit))
    }

    fn put_listener(
        &mut self,
        name: String,
        put: Put<ListenerSpec>,
        expect: Expect,
    ) -> Result<Change, ApiError> {
        validate::name("name", &name)?;
        validate::marks(&put.marks)?;
        validate::listener(&put.spec)?;
        let before = self.listeners.get(&name);
        let same =
            |stored: &Stored<ListenerSpec>| stored.marks == put.marks && stored.spec == put.spec;
        if let Verdict::Same = admit(
            Kind::Listener,
            &name,
            before,
            &put.marks.cluster,
            expect,
            same,
        )? {
            return Ok(Change::Nothing);
        }
        let spec = &put.spec;
        if let Some(before) = before {
            immutable("spec.lease", &before.spec.lease, &spec.lease)?;
            immutable("spec.port", &before.spec.port, &spec.port)?;
            immutable("spec.protocol", &before.spec.protocol, &spec.protocol)?;
        }
        refer(
            Kind::Lease,
            "spec.lease",
            &self.leases,
            &spec.lease,
            &put.marks.cluster,
        )?;
        refer(
            Kind::BackendSet,
            "spec.backend_set",
            &self.backend_sets,
            &spec.backend_set,
            &put.marks.cluster,
        )?;
        // An open port stays, whatever else came to want its number.
        let rival = match before {
            None => self.rival(&name, spec),
            Some(_) => None,
        };
        if let Some((address, holder)) = rival {
            let port = spec.place();
            return Err(ApiError::new(
                code::PORT_TAKEN,
                format!(
                    "{port} of {address} is taken by {holder}; choose another port, or delete that"
                ),
            )
            .at("spec.port"));
        }
        let edit = write(
            &mut self.listeners,
            &mut self.next_generation,
            name,
            put.marks,
            put.spec,
        );
        Ok(Change::Listener(edit))
    }

    fn delete(
        &mut self,
        kind: Kind,
        name: String,
        cluster: &str,
        expect: Expect,
    ) -> Result<Change, ApiError> {
        fn remove<T>(
            kind: Kind,
            table: &mut Table<T>,
            name: String,
            cluster: &str,
            expect: Expect,
        ) -> Result<Option<Edit<T>>, ApiError> {
            // Deleting what is gone succeeds, whatever was expected of it.
            let Some(before) = table.get(&name) else {
                return Ok(None);
            };
            admit(kind, &name, Some(before), cluster, expect, |_| false)?;
            let before = table.remove(&name);
            Ok(Some(Edit {
                name,
                before,
                after: None,
            }))
        }

        validate::name("name", &name)?;
        let user = match kind {
            Kind::Lease => self
                .listeners
                .values()
                .find(|listener| listener.spec.lease == name),
            Kind::BackendSet => self
                .listeners
                .values()
                .find(|listener| listener.spec.backend_set == name),
            Kind::Listener => None,
        };
        let owner = match kind {
            Kind::Lease => self.leases.get(&name).map(|lease| &lease.marks),
            Kind::BackendSet => self.backend_sets.get(&name).map(|set| &set.marks),
            Kind::Listener => None,
        };
        if let (Some(user), Some(owner)) = (user, owner)
            && owner.cluster == cluster
        {
            return Err(ApiError::new(
                code::IN_USE,
                format!(
                    "{kind} `{name}` is used by listener `{}` of {}; delete that first",
                    user.name, user.marks.service
                ),
            ));
        }
        let change = match kind {
            Kind::Lease => {
                remove(kind, &mut self.leases, name, cluster, expect)?.map(Change::Lease)
            }
            Kind::BackendSet => {
                remove(kind, &mut self.backend_sets, name, cluster, expect)?.map(Change::BackendSet)
            }
            Kind::Listener => {
                remove(kind, &mut self.listeners, name, cluster, expect)?.map(Change::Listener)
            }
        };
        Ok(change.unwrap_or(Change::Nothing))
    }

    /// Says what is inconsistent about the objects, for what was read from a file.
    ///
    /// Addresses outside the pools are fine: a lease outlives a change of the pools.
    pub(crate) fn check(&self) -> Result<(), String> {
        fn keys<T>(kind: Kind, table: &Table<T>, next: u64) -> Result<(), String> {
            for (key, stored) in table {
                validate::name("name", key)
                    .and_then(|()| validate::marks(&stored.marks))
                    .map_err(|error| format!("{kind} `{key}`: {}", error.message))?;
                if stored.generation >= next {
                    return Err(format!(
                        "{kind} `{key}` has generation {}, the next one is {next}",
                        stored.generation
                    ));
                }
            }
            Ok(())
        }
        // Half of all numbers is more than any data plane ever uses up; a file that says so is damaged.
        if self.next_generation > u64::MAX / 2 {
            return Err(format!(
                "the next generation is {}, which cannot be",
                self.next_generation
            ));
        }
        keys(Kind::Lease, &self.leases, self.next_generation)?;
        keys(Kind::BackendSet, &self.backend_sets, self.next_generation)?;
        keys(Kind::Listener, &self.listeners, self.next_generation)?;
        let mut held = BTreeMap::new();
        for (name, lease) in &self.leases {
            let Held {
                address, shared, ..
            } = lease.spec;
            if held
                .insert(address, shared)
                .is_some_and(|other| !(other && shared))
            {
                return Err(format!(
                    "lease `{name}`: {address} is held twice, and not by leases that share it"
                ));
            }
        }
        for (name, set) in &self.backend_sets {
            validate::backend_set(&set.spec.spec())
                .map_err(|error| format!("backend set `{name}`: {}", error.message))?;
        }
        let mut ports = BTreeSet::new();
        for (name, listener) in &self.listeners {
            let Stored { marks, spec, .. } = &**listener;
            validate::listener(spec)
                .and_then(|()| {
                    refer(
                        Kind::Lease,
                        "spec.lease",
                        &self.leases,
                        &spec.lease,
                        &marks.cluster,
                    )
                })
                .and_then(|()| {
                    refer(
                        Kind::BackendSet,
                        "spec.backend_set",
                        &self.backend_sets,
                        &spec.backend_set,
                        &marks.cluster,
                    )
                })
                .map_err(|error| format!("listener `{name}`: {}", error.message))?;
            let address = self.leases[&spec.lease].spec.address;
            if !ports.insert((address, spec.place())) {
                return Err(format!(
                    "listener `{name}`: {} of {address} is taken twice",
                    spec.place()
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
