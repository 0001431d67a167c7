//! Plans with the facts of a data plane.

use serde_json::{Value, json};

use crate::{
    rounds::admitted,
    stage::{Stage, WEB},
};

/// The facts after a plan was carried out: the Service is there, and the data plane has what it asks for.
pub(crate) fn carried_out(stage: &Stage, plan: &Value) {
    let objects = &plan["groups"][0]["objects"];
    let node_port = &objects["backendSets"][0]["spec"]["targets"][0]["port"];
    stage.change_facts(|facts| {
        facts["services"] = json!([admitted(node_port, "evenkeel.dev/local")]);
        facts["cloud"] = objects.clone();
        for (kind, status) in [
            (
                "leases",
                json!({"address": "10.0.9.1", "pool": "10.0.9.0/24"}),
            ),
            ("backendSets", json!({"healthy": 2})),
            ("listeners", json!({"phase": "ready"})),
        ] {
            for object in facts["cloud"][kind].as_array_mut().expect("a list") {
                object["generation"] = json!(1);
                object["status"] = status.clone();
            }
        }
    });
}

#[test]
fn a_plan_on_this_machine() {
    let stage = Stage::local();
    let (code, text) = stage.plan(&["-f", WEB]);
    insta::assert_snapshot!(text);
    assert_eq!(code, 2, "there is something to do, and nothing is wrong");
}

#[test]
fn the_document_tells_the_data_planes_objects() {
    let stage = Stage::local();
    let (code, plan) = stage.document(&["-f", WEB]);
    assert_eq!(code, 2);
    let objects = &plan["groups"][0]["objects"];
    for (pointer, want) in [
        ("/leases/0/spec/family", json!("IPv4")),
        ("/leases/0/status", Value::Null),
        ("/leases/0/marks/service", json!("shop/web")),
        ("/backendSets/0/spec/targets/0/node", json!("a")),
        ("/backendSets/0/spec/targets/1/address", json!("10.0.2.10")),
        ("/backendSets/0/spec/health_check/port", json!(10_256)),
        ("/listeners/0/spec/port", json!(80)),
    ] {
        let found = objects.pointer(pointer).unwrap_or(&Value::Null);
        assert_eq!(*found, want, "{pointer} in {objects:#}");
    }
    assert_eq!(plan["standIns"][0]["field"], "metadata.uid", "{plan:#}");
}

#[test]
fn after_what_was_planned_there_is_nothing_to_do() {
    let stage = Stage::local();
    let (_, plan) = stage.document(&["-f", WEB]);
    carried_out(&stage, &plan);
    for arguments in [&["-f", WEB][..], &[], &["shop/web"], &["--all"]] {
        let (code, text) = stage.plan(arguments);
        assert_eq!(code, 0, "{arguments:?}: {text}");
        assert!(text.contains("shop/web on local: nothing to do"), "{text}");
    }
    let (_, plan) = stage.document(&["-f", WEB]);
    let addresses = &plan["groups"][0]["addresses"];
    assert!(addresses.to_string().contains("10.0.9.1"), "{plan:#}");
}

#[test]
fn what_changes_and_what_nobody_asks_for_any_more_is_told() {
    let stage = Stage::local();
    let (_, plan) = stage.document(&["-f", WEB]);
    carried_out(&stage, &plan);
    stage.change_facts(|facts| facts["nodes"][1]["beingDeleted"] = json!(true));
    let (code, plan) = stage.document(&[]);
    assert_eq!(code, 2, "{plan:#}");
    let step = &plan["groups"][0]["waves"][0][0];
    assert_eq!(step["action"], "change", "{plan:#}");
    assert_eq!(step["kind"], "backend set", "{plan:#}");
    stage.change_facts(|facts| facts["services"] = json!([]));
    let (_, plan) = stage.document(&["--all"]);
    assert_eq!(plan["orphans"][0]["service"], "shop/web", "{plan:#}");
}

#[test]
fn everything_wrong_with_the_facts_is_told_at_once() {
    let stage = Stage::local();
    let (_, plan) = stage.document(&["-f", WEB]);
    carried_out(&stage, &plan);
    stage.change_facts(|facts| {
        let lease = facts["cloud"]["leases"][0].clone();
        facts["cloud"]["leases"] = json!([lease, lease]);
        facts["cloud"]["listeners"][0]["marks"]["cluster"] = json!("another");
    });
    let (code, text) = stage.complains(&["-f", WEB]);
    assert_eq!(code, 1);
    for part in [
        "cloud.leases[1].name: ",
        "stands twice",
        "cloud.listeners[0].marks.cluster: \"another\" is not the UID of this cluster",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    let stage = Stage::local();
    stage.change_facts(|facts| facts["cloud"]["leasse"] = json!([]));
    let (_, text) = stage.complains(&["-f", WEB]);
    assert!(text.contains("Did you mean leases?"), "{text}");
}

#[test]
fn files_of_several_providers_are_of_one_time() {
    let stage = Stage::new();
    let services = json!({"metadata": {"annotations": {}},
        "spec": {"type": "LoadBalancer", "loadBalancerClass": "evenkeel.dev/local", "ports": [{"port": 80}]}});
    let here = stage.service("here", services);
    let (aws, mut local) = (stage.facts(), Stage::local().facts());
    local["configuration"] = aws["configuration"].clone();
    local["nodes"] = aws["nodes"].clone();
    let second = stage.write("local.json", &local.to_string());
    let arguments = ["--facts", &second, "-f", WEB, "-f", &here];
    let (code, plan) = stage.document(&arguments);
    assert_eq!(code, 2, "{plan:#}");
    let groups = plan["groups"].as_array().expect("a list");
    let mut providers: Vec<_> = groups.iter().map(|group| &group["provider"]).collect();
    providers.sort_by_key(|provider| provider.as_str());
    assert_eq!(providers, ["aws", "local"], "{plan:#}");

    local["cluster"]["name"] = json!("quay");
    stage.write("local.json", &local.to_string());
    let (code, text) = stage.complains(&arguments);
    assert_eq!(code, 1);
    assert!(text.contains("say different things in cluster"), "{text}");
    stage.write("local.json", &aws.to_string());
    let (_, text) = stage.complains(&arguments);
    assert!(
        text.contains("is a second one of the provider aws"),
        "{text}"
    );
}
