//! What a group shall have, or why it cannot be served (Decides).
//!
//! The oldest member of a shared group decides what all share: the load balancer with its scheme, subnets, addresses, security groups and
//! attributes. While what it says there is wrong, nothing is decided for anybody. Listeners, target groups and front-end rules are each member's own:
//! a member of which these cannot be read keeps what it has, and its neighbours do not notice. Targets follow the nodes and are not part of it.

use std::collections::BTreeSet;

use evenkeel_core::{
    annotation::field,
    group::Group,
    intent::Intent,
    problem::{Problem, Warning},
    provider::Verdict,
};

use crate::{
    Context,
    annotations::{asked, key},
    model::{AddressType, Desired, Listener, Security, TargetGroup},
    quotas::{LISTENERS, Quota, Quotas},
};

mod addresses;
pub mod attributes;
mod health_check;
mod listeners;
mod load_balancer;
mod member;
mod nodes;
mod ports;
mod security;
mod tags;
mod target_groups;
mod target_type;
#[cfg(test)]
mod tests;
mod unsupported;

pub use ports::{NODE_PORT_MISMATCH, TARGET_PORT_MISMATCH};
pub use tags::{too_many as too_many_tags, wrong as wrong_tag};

use member::Member;

/// Decides what a group shall have.
pub fn desired(context: &Context, group: &Group) -> Verdict<Desired> {
    let mut shared = asked(group.first());
    let mut load_balancer = load_balancer::load_balancer(context, group, &mut shared);
    let shared_unknown = !group.unknown.is_empty();
    if shared_unknown {
        // What the oldest of the others says is not what counts.
        shared = asked(group.first());
        load_balancer.scheme = None;
        load_balancer.name = None;
        load_balancer.security = Security::Managed(BTreeSet::new());
    }
    let dualstack = load_balancer.address_type == Some(AddressType::Dualstack);
    let udp_allowed = !dualstack || load_balancer.source_nat == Some(true);
    let (fronts, unserved, mut port_errors) = ports::fronts(group, udp_allowed);

    let mut members: Vec<Member<'_>> = group
        .members
        .iter()
        .map(|intent| Member::read(context, intent, &load_balancer, group))
        .collect();
    for member in &mut members {
        let uid = member.uid();
        let own = fronts
            .iter()
            .filter(|front| front.member.service.uid == uid);
        member.build(context, group, own, &load_balancer);
    }
    limit(&mut members, &load_balancer.security, &context.quotas);

    let mut problems = shared.problems;
    let mut warnings = shared.warnings;
    for error in &unserved {
        port_errors.push(error.error());
    }
    let shared_is_wrong = !problems.is_empty();
    for member in &members {
        problems.extend(member.asked.problems.clone());
        warnings.extend(member.asked.warnings.iter().cloned());
    }
    problems.extend(unserved.into_iter().map(|error| error.problem).collect());
    let served = members.iter().any(|member| !member.listeners.is_empty());
    if shared_is_wrong || !served {
        return Verdict::Rejected(problems.or_of_ports(&port_errors));
    }
    for member in &members {
        port_errors.extend(member.errors());
    }
    if let Security::Managed(rules) | Security::Absent(rules) = &mut load_balancer.security {
        rules.extend(members.iter().flat_map(Member::rules));
    }
    let rejected = members.iter().filter(|member| member.is_rejected());
    let unknown = group
        .unknown
        .iter()
        .map(|service| service.uid.clone())
        .chain(rejected.map(|member| member.uid()))
        .collect();
    let served = members.iter().filter(|member| !member.listeners.is_empty());
    let served = served
        .map(|member| member.intent().service.clone())
        .collect();
    let mut both: Vec<(Listener, TargetGroup)> = members
        .into_iter()
        .flat_map(|member| member.listeners.into_iter())
        .collect();
    both.sort_by_key(|(listener, _)| listener.port);
    let (listeners, target_groups) = both.into_iter().unzip();
    Warning::once_each(&mut warnings);
    Verdict::Accepted {
        desired: Desired {
            load_balancer,
            listeners,
            target_groups,
            unknown,
            shared_unknown,
            members: served,
        },
        warnings,
        port_errors,
    }
}

/// The number of the port that a text names, by number or name.
fn port_of(intent: &Intent, text: &str) -> Option<u16> {
    let mut ports = intent.ports.iter();
    ports
        .find(|port| port.name.as_deref() == Some(text) || text.parse() == Ok(port.key.port))
        .map(|port| port.key.port)
}

/// Rejects the members, the youngest first, for whose ports or rules there is no room.
fn limit(members: &mut [Member<'_>], security: &Security, quotas: &Quotas) {
    let most_rules = quotas.of(Quota::Rules);
    let most_certificates = quotas.of(Quota::Certificates);
    let (mut listeners, mut certificates, mut rules) = (0, 0, BTreeSet::new());
    for member in members {
        let count = member.listeners.len();
        if listeners + count > LISTENERS {
            let left = LISTENERS - listeners;
            member.refuse(Problem::new(
                "spec.ports",
                count.to_string(),
                format!("needs {count} listeners, and AWS allows {LISTENERS} on a load balancer, of which {left} are left; it raises that for nobody"),
                "Use fewer ports, or a further Service for some of them.",
            ));
            continue;
        }
        let further = member.further_certificates();
        if certificates + further > most_certificates {
            member.refuse(Problem::new(
                field(key::SSL_CERT),
                further.to_string(),
                format!(
                    "certificates beside the default ones, counted once per listener, are too many: {} are left of the {most_certificates} \
                     that are allowed, {}",
                    most_certificates.saturating_sub(certificates),
                    Quota::Certificates
                ),
                format!(
                    "Use fewer certificates, for several names each, or a further Service for some; or {}.",
                    Quota::Certificates.how_to_raise()
                ),
            ));
            continue;
        }
        if let Security::Managed(_) | Security::Absent(_) = security {
            let mut with: BTreeSet<_> = rules.clone();
            with.extend(member.rules());
            if with.len() > most_rules {
                member.refuse(Problem::new(
                    "spec.loadBalancerSourceRanges",
                    with.len().to_string(),
                    format!(
                        "makes that many rules, one for each port and range, and {most_rules} are allowed: {}",
                        Quota::Rules
                    ),
                    format!(
                        "Use fewer or wider ranges, a prefix list in {}, or groups of your own in {}; or {}.",
                        key::PREFIX_LISTS,
                        key::SECURITY_GROUPS,
                        Quota::Rules.how_to_raise()
                    ),
                ));
                continue;
            }
            rules = with;
        }
        listeners += count;
        certificates += further;
    }
}
