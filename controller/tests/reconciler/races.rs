//! What changes while we are at work.

use anyhow::{Result, ensure};
use kube::{ResourceExt as _, api::DeleteParams};
use serde_json::json;

use crate::scene::{Scene, ingress};

#[tokio::test]
async fn the_type_changes_while_the_cloud_is_at_work() -> Result<()> {
    let scene = Scene::start().await?;
    scene.tap.block_writes(true);
    scene.create("checkout", json!({})).await?;
    scene.wrote().await?;
    scene
        .patch(
            "checkout",
            json!({"spec": {"type": "ClusterIP", "loadBalancerClass": null}}),
        )
        .await?;
    scene.tap.block_writes(false);
    scene.released("checkout").await?;
    ensure!(scene.cloud.list().is_empty(), "{:?}", scene.cloud.list());
    Ok(())
}

#[tokio::test]
async fn a_service_is_deleted_while_the_cloud_is_at_work() -> Result<()> {
    let scene = Scene::start().await?;
    scene.tap.block_writes(true);
    scene.create("checkout", json!({})).await?;
    scene.wrote().await?;
    scene.delete("checkout").await?;
    scene.tap.block_writes(false);
    scene.gone("checkout").await?;
    ensure!(scene.cloud.list().is_empty(), "{:?}", scene.cloud.list());
    Ok(())
}

#[tokio::test]
async fn there_and_back_and_to_another_class_while_the_cloud_is_at_work() -> Result<()> {
    let scene = Scene::start().await?;
    scene.create("checkout", json!({})).await?;
    let address = ingress(&scene.served("checkout").await?).to_vec();
    scene.tap.reset();
    scene.tap.block_writes(true);
    scene
        .patch(
            "checkout",
            json!({"spec": {"ports": [{"name": "http", "port": 81, "targetPort": 8080}]}}),
        )
        .await?;
    scene.wrote().await?;
    scene
        .patch(
            "checkout",
            json!({"spec": {"type": "ClusterIP", "loadBalancerClass": null}}),
        )
        .await?;
    scene
        .patch(
            "checkout",
            json!({"spec": {"type": "LoadBalancer", "loadBalancerClass": "example.com/lb"}}),
        )
        .await?;
    scene
        .patch_status(
            "checkout",
            json!({"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}}}),
        )
        .await?;
    scene.tap.block_writes(false);
    let service = scene
        .until("checkout", "our hand to be off", |service| {
            service.finalizers().is_empty()
        })
        .await?;
    ensure!(
        ingress(&service)[0].ip.as_deref() == Some("203.0.113.1") && ingress(&service) != address,
        "{:?}",
        service.status
    );
    ensure!(scene.cloud.list().is_empty(), "{:?}", scene.cloud.list());
    Ok(())
}

#[tokio::test]
async fn the_last_of_two_edits_wins() -> Result<()> {
    let scene = Scene::start().await?;
    scene.tap.block_writes(true);
    scene.create("checkout", json!({})).await?;
    scene.wrote().await?;
    for port in [81, 82] {
        scene
            .patch(
                "checkout",
                json!({"spec": {"ports": [{"name": "http", "port": port, "targetPort": 8080}]}}),
            )
            .await?;
    }
    scene.tap.block_writes(false);
    scene
        .until("checkout", "the last port", |service| {
            ingress(service).first().is_some_and(|entry| {
                entry
                    .ports
                    .as_ref()
                    .is_some_and(|ports| ports[0].port == 82 && ports[0].error.is_none())
            })
        })
        .await?;
    ensure!(
        scene.objects().get("listener") == Some(&1),
        "{:?}",
        scene.objects()
    );
    Ok(())
}

#[tokio::test]
async fn a_namesake_is_another_service() -> Result<()> {
    let scene = Scene::start().await?;
    scene.create("checkout", json!({})).await?;
    scene.served("checkout").await?;
    let old: Vec<_> = scene
        .cloud
        .list()
        .into_iter()
        .map(|object| object.id)
        .collect();
    // Somebody forces the finalizer off a Service that is being deleted, and makes another at once.
    scene.tap.reset();
    scene.tap.block_writes(true);
    scene
        .services()
        .delete("checkout", &DeleteParams::default())
        .await?;
    scene
        .patch("checkout", json!({"metadata": {"finalizers": []}}))
        .await?;
    scene.create("checkout", json!({})).await?;
    scene.tap.block_writes(false);
    scene.served("checkout").await?;
    evenkeel_harness::wait::eventually("the old objects to go", crate::scene::LIMIT, || async {
        let left: Vec<_> = scene
            .cloud
            .list()
            .into_iter()
            .filter(|object| old.contains(&object.id))
            .collect();
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    })
    .await?;
    ensure!(
        scene.objects().values().all(|count| *count == 1),
        "{:?}",
        scene.objects()
    );
    Ok(())
}
