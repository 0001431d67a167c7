//! Whatever happens while we are away or do not look, and wherever we are cut.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result, ensure};
use evenkeel_laws::tap::Fault;
use k8s_openapi::api::core::v1::Service;
use kube::{ResourceExt as _, api::ListParams};
use serde_json::json;

use crate::scene::{Scene, ingress};

#[tokio::test]
async fn what_happened_while_we_were_away_is_found() -> Result<()> {
    let mut scene = Scene::start().await?;
    for name in ["deleted", "retyped", "regrouped", "left"] {
        scene.create(name, json!({})).await?;
    }
    for name in ["deleted", "retyped", "regrouped", "left"] {
        scene.served(name).await?;
    }
    scene.stop().await?;
    let before = scene.get("left").await?.resource_version();
    scene.delete("deleted").await?;
    scene
        .patch(
            "retyped",
            json!({"spec": {"type": "ClusterIP", "loadBalancerClass": null}}),
        )
        .await?;
    scene
        .patch(
            "regrouped",
            json!({"metadata": {"annotations": {"evenkeel.dev/group": "edge"}}}),
        )
        .await?;
    scene.create("created", json!({})).await?;
    let old = ingress(&scene.get("regrouped").await?)[0].ip.clone();
    scene.run();
    scene.gone("deleted").await?;
    scene.released("retyped").await?;
    scene.served("created").await?;
    scene
        .until("regrouped", "an address of the group", |service| {
            ingress(service)
                .first()
                .is_some_and(|entry| entry.ip != old)
        })
        .await?;
    evenkeel_harness::wait::eventually(
        "what was left behind to go",
        crate::scene::LIMIT,
        || async {
            ensure!(
                scene.objects().values().all(|count| *count == 3),
                "{:?}",
                scene.objects()
            );
            Ok(())
        },
    )
    .await?;
    ensure!(
        scene.get("left").await?.resource_version() == before,
        "what is as it was is not written"
    );
    Ok(())
}

#[tokio::test]
async fn what_changed_in_the_cloud_is_found_by_looking() -> Result<()> {
    let mut scene = Scene::prepare().await?;
    scene.resync = Duration::from_secs(1);
    scene.run();
    scene.create("checkout", json!({})).await?;
    scene.served("checkout").await?;
    let objects = scene.cloud.list();
    let listener = objects
        .iter()
        .find(|object| object.spec.kind() == "listener");
    let listener = listener.context("no listener")?;
    scene
        .cloud
        .delete(&listener.name)
        .map_err(|error| anyhow::anyhow!("{error}"))?;
    evenkeel_harness::wait::eventually("the listener to be back", crate::scene::LIMIT, || async {
        ensure!(
            scene.objects().get("listener") == Some(&1),
            "{:?}",
            scene.objects()
        );
        Ok(())
    })
    .await
}

#[tokio::test]
async fn wherever_it_is_cut_before_a_call_the_end_is_the_same() -> Result<()> {
    cut_everywhere(Fault::KilledBefore).await
}

#[tokio::test]
async fn wherever_it_is_cut_after_a_call_the_end_is_the_same() -> Result<()> {
    cut_everywhere(Fault::KilledAfter).await
}

/// A life for every call that a life has, each cut at another one.
async fn cut_everywhere(fault: Fault) -> Result<()> {
    let mut scene = Scene::prepare().await?;
    let mut cuts = 0;
    // The round that is not cut ends it.
    for call in 0..64 {
        scene.tap.reset();
        scene.tap.fail(call, fault);
        scene.run();
        scene.create("checkout", json!({})).await?;
        let mut cut = again_if_cut(&mut scene, Step::Served).await?;
        let objects = scene.objects();
        ensure!(
            objects.len() == 3 && objects.values().all(|count| *count == 1),
            "call {call}: {objects:?}"
        );
        scene.delete("checkout").await?;
        cut |= again_if_cut(&mut scene, Step::Gone).await?;
        ensure!(
            scene.cloud.list().is_empty(),
            "call {call}: {:?}",
            scene.cloud.list()
        );
        scene.crash().await;
        if !cut {
            break;
        }
        cuts += 1;
    }
    ensure!((4..64).contains(&cuts), "{cuts} cuts");
    Ok(())
}

#[derive(Clone, Copy)]
enum Step {
    Served,
    Gone,
}

/// Waits for a step, and starts the controller again when it is cut. Returns whether it was.
async fn again_if_cut(scene: &mut Scene, step: Step) -> Result<bool> {
    let tap = scene.tap.clone();
    {
        let reached = async {
            match step {
                Step::Served => scene.served("checkout").await.map(drop),
                Step::Gone => scene.gone("checkout").await,
            }
        };
        tokio::select! {
            reached = reached => return reached.map(|()| false),
            () = tap.killed() => {}
        }
    }
    scene.crash().await;
    tap.revive();
    scene.run();
    match step {
        Step::Served => scene.served("checkout").await.map(drop)?,
        Step::Gone => scene.gone("checkout").await?,
    }
    Ok(true)
}

#[tokio::test]
async fn a_restart_with_many_healthy_services_writes_nothing() -> Result<()> {
    const MANY: usize = 100;
    let mut scene = Scene::start().await?;
    let names: Vec<_> = (0..MANY)
        .map(|number| format!("service-{number}"))
        .collect();
    for name in &names {
        scene.create(name, json!({})).await?;
    }
    for name in &names {
        scene.served(name).await?;
    }
    scene.barrier().await?;
    scene.stop().await?;
    let before = versions(&scene).await?;
    ensure!(before.len() == MANY);
    scene.forget_calls();
    scene.run();
    // Behind all of them in the line, twice: the last of them may have run beside the first barrier.
    scene.barrier().await?;
    scene.barrier().await?;
    ensure!(versions(&scene).await? == before);
    let writes = scene.line.all_writes();
    let ours = writes
        .iter()
        .filter(|sent| sent.path.contains("/service-"))
        .count();
    ensure!(ours == 0, "{writes:?}");
    ensure!(scene.tap.writes().is_empty(), "{:?}", scene.tap.writes());
    // Everything in one look, but for the barriers.
    let looks = scene.tap.calls();
    ensure!(looks.len() <= 3, "{} calls: {looks:?}", looks.len());
    Ok(())
}

/// The versions of all Services.
async fn versions(scene: &Scene) -> Result<BTreeMap<String, Option<String>>> {
    let services = scene.services().list(&ListParams::default()).await?;
    let version = |service: Service| (service.name_any(), service.resource_version());
    Ok(services.into_iter().map(version).collect())
}
