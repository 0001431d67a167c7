//! Addresses on interfaces: those of pools that say so are added when they are given, and taken away when nobody holds them.
//! Reads and writes: interfaces, and the record of what was added.
//!
//! ## Flow
//! [`Interfaces::settle`] compares what is held with what is there and does what is missing. It is called when a lease came or
//! went, before its listeners are opened and after they are closed, and with every turn of the engine: an interface may come
//! late, go down, or be made anew.
//!
//! ## Guarantees
//! An address is written down before it is added, and until it is gone. One that still has connections stays until they have
//! ended. At the end of the process all stay, as the leases do: the next one finds them.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::IpAddr,
    path::Path,
};

use rustix::io::Errno;

use self::{
    decide::{Asked, Decision, Fault, InterfaceAddress, Seen, decide},
    kernel::Kernel,
    record::Record,
};
use super::{config::Config, holder, store::Store};
use crate::api::{ListenerPhase, namespace_and_name};

mod decide;
mod fault;
#[cfg_attr(not(target_os = "linux"), path = "interfaces/unsupported.rs")]
mod kernel;
mod record;

/// Whether a data plane of this configuration adds addresses to interfaces, or may have to take some away that one before it added.
#[must_use]
pub fn changes_addresses(config: &Config) -> bool {
    config.pools.iter().any(|pool| pool.add_to().is_some())
        || !Record::beside(&config.state).load().is_empty()
}

/// What we have on interfaces.
#[derive(Debug)]
pub(crate) struct Interfaces {
    record: Record,
    added: BTreeSet<InterfaceAddress>,
    /// What the file says.
    recorded: BTreeSet<InterfaceAddress>,
    faults: BTreeMap<IpAddr, Fault>,
    /// Addresses of which the log says already that they cannot be taken away.
    stuck: BTreeSet<InterfaceAddress>,
}

impl Interfaces {
    /// What the record beside this state file says.
    pub(crate) fn load(state: &Path) -> Self {
        let record = Record::beside(state);
        let added = record.load();
        Self {
            record,
            recorded: added.clone(),
            added,
            faults: BTreeMap::new(),
            stuck: BTreeSet::new(),
        }
    }

    /// Why listeners of an address are not reached, of those whose address should be on an interface and is not.
    pub(crate) fn phases(&self) -> BTreeMap<IpAddr, ListenerPhase> {
        let phase = |(address, fault): (&IpAddr, &Fault)| (*address, fault.phase(*address));
        self.faults.iter().map(phase).collect()
    }

    /// Adds what is missing, and takes away what nobody holds.
    pub(crate) async fn settle(&mut self, store: &Store) {
        let asked = asked(store);
        let faults = if asked.wanted.is_empty() && self.recorded.is_empty() {
            BTreeMap::new()
        } else {
            self.settle_with(&asked).await
        };
        tell(&self.faults, &faults, store);
        self.faults = faults;
    }

    async fn settle_with(&mut self, asked: &Asked) -> BTreeMap<IpAddr, Fault> {
        let looked = match Kernel::open() {
            Ok(kernel) => self.look(&kernel, asked).await.map(|seen| (kernel, seen)),
            Err(error) => Err(error),
        };
        let (kernel, seen) = match looked {
            Ok(looked) => looked,
            Err(error) => return refused(asked, &error),
        };
        let Decision {
            add,
            remove,
            forget,
            mut faults,
        } = decide(asked, &self.added, &seen);
        self.added.retain(|at| !forget.contains(at));
        faults.extend(self.add(&kernel, &seen, add).await);
        self.remove(&kernel, &seen, remove, asked).await;
        // Should it fail, the file says more than there is, and the next turn writes it again.
        if let Err(error) = self.save().await {
            tracing::warn!(%error, "the file of added addresses cannot be written; make room in the state directory");
        }
        faults
    }

    async fn look(&self, kernel: &Kernel, asked: &Asked) -> io::Result<Seen> {
        let wanted = asked.wanted.iter();
        let added = self.added.iter();
        let pairs: Vec<_> = wanted
            .map(|(address, interface)| (*address, interface.as_str()))
            .chain(added.map(|at| (at.address, at.interface.as_str())))
            .collect();
        let interfaces = pairs.iter().map(|(_, interface)| *interface).collect();
        let addresses = pairs.iter().map(|(address, _)| *address).collect();
        kernel.look(&interfaces, &addresses).await
    }

    async fn add(
        &mut self,
        kernel: &Kernel,
        seen: &Seen,
        add: BTreeSet<InterfaceAddress>,
    ) -> BTreeMap<IpAddr, Fault> {
        if add.is_empty() {
            return BTreeMap::new();
        }
        let all = |fault: &dyn Fn(String) -> Fault| {
            let faults = add
                .iter()
                .map(|at| (at.address, fault(at.interface.clone())));
            faults.collect()
        };
        if !kernel::may_change() {
            return all(&|interface| Fault::Forbidden { interface });
        }
        self.added.extend(add.iter().cloned());
        if let Err(error) = self.save().await {
            self.added.retain(|at| !add.contains(at));
            let why = error.to_string();
            return all(&|interface| Fault::NoRecord {
                interface,
                why: why.clone(),
            });
        }
        let mut faults = BTreeMap::new();
        for at in add {
            let Some(link) = seen.links.get(&at.interface) else {
                continue;
            };
            let Err(error) = kernel.add(link.index, at.address).await else {
                tracing::info!(address = %at.address, interface = at.interface, "added the address");
                continue;
            };
            // It is not ours. Somebody may set it by hand from now on, and then it must not be on record.
            self.added.remove(&at);
            // Somebody did so just now: then it serves, and the next turn sees it.
            if error.raw_os_error() != Some(Errno::EXIST.raw_os_error()) {
                faults.insert(at.address, fault::of_system(&at, &error));
            }
        }
        faults
    }

    async fn remove(
        &mut self,
        kernel: &Kernel,
        seen: &Seen,
        remove: BTreeSet<InterfaceAddress>,
        asked: &Asked,
    ) {
        // Of one that moved to another interface the connections move too.
        let unheld = remove.iter().map(|at| at.address);
        let unheld: BTreeSet<_> = unheld.filter(|one| !asked.held.contains(one)).collect();
        let busy = if unheld.is_empty() {
            BTreeSet::new()
        } else {
            let looked = tokio::task::spawn_blocking(move || holder::connected(&unheld)).await;
            looked.unwrap_or_default()
        };
        self.stuck.retain(|at| remove.contains(at));
        for at in remove {
            let Some(link) = seen.links.get(&at.interface) else {
                continue;
            };
            if busy.contains(&at.address) {
                continue;
            }
            match kernel.remove(link.index, at.address).await {
                Ok(()) => {
                    tracing::info!(address = %at.address, interface = at.interface, "took the address away");
                    self.added.remove(&at);
                }
                Err(error) => {
                    if self.stuck.insert(at.clone()) {
                        tracing::warn!(
                            address = %at.address, interface = at.interface, %error,
                            "the address cannot be taken away, which is tried again; give the data plane the capability CAP_NET_ADMIN"
                        );
                    }
                }
            }
        }
    }

    /// Writes down what was added, where that changed.
    async fn save(&mut self) -> io::Result<()> {
        if self.added == self.recorded {
            return Ok(());
        }
        let (record, added) = (self.record.clone(), self.added.clone());
        let saved = tokio::task::spawn_blocking(move || record.save(added)).await;
        saved.map_err(io::Error::other).flatten()?;
        self.recorded = self.added.clone();
        Ok(())
    }
}

/// What is asked of interfaces: the pools are those that we were started with.
fn asked(store: &Store) -> Asked {
    let held = store.leases.values().map(|lease| lease.spec.address);
    let held: BTreeSet<IpAddr> = held.collect();
    let wanted = held.iter().filter_map(|address| {
        let interface = store.pool_of(*address)?.add_to()?;
        Some((*address, interface.to_owned()))
    });
    Asked {
        wanted: wanted.collect(),
        held,
    }
}

/// Nothing is known of interfaces, so no address is known to be on one.
fn refused(asked: &Asked, error: &io::Error) -> BTreeMap<IpAddr, Fault> {
    let fault = |interface: &String| Fault::Refused {
        interface: interface.clone(),
        why: error.to_string(),
    };
    let wanted = asked.wanted.iter();
    wanted
        .map(|(address, interface)| (*address, fault(interface)))
        .collect()
}

/// Says what has become of addresses, to each Service that has one.
fn tell(before: &BTreeMap<IpAddr, Fault>, after: &BTreeMap<IpAddr, Fault>, store: &Store) {
    if before == after {
        return;
    }
    for lease in store.leases.values() {
        let address = lease.spec.address;
        let Some(fault) = after.get(&address) else {
            continue;
        };
        if before.get(&address) == Some(fault) {
            continue;
        }
        let (namespace, service) = namespace_and_name(&lease.marks.service);
        if let ListenerPhase::Failed { code, message } = fault.phase(address) {
            tracing::warn!(
                service.namespace = namespace, service.name = service, resource.id = lease.name, %address,
                cloud.code = code, "{message}"
            );
        }
    }
}
