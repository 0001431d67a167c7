//! 8.7: targets and nodes.

use std::{collections::BTreeMap, sync::Arc};

use evenkeel_aws::{
    NODE_RULES,
    model::{Effect, Step, TargetState, Told},
    predict,
};
use evenkeel_core::{
    error::ErrorClass,
    ids::NodeName,
    nodes::{Node, NodeFacts, NodeReason, NodeSet, Placement, node_set},
    plan::Until,
};
use serde::Deserialize as _;
use serde_json::{Value, json};

use super::{
    rig::*,
    stage::{Stage, instance, leaving, node, nodes},
};

fn one() -> Asking {
    service(&["a:80/TCP>30080"])
}

/// The nodes of a cluster, as the controller reads them.
fn read(nodes: &[Value]) -> NodeSet {
    let facts = nodes.iter().map(|node| {
        let node = k8s_openapi::api::core::v1::Node::deserialize(node).expect("a Node");
        NodeFacts::from_resource(&node)
    });
    node_set(facts, &NODE_RULES)
}

fn plain_node(name: &str, provider_id: &str) -> Value {
    json!({ "metadata": { "name": name }, "spec": { "providerID": provider_id } })
}

fn tainted(name: &str, key: &str, effect: &str) -> Value {
    json!({
        "metadata": { "name": name },
        "spec": {
            "providerID": format!("aws:///az1/i-{name}"),
            "taints": [{ "key": key, "effect": effect }],
        },
    })
}

/// The ids of the instances that get traffic.
fn targets(nodes: NodeSet) -> Vec<String> {
    let mut stage = Stage::of(&one());
    stage.nodes = nodes;
    stage.settle();
    ids(&mut stage)
}

fn ids(stage: &mut Stage) -> Vec<String> {
    let targets = stage.targets(80).keys();
    targets.map(|target| target.id.to_string()).collect()
}

#[test]
fn row_124_instance_ids_end_provider_ids() {
    let nodes = read(&[
        plain_node("a", "aws:///eu-west-1a/i-1"),
        plain_node("b", "aws:////i-2"),
    ]);
    assert_eq!(targets(nodes), ["i-1", "i-2"]);
}

#[test]
fn row_125_a_node_without_an_instance_id_keeps_no_other_out() {
    let nodes = read(&[
        plain_node("a", "aws:///az1/i-1"),
        plain_node("b", "aws:///az1/i-2"),
        plain_node("c", ""),
        plain_node("d", "aws:///az1/i-4"),
        plain_node("e", "aws:///az1/i-5"),
    ]);
    assert_eq!(targets(nodes), ["i-1", "i-2", "i-4", "i-5"]);
    let mut stage = Stage::of(&one());
    stage.nodes = read(&[
        plain_node("a", "aws:///az1/i-1"),
        plain_node("hybrid", "aws:///eu-west-1/mi-2"),
    ]);
    let told = stage.told().join(" | ");
    assert!(
        told.contains("no EC2 instances get no traffic: hybrid"),
        "{told}"
    );
    stage.settle();
    assert_eq!(ids(&mut stage), ["i-1"]);
}

#[test]
fn row_126_a_label_that_says_false_excludes_nothing() {
    let labelled = |name: &str, value: &str| {
        let mut node = plain_node(name, &format!("aws:///az1/i-{name}"));
        node["metadata"]["labels"] =
            json!({ "node.kubernetes.io/exclude-from-external-load-balancers": value });
        node
    };
    let nodes = read(&[
        labelled("1", "false"),
        labelled("2", ""),
        labelled("3", "true"),
    ]);
    assert_eq!(targets(nodes), ["i-1"]);
}

#[test]
fn row_127_a_disrupted_node_is_no_target() {
    let nodes = read(&[
        tainted("1", "karpenter.sh/disrupted", "NoExecute"),
        tainted("2", "karpenter.sh/disrupted", "NoSchedule"),
    ]);
    assert_eq!(targets(nodes), ["i-1"]);
}

#[test]
fn row_128_a_cordoned_node_is_a_target() {
    let mut cordoned = plain_node("1", "aws:///az1/i-1");
    cordoned["spec"]["unschedulable"] = json!(true);
    assert_eq!(targets(read(&[cordoned])), ["i-1"]);
}

#[test]
fn row_129_nodes_that_nobody_hears_of_stay_targets() {
    let silent = |name: &str| {
        let mut node = plain_node(name, &format!("aws:///az1/i-{name}"));
        node["status"] = json!({ "conditions": [{ "type": "Ready", "status": "Unknown" }] });
        node
    };
    assert_eq!(targets(read(&[silent("1"), silent("2")])), ["i-1", "i-2"]);
}

#[test]
fn a_target_group_is_never_emptied() {
    let mut stage = Stage::made(&one());
    for nodes in [
        NodeSet::empty(),
        NodeSet::new((1..=3).map(leaving).collect()),
    ] {
        stage.nodes = nodes;
        assert_eq!(stage.plan().steps, []);
    }
    // When others come the old ones leave after them.
    stage.nodes = NodeSet::new(vec![leaving(1), leaving(2), node(4), node(5)]);
    assert_eq!(
        stage.settle().words(),
        [
            ["Register i-0004:30080 i-0005:30080"],
            ["Deregister i-0001:30080 i-0002:30080 i-0003:30080"]
        ]
    );
}

#[test]
fn a_node_that_is_about_to_leave_stays_where_it_is_and_comes_nowhere_else() {
    let keeps = |number| Node {
        placement: Placement::KeepIfPresent(NodeReason::MarkedByAutoscaler),
        ..node(number)
    };
    let mut stage = Stage::made(&one());
    stage.nodes = NodeSet::new(vec![node(1), node(2), keeps(3), keeps(4)]);
    assert_eq!(stage.plan().steps, []);
}

#[test]
fn a_node_costs_one_write_per_target_group() {
    let mut stage = Stage::made(&service(&["a:80/TCP>30080", "b:443/TCP>30443"]));
    stage.nodes = nodes(4);
    assert_eq!(
        stage.settle().words(),
        [["Register i-0004:30080", "Register i-0004:30443"]]
    );
    stage.nodes = nodes(2);
    assert_eq!(
        stage.settle().words(),
        [[
            "Deregister i-0003:30080 i-0004:30080",
            "Deregister i-0003:30443 i-0004:30443"
        ]]
    );
}

#[test]
fn a_node_whose_group_is_not_known_is_admitted_once() {
    let mut stage = Stage::made(&service(&["a:80/TCP>30080", "b:443/TCP>30443"]));
    stage.facts().instances.remove(&instance(4));
    stage.nodes = nodes(4);
    assert_eq!(
        stage.settle().words(),
        [
            vec!["AdmitNodes 1"],
            vec!["Register i-0004:30080", "Register i-0004:30443"]
        ]
    );
    // Who sees it first has it done, also while the Service cannot be read.
    stage.facts().instances.remove(&instance(5));
    stage.nodes = nodes(5);
    stage.want = evenkeel_core::provider::Want::Frozen;
    assert_eq!(stage.settle().words()[0], ["AdmitNodes 1"]);
}

#[test]
fn after_a_bulk_look_a_node_that_comes_costs_one_write_and_no_read() {
    let mut stage = Stage::made(&one());
    stage.look_in_bulk();
    for number in [4, 5] {
        stage.followed = Some(nodes(number - 1));
        stage.nodes = nodes(number);
        assert_eq!(stage.plan().waits, []);
        let register = format!("Register i-{number:04}:30080");
        assert_eq!(stage.settle().words(), [[register]]);
    }
    // Whether anything would be left when one goes, only a look tells.
    stage.followed = Some(nodes(5));
    stage.nodes = nodes(4);
    let plan = stage.plan();
    assert_eq!(plan.steps, []);
    assert_eq!(plan.waits[0].until, Until::FreshRead);
}

#[test]
fn after_a_bulk_look_another_node_port_asks_for_a_fresh_one() {
    let mut stage = Stage::made(&one());
    stage.look_in_bulk();
    stage.ask(&service(&["a:80/TCP>30090"]));
    let plan = stage.plan();
    assert_eq!(plan.steps, []);
    assert_eq!(plan.waits[0].until, Until::FreshRead);
}

/// Does the first step of a plan, of which AWS takes no target with this instance.
fn refusing(stage: &mut Stage, id: &str) {
    let steps = stage.plan().steps;
    let Step::Register { targets, .. } = &steps[0].step else {
        panic!("{steps:#?}");
    };
    let why: Arc<str> = "the instance is not in a running state".into();
    let refused: BTreeMap<_, _> = targets
        .iter()
        .filter(|target| &*target.id == id)
        .map(|target| (target.clone(), why.clone()))
        .collect();
    assert_eq!(refused.len(), 1);
    let effect = Effect {
        step: steps[0].step.clone(),
        told: Told::NotTaken(refused),
    };
    predict::absorb(&mut stage.seen, effect);
}

#[test]
fn row_132_a_target_that_aws_does_not_take_keeps_no_other_out() {
    let mut stage = Stage::made(&one());
    stage.nodes = nodes(7);
    refusing(&mut stage, "i-0007");
    assert_eq!(stage.targets(80).len(), 6);
    let plan = stage.plan();
    assert_eq!(plan.steps, []);
    let told = stage.told().join(" | ");
    assert!(
        told.contains("i-0007: the instance is not in a running state"),
        "{told}"
    );
    assert_eq!(plan.waits.len(), 1);
    assert_eq!(
        plan.waits[0].until,
        Until::After(std::time::Duration::from_secs(60))
    );
    // The look of a minute later knows nothing of it, and it is asked again.
    stage.target_group(80).not_taken.clear();
    assert_eq!(stage.settle().words(), [["Register i-0007:30080"]]);
}

#[test]
fn nodes_that_left_go_from_all_groups_before_others_come_where_most_stay() {
    let (gone, come) = ("Deregister i-0001:30080", "Register i-0004:30080");
    let replaced = || {
        let mut stage = Stage::made(&one());
        stage.nodes = NodeSet::new([2, 3, 4].map(node).into());
        stage
    };
    let turns = |stage: &Stage| {
        let waits = stage.plan().waits.into_iter();
        waits.filter(|wait| wait.until == Until::Turn).count()
    };
    let mut stage = replaced();
    assert_eq!(turns(&stage), 1);
    assert_eq!(stage.settle().words(), [[gone], [come]]);
    assert_eq!(turns(&stage), 0);

    // Too few would be left.
    let mut stage = Stage::made(&one());
    stage.nodes = NodeSet::new([3, 4].map(node).into());
    assert_eq!(turns(&stage), 0);
    let both = "Deregister i-0001:30080 i-0002:30080";
    assert_eq!(stage.settle().words(), [[both, come]]);

    // The only one that gets traffic goes.
    let mut stage = replaced();
    for (target, state) in stage.targets(80) {
        if target.id != instance(1) {
            *state = TargetState::Unhealthy;
        }
    }
    assert_eq!(turns(&stage), 0);
    assert_eq!(stage.settle().words(), [[gone, come]]);

    // AWS does not let it go.
    let mut stage = replaced();
    stage.fails(gone, ErrorClass::Denied);
    assert_eq!(turns(&stage), 0);
    assert_eq!(stage.plan().steps.len(), 2);

    // Somebody waits for something else.
    let mut stage = replaced();
    stage.ask(&one().aws("healthcheck-interval", "20"));
    assert_eq!(turns(&stage), 0);
    let words = stage.settle().words();
    assert_eq!(words.len(), 2, "{words:?}");
    assert_eq!(words[1], [come]);
}

#[test]
fn row_133_a_target_that_drains_is_registered_again() {
    let mut stage = Stage::made(&one());
    for (target, state) in stage.targets(80) {
        if target.id == instance(3) {
            *state = TargetState::Draining;
        }
    }
    assert_eq!(stage.settle().words(), [["Register i-0003:30080"]]);
}

#[test]
fn row_134_nodes_in_other_zones_are_targets_and_told() {
    let stranded = || Node {
        zone: Some("az3".into()),
        ..node(4)
    };
    let mut stage = Stage::made(&one());
    stage.nodes = NodeSet::new(vec![node(1), node(2), node(3), stranded()]);
    let told = stage.told().join(" | ");
    assert!(told.contains("1 in az3. It stands in az1, az2."), "{told}");
    assert_eq!(stage.settle().words(), [["Register i-0004:30080"]]);

    let crossing = one().aws("attributes", "load_balancing.cross_zone.enabled=true");
    stage.ask(&crossing);
    stage.settle();
    assert_eq!(stage.told(), Vec::<String>::new());
}

#[test]
fn row_135_targets_at_another_port_come_before_the_old_ones_leave() {
    let mut stage = Stage::made(&one());
    stage.ask(&service(&["a:80/TCP>30090"]));
    let new = ["i-0001:30090", "i-0002:30090", "i-0003:30090"].join(" ");
    let old = new.replace("30090", "30080");
    let (register, deregister) = (format!("Register {new}"), format!("Deregister {old}"));
    let noted = "Tag target group evenkeel.dev/node-port=30090";
    let foretold = stage.clone().settle().words();
    let since = "Tag target group evenkeel.dev/moving=30090 2026-01-01T00:00:00Z";
    let noted = format!("{noted} -evenkeel.dev/moving");
    assert_eq!(
        foretold,
        [vec![&*register, since], vec![&*deregister], vec![&*noted]]
    );

    // As it comes true: new targets are judged first.
    stage.wave();
    let set = |stage: &mut Stage, to| {
        for (target, state) in stage.targets(80) {
            if target.port == 30_090 {
                *state = to;
            }
        }
    };
    set(&mut stage, TargetState::Initial);
    let plan = stage.plan();
    assert_eq!(plan.steps, []);
    assert_eq!(plan.waits.len(), 1, "{:#?}", plan.waits);
    // A judgement that does not come is waited for no longer than a minute.
    let mut slow = stage.clone();
    slow.later(59);
    assert_eq!(slow.plan().steps, []);
    slow.later(1);
    assert_eq!(slow.settle().words(), [[&*deregister], [&*noted]]);
    set(&mut stage, TargetState::Healthy);
    assert_eq!(stage.settle().words(), [[&*deregister], [&*noted]]);
    assert_eq!(stage.plan().waits, []);
}

#[test]
fn another_family_is_another_target_group() {
    let facing = |family: &str| {
        one()
            .aws("ip-address-type", "dualstack")
            .spec("ipFamilies", json!([family]))
    };
    let mut stage = Stage::of(&facing("IPv4"));
    for subnet in stage.facts().subnets.values_mut() {
        subnet.ipv6 = vec!["2001:db8::/64".parse().expect("a prefix")];
    }
    stage.settle();
    stage.ask(&facing("IPv6"));
    assert_eq!(
        stage.settle().words(),
        [
            ["CreateTargetGroup tg/TCP/80"],
            ["Register i-0001:30080 i-0002:30080 i-0003:30080"],
            ["SetListener TCP:80"],
            ["Delete target group"]
        ]
    );
}

#[test]
fn row_140_where_aws_takes_fewer_targets_each_port_gets_its_share() {
    let ports: Vec<String> = (0..10)
        .map(|n| format!("p{n}:{}/TCP>{}", 80 + n, 30_080 + n))
        .collect();
    let ports: Vec<&str> = ports.iter().map(String::as_str).collect();
    let crossing = service(&ports).aws("attributes", "load_balancing.cross_zone.enabled=true");
    let mut stage = Stage::of(&crossing);
    stage.nodes = nodes(60);
    stage.settle();
    let told = stage.told();
    assert_eq!(told.len(), 1, "{told:#?}");
    assert!(
        told[0].contains("50 of 60 nodes are targets of each port"),
        "{told:#?}"
    );
    let chosen = |stage: &mut Stage, port| -> Vec<Arc<str>> {
        let targets = stage.targets(port).keys();
        targets.map(|target| target.id.clone()).collect()
    };
    let first = chosen(&mut stage, 80);
    assert_eq!(first.len(), 50);
    let odd = |id: &&Arc<str>| id.ends_with(['1', '3', '5', '7', '9']);
    assert_eq!(first.iter().filter(odd).count(), 25, "as many in each zone");
    assert_eq!(chosen(&mut stage, 89), first, "the same behind each port");

    // One node more moves one target at most.
    stage.nodes = nodes(61);
    stage.settle();
    let after = chosen(&mut stage, 80);
    let stayed = first.iter().filter(|id| after.contains(id)).count();
    assert!(stayed >= 49, "{stayed} of 50 stayed");
}

#[test]
fn without_cross_zone_each_zone_counts_for_itself() {
    let mut stage = Stage::of(&one());
    stage.nodes = nodes(1_000);
    stage.settle();
    assert_eq!(stage.targets(80).len(), 1_000);
    assert_eq!(stage.told(), Vec::<String>::new());
}

#[test]
fn row_141_a_target_that_is_no_node_leaves() {
    let mut stage = Stage::made(&one());
    let foreign = evenkeel_aws::model::Target {
        id: "i-99".into(),
        port: 30_080,
    };
    stage.targets(80).insert(foreign, TargetState::Healthy);
    assert_eq!(stage.settle().words(), [["Deregister i-99:30080"]]);
}

#[test]
fn the_order_of_nodes_changes_nothing() {
    let mut stage = Stage::made(&one());
    let mut backwards: Vec<Node> = (1..=3).rev().map(node).collect();
    backwards[0].name = NodeName::new("a-node");
    stage.nodes = NodeSet::new(backwards);
    assert_eq!(stage.plan().steps, []);
}
