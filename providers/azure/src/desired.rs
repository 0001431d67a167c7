//! What a group shall have, from its Services and the operator's settings (Decides).
//!
//! A member that cannot be used is set aside, and its neighbours do not notice. Targets follow the nodes and are not part of it.

use std::sync::Arc;

use evenkeel_core::{
    annotation::Asked,
    claim::Profile,
    group::Group,
    intent::Scheme,
    ports::PortKey,
    problem::{PortError, Problem, Warning},
    provider::Verdict,
};

use crate::{Context, annotations::asked, model::Desired, names};

mod access;
mod addresses;
mod member;
mod probes;
mod tags;
mod unsupported;

use member::Member;
pub use tags::wrong_tag;

/// Decides what a group shall have.
pub fn desired(context: &Context, group: &Group) -> Verdict<Desired> {
    let mut shared = asked(group.first());
    let scheme = addresses::scheme(&mut shared);
    let sources = addresses::sources(context, group, &mut shared, scheme);
    let shared_unknown = !group.unknown.is_empty();
    if shared_unknown {
        // What the oldest of the others says is not what counts.
        shared = asked(group.first());
    }
    let (ports, mut port_errors) = group.ports();
    let mut members: Vec<Member<'_>> = group
        .members
        .iter()
        .map(|intent| Member::read(context, group, intent, scheme))
        .collect();
    for member in &mut members {
        let uid = &member.asked.intent.service.uid;
        let own: Vec<PortKey> = ports
            .iter()
            .filter(|(_, (intent, _))| intent.service.uid == *uid)
            .map(|(port, _)| *port)
            .collect();
        member.build(context, group, &own, scheme, &sources);
    }

    let mut problems = shared.problems;
    let mut warnings = shared.warnings;
    let shared_is_wrong = !problems.is_empty();
    for member in &members {
        problems.extend(member.asked.problems.clone());
        warnings.extend(member.asked.warnings.iter().cloned());
        problems.extend(
            member
                .unserved
                .iter()
                .map(|error| error.problem.clone())
                .collect(),
        );
    }
    let served = members.iter().any(|member| !member.listeners.is_empty());
    if shared_is_wrong || !served {
        return Verdict::Rejected(problems.or_of_ports(&port_errors));
    }
    for member in &members {
        port_errors.extend(member.errors());
    }
    let rejected = members.iter().filter(|member| member.is_rejected());
    let unknown = group
        .unknown
        .iter()
        .map(|service| service.uid.clone())
        .chain(rejected.map(|member| member.asked.intent.service.uid.clone()))
        .collect();
    let openings = context.security_group.is_some().then(|| {
        members
            .iter()
            .flat_map(|member| member.openings.clone())
            .collect()
    });
    let served = members.iter().filter(|member| !member.listeners.is_empty());
    let desired = Desired {
        scheme,
        addresses: sources,
        openings,
        unknown,
        shared_unknown,
        members: served
            .map(|member| member.asked.intent.service.clone())
            .collect(),
        probes: members
            .iter()
            .flat_map(|member| member.probes.clone())
            .collect(),
        rules: members
            .into_iter()
            .flat_map(|member| member.listeners)
            .collect(),
    };
    Warning::once_each(&mut warnings);
    Verdict::Accepted {
        desired,
        warnings,
        port_errors,
    }
}

/// Whether packets arrive at a node with the load balancer's address, where nothing is said.
fn floats(profile: Profile) -> bool {
    profile == Profile::Azure
}

/// The scheme that stands for a network of its own: nobody outside reaches it.
fn is_internal(scheme: Scheme) -> bool {
    scheme == Scheme::Internal
}

fn base(context: &Context, group: &Group) -> String {
    names::group(&context.cluster, &group.key)
}

/// A port that cannot be served, while others are.
#[derive(Clone, Debug)]
struct Unserved {
    port: PortKey,
    problem: Problem,
}

impl Unserved {
    fn error(&self, asked: &Asked<'_>) -> PortError {
        PortError {
            service: asked.intent.service.clone(),
            port: self.port,
            reason: self.problem.reason,
            message: Arc::from(self.problem.to_string()),
        }
    }
}
