//! A server on 127.0.0.1 whose connections can be refused, cut and reset. Reads and Writes sockets.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use crate::ports::HeldPort;

/// A server. Dropping it cuts all connections.
#[derive(Debug)]
pub(crate) struct Listener {
    address: SocketAddr,
    _task: AbortOnDropHandle<()>,
}

/// A second handle of a connection's socket: how it ends is decided while hyper has the first.
#[derive(Clone, Debug)]
pub(crate) struct Socket(Arc<OwnedFd>);

/// The connection shall end without a reply.
#[derive(Debug)]
pub(crate) struct Cut;

/// What comes of a request.
pub(crate) type Answer = Result<Response<Full<Bytes>>, Cut>;

impl Listener {
    /// Has `answer` answer each request. Nobody listens for as long as each of `refusals` says: connections are refused, open ones are cut.
    pub(crate) async fn open<H, F>(
        refusals: mpsc::UnboundedReceiver<Duration>,
        answer: H,
    ) -> Result<Self>
    where
        H: Fn(Socket, Request<Incoming>) -> F + Clone + Send + 'static,
        F: Future<Output = Answer> + Send + 'static,
    {
        // The port stays ours while nobody listens on it.
        let port = HeldPort::new().context("no free port on 127.0.0.1")?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port.port()));
        let door = listen(address, port).await?;
        let task = tokio::spawn(serve(door, refusals, answer));
        Ok(Self {
            address,
            _task: AbortOnDropHandle::new(task),
        })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:PORT`
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Socket {
    /// Has the connection end with a reset in place of an orderly end.
    pub(crate) fn reset(&self) -> Cut {
        let _ = rustix::net::sockopt::set_socket_linger(&self.0, Some(Duration::ZERO));
        Cut
    }
}

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the connection is cut on purpose")
    }
}

impl std::error::Error for Cut {}

/// A listener, with the socket that keeps its port.
struct Door {
    listener: TcpListener,
    address: SocketAddr,
    port: HeldPort,
}

async fn listen(address: SocketAddr, mut port: HeldPort) -> Result<Door> {
    port.hand_over();
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}"))?;
    Ok(Door {
        listener,
        address,
        port,
    })
}

async fn serve<H, F>(mut door: Door, mut refusals: mpsc::UnboundedReceiver<Duration>, answer: H)
where
    H: Fn(Socket, Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = door.listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    connections.spawn(connection(stream, answer.clone()));
                }
            }
            Some(duration) = refusals.recv() => {
                let Door { listener, address, mut port } = door;
                drop(listener);
                connections.shutdown().await;
                let held = port.hold_again();
                tokio::time::sleep(duration).await;
                match (held, listen(address, port).await) {
                    (Ok(()), Ok(opened)) => door = opened,
                    // Whoever connects is refused: the test fails there.
                    _ => return,
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection<H, F>(stream: TcpStream, answer: H)
where
    H: Fn(Socket, Request<Incoming>) -> F,
    F: Future<Output = Answer>,
{
    let Ok(socket) = stream.as_fd().try_clone_to_owned() else {
        return;
    };
    let socket = Socket(Arc::new(socket));
    let service = service_fn(move |request| answer(socket.clone(), request));
    let connection =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // It ends when the client wants, or when a fault does.
    let _ = connection.await;
}
