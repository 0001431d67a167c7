//! A namespace, a toy cloud, load, and as many replicas as are asked for.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use async_trait::async_trait;
use evenkeel::{
    config::{
        AwsConfig, CloudConfig, Config, HomeConfig, LocalConfig, LogConfig, LogFormat, Start,
    },
    providers::Installed,
    run::run_with,
};
use evenkeel_core::{
    claim::ClaimRules,
    engine::Engine,
    error::CloudError,
    ids::{GroupKey, ProviderName},
    nodes::NodeRules,
    provider::Provider,
    ticket::Ticket,
};
use evenkeel_harness::{
    control_plane::{ControlPlane, TestNamespace},
    wait::eventually,
};
use evenkeel_laws::{
    tap::Tap,
    toys::own::{
        Own,
        client::Client as CloudClient,
        cloud::Cloud,
        model::{Effect, Observed, Step},
    },
    wrap::{Tweak, Tweaked},
};
use http::{Method, Request};
use k8s_openapi::{
    api::{
        coordination::v1::Lease,
        core::v1::{Namespace, Service},
    },
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, PostParams},
    client::Body,
};
use serde_json::{Value, json};
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
};
use tokio_util::task::AbortOnDropHandle;
use tower::{BoxError, service_fn};

use crate::ledger::Ledger;

/// How long anything may take before it counts as failed: generous, because machines are busy.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// Shorter than anybody would have it, so that the tests are.
pub(crate) const LEASE: Duration = Duration::from_secs(3);

/// How long a write to the cloud takes: long enough for two to meet.
const WRITE: Duration = Duration::from_millis(15);

/// Services under load.
const SERVICES: usize = 12;

static NUMBER: AtomicU32 = AtomicU32::new(0);

pub(crate) struct Stage {
    client: Client,
    cloud: Arc<Cloud>,
    pub(crate) ledger: Ledger,
    pub(crate) began: Instant,
    /// The namespace of the Lease.
    pub(crate) home: String,
    provider: String,
    replicas: AtomicU32,
    _time: AbortOnDropHandle<()>,
    namespace: TestNamespace,
}

/// What a Lease says.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    pub(crate) holder: Option<String>,
    pub(crate) renewed: Option<MicroTime>,
    pub(crate) labels: std::collections::BTreeMap<String, String>,
}

impl Stage {
    pub(crate) async fn set() -> Result<Self> {
        let plane = ControlPlane::shared().await?;
        let cloud = Arc::new(Cloud::default());
        let time = cloud.let_time_pass();
        let namespace = plane.namespace("leadership").await?;
        Ok(Self {
            client: plane.client(),
            cloud,
            ledger: Ledger::default(),
            began: Instant::now(),
            home: namespace.name().to_owned(),
            provider: format!(
                "toy-{}-{}",
                std::process::id(),
                NUMBER.fetch_add(1, Ordering::Relaxed)
            ),
            replicas: AtomicU32::new(0),
            _time: AbortOnDropHandle::new(time),
            namespace,
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.provider
    }

    fn services(&self) -> Api<Service> {
        Api::namespaced(self.client.clone(), self.namespace.name())
    }

    fn leases(&self) -> Api<Lease> {
        Api::namespaced(self.client.clone(), &self.home)
    }

    pub(crate) async fn lease(&self) -> Result<Said> {
        let lease = self.leases().get(&self.provider).await?;
        let spec = lease.spec.context("it says nothing")?;
        Ok(Said {
            holder: spec.holder_identity,
            renewed: spec.renew_time,
            labels: lease.metadata.labels.unwrap_or_default(),
        })
    }

    /// Patches the Lease, or deletes it.
    pub(crate) async fn tamper(&self, patch: Option<Value>) -> Result<()> {
        match patch {
            Some(patch) => {
                let patch = Patch::Merge(patch);
                self.leases()
                    .patch(&self.provider, &PatchParams::default(), &patch)
                    .await?;
            }
            None => {
                self.leases()
                    .delete(&self.provider, &DeleteParams::default())
                    .await?;
            }
        }
        Ok(())
    }

    pub(crate) async fn create_namespace(&self, name: &str) -> Result<()> {
        let namespace = json!({"metadata": {"name": name}});
        let namespaces = Api::<Namespace>::all(self.client.clone());
        namespaces
            .create(&PostParams::default(), &serde_json::from_value(namespace)?)
            .await?;
        Ok(())
    }

    pub(crate) async fn service(&self, name: &str) -> Result<()> {
        create(&self.services(), &self.provider, name).await
    }

    /// Makes, changes and deletes Services until it is dropped.
    pub(crate) fn load(&self) -> AbortOnDropHandle<()> {
        let (services, provider) = (self.services(), self.provider.clone());
        AbortOnDropHandle::new(tokio::spawn(async move {
            for round in 0_usize.. {
                let name = format!("web-{}", round % SERVICES);
                let port = 1000 + round % 1000;
                let patch = json!({"spec": {"ports": [{"name": "http", "port": port, "targetPort": 8080}]}});
                let patch = Patch::Merge(patch);
                // One that is on its way out cannot be made anew yet: there are others.
                let done = match round % 7 {
                    0..5 => services
                        .patch(&name, &PatchParams::default(), &patch)
                        .await
                        .map(drop),
                    // The others are there all the time, also when nobody can let go of one that is deleted.
                    5 if round % SERVICES < SERVICES / 2 => services
                        .delete(&name, &DeleteParams::default())
                        .await
                        .map(drop),
                    _ => Ok(()),
                };
                if done.is_err() || round < SERVICES {
                    let _ = create(&services, &provider, &name).await;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }))
    }

    /// Starts a replica.
    pub(crate) fn replica(&self) -> Replica {
        let number = self.replicas.fetch_add(1, Ordering::Relaxed);
        let name = format!("replica-{number}");
        let provider = ProviderName::from(self.provider.as_str());
        let config = Config {
            kubeconfig: None,
            context: None,
            home: HomeConfig {
                namespace: self.home.clone(),
                instance: self.provider.clone(),
                election: true,
                lease: LEASE,
            },
            cluster_name: "test".into(),
            rules: ClaimRules::new([provider.clone()]),
            listen: None,
            workers: 4,
            node_debounce: Duration::from_millis(100),
            node_debounce_longest: Duration::from_millis(500),
            resync: Duration::from_secs(600),
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
        let line = Line {
            name: name.clone(),
            ledger: self.ledger.clone(),
            cut: watch::Sender::new(false),
            looks: Arc::default(),
            watches: Arc::default(),
        };
        let (cloud, recorder) = (
            self.cloud.clone(),
            Recorder(Some((name.clone(), self.ledger.clone()))),
        );
        let (end, ended) = oneshot::channel();
        let run = run_with(
            config,
            line.client(self.client.clone()).into(),
            move |_, cluster| {
                let own = Own::new(cluster.clone(), CloudClient::new(cloud, Tap::new()));
                Ok(vec![Installed {
                    probes_kube_proxy: false,
                    follows_endpoints: false,
                    measures: None,
                    name: provider,
                    engine: Arc::new(Engine::new(Tweaked::with(own, recorder))),
                    nodes: NodeRules {
                        provider_id_scheme: None,
                        needs_address: false,
                        drains: true,
                    },
                }])
            },
            async move {
                let _ = ended.await;
                Ok("the test")
            },
        );
        Replica {
            name,
            line,
            lease: (self.leases(), self.provider.clone()),
            controller: Some((end, tokio::spawn(run))),
        }
    }
}

async fn create(services: &Api<Service>, provider: &str, name: &str) -> Result<()> {
    let service = json!({
        "metadata": {"name": name},
        "spec": {
            "type": "LoadBalancer",
            "loadBalancerClass": format!("evenkeel.dev/{provider}"),
            "ports": [{"name": "http", "port": 80, "targetPort": 8080}],
        },
    });
    services
        .create(&PostParams::default(), &serde_json::from_value(service)?)
        .await?;
    Ok(())
}

/// A controller.
pub(crate) struct Replica {
    pub(crate) name: String,
    line: Line,
    lease: (Api<Lease>, String),
    controller: Option<(oneshot::Sender<()>, JoinHandle<Result<()>>)>,
}

impl Replica {
    /// Waits until it watches the Lease of another.
    pub(crate) async fn stands_by(&self) -> Result<()> {
        eventually(format!("{} to stand by", self.name), LIMIT, || async {
            ensure!(self.line.watches.load(Ordering::SeqCst), "not yet");
            Ok(())
        })
        .await
    }

    /// Waits until somebody leads, where there is only this one.
    pub(crate) async fn leads(&self) -> Result<()> {
        eventually(format!("{} to lead", self.name), LIMIT, || async {
            let (leases, name) = &self.lease;
            let spec = leases.get(name).await?.spec.context("it says nothing")?;
            ensure!(spec.holder_identity.is_some(), "nobody does");
            ensure!(
                self.line.watches.load(Ordering::SeqCst),
                "it does not listen yet"
            );
            Ok(())
        })
        .await
    }

    pub(crate) fn asked_for_the_lease(&self) -> usize {
        self.line.looks.load(Ordering::SeqCst)
    }

    /// From now on its calls about the Lease are not answered, while everything else is: it could go on writing.
    pub(crate) fn cut_off(&self) {
        self.line.cut.send_replace(true);
    }

    /// Ends it in good order.
    pub(crate) async fn stop(&mut self) -> Result<()> {
        let (end, task) = self.controller.take().context("it does not run")?;
        let _ = end.send(());
        task.await.context("it panicked")?
    }

    /// Ends it as a crash does: nothing of it goes on.
    pub(crate) async fn crash(&mut self) {
        if let Some((_end, task)) = self.controller.take() {
            task.abort();
            let _ = task.await;
        }
    }

    /// Waits until it ends by itself, and returns with what error.
    pub(crate) async fn failed(&mut self) -> Result<String> {
        let (_end, task) = self.controller.take().context("it does not run")?;
        let ended = tokio::time::timeout(LIMIT, task).await;
        let ended = ended.context("it goes on")?.context("it panicked")?;
        Ok(format!("{:#}", ended.err().context("it ended well")?))
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        if let Some((_, task)) = &self.controller {
            task.abort();
        }
    }
}

/// The line between a replica and the API server: keeps its writes, and can be cut for calls about the Lease.
#[derive(Clone)]
struct Line {
    name: String,
    ledger: Ledger,
    cut: watch::Sender<bool>,
    /// Calls about the Lease.
    looks: Arc<AtomicUsize>,
    /// Whether the Lease is watched.
    watches: Arc<AtomicBool>,
}

impl Line {
    fn client(&self, client: Client) -> Client {
        let (line, namespace) = (self.clone(), client.default_namespace().to_owned());
        let service = service_fn(move |request: Request<Body>| {
            let (line, client) = (line.clone(), client.clone());
            async move {
                let path = request.uri().path().to_owned();
                let of_lease = path.contains("/leases");
                if of_lease {
                    let mut cut = line.cut.subscribe();
                    // The sender lives as long as the line.
                    let _ = cut.wait_for(|cut| !cut).await;
                    line.looks.fetch_add(1, Ordering::SeqCst);
                }
                // Who leads may still tell of the past for a moment after it gave the lead away.
                let kept =
                    request.method() != Method::GET && !of_lease && !path.contains("/events");
                let _writing = kept.then(|| {
                    let what = format!("{} {path}", request.method());
                    line.ledger.begin(&line.name, what, false)
                });
                let watches = of_lease
                    && request
                        .uri()
                        .query()
                        .is_some_and(|query| query.contains("watch"));
                let answer = client.send(request).await.map_err(BoxError::from);
                if watches {
                    line.watches.store(true, Ordering::SeqCst);
                }
                answer
            }
        });
        Client::new(service, namespace)
    }
}

/// Keeps the writes of a replica to the cloud, and gives them some time.
#[derive(Default)]
struct Recorder(Option<(String, Ledger)>);

#[async_trait]
impl Tweak<Own> for Recorder {
    async fn apply(
        &self,
        inner: &Own,
        key: &GroupKey,
        step: &Step,
        seen: &Observed,
        ticket: &Ticket,
    ) -> Result<Effect, CloudError> {
        let destroys = matches!(step, Step::Destroy { .. });
        let _writing = self
            .0
            .as_ref()
            .map(|(writer, ledger)| ledger.begin(writer, format!("{step:?}"), destroys));
        tokio::time::sleep(WRITE).await;
        inner.apply(key, step, seen, ticket).await
    }
}
