//! Target groups: made, or brought up to date in place; what is create-only is part of their names (Decides).

use std::{collections::BTreeSet, sync::Arc};

use evenkeel_core::{
    annotation::key,
    nodes::ProxyHealth,
    plan::{Action, Change, Plan, Reason},
    problem::{Warning, reason},
};

use super::{
    View, attributes, chosen, held_by_unknown, openings,
    quota::Limits,
    replace::{Stack, Stacks},
    room, tags, targets,
};
use crate::{
    model::{
        Desired, HealthCheck, NewTargetGroup, Object, Opening, ProbePort, ProbeProtocol,
        SeenTargetGroup, Step, TargetGroup, TargetType, opening,
    },
    names::tag,
};

/// The value of [`tag::PROBE`].
const TCP: &str = "tcp";

/// Plans the target groups of a load balancer.
pub(super) fn plan(plan: &mut Plan<Step>, view: View<'_>, desired: &Desired, stack: &Stack<'_>) {
    for want in &desired.target_groups {
        let name = stack.target_group(view, want);
        let found = view.seen.target_groups.get(&name);
        if held_by_unknown(desired, found.map(|group| &group.marks), &want.marks).is_some() {
            // Its listener tells.
            continue;
        }
        match found {
            // For a load balancer that is made there is room for all.
            None if stack.live.is_some() && !room::for_target_group(plan, view, desired, want) => {}
            None => create(plan, view, desired, stack, want, name),
            Some(found) => change(plan, view, desired, stack, want, (&name, found)),
        }
    }
}

fn create(
    plan: &mut Plan<Step>,
    view: View<'_>,
    desired: &Desired,
    stack: &Stack<'_>,
    want: &TargetGroup,
    name: Arc<str>,
) {
    let (health_check, probe) = choose_probe(plan, view, want, None);
    let detail = format!("{} :{}, {health_check}", want.protocol, want.node_port);
    let own = node_port(want, want.node_port.to_string().into());
    let mut all_tags = tags::all(
        view,
        desired,
        &want.marks,
        &attributes::kept(&want.attributes),
        own.into_iter().chain(probe),
    );
    all_tags.extend(opening::list(&openings::needed(view, desired, stack, want)));
    all_tags.extend(chosen::note(&want.nodes));
    let new = NewTargetGroup {
        name,
        protocol: want.protocol,
        port: want.node_port,
        target_type: want.target_type,
        family: want.family,
        health_check,
        marks: want.marks.clone(),
        tags: all_tags,
    };
    plan.step(
        Step::CreateTargetGroup(Box::new(new)),
        Change::new(Action::Create, "target group", want.id.clone(), detail),
    );
}

fn change(
    plan: &mut Plan<Step>,
    view: View<'_>,
    desired: &Desired,
    stack: &Stack<'_>,
    want: &TargetGroup,
    (name, found): (&Arc<str>, &SeenTargetGroup),
) {
    let (health_check, probe) = choose_probe(plan, view, want, Some(found));
    let needed = openings::needed(view, desired, stack, want);
    // What the targets rest on is open first.
    if health_check != found.health_check && openings::are_ready(view, found, &needed) {
        let change = Change::new(
            Action::Change,
            "target group",
            want.id.clone(),
            health_check.to_string(),
        )
        .because(vec![Reason::new(
            "health check",
            &found.health_check,
            &health_check,
        )]);
        plan.step(
            Step::SetHealthCheck {
                target_group: Arc::clone(name),
                health_check,
            },
            change,
        );
    }
    let object = || Object::TargetGroup(Arc::clone(name));
    let kept = attributes::follow(
        plan,
        object(),
        &want.id,
        attributes::Of::TargetGroup(found.protocol, found.target_type),
        (found.attributes.as_ref(), &found.tags),
        &want.attributes,
    );
    // The port and the labels are noted by the targets, when they are there.
    let noted = found.tags.get(tag::NODE_PORT).cloned();
    let noted = noted.unwrap_or_else(|| found.port.to_string().into());
    let mut all = tags::all(
        view,
        desired,
        &want.marks,
        &kept,
        node_port(want, noted).into_iter().chain(probe),
    );
    let settled = is_settled(view, want, found) && !want.target_type.is_pods();
    let listed = openings::listed(view, found, needed.clone(), settled);
    all.extend(opening::list(&listed));
    all.extend(chosen::note(&found.nodes()));
    tags::follow(plan, object(), &want.id, &found.tags, &all);
    let quotas = view.context.quotas;
    let limits = Limits::of_wanted(quotas, desired, want, (view.seen, stack.live));
    let whom = targets::Whom {
        port: want.node_port,
        nodes: &want.nodes,
        openings: &needed,
    };
    targets::follow(plan, view, name, found, whom, &limits);
}

/// What a target group needs where it is as it is wanted; else, what it needed before may be in use.
pub(super) fn needed_when_settled(
    view: View<'_>,
    desired: &Desired,
    stacks: &Stacks<'_>,
    name: &Arc<str>,
    found: &SeenTargetGroup,
) -> Option<BTreeSet<Opening>> {
    let of_stack = |stack| {
        let groups = desired.target_groups.iter();
        groups.map(move |want| (stack, want))
    };
    let (stack, want) = stacks
        .all()
        .flat_map(of_stack)
        .find(|(stack, want)| stack.target_group(view, want) == *name)?;
    // Which ports pods listen on changes with the pods: what was opened for them stays as long as the target group.
    let settled = is_settled(view, want, found) && !want.target_type.is_pods();
    settled.then(|| openings::needed(view, desired, stack, want))
}

/// Whether nothing that uses an opening is left of what was wanted before.
fn is_settled(view: View<'_>, want: &TargetGroup, found: &SeenTargetGroup) -> bool {
    // What it says is said when the check is written.
    let (health_check, _) = choose_probe(&mut Plan::empty(), view, want, Some(found));
    health_check == found.health_check && found.node_port() == want.node_port
}

/// The tag that remembers at which port nodes are targets.
fn node_port(want: &TargetGroup, port: Arc<str>) -> Option<(&'static str, Arc<str>)> {
    (want.target_type == TargetType::Instance).then_some((tag::NODE_PORT, port))
}

/// The health check, and the tag that remembers it where nobody chose it and kube-proxy's health did not answer: it is asked only
/// where the controller found that it answers, else a connection to the node port must do. That is decided when
/// the target group gets its first targets, and stays: an answer that fails to come later is what the check is there to see.
fn choose_probe(
    plan: &mut Plan<Step>,
    view: View<'_>,
    want: &TargetGroup,
    found: Option<&SeenTargetGroup>,
) -> (HealthCheck, Option<(&'static str, Arc<str>)>) {
    let wanted = &want.health_check;
    if !want.probe_by_default || !is_silent(view, wanted, found) {
        return (wanted.clone(), None);
    }
    let consequence = if want.protocol.has_udp() {
        "a target of UDP only counts as healthy where something else listens on its port, and all get traffic while none does"
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
    if !plan.warnings.contains(&warning) {
        plan.warnings.push(warning);
    }
    let check = HealthCheck {
        protocol: ProbeProtocol::Tcp,
        port: ProbePort::Traffic,
        path: None,
        matcher: None,
        ..wanted.clone()
    };
    (check, Some((tag::PROBE, TCP.into())))
}

fn is_silent(view: View<'_>, wanted: &HealthCheck, found: Option<&SeenTargetGroup>) -> bool {
    let silent = view.input.nodes.proxy_health() == ProxyHealth::Silent;
    let Some(found) = found else {
        return silent;
    };
    if found.tags.contains_key(tag::PROBE) {
        return true;
    }
    let asks = |check: &HealthCheck| (check.protocol, check.port, check.path.clone());
    silent && asks(&found.health_check) != asks(wanted)
}
