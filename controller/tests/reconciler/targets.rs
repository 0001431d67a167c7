//! Nodes and Services that change at the same time. Nodes belong to the whole cluster: each test has one of its own.

use anyhow::{Result, ensure};
use evenkeel_harness::wait::eventually;
use evenkeel_laws::{tap::Fault, toys::own::cloud::Spec};
use k8s_openapi::api::core::v1::Node;
use kube::{Api, api::PostParams};
use serde_json::json;

use crate::scene::{LIMIT, Scene, condition, ingress, status};

async fn join(scene: &Scene, name: &str) -> Result<()> {
    let nodes: Api<Node> = Api::all(scene.client.clone());
    let node = serde_json::from_value(json!({"metadata": {"name": name}}))?;
    nodes.create(&PostParams::default(), &node).await?;
    Ok(())
}

/// The targets of the sets of a Service.
fn targets(scene: &Scene, service: &str) -> Vec<Vec<String>> {
    let objects = scene.cloud.list().into_iter();
    objects
        .filter(|object| {
            let member = object
                .marks
                .as_ref()
                .and_then(|marks| marks.member.as_ref());
            member.is_some_and(|member| &*member.key.name == service)
        })
        .filter_map(|object| match object.spec {
            Spec::TargetSet { targets, .. } => Some(targets),
            _ => None,
        })
        .map(|targets| targets.iter().map(ToString::to_string).collect())
        .collect()
}

async fn has_targets(scene: &Scene, service: &str, want: &[&str]) -> Result<()> {
    eventually("the targets", LIMIT, || async {
        let found = targets(scene, service);
        ensure!(found == [want], "{found:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn without_a_node_there_is_an_address_and_it_is_said() -> Result<()> {
    let mut scene = Scene::prepare_alone().await?;
    scene.run();
    scene.create("checkout", json!({})).await?;
    let service = scene.served("checkout").await?;
    let address = ingress(&service)[0].ip.clone();
    ensure!(address.is_some() && targets(&scene, "checkout") == [Vec::<String>::new()]);
    let said = |service: &k8s_openapi::api::core::v1::Service| {
        let conditions = crate::scene::conditions(service);
        conditions
            .iter()
            .any(|condition| condition.message.contains("no node"))
    };
    ensure!(said(&service), "{:?}", service.status);
    let note = scene.event("checkout", "UnAvailableLoadBalancer").await?;
    ensure!(note.contains("the address stays"), "{note}");
    join(&scene, "node-a").await?;
    has_targets(&scene, "checkout", &["node-a"]).await?;
    let service = scene
        .until("checkout", "nothing to be said any more", |service| {
            !said(service)
        })
        .await?;
    ensure!(ingress(&service)[0].ip == address, "{:?}", service.status);
    Ok(())
}

#[tokio::test]
async fn nodes_and_ports_change_at_once_one_after_the_other() -> Result<()> {
    let mut scene = Scene::prepare_alone().await?;
    join(&scene, "node-a").await?;
    scene.run();
    for name in ["checkout", "other"] {
        scene.create(name, json!({})).await?;
    }
    for name in ["checkout", "other"] {
        scene.served(name).await?;
    }
    scene.barrier().await?;
    scene.forget_calls();
    scene.tap.block_writes(true);
    let ports = json!([{"name": "http", "port": 81, "targetPort": 8080}]);
    scene
        .patch("checkout", json!({"spec": {"ports": ports}}))
        .await?;
    scene.wrote().await?;
    let begun = scene.tap.calls();
    join(&scene, "node-b").await?;
    eventually("the nodes to be known", LIMIT, || async {
        let calls = scene.tap.writes();
        ensure!(
            calls.iter().any(|call| call.target.contains("other")),
            "{calls:?}"
        );
        Ok(())
    })
    .await?;
    scene.barrier().await?;
    let meanwhile = scene.tap.writes();
    let of_checkout = |calls: &[evenkeel_laws::tap::Call]| {
        let calls = calls.iter().filter(|call| call.target.contains("checkout"));
        calls.cloned().collect::<Vec<_>>()
    };
    ensure!(
        of_checkout(&meanwhile) == of_checkout(&begun),
        "only one works on it: {meanwhile:?}"
    );
    scene.tap.block_writes(false);
    has_targets(&scene, "checkout", &["node-a", "node-b"]).await?;
    scene
        .until("checkout", "the new port", |service| {
            let ports = ingress(service)[0].ports.clone().unwrap_or_default();
            ports.len() == 1 && ports[0].port == 81 && ports[0].error.is_none()
        })
        .await?;
    Ok(())
}

#[tokio::test]
async fn what_failed_is_not_taken_as_done() -> Result<()> {
    let mut scene = Scene::prepare_alone().await?;
    join(&scene, "node-a").await?;
    scene.run();
    scene.create("checkout", json!({})).await?;
    scene.served("checkout").await?;
    has_targets(&scene, "checkout", &["node-a"]).await?;
    scene.barrier().await?;
    scene.forget_calls();
    scene
        .tap
        .fail_where(|call| (call.operation == "Change").then_some(Fault::Unreachable));
    join(&scene, "node-b").await?;
    let service = scene
        .until("checkout", "to be told", |service| {
            status(service, "evenkeel.dev/Degraded") == "True"
        })
        .await?;
    ensure!(
        condition(&service, "evenkeel.dev/Serving").is_some_and(|found| found.status == "True"),
        "{:?}",
        service.status
    );
    has_targets(&scene, "checkout", &["node-a"]).await?;
    scene.tap.fail_none();
    // Nothing happens but time.
    scene.clock.put_forward(std::time::Duration::from_secs(600));
    has_targets(&scene, "checkout", &["node-a", "node-b"]).await?;
    scene
        .until("checkout", "all to be well", |service| {
            status(service, "evenkeel.dev/Degraded") == "False"
        })
        .await?;
    Ok(())
}
