//! The wire between whoever is tested and an emulator: records, checks, counts and breaks what passes. Reads and Writes sockets on 127.0.0.1.
//!
//! A request that AWS's model forbids does not reach the emulator, which might take it: it is answered with `ValidationError`
//! and remembered. What passes is not changed, so signatures stay valid.

mod connection;

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use tokio::sync::mpsc;

use super::calls::{Call, CallLog};
use super::faults::{Action, At, Fault, Faults, Injected};
use super::microburst::Microburst;
use super::model::Models;
use crate::cloud::listener::Listener;
use crate::fake_aws::{FakeAws, UnderWay, Way};

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

impl Upstream {
    /// A request has come through. A test's own is not under way: it may be part of how another one's end is waited for.
    async fn begin(&self) -> Option<UnderWay> {
        match self {
            Self::Fake(fake, Way::Front) => Some(fake.begin().await),
            Self::Fake(_, Way::Back) | Self::Emulator { .. } => None,
        }
    }
}

/// The wire. Dropping it cuts all connections.
#[derive(Debug)]
pub(super) struct Proxy {
    listener: Listener,
    wire: Arc<Wire>,
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
        let shared = Arc::clone(&wire);
        let listener = Listener::open(refusals, move |socket, request| {
            let wire = Arc::clone(&shared);
            async move { connection::pass(&wire, &socket, request).await }
        });
        Ok(Self {
            listener: listener.await?,
            wire,
        })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.listener.address()
    }

    /// `http://127.0.0.1:PORT`
    pub(super) fn url(&self) -> String {
        self.listener.url()
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
        let handle = Some((microburst, label.to_owned()));
        self.wire.faults.add(at, action, handle)
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
