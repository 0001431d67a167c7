//! What a group shall have: address leases, backend sets, listeners; or why it cannot be served (Decides).
//!
//! Targets are not part of it: they follow the nodes, in the plan. Families and reclaim policy are the first member's to
//! choose, the address is the first one asked for; everything else is each member's own. A member of a shared group whose annotations are rejected is
//! treated as one that cannot be read: what serves it stays, and its neighbours do not notice.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use evenkeel_core::{
    annotation::{field, key},
    group::Group,
    ids::{ServiceRef, ServiceUid},
    intent::{Intent, PortIntent, ReclaimPolicy},
    net::IpFamily,
    ports::{PortKey, Protocol},
    problem::{PortError, Problem, Problems, Warning, reason},
    provider::Verdict,
};

use crate::{
    annotations::{ADDRESS_POOL, Settings},
    api::HealthCheck,
    model::{BackendSet, Desired, Lease, Listener},
    names::{self, label},
};

/// Decides what a group shall have.
pub fn desired(group: &Group) -> Verdict<Desired> {
    let mut warnings = Vec::new();
    let leases = leases(group, &mut warnings);
    let settings: BTreeMap<&ServiceUid, Result<Settings, Problems>> = group
        .members
        .iter()
        .map(|member| (&member.service.uid, Settings::read(member, &mut warnings)))
        .collect();

    let rejected = settings
        .iter()
        .filter(|(_, settings)| settings.is_err())
        .map(|(uid, _)| (*uid).clone());
    let mut desired = Desired {
        leases,
        backend_sets: Vec::new(),
        listeners: Vec::new(),
        unknown: group
            .unknown
            .iter()
            .map(|service| service.uid.clone())
            .chain(rejected)
            .collect(),
    };
    let (ports, mut port_errors) = group.ports();
    let mut unserved = Problems::none();
    for (port, (member, intent)) in ports {
        match &settings[&member.service.uid] {
            Err(problems) => {
                unserved.extend(problems.clone());
                port_errors.push(PortError {
                    service: member.service.clone(),
                    port,
                    reason: problems.reason(),
                    message: problems.to_string().into(),
                });
            }
            Ok(settings) => match served(port, intent) {
                Ok(node_port) => {
                    let (health_check, warning) = settings.probe(port);
                    warnings.extend(warning);
                    let target = TargetPort {
                        node_port,
                        health_check,
                    };
                    add(&mut desired, group, member, port, target, settings);
                }
                Err(wrong) => {
                    let (what, problem) = *wrong;
                    port_errors.push(PortError {
                        service: member.service.clone(),
                        port,
                        reason: problem.reason,
                        message: format!("{what} {}. {}", problem.message, problem.advice).into(),
                    });
                    unserved.push(problem);
                }
            },
        }
    }
    if desired.listeners.is_empty() {
        return Verdict::Rejected(unserved);
    }
    let pool = pool(group, &settings, &mut warnings);
    for lease in &mut desired.leases {
        lease.pool = pool.clone();
        let listeners = desired.listeners.iter();
        lease.ports = listeners
            .filter(|listener| listener.family == lease.family)
            .map(Listener::place)
            .collect();
    }
    Verdict::Accepted {
        desired,
        warnings,
        port_errors,
    }
}

/// One lease per family of the first member. A particular address is that of the oldest member that asks for one.
fn leases(group: &Group, warnings: &mut Vec<Warning>) -> Vec<Lease> {
    let mut asked: BTreeMap<IpFamily, (IpAddr, &ServiceRef)> = BTreeMap::new();
    for member in &group.members {
        for &address in &member.options.addresses {
            let (held, holder) = *asked
                .entry(IpFamily::of(address))
                .or_insert((address, &member.service));
            if held != address {
                warnings.push(Warning::new(
                    reason::INVALID_CONFIGURATION,
                    format!(
                        "{}: {address} of {} has no effect, because {holder} of the same group asks for {held}. Write the \
                         same address, or remove one of the two.",
                        field(key::STATIC_ADDRESS),
                        member.service,
                    ),
                ));
            }
        }
    }
    let lease = |(order, family): (usize, &IpFamily)| {
        let id = names::lease_id(*family);
        let labels = [
            (label::ID, id.to_string()),
            (label::ORDER, order.to_string()),
        ];
        Lease {
            family: *family,
            address: asked.get(family).map(|(address, _)| *address),
            pool: None,
            ports: Vec::new(),
            marks: names::group_marks(&group.cluster, &group.key, retain(group), &labels),
            id,
        }
    };
    group
        .first()
        .families
        .iter()
        .enumerate()
        .map(lease)
        .collect()
}

/// The pool that the oldest member asks for.
fn pool(
    group: &Group,
    settings: &BTreeMap<&ServiceUid, Result<Settings, Problems>>,
    warnings: &mut Vec<Warning>,
) -> Option<Arc<str>> {
    let mut asked = group.members.iter().filter_map(|member| {
        let settings = settings[&member.service.uid].as_ref().ok()?;
        Some((settings.pool.clone()?, &member.service))
    });
    let (pool, holder) = asked.next()?;
    for (other, service) in asked.filter(|(other, _)| *other != pool) {
        warnings.push(Warning::new(
            reason::INVALID_CONFIGURATION,
            format!(
                "{}: {other} of {service} has no effect, because {holder} of the same group asks for {pool}. Write the same \
                 pool, or remove one of the two.",
                field(ADDRESS_POOL),
            ),
        ));
    }
    Some(pool)
}

fn retain(group: &Group) -> bool {
    group.first().options.reclaim_policy == ReclaimPolicy::Retain
}

/// The node port through which a port can be served; else what about the port is wrong, and how.
fn served(key: PortKey, port: &PortIntent) -> Result<u16, Box<(&'static str, Problem)>> {
    if key.protocol == Protocol::Sctp {
        let problem = Problem::new(
            format!("spec.ports[{key}].protocol"),
            key.protocol.as_str(),
            "is not supported on this machine's load balancer, which speaks TCP and UDP",
            "Use TCP or UDP, or move this port to a Service of another class.",
        );
        return Err(Box::new((
            key.protocol.as_str(),
            problem.with_reason(reason::PROTOCOL_NOT_SUPPORTED),
        )));
    }
    port.node_port.ok_or_else(|| {
        let problem = Problem::new(
            format!("spec.ports[{key}].nodePort"),
            "",
            "must be set, because targets are reached through it",
            "Set spec.allocateLoadBalancerNodePorts: true, or set the nodePort.",
        );
        Box::new((
            "its nodePort",
            problem.with_reason(reason::NODE_PORT_REQUIRED),
        ))
    })
}

/// Where a port's targets are reached, and how they are judged.
struct TargetPort {
    node_port: u16,
    health_check: Option<HealthCheck>,
}

/// A backend set and a listener for each family.
fn add(
    desired: &mut Desired,
    group: &Group,
    member: &Intent,
    port: PortKey,
    target: TargetPort,
    settings: &Settings,
) {
    let TargetPort {
        node_port,
        health_check,
    } = target;
    let marks = |labels: &[(&str, String)]| {
        names::member_marks(
            &group.cluster,
            &group.key,
            &member.service,
            retain(group),
            labels,
        )
    };
    for &family in &group.first().families {
        let id = names::backend_set_id(port, family);
        let name = names::name(&group.cluster.uid, &group.key, &id, 0);
        desired.backend_sets.push(BackendSet {
            marks: marks(&[
                (label::ID, id.to_string()),
                (label::NODE_PORT, node_port.to_string()),
                (label::FAMILY, family.to_string()),
            ]),
            id,
            name: name.clone(),
            node_port,
            protocol: port.protocol,
            family,
            health_check: health_check.clone(),
            by_default: settings.by_default,
            drain_seconds: settings.drain_seconds,
            affinity_seconds: settings.affinity_seconds,
        });
        let id = names::listener_id(port, family);
        desired.listeners.push(Listener {
            marks: marks(&[(label::ID, id.to_string())]),
            id,
            port,
            family,
            backend_set: name,
            source_ranges: member
                .source_ranges
                .of_family(family)
                .map(|ranges| ranges.iter().map(|range| range.net()).collect()),
            proxy_protocol: settings.proxy_protocol,
            idle_timeout_seconds: settings.idle_timeout_seconds,
            access_log: settings.access_log,
            max_connections: settings.max_connections,
        });
    }
}
