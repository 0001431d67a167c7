//! The finalizer: there before the first cloud object, gone after the last.

use anyhow::{Context as _, Result, bail, ensure};
use evenkeel_e2e::look::ingress;
use futures::{Stream, StreamExt as _};
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt as _;
use kube::api::{ListParams, WatchEvent, WatchParams};
use serde_json::json;

use crate::row::{Row, row};
use crate::stage::{OURS, Stage, ips, is_ours};

/// A finalizer of somebody else.
const FOREIGN: &str = "example.com/hold";

pub(crate) const ROWS: &[Row] = &[
    row!(
        11,
        "create: finalizer present before the first cloud object",
        finalizer_first
    ),
    row!(
        12,
        "finalizer already present: no finalizer patch",
        already_present
    ),
    row!(
        13,
        "foreign finalizers: preserved on add and on remove",
        foreign_finalizers
    ),
    row!(
        15,
        "type to ClusterIP: finalizer gone only after the cloud delete succeeded",
        gone_after_delete
    ),
    row!(
        16,
        "back to LoadBalancer: finalizer back, new load balancer",
        back_again
    ),
    row!(
        18,
        "finalizer removed from a live Service: added again, Warning FinalizerLost",
        lost
    ),
];

async fn finalizer_first(stage: &mut Stage) -> Result<()> {
    let services = stage.services();
    let listed = services.list(&ListParams::default()).await?;
    let version = listed.metadata.resource_version.context("a version")?;
    let made = stage.create("web", json!({})).await?;
    let stage = &*stage;
    let first_object = async {
        stage
            .held(&made, "the first cloud object", |holding| {
                !holding.is_empty()
            })
            .await?;
        let now = stage.get("web").await?;
        ensure!(
            is_ours(&now),
            "a cloud object is there, the finalizer is not"
        );
        anyhow::Ok(())
    };
    let watched = WatchParams::default()
        .fields("metadata.name=web")
        .timeout(60);
    let states = services.watch(&watched, &version).await?.boxed();
    tokio::try_join!(first_object, finalizer_before_address(states))?;
    Ok(())
}

async fn finalizer_before_address(
    mut states: impl Stream<Item = kube::Result<WatchEvent<Service>>> + Unpin,
) -> Result<()> {
    let mut had_finalizer = false;
    while let Some(event) = states.next().await {
        let (WatchEvent::Added(service) | WatchEvent::Modified(service)) = event? else {
            continue;
        };
        let served = !ingress(&service).is_empty();
        ensure!(
            !served || had_finalizer,
            "an address came without or with the finalizer, not after it"
        );
        had_finalizer |= is_ours(&service);
        if served {
            return Ok(());
        }
    }
    bail!("the watch ended before an address came")
}

async fn already_present(stage: &mut Stage) -> Result<()> {
    let service = stage
        .serve("web", json!({"metadata": {"finalizers": [OURS]}}))
        .await?;
    ensure!(service.finalizers() == [OURS], "{:?}", service.finalizers());
    let wrote = service.managed_fields().iter().find(|entry| {
        let fields = entry.fields_v1.as_ref().map(|fields| &fields.0);
        entry.manager.as_deref() == Some("evenkeel")
            && fields.is_some_and(|fields| !fields["f:metadata"]["f:finalizers"].is_null())
    });
    ensure!(wrote.is_none(), "the finalizer was written: {wrote:?}");
    Ok(())
}

async fn foreign_finalizers(stage: &mut Stage) -> Result<()> {
    let service = stage
        .serve("web", json!({"metadata": {"finalizers": [FOREIGN]}}))
        .await?;
    ensure!(
        service.finalizers() == [FOREIGN, OURS],
        "{:?}",
        service.finalizers()
    );
    stage
        .patch(
            "web",
            json!({"spec": {"type": "ClusterIP", "loadBalancerClass": null}}),
        )
        .await?;
    let service = stage
        .until("web", "our finalizer to go", |service| !is_ours(service))
        .await?;
    ensure!(
        service.finalizers() == [FOREIGN],
        "{:?}",
        service.finalizers()
    );
    Ok(())
}

async fn gone_after_delete(stage: &mut Stage) -> Result<()> {
    let service = stage.serve("web", json!({})).await?;
    stage.kill_data_plane()?;
    stage
        .patch(
            "web",
            json!({"spec": {"type": "ClusterIP", "loadBalancerClass": null}}),
        )
        .await?;
    stage.event("web", "SyncLoadBalancerFailed").await?;
    ensure!(
        is_ours(&stage.get("web").await?),
        "it went though the load balancer could not be deleted"
    );
    stage.world.start_data_plane().await?;
    stage
        .until("web", "our finalizer to go", |service| !is_ours(service))
        .await?;
    let left = stage.holding_of(&service).await?;
    ensure!(left.is_empty(), "it went before {left:?}");
    Ok(())
}

async fn back_again(stage: &mut Stage) -> Result<()> {
    let service = stage.serve("web", json!({})).await?;
    let first = stage.holding_of(&service).await?.generations();
    stage
        .patch(
            "web",
            json!({"spec": {"type": "ClusterIP", "loadBalancerClass": null}}),
        )
        .await?;
    stage
        .until("web", "our finalizer to go", |service| !is_ours(service))
        .await?;
    stage
        .patch(
            "web",
            json!({"spec": {"type": "LoadBalancer", "loadBalancerClass": OURS}}),
        )
        .await?;
    let service = stage.served("web").await?;
    ensure!(
        is_ours(&service) && !ips(&service).is_empty(),
        "{service:?}"
    );
    let second = stage.holding_of(&service).await?;
    // A generation never comes back.
    ensure!(
        second.ports() == [8080].into()
            && second.generations().values().min() > first.values().max(),
        "it is not a new one: {first:?}, {second:?}"
    );
    Ok(())
}

async fn lost(stage: &mut Stage) -> Result<()> {
    let service = stage.serve("web", json!({})).await?;
    let before = stage.holding_of(&service).await?.generations();
    stage
        .patch("web", json!({"metadata": {"finalizers": null}}))
        .await?;
    stage
        .until("web", "our finalizer to be back", is_ours)
        .await?;
    stage.event("web", "FinalizerLost").await?;
    stage.same(&service, &before).await
}
