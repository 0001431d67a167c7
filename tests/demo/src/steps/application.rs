//! A complete application, its address, and requests to it.

use anyhow::{Context as _, Result, anyhow, ensure};
use evenkeel_e2e::look::{LIMIT, ingress};
use evenkeel_harness::wait::eventually;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use super::in_words;
use crate::manifest;
use crate::scene::{FRONT, SHOP, Scene};
use crate::show::Show;

/// The application that is served.
pub(crate) const MANIFEST: &str = include_str!("../../../../deploy/examples/shop.yaml");

/// The label of the front end's pods.
pub(super) const FRONT_PODS: &str = "tier=frontend";

/// The application's objects; the front end on a port that this user may open.
pub(crate) fn shop(scene: &Scene) -> Result<Vec<Value>> {
    let mut objects = manifest::read(MANIFEST)?;
    let front = objects
        .iter_mut()
        .find(|o| o["kind"] == "Service" && o["metadata"]["name"] == FRONT);
    front.context("no frontend in the manifest")?["spec"]["ports"][0]["port"] =
        json!(scene.front_port);
    Ok(objects)
}

pub(super) async fn apply(scene: &mut Scene, show: &mut Show) -> Result<()> {
    if let Some(error) = &scene.no_port_80 {
        let port = scene.front_port;
        show.note(format!(
            "port 80 cannot be opened here ({error}): the front end uses {port} instead"
        ));
    }
    let applied = manifest::apply(&scene.world.client(), SHOP, &shop(scene)?).await;
    show.check(
        "the API server accepts it",
        applied.map(|names| names.join(", ")),
    );
    let deployments: Api<Deployment> = Api::namespaced(scene.world.client(), SHOP);
    let sets: Api<StatefulSet> = Api::namespaced(scene.world.client(), SHOP);
    let rolled_out = eventually("all pods to be Ready", LIMIT, || async {
        for (name, replicas) in [(FRONT, 3), ("backend", 2)] {
            let status = deployments.get_status(name).await?.status;
            let ready = status.and_then(|s| s.ready_replicas).unwrap_or(0);
            ensure!(
                ready == replicas,
                "deployment/{name}: {ready} of {replicas}"
            );
        }
        let status = sets.get_status("mysql").await?.status;
        let ready = status.and_then(|s| s.ready_replicas).unwrap_or(0);
        ensure!(ready == 3, "statefulset/mysql: {ready} of 3");
        Ok("3 frontend, 2 backend, 3 mysql")
    });
    show.check("its pods are Ready", rolled_out.await);
    Ok(())
}

pub(super) async fn published(scene: &mut Scene, show: &mut Show) -> Result<()> {
    let address = scene.front().await?;
    show.check("the address is published", Ok(address));
    let service = scene.shop().get(FRONT).await?;
    let entry = ingress(&service).into_iter().next().context("no ingress")?;
    show.check(
        "packets arrive at the node's own address",
        match entry.ip_mode.as_deref() {
            Some("Proxy") => Ok("ipMode Proxy"),
            other => Err(anyhow!("ipMode is {other:?}")),
        },
    );
    show.check(
        "every port is reported, none with an error",
        match entry.ports.unwrap_or_default().as_slice() {
            [port] if port.error.is_none() => Ok(format!("{}/{}", port.port, port.protocol)),
            other => Err(anyhow!("{other:?}")),
        },
    );
    show.check(
        "the finalizer holds the Service until all is given back",
        match service.finalizers() {
            [one] if one == "evenkeel.dev/local" => Ok(one.clone()),
            other => Err(anyhow!("finalizers are {other:?}")),
        },
    );
    let condition = scene
        .world
        .condition(SHOP, FRONT, "evenkeel.dev/Serving", "True");
    show.check("the condition says so", condition.await);
    Ok(())
}

pub(super) async fn traffic(scene: &mut Scene, show: &mut Show) -> Result<()> {
    let address = scene.front().await?;
    let answer = eventually("an answer", LIMIT, || scene.world.ask(address)).await;
    show.check(
        "one request",
        answer.map(|a| format!("{address} -> pod {} on {}", a.pod, a.node)),
    );
    let ready = scene.world.ready_pods(SHOP, FRONT_PODS).await?;
    let answers = scene.world.answered_by(address, &ready).await;
    show.check(
        "many requests reach every pod",
        answers.map(|a| in_words(&a)),
    );
    Ok(())
}
