//! One Service of a group, with its own rules, probes and security rules (Decides).

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use evenkeel_core::{
    annotation::{Asked, field, key as neutral},
    group::Group,
    intent::{Affinity, Intent, Scheme},
    net::IpFamily,
    ports::{PortKey, Protocol},
    problem::{PortError, Problem, reason},
};

use super::{Unserved, access, floats, is_internal, probes, unsupported};
use crate::{
    Context,
    annotations::{asked, key, warn_of_keys_without_effect},
    model::{Listener, Opening, Probe, Reached, Rule, Source, Transport},
    names::{self, tag},
};

/// Azure's default of the idle timeout, and the shortest.
const IDLE_MINUTES: u32 = 4;
/// The last port that a frontend may have (API: `LoadBalancingRulePropertiesFormat`).
const LAST_PORT: u16 = 65_534;
/// The longest idle timeout.
const LONGEST_IDLE_MINUTES: u32 = 100;

/// One member with what it asks for its own ports.
pub(super) struct Member<'a> {
    /// What it says.
    pub(super) asked: Asked<'a>,
    clients: access::Clients,
    floating: bool,
    idle_minutes: u32,
    tcp_reset: bool,
    serves: Vec<PortKey>,
    /// The ports that cannot be served.
    pub(super) unserved: Vec<Unserved>,
    /// What serves it; nothing while it is rejected.
    pub(super) listeners: Vec<Listener>,
    /// The probes of that.
    pub(super) probes: BTreeMap<Arc<str>, Probe>,
    /// What is let in for it.
    pub(super) openings: Vec<Opening>,
}

impl<'a> Member<'a> {
    /// Reads what a member asks for.
    pub(super) fn read(
        context: &Context,
        group: &Group,
        intent: &'a Intent,
        scheme: Scheme,
    ) -> Self {
        let mut asked = asked(intent);
        warn_of_keys_without_effect(&mut asked);
        if intent.service != group.first().service && group.unknown.is_empty() {
            warn_of_other_wishes(&mut asked, scheme);
        }
        unsupported::refuse(&mut asked);
        let fixed = asked.take(asked.keys.bool(key::DISABLE_FLOATING_IP));
        Self {
            clients: access::Clients::read(&mut asked, context, scheme),
            floating: fixed.map_or(floats(intent.profile), |disabled| !disabled),
            idle_minutes: idle_minutes(&mut asked),
            tcp_reset: !asked.says(key::DISABLE_TCP_RESET),
            asked,
            serves: Vec::new(),
            unserved: Vec::new(),
            listeners: Vec::new(),
            probes: BTreeMap::new(),
            openings: Vec::new(),
        }
    }

    /// Whether something in it cannot be used.
    pub(super) fn is_rejected(&self) -> bool {
        !self.asked.problems.is_empty()
    }

    /// Makes a rule for each of its ports and families.
    pub(super) fn build(
        &mut self,
        context: &Context,
        group: &Group,
        ports: &[PortKey],
        scheme: Scheme,
        sources: &[(IpFamily, Source)],
    ) {
        let intent = self.asked.intent;
        let name = names::member(&context.cluster, &group.key, &intent.service.uid);
        for key in ports {
            let Some(port) = intent.port(*key) else {
                continue;
            };
            let transport = match key.protocol {
                Protocol::Tcp => Transport::Tcp,
                Protocol::Udp => Transport::Udp,
                // Nothing that reads Services lets it through.
                Protocol::Sctp => continue,
            };
            let no_rule = key::NO_RULE.replace("{n}", &key.port.to_string());
            if self.asked.says(&no_rule) {
                continue;
            }
            self.serves.push(*key);
            if key.port > LAST_PORT {
                let problem = Problem::new(
                    format!("spec.ports[{key}].port"),
                    key.port.to_string(),
                    format!("must be at most {LAST_PORT} on Azure"),
                    "Use another port.",
                );
                self.unserved.push(Unserved {
                    port: *key,
                    problem,
                });
                continue;
            }
            let mut problem = None;
            for (family, _) in sources {
                // Azure has no floating IP for internal IPv6.
                let floating = self.floating && !(is_internal(scheme) && *family == IpFamily::V6);
                let backend = if floating {
                    Some(key.port)
                } else {
                    port.node_port
                };
                let Some(backend_port) = backend else {
                    problem = Some(no_node_port(*key, "packets arrive at it"));
                    continue;
                };
                let probe = probes::probe(context, &mut self.asked, &name, port);
                if probe.is_none() && needs_node_port(&self.asked, port) {
                    problem = Some(no_node_port(*key, "it is probed"));
                    continue;
                }
                let rule = Rule {
                    frontend: "".into(),
                    family: *family,
                    transport,
                    port: key.port,
                    backend_port,
                    floating,
                    probe: probe.as_ref().map(|(name, _)| Arc::clone(name)),
                    sticky: intent.affinity != Affinity::None,
                    idle_minutes: self.idle_minutes,
                    tcp_reset: (transport == Transport::Tcp).then_some(self.tcp_reset),
                    no_outbound: context.disable_outbound_snat,
                };
                self.probes.extend(probe);
                let name = names::rule(&name, *key, *family);
                self.listeners.push(Listener { name, rule });
            }
            self.unserved.extend(problem.map(|problem| Unserved {
                port: *key,
                problem,
            }));
        }
        if self.serves.is_empty() && self.is_rejected() {
            self.serves = ports.to_vec();
        }
        if self.listeners.is_empty()
            && self.unserved.is_empty()
            && !ports.is_empty()
            && !self.is_rejected()
        {
            self.asked.problems.push(Problem::new(
                "spec.ports",
                ports.len().to_string(),
                "are all taken out by port_{n}_no_lb_rule, so that nothing is left to balance",
                "Remove the annotation from one of them.",
            ));
        }
        if self.is_rejected() {
            self.listeners.clear();
            self.probes.clear();
            return;
        }
        let further: Vec<IpAddr> = sources
            .iter()
            .flat_map(|(_, source)| further(source))
            .collect();
        self.openings = self
            .clients
            .openings(context, &name, &self.listeners, scheme);
        for opening in &mut self.openings {
            if let Reached::Frontend(addresses) = &mut opening.reached {
                addresses.extend(
                    further
                        .iter()
                        .filter(|ip| IpFamily::of(**ip) == opening.family),
                );
            }
        }
    }

    /// The errors of its ports.
    pub(super) fn errors(&self) -> Vec<PortError> {
        let mut errors: Vec<_> = self
            .unserved
            .iter()
            .map(|port| port.error(&self.asked))
            .collect();
        if self.is_rejected() {
            let problems = &self.asked.problems;
            errors.extend(self.serves.iter().map(|port| PortError {
                service: self.asked.intent.service.clone(),
                port: *port,
                reason: problems.reason(),
                message: problems.to_string().into(),
            }));
        }
        errors
    }
}

/// The addresses that are published beside one.
fn further(source: &Source) -> Vec<IpAddr> {
    let Source::Managed(ip) = source else {
        return Vec::new();
    };
    let listed = ip.tags.get(tag::FURTHER_ADDRESSES);
    listed
        .iter()
        .flat_map(|text| text.split(' '))
        .filter_map(|text| text.parse().ok())
        .collect()
}

/// Whether a port without a probe is one only because it has no NodePort.
fn needs_node_port(asked: &Asked<'_>, port: &evenkeel_core::intent::PortIntent) -> bool {
    let no_probe = key::NO_PROBE.replace("{n}", &port.key.port.to_string());
    port.node_port.is_none()
        && port.key.protocol == Protocol::Tcp
        && asked.problems.is_empty()
        && asked.keys.raw(&no_probe).is_none()
}

fn no_node_port(port: PortKey, why: &str) -> Problem {
    Problem::new(
        format!("spec.ports[{port}].nodePort"),
        "",
        format!("is needed, because {why}"),
        format!(
            "Set spec.allocateLoadBalancerNodePorts to true, or {} to false and use externalTrafficPolicy Local.",
            key::DISABLE_FLOATING_IP
        ),
    )
    .with_reason(reason::NODE_PORT_REQUIRED)
}

fn idle_minutes(asked: &mut Asked<'_>) -> u32 {
    let minutes = asked.number(key::IDLE_TIMEOUT);
    let Some(seconds) = asked.intent.options.idle_timeout_seconds else {
        return minutes.unwrap_or(IDLE_MINUTES);
    };
    let minutes = seconds.div_ceil(60);
    if !(IDLE_MINUTES..=LONGEST_IDLE_MINUTES).contains(&minutes) {
        asked.problems.push(Problem::new(
            field(neutral::IDLE_TIMEOUT),
            format!("{seconds}s"),
            format!("must be from {IDLE_MINUTES} to {LONGEST_IDLE_MINUTES} minutes on Azure"),
            format!(
                "The nearest is {}m.",
                minutes.clamp(IDLE_MINUTES, LONGEST_IDLE_MINUTES)
            ),
        ));
    }
    minutes
}

/// What the oldest member decides for all.
fn warn_of_other_wishes(asked: &mut Asked<'_>, scheme: Scheme) {
    let internal = asked
        .keys
        .raw(key::INTERNAL)
        .map(|value| value.eq_ignore_ascii_case("true"));
    if internal.is_some_and(|internal| internal != is_internal(scheme)) {
        asked.warn(key::INTERNAL, "has no effect: the oldest member of the group decides. Write there, or leave the group.");
    }
    for key in [
        key::IPV4,
        key::IPV6,
        key::PIP_NAME,
        key::PIP_NAME_IPV6,
        key::INTERNAL_SUBNET,
        key::DNS_LABEL,
    ] {
        if asked.keys.raw(key).is_some() {
            asked.warn(key, "has no effect: the oldest member of the group decides. Write there, or leave the group.");
        }
    }
}
