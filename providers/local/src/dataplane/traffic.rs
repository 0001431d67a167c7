//! What all connections share: limits, counters, and the means to end them.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::sleep,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    backends::Backend,
    bind,
    limits::{Shares, Slot},
    listener::{Front, Settings},
    workers::Workers,
};

/// File descriptors that a proxied connection needs: the client's socket and the target's.
const FILES_PER_CONNECTION: u64 = 2;
/// File descriptors kept for listeners, probes, pipes, the API and the state file.
const FILES_KEPT: u64 = 768;

/// UDP flows may be one of so many connections: who sends with made-up addresses must not lock out TCP.
const FLOWS_SHARE: usize = 2;

/// How long to wait for a file descriptor before looking again.
const SHORTAGE_WAIT: Duration = Duration::from_millis(500);

/// Counters since the start.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    pub(crate) accepted: AtomicU64,
    pub(crate) refused_by_range: AtomicU64,
    pub(crate) refused_without_target: AtomicU64,
    pub(crate) connect_failures: AtomicU64,
    pub(crate) received: AtomicU64,
    pub(crate) sent: AtomicU64,
}

impl Totals {
    pub(crate) fn by_name(&self) -> BTreeMap<String, u64> {
        [
            ("accepted", &self.accepted),
            ("refused_by_range", &self.refused_by_range),
            ("refused_without_target", &self.refused_without_target),
            ("connect_failures", &self.connect_failures),
            ("received_bytes", &self.received),
            ("sent_bytes", &self.sent),
        ]
        .map(|(name, counter)| (name.to_owned(), counter.load(Relaxed)))
        .into()
    }
}

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Traffic {
    pub(crate) totals: Totals,
    pub(crate) connect_timeout: Duration,
    /// Where connections are accepted and served.
    pub(crate) workers: Workers,
    /// Every connection's task.
    pub(crate) tasks: TaskTracker,
    /// Ends every connection.
    pub(crate) end: CancellationToken,
    /// The connections of every Service.
    pub(crate) shares: Shares,
    freed: Notify,
    permits: Arc<Semaphore>,
    /// The last tenth, for Services with few connections.
    kept: Arc<Semaphore>,
    flow_permits: Arc<Semaphore>,
    most: usize,
    at_limit: AtomicBool,
    out_of_files: AtomicBool,
}

/// The right to one connection, given back when dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    _any: OwnedSemaphorePermit,
    _slot: Slot,
}

/// The right to one UDP flow, given back when dropped.
#[derive(Debug)]
pub(crate) struct FlowPermit {
    _flow: OwnedSemaphorePermit,
    _permit: Permit,
}

impl Traffic {
    pub(crate) fn new(workers: Workers, most: usize, connect_timeout: Duration) -> Self {
        let most = most.min(Semaphore::MAX_PERMITS);
        Self {
            totals: Totals::default(),
            connect_timeout,
            workers,
            tasks: TaskTracker::new(),
            end: CancellationToken::new(),
            shares: Shares::default(),
            freed: Notify::new(),
            permits: Arc::new(Semaphore::new(most - kept(most))),
            kept: Arc::new(Semaphore::new(kept(most))),
            flow_permits: Arc::new(Semaphore::new(most.div_ceil(FLOWS_SHARE))),
            most,
            at_limit: AtomicBool::new(false),
            out_of_files: AtomicBool::new(false),
        }
    }

    /// Counts a connection or flow that was let in.
    pub(crate) fn accepted(&self, front: &Front) {
        count(&front.accepted, &self.totals.accepted);
    }

    /// Counts a client that may not connect.
    pub(crate) fn refused_by_range(&self, front: &Front) {
        count(&front.refused_by_range, &self.totals.refused_by_range);
    }

    /// Counts a client for whom there is no target.
    pub(crate) fn refused_without_target(&self, front: &Front) {
        let totals = &self.totals;
        count(
            &front.refused_without_target,
            &totals.refused_without_target,
        );
    }

    /// Counts an attempt to reach a target that failed.
    pub(crate) fn connect_failed(&self, front: &Front, backend: &Backend) {
        backend.failed.fetch_add(1, Relaxed);
        count(&front.connect_failures, &self.totals.connect_failures);
    }

    /// The right to one connection of a listener with these settings; waits while its Service, or all together, have as many as
    /// they may. The settings are then those that hold after the wait.
    pub(crate) async fn permit(
        &self,
        front: &Front,
        mut settings: Arc<Settings>,
    ) -> (Permit, Arc<Settings>) {
        let slot = self.slot(front, &mut settings).await;
        let any = match self.try_any(&slot) {
            Some(any) => any,
            None => {
                front.held_by_all.fetch_add(1, Relaxed);
                let any = self.any(&slot).await;
                settings = front.settings();
                any
            }
        };
        let permit = Permit {
            _any: any,
            _slot: slot,
        };
        (permit, settings)
    }

    /// A connection's place among those of its Service.
    async fn slot(&self, front: &Front, settings: &mut Arc<Settings>) -> Slot {
        if let Some(slot) = settings.share.enter(settings.max_connections) {
            return slot;
        }
        let mut held = false;
        loop {
            // Read anew each time: the limit may be another one now.
            *settings = front.settings();
            let changed = settings.share.changed();
            if let Some(slot) = settings.share.enter(settings.max_connections) {
                return slot;
            }
            if !std::mem::replace(&mut held, true) {
                front.held_by_service.fetch_add(1, Relaxed);
            }
            changed.await;
        }
    }

    fn try_any(&self, slot: &Slot) -> Option<OwnedSemaphorePermit> {
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            // Well below the limit again: the next time is news again.
            if self.permits.available_permits() > self.most / 10 {
                self.at_limit.store(false, Relaxed);
            }
            return Some(permit);
        }
        if self.may_use_kept(slot)
            && let Ok(permit) = Arc::clone(&self.kept).try_acquire_owned()
        {
            return Some(permit);
        }
        if !self.at_limit.swap(true, Relaxed) {
            tracing::warn!(
                limit = self.most,
                "as many connections as allowed are open; further ones wait"
            );
        }
        None
    }

    async fn any(&self, slot: &Slot) -> OwnedSemaphorePermit {
        let (permits, kept) = (Arc::clone(&self.permits), Arc::clone(&self.kept));
        let permit = if self.may_use_kept(slot) {
            tokio::select! {
                permit = permits.acquire_owned() => permit,
                permit = kept.acquire_owned() => permit,
            }
        } else {
            permits.acquire_owned().await
        };
        permit.expect("the semaphores are never closed")
    }

    /// Whether a Service has so few connections that it may use what is kept. One that is alone takes it from nobody.
    fn may_use_kept(&self, slot: &Slot) -> bool {
        slot.open() <= few(self.most) || self.shares.services() == 1
    }

    /// The right to one UDP flow, which is one of the connections that are allowed; None when there is none left.
    pub(crate) fn flow_permit(&self, settings: &Settings) -> Option<FlowPermit> {
        let flow = Arc::clone(&self.flow_permits).try_acquire_owned().ok()?;
        let slot = settings.share.enter(settings.max_connections)?;
        let any = self.try_any(&slot)?;
        let permit = Permit {
            _any: any,
            _slot: slot,
        };
        Some(FlowPermit {
            _flow: flow,
            _permit: permit,
        })
    }

    /// Waits until a file descriptor may be free again.
    pub(crate) async fn wait_for_files(&self, front: &Front) {
        self.out_of_files(true);
        front.set_stuck(Some(bind::out_of_files()));
        tokio::select! {
            () = self.freed.notified() => {}
            // Others than connections use files too, and tell nobody.
            () = sleep(SHORTAGE_WAIT) => {}
        }
    }

    /// Notes whether file descriptors have run out, and logs it when that is news.
    pub(crate) fn out_of_files(&self, out: bool) {
        // Read first: this is called for every connection, and nearly always changes nothing.
        if self.out_of_files.load(Relaxed) == out || self.out_of_files.swap(out, Relaxed) == out {
            return;
        }
        if out {
            tracing::warn!(
                "no file descriptor is left, new connections wait; raise the limit of open files"
            );
        } else {
            tracing::info!("connections are accepted again");
        }
    }

    /// Tells that a connection has ended and its files are free.
    pub(crate) fn freed(&self) {
        self.freed.notify_one();
    }

    pub(crate) fn most(&self) -> usize {
        self.most
    }
}

fn count(of_listener: &AtomicU64, of_all: &AtomicU64) {
    of_listener.fetch_add(1, Relaxed);
    of_all.fetch_add(1, Relaxed);
}

/// Raises the limit of open files as far as the system lets an ordinary process, and returns how many connections
/// that allows.
pub(crate) fn connections_allowed() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let files = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(error) => {
            tracing::debug!(%error, "the limit of open files stays as it is");
            limit.current
        }
    };
    connections_for(files)
}

/// Connections that Services with many do not get: so one alone cannot keep the others out.
fn kept(most: usize) -> usize {
    most / 10
}

/// Connections that each Service may have of those that are kept: enough for eight of them at a time.
fn few(most: usize) -> usize {
    (kept(most) / 8).max(1)
}

fn connections_for(files: Option<u64>) -> usize {
    // Without a limit the kernel's own one decides; a million files is what it allows by default (fs.nr_open).
    let files = files.unwrap_or(1 << 20);
    // Where there are few files, half of them are for connections.
    let connections = files.saturating_sub(FILES_KEPT.min(files / 2)) / FILES_PER_CONNECTION;
    usize::try_from(connections).unwrap_or(usize::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_files_bounds_the_connections() {
        for (files, want) in [
            (Some(0), 1),
            (Some(64), 16),
            (Some(1_024), 256),
            (Some(20_768), 10_000),
            (None, 523_904),
            (Some(u64::MAX), usize::MAX / 2 - 384),
        ] {
            assert_eq!(connections_for(files), want, "{files:?}");
        }
    }
}
