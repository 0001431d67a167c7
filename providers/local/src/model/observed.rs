//! What a group has, and what it means (Decides).

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use evenkeel_core::{
    ids::{GroupKey, ServiceKey, ServiceRef, ServiceUid},
    net::IpFamily,
    ports::PortKey,
    published::{Ingress, IpMode, Published, PublishedPort, TargetHealth},
};

use super::{BackendSetSpec, port_key};
use crate::{
    api::{LeaseSpec, LeaseStatus, ListenerPhase, ListenerSpec, Marks},
    names::label,
};

/// An object that was seen, or is foretold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen<Spec, Status> {
    /// Whose it is.
    pub marks: Marks,
    /// What was asked.
    pub spec: Spec,
    /// Its generation; known after apply.
    pub generation: Option<u64>,
    /// What is; known after apply.
    pub status: Option<Status>,
}

impl Seen<LeaseSpec, LeaseStatus> {
    /// The address that is held.
    pub fn held(&self) -> Option<IpAddr> {
        self.status.as_ref().map(|status| status.address)
    }
}

/// What a group has, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Its addresses; the status is the address that is held, and its pool.
    pub leases: BTreeMap<String, Seen<LeaseSpec, LeaseStatus>>,
    /// Its backend sets; the status is how many targets are healthy.
    pub backend_sets: BTreeMap<String, Seen<BackendSetSpec, u32>>,
    /// Its listeners.
    pub listeners: BTreeMap<String, Seen<ListenerSpec, ListenerPhase>>,
}

/// A lease that was seen, with its name.
pub type SeenLease<'a> = (&'a str, &'a Seen<LeaseSpec, LeaseStatus>);

impl Observed {
    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.leases.len() + self.backend_sets.len() + self.listeners.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the objects are stamped to stay when their Services are deleted.
    pub fn retained(&self) -> bool {
        self.leases.values().any(|lease| lease.marks.retain)
    }

    /// The leases of a family, those that were there first before their successors.
    pub fn leases_of(&self, family: IpFamily) -> Vec<SeenLease<'_>> {
        let mut leases: Vec<SeenLease<'_>> = self
            .leases
            .iter()
            .filter(|(_, lease)| lease.spec.family == family.into())
            .map(|(name, lease)| (name.as_str(), lease))
            .collect();
        leases.sort_by_key(|(_, lease)| turn(lease));
        leases
    }

    /// The lease of a family whose address clients use: while an address is being replaced that is the old one until the new one
    /// has as many open ports.
    pub fn current_lease(&self, family: IpFamily) -> Option<SeenLease<'_>> {
        let open = |name| {
            self.listeners_on(name)
                .filter(|(_, listener)| is_open(listener))
                .count()
        };
        self.leases_of(family)
            .into_iter()
            .max_by_key(|(name, lease)| (open(*name), turn(lease)))
    }

    /// The listeners on a lease.
    pub fn listeners_on<'a>(
        &'a self,
        lease: &'a str,
    ) -> impl Iterator<Item = (&'a String, &'a Seen<ListenerSpec, ListenerPhase>)> {
        self.listeners
            .iter()
            .filter(move |(_, listener)| listener.spec.lease == lease)
    }

    /// The listener on a port of a lease.
    pub fn listener_at(
        &self,
        lease: &str,
        port: PortKey,
    ) -> Option<(&String, &Seen<ListenerSpec, ListenerPhase>)> {
        self.listeners
            .iter()
            .find(|(_, listener)| listener.spec.lease == lease && port_key(&listener.spec) == port)
    }

    /// The family of the address a listener is on.
    pub fn family_of(&self, listener: &Seen<ListenerSpec, ListenerPhase>) -> Option<IpFamily> {
        Some(self.leases.get(&listener.spec.lease)?.spec.family.into())
    }

    /// What can be told to the world.
    pub fn published(&self, key: &GroupKey) -> Published {
        let mut current: Vec<SeenLease<'_>> = [IpFamily::V4, IpFamily::V6]
            .into_iter()
            .filter_map(|family| self.current_lease(family))
            .collect();
        current.sort_by_key(|(_, lease)| order(lease));
        let ports: BTreeSet<PublishedPort> = current
            .iter()
            .flat_map(|(name, _)| self.listeners_on(name))
            .filter(|(_, listener)| is_open(listener))
            .map(|(_, listener)| PublishedPort {
                service: member(&listener.marks, key),
                port: port_key(&listener.spec),
            })
            .collect();
        let targets = self
            .backend_sets
            .values()
            .fold(TargetHealth::default(), |sum, set| TargetHealth {
                healthy: sum.healthy + set.status.unwrap_or(0),
                total: sum.total + u32::try_from(set.spec.members.len()).unwrap_or(u32::MAX),
            });
        let mut pools: Vec<String> = current
            .iter()
            .filter_map(|(_, lease)| lease.status.as_ref()?.pool.clone())
            .collect();
        pools.dedup();
        Published {
            ingress: current
                .iter()
                .filter_map(|(_, lease)| lease.held())
                .map(|ip| Ingress::Ip {
                    ip,
                    mode: IpMode::Proxy,
                })
                .collect(),
            ports: ports.into_iter().collect(),
            targets: (!self.backend_sets.is_empty()).then_some(targets),
            pools,
        }
    }
}

/// Whether a listener accepts connections. One that is foretold will.
pub fn is_open(listener: &Seen<ListenerSpec, ListenerPhase>) -> bool {
    matches!(listener.status, Some(ListenerPhase::Ready) | None)
}

/// How many times the address was replaced before this lease.
pub fn turn(lease: &Seen<LeaseSpec, LeaseStatus>) -> u32 {
    lease
        .marks
        .labels
        .get(label::TURN)
        .and_then(|turn| turn.parse().ok())
        .unwrap_or(0)
}

fn order(lease: &Seen<LeaseSpec, LeaseStatus>) -> u32 {
    lease
        .marks
        .labels
        .get(label::ORDER)
        .and_then(|order| order.parse().ok())
        .unwrap_or(u32::MAX)
}

/// The member that an object serves.
fn member(marks: &Marks, key: &GroupKey) -> ServiceRef {
    let (namespace, name) = marks
        .service
        .split_once('/')
        .unwrap_or((key.namespace(), &marks.service));
    ServiceRef {
        key: ServiceKey::new(namespace, name),
        uid: ServiceUid::new(marks.member.as_str()),
    }
}
