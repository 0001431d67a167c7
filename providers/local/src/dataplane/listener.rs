//! A listener at work: an open port, the task that accepts on it, and what it knows for its connections.
//!
//! Settings are replaced in place and hold for connections accepted afterwards, so that a change touches neither the
//! socket nor an open connection.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr, TcpStream},
    os::fd::{AsFd, OwnedFd},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::Poll,
    time::Duration,
};

use rustix::{
    io::retry_on_intr,
    net::{SocketFlags, acceptfrom_with},
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::watch,
    task::JoinHandle,
    time::Instant,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    access::Access,
    backends::BackendSet,
    bind, deadline,
    handover::Socket,
    holder,
    limits::{Share, Shares},
    proxy,
    ranges::Ranges,
    traffic::{Permit, Traffic},
    udp,
};
use crate::api::{
    ListenerPhase, ListenerSpec, ListenerStatus, Marks, Protocol, failure, namespace_and_name,
};

/// What a listener's connections need to know.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) backends: Arc<BackendSet>,
    /// None: everyone.
    source_ranges: Option<Ranges>,
    pub(crate) proxy_protocol: bool,
    pub(crate) idle_timeout: Option<Duration>,
    /// `namespace/name` of the Service, where its connections are logged.
    pub(crate) access_log: Option<Arc<str>>,
    /// The connections of the Service.
    pub(crate) share: Arc<Share>,
    /// How many of them there may be.
    pub(crate) max_connections: Option<u32>,
}

impl Settings {
    pub(crate) fn new(
        spec: &ListenerSpec,
        marks: &Marks,
        backends: Arc<BackendSet>,
        shares: &Shares,
    ) -> Self {
        Self {
            backends,
            share: shares.of(marks),
            max_connections: spec.max_connections,
            access_log: spec.access_log.then(|| marks.service.as_str().into()),
            source_ranges: spec.source_ranges.as_ref().map(Ranges::new),
            proxy_protocol: spec.proxy_protocol,
            idle_timeout: spec
                .idle_timeout_seconds
                .map(|seconds| Duration::from_secs(seconds.into())),
        }
    }

    /// What will be logged of a connection, if anything.
    pub(crate) fn access(&self, front: &Front, client: SocketAddr) -> Option<Access> {
        let service = self.access_log.as_ref()?;
        Some(Access::begin(service, front.address, client))
    }

    pub(crate) fn admits(&self, client: IpAddr) -> bool {
        self.source_ranges
            .as_ref()
            .is_none_or(|ranges| ranges.has(client))
    }
}

/// What a listener shares with its connections, which may outlive it.
#[derive(Debug)]
pub(crate) struct Front {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    settings: Mutex<Arc<Settings>>,
    /// Set when the listener is deleted: its connections end then.
    pub(crate) deadline: watch::Sender<Option<Instant>>,
    /// Why accepting does not go on, while it does not.
    stuck: Mutex<Option<ListenerPhase>>,
    pub(crate) open: AtomicU64,
    pub(crate) accepted: AtomicU64,
    pub(crate) refused_by_range: AtomicU64,
    pub(crate) refused_without_target: AtomicU64,
    /// Connections that had to wait for another one of the Service to end, or of any Service.
    pub(crate) held_by_service: AtomicU64,
    pub(crate) held_by_all: AtomicU64,
    pub(crate) connect_failures: AtomicU64,
    pub(crate) received: AtomicU64,
    pub(crate) sent: AtomicU64,
    pub(crate) datagrams: Datagrams,
}

/// Datagrams of a UDP listener, counted beside their bytes.
#[derive(Debug, Default)]
pub(crate) struct Datagrams {
    /// From clients to targets.
    pub(crate) received: AtomicU64,
    /// From targets to clients.
    pub(crate) sent: AtomicU64,
    /// Lost here: a socket was full, no flow could be begun, or the datagram was too large for the way.
    pub(crate) dropped: AtomicU64,
}

impl Datagrams {
    /// Received, sent and dropped.
    pub(crate) fn all(&self) -> [u64; 3] {
        [&self.received, &self.sent, &self.dropped].map(|counter| counter.load(Relaxed))
    }
}

impl Front {
    pub(crate) fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn set_stuck(&self, phase: Option<ListenerPhase>) {
        *self.stuck.lock().unwrap_or_else(PoisonError::into_inner) = phase;
    }
}

/// A listener at work.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) front: Arc<Front>,
    /// For the log.
    marks: Marks,
    protocol: Protocol,
    port: Port,
}

#[derive(Debug)]
enum Port {
    Open {
        /// One, or for UDP one of each shard.
        sockets: Vec<Shared>,
        /// Ends accepting when dropped.
        stop: DropGuard,
        accepting: JoinHandle<()>,
    },
    Failed(ListenerPhase),
}

/// An open socket, whatever its protocol.
pub(crate) type Shared = Arc<dyn Open>;

/// What can be handed over.
pub(crate) trait Open: AsFd + fmt::Debug + Send + Sync {}

impl<T: AsFd + fmt::Debug + Send + Sync> Open for T {}

impl Port {
    /// The same, and where somebody else has the port, who that is. It is looked up once for as long as that lasts.
    fn named(
        self,
        protocol: Protocol,
        address: SocketAddr,
        before: Option<&ListenerPhase>,
    ) -> Self {
        let in_use = |phase: &ListenerPhase| matches!(phase, ListenerPhase::Failed { code, .. } if code == failure::PORT_IN_USE);
        match self {
            Self::Failed(phase) if in_use(&phase) => Self::Failed(match before {
                Some(before) if in_use(before) => before.clone(),
                _ => holder::of(protocol, address)
                    .map_or(phase, |holder| bind::in_use(address, &holder)),
            }),
            other => other,
        }
    }
}

impl Listener {
    /// Makes a listener and opens its port, if the system lets it; or takes up the open one that was inherited.
    pub(crate) fn open(
        name: &str,
        marks: &Marks,
        Socket { protocol, address }: Socket,
        settings: Settings,
        traffic: &Arc<Traffic>,
        inherited: Vec<OwnedFd>,
    ) -> Self {
        let front = Arc::new(Front {
            name: name.to_owned(),
            address,
            settings: Mutex::new(Arc::new(settings)),
            deadline: watch::Sender::new(None),
            stuck: Mutex::default(),
            open: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            refused_by_range: AtomicU64::new(0),
            refused_without_target: AtomicU64::new(0),
            held_by_service: AtomicU64::new(0),
            held_by_all: AtomicU64::new(0),
            connect_failures: AtomicU64::new(0),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            datagrams: Datagrams::default(),
        });
        let port = open(protocol, &front, traffic, inherited).named(protocol, address, None);
        let listener = Self {
            front,
            marks: marks.clone(),
            protocol,
            port,
        };
        listener.log_phase(None);
        listener
    }

    /// Changes what holds for connections accepted from now on.
    pub(crate) fn update(&mut self, marks: &Marks, settings: Settings) {
        self.marks = marks.clone();
        let mut current = self
            .front
            .settings
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *current, Arc::new(settings));
        drop(current);
        before.share.limit_changed();
    }

    /// True when the port should be open and is not.
    pub(crate) fn is_down(&self) -> bool {
        match &self.port {
            Port::Open { accepting, .. } => accepting.is_finished(),
            Port::Failed(_) => true,
        }
    }

    /// Tries again to open the port.
    pub(crate) fn retry(&mut self, traffic: &Arc<Traffic>) {
        let before = self.phase();
        let port = open(self.protocol, &self.front, traffic, Vec::new());
        self.port = port.named(self.protocol, self.front.address, Some(&before));
        self.log_phase(Some(&before));
    }

    /// Closes the port, and gives open connections until the end of `drain`. On return the port is free.
    pub(crate) async fn close(self, drain: Duration) {
        self.front
            .deadline
            .send_replace(Some(Instant::now() + drain));
        self.stop_accepting().await;
    }

    /// Closes the port. On return it is free.
    pub(crate) async fn stop_accepting(self) {
        if let Port::Open {
            sockets,
            stop,
            accepting,
        } = self.port
        {
            drop((sockets, stop));
            if let Err(error) = accepting.await {
                tracing::error!(resource.id = self.front.name, %error, "accepting connections had failed");
            }
        }
    }

    /// The sockets of the open port, for the data plane that takes over.
    pub(crate) fn sockets(&self) -> Vec<(Socket, Shared)> {
        let socket = Socket {
            protocol: self.protocol,
            address: self.front.address,
        };
        match &self.port {
            Port::Open { sockets, .. } if !self.is_down() => sockets
                .iter()
                .map(|shared| (socket, Arc::clone(shared)))
                .collect(),
            _ => Vec::new(),
        }
    }

    pub(crate) fn status(&self) -> ListenerStatus {
        ListenerStatus {
            phase: self.phase(),
            connections: self.front.open.load(Relaxed),
        }
    }

    fn phase(&self) -> ListenerPhase {
        match &self.port {
            Port::Failed(phase) => phase.clone(),
            Port::Open { .. } => {
                let stuck = self
                    .front
                    .stuck
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .clone();
                stuck.unwrap_or(ListenerPhase::Ready)
            }
        }
    }

    fn log_phase(&self, before: Option<&ListenerPhase>) {
        let phase = self.phase();
        if before == Some(&phase) {
            return;
        }
        let (namespace, service) = namespace_and_name(&self.marks.service);
        let Front { name, address, .. } = &*self.front;
        match phase {
            ListenerPhase::Ready => tracing::info!(
                service.namespace = namespace, service.name = service, resource.id = name, %address,
                "listening"
            ),
            ListenerPhase::Failed { code, message } => tracing::warn!(
                service.namespace = namespace, service.name = service, resource.id = name, %address,
                cloud.code = code, "{message}"
            ),
        }
    }
}

fn open(
    protocol: Protocol,
    front: &Arc<Front>,
    traffic: &Arc<Traffic>,
    inherited: Vec<OwnedFd>,
) -> Port {
    match protocol {
        Protocol::Tcp => {
            // The thread that accepts is the one that hears of new clients.
            let worker = traffic.workers.next();
            let _worker = worker.enter();
            let socket = match listen_tcp(front.address, inherited.into_iter().next()) {
                Ok(socket) => Arc::new(socket),
                Err(error) => return Port::Failed(bind::failed(front.address, &error)),
            };
            front.set_stuck(None);
            let stop = CancellationToken::new();
            let accepting = worker.spawn(accept_tcp(
                Arc::clone(&socket),
                Arc::clone(front),
                Arc::clone(traffic),
                stop.clone(),
            ));
            let stop = stop.drop_guard();
            Port::Open {
                sockets: vec![socket],
                stop,
                accepting,
            }
        }
        Protocol::Udp => {
            let shard = |socket| udp::Shard::new(socket, Arc::clone(front), Arc::clone(traffic));
            let shards = listen_udp(front.address, inherited).and_then(|sockets| {
                let shards = sockets.into_iter().map(shard);
                shards.collect::<Result<Vec<_>, _>>()
            });
            let shards = match shards {
                Ok(shards) => shards,
                Err(error) => return Port::Failed(bind::failed(front.address, &error)),
            };
            front.set_stuck(None);
            let sockets = shards.iter().map(udp::Shard::socket).collect();
            let stop = CancellationToken::new();
            let accepting = tokio::spawn(udp::serve(shards, stop.clone()));
            let stop = stop.drop_guard();
            Port::Open {
                sockets,
                stop,
                accepting,
            }
        }
    }
}

fn listen_tcp(address: SocketAddr, inherited: Option<OwnedFd>) -> io::Result<AsyncFd<OwnedFd>> {
    let socket = match inherited {
        Some(socket) => socket,
        None => bind::listen_tcp(address)?.into(),
    };
    #[expect(
        deprecated,
        reason = "its successor is unsafe for the sake of types whose file may change; an owned one stays the same"
    )]
    AsyncFd::with_interest(socket, Interest::READABLE)
}

/// The next client, of no runtime yet.
async fn accept(socket: &AsyncFd<OwnedFd>) -> io::Result<proxy::Client> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let accept = |socket: &OwnedFd| {
        let (stream, peer) = retry_on_intr(|| acceptfrom_with(socket, flags))?;
        let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
        Ok(proxy::Client {
            stream: TcpStream::from(stream),
            peer: peer.ok_or(io::ErrorKind::AddrNotAvailable)?,
        })
    };
    socket.async_io(Interest::READABLE, accept).await
}

fn listen_udp(address: SocketAddr, inherited: Vec<OwnedFd>) -> io::Result<Vec<socket2::Socket>> {
    if inherited.is_empty() {
        return bind::listen_udp(address, udp::shards());
    }
    Ok(inherited.into_iter().map(Into::into).collect())
}

/// Accepts connections until told to stop. Each one that was accepted is served, also when told meanwhile.
async fn accept_tcp(
    socket: Arc<AsyncFd<OwnedFd>>,
    front: Arc<Front>,
    traffic: Arc<Traffic>,
    stop: CancellationToken,
) {
    while !stop.is_cancelled() {
        let accept = accept(&socket);
        tokio::pin!(accept);
        let accepted = match futures::poll!(&mut accept) {
            Poll::Ready(accepted) => accepted,
            Poll::Pending => {
                // The kernel reserves a file before it looks into the backlog: having to wait proves that there is one.
                front.set_stuck(None);
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return,
                    accepted = accept => accepted,
                }
            }
        };
        let client = match accepted {
            Ok(client) => client,
            Err(error) if bind::is_shortage(&error) => {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = traffic.wait_for_files(&front) => continue,
                }
            }
            Err(error) => {
                tracing::debug!(resource.id = front.name, %error, "a client left before it was accepted");
                continue;
            }
        };
        traffic.out_of_files(false);
        let settings = front.settings();
        if !settings.admits(client.peer.ip()) {
            if let Some(access) = settings.access(&front, client.peer) {
                access.ends("refused by source range");
            }
            traffic.refused_by_range(&front);
            proxy::reset(&client.stream);
            continue;
        }
        // At the limit one client per listener waits here and all others in the backlog, where they cost no file.
        tokio::select! {
            biased;
            permit = traffic.permit(&front, Arc::clone(&settings)) => serve(client, permit, &front, &traffic),
            () = stop.cancelled() => {
                let (front, traffic) = (Arc::clone(&front), Arc::clone(&traffic));
                traffic.clone().tasks.spawn(async move {
                    tokio::select! {
                        permit = traffic.permit(&front, settings) => serve(client, permit, &front, &traffic),
                        () = deadline::passed(front.deadline.subscribe()) => {}
                        () = traffic.end.cancelled() => {}
                    }
                });
            }
        }
    }
}

fn serve(
    client: proxy::Client,
    (permit, settings): (Permit, Arc<Settings>),
    front: &Arc<Front>,
    traffic: &Arc<Traffic>,
) {
    traffic.accepted(front);
    let connection = proxy::Connection::new(
        client,
        settings,
        Arc::clone(front),
        Arc::clone(traffic),
        permit,
    );
    let worker = traffic.workers.idlest();
    traffic.tasks.spawn_on(connection.serve(), worker);
}

#[cfg(test)]
mod tests {
    use ipnet::IpNet;

    use super::*;
    use crate::dataplane::{prober::Probes, store::targets::KeptSet};

    #[tokio::test]
    async fn source_ranges_say_who_may_connect() {
        for (ranges, client, want) in [
            (None, "10.0.0.1", true),
            (Some(&[][..]), "10.0.0.1", false),
            (Some(&["10.0.0.0/8"][..]), "10.0.0.1", true),
            (Some(&["10.0.0.0/8"]), "11.0.0.1", false),
            (Some(&["10.0.0.0/8", "11.0.0.1/32"]), "11.0.0.1", true),
            (Some(&["::/0"]), "10.0.0.1", false),
            (Some(&["0.0.0.0/0"]), "fd00::1", false),
            (Some(&["fd00::/8"]), "fd00::1", true),
        ] {
            let parse = |range: &&str| range.parse::<IpNet>().expect("a range");
            let marks = Marks {
                cluster: "c".into(),
                group: "g".into(),
                service: "shop/checkout".into(),
                member: "g".into(),
                retain: false,
                labels: Default::default(),
            };
            let settings = Settings {
                backends: Arc::new(BackendSet::new(&KeptSet::default(), &Probes::default())),
                source_ranges: ranges
                    .map(|ranges| Ranges::new(&ranges.iter().map(parse).collect())),
                proxy_protocol: false,
                idle_timeout: None,
                access_log: None,
                share: Shares::default().of(&marks),
                max_connections: None,
            };
            assert_eq!(
                settings.admits(client.parse().expect("an address")),
                want,
                "{ranges:?} {client}"
            );
        }
    }
}
