//! Nodes and pods without a container engine: [`Nodes`] is a pool of them for one control plane. Reads and Writes.
//!
//! A node is a Node object and a network of its own; a pod that is bound to it gets an address and a small server on each containerPort
//! (images are ignored; see [`PodAnswer`] and `/stream`) and is reported Running and Ready. Everything else is upstream's own: controllers
//! make the EndpointSlices, and in the **namespaces** form a real kube-proxy on each node programs NodePorts and health check ports.
//! The **loopback** form needs no privilege: node addresses are in 127.0.0.0/8 and a forwarder stands in for kube-proxy.
//!
//! The namespaces form needs root, or a user namespace for the whole process:
//! `unshare -Urnm sh -c 'mount -t tmpfs tmpfs /run && ip link set lo up && exec "$@"' sh COMMAND`.
//! Use one pool per control plane: pods of two pools would have the same addresses.

mod agent;
mod api_door;
mod decide;
mod http;
mod kube_proxy;
mod loopback;
mod mirror;
mod namespaces;
mod netns;
mod network;
mod numbers;
mod objects;
mod pod_server;
mod rules;
mod schedule;
mod service_proxy;
mod subnet;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::runtime::Runtime;
use tokio_util::task::AbortOnDropHandle;

use crate::binaries::{self, Tool};
use crate::progress::Progress;
use crate::wait::eventually;
use agent::Agent;
use loopback::Loopback;
use namespaces::Namespaces;
use network::Network;

pub use http::{HttpAnswer, http_get};
pub use netns::{namespaces_or_skip, namespaces_possible};
pub use network::Origin;
pub use objects::{READY_ANNOTATION, SHUTDOWN_DELAY_ANNOTATION};
pub use pod_server::{PodAnswer, STREAM_INTERVAL};

/// How long one request of [`Nodes::get`] may take. A dropped packet is seen only by this limit.
const REQUEST_LIMIT: Duration = Duration::from_secs(2);
/// How long the API server may take to show what was asked of it.
const API_LIMIT: Duration = Duration::from_secs(30);

/// How nodes are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodesKind {
    /// Network namespaces and real kube-proxies; see [`namespaces_possible`].
    Namespaces,
    /// Addresses in 127.0.0.0/8 and a forwarder; IPv4 only.
    Loopback,
    /// Namespaces where possible, else loopback; [`Nodes::fallback_reason`] says why.
    Auto,
}

/// What to start.
#[derive(Debug, Clone)]
pub struct NodesOptions {
    /// The form.
    pub kind: NodesKind,
    /// How many nodes to begin with: `PREFIX-1`, `PREFIX-2` and so on.
    pub count: usize,
    /// The first part of their names.
    pub prefix: String,
    /// Gives nodes and pods an IPv6 address beside the IPv4 one. Namespaces only; the API server must be dual-stack, too.
    pub dual_stack: bool,
    /// The kube-proxy to run; `None` finds or builds one ([`binaries::ensure`]), which can take minutes the first time.
    pub kube_proxy: Option<PathBuf>,
    /// Where a build shows its progress.
    pub progress: Progress,
}

impl Default for NodesOptions {
    fn default() -> Self {
        Self {
            kind: NodesKind::Auto,
            count: 2,
            prefix: "node".to_owned(),
            dual_stack: false,
            kube_proxy: None,
            progress: Progress::quiet(),
        }
    }
}

/// A running pool. Dropping it gives back processes, namespaces, addresses and ports, but leaves its objects in the
/// API server; [`Nodes::stop`] takes those, too. Also a killed process leaves nothing on the machine.
pub struct Nodes {
    agent: Arc<Agent>,
    kind: NodesKind,
    fallback_reason: Option<String>,
    // The agent's own threads: a test that blocks its thread must not stop the pods that it talks to.
    runtime: Option<Runtime>,
}

impl Nodes {
    /// Starts a pool for the control plane of a kubeconfig file; returns when its nodes are Ready and their proxies healthy.
    ///
    /// # Errors
    /// When the form asked for is impossible here (with the reason), or the control plane does not answer.
    pub async fn start(kubeconfig: &Path, options: NodesOptions) -> Result<Self> {
        let (kind, fallback_reason) = choose_kind(options.kind)?;
        ensure!(
            !options.dual_stack || kind == NodesKind::Namespaces,
            "dual_stack needs network namespaces, as IPv6 has a single loopback address{}",
            fallback_reason
                .as_deref()
                .map(|r| format!("; {r}"))
                .unwrap_or_default()
        );
        let kubeconfig = Kubeconfig::read_from(kubeconfig)
            .with_context(|| format!("cannot read the kubeconfig {}", kubeconfig.display()))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(3)
            .thread_name("nodes")
            .enable_all()
            .build()
            .context("cannot start threads for the pool")?;
        let first: Vec<_> = (1..=options.count)
            .map(|n| format!("{}-{n}", options.prefix))
            .collect();
        let handle = runtime.handle().clone();
        let mut guard = RuntimeGuard(Some(runtime));
        let agent = handle
            .spawn(build(kind, kubeconfig, options))
            .await
            .context("the pool's start panicked")??;
        let nodes = Self {
            agent,
            kind,
            fallback_reason,
            runtime: guard.0.take(),
        };
        nodes
            .spawn(|agent| async move {
                tokio::spawn(agent.run());
                Ok(())
            })
            .await?;
        futures::future::try_join_all(first.iter().map(|name| nodes.add_node(name))).await?;
        Ok(nodes)
    }

    /// The form that runs: never [`NodesKind::Auto`].
    #[must_use]
    pub fn kind(&self) -> NodesKind {
        self.kind
    }

    /// Why [`NodesKind::Auto`] became loopback, in one line.
    #[must_use]
    pub fn fallback_reason(&self) -> Option<&str> {
        self.fallback_reason.as_deref()
    }

    /// Adds a node; returns when its object is Ready and its service proxy healthy.
    ///
    /// # Errors
    /// When the name is taken, the pool is full, or the API server or kube-proxy fails.
    pub async fn add_node(&self, name: &str) -> Result<()> {
        let name = name.to_owned();
        self.spawn(|agent| async move {
            let added = add_node(&agent, &name).await;
            if added.is_err() {
                let _ = agent.network.remove_node(&name).await;
                let _ = agent.nodes().delete(&name, &DeleteParams::default()).await;
            }
            added.with_context(|| format!("node {name}"))
        })
        .await
    }

    /// Takes a node away as if its machine had died and its cloud had noticed: first its network, then its object, then its pods.
    /// Returns when the API server has none of them any more.
    ///
    /// # Errors
    /// When the pool has no such node, or the API server fails.
    pub async fn remove_node(&self, name: &str) -> Result<()> {
        let name = name.to_owned();
        self.spawn(|agent| async move {
            remove_node(&agent, &name)
                .await
                .with_context(|| format!("node {name}"))
        })
        .await
    }

    /// Sets the Ready condition of a node, and nothing else: its network goes on, its pods stay, no taint is set.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn set_node_ready(&self, name: &str, ready: bool) -> Result<()> {
        let name = name.to_owned();
        self.spawn(move |agent| async move {
            let patch =
                json!({"status": {"conditions": [objects::node_ready(ready, &agent::now())]}});
            agent
                .nodes()
                .patch_status(&name, &PatchParams::default(), &Patch::Strategic(patch))
                .await?;
            Ok(())
        })
        .await
    }

    /// Makes a pod Ready or not (it serves on in either case); returns when the API server shows it.
    /// The annotation [`READY_ANNOTATION`] on a pod template does the same from the start, and wins over `true`.
    ///
    /// # Errors
    /// When there is no such pod, or its condition does not change in time.
    pub async fn set_ready(&self, namespace: &str, pod: &str, ready: bool) -> Result<()> {
        let (namespace, name) = (namespace.to_owned(), pod.to_owned());
        self.spawn(move |agent| async move {
            let pods: Api<Pod> = Api::namespaced(agent.client.clone(), &namespace);
            let pod = pods
                .get(&name)
                .await
                .with_context(|| format!("pod {namespace}/{name}"))?;
            let uid = pod.metadata.uid.unwrap_or_default();
            match ready {
                true => agent.state().unready.remove(&uid),
                false => agent.state().unready.insert(uid),
            };
            agent.changed.notify_one();
            eventually(
                format!("pod {namespace}/{name} to be ready: {ready}"),
                API_LIMIT,
                || async {
                    let pod = pods.get(&name).await?;
                    ensure!(
                        objects::pod_ready(&pod) == Some(ready),
                        "its Ready condition is {:?}",
                        objects::pod_ready(&pod)
                    );
                    Ok(())
                },
            )
            .await
        })
        .await
    }

    /// The names of the pool's nodes.
    #[must_use]
    pub fn nodes(&self) -> Vec<String> {
        self.agent.state().nodes.keys().cloned().collect()
    }

    /// A node's addresses, IPv4 first.
    ///
    /// # Errors
    /// When the pool has no such node.
    pub fn node_addresses(&self, name: &str) -> Result<Vec<IpAddr>> {
        self.agent
            .state()
            .nodes
            .get(name)
            .cloned()
            .with_context(|| format!("the pool has no node {name}"))
    }

    /// A node's IPv4 address.
    ///
    /// # Errors
    /// When the pool has no such node.
    pub fn node_address(&self, name: &str) -> Result<IpAddr> {
        self.node_addresses(name)?
            .into_iter()
            .next()
            .with_context(|| format!("node {name} has no address"))
    }

    /// A range of addresses, as CIDR, for load balancers of this process: it can listen on each of them, clients reach them,
    /// and no other pool has them. In the namespaces form they are real addresses, else 127.x.
    #[must_use]
    pub fn load_balancer_range(&self) -> String {
        self.agent.network.load_balancer_range()
    }

    /// Dials from a place. Sets no deadline.
    ///
    /// # Errors
    /// Those of `connect(2)`; and in the loopback form for an address that only a real network has.
    pub async fn connect(&self, origin: &Origin, to: SocketAddr) -> io::Result<TcpStream> {
        self.agent.network.connect(origin, to).await
    }

    /// A UDP socket at a place, connected to `to`.
    ///
    /// # Errors
    /// As [`Nodes::connect`].
    pub async fn connect_udp(&self, origin: &Origin, to: SocketAddr) -> io::Result<UdpSocket> {
        self.agent.network.connect_udp(origin, to).await
    }

    /// GET `path` from `to` on a fresh connection from a place, within two seconds.
    ///
    /// # Errors
    /// Kind `TimedOut` when nothing came in time (a dropped packet), `ConnectionRefused` when nobody listens.
    pub async fn get(&self, origin: &Origin, to: SocketAddr, path: &str) -> io::Result<HttpAnswer> {
        let ask = async { http_get(self.connect(origin, to).await?, &to.to_string(), path).await };
        let late = |_| {
            io::Error::new(
                io::ErrorKind::TimedOut,
                format!("{to} did not answer within {REQUEST_LIMIT:?}"),
            )
        };
        tokio::time::timeout(REQUEST_LIMIT, ask)
            .await
            .unwrap_or_else(|elapsed| Err(late(elapsed)))
    }

    /// Asks a pod behind `to` who it is.
    ///
    /// # Errors
    /// As [`Nodes::get`], and kind `InvalidData` when somebody else answers.
    pub async fn ask(&self, origin: &Origin, to: SocketAddr) -> io::Result<PodAnswer> {
        let answer = self.get(origin, to, "/").await?;
        let other = || {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("not a pod's answer: {answer:?}"),
            )
        };
        PodAnswer::parse(&answer.body)
            .filter(|_| answer.status == 200)
            .ok_or_else(other)
    }

    /// A command that runs at a place (in the loopback form always here), for example `curl`.
    ///
    /// # Errors
    /// When the pool has no such node.
    pub fn command(&self, origin: &Origin, program: impl AsRef<Path>) -> io::Result<Command> {
        self.agent.network.command(origin, program.as_ref())
    }

    /// The network namespace of the client, for `ip netns exec`; `None` in the loopback form.
    #[must_use]
    pub fn client_netns(&self) -> Option<String> {
        self.agent.network.client_netns()
    }

    /// Makes a Service's ClusterIP reachable from this process: a port on 127.0.0.1 that leads to it through a node, as long as the value lives.
    ///
    /// # Errors
    /// When there is no such Service or port, or it has no ClusterIP.
    pub async fn forward_cluster_ip(
        &self,
        namespace: &str,
        service: &str,
        port: u16,
    ) -> Result<ClusterIpForward> {
        let (namespace, service) = (namespace.to_owned(), service.to_owned());
        self.spawn(move |agent| async move {
            forward_cluster_ip(agent, &namespace, &service, port).await
        })
        .await
    }

    /// Takes all nodes with their objects and pods away, then ends the pool.
    ///
    /// # Errors
    /// When the API server fails; the machine's resources are given back in any case.
    pub async fn stop(self) -> Result<()> {
        for name in self.nodes() {
            self.remove_node(&name).await?;
        }
        Ok(())
    }

    /// Runs work on the pool's own threads.
    async fn spawn<T, W, F>(&self, work: W) -> Result<T>
    where
        T: Send + 'static,
        W: FnOnce(Arc<Agent>) -> F,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let runtime = self
            .runtime
            .as_ref()
            .expect("the pool has threads until it is dropped");
        runtime
            .spawn(work(self.agent.clone()))
            .await
            .context("the pool's work panicked")?
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        drop(RuntimeGuard(self.runtime.take()));
    }
}

/// Ends a runtime wherever it is dropped: tokio forbids to wait for one on an async thread.
struct RuntimeGuard(Option<Runtime>);

impl Drop for RuntimeGuard {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            let ended =
                std::thread::spawn(move || runtime.shutdown_timeout(Duration::from_secs(5)));
            let _ = ended.join();
        }
    }
}

/// A port on 127.0.0.1 that leads to a ClusterIP until this is dropped.
#[derive(Debug)]
pub struct ClusterIpForward {
    address: SocketAddr,
    _task: AbortOnDropHandle<()>,
}

impl ClusterIpForward {
    /// Where to dial.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

fn choose_kind(asked: NodesKind) -> Result<(NodesKind, Option<String>)> {
    match asked {
        NodesKind::Loopback => Ok((NodesKind::Loopback, None)),
        NodesKind::Namespaces => match namespaces_possible() {
            Ok(()) => Ok((NodesKind::Namespaces, None)),
            Err(reason) => bail!("nodes in network namespaces are not possible here: {reason}"),
        },
        NodesKind::Auto => Ok(match namespaces_possible() {
            Ok(()) => (NodesKind::Namespaces, None),
            Err(reason) => (NodesKind::Loopback, Some(reason)),
        }),
    }
}

async fn build(
    kind: NodesKind,
    kubeconfig: Kubeconfig,
    options: NodesOptions,
) -> Result<Arc<Agent>> {
    let config =
        Config::from_custom_kubeconfig(kubeconfig.clone(), &KubeConfigOptions::default()).await?;
    let client = Client::try_from(config)?;
    let network: Arc<dyn Network> = match kind {
        NodesKind::Namespaces => {
            let kube_proxy = match options.kube_proxy {
                Some(path) => path,
                None => tokio::task::spawn_blocking(move || {
                    let found = binaries::ensure(&[Tool::KubeProxy], &options.progress)?;
                    found.path(Tool::KubeProxy).map(Path::to_owned)
                })
                .await
                .context("the search for kube-proxy panicked")??,
            };
            Arc::new(Namespaces::start(&kubeconfig, kube_proxy, options.dual_stack).await?)
        }
        NodesKind::Loopback | NodesKind::Auto => Arc::new(Loopback::start(&client)?),
    };
    Ok(Arc::new(Agent::new(client, network)))
}

async fn add_node(agent: &Agent, name: &str) -> Result<()> {
    let network = agent.network.add_node(name).await?;
    let node = objects::node(name, &network.addresses, &network.pod_ranges, &agent::now());
    let node: Node = serde_json::from_value(node).context("node object")?;
    agent
        .nodes()
        .create(&PostParams::default(), &node)
        .await
        .context("create the Node object")?;
    // The API server taints every new node as not ready and leaves it to a controller, which we do not run, to look again.
    let untaint = Patch::Merge(json!({"spec": {"taints": null}}));
    agent
        .nodes()
        .patch(name, &PatchParams::default(), &untaint)
        .await
        .context("untaint the Node object")?;
    agent.network.start_node(name).await?;
    {
        let mut state = agent.state();
        state.removed.remove(name);
        state.nodes.insert(name.to_owned(), network.addresses);
    }
    agent.changed.notify_one();
    Ok(())
}

async fn remove_node(agent: &Agent, name: &str) -> Result<()> {
    {
        let mut state = agent.state();
        ensure!(
            state.nodes.remove(name).is_some(),
            "the pool has no such node"
        );
        state.removed.insert(name.to_owned());
    }
    let network = agent.network.remove_node(name).await;
    match agent.nodes().delete(name, &DeleteParams::default()).await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.code == 404 => {}
        Err(error) => return Err(error).context("delete the Node object"),
    }
    agent.changed.notify_one();
    let pods: Api<Pod> = Api::all(agent.client.clone());
    let of_node = ListParams::default().fields(&format!("spec.nodeName={name}"));
    eventually("the pods of the node to go", API_LIMIT, || async {
        let left = pods.list(&of_node).await?.items;
        let names: Vec<_> = left
            .iter()
            .filter_map(|p| p.metadata.name.as_deref())
            .collect();
        ensure!(names.is_empty(), "still there: {names:?}");
        Ok(())
    })
    .await?;
    network
}

async fn forward_cluster_ip(
    agent: Arc<Agent>,
    namespace: &str,
    service: &str,
    port: u16,
) -> Result<ClusterIpForward> {
    let services: Api<Service> = Api::namespaced(agent.client.clone(), namespace);
    let spec = services
        .get(service)
        .await
        .with_context(|| format!("Service {namespace}/{service}"))?
        .spec
        .unwrap_or_default();
    let ip = spec
        .cluster_ip
        .as_deref()
        .and_then(|ip| ip.parse::<IpAddr>().ok());
    let ip = ip.with_context(|| format!("Service {namespace}/{service} has no ClusterIP"))?;
    let ports: Vec<_> = spec.ports.iter().flatten().map(|p| p.port).collect();
    ensure!(
        ports.contains(&port.into()),
        "Service {namespace}/{service} has no port {port}: its ports are {ports:?}"
    );
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let to = SocketAddr::new(ip, port);
    let task = tokio::spawn(async move {
        loop {
            let Ok((mut outside, _)) = listener.accept().await else {
                continue;
            };
            let agent = agent.clone();
            tokio::spawn(async move {
                let Some(node) = agent.state().nodes.keys().next().cloned() else {
                    return;
                };
                if let Ok(mut inside) = agent.network.connect(&Origin::Node(node), to).await {
                    let _ = tokio::io::copy_bidirectional(&mut outside, &mut inside).await;
                }
            });
        }
    });
    Ok(ClusterIpForward {
        address,
        _task: AbortOnDropHandle::new(task),
    })
}

impl Agent {
    fn nodes(&self) -> Api<Node> {
        Api::all(self.client.clone())
    }
}

/// Four hexadecimal digits for the names of one pool's namespaces and interfaces.
fn random_tag() -> String {
    crate::random::hex(2)
}
