//! What the account has no room for: refused before anything of it is made, and done step by step where both together are too much.

use std::collections::BTreeSet;

use evenkeel_aws::{
    model::{NodeGroup, Object, Rule, RuleProtocol, Source, Step, TargetState, Used},
    predict,
    quotas::{Quota, Quotas},
};
use evenkeel_core::{nodes::NodeSet, plan::Until, problem::reason};

use super::{
    rig::{Asking, OnAws as _, Parts as _, service},
    stage::{Stage, instance, node, nodes},
};

fn one() -> Asking {
    service(&["a:80/TCP>30080"])
}

fn two() -> Asking {
    service(&["a:80/TCP>30080", "b:443/TCP>30443"])
}

fn crossing(asking: Asking) -> Asking {
    asking.aws("attributes", "load_balancing.cross_zone.enabled=true")
}

/// What others have where nothing is near a quota.
fn some() -> Used {
    Used {
        load_balancers: 40,
        begun: 5,
        interfaces: 100,
        target_groups: 100,
        security_groups: 50,
    }
}

#[test]
fn what_the_account_has_no_room_for_is_refused_before_anything_is_made() {
    let full = |used: Used| {
        let mut stage = Stage::of(&two());
        stage.used = Some(used);
        let plan = stage.plan();
        assert_eq!(plan.steps, [], "{used:?}");
        assert!(
            plan.waits
                .iter()
                .any(|wait| matches!(wait.until, Until::After(_)))
        );
        let reasons: BTreeSet<_> = plan
            .refusals
            .iter()
            .map(|refusal| refusal.problem.reason)
            .collect();
        assert_eq!(reasons, [reason::QUOTA_EXCEEDED].into());
        stage.refused()
    };
    for (used, parts) in [
        (
            Used {
                load_balancers: 45,
                ..some()
            },
            [
                "Network Load Balancers per Region (L-69A177A2): \"50\" are there, 1 more",
                "the quota is 50",
                "share a load balancer (evenkeel.dev/group)",
                "set aws-quota load-balancers",
            ],
        ),
        (
            Used {
                interfaces: 1_199,
                ..some()
            },
            [
                "ENIs per VPC (L-23568085): \"1199\" are there, 2 more",
                "the quota is 1200",
                "share a load balancer",
                "set aws-quota interfaces",
            ],
        ),
        (
            Used {
                target_groups: 2_999,
                ..some()
            },
            [
                "Target Groups per Region (L-B22855CB): \"2999\" are there, 2 more",
                "the quota is 3000",
                "Delete what is not needed, or ask AWS",
                "set aws-quota target-groups",
            ],
        ),
        (
            Used {
                security_groups: 2_500,
                ..some()
            },
            [
                "VPC security groups per Region (L-E79EC296): \"2500\" are there, 1 more",
                "the quota is 2500",
                "nothing is made",
                "set aws-quota security-groups",
            ],
        ),
    ] {
        let told = full(used);
        assert_eq!(told.len(), 1, "{told:#?}");
        for part in parts {
            assert!(told[0].contains(part), "{part}: {told:#?}");
        }
    }
    // All of them at once.
    let all = full(Used {
        load_balancers: 50,
        begun: 0,
        interfaces: 1_200,
        target_groups: 3_000,
        security_groups: 2_500,
    });
    assert_eq!(all.len(), 4, "{all:#?}");
}

#[test]
fn up_to_the_quota_and_where_it_was_raised_all_is_made() {
    let last = Used {
        load_balancers: 44,
        begun: 5,
        interfaces: 1_198,
        target_groups: 2_998,
        security_groups: 2_499,
    };
    let over = Used {
        load_balancers: 50,
        ..last
    };
    let raised = Quotas::default().with(Quota::LoadBalancers, 56);
    for (used, quotas) in [(last, Quotas::default()), (over, raised)] {
        let mut stage = Stage::of(&two());
        stage.used = Some(used);
        stage.context.quotas = quotas;
        stage.settle();
        assert_eq!(stage.refused(), Vec::<String>::new());
        assert_eq!(stage.seen.listeners.len(), 2);
    }
}

#[test]
fn who_has_begun_goes_on() {
    let mut stage = Stage::of(&two());
    stage.some_steps(1);
    // Two that have begun, and one place: AWS decides.
    stage.used = Some(Used {
        load_balancers: 49,
        begun: 1,
        ..some()
    });
    stage.settle();
    assert_eq!(stage.seen.listeners.len(), 2);
    // What is there is no matter of room.
    stage.used = Some(Used {
        load_balancers: 90,
        interfaces: 5_000,
        target_groups: 5_000,
        ..some()
    });
    assert_eq!(stage.refused(), Vec::<String>::new());
    assert_eq!(stage.plan().steps, []);
}

#[test]
fn a_port_for_which_there_is_no_target_group_is_told_and_the_others_are_served() {
    let mut stage = Stage::made(&one());
    stage.ask(&service(&[
        "a:80/TCP>30080",
        "b:443/TCP>30443",
        "c:444/TCP>30444",
    ]));
    stage.used = Some(Used {
        target_groups: 2_998,
        ..some()
    });
    let plan = stage.plan();
    let ports: Vec<String> = plan
        .refusals
        .iter()
        .filter_map(|refusal| Some(refusal.port.as_ref()?.1.to_string()))
        .collect();
    assert_eq!(ports, ["444/TCP"]);
    stage.used = Some(Used {
        target_groups: 2_998,
        ..some()
    });
    stage.settle();
    assert_eq!(stage.seen.listeners.len(), 2);
    let told = stage.refused();
    assert!(told[0].contains("\"3000\" are there, 1 more"), "{told:#?}");
}

/// The most targets that ever stood at once behind the load balancer, while a plan is done.
fn settle_within(stage: &mut Stage, most: usize) {
    for wave in 0..30 {
        let steps = stage.plan().steps;
        if steps.is_empty() {
            return;
        }
        // Both are on their way at once: what leaves may be counted as yet.
        let mut coming = 0;
        for planned in &steps {
            match &planned.step {
                Step::Register {
                    target_group,
                    targets,
                } if is_used(stage, target_group) => coming += targets.len(),
                Step::CreateListener(new) => {
                    let group = &stage.seen.target_groups[&new.target_group];
                    coming += group.targets.as_ref().map_or(0, |targets| targets.len());
                }
                _ => {}
            }
        }
        let there: usize = stage
            .seen
            .target_groups
            .iter()
            .filter(|(name, _)| is_used(stage, name))
            .filter_map(|(_, group)| group.targets.as_ref())
            .map(|targets| {
                targets
                    .values()
                    .filter(|state| state.is_registered())
                    .count()
            })
            .sum();
        assert!(there + coming <= most, "wave {wave}: {there} and {coming}");
        stage.wave();
        gone(stage);
    }
    panic!("the plan does not end: {:#?}", stage.plan().steps);
}

fn is_used(stage: &Stage, name: &std::sync::Arc<str>) -> bool {
    let group = &stage.seen.target_groups[name];
    let mut balancers = stage.seen.load_balancers.values();
    balancers.any(|lb| group.load_balancers.contains(&lb.arn))
}

/// Those that drain are gone, and the others were judged.
fn gone(stage: &mut Stage) {
    for group in stage.seen.target_groups.values_mut() {
        let Some(targets) = &mut group.targets else {
            continue;
        };
        targets.retain(|_, state| state.is_registered());
        for state in targets.values_mut() {
            *state = TargetState::Healthy;
        }
    }
}

fn full(asking: &Asking, from: usize, to: usize) -> Stage {
    let mut stage = Stage::of(asking);
    stage.nodes = NodeSet::new((from..=to).map(node).collect());
    settle_within(&mut stage, 500);
    stage
}

#[test]
fn where_it_is_full_what_goes_makes_room_for_what_comes() {
    // Some of the nodes are others; then all of them.
    for others in [5, 500] {
        let mut stage = full(&crossing(one()), 1, 500);
        assert_eq!(stage.targets(80).len(), 500);
        stage.nodes = NodeSet::new((1 + others..=500 + others).map(node).collect());
        settle_within(&mut stage, 500);
        let ids: BTreeSet<_> = stage
            .targets(80)
            .keys()
            .map(|target| target.id.clone())
            .collect();
        assert_eq!(ids.len(), 500);
        assert!(ids.contains(&instance(500 + others)) && !ids.contains(&instance(others)));
    }
}

#[test]
fn where_it_is_full_targets_move_to_another_port_by_parts() {
    let mut stage = full(&crossing(one()), 1, 500);
    stage.ask(&crossing(service(&["a:80/TCP>30090"])));
    settle_within(&mut stage, 500);
    let targets = stage.targets(80);
    assert!(targets.len() == 500 && targets.keys().all(|target| target.port == 30_090));
}

#[test]
fn one_port_more_takes_its_share_from_the_others_first_and_gives_it_back_last() {
    let mut stage = full(&crossing(one()), 1, 500);
    stage.ask(&crossing(two()));
    settle_within(&mut stage, 500);
    assert_eq!(
        (stage.targets(80).len(), stage.targets(443).len()),
        (250, 250)
    );
    stage.ask(&crossing(one()));
    settle_within(&mut stage, 500);
    assert_eq!(stage.targets(80).len(), 500);
    assert_eq!(stage.seen.target_groups.len(), 1);
    // One for another: the old one goes before the new one is listened to.
    stage.ask(&crossing(service(&["b:443/TCP>30443"])));
    settle_within(&mut stage, 500);
    assert_eq!(stage.targets(443).len(), 500);
}

#[test]
fn cross_zone_balancing_comes_when_what_is_too_much_has_left() {
    let mut stage = Stage::of(&one());
    stage.nodes = nodes(900);
    stage.settle();
    assert_eq!(stage.targets(80).len(), 900);
    stage.ask(&crossing(one()));
    let on = |step: &Step| {
        matches!(
            step,
            Step::SetAttributes {
                object: Object::LoadBalancer(_),
                ..
            }
        )
    };
    for _ in 0..10 {
        let wave = stage.wave();
        if wave.is_empty() {
            break;
        }
        let left = stage.targets(80).len();
        assert!(
            left <= 500 || !wave.iter().any(|(step, _)| on(step)),
            "{left}"
        );
        gone(&mut stage);
    }
    assert_eq!(stage.targets(80).len(), 500);
    // And those that it kept out come when it is off.
    stage.ask(&one());
    for _ in 0..10 {
        let before = stage.load_balancer().attributes.clone();
        let crossing = before.is_some_and(|all| {
            all.get("load_balancing.cross_zone.enabled")
                .is_some_and(|on| &**on == "true")
        });
        let wave = stage.wave();
        if wave.is_empty() {
            break;
        }
        let registers = wave
            .iter()
            .any(|(step, _)| matches!(step, Step::Register { .. }));
        assert!(!(crossing && registers), "too early");
    }
    assert_eq!(stage.targets(80).len(), 900);
}

#[test]
fn a_node_more_where_it_is_full_moves_nothing() {
    let mut stage = full(&crossing(one()), 1, 500);
    stage.nodes = nodes(502);
    assert_eq!(stage.plan().steps, []);
    stage.only_tells("500 of 502 nodes are targets");
    // Nobody looks at the targets of a full one to guess who they are.
    stage.followed = Some(nodes(500));
    stage.look_in_bulk();
    let plan = stage.plan();
    assert_eq!(plan.steps, []);
    assert!(
        plan.waits.iter().any(|wait| wait.until == Until::FreshRead),
        "{:#?}",
        plan.waits
    );
}

#[test]
fn a_node_that_fails_gives_its_place_to_another() {
    let mut stage = full(&crossing(one()), 1, 500);
    stage.nodes = nodes(510);
    let failed = instance(7);
    for (target, state) in stage.targets(80) {
        if target.id == failed {
            *state = TargetState::Unhealthy;
        }
    }
    settle_within(&mut stage, 500);
    let targets = stage.targets(80);
    assert!(targets.len() == 500 && targets.keys().all(|target| target.id != failed));
    // Where most are unhealthy it is the Service.
    for state in stage.targets(80).values_mut() {
        *state = TargetState::Unhealthy;
    }
    assert_eq!(stage.plan().steps, []);
}

/// What AWS counts together is counted before it is asked, also where what was to leave could not.
#[test]
fn what_cannot_leave_keeps_out_what_has_no_room_beside_it() {
    let without_leaving = |stage: &mut Stage| {
        for _ in 0..10 {
            let steps = stage.plan().steps.into_iter();
            let steps: Vec<_> = steps
                .filter(|planned| !matches!(planned.step, Step::Deregister { .. }))
                .collect();
            if steps.is_empty() {
                return;
            }
            for planned in steps {
                let effect = predict::predict(&planned.step);
                predict::absorb(&mut stage.seen, effect);
            }
        }
        panic!("the plan does not end: {:#?}", stage.plan().steps);
    };
    let mut stage = full(&crossing(one()), 1, 500);
    stage.ask(&crossing(two()));
    without_leaving(&mut stage);
    assert_eq!(stage.seen.listeners.len(), 1);
    let waits = stage.plan().waits;
    assert!(
        waits
            .iter()
            .any(|wait| wait.what.contains("which AWS counts together")),
        "{waits:#?}"
    );

    let off = |asking: Asking| asking.aws("attributes", "load_balancing.cross_zone.enabled=false");
    let mut stage = Stage::of(&off(one()));
    stage.nodes = nodes(900);
    stage.settle();
    stage.ask(&crossing(one()));
    without_leaving(&mut stage);
    let attributes = stage.load_balancer().attributes.clone().unwrap_or_default();
    let crossing = attributes.get("load_balancing.cross_zone.enabled");
    assert_ne!(crossing.map(|on| &**on), Some("true"));
}

/// Without security groups clients come in by rules of the nodes' own group, where others have theirs.
#[test]
fn a_node_group_without_room_is_told_before_anything_is_made() {
    let open = |asking: Asking| asking.aws("disable-nlb-sg", "true");
    let with = |asking: &Asking, count: i32| {
        let mut stage = Stage::of(asking);
        let rule = |port| Rule {
            protocol: RuleProtocol::Tcp,
            from: port,
            to: port,
            source: Source::Cidr("10.9.0.0/16".parse().expect("a prefix")),
        };
        let theirs = NodeGroup {
            rules: (1..=count).map(rule).collect(),
            ..NodeGroup::default()
        };
        let facts = stage.facts();
        facts.node_groups.insert("sg-nodes".into(), theirs);
        stage
    };
    let full = with(&open(two()), 59);
    assert_eq!(full.plan().steps, []);
    let told = full.refused().join(" | ");
    for part in [
        "\"59\" are in the node group sg-nodes, 2 more",
        "the quota is 60",
        "set aws-quota rules",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    // With room, then a port more than there is room for: what is there is served on.
    let mut stage = with(&open(one()), 59);
    stage.settle();
    assert_eq!(stage.refused(), Vec::<String>::new());
    assert_eq!(stage.seen.listeners.len(), 1);
    stage.ask(&open(two()));
    let words = stage.settle().words().concat();
    assert!(
        !words.iter().any(|step| step.starts_with("OpenNodes")),
        "{words:#?}"
    );
    let told = stage.refused().join(" | ");
    assert!(told.contains("\"60\" are in the node group"), "{told}");
    stage.context.quotas = Quotas::default().with(Quota::Rules, 100);
    stage.settle();
    assert_eq!(stage.refused(), Vec::<String>::new());
    assert_eq!(stage.seen.listeners.len(), 2);
}

#[test]
fn more_certificates_than_a_load_balancer_has_are_refused() {
    let arns = |count: usize| {
        let arn = |number| format!("arn:aws:acm:eu-west-1:123456789012:certificate/{number}");
        (0..count).map(arn).collect::<Vec<_>>().join(",")
    };
    let asking = |count| one().aws("ssl-cert", &arns(count));
    let tls = asking(26).gets().listener(80).tls.clone();
    assert_eq!(tls.expect("TLS").further.len(), 25);
    let told = asking(27).is_refused_for("ssl-cert");
    for part in [
        "\"26\" certificates",
        "25 are left of the 25",
        "L-52964454",
        "set aws-quota certificates",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    // Each listener has its own.
    let both = two().aws("ssl-cert", &arns(14));
    assert!(both.is_refused_for("ssl-cert").contains("\"26\""));
}
