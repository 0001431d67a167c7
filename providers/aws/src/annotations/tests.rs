use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use evenkeel_core::annotation::KeyDoc;

use super::*;

/// Every key that the two former controllers read for a load balancer of this kind, and what they read of each.
const KNOWN: &str = include_str!("known_keys.txt");

#[test]
fn every_key_of_the_former_controllers_is_in_the_table() {
    let table: BTreeSet<_> = TABLE.keys.iter().map(|doc| doc.key).collect();
    let known: BTreeSet<_> = KNOWN.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!(table, known);
    assert_eq!(table.len(), TABLE.keys.len(), "a key stands twice");
}

#[test]
fn every_example_is_read_and_written_back_as_it_is() {
    for KeyDoc {
        key,
        grammar,
        example,
        ..
    } in TABLE.keys
    {
        let read = grammar.parse(key, example);
        let value = read.unwrap_or_else(|problem| panic!("{problem}"));
        let written = value.to_string();
        let pairs = |text: &str| text.split(',').map(str::to_owned).collect::<BTreeSet<_>>();
        assert_eq!(pairs(&written), pairs(example), "{key}");
    }
}

#[test]
fn every_key_is_described() {
    for doc in TABLE.keys {
        assert!(doc.doc.ends_with('.'), "{}: {}", doc.key, doc.doc);
        assert!(!doc.default.is_empty(), "{}", doc.key);
    }
}

#[test]
fn keys_of_other_load_balancers_are_told_once_with_what_does_the_same() {
    let annotations: BTreeMap<Arc<str>, Arc<str>> = [
        "service.beta.kubernetes.io/aws-load-balancer-connection-draining-timeout",
        "service.beta.kubernetes.io/aws-load-balancer-connection-idle-timeout",
        "alb.ingress.kubernetes.io/scheme",
        "alb.ingress.kubernetes.io/target-type",
        "service.beta.kubernetes.io/aws-load-balancer-schema",
    ]
    .map(|key| (key.into(), "1".into()))
    .into();
    let mut intent = evenkeel_laws::samples::service("checkout");
    intent.annotations = annotations;
    let mut asked = asked(&intent);
    warn_of_keys_without_effect(&mut asked);
    let told: Vec<_> = asked.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 4, "{told:#?}");
    assert!(told[0].ends_with("Did you mean service.beta.kubernetes.io/aws-load-balancer-scheme?"));
    assert!(told[1].contains("deregistration_delay.timeout_seconds"));
    assert!(told[2].contains("tcp.idle_timeout.seconds"));
    assert!(told[3].contains("alb.ingress.kubernetes.io/scheme"));
}
