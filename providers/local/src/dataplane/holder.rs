//! Which process has a port. Reads: /proc, where there is one and as far as it lets.
//!
//! The kernel tells who listens by the number of a socket, and who has a socket by the open files of each process; those of
//! other users' processes only root sees.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{BufRead as _, BufReader},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
};

use crate::api::Protocol;

/// Most open files that are looked at: a machine full of connections is not searched to its end for one name.
const MOST_FILES: usize = 50_000;

/// The states of a listening TCP socket and of a UDP socket that is bound (`TCP_LISTEN` and `TCP_CLOSE` in
/// include/net/tcp_states.h).
const LISTENS: &str = "0A";
const BOUND: &str = "07";

/// The states of connections that nobody has any more (`TCP_TIME_WAIT` and `TCP_CLOSE` there).
const TIME_WAIT: &str = "06";
const CLOSED: &str = "07";

/// The process that listens on a port, as `nginx (process 812)`.
pub(crate) fn of(protocol: Protocol, address: SocketAddr) -> Option<String> {
    let (tables, state) = match protocol {
        Protocol::Tcp => (["tcp", "tcp6"], LISTENS),
        Protocol::Udp => (["udp", "udp6"], BOUND),
    };
    let socket = tables.iter().find_map(|table| {
        let table = fs::read_to_string(Path::new("/proc/net").join(table)).ok()?;
        listening(&table, state, address)
    })?;
    let wanted = format!("socket:[{socket}]");
    let mut files = 0;
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let Some(id) = process
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        for file in fs::read_dir(process.path().join("fd"))
            .into_iter()
            .flatten()
            .flatten()
        {
            files += 1;
            if files > MOST_FILES {
                return None;
            }
            if fs::read_link(file.path()).is_ok_and(|link| link.as_os_str() == wanted.as_str()) {
                let name = fs::read_to_string(process.path().join("comm")).ok()?;
                return Some(format!("{} (process {id})", name.trim()));
            }
        }
    }
    None
}

/// Those of the addresses at which this machine has TCP connections that have not ended, or UDP sockets of one peer, whoever
/// has them.
pub(crate) fn connected(addresses: &BTreeSet<IpAddr>) -> BTreeSet<IpAddr> {
    let mut connected = BTreeSet::new();
    for table in ["tcp", "tcp6", "udp", "udp6"] {
        let Ok(table) = File::open(Path::new("/proc/net").join(table)) else {
            continue;
        };
        let lines = BufReader::new(table).lines().map_while(Result::ok);
        let found = lines.filter_map(|line| connection(&line));
        connected.extend(found.filter(|address| addresses.contains(address)));
    }
    connected
}

/// The local address of a connection that has not ended.
fn connection(line: &str) -> Option<IpAddr> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (local, _, state) = (fields.next()?, fields.next()?, fields.next()?);
    let ended = [LISTENS, TIME_WAIT, CLOSED].contains(&state);
    let (host, _) = local.split_once(':')?;
    host_of(host).filter(|_| !ended)
}

/// The number of the socket that listens on the address or on all of them, in a table of proc_pid_net(5).
fn listening(table: &str, listens: &str, address: SocketAddr) -> Option<u64> {
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, local, _, state, _, _, _, _, _, inode, ..] = fields[..] else {
            return None;
        };
        let (host, port) = local.split_once(':')?;
        let has = u16::from_str_radix(port, 16).ok()? == address.port()
            && covers(host_of(host)?, address.ip());
        (state == listens && has).then(|| inode.parse().ok())?
    })
}

/// Whether a socket bound to one address keeps others from the other. A socket of all IPv6 addresses is nearly always one of
/// all IPv4 addresses too.
fn covers(bound: IpAddr, address: IpAddr) -> bool {
    let bound = bound.to_canonical();
    bound == address || bound.is_unspecified() && (bound.is_ipv6() || address.is_ipv4())
}

/// An address as the table writes it: words of 32 bits in the machine's order.
fn host_of(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| u32::from_str_radix(hex.get(at..at + 8)?, 16).ok();
    match hex.len() {
        8 => Some(Ipv4Addr::from(word(0)?.to_ne_bytes()).into()),
        32 => {
            let mut bytes = [0; 16];
            for (index, four) in bytes.chunks_exact_mut(4).enumerate() {
                four.copy_from_slice(&word(index * 8)?.to_ne_bytes());
            }
            Some(Ipv6Addr::from(bytes).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn the_table_tells_who_listens() {
        let head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";
        let v4 = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0\n   \
                     1: 0200007F:1F91 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0\n   \
                     2: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4713 1 0\n";
        let v6 = "   0: 00000000000000000000000001000000:1F92 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 4714 1 0\n   \
                     1: 00000000000000000000000000000000:01BB 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 4715 1 0\n";
        for (table, address, want) in [
            (v4, "127.0.0.1:8080", Some(4711)),
            (v4, "127.0.0.2:8080", None),
            (v4, "127.0.0.2:8081", None),
            (v4, "127.0.0.9:80", Some(4713)),
            (v4, "[::1]:80", None),
            (v6, "[::1]:8082", Some(4714)),
            (v6, "[::2]:443", Some(4715)),
            (v6, "10.0.0.1:443", Some(4715)),
        ] {
            let address = address.parse().expect("an address");
            assert_eq!(
                listening(&format!("{head}{table}"), LISTENS, address),
                want,
                "{address}"
            );
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn an_address_is_connected_until_its_last_connection_ends() {
        let address = IpAddr::from([127, 99, 0, 1]);
        let connected = || !connected(&BTreeSet::from([address])).is_empty();
        let flow = std::net::UdpSocket::bind((address, 0)).expect("a port");
        let peer = std::net::UdpSocket::bind((address, 0)).expect("a port");
        flow.connect(peer.local_addr().expect("bound"))
            .expect("a peer");
        assert!(connected(), "a flow of one client");
        drop(flow);
        assert!(!connected(), "its peer is connected to nobody");
        let listener = std::net::TcpListener::bind((address, 0)).expect("a port");
        assert!(!connected(), "it only listens");
        let front = listener.local_addr().expect("bound");
        let client = std::net::TcpStream::connect(front).expect("a connection");
        let (server, _) = listener.accept().expect("a connection");
        assert!(connected());
        drop((client, server));
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while connected() {
            assert!(std::time::Instant::now() < deadline, "it has ended");
            std::thread::yield_now();
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_is_found_by_its_port() {
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
        let addresses = [
            (Protocol::Tcp, tcp.local_addr().expect("bound")),
            (Protocol::Udp, udp.local_addr().expect("bound")),
        ];
        for (protocol, address) in addresses {
            let found = of(protocol, address).expect("it listens");
            assert!(
                found.ends_with(&format!("(process {})", std::process::id())),
                "{found}"
            );
        }
        drop((tcp, udp));
        for (protocol, address) in addresses {
            assert_eq!(of(protocol, address), None);
        }
    }
}
