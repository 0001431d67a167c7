//! What may be written behind each key: a wrong value is one problem, which names the key, the value and what to do.

use super::rig::*;

/// A Service for which the keys that need something else have it.
fn asking(suffix: &str) -> Asking {
    let asking = service(&["h:80/TCP>30080", "t:443/TCP>30443"]);
    match suffix {
        "ipv6-addresses" => asking.aws("ip-address-type", "dualstack"),
        "source-nat-ipv6-prefixes" => asking
            .aws("ip-address-type", "dualstack")
            .aws("enable-prefix-for-ipv6-source-nat", "on"),
        "eip-allocations" => asking.aws("scheme", "internet-facing"),
        "alpn-policy" | "ssl-ports" | "ssl-negotiation-policy" => asking.aws("ssl-cert", A),
        "healthcheck-path" | "healthcheck-success-codes" => {
            asking.aws("healthcheck-protocol", "http")
        }
        _ => asking,
    }
}

#[test]
fn a_wrong_value_is_one_problem() {
    for (suffix, values) in [
        ("type", &["clb", "NLB"][..]),
        ("nlb-target-type", &["Instance", "lambda"]),
        ("scheme", &["Internal", "public", "internet_facing"]),
        ("internal", &["yes", "10.0.0.0/8"]),
        (
            "name",
            &[
                "internal-x",
                "-x",
                "x-",
                "a.b",
                "a_b",
                "abcdefghijklmnopqrstuvwxyz0123456",
            ],
        ),
        (
            "ip-address-type",
            &["IPv4", "ipv6", "dualstack-without-public-ipv4"],
        ),
        ("subnets", &[" , "]),
        ("eip-allocations", &["192.0.2.1", "eipalloc-"]),
        ("private-ipv4-addresses", &["10.0.0", "2001:db8::1"]),
        ("ipv6-addresses", &["10.0.0.9", "2001:db8::/64"]),
        ("enable-prefix-for-ipv6-source-nat", &["true", "ON"]),
        (
            "source-nat-ipv6-prefixes",
            &["auto", "2001:db8::/64", "10.0.0.0/8"],
        ),
        (
            "attributes",
            &["deletion_protection.enabled", "=true", "a.b=1"],
        ),
        ("cross-zone-load-balancing-enabled", &["yes"]),
        ("access-log-enabled", &["on"]),
        (
            "additional-resource-tags",
            &["Team", "=x", "a=1,a=2", "a=b;c", "aws:a=b"],
        ),
        ("multi-cluster-target-group", &["yes", "true"]),
        ("ssl-cert", &["cert", "arn:aws:s3:::bucket", ","]),
        ("ssl-ports", &["https", "8443"]),
        ("ssl-negotiation-policy", &["TLS-1-2"]),
        ("alpn-policy", &["h2", "http2only"]),
        (
            "listener-attributes.TCP-80",
            &["tcp.idle_timeout.seconds=59", "idle=1", "x"],
        ),
        ("enable-tcp-udp-listener", &["yes"]),
        ("quic-enabled-ports", &["443"]),
        ("proxy-protocol", &["v2", "true"]),
        ("proxy-protocol-per-target-group", &["8080", "http"]),
        (
            "target-group-attributes",
            &["stickiness.enabled", "stickiness.enabled="],
        ),
        (
            "target-group-attributes.80",
            &["stickiness.enabled=1s", "x=1"],
        ),
        (
            "target-node-labels",
            &["pool", "pool=a b", "/pool=a", "a=1,a=2", ","],
        ),
        ("healthcheck-protocol", &["grpc", "ping"]),
        ("healthcheck-port", &["0", "65536", "https"]),
        ("healthcheck-path", &["ready", "/a b"]),
        ("healthcheck-success-codes", &["199", "200-", "OK"]),
        ("healthcheck-interval", &["4", "301", "10s", "-1"]),
        ("healthcheck-timeout", &["1", "121"]),
        ("healthcheck-healthy-threshold", &["1", "11"]),
        ("healthcheck-unhealthy-threshold", &["1", "11"]),
        ("security-groups", &["a,b,c,d,e,f"]),
        ("manage-backend-security-group-rules", &["yes"]),
        ("disable-nlb-sg", &["yes"]),
        ("security-group-prefix-lists", &["pl-", "sg-1"]),
        ("inbound-sg-rules-on-private-link-traffic", &["false"]),
        ("enable-icmp-for-path-mtu-discovery", &["true"]),
        ("minimum-load-balancer-capacity", &["CapacityUnits=1"]),
    ] {
        for value in values {
            let told = asking(suffix).aws(suffix, value).is_refused_for(suffix);
            assert!(!told.contains("..") && !told.contains(" ,"), "{told}");
        }
    }
}

#[test]
fn an_unknown_key_has_no_effect_and_is_told_with_its_nearest() {
    for (suffix, near) in [
        ("schema", "aws-load-balancer-scheme?"),
        ("health-check-path", "aws-load-balancer-healthcheck-path?"),
        (
            "target-group-attributes.http",
            "target-group-attributes.{n}, where",
        ),
        (
            "listener-attributes.tcp-80",
            "listener-attributes.{P}-{n}, where",
        ),
        ("ssl-certs", "aws-load-balancer-ssl-cert?"),
    ] {
        let got = plain().aws(suffix, "x").gets().warning_of(suffix);
        assert!(
            got.warnings[0].message.contains(near),
            "{}",
            got.warnings[0]
        );
        assert_eq!(got.desired, plain().gets().desired);
    }
}

#[test]
fn keys_of_other_kinds_of_load_balancers_change_nothing() {
    for suffix in [
        "access-log-emit-interval",
        "connection-draining-enabled",
        "connection-draining-timeout",
        "connection-idle-timeout",
        "extra-security-groups",
    ] {
        let got = plain().aws(suffix, "60").gets().warning_of(suffix);
        assert_eq!(got.desired, plain().gets().desired);
    }
    let got = plain()
        .annotated("alb.ingress.kubernetes.io/scheme", "internal")
        .gets()
        .warning_with("Application Load Balancers");
    assert_eq!(got.desired, plain().gets().desired);
}
