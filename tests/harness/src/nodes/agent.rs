//! Does for the pods of a pool what scheduler, kubelet and pod garbage collector do in a cluster. Reads: Pods, Nodes. Writes: both, and servers.
//!
//! One task looks at everything whenever something changed; [`super::decide`] says what to do; each action runs in a task of its own
//! and reports what came of it. What fails is forgotten, and decided again shortly after.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::Notify;

use super::decide::{Action, Known, World, candidates, decide};
use super::mirror::Mirror;
use super::network::Network;
use super::objects::{container_ports, node_name, running, shutdown_delay_ms};
use super::pod_server::{Identity, PodServer};

/// How long after a failure the pool looks again.
const RETRY: Duration = Duration::from_millis(200);

/// What the agent and the pool's methods share.
pub(crate) struct Agent {
    pub(crate) client: Client,
    pub(crate) network: Arc<dyn Network>,
    pub(crate) changed: Arc<Notify>,
    state: Mutex<State>,
}

#[derive(Default)]
pub(crate) struct State {
    /// The pool's nodes and their addresses.
    pub(crate) nodes: BTreeMap<String, Vec<IpAddr>>,
    /// Nodes that are gone, whose pods have to go.
    pub(crate) removed: BTreeSet<String>,
    /// UIDs of pods that a test made unready.
    pub(crate) unready: BTreeSet<String>,
    known: BTreeMap<String, Known>,
    serving: BTreeMap<String, Serving>,
}

/// A pod that runs. Dropping it cuts its connections, but leaves its addresses.
struct Serving {
    node: String,
    ips: Vec<IpAddr>,
    server: PodServer,
}

impl Agent {
    pub(crate) fn new(client: Client, network: Arc<dyn Network>) -> Self {
        Self {
            client,
            network,
            changed: Arc::default(),
            state: Mutex::default(),
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Works until aborted.
    pub(crate) async fn run(self: Arc<Self>) {
        let pods = Mirror::<Pod>::start(&self.client, &self.changed);
        let nodes = Mirror::<Node>::start(&self.client, &self.changed);
        // Both end only with the mirrors, which live as long as this task.
        let _ = tokio::join!(
            pods.store().wait_until_ready(),
            nodes.store().wait_until_ready()
        );
        self.changed.notify_one();
        loop {
            self.changed.notified().await;
            self.look(&pods.store().state(), &nodes.store().state());
        }
    }

    fn look(self: &Arc<Self>, pods: &[Arc<Pod>], nodes: &[Arc<Node>]) {
        let mut guard = self.state();
        let state = &mut *guard;
        let known = state.known.clone();
        let ours = state.nodes.keys().cloned().collect();
        let world = World {
            pods: &pods.iter().map(AsRef::as_ref).collect::<Vec<_>>(),
            nodes: &nodes.iter().map(AsRef::as_ref).collect::<Vec<_>>(),
            ours: &ours,
            removed: &state.removed,
            unready: &state.unready,
            known: &known,
        };
        let mut candidates = candidates(&world);
        let actions = decide(&world, &mut candidates);
        let mut forgotten = Vec::new();
        for action in actions {
            match action {
                Action::Bind { pod, node } => {
                    let node = node.to_owned();
                    self.begin(&mut state.known, pod, |agent, pod| async move {
                        agent.bind(&pod, &node).await?;
                        Ok(Known::Bound { node })
                    });
                }
                Action::Start { pod, ready } => {
                    self.begin(&mut state.known, pod, move |agent, pod| async move {
                        agent.start(&pod, ready).await?;
                        Ok(Known::Serving { ready })
                    })
                }
                Action::Report { pod, ready } => {
                    let ips = state
                        .serving
                        .get(uid(pod))
                        .map(|s| s.ips.clone())
                        .unwrap_or_default();
                    self.begin(&mut state.known, pod, move |agent, pod| async move {
                        agent.report(&pod, &ips, ready).await?;
                        Ok(Known::Serving { ready })
                    });
                }
                Action::Stop { pod } => {
                    let serving = state.serving.remove(uid(pod));
                    self.begin(&mut state.known, pod, move |agent, pod| async move {
                        if let Some(serving) = serving {
                            tokio::time::sleep(Duration::from_millis(shutdown_delay_ms(&pod)))
                                .await;
                            agent.stop(serving).await;
                        }
                        agent.delete(&pod).await?;
                        Ok(Known::Deleted)
                    });
                }
                Action::Abandon { pod } => {
                    drop(state.serving.remove(uid(pod)));
                    self.begin(&mut state.known, pod, move |agent, pod| async move {
                        agent.delete(&pod).await?;
                        Ok(Known::Deleted)
                    });
                }
                Action::Forget { uid } => forgotten.push(uid.to_owned()),
            }
        }
        for uid in forgotten {
            state.known.remove(&uid);
            state.unready.remove(&uid);
            if let Some(serving) = state.serving.remove(&uid) {
                let agent = self.clone();
                tokio::spawn(async move { agent.stop(serving).await });
            }
        }
    }

    /// Runs an action in a task; what it returns is what is known about the pod from then on.
    fn begin<W, F>(self: &Arc<Self>, known: &mut BTreeMap<String, Known>, pod: &Pod, work: W)
    where
        W: FnOnce(Arc<Self>, Arc<Pod>) -> F,
        F: Future<Output = anyhow::Result<Known>> + Send + 'static,
    {
        let uid = uid(pod).to_owned();
        let before = known.insert(uid.clone(), Known::Busy);
        let name = pod.metadata.name.clone().unwrap_or_default();
        let agent = self.clone();
        let work = work(self.clone(), Arc::new(pod.clone()));
        tokio::spawn(async move {
            let after = match work.await {
                Ok(after) => Some(after),
                Err(error) => {
                    tracing::debug!(pod = name, "will be tried again: {error:#}");
                    tokio::time::sleep(RETRY).await;
                    before
                }
            };
            {
                let mut state = agent.state();
                match after {
                    Some(after) => state.known.insert(uid, after),
                    None => state.known.remove(&uid),
                };
            }
            agent.changed.notify_one();
        });
    }

    fn pods(&self, pod: &Pod) -> Api<Pod> {
        Api::namespaced(
            self.client.clone(),
            pod.metadata.namespace.as_deref().unwrap_or_default(),
        )
    }

    async fn bind(&self, pod: &Pod, node: &str) -> anyhow::Result<()> {
        let name = name(pod);
        let binding = json!({
            "apiVersion": "v1", "kind": "Binding",
            "metadata": {"name": name, "namespace": pod.metadata.namespace, "uid": pod.metadata.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        });
        let (pods, parameters) = (self.pods(pod), PostParams::default());
        let bound =
            pods.create_subresource::<_, serde_json::Value>("binding", name, &parameters, &binding);
        bound.await.map(drop).context("bind")
    }

    async fn start(&self, pod: &Pod, ready: bool) -> anyhow::Result<()> {
        let node = node_name(pod).unwrap_or_default().to_owned();
        let network = self
            .network
            .add_pod(&node, &container_ports(pod))
            .await
            .context("network")?;
        let identity = Identity {
            pod: name(pod).to_owned(),
            node: node.clone(),
        };
        let server = PodServer::start(identity, network.tcp, network.udp);
        let serving = Serving {
            node,
            ips: network.ips,
            server,
        };
        if let Err(error) = self.report(pod, &serving.ips, ready).await {
            self.stop(serving).await;
            return Err(error);
        }
        self.state().serving.insert(uid(pod).to_owned(), serving);
        Ok(())
    }

    /// Writes the pod's status as a kubelet would.
    async fn report(&self, pod: &Pod, ips: &[IpAddr], ready: bool) -> anyhow::Result<()> {
        let host_ips = self
            .state()
            .nodes
            .get(node_name(pod).unwrap_or_default())
            .cloned()
            .unwrap_or_default();
        let patch = running(pod, ips, &host_ips, ready, &now());
        let done = self
            .pods(pod)
            .patch_status(name(pod), &PatchParams::default(), &Patch::Merge(patch))
            .await;
        done.map(drop).context("status")
    }

    async fn stop(&self, serving: Serving) {
        serving.server.stop().await;
        self.network.remove_pod(&serving.node, &serving.ips).await;
    }

    /// Lets the object go, unless it is another pod of the same name by now.
    async fn delete(&self, pod: &Pod) -> anyhow::Result<()> {
        let preconditions = Preconditions {
            uid: pod.metadata.uid.clone(),
            resource_version: None,
        };
        let parameters = DeleteParams {
            preconditions: Some(preconditions),
            ..DeleteParams::default().grace_period(0)
        };
        match self.pods(pod).delete(name(pod), &parameters).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            Err(error) => Err(error).context("delete"),
        }
    }
}

fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

/// Now, as Kubernetes writes times: whole seconds.
#[expect(
    clippy::disallowed_methods,
    reason = "an edge: what a kubelet reads from its clock"
)]
pub(crate) fn now() -> String {
    jiff::Timestamp::now()
        .strftime("%Y-%m-%dT%H:%M:%SZ")
        .to_string()
}
