//! The metrics, in the OpenMetrics text format. Decides what they look like; [`Facts::of`] reads them.
//!
//! Every name, label and unit is here. A listener is named by its Service and by what clients connect to, a target by its
//! Service, its node and its address. Of very many targets only the busiest are told.

use std::{cmp::Reverse, fmt, net::SocketAddr, sync::atomic::Ordering::Relaxed};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _, MetricEncoder, NoLabelSet, text},
    metrics::{MetricType, gauge::ConstGauge},
    registry::Registry,
};

use super::{
    backends::{Backend, Told},
    engine::View,
    health::Standing,
    route::Which,
};
use crate::api::{ListenerPhase, namespace_and_name};

/// Targets that are told. A thousand Services on a thousand nodes have a million, which no monitoring takes.
const MOST_TARGETS: usize = 2_000;

/// What is measured, as it was at one moment.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    leases: usize,
    backend_sets: usize,
    health_probes: usize,
    connections_limit: usize,
    affinity_clients: usize,
    untold: usize,
    listeners: Vec<ListenerFacts>,
    targets: Vec<TargetFacts>,
}

#[derive(Clone, Debug, Default)]
struct ListenerFacts {
    service: String,
    address: String,
    port: String,
    protocol: &'static str,
    ready: bool,
    open: u64,
    accepted: u64,
    refused_by_range: u64,
    refused_without_target: u64,
    held_by_service: u64,
    held_by_all: u64,
    connect_failures: u64,
    received: u64,
    sent: u64,
    datagrams: [u64; 3],
}

#[derive(Clone, Debug, Default)]
struct TargetFacts {
    service: String,
    node: String,
    address: String,
    healthy: bool,
    flapping: bool,
    open: u64,
    connected: u64,
    failed: u64,
    received: u64,
    sent: u64,
}

impl Facts {
    /// What is measured now: of the process, and of the objects that are asked about.
    pub(crate) fn of(view: &View<'_>, which: &Which) -> Self {
        let (store, runtime) = (view.store, view.runtime);
        let traffic = &runtime.traffic;
        let listeners = store.listeners.iter().filter(|(_, l)| which.has(&l.marks));
        let listeners = listeners.filter_map(|(name, stored)| {
            let listener = runtime.listeners.get(name)?;
            let front = &listener.front;
            Some(ListenerFacts {
                service: stored.marks.service.clone(),
                address: front.address.ip().to_string(),
                port: front.address.port().to_string(),
                protocol: stored.spec.protocol.as_str(),
                ready: runtime.listener_status(name).phase == ListenerPhase::Ready,
                open: front.open.load(Relaxed),
                accepted: front.accepted.load(Relaxed),
                refused_by_range: front.refused_by_range.load(Relaxed),
                refused_without_target: front.refused_without_target.load(Relaxed),
                held_by_service: front.held_by_service.load(Relaxed),
                held_by_all: front.held_by_all.load(Relaxed),
                connect_failures: front.connect_failures.load(Relaxed),
                received: front.received.load(Relaxed),
                sent: front.sent.load(Relaxed),
                datagrams: front.datagrams.all(),
            })
        });
        let sets = store
            .backend_sets
            .iter()
            .filter(|(_, s)| which.has(&s.marks));
        let mut members = Vec::new();
        for (name, stored) in sets {
            let Some(set) = runtime.sets.get(name) else {
                continue;
            };
            let connected = set.connected().into_iter().enumerate();
            members.extend(connected.map(|(index, count)| (count, index, set, &stored.marks)));
        }
        let untold = members.len().saturating_sub(MOST_TARGETS);
        if untold > 0 {
            members.sort_by_key(|(connected, ..)| Reverse(*connected));
            members.truncate(MOST_TARGETS);
        }
        let targets = members.into_iter().filter_map(|(_, index, set, marks)| {
            let Told {
                target,
                standing,
                backend,
            } = set.told(index)?;
            let of = |count: fn(&Backend) -> u64| backend.as_deref().map_or(0, count);
            Some(TargetFacts {
                service: marks.service.clone(),
                address: SocketAddr::new(target.address, target.port).to_string(),
                node: target.node,
                healthy: standing == Standing::Healthy,
                flapping: standing == Standing::Flapping,
                open: of(Backend::open),
                connected: of(|backend| backend.connected.load(Relaxed)),
                failed: of(|backend| backend.failed.load(Relaxed)),
                received: of(|backend| backend.received.load(Relaxed)),
                sent: of(|backend| backend.sent.load(Relaxed)),
            })
        });
        Self {
            leases: store.leases.len(),
            backend_sets: store.backend_sets.len(),
            health_probes: runtime.probes.count(),
            connections_limit: traffic.most(),
            affinity_clients: runtime.sets.values().filter_map(|set| set.clients()).sum(),
            untold,
            listeners: listeners.collect(),
            targets: targets.collect(),
        }
    }
}

/// The text without any object: every metric with what it tells.
#[must_use]
pub fn reference() -> String {
    render(Facts::default())
}

/// Writes the facts as text.
pub(crate) fn render(facts: Facts) -> String {
    let mut registry = Registry::with_prefix("evenkeel_dataplane");
    registry.register_collector(Box::new(facts));
    let mut text = String::new();
    text::encode(&mut text, &registry).expect("a String takes all that is written");
    text
}

impl Collector for Facts {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> fmt::Result {
        for (name, help, value) in [
            ("leases", "Address leases held", self.leases),
            ("backend_sets", "Backend sets stored", self.backend_sets),
            ("health_probes", "Health probes running", self.health_probes),
            (
                "connections_limit",
                "Connections that may be open at one time",
                self.connections_limit,
            ),
            (
                "affinity_clients",
                "Clients that session affinity remembers",
                self.affinity_clients,
            ),
            (
                "targets_untold",
                "Targets of which nothing is told here, because there are too many; the busiest ones are",
                self.untold,
            ),
        ] {
            ConstGauge::new(value as u64).encode(to.encode_descriptor(
                name,
                help,
                None,
                MetricType::Gauge,
            )?)?;
        }
        self.encode_listeners(&mut to)?;
        self.encode_targets(&mut to)
    }
}

type Of<T> = fn(&T) -> u64;
type Labels<'a> = Vec<(&'static str, &'a str)>;

/// The samples of a metric of listeners: the `reason`, where there are several, and the value.
type Samples = &'static [(&'static str, Of<ListenerFacts>)];

const OF_LISTENERS: [(&str, &str, MetricType, Samples); 11] = {
    use MetricType::{Counter, Gauge};
    [
        (
            "listener_ready",
            "1 when the listener accepts connections",
            Gauge,
            &[("", |l| l.ready as u64)],
        ),
        (
            "connections_open",
            "Connections, or UDP flows, open now",
            Gauge,
            &[("", |l| l.open)],
        ),
        (
            "connections_accepted",
            "Connections, or UDP flows, let in",
            Counter,
            &[("", |l| l.accepted)],
        ),
        (
            "connections_refused",
            "Connections, or UDP datagrams, refused, by reason: source_range, no_target",
            Counter,
            &[
                ("source_range", |l| l.refused_by_range),
                ("no_target", |l| l.refused_without_target),
            ],
        ),
        (
            "connections_held",
            "Connections that waited until another one ended, by reason: service_limit, limit",
            Counter,
            &[
                ("service_limit", |l| l.held_by_service),
                ("limit", |l| l.held_by_all),
            ],
        ),
        (
            "connect_failures",
            "Attempts to reach a target that failed",
            Counter,
            &[("", |l| l.connect_failures)],
        ),
        (
            "received_bytes",
            "Bytes from clients to targets",
            Counter,
            &[("", |l| l.received)],
        ),
        (
            "sent_bytes",
            "Bytes from targets to clients",
            Counter,
            &[("", |l| l.sent)],
        ),
        (
            "received_datagrams",
            "UDP datagrams from clients to targets",
            Counter,
            &[("", |l| l.datagrams[0])],
        ),
        (
            "sent_datagrams",
            "UDP datagrams from targets to clients",
            Counter,
            &[("", |l| l.datagrams[1])],
        ),
        (
            "dropped_datagrams",
            "UDP datagrams lost here: a socket was full, there were too many flows, or one was too large for the way",
            Counter,
            &[("", |l| l.datagrams[2])],
        ),
    ]
};

const OF_TARGETS: [(&str, &str, MetricType, Of<TargetFacts>); 7] = {
    use MetricType::{Counter, Gauge};
    [
        (
            "target_healthy",
            "1 when the target is healthy",
            Gauge,
            |t| t.healthy as u64,
        ),
        (
            "target_flapping",
            "1 when the target answers and is kept out because it changed too often",
            Gauge,
            |t| t.flapping as u64,
        ),
        (
            "target_connections_open",
            "Connections open to the target now",
            Gauge,
            |t| t.open,
        ),
        (
            "target_connections",
            "Connections opened to the target",
            Counter,
            |t| t.connected,
        ),
        (
            "target_connect_failures",
            "Attempts to reach the target that failed",
            Counter,
            |t| t.failed,
        ),
        (
            "target_received_bytes",
            "Bytes from clients to the target",
            Counter,
            |t| t.received,
        ),
        (
            "target_sent_bytes",
            "Bytes from the target to clients",
            Counter,
            |t| t.sent,
        ),
    ]
};

impl Facts {
    fn encode_listeners(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        for (name, help, kind, samples) in OF_LISTENERS {
            let mut metric = to.encode_descriptor(name, help, None, kind)?;
            for listener in &self.listeners {
                for (reason, value) in samples {
                    let (namespace, service) = namespace_and_name(&listener.service);
                    let mut labels = vec![
                        ("namespace", namespace),
                        ("service", service),
                        ("address", listener.address.as_str()),
                        ("port", listener.port.as_str()),
                        ("protocol", listener.protocol),
                    ];
                    labels.extend((!reason.is_empty()).then_some(("reason", *reason)));
                    sample(&mut metric, kind, &labels, value(listener))?;
                }
            }
        }
        Ok(())
    }

    fn encode_targets(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        for (name, help, kind, value) in OF_TARGETS {
            let mut metric = to.encode_descriptor(name, help, None, kind)?;
            for target in &self.targets {
                let (namespace, service) = namespace_and_name(&target.service);
                let labels = vec![
                    ("namespace", namespace),
                    ("service", service),
                    ("node", target.node.as_str()),
                    ("target", target.address.as_str()),
                ];
                sample(&mut metric, kind, &labels, value(target))?;
            }
        }
        Ok(())
    }
}

fn sample(
    metric: &mut MetricEncoder<'_>,
    kind: MetricType,
    labels: &Labels<'_>,
    value: u64,
) -> fmt::Result {
    let mut metric = metric.encode_family(labels)?;
    match kind {
        MetricType::Counter => metric.encode_counter::<NoLabelSet, u64, u64>(&value, None),
        _ => metric.encode_gauge(&value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_tells_every_listener_and_target() {
        let listener = |port: &str, protocol| ListenerFacts {
            service: "shop/checkout".into(),
            address: "127.77.0.1".into(),
            port: port.into(),
            protocol,
            ..Default::default()
        };
        let facts = Facts {
            leases: 3,
            untold: 7,
            listeners: vec![
                ListenerFacts {
                    ready: true,
                    refused_by_range: 2,
                    ..listener("80", "TCP")
                },
                ListenerFacts {
                    refused_without_target: 5,
                    ..listener("443", "TCP")
                },
            ],
            targets: vec![TargetFacts {
                service: "shop/checkout".into(),
                node: "no\"de\\".into(),
                address: "127.0.0.1:30080".into(),
                healthy: true,
                sent: 9,
                ..Default::default()
            }],
            ..Default::default()
        };
        let text = render(facts);
        let of = "namespace=\"shop\",service=\"checkout\",address=\"127.77.0.1\"";
        for line in [
            "evenkeel_dataplane_leases 3".to_owned(),
            "evenkeel_dataplane_targets_untold 7".to_owned(),
            format!("evenkeel_dataplane_listener_ready{{{of},port=\"80\",protocol=\"TCP\"}} 1"),
            format!("evenkeel_dataplane_listener_ready{{{of},port=\"443\",protocol=\"TCP\"}} 0"),
            format!(
                "evenkeel_dataplane_connections_refused_total{{{of},port=\"80\",protocol=\"TCP\",reason=\"source_range\"}} 2"
            ),
            format!(
                "evenkeel_dataplane_connections_refused_total{{{of},port=\"443\",protocol=\"TCP\",reason=\"no_target\"}} 5"
            ),
            "evenkeel_dataplane_target_sent_bytes_total{namespace=\"shop\",service=\"checkout\",node=\"no\\\"de\\\\\",target=\"127.0.0.1:30080\"} 9".to_owned(),
            "# EOF".to_owned(),
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line} is missing in\n{text}"
            );
        }
    }
}
