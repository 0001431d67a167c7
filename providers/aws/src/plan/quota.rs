//! How many targets AWS takes, and which nodes are targets where there are more (Decides).
//!
//! A Network Load Balancer takes 3,000 targets, 500 per zone, and 500 in all with cross-zone load balancing; a target group
//! takes 1,000; an instance behind k ports counts k times (AWS, "Quotas for your Network Load Balancers"). Each target group
//! gets its even share. Which nodes those are depends on their names only, so that one node more or less moves at most one
//! target, and zones are filled evenly.

use std::{collections::BTreeMap, sync::Arc};

use super::nodes::Member;
use crate::desired::attributes::CROSS_ZONE;
use crate::model::{Desired, Observed, Pairs, TargetGroup};

/// Of a load balancer.
const IN_ALL: usize = 3_000;
/// Of a load balancer and zone; of a load balancer with cross-zone load balancing.
const PER_ZONE: usize = 500;
/// Of a target group.
const PER_GROUP: usize = 1_000;

/// How many targets a target group may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// In each zone.
    pub(super) per_zone: usize,
    /// In all.
    pub(super) in_all: usize,
    /// Whether targets get traffic from every zone.
    pub(super) cross_zone: bool,
}

impl Limits {
    fn new(groups: usize, cross_zone: bool) -> Self {
        let groups = groups.max(1);
        let per_zone = PER_ZONE / groups;
        let in_all = if cross_zone {
            per_zone
        } else {
            IN_ALL / groups
        };
        Self {
            per_zone,
            in_all: in_all.min(PER_GROUP),
            cross_zone,
        }
    }

    /// Of one target group of a load balancer that shall be.
    pub(super) fn of_wanted(desired: &Desired, group: &TargetGroup) -> Self {
        let cross_zone = match group.attributes.get(CROSS_ZONE).map(|text| &**text) {
            Some("true") => true,
            Some("false") => false,
            _ => is_on(&desired.load_balancer.attributes),
        };
        Self::new(desired.target_groups.len(), cross_zone)
    }

    /// Of the target groups that are there.
    pub(super) fn of_seen(seen: &Observed) -> Self {
        let cross_zone = seen
            .current()
            .and_then(|(_, lb)| lb.attributes.as_ref())
            .is_some_and(is_on);
        let stacks = seen.load_balancers.len().max(1);
        Self::new(seen.target_groups.len().div_ceil(stacks), cross_zone)
    }

    /// Those of the nodes that are targets; in the order of their ids, as they came.
    pub(super) fn choose<'a>(&self, nodes: Vec<&'a Member>) -> Vec<&'a Member> {
        // Nearly always all of them, and then nothing needs to be sorted.
        if nodes.len() <= self.per_zone.min(self.in_all) {
            return nodes;
        }
        let mut zones: BTreeMap<Option<&Arc<str>>, Vec<(u64, &'a Member)>> = BTreeMap::new();
        for node in nodes {
            let zone = zones.entry(node.zone.as_ref()).or_default();
            zone.push((weight(&node.id), node));
        }
        // Round by round the best of each zone, so that zones differ by one at most until one has no more.
        let mut ranked: Vec<(usize, u64, &'a Member)> = Vec::new();
        for zone in zones.values_mut() {
            zone.sort_unstable_by_key(|(weight, member)| (*weight, &member.id));
            let best = zone.iter().take(self.per_zone).enumerate();
            ranked.extend(best.map(|(round, (weight, member))| (round, *weight, *member)));
        }
        ranked.sort_unstable_by_key(|(round, weight, member)| (*round, *weight, &member.id));
        let mut chosen: Vec<&Member> = ranked
            .into_iter()
            .take(self.in_all)
            .map(|(_, _, member)| member)
            .collect();
        chosen.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        chosen
    }
}

fn is_on(attributes: &Pairs) -> bool {
    attributes
        .get(CROSS_ZONE)
        .is_some_and(|value| &**value == "true")
}

/// FNV-1a with a final mix: the same on every machine and in every run, and without an order that ids have.
fn weight(id: &str) -> u64 {
    let hash = id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    (hash ^ (hash >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}
