//! What parts are called (Decides).

use evenkeel_core::{
    ids::{Cluster, GroupKey, ResourceId},
    naming::{Charset, Naming},
};

const NAMING: Naming = Naming::new(63, Charset::Lower, 10);

/// The name of a group's part: the same in every run, and no other cluster's or group's.
pub fn part(cluster: &Cluster, key: &GroupKey) -> String {
    NAMING.name(&["ek"], &[key.name()], &[&cluster.uid, &key.identity()])
}

/// The logical id of a group's part.
pub fn part_id() -> ResourceId {
    ResourceId::new("part")
}
