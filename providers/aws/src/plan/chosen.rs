//! Which nodes are chosen by their labels (Decides).
//!
//! A target group notes in a tag by which labels its targets were chosen: so a Service that cannot be read any more follows the same
//! nodes, and a bulk look shows where another choice was not brought to its end.

use std::{collections::BTreeSet, sync::Arc};

use evenkeel_core::{
    annotation::field,
    nodes::NodeSelector,
    plan::Plan,
    problem::{Warning, reason},
    provider::Want,
};

use super::{
    View,
    nodes::{Instances, Use},
};
use crate::{
    annotations::key,
    model::{Pairs, SeenTargetGroup, Step, Target},
    names::{self, tag},
};

/// The tags that note a choice.
pub(super) fn note(chosen: &NodeSelector) -> Pairs {
    let terms: Vec<String> = chosen.terms().collect();
    names::list(tag::NODE_LABELS, terms.iter().map(String::as_str))
}

/// The names of the labels that decide about targets.
pub(super) fn looked_at(view: View<'_>) -> BTreeSet<Arc<str>> {
    let wanted = match view.input.want {
        Want::Exists(desired) => &*desired.target_groups,
        _ => &[],
    };
    let wanted = wanted.iter().flat_map(|group| group.nodes.keys().cloned());
    let seen = view.seen.target_groups.values();
    let seen = seen.map(SeenTargetGroup::nodes);
    let seen = seen.flat_map(|chosen| chosen.keys().cloned().collect::<Vec<_>>());
    wanted.chain(seen).collect()
}

/// Takes those out of the targets that leave whose nodes could be targets, were they chosen: they leave last.
pub(super) fn set_free(nodes: &Instances, leave: &mut BTreeSet<Target>) -> BTreeSet<Target> {
    let member = |target: &Target| {
        let found = nodes
            .members
            .binary_search_by(|member| member.id.cmp(&target.id));
        found.is_ok_and(|at| nodes.members[at].use_ == Use::Add)
    };
    let (free, gone) = std::mem::take(leave).into_iter().partition(member);
    *leave = gone;
    free
}

/// Says that no node is chosen, where there is one to choose.
pub(super) fn tell_none(
    plan: &mut Plan<Step>,
    view: View<'_>,
    found: &SeenTargetGroup,
    chosen: &NodeSelector,
) {
    let known = chosen.is_all() || !view.nodes.tell(chosen);
    let any = NodeSelector::default();
    if known || view.nodes.has_targets(chosen) || !view.nodes.has_targets(&any) {
        return;
    }
    let serves = found.targets.is_none() || found.has_targets();
    let so = if serves {
        "the targets stay what they are"
    } else {
        "there is no target and nobody is served"
    };
    let warning = Warning::new(
        reason::INVALID_CONFIGURATION,
        format!(
            "{} of {}: no node that can be a target has the labels {chosen}, so {so}. Label a node with them, or correct the annotation.",
            field(key::TARGET_NODE_LABELS),
            found.marks.service,
        ),
    );
    if !plan.warnings.contains(&warning) {
        plan.warnings.push(warning);
    }
}
