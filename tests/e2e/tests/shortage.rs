//! What is short on a host: a port that another process has, an address when the pool is empty. Told on the Service, and
//! overcome without a restart.

use std::net::{IpAddr, TcpListener};

use anyhow::{Context as _, Result, ensure};
use evenkeel_e2e::look::{LIMIT, ingress};
use evenkeel_e2e::{World, WorldOptions, own_pool};
use evenkeel_harness::control_plane::Options;
use evenkeel_harness::wait::eventually;
use kube::api::DeleteParams;
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
    // Nobody touches it: what it waits for was given back.
    world.address(NAMESPACE, "second", PORT).await.map(|_| ())
}

/// Two Services share an address, a third wants a port that one of them has, and a namespace has all it may have.
#[tokio::test(flavor = "multi_thread")]
async fn a_shared_address_and_an_allowance_are_kept() -> Result<()> {
    let pool = own_pool();
    let own = |last: &str| pool.replace(".0/24", last);
    let home = own(".9");
    let world = World::start(WorldOptions {
        plane: Options {
            controller_manager: false,
            ..Options::default()
        },
        nodes: None,
        pools: vec![
            format!("{home},name=home,shared=true"),
            format!(
                "{}-{},name=lab,per-namespace-limit=1",
                own(".16"),
                own(".20")
            ),
            format!("{},name=theirs,namespaces=theirs", own(".30")),
        ],
        ..WorldOptions::default()
    })
    .await?;
    for (name, port) in [("web", PORT), ("mail", PORT + 1)] {
        create_on(&world, name, "home", port).await?;
        let address = world.address(NAMESPACE, name, port).await?;
        ensure!(address.ip().to_string() == home, "{name}: {address}");
    }
    create_on(&world, "rival", "home", PORT).await?;
    let told = world
        .condition(NAMESPACE, "rival", "LoadBalancerPortsError", "True")
        .await?;
    ensure!(told.message.contains("default/web"), "{told}");
    ensure!(
        ingress(&world.services(NAMESPACE).get("rival").await?).is_empty(),
        "it is published"
    );

    create_on(&world, "first", "lab", PORT).await?;
    world.address(NAMESPACE, "first", PORT).await?;
    for (name, pool, says) in [
        ("second", "lab", "holds 1 of 1"),
        ("stranger", "theirs", "serves only namespaces theirs"),
        ("lost", "nowhere", "home, lab, theirs"),
    ] {
        create_on(&world, name, pool, PORT).await?;
        let told = world
            .condition(NAMESPACE, name, "evenkeel.dev/Degraded", "True")
            .await?;
        ensure!(told.reason == "AddressNotAvailable", "{told}");
        ensure!(told.message.contains(says), "{told}");
    }

    for (gone, waits) in [("web", "rival"), ("first", "second")] {
        world
            .services(NAMESPACE)
            .delete(gone, &DeleteParams::default())
            .await?;
        world.gone(NAMESPACE, gone).await?;
        world
            .address(NAMESPACE, waits, PORT)
            .await
            .with_context(|| format!("{waits} waits for what {gone} had"))?;
    }
    world.stop().await
}

async fn create(world: &World, name: &str) -> Result<()> {
    let made = world.expose(NAMESPACE, name, PORT, json!(null)).await;
    made.map(drop)
}

async fn create_on(world: &World, name: &str, pool: &str, port: u16) -> Result<()> {
    let pool = json!({"local.evenkeel.dev/address-pool": pool});
    let made = world.expose(NAMESPACE, name, port, pool).await;
    made.map(drop)
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
