//! More nodes than AWS takes as targets: the real program, a real API server, and our own fake AWS, which has the quotas.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use evenkeel_e2e::aws::AwsWorld;
use evenkeel_e2e::look::LIMIT;
use evenkeel_harness::control_plane::Options;
use evenkeel_harness::fake_aws::Settings;
use evenkeel_harness::wait::eventually;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};

const ATTRIBUTES: &str = "service.beta.kubernetes.io/aws-load-balancer-attributes";
const CROSS_ZONE: &str = "load_balancing.cross_zone.enabled";
const NAMESPACE: &str = "default";
const NODES: usize = 600;

/// The instances that are targets, by zone.
type Targets = BTreeMap<String, BTreeSet<String>>;

fn targets(world: &AwsWorld) -> Result<Targets> {
    let fake = world.aws.as_fake().context("our fake")?;
    let state = fake.state();
    let mut groups = state.target_groups.values();
    let group = groups.next().context("a target group")?;
    let mut zones = Targets::new();
    let registered = |instance: &str| {
        let mut all = group.targets.iter();
        all.any(|(key, target)| *key.id == *instance && target.deregistered_at.is_none())
    };
    for node in &world.site.nodes {
        if registered(&node.instance_id) {
            let zone = zones.entry(node.zone.clone()).or_default();
            zone.insert(node.instance_id.clone());
        }
    }
    Ok(zones)
}

fn all(zones: &Targets) -> BTreeSet<&String> {
    zones.values().flatten().collect()
}

/// Waits until so many nodes are targets, in each zone as many.
async fn balanced(world: &AwsWorld, counts: [usize; 3]) -> Result<Targets> {
    eventually(format!("targets: {counts:?}"), LIMIT, || async {
        let zones = targets(world)?;
        let mut found: Vec<_> = zones.values().map(BTreeSet::len).collect();
        found.sort_unstable();
        ensure!(found == counts, "{found:?}");
        Ok(zones)
    })
    .await
    .with_context(|| world.world.controller_log())
}

async fn told(world: &AwsWorld, text: &str, is_told: bool) -> Result<()> {
    eventually(format!("{text}: {is_told}"), LIMIT, || async {
        let degraded = world
            .world
            .condition(NAMESPACE, "shop", "evenkeel.dev/Degraded", "False");
        let message = degraded.await?.message;
        ensure!(message.contains(text) == is_told, "{message}");
        Ok(())
    })
    .await
}

async fn annotate(world: &AwsWorld, attributes: Value) -> Result<()> {
    let patch = Patch::Merge(json!({"metadata": {"annotations": {(ATTRIBUTES): attributes}}}));
    let services = world.world.services(NAMESPACE);
    services
        .patch("shop", &PatchParams::default(), &patch)
        .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_the_nodes_are_targets_where_aws_takes_no_more() -> Result<()> {
    let plane = Options {
        controller_manager: false,
        ..Options::default()
    };
    let mut world = AwsWorld::on_fake(Settings::default(), plane, NODES).await?;
    world.world.start_controller().await?;
    let service = serde_json::from_value(json!({
        "metadata": {"name": "shop", "annotations": {(ATTRIBUTES): format!("{CROSS_ZONE}=true")}},
        "spec": {
            "type": "LoadBalancer", "loadBalancerClass": "evenkeel.dev/aws", "ports": [{"name": "http", "port": 80}],
        },
    }))?;
    let services = world.world.services(NAMESPACE);
    services.create(&PostParams::default(), &service).await?;
    let first = balanced(&world, [166, 167, 167]).await?;
    told(&world, "500 of 600 nodes are targets of each port", true).await?;
    let event = world
        .world
        .event(NAMESPACE, "shop", "QuotaExceeded")
        .await?;
    for part in ["L-B211E961", "aws-quota targets-per-zone"] {
        ensure!(event.contains(part), "{event}");
    }

    // Whose node goes is replaced by one other, and nobody else moves.
    let gone: Vec<_> = first
        .values()
        .filter_map(|zone| zone.first().cloned())
        .collect();
    for id in &gone {
        let mut nodes = world.site.nodes.iter();
        let node = nodes.find(|node| node.instance_id == *id).cloned();
        world.remove_node(&node.context("a node")?).await?;
    }
    told(&world, "500 of 597 nodes are targets of each port", true).await?;
    let second = balanced(&world, [166, 167, 167]).await?;
    let came = all(&second).difference(&all(&first)).count();
    ensure!(came == gone.len(), "{came} came for {gone:?}");

    // Without cross-zone load balancing each zone takes as many, and nothing is said any more.
    annotate(&world, Value::Null).await?;
    balanced(&world, [199, 199, 199]).await?;
    told(&world, "nodes are targets of each port", false).await?;
    annotate(&world, json!(format!("{CROSS_ZONE}=true"))).await?;
    balanced(&world, [166, 167, 167]).await?;
    told(&world, "500 of 597 nodes are targets of each port", true).await?;

    let calls = world.aws.calls().all();
    let failed: Vec<_> = calls.iter().filter(|call| call.error.is_some()).collect();
    ensure!(failed.is_empty(), "{failed:#?}");
    world.stop().await
}
