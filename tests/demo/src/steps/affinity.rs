//! ClientIP affinity, at every address that a Service has.

use anyhow::{Context as _, Result, ensure};
use evenkeel_e2e::look::LIMIT;
use evenkeel_harness::nodes::Origin;
use evenkeel_harness::wait::eventually;
use serde_json::{Value, json};
use std::net::SocketAddr;

use super::in_words;
use crate::manifest;
use crate::scene::{LESSONS, PORT, Scene};
use crate::show::Show;

const MANIFEST: &str = include_str!("../../../../deploy/examples/session-affinity.yaml");
/// How many requests are made to see where they go.
const TIMES: usize = 15;

pub(super) async fn run(scene: &mut Scene, show: &mut Show) -> Result<()> {
    let applied = scene.apply(&without_affinity()?).await?;
    show.note(format!("{applied}, for now without affinity"));
    let pods = scene.world.await_ready_pods(LESSONS, "app=cart", 3).await?;
    let address = scene.address("cart").await?;
    let node_port = scene.at("node-1", scene.node_port("cart").await?)?;
    let spread = eventually("all pods to answer", LIMIT, || async {
        let answers = scene.ask_often(&Origin::Client, node_port, TIMES).await?;
        ensure!(answers.len() == pods.len(), "{}", in_words(&answers));
        Ok(in_words(&answers))
    });
    show.check(
        "a client's requests to the NodePort are spread",
        spread.await,
    );

    let on = r#"{"spec":{"sessionAffinity":"ClientIP","sessionAffinityConfig":{"clientIP":{"timeoutSeconds":600}}}}"#;
    let on = ["patch", "service", "cart", "-p", on];
    scene.kubectl(show, &on).await?;
    let client = Origin::Client;
    show.check(
        &format!("now {TIMES} of {TIMES} go to one pod"),
        one_pod(scene, &client, node_port).await,
    );
    let spec = scene.lesson("cart").await?.spec.context("no spec")?;
    let cluster_ip = spec.cluster_ip.unwrap_or_default().parse()?;
    let node = Origin::Node("node-1".to_owned());
    show.check(
        "so it is at the ClusterIP",
        one_pod(scene, &node, SocketAddr::new(cluster_ip, PORT)).await,
    );
    show.check(
        "and at evenkeel's own address, which sends the client to one node",
        one_pod(scene, &Origin::Here, address).await,
    );
    let kept = scene.world.objects().await?["backend_sets"].clone();
    let kept = kept.as_array().into_iter().flatten().any(|set| {
        set["marks"]["service"] == format!("{LESSONS}/cart")
            && set["spec"]["affinity_seconds"] == 600
    });
    show.check(
        "for as long after its last connection as the Service says",
        kept.then(|| "600 s".to_owned())
            .context("no timeout of 600 s"),
    );
    Ok(())
}

/// Waits until many requests from one place all go to one pod.
async fn one_pod(scene: &Scene, from: &Origin, to: SocketAddr) -> Result<String> {
    eventually("one pod to answer", LIMIT, || async {
        let answers = scene.ask_often(from, to, TIMES).await?;
        ensure!(answers.len() == 1, "{}", in_words(&answers));
        Ok(format!("{to} -> {}", in_words(&answers)))
    })
    .await
}

/// The example before anybody thought of affinity.
fn without_affinity() -> Result<Vec<Value>> {
    let mut objects = manifest::read(MANIFEST)?;
    for object in &mut objects {
        if let Some(affinity) = object.pointer_mut("/spec/sessionAffinity") {
            *affinity = json!("None");
            object["spec"]["sessionAffinityConfig"] = Value::Null;
        }
    }
    Ok(objects)
}
