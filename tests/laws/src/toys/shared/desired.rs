//! What a group shall have (Decides).

use std::collections::BTreeMap;

use evenkeel_core::{
    group::Group,
    intent::ReclaimPolicy,
    ports::Protocol,
    problem::{PortError, Problem, Problems, reason},
    provider::Verdict,
};

use super::{
    annotations,
    model::{Desired, Listener},
};

/// Decides it: all that can be served, or every reason why nothing can.
pub fn desired(group: &Group) -> Verdict<Desired> {
    let mut problems = Problems::none();
    let settings: BTreeMap<_, _> = group
        .members
        .iter()
        .filter_map(|member| Some((&member.service, annotations::read(member, &mut problems)?)))
        .collect();
    if let Err(problems) = problems.check() {
        return Verdict::Rejected(problems);
    }

    let (ports, mut port_errors) = group.ports();
    let mut listeners = Vec::new();
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
        } else if let Some(node_port) = intent.node_port {
            let settings = &settings[&member.service];
            listeners.push(Listener {
                port,
                member: member.service.clone(),
                node_port,
                idle_seconds: settings.idle_seconds,
                tier: settings.tier.clone(),
            });
        } else {
            port_errors.push(error(
                reason::NODE_PORT_REQUIRED,
                "It has no node port. Let node ports be allocated.",
            ));
        }
    }
    port_errors.sort();
    if listeners.is_empty() {
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
