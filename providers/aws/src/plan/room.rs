//! Whether the account has room for what is to be made: what would be over a quota is refused before anything of it is made (Decides).
//!
//! What is there is known by the last bulk look and our own writes since. Where that is not enough AWS says so itself, and a group that
//! has begun goes on until it does: of two that have begun one would else wait for the other.

use std::time::Duration;

use evenkeel_core::{
    annotation::key,
    ids::ResourceId,
    plan::{Plan, Until},
    problem::{Problem, reason},
};

use super::{View, listeners, load_balancer_id, replace::Stack, security};
use crate::{
    model::{Desired, Security, Step, TargetGroup},
    quotas::Quota,
};

/// When it is asked again whether there is room: what we removed ourselves is known at once.
const ASK_AGAIN: Duration = Duration::from_secs(60);

/// Why there is no room for a new load balancer in so many zones with all that hangs on it, one problem for each quota.
pub(super) fn for_all(
    view: View<'_>,
    desired: &Desired,
    stack: &Stack<'_>,
    zones: usize,
) -> Vec<Problem> {
    let Some(used) = view.used else {
        return Vec::new();
    };
    let seen = view.seen;
    let begun = match seen.target_groups.is_empty() && seen.security_groups.is_empty() {
        true => used.begun,
        false => 0,
    };
    let own_group = security::own_name(view, desired)
        .is_some_and(|name| !seen.security_groups.contains_key(&name));
    let backend = matches!(
        desired.load_balancer.security,
        Security::Managed(_) | Security::Given { backend: true, .. }
    ) && seen.facts.backend_group.is_none();
    let interfaces: usize = seen
        .load_balancers
        .values()
        .map(|lb| lb.subnets.len())
        .sum();
    let wanted = desired.target_groups.iter();
    let target_groups = wanted
        .filter(|group| is_missing(view, stack, group))
        .count();
    let asked = [
        (
            Quota::LoadBalancers,
            used.load_balancers + begun + seen.load_balancers.len(),
            1,
        ),
        (Quota::Interfaces, used.interfaces + interfaces, zones),
        (
            Quota::TargetGroups,
            used.target_groups + seen.target_groups.len(),
            target_groups,
        ),
        (
            Quota::SecurityGroups,
            used.security_groups + seen.security_groups.len(),
            usize::from(own_group) + usize::from(backend),
        ),
    ];
    let problems = asked
        .into_iter()
        .filter_map(|(quota, there, more)| problem(view, quota, there, more));
    problems.collect()
}

/// Whether there is room for one more target group of a load balancer that is there, beside those that are planned; else that is told.
pub(super) fn for_target_group(
    plan: &mut Plan<Step>,
    view: View<'_>,
    desired: &Desired,
    want: &TargetGroup,
) -> bool {
    let Some(used) = view.used else {
        return true;
    };
    let planned = plan.steps.iter();
    let planned = planned.filter(|planned| matches!(planned.step, Step::CreateTargetGroup(_)));
    let there = used.target_groups + view.seen.target_groups.len() + planned.count();
    let Some(problem) = problem(view, Quota::TargetGroups, there, 1) else {
        return true;
    };
    let mut listeners = desired.listeners.iter();
    if let Some(listener) = listeners.find(|listener| listener.target_group == want.id) {
        listeners::refuse(plan, listener, problem);
    }
    wait(plan, want.id.clone());
    false
}

/// Refuses to make a load balancer for which there is no room.
pub(super) fn refuse(plan: &mut Plan<Step>, problems: Vec<Problem>) {
    if problems.is_empty() {
        return;
    }
    for problem in problems {
        plan.refuse(load_balancer_id(), problem);
    }
    wait(plan, load_balancer_id());
}

fn wait(plan: &mut Plan<Step>, id: ResourceId) {
    plan.wait(id, "the account to have room", Until::After(ASK_AGAIN));
}

fn is_missing(view: View<'_>, stack: &Stack<'_>, group: &TargetGroup) -> bool {
    let name = stack.target_group(view, group);
    !view.seen.target_groups.contains_key(&name)
}

fn problem(view: View<'_>, quota: Quota, there: usize, more: usize) -> Option<Problem> {
    let most = view.context.quotas.of(quota);
    if more == 0 || there + more <= most {
        return None;
    }
    let share = match quota {
        Quota::LoadBalancers | Quota::Interfaces => {
            format!("let Services share a load balancer ({}), ", key::GROUP)
        }
        _ => String::new(),
    };
    let problem = Problem::new(
        quota.to_string(),
        there.to_string(),
        format!("are there, {more} more would be needed, and the quota is {most}: nothing is made"),
        format!(
            "Delete what is not needed, {share}or {}.",
            quota.how_to_raise()
        ),
    );
    Some(problem.with_reason(reason::QUOTA_EXCEEDED))
}
