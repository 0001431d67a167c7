//! The finalizer: there before the first cloud object, gone after the last.

use anyhow::{Context as _, Result, anyhow, ensure};
use evenkeel_e2e::look::LIMIT;
use evenkeel_harness::aws::{At, Fault};
use evenkeel_harness::wait::eventually;
use kube::ResourceExt as _;
use serde_json::json;

use crate::door::{Act, Gate};
use crate::row::{Row, row};
use crate::stage::{Stage, ips, is_ours};

/// A finalizer of somebody else.
const FOREIGN: &str = "example.com/hold";

pub(crate) const ROWS: &[Row] = &[
    row!(
        11,
        "create: no cloud object while the finalizer is on its way",
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
        14,
        "finalizer patch refused with 403, 409, 500: no cloud object, tried again",
        refused
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
        17,
        "no class, with a default provider: our own finalizer; the shared service.kubernetes.io/load-balancer-cleanup, which others strip, is not used",
        classless
    ),
    row!(
        18,
        "finalizer removed from a live Service: added again, Warning FinalizerLost",
        lost
    ),
];

async fn finalizer_first(stage: &mut Stage) -> Result<()> {
    let gate = Gate::default();
    let namespace = stage.namespace.clone();
    stage.door.next(1, Act::Hold(gate.clone()), move |call| {
        call.adds_finalizer(&namespace, "web")
    });
    let made = stage.create("web", json!({})).await?;
    tokio::time::timeout(LIMIT, gate.reached())
        .await
        .context("nobody adds the finalizer")?;
    // While it is on its way, whatever is done without it is done.
    stage.settle().await?;
    let holding = stage.holding_of(&made).await?;
    ensure!(
        holding.is_empty(),
        "without the finalizer there is {holding:?}"
    );
    let now = stage.get("web").await?;
    ensure!(
        !is_ours(&now) && ips(&now).is_empty(),
        "{:?}, {:?}",
        now.metadata,
        now.status
    );
    gate.open();
    stage.served("web").await?;
    Ok(())
}

async fn refused(stage: &mut Stage) -> Result<()> {
    let mut made = Vec::new();
    for (name, code) in [("forbidden", 403), ("conflict", 409), ("broken", 500)] {
        let namespace = stage.namespace.clone();
        stage.door.next(1, Act::Refuse(code), move |call| {
            call.adds_finalizer(&namespace, name)
        });
        made.push(stage.create(name, json!({})).await?);
    }
    eventually("the finalizers to be tried again", LIMIT, || async {
        let mut with = 0;
        for service in &made {
            let holding = stage.holding_of(service).await?;
            // Read after what there is: it has to be there first.
            let ours = is_ours(&stage.get(&service.name_any()).await?);
            if !ours && !holding.is_empty() {
                return Ok(Err(anyhow!("without the finalizer there is {holding:?}")));
            }
            with += usize::from(ours);
        }
        ensure!(with == made.len(), "{with} of {} have theirs", made.len());
        Ok(Ok(()))
    })
    .await??;
    let left = stage.door.left();
    ensure!(left == 0, "{left} were never refused");
    for service in &made {
        stage.served(&service.name_any()).await?;
    }
    Ok(())
}

async fn classless(stage: &mut Stage) -> Result<()> {
    stage.restart(true).await?;
    let service = stage
        .serve("plain", json!({"spec": {"loadBalancerClass": null}}))
        .await?;
    ensure!(
        service.finalizers() == [stage.ours()],
        "{:?}",
        service.finalizers()
    );
    Ok(())
}

async fn already_present(stage: &mut Stage) -> Result<()> {
    let service = stage
        .serve("web", json!({"metadata": {"finalizers": [stage.ours()]}}))
        .await?;
    ensure!(
        service.finalizers() == [stage.ours()],
        "{:?}",
        service.finalizers()
    );
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
        service.finalizers() == [FOREIGN, &*stage.ours()],
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
    let tries = format!(
        r#"evenkeel_reconcile_total{{provider="{}",result="retry"}}"#,
        stage.provider()
    );
    let failed = stage.world.metric(&tries).await?;
    let broken = stage.aws().map(|side| {
        // Twice, so that there is time to look before the third.
        let deletes = At::first("elbv2", "DeleteLoadBalancer").times(2);
        let later = Fault::answer("PriorRequestNotComplete", "refused by the row");
        side.aws.inject(&deletes, later)
    });
    if broken.is_none() {
        stage.kill_data_plane()?;
    }
    stage
        .patch(
            "web",
            json!({"spec": {"type": "ClusterIP", "loadBalancerClass": null}}),
        )
        .await?;
    eventually("a try that fails", LIMIT, || async {
        let now = stage.world.metric(&tries).await?;
        ensure!(now > failed, "{now} failed");
        Ok(())
    })
    .await?;
    ensure!(
        is_ours(&stage.get("web").await?),
        "it went though the load balancer could not be deleted"
    );
    if broken.is_none() {
        stage.world.start_data_plane().await?;
    }
    stage
        .until("web", "our finalizer to go", |service| !is_ours(service))
        .await?;
    if let Some(broken) = broken {
        broken.check(2).await?;
    }
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
            json!({"spec": {"type": "LoadBalancer", "loadBalancerClass": stage.ours()}}),
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
