//! How many targets AWS takes, and which nodes are targets where there are more (Decides).
//!
//! A load balancer takes so many targets in all and in each zone, and with cross-zone load balancing in all zones together as many as else
//! in one; a target group takes so many; an instance behind k ports counts k times (see [`crate::quotas`]). Each port gets its even share,
//! and zones are filled evenly. What is registered stays: one node more or less moves one target at most beside its own.
//! What is registered stands against the quota until it leaves, so that what comes may have to wait for what goes.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use evenkeel_core::plan::Plan;
use evenkeel_core::problem::{Warning, reason};

use super::nodes::Member;
use crate::{
    desired::attributes::CROSS_ZONE,
    model::{
        Desired, Observed, Pairs, SeenLoadBalancer, SeenTargetGroup, Step, Target, TargetGroup,
    },
    names,
    quotas::{Quota, Quotas},
};

/// How a target stands already, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    /// Others wait until it is one.
    Awaited,
    /// Registered: to take it out would cost its connections.
    Registered,
    /// It would be new.
    New,
    /// Registered, and found unhealthy where others are healthy.
    Unhealthy,
}

/// How many targets a target group may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// In each zone.
    pub(super) per_zone: usize,
    /// In all.
    pub(super) in_all: usize,
    /// Whether targets get traffic from every zone.
    cross_zone: bool,
    /// The ports that share the load balancer's quota.
    ports: usize,
    /// Which quota `in_all` comes from.
    binding: Quota,
    quotas: Quotas,
}

impl Limits {
    pub(super) fn new(quotas: Quotas, ports: usize, cross_zone: bool) -> Self {
        let ports = ports.max(1);
        // One target serves better than none, and then AWS says what it says.
        let share = |quota| (quotas.of(quota) / ports).max(1);
        let per_zone = share(Quota::TargetsPerZone);
        let in_all = match cross_zone {
            true => (per_zone, Quota::TargetsPerZone),
            false => (share(Quota::Targets), Quota::Targets),
        };
        let of_group = (quotas.of(Quota::TargetsPerGroup), Quota::TargetsPerGroup);
        let (in_all, binding) = in_all.min(of_group);
        Self {
            per_zone,
            in_all,
            cross_zone,
            ports,
            binding,
            quotas,
        }
    }

    /// Of one target group of a load balancer that shall be. Until something else is seen the stricter of what is and what shall be.
    pub(super) fn of_wanted(
        quotas: Quotas,
        desired: &Desired,
        group: &TargetGroup,
        (seen, live): (&Observed, Option<&SeenLoadBalancer>),
    ) -> Self {
        let mut ports: BTreeSet<Option<u16>> = desired
            .target_groups
            .iter()
            .map(|group| Some(group.port))
            .collect();
        if let Some(live) = live {
            // What serves a port that is not wanted any more goes last.
            ports.extend(attached(seen, live).map(SeenTargetGroup::listener_port));
        }
        let crosses = live.is_some_and(is_crossing);
        Self::new(quotas, ports.len(), crosses || shall_cross(desired, group))
    }

    /// Of the target groups that are there.
    pub(super) fn of_seen(quotas: Quotas, seen: &Observed) -> Self {
        let crosses = seen.current().is_some_and(|(_, lb)| is_crossing(lb));
        let stacks = seen.load_balancers.len().max(1);
        Self::new(quotas, seen.target_groups.len().div_ceil(stacks), crosses)
    }

    /// Whether all of so many are targets, whatever their zones.
    fn takes_any(&self, count: usize) -> bool {
        count <= self.per_zone.min(self.in_all)
    }

    /// Whether all of these are targets.
    pub(super) fn takes_all(&self, nodes: &[&Member]) -> bool {
        self.takes_any(nodes.len())
            || self.choose(nodes.to_vec(), |_| Standing::New).len() == nodes.len()
    }

    /// Those of the nodes that are targets; in the order of their ids, as they came.
    pub(super) fn choose<'a>(
        &self,
        nodes: Vec<&'a Member>,
        standing: impl Fn(&Member) -> Standing,
    ) -> Vec<&'a Member> {
        // Nearly always all of them, and then nothing needs to be sorted.
        if self.takes_any(nodes.len()) {
            return nodes;
        }
        type Rank<'a> = (Standing, u64, &'a Arc<str>);
        let mut zones: BTreeMap<Option<&Arc<str>>, Vec<(Rank<'a>, &'a Member)>> = BTreeMap::new();
        for node in nodes {
            let zone = zones.entry(node.zone.as_ref()).or_default();
            zone.push(((standing(node), weight(&node.id), &node.id), node));
        }
        // Round by round the best of each zone, so that zones differ by one at most until one has no more.
        let mut ranked: Vec<(usize, Rank<'a>, &'a Member)> = Vec::new();
        for zone in zones.values_mut() {
            zone.sort_unstable_by_key(|(rank, _)| *rank);
            let best = zone.iter().take(self.per_zone).enumerate();
            ranked.extend(best.map(|(round, (rank, member))| (round, *rank, *member)));
        }
        ranked.sort_unstable_by_key(|(round, rank, _)| (*round, *rank));
        let mut chosen: Vec<&Member> = ranked
            .into_iter()
            .take(self.in_all)
            .map(|(_, _, member)| member)
            .collect();
        chosen.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        chosen
    }

    /// Takes out of those that shall be registered the ones for which there is no room beside those that are, and returns whether there
    /// were any. A target of which nobody knows the zone may be in any.
    pub(super) fn leave_out<'a>(
        &self,
        register: &mut BTreeSet<Target>,
        present: impl ExactSizeIterator<Item = &'a Target>,
        zone: impl Fn(&Target) -> Option<Arc<str>>,
    ) -> bool {
        let before = register.len();
        if self.takes_any(before + present.len()) {
            return false;
        }
        let mut all = present.len();
        let mut zones: BTreeMap<Option<Arc<str>>, usize> = BTreeMap::new();
        for target in present {
            *zones.entry(zone(target)).or_default() += 1;
        }
        register.retain(|target| {
            let zone = zone(target);
            let count = |zone: &Option<Arc<str>>| zones.get(zone).copied().unwrap_or_default();
            let in_zone = match &zone {
                Some(_) => count(&zone) + count(&None),
                // The fullest may be its.
                None => {
                    count(&None)
                        + zones
                            .iter()
                            .filter(|(zone, _)| zone.is_some())
                            .map(|(_, count)| *count)
                            .max()
                            .unwrap_or_default()
                }
            };
            let fits = all < self.in_all && in_zone < self.per_zone;
            if fits {
                all += 1;
                *zones.entry(zone).or_default() += 1;
            }
            fits
        });
        register.len() < before
    }

    /// Says that AWS takes fewer targets than there are.
    pub(super) fn tell(&self, plan: &mut Plan<Step>, chosen: usize, all: usize, what: &str) {
        if chosen >= all {
            return;
        }
        // What is cut below the sum is cut zone by zone.
        let quota = match chosen < self.in_all {
            true => Quota::TargetsPerZone,
            false => self.binding,
        };
        let most = self.quotas.of(quota);
        let ports = self.ports;
        let one = what.trim_end_matches('s');
        let mut why = format!("the quota {quota} is {most}");
        if quota == Quota::TargetsPerZone && self.cross_zone {
            why.push_str(", for all zones together with cross-zone load balancing");
        }
        if quota != Quota::TargetsPerGroup && ports > 1 {
            why.push_str(&format!(
                ", and each {one} counts once for each of {ports} ports"
            ));
        }
        let fewer = match (what, self.cross_zone) {
            ("nodes", true) => {
                "Choose nodes by their labels, use fewer ports or switch cross-zone load balancing off"
            }
            ("nodes", false) => "Choose nodes by their labels or use fewer ports",
            (_, true) => "Use fewer ports or switch cross-zone load balancing off",
            (_, false) => "Use fewer ports",
        };
        let local = match what {
            "nodes" => " With externalTrafficPolicy Local pods on the others are not reached.",
            _ => "",
        };
        let warning = Warning::new(
            reason::QUOTA_EXCEEDED,
            format!(
                "{chosen} of {all} {what} are targets of each port: {why}.{local} {fewer}, or {}.",
                quota.how_to_raise()
            ),
        );
        if !plan.warnings.contains(&warning) {
            plan.warnings.push(warning);
        }
    }
}

/// Whether a target group shall get traffic from every zone.
pub(super) fn shall_cross(desired: &Desired, group: &TargetGroup) -> bool {
    match group.attributes.get(CROSS_ZONE).map(|text| &**text) {
        Some("true") => true,
        Some("false") => false,
        _ => is_on(&desired.load_balancer.attributes),
    }
}

/// Whether a load balancer has cross-zone load balancing, or may have it: where attributes were not read, its tag says of which it has
/// others than AWS's defaults.
fn is_crossing(live: &SeenLoadBalancer) -> bool {
    match &live.attributes {
        Some(attributes) => is_on(attributes),
        None => names::listed_attributes(&live.tags).contains(CROSS_ZONE),
    }
}

fn is_on(attributes: &Pairs) -> bool {
    attributes
        .get(CROSS_ZONE)
        .is_some_and(|value| &**value == "true")
}

/// The target groups that a load balancer uses.
fn attached<'a>(
    seen: &'a Observed,
    live: &'a SeenLoadBalancer,
) -> impl Iterator<Item = &'a SeenTargetGroup> {
    let groups = seen.target_groups.values();
    groups.filter(|group| group.load_balancers.contains(&live.arn))
}

/// Whether a load balancer has room for what it has with this target group beside, or with cross-zone load balancing on.
pub(super) fn has_room(
    quotas: &Quotas,
    seen: &Observed,
    live: &SeenLoadBalancer,
    beside: Option<&SeenTargetGroup>,
    crossing: bool,
    zone: impl Fn(&Target) -> Option<Arc<str>>,
) -> bool {
    let crossing = crossing || is_crossing(live);
    let beside = beside.filter(|group| !group.load_balancers.contains(&live.arn));
    let groups = attached(seen, live).chain(beside);
    let targets = groups.filter_map(|group| group.targets.as_ref()).flatten();
    let (mut all, mut zones) = (0, BTreeMap::<Option<Arc<str>>, usize>::new());
    for (target, _) in targets.filter(|(_, state)| state.is_registered()) {
        all += 1;
        let zone = if crossing { None } else { zone(target) };
        *zones.entry(zone).or_default() += 1;
    }
    all <= quotas.of(Quota::Targets)
        && zones
            .values()
            .all(|count| *count <= quotas.of(Quota::TargetsPerZone))
}

/// FNV-1a with a final mix: the same on every machine and in every run, and without an order that ids have.
fn weight(id: &str) -> u64 {
    let hash = id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    (hash ^ (hash >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}
