//! Security groups of a load balancer, and the rules of its own one (Decides).
//!
//! Rules are added before others are removed, and removed only after a fresh read. A group is attached when it has its rules. A load
//! balancer that was made without security groups can never get one: another takes its place (see `replace`).

use std::{collections::BTreeSet, sync::Arc};

use evenkeel_core::{
    annotation::field,
    error::ErrorClass,
    ids::ResourceId,
    plan::{Action, Change, Disturbance, Plan, Reason, Until},
    problem::{Problem, reason},
};

use super::{Stop, View, attributes, tags};
use crate::{
    annotations::key,
    call::AUTHORIZE_INGRESS,
    model::{
        CloudId, Desired, Object, Rule, Security, SeenLoadBalancer, SeenSecurityGroup, Source, Step,
    },
    names,
    quotas::Quota,
};

/// The security groups that a load balancer shall have, ascending.
pub(super) enum Groups {
    /// These.
    Ready(BTreeSet<CloudId>),
    /// One of them is still to be made.
    Coming,
}

/// The name of the group's own security group, where it has one.
pub(super) fn own_name(view: View<'_>, desired: &Desired) -> Option<Arc<str>> {
    matches!(desired.load_balancer.security, Security::Managed(_))
        .then(|| names::security_group(&view.context.cluster.uid, view.input.key))
}

/// The security groups that the load balancer shall have.
pub(super) fn groups(view: View<'_>, desired: &Desired) -> Result<Groups, Stop> {
    let facts = &view.seen.facts;
    let mut ids: BTreeSet<CloudId>;
    let backend = match &desired.load_balancer.security {
        Security::Managed(rules) => {
            fits(view, rules).map_err(Stop::refused)?;
            let own = own_name(view, desired).and_then(|name| view.seen.security_groups.get(&name));
            let Some(own) = own else {
                return Ok(Groups::Coming);
            };
            ids = [own.id.clone()].into();
            true
        }
        Security::Given { groups, backend } => {
            ids = given(view, groups)?;
            *backend
        }
        Security::Absent(_) => return Ok(Groups::Ready(BTreeSet::new())),
    };
    if backend {
        let Some(backend) = &facts.backend_group else {
            return Ok(Groups::Coming);
        };
        ids.insert(backend.clone());
    }
    Ok(Groups::Ready(ids))
}

/// The ids of given groups.
fn given(view: View<'_>, groups: &[Arc<str>]) -> Result<BTreeSet<CloudId>, Stop> {
    let mut ids = BTreeSet::new();
    let mut problems = Vec::new();
    for group in groups {
        match view.seen.facts.given_groups.get(group).map(Vec::as_slice) {
            Some([id]) => drop(ids.insert(id.clone())),
            Some([first, ..]) => {
                let all = view.seen.facts.given_groups[group].len();
                problems.push(Problem::new(
                    field(key::SECURITY_GROUPS),
                    &**group,
                    format!(
                        "is the tag Name of {all} security groups of the VPC, {first} among them"
                    ),
                    "Write the id of the one that is meant.",
                ));
            }
            Some([]) | None if !view.input.fresh => {
                return Err(Stop::FreshRead("a fresh look at the security groups"));
            }
            Some([]) | None => problems.push(Problem::new(
                field(key::SECURITY_GROUPS),
                &**group,
                format!(
                    "is neither the id nor the tag Name of a security group of the VPC {}",
                    view.seen.facts.vpc
                ),
                "Name a security group that is there, or remove the annotation.",
            )),
        }
    }
    if problems.is_empty() {
        Ok(ids)
    } else {
        Err(Stop::Refused(problems))
    }
}

/// Whether AWS takes so many rules, a prefix list counting for all the entries that it may have.
fn fits(view: View<'_>, rules: &BTreeSet<Rule>) -> Result<(), Problem> {
    let total = weight(view, rules);
    let most = view.context.quotas.of(Quota::Rules);
    if total <= most || view.seen.facts.prefix_lists.is_empty() {
        return Ok(());
    }
    Err(Problem::new(
        "spec.loadBalancerSourceRanges",
        total.to_string(),
        format!(
            "rules are more than the {most} that are allowed, {}: each port counts once per source range, and a prefix list \
             with the maximum of its entries",
            Quota::Rules
        ),
        format!(
            "Ask for fewer source ranges, ports or prefix lists, or make the security group yourself and name it in the annotation \
             service.beta.kubernetes.io/aws-load-balancer-security-groups; or {}.",
            Quota::Rules.how_to_raise()
        ),
    )
    .with_reason(reason::QUOTA_EXCEEDED))
}

/// For how many rules these count.
fn weight(view: View<'_>, rules: &BTreeSet<Rule>) -> usize {
    let lists = &view.seen.facts.prefix_lists;
    let of_one = |rule: &Rule| match &rule.source {
        Source::PrefixList(id) => lists.get(id).map_or(1, |entries| *entries as usize),
        _ => 1,
    };
    rules.iter().map(of_one).sum()
}

/// Makes the group's own security group and brings its rules and tags up to date.
pub(super) fn own(plan: &mut Plan<Step>, view: View<'_>, desired: &Desired) {
    let Security::Managed(rules) = &desired.load_balancer.security else {
        return;
    };
    let Some(name) = own_name(view, desired) else {
        return;
    };
    let lb = &desired.load_balancer;
    let id = ResourceId::new(names::SECURITY_GROUP);
    let marks = names::group_marks(
        &view.context.cluster,
        view.input.key,
        lb.marks.retain,
        id.clone(),
    );
    let all_tags = tags::all(view, desired, &marks, &BTreeSet::new(), []);
    let Some(found) = view.seen.security_groups.get(&name) else {
        let change = Change::new(
            Action::Create,
            "security group",
            id,
            match rules.len() {
                1 => "of the load balancer, with 1 rule".to_owned(),
                count => format!("of the load balancer, with {count} rules"),
            },
        );
        plan.step(
            Step::CreateSecurityGroup {
                name,
                marks,
                tags: all_tags,
            },
            change,
        );
        return;
    };
    tags::follow(
        plan,
        Object::SecurityGroup(Arc::clone(&name)),
        &id,
        &found.tags,
        &all_tags,
    );
    follow_rules(plan, view, desired, &name, found, rules);
}

/// Lets in who is not let in yet, and changes nothing else: for a group whose members do not all say what they want.
pub(super) fn open(plan: &mut Plan<Step>, view: View<'_>, desired: &Desired) {
    let (Security::Managed(rules) | Security::Absent(rules)) = &desired.load_balancer.security
    else {
        return;
    };
    let name = names::security_group(&view.context.cluster.uid, view.input.key);
    if let Some(found) = view.seen.security_groups.get(&name) {
        follow_rules(plan, view, desired, &name, found, rules);
    }
}

/// Adds the rules that are missing; where the group has no room for them beside those that go, these go first.
fn follow_rules(
    plan: &mut Plan<Step>,
    view: View<'_>,
    desired: &Desired,
    name: &Arc<str>,
    found: &SeenSecurityGroup,
    rules: &BTreeSet<Rule>,
) {
    let add: BTreeSet<Rule> = rules.difference(&found.rules).cloned().collect();
    if add.is_empty() {
        return;
    }
    let id = ResourceId::new(names::SECURITY_GROUP);
    let most = view.context.quotas.of(Quota::Rules);
    let no_room = weight(view, &found.rules) + weight(view, &add) > most;
    if no_room && !surplus(found, desired, rules).is_empty() {
        if view.input.fresh {
            surplus_rules(plan, view, desired);
        } else {
            plan.wait(
                id,
                "a fresh look at rules that are no longer wanted",
                Until::FreshRead,
            );
        }
        return;
    }
    let change = Change::new(Action::Change, "security group", id, "add rules")
        .because(reasons(&add, |rule| Reason::new("rule", "", rule)));
    plan.step(
        Step::Authorize {
            group: Arc::clone(name),
            rules: add,
        },
        change,
    );
}

/// The rules that are no longer wanted. While a member cannot be read none of them is, because it may be that one's.
fn surplus(found: &SeenSecurityGroup, desired: &Desired, rules: &BTreeSet<Rule>) -> BTreeSet<Rule> {
    if desired.unknown.is_empty() {
        found.rules.difference(rules).cloned().collect()
    } else {
        BTreeSet::new()
    }
}

/// Removes the rules that are no longer wanted, when all that are wanted are there: one may let in some of those that another did.
pub(super) fn replaced_rules(plan: &mut Plan<Step>, view: View<'_>, desired: &Desired) {
    let mut failures = view.input.failures.iter();
    let needs_room = failures.any(|failure| {
        failure.class == ErrorClass::Quota && failure.operation == AUTHORIZE_INGRESS.operation
    });
    if needs_room || own_is_ready(view, desired) {
        surplus_rules(plan, view, desired);
    }
}

/// Removes the rules that are no longer wanted from the group's own security group.
fn surplus_rules(plan: &mut Plan<Step>, view: View<'_>, desired: &Desired) {
    let Security::Managed(rules) = &desired.load_balancer.security else {
        return;
    };
    let Some((name, found)) =
        own_name(view, desired).and_then(|name| view.seen.security_groups.get_key_value(&name))
    else {
        return;
    };
    let surplus = surplus(found, desired, rules);
    if surplus.is_empty() {
        return;
    }
    let id = ResourceId::new(names::SECURITY_GROUP);
    let change = Change::new(Action::Change, "security group", id, "remove rules")
        .because(reasons(&surplus, |rule| Reason::new("rule", rule, "")))
        .disturbing(Disturbance::Drains);
    plan.step(
        Step::Revoke {
            group: Arc::clone(name),
            rules: surplus,
        },
        change,
    );
}

fn reasons(rules: &BTreeSet<Rule>, reason: impl Fn(&Rule) -> Reason) -> Vec<Reason> {
    rules.iter().map(reason).collect()
}

/// Whether the group's own security group lets in all that it shall.
fn own_is_ready(view: View<'_>, desired: &Desired) -> bool {
    let Security::Managed(rules) = &desired.load_balancer.security else {
        return true;
    };
    own_name(view, desired)
        .and_then(|name| view.seen.security_groups.get(&name))
        .is_some_and(|own| rules.is_subset(&own.rules))
}

/// Brings the security groups of a live load balancer up to date.
pub(super) fn attach(
    plan: &mut Plan<Step>,
    view: View<'_>,
    desired: &Desired,
    name: &Arc<str>,
    live: &SeenLoadBalancer,
) {
    let id = super::load_balancer_id();
    // It is one that has none, and gets none.
    if live.is_open() {
        return;
    }
    let ids = match groups(view, desired) {
        Ok(Groups::Ready(ids)) => ids,
        Ok(Groups::Coming) => return,
        Err(Stop::FreshRead(_)) if may_be_given(view, desired, live) => {
            live.security_groups.clone()
        }
        Err(stop) => return stop.tell(plan, &id),
    };
    // AWS's default is on.
    let rules = attributes::private_link(&desired.load_balancer, live);
    let private_link = rules.filter(|on| *on != live.private_link_rules.unwrap_or(true));
    let changed = ids != live.security_groups;
    if (!changed && private_link.is_none()) || (changed && !own_is_ready(view, desired)) {
        return;
    }
    let mut reasons = Vec::new();
    if changed {
        reasons.push(Reason::new(
            "security groups",
            list(&live.security_groups),
            list(&ids),
        ));
    }
    if let Some(on) = private_link {
        let word = |on| if on { "on" } else { "off" };
        reasons.push(Reason::new(
            "inbound rules on PrivateLink traffic",
            word(!on),
            word(on),
        ));
    }
    plan.step(
        Step::SetSecurityGroups {
            load_balancer: Arc::clone(name),
            groups: ids,
            private_link_rules: private_link,
        },
        Change::new(Action::Change, "load balancer", id, "security groups").because(reasons),
    );
}

/// Whether the groups of a live load balancer may be those that are given, as far as a look that knows no names tells: ids name
/// themselves, and there are as many as were given.
fn may_be_given(view: View<'_>, desired: &Desired, live: &SeenLoadBalancer) -> bool {
    let Security::Given { groups, backend } = &desired.load_balancer.security else {
        return false;
    };
    let attached = |group: &Arc<str>| {
        !group.starts_with("sg-")
            || live
                .security_groups
                .contains(&CloudId::new(Arc::clone(group)))
    };
    !live.listeners_known
        && !view.input.fresh
        && groups.len() + usize::from(*backend) == live.security_groups.len()
        && groups.iter().all(attached)
}

fn list(ids: &BTreeSet<CloudId>) -> String {
    let ids: Vec<&str> = ids.iter().map(CloudId::as_str).collect();
    ids.join(", ")
}

/// Whether the group's own security group is attached to nothing of the group.
pub(super) fn is_free(view: View<'_>, group: &SeenSecurityGroup) -> bool {
    !view
        .seen
        .load_balancers
        .values()
        .any(|lb| lb.security_groups.contains(&group.id))
}
