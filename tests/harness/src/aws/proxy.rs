//! The wire between whoever is tested and an emulator: records, checks, counts and breaks what passes. Reads and Writes sockets on 127.0.0.1.
//!
//! A request that AWS's model forbids does not reach the emulator, which might take it: it is answered with `ValidationError`
//! and remembered. What passes is not changed, so signatures stay valid.

mod connection;

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use super::calls::{Call, CallLog};
use super::faults::{Action, At, Fault, Faults, Injected};
use super::microburst::Microburst;
use super::model::Models;
use crate::fake_aws::{FakeAws, Way};
use crate::ports::HeldPort;

/// Looks at every call on its way, and may break it: for tests that decide call by call.
#[async_trait]
pub trait Watcher: fmt::Debug + Send + Sync {
    /// A call has arrived: what shall happen to it. The call waits as long as this takes. Calls that [`super::Aws::inject`] breaks are
    /// not asked for.
    async fn arrived(&self, call: &Call) -> Option<Fault>;

    /// A call has come back from AWS, with [`Call::status`] as AWS gave it; the caller has not heard of it, and may never. Said also when
    /// the caller has gone away meanwhile.
    async fn took_effect(&self, call: &Call);
}

/// Who answers.
#[derive(Clone, Debug)]
pub(super) enum Upstream {
    /// An emulator.
    Emulator {
        address: SocketAddr,
        /// Told to moto with every request.
        account: Option<String>,
    },
    /// Our own.
    Fake(Arc<FakeAws>, Way),
}

/// The wire. Dropping it cuts all connections.
#[derive(Debug)]
pub(super) struct Proxy {
    address: SocketAddr,
    wire: Arc<Wire>,
    _task: AbortOnDropHandle<()>,
}

/// What all connections share.
#[derive(Debug)]
struct Wire {
    models: &'static Models,
    upstream: Upstream,
    calls: CallLog,
    faults: Faults,
    watcher: OnceLock<Arc<dyn Watcher>>,
    violations: Mutex<Vec<String>>,
    /// For how long nobody shall listen.
    refuse: mpsc::UnboundedSender<Duration>,
}

impl Proxy {
    pub(super) async fn start(models: &'static Models, upstream: Upstream) -> Result<Self> {
        // The port stays ours while nobody listens on it.
        let port = HeldPort::new().context("no free port on 127.0.0.1")?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port.port()));
        let (refuse, refusals) = mpsc::unbounded_channel();
        let wire = Arc::new(Wire {
            models,
            upstream,
            calls: CallLog::default(),
            faults: Faults::default(),
            watcher: OnceLock::new(),
            violations: Mutex::default(),
            refuse,
        });
        let listener = listen(address, port).await?;
        let task = tokio::spawn(serve(listener, wire.clone(), refusals));
        Ok(Self {
            address,
            wire,
            _task: AbortOnDropHandle::new(task),
        })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:PORT`
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What passed, in order.
    pub(super) fn calls(&self) -> &CallLog {
        &self.wire.calls
    }

    pub(super) fn inject(&self, at: &At, fault: Fault) -> Injected {
        self.wire.faults.add(at, Action::Fault(fault), None)
    }

    pub(super) fn watch(&self, watcher: Arc<dyn Watcher>) -> Result<()> {
        let set = self.wire.watcher.set(watcher);
        set.ok().context("somebody watches this wire already")
    }

    pub(super) fn label(&self, at: &At, label: &str, microburst: &'static Microburst) -> Injected {
        let action = Action::Label(label.to_owned());
        self.wire.faults.add(at, action, Some(microburst))
    }

    pub(super) fn take_violations(&self) -> Vec<String> {
        std::mem::take(&mut *self.wire.lock_violations())
    }
}

impl Wire {
    fn lock_violations(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.violations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A listener, with the socket that keeps its port.
struct Listener {
    listener: TcpListener,
    address: SocketAddr,
    port: HeldPort,
}

async fn listen(address: SocketAddr, mut port: HeldPort) -> Result<Listener> {
    port.hand_over();
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}"))?;
    Ok(Listener {
        listener,
        address,
        port,
    })
}

async fn serve(
    mut door: Listener,
    wire: Arc<Wire>,
    mut refusals: mpsc::UnboundedReceiver<Duration>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = door.listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    connections.spawn(connection::serve(stream, wire.clone()));
                }
            }
            Some(duration) = refusals.recv() => {
                let Listener { listener, address, mut port } = door;
                drop(listener);
                connections.shutdown().await;
                let held = port.hold_again();
                tokio::time::sleep(duration).await;
                match (held, listen(address, port).await) {
                    (Ok(()), Ok(listener)) => door = listener,
                    // Whoever connects is refused: the test fails there.
                    _ => return,
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}
