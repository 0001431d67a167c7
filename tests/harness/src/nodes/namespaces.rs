//! The **namespaces** form: every node is a network namespace with a real kube-proxy. Writes: the kernel's network.
//!
//! ```text
//!   this process          TAG-b                TAG-n10               TAG-p10
//!   TAG-h 10.123.N.1 ──── bridge ──┬── eth0 10.123.N.10 ── pods ── eth0 10.244.10.2, .3, ...
//!                                  ├── eth0 10.123.N.11 ...           one namespace for all pods of a node
//!                                  └── eth0 10.123.N.2    TAG-c, the client
//! ```
//!
//! Pods stand in a namespace behind their node, so packets to them are forwarded and masqueraded as in a cluster. The bridge has a namespace
//! of its own, so firewall rules of the host never see traffic between nodes. kube-proxies reach the API server through
//! a forwarder on 10.123.N.1, so the API server itself listens on loopback only.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, bail};
use async_trait::async_trait;
use kube::config::Kubeconfig;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::block_in_place;

use super::api_door::ApiDoor;
use super::kube_proxy::{KubeProxy, KubeProxySettings};
use super::netns::{Place, ip};
use super::network::{Network, NodeNetwork, Origin, PodNetwork, unknown_node};
use super::numbers::Numbers;
use super::objects::Protocol;
use super::subnet::Subnet;
use crate::supervise::Janitor;

/// The host numbers that nodes take; .1 is this process, .2 the client, .192 and up are for load balancers.
const NODE_NUMBERS: (u8, u8) = (10, 180);

/// The pool's network.
pub(crate) struct Namespaces {
    tag: String,
    subnet: Subnet,
    dual_stack: bool,
    proxies: KubeProxySettings,
    _door: ApiDoor,
    state: Mutex<State>,
    /// Held while a node is built: whoever comes next finds its network whole, and a way to it.
    building: tokio::sync::Mutex<()>,
    // Dropped last: it ends what runs and deletes what the orderly way left.
    janitor: Arc<Janitor>,
}

struct State {
    numbers: Numbers,
    nodes: BTreeMap<String, NodeState>,
}

struct NodeState {
    number: u8,
    pods: Numbers,
    proxy: Option<KubeProxy>,
}

impl Namespaces {
    /// Makes the bridge and the client; `kube_proxy` is the program.
    pub(crate) async fn start(
        kubeconfig: &Kubeconfig,
        kube_proxy: PathBuf,
        dual_stack: bool,
    ) -> anyhow::Result<Self> {
        let tag = format!("ek{}", super::random_tag());
        let subnet = Subnet::claim(|n| Ipv4Addr::new(10, 123, n, 1))?;
        let janitor = Arc::new(Janitor::start()?);
        let files = janitor.directory("nodes", None)?;
        let bridge = format!("{tag}-b");
        let client = format!("{tag}-c");
        let host = format!("{tag}-h");
        for name in [&bridge, &client] {
            janitor.clean_up(["ip", "netns", "delete", name])?;
        }
        janitor.clean_up(["ip", "link", "delete", &host])?;
        let address = host_address(subnet.number(), 1);
        let range = load_balancer_range(subnet.number());
        let mut here = vec![
            format!("netns add {bridge}"),
            format!("netns add {client}"),
            format!("link add name {host} type veth peer name host netns {bridge}"),
            format!("addr add {address}/24 dev {host}"),
        ];
        let inside = vec![
            "link set lo up".to_owned(),
            // Snooping would hold back the first neighbour solicitations of IPv6.
            "link add name br0 type bridge mcast_snooping 0".to_owned(),
            "link set br0 up".to_owned(),
            "link set host master br0".to_owned(),
            "link set host up".to_owned(),
        ];
        if dual_stack {
            here.push(format!(
                "addr add {}/64 dev {host} nodad",
                host_address6(subnet.number(), 1)
            ));
        }
        here.push(format!("link set {host} up"));
        here.push(format!("route add local {range} dev {host}"));
        if dual_stack {
            here.push(format!(
                "route add local {} dev {host}",
                load_balancer_range6(subnet.number())
            ));
        }
        block_in_place(|| ip(None, &here))?;
        block_in_place(|| ip(Some(&bridge), &inside))?;
        let door = ApiDoor::open(kubeconfig, SocketAddr::new(address.into(), 0)).await?;
        let network = Self {
            tag,
            subnet,
            dual_stack,
            proxies: KubeProxySettings {
                program: kube_proxy,
                kubeconfig: door.kubeconfig().clone(),
                folder: files,
                dual_stack,
            },
            _door: door,
            building: tokio::sync::Mutex::new(()),
            state: Mutex::new(State {
                numbers: Numbers::new(NODE_NUMBERS.0, NODE_NUMBERS.1),
                nodes: BTreeMap::new(),
            }),
            janitor,
        };
        block_in_place(|| network.plug(&client, "client", 2))?;
        Ok(network)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connects a namespace to the bridge as host `number` of the subnet, with the route out.
    fn plug(&self, netns: &str, port: &str, number: u8) -> anyhow::Result<()> {
        let n = self.subnet.number();
        let bridge = format!("{}-b", self.tag);
        ip(
            Some(&bridge),
            &[
                format!("link add name {port} type veth peer name eth0 netns {netns}"),
                format!("link set {port} master br0"),
                format!("link set {port} up"),
            ],
        )?;
        let mut lines = vec![
            "link set lo up".to_owned(),
            format!("addr add {}/24 dev eth0", host_address(n, number)),
            "link set eth0 up".to_owned(),
            format!("route add default via {}", host_address(n, 1)),
        ];
        if self.dual_stack {
            let gateway = host_address6(n, 1);
            lines.insert(
                2,
                format!("addr add {}/64 dev eth0 nodad", host_address6(n, number)),
            );
            lines.push(format!("route add default via {gateway}"));
            // Nobody answers neighbour solicitations for a local route, so this range goes through its owner.
            lines.push(format!(
                "route add {} via {gateway}",
                load_balancer_range6(n)
            ));
        }
        ip(Some(netns), &lines)
    }

    /// Makes the two namespaces of a node and the routes between it and its neighbours.
    fn build_node(&self, number: u8, neighbours: &[u8]) -> anyhow::Result<()> {
        let (node, pods) = (self.node_netns(number), self.pods_netns(number));
        for name in [&node, &pods] {
            self.janitor.clean_up(["ip", "netns", "delete", name])?;
        }
        ip(
            None,
            &[format!("netns add {node}"), format!("netns add {pods}")],
        )?;
        self.plug(&node, &format!("n{number}"), number)?;
        let inside = Place::Netns(node.clone());
        inside.set_sysctl("net/ipv4/ip_forward", "1")?;
        if self.dual_stack {
            inside.set_sysctl("net/ipv6/conf/all/forwarding", "1")?;
        }
        let (gateway, gateway6) = (pod_address(number, 1), pod_address6(number, 1));
        let mut node_lines = vec![
            format!("link add name pods type veth peer name eth0 netns {pods}"),
            format!("addr add {gateway}/24 dev pods"),
        ];
        let mut pod_lines = vec![
            "link set lo up".to_owned(),
            "link set eth0 up".to_owned(),
            // With its last address a device loses its routes: this one stays while pods come and go.
            "addr add 169.254.0.1/32 dev eth0 scope link".to_owned(),
            format!("route add {gateway} dev eth0"),
            format!("route add default via {gateway}"),
        ];
        if self.dual_stack {
            node_lines.push(format!("addr add {gateway6}/64 dev pods nodad"));
            pod_lines.push(format!("route add {gateway6} dev eth0"));
            pod_lines.push(format!("route add default via {gateway6}"));
        }
        node_lines.push("link set pods up".to_owned());
        node_lines.extend(neighbours.iter().flat_map(|other| self.routes_to(*other)));
        ip(Some(&node), &node_lines)?;
        ip(Some(&pods), &pod_lines)?;
        for other in neighbours {
            ip(Some(&self.node_netns(*other)), &self.routes_to(number))?;
        }
        Ok(())
    }

    /// The lines that tell a node where the pods of another one are.
    fn routes_to(&self, number: u8) -> Vec<String> {
        let n = self.subnet.number();
        let mut lines = vec![format!(
            "route replace {} via {}",
            pod_range(number),
            host_address(n, number)
        )];
        if self.dual_stack {
            lines.push(format!(
                "route replace {} via {}",
                pod_range6(number),
                host_address6(n, number)
            ));
        }
        lines
    }

    fn take_down(&self, name: &str) -> anyhow::Result<()> {
        let Some(node) = self.state().nodes.remove(name) else {
            return Ok(());
        };
        drop(node.proxy);
        let deleted = block_in_place(|| self.delete_node(node.number));
        self.state().numbers.give_back(node.number);
        deleted
    }

    fn node_netns(&self, number: u8) -> String {
        format!("{}-n{number}", self.tag)
    }

    fn pods_netns(&self, number: u8) -> String {
        format!("{}-p{number}", self.tag)
    }

    fn place(&self, origin: &Origin) -> io::Result<Place> {
        Ok(match origin {
            Origin::Here => Place::Here,
            Origin::Client => Place::Netns(format!("{}-c", self.tag)),
            Origin::Node(name) => {
                let state = self.state();
                let node = state.nodes.get(name).ok_or_else(|| unknown_node(name))?;
                Place::Netns(self.node_netns(node.number))
            }
        })
    }

    fn number_of(&self, name: &str) -> anyhow::Result<u8> {
        Ok(self
            .state()
            .nodes
            .get(name)
            .ok_or_else(|| unknown_node(name))?
            .number)
    }

    /// Deletes what there is of a node, all of it also after a failure; the first failure is the result.
    fn delete_node(&self, number: u8) -> anyhow::Result<()> {
        let (node, pods) = (self.node_netns(number), self.pods_netns(number));
        // First the cables: sockets keep a namespace alive after its name is gone.
        let bridge = format!("{}-b", self.tag);
        let outer = ip(Some(&bridge), &[format!("link delete n{number}")]);
        let inner = ip(Some(&node), &["link delete pods".to_owned()]);
        let names = [node, pods].map(|name| ip(None, &[format!("netns delete {name}")]));
        outer.and(inner).and(names.into_iter().collect())
    }
}

#[async_trait]
impl Network for Namespaces {
    async fn add_node(&self, name: &str) -> anyhow::Result<NodeNetwork> {
        let _building = self.building.lock().await;
        let (number, neighbours) = {
            let mut state = self.state();
            if state.nodes.contains_key(name) {
                bail!("the pool already has a node {name}; choose another name");
            }
            let neighbours: Vec<u8> = state.nodes.values().map(|n| n.number).collect();
            let number = state
                .numbers
                .take()
                .context("the pool is full: it holds 171 nodes; start another control plane")?;
            state.nodes.insert(
                name.to_owned(),
                NodeState {
                    number,
                    pods: Numbers::new(2, 254),
                    proxy: None,
                },
            );
            (number, neighbours)
        };
        if let Err(error) = block_in_place(|| self.build_node(number, &neighbours)) {
            let _ = self.take_down(name);
            return Err(error);
        }
        let n = self.subnet.number();
        let mut network = NodeNetwork {
            addresses: vec![host_address(n, number).into()],
            pod_ranges: vec![pod_range(number)],
        };
        if self.dual_stack {
            network.addresses.push(host_address6(n, number).into());
            network.pod_ranges.push(pod_range6(number));
        }
        Ok(network)
    }

    async fn start_node(&self, name: &str) -> anyhow::Result<()> {
        let number = self.number_of(name)?;
        let netns = self.node_netns(number);
        let mut proxy = KubeProxy::start(&self.proxies, name, &netns, &self.janitor)?;
        let address = SocketAddr::new(host_address(self.subnet.number(), number).into(), 10256);
        proxy.wait_healthy(address).await?;
        match self.state().nodes.get_mut(name) {
            Some(node) => node.proxy = Some(proxy),
            None => bail!("node {name} was removed while it started"),
        }
        Ok(())
    }

    async fn remove_node(&self, name: &str) -> anyhow::Result<()> {
        // One that is being built has routes to the others.
        let _building = self.building.lock().await;
        self.take_down(name)
    }

    async fn add_pod(&self, node: &str, ports: &[(Protocol, u16)]) -> anyhow::Result<PodNetwork> {
        let (number, host) = {
            let mut state = self.state();
            let node = state
                .nodes
                .get_mut(node)
                .ok_or_else(|| unknown_node(node))?;
            (
                node.number,
                node.pods
                    .take()
                    .context("the node is full: it holds 253 pods")?,
            )
        };
        let netns = self.pods_netns(number);
        let mut ips: Vec<IpAddr> = vec![pod_address(number, host).into()];
        if self.dual_stack {
            ips.push(pod_address6(number, host).into());
        }
        let place = Place::Netns(netns.clone());
        let made = block_in_place(|| {
            ip(Some(&netns), &address_lines("add", &ips))?;
            let mut pod = PodNetwork {
                ips: ips.clone(),
                tcp: vec![],
                udp: vec![],
            };
            for (protocol, port) in ports {
                for ip in &ips {
                    let address = SocketAddr::new(*ip, *port);
                    match protocol {
                        Protocol::Tcp => pod.tcp.push(place.listen(address)?),
                        Protocol::Udp => pod.udp.push(place.udp(address)?),
                    }
                }
            }
            anyhow::Ok(pod)
        });
        if made.is_err() {
            self.remove_pod(node, &ips).await;
        }
        made
    }

    async fn remove_pod(&self, node: &str, ips: &[IpAddr]) {
        let Ok(number) = self.number_of(node) else {
            return;
        };
        let deleted = block_in_place(|| {
            ip(
                Some(&self.pods_netns(number)),
                &address_lines("delete", ips),
            )
        });
        if let Err(error) = deleted {
            tracing::debug!(node, "pod address was gone already: {error:#}");
        }
        if let (Some(IpAddr::V4(ip)), Some(node)) = (ips.first(), self.state().nodes.get_mut(node))
        {
            node.pods.give_back(ip.octets()[3]);
        }
    }

    async fn connect(&self, origin: &Origin, to: SocketAddr) -> io::Result<TcpStream> {
        self.place(origin)?.connect(to, None).await
    }

    fn listen(&self, origin: &Origin, address: SocketAddr) -> io::Result<TcpListener> {
        self.place(origin)?.listen(address)
    }

    async fn connect_udp(&self, origin: &Origin, to: SocketAddr) -> io::Result<UdpSocket> {
        let any: IpAddr = if to.is_ipv4() {
            Ipv4Addr::UNSPECIFIED.into()
        } else {
            Ipv6Addr::UNSPECIFIED.into()
        };
        let socket = self.place(origin)?.udp(SocketAddr::new(any, 0))?;
        socket.connect(to).await?;
        Ok(socket)
    }

    fn command(&self, origin: &Origin, program: &Path) -> io::Result<Command> {
        Ok(self.place(origin)?.command(program))
    }

    fn client_netns(&self) -> Option<String> {
        Some(format!("{}-c", self.tag))
    }

    fn load_balancer_range(&self) -> String {
        load_balancer_range(self.subnet.number())
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        let nodes = std::mem::take(&mut self.state().nodes);
        for (name, node) in nodes {
            drop(node.proxy);
            if let Err(error) = self.delete_node(node.number) {
                tracing::warn!(
                    node = name,
                    "could not take a node's network down: {error:#}"
                );
            }
        }
    }
}

fn address_lines(verb: &str, ips: &[IpAddr]) -> Vec<String> {
    // /32 and /128: the namespace reaches its neighbours through the node, as a pod does.
    ips.iter()
        .map(|ip| match ip {
            IpAddr::V4(ip) => format!("addr {verb} {ip}/32 dev eth0"),
            IpAddr::V6(ip) if verb == "add" => format!("addr {verb} {ip}/128 dev eth0 nodad"),
            IpAddr::V6(ip) => format!("addr {verb} {ip}/128 dev eth0"),
        })
        .collect()
}

/// The ranges of all pods of a pool, in the form of kube-proxy's `clusterCIDR`.
pub(crate) fn cluster_range(dual_stack: bool) -> String {
    let v6 = if dual_stack { ",fd00:10:244::/48" } else { "" };
    format!("10.244.0.0/16{v6}")
}

fn host_address(subnet: u8, number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 123, subnet, number)
}

fn host_address6(subnet: u8, number: u8) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 0x10, 0x123, subnet.into(), 0, 0, 0, number.into())
}

fn pod_address(node: u8, pod: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 244, node, pod)
}

fn pod_address6(node: u8, pod: u8) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 0x10, 0x244, node.into(), 0, 0, 0, pod.into())
}

fn pod_range(node: u8) -> String {
    format!("{}/24", pod_address(node, 0))
}

fn pod_range6(node: u8) -> String {
    format!("{}/64", pod_address6(node, 0))
}

fn load_balancer_range(subnet: u8) -> String {
    format!("{}/26", host_address(subnet, 192))
}

fn load_balancer_range6(subnet: u8) -> String {
    format!("fd00:10:123:{subnet:x}::c00/120")
}
