//! ClientIP affinity through the real data plane: clients with addresses of their own, one pod on every node.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::{Context as _, Result, ensure};
use evenkeel_e2e::look::{LIMIT, ingress};
use evenkeel_harness::wait::eventually;
use k8s_openapi::api::core::v1::Service;
use serde_json::{Value, json};

use super::traffic::pod_on;
use crate::holding::Holding;
use crate::stage::{PORT, Stage, address, answer};

/// Clients enough that they are not all on one of three nodes by chance.
const CLIENTS: u8 = 9;
/// Requests enough that a client without affinity meets more than one node.
const TIMES: usize = 6;

fn affinity(affinity: &str, seconds: Option<u32>) -> Value {
    let config = seconds.map(|seconds| json!({"clientIP": {"timeoutSeconds": seconds}}));
    json!({"spec": {"sessionAffinity": affinity, "sessionAffinityConfig": config}})
}

/// On which nodes each client is answered.
async fn answered_on(to: SocketAddr) -> Result<BTreeMap<IpAddr, BTreeSet<String>>> {
    let mut nodes: BTreeMap<IpAddr, BTreeSet<String>> = BTreeMap::new();
    for client in (1..=CLIENTS).map(|last| IpAddr::from(Ipv4Addr::new(127, 0, 46, last))) {
        for _ in 0..TIMES {
            let answer = answer(client, to).await?;
            nodes.entry(client).or_default().insert(answer.node);
        }
    }
    Ok(nodes)
}

/// Waits until every client is answered on more than one node.
async fn spread(to: SocketAddr) -> Result<()> {
    eventually("every client to be spread", LIMIT, || async {
        let nodes = answered_on(to).await?;
        ensure!(nodes.values().all(|nodes| nodes.len() > 1), "{nodes:?}");
        Ok(())
    })
    .await
}

/// Waits until every client is answered on one node, and not all of them on the same.
async fn pinned(to: SocketAddr) -> Result<BTreeMap<IpAddr, BTreeSet<String>>> {
    eventually("every client to stay where it is", LIMIT, || async {
        let nodes = answered_on(to).await?;
        ensure!(nodes.values().all(|nodes| nodes.len() == 1), "{nodes:?}");
        let used: BTreeSet<_> = nodes.values().flatten().collect();
        ensure!(used.len() > 1, "{nodes:?}");
        Ok(nodes)
    })
    .await
}

/// With policy Local and one pod on a node the node is the pod, and kube-proxy behind it has no choice to make.
pub(super) async fn follows(stage: &mut Stage) -> Result<()> {
    if stage.aws().is_some() {
        return attribute_follows(stage).await;
    }
    let all: BTreeSet<_> = stage.world.nodes()?.nodes().into_iter().collect();
    for node in &all {
        pod_on(stage, &format!("web-{node}"), "web", node).await?;
    }
    let local = json!({"spec": {"externalTrafficPolicy": "Local"}});
    let service = stage.serve("web", local).await?;
    let to = address(&service, PORT)?;
    let seconds =
        |holding: &Holding| holding.only("backend_sets").ok()?["spec"]["affinity_seconds"].as_u64();
    let ready = |holding: &Holding| seconds(holding).is_none() && holding.healthy_nodes() == all;
    stage.held(&service, "pods on all nodes", ready).await?;
    spread(to).await?;

    for (asked, held) in [(Some(600), 600), (Some(86_400), 86_400), (None, 10_800)] {
        stage.patch("web", affinity("ClientIP", asked)).await?;
        let what = format!("a timeout of {held} s");
        let follows = |holding: &Holding| seconds(holding) == Some(held);
        stage.held(&service, &what, follows).await?;
    }
    let before = pinned(to).await?;

    // Whoever is on a node that leaves goes elsewhere, and nobody else does.
    let left = before.values().flatten().next();
    let left = left.context("a node")?.clone();
    let exclude = json!({"metadata": {"labels": {crate::stage::EXCLUDE: ""}}});
    stage.patch_node(&left, exclude).await?;
    let gone = |holding: &Holding| !holding.nodes().contains(&left);
    stage
        .held(&service, &format!("{left} to leave"), gone)
        .await?;
    let after = pinned(to).await?;
    for (client, node) in &before {
        let moved = after[client] != *node;
        ensure!(
            moved == node.contains(&left),
            "{left} left; {client} was on {node:?} and is on {:?}",
            after[client]
        );
    }

    stage.patch("web", affinity("None", None)).await?;
    let none = |holding: &Holding| seconds(holding).is_none();
    stage.held(&service, "no affinity", none).await?;
    spread(to).await?;
    let events = stage.events("web").await?;
    ensure!(
        !events
            .iter()
            .any(|(reason, _)| reason == "UnsupportedFeature"),
        "{events:?}"
    );
    Ok(())
}

/// Waits until the only backend set keeps clients where they are, or does not.
async fn is_sticky(stage: &Stage, service: &Service, sticky: bool) -> Result<()> {
    let follows = |holding: &Holding| {
        let set = holding.only("backend_sets");
        set.is_ok_and(|set| set["spec"]["sticky"] == sticky)
    };
    stage
        .held(service, &format!("stickiness {sticky}"), follows)
        .await?;
    Ok(())
}

/// The part of it that a cloud shows which forwards nothing.
async fn attribute_follows(stage: &Stage) -> Result<()> {
    let service = stage.serve("web", json!({})).await?;
    is_sticky(stage, &service, false).await?;
    stage.patch("web", affinity("ClientIP", None)).await?;
    is_sticky(stage, &service, true).await?;
    stage.patch("web", affinity("None", None)).await?;
    is_sticky(stage, &service, false).await?;
    let now = stage.served("web").await?;
    ensure!(ingress(&now) == ingress(&service), "{:?}", ingress(&now));
    let events = stage.events("web").await?;
    ensure!(
        !events
            .iter()
            .any(|(reason, _)| reason == "UnsupportedFeature"),
        "{events:?}"
    );
    Ok(())
}

/// A cloud that knows of no timeout says so once, and does the rest.
pub(super) async fn no_timeout(stage: &mut Stage) -> Result<()> {
    let service = stage.serve("web", affinity("ClientIP", Some(60))).await?;
    is_sticky(stage, &service, true).await?;
    let told = stage.event("web", "UnsupportedFeature").await?;
    ensure!(told.contains("timeoutSeconds: 60"), "{told}");
    stage.settle().await?;
    let mut events = stage.events("web").await?;
    events.retain(|(reason, _)| reason == "UnsupportedFeature");
    ensure!(events.len() == 1, "{events:?}");
    ensure!(
        stage.holding_of(&service).await?.ports() == [u64::from(PORT)].into(),
        "nobody listens"
    );
    Ok(())
}
