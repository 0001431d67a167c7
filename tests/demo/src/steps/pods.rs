//! Pods that come, and pods that are not Ready.

use anyhow::{Context as _, Result};
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::application::FRONT_PODS;
use super::in_words;
use crate::scene::{FRONT, SHOP, Scene};
use crate::show::Show;

pub(super) async fn scaled(scene: &mut Scene, show: &mut Show) -> Result<()> {
    let address = scene.front().await?;
    let deployments: Api<Deployment> = Api::namespaced(scene.world.client(), SHOP);
    let patch = Patch::Merge(json!({"spec": {"replicas": 5}}));
    deployments
        .patch(FRONT, &PatchParams::default(), &patch)
        .await?;
    let ready = scene.world.await_ready_pods(SHOP, FRONT_PODS, 5).await?;
    let answers = scene.world.answered_by(address, &ready).await;
    show.check(
        "all five answer through the address",
        answers.map(|a| in_words(&a)),
    );
    Ok(())
}

pub(super) async fn not_ready(scene: &mut Scene, show: &mut Show) -> Result<()> {
    let address = scene.front().await?;
    let mut ready = scene.world.ready_pods(SHOP, FRONT_PODS).await?;
    let victim = ready.pop_first().context("no pods")?;
    scene.nodes()?.set_ready(SHOP, &victim, false).await?;
    let answers = scene.world.answered_by(address, &ready).await;
    show.check(
        &format!("{victim} gets no requests"),
        answers.map(|a| in_words(&a)),
    );
    scene.nodes()?.set_ready(SHOP, &victim, true).await?;
    ready.insert(victim.clone());
    let answers = scene.world.answered_by(address, &ready).await;
    show.check("Ready again, it does", answers.map(|_| ""));
    Ok(())
}
