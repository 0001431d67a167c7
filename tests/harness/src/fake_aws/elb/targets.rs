//! Targets: registering, deregistering, how many there may be. Decides.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::asked::Parameters as _;
use super::super::refusal::{Answer, Refusal, invalid, refuse};
use super::super::state::State;
use super::super::turn::{Ask, Turn};
use super::health;
use super::load_balancers::LoadBalancer;
use super::target_groups::{TargetGroup, get, not_there};

/// ELB API reference, RegisterTargets: "You can register each EC2 instance or IP address with the same target group multiple times using
/// different ports."
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// An instance's id, or an address.
    pub id: String,
    /// The port.
    pub port: u16,
}

/// A target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// When it was registered.
    pub registered_at: Timestamp,
    /// When it was deregistered.
    pub deregistered_at: Option<Timestamp>,
    /// The zone that was told, of an address: `all` or one.
    pub zone: Option<String>,
}

fn key(group: &TargetGroup, described: &Value) -> Key {
    let port = described
        .number("Port")
        .and_then(|port| u16::try_from(port).ok());
    Key {
        id: described.required("Id").to_owned(),
        port: port.unwrap_or(group.port),
    }
}

fn in_private_ranges(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let [a, b, ..] = address.octets();
            address.is_private() || (a == 100 && (64..128).contains(&b))
        }
        IpAddr::V6(_) => false,
    }
}

/// What makes a target one that cannot be registered: RegisterTargets ("If the target is an EC2 instance, it must be in the running state
/// when you register it"), TargetDescription and CreateTargetGroup, `TargetType`.
fn check(turn: &Turn<'_>, group: &TargetGroup, described: &[Value]) -> Result<(), Refusal> {
    let list = |ids: &[&str]| format!("'{}'", ids.join("', '"));
    let ids: BTreeSet<_> = described.iter().map(|one| one.required("Id")).collect();
    if group.target_type == "instance" {
        if let Some(bad) = ids.iter().find(|id| !super::super::ids::is_ec2_id(id, "i")) {
            return Err(invalid(format!("Instance ID '{bad}' is not valid")));
        }
        if described
            .iter()
            .any(|one| one.text("AvailabilityZone").is_some())
        {
            return Err(invalid(
                "An Availability Zone cannot be specified for targets of the type instance",
            ));
        }
        let state = |id: &str| {
            turn.state
                .instances
                .get(id)
                .filter(|one| one.vpc == group.vpc)
        };
        let missing: Vec<_> = ids
            .iter()
            .filter(|id| state(id).is_none())
            .copied()
            .collect();
        if !missing.is_empty() {
            return Err(refuse(
                "InvalidTarget",
                format!("The following targets do not exist: {}", list(&missing)),
            ));
        }
        let idle: Vec<_> = ids
            .iter()
            .filter(|id| state(id).is_some_and(|one| one.state != "running"))
            .copied()
            .collect();
        if !idle.is_empty() {
            return Err(refuse(
                "InvalidTarget",
                format!(
                    "The following targets are not in a running state and cannot be registered: {}",
                    list(&idle)
                ),
            ));
        }
        return Ok(());
    }
    for one in described {
        let id = one.required("Id");
        let address: IpAddr = id
            .parse()
            .map_err(|_| invalid(format!("The IP address '{id}' is not valid")))?;
        if address.is_ipv6() != (group.address_type == "ipv6") {
            return Err(invalid(format!(
                "The IP address '{id}' is not of the type {}",
                group.address_type
            )));
        }
        let within = super::mappings::in_vpc(turn.state, &group.vpc, address);
        let zone = one.text("AvailabilityZone");
        // TargetDescription, AvailabilityZone: "If the IP address is outside the VPC, this parameter is required."
        if !within && zone.is_none() {
            return Err(invalid(format!(
                "You must specify an Availability Zone for the IP address '{id}', which is outside the VPC"
            )));
        }
        if !within && !in_private_ranges(address) {
            return Err(refuse(
                "InvalidTarget",
                format!("The following targets are publicly routable: '{id}'"),
            ));
        }
    }
    Ok(())
}

/// ELB API reference, RegisterTargets: one wrong target refuses all. A target that drains is taken back.
pub(in super::super) fn register(turn: &mut Turn<'_>) -> Answer {
    let asked = turn.asked;
    let arn = asked.required("TargetGroupArn");
    let group = get(turn.state, arn)?.clone();
    check(turn, &group, asked.list("Targets"))?;
    let (now, most) = (turn.now, turn.settings.quotas.targets_per_group);
    let Some(there) = turn.state.target_groups.get_mut(arn) else {
        return Err(not_there(arn));
    };
    for described in asked.list("Targets") {
        let target = there
            .targets
            .entry(key(&group, described))
            .or_insert(Target {
                registered_at: now,
                deregistered_at: None,
                zone: None,
            });
        if target.deregistered_at.take().is_some() {
            target.registered_at = now;
        }
        target.zone = described.text("AvailabilityZone").map(str::to_owned);
    }
    let count = there
        .targets
        .values()
        .filter(|target| target.deregistered_at.is_none())
        .count();
    if count > most {
        return Err(too_many(format!(
            "Target group '{arn}' cannot have more than {most} targets"
        )));
    }
    for balancer in &group.load_balancers {
        check_load_balancer(turn, balancer, None)?;
    }
    Ok(json!({}))
}

/// TooManyTargets, errors of RegisterTargets and CreateListener: "You've reached the limit on the number of targets."
fn too_many(message: String) -> Refusal {
    refuse("TooManyTargets", message)
}

/// Network Load Balancer guide, "Quotas for your Network Load Balancers": targets of a load balancer in all, and in a zone or, with
/// cross-zone load balancing on, in all zones. A target in several groups counts in each. `cross_zone` is what shall be, else what is.
pub(super) fn check_load_balancer(
    turn: &Turn<'_>,
    arn: &str,
    cross_zone: Option<&String>,
) -> Result<(), Refusal> {
    let balancer = super::load_balancers::get(turn.state, arn)?;
    let on = cross_zone.or(balancer.attributes.get("load_balancing.cross_zone.enabled"));
    let on = on.is_some_and(|on| on == "true");
    let quotas = &turn.settings.quotas;
    let (mut all, mut zones) = (0, BTreeMap::<String, usize>::new());
    for group in turn
        .state
        .target_groups
        .values()
        .filter(|group| group.load_balancers.contains(arn))
    {
        for (key, target) in group
            .targets
            .iter()
            .filter(|(_, target)| target.deregistered_at.is_none())
        {
            all += 1;
            let zone = match on {
                true => String::new(),
                false => health::zone_of(turn.state, group, key, target).unwrap_or_default(),
            };
            *zones.entry(zone).or_default() += 1;
        }
    }
    if all > quotas.targets_per_load_balancer {
        return Err(too_many(format!(
            "Load balancer '{arn}' cannot have more than {} targets",
            quotas.targets_per_load_balancer
        )));
    }
    match zones
        .iter()
        .find(|(_, count)| **count > quotas.targets_per_zone)
    {
        Some((zone, _)) => Err(too_many(format!(
            "Load balancer '{arn}' cannot have more than {} targets {}",
            quotas.targets_per_zone,
            if on {
                "with cross-zone load balancing".to_owned()
            } else {
                format!("in {zone}")
            },
        ))),
        None => Ok(()),
    }
}

/// ELB API reference, DeregisterTargets: "If the specified target does not exist, the action returns successfully." Network Load Balancer
/// guide, "Deregistration delay": the target drains, and is gone after the delay. One that gets no traffic has nothing to drain.
pub(in super::super) fn deregister(turn: &mut Turn<'_>) -> Answer {
    let asked = turn.asked;
    let arn = asked.required("TargetGroupArn");
    let group = get(turn.state, arn)?.clone();
    for described in asked.list("Targets") {
        // DeregisterTargets, Targets: "If you specified a port override when you registered a target, you must specify both the target ID and
        // the port when you deregister it."
        leave(turn, &group, &key(&group, described));
    }
    Ok(json!({}))
}

fn leave(turn: &mut Turn<'_>, group: &TargetGroup, key: &Key) {
    let (now, drains) = (turn.now, turn.settings.times.draining);
    let Some(there) = turn.state.target_groups.get_mut(&group.arn) else {
        return;
    };
    if !drains || there.load_balancers.is_empty() {
        there.targets.remove(key);
    } else if let Some(target) = there.targets.get_mut(key) {
        target.deregistered_at.get_or_insert(now);
        there.drains = true;
    }
}

/// Network Load Balancer guide, "Register targets": a terminated instance is deregistered.
pub(in super::super) fn instance_gone(turn: &mut Turn<'_>, id: &str) {
    let groups = turn.state.target_groups.values();
    let having: Vec<_> = groups
        .filter(|group| group.targets.keys().any(|key| key.id == id))
        .cloned()
        .collect();
    for group in having {
        for key in group.targets.keys().filter(|key| key.id == id) {
            leave(turn, &group, key);
        }
    }
}

/// Takes away the targets that have drained.
pub(in super::super) fn forget_drained(state: &mut State, now: Timestamp) {
    let drained = |group: &TargetGroup, target: &Target| {
        let since = target.deregistered_at;
        since.is_some_and(|since| now >= since + health::delay(group))
    };
    let having: Vec<_> = state
        .target_groups
        .values()
        .filter(|group| group.drains)
        .filter(|group| group.targets.values().any(|target| drained(group, target)))
        .cloned()
        .collect();
    for group in having {
        if let Some(there) = state.target_groups.get_mut(&group.arn) {
            there.targets.retain(|_, target| !drained(&group, target));
            let mut left = there.targets.values();
            there.drains = left.any(|target| target.deregistered_at.is_some());
        }
    }
}

/// ELB API reference, DescribeTargetHealth: all targets, those that drain too, or those that are named; one that is not registered is
/// `unused`.
pub(in super::super) fn describe_health(ask: &Ask<'_>) -> Answer {
    let group = get(ask.state, ask.asked.required("TargetGroupArn"))?;
    let named = ask.asked.list("Targets").iter();
    let named: Vec<_> = named.map(|described| key(group, described)).collect();
    let keys = match named.is_empty() {
        true => group.targets.keys().cloned().collect(),
        false => named,
    };
    let balancers: Vec<&LoadBalancer> = group
        .load_balancers
        .iter()
        .filter_map(|arn| ask.state.load_balancers.get(arn))
        .collect();
    let shown = keys.iter().map(|key| {
        let health = health::of(ask.state, ask.settings, ask.now, group, &balancers, key);
        let zone = group.targets.get(key).and_then(|target| target.zone.clone());
        let port = match &*group.check.port {
            "traffic-port" => key.port.to_string(),
            port => port.to_owned(),
        };
        json!({
            "Target": {"Id": key.id, "Port": key.port, "AvailabilityZone": zone},
            "HealthCheckPort": port,
            "TargetHealth": {"State": health.state, "Reason": health.reason, "Description": health.description()},
        })
    });
    Ok(json!({"TargetHealthDescriptions": shown.collect::<Value>()}))
}
