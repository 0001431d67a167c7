//! External traffic policy and health checks.

use anyhow::{Context as _, Result, ensure};
use evenkeel_e2e::look::ingress;
use serde_json::{Value, json};
use std::collections::BTreeSet;

use super::traffic::pod_on;
use crate::holding::Holding;
use crate::row::{Row, row};
use crate::stage::Stage;

pub(crate) const ROWS: &[Row] = &[
    row!(
        61,
        "Local: HTTP probe of healthCheckNodePort /healthz, all eligible nodes are targets",
        local
    ),
    row!(62, "Cluster: HTTP probe of 10256 /healthz", cluster),
    row!(
        63,
        "Local to Cluster: healthCheckNodePort 0, probe switched, address and targets identical",
        to_cluster
    ),
    row!(
        64,
        "Cluster to Local with the old healthCheckNodePort: probe uses it alone, only the pod's node is healthy, address and targets identical",
        to_local
    ),
];

/// Whether the only backend set probes this port as kube-proxy's.
fn probes(holding: &Holding, port: i32) -> bool {
    holding.health_check().is_ok_and(|check| {
        check["kind"] == json!({"type": "http", "path": "/healthz"}) && check["port"] == port
    })
}

fn policy(policy: &str) -> Value {
    json!({"spec": {"externalTrafficPolicy": policy}})
}

async fn local(stage: &mut Stage) -> Result<()> {
    let service = stage.serve("web", policy("Local")).await?;
    let port = service
        .spec
        .as_ref()
        .and_then(|spec| spec.health_check_node_port)
        .context("a health check port")?;
    let holding = stage.holding_of(&service).await?;
    ensure!(
        probes(&holding, port),
        "{port}: {:?}",
        holding.health_check()
    );
    let nodes = stage.nodes()?;
    ensure!(
        holding.nodes() == nodes,
        "{:?}, nodes are {nodes:?}",
        holding.nodes()
    );
    Ok(())
}

async fn cluster(stage: &mut Stage) -> Result<()> {
    let service = stage.serve("web", policy("Cluster")).await?;
    let holding = stage.holding_of(&service).await?;
    ensure!(probes(&holding, 10256), "{:?}", holding.health_check());
    Ok(())
}

async fn to_cluster(stage: &mut Stage) -> Result<()> {
    let service = stage.serve("web", policy("Local")).await?;
    let before = stage.holding_of(&service).await?;
    let patched = stage.patch("web", policy("Cluster")).await?;
    let left = patched
        .spec
        .and_then(|spec| spec.health_check_node_port)
        .unwrap_or_default();
    ensure!(left == 0, "healthCheckNodePort is {left}");
    let after = stage
        .held(&service, "the probe to switch", |holding| {
            probes(holding, 10256)
        })
        .await?;
    ensure!(
        after.targets() == before.targets(),
        "{:?}, were {:?}",
        after.targets(),
        before.targets()
    );
    let now = stage.served("web").await?;
    ensure!(ingress(&now) == ingress(&service), "{:?}", ingress(&now));
    Ok(())
}

async fn to_local(stage: &mut Stage) -> Result<()> {
    let nodes = stage.nodes()?;
    let home = nodes.first().context("a node")?.clone();
    // Neither moto nor our fake probes a node.
    let is_probed = stage.aws().is_none();
    if is_probed {
        pod_on(stage, "pod", "web", &home).await?;
    }
    let are_healthy = |holding: &Holding, nodes: &BTreeSet<String>| {
        !is_probed || holding.healthy_nodes() == *nodes
    };
    let service = stage.serve("web", policy("Local")).await?;
    let old = service
        .spec
        .as_ref()
        .and_then(|spec| spec.health_check_node_port)
        .context("a health check port")?;
    stage.patch("web", policy("Cluster")).await?;
    let before = stage
        .held(&service, "the probe to switch", |holding| {
            probes(holding, 10256) && are_healthy(holding, &nodes)
        })
        .await?;
    let back = json!({"spec": {"externalTrafficPolicy": "Local", "healthCheckNodePort": old}});
    stage.patch("web", back).await?;
    let after = stage
        .held(&service, "the probe to switch back", |holding| {
            probes(holding, old) && are_healthy(holding, &[home.clone()].into())
        })
        .await?;
    ensure!(
        after.targets() == before.targets(),
        "{:?}, were {:?}",
        after.targets(),
        before.targets()
    );
    let now = stage.served("web").await?;
    ensure!(ingress(&now) == ingress(&service), "{:?}", ingress(&now));
    Ok(())
}
