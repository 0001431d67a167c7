//! Ports on 127.0.0.1 that the kernel chose, held until the process that needs them has them. Writes: takes ports.
//!
//! A port that is asked for and let go can be taken by somebody else before the child process binds it. So the
//! socket stays bound, but does not listen: on Linux a second socket with `SO_REUSEADDR` (which Go and Rust
//! programs set) may then bind and listen on the same port, while the kernel gives the port to nobody who asks
//! for any free one. Other systems refuse the second socket, so there the port is let go at the hand-over.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;

use rustix::net::{
    AddressFamily, SocketFlags, SocketType, bind, getsockname, socket_with, sockopt,
};

/// A TCP port on 127.0.0.1 that is ours as long as this value lives.
#[derive(Debug)]
pub struct HeldPort {
    port: u16,
    socket: Option<OwnedFd>,
}

impl HeldPort {
    /// Takes a free port.
    ///
    /// # Errors
    /// When the system has no free port or forbids sockets.
    pub fn new() -> io::Result<Self> {
        let (socket, port) = bind_to(0)?;
        Ok(Self {
            port,
            socket: Some(socket),
        })
    }

    /// The port's number.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// To be called right before the process starts that will listen on the port.
    pub fn hand_over(&mut self) {
        if !cfg!(target_os = "linux") {
            self.socket = None;
        }
    }

    /// To be called after that process ended and before it is started again: connections are refused, yet nobody else gets the port.
    ///
    /// # Errors
    /// When somebody took the port meanwhile (not on Linux, where it was never let go).
    pub fn hold_again(&mut self) -> io::Result<()> {
        if self.socket.is_none() {
            self.socket = Some(bind_to(self.port)?.0);
        }
        Ok(())
    }
}

fn bind_to(port: u16) -> io::Result<(OwnedFd, u16)> {
    let socket = socket_with(
        AddressFamily::INET,
        SocketType::STREAM,
        SocketFlags::empty(),
        None,
    )?;
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))?;
    let address = SocketAddrV4::try_from(getsockname(&socket)?)?;
    Ok((socket, address.port()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_held_port_goes_to_its_process_and_to_nobody_else() {
        let mut held = HeldPort::new().unwrap();
        let address = (Ipv4Addr::LOCALHOST, held.port());
        assert!(TcpStream::connect(address).is_err(), "nobody listens yet");

        for _ in 0..2 {
            held.hand_over();
            let listener = TcpListener::bind(address).unwrap();
            let client = TcpStream::connect(address).unwrap();
            drop((client, listener));
            held.hold_again().unwrap();
            assert!(TcpStream::connect(address).is_err(), "nobody listens again");
        }
    }

    #[test]
    fn ports_held_at_once_differ() {
        let held: Vec<_> = (0..200).map(|_| HeldPort::new().unwrap()).collect();
        let free: Vec<_> = (0..200)
            .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap())
            .collect();
        let ports: BTreeSet<_> = held
            .iter()
            .map(HeldPort::port)
            .chain(free.iter().map(|l| l.local_addr().unwrap().port()))
            .collect();
        assert_eq!(ports.len(), 400);
    }
}
