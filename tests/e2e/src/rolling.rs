//! Nodes and pods that are replaced under load, as operators and Deployments do it. Writes: the API server, the pool of nodes.
//!
//! A node: the new one is there before the old one is cordoned and drained; then it is excluded, or its object deleted; when nothing goes
//! through it any more the machine goes. A pod: by the Deployment's rolling update, the new one ready first; the old one goes on
//! serving for a while after it was asked to end, as an application with a `preStop` hook does.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use evenkeel_harness::control_plane::ControlPlane;
use evenkeel_harness::kubectl::Kubectl;
use evenkeel_harness::nodes::{NodesKind, NodesOptions, SHUTDOWN_DELAY_ANNOTATION};
use evenkeel_harness::progress::Progress;
use evenkeel_harness::wait::eventually;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::load::{Load, Report};
use crate::look::LIMIT;
use crate::{World, WorldOptions};

const NAMESPACE: &str = "default";

/// How long a pod goes on serving after it was asked to end. With policy Local nobody but the health check says that a node has no
/// pod any more: two probes, a second each, and the time that they take.
const PRE_STOP: Duration = Duration::from_secs(5);

/// Connections that are held all the time.
const STREAMS: usize = 5;

/// How much is replaced, and under which load.
#[derive(Clone, Copy, Debug)]
pub struct Rolling {
    /// Nodes that are replaced.
    pub nodes: usize,
    /// How many of them at a time.
    pub nodes_at_once: usize,
    /// Rolling updates of the Deployment, each of which replaces all its pods.
    pub rollouts: usize,
    /// Requests per second, half of them for each policy.
    pub per_second: u32,
}

/// The replicas that roll; there are as many nodes for them, one of which stays.
const REPLICAS: usize = 3;

/// The node that stays, and holds the pod that the streams go to.
const STEADY_NODE: &str = "node-1";

struct Scene {
    world: World,
    kubectl: Kubectl,
    load: Load,
    /// The nodes that may go, the oldest first.
    rolling: VecDeque<String>,
    /// The number of the newest node.
    newest: usize,
    nodes_replaced: usize,
    rollouts_done: usize,
}

/// Replaces all of it, with a controller that dies half-way through the nodes and a data plane that is upgraded half-way through the rolling
/// updates, and tells what clients saw.
///
/// # Errors
/// When something cannot be replaced: with what was waited for.
pub async fn replace_under_load(asked: Rolling) -> Result<Report> {
    let mut scene = Scene::start(asked).await?;
    while scene.nodes_replaced < asked.nodes {
        let before = scene.nodes_replaced;
        let batch = asked.nodes_at_once.min(asked.nodes - before);
        let middle = (before..before + batch).contains(&(asked.nodes / 2));
        scene
            .replace_nodes(batch, middle)
            .await
            .with_context(|| format!("nodes, {before} of {} replaced", asked.nodes))?;
    }
    while scene.rollouts_done < asked.rollouts {
        let number = scene.rollouts_done;
        scene
            .roll_out(number == asked.rollouts / 2)
            .await
            .with_context(|| format!("rolling update {number} of {}", asked.rollouts))?;
    }
    let Scene { world, load, .. } = scene;
    let report = load.stop().await;
    world.stop().await?;
    Ok(report)
}

impl Scene {
    async fn start(asked: Rolling) -> Result<Self> {
        let nodes = NodesOptions {
            kind: NodesKind::Namespaces,
            count: 1 + REPLICAS,
            ..NodesOptions::default()
        };
        let world = World::start(WorldOptions {
            nodes: Some(nodes),
            run: ["--node-debounce", "500ms"].map(str::to_owned).into(),
            ..WorldOptions::default()
        })
        .await?;
        let kubectl = kubectl(&world.plane).await?;
        let rolling = (2..=1 + REPLICAS).map(|n| format!("node-{n}")).collect();
        let scene = Self {
            world,
            kubectl,
            load: Load::default(),
            rolling,
            newest: 1 + REPLICAS,
            nodes_replaced: 0,
            rollouts_done: 0,
        };
        scene.deploy("steady", 1, Some(STEADY_NODE)).await?;
        scene.run_kubectl(&["cordon", STEADY_NODE]).await?;
        scene.deploy("web", REPLICAS, None).await?;
        let steady = scene.serve("steady", "steady", "Local").await?;
        let cluster = scene.serve("cluster", "web", "Cluster").await?;
        let local = scene.serve("local", "web", "Local").await?;
        scene.load.event("start");
        scene.load.streams("streams", steady, STREAMS);
        scene
            .load
            .requests("policy Cluster", cluster, asked.per_second / 2);
        scene
            .load
            .requests("policy Local", local, asked.per_second / 2);
        Ok(scene)
    }

    /// Pods that end as applications should: they go on serving until nobody sends them anything.
    async fn deploy(&self, name: &str, replicas: usize, node: Option<&str>) -> Result<()> {
        let deployments: Api<Deployment> = Api::namespaced(self.world.client(), NAMESPACE);
        let labels = json!({"app": name});
        let annotations = json!({SHUTDOWN_DELAY_ANNOTATION: PRE_STOP.as_millis().to_string()});
        let mut deployment = json!({
            "metadata": {"name": name},
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": labels},
                "strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
                "template": {
                    "metadata": {"labels": labels, "annotations": annotations},
                    "spec": {"containers": [{"name": "web", "image": "web", "ports": [{"name": "http", "containerPort": 8080}]}]},
                },
            },
        });
        if let Some(node) = node {
            deployment["spec"]["template"]["spec"]["nodeSelector"] =
                json!({"kubernetes.io/hostname": node});
        }
        let deployment = serde_json::from_value(deployment)?;
        deployments
            .create(&PostParams::default(), &deployment)
            .await?;
        let label = format!("app={name}");
        self.world
            .await_ready_pods(NAMESPACE, &label, replicas)
            .await?;
        Ok(())
    }

    /// Makes a Service, and waits until it answers through its address.
    async fn serve(&self, name: &str, app: &str, policy: &str) -> Result<SocketAddr> {
        let service = json!({
            "metadata": {"name": name, "annotations": {"evenkeel.dev/drain": "5s"}},
            "spec": {
                "type": "LoadBalancer",
                "loadBalancerClass": "evenkeel.dev/local",
                "externalTrafficPolicy": policy,
                "selector": {"app": app},
                "ports": [{"port": 80, "targetPort": "http"}],
            },
        });
        let service: Service = serde_json::from_value(service)?;
        let services = self.world.services(NAMESPACE);
        services.create(&PostParams::default(), &service).await?;
        let address = self.world.address(NAMESPACE, name, 80).await?;
        let pods = self
            .world
            .ready_pods(NAMESPACE, &format!("app={app}"))
            .await?;
        self.world.answered_by(address, &pods).await?;
        Ok(address)
    }

    /// Replaces the oldest nodes.
    async fn replace_nodes(&mut self, count: usize, controller_dies: bool) -> Result<()> {
        let new: Vec<String> = (1..=count)
            .map(|n| format!("node-{}", self.newest + n))
            .collect();
        self.newest += count;
        let old: Vec<String> = self.rolling.drain(..count).collect();
        self.load
            .event(format!("{} come for {}", new.join(", "), old.join(", ")));
        let nodes = self.world.nodes()?;
        futures::future::try_join_all(new.iter().map(|name| nodes.add_node(name))).await?;
        self.rolling.extend(new);

        self.load.event(format!("{} are drained", old.join(", ")));
        for name in &old {
            self.run_kubectl(&["cordon", name]).await?;
        }
        futures::future::try_join_all(old.iter().map(|name| self.drain(name))).await?;

        if controller_dies {
            self.load.event("the controller is killed");
            self.world.kill_controller()?;
        }
        // Most leave by a label, some with their object. Were it more of them, most of all nodes would vanish within a minute, which
        // the controller takes for a fault of the control plane.
        let delete = self.nodes_replaced / count % 10 == 1;
        for name in &old {
            self.load.event(format!(
                "{name} is {}",
                if delete { "deleted" } else { "excluded" }
            ));
            let excluded = "node.kubernetes.io/exclude-from-external-load-balancers=";
            let args = match delete {
                true => vec!["delete", "node", name],
                false => vec!["label", "node", name, excluded],
            };
            self.run_kubectl(&args).await?;
        }
        if controller_dies {
            self.world.start_controller().await?;
            self.load.event("the controller is back");
        }
        self.await_no_connection_through(&old).await?;
        for name in &old {
            self.load.event(format!("the machine of {name} goes"));
            self.world.nodes()?.remove_node(name).await?;
        }
        self.nodes_replaced += count;
        Ok(())
    }

    async fn drain(&self, node: &str) -> Result<()> {
        self.run_kubectl(&["drain", node, "--ignore-daemonsets"])
            .await
    }

    /// Waits until nodes are no targets and have no connection left that drains.
    async fn await_no_connection_through(&self, nodes: &[String]) -> Result<()> {
        eventually("the nodes to have drained", LIMIT, || async {
            let objects = self.world.objects().await?;
            let sets = objects["backend_sets"].as_array().context("no sets")?;
            for set in sets {
                let named = |list: &Value| {
                    let targets = list.as_array().into_iter().flatten();
                    targets
                        .filter_map(|target| target["node"].as_str())
                        .find(|name| nodes.iter().any(|node| node == name))
                        .map(str::to_owned)
                };
                let (still, drains) = (
                    named(&set["spec"]["targets"]),
                    named(&set["status"]["draining"]),
                );
                ensure!(still.is_none(), "{still:?} is a target of {}", set["name"]);
                ensure!(drains.is_none(), "{drains:?} drains in {}", set["name"]);
            }
            Ok(())
        })
        .await
        .with_context(|| self.world.controller_log())
    }

    /// Replaces all pods, as `kubectl rollout restart` does.
    async fn roll_out(&mut self, data_plane_is_upgraded: bool) -> Result<()> {
        self.rollouts_done += 1;
        self.load
            .event(format!("rolling update {}", self.rollouts_done));
        let deployments: Api<Deployment> = Api::namespaced(self.world.client(), NAMESPACE);
        let again = json!({"kubectl.kubernetes.io/restartedAt": self.rollouts_done.to_string()});
        let patch = json!({"spec": {"template": {"metadata": {"annotations": again}}}});
        let patched = deployments
            .patch("web", &PatchParams::default(), &Patch::Merge(patch))
            .await?;
        let generation = patched.metadata.generation;
        if data_plane_is_upgraded {
            self.load.event("the data plane is upgraded");
            self.world.upgrade_data_plane().await?;
            self.load.event("the new data plane answers");
        }
        let all = i32::try_from(REPLICAS)?;
        eventually("the rolling update to be done", LIMIT, || async {
            let status = deployments.get("web").await?.status.context("no status")?;
            ensure!(status.observed_generation >= generation, "not yet seen");
            ensure!(status.updated_replicas == Some(all), "{status:?}");
            ensure!(status.available_replicas == Some(all), "{status:?}");
            ensure!(status.replicas == Some(all), "{status:?}");
            Ok(())
        })
        .await?;
        // With policy Local a node that has nothing but ending pods goes on getting traffic until its health check has failed twice. Were
        // its next pod asked to end before the last one is gone, kube-proxy would choose between the two, and one of them ends now.
        let pods: Api<Pod> = Api::namespaced(self.world.client(), NAMESPACE);
        let web = ListParams::default().labels("app=web");
        eventually("the old pods to be gone", LIMIT, || async {
            let left = pods.list(&web).await?.items.len();
            ensure!(left == REPLICAS, "there are {left}");
            Ok(())
        })
        .await
    }

    async fn run_kubectl(&self, args: &[&str]) -> Result<()> {
        self.kubectl.run(args).await?.ok()?;
        Ok(())
    }
}

async fn kubectl(plane: &ControlPlane) -> Result<Kubectl> {
    Kubectl::new(plane, NAMESPACE, Progress::new()).await
}
