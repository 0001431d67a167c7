use std::sync::Arc;

use evenkeel_core::{
    digest::Digest,
    error::{CloudError, ErrorClass, ProviderFault},
    ids::{ResourceId, ServiceKey, ServiceUid},
    plan::{Action, Change, Reason, Refusal, Until, Wait},
    ports::{PortKey, Protocol},
    problem::reason,
    published::{Ingress, IpMode, PublishedPort},
};

use super::*;

fn at(minutes: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + 60 * minutes).expect("a time")
}

fn service() -> ServiceRef {
    ServiceRef {
        key: ServiceKey::new("shop", "checkout"),
        uid: ServiceUid::new("u1"),
    }
}

const HTTPS: PortKey = PortKey {
    port: 443,
    protocol: Protocol::Tcp,
};

/// A load balancer that serves.
fn serving() -> Report {
    Report {
        published: Some(Published {
            ingress: vec![Ingress::Ip {
                ip: "192.0.2.1".parse().expect("an address"),
                mode: IpMode::Proxy,
            }],
            ports: vec![PublishedPort {
                service: service(),
                port: HTTPS,
            }],
            targets: None,
            pools: Vec::new(),
        }),
        ..Report::default()
    }
}

fn empty() -> Report {
    Report {
        published: Some(Published::default()),
        ..Report::default()
    }
}

fn failed(class: ErrorClass, message: &str) -> Failure {
    let change = Change::new(Action::Create, "listener", ResourceId::new("ls"), "");
    Failure::new(
        change,
        &CloudError::new(class, "CreateListener", message),
        Digest::of(""),
        at(0),
    )
}

fn problems() -> Problems {
    Problem::new(
        "metadata.annotations[evenkeel.dev/scheme]",
        "interal",
        "must be one of internal",
        "Did you mean internal?",
    )
    .into()
}

struct Scene {
    told: Told,
    problems: Option<Problems>,
    no_nodes: bool,
}

impl Scene {
    fn new() -> Self {
        Self {
            told: Told::default(),
            problems: None,
            no_nodes: false,
        }
    }

    fn run(&mut self, report: &Report, minutes: i64) -> Outcome {
        let view = View {
            service: &service(),
            provider: &ProviderName::from("local"),
            standing: "the ConfigMap kube-system/evenkeel",
            report,
            problems: self.problems.as_ref(),
            warnings: &[],
            port_errors: &[],
            no_nodes: self.no_nodes,
            leaving: false,
            running: false,
        };
        outcome(&mut self.told, &view, &[], at(minutes))
    }
}

fn reasons(outcome: &Outcome) -> Vec<&str> {
    outcome.notices.iter().map(|notice| notice.reason).collect()
}

fn status(outcome: &Outcome, type_: ConditionType) -> (String, String) {
    let found = outcome
        .conditions
        .iter()
        .find(|condition| condition.type_ == type_.as_str())
        .expect("published");
    (found.status.clone(), found.reason.clone())
}

fn pair(status: &str, reason: &str) -> (String, String) {
    (status.to_owned(), reason.to_owned())
}

#[test]
fn a_life_without_trouble() {
    let mut scene = Scene::new();
    let begin = scene.told.beginning(true).expect("news");
    assert_eq!((begin.reason, begin.warning), (event::ENSURING, false));
    scene.told.began();
    assert_eq!(scene.told.beginning(true), None, "once until it has ended");

    let waiting = Report {
        waits: vec![Wait {
            id: ResourceId::new("lb"),
            what: "lb becomes active".into(),
            until: Until::Told,
        }],
        ..empty()
    };
    let first = scene.run(&waiting, 0);
    assert_eq!(reasons(&first), [""; 0]);
    assert_eq!(
        status(&first, ConditionType::Provisioning),
        pair("True", "InProgress")
    );
    assert_eq!(first.state, State::Claimed);

    let done = scene.run(&serving(), 2);
    assert_eq!(reasons(&done), [event::ENSURED]);
    assert_eq!(
        done.notices[0].note,
        "The load balancer serves 192.0.2.1 on 443/TCP."
    );
    assert_eq!(done.provisioned, Some(SignedDuration::from_mins(2)));
    assert_eq!(
        status(&done, ConditionType::Serving),
        pair("True", "Serving")
    );
    assert_eq!(done.state, State::Active);

    let again = scene.run(&serving(), 3);
    assert_eq!(
        (reasons(&again), again.provisioned),
        (vec![], None),
        "nothing new, nothing told"
    );
    assert_eq!(
        scene.told.beginning(false),
        None,
        "a change of nodes is no news"
    );
    assert!(scene.told.beginning(true).is_some(), "an edit is");

    assert_eq!(
        scene.told.releasing().map(|notice| notice.reason),
        Some(event::DELETING)
    );
    scene.told.began_release();
    assert_eq!(scene.told.releasing(), None);
}

#[test]
fn after_a_restart_nothing_is_told_of_what_stood_already() {
    let mut scene = Scene::new();
    scene.told.was_serving();
    let outcome = scene.run(&serving(), 0);
    assert_eq!(
        (reasons(&outcome), outcome.provisioned, outcome.state),
        (vec![], None, State::Active)
    );
}

#[test]
fn each_trouble_has_its_reason_and_its_state() {
    for (name, report, unreadable, want, state) in [
        (
            "a broken annotation, nothing there",
            empty(),
            true,
            reason::INVALID_CONFIGURATION,
            State::Rejected,
        ),
        (
            "a broken annotation, it serves on",
            serving(),
            true,
            reason::INVALID_CONFIGURATION,
            State::Degraded,
        ),
        (
            "a passing fault",
            Report {
                failures: vec![failed(ErrorClass::Transient, "no answer")],
                ..empty()
            },
            false,
            event::FAILED,
            State::Degraded,
        ),
        (
            "throttled",
            Report {
                failures: vec![failed(ErrorClass::Throttled { after: None }, "slow down")],
                ..empty()
            },
            false,
            event::FAILED,
            State::Degraded,
        ),
        (
            "a person comes before what passes",
            Report {
                failures: vec![
                    failed(ErrorClass::Transient, "no answer"),
                    failed(ErrorClass::Denied, "may not CreateListener"),
                ],
                ..empty()
            },
            false,
            reason::PERMISSION_DENIED,
            State::Degraded,
        ),
        (
            "a quota",
            Report {
                failures: vec![failed(ErrorClass::Quota, "full")],
                ..empty()
            },
            false,
            reason::QUOTA_EXCEEDED,
            State::Degraded,
        ),
    ] {
        let mut scene = Scene::new();
        if unreadable {
            scene.problems = Some(problems());
        }
        let outcome = scene.run(&report, 0);
        assert_eq!(reasons(&outcome), [want], "{name}");
        assert!(outcome.notices[0].warning, "{name}");
        assert_eq!(outcome.state, state, "{name}");
        let degraded = outcome
            .conditions
            .iter()
            .find(|condition| condition.type_ == "evenkeel.dev/Degraded")
            .expect("there");
        assert_eq!(
            degraded.message, outcome.notices[0].note,
            "{name}: one text"
        );
    }
}

#[test]
fn a_trouble_is_told_once_and_again_before_it_is_forgotten() {
    let mut scene = Scene::new();
    let report = |message| Report {
        failures: vec![failed(ErrorClass::Transient, message)],
        ..empty()
    };
    let told: Vec<_> = [0, 1, 44, 46, 60, 92]
        .into_iter()
        .filter(|minutes| !scene.run(&report("no answer"), *minutes).notices.is_empty())
        .collect();
    assert_eq!(told, [0, 46, 92]);
    assert_eq!(
        reasons(&scene.run(&report("another cause"), 93)),
        [event::FAILED],
        "a new cause is news"
    );
    assert_eq!(
        reasons(&scene.run(&report("no answer"), 94)),
        [event::FAILED],
        "so is one that came back"
    );
}

#[test]
fn warnings_are_told_once_and_that_nobody_is_there_again() {
    let mut scene = Scene::new();
    scene.no_nodes = true;
    let report = Report {
        warnings: vec![Warning::new(
            reason::UNKNOWN_ANNOTATION,
            "nobody knows it. Correct it.",
        )],
        ..serving()
    };
    let first = scene.run(&report, 0);
    assert_eq!(
        reasons(&first),
        [reason::UNKNOWN_ANNOTATION, event::NO_NODES]
    );
    assert_eq!(reasons(&scene.run(&report, 44)), [""; 0]);
    assert_eq!(reasons(&scene.run(&report, 600)), [event::NO_NODES]);
    scene.no_nodes = false;
    scene.run(&serving(), 601);
    scene.no_nodes = true;
    assert_eq!(
        reasons(&scene.run(&serving(), 602)),
        [event::NO_NODES],
        "it happened again"
    );
}

#[test]
fn errors_of_ports_are_those_of_this_service() {
    let error = |service: ServiceRef, port| PortError {
        service,
        port: PortKey {
            port,
            protocol: Protocol::Tcp,
        },
        reason: reason::PORT_NOT_OPENED,
        message: Arc::from("taken. Free it."),
    };
    let other = ServiceRef {
        key: ServiceKey::new("shop", "cart"),
        uid: ServiceUid::new("u2"),
    };
    let mut scene = Scene::new();
    let report = Report {
        port_errors: vec![error(service(), 80), error(other, 81)],
        ..serving()
    };
    let outcome = scene.run(&report, 0);
    assert_eq!(
        outcome
            .port_errors
            .iter()
            .map(|error| error.port.port)
            .collect::<Vec<_>>(),
        [80]
    );
    assert_eq!(
        status(&outcome, ConditionType::PortsError),
        pair("True", reason::PORT_NOT_OPENED)
    );
    assert_eq!(reasons(&outcome), [reason::PORT_NOT_OPENED]);
}

#[test]
fn a_refused_port_is_an_error_of_that_port_and_that_service() {
    let refused = |uid: ServiceUid, port| Refusal {
        id: ResourceId::new("ls"),
        problem: Problem::new("spec.ports", "", "could not be opened", "Free it.")
            .with_reason(reason::PORT_NOT_OPENED),
        approval: None,
        port: Some((
            uid,
            PortKey {
                port,
                protocol: Protocol::Tcp,
            },
        )),
    };
    let report = Report {
        refusals: vec![
            refused(service().uid, 80),
            refused(ServiceUid::new("u2"), 81),
        ],
        ..serving()
    };
    let outcome = Scene::new().run(&report, 0);
    let errors: Vec<_> = outcome
        .port_errors
        .iter()
        .map(|e| (e.port.port, e.reason, &*e.message))
        .collect();
    assert_eq!(
        errors,
        [(80, reason::PORT_NOT_OPENED, "could not be opened. Free it.")]
    );
}

#[test]
fn a_cloud_that_cannot_be_read_takes_nothing_away() {
    let mut scene = Scene::new();
    scene.run(&serving(), 0);
    let unread = Report {
        failures: vec![failed(ErrorClass::Transient, "no answer")],
        ..Report::default()
    };
    let outcome = scene.run(&unread, 1);
    assert_eq!(
        status(&outcome, ConditionType::Serving),
        pair("True", "Serving")
    );
    assert_eq!(outcome.state, State::Degraded);
}

#[test]
fn what_is_everybodys_trouble_is_told_by_conditions_alone() {
    let mut scene = Scene::new();
    let mut expired = failed(ErrorClass::Denied, "the token has expired");
    expired.of_provider = Some(ProviderFault::CredentialsExpired);
    let report = Report {
        failures: vec![failed(ErrorClass::Quota, "full"), expired],
        ..empty()
    };
    let outcome = scene.run(&report, 0);
    assert_eq!(reasons(&outcome), [""; 0], "one event in one place says it");
    assert_eq!(
        status(&outcome, ConditionType::Degraded),
        pair("True", reason::PERMISSION_DENIED)
    );
    let text = message(&outcome.conditions, ConditionType::Serving);
    assert!(
        text.contains("provider local") && text.ends_with("the ConfigMap kube-system/evenkeel."),
        "{text}"
    );
    assert!(
        !text.contains("token"),
        "nothing that differs from try to try: {text}"
    );

    // Trouble of its own is told all the same.
    scene.problems = Some(problems());
    assert_eq!(
        reasons(&scene.run(&report, 1)),
        [reason::INVALID_CONFIGURATION]
    );
}

#[test]
fn who_waits_for_long_is_told_what_for() {
    let waits = |what: &str| Report {
        waits: vec![Wait {
            id: ResourceId::new("lb"),
            what: what.to_owned(),
            until: Until::Told,
        }],
        ..empty()
    };
    let mut scene = Scene::new();
    assert_eq!(reasons(&scene.run(&waits("lb becomes active"), 0)), [""; 0]);
    let late = scene.run(&waits("the quota is raised"), 50);
    assert_eq!(reasons(&late), [event::ENSURING]);
    assert!(
        late.notices[0]
            .note
            .contains("Waiting: the quota is raised."),
        "{late:?}"
    );
    assert!(!late.notices[0].warning);
    assert_eq!(
        reasons(&scene.run(&serving(), 200)),
        [""; 0],
        "who is served is told nothing of that"
    );
}

#[test]
fn who_is_paused_and_not_as_asked_is_told_how_to_go_on() {
    let paused = |report| Report {
        paused: true,
        ..report
    };
    let withheld = Report {
        withheld: vec![Change::new(
            Action::Create,
            "listener",
            ResourceId::new("ls"),
            "",
        )],
        ..serving()
    };
    for (name, report, told) in [
        ("not served", empty(), true),
        ("served, and something is left to do", withheld, true),
        ("served as asked", serving(), false),
    ] {
        let outcome = Scene::new().run(&paused(report), 0);
        let want: &[&str] = if told { &[event::PAUSED] } else { &[] };
        assert_eq!(reasons(&outcome), want, "{name}");
        assert!(
            outcome.notices.iter().all(|notice| notice
                .note
                .contains("Remove the annotation evenkeel.dev/paused")),
            "{name}: {outcome:?}"
        );
    }
}

#[test]
fn what_somebody_else_changed_is_told_with_the_first_few_writes() {
    let change = |id: &str| Change::new(Action::Create, "listener", ResourceId::new(id), "");
    let drift = |drifted: Vec<Change>| Report {
        drifted,
        ..Report::default()
    };
    assert_eq!(drifted(&drift(Vec::new())), None);

    let rule = |number| Reason::new("rule", "", format!("tcp {number}"));
    let rules = change("sg").because((1..=4).map(rule).collect());
    let few = drifted(&drift(vec![change("ls/443"), rules])).expect("told");
    assert_eq!((few.reason, few.warning), (event::DRIFT_REPAIRED, false));
    let want = "repaired: create listener ls/443; create listener sg (rule: none -> tcp 1, rule: none -> tcp 2, rule: none -> tcp 3, \
                1 more). ";
    assert!(few.note.contains(want), "{few:?}");

    let ids = (0..7).map(|number| change(&number.to_string())).collect();
    let many = drifted(&drift(ids)).expect("told");
    assert!(many.note.contains("listener 4; 2 more. "), "{many:?}");

    let in_part = Report {
        failures: vec![failed(ErrorClass::Transient, "no answer")],
        ..drift(vec![change("ls/443")])
    };
    let in_part = drifted(&in_part).expect("told");
    assert_eq!(
        (in_part.reason, in_part.warning),
        (event::DRIFT_DETECTED, true)
    );
}
