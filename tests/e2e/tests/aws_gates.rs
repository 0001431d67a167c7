//! Pods that wait at a readiness gate until AWS finds them healthy: the real program, a real API server with the real controllers of Deployments
//! and EndpointSlices, and an AWS whose clock the test moves.

use std::cell::Cell;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use evenkeel_e2e::aws::{AwsWorld, Kubelet};
use evenkeel_harness::control_plane::Options;
use evenkeel_harness::fake_aws::{FakeAws, Moment, Settings, Times};
use evenkeel_harness::wait::eventually;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, PodCondition};
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

const NAMESPACE: &str = "default";
const GATE: &str = "target-health.evenkeel.dev/shop";
const PREFIX: &str = "service.beta.kubernetes.io/aws-load-balancer";
const REPLICAS: usize = 2;

/// A rollout replaces pods one by one, each of which is found healthy some ten seconds after it came.
const LIMIT: Duration = Duration::from_secs(180);

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_is_ready_when_aws_finds_it_healthy() -> Result<()> {
    let settings = Settings {
        times: Times {
            registration: Duration::from_secs(30),
            health_checks: true,
            ..Times::none()
        },
        ..Settings::default()
    };
    let mut world = AwsWorld::on_fake(settings, Options::default(), 2).await?;
    let _kubelet = Kubelet::start(world.world.client(), NAMESPACE);
    world.world.start_controller().await?;
    pods_wait_until_they_are_healthy(&world)
        .await
        .with_context(|| world.world.controller_log())
        .context("first pods")?;
    a_rollout_waits_for_each(&mut world)
        .await
        .with_context(|| world.world.controller_log())
        .context("rollout")?;
    who_waits_for_nothing_is_let_go(&world)
        .await
        .with_context(|| world.world.controller_log())
        .context("deletion")?;
    world.stop().await
}

fn deployments(world: &AwsWorld) -> Api<Deployment> {
    Api::namespaced(world.world.client(), NAMESPACE)
}

fn fake(world: &AwsWorld) -> &FakeAws {
    world.aws.as_fake().expect("a fake")
}

/// The pods, the oldest first.
async fn pods(world: &AwsWorld) -> Result<Vec<Pod>> {
    let api: Api<Pod> = Api::namespaced(world.world.client(), NAMESPACE);
    let mut pods = api.list(&ListParams::default()).await?.items;
    pods.sort_by_key(|pod| {
        let status = pod.status.as_ref();
        status.and_then(|status| status.pod_ip.clone())
    });
    Ok(pods)
}

fn gate(pod: &Pod) -> Option<PodCondition> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|one| one.type_ == GATE).cloned()
}

/// Waits until the gates of the pods say this: their status and reason.
async fn gates(world: &AwsWorld, want: &[&str]) -> Result<()> {
    eventually(format!("the gates {want:?}"), LIMIT, || async {
        let pods = pods(world).await?;
        let told = |pod: &Pod| {
            let gate = gate(pod);
            gate.map_or("none".to_owned(), |gate| {
                format!("{} {}", gate.status, gate.reason.unwrap_or_default())
            })
        };
        let told: Vec<_> = pods.iter().map(told).collect();
        ensure!(told == want, "{told:?}");
        Ok(())
    })
    .await
}

async fn available(world: &AwsWorld) -> Result<()> {
    eventually("the Deployment to be there", LIMIT, || async {
        let found = deployments(world).get("shop").await?;
        let wanted = found.metadata.generation;
        let status = found.status.context("no status")?;
        let all = i32::try_from(REPLICAS)?;
        ensure!(
            status.observed_generation == wanted
                && status.updated_replicas == Some(all)
                && status.available_replicas == Some(all)
                && status.replicas == Some(all),
            "{status:?}"
        );
        Ok(())
    })
    .await
}

fn healthy(moment: &Moment<'_>) -> usize {
    let groups = moment.state.target_groups.values();
    groups.map(|group| moment.healthy(group)).sum()
}

async fn pods_wait_until_they_are_healthy(world: &AwsWorld) -> Result<()> {
    let annotation = |key: &str| format!("{PREFIX}-{key}");
    let service: Value = json!({
        "metadata": {"name": "shop", "annotations": {
            annotation("nlb-target-type"): "ip",
            annotation("healthcheck-interval"): "5",
            annotation("healthcheck-unhealthy-threshold"): "2",
        }},
        "spec": {
            "type": "LoadBalancer",
            "loadBalancerClass": "evenkeel.dev/aws",
            "allocateLoadBalancerNodePorts": false,
            "selector": {"app": "shop"},
            "ports": [{"name": "http", "port": 80, "targetPort": 8080}],
        },
    });
    let services = world.world.services(NAMESPACE);
    services
        .create(&PostParams::default(), &serde_json::from_value(service)?)
        .await?;
    let deployment = json!({
        "metadata": {"name": "shop"},
        "spec": {
            "replicas": REPLICAS,
            "selector": {"matchLabels": {"app": "shop"}},
            "strategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": {
                "metadata": {"labels": {"app": "shop"}},
                "spec": {
                    "nodeName": world.site.nodes[0].private_dns_name,
                    "readinessGates": [{"conditionType": GATE}],
                    "containers": [{"name": "web", "image": "web", "ports": [{"containerPort": 8080}]}],
                },
            },
        },
    });
    deployments(world)
        .create(&PostParams::default(), &serde_json::from_value(deployment)?)
        .await?;
    let waits = "False Elb.RegistrationInProgress";
    gates(world, &[waits, waits]).await?;
    // Whoever waits does not keep the Service from being done.
    let done = "evenkeel.dev/Provisioning";
    world
        .world
        .condition(NAMESPACE, "shop", done, "False")
        .await?;
    fake(world).advance(Duration::from_secs(31)).await;
    let waits = "False Elb.InitialHealthChecking";
    gates(world, &[waits, waits]).await?;
    fake(world).advance(Duration::from_secs(30)).await;
    gates(world, &["True Healthy", "True Healthy"]).await?;
    available(world).await
}

async fn a_rollout_waits_for_each(world: &mut AwsWorld) -> Result<()> {
    let patch = json!({"spec": {"template": {"metadata": {"annotations": {"version": "2"}}}}});
    deployments(world)
        .patch("shop", &PatchParams::default(), &Patch::Merge(patch))
        .await?;
    let waits = "False Elb.RegistrationInProgress";
    gates(world, &["True Healthy", "True Healthy", waits]).await?;
    world.world.kill_controller()?;
    world.world.start_controller().await?;
    let time = async {
        loop {
            fake(world).advance(Duration::from_secs(2)).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        done = available(world) => done?,
        () = time => {}
    }
    gates(world, &["True Healthy", "True Healthy"]).await?;
    let history = fake(world).history();
    let served = Cell::new(false);
    history.always("all of them healthy", |moment| {
        let all = healthy(moment) >= REPLICAS;
        served.set(served.get() || all);
        all || !served.get()
    })
}

async fn who_waits_for_nothing_is_let_go(world: &AwsWorld) -> Result<()> {
    let patch = json!({"spec": {"replicas": 3}});
    deployments(world)
        .patch("shop", &PatchParams::default(), &Patch::Merge(patch))
        .await?;
    let waits = "False Elb.RegistrationInProgress";
    gates(world, &["True Healthy", "True Healthy", waits]).await?;
    let services = world.world.services(NAMESPACE);
    services.delete("shop", &DeleteParams::default()).await?;
    gates(world, &["True Healthy", "True Healthy", "True NoTargets"]).await?;
    world.world.gone(NAMESPACE, "shop").await
}
