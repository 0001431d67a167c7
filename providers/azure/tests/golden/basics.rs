//! 8.1: basics and placement.

use evenkeel_core::{
    claim::{Claim, ClaimRules, Profile, claim},
    ids::ProviderName,
    intent::Scheme,
};
use serde_json::{Value, json};

use super::{rig::*, stage::*};

const FLOATING: [&str; 5] = [
    "public v4: v4",
    "TCP-80-v4: Tcp 80->80 idle 4 floating reset probe TCP-80",
    "TCP-80: Tcp 31080 5s x2",
    "allow Tcp Internet -> 20.50.1.10:80",
    "status 20.50.1.10",
];

const INTERNAL: [&str; 4] = [
    "internal v4: subnet nodes",
    "TCP-80-v4: Tcp 80->80 idle 4 floating reset probe TCP-80",
    "TCP-80: Tcp 31080 5s x2",
    "status 10.20.0.9",
];

#[test]
fn row_001_floating() {
    let mut world = made(&web());
    world.shows(&web(), &FLOATING);
    assert_eq!(
        world.pool(Scheme::InternetFacing),
        ["10.20.0.4", "10.20.0.5"]
    );
    let body = world.value(Scheme::InternetFacing);
    let rule = &body["properties"]["loadBalancingRules"][0]["properties"];
    assert_eq!(
        (
            &rule["loadDistribution"],
            &rule["disableOutboundSnat"],
            &rule["enableTcpReset"]
        ),
        (&json!("Default"), &json!(false), &json!(true))
    );
    let ip = world.ips.values().next().expect("an address");
    assert_eq!(
        ip.tags.get("evenkeel-service").map(|name| &**name),
        Some("default/web")
    );
    assert_eq!(
        ip.tags.get("evenkeel-cluster-name").map(|name| &**name),
        Some("prod-eu")
    );
    assert_eq!(world.log.len(), 3, "{:?}", world.log);
}

#[test]
fn changed_002_node_ports_with_the_health_of_kube_proxy() {
    let web = web().profile(Profile::Neutral);
    shows(
        &web,
        &[
            "public v4: v4",
            "TCP-80-v4: Tcp 80->31080 idle 4 reset probe kube-proxy",
            "kube-proxy: Http 10256 /healthz 5s x2",
            "allow Tcp Internet -> 10.20.0.0/20:31080",
            "status 20.50.1.10",
        ],
    );
}

#[test]
fn row_003_internal() {
    let mut world = made(&web().internal());
    world.shows(&web(), &INTERNAL);
    assert_eq!(world.log, ["PUT lb/internal"]);
}

#[test]
fn row_004_true_in_any_case() {
    shows(&web().az("load-balancer-internal", "True"), &INTERNAL);
}

#[test]
fn row_005_yes_is_no_bool() {
    web()
        .az("load-balancer-internal", "yes")
        .is_refused_for("azure-load-balancer-internal");
}

#[test]
fn row_006_another_subnet() {
    let web = web()
        .internal()
        .az("load-balancer-internal-subnet", "ilb-apps");
    let mut world = made(&web);
    assert_eq!(world.lines(&web)[0], "internal v4: subnet ilb-apps");
    assert_eq!(world.status(&web), ["10.20.32.9"]);
}

#[test]
fn row_007_a_subnet_of_a_public_address_is_told() {
    let web = web().az("load-balancer-internal-subnet", "ilb-apps");
    web.gets()
        .warning_with("azure-load-balancer-internal-subnet");
    shows(&web, &FLOATING);
}

#[test]
fn row_008_a_subnet_that_is_not_there() {
    let web = web().internal().az("load-balancer-internal-subnet", "nope");
    let mut world = World::new();
    world.ask(&web).settle();
    assert!(
        world.refusals(&web)[0].contains("nope"),
        "{:?}",
        world.refusals(&web)
    );
    assert_eq!(world.log, [] as [&str; 0]);
}

#[test]
fn row_009_a_blank_subnet_is_none() {
    shows(
        &web().internal().az("load-balancer-internal-subnet", "  "),
        &INTERNAL,
    );
}

#[test]
fn changed_010_the_subnet_changes_after_an_approval_in_one_write() {
    let mut world = made(&web().internal());
    let moved = web()
        .internal()
        .az("load-balancer-internal-subnet", "ilb-apps");
    world.ask(&moved).settle();
    world.shows(&web(), &INTERNAL);
    assert!(
        world.refusals(&moved)[0].contains("10.20.0.9"),
        "{:?}",
        world.refusals(&moved)
    );
    let before = world.log.len();
    world.approve(&moved).settle();
    assert_eq!(world.log[before..], ["PUT lb/internal"]);
    assert_eq!(world.status(&moved), ["10.20.32.10"]);
    assert_eq!(world.lines(&moved)[0], "internal v4: subnet ilb-apps");
}

#[test]
fn changed_011_a_frontend_that_was_deleted_by_hand_comes_back() {
    let mut world = made(&web().internal());
    let mut body = world.value(Scheme::Internal);
    body["properties"]["frontendIPConfigurations"] = json!([]);
    body["properties"]["loadBalancingRules"] = json!([]);
    world.put_by_hand(Scheme::Internal, body);
    world.settle();
    assert_eq!(world.status(&web()), ["10.20.0.10"]);
}

#[test]
fn row_012_a_static_address() {
    let web = web()
        .internal()
        .az("load-balancer-internal-subnet", "ilb-apps")
        .az("load-balancer-ipv4", "10.20.32.50");
    let mut world = made(&web);
    assert_eq!(
        world.lines(&web)[0],
        "internal v4: subnet ilb-apps 10.20.32.50"
    );
    assert_eq!(world.status(&web), ["10.20.32.50"]);
}

#[test]
fn row_013_the_key_goes_before_the_field() {
    let web = web()
        .internal()
        .spec("loadBalancerIP", json!("10.20.1.7"))
        .az("load-balancer-ipv4", "10.20.1.8");
    let mut world = made(&web);
    assert_eq!(world.status(&web), ["10.20.1.8"]);
}

#[test]
fn row_014_an_address_outside_of_the_subnet_is_refused_before_any_call() {
    let web = web().internal().az("load-balancer-ipv4", "10.99.0.1");
    let mut world = World::new();
    world.ask(&web).settle();
    assert!(
        world.refusals(&web)[0].contains("10.20.0.0/20"),
        "{:?}",
        world.refusals(&web)
    );
    assert_eq!(world.log, [] as [&str; 0]);
}

#[test]
fn changed_015_from_public_to_internal_after_an_approval() {
    let mut world = made(&web());
    let internal = web().internal();
    world.ask(&internal).settle();
    world.shows(&web(), &FLOATING);
    let before = world.log.len();
    world.approve(&internal).settle();
    world.shows(&web(), &INTERNAL);
    assert_eq!(world.refusals(&internal), [] as [&str; 0]);
    assert_eq!(
        world.log[before..before + 2],
        ["PUT lb/internal", "DELETE lb/public"]
    );
    assert_eq!(
        (world.ips.len(), world.count("DELETE ip")),
        (0, 1),
        "{:?}",
        world.log
    );
}

#[test]
fn row_016_a_mode_of_basic_load_balancers_is_told() {
    let web = web().az("load-balancer-mode", "pool2");
    web.gets().warning_with("Basic");
    shows(&web, &FLOATING);
}

#[test]
fn row_017_the_class_of_somebody_else() {
    let rules = ClaimRules::new([ProviderName::from(evenkeel_azure::NAME)]);
    let service = web()
        .spec("loadBalancerClass", json!("example.com/other"))
        .service();
    assert_eq!(claim(&service, &rules), Claim::NotOurs);
}

/// Somebody else's load balancer.
fn foreign() -> Value {
    let id = |list: &str, name: &str| json!({ "id": format!("/x/loadBalancers/shared-lb/{list}/{name}") });
    json!({
        "location": "westeurope",
        "sku": { "name": "Standard" },
        "properties": {
            "frontendIPConfigurations": [{ "name": "theirs", "properties": { "publicIPAddress": { "id": "/x/publicIPAddresses/egress" }, "unknownField": 1.50 } }],
            "backendAddressPools": [{ "name": "theirs", "properties": { "drainPeriodInSeconds": 30 } }],
            "loadBalancingRules": [{ "name": "theirs", "properties": { "frontendIPConfiguration": id("frontendIPConfigurations", "theirs"),
                "backendAddressPool": id("backendAddressPools", "theirs"), "protocol": "Tcp", "frontendPort": 6443, "backendPort": 6443,
                "allowBackendPortConflict": false } }],
            "outboundRules": [{ "name": "theirs", "properties": { "protocol": "All", "frontendIPConfigurations": [id("frontendIPConfigurations", "theirs")],
                "backendAddressPool": id("backendAddressPools", "theirs"), "allocatedOutboundPorts": 1024 } }],
        },
    })
}

#[test]
fn row_018_somebody_elses_load_balancer_keeps_what_is_theirs() {
    let context = evenkeel_azure::Context {
        load_balancer: Some("shared-lb".into()),
        ..context()
    };
    let mut world = World::of(context);
    world.put_by_hand(Scheme::InternetFacing, foreign());
    world.ask(&web()).settle();
    let theirs = |world: &World| -> Vec<String> {
        let body = world.value(Scheme::InternetFacing);
        [
            "frontendIPConfigurations",
            "loadBalancingRules",
            "outboundRules",
            "backendAddressPools",
        ]
        .map(|list| body["properties"][list][0].to_string())
        .into()
    };
    let before = [
        "frontendIPConfigurations",
        "loadBalancingRules",
        "outboundRules",
        "backendAddressPools",
    ]
    .map(|list| foreign()["properties"][list][0].to_string());
    assert_eq!(theirs(&world), before);
    let lines = world.lines(&web());
    assert_eq!(
        lines[1], "TCP-80-v4: Tcp 80->80 idle 4 floating reset no outbound probe TCP-80",
        "outbound rules give the way out"
    );
    world.delete(&web()).settle();
    assert_eq!(theirs(&world), before);
    assert_eq!((world.count("DELETE lb"), world.ips.len()), (0, 0));
    let body = world.value(Scheme::InternetFacing);
    assert_eq!(
        body["properties"]["backendAddressPools"]
            .as_array()
            .map(Vec::len),
        Some(1)
    );
}

#[test]
fn a_load_balancer_that_is_not_ours_never_loses_its_last_frontend() {
    let context = evenkeel_azure::Context {
        load_balancer: Some("shared-lb".into()),
        ..context()
    };
    let mut world = World::of(context);
    world.put_by_hand(
        Scheme::InternetFacing,
        json!({ "location": "westeurope", "properties": {} }),
    );
    world.ask(&web()).settle();
    world.delete(&web()).settle();
    let refusals = world.refusals(&web());
    assert!(refusals[0].contains("last frontend"), "{refusals:?}");
    assert_eq!((world.count("DELETE"), world.ips.len()), (0, 1));
    assert_eq!(world.lines(&web())[0], "public v4: v4");
    // Once there is another, ours goes.
    let mut body = world.value(Scheme::InternetFacing);
    let frontends = body["properties"]["frontendIPConfigurations"]
        .as_array_mut()
        .expect("frontends");
    frontends
        .push(json!({ "name": "theirs", "properties": { "publicIPAddress": { "id": "/x" } } }));
    world.put_by_hand(Scheme::InternetFacing, body);
    world.settle();
    assert_eq!((world.count("DELETE lb"), world.ips.len()), (0, 0));
    assert_eq!(world.refusals(&web()), [] as [&str; 0]);
}
