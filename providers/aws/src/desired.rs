//! What a group shall have, or why it cannot be served (Decides).
//!
//! The oldest member of a shared group decides what all share: the load balancer with its scheme, subnets, addresses, security groups and
//! attributes. While what it says there is wrong, nothing is decided for anybody. Listeners, target groups and front-end rules are each member's own:
//! a member of which these cannot be read keeps what it has, and its neighbours do not notice. Targets follow the nodes and are not part of it.

use std::collections::{BTreeMap, BTreeSet};

use evenkeel_core::{
    annotation::value::quote,
    group::Group,
    ids::{ResourceId, ServiceUid},
    intent::Intent,
    net::IpFamily,
    ports::PortKey,
    problem::{PortError, Problem, Problems, Warning, reason},
    provider::Verdict,
};

use crate::{
    Context,
    annotations::{Asked, key},
    model::{
        AddressType, Desired, Listener, LoadBalancer, Rule, Security, TargetGroup, TargetType,
    },
    names,
};

mod addresses;
pub mod attributes;
mod health_check;
mod listeners;
mod load_balancer;
mod ports;
mod security;
mod tags;
mod target_groups;
#[cfg(test)]
mod tests;

pub use ports::NODE_PORT_MISMATCH;

use ports::Front;

/// Listeners of a load balancer ("Quotas for your Network Load Balancers"); AWS raises it for nobody.
const MOST_LISTENERS: usize = 50;

/// Decides what a group shall have.
pub fn desired(context: &Context, group: &Group) -> Verdict<Desired> {
    let mut shared = Asked::new(group.first());
    let mut load_balancer = load_balancer::load_balancer(context, group, &mut shared);
    let shared_unknown = !group.unknown.is_empty();
    if shared_unknown {
        // What the oldest of the others says is not what counts.
        shared = Asked::new(group.first());
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
        member.build(group, own, load_balancer.marks.retain);
    }
    limit(&mut members, &load_balancer.security);

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
        return Verdict::Rejected(or_conflicts(problems, &port_errors));
    }
    for member in &members {
        port_errors.extend(member.errors());
    }
    if let Security::Managed(rules) = &mut load_balancer.security {
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
    dedup(&mut warnings);
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

/// One member with what it asks for its own ports.
struct Member<'a> {
    asked: Asked<'a>,
    wishes: Wishes,
    family: IpFamily,
    serves: Vec<PortKey>,
    listeners: Vec<(Listener, TargetGroup)>,
}

struct Wishes {
    listeners: listeners::Wishes,
    target_groups: target_groups::Wishes,
    health_check: health_check::Wishes,
    clients: security::Clients,
}

impl<'a> Member<'a> {
    fn read(
        context: &Context,
        intent: &'a Intent,
        load_balancer: &LoadBalancer,
        group: &Group,
    ) -> Self {
        let mut asked = Asked::new(intent);
        asked.warn_of_keys_without_effect();
        if intent.service != group.first().service && group.unknown.is_empty() {
            load_balancer::warn_of_other_wishes(group.first(), &mut asked);
        }
        asked.refuse_what_is_not_built();
        let dualstack = load_balancer.address_type == Some(AddressType::Dualstack);
        let wishes = Wishes {
            listeners: listeners::Wishes::read(context, &mut asked),
            target_groups: target_groups::Wishes::read(&mut asked),
            health_check: health_check::Wishes::read(&mut asked),
            clients: security::Clients::read(&mut asked, &load_balancer.security, dualstack),
        };
        wishes.target_groups.check(&mut asked, &wishes.listeners);
        let security = &load_balancer.security;
        wishes
            .health_check
            .warn_of_closed_port(&mut asked, context, security);
        Self {
            family: family(&mut asked, dualstack),
            asked,
            wishes,
            serves: Vec::new(),
            listeners: Vec::new(),
        }
    }

    fn intent(&self) -> &'a Intent {
        self.asked.intent
    }

    fn uid(&self) -> ServiceUid {
        self.intent().service.uid.clone()
    }

    fn is_rejected(&self) -> bool {
        !self.asked.problems.is_empty()
    }

    /// Makes a listener and a target group for each of its fronts.
    fn build<'f>(
        &mut self,
        group: &Group,
        fronts: impl Iterator<Item = &'f Front<'f>>,
        retain: bool,
    ) {
        let Self {
            asked,
            wishes,
            family,
            serves,
            listeners,
        } = self;
        for front in fronts {
            let speech = wishes.listeners.of(asked, front);
            let id = names::target_group_id(speech.to_targets, front.number);
            let attributes = wishes.target_groups.of(front.number, speech.tls.is_some());
            let targets = health_check::Targets {
                udp_only: !front.has_tcp(),
                proxy_protocol: target_groups::Wishes::has_proxy_protocol(&attributes),
            };
            let (health_check, probe_by_default) = wishes.health_check.of(asked, targets);
            let marks = |id: &ResourceId| {
                let service = &asked.intent.service;
                names::member_marks(&group.cluster, &group.key, service, retain, id.clone())
            };
            let listener_id = names::listener_id(front.number);
            let listener = Listener {
                marks: marks(&listener_id),
                id: listener_id,
                port: front.number,
                protocol: speech.protocol,
                serves: front.serves.clone(),
                target_group: id.clone(),
                tls: speech.tls,
                attributes: speech.attributes,
            };
            let target_group = TargetGroup {
                marks: marks(&id),
                id,
                port: front.number,
                protocol: speech.to_targets,
                target_type: TargetType::Instance,
                family: *family,
                node_port: front.node_port,
                health_check,
                probe_by_default,
                attributes,
            };
            serves.extend(&front.serves);
            listeners.push((listener, target_group));
        }
        let protocols: BTreeMap<_, _> = listeners
            .iter()
            .map(|(listener, _)| (listener.port, listener.protocol))
            .collect();
        wishes.listeners.warn_of_unused(asked, &protocols);
        if self.is_rejected() {
            self.listeners.clear();
        }
    }

    fn rules(&self) -> BTreeSet<Rule> {
        if self.is_rejected() {
            return BTreeSet::new();
        }
        self.wishes.clients.rules(&self.serves)
    }

    /// The errors of the ports of a member that is rejected.
    fn errors(&self) -> Vec<PortError> {
        if !self.is_rejected() {
            return Vec::new();
        }
        let problems = &self.asked.problems;
        let error = |port: &PortKey| PortError {
            service: self.intent().service.clone(),
            port: *port,
            reason: problems.reason(),
            message: problems.to_string().into(),
        };
        self.serves.iter().map(error).collect()
    }

    fn refuse(&mut self, problem: Problem) {
        self.asked
            .problems
            .push(problem.with_reason(reason::QUOTA_EXCEEDED));
        self.listeners.clear();
    }
}

/// The family of the targets: the Service's first.
fn family(asked: &mut Asked<'_>, dualstack: bool) -> IpFamily {
    let families = &asked.intent.families;
    let first = families.first().copied().unwrap_or(IpFamily::V4);
    if dualstack {
        return first;
    }
    let advice = format!("Set {} to dualstack.", key::IP_ADDRESS_TYPE);
    if first == IpFamily::V6 {
        asked.problems.push(Problem::new(
            "spec.ipFamilies",
            first.as_str(),
            "comes first and needs a dualstack load balancer",
            advice,
        ));
    } else if families.contains(&IpFamily::V6) {
        asked.warnings.push(Warning::new(
            reason::UNSUPPORTED_FEATURE,
            format!("spec.ipFamilies: clients reach the load balancer over IPv4 only, because it is not dualstack. {advice}"),
        ));
    }
    first
}

/// Rejects the members, the youngest first, for whose ports or rules there is no room.
fn limit(members: &mut [Member<'_>], security: &Security) {
    let (mut listeners, mut rules) = (0, BTreeSet::new());
    for member in members {
        let count = member.listeners.len();
        if listeners + count > MOST_LISTENERS {
            let left = MOST_LISTENERS - listeners;
            member.refuse(Problem::new(
                "spec.ports",
                count.to_string(),
                format!("needs {count} listeners, and AWS allows {MOST_LISTENERS} on a load balancer, of which {left} are left"),
                "Use fewer ports, or a further Service for some of them.",
            ));
            continue;
        }
        if let Security::Managed(_) = security {
            let mut with: BTreeSet<_> = rules.clone();
            with.extend(member.rules());
            if with.len() > security::MOST_RULES {
                member.refuse(Problem::new(
                    "spec.loadBalancerSourceRanges",
                    with.len().to_string(),
                    format!(
                        "makes that many rules, one for each port and range, and AWS allows {} in a security group",
                        security::MOST_RULES
                    ),
                    format!(
                        "Use fewer or wider ranges, a prefix list in {}, or groups of your own in {}.",
                        key::PREFIX_LISTS,
                        key::SECURITY_GROUPS
                    ),
                ));
                continue;
            }
            rules = with;
        }
        listeners += count;
    }
}

/// A rejection has a problem: where every port is an older member's, that one.
fn or_conflicts(mut problems: Problems, errors: &[PortError]) -> Problems {
    if problems.is_empty() {
        for error in errors {
            let field = format!("spec.ports[{}]", error.port);
            let problem = Problem::new(field, quote(&error.port.to_string()), &*error.message, "");
            problems.push(problem.with_reason(error.reason));
        }
    }
    problems
}

fn dedup(warnings: &mut Vec<Warning>) {
    let mut told = BTreeSet::new();
    warnings.retain(|warning| told.insert(warning.clone()));
}
