//! How the layers of a Service stand on each other, and which Services have no load balancer on top.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, anyhow, ensure};
use evenkeel_e2e::look::LIMIT;
use evenkeel_harness::nodes::Origin;
use evenkeel_harness::wait::eventually;

use super::left_alone::untouched;
use super::listed;
use crate::scene::{FRONT, SHOP, Scene};
use crate::show::Show;

pub(super) async fn three(scene: &mut Scene, show: &mut Show) -> Result<()> {
    let address = scene.front().await?;
    let service = scene.shop().get(FRONT).await?;
    let spec = service.spec.as_ref().context("no spec")?;
    let node_port = spec.ports.iter().flatten().find_map(|p| p.node_port);
    let node_port = u16::try_from(node_port.context("no NodePort")?)?;
    let nodes = scene.nodes()?;
    let node_ports = async {
        let mut lines = Vec::new();
        for name in nodes.nodes() {
            let to = SocketAddr::new(nodes.node_address(&name)?, node_port);
            let ask = || async { Ok(nodes.ask(&Origin::Here, to).await?) };
            let answer = eventually(format!("{name} to answer"), LIMIT, ask).await?;
            lines.push(format!("{to} -> {}", answer.pod));
        }
        anyhow::Ok(lines.join(", "))
    };
    show.check("the NodePort answers on every node", node_ports.await);
    let cluster_ip = eventually("the ClusterIP to answer", LIMIT, || async {
        let forward = nodes.forward_cluster_ip(SHOP, FRONT, scene.front_port);
        let answer = nodes.ask(&Origin::Here, forward.await?.address()).await?;
        let ip = spec.cluster_ip.as_deref().unwrap_or_default();
        Ok(format!("{ip} -> {}", answer.pod))
    });
    show.check("the ClusterIP answers inside the cluster", cluster_ip.await);
    let targets = async {
        let targets = scene.balancer(&service).await?;
        let all = nodes.nodes().into_iter().collect();
        ensure!(
            targets.nodes() == all && targets.target_ports() == [node_port.into()].into(),
            "targets are {targets:?}"
        );
        anyhow::Ok(format!("{address} -> {}:{node_port}", listed(&all)))
    };
    show.check(
        "the load balancer's targets are the nodes at that NodePort",
        targets.await,
    );
    Ok(())
}

pub(super) async fn others(scene: &mut Scene, show: &mut Show) -> Result<()> {
    show.check(
        "no finalizer, no address, no field of ours",
        untouched(scene, SHOP, &["backend", "mysql", "mysql-read"]).await,
    );
    let nodes = scene.nodes()?;
    let backend = eventually("the backend to answer", LIMIT, || async {
        let forward = nodes.forward_cluster_ip(SHOP, "backend", 80).await?;
        let pod = nodes.ask(&Origin::Here, forward.address()).await?.pod;
        ensure!(pod.starts_with("backend-"), "{pod} answered");
        Ok(format!("80 -> 8080, {pod}"))
    });
    show.check("the backend answers on its ClusterIP", backend.await);
    let objects = scene.world.objects().await?;
    show.check(
        "there is one load balancer",
        match objects["listeners"].as_array().map_or(0, Vec::len) {
            1 => Ok("one listener"),
            n => Err(anyhow!("{n} listeners")),
        },
    );
    Ok(())
}
