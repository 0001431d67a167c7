//! UDP: datagrams of a client go to one target, and what the target says goes back from the listener's own address. Reads
//! and writes the network.
//!
//! ```text
//! client ─> listening socket ─> flow (flows) ─> connected socket (upstream) ─> target
//!        <─      in batches (batch)         <─   one epoll for all flows    <─
//! ```
//!
//! A listener has a shard per thread, up to [`MOST_SHARDS`]; the kernel gives each client to one of them, so that shards share
//! nothing. A shard is one task for both directions and all its flows. Nothing ever waits for a full socket: the datagram is
//! dropped and counted, as on any full link.

use std::{
    io,
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use rustix::{
    event::{
        Timespec,
        epoll::{self, CreateFlags, Event, EventData, EventFlags},
    },
    io::Errno,
};
use socket2::{SockRef, Socket};
use tokio::{
    io::{Interest, unix::AsyncFd},
    net::UdpSocket,
    task::{JoinSet, coop::consume_budget},
    time::{Instant, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use self::{
    batch::{BATCH, Buffers, Sent, with_buffers},
    flows::{Flows, IDLE},
    leaving::Leaving,
    upstream::Upstream,
};
use super::{
    access::Access,
    backends::Backend,
    bind,
    listener::{Front, Settings, Shared},
    proxy::Guard,
    proxy_header,
    traffic::{FlowPermit, Traffic},
};
use crate::api::Protocol;

mod batch;
mod flows;
pub(crate) mod leaving;
mod upstream;

/// More gain little: the kernel's own work per datagram is done by whoever sends.
const MOST_SHARDS: usize = 8;
/// Targets that are tried for one datagram.
const ATTEMPTS: usize = 4;
/// Time between two looks at which flows have ended.
const SWEEP: Duration = Duration::from_secs(1);
/// Flows with something to read that are told at once.
const EVENTS: usize = 64;
/// Datagrams that are read from one flow before the next has its turn.
const ANSWERS: usize = 8;
const NO_EVENTS: [Event; EVENTS] = [Event {
    flags: EventFlags::empty(),
    data: EventData::new_u64(0),
}; EVENTS];
const NOW: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

/// How many shards a listener of this process has.
pub(crate) fn shards() -> usize {
    tokio::runtime::Handle::current()
        .metrics()
        .num_workers()
        .clamp(1, MOST_SHARDS)
}

/// One of a listener's sockets with the flows of the clients that it hears.
#[derive(Debug)]
pub(crate) struct Shard {
    socket: Arc<UdpSocket>,
    /// Readable when the socket of a flow is.
    targets: AsyncFd<OwnedFd>,
    state: State,
}

#[derive(Debug)]
struct State {
    flows: Flows<Route>,
    front: Arc<Front>,
    traffic: Arc<Traffic>,
    settings: Arc<Settings>,
    /// Grows whenever the settings are others.
    epoch: u64,
}

/// A flow's way, and what it holds while it is there.
#[derive(Debug)]
struct Route {
    /// None after its target refused: the next datagram finds another.
    upstream: Option<Upstream>,
    /// The target that refused last.
    refused_by: Option<SocketAddr>,
    /// The settings that its client was let in under.
    epoch: u64,
    /// What is put in front of every datagram.
    header: Vec<u8>,
    access: Option<Access>,
    _guard: Guard,
    _permit: FlowPermit,
}

impl Shard {
    pub(crate) fn new(
        socket: Socket,
        front: Arc<Front>,
        traffic: Arc<Traffic>,
    ) -> io::Result<Self> {
        let targets = epoll::create(CreateFlags::CLOEXEC)?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe for the sake of types whose file may change; an owned one stays the same"
        )]
        let targets = AsyncFd::with_interest(targets, Interest::READABLE)?;
        Ok(Self {
            socket: Arc::new(UdpSocket::from_std(socket.into())?),
            targets,
            state: State {
                flows: Flows::new(),
                settings: front.settings(),
                front,
                traffic,
                epoch: 0,
            },
        })
    }

    /// The open port, for the data plane that takes over.
    pub(crate) fn socket(&self) -> Shared {
        Arc::clone(&self.socket) as Shared
    }

    /// Passes datagrams both ways until told to stop. Flows of a listener that was deleted go on for as long as they may.
    async fn serve(self, stop: CancellationToken) {
        let Self {
            socket,
            targets,
            mut state,
        } = self;
        let mut sweep = interval(SWEEP);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                // An error would come again from reading, which tells it.
                _ = socket.readable() => state.hear_clients(&socket, targets.as_fd()),
                ready = targets.readable() => {
                    let more = state.hear_targets(&socket, targets.as_fd());
                    if let (false, Ok(mut ready)) = (more, ready) {
                        ready.clear_ready();
                    }
                }
                _ = sweep.tick(), if !state.flows.is_empty() => state.sweep(),
            }
            // Both sides may be ready again and again; others must get their turn.
            consume_budget().await;
        }
        // None where the process hands over or ends.
        let until = *state.front.deadline.borrow();
        if let Some(until) = until.filter(|until| *until > Instant::now()) {
            if let Err(error) = SockRef::from(&*socket).set_reuse_port(true) {
                tracing::debug!(resource.id = state.front.name, %error, "the port cannot be shared");
            }
            let traffic = Arc::clone(&state.traffic);
            let leaving = Leaving::begin(state, targets);
            traffic.tasks.spawn(leaving.serve(until));
        }
    }
}

/// Runs the shards of a listener until told to stop; their port is free then.
pub(crate) async fn serve(shards: Vec<Shard>, stop: CancellationToken) {
    let mut tasks = JoinSet::new();
    for shard in shards {
        tasks.spawn(shard.serve(stop.clone()));
    }
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "passing datagrams had failed");
            // The others end too, so that the whole port is opened again.
            stop.cancel();
        }
    }
}

impl State {
    /// Sends a batch of datagrams of clients to their targets.
    fn hear_clients(&mut self, socket: &UdpSocket, waker: BorrowedFd<'_>) {
        let ipv4 = self.front.address.is_ipv4();
        with_buffers(|buffers| {
            let mut count = 0;
            let result = socket.try_io(Interest::READABLE, || {
                count = buffers.receive(socket.as_fd(), ipv4, 0, BATCH)?;
                if count < BATCH {
                    // Nothing more is there, which spares asking for it.
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                Ok(())
            });
            if let Err(error) = result
                && error.kind() != io::ErrorKind::WouldBlock
            {
                tracing::debug!(resource.id = self.front.name, %error, "datagrams could not be read");
                return;
            }
            if count == 0 {
                return;
            }
            self.follow_settings();
            let now = Instant::now();
            let mut sent = Sent::default();
            for (client, bytes) in buffers.datagrams() {
                if self.forward(client, bytes, waker, now) {
                    sent.datagrams += 1;
                    sent.bytes += bytes.len();
                }
            }
            self.count_received(sent);
        });
    }

    /// Counts what clients sent to their targets.
    fn count_received(&self, sent: Sent) {
        let Front { datagrams, .. } = &*self.front;
        datagrams.received.fetch_add(sent.datagrams as u64, Relaxed);
        for counter in [&self.front.received, &self.traffic.totals.received] {
            counter.fetch_add(sent.bytes as u64, Relaxed);
        }
    }

    /// How many flows have something to read, and whether there may be more.
    fn wait(&self, waker: BorrowedFd<'_>, events: &mut [Event; EVENTS]) -> (usize, bool) {
        match epoll::wait(waker, &mut events[..], Some(&NOW)) {
            Ok(told) => (told, told > 0),
            Err(Errno::INTR) => (0, true),
            Err(error) => {
                tracing::error!(resource.id = self.front.name, %error, "flows cannot be waited for");
                (0, false)
            }
        }
    }

    /// Sends what targets said to their clients; true when there may be more.
    fn hear_targets(&mut self, socket: &UdpSocket, waker: BorrowedFd<'_>) -> bool {
        let mut events = NO_EVENTS;
        let (told, more) = self.wait(waker, &mut events);
        if told == 0 {
            return more;
        }
        let now = Instant::now();
        with_buffers(|buffers| {
            let mut replies = Vec::with_capacity(BATCH);
            for event in &events[..told] {
                if replies.len() == BATCH {
                    self.reply(socket.as_fd(), buffers, &mut replies);
                }
                let id = usize::try_from(event.data.u64()).unwrap_or(usize::MAX);
                self.backward(id, event.flags, now, buffers, &mut replies);
            }
            self.reply(socket.as_fd(), buffers, &mut replies);
        });
        more
    }

    /// Reads what a flow's target said, behind the replies that are there already.
    fn backward(
        &mut self,
        id: usize,
        told: EventFlags,
        now: Instant,
        buffers: &mut Buffers,
        replies: &mut Vec<SocketAddr>,
    ) {
        let Some(flow) = self.flows.get(id) else {
            return;
        };
        let Some(upstream) = &flow.upstream.upstream else {
            return;
        };
        let backend = upstream.backend();
        match buffers.receive(
            upstream.socket(),
            backend.address.is_ipv4(),
            replies.len(),
            ANSWERS,
        ) {
            Ok(count) => {
                let new = buffers.datagrams().skip(replies.len());
                let bytes = new.map(|(_, bytes)| bytes.len()).sum::<usize>() as u64;
                backend.sent.fetch_add(bytes, Relaxed);
                if let Some(access) = &flow.upstream.access {
                    access.sent.fetch_add(bytes, Relaxed);
                }
                replies.resize(replies.len() + count, flow.client);
                flow.last = now;
                flow.answered = true;
            }
            // The way is narrower than was thought, or an error was told already that says so.
            Err(error) if is_about_the_datagram(&error) => {
                if told.contains(EventFlags::ERR) {
                    upstream.forget_errors();
                }
            }
            Err(error) => {
                refused(&self.front, &self.traffic, backend, &error);
                flow.upstream.refused_by = Some(backend.address);
                flow.upstream.upstream = None;
            }
        }
    }

    fn reply(&self, socket: BorrowedFd<'_>, buffers: &mut Buffers, replies: &mut Vec<SocketAddr>) {
        let sent = buffers.send(socket, replies);
        let Front { datagrams, .. } = &*self.front;
        datagrams.sent.fetch_add(sent.datagrams as u64, Relaxed);
        let lost = replies.len() - sent.datagrams;
        datagrams.dropped.fetch_add(lost as u64, Relaxed);
        for counter in [&self.front.sent, &self.traffic.totals.sent] {
            counter.fetch_add(sent.bytes as u64, Relaxed);
        }
        replies.clear();
        buffers.clear();
    }

    /// Sends one datagram to its flow's target; false when it was refused or dropped.
    fn forward(
        &mut self,
        client: SocketAddr,
        bytes: &[u8],
        waker: BorrowedFd<'_>,
        now: Instant,
    ) -> bool {
        let id = self.flows.of(client);
        let known = id.and_then(|id| self.flows.get(id));
        let admitted = known.is_some_and(|flow| flow.upstream.epoch == self.epoch);
        if !admitted && !self.settings.admits(client.ip()) {
            self.traffic.refused_by_range(&self.front);
            if let Some(id) = id {
                self.end(id, "refused by source range");
            }
            return false;
        }
        let id = match id {
            Some(id) => id,
            None => match self.begin(client, waker, now) {
                Some(id) => id,
                None => return false,
            },
        };
        if !admitted {
            self.apply_settings(id);
        }
        self.send(id, bytes, waker, now)
    }

    fn end(&mut self, id: usize, why: &'static str) {
        let route = self.flows.get(id).map(|flow| &flow.upstream);
        if let Some(access) = route.and_then(|route| route.access.as_ref()) {
            access.ends(why);
        }
        self.flows.remove(id);
    }

    /// Begins the flow of a client.
    fn begin(&mut self, client: SocketAddr, waker: BorrowedFd<'_>, now: Instant) -> Option<usize> {
        let permit = match self.traffic.flow_permit(&self.settings) {
            Some(permit) => permit,
            None => {
                self.flows.make_place(now);
                let Some(permit) = self.traffic.flow_permit(&self.settings) else {
                    self.front.datagrams.dropped.fetch_add(1, Relaxed);
                    return None;
                };
                permit
            }
        };
        let id = self.flows.next_id();
        let upstream = self.connect(id, client, None, waker)?;
        let guard = Guard::new(Arc::clone(&self.front), Arc::clone(&self.traffic));
        self.traffic.accepted(&self.front);
        let route = Route {
            upstream: Some(upstream),
            refused_by: None,
            epoch: self.epoch,
            header: Vec::new(),
            access: self.settings.access(&self.front, client),
            _guard: guard,
            _permit: permit,
        };
        self.flows.add(client, now, route);
        Some(id)
    }

    /// Finds a target for a flow. One that was refused by the only target there is tries that again.
    fn connect(
        &self,
        id: usize,
        client: SocketAddr,
        refused_by: Option<SocketAddr>,
        waker: BorrowedFd<'_>,
    ) -> Option<Upstream> {
        let set = &self.settings.backends;
        let mut tried: Vec<SocketAddr> = refused_by.into_iter().collect();
        for _ in 0..ATTEMPTS {
            let Some(place) = set.place(client.ip(), &tried) else {
                if refused_by.is_some() && tried.len() == 1 {
                    tried.clear();
                    continue;
                }
                break;
            };
            let backend = Arc::clone(&place.backend);
            match Upstream::connect(set, place, waker, id) {
                Ok(upstream) => {
                    backend.connected.fetch_add(1, Relaxed);
                    self.traffic.out_of_files(false);
                    return Some(upstream);
                }
                // No fault of the target's.
                Err(error) if bind::is_shortage(&error) => {
                    self.traffic.out_of_files(true);
                    self.front.datagrams.dropped.fetch_add(1, Relaxed);
                    return None;
                }
                Err(error) => {
                    refused(&self.front, &self.traffic, &backend, &error);
                    tried.push(backend.address);
                }
            }
        }
        self.traffic.refused_without_target(&self.front);
        None
    }

    /// Sends a datagram to the flow's target, or to another one when that has gone or refuses.
    fn send(&mut self, id: usize, bytes: &[u8], waker: BorrowedFd<'_>, now: Instant) -> bool {
        for _ in 0..ATTEMPTS {
            let Some(flow) = self.flows.get(id) else {
                return false;
            };
            flow.last = now;
            let (client, route) = (flow.client, &mut flow.upstream);
            if let Some(upstream) = &mut route.upstream
                && !upstream.holds(now)
            {
                tracing::debug!(
                    resource.id = self.front.name, target_address = %upstream.backend().address, "a flow leaves its target"
                );
                route.upstream = None;
            }
            if route.upstream.is_none() {
                let refused_by = route.refused_by;
                let found = self.connect(id, client, refused_by, waker);
                let Some(flow) = self.flows.get(id) else {
                    return false;
                };
                flow.upstream.upstream = found;
                // Another target has not answered yet.
                flow.answered = false;
            }
            let Some(route) = self.flows.get(id).map(|flow| &mut flow.upstream) else {
                return false;
            };
            let Some(upstream) = &route.upstream else {
                return false;
            };
            let backend = upstream.backend();
            match upstream.send(&route.header, bytes) {
                Ok(()) => {
                    backend.received.fetch_add(bytes.len() as u64, Relaxed);
                    if let Some(access) = &route.access {
                        access.to(backend.address);
                        access.received.fetch_add(bytes.len() as u64, Relaxed);
                    }
                    return true;
                }
                Err(error) if is_about_the_datagram(&error) => {
                    self.front.datagrams.dropped.fetch_add(1, Relaxed);
                    return false;
                }
                Err(error) => {
                    refused(&self.front, &self.traffic, backend, &error);
                    route.refused_by = Some(backend.address);
                    route.upstream = None;
                }
            }
        }
        self.front.datagrams.dropped.fetch_add(1, Relaxed);
        false
    }

    /// Looks whether the settings are others by now.
    fn follow_settings(&mut self) {
        let settings = self.front.settings();
        if !Arc::ptr_eq(&settings, &self.settings) {
            self.settings = settings;
            self.epoch += 1;
        }
    }

    /// Makes a flow one of the settings that hold now.
    fn apply_settings(&mut self, id: usize) {
        let Some(flow) = self.flows.get(id) else {
            return;
        };
        flow.upstream.epoch = self.epoch;
        flow.upstream.header = if self.settings.proxy_protocol {
            proxy_header::encode(Protocol::Udp, flow.client, self.front.address)
        } else {
            Vec::new()
        };
    }

    /// Ends the flows that nobody uses, and those whose target has gone: the client's next datagram begins anew.
    fn sweep(&mut self) {
        self.follow_settings();
        let now = Instant::now();
        let idle = self.settings.idle_timeout.unwrap_or(IDLE);
        self.flows.sweep(now, idle, |route, is_idle| {
            let stays = !is_idle && route.upstream.as_mut().is_none_or(|it| it.holds(now));
            if let Some(access) = route.access.as_ref().filter(|_| !stays) {
                access.ends(if is_idle { "idle" } else { "drained" });
            }
            stays
        });
    }
}

/// Notes that a target refused, or cannot be reached.
fn refused(front: &Front, traffic: &Traffic, backend: &Backend, error: &io::Error) {
    traffic.connect_failed(front, backend);
    tracing::debug!(resource.id = front.name, target_address = %backend.address, %error, "a target did not take a datagram");
}

/// Whether a datagram could not be sent for reasons that are not its target's: the socket is full, or it is too large.
fn is_about_the_datagram(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error().map(Errno::from_raw_os_error),
        Some(Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM | Errno::MSGSIZE | Errno::INTR)
    )
}
