//! What both forms of the pool have in common: addresses for nodes and pods, and places to dial from.
//!
//! The trait is the whole difference between the forms; watching, binding and answering for pods know only it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::Command;

use async_trait::async_trait;
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use super::objects::Protocol;

/// From where a connection is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The network of this process, where a load balancer of this machine stands.
    Here,
    /// A client that is none of the nodes: a namespace of its own, or an address of its own.
    Client,
    /// A node, by name; ClusterIPs answer from here.
    Node(String),
}

/// What a node got.
#[derive(Debug, Clone)]
pub(crate) struct NodeNetwork {
    /// IPv4 first.
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) pod_ranges: Vec<String>,
}

/// What a pod got.
pub(crate) struct PodNetwork {
    /// IPv4 first.
    pub(crate) ips: Vec<IpAddr>,
    pub(crate) tcp: Vec<TcpListener>,
    pub(crate) udp: Vec<UdpSocket>,
}

/// The network of a pool. Dropping it gives everything back.
#[async_trait]
pub(crate) trait Network: Send + Sync {
    /// Makes the network of a node; nothing answers on it yet.
    async fn add_node(&self, name: &str) -> anyhow::Result<NodeNetwork>;
    /// Starts what a node runs besides pods (the service proxy); returns when it is healthy. The Node object must exist.
    async fn start_node(&self, name: &str) -> anyhow::Result<()>;
    /// Takes the network of a node away; connections through it break. Harmless when there is no such node.
    async fn remove_node(&self, name: &str) -> anyhow::Result<()>;
    /// Makes addresses for a pod on a node and listens on its ports.
    async fn add_pod(&self, node: &str, ports: &[(Protocol, u16)]) -> anyhow::Result<PodNetwork>;
    /// Takes the addresses of a pod away. Harmless when they or the node are gone.
    async fn remove_pod(&self, node: &str, ips: &[IpAddr]);
    /// Dials; sets no deadline.
    async fn connect(&self, origin: &Origin, to: SocketAddr) -> io::Result<TcpStream>;
    /// A TCP listener at the origin, on an address that is there.
    fn listen(&self, origin: &Origin, address: SocketAddr) -> io::Result<TcpListener>;
    /// A UDP socket that sends to `to` from the origin.
    async fn connect_udp(&self, origin: &Origin, to: SocketAddr) -> io::Result<UdpSocket>;
    /// A command that runs at the origin.
    fn command(&self, origin: &Origin, program: &Path) -> io::Result<Command>;
    /// The namespace of [`Origin::Client`], if it is one.
    fn client_netns(&self) -> Option<String>;
    /// A range of addresses for load balancers of this machine, in CIDR form: this process can bind them, the origins reach them.
    fn load_balancer_range(&self) -> String;
}

pub(crate) fn unknown_node(name: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::NotFound,
        format!("the pool has no node {name}"),
    )
}
