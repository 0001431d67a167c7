//! What a plan costs in a large cluster, counted in allocations: never in time.

use allocation_counter::{AllocationInfo, measure};
use evenkeel_core::nodes::NodeSet;

use super::{
    rig::{Asking, service},
    stage::{Stage, nodes},
};

/// Ten times the nodes are ten times the work, and some more where vectors and trees grow. What is quadratic is a hundred times.
const TEN_TIMES: u64 = 20;

/// Looks enough that one is undisturbed: what is worked out once for all groups is kept for a few node sets, and other tests have theirs.
const LOOKS: usize = 5;

/// What one plan of the group costs, beside what is worked out once for all groups.
fn cost(stage: &Stage) -> AllocationInfo {
    stage.plan();
    let looks = (0..LOOKS).map(|_| measure(|| drop(stage.plan())));
    looks
        .min_by_key(|look| look.count_total)
        .unwrap_or_default()
}

/// One that has its targets.
fn served(asking: &Asking, count: usize) -> Stage {
    let mut stage = Stage::of(asking);
    stage.nodes = nodes(count);
    stage.settle();
    stage
}

type Case = (&'static str, fn(&mut Stage));

/// What happens to a group that is served, as often as nodes or processes come and go.
const CASES: &[Case] = &[
    ("nothing has changed", |_| {}),
    ("a node has come", |stage| {
        let count = stage.nodes.nodes().len();
        stage.followed = Some(std::mem::replace(&mut stage.nodes, nodes(count + 1)));
    }),
    ("a node has gone", |stage| {
        let fewer = stage.nodes.nodes()[1..].to_vec();
        stage.followed = Some(std::mem::replace(&mut stage.nodes, NodeSet::new(fewer)));
    }),
    ("a process has started", Stage::look_in_bulk),
    ("a process has started, and a node has come", |stage| {
        let count = stage.nodes.nodes().len();
        stage.followed = Some(std::mem::replace(&mut stage.nodes, nodes(count + 1)));
        stage.look_in_bulk();
    }),
    ("nothing is there yet", |stage| {
        stage.seen.load_balancers.clear();
        stage.seen.listeners.clear();
        stage.seen.target_groups.clear();
        stage.seen.security_groups.clear();
    }),
];

#[test]
fn ten_times_the_nodes_are_not_a_hundred_times_the_work() {
    let one = service(&["a:80/TCP>30080"]);
    let three = service(&["a:80/TCP>30080", "b:443/TCP>30443", "c:8443/TCP>30843"]);
    for (ports, asking) in [(1, one), (3, three)] {
        let (few, many) = (served(&asking, 100), served(&asking, 1_000));
        for (name, happens) in CASES {
            let costs = [&few, &many].map(|stage| {
                let mut stage = stage.clone();
                happens(&mut stage);
                cost(&stage)
            });
            let [few, many] = costs;
            assert!(
                many.count_total <= TEN_TIMES * few.count_total
                    && many.bytes_total <= TEN_TIMES * few.bytes_total,
                "{name}, {ports} ports: {few:?} with 100 nodes, {many:?} with 1,000"
            );
        }
    }
}
