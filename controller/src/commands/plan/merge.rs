//! What `kubectl apply` would make of a Service that is there (Decides).
//!
//! Fields of the file win; fields that the last file had and this one has not are taken out; what others have set stays.

use evenkeel_core::annotation::key::LAST_APPLIED;
use serde_json::{Map, Value};

/// The live object with the file applied.
pub(super) fn applied(live: &Value, file: &Value) -> Value {
    let last = live
        .pointer("/metadata/annotations")
        .and_then(|annotations| annotations.get(LAST_APPLIED))
        .and_then(Value::as_str)
        .and_then(|text| serde_json::from_str::<Value>(text).ok())
        .unwrap_or_default();
    let mut result = live.clone();
    for place in ["/metadata/annotations", "/metadata/labels", "/spec"] {
        let map = |object: &Value| {
            object
                .pointer(place)
                .and_then(Value::as_object)
                .cloned()
                .unwrap_or_default()
        };
        let merged = merged(map(live), &map(&last), &map(file));
        let (parent, field) = place.rsplit_once('/').unwrap_or_default();
        let parent = if parent.is_empty() {
            Some(&mut result)
        } else {
            result.pointer_mut(parent)
        };
        if let Some(Value::Object(parent)) = parent {
            parent.insert(field.to_owned(), Value::Object(merged));
        }
    }
    result
}

fn merged(
    mut live: Map<String, Value>,
    last: &Map<String, Value>,
    file: &Map<String, Value>,
) -> Map<String, Value> {
    live.retain(|key, _| !last.contains_key(key) || file.contains_key(key));
    for (key, value) in file {
        if value.is_null() {
            live.remove(key);
        } else {
            live.insert(key.clone(), value.clone());
        }
    }
    live
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_file_wins_and_what_it_no_longer_has_goes() {
        let last = json!({
            "metadata": {"annotations": {"evenkeel.dev/idle-timeout": "5m"}},
            "spec": {"type": "LoadBalancer", "sessionAffinity": "ClientIP", "ports": [{"port": 80}]},
        });
        let live = json!({
            "metadata": {
                "name": "a", "uid": "u1", "resourceVersion": "7", "finalizers": ["evenkeel.dev/local"],
                "annotations": {
                    "evenkeel.dev/idle-timeout": "5m", "set-by-another": "x",
                    "kubectl.kubernetes.io/last-applied-configuration": last.to_string(),
                },
            },
            "spec": {
                "type": "LoadBalancer", "clusterIP": "10.0.0.1", "sessionAffinity": "ClientIP",
                "ports": [{"port": 80, "nodePort": 30080}],
            },
            "status": {"loadBalancer": {}},
        });
        let file = json!({
            "metadata": {"name": "a", "annotations": {"evenkeel.dev/scheme": "internal"}},
            "spec": {"type": "LoadBalancer", "ports": [{"port": 443}]},
        });
        let result = applied(&live, &file);
        for (pointer, want) in [
            ("/metadata/uid", json!("u1")),
            ("/metadata/resourceVersion", json!("7")),
            ("/metadata/finalizers", json!(["evenkeel.dev/local"])),
            ("/metadata/annotations/set-by-another", json!("x")),
            (
                "/metadata/annotations/evenkeel.dev~1scheme",
                json!("internal"),
            ),
            (
                "/metadata/annotations/evenkeel.dev~1idle-timeout",
                Value::Null,
            ),
            ("/spec/clusterIP", json!("10.0.0.1")),
            ("/spec/sessionAffinity", Value::Null),
            ("/spec/ports", json!([{"port": 443}])),
            ("/status", json!({"loadBalancer": {}})),
        ] {
            assert_eq!(
                result.pointer(pointer).unwrap_or(&Value::Null),
                &want,
                "{pointer}"
            );
        }
    }

    #[test]
    fn without_a_last_file_nothing_goes_but_what_is_null() {
        let live = json!({"metadata": {"annotations": {"a": "1", "b": "2"}}, "spec": {"type": "LoadBalancer"}});
        let file = json!({"metadata": {"annotations": {"a": null}}, "spec": {}});
        let result = applied(&live, &file);
        assert_eq!(result["metadata"]["annotations"], json!({"b": "2"}));
        assert_eq!(result["spec"], json!({"type": "LoadBalancer"}));
    }
}
