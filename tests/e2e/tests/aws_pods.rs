//! Pods as targets on AWS: the real program, a real API server, EndpointSlices as they come and go, and AWS as moto plays it.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use evenkeel_e2e::aws::AwsWorld;
use evenkeel_e2e::look::LIMIT;
use evenkeel_harness::aws::{Mark, State};
use evenkeel_harness::wait::eventually;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

const TARGET_TYPE: &str = "service.beta.kubernetes.io/aws-load-balancer-nlb-target-type";
const NAMESPACE: &str = "default";

fn slices(world: &AwsWorld) -> Api<EndpointSlice> {
    Api::namespaced(world.world.client(), NAMESPACE)
}

/// Endpoints by their addresses; one that is not ready ends in `?`.
fn endpoints(addresses: &[&str]) -> Value {
    let one = |text: &&str| {
        let address = text.trim_end_matches('?');
        json!({"addresses": [address], "conditions": {"ready": address == *text}})
    };
    addresses.iter().map(one).collect()
}

async fn add_slice(world: &AwsWorld, name: &str, port: u16, addresses: &[&str]) -> Result<()> {
    let slice = json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": "shop"}},
        "addressType": "IPv4", "ports": [{"name": "http", "port": port}], "endpoints": endpoints(addresses),
    });
    let slice = serde_json::from_value(slice)?;
    slices(world).create(&PostParams::default(), &slice).await?;
    Ok(())
}

async fn set_slice(world: &AwsWorld, name: &str, addresses: &[&str]) -> Result<()> {
    let patch = Patch::Merge(json!({"endpoints": endpoints(addresses)}));
    slices(world)
        .patch(name, &PatchParams::default(), &patch)
        .await?;
    Ok(())
}

async fn annotate(world: &AwsWorld, annotations: Value) -> Result<()> {
    let patch = Patch::Merge(json!({"metadata": {"annotations": annotations}}));
    let services = world.world.services(NAMESPACE);
    services
        .patch("shop", &PatchParams::default(), &patch)
        .await?;
    Ok(())
}

/// What is registered in the only target group.
fn targets(state: &State) -> Result<BTreeSet<String>> {
    let [group] = state.target_groups() else {
        anyhow::bail!("one target group: {state}");
    };
    ensure!(group["TargetType"] == "ip", "{group}");
    let all = group["Targets"].as_array().into_iter().flatten();
    let one = |target: &Value| {
        let at = &target["Target"];
        format!("{}:{}", at["Id"].as_str().unwrap_or_default(), at["Port"])
    };
    Ok(all.map(one).collect())
}

async fn has_targets(world: &AwsWorld, want: &[&str]) -> Result<()> {
    let want: BTreeSet<_> = want.iter().map(ToString::to_string).collect();
    eventually("the targets", LIMIT, || async {
        let found = targets(&world.aws.state().await?)?;
        ensure!(found == want, "{found:?}");
        Ok(())
    })
    .await
    .with_context(|| world.world.controller_log())
}

/// Waits until these writes were answered, and no other, in whichever order.
async fn written(world: &AwsWorld, since: Mark, want: &[&str]) -> Result<()> {
    eventually("the expected writes", LIMIT, || async {
        let mut writes = world.writes_since(since);
        writes.sort();
        ensure!(writes == want, "{writes:?}");
        Ok(())
    })
    .await
}

/// What the group of the nodes lets in at one port, from which group.
fn open_to(state: &State, port: u16) -> Vec<&str> {
    let rules = state.security_group_rules().iter();
    rules
        .filter(|rule| rule["FromPort"] == port && rule["ToPort"] == port)
        .filter_map(|rule| rule["ReferencedGroupInfo"]["GroupId"].as_str())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_are_the_targets_and_are_followed() -> Result<()> {
    let mut world = AwsWorld::start(2, &[]).await?;
    pods_become_targets(&world).await.context("create")?;
    pods_come_and_go(&world).await.context("churn")?;
    mistakes_do_not_stop_them(&world)
        .await
        .context("mistakes")?;
    what_happened_meanwhile_is_found(&mut world)
        .await
        .context("restart")?;
    nothing_is_left(&world).await.context("deletion")?;
    world.stop().await
}

async fn pods_become_targets(world: &AwsWorld) -> Result<()> {
    add_slice(world, "shop-a", 8080, &["10.0.0.11", "10.0.0.12?"]).await?;
    let service = json!({
        "metadata": {"name": "shop", "annotations": {TARGET_TYPE: "ip"}},
        "spec": {
            "type": "LoadBalancer",
            "loadBalancerClass": "evenkeel.dev/aws",
            "allocateLoadBalancerNodePorts": false,
            "ports": [{"name": "http", "port": 80, "targetPort": "web"}],
        },
    });
    let service = serde_json::from_value(service)?;
    let services = world.world.services(NAMESPACE);
    services.create(&PostParams::default(), &service).await?;
    for (kind, status) in [
        ("evenkeel.dev/Serving", "True"),
        ("evenkeel.dev/Provisioning", "False"),
    ] {
        world
            .world
            .condition(NAMESPACE, "shop", kind, status)
            .await?;
    }
    has_targets(world, &["10.0.0.11:8080"]).await?;
    let state = world.aws.state().await?;
    ensure!(open_to(&state, 8080).len() == 1, "{state}");
    Ok(())
}

async fn pods_come_and_go(world: &AwsWorld) -> Result<()> {
    let mark = world.aws.calls().mark();
    set_slice(world, "shop-a", &["10.0.0.11", "10.0.0.12"]).await?;
    has_targets(world, &["10.0.0.11:8080", "10.0.0.12:8080"]).await?;
    written(world, mark, &["elbv2:RegisterTargets"]).await?;

    let mark = world.aws.calls().mark();
    set_slice(world, "shop-a", &["10.0.0.12"]).await?;
    has_targets(world, &["10.0.0.12:8080"]).await?;
    written(world, mark, &["elbv2:DeregisterTargets"]).await?;

    // On another pod the named target port is another number, which the nodes have to admit first.
    let mark = world.aws.calls().mark();
    add_slice(world, "shop-b", 9090, &["10.0.0.13"]).await?;
    has_targets(world, &["10.0.0.12:8080", "10.0.0.13:9090"]).await?;
    written(
        world,
        mark,
        &[
            "ec2:AuthorizeSecurityGroupIngress",
            "elbv2:AddTags",
            "elbv2:RegisterTargets",
        ],
    )
    .await?;

    // None is ready: who is a target stays, and nobody else becomes one.
    let mark = world.aws.calls().mark();
    set_slice(world, "shop-a", &["10.0.0.12?", "10.0.0.14?"]).await?;
    has_targets(world, &["10.0.0.13:9090"]).await?;
    written(world, mark, &["elbv2:DeregisterTargets"]).await?;
    set_slice(world, "shop-b", &["10.0.0.13?"]).await?;
    set_slice(world, "shop-a", &["10.0.0.12", "10.0.0.14?"]).await?;
    has_targets(world, &["10.0.0.12:8080"]).await
}

async fn mistakes_do_not_stop_them(world: &AwsWorld) -> Result<()> {
    annotate(world, json!({"evenkeel.dev/scheme": "sideways"})).await?;
    world
        .world
        .condition(NAMESPACE, "shop", "evenkeel.dev/Degraded", "True")
        .await?;
    let mark = world.aws.calls().mark();
    set_slice(world, "shop-a", &["10.0.0.12", "10.0.0.15"]).await?;
    has_targets(world, &["10.0.0.12:8080", "10.0.0.15:8080"]).await?;
    written(world, mark, &["elbv2:RegisterTargets"]).await?;
    annotate(world, json!({"evenkeel.dev/scheme": null})).await?;
    world
        .world
        .condition(NAMESPACE, "shop", "evenkeel.dev/Degraded", "False")
        .await?;
    Ok(())
}

async fn what_happened_meanwhile_is_found(world: &mut AwsWorld) -> Result<()> {
    world.world.kill_controller()?;
    set_slice(world, "shop-a", &["10.0.0.16"]).await?;
    let mark = world.aws.calls().mark();
    world.world.start_controller().await?;
    has_targets(world, &["10.0.0.16:8080"]).await?;
    // The first write of a process has another before it: the mark by which it is told from that of a restored backup.
    written(
        world,
        mark,
        &[
            "ec2:CreateTags",
            "elbv2:DeregisterTargets",
            "elbv2:RegisterTargets",
        ],
    )
    .await
}

async fn nothing_is_left(world: &AwsWorld) -> Result<()> {
    let services = world.world.services(NAMESPACE);
    services.delete("shop", &DeleteParams::default()).await?;
    world.world.gone(NAMESPACE, "shop").await?;
    let state = world.aws.state().await?;
    let none = state.load_balancers().is_empty() && state.target_groups().is_empty();
    ensure!(none, "{state}");
    let closed = open_to(&state, 8080).is_empty() && open_to(&state, 9090).is_empty();
    ensure!(closed, "{state}");
    Ok(())
}
