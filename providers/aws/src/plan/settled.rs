//! What a bulk look does not show, and how a process that starts knows all the same that it is done (Decides).
//!
//! A bulk look has no listeners, no attributes and no tags of listeners. Of all that is wanted there, a load balancer carries a digest,
//! which is written when nothing is left to do. Where the digest is another one than that of what is wanted, the process before
//! did not come to its end, or something else was asked for since: only then it is looked closer. A Service that asks for nothing
//! of this kind has no digest.

use std::{collections::BTreeSet, sync::Arc};

use evenkeel_core::{
    digest::Digest,
    plan::{Plan, Planned, Reason, Until},
};
use serde::Serialize;

use super::{View, load_balancer_id, replace::Stacks, tags};
use crate::{
    model::{Desired, Listener, Object, Pairs, Step, TargetGroup, Tls},
    names::{self, tag},
};

#[derive(Serialize)]
struct Hidden<'a> {
    load_balancer: &'a Pairs,
    private_link_rules: Option<bool>,
    tags: &'a Pairs,
    retain: bool,
    listeners: Vec<(u16, Option<&'a Tls>, &'a Pairs)>,
    target_groups: Vec<(&'a str, &'a Pairs)>,
}

/// The digest of what is wanted and does not show; None where that is nothing.
fn digest(desired: &Desired) -> Option<Arc<str>> {
    let lb = &desired.load_balancer;
    let hides = |listener: &&Listener| listener.tls.is_some() || !listener.attributes.is_empty();
    let listeners = desired.listeners.iter().filter(hides);
    let has_attributes = |group: &&TargetGroup| !group.attributes.is_empty();
    let groups = desired.target_groups.iter().filter(has_attributes);
    let hidden = Hidden {
        load_balancer: &lb.attributes,
        private_link_rules: lb.private_link_rules,
        tags: &lb.tags,
        retain: lb.marks.retain,
        listeners: listeners
            .map(|listener| (listener.port, listener.tls.as_ref(), &listener.attributes))
            .collect(),
        target_groups: groups
            .map(|group| (group.id.as_str(), &group.attributes))
            .collect(),
    };
    let nothing = hidden.load_balancer.is_empty()
        && hidden.private_link_rules.is_none()
        && hidden.tags.is_empty()
        && !hidden.retain
        && hidden.listeners.is_empty()
        && hidden.target_groups.is_empty();
    (!nothing).then(|| Digest::of(&hidden).to_string().into())
}

/// The digest as a tag of a new load balancer, where all of it is part of the calls that create.
pub(super) fn at_creation(desired: &Desired) -> Option<(&'static str, Arc<str>)> {
    let lb = &desired.load_balancer;
    let later = !lb.attributes.is_empty()
        || lb.private_link_rules.is_some()
        || desired
            .target_groups
            .iter()
            .any(|group| !group.attributes.is_empty())
        || desired.listeners.iter().any(|listener| {
            let further = listener
                .tls
                .as_ref()
                .is_some_and(|tls| !tls.further.is_empty());
            further || !listener.attributes.is_empty()
        });
    if later {
        return None;
    }
    Some((tag::SETTLED, digest(desired)?))
}

/// Asks for a fresh look where a bulk look leaves it open whether all is done.
pub(super) fn look(plan: &mut Plan<Step>, view: View<'_>, desired: &Desired, stacks: &Stacks<'_>) {
    let Some(live) = stacks.main.live else {
        return;
    };
    if live.listeners_known || desired.shared_unknown || !stacks.as_asked {
        return;
    }
    let settled = live.tags.get(tag::SETTLED).cloned() == digest(desired);
    if (!settled || stacks.before.is_some()) && !view.input.fresh {
        plan.wait(
            load_balancer_id(),
            "a fresh look at what has been asked for since",
            Until::FreshRead,
        );
    }
}

/// Notes that all is done, where nothing else is left to do but tags of the load balancer: they come in one call.
pub(super) fn note(plan: &mut Plan<Step>, desired: &Desired, stacks: &Stacks<'_>) {
    let Some(live) = stacks.main.live else {
        return;
    };
    let object = Object::LoadBalancer(Arc::clone(&stacks.main.name));
    let mut steps = plan.steps.iter();
    let idle = steps.all(|planned| ends_with(&planned.step, &object, &live.tags));
    if !idle
        || !plan.waits.is_empty()
        || !live.listeners_known
        || desired.shared_unknown
        || !stacks.as_asked
    {
        return;
    }
    let (is, shall) = (live.tags.get(tag::SETTLED), digest(desired));
    if is == shall.as_ref() {
        return;
    }
    let text = |digest: Option<&Arc<str>>| digest.map_or("", |digest| digest).to_owned();
    let mut reasons = vec![Reason::new("settled", text(is), text(shall.as_ref()))];
    let mut gone = BTreeSet::new();
    if shall.is_none() {
        gone.insert(tag::SETTLED.into());
    }
    let mut tags: Pairs = shall
        .map(|digest| (tag::SETTLED.into(), digest))
        .into_iter()
        .collect();
    if let Some(Planned { step, change }) = plan.steps.pop()
        && let Step::Tag { set, remove, .. } = step
    {
        tags.extend(set);
        gone.extend(remove);
        reasons.splice(0..0, change.reasons);
    }
    tags::write(plan, object, load_balancer_id(), tags, gone, reasons);
}

/// Whether a step only tags this object, and nothing follows from it. A tag that lists more attributes than before is followed by
/// them.
fn ends_with(step: &Step, of: &Object, found: &Pairs) -> bool {
    let Step::Tag {
        object,
        set,
        remove,
    } = step
    else {
        return false;
    };
    let mut tags = found.clone();
    tags.retain(|key, _| !remove.contains(key));
    tags.extend(set.clone());
    let listed = |tags: &Pairs| names::listed(tags, tag::ATTRIBUTES);
    object == of && listed(&tags).is_subset(&listed(found))
}
