//! What node groups admit beside the NodePorts: before it is needed, for as long as anybody refers to it.

use std::{collections::BTreeSet, sync::Arc};

use evenkeel_aws::model::{
    NodeGroup, Opening, Rule, Step,
    facts::{Instance, node_rules},
};
use evenkeel_core::{plan::Until, ports::Protocol, provider::Want};

use super::{rig::*, stage::*};

fn web() -> Asking {
    service(&["h:80/TCP>30080"])
}

/// Probed at a port that is no NodePort.
fn probed() -> Asking {
    web()
        .aws("healthcheck-protocol", "http")
        .aws("healthcheck-port", "8081")
}

fn admin() -> Opening {
    Opening::port(Protocol::Tcp, 8081)
}

/// The rules of the openings that a node group has.
fn opened(stage: &mut Stage, group: &str) -> Vec<String> {
    let facts = stage.facts();
    let known = facts.node_groups.get(&group.into()).expect("it is known");
    known.openings.iter().map(Rule::to_string).collect()
}

const RULE: &str = "tcp 8081 from sg-back";

#[test]
fn a_health_check_port_that_is_no_node_port_has_an_opening() {
    let openings = |asking: Asking| -> Vec<String> {
        let got = asking.gets().silently();
        let openings = &got.target_group(80).openings;
        openings.iter().map(ToString::to_string).collect()
    };
    assert_eq!(openings(probed()), ["tcp/8081"]);
    for port in ["30080", "32767", "10256", "traffic-port"] {
        assert_eq!(openings(web().aws("healthcheck-port", port)), [""; 0]);
    }
    assert_eq!(openings(web().local(31_000)), [""; 0]);
}

#[test]
fn it_is_open_before_targets_are_registered() {
    let mut stage = Stage::of(&probed());
    let waves = stage.settle().words();
    assert!(
        waves[0].contains(&"OpenNodes tcp/8081 in sg-nodes".to_owned()),
        "{waves:#?}"
    );
    let registers = waves
        .iter()
        .position(|wave| wave.iter().any(|word| word.starts_with("Register")));
    assert_eq!(registers, Some(1), "{waves:#?}");
    assert_eq!(opened(&mut stage, "sg-nodes"), [RULE]);
    assert_eq!(stage.target_group(80).openings(), [admin()].into());
}

#[test]
fn a_cold_cluster_admits_first_and_opens_then() {
    let waves = Stage::cold(&probed()).settle().words();
    let at = |begin: &str| {
        let starts = |word: &String| word.starts_with(begin);
        waves.iter().position(|wave| wave.iter().any(starts))
    };
    let order = ["CreateBackendGroup", "AdmitNodes", "OpenNodes", "Register"].map(at);
    assert!(order.is_sorted() && order[0].is_some(), "{waves:#?}");
    assert!(order[2] < order[3], "{waves:#?}");
}

#[test]
fn a_live_target_group_lists_and_opens_before_and_closes_and_forgets_after() {
    let mut stage = Stage::made(&web());
    stage.ask(&probed());
    assert_eq!(
        stage.settle().words(),
        [
            vec![
                "OpenNodes tcp/8081 in sg-nodes",
                "Tag target group evenkeel.dev/openings=tcp/8081"
            ],
            vec!["SetHealthCheck HTTP 8081 / 200-399 10s/10s/3/3"],
        ]
    );
    stage.ask(&web());
    assert_eq!(
        stage.settle().words(),
        [
            ["SetHealthCheck TCP traffic-port 10s/10s/3/3"],
            ["CloseNodes tcp 8081 from sg-back"],
            ["Tag target group  -evenkeel.dev/openings"],
        ]
    );
    assert_eq!(opened(&mut stage, "sg-nodes"), [""; 0]);
}

#[test]
fn nothing_is_closed_without_a_fresh_look() {
    let mut stage = Stage::made(&probed());
    stage.ask(&web());
    stage.fresh = false;
    assert_eq!(
        stage.settle().words(),
        [["SetHealthCheck TCP traffic-port 10s/10s/3/3"]]
    );
    let waits = stage.plan().waits;
    assert!(
        waits.iter().any(|wait| wait.until == Until::FreshRead),
        "{waits:#?}"
    );
    assert_eq!(opened(&mut stage, "sg-nodes"), [RULE]);
}

#[test]
fn what_another_group_lists_stays() {
    let mut stage = Stage::made(&probed());
    let others: BTreeSet<Opening> = [admin()].into();
    stage.facts().openings.insert("uid-other".into(), others);
    stage.ask(&web());
    assert_eq!(
        stage.settle().words(),
        [
            ["SetHealthCheck TCP traffic-port 10s/10s/3/3"],
            ["Tag target group  -evenkeel.dev/openings"],
        ]
    );
    assert_eq!(opened(&mut stage, "sg-nodes"), [RULE]);
    // Who sees that the other is gone closes it; nobody looks for that alone.
    stage.facts().openings.clear();
    stage.fresh = false;
    assert_eq!(stage.plan().waits, []);
    stage.fresh = true;
    assert_eq!(
        stage.settle().words(),
        [["CloseNodes tcp 8081 from sg-back"]]
    );
}

#[test]
fn one_that_goes_closes_last() {
    let mut stage = Stage::made(&probed());
    let mut shared = stage.clone();
    stage.want = Want::Nothing;
    let waves = stage.settle().words();
    assert_eq!(
        waves.last().expect("waves"),
        &["CloseNodes tcp 8081 from sg-back", "Delete security group"],
        "{waves:#?}"
    );
    let others: BTreeSet<Opening> = [admin()].into();
    shared.facts().openings.insert("uid-other".into(), others);
    shared.want = Want::Nothing;
    shared.settle();
    assert_eq!(opened(&mut shared, "sg-nodes"), [RULE]);
}

#[test]
fn who_begins_to_rely_on_a_rule_that_is_there_says_so() {
    let mut first = Stage::made(&probed());
    let mut second = Stage::of(&probed().named("second"));
    second.seen.facts = Arc::clone(&first.seen.facts);
    let others = first.target_group(80).openings();
    second.facts().openings.insert("uid-of-web".into(), others);
    let waves = second.settle().words();
    assert!(
        waves[0].contains(&"OpenNodes tcp/8081 in sg-nodes".to_owned()),
        "{waves:#?}"
    );
}

#[test]
fn a_node_of_another_group_is_a_target_when_that_is_open_too() {
    let mut stage = Stage::made(&probed());
    let group = Instance::Group {
        group: "sg-others".into(),
        note: None,
    };
    stage.facts().instances.insert(instance(4), group);
    stage.nodes = nodes(4);
    let order = [
        ["AdmitNodes 1"],
        ["OpenNodes tcp/8081 in sg-others"],
        ["Register i-0004:30080"],
    ];
    assert_eq!(stage.clone().settle().words(), order);
    // Also while the Service cannot be read.
    stage.want = Want::Frozen;
    assert_eq!(stage.settle().words(), order);
}

#[test]
fn a_rule_that_somebody_removed_comes_back() {
    let mut stage = Stage::made(&probed());
    let rules = node_rules(&"sg-back".into(), stage.context.node_ports.clone());
    let bare = NodeGroup {
        rules: rules.into_iter().collect(),
        openings: BTreeSet::new(),
    };
    stage.facts().node_groups.insert("sg-nodes".into(), bare);
    assert_eq!(stage.settle().words(), [["OpenNodes tcp/8081 in sg-nodes"]]);
}

#[test]
fn a_rule_that_somebody_made_stays() {
    let mut stage = Stage::of(&probed());
    let steps = stage.clone().settle();
    let rules = steps.steps().find_map(|step| match step {
        Step::OpenNodes { rules, .. } => Some(rules.clone()),
        _ => None,
    });
    let there = NodeGroup {
        rules: rules.expect("it is opened"),
        openings: BTreeSet::new(),
    };
    stage.facts().node_groups.insert("sg-nodes".into(), there);
    stage.settle();
    stage.want = Want::Nothing;
    let waves = stage.settle().words();
    assert!(
        !waves.concat().iter().any(|word| word.starts_with("Close")),
        "{waves:#?}"
    );
}

#[test]
fn given_groups_without_the_backend_group_open_nothing() {
    let waves = Stage::of(&probed().aws("security-groups", "sg-9"))
        .settle()
        .words();
    assert!(
        !waves.concat().iter().any(|word| word.starts_with("Open")),
        "{waves:#?}"
    );
}
