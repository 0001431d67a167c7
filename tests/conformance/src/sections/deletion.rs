//! Type change and delete: everything is given back, and before the Service goes.

use anyhow::{Result, ensure};
use evenkeel_e2e::look::LIMIT;
use evenkeel_harness::wait::eventually;
use k8s_openapi::api::core::v1::{Namespace, Service};
use kube::api::DeleteParams;
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use crate::holding::Holding;
use crate::row::{Row, row};
use crate::stage::{PORT, Stage, conditions, ips, is_ours, node_port};

/// How many Services a namespace has when it goes.
const MANY: usize = 20;

pub(crate) const ROWS: &[Row] = &[
    row!(
        93,
        "LoadBalancer to ClusterIP: status empty at once, released, conditions gone, nodePort 0",
        to_cluster_ip
    ),
    row!(
        94,
        "LoadBalancer to NodePort, to ExternalName: released",
        to_others
    ),
    row!(
        95,
        "LoadBalancer to ClusterIP with source ranges kept: 422, load balancer untouched",
        ranges_kept
    ),
    row!(
        96,
        "delete: load balancer gone before the object disappears",
        deleted
    ),
    row!(
        97,
        "cloud delete fails: object stays Terminating, Warning, tried again after 5, 10, 20 s; then gone",
        failing_delete,
        toy: super::toy_life::deletes_fail
    ),
    row!(
        99,
        "load balancer already gone in the cloud: delete succeeds",
        already_gone
    ),
    row!(
        101,
        "delete with bad annotations: cleaned up all the same",
        bad_annotations
    ),
    row!(
        102,
        "namespace deleted with 20 Services: all cleaned up",
        namespace_deleted
    ),
    row!(
        103,
        "deleted before the first ensure finished: nothing left",
        at_once
    ),
    row!(
        104,
        "deleted with the finalizer forced off, same name created anew: a new load balancer, the old one reported and left alone",
        recreated
    ),
];

async fn released(stage: &Stage, patch: Value) -> Result<()> {
    let service = stage.serve("web", json!({})).await?;
    let patched = stage.patch("web", patch).await?;
    ensure!(
        ips(&patched).is_empty(),
        "the API server left {:?}",
        ips(&patched)
    );
    let now = stage
        .until("web", "the release", |service| !is_ours(service))
        .await?;
    ensure!(
        conditions(&now).is_empty() && ips(&now).is_empty(),
        "{:?}",
        now.status
    );
    let left = stage.holding_of(&service).await?;
    ensure!(left.is_empty(), "{left:?}");
    Ok(())
}

async fn to_cluster_ip(stage: &mut Stage) -> Result<()> {
    released(
        stage,
        json!({"spec": {"type": "ClusterIP", "loadBalancerClass": null}}),
    )
    .await?;
    let now = stage.get("web").await?;
    ensure!(
        node_port(&now, PORT).unwrap_or_default() == 0,
        "{:?}",
        now.spec
    );
    Ok(())
}

async fn to_others(stage: &mut Stage) -> Result<()> {
    released(
        stage,
        json!({"spec": {"type": "NodePort", "loadBalancerClass": null}}),
    )
    .await?;
    stage.delete("web").await?;
    stage.gone("web").await?;
    let alias = json!({"type": "ExternalName", "externalName": "example.com", "loadBalancerClass": null, "clusterIP": null, "clusterIPs": null});
    released(stage, json!({"spec": alias})).await
}

async fn ranges_kept(stage: &mut Stage) -> Result<()> {
    let service = stage
        .serve(
            "web",
            json!({"spec": {"loadBalancerSourceRanges": ["192.0.2.0/24"]}}),
        )
        .await?;
    let before = stage.holding_of(&service).await?.generations();
    stage
        .refused(
            "web",
            json!({"spec": {"type": "ClusterIP", "loadBalancerClass": null}}),
        )
        .await?;
    stage.settle().await?;
    stage.same(&service, &before).await?;
    ensure!(is_ours(&stage.get("web").await?));
    Ok(())
}

async fn deleted(stage: &mut Stage) -> Result<()> {
    let service = stage.serve("web", json!({})).await?;
    stage.delete("web").await?;
    stage.gone("web").await?;
    let left = stage.holding_of(&service).await?;
    ensure!(left.is_empty(), "the Service went before {left:?}");
    for reason in ["DeletingLoadBalancer", "DeletedLoadBalancer"] {
        stage.event("web", reason).await?;
    }
    Ok(())
}

async fn failing_delete(stage: &mut Stage) -> Result<()> {
    let service = stage.serve("web", json!({})).await?;
    stage.kill_data_plane()?;
    stage.delete("web").await?;
    // A provider that is away altogether is no event of every Service: its condition says it.
    stage.condition("web", "Degraded", "True").await?;
    let tries = r#"evenkeel_reconcile_total{provider="local",result="retry"}"#;
    let failed = stage.world.metric(tries).await?;
    eventually("another try", LIMIT, || async {
        let now = stage.world.metric(tries).await?;
        ensure!(now > failed, "{now} failed");
        Ok(())
    })
    .await?;
    let now = stage.get("web").await?;
    ensure!(
        is_ours(&now) && now.metadata.deletion_timestamp.is_some(),
        "{:?}",
        now.metadata
    );
    stage.world.start_data_plane().await?;
    stage.gone("web").await?;
    let left = stage.holding_of(&service).await?;
    ensure!(left.is_empty(), "the Service went before {left:?}");
    Ok(())
}

async fn already_gone(stage: &mut Stage) -> Result<()> {
    let service = stage.serve("web", json!({})).await?;
    let holding = stage.holding_of(&service).await?;
    stage.remove_objects(&holding).await?;
    ensure!(
        stage.holding_of(&service).await?.is_empty(),
        "they are still there"
    );
    stage.delete("web").await?;
    stage.gone("web").await
}

async fn bad_annotations(stage: &mut Stage) -> Result<()> {
    let service = stage.serve("web", json!({})).await?;
    let bad = json!({"evenkeel.dev/idle-timeout": "soon", "evenkeel.dev/static-address": "?", "evenkeel.dev/reclaim-policy": "Perhaps"});
    stage
        .patch("web", json!({"metadata": {"annotations": bad}}))
        .await?;
    stage.condition("web", "Degraded", "True").await?;
    ensure!(
        !stage.holding_of(&service).await?.is_empty(),
        "a broken annotation took it down"
    );
    stage.delete("web").await?;
    stage.gone("web").await?;
    let left = stage.holding_of(&service).await?;
    ensure!(left.is_empty(), "{left:?}");
    Ok(())
}

async fn namespace_deleted(stage: &mut Stage) -> Result<()> {
    let mut made = Vec::new();
    for number in 0..MANY {
        made.push(stage.create(&format!("web-{number}"), json!({})).await?);
    }
    for service in &made {
        stage.served(&service.name_any()).await?;
    }
    let namespaces: Api<Namespace> = Api::all(stage.world.client());
    namespaces
        .delete(&stage.namespace, &DeleteParams::default())
        .await?;
    for service in &made {
        stage.gone(&service.name_any()).await?;
        let left = stage.holding_of(service).await?;
        ensure!(left.is_empty(), "{} left {left:?}", service.name_any());
    }
    eventually("the namespace to go", LIMIT, || async {
        ensure!(
            namespaces.get_opt(&stage.namespace).await?.is_none(),
            "it is there"
        );
        Ok(())
    })
    .await
}

async fn at_once(stage: &mut Stage) -> Result<()> {
    let mut made = Vec::new();
    for number in 0..MANY {
        let name = format!("web-{number}");
        made.push(stage.create(&name, json!({})).await?);
        // Some go before anybody looked, others as soon as the finalizer is on them.
        if number % 2 == 1 {
            stage.until(&name, "the finalizer", is_ours).await?;
        }
        stage.delete(&name).await?;
    }
    for service in &made {
        stage.gone(&service.name_any()).await?;
    }
    stage.settle().await?;
    for service in &made {
        let left = stage.holding_of(service).await?;
        ensure!(left.is_empty(), "{} left {left:?}", service.name_any());
    }
    Ok(())
}

async fn recreated(stage: &mut Stage) -> Result<()> {
    let old = stage.serve("web", json!({})).await?;
    let left = stage.holding_of(&old).await?;
    stage.world.kill_controller()?;
    stage.delete("web").await?;
    stage
        .patch("web", json!({"metadata": {"finalizers": null}}))
        .await?;
    stage.gone("web").await?;
    stage.create("web", json!({})).await?;
    stage.world.start_controller().await?;
    let checked = beside_an_orphan(stage, &old, &left).await;
    // By hand, as the controller says.
    stage.remove_objects(&left).await?;
    checked
}

async fn beside_an_orphan(stage: &Stage, old: &Service, left: &Holding) -> Result<()> {
    let new = stage.served("web").await?;
    ensure!(
        new.uid() != old.uid() && ips(&new) != ips(old),
        "{:?}, {:?}",
        new.metadata,
        ips(&new)
    );
    let holding = stage.holding_of(&new).await?;
    ensure!(
        holding.ports() == [u64::from(PORT)].into() && holding.kind("leases").len() == 1,
        "{holding:?}"
    );
    let orphans = stage.world.metric("evenkeel_orphans").await?;
    ensure!(orphans == 1.0, "{orphans} are reported");
    let now = stage.holding_of(old).await?;
    ensure!(
        now.generations() == left.generations(),
        "the old one was touched: {now:?}"
    );
    Ok(())
}
