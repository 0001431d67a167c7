//! What one plan says there will be is what the next one rests on.

use serde_json::{Value, json};

use crate::stage::{Stage, WEB};

const UID: &str = "known-after-apply-shop-web";

/// The Service of the file as it is in the cluster after a plan was carried out, with what the API server gave it.
pub(crate) fn admitted(node_port: &Value, finalizer: &str) -> Value {
    let text = std::fs::read_to_string(WEB).expect("a manifest");
    let manifest: Vec<Value> = serde_saphyr::from_multiple(&text).expect("YAML");
    let mut service = manifest[0].clone();
    service["metadata"]["uid"] = json!(UID);
    service["metadata"]["finalizers"] = json!([finalizer]);
    service["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"] =
        json!(manifest[0].to_string());
    service["spec"]["ports"][0]["nodePort"] = node_port.clone();
    service
}

/// The facts after a plan was carried out: the Service is there, and so are its objects.
pub(crate) fn carried_out(stage: &Stage, plan: &Value) {
    let objects = &plan["groups"][0]["objects"];
    let node_port = &objects["targetGroups"][0]["port"];
    stage.change_facts(|facts| {
        facts["services"] = json!([admitted(node_port, "evenkeel.dev/aws")]);
        let cloud = &mut facts["cloud"];
        cloud["loadBalancers"] = objects["loadBalancers"].clone();
        cloud["targetGroups"] = objects["targetGroups"].clone();
        let list = |name: &str| objects[name].as_array().expect("a list").clone();
        let mut groups = list("securityGroups");
        groups.push(objects["backendSecurityGroup"].clone());
        let mut instances = Vec::new();
        for group in list("nodeSecurityGroups") {
            let ids = group["instances"].as_array().expect("a list");
            let its = json!([group["id"]]);
            instances.extend(
                ids.iter()
                    .map(|id| json!({"id": id, "securityGroups": its})),
            );
            groups.push(json!({"id": group["id"], "rules": group["rules"]}));
        }
        cloud["securityGroups"] = groups.into();
        cloud["instances"] = instances.into();
    });
}

#[test]
fn after_what_was_planned_there_is_nothing_to_do() {
    let stage = Stage::new();
    let (_, plan) = stage.document(&["-f", WEB]);
    carried_out(&stage, &plan);
    for arguments in [&["-f", WEB][..], &[], &["shop/web"], &["--all"]] {
        let (code, text) = stage.plan(arguments);
        assert_eq!(code, 0, "{arguments:?}: {text}");
        assert!(text.contains("shop/web on aws: nothing to do"), "{text}");
    }
}

#[test]
fn a_change_of_what_is_there_is_a_change() {
    let stage = Stage::new();
    let (_, plan) = stage.document(&["-f", WEB]);
    carried_out(&stage, &plan);
    // The file no longer has an attribute, and has another port.
    let spec = json!({"type": "LoadBalancer", "ports": [{"port": 80, "targetPort": 8080}]});
    let scheme = json!({"service.beta.kubernetes.io/aws-load-balancer-scheme": "internet-facing"});
    let file = stage.service(
        "web",
        json!({"metadata": {"annotations": scheme}, "spec": spec}),
    );
    let (code, plan) = stage.document(&["-f", &file]);
    assert_eq!(code, 2, "{plan:#}");
    let step = &plan["groups"][0]["waves"][0][0];
    assert_eq!(step["action"], "change", "{plan:#}");
    let from = "deregistration_delay.timeout_seconds=60";
    assert_eq!(step["reasons"][0]["from"], from, "{plan:#}");
    assert_eq!(
        plan["standIns"],
        json!([]),
        "it has its UID and its node port"
    );
}

#[test]
fn what_nobody_asks_for_any_more_is_told() {
    let stage = Stage::new();
    let (_, plan) = stage.document(&["-f", WEB]);
    carried_out(&stage, &plan);
    stage.change_facts(|facts| facts["services"] = json!([]));
    let (_, plan) = stage.document(&["--all"]);
    assert_eq!(plan["orphans"][0]["service"], "shop/web", "{plan:#}");
}
