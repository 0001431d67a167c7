//! What is short on a host: a port that another process has, an address when the pool is empty. Told on the Service, and
//! overcome without a restart.

use std::net::{IpAddr, TcpListener};

use anyhow::{Context as _, Result, ensure};
use evenkeel_e2e::look::{LIMIT, ingress};
use evenkeel_e2e::{World, WorldOptions, own_pool};
use evenkeel_harness::control_plane::Options;
use evenkeel_harness::wait::eventually;
use k8s_openapi::api::core::v1::Service;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;

const NAMESPACE: &str = "default";
const PORT: u16 = 8080;

#[tokio::test(flavor = "multi_thread")]
async fn shortages_are_told_and_overcome() -> Result<()> {
    let only = own_pool().replace(".0/24", ".7");
    let world = World::start(WorldOptions {
        plane: Options {
            controller_manager: false,
            ..Options::default()
        },
        nodes: None,
        pools: vec![only.clone()],
        ..WorldOptions::default()
    })
    .await?;
    a_taken_port_is_told_and_opened_when_it_is_free(&world, only.parse()?)
        .await
        .context("taken port")?;
    an_empty_pool_is_told_until_an_address_is_free(&world)
        .await
        .context("empty pool")?;
    world.stop().await
}

async fn a_taken_port_is_told_and_opened_when_it_is_free(
    world: &World,
    address: IpAddr,
) -> Result<()> {
    let other = TcpListener::bind((address, PORT))?;
    create(world, "first").await?;
    eventually("the port's error", LIMIT, || async {
        let error = port_error(world, "first").await?.context("no error")?;
        ensure!(error == "evenkeel.dev/PortNotOpened", "{error}");
        Ok(())
    })
    .await?;
    let told = world
        .condition(NAMESPACE, "first", "LoadBalancerPortsError", "True")
        .await?;
    ensure!(told.message.contains(&PORT.to_string()), "{told}");
    drop(other);
    eventually("the port to be opened", LIMIT, || async {
        let error = port_error(world, "first").await?;
        ensure!(error.is_none(), "{error:?}");
        Ok(())
    })
    .await
}

async fn an_empty_pool_is_told_until_an_address_is_free(world: &World) -> Result<()> {
    create(world, "second").await?;
    let told = world
        .condition(NAMESPACE, "second", "evenkeel.dev/Degraded", "True")
        .await?;
    ensure!(told.reason == "QuotaExceeded", "{told}");
    ensure!(told.message.contains("pool"), "{told}");
    world
        .services(NAMESPACE)
        .delete("first", &DeleteParams::default())
        .await?;
    world.gone(NAMESPACE, "first").await?;
    // What is over a limit is tried again after minutes; an edit starts afresh.
    let edit = Patch::Merge(json!({"metadata": {"annotations": {"evenkeel.dev/drain": "5s"}}}));
    world
        .services(NAMESPACE)
        .patch("second", &PatchParams::default(), &edit)
        .await?;
    world.address(NAMESPACE, "second", PORT).await.map(|_| ())
}

async fn create(world: &World, name: &str) -> Result<()> {
    let service = json!({
        "metadata": {"name": name},
        "spec": {
            "type": "LoadBalancer",
            "loadBalancerClass": "evenkeel.dev/local",
            "selector": {"app": "web"},
            "ports": [{"port": PORT}],
        },
    });
    let service: Service = serde_json::from_value(service)?;
    world
        .services(NAMESPACE)
        .create(&PostParams::default(), &service)
        .await?;
    Ok(())
}

/// `status.loadBalancer.ingress[0].ports[0].error`, once there is such a port.
async fn port_error(world: &World, name: &str) -> Result<Option<String>> {
    let service = world.services(NAMESPACE).get(name).await?;
    let entry = ingress(&service).into_iter().next().context("no ingress")?;
    let port = entry
        .ports
        .unwrap_or_default()
        .into_iter()
        .next()
        .context("no ports")?;
    Ok(port.error)
}
