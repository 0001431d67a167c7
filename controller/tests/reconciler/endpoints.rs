//! Endpoints reach those providers whose targets they are, and nobody else.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, ensure};
use async_trait::async_trait;
use evenkeel_core::{
    converge::Journal,
    endpoints::{EndpointSet, Use},
    engine::{AnyProvider, Ask, Found, Rehearsal, Report, Request},
    error::CloudError,
    ids::GroupKey,
    provider::Wake,
};
use evenkeel_harness::wait::eventually;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::scene::{LIMIT, Scene, status};

/// The annotation of Services whose targets are endpoints.
const PODS: &str = "toy/pods";

/// What groups were told, by the name of their Service.
type Told = Arc<Mutex<Vec<(String, Arc<EndpointSet>)>>>;

/// A provider that follows the endpoints of some Services.
struct Follower {
    provider: Arc<dyn AnyProvider>,
    told: Told,
}

#[async_trait]
impl AnyProvider for Follower {
    fn name(&self) -> &'static str {
        self.provider.name()
    }
    fn follows_endpoints(&self, _: &GroupKey, ask: &Ask) -> Option<bool> {
        match ask {
            Ask::Serve(group) => Some(group.first().annotations.contains_key(PODS)),
            _ => None,
        }
    }
    async fn run(&self, request: Request, journal: &dyn Journal) -> Report {
        let told = (request.key.name().to_owned(), request.endpoints.clone());
        self.told
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(told);
        self.provider.run(request, journal).await
    }
    async fn rehearse(&self, request: &Request) -> Result<Rehearsal, CloudError> {
        self.provider.rehearse(request).await
    }
    async fn inventory(&self) -> Result<Vec<Found>, CloudError> {
        self.provider.inventory().await
    }
    fn attach(&self, wake: Wake) {
        self.provider.attach(wake);
    }
    fn forget(&self, key: &GroupKey) {
        self.provider.forget(key);
    }
}

/// A scene whose provider follows endpoints, with its controller.
async fn start() -> Result<(Scene, Told)> {
    let mut scene = Scene::prepare().await?;
    let told = Told::default();
    scene.follows_endpoints = true;
    scene.between = {
        let told = told.clone();
        Arc::new(move |provider| {
            let told = told.clone();
            Arc::new(Follower { provider, told })
        })
    };
    scene.run();
    Ok((scene, told))
}

fn slices(scene: &Scene) -> Api<EndpointSlice> {
    Api::namespaced(scene.client.clone(), scene.namespace())
}

fn endpoint(address: &str, ready: bool) -> Value {
    json!({"addresses": [address], "conditions": {"ready": ready}})
}

async fn slice(scene: &Scene, name: &str, service: &str, endpoints: Value) -> Result<()> {
    let slice = json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4", "ports": [{"name": "http", "port": 8080}], "endpoints": endpoints,
    });
    let slice = serde_json::from_value(slice)?;
    slices(scene).create(&PostParams::default(), &slice).await?;
    Ok(())
}

async fn change(scene: &Scene, name: &str, endpoints: Value) -> Result<()> {
    let patch = Patch::Merge(json!({"endpoints": endpoints}));
    slices(scene)
        .patch(name, &PatchParams::default(), &patch)
        .await?;
    Ok(())
}

/// What a group was told last; None where that was nothing.
fn last(told: &Told, service: &str) -> Result<Option<Vec<String>>> {
    let told = told.lock().unwrap_or_else(PoisonError::into_inner);
    let mut all = told.iter().rev();
    let (_, set) = all
        .find(|(name, _)| name == service)
        .context("it did not run")?;
    let uids = set.services().next();
    Ok(uids.map(|(_, found)| {
        let all = found.values().flatten();
        all.map(|one| {
            let last = if one.use_ == Use::Add { "" } else { " last" };
            format!("{}:{}{last}", one.address, one.port)
        })
        .collect()
    }))
}

async fn follows(told: &Told, service: &str, want: &[&str]) -> Result<()> {
    eventually("the endpoints", LIMIT, || async {
        let found = last(told, service)?;
        let want: Vec<_> = want.iter().map(ToString::to_string).collect();
        ensure!(found == Some(want), "{found:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn endpoints_are_followed_by_those_whose_targets_they_are() -> Result<()> {
    let (scene, told) = start().await?;
    slice(&scene, "web-a", "web", json!([endpoint("10.1.0.1", true)])).await?;
    slice(
        &scene,
        "plain-a",
        "plain",
        json!([endpoint("10.1.0.9", true)]),
    )
    .await?;
    let pods = json!({"metadata": {"annotations": {PODS: "true"}}});
    scene.create("web", pods).await?;
    scene.create("plain", json!({})).await?;
    scene.served("web").await?;
    scene.served("plain").await?;
    follows(&told, "web", &["10.1.0.1:8080"]).await?;

    // A second slice, and a pod that is not ready.
    let more = json!([endpoint("10.1.0.2", true), endpoint("10.1.0.3", false)]);
    slice(&scene, "web-b", "web", more).await?;
    let all = ["10.1.0.1:8080", "10.1.0.2:8080", "10.1.0.3:8080 last"];
    follows(&told, "web", &all).await?;
    slices(&scene)
        .delete("web-a", &DeleteParams::default())
        .await?;
    follows(&told, "web", &all[1..]).await?;

    // Also while what the Service asks for cannot be read.
    let broken = json!({"metadata": {"annotations": {"evenkeel.dev/scheme": "sideways"}}});
    scene.patch("web", broken).await?;
    scene
        .until("web", "to be rejected", |service| {
            status(service, "evenkeel.dev/Degraded") == "True"
        })
        .await?;
    change(&scene, "web-b", json!([endpoint("10.1.0.4", true)])).await?;
    follows(&told, "web", &["10.1.0.4:8080"]).await?;
    ensure!(last(&told, "plain")?.is_none());
    Ok(())
}

#[tokio::test]
async fn a_service_without_pods_is_not_one_that_nothing_is_known_of() -> Result<()> {
    let (scene, told) = start().await?;
    let pods = json!({"metadata": {"annotations": {PODS: "true"}}});
    scene.create("web", pods).await?;
    scene.served("web").await?;
    follows(&told, "web", &[]).await?;
    // From endpoints to nodes and back: what was known does not come back, it is read anew.
    scene
        .patch("web", json!({"metadata": {"annotations": {PODS: null}}}))
        .await?;
    eventually("nothing to be told", LIMIT, || async {
        ensure!(last(&told, "web")?.is_none());
        Ok(())
    })
    .await?;
    slice(&scene, "web-a", "web", json!([endpoint("10.1.0.1", true)])).await?;
    let pods = json!({"metadata": {"annotations": {PODS: "true"}}});
    scene.patch("web", pods).await?;
    follows(&told, "web", &["10.1.0.1:8080"]).await
}
