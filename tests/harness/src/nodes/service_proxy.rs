//! The **loopback** form's stand-in for kube-proxy: listeners on node addresses that forward to pods. Writes: sockets.
//!
//! For every node: each NodePort (TCP and UDP), each health check port, and 10256. What is forwarded where is decided in [`super::rules`];
//! here listeners are opened and closed to match. Established connections outlive changes of the rules, as with kube-proxy, and end with
//! the node or the pod. With policy Cluster a pod sees the node's address, with Local the client's.
//! Where nobody answers, a connection is refused; a real node under policy Local drops it instead.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::agent::now;
use super::http;
use super::netns::Place;
use super::objects::Protocol;
use super::rules::{FrontendKey, Rules};

/// How long a UDP flow without datagrams is remembered; kube-proxy's conntrack default for a single datagram.
const UDP_IDLE: Duration = Duration::from_secs(30);
/// kube-proxy's health port.
const PROXY_HEALTH_PORT: u16 = 10256;

/// A node as the proxy sees it.
#[derive(Debug, Clone)]
struct NodeState {
    address: IpAddr,
    eligible: bool,
    gone: CancellationToken,
}

/// Where one container port of a pod is really served.
pub(crate) type PodSockets = HashMap<(SocketAddr, Protocol), SocketAddr>;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Listening {
    NodePort(FrontendKey, u16),
    HealthCheck(u16),
    ProxyHealth,
}

/// A listener there is or should be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Listener {
    node: String,
    address: SocketAddr,
    what: Listening,
}

/// The proxy of all nodes of a pool.
pub(crate) struct ServiceProxy {
    shared: Arc<Shared>,
    listeners: Mutex<BTreeMap<Listener, AbortOnDropHandle<()>>>,
}

#[derive(Default)]
struct Shared {
    rules: Mutex<Arc<Rules>>,
    nodes: Mutex<BTreeMap<String, NodeState>>,
    pods: Mutex<PodSockets>,
    picks: Mutex<HashMap<FrontendKey, Picks>>,
}

/// A socket towards a pod, and the task that brings its answers back.
type Flow = (Arc<UdpSocket>, AbortOnDropHandle<()>);

/// Whose turn it is, and who stays with whom.
#[derive(Default)]
struct Picks {
    turn: usize,
    sticky: HashMap<IpAddr, (SocketAddr, Instant)>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ServiceProxy {
    pub(crate) fn new() -> Self {
        Self {
            shared: Arc::default(),
            listeners: Mutex::default(),
        }
    }

    pub(crate) fn add_node(&self, name: &str, address: IpAddr) {
        let node = NodeState {
            address,
            eligible: true,
            gone: CancellationToken::new(),
        };
        lock(&self.shared.nodes).insert(name.to_owned(), node);
    }

    /// Closes the node's listeners and cuts its connections.
    pub(crate) fn remove_node(&self, name: &str) {
        if let Some(node) = lock(&self.shared.nodes).remove(name) {
            node.gone.cancel();
        }
        lock(&self.listeners).retain(|listener, _| listener.node != name);
    }

    /// What 10256 says: see [`super::objects::node_eligible`].
    pub(crate) fn set_eligible(&self, name: &str, eligible: bool) {
        if let Some(node) = lock(&self.shared.nodes).get_mut(name) {
            node.eligible = eligible;
        }
    }

    pub(crate) fn node_address(&self, name: &str) -> Option<IpAddr> {
        lock(&self.shared.nodes).get(name).map(|n| n.address)
    }

    pub(crate) fn add_pod(&self, sockets: PodSockets) {
        lock(&self.shared.pods).extend(sockets);
    }

    pub(crate) fn remove_pod(&self, ips: &[IpAddr]) {
        lock(&self.shared.pods).retain(|(address, _), _| !ips.contains(&address.ip()));
    }

    /// Where a datagram or connection to a ClusterIP goes; `to` itself when it is none.
    pub(crate) fn resolve(
        &self,
        to: SocketAddr,
        protocol: Protocol,
        client: IpAddr,
    ) -> io::Result<SocketAddr> {
        let key = match lock(&self.shared.rules).cluster_ip(to, protocol) {
            Some((key, _)) => key.clone(),
            None => return Ok(to),
        };
        self.shared.pick(&key, None, client).ok_or_else(refused)
    }

    /// Opens and closes listeners so that they match the rules.
    ///
    /// # Errors
    /// When a port could not be opened; the rest is done, and another call tries again.
    pub(crate) fn apply(&self, rules: Rules) -> io::Result<()> {
        let rules = Arc::new(rules);
        *lock(&self.shared.rules) = rules.clone();
        lock(&self.shared.picks).retain(|key, _| rules.frontends.contains_key(key));
        let nodes = lock(&self.shared.nodes).clone();
        let wanted = wanted(&rules, &nodes);
        let mut listeners = lock(&self.listeners);
        // First close: a NodePort may have moved from one Service to another.
        listeners.retain(|listener, task| wanted.contains(listener) && !task.is_finished());
        let mut failed = Ok(());
        for listener in wanted {
            if listeners.contains_key(&listener) {
                continue;
            }
            match self.open(&listener) {
                Ok(task) => {
                    listeners.insert(listener, task);
                }
                Err(error) => {
                    failed = Err(io::Error::new(
                        error.kind(),
                        format!("{}: {error}", listener.address),
                    ))
                }
            }
        }
        failed
    }

    fn open(&self, listener: &Listener) -> io::Result<AbortOnDropHandle<()>> {
        let shared = self.shared.clone();
        let Listener {
            node,
            address,
            what,
        } = listener.clone();
        let task = match &what {
            Listening::NodePort(key, _) if key.protocol == Protocol::Udp => {
                let socket = Place::Here.udp(address)?;
                let key = key.clone();
                tokio::spawn(async move { shared.forward_datagrams(socket, &node, &key).await })
            }
            _ => {
                let listener = Place::Here.listen(address)?;
                tokio::spawn(async move { shared.accept(listener, node, what).await })
            }
        };
        Ok(AbortOnDropHandle::new(task))
    }
}

/// Every listener there should be. A NodePort behind which nobody answers has none: the kernel refuses the connection.
fn wanted(rules: &Rules, nodes: &BTreeMap<String, NodeState>) -> BTreeSet<Listener> {
    let mut wanted = BTreeSet::new();
    for (name, node) in nodes {
        let mut want = |what: Listening, port: u16| {
            wanted.insert(Listener {
                node: name.clone(),
                address: SocketAddr::new(node.address, port),
                what,
            });
        };
        want(Listening::ProxyHealth, PROXY_HEALTH_PORT);
        for port in rules.health_checks.keys() {
            want(Listening::HealthCheck(*port), *port);
        }
        for (key, frontend) in &rules.frontends {
            if let Some(port) = frontend.node_port
                && !frontend.usable_from_outside(name).is_empty()
            {
                want(Listening::NodePort(key.clone(), port), port);
            }
        }
    }
    wanted
}

fn refused() -> io::Error {
    io::Error::new(
        io::ErrorKind::ConnectionRefused,
        "no endpoint answers for this Service port",
    )
}

impl Shared {
    /// The pod's real socket for a connection: to one of the node's pods, or (`None`) to any.
    fn pick(&self, key: &FrontendKey, node: Option<&str>, client: IpAddr) -> Option<SocketAddr> {
        let rules = lock(&self.rules).clone();
        let frontend = rules.frontends.get(key)?;
        let usable = frontend.usable(node);
        let mut picks = lock(&self.picks);
        let picks = picks.entry(key.clone()).or_default();
        let kept = frontend.affinity.and_then(|timeout| {
            let (endpoint, last) = picks.sticky.get(&client)?;
            (last.elapsed() < timeout && usable.contains(endpoint)).then_some(*endpoint)
        });
        let endpoint = match kept {
            Some(endpoint) => endpoint,
            None if usable.is_empty() => return None,
            None => {
                picks.turn = picks.turn.wrapping_add(1);
                usable[picks.turn % usable.len()]
            }
        };
        if frontend.affinity.is_some() {
            picks.sticky.insert(client, (endpoint, Instant::now()));
        }
        lock(&self.pods).get(&(endpoint, key.protocol)).copied()
    }

    /// Picks for a connection that came to a node from outside, and says with which source address it goes on.
    fn route(&self, node: &str, key: &FrontendKey, client: IpAddr) -> Option<(SocketAddr, IpAddr)> {
        let local = lock(&self.rules).frontends.get(key)?.local;
        let target = self.pick(key, local.then_some(node), client)?;
        // Every 127.x address may be a source here, so the client's own one can be kept.
        let source = if local {
            client
        } else {
            lock(&self.nodes).get(node)?.address
        };
        Some((target, source))
    }

    async fn accept(self: Arc<Self>, listener: TcpListener, node: String, what: Listening) {
        let Some(gone) = lock(&self.nodes).get(&node).map(|n| n.gone.clone()) else {
            return;
        };
        loop {
            let Ok((stream, client)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            };
            let (shared, gone, node, what) =
                (self.clone(), gone.clone(), node.clone(), what.clone());
            tokio::spawn(async move {
                let serve = async {
                    match &what {
                        Listening::NodePort(key, _) => {
                            shared.forward(stream, client, &node, key).await
                        }
                        Listening::HealthCheck(port) => {
                            answer(stream, shared.health_check(&node, *port)).await
                        }
                        Listening::ProxyHealth => answer(stream, shared.proxy_health(&node)).await,
                    }
                };
                if let Some(Err(error)) = gone.run_until_cancelled(serve).await {
                    tracing::debug!(node, ?what, "connection ended: {error}");
                }
            });
        }
    }

    async fn forward(
        &self,
        mut stream: TcpStream,
        client: SocketAddr,
        node: &str,
        key: &FrontendKey,
    ) -> io::Result<()> {
        let (target, source) = self.route(node, key, client.ip()).ok_or_else(refused)?;
        let mut pod = Place::Here.connect(target, Some(source)).await?;
        tokio::io::copy_bidirectional(&mut stream, &mut pod).await?;
        Ok(())
    }

    /// One task reads the NodePort; each client has a socket of its own towards its pod, so that answers find back.
    async fn forward_datagrams(&self, socket: UdpSocket, node: &str, key: &FrontendKey) {
        let socket = Arc::new(socket);
        let mut flows: HashMap<SocketAddr, Flow> = HashMap::new();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let Ok((length, client)) = socket.recv_from(&mut buffer).await else {
                continue;
            };
            flows.retain(|_, (_, task)| !task.is_finished());
            let pod = match flows.get(&client) {
                Some((pod, _)) => pod.clone(),
                None => match self.flow(&socket, node, key, client).await {
                    Some(flow) => flows.entry(client).insert_entry(flow).get().0.clone(),
                    None => continue,
                },
            };
            if pod.send(&buffer[..length]).await.is_err() {
                // The pod is gone: the next datagram of this client finds another one.
                flows.remove(&client);
            }
        }
    }

    async fn flow(
        &self,
        socket: &Arc<UdpSocket>,
        node: &str,
        key: &FrontendKey,
        client: SocketAddr,
    ) -> Option<Flow> {
        let (target, source) = self.route(node, key, client.ip())?;
        let pod = Place::Here.udp(SocketAddr::new(source, 0)).ok()?;
        pod.connect(target).await.ok()?;
        let pod = Arc::new(pod);
        let task = tokio::spawn(send_back(pod.clone(), socket.clone(), client));
        Some((pod, AbortOnDropHandle::new(task)))
    }

    fn health_check(&self, node: &str, port: u16) -> Vec<u8> {
        let rules = lock(&self.rules).clone();
        let Some(check) = rules.health_checks.get(&port) else {
            return http::response(503, &[], "", false);
        };
        let count = check.local_endpoints(node);
        let status = if count > 0 { 200 } else { 503 };
        let weight = count.to_string();
        let body = serde_json::json!({
            "service": {"namespace": check.namespace, "name": check.service},
            "localEndpoints": count,
            "serviceProxyHealthy": true,
        });
        let headers = [
            ("Content-Type", "application/json"),
            ("X-Load-Balancing-Endpoint-Weight", weight.as_str()),
        ];
        http::response(status, &headers, &body.to_string(), false)
    }

    fn proxy_health(&self, node: &str) -> Vec<u8> {
        let eligible = lock(&self.nodes).get(node).is_some_and(|n| n.eligible);
        let now = now();
        let body =
            serde_json::json!({"lastUpdated": now, "currentTime": now, "nodeEligible": eligible});
        let status = if eligible { 200 } else { 503 };
        http::response(
            status,
            &[("Content-Type", "application/json")],
            &body.to_string(),
            false,
        )
    }
}

async fn send_back(pod: Arc<UdpSocket>, socket: Arc<UdpSocket>, client: SocketAddr) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(Ok(length)) = tokio::time::timeout(UDP_IDLE, pod.recv(&mut buffer)).await {
        let _ = socket.send_to(&buffer[..length], client).await;
    }
}

async fn answer(stream: TcpStream, bytes: Vec<u8>) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    if http::read_request(&mut stream).await?.is_some() {
        stream.write_all(&bytes).await?;
        stream.flush().await?;
        stream.shutdown().await?;
    }
    Ok(())
}
