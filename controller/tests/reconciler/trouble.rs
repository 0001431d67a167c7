//! What is wrong is told, and takes nothing down.

use anyhow::{Result, ensure};
use evenkeel::{
    metrics::Metrics, outcome::Notice, publish::events::channel, watch::services::reference,
};
use evenkeel_harness::wait::eventually;
use evenkeel_laws::tap::Fault;
use kube::ResourceExt as _;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::scene::{LIMIT, Scene, condition, conditions, ingress, status};

#[tokio::test]
async fn a_broken_annotation_is_told_and_tears_nothing_down() -> Result<()> {
    let scene = Scene::start().await?;
    scene.create("checkout", json!({})).await?;
    let address = ingress(&scene.served("checkout").await?).to_vec();
    let before = scene.cloud.list();
    for (broken, word) in [
        (
            json!({"toy.evenkeel.dev/idle": "soon"}),
            "toy.evenkeel.dev/idle",
        ),
        (
            json!({"evenkeel.dev/scheme": "sideways"}),
            "evenkeel.dev/scheme",
        ),
    ] {
        scene
            .patch("checkout", json!({"metadata": {"annotations": broken}}))
            .await?;
        let service = scene
            .until("checkout", "the condition Degraded", |service| {
                condition(service, "evenkeel.dev/Degraded")
                    .is_some_and(|found| found.status == "True" && found.message.contains(word))
            })
            .await?;
        ensure!(
            condition(&service, "evenkeel.dev/Degraded")
                .is_some_and(|found| found.reason == "InvalidConfiguration")
        );
        ensure!(
            status(&service, "evenkeel.dev/Serving") == "True" && ingress(&service) == address,
            "{:?}",
            service.status
        );
    }
    let note = scene.event("checkout", "InvalidConfiguration").await?;
    ensure!(note.contains("must be"), "{note}");
    ensure!(scene.cloud.list() == before, "nothing was touched");

    scene.patch("checkout", json!({"metadata": {"annotations": {"toy.evenkeel.dev/idle": null, "evenkeel.dev/scheme": null}}})).await?;
    scene
        .until("checkout", "all to be well", |service| {
            status(service, "evenkeel.dev/Degraded") == "False"
        })
        .await?;

    // What is broken can be deleted all the same.
    scene
        .patch(
            "checkout",
            json!({"metadata": {"annotations": {"toy.evenkeel.dev/idle": "never"}}}),
        )
        .await?;
    scene.delete("checkout").await?;
    scene.gone("checkout").await?;
    ensure!(scene.cloud.list().is_empty(), "{:?}", scene.cloud.list());
    Ok(())
}

#[tokio::test]
async fn what_was_never_good_gets_nothing_and_leaves_nothing() -> Result<()> {
    let scene = Scene::start().await?;
    scene
        .create(
            "checkout",
            json!({"metadata": {"annotations": {"evenkeel.dev/scheme": "sideways"}}}),
        )
        .await?;
    let service = scene
        .until("checkout", "the condition Degraded", |service| {
            status(service, "evenkeel.dev/Degraded") == "True"
        })
        .await?;
    ensure!(
        service.finalizers().is_empty(),
        "{:?}",
        service.finalizers()
    );
    ensure!(scene.tap.writes().is_empty(), "{:?}", scene.tap.writes());
    scene
        .patch(
            "checkout",
            json!({"spec": {"type": "ClusterIP", "loadBalancerClass": null}}),
        )
        .await?;
    let service = scene.released("checkout").await?;
    ensure!(
        conditions(&service).is_empty(),
        "{:?}",
        conditions(&service)
    );
    Ok(())
}

#[tokio::test]
async fn a_passing_fault_is_told_and_tried_again() -> Result<()> {
    let scene = Scene::start().await?;
    scene.settled().await?;
    scene.tap.reset();
    // The first look, and in the next run the first write.
    scene.tap.fail(0, Fault::Unreachable);
    scene.tap.fail(2, Fault::Unreachable);
    scene.create("checkout", json!({})).await?;
    let note = scene.event("checkout", "SyncLoadBalancerFailed").await?;
    ensure!(note.ends_with("look into it if it stays."), "{note}");
    scene.served("checkout").await?;
    let events = scene.events("checkout").await?;
    ensure!(
        events
            .iter()
            .filter(|(reason, ..)| reason == "SyncLoadBalancerFailed")
            .all(|(.., count)| *count <= 2),
        "{events:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_release_that_fails_keeps_the_service_and_says_why() -> Result<()> {
    let scene = Scene::start().await?;
    scene.create("checkout", json!({})).await?;
    scene.served("checkout").await?;
    scene.tap.reset();
    // Both looks of the first run.
    scene.tap.fail(0, Fault::Unreachable);
    scene.tap.fail(1, Fault::Unreachable);
    scene.delete("checkout").await?;
    scene.event("checkout", "SyncLoadBalancerFailed").await?;
    ensure!(
        scene.get("checkout").await?.finalizers() == [scene.finalizer()],
        "nobody is let go while something is there"
    );
    scene.gone("checkout").await?;
    ensure!(scene.cloud.list().is_empty(), "{:?}", scene.cloud.list());
    Ok(())
}

#[tokio::test]
async fn our_finalizer_comes_back() -> Result<()> {
    let scene = Scene::start().await?;
    scene.create("checkout", json!({})).await?;
    scene.served("checkout").await?;
    scene
        .patch("checkout", json!({"metadata": {"finalizers": []}}))
        .await?;
    scene.event("checkout", "FinalizerLost").await?;
    scene
        .until("checkout", "our finalizer", |service| {
            service.finalizers() == [scene.finalizer()]
        })
        .await?;
    Ok(())
}

#[tokio::test]
async fn a_port_that_nobody_serves_is_an_error_of_that_port() -> Result<()> {
    let scene = Scene::start().await?;
    scene.create("checkout", json!({"spec": {"ports": [{"name": "a", "port": 80}, {"name": "b", "port": 99, "protocol": "SCTP"}]}})).await?;
    let service = scene
        .until("checkout", "an address", |service| {
            !ingress(service).is_empty() && status(service, "evenkeel.dev/Serving") == "True"
        })
        .await?;
    let errors: Vec<_> = ingress(&service)[0]
        .ports
        .iter()
        .flatten()
        .map(|port| port.error.as_deref())
        .collect();
    ensure!(
        errors == [None, Some("evenkeel.dev/ProtocolNotSupported")],
        "{errors:?}"
    );
    ensure!(status(&service, "LoadBalancerPortsError") == "True");
    scene
        .patch(
            "checkout",
            json!({"spec": {"ports": [{"name": "a", "port": 80}]}}),
        )
        .await?;
    eventually("the error to go", LIMIT, || async {
        let service = scene.get("checkout").await?;
        ensure!(
            status(&service, "LoadBalancerPortsError") == "False",
            "{:?}",
            service.status
        );
        Ok(())
    })
    .await
}

#[tokio::test]
async fn an_event_that_repeats_is_one_object_whose_count_grows() -> Result<()> {
    let scene = Scene::prepare().await?;
    let service = scene.create("checkout", json!({})).await?;
    let (events, writer) = channel(
        scene.client.clone(),
        Metrics::new(),
        evenkeel::clock::Clock::default(),
    );
    let quiet = CancellationToken::new();
    let writer = tokio::spawn(writer.run(quiet.clone()));
    let about = reference(&service);
    for note in ["no answer", "no answer", "another cause", "no answer"] {
        events.tell(&about, Notice::warning("SyncLoadBalancerFailed", note));
    }
    eventually("the events", LIMIT, || async {
        let mut found = scene.events("checkout").await?;
        found.sort();
        let want = [("another cause", 1), ("no answer", 3)];
        let found: Vec<_> = found
            .iter()
            .map(|(_, note, count)| (note.as_str(), *count))
            .collect();
        ensure!(found == want, "{found:?}");
        Ok(())
    })
    .await?;
    quiet.cancel();
    writer.await?;
    Ok(())
}
