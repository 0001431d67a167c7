//! Public IP addresses (Decides).

use std::{net::IpAddr, sync::Arc};

use evenkeel_core::net::IpFamily;
use serde::Serialize;

use super::Pairs;
use crate::names::tag;

/// Whose a public IP address is. Kept on it as tags, set in the call that creates it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Marks {
    /// UID of the cluster's namespace `kube-system`.
    pub cluster: Arc<str>,
    /// [`evenkeel_core::ids::GroupKey::identity`].
    pub group: Arc<str>,
}

impl Marks {
    /// The marks among tags; None for an object of nobody that we know.
    pub fn of(tags: &Pairs) -> Option<Self> {
        Some(Self {
            cluster: Arc::clone(tags.get(tag::CLUSTER)?),
            group: Arc::clone(tags.get(tag::GROUP)?),
        })
    }
}

/// A public IP address of ours as it shall be: Standard, Static, regional.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NewPublicIp {
    /// Its id: resource group and name.
    pub id: Arc<str>,
    /// Its family.
    pub family: IpFamily,
    /// All tags, the marks among them.
    pub tags: Pairs,
    /// The label of its name in DNS; None for none.
    pub dns_label: Option<Arc<str>>,
    /// The id of the prefix that it is taken from. Part of the name: it cannot be changed.
    pub prefix: Option<Arc<str>>,
    /// `RoutingPreference=Internet` and the like. Part of the name: they cannot be changed.
    pub ip_tags: Pairs,
}

/// A public IP address that was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenPublicIp {
    /// Its family.
    pub family: IpFamily,
    /// Its address, once it has one.
    pub address: Option<IpAddr>,
    /// Whether it is of the SKU Standard.
    pub standard: bool,
    /// Whether it is there.
    pub phase: Phase,
    /// All tags.
    pub tags: Pairs,
    /// The label of its name in DNS.
    pub dns_label: Option<Arc<str>>,
    /// The id of the IP configuration that has it.
    pub attached: Option<Arc<str>>,
}

/// How far an object is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It is there.
    Ready,
    /// It is being made or changed.
    Updating,
    /// That failed; the next write mends it.
    Failed,
    /// It is going.
    Deleting,
}

impl SeenPublicIp {
    /// Whether it is of this group of this cluster.
    pub fn is_of(&self, cluster: &str, group: &str) -> bool {
        Marks::of(&self.tags)
            .is_some_and(|marks| *marks.cluster == *cluster && *marks.group == *group)
    }
}
