//! Openings of node groups: where load balancers reach nodes beside the NodePorts and kube-proxy's health (Decides).
//!
//! A target group lists its openings in a tag before it uses them, and until their rules are gone. A rule is there before anything needs
//! it, and goes when nothing of the group does and, by a fresh look, no other group lists it. One rule may serve many groups, so
//! whoever begins to rely on one says so in a step, also where the rule is there: a step that removes it cannot come between.

use std::{collections::BTreeSet, sync::Arc};

use evenkeel_core::{
    ids::ResourceId,
    plan::{Action, Change, Disturbance, Plan, Reason},
};

use super::{
    View,
    nodes::{self, Use},
    replace::Stacks,
    target_groups,
};
use crate::{
    model::{
        CloudId, Desired, Facts, Opening, Rule, SeenTargetGroup, Step, TargetGroup, facts::Instance,
    },
    names,
};

/// The openings that a target group needs.
pub(super) fn needed(view: View<'_>, want: &TargetGroup) -> BTreeSet<Opening> {
    if view.behind_backend {
        want.openings.clone()
    } else {
        BTreeSet::new()
    }
}

/// Whether a target group may use what it needs: its tag lists it, and every node group has it.
pub(super) fn are_ready(
    view: View<'_>,
    found: &SeenTargetGroup,
    needed: &BTreeSet<Opening>,
) -> bool {
    if needed.is_empty() || nodes::admission_failed(view) {
        return true;
    }
    let mut groups = node_groups(view).into_iter();
    needed.is_subset(&found.openings())
        && groups.all(|group| !lacks(&view.seen.facts, group, needed))
}

/// What the tag of a live target group shall list: what it needs, and what it once needed while that is in use or its rule may be left.
pub(super) fn listed(
    view: View<'_>,
    found: &SeenTargetGroup,
    needed: BTreeSet<Opening>,
    settled: bool,
) -> BTreeSet<Opening> {
    let facts = &view.seen.facts;
    let others = of_others(view);
    let is_left = |opening: &Opening| {
        let rules = facts.node_groups.values().flat_map(|group| &group.openings);
        rules
            .filter(|rule| opening.covers(rule, facts))
            .any(|rule| !covers(&others, rule, facts))
    };
    let mut listed = found.openings();
    listed.retain(|opening| !settled || is_left(opening));
    listed.extend(needed);
    listed
}

/// Opens the node groups for all that the target groups of the group need.
pub(super) fn open(
    plan: &mut Plan<Step>,
    view: View<'_>,
    desired: Option<(&Desired, &Stacks<'_>)>,
) {
    let facts = &view.seen.facts;
    let mut openings = BTreeSet::new();
    for (name, group) in &view.seen.target_groups {
        openings.extend(match desired {
            Some((desired, stacks)) => {
                target_groups::openings_in_use(view, desired, stacks, name, group)
            }
            None => group.openings(),
        });
    }
    let mut begun = false;
    if let Some((desired, stacks)) = desired {
        for stack in stacks.all() {
            for want in &desired.target_groups {
                let needed = needed(view, want);
                let found = view.seen.target_groups.get(&stack.target_group(view, want));
                let listed = found.map(SeenTargetGroup::openings).unwrap_or_default();
                begun |= !needed.is_subset(&listed);
                openings.extend(needed);
            }
        }
    }
    if openings.is_empty() {
        return;
    }
    let rules: Option<Vec<BTreeSet<Rule>>> = openings.iter().map(|one| one.rules(facts)).collect();
    // Without the backend group the next wave sees it.
    let Some(rules) = rules else {
        return;
    };
    let groups: BTreeSet<CloudId> = node_groups(view)
        .into_iter()
        .filter(|group| begun || lacks(facts, group, &openings))
        .cloned()
        .collect();
    if groups.is_empty() {
        return;
    }
    let list: Vec<String> = openings.iter().map(Opening::to_string).collect();
    let change = Change::new(
        Action::Change,
        nodes::ADMISSION,
        ResourceId::new(names::NODES),
        format!("of {}", list.join(", ")),
    );
    plan.step(
        Step::OpenNodes {
            openings,
            groups,
            rules: rules.into_iter().flatten().collect(),
        },
        change,
    );
}

/// Removes the rules that nothing needs. Returns whether the group itself lists one of them, so that it is to see to that; else some
/// other group left it, which is no hurry.
pub(super) fn close(
    plan: &mut Plan<Step>,
    view: View<'_>,
    used: impl Fn(&Arc<str>, &SeenTargetGroup) -> BTreeSet<Opening>,
) -> bool {
    let facts = &view.seen.facts;
    if facts
        .node_groups
        .values()
        .all(|one| one.openings.is_empty())
    {
        return false;
    }
    let (mut needed, mut listed) = (of_others(view), BTreeSet::new());
    for (name, group) in &view.seen.target_groups {
        needed.extend(used(name, group));
        listed.extend(group.openings());
    }
    let rules = facts.node_groups.values().flat_map(|one| &one.openings);
    let surplus: BTreeSet<Rule> = rules
        .filter(|rule| !covers(&needed, rule, facts))
        .cloned()
        .collect();
    if surplus.is_empty() {
        return false;
    }
    let own = surplus.iter().any(|rule| covers(&listed, rule, facts));
    let reasons = surplus.iter().map(|rule| Reason::new("rule", rule, ""));
    let change = Change::new(
        Action::Change,
        nodes::ADMISSION,
        ResourceId::new(names::NODES),
        "remove rules that nothing needs",
    )
    .because(reasons.collect())
    .disturbing(Disturbance::None);
    plan.step(Step::CloseNodes(surplus), change);
    own
}

/// The openings that other groups list.
fn of_others(view: View<'_>) -> BTreeSet<Opening> {
    let facts = &view.seen.facts;
    if facts.openings.is_empty() {
        return BTreeSet::new();
    }
    let own = view.input.key.identity();
    let others = facts.openings.iter().filter(|(group, _)| ***group != *own);
    others.flat_map(|(_, openings)| openings).copied().collect()
}

fn covers(openings: &BTreeSet<Opening>, rule: &Rule, facts: &Facts) -> bool {
    openings.iter().any(|opening| opening.covers(rule, facts))
}

/// The node groups of the instances that may be targets, as far as they admit the load balancers.
fn node_groups(view: View<'_>) -> BTreeSet<&CloudId> {
    let facts = &view.seen.facts;
    let members = view.nodes.members.iter();
    members
        .filter(|member| member.use_ != Use::Remove)
        .filter_map(|member| match facts.instances.get(&member.id)? {
            Instance::Group { group, .. } => Some(group),
            Instance::Unknown | Instance::Ambiguous => None,
        })
        .filter(|group| facts.admitted.contains(*group))
        .collect()
}

/// Whether the node group of an instance has these openings; where the group is not known nobody can say so, and it is as open as it is.
pub(super) fn are_open(view: View<'_>, instance: &str, openings: &BTreeSet<Opening>) -> bool {
    let facts = &view.seen.facts;
    match facts.instances.get(instance) {
        Some(Instance::Group { group, .. }) => !lacks(facts, group, openings),
        _ => true,
    }
}

/// Whether a node group lacks a rule of these openings.
fn lacks(facts: &Facts, group: &CloudId, openings: &BTreeSet<Opening>) -> bool {
    let has = |rule: &Rule| {
        let known = facts.node_groups.get(group);
        known.is_some_and(|known| known.rules.contains(rule))
    };
    openings.iter().any(|opening| {
        opening
            .rules(facts)
            .is_none_or(|rules| !rules.iter().all(has))
    })
}
