//! The health of targets, which follows from what happened when. Decides.
//!
//! ELB API reference, TargetHealth: the states and their reasons. Network Load Balancer guide, "Health checks for your target groups": how a
//! target gets from one to the next.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::super::settings::Settings;
use super::super::state::State;
use super::load_balancers::LoadBalancer;
use super::target_groups::TargetGroup;
use super::targets::{Key, Target};

/// The tag of an instance by which a test says what is shown of its targets, as with the emulators.
const TOLD: &str = "harness/health";

/// How a target does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    /// `initial`, `healthy`, `unhealthy`, `unused`, `draining`.
    pub state: &'static str,
    /// Why, where AWS says so.
    pub reason: Option<&'static str>,
}

const fn health(state: &'static str, reason: &'static str) -> Health {
    Health {
        state,
        reason: Some(reason),
    }
}

const HEALTHY: Health = Health {
    state: "healthy",
    reason: None,
};
const REGISTERING: Health = health("initial", "Elb.RegistrationInProgress");
const CHECKING: Health = health("initial", "Elb.InitialHealthChecking");
const FAILING: Health = health("unhealthy", "Target.FailedHealthChecks");
const NOT_REGISTERED: Health = health("unused", "Target.NotRegistered");
const NOT_IN_USE: Health = health("unused", "Target.NotInUse");
const INVALID_STATE: Health = health("unused", "Target.InvalidState");
const DRAINING: Health = health("draining", "Target.DeregistrationInProgress");

impl Health {
    /// A text for people, where there is one.
    pub(super) fn description(&self) -> Option<&'static str> {
        Some(match self.reason? {
            "Elb.RegistrationInProgress" => "Target registration is in progress",
            "Elb.InitialHealthChecking" => "Initial health checks in progress",
            "Target.FailedHealthChecks" => "Health checks failed",
            "Target.NotRegistered" => "Target is not registered to the target group",
            "Target.NotInUse" => {
                "Target group is not configured to receive traffic from the load balancer, or the target is in an Availability Zone that is not enabled for the load balancer"
            }
            "Target.InvalidState" => "Target is in the stopped or terminated state",
            _ => "Target deregistration is in progress",
        })
    }
}

/// `deregistration_delay.timeout_seconds`
pub(super) fn delay(group: &TargetGroup) -> Duration {
    let seconds = group.attributes.get("deregistration_delay.timeout_seconds");
    Duration::from_secs(
        seconds
            .and_then(|seconds| seconds.parse().ok())
            .unwrap_or(300),
    )
}

fn seconds(number: i64) -> Duration {
    Duration::from_secs(u64::try_from(number).unwrap_or_default())
}

/// The zone of a target; none where it is in all or in no known one.
pub(super) fn zone_of(
    state: &State,
    group: &TargetGroup,
    key: &Key,
    target: &Target,
) -> Option<String> {
    if group.target_type == "instance" {
        return state
            .instances
            .get(&key.id)
            .map(|instance| instance.zone.clone());
    }
    if let Some(zone) = target.zone.as_ref().filter(|zone| *zone != "all") {
        return Some(zone.clone());
    }
    let address = key.id.parse().ok()?;
    super::mappings::subnet_of(state, &group.vpc, address).map(|subnet| subnet.zone.clone())
}

/// Whether a zone of the load balancers reaches the target: TargetHealth, Target.NotInUse: "The target group is not used by any load balancer
/// or the target is in an Availability Zone that is not enabled for its load balancer."; with cross-zone load balancing all are reached.
fn is_reached(
    state: &State,
    group: &TargetGroup,
    balancers: &[&LoadBalancer],
    key: &Key,
    target: &Target,
) -> bool {
    let own = group
        .attributes
        .get("load_balancing.cross_zone.enabled")
        .map(String::as_str);
    let zone = zone_of(state, group, key, target);
    balancers.iter().any(|balancer| {
        let across = match own {
            Some("true") => true,
            Some("false") => false,
            _ => balancer
                .attributes
                .get("load_balancing.cross_zone.enabled")
                .is_some_and(|on| on == "true"),
        };
        across
            || zone
                .as_ref()
                .is_none_or(|zone| balancer.zones.iter().any(|one| one.zone == *zone))
    })
}

/// When checks of a target begin: it is registered, the group in use and the load balancer there. Network Load Balancer guide, "Health
/// checks": "Each load balancer node checks the health of each target"; one that is `provisioning` has no nodes yet.
fn begun(
    state: &State,
    settings: &Settings,
    group: &TargetGroup,
    balancers: &[&LoadBalancer],
    target: &Target,
) -> Option<Timestamp> {
    let routes = balancers
        .iter()
        .filter_map(|one| one.routes_at(state))
        .min()?;
    let ready = target.registered_at.max(group.in_use_since?).max(routes);
    Some(ready + settings.times.registration)
}

/// How long a target must do well, and badly, until that counts.
fn thresholds(group: &TargetGroup) -> (Duration, Duration) {
    let interval = seconds(group.check.interval);
    let times = |count: i64| interval * u32::try_from(count).unwrap_or(1);
    (times(group.check.healthy), times(group.check.unhealthy))
}

/// The times at which a target's health may change by itself.
pub(super) fn turns(
    state: &State,
    settings: &Settings,
    group: &TargetGroup,
    balancers: &[&LoadBalancer],
    key: &Key,
    target: &Target,
) -> Vec<Timestamp> {
    let mut turns = Vec::new();
    turns.extend(target.deregistered_at.map(|since| since + delay(group)));
    let begun = begun(state, settings, group, balancers, target);
    turns.extend(begun);
    if let Some(begun) = begun.filter(|_| settings.times.health_checks) {
        let instance = state.instances.get(&key.id);
        let turned = instance.map_or(begun, |instance| instance.answers.1.max(begun));
        let (good, bad) = thresholds(group);
        turns.extend([turned + good, turned + bad]);
    }
    turns
}

/// How a target does now.
pub(in super::super) fn of(
    state: &State,
    settings: &Settings,
    now: Timestamp,
    group: &TargetGroup,
    balancers: &[&LoadBalancer],
    key: &Key,
) -> Health {
    let Some(target) = group.targets.get(key) else {
        return NOT_REGISTERED;
    };
    if target.deregistered_at.is_some() {
        return DRAINING;
    }
    if !is_reached(state, group, balancers, key, target) {
        return NOT_IN_USE;
    }
    let instance = state.instances.get(&key.id);
    if group.target_type == "instance"
        && instance.is_none_or(|instance| instance.state != "running")
    {
        return INVALID_STATE;
    }
    match instance
        .and_then(|instance| instance.tags.get(TOLD))
        .map(String::as_str)
    {
        Some("initial") => return REGISTERING,
        Some("unhealthy") => return FAILING,
        Some("draining") => return DRAINING,
        _ => {}
    }
    let (answers, since) =
        instance.map_or((true, target.registered_at), |instance| instance.answers);
    let begun = begun(state, settings, group, balancers, target);
    let Some(begun) = begun.filter(|begun| now >= *begun) else {
        return REGISTERING;
    };
    if !settings.times.health_checks {
        return if answers { HEALTHY } else { FAILING };
    }
    let (good, bad) = thresholds(group);
    // Since when it has been as it is, as far as checks could tell; and how it was before.
    let turned = since.max(begun);
    let known_before = since > begun;
    match answers {
        true if now >= turned + good => HEALTHY,
        true if known_before => FAILING,
        false if now >= turned + bad => FAILING,
        false if known_before && since >= begun + good => HEALTHY,
        _ => CHECKING,
    }
}

/// How many targets of a group are in each state.
pub(in super::super) fn count(
    state: &State,
    settings: &Settings,
    now: Timestamp,
    group: &TargetGroup,
) -> BTreeMap<&'static str, usize> {
    let balancers = group.load_balancers.iter();
    let balancers: Vec<_> = balancers
        .filter_map(|arn| state.load_balancers.get(arn))
        .collect();
    let mut counts = BTreeMap::new();
    for key in group.targets.keys() {
        let health = of(state, settings, now, group, &balancers, key);
        *counts.entry(health.state).or_default() += 1;
    }
    counts
}
