//! What a write costs and why, in the words of a printed plan (Decides).

use std::{collections::BTreeSet, fmt, net::IpAddr};

use evenkeel_core::{
    ids::{NodeName, ResourceId},
    net::IpFamily,
    plan::{Action, Change, Disturbance, Reason},
};

use crate::{
    api::{self, LeaseSpec, LeaseStatus, ListenerPhase, ListenerSpec, Marks},
    model::{self, BackendSetSpec, Kind, Member, Probe, Seen, Write},
    names::label,
};

/// How many nodes a reason names.
const SHOWN_NODES: usize = 5;

/// A lease that is created or changed.
pub(super) fn lease(
    id: &ResourceId,
    seen: Option<&Seen<LeaseSpec, LeaseStatus>>,
    write: &Write<LeaseSpec>,
) -> Change {
    let spec = &write.put.spec;
    let address = spec.address.or(seen.and_then(Seen::held));
    let detail = match address {
        Some(address) => format!("{} {address}", spec.family),
        None => format!("{}, address known after apply", spec.family),
    };
    let reasons = seen.map(|seen| {
        let mut reasons = marks(&seen.marks, &write.put.marks);
        differs(
            &mut reasons,
            "address",
            &Any(seen.spec.address),
            &Any(spec.address),
        );
        differs(
            &mut reasons,
            "ports",
            &Ports(&seen.spec.ports),
            &Ports(&spec.ports),
        );
        reasons
    });
    put(Kind::Lease, id, detail, reasons)
}

/// A lease that takes the place of one with another address, which is given up.
pub(super) fn replaced_lease(
    id: &ResourceId,
    name: &str,
    seen: &Seen<LeaseSpec, LeaseStatus>,
    address: IpAddr,
) -> Change {
    let held = seen.held().or(seen.spec.address);
    let held = held.map_or_else(|| "unknown".to_owned(), |address| address.to_string());
    Change::new(
        Action::Replace,
        Kind::Lease.as_str(),
        id.clone(),
        format!("{} {address}", IpFamily::of(address)),
    )
    .because(vec![Reason::new("address", &held, address)])
    .disturbing(Disturbance::Drains)
    // The name of a lease is never used again, so the approval works once.
    .giving_up(format!("{name} {held} -> {address}"))
}

/// A backend set that is created or changed.
pub(super) fn backend_set(
    id: &ResourceId,
    seen: Option<&Seen<BackendSetSpec, u32>>,
    write: &Write<BackendSetSpec>,
) -> Change {
    let spec = &write.put.spec;
    let count = spec.members.len();
    let nodes = if count == 1 { "node" } else { "nodes" };
    let detail = format!(
        "{} on {count} {nodes}, {}",
        port(spec.node_port),
        Probe(spec.health_check.as_ref())
    );
    let Some(seen) = seen else {
        return put(Kind::BackendSet, id, detail, None);
    };
    let mut reasons = marks(&seen.marks, &write.put.marks);
    differs(
        &mut reasons,
        "node port",
        &port(seen.spec.node_port),
        &port(spec.node_port),
    );
    let leaving = targets(&mut reasons, &seen.spec.members, &spec.members);
    let (from, to) = (
        Probe(seen.spec.health_check.as_ref()),
        Probe(spec.health_check.as_ref()),
    );
    differs(
        &mut reasons,
        "health check",
        &format!("{from:#}"),
        &format!("{to:#}"),
    );
    differs(
        &mut reasons,
        "drain seconds",
        &seen.spec.drain_seconds,
        &spec.drain_seconds,
    );
    let affinity = |spec: &BackendSetSpec| {
        spec.affinity_seconds
            .map_or_else(|| "none".to_owned(), |s| format!("{s} s"))
    };
    differs(
        &mut reasons,
        "affinity",
        &affinity(&seen.spec),
        &affinity(spec),
    );
    let drains = leaving || seen.spec.node_port != spec.node_port;
    let disturbance = if drains {
        Disturbance::Drains
    } else {
        Disturbance::None
    };
    put(Kind::BackendSet, id, detail, Some(reasons)).disturbing(disturbance)
}

/// A listener that is created or changed.
pub(super) fn listener(
    id: &ResourceId,
    backend_set: &ResourceId,
    seen: Option<&Seen<ListenerSpec, ListenerPhase>>,
    write: &Write<ListenerSpec>,
) -> Change {
    let spec = &write.put.spec;
    let reasons = seen.map(|seen| {
        let mut reasons = marks(&seen.marks, &write.put.marks);
        let ranges = |spec: &ListenerSpec| match &spec.source_ranges {
            None => "everyone".to_owned(),
            Some(ranges) if ranges.is_empty() => "nobody".to_owned(),
            Some(ranges) => ranges
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(", "),
        };
        differs(
            &mut reasons,
            "backend set",
            &seen.spec.backend_set,
            &spec.backend_set,
        );
        differs(
            &mut reasons,
            "source ranges",
            &ranges(&seen.spec),
            &ranges(spec),
        );
        differs(
            &mut reasons,
            "proxy protocol",
            &seen.spec.proxy_protocol,
            &spec.proxy_protocol,
        );
        differs(
            &mut reasons,
            "access log",
            &seen.spec.access_log,
            &spec.access_log,
        );
        let most = |spec: &ListenerSpec| {
            spec.max_connections
                .map_or_else(|| "none".to_owned(), |most| most.to_string())
        };
        differs(
            &mut reasons,
            "connection limit",
            &most(&seen.spec),
            &most(spec),
        );
        let idle = |spec: &ListenerSpec| {
            spec.idle_timeout_seconds
                .map_or_else(|| "never".to_owned(), |s| format!("{s} s"))
        };
        differs(&mut reasons, "idle timeout", &idle(&seen.spec), &idle(spec));
        reasons
    });
    put(
        Kind::Listener,
        id,
        format!("{} :{} -> {backend_set}", spec.protocol, spec.port),
        reasons,
    )
}

/// An object that goes.
pub(super) fn gone(kind: Kind, name: &str, marks: &Marks, detail: impl Into<String>) -> Change {
    let disturbance = if kind == Kind::Listener {
        Disturbance::Drains
    } else {
        Disturbance::None
    };
    Change::new(
        Action::Destroy,
        kind.as_str(),
        model::id(kind, name, marks),
        detail,
    )
    .disturbing(disturbance)
}

/// A create, or a change for these reasons.
fn put(kind: Kind, id: &ResourceId, detail: String, reasons: Option<Vec<Reason>>) -> Change {
    let action = if reasons.is_some() {
        Action::Change
    } else {
        Action::Create
    };
    Change::new(action, kind.as_str(), id.clone(), detail).because(reasons.unwrap_or_default())
}

fn differs<T: PartialEq + fmt::Display>(
    reasons: &mut Vec<Reason>,
    field: &'static str,
    from: &T,
    to: &T,
) {
    if from != to {
        reasons.push(Reason::new(field, from, to));
    }
}

fn marks(from: &Marks, to: &Marks) -> Vec<Reason> {
    let mut reasons = Vec::new();
    differs(&mut reasons, "service", &from.service, &to.service);
    differs(&mut reasons, "member", &from.member, &to.member);
    let policy = |marks: &Marks| if marks.retain { "Retain" } else { "Delete" };
    differs(&mut reasons, "reclaim policy", &policy(from), &policy(to));
    let labels = |marks: &Marks| {
        // The port of the targets and their probe are told by themselves.
        let told = marks
            .labels
            .iter()
            .filter(|(key, _)| ![label::NODE_PORT, label::PROBE].contains(&key.as_str()));
        told.map(|(key, value)| format!("{key}={value}"))
            .collect::<Vec<_>>()
            .join(" ")
    };
    differs(&mut reasons, "labels", &labels(from), &labels(to));
    reasons
}

/// Says which nodes come and go; true when one goes.
fn targets(reasons: &mut Vec<Reason>, from: &[Member], to: &[Member]) -> bool {
    if from == to {
        return false;
    }
    let (old, new): (BTreeSet<&Member>, BTreeSet<&Member>) =
        (from.iter().collect(), to.iter().collect());
    let named = |sign: char, members: Vec<&NodeName>| -> Vec<String> {
        let more = members.len().saturating_sub(SHOWN_NODES);
        let mut named: Vec<String> = members
            .iter()
            .take(SHOWN_NODES)
            .map(|node| format!("{sign}{node}"))
            .collect();
        if more > 0 {
            named.push(format!("{sign}{more} more"));
        }
        named
    };
    let mut moves = named(
        '+',
        new.difference(&old).map(|member| &member.node).collect(),
    );
    moves.extend(named(
        '-',
        old.difference(&new).map(|member| &member.node).collect(),
    ));
    reasons.push(Reason::new(
        "targets",
        from.len(),
        format!("{} ({})", to.len(), moves.join(" ")),
    ));
    old.difference(&new).next().is_some()
}

fn port(port: Option<u16>) -> String {
    port.map_or_else(|| "several ports".to_owned(), |port| format!(":{port}"))
}

#[derive(PartialEq)]
struct Ports<'a>(&'a [api::Port]);

impl fmt::Display for Ports<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        let ports: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&ports.join(", "))
    }
}

struct Any(Option<IpAddr>);

impl PartialEq for Any {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl fmt::Display for Any {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(address) => address.fmt(f),
            None => f.write_str("any"),
        }
    }
}
