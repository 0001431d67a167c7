//! The end of a Service.

use std::collections::BTreeSet;

use anyhow::{Result, anyhow};
use kube::ResourceExt as _;
use kube::api::{DeleteParams, ListParams};

use super::listed;
use crate::scene::{FRONT, SHOP, Scene};
use crate::show::Show;

pub(super) async fn run(scene: &mut Scene, show: &mut Show) -> Result<()> {
    let address = scene.front().await?;
    scene.shop().delete(FRONT, &DeleteParams::default()).await?;
    let gone = scene.world.gone(SHOP, FRONT).await;
    show.check("the Service goes", gone.map(|()| ""));
    show.check(
        "the address answers no more",
        match scene.world.ask(address).await {
            Err(error) => Ok(format!("{error:#}")),
            Ok(answer) => Err(anyhow!("{} answered", answer.pod)),
        },
    );
    show.check(
        "the data plane has nothing left",
        match scene.world.object_count().await? {
            0 => Ok(""),
            n => Err(anyhow!("{n} objects: {}", scene.world.objects().await?)),
        },
    );
    let all = scene.shop().list(&ListParams::default()).await?;
    let names: BTreeSet<_> = all.iter().map(|s| s.name_any()).collect();
    show.check(
        "its neighbours are still there",
        match names.len() {
            3 => Ok(listed(&names)),
            _ => Err(anyhow!("{names:?}")),
        },
    );
    Ok(())
}
