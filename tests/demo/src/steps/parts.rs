//! The parts that everything is shown on.

use anyhow::{Ok, Result};
use evenkeel_harness::nodes::NodesKind;

use crate::scene::{NODES, Scene};
use crate::show::Show;

pub(super) async fn run(scene: &mut Scene, show: &mut Show) -> Result<()> {
    let version = scene.world.client().apiserver_version().await?.git_version;
    show.check(
        "etcd, kube-apiserver and kube-controller-manager are up",
        Ok(version),
    );
    let nodes = scene.nodes()?;
    let form = match (nodes.kind(), nodes.fallback_reason()) {
        (NodesKind::Namespaces, _) => {
            "network namespaces, each with a real kube-proxy (nftables)".to_owned()
        }
        (_, reason) => format!(
            "addresses in 127.0.0.0/8 with a small forwarder in kube-proxy's place ({})",
            reason.unwrap_or("asked for")
        ),
    };
    show.check(&format!("{NODES} nodes are Ready"), Ok(form));
    let answer = scene.world.objects().await;
    show.check("the data plane answers on its socket", answer.map(|_| ""));
    let admin = scene.world.admin;
    show.check(
        "the controller is ready",
        Ok(format!("health and metrics on http://{admin}")),
    );
    Ok(())
}
