use evenkeel_core::intent::Scheme;

use super::attributes::*;
use crate::model::{ListenerProtocol, TargetProtocol, TargetType};

#[test]
fn aws_has_a_default_for_all_that_can_be_set_back() {
    let tcp = |key| target_group_default(key, TargetProtocol::Tcp, TargetType::Instance);
    for attribute in TARGET_GROUP {
        assert!(tcp(attribute.key).is_some(), "{}", attribute.key);
    }
    let lasting: Vec<_> = LOAD_BALANCER
        .iter()
        .map(|attribute| attribute.key)
        .filter(|key| load_balancer_default(key, Scheme::Internal).is_none())
        .collect();
    let want = [
        ACCESS_LOG_BUCKET,
        ACCESS_LOG_PREFIX,
        "secondary_ips.auto_assigned.per_subnet",
    ];
    assert_eq!(lasting, want);
    assert_eq!(listener_default(IDLE_TIMEOUT), Some("350"));
    assert_eq!(tcp("no.such.attribute"), None);
}

#[test]
fn some_defaults_follow_from_what_the_object_is() {
    for (key, protocol, target_type, want) in [
        (
            DRAIN_CLOSES,
            TargetProtocol::Tcp,
            TargetType::Instance,
            "false",
        ),
        (
            DRAIN_CLOSES,
            TargetProtocol::Udp,
            TargetType::Instance,
            "true",
        ),
        (
            DRAIN_CLOSES,
            TargetProtocol::TcpUdp,
            TargetType::Instance,
            "true",
        ),
        (
            PRESERVE_CLIENT_IP,
            TargetProtocol::Tls,
            TargetType::Instance,
            "true",
        ),
        (
            PRESERVE_CLIENT_IP,
            TargetProtocol::Tls,
            TargetType::Ip,
            "false",
        ),
        (
            PRESERVE_CLIENT_IP,
            TargetProtocol::Udp,
            TargetType::Ip,
            "true",
        ),
    ] {
        let found = target_group_default(key, protocol, target_type);
        assert_eq!(found, Some(want), "{key} of {protocol} {target_type:?}");
    }
    for (scheme, want) in [
        (Scheme::Internal, "true"),
        (Scheme::InternetFacing, "false"),
    ] {
        assert_eq!(
            load_balancer_default(DENY_INTERNET_GATEWAY, scheme),
            Some(want)
        );
    }
}

#[test]
fn all_that_an_object_has_is_what_aws_describes() {
    // What DescribeTargetGroupAttributes and its likes answer of a new object.
    let keys = |protocol, target_type| -> Vec<&str> {
        target_group_attributes(protocol, target_type)
            .map(|(key, _)| key)
            .collect()
    };
    let tcp = keys(TargetProtocol::Tcp, TargetType::Instance);
    assert_eq!(tcp.len(), 13, "{tcp:?}");
    assert!(tcp.contains(&UNHEALTHY_CLOSES) && tcp.contains(&UNHEALTHY_DRAIN));
    for protocol in [TargetProtocol::Udp, TargetProtocol::TcpUdp] {
        let all = keys(protocol, TargetType::Ip);
        assert_eq!(all.len(), 11, "{all:?}");
        for key in [UNHEALTHY_CLOSES, UNHEALTHY_DRAIN] {
            assert!(!all.contains(&key), "{key} is of connections");
            assert_eq!(target_group_default(key, protocol, TargetType::Ip), None);
        }
    }
    let of: Vec<_> = load_balancer_attributes(Scheme::Internal).collect();
    assert_eq!(of.len(), LOAD_BALANCER.len());
    for some in [
        (ACCESS_LOG_BUCKET, ""),
        (ACCESS_LOG_PREFIX, ""),
        (SECONDARY_ADDRESSES, "0"),
        (DENY_INTERNET_GATEWAY, "true"),
    ] {
        assert!(of.contains(&some), "{some:?} is not in {of:?}");
    }
    for (protocol, want) in [(ListenerProtocol::Tcp, 1), (ListenerProtocol::Tls, 0)] {
        assert_eq!(listener_attributes(protocol).count(), want, "{protocol:?}");
    }
}
