//! The targets behind the balancers: echo, source and sink for TCP, echo for UDP. Reads and Writes: loopback.
//!
//! They stand for a node's NodePort and do as little as can be: one thread for TCP, one for UDP. Each service listens on every
//! target address at a port of its own, which is the port of the balancers' addresses too.

mod datagram;
mod stream;

use std::{
    net::{IpAddr, SocketAddr, TcpListener, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context as _, Result};

use crate::system::Cpus;

/// Ports that send back what they get. Several, so that a client of many connections does not run out of ports of its own.
pub const ECHO_PORTS: [u16; 4] = [7001, 7002, 7003, 7004];
/// A port that sends without end once it got a byte.
pub const SOURCE_PORT: u16 = 7011;
/// A port that reads to the end and then tells how many bytes there were: eight bytes, most significant first.
pub const SINK_PORT: u16 = 7012;
/// The same two once more, through which a peer splices that does so only when told.
pub const SPLICED_SOURCE_PORT: u16 = 7021;
/// See [`SPLICED_SOURCE_PORT`].
pub const SPLICED_SINK_PORT: u16 = 7022;
/// The UDP port that sends back what it gets.
pub const DATAGRAM_PORT: u16 = 7001;

/// How often the threads look whether they should end.
const LOOK: Duration = Duration::from_millis(100);

/// What a port does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Echo,
    Source,
    Sink,
}

/// What a thread does until it is told to stop.
type Serve = Box<dyn FnOnce(&AtomicBool) -> Result<()> + Send>;

/// Every TCP port and what it does.
fn roles() -> impl Iterator<Item = (u16, Role)> {
    let echo = ECHO_PORTS.map(|port| (port, Role::Echo));
    echo.into_iter().chain([
        (SOURCE_PORT, Role::Source),
        (SINK_PORT, Role::Sink),
        (SPLICED_SOURCE_PORT, Role::Source),
        (SPLICED_SINK_PORT, Role::Sink),
    ])
}

/// Every TCP port of the targets.
pub fn tcp_ports() -> impl Iterator<Item = u16> {
    roles().map(|(port, _)| port)
}

/// Running targets. Dropping it ends them.
#[derive(Debug)]
pub struct Targets {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Targets {
    /// Starts targets on these addresses, on these processors.
    ///
    /// # Errors
    /// When a port is taken.
    pub fn start(addresses: &[IpAddr], cpus: &Cpus) -> Result<Self> {
        let mut listeners = Vec::new();
        let mut sockets = Vec::new();
        for address in addresses {
            for (port, role) in roles() {
                let listener = TcpListener::bind((*address, port))
                    .with_context(|| format!("cannot listen on {address}:{port}"))?;
                listener.set_nonblocking(true)?;
                listeners.push((listener, role));
            }
            let place = SocketAddr::new(*address, DATAGRAM_PORT);
            let socket = UdpSocket::bind(place)
                .with_context(|| format!("cannot open the UDP port {place}"))?;
            socket.set_nonblocking(true)?;
            sockets.push(socket);
        }
        let stop = Arc::new(AtomicBool::new(false));
        let spawn = |name: &str, serve: Serve| {
            let (stop, cpus, what) = (Arc::clone(&stop), cpus.clone(), name.to_owned());
            std::thread::Builder::new()
                .name(name.to_owned())
                .spawn(move || {
                    cpus.hold_this_thread()
                        .and_then(|()| serve(&stop))
                        .unwrap_or_else(|error| panic!("{what}: {error:#}"));
                })
        };
        let threads = vec![
            spawn(
                "targets-tcp",
                Box::new(move |stop| stream::serve(&listeners, stop)),
            )?,
            spawn(
                "targets-udp",
                Box::new(move |stop| datagram::serve(&sockets, stop)),
            )?,
        ];
        Ok(Self { stop, threads })
    }
}

impl Drop for Targets {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A panic was printed by the thread itself, and what it should have served has failed.
            let _ = thread.join();
        }
    }
}
