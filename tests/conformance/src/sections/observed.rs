//! What can be seen from outside: events, permissions, metrics.

use anyhow::{Context as _, Result, ensure};
use evenkeel_e2e::look::LIMIT;
use evenkeel_harness::wait::eventually;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::events::v1::Event;
use kube::api::{ListParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::json;

use crate::account::{NAMESPACE, USER, documented};
use crate::door::Access;
use crate::row::{Row, row};
use crate::stage::{PORT, Stage, ips};

/// The events of a Service that comes and goes.
const LIFE: [&str; 4] = [
    "EnsuringLoadBalancer",
    "EnsuredLoadBalancer",
    "DeletingLoadBalancer",
    "DeletedLoadBalancer",
];

pub(crate) const ROWS: &[Row] = &[
    row!(
        123,
        "full life cycle: events Ensuring, Ensured, Deleting, Deleted, in this order",
        life_cycle
    ),
    row!(
        125,
        "every permission beyond the documented ones denied: all rows so far passed with these, and asked for no other",
        permissions
    ),
    row!(
        126,
        "metrics: no Service name in a label, states add up to the number of Services",
        metrics
    ),
];

async fn life_cycle(stage: &mut Stage) -> Result<()> {
    stage.serve("web", json!({})).await?;
    stage.event("web", LIFE[1]).await?;
    stage.delete("web").await?;
    stage.gone("web").await?;
    stage.event("web", LIFE[3]).await?;
    let events: Api<Event> = Api::namespaced(stage.world.client(), &stage.namespace);
    let mut told: Vec<_> = events
        .list(&ListParams::default())
        .await?
        .into_iter()
        .filter_map(|event| {
            let about = event.regarding.as_ref()?.name.as_deref() == Some("web");
            Some((event.event_time?.0, event.reason?)).filter(|_| about)
        })
        .collect();
    told.sort();
    let order: Vec<_> = told
        .iter()
        .map(|(_, reason)| reason.as_str())
        .filter(|reason| LIFE.contains(reason))
        .collect();
    ensure!(order == LIFE, "{told:?}");
    Ok(())
}

/// Whether the API server lets the controller do something.
async fn may(stage: &Stage, access: &Access) -> Result<bool> {
    let (resource, subresource) = match access.resource.split_once('/') {
        Some((resource, sub)) => (resource, Some(sub)),
        None => (access.resource.as_str(), None),
    };
    let review: SubjectAccessReview = serde_json::from_value(json!({
        "metadata": {},
        "spec": {
            "user": USER,
            "groups": ["system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"],
            "resourceAttributes": {
                "verb": access.verb,
                "group": access.group,
                "resource": resource,
                "subresource": subresource,
                "name": access.name,
                "namespace": access.namespace,
            },
        },
    }))?;
    let reviews: Api<SubjectAccessReview> = Api::all(stage.world.client());
    let answer = reviews.create(&PostParams::default(), &review).await?;
    Ok(answer.status.context("no answer")?.allowed)
}

/// Much that a controller could want, and might be given by accident: in every namespace, in this one, and in its own.
fn conceivable(namespace: &str) -> Vec<Access> {
    let verbs = [
        "get",
        "list",
        "watch",
        "create",
        "update",
        "patch",
        "delete",
        "deletecollection",
    ];
    let resources = [
        ("", "services", "web"),
        ("", "services/status", "web"),
        ("", "nodes", "node-1"),
        ("", "nodes/status", "node-1"),
        ("", "namespaces", "default"),
        ("", "namespaces", "kube-system"),
        ("", "pods", "web"),
        ("", "pods/status", "web"),
        ("", "endpoints", "web"),
        ("", "secrets", "evenkeel"),
        ("", "configmaps", "evenkeel"),
        ("", "configmaps", "other"),
        ("", "events", "web"),
        ("", "serviceaccounts/token", "evenkeel"),
        ("events.k8s.io", "events", "web"),
        ("discovery.k8s.io", "endpointslices", "web"),
        ("coordination.k8s.io", "leases", "evenkeel"),
        ("coordination.k8s.io", "leases", "other"),
        ("rbac.authorization.k8s.io", "clusterroles", "evenkeel"),
    ];
    let mut all = Vec::new();
    for (group, resource, name) in resources {
        for (verb, namespace, name) in verbs
            .iter()
            .flat_map(|verb| ["", namespace, NAMESPACE].map(|namespace| (verb, namespace)))
            .flat_map(|(verb, namespace)| ["", name].map(|name| (*verb, namespace, name)))
        {
            all.push(Access {
                verb,
                group: group.to_owned(),
                resource: resource.to_owned(),
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            });
        }
    }
    all
}

async fn permissions(stage: &mut Stage) -> Result<()> {
    let documented = documented();
    let covered = |access: &Access| {
        documented
            .iter()
            .any(|permission| permission.covers(access))
    };
    let conceivable = conceivable(&stage.namespace);
    let (stage, asks) = (&*stage, conceivable.iter());
    let allowed: Vec<(&Access, bool)> = stream::iter(asks)
        .map(|access| async move { anyhow::Ok((access, may(stage, access).await?)) })
        .buffered(8)
        .try_collect()
        .await?;
    let wrong: Vec<_> = allowed
        .iter()
        .filter(|(access, allowed)| *allowed != covered(access))
        .collect();
    ensure!(
        wrong.is_empty(),
        "what the book says and what is allowed differ: {wrong:?}"
    );
    ensure!(
        allowed.iter().any(|(_, allowed)| *allowed),
        "nothing is allowed"
    );

    stage.serve("web", json!({})).await?;
    let ports = json!([{"name": "http", "port": PORT + 1, "targetPort": "http"}]);
    let service = stage
        .patch("web", json!({"spec": {"ports": ports}}))
        .await?;
    stage
        .held(&service, "the listener to move", |holding| {
            holding.ports() == [u64::from(PORT + 1)].into()
        })
        .await?;
    stage.delete("web").await?;
    stage.gone("web").await?;
    stage.event("web", LIFE[3]).await?;
    let accesses = stage.door.accesses();
    let beyond: Vec<_> = accesses.iter().filter(|access| !covered(access)).collect();
    ensure!(beyond.is_empty(), "it asked for {beyond:?}");
    ensure!(
        accesses.len() >= 5,
        "the controller goes another way: {accesses:?}"
    );
    Ok(())
}

async fn metrics(stage: &mut Stage) -> Result<()> {
    let broken = json!({"metadata": {"annotations": {"evenkeel.dev/idle-timeout": "soon"}}});
    let served = [
        stage.serve("alpha-served", json!({})).await?,
        stage.serve("beta-broken-later", json!({})).await?,
    ];
    stage.patch("beta-broken-later", broken.clone()).await?;
    stage
        .condition("beta-broken-later", "Degraded", "True")
        .await?;
    let rejected = stage.create("gamma-rejected", broken).await?;
    stage
        .condition("gamma-rejected", "Degraded", "True")
        .await?;
    // Not one of ours.
    stage
        .create(
            "delta",
            json!({"spec": {"loadBalancerClass": "example.com/lb"}}),
        )
        .await?;
    stage.settle().await?;
    eventually("the states to add up to 3 Services", LIMIT, || async {
        let all = stage.world.metric("evenkeel_services{").await?;
        ensure!(all == 3.0, "they add up to {all}");
        Ok(())
    })
    .await?;
    for (state, expected) in [("active", 1.0), ("releasing", 0.0)] {
        let series = format!(
            r#"evenkeel_services{{provider="{}",state="{state}"}}"#,
            stage.provider()
        );
        let seen = stage.world.metric(&series).await?;
        ensure!(seen == expected, "{seen} are {state}");
    }
    let (status, text) = stage.world.get("/metrics").await?;
    ensure!(
        status == 200 && text.contains("evenkeel_services{"),
        "{text}"
    );
    let mut secret = vec![stage.namespace.clone(), "delta".to_owned()];
    for service in served.iter().chain([&rejected]) {
        secret.push(service.name_any());
        secret.extend(service.uid());
        secret.extend(ips(service));
    }
    // What a data plane counts is by Service: that is what it is for.
    let lines = || {
        text.lines()
            .filter(|line| !line.starts_with("evenkeel_dataplane_"))
    };
    for word in &secret {
        let line = lines().find(|line| line.contains(word.as_str()));
        ensure!(line.is_none(), "{word} stands in {line:?}");
    }
    Ok(())
}
