//! A node that dies, and a controller that is killed.

use anyhow::{Result, anyhow, ensure};
use evenkeel_e2e::look::LIMIT;
use evenkeel_harness::wait::eventually;
use kube::ResourceExt as _;

use super::{in_words, listed};
use crate::scene::{FRONT, NODES, Scene};
use crate::show::Show;

pub(super) async fn node(scene: &mut Scene, show: &mut Show) -> Result<()> {
    let address = scene.front().await?;
    let gone = format!("node-{NODES}");
    scene.nodes()?.remove_node(&gone).await?;
    let left = eventually("the targets to follow", LIMIT, || async {
        let targets = scene.world.target_nodes().await?;
        ensure!(!targets.contains(&gone), "targets are {targets:?}");
        Ok(listed(&targets))
    });
    show.check(&format!("{gone} is no target any more"), left.await);
    let served = eventually("requests without a failure", LIMIT, || {
        scene.world.ask_often(address, 20)
    });
    show.check(
        "requests are served by the others",
        served.await.map(|a| in_words(&a)),
    );
    scene.nodes()?.add_node("node-new").await?;
    let joined = eventually("the new node to be a target", LIMIT, || async {
        let targets = scene.world.target_nodes().await?;
        ensure!(targets.contains("node-new"), "targets are {targets:?}");
        Ok("")
    });
    show.check("the new node is one", joined.await);
    Ok(())
}

pub(super) async fn controller(scene: &mut Scene, show: &mut Show) -> Result<()> {
    let address = scene.front().await?;
    let before = scene.shop().get(FRONT).await?.resource_version();
    scene.world.kill_controller()?;
    let served = scene.world.ask_often(address, 20).await;
    show.check(
        "without a controller, traffic flows",
        served.map(|a| in_words(&a)),
    );
    scene.world.start_controller().await?;
    show.check(
        "the address stays",
        match scene.front().await {
            Ok(now) if now == address => Ok(now),
            Ok(now) => Err(anyhow!("it was {address} and is {now}")),
            Err(error) => Err(error),
        },
    );
    eventually("the first reconcile after the restart", LIMIT, || async {
        let runs = scene.world.metric("evenkeel_reconcile_total").await?;
        ensure!(runs >= 1.0, "no reconcile yet");
        Ok(())
    })
    .await?;
    let after = scene.shop().get(FRONT).await?.resource_version();
    show.check(
        "the restart wrote nothing to the Service",
        match before == after {
            true => Ok(format!("resourceVersion {}", after.unwrap_or_default())),
            false => Err(anyhow!("resourceVersion {before:?} became {after:?}")),
        },
    );
    Ok(())
}
