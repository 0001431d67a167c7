//! Plans on a cloud in memory, which is what `predict` and `absorb` make of steps.

mod rows;
mod support;

use evenkeel_core::{
    plan::{Action, Until},
    provider::Want,
};
use support::{Stage, desired, nodes, port};

use crate::model::{Object, Step, TargetState};

#[test]
fn a_create_takes_three_writes_and_three_per_port() {
    for (ports, writes) in [(vec![80], 6), (vec![80, 443, 8080], 12)] {
        let mut stage = Stage::warm(3);
        stage.want(desired(ports.iter().map(|number| port(*number))));
        let waves = stage.settle();
        let count: usize = waves.iter().map(Vec::len).sum();
        assert_eq!(count, writes, "{waves:#?}");
        assert_eq!(waves.len(), 3, "{waves:#?}");
        assert_eq!(stage.plan().waits, [], "nothing is waited for");
        assert!(stage.seen.target_groups.values().all(|group| {
            group
                .targets
                .as_ref()
                .is_some_and(|targets| targets.len() == 3)
        }));
        assert_eq!(stage.seen.listeners.len(), ports.len());
    }
}

#[test]
fn a_cold_cluster_makes_its_backend_group_and_admits_it() {
    let mut stage = Stage::cold(2);
    stage.want(desired([port(80)]));
    let waves = stage.settle();
    assert!(
        matches!(
            waves[0][..],
            [.., Step::CreateBackendGroup] | [Step::CreateBackendGroup, ..]
        ) || waves[0].contains(&Step::CreateBackendGroup),
        "{waves:#?}"
    );
    let admitted = waves
        .iter()
        .flatten()
        .any(|step| matches!(step, Step::AdmitNodes(instances) if instances.len() == 2));
    assert!(admitted, "{waves:#?}");
    let lb = stage.seen.load_balancers.values().next().expect("made");
    assert_eq!(lb.security_groups.len(), 2);
}

#[test]
fn a_delete_takes_two_writes_and_one_per_port() {
    for (ports, writes) in [(vec![80], 3), (vec![80, 443, 8080], 5)] {
        let mut stage = Stage::warm(3);
        stage.want(desired(ports.iter().map(|number| port(*number))));
        stage.settle();
        stage.want = Want::Nothing;
        let waves = stage.settle();
        let count: usize = waves.iter().map(Vec::len).sum();
        assert_eq!(count, writes, "{waves:#?}");
        assert!(stage.seen.is_empty());
        assert!(matches!(
            waves[0][..],
            [Step::Delete(Object::LoadBalancer(_))]
        ));
    }
}

#[test]
fn a_node_costs_one_write_per_target_group() {
    let mut stage = Stage::warm(3);
    stage.want(desired([port(80), port(443)]));
    stage.settle();
    stage.nodes = nodes(4);
    let waves = stage.settle();
    let steps: Vec<&Step> = waves.iter().flatten().collect();
    let registers = steps
        .iter()
        .filter(|step| matches!(step, Step::Register { targets, .. } if targets.len() == 1));
    assert_eq!(registers.count(), 2, "{steps:#?}");
    // Beside them the shared admission of an instance that is not known yet.
    assert_eq!(steps.len(), 3, "{steps:#?}");

    stage.nodes = nodes(2);
    let waves = stage.settle();
    let steps: Vec<&Step> = waves.iter().flatten().collect();
    assert_eq!(steps.len(), 2, "{steps:#?}");
    assert!(
        steps
            .iter()
            .all(|step| matches!(step, Step::Deregister { targets, .. } if targets.len() == 2))
    );
}

#[test]
fn what_is_as_it_shall_be_has_no_steps() {
    let mut stage = Stage::warm(3);
    stage.want(desired([port(80), port(443)]));
    stage.settle();
    for fresh in [true, false] {
        stage.fresh = fresh;
        let plan = stage.plan();
        assert_eq!(plan.steps, []);
        assert_eq!(plan.waits, []);
        assert_eq!(plan.refusals, []);
        assert_eq!(plan.warnings, []);
    }
}

#[test]
fn a_bulk_look_of_what_is_as_it_shall_be_asks_for_nothing() {
    let mut stage = Stage::warm(3);
    stage.want(desired([port(80), port(443)]));
    stage.settle();
    stage.look_in_bulk();
    let plan = stage.plan();
    assert_eq!(plan.steps, []);
    assert_eq!(plan.waits, []);
    assert_eq!(plan.refusals, []);
}

#[test]
fn a_bulk_look_that_lacks_something_is_made_good() {
    let mut stage = Stage::warm(3);
    stage.want(desired([port(80)]));
    stage.settle();
    stage.look_in_bulk();
    for group in stage.seen.target_groups.values_mut() {
        group.load_balancers.clear();
    }
    let plan = stage.plan();
    assert_eq!(plan.steps, []);
    assert_eq!(plan.waits.len(), 1);
    assert_eq!(plan.waits[0].until, Until::FreshRead);
}

#[test]
fn a_removal_waits_for_a_fresh_look() {
    let mut stage = Stage::warm(3);
    stage.want(desired([port(80), port(443)]));
    stage.settle();
    stage.want(desired([port(80)]));
    stage.fresh = false;
    let plan = stage.plan();
    assert!(
        plan.steps
            .iter()
            .all(|planned| planned.change.action != Action::Destroy),
        "{plan:#?}"
    );
    assert!(plan.waits.iter().any(|wait| wait.until == Until::FreshRead));
}

#[test]
fn rejected_groups_follow_the_nodes_and_nothing_else() {
    let mut stage = Stage::warm(3);
    stage.want(desired([port(80)]));
    stage.settle();
    stage.want = Want::Frozen;
    assert_eq!(stage.plan().steps, []);
    stage.nodes = nodes(2);
    let waves = stage.settle();
    assert!(matches!(waves[..], [ref wave] if matches!(wave[..], [Step::Deregister { .. }])));
}

#[test]
fn released_groups_are_left_alone() {
    let mut stage = Stage::warm(3);
    stage.want(desired([port(80)]));
    stage.settle();
    stage.want = Want::Released;
    assert_eq!(stage.plan().steps, []);
}

#[test]
fn cut_anywhere_and_started_again_ends_the_same() {
    let whole = {
        let mut stage = Stage::warm(3);
        stage.want(desired([port(80), port(443)]));
        stage.settle();
        stage.seen
    };
    for cut in 0..9 {
        let mut stage = Stage::warm(3);
        stage.want(desired([port(80), port(443)]));
        stage.some_steps(cut);
        stage.settle();
        assert_eq!(stage.seen, whole, "cut after {cut} steps");
        stage.want = Want::Nothing;
        stage.some_steps(cut % 4);
        stage.settle();
        assert!(stage.seen.is_empty(), "deleted, cut after {cut} steps");
    }
}

#[test]
fn foretold_targets_are_healthy() {
    let mut stage = Stage::warm(1);
    stage.want(desired([port(80)]));
    stage.settle();
    let group = stage.seen.target_groups.values().next().expect("made");
    let targets = group.targets.as_ref().expect("known");
    assert!(targets.values().all(|state| *state == TargetState::Healthy));
}

#[test]
fn after_a_bulk_look_a_node_costs_one_write_and_no_read() {
    let mut stage = Stage::warm(4);
    stage.want(desired([port(80)]));
    stage.nodes = nodes(3);
    stage.settle();
    stage.look_in_bulk();
    for (before, after) in [(3, 4), (4, 2), (2, 3)] {
        stage.followed = Some(nodes(before));
        stage.nodes = nodes(after);
        let plan = stage.plan();
        assert_eq!(plan.waits, []);
        let waves = stage.settle();
        assert_eq!(waves.len(), 1, "{waves:#?}");
        assert_eq!(waves[0].len(), 1, "{waves:#?}");
    }
    // No node that was there is left: nothing is known of what would stay.
    stage.followed = Some(nodes(3));
    stage.nodes = evenkeel_core::nodes::NodeSet::new(vec![support::node(9)]);
    let plan = stage.plan();
    assert_eq!(plan.steps, []);
    assert_eq!(plan.waits[0].until, Until::FreshRead);
}
