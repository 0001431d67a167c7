//! The door of the API, which can be shut for a while. Reads: the socket.
//!
//! In a handover nobody is let in: who comes then waits in the socket's backlog, which both data planes have, and is served
//! by the one that runs afterwards.

use axum::serve::Listener;
use tokio::{
    net::{UnixListener, UnixStream, unix::SocketAddr},
    sync::watch,
};

/// Lets callers of the API in while it is open.
#[derive(Debug)]
pub(crate) struct Gate {
    listener: UnixListener,
    open: watch::Receiver<bool>,
}

impl Gate {
    /// An open gate before a socket, and what shuts it.
    pub(crate) fn before(listener: UnixListener) -> (Self, Keeper) {
        let (keeper, open) = watch::channel(true);
        (Self { listener, open }, Keeper(keeper))
    }
}

impl Listener for Gate {
    type Io = UnixStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (UnixStream, SocketAddr) {
        loop {
            // Without a keeper it stays as it was left.
            if self.open.wait_for(|open| *open).await.is_err() {
                std::future::pending::<()>().await;
            }
            tokio::select! {
                biased;
                _ = self.open.wait_for(|open| !*open) => {}
                accepted = Listener::accept(&mut self.listener) => return accepted,
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// Who shuts the gate.
#[derive(Clone, Debug)]
pub(crate) struct Keeper(watch::Sender<bool>);

impl Keeper {
    /// Shuts the gate until the answer is dropped.
    pub(crate) fn shut(&self) -> Shut {
        self.0.send_replace(false);
        Shut(self.clone())
    }
}

/// The gate is shut.
#[derive(Debug)]
pub(crate) struct Shut(Keeper);

impl Drop for Shut {
    fn drop(&mut self) {
        self.0.0.send_replace(true);
    }
}
