//! Pods as targets: the endpoints of Services, by port, with what may be done with each (Decides).
//!
//! As with nodes, endpoints are not part of what a Service asks: they come and go while nothing else changes. They are told
//! to providers whose targets they are ([`crate::provider::Provider::follows_endpoints`]), by group, as a versioned value. A
//! Service of which nothing is known is not one without endpoints: its targets stay as they are.

mod gates;
mod read;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use serde::Serialize;

pub use gates::{GATE_PREFIX, Gate, GateCondition, Judged, Lack, PodFacts, Waiting, with_gates};
pub use read::{SERVICE_NAME_LABEL, SliceFacts, endpoints};

use crate::{digest::Digest, ids::ServiceUid, ports::PortKey};

/// What may be done with an endpoint as a target, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Use {
    /// It is ready: a target.
    Add,
    /// It is not ready for want of a gate of ours alone: a target, and only that will make it ready.
    Await,
    /// It is not ready, or leaves and serves as yet: it stays where it is a target already, while no other is ready.
    LastResort,
}

/// One endpoint of a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Endpoint {
    /// Its address.
    pub address: IpAddr,
    /// The port that it listens on; with a named target port pods of one Service may differ.
    pub port: u16,
    /// What may be done with it.
    pub use_: Use,
    /// Its zone, where that is known.
    pub zone: Option<Arc<str>>,
    /// The name of its pod, where it is one.
    pub pod: Option<Arc<str>>,
    /// Its pod waits until the load balancer finds it healthy.
    pub waits: Option<Waiting>,
}

/// The endpoints of one Service by its ports, each list sorted and without duplicates. A port without endpoints has an empty list.
pub type Endpoints = BTreeMap<PortKey, Vec<Endpoint>>;

/// The endpoints of the Services of a group, as far as they are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSet {
    services: BTreeMap<ServiceUid, Endpoints>,
    version: Digest,
}

impl EndpointSet {
    /// These endpoints. Of Services that are not named nothing is known.
    pub fn new(services: BTreeMap<ServiceUid, Endpoints>) -> Self {
        let lists = |endpoints: &Endpoints| endpoints.clone().into_iter().collect::<Vec<_>>();
        let all: Vec<_> = services
            .iter()
            .map(|(service, endpoints)| (service, lists(endpoints)))
            .collect();
        let version = Digest::of(&all);
        Self { services, version }
    }

    /// Of no Service is anything known.
    pub fn unknown() -> Self {
        Self::new(BTreeMap::new())
    }

    /// The endpoints of a Service; None when nothing is known of it.
    pub fn of(&self, service: &ServiceUid) -> Option<&Endpoints> {
        self.services.get(service)
    }

    /// The Services of which something is known.
    pub fn services(&self) -> impl Iterator<Item = (&ServiceUid, &Endpoints)> {
        self.services.iter()
    }

    /// Whether a pod waits until the load balancer finds it healthy.
    pub fn has_waiting(&self) -> bool {
        let mut all = self.services.values().flat_map(BTreeMap::values).flatten();
        all.any(|endpoint| endpoint.waits.is_some())
    }

    /// The version: equal for equal sets.
    pub fn version(&self) -> Digest {
        self.version
    }
}
