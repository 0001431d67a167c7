//! Datagrams through the load balancer's address, a real NodePort and a real kube-proxy: beside TCP on one number, over both
//! families, let in by source ranges, and away from a node that is gone.
//! Needs network namespaces; where they are impossible the run says so.
#![expect(clippy::print_stderr, reason = "a test that cannot run here says so")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use evenkeel_e2e::look::{LIMIT, ingress};
use evenkeel_e2e::{World, WorldOptions, own_pool};
use evenkeel_harness::control_plane::Options;
use evenkeel_harness::kubectl::Kubectl;
use evenkeel_harness::nodes::{NodesKind, NodesOptions, PodAnswer, namespaces_possible};
use evenkeel_harness::progress::Progress;
use evenkeel_harness::wait::eventually;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::net::UdpSocket;

const NAMESPACE: &str = "default";

/// The port of the example.
const SYSLOG: u16 = 5514;

/// How long one answer may take. A datagram may be lost, which is the client's to repeat.
const PATIENCE: Duration = Duration::from_secs(1);

/// Everything in one world: starting it costs more than any of the checks.
#[tokio::test(flavor = "multi_thread")]
async fn datagrams_reach_pods_through_a_real_kube_proxy() -> Result<()> {
    if let Err(reason) = namespaces_possible() {
        eprintln!(
            "SKIPPED (needs namespaces): datagrams_reach_pods_through_a_real_kube_proxy: {reason}"
        );
        return Ok(());
    }
    let dual_stack = std::net::UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    let mut pools = vec![own_pool()];
    if dual_stack {
        // The only one that every machine has and that needs no set-up.
        pools.push(Ipv6Addr::LOCALHOST.to_string());
    }
    let world = World::start(WorldOptions {
        plane: Options {
            dual_stack,
            ..Options::default()
        },
        nodes: Some(NodesOptions {
            kind: NodesKind::Namespaces,
            count: 3,
            dual_stack,
            ..NodesOptions::default()
        }),
        pools,
        ..WorldOptions::default()
    })
    .await?;
    both_protocols_answer_on_one_number(&world, dual_stack)
        .await
        .context("TCP and UDP on one number")?;
    source_ranges_hold_for_datagrams(&world)
        .await
        .context("source ranges")?;
    policy_local_uses_only_nodes_with_a_pod(&world)
        .await
        .context("policy Local")?;
    flows_leave_a_node_that_is_gone(&world)
        .await
        .context("a node that is gone")?;
    a_deleted_service_drains(&world)
        .await
        .context("a deleted Service")?;
    world.stop().await
}

/// A client with one address and port, which are one flow.
struct Client {
    socket: UdpSocket,
    front: SocketAddr,
    asked: AtomicU32,
}

impl Client {
    async fn new(from: impl Into<IpAddr>, front: SocketAddr) -> Result<Self> {
        Ok(Self {
            socket: UdpSocket::bind((from.into(), 0)).await?,
            front,
            asked: AtomicU32::new(0),
        })
    }

    /// One on this machine.
    async fn here(front: SocketAddr) -> Result<Self> {
        match front {
            SocketAddr::V4(_) => Self::new(Ipv4Addr::LOCALHOST, front).await,
            SocketAddr::V6(_) => Self::new(Ipv6Addr::LOCALHOST, front).await,
        }
    }

    /// Sends one datagram; who answers it, from the address that it was sent to.
    async fn ask(&self) -> Result<PodAnswer> {
        let question = format!("question {}", self.asked.fetch_add(1, Ordering::Relaxed));
        self.socket.send_to(question.as_bytes(), self.front).await?;
        let mut buffer = [0; 512];
        let hear = async {
            loop {
                let (length, from) = self.socket.recv_from(&mut buffer).await?;
                let text = String::from_utf8_lossy(&buffer[..length]);
                ensure!(from == self.front, "{from} answers for {}", self.front);
                // The answer to an earlier one may come late.
                if text.ends_with(&question) {
                    return PodAnswer::parse(&text)
                        .with_context(|| format!("not a pod's answer: {text}"));
                }
            }
        };
        tokio::time::timeout(PATIENCE, hear)
            .await
            .context("no answer")?
    }

    /// Repeats its question until it is answered.
    async fn hears(&self) -> Result<PodAnswer> {
        eventually("an answer", LIMIT, || self.ask()).await
    }
}

/// The example, on a number that is nobody else's on this machine.
async fn both_protocols_answer_on_one_number(world: &World, dual_stack: bool) -> Result<()> {
    let port = 20_000 + u16::try_from(std::process::id() % 10_000)?;
    let example = include_str!("../../../deploy/examples/dns.yaml");
    let own = example.replace("port: 53,", &format!("port: {port},"));
    ensure!(own != example, "the example has no port 53");
    apply(world, &own).await?;
    let mut families = 1;
    if dual_stack {
        families = 2;
        let both = json!({"ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv4", "IPv6"]});
        patch(world, "dns", json!({"spec": both})).await?;
    }
    let pods = world.await_ready_pods(NAMESPACE, "app=dns", 2).await?;
    let service = eventually("both ports on every address", LIMIT, || async {
        let service = world.services(NAMESPACE).get("dns").await?;
        let entries = ingress(&service);
        ensure!(entries.len() == families, "{entries:?}");
        for entry in entries {
            let open: BTreeSet<_> = entry
                .ports
                .into_iter()
                .flatten()
                .filter(|port| port.error.is_none())
                .map(|port| (port.port, port.protocol))
                .collect();
            let both = ["TCP", "UDP"].map(|protocol| (i32::from(port), protocol.to_owned()));
            ensure!(open == both.into(), "{open:?}");
        }
        Ok(service)
    })
    .await
    .with_context(|| world.controller_log())?;
    for entry in ingress(&service) {
        let ip: IpAddr = entry.ip.context("no address")?.parse()?;
        let front = SocketAddr::new(ip, port);
        world
            .answered_by(front, &pods)
            .await
            .with_context(|| format!("TCP at {front}"))?;
        eventually("both pods to answer datagrams", LIMIT, || async {
            let mut seen = BTreeSet::new();
            for _ in 0..16 {
                seen.insert(Client::here(front).await?.ask().await?.pod);
            }
            ensure!(seen == pods, "{seen:?} answer at {front}");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

/// A flow that was let in ends with the change that shuts its client out, and the others go on.
async fn source_ranges_hold_for_datagrams(world: &World) -> Result<()> {
    let service = world.services(NAMESPACE).get("dns").await?;
    let port = service.spec.and_then(|spec| spec.ports?.pop());
    let port = u16::try_from(port.context("no port")?.port)?;
    let front = world.address(NAMESPACE, "dns", port).await?;
    let allowed = Client::new(Ipv4Addr::new(127, 0, 0, 11), front).await?;
    let other = Client::new(Ipv4Addr::new(127, 0, 0, 12), front).await?;
    allowed.hears().await?;
    other.hears().await?;
    let ranges = json!({"loadBalancerSourceRanges": ["127.0.0.11/32"]});
    patch(world, "dns", json!({"spec": ranges})).await?;
    eventually("one client to be shut out", LIMIT, || async {
        let answer = other.ask().await;
        ensure!(answer.is_err(), "it hears {answer:?}");
        allowed.ask().await
    })
    .await?;
    let everyone = json!({"loadBalancerSourceRanges": null});
    patch(world, "dns", json!({"spec": everyone})).await?;
    other.hears().await?;
    let deleted = world.services(NAMESPACE);
    deleted.delete("dns", &DeleteParams::default()).await?;
    world.gone(NAMESPACE, "dns").await
}

/// The health check node port decides for UDP, too, and kube-proxy keeps the source: it is this machine's.
async fn policy_local_uses_only_nodes_with_a_pod(world: &World) -> Result<()> {
    apply(world, include_str!("../../../deploy/examples/syslog.yaml")).await?;
    let nodes = world.nodes()?.nodes();
    let front = world.address(NAMESPACE, "syslog", SYSLOG).await?;
    let PodAnswer { node, client, .. } = Client::here(front).await?.hears().await?;
    answered_on(world, front, std::slice::from_ref(&node)).await?;
    let towards = std::net::UdpSocket::bind("0.0.0.0:0")?;
    towards.connect((world.nodes()?.node_address(&node)?, 9))?;
    let (seen, balancer) = (client.ip(), towards.local_addr()?.ip());
    ensure!(seen == balancer, "the pod sees {seen}, not {balancer}");
    for other in nodes.iter().filter(|other| **other != node) {
        pod_on(world, other).await?;
    }
    answered_on(world, front, &nodes).await
}

/// The node goes with its network, then as an object. Its flow goes on elsewhere, and those of other nodes stay where they are.
async fn flows_leave_a_node_that_is_gone(world: &World) -> Result<()> {
    // Longer than anything here: whoever leaves a node does so for another reason.
    let drain = json!({"metadata": {"annotations": {"evenkeel.dev/drain": "10m"}}});
    patch(world, "syslog", drain).await?;
    drains_for(world, 600).await?;
    let front = world.address(NAMESPACE, "syslog", SYSLOG).await?;
    let mut clients = BTreeMap::new();
    let nodes = world.nodes()?.nodes();
    // Each goes where the fewest are.
    for _ in 0..4 * nodes.len() {
        let client = Client::here(front).await?;
        clients.insert(client.hears().await?.node, client);
    }
    ensure!(clients.len() == nodes.len(), "only {:?}", clients.keys());
    let gone = nodes.last().context("a node")?;
    world.nodes()?.remove_node(gone).await?;
    let moved = clients.remove(gone).context("nobody was on it")?;
    let to = eventually("its flow to go on elsewhere", LIMIT, || async {
        let node = moved.ask().await?.node;
        ensure!(node != *gone, "{gone} answers");
        Ok(node)
    })
    .await?;
    ensure!(clients.contains_key(&to), "{to} answers");
    for (node, client) in &clients {
        let now = client.hears().await?.node;
        ensure!(now == *node, "the flow on {node} went to {now}");
    }
    answered_on(world, front, &nodes[..nodes.len() - 1]).await
}

/// Its port closes at once. Who had a flow keeps it: the data plane knows it, and so does the kernel of its node.
async fn a_deleted_service_drains(world: &World) -> Result<()> {
    let services = world.services(NAMESPACE);
    let service = services.get("syslog").await?;
    let port = service.spec.and_then(|spec| spec.ports?.pop());
    let node_port = port.and_then(|port| port.node_port).context("none")?;
    let front = world.address(NAMESPACE, "syslog", SYSLOG).await?;
    let client = Client::here(front).await?;
    let node = client.hears().await?.node;
    services.delete("syslog", &DeleteParams::default()).await?;
    world.gone(NAMESPACE, "syslog").await?;
    let at_node = SocketAddr::new(
        world.nodes()?.node_address(&node)?,
        u16::try_from(node_port)?,
    );
    eventually("the NodePort to close", LIMIT, || async {
        let other = Client::new(Ipv4Addr::UNSPECIFIED, at_node).await?;
        let answer = other.ask().await;
        ensure!(answer.is_err(), "{answer:?} answers");
        Ok(())
    })
    .await?;
    let still = client.hears().await.context("its flow was cut")?;
    ensure!(still.node == node, "{still:?}, not {node}");
    let late = Client::here(front).await?;
    late.socket.connect(front).await?;
    late.socket.send(b"late").await?;
    let heard = tokio::time::timeout(LIMIT, late.socket.recv(&mut [0; 8])).await?;
    let refused = heard.err().context("a new client was heard")?;
    ensure!(
        refused.kind() == std::io::ErrorKind::ConnectionRefused,
        "{refused}"
    );
    Ok(())
}

/// Waits until new flows go to exactly these nodes.
async fn answered_on(world: &World, front: SocketAddr, nodes: &[String]) -> Result<()> {
    let wanted: BTreeSet<_> = nodes.iter().cloned().collect();
    eventually(format!("{wanted:?} to answer"), LIMIT, || async {
        let mut seen = BTreeSet::new();
        for _ in 0..4 * nodes.len() {
            seen.insert(Client::here(front).await?.ask().await?.node);
        }
        ensure!(seen == wanted, "{seen:?} answer");
        Ok(())
    })
    .await
    .with_context(|| world.controller_log())
}

async fn pod_on(world: &World, node: &str) -> Result<()> {
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": format!("syslog-{node}"), "labels": {"app": "syslog"}},
        "spec": {
            "nodeName": node,
            "containers": [{"name": "echo", "image": "echo", "ports": [{"name": "syslog", "containerPort": SYSLOG, "protocol": "UDP"}]}],
        },
    }))?;
    let pods: Api<Pod> = Api::namespaced(world.client(), NAMESPACE);
    pods.create(&PostParams::default(), &pod).await?;
    Ok(())
}

/// Waits until the data plane lets connections of nodes that left go on for so long.
async fn drains_for(world: &World, seconds: u64) -> Result<()> {
    eventually(format!("a drain of {seconds} s"), LIMIT, || async {
        let objects = world.objects().await?;
        let sets = objects["backend_sets"].as_array().context("no sets")?;
        let drains = |set: &Value| set["spec"]["drain_seconds"] == seconds;
        ensure!(sets.iter().all(drains), "{sets:?}");
        Ok(())
    })
    .await
}

/// Applies a manifest, as somebody would.
async fn apply(world: &World, text: &str) -> Result<()> {
    let path = world.plane.directory().join("applied.yaml");
    std::fs::write(&path, text)?;
    let path = path.to_str().context("a path that is no text")?;
    let kubectl = Kubectl::new(&world.plane, NAMESPACE, Progress::new()).await?;
    kubectl.run(&["apply", "-f", path]).await?.ok()?;
    Ok(())
}

async fn patch(world: &World, name: &str, patch: Value) -> Result<()> {
    let patch = Patch::Merge(patch);
    world
        .services(NAMESPACE)
        .patch(name, &PatchParams::default(), &patch)
        .await?;
    Ok(())
}
