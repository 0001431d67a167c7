//! Tags of ELB's objects. Decides.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::super::asked::{Parameters as _, pairs};
use super::super::refusal::{Answer, Refusal, invalid, refuse};
use super::super::state::State;
use super::super::turn::{Ask, Turn};

type Tags = BTreeMap<String, String>;

/// ELB API reference, DescribeTags, ResourceArns: "You can specify up to 20 resources in a single call."
const ARNS: usize = 20;

/// The tags in a call: TooManyTags and DuplicateTagKeys of CreateLoadBalancer and AddTags; tag keys of AWS's own cannot be set (Network Load
/// Balancer guide, "Tag a Network Load Balancer", restrictions).
pub(super) fn read(asked: &Value, already: Tags, most: usize) -> Result<Tags, Refusal> {
    let mut seen = BTreeSet::new();
    let mut all = already;
    for tag in asked.list("Tags") {
        let key = tag.required("Key");
        if !seen.insert(key) {
            return Err(refuse(
                "DuplicateTagKeys",
                format!("A tag key was specified more than once: '{key}'"),
            ));
        }
        if key.starts_with("aws:") {
            return Err(invalid(format!(
                "aws: prefixed tag key names are not allowed for external use: '{key}'"
            )));
        }
        all.insert(
            key.to_owned(),
            tag.text("Value").unwrap_or_default().to_owned(),
        );
    }
    if all.len() > most {
        return Err(refuse(
            "TooManyTags",
            format!("You've reached the limit on the number of tags per resource: {most}"),
        ));
    }
    Ok(all)
}

/// DescribeTags, AddTags, RemoveTags, errors: the code says of which kind the object is that is not there.
fn not_there(arn: &str) -> Refusal {
    let (code, noun) = match arn {
        _ if arn.contains(":loadbalancer/") => ("LoadBalancerNotFound", "Load balancers"),
        _ if arn.contains(":targetgroup/") => ("TargetGroupNotFound", "Target groups"),
        _ if arn.contains(":listener/") => ("ListenerNotFound", "Listeners"),
        _ => {
            return invalid(format!(
                "'{arn}' is not a valid load balancer, target group or listener ARN"
            ));
        }
    };
    refuse(code, format!("{noun} '[{arn}]' not found"))
}

pub(in super::super) fn of<'a>(state: &'a State, arn: &str) -> Option<&'a Tags> {
    let balancer = state.load_balancers.get(arn).map(|one| &one.tags);
    let group = || state.target_groups.get(arn).map(|one| &one.tags);
    let listener = || state.listeners.get(arn).map(|one| &one.tags);
    balancer.or_else(group).or_else(listener)
}

fn of_mut<'a>(state: &'a mut State, arn: &str) -> Option<&'a mut Tags> {
    if state.load_balancers.get(arn).is_some() {
        return state.load_balancers.get_mut(arn).map(|one| &mut one.tags);
    }
    if state.target_groups.get(arn).is_some() {
        return state.target_groups.get_mut(arn).map(|one| &mut one.tags);
    }
    state.listeners.get_mut(arn).map(|one| &mut one.tags)
}

pub(in super::super) fn describe(ask: &Ask<'_>) -> Answer {
    let arns = ask.asked.texts("ResourceArns");
    if arns.len() > ARNS {
        return Err(invalid(format!(
            "Only {ARNS} resources can be specified in a single call"
        )));
    }
    let described: Result<Vec<_>, Refusal> = arns
        .into_iter()
        .map(|arn| {
            let tags = of(ask.state, arn).ok_or_else(|| not_there(arn))?;
            Ok(json!({"ResourceArn": arn, "Tags": pairs(tags)}))
        })
        .collect();
    Ok(json!({"TagDescriptions": described?}))
}

pub(in super::super) fn add(turn: &mut Turn<'_>) -> Answer {
    for arn in turn.asked.texts("ResourceArns") {
        let tags = of_mut(turn.state, arn).ok_or_else(|| not_there(arn))?;
        *tags = read(turn.asked, tags.clone(), turn.settings.quotas.tags)?;
    }
    Ok(json!({}))
}

pub(in super::super) fn remove(turn: &mut Turn<'_>) -> Answer {
    let keys = turn.asked.texts("TagKeys");
    for arn in turn.asked.texts("ResourceArns") {
        let tags = of_mut(turn.state, arn).ok_or_else(|| not_there(arn))?;
        tags.retain(|key, _| !keys.contains(&&**key));
    }
    Ok(json!({}))
}
