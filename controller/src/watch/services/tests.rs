use serde_json::{Value, json};

use super::*;
use evenkeel_core::ids::ProviderName;

fn cache() -> ServiceCache {
    ServiceCache::new(ClaimRules::new([ProviderName::from("local")]))
}

/// The Service `shop/checkout`, of our class, with these changes.
fn item(changes: Value) -> Item<Service> {
    let mut object = json!({
        "metadata": {"name": "checkout", "namespace": "shop", "uid": "u1", "resourceVersion": "10"},
        "spec": {"type": "LoadBalancer", "loadBalancerClass": "evenkeel.dev/local", "ports": [{"port": 80}]},
        "status": {"loadBalancer": {}},
    });
    merge(&mut object, changes);
    serde_json::from_value(object).expect("has a name")
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

fn own(uid: &str) -> GroupKey {
    GroupKey::Service(ServiceRef {
        key: ServiceKey::new("shop", "checkout"),
        uid: ServiceUid::new(uid),
    })
}

fn shared(name: &str) -> GroupKey {
    GroupKey::Shared {
        namespace: "shop".into(),
        name: name.into(),
    }
}

fn in_group(name: &str) -> Value {
    json!({"metadata": {"annotations": {"evenkeel.dev/group": name}, "resourceVersion": "11"}})
}

#[test]
fn only_what_is_ours_is_stored() {
    for (name, changes, stored) in [
        ("our class", json!({}), true),
        (
            "another class",
            json!({"spec": {"loadBalancerClass": "example.com/lb"}}),
            false,
        ),
        (
            "no class, no default provider",
            json!({"spec": {"loadBalancerClass": null}}),
            false,
        ),
        (
            "another type",
            json!({"spec": {"type": "ClusterIP", "loadBalancerClass": null}}),
            false,
        ),
        (
            "another type, still to be released",
            json!({"metadata": {"finalizers": ["evenkeel.dev/local"]}, "spec": {"type": "ClusterIP"}}),
            true,
        ),
        (
            "owned by a provider of another process",
            json!({"metadata": {"finalizers": ["evenkeel.dev/aws"]}, "spec": {"type": "ClusterIP"}}),
            false,
        ),
    ] {
        let mut cache = cache();
        let (wakes, _) = cache.event(Event::Apply(item(changes)));
        assert_eq!(cache.all().count() == 1, stored, "{name}");
        assert_eq!(!wakes.is_empty(), stored, "{name}");
    }
}

#[test]
fn what_a_change_means() {
    let ingress = json!({"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}});
    for (name, changes, want) in [
        ("nothing but the version", json!({}), None),
        (
            "our finalizer came",
            json!({"metadata": {"finalizers": ["evenkeel.dev/local", "x/y"]}}),
            None,
        ),
        (
            "the selector",
            json!({"spec": {"selector": {"app": "other"}}}),
            None,
        ),
        (
            "a label",
            json!({"metadata": {"labels": {"app": "other"}}}),
            None,
        ),
        ("the status", ingress, Some(Why::PUBLISHED)),
        (
            "a port",
            json!({"spec": {"ports": [{"port": 81}]}}),
            Some(Why::CHANGED),
        ),
        (
            "an annotation",
            json!({"metadata": {"annotations": {"a": "b"}}}),
            Some(Why::CHANGED),
        ),
        (
            "a deletion",
            json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["evenkeel.dev/local"]}}),
            Some(Why::CHANGED),
        ),
    ] {
        let mut cache = cache();
        cache.event(Event::Apply(item(json!({}))));
        let mut changes = changes;
        merge(&mut changes, json!({"metadata": {"resourceVersion": "11"}}));
        let (wakes, _) = cache.event(Event::Apply(item(changes)));
        let want: Wakes = want.map(|why| (own("u1"), why)).into_iter().collect();
        assert_eq!(wakes, want, "{name}");
    }
}

#[test]
fn our_finalizer_taken_away_is_a_change() {
    let mut cache = cache();
    cache.event(Event::Apply(item(
        json!({"metadata": {"finalizers": ["evenkeel.dev/local"]}}),
    )));
    let (wakes, _) = cache.event(Event::Apply(item(
        json!({"metadata": {"resourceVersion": "11", "finalizers": []}}),
    )));
    assert_eq!(wakes, [(own("u1"), Why::CHANGED)]);
}

#[test]
fn what_we_wrote_is_known_and_what_is_older_is_dropped() {
    let mut cache = cache();
    cache.event(Event::Apply(item(json!({}))));
    let written = json!({"metadata": {"resourceVersion": "20"}, "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}});
    cache.known(item(written.clone()));
    let (wakes, _) = cache.event(Event::Apply(item(
        json!({"metadata": {"resourceVersion": "15"}, "spec": {"ports": [{"port": 9}]}}),
    )));
    assert_eq!(wakes, [], "older than our write");
    let (wakes, _) = cache.event(Event::Apply(item(written)));
    assert_eq!(wakes, [], "our own write comes back");
    let (wakes, _) = cache.event(Event::Apply(item(
        json!({"metadata": {"resourceVersion": "9", "uid": "u2"}}),
    )));
    assert!(
        wakes.contains(&(own("u2"), Why::CHANGED)),
        "another object of the same name: {wakes:?}"
    );
}

#[test]
fn a_service_wakes_its_old_and_its_new_group() {
    let mut cache = cache();
    cache.event(Event::Apply(item(json!({}))));
    let (wakes, _) = cache.event(Event::Apply(item(in_group("edge"))));
    assert_eq!(
        wakes,
        [(own("u1"), Why::CHANGED), (shared("edge"), Why::CHANGED)]
    );
    assert_eq!(cache.members(&shared("edge")).len(), 1);
    assert_eq!(cache.members(&own("u1")).len(), 0);
    let (wakes, _) = cache.event(Event::Delete(item(in_group("edge"))));
    assert_eq!(wakes, [(shared("edge"), Why::CHANGED)]);
    assert_eq!(cache.groups().count(), 0);
}

#[test]
fn a_group_that_cannot_be_read_moves_nobody() {
    let broken = || json!({"metadata": {"annotations": {"evenkeel.dev/group": "Not a name!"}, "resourceVersion": "12"}});
    let mut cache = cache();
    cache.event(Event::Apply(item(in_group("edge"))));
    cache.event(Event::Apply(item(broken())));
    assert_eq!(cache.members(&shared("edge")).len(), 1);
    let mut cache = self::cache();
    cache.event(Event::Apply(item(broken())));
    assert_eq!(cache.members(&own("u1")).len(), 1);
}

#[test]
fn what_a_list_does_not_name_is_gone() {
    let mut cache = cache();
    cache.event(Event::Apply(item(json!({}))));
    cache.event(Event::Apply(item(
        json!({"metadata": {"name": "cart", "uid": "u2"}}),
    )));
    cache.event(Event::Init);
    cache.event(Event::InitApply(item(
        json!({"metadata": {"name": "cart", "uid": "u2"}}),
    )));
    let (wakes, complete) = cache.event(Event::InitDone);
    assert!(complete);
    assert_eq!(wakes, [(own("u1"), Why::CHANGED)]);
    assert_eq!(cache.all().count(), 1);
}

#[test]
fn what_cannot_be_read_stays_as_it_was() {
    let mut cache = cache();
    cache.event(Event::Apply(item(json!({}))));
    let odd = || item(json!({"metadata": {"resourceVersion": "11"}, "spec": {"ports": "odd"}}));
    assert!(odd().body.is_err());
    assert_eq!(cache.event(Event::Apply(odd())).0, []);
    cache.event(Event::Init);
    cache.event(Event::InitApply(odd()));
    assert_eq!(
        cache.event(Event::InitDone).0,
        [],
        "a list that names it does not remove it"
    );
    assert_eq!(cache.members(&own("u1")).len(), 1);
}

#[test]
fn a_deletion_of_an_earlier_namesake_changes_nothing() {
    let mut cache = cache();
    cache.event(Event::Apply(item(json!({"metadata": {"uid": "u2"}}))));
    assert_eq!(cache.event(Event::Delete(item(json!({})))).0, []);
    assert_eq!(cache.members(&own("u2")).len(), 1);
}
