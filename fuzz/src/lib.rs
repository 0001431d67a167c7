//! What each fuzz target does with its input: the same code runs over the committed corpus in
//! `cargo test -p evenkeel-local --test fuzz_corpus`. Each function panics when a promise is broken.

use std::net::{IpAddr, SocketAddr};

use evenkeel_local::dataplane::fuzzing;
use ppp::v2::{Addresses, Command, Header, Protocol, Version};

/// Requests to the API on the socket. Returns how many were accepted.
pub fn api(bytes: &[u8]) -> usize {
    fuzzing::api(bytes)
}

/// A state file. Returns how many load.
pub fn state(bytes: &[u8]) -> usize {
    fuzzing::state(bytes).into()
}

/// Addresses in a PROXY protocol header, read back with a decoder that others wrote.
///
/// The first byte says of which families the two are; the next ones are the addresses and ports. Returns how many were
/// read.
pub fn proxy_header(bytes: &[u8]) -> usize {
    let (families, rest) = bytes.split_first().unwrap_or((&0, &[]));
    let byte = |index: usize| rest.get(index).copied().unwrap_or_default();
    let address = |start: usize, six: bool| {
        let port = u16::from_be_bytes([byte(start + 16), byte(start + 17)]);
        let ip: IpAddr = if six {
            std::array::from_fn::<u8, 16, _>(|index| byte(start + index)).into()
        } else {
            std::array::from_fn::<u8, 4, _>(|index| byte(start + index)).into()
        };
        SocketAddr::new(ip, port)
    };
    let (client, local) = (
        address(0, families & 1 != 0),
        address(18, families & 2 != 0),
    );

    let encoded = fuzzing::proxy_header(client, local);
    // What follows the header is the client's.
    let with_payload = [&encoded, b"hello".as_slice()].concat();
    let header = Header::try_from(with_payload.as_slice()).expect("a header");
    assert_eq!(
        (header.version, header.command, header.protocol),
        (Version::Two, Command::Proxy, Protocol::Stream)
    );
    assert_eq!((header.len(), header.tlvs().count()), (encoded.len(), 0));
    let six = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    match header.addresses {
        Addresses::IPv4(found) => {
            let told = [
                (found.source_address, found.source_port),
                (found.destination_address, found.destination_port),
            ];
            let told = told.map(|(ip, port)| SocketAddr::new(ip.into(), port));
            assert_eq!(told, [client, local]);
        }
        Addresses::IPv6(found) => {
            assert!(client.is_ipv6() || local.is_ipv6());
            let told = [
                (found.source_address, found.source_port),
                (found.destination_address, found.destination_port),
            ];
            assert_eq!(
                told,
                [
                    (six(client.ip()), client.port()),
                    (six(local.ip()), local.port())
                ]
            );
        }
        other => panic!("{other:?}"),
    }
    1
}
