//! Connections that are opened, used once and closed. Reads and Writes: loopback.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Instant,
};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::{
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, socket_with},
};

use super::{MESSAGE, PATIENCE, Window};
use crate::poll::{Poll, READ, WRITE};

/// How many are under way at once.
const AT_ONCE: usize = 32;

/// One that is under way.
struct Attempt {
    stream: TcpStream,
    sent: bool,
    got: usize,
}

/// Connections per second, each with one message there and back, to these addresses in turn.
///
/// # Errors
/// When one fails.
pub fn connections(addresses: &[SocketAddr], window: Window) -> Result<f64> {
    let mut poll = Poll::new()?;
    let mut next = addresses.iter().cycle();
    let mut attempts = Vec::new();
    for token in 0..AT_ONCE {
        let address = next.next().context("no address to connect to")?;
        attempts.push(Attempt::begin(*address, &poll, token)?);
    }
    let (begin, end) = window.starting_now();
    let mut done = 0;
    let mut now = Instant::now();
    while now < end {
        let ready: Vec<_> = poll.wait(PATIENCE)?.map(|(token, _)| token).collect();
        ensure!(!ready.is_empty(), "no connection went on for {PATIENCE:?}");
        for token in ready {
            if !attempts[token].go_on(&poll, token)? {
                continue;
            }
            now = Instant::now();
            done += u64::from(now >= begin);
            let address = next.next().context("no address to connect to")?;
            // The old one is closed by being replaced.
            attempts[token] = Attempt::begin(*address, &poll, token)?;
        }
    }
    Ok(done as f64 / (now - begin).as_secs_f64())
}

impl Attempt {
    fn begin(address: SocketAddr, poll: &Poll, token: usize) -> Result<Self> {
        let family = match address {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(family, SocketType::STREAM, flags, None)?;
        match rustix::net::connect(&socket, &address) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => {
                return Err(error).with_context(|| format!("cannot connect to {address}"));
            }
        }
        poll.add(&socket, token, WRITE)?;
        Ok(Self {
            stream: socket.into(),
            sent: false,
            got: 0,
        })
    }

    /// True when the answer is there.
    fn go_on(&mut self, poll: &Poll, token: usize) -> Result<bool> {
        if !self.sent {
            self.stream
                .write_all(&[0x5a; MESSAGE])
                .context("a connection could not be opened")?;
            self.sent = true;
            poll.modify(&self.stream, token, READ)?;
            return Ok(false);
        }
        match self.stream.read(&mut [0; MESSAGE]) {
            Ok(0) => bail!("a new connection was closed without an answer"),
            Ok(length) => self.got += length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error).context("a new connection broke"),
        }
        Ok(self.got >= MESSAGE)
    }
}
