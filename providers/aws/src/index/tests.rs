//! Looks and our own writes, as the index puts them together.

use std::time::{Duration, Instant};

use evenkeel_core::ids::ResourceId;

use super::*;
use crate::{
    SWEEP,
    model::{Marks, Told, step::NewTargetGroup},
    names,
};

fn created(name: &str) -> Effect {
    let marks = Marks {
        cluster: "uid".into(),
        group: "uid-shop".into(),
        service: "shop/shop".into(),
        member: "uid-shop".into(),
        id: ResourceId::new("tg/TCP/80"),
        retain: false,
    };
    let health_check = crate::model::HealthCheck {
        protocol: crate::model::ProbeProtocol::Tcp,
        port: crate::model::ProbePort::Traffic,
        path: None,
        matcher: None,
        interval: 10,
        timeout: 10,
        healthy: 3,
        unhealthy: 3,
    };
    let new = NewTargetGroup {
        name: name.into(),
        protocol: crate::model::TargetProtocol::Tcp,
        port: 30_080,
        target_type: crate::model::TargetType::Instance,
        family: evenkeel_core::net::IpFamily::V4,
        health_check,
        tags: names::tags("c1", &marks),
        marks,
    };
    Effect {
        step: Step::CreateTargetGroup(Box::new(new)),
        told: Told::Created {
            id: CloudId::new(format!("arn:{name}")),
            dns_name: None,
        },
    }
}

fn deleted(name: &str) -> Effect {
    Effect {
        step: Step::Delete(Object::TargetGroup(name.into())),
        told: Told::Nothing,
    }
}

fn names_of(index: &Index) -> Vec<Arc<str>> {
    let state = index.state();
    let groups = state.groups.values();
    groups
        .flat_map(|group| group.target_groups.keys().cloned())
        .collect()
}

#[test]
fn our_writes_are_known_without_a_look() {
    let index = Index::default();
    index.learn("uid-shop", &created("ek-a"));
    assert_eq!(names_of(&index), ["ek-a".into()]);
    let known = index.state().groups["uid-shop"].clone();
    assert_eq!(
        known.target_groups["ek-a"].targets, None,
        "a bulk look has no targets"
    );
    index.learn("uid-shop", &deleted("ek-a"));
    assert!(
        index.state().groups.is_empty(),
        "what is empty is forgotten"
    );
}

#[test]
fn targets_and_facts_are_not_its_to_keep() {
    let index = Index::default();
    index.learn("uid-shop", &created("ek-a"));
    let register = Effect {
        step: Step::Register {
            target_group: "ek-a".into(),
            targets: [crate::model::Target {
                id: "i-1".into(),
                port: 30_080,
            }]
            .into(),
        },
        told: Told::Nothing,
    };
    index.learn("uid-shop", &register);
    let state = index.state();
    let group = &state.groups["uid-shop"].target_groups["ek-a"];
    assert!(group.targets.is_none() && group.since.is_empty());
}

/// A look that began before a write may not show it, and may show what was deleted since.
#[test]
fn a_look_does_not_undo_what_was_written_meanwhile() {
    let index = Index::default();
    index.learn("uid-shop", &created("ek-old"));
    let began = Instant::now();
    index.state().since = Some(Vec::new());
    index.learn("uid-shop", &created("ek-new"));
    index.learn("uid-shop", &deleted("ek-old"));
    let mut state = index.state();
    let since = state.since.take().expect("a look lasts");
    state.install(Look::empty("uid"), began);
    assert!(state.groups.is_empty(), "the look saw nothing");
    for (group, effect) in since {
        state.absorb(&group, effect);
    }
    drop(state);
    assert_eq!(names_of(&index), ["ek-new".into()]);
}

#[test]
fn when_a_look_is_needed() {
    let index = Index::default();
    assert!(index.state().needs_look(SWEEP), "nothing is known");
    index.state().install(Look::empty("uid"), Instant::now());
    assert!(!index.state().needs_look(SWEEP));
    index.doubt();
    assert!(index.state().needs_look(SWEEP), "a write's fate is unknown");
    // A look that began before the doubt does not take it away.
    let before = index.state().doubted_at.expect("doubted") - Duration::from_millis(1);
    index.state().install(Look::empty("uid"), before);
    assert!(index.state().needs_look(SWEEP));
    index.state().install(
        Look::empty("uid"),
        Instant::now() + Duration::from_millis(1),
    );
    assert!(!index.state().needs_look(SWEEP));
    let Some(old) = Instant::now().checked_sub(SWEEP) else {
        return;
    };
    index.state().doubted_at = None;
    index.state().install(Look::empty("uid"), old);
    assert!(index.state().needs_look(SWEEP), "too old");
}

/// Until it is deleted, or nobody knows.
#[test]
fn what_was_just_made_is_remembered_beside_what_looks_show() {
    let index = Index::default();
    let object = |name: &str| Object::TargetGroup(name.into());
    index.learn("uid-shop", &created("ek-a"));
    index.learn("uid-shop", &created("ek-b"));
    index
        .state()
        .install(Look::empty("uid"), Instant::now() + Duration::from_secs(1));
    assert!(names_of(&index).is_empty(), "the look is late");
    let made = index.just_made("uid-shop");
    assert!(made.has(&object("ek-a")) && made.has(&object("ek-b")));
    assert!(index.just_made("uid-other").is_empty());
    assert!(index.is_unproven("uid-shop", &object("ek-a")));
    index.learn("uid-shop", &deleted("ek-a"));
    assert!(!index.just_made("uid-shop").has(&object("ek-a")));
    index.is_not_just_made("uid-shop", &object("ek-b"));
    assert!(index.just_made("uid-shop").is_empty());
}
