use serde_json::{Value, json};

use super::*;

fn service(name: &str) -> ServiceKey {
    ServiceKey::new("shop", name)
}

fn pod(name: &str, version: u64, gates: &[&str], open: &str) -> Item<PodFacts> {
    let types = gates
        .iter()
        .map(|gate| format!("target-health.evenkeel.dev/{gate}"));
    let types: Vec<String> = types.collect();
    let conditions = types
        .iter()
        .map(|type_| json!({"type": type_, "status": open}));
    serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "shop", "uid": "u", "resourceVersion": version.to_string()},
        "spec": {"readinessGates": types.iter().map(|type_| json!({"conditionType": type_})).collect::<Value>()},
        "status": {"conditions": conditions.collect::<Value>()},
    }))
    .expect("a pod")
}

fn names(services: Vec<ServiceKey>) -> Vec<String> {
    services
        .into_iter()
        .map(|service| service.name.to_string())
        .collect()
}

#[test]
fn a_namespace_is_watched_as_long_as_a_service_needs_it() {
    let mut cache = PodCache::default();
    assert_eq!(cache.known("shop"), Known::Awaited);
    let watch = cache.follow(&service("web")).expect("to begin");
    assert!(cache.follow(&service("web")).is_none(), "it has begun");
    assert!(cache.follow(&service("api")).is_none(), "one for all");
    assert!(cache.forget(&service("web")));
    assert!(!cache.forget(&service("web")), "it was forgotten");
    assert!(!watch.is_cancelled(), "the other needs it");
    assert!(cache.forget(&service("api")));
    assert!(watch.is_cancelled());
    let again = cache.follow(&service("web")).expect("to begin anew");
    assert!(!again.is_cancelled());
}

#[test]
fn whoever_is_named_by_a_gate_hears_of_its_pod() {
    let mut cache = PodCache::default();
    cache.follow(&service("web"));
    cache.follow(&service("api"));
    let mut told = |event| names(cache.event("shop", event));
    assert_eq!(told(Event::Init), [""; 0]);
    assert_eq!(
        told(Event::InitApply(pod("a", 1, &["web", "strange"], "False"))),
        ["web"]
    );
    assert_eq!(told(Event::InitApply(pod("b", 1, &[], ""))), [""; 0]);
    assert_eq!(told(Event::InitDone), ["api", "web"], "now all is known");
    for (what, event, want) in [
        (
            "the same",
            Event::Apply(pod("a", 2, &["web", "strange"], "False")),
            &[][..],
        ),
        (
            "another",
            Event::Apply(pod("a", 3, &["web"], "True")),
            &["web"],
        ),
        ("older", Event::Apply(pod("a", 2, &["web"], "False")), &[]),
        (
            "gone",
            Event::Delete(pod("a", 4, &["web"], "True")),
            &["web"],
        ),
        (
            "gone before",
            Event::Delete(pod("a", 4, &["web"], "True")),
            &[],
        ),
    ] {
        assert_eq!(told(event), want, "{what}");
    }
}

#[test]
fn a_list_that_does_not_name_a_pod_any_more_takes_it_away() {
    let mut cache = PodCache::default();
    cache.follow(&service("web"));
    cache.event("shop", Event::Init);
    cache.event("shop", Event::InitApply(pod("a", 1, &["web"], "False")));
    cache.event("shop", Event::InitDone);
    assert_eq!(cache.waiting(&service("web")).len(), 1);
    cache.event("shop", Event::Init);
    assert_eq!(
        cache.waiting(&service("web")).len(),
        1,
        "until it is complete"
    );
    assert_eq!(names(cache.event("shop", Event::InitDone)), ["web"]);
    assert!(cache.get("shop", "a").is_none());
}

#[test]
fn who_may_not_look_knows_what_it_knew() {
    let mut cache = PodCache::default();
    cache.follow(&service("web"));
    assert!(cache.refused("shop"));
    assert_eq!(cache.known("shop"), Known::Refused);
    cache.event("shop", Event::Init);
    cache.event("shop", Event::InitDone);
    assert_eq!(cache.known("shop"), Known::Listed);
    assert!(!cache.refused("shop"), "it was listed");
    assert_eq!(cache.known("shop"), Known::Listed);
}
