//! Ports: several, with named target ports; and a NodePort that somebody chose.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use evenkeel_e2e::look::{LIMIT, ingress};
use evenkeel_harness::wait::eventually;

use super::{in_words, listed};
use crate::manifest;
use crate::scene::{LESSONS, PORT, Scene};
use crate::show::Show;

const NAMED: &str = include_str!("../../../../deploy/examples/multi-port.yaml");
const PINNED: &str = include_str!("../../../../deploy/examples/node-port.yaml");

pub(super) async fn named(scene: &mut Scene, show: &mut Show) -> Result<()> {
    let applied = scene.apply(&manifest::read(NAMED)?).await?;
    show.note(applied);
    let web = scene.address("catalogue").await?;
    let both = eventually("both ports to be served", LIMIT, || async {
        let service = scene.lesson("catalogue").await?;
        let ports = ingress(&service).into_iter().flat_map(|i| i.ports);
        let ports: Vec<_> = ports.flatten().collect();
        ensure!(
            ports.len() == 2 && ports.iter().all(|port| port.error.is_none()),
            "ports are {ports:?}"
        );
        let balancer = scene.balancer(&service).await?;
        let listens = balancer.ports();
        ensure!(listens == [8080, 9100].into(), "it listens on {listens:?}");
        ensure!(balancer.target_ports().len() == 2, "{balancer:?}");
        let (to, node_ports) = (web.ip(), listed(&balancer.target_ports()));
        Ok(format!(
            "{to} on {}, NodePorts {node_ports}",
            listed(&listens)
        ))
    });
    show.check("one address, two ports, a NodePort for each", both.await);
    let all = scene.world.await_ready_pods(LESSONS, "app=catalogue", 2);
    let answers = scene.world.answered_by(web, &all.await?).await;
    show.check(
        "port 8080, `http`, reaches both versions: 8080 in one, 3000 in the other",
        answers.map(|a| in_words(&a)),
    );
    let new = scene
        .world
        .await_ready_pods(LESSONS, "app=catalogue,version=v2", 1);
    let metrics = SocketAddr::new(web.ip(), 9100);
    let answers = scene.world.answered_by(metrics, &new.await?).await;
    show.check(
        "port 9100, `metrics`, reaches only the version that has it",
        answers.map(|a| in_words(&a)),
    );
    Ok(())
}

pub(super) async fn pinned(scene: &mut Scene, show: &mut Show) -> Result<()> {
    let applied = scene.apply(&manifest::read(PINNED)?).await?;
    show.note(applied);
    let address = scene.address("pinned").await?;
    scene
        .world
        .await_ready_pods(LESSONS, "app=pinned", 1)
        .await?;
    show.check("the targets are at 30080", targets(scene, 30080).await);
    let taken = [
        "create",
        "service",
        "nodeport",
        "second",
        "--tcp=80",
        "--node-port=30080",
    ];
    let ran = scene.kubectl.run(&taken).await?;
    show.command(&ran);
    let refused = "provided port is already allocated";
    show.check(
        "who asks for the same port is refused",
        match !ran.status.success() && ran.output.contains(refused) {
            true => Ok(refused),
            false => Err(anyhow::anyhow!("{} ({})", ran.output, ran.status)),
        },
    );
    let pin = r#"[{"op":"replace","path":"/spec/ports/0/nodePort","value":30081}]"#;
    let pin = ["patch", "service", "pinned", "--type=json", "-p", pin];
    scene.kubectl(show, &pin).await?;
    show.check(
        "another pin: they follow to 30081",
        targets(scene, 30081).await,
    );
    let answer = eventually("an answer", LIMIT, || scene.world.ask(address)).await;
    show.check(
        "at the same address",
        answer.map(|a| format!("{address} -> {}", a.pod)),
    );
    Ok(())
}

/// Waits until all targets of the pinned Service are at this port.
async fn targets(scene: &Scene, port: u64) -> Result<String> {
    eventually("the targets", LIMIT, || async {
        let service = scene.lesson("pinned").await?;
        let balancer = scene.balancer(&service).await?;
        let ports = balancer.target_ports();
        ensure!(ports == [port].into(), "targets are at {ports:?}");
        let node = balancer.nodes().pop_first().context("no targets")?;
        let answer = scene.world.ask(scene.at(&node, port.try_into()?)?).await?;
        let nodes = listed(&balancer.nodes());
        Ok(format!("{nodes}:{port}, {node} -> {}:{PORT}", answer.pod))
    })
    .await
}
