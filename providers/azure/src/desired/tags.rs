//! Tags of public IP addresses (Decides).

use std::sync::Arc;

use evenkeel_core::{
    annotation::{Asked, field, key as neutral, value::quote},
    group::Group,
    intent::ReclaimPolicy,
    problem::Problem,
};

use crate::{Context, annotations::key, model::Pairs, names::tag};

/// Tags of a resource ("Tag limitations").
const MOST_TAGS: usize = 50;
/// Our own: see [`tag`].
const OUR_TAGS: usize = 7;
/// What Azure takes in no tag's name.
const FORBIDDEN: &str = "<>%&\\?/";

/// All tags of a group's public IP addresses: the operator's, before them the Service's, and our marks.
pub(super) fn tags(context: &Context, group: &Group, asked: &mut Asked<'_>) -> Pairs {
    let theirs = asked.map(key::PIP_TAGS).unwrap_or_default();
    let mut tags = context.tags.clone();
    for (of_key, pairs) in [
        (key::PIP_TAGS, &theirs),
        (neutral::TAGS, &asked.intent.options.tags),
    ] {
        for (name, value) in pairs {
            if let Some(message) = wrong_tag(name, value) {
                asked.problems.push(Problem::new(
                    field(of_key),
                    quote(&format!("{name}={value}")),
                    message,
                    "Write another tag, or remove this one.",
                ));
            }
            tags.insert(Arc::clone(name), Arc::clone(value));
        }
    }
    if tags.len() + OUR_TAGS > MOST_TAGS {
        asked.problems.push(Problem::new(
            field(key::PIP_TAGS),
            tags.len().to_string(),
            format!("tags with those of the operator are too many: Azure allows {MOST_TAGS}, of which evenkeel needs {OUR_TAGS}"),
            "Remove some.",
        ));
    }
    let given: Vec<&str> = tags.keys().map(|name| &**name).collect();
    let given = given.join(" ");
    let identity = group.key.identity();
    let service = format!("{}/{}", group.key.namespace(), group.key.name());
    for (name, value) in [
        (tag::CLUSTER, &*context.cluster.uid),
        (tag::CLUSTER_NAME, &*context.cluster.name),
        (tag::GROUP, &identity),
        (tag::SERVICE, &service),
        (tag::TAGS, &given),
    ] {
        if !value.is_empty() {
            tags.insert(name.into(), value.into());
        }
    }
    if asked.intent.options.reclaim_policy == ReclaimPolicy::Retain {
        tags.insert(tag::RECLAIM.into(), "Retain".into());
    }
    tags
}

/// What is wrong with a tag, by the rules of Azure and by ours.
pub fn wrong_tag(name: &str, value: &str) -> Option<String> {
    if name.starts_with(tag::PREFIX) || name.starts_with("k8s-azure-") {
        return Some(
            "must not begin with evenkeel- or k8s-azure-, by which owners are told apart"
                .to_owned(),
        );
    }
    let wrong = name
        .chars()
        .any(|char| FORBIDDEN.contains(char) || char.is_control() || char == ' ');
    (wrong || name.chars().count() > 512 || value.chars().count() > 256).then(|| {
        format!("must be at most 512 characters without spaces and {FORBIDDEN}, with a value of at most 256")
    })
}
