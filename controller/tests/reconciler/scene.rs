//! A namespace, a toy cloud and a controller that serves it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use evenkeel::{
    clock::Clock,
    config::{
        AwsConfig, CloudConfig, Config, HomeConfig, LocalConfig, LogConfig, LogFormat, Start,
    },
    providers::Installed,
    run::{Ties, run_with},
};
use evenkeel_core::{
    claim::ClaimRules,
    engine::{AnyProvider, Engine},
    ids::ProviderName,
    nodes::NodeRules,
};
use evenkeel_harness::{
    control_plane::{ControlPlane, Options, TestNamespace},
    wait::eventually,
};
use evenkeel_laws::{
    tap::Tap,
    toys::own::{Own, client::Client as CloudClient, cloud::Cloud, ways::Ways},
};
use k8s_openapi::{
    api::{
        core::v1::{LoadBalancerIngress, Service},
        events::v1::Event,
    },
    apimachinery::pkg::apis::meta::v1::Condition,
};
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tokio::{sync::oneshot, task::JoinHandle};

use crate::api::Line;

/// How long anything may take before it counts as failed: generous, because machines are busy.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// Puts something in front of a provider.
pub(crate) type Between = Arc<dyn Fn(Arc<dyn AnyProvider>) -> Arc<dyn AnyProvider> + Send + Sync>;

static NUMBER: AtomicU32 = AtomicU32::new(0);

pub(crate) struct Scene {
    pub(crate) client: Client,
    pub(crate) cloud: Arc<Cloud>,
    pub(crate) tap: Tap,
    /// Between the controller and the API server.
    pub(crate) line: Line,
    /// The controller's.
    pub(crate) clock: Clock,
    /// Also the end of the class and of the finalizer.
    pub(crate) provider: String,
    pub(crate) default_provider: bool,
    /// How often the cloud is looked at though nothing changed.
    pub(crate) resync: Duration,
    /// Whether the controller has to be the leader before it works.
    pub(crate) election: bool,
    /// What the cloud needs of a node.
    pub(crate) nodes: NodeRules,
    /// Whether the provider's targets may be endpoints.
    pub(crate) follows_endpoints: bool,
    /// For how long nodes are quiet before they are looked at, and how long that may take.
    pub(crate) node_debounce: (Duration, Duration),
    /// What stands between the controller and the provider.
    pub(crate) between: Between,
    /// The cloud of a second provider in the same process.
    pub(crate) twin: Option<Arc<Cloud>>,
    controller: Option<(oneshot::Sender<()>, JoinHandle<Result<()>>)>,
    time: JoinHandle<()>,
    namespace: TestNamespace,
    // Declared last, dropped last.
    _alone: Option<Arc<ControlPlane>>,
}

impl Scene {
    /// A scene whose controller runs.
    pub(crate) async fn start() -> Result<Self> {
        let mut scene = Self::prepare().await?;
        scene.run();
        Ok(scene)
    }

    /// A scene without a controller.
    pub(crate) async fn prepare() -> Result<Self> {
        Self::on(ControlPlane::shared().await?, None).await
    }

    /// The same on a control plane of its own, for a controller that takes more than its class.
    pub(crate) async fn prepare_alone() -> Result<Self> {
        let plane = Arc::new(ControlPlane::start(Options::default()).await?);
        Self::on(&plane.clone(), Some(plane)).await
    }

    pub(crate) async fn on(plane: &ControlPlane, alone: Option<Arc<ControlPlane>>) -> Result<Self> {
        let cloud = Arc::new(Cloud::with(Ways {
            soon: Duration::from_millis(200),
            ..Ways::default()
        }));
        let time = cloud.let_time_pass();
        Ok(Self {
            client: plane.client(),
            cloud,
            tap: Tap::new(),
            line: Line::default(),
            clock: Clock::default(),
            provider: format!(
                "toy-{}-{}",
                std::process::id(),
                NUMBER.fetch_add(1, Ordering::Relaxed)
            ),
            default_provider: false,
            resync: Duration::from_secs(600),
            election: false,
            nodes: NodeRules {
                provider_id_scheme: None,
                needs_address: false,
                drains: true,
            },
            follows_endpoints: false,
            node_debounce: (Duration::from_millis(100), Duration::from_millis(500)),
            between: Arc::new(|provider| provider),
            twin: None,
            controller: None,
            time,
            namespace: plane.namespace("reconciler").await?,
            _alone: alone,
        })
    }

    /// Starts the controller.
    pub(crate) fn run(&mut self) {
        let name = ProviderName::from(self.provider.as_str());
        let twin = self.twin.clone();
        let twin = twin.map(|cloud| (ProviderName::from(self.twin_name().as_str()), cloud));
        let names = twin.iter().map(|(name, _)| name.clone());
        let mut rules = ClaimRules::new(names.chain([name.clone()]));
        if self.default_provider {
            rules = rules.with_default(evenkeel_core::claim::ClassRule::neutral(name.clone()));
        }
        let config = Config {
            kubeconfig: None,
            context: None,
            home: HomeConfig {
                namespace: self.namespace.name().to_owned(),
                instance: self.provider.clone(),
                election: self.election,
                lease: Duration::from_secs(15),
            },
            cluster_name: "test".into(),
            rules,
            listen: None,
            workers: 4,
            node_debounce: self.node_debounce.0,
            node_debounce_longest: self.node_debounce.1,
            resync: self.resync,
            log: LogConfig {
                filter: "off".into(),
                format: LogFormat::Text,
            },
            cloud: CloudConfig::default(),
            aws: AwsConfig::default(),
            azure: None,
            local: LocalConfig {
                socket: "/none".into(),
                state_dir: "/none".into(),
                pools: Vec::new(),
                start: Start::Never,
            },
        };
        let (cloud, tap) = (self.cloud.clone(), self.tap.clone());
        let ties = Ties {
            client: self.line.client(self.client.clone()),
            clock: self.clock.clone(),
        };
        let (nodes, between) = (self.nodes, self.between.clone());
        let follows_endpoints = self.follows_endpoints;
        let (end, ended) = oneshot::channel();
        let run = run_with(
            config,
            ties,
            move |_, cluster| {
                let clouds = twin.into_iter().chain([(name, cloud)]);
                let install = |(name, cloud)| {
                    let own = Own::new(cluster.clone(), CloudClient::new(cloud, tap.clone()));
                    Installed {
                        probes_kube_proxy: false,
                        follows_endpoints,
                        measures: None,
                        name,
                        engine: between(Arc::new(Engine::new(own))),
                        nodes,
                    }
                };
                Ok(clouds.map(install).collect())
            },
            async move {
                let _ = ended.await;
                Ok("the test")
            },
        );
        self.controller = Some((end, tokio::spawn(run)));
    }

    /// Ends the controller in good order.
    pub(crate) async fn stop(&mut self) -> Result<()> {
        let (end, task) = self
            .controller
            .take()
            .context("the controller does not run")?;
        let _ = end.send(());
        task.await.context("the controller panicked")?
    }

    /// Ends the controller as a crash does: nothing of it goes on.
    pub(crate) async fn crash(&mut self) {
        if let Some((_end, task)) = self.controller.take() {
            task.abort();
            let _ = task.await;
        }
    }

    /// The second provider, as [`Scene::provider`].
    pub(crate) fn twin_name(&self) -> String {
        format!("{}-twin", self.provider)
    }

    pub(crate) fn finalizer(&self) -> String {
        format!("evenkeel.dev/{}", self.provider)
    }

    /// The namespace of the Services, and of the controller's own objects.
    pub(crate) fn namespace(&self) -> &str {
        self.namespace.name()
    }

    pub(crate) fn services(&self) -> Api<Service> {
        Api::namespaced(self.client.clone(), self.namespace.name())
    }

    /// Creates a Service of our class with one port, and these changes.
    pub(crate) async fn create(&self, name: &str, changes: Value) -> Result<Service> {
        let mut service = json!({
            "metadata": {"name": name},
            "spec": {
                "type": "LoadBalancer",
                "loadBalancerClass": self.finalizer(),
                "selector": {"app": name},
                "ports": [{"name": "http", "port": 80, "targetPort": 8080}],
            },
        });
        merge(&mut service, changes);
        Ok(self
            .services()
            .create(&PostParams::default(), &serde_json::from_value(service)?)
            .await?)
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
                "it is {}",
                serde_json::to_string(&(
                    &service.metadata.finalizers,
                    &service.spec.as_ref().map(|s| &s.type_),
                    &service.status
                ))?
            );
            Ok(service)
        })
        .await
    }

    /// Waits until a Service has an address and all is as asked.
    pub(crate) async fn served(&self, name: &str) -> Result<Service> {
        self.until(name, "the Service to be served", |service| {
            !ingress(service).is_empty()
                && status(service, "evenkeel.dev/Serving") == "True"
                && status(service, "evenkeel.dev/Provisioning") == "False"
        })
        .await
    }

    /// Waits until a Service is gone.
    pub(crate) async fn gone(&self, name: &str) -> Result<()> {
        eventually("the Service to go", LIMIT, || async {
            match self.services().get_opt(name).await? {
                None => Ok(()),
                Some(service) => {
                    bail!("it has {:?} and {:?}", service.finalizers(), service.status)
                }
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

    /// Waits until a write has arrived at the cloud, through or not.
    pub(crate) async fn wrote(&self) -> Result<()> {
        eventually("a write to the cloud", LIMIT, || async {
            ensure!(!self.tap.writes().is_empty(), "{:?}", self.tap.calls());
            Ok(())
        })
        .await
    }

    /// The events about a Service: reasons with notes and counts, in the order in which they came.
    pub(crate) async fn events(&self, name: &str) -> Result<Vec<(String, String, i32)>> {
        let events: Api<Event> = Api::namespaced(self.client.clone(), self.namespace.name());
        let mut events: Vec<_> = events
            .list(&ListParams::default())
            .await?
            .into_iter()
            .filter(|event| {
                event
                    .regarding
                    .as_ref()
                    .and_then(|about| about.name.as_deref())
                    == Some(name)
            })
            .collect();
        events.sort_by_key(|event| event.event_time.clone());
        let text = |text: Option<String>| text.unwrap_or_default();
        Ok(events
            .into_iter()
            .map(|event| {
                (
                    text(event.reason),
                    text(event.note),
                    event.series.map_or(1, |series| series.count),
                )
            })
            .collect())
    }

    /// Waits for an event, and returns its note.
    pub(crate) async fn event(&self, name: &str, reason: &str) -> Result<String> {
        eventually(format!("the event {reason}"), LIMIT, || async {
            let events = self.events(name).await?;
            let found = events
                .iter()
                .find(|(found, ..)| found == reason)
                .map(|(_, note, _)| note.clone());
            found.with_context(|| format!("there are {events:?}"))
        })
        .await
    }

    /// What is in the cloud, by kind.
    pub(crate) fn objects(&self) -> BTreeMap<&'static str, usize> {
        let mut kinds = BTreeMap::new();
        for object in self.cloud.list() {
            *kinds.entry(object.spec.kind()).or_default() += 1;
        }
        kinds
    }

    /// Waits until a change is refused without approval, and returns the digest to approve.
    pub(crate) async fn refused(&self, name: &str) -> Result<String> {
        let asks = |service: &Service| {
            let degraded = condition(service, "evenkeel.dev/Degraded")?;
            (degraded.reason == "ApprovalRequired").then(|| degraded.message.clone())
        };
        let service = self
            .until(name, "the refusal", |service| asks(service).is_some())
            .await?;
        let message = asks(&service).unwrap_or_default();
        let digest = message
            .split_once("evenkeel.dev/approve=")
            .and_then(|(_, rest)| rest.split(&[';', ' ', '.'][..]).next());
        Ok(digest.with_context(|| message.clone())?.to_owned())
    }

    /// The writes to the cloud since the last reset, as `Create listener`.
    pub(crate) fn written(&self) -> Vec<String> {
        let kind = |target: &str| {
            let kinds = ["listener", "address", "set"];
            kinds.into_iter().find(|kind| target.contains(kind))
        };
        let writes = self.tap.writes().into_iter();
        writes
            .map(|call| {
                let kind = kind(&call.target).unwrap_or(&call.target);
                format!("{} {kind}", call.operation)
            })
            .collect()
    }

    /// Forgets what was called and sent so far.
    pub(crate) fn forget_calls(&self) {
        self.tap.reset();
        self.line.reset();
    }

    /// Waits until everything that has happened by now was worked on, unless it is held back somewhere: the line is first
    /// come, first served.
    pub(crate) async fn barrier(&self) -> Result<()> {
        let name = format!("barrier-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let broken = json!({"metadata": {"annotations": {"evenkeel.dev/scheme": "sideways"}}});
        self.create(&name, broken).await?;
        self.until(&name, "the barrier", |service| {
            status(service, "evenkeel.dev/Degraded") == "True"
        })
        .await?;
        self.delete(&name).await?;
        self.gone(&name).await
    }

    /// Waits until everything that is asked for now has been looked at: a Service that comes later is served.
    pub(crate) async fn settled(&self) -> Result<()> {
        let name = format!("marker-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        self.create(&name, json!({})).await?;
        self.served(&name).await?;
        self.delete(&name).await?;
        self.gone(&name).await
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.time.abort();
        if let Some((_, task)) = &self.controller {
            task.abort();
        }
    }
}

pub(crate) fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

pub(crate) fn ingress(service: &Service) -> &[LoadBalancerIngress] {
    let balancer = service
        .status
        .as_ref()
        .and_then(|status| status.load_balancer.as_ref());
    balancer
        .and_then(|balancer| balancer.ingress.as_deref())
        .unwrap_or_default()
}

pub(crate) fn conditions(service: &Service) -> &[Condition] {
    service
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_deref())
        .unwrap_or_default()
}

pub(crate) fn condition<'a>(service: &'a Service, type_: &str) -> Option<&'a Condition> {
    conditions(service)
        .iter()
        .find(|condition| condition.type_ == type_)
}

/// The status of a condition; empty when it is not there.
pub(crate) fn status<'a>(service: &'a Service, type_: &str) -> &'a str {
    condition(service, type_).map_or("", |condition| condition.status.as_str())
}
