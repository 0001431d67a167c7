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
mod cluster_ip;
mod decide;
mod http;
mod kube_proxy;
mod lifecycle;
mod loopback;
mod mirror;
mod namespaces;
mod netns;
mod network;
mod numbers;
mod objects;
mod options;
mod pod_server;
mod rules;
mod schedule;
mod service_proxy;
mod subnet;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{Patch, PatchParams};
use kube::config::Kubeconfig;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::runtime::Runtime;

use crate::wait::eventually;
use agent::Agent;
use cluster_ip::forward_cluster_ip;
use lifecycle::{API_LIMIT, add_node, remove_node};
use options::{build, choose_kind};

pub use cluster_ip::ClusterIpForward;
pub use http::{HttpAnswer, http_get};
pub use netns::{namespaces_or_skip, namespaces_possible};
pub use network::Origin;
pub use objects::{READY_ANNOTATION, SHUTDOWN_DELAY_ANNOTATION};
pub use options::{NodesKind, NodesOptions};
pub use pod_server::{PodAnswer, STREAM_INTERVAL};

/// How long one request of [`Nodes::get`] may take. A dropped packet is seen only by this limit.
const REQUEST_LIMIT: Duration = Duration::from_secs(2);

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
            add_node(&agent, &name)
                .await
                .with_context(|| format!("node {name}"))
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

    /// A TCP listener at a place, for example on a port of a node's address that nobody listens on.
    ///
    /// # Errors
    /// Those of `bind(2)`, and when the pool has no such node.
    pub fn listen(&self, origin: &Origin, address: SocketAddr) -> io::Result<TcpListener> {
        self.agent.network.listen(origin, address)
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

/// Four hexadecimal digits for the names of one pool's namespaces and interfaces.
fn random_tag() -> String {
    crate::random::hex(2)
}
