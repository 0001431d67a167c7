use std::net::IpAddr;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    digest::Digest,
    ids::ProviderName,
    intent::{
        HealthCheckOptions, HealthCheckPort, HealthCheckProtocol, Options, ReclaimPolicy, Scheme,
        SourceRanges,
    },
};

/// A valid Service with one port; `patch` is merged into it, null removes.
fn service(patch: Value) -> Service {
    let mut service = json!({
        "metadata": {"namespace": "shop", "name": "checkout", "uid": "5e7f"},
        "spec": {
            "type": "LoadBalancer",
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": 8443, "nodePort": 31443}],
            "clusterIPs": ["10.96.0.1"],
            "ipFamilies": ["IPv4"],
            "externalTrafficPolicy": "Cluster",
            "sessionAffinity": "None",
        },
    });
    merge(&mut service, patch);
    serde_json::from_value(service).expect("a Service")
}

fn merge(into: &mut Value, patch: Value) {
    match (into, patch) {
        (Value::Object(into), Value::Object(patch)) => {
            for (key, value) in patch {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, patch) => *into = patch,
    }
}

fn rule() -> ClassRule {
    ClassRule::neutral(ProviderName::from("local"))
}

fn reading(patch: Value) -> Reading {
    let text = patch.to_string();
    read(&service(patch), &rule()).unwrap_or_else(|problems| panic!("{text}: {problems}"))
}

fn intent(patch: Value) -> Intent {
    reading(patch).intent
}

fn spec(field: &str, value: Value) -> Value {
    json!({"spec": {field: value}})
}

fn annotated(annotations: &[(&str, &str)]) -> Value {
    let annotations: BTreeMap<_, _> = annotations.iter().copied().collect();
    json!({"metadata": {"annotations": annotations}})
}

/// The fields that problems name, in order.
fn fields(patch: Value) -> Vec<String> {
    let text = patch.to_string();
    let problems = read(&service(patch), &rule()).expect_err(&text);
    problems
        .iter()
        .map(|problem| problem.field.clone())
        .collect()
}

fn port(number: u16, protocol: Protocol, node_port: Option<u16>) -> PortIntent {
    let key = PortKey {
        port: number,
        protocol,
    };
    PortIntent {
        key,
        name: None,
        node_port,
        target_port: TargetPort::Number(number),
        app_protocol: None,
    }
}

fn ranges(cidrs: &[&str]) -> SourceRanges {
    SourceRanges::Only(
        cidrs
            .iter()
            .map(|cidr| cidr.parse().expect("a CIDR"))
            .collect(),
    )
}

fn no_change(what: &str, patch: Value) {
    let (before, after) = (intent(json!({})), intent(patch));
    assert_eq!(before, after, "{what}");
    assert_eq!(Digest::of(&before), Digest::of(&after), "{what}");
}

#[test]
fn a_plain_service_asks_for_the_defaults() {
    let reading = reading(json!({}));
    assert_eq!(reading.warnings, []);
    assert_eq!(reading.port_errors, []);
    let want = Intent {
        service: ServiceRef {
            key: ServiceKey::new("shop", "checkout"),
            uid: ServiceUid::from("5e7f"),
        },
        profile: crate::claim::Profile::Neutral,
        ports: vec![PortIntent {
            target_port: TargetPort::Number(8443),
            app_protocol: None,
            ..port(443, Protocol::Tcp, Some(31443))
        }],
        families: vec![IpFamily::V4],
        traffic_policy: TrafficPolicy::Cluster,
        affinity: Affinity::None,
        source_ranges: SourceRanges::All,
        allocate_node_ports: true,
        options: Options::default(),
        annotations: BTreeMap::new(),
    };
    assert_eq!(reading.intent, want);
    assert_eq!(reading.intent.ports[0].name.as_deref(), Some("https"));
    let unnamed = intent(spec("ports", json!([{"name": "", "port": 443}])));
    assert_eq!(unnamed.ports[0].name, None);
}

#[test]
fn the_profile_is_the_class_rule_s() {
    let rule = ClassRule {
        provider: ProviderName::from("aws"),
        profile: crate::claim::Profile::Lbc,
    };
    let reading = read(&service(json!({})), &rule).expect("it is valid");
    assert_eq!(reading.intent.profile, crate::claim::Profile::Lbc);
}

#[test]
fn what_is_spoken_on_a_port_is_kept_for_health_checks() {
    for (word, kept) in [("https", Some("https")), (" ", None)] {
        let port = json!({"port": 443, "protocol": "TCP", "nodePort": 31443, "appProtocol": word});
        let reading = read(
            &service(spec("ports", json!([port]))),
            &ClassRule::neutral("local".into()),
        );
        let intent = reading.expect("it is valid").intent;
        assert_eq!(intent.ports[0].app_protocol.as_deref(), kept);
    }
}

#[test]
fn fields_that_say_nothing_to_a_load_balancer_change_nothing() {
    let ports = |patch: Value| {
        let mut port = json!({"name": "https", "port": 443, "protocol": "TCP", "targetPort": 8443, "nodePort": 31443});
        merge(&mut port, patch);
        spec("ports", json!([port]))
    };
    no_change("renamed port", ports(json!({"name": "web"})));
    no_change("unnamed port", ports(json!({"name": null})));
    no_change("protocol by default", ports(json!({"protocol": null})));
    no_change("selector", spec("selector", json!({"app": "checkout"})));
    no_change(
        "internalTrafficPolicy",
        spec("internalTrafficPolicy", json!("Local")),
    );
    no_change(
        "trafficDistribution",
        spec("trafficDistribution", json!("PreferClose")),
    );
    no_change(
        "publishNotReadyAddresses",
        spec("publishNotReadyAddresses", json!(true)),
    );
    no_change(
        "ipFamilyPolicy",
        spec("ipFamilyPolicy", json!("PreferDualStack")),
    );
    no_change(
        "allocate, said aloud",
        spec("allocateLoadBalancerNodePorts", json!(true)),
    );
    no_change("labels", json!({"metadata": {"labels": {"team": "shop"}}}));
    no_change("last applied", annotated(&[(key::LAST_APPLIED, "{}")]));
    no_change(
        "blank annotations",
        annotated(&[(key::SCHEME, ""), (key::SOURCE_RANGES, "  ")]),
    );
    no_change(
        "health check node port under Cluster",
        spec("healthCheckNodePort", json!(32000)),
    );
}

#[test]
fn ports_are_keyed_by_number_and_protocol_and_sorted() {
    let listed = json!([
        {"name": "dns", "port": 53, "protocol": "UDP", "nodePort": 30053},
        {"name": "dns-tcp", "port": 53, "protocol": "TCP", "nodePort": 30053},
        {"name": "admin", "port": 8, "nodePort": 0},
    ]);
    let want = vec![
        port(8, Protocol::Tcp, None),
        port(53, Protocol::Tcp, Some(30053)),
        port(53, Protocol::Udp, Some(30053)),
    ];
    assert_eq!(intent(spec("ports", listed)).ports, want);
}

#[test]
fn a_missing_node_port_is_for_the_provider_to_judge() {
    let intent =
        intent(json!({"spec": {"allocateLoadBalancerNodePorts": false, "ports": [{"port": 80}]}}));
    assert!(!intent.allocate_node_ports);
    assert_eq!(intent.ports, [port(80, Protocol::Tcp, None)]);
}

#[test]
fn sctp_is_an_error_of_its_port_while_others_are_served() {
    let listed = json!([{"name": "s", "port": 9, "protocol": "SCTP"}, {"name": "t", "port": 8, "protocol": "TCP"}]);
    let reading = reading(spec("ports", listed));
    assert_eq!(reading.intent.ports, [port(8, Protocol::Tcp, None)]);
    let [error] = &reading.port_errors[..] else {
        panic!("{:?}", reading.port_errors);
    };
    assert_eq!(
        error.port,
        PortKey {
            port: 9,
            protocol: Protocol::Sctp
        }
    );
    assert_eq!(error.service, reading.intent.service);
    assert_eq!(error.reason, "ProtocolNotSupported");
    assert!(error.message.contains("Use TCP or UDP"), "{error}");
}

#[test]
fn sctp_alone_is_rejected_by_every_port() {
    let listed = json!([{"name": "a", "port": 9, "protocol": "SCTP"}, {"name": "b", "port": 8, "protocol": "SCTP"}]);
    let problems = read(&service(spec("ports", listed)), &rule()).expect_err("nothing is left");
    let fields: Vec<_> = problems.iter().map(|problem| &problem.field[..]).collect();
    assert_eq!(fields, ["spec.ports[1].protocol", "spec.ports[0].protocol"]);
    assert_eq!(problems.reason(), "ProtocolNotSupported");
}

#[test]
fn the_traffic_policy_carries_its_health_check_port() {
    let local = |port: Value| json!({"spec": {"externalTrafficPolicy": "Local", "healthCheckNodePort": port}});
    let with = |port| TrafficPolicy::Local {
        health_check_node_port: port,
    };
    for (patch, want) in [
        (local(json!(32000)), with(Some(32000))),
        (local(json!(0)), with(None)),
        (local(Value::Null), with(None)),
        (
            spec("externalTrafficPolicy", json!("")),
            TrafficPolicy::Cluster,
        ),
        (
            spec("externalTrafficPolicy", Value::Null),
            TrafficPolicy::Cluster,
        ),
    ] {
        assert_eq!(intent(patch.clone()).traffic_policy, want, "{patch}");
    }
}

#[test]
fn affinity_has_the_api_server_s_timeout_by_default() {
    let client_ip = |config: Value| json!({"spec": {"sessionAffinity": "ClientIP", "sessionAffinityConfig": config}});
    for (patch, want) in [
        (
            client_ip(json!({"clientIP": {"timeoutSeconds": 60}})),
            Some(60),
        ),
        (
            client_ip(json!({"clientIP": {"timeoutSeconds": 86400}})),
            Some(86_400),
        ),
        (client_ip(json!({"clientIP": {}})), Some(10_800)),
        (client_ip(json!({})), Some(10_800)),
        (client_ip(Value::Null), Some(10_800)),
        (spec("sessionAffinity", Value::Null), None),
        (spec("sessionAffinity", json!("")), None),
    ] {
        let want = want.map_or(Affinity::None, |timeout_seconds| Affinity::ClientIp {
            timeout_seconds,
        });
        assert_eq!(intent(patch.clone()).affinity, want, "{patch}");
    }
}

#[test]
fn families_come_from_the_list_else_from_the_cluster_addresses() {
    let old = |addresses: Value, address: Value| json!({"spec": {"ipFamilies": null, "clusterIPs": addresses, "clusterIP": address}});
    use IpFamily::{V4, V6};
    for (patch, want) in [
        (spec("ipFamilies", json!(["IPv6"])), vec![V6]),
        (spec("ipFamilies", json!(["IPv6", "IPv4"])), vec![V6, V4]),
        (
            spec("ipFamilies", json!(["IPv4", "IPv6", "IPv4"])),
            vec![V4, V6],
        ),
        (spec("ipFamilies", json!([])), vec![V4]),
        (
            old(json!(["fd00::1", "10.96.0.1"]), json!("fd00::1")),
            vec![V6, V4],
        ),
        (old(Value::Null, json!("fd00::1")), vec![V6]),
        (old(json!([]), json!("")), vec![V4]),
        (old(json!(["None"]), json!("None")), vec![V4]),
        (old(Value::Null, Value::Null), vec![V4]),
    ] {
        assert_eq!(intent(patch.clone()).families, want, "{patch}");
    }
}

#[test]
fn source_ranges_come_from_one_place_only() {
    let annotations = |ours: &str, upstream: &str| {
        annotated(&[
            (key::SOURCE_RANGES, ours),
            (key::UPSTREAM_SOURCE_RANGES, upstream),
        ])
    };
    let with_field = |mut patch: Value, field: Value| {
        merge(&mut patch, spec("loadBalancerSourceRanges", field));
        patch
    };
    let field = json!(["10.0.0.0/8"]);
    for (what, patch, want) in [
        (
            "the field wins over all",
            with_field(annotations("11.0.0.0/8", "12.0.0.0/8"), field),
            ranges(&["10.0.0.0/8"]),
        ),
        (
            "an empty field is none",
            with_field(annotations("11.0.0.0/8", "12.0.0.0/8"), json!([])),
            ranges(&["11.0.0.0/8"]),
        ),
        (
            "ours wins over upstream's",
            annotations("11.0.0.0/8", "12.0.0.0/8"),
            ranges(&["11.0.0.0/8"]),
        ),
        (
            "a blank annotation is none",
            annotations(" ", "12.0.0.0/8"),
            ranges(&["12.0.0.0/8"]),
        ),
        ("both blank", annotations(" ", " "), SourceRanges::All),
    ] {
        assert_eq!(intent(patch).source_ranges, want, "{what}");
    }
}

#[test]
fn source_ranges_are_canonical() {
    let both = json!(["IPv4", "IPv6"]);
    for (families, listed, want) in [
        (
            json!(["IPv4"]),
            &[" 10.1.2.3/8 ", "10.0.0.0/8"][..],
            ranges(&["10.0.0.0/8"]),
        ),
        (
            json!(["IPv4"]),
            &["192.0.2.0/24", "10.0.0.0/8"],
            ranges(&["10.0.0.0/8", "192.0.2.0/24"]),
        ),
        (
            json!(["IPv4"]),
            &["0.0.0.0/0", "10.0.0.0/8"],
            SourceRanges::All,
        ),
        (
            json!(["IPv4"]),
            &["0.0.0.0/0", "2001:db8::/32"],
            SourceRanges::All,
        ),
        (
            json!(["IPv4"]),
            &["255.0.0.0/32"],
            ranges(&["255.0.0.0/32"]),
        ),
        (json!(["IPv6"]), &["0.0.0.0/0"], ranges(&["0.0.0.0/0"])),
        (both.clone(), &["0.0.0.0/0", "::/0"], SourceRanges::All),
        (
            both.clone(),
            &["0.0.0.0/0", "10.0.0.0/8"],
            ranges(&["0.0.0.0/0"]),
        ),
        (
            both,
            &["2001:DB8::1/32", "0.0.0.0/0"],
            ranges(&["0.0.0.0/0", "2001:db8::/32"]),
        ),
    ] {
        let patch = json!({"spec": {"ipFamilies": families, "loadBalancerSourceRanges": listed}});
        assert_eq!(intent(patch.clone()).source_ranges, want, "{patch}");
    }
}

#[test]
fn a_family_that_ranges_leave_out_is_closed_and_told() {
    for (families, listed, told) in [
        (json!(["IPv4"]), json!(["10.0.0.0/8"]), &[][..]),
        (
            json!(["IPv4"]),
            json!(["10.0.0.0/8", "2001:db8::/32"]),
            &["2001:db8::/32 are of a family"],
        ),
        (
            json!(["IPv4"]),
            json!(["2001:db8::/32"]),
            &["2001:db8::/32 are of a family", "no IPv4 range"],
        ),
        (
            json!(["IPv6", "IPv4"]),
            json!(["10.0.0.0/8"]),
            &["no IPv6 range"],
        ),
        (json!(["IPv4"]), json!(["0.0.0.0/0"]), &[]),
    ] {
        let reading =
            reading(json!({"spec": {"ipFamilies": families, "loadBalancerSourceRanges": listed}}));
        assert_eq!(
            reading.warnings.len(),
            told.len(),
            "{families} {listed}: {:?}",
            reading.warnings
        );
        for (warning, part) in reading.warnings.iter().zip(told) {
            assert!(warning.message.contains(part), "{warning} lacks {part:?}");
        }
    }
    let closed = intent(spec("loadBalancerSourceRanges", json!(["2001:db8::/32"]))).source_ranges;
    assert_eq!(
        closed.of_family(IpFamily::V4),
        Some(vec![]),
        "never open to all because nothing fits"
    );
}

#[test]
fn the_address_is_the_annotation_s_else_the_field_s() {
    let field = |address: &str| spec("loadBalancerIP", json!(address));
    let with = |address: &str, annotation: &str| {
        let mut patch = annotated(&[(key::STATIC_ADDRESS, annotation)]);
        merge(&mut patch, field(address));
        patch
    };
    for (patch, addresses, names) in [
        (field(""), &[][..], &[][..]),
        (field(" 192.0.2.10 "), &["192.0.2.10"], &[]),
        (with("192.0.2.10", "192.0.2.20"), &["192.0.2.20"], &[]),
        (with("192.0.2.10", " "), &["192.0.2.10"], &[]),
        (
            with("banana", "eipalloc-1, eipalloc-2"),
            &[],
            &["eipalloc-1", "eipalloc-2"],
        ),
    ] {
        let options = intent(patch.clone()).options;
        let of_field = addresses == ["192.0.2.10"];
        assert_eq!(options.address_of_field, of_field, "{patch}");
        let addresses: Vec<IpAddr> = addresses
            .iter()
            .map(|ip| ip.parse().expect("an address"))
            .collect();
        let names: Vec<Arc<str>> = names.iter().map(|&name| name.into()).collect();
        assert_eq!(
            (options.addresses, options.address_names),
            (addresses, names),
            "{patch}"
        );
    }
}

#[test]
fn every_neutral_annotation_lands_in_its_option() {
    let options = intent(annotated(&[
        (key::SCHEME, "Internal"),
        (key::HEALTH_CHECK_PROTOCOL, "HTTP"),
        (key::HEALTH_CHECK_PORT, "traffic-port"),
        (key::HEALTH_CHECK_PATH, "/ready"),
        (key::HEALTH_CHECK_INTERVAL, "1m"),
        (key::HEALTH_CHECK_TIMEOUT, "2s"),
        (key::HEALTH_CHECK_HEALTHY_THRESHOLD, "3"),
        (key::HEALTH_CHECK_UNHEALTHY_THRESHOLD, "4"),
        (key::PROXY_PROTOCOL, "v2"),
        (key::IDLE_TIMEOUT, " 350 "),
        (key::DRAIN, "0"),
        (key::GROUP, "edge"),
        (key::RECLAIM_POLICY, "Retain"),
        (key::TAGS, "team=shop, stage=test"),
        (key::APPROVE, "3F9A0C21D4"),
        (key::PAUSED, "True"),
    ]))
    .options;
    let want = Options {
        scheme: Some(Scheme::Internal),
        addresses: vec![],
        address_of_field: false,
        address_names: vec![],
        health_check: HealthCheckOptions {
            protocol: Some(HealthCheckProtocol::Http),
            port: Some(HealthCheckPort::Traffic),
            path: Some("/ready".into()),
            interval_seconds: Some(60),
            timeout_seconds: Some(2),
            healthy_threshold: Some(3),
            unhealthy_threshold: Some(4),
        },
        proxy_protocol: Some(true),
        idle_timeout_seconds: Some(350),
        drain_seconds: Some(0),
        group: Some("edge".into()),
        reclaim_policy: ReclaimPolicy::Retain,
        tags: [("team", "shop"), ("stage", "test")]
            .map(|(k, v)| (k.into(), v.into()))
            .into(),
        approve: Some("3f9a0c21d4".into()),
        paused: true,
    };
    assert_eq!(options, want);
}

#[test]
fn every_word_of_the_table_has_a_meaning() {
    for doc in annotation::reference() {
        let annotation::Grammar::Word(words) = doc.grammar else {
            continue;
        };
        let mut seen = Vec::new();
        for word in words {
            let options = intent(annotated(&[(doc.key, word)])).options;
            assert!(
                !seen.contains(&options),
                "{}: {word} means what another word means",
                doc.key
            );
            seen.push(options);
        }
    }
}

#[test]
fn every_key_of_the_table_is_read() {
    // An illegal character for every grammar.
    for doc in annotation::reference() {
        let fields = fields(annotated(&[(doc.key, "\u{7f}\u{7f}")]));
        assert_eq!(fields, [annotation::field(doc.key)], "{}", doc.key);
    }
}

#[test]
fn annotations_of_others_are_handed_on_raw() {
    let intent = intent(annotated(&[
        ("service.beta.kubernetes.io/aws-load-balancer-type", " nlb "),
        (key::SCHEME, "internal"),
        (key::LAST_APPLIED, "{\"a\":1}"),
    ]));
    let want = [("service.beta.kubernetes.io/aws-load-balancer-type", " nlb ")];
    let want: BTreeMap<Arc<str>, Arc<str>> = want.map(|(k, v)| (k.into(), v.into())).into();
    assert_eq!(intent.annotations, want);
}

#[test]
fn what_has_no_effect_is_told() {
    let proxy =
        json!({"metadata": {"labels": {"service.kubernetes.io/service-proxy-name": "cilium"}}});
    for (patch, part) in [
        (proxy, "kube-proxy skip"),
        (
            spec("externalIPs", json!(["192.0.2.9"])),
            "192.0.2.9 bypass",
        ),
        (
            annotated(&[("evenkeel.dev/schem", "internal")]),
            "Did you mean evenkeel.dev/scheme?",
        ),
    ] {
        let warnings = reading(patch.clone()).warnings;
        assert_eq!(warnings.len(), 1, "{patch}: {warnings:?}");
        assert!(
            warnings[0].message.contains(part),
            "{} lacks {part:?}",
            warnings[0]
        );
    }
    assert_eq!(reading(spec("externalIPs", json!([]))).warnings, []);
}

#[test]
fn bad_values_are_problems_of_their_field() {
    for (patch, want) in [
        (spec("ports", json!([])), "spec.ports"),
        (spec("ports", json!([{"port": 0}])), "spec.ports[0].port"),
        (
            spec("ports", json!([{"port": 80}, {"port": 65536}])),
            "spec.ports[1].port",
        ),
        (spec("ports", json!([{"port": -1}])), "spec.ports[0].port"),
        (
            spec("ports", json!([{"port": 80, "protocol": "tcp"}])),
            "spec.ports[0].protocol",
        ),
        (
            spec("ports", json!([{"port": 80, "nodePort": 70000}])),
            "spec.ports[0].nodePort",
        ),
        (
            spec("ports", json!([{"port": 80}, {"port": 80}])),
            "spec.ports[1]",
        ),
        (
            spec(
                "ports",
                json!([{"port": 8}, {"port": 9, "protocol": "SCTP"}, {"port": 9, "protocol": "SCTP"}]),
            ),
            "spec.ports[2]",
        ),
        (
            spec("externalTrafficPolicy", json!("local")),
            "spec.externalTrafficPolicy",
        ),
        (
            spec("sessionAffinity", json!("Cookie")),
            "spec.sessionAffinity",
        ),
        (
            json!({"spec": {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 86401}}}}),
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
        ),
        (
            json!({"spec": {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": -1}}}}),
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
        ),
        (
            spec("ipFamilies", json!(["IPv4", "IPv5"])),
            "spec.ipFamilies[1]",
        ),
        (
            json!({"spec": {"externalTrafficPolicy": "Local", "healthCheckNodePort": 99999}}),
            "spec.healthCheckNodePort",
        ),
        (
            spec("loadBalancerIP", json!("banana")),
            "spec.loadBalancerIP",
        ),
        (
            spec("loadBalancerIP", json!("010.0.0.1")),
            "spec.loadBalancerIP",
        ),
        (
            spec("loadBalancerIP", json!("2001:db8::1")),
            "spec.loadBalancerIP",
        ),
        (
            annotated(&[(key::STATIC_ADDRESS, "2001:db8::1")]),
            "metadata.annotations[evenkeel.dev/static-address]",
        ),
        (
            spec(
                "loadBalancerSourceRanges",
                json!(["10.0.0.0/8", "10.0.0.1"]),
            ),
            "spec.loadBalancerSourceRanges[1]",
        ),
        (
            spec("loadBalancerSourceRanges", json!([""])),
            "spec.loadBalancerSourceRanges[0]",
        ),
        (
            annotated(&[(key::UPSTREAM_SOURCE_RANGES, "10.0.0.0/33")]),
            "metadata.annotations[service.beta.kubernetes.io/load-balancer-source-ranges]",
        ),
        (json!({"metadata": {"name": null}}), "metadata.name"),
        (json!({"metadata": {"uid": ""}}), "metadata.uid"),
    ] {
        let text = patch.to_string();
        assert_eq!(fields(patch), [want], "{text}");
    }
}

#[test]
fn all_problems_come_at_once_and_say_what_to_do() {
    let patch = json!({
        "metadata": {"annotations": {"evenkeel.dev/scheme": "interal", "evenkeel.dev/drain": "soon"}},
        "spec": {
            "ports": [{"port": 80, "nodePort": -5}],
            "loadBalancerIP": "banana",
            "loadBalancerSourceRanges": ["10.0.0.1", "nonsense"],
        },
    });
    let problems = read(&service(patch), &rule()).expect_err("it is broken");
    let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
    let want = [
        r#"spec.ports[0].nodePort: "-5" must be from 1 to 65535. Remove it: the API server allocates one."#,
        r#"spec.loadBalancerSourceRanges[0]: "10.0.0.1" must be a CIDR. Write a single address as 10.0.0.1/32."#,
        r#"spec.loadBalancerSourceRanges[1]: "nonsense" must be a CIDR. Write it as address/length, such as 10.0.0.0/8."#,
        r#"spec.loadBalancerIP: "banana" must be an IP address. Write it as 192.0.2.10 or 2001:db8::10, or remove the field for any free address."#,
        r#"metadata.annotations[evenkeel.dev/scheme]: "interal" must be one of internal, internet-facing. Did you mean "internal"?"#,
        r#"metadata.annotations[evenkeel.dev/drain]: "soon" must be a time from 0 to 3600 seconds, written as 30, 30s, 5m or 1h. Write whole seconds, such as 30."#,
    ];
    assert_eq!(lines, want);
}

#[test]
fn an_empty_service_is_problems_and_no_panic() {
    let problems = read(&Service::default(), &rule()).expect_err("nothing is there");
    assert!(
        problems.iter().any(|problem| problem.field == "spec.ports"),
        "{problems}"
    );
}

proptest! {
    #[test]
    fn the_order_of_ports_does_not_matter(
        ports in proptest::collection::btree_map((1_u16.., prop_oneof![Just("TCP"), Just("UDP"), Just("SCTP")]), 0_u16.., 1..8)
            .prop_map(|ports| ports.into_iter().collect::<Vec<_>>())
            .prop_flat_map(|ports| (Just(ports.clone()), Just(ports).prop_shuffle())),
    ) {
        let read_ports = |ports: &[((u16, &str), u16)]| {
            let listed: Vec<_> = ports
                .iter()
                .map(|((port, protocol), node)| json!({"port": port, "protocol": protocol, "nodePort": node}))
                .collect();
            read(&service(spec("ports", json!(listed))), &rule())
        };
        let (a, b) = (read_ports(&ports.0), read_ports(&ports.1));
        // Problems name the place in the list, so only their number can be the same.
        prop_assert_eq!(a.as_ref().ok(), b.as_ref().ok());
        let digest = |reading: Reading| Digest::of(&reading.intent);
        prop_assert_eq!(a.map(digest).map_err(|p| p.iter().count()), b.map(digest).map_err(|p| p.iter().count()));
    }

    #[test]
    fn the_order_of_source_ranges_does_not_matter(
        ranges in proptest::collection::vec((any::<IpAddr>(), 0_u8..=32), 1..8)
            .prop_flat_map(|ranges| (Just(ranges.clone()), Just(ranges).prop_shuffle())),
        families in prop_oneof![Just(json!(["IPv4"])), Just(json!(["IPv6", "IPv4"]))],
    ) {
        let read_ranges = |ranges: &[(IpAddr, u8)]| {
            let listed: Vec<_> = ranges.iter().map(|(address, length)| format!("{address}/{length}")).collect();
            intent(json!({"spec": {"loadBalancerSourceRanges": listed, "ipFamilies": families}}))
        };
        prop_assert_eq!(read_ranges(&ranges.0), read_ranges(&ranges.1));
    }

    #[test]
    fn whatever_stands_in_an_annotation_is_read_or_refused(
        index in 0..NEUTRAL.keys.len(),
        text in prop_oneof![any::<String>(), "[-0-9a-f.:/,=smh ]{0,40}"],
    ) {
        let key = NEUTRAL.keys[index].key;
        match read(&service(annotated(&[(key, &text)])), &rule()) {
            Ok(_) => {}
            Err(problems) => for problem in problems.iter() {
                prop_assert_eq!(&problem.field, &annotation::field(key));
                prop_assert!(!problem.advice.is_empty());
            },
        }
    }

    #[test]
    fn whatever_stands_in_the_fields_is_read_or_refused(
        address in any::<String>(),
        range in any::<String>(),
        policy in any::<String>(),
        affinity in any::<String>(),
        family in any::<String>(),
        protocol in any::<String>(),
        numbers in any::<(i32, i32, i32)>(),
    ) {
        let service = service(json!({"spec": {
            "loadBalancerIP": address,
            "loadBalancerSourceRanges": [range],
            "externalTrafficPolicy": policy,
            "sessionAffinity": affinity,
            "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": numbers.0}},
            "ipFamilies": [family],
            "ports": [{"port": numbers.1, "nodePort": numbers.2, "protocol": protocol}],
        }}));
        if let Err(problems) = read(&service, &rule()) {
            prop_assert!(problems.iter().all(|problem| !problem.advice.is_empty()));
        }
    }
}

#[test]
fn where_pods_listen() {
    for (name, target, want) in [
        ("absent", json!(null), TargetPort::Number(80)),
        ("unset", json!(0), TargetPort::Number(80)),
        ("a number", json!(8080), TargetPort::Number(8080)),
        ("a number as text", json!("8080"), TargetPort::Number(8080)),
        ("a name", json!("http"), TargetPort::Name("http".into())),
    ] {
        let ports =
            json!({"spec": {"ports": [{"port": 80, "nodePort": 30080, "targetPort": target}]}});
        assert_eq!(intent(ports).ports[0].target_port, want, "{name}");
    }
    let ports = json!({"spec": {"ports": [{"port": 80, "nodePort": 30080, "targetPort": 70000}]}});
    assert_eq!(fields(ports), ["spec.ports[0].targetPort"]);
}
