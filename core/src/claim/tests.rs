use k8s_openapi::api::core::v1::Service;
use serde_json::{Value, json};

use super::*;

fn aws() -> ProviderName {
    ProviderName::from("aws")
}

fn gcp() -> ProviderName {
    ProviderName::from("gcp")
}

/// A Service without a class; `patch` is merged into it.
fn service(patch: Value) -> Service {
    let mut service = json!({
        "metadata": {"namespace": "shop", "name": "checkout", "uid": "u-1"},
        "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]},
    });
    merge(&mut service, patch);
    serde_json::from_value(service).expect("a Service")
}

fn merge(into: &mut Value, patch: Value) {
    match (into, patch) {
        (Value::Object(into), Value::Object(patch)) => {
            for (key, value) in patch {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, patch) => *into = patch,
    }
}

fn class(class: &str) -> Value {
    json!({"spec": {"loadBalancerClass": class}})
}

fn with_finalizers(finalizers: &[&str]) -> Value {
    json!({"metadata": {"finalizers": finalizers}})
}

fn ours(provider: ProviderName) -> Claim {
    Claim::Ours(ClassRule::neutral(provider))
}

#[test]
fn a_class_is_accepted_to_the_letter_or_not_at_all() {
    let mapped = ClassRule {
        provider: aws(),
        profile: Profile::Lbc,
    };
    let rules = ClaimRules::new([aws(), gcp()]).with_class("service.k8s.aws/nlb", mapped.clone());
    for (name, want) in [
        ("evenkeel.dev/aws", ours(aws())),
        ("evenkeel.dev/gcp", ours(gcp())),
        ("service.k8s.aws/nlb", Claim::Ours(mapped)),
        ("Evenkeel.dev/aws", Claim::NotOurs),
        ("evenkeel.dev/AWS", Claim::NotOurs),
        ("evenkeel.dev/aws ", Claim::NotOurs),
        ("evenkeel.dev/azure", Claim::NotOurs),
        ("tailscale", Claim::NotOurs),
    ] {
        assert_eq!(claim(&service(class(name)), &rules), want, "{name:?}");
    }
}

#[test]
fn only_a_living_load_balancer_service_is_claimed() {
    let rules = ClaimRules::new([aws()]).with_default(ClassRule::neutral(aws()));
    for (what, patch, want) in [
        ("as it is", json!({}), true),
        ("no type", json!({"spec": {"type": null}}), false),
        ("ClusterIP", json!({"spec": {"type": "ClusterIP"}}), false),
        ("NodePort", json!({"spec": {"type": "NodePort"}}), false),
        (
            "ExternalName",
            json!({"spec": {"type": "ExternalName"}}),
            false,
        ),
        ("no spec", json!({"spec": null}), false),
        (
            "being deleted",
            json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}),
            false,
        ),
    ] {
        for name in [None, Some("evenkeel.dev/aws")] {
            let mut service = service(patch.clone());
            if let Some(spec) = &mut service.spec {
                spec.load_balancer_class = name.map(str::to_owned);
            }
            let claim = claim(&service, &rules);
            assert_eq!(
                claim != Claim::NotOurs,
                want,
                "{what}, class {name:?}: {claim:?}"
            );
        }
    }
}

#[test]
fn a_service_without_a_class_is_taken_only_by_a_default_and_only_untouched() {
    let by_default = ClaimRules::new([aws()]).with_default(ClassRule::neutral(aws()));
    assert_eq!(
        claim(&service(json!({})), &ClaimRules::new([aws()])),
        Claim::NotOurs
    );
    assert_eq!(claim(&service(json!({})), &by_default), ours(aws()));
    // Old stored objects can carry an empty class.
    assert_eq!(claim(&service(class("")), &by_default), ours(aws()));

    let mut hands: Vec<(Value, Hand)> = FOREIGN_FINALIZERS
        .iter()
        .map(|name| {
            (
                with_finalizers(&["example.com/backup", name]),
                Hand::Finalizer((*name).to_owned()),
            )
        })
        .collect();
    hands.push((
        json!({"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}}),
        Hand::Status("192.0.2.1".to_owned()),
    ));
    hands.push((
        json!({"status": {"loadBalancer": {"ingress": [{"hostname": "lb.example.com"}]}}}),
        Hand::Status("lb.example.com".to_owned()),
    ));
    // Another process of ours, with a provider that does not run here.
    hands.push((
        with_finalizers(&["evenkeel.dev/gcp"]),
        Hand::Finalizer("evenkeel.dev/gcp".to_owned()),
    ));
    for (patch, hand) in hands {
        let touched = service(patch.clone());
        assert_eq!(
            claim(&touched, &by_default),
            Claim::ForeignHand(hand),
            "{patch}"
        );
        // Without a default nobody asked, so there is nothing to tell either.
        assert_eq!(
            claim(&touched, &ClaimRules::new([aws()])),
            Claim::NotOurs,
            "{patch}"
        );

        // A class is the user's word: no hand stands against it.
        let mut with_class = patch.clone();
        merge(&mut with_class, class("evenkeel.dev/aws"));
        assert_eq!(
            claim(&service(with_class), &by_default),
            ours(aws()),
            "{patch}"
        );

        // Once our finalizer is there, the Service stays ours.
        let mut owned = touched;
        owned
            .metadata
            .finalizers
            .get_or_insert_default()
            .push("evenkeel.dev/aws".to_owned());
        assert_eq!(claim(&owned, &by_default), ours(aws()), "{patch}");
    }
}

#[test]
fn foreign_marks_that_are_not_of_a_load_balancer_controller_do_not_count() {
    let by_default = ClaimRules::new([aws()]).with_default(ClassRule::neutral(aws()));
    for patch in [
        with_finalizers(&["example.com/backup", "foregroundDeletion"]),
        json!({"status": {"loadBalancer": {"ingress": []}}}),
        json!({"status": {"loadBalancer": {}}}),
        json!({"status": {}}),
    ] {
        assert_eq!(
            claim(&service(patch.clone()), &by_default),
            ours(aws()),
            "{patch}"
        );
    }
}

#[test]
fn a_hand_is_told_with_its_name_and_what_to_do() {
    let warning = Hand::Finalizer("service.k8s.aws/resources".to_owned()).warning();
    assert_eq!(warning.reason, "OwnershipConflict");
    assert!(
        warning.message.contains("\"service.k8s.aws/resources\""),
        "{warning}"
    );
    assert!(
        warning.message.contains("Adopt its load balancer"),
        "{warning}"
    );
}

#[test]
fn leaving_is_owned_and_no_longer_ours() {
    let by_class = ClaimRules::new([aws(), gcp()]);
    let by_default = by_class.clone().with_default(ClassRule::neutral(aws()));
    let by_other_default = by_class.clone().with_default(ClassRule::neutral(gcp()));
    let without_gcp = ClaimRules::new([aws()]);
    let deleted = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}});
    let cluster_ip = json!({"spec": {"type": "ClusterIP"}});
    let nothing: [ProviderName; 0] = [];
    for (what, finalizers, patch, rules, want) in [
        (
            "ours by class",
            &["evenkeel.dev/aws"][..],
            class("evenkeel.dev/aws"),
            &by_class,
            &nothing[..],
        ),
        (
            "ours by default",
            &["evenkeel.dev/aws"],
            json!({}),
            &by_default,
            &nothing,
        ),
        (
            "deleted",
            &["evenkeel.dev/aws"],
            deleted.clone(),
            &by_default,
            &[aws()],
        ),
        (
            "another type",
            &["evenkeel.dev/aws"],
            cluster_ip,
            &by_default,
            &[aws()],
        ),
        (
            "another class of ours",
            &["evenkeel.dev/aws"],
            class("evenkeel.dev/gcp"),
            &by_class,
            &[aws()],
        ),
        (
            "a foreign class",
            &["evenkeel.dev/aws"],
            class("tailscale"),
            &by_class,
            &[aws()],
        ),
        (
            "default switched off",
            &["evenkeel.dev/aws"],
            json!({}),
            &by_class,
            &[aws()],
        ),
        (
            "default changed",
            &["evenkeel.dev/aws"],
            json!({}),
            &by_other_default,
            &[aws()],
        ),
        (
            "two of ours",
            &["evenkeel.dev/aws", "evenkeel.dev/gcp"],
            deleted.clone(),
            &by_class,
            &[aws(), gcp()],
        ),
        (
            "never owned",
            &["example.com/backup"],
            deleted.clone(),
            &by_class,
            &nothing,
        ),
        (
            "owned by another process",
            &["evenkeel.dev/gcp"],
            deleted,
            &without_gcp,
            &nothing,
        ),
    ] {
        let mut service = service(patch);
        service.metadata.finalizers =
            Some(finalizers.iter().map(|&name| name.to_owned()).collect());
        assert_eq!(leaving(&service, rules), want, "{what}");
    }
}

#[test]
fn finalizers_name_the_provider() {
    assert_eq!(finalizer(&aws()), "evenkeel.dev/aws");
    let service = service(with_finalizers(&[
        "evenkeel.dev/aws",
        "evenkeel.device/x",
        "evenkeel.dev/",
        "evenkeel.dev/gcp",
    ]));
    assert_eq!(owned_by(&service), [aws(), gcp()]);
}
