//! A mistake in an annotation.

use anyhow::Result;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::scene::{FRONT, SHOP, Scene};
use crate::show::Show;

pub(super) async fn run(scene: &mut Scene, show: &mut Show) -> Result<()> {
    let address = scene.front().await?;
    let degraded = "evenkeel.dev/Degraded";
    annotate(scene, json!({"evenkeel.dev/idle-timeout": "soon"})).await?;
    let said = scene.world.condition(SHOP, FRONT, degraded, "True").await;
    show.check("the Service says what is wrong and what to do", said);
    let answers = scene.world.ask_often(address, 10).await;
    show.check("nothing is torn down", answers.map(|_| ""));
    annotate(scene, json!({"evenkeel.dev/idle-timeout": null})).await?;
    let healed = scene.world.condition(SHOP, FRONT, degraded, "False").await;
    show.check("corrected, all is well again", healed.map(|_| ""));
    Ok(())
}

async fn annotate(scene: &Scene, annotations: Value) -> Result<()> {
    let patch = Patch::Merge(json!({"metadata": {"annotations": annotations}}));
    scene
        .shop()
        .patch(FRONT, &PatchParams::default(), &patch)
        .await?;
    Ok(())
}
