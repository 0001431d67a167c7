//! Attributes: those asked for, and those once set and asked for no more, which go back to AWS's defaults (Decides).
//!
//! An object says in a tag which of its attributes we keep, and a load balancer which of the fields that are set like them. On a
//! live object the tag comes before the attribute and goes after it, so that none is ever set that cannot be found to be reset.
//! What the tag does not name is somebody else's.

use std::{collections::BTreeSet, sync::Arc};

use evenkeel_core::{
    ids::ResourceId,
    intent::Scheme,
    plan::{Action, Change, Plan, Reason},
    problem::{Warning, reason},
};

use crate::{
    desired::attributes::{
        SECONDARY_ADDRESSES, listener_default, load_balancer_default, target_group_default,
    },
    model::{
        AddressType, LoadBalancer, Object, Pairs, SeenLoadBalancer, Step, TargetProtocol,
        TargetType,
    },
    names::{self, field, tag},
};

/// Whether rules shall hold for traffic through PrivateLink: as asked for, or as AWS has it, where the tag says that it is ours to
/// say; None: as it is.
pub(super) fn private_link(wanted: &LoadBalancer, live: &SeenLoadBalancer) -> Option<bool> {
    once(live, field::PRIVATE_LINK).then_some(wanted.private_link_rules.unwrap_or(true))
}

/// The addresses that a live load balancer shall have: as asked for, else AWS's default where others were once asked for.
pub(super) fn address_type(wanted: &LoadBalancer, live: &SeenLoadBalancer) -> AddressType {
    let once = once(live, field::ADDRESS_TYPE).then_some(AddressType::Ipv4);
    wanted.address_type.or(once).unwrap_or(live.address_type)
}

/// Whether a live load balancer shall translate sources with an IPv6 prefix; None: as it does.
pub(super) fn source_nat(wanted: &LoadBalancer, live: &SeenLoadBalancer) -> Option<bool> {
    let plain = address_type(wanted, live) == AddressType::Ipv4;
    let off = plain || once(live, field::SOURCE_NAT);
    wanted.source_nat.or(off.then_some(false))
}

/// Whether the tag lists a field: it was asked for once, and may have been set.
pub(super) fn once(live: &SeenLoadBalancer, field: &str) -> bool {
    names::listed(&live.tags, tag::ATTRIBUTES).contains(field)
}

/// What the tag of a load balancer lists beside its attributes. A field stays there until it is as AWS has it.
pub(super) fn also_kept(
    wanted: &LoadBalancer,
    live: Option<&SeenLoadBalancer>,
) -> impl Iterator<Item = Arc<str>> {
    let still = |field, differs: fn(&SeenLoadBalancer) -> bool| {
        live.is_some_and(|live| differs(live) && once(live, field))
    };
    let asked = [
        (
            field::PRIVATE_LINK,
            wanted.private_link_rules.is_some()
                || still(field::PRIVATE_LINK, |live| {
                    live.private_link_rules == Some(false)
                }),
        ),
        (
            field::ADDRESS_TYPE,
            wanted.address_type == Some(AddressType::Dualstack)
                || still(field::ADDRESS_TYPE, |live| {
                    live.address_type == AddressType::Dualstack
                }),
        ),
        (
            field::SOURCE_NAT,
            wanted.source_nat == Some(true) || still(field::SOURCE_NAT, |live| live.source_nat),
        ),
    ];
    let kept = asked.into_iter().filter(|(_, is_kept)| *is_kept);
    kept.map(|(field, _)| field.into())
}

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
    object: Object,
    id: &ResourceId,
    of: Of,
    (known, tags): (Option<&Pairs>, &Pairs),
    wanted: &Pairs,
) -> BTreeSet<Arc<str>> {
    let listed = names::listed_attributes(tags);
    let asked = kept(wanted);
    let Some(known) = known else {
        // Where none was set the tag comes first; where some were, a bulk look does not tell their values, and a closer one is asked
        // for where these matter.
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
    // AWS takes all attributes of a call or none: one that it would refuse must not hold back the others.
    let wanted = wanted.filter(|(key, to)| {
        let from = is(key).and_then(|from| from.parse::<u32>().ok());
        let shrinks = ***key == *SECONDARY_ADDRESSES && to.parse().ok() < from;
        if shrinks {
            plan.warnings.push(Warning::new(
                reason::INVALID_CONFIGURATION,
                format!(
                    "the attribute {key} stays at {}: AWS lets it only grow. Write that number, or have a new load balancer made.",
                    is(key).unwrap_or_default()
                ),
            ));
        }
        !shrinks
    });
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
