//! Which ports can be served, and which of them share a listener (Decides).
//!
//! AWS has one listener per port number. TCP and UDP of one number share one of protocol TCP_UDP, whose targets have a single port: so
//! both need the same node port, or the same target port where targets are pods. Where they cannot share, TCP is served, or what the older member of a group asks for.

use std::collections::BTreeMap;

use evenkeel_core::{
    group::Group,
    ids::ServiceUid,
    intent::{Intent, PortIntent, TargetPort},
    ports::{PortKey, Protocol},
    problem::{PortError, Problem, reason},
};

use super::target_type;
use crate::{annotations::key, model::TargetType};

/// The node ports of TCP and UDP of one number differ.
pub const NODE_PORT_MISMATCH: &str = "NodePortMismatch";

/// The target ports of TCP and UDP of one number differ, or may.
pub const TARGET_PORT_MISMATCH: &str = "TargetPortMismatch";

/// Where targets are reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reached {
    /// Nodes, at a node port.
    NodePort(u16),
    /// Pods, at a port of their own.
    TargetPort(TargetPort),
}

impl Reached {
    /// The port of the pods, where it is one number for all.
    pub(super) fn pod_port(&self) -> Option<u16> {
        match self {
            Self::NodePort(_) => None,
            Self::TargetPort(port) => port.number(),
        }
    }

    /// The port that the target group of a listener is made with. Each target has its own all the same.
    pub(super) fn number(&self, listener: u16) -> u16 {
        match self {
            Self::NodePort(number) => *number,
            Self::TargetPort(port) => port.number().unwrap_or(listener),
        }
    }
}

/// What a listener will serve.
pub(super) struct Front<'a> {
    /// Whose ports.
    pub(super) member: &'a Intent,
    /// The port number.
    pub(super) number: u16,
    /// One port, or TCP and UDP of the number.
    pub(super) serves: Vec<PortKey>,
    /// Where targets are reached.
    pub(super) reached: Reached,
}

impl Front<'_> {
    /// Whether it takes datagrams.
    pub(super) fn has_udp(&self) -> bool {
        self.serves
            .iter()
            .any(|port| port.protocol == Protocol::Udp)
    }

    /// Whether it takes connections.
    pub(super) fn has_tcp(&self) -> bool {
        self.serves
            .iter()
            .any(|port| port.protocol == Protocol::Tcp)
    }
}

/// A port that cannot be served.
pub(super) struct Unserved<'a> {
    /// Whose.
    pub(super) member: &'a Intent,
    /// Which.
    pub(super) port: PortKey,
    /// Why.
    pub(super) problem: Problem,
}

impl Unserved<'_> {
    /// The error of the port.
    pub(super) fn error(&self) -> PortError {
        PortError {
            service: self.member.service.clone(),
            port: self.port,
            reason: self.problem.reason,
            message: self.problem.to_string().into(),
        }
    }
}

/// The listeners of a group by number; the ports that can have none; and the errors of those that an older member has.
pub(super) fn fronts(
    group: &Group,
    udp_allowed: bool,
) -> (Vec<Front<'_>>, Vec<Unserved<'_>>, Vec<PortError>) {
    let (ports, errors) = group.ports();
    let mut unserved = Vec::new();
    let mut by_number: BTreeMap<u16, Vec<(PortKey, &Intent, Reached)>> = BTreeMap::new();
    for (port, (member, intent)) in ports {
        match reached(port, member, intent, udp_allowed) {
            Ok(reached) => {
                let number = by_number.entry(port.port).or_default();
                number.push((port, member, reached));
            }
            Err(problem) => unserved.push(Unserved {
                member,
                port,
                problem: *problem,
            }),
        }
    }
    let age: BTreeMap<&ServiceUid, usize> = group
        .members
        .iter()
        .enumerate()
        .map(|(age, member)| (&member.service.uid, age))
        .collect();
    let mut fronts = Vec::new();
    for (number, mut claims) in by_number {
        // Of one age TCP comes first, as the ports are sorted.
        claims.sort_by_key(|(_, member, _)| age[&member.service.uid]);
        let mut claims = claims.into_iter();
        let Some((port, member, reached)) = claims.next() else {
            continue;
        };
        let mut front = Front {
            member,
            number,
            serves: vec![port],
            reached,
        };
        for (port, other, reached) in claims {
            match conflict(&front, port, other, &reached) {
                None => front.serves.push(port),
                Some(problem) => unserved.push(Unserved {
                    member: other,
                    port,
                    problem,
                }),
            }
        }
        fronts.push(front);
    }
    (fronts, unserved, errors)
}

/// Where the targets of a port are reached.
fn reached(
    port: PortKey,
    member: &Intent,
    intent: &PortIntent,
    udp_allowed: bool,
) -> Result<Reached, Box<Problem>> {
    if port.protocol == Protocol::Sctp {
        let problem = Problem::new(
            format!("spec.ports[{port}].protocol"),
            port.protocol.as_str(),
            "is not supported by Network Load Balancers, which speak TCP and UDP",
            "Use TCP or UDP, or move this port to a Service of another class.",
        );
        return Err(Box::new(
            problem.with_reason(reason::PROTOCOL_NOT_SUPPORTED),
        ));
    }
    if port.protocol == Protocol::Udp && !udp_allowed {
        return Err(Box::new(Problem::new(
            format!("spec.ports[{port}].protocol"),
            port.protocol.as_str(),
            "needs source NAT by prefix on a dualstack load balancer",
            format!("Set {} to on.", key::SOURCE_NAT),
        )));
    }
    if target_type::of(member) == TargetType::Ip {
        return Ok(Reached::TargetPort(intent.target_port.clone()));
    }
    intent.node_port.map(Reached::NodePort).ok_or_else(|| {
        let problem = Problem::new(
            format!("spec.ports[{port}].nodePort"),
            "",
            "must be set, because targets are reached through it",
            format!(
                "Set spec.allocateLoadBalancerNodePorts: true, or set the nodePort; or have the pods be the targets, with {}: ip.",
                key::NLB_TARGET_TYPE
            ),
        );
        Box::new(problem.with_reason(reason::NODE_PORT_REQUIRED))
    })
}

/// Why a port cannot share the listener of its number.
fn conflict(
    front: &Front<'_>,
    port: PortKey,
    member: &Intent,
    reached: &Reached,
) -> Option<Problem> {
    let first = front.serves[0];
    if member.service.uid != front.member.service.uid {
        let problem = Problem::new(
            format!("spec.ports[{port}].port"),
            port.port.to_string(),
            format!(
                "cannot share a listener with {first} of {} of the same group, because the two have other pods",
                front.member.service
            ),
            "Use another port, or leave the group.",
        );
        return Some(problem.with_reason(reason::PORT_CONFLICT));
    }
    match (reached, &front.reached) {
        (
            Reached::TargetPort(TargetPort::Number(one)),
            Reached::TargetPort(TargetPort::Number(other)),
        ) if one == other => None,
        (Reached::TargetPort(one), other) => {
            let problem = Problem::new(
                format!("spec.ports[{port}].targetPort"),
                one.to_string(),
                format!(
                    "must be the number that {first} has too{}: TCP and UDP of one number share a listener, whose targets have a single port",
                    match other {
                        Reached::TargetPort(other) => format!(", which is {other}"),
                        Reached::NodePort(_) => String::new(),
                    }
                ),
                "Write the same number as the targetPort of both, or use two port numbers.",
            );
            Some(problem.with_reason(TARGET_PORT_MISMATCH))
        }
        (Reached::NodePort(one), Reached::NodePort(other)) if one == other => None,
        (Reached::NodePort(one), other) => {
            let problem = Problem::new(
                format!("spec.ports[{port}].nodePort"),
                one.to_string(),
                format!(
                    "must be {}, the nodePort of {first}: TCP and UDP of one number share a listener, whose targets have a single port",
                    other.number(front.number)
                ),
                "Set both nodePorts to the same number, or use two port numbers.",
            );
            Some(problem.with_reason(NODE_PORT_MISMATCH))
        }
    }
}
