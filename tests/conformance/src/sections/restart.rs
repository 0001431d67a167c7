//! Restart: what happened meanwhile is found.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use evenkeel_e2e::look::LIMIT;
use evenkeel_harness::wait::eventually;
use futures::{StreamExt as _, stream};
use kube::ResourceExt as _;
use kube::api::ListParams;
use serde_json::{Value, json};

use crate::account;
use crate::door::{Act, Gate};
use crate::etcd;
use crate::holding::KINDS;
use crate::row::{Row, row};
use crate::stage::{AT_ONCE, PORT, Stage, is_ours, is_served};

/// How many Services there are when the controller restarts.
const MANY: usize = 500;

pub(crate) const ROWS: &[Row] = &[
    row!(
        106,
        "type changed while the controller was down: released at start",
        type_changed
    ),
    row!(
        107,
        "deleted while the controller was down: released at start",
        deleted
    ),
    row!(
        108,
        "restart with 500 healthy Services: no write to a Service or the cloud, a bounded number of reads",
        five_hundred
    ),
    row!(
        110,
        "watches dropped, history gone (410): listed again, converged",
        watches_dropped
    ),
];

fn stop(stage: &mut Stage) -> Result<()> {
    let status = stage.world.controller.take().context("it runs")?.stop()?;
    ensure!(status.success(), "asked to end, it ended with {status}");
    Ok(())
}

async fn type_changed(stage: &mut Stage) -> Result<()> {
    let service = stage.serve("web", json!({})).await?;
    stop(stage)?;
    stage
        .patch(
            "web",
            json!({"spec": {"type": "ClusterIP", "loadBalancerClass": null}}),
        )
        .await?;
    ensure!(
        !stage.holding_of(&service).await?.is_empty(),
        "nobody was there to release it"
    );
    stage.world.start_controller().await?;
    stage
        .until("web", "the release", |service| !is_ours(service))
        .await?;
    let left = stage.holding_of(&service).await?;
    ensure!(left.is_empty(), "{left:?}");
    Ok(())
}

async fn deleted(stage: &mut Stage) -> Result<()> {
    let service = stage.serve("web", json!({})).await?;
    stop(stage)?;
    stage.delete("web").await?;
    ensure!(is_ours(&stage.get("web").await?), "it went without us");
    stage.world.start_controller().await?;
    stage.gone("web").await?;
    let left = stage.holding_of(&service).await?;
    ensure!(left.is_empty(), "{left:?}");
    Ok(())
}

/// The Services in a namespace, by name and version.
async fn versions(stage: &Stage) -> Result<BTreeMap<String, Option<String>>> {
    let all = stage.services().list(&ListParams::default()).await?;
    Ok(all
        .iter()
        .map(|service| (service.name_any(), service.resource_version()))
        .collect())
}

async fn five_hundred(stage: &mut Stage) -> Result<()> {
    let making = (0..MANY).map(|number| {
        let stage = &*stage;
        async move { stage.create(&format!("web-{number}"), json!({})).await }
    });
    let made: Vec<_> = stream::iter(making)
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    made.into_iter().collect::<Result<Vec<_>>>()?;
    eventually(
        "all Services to be served",
        Duration::from_secs(150),
        || async {
            let all = stage.services().list(&ListParams::default()).await?;
            let served = all.iter().filter(|service| is_served(service)).count();
            ensure!(served == MANY, "{served} are");
            Ok(())
        },
    )
    .await?;
    let (before, objects) = (versions(stage).await?, stage.objects().await?);
    stage.world.kill_controller()?;
    let mark = stage.door.mark();
    stage.world.start_controller().await?;
    eventually("every Service to be looked at", LIMIT, || async {
        let runs = stage.world.metric("evenkeel_reconcile_total").await?;
        ensure!(runs >= MANY as f64, "{runs} runs");
        Ok(())
    })
    .await?;

    // Its own objects, the Lease and what it says of itself, are written however much there is to do.
    let mut calls = stage.door.since(mark);
    calls.retain(|call| call.access().namespace != account::NAMESPACE);
    let writes: Vec<_> = calls.iter().filter(|call| call.is_write()).collect();
    ensure!(writes.is_empty(), "it wrote {writes:?}");
    let now = versions(stage).await?;
    ensure!(now == before, "a Service was written");
    let written = stage.world.metric("evenkeel_writes_total").await?;
    ensure!(written == 0.0, "{written} cloud writes");
    let same = specifications(&stage.objects().await?) == specifications(&objects);
    ensure!(same, "the data plane was written");
    // Who the cluster is, and a list and a watch of two kinds, begun anew at most once; not a read per Service.
    ensure!(calls.len() <= 9, "{} requests: {calls:?}", calls.len());
    let reads = stage.world.metric("evenkeel_reads_total").await?;
    ensure!(reads <= 2.0, "{reads} looks at the cloud");
    Ok(())
}

/// What was asked of the data plane, of all its objects.
fn specifications(objects: &Value) -> BTreeMap<String, (Value, Value)> {
    let all = KINDS
        .iter()
        .flat_map(|(kind, _)| objects[kind].as_array().into_iter().flatten());
    all.map(|object| {
        let name = object["name"].to_string();
        (name, (object["generation"].clone(), object["spec"].clone()))
    })
    .collect()
}

async fn watches_dropped(stage: &mut Stage) -> Result<()> {
    let service = stage.serve("web", json!({})).await?;
    let failures = stage.world.metric("evenkeel_watch_failures_total").await?;
    let gate = Gate::default();
    stage
        .door
        .next(usize::from(u16::MAX), Act::Hold(gate.clone()), |call| {
            call.is_watch() && call.path == "/api/v1/services"
        });
    stage.world.plane.stop_api_server()?;
    eventually("the drop to be noticed", LIMIT, || async {
        let now = stage.world.metric("evenkeel_watch_failures_total").await?;
        ensure!(now > failures, "it was not");
        Ok(())
    })
    .await?;
    stage.world.plane.start_api_server().await?;
    tokio::time::timeout(LIMIT, gate.reached())
        .await
        .context("nobody watches again")?;
    // By the time it may watch, the versions that it knows are forgotten: 410.
    let ports = json!([{"name": "http", "port": PORT + 1, "targetPort": "http"}]);
    stage
        .patch("web", json!({"spec": {"ports": ports}}))
        .await?;
    etcd::compact(stage.world.plane.etcd_address()).await?;
    stage.world.plane.stop_api_server()?;
    stage.world.plane.start_api_server().await?;
    let mark = stage.door.mark();
    gate.open();
    let expected = [u64::from(PORT + 1)].into();
    stage
        .held(&service, "the change to arrive", |holding| {
            holding.ports() == expected
        })
        .await?;
    let calls = stage.door.since(mark);
    let listed = calls.iter().any(|call| {
        call.path == "/api/v1/services"
            && (!call.is_watch() || call.query.contains("sendInitialEvents=true"))
    });
    ensure!(listed, "it did not list again: {calls:?}");
    Ok(())
}
