//! What is typed every day, and what each command does to the load balancer.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, anyhow, ensure};
use evenkeel_e2e::look::{LIMIT, ingress};
use evenkeel_harness::wait::eventually;
use kube::ResourceExt as _;

use super::in_words;
use crate::scene::{LESSONS, PORT, Scene};
use crate::show::Show;

pub(super) async fn create(scene: &mut Scene, show: &mut Show) -> Result<()> {
    let image = "--image=registry.example/hello";
    let deploy = [
        "create",
        "deployment",
        "hello",
        image,
        "--port=8080",
        "--replicas=2",
    ];
    scene.kubectl(show, &deploy).await?;
    let pods = scene
        .world
        .await_ready_pods(LESSONS, "app=hello", 2)
        .await?;

    let create = [
        "create",
        "service",
        "loadbalancer",
        "hello",
        "--tcp=8080:8080",
    ];
    scene.kubectl(show, &create).await?;
    show.note("it names no class: this controller runs with --default-provider local");
    let address = scene.address("hello").await?;
    let answers = scene.world.answered_by(address, &pods).await;
    show.check(
        "a load balancer, for the pods with app=hello",
        answers.map(|a| format!("{address} -> {}", in_words(&a))),
    );

    let expose = [
        "expose",
        "deployment",
        "hello",
        "--name=hello-again",
        "--type=LoadBalancer",
        "--port=9090",
        "--target-port=8080",
    ];
    scene.kubectl(show, &expose).await?;
    let again = SocketAddr::new(scene.address("hello-again").await?.ip(), 9090);
    let answers = scene.world.answered_by(again, &pods).await;
    show.check(
        "a second one, with an address of its own",
        answers.and_then(|a| {
            ensure!(again.ip() != address.ip(), "both have {address}");
            Ok(format!("{again} -> {}", in_words(&a)))
        }),
    );
    scene
        .kubectl(show, &["get", "services", "hello", "hello-again"])
        .await?;
    Ok(())
}

pub(super) async fn patch(scene: &mut Scene, show: &mut Show) -> Result<()> {
    let blue = scene.world.deploy(LESSONS, "blue", 2).await?;
    let green = scene.world.deploy(LESSONS, "green", 2).await?;
    let expose = [
        "expose",
        "deployment",
        "blue",
        "--name=colour",
        "--port=8080",
    ];
    scene.kubectl(show, &expose).await?;
    let to = |spec: &'static str| ["patch", "service", "colour", "-p", spec];

    scene
        .kubectl(show, &to(r#"{"spec":{"type":"LoadBalancer"}}"#))
        .await?;
    let address = scene.address("colour").await?;
    let answers = scene.world.answered_by(address, &blue).await;
    show.check(
        "from ClusterIP to LoadBalancer: one is made",
        answers.map(|a| format!("{address} -> {}", in_words(&a))),
    );
    let service = scene.lesson("colour").await?;
    let before = scene.balancer(&service).await?.generations();

    scene
        .kubectl(show, &to(r#"{"spec":{"selector":{"app":"green"}}}"#))
        .await?;
    let answers = scene.world.answered_by(address, &green).await;
    show.check(
        "another selector: other pods behind the same address",
        answers.map(|a| format!("{address} -> {}", in_words(&a))),
    );
    let after = scene.balancer(&service).await?.generations();
    show.check(
        "for which the load balancer was not written",
        match before == after {
            true => Ok(""),
            false => Err(anyhow!("{before:?} became {after:?}")),
        },
    );

    scene
        .kubectl(show, &to(r#"{"spec":{"type":"ClusterIP"}}"#))
        .await?;
    let released = eventually("the load balancer to go", LIMIT, || async {
        let service = scene.lesson("colour").await?;
        ensure!(
            scene.balancer(&service).await?.is_none(),
            "it is still there"
        );
        ensure!(
            service.finalizers().is_empty() && ingress(&service).is_empty(),
            "finalizers {:?}, status {:?}",
            service.finalizers(),
            service.status
        );
        let ip = service.spec.and_then(|spec| spec.cluster_ip);
        Ok(format!(
            "what stays is the ClusterIP {}",
            ip.unwrap_or_default()
        ))
    });
    show.check(
        "back to ClusterIP: it goes, with address and finalizer",
        released.await,
    );
    Ok(())
}

pub(super) async fn edit_and_delete(scene: &mut Scene, show: &mut Show) -> Result<()> {
    let pods = scene.world.deploy(LESSONS, "page", 1).await?;
    let expose = [
        "expose",
        "deployment",
        "page",
        "--type=LoadBalancer",
        "--port=8080",
    ];
    scene.kubectl(show, &expose).await?;
    let old = scene.address("page").await?;
    let service = scene.lesson("page").await?;

    // Between the word and the number stands no `t`: a targetPort is not meant.
    let editor = r#"sed -i "s/ port: 8080/ port: 8081/""#;
    let edit = ["edit", "service", "page"];
    let ran = scene.kubectl.run_with_editor(editor, &edit).await?.ok()?;
    show.command(&ran);
    let new = SocketAddr::new(old.ip(), PORT + 1);
    let answers = scene.world.answered_by(new, &pods).await;
    show.check(
        "the new port is opened at the same address",
        answers.map(|a| format!("{new} -> {}", in_words(&a))),
    );
    let closed = eventually("the old port to close", LIMIT, || async {
        let ports = scene.balancer(&service).await?.ports();
        ensure!(ports == [8081].into(), "it listens on {ports:?}");
        let error = scene.world.ask(old).await.err();
        Ok(format!("{old}: {:#}", error.context("it answers")?))
    });
    show.check("then the old one is closed", closed.await);

    scene.kubectl(show, &["delete", "service", "page"]).await?;
    let balancer = scene.balancer(&service).await?;
    show.check(
        "it returns when the load balancer is gone",
        match balancer.is_none() {
            true => Ok(""),
            false => Err(anyhow!("{balancer:?}")),
        },
    );
    show.check(
        "the address answers no more",
        match scene.world.ask(new).await {
            Err(error) => Ok(format!("{new}: {error:#}")),
            Ok(answer) => Err(anyhow!("{} answered", answer.pod)),
        },
    );
    let said = scene.world.event(LESSONS, "page", "DeletedLoadBalancer");
    show.check("the last event says so", said.await);
    Ok(())
}
