//! Deletion and restart, where calls take long or the process is killed.

use std::time::Duration;

use anyhow::{Result, ensure};
use evenkeel_e2e::look::{LIMIT, ingress};
use evenkeel_harness::wait::eventually;
use evenkeel_laws::tap::Fault;
use evenkeel_laws::toys::own::ways::Ways;
use kube::ResourceExt as _;
use serde_json::json;

use crate::row::{Row, row};
use crate::stage::{PORT, has_condition};
use crate::toy_stage::{ToyStage, ways, writes_of};

pub(crate) const ROWS: &[Row] = &[
    row!(98, "cloud delete in progress, 7 s: looked at again after 7 s", toy: delete_in_progress),
    row!(100, "main object gone in the cloud, leftovers there: removed before the finalizer", toy: leftovers),
    row!(105, "killed at every call of create, update, delete: converges, no orphans, no duplicates", toy: killed_everywhere),
];

/// The part of row 97 that needs calls to fail: so many deletes fail, at growing distances, and each leaves the Service as it is.
pub(super) async fn deletes_fail(stage: &mut ToyStage) -> Result<()> {
    stage.configure = |config| config.workers = 1;
    stage.run();
    let service = stage.serve("web", json!({})).await?;
    let fails = writes_of("web");
    stage
        .tap
        .fail_where(move |call| fails(call).then_some(Fault::Unreachable));
    stage.tap.reset_calls();
    stage.delete("web").await?;
    stage.wrote(&service).await?;
    stage.event("web", "SyncLoadBalancerFailed").await?;
    for seconds in [5.0, 10.0, 20.0, 40.0] {
        stage.settle().await?;
        let before = stage.writes(&service).len();
        let early = f64::max(seconds * 0.8 - 4.0, 0.0);
        stage.clock.put_forward(Duration::from_secs_f64(early));
        stage.settle().await?;
        ensure!(
            stage.writes(&service).len() == before,
            "it was tried again before {early} s of {seconds} s had passed"
        );
        let now = stage.get("web").await?;
        ensure!(
            now.metadata.deletion_timestamp.is_some() && now.finalizers() == [stage.finalizer()],
            "{:?}",
            now.metadata
        );
        stage
            .clock
            .put_forward(Duration::from_secs_f64(seconds * 1.2 + 1.0 - early));
        eventually(format!("the try after {seconds} s"), LIMIT, || async {
            let made = stage.writes(&service).len();
            ensure!(made > before, "there were {made} writes");
            Ok(())
        })
        .await?;
    }
    stage.tap.fail_none();
    stage.clock.put_forward(Duration::from_secs(400));
    stage.gone("web").await?;
    ensure!(
        stage.objects(&service).is_empty(),
        "{:?}",
        stage.objects(&service)
    );
    Ok(())
}

async fn delete_in_progress(stage: &mut ToyStage) -> Result<()> {
    const TIME: Duration = Duration::from_secs(7);
    stage.configure = |config| config.workers = 1;
    stage.run_with(Ways {
        leaves_in: Some(TIME),
        ..ways()
    });
    let service = stage.serve("web", json!({})).await?;
    stage.tap.reset();
    stage.delete("web").await?;
    stage.wrote(&service).await?;
    stage.settle().await?;
    // What goes well is published only when it lasts: that is a run of its own.
    stage.clock.put_forward(TIME / 2);
    stage
        .until("web", "the release to be told", |service| {
            has_condition(service, "evenkeel.dev/Serving", "False")
        })
        .await?;
    stage.settle().await?;
    for look in 1..=3 {
        let before = stage.calls(&service).len();
        stage.clock.put_forward(TIME / 2);
        stage.settle().await?;
        let early = stage.calls(&service).split_off(before);
        ensure!(
            early.is_empty(),
            "look {look} came too early: {early:?}; {:?}",
            stage.get("web").await?.status
        );
        stage
            .clock
            .put_forward(TIME / 2 + Duration::from_millis(10));
        stage.called(&service, before + 1).await?;
        stage.settle().await?;
    }
    let now = stage.get("web").await?;
    ensure!(
        now.finalizers() == [stage.finalizer()],
        "it was let go while it is being deleted"
    );
    ensure!(
        stage.warnings("web").await?.is_empty(),
        "waiting is no failure: {:?}",
        stage.warnings("web").await?
    );
    // One kind after another is gone when it is looked at.
    eventually("the Service to go", LIMIT, || async {
        stage.cloud.let_leave();
        stage.clock.put_forward(TIME);
        let there = stage.services().get_opt("web").await?;
        ensure!(there.is_none(), "{:?}", stage.calls(&service));
        Ok(())
    })
    .await?;
    ensure!(
        stage.objects(&service).is_empty(),
        "{:?}",
        stage.objects(&service)
    );
    Ok(())
}

async fn leftovers(stage: &mut ToyStage) -> Result<()> {
    stage.run();
    let service = stage.serve("web", json!({})).await?;
    for object in stage.objects(&service) {
        if object.spec.kind() == "listener" {
            stage.cloud.lose(&object.name);
        }
    }
    ensure!(
        stage.count(&service, "listener") == 0 && stage.objects(&service).len() == 2,
        "{:?}",
        stage.objects(&service)
    );
    stage.tap.reset();
    stage.tap.hold_where(writes_of("web"));
    stage.delete("web").await?;
    stage.wrote(&service).await?;
    stage.settle().await?;
    let now = stage.get("web").await?;
    ensure!(
        now.finalizers() == [stage.finalizer()],
        "the finalizer went before what is left: {:?}",
        stage.objects(&service)
    );
    stage.tap.hold_none();
    stage.gone("web").await?;
    ensure!(
        stage.objects(&service).is_empty(),
        "{:?}",
        stage.objects(&service)
    );
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Created,
    Updated,
    Gone,
}

async fn killed_everywhere(stage: &mut ToyStage) -> Result<()> {
    for fault in [Fault::KilledBefore, Fault::KilledAfter] {
        let mut cuts = 0;
        let mut steps = Vec::new();
        // The round that is not cut ends it.
        for call in 0..64 {
            stage.tap.reset();
            stage.tap.fail(call, fault);
            let Some(step) = life(stage, &format!("{fault:?} {call}")).await? else {
                break;
            };
            steps.push(step);
            cuts += 1;
        }
        ensure!((10..64).contains(&cuts), "{cuts} cuts");
        for step in [Step::Created, Step::Updated, Step::Gone] {
            ensure!(steps.contains(&step), "no cut before {step:?}: {steps:?}");
        }
    }
    Ok(())
}

/// A life with one cut; where it was, if it was at all.
async fn life(stage: &mut ToyStage, cut: &str) -> Result<Option<Step>> {
    stage.run();
    let service = stage.create("web", json!({})).await?;
    let mut at = None;
    for step in [Step::Created, Step::Updated, Step::Gone] {
        match step {
            Step::Created => {}
            Step::Updated => {
                let port = json!([{"name": "http", "port": PORT + 1, "targetPort": "http"}]);
                stage.patch("web", json!({"spec": {"ports": port}})).await?;
            }
            Step::Gone => stage.delete("web").await?,
        }
        if reached_or_killed(stage, step).await? {
            at = Some(step);
            // Nothing of it goes on; the next process knows nothing.
            stage.crash().await;
            stage.tap.revive();
            stage.run();
            reached(stage, step).await?;
        }
        let kinds: Vec<_> = stage
            .cloud
            .list()
            .iter()
            .map(|object| object.spec.kind())
            .collect();
        let mut sorted = kinds.clone();
        sorted.sort_unstable();
        let want: &[&str] = match step {
            Step::Gone => &[],
            Step::Created | Step::Updated => &["address", "listener", "target set"],
        };
        ensure!(sorted == want, "{cut}, {step:?}: {:?}", stage.cloud.list());
    }
    ensure!(
        stage.objects(&service).is_empty(),
        "{cut}: {:?}",
        stage.objects(&service)
    );
    stage.crash().await;
    Ok(at)
}

async fn reached(stage: &ToyStage, step: Step) -> Result<()> {
    match step {
        Step::Created => stage.served("web").await.map(drop),
        Step::Gone => stage.gone("web").await,
        Step::Updated => {
            stage
                .until("web", "the update", |service| {
                    let ports = ingress(service).into_iter().filter_map(|entry| entry.ports);
                    ports
                        .flatten()
                        .any(|port| port.port == i32::from(PORT + 1) && port.error.is_none())
                })
                .await?;
            stage.served("web").await?;
            // What the old port used goes after a fresh look.
            eventually("the old listener to go", LIMIT, || async {
                let left = stage.cloud.list().len();
                ensure!(left == 3, "there are {left} objects");
                Ok(())
            })
            .await
        }
    }
}

/// Whether the process was killed before a step was reached.
async fn reached_or_killed(stage: &ToyStage, step: Step) -> Result<bool> {
    tokio::select! {
        biased;
        () = stage.tap.killed() => Ok(true),
        reached = reached(stage, step) => reached.map(|()| false),
    }
}
