use std::time::Duration;

use evenkeel_core::{
    digest::Digest,
    error::ErrorClass,
    ids::{ResourceId, ServiceKey, ServiceRef, ServiceUid},
    plan::{Action, Change},
    published::Published,
};

use super::*;

fn toy() -> ProviderName {
    ProviderName::from("toy")
}

fn group(name: &str) -> GroupKey {
    GroupKey::Service(ServiceRef {
        key: ServiceKey::new("shop", name),
        uid: ServiceUid::new(name),
    })
}

fn standing() -> ControllerStanding {
    let home = HomeConfig {
        namespace: "lb".into(),
        instance: "mine".into(),
        election: false,
        lease: Duration::from_secs(15),
    };
    ControllerStanding::new(home, [toy()], Clock::default(), Metrics::new())
}

fn failed(class: ErrorClass, fault: Option<ProviderFault>, message: &str) -> Report {
    let mut error = CloudError::new(class, "List", message);
    error.of_provider = fault;
    let change = Change::new(Action::Create, "listener", ResourceId::new("ls"), "");
    let at = "2026-01-02T03:04:05Z".parse().expect("a time");
    Report {
        failures: vec![Failure::new(change, &error, Digest::of(""), at)],
        reads: 1,
        ..Report::default()
    }
}

fn answered() -> Report {
    Report {
        published: Some(Published::default()),
        reads: 1,
        ..Report::default()
    }
}

fn provider_ready(standing: &ControllerStanding) -> (String, String) {
    let all = standing.conditions();
    let found = all
        .into_iter()
        .find(|known| known.type_ == condition::PROVIDER_READY)
        .expect("always there");
    (found.status, found.reason)
}

#[test]
fn what_a_run_says_of_the_provider() {
    use ProviderFault::{CredentialsExpired, PermissionDenied, Unreachable};
    for (name, report, want) in [
        (
            "expired",
            failed(ErrorClass::Denied, Some(CredentialsExpired), "m"),
            ("False", "CredentialsExpired"),
        ),
        (
            "denied",
            failed(ErrorClass::Denied, Some(PermissionDenied), "m"),
            ("False", "PermissionDenied"),
        ),
        (
            "nobody there",
            failed(ErrorClass::Transient, Some(Unreachable), "m"),
            ("False", "Unreachable"),
        ),
        (
            "a denial of one thing is that Service's business",
            failed(ErrorClass::Denied, None, "m"),
            ("Unknown", "NotAsked"),
        ),
        (
            "a call that failed says nothing",
            failed(ErrorClass::Transient, None, "m"),
            ("Unknown", "NotAsked"),
        ),
        (
            "nothing was asked",
            Report {
                reads: 0,
                ..answered()
            },
            ("Unknown", "NotAsked"),
        ),
        ("it answered", answered(), ("True", "Answers")),
        (
            "it answered, and one write was denied",
            Report {
                published: Some(Published::default()),
                ..failed(ErrorClass::Denied, None, "m")
            },
            ("True", "Answers"),
        ),
    ] {
        let standing = standing();
        standing.ran(&toy(), &group("a"), &report);
        let want = (want.0.to_owned(), want.1.to_owned());
        assert_eq!(provider_ready(&standing), want, "{name}");
    }
}

#[test]
fn whoever_was_held_up_goes_on_with_the_first_answer() {
    let standing = standing();
    let expired = |message: &str| {
        failed(
            ErrorClass::Denied,
            Some(ProviderFault::CredentialsExpired),
            message,
        )
    };
    for name in ["a", "b"] {
        let go_on = standing.ran(&toy(), &group(name), &expired(name));
        assert_eq!(go_on, BTreeSet::new());
    }
    assert_eq!(standing.faulty(), [toy()]);
    let message = &standing.conditions()[0].message;
    assert_eq!(
        message,
        "The provider toy cannot be asked: List: a. Load balancers stay as they are, and nothing new is made. Give the controller \
         valid credentials; it is tried again by itself.",
        "the first text stays"
    );
    let go_on = standing.looked(&toy(), Ok(()));
    assert_eq!(go_on, [group("a"), group("b")].into());
    assert_eq!(standing.faulty(), []);
    assert_eq!(
        standing.ran(&toy(), &group("c"), &answered()),
        BTreeSet::new(),
        "nobody was held up since"
    );
}

#[test]
fn the_gauge_says_the_same() {
    let standing = standing();
    let line = |value| format!("evenkeel_provider_ready{{provider=\"toy\"}} {value}\n");
    let text = || standing.metrics.encode().expect("encodes");
    assert!(!text().contains(&line(0)), "nothing is known");
    let error = CloudError::new(ErrorClass::Transient, "List", "nobody there")
        .of_provider(ProviderFault::Unreachable);
    standing.looked(&toy(), Err(&error));
    assert!(text().contains(&line(0)), "{}", text());
    standing.looked(&toy(), Ok(()));
    assert!(text().contains(&line(1)), "{}", text());
}

#[test]
fn calls_that_are_not_allowed_are_named_until_they_are() {
    let standing = standing();
    let ready = || {
        let all = standing.conditions();
        all.into_iter()
            .find(|known| known.type_ == condition::API_READY)
            .map(|known| (known.status, known.message))
    };
    standing.api("patch services/status", None);
    assert_eq!(ready(), None, "nothing was ever refused");
    standing.api("patch services/status", Some("forbidden: no."));
    standing.api("get services", Some("forbidden: no."));
    let (status, message) = ready().expect("there");
    assert_eq!(status, "False");
    assert!(
        message.contains("get services, patch services/status (forbidden: no)"),
        "{message}"
    );
    standing.api("get services", None);
    let (status, message) = ready().expect("there");
    assert_eq!(status, "False");
    assert!(message.contains(": patch services/status ("), "{message}");
    standing.api("patch services/status", None);
    assert_eq!(ready().expect("there").0, "True");
}

#[test]
fn a_condition_keeps_its_time_while_its_status_is_the_same() {
    let standing = standing();
    let fault = |fault| {
        let error = CloudError::new(ErrorClass::Denied, "List", "m").of_provider(fault);
        standing.looked(&toy(), Err(&error));
        standing.conditions()[0].clone()
    };
    let first = fault(ProviderFault::CredentialsExpired);
    standing.clock.put_forward(Duration::from_secs(60));
    let second = fault(ProviderFault::Unreachable);
    assert_eq!(second.reason, "Unreachable");
    assert_eq!(first.last_transition_time, second.last_transition_time);
    standing.clock.put_forward(Duration::from_secs(60));
    standing.looked(&toy(), Ok(()));
    let third = standing.conditions()[0].clone();
    assert!(third.last_transition_time > second.last_transition_time);
}
