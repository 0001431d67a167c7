//! Races: what changes while we are at work. Every interleaving is forced, by calls that are held back.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use evenkeel_e2e::look::{LIMIT, ingress};
use evenkeel_harness::wait::eventually;
use evenkeel_laws::toys::own::cloud::Spec;
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt as _;
use kube::api::DeleteParams;
use serde_json::{Value, json};

use crate::door::{Act, Gate};
use crate::row::{Row, row};
use crate::stage::{PORT, has_condition, ips, node_port};
use crate::toy_stage::{ToyStage, writes_of};

pub(crate) const ROWS: &[Row] = &[
    row!(111, "type flips while the create is held, or while its status is written: released", toy: type_flips),
    row!(112, "LoadBalancer, ClusterIP, LoadBalancer within one reconcile: new node ports, status again", toy: there_and_back),
    row!(113, "the same to a foreign class: released, foreign status untouched", toy: to_another_class),
    row!(114, "deleted while the finalizer is being added: nothing is created", toy: deleted_first),
    row!(115, "two updates while one ensure runs: the last wins", toy: last_update_wins),
    row!(116, "freed nodePort given to another at once: old listener removed at once", toy: node_port_reused),
    row!(117, "foreign finalizer and address on our Service: OwnershipConflict, one write a minute", toy: tug_of_war),
];

fn cluster_ip() -> Value {
    json!({"spec": {"type": "ClusterIP", "loadBalancerClass": null}})
}

fn on_port(port: u16) -> Value {
    json!({"spec": {"ports": [{"name": "http", "port": port, "targetPort": "http"}]}})
}

/// Whether this port is published, and served.
fn serves(service: &Service, port: u16) -> bool {
    let ports = ingress(service).into_iter().filter_map(|entry| entry.ports);
    let ports: Vec<_> = ports.flatten().collect();
    matches!(ports.as_slice(), [one] if one.port == i32::from(port) && one.error.is_none())
}

async fn type_flips(stage: &mut ToyStage) -> Result<()> {
    stage.run();
    stage.tap.hold_where(writes_of("web"));
    let service = stage.create("web", json!({})).await?;
    stage.wrote(&service).await?;
    stage.patch("web", cluster_ip()).await?;
    stage.tap.hold_none();
    stage.released("web").await?;
    ensure!(
        stage.objects(&service).is_empty(),
        "{:?}",
        stage.objects(&service)
    );

    // The status is on its way when the type flips: the API server refuses it.
    let gate = Gate::default();
    let namespace = stage.namespace().to_owned();
    stage.door.next(1, Act::Hold(gate.clone()), move |call| {
        call.publishes(&namespace, "late")
    });
    let service = stage.create("late", json!({})).await?;
    tokio::time::timeout(LIMIT, gate.reached())
        .await
        .context("no address is published")?;
    stage.patch("late", cluster_ip()).await?;
    gate.open();
    stage.released("late").await?;
    ensure!(
        stage.objects(&service).is_empty(),
        "{:?}",
        stage.objects(&service)
    );
    for name in ["web", "late"] {
        let warnings = stage.warnings(name).await?;
        ensure!(warnings.is_empty(), "{name}: {warnings:?}");
    }
    Ok(())
}

async fn there_and_back(stage: &mut ToyStage) -> Result<()> {
    stage.run();
    let service = stage.serve("web", json!({})).await?;
    stage.tap.reset();
    stage.tap.hold_where(writes_of("web"));
    stage.patch("web", on_port(PORT + 1)).await?;
    stage.wrote(&service).await?;
    stage.patch("web", cluster_ip()).await?;
    // The node port that it had is somebody else's by now.
    let old = node_port(&service, PORT).context("a node port")?;
    let other = json!({"spec": {"type": "NodePort", "loadBalancerClass": null, "ports": [{"port": 1, "nodePort": old}]}});
    stage.create("taker", other).await?;
    let back = json!({"spec": {"type": "LoadBalancer", "loadBalancerClass": stage.finalizer()}});
    let back = stage.patch("web", back).await?;
    ensure!(
        ingress(&back).is_empty(),
        "the API server keeps {:?}",
        ingress(&back)
    );
    let new = node_port(&back, PORT + 1).context("a node port")?;
    ensure!(new != old, "it has the same node port");
    stage.tap.hold_none();
    stage
        .until("web", "the status to be published again", |service| {
            serves(service, PORT + 1)
        })
        .await?;
    stage.served("web").await?;
    eventually("the new node port alone", LIMIT, || async {
        let objects = stage.objects(&service);
        let used: Vec<_> = objects
            .iter()
            .filter_map(|object| match object.spec {
                Spec::TargetSet { node_port, .. } => Some(i32::from(node_port)),
                Spec::Address { .. } | Spec::Listener { .. } => None,
            })
            .collect();
        ensure!(used == [new], "{used:?}, not {new}");
        Ok(())
    })
    .await
}

async fn to_another_class(stage: &mut ToyStage) -> Result<()> {
    stage.run();
    let service = stage.serve("web", json!({})).await?;
    stage.tap.reset();
    stage.tap.hold_where(writes_of("web"));
    stage.patch("web", on_port(PORT + 1)).await?;
    stage.wrote(&service).await?;
    stage.patch("web", cluster_ip()).await?;
    let other = json!({"spec": {"type": "LoadBalancer", "loadBalancerClass": "example.com/lb"}});
    stage.patch("web", other).await?;
    let foreign = json!({"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}}});
    stage.patch_status("web", foreign).await?;
    stage.tap.hold_none();
    let now = stage
        .until("web", "our hand to be off", |service| {
            service.finalizers().is_empty()
        })
        .await?;
    ensure!(ips(&now) == ["203.0.113.1"], "{:?}", now.status);
    ensure!(
        stage.objects(&service).is_empty(),
        "{:?}",
        stage.objects(&service)
    );
    stage.settle().await?;
    let now = stage.get("web").await?;
    ensure!(ips(&now) == ["203.0.113.1"], "{:?}", now.status);
    Ok(())
}

async fn deleted_first(stage: &mut ToyStage) -> Result<()> {
    stage.run();
    let gate = Gate::default();
    let namespace = stage.namespace().to_owned();
    stage.door.next(1, Act::Hold(gate.clone()), move |call| {
        call.adds_finalizer(&namespace, "web")
    });
    // Somebody else's finalizer keeps it, so that ours is refused and not merely late.
    let kept = json!({"metadata": {"finalizers": ["example.com/kept"]}});
    let service = stage.create("web", kept).await?;
    tokio::time::timeout(LIMIT, gate.reached())
        .await
        .context("no finalizer is added")?;
    stage.delete("web").await?;
    gate.open();
    stage.settle().await?;
    let now = stage.get("web").await?;
    ensure!(
        now.finalizers() == ["example.com/kept"],
        "{:?}",
        now.finalizers()
    );
    ensure!(
        stage.writes(&service).is_empty() && stage.objects(&service).is_empty(),
        "{:?}",
        stage.calls(&service)
    );
    // Without a finalizer it is gone when ours arrives.
    let gate = Gate::default();
    let namespace = stage.namespace().to_owned();
    stage.door.next(1, Act::Hold(gate.clone()), move |call| {
        call.adds_finalizer(&namespace, "bare")
    });
    let service = stage.create("bare", json!({})).await?;
    tokio::time::timeout(LIMIT, gate.reached())
        .await
        .context("no finalizer is added")?;
    stage.delete("bare").await?;
    stage.gone("bare").await?;
    gate.open();
    stage.settle().await?;
    ensure!(
        stage.writes(&service).is_empty() && stage.objects(&service).is_empty(),
        "{:?}",
        stage.calls(&service)
    );
    Ok(())
}

async fn last_update_wins(stage: &mut ToyStage) -> Result<()> {
    stage.run();
    stage.tap.hold_where(writes_of("web"));
    let service = stage.create("web", json!({})).await?;
    stage.wrote(&service).await?;
    for port in [PORT + 1, PORT + 2] {
        stage.patch("web", on_port(port)).await?;
    }
    stage.tap.hold_none();
    stage
        .until("web", "the last port", |service| serves(service, PORT + 2))
        .await?;
    stage.served("web").await?;
    ensure!(
        stage.count(&service, "listener") == 1,
        "{:?}",
        stage.objects(&service)
    );
    Ok(())
}

async fn node_port_reused(stage: &mut ToyStage) -> Result<()> {
    stage.run();
    let old = stage.serve("old", json!({})).await?;
    let stuck = stage.serve("stuck", json!({})).await?;
    let port = node_port(&old, PORT).context("a node port")?;
    // Whoever hangs holds up nobody.
    stage.tap.reset();
    stage.tap.hold_where(writes_of("stuck"));
    stage.patch("stuck", on_port(PORT + 1)).await?;
    stage.wrote(&stuck).await?;
    // The release begins with the listener; the successor's first write comes after that.
    stage.patch("old", cluster_ip()).await?;
    let taken = json!({"spec": {"ports": [{"name": "http", "port": PORT, "targetPort": "http", "nodePort": port}]}});
    let new = stage.serve("new", taken).await?;
    ensure!(node_port(&new, PORT) == Some(port));
    stage.released("old").await?;
    ensure!(stage.objects(&old).is_empty(), "{:?}", stage.objects(&old));
    let writes = stage.tap.writes();
    let place = |operation: &str, target: &str| {
        writes.iter().position(|call| {
            call.operation == operation
                && call.target.starts_with(target)
                && call.target.contains("listener")
        })
    };
    let gone = place("Delete", "ek-old-").context("its listener stays")?;
    let made = place("Create", "ek-new-").context("no new listener")?;
    ensure!(
        gone < made,
        "the old listener went after the new one came: {writes:?}"
    );
    ensure!(
        stage.count(&new, "target set") == 1,
        "{:?}",
        stage.objects(&new)
    );
    Ok(())
}

async fn tug_of_war(stage: &mut ToyStage) -> Result<()> {
    stage.run();
    let service = stage.serve("web", json!({})).await?;
    let finalizers =
        json!({"metadata": {"finalizers": [stage.finalizer(), "service.k8s.aws/resources"]}});
    stage.patch("web", finalizers).await?;
    let theirs = |n: usize| json!({"status": {"loadBalancer": {"ingress": [{"ip": format!("203.0.113.{n}")}]}}});
    let ours = ips(&service);
    // The first time it is made good at once.
    stage.patch_status("web", theirs(1)).await?;
    stage
        .until("web", "our address", |service| ips(service) == ours)
        .await?;
    // Whoever goes on is told of, and not fought.
    let mark = stage.door.mark();
    for n in 2..=6 {
        stage.patch_status("web", theirs(n)).await?;
        stage.settle().await?;
    }
    let note = stage.event("web", "OwnershipConflict").await?;
    ensure!(note.contains("status"), "{note}");
    let now = stage.get("web").await?;
    ensure!(ips(&now) == ["203.0.113.6"], "{:?}", ips(&now));
    let written = |since: usize| {
        let calls = stage.door.since(since);
        let namespace = stage.namespace();
        calls
            .iter()
            .filter(|call| call.publishes(namespace, "web"))
            .count()
    };
    ensure!(written(mark) == 0, "{} writes in a minute", written(mark));
    stage.clock.put_forward(Duration::from_secs(61));
    stage
        .until("web", "our address after a minute", |service| {
            ips(service) == ours
        })
        .await?;
    ensure!(written(mark) == 1, "{} writes", written(mark));
    let now = stage.served("web").await?;
    ensure!(
        now.finalizers()
            .contains(&"service.k8s.aws/resources".to_owned())
            && has_condition(&now, "evenkeel.dev/Serving", "True"),
        "{:?}",
        now.metadata
    );
    // It is deleted as any other; the foreign finalizer is not ours to take.
    stage
        .services()
        .delete("web", &DeleteParams::default())
        .await?;
    let foreign = ["service.k8s.aws/resources".to_owned()];
    stage
        .until("web", "our finalizer to go", |service| {
            service.finalizers() == foreign
        })
        .await?;
    ensure!(
        stage.objects(&service).is_empty(),
        "{:?}",
        stage.objects(&service)
    );
    Ok(())
}
