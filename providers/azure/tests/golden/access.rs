//! 8.5: access control.

use evenkeel_azure::Context;
use serde_json::{Value, json};

use super::{rig::*, stage::*};

/// The security rules of a Service.
#[track_caller]
fn let_in(asking: &Asking) -> Vec<String> {
    let mut world = made(asking);
    let lines = world.lines(asking);
    lines
        .into_iter()
        .filter(|line| line.starts_with("allow") || line.starts_with("deny"))
        .collect()
}

fn tls() -> Asking {
    with_ports(&["s:443/TCP>31443"])
}

#[test]
fn row_085_ranges_in_one_rule() {
    assert_eq!(
        let_in(&tls().ranges(&["203.0.113.0/24", "198.51.100.0/24"])),
        ["allow Tcp 198.51.100.0/24,203.0.113.0/24 -> 20.50.1.10:443"]
    );
}

#[test]
fn row_086_neighbouring_ranges_are_one() {
    assert_eq!(
        let_in(&tls().ranges(&["10.1.0.0/25", "10.1.0.128/25"])),
        ["allow Tcp 10.1.0.0/24 -> 20.50.1.10:443"]
    );
}

#[test]
fn row_087_ranges_in_two_places() {
    tls()
        .ranges(&["203.0.113.0/24"])
        .az("allowed-ip-ranges", "198.51.100.0/24")
        .is_refused_for("azure-allowed-ip-ranges");
    let both = tls()
        .annotated(
            "service.beta.kubernetes.io/load-balancer-source-ranges",
            "203.0.113.0/24",
        )
        .az("allowed-ip-ranges", "198.51.100.0/24");
    assert_eq!(
        let_in(&both),
        ["allow Tcp 198.51.100.0/24,203.0.113.0/24 -> 20.50.1.10:443"]
    );
}

#[test]
fn row_088_an_address_is_no_range() {
    tls()
        .az("allowed-ip-ranges", "203.0.113.7")
        .is_refused_for("azure-allowed-ip-ranges");
}

#[test]
fn changed_089_host_bits_are_cut_off() {
    assert_eq!(
        let_in(&tls().az("allowed-ip-ranges", "203.0.113.1/24")),
        ["allow Tcp 203.0.113.0/24 -> 20.50.1.10:443"]
    );
}

#[test]
fn row_090_a_service_tag() {
    assert_eq!(
        let_in(&tls().az("allowed-service-tags", "AzureFrontDoor.Backend")),
        ["allow Tcp AzureFrontDoor.Backend -> 20.50.1.10:443"]
    );
    tls()
        .az("allowed-service-tags", "Front Door")
        .is_refused_for("azure-allowed-service-tags");
}

#[test]
fn row_091_a_blank_service_tag_is_none() {
    assert_eq!(
        let_in(&tls().az("allowed-service-tags", "")),
        ["allow Tcp Internet -> 20.50.1.10:443"]
    );
}

fn inside() -> Asking {
    tls().internal().ranges(&["10.0.0.0/8"])
}

#[test]
fn row_092_the_virtual_network_is_let_in_whatever_the_ranges_say() {
    assert_eq!(let_in(&inside()), ["allow Tcp 10.0.0.0/8 -> 10.20.0.9:443"]);
    inside()
        .gets()
        .warning_with("azure-deny-all-except-load-balancer-source-ranges");
}

#[test]
fn row_093_unless_it_is_kept_out() {
    let denied = inside().az("deny-all-except-load-balancer-source-ranges", "true");
    denied.gets().silently();
    let world = made(&denied);
    let rules: Value = serde_json::from_str(&world.security).expect("it is JSON");
    let mut rules: Vec<_> = rules["properties"]["securityRules"]
        .as_array()
        .expect("rules")
        .iter()
        .map(|rule| {
            let rule = &rule["properties"];
            (
                rule["access"].to_string(),
                rule["priority"].as_u64().expect("a number"),
                rule["sourceAddressPrefix"].to_string(),
            )
        })
        .collect();
    rules.sort();
    assert_eq!(
        rules,
        [
            ("\"Allow\"".to_owned(), 1500, "\"10.0.0.0/8\"".to_owned()),
            ("\"Deny\"".to_owned(), 3499, "\"*\"".to_owned()),
        ]
    );
}

#[test]
fn row_094_nobody_is_kept_out_without_ranges() {
    let web = tls().az("deny-all-except-load-balancer-source-ranges", "true");
    web.gets().warning_with("without source ranges");
    assert_eq!(let_in(&web), ["allow Tcp Internet -> 20.50.1.10:443"]);
}

#[test]
fn row_095_a_family_without_a_range_is_closed() {
    let web = tls()
        .families(&["IPv4", "IPv6"])
        .ranges(&["203.0.113.0/24"]);
    assert_eq!(let_in(&web), ["allow Tcp 203.0.113.0/24 -> 20.50.1.10:443"]);
}

#[test]
fn changed_096_each_service_has_a_rule_of_its_own() {
    let shop = web().named("shop", 2);
    let mut world = World::new();
    world.ask(&web()).ask(&shop).settle();
    assert_eq!(world.security.matches("\"Allow\"").count(), 2);
    let of_shop = world.lines(&shop);
    world.delete(&web()).settle();
    assert_eq!(world.lines(&shop), of_shop);
    assert_eq!(world.security.matches("\"Allow\"").count(), 1);
}

#[test]
fn row_097_priorities_of_others_are_left_alone() {
    let theirs = json!({ "name": "theirs", "properties": { "priority": 1500, "direction": "Inbound", "access": "Deny", "unknownField": [1, 2] } });
    let mut world = World::new();
    world.security = json!({ "location": "westeurope", "etag": "W/\"n0\"", "properties": { "securityRules": [theirs] } }).to_string();
    world.restart();
    world.ask(&web()).settle();
    let body: Value = serde_json::from_str(&world.security).expect("it is JSON");
    let rules = &body["properties"]["securityRules"];
    assert_eq!(rules[0], theirs);
    assert_eq!(rules[1]["properties"]["priority"], 1501);
}

#[test]
fn row_098_no_rules_at_all() {
    let mut world = made(&web());
    let web = web().az("disable-load-balancer-nsg-rule", "true");
    world.ask(&web).settle();
    assert!(
        world.security.contains(r#""securityRules":[]"#),
        "{}",
        world.security
    );
    assert_eq!((world.count("PUT lb"), world.count("PUT nsg")), (1, 2));
}

#[test]
fn row_099_a_security_group_that_is_not_ours_to_write() {
    let context = Context {
        security_group: None,
        ..context()
    };
    web()
        .gets_by(&context)
        .warning_with("network security group");
    let mut world = World::of(context);
    world.ask(&web()).settle();
    assert_eq!(world.log.len(), 2, "{:?}", world.log);
    assert_eq!(world.status(&web()), ["20.50.1.10"]);
}
