use serde_json::{Value, json};

use super::*;

fn slice(name: &str, service: &str, version: u64, addresses: &[&str]) -> Item<SliceFacts> {
    let endpoints: Vec<Value> = addresses
        .iter()
        .map(|address| json!({"addresses": [address]}))
        .collect();
    serde_json::from_value(json!({
        "metadata": {
            "name": name, "namespace": "shop", "resourceVersion": version.to_string(),
            "labels": {"kubernetes.io/service-name": service},
        },
        "addressType": "IPv4", "ports": [{"port": 8080}], "endpoints": endpoints,
    }))
    .expect("has a name")
}

fn key(name: &str) -> ServiceKey {
    ServiceKey::new("shop", name)
}

/// A cache that knows the Service `web` with this slice.
fn knows(addresses: &[&str]) -> EndpointCache {
    let mut cache = EndpointCache::default();
    assert!(cache.want(&key("web")));
    cache.listed(
        &key("web"),
        Some(5),
        vec![slice("web-a", "web", 5, addresses)],
    );
    assert!(!cache.want(&key("web")));
    cache
}

fn addresses(cache: &EndpointCache) -> Option<Vec<String>> {
    let service = serde_json::from_value(json!({"spec": {"ports": [{"port": 80}]}}));
    let found = cache.of(&key("web"), &service.expect("a Service"))?;
    let all = found.into_values().flatten();
    Some(all.map(|one| one.address.to_string()).collect())
}

fn told(addresses: &[&str]) -> Option<Vec<String>> {
    Some(addresses.iter().map(ToString::to_string).collect())
}

#[test]
fn only_what_was_asked_for_is_kept() {
    let mut cache = knows(&["10.1.0.1"]);
    assert_eq!(
        cache.event(Event::Apply(slice("other-a", "other", 6, &["10.1.0.9"]))),
        []
    );
    assert_eq!(cache.owners.len(), 1);
    cache.forget(&key("web"));
    assert!(cache.services.is_empty() && cache.owners.is_empty());
}

#[test]
fn a_change_is_told_once() {
    let mut cache = knows(&["10.1.0.1"]);
    let next =
        |version, addresses: &[&str]| Event::Apply(slice("web-a", "web", version, addresses));
    assert_eq!(cache.event(next(6, &["10.1.0.1"])), []);
    assert_eq!(cache.event(next(7, &["10.1.0.2"])), [key("web")]);
    assert_eq!(cache.event(next(6, &["10.1.0.1"])), [], "older");
    assert_eq!(addresses(&cache), told(&["10.1.0.2"]));
    let gone = slice("web-a", "web", 8, &[]);
    assert_eq!(cache.event(Event::Delete(gone)), [key("web")]);
    assert_eq!(addresses(&cache), told(&[]));
}

#[test]
fn nothing_is_known_before_a_list() {
    let mut cache = EndpointCache::default();
    cache.want(&key("web"));
    let seen = slice("web-b", "web", 7, &["10.1.0.2"]);
    assert_eq!(cache.event(Event::Apply(seen)), []);
    assert_eq!(addresses(&cache), None);
    // What the watch said is newer than the list, and so is what it said of what went.
    cache.event(Event::Delete(slice("web-c", "web", 8, &[])));
    cache.listed(
        &key("web"),
        Some(6),
        vec![
            slice("web-a", "web", 5, &["10.1.0.1"]),
            slice("web-c", "web", 6, &["10.1.0.3"]),
        ],
    );
    assert_eq!(addresses(&cache), told(&["10.1.0.1", "10.1.0.2"]));
}

#[test]
fn a_list_of_the_watch_that_came_back_short_takes_nothing_away() {
    let mut cache = knows(&["10.1.0.1"]);
    cache.event(Event::Init);
    assert_eq!(cache.event(Event::InitDone), [key("web")]);
    assert_eq!(addresses(&cache), None, "in doubt");
    assert!(cache.want(&key("web")), "it is listed anew");
    cache.listed(
        &key("web"),
        Some(9),
        vec![slice("web-a", "web", 5, &["10.1.0.1"])],
    );
    assert_eq!(addresses(&cache), told(&["10.1.0.1"]));
    // A list of the Service alone is believed.
    cache.event(Event::Init);
    cache.event(Event::InitDone);
    cache.listed(&key("web"), Some(10), Vec::new());
    assert_eq!(addresses(&cache), told(&[]));
}

#[test]
fn a_slice_that_is_handed_to_another_service_leaves() {
    let mut cache = knows(&["10.1.0.1"]);
    let moved = slice("web-a", "other", 6, &["10.1.0.1"]);
    assert_eq!(cache.event(Event::Apply(moved)), [key("web")]);
    assert_eq!(addresses(&cache), told(&[]));
}

#[test]
fn what_cannot_be_read_stays() {
    let mut cache = knows(&["10.1.0.1"]);
    let odd: Item<SliceFacts> = serde_json::from_value(json!({
        "metadata": {"name": "web-a", "namespace": "shop", "resourceVersion": "9"},
        "addressType": "IPv4", "endpoints": "none",
    }))
    .expect("has a name");
    assert_eq!(cache.event(Event::Apply(odd)), []);
    assert_eq!(addresses(&cache), told(&["10.1.0.1"]));
}
