use super::*;
use crate::digest::Digest;

fn port(name: Option<&str>, port: u16, node_port: u16) -> PortIntent {
    PortIntent {
        key: PortKey {
            port,
            protocol: Protocol::Tcp,
        },
        name: name.map(Arc::from),
        node_port: Some(node_port),
        target_port: TargetPort::Number(8080),
        app_protocol: None,
    }
}

#[test]
fn the_name_of_a_port_is_for_people_only() {
    let (named, renamed, unnamed) = (
        port(Some("b"), 80, 30080),
        port(Some("a"), 80, 30080),
        port(None, 80, 30080),
    );
    assert_eq!(named, renamed);
    assert_eq!(named, unnamed);
    assert_eq!(Digest::of(&named), Digest::of(&renamed));
    assert_eq!(named.cmp(&renamed), Ordering::Equal);

    for other in [port(Some("b"), 81, 30080), port(Some("b"), 80, 30081)] {
        assert_ne!(named, other);
        assert_ne!(Digest::of(&named), Digest::of(&other));
        assert!(named < other);
    }
}

#[test]
fn source_ranges_are_split_by_family() {
    let cidr = |text: &str| text.parse::<Cidr>().expect("a CIDR");
    let some = SourceRanges::Only(vec![cidr("10.0.0.0/8"), cidr("192.0.2.0/24")]);
    for (ranges, family, want) in [
        (&SourceRanges::All, IpFamily::V4, None),
        (
            &some,
            IpFamily::V4,
            Some(vec![cidr("10.0.0.0/8"), cidr("192.0.2.0/24")]),
        ),
        (&some, IpFamily::V6, Some(vec![])),
    ] {
        assert_eq!(ranges.of_family(family), want, "{ranges:?} {family}");
    }
}

#[test]
fn words_are_written_as_annotations_write_them() {
    let json = |value: serde_json::Result<serde_json::Value>| value.expect("it serialises");
    assert_eq!(
        json(serde_json::to_value(Scheme::InternetFacing)),
        "internet-facing"
    );
    assert_eq!(json(serde_json::to_value(Scheme::Internal)), "internal");
    assert_eq!(
        json(serde_json::to_value(HealthCheckProtocol::Https)),
        "https"
    );
    assert_eq!(json(serde_json::to_value(ReclaimPolicy::Retain)), "Retain");
}
