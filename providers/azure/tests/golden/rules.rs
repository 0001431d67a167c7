//! 8.3: rules.

use evenkeel_azure::Context;
use evenkeel_core::{claim::Profile, intent::Scheme};
use serde_json::json;

use super::{rig::*, stage::*};

/// The rules of a Service, without what says nothing here.
#[track_caller]
fn rules(asking: &Asking) -> Vec<String> {
    let mut world = made(asking);
    let lines = world.lines(asking);
    lines
        .into_iter()
        .filter(|line| line.contains("->") && line.contains(" idle "))
        .collect()
}

#[test]
fn row_047_a_client_sticks() {
    assert_eq!(
        rules(&web().spec("sessionAffinity", json!("ClientIP"))),
        ["TCP-80-v4: Tcp 80->80 idle 4 floating sticky reset probe TCP-80"]
    );
}

#[test]
fn row_048_an_idle_timeout() {
    let web = with_ports(&["a:80/TCP>31080", "b:53/UDP>31053"])
        .az("load-balancer-tcp-idle-timeout", "15");
    assert!(rules(&web).iter().all(|rule| rule.contains("idle 15")));
}

#[test]
fn row_049_idle_timeouts_that_there_are_not() {
    for value in ["3", "101", "5m"] {
        web()
            .az("load-balancer-tcp-idle-timeout", value)
            .is_refused_for("azure-load-balancer-tcp-idle-timeout");
    }
    web()
        .annotated("evenkeel.dev/idle-timeout", "1m")
        .is_refused_at("metadata.annotations[evenkeel.dev/idle-timeout]");
}

#[test]
fn row_050_no_reset() {
    assert_eq!(
        rules(&web().az("load-balancer-disable-tcp-reset", "TRUE")),
        ["TCP-80-v4: Tcp 80->80 idle 4 floating probe TCP-80"]
    );
}

#[test]
fn row_051_tcp_and_udp() {
    shows(
        &with_ports(&["a:80/TCP>31080", "b:53/UDP>31053"]),
        &[
            "public v4: v4",
            "TCP-80-v4: Tcp 80->80 idle 4 floating reset probe TCP-80",
            "UDP-53-v4: Udp 53->53 idle 4 floating unprobed",
            "TCP-80: Tcp 31080 5s x2",
            "allow Tcp Internet -> 20.50.1.10:80",
            "allow Udp Internet -> 20.50.1.10:53",
            "status 20.50.1.10",
        ],
    );
}

#[test]
fn row_052_sctp() {
    with_ports(&["a:3868/SCTP>31868"]).is_refused_at("spec.ports[0].protocol");
}

#[test]
fn row_053_sctp_inside() {
    with_ports(&["a:3868/SCTP>31868"])
        .internal()
        .is_refused_at("spec.ports[0].protocol");
}

const HA: &str = "load-balancer-enable-high-availability-ports";

#[test]
fn changed_054_one_rule_for_all_ports() {
    web()
        .internal()
        .az(HA, "true")
        .is_refused_for(&format!("azure-{HA}"));
}

#[test]
fn changed_055_the_same_outside() {
    web().az(HA, "true").is_refused_for(&format!("azure-{HA}"));
}

#[test]
fn row_056_the_same_to_node_ports() {
    web()
        .internal()
        .node_ports()
        .az(HA, "true")
        .is_refused_for(&format!("azure-{HA}"));
}

#[test]
fn row_057_node_ports_in_a_cluster_with_floating_addresses() {
    shows(
        &web().node_ports(),
        &[
            "public v4: v4",
            "TCP-80-v4: Tcp 80->31080 idle 4 reset probe TCP-80",
            "TCP-80: Tcp 31080 5s x2",
            "allow Tcp Internet -> 10.20.0.0/20:31080",
            "status 20.50.1.10",
        ],
    );
}

#[test]
fn changed_058_floating_addresses_in_a_cluster_with_node_ports() {
    let web = web()
        .profile(Profile::Neutral)
        .az("disable-load-balancer-floating-ip", "false");
    assert_eq!(
        rules(&web),
        ["TCP-80-v4: Tcp 80->80 idle 4 floating reset probe kube-proxy"]
    );
}

#[test]
fn row_059_a_port_without_a_rule_is_closed() {
    let web = with_ports(&["a:80/TCP>31080", "b:443/TCP>31443"]).port("80_no_lb_rule", "true");
    shows(
        &web,
        &[
            "public v4: v4",
            "TCP-443-v4: Tcp 443->443 idle 4 floating reset probe TCP-443",
            "TCP-443: Tcp 31443 5s x2",
            "allow Tcp Internet -> 20.50.1.10:443",
            "status 20.50.1.10",
        ],
    );
    super::rig::web()
        .port("80_no_lb_rule", "true")
        .is_refused_at("spec.ports");
}

#[test]
fn row_060_a_rule_without_a_probe() {
    let web = web().port("80_no_probe_rule", "true");
    assert_eq!(
        rules(&web),
        ["TCP-80-v4: Tcp 80->80 idle 4 floating reset unprobed"]
    );
    assert_eq!(
        made(&web).value(Scheme::InternetFacing)["properties"]["probes"],
        json!(null)
    );
}

#[test]
fn row_061_no_node_port() {
    for web in [
        with_ports(&["a:80/TCP"]),
        with_ports(&["a:80/TCP"]).profile(Profile::Neutral),
    ] {
        web.spec("allocateLoadBalancerNodePorts", json!(false))
            .is_refused_at("spec.ports[80/TCP].nodePort");
    }
    // Nothing but the rule needs it.
    let local = with_ports(&["a:80/TCP"]).local(32001);
    assert_eq!(
        rules(&local),
        ["TCP-80-v4: Tcp 80->80 idle 4 floating reset probe local"]
    );
}

#[test]
fn row_062_both_families() {
    let web = web().families(&["IPv4", "IPv6"]);
    let mut world = made(&web);
    world.shows(
        &web,
        &[
            "public v4: v4",
            "public v6: v6",
            "TCP-80-v4: Tcp 80->80 idle 4 floating reset probe TCP-80",
            "TCP-80-v6: Tcp 80->80 idle 4 floating reset probe TCP-80",
            "TCP-80: Tcp 31080 5s x2",
            "allow Tcp Internet -> 20.50.1.10:80",
            "allow Tcp Internet -> 2603:1020::10:80",
            "status 20.50.1.10 2603:1020::10",
        ],
    );
    let body = world.value(Scheme::InternetFacing);
    assert_eq!(
        body["properties"]["backendAddressPools"]
            .as_array()
            .map(Vec::len),
        Some(2)
    );
    assert_eq!(world.count("PUT lb"), 1);
}

#[test]
fn row_063_both_families_inside() {
    let web = web().internal().families(&["IPv4", "IPv6"]);
    assert_eq!(
        rules(&web),
        [
            "TCP-80-v4: Tcp 80->80 idle 4 floating reset probe TCP-80",
            "TCP-80-v6: Tcp 80->31080 idle 4 reset probe TCP-80",
        ]
    );
    let body = made(&web).value(Scheme::Internal).to_string();
    assert!(
        body.contains(r#""privateIPAddressVersion":"IPv6""#),
        "{body}"
    );
}

#[test]
fn row_064_ipv6_alone() {
    let web = web().families(&["IPv6"]);
    let mut world = made(&web);
    assert_eq!(world.lines(&web)[0], "public v6: v6");
    assert_eq!(world.status(&web), ["2603:1020::10"]);
    assert!(world.pool(Scheme::InternetFacing).is_empty());
}

#[test]
fn row_065_a_name_for_one_family() {
    let web = web()
        .families(&["IPv4", "IPv6"])
        .az("pip-name-ipv6", "byo6");
    let mut world = World::new();
    world.foreign_ip("byo6", "2603:1020::99");
    world.ask(&web).settle();
    assert_eq!(world.lines(&web)[..2], ["public v4: v4", "public v6: byo6"]);
    assert_eq!(world.ips.len(), 2);
}

#[test]
fn row_066_no_outbound_connections_by_rules() {
    let context = Context {
        disable_outbound_snat: true,
        ..context()
    };
    let mut world = World::of(context);
    world.ask(&web()).settle();
    assert_eq!(
        world.lines(&web())[1],
        "TCP-80-v4: Tcp 80->80 idle 4 floating reset no outbound probe TCP-80"
    );
}

#[test]
fn a_port_that_azure_does_not_have_is_an_error_of_that_port() {
    let web = with_ports(&["a:80/TCP>31080", "b:65535/TCP>31443"]);
    let got = web.gets();
    assert_eq!((got.port_errors.len(), got.desired.rules.len()), (1, 1));
    assert!(got.port_errors[0].message.contains("65534"));
}
