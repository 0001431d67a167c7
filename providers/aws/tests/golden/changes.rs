//! What changes on a live load balancer: rows of 8.2, 8.4, 8.5, 8.6.

use evenkeel_aws::model::Phase;
use evenkeel_core::{error::ErrorClass, plan::Action, provider::Want};
use serde_json::json;

use super::{
    rig::*,
    stage::{Stage, in_words},
};

fn one() -> Asking {
    service(&["a:80/TCP>30080"])
}

fn facing() -> Asking {
    one().aws("scheme", "internet-facing")
}

#[test]
fn row_014_a_live_load_balancer_keeps_its_scheme() {
    let mut stage = Stage::made(&facing());
    stage.ask(&one());
    assert_eq!(stage.plan().steps, []);
    assert_eq!(stage.refused(), Vec::<String>::new());
}

#[test]
fn row_015_another_scheme_needs_an_approval() {
    let mut stage = Stage::made(&one());
    stage.ask(&facing());
    assert_eq!(stage.plan().steps, []);
    let told = stage.refused().join(" | ");
    assert!(
        told.contains("would replace load balancer lb (scheme: internal -> internet-facing)"),
        "{told}"
    );
}

#[test]
fn a_replacement_is_made_before_the_old_one_goes() {
    let mut stage = Stage::made(&one());
    let old = stage
        .seen
        .load_balancers
        .keys()
        .next()
        .cloned()
        .expect("made");
    stage.load_balancer().dns_name = Some("old.example".into());
    stage.ask(&facing());
    stage.approve();
    let first = stage.plan();
    let replace = first
        .steps
        .iter()
        .find(|planned| planned.change.action == Action::Replace)
        .expect("it is said");
    assert!(replace.change.gives_up.is_some());

    let waves = stage.settle().words();
    assert_eq!(
        waves,
        [
            vec!["CreateLoadBalancer", "CreateTargetGroup tg/TCP/80"],
            vec!["Register i-0001:30080 i-0002:30080 i-0003:30080"],
            vec!["CreateListener TCP:80"],
            vec!["Tag load balancer evenkeel.dev/superseded=2026-01-01T00:00:00Z"],
        ]
    );
    // From here on clients are told the new name, and the old one serves on.
    let (name, current) = stage.seen.current().expect("there are two");
    assert_ne!(*name, old);
    assert_eq!(current.dns_name, None);
    assert_eq!(stage.plan().waits.len(), 1);
    stage.approval = None;
    stage.later(119);
    assert_eq!(stage.plan().steps, []);
    stage.later(1);
    assert_eq!(
        stage.settle().words(),
        [["Delete load balancer"], ["Delete target group"]]
    );
    assert_eq!(stage.plan().waits, []);
    assert_eq!(
        stage.load_balancer().scheme,
        evenkeel_core::intent::Scheme::InternetFacing
    );
}

#[test]
fn a_successor_serves_when_it_is_active_and_its_targets_were_judged() {
    let mut stage = Stage::made(&one());
    stage.ask(&facing());
    stage.approve();
    stage.wave();
    for lb in stage.seen.load_balancers.values_mut() {
        if lb.scheme == evenkeel_core::intent::Scheme::InternetFacing {
            lb.phase = Phase::Provisioning;
        }
    }
    // The approval is used up: what was begun is ended without it.
    stage.approval = None;
    stage.settle();
    assert_eq!(stage.plan().waits.len(), 1);
    assert_eq!(stage.seen.load_balancers.len(), 2);
    let (_, current) = stage.seen.current().expect("there are two");
    assert_eq!(current.scheme, evenkeel_core::intent::Scheme::Internal);
    // Whatever else is asked for meanwhile, the old one gets it too.
    let asking = service(&["a:80/TCP>30080", "b:443/TCP>30443"]).aws("scheme", "internet-facing");
    stage.ask(&asking);
    stage.settle();
    assert_eq!(stage.seen.listeners.len(), 4);

    // Taken back: the successor goes, which nobody was told of.
    stage.ask(&one());
    stage.settle();
    assert_eq!(stage.seen.load_balancers.len(), 1);
    assert_eq!(stage.seen.target_groups.len(), 1);
    assert_eq!(
        stage.load_balancer().scheme,
        evenkeel_core::intent::Scheme::Internal
    );
    assert_eq!(stage.plan().waits, []);
}

#[test]
fn cut_anywhere_a_replacement_ends_the_same() {
    let done = |cut: usize| {
        let mut stage = Stage::made(&one());
        stage.ask(&facing());
        stage.approve();
        stage.some_steps(cut);
        stage.settle();
        stage.later(120);
        stage.settle();
        assert_eq!(stage.plan().refusals, []);
        stage.seen
    };
    let whole = done(0);
    assert_eq!(whole.load_balancers.len(), 1);
    for cut in 1..8 {
        assert_eq!(done(cut), whole, "cut after {cut} steps");
    }
}

#[test]
fn row_018_a_live_load_balancer_keeps_its_name() {
    let mut stage = Stage::made(&one().aws("name", "shop-a"));
    assert!(stage.seen.load_balancers.contains_key("shop-a"));
    stage.ask(&one().aws("name", "shop-b"));
    stage.only_tells("it keeps its name shop-a");
}

#[test]
fn row_023_a_tag_made_by_hand_stays() {
    let mut stage = Stage::made(&one());
    stage.load_balancer().tags.insert("Foo".into(), "1".into());
    assert_eq!(stage.plan().steps, []);
}

#[test]
fn row_024_a_tag_that_is_no_longer_asked_for_goes_everywhere() {
    let mut stage = Stage::made(&one().aws("additional-resource-tags", "Team=a,Unit=b"));
    stage.load_balancer().tags.insert("Foo".into(), "1".into());
    stage.ask(&one().aws("additional-resource-tags", "Unit=b"));
    let waves = stage.settle();
    let gone = |kind| format!("Tag {kind} evenkeel.dev/tags=Unit -Team");
    assert_eq!(
        waves.words(),
        [
            [
                "listener",
                "load balancer",
                "security group",
                "target group"
            ]
            .map(gone)
            .to_vec(),
            vec!["Settled".to_owned()]
        ]
    );
    assert!(stage.load_balancer().tags.contains_key("Foo"));
}

fn tls(certificates: &str) -> Asking {
    service(&["t:8443/TCP>30443"]).aws("ssl-cert", certificates)
}

const C: &str = "arn:aws:acm:eu-west-1:123456789012:certificate/c";

#[test]
fn row_058_an_alpn_policy_that_is_no_longer_asked_for_goes() {
    let mut stage = Stage::made(&tls(A).aws("alpn-policy", "HTTP2Only"));
    let alpn = |stage: &Stage| stage.listener(8_443).tls.clone().expect("TLS").alpn;
    assert_eq!(alpn(&stage).as_deref(), Some("HTTP2Only"));
    stage.ask(&tls(A));
    assert_eq!(
        stage.settle().words(),
        [["SetListener TLS:8443"], ["Settled"]]
    );
    assert_eq!(alpn(&stage), None);
}

#[test]
fn row_059_a_further_certificate_goes() {
    let mut stage = Stage::made(&tls(&format!("{A},{B}")));
    stage.ask(&tls(A));
    assert_eq!(
        stage.settle().words(),
        [
            ["SetCertificates -b"],
            ["Tag listener  -evenkeel.dev/further-certificates"],
            ["Settled"]
        ]
    );
}

#[test]
fn row_060_another_default_certificate_takes_its_place() {
    let mut stage = Stage::made(&tls(&format!("{A},{B}")));
    stage.ask(&tls(&format!("{C},{B}")));
    assert_eq!(
        stage.settle().words(),
        [["SetListener TLS:8443"], ["Settled"]]
    );
    let tls = stage.listener(8_443).tls.clone().expect("TLS");
    assert_eq!((&*tls.certificate, tls.further.len()), (C, 1));
}

#[test]
fn a_further_certificate_is_told_before_it_comes() {
    let mut stage = Stage::made(&tls(A));
    stage.ask(&tls(&format!("{A},{B}")));
    assert_eq!(
        stage.settle().words(),
        [
            vec![
                "SetCertificates +b",
                "Tag listener evenkeel.dev/further-certificates=1"
            ],
            vec!["Settled"]
        ]
    );
}

#[test]
fn plain_tcp_becomes_tls_in_place() {
    let mut stage = Stage::made(&service(&["t:8443/TCP>30443"]));
    stage.ask(&tls(&format!("{A},{B}")));
    let waves = stage.settle().words();
    assert_eq!(waves.concat()[0], "SetListener TLS:8443", "{waves:#?}");
    assert_eq!(
        stage
            .listener(8_443)
            .tls
            .as_ref()
            .expect("TLS")
            .further
            .len(),
        1
    );
    stage.ask(&service(&["t:8443/TCP>30443"]));
    stage.settle();
    assert_eq!(stage.listener(8_443).tls, None);
}

#[test]
fn row_073_a_port_that_is_no_longer_asked_for_goes() {
    let mut stage = Stage::made(&service(&["a:80/TCP>30080", "b:443/TCP>30443"]));
    stage.ask(&one());
    assert_eq!(
        stage.settle().words(),
        [
            vec!["Delete listener", "Revoke tcp 443 from 0.0.0.0/0"],
            vec!["Delete target group"]
        ]
    );
}

#[test]
fn row_074_another_protocol_moves_the_listener_to_another_target_group() {
    let mut stage = Stage::made(&one());
    stage.ask(&service(&["a:80/UDP>30080"]));
    assert_eq!(
        stage.settle().words(),
        [
            vec![
                "Authorize udp 80 from 0.0.0.0/0",
                "CreateTargetGroup tg/UDP/80"
            ],
            vec!["Register i-0001:30080 i-0002:30080 i-0003:30080"],
            vec!["SetListener UDP:80"],
            vec!["Delete target group", "Revoke tcp 80 from 0.0.0.0/0"],
        ]
    );
}

#[test]
fn row_088_another_traffic_policy_changes_the_health_check_in_place() {
    let mut stage = Stage::made(&one());
    stage.ask(&one().local(32_222));
    let waves = stage.settle().words();
    assert_eq!(waves.len(), 1, "{waves:#?}");
    let check = "SetHealthCheck HTTP 32222 /healthz 200-399 10s/6s/2/2";
    assert_eq!(waves[0], [check], "{waves:#?}");
}

#[test]
fn row_097_the_proxy_protocol_is_switched_off() {
    let mut stage = Stage::made(&one().aws("proxy-protocol", "*"));
    stage.ask(&one());
    let waves = stage.settle().words().concat();
    let off = "SetAttributes target group proxy_protocol_v2.enabled=false";
    assert!(waves.iter().any(|step| step == off), "{waves:#?}");
}

#[test]
fn row_098_an_attribute_that_is_no_longer_asked_for_is_set_back() {
    let asking = || {
        one().aws(
            "target-group-attributes",
            "deregistration_delay.timeout_seconds=60",
        )
    };
    let mut stage = Stage::made(&asking());
    stage.target_group(80);
    stage.ask(&one());
    let waves = stage.settle().words();
    assert_eq!(
        waves[0],
        ["SetAttributes target group deregistration_delay.timeout_seconds=300"]
    );
    assert_eq!(waves[2], ["Tag load balancer  -evenkeel.dev/settled"]);
    let tags = &stage.target_group(80).tags;
    assert!(!tags.contains_key("evenkeel.dev/attributes"), "{tags:#?}");

    // What somebody set by hand is not ours to set back.
    let known = stage.target_group(80).attributes.as_mut().expect("known");
    known.insert("stickiness.enabled".into(), "true".into());
    assert_eq!(stage.plan().steps, []);

    // The tag tells of it before it is set.
    stage.ask(&asking());
    let waves = stage.settle().words();
    assert!(
        waves[0][0].starts_with("Tag target group evenkeel.dev/attributes="),
        "{waves:#?}"
    );
    assert!(
        waves[1][0].starts_with("SetAttributes target group"),
        "{waves:#?}"
    );
}

#[test]
fn an_attribute_of_a_load_balancer_costs_no_write_that_can_be_spared() {
    let asking = |attributes: &str| one().aws("attributes", attributes);
    let protected = "deletion_protection.enabled=true";
    let shifted = "zonal_shift.config.enabled=true";
    let both = format!("{protected},{shifted}");
    let mut stage = Stage::made(&one());
    let mut waves = |asking: &Asking| {
        stage.ask(asking);
        stage.settle().words().concat()
    };
    let set = |pairs: &str| format!("SetAttributes load balancer {pairs}");
    let listed = "Tag load balancer evenkeel.dev/attributes=deletion_protection.enabled";
    // One that comes: noted, set, and noted that it is done.
    assert_eq!(
        waves(&asking(protected)),
        [listed, &set(protected), "Settled"]
    );
    // Another value.
    let off = "deletion_protection.enabled=false";
    assert_eq!(waves(&asking(off)), [&set(off), "Settled"]);
    assert_eq!(
        waves(&asking(&both)),
        [
            &format!("{listed} zonal_shift.config.enabled"),
            &set(&both.replace(',', " ")),
            "Settled"
        ]
    );
    // One that goes, and the other.
    assert_eq!(
        waves(&asking(protected)),
        [
            set("zonal_shift.config.enabled=false"),
            format!("{listed}, settled")
        ]
    );
    assert_eq!(
        waves(&one()),
        [
            &set(off),
            "Tag load balancer  -evenkeel.dev/attributes -evenkeel.dev/settled"
        ]
    );
}

/// Cut after any step, the end is the same, and a process that starts takes nothing for done that is not.
#[test]
fn cut_anywhere_attributes_come_and_go() {
    let with = || {
        one()
            .aws("attributes", "deletion_protection.enabled=true")
            .aws("inbound-sg-rules-on-private-link-traffic", "off")
            .aws("proxy-protocol", "*")
    };
    let tags = |stage: &mut Stage| {
        let group = stage.target_group(80).tags.clone();
        (stage.load_balancer().tags.clone(), group)
    };
    for (from, to) in [(one(), with()), (with(), one())] {
        let mut whole = Stage::made(&from);
        whole.ask(&to);
        let steps = whole.settle().count();
        let done = tags(&mut whole);
        for cut in 0..=steps {
            let mut stage = Stage::made(&from);
            stage.ask(&to);
            stage.some_steps(cut);
            let mut starting = stage.clone();
            starting.look_in_bulk();
            let plan = starting.plan();
            let is_quiet = plan.steps.is_empty() && plan.waits.is_empty();
            assert!(!is_quiet || tags(&mut stage) == done, "cut after {cut}");
            stage.settle();
            assert_eq!(tags(&mut stage), done, "cut after {cut}");
            let (is, shall) = (stage.load_balancer(), whole.load_balancer());
            assert_eq!(is.attributes, shall.attributes, "cut after {cut}");
            assert_eq!(is.private_link_rules, shall.private_link_rules);
        }
    }
}

#[test]
fn attributes_that_were_not_read_are_looked_at_before_they_change() {
    let asking = |key: &str| one().aws("attributes", key);
    let mut stage = Stage::made(&asking("zonal_shift.config.enabled=true"));
    stage.look_in_bulk();
    assert_eq!((stage.plan().steps.len(), stage.plan().waits.len()), (0, 0));
    stage.ask(&asking("deletion_protection.enabled=true"));
    let plan = stage.plan();
    assert_eq!((plan.steps.len(), plan.waits.len()), (0, 1));
    // Where none was ever set nothing has to be read.
    let mut stage = Stage::made(&one());
    stage.look_in_bulk();
    stage.ask(&asking("deletion_protection.enabled=true"));
    assert_eq!(
        stage.settle().words(),
        [
            ["Tag load balancer evenkeel.dev/attributes=deletion_protection.enabled"],
            ["SetAttributes load balancer deletion_protection.enabled=true"]
        ]
    );
}

#[test]
fn an_attribute_that_only_grows_holds_back_no_other() {
    let key = "secondary_ips.auto_assigned.per_subnet";
    let asking =
        |number: u32, rest: &str| one().aws("attributes", &format!("{key}={number}{rest}"));
    let mut stage = Stage::made(&asking(2, ""));
    stage.ask(&asking(1, ""));
    stage.settle();
    stage.only_tells("stays at 2: AWS lets it only grow");
    stage.ask(&asking(1, ",zonal_shift.config.enabled=true"));
    let waves = stage.settle().words().concat();
    let set = "SetAttributes load balancer zonal_shift.config.enabled=true";
    assert!(waves.iter().any(|step| step == set), "{waves:#?}");
    stage.ask(&asking(3, ""));
    let waves = stage.settle().words().concat();
    assert!(waves[0].contains("per_subnet=3"), "{waves:#?}");
}

fn given(groups: &str) -> Asking {
    one().aws("security-groups", groups)
}

fn with_groups(mut stage: Stage) -> Stage {
    stage.facts().given_groups = [
        ("web-sg".into(), vec!["sg-4".into()]),
        ("sg-9".into(), vec!["sg-9".into()]),
        ("twice".into(), vec!["sg-5".into(), "sg-6".into()]),
    ]
    .into_iter()
    .collect();
    stage
}

#[test]
fn row_109_given_groups_are_attached_and_none_is_made() {
    let mut stage = with_groups(Stage::of(&given("web-sg,sg-9")));
    stage.settle();
    assert!(stage.seen.security_groups.is_empty());
    let groups = &stage.load_balancer().security_groups;
    let want = ["sg-4".into(), "sg-9".into()];
    assert_eq!(*groups, want.into_iter().collect());
}

#[test]
fn row_111_a_given_group_that_is_not_there_is_refused() {
    let stage = with_groups(Stage::of(&given("nosuch,twice")));
    assert_eq!(stage.plan().steps, []);
    let told = stage.refused().join(" | ");
    for part in [
        "\"nosuch\" is neither the id nor the tag Name of a security group of the VPC vpc-1",
        "\"twice\" is the tag Name of 2 security groups",
    ] {
        assert!(told.contains(part), "{told}");
    }
}

#[test]
fn row_112_a_given_group_takes_the_place_of_the_own_one() {
    let mut stage = with_groups(Stage::made(&one()));
    stage.ask(&given("sg-9"));
    assert_eq!(
        stage.settle().words(),
        [["SetSecurityGroups sg-9"], ["Delete security group"]]
    );
    stage.ask(&one());
    let waves = stage.settle().words();
    assert_eq!(
        waves.len(),
        3,
        "it has its rules before it is attached: {waves:#?}"
    );
}

#[test]
fn row_122_a_rule_made_by_hand_on_the_own_group_goes() {
    let mut stage = Stage::made(&one());
    let by_hand = evenkeel_aws::model::Rule {
        protocol: evenkeel_aws::model::RuleProtocol::Tcp,
        from: 22,
        to: 22,
        source: evenkeel_aws::model::Source::Cidr("0.0.0.0/0".parse().expect("a prefix")),
    };
    for group in stage.seen.security_groups.values_mut() {
        group.rules.insert(by_hand.clone());
    }
    assert_eq!(stage.settle().words(), [["Revoke tcp 22 from 0.0.0.0/0"]]);
}

#[test]
fn rules_are_added_before_others_go_and_after_where_there_is_no_room() {
    let ranges = |prefix: &str, count: u32| {
        let all: Vec<String> = (0..count).map(|n| format!("{prefix}.{n}.0/24")).collect();
        one().spec("loadBalancerSourceRanges", json!(all))
    };
    for (count, first) in [(20, "Authorize"), (40, "Revoke")] {
        let mut stage = Stage::made(&ranges("10.0", count));
        stage.ask(&ranges("10.1", count));
        let waves = stage.settle().words();
        assert_eq!(waves.len(), 2, "{waves:#?}");
        assert!(waves[0][0].starts_with(first), "{waves:#?}");
    }
}

#[test]
fn no_rule_goes_while_one_that_is_wanted_could_not_be_added() {
    let range = |range: &str| one().spec("loadBalancerSourceRanges", json!([range]));
    let asked = |class| {
        let mut stage = Stage::made(&range("10.0.0.0/8"));
        stage.ask(&range("10.0.0.0/16"));
        stage.fails("Authorize", class);
        let steps = stage.plan().steps;
        let words = steps.iter().map(|planned| in_words(&planned.step));
        words.collect::<Vec<_>>()
    };
    let (add, remove) = (
        "Authorize tcp 80 from 10.0.0.0/16",
        "Revoke tcp 80 from 10.0.0.0/8",
    );
    for class in [ErrorClass::Transient, ErrorClass::Denied] {
        assert_eq!(asked(class), [add], "{class:?}");
    }
    // There is no room for it before.
    assert_eq!(asked(ErrorClass::Quota), [add, remove]);
}

#[test]
fn a_prefix_list_takes_the_room_of_all_that_it_may_have() {
    let asking = |list: &str| one().aws("security-group-prefix-lists", list);
    let mut stage = Stage::of(&asking("pl-1"));
    let lists = [("pl-1".into(), 40), ("pl-2".into(), 40)];
    stage.facts().prefix_lists = lists.into_iter().collect();
    stage.settle();
    stage.ask(&asking("pl-2"));
    assert_eq!(
        stage.settle().words(),
        [["Revoke tcp 80 from pl-1"], ["Authorize tcp 80 from pl-2"]]
    );
}

#[test]
fn a_deletion_of_everything_takes_both_load_balancers() {
    let mut stage = Stage::made(&one());
    stage.ask(&facing());
    stage.approve();
    stage.settle();
    stage.want = Want::Nothing;
    stage.settle();
    assert!(stage.seen.is_empty());
}

#[test]
fn what_was_said_of_private_link_is_taken_back() {
    let asking = || one().aws("inbound-sg-rules-on-private-link-traffic", "off");
    let mut stage = Stage::made(&asking());
    assert_eq!(stage.load_balancer().private_link_rules, Some(false));
    stage.look_in_bulk();
    assert_eq!((stage.plan().steps.len(), stage.plan().waits.len()), (0, 0));
    let mut stage = Stage::made(&asking());
    stage.ask(&one());
    let waves = stage.settle().words();
    assert_eq!(waves.len(), 2, "{waves:#?}");
    assert!(waves[0][0].starts_with("SetSecurityGroups"), "{waves:#?}");
    assert_eq!(
        waves[1],
        ["Tag load balancer  -evenkeel.dev/attributes -evenkeel.dev/settled"]
    );
    assert_eq!(stage.load_balancer().private_link_rules, Some(true));

    // The tag tells of it before it is set.
    stage.ask(&asking());
    let waves = stage.settle().words();
    assert_eq!(
        waves[0],
        ["Tag load balancer evenkeel.dev/attributes=private-link-rules"]
    );
    assert!(waves[1][0].starts_with("SetSecurityGroups"), "{waves:#?}");
    assert_eq!(waves[2..], [["Settled"]]);
}

#[test]
fn a_bulk_look_takes_given_groups_for_those_that_are_attached() {
    let looked = || {
        let mut stage = with_groups(Stage::of(&given("web-sg,sg-9")));
        stage.settle();
        stage.look_in_bulk();
        stage.facts().given_groups.clear();
        stage
    };
    let plan = looked().plan();
    assert_eq!(
        (plan.steps.len(), plan.waits.len(), plan.refusals.len()),
        (0, 0, 0)
    );
    for other in ["web-sg", "web-sg,sg-8"] {
        let mut stage = looked();
        stage.ask(&given(other));
        let plan = stage.plan();
        assert_eq!((plan.steps.len(), plan.waits.len()), (0, 1), "{other}");
    }
}

#[test]
fn a_load_balancer_that_shall_be_replaced_is_left_where_it_is() {
    let mut stage = Stage::made(&one());
    let elsewhere = service(&["a:80/TCP>30080", "b:443/TCP>30443"])
        .aws("scheme", "internet-facing")
        .aws("subnets", "s-p,s-q");
    stage.ask(&elsewhere);
    let before = stage.load_balancer().subnets.clone();
    stage.settle();
    assert_eq!(stage.load_balancer().subnets, before);
    assert_eq!(
        stage.seen.listeners.len(),
        2,
        "what else is asked for is done"
    );
    // Approved, and it cannot be made: the old one serves on, with what is asked of its ports.
    stage.ask(&elsewhere.aws("subnets", "s-p,s-q,s-nowhere"));
    stage.approve();
    assert_eq!(stage.settle().count(), 0);
    let told = stage.refused().join(" | ");
    assert!(told.contains("s-nowhere"), "{told}");
    assert_eq!(stage.seen.load_balancers.len(), 1);
}
