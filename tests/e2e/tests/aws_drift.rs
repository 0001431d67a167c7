//! Drift on AWS: the real program, a real API server, and somebody who changes what a Service has by hand. It is repaired and told.

use anyhow::{Context as _, Result, ensure};
use evenkeel_e2e::aws::AwsWorld;
use evenkeel_e2e::look::LIMIT;
use evenkeel_harness::aws::drift::{Drift, Strangers, alike};
use evenkeel_harness::wait::eventually;
use kube::api::PostParams;
use serde_json::{Map, json};

const NAMESPACE: &str = "default";
const SERVICE: &str = "default/shop";

async fn create(world: &AwsWorld) -> Result<()> {
    let annotations = Drift::annotations().into_iter();
    let annotations: Map<_, _> = annotations
        .map(|(key, value)| (key.to_owned(), value.into()))
        .collect();
    let service = json!({
        "metadata": {"name": "shop", "annotations": annotations},
        "spec": {
            "type": "LoadBalancer",
            "loadBalancerClass": "evenkeel.dev/aws",
            "ports": [{"name": "http", "port": 80}, {"name": "https", "port": 443}],
        },
    });
    let services = world.world.services(NAMESPACE);
    let service = serde_json::from_value(service)?;
    services.create(&PostParams::default(), &service).await?;
    for (kind, status) in [("Serving", "True"), ("Provisioning", "False")] {
        let kind = format!("evenkeel.dev/{kind}");
        world
            .world
            .condition(NAMESPACE, "shop", &kind, status)
            .await?;
    }
    Ok(())
}

/// How many objects of a kind were found to differ.
async fn detected(world: &AwsWorld, kind: &str) -> Result<f64> {
    let of_kind = format!("evenkeel_drift_detected_total{{provider=\"aws\",kind=\"{kind}\"}}");
    world.world.metric(&of_kind).await
}

async fn is_repaired_and_told(world: &AwsWorld, drift: Drift) -> Result<()> {
    let (kind, id, field) = drift.tells();
    let was = alike(&world.aws.state().await?);
    let before = detected(world, kind).await?;
    drift.make(world.aws.client(), SERVICE, &world.site).await?;
    eventually("the metric and the repair", LIMIT, || async {
        let now = detected(world, kind).await?;
        ensure!(now > before, "{kind}: {now} after {before}");
        let state = world.aws.state().await?;
        ensure!(alike(&state) == was, "{state}");
        Ok(())
    })
    .await?;
    eventually("the event", LIMIT, || async {
        let events = world.world.events(NAMESPACE, "shop").await?;
        let tells = |note: &str| note.contains(&format!("{kind} {id}")) && note.contains(field);
        let told = events
            .iter()
            .any(|(reason, note)| reason == "DriftRepaired" && tells(note));
        ensure!(told, "{events:#?}");
        Ok(())
    })
    .await
}

/// Every Service is looked at once a second here, the region every four, and its tags every 24.
#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_changed_is_repaired_and_told() -> Result<()> {
    let world = AwsWorld::start(3, &["--resync", "1s"]).await?;
    create(&world).await?;
    Strangers::make(world.aws.client(), SERVICE, &world.site).await?;
    let strangers = Strangers::find(&world.aws.state().await?);
    for drift in Drift::ALL {
        // It takes two calls, between which the first is repaired.
        if drift == Drift::TargetGroupDeleted {
            continue;
        }
        is_repaired_and_told(&world, drift)
            .await
            .with_context(|| format!("{drift:?}\n{}", world.world.controller_log()))?;
        let now = Strangers::find(&world.aws.state().await?);
        ensure!(now == strangers, "{drift:?}: {now:#?} was {strangers:#?}");
    }
    let repaired = world.world.metric("evenkeel_drift_repaired_total").await?;
    ensure!(repaired >= 17.0, "{repaired}");
    let balancer = world
        .world
        .condition(NAMESPACE, "shop", "evenkeel.dev/Serving", "True");
    balancer.await?;
    world.stop().await
}
