//! Listeners: made when what they forward to is there, and brought up to date in place (Decides).
//!
//! A listener moves to another target group when that has its targets, so that no connection meets an empty one.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use evenkeel_core::{
    nodes::NodeSelector,
    plan::{Action, Change, Disturbance, Plan, Reason, Until},
    problem::{Problem, Warning, reason},
};

use super::{View, attributes, held_by_unknown, quota, replace::Stack, tags, taken, targets};
use crate::{
    model::{
        Desired, Listener, NewListener, Object, Pairs, SeenListener, SeenLoadBalancer,
        SeenTargetGroup, Step, Target, TargetGroup, Tls,
    },
    names::tag,
};

/// When a load balancer is looked at again that has no room for the targets of one more port.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// Plans the listeners of a load balancer.
pub(super) fn plan(plan: &mut Plan<Step>, view: View<'_>, desired: &Desired, stack: &Stack<'_>) {
    let Some(live) = stack.live else {
        return;
    };
    for want in &desired.listeners {
        let group = desired
            .target_groups
            .iter()
            .find(|group| group.id == want.target_group);
        if let Some(group) = group {
            listener(plan, view, desired, stack, live, (want, group));
        }
    }
    tell_foreign(plan, view, desired, stack);
}

fn listener(
    plan: &mut Plan<Step>,
    view: View<'_>,
    desired: &Desired,
    stack: &Stack<'_>,
    live: &SeenLoadBalancer,
    (want, group): (&Listener, &TargetGroup),
) {
    let nodes = &group.nodes;
    let group = stack.target_group(view, group);
    let forwards_to = view.seen.target_groups.get(&group);
    if !live.listeners_known {
        // A target group that this load balancer uses has its listener.
        if forwards_to.is_none_or(|group| !group.load_balancers.contains(&live.arn)) {
            plan.wait(
                want.id.clone(),
                "a fresh look at the listeners",
                Until::FreshRead,
            );
        }
        return;
    }
    let found = view
        .seen
        .listeners
        .get(&(Arc::clone(&stack.name), want.port));
    if let Some(found) = found {
        let Some(marks) = &found.marks else {
            return refuse(plan, want, foreign(want));
        };
        if let Some(holder) = held_by_unknown(desired, Some(marks), &want.marks) {
            let problem = taken(format!("spec.ports[{}]", want.port), &want.marks, holder);
            return refuse(plan, want, problem);
        }
    }
    // What is forwarded to has to be there: the next wave sees it.
    let Some(forwards_to) = forwards_to else {
        return;
    };
    // So does source NAT, without which a dualstack load balancer takes no listener of UDP.
    let wants_nat = desired.load_balancer.source_nat == Some(true) && want.protocol.has_udp();
    if wants_nat && !live.source_nat && found.is_none_or(|found| !found.protocol.has_udp()) {
        return;
    }
    match found {
        None => {
            if has_its_targets(plan, view, forwards_to, nodes) {
                let zone = |target: &Target| targets::zone(view, target);
                let quotas = &view.context.quotas;
                if quota::has_room(quotas, view.seen, live, Some(forwards_to), false, zone) {
                    create(plan, view, desired, stack, want, group);
                } else {
                    plan.wait(
                        want.id.clone(),
                        "targets of other ports to leave, which AWS counts together",
                        Until::After(LOOK_AGAIN),
                    );
                }
            }
        }
        Some(found) => {
            let moves = found.target_group.as_ref() != Some(&group);
            // The next wave sees the targets; with no node there may be none to wait for.
            if moves && !forwards_to.has_targets() {
                let before = found.target_group.as_ref();
                let before = before.and_then(|name| view.seen.target_groups.get(name));
                let served = before.is_some_and(SeenTargetGroup::has_targets);
                if served || targets::can_have(view, forwards_to, nodes) {
                    return;
                }
            }
            change(plan, view, desired, stack, (want, found), group);
        }
    }
}

/// Whether a target group that nothing forwards to yet has the targets that it can have; else a wave or a look is waited for.
fn has_its_targets(
    plan: &mut Plan<Step>,
    view: View<'_>,
    group: &SeenTargetGroup,
    nodes: &NodeSelector,
) -> bool {
    if group.targets.is_none() {
        plan.wait(
            group.marks.id.clone(),
            "a fresh look at the targets",
            Until::FreshRead,
        );
        return false;
    }
    group.has_targets() || !group.not_taken.is_empty() || !targets::can_have(view, group, nodes)
}

fn new(
    view: View<'_>,
    desired: &Desired,
    stack: &Stack<'_>,
    want: &Listener,
    target_group: Arc<str>,
) -> NewListener {
    NewListener {
        load_balancer: Arc::clone(&stack.name),
        port: want.port,
        protocol: want.protocol,
        target_group,
        tls: want.tls.clone(),
        marks: want.marks.clone(),
        tags: tags::all(
            view,
            desired,
            &want.marks,
            &attributes::kept(&want.attributes),
            certificates(want.tls.as_ref()),
        ),
    }
}

fn create(
    plan: &mut Plan<Step>,
    view: View<'_>,
    desired: &Desired,
    stack: &Stack<'_>,
    want: &Listener,
    target_group: Arc<str>,
) {
    let detail = format!("{} :{} -> {}", want.protocol, want.port, want.target_group);
    let new = new(view, desired, stack, want, target_group);
    plan.step(
        Step::CreateListener(Box::new(new)),
        Change::new(Action::Create, "listener", want.id.clone(), detail),
    );
}

fn change(
    plan: &mut Plan<Step>,
    view: View<'_>,
    desired: &Desired,
    stack: &Stack<'_>,
    (want, found): (&Listener, &SeenListener),
    group: Arc<str>,
) {
    let mut reasons = Vec::new();
    let mut differs = |field: &'static str, from: &str, to: &str| {
        if from != to {
            reasons.push(Reason::new(field, from, to));
        }
    };
    differs("protocol", found.protocol.as_str(), want.protocol.as_str());
    let forwards = found.target_group.as_deref().unwrap_or("something else");
    differs("target group", forwards, &group);
    let tls = |tls: &Option<Tls>| {
        let field = |field: fn(&Tls) -> &str| tls.as_ref().map_or("", field).to_owned();
        [
            ("certificate", field(|tls| &tls.certificate)),
            ("security policy", field(|tls| &tls.policy)),
            (
                "ALPN policy",
                field(|tls| tls.alpn.as_deref().unwrap_or("")),
            ),
        ]
    };
    for ((field, from), (_, to)) in tls(&found.tls).into_iter().zip(tls(&want.tls)) {
        differs(field, &from, &to);
    }
    if !reasons.is_empty() {
        let change = Change::new(
            Action::Change,
            "listener",
            want.id.clone(),
            format!("{} :{} -> {}", want.protocol, want.port, want.target_group),
        )
        .because(reasons)
        .disturbing(Disturbance::Drains);
        let new = new(view, desired, stack, want, group);
        plan.step(Step::SetListener(Box::new(new)), change);
    }
    let further = follow_certificates(plan, stack, want, found);
    let object = || Object::Listener(Arc::clone(&stack.name), want.port);
    let kept = attributes::follow(
        plan,
        object(),
        &want.id,
        attributes::Of::Listener,
        (found.attributes.as_ref(), &found.tags),
        &want.attributes,
    );
    let all: Pairs = tags::all(view, desired, &want.marks, &kept, further);
    tags::follow(plan, object(), &want.id, &found.tags, &all);
}

/// Brings the further certificates up to date, and returns the tag that counts them. It is there before the first of them is added,
/// and until the last of them is removed, because it tells that they have to be read.
fn follow_certificates(
    plan: &mut Plan<Step>,
    stack: &Stack<'_>,
    want: &Listener,
    found: &SeenListener,
) -> Option<(&'static str, Arc<str>)> {
    let none = Vec::new();
    let further = |tls: &Option<Tls>| -> BTreeSet<Arc<str>> {
        let further = tls.as_ref().map_or(&none, |tls| &tls.further);
        further.iter().cloned().collect()
    };
    let (is, shall) = (further(&found.tls), further(&want.tls));
    let default = want.tls.as_ref().map(|tls| &tls.certificate);
    let add: Vec<Arc<str>> = shall.difference(&is).cloned().collect();
    // With plain TCP they are gone by themselves, and the default one cannot be removed.
    let remove: Vec<Arc<str>> = is
        .difference(&shall)
        .filter(|arn| want.tls.is_some() && Some(*arn) != default)
        .cloned()
        .collect();
    let tag = if shall.is_empty() && !remove.is_empty() {
        found.tags.get(tag::CERTIFICATES).cloned()
    } else {
        certificates(want.tls.as_ref()).map(|(_, count)| count)
    };
    // A listener that only becomes TLS has none yet to add to.
    if found.tls.is_some() && (!add.is_empty() || !remove.is_empty()) {
        let added = add.iter().map(|arn| Reason::new("certificate", "", arn));
        let removed = remove.iter().map(|arn| Reason::new("certificate", arn, ""));
        let change = Change::new(
            Action::Change,
            "listener",
            want.id.clone(),
            "further certificates",
        )
        .because(added.chain(removed).collect());
        plan.step(
            Step::SetCertificates {
                load_balancer: Arc::clone(&stack.name),
                port: want.port,
                add,
                remove,
            },
            change,
        );
    }
    tag.map(|count| (tag::CERTIFICATES, count))
}

/// The tag that counts further certificates.
fn certificates(tls: Option<&Tls>) -> Option<(&'static str, Arc<str>)> {
    let count = tls.map_or(0, |tls| tls.further.len());
    (count > 0).then(|| (tag::CERTIFICATES, count.to_string().into()))
}

/// Says which listeners on a load balancer of ours are somebody else's. They stay.
fn tell_foreign(plan: &mut Plan<Step>, view: View<'_>, desired: &Desired, stack: &Stack<'_>) {
    for (port, listener) in view.seen.listeners_of(&stack.name) {
        let wanted = desired.listeners.iter().any(|want| want.port == port);
        if listener.marks.is_none() && !wanted {
            plan.warnings.push(Warning::new(
                reason::OWNERSHIP_CONFLICT,
                format!(
                    "somebody made a listener on port {port} of the load balancer {} by hand; it stays. Delete it, or add the port to \
                     the Service.",
                    stack.name
                ),
            ));
        }
    }
}

fn foreign(want: &Listener) -> Problem {
    Problem::new(
        format!("spec.ports[{}]", want.port),
        want.port.to_string(),
        "has a listener on the load balancer that somebody made by hand",
        "Delete that listener, or use another port.",
    )
    .with_reason(reason::OWNERSHIP_CONFLICT)
}

/// Says that a listener's ports are not served.
pub(super) fn refuse(plan: &mut Plan<Step>, want: &Listener, problem: Problem) {
    for key in &want.serves {
        plan.refuse_port(want.id.clone(), want.marks.member(), *key, problem.clone());
    }
}
