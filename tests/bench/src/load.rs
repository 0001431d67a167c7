//! The clients: each kind of load, from one thread, and what it measured. Reads and Writes: loopback.
//!
//! A connection that fails is an error, never a smaller number. Latencies are taken around each exchange, with the next one sent when
//! the answer is there (closed loop).

mod bulk;
mod churn;
mod datagram;
mod exchange;
mod idle;

use std::{
    io,
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

pub use bulk::{download, upload};
pub use churn::connections;
pub use datagram::{Datagrams, datagrams};
pub use exchange::{RoundTrips, round_trips};
pub use idle::Idle;

/// The small message, in bytes.
pub const MESSAGE: usize = 64;

/// The longest that anything may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a load runs before it counts, and how long it counts.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// Not counted.
    pub warm_up: Duration,
    /// Counted.
    pub measured: Duration,
}

impl Window {
    /// A window of this length with a warm-up that is short beside it.
    #[must_use]
    pub fn of(measured: Duration) -> Self {
        Self {
            warm_up: measured / 6,
            measured,
        }
    }

    /// When counting begins and ends, if the load begins now.
    fn starting_now(self) -> (Instant, Instant) {
        let begin = Instant::now() + self.warm_up;
        (begin, begin + self.measured)
    }
}

/// A connection that blocks, and gives up after a while.
fn connect(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)
        .with_context(|| format!("cannot connect to {address}"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Whether the other side has closed or broken a connection that should be open, or sent what nobody asked for.
fn has_ended(stream: &TcpStream) -> io::Result<bool> {
    let mut poll = [rustix::event::PollFd::new(
        &stream,
        rustix::event::PollFlags::IN,
    )];
    Ok(rustix::event::poll(&mut poll, Some(&rustix::event::Timespec::default()))? > 0)
}
