//! 8.6: load balancers without security groups, whose clients the node groups let in.

use evenkeel_aws::model::{Rule, SeenLoadBalancer};
use evenkeel_core::{net::Cidr, provider::Want};
use serde_json::json;

use super::{rig::*, stage::*};

const DISABLE: &str = "disable-nlb-sg";
const RANGES: &str = "loadBalancerSourceRanges";

fn web() -> Asking {
    service(&["h:80/TCP>30080"])
}

fn open() -> Asking {
    web().aws(DISABLE, "true")
}

fn facing() -> Asking {
    open().aws("scheme", "internet-facing")
}

/// What the node group lets in for this when it is served, beside what it always does.
#[track_caller]
fn let_in(asking: &Asking) -> Vec<String> {
    let mut stage = Stage::of(asking);
    let waves = stage.settle().words();
    assert_eq!(stage.plan().refusals, []);
    let at = |begin: &str| {
        let starts = |word: &String| word.starts_with(begin);
        waves.iter().position(|wave| wave.iter().any(starts))
    };
    assert!(at("OpenNodes") < at("Register"), "{waves:#?}");
    let groups = &stage.load_balancer().security_groups;
    assert!(groups.is_empty(), "{groups:?}");
    assert!(stage.seen.security_groups.is_empty());
    admitted(&mut stage)
}

fn admitted(stage: &mut Stage) -> Vec<String> {
    let facts = stage.facts();
    let groups = facts.node_groups.values();
    let rules = groups.flat_map(|group| &group.openings);
    rules.map(Rule::to_string).collect()
}

#[test]
fn row_113_everyone_is_let_in_by_the_nodes() {
    assert_eq!(let_in(&facing()), ["tcp 30080 from 0.0.0.0/0"]);
}

#[test]
fn changed_114_clients_by_range_and_probes_from_the_vpc() {
    assert_eq!(
        let_in(&facing().spec(RANGES, json!(["203.0.113.0/24"]))),
        [
            "tcp 30080 from 10.0.0.0/16",
            "tcp 30080 from 203.0.113.0/24"
        ]
    );
}

#[test]
fn row_115_the_whole_vpc_is_let_in_to_an_internal_one() {
    let mut stage = Stage::of(&open());
    let second: Cidr = "100.64.0.0/16".parse().expect("a prefix");
    stage.facts().vpc_prefixes.push(second);
    stage.settle();
    assert_eq!(
        admitted(&mut stage),
        ["tcp 30080 from 10.0.0.0/16", "tcp 30080 from 100.64.0.0/16"]
    );
}

#[test]
fn changed_116_without_the_addresses_of_clients_the_load_balancer_comes_from_the_vpc() {
    let asking = || {
        facing().aws(
            "target-group-attributes",
            "preserve_client_ip.enabled=false",
        )
    };
    assert_eq!(let_in(&asking()), ["tcp 30080 from 10.0.0.0/16"]);
    // Nobody could tell the clients apart.
    asking()
        .spec(RANGES, json!(["203.0.113.0/24"]))
        .is_refused_at("spec.loadBalancerSourceRanges");
}

#[test]
fn probes_are_let_in_where_clients_are_not() {
    for (asking, rules) in [
        (
            service(&["d:53/UDP>30053"]),
            // Where kube-proxy's health does not answer, a connection has to do.
            &[
                "tcp 10256 from 10.0.0.0/16",
                "tcp 30053 from 10.0.0.0/16",
                "udp 30053 from 0.0.0.0/0",
            ][..],
        ),
        (
            web().local(31_000),
            &["tcp 30080 from 0.0.0.0/0", "tcp 31000 from 10.0.0.0/16"],
        ),
        (
            web().aws("healthcheck-port", "8081"),
            &["tcp 8081 from 10.0.0.0/16", "tcp 30080 from 0.0.0.0/0"],
        ),
    ] {
        let asking = asking.aws(DISABLE, "true").aws("scheme", "internet-facing");
        let mut stage = Stage::of(&asking);
        stage.settle();
        assert_eq!(admitted(&mut stage), rules);
    }
}

#[test]
fn other_ranges_are_opened_first_and_closed_after_a_fresh_look() {
    let ranges = |range: &str| facing().spec(RANGES, json!([range]));
    let mut stage = Stage::made(&ranges("203.0.113.0/24"));
    stage.ask(&ranges("198.51.100.0/24"));
    stage.fresh = false;
    let opening = "OpenNodes vpc/tcp/30080, clients/tcp/30080 in sg-nodes";
    assert_eq!(stage.settle().words(), [[opening]]);
    stage.fresh = true;
    assert_eq!(
        stage.settle().words(),
        [["CloseNodes tcp 30080 from 203.0.113.0/24"]]
    );
    // While it cannot be read everything stays, and new node groups let in the same.
    stage.want = Want::Frozen;
    assert_eq!(stage.plan().steps, []);
    stage.facts().node_groups.clear();
    stage.want = Want::Nothing;
    stage.settle();
    assert!(stage.seen.is_empty());
}

#[test]
fn another_node_port_is_open_before_it_is_used_and_the_old_one_closed_after() {
    let mut stage = Stage::made(&facing());
    stage.ask(
        &service(&["h:80/TCP>30081"])
            .aws(DISABLE, "true")
            .aws("scheme", "internet-facing"),
    );
    let words = stage.settle().words().concat();
    let at = |begin: &str| words.iter().position(|word| word.starts_with(begin));
    let order = ["OpenNodes", "Register", "Deregister", "CloseNodes"].map(at);
    assert!(order.is_sorted() && order[0].is_some(), "{words:#?}");
    assert_eq!(admitted(&mut stage), ["tcp 30081 from 0.0.0.0/0"]);
}

#[test]
fn one_that_goes_leaves_nothing_open() {
    let mut stage = Stage::made(&facing());
    stage.want = Want::Nothing;
    stage.settle();
    assert_eq!(admitted(&mut stage), [""; 0]);
    assert!(stage.seen.is_empty());
}

#[test]
fn what_has_no_effect_or_contradicts_is_told() {
    open()
        .aws("security-groups", "sg-9")
        .is_refused_for(DISABLE);
    let key = "inbound-sg-rules-on-private-link-traffic";
    open().aws(key, "off").gets().warning_of(key);
    let key = "enable-icmp-for-path-mtu-discovery";
    open().aws(key, "on").gets().warning_of(key);
    open()
        .aws("ip-address-type", "dualstack")
        .spec(RANGES, json!(["203.0.113.0/24"]))
        .is_refused_at("spec.loadBalancerSourceRanges");
    web().aws(DISABLE, "false").gets().silently();
}

/// From one kind to the other there is only another load balancer, under approval.
#[test]
fn changed_117_groups_come_and_go_with_another_load_balancer() {
    for (before, after) in [(open(), web()), (web(), open())] {
        let mut stage = Stage::made(&before);
        let had: SeenLoadBalancer = stage.load_balancer().clone();
        stage.ask(&after);
        assert_eq!(stage.plan().steps, []);
        assert_eq!(stage.refused().len(), 1, "{:?}", stage.refused());
        stage.approve();
        stage.settle();
        assert_eq!(stage.seen.load_balancers.len(), 2);
        stage.approval = None;
        stage.later(120);
        stage.settle();
        let has = stage.load_balancer().clone();
        assert_ne!(has.is_open(), had.is_open());
        let rules = admitted(&mut stage);
        assert_eq!(rules.is_empty(), !has.is_open(), "{rules:?}");
        assert_eq!(stage.seen.security_groups.is_empty(), has.is_open());
    }
}

#[test]
fn cut_anywhere_it_ends_the_same() {
    let done = |cut: usize| {
        let mut stage = Stage::made(&open());
        stage.ask(&web());
        stage.approve();
        stage.some_steps(cut);
        stage.settle();
        stage.later(120);
        stage.settle();
        assert_eq!(stage.plan().refusals, []);
        (admitted(&mut stage), stage.seen)
    };
    let whole = done(0);
    for cut in 1..8 {
        assert_eq!(done(cut), whole, "cut after {cut} steps");
    }
}
