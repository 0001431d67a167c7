use std::sync::Arc;

use super::*;
use crate::{
    ids::{ServiceKey, ServiceRef, ServiceUid},
    ports::{PortKey, Protocol},
};

fn now() -> Timestamp {
    Timestamp::constant(1_700_000_000, 0)
}

fn later() -> Timestamp {
    Timestamp::constant(1_700_000_060, 0)
}

fn problem() -> Problem {
    Problem::new(
        "spec.loadBalancerIP",
        "banana",
        "must be an IP address",
        "Write an address.",
    )
}

fn refusal() -> Problem {
    let advice = "Approve it with evenkeel.dev/approve: 3f9a0c21d4.";
    Problem::new("scheme", "internal", "replaces the load balancer", advice)
        .with_reason(reason::APPROVAL_REQUIRED)
}

fn port_error(port: u16) -> PortError {
    PortError {
        service: ServiceRef {
            key: ServiceKey::new("shop", "checkout"),
            uid: ServiceUid::from("u-1"),
        },
        port: PortKey {
            port,
            protocol: Protocol::Sctp,
        },
        reason: reason::PROTOCOL_NOT_SUPPORTED,
        message: Arc::from("SCTP is not supported. Use TCP or UDP."),
    }
}

fn failure(class: ErrorClass) -> Option<FailureView<'static>> {
    Some(FailureView {
        class,
        reason: None,
        of_provider: None,
        message: "CreateListener: it did not work",
    })
}

/// `type status/reason` of each condition, our domain left out.
fn said(state: &StateView<'_>) -> Vec<String> {
    let line = |condition: &Condition| {
        let type_ = condition.type_.trim_start_matches("evenkeel.dev/");
        format!("{type_} {}/{}", condition.status, condition.reason)
    };
    conditions(state, &[], now()).iter().map(line).collect()
}

fn message(state: &StateView<'_>, type_: ConditionType) -> String {
    let all = conditions(state, &[], now());
    let condition = all
        .into_iter()
        .find(|condition| condition.type_ == type_.as_str());
    condition.expect("it is published").message
}

#[test]
fn each_state_has_its_conditions() {
    let problems = Problems::from(problem());
    let none = Problems::none();
    let refusals = [refusal()];
    let errors = [port_error(9)];
    let waits = ["load balancer lb is provisioning".to_owned()];
    let idle = StateView::default();
    let serves = StateView {
        serving: true,
        ..idle
    };
    for (what, state, want) in [
        (
            "first sight",
            idle,
            [
                "Serving False/Provisioning",
                "Provisioning True/InProgress",
                "Degraded False/AsDesired",
            ],
        ),
        (
            "first creation",
            StateView {
                waits: &waits,
                ..idle
            },
            [
                "Serving False/Provisioning",
                "Provisioning True/InProgress",
                "Degraded False/AsDesired",
            ],
        ),
        (
            "in sync",
            serves,
            [
                "Serving True/Serving",
                "Provisioning False/Complete",
                "Degraded False/AsDesired",
            ],
        ),
        (
            "no problems are no rejection",
            StateView {
                problems: Some(&none),
                ..serves
            },
            [
                "Serving True/Serving",
                "Provisioning False/Complete",
                "Degraded False/AsDesired",
            ],
        ),
        (
            "updating",
            StateView {
                working: true,
                ..serves
            },
            [
                "Serving True/Serving",
                "Provisioning True/InProgress",
                "Degraded False/AsDesired",
            ],
        ),
        (
            "waiting while it serves",
            StateView {
                waits: &waits,
                ..serves
            },
            [
                "Serving True/Serving",
                "Provisioning True/InProgress",
                "Degraded False/AsDesired",
            ],
        ),
        (
            "rejected at once",
            StateView {
                problems: Some(&problems),
                ..idle
            },
            [
                "Serving False/Unsupported",
                "Provisioning False/InvalidConfiguration",
                "Degraded True/InvalidConfiguration",
            ],
        ),
        (
            "rejected while it serves",
            StateView {
                problems: Some(&problems),
                ..serves
            },
            [
                "Serving True/Serving",
                "Provisioning False/InvalidConfiguration",
                "Degraded True/InvalidConfiguration",
            ],
        ),
        (
            "refused by the facts",
            StateView {
                refusals: &refusals,
                ..idle
            },
            [
                "Serving False/Infrastructure",
                "Provisioning False/ApprovalRequired",
                "Degraded True/ApprovalRequired",
            ],
        ),
        (
            "refused while it serves",
            StateView {
                refusals: &refusals,
                waits: &waits,
                ..serves
            },
            [
                "Serving True/Serving",
                "Provisioning False/ApprovalRequired",
                "Degraded True/ApprovalRequired",
            ],
        ),
        (
            "failed, goes on by itself",
            StateView {
                failure: failure(ErrorClass::Transient),
                ..idle
            },
            [
                "Serving False/Infrastructure",
                "Provisioning True/InProgress",
                "Degraded True/SyncLoadBalancerFailed",
            ],
        ),
        (
            "throttled while it serves",
            StateView {
                failure: failure(ErrorClass::Throttled { after: None }),
                ..serves
            },
            [
                "Serving True/Serving",
                "Provisioning True/InProgress",
                "Degraded True/Throttled",
            ],
        ),
        (
            "failed for good",
            StateView {
                failure: failure(ErrorClass::Denied),
                ..idle
            },
            [
                "Serving False/Infrastructure",
                "Provisioning False/PermissionDenied",
                "Degraded True/PermissionDenied",
            ],
        ),
        (
            "over the quota",
            StateView {
                failure: failure(ErrorClass::Quota),
                ..serves
            },
            [
                "Serving True/Serving",
                "Provisioning False/QuotaExceeded",
                "Degraded True/QuotaExceeded",
            ],
        ),
        (
            "rejected and failed: what the user can fix comes first",
            StateView {
                problems: Some(&problems),
                failure: failure(ErrorClass::Transient),
                ..serves
            },
            [
                "Serving True/Serving",
                "Provisioning False/InvalidConfiguration",
                "Degraded True/InvalidConfiguration",
            ],
        ),
        (
            "paused before there was anything",
            StateView {
                paused: true,
                ..idle
            },
            [
                "Serving False/Paused",
                "Provisioning False/Paused",
                "Degraded False/AsDesired",
            ],
        ),
        (
            "paused while it serves",
            StateView {
                paused: true,
                working: true,
                ..serves
            },
            [
                "Serving True/Serving",
                "Provisioning False/Paused",
                "Degraded False/AsDesired",
            ],
        ),
    ] {
        assert_eq!(said(&state), want, "{what}");
    }
    let partial = StateView {
        port_errors: &errors,
        ..serves
    };
    let want = [
        "Serving True/Serving",
        "Provisioning False/Complete",
        "Degraded True/ProtocolNotSupported",
        "LoadBalancerPortsError True/ProtocolNotSupported",
    ];
    assert_eq!(said(&partial), want, "a port is not served");
}

#[test]
fn messages_end_with_what_to_do() {
    let problems = Problems::from(problem());
    let refusals = [refusal()];
    let errors = [port_error(9)];
    let idle = StateView::default();
    for (state, want) in [
        (
            StateView {
                problems: Some(&problems),
                ..idle
            },
            "spec.loadBalancerIP: \"banana\" must be an IP address. Write an address.",
        ),
        (
            StateView {
                refusals: &refusals,
                ..idle
            },
            "scheme: \"internal\" replaces the load balancer. Approve it with evenkeel.dev/approve: 3f9a0c21d4.",
        ),
        (
            StateView {
                failure: failure(ErrorClass::Denied),
                ..idle
            },
            "CreateListener: it did not work. Grant the permission; it is tried again every few minutes.",
        ),
        (
            StateView {
                port_errors: &errors,
                ..idle
            },
            "port 9/SCTP: SCTP is not supported. Use TCP or UDP.",
        ),
        (idle, "Nothing stands in the way."),
    ] {
        assert_eq!(message(&state, ConditionType::Degraded), want);
    }
    for class in [
        ErrorClass::Rejected,
        ErrorClass::Quota,
        ErrorClass::Conflict,
        ErrorClass::Transient,
    ] {
        let text = message(
            &StateView {
                failure: failure(class),
                ..idle
            },
            ConditionType::Degraded,
        );
        let (_, advice) = text
            .split_once("did not work. ")
            .expect("the cause comes first");
        assert!(advice.ends_with('.') && advice.len() > 20, "{text}");
    }
}

#[test]
fn what_is_waited_for_and_what_to_know_is_said() {
    let waits = [
        "lb is provisioning".to_owned(),
        "address is reserved".to_owned(),
    ];
    let state = StateView {
        waits: &waits,
        ..StateView::default()
    };
    let want = "Waiting: lb is provisioning; address is reserved.";
    assert_eq!(message(&state, ConditionType::Provisioning), want);
    assert_eq!(message(&state, ConditionType::Serving), want);

    let warnings = [Warning::new(
        "UnknownAnnotation",
        "evenkeel.dev/x is unknown. Remove it.",
    )];
    let state = StateView {
        serving: true,
        warnings: &warnings,
        ..StateView::default()
    };
    let want = "Nothing stands in the way. To know: evenkeel.dev/x is unknown. Remove it.";
    assert_eq!(message(&state, ConditionType::Degraded), want);
}

#[test]
fn a_long_list_is_cut_and_names_every_field() {
    let problems: Problems = (0..8)
        .map(|index| Problem::new(format!("field{index}"), "x", "is wrong", "Mend it."))
        .collect();
    let text = message(
        &StateView {
            problems: Some(&problems),
            ..StateView::default()
        },
        ConditionType::Degraded,
    );
    assert!(
        text.contains("field4: \"x\" is wrong") && !text.contains("field5: "),
        "{text}"
    );
    assert!(
        text.ends_with("Mend it. And 3 more, in field5, field6, field7; see to these, too."),
        "{text}"
    );
}

#[test]
fn time_moves_only_with_the_status() {
    let idle = StateView::default();
    let waits = ["lb is provisioning".to_owned()];
    let first = conditions(&idle, &[], now());
    assert!(
        first
            .iter()
            .all(|condition| condition.last_transition_time == Time(now()))
    );

    // The message changes and the status does not.
    let second = conditions(
        &StateView {
            waits: &waits,
            ..idle
        },
        &first,
        later(),
    );
    assert!(!same(&first, &second));
    assert!(
        second
            .iter()
            .all(|condition| condition.last_transition_time == Time(now()))
    );

    let third = conditions(
        &StateView {
            serving: true,
            ..idle
        },
        &second,
        later(),
    );
    let times: Vec<_> = third
        .iter()
        .map(|condition| condition.last_transition_time.0)
        .collect();
    assert_eq!(
        times,
        [later(), later(), now()],
        "Serving and Provisioning turned, Degraded did not"
    );
}

#[test]
fn saying_the_same_again_is_equal() {
    let waits = ["lb is provisioning".to_owned()];
    let state = StateView {
        waits: &waits,
        ..StateView::default()
    };
    let first = conditions(&state, &[], now());
    assert_eq!(conditions(&state, &first, later()), first);

    let mut other_times = conditions(&state, &[], later());
    other_times.reverse();
    assert!(same(&first, &other_times), "neither times nor order count");
    for change in [
        |condition: &mut Condition| condition.status = "Unknown".to_owned(),
        |condition: &mut Condition| condition.reason = "Other".to_owned(),
        |condition: &mut Condition| condition.message = "Other".to_owned(),
        |condition: &mut Condition| condition.type_ = "Other".to_owned(),
    ] {
        let mut other = first.clone();
        change(&mut other[1]);
        assert!(!same(&first, &other) && !same(&other, &first), "{other:?}");
    }
}

#[test]
fn conditions_of_others_are_neither_produced_nor_compared() {
    let foreign = Condition {
        last_transition_time: Time(now()),
        message: "mine".to_owned(),
        observed_generation: None,
        reason: "Mine".to_owned(),
        status: "True".to_owned(),
        type_: "example.com/Mine".to_owned(),
    };
    let state = StateView::default();
    let ours = conditions(&state, std::slice::from_ref(&foreign), later());
    assert_eq!(ours.len(), 3);
    assert!(
        ours.iter()
            .all(|condition| condition.type_.starts_with("evenkeel.dev/"))
    );
    let with_foreign = [ours.clone(), vec![foreign]].concat();
    assert!(same(&ours, &with_foreign));
}

#[test]
fn upstream_s_condition_is_cleared_where_it_was_set() {
    let errors = [port_error(9)];
    let with = conditions(
        &StateView {
            port_errors: &errors,
            ..StateView::default()
        },
        &[],
        now(),
    );
    let without = conditions(&StateView::default(), &with, later());
    let last = without.last().expect("there are conditions");
    assert_eq!(
        (&last.type_[..], &last.status[..]),
        ("LoadBalancerPortsError", "False")
    );
    assert_eq!(last.last_transition_time, Time(later()));
}

#[test]
fn reasons_are_words_the_api_server_takes() {
    // What metav1.Condition asks of a reason: CamelCase, letters and digits, never empty.
    let classes = [
        ErrorClass::Rejected,
        ErrorClass::Denied,
        ErrorClass::Quota,
        ErrorClass::Transient,
    ];
    let of_classes = classes.map(Reason::of_class);
    let own = [
        Reason::Serving,
        Reason::Provisioning,
        Reason::Unsupported,
        Reason::Infrastructure,
        Reason::InProgress,
        Reason::Complete,
        Reason::Paused,
        Reason::AsDesired,
        Reason::AllPortsServed,
        Reason::SyncLoadBalancerFailed,
        Reason::Throttled,
    ];
    for reason in own.into_iter().chain(of_classes) {
        let text = reason.as_str();
        assert!(
            text.starts_with(|first: char| first.is_ascii_uppercase()),
            "{text:?}"
        );
        assert!(
            text.bytes().all(|byte| byte.is_ascii_alphanumeric()),
            "{text:?}"
        );
    }
}

#[test]
fn a_fault_of_the_provider_is_told_shortly_and_says_where_it_is_told_in_full() {
    let told = |class, detail| {
        let failure = Some(FailureView {
            class,
            reason: None,
            of_provider: Some("the ConfigMap kube-system/evenkeel"),
            message: detail,
        });
        let state = StateView {
            serving: true,
            failure,
            ..StateView::default()
        };
        (
            message(&state, ConditionType::Degraded),
            message(&state, ConditionType::Serving),
            said(&state),
        )
    };
    let (degraded, serving, said) = told(ErrorClass::Denied, "The provider aws cannot be asked");
    assert_eq!(
        degraded,
        "The provider aws cannot be asked. No Service of this provider can be changed until that is over; see the ConfigMap kube-system/evenkeel."
    );
    assert_eq!(
        serving,
        "The load balancer serves as it was last configured."
    );
    assert_eq!(said[2], "Degraded True/PermissionDenied");
}

#[test]
fn a_failure_may_know_better_than_its_class_why() {
    let failure = FailureView {
        class: ErrorClass::Rejected,
        reason: Some(reason::OWNERSHIP_CONFLICT),
        of_provider: None,
        message: "it belongs to somebody else; delete it there",
    };
    let state = StateView {
        failure: Some(failure),
        ..StateView::default()
    };
    assert_eq!(said(&state)[2], "Degraded True/OwnershipConflict");
}

#[test]
fn every_text_about_a_fault_is_a_sentence_and_ends_with_what_to_do() {
    let problems = Problems::from(problem());
    let refusals = [refusal()];
    let errors = [port_error(9)];
    let mut states = vec![
        (
            "problems",
            StateView {
                problems: Some(&problems),
                ..StateView::default()
            },
            "Write an address.",
        ),
        (
            "refusals",
            StateView {
                refusals: &refusals,
                ..StateView::default()
            },
            "Approve it with evenkeel.dev/approve: 3f9a0c21d4.",
        ),
        (
            "port errors",
            StateView {
                port_errors: &errors,
                ..StateView::default()
            },
            "Use TCP or UDP.",
        ),
        (
            "paused",
            StateView {
                paused: true,
                ..StateView::default()
            },
            "to go on.",
        ),
    ];
    for (class, advice) in [
        (
            ErrorClass::Rejected,
            "an edit of the Service is tried at once.",
        ),
        (ErrorClass::Denied, "it is tried again every few minutes."),
        (
            ErrorClass::Throttled { after: None },
            "nothing is to be done.",
        ),
        (ErrorClass::Quota, "it is tried again every few minutes."),
        (ErrorClass::Conflict, "look into it if it stays."),
        (ErrorClass::Transient, "look into it if it stays."),
    ] {
        let state = StateView {
            failure: failure(class),
            ..StateView::default()
        };
        states.push((class.as_str(), state, advice));
        let place = failure(class).map(|failure| FailureView {
            of_provider: Some("the ConfigMap kube-system/evenkeel"),
            ..failure
        });
        let state = StateView {
            failure: place,
            ..StateView::default()
        };
        states.push((
            class.as_str(),
            state,
            "see the ConfigMap kube-system/evenkeel.",
        ));
    }
    for (name, state, advice) in states {
        let all = conditions(&state, &[], now());
        let bad = all.iter().filter(|condition| {
            let good = condition.type_ == ConditionType::Serving.as_str();
            !matches!(
                condition.reason.as_str(),
                "Provisioning" | "InProgress" | "AsDesired"
            ) && (condition.status == "True") != good
        });
        let mut found = 0;
        for condition in bad {
            found += 1;
            assert!(condition.message.ends_with(advice), "{name}: {condition:?}");
        }
        assert!(found > 0, "{name}: nothing says what is wrong: {all:?}");
    }
}
