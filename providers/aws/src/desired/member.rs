//! One Service of a group, with its own listeners and target groups (Decides).

use std::collections::{BTreeMap, BTreeSet};

use evenkeel_core::{
    annotation::{Asked, field},
    group::Group,
    ids::{ResourceId, ServiceUid},
    intent::Intent,
    net::IpFamily,
    nodes::NodeSelector,
    ports::PortKey,
    problem::{PortError, Problem, Warning, reason},
};

use super::{
    health_check, listeners, load_balancer, nodes, ports::Front, security, target_groups,
    target_type, unsupported,
};
use crate::{
    Context,
    annotations::{asked, key, warn_of_keys_without_effect},
    model::{
        AddressType, Listener, LoadBalancer, Opening, Rule, Security, TargetGroup, TargetType,
    },
    names,
};

/// One member with what it asks for its own ports.
pub(super) struct Member<'a> {
    /// What it says.
    pub(super) asked: Asked<'a>,
    wishes: Wishes,
    family: IpFamily,
    target_type: TargetType,
    /// The ports that have listeners, or would have if it were not rejected.
    serves: Vec<PortKey>,
    /// What serves it, by port number; nothing while it is rejected.
    pub(super) listeners: Vec<(Listener, TargetGroup)>,
}

struct Wishes {
    listeners: listeners::Wishes,
    target_groups: target_groups::Wishes,
    health_check: health_check::Wishes,
    nodes: NodeSelector,
    clients: security::Clients,
}

impl<'a> Member<'a> {
    /// Reads what a member asks for.
    pub(super) fn read(
        context: &Context,
        intent: &'a Intent,
        load_balancer: &LoadBalancer,
        group: &Group,
    ) -> Self {
        let mut asked = asked(intent);
        warn_of_keys_without_effect(&mut asked);
        if intent.service != group.first().service && group.unknown.is_empty() {
            load_balancer::warn_of_other_wishes(group.first(), &mut asked);
        }
        unsupported::refuse(&mut asked);
        let target_type = target_type::read(&mut asked);
        if target_type.is_pods() && matches!(load_balancer.security, Security::Absent(_)) {
            let problem = Problem::new(
                field(key::DISABLE_SECURITY_GROUP),
                "true",
                "cannot be combined with pods as targets, whose ports would have to be opened for clients on all nodes",
                format!("Remove it, or set {} to instance.", key::NLB_TARGET_TYPE),
            );
            asked
                .problems
                .push(problem.with_reason(reason::UNSUPPORTED_FEATURE));
        }
        if target_type.is_pods() && asked.keys.raw(key::TARGET_NODE_LABELS).is_some() {
            asked.warn(
                key::TARGET_NODE_LABELS,
                "has no effect, because the targets are pods, wherever they run. Remove it.",
            );
        }
        let dualstack = load_balancer.address_type == Some(AddressType::Dualstack);
        let wishes = Wishes {
            listeners: listeners::Wishes::read(context, &mut asked),
            target_groups: target_groups::Wishes::read(&mut asked),
            health_check: health_check::Wishes::read(&mut asked, target_type),
            nodes: nodes::selector(&mut asked),
            clients: security::Clients::read(&mut asked, &load_balancer.security, dualstack),
        };
        wishes.target_groups.check(&mut asked, &wishes.listeners);
        Self {
            family: family(&mut asked, dualstack),
            target_type,
            asked,
            wishes,
            serves: Vec::new(),
            listeners: Vec::new(),
        }
    }

    /// The Service.
    pub(super) fn intent(&self) -> &'a Intent {
        self.asked.intent
    }

    /// Its UID.
    pub(super) fn uid(&self) -> ServiceUid {
        self.intent().service.uid.clone()
    }

    /// Whether something in it cannot be used.
    pub(super) fn is_rejected(&self) -> bool {
        !self.asked.problems.is_empty()
    }

    /// Makes a listener and a target group for each of its fronts.
    pub(super) fn build<'f>(
        &mut self,
        context: &Context,
        group: &Group,
        fronts: impl Iterator<Item = &'f Front<'f>>,
        load_balancer: &LoadBalancer,
    ) {
        let retain = load_balancer.marks.retain;
        let Self {
            asked,
            wishes,
            family,
            target_type,
            serves,
            listeners,
        } = self;
        for front in fronts {
            let speech = wishes.listeners.of(asked, front);
            let id = names::target_group_id(speech.to_targets, front.number);
            let attributes = wishes.target_groups.of(front.number, speech.tls.is_some());
            let targets = health_check::Targets {
                kind: *target_type,
                udp_only: !front.has_tcp(),
                proxy_protocol: target_groups::Wishes::has_proxy_protocol(&attributes),
            };
            let (health_check, probe_by_default) = wishes.health_check.of(asked, targets);
            let mut openings = health_check::Wishes::openings(context, &health_check);
            if let Some(port) = front.reached.pod_port() {
                let pods = Opening::of_pods(speech.to_targets, port, health_check.port);
                openings.extend(
                    pods.into_iter()
                        .filter(|_| !context.node_ports.contains(&port)),
                );
            }
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
                target_type: *target_type,
                family: *family,
                node_port: front.reached.number(front.number),
                openings,
                nodes: wishes.nodes.clone(),
                health_check,
                probe_by_default,
                clients: wishes.clients.given(),
                attributes,
            };
            let security = &load_balancer.security;
            let dualstack = load_balancer.address_type == Some(AddressType::Dualstack);
            wishes
                .clients
                .check(asked, security, &target_group, dualstack);
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

    /// Who may connect to it.
    pub(super) fn rules(&self) -> BTreeSet<Rule> {
        if self.is_rejected() {
            return BTreeSet::new();
        }
        self.wishes.clients.rules(&self.serves)
    }

    /// The errors of the ports of a member that is rejected.
    pub(super) fn errors(&self) -> Vec<PortError> {
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

    /// How many certificates its listeners need beside the default ones.
    pub(super) fn further_certificates(&self) -> usize {
        let listeners = self.listeners.iter();
        let tls = listeners.filter_map(|(listener, _)| listener.tls.as_ref());
        tls.map(|tls| tls.further.len()).sum()
    }

    /// Rejects it because of a limit of AWS's.
    pub(super) fn refuse(&mut self, problem: Problem) {
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
