//! Tags of the user's, for every object of a group (Decides).

use std::sync::Arc;

use evenkeel_core::{
    annotation::{Asked, field, key as neutral, value::quote},
    problem::Problem,
};

use crate::{
    Context,
    annotations::key,
    model::Pairs,
    names::{self, tag},
};

/// Tags of an object ("Tag restrictions").
const MOST_TAGS: usize = 50;

/// Our own on any object, see [`crate::names::tag`]: six that say whose it is, up to three that list attributes, six others; those of a
/// target group are the reclaim policy, the node port, the probe, openings and up to two for labels of nodes.
const OUR_TAGS: usize = 15;

/// Tags that tell a controller whose an object is, ours and those of others; and AWS's own.
const RESERVED_TAGS: &[&str] = &[
    tag::PREFIX,
    "aws:",
    "elbv2.k8s.aws/",
    "service.k8s.aws/",
    "ingress.k8s.aws/",
];

/// Tags for every object: the operator's, and before them the Service's own.
pub(super) fn tags(context: &Context, asked: &mut Asked<'_>) -> Pairs {
    let theirs = asked.map(key::TAGS).unwrap_or_default();
    let mut tags = context.tags.clone();
    for (key, of_key) in [
        (key::TAGS, &theirs),
        (neutral::TAGS, &asked.intent.options.tags),
    ] {
        for (name, value) in of_key {
            if let Some(message) = wrong(name, value) {
                asked.problems.push(Problem::new(
                    field(key),
                    quote(&format!("{name}={value}")),
                    message,
                    "Write another tag, or remove this one.",
                ));
            }
            tags.insert(Arc::clone(name), Arc::clone(value));
        }
    }
    if let Some(message) = too_many(&tags) {
        let key = if theirs.is_empty() {
            neutral::TAGS
        } else {
            key::TAGS
        };
        asked.problems.push(Problem::new(
            field(key),
            tags.len().to_string(),
            message,
            "Remove some.",
        ));
    }
    tags
}

/// Why so many tags are too many, as a clause.
pub fn too_many(tags: &Pairs) -> Option<String> {
    // What was given is listed in tags of its own, so that it can go again.
    let lists = names::list(tag::TAGS, tags.keys().map(|key| &**key)).len();
    let all = tags.len() + lists + OUR_TAGS;
    (all > MOST_TAGS).then(|| {
        format!(
            "tags, with those of the operator, are {} too many: AWS allows {MOST_TAGS} on an object, of which evenkeel needs {}",
            all - MOST_TAGS,
            OUR_TAGS + lists
        )
    })
}

/// What is wrong with a tag by the rules of AWS and by ours, as a clause.
pub fn wrong(name: &str, value: &str) -> Option<String> {
    if let Some(prefix) = RESERVED_TAGS
        .iter()
        .find(|prefix| name.starts_with(**prefix))
    {
        return Some(format!(
            "must not begin with {prefix}, by which owners are told apart"
        ));
    }
    let allowed = |text: &str| {
        text.chars()
            .all(|c| c.is_alphanumeric() || c == ' ' || "_.:/=+-@".contains(c))
    };
    let lengths = name.chars().count() <= 128 && value.chars().count() <= 256;
    (!lengths || !allowed(name) || !allowed(value)).then(|| {
        "must be at most 128 characters, with a value of at most 256, all letters, digits, spaces or one of _.:/=+-@".to_owned()
    })
}
