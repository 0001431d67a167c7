//! Tags of the user's, for every object of a group (Decides).

use std::sync::Arc;

use evenkeel_core::{
    annotation::{field, key as neutral, value::quote},
    problem::Problem,
};

use crate::{
    Context,
    annotations::{Asked, key},
    model::Pairs,
    names::tag,
};

/// AWS allows 50 tags on an object. Ours, with those that remember something: see [`crate::names::tag`].
const MOST_TAGS: usize = 50 - 13;

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
            if let Some(message) = wrong_tag(name, value) {
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
    if tags.len() > MOST_TAGS {
        asked.problems.push(Problem::new(
            field(if theirs.is_empty() { neutral::TAGS } else { key::TAGS }),
            tags.len().to_string(),
            format!("must be at most {MOST_TAGS} tags with those of the operator: AWS allows 50 on an object, and evenkeel needs the others"),
            "Remove some.",
        ));
    }
    tags
}

/// What is wrong with a tag, by the rules of AWS and by ours.
fn wrong_tag(name: &str, value: &str) -> Option<String> {
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
