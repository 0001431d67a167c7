use super::*;

#[test]
fn a_protocol_is_read_as_kubernetes_writes_it() {
    for (text, want) in [
        (None, Some(Protocol::Tcp)),
        (Some("TCP"), Some(Protocol::Tcp)),
        (Some("UDP"), Some(Protocol::Udp)),
        (Some("SCTP"), Some(Protocol::Sctp)),
        (Some("tcp"), None),
        (Some(""), None),
        (Some("QUIC"), None),
    ] {
        assert_eq!(Protocol::parse(text), want, "{text:?}");
    }
    for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Sctp] {
        assert_eq!(Protocol::parse(Some(protocol.as_str())), Some(protocol));
        assert_eq!(
            serde_json::to_value(protocol).expect("it serialises"),
            protocol.as_str()
        );
    }
}

#[test]
fn tcp_and_udp_on_one_number_are_two_keys() {
    let key = |port, protocol| PortKey { port, protocol };
    let mut keys = [
        key(53, Protocol::Udp),
        key(443, Protocol::Tcp),
        key(53, Protocol::Tcp),
    ];
    keys.sort();
    assert_eq!(
        keys.map(|key| key.to_string()),
        ["53/TCP", "53/UDP", "443/TCP"]
    );
}
