//! Tags: ours, the operator's and the user's; never those of others (Decides).
//!
//! Every object says in a tag which keys were set for the user or the operator, so that one that is no longer asked for goes, and
//! one that somebody else put there stays.

use std::{collections::BTreeSet, sync::Arc};

use evenkeel_core::{
    ids::ResourceId,
    plan::{Action, Change, Plan, Reason},
};

use super::View;
use crate::{
    model::{Desired, Marks, Object, Pairs, Step},
    names::{self, tag},
};

/// Our tags that go where they are no longer wanted; some of them go on with a number.
const REMOVABLE: [&str; 7] = [
    tag::RECLAIM,
    tag::ATTRIBUTES,
    tag::TAGS,
    tag::PROBE,
    tag::OPENINGS,
    tag::NODE_LABELS,
    tag::CERTIFICATES,
];

/// All tags of an object: whose it is, what was given, which attributes are kept, and what only this object has.
pub(super) fn all(
    view: View<'_>,
    desired: &Desired,
    marks: &Marks,
    attributes: &BTreeSet<Arc<str>>,
    own: impl IntoIterator<Item = (&'static str, Arc<str>)>,
) -> Pairs {
    let (given, retain) = shared(view, desired, marks);
    let mut tags = names::list(tag::TAGS, given.keys().map(|key| &**key));
    tags.extend(names::list(
        tag::ATTRIBUTES,
        attributes.iter().map(|key| &**key),
    ));
    tags.extend(own.into_iter().map(|(key, value)| (key.into(), value)));
    // Ours go before: a given tag cannot say whose an object is.
    let mut all = given;
    all.extend(tags);
    let marks = Marks {
        retain,
        ..marks.clone()
    };
    all.extend(names::tags(&view.context.cluster.name, &marks));
    all
}

/// The tags that are given to every object, and whether it stays when its Services are deleted. While the member that decides
/// these cannot be read, they are what the load balancer tells.
fn shared(view: View<'_>, desired: &Desired, marks: &Marks) -> (Pairs, bool) {
    let live = view.seen.current().filter(|_| desired.shared_unknown);
    let Some((_, lb)) = live else {
        return (desired.load_balancer.tags.clone(), marks.retain);
    };
    let once_given = names::listed(&lb.tags, tag::TAGS);
    let given = lb.tags.iter().filter(|(key, _)| once_given.contains(*key));
    let given = given.map(|(key, value)| (Arc::clone(key), Arc::clone(value)));
    (given.collect(), lb.marks.retain)
}

/// Brings the tags of an object up to date.
pub(super) fn follow(
    plan: &mut Plan<Step>,
    object: Object,
    id: &ResourceId,
    found: &Pairs,
    want: &Pairs,
) {
    let set: Pairs = want
        .iter()
        .filter(|(key, value)| found.get(*key) != Some(*value))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let once_given = names::listed(found, tag::TAGS);
    let remove: BTreeSet<Arc<str>> = found
        .keys()
        .filter(|key| !want.contains_key(*key))
        .filter(|key| once_given.contains(*key) || is_removable(key))
        .cloned()
        .collect();
    if set.is_empty() && remove.is_empty() {
        return;
    }
    let text = |value: Option<&Arc<str>>| value.map_or_else(String::new, ToString::to_string);
    let mut reasons: Vec<Reason> = set
        .iter()
        .map(|(key, value)| {
            let was = found.get(key).map(|was| format!("{key}={was}"));
            Reason::new("tag", was.unwrap_or_default(), format!("{key}={value}"))
        })
        .collect();
    reasons.extend(
        remove
            .iter()
            .map(|key| Reason::new("tag", format!("{key}={}", text(found.get(key))), "")),
    );
    write(plan, object, id.clone(), set, remove, reasons);
}

/// Writes tags for these reasons.
pub(super) fn write(
    plan: &mut Plan<Step>,
    object: Object,
    id: ResourceId,
    set: Pairs,
    remove: BTreeSet<Arc<str>>,
    reasons: Vec<Reason>,
) {
    let change = Change::new(Action::Change, object.kind(), id, "tags").because(reasons);
    plan.step(
        Step::Tag {
            object,
            set,
            remove,
        },
        change,
    );
}

fn is_removable(key: &str) -> bool {
    REMOVABLE.iter().any(|ours| {
        key.strip_prefix(ours)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}
