//! 8.2: public IP addresses.

use evenkeel_core::{group::Group, ids::GroupKey, intent::Scheme, provider::Want};
use serde_json::json;

use super::{rig::*, stage::*};

const KEY: &str = "azure-load-balancer-ipv4";

fn status_of(world: &mut World, asking: &Asking) -> String {
    world.status(asking).join(" ")
}

#[test]
fn row_019_an_address_by_name_stays_theirs() {
    let web = web().az("pip-name", "byo-ip");
    let mut world = World::new();
    let id = world.foreign_ip("byo-ip", "20.50.9.9");
    world.ask(&web).settle();
    assert_eq!(world.lines(&web)[0], "public v4: byo-ip");
    assert_eq!(status_of(&mut world, &web), "20.50.9.9");
    assert!(world.ips[&id].tags.is_empty());
    world.delete(&web).settle();
    assert_eq!(
        (
            world.ips.len(),
            world.count("PUT ip"),
            world.count("DELETE ip")
        ),
        (1, 0, 0)
    );
    assert_eq!(world.count("DELETE lb"), 1);
}

#[test]
fn row_020_a_name_that_is_not_there() {
    let web = web().az("pip-name", "ghost");
    let mut world = World::new();
    world.ask(&web).settle();
    assert!(world.refusals(&web)[0].contains("ghost"));
    assert_eq!(world.log, [] as [&str; 0]);
}

#[test]
fn row_021_the_name_goes_before_the_address() {
    let web = web()
        .az("pip-name", "byo-ip")
        .az("load-balancer-ipv4", "20.50.9.8");
    let mut world = World::new();
    world.foreign_ip("byo-ip", "20.50.9.9");
    world.foreign_ip("other", "20.50.9.8");
    world.ask(&web).settle();
    assert_eq!(status_of(&mut world, &web), "20.50.9.9");
}

#[test]
fn row_022_an_address_that_is_there() {
    let web = web().az("load-balancer-ipv4", "20.50.9.9");
    let mut world = World::new();
    world.foreign_ip("byo-ip", "20.50.9.9");
    world.ask(&web).settle();
    assert_eq!(world.lines(&web)[0], "public v4: byo-ip");
}

#[test]
fn row_023_an_address_that_is_not_there() {
    let web = web().az("load-balancer-ipv4", "20.50.9.9");
    let mut world = World::new();
    world.ask(&web).settle();
    assert!(world.refusals(&web)[0].contains("20.50.9.9"));
    assert_eq!(world.log, [] as [&str; 0]);
}

#[test]
fn row_024_a_private_address_is_not_public() {
    web()
        .az("load-balancer-ipv4", "10.0.0.5")
        .is_refused_for(KEY);
}

#[test]
fn row_025_nor_is_one_of_carrier_grade_nat() {
    web()
        .az("load-balancer-ipv4", "100.64.3.3")
        .is_refused_for(KEY);
}

#[test]
fn row_026_nor_is_azures_own() {
    web()
        .az("load-balancer-ipv4", "168.63.129.16")
        .is_refused_for(KEY);
}

#[test]
fn row_027_nor_is_a_banana() {
    web().az("load-balancer-ipv4", "banana").is_refused_for(KEY);
}

fn prefix() -> String {
    format!(
        "/subscriptions/{SUBSCRIPTION}/resourceGroups/rg1/providers/Microsoft.Network/publicIPPrefixes/edge-prefix"
    )
}

#[test]
fn row_028_an_address_of_a_prefix() {
    let web = web().az("pip-prefix-id", &prefix());
    let got = web.gets().silently();
    let text = format!("{:?}", got.desired.addresses);
    assert!(text.contains("edge-prefix"), "{text}");
    let mut world = made(&web);
    let line = world.lines(&web).remove(0);
    assert!(
        line.starts_with("public v4: v4-"),
        "the name tells it from one of no prefix: {line}"
    );
    web_refuses_prefix("edge-prefix");
    web_refuses_prefix(&prefix().replace("edge-prefix", ".."));
}

fn web_refuses_prefix(id: &str) {
    web()
        .az("pip-prefix-id", id)
        .is_refused_for("azure-pip-prefix-id");
}

#[test]
fn changed_029_the_address_of_a_prefix_takes_over_after_an_approval() {
    let mut world = made(&web());
    let moved = web().az("pip-prefix-id", &prefix());
    world.ask(&moved).settle();
    assert_eq!(status_of(&mut world, &moved), "20.50.1.10");
    let before = world.log.len();
    world.approve(&moved).settle();
    assert_eq!(status_of(&mut world, &moved), "20.50.1.11");
    let ends: Vec<_> = world.log[before..]
        .iter()
        .map(|line| line.split('/').next().expect("a word"))
        .collect();
    // Clients are let in before, and to where they were until then.
    assert_eq!(
        ends,
        ["PUT ip", "PUT nsg", "PUT lb", "PUT nsg", "DELETE ip"]
    );
}

#[test]
fn changed_030_a_tag_that_is_no_pair_is_a_problem() {
    web()
        .az("pip-tags", "team=pay,cost=42,broken")
        .is_refused_for("azure-pip-tags");
    let world = made(&web().az("pip-tags", "team=pay,cost=42"));
    let ip = world.ips.values().next().expect("an address");
    assert_eq!(
        (
            ip.tags.get("team").map(|tag| &**tag),
            ip.tags.get("cost").map(|tag| &**tag)
        ),
        (Some("pay"), Some("42"))
    );
    web()
        .az("pip-tags", "evenkeel-cluster=x")
        .is_refused_for("azure-pip-tags");
    web()
        .az("pip-tags", "a/b=x")
        .is_refused_for("azure-pip-tags");
}

#[test]
fn changed_031_a_tag_that_is_not_asked_for_any_more_goes_and_those_of_others_stay() {
    let mut world = made(&web().az("pip-tags", "team=pay,cost=42"));
    let ip = world.ips.values_mut().next().expect("an address");
    ip.tags.insert("theirs".into(), "x".into());
    let next = web().az("pip-tags", "team=ops");
    world.ask(&next).settle();
    let ip = world.ips.values().next().expect("an address");
    assert_eq!(ip.tags.get("team").map(|tag| &**tag), Some("ops"));
    assert!(
        !ip.tags.contains_key("cost") && ip.tags.contains_key("theirs"),
        "{:?}",
        ip.tags
    );
    assert_eq!((world.count("PUT ip"), world.count("PUT lb")), (2, 1));
}

#[test]
fn row_032_ip_tags() {
    let got = web()
        .az("pip-ip-tags", "RoutingPreference=Internet")
        .gets()
        .silently();
    let text = format!("{:?}", got.desired.addresses);
    assert!(
        text.contains(r#"ip_tags: {"RoutingPreference": "Internet"}"#),
        "{text}"
    );
}

#[test]
fn row_033_a_change_of_ip_tags_is_refused_until_it_is_approved() {
    let mut world = made(&web());
    let tagged = web().az("pip-ip-tags", "RoutingPreference=Internet");
    let before = world.log.len();
    world.ask(&tagged).settle();
    assert_eq!(status_of(&mut world, &tagged), "20.50.1.10");
    assert!(world.refusals(&tagged)[0].contains("20.50.1.10"));
    assert_eq!(world.log.len(), before);
}

#[test]
fn row_034_a_label() {
    let world = made(&web().az("dns-label-name", "webprod"));
    let ip = world.ips.values().next().expect("an address");
    assert_eq!(ip.dns_label.as_deref(), Some("webprod"));
    web()
        .az("dns-label-name", "Web_Prod")
        .is_refused_for("azure-dns-label-name");
}

#[test]
fn changed_035_the_label_goes_with_its_annotation() {
    let mut world = made(&web().az("dns-label-name", "webprod"));
    world.ask(&web()).settle();
    assert_eq!(
        world.ips.values().next().expect("an address").dns_label,
        None
    );
}

#[test]
fn row_036_a_blank_label_is_none() {
    let mut world = made(&web().az("dns-label-name", "webprod"));
    world.ask(&web().az("dns-label-name", "")).settle();
    assert_eq!(
        world.ips.values().next().expect("an address").dns_label,
        None
    );
}

/// Members of one group, the oldest first.
fn shared(members: &[Asking]) -> Group {
    let mut members: Vec<_> = members
        .iter()
        .map(|asking| {
            asking
                .clone()
                .annotated("evenkeel.dev/group", "edge")
                .group()
        })
        .collect();
    let mut group = members.remove(0);
    group
        .members
        .extend(members.into_iter().flat_map(|group| group.members));
    group
}

fn api(ports: &[&str]) -> Asking {
    with_ports(ports).named("api", 2)
}

fn rules(world: &mut World, key: &GroupKey) -> Vec<(u16, u16)> {
    let seen = world.observe(key);
    let sides = seen.balancers.values();
    sides
        .flat_map(|side| {
            side.part
                .rules
                .values()
                .map(|rule| (rule.port, rule.backend_port))
                .collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn changed_037_the_oldest_member_has_the_label() {
    let group = shared(&[
        web().az("dns-label-name", "webprod"),
        api(&["s:443/TCP>31443"]).az("dns-label-name", "other"),
    ]);
    got(&context(), &group).warning_with("the oldest member");
    let mut world = World::new();
    world.ask_group(&group).settle();
    assert_eq!(
        world
            .ips
            .values()
            .next()
            .expect("an address")
            .dns_label
            .as_deref(),
        Some("webprod")
    );
}

#[test]
fn row_038_another_resource_group_for_addresses() {
    let world = made(&web().az("load-balancer-resource-group", "rg-ips"));
    let id = world.ips.keys().next().expect("an address");
    assert!(id.contains("/resourceGroups/rg-ips/"), "{id}");
    assert!(
        context()
            .load_balancer_id(Scheme::InternetFacing)
            .contains("/resourceGroups/rg1/")
    );
}

#[test]
fn row_039_a_resource_group_goes_nowhere_else() {
    for name in ["../../x", "..", "a/b", "a b", "rg."] {
        web()
            .az("load-balancer-resource-group", name)
            .is_refused_for("azure-load-balancer-resource-group");
    }
}

const FURTHER: [&str; 5] = [
    "public v4: v4",
    "TCP-80-v4: Tcp 80->80 idle 4 floating reset probe TCP-80",
    "TCP-80: Tcp 31080 5s x2",
    "allow Tcp Internet -> 20.50.1.10,52.1.1.1,52.1.1.2:80",
    "status 20.50.1.10 52.1.1.1 52.1.1.2",
];

#[test]
fn row_040_further_addresses_are_published_and_let_in() {
    shows(
        &web().az("additional-public-ips", "52.1.1.1,52.1.1.2"),
        &FURTHER,
    );
}

#[test]
fn row_041_also_with_a_blank_between_them() {
    shows(
        &web().az("additional-public-ips", "52.1.1.1, 52.1.1.2"),
        &FURTHER,
    );
    web()
        .az("additional-public-ips", "52.1.1")
        .is_refused_for("azure-additional-public-ips");
}

#[test]
fn changed_042_the_address_of_another_service_is_shared_in_a_group() {
    let mut world = made(&web());
    let b = api(&["s:443/TCP>31443"]).az("load-balancer-ipv4", "20.50.1.10");
    world.ask(&b).settle();
    assert!(
        world.refusals(&b)[0].contains("evenkeel.dev/group"),
        "{:?}",
        world.refusals(&b)
    );
    let group = shared(&[web(), api(&["s:443/TCP>31443"])]);
    let mut world = World::new();
    world.ask_group(&group).settle();
    assert_eq!(rules(&mut world, &group.key).len(), 2);
    assert_eq!(world.ips.len(), 1);
    assert_eq!((world.count("PUT lb"), world.count("PUT nsg")), (1, 1));
}

#[test]
fn changed_043_a_member_leaves_with_its_rule_alone() {
    let group = shared(&[web(), api(&["s:443/TCP>31443"])]);
    let mut world = World::new();
    world.ask_group(&group).settle();
    let rest = shared(&[api(&["s:443/TCP>31443"])]);
    assert_eq!(rest.key, group.key);
    world.ask_group(&rest).settle();
    assert_eq!(rules(&mut world, &group.key), [(443, 443)]);
    assert_eq!((world.ips.len(), world.count("DELETE")), (1, 0));
}

#[test]
fn changed_044_the_last_takes_all_with_it() {
    let group = shared(&[web(), api(&["s:443/TCP>31443"])]);
    let mut world = World::new();
    world.ask_group(&group).settle();
    world.want(group.key, Want::Nothing).settle();
    assert_eq!(
        (
            world.ips.len(),
            world.balancers[&Scheme::InternetFacing].is_some()
        ),
        (0, false)
    );
    assert!(
        world.security.contains(r#""securityRules":[]"#),
        "{}",
        world.security
    );
}

#[test]
fn row_045_the_older_has_the_port() {
    let group = shared(&[web(), api(&["http:80/TCP>31081", "s:443/TCP>31443"])]);
    let got = got(&context(), &group);
    assert_eq!(got.port_errors.len(), 1);
    assert!(got.port_errors[0].message.contains("default/web"));
    let mut world = World::new();
    world.ask_group(&group).settle();
    assert_eq!(rules(&mut world, &group.key).len(), 2);
}

#[test]
fn row_046_the_same_number_over_udp() {
    let group = shared(&[web(), api(&["d:80/UDP>31081"])]);
    let got = got(&context(), &group);
    assert_eq!((got.port_errors.len(), got.desired.rules.len()), (0, 2));
}

#[test]
fn an_address_that_is_kept_by_policy_is_stamped_and_only_where_that_can_be() {
    let world = made(&web().annotated("evenkeel.dev/reclaim-policy", "Retain"));
    let ip = world.ips.values().next().expect("an address");
    assert_eq!(
        ip.tags.get("evenkeel-reclaim-policy").map(|tag| &**tag),
        Some("Retain")
    );
    web()
        .internal()
        .annotated("evenkeel.dev/reclaim-policy", "Retain")
        .is_refused_at("metadata.annotations[evenkeel.dev/reclaim-policy]");
    let _ = json!({});
}
