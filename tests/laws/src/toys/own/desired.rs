//! What a group shall have (Decides).

use std::collections::BTreeMap;

use evenkeel_core::{
    group::Group,
    intent::{Affinity, Intent, ReclaimPolicy, SourceRanges},
    net::IpFamily,
    ports::{PortKey, Protocol},
    problem::{PortError, Problem, Problems, Warning, reason},
    provider::Verdict,
};

use super::{
    annotations,
    model::{Desired, ListenerWant},
    ways::Ways,
};

/// Upstream's word for it.
const MIXED: &str = "LoadBalancerMixedProtocolNotSupported";

/// Decides it: all that can be served, or every reason why nothing can.
pub fn desired(group: &Group, ways: &Ways) -> Verdict<Desired> {
    let mut problems = Problems::none();
    let settings: BTreeMap<_, _> = group
        .members
        .iter()
        .filter_map(|member| Some((&member.service, annotations::read(member, &mut problems)?)))
        .collect();
    for member in &group.members {
        cannot(member, ways, &mut problems);
    }
    if let Err(problems) = problems.check() {
        return Verdict::Rejected(problems);
    }

    let (ports, mut port_errors) = group.ports();
    let speaks = |protocol| ports.iter().any(|(port, _)| port.protocol == protocol);
    let mixed = speaks(Protocol::Tcp) && speaks(Protocol::Udp) && !ways.mixed_protocols;
    let mut listeners = BTreeMap::new();
    for (port, (member, intent)) in ports {
        let error = |reason, message: &str| PortError {
            service: member.service.clone(),
            port,
            reason,
            message: message.into(),
        };
        if port.protocol == Protocol::Sctp {
            port_errors.push(error(
                reason::PROTOCOL_NOT_SUPPORTED,
                "SCTP is not spoken here. Use TCP or UDP.",
            ));
        } else if mixed {
            port_errors.push(error(
                MIXED,
                "TCP and UDP cannot share a load balancer here. Make a Service for each.",
            ));
        } else if let Some(node_port) = backend(port, intent.node_port, ways) {
            let settings = &settings[&member.service];
            listeners.insert(
                port,
                ListenerWant {
                    member: member.service.clone(),
                    node_port,
                    idle_seconds: settings.idle_seconds,
                    tier: settings.tier.clone(),
                },
            );
        } else {
            port_errors.push(error(
                reason::NODE_PORT_REQUIRED,
                "It has no node port. Let node ports be allocated.",
            ));
        }
    }
    port_errors.sort();
    // An error of every port is an error of ports, where the ports are at odds with each other and not with the cloud.
    if listeners.is_empty() && !mixed {
        let text = port_errors
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("; ");
        return Verdict::Rejected(Problems::from(Problem::new(
            "spec.ports",
            "",
            "cannot be served",
            text,
        )));
    }
    let mut warnings: Vec<_> = group
        .members
        .iter()
        .flat_map(annotations::warnings)
        .chain(
            group
                .members
                .iter()
                .flat_map(|member| warnings_of(member, ways)),
        )
        .collect();
    warnings.sort();
    Verdict::Accepted {
        desired: Desired {
            // The oldest member speaks for what all share.
            pool: settings[&group.first().service].pool,
            retain: group
                .members
                .iter()
                .any(|member| member.options.reclaim_policy == ReclaimPolicy::Retain),
            listeners,
            unknown: group
                .unknown
                .iter()
                .map(|member| member.uid.clone())
                .collect(),
        },
        warnings,
        port_errors,
    }
}

/// Where the nodes get the traffic of a port.
fn backend(port: PortKey, node_port: Option<u16>, ways: &Ways) -> Option<u16> {
    if ways.node_ports {
        node_port
    } else {
        Some(port.port)
    }
}

/// What of a Service cannot be had of this cloud, and would do harm if it were left out.
fn cannot(member: &Intent, ways: &Ways, problems: &mut Problems) {
    if let SourceRanges::Only(ranges) = &member.source_ranges
        && !ways.source_ranges
    {
        let ranges: Vec<_> = ranges.iter().map(ToString::to_string).collect();
        let problem = Problem::new(
            "spec.loadBalancerSourceRanges",
            ranges.join(", "),
            "cannot be enforced by this cloud, and everyone could connect",
            "Remove the ranges, or use a class that enforces them.",
        );
        problems.push(problem.with_reason(reason::SOURCE_RANGES_NOT_ENFORCED));
    }
    if let Some(most) = ways.most_ports.filter(|most| member.ports.len() > *most) {
        problems.push(Problem::new(
            "spec.ports",
            format!("{} ports", member.ports.len()),
            format!("must be at most {most} on one load balancer"),
            "Split the Service.",
        ));
    }
    if !member.families.contains(&IpFamily::V4) {
        let problem = Problem::new(
            "spec.ipFamilies",
            "IPv6",
            "must contain IPv4, which is all that this cloud has",
            "Add IPv4.",
        );
        problems.push(problem.with_reason(reason::UNSUPPORTED_FEATURE));
    }
}

/// What of a Service is left out, without harm.
fn warnings_of(member: &Intent, ways: &Ways) -> Vec<Warning> {
    let mut warnings = Vec::new();
    if let Affinity::ClientIp { timeout_seconds } = member.affinity
        && !ways.affinity_timeout
    {
        warnings.push(Warning::new(
            reason::UNSUPPORTED_FEATURE,
            format!(
                "spec.sessionAffinityConfig.clientIP.timeoutSeconds: {timeout_seconds} has no effect here. Remove it."
            ),
        ));
    }
    if member.families.contains(&IpFamily::V6) && member.families.contains(&IpFamily::V4) {
        warnings.push(Warning::new(
            reason::UNSUPPORTED_FEATURE,
            "spec.ipFamilies: IPv6 has no effect, because this cloud has IPv4 alone. Remove it.",
        ));
    }
    warnings
}
