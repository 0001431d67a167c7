//! The access log: a line for each connection of a Service that asks for it. Writes: the log, under the target `access`.
//!
//! A line is written when the connection ends, however it ends, and tells what an operator asks first: who, to what, by
//! which node, how long, how much, and why it ended.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use crate::api::namespace_and_name;

/// Why a connection ended, unless somebody knows better: its listener or target went, or the process ends.
const TAKEN_DOWN: &str = "taken down";

/// One connection; its line is written when this is dropped.
#[derive(Debug)]
pub(crate) struct Access {
    service: Arc<str>,
    listener: SocketAddr,
    client: SocketAddr,
    began: Instant,
    last: Mutex<(Option<SocketAddr>, &'static str)>,
    /// Bytes from the client to the target.
    pub(crate) received: AtomicU64,
    /// Bytes from the target to the client.
    pub(crate) sent: AtomicU64,
}

impl Access {
    /// A connection that begins now. `service` is `namespace/name`.
    pub(crate) fn begin(service: &Arc<str>, listener: SocketAddr, client: SocketAddr) -> Self {
        Self {
            service: Arc::clone(service),
            listener,
            client,
            began: Instant::now(),
            last: Mutex::new((None, TAKEN_DOWN)),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
        }
    }

    /// It goes to this target.
    pub(crate) fn to(&self, target: SocketAddr) {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).0 = Some(target);
    }

    /// It ends, and this is why.
    pub(crate) fn ends(&self, why: &'static str) {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).1 = why;
    }
}

impl Drop for Access {
    fn drop(&mut self) {
        let (namespace, name) = namespace_and_name(&self.service);
        let (target, end) = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        tracing::event!(
            target: "access",
            tracing::Level::INFO,
            service.namespace = namespace,
            service.name = name,
            listener = %self.listener,
            client = %self.client,
            target_address = target.map(tracing::field::display),
            received_bytes = self.received.load(Relaxed),
            sent_bytes = self.sent.load(Relaxed),
            duration_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
            end,
            "connection"
        );
    }
}
