//! A Service whose endpoints are empty: what is there, and what evenkeel says about it.

use std::collections::BTreeSet;

use anyhow::{Result, anyhow, ensure};
use evenkeel_e2e::look::LIMIT;
use evenkeel_harness::wait::eventually;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::api::ListParams;

use super::{in_words, listed};
use crate::manifest;
use crate::scene::{LESSONS, Scene};
use crate::show::Show;

const MANIFEST: &str = include_str!("../../../../deploy/examples/no-endpoints.yaml");

pub(super) async fn run(scene: &mut Scene, show: &mut Show) -> Result<()> {
    let applied = scene.apply(&manifest::read(MANIFEST)?).await?;
    show.note(applied);
    let address = scene.address("lonely").await?;
    show.check("it has an address", Ok(address));
    let label = "kubernetes.io/service-name=lonely";
    let api: Api<EndpointSlice> = Api::namespaced(scene.world.client(), LESSONS);
    let found = eventually("an EndpointSlice", LIMIT, || async {
        let slices = api.list(&ListParams::default().labels(label)).await?.items;
        ensure!(!slices.is_empty(), "there is none");
        Ok(slices
            .iter()
            .flat_map(|slice| &slice.endpoints)
            .flatten()
            .count())
    });
    let found = found.await?;
    scene
        .kubectl(show, &["get", "endpointslices", "-l", label])
        .await?;
    show.check(
        "and no endpoints",
        match found {
            0 => Ok(""),
            n => Err(anyhow!("there are {n}")),
        },
    );
    let serving = "evenkeel.dev/Serving";
    let said = scene.world.condition(LESSONS, "lonely", serving, "True");
    show.check("evenkeel says", said.await);
    let nodes = scene.nodes()?.nodes().into_iter().collect();
    let service = scene.lesson("lonely").await?;
    let healthy = eventually("the nodes to be healthy", LIMIT, || async {
        let healthy = scene.balancer(&service).await?.healthy();
        ensure!(healthy == nodes, "healthy are {healthy:?}");
        Ok(format!("{}, because kube-proxy is well", listed(&healthy)))
    });
    show.check("with policy Cluster every node is healthy", healthy.await);
    show.check(
        "but nobody answers: endpoints are kube-proxy's business",
        match scene.world.ask(address).await {
            Err(error) => Ok(format!("{error:#}")),
            Ok(answer) => Err(anyhow!("{} answered", answer.pod)),
        },
    );

    let local = r#"{"spec":{"externalTrafficPolicy":"Local"}}"#;
    let local = ["patch", "service", "lonely", "-p", local];
    scene.kubectl(show, &local).await?;
    let sick = eventually("no node to be healthy", LIMIT, || async {
        let balancer = scene.balancer(&service).await?;
        let healthy = balancer.healthy();
        ensure!(healthy.is_empty(), "healthy are {healthy:?}");
        let why: BTreeSet<_> = nodes.iter().map(|n| balancer.why_not(n)).collect();
        ensure!(why == ["status 503".to_owned()].into(), "they say {why:?}");
        Ok(format!("{}: {}", listed(&nodes), listed(&why)))
    });
    show.check(
        "with policy Local none is: each says that it has no pod",
        sick.await,
    );
    let said = scene.world.condition(LESSONS, "lonely", serving, "True");
    show.check(
        "evenkeel says as before: what it was asked for is there",
        said.await,
    );

    let pods = scene.world.deploy(LESSONS, "lonely", 1).await?;
    let answers = scene.world.answered_by(address, &pods).await;
    show.check("a pod comes: it answers", answers.map(|a| in_words(&a)));
    Ok(())
}
