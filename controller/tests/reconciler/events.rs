//! What is wrong stays visible for as long as it is wrong, and what is wrong with the controller itself is told once.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result, ensure};
use evenkeel::{
    clock::Clock,
    controller_object::{ControllerCondition, ControllerObject},
    metrics::Metrics,
    outcome::Notice,
    publish::events::channel,
    watch::services::reference,
};
use evenkeel_harness::{control_plane::ControlPlane, kubectl::Kubectl, wait::eventually};
use evenkeel_laws::tap::Fault;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::{
    api::Sent,
    scene::{LIMIT, Scene, condition, ingress, status},
};

/// A bit more than the time after which what holds is told again.
const RENEWED: Duration = Duration::from_secs(46 * 60);

/// So that nothing is looked at though nothing has happened.
const NEVER: Duration = Duration::from_secs(100 * 24 * 3600);

impl Scene {
    fn own_objects(&self) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), self.namespace())
    }

    /// Waits until the controller's own object says something of the provider.
    async fn provider_is(&self, want: &str) -> Result<ControllerCondition> {
        let what = format!("the condition ProviderReady={want}");
        eventually(what, LIMIT, || async {
            let object = self.own_objects().get(&self.provider).await?;
            let all = ControllerObject::from_config_map(&object).conditions;
            let found = all.iter().find(|found| {
                (found.type_.as_str(), found.status.as_str()) == ("ProviderReady", want)
            });
            found.cloned().with_context(|| format!("it has {all:?}"))
        })
        .await
    }

    /// Waits until an object has exactly these warnings, by reason with counts.
    async fn warnings(&self, name: &str, want: &[(&str, i32)]) -> Result<()> {
        eventually(format!("the warnings {want:?}"), LIMIT, || async {
            let events = self.events(name).await?;
            // There are no nodes here.
            let normal = ["Ensur", "Delet", "UnAvail", "ProviderReady", "Drift"];
            let found: Vec<_> = events
                .iter()
                .filter(|(reason, ..)| !normal.iter().any(|normal| reason.starts_with(normal)))
                .map(|(reason, _, count)| (reason.as_str(), *count))
                .collect();
            ensure!(found == want, "there are {events:?}");
            Ok(())
        })
        .await
    }
}

fn of_own_object(sent: &Sent) -> bool {
    sent.path.contains("/configmaps") && sent.method != "GET"
}

#[tokio::test]
async fn fifty_services_and_one_fault_are_one_event_and_fifty_conditions() -> Result<()> {
    let mut scene = Scene::prepare().await?;
    scene.tap.fail_where(|_| Some(Fault::Expired));
    scene.run();
    let names: Vec<_> = (0..50).map(|number| format!("shop-{number}")).collect();
    for name in &names {
        scene.create(name, json!({})).await?;
    }
    let place = format!("the ConfigMap {}/{}", scene.namespace(), scene.provider);
    for name in &names {
        let service = scene
            .until(name, "the condition Degraded", |service| {
                status(service, "evenkeel.dev/Degraded") == "True"
            })
            .await?;
        let degraded = condition(&service, "evenkeel.dev/Degraded").context("just seen")?;
        ensure!(
            degraded.reason == "PermissionDenied" && degraded.message.contains(&place),
            "{degraded:?}"
        );
    }
    let fault = scene.provider_is("False").await?;
    ensure!(
        fault.reason == "CredentialsExpired" && fault.message.contains("valid credentials"),
        "{fault:?}"
    );
    let own = scene.provider.clone();
    scene.warnings(&own, &[("CredentialsExpired", 1)]).await?;

    scene.tap.fail_none();
    // The next look at the provider is due.
    scene.clock.put_forward(Duration::from_secs(31));
    for name in &names {
        scene.served(name).await?;
    }
    let well = scene.provider_is("True").await?;
    ensure!(
        well.last_transition_time > fault.last_transition_time,
        "{well:?} after {fault:?}"
    );
    let note = scene.event(&own, "ProviderReady").await?;
    ensure!(note == "The provider answers.", "{note}");
    scene.warnings(&own, &[("CredentialsExpired", 1)]).await?;
    for name in &names {
        scene.warnings(name, &[]).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_fault_that_begins_later_leaves_what_serves() -> Result<()> {
    let mut scene = Scene::prepare().await?;
    scene.resync = Duration::from_secs(600);
    scene.run();
    scene.create("checkout", json!({})).await?;
    let address = ingress(&scene.served("checkout").await?).to_vec();
    let before = scene.provider_is("True").await?;
    ensure!(before.reason == "Answers", "{before:?}");
    scene.tap.fail_where(|_| Some(Fault::Expired));
    // The resync is due.
    scene.clock.put_forward(Duration::from_secs(721));
    let service = scene
        .until("checkout", "the condition Degraded", |service| {
            status(service, "evenkeel.dev/Degraded") == "True"
        })
        .await?;
    ensure!(
        ingress(&service) == address && status(&service, "evenkeel.dev/Serving") == "True",
        "{:?}",
        service.status
    );
    scene.provider_is("False").await?;
    scene.warnings("checkout", &[]).await?;
    Ok(())
}

#[tokio::test]
async fn why_a_service_is_not_served_is_told_again_before_it_is_forgotten() -> Result<()> {
    let mut scene = Scene::prepare().await?;
    scene.resync = NEVER;
    scene.run();
    let broken = |value| json!({"metadata": {"annotations": {"evenkeel.dev/scheme": value}}});
    scene.create("checkout", broken("sideways")).await?;
    scene
        .warnings("checkout", &[("InvalidConfiguration", 1)])
        .await?;
    scene.barrier().await?;
    scene.forget_calls();
    for count in [2, 3] {
        scene.clock.put_forward(RENEWED);
        scene
            .warnings("checkout", &[("InvalidConfiguration", count)])
            .await?;
    }
    ensure!(
        scene.tap.calls().is_empty(),
        "no call: {:?}",
        scene.tap.calls()
    );
    ensure!(
        scene.line.all_writes().is_empty(),
        "no write to a Service: {:?}",
        scene.line.all_writes()
    );

    // Another cause is another event, at once.
    scene.patch("checkout", broken("upwards")).await?;
    scene
        .warnings(
            "checkout",
            &[("InvalidConfiguration", 3), ("InvalidConfiguration", 1)],
        )
        .await?;

    // A restart forgets what was told, and finds it.
    scene.stop().await?;
    scene.run();
    scene
        .warnings(
            "checkout",
            &[("InvalidConfiguration", 3), ("InvalidConfiguration", 2)],
        )
        .await
}

#[tokio::test]
async fn a_release_that_cannot_end_goes_on_saying_why() -> Result<()> {
    let mut scene = Scene::prepare().await?;
    scene.resync = NEVER;
    scene.run();
    scene.create("checkout", json!({})).await?;
    scene.served("checkout").await?;
    scene
        .tap
        .fail_where(|call| (call.operation == "Delete").then_some(Fault::Rejected));
    scene.delete("checkout").await?;
    let told = |count: i32| {
        let scene = &scene;
        async move {
            eventually(format!("the trouble, {count} times"), LIMIT, || async {
                let events = scene.events("checkout").await?;
                let counts = events
                    .iter()
                    .filter(|(reason, ..)| reason == "InvalidConfiguration")
                    .map(|(.., count)| *count);
                ensure!(counts.max() >= Some(count), "there are {events:?}");
                Ok(())
            })
            .await
        }
    };
    told(1).await?;
    scene.clock.put_forward(RENEWED);
    told(2).await?;
    scene.tap.fail_none();
    scene.clock.put_forward(Duration::from_secs(20 * 60));
    scene.gone("checkout").await
}

#[tokio::test]
async fn a_hundred_identical_failures_are_one_event() -> Result<()> {
    let scene = Scene::prepare().await?;
    let service = scene.create("checkout", json!({})).await?;
    let about = reference(&service);
    let note = format!("no answer {}", "x".repeat(2000));
    // The second process knows nothing of the first.
    for count in [50, 100] {
        let (events, writer) = channel(scene.client.clone(), Metrics::new(), Clock::default());
        let quiet = CancellationToken::new();
        let writer = tokio::spawn(writer.run(quiet.clone()));
        for _ in 0..50 {
            events.tell(&about, Notice::warning("SyncLoadBalancerFailed", &note));
        }
        scene
            .warnings("checkout", &[("SyncLoadBalancerFailed", count)])
            .await?;
        quiet.cancel();
        writer.await?;
    }
    let found = scene.events("checkout").await?;
    ensure!(found[0].1.len() <= 1024, "{found:?}");
    Ok(())
}

#[tokio::test]
async fn kubectl_describe_shows_why() -> Result<()> {
    let mut scene = Scene::prepare().await?;
    scene.resync = NEVER;
    scene.run();
    let plane = ControlPlane::shared().await?;
    let kubectl = Kubectl::new(plane, scene.namespace(), Default::default()).await?;
    scene.create("checkout", json!({})).await?;
    scene.served("checkout").await?;
    let broken = json!({"metadata": {"annotations": {"evenkeel.dev/scheme": "sideways"}}});
    scene.patch("checkout", broken).await?;
    scene.event("checkout", "InvalidConfiguration").await?;
    scene.clock.put_forward(RENEWED);
    scene
        .warnings("checkout", &[("InvalidConfiguration", 2)])
        .await?;
    let ran = kubectl.run(&["describe", "service", "checkout"]).await?;
    let lines: Vec<_> = ran.output.lines().collect();
    let line = |reason: &str| {
        let found = lines.iter().position(|line| line.contains(reason));
        found.with_context(|| format!("no {reason} in\n{}", ran.output))
    };
    let order = [
        line("EnsuringLoadBalancer")?,
        line("EnsuredLoadBalancer")?,
        line("InvalidConfiguration")?,
    ];
    ensure!(order.is_sorted(), "in another order:\n{}", ran.output);
    let wrong = lines[order[2]];
    ensure!(
        wrong.contains("Warning") && wrong.contains("(x2 over") && wrong.contains("sideways"),
        "{wrong}"
    );

    scene.provider_is("True").await?;
    scene.tap.fail_where(|_| Some(Fault::Expired));
    scene
        .patch("checkout", json!({"metadata": {"annotations": {"evenkeel.dev/scheme": null}}, "spec": {"ports": [{"name": "http", "port": 81}]}}))
        .await?;
    scene.provider_is("False").await?;
    let own = scene.provider.clone();
    scene.warnings(&own, &[("CredentialsExpired", 1)]).await?;
    let ran = kubectl.run(&["describe", "configmap", &own]).await?;
    ensure!(
        ran.output.contains("CredentialsExpired")
            && ran.output.contains("Give the controller valid"),
        "{}",
        ran.output
    );
    Ok(())
}

#[tokio::test]
async fn the_controllers_own_object_is_written_when_it_changes_and_keeps_what_others_put_there()
-> Result<()> {
    let mut scene = Scene::prepare().await?;
    scene.run();
    let first = scene.provider_is("True").await?;
    let object = scene.own_objects().get(&scene.provider).await?;
    let said = ControllerObject::from_config_map(&object);
    ensure!(
        said.configuration.get("provider") == Some(&vec![scene.provider.clone()])
            && said.configuration.get("cluster-name") == Some(&vec!["test".to_owned()])
            && !said.about.version.is_empty()
            && !said.about.identity.is_empty(),
        "{said:?}"
    );
    let theirs = json!({
        "metadata": {"annotations": {"example.com/note": "mine"}, "labels": {"team": "edge"}},
        "data": {"note": "mine"},
    });
    scene
        .own_objects()
        .patch(
            &scene.provider,
            &PatchParams::default(),
            &Patch::Merge(theirs),
        )
        .await?;

    // An unchanged world, before and after a restart.
    scene.stop().await?;
    scene.forget_calls();
    scene.run();
    scene.create("checkout", json!({})).await?;
    scene.served("checkout").await?;
    let writes = || {
        let sent = scene.line.sent().into_iter().filter(of_own_object);
        sent.collect::<Vec<_>>()
    };
    ensure!(writes().is_empty(), "{:?}", writes());

    scene.tap.fail_where(|_| Some(Fault::Expired));
    scene
        .patch(
            "checkout",
            json!({"spec": {"ports": [{"name": "http", "port": 81}]}}),
        )
        .await?;
    let fault = scene.provider_is("False").await?;
    ensure!(fault.last_transition_time > first.last_transition_time);
    ensure!(writes().len() == 1, "{:?}", writes());
    let object = scene.own_objects().get(&scene.provider).await?;
    ensure!(
        object.annotations().get("example.com/note").is_some()
            && object.labels().get("team").is_some()
            && object
                .data
                .as_ref()
                .is_some_and(|data| data.contains_key("note")),
        "{object:?}"
    );

    // Whoever deletes it gets it back with the next news.
    scene
        .own_objects()
        .delete(&scene.provider, &DeleteParams::default())
        .await?;
    scene.tap.fail_none();
    scene.clock.put_forward(Duration::from_secs(31));
    scene.provider_is("True").await?;
    Ok(())
}

#[tokio::test]
async fn what_an_earlier_service_of_the_same_name_left_is_told_to_the_new_one() -> Result<()> {
    let mut scene = Scene::start().await?;
    let old = scene.create("checkout", json!({})).await?;
    scene.served("checkout").await?;
    scene.crash().await;
    scene
        .patch("checkout", json!({"metadata": {"finalizers": null}}))
        .await?;
    scene.delete("checkout").await?;
    scene.gone("checkout").await?;
    let before: BTreeMap<_, _> = scene.objects();
    scene.create("checkout", json!({})).await?;
    scene.run();
    let note = scene.event("checkout", "OrphanedLoadBalancer").await?;
    let uid = old.uid().context("it has a UID")?;
    ensure!(
        note.contains(&uid) && note.contains("Delete it by hand"),
        "{note}"
    );
    scene.served("checkout").await?;
    let now = scene.objects();
    ensure!(
        before
            .iter()
            .all(|(kind, count)| now.get(kind) >= Some(&(count * 2))),
        "the old one stays, the new one has its own: {before:?}, then {now:?}"
    );
    Ok(())
}

#[tokio::test]
async fn what_somebody_else_changed_is_repaired_and_told() -> Result<()> {
    let mut scene = Scene::prepare().await?;
    scene.resync = Duration::from_secs(600);
    scene.run();
    scene.create("checkout", json!({})).await?;
    scene.served("checkout").await?;
    scene.barrier().await?;
    let listener = scene
        .cloud
        .list()
        .into_iter()
        .find(|object| object.spec.kind() == "listener")
        .context("it has a listener")?;
    scene.cloud.lose(&listener.name);
    scene.clock.put_forward(Duration::from_secs(721));
    let note = scene.event("checkout", "DriftRepaired").await?;
    ensure!(
        note.contains("listener") && note.contains("evenkeel.dev/paused"),
        "{note}"
    );
    let events = scene.events("checkout").await?;
    let times = |reason: &str| events.iter().filter(|(found, ..)| found == reason).count();
    ensure!(
        (times("EnsuringLoadBalancer"), times("EnsuredLoadBalancer")) == (1, 1),
        "a repair is no new beginning: {events:?}"
    );
    Ok(())
}
