//! Claiming: whose Service is it.

use anyhow::{Result, ensure};
use evenkeel_harness::wait::eventually;
use kube::ResourceExt as _;
use serde_json::json;
use std::time::Duration;
use tokio::time::Instant;

use crate::row::{Row, row};
use crate::stage::{Stage, ips, is_ours};

pub(crate) const ROWS: &[Row] = &[
    row!(
        1,
        "class ours: finalizer, load balancer, address published",
        our_class
    ),
    row!(
        2,
        "foreign class: no call, finalizer, event or status write for 10 s",
        foreign_class
    ),
    row!(
        3,
        "no class: ignored without a default provider, claimed with one",
        no_class
    ),
    row!(
        4,
        "foreign class: its address, condition and annotation untouched",
        foreign_status
    ),
    row!(
        5,
        "class changed while LoadBalancer: 422, no cloud call",
        class_changed
    ),
    row!(
        6,
        "class set on a class-less LoadBalancer: 422, load balancer untouched",
        class_set
    ),
    row!(7, "class differs in case only: ignored", class_case),
    row!(
        8,
        "ClusterIP, NodePort, ExternalName: zero writes and calls",
        other_types
    ),
    row!(
        9,
        "no selector and no EndpointSlice: provisioned all the same",
        no_selector
    ),
    row!(
        10,
        "selector matches nothing: provisioned, address published",
        no_pods
    ),
];

async fn our_class(stage: &mut Stage) -> Result<()> {
    let service = stage.serve("web", json!({})).await?;
    ensure!(is_ours(&service), "finalizers {:?}", service.finalizers());
    let holding = stage.holding_of(&service).await?;
    let lease = holding.only("leases")?["status"]["address"].clone();
    ensure!(
        json!(ips(&service)) == json!([lease]),
        "published {:?}, leased {lease}",
        ips(&service)
    );
    ensure!(
        holding.ports() == [8080].into() && !holding.targets().is_empty(),
        "{holding:?}"
    );
    Ok(())
}

async fn foreign_class(stage: &mut Stage) -> Result<()> {
    let made = stage
        .create(
            "foreign",
            json!({"spec": {"loadBalancerClass": "example.com/lb"}}),
        )
        .await?;
    let end = Instant::now() + Duration::from_secs(10);
    eventually(
        "ten seconds without a trace",
        Duration::from_secs(30),
        || async {
            // The outer error ends the waiting at once.
            let seen = stage.untouched(&made).await;
            ensure!(seen.is_err() || Instant::now() >= end, "they are not over");
            Ok(seen)
        },
    )
    .await?
}

async fn no_class(stage: &mut Stage) -> Result<()> {
    let made = stage
        .create("plain", json!({"spec": {"loadBalancerClass": null}}))
        .await?;
    stage.settle().await?;
    stage.untouched(&made).await?;
    stage.restart(true).await?;
    let service = stage.served("plain").await?;
    ensure!(is_ours(&service), "finalizers {:?}", service.finalizers());
    Ok(())
}

async fn foreign_status(stage: &mut Stage) -> Result<()> {
    stage
        .create(
            "foreign",
            json!({"spec": {"loadBalancerClass": "example.com/lb"}}),
        )
        .await?;
    let written = stage
        .patch_status(
            "foreign",
            json!({
                "metadata": {"annotations": {"example.com/state": "busy"}},
                "status": {
                    "loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]},
                    "conditions": [{"type": "example.com/Ready", "status": "True", "reason": "R", "message": "",
                        "lastTransitionTime": "2026-01-01T00:00:00Z"}],
                },
            }),
        )
        .await?;
    stage.settle().await?;
    stage.untouched(&written).await?;
    let now = stage.get("foreign").await?;
    ensure!(
        ips(&now) == ["203.0.113.1"] && now.annotations()["example.com/state"] == "busy",
        "{now:?}"
    );
    Ok(())
}

async fn class_changed(stage: &mut Stage) -> Result<()> {
    let service = stage.serve("web", json!({})).await?;
    let before = stage.holding_of(&service).await?.generations();
    for class in [json!("example.com/lb"), json!(null)] {
        stage
            .refused("web", json!({"spec": {"loadBalancerClass": class}}))
            .await?;
    }
    stage.settle().await?;
    stage.same(&service, &before).await
}

async fn class_set(stage: &mut Stage) -> Result<()> {
    stage.restart(true).await?;
    let service = stage
        .serve("plain", json!({"spec": {"loadBalancerClass": null}}))
        .await?;
    let before = stage.holding_of(&service).await?.generations();
    for class in [&*stage.ours(), "example.com/lb"] {
        stage
            .refused("plain", json!({"spec": {"loadBalancerClass": class}}))
            .await?;
    }
    stage.settle().await?;
    stage.same(&service, &before).await
}

async fn class_case(stage: &mut Stage) -> Result<()> {
    let made = stage
        .create(
            "loud",
            json!({"spec": {"loadBalancerClass": format!("evenkeel.dev/{}", stage.provider().to_uppercase())}}),
        )
        .await?;
    stage.settle().await?;
    stage.untouched(&made).await
}

async fn other_types(stage: &mut Stage) -> Result<()> {
    let mut made = Vec::new();
    for (name, type_) in [("inside", "ClusterIP"), ("ports", "NodePort")] {
        let spec = json!({"type": type_, "loadBalancerClass": null});
        made.push(stage.create(name, json!({"spec": spec})).await?);
    }
    let spec =
        json!({"type": "ExternalName", "externalName": "example.com", "loadBalancerClass": null});
    made.push(stage.create("alias", json!({"spec": spec})).await?);
    stage.settle().await?;
    for service in &made {
        stage.untouched(service).await?;
    }
    Ok(())
}

async fn no_selector(stage: &mut Stage) -> Result<()> {
    let service = stage
        .serve("manual", json!({"spec": {"selector": null}}))
        .await?;
    let holding = stage.holding_of(&service).await?;
    ensure!(
        holding.ports() == [8080].into() && !ips(&service).is_empty(),
        "{holding:?}"
    );
    Ok(())
}

async fn no_pods(stage: &mut Stage) -> Result<()> {
    let service = stage
        .serve("lonely", json!({"spec": {"selector": {"app": "nobody"}}}))
        .await?;
    let holding = stage.holding_of(&service).await?;
    ensure!(
        holding.ports() == [8080].into() && !ips(&service).is_empty(),
        "{holding:?}"
    );
    Ok(())
}
