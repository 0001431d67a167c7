//! Plans with the facts of a place on Azure.

use serde_json::{Value, json};

use crate::stage::{Stage, WEB};

#[test]
fn a_plan_on_azure() {
    let stage = Stage::azure();
    let (code, text) = stage.plan(&["-f", WEB]);
    insta::assert_snapshot!(text);
    assert_eq!(code, 2, "there is something to do, and nothing is wrong");
}

#[test]
fn the_document_tells_azures_objects() {
    let stage = Stage::azure();
    let (code, plan) = stage.document(&["-f", WEB]);
    assert_eq!(code, 2);
    let objects = &plan["groups"][0]["objects"];
    for (pointer, want) in [
        ("/publicIpAddresses/0/tags/team", json!("edge")),
        (
            "/loadBalancers/0/properties/loadBalancingRules/0/properties/frontendPort",
            json!(80),
        ),
        (
            "/loadBalancers/0/properties/probes/0/properties/protocol",
            json!("Tcp"),
        ),
        ("/securityRules/0/properties/access", json!("Allow")),
    ] {
        let found = objects.pointer(pointer).unwrap_or(&Value::Null);
        assert_eq!(*found, want, "{pointer} in {objects:#}");
    }
}

#[test]
fn what_is_wrong_with_a_place_is_told() {
    let stage = Stage::azure();
    stage.change_facts(|facts| {
        facts["cloud"]["place"]["nodePrefixes"] = json!(["10.20.0.0/33"]);
    });
    let (code, text) = stage.complains(&["-f", WEB]);
    assert_eq!(code, 1);
    assert!(text.contains("cloud.place.nodePrefixes[0]"), "{text}");
}
