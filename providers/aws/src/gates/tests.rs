use evenkeel_core::{
    endpoints::Use,
    intent::Scheme,
    net::IpFamily,
    ports::{PortKey, Protocol},
};

use super::*;
use crate::model::{
    AddressType, CloudId, Marks, Pairs, Phase, ProbePort, ProbeProtocol, SeenLoadBalancer,
    TargetProtocol, TargetType,
};

const READY_SINCE: i64 = 1_800_000_000;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(READY_SINCE + seconds).expect("a time")
}

/// A target group of a port of the Service `u1`, which a load balancer uses or not. It is probed every 10 seconds.
fn group(port: u16, used: bool) -> SeenTargetGroup {
    SeenTargetGroup {
        arn: CloudId::new(format!("arn:{port}")),
        protocol: TargetProtocol::Tcp,
        port: 8080,
        target_type: TargetType::Ip,
        family: IpFamily::V4,
        health_check: HealthCheck {
            protocol: ProbeProtocol::Tcp,
            port: ProbePort::Traffic,
            path: None,
            matcher: None,
            interval: 10,
            timeout: 5,
            healthy: 2,
            unhealthy: 3,
        },
        load_balancers: used.then(|| CloudId::new("arn:lb")).into_iter().collect(),
        attributes: None,
        targets: None,
        since: BTreeSet::new(),
        not_taken: BTreeMap::new(),
        marks: Marks {
            cluster: "c".into(),
            group: "u1".into(),
            service: "shop/web".into(),
            member: "u1".into(),
            id: ResourceId::new(format!("tg/TCP/{port}")),
            retain: false,
        },
        tags: Pairs::new(),
    }
}

/// What is there: target groups by name, `80` or `80 unused`, on a load balancer of which only a bulk look is known.
fn seen(groups: &[&str]) -> Observed {
    let mut seen = Observed::default();
    for name in groups {
        let (port, unused) = name.split_once(' ').unwrap_or((name, ""));
        let group = group(port.parse().expect("a port"), unused.is_empty());
        seen.target_groups.insert((*name).into(), group);
    }
    seen.load_balancers.insert("lb".into(), load_balancer());
    seen
}

fn load_balancer() -> SeenLoadBalancer {
    SeenLoadBalancer {
        arn: CloudId::new("arn:lb"),
        phase: Phase::Active,
        phase_reason: None,
        dns_name: None,
        scheme: Scheme::Internal,
        address_type: AddressType::Ipv4,
        vpc: "vpc".into(),
        subnets: Vec::new(),
        security_groups: BTreeSet::new(),
        private_link_rules: None,
        source_nat: false,
        created_at: None,
        attributes: None,
        listeners_known: false,
        marks: group(80, true).marks,
        tags: Pairs::new(),
    }
}

/// Endpoints of ports, such as `80 web-1 10.1.0.1`; all of these pods wait.
fn waiting(all: &[&str]) -> EndpointSet {
    let mut ports = evenkeel_core::endpoints::Endpoints::new();
    for text in all {
        let parts: Vec<&str> = text.split(' ').collect();
        let [port, pod, address] = parts[..] else {
            panic!("port, pod and address")
        };
        let key = PortKey {
            port: port.parse().expect("a port"),
            protocol: Protocol::Tcp,
        };
        ports.entry(key).or_default().push(Endpoint {
            address: address.parse().expect("an address"),
            port: 8080,
            use_: Use::Await,
            zone: None,
            pod: Some(pod.into()),
            waits: Some(Waiting {
                uid: format!("uid of {pod}").into(),
                since: at(0),
            }),
        });
    }
    EndpointSet::new([(ServiceUid::new("u1"), ports)].into())
}

fn health(state: TargetState, reason: &str) -> Health {
    let reason = Some(reason).filter(|reason| !reason.is_empty());
    Health {
        state,
        reason: reason.map(Arc::from),
        description: reason.map(|_| "a text of AWS's".into()),
    }
}

/// What is said of the pods when AWS says this of targets by port and address, and so many seconds have passed.
fn told(
    seen: &Observed,
    endpoints: &EndpointSet,
    says: &[(&str, Health)],
    seconds: i64,
) -> Vec<String> {
    let asked = asked(seen, endpoints);
    let answer = |asked: &Asked<'_>| {
        let port = asked.group.listener_port().expect("a port").to_string();
        let of_group = says.iter().filter_map(|(place, health)| {
            let address = place.strip_prefix(&*port)?.strip_prefix(' ')?;
            let target = Target {
                id: address.into(),
                port: 8080,
            };
            Some((target, health.clone()))
        });
        of_group.collect::<BTreeMap<_, _>>()
    };
    let answers: Vec<_> = asked.iter().map(|asked| (asked, answer(asked))).collect();
    let judged = verdicts(endpoints, &answers, at(seconds));
    let one = |judged: Judged| {
        assert_eq!(*judged.uid, format!("uid of {}", judged.pod));
        match judged.lacks {
            None => format!("{} healthy", judged.pod),
            Some(lack) => format!("{} {}: {}", judged.pod, lack.reason, lack.message),
        }
    };
    judged.into_iter().map(one).collect()
}

#[test]
fn what_aws_says_of_a_target_is_what_is_said_of_its_pod() {
    const OURS: &str = "80 10.1.0.1";
    let endpoints = waiting(&["80 web-1 10.1.0.1"]);
    for (name, says, seconds, want) in [
        (
            "healthy",
            vec![(OURS, health(TargetState::Healthy, ""))],
            30,
            "web-1 healthy",
        ),
        (
            "healthy, which may be about the pod before",
            vec![(OURS, health(TargetState::Healthy, ""))],
            29,
            "web-1 InitialHealthChecking: tg/TCP/80: whether it is this pod that is healthy shows with the next health checks",
        ),
        (
            "healthy, by a clock that is behind",
            vec![(OURS, health(TargetState::Healthy, ""))],
            -5,
            "web-1 InitialHealthChecking: tg/TCP/80: whether it is this pod that is healthy shows with the next health checks",
        ),
        (
            "unhealthy",
            vec![(
                OURS,
                health(TargetState::Unhealthy, "Target.FailedHealthChecks"),
            )],
            300,
            "web-1 Target.FailedHealthChecks: tg/TCP/80: a text of AWS's",
        ),
        (
            "initial, without a word",
            vec![(OURS, health(TargetState::Initial, ""))],
            300,
            "web-1 initial: tg/TCP/80: the target is initial",
        ),
        (
            "another pod's target",
            vec![("80 10.1.0.2", health(TargetState::Healthy, ""))],
            300,
            "web-1 NotRegistered: it is not registered with tg/TCP/80 yet",
        ),
        (
            "one that drains",
            vec![(
                OURS,
                health(TargetState::Draining, "Target.DeregistrationInProgress"),
            )],
            300,
            "web-1 NotRegistered: it is not registered with tg/TCP/80 yet",
        ),
    ] {
        assert_eq!(
            told(&seen(&["80"]), &endpoints, &says, seconds),
            [want],
            "{name}"
        );
    }
}

#[test]
fn a_pod_waits_for_all_target_groups_that_are_used() {
    let endpoints = waiting(&[
        "80 web-1 10.1.0.1",
        "443 web-1 10.1.0.1",
        "443 web-2 10.1.0.2",
    ]);
    let healthy = |places: &[&'static str]| -> Vec<(&str, Health)> {
        let one = |place: &&'static str| (*place, health(TargetState::Healthy, ""));
        places.iter().map(one).collect()
    };
    let all = healthy(&["80 10.1.0.1", "443 10.1.0.1", "443 10.1.0.2"]);
    let both = seen(&["80", "443"]);
    assert_eq!(
        told(&both, &endpoints, &all, 300),
        ["web-1 healthy", "web-2 healthy"]
    );
    assert_eq!(
        told(&both, &endpoints, &all[1..], 300),
        [
            "web-1 NotRegistered: it is not registered with tg/TCP/80 yet",
            "web-2 healthy"
        ]
    );
    // What is being made beside what serves is not waited for.
    let successor = seen(&["80", "80 unused", "443"]);
    assert_eq!(
        told(&successor, &endpoints, &all, 300),
        ["web-1 healthy", "web-2 healthy"]
    );
    // Where nothing serves a port that is.
    let first = seen(&["80 unused", "443"]);
    assert_eq!(
        told(&first, &endpoints, &all, 300),
        [
            "web-1 NotInUse: no listener forwards to tg/TCP/80 yet",
            "web-2 healthy"
        ]
    );
    let nothing =
        "NoTargetGroup: there is no target group for it yet; see the conditions of the Service";
    assert_eq!(
        told(&Observed::default(), &endpoints, &all, 300),
        [format!("web-1 {nothing}"), format!("web-2 {nothing}")]
    );
}

#[test]
fn nobody_is_asked_about_those_who_do_not_wait() {
    assert!(asked(&seen(&["80"]), &EndpointSet::unknown()).is_empty());
    let mut ports = evenkeel_core::endpoints::Endpoints::new();
    let key = PortKey {
        port: 80,
        protocol: Protocol::Tcp,
    };
    let endpoint = Endpoint {
        address: "10.1.0.1".parse().expect("an address"),
        port: 8080,
        use_: Use::Add,
        zone: None,
        pod: Some("web-1".into()),
        waits: None,
    };
    ports.insert(key, vec![endpoint]);
    let ready = EndpointSet::new([(ServiceUid::new("u1"), ports)].into());
    assert!(asked(&seen(&["80"]), &ready).is_empty());
}
