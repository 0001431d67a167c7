//! A Service without a selector, whose endpoints are written by hand.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, anyhow};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use serde_json::{Value, json};

use crate::manifest;
use crate::scene::{LESSONS, Scene};
use crate::show::Show;

const MANIFEST: &str = include_str!("../../../../deploy/examples/no-selector.yaml");

pub(super) async fn run(scene: &mut Scene, show: &mut Show) -> Result<()> {
    let objects = manifest::read(MANIFEST)?;
    let (service, slice) = match objects.as_slice() {
        [service, slice] => (service, slice),
        other => return Err(anyhow!("{} objects in the manifest", other.len())),
    };
    let applied = scene.apply(std::slice::from_ref(service)).await?;
    show.note(applied);
    let address = scene.address("legacy").await;
    show.check("without endpoints it has an address", address);
    let address = scene.address("legacy").await?;
    show.check(
        "and nobody answers",
        match scene.world.ask(address).await {
            Err(error) => Ok(format!("{error:#}")),
            Ok(answer) => Err(anyhow!("{} answered", answer.pod)),
        },
    );
    let legacy = scene.lesson("legacy").await?;
    let before = scene.balancer(&legacy).await?.generations();
    for server in ["server-1", "server-2"] {
        let run = [
            "run",
            server,
            "--image=registry.example/server",
            "--port=8080",
        ];
        scene.kubectl(show, &run).await?;
        let answers = point_at(scene, slice, server).await?;
        show.check(
            "its address, written by hand: it gets the requests",
            scene
                .world
                .answered_by(address, &answers)
                .await
                .map(|_| server),
        );
    }
    let after = scene.balancer(&legacy).await?.generations();
    show.check(
        "the load balancer was not written: endpoints are the nodes' business",
        match before == after {
            true => Ok(""),
            false => Err(anyhow!("{before:?} became {after:?}")),
        },
    );
    Ok(())
}

/// Writes the address of a pod into the slice; returns who is to answer.
async fn point_at(scene: &Scene, slice: &Value, name: &str) -> Result<BTreeSet<String>> {
    let label = format!("run={name}");
    let ready = scene.world.await_ready_pods(LESSONS, &label, 1).await?;
    let pods: Api<Pod> = Api::namespaced(scene.world.client(), LESSONS);
    let status = pods.get(name).await?.status.unwrap_or_default();
    let ip = status.pod_ip.context("the pod has no address")?;
    let mut slice = slice.clone();
    slice["endpoints"] = json!([{"addresses": [ip]}]);
    scene.apply(&[slice]).await?;
    Ok(ready)
}
