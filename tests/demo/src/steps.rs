//! The steps, in the order in which they are shown. Each changes the world in one way and checks what follows.
#![expect(clippy::print_stdout, reason = "showing is the purpose")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use evenkeel_harness::nodes::Origin;
use evenkeel_harness::wait::eventually;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{Namespace, Service};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use crate::scene::{FRONT, NODES, SHOP, Scene};
use crate::show::Show;
use crate::{inside, manifest};
use evenkeel_e2e::look::{LIMIT, ingress};

/// The application that is served.
const MANIFEST: &str = include_str!("../../../deploy/examples/shop.yaml");

/// The label of the front end's pods.
const FRONT_PODS: &str = "tier=frontend";

/// Runs all steps. A check that fails is counted and the next goes on; only what makes the rest pointless ends the run.
pub(crate) async fn run(scene: &mut Scene, show: &mut Show) -> Result<()> {
    apply(scene, show).await?;
    let address = published(scene, show).await?;
    traffic(scene, show, address).await?;
    layers(scene, show, address).await?;
    others(scene, show).await?;
    scaled(scene, show, address).await?;
    not_ready(scene, show, address).await?;
    node_gone(scene, show, address).await?;
    controller_gone(scene, show, address).await?;
    mistake(scene, show, address).await?;
    deleted(scene, show, address).await
}

async fn apply(scene: &Scene, show: &mut Show) -> Result<()> {
    show.step("A complete application is applied (deploy/examples/shop.yaml)");
    let namespace = json!({"metadata": {"name": SHOP}});
    let namespaces: Api<Namespace> = Api::all(scene.world.client());
    namespaces
        .create(&PostParams::default(), &serde_json::from_value(namespace)?)
        .await?;
    let applied = manifest::apply(&scene.world.client(), SHOP, &shop(scene)?).await;
    show.check(
        "the API server accepts it",
        applied.map(|names| names.join(", ")),
    );
    let rolled_out = async {
        let deployments: Api<Deployment> = Api::namespaced(scene.world.client(), SHOP);
        let sets: Api<StatefulSet> = Api::namespaced(scene.world.client(), SHOP);
        eventually("all pods to be Ready", LIMIT, || async {
            for (name, replicas) in [(FRONT, 3), ("backend", 2)] {
                let ready = deployments
                    .get_status(name)
                    .await?
                    .status
                    .and_then(|s| s.ready_replicas)
                    .unwrap_or(0);
                ensure!(
                    ready == replicas,
                    "deployment/{name}: {ready} of {replicas}"
                );
            }
            let ready = sets
                .get_status("mysql")
                .await?
                .status
                .and_then(|s| s.ready_replicas)
                .unwrap_or(0);
            ensure!(ready == 3, "statefulset/mysql: {ready} of 3");
            Ok("3 frontend, 2 backend, 3 mysql")
        })
        .await
    };
    show.check("its pods are Ready", rolled_out.await);
    Ok(())
}

/// The application's objects; the front end on a port that this user may open.
fn shop(scene: &Scene) -> Result<Vec<Value>> {
    let mut objects = manifest::read(MANIFEST)?;
    let front = objects
        .iter_mut()
        .find(|o| o["kind"] == "Service" && o["metadata"]["name"] == FRONT);
    front.context("no frontend in the manifest")?["spec"]["ports"][0]["port"] =
        json!(scene.front_port);
    Ok(objects)
}

async fn published(scene: &Scene, show: &mut Show) -> Result<SocketAddr> {
    show.step("evenkeel gives the front end an address");
    let address = scene.address().await;
    let shown = address
        .as_ref()
        .map(ToString::to_string)
        .map_err(|error| anyhow::anyhow!("{error:#}"));
    show.check("the address is published", shown);
    let address = address?;
    let service = scene.services().get(FRONT).await?;
    let entry = ingress(&service).into_iter().next().context("no ingress")?;
    let mode = entry.ip_mode.as_deref().unwrap_or("none").to_owned();
    show.check(
        "packets arrive at the node's own address",
        match mode.as_str() {
            "Proxy" => Ok("ipMode Proxy"),
            other => Err(anyhow::anyhow!("ipMode is {other}")),
        },
    );
    let ports = entry.ports.unwrap_or_default();
    show.check(
        "every port is reported, none with an error",
        match ports.as_slice() {
            [port] if port.error.is_none() => Ok(format!("{}/{}", port.port, port.protocol)),
            other => Err(anyhow::anyhow!("{other:?}")),
        },
    );
    show.check(
        "the finalizer holds the Service until all is given back",
        match service.finalizers() {
            [one] if one == "evenkeel.dev/local" => Ok(one.clone()),
            other => Err(anyhow::anyhow!("finalizers are {other:?}")),
        },
    );
    show.check(
        "the condition says so",
        scene
            .world
            .condition(SHOP, FRONT, "evenkeel.dev/Serving", "True")
            .await,
    );
    Ok(address)
}

async fn traffic(scene: &Scene, show: &mut Show, address: SocketAddr) -> Result<()> {
    show.step("A request to the address reaches a pod");
    let answer = eventually("an answer", LIMIT, || scene.world.ask(address)).await;
    show.check(
        "one request",
        answer.map(|a| format!("{address} -> pod {} on {}", a.pod, a.node)),
    );
    let ready = scene.world.ready_pods(SHOP, FRONT_PODS).await?;
    show.check(
        "many requests reach every pod",
        scene
            .world
            .answered_by(address, &ready)
            .await
            .map(|a| in_words(&a)),
    );
    Ok(())
}

async fn layers(scene: &Scene, show: &mut Show, address: SocketAddr) -> Result<()> {
    show.step("Address, NodePort and ClusterIP are three layers of one Service");
    let service = scene.services().get(FRONT).await?;
    let spec = service.spec.context("no spec")?;
    let node_port = spec
        .ports
        .iter()
        .flatten()
        .find_map(|p| p.node_port)
        .context("no NodePort")?;
    let node_port = u16::try_from(node_port)?;
    let node_ports = async {
        let mut lines = Vec::new();
        for name in scene.nodes()?.nodes() {
            let to = SocketAddr::new(scene.nodes()?.node_address(&name)?, node_port);
            let answer = scene
                .world
                .ask(to)
                .await
                .with_context(|| format!("{name} ({to})"))?;
            lines.push(format!("{to} -> {}", answer.pod));
        }
        anyhow::Ok(lines.join(", "))
    };
    show.check("the NodePort answers on every node", node_ports.await);
    let cluster_ip = async {
        let forward = scene
            .nodes()?
            .forward_cluster_ip(SHOP, FRONT, scene.front_port)
            .await?;
        let answer = scene.nodes()?.ask(&Origin::Here, forward.address()).await?;
        anyhow::Ok(format!(
            "{} -> {}",
            spec.cluster_ip.clone().unwrap_or_default(),
            answer.pod
        ))
    };
    show.check("the ClusterIP answers inside the cluster", cluster_ip.await);
    let targets = async {
        let nodes = scene.world.target_nodes().await?;
        ensure!(
            nodes == scene.nodes()?.nodes().into_iter().collect(),
            "targets are {nodes:?}"
        );
        anyhow::Ok(format!(
            "{address} -> {}:{node_port}",
            nodes.into_iter().collect::<Vec<_>>().join(", ")
        ))
    };
    show.check(
        "the load balancer's targets are the nodes at that NodePort",
        targets.await,
    );
    Ok(())
}

async fn others(scene: &Scene, show: &mut Show) -> Result<()> {
    show.step("The three other Services are left alone");
    let mut untouched = Vec::new();
    for name in ["backend", "mysql", "mysql-read"] {
        let service: Service = scene.services().get(name).await?;
        let clean = service.finalizers().is_empty()
            && ingress(&service).is_empty()
            && !service
                .managed_fields()
                .iter()
                .any(|f| f.manager.as_deref() == Some("evenkeel"));
        let kind = match service.spec.as_ref().and_then(|s| s.cluster_ip.as_deref()) {
            Some("None") => "headless",
            _ => "ClusterIP",
        };
        untouched.push((format!("{name} ({kind})"), clean));
    }
    let touched: Vec<_> = untouched
        .iter()
        .filter(|(_, clean)| !clean)
        .map(|(name, _)| name.as_str())
        .collect();
    let names: Vec<_> = untouched.iter().map(|(name, _)| name.as_str()).collect();
    show.check(
        "no finalizer, no address, no field of ours",
        match touched.as_slice() {
            [] => Ok(names.join(", ")),
            touched => Err(anyhow::anyhow!("touched: {}", touched.join(", "))),
        },
    );
    let backend = async {
        let forward = scene
            .nodes()?
            .forward_cluster_ip(SHOP, "backend", 80)
            .await?;
        let answer = scene.nodes()?.ask(&Origin::Here, forward.address()).await?;
        ensure!(
            answer.pod.starts_with("backend-"),
            "{} answered",
            answer.pod
        );
        anyhow::Ok(format!("80 -> 8080, {}", answer.pod))
    };
    show.check("the backend answers on its ClusterIP", backend.await);
    let objects = scene.world.objects().await?;
    show.check(
        "there is one load balancer",
        match objects["listeners"].as_array().map_or(0, Vec::len) {
            1 => Ok("one listener"),
            n => Err(anyhow::anyhow!("{n} listeners")),
        },
    );
    Ok(())
}

async fn scaled(scene: &Scene, show: &mut Show, address: SocketAddr) -> Result<()> {
    show.step("The front end is scaled to five pods");
    let deployments: Api<Deployment> = Api::namespaced(scene.world.client(), SHOP);
    let patch = Patch::Merge(json!({"spec": {"replicas": 5}}));
    deployments
        .patch(FRONT, &PatchParams::default(), &patch)
        .await?;
    let ready = scene.world.await_ready_pods(SHOP, FRONT_PODS, 5).await?;
    show.check(
        "all five answer through the address",
        scene
            .world
            .answered_by(address, &ready)
            .await
            .map(|a| in_words(&a)),
    );
    Ok(())
}

async fn not_ready(scene: &Scene, show: &mut Show, address: SocketAddr) -> Result<()> {
    show.step("A pod is no longer Ready");
    let mut ready = scene.world.ready_pods(SHOP, FRONT_PODS).await?;
    let victim = ready.pop_first().context("no pods")?;
    scene.nodes()?.set_ready(SHOP, &victim, false).await?;
    let answers = scene.world.answered_by(address, &ready).await;
    show.check(
        &format!("{victim} gets no requests"),
        answers.map(|a| in_words(&a)),
    );
    scene.nodes()?.set_ready(SHOP, &victim, true).await?;
    ready.insert(victim.clone());
    let answers = scene.world.answered_by(address, &ready).await;
    show.check("Ready again, it does", answers.map(|_| ""));
    Ok(())
}

async fn node_gone(scene: &Scene, show: &mut Show, address: SocketAddr) -> Result<()> {
    show.step("A node goes, and another comes");
    let gone = format!("node-{NODES}");
    scene.nodes()?.remove_node(&gone).await?;
    let left = eventually("the targets to follow", LIMIT, || async {
        let targets = scene.world.target_nodes().await?;
        ensure!(!targets.contains(&gone), "targets are {targets:?}");
        Ok(targets.into_iter().collect::<Vec<_>>().join(", "))
    })
    .await;
    show.check(&format!("{gone} is no target any more"), left);
    let served = eventually("requests without a failure", LIMIT, || {
        scene.world.ask_often(address, 20)
    })
    .await;
    show.check(
        "requests are served by the others",
        served.map(|a| in_words(&a)),
    );
    scene.nodes()?.add_node("node-new").await?;
    let joined = eventually("the new node to be a target", LIMIT, || async {
        let targets = scene.world.target_nodes().await?;
        ensure!(targets.contains("node-new"), "targets are {targets:?}");
        Ok("")
    })
    .await;
    show.check("the new node is one", joined);
    Ok(())
}

async fn controller_gone(scene: &mut Scene, show: &mut Show, address: SocketAddr) -> Result<()> {
    show.step("The controller is killed, and started again");
    let before = scene.services().get(FRONT).await?.resource_version();
    scene.world.kill_controller()?;
    let served = scene.world.ask_often(address, 20).await;
    show.check(
        "without a controller, traffic flows",
        served.map(|a| in_words(&a)),
    );
    scene.world.start_controller().await?;
    show.check(
        "the address stays",
        match scene.address().await {
            Ok(now) if now == address => Ok(now),
            Ok(now) => Err(anyhow::anyhow!("it was {address} and is {now}")),
            Err(error) => Err(error),
        },
    );
    eventually("the first reconcile after the restart", LIMIT, || async {
        let runs = scene.world.metric("evenkeel_reconcile_total").await?;
        ensure!(runs >= 1.0, "no reconcile yet");
        Ok(())
    })
    .await?;
    let after = scene.services().get(FRONT).await?.resource_version();
    show.check(
        "the restart wrote nothing to the Service",
        match before == after {
            true => Ok(format!("resourceVersion {}", after.unwrap_or_default())),
            false => Err(anyhow::anyhow!(
                "resourceVersion {before:?} became {after:?}"
            )),
        },
    );
    Ok(())
}

async fn mistake(scene: &Scene, show: &mut Show, address: SocketAddr) -> Result<()> {
    show.step("An annotation has a value that cannot be used");
    annotate(scene, json!({"evenkeel.dev/idle-timeout": "soon"})).await?;
    let said = scene
        .world
        .condition(SHOP, FRONT, "evenkeel.dev/Degraded", "True")
        .await;
    show.check("the Service says what is wrong and what to do", said);
    show.check(
        "nothing is torn down",
        scene.world.ask_often(address, 10).await.map(|_| ""),
    );
    annotate(scene, json!({"evenkeel.dev/idle-timeout": null})).await?;
    let healed = scene
        .world
        .condition(SHOP, FRONT, "evenkeel.dev/Degraded", "False")
        .await;
    show.check("corrected, all is well again", healed.map(|_| ""));
    Ok(())
}

async fn annotate(scene: &Scene, annotations: Value) -> Result<()> {
    let patch = Patch::Merge(json!({"metadata": {"annotations": annotations}}));
    scene
        .services()
        .patch(FRONT, &PatchParams::default(), &patch)
        .await?;
    Ok(())
}

async fn deleted(scene: &Scene, show: &mut Show, address: SocketAddr) -> Result<()> {
    show.step("The Service is deleted");
    scene
        .services()
        .delete(FRONT, &DeleteParams::default())
        .await?;
    let gone = eventually("the Service to go", LIMIT, || async {
        ensure!(
            scene.services().get_opt(FRONT).await?.is_none(),
            "it is still there"
        );
        Ok("")
    })
    .await;
    show.check("the Service goes", gone);
    show.check(
        "the address answers no more",
        match scene.world.ask(address).await {
            Err(_) => Ok("connection refused"),
            Ok(answer) => Err(anyhow::anyhow!("{} answered", answer.pod)),
        },
    );
    let objects = scene.world.objects().await?;
    let left: usize = ["leases", "backend_sets", "listeners"]
        .iter()
        .map(|k| objects[k].as_array().map_or(0, Vec::len))
        .sum();
    show.check(
        "the data plane has nothing left",
        match left {
            0 => Ok(""),
            n => Err(anyhow::anyhow!("{n} objects: {objects}")),
        },
    );
    let names: BTreeSet<_> = scene
        .services()
        .list(&Default::default())
        .await?
        .iter()
        .map(|s| s.name_any())
        .collect();
    show.check(
        "its neighbours are still there",
        match names.len() {
            3 => Ok(names.into_iter().collect::<Vec<_>>().join(", ")),
            _ => Err(anyhow::anyhow!("{names:?}")),
        },
    );
    Ok(())
}

/// Brings the front end back and stays until Ctrl-C, with what is needed to play.
pub(crate) async fn stay(scene: &mut Scene) -> Result<()> {
    let front: Vec<_> = shop(scene)?
        .into_iter()
        .filter(|o| o["metadata"]["name"] == FRONT)
        .collect();
    manifest::apply(&scene.world.client(), SHOP, &front).await?;
    let address = scene.address().await?;
    println!("\nIt is all up again. The front end answers on http://{address}/");
    if let Some(way_in) = inside::way_in() {
        println!("This runs in namespaces of its own; enter them with\n\n    {way_in}\n");
    }
    println!("Try:\n");
    println!("    curl http://{address}/");
    println!(
        "    export KUBECONFIG={}",
        scene.world.plane.kubeconfig().display()
    );
    println!("    kubectl -n {} get services -o wide", SHOP);
    println!(
        "    kubectl -n {} annotate service frontend evenkeel.dev/schem=internal",
        SHOP
    );
    println!("\nCtrl-C takes everything down.");
    tokio::signal::ctrl_c().await?;
    println!();
    Ok(())
}

/// How often each pod answered, in words.
fn in_words(answers: &BTreeMap<String, usize>) -> String {
    answers
        .iter()
        .map(|(pod, times)| format!("{pod} {times}x"))
        .collect::<Vec<_>>()
        .join(", ")
}
