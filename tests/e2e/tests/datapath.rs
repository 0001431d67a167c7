//! The data path: a client's request through the load balancer's address, a real NodePort, a real kube-proxy, to a pod.
//! Needs network namespaces; where they are impossible the run says so.
#![expect(clippy::print_stderr, reason = "a test that cannot run here says so")]

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use evenkeel_e2e::look::{LIMIT, ingress};
use evenkeel_e2e::{World, WorldOptions};
use evenkeel_harness::nodes::{NodesKind, NodesOptions, Origin, namespaces_possible};
use evenkeel_harness::wait::eventually;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Pod, Service};
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
