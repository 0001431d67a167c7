//! Attributes: those asked for, and those once set and asked for no more, which go back to AWS's defaults (Decides).
//!
//! An object says in a tag which of its attributes we keep. On a live object the tag comes before the attribute and goes after
//! it, so that none is ever set that cannot be found to be reset. What the tag does not name is somebody else's.

use std::{collections::BTreeSet, sync::Arc};

use evenkeel_core::{
    ids::ResourceId,
    intent::Scheme,
    plan::{Action, Change, Plan, Reason, Until},
};

use super::View;
use crate::{
    desired::attributes::{listener_default, load_balancer_default, target_group_default},
    model::{Object, Pairs, Step, TargetProtocol, TargetType},
    names::{self, tag},
};

/// What decides the defaults of an object's attributes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Of {
    /// A load balancer.
    LoadBalancer(Scheme),
    /// A target group.
    TargetGroup(TargetProtocol, TargetType),
    /// A listener.
    Listener,
}

/// AWS's default of an attribute; None where it is not known, or the attribute cannot be set back.
fn default(of: Of, key: &str) -> Option<&'static str> {
    match of {
        Of::LoadBalancer(scheme) => load_balancer_default(key, scheme),
        Of::TargetGroup(protocol, kind) => target_group_default(key, protocol, kind),
        Of::Listener => listener_default(key),
    }
}

/// The names of attributes that a new object's tag lists.
pub(super) fn kept(wanted: &Pairs) -> BTreeSet<Arc<str>> {
    wanted.keys().cloned().collect()
}

/// Brings the attributes of a live object up to date as far as its tag allows now, and returns what its tag shall list.
pub(super) fn follow(
    plan: &mut Plan<Step>,
    view: View<'_>,
    object: Object,
    id: &ResourceId,
    of: Of,
    (known, tags): (Option<&Pairs>, &Pairs),
    wanted: &Pairs,
) -> BTreeSet<Arc<str>> {
    let listed = names::listed(tags, tag::ATTRIBUTES);
    let asked = kept(wanted);
    let Some(known) = known else {
        if listed != asked && !listed.is_empty() && !view.input.fresh {
            plan.wait(
                id.clone(),
                format!("a fresh look at the attributes of {id}"),
                Until::FreshRead,
            );
        }
        // Where none was set the tag comes first; where some were, only a look tells what has to be reset.
        return if listed.is_empty() { asked } else { listed };
    };
    if asked.difference(&listed).next().is_some() {
        // Nothing is written meanwhile: one call does all in the next wave.
        return listed.union(&asked).cloned().collect();
    }
    let is = |key: &str| known.get(key).map(|value| &**value).or(default(of, key));
    let differs = |(key, to): &(&Arc<str>, &str)| is(key) != Some(*to);
    // One that was read and is not there was never set.
    let resets: Vec<(&Arc<str>, &str)> = listed
        .difference(&asked)
        .filter(|key| known.contains_key(*key))
        .filter_map(|key| Some((key, default(of, key)?)))
        .filter(differs)
        .collect();
    let keeps_all = resets.is_empty();
    let wanted = wanted.iter().map(|(key, value)| (key, &**value));
    let write: Vec<(&Arc<str>, &str)> = resets.into_iter().chain(wanted.filter(differs)).collect();
    if !write.is_empty() {
        let reasons = write.iter().map(|(key, to)| {
            let from = format!("{key}={}", is(key).unwrap_or_default());
            Reason::new("attribute", from, format!("{key}={to}"))
        });
        let change = Change::new(Action::Change, object.kind(), id.clone(), "attributes")
            .because(reasons.collect());
        let attributes = write
            .into_iter()
            .map(|(key, value)| (key.clone(), value.into()))
            .collect();
        plan.step(Step::SetAttributes { object, attributes }, change);
    }
    if keeps_all { asked } else { listed }
}
