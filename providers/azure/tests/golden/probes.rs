//! 8.4: probes.

use evenkeel_azure::Context;
use evenkeel_core::{claim::Profile, intent::Scheme, nodes::ProxyHealth};
use serde_json::{Value, json};

use super::{rig::*, stage::*};

/// The probes of a Service; the rules that are not probed by one of their own.
#[track_caller]
fn probes(asking: &Asking) -> Vec<String> {
    probes_of(&asking.gets())
}

fn probes_of(got: &Got) -> Vec<String> {
    got.desired
        .probes
        .values()
        .map(ToString::to_string)
        .collect()
}

#[track_caller]
fn judged(asking: &Asking, want: &str) {
    asking.gets().silently();
    assert_eq!(probes(asking), [want]);
}

fn local() -> Asking {
    web().local(32001)
}

const LOCAL: &str = "Http 32001 /healthz 5s x2";

#[test]
fn row_067_policy_local_asks_the_health_check_node_port() {
    judged(&local(), LOCAL);
    let two = with_ports(&["a:80/TCP>31080", "b:443/TCP>31443"]).local(32001);
    judged(&two, LOCAL);
}

#[test]
fn row_068_also_for_udp() {
    let both = with_ports(&["a:80/TCP>31080", "b:53/UDP>31053"]).local(32001);
    let got = both.gets().silently();
    assert_eq!(probes_of(&got), [LOCAL]);
    let mut rules = got.desired.rules.iter();
    assert!(rules.all(|listener| {
        listener
            .rule
            .probe
            .as_deref()
            .is_some_and(|name| name.ends_with("-local"))
    }));
}

#[test]
fn row_069_other_protocols_and_paths_are_told() {
    let web = local()
        .az("load-balancer-health-probe-protocol", "tcp")
        .az("load-balancer-health-probe-request-path", "/x");
    assert_eq!(probes(&web), [LOCAL]);
    assert_eq!(web.gets().warnings.len(), 2);
}

#[test]
fn row_070_the_interval_of_the_health_check_node_port() {
    judged(
        &local().port("32001_health-probe_interval", "10"),
        "Http 32001 /healthz 10s x2",
    );
    let other = local().port("80_health-probe_interval", "10");
    assert_eq!(probes(&other), [LOCAL]);
    other
        .gets()
        .warning_with("port_32001_health-probe_interval");
}

#[test]
fn row_071_a_port_with_a_probe_of_its_own() {
    let web = with_ports(&["a:80/TCP>31080", "b:443/TCP>31443"])
        .local(32001)
        .port("80_health-probe_port", "10256")
        .port("80_health-probe_protocol", "http")
        .port("80_health-probe_request-path", "/healthz");
    assert_eq!(probes(&web), ["Http 10256 /healthz 5s x2", LOCAL]);
}

fn spoken(word: &str) -> Asking {
    web().of_port("appProtocol", json!(word))
}

#[test]
fn row_072_http_is_spoken() {
    judged(&spoken("http"), "Http 31080 / 5s x2");
}

#[test]
fn row_073_what_is_spoken_goes_before_the_key_for_all() {
    judged(
        &spoken("https").az("load-balancer-health-probe-protocol", "tcp"),
        "Https 31080 / 5s x2",
    );
}

#[test]
fn row_074_the_ports_own_key_goes_before_it() {
    judged(
        &spoken("https").port("80_health-probe_protocol", "tcp"),
        "Tcp 31080 5s x2",
    );
}

#[test]
fn row_075_what_no_probe_speaks() {
    judged(&spoken("grpc"), "Tcp 31080 5s x2");
}

#[test]
fn row_076_http_and_a_path() {
    let web = web()
        .az("load-balancer-health-probe-protocol", "HTTP")
        .az("load-balancer-health-probe-request-path", "/ready");
    judged(&web, "Http 31080 /ready 5s x2");
}

#[test]
fn row_077_a_port_of_the_service_is_its_node_port() {
    let web =
        with_ports(&["http:80/TCP>31080", "s:443/TCP>31443"]).port("80_health-probe_port", "443");
    assert_eq!(probes(&web), ["Tcp 31443 5s x2", "Tcp 31443 5s x2"]);
}

#[test]
fn row_078_also_by_name() {
    judged(
        &web().port("80_health-probe_port", "http"),
        "Tcp 31080 5s x2",
    );
}

#[test]
fn row_079_any_other_number() {
    judged(
        &web().port("80_health-probe_port", "15021"),
        "Tcp 15021 5s x2",
    );
}

#[test]
fn row_080_no_port() {
    for value in ["70000", "nosuch", "0"] {
        web()
            .port("80_health-probe_port", value)
            .is_refused_for("port_80_health-probe_port");
    }
}

const INTERVAL: &str = "load-balancer-health-probe-interval";
const COUNT: &str = "load-balancer-health-probe-num-of-probe";

#[test]
fn row_081_too_small_numbers() {
    web()
        .az(INTERVAL, "4")
        .is_refused_for(&format!("azure-{INTERVAL}"));
    web()
        .az(COUNT, "1")
        .is_refused_for(&format!("azure-{COUNT}"));
}

#[test]
fn row_082_judged_within_two_minutes() {
    web()
        .az(INTERVAL, "30")
        .az(COUNT, "4")
        .is_refused_for(&format!("azure-{INTERVAL}"));
    judged(&web().az(INTERVAL, "29").az(COUNT, "4"), "Tcp 31080 29s x4");
}

fn by_one_probe() -> Context {
    Context {
        shared_probe: true,
        ..context()
    }
}

fn live_probes(world: &World) -> Vec<Value> {
    let body = world.value(Scheme::InternetFacing);
    body["properties"]["probes"]
        .as_array()
        .cloned()
        .unwrap_or_default()
}

#[test]
fn row_083_one_probe_for_all_services() {
    let web = web().az("load-balancer-health-probe-protocol", "tcp");
    let got = web.gets_by(&by_one_probe()).warning_with("operator");
    assert_eq!(probes_of(&got), ["Http 10256 /healthz 5s x2"]);
    let other = super::rig::web().named("other", 2);
    let mut world = World::of(by_one_probe());
    world.ask(&web).ask(&other).settle();
    assert_eq!(live_probes(&world).len(), 1);
    world.delete(&web).settle();
    assert_eq!(live_probes(&world).len(), 1, "the other's rule uses it");
}

#[test]
fn row_084_it_goes_with_the_last_rule_that_uses_it_in_the_same_write() {
    let mut world = World::of(by_one_probe());
    world.ask(&web()).settle();
    let before = world.log.len();
    world.ask(&local()).settle();
    assert_eq!(world.log[before..], ["PUT lb/public"]);
    let probes = live_probes(&world);
    assert_eq!(
        (probes.len(), &probes[0]["properties"]["port"]),
        (1, &json!(32001))
    );
}

#[test]
fn where_kube_proxy_does_not_answer_a_new_rule_is_probed_on_its_port_and_one_that_is_there_stays() {
    let neutral = web().profile(Profile::Neutral);
    let mut world = World::new();
    world.nodes = nodes(2).with_proxy_health(ProxyHealth::Silent);
    world.ask(&neutral).settle();
    assert_eq!(world.lines(&neutral)[2], "TCP-80-v4-tcp: Tcp 31080 5s x2");
    assert_eq!(world.groups[&neutral.group().key].plan.warnings.len(), 1);
    let before = world.log.len();
    world.nodes = nodes(2);
    world.settle();
    assert_eq!(world.log.len(), before, "what was chosen once stays");
    let mut world = made(&neutral);
    world.nodes = nodes(2).with_proxy_health(ProxyHealth::Silent);
    world.settle();
    assert_eq!(
        world.lines(&neutral)[2],
        "kube-proxy: Http 10256 /healthz 5s x2"
    );
}
