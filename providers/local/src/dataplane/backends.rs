//! A backend set at work: its targets, their connections and their draining.
//!
//! Targets keep their identity (address and port) over every change of the set, and with it their open connections,
//! counters and probe. A target that leaves gets a deadline that its connections watch; one that comes back loses it.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

use super::{
    balance::{Candidate, choose},
    deadline,
    health::Standing,
    prober::{Probe, Probes},
};
use crate::api::{BackendSetSpec, BackendSetStatus, Health, Target, TargetStatus};

/// One target of one set, for as long as it is in the set or has connections.
#[derive(Debug)]
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    /// Connections open now.
    open: AtomicU64,
    /// Connections that were opened.
    pub(crate) connected: AtomicU64,
    /// Attempts to open one that failed.
    pub(crate) failed: AtomicU64,
    /// Bytes from clients to the target.
    pub(crate) received: AtomicU64,
    /// Bytes from the target to clients.
    pub(crate) sent: AtomicU64,
    /// When its connections end, once it has had one: a watch takes more memory than all the rest.
    drain: OnceLock<watch::Sender<Option<Instant>>>,
}

impl Backend {
    fn new(address: SocketAddr) -> Self {
        Self {
            address,
            open: AtomicU64::new(0),
            connected: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            drain: OnceLock::new(),
        }
    }

    pub(crate) fn open(&self) -> u64 {
        self.open.load(Relaxed)
    }

    fn deadline(&self) -> &watch::Sender<Option<Instant>> {
        self.drain.get_or_init(watch::Sender::default)
    }

    /// Takes the deadline of its connections away.
    fn stay(&self) {
        if let Some(drain) = self.drain.get() {
            drain.send_if_modified(|drain| drain.take().is_some());
        }
    }

    /// Gives its connections a deadline, unless they have one.
    fn leave(&self, until: Instant) {
        if let Some(drain) = self.drain.get() {
            drain.send_if_modified(|drain| drain.replace(drain.unwrap_or(until)).is_none());
        }
    }
}

/// A connection's place at a target: counts as open until dropped.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) backend: Arc<Backend>,
}

impl Place {
    /// Waits until the target was removed and its time to drain has passed.
    pub(crate) async fn drained(&self) {
        deadline::passed(self.backend.deadline().subscribe()).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.backend.open.fetch_sub(1, Relaxed);
    }
}

/// A target in the set.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) target: Target,
    pub(crate) backend: Arc<Backend>,
    probe: Option<Arc<Probe>>,
}

impl Member {
    /// What is thought of it; without a check everything is healthy.
    pub(crate) fn standing(&self) -> Standing {
        self.probe
            .as_ref()
            .map_or(Standing::Healthy, |probe| probe.standing())
    }
}

/// A backend set at work.
#[derive(Debug)]
pub(crate) struct BackendSet {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    members: Vec<Member>,
    /// Removed targets that may still have connections.
    leaving: Vec<Member>,
    drain: Duration,
    cursor: usize,
}

impl BackendSet {
    pub(crate) fn new(spec: &BackendSetSpec, probes: &Probes) -> Self {
        let set = Self {
            inner: Mutex::default(),
        };
        set.update(spec, probes);
        set
    }

    /// Makes the set what the spec says. Connections to targets that stay are not touched.
    pub(crate) fn update(&self, spec: &BackendSetSpec, probes: &Probes) {
        let mut inner = self.lock();
        inner.drain = Duration::from_secs(spec.drain_seconds.into());
        let mut known: std::collections::HashMap<SocketAddr, Member> =
            std::mem::take(&mut inner.members)
                .into_iter()
                .chain(std::mem::take(&mut inner.leaving))
                .map(|member| (member.backend.address, member))
                .collect();
        inner.members = spec
            .targets
            .iter()
            .map(|target| {
                let address = SocketAddr::new(target.address, target.port);
                let known = known.remove(&address);
                let believed = known
                    .as_ref()
                    .and_then(|member| member.probe.as_ref())
                    .map_or(Health::Initial, |probe| probe.standing().into());
                let probe = spec
                    .health_check
                    .as_ref()
                    .map(|check| probes.want(target, check, believed));
                let backend =
                    known.map_or_else(|| Arc::new(Backend::new(address)), |member| member.backend);
                backend.stay();
                Member {
                    target: target.clone(),
                    backend,
                    probe,
                }
            })
            .collect();
        inner.leave(known.into_values());
    }

    /// Lets every target go, as when the set is deleted.
    pub(crate) fn close(&self) {
        let mut inner = self.lock();
        let members = std::mem::take(&mut inner.members);
        inner.leave(members);
    }

    /// Takes a place for a client at the target that is next, leaving out those that were tried.
    pub(crate) fn place(&self, _client: IpAddr, tried: &[SocketAddr]) -> Option<Place> {
        let mut inner = self.lock();
        let index = choose(inner.cursor, inner.members.len(), |index| {
            let member = &inner.members[index];
            Candidate {
                standing: member.standing(),
                open: member.backend.open(),
                tried: tried.contains(&member.backend.address),
            }
        })?;
        inner.cursor = index + 1;
        let backend = Arc::clone(&inner.members[index].backend);
        // It must be there before the target can leave.
        backend.deadline();
        // Counted before the lock is released: connections that come at once must not all choose the same.
        backend.open.fetch_add(1, Relaxed);
        Some(Place { backend })
    }

    /// How long connections of what was removed may live on.
    pub(crate) fn drain(&self) -> Duration {
        self.lock().drain
    }

    pub(crate) fn members(&self) -> Vec<Member> {
        self.lock().members.clone()
    }

    pub(crate) fn status(&self) -> BackendSetStatus {
        let mut inner = self.lock();
        inner.leaving.retain(|member| member.backend.open() > 0);
        let targets = inner.members.iter().map(|member| TargetStatus {
            target: member.target.clone(),
            health: member.standing().into(),
            reason: member.probe.as_ref().and_then(|probe| probe.reason()),
        });
        BackendSetStatus {
            targets: targets.collect(),
            draining: inner
                .leaving
                .iter()
                .map(|member| member.target.clone())
                .collect(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn leave(&mut self, members: impl IntoIterator<Item = Member>) {
        let until = Instant::now() + self.drain;
        for mut member in members {
            // Nobody wants to know a leaving target's health; its probe may end.
            member.probe = None;
            // One that left before keeps the deadline it got then.
            member.backend.leave(until);
            self.leaving.push(member);
        }
        self.leaving.retain(|member| member.backend.open() > 0);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

    fn spec(ports: &[u16], drain_seconds: u32) -> BackendSetSpec {
        let address = "127.0.0.1".parse().expect("an address");
        let target = |port: &u16| Target {
            node: format!("node-{port}"),
            address,
            port: *port,
        };
        BackendSetSpec {
            targets: ports.iter().map(target).collect(),
            health_check: None,
            drain_seconds,
        }
    }

    fn ports(targets: &[Target]) -> Vec<u16> {
        targets.iter().map(|target| target.port).collect()
    }

    #[tokio::test]
    async fn a_removed_target_drains_and_one_that_returns_does_not() {
        let probes = Probes::default();
        let set = BackendSet::new(&spec(&[1], 30), &probes);
        let place = set.place(CLIENT, &[]).expect("a target");
        let deadline = || *place.backend.deadline().borrow();
        assert_eq!(deadline(), None);

        let started = Instant::now();
        set.update(&spec(&[2], 30), &probes);
        assert_eq!(ports(&set.status().draining), [1]);
        assert_eq!(
            set.place(CLIENT, &[])
                .expect("a target")
                .backend
                .address
                .port(),
            2
        );
        let first = deadline().expect("it drains");
        assert!(first >= started + Duration::from_secs(30));

        set.update(&spec(&[2, 3], 3_000), &probes);
        assert_eq!(
            deadline(),
            Some(first),
            "the first deadline holds when the set changes again"
        );
        set.update(&spec(&[1, 2], 30), &probes);
        assert_eq!(ports(&set.status().draining), [0u16; 0]);
        assert_eq!(deadline(), None, "a target that came back drains nothing");

        set.update(&spec(&[2], 0), &probes);
        place.drained().await;
        drop(place);
        assert_eq!(ports(&set.status().draining), [0u16; 0]);
    }

    #[tokio::test]
    async fn a_deleted_set_gives_no_place() {
        let set = BackendSet::new(&spec(&[1], 30), &Probes::default());
        let _open = set.place(CLIENT, &[]).expect("a target");
        set.close();
        assert!(set.place(CLIENT, &[]).is_none());
        assert_eq!(ports(&set.status().draining), [1]);
    }

    #[tokio::test]
    async fn a_place_counts_until_it_is_dropped() {
        let set = BackendSet::new(&spec(&[1, 2], 30), &Probes::default());
        let first = set.place(CLIENT, &[]).expect("a target");
        let second = set
            .place(CLIENT, &[first.backend.address])
            .expect("the other target");
        assert_ne!(first.backend.address, second.backend.address);
        assert!(
            set.place(CLIENT, &[first.backend.address, second.backend.address])
                .is_none()
        );
        let backend = Arc::clone(&first.backend);
        assert_eq!(backend.open(), 1);
        drop(first);
        assert_eq!(backend.open(), 0);
    }
}
