//! `evenkeel plan --offline`: the program itself, with files alone.

mod azure;
mod local;
mod rounds;
mod schemas;
mod stage;

use serde_json::json;

use stage::{Stage, WEB};

#[test]
fn a_plan_for_a_pull_request() {
    let stage = Stage::new();
    let (code, text) = stage.plan(&["-f", WEB]);
    insta::assert_snapshot!(text);
    assert_eq!(code, 2, "there is something to do, and nothing is wrong");
}

#[test]
fn the_document_is_whole_and_as_its_schema_says() {
    let stage = Stage::new();
    let (code, plan) = stage.document(&["-f", WEB]);
    assert_eq!(code, 2);
    let objects = &plan["groups"][0]["objects"];
    for (pointer, want) in [
        (
            "/loadBalancers/0/subnetMappings/0/subnet",
            json!("subnet-a"),
        ),
        (
            "/loadBalancers/0/subnetMappings/1/subnet",
            json!("subnet-b"),
        ),
        ("/loadBalancers/0/scheme", json!("internet-facing")),
        ("/loadBalancers/0/tags/Team", json!("edge")),
        ("/loadBalancers/0/listeners/0/port", json!(80)),
        (
            "/loadBalancers/0/listeners/0/attributes/tcp.idle_timeout.seconds",
            json!("350"),
        ),
        ("/targetGroups/0/healthCheck/intervalSeconds", json!(10)),
        (
            "/targetGroups/0/attributes/deregistration_delay.timeout_seconds",
            json!("60"),
        ),
        (
            "/targetGroups/0/attributes/preserve_client_ip.enabled",
            json!("true"),
        ),
        ("/targetGroups/0/targets/0/id", json!("i-0a")),
        ("/securityGroups/0/rules/0/source", json!("0.0.0.0/0")),
        (
            "/loadBalancers/0/attributes/access_logs.s3.bucket",
            json!(""),
        ),
        (
            "/backendSecurityGroup/tags/evenkeel.dev~1resource",
            json!("backend-sg"),
        ),
        (
            "/nodeSecurityGroups/0/rules/0/source",
            json!("known after apply: backend-sg"),
        ),
        ("/nodeSecurityGroups/0/rules/1/fromPort", json!(30_000)),
        ("/nodeSecurityGroups/0/instances", json!(["i-0a", "i-0b"])),
    ] {
        assert_eq!(
            objects.pointer(pointer),
            Some(&want),
            "{pointer} in {objects:#}"
        );
    }
    let node_port = objects
        .pointer("/targetGroups/0/targets/0/port")
        .map(ToString::to_string);
    let stands_in = |field: &str| {
        let all = plan["standIns"].as_array().expect("a list");
        let one = all.iter().find(|one| one["field"] == field);
        one.map(|one| one["value"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(
        node_port,
        stands_in("spec.ports[0].nodePort"),
        "it is told that nobody gave it yet"
    );
    assert!(stands_in("metadata.uid").is_some());
    assert_eq!(plan["passedOver"], 1);
    assert_eq!(plan["skipped"][0]["service"], "shop/db");
}

#[test]
fn what_the_api_server_or_the_provider_would_refuse_ends_with_one() {
    let port = json!([{"port": 80}]);
    for (name, service, at) in [
        (
            "the API server",
            json!({"spec": {"type": "LoadBalancer", "ports": [{"port": 80, "protocol": "tcp"}]}}),
            "spec.ports[0].protocol",
        ),
        (
            "the controller",
            json!({"metadata": {"annotations": {"evenkeel.dev/scheme": "sideways"}},
                   "spec": {"type": "LoadBalancer", "ports": port}}),
            "metadata.annotations[evenkeel.dev/scheme]",
        ),
    ] {
        let stage = Stage::new();
        let file = stage.service("one", service);
        let (code, plan) = stage.document(&["-f", &file]);
        assert_eq!(code, 1, "{name}: {plan:#}");
        assert_eq!(
            plan["groups"][0]["problems"][0]["at"], at,
            "{name}: {plan:#}"
        );
    }
    // Facts reveal that too: there is no such subnet.
    let stage = Stage::new();
    let subnets = json!({"service.beta.kubernetes.io/aws-load-balancer-subnets": "subnet-x"});
    let spec = json!({"type": "LoadBalancer", "ports": port});
    let file = stage.service(
        "one",
        json!({"metadata": {"annotations": subnets}, "spec": spec}),
    );
    let (code, plan) = stage.document(&["-f", &file]);
    assert_eq!(
        (code, &plan["summary"]["refused"]),
        (1, &json!(1)),
        "{plan:#}"
    );
}

#[test]
fn nothing_of_ours_is_nothing_to_do() {
    let stage = Stage::new();
    let file = stage.write("deployment.yaml", "{apiVersion: apps/v1, kind: Deployment}");
    let (code, text) = stage.plan(&["-f", &file]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("1 in "), "the others are counted: {text}");
}

#[test]
fn manifests_come_from_standard_input_and_directories_too() {
    let stage = Stage::new();
    let (_, named) = stage.document(&["-f", WEB]);
    let (_, piped) = stage.piped(WEB);
    assert_eq!(named["groups"], piped["groups"]);
    let directory = stage.directory_of(WEB);
    let (_, listed) = stage.document(&["-f", &directory]);
    assert_eq!(named["groups"], listed["groups"]);
}

#[test]
fn everything_wrong_with_the_facts_is_told_at_once() {
    let stage = Stage::new();
    stage.change_facts(|facts| {
        facts["clutser"] = json!({});
        facts["configuration"]["defualt-provider"] = json!("aws");
        facts["cloud"]["subnets"][0]["zoen"] = json!("eu-west-1a");
        facts["cloud"]["vpc"] = json!({"id": "vpc-1"});
    });
    let (code, text) = stage.complains(&["-f", WEB]);
    assert_eq!(code, 1);
    for part in [
        "clutser: \"clutser\" is no field. Did you mean cluster?",
        "cloud.subnets[0].zoen: \"zoen\" is no field. Did you mean zone?",
        "cloud.vpc.cidrs: \"\" is missing",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    let stage = Stage::new();
    stage.change_facts(|facts| {
        facts["configuration"]["defualt-provider"] = json!("aws");
    });
    let (_, text) = stage.complains(&["-f", WEB]);
    assert!(text.contains("Did you mean default-provider?"), "{text}");
    let stage = Stage::new();
    stage.change_facts(|facts| {
        facts["cloud"]["vpc"]["cidrs"] = json!(["10.0.0.0"]);
        facts["cloud"]["targetGroups"] = json!([]);
        facts["cloud"]["subnets"][1]["id"] = json!("subnet-a");
    });
    let (_, text) = stage.complains(&["-f", WEB]);
    for part in [
        "cloud.vpc.cidrs[0]: \"10.0.0.0\" must be a prefix",
        "cloud.subnets[1].id: \"subnet-a\" stands twice",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}

#[test]
fn facts_of_a_newer_version_are_refused_with_what_to_do() {
    let stage = Stage::new();
    stage.change_facts(|facts| facts["apiVersion"] = json!("facts.evenkeel.dev/v2"));
    let (code, text) = stage.complains(&["-f", WEB]);
    assert_eq!(code, 1);
    assert!(
        text.contains("must be facts.evenkeel.dev/v1. It is of another version"),
        "{text}"
    );
}
