//! A backend set at work: its targets, their connections and their draining.
//!
//! Targets keep their identity (address and port) over every change of the set, and with it their open connections,
//! counters and probe. A target that leaves gets a deadline that its connections watch; one that comes back loses it.
//! Of a million targets most never get a connection: what counts them is made with the first one.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

use super::{
    affinity::{Affinity, Record, file::Memory},
    balance::{Candidate, choose},
    deadline,
    health::Standing,
    prober::{Probe, Probes},
    store::targets::{KeptSet, Targets},
};
use crate::api::{BackendSetStatus, Health, Target, TargetStatus};

/// One target of one set from its first connection on, for as long as it is in the set or has connections.
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

/// What a flow knows of its target: whether it may go on there.
#[derive(Clone, Debug)]
pub(crate) struct Tenure {
    /// The version of the set that this was read from.
    version: u64,
    /// Kept by flows also after the target has left the set: a leaving target that dies keeps no flow.
    probe: Option<Arc<Probe>>,
    /// When the target's time to drain ends, once it has left.
    until: Option<Instant>,
}

impl Tenure {
    /// Whether datagrams may go on to the target.
    pub(crate) fn holds(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| now < until)
            && self
                .probe
                .as_ref()
                .is_none_or(|probe| probe.standing() != Standing::Unhealthy)
    }
}

/// A target in the set, which knows the rest by its index. There are very many of them.
#[derive(Clone, Debug, Default)]
struct Member {
    /// None before its first connection.
    backend: Option<Arc<Backend>>,
    probe: Option<Arc<Probe>>,
}

impl Member {
    /// What is thought of it; without a check everything is healthy.
    fn standing(&self) -> Standing {
        self.probe
            .as_ref()
            .map_or(Standing::Healthy, |probe| probe.standing())
    }

    fn open(&self) -> u64 {
        self.backend.as_ref().map_or(0, |backend| backend.open())
    }
}

/// A target that is or was in the set, and had a connection.
#[derive(Debug)]
struct Served {
    target: Target,
    backend: Arc<Backend>,
}

/// What is told of a target in the set.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) target: Target,
    pub(crate) standing: Standing,
    /// None before its first connection.
    pub(crate) backend: Option<Arc<Backend>>,
}

/// A backend set at work.
#[derive(Debug)]
pub(crate) struct BackendSet {
    inner: Mutex<Inner>,
    /// Grows with every change of the set.
    version: AtomicU64,
}

#[derive(Debug, Default)]
struct Inner {
    targets: Targets,
    /// One per target, in the same order.
    members: Box<[Member]>,
    /// Removed targets that may still have connections.
    leaving: Vec<Served>,
    drain: Duration,
    cursor: usize,
    /// Where clients went last, when they shall go there again.
    affinity: Option<Affinity>,
}

impl BackendSet {
    pub(crate) fn new(spec: &KeptSet, probes: &Probes) -> Self {
        let set = Self {
            inner: Mutex::default(),
            version: AtomicU64::new(0),
        };
        set.update(spec, probes);
        set
    }

    /// Makes the set what the spec says. Connections to targets that stay are not touched.
    pub(crate) fn update(&self, KeptSet { targets, rest }: &KeptSet, probes: &Probes) {
        let mut inner = self.lock();
        let before: Vec<_> = inner.targets.addresses().collect();
        inner.drain = Duration::from_secs(rest.drain_seconds.into());
        let leaving = std::mem::take(&mut inner.leaving)
            .into_iter()
            .map(|served| (served.backend.address, (Some(served), None)));
        let mut known: HashMap<SocketAddr, (Option<Served>, Option<Arc<Probe>>)> =
            inner.dismiss().chain(leaving).collect();
        inner.members = targets
            .addresses()
            .map(|address| {
                let (served, before) = known.remove(&address).unwrap_or_default();
                let believed =
                    before.map_or(Health::Initial, |probe: Arc<Probe>| probe.standing().into());
                let probe = rest
                    .health_check
                    .as_ref()
                    .map(|check| probes.want(address, check, believed));
                let backend = served.map(|served| served.backend);
                if let Some(backend) = &backend {
                    backend.stay();
                }
                Member { backend, probe }
            })
            .collect();
        inner.targets = targets.clone();
        inner.leave(known.into_values().filter_map(|(served, _)| served));
        inner.follow(rest.affinity_seconds, &before);
        self.version.fetch_add(1, Relaxed);
    }

    /// Lets every target go, as when the set is deleted.
    pub(crate) fn close(&self) {
        let mut inner = self.lock();
        let served: Vec<_> = inner
            .dismiss()
            .filter_map(|(_, (served, _))| served)
            .collect();
        inner.leave(served);
        self.version.fetch_add(1, Relaxed);
    }

    /// Whether a flow may stay with its target, given what it knew before. Costs next to nothing while the set does not change.
    pub(crate) fn tenure(&self, backend: &Arc<Backend>, before: Option<Tenure>) -> Tenure {
        let version = self.version.load(Relaxed);
        let probe = match before {
            Some(before) if before.version == version => return before,
            before => before.and_then(|before| before.probe),
        };
        let inner = self.lock();
        let member = inner.members.iter().find(|member| {
            let at = member.backend.as_ref();
            at.is_some_and(|at| Arc::ptr_eq(at, backend))
        });
        Tenure {
            // Under the lock, so that no change is missed.
            version: self.version.load(Relaxed),
            probe: member.map_or(probe, |member| member.probe.clone()),
            until: *backend.deadline().borrow(),
        }
    }

    /// Takes a place for a client at the target that is next, leaving out those that were tried.
    pub(crate) fn place(&self, client: IpAddr, tried: &[SocketAddr]) -> Option<Place> {
        let mut inner = self.lock();
        if let Some(index) = inner.kept(client, tried) {
            return Some(inner.take(client, index));
        }
        let index = choose(inner.cursor, inner.members.len(), |index| {
            let member = &inner.members[index];
            Candidate {
                standing: member.standing(),
                open: member.open(),
                tried: tried.contains(&inner.targets.address(index)),
            }
        })?;
        inner.cursor = index + 1;
        Some(inner.take(client, index))
    }

    /// How many clients are remembered; None without affinity.
    pub(crate) fn clients(&self) -> Option<usize> {
        self.lock().affinity.as_ref().map(Affinity::len)
    }

    /// Changes how many clients may be remembered.
    pub(crate) fn limit_clients(&self, most: usize) {
        if let Some(affinity) = &mut self.lock().affinity {
            affinity.limit(most, Instant::now());
        }
    }

    /// Grows with every change of what is remembered; None while nothing is.
    pub(crate) fn revision(&self) -> Option<u64> {
        let inner = self.lock();
        inner.affinity.as_ref().map(Affinity::revision)
    }

    /// What is remembered, to be kept over a restart.
    pub(crate) fn memory(&self) -> Option<Memory> {
        let mut inner = self.lock();
        let targets = inner.targets.addresses().collect();
        let records = inner.affinity.as_mut()?.records(Instant::now());
        Some(Memory { targets, records })
    }

    /// Takes up what was remembered before a restart.
    pub(crate) fn recall(&self, memory: &Memory) {
        let mut inner = self.lock();
        let known: HashMap<SocketAddr, u32> = inner.targets.addresses().zip(0..).collect();
        let here = |record: &Record| {
            let address = memory.targets.get(record.target as usize)?;
            let target = *known.get(address)?;
            Some(Record { target, ..*record })
        };
        if let Some(affinity) = &mut inner.affinity {
            affinity.restore(memory.records.iter().filter_map(here), Instant::now());
        }
    }

    /// How long connections of what was removed may live on.
    pub(crate) fn drain(&self) -> Duration {
        self.lock().drain
    }

    /// How many connections each target has had, in the order of the targets.
    pub(crate) fn connected(&self) -> Vec<u64> {
        let connected = |member: &Member| {
            let backend = member.backend.as_ref()?;
            Some(backend.connected.load(Relaxed))
        };
        let inner = self.lock();
        let members = inner.members.iter();
        members
            .map(|member| connected(member).unwrap_or(0))
            .collect()
    }

    /// What is told of the target at an index; None when there is none.
    pub(crate) fn told(&self, index: usize) -> Option<Told> {
        let inner = self.lock();
        let member = inner.members.get(index)?;
        Some(Told {
            target: inner.targets.get(index),
            standing: member.standing(),
            backend: member.backend.clone(),
        })
    }

    pub(crate) fn status(&self) -> BackendSetStatus {
        let mut inner = self.lock();
        inner.leaving.retain(|served| served.backend.open() > 0);
        let members = inner.targets.iter().zip(&inner.members);
        let targets = members.map(|(target, member)| TargetStatus {
            target,
            health: member.standing().into(),
            reason: member.probe.as_ref().and_then(|probe| probe.reason()),
        });
        BackendSetStatus {
            targets: targets.collect(),
            draining: inner
                .leaving
                .iter()
                .map(|served| served.target.clone())
                .collect(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Takes all members out, by their addresses.
    fn dismiss(
        &mut self,
    ) -> impl Iterator<Item = (SocketAddr, (Option<Served>, Option<Arc<Probe>>))> + use<> {
        let targets = std::mem::take(&mut self.targets);
        let members = std::mem::take(&mut self.members).into_iter().enumerate();
        members.map(move |(index, Member { backend, probe })| {
            let served = backend.map(|backend| Served {
                target: targets.get(index),
                backend,
            });
            (targets.address(index), (served, probe))
        })
    }

    /// Begins or ends to remember clients, and forgets those of targets that have gone.
    fn follow(&mut self, affinity_seconds: Option<u32>, before: &[SocketAddr]) {
        let Some(seconds) = affinity_seconds else {
            self.affinity = None;
            return;
        };
        let after: Vec<_> = self.targets.addresses().collect();
        let affinity = self
            .affinity
            .get_or_insert_with(|| Affinity::new(seconds, Instant::now()));
        affinity.set_timeout(seconds);
        affinity.retarget(before, &after);
    }

    /// The target that the client went to last, while it can serve. One that was not probed yet is given its chance: after a
    /// restart that is every target.
    fn kept(&self, client: IpAddr, tried: &[SocketAddr]) -> Option<usize> {
        let index = self.affinity.as_ref()?.find(client, Instant::now())?;
        let untried = |index: usize| !tried.contains(&self.targets.address(index));
        let healthy = |(index, member): (usize, &Member)| {
            member.standing() == Standing::Healthy && untried(index)
        };
        let member = self.members.get(index).filter(|_| untried(index))?;
        let serves = match member.standing() {
            Standing::Healthy | Standing::Initial => true,
            Standing::Flapping => !self.members.iter().enumerate().any(healthy),
            Standing::Unhealthy => false,
        };
        serves.then_some(index)
    }

    fn take(&mut self, client: IpAddr, index: usize) -> Place {
        if let Some(affinity) = &mut self.affinity {
            affinity.note(client, index, Instant::now());
        }
        let address = self.targets.address(index);
        let new = || Arc::new(Backend::new(address));
        let backend = Arc::clone(self.members[index].backend.get_or_insert_with(new));
        // It must be there before the target can leave.
        backend.deadline();
        // Counted before the lock is released: connections that come at once must not all choose the same.
        backend.open.fetch_add(1, Relaxed);
        Place { backend }
    }

    /// Lets targets drain. Nobody wants to know their health any more.
    fn leave(&mut self, all: impl IntoIterator<Item = Served>) {
        let until = Instant::now() + self.drain;
        for served in all {
            // One that left before keeps the deadline it got then.
            served.backend.leave(until);
            self.leaving.push(served);
        }
        self.leaving.retain(|served| served.backend.open() > 0);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::{api::BackendSetSpec, dataplane::store::lists::Lists};

    const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

    fn spec(ports: &[u16], drain_seconds: u32) -> KeptSet {
        let address = "127.0.0.1".parse().expect("an address");
        let target = |port: &u16| Target {
            node: format!("node-{port}"),
            address,
            port: *port,
        };
        let spec = BackendSetSpec {
            targets: ports.iter().map(target).collect(),
            health_check: None,
            drain_seconds,
            affinity_seconds: None,
        };
        KeptSet::of(spec, &Lists::default())
    }

    fn sticky(ports: &[u16]) -> KeptSet {
        let mut set = spec(ports, 30);
        set.rest.affinity_seconds = Some(60);
        set
    }

    fn client(number: u8) -> IpAddr {
        Ipv4Addr::new(192, 0, 2, number).into()
    }

    /// Where a short connection of the client goes.
    fn port(set: &BackendSet, client: IpAddr, tried: &[SocketAddr]) -> Option<u16> {
        Some(set.place(client, tried)?.backend.address.port())
    }

    fn ports(targets: &[Target]) -> Vec<u16> {
        targets.iter().map(|target| target.port).collect()
    }

    #[test]
    fn a_target_that_never_had_a_connection_costs_two_pointers() {
        assert_eq!(size_of::<Member>(), 2 * size_of::<usize>());
        let kept = spec(&[1, 2], 30);
        let set = BackendSet::new(&kept, &Probes::default());
        let inner = set.lock();
        assert!(Arc::ptr_eq(inner.targets.nodes(), kept.targets.nodes()));
        assert!(inner.members.iter().all(|member| member.backend.is_none()));
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
    async fn a_client_stays_with_its_target_until_its_time_is_over() {
        for (age, stays) in [(0, true), (59, true), (60, false), (600, false)] {
            let set = BackendSet::new(&sticky(&[1, 2, 3]), &Probes::default());
            let address = SocketAddr::new("127.0.0.1".parse().expect("an address"), 1);
            set.recall(&Memory {
                targets: vec![address],
                records: vec![Record {
                    client: client(1),
                    target: 0,
                    age: Duration::from_secs(age),
                }],
            });
            // Whoever is placed anew goes where the fewest connections are.
            let _open = set.place(client(2), &[]).expect("a target");
            let first = port(&set, client(1), &[]);
            assert_eq!(first == Some(1), stays, "{age}");
            for _ in 0..5 {
                assert_eq!(port(&set, client(1), &[]), first, "{age}");
            }
        }
    }

    #[tokio::test]
    async fn a_client_whose_target_is_gone_stays_with_the_next_one() {
        let probes = Probes::default();
        let set = BackendSet::new(&sticky(&[1, 2, 3]), &probes);
        let first = port(&set, client(1), &[]).expect("a target");
        let rest: Vec<u16> = (1..=3).filter(|port| *port != first).collect();
        set.update(&sticky(&rest), &probes);
        let second = port(&set, client(1), &[]).expect("a target");
        assert_ne!(second, first);
        set.update(&sticky(&[3, 2, 1]), &probes);
        for _ in 0..5 {
            assert_eq!(port(&set, client(1), &[]), Some(second));
        }
        // It did not answer.
        let address = SocketAddr::new("127.0.0.1".parse().expect("an address"), second);
        let third = port(&set, client(1), &[address]).expect("another target");
        assert_ne!(third, second);
        assert_eq!(port(&set, client(1), &[]), Some(third));
    }

    #[tokio::test]
    async fn affinity_that_is_switched_off_remembers_nothing() {
        let probes = Probes::default();
        let set = BackendSet::new(&spec(&[1, 2, 3], 30), &probes);
        assert_eq!(set.clients(), None);
        let spread = |set: &BackendSet| {
            let ports = (0..3).filter_map(|_| port(set, client(1), &[]));
            ports.collect::<std::collections::BTreeSet<_>>().len()
        };
        assert_eq!(spread(&set), 3);
        set.update(&sticky(&[1, 2, 3]), &probes);
        assert_eq!((spread(&set), set.clients()), (1, Some(1)));
        set.update(&spec(&[1, 2, 3], 30), &probes);
        assert_eq!((spread(&set), set.clients()), (3, None));
        set.update(&sticky(&[1, 2, 3]), &probes);
        assert_eq!(set.clients(), Some(0));
    }

    #[tokio::test]
    async fn what_was_remembered_is_recalled_where_its_target_is_still_there() {
        let probes = Probes::default();
        let set = BackendSet::new(&sticky(&[1, 2, 3]), &probes);
        let ports: Vec<_> = (0..6)
            .map(|number| port(&set, client(number), &[]))
            .collect();
        let memory = set.memory().expect("affinity is on");
        let again = BackendSet::new(&sticky(&[3, 1]), &probes);
        again.recall(&memory);
        assert_eq!(again.clients(), Some(4));
        for (number, before) in (0..).zip(ports) {
            let now = port(&again, client(number), &[]);
            assert!(
                before == Some(2) || now == before,
                "{number}: {before:?} {now:?}"
            );
        }
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
