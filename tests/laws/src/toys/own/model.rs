//! What is wanted, what is seen, what is done (Decides).

use std::collections::{BTreeMap, BTreeSet};

use evenkeel_core::{
    ids::{ResourceId, ServiceRef, ServiceUid},
    ports::PortKey,
    published::{Published, PublishedPort},
};
use serde::Serialize;

use super::{
    annotations::Pool,
    cloud::{Marks, Object, Spec},
    ways::Ways,
};

/// What a group shall have, but for the targets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Desired {
    /// The pool of its address.
    pub pool: Pool,
    /// Whether all stays when its Services go.
    pub retain: bool,
    /// What is listened on.
    #[serde(serialize_with = "pairs")]
    pub listeners: BTreeMap<PortKey, ListenerWant>,
    /// The members that cannot be read: what serves them stays.
    pub unknown: BTreeSet<ServiceUid>,
}

/// JSON has no maps by port, so a map is written as a list.
fn pairs<S: serde::Serializer>(
    map: &BTreeMap<PortKey, ListenerWant>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(map)
}

/// One listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ListenerWant {
    /// For whom.
    pub member: ServiceRef,
    /// Where the target set sends connections.
    pub node_port: u16,
    /// Idle seconds.
    pub idle_seconds: u32,
    /// The tier.
    pub tier: String,
}

/// What a group has: its objects by logical id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// The objects.
    pub objects: BTreeMap<ResourceId, Object>,
}

impl Observed {
    /// What these objects are, by the logical ids in their marks.
    pub fn of(objects: impl IntoIterator<Item = Object>) -> Self {
        let id = |object: &Object| Some(object.marks.as_ref()?.id.clone());
        Self {
            objects: objects
                .into_iter()
                .filter_map(|object| Some((id(&object)?, object)))
                .collect(),
        }
    }

    /// The addresses.
    pub fn addresses(&self) -> impl Iterator<Item = (&ResourceId, Pool, &Object)> {
        self.objects
            .iter()
            .filter_map(|(id, object)| match object.spec {
                Spec::Address { pool } => Some((id, pool, object)),
                _ => None,
            })
    }

    /// The listeners of one address, by its name.
    pub fn listeners<'a>(
        &'a self,
        of: &'a str,
    ) -> impl Iterator<Item = (&'a ResourceId, PortKey, &'a Object)> {
        self.objects
            .iter()
            .filter_map(move |(id, object)| match &object.spec {
                Spec::Listener { address, port, .. } if address == of => Some((id, *port, object)),
                _ => None,
            })
    }

    /// Whether a listener refers to the object of this name.
    pub fn in_use(&self, name: &str) -> bool {
        self.objects
            .values()
            .any(|object| object.spec.refers_to(name))
    }

    /// Whether the marks say that all of it shall stay.
    pub fn retained(&self) -> bool {
        self.addresses()
            .any(|(_, _, address)| address.marks.as_ref().is_some_and(|marks| marks.retain))
    }

    /// What can be told: the address that serves most, of two the newer.
    pub fn published(&self, ways: &Ways) -> Published {
        let serving = |address: &Object| -> Vec<PublishedPort> {
            self.listeners(&address.name)
                .filter(|(_, _, listener)| listener.is_ready())
                .filter_map(|(_, port, listener)| {
                    Some(PublishedPort {
                        service: listener.marks.as_ref()?.member.clone()?,
                        port,
                    })
                })
                .collect()
        };
        let best = self
            .addresses()
            .filter_map(|(_, _, address)| {
                Some((
                    address.ip.filter(|_| address.is_ready())?,
                    serving(address),
                    address.id,
                ))
            })
            .filter(|(_, ports, _)| !ports.is_empty())
            .max_by_key(|(_, ports, id)| (ports.len(), *id));
        best.map_or_else(Published::default, |(ip, ports, _)| Published {
            ingress: ways.ingress(ip),
            ports,
            targets: None,
            pools: Vec::new(),
        })
    }
}

/// One write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Step {
    /// Makes an object.
    Create {
        /// Its marks, which carry its logical id.
        marks: Marks,
        /// What it shall be.
        spec: Spec,
    },
    /// Changes one in place.
    Change {
        /// Its marks.
        marks: Marks,
        /// What it shall be.
        spec: Spec,
    },
    /// Removes one.
    Destroy {
        /// Its logical id.
        id: ResourceId,
    },
}

/// What a write did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The object is this now.
    Is(ResourceId, Box<Object>),
    /// It is gone.
    Gone(ResourceId),
}
