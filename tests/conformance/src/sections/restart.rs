//! Restart: what happened meanwhile is found.

use anyhow::{Context as _, Result, ensure};
use evenkeel_e2e::look::LIMIT;
use evenkeel_harness::wait::eventually;
use serde_json::json;

use crate::row::{Row, row};
use crate::stage::{PORT, Stage, is_ours};

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
        110,
        "watches dropped: listed again, converged",
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

async fn watches_dropped(stage: &mut Stage) -> Result<()> {
    let service = stage.serve("web", json!({})).await?;
    let failures = stage.world.metric("evenkeel_watch_failures_total").await?;
    stage.world.plane.stop_api_server()?;
    eventually("the drop to be noticed", LIMIT, || async {
        let now = stage.world.metric("evenkeel_watch_failures_total").await?;
        ensure!(now > failures, "it was not");
        Ok(())
    })
    .await?;
    stage.world.plane.start_api_server().await?;
    let ports = json!([{"name": "http", "port": PORT + 1, "targetPort": "http"}]);
    stage
        .patch("web", json!({"spec": {"ports": ports}}))
        .await?;
    let expected = [u64::from(PORT + 1)].into();
    stage
        .held(&service, "the change to arrive", |holding| {
            holding.ports() == expected
        })
        .await?;
    Ok(())
}
