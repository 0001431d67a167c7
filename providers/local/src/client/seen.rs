//! From the objects of the API to what we keep of them (Decides).

use std::{
    collections::{BTreeMap, HashMap},
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
    sync::{Arc, Mutex, PoisonError, Weak},
};

use evenkeel_core::ids::NodeName;

use super::Client;
use crate::{
    api::{self, BackendSetSummary, Lease, Listener, Marks, Objects, Snapshot, TargetAddress},
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

    pub(crate) fn seen_lease(&self, lease: Lease) -> Seen<api::LeaseSpec, api::LeaseStatus> {
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
            status: Some(status),
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

    /// What every group has, by its identity.
    pub(crate) fn observed_by_group(&self, snapshot: Snapshot) -> BTreeMap<String, Observed> {
        let lists: Vec<_> = snapshot
            .lists
            .into_iter()
            .map(|list| self.member_list(list))
            .collect();
        let mut groups: BTreeMap<String, Observed> = BTreeMap::new();
        for lease in snapshot.leases {
            let group = groups.entry(lease.marks.group.clone()).or_default();
            group
                .leases
                .insert(lease.name.clone(), self.seen_lease(lease));
        }
        for set in snapshot.backend_sets {
            // A list that is not there is a broken answer; an empty one makes the next look find the difference.
            let members = lists.get(set.list).cloned().unwrap_or_default();
            let group = groups.entry(set.marks.group.clone()).or_default();
            group
                .backend_sets
                .insert(set.name.clone(), seen_summary(set, members));
        }
        for listener in snapshot.listeners {
            let group = groups.entry(listener.marks.group.clone()).or_default();
            group
                .listeners
                .insert(listener.name.clone(), self.seen_listener(listener));
        }
        groups
    }

    fn member_list(&self, list: Vec<TargetAddress>) -> Arc<[Member]> {
        let member = |target: TargetAddress| Member {
            node: NodeName::new(target.node),
            address: target.address,
        };
        let mut members: Vec<Member> = list.into_iter().map(member).collect();
        members.sort();
        self.members.intern(members)
    }

    pub(crate) fn seen_spec(&self, spec: api::BackendSetSpec, marks: &Marks) -> BackendSetSpec {
        let api::BackendSetSpec {
            targets,
            health_check,
            drain_seconds,
            affinity_seconds,
        } = spec;
        let port = targets.first().map(|first| first.port);
        let node_port = node_port(
            port.filter(|port| targets.iter().all(|t| t.port == *port)),
            targets.is_empty(),
            marks,
        );
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
            affinity_seconds,
        }
    }
}

fn seen_summary(set: BackendSetSummary, members: Arc<[Member]>) -> Seen<BackendSetSpec, u32> {
    Seen {
        spec: BackendSetSpec {
            node_port: node_port(set.port, members.is_empty(), &set.marks),
            members,
            health_check: set.health_check,
            drain_seconds: set.drain_seconds,
            affinity_seconds: set.affinity_seconds,
        },
        marks: set.marks,
        generation: Some(set.generation),
        status: Some(set.healthy),
    }
}

/// The port of all targets of a set. Without targets only the label remembers what the port of the next one is.
fn node_port(common: Option<u16>, empty: bool, marks: &Marks) -> Option<u16> {
    if empty {
        marks
            .labels
            .get(label::NODE_PORT)
            .and_then(|port| port.parse().ok())
    } else {
        common
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
