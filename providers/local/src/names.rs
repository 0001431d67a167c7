//! Names, marks and labels of our objects (Decides).
//!
//! A name is the same in every run, so that a create that may have happened is found again. It carries the Service's name for
//! people and, in its hash, the cluster and the group's identity: a Service that is created again under its old name, or a
//! namesake in another cluster, meets nothing of ours.

use std::collections::BTreeMap;

use evenkeel_core::{
    ids::{Cluster, GroupKey, ResourceId, ServiceRef},
    naming::{Charset, Naming},
    net::IpFamily,
    ports::PortKey,
};

use crate::api::Marks;

#[cfg(test)]
mod tests;

/// The data plane takes 1 to 128 characters of `[a-z0-9-]`. Sixteen digits are 80 bits.
const NAMES: Naming = Naming::new(128, Charset::Lower, 16);

/// The labels we keep on our objects.
pub mod label {
    /// The logical id of the object: `ls/TCP/443/IPv4`.
    pub const ID: &str = "id";
    /// Of a lease: its place among the addresses of the load balancer; 0 is the primary family.
    pub const ORDER: &str = "order";
    /// Of a lease: how many times the address of this family was replaced before it.
    pub const TURN: &str = "turn";
    /// Of a backend set: the port of its targets.
    pub const NODE_PORT: &str = "node-port";
    /// Of a backend set: the family of the addresses in front of it.
    pub const FAMILY: &str = "family";
    /// Of a backend set: `tcp`, or `none` for UDP, where kube-proxy's health did not answer when the set got its first
    /// targets.
    pub const PROBE: &str = "probe";
}

/// The logical id of the address lease of a family.
pub fn lease_id(family: IpFamily) -> ResourceId {
    ResourceId::new(format!("lease/{family}"))
}

/// The logical id of the backend set of a port and family.
pub fn backend_set_id(port: PortKey, family: IpFamily) -> ResourceId {
    ResourceId::new(format!("bs/{}/{}/{family}", port.protocol, port.port))
}

/// The logical id of the listener of a port and family.
pub fn listener_id(port: PortKey, family: IpFamily) -> ResourceId {
    ResourceId::new(format!("ls/{}/{}/{family}", port.protocol, port.port))
}

/// The name of an object. `turn` tells an address, and what listens on it, from the one that it replaces.
pub fn name(cluster: &str, key: &GroupKey, id: &ResourceId, turn: u32) -> String {
    let mut readable = vec![key.namespace(), key.name()];
    readable.extend(id.as_str().split('/'));
    NAMES.name(
        &["ek"],
        &readable,
        &[cluster, &key.identity(), id.as_str(), &turn.to_string()],
    )
}

/// Marks of an object that serves the whole group.
pub fn group_marks(
    cluster: &Cluster,
    key: &GroupKey,
    retain: bool,
    labels: &[(&str, String)],
) -> Marks {
    Marks {
        cluster: cluster.uid.to_string(),
        group: key.identity(),
        service: format!("{}/{}", key.namespace(), key.name()),
        member: key.identity(),
        retain,
        labels: owned(labels),
    }
}

/// Marks of an object that serves one member of the group.
pub fn member_marks(
    cluster: &Cluster,
    key: &GroupKey,
    member: &ServiceRef,
    retain: bool,
    labels: &[(&str, String)],
) -> Marks {
    Marks {
        service: member.to_string(),
        member: member.uid.to_string(),
        ..group_marks(cluster, key, retain, labels)
    }
}

fn owned(labels: &[(&str, String)]) -> BTreeMap<String, String> {
    labels
        .iter()
        .map(|(key, value)| ((*key).to_owned(), value.clone()))
        .collect()
}

/// Whether marks say that the object belongs to this group of this cluster.
pub fn is_ours(marks: &Marks, cluster: &str, identity: &str) -> bool {
    marks.cluster == cluster && marks.group == identity
}
