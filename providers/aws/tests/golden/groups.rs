//! Several Services on one load balancer. No row speaks of it.

use evenkeel_core::{
    group::Group,
    intent::Scheme,
    problem::reason,
    provider::{Verdict, Want},
};

use super::{rig::*, stage::Stage};

/// The members, oldest first.
fn group(members: &[Asking]) -> Group {
    let members: Vec<_> = members.iter().map(Asking::intent).collect();
    Group {
        key: Group::key_of(&members[0]),
        cluster: cluster(),
        members,
        unknown: Vec::new(),
    }
}

fn member(name: &str, port: &str) -> Asking {
    service(&[port])
        .named(name)
        .annotated("evenkeel.dev/group", "edge")
}

fn web() -> Asking {
    member("web", "h:80/TCP>30080")
}

fn api() -> Asking {
    member("api", "s:443/TCP>30443")
}

#[test]
fn the_oldest_member_decides_what_all_share() {
    let shared = web().aws("scheme", "internet-facing").aws("name", "edge");
    let other = api().aws("scheme", "internal").aws("name", "edge");
    let got = got(&group(&[shared, other])).warning_of("scheme");
    let load_balancer = &got.desired.load_balancer;
    assert_eq!(load_balancer.scheme, Some(Scheme::InternetFacing));
    assert_eq!(got.listeners(), ["TCP:80", "TCP:443"]);
    let members: Vec<_> = got
        .desired
        .members
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(members, ["default/web", "default/api"]);
    let marks = &got.listener(443).marks;
    assert_eq!(
        (&*marks.service, &*marks.member),
        ("default/api", "uid-of-api")
    );
    assert_eq!(&*load_balancer.marks.service, "default/edge");
}

#[test]
fn what_is_of_a_port_is_each_member_s_own() {
    let attribute = "deregistration_delay.timeout_seconds";
    let tls = api()
        .aws("ssl-cert", A)
        .aws("target-group-attributes", &format!("{attribute}=5"))
        .spec(
            "loadBalancerSourceRanges",
            serde_json::json!(["10.0.0.0/8"]),
        );
    let got = got(&group(&[web(), tls])).silently();
    assert_eq!(got.listeners(), ["TCP:80", "TLS:443"]);
    assert_eq!(got.target_attributes(80), [""; 0]);
    assert_eq!(got.target_attributes(443), [format!("{attribute}=5")]);
    assert_eq!(
        got.rules(),
        ["tcp 80 from 0.0.0.0/0", "tcp 443 from 10.0.0.0/8"]
    );
}

#[test]
fn a_member_that_is_wrong_keeps_what_it_has_and_its_neighbours_do_not_notice() {
    let broken = api().aws("healthcheck-protocol", "grpc");
    let got = got(&group(&[web(), broken]));
    assert_eq!(got.listeners(), ["TCP:80"]);
    let unknown: Vec<_> = got
        .desired
        .unknown
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(unknown, ["uid-of-api"]);
    assert_eq!(got.port_errors.len(), 1);
    assert!(
        got.port_errors[0].message.contains("grpc"),
        "{}",
        got.port_errors[0]
    );
}

#[test]
fn what_all_share_is_wrong_for_all() {
    let group = group(&[web().aws("scheme", "public"), api()]);
    let Verdict::Rejected(problems) = evenkeel_aws::desired::desired(&context(), &group) else {
        panic!("it is accepted");
    };
    assert!(problems.to_string().contains("scheme"), "{problems}");
}

#[test]
fn two_members_cannot_share_a_listener() {
    let tcp = member("web", "t:53/TCP>31053");
    let udp = member("dns", "u:53/UDP>31054");
    let got = got(&group(&[udp, tcp]));
    assert_eq!(got.listeners(), ["UDP:53"]);
    assert_eq!(got.port_errors[0].reason, reason::PORT_CONFLICT);
    assert_eq!(got.port_errors[0].port.to_string(), "53/TCP");
}

#[test]
fn the_member_for_whose_ports_there_is_no_room_is_told() {
    let ports: Vec<String> = (1..=50)
        .map(|n| format!("p{n}:{n}/TCP>{}", 30000 + n))
        .collect();
    let ports: Vec<&str> = ports.iter().map(String::as_str).collect();
    let full = service(&ports)
        .named("web")
        .annotated("evenkeel.dev/group", "edge");
    let got = got(&group(&[full, api()]));
    assert_eq!(got.listeners().len(), 50);
    assert_eq!(got.port_errors[0].reason, reason::QUOTA_EXCEEDED);
}

#[test]
fn every_problem_of_a_service_is_told_at_once() {
    let asking = plain()
        .aws("scheme", "public")
        .aws("attributes", "x=1,deletion_protection.enabled=ja")
        .aws("target-group-attributes", "stickiness.enabled=ja")
        .aws("healthcheck-interval", "4")
        .aws("ssl-ports", "https")
        .aws("name", "-")
        .aws("security-group-prefix-lists", "x")
        .aws("target-node-labels", "pool");
    let problems = asking.problems();
    assert_eq!(problems.iter().count(), 9, "{problems:#?}");
    assert_eq!(asking.group().members.len(), 1);
}

#[test]
fn while_a_member_cannot_be_read_nobody_says_what_all_share() {
    let oldest = api().aws("scheme", "public").aws("security-groups", "sg-1");
    let mut group = group(&[oldest.aws("ssl-cert", A)]);
    group.unknown = vec![web().intent().service];
    let got = got(&group).silently();
    assert!(got.desired.shared_unknown);
    assert_eq!(got.listeners(), ["TLS:443"]);
    assert_eq!(got.desired.load_balancer.scheme, None);
    assert_eq!(got.rules(), ["tcp 443 from 0.0.0.0/0"]);
}

#[test]
fn while_a_member_cannot_be_read_what_all_share_stays() {
    let oldest = || {
        web()
            .aws("attributes", "deletion_protection.enabled=true")
            .aws("additional-resource-tags", "Team=shop")
            .spec(
                "loadBalancerSourceRanges",
                serde_json::json!(["10.0.0.0/8"]),
            )
    };
    let mut stage = Stage::made(&oldest());
    let before = stage.load_balancer().clone();
    let group_without = |readable: Asking| {
        let mut group = group(&[readable]);
        group.unknown = vec![oldest().intent().service];
        Want::Exists(got(&group).desired)
    };
    stage.want = group_without(api().aws("scheme", "internet-facing"));
    stage.settle();
    assert_eq!(*stage.load_balancer(), before);
    let ports: Vec<_> = stage.seen.listeners.keys().map(|(_, port)| *port).collect();
    assert_eq!(ports, [80, 443]);
    let rules = stage
        .seen
        .security_groups
        .values()
        .flat_map(|own| &own.rules);
    let rules: Vec<_> = rules.map(ToString::to_string).collect();
    assert_eq!(rules, ["tcp 80 from 10.0.0.0/8", "tcp 443 from 0.0.0.0/0"]);

    // What was given to every object too.
    let target_groups = stage.seen.target_groups.values().map(|one| &one.tags);
    let listeners = stage.seen.listeners.values().map(|one| &one.tags);
    for tags in target_groups.chain(listeners) {
        assert_eq!(tags.get("Team").map(|team| &**team), Some("shop"));
    }
    stage.want = Want::Exists(got(&group(&[oldest(), api()])).desired);
    stage.settle();
    stage.want = group_without(api().aws("additional-resource-tags", "Team=api"));
    assert_eq!(stage.settle().words(), Vec::<Vec<String>>::new());

    let mut cold = Stage::cold(&oldest());
    cold.want = group_without(api());
    let plan = cold.plan();
    assert!(plan.steps.is_empty(), "{:#?}", plan.steps);
    assert_eq!(plan.refusals.len(), 1, "{:#?}", plan.refusals);
}
