//! 8.6: many Services at once, and what Azure answers.

use std::time::Duration;

use evenkeel_azure::errors::{self, Access, Answer};
use evenkeel_core::{error::ErrorClass, intent::Scheme};
use serde_json::json;

use super::{rig::*, stage::*};

const PUBLIC: Scheme = Scheme::InternetFacing;

fn many(count: u32) -> Vec<Asking> {
    (0..count)
        .map(|number| web().named(&format!("web{number:03}"), number))
        .collect()
}

#[test]
fn row_105_forty_at_once() {
    let mut world = World::new();
    let all = many(40);
    for one in &all {
        world.ask(one);
    }
    world.settle();
    assert_eq!(world.count("PUT ip"), 40);
    assert!(
        world.count("PUT lb") <= 3 && world.count("PUT nsg") <= 3,
        "{:?}",
        world.log
    );
    assert!(all.iter().all(|one| !world.status(one).is_empty()));
}

#[test]
fn a_hundred_internal_ones_are_one_write_and_an_event_that_changes_nothing_is_none() {
    let all: Vec<_> = many(100).into_iter().map(Asking::internal).collect();
    let mut world = World::new();
    for one in &all {
        world.ask(one);
    }
    world.settle();
    assert_eq!(world.log, ["PUT lb/internal"]);
    assert!(all.iter().all(|one| !world.status(one).is_empty()));
    for one in &all {
        world.ask(one);
    }
    world.restart();
    world.settle();
    assert_eq!(world.log.len(), 1, "{:?}", world.log);
}

#[test]
fn three_hundred_that_come_in_three_batches_are_three_writes() {
    let all = many(300);
    let mut world = World::new();
    for batch in all.chunks(100) {
        for one in batch {
            world.ask(one);
        }
        world.settle();
    }
    assert!(all.iter().all(|one| !world.status(one).is_empty()));
    let writes = (
        world.count("PUT ip"),
        world.count("PUT lb"),
        world.count("PUT nsg"),
    );
    assert_eq!(writes, (300, 3, 3));
}

#[test]
fn row_106_one_of_them_is_refused_by_name() {
    let all = many(40);
    let bad = &all[17];
    let named = |base: &str| {
        error(
            "InvalidRequestFormat",
            &format!("Cannot parse /x/loadBalancingRules/{base}-TCP-80-v4."),
        )
    };
    let mut world = World::new();
    world
        .faults
        .push_back(("PUT lb", Fault::Answer(400, named(&bad.base()))));
    for one in &all {
        world.ask(one);
    }
    world.settle();
    let ready = all
        .iter()
        .filter(|one| !world.status(one).is_empty())
        .count();
    assert_eq!((ready, world.failures(bad).len()), (39, 1));
    assert_eq!(world.failures(bad)[0].class, ErrorClass::Rejected);
    assert!(world.count("PUT lb") <= 3, "{:?}", world.log);
}

#[test]
fn one_that_nobody_names_is_found_by_halving_and_its_neighbours_go_through() {
    let all = many(16);
    let mut world = World::new();
    world.poison = Some(format!("{}-TCP-80-v4", all[5].base()));
    for one in &all {
        world.ask(one);
    }
    world.settle();
    let ready = all
        .iter()
        .filter(|one| !world.status(one).is_empty())
        .count();
    assert_eq!(ready, 15, "{:?}", world.log);
    assert!(world.count("PUT lb") <= 10, "{:?}", world.log);
    assert_eq!(world.failures(&all[5])[0].class, ErrorClass::Rejected);
}

#[test]
fn row_107_somebody_else_wrote_in_between() {
    let mut world = made(&web());
    world.meanwhile = Some(Box::new(|live| {
        let text = live.get_mut(&PUBLIC).expect("it is there");
        let mut body: serde_json::Value =
            serde_json::from_str(text.as_deref().expect("it is there")).expect("it is JSON");
        body["etag"] = "W/\"theirs\"".into();
        let frontends = body["properties"]["frontendIPConfigurations"]
            .as_array_mut()
            .expect("frontends");
        frontends
            .push(json!({ "name": "theirs", "properties": { "publicIPAddress": { "id": "/x" } } }));
        *text = Some(body.to_string());
    }));
    let other = web().named("other", 2);
    world.ask(&other).settle();
    assert!(!world.status(&other).is_empty() && !world.status(&web()).is_empty());
    assert!(world.value(PUBLIC).to_string().contains("theirs"));
    assert_eq!(world.count("PUT lb"), 3);
}

#[test]
fn row_108_a_write_that_another_superseded() {
    let superseded = error("CanceledAndSupersededDueToAnotherOperation", "Superseded.");
    let mut world = World::new();
    world
        .faults
        .push_back(("PUT lb", Fault::Answer(200, superseded)));
    world.ask(&web()).settle();
    assert_eq!(world.status(&web()), ["20.50.1.10"]);
    assert_eq!(world.count("PUT lb"), 2);
}

#[test]
fn open_109_throttled_for_seventeen_seconds() {
    let mut answer = Answer::read(429, &error("TooManyRequests", "Slow down.").to_string());
    answer.after = Some(Duration::from_secs(17));
    let error = errors::from_answer("PUT loadBalancers", Access::Write, answer);
    let after = Some(Duration::from_secs(17));
    assert_eq!(error.class, ErrorClass::Throttled { after });
}

#[test]
fn row_110_an_address_that_is_not_provisioned_yet() {
    let body = json!({ "error": { "code": "RetryableError", "message": "Try again.", "details": [
        { "code": "ReferencedResourceNotProvisioned", "message": "publicIPAddresses/x is not provisioned." }] } });
    let mut world = World::new();
    world.faults.push_back(("PUT lb", Fault::Answer(429, body)));
    world.ask(&web()).settle();
    // What failed is mended by writing it again.
    for ip in world.ips.values_mut() {
        ip.phase = evenkeel_azure::model::Phase::Failed;
    }
    world.later().later();
    assert_eq!(world.status(&web()), ["20.50.1.10"]);
    assert_eq!(
        (world.count("PUT ip"), world.count("PUT lb")),
        (2, 2),
        "{:?}",
        world.log
    );
}

#[test]
fn row_111_no_more_addresses() {
    let body = json!({ "status": "Failed", "error": { "code": "PublicIPCountLimitReached", "message": "Too many." } });
    let mut world = World::new();
    world.faults.push_back(("PUT ip", Fault::Answer(200, body)));
    world.ask(&web()).settle();
    assert_eq!(world.failures(&web())[0].class, ErrorClass::Quota);
    assert_eq!(world.count("PUT lb"), 0);
}

#[test]
fn row_112_an_address_that_cannot_go_yet() {
    let held = error("PublicIPAddressCannotBeDeleted", "In use.");
    let mut world = made(&web());
    for _ in 0..2 {
        world
            .faults
            .push_back(("DELETE ip", Fault::Answer(400, held.clone())));
    }
    world.delete(&web()).settle();
    assert_eq!(world.failures(&web())[0].class, ErrorClass::Transient);
    assert_eq!(world.ips.len(), 1, "its finalizer stays");
    world.later();
    assert_eq!(world.ips.len(), 1);
    world.later();
    assert_eq!((world.ips.len(), world.failures(&web()).len()), (0, 0));
}

#[test]
fn row_113_a_load_balancer_that_is_gone_already() {
    let mut world = made(&web());
    world.balancers.insert(PUBLIC, None);
    for ip in world.ips.values_mut() {
        ip.attached = None;
    }
    world.restart();
    world.delete(&web()).settle();
    assert_eq!(
        (
            world.ips.len(),
            world.count("PUT lb"),
            world.count("DELETE lb")
        ),
        (0, 1, 0)
    );
    assert!(world.security.contains(r#""securityRules":[]"#));
}

#[test]
fn row_114_who_may_not_write_the_load_balancer() {
    let denied = error(
        "AuthorizationFailed",
        "The client 'x' does not have authorization to perform action 'Microsoft.Network/loadBalancers/delete' over scope '/x' or the scope is invalid.",
    );
    let mut world = made(&web());
    world
        .faults
        .push_back(("DELETE lb", Fault::Answer(403, denied)));
    world.delete(&web()).settle();
    let failed = world.failures(&web());
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0].class, ErrorClass::Denied);
    assert!(
        failed[0]
            .message
            .contains("Microsoft.Network/loadBalancers/delete")
    );
    assert_eq!(world.ips.len(), 1, "nothing that depends on it goes");
}

#[test]
fn a_lost_answer_is_looked_at_anew_and_nothing_is_written_twice() {
    let mut world = World::new();
    world.faults.push_back(("PUT lb", Fault::Lost));
    world.ask(&web()).settle();
    assert_eq!(world.status(&web()), ["20.50.1.10"]);
    assert_eq!(world.count("PUT lb"), 1);
}
