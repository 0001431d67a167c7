//! Create and status: what is published, and what of it is whose.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use evenkeel_e2e::look::{LIMIT, ingress};
use evenkeel_harness::wait::eventually;
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::door::{Act, Gate};
use crate::holding::Holding;
use crate::row::{Row, row};
use crate::stage::{PORT, Stage, address, conditions, has_condition, ips, is_ours, node_port};

pub(crate) const ROWS: &[Row] = &[
    row!(
        21,
        "address published: ipMode explicit, Proxy for NodePort mode",
        ip_mode
    ),
    row!(
        23,
        "second reconcile without a change: no status write, cloud write or event",
        second_reconcile
    ),
    row!(
        24,
        "ports[]: an entry per port and protocol, updated when the protocol changes",
        port_entries
    ),
    row!(
        27,
        "status patch answered with 409, 500: tried again; with 404: the Service is gone, nothing is left or told",
        refused
    ),
    row!(28, "somebody wipes the address: restored", wiped),
    row!(
        29,
        "somebody publishes a wrong address: restored",
        wrong_address
    ),
    row!(
        30,
        "foreign condition: survives every write of ours, also the release",
        foreign_condition
    ),
    row!(
        31,
        "slow cloud: within 30 s Provisioning=True and Serving=False",
        slow_cloud
    ),
    row!(
        32,
        "two with the same ports: distinct addresses, no cross-talk",
        two_of_them
    ),
];

async fn ip_mode(stage: &mut Stage) -> Result<()> {
    let service = stage.serve("web", json!({})).await?;
    let entries = ingress(&service);
    ensure!(
        entries.len() == 1 && entries[0].ip_mode.as_deref() == Some("Proxy"),
        "{entries:?}"
    );
    Ok(())
}

async fn second_reconcile(stage: &mut Stage) -> Result<()> {
    let service = stage.serve("web", json!({})).await?;
    let before = stage.holding_of(&service).await?.generations();
    stage.event("web", "EnsuredLoadBalancer").await?;
    let events = stage.events("web").await?;
    stage.world.kill_controller()?;
    stage.world.start_controller().await?;
    eventually("the Service to be looked at", LIMIT, || async {
        let runs = stage.world.metric("evenkeel_reconcile_total").await?;
        ensure!(runs >= 1.0, "{runs} runs");
        Ok(())
    })
    .await?;
    let writes = stage.world.metric("evenkeel_writes_total").await?;
    ensure!(writes == 0.0, "{writes} cloud writes");
    stage.settle().await?;
    let now = stage.get("web").await?;
    ensure!(
        now.resource_version() == service.resource_version(),
        "the Service was written: {now:?}"
    );
    stage.same(&service, &before).await?;
    let told = stage.events("web").await?;
    ensure!(told == events, "events were {events:?}, now {told:?}");
    Ok(())
}

/// Port, protocol and whether there is an error, of every entry of the only ingress.
fn entries(service: &Service) -> BTreeSet<(i32, String, bool)> {
    let ports = ingress(service).pop().and_then(|entry| entry.ports);
    ports
        .unwrap_or_default()
        .into_iter()
        .map(|port| (port.port, port.protocol, port.error.is_some()))
        .collect()
}

async fn port_entries(stage: &mut Stage) -> Result<()> {
    let ports = |second: Value| json!({"spec": {"ports": [{"name": "a", "port": PORT}, second]}});
    let service = stage
        .serve("web", ports(json!({"name": "b", "port": 8081})))
        .await?;
    let listed = ingress(&service).pop().and_then(|entry| entry.ports);
    ensure!(
        listed.map_or(0, |ports| ports.len()) == 2,
        "{:?}",
        ingress(&service)
    );
    let tcp = || "TCP".to_owned();
    let expected = BTreeSet::from([(8080, tcp(), false), (8081, tcp(), false)]);
    ensure!(entries(&service) == expected, "{:?}", entries(&service));
    // SCTP is not served here, and said so in the entry.
    stage
        .patch(
            "web",
            ports(json!({"name": "b", "port": 8081, "protocol": "SCTP"})),
        )
        .await?;
    let expected = BTreeSet::from([(8080, tcp(), false), (8081, "SCTP".to_owned(), true)]);
    stage
        .until("web", "the entry to change", |service| {
            entries(service) == expected
        })
        .await?;
    Ok(())
}

async fn refused(stage: &mut Stage) -> Result<()> {
    for (name, code) in [("conflict", 409), ("broken", 500)] {
        let namespace = stage.namespace.clone();
        stage.door.next(1, Act::Refuse(code), move |call| {
            call.publishes(&namespace, name)
        });
        stage.create(name, json!({})).await?;
    }
    for name in ["conflict", "broken"] {
        stage.served(name).await?;
    }
    let left = stage.door.left();
    ensure!(left == 0, "{left} were never refused");

    let (gate, namespace) = (Gate::default(), stage.namespace.clone());
    stage.door.next(1, Act::Hold(gate.clone()), move |call| {
        call.publishes(&namespace, "gone")
    });
    let gone = stage.create("gone", json!({})).await?;
    tokio::time::timeout(LIMIT, gate.reached())
        .await
        .context("nobody publishes an address")?;
    stage.delete("gone").await?;
    stage
        .patch("gone", json!({"metadata": {"finalizers": null}}))
        .await?;
    stage.gone("gone").await?;
    ensure!(
        !stage.holding_of(&gone).await?.is_empty(),
        "an address was to be published without a load balancer"
    );
    gate.open();
    stage
        .held(&gone, "nothing to be left", Holding::is_empty)
        .await?;
    let told = stage.events("gone").await?;
    ensure!(
        told.iter()
            .all(|(reason, _)| reason != "SyncLoadBalancerFailed"),
        "{told:?}"
    );
    Ok(())
}

async fn wiped(stage: &mut Stage) -> Result<()> {
    restored(stage, json!(null)).await
}

async fn wrong_address(stage: &mut Stage) -> Result<()> {
    restored(stage, json!({"ingress": [{"ip": "203.0.113.9"}]})).await
}

async fn restored(stage: &mut Stage, written: Value) -> Result<()> {
    let service = stage.serve("web", json!({})).await?;
    let before = stage.holding_of(&service).await?.generations();
    let published = ingress(&service);
    let edited = stage
        .patch_status("web", json!({"status": {"loadBalancer": written}}))
        .await?;
    ensure!(ingress(&edited) != published, "the edit was not stored");
    stage
        .until("web", "the address to be back", |service| {
            ingress(service) == published
        })
        .await?;
    stage.same(&service, &before).await
}

async fn foreign_condition(stage: &mut Stage) -> Result<()> {
    let service = stage.serve("web", json!({})).await?;
    let mut all = serde_json::to_value(conditions(&service))?;
    let foreign = json!({"type": "other.example/Ready", "status": "True", "reason": "R", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z"});
    all.as_array_mut().context("a list")?.push(foreign);
    stage
        .patch_status("web", json!({"status": {"conditions": all}}))
        .await?;
    // A write of ours: one more port.
    let ports =
        json!([{"name": "a", "port": PORT}, {"name": "b", "port": PORT, "protocol": "UDP"}]);
    stage
        .patch("web", json!({"spec": {"ports": ports}}))
        .await?;
    let is_there = |service: &Service| has_condition(service, "other.example/Ready", "True");
    let service = stage
        .until("web", "a write of ours", |service| {
            entries(service).len() == 2
        })
        .await?;
    ensure!(is_there(&service), "{:?}", conditions(&service));
    stage
        .patch(
            "web",
            json!({"spec": {"type": "ClusterIP", "loadBalancerClass": null}}),
        )
        .await?;
    let service = stage
        .until("web", "the release", |service| !is_ours(service))
        .await?;
    let left: Vec<_> = conditions(&service)
        .into_iter()
        .map(|one| one.type_)
        .collect();
    ensure!(left == ["other.example/Ready"], "{left:?}");
    Ok(())
}

async fn slow_cloud(stage: &mut Stage) -> Result<()> {
    let data_plane = stage.world.data_plane.as_ref().context("it runs")?;
    data_plane.pause()?;
    stage.create("web", json!({})).await?;
    let told = eventually(
        "the conditions",
        std::time::Duration::from_secs(30),
        || async {
            let service = stage.get("web").await?;
            ensure!(
                has_condition(&service, "evenkeel.dev/Provisioning", "True")
                    && has_condition(&service, "evenkeel.dev/Serving", "False"),
                "{:?}",
                conditions(&service)
            );
            Ok(())
        },
    )
    .await;
    data_plane.resume()?;
    told?;
    stage.served("web").await?;
    Ok(())
}

async fn two_of_them(stage: &mut Stage) -> Result<()> {
    let (one, two) = (stage.pods("one", 1).await?, stage.pods("two", 1).await?);
    let (first, second) = (
        stage.serve("one", json!({})).await?,
        stage.serve("two", json!({})).await?,
    );
    ensure!(ips(&first) != ips(&second), "both have {:?}", ips(&first));
    answered_by(stage, &first, &one).await?;
    answered_by(stage, &second, &two).await?;
    // What happens to one does not reach the other.
    let before = stage.holding_of(&second).await?.generations();
    stage.delete("one").await?;
    stage.gone("one").await?;
    stage.same(&second, &before).await?;
    answered_by(stage, &second, &two).await
}

/// Waits until a Service is answered by these pods only, where there are any; that its targets have its own node port alone.
async fn answered_by(stage: &Stage, service: &Service, pods: &BTreeSet<String>) -> Result<()> {
    let ports = stage.holding_of(service).await?.target_ports();
    let own = node_port(service, PORT).context("a node port")?;
    ensure!(
        ports == [u64::try_from(own)?].into(),
        "{ports:?}, not {own}"
    );
    if stage.aws().is_some() {
        return Ok(());
    }
    let to = address(service, PORT)?;
    stage.world.answered_by(to, pods).await?;
    Ok(())
}
