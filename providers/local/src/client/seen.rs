//! From the objects of the API to what we keep of them (Decides).

use std::{
    collections::HashMap,
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use evenkeel_core::ids::NodeName;

use super::Client;
use crate::{
    api::{self, Lease, Listener, Marks, Objects},
    model::{BackendSetSpec, Member, Observed, Seen},
    names::label,
};

#[cfg(test)]
mod tests;

impl Client {
    /// What one group has, of objects that may be of others too.
    pub(crate) fn observed(&self, objects: Objects, ours: impl Fn(&Marks) -> bool) -> Observed {
        let Objects {
            leases,
            backend_sets,
            listeners,
        } = objects;
        Observed {
            leases: leases
                .into_iter()
                .filter(|l| ours(&l.marks))
                .map(|l| (l.name.clone(), self.seen_lease(l)))
                .collect(),
            backend_sets: backend_sets
                .into_iter()
                .filter(|set| ours(&set.marks))
                .map(|set| (set.name.clone(), self.seen_backend_set(set)))
                .collect(),
            listeners: listeners
                .into_iter()
                .filter(|l| ours(&l.marks))
                .map(|l| (l.name.clone(), self.seen_listener(l)))
                .collect(),
        }
    }

    pub(crate) fn seen_lease(&self, lease: Lease) -> Seen<api::LeaseSpec, IpAddr> {
        let Lease {
            marks,
            generation,
            spec,
            status,
            ..
        } = lease;
        Seen {
            marks,
            spec,
            generation: Some(generation),
            status: Some(status.address),
        }
    }

    pub(crate) fn seen_listener(
        &self,
        listener: Listener,
    ) -> Seen<api::ListenerSpec, api::ListenerPhase> {
        let Listener {
            marks,
            generation,
            spec,
            status,
            ..
        } = listener;
        Seen {
            marks,
            spec,
            generation: Some(generation),
            status: Some(status.phase),
        }
    }

    pub(crate) fn seen_backend_set(&self, set: api::BackendSet) -> Seen<BackendSetSpec, u32> {
        let api::BackendSet {
            marks,
            generation,
            spec,
            status,
            ..
        } = set;
        let healthy = status
            .targets
            .iter()
            .filter(|target| target.health == api::Health::Healthy)
            .count();
        Seen {
            spec: self.seen_spec(spec, &marks),
            marks,
            generation: Some(generation),
            status: Some(u32::try_from(healthy).unwrap_or(u32::MAX)),
        }
    }

    fn seen_spec(&self, spec: api::BackendSetSpec, marks: &Marks) -> BackendSetSpec {
        let api::BackendSetSpec {
            targets,
            health_check,
            drain_seconds,
        } = spec;
        let node_port = match targets.first() {
            Some(first) => targets
                .iter()
                .all(|target| target.port == first.port)
                .then_some(first.port),
            // Without targets only the label remembers what the port of the next one is.
            None => marks
                .labels
                .get(label::NODE_PORT)
                .and_then(|port| port.parse().ok()),
        };
        let mut members: Vec<Member> = targets
            .into_iter()
            .map(|target| Member {
                node: NodeName::new(target.node),
                address: target.address,
            })
            .collect();
        members.sort();
        BackendSetSpec {
            node_port,
            members: self.members.intern(members),
            health_check,
            drain_seconds,
        }
    }
}

/// Keeps equal lists of targets once. A thousand backend sets with a thousand nodes each are one list.
#[derive(Debug, Default)]
pub(super) struct Interner(Mutex<Lists>);

/// Lists by the hash of their content.
type Lists = HashMap<u64, Vec<Weak<[Member]>>, BuildHasherDefault<DefaultHasher>>;

impl Interner {
    fn intern(&self, members: Vec<Member>) -> Arc<[Member]> {
        let mut lists = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let hash = lists.hasher().hash_one(&members);
        let found = lists
            .get(&hash)
            .into_iter()
            .flatten()
            .filter_map(Weak::upgrade)
            .find(|list| **list == members[..]);
        found.unwrap_or_else(|| {
            // Lists are few and change rarely; this is the moment to forget those that nobody has any more.
            lists.retain(|_, lists| {
                lists.retain(|list| list.strong_count() > 0);
                !lists.is_empty()
            });
            let list: Arc<[Member]> = members.into();
            lists.entry(hash).or_default().push(Arc::downgrade(&list));
            list
        })
    }
}
