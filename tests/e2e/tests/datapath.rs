//! The data path: a client's request through the load balancer's address, a real NodePort, a real kube-proxy, to a pod.
//! Needs network namespaces; where they are impossible the run says so.
#![expect(clippy::print_stderr, reason = "a test that cannot run here says so")]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use evenkeel_e2e::look::{LIMIT, ingress};
use evenkeel_e2e::{World, WorldOptions};
use evenkeel_harness::nodes::{NodesKind, NodesOptions, Origin, namespaces_possible};
use evenkeel_harness::wait::eventually;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const NAMESPACE: &str = "shop";

/// Everything that real nodes can show, in one world: starting it costs more than any of the checks.
#[tokio::test(flavor = "multi_thread")]
async fn requests_reach_pods_through_a_real_kube_proxy() -> Result<()> {
    if let Err(reason) = namespaces_possible() {
        eprintln!(
            "SKIPPED (needs namespaces): requests_reach_pods_through_a_real_kube_proxy: {reason}"
        );
        return Ok(());
    }
    let nodes = NodesOptions {
        kind: NodesKind::Namespaces,
        count: 3,
        ..NodesOptions::default()
    };
    let mut world = World::start(WorldOptions {
        nodes: Some(nodes),
        ..WorldOptions::default()
    })
    .await?;
    prepare(&world).await.context("prepare")?;
    every_pod_is_reached(&world)
        .await
        .context("every pod is reached")?;
    the_client_address_is_lost_and_brought_back(&world)
        .await
        .context("the client's address")?;
    policy_local_uses_only_nodes_with_a_pod(&world)
        .await
        .context("policy Local")?;
    a_connection_outlives_changes_and_restarts(&mut world)
        .await
        .context("a connection outlives changes and restarts")?;
    a_node_that_leaves_drains(&world)
        .await
        .context("a node that leaves drains")?;
    world.stop().await
}

async fn prepare(world: &World) -> Result<()> {
    let namespaces: Api<Namespace> = Api::all(world.client());
    let namespace = serde_json::from_value(json!({"metadata": {"name": NAMESPACE}}))?;
    namespaces
        .create(&PostParams::default(), &namespace)
        .await?;
    world.deploy(NAMESPACE, "web", 3).await?;
    create(world, "web", json!({})).await
}

async fn create(world: &World, name: &str, more: Value) -> Result<()> {
    let mut service = json!({
        "metadata": {"name": name},
        "spec": {
            "type": "LoadBalancer",
            "loadBalancerClass": "evenkeel.dev/local",
            "selector": {"app": "web"},
            "ports": [{"name": "http", "port": 80, "targetPort": "http"}],
        },
    });
    for (field, value) in more.as_object().into_iter().flatten() {
        service["spec"][field] = value.clone();
    }
    let service: Service = serde_json::from_value(service)?;
    world
        .services(NAMESPACE)
        .create(&PostParams::default(), &service)
        .await?;
    Ok(())
}

async fn every_pod_is_reached(world: &World) -> Result<()> {
    let address = world.address(NAMESPACE, "web", 80).await?;
    let pods = world.ready_pods(NAMESPACE, "app=web").await?;
    world.answered_by(address, &pods).await?;
    let service = world.services(NAMESPACE).get("web").await?;
    let entry = ingress(&service).pop().context("no ingress")?;
    ensure!(
        entry.ip_mode.as_deref() == Some("Proxy"),
        "ipMode is {:?}",
        entry.ip_mode
    );
    Ok(())
}

/// The table of the book: what arrives from whom, with either policy and with PROXY protocol.
async fn the_client_address_is_lost_and_brought_back(world: &World) -> Result<()> {
    let nodes = world.nodes()?;
    let first = nodes.node_address(&nodes.nodes()[0])?;
    let towards_nodes = std::net::UdpSocket::bind("0.0.0.0:0")?;
    towards_nodes.connect((first, 9))?;
    let balancer = towards_nodes.local_addr()?.ip();

    create(
        world,
        "seen-local",
        json!({"externalTrafficPolicy": "Local"}),
    )
    .await?;
    let local = world.address(NAMESPACE, "seen-local", 80).await?;
    let seen = eventually("an answer", LIMIT, || world.ask(local)).await?;
    ensure!(
        seen.client.ip() == balancer,
        "with policy Local the pod sees {}, the balancer is {balancer}",
        seen.client
    );
    let cluster = world.address(NAMESPACE, "web", 80).await?;
    for _ in 0..10 {
        let seen = world.ask(cluster).await?.client.ip();
        ensure!(
            seen != balancer && !seen.is_loopback(),
            "with policy Cluster the pod sees {seen}, which is no node's"
        );
    }
    let services = world.services(NAMESPACE);
    services
        .delete("seen-local", &DeleteParams::default())
        .await?;
    world.gone(NAMESPACE, "seen-local").await?;
    proxy_protocol_tells_the_client(world).await
}

/// A server that reads the header stands behind a Service without a selector, at the address of the pool's client.
async fn proxy_protocol_tells_the_client(world: &World) -> Result<()> {
    let nodes = world.nodes()?;
    let server = nodes.listen(&Origin::Client, "0.0.0.0:9000".parse()?)?;
    let mut address = nodes.node_address(&nodes.nodes()[0])?.to_string();
    address.truncate(address.rfind('.').context("no IPv4 address")? + 1);
    address.push('2');
    let service = json!({
        "metadata": {"name": "told", "annotations": {"evenkeel.dev/proxy-protocol": "v2"}},
        "spec": {"type": "LoadBalancer", "loadBalancerClass": "evenkeel.dev/local", "ports": [{"port": 80, "targetPort": 9000}]},
    });
    let service: Service = serde_json::from_value(service)?;
    let services = world.services(NAMESPACE);
    services.create(&PostParams::default(), &service).await?;
    let slice = json!({
        "metadata": {"name": "told", "labels": {"kubernetes.io/service-name": "told"}},
        "addressType": "IPv4",
        "ports": [{"port": 9000}],
        "endpoints": [{"addresses": [address]}],
    });
    let slices: Api<EndpointSlice> = Api::namespaced(world.client(), NAMESPACE);
    slices
        .create(&PostParams::default(), &serde_json::from_value(slice)?)
        .await?;
    let balancer = world.address(NAMESPACE, "told", 80).await?;
    eventually("the client's address", LIMIT, || async {
        let client = nodes.connect(&Origin::Here, balancer).await?;
        let (mut accepted, _) = tokio::time::timeout(Duration::from_secs(2), server.accept())
            .await
            .context("nobody came")??;
        let mut header = [0; 28];
        accepted.read_exact(&mut header).await?;
        // Version 2, PROXY; TCP over IPv4; twelve bytes of addresses (haproxy's proxy-protocol.txt, 2.2).
        ensure!(header[..12] == *b"\r\n\r\n\0\r\nQUIT\n", "{header:?}");
        ensure!(header[12..16] == [0x21, 0x11, 0, 12], "{header:?}");
        let told = SocketAddr::from((
            [header[16], header[17], header[18], header[19]],
            u16::from_be_bytes([header[24], header[25]]),
        ));
        let client = client.local_addr()?;
        ensure!(told == client, "told was {told}, the client is {client}");
        Ok(())
    })
    .await?;
    services.delete("told", &DeleteParams::default()).await?;
    world.gone(NAMESPACE, "told").await
}

/// Policy Local: the health check node port of the real kube-proxy decides, so a node without a pod gets nothing, and requests do not
/// fail while the pod moves.
async fn policy_local_uses_only_nodes_with_a_pod(world: &World) -> Result<()> {
    create(world, "local", json!({"externalTrafficPolicy": "Local"})).await?;
    let address = world.address(NAMESPACE, "local", 80).await?;
    scale(world, 1).await?;
    let pods = world.await_ready_pods(NAMESPACE, "app=web", 1).await?;
    eventually("the one pod to answer every request", LIMIT, || async {
        let answers = world.ask_often(address, 20).await?;
        ensure!(
            answers.keys().cloned().collect::<BTreeSet<_>>() == pods,
            "{answers:?}"
        );
        Ok(())
    })
    .await?;
    let pod = pods.first().context("a pod")?;
    let home = pod_node(world, pod).await?;
    let healthy = healthy_nodes(world, "local").await?;
    ensure!(
        healthy == BTreeSet::from([home.clone()]),
        "healthy are {healthy:?}, the pod is on {home}"
    );
    // With the NodePort the node without a pod does not answer at all; through the address nobody notices.
    scale(world, 3).await?;
    let pods = world.await_ready_pods(NAMESPACE, "app=web", 3).await?;
    world.answered_by(address, &pods).await?;
    world
        .services(NAMESPACE)
        .delete("local", &DeleteParams::default())
        .await?;
    world.gone(NAMESPACE, "local").await
}

/// An open connection sees nothing of: another port of the same Service, another Service coming and going, the controller killed, stopped
/// and started.
async fn a_connection_outlives_changes_and_restarts(world: &mut World) -> Result<()> {
    let address = world.address(NAMESPACE, "web", 80).await?;
    let mut stream = world.nodes()?.connect(&Origin::Here, address).await?;
    stream
        .write_all(b"GET /stream HTTP/1.1\r\nHost: web\r\n\r\n")
        .await?;
    let mut line = [0; 64];
    async fn flows(stream: &mut tokio::net::TcpStream, line: &mut [u8]) -> Result<()> {
        let read = tokio::time::timeout(LIMIT, stream.read(line)).await??;
        ensure!(read > 0, "the connection was closed");
        Ok(())
    }
    flows(&mut stream, &mut line).await?;
    let ports = json!({"spec": {"ports": [
        {"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"},
        {"name": "more", "port": 81, "targetPort": "http", "protocol": "TCP"},
    ]}});
    world
        .services(NAMESPACE)
        .patch("web", &PatchParams::default(), &Patch::Strategic(ports))
        .await?;
    let more = world.address(NAMESPACE, "web", 81).await?;
    eventually("the second port", LIMIT, || world.ask(more)).await?;
    flows(&mut stream, &mut line)
        .await
        .context("after a port was added")?;
    create(world, "other", json!({})).await?;
    world.address(NAMESPACE, "other", 80).await?;
    world
        .services(NAMESPACE)
        .delete("other", &DeleteParams::default())
        .await?;
    world.gone(NAMESPACE, "other").await?;
    flows(&mut stream, &mut line)
        .await
        .context("after another Service came and went")?;
    world.kill_controller()?;
    flows(&mut stream, &mut line)
        .await
        .context("after the controller was killed")?;
    world
        .ask_often(address, 10)
        .await
        .context("without a controller")?;
    world.start_controller().await?;
    ensure!(
        world.address(NAMESPACE, "web", 80).await? == address,
        "the address changed"
    );
    flows(&mut stream, &mut line)
        .await
        .context("after the controller came back")
}

/// A node that is excluded leaves the targets; its open connections live on while they drain.
async fn a_node_that_leaves_drains(world: &World) -> Result<()> {
    let address = world.address(NAMESPACE, "web", 80).await?;
    let leaving = world.nodes()?.nodes().pop().context("a node")?;
    let nodes: Api<k8s_openapi::api::core::v1::Node> = Api::all(world.client());
    let label = json!({"metadata": {"labels": {"node.kubernetes.io/exclude-from-external-load-balancers": "true"}}});
    nodes
        .patch(&leaving, &PatchParams::default(), &Patch::Merge(label))
        .await?;
    eventually("the node to leave the targets", LIMIT, || async {
        let targets = world.target_nodes().await?;
        ensure!(!targets.contains(&leaving), "{targets:?}");
        Ok(())
    })
    .await?;
    world.ask_often(address, 20).await.map(|_| ())
}

async fn scale(world: &World, replicas: i32) -> Result<()> {
    let deployments: Api<Deployment> = Api::namespaced(world.client(), NAMESPACE);
    let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
    deployments
        .patch("web", &PatchParams::default(), &patch)
        .await?;
    Ok(())
}

async fn pod_node(world: &World, pod: &str) -> Result<String> {
    let pods: Api<Pod> = Api::namespaced(world.client(), NAMESPACE);
    let list = pods.list(&ListParams::default()).await?;
    let found = list.into_iter().find(|p| p.name_any() == pod);
    found
        .and_then(|p| p.spec?.node_name)
        .context("the pod has no node")
}

/// The nodes that the data plane calls healthy for a Service.
async fn healthy_nodes(world: &World, service: &str) -> Result<BTreeSet<String>> {
    let objects = world.objects().await?;
    let wanted = format!("{NAMESPACE}/{service}");
    let sets = objects["backend_sets"]
        .as_array()
        .context("no backend sets")?;
    Ok(sets
        .iter()
        .filter(|set| set["marks"]["service"] == wanted.as_str())
        .flat_map(|set| set["status"]["targets"].as_array().into_iter().flatten())
        .filter(|target| target["health"] == "healthy")
        .filter_map(|target| target["target"]["node"].as_str().map(str::to_owned))
        .collect())
}
