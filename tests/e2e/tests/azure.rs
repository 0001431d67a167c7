//! The provider `azure` as it is run: the real program, a real API server, Azure as our fake plays it.

use anyhow::{Context as _, Result, ensure};
use evenkeel_e2e::azure::AzureWorld;
use evenkeel_e2e::facts::plans_alike;
use evenkeel_e2e::look::{LIMIT, ingress};
use evenkeel_harness::fake_azure::Kind;
use evenkeel_harness::wait::eventually;
use k8s_openapi::api::core::v1::Service;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

const NAMESPACE: &str = "default";
const INTERNAL: &str = "service.beta.kubernetes.io/azure-load-balancer-internal";

fn service(name: &str, annotations: Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": NAMESPACE, "annotations": annotations},
        "spec": {
            "type": "LoadBalancer",
            "loadBalancerClass": "evenkeel.dev/azure",
            "ports": [{"name": "http", "port": 80}],
        },
    })
}

async fn create(world: &AzureWorld, name: &str, annotations: Value) -> Result<Service> {
    let services = world.world.services(NAMESPACE);
    let service = serde_json::from_value(service(name, annotations))?;
    Ok(services.create(&PostParams::default(), &service).await?)
}

async fn annotate(world: &AzureWorld, name: &str, annotations: Value) -> Result<()> {
    let patch = Patch::Merge(json!({"metadata": {"annotations": annotations}}));
    let services = world.world.services(NAMESPACE);
    services
        .patch(name, &PatchParams::default(), &patch)
        .await?;
    Ok(())
}

/// Waits until a Service is served and nothing is left to do for it; returns its address.
async fn served(world: &AzureWorld, name: &str) -> Result<String> {
    let of = |kind, status| world.world.condition(NAMESPACE, name, kind, status);
    of("evenkeel.dev/Serving", "True").await?;
    of("evenkeel.dev/Provisioning", "False").await?;
    let service = world.world.services(NAMESPACE).get(name).await?;
    let entries = ingress(&service);
    let [entry] = &entries[..] else {
        anyhow::bail!("one entry: {entries:?}");
    };
    ensure!(entry.ip_mode.as_deref() == Some("VIP"), "{entry:?}");
    entry.ip.clone().context("an address")
}

/// The addresses in the pools of the load balancers, each once.
fn members(world: &AzureWorld) -> Vec<String> {
    let state = world.azure.state();
    let balancers = state.of(Kind::LoadBalancer);
    let live = balancers.filter_map(|one| one.live.as_ref());
    let mut all: Vec<_> = live
        .flat_map(|one| one["properties"]["backendAddressPools"].as_array())
        .flatten()
        .flat_map(|pool| pool["properties"]["loadBalancerBackendAddresses"].as_array())
        .flatten()
        .filter_map(|member| member["properties"]["ipAddress"].as_str())
        .map(str::to_owned)
        .collect();
    all.sort();
    all.dedup();
    all
}

/// Runs a command of the program where the controller's cloud is.
async fn evenkeel(world: &AzureWorld, arguments: &[&str]) -> Result<(Option<i32>, String)> {
    world.world.evenkeel(arguments).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_life_of_services_on_azure() -> Result<()> {
    let mut world = AzureWorld::start(2, &[]).await?;
    create(&world, "inside", json!({INTERNAL: "true"})).await?;
    create(&world, "outside", json!({})).await?;
    let (inside, outside) = (
        served(&world, "inside").await?,
        served(&world, "outside").await?,
    );
    ensure!(
        inside.starts_with("127.81."),
        "{inside} is not of the subnet"
    );
    let published = world.azure.state();
    let mut addresses = published.of(Kind::PublicIp);
    ensure!(
        addresses.any(|one| one.goal["properties"]["ipAddress"] == *outside),
        "{outside} is no public IP address"
    );
    ensure!(members(&world) == world.site.nodes, "{:?}", members(&world));

    // A node comes: one write for each load balancer, whatever the number of Services.
    let mark = world.azure.calls().mark();
    world.add_node().await?;
    let mut nodes = world.site.nodes.clone();
    nodes.sort();
    eventually("the node to be in the pools", LIMIT, async || {
        ensure!(members(&world) == nodes, "{:?}", members(&world));
        Ok(())
    })
    .await?;
    eventually("the writes to be answered", LIMIT, async || {
        let written = world.writes_since(mark);
        ensure!(written == ["PUT loadBalancers"; 2], "{written:?}");
        Ok(())
    })
    .await?;

    // A mistake is told with what is allowed; nothing is asked of Azure, and the address stays.
    let mark = world.azure.calls().mark();
    annotate(&world, "inside", json!({INTERNAL: "yes"})).await?;
    let told = world
        .world
        .condition(NAMESPACE, "inside", "evenkeel.dev/Degraded", "True")
        .await?;
    ensure!(told.message.contains(INTERNAL), "{told}");
    annotate(&world, "inside", json!({INTERNAL: "true"})).await?;
    ensure!(served(&world, "inside").await? == inside);
    let written = world.writes_since(mark);
    ensure!(written.is_empty(), "{written:?}");

    facts_make_the_plans_that_the_cluster_makes(&world)
        .await
        .context("facts")?;
    a_restart_writes_nothing(&mut world)
        .await
        .context("a restart")?;

    let services = world.world.services(NAMESPACE);
    for name in ["inside", "outside"] {
        services.delete(name, &DeleteParams::default()).await?;
    }
    for name in ["inside", "outside"] {
        world.world.gone(NAMESPACE, name).await?;
    }
    let state = world.azure.state();
    let left = [Kind::LoadBalancer, Kind::PublicIp].map(|kind| state.of(kind).count());
    ensure!(left == [0, 0], "{left:?}");
    let group = state.of(Kind::SecurityGroup).next().context("a group")?;
    ensure!(group.names("securityRules").is_empty(), "rules are left");
    drop(state);
    world.stop().await
}

/// For the Services that are there, for a change and for one that is to be made; and facts are only read.
async fn facts_make_the_plans_that_the_cluster_makes(world: &AzureWorld) -> Result<()> {
    let mark = world.azure.calls().mark();
    let directory = world.world.plane.directory();
    let place = |name: &str| directory.join(name).display().to_string();
    let facts = place("facts.yaml");
    let (code, said) = evenkeel(world, &["facts", "-o", &facts]).await?;
    ensure!(code == Some(0), "{said}");
    let changed = place("changed.json");
    let timeout = "service.beta.kubernetes.io/azure-load-balancer-tcp-idle-timeout";
    let object = service("inside", json!({INTERNAL: "true", timeout: "9"}));
    std::fs::write(&changed, object.to_string())?;
    let new = place("new.json");
    std::fs::write(&new, service("new", json!({})).to_string())?;
    let ran = async |arguments: &[&str]| evenkeel(world, arguments).await;
    for (asked, exact) in [
        (&["inside"][..], true),
        (&["-f", &changed], true),
        // Its UID, of which names are made, is another one each time.
        (&["-f", &new], false),
    ] {
        plans_alike(ran, &facts, asked, exact).await?;
    }
    let written = world.writes_since(mark);
    ensure!(written.is_empty(), "{written:?}");
    Ok(())
}

async fn a_restart_writes_nothing(world: &mut AzureWorld) -> Result<()> {
    let mark = world.azure.calls().mark();
    world.world.kill_controller()?;
    world.world.start_controller().await?;
    eventually("both Services to be gone through", LIMIT, async || {
        let runs = world.world.metric("evenkeel_reconcile_total").await?;
        ensure!(runs >= 2.0, "{runs} runs");
        Ok(())
    })
    .await?;
    for name in ["inside", "outside"] {
        served(world, name).await?;
    }
    let written = world.writes_since(mark);
    ensure!(written.is_empty(), "{written:?}");
    Ok(())
}
