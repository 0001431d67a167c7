//! A limit on the connections of a Service: who is over it waits, is told of in the metrics, and gets in when another ends or the
//! limit grows. Nobody else notices.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use evenkeel_e2e::look::LIMIT;
use evenkeel_e2e::{World, WorldOptions};
use evenkeel_harness::wait::eventually;
use k8s_openapi::api::core::v1::Service;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const NAMESPACE: &str = "default";
const PORT: u16 = 8080;
const HELD: &str = "connections_held_total";
const KEY: &str = "local.evenkeel.dev/max-connections";

#[tokio::test(flavor = "multi_thread")]
async fn a_service_has_as_many_connections_as_it_may() -> Result<()> {
    let world = World::start(WorldOptions::default()).await?;
    let pods = world.deploy(NAMESPACE, "web", 2).await?;
    create(&world, "limited", json!({KEY: "2"})).await?;
    create(&world, "other", json!({})).await?;
    let limited = world.address(NAMESPACE, "limited", PORT).await?;
    let other = world.address(NAMESPACE, "other", PORT).await?;
    world.answered_by(limited, &pods).await?;
    world.answered_by(other, &pods).await?;

    eventually("the requests to have ended", LIMIT, || async {
        let open = world.metric(&of_service("connections_open")).await?;
        ensure!(open < 1.0, "{open} are open");
        Ok(())
    })
    .await?;
    let before = world.metric(&of_service(HELD)).await?;
    let mut first = Stream::open(limited).await?;
    let mut second = Stream::open(limited).await?;
    first.flows().await?;
    second.flows().await?;
    // Connecting works, because the kernel takes the connection; an answer comes when there is a place.
    let mut third = Stream::open(limited).await?;
    held(&world, before + 1.0).await?;
    world.answered_by(other, &pods).await?;
    drop(first);
    third.flows().await.context("a connection has ended")?;

    let mut fourth = Stream::open(limited).await?;
    held(&world, before + 2.0).await?;
    limit(&world, "3").await?;
    fourth.flows().await.context("the limit has grown")?;

    // Connections above a lower limit stay, and nobody joins them.
    limit(&world, "1").await?;
    let lower = |listener: &Value| listener["spec"]["max_connections"] == 1;
    eventually("the lower limit", LIMIT, || async {
        let objects = world.objects().await?;
        let listeners = objects["listeners"].as_array().context("no listeners")?;
        ensure!(listeners.iter().any(lower), "{listeners:?}");
        Ok(())
    })
    .await?;
    let mut fifth = Stream::open(limited).await?;
    held(&world, before + 3.0).await?;
    for stream in [&mut second, &mut third, &mut fourth] {
        stream.flows().await.context("above a lower limit")?;
    }
    drop((second, third, fourth));
    fifth.flows().await.context("all others have ended")?;

    limit(&world, "many").await?;
    let told = world
        .condition(NAMESPACE, "limited", "evenkeel.dev/Degraded", "True")
        .await?;
    ensure!(told.message.contains(KEY), "{told}");
    ensure!(told.message.contains("many"), "{told}");
    fifth.flows().await.context("the limit was misspelt")?;
    drop(fifth);
    world.stop().await
}

/// What a metric's line begins with.
fn of_service(name: &str) -> String {
    format!(r#"evenkeel_dataplane_{name}{{namespace="{NAMESPACE}",service="limited""#)
}

/// Waits until so many connections have had to wait for a place.
async fn held(world: &World, count: f64) -> Result<()> {
    eventually(format!("{count} to be held"), LIMIT, || async {
        let held = world.metric(&of_service(HELD)).await?;
        ensure!(held >= count, "{held} are");
        Ok(())
    })
    .await
}

async fn limit(world: &World, value: &str) -> Result<()> {
    let patch = Patch::Merge(json!({"metadata": {"annotations": {KEY: value}}}));
    world
        .services(NAMESPACE)
        .patch("limited", &PatchParams::default(), &patch)
        .await?;
    Ok(())
}

async fn create(world: &World, name: &str, annotations: Value) -> Result<()> {
    let service: Service = serde_json::from_value(json!({
        "metadata": {"name": name, "annotations": annotations},
        "spec": {
            "type": "LoadBalancer",
            "loadBalancerClass": "evenkeel.dev/local",
            "selector": {"app": "web"},
            "ports": [{"port": PORT, "targetPort": "http"}],
        },
    }))?;
    world
        .services(NAMESPACE)
        .create(&PostParams::default(), &service)
        .await?;
    Ok(())
}

/// A connection on which a pod goes on talking.
struct Stream(TcpStream);

impl Stream {
    async fn open(to: SocketAddr) -> Result<Self> {
        let mut stream = TcpStream::connect(to).await?;
        stream
            .write_all(b"GET /stream HTTP/1.1\r\nHost: web\r\n\r\n")
            .await?;
        Ok(Self(stream))
    }

    /// Waits for what the pod says next.
    async fn flows(&mut self) -> Result<()> {
        let mut line = [0; 512];
        let read = tokio::time::timeout(LIMIT, self.0.read(&mut line)).await;
        ensure!(read.context("silence")?? > 0, "it was closed");
        Ok(())
    }
}
