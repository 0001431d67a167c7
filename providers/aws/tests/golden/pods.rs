//! Pods as targets: rows of several sections, and tables beside them.

use std::collections::{BTreeMap, BTreeSet};

use evenkeel_aws::{
    model::{ProbePort, TargetState, TargetType},
    quotas::{Quota, Quotas},
};
use evenkeel_core::{
    claim::Profile,
    endpoints::{Endpoint, EndpointSet, Use},
    plan::Until,
    ports::{PortKey, Protocol},
    provider::Want,
};
use serde_json::json;

use super::{rig::*, stage::Stage};

/// A Service whose targets are pods.
fn pods(ports: &[&str]) -> Asking {
    service(ports).aws("nlb-target-type", "ip")
}

/// One whose pods listen on 8080.
fn one() -> Asking {
    listening_on(json!(8080))
}

fn listening_on(target: serde_json::Value) -> Asking {
    let port = json!({"name": "a", "port": 80, "protocol": "TCP", "nodePort": 30080, "targetPort": target});
    pods(&[]).spec("ports", json!([port]))
}

/// An endpoint such as `10.1.0.1:8080`, `10.1.0.1:8080?` for one that is not ready, or `10.1.0.1:8080~` for one that waits for us.
fn endpoint(text: &str) -> Endpoint {
    let place = text.trim_end_matches(['?', '~']);
    let (address, port) = place.rsplit_once(':').expect("a port");
    Endpoint {
        address: address
            .trim_matches(['[', ']'])
            .parse()
            .expect("an address"),
        port: port.parse().expect("a number"),
        use_: match &text[place.len()..] {
            "" => Use::Add,
            "~" => Use::Await,
            _ => Use::LastResort,
        },
        zone: None,
        pod: None,
        waits: None,
    }
}

fn key(port: u16, protocol: Protocol) -> PortKey {
    PortKey { port, protocol }
}

/// The endpoints of port 80.
fn on_80(asking: &Asking, endpoints: &[&str]) -> EndpointSet {
    let mut all: Vec<_> = endpoints.iter().map(|text| endpoint(text)).collect();
    all.sort();
    let of_service = [(key(80, Protocol::Tcp), all)].into();
    EndpointSet::new([(asking.intent().service.uid, of_service)].into())
}

/// A Service that has its load balancer, and these targets.
fn made(endpoints: &[&str]) -> Stage {
    let mut stage = Stage::of(&one());
    stage.endpoints = on_80(&one(), endpoints);
    stage.settle();
    assert_eq!(stage.plan().refusals, []);
    stage
}

fn targets(stage: &mut Stage) -> Vec<String> {
    let targets = stage.targets(80).keys();
    targets
        .map(|target| format!("{}:{}", target.id, target.port))
        .collect()
}

#[test]
fn row_006_the_older_key_says_more() {
    let got = plain()
        .aws("type", "nlb-ip")
        .aws("nlb-target-type", "instance")
        .gets()
        .warning_of("nlb-target-type");
    assert_eq!(got.target_group(7000).target_type, TargetType::Ip);
    for asking in [
        plain().aws("type", "nlb-ip"),
        plain().aws("nlb-target-type", "ip"),
        plain().aws("type", "external").aws("nlb-target-type", "ip"),
    ] {
        let got = asking.gets().silently();
        assert_eq!(got.target_group(7000).target_type, TargetType::Ip);
    }
}

#[test]
fn row_079_policy_local_is_nothing_to_pods() {
    let asking = pods(&["h:80/TCP>30080", "s:443/TCP>30443"]).local(32222);
    let got = asking.gets().silently();
    assert_eq!(got.health_check(80), "TCP traffic-port 10s/10s/3/3");
    let got = asking.profile(Profile::Neutral).gets().silently();
    assert_eq!(got.health_check(80), "TCP traffic-port 10s/6s/2/2");
}

#[test]
fn row_085_a_port_by_its_name_is_its_target_port() {
    let with = |target: serde_json::Value| {
        let ports =
            json!([{"name": "admin", "port": 9000, "protocol": "TCP", "targetPort": target}]);
        pods(&["admin:9000/TCP"])
            .spec("ports", ports)
            .aws("healthcheck-port", "admin")
    };
    let got = with(json!(9100)).gets().silently();
    assert_eq!(
        got.target_group(9000).health_check.port,
        ProbePort::Number(9100)
    );
    with(json!("adm")).is_refused_for("healthcheck-port");
}

#[test]
fn row_136_nodes_give_way_to_pods_once_these_are_there() {
    let nodes = service(&["a:80/TCP>30080"]);
    let mut stage = Stage::made(&nodes);
    stage.ask(&one());
    stage.endpoints = on_80(&one(), &["10.1.0.1:8080", "10.1.0.2:8080"]);
    assert_eq!(
        stage.settle().words(),
        [
            vec![
                "CreateTargetGroup tg/TCP/80",
                "OpenNodes tcp/8080 in sg-nodes"
            ],
            vec!["Register 10.1.0.1:8080 10.1.0.2:8080"],
            vec!["SetListener TCP:80"],
            vec!["Delete target group"],
        ]
    );
    assert_eq!(targets(&mut stage), ["10.1.0.1:8080", "10.1.0.2:8080"]);
    // And back.
    stage.ask(&nodes);
    let words = stage.settle().words().concat();
    assert!(
        words.contains(&"CloseNodes tcp 8080 from sg-back".to_owned()),
        "{words:#?}"
    );
    assert_eq!(stage.target_group(80).target_type, TargetType::Instance);

    // While no pod is ready the nodes serve on.
    stage.ask(&one());
    stage.endpoints = on_80(&one(), &["10.1.0.1:8080?"]);
    let words = stage.settle().words();
    assert_eq!(
        words,
        [[
            "CreateTargetGroup tg/TCP/80",
            "OpenNodes tcp/8080 in sg-nodes"
        ]]
    );
}

#[test]
fn what_is_made_for_pods() {
    let mut stage = Stage::of(&one());
    stage.endpoints = on_80(&one(), &["10.1.0.1:8080", "10.1.0.2:9090"]);
    assert_eq!(
        stage.settle().words(),
        [
            vec![
                "CreateSecurityGroup",
                "CreateTargetGroup tg/TCP/80",
                "OpenNodes tcp/8080, tcp/9090 in sg-nodes",
            ],
            vec![
                "Authorize tcp 80 from 0.0.0.0/0",
                "CreateLoadBalancer",
                "Register 10.1.0.1:8080 10.1.0.2:9090",
            ],
            vec!["CreateListener TCP:80"],
        ]
    );
    let group = stage.target_group(80);
    assert_eq!((group.port, group.target_type), (8080, TargetType::Ip));
    assert!(!group.tags.contains_key("evenkeel.dev/node-port"));
    // And nothing is left.
    stage.want = Want::Nothing;
    let words = stage.settle().words().concat();
    let closed = "CloseNodes tcp 8080 from sg-back, tcp 9090 from sg-back".to_owned();
    assert!(words.contains(&closed), "{words:#?}");
    assert!(stage.seen.is_empty());
}

#[test]
fn a_named_port_may_be_another_number_on_another_pod() {
    let asking = listening_on(json!("web"));
    assert_eq!(asking.gets().silently().target_group(80).node_port, 80);
    let mut stage = Stage::of(&asking);
    stage.endpoints = on_80(&asking, &["10.1.0.1:8080"]);
    stage.settle();
    for frozen in [false, true] {
        let mut stage = stage.clone();
        stage.endpoints = on_80(&asking, &["10.1.0.1:8080", "10.1.0.2:9090"]);
        if frozen {
            stage.want = Want::Frozen;
        }
        let words = stage.settle().words();
        assert_eq!(
            words.last(),
            Some(&vec!["Register 10.1.0.2:9090".to_owned()])
        );
        let before = words[..words.len() - 1].concat();
        let opened = "OpenNodes tcp/8080, tcp/9090 in sg-nodes".to_owned();
        assert!(before.contains(&opened) && before.len() == 2, "{words:#?}");
        // What was opened stays open while other pods come and go.
        stage.endpoints = on_80(&asking, &["10.1.0.1:8080"]);
        assert_eq!(stage.settle().words(), [["Deregister 10.1.0.2:9090"]]);
    }
}

#[test]
fn pods_that_come_and_go_are_registered_and_deregistered_and_nothing_else() {
    for (name, before, after, want) in [
        (
            "the same",
            &["10.1.0.1:8080"][..],
            &["10.1.0.1:8080"][..],
            vec![],
        ),
        (
            "one more",
            &["10.1.0.1:8080"],
            &["10.1.0.1:8080", "10.1.0.2:8080"],
            vec![vec!["Register 10.1.0.2:8080"]],
        ),
        (
            "one less",
            &["10.1.0.1:8080", "10.1.0.2:8080"],
            &["10.1.0.1:8080"],
            vec![vec!["Deregister 10.1.0.2:8080"]],
        ),
        (
            "one replaced beside another",
            &["10.1.0.1:8080", "10.1.0.2:8080"],
            &["10.1.0.1:8080", "10.1.0.3:8080"],
            vec![vec!["Deregister 10.1.0.2:8080", "Register 10.1.0.3:8080"]],
        ),
        (
            "all replaced: the new ones first",
            &["10.1.0.1:8080"],
            &["10.1.0.2:8080"],
            vec![
                vec!["Register 10.1.0.2:8080"],
                vec!["Deregister 10.1.0.1:8080"],
            ],
        ),
        (
            "not ready beside another",
            &["10.1.0.1:8080", "10.1.0.2:8080"],
            &["10.1.0.1:8080", "10.1.0.2:8080?"],
            vec![vec!["Deregister 10.1.0.2:8080"]],
        ),
        (
            "none ready: who is there stays, and nobody comes",
            &["10.1.0.1:8080"],
            &["10.1.0.1:8080?", "10.1.0.2:8080?"],
            vec![],
        ),
        (
            "none ready, and one gone",
            &["10.1.0.1:8080", "10.1.0.2:8080"],
            &["10.1.0.2:8080?"],
            vec![vec!["Deregister 10.1.0.1:8080"]],
        ),
        (
            "one that waits for us beside another",
            &["10.1.0.1:8080"],
            &["10.1.0.1:8080", "10.1.0.2:8080~"],
            vec![vec!["Register 10.1.0.2:8080"]],
        ),
        (
            "one that waits for us, and none ready: who is there stays",
            &["10.1.0.1:8080"],
            &["10.1.0.1:8080?", "10.1.0.2:8080~", "10.1.0.3:8080?"],
            vec![vec!["Register 10.1.0.2:8080"]],
        ),
        (
            "one that waits for us, and the other gone: the new one first",
            &["10.1.0.1:8080"],
            &["10.1.0.2:8080~"],
            vec![
                vec!["Register 10.1.0.2:8080"],
                vec!["Deregister 10.1.0.1:8080"],
            ],
        ),
        (
            "one that waits and is ready then",
            &["10.1.0.1:8080~"],
            &["10.1.0.1:8080"],
            vec![],
        ),
        (
            "scaled to nothing: an address may be another's at once",
            &["10.1.0.1:8080"],
            &[],
            vec![vec!["Deregister 10.1.0.1:8080"]],
        ),
    ] {
        let mut stage = made(before);
        stage.endpoints = on_80(&one(), after);
        // Whatever becomes of the annotations.
        for want_frozen in [false, true] {
            let mut stage = stage.clone();
            if want_frozen {
                stage.want = Want::Frozen;
            }
            stage.fresh = false;
            assert_eq!(stage.settle().words(), want, "{name}");
        }
    }
}

#[test]
fn what_nobody_knows_changes_nothing() {
    let mut stage = made(&["10.1.0.1:8080"]);
    stage.endpoints = EndpointSet::unknown();
    stage.want = Want::Frozen;
    assert_eq!(stage.plan().steps, []);
    stage.ask(&one());
    assert_eq!(stage.plan().steps, []);
    // A bulk look knows no targets, and is not believed to be right.
    stage.endpoints = on_80(&one(), &["10.1.0.1:8080"]);
    stage.look_in_bulk();
    let plan = stage.plan();
    assert_eq!(plan.steps, []);
    assert!(plan.waits.iter().any(|wait| wait.until == Until::FreshRead));
}

#[test]
fn a_new_load_balancer_has_its_listener_when_it_has_targets_or_can_have_none() {
    let mut stage = Stage::of(&one());
    let words = stage.settle().words().concat();
    assert!(
        !words.iter().any(|word| word.starts_with("CreateListener")),
        "{words:#?}"
    );
    stage.endpoints = on_80(&one(), &[]);
    assert_eq!(stage.settle().words(), [["CreateListener TCP:80"]]);
    stage.endpoints = on_80(&one(), &["10.1.0.1:8080"]);
    assert_eq!(stage.settle().words(), [["Register 10.1.0.1:8080"]]);
}

#[test]
fn a_target_group_has_the_targets_of_its_family_and_protocols() {
    let asking = || pods(&["d:53/UDP>30053", "t:53/TCP>30053"]);
    let both = [
        (key(53, Protocol::Udp), vec![endpoint("10.1.0.1:53")]),
        (
            key(53, Protocol::Tcp),
            vec![endpoint("10.1.0.2:53"), endpoint("[fd00::1]:53")],
        ),
    ];
    let both: BTreeMap<_, _> = both.into();
    for (families, want) in [
        (json!(["IPv4"]), vec!["10.1.0.1:53", "10.1.0.2:53"]),
        (json!(["IPv6"]), vec!["fd00::1:53"]),
    ] {
        let asking = asking()
            .spec("ipFamilies", families)
            .aws("ip-address-type", "dualstack")
            .aws("enable-prefix-for-ipv6-source-nat", "on");
        let got = asking.gets();
        assert_eq!(got.listeners(), ["TCP_UDP:53"]);
        let mut stage = Stage::of(&asking);
        for subnet in stage.facts().subnets.values_mut() {
            subnet.ipv6 = vec!["fd01::/64".parse().expect("a prefix")];
        }
        let uid = asking.intent().service.uid;
        stage.endpoints = EndpointSet::new([(uid, both.clone())].into());
        let words = stage.settle().words();
        assert!(
            words
                .concat()
                .contains(&"OpenNodes tcp/53, udp/53 in sg-nodes".to_owned()),
            "{words:#?}"
        );
        let found: Vec<_> = stage
            .targets(53)
            .keys()
            .map(|target| format!("{}:{}", target.id, target.port))
            .collect();
        assert_eq!(found, want, "{:?}", got.target_group(53).family);
    }
}

#[test]
fn tcp_and_udp_of_one_number_need_one_target_port() {
    let with = |tcp: serde_json::Value, udp: serde_json::Value| {
        let ports = json!([
            {"name": "t", "port": 53, "protocol": "TCP", "targetPort": tcp},
            {"name": "u", "port": 53, "protocol": "UDP", "targetPort": udp},
        ]);
        pods(&["t:53/TCP"]).spec("ports", ports).gets()
    };
    assert_eq!(with(json!(5353), json!(5353)).listeners(), ["TCP_UDP:53"]);
    for (tcp, udp) in [(json!(5353), json!(5354)), (json!("dns"), json!("dns"))] {
        let got = with(tcp, udp);
        assert_eq!(got.listeners(), ["TCP:53"]);
        assert_eq!(got.port_errors[0].reason, "TargetPortMismatch");
    }
}

#[test]
fn no_node_port_is_needed() {
    let asking = pods(&["a:80/TCP"]).spec("allocateLoadBalancerNodePorts", json!(false));
    let got = asking.gets().silently();
    assert_eq!(got.target_group(80).node_port, 80);
}

#[test]
fn the_port_of_a_probe_is_opened_too_and_a_node_port_is_open() {
    for (port, want) in [
        ("9100", "OpenNodes tcp/8080, tcp/9100 in sg-nodes"),
        ("30500", "OpenNodes tcp/8080 in sg-nodes"),
        ("traffic-port", "OpenNodes tcp/8080 in sg-nodes"),
    ] {
        let asking = one().aws("healthcheck-port", port);
        let mut stage = Stage::of(&asking);
        stage.endpoints = on_80(&asking, &["10.1.0.1:8080"]);
        let words = stage.settle().words().concat();
        assert!(words.contains(&want.to_owned()), "{port}: {words:#?}");
    }
}

#[test]
fn given_groups_without_the_backend_group_open_nothing() {
    let asking = one().aws("security-groups", "sg-9");
    let mut stage = Stage::of(&asking);
    stage
        .facts()
        .given_groups
        .insert("sg-9".into(), vec!["sg-9".into()]);
    stage.endpoints = on_80(&asking, &["10.1.0.1:8080"]);
    let words = stage.settle().words().concat();
    assert!(
        words.contains(&"Register 10.1.0.1:8080".to_owned()),
        "{words:#?}"
    );
    assert!(
        !words.iter().any(|word| word.starts_with("Admit")),
        "{words:#?}"
    );
}

#[test]
fn pods_on_no_node_of_ours_need_nobody_to_open() {
    let mut stage = Stage::of(&one());
    stage.nodes = evenkeel_core::nodes::NodeSet::empty();
    stage.endpoints = on_80(&one(), &["10.1.0.1:8080"]);
    let words = stage.settle().words();
    assert_eq!(
        words.last(),
        Some(&vec!["CreateListener TCP:80".to_owned()])
    );
    assert_eq!(targets(&mut stage), ["10.1.0.1:8080"]);
}

#[test]
fn no_more_than_aws_takes() {
    let mut stage = Stage::of(&one());
    let many: Vec<String> = (0..600)
        .map(|number| format!("10.1.{}.{}:8080", number / 200, number % 200))
        .collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    stage.endpoints = on_80(&one(), &many);
    stage.settle();
    assert_eq!(stage.targets(80).len(), 500);
    let told = stage.told();
    assert!(told[0].contains("500 of 600 endpoints"), "{told:#?}");
}

#[test]
fn a_target_that_drains_is_registered_again() {
    let mut stage = made(&["10.1.0.1:8080", "10.1.0.2:8080"]);
    for state in stage.targets(80).values_mut().take(1) {
        *state = TargetState::Draining;
    }
    assert_eq!(stage.settle().words(), [["Register 10.1.0.1:8080"]]);
}

#[test]
fn pods_behind_a_load_balancer_without_security_groups_are_refused() {
    one()
        .aws("disable-nlb-sg", "true")
        .is_refused_for("disable-nlb-sg");
}

/// Where there is no room for both, pods that wait for us come one part after another, and each makes room for one when it is found healthy.
#[test]
fn a_rollout_ends_where_there_is_no_room_for_both() {
    let old = [
        "10.1.0.1:8080",
        "10.1.0.2:8080",
        "10.1.0.3:8080",
        "10.1.0.4:8080",
    ];
    let new = [
        "10.1.0.5:8080",
        "10.1.0.6:8080",
        "10.1.0.7:8080",
        "10.1.0.8:8080",
    ];
    let mut stage = Stage::of(&one());
    stage.context.quotas = Quotas::default().with(Quota::TargetsPerZone, 4);
    stage.endpoints = on_80(&one(), &old);
    stage.settle();
    assert_eq!(targets(&mut stage), old);
    let mut served = BTreeSet::new();
    for _ in 0..new.len() {
        let waiting = new.map(|pod| match served.contains(pod) {
            true => pod.to_owned(),
            false => format!("{pod}~"),
        });
        let all: Vec<&str> = old
            .into_iter()
            .chain(waiting.iter().map(String::as_str))
            .collect();
        stage.endpoints = on_80(&one(), &all);
        stage.settle();
        let now = targets(&mut stage);
        assert_eq!(now.len(), 4);
        let came: Vec<&str> = new
            .into_iter()
            .filter(|pod| now.iter().any(|target| target == pod) && !served.contains(pod))
            .collect();
        assert_eq!(came.len(), 1, "one at a time: {now:?}");
        served.extend(came);
        assert_eq!(
            stage.plan().steps,
            [],
            "who waits has a place until it is healthy"
        );
    }
    stage.endpoints = on_80(&one(), &new);
    stage.settle();
    assert_eq!(targets(&mut stage), new);
}

#[test]
fn who_has_no_pod_to_serve_is_told() {
    for (endpoints, want) in [
        (&[][..], Some("has no endpoint there")),
        (
            &["10.1.0.1:8080?"],
            Some("one endpoint there, which is not ready"),
        ),
        (
            &["10.1.0.1:8080?", "10.1.0.2:8080?"],
            Some("2 endpoints there, none of which is ready"),
        ),
        (&["10.1.0.1:8080~"], None),
        (&["10.1.0.1:8080"], None),
    ] {
        let stage = made(endpoints);
        let warnings = stage.plan().warnings;
        let texts: Vec<_> = warnings.iter().map(ToString::to_string).collect();
        match want {
            None => assert_eq!(texts, [""; 0]),
            Some(part) => assert!(texts.len() == 1 && texts[0].contains(part), "{texts:#?}"),
        }
    }
    // Who was a target serves until another does.
    let mut stage = made(&["10.1.0.1:8080"]);
    stage.endpoints = on_80(&one(), &["10.1.0.1:8080?"]);
    assert_eq!(stage.plan().warnings, []);
}

#[test]
fn labels_of_nodes_are_nothing_to_pods() {
    let asking = one().aws("target-node-labels", "pool=edge");
    asking.gets().warning_of("target-node-labels");
}
