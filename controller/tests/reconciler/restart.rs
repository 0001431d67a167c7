//! Whatever happens while we are away, and wherever we are cut.

use anyhow::{Result, ensure};
use evenkeel_laws::tap::Fault;
use kube::ResourceExt as _;
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
async fn wherever_it_is_cut_the_end_is_the_same() -> Result<()> {
    let mut scene = Scene::prepare().await?;
    for fault in [Fault::KilledBefore, Fault::KilledAfter] {
        let mut cuts = 0;
        // More calls than a life has: the round that is not cut ends it.
        for call in 0..64 {
            scene.tap.reset();
            scene.tap.fail(call, fault);
            scene.run();
            scene.create("checkout", json!({})).await?;
            let mut cut = again_if_cut(&mut scene, Step::Served).await?;
            ensure!(
                scene.objects().values().all(|count| *count == 1),
                "{fault:?} at call {call}: {:?}",
                scene.cloud.list()
            );
            scene.delete("checkout").await?;
            cut |= again_if_cut(&mut scene, Step::Gone).await?;
            ensure!(
                scene.cloud.list().is_empty(),
                "{fault:?} at call {call}: {:?}",
                scene.cloud.list()
            );
            scene.crash().await;
            if !cut {
                break;
            }
            cuts += 1;
        }
        ensure!((4..64).contains(&cuts), "{cuts} cuts with {fault:?}");
    }
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
