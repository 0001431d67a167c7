//! What targets are asked, where nobody chose it (Decides).
//!
//! kube-proxy's health on port 10256 says whether a node forwards and stays; a service proxy that does not serve it would
//! have every target taken out. So it is asked only where the controller found that it answers, else a connection to the
//! node port must do. That is decided when a backend set gets its first targets, and stays: an answer that fails to come
//! later is what the probe is there to see.

use evenkeel_core::{
    annotation::key,
    nodes::{NodeSet, ProxyHealth},
    problem::{Warning, reason},
};

use crate::{
    api::{HealthCheck, HealthCheckKind, Marks},
    model::{BackendSet, BackendSetSpec, Seen},
    names::label,
};

/// The value of [`label::PROBE`].
const TCP: &str = "tcp";

/// The health check of a backend set, and its marks, which remember the choice.
pub(super) fn choose(
    want: &BackendSet,
    found: Option<&Seen<BackendSetSpec, u32>>,
    nodes: &NodeSet,
    warnings: &mut Vec<Warning>,
) -> (HealthCheck, Marks) {
    let mut marks = want.marks.clone();
    if !want.by_default || !connects_only(want, found, nodes) {
        return (want.health_check.clone(), marks);
    }
    marks.labels.insert(label::PROBE.to_owned(), TCP.to_owned());
    let check = HealthCheck {
        kind: HealthCheckKind::Tcp,
        port: None,
        ..want.health_check.clone()
    };
    let warning = Warning::new(
        reason::UNSUPPORTED_FEATURE,
        format!(
            "kube-proxy's health did not answer on port 10256 of the nodes, so targets are probed with a connection to their node \
             port, which does not see a node that is about to leave. If it answers by now, set {} to 10256; else choose a probe with \
             {}, or leave it.",
            key::HEALTH_CHECK_PORT,
            key::HEALTH_CHECK_PROTOCOL,
        ),
    );
    if !warnings.contains(&warning) {
        warnings.push(warning);
    }
    (check, marks)
}

fn connects_only(
    want: &BackendSet,
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
    let asks = |check: &HealthCheck| {
        (&check.kind, check.port) == (&want.health_check.kind, want.health_check.port)
    };
    silent && !found.spec.health_check.as_ref().is_some_and(asks)
}
