//! What the laws ask of AWS, and what they compare: the same in memory and at the wire.

use std::collections::BTreeMap;

use evenkeel_aws::{
    desired::attributes::{listener_default, load_balancer_default, target_group_default},
    model::{CloudId, Observed, Pairs, Phase, TargetState},
    names::{BACKEND_GROUP, tag},
};
use evenkeel_core::{intent::Intent, ports::Protocol};
use evenkeel_laws::samples;

/// Writes an annotation of AWS's: what stands behind `aws-load-balancer-`.
pub(crate) fn annotate(intent: &mut Intent, suffix: &str, value: &str) {
    let key = format!("service.beta.kubernetes.io/aws-load-balancer-{suffix}");
    intent.annotations.insert(key.into(), value.into());
}

/// A Service that is served wholly.
pub(crate) fn service(name: &str) -> Intent {
    let mut intent = samples::service(name);
    annotate(&mut intent, "scheme", "internet-facing");
    intent
}

/// What is changed in place.
pub(crate) fn change(intent: &mut Intent) {
    let attributes = "deregistration_delay.timeout_seconds=60";
    annotate(intent, "target-group-attributes", attributes);
    annotate(intent, "healthcheck-interval", "20");
    // No NodePort, so that nodes are opened for it.
    annotate(intent, "healthcheck-port", "8081");
    annotate(intent, "additional-resource-tags", "Team=harbour");
    // As all nodes of a scene are.
    annotate(intent, "target-node-labels", "pool=harbour");
}

/// Adds a port of a protocol that AWS's load balancers do not have.
pub(crate) fn add_sctp(intent: &mut Intent, port: u16) {
    intent.ports.push(samples::port(port, Protocol::Sctp));
}

/// What takes time has come to its end.
pub(crate) fn ready(group: &mut Observed) {
    for lb in group.load_balancers.values_mut() {
        lb.phase = Phase::Active;
    }
    for group in group.target_groups.values_mut() {
        for state in group.targets.iter_mut().flatten() {
            *state.1 = TargetState::Healthy;
        }
    }
}

/// Without all that AWS chooses, and without times.
pub(crate) fn normal(mut seen: Observed) -> Observed {
    let facts = std::mem::take(&mut seen.facts);
    ready(&mut seen);
    let arns: BTreeMap<CloudId, CloudId> = seen
        .load_balancers
        .iter()
        .map(|(name, lb)| (lb.arn.clone(), CloudId::foretold(name)))
        .collect();
    let own = seen.security_groups.iter();
    let mut groups: BTreeMap<CloudId, CloudId> = own
        .map(|(name, group)| (group.id.clone(), CloudId::foretold(name)))
        .collect();
    if let Some(backend) = &facts.backend_group {
        groups.insert(backend.clone(), CloudId::foretold(BACKEND_GROUP));
    }
    for (name, lb) in &mut seen.load_balancers {
        lb.arn = CloudId::foretold(name);
        let scheme = lb.scheme;
        normal_attributes(&mut lb.attributes, |key| load_balancer_default(key, scheme));
        // As AWS has it where nobody asks.
        lb.private_link_rules = lb.private_link_rules.filter(|on| !on);
        (lb.dns_name, lb.created_at) = (None, None);
        lb.security_groups = lb
            .security_groups
            .iter()
            .map(|id| groups.get(id).unwrap_or(id).clone())
            .collect();
        for key in [tag::SUCCEEDS, tag::SUPERSEDED] {
            lb.tags.remove(key);
        }
    }
    for (name, group) in &mut seen.security_groups {
        group.id = CloudId::foretold(name);
    }
    for (name, group) in &mut seen.target_groups {
        group.arn = CloudId::foretold(name);
        for arn in &mut group.load_balancers {
            *arn = arns.get(arn).unwrap_or(arn).clone();
        }
        let (protocol, target_type) = (group.protocol, group.target_type);
        normal_attributes(&mut group.attributes, |key| {
            target_group_default(key, protocol, target_type)
        });
        let port = group.node_port();
        // The port of its creation is nobody's any more.
        group.port = port;
        group
            .tags
            .insert(tag::NODE_PORT.into(), port.to_string().into());
    }
    for ((lb, port), listener) in &mut seen.listeners {
        listener.arn = CloudId::foretold(&format!("{lb}:{port}"));
        normal_attributes(&mut listener.attributes, listener_default);
    }
    seen
}

/// One that was set back is as one that was never set, and those of which no tag tells that they were set are not read.
fn normal_attributes(known: &mut Option<Pairs>, default: impl Fn(&str) -> Option<&'static str>) {
    let known = known.get_or_insert_default();
    known.retain(|key, value| default(key) != Some(&**value));
}
