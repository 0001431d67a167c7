//! Services that ask for no load balancer.

use anyhow::{Result, ensure};
use evenkeel_e2e::look::ingress;
use evenkeel_harness::nodes::Origin;
use evenkeel_harness::wait::eventually;
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt as _;

use super::listed;
use crate::manifest;
use crate::scene::{LESSONS, PORT, Scene};
use crate::show::Show;
use evenkeel_e2e::look::LIMIT;

const MANIFEST: &str = include_str!("../../../../deploy/examples/other-types.yaml");
const OTHERS: [&str; 4] = ["external-name", "headless", "cluster-ip", "node-port"];

pub(super) async fn run(scene: &mut Scene, show: &mut Show) -> Result<()> {
    let applied = scene.apply(&manifest::read(MANIFEST)?).await?;
    show.note(applied);
    // Whatever was to happen to the others has happened when a later Service is served.
    let later = ["create", "service", "loadbalancer", "later", "--tcp=8080"];
    scene.kubectl(show, &later).await?;
    let address = scene.address("later").await;
    show.check(
        "a Service of type LoadBalancer, made after them, has an address",
        address,
    );
    show.check(
        "the others: no finalizer, no address, no field of ours",
        untouched(scene, LESSONS, &OTHERS).await,
    );
    let pods = scene.world.await_ready_pods(LESSONS, "app=inside", 1);
    let pods = listed(&pods.await?);
    let nodes = scene.nodes()?;
    let inside = eventually("the ClusterIP to answer", LIMIT, || async {
        let forward = nodes.forward_cluster_ip(LESSONS, "cluster-ip", PORT);
        let answer = nodes.ask(&Origin::Here, forward.await?.address()).await?;
        ensure!(answer.pod == pods, "{} answered", answer.pod);
        Ok(answer.pod)
    });
    show.check("the ClusterIP works without us", inside.await);
    let port = scene.node_port("node-port").await?;
    let outside = eventually("the NodePort to answer", LIMIT, || async {
        let to = scene.at("node-1", port)?;
        let answer = nodes.ask(&Origin::Client, to).await?;
        Ok(format!("{to} -> {}", answer.pod))
    });
    show.check("so does the NodePort", outside.await);
    Ok(())
}

/// Checks that Services bear no trace of evenkeel, and that the data plane has nothing for them; tells their types.
pub(super) async fn untouched(scene: &Scene, namespace: &str, names: &[&str]) -> Result<String> {
    let mut told = Vec::new();
    for name in names {
        let service: Service = scene.world.services(namespace).get(name).await?;
        let fields = service.managed_fields().iter();
        let writers: Vec<_> = fields.filter_map(|f| f.manager.as_deref()).collect();
        ensure!(
            service.finalizers().is_empty()
                && ingress(&service).is_empty()
                && !writers.contains(&"evenkeel")
                && scene.balancer(&service).await?.is_none(),
            "{name} was touched: written by {}, finalizers {:?}, status {:?}",
            writers.join(", "),
            service.finalizers(),
            service.status
        );
        let spec = service.spec.unwrap_or_default();
        let kind = match spec.cluster_ip.as_deref() {
            Some("None") => "headless".to_owned(),
            _ => spec.type_.unwrap_or_default(),
        };
        told.push(format!("{name} ({kind})"));
    }
    Ok(told.join(", "))
}
