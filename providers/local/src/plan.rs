//! Desired and observed in, the writes possible now out; all ordering, replacement and safety rules are here (Decides).
//!
//! ```text
//! make:   lease ─┐
//!         backend set with its targets ─┴─> listener
//! break:  listener ─> backend set, lease        only when there is nothing left to make, and after a fresh read
//! ```
//!
//! An address cannot change: a lease with another address is made beside the old one, gets listeners of its own, and only
//! then the old listeners and the old lease go. Beginning that needs an approval; ending it does not, because the new
//! lease itself tells that it was approved.

mod changes;
mod leases;
mod ports;
mod probe;
mod targets;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use evenkeel_core::{
    ids::ServiceUid,
    net::IpFamily,
    nodes::NodeSet,
    plan::{Plan, Until},
    ports::PortKey,
    problem::{Problem, reason},
    provider::{PlanInput, Want},
};

use crate::{
    Local,
    api::{ListenerPhase, Marks},
    model::{
        self, BackendSet, BackendSetSpec, Desired, Kind, Listener, Observed, Seen, Step, Write,
    },
    names::{self, label},
};

/// When a port that could not be opened is looked at again. The data plane itself tries every few seconds.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Decides the writes possible now.
pub fn plan(input: PlanInput<'_, Local>) -> Plan<Step> {
    match input.want {
        Want::Exists(desired) => exists(input, desired),
        Want::Frozen => frozen(input),
        Want::FrozenWithout(gone) => frozen_without(input, gone),
        Want::Nothing => nothing(input.seen),
        Want::Released => Plan::empty(),
    }
}

fn exists(input: PlanInput<'_, Local>, desired: &Desired) -> Plan<Step> {
    let PlanInput { seen, nodes, .. } = input;
    let mut plan = Plan::empty();
    let serving = leases::plan(&mut plan, input, desired);
    for want in &desired.backend_sets {
        let found = seen.backend_sets.get(&want.name).map(|set| &set.marks);
        if held_by_unknown(desired, found, &want.marks).is_none() {
            backend_set(&mut plan, seen, nodes, want);
        }
    }
    for want in &desired.listeners {
        if let Some(lease) = serving.get(&want.family) {
            listener(&mut plan, input, desired, lease, want);
        }
    }
    follow_nodes(&mut plan, seen, nodes, |marks| is_unknown(desired, marks));
    // Steps that failed stay in the plan, which is how they are reported, and keep nothing else from being done.
    if plan
        .steps
        .iter()
        .all(|planned| input.failures.holds(&planned.step).is_some())
    {
        surplus(&mut plan, input, desired, &serving);
    }
    unopened(&mut plan, seen);
    plan
}

/// The group is rejected: everything stays, and targets follow the nodes.
fn frozen(input: PlanInput<'_, Local>) -> Plan<Step> {
    let PlanInput { seen, nodes, .. } = input;
    let mut plan = Plan::empty();
    follow_nodes(&mut plan, seen, nodes, |_| true);
    unopened(&mut plan, seen);
    plan
}

/// The same, and what serves these members goes: who listens first, and what that used after it. The address stays for the
/// others.
fn frozen_without(input: PlanInput<'_, Local>, gone: &BTreeSet<ServiceUid>) -> Plan<Step> {
    let theirs = |marks: &Marks| gone.contains(&ServiceUid::new(marks.member.as_str()));
    let PlanInput { seen, nodes, .. } = input;
    let mut plan = Plan::empty();
    follow_nodes(&mut plan, seen, nodes, |marks| !theirs(marks));
    let mut goes = Plan::empty();
    for (name, listener) in &seen.listeners {
        if theirs(&listener.marks) {
            let detail = format!("{} :{}", listener.spec.protocol, listener.spec.port);
            delete(&mut goes, Kind::Listener, name, &listener.marks, detail);
        }
    }
    unused_backend_sets(&mut goes, seen, |_, marks| theirs(marks));
    remove(&mut plan, input, goes);
    unopened(&mut plan, seen);
    plan
}

/// Everything goes, what is used after what uses it. `seen` holds nothing but what is ours, and each deletion names the
/// generation that was seen.
fn nothing(seen: &Observed) -> Plan<Step> {
    let mut plan = Plan::empty();
    for (name, listener) in &seen.listeners {
        delete(
            &mut plan,
            Kind::Listener,
            name,
            &listener.marks,
            format!("{} :{}", listener.spec.protocol, listener.spec.port),
        );
    }
    unused_backend_sets(&mut plan, seen, |_, _| true);
    unused_leases(&mut plan, seen, |_, _| true);
    plan
}

fn backend_set(plan: &mut Plan<Step>, seen: &Observed, nodes: &NodeSet, want: &BackendSet) {
    let found = seen.backend_sets.get(&want.name);
    let (health_check, marks) = probe::choose(want, found, nodes, &mut plan.warnings);
    let present = found.map_or_else(|| Arc::from([]), |set| Arc::clone(&set.spec.members));
    let spec = BackendSetSpec {
        node_port: Some(want.node_port),
        members: targets::members(nodes, want.family, &present),
        health_check,
        drain_seconds: want.drain_seconds,
        affinity_seconds: want.affinity_seconds,
    };
    let write = Write::new(&want.name, marks, spec);
    if differs(found, &write) {
        let change = changes::backend_set(&want.id, found, &write);
        plan.step(Step::PutBackendSet(write), change);
    }
}

fn listener(
    plan: &mut Plan<Step>,
    input: PlanInput<'_, Local>,
    desired: &Desired,
    lease: &str,
    want: &Listener,
) {
    let seen = input.seen;
    let found = seen.listener_at(lease, want.port);
    if let Some(holder) =
        held_by_unknown(desired, found.map(|(_, found)| &found.marks), &want.marks)
    {
        plan.refuse(want.id.clone(), taken(want, holder));
        return;
    }
    // What is referred to has to be there: the next wave sees it.
    if !seen.backend_sets.contains_key(&want.backend_set) {
        return;
    }
    let name = match found {
        Some((name, _)) => name.clone(),
        None => {
            let turn = seen.leases.get(lease).map_or(0, model::turn);
            names::name(&want.marks.cluster, input.key, &want.id, turn)
        }
    };
    let found = found.map(|(_, listener)| listener);
    let write = Write::new(name, want.marks.clone(), want.on(lease));
    if differs(found, &write) {
        let backend_set = names::backend_set_id(want.port, want.family);
        let change = changes::listener(&want.id, &backend_set, found, &write);
        let step = Step::PutListener(write);
        match ports::taken(input.failures, &step) {
            Some(why) => ports::refuse(plan, want, why),
            None => plan.step(step, change),
        }
    }
}

/// Brings the targets of these backend sets up to date, and nothing else of them.
fn follow_nodes(
    plan: &mut Plan<Step>,
    seen: &Observed,
    nodes: &NodeSet,
    which: impl Fn(&Marks) -> bool,
) {
    for (name, set) in seen
        .backend_sets
        .iter()
        .filter(|(_, set)| which(&set.marks))
    {
        let label = |key: &str| set.marks.labels.get(key);
        let family = if label(label::FAMILY).is_some_and(|family| family == IpFamily::V6.as_str()) {
            IpFamily::V6
        } else {
            IpFamily::V4
        };
        let node_port = set
            .spec
            .node_port
            .or_else(|| label(label::NODE_PORT)?.parse().ok());
        let spec = BackendSetSpec {
            node_port,
            members: targets::members(nodes, family, &set.spec.members),
            ..set.spec.clone()
        };
        let write = Write::new(name, set.marks.clone(), spec);
        // Without a port there is nothing to send to; such a set was not written by us.
        if node_port.is_some() && differs(Some(set), &write) {
            let change = changes::backend_set(
                &model::id(Kind::BackendSet, name, &set.marks),
                Some(set),
                &write,
            );
            plan.step(Step::PutBackendSet(write), change);
        }
    }
}

/// Removes what is ours and wanted no more. The caller has made all there is to make.
fn surplus(
    plan: &mut Plan<Step>,
    input: PlanInput<'_, Local>,
    desired: &Desired,
    serving: &BTreeMap<IpFamily, String>,
) {
    let PlanInput { seen, .. } = input;
    let mut goes = Plan::empty();
    let wanted: BTreeSet<(IpFamily, PortKey)> = desired
        .listeners
        .iter()
        .map(|want| (want.family, want.port))
        .collect();
    for (name, listener) in &seen.listeners {
        let port = model::port_key(&listener.spec);
        let lease = seen
            .family_of(listener)
            .filter(|family| wanted.contains(&(*family, port)))
            .and_then(|family| serving.get(&family));
        let stays = is_unknown(desired, &listener.marks)
            || lease.is_some_and(|lease| {
                let successor = seen.listener_at(lease, port);
                *lease == listener.spec.lease
                    || !successor.is_some_and(|(_, successor)| model::is_open(successor))
            });
        if !stays {
            delete(
                &mut goes,
                Kind::Listener,
                name,
                &listener.marks,
                format!("{} :{}", port.protocol, port.port),
            );
        }
    }
    let kept: BTreeSet<&str> = desired
        .backend_sets
        .iter()
        .map(|set| set.name.as_str())
        .collect();
    unused_backend_sets(&mut goes, seen, |name, marks| {
        !kept.contains(name) && !is_unknown(desired, marks)
    });
    // While the address of one family waits for its successor, the old lease of the other stays: what is being given up, and
    // with it the digest of the approval, must not change half-way.
    let replaced = desired
        .leases
        .iter()
        .all(|want| leases::matching(seen, want).is_some());
    unused_leases(&mut goes, seen, |name, family| {
        let family_stays = desired.leases.iter().any(|want| want.family == family);
        serving.get(&family).is_none_or(|lease| lease != name) && (replaced || !family_stays)
    });
    remove(plan, input, goes);
}

/// Does what removes something after a fresh look.
fn remove(plan: &mut Plan<Step>, input: PlanInput<'_, Local>, mut goes: Plan<Step>) {
    if goes.steps.is_empty() {
        return;
    }
    if input.fresh {
        plan.steps.append(&mut goes.steps);
    } else {
        plan.wait(
            goes.steps[0].change.id.clone(),
            "a fresh look at what is no longer wanted",
            Until::FreshRead,
        );
    }
}

fn unused_backend_sets(
    plan: &mut Plan<Step>,
    seen: &Observed,
    which: impl Fn(&str, &Marks) -> bool,
) {
    for (name, set) in &seen.backend_sets {
        let used = seen
            .listeners
            .values()
            .any(|listener| listener.spec.backend_set == *name);
        if !used && which(name, &set.marks) {
            delete(
                plan,
                Kind::BackendSet,
                name,
                &set.marks,
                format!("{} targets", set.spec.members.len()),
            );
        }
    }
}

fn unused_leases(plan: &mut Plan<Step>, seen: &Observed, which: impl Fn(&str, IpFamily) -> bool) {
    for (name, lease) in &seen.leases {
        let used = seen.listeners_on(name).next().is_some();
        if !used && which(name, lease.spec.family.into()) {
            let address = lease.held().or(lease.spec.address);
            let detail = address.map_or_else(
                || lease.spec.family.to_string(),
                |address| format!("{} {address}", lease.spec.family),
            );
            delete(plan, Kind::Lease, name, &lease.marks, detail);
        }
    }
}

fn delete(plan: &mut Plan<Step>, kind: Kind, name: &str, marks: &Marks, detail: String) {
    plan.step(
        Step::Delete {
            kind,
            name: name.to_owned(),
        },
        changes::gone(kind, name, marks, detail),
    );
}

/// Says which ports could not be opened, and looks again soon.
fn unopened(plan: &mut Plan<Step>, seen: &Observed) {
    for (name, listener) in &seen.listeners {
        let Some(ListenerPhase::Failed { message, .. }) = &listener.status else {
            continue;
        };
        let id = model::id(Kind::Listener, name, &listener.marks);
        let key = model::port_key(&listener.spec);
        let address = seen
            .leases
            .get(&listener.spec.lease)
            .and_then(|lease| lease.held());
        let value = address.map_or_else(String::new, |address| address.to_string());
        plan.refuse_port(
            id.clone(),
            ServiceUid::new(listener.marks.member.as_str()),
            key,
            Problem::new(
                format!("spec.ports[{key}]"),
                value,
                format!("could not be opened: {message}"),
                "It is tried again every few seconds.",
            )
            .with_reason(reason::PORT_NOT_OPENED),
        );
        plan.wait(
            id,
            format!("port {key} to be opened"),
            Until::After(LOOK_AGAIN),
        );
    }
}

fn is_unknown(desired: &Desired, marks: &Marks) -> bool {
    desired
        .unknown
        .contains(&ServiceUid::new(marks.member.as_str()))
}

/// The marks of an object that is wanted for one member and serves another, which cannot be read now: it stays as it is.
fn held_by_unknown<'a>(
    desired: &Desired,
    found: Option<&'a Marks>,
    want: &Marks,
) -> Option<&'a Marks> {
    found.filter(|holder| holder.member != want.member && is_unknown(desired, holder))
}

fn taken(want: &Listener, holder: &Marks) -> Problem {
    Problem::new(
        format!("spec.ports[{}]", want.port),
        want.marks.service.as_str(),
        format!(
            "asks for a port that {} of the same group has, which cannot be read now",
            holder.service
        ),
        "Correct that Service, or use another port.",
    )
    .with_reason(reason::PORT_CONFLICT)
}

/// Whether an object is missing, or is not as it shall be.
fn differs<Spec: PartialEq, Status>(
    found: Option<&Seen<Spec, Status>>,
    write: &Write<Spec>,
) -> bool {
    found.is_none_or(|found| found.marks != write.put.marks || found.spec != write.put.spec)
}
