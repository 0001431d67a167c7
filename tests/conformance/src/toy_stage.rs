//! What rows about a cloud that fails, lags or differs play on: a toy cloud, the controller in this process, and a clock of its own.
//! Writes Services and Nodes.
//!
//! Every row has its own provider name, and so its own class, finalizer and cloud. Nodes count by a providerID that names the
//! row's stage, so that the nodes of others are none of its own.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use evenkeel::args::{ClaimArgs, RunArgs};
use evenkeel::clock::Clock;
use evenkeel::config::{Config, Surroundings};
use evenkeel::providers::Installed;
use evenkeel::run::{Ties, run_with};
use evenkeel_core::claim::ClaimRules;
use evenkeel_core::engine::Engine;
use evenkeel_core::ids::ProviderName;
use evenkeel_core::nodes::NodeRules;
use evenkeel_e2e::look::{LIMIT, ingress};
use evenkeel_harness::control_plane::{ControlPlane, TestNamespace};
use evenkeel_harness::wait::eventually;
use evenkeel_laws::tap::{Call, Kind, Tap};
use evenkeel_laws::toys::own::Own;
use evenkeel_laws::toys::own::client::Client as CloudClient;
use evenkeel_laws::toys::own::cloud::{Cloud, Object, Spec};
use evenkeel_laws::toys::own::ways::Ways;
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::{LoadBalancerIngress, Node, Service};
use k8s_openapi::api::events::v1::Event;
use kube::api::{
    DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams,
};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::door::Door;
use crate::stage::{PORT, conditions, has_condition, is_served, merge};

/// The label of nodes that a row made.
const MADE: &str = "toy.evenkeel.dev/made-by";

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A controller of one toy cloud.
pub(crate) struct ToyStage {
    pub(crate) client: Client,
    pub(crate) cloud: Arc<Cloud>,
    pub(crate) tap: Tap,
    pub(crate) clock: Clock,
    /// The controller's way to the API server.
    pub(crate) door: Door,
    /// Who goes through it.
    through: Client,
    /// Also the end of the class and of the finalizer.
    pub(crate) provider: String,
    /// Whether connections of a node that leaves may end in peace.
    pub(crate) drains: bool,
    /// What else the configuration is to be.
    pub(crate) configure: fn(&mut Config),
    time: Option<JoinHandle<()>>,
    controllers: Vec<Controller>,
    namespace: TestNamespace,
}

/// A controller that runs.
struct Controller {
    end: oneshot::Sender<()>,
    task: JoinHandle<Result<()>>,
}

impl ToyStage {
    /// A namespace and a node; nothing runs yet.
    pub(crate) async fn enter(plane: &ControlPlane) -> Result<Self> {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let door = Door::open(plane).await?;
        let through = through(&door, plane)?;
        let stage = Self {
            client: plane.client(),
            door,
            through,
            cloud: Arc::new(Cloud::with(ways())),
            tap: Tap::new(),
            clock: Clock::default(),
            provider: format!("toy-{}-{number}", std::process::id()),
            drains: true,
            configure: |_| {},
            time: None,
            controllers: Vec::new(),
            namespace: plane.namespace("toy").await?,
        };
        stage.add_node("node-a").await?;
        Ok(stage)
    }

    /// Takes everything of the row away.
    pub(crate) async fn leave(&mut self) -> Result<()> {
        self.door.reset();
        self.crash().await;
        for service in self.services().list(&ListParams::default()).await? {
            let (name, services) = (service.name_any(), self.services());
            let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
            // One that is on its way out may go at any time.
            let freed = services.patch(&name, &PatchParams::default(), &free).await;
            if there(freed)?.is_some_and(|left| left.metadata.deletion_timestamp.is_none()) {
                there(services.delete(&name, &DeleteParams::default()).await)?;
            }
        }
        let made = ListParams::default().labels(&self.made());
        self.nodes()
            .delete_collection(&DeleteParams::default(), &made)
            .await?;
        Ok(())
    }

    /// Starts the controller on a cloud with the usual ways.
    pub(crate) fn run(&mut self) {
        self.let_time_pass();
        let tap = self.tap.clone();
        self.run_one(self.through.clone(), tap);
    }

    /// The same on a cloud with these ways, which is empty.
    pub(crate) fn run_with(&mut self, ways: Ways) {
        self.cloud = Arc::new(Cloud::with(ways));
        self.run();
    }

    /// What takes time in the cloud takes a little of it.
    pub(crate) fn let_time_pass(&mut self) {
        self.stop_time();
        self.time = Some(self.cloud.let_time_pass());
    }

    /// What takes time in the cloud takes it until [`ToyStage::let_time_pass`].
    pub(crate) fn stop_time(&mut self) {
        if let Some(time) = self.time.take() {
            time.abort();
        }
    }

    /// Starts a controller beside those that run, over a client and a tap of its own.
    pub(crate) fn run_one(&mut self, client: Client, tap: Tap) {
        let config = match self.config() {
            Ok(config) => config,
            Err(error) => {
                // Told by whoever waits for it.
                let task = tokio::spawn(async move { Err(error) });
                let (end, _) = oneshot::channel();
                return self.controllers.push(Controller { end, task });
            }
        };
        let (cloud, drains) = (self.cloud.clone(), self.drains);
        let name = ProviderName::from(self.provider.as_str());
        let (end, ended) = oneshot::channel();
        let ties = Ties {
            client,
            clock: self.clock.clone(),
        };
        let run = run_with(
            config,
            ties,
            move |_, cluster| {
                let own = Own::new(cluster.clone(), CloudClient::new(cloud, tap));
                let nodes = NodeRules {
                    provider_id_scheme: Some("toy"),
                    needs_address: false,
                    drains,
                };
                Ok(vec![Installed {
                    probes_kube_proxy: false,
                    follows_endpoints: false,
                    measures: None,
                    name,
                    engine: Arc::new(Engine::new(own)),
                    nodes,
                }])
            },
            async move {
                let _ = ended.await;
                Ok("the row")
            },
        );
        let task = tokio::spawn(run);
        self.controllers.push(Controller { end, task });
    }

    fn config(&self) -> Result<Config> {
        let args = RunArgs {
            claim: ClaimArgs {
                provider: vec!["local".into()],
                ..ClaimArgs::default()
            },
            ..RunArgs::default()
        };
        let around = Surroundings {
            root: false,
            runtime_dir: Some(PathBuf::from("/none")),
            state_home: Some(PathBuf::from("/none")),
            home: None,
            pod_namespace: Some(self.namespace.name().to_owned()),
            temporary: PathBuf::from("/none"),
            ..Surroundings::default()
        };
        let mut config = Config::of_run(&args, None, &around).map_err(|all| anyhow!("{all}"))?;
        config.rules = ClaimRules::new([ProviderName::from(self.provider.as_str())]);
        config.home.instance.clone_from(&self.provider);
        config.home.election = false;
        config.listen = None;
        config.workers = 4;
        config.node_debounce = Duration::from_millis(100);
        config.node_debounce_longest = Duration::from_millis(500);
        (self.configure)(&mut config);
        Ok(config)
    }

    /// Who goes to the API server through the stage's door.
    pub(crate) fn through(&self) -> Client {
        self.through.clone()
    }

    /// Whether a controller, counted from the first that was started, has ended by itself.
    pub(crate) fn ended(&self, index: usize) -> bool {
        let controller = self.controllers.get(index);
        controller.is_some_and(|controller| controller.task.is_finished())
    }

    /// Ends one controller as a crash does.
    pub(crate) async fn kill(&mut self, index: usize) {
        if let Some(controller) = self.controllers.get_mut(index) {
            controller.task.abort();
            let _ = (&mut controller.task).await;
        }
    }

    /// Ends all controllers as a crash does: nothing of them goes on.
    pub(crate) async fn crash(&mut self) {
        for Controller { end, task } in self.controllers.drain(..) {
            task.abort();
            // One that was killed before has been waited for.
            if !task.is_finished() {
                let _ = task.await;
            }
            drop(end);
        }
    }

    pub(crate) fn namespace(&self) -> &str {
        self.namespace.name()
    }

    pub(crate) fn finalizer(&self) -> String {
        format!("evenkeel.dev/{}", self.provider)
    }

    pub(crate) fn services(&self) -> Api<Service> {
        Api::namespaced(self.client.clone(), self.namespace.name())
    }

    pub(crate) fn nodes(&self) -> Api<Node> {
        Api::all(self.client.clone())
    }

    /// What selects the nodes of this stage.
    pub(crate) fn made(&self) -> String {
        format!("{MADE}={}", self.provider)
    }

    /// The name of a node of this stage.
    pub(crate) fn node_name(&self, name: &str) -> String {
        format!("{}-{name}", self.provider)
    }

    /// Adds a node that the toy takes as a target.
    pub(crate) async fn add_node(&self, name: &str) -> Result<()> {
        self.add_node_as(name, Some(&format!("toy:///{name}")))
            .await
    }

    /// Adds a node with this providerID.
    pub(crate) async fn add_node_as(&self, name: &str, provider_id: Option<&str>) -> Result<()> {
        let node = json!({
            "metadata": {"name": self.node_name(name), "labels": {MADE: self.provider}},
            "spec": {"providerID": provider_id},
        });
        let node = serde_json::from_value(node)?;
        self.nodes().create(&PostParams::default(), &node).await?;
        Ok(())
    }

    pub(crate) async fn patch_node(&self, name: &str, patch: Value) -> Result<()> {
        self.nodes()
            .patch(
                &self.node_name(name),
                &PatchParams::default(),
                &Patch::Merge(patch),
            )
            .await?;
        Ok(())
    }

    pub(crate) async fn delete_node(&self, name: &str) -> Result<()> {
        self.nodes()
            .delete(&self.node_name(name), &DeleteParams::default())
            .await?;
        Ok(())
    }

    /// Creates a Service of our class with one port, and these changes.
    pub(crate) async fn create(&self, name: &str, changes: Value) -> Result<Service> {
        let mut service = json!({
            "metadata": {"name": name},
            "spec": {
                "type": "LoadBalancer",
                "loadBalancerClass": self.finalizer(),
                "selector": {"app": name},
                "ports": [{"name": "http", "port": PORT, "targetPort": "http"}],
            },
        });
        merge(&mut service, changes);
        Ok(self
            .services()
            .create(&PostParams::default(), &serde_json::from_value(service)?)
            .await?)
    }

    /// The same, and waits until it is served.
    pub(crate) async fn serve(&self, name: &str, changes: Value) -> Result<Service> {
        self.create(name, changes).await?;
        self.served(name).await
    }

    pub(crate) async fn patch(&self, name: &str, patch: Value) -> Result<Service> {
        Ok(self
            .services()
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await?)
    }

    pub(crate) async fn patch_status(&self, name: &str, patch: Value) -> Result<Service> {
        Ok(self
            .services()
            .patch_status(name, &PatchParams::default(), &Patch::Merge(patch))
            .await?)
    }

    pub(crate) async fn get(&self, name: &str) -> Result<Service> {
        Ok(self.services().get(name).await?)
    }

    pub(crate) async fn delete(&self, name: &str) -> Result<()> {
        self.services()
            .delete(name, &DeleteParams::default())
            .await?;
        Ok(())
    }

    /// Waits until a Service is as `check` says.
    pub(crate) async fn until(
        &self,
        name: &str,
        what: &str,
        check: impl Fn(&Service) -> bool,
    ) -> Result<Service> {
        eventually(what, LIMIT, || async {
            let service = self.get(name).await?;
            ensure!(
                check(&service),
                "finalizers {:?}, status {:?}; calls {:?}",
                service.finalizers(),
                service.status,
                self.tap.calls()
            );
            Ok(service)
        })
        .await
    }

    /// Waits until a Service is served and nothing is left to do.
    pub(crate) async fn served(&self, name: &str) -> Result<Service> {
        self.until(name, "the Service to be served", is_served)
            .await
    }

    /// Waits until one of our conditions has a status, and returns its message.
    pub(crate) async fn condition(&self, name: &str, kind: &str, status: &str) -> Result<String> {
        let service = self
            .until(name, &format!("condition {kind}={status}"), |service| {
                has_condition(service, kind, status)
            })
            .await?;
        let found = conditions(&service)
            .into_iter()
            .find(|condition| condition.type_ == kind);
        Ok(found.context("it was just there")?.message)
    }

    /// Waits until a Service is gone.
    pub(crate) async fn gone(&self, name: &str) -> Result<()> {
        eventually("the Service to go", LIMIT, || async {
            match self.services().get_opt(name).await? {
                None => Ok(()),
                Some(service) => bail!(
                    "it has {:?} and {:?}; calls {:?}",
                    service.finalizers(),
                    service.status,
                    self.tap.calls()
                ),
            }
        })
        .await
    }

    /// Waits until nothing of ours is on a Service that goes on without a load balancer.
    pub(crate) async fn released(&self, name: &str) -> Result<Service> {
        let finalizer = self.finalizer();
        self.until(name, "the Service to be released", |service| {
            !service.finalizers().contains(&finalizer)
                && ingress(service).is_empty()
                && !conditions(service)
                    .iter()
                    .any(|condition| condition.type_.starts_with("evenkeel.dev/"))
        })
        .await
    }

    /// Watches what is published of the addresses of a Service that is not there yet.
    pub(crate) async fn watch_addresses(&self, name: &str) -> Result<Addresses> {
        let since = self.services().list(&ListParams::default()).await?;
        let since = since.metadata.resource_version.context("a version")?;
        let only = WatchParams::default().fields(&format!("metadata.name={name}"));
        let versions = self.services().watch(&only, &since).await?;
        Ok(Addresses {
            versions: versions.boxed(),
        })
    }

    /// The events about a Service: whether they warn, reasons with notes and counts, in the order in which they came.
    pub(crate) async fn events(&self, name: &str) -> Result<Vec<Told>> {
        let events: Api<Event> = Api::namespaced(self.client.clone(), self.namespace.name());
        let mut events: Vec<_> = events
            .list(&ListParams::default())
            .await?
            .into_iter()
            .filter(|event| {
                let about = event.regarding.as_ref();
                about.and_then(|about| about.name.as_deref()) == Some(name)
            })
            .collect();
        events.sort_by_key(|event| event.event_time.clone());
        let told = |event: Event| Told {
            warns: event.type_.as_deref() == Some("Warning"),
            reason: event.reason.unwrap_or_default(),
            note: event.note.unwrap_or_default(),
            count: event.series.map_or(1, |series| series.count),
        };
        Ok(events.into_iter().map(told).collect())
    }

    /// Those that warn.
    pub(crate) async fn warnings(&self, name: &str) -> Result<Vec<Told>> {
        let mut events = self.events(name).await?;
        events.retain(|event| event.warns);
        Ok(events)
    }

    /// Waits for an event, and returns its note.
    pub(crate) async fn event(&self, name: &str, reason: &str) -> Result<String> {
        eventually(format!("the event {reason}"), LIMIT, || async {
            let events = self.events(name).await?;
            let found = events.iter().find(|told| told.reason == reason);
            found
                .map(|told| told.note.clone())
                .with_context(|| format!("there are {events:?}"))
        })
        .await
    }

    /// What is in the cloud of a Service.
    pub(crate) fn objects(&self, service: &Service) -> Vec<Object> {
        let uid = service.uid().unwrap_or_default();
        let mut objects = self.cloud.list();
        objects.retain(|object| {
            object
                .marks
                .as_ref()
                .is_some_and(|marks| marks.group == uid)
        });
        objects
    }

    /// How many of a kind a Service has in the cloud.
    pub(crate) fn count(&self, service: &Service, kind: &str) -> usize {
        let objects = self.objects(service);
        objects
            .iter()
            .filter(|object| object.spec.kind() == kind)
            .count()
    }

    /// The nodes that get a Service's traffic, as the row named them.
    pub(crate) fn targets(&self, service: &Service) -> BTreeSet<String> {
        let prefix = self.node_name("");
        let objects = self.objects(service);
        let nodes = objects.iter().filter_map(|object| match &object.spec {
            Spec::TargetSet { targets, .. } => Some(targets),
            Spec::Address { .. } | Spec::Listener { .. } => None,
        });
        nodes
            .flatten()
            .map(|node| node.as_str().trim_start_matches(&prefix).to_owned())
            .collect()
    }

    /// Waits until a Service's traffic goes to exactly these nodes.
    pub(crate) async fn targeted(&self, service: &Service, nodes: &[&str]) -> Result<()> {
        let want: BTreeSet<_> = nodes.iter().map(|name| (*name).to_owned()).collect();
        eventually("the targets to follow", LIMIT, || async {
            let targets = self.targets(service);
            ensure!(targets == want, "they are {targets:?}");
            Ok(())
        })
        .await
    }

    /// The calls about a Service since the tap was reset.
    pub(crate) fn calls(&self, service: &Service) -> Vec<Call> {
        let uid = service.uid().unwrap_or_default();
        let name = named(service);
        let mut calls = self.tap.calls();
        calls.retain(|call| call.target == uid || call.target.starts_with(&name));
        calls
    }

    /// The writes about a Service since the tap was reset.
    pub(crate) fn writes(&self, service: &Service) -> Vec<Call> {
        let mut calls = self.calls(service);
        calls.retain(|call| call.kind == Kind::Write);
        calls
    }

    /// Waits until a write about a Service has arrived at the cloud, through or not.
    pub(crate) async fn wrote(&self, service: &Service) -> Result<()> {
        eventually("a write to the cloud", LIMIT, || async {
            ensure!(!self.writes(service).is_empty(), "{:?}", self.tap.calls());
            Ok(())
        })
        .await
    }

    /// Waits until there were this many calls about a Service.
    pub(crate) async fn called(&self, service: &Service, times: usize) -> Result<()> {
        eventually(format!("call {times}"), LIMIT, || async {
            let calls = self.calls(service);
            ensure!(calls.len() >= times, "there were {calls:?}");
            Ok(())
        })
        .await
    }

    /// Waits until everything that is due now has been begun, and with one worker ended: Services that come later have had
    /// their turn. The first may stand before what became due just now, the second cannot.
    pub(crate) async fn settle(&self) -> Result<()> {
        for _ in 0..2 {
            let name = format!("later-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
            // It is rejected without a call to the cloud.
            let bad = json!({"metadata": {"annotations": {"evenkeel.dev/scheme": "sideways"}}});
            self.create(&name, bad).await?;
            self.condition(&name, "evenkeel.dev/Degraded", "True")
                .await?;
            self.delete(&name).await?;
        }
        Ok(())
    }
}

impl Drop for ToyStage {
    fn drop(&mut self) {
        self.stop_time();
        for controller in &self.controllers {
            controller.task.abort();
        }
    }
}

/// None when there is no such object.
fn there<T>(result: kube::Result<T>) -> kube::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        Err(error) => Err(error),
    }
}

/// A client of the administrator that goes through a door.
pub(crate) fn through(door: &Door, plane: &ControlPlane) -> Result<Client> {
    let kubeconfig = door.kubeconfig("");
    let server = kubeconfig["clusters"][0]["cluster"]["server"].as_str();
    let mut config = plane.config()?;
    config.cluster_url = server.context("a server")?.parse()?;
    config.default_retry = false;
    Ok(Client::try_from(config)?)
}

/// The usual ways of a toy cloud, which is looked at often where that is waited for.
pub(crate) fn ways() -> Ways {
    Ways {
        soon: Duration::from_millis(20),
        ..Ways::default()
    }
}

/// An event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) warns: bool,
    pub(crate) reason: String,
    pub(crate) note: String,
    pub(crate) count: i32,
}

/// What is published of a Service's addresses, version by version.
pub(crate) struct Addresses {
    versions: BoxStream<'static, kube::Result<WatchEvent<Service>>>,
}

impl Addresses {
    /// What was published, in order and without what stayed the same, up to this version of the Service.
    pub(crate) async fn seen(&mut self, upto: &Service) -> Result<Vec<Vec<LoadBalancerIngress>>> {
        let mut seen = Vec::new();
        while let Some(event) = self.versions.try_next().await? {
            let (WatchEvent::Added(service) | WatchEvent::Modified(service)) = event else {
                bail!("the watch says {event:?}");
            };
            let addresses = ingress(&service);
            if seen.last() != Some(&addresses) && !(seen.is_empty() && addresses.is_empty()) {
                seen.push(addresses);
            }
            if service.resource_version() == upto.resource_version() {
                return Ok(seen);
            }
        }
        bail!("the watch ended")
    }
}

/// How the names of a Service's objects in the cloud begin. Rows name their Services so that none begins with another's.
pub(crate) fn named(service: &Service) -> String {
    format!("ek-{}-", service.name_any())
}

/// Whether a call writes something of the Service of this name.
pub(crate) fn writes_of(name: &str) -> impl Fn(&Call) -> bool + Send + Sync + 'static {
    let name = format!("ek-{name}-");
    move |call| call.kind == Kind::Write && call.target.starts_with(&name)
}
