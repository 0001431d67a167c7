//! Nodes: who is a target, and what a change of nodes costs.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use evenkeel_e2e::look::{LIMIT, ingress};
use evenkeel_harness::wait::eventually;
use k8s_openapi::api::core::v1::{Node, Service};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::row::{Row, row};
use crate::stage::{EXCLUDE, Stage};

pub(crate) const ROWS: &[Row] = &[
    row!(
        75,
        "node added, deleted: targets follow, one call each",
        added_and_deleted
    ),
    row!(76, "Ready True, False, Unknown: no change", readiness),
    row!(77, "cordon: no change", cordon),
    row!(
        78,
        "exclude label empty, true, foo, karpenter: removed",
        excluded
    ),
    row!(79, "exclude label false, 0: kept", not_excluded),
    row!(80, "exclude label removed: added back", label_removed),
    row!(
        81,
        "autoscaler taint: deregistered once where connections drain, kept where not; never added to new ones",
        autoscaler_taint,
        toy: super::toy_nodes::marked_stays
    ),
    row!(82, "unrelated taint or label: no call", unrelated),
    row!(
        85,
        "no eligible node: a new load balancer without targets, a live one keeps its last, Warning, address kept",
        no_nodes
    ),
];

fn all(stage: &Stage) -> Result<BTreeSet<String>> {
    stage.nodes()
}

fn first(stage: &Stage) -> Result<String> {
    all(stage)?.into_iter().next().context("a node")
}

async fn targets(stage: &Stage, service: &Service, expected: &BTreeSet<String>) -> Result<()> {
    let what = format!("the targets {expected:?}");
    stage
        .held(service, &what, |holding| holding.nodes() == *expected)
        .await?;
    Ok(())
}

/// A change of nodes has been looked at when a later one, which is, has shown its effect; that one is taken back.
async fn settle_nodes(stage: &Stage, service: &Service) -> Result<()> {
    let mut others = all(stage)?;
    let last = others.pop_last().context("a node")?;
    stage
        .patch_node(&last, json!({"metadata": {"labels": {EXCLUDE: "true"}}}))
        .await?;
    targets(stage, service, &others).await?;
    stage
        .patch_node(&last, json!({"metadata": {"labels": {EXCLUDE: null}}}))
        .await?;
    targets(stage, service, &all(stage)?).await
}

/// How many writes there were. A step that finds AWS's firewall as it should be counts as one, and is no call.
async fn writes(stage: &Stage) -> Result<f64> {
    if let Some(side) = stage.aws() {
        return Ok(side.writes() as f64);
    }
    stage.world.metric("evenkeel_writes_total").await
}

/// Waits until so many writes were made, and there are no more once things have settled.
async fn writes_since(stage: &Stage, before: f64, expected: f64) -> Result<()> {
    eventually("the writes to be counted", LIMIT, || async {
        let made = writes(stage).await? - before;
        ensure!(made == expected, "{made} writes");
        Ok(())
    })
    .await
}

async fn added_and_deleted(stage: &mut Stage) -> Result<()> {
    let service = stage.serve("web", json!({})).await?;
    let mut nodes = all(stage)?;
    targets(stage, &service, &nodes).await?;
    let before = writes(stage).await?;
    let name = stage.add_node("row-75").await?;
    let with = {
        let mut with = nodes.clone();
        with.insert(name.clone());
        with
    };
    let added = targets(stage, &service, &with).await;
    let counted = writes_since(stage, before, 1.0).await;
    stage.remove_node(&name).await?;
    added.and(counted)?;
    nodes.remove(&name);
    targets(stage, &service, &nodes).await?;
    writes_since(stage, before, 2.0).await
}

/// Patches a node in ways that change no target.
async fn unmoved(stage: &Stage, patches: &[Value]) -> Result<()> {
    let service = stage.serve("web", json!({})).await?;
    let (node, everyone) = (first(stage)?, all(stage)?);
    targets(stage, &service, &everyone).await?;
    for patch in patches {
        let before = writes(stage).await?;
        stage.patch_node(&node, patch.clone()).await?;
        settle_nodes(stage, &service).await?;
        // The two of settling.
        writes_since(stage, before, 2.0)
            .await
            .with_context(|| patch.to_string())?;
    }
    Ok(())
}

async fn set_ready(stage: &Stage, node: &str, status: &str) -> Result<()> {
    let nodes: Api<Node> = Api::all(stage.world.client());
    let condition =
        json!({"type": "Ready", "status": status, "reason": "Row", "message": "set by the test"});
    let patch = Patch::Strategic(json!({"status": {"conditions": [condition]}}));
    nodes
        .patch_status(node, &PatchParams::default(), &patch)
        .await?;
    Ok(())
}

async fn readiness(stage: &mut Stage) -> Result<()> {
    let service = stage.serve("web", json!({})).await?;
    let node = first(stage)?;
    targets(stage, &service, &all(stage)?).await?;
    let before = writes(stage).await?;
    let mut checked = Ok(());
    for status in ["False", "Unknown"] {
        set_ready(stage, &node, status).await?;
        checked = checked.and(settle_nodes(stage, &service).await);
    }
    set_ready(stage, &node, "True").await?;
    checked?;
    // Two of each settling.
    writes_since(stage, before, 4.0).await
}

async fn cordon(stage: &mut Stage) -> Result<()> {
    unmoved(stage, &[json!({"spec": {"unschedulable": true}})]).await
}

async fn unrelated(stage: &mut Stage) -> Result<()> {
    let taint = json!([{"key": "example.com/busy", "value": "yes", "effect": "NoSchedule"}]);
    unmoved(
        stage,
        &[
            json!({"spec": {"taints": taint}}),
            json!({"metadata": {"labels": {"example.com/rack": "7"}}}),
        ],
    )
    .await
}

async fn not_excluded(stage: &mut Stage) -> Result<()> {
    let label = |value: &str| json!({"metadata": {"labels": {EXCLUDE: value}}});
    unmoved(stage, &[label("false"), label("0")]).await
}

async fn excluded(stage: &mut Stage) -> Result<()> {
    let service = stage.serve("web", json!({})).await?;
    let (node, everyone) = (first(stage)?, all(stage)?);
    let mut others = everyone.clone();
    others.remove(&node);
    for value in ["", "true", "foo", "karpenter"] {
        stage
            .patch_node(&node, json!({"metadata": {"labels": {EXCLUDE: value}}}))
            .await?;
        targets(stage, &service, &others)
            .await
            .with_context(|| format!("label {value:?}"))?;
        stage
            .patch_node(&node, json!({"metadata": {"labels": {EXCLUDE: null}}}))
            .await?;
        targets(stage, &service, &everyone).await?;
    }
    Ok(())
}

async fn label_removed(stage: &mut Stage) -> Result<()> {
    let (node, everyone) = (first(stage)?, all(stage)?);
    let mut others = everyone.clone();
    others.remove(&node);
    stage
        .patch_node(&node, json!({"metadata": {"labels": {EXCLUDE: "true"}}}))
        .await?;
    let service = stage.serve("web", json!({})).await?;
    targets(stage, &service, &others).await?;
    stage
        .patch_node(&node, json!({"metadata": {"labels": {EXCLUDE: null}}}))
        .await?;
    targets(stage, &service, &everyone).await
}

async fn autoscaler_taint(stage: &mut Stage) -> Result<()> {
    let service = stage.serve("web", json!({})).await?;
    let (node, everyone) = (first(stage)?, all(stage)?);
    targets(stage, &service, &everyone).await?;
    let mut others = everyone;
    others.remove(&node);
    let before = writes(stage).await?;
    let taint = json!([{"key": "ToBeDeletedByClusterAutoscaler", "value": "1700000000", "effect": "NoSchedule"}]);
    stage
        .patch_node(&node, json!({"spec": {"taints": taint}}))
        .await?;
    targets(stage, &service, &others).await?;
    writes_since(stage, before, 1.0).await?;
    let generations = stage.holding_of(&service).await?.generations();
    let new = stage.serve("new", json!({})).await?;
    targets(stage, &new, &others).await?;
    stage.same(&service, &generations).await
}

async fn no_nodes(stage: &mut Stage) -> Result<()> {
    let service = stage.serve("web", json!({})).await?;
    targets(stage, &service, &all(stage)?).await?;
    for node in all(stage)? {
        let label = json!({"metadata": {"labels": {EXCLUDE: "true"}}});
        stage.patch_node(&node, label).await?;
    }
    stage.event("web", "UnAvailableLoadBalancer").await?;
    let now = stage.get("web").await?;
    ensure!(ingress(&now) == ingress(&service), "{:?}", ingress(&now));
    // A wrong look at the nodes must not be an outage: a set with targets is never emptied.
    let holding = stage.holding_of(&service).await?;
    ensure!(
        holding.ports() == [8080].into() && !holding.targets().is_empty(),
        "{holding:?}"
    );
    let new = stage.serve("new", json!({})).await?;
    let holding = stage.holding_of(&new).await?;
    ensure!(
        holding.ports() == [8080].into() && holding.targets().is_empty(),
        "{holding:?}"
    );
    stage.event("new", "UnAvailableLoadBalancer").await?;
    Ok(())
}
