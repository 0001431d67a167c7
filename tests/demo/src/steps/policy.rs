//! `externalTrafficPolicy`: Cluster against Local, at the NodePort and through the address.

use std::collections::BTreeSet;
use std::net::IpAddr;

use anyhow::{Result, anyhow, ensure};
use evenkeel_e2e::look::LIMIT;
use evenkeel_harness::nodes::{Origin, PodAnswer};
use evenkeel_harness::wait::eventually;
use serde_json::json;

use super::in_words;
use crate::manifest;
use crate::scene::{LESSONS, Scene};
use crate::show::Show;

const MANIFEST: &str = include_str!("../../../../deploy/examples/traffic-policy-local.yaml");

pub(super) async fn run(scene: &mut Scene, show: &mut Show) -> Result<()> {
    let mut objects = manifest::read(MANIFEST)?;
    for object in &mut objects {
        if let Some(policy) = object.pointer_mut("/spec/externalTrafficPolicy") {
            *policy = json!("Cluster");
        }
    }
    let applied = scene.apply(&objects).await?;
    show.note(format!("{applied}, for now with policy Cluster"));
    scene
        .world
        .await_ready_pods(LESSONS, "app=audit", 1)
        .await?;
    let address = scene.address("audit").await?;
    let answers = eventually("every node to answer", LIMIT, || ask_every_node(scene));
    let answers = answers.await;
    let shown = |(client, answers): &(IpAddr, Vec<PodAnswer>)| {
        let seen: BTreeSet<_> = answers.iter().map(|a| a.client.ip()).collect();
        ensure!(!seen.contains(client), "the pod sees {seen:?}");
        let seen: Vec<_> = seen.iter().map(ToString::to_string).collect();
        Ok(format!("client {client}, the pod sees {}", seen.join(", ")))
    };
    show.check(
        "Cluster: every node answers at its NodePort, and the pod sees a node",
        answers
            .as_ref()
            .map_err(|e| anyhow!("{e:#}"))
            .and_then(shown),
    );
    let (client, answers) = answers?;

    let local = r#"{"spec":{"externalTrafficPolicy":"Local"}}"#;
    let local = ["patch", "service", "audit", "-p", local];
    scene.kubectl(show, &local).await?;
    let home = answers[0].node.clone();
    let port = scene.node_port("audit").await?;
    let nodes = scene.nodes()?;
    let to = scene.at(&home, port)?;
    let sees = eventually("the pod to see the client", LIMIT, || async {
        let answer = nodes.ask(&Origin::Client, to).await?;
        let seen = answer.client.ip();
        ensure!(seen == client, "it sees {seen}");
        Ok(format!("{to} -> {}, the pod sees {seen}", answer.pod))
    });
    show.check(
        "Local: the node with the pod answers, and the pod sees the client",
        sees.await,
    );
    let mut others = nodes.nodes();
    others.retain(|node| *node != home);
    for other in &others {
        show.check(
            &format!("Local: {other}, which has no pod, does not answer"),
            silent(scene, other, port).await,
        );
    }
    let used = eventually("only that node to be used", LIMIT, || async {
        let balancer = scene.balancer(&scene.lesson("audit").await?).await?;
        let healthy = balancer.healthy();
        ensure!(healthy == [home.clone()].into(), "{healthy:?} are used");
        let why = others.iter().map(|node| balancer.why_not(node));
        let not: Vec<_> = others
            .iter()
            .zip(why)
            .map(|(node, why)| format!("{node} ({why})"))
            .collect();
        Ok(format!("{home}; not {}", not.join(", ")))
    });
    show.check(
        "through the address only nodes with a pod are used",
        used.await,
    );
    let answers = scene.world.ask_often(address, 20).await;
    show.check("so no request is lost", answers.map(|a| in_words(&a)));
    Ok(())
}

/// Waits until a node does not answer at its NodePort; tells how that looks to a client.
async fn silent(scene: &Scene, node: &str, port: u16) -> Result<String> {
    let to = scene.at(node, port)?;
    let nodes = scene.nodes()?;
    eventually("the node to fall silent", LIMIT, || async {
        match nodes.ask(&Origin::Client, to).await {
            Err(error) => Ok(error.to_string()),
            Ok(answer) => Err(anyhow!("{} answers", answer.pod)),
        }
    })
    .await
}

/// Asks at every node's NodePort from outside: the client's address, and the answers.
async fn ask_every_node(scene: &Scene) -> Result<(IpAddr, Vec<PodAnswer>)> {
    let port = scene.node_port("audit").await?;
    let nodes = scene.nodes()?;
    let mut answers = Vec::new();
    for node in nodes.nodes() {
        answers.push(nodes.ask(&Origin::Client, scene.at(&node, port)?).await?);
    }
    let client = scene.client_address(scene.at("node-1", port)?).await?;
    Ok((client, answers))
}
