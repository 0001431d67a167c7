//! The metrics, in Prometheus' text format. Decides what they look like; [`Facts::of`] reads them.
//!
//! Every name, label and unit is here. Listeners are named by their object, targets by their address and port.

use std::{
    fmt::{self, Write},
    sync::atomic::Ordering::Relaxed,
};

use super::engine::View;
use crate::api::{Health, ListenerPhase};

/// What is measured, as it was at one moment.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    process: Vec<(&'static str, &'static str, Kind, u64)>,
    listeners: Vec<ListenerFacts>,
    targets: Vec<TargetFacts>,
}

#[derive(Debug, Default)]
struct ListenerFacts {
    name: String,
    ready: bool,
    open: u64,
    accepted: u64,
    refused_by_range: u64,
    refused_without_target: u64,
    connect_failures: u64,
    received: u64,
    sent: u64,
}

#[derive(Debug, Default)]
struct TargetFacts {
    backend_set: String,
    node: String,
    address: String,
    healthy: bool,
    open: u64,
    connected: u64,
    failed: u64,
    received: u64,
    sent: u64,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Counter,
    Gauge,
}

impl Facts {
    pub(crate) fn of(view: &View<'_>) -> Self {
        let runtime = view.runtime;
        let traffic = &runtime.traffic;
        let count = |number: usize| number as u64;
        let process = vec![
            (
                "leases",
                "Address leases held.",
                Kind::Gauge,
                count(view.store.leases.len()),
            ),
            (
                "backend_sets",
                "Backend sets stored.",
                Kind::Gauge,
                count(view.store.backend_sets.len()),
            ),
            (
                "health_probes",
                "Health probes running.",
                Kind::Gauge,
                count(runtime.probes.count()),
            ),
            (
                "connections_limit",
                "Connections that may be open at one time.",
                Kind::Gauge,
                count(traffic.most()),
            ),
        ];
        let listeners = runtime.listeners.iter().map(|(name, listener)| {
            let front = &listener.front;
            ListenerFacts {
                name: name.clone(),
                ready: listener.status().phase == ListenerPhase::Ready,
                open: front.open.load(Relaxed),
                accepted: front.accepted.load(Relaxed),
                refused_by_range: front.refused_by_range.load(Relaxed),
                refused_without_target: front.refused_without_target.load(Relaxed),
                connect_failures: front.connect_failures.load(Relaxed),
                received: front.received.load(Relaxed),
                sent: front.sent.load(Relaxed),
            }
        });
        let targets = runtime.sets.iter().flat_map(|(name, set)| {
            set.members().into_iter().map(|member| TargetFacts {
                backend_set: name.clone(),
                node: member.target.node.clone(),
                address: member.backend.address.to_string(),
                healthy: member.health() == Health::Healthy,
                open: member.backend.open(),
                connected: member.backend.connected.load(Relaxed),
                failed: member.backend.failed.load(Relaxed),
                received: member.backend.received.load(Relaxed),
                sent: member.backend.sent.load(Relaxed),
            })
        });
        Self {
            process,
            listeners: listeners.collect(),
            targets: targets.collect(),
        }
    }
}

/// Writes the facts as text.
pub(crate) fn render(facts: &Facts) -> String {
    use Kind::{Counter, Gauge};

    let mut text = String::new();
    for (name, help, kind, value) in &facts.process {
        family(&mut text, name, help, *kind, &[(String::new(), *value)]);
    }
    type Of<T> = fn(&T) -> u64;
    let listeners: [(&str, &str, Kind, &str, Of<ListenerFacts>); 8] = [
        (
            "listener_ready",
            "1 when the listener accepts connections.",
            Gauge,
            "",
            |l| l.ready.into(),
        ),
        (
            "connections_open",
            "Connections open now.",
            Gauge,
            "",
            |l| l.open,
        ),
        (
            "connections_accepted_total",
            "Connections let in.",
            Counter,
            "",
            |l| l.accepted,
        ),
        (
            "connections_refused_total",
            "Connections refused.",
            Counter,
            "source_range",
            |l| l.refused_by_range,
        ),
        ("connections_refused_total", "", Counter, "no_target", |l| {
            l.refused_without_target
        }),
        (
            "connect_failures_total",
            "Attempts to reach a target that failed.",
            Counter,
            "",
            |l| l.connect_failures,
        ),
        (
            "received_bytes_total",
            "Bytes from clients to targets.",
            Counter,
            "",
            |l| l.received,
        ),
        (
            "sent_bytes_total",
            "Bytes from targets to clients.",
            Counter,
            "",
            |l| l.sent,
        ),
    ];
    type Samples = Vec<(String, u64)>;
    let mut families: Vec<(&str, &str, Kind, Samples)> = Vec::new();
    for (name, help, kind, reason, value) in listeners {
        let samples = facts.listeners.iter().map(|listener| {
            let mut labels = vec![("listener", listener.name.as_str())];
            labels.extend((!reason.is_empty()).then_some(("reason", reason)));
            (Labels(&labels).to_string(), value(listener))
        });
        match families.last_mut() {
            // Samples of one name stand together.
            Some((last, .., so_far)) if *last == name => so_far.extend(samples),
            _ => families.push((name, help, kind, samples.collect())),
        }
    }
    let targets: [(&str, &str, Kind, Of<TargetFacts>); 6] = [
        (
            "target_healthy",
            "1 when the target is healthy.",
            Gauge,
            |t| t.healthy.into(),
        ),
        (
            "target_connections_open",
            "Connections open to the target now.",
            Gauge,
            |t| t.open,
        ),
        (
            "target_connections_total",
            "Connections opened to the target.",
            Counter,
            |t| t.connected,
        ),
        (
            "target_connect_failures_total",
            "Attempts to reach the target that failed.",
            Counter,
            |t| t.failed,
        ),
        (
            "target_received_bytes_total",
            "Bytes from clients to the target.",
            Counter,
            |t| t.received,
        ),
        (
            "target_sent_bytes_total",
            "Bytes from the target to clients.",
            Counter,
            |t| t.sent,
        ),
    ];
    for (name, help, kind, value) in targets {
        let samples = facts.targets.iter().map(|target| {
            let labels = [
                ("backend_set", target.backend_set.as_str()),
                ("node", &target.node),
                ("target", &target.address),
            ];
            (Labels(&labels).to_string(), value(target))
        });
        families.push((name, help, kind, samples.collect()));
    }
    for (name, help, kind, samples) in families {
        family(&mut text, name, help, kind, &samples);
    }
    text
}

fn family(text: &mut String, name: &str, help: &str, kind: Kind, samples: &[(String, u64)]) {
    let kind = match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
    };
    let name = format!("evenkeel_dataplane_{name}");
    text.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    for (labels, value) in samples {
        text.push_str(&format!("{name}{labels} {value}\n"));
    }
}

/// Labels in braces, their values escaped as the format wants it.
struct Labels<'a>(&'a [(&'a str, &'a str)]);

impl fmt::Display for Labels<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, value)) in self.0.iter().enumerate() {
            write!(f, "{}{name}=\"", if index == 0 { '{' } else { ',' })?;
            for character in value.chars() {
                match character {
                    '\\' => f.write_str("\\\\")?,
                    '"' => f.write_str("\\\"")?,
                    '\n' => f.write_str("\\n")?,
                    other => f.write_char(other)?,
                }
            }
            f.write_char('"')?;
        }
        if self.0.is_empty() {
            Ok(())
        } else {
            f.write_char('}')
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_has_every_family_once() {
        let facts = Facts {
            process: vec![("leases", "Address leases held.", Kind::Gauge, 3)],
            listeners: vec![
                ListenerFacts {
                    name: "a".into(),
                    ready: true,
                    refused_by_range: 2,
                    ..Default::default()
                },
                ListenerFacts {
                    name: "b".into(),
                    refused_without_target: 5,
                    ..Default::default()
                },
            ],
            targets: vec![TargetFacts {
                backend_set: "s".into(),
                node: "no\"de\\".into(),
                address: "127.0.0.1:1".into(),
                healthy: true,
                ..Default::default()
            }],
        };
        let text = render(&facts);
        for line in [
            "evenkeel_dataplane_leases 3",
            "evenkeel_dataplane_listener_ready{listener=\"a\"} 1",
            "evenkeel_dataplane_listener_ready{listener=\"b\"} 0",
            "evenkeel_dataplane_connections_refused_total{listener=\"a\",reason=\"source_range\"} 2",
            "evenkeel_dataplane_connections_refused_total{listener=\"b\",reason=\"no_target\"} 5",
            "evenkeel_dataplane_target_healthy{backend_set=\"s\",node=\"no\\\"de\\\\\",target=\"127.0.0.1:1\"} 1",
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line} is missing in\n{text}"
            );
        }
        let mut types: Vec<_> = text
            .lines()
            .filter(|line| line.starts_with("# TYPE"))
            .collect();
        let count = types.len();
        types.dedup();
        assert_eq!(types.len(), count, "{text}");
    }
}
