//! One field out of its range per row.

use super::*;
use crate::api::{Protocol, Target};

fn target(address: &str, port: u16) -> Target {
    Target {
        node: "node-a".into(),
        address: address.parse().expect("an address"),
        port,
    }
}

fn check() -> HealthCheck {
    HealthCheck {
        kind: HealthCheckKind::Tcp,
        port: None,
        interval_ms: 1_000,
        timeout_ms: 500,
        rise: 2,
        fall: 2,
    }
}

fn http(path: &str) -> HealthCheck {
    HealthCheck {
        kind: HealthCheckKind::Http { path: path.into() },
        ..check()
    }
}

fn set(targets: Vec<Target>) -> BackendSetSpec {
    BackendSetSpec {
        targets,
        health_check: None,
        drain_seconds: 30,
        affinity_seconds: None,
    }
}

fn field(result: Result<(), ApiError>) -> Option<String> {
    result.err().map(|error| {
        assert_eq!(error.code, code::INVALID);
        error.field.expect("a field")
    })
}

#[test]
fn names_are_short_and_plain() {
    for (text, fine) in [
        ("a", true),
        ("a-1", true),
        ("", false),
        ("A", false),
        ("a.b", false),
        ("ä", false),
        ("a/b", false),
    ] {
        assert_eq!(name("name", text).is_ok(), fine, "{text}");
    }
    assert!(name("name", &"a".repeat(128)).is_ok());
    assert!(name("name", &"a".repeat(129)).is_err());
}

#[test]
fn backend_sets_are_checked_field_by_field() {
    let with = |health_check| BackendSetSpec {
        health_check: Some(health_check),
        ..set(vec![])
    };
    let affinity = |seconds| BackendSetSpec {
        affinity_seconds: Some(seconds),
        ..set(vec![])
    };
    for (what, spec, want) in [
        ("empty", set(vec![]), None),
        (
            "two ports of a node",
            set(vec![target("127.0.0.1", 1), target("127.0.0.1", 2)]),
            None,
        ),
        (
            "twice",
            set(vec![target("127.0.0.1", 1), target("127.0.0.1", 1)]),
            Some("spec.targets[1]"),
        ),
        (
            "port 0",
            set(vec![target("127.0.0.1", 0)]),
            Some("spec.targets[0].port"),
        ),
        (
            "unspecified",
            set(vec![target("0.0.0.0", 1)]),
            Some("spec.targets[0].address"),
        ),
        (
            "multicast",
            set(vec![target("ff02::1", 1)]),
            Some("spec.targets[0].address"),
        ),
        (
            "drain",
            BackendSetSpec {
                drain_seconds: 86_401,
                ..set(vec![])
            },
            Some("spec.drain_seconds"),
        ),
        ("affinity", affinity(86_400), None),
        ("no time", affinity(0), Some("spec.affinity_seconds")),
        (
            "over a day",
            affinity(86_401),
            Some("spec.affinity_seconds"),
        ),
        ("good check", with(http("/healthz?full=1")), None),
        (
            "interval",
            with(HealthCheck {
                interval_ms: 99,
                ..check()
            }),
            Some("spec.health_check.interval_ms"),
        ),
        (
            "timeout",
            with(HealthCheck {
                timeout_ms: 49,
                ..check()
            }),
            Some("spec.health_check.timeout_ms"),
        ),
        (
            "rise",
            with(HealthCheck { rise: 0, ..check() }),
            Some("spec.health_check.rise"),
        ),
        (
            "fall",
            with(HealthCheck {
                fall: 11,
                ..check()
            }),
            Some("spec.health_check.fall"),
        ),
        (
            "port",
            with(HealthCheck {
                port: Some(0),
                ..check()
            }),
            Some("spec.health_check.port"),
        ),
        (
            "relative",
            with(http("healthz")),
            Some("spec.health_check.kind.path"),
        ),
        (
            "two lines",
            with(http("/a\r\nX: y")),
            Some("spec.health_check.kind.path"),
        ),
        (
            "long",
            with(http(&format!("/{}", "a".repeat(1_024)))),
            Some("spec.health_check.kind.path"),
        ),
    ] {
        assert_eq!(field(backend_set(&spec)).as_deref(), want, "{what}");
    }
}

#[test]
fn listeners_leases_and_marks_are_checked_field_by_field() {
    let good = ListenerSpec {
        lease: "l".into(),
        port: 80,
        protocol: Protocol::Tcp,
        backend_set: "b".into(),
        source_ranges: None,
        proxy_protocol: false,
        idle_timeout_seconds: Some(1),
        access_log: false,
        max_connections: None,
    };
    for (spec, want) in [
        (good.clone(), None),
        (
            ListenerSpec {
                port: 0,
                ..good.clone()
            },
            Some("spec.port"),
        ),
        (
            ListenerSpec {
                lease: String::new(),
                ..good.clone()
            },
            Some("spec.lease"),
        ),
        (
            ListenerSpec {
                backend_set: "/".into(),
                ..good.clone()
            },
            Some("spec.backend_set"),
        ),
        (
            ListenerSpec {
                max_connections: Some(0),
                ..good.clone()
            },
            Some("spec.max_connections"),
        ),
        (
            ListenerSpec {
                max_connections: Some(1_000_001),
                ..good.clone()
            },
            Some("spec.max_connections"),
        ),
        (
            ListenerSpec {
                idle_timeout_seconds: Some(0),
                ..good
            },
            Some("spec.idle_timeout_seconds"),
        ),
    ] {
        assert_eq!(field(listener(&spec)).as_deref(), want, "{spec:?}");
    }
    let other_family = LeaseSpec {
        address: Some("127.0.0.1".parse().expect("an address")),
        ..LeaseSpec::of(Family::V6)
    };
    assert_eq!(field(lease(&other_family)).as_deref(), Some("spec.address"));
    let good = Marks {
        cluster: "c".into(),
        group: "g".into(),
        service: "shop/checkout".into(),
        member: "g".into(),
        retain: false,
        labels: [("plan".to_owned(), "x".to_owned())].into(),
    };
    assert_eq!(field(marks(&good)), None);
    let labelled = |key: &str, value: &str| Marks {
        labels: [(key.to_owned(), value.to_owned())].into(),
        ..good.clone()
    };
    assert_eq!(
        field(marks(&labelled("", "x"))).as_deref(),
        Some("marks.labels")
    );
    assert_eq!(
        field(marks(&labelled("k", &"x".repeat(1_025)))).as_deref(),
        Some("marks.labels.k")
    );
    let many = Marks {
        labels: (0..17).map(|n| (n.to_string(), String::new())).collect(),
        ..good.clone()
    };
    assert_eq!(field(marks(&many)).as_deref(), Some("marks.labels"));
    assert_eq!(
        field(marks(&Marks {
            cluster: String::new(),
            ..good.clone()
        }))
        .as_deref(),
        Some("marks.cluster")
    );
    assert_eq!(
        field(marks(&Marks {
            service: "a\nb".into(),
            ..good
        }))
        .as_deref(),
        Some("marks.service")
    );
}
