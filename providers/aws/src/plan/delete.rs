//! What goes, and in which order (Decides).
//!
//! Nothing goes that something else uses: a load balancer takes its listeners with it, then go target groups and security
//! groups. Deletion protection is honoured: nobody but who set it takes it away.

use std::{collections::BTreeSet, sync::Arc};

use evenkeel_core::{
    annotation::field,
    ids::ResourceId,
    plan::{Action, Change, Disturbance, Plan, Until},
    problem::Problem,
};

use super::{
    View, is_unknown, load_balancer_id, openings,
    replace::{self, Stacks},
    security, target_groups,
};
use crate::{
    annotations::key,
    desired::attributes::DELETION_PROTECTION,
    model::{Desired, Marks, Object, SeenLoadBalancer, Step},
    names,
};

/// Everything goes, what is used after what uses it. `seen` holds nothing but what is ours.
pub(super) fn everything(view: View<'_>) -> Plan<Step> {
    let mut plan = Plan::empty();
    for (name, lb) in &view.seen.load_balancers {
        load_balancer(&mut plan, name, lb);
    }
    if view.seen.load_balancers.is_empty() {
        unused_target_groups(&mut plan, view, |_, _| true);
        // A target group that AWS has not let go of says the same of security groups, which takes longer.
        if view.stands_still(&plan) {
            unused_security_groups(&mut plan, view, |_| true);
        }
    }
    if view.seen.load_balancers.is_empty() && view.seen.target_groups.is_empty() {
        openings::close(&mut plan, view, |_, _| None);
    }
    plan
}

/// Removes what is ours and wanted no more. The caller has made all there is to make.
pub(super) fn surplus(
    plan: &mut Plan<Step>,
    view: View<'_>,
    desired: &Desired,
    stacks: &Stacks<'_>,
    wanted: &BTreeSet<Arc<str>>,
) {
    let mut goes = Plan::empty();
    let kept: Vec<&Arc<str>> = stacks.all().map(|stack| &stack.name).collect();
    for (name, lb) in &view.seen.load_balancers {
        if !kept.contains(&name) && replace::lingers(view, lb).is_none() {
            load_balancer(&mut goes, name, lb);
        }
    }
    for stack in stacks.all() {
        for (port, listener) in view.seen.listeners_of(&stack.name) {
            let Some(marks) = &listener.marks else {
                continue;
            };
            let wanted = desired.listeners.iter().any(|want| want.port == port);
            if !wanted && !is_unknown(desired, marks) {
                let detail = format!("{} :{port}", listener.protocol);
                self::listener(&mut goes, &stack.name, port, marks, detail);
            }
        }
    }
    security::replaced_rules(&mut goes, view, desired);
    unused_target_groups(&mut goes, view, |name, marks| {
        !wanted.contains(name) && !is_unknown(desired, marks)
    });
    let own = security::own_name(view, desired);
    unused_security_groups(&mut goes, view, |name| own.as_ref() != Some(name));
    let mut closes = Plan::empty();
    let listed = openings::close(&mut closes, view, |name, found| {
        target_groups::needed_when_settled(view, desired, stacks, name, found)
    });
    if listed || view.input.fresh {
        goes.steps.append(&mut closes.steps);
    }
    remove(plan, view, goes);
}

/// What serves these members of a group goes.
pub(super) fn members(plan: &mut Plan<Step>, view: View<'_>, theirs: impl Fn(&Marks) -> bool) {
    let mut goes = Plan::empty();
    for ((lb, port), listener) in &view.seen.listeners {
        if let Some(marks) = listener.marks.as_ref().filter(|marks| theirs(marks)) {
            let detail = format!("{} :{port}", listener.protocol);
            self::listener(&mut goes, lb, *port, marks, detail);
        }
    }
    unused_target_groups(&mut goes, view, |_, marks| theirs(marks));
    // A bulk look has no listeners: a target group that is used tells that there is one.
    let hidden = view
        .seen
        .target_groups
        .iter()
        .find(|(name, group)| theirs(&group.marks) && view.seen.is_used(name, group));
    if goes.steps.is_empty()
        && let Some((_, group)) = hidden
    {
        plan.wait(
            group.marks.id.clone(),
            "a fresh look at the listeners",
            Until::FreshRead,
        );
    }
    remove(plan, view, goes);
}

/// Does what removes something after a fresh look.
fn remove(plan: &mut Plan<Step>, view: View<'_>, mut goes: Plan<Step>) {
    plan.refusals.append(&mut goes.refusals);
    if goes.steps.is_empty() {
        return;
    }
    if view.input.fresh {
        plan.steps.append(&mut goes.steps);
    } else {
        plan.wait(
            goes.steps[0].change.id.clone(),
            "a fresh look at what is no longer wanted",
            Until::FreshRead,
        );
    }
}

fn load_balancer(plan: &mut Plan<Step>, name: &Arc<str>, lb: &SeenLoadBalancer) {
    let protected = lb
        .attributes
        .as_ref()
        .and_then(|attributes| attributes.get(DELETION_PROTECTION));
    if protected.is_some_and(|value| &**value == "true") {
        plan.refuse(
            load_balancer_id(),
            Problem::new(
                field(key::ATTRIBUTES),
                format!("{DELETION_PROTECTION}=true"),
                format!("protects the load balancer {name} from being deleted"),
                format!(
                    "Set the attribute {DELETION_PROTECTION} of the load balancer to false in AWS; then it is deleted."
                ),
            ),
        );
        return;
    }
    let detail = match &lb.dns_name {
        Some(dns) => format!("{name}, {dns}"),
        None => name.to_string(),
    };
    delete(
        plan,
        Object::LoadBalancer(Arc::clone(name)),
        load_balancer_id(),
        detail,
    );
}

fn listener(plan: &mut Plan<Step>, lb: &Arc<str>, port: u16, marks: &Marks, detail: String) {
    delete(
        plan,
        Object::Listener(Arc::clone(lb), port),
        marks.id.clone(),
        detail,
    );
}

fn unused_target_groups(
    plan: &mut Plan<Step>,
    view: View<'_>,
    which: impl Fn(&Arc<str>, &Marks) -> bool,
) {
    for (name, group) in &view.seen.target_groups {
        if which(name, &group.marks) && !view.seen.is_used(name, group) {
            let detail = format!("{} :{}", group.protocol, group.node_port());
            delete(
                plan,
                Object::TargetGroup(Arc::clone(name)),
                group.marks.id.clone(),
                detail,
            );
        }
    }
}

fn unused_security_groups(
    plan: &mut Plan<Step>,
    view: View<'_>,
    which: impl Fn(&Arc<str>) -> bool,
) {
    for (name, group) in &view.seen.security_groups {
        if which(name) && security::is_free(view, group) {
            delete(
                plan,
                Object::SecurityGroup(Arc::clone(name)),
                ResourceId::new(names::SECURITY_GROUP),
                group.id.to_string(),
            );
        }
    }
}

fn delete(plan: &mut Plan<Step>, object: Object, id: ResourceId, detail: String) {
    let disturbance = match object {
        Object::LoadBalancer(_) | Object::Listener(..) => Disturbance::Interrupts,
        Object::TargetGroup(_) | Object::SecurityGroup(_) => Disturbance::None,
    };
    let change = Change::new(Action::Destroy, object.kind(), id, detail).disturbing(disturbance);
    plan.step(Step::Delete(object), change);
}
