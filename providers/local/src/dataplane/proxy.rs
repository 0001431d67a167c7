//! One connection: find a target, connect, copy, and end when told. Reads and writes the network.
//!
//! Another target is tried only while nothing was sent: once a byte has gone out, a failure is the client's to see.

use std::{
    io,
    net::{self, SocketAddr},
    os::fd::AsFd,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use socket2::SockRef;
use tokio::{
    net::{TcpSocket, TcpStream},
    time::{Instant, timeout},
};

use super::{
    backends::Place,
    bind::{self, KEEPALIVE},
    deadline::{self, rarely},
    listener::{Front, Settings},
    proxy_header,
    relay::{self, End, relay},
    traffic::{Permit, Traffic},
};
use crate::api::Protocol;

/// Targets that are tried for one connection.
const ATTEMPTS: usize = 4;
/// How long a client waits when there is no file descriptor for the connection to its target.
const SHORTAGE_PATIENCE: Duration = Duration::from_secs(10);

/// A client that was let in, of no thread yet: none waits for its bytes.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) stream: net::TcpStream,
    pub(crate) peer: SocketAddr,
}

/// A client's connection on its way through.
#[derive(Debug)]
pub(crate) struct Connection {
    /// Until it is served.
    stream: Option<net::TcpStream>,
    peer: SocketAddr,
    settings: Arc<Settings>,
    guard: Guard,
    _permit: Permit,
}

/// Counts a connection, or a flow, as open until dropped.
#[derive(Debug)]
pub(crate) struct Guard {
    front: Arc<Front>,
    traffic: Arc<Traffic>,
}

impl Guard {
    pub(crate) fn new(front: Arc<Front>, traffic: Arc<Traffic>) -> Self {
        front.open.fetch_add(1, Relaxed);
        Self { front, traffic }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.front.open.fetch_sub(1, Relaxed);
        self.traffic.freed();
    }
}

impl Connection {
    pub(crate) fn new(
        Client { stream, peer }: Client,
        settings: Arc<Settings>,
        front: Arc<Front>,
        traffic: Arc<Traffic>,
        permit: Permit,
    ) -> Self {
        Self {
            stream: Some(stream),
            peer,
            settings,
            guard: Guard::new(front, traffic),
            _permit: permit,
        }
    }

    /// Serves the client to the end, on the thread that it is awaited on.
    #[expect(
        clippy::manual_async_fn,
        reason = "an async function keeps room for its arguments twice"
    )]
    pub(crate) fn serve(mut self) -> impl Future<Output = ()> + Send {
        async move {
            // Borrowed as a whole, or what is not named here would be dropped at once.
            let connection = &mut self;
            let Guard { front, traffic } = &connection.guard;
            let Some(Ok(mut client)) = connection.stream.take().map(TcpStream::from_std) else {
                return tracing::debug!(resource.id = front.name, "a client cannot be waited for");
            };
            tokio::select! {
                () = through(&mut client, connection.peer, &connection.settings, front, traffic) => {}
                () = rarely(deadline::passed(front.deadline.subscribe())) => {
                    tracing::debug!(resource.id = front.name, "a connection of the deleted listener was closed");
                }
                () = rarely(traffic.end.cancelled()) => {}
            }
        }
    }
}

async fn through(
    client: &mut TcpStream,
    peer: SocketAddr,
    settings: &Settings,
    front: &Front,
    traffic: &Traffic,
) {
    let access = settings.access(front, peer).map(Box::new);
    let ends = |why| {
        if let Some(access) = &access {
            access.ends(why);
        }
    };
    // Connecting takes much more room than copying, and is soon over.
    let Some((place, mut target)) = Box::pin(connect(peer, settings, front, traffic)).await else {
        traffic.refused_without_target(front);
        ends("no target");
        return reset(client);
    };
    let backend = &place.backend;
    if let Some(access) = &access {
        access.to(backend.address);
    }
    let copy = async {
        if settings.proxy_protocol {
            let header = proxy_header::encode(Protocol::Tcp, peer, front.address);
            if relay::write_all(&target, &header).await.is_err() {
                return End::Broken;
            }
        }
        // The last one counts only where there is an access log.
        let logged = access.as_ref();
        let [received, sent] = [
            [
                &front.received,
                &backend.received,
                &traffic.totals.received,
                logged.map_or(&front.received, |access| &access.received),
            ],
            [
                &front.sent,
                &backend.sent,
                &traffic.totals.sent,
                logged.map_or(&front.sent, |access| &access.sent),
            ],
        ];
        let count = if logged.is_some() { 4 } else { 3 };
        relay(
            client,
            &mut target,
            &received[..count],
            &sent[..count],
            settings.idle_timeout,
        )
        .await
    };
    let end = tokio::select! {
        end = copy => end,
        () = rarely(place.drained()) => {
            tracing::debug!(resource.id = front.name, target_address = %backend.address, "a drained connection was closed");
            End::Drained
        }
    };
    ends(match end {
        End::Closed => "closed",
        End::Broken => "broken off",
        End::Idle => "idle",
        End::Drained => "drained",
    });
    if end == End::Broken {
        // What broke on one side must not look like a good end on the other.
        reset(client);
        reset(&target);
    }
}

/// Connects to a target, or to another one when it does not answer.
async fn connect(
    client: SocketAddr,
    settings: &Settings,
    front: &Front,
    traffic: &Traffic,
) -> Option<(Place, TcpStream)> {
    let mut tried = Vec::new();
    let patience = Instant::now();
    while tried.len() < ATTEMPTS {
        let place = settings.backends.place(client.ip(), &tried)?;
        let address = place.backend.address;
        match timeout(traffic.connect_timeout, dial(address))
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        {
            Ok(stream) => {
                place.backend.connected.fetch_add(1, Relaxed);
                return Some((place, stream));
            }
            // No fault of the target's.
            Err(error) if bind::is_shortage(&error) && patience.elapsed() < SHORTAGE_PATIENCE => {
                drop(place);
                traffic.wait_for_files(front).await;
            }
            Err(error) => {
                traffic.connect_failed(front, &place.backend);
                tracing::debug!(resource.id = front.name, target_address = %address, %error, "a target did not answer");
                tried.push(address);
            }
        }
    }
    None
}

async fn dial(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.set_nodelay(true)?;
    SockRef::from(&socket).set_tcp_keepalive(&KEEPALIVE)?;
    socket.connect(address).await
}

/// Lets the other side see that the connection was refused or broken off, as soon as it is closed.
pub(crate) fn reset(stream: &impl AsFd) {
    // Should the option fail, the connection is closed in the ordinary way.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size<F: Future>(_: impl FnOnce(Connection) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_connection_takes_little_memory() {
        let size = size(Connection::serve);
        assert!(size <= 1_024, "{size}");
    }
    #[tokio::test]
    async fn peers_that_vanish_are_looked_for_on_both_sides() {
        let any = "127.0.0.1:0".parse().expect("an address");
        let port = bind::listen_tcp(any).expect("a port");
        let port = tokio::net::TcpListener::from_std(port.into()).expect("a port");
        let front = port.local_addr().expect("bound");
        let (target, client) = tokio::join!(dial(front), port.accept());
        for side in [target.expect("connected"), client.expect("accepted").0] {
            let socket = SockRef::from(&side);
            assert!(socket.keepalive().expect("told"));
            let after = (
                socket.tcp_keepalive_time().expect("told").as_secs(),
                socket.tcp_keepalive_interval().expect("told").as_secs(),
                socket.tcp_keepalive_retries().expect("told"),
            );
            assert_eq!(after, (90, 15, 4));
        }
    }
}
