//! The PROXY protocol header, version 2. Decides: no IO.
//!
//! Layout from the specification (haproxy.org, proxy-protocol.txt, section 2.2).

use std::net::{IpAddr, SocketAddr};

use crate::api::Protocol;

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, command PROXY.
const VERSION_COMMAND: u8 = 0x21;
const OVER_IPV4: u8 = 0x10;
const OVER_IPV6: u8 = 0x20;
const STREAM: u8 = 0x1;
const DATAGRAM: u8 = 0x2;

/// The header that tells a target who connected to which address. Both addresses belong to one socket, so they
/// are of one family.
pub(crate) fn encode(protocol: Protocol, client: SocketAddr, local: SocketAddr) -> Vec<u8> {
    let mut addresses = Vec::with_capacity(36);
    let family = match (client.ip(), local.ip()) {
        (IpAddr::V4(client), IpAddr::V4(local)) => {
            addresses.extend(client.octets());
            addresses.extend(local.octets());
            OVER_IPV4
        }
        (client, local) => {
            for ip in [client, local] {
                addresses.extend(match ip {
                    IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
                    IpAddr::V6(ip) => ip.octets(),
                });
            }
            OVER_IPV6
        }
    };
    addresses.extend(client.port().to_be_bytes());
    addresses.extend(local.port().to_be_bytes());

    let mut header = Vec::with_capacity(16 + addresses.len());
    header.extend(SIGNATURE);
    let transport = match protocol {
        Protocol::Tcp => STREAM,
        Protocol::Udp => DATAGRAM,
    };
    header.extend([VERSION_COMMAND, family | transport]);
    let length = u16::try_from(addresses.len()).expect("at most 36 bytes of addresses");
    header.extend(length.to_be_bytes());
    header.extend(addresses);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_as_specified() {
        let parse = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let v4 = encode(
            Protocol::Tcp,
            parse("10.1.2.3:4660"),
            parse("127.77.0.1:443"),
        );
        assert_eq!(
            v4,
            b"\x0d\x0a\x0d\x0a\x00\x0d\x0a\x51\x55\x49\x54\x0a\x21\x11\x00\x0c\x0a\x01\x02\x03\x7f\x4d\x00\x01\x12\x34\x01\xbb"
        );
        let v6 = encode(Protocol::Udp, parse("[fd00::1]:1"), parse("[::1]:2"));
        assert_eq!((v6.len(), v6[13], v6[15]), (52, 0x22, 36));
        assert_eq!(
            (v6[16], v6[31], v6[47], &v6[48..]),
            (0xfd, 1, 1, &[0, 1, 0, 2][..])
        );
    }
}
