//! 8.4: listeners, TLS, protocols.

use evenkeel_aws::{
    SSL_POLICY,
    desired::NODE_PORT_MISMATCH,
    model::{ListenerProtocol, TargetProtocol},
};
use evenkeel_core::{claim::Profile, problem::reason};
use serde_json::json;

use super::rig::*;

/// The two ports of the first rows, one of them with TLS and two certificates.
fn two_ports() -> Asking {
    service(&["h:8080/TCP>30080", "t:8443/TCP>30443"])
        .aws("ssl-cert", &format!("{A},{B}"))
        .aws("ssl-ports", "t")
}

#[test]
fn row_049_one_port_with_tls_and_two_certificates() {
    let got = two_ports().gets().silently();
    assert_eq!(got.listeners(), ["TCP:8080", "TLS:8443"]);
    let tls = got.listener(8443).tls.as_ref().expect("TLS");
    assert_eq!(&*tls.certificate, A);
    assert_eq!(*tls.further, [B.into()]);
    assert_eq!(&*tls.policy, SSL_POLICY);
    assert_eq!(tls.alpn, None);
    assert_eq!(got.target_group(8080).protocol, TargetProtocol::Tcp);
    assert_eq!(got.target_group(8443).protocol, TargetProtocol::Tcp);
    assert_eq!(got.listener(8443).target_group.as_str(), "tg/TCP/8443");
}

#[test]
fn row_050_tls_to_the_targets() {
    let got = two_ports().aws("backend-protocol", "ssl").gets().silently();
    assert_eq!(got.target_group(8443).protocol, TargetProtocol::Tls);
    assert_eq!(got.target_group(8080).protocol, TargetProtocol::Tcp);
}

#[test]
fn row_051_ssl_in_capitals_is_ssl() {
    let got = two_ports().aws("backend-protocol", "SSL").gets().silently();
    assert_eq!(got.target_group(8443).protocol, TargetProtocol::Tls);
    two_ports()
        .aws("backend-protocol", "http")
        .gets()
        .warning_of("backend-protocol");
}

#[test]
fn row_052_udp_never_has_tls() {
    let got = service(&["s:443/TCP>30443", "q:5300/UDP>30530"])
        .aws("ssl-cert", A)
        .gets()
        .silently();
    assert_eq!(got.listeners(), ["TLS:443", "UDP:5300"]);
}

#[test]
fn row_053_a_star_is_every_tcp_port() {
    let got = service(&["h:8080/TCP>30080", "t:8443/TCP>30443", "q:53/UDP>30053"])
        .aws("ssl-cert", A)
        .aws("ssl-ports", "*")
        .gets()
        .silently();
    assert_eq!(got.listeners(), ["UDP:53", "TLS:8080", "TLS:8443"]);
}

#[test]
fn row_054_a_port_with_tls_must_be_there_even_without_a_certificate() {
    let asking = || plain().aws("ssl-ports", "9443");
    let problems = asking().problems();
    assert_eq!(problems.iter().count(), 1, "{problems}");
    asking().is_refused_for("ssl-ports");
    let got = asking().profile(Profile::Ccm).aws("ssl-cert", A).gets();
    assert_eq!(got.warning_of("ssl-ports").listeners(), ["TCP:7000"]);
}

#[test]
fn row_055_ports_with_tls_and_no_certificate_stay_plain() {
    let got = service(&["t:8443/TCP>30443"])
        .aws("ssl-ports", "8443")
        .gets()
        .warning_of("ssl-ports");
    assert_eq!(got.listeners(), ["TCP:8443"]);
}

#[test]
fn row_056_a_port_by_number_and_by_name_is_one_port() {
    let got = service(&["t:8443/TCP>30443"])
        .aws("ssl-cert", A)
        .aws("ssl-ports", "8443 , t")
        .gets()
        .silently();
    assert_eq!(got.listeners(), ["TLS:8443"]);
}

#[test]
fn row_057_an_alpn_policy_that_there_is_not_is_refused_with_and_without_tls() {
    plain()
        .aws("alpn-policy", "h2")
        .is_refused_for("alpn-policy");
    two_ports()
        .aws("alpn-policy", "h2")
        .is_refused_for("alpn-policy");
    let got = two_ports()
        .aws("alpn-policy", "HTTP2Optional")
        .gets()
        .silently();
    let alpn = |got: &Got| {
        got.listener(8443)
            .tls
            .as_ref()
            .and_then(|tls| tls.alpn.clone())
    };
    assert_eq!(alpn(&got).as_deref(), Some("HTTP2Optional"));
    assert_eq!(alpn(&two_ports().aws("alpn-policy", "None").gets()), None);
    plain()
        .aws("alpn-policy", "None")
        .gets()
        .warning_of("alpn-policy");
}

#[test]
fn what_is_no_certificate_or_policy_is_refused() {
    plain()
        .aws("ssl-cert", "my-cert")
        .is_refused_for("ssl-cert");
    two_ports()
        .aws("ssl-negotiation-policy", "TLS13")
        .is_refused_for("ssl-negotiation-policy");
    let policy = "ELBSecurityPolicy-TLS13-1-3-2021-06";
    let got = two_ports()
        .aws("ssl-negotiation-policy", policy)
        .gets()
        .silently();
    let tls = got.listener(8443).tls.as_ref().expect("TLS");
    assert_eq!(&*tls.policy, policy);
}

#[test]
fn row_061_attributes_of_a_listener() {
    let got = service(&["h:8080/TCP>30080"])
        .aws(
            "listener-attributes.TCP-8080",
            "tcp.idle_timeout.seconds=600",
        )
        .gets()
        .silently();
    let attributes = pairs(&got.listener(8080).attributes);
    assert_eq!(attributes, ["tcp.idle_timeout.seconds=600"]);
    for (written, near) in [
        ("tcp.idle_timeout.seconds=50", "The nearest is 60."),
        (
            "tcp.idle-timeout.seconds=600",
            "Did you mean tcp.idle_timeout.seconds?",
        ),
    ] {
        let key = "listener-attributes.TCP-8080";
        let told = service(&["h:8080/TCP>30080"])
            .aws(key, written)
            .is_refused_for(key);
        assert!(told.contains(near), "{told}");
    }
}

#[test]
fn row_062_attributes_that_aws_has_not_for_tls_are_told() {
    let got = two_ports()
        .aws(
            "listener-attributes.TLS-8443",
            "tcp.idle_timeout.seconds=600",
        )
        .gets()
        .warning_of("listener-attributes.TLS-8443");
    assert_eq!(pairs(&got.listener(8443).attributes), [""; 0]);
}

#[test]
fn row_063_attributes_of_a_listener_that_is_not_there_are_told() {
    for key in [
        "listener-attributes.TCP-8443",
        "listener-attributes.TCP-9999",
    ] {
        let asking = two_ports().aws(key, "tcp.idle_timeout.seconds=600");
        asking.gets().warning_of(key);
    }
}

#[test]
fn the_neutral_idle_timeout_is_for_tcp_listeners() {
    let key = "evenkeel.dev/idle-timeout";
    let asking = |value| two_ports().annotated(key, value);
    let got = asking("10m").gets().warning_with("idle-timeout");
    let attributes = pairs(&got.listener(8080).attributes);
    assert_eq!(attributes, ["tcp.idle_timeout.seconds=600"]);
    assert_eq!(pairs(&got.listener(8443).attributes), [""; 0]);
    asking("30").is_refused_at("metadata.annotations[evenkeel.dev/idle-timeout]");
}

fn dns() -> Asking {
    service(&["u:53/UDP>31053", "t:53/TCP>31053"])
}

#[test]
fn row_064_tcp_and_udp_of_one_number_share_a_listener() {
    let got = dns().gets().silently();
    assert_eq!(got.listeners(), ["TCP_UDP:53"]);
}

#[test]
fn row_065_a_shared_listener_has_one_target_group_and_both_rules() {
    let got = dns()
        .aws("enable-tcp-udp-listener", "true")
        .gets()
        .silently();
    let both = (ListenerProtocol::TcpUdp, TargetProtocol::TcpUdp);
    assert_eq!(got.protocols(53), both);
    assert_eq!(got.desired.target_groups.len(), 1);
    assert_eq!(got.target_group(53).node_port, 31053);
    assert_eq!(got.health_check(53), "TCP traffic-port 10s/10s/3/3");
    assert_eq!(
        got.rules(),
        ["tcp 53 from 0.0.0.0/0", "udp 53 from 0.0.0.0/0"]
    );
}

#[test]
fn row_066_different_node_ports_cannot_share_a_listener() {
    let got = service(&["u:53/UDP>31053", "t:53/TCP>31900"])
        .aws("enable-tcp-udp-listener", "true")
        .gets();
    assert_eq!(got.listeners(), ["TCP:53"]);
    assert_eq!(got.target_group(53).node_port, 31900);
    let [error] = &got.port_errors[..] else {
        panic!("{:?}", got.port_errors);
    };
    assert_eq!(
        (error.port.to_string().as_str(), error.reason),
        ("53/UDP", NODE_PORT_MISMATCH)
    );
    assert!(error.message.contains("must be 31900"), "{error}");
}

#[test]
fn row_067_sctp_of_the_same_number_is_an_error_of_that_port() {
    let got = service(&["u:53/UDP>31053", "t:53/TCP>31053", "s:53/SCTP>31054"]).gets();
    assert_eq!(got.listeners(), ["TCP_UDP:53"]);
    let errors: Vec<_> = got.port_errors.iter().map(|error| error.reason).collect();
    assert_eq!(errors, [reason::PROTOCOL_NOT_SUPPORTED]);
}

#[test]
fn row_068_a_switch_that_is_none_is_refused() {
    dns()
        .aws("enable-tcp-udp-listener", "yes")
        .is_refused_for("enable-tcp-udp-listener");
    dns()
        .aws("enable-tcp-udp-listener", "false")
        .gets()
        .warning_of("enable-tcp-udp-listener");
}

#[test]
fn row_069_a_shared_listener_stays_without_tls() {
    let got = dns()
        .aws("enable-tcp-udp-listener", "true")
        .aws("ssl-cert", A)
        .aws("ssl-ports", "53")
        .gets()
        .warning_of("ssl-cert");
    assert_eq!(got.listeners(), ["TCP_UDP:53"]);
    assert_eq!(got.listener(53).tls, None);
}

#[test]
fn row_070_protocols_of_different_numbers_have_nothing_to_do_with_each_other() {
    for profile in [Profile::Lbc, Profile::Ccm, Profile::Neutral] {
        let got = service(&["d:53/UDP>31053", "w:80/TCP>31080"])
            .profile(profile)
            .gets()
            .silently();
        assert_eq!(got.listeners(), ["UDP:53", "TCP:80"]);
        assert_eq!(got.desired.target_groups.len(), 2);
    }
}

#[test]
fn row_071_sctp_alone_is_refused() {
    service(&["x:5060/SCTP>30060"]).is_refused_at("spec.ports[0].protocol");
}

#[test]
fn row_072_quic_is_refused() {
    let asking = service(&["s:443/TCP>30443"]).aws("quic-enabled-ports", "443");
    let problems = asking.problems();
    assert_eq!(problems.reason(), reason::UNSUPPORTED_FEATURE);
    asking.is_refused_for("quic-enabled-ports");
}

#[test]
fn row_075_more_ports_than_aws_has_listeners_are_refused() {
    let ports: Vec<String> = (1..=51)
        .map(|n| format!("p{n}:{n}/TCP>{}", 30000 + n))
        .collect();
    let ports: Vec<&str> = ports.iter().map(String::as_str).collect();
    service(&ports).is_refused_at("spec.ports");
    assert_eq!(service(&ports[1..]).gets().listeners().len(), 50);
}

#[test]
fn row_076_udp_on_dualstack_needs_source_nat() {
    let asking = |ports: &[&str]| service(ports).aws("ip-address-type", "dualstack");
    let key = "enable-prefix-for-ipv6-source-nat";
    let told = asking(&["u:53/UDP>31053"]).is_refused_at("spec.ports[53/UDP].protocol");
    assert!(told.contains(key), "{told}");
    asking(&["u:53/UDP>31053"]).aws(key, "on").gets().silently();
    let got = asking(&["u:53/UDP>31053", "t:80/TCP>31080"]).gets();
    assert_eq!(
        (got.listeners(), got.port_errors.len()),
        (vec!["TCP:80".to_owned()], 1)
    );
}

#[test]
fn a_port_without_a_node_port_is_an_error_of_that_port() {
    let no_node_ports =
        |ports: &[&str]| service(ports).spec("allocateLoadBalancerNodePorts", json!(false));
    let got = no_node_ports(&["a:80/TCP>30080", "b:81/TCP"]).gets();
    assert_eq!(got.listeners(), ["TCP:80"]);
    assert_eq!(got.port_errors[0].reason, reason::NODE_PORT_REQUIRED);
    let told = no_node_ports(&["b:81/TCP"]).is_refused_at("spec.ports[81/TCP].nodePort");
    assert!(told.contains("allocateLoadBalancerNodePorts"), "{told}");
}

#[test]
fn weighted_forwarding_is_refused() {
    let key = "service.beta.kubernetes.io/actions.TCP-7000";
    let told = plain()
        .annotated(key, "{}")
        .is_refused_at(&format!("metadata.annotations[{key}]"));
    assert!(told.contains("several target groups"), "{told}");
}
