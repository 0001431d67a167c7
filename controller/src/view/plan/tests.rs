use evenkeel_core::{
    ids::ResourceId,
    plan::{Reason, Refusal, Until, Wait},
    problem::{Problem, Problems},
};
use insta::assert_snapshot;

use super::*;
use crate::view::ink::Ink;

fn rehearsal() -> Rehearsal {
    let change = |action, kind, id: &str, detail: &str| {
        Change::new(action, kind, ResourceId::new(id), detail)
    };
    Rehearsal {
        waves: vec![
            vec![
                change(
                    Action::Create,
                    "lease",
                    "lease/IPv4",
                    "IPv4, address known after apply",
                ),
                change(
                    Action::Change,
                    "backend-set",
                    "bs/TCP/80",
                    ":31234 on 2 nodes, tcp :31234",
                )
                .because(vec![Reason::new("targets", 1, "2 (+node-b)")])
                .disturbing(Disturbance::Drains),
            ],
            vec![
                change(Action::Replace, "lease", "lease/IPv6", "IPv6 ::2")
                    .because(vec![Reason::new("address", "::1", "::2")])
                    .disturbing(Disturbance::Interrupts)
                    .giving_up("::1"),
                change(Action::Destroy, "listener", "ls/TCP/81", "TCP :81"),
            ],
        ],
        waits: vec![Wait {
            id: ResourceId::new("lb"),
            what: "the address".into(),
            until: Until::Told,
        }],
        approval: Some("0a1b2c".into()),
        ..Rehearsal::default()
    }
}

fn group(name: &str) -> GroupPlan {
    GroupPlan {
        services: vec![format!("shop/{name}")],
        provider: "local".into(),
        ..GroupPlan::default()
    }
}

fn plan() -> Plan {
    let mut steps = group("checkout");
    steps.foretold(&rehearsal());
    steps.hide(&[(31234, "(known after apply)".into())]);
    let mut refused = GroupPlan {
        group: Some("edge".into()),
        services: vec!["shop/a".into(), "shop/b".into()],
        releases: vec!["shop/b".into()],
        ..group("")
    };
    refused.foretold(&Rehearsal {
        refusals: vec![Refusal {
            id: ResourceId::new("lease"),
            problem: Problem::new(
                "address",
                "127.77.0.9",
                "would replace lease",
                "Approve it.",
            )
            .with_reason("ApprovalRequired"),
            approval: Some("3d4e5f".into()),
            port: None,
        }],
        approval: Some("3d4e5f".into()),
        ..Rehearsal::default()
    });
    let mut rejected = group("broken");
    rejected.foretold(&Rehearsal {
        problems: Some(Problems::from_iter([
            Problem::new("spec.ports[0]", "SCTP", "must be TCP", "Change it."),
            Problem::new("spec.ports[1]", "SCTP", "must be TCP", "Change it."),
        ])),
        ..Rehearsal::default()
    });
    let failed = GroupPlan {
        error: Some("the data plane does not answer".into()),
        paused: true,
        ..group("unreachable")
    };
    let groups = vec![steps, refused, rejected, failed, group("fine")];
    Plan {
        api_version: crate::view::status::API_VERSION.into(),
        kind: "Plan".into(),
        controller: Some("kube-system/evenkeel".into()),
        summary: Summary::of(&groups),
        groups,
        skipped: vec![Skipped {
            service: "shop/internal".into(),
            why: "its type is ClusterIP".into(),
        }],
        orphans: vec![Orphan {
            provider: "local".into(),
            service: "shop/gone".into(),
            objects: 3,
        }],
        assumed: vec!["the socket".into()],
        ..Plan::default()
    }
}

#[test]
fn a_page_of_everything() {
    assert_snapshot!(plan().render(Ink::Plain));
}

#[test]
fn the_document_is_stable() {
    let mut plan = plan();
    plan.groups.truncate(2);
    assert_snapshot!(serde_json::to_string_pretty(&plan).expect("is written"));
    let text = serde_json::to_string(&plan).expect("is written");
    assert_eq!(serde_json::from_str::<Plan>(&text).expect("is read"), plan);
}

#[test]
fn nothing_is_said_to_be_nothing() {
    let served = GroupPlan {
        warnings: vec![Fault::default()],
        ..group("fine")
    };
    let summary = Summary::of(std::slice::from_ref(&served));
    assert!(summary.is_nothing());
    let plan = Plan {
        groups: vec![served],
        summary,
        ..Plan::default()
    };
    let text = plan.render(Ink::Plain);
    assert!(text.contains("shop/fine on local: nothing to do"), "{text}");
    assert!(
        text.contains("Nothing to do: everything is as asked."),
        "{text}"
    );
    assert!(Plan::default().render(Ink::Plain).contains("No Services"));
}

#[test]
fn everything_else_is_something() {
    let error = Some("why".to_owned());
    let fault = || vec![Fault::default()];
    for (name, group) in [
        (
            "a refusal",
            GroupPlan {
                refusals: fault(),
                ..group("a")
            },
        ),
        (
            "a problem",
            GroupPlan {
                problems: fault(),
                ..group("a")
            },
        ),
        (
            "a port",
            GroupPlan {
                port_errors: fault(),
                ..group("a")
            },
        ),
        (
            "an error",
            GroupPlan {
                error,
                ..group("a")
            },
        ),
    ] {
        assert!(!Summary::of(&[group]).is_nothing(), "{name}");
    }
}

#[test]
fn a_number_is_only_replaced_where_it_stands_alone() {
    for (text, want) in [
        (":31234 on 2 nodes", ":X on 2 nodes"),
        ("tcp :31234, http :31234", "tcp :X, http :X"),
        ("131234 312345 a31234", "131234 312345 a31234"),
        ("10.31234", "10.31234"),
        ("", ""),
    ] {
        assert_eq!(replace_number(text, "31234", "X"), want, "{text}");
    }
}
