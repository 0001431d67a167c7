//! What targets are asked, where nobody chose it (Decides).
//!
//! kube-proxy's health on port 10256 says whether a node forwards and stays; a service proxy that does not serve it would
//! have every target taken out. So it is asked only where the controller found that it answers, else a connection to the
//! node port must do, and for UDP nothing can. That is decided when a backend set gets its first targets, and stays: an answer that fails to come
//! later is what the probe is there to see.

use evenkeel_core::{
    annotation::key,
    nodes::{NodeSet, ProxyHealth},
    ports::Protocol,
    problem::{Warning, reason},
};

use crate::{
    api::{HealthCheck, HealthCheckKind, Marks},
    model::{BackendSet, BackendSetSpec, Seen},
    names::label,
};

/// The value of [`label::PROBE`] where targets are probed with a connection.
const TCP: &str = "tcp";
/// The value of [`label::PROBE`] where they are not probed at all.
const NONE: &str = "none";

/// The health check of a backend set, and its marks, which remember the choice.
pub(super) fn choose(
    want: &BackendSet,
    found: Option<&Seen<BackendSetSpec, u32>>,
    nodes: &NodeSet,
    warnings: &mut Vec<Warning>,
) -> (Option<HealthCheck>, Marks) {
    let mut marks = want.marks.clone();
    let Some(wanted) = &want.health_check else {
        return (None, marks);
    };
    if !want.by_default || !kube_proxy_is_silent(wanted, found, nodes) {
        return (Some(wanted.clone()), marks);
    }
    let udp = want.protocol == Protocol::Udp;
    let instead = if udp { NONE } else { TCP };
    marks
        .labels
        .insert(label::PROBE.to_owned(), instead.to_owned());
    let check = (!udp).then(|| HealthCheck {
        kind: HealthCheckKind::Tcp,
        port: None,
        ..wanted.clone()
    });
    let consequence = if udp {
        "every node counts as healthy for UDP, whose node ports cannot be probed"
    } else {
        "targets are probed with a connection to their node port, which does not see a node that is about to leave"
    };
    let warning = Warning::new(
        reason::UNSUPPORTED_FEATURE,
        format!(
            "kube-proxy's health did not answer on port 10256 of the nodes, so {consequence}. If it answers by now, set {} to \
             10256; else choose a probe with {}, or leave it.",
            key::HEALTH_CHECK_PORT,
            key::HEALTH_CHECK_PROTOCOL,
        ),
    );
    if !warnings.contains(&warning) {
        warnings.push(warning);
    }
    (check, marks)
}

fn kube_proxy_is_silent(
    wanted: &HealthCheck,
    found: Option<&Seen<BackendSetSpec, u32>>,
    nodes: &NodeSet,
) -> bool {
    let silent = nodes.proxy_health() == ProxyHealth::Silent;
    let Some(found) = found.filter(|found| !found.spec.members.is_empty()) else {
        return silent;
    };
    if found.marks.labels.contains_key(label::PROBE) {
        return true;
    }
    let asks = |check: &HealthCheck| (&check.kind, check.port) == (&wanted.kind, wanted.port);
    silent && !found.spec.health_check.as_ref().is_some_and(asks)
}
