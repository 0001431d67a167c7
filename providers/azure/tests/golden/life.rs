//! 8.6, second half: restarts, names, drift, the end.

use evenkeel_azure::{model::Observed, names, predict};
use evenkeel_core::{
    claim::{ClaimRules, leaving},
    ids::ProviderName,
    intent::Scheme,
    provider::Want,
};
use serde_json::json;

use super::{rig::*, stage::*};

const PUBLIC: Scheme = Scheme::InternetFacing;

#[test]
fn row_115_a_restart_between_the_address_and_the_load_balancer() {
    let mut world = World::new();
    world.ask(&web());
    world.run_groups();
    assert_eq!((world.count("PUT ip"), world.count("PUT lb")), (1, 0));
    world.restart();
    world.settle();
    assert_eq!((world.count("PUT ip"), world.count("PUT lb")), (1, 1));
    assert_eq!(world.status(&web()), ["20.50.1.10"]);
}

#[test]
fn row_116_a_service_that_is_made_again_has_objects_of_its_own() {
    let again = web().named("web", 7);
    let mut world = made(&web());
    world.delete(&web()).ask(&again).settle();
    assert_eq!(world.status(&again), ["20.50.1.11"]);
    assert_eq!(world.lines(&web()), [] as [&str; 0]);
    assert_eq!((world.ips.len(), world.count("PUT ip")), (1, 2));
}

#[test]
fn row_117_a_rule_that_was_edited_by_hand() {
    let mut world = made(&web());
    let before = world.lines(&web());
    let mut body = world.value(PUBLIC);
    body["properties"]["loadBalancingRules"][0]["properties"]["idleTimeoutInMinutes"] = 30.into();
    world.put_by_hand(PUBLIC, body);
    let puts = world.count("PUT lb");
    world.settle();
    assert_eq!(world.lines(&web()), before);
    assert_eq!(world.count("PUT lb"), puts + 1);
}

#[test]
fn open_118_a_foreign_rule_of_our_looks_is_untouched() {
    let mut world = made(&web());
    let mut body = world.value(PUBLIC);
    let stranger = web().named("gone", 9);
    let theirs = json!({ "name": format!("{}-TCP-1-v4", stranger.base()), "properties": { "frontendPort": 1 } });
    let of_peer = json!({ "name": "a0123456789abcdef0123456789abcde-TCP-1", "properties": { "frontendPort": 2 } });
    let rules = body["properties"]["loadBalancingRules"]
        .as_array_mut()
        .expect("rules");
    rules.extend([theirs.clone(), of_peer.clone()]);
    world.put_by_hand(PUBLIC, body);
    world.ask(&web().named("other", 2)).settle();
    world.delete(&web()).settle();
    let body = world.value(PUBLIC);
    let rules = body["properties"]["loadBalancingRules"]
        .as_array()
        .expect("rules");
    assert!(rules.contains(&theirs) && rules.contains(&of_peer));
}

#[test]
fn row_119_a_service_that_asks_for_no_load_balancer_any_more() {
    let rules = ClaimRules::new([ProviderName::from(evenkeel_azure::NAME)]);
    let mut service = web().spec("type", json!("ClusterIP")).service();
    service.metadata.finalizers = Some(vec!["evenkeel.dev/azure".to_owned()]);
    assert_eq!(leaving(&service, &rules), [ProviderName::from("azure")]);
    let mut world = made(&web());
    world.delete(&web()).settle();
    assert_eq!(world.lines(&web()), [] as [&str; 0]);
    assert_eq!(
        (world.ips.len(), world.balancers[&PUBLIC].is_some()),
        (0, false)
    );
    let key = web().group().key;
    let (seen, plan) = world.plan_of(&key);
    assert_eq!(
        (
            seen.len(&cluster().uid, &key),
            plan.steps.len(),
            plan.waits.len()
        ),
        (0, 0, 0)
    );
}

#[test]
fn row_120_no_room_for_another_rule() {
    let context = evenkeel_azure::Context {
        limits: evenkeel_azure::Limits {
            rules: 3,
            ..Default::default()
        },
        ..context()
    };
    let mut world = World::of(context);
    for number in 0..3 {
        world.ask(&web().named(&format!("web{number}"), number));
    }
    world.settle();
    let puts = world.count("PUT lb");
    world.ask(&web()).settle();
    assert!(
        world.refusals(&web())[0].contains("of which 0 are left"),
        "{:?}",
        world.refusals(&web())
    );
    assert_eq!(world.count("PUT lb"), puts);
    // All at once: what the writer counts is what there is.
    let mut world = World::of((*world.context).clone());
    for number in 0..5 {
        world.ask(&web().named(&format!("web{number}"), number));
    }
    world.settle();
    let ready = (0..5)
        .filter(|number| {
            !world
                .status(&web().named(&format!("web{number}"), *number))
                .is_empty()
        })
        .count();
    assert_eq!((ready, world.count("PUT lb")), (3, 1), "{:?}", world.log);
}

#[test]
fn nothing_is_said_to_be_gone_while_a_claim_is_on_its_way() {
    let mut world = World::new();
    world.ask(&web());
    world.run_groups();
    let key = web().group().key;
    let write = world.desks.get_mut(&PUBLIC).expect("both").turn();
    world.want(key.clone(), Want::Nothing);
    let (_, plan) = world.plan_of(&key);
    assert_eq!(plan.steps.len(), 1, "the claim is called back");
    world.run_groups();
    let (seen, plan) = world.plan_of(&key);
    assert!(seen.balancers[&PUBLIC].part.is_empty(), "nothing is live");
    assert_eq!((plan.steps.len(), plan.waits.len()), (0, 1), "{plan:#?}");
    world.finish(PUBLIC, write);
    world.settle();
    let writes = (world.count("PUT lb"), world.count("DELETE lb"));
    assert_eq!((world.ips.len(), writes), (0, (1, 1)));
    // One that is not in a write yet is called back without any.
    let mut world = World::new();
    world.ask(&web());
    world.run_groups();
    world.delete(&web()).settle();
    assert_eq!((world.ips.len(), world.count("PUT lb")), (0, 0));
}

#[test]
fn half_compiled_after_a_restart_and_one_of_them_rejected_no_write_lacks_a_live_rule() {
    let all: Vec<_> = (0..10)
        .map(|number| web().named(&format!("web{number}"), number))
        .collect();
    let mut world = World::new();
    for one in &all {
        world.ask(one);
    }
    world.settle();
    let rules = world.value(PUBLIC)["properties"]["loadBalancingRules"].clone();
    // A new leader knows five of them, one of those is rejected, and nodes have changed.
    world.groups.clear();
    world.restart();
    for one in &all[..4] {
        world.ask(one);
    }
    world.want(all[4].group().key, Want::Frozen);
    world.nodes = nodes(3);
    let new = web().named("new", 99);
    world.ask(&new).settle();
    let after = world.value(PUBLIC)["properties"]["loadBalancingRules"].clone();
    for rule in rules.as_array().expect("rules") {
        assert!(after.as_array().expect("rules").contains(rule), "{rule}");
    }
    assert_eq!(world.pool(PUBLIC).len(), 3);
    assert_eq!(after.as_array().map(Vec::len), Some(11));
}

#[test]
fn a_member_of_a_group_that_cannot_be_read_keeps_its_rules() {
    let member = |name: &str, number| {
        web()
            .named(name, number)
            .annotated("evenkeel.dev/group", "edge")
    };
    let a = member("a", 1).spec(
        "ports",
        json!([{ "name": "a", "port": 81, "protocol": "TCP", "nodePort": 31081 }]),
    );
    let b = member("b", 2);
    let mut group = a.group();
    group.members.push(b.intent());
    let mut world = World::new();
    world.ask_group(&group).settle();
    let before = world.value(PUBLIC);
    let mut half = group.clone();
    half.unknown = vec![half.members.remove(1).service];
    world.ask_group(&half).settle();
    assert_eq!(world.value(PUBLIC), before);
    world
        .want(
            group.key.clone(),
            Want::FrozenWithout([b.intent().service.uid].into()),
        )
        .settle();
    let key = group.key;
    let gone = names::member(&cluster(), &key, &b.intent().service.uid);
    assert!(!world.value(PUBLIC).to_string().contains(&gone));
    let gone = names::member(&cluster(), &key, &a.intent().service.uid);
    assert!(world.value(PUBLIC).to_string().contains(&gone));
}

/// What plan and foretold effects come to, from what is there now; and how many steps that takes.
fn rehearse(world: &mut World, asking: &Asking) -> (Observed, usize) {
    let key = asking.group().key;
    let mut seen = world.observe(&key);
    let mut steps = 0;
    for wave in 0.. {
        assert!(wave < 20, "it does not settle");
        let plan = world.plan_on(&key, &seen);
        if plan.steps.is_empty() {
            assert_eq!((plan.waits, plan.refusals), (vec![], vec![]));
            return (seen, steps);
        }
        for planned in plan.steps {
            steps += 1;
            let effect = predict::predict(&planned.step, &seen);
            predict::absorb(&mut seen, effect);
        }
    }
    unreachable!("it settles")
}

#[test]
fn a_rehearsal_settles_on_what_is_done() {
    let both = web().families(&["IPv4", "IPv6"]);
    for (before, after) in [
        (None, web()),
        (None, web().internal()),
        (
            None,
            both.clone().internal().ranges(&["10.0.0.0/8", "fd00::/8"]),
        ),
        (Some(web()), both.clone()),
        (Some(web()), web().node_ports().az("pip-tags", "a=b")),
        (Some(web().local(32001)), web()),
        (
            Some(web()),
            web().az("disable-load-balancer-nsg-rule", "true"),
        ),
    ] {
        let mut world = World::new();
        if let Some(before) = &before {
            world.ask(before).settle();
        }
        world.ask(&after);
        let (foretold, steps) = rehearse(&mut world, &after);
        world.settle();
        let key = after.group().key;
        let seen = world.observe(&key);
        assert!(steps > 0);
        for (scheme, side) in &seen.balancers {
            let part = &foretold.balancers[scheme].part;
            assert!(part.is(&side.part), "{part}\n{}", side.part);
            assert_eq!(foretold.balancers[scheme].members, side.members);
        }
        let rules = |seen: &Observed| {
            seen.security
                .as_ref()
                .map(|seen| seen.access.rules.keys().cloned().collect::<Vec<_>>())
        };
        assert_eq!(rules(&foretold), rules(&seen));
        assert_eq!(
            foretold.public_ips.keys().collect::<Vec<_>>(),
            seen.public_ips.keys().collect::<Vec<_>>()
        );
        world.delete(&after);
        let (foretold, _) = rehearse(&mut world, &after);
        assert_eq!(foretold.len(&cluster().uid, &key), 0);
    }
}
