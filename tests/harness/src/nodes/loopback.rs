//! The **loopback** form: nodes are addresses in 127.0.0.0/8, without any privilege. Reads: Services, slices, Nodes. Writes: sockets.
//!
//! ```text
//!   127.80.N.1-100     nodes: NodePorts, health check ports, 10256, by the stand-in of kube-proxy in service_proxy.rs
//!   127.80.N.101       pods, on ports that the kernel chooses
//!   127.80.N.102       the client
//!   127.80.N.128/25    for load balancers
//! ```
//!
//! The API server refuses loopback addresses in EndpointSlices, so a pod's `podIP` is made up (10.244.x.y) and only the pool knows
//! where it is served; hence a pod may have a port below 1024, too. A ClusterIP answers only through the pool's own dialling.
//! IPv6 has a single loopback address, so this form is IPv4 only.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail};
use async_trait::async_trait;
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::reflector::Store;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

use super::mirror::Mirror;
use super::netns::Place;
use super::network::{Network, NodeNetwork, Origin, PodNetwork, unknown_node};
use super::numbers::Numbers;
use super::objects::{Protocol, node_eligible};
use super::rules::Rules;
use super::service_proxy::{PodSockets, ServiceProxy};
use super::subnet::Subnet;

/// The host numbers that nodes take.
const NODE_NUMBERS: (u8, u8) = (1, 100);

/// The pool's network.
pub(crate) struct Loopback {
    subnet: Subnet,
    proxy: Arc<ServiceProxy>,
    changed: Arc<Notify>,
    state: Mutex<State>,
    _task: AbortOnDropHandle<()>,
}

struct State {
    numbers: Numbers,
    nodes: BTreeMap<String, (u8, Numbers)>,
}

impl Loopback {
    /// Claims addresses and starts to follow the cluster's Services.
    pub(crate) fn start(client: &kube::Client) -> anyhow::Result<Self> {
        let subnet = Subnet::claim(|n| Ipv4Addr::new(127, 80, n, 1))?;
        let proxy = Arc::new(ServiceProxy::new());
        let changed = Arc::new(Notify::new());
        let task = tokio::spawn(follow(client.clone(), proxy.clone(), changed.clone()));
        Ok(Self {
            subnet,
            proxy,
            changed,
            state: Mutex::new(State {
                numbers: Numbers::new(NODE_NUMBERS.0, NODE_NUMBERS.1),
                nodes: BTreeMap::new(),
            }),
            _task: AbortOnDropHandle::new(task),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn host(&self, number: u8) -> IpAddr {
        Ipv4Addr::new(127, 80, self.subnet.number(), number).into()
    }

    fn source(&self, origin: &Origin) -> io::Result<IpAddr> {
        match origin {
            Origin::Here => Ok(Ipv4Addr::LOCALHOST.into()),
            Origin::Client => Ok(self.host(102)),
            Origin::Node(name) => self
                .proxy
                .node_address(name)
                .ok_or_else(|| unknown_node(name)),
        }
    }

    /// Where to dial: from a node, a ClusterIP leads to a pod.
    fn target(
        &self,
        origin: &Origin,
        to: SocketAddr,
        protocol: Protocol,
        source: IpAddr,
    ) -> io::Result<SocketAddr> {
        let target = match origin {
            Origin::Node(_) => self.proxy.resolve(to, protocol, source)?,
            Origin::Here | Origin::Client => to,
        };
        if !target.ip().is_loopback() {
            let text = format!(
                "{target} cannot be reached: pools of the loopback form dial 127.0.0.0/8 and, from a node, ClusterIPs"
            );
            return Err(io::Error::new(io::ErrorKind::AddrNotAvailable, text));
        }
        Ok(target)
    }
}

#[async_trait]
impl Network for Loopback {
    async fn add_node(&self, name: &str) -> anyhow::Result<NodeNetwork> {
        let mut state = self.state();
        if state.nodes.contains_key(name) {
            bail!("the pool already has a node {name}; choose another name");
        }
        let number = state
            .numbers
            .take()
            .context("the pool is full: it holds 100 nodes; start another control plane")?;
        state
            .nodes
            .insert(name.to_owned(), (number, Numbers::new(2, 254)));
        self.proxy.add_node(name, self.host(number));
        Ok(NodeNetwork {
            addresses: vec![self.host(number)],
            pod_ranges: vec![format!("10.244.{number}.0/24")],
        })
    }

    async fn start_node(&self, _name: &str) -> anyhow::Result<()> {
        self.changed.notify_one();
        Ok(())
    }

    async fn remove_node(&self, name: &str) -> anyhow::Result<()> {
        let mut state = self.state();
        if let Some((number, _)) = state.nodes.remove(name) {
            self.proxy.remove_node(name);
            state.numbers.give_back(number);
        }
        Ok(())
    }

    async fn add_pod(&self, node: &str, ports: &[(Protocol, u16)]) -> anyhow::Result<PodNetwork> {
        // First the sockets: they may fail, and then no address has to be given back.
        let mut pod = PodNetwork {
            ips: vec![],
            tcp: vec![],
            udp: vec![],
        };
        let any_port = SocketAddr::new(self.host(101), 0);
        let mut served = Vec::new();
        for (protocol, port) in ports {
            let real = match protocol {
                Protocol::Tcp => {
                    let listener = Place::Here.listen(any_port)?;
                    let real = listener.local_addr()?;
                    pod.tcp.push(listener);
                    real
                }
                Protocol::Udp => {
                    let socket = Place::Here.udp(any_port)?;
                    let real = socket.local_addr()?;
                    pod.udp.push(socket);
                    real
                }
            };
            served.push((*protocol, *port, real));
        }
        let ip = {
            let mut state = self.state();
            let (number, pods) = state
                .nodes
                .get_mut(node)
                .ok_or_else(|| unknown_node(node))?;
            let host = pods.take().context("the node is full: it holds 253 pods")?;
            IpAddr::from(Ipv4Addr::new(10, 244, *number, host))
        };
        let sockets: PodSockets = served
            .into_iter()
            .map(|(protocol, port, real)| ((SocketAddr::new(ip, port), protocol), real))
            .collect();
        self.proxy.add_pod(sockets);
        pod.ips.push(ip);
        Ok(pod)
    }

    async fn remove_pod(&self, node: &str, ips: &[IpAddr]) {
        self.proxy.remove_pod(ips);
        if let (Some(IpAddr::V4(ip)), Some((_, pods))) =
            (ips.first(), self.state().nodes.get_mut(node))
        {
            pods.give_back(ip.octets()[3]);
        }
    }

    async fn connect(&self, origin: &Origin, to: SocketAddr) -> io::Result<TcpStream> {
        let source = self.source(origin)?;
        let target = self.target(origin, to, Protocol::Tcp, source)?;
        Place::Here.connect(target, Some(source)).await
    }

    fn listen(&self, _origin: &Origin, address: SocketAddr) -> io::Result<TcpListener> {
        Place::Here.listen(address)
    }

    async fn connect_udp(&self, origin: &Origin, to: SocketAddr) -> io::Result<UdpSocket> {
        let source = self.source(origin)?;
        let target = self.target(origin, to, Protocol::Udp, source)?;
        let socket = Place::Here.udp(SocketAddr::new(source, 0))?;
        socket.connect(target).await?;
        Ok(socket)
    }

    fn command(&self, _origin: &Origin, program: &Path) -> io::Result<Command> {
        Ok(Place::Here.command(program))
    }

    fn client_netns(&self) -> Option<String> {
        None
    }

    fn load_balancer_range(&self) -> String {
        format!("{}/25", self.host(128))
    }
}

/// Keeps the proxy true to the cluster, until aborted.
async fn follow(client: kube::Client, proxy: Arc<ServiceProxy>, changed: Arc<Notify>) {
    let services = Mirror::<Service>::start(&client, &changed);
    let slices = Mirror::<EndpointSlice>::start(&client, &changed);
    let nodes = Mirror::<Node>::start(&client, &changed);
    loop {
        changed.notified().await;
        apply_nodes(&proxy, nodes.store());
        let (services, slices) = (services.store().state(), slices.store().state());
        let rules = Rules::new(
            services.iter().map(AsRef::as_ref),
            slices.iter().map(AsRef::as_ref),
        );
        if let Err(error) = proxy.apply(rules) {
            tracing::debug!("a port of a node is not free yet: {error}");
            let again = changed.clone();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(50)).await;
                again.notify_one();
            });
        }
    }
}

fn apply_nodes(proxy: &ServiceProxy, nodes: &Store<Node>) {
    for node in nodes.state() {
        if let Some(name) = &node.metadata.name {
            proxy.set_eligible(name, node_eligible(&node));
        }
    }
}
