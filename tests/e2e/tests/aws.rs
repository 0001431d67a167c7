//! The provider `aws` as it is run: the real program, a real API server, AWS as moto plays it. What was made is seen by a client that is not ours.

use anyhow::{Context as _, Result, ensure};
use evenkeel_e2e::aws::AwsWorld;
use evenkeel_e2e::look::{LIMIT, ingress};
use evenkeel_harness::aws::State;
use evenkeel_harness::wait::eventually;
use k8s_openapi::api::core::v1::Service;
use kube::api::{DeleteParams, PostParams};
use serde_json::{Value, json};

const NAMESPACE: &str = "default";
const CLASS: &str = "evenkeel.dev/aws";

async fn create(
    world: &AwsWorld,
    name: &str,
    class: Option<&str>,
    annotations: Value,
) -> Result<Service> {
    let service = json!({
        "metadata": {"name": name, "annotations": annotations},
        "spec": {
            "type": "LoadBalancer",
            "loadBalancerClass": class,
            "ports": [{"name": "http", "port": 80}],
        },
    });
    let services = world.world.services(NAMESPACE);
    let service = serde_json::from_value(service)?;
    Ok(services.create(&PostParams::default(), &service).await?)
}

async fn delete(world: &AwsWorld, name: &str) -> Result<()> {
    let services = world.world.services(NAMESPACE);
    services.delete(name, &DeleteParams::default()).await?;
    world.world.gone(NAMESPACE, name).await
}

/// Waits until a Service is served and nothing is left to do for it; returns its hostname.
async fn served(world: &AwsWorld, name: &str) -> Result<String> {
    let of = |kind| world.world.condition(NAMESPACE, name, kind, "True");
    of("evenkeel.dev/Serving").await?;
    let settled = world
        .world
        .condition(NAMESPACE, name, "evenkeel.dev/Provisioning", "False");
    settled.await?;
    let service = world.world.services(NAMESPACE).get(name).await?;
    let entries = ingress(&service);
    let [entry] = &entries[..] else {
        anyhow::bail!("one entry: {entries:?}");
    };
    ensure!(entry.ip.is_none(), "{entry:?}");
    entry.hostname.clone().context("a hostname")
}

/// Waits until AWS has what `check` finds there.
async fn until(
    world: &AwsWorld,
    what: &str,
    check: impl Fn(&State) -> Result<()>,
) -> Result<State> {
    eventually(what, LIMIT, || async {
        let state = world.aws.state().await?;
        check(&state).with_context(|| state.to_string())?;
        Ok(state)
    })
    .await
    .with_context(|| {
        format!(
            "the end of the controller's log:\n{}",
            world.world.controller_log()
        )
    })
}

/// The only load balancer with its only target group.
fn only(state: &State) -> Result<(&Value, &Value)> {
    let ([balancer], [group]) = (state.load_balancers(), state.target_groups()) else {
        anyhow::bail!("one load balancer and one target group: {state}");
    };
    Ok((balancer, group))
}

/// Targets as `instance:port`, in order.
fn targets(group: &Value) -> Vec<String> {
    let mut all: Vec<_> = group["Targets"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|target| {
            let at = &target["Target"];
            format!("{}:{}", at["Id"].as_str().unwrap_or_default(), at["Port"])
        })
        .collect();
    all.sort();
    all
}

/// All nodes at the NodePort of a Service.
async fn expected_targets(world: &AwsWorld, name: &str) -> Result<Vec<String>> {
    let service = world.world.services(NAMESPACE).get(name).await?;
    let spec = service.spec.context("a spec")?;
    let port = spec.ports.iter().flatten().find_map(|port| port.node_port);
    let port = port.context("a NodePort")?;
    let nodes = world.site.nodes.iter();
    let mut all: Vec<_> = nodes
        .map(|node| format!("{}:{port}", node.instance_id))
        .collect();
    all.sort();
    Ok(all)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_of_the_class_gets_a_load_balancer_and_leaves_nothing() -> Result<()> {
    let world = AwsWorld::start(3, &[], true).await?;
    create(&world, "shop", Some(CLASS), json!({})).await?;
    let hostname = served(&world, "shop").await?;

    let state = world.aws.state().await?;
    let (balancer, group) = only(&state)?;
    ensure!(balancer["DNSName"] == *hostname, "{hostname}: {balancer:#}");
    ensure!(balancer["Type"] == "network", "{balancer:#}");
    ensure!(
        targets(group) == expected_targets(&world, "shop").await?,
        "{group:#}"
    );

    delete(&world, "shop").await?;
    until(&world, "nothing to be left", |state| {
        ensure!(state.load_balancers().is_empty());
        ensure!(state.target_groups().is_empty());
        Ok(())
    })
    .await?;
    world.stop().await
}
