//! What strict reading accepts, and what it says about the rest.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::api::{BackendSetSpec, LeaseSpec, ListenerSpec, Put};

fn body(spec: Value) -> Vec<u8> {
    let marks = json!({"cluster": "c", "group": "g", "service": "shop/checkout", "member": "g"});
    json!({"marks": marks, "spec": spec})
        .to_string()
        .into_bytes()
}

#[test]
fn a_wrong_field_is_named_with_its_path() {
    let target = json!({"node": "a", "address": "127.0.0.1", "port": 30000});
    for (spec, field, says) in [
        (
            json!({"targets": [], "drain_second": 1}),
            "spec.drain_second",
            "did you mean `drain_seconds`?",
        ),
        (
            json!({"targets": [], "drain_seconds": 1, "xyz": 1}),
            "spec.xyz",
            "Allowed here: targets",
        ),
        (json!({"targets": []}), "spec.drain_seconds", "missing"),
        (
            json!({"targets": {}, "drain_seconds": 1}),
            "spec.targets",
            "invalid type: map",
        ),
        (
            json!({"targets": [], "drain_seconds": -1}),
            "spec.drain_seconds",
            "-1",
        ),
        (
            json!({"targets": [], "drain_seconds": 1.5}),
            "spec.drain_seconds",
            "1.5",
        ),
        (
            json!({"targets": [], "drain_seconds": u64::MAX}),
            "spec.drain_seconds",
            "u32",
        ),
        (
            json!({"targets": [target, {"node": "b", "address": "x", "port": 1}], "drain_seconds": 1}),
            "spec.targets[1].address",
            "IP",
        ),
        (
            json!({"targets": [{"node": "b", "address": "::1", "port": 65536}], "drain_seconds": 1}),
            "spec.targets[0].port",
            "u16",
        ),
        (
            json!({"targets": [], "drain_seconds": 1, "health_check":
            {"kind": {"type": "https"}, "interval_ms": 1, "timeout_ms": 1, "rise": 1, "fall": 1}}),
            "spec.health_check.kind.type",
            "did you mean `http`?",
        ),
        (
            json!({"targets": [], "drain_seconds": 1, "health_check":
            {"kind": {"type": "tcp", "path": "/x"}, "interval_ms": 1, "timeout_ms": 1, "rise": 1, "fall": 1}}),
            "spec.health_check.kind.path",
            "unknown field",
        ),
        (json!([[], null, 5]), "spec", "invalid type: sequence"),
    ] {
        let text = spec.to_string();
        let error = parse::<Put<BackendSetSpec>>(&body(spec)).expect_err(&text);
        assert_eq!(
            (error.code.as_str(), error.field.as_deref()),
            (code::INVALID, Some(field)),
            "{text}: {error}"
        );
        assert!(error.message.contains(says), "{text}: {error}");
    }
}

#[test]
fn a_body_that_is_no_object_is_refused() {
    for text in [
        "",
        "{",
        "[]",
        "null",
        "7",
        "\"x\"",
        "{\"marks\":1}",
        "\u{0}",
        "{\"a\":1}{",
    ] {
        let error = parse::<Put<LeaseSpec>>(text.as_bytes()).expect_err(text);
        assert_eq!(error.code, code::INVALID, "{text}");
    }
    // Nesting is bounded by the JSON reader, not by the stack.
    let deep = "[".repeat(100_000);
    assert_eq!(
        parse::<Put<LeaseSpec>>(deep.as_bytes())
            .expect_err("too deep")
            .code,
        code::INVALID
    );
}

#[test]
fn what_is_written_is_read_back() {
    let spec = json!({
        "lease": "a", "port": 80, "protocol": "TCP", "backend_set": "b", "source_ranges": ["10.0.0.0/8", "::/0"],
        "proxy_protocol": true, "idle_timeout_seconds": 5
    });
    let put: Put<ListenerSpec> = parse(&body(spec)).expect("a good body");
    let again: Put<ListenerSpec> =
        parse(&serde_json::to_vec(&put).expect("JSON")).expect("the same body");
    assert_eq!(put, again);
    assert!(put.spec.proxy_protocol);
    let bare = json!({"lease": "a", "port": 80, "protocol": "TCP", "backend_set": "b", "proxy_protocol": false,
                      "source_ranges": null});
    assert_eq!(
        parse::<Put<ListenerSpec>>(&body(bare))
            .expect("null and false are fine")
            .spec
            .source_ranges,
        None
    );
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop_oneof![".*", "TCP|IPv4|http|127.0.0.1|10.0.0.0/8"].prop_map(Value::from),
    ];
    let key = prop_oneof![
        Just("marks"),
        Just("spec"),
        Just("cluster"),
        Just("targets"),
        Just("health_check"),
        Just("kind"),
        Just("type"),
        Just("drain_seconds"),
        Just("family"),
        Just("address"),
        Just("lease"),
        Just("zzz")
    ];
    leaf.prop_recursive(5, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key.clone().prop_map(String::from), inner, 0..6)
                .prop_map(|map| map.into_iter().collect()),
        ]
    })
}

proptest! {
    #[test]
    fn no_body_makes_the_reader_panic(value in any_json(), garbage in any::<Vec<u8>>()) {
        for bytes in [value.to_string().into_bytes(), body(value), garbage] {
            for error in [
                parse::<Put<BackendSetSpec>>(&bytes).err(),
                parse::<Put<ListenerSpec>>(&bytes).err(),
                parse::<Put<LeaseSpec>>(&bytes).err(),
            ].into_iter().flatten() {
                prop_assert_eq!(error.code, code::INVALID);
            }
        }
    }
}
