//! What a group has, and what it rests on (Decides).

use std::{collections::BTreeMap, sync::Arc};

use super::{Facts, SeenListener, SeenLoadBalancer, SeenSecurityGroup, SeenTargetGroup};

/// A listener's place: the name of its load balancer, and the port number.
pub type ListenerKey = (Arc<str>, u16);

/// What a group has, by name. While a load balancer is being replaced there are two, each with its own target groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// What all groups rest on.
    pub facts: Arc<Facts>,
    /// Load balancers by name.
    pub load_balancers: BTreeMap<Arc<str>, SeenLoadBalancer>,
    /// Front-end security groups by name.
    pub security_groups: BTreeMap<Arc<str>, SeenSecurityGroup>,
    /// Target groups by name.
    pub target_groups: BTreeMap<Arc<str>, SeenTargetGroup>,
    /// Listeners by load balancer and port.
    pub listeners: BTreeMap<ListenerKey, SeenListener>,
}

impl Observed {
    /// How many objects of the group there are.
    pub fn len(&self) -> usize {
        self.load_balancers.len()
            + self.security_groups.len()
            + self.target_groups.len()
            + self.listeners.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Observed {
    /// Whether the objects are stamped to stay when their Services are deleted.
    pub fn retained(&self) -> bool {
        self.load_balancers.values().any(|lb| lb.marks.retain)
    }

    /// What can be told to the world.
    pub fn published(
        &self,
        _key: &evenkeel_core::ids::GroupKey,
    ) -> evenkeel_core::published::Published {
        evenkeel_core::published::Published::default()
    }
}
