//! Bad and odd input.

use anyhow::{Context as _, Result, ensure};
use evenkeel_core::annotation::reference;
use kube::ResourceExt as _;
use serde_json::{Map, json};

use crate::etcd;
use crate::row::{Row, row};
use crate::stage::{PORT, Stage, ips};

pub(crate) const ROWS: &[Row] = &[
    row!(
        118,
        "old stored object without policy, class, ipFamilies: taken as Cluster, no class, of the clusterIP's family",
        old_object
    ),
    row!(
        120,
        "garbage in every annotation: all bad keys named at once, deletion unaffected",
        garbage
    ),
    row!(
        121,
        "name that starts with a digit, name and namespace of 63 characters: valid cloud names",
        names
    ),
    row!(
        122,
        "unknown field in the spec: ignored, never written",
        unknown_field
    ),
];

async fn garbage(stage: &mut Stage) -> Result<()> {
    let service = stage.serve("web", json!({})).await?;
    let before = stage.holding_of(&service).await?.generations();
    // A map takes any text with a `=`, a name any word; a blank in the middle is wrong everywhere.
    let keys: Vec<_> = reference().map(|doc| doc.key).collect();
    ensure!(keys.len() > 10, "{keys:?}");
    let bad: Map<_, _> = keys
        .iter()
        .map(|key| ((*key).to_owned(), json!("? ?")))
        .collect();
    stage
        .patch("web", json!({"metadata": {"annotations": bad}}))
        .await?;
    let told = stage.condition("web", "Degraded", "True").await?;
    let unnamed: Vec<_> = keys
        .iter()
        .filter(|key| !told.message.contains(**key))
        .collect();
    ensure!(unnamed.is_empty(), "{unnamed:?} are not named in: {told}");
    stage.same(&service, &before).await?;
    stage.delete("web").await?;
    stage.gone("web").await
}

async fn names(stage: &mut Stage) -> Result<()> {
    // `-` and six digits are added.
    let long = stage.world.plane.namespace(&"n".repeat(56)).await?;
    ensure!(long.name().len() == 63, "{}", long.name());
    let short = std::mem::replace(&mut stage.namespace, long.name().to_owned());
    let checked = long_names(stage).await;
    let cleared = stage.clear(checked.is_ok()).await;
    stage.namespace = short;
    checked.and(cleared)
}

async fn long_names(stage: &Stage) -> Result<()> {
    let digit = stage.serve("1st-shop", json!({})).await?;
    let long = stage.serve(&"x".repeat(63), json!({})).await?;
    for service in [&digit, &long] {
        let holding = stage.holding_of(service).await?;
        let name = service.name_any();
        ensure!(
            holding.ports() == [8080].into() && !ips(service).is_empty(),
            "{name}: {holding:?}"
        );
    }
    ensure!(ips(&digit) != ips(&long), "both have {:?}", ips(&long));
    Ok(())
}

async fn old_object(stage: &mut Stage) -> Result<()> {
    let spec = json!({"loadBalancerClass": null});
    let stored = stage.create("old", json!({"spec": spec})).await?;
    let mut old = serde_json::to_value(&stored)?;
    old["apiVersion"] = json!("v1");
    old["kind"] = json!("Service");
    let meta = old["metadata"].as_object_mut().context("metadata")?;
    // The version is the one that etcd gives it.
    for field in ["resourceVersion", "managedFields"] {
        meta.remove(field);
    }
    let fields = [
        "externalTrafficPolicy",
        "internalTrafficPolicy",
        "ipFamilies",
        "ipFamilyPolicy",
        "clusterIPs",
        "allocateLoadBalancerNodePorts",
    ];
    let spec = old["spec"].as_object_mut().context("a spec")?;
    for field in fields {
        spec.remove(field);
    }
    let key = format!("/registry/services/specs/{}/old", stage.namespace);
    etcd::put(stage.world.plane.etcd_address(), &key, &old).await?;
    // This API server fills in what is missing when it reads; an old one hands out what it has.
    stage.door.rewrite(&[
        (r#""externalTrafficPolicy":"Cluster","#, ""),
        (r#""ipFamilies":["IPv4"],"#, ""),
        (r#""ipFamilyPolicy":"SingleStack","#, ""),
    ]);
    stage.restart(true).await?;
    let service = stage.served("old").await?;
    ensure!(
        stage.door.rewritten() > 0,
        "the controller saw a complete object"
    );
    let holding = stage.holding_of(&service).await?;
    ensure!(
        holding.ports() == [u64::from(PORT)].into() && holding.health_check()?["port"] == 10256,
        "{holding:?}"
    );
    let families: Vec<_> = ips(&service).iter().map(|ip| ip.contains('.')).collect();
    ensure!(families == [true], "{:?}", ips(&service));
    stage.delete("old").await?;
    stage.gone("old").await?;
    let left = stage.holding_of(&service).await?;
    ensure!(left.is_empty(), "{left:?}");
    Ok(())
}

async fn unknown_field(stage: &mut Stage) -> Result<()> {
    let mark = stage.door.mark();
    // As an API server of a later version would show it.
    stage.door.rewrite(&[(
        r#""type":"LoadBalancer""#,
        r#""type":"LoadBalancer","evenkeelsFuture":{"mode":"Steady"}"#,
    )]);
    stage.serve("web", json!({})).await?;
    ensure!(stage.door.rewritten() > 0, "the controller never saw it");
    let ports = json!([{"name": "http", "port": PORT + 1, "targetPort": "http"}]);
    let service = stage
        .patch("web", json!({"spec": {"ports": ports}}))
        .await?;
    stage
        .held(&service, "the listener to move", |holding| {
            holding.ports() == [u64::from(PORT + 1)].into()
        })
        .await?;
    stage.served("web").await?;
    stage.delete("web").await?;
    stage.gone("web").await?;
    let path = format!("/namespaces/{}/services/web", stage.namespace);
    let writes: Vec<_> = stage
        .door
        .since(mark)
        .into_iter()
        .filter(|call| call.is_write() && call.path.contains(&path))
        .collect();
    ensure!(writes.len() >= 3, "only {writes:?}");
    for call in &writes {
        ensure!(
            call.path.ends_with("/status")
                && !call.body.contains("spec")
                && !call.body.contains("evenkeelsFuture"),
            "{call:?}"
        );
    }
    Ok(())
}
