//! What objects are called, in the cloud and within their group (Decides).

use evenkeel_core::{
    ids::{Cluster, GroupKey, ResourceId},
    naming::{Charset, Naming},
    ports::PortKey,
};

use super::annotations::Pool;

const NAMING: Naming = Naming::new(63, Charset::Lower, 10);

/// The name of an object: the same in every run, and no other cluster's or group's.
pub fn object(cluster: &Cluster, key: &GroupKey, id: &ResourceId) -> String {
    NAMING.name(
        &["ek"],
        &[key.name(), id.as_str()],
        &[&cluster.uid, &key.identity()],
    )
}

/// The address from a pool.
pub fn address(pool: Pool) -> ResourceId {
    ResourceId::new(format!("address/{}", pool.as_str()))
}

/// The target set of a node port.
pub fn set(node_port: u16) -> ResourceId {
    ResourceId::new(format!("set/{node_port}"))
}

/// The listener on a port of the address from a pool.
pub fn listener(pool: Pool, port: PortKey) -> ResourceId {
    ResourceId::new(format!("listener/{}/{port}", pool.as_str()))
}
