//! Which pods are the targets of a target group of type ip, and the way there (Decides).
//!
//! Targets are what the EndpointSlices of the Service say, each at its own port, and the pods that wait at a readiness gate of ours. New
//! targets are registered before old ones leave. Pods that are not ready, or leave and serve as yet, stay while no other is ready. A Service without any endpoint has no target: an
//! address that a pod gave back may be another's at once. Where the endpoints are not known nothing changes.
//!
//! Pods are reached through the security groups of their nodes, which is what the VPC CNI does unless a pod has groups of its own: these
//! have an opening for each port (see `openings`), which stays as long as the target group.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use evenkeel_core::{
    endpoints::{Endpoint, EndpointSet, Use},
    net::IpFamily,
    plan::{Plan, Planned, Reason, Until},
    ports::{PortKey, Protocol},
    problem::{Warning, reason},
};

use super::{
    View,
    nodes::{self, Member},
    openings,
    quota::{Limits, Standing},
    tags, targets,
};
use crate::{
    model::{
        Marks, Object, Opening, ProbePort, SeenTargetGroup, Step, Target, TargetGroup,
        TargetProtocol, opening,
    },
    names::tag,
};

/// Which part of a full target group may be pods that wait for us.
const TURN: usize = 4;

/// Brings the targets of a target group up to date.
pub(super) fn follow(
    plan: &mut Plan<Step>,
    view: View<'_>,
    name: &Arc<str>,
    found: &SeenTargetGroup,
    limits: &Limits,
) {
    let Some(endpoints) = Of::found(found).and_then(|of| endpoints(view, &of)) else {
        return;
    };
    let Some(known) = &found.targets else {
        // A bulk look has none, and pods come and go while nobody looks.
        plan.wait(
            found.marks.id.clone(),
            "a fresh look at the targets",
            Until::FreshRead,
        );
        return;
    };
    let present: BTreeSet<&Target> = known
        .iter()
        .filter(|(_, state)| state.is_registered())
        .map(|(target, _)| target)
        .collect();
    let wanted = wanted(plan, &endpoints, &present, limits);
    if wanted.is_empty() {
        tell_none(plan, found, &endpoints);
    }
    let mut register: BTreeSet<Target> = wanted
        .iter()
        .filter(|target| !present.contains(*target) && !found.not_taken.contains_key(*target))
        .cloned()
        .collect();
    let mut leave: BTreeSet<Target> = present
        .iter()
        .filter(|target| !wanted.contains(**target))
        .map(|target| (*target).clone())
        .collect();
    targets::not_taken(plan, found);
    hold_back(plan, view, name, found, &mut register);
    let zones: BTreeMap<Target, &Arc<str>> = endpoints
        .iter()
        .filter_map(|endpoint| Some((target(endpoint), endpoint.zone.as_ref()?)))
        .collect();
    let zone = |target: &Target| zones.get(target).map(|zone| Arc::clone(zone));
    let present_ones: Vec<&Target> = present.iter().copied().collect();
    let lacks_room = limits.leave_out(&mut register, present_ones.into_iter(), zone);
    // What is wanted is there before the last of the others goes.
    let served = wanted.iter().any(|target| present.contains(target));
    if !wanted.is_empty() && !served {
        let going = std::mem::take(&mut leave);
        if lacks_room && register.is_empty() {
            leave = targets::make_room(going.into_iter().collect(), false);
        }
    }
    targets::write(
        plan,
        name,
        found,
        None,
        Some(present.len()),
        register,
        leave,
    );
}

/// Says that there is no target, and why.
fn tell_none(plan: &mut Plan<Step>, found: &SeenTargetGroup, endpoints: &[&Endpoint]) {
    let why = match endpoints.len() {
        0 => "has no endpoint there. See that its selector matches pods that run.".to_owned(),
        1 => "has one endpoint there, which is not ready. See why its pod is not.".to_owned(),
        count => {
            format!(
                "has {count} endpoints there, none of which is ready. See why their pods are not."
            )
        }
    };
    plan.warnings.push(Warning::new(
        reason::NO_ENDPOINTS,
        format!(
            "{}: there is no target and nobody is served, because {} {why}",
            found.marks.id, found.marks.service
        ),
    ));
}

/// Whether a target group can have targets now: with endpoints that nobody knows it may.
pub(super) fn has_targets(view: View<'_>, group: &SeenTargetGroup) -> bool {
    let known = Of::found(group).and_then(|of| endpoints(view, &of));
    known.is_none_or(|known| known.iter().any(|endpoint| is_target(endpoint)))
}

/// Whether an endpoint is a target whatever the others are.
fn is_target(endpoint: &Endpoint) -> bool {
    matches!(endpoint.use_, Use::Add | Use::Await)
}

/// What decides whose endpoints are a target group's.
struct Of<'a> {
    marks: &'a Marks,
    port: u16,
    protocol: TargetProtocol,
    family: IpFamily,
}

impl<'a> Of<'a> {
    fn found(group: &'a SeenTargetGroup) -> Option<Self> {
        Some(Self {
            marks: &group.marks,
            port: group.listener_port()?,
            protocol: group.protocol,
            family: group.family,
        })
    }
}

fn endpoints<'a>(view: View<'a>, of: &Of<'_>) -> Option<Vec<&'a Endpoint>> {
    endpoints_of(view.input.endpoints, of)
}

/// The endpoints of a target group that is there.
pub(crate) fn endpoints_found<'a>(
    all: &'a EndpointSet,
    found: &SeenTargetGroup,
) -> Option<Vec<&'a Endpoint>> {
    endpoints_of(all, &Of::found(found)?)
}

/// The endpoints of a target group's family; None where they are not known.
fn endpoints_of<'a>(all: &'a EndpointSet, of: &Of<'_>) -> Option<Vec<&'a Endpoint>> {
    let service = all.of(&of.marks.member())?;
    let mut known = false;
    let mut all = Vec::new();
    for protocol in spoken(of.protocol) {
        let key = PortKey {
            port: of.port,
            protocol: *protocol,
        };
        if let Some(endpoints) = service.get(&key) {
            known = true;
            all.extend(endpoints);
        }
    }
    all.retain(|endpoint| IpFamily::of(endpoint.address) == of.family);
    // A port that the Service does not have any more goes with its listener.
    known.then_some(all)
}

fn spoken(protocol: TargetProtocol) -> &'static [Protocol] {
    match protocol {
        TargetProtocol::Tcp | TargetProtocol::Tls => &[Protocol::Tcp],
        TargetProtocol::Udp => &[Protocol::Udp],
        TargetProtocol::TcpUdp => &[Protocol::Tcp, Protocol::Udp],
    }
}

/// The target that an endpoint is.
pub(crate) fn target(endpoint: &Endpoint) -> Target {
    Target {
        id: endpoint.address.to_string().into(),
        port: endpoint.port,
    }
}

/// The targets that shall be: the ready ones and those that wait for us, as many as AWS takes; where none is ready those, too, that are
/// targets already and are there as yet.
fn wanted(
    plan: &mut Plan<Step>,
    endpoints: &[&Endpoint],
    present: &BTreeSet<&Target>,
    limits: &Limits,
) -> BTreeSet<Target> {
    let none_ready = !endpoints.iter().any(|endpoint| endpoint.use_ == Use::Add);
    let targets = endpoints
        .iter()
        .map(|endpoint| (endpoint, target(endpoint)));
    let targets = targets
        .filter(|(endpoint, target)| is_target(endpoint) || none_ready && present.contains(target));
    let targets: BTreeMap<Arc<str>, (Target, Member)> = targets
        .map(|(endpoint, target)| {
            let id: Arc<str> = format!("{} {}", target.id, target.port).into();
            let member = Member::pod(Arc::clone(&id), endpoint.zone.clone());
            (id, (target, member))
        })
        .collect();
    let turn = in_turn(endpoints, present, limits);
    let standing = |member: &Member| match targets.get(&member.id) {
        Some((target, _)) if turn.contains(target) => Standing::Awaited,
        Some((target, _)) if present.contains(target) => Standing::Registered,
        _ => Standing::New,
    };
    let members = targets.values().map(|(_, member)| member).collect();
    let chosen = limits.choose(members, standing);
    limits.tell(plan, chosen.len(), targets.len(), "endpoints");
    let chosen = chosen
        .into_iter()
        .filter_map(|member| targets.get(&member.id));
    chosen.map(|(target, _)| target.clone()).collect()
}

/// Those who wait for us and come before those that are targets: else a rollout would never end where there is no room for both. A part of all
/// at a time, who waits longest first: they may never be found healthy.
fn in_turn(
    endpoints: &[&Endpoint],
    present: &BTreeSet<&Target>,
    limits: &Limits,
) -> BTreeSet<Target> {
    let waiting = endpoints
        .iter()
        .filter(|endpoint| endpoint.use_ == Use::Await);
    let (mut turn, mut others) = (BTreeSet::new(), Vec::new());
    for endpoint in waiting {
        let target = target(endpoint);
        if present.contains(&target) {
            turn.insert(target);
        } else {
            let since = endpoint.waits.as_ref().map(|waiting| waiting.since);
            others.push((since, target));
        }
    }
    others.sort_unstable();
    let most = limits.in_all.min(limits.per_zone);
    let places = (most / TURN).max(1).saturating_sub(turn.len());
    turn.extend(others.into_iter().take(places).map(|(_, target)| target));
    turn
}

/// What the pods of a target group need the nodes to admit, as far as its endpoints are known.
pub(super) fn openings(view: View<'_>, want: &TargetGroup) -> BTreeSet<Opening> {
    let of = Of {
        marks: &want.marks,
        port: want.port,
        protocol: want.protocol,
        family: want.family,
    };
    let endpoints = endpoints(view, &of).unwrap_or_default();
    let ports: BTreeSet<u16> = endpoints.iter().map(|endpoint| endpoint.port).collect();
    opened(view, ports, want.protocol, want.health_check.port)
}

/// What is opened for pods at these ports, beside the range of NodePorts.
fn opened(
    view: View<'_>,
    ports: impl IntoIterator<Item = u16>,
    protocol: TargetProtocol,
    probed: ProbePort,
) -> BTreeSet<Opening> {
    let always = &view.context.node_ports;
    let ports = ports.into_iter().filter(|port| !always.contains(port));
    ports
        .flat_map(|port| Opening::of_pods(protocol, port, probed))
        .collect()
}

/// Takes out the targets whose nodes do not admit the load balancers at their port yet. Where the plan of the target group itself does
/// not, what is missing is listed here, so that it is opened next.
fn hold_back(
    plan: &mut Plan<Step>,
    view: View<'_>,
    name: &Arc<str>,
    found: &SeenTargetGroup,
    register: &mut BTreeSet<Target>,
) {
    // Where they cannot be admitted somebody may have opened the way by hand.
    if !view.behind_backend || register.is_empty() || nodes::admission_failed(view) {
        return;
    }
    // Which groups the nodes have is found when they are admitted themselves.
    if !view.unadmitted.is_empty() {
        register.clear();
        return nodes::admit(plan, view, view.unadmitted.clone());
    }
    let needed = |port: u16| opened(view, [port], found.protocol, found.health_check.port);
    let all: BTreeSet<Opening> = register
        .iter()
        .flat_map(|target| needed(target.port))
        .collect();
    let listed = found.openings();
    let is_planned = |planned: &Planned<Step>| {
        let Step::Tag { object, set, .. } = &planned.step else {
            return false;
        };
        *object == Object::TargetGroup(Arc::clone(name)) && set.contains_key(tag::OPENINGS)
    };
    if !all.is_subset(&listed) && !plan.steps.iter().any(is_planned) {
        let all: BTreeSet<Opening> = listed.union(&all).copied().collect();
        let text = |openings: &BTreeSet<Opening>| {
            let texts: Vec<_> = openings.iter().map(Opening::to_string).collect();
            texts.join(" ")
        };
        tags::write(
            plan,
            Object::TargetGroup(Arc::clone(name)),
            found.marks.id.clone(),
            opening::list(&all),
            BTreeSet::new(),
            vec![Reason::new("openings", text(&listed), text(&all))],
        );
    }
    register.retain(|target| openings::are_ready(view, found, &needed(target.port)));
}
