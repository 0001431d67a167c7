//! What becomes of each option, one row each.

use std::collections::BTreeMap;

use evenkeel_core::{
    claim::Profile,
    ids::{ServiceKey, ServiceRef, ServiceUid},
    intent::{Options, PortIntent, SourceRanges, TargetPort},
    net::IpFamily,
    ports::{PortKey, Protocol},
};

use super::*;

/// A Service that asks for nothing in particular.
fn intent() -> Intent {
    Intent {
        service: ServiceRef {
            key: ServiceKey::new("shop", "checkout"),
            uid: ServiceUid::from("uid-checkout"),
        },
        profile: Profile::Neutral,
        ports: vec![PortIntent {
            key: PortKey {
                port: 443,
                protocol: Protocol::Tcp,
            },
            name: None,
            node_port: Some(31443),
            target_port: TargetPort::Number(443),
            app_protocol: None,
        }],
        families: vec![IpFamily::V4],
        traffic_policy: TrafficPolicy::Cluster,
        affinity: Affinity::None,
        source_ranges: SourceRanges::All,
        allocate_node_ports: true,
        options: Options::default(),
        annotations: BTreeMap::new(),
    }
}

const LOCAL: TrafficPolicy = TrafficPolicy::Local {
    health_check_node_port: Some(32000),
};

fn settings(intent: &Intent) -> (Result<Settings, Problems>, Vec<Warning>) {
    let mut warnings = Vec::new();
    let settings = Settings::read(intent, &mut warnings);
    (settings, warnings)
}

fn http(port: Option<u16>, path: &str) -> (HealthCheckKind, Option<u16>) {
    (
        HealthCheckKind::Http {
            path: path.to_owned(),
        },
        port,
    )
}

#[test]
fn the_probe_follows_traffic_policy_and_options() {
    use HealthCheckPort::{Number, Traffic};
    use HealthCheckProtocol::{Http, Tcp};
    let options = |protocol, port, path: Option<&str>| HealthCheckOptions {
        protocol,
        port,
        path: path.map(Into::into),
        ..HealthCheckOptions::default()
    };
    for (policy, options, want) in [
        (
            TrafficPolicy::Cluster,
            options(None, None, None),
            http(Some(10256), "/healthz"),
        ),
        (
            TrafficPolicy::Cluster,
            options(Some(Http), None, None),
            http(Some(10256), "/healthz"),
        ),
        (
            TrafficPolicy::Cluster,
            options(None, Some(Number(8080)), None),
            http(Some(8080), "/healthz"),
        ),
        (
            TrafficPolicy::Cluster,
            options(None, None, Some("/ready")),
            http(Some(10256), "/ready"),
        ),
        (
            TrafficPolicy::Cluster,
            options(Some(Http), Some(Traffic), Some("/ready")),
            http(None, "/ready"),
        ),
        (
            TrafficPolicy::Cluster,
            options(None, Some(Traffic), Some("/ready")),
            http(None, "/ready"),
        ),
        // Nobody said that the application speaks HTTP.
        (
            TrafficPolicy::Cluster,
            options(None, Some(Traffic), None),
            (HealthCheckKind::Tcp, None),
        ),
        // kube-proxy's health ports accept connections whatever they would answer.
        (
            TrafficPolicy::Cluster,
            options(Some(Tcp), None, None),
            (HealthCheckKind::Tcp, None),
        ),
        (
            TrafficPolicy::Cluster,
            options(Some(Tcp), Some(Number(8080)), None),
            (HealthCheckKind::Tcp, Some(8080)),
        ),
        (
            LOCAL,
            options(None, None, None),
            http(Some(32000), "/healthz"),
        ),
        (
            LOCAL,
            options(None, Some(Number(8080)), None),
            http(Some(8080), "/healthz"),
        ),
        (
            LOCAL,
            options(Some(Tcp), None, None),
            (HealthCheckKind::Tcp, None),
        ),
    ] {
        let mut intent = Intent {
            traffic_policy: policy,
            ..intent()
        };
        intent.options.health_check = options.clone();
        let (settings, warnings) = settings(&intent);
        let HealthCheck { kind, port, .. } = settings.expect("it can be served").health_check;
        assert_eq!((kind, port), want, "{policy:?} {options:?}");
        assert_eq!(warnings, [], "{policy:?} {options:?}");
    }
}

#[test]
fn the_numbers_follow_traffic_policy_and_options() {
    let mut asked = intent();
    asked.options.health_check = HealthCheckOptions {
        interval_seconds: Some(300),
        timeout_seconds: Some(60),
        healthy_threshold: Some(10),
        unhealthy_threshold: Some(9),
        ..HealthCheckOptions::default()
    };
    for (intent, want) in [
        (intent(), (2_000, 1_000, 1, 3)),
        (
            Intent {
                traffic_policy: LOCAL,
                ..intent()
            },
            (1_000, 1_000, 1, 2),
        ),
        (asked, (300_000, 60_000, 10, 9)),
    ] {
        let HealthCheck {
            interval_ms,
            timeout_ms,
            rise,
            fall,
            ..
        } = settings(&intent).0.expect("it can be served").health_check;
        assert_eq!(
            (interval_ms, timeout_ms, rise, fall),
            want,
            "{:?}",
            intent.traffic_policy
        );
    }
}

#[test]
fn what_is_not_asked_has_a_default() {
    let plain = settings(&intent()).0.expect("it can be served");
    assert_eq!(
        (
            plain.drain_seconds,
            plain.idle_timeout_seconds,
            plain.proxy_protocol,
            plain.affinity_seconds
        ),
        (30, None, false, None)
    );

    let mut asked = intent();
    asked.options.drain_seconds = Some(0);
    asked.options.idle_timeout_seconds = Some(350);
    asked.options.proxy_protocol = Some(true);
    asked.affinity = Affinity::ClientIp {
        timeout_seconds: 600,
    };
    let asked = settings(&asked).0.expect("it can be served");
    assert_eq!(
        (
            asked.drain_seconds,
            asked.idle_timeout_seconds,
            asked.proxy_protocol,
            asked.affinity_seconds
        ),
        (0, Some(350), true, Some(600))
    );
}

#[test]
fn what_cannot_be_done_is_refused_all_at_once() {
    let mut intent = intent();
    intent.traffic_policy = TrafficPolicy::Local {
        health_check_node_port: None,
    };
    intent.options.address_names = vec!["mine".into()];
    intent.options.health_check.protocol = Some(HealthCheckProtocol::Https);
    intent.options.health_check.timeout_seconds = Some(61);
    let problems = settings(&intent)
        .0
        .expect_err("nothing of this can be done");
    let fields: Vec<_> = problems
        .iter()
        .map(|problem| problem.field.as_str())
        .collect();
    assert_eq!(
        fields,
        [
            "metadata.annotations[evenkeel.dev/health-check-protocol]",
            "spec.healthCheckNodePort",
            "metadata.annotations[evenkeel.dev/health-check-timeout]",
            "metadata.annotations[evenkeel.dev/static-address]",
        ]
    );
}

#[test]
fn what_has_no_effect_is_said_once() {
    type Ask = fn(&mut Intent);
    let cases: [(Ask, &str); 3] = [
        (
            |intent| drop(intent.options.tags.insert("team".into(), "shop".into())),
            "evenkeel.dev/tags",
        ),
        (
            |intent| {
                intent.options.health_check.protocol = Some(HealthCheckProtocol::Tcp);
                intent.options.health_check.path = Some("/ready".into());
            },
            "evenkeel.dev/health-check-path",
        ),
        (
            |intent| {
                intent.options.proxy_protocol = Some(true);
                intent.options.health_check.port = Some(HealthCheckPort::Traffic);
                intent.options.health_check.path = Some("/ready".into());
            },
            "no PROXY protocol header",
        ),
    ];
    for (ask, says) in cases {
        let mut intent = intent();
        ask(&mut intent);
        let (settings, warnings) = settings(&intent);
        assert!(settings.is_ok(), "{says}: {settings:?}");
        assert_eq!(warnings.len(), 1, "{says}: {warnings:?}");
        assert!(warnings[0].message.contains(says), "{says}: {warnings:?}");
    }
}

#[test]
fn probes_beside_the_traffic_need_no_proxy_header() {
    let mut intent = intent();
    intent.options.proxy_protocol = Some(true);
    assert_eq!(settings(&intent).1, [], "kube-proxy's own port is probed");
    intent.options.health_check.protocol = Some(HealthCheckProtocol::Tcp);
    assert_eq!(settings(&intent).1, [], "a mere connection says nothing");
}

#[test]
fn own_keys_are_read_by_their_table() {
    for doc in TABLE.keys {
        let value = doc.grammar.parse(doc.key, doc.example);
        let value = value.unwrap_or_else(|problem| panic!("{problem}"));
        assert_eq!(value.to_string(), doc.example, "{}", doc.key);
        assert!(doc.key.starts_with(PREFIX), "{}", doc.key);
    }
    let with = |key: &str, value: &str| {
        let mut intent = intent();
        intent.annotations.insert(key.into(), value.into());
        settings(&intent)
    };
    let (asked, warnings) = with(ACCESS_LOG, "true");
    assert!(asked.expect("it can be served").access_log && warnings.is_empty());
    let wrong = with(ACCESS_LOG, "loud").0.expect_err("it is refused");
    assert!(wrong.to_string().contains(ACCESS_LOG), "{wrong}");
    let (asked, warnings) = with(MAX_CONNECTIONS, "1000");
    assert_eq!(
        asked.expect("it can be served").max_connections,
        Some(1_000)
    );
    assert!(warnings.is_empty(), "{warnings:?}");
    for wrong in ["0", "1000001", "many", "-1"] {
        let problem = with(MAX_CONNECTIONS, wrong).0.expect_err(wrong).to_string();
        assert!(
            problem.contains(MAX_CONNECTIONS) && problem.contains("1000000"),
            "{problem}"
        );
    }
    let (asked, warnings) = with("local.evenkeel.dev/acces-log", "true");
    assert!(!asked.expect("it can be served").access_log);
    assert!(
        warnings[0]
            .message
            .ends_with(&format!("Did you mean {ACCESS_LOG}?")),
        "{warnings:?}"
    );
}
