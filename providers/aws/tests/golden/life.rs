//! 8.8: the whole life of a load balancer, and how little it asks of AWS.

use evenkeel_aws::{
    model::{Object, Phase, Step},
    names, predict,
};
use evenkeel_core::{
    error::ErrorClass,
    ids::GroupKey,
    plan::{Action, Until},
    provider::Want,
    published::Ingress,
};

use super::{
    rig::*,
    stage::{Stage, in_words, node, nodes},
};

fn one() -> Asking {
    service(&["a:80/TCP>30080"])
}

fn three() -> Asking {
    service(&["a:80/TCP>30080", "b:443/TCP>30443", "c:53/UDP>30053"])
}

#[test]
fn a_create_takes_three_writes_and_three_per_port_in_three_waves() {
    for (asking, writes) in [(one(), 6), (three(), 12)] {
        let mut stage = Stage::of(&asking);
        let waves = stage.settle();
        assert_eq!(waves.count(), writes, "{:#?}", waves.words());
        assert_eq!(waves.0.len(), 3, "{:#?}", waves.words());
    }
    let mut stage = Stage::of(&one());
    let waves = stage.settle();
    assert_eq!(
        waves.words(),
        [
            vec!["CreateSecurityGroup", "CreateTargetGroup tg/TCP/80"],
            vec![
                "Authorize tcp 80 from 0.0.0.0/0",
                "CreateLoadBalancer",
                "Register i-0001:30080 i-0002:30080 i-0003:30080",
            ],
            vec!["CreateListener TCP:80"],
        ]
    );
}

#[test]
fn what_was_made_is_as_it_shall_be() {
    for asking in [
        one(),
        three(),
        three().local(32_000),
        one().aws("attributes", "load_balancing.cross_zone.enabled=true"),
        one().aws(
            "target-group-attributes",
            "deregistration_delay.timeout_seconds=300",
        ),
        one().aws("security-groups", "sg-9"),
        one().aws("additional-resource-tags", "Team=a,Cost center=b"),
        one().aws("inbound-sg-rules-on-private-link-traffic", "off"),
    ] {
        let mut stage = Stage::of(&asking);
        let given = [("sg-9".into(), vec!["sg-9".into()])];
        stage.facts().given_groups = given.into_iter().collect();
        stage.settle();
        for fresh in [true, false] {
            stage.fresh = fresh;
            let plan = stage.plan();
            assert_eq!(plan.waits, []);
            assert_eq!(plan.refusals, []);
            assert_eq!(plan.warnings, []);
        }
        stage.look_in_bulk();
        let plan = stage.plan();
        assert_eq!(
            (plan.steps.len(), plan.waits, plan.refusals),
            (0, vec![], vec![])
        );
    }
}

#[test]
fn the_first_load_balancer_of_a_cluster_makes_its_backend_group() {
    let mut stage = Stage::cold(&one());
    let waves = stage.settle().words();
    assert!(
        waves[0].contains(&"CreateBackendGroup".to_owned()),
        "{waves:#?}"
    );
    assert!(waves[1].contains(&"AdmitNodes 3".to_owned()), "{waves:#?}");
    assert_eq!(stage.load_balancer().security_groups.len(), 2);
}

#[test]
fn row_142_a_delete_takes_two_writes_and_one_per_port() {
    for (asking, writes) in [(one(), 3), (three(), 5)] {
        let mut stage = Stage::made(&asking);
        stage.want = Want::Nothing;
        let waves = stage.settle();
        assert_eq!(waves.count(), writes, "{:#?}", waves.words());
        assert_eq!(waves.words()[0], ["Delete load balancer"]);
        assert!(stage.seen.is_empty());
    }
}

#[test]
fn row_144_a_delete_asks_for_no_annotation() {
    let mut stage = Stage::made(&one());
    let broken = one().aws("scheme", "both");
    broken.is_refused_for("scheme");
    // Of what is deleted nothing is known but what is seen.
    stage.want = Want::Nothing;
    stage.settle();
    assert!(stage.seen.is_empty());
}

#[test]
fn a_protected_load_balancer_is_not_deleted_and_nothing_of_it() {
    let mut stage = Stage::made(&one().aws("attributes", "deletion_protection.enabled=true"));
    stage.want = Want::Nothing;
    assert_eq!(stage.plan().steps, []);
    let told = stage.refused().join(" | ");
    assert!(told.contains("protects the load balancer"), "{told}");
}

#[test]
fn released_objects_are_left_alone() {
    let mut stage = Stage::made(&one().annotated("evenkeel.dev/reclaim-policy", "Retain"));
    assert!(stage.seen.retained());
    stage.want = Want::Released;
    assert_eq!(stage.plan().steps, []);
    stage.ask(&one());
    stage.settle();
    assert!(!stage.seen.retained());
}

#[test]
fn rejected_groups_follow_the_nodes_and_nothing_else() {
    let mut stage = Stage::made(&one());
    stage.want = Want::Frozen;
    assert_eq!(stage.plan().steps, []);
    stage.nodes = nodes(2);
    assert_eq!(stage.settle().words(), [["Deregister i-0003:30080"]]);
}

#[test]
fn row_153_cut_anywhere_and_started_again_it_ends_the_same() {
    let whole = Stage::made(&three()).seen;
    for cut in 0..14 {
        let mut stage = Stage::of(&three());
        stage.some_steps(cut);
        stage.settle();
        assert_eq!(stage.seen, whole, "cut after {cut} steps");
        stage.want = Want::Nothing;
        stage.some_steps(cut % 6);
        stage.settle();
        assert!(stage.seen.is_empty(), "cut after {} steps", cut % 6);
    }
}

#[test]
fn row_147_a_load_balancer_that_somebody_deleted_is_made_again() {
    let mut stage = Stage::made(&one());
    let name = stage.seen.load_balancers.keys().next().cloned();
    let effect = predict::predict(&Step::Delete(Object::LoadBalancer(name.expect("made"))));
    predict::absorb(&mut stage.seen, effect);
    assert_eq!(
        stage.settle().words(),
        [["CreateLoadBalancer"], ["CreateListener TCP:80"]]
    );
}

#[test]
fn row_148_a_listener_made_by_hand_stays_and_is_told() {
    let mut stage = Stage::made(&one());
    let ((name, _), listener) = stage.seen.listeners.first_key_value().expect("made");
    let (key, mut by_hand) = ((name.clone(), 9_999), listener.clone());
    by_hand.marks = None;
    by_hand.tags.clear();
    stage.seen.listeners.insert(key, by_hand.clone());
    stage.only_tells("a listener on port 9999");

    // On a port that is asked for it is in the way of that port, and of no other.
    let mut stage = Stage::of(&three());
    stage.settle();
    let key = stage.seen.listeners.keys().nth(2).cloned().expect("made");
    stage.seen.listeners.insert(key.clone(), by_hand);
    let plan = stage.plan();
    assert_eq!(plan.steps, []);
    assert_eq!(plan.refusals.len(), 1, "{:#?}", plan.refusals);
    let (_, port) = plan.refusals[0].port.clone().expect("about a port");
    assert_eq!(port.port, key.1);
}

#[test]
fn row_149_what_waits_for_a_quota_is_kept() {
    let mut stage = Stage::of(&one());
    stage.wave();
    stage.fails("CreateLoadBalancer", ErrorClass::Quota);
    for _ in 0..3 {
        let mut plan = stage.plan();
        stage.failures.hold_back(&mut plan);
        assert!(
            plan.steps
                .iter()
                .all(|planned| planned.change.action != Action::Destroy)
        );
        for planned in plan.steps {
            let effect = predict::predict(&planned.step);
            predict::absorb(&mut stage.seen, effect);
        }
    }
    assert_eq!(stage.seen.security_groups.len(), 1);
    assert_eq!(stage.seen.target_groups.len(), 1);
}

#[test]
fn row_151_what_is_there_is_published() {
    let mut stage = Stage::of(&three());
    stage.settle();
    stage.load_balancer().dns_name = Some("Web-1.elb.eu-west-1.amazonaws.com".into());
    let (key, listener) = stage.seen.listeners.pop_first().expect("made");
    let published = stage.seen.published(&stage.key);
    assert_eq!(
        published.ingress,
        [Ingress::hostname("web-1.elb.eu-west-1.amazonaws.com")]
    );
    let ports: Vec<String> = published
        .ports
        .iter()
        .map(|port| format!("{} {}", port.service, port.port))
        .collect();
    assert_eq!(key.1, 53);
    assert_eq!(ports, ["default/web 80/TCP", "default/web 443/TCP"]);

    stage.seen.listeners.insert(key, listener);
    let known = stage.seen.published(&stage.key);
    let targets = known.targets.expect("they were read");
    assert_eq!((targets.healthy, targets.total), (9, 9));
    // A bulk look tells the same but for the targets.
    stage.look_in_bulk();
    let bulk = stage.seen.published(&stage.key);
    assert_eq!((bulk.ingress, bulk.ports), (known.ingress, known.ports));
    assert_eq!(bulk.targets, None);
}

#[test]
fn row_157_a_load_balancer_that_is_being_set_up_is_changed_at_once() {
    let mut stage = Stage::made(&one());
    stage.load_balancer().phase = Phase::Provisioning;
    stage.ask(&three());
    let waves = stage.settle().words();
    assert!(
        waves
            .iter()
            .flatten()
            .any(|step| step == "CreateListener TCP:443"),
        "{waves:#?}"
    );
    assert_eq!(stage.plan().waits, []);
}

#[test]
fn one_that_could_not_be_set_up_is_told() {
    let mut stage = Stage::made(&one());
    stage.load_balancer().phase = Phase::Failed;
    stage.load_balancer().phase_reason = Some("insufficient capacity".into());
    let told = stage.refused().join(" | ");
    assert!(told.contains("insufficient capacity"), "{told}");
}

#[test]
fn a_bulk_look_that_lacks_a_listener_asks_for_a_fresh_one() {
    let mut stage = Stage::made(&one());
    stage.look_in_bulk();
    stage.target_group(80).load_balancers.clear();
    let plan = stage.plan();
    assert_eq!(plan.steps, []);
    assert_eq!(plan.waits[0].until, Until::FreshRead);
}

#[test]
fn what_goes_waits_for_a_fresh_look() {
    let mut stage = Stage::made(&three());
    stage.ask(&one());
    stage.fresh = false;
    let plan = stage.plan();
    assert_eq!(plan.steps, []);
    assert!(plan.waits.iter().any(|wait| wait.until == Until::FreshRead));
    stage.fresh = true;
    let waves = stage.settle();
    // Two rules go in one call; each port has a listener and a target group.
    assert_eq!(waves.count(), 5, "{:#?}", waves.words());
}

#[test]
fn members_that_left_a_rejected_group_take_their_ports_along() {
    let mut stage = Stage::made(&three());
    let gone = stage.seen.listeners.values().next().expect("made");
    let gone = gone.marks.as_ref().expect("ours").member();
    stage.want = Want::FrozenWithout([gone].into());
    stage.fresh = false;
    assert_eq!(stage.plan().steps, []);
    stage.fresh = true;
    stage.settle();
    assert!(stage.seen.listeners.is_empty());
    assert!(stage.seen.target_groups.is_empty());
    assert_eq!(stage.seen.load_balancers.len(), 1);
}

#[test]
fn what_serves_a_member_that_cannot_be_read_stays() {
    let mut stage = Stage::made(&three());
    let member = stage.desired().members[0].uid.clone();
    let desired = stage.desired();
    desired.listeners.clear();
    desired.target_groups.clear();
    desired.unknown.insert(member);
    if let evenkeel_aws::model::Security::Managed(rules) = &mut desired.load_balancer.security {
        rules.clear();
    }
    assert_eq!(stage.plan().steps, []);
    stage.nodes = evenkeel_core::nodes::NodeSet::new(vec![node(1), node(2)]);
    let waves = stage.settle();
    assert_eq!(waves.count(), 3, "{:#?}", waves.words());
    assert!(
        waves
            .steps()
            .all(|step| in_words(step).starts_with("Deregister i-0003"))
    );
}

#[test]
fn a_namesake_of_another_time_has_objects_of_its_own() {
    let mut stage = Stage::made(&one());
    let GroupKey::Service(mut service) = stage.key.clone() else {
        panic!("one Service");
    };
    service.uid = "another-uid".into();
    let key = GroupKey::Service(service);
    let name = |key: &GroupKey| names::security_group(&cluster().uid, key);
    assert_ne!(name(&stage.key), name(&key));
    stage.key = key;
    assert!(!stage.seen.security_groups.contains_key(&name(&stage.key)));
}
