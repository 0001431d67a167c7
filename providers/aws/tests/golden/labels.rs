//! 8.7: targets on nodes that are chosen by their labels.

use std::{collections::BTreeSet, sync::Arc};

use evenkeel_aws::{
    model::{Object, Step, TargetState},
    names::tag,
};
use evenkeel_core::{
    claim::Profile,
    nodes::{Node, NodeLabels, NodeReason, NodeSelector, NodeSet, Placement},
    plan::Until,
    provider::Want,
};

use super::{
    rig::*,
    stage::{Stage, labelled, leaving, node, nodes},
};

const KEY: &str = "target-node-labels";

fn one() -> Asking {
    service(&["a:80/TCP>30080"])
}

fn on(labels: &str) -> Asking {
    one().aws(KEY, labels)
}

/// The nodes 1 and 2 of the pool `edge`, 3 of `core`, and 4 of none.
const POOLS: [(usize, &str); 4] = [
    (1, "pool=edge"),
    (2, "pool=edge"),
    (3, "pool=core"),
    (4, ""),
];

fn pools() -> NodeSet {
    nodes(4).with_labels(labelled(&POOLS))
}

/// A Service on chosen nodes, with all that it asks for.
fn made(labels: &str) -> Stage {
    let mut stage = Stage::of(&on(labels));
    stage.nodes = pools();
    stage.settle();
    stage
}

fn ids(stage: &mut Stage) -> Vec<String> {
    let targets = stage.targets(80).keys();
    targets.map(|target| target.id.to_string()).collect()
}

fn noted(stage: &mut Stage) -> Option<String> {
    let tags = &stage.target_group(80).tags;
    tags.get(tag::NODE_LABELS).map(ToString::to_string)
}

#[test]
fn row_130_the_nodes_with_the_label_are_the_targets() {
    for (labels, want) in [
        ("pool=edge", vec!["i-0001", "i-0002"]),
        ("pool=core", vec!["i-0003"]),
        (" pool = core ,", vec!["i-0003"]),
    ] {
        let mut stage = made(labels);
        assert_eq!(ids(&mut stage), want, "{labels}");
        assert_eq!(stage.told(), Vec::<String>::new());
    }
    let told = on("pool").is_refused_for(KEY);
    assert!(told.contains("key=value"), "{told}");
    for (labels, want) in [("pool", 3), ("pool=", 3), ("pool=edge", 2)] {
        let mut stage = Stage::of(&on(labels).profile(Profile::Ccm).aws("type", "nlb"));
        stage.nodes = pools();
        stage.settle();
        assert_eq!(ids(&mut stage).len(), want, "{labels}");
    }
}

#[test]
fn what_can_be_no_label_is_refused_with_what_may_be_written() {
    for (labels, part) in [
        ("pool=edge one", "\"edge one\" can be no label's value"),
        ("-pool=edge", "\"-pool\" can be no label's name"),
        ("pool=edge,pool=core", "\"pool\" has two values"),
    ] {
        let told = on(labels).is_refused_for(KEY);
        assert!(told.contains(part) && told.contains("Write "), "{told}");
    }
    let told = on("pool=edge,=x").profile(Profile::Ccm).aws("type", "nlb");
    let told = told.problems().to_string();
    assert!(told.contains("pool=edge,=x"), "{told}");
    // A tag of AWS's has 256 characters, and a label is in one of two.
    let domain = format!("{}.example", "x".repeat(63));
    let domain = format!("{domain}.{domain}.{domain}");
    let told = on(&format!("{domain}/{0}={0}", "y".repeat(63))).is_refused_for(KEY);
    assert!(told.contains("too long"), "{told}");
    let many: Vec<String> = (0..6).map(|n| format!("{n}{}=1", "z".repeat(60))).collect();
    assert_eq!(
        on(&many.join(","))
            .gets()
            .target_group(80)
            .nodes
            .keys()
            .count(),
        6
    );
    let many: Vec<String> = (0..13)
        .map(|n| format!("{n}{}=1", "z".repeat(60)))
        .collect();
    let told = on(&many.join(",")).is_refused_for(KEY);
    assert!(told.contains("too long"), "{told}");
}

#[test]
fn a_new_load_balancer_costs_no_write_more() {
    let mut plain = Stage::of(&one());
    let mut chosen = Stage::of(&on("pool=edge"));
    chosen.nodes = pools();
    assert_eq!(plain.settle().count(), chosen.settle().count());
    assert_eq!(noted(&mut chosen).as_deref(), Some("pool=edge"));
    assert_eq!(noted(&mut plain), None);
    let looks = |stage: &Stage| stage.plan().node_labels;
    assert_eq!(looks(&plain), BTreeSet::new());
    assert_eq!(looks(&chosen), BTreeSet::from(["pool".into()]));
}

#[test]
fn another_choice_adds_then_removes_and_is_noted() {
    let mut stage = Stage::made(&one());
    stage.nodes = pools();
    stage.settle();
    assert_eq!(ids(&mut stage).len(), 4);
    let note = |labels: &str| format!("Tag target group {}={labels}", tag::NODE_LABELS);
    stage.ask(&on("pool=edge"));
    assert_eq!(
        stage.settle().words(),
        [
            vec!["Deregister i-0003:30080 i-0004:30080".to_owned()],
            vec![note("pool=edge")]
        ]
    );
    stage.ask(&on("pool=core"));
    assert_eq!(
        stage.settle().words(),
        [
            vec!["Register i-0003:30080".to_owned()],
            vec!["Deregister i-0001:30080 i-0002:30080".to_owned()],
            vec![note("pool=core")]
        ]
    );
    stage.ask(&one());
    assert_eq!(
        stage.settle().words(),
        [
            vec!["Register i-0001:30080 i-0002:30080 i-0004:30080".to_owned()],
            vec![format!("Tag target group  -{}", tag::NODE_LABELS)]
        ]
    );
    assert_eq!(stage.plan().node_labels, BTreeSet::new());
}

#[test]
fn those_that_are_chosen_no_more_leave_when_the_others_were_judged() {
    let mut stage = made("pool=edge");
    stage.ask(&on("pool=core"));
    stage.wave();
    let set = |stage: &mut Stage, to| {
        for (target, state) in stage.targets(80) {
            if &*target.id == "i-0003" {
                *state = to;
            }
        }
    };
    set(&mut stage, TargetState::Initial);
    let plan = stage.plan();
    assert_eq!(plan.steps, []);
    assert_eq!(plan.waits.len(), 1, "{:#?}", plan.waits);
    set(&mut stage, TargetState::Unhealthy);
    assert_eq!(stage.settle().words().len(), 2);
    assert_eq!(ids(&mut stage), ["i-0003"]);
}

#[test]
fn a_node_that_is_labelled_comes_and_one_that_is_relabelled_goes() {
    let mut stage = made("pool=edge");
    stage.nodes = nodes(4).with_labels(labelled(&[(1, "pool=edge"), (3, "pool=edge")]));
    assert_eq!(
        stage.settle().words(),
        [["Register i-0003:30080"], ["Deregister i-0002:30080"]]
    );
    let other = [(1, "pool=edge,x=1"), (2, "x=2"), (3, "pool=edge,x=3")];
    stage.nodes = nodes(4).with_labels(labelled(&other));
    assert_eq!(stage.plan().steps, [], "labels that nobody asked for");
}

#[test]
fn a_choice_of_no_node_empties_nothing_and_is_told() {
    let mut stage = made("pool=edge");
    stage.ask(&on("pool=nobody"));
    stage.settle();
    stage
        .only_tells("no node that can be a target has the labels pool=nobody, so the targets stay");
    assert_eq!(ids(&mut stage), ["i-0001", "i-0002"]);
    // Nor does it when a chosen node vanished with many others and is held.
    let held = Node {
        placement: Placement::KeepIfPresent(NodeReason::HeldByBrake),
        ..node(1)
    };
    stage.nodes = NodeSet::new(vec![held, node(2), node(3)]).with_labels(labelled(&POOLS[2..]));
    assert_eq!(stage.plan().steps, []);
    stage.nodes = pools();
    stage.look_in_bulk();
    stage.only_tells("so the targets stay");

    let mut stage = Stage::of(&on("pool=nobody"));
    stage.nodes = pools();
    stage.settle();
    assert_eq!(ids(&mut stage), Vec::<String>::new());
    assert_eq!(stage.listener(80).target_group.iter().count(), 1);
    stage.only_tells("there is no target and nobody is served");
    stage.nodes = nodes(4).with_labels(labelled(&[(4, "pool=nobody")]));
    assert_eq!(stage.settle().words(), [["Register i-0004:30080"]]);
    // With no node at all it is not the choice that is wrong.
    stage.nodes = NodeSet::new(vec![leaving(4)]).with_labels(labelled(&POOLS));
    assert_eq!(stage.told(), Vec::<String>::new());
    assert_eq!(stage.plan().steps, []);
}

#[test]
fn another_protocol_for_nobody_goes_on_where_it_was() {
    let mut stage = made("pool=edge");
    let udp = service(&["a:80/UDP>30080"]).aws(KEY, "pool=nobody");
    stage.ask(&udp);
    stage.settle();
    assert_eq!(ids(&mut stage), ["i-0001", "i-0002"]);
    stage.look_in_bulk();
    assert_eq!(stage.plan().waits, []);
}

#[test]
fn a_held_node_stays_whatever_its_labels() {
    let mut stage = made("pool=edge");
    let held = Node {
        placement: Placement::KeepIfPresent(NodeReason::HeldByBrake),
        ..node(1)
    };
    stage.nodes = NodeSet::new(vec![held, node(2), node(3)]).with_labels(labelled(&POOLS[1..]));
    assert_eq!(stage.plan().steps, []);
}

#[test]
fn a_service_that_is_rejected_follows_the_nodes_it_chose_last() {
    let mut stage = made("pool=edge");
    stage.want = Want::Frozen;
    assert_eq!(stage.plan().steps, []);
    assert_eq!(stage.plan().node_labels, BTreeSet::from(["pool".into()]));
    stage.nodes = nodes(5).with_labels(labelled(&[(2, "pool=edge"), (5, "pool=edge")]));
    assert_eq!(
        stage.settle().words(),
        [["Register i-0005:30080"], ["Deregister i-0001:30080"]]
    );
    stage.want = Want::Nothing;
    assert_eq!(stage.plan().node_labels, BTreeSet::new());
}

#[test]
fn while_labels_are_not_known_nothing_moves() {
    let mut stage = Stage::of(&on("pool=edge"));
    let known = NodeLabels::of(BTreeSet::from([Arc::from("zone")]), Default::default());
    for nodes in [nodes(4), nodes(4).with_labels(Arc::new(known))] {
        stage.nodes = nodes;
        stage.settle();
        assert_eq!(ids(&mut stage), Vec::<String>::new());
        assert!(
            stage.seen.listeners.is_empty(),
            "there may be targets for it"
        );
        let plan = stage.plan();
        assert!(
            plan.waits.iter().all(|wait| wait.until == Until::Told),
            "{:#?}",
            plan.waits
        );
        assert_eq!(plan.waits.len(), 1, "{:#?}", plan.waits);
        assert_eq!(plan.node_labels, BTreeSet::from(["pool".into()]));
        assert_eq!(plan.warnings, []);
    }
    stage.nodes = pools();
    stage.settle();
    assert_eq!(ids(&mut stage), ["i-0001", "i-0002"]);
    stage.nodes = nodes(4);
    assert_eq!(stage.plan().steps, []);
    // After a restart that found all as it was there is nothing to wait for.
    stage.look_in_bulk();
    assert_eq!((stage.plan().steps, stage.plan().waits), (vec![], vec![]));
}

#[test]
fn a_bulk_look_shows_a_choice_that_was_not_brought_to_its_end() {
    let mut stage = made("pool=edge");
    stage.look_in_bulk();
    stage.followed = Some(pools());
    assert_eq!(stage.plan().waits, []);
    // A node that is labelled is registered without a look.
    stage.nodes = nodes(4).with_labels(labelled(&[
        (1, "pool=edge"),
        (2, "pool=edge"),
        (4, "pool=edge"),
    ]));
    assert_eq!(stage.settle().words(), [["Register i-0004:30080"]]);
    for asking in [on("pool=core"), one()] {
        stage.ask(&asking);
        let plan = stage.plan();
        assert_eq!(plan.steps, []);
        let fresh = |until| until == Until::FreshRead;
        assert!(
            plan.waits.iter().any(|wait| fresh(wait.until)),
            "{:#?}",
            plan.waits
        );
    }
    // Whether anything would be left, only a look tells.
    stage.ask(&on("pool=edge"));
    stage.nodes = nodes(4).with_labels(labelled(&[(3, "pool=edge")]));
    let plan = stage.plan();
    assert_eq!(plan.steps, []);
    assert_eq!(plan.waits.len(), 1, "{:#?}", plan.waits);
}

#[test]
fn only_chosen_nodes_can_be_stranded() {
    // Even nodes stand in the second zone.
    let asking = on("pool=edge").aws("subnets", "s-a");
    let mut stage = Stage::of(&asking);
    stage.nodes = nodes(4).with_labels(labelled(&[(1, "pool=edge"), (3, "pool=edge")]));
    stage.settle();
    assert_eq!(stage.told(), Vec::<String>::new());
    stage.nodes = nodes(4).with_labels(labelled(&[(1, "pool=edge"), (2, "pool=edge")]));
    stage.settle();
    stage.only_tells("get no traffic: 1 in az2");
}

#[test]
fn a_long_choice_is_noted_in_several_tags_and_goes_whole() {
    let label = |n: usize| format!("{n}{}=1", "z".repeat(60));
    let many: Vec<String> = (0..6).map(label).collect();
    let many = many.join(",");
    let mut stage = Stage::of(&on(&many));
    stage.nodes = nodes(2).with_labels(labelled(&[(1, &many)]));
    stage.settle();
    assert_eq!(ids(&mut stage), ["i-0001"]);
    let second = format!("{}.2", tag::NODE_LABELS);
    assert!(stage.target_group(80).tags.contains_key(&*second));
    let read = stage.target_group(80).nodes();
    assert_eq!(read, NodeSelector::of_terms(many.split(',')));
    stage.ask(&on("pool=nobody"));
    let steps: Vec<Step> = stage.settle().steps().cloned().collect();
    let [
        Step::Tag {
            object: Object::TargetGroup(_),
            set,
            remove,
        },
    ] = &*steps
    else {
        panic!("{steps:#?}");
    };
    assert_eq!((set.len(), remove.len()), (1, 1));
}
