use evenkeel_core::published::TargetHealth;
use insta::assert_snapshot;

use super::*;
use crate::view::standing::{Fault, Trouble};

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn page(wide: bool) -> Page<'static> {
    Page {
        ink: Ink::Plain,
        wide,
        now: at("2026-01-03T00:10:00Z"),
        namespace: Some("shop"),
    }
}

fn row(name: &str, state: &str, reason: &str) -> Row {
    Row {
        namespace: "shop".into(),
        name: name.into(),
        uid: format!("uid-{name}"),
        class: Some("evenkeel.dev/local".into()),
        provider: "local".into(),
        state: state.into(),
        reason: reason.into(),
        message: format!("{reason} says why."),
        ports: vec!["80/TCP".into(), "443/TCP".into()],
        node_ports: vec![30080, 30443],
        created: Some(at("2026-01-03T00:05:00Z")),
        ..Row::default()
    }
}

fn fault(reason: &str, at: &str, message: &str) -> Fault {
    Fault {
        reason: reason.into(),
        at: at.into(),
        message: message.into(),
        approval: None,
    }
}

fn services() -> Vec<Row> {
    let active = Row {
        addresses: vec!["127.77.0.1".into()],
        open_ports: vec!["80/TCP".into(), "443/TCP".into()],
        targets: Some(TargetHealth {
            healthy: 2,
            total: 3,
        }),
        pools: vec!["office".into()],
        ..row("checkout", "active", "Serving")
    };
    let waiting = Row {
        since: Some(at("2026-01-03T00:09:00Z")),
        trouble: Trouble {
            waits: vec!["the load balancer lb to be ready".into()],
            ..Trouble::default()
        },
        ..row("new", "claimed", "InProgress")
    };
    let rejected = Row {
        trouble: Trouble {
            problems: vec![fault(
                "InvalidConfiguration",
                "metadata.annotations[evenkeel.dev/scheme]",
                "metadata.annotations[evenkeel.dev/scheme]: \"sideways\" must be one of internal, internet-facing. Correct it.",
            )],
            ..Trouble::default()
        },
        ..row("broken", "rejected", "InvalidConfiguration")
    };
    let refused = Row {
        addresses: vec!["127.77.0.2".into()],
        group: Some("edge".into()),
        trouble: Trouble {
            refusals: vec![Fault {
                approval: Some("0a1b2c".into()),
                ..fault(
                    "ApprovalRequired",
                    "address",
                    "address: \"127.77.0.9\" would replace lease. Approve it.",
                )
            }],
            port_errors: vec![fault("PortNotOpened", "443/TCP", "is taken. Take another.")],
            ..Trouble::default()
        },
        ..row("moved", "degraded", "ApprovalRequired")
    };
    let failing = Row {
        message: "the cloud says no. Grant the permission; it is tried again every few minutes."
            .into(),
        trouble: Trouble {
            failures: vec![fault("denied", "PUT lease", "the cloud says no")],
            ..Trouble::default()
        },
        ..row("denied", "claimed", "PermissionDenied")
    };
    let paused = Row {
        trouble: Trouble {
            paused: true,
            withheld: vec!["create listener ls/TCP/80".into()],
            ..Trouble::default()
        },
        ..row("held", "claimed", "Paused")
    };
    vec![rejected, active, failing, paused, refused, waiting]
}

fn status() -> Status {
    Status {
        api_version: API_VERSION.into(),
        kind: "Status".into(),
        controller: Controller {
            object: Some("kube-system/evenkeel".into()),
            version: "0.1.0".into(),
            identity: "node-a_1".into(),
            conditions: vec![ControllerCondition {
                type_: "ProviderReady".into(),
                provider: "local".into(),
                status: "False".into(),
                reason: "PermissionDenied".into(),
                message: "no permission to use the socket; run evenkeel as the user that runs the data plane".into(),
                last_transition_time: at("2026-01-03T00:00:00Z"),
            }],
            asked: Some("http://127.0.0.1:10290".into()),
            ..Controller::default()
        },
        figures: Some(Figures {
            queue_depth: 1,
            oldest_pending_seconds: 60,
            cloud_writes: 12,
            cloud_reads: 30,
            status_writes: 6,
            orphans: 0,
        }),
        services: services(),
        assumed: Vec::new(),
    }
}

#[test]
fn a_page_of_all_states() {
    assert_snapshot!(status().render(page(false)));
}

#[test]
fn a_wide_page() {
    assert_snapshot!(status().render(page(true)));
}

#[test]
fn what_is_not_known_is_said() {
    let mut status = Status {
        controller: Controller {
            unknown: Some(
                "the controller listens nowhere; give it a --listen other than `off`".into(),
            ),
            ..Controller::default()
        },
        figures: None,
        assumed: vec!["no controller was found".into()],
        ..status()
    };
    for row in &mut status.services {
        (row.targets, row.trouble) = (None, Trouble::default());
    }
    assert_snapshot!(status.render(page(false)));
    status.services.clear();
    assert!(
        status
            .render(page(false))
            .starts_with("evenkeel has no Services in the namespace shop; -A looks")
    );
    let everywhere = Page {
        namespace: None,
        ..page(false)
    };
    assert!(
        status
            .render(everywhere)
            .starts_with("evenkeel has no Services in this cluster.")
    );
}

#[test]
fn colour_changes_nothing_but_colour() {
    let coloured = status().render(Page {
        ink: Ink::Colour,
        ..page(true)
    });
    let mut plain = String::new();
    let mut rest = coloured.as_str();
    while let Some((before, after)) = rest.split_once("\u{1b}[") {
        plain.push_str(before);
        rest = after.split_once('m').expect("a colour").1;
    }
    plain.push_str(rest);
    assert_eq!(plain, status().render(page(true)));
    assert_ne!(coloured, plain);
}

#[test]
fn the_document_is_stable() {
    let mut status = status();
    status.services.truncate(2);
    assert_snapshot!(serde_json::to_string_pretty(&status).expect("is written"));
    let text = serde_json::to_string(&status).expect("is written");
    assert_eq!(
        serde_json::from_str::<Status>(&text).expect("is read"),
        status
    );
}

#[test]
fn figures_are_read_from_metrics() {
    let text = "\
# HELP evenkeel_queue_depth Groups.
# TYPE evenkeel_queue_depth gauge
evenkeel_queue_depth 3
evenkeel_service_oldest_pending_seconds{provider=\"aws\"} 40
evenkeel_service_oldest_pending_seconds{provider=\"local\"} 70
evenkeel_writes_total{provider=\"local\",action=\"create\",result=\"done\"} 3
evenkeel_writes_total{provider=\"local\",action=\"change\",result=\"done\"} 4
evenkeel_reads_total{provider=\"local\",result=\"done\"} 9
evenkeel_status_write_total 2
evenkeel_orphans{provider=\"local\"} 1
# EOF
";
    let want = Figures {
        queue_depth: 3,
        oldest_pending_seconds: 70,
        cloud_writes: 7,
        cloud_reads: 9,
        status_writes: 2,
        orphans: 1,
    };
    assert_eq!(Figures::read(text), want);
    assert_eq!(Figures::read("nonsense"), Figures::default());
    // The names are those of the metrics.
    let metrics = crate::metrics::Metrics::new();
    metrics.wrote("local", "create", "done");
    metrics.looked("local", "done");
    metrics.set_queue_depth(5);
    metrics.set_orphans("local", 2);
    metrics.set_oldest_pending("local", std::time::Duration::from_secs(8));
    let figures = Figures::read(&metrics.encode().expect("encodes"));
    let want = Figures {
        queue_depth: 5,
        oldest_pending_seconds: 8,
        cloud_writes: 1,
        cloud_reads: 1,
        status_writes: 0,
        orphans: 2,
    };
    assert_eq!(figures, want);
}
