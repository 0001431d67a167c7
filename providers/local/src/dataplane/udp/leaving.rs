//! Flows whose listener was deleted: each goes on with its target, by a socket of its own, until its time to drain is over.
//! Reads and writes the network.
//!
//! The kernel gives a datagram to the socket that is connected to its sender before any other on the port. So the port is
//! closed for everybody else at once, as that of a TCP listener is: whoever comes now is refused (ICMP), or is heard by a
//! new listener on the same port.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{Mutex, MutexGuard, PoisonError},
};

use rustix::event::epoll::{self, EventData, EventFlags};
use socket2::{Domain, Socket, Type};
use tokio::{
    io::unix::AsyncFd,
    task::coop::consume_budget,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};

use super::{
    NO_EVENTS, SWEEP, State,
    batch::{BATCH, Sent, with_buffers},
};

/// Most flows of a shard that go on: for each datagram, and each new socket, the kernel looks at all sockets of the port.
const MOST: usize = 1_024;

/// Beside a flow's number: its client's socket has something to read, and not its target's.
const CLIENT: u64 = 1 << 63;

/// The ports that have sockets of single clients, with how many. A port is the whole process's.
static PORTS: Mutex<BTreeMap<SocketAddr, usize>> = Mutex::new(BTreeMap::new());

fn ports() -> MutexGuard<'static, BTreeMap<SocketAddr, usize>> {
    PORTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether flows of a deleted listener of this process are still on a port. It can be opened beside them.
pub(crate) fn are_on(port: SocketAddr) -> bool {
    ports().contains_key(&port)
}

/// The socket of one client on a port that others may have, too.
#[derive(Debug)]
struct Own {
    socket: Socket,
    port: SocketAddr,
}

impl Own {
    fn open(port: SocketAddr, client: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(
            Domain::for_address(port),
            Type::DGRAM.nonblocking(),
            Some(socket2::Protocol::UDP),
        )?;
        if port.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_reuse_port(true)?;
        socket.bind(&port.into())?;
        socket.connect(&client.into())?;
        *ports().entry(port).or_default() += 1;
        Ok(Self { socket, port })
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let mut ports = ports();
        if let Some(count) = ports.get_mut(&self.port) {
            *count -= 1;
            if *count == 0 {
                ports.remove(&self.port);
            }
        }
    }
}

/// The flows of one shard.
#[derive(Debug)]
pub(super) struct Leaving {
    state: State,
    targets: AsyncFd<OwnedFd>,
    own: HashMap<usize, Own>,
}

impl Leaving {
    /// Gives each flow a socket of its own. The shard's is closed by the caller, and must share its port.
    pub(super) fn begin(mut state: State, targets: AsyncFd<OwnedFd>) -> Self {
        let port = state.front.address;
        let mut own = HashMap::new();
        for (id, client) in state.flows.all() {
            let opened = (own.len() < MOST).then(|| {
                let own = Own::open(port, client)?;
                let data = EventData::new_u64(CLIENT | id as u64);
                epoll::add(&targets, &own.socket, data, EventFlags::IN)?;
                io::Result::Ok(own)
            });
            match opened {
                Some(Ok(opened)) => drop(own.insert(id, opened)),
                Some(Err(error)) => {
                    tracing::debug!(resource.id = state.front.name, %client, %error, "a flow cannot go on");
                    state.flows.remove(id);
                }
                None => state.flows.remove(id),
            }
        }
        Self {
            state,
            targets,
            own,
        }
    }

    /// Passes datagrams both ways until the time is over, or nobody has anything to say.
    pub(super) async fn serve(self, until: Instant) {
        let Self {
            mut state,
            targets,
            mut own,
        } = self;
        let end = state.traffic.end.clone();
        let over = sleep_until(until);
        tokio::pin!(over);
        let mut sweep = interval(SWEEP);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !own.is_empty() {
            tokio::select! {
                () = end.cancelled() => return,
                () = &mut over => {
                    for (id, _) in state.flows.all() {
                        state.end(id, "drained");
                    }
                    return;
                }
                ready = targets.readable() => {
                    let more = hear(&mut state, &own, targets.as_fd());
                    if let (false, Ok(mut ready)) = (more, ready) {
                        ready.clear_ready();
                    }
                }
                _ = sweep.tick() => {
                    state.sweep();
                    forget(&mut state, &mut own);
                }
            }
            consume_budget().await;
        }
    }
}

/// Forgets the flows that have ended, and those that have no target any more: a new listener may have one.
fn forget(state: &mut State, own: &mut HashMap<usize, Own>) {
    own.retain(|id, _| {
        let stays = state
            .flows
            .get(*id)
            .is_some_and(|flow| flow.upstream.upstream.is_some());
        if !stays {
            state.end(*id, "drained");
        }
        stays
    });
}

/// Passes on what clients and targets said; true when there may be more.
fn hear(state: &mut State, own: &HashMap<usize, Own>, waker: BorrowedFd<'_>) -> bool {
    let mut events = NO_EVENTS;
    let (told, more) = state.wait(waker, &mut events);
    let now = Instant::now();
    for event in &events[..told] {
        let data = event.data.u64();
        let id = usize::try_from(data & !CLIENT).unwrap_or(usize::MAX);
        let Some(Own { socket, .. }) = own.get(&id) else {
            continue;
        };
        if data & CLIENT == 0 {
            with_buffers(|buffers| {
                let mut replies = Vec::with_capacity(BATCH);
                state.backward(id, event.flags, now, buffers, &mut replies);
                state.reply(socket.as_fd(), buffers, &mut replies);
            });
        } else {
            hear_client(state, id, socket, waker, now);
        }
    }
    more
}

fn hear_client(state: &mut State, id: usize, socket: &Socket, waker: BorrowedFd<'_>, now: Instant) {
    let Some(flow) = state.flows.get(id) else {
        return;
    };
    let client = flow.client;
    with_buffers(|buffers| {
        // An error is that of an answer that found its client gone.
        if buffers
            .receive(socket.as_fd(), client.is_ipv4(), 0, BATCH)
            .is_err()
        {
            return;
        }
        let mut sent = Sent::default();
        for (from, bytes) in buffers.datagrams() {
            // Before it was connected anybody could be heard.
            if from == client && state.send(id, bytes, waker, now) {
                sent.datagrams += 1;
                sent.bytes += bytes.len();
            }
        }
        state.count_received(sent);
    });
}
