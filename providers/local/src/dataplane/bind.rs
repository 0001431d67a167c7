//! Opening a port. Writes: makes a listening socket. What the system refuses is told with a code and a remedy.

use std::{io, net::SocketAddr, time::Duration};

use rustix::io::Errno;
use socket2::{Domain, Socket, TcpKeepalive, Type};

use super::udp::leaving;
use crate::api::{ListenerPhase, Protocol, failure};

/// Connections that may wait to be accepted. The kernel lowers it to `net.core.somaxconn`, 4096 by default.
const BACKLOG: i32 = 4_096;

/// Bytes that a UDP listener's socket may hold until they are read.
const RECEIVE_BUFFER: usize = 4 << 20;

/// A peer that vanished without a word is noticed after about two and a half minutes.
pub(super) const KEEPALIVE: TcpKeepalive = TcpKeepalive::new()
    .with_time(Duration::from_secs(90))
    .with_interval(Duration::from_secs(15))
    .with_retries(4);

/// Opens a listening TCP socket.
pub(crate) fn listen_tcp(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM.nonblocking(),
        None,
    )?;
    // A restart must not wait for the kernel to forget the connections of the last run. It does not let two
    // processes listen on one port.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Accepted sockets inherit these two, which saves the calls per connection.
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&KEEPALIVE)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

/// Whether somebody listens on the port. An address that the machine does not have has free ports.
pub(crate) fn is_taken(address: SocketAddr, protocol: Protocol) -> bool {
    let bind = || {
        // Never listens: a client that comes at this very moment is not for us.
        let socket = match protocol {
            Protocol::Tcp => {
                let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
                socket.set_reuse_address(true)?;
                socket
            }
            Protocol::Udp => {
                let socket = Socket::new(Domain::for_address(address), Type::DGRAM, None)?;
                socket.set_reuse_port(leaving::are_on(address))?;
                socket
            }
        };
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.bind(&address.into())
    };
    bind().is_err_and(|error: io::Error| error.kind() == io::ErrorKind::AddrInUse)
}

/// Opens so many UDP sockets on one port; the kernel gives each client to one of them, always the same.
pub(crate) fn listen_udp(address: SocketAddr, count: usize) -> io::Result<Vec<Socket>> {
    let open = |share: bool| {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::DGRAM.nonblocking(),
            Some(socket2::Protocol::UDP),
        )?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_reuse_port(share)?;
        // As much as net.core.rmem_max lets, for bursts; a smaller buffer only loses datagrams sooner.
        let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
        socket.bind(&address.into())?;
        Ok(socket)
    };
    // Flows of a former listener of ours may still be on it, and share it.
    if !leaving::are_on(address) {
        // Alone first: sharing a port would also share it with another process of this user that lets it.
        let first = open(false)?;
        if count <= 1 {
            return Ok(vec![first]);
        }
    }
    (0..count).map(|_| open(true)).collect()
}

/// The phase of a listener whose port could not be opened.
pub(crate) fn failed(address: SocketAddr, error: &io::Error) -> ListenerPhase {
    let (ip, port) = (address.ip(), address.port());
    let (code, message) = match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::ADDRINUSE) => (
            failure::PORT_IN_USE,
            format!(
                "port {port} of {ip} is in use by another process; end it (`ss -tulnp sport = :{port}` shows it) or choose another port"
            ),
        ),
        Some(Errno::ACCESS | Errno::PERM) => (
            failure::PORT_FORBIDDEN,
            format!(
                "the system lets this process not open port {port} of {ip}; set the sysctl net.ipv4.ip_unprivileged_port_start to \
                 {port} or lower, or give the data plane the capability CAP_NET_BIND_SERVICE"
            ),
        ),
        Some(Errno::ADDRNOTAVAIL) => (
            failure::ADDRESS_NOT_LOCAL,
            format!(
                "no interface of this machine has {ip}; add it (`ip address add {ip} dev lo`), have the pool add it (add-to), or use a pool of \
                 addresses it has"
            ),
        ),
        Some(Errno::MFILE | Errno::NFILE) => (failure::TOO_MANY_FILES, too_many_files()),
        _ => (
            failure::BIND_FAILED,
            format!(
                "port {port} of {ip} cannot be opened: {error}; see to that, it is tried again every few seconds"
            ),
        ),
    };
    ListenerPhase::Failed {
        code: code.to_owned(),
        message,
    }
}

/// The phase of a listener whose port a known process has.
pub(crate) fn in_use(address: SocketAddr, holder: &str) -> ListenerPhase {
    let (ip, port) = (address.ip(), address.port());
    ListenerPhase::Failed {
        code: failure::PORT_IN_USE.to_owned(),
        message: format!(
            "port {port} of {ip} is in use by {holder}; end it or choose another port"
        ),
    }
}

/// The phase of a listener that has no file descriptor left for a connection.
pub(crate) fn out_of_files() -> ListenerPhase {
    ListenerPhase::Failed {
        code: failure::TOO_MANY_FILES.to_owned(),
        message: too_many_files(),
    }
}

fn too_many_files() -> String {
    "the limit of open files is reached, new connections wait; raise it (`ulimit -n`, LimitNOFILE=, fs.file-max)".to_owned()
}

/// True for errors that mean "no file descriptor or memory for one more connection".
pub(crate) fn is_shortage(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error().map(Errno::from_raw_os_error),
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_port_says_why_and_what_to_do() {
        let address = "127.77.0.1:80".parse().expect("an address");
        for (errno, code, says) in [
            (
                Errno::ADDRINUSE,
                "PortInUse",
                "port 80 of 127.77.0.1 is in use",
            ),
            (
                Errno::ACCESS,
                "PortForbidden",
                "net.ipv4.ip_unprivileged_port_start",
            ),
            (Errno::PERM, "PortForbidden", "CAP_NET_BIND_SERVICE"),
            (
                Errno::ADDRNOTAVAIL,
                "AddressNotLocal",
                "ip address add 127.77.0.1",
            ),
            (Errno::MFILE, "TooManyFiles", "LimitNOFILE"),
            (Errno::NFILE, "TooManyFiles", "fs.file-max"),
            (Errno::AFNOSUPPORT, "BindFailed", "tried again"),
        ] {
            let ListenerPhase::Failed { code: got, message } = failed(address, &errno.into())
            else {
                panic!("{errno:?} is a failure");
            };
            assert_eq!(got, code, "{errno:?}");
            assert!(message.contains(says), "{errno:?}: {message}");
        }
    }

    #[test]
    fn two_sockets_never_share_a_port() {
        let first = listen_tcp("127.0.0.1:0".parse().expect("an address")).expect("a port");
        let address = first
            .local_addr()
            .expect("bound")
            .as_socket()
            .expect("an address");
        let error = listen_tcp(address).expect_err("it is taken");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        let other = |port| SocketAddr::new([127, 0, 0, 2].into(), port);
        let taken = address;
        assert!(is_taken(taken, Protocol::Tcp));
        assert!(!is_taken(other(taken.port()), Protocol::Tcp));
        drop(first);
        assert!(!is_taken(taken, Protocol::Tcp));
        listen_tcp(address).expect("it is free again");
    }
}
