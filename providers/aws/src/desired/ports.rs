//! Which ports can be served, and which of them share a listener (Decides).
//!
//! AWS has one listener per port number. TCP and UDP of one number share one of protocol TCP_UDP, whose targets have a single port: so
//! both need the same node port. Where they cannot share, TCP is served, or what the older member of a group asks for.

use std::collections::BTreeMap;

use evenkeel_core::{
    group::Group,
    ids::ServiceUid,
    intent::{Intent, PortIntent},
    ports::{PortKey, Protocol},
    problem::{PortError, Problem, reason},
};

use crate::annotations::key;

/// The node ports of TCP and UDP of one number differ.
pub const NODE_PORT_MISMATCH: &str = "NodePortMismatch";

/// What a listener will serve.
pub(super) struct Front<'a> {
    /// Whose ports.
    pub(super) member: &'a Intent,
    /// The port number.
    pub(super) number: u16,
    /// One port, or TCP and UDP of the number.
    pub(super) serves: Vec<PortKey>,
    /// Where targets are reached.
    pub(super) node_port: u16,
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
    let mut by_number: BTreeMap<u16, Vec<(PortKey, &Intent, u16)>> = BTreeMap::new();
    for (port, (member, intent)) in ports {
        match node_port(port, intent, udp_allowed) {
            Ok(node_port) => {
                let number = by_number.entry(port.port).or_default();
                number.push((port, member, node_port));
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
        let Some((port, member, node_port)) = claims.next() else {
            continue;
        };
        let mut front = Front {
            member,
            number,
            serves: vec![port],
            node_port,
        };
        for (port, other, other_node_port) in claims {
            match conflict(&front, port, other, other_node_port) {
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

/// The node port through which a port is served.
fn node_port(port: PortKey, intent: &PortIntent, udp_allowed: bool) -> Result<u16, Box<Problem>> {
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
    intent.node_port.ok_or_else(|| {
        let problem = Problem::new(
            format!("spec.ports[{port}].nodePort"),
            "",
            "must be set, because targets are reached through it",
            "Set spec.allocateLoadBalancerNodePorts: true, or set the nodePort.",
        );
        Box::new(problem.with_reason(reason::NODE_PORT_REQUIRED))
    })
}

/// Why a port cannot share the listener of its number.
fn conflict(front: &Front<'_>, port: PortKey, member: &Intent, node_port: u16) -> Option<Problem> {
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
    (node_port != front.node_port).then(|| {
        let problem = Problem::new(
            format!("spec.ports[{port}].nodePort"),
            node_port.to_string(),
            format!(
                "must be {}, the nodePort of {first}: TCP and UDP of one number share a listener, whose targets have a single port",
                front.node_port
            ),
            "Set both nodePorts to the same number, or use two port numbers.",
        );
        problem.with_reason(NODE_PORT_MISMATCH)
    })
}
