//! 8.5: health checks and attributes of target groups.

use evenkeel_core::claim::Profile;
use serde_json::json;

use super::rig::*;

fn web() -> Asking {
    service(&["h:80/TCP>30080", "s:443/TCP>30443"])
}

#[track_caller]
fn judged(asking: &Asking, want: &str) {
    let got = asking.gets().silently();
    for target_group in &got.desired.target_groups {
        assert_eq!(target_group.health_check.to_string(), want);
    }
}

const LOCAL: &str = "HTTP 32222 /healthz 200-399 10s/6s/2/2";

#[test]
fn row_077_policy_local_asks_the_health_check_node_port() {
    judged(&web().local(32222), LOCAL);
}

#[test]
fn row_078_a_connection_to_the_health_check_node_port_says_nothing() {
    let got = web().local(32222).aws("healthcheck-protocol", "tcp").gets();
    let got = got.warning_of("healthcheck-protocol");
    assert_eq!(got.health_check(80), "TCP 32222 10s/6s/2/2");
}

#[test]
fn row_080_policy_local_probed_on_the_traffic_port() {
    let got = web()
        .local(32222)
        .aws("healthcheck-port", "traffic-port")
        .gets();
    let got = got.warning_of("healthcheck-port");
    assert_eq!(
        got.health_check(80),
        "HTTP traffic-port /healthz 200-399 10s/6s/2/2"
    );
}

#[test]
fn row_081_a_chosen_probe() {
    let asking = web()
        .aws("healthcheck-protocol", "HTTPS")
        .aws("healthcheck-path", "/ready")
        .aws("healthcheck-success-codes", "204");
    judged(&asking, "HTTPS traffic-port /ready 204 10s/10s/3/3");
    let asking = web().aws("healthcheck-protocol", "http");
    judged(&asking, "HTTP traffic-port / 200-399 10s/10s/3/3");
}

#[test]
fn row_082_a_protocol_that_there_is_not_is_refused() {
    web()
        .aws("healthcheck-protocol", "grpc")
        .is_refused_for("healthcheck-protocol");
}

#[test]
fn row_083_a_path_of_a_connection_is_told() {
    let got = web()
        .aws("healthcheck-protocol", "tcp")
        .aws("healthcheck-path", "/x")
        .gets()
        .warning_of("healthcheck-path");
    assert_eq!(got.health_check(80), "TCP traffic-port 10s/10s/3/3");
    web()
        .aws("healthcheck-success-codes", "200")
        .gets()
        .warning_of("healthcheck-success-codes");
}

#[test]
fn row_084_a_port_by_its_name_is_its_node_port_for_all() {
    let asking =
        service(&["h:80/TCP>30080", "admin:9000/TCP>30990"]).aws("healthcheck-port", "admin");
    judged(&asking, "TCP 30990 10s/10s/3/3");
    for wrong in ["admn", "0", "70000"] {
        web()
            .aws("healthcheck-port", wrong)
            .is_refused_for("healthcheck-port");
    }
}

#[test]
fn row_086_numbers_out_of_range_are_refused() {
    for (suffix, value) in [
        ("healthcheck-interval", "4"),
        ("healthcheck-interval", "10s"),
        ("healthcheck-interval", "301"),
        ("healthcheck-timeout", "1"),
        ("healthcheck-timeout", "121"),
        ("healthcheck-timeout", "11"),
        ("healthcheck-healthy-threshold", "1"),
        ("healthcheck-unhealthy-threshold", "11"),
    ] {
        web().aws(suffix, value).is_refused_for(suffix);
    }
    for (key, value) in [
        ("interval", "4"),
        ("timeout", "1s"),
        ("healthy-threshold", "1"),
    ] {
        let key = format!("evenkeel.dev/health-check-{key}");
        let field = format!("metadata.annotations[{key}]");
        web().annotated(&key, value).is_refused_at(&field);
    }
    for codes in ["199", "200-600", "299-200", "20x", "200,,202"] {
        web()
            .aws("healthcheck-protocol", "http")
            .aws("healthcheck-success-codes", codes)
            .is_refused_for("healthcheck-success-codes");
    }
}

#[test]
fn row_087_the_thresholds_may_differ() {
    let asking = web()
        .aws("healthcheck-healthy-threshold", "2")
        .aws("healthcheck-unhealthy-threshold", "5");
    judged(&asking, "TCP traffic-port 10s/10s/2/5");
}

#[test]
fn a_default_timeout_gives_way_to_a_short_interval() {
    judged(
        &web().aws("healthcheck-interval", "5"),
        "TCP traffic-port 5s/5s/3/3",
    );
}

#[test]
fn row_089_udp_is_judged_by_the_health_of_kube_proxy() {
    let got = service(&["u:5000/UDP>30500"]).gets().silently();
    assert_eq!(
        got.health_check(5000),
        "HTTP 10256 /healthz 200-399 10s/10s/3/3"
    );
    assert!(got.target_group(5000).probe_by_default);
    let got = service(&["u:5000/UDP>30500"])
        .aws("healthcheck-port", "traffic-port")
        .gets();
    got.warning_of("healthcheck-port");
}

#[test]
fn row_090_udp_with_policy_local_is_judged_by_the_health_check_node_port() {
    let got = service(&["u:5000/UDP>30500"])
        .local(32001)
        .gets()
        .silently();
    assert_eq!(
        got.health_check(5000),
        "HTTP 32001 /healthz 200-399 10s/6s/2/2"
    );
    assert!(!got.target_group(5000).probe_by_default);
}

#[test]
fn each_profile_judges_in_its_own_way() {
    let chosen = |key: &str, value: &str| {
        web()
            .profile(Profile::Neutral)
            .annotated(&format!("evenkeel.dev/health-check-{key}"), value)
    };
    for (asking, want) in [
        (web().profile(Profile::Ccm), "TCP traffic-port 30s/10s/3/3"),
        (
            web().profile(Profile::Ccm).local(32222),
            "HTTP 32222 /healthz 200-399 10s/6s/2/2",
        ),
        (
            web().profile(Profile::Neutral),
            "HTTP 10256 /healthz 200-399 10s/6s/2/2",
        ),
        (
            web().profile(Profile::Neutral).local(32222),
            "HTTP 32222 /healthz 200-399 5s/5s/2/2",
        ),
        (
            chosen("port", "traffic-port"),
            "TCP traffic-port 10s/6s/2/2",
        ),
        (chosen("protocol", "tcp"), "TCP traffic-port 10s/6s/2/2"),
        (
            chosen("protocol", "tcp").local(32222),
            "TCP traffic-port 5s/5s/2/2",
        ),
        (
            chosen("port", "31080"),
            "HTTP 31080 /healthz 200-399 10s/6s/2/2",
        ),
        (
            chosen("port", "31080").aws("healthcheck-port", "31090"),
            "HTTP 31080 /healthz 200-399 10s/6s/2/2",
        ),
        (
            chosen("interval", "1m"),
            "HTTP 10256 /healthz 200-399 60s/6s/2/2",
        ),
    ] {
        judged(&asking, want);
    }
    let by_default = |asking: Asking| asking.gets().target_group(80).probe_by_default;
    assert!(by_default(web().profile(Profile::Neutral)));
    assert!(by_default(chosen("interval", "1m")));
    assert!(!by_default(chosen("port", "10256")));
    assert!(!by_default(web()));
}

#[test]
fn what_kube_proxy_does_not_answer_is_told() {
    let neutral = |key: &str, value: &str| {
        web()
            .profile(Profile::Neutral)
            .annotated(&format!("evenkeel.dev/health-check-{key}"), value)
    };
    let got = neutral("path", "/ready")
        .gets()
        .warning_with("knows /healthz only");
    assert_eq!(got.health_check(80), "HTTP 10256 /ready 200-399 10s/6s/2/2");
    neutral("path", "/healthz").gets().silently();
    neutral("path", "/ready")
        .local(32222)
        .gets()
        .warning_with("knows /healthz only");
    let https = neutral("protocol", "https");
    judged(&https, "HTTPS traffic-port /healthz 200-399 10s/6s/2/2");
    https.local(32222).gets().warning_with("does not speak TLS");
}

#[test]
fn with_the_proxy_protocol_a_connection_has_to_do() {
    let proxied = |asking: Asking| {
        asking
            .profile(Profile::Neutral)
            .annotated("evenkeel.dev/proxy-protocol", "v2")
    };
    judged(&proxied(web()), "TCP traffic-port 10s/6s/2/2");
    judged(&proxied(web()).local(32222), "TCP traffic-port 5s/5s/2/2");
    judged(
        &proxied(service(&["u:5000/UDP>30500"])),
        "TCP 10256 10s/6s/2/2",
    );
    // As there: the probe stays what it was, with a word about it.
    let got = web().local(32222).aws("proxy-protocol", "*").gets();
    assert_eq!(
        got.warning_of("healthcheck-protocol").health_check(80),
        LOCAL
    );
}

#[test]
fn policy_local_without_a_health_check_node_port_is_refused() {
    web()
        .spec("externalTrafficPolicy", json!("Local"))
        .is_refused_at("spec.healthCheckNodePort");
}

fn two_ports() -> Asking {
    service(&["h:8080/TCP>30080", "t:8443/TCP>30443"])
}

const DRAIN: &str = "deregistration_delay.timeout_seconds";

#[test]
fn row_091_attributes_of_all_ports_and_of_one() {
    let got = two_ports()
        .aws("target-group-attributes", &format!("{DRAIN}=60"))
        .aws("target-group-attributes.8443", &format!("{DRAIN}=5"))
        .gets()
        .silently();
    assert_eq!(got.target_attributes(8080), [format!("{DRAIN}=60")]);
    assert_eq!(got.target_attributes(8443), [format!("{DRAIN}=5")]);
    let key = "target-group-attributes.9999";
    two_ports()
        .aws(key, &format!("{DRAIN}=5"))
        .gets()
        .warning_of(key);
}

#[test]
fn row_092_a_blank_attribute_of_one_port_leaves_that_of_all() {
    let got = two_ports()
        .aws("target-group-attributes", &format!("{DRAIN}=60"))
        .aws("target-group-attributes.8443", &format!("{DRAIN}="))
        .gets()
        .silently();
    assert_eq!(got.target_attributes(8443), [format!("{DRAIN}=60")]);
}

#[test]
fn attributes_are_checked_by_type() {
    for (written, near) in [
        (
            "deregistration_delay.timeout_seconds=3601",
            "The nearest is 3600.",
        ),
        (
            "deregistration_delay.timeout_second=60",
            "Did you mean deregistration_delay.timeout_seconds?",
        ),
        ("preserve_client_ip.enabled=maybe", "one of true, false"),
        ("stickiness.type=lb_cookie", "must be source_ip"),
        (
            "load_balancing.cross_zone.enabled=on",
            "use_load_balancer_configuration",
        ),
        (
            "target_health_state.unhealthy.draining_interval_seconds=60",
            "connection_termination",
        ),
        (
            "target_group_health.dns_failover.minimum_healthy_targets.percentage=101",
            "from 1 to 100, or off",
        ),
    ] {
        let told = two_ports()
            .aws("target-group-attributes", written)
            .is_refused_for("target-group-attributes");
        assert!(told.contains(near), "{told}");
    }
    let got = two_ports()
        .aws(
            "target-group-attributes",
            "preserve_client_ip.enabled=T,target_group_health.dns_failover.minimum_healthy_targets.count=off,\
             target_health_state.unhealthy.connection_termination.enabled=false,\
             target_health_state.unhealthy.draining_interval_seconds=60",
        )
        .gets()
        .silently();
    assert_eq!(
        got.target_attributes(8080)[0],
        "preserve_client_ip.enabled=true"
    );
}

const PROXY: &str = "proxy_protocol_v2.enabled";

#[test]
fn row_093_the_proxy_protocol_on_all_ports_wins_over_attributes() {
    let got = two_ports()
        .aws("proxy-protocol", "*")
        .aws("target-group-attributes", &format!("{PROXY}=false"))
        .gets()
        .warning_of("target-group-attributes");
    for port in [8080, 8443] {
        assert_eq!(got.target_attributes(port), [format!("{PROXY}=true")]);
    }
    two_ports()
        .aws("proxy-protocol", "on")
        .is_refused_for("proxy-protocol");
}

#[test]
fn row_094_the_proxy_protocol_on_some_ports_and_no_others() {
    let got = two_ports()
        .aws("proxy-protocol-per-target-group", "8080")
        .aws("target-group-attributes", &format!("{PROXY}=true"))
        .gets()
        .silently();
    assert_eq!(got.target_attributes(8080), [format!("{PROXY}=true")]);
    assert_eq!(got.target_attributes(8443), [format!("{PROXY}=false")]);
}

#[test]
fn row_095_the_proxy_protocol_on_ports_by_name() {
    let got = two_ports()
        .aws("proxy-protocol-per-target-group", "h")
        .gets()
        .silently();
    assert_eq!(got.target_attributes(8080), [format!("{PROXY}=true")]);
    two_ports()
        .aws("proxy-protocol-per-target-group", "x")
        .is_refused_for("proxy-protocol-per-target-group");
}

#[test]
fn the_neutral_proxy_protocol_wins_and_ccm_never_had_it() {
    let got = two_ports()
        .annotated("evenkeel.dev/proxy-protocol", "off")
        .aws("proxy-protocol", "*")
        .gets()
        .silently();
    assert_eq!(got.target_attributes(8080), [format!("{PROXY}=false")]);
    let got = two_ports()
        .profile(Profile::Ccm)
        .aws("proxy-protocol", "*")
        .gets();
    assert_eq!(
        got.warning_of("proxy-protocol").target_attributes(8080),
        [""; 0]
    );
}

#[test]
fn row_096_client_addresses_of_udp_cannot_be_hidden() {
    let key = "target-group-attributes";
    let hidden = "preserve_client_ip.enabled=false";
    let asking = || service(&["h:80/TCP>30080", "u:53/UDP>30053"]);
    asking().aws(key, hidden).is_refused_for(key);
    asking()
        .aws("target-group-attributes.53", hidden)
        .is_refused_for("target-group-attributes.53");
    let got = asking()
        .aws("target-group-attributes.80", hidden)
        .gets()
        .silently();
    assert_eq!(got.target_attributes(80), [hidden]);
}

#[test]
fn draining_ends_when_the_neutral_key_says_so() {
    let got = two_ports()
        .annotated("evenkeel.dev/drain", "30")
        .aws("target-group-attributes", &format!("{DRAIN}=60"))
        .gets()
        .silently();
    let want = [
        "deregistration_delay.connection_termination.enabled=true".to_owned(),
        format!("{DRAIN}=30"),
    ];
    assert_eq!(got.target_attributes(8080), want);
}

#[test]
fn row_099_affinity_is_stickiness_by_client_address() {
    let got = web()
        .spec("sessionAffinity", json!("ClientIP"))
        .gets()
        .silently();
    let want = ["stickiness.enabled=true", "stickiness.type=source_ip"];
    assert_eq!(got.target_attributes(80), want);
    let got = web()
        .spec("sessionAffinity", json!("ClientIP"))
        .aws("target-group-attributes", "stickiness.enabled=false")
        .gets()
        .silently();
    assert_eq!(got.target_attributes(80), ["stickiness.enabled=false"]);
    // A timeout that somebody chose is one that AWS does not have.
    let timeout = |seconds: u32| {
        web()
            .spec("sessionAffinity", json!("ClientIP"))
            .spec(
                "sessionAffinityConfig",
                json!({"clientIP": {"timeoutSeconds": seconds}}),
            )
            .gets()
    };
    timeout(10_800).silently();
    let got = timeout(60).warning_with("timeoutSeconds: 60");
    assert_eq!(got.target_attributes(80), want);
}

#[test]
fn row_100_tls_has_no_stickiness() {
    let got = service(&["s:443/TCP>30443"])
        .spec("sessionAffinity", json!("ClientIP"))
        .aws("ssl-cert", A)
        .gets()
        .warning_with("spec.sessionAffinity");
    assert_eq!(got.target_attributes(443), [""; 0]);
    service(&["s:443/TCP>30443"])
        .aws("ssl-cert", A)
        .aws("target-group-attributes", "stickiness.enabled=true")
        .is_refused_for("target-group-attributes");
}

fn attributes(asking: &Asking) -> Vec<String> {
    pairs(&asking.gets().silently().desired.load_balancer.attributes)
}

#[test]
fn row_101_the_older_key_of_cross_zone_wins() {
    let asking = plain()
        .aws("attributes", "load_balancing.cross_zone.enabled=false")
        .aws("cross-zone-load-balancing-enabled", "true");
    assert_eq!(
        attributes(&asking),
        ["load_balancing.cross_zone.enabled=true"]
    );
}

#[test]
fn row_102_an_access_log_can_be_switched_off() {
    let asking = plain()
        .aws("access-log-enabled", "false")
        .aws("access-log-s3-bucket-name", "logs");
    let got = asking.gets().warning_of("access-log-s3-bucket-name");
    let want = ["access_logs.s3.enabled=false"];
    assert_eq!(pairs(&got.desired.load_balancer.attributes), want);
    let on = || plain().aws("access-log-enabled", "true");
    on().is_refused_for("access-log-enabled");
    let asking = on()
        .aws("access-log-s3-bucket-name", "logs")
        .aws("access-log-s3-bucket-prefix", "shop");
    let want = [
        "access_logs.s3.bucket=logs",
        "access_logs.s3.enabled=true",
        "access_logs.s3.prefix=shop",
    ];
    assert_eq!(attributes(&asking), want);
}

#[test]
fn row_103_a_routing_policy_that_there_is_not_is_refused() {
    for wrong in [
        "dns_record.client_routing_policy=nearest",
        "load_balancing.cross_zone.enabled=ja",
        "deletion_protection=true",
        "secondary_ips.auto_assigned.per_subnet=8",
    ] {
        plain()
            .aws("attributes", wrong)
            .is_refused_for("attributes");
    }
}

#[test]
fn row_104_reserved_capacity_is_refused() {
    for capacity in ["CapacityUnits=0", "LCU=5"] {
        let key = "minimum-load-balancer-capacity";
        plain().aws(key, capacity).is_refused_for(key);
    }
}
