//! Nodes, where calls are counted, fail or take long.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use evenkeel_e2e::look::LIMIT;
use evenkeel_harness::wait::eventually;
use evenkeel_laws::tap::{Fault, Kind};
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::events::v1::Event;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use crate::row::{Row, row};
use crate::stage::ips;
use crate::toy_stage::{ToyStage, writes_of};

pub(crate) const ROWS: &[Row] = &[
    row!(83, "providerID set later: target appears; changed: replaced", toy: provider_id),
    row!(84, "providerID missing or foreign: skipped, one Warning, other nodes served", toy: foreign_nodes),
    row!(86, "200 nodes added in a moment, 50 Services: two target writes each at most", toy: many_nodes),
    row!(87, "all nodes vanish at once: held, alarm; confirmed by a second list", toy: brake),
    row!(88, "a node update fails once: tried again, ends equal", toy: update_fails),
    row!(89, "nodes change while an ensure takes long: the latest set, no overlapping calls", toy: slow_ensure),
];

fn marked() -> Value {
    let taint = json!({"key": "ToBeDeletedByClusterAutoscaler", "effect": "NoSchedule"});
    json!({"spec": {"taints": [taint]}})
}

/// The part of row 81 where connections do not drain: a node that is about to go stays where it is a target.
pub(super) async fn marked_stays(stage: &mut ToyStage) -> Result<()> {
    stage.drains = false;
    stage.add_node("node-b").await?;
    stage.run();
    let old = stage.serve("old", json!({})).await?;
    stage.targeted(&old, &["node-a", "node-b"]).await?;
    stage.patch_node("node-b", marked()).await?;
    // Another node comes after it: when that is a target, the mark is known too.
    stage.add_node("node-c").await?;
    stage
        .targeted(&old, &["node-a", "node-b", "node-c"])
        .await?;
    let new = stage.serve("new", json!({})).await?;
    stage.targeted(&new, &["node-a", "node-c"]).await?;
    stage.targeted(&old, &["node-a", "node-b", "node-c"]).await
}

async fn provider_id(stage: &mut ToyStage) -> Result<()> {
    stage.add_node_as("late", None).await?;
    stage.run();
    let service = stage.serve("web", json!({})).await?;
    stage.targeted(&service, &["node-a"]).await?;
    stage
        .patch_node("late", json!({"spec": {"providerID": "toy:///late"}}))
        .await?;
    stage.targeted(&service, &["node-a", "late"]).await?;
    // The API server lets nobody change a providerID: a node that is another machine is another object.
    stage.delete_node("late").await?;
    stage
        .add_node_as("late", Some("other:///elsewhere"))
        .await?;
    stage.targeted(&service, &["node-a"]).await?;
    stage.delete_node("late").await?;
    stage.add_node_as("late", Some("toy:///again")).await?;
    stage.targeted(&service, &["node-a", "late"]).await
}

/// The events that warn about a node.
async fn warnings(stage: &ToyStage, node: &str) -> Result<Vec<(String, i32)>> {
    let name = stage.node_name(node);
    let events = Api::<Event>::all(stage.client.clone());
    let events = events.list(&ListParams::default()).await?;
    let about = |event: &Event| {
        let about = event.regarding.as_ref();
        about.and_then(|about| about.name.as_deref()) == Some(&name)
            && event.type_.as_deref() == Some("Warning")
            // The controllers of other providers have their own opinion.
            && event.note.as_deref().is_some_and(|note| note.contains(&stage.provider))
    };
    Ok(events
        .into_iter()
        .filter(about)
        .map(|event| {
            let count = event.series.map_or(1, |series| series.count);
            (event.note.unwrap_or_default(), count)
        })
        .collect())
}

async fn foreign_nodes(stage: &mut ToyStage) -> Result<()> {
    stage.run();
    let service = stage.serve("web", json!({})).await?;
    stage
        .add_node_as("foreign", Some("other:///elsewhere"))
        .await?;
    stage.add_node_as("bare", None).await?;
    stage.add_node("node-b").await?;
    stage.targeted(&service, &["node-a", "node-b"]).await?;
    for (node, says) in [("foreign", "other:///elsewhere"), ("bare", "not set")] {
        eventually(format!("a Warning about {node}"), LIMIT, || async {
            let told = warnings(stage, node).await?;
            ensure!(told.len() == 1 && told[0].0.contains(says), "{told:?}");
            Ok(())
        })
        .await?;
    }
    // The sets are worked out again; nobody is told again.
    stage.add_node("node-c").await?;
    stage
        .targeted(&service, &["node-a", "node-b", "node-c"])
        .await?;
    stage.settle().await?;
    for node in ["foreign", "bare"] {
        let told = warnings(stage, node).await?;
        ensure!(told.len() == 1 && told[0].1 == 1, "{node}: {told:?}");
    }
    Ok(())
}

async fn many_nodes(stage: &mut ToyStage) -> Result<()> {
    const NODES: usize = 200;
    const SERVICES: usize = 50;
    // As the controller comes.
    stage.configure = |config| {
        config.workers = 8;
        config.node_debounce = Duration::from_secs(2);
        config.node_debounce_longest = Duration::from_secs(10);
    };
    stage.run();
    let names: Vec<_> = (0..SERVICES).map(|n| format!("web{n}x")).collect();
    try_join_all(names.iter().map(|name| stage.create(name, json!({})))).await?;
    let mut services = Vec::new();
    for name in &names {
        services.push(stage.served(name).await?);
    }
    stage.tap.reset();
    let nodes: Vec<_> = (0..NODES).map(|n| format!("many-{n}")).collect();
    try_join_all(nodes.iter().map(|name| stage.add_node(name))).await?;
    eventually("all nodes to be targets of all", LIMIT, || async {
        for service in &services {
            let targets = stage.targets(service).len();
            ensure!(targets == NODES + 1, "{} has {targets}", service.name_any());
        }
        Ok(())
    })
    .await?;
    for service in &services {
        let writes = stage.writes(service);
        ensure!(
            (1..=2).contains(&writes.len()),
            "{}: {writes:?}",
            service.name_any()
        );
    }
    Ok(())
}

async fn brake(stage: &mut ToyStage) -> Result<()> {
    let nodes = ["node-a", "node-b", "node-c", "node-d", "node-e"];
    for name in &nodes[1..] {
        stage.add_node(name).await?;
    }
    stage.run();
    let service = stage.serve("web", json!({})).await?;
    stage.targeted(&service, &nodes).await?;
    stage.tap.reset();
    let all = ListParams::default().labels(&stage.made());
    stage
        .nodes()
        .delete_collection(&DeleteParams::default(), &all)
        .await?;
    let alarm = || async {
        let events = Api::<Event>::namespaced(stage.client.clone(), stage.namespace());
        let events = events.list(&ListParams::default()).await?;
        let mut notes = events
            .into_iter()
            .filter(|event| event.type_.as_deref() == Some("Warning"))
            .filter_map(|event| event.note);
        let alarm = notes.find(|note| note.contains("vanished at once"));
        alarm.context("nobody is told")
    };
    let note = eventually("the alarm", LIMIT, alarm).await?;
    ensure!(note.contains("5 of the 5 nodes"), "{note}");
    stage.settle().await?;
    ensure!(
        stage.writes(&service).is_empty(),
        "{:?}",
        stage.writes(&service)
    );
    stage.targeted(&service, &nodes).await?;
    // One is back; the others are missing from the second list, too.
    stage.add_node("node-a").await?;
    stage.settle().await?;
    stage.targeted(&service, &nodes).await?;
    stage.clock.put_forward(Duration::from_secs(70));
    stage.targeted(&service, &["node-a"]).await?;
    let now = stage.get("web").await?;
    ensure!(ips(&now) == ips(&service), "{:?}", ips(&now));
    Ok(())
}

async fn update_fails(stage: &mut ToyStage) -> Result<()> {
    stage.run();
    let service = stage.serve("web", json!({})).await?;
    let fails = writes_of("web");
    stage
        .tap
        .fail_where(move |call| fails(call).then_some(Fault::Unreachable));
    stage.tap.reset_calls();
    stage.add_node("node-b").await?;
    stage.wrote(&service).await?;
    stage
        .condition("web", "evenkeel.dev/Degraded", "True")
        .await?;
    stage.targeted(&service, &["node-a"]).await?;
    stage.tap.fail_none();
    stage.clock.put_forward(Duration::from_secs(7));
    stage.targeted(&service, &["node-a", "node-b"]).await?;
    stage
        .condition("web", "evenkeel.dev/Degraded", "False")
        .await?;
    Ok(())
}

async fn slow_ensure(stage: &mut ToyStage) -> Result<()> {
    stage.run();
    let service = stage.serve("web", json!({})).await?;
    let other = stage.serve("other", json!({})).await?;
    stage.tap.reset();
    stage.tap.hold_where(writes_of("web"));
    stage.add_node("node-b").await?;
    stage.wrote(&service).await?;
    // While the first write stands still, the nodes change twice. Who is not held up shows that this is known.
    stage.add_node("node-c").await?;
    stage
        .targeted(&other, &["node-a", "node-b", "node-c"])
        .await?;
    stage.delete_node("node-b").await?;
    stage.targeted(&other, &["node-a", "node-c"]).await?;
    stage.settle().await?;
    let calls = stage.calls(&service);
    ensure!(
        calls.iter().filter(|call| call.kind == Kind::Write).count() == 1 && calls.len() == 1,
        "something else was called beside it: {calls:?}"
    );
    stage.tap.hold_none();
    stage.targeted(&service, &["node-a", "node-c"]).await?;
    all_equal(stage, &[&service, &other])
}

fn all_equal(stage: &ToyStage, services: &[&Service]) -> Result<()> {
    let sets: BTreeSet<_> = services
        .iter()
        .map(|service| stage.targets(service))
        .collect();
    ensure!(sets.len() == 1, "{sets:?}");
    Ok(())
}
