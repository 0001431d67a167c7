//! Traffic of policy Local, and while pods come and go.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use evenkeel_e2e::look::LIMIT;
use evenkeel_harness::nodes::{Origin, PodAnswer, SHUTDOWN_DELAY_ANNOTATION};
use evenkeel_harness::wait::eventually;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::net::UdpSocket;
use tokio::time::Instant;

use crate::row::{Row, row};
use crate::stage::{PORT, Stage, address};

/// Pods that are replaced, and how often all of them are.
const REPLICAS: usize = 3;
const ROLLOUTS: usize = 2;
/// How long a pod serves after it was told to end. Longer than the probes of policy Local, one a second, need to see two failures.
const SHUTDOWN: Duration = Duration::from_secs(6);
/// What of all requests has to be answered while pods are replaced.
const ANSWERED: f64 = 0.95;
/// How long nobody may probe: several times the interval of the probes.
const QUIET: Duration = Duration::from_secs(5);

pub(crate) const ROWS: &[Row] = &[
    row!(
        65,
        "Local, a pod on 1 of 3 nodes, moved around: exactly that node is healthy, traffic reaches it",
        moving_pod
    ),
    row!(
        66,
        "Local, pods on 2 of 3 nodes: repeated connections reach both",
        two_pods
    ),
    row!(
        67,
        "after the release nothing probes the old healthCheckNodePort",
        no_more_probes
    ),
    row!(
        68,
        "UDP, fixed client port, backend moves: new backend reached",
        moving_datagrams
    ),
    row!(
        69,
        "rolling updates, both policies: at least 95 % of requests answered",
        rolling_update
    ),
];

fn local() -> Value {
    json!({"spec": {"externalTrafficPolicy": "Local"}})
}

/// A pod of the Service's on a node.
pub(super) async fn pod_on(stage: &Stage, name: &str, app: &str, node: &str) -> Result<()> {
    let port = json!({"name": "http", "containerPort": 8080});
    serving_pod_on(stage, name, app, node, port).await
}

/// The same, for UDP.
async fn udp_pod_on(stage: &Stage, name: &str, app: &str, node: &str) -> Result<()> {
    let port = json!({"containerPort": 8080, "protocol": "UDP"});
    serving_pod_on(stage, name, app, node, port).await
}

async fn serving_pod_on(
    stage: &Stage,
    name: &str,
    app: &str,
    node: &str,
    port: Value,
) -> Result<()> {
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": name, "labels": {"app": app}},
        "spec": {
            "nodeName": node,
            "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "web", "image": "web", "ports": [port]}],
        },
    }))?;
    let pods: Api<Pod> = Api::namespaced(stage.world.client(), &stage.namespace);
    pods.create(&PostParams::default(), &pod).await?;
    Ok(())
}

/// Waits until the data plane calls exactly these nodes healthy for a Service.
async fn healthy(stage: &Stage, service: &Service, nodes: &BTreeSet<String>) -> Result<()> {
    stage
        .held(service, &format!("{nodes:?} to be healthy"), |holding| {
            holding.healthy_nodes() == *nodes
        })
        .await?;
    Ok(())
}

/// Every one of many requests is answered, and all of these nodes answer, and no other.
async fn answered_on(stage: &Stage, to: SocketAddr, nodes: &BTreeSet<String>) -> Result<()> {
    let mut seen = BTreeSet::new();
    for _ in 0..10 * nodes.len() {
        seen.insert(stage.world.ask(to).await?.node);
    }
    ensure!(seen == *nodes, "{seen:?} answer, pods are on {nodes:?}");
    Ok(())
}

async fn moving_pod(stage: &mut Stage) -> Result<()> {
    let service = stage.serve("web", local()).await?;
    let to = address(&service, PORT)?;
    let nodes = stage.world.nodes()?.nodes();
    ensure!(nodes.len() == 3, "{nodes:?}");
    let pods: Api<Pod> = Api::namespaced(stage.world.client(), &stage.namespace);
    // Back to the first one, too.
    for (number, node) in nodes.iter().chain(&nodes[..1]).enumerate() {
        pod_on(stage, &format!("pod-{number}"), "web", node).await?;
        if let Some(before) = number.checked_sub(1) {
            pods.delete(&format!("pod-{before}"), &DeleteParams::default())
                .await?;
        }
        let only = BTreeSet::from([node.clone()]);
        healthy(stage, &service, &only).await?;
        answered_on(stage, to, &only)
            .await
            .with_context(|| format!("pod on {node}"))?;
        // And it stays so: the next two probes of each node say the same.
        let end = Instant::now() + Duration::from_secs(2);
        eventually("two more probes", LIMIT, || async {
            let seen = stage.holding_of(&service).await?.healthy_nodes();
            if seen != only {
                return Ok(Err(anyhow::anyhow!("{seen:?} became healthy")));
            }
            ensure!(Instant::now() >= end, "they are not over");
            Ok(Ok(()))
        })
        .await??;
    }
    Ok(())
}

async fn two_pods(stage: &mut Stage) -> Result<()> {
    let service = stage.serve("web", local()).await?;
    let nodes: BTreeSet<_> = stage.world.nodes()?.nodes().into_iter().take(2).collect();
    for node in &nodes {
        pod_on(stage, node, "web", node).await?;
    }
    healthy(stage, &service, &nodes).await?;
    answered_on(stage, address(&service, PORT)?, &nodes).await
}

/// How often somebody connects to a port of a node that nobody serves any more.
async fn connections(stage: &Stage, node: &str, port: u16, during: Duration) -> Result<usize> {
    let nodes = stage.world.nodes()?;
    let address = SocketAddr::new(nodes.node_address(node)?, port);
    let origin = Origin::Node(node.to_owned());
    let listener = eventually("the port to be free", LIMIT, || async {
        Ok(nodes.listen(&origin, address)?)
    })
    .await?;
    let mut seen = 0;
    let end = Instant::now() + during;
    while let Ok(accepted) = tokio::time::timeout_at(end, listener.accept()).await {
        accepted?;
        seen += 1;
    }
    Ok(seen)
}

async fn no_more_probes(stage: &mut Stage) -> Result<()> {
    let service = stage.serve("web", local()).await?;
    let port = service
        .spec
        .as_ref()
        .and_then(|spec| spec.health_check_node_port)
        .context("a health check port")?;
    let port = u16::try_from(port)?;
    let node = stage.world.nodes()?.nodes().pop().context("a node")?;
    pod_on(stage, "pod", "web", &node).await?;
    // It was probed: somebody found the pod.
    healthy(stage, &service, &[node.clone()].into()).await?;
    stage
        .patch(
            "web",
            json!({"spec": {"type": "ClusterIP", "loadBalancerClass": null, "externalTrafficPolicy": null}}),
        )
        .await?;
    stage
        .until("web", "the release", |service| {
            !crate::stage::is_ours(service)
        })
        .await?;
    let seen = connections(stage, &node, port, QUIET).await?;
    ensure!(seen == 0, "{node}:{port} was probed {seen} times");
    Ok(())
}

/// The pod that a client's datagram reaches. A datagram may be lost on its way, which is the client's to repeat.
async fn heard_by(socket: &UdpSocket) -> Result<PodAnswer> {
    socket.send(b"hello").await?;
    let mut buffer = [0; 512];
    let length = tokio::time::timeout(Duration::from_secs(1), socket.recv(&mut buffer)).await??;
    let text = String::from_utf8_lossy(&buffer[..length]);
    PodAnswer::parse(&text).with_context(|| format!("not a pod's answer: {text}"))
}

/// The only pod goes to another node, and is then replaced on its node; the client never changes its port. Both policies.
async fn moving_datagrams(stage: &mut Stage) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(stage.world.client(), &stage.namespace);
    for (name, policy) in [("cluster", "Cluster"), ("local", "Local")] {
        let spec = json!({"spec": {
            "externalTrafficPolicy": policy,
            "selector": {"app": name},
            "ports": [{"name": "dns", "port": PORT, "protocol": "UDP", "targetPort": 8080}],
        }});
        let service = stage.serve(name, spec).await?;
        let nodes = stage.world.nodes()?.nodes();
        let client = stage
            .world
            .nodes()?
            .connect_udp(&Origin::Here, address(&service, PORT)?)
            .await?;
        for (number, node) in [&nodes[0], &nodes[1], &nodes[1]].into_iter().enumerate() {
            let pod = format!("{name}-{number}");
            udp_pod_on(stage, &pod, name, node).await?;
            if let Some(before) = number.checked_sub(1) {
                pods.delete(&format!("{name}-{before}"), &DeleteParams::default())
                    .await?;
            }
            eventually(format!("{pod} on {node} to answer"), LIMIT, || async {
                let answer = heard_by(&client).await?;
                ensure!(
                    (&answer.pod, &answer.node) == (&pod, node),
                    "{answer:?} answered"
                );
                Ok(())
            })
            .await?;
        }
    }
    Ok(())
}

/// Pods that serve on for a while after they were told to end, as a `preStop` hook has them do.
async fn roll(stage: &Stage, revision: usize) -> Result<()> {
    let deployments: Api<Deployment> = Api::namespaced(stage.world.client(), &stage.namespace);
    let labels = json!({"app": "web"});
    let deployment = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {
            "replicas": REPLICAS,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {
                    "labels": labels,
                    "annotations": {
                        SHUTDOWN_DELAY_ANNOTATION: SHUTDOWN.as_millis().to_string(),
                        "example.com/revision": revision.to_string(),
                    },
                },
                "spec": {
                    "terminationGracePeriodSeconds": 60,
                    "containers": [{"name": "web", "image": "web", "ports": [{"name": "http", "containerPort": 8080}]}],
                },
            },
        },
    });
    let parameters = PatchParams::apply("evenkeel-tests").force();
    let written = deployments
        .patch("web", &parameters, &Patch::Apply(deployment))
        .await?;
    let generation = written.metadata.generation;
    let pods: Api<Pod> = Api::namespaced(stage.world.client(), &stage.namespace);
    eventually("the rollout", LIMIT, || async {
        let status = deployments.get("web").await?.status.unwrap_or_default();
        let all = i32::try_from(REPLICAS)?;
        ensure!(
            status.observed_generation >= generation
                && status.updated_replicas == Some(all)
                && status.available_replicas == Some(all)
                && status.replicas == Some(all),
            "{status:?}"
        );
        // Those that were replaced have ended, too.
        let there = pods.list(&Default::default()).await?.items.len();
        ensure!(there == REPLICAS, "there are {there} pods");
        Ok(())
    })
    .await
}

/// Asks again and again, on a new connection each time: how many requests there were, and what went wrong.
async fn ask_until(stage: &Stage, to: SocketAddr, over: &AtomicBool) -> (usize, Vec<String>) {
    let (mut asked, mut failed) = (0, Vec::new());
    while !over.load(Ordering::Relaxed) {
        asked += 1;
        if let Err(error) = stage.world.ask(to).await {
            failed.push(format!("{error:#}"));
        }
    }
    (asked, failed)
}

async fn rolling_update(stage: &mut Stage) -> Result<()> {
    roll(stage, 0).await?;
    let selector = json!({"app": "web"});
    let mut addresses = Vec::new();
    for policy in ["Local", "Cluster"] {
        let spec = json!({"spec": {"externalTrafficPolicy": policy, "selector": selector}});
        let service = stage.serve(&policy.to_lowercase(), spec).await?;
        let to = address(&service, PORT)?;
        eventually("an answer", LIMIT, || stage.world.ask(to)).await?;
        addresses.push((policy, to));
    }
    let (stage, over) = (&*stage, AtomicBool::new(false));
    let rollouts = async {
        let mut ended = Ok(());
        for revision in 1..=ROLLOUTS {
            ended = ended.and(roll(stage, revision).await);
        }
        over.store(true, Ordering::Relaxed);
        ended
    };
    let asks = addresses.iter().map(|(_, to)| ask_until(stage, *to, &over));
    let (ended, asked) = tokio::join!(rollouts, futures::future::join_all(asks));
    ended?;
    for ((policy, _), (asked, failed)) in addresses.iter().zip(asked) {
        ensure!(asked > 200, "{policy}: only {asked} requests");
        let answered = 1.0 - failed.len() as f64 / asked as f64;
        ensure!(
            answered >= ANSWERED,
            "{policy}: {} of {asked} requests failed, first with {:?}",
            failed.len(),
            failed.first()
        );
    }
    Ok(())
}
