//! A cluster in an Azure of its own, and a controller in miniature that runs all its groups at once, as far as each goes, and again
//! when it is told.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use evenkeel_azure::{
    Azure, Context, Limits, Timing,
    client::{Client, ClientConfig, Credential, Rates},
    names::{self, tag},
};
use evenkeel_core::{
    Timestamp,
    converge::NoJournal,
    endpoints::EndpointSet,
    engine::{AnyProvider, Ask, Engine, Report, Request},
    group::Group,
    ids::{GroupKey, NodeName, ServiceKey, ServiceRef, ServiceUid},
    intent::{Intent, Scheme},
    nodes::{Node, NodeSet, Placement},
    plan::Until,
    shared::Gather,
    ticket::Ticket,
};
use evenkeel_harness::fake_azure::{FakeAzure, LOCATION, Settings, World, WorldOptions};
use evenkeel_laws::samples;
use futures::future::join_all;
use serde_json::{Value, json};
use tokio::sync::Notify;

/// How long something that must happen may take before it counts as never.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a group waits that does not wait to be told.
const PAUSE: Duration = Duration::from_millis(30);

/// How often a group is run that keeps failing.
const ATTEMPTS: usize = 8;

/// More runs of one group than any way to a settled state needs.
const MANY: usize = 400;

/// Groups that somebody woke.
#[derive(Default)]
struct Told(Mutex<BTreeMap<GroupKey, Arc<Notify>>>);

impl Told {
    fn of(&self, key: &GroupKey) -> Arc<Notify> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(key.clone()).or_default())
    }
}

/// A process of the controller.
pub(crate) struct Process {
    pub(crate) engine: Engine<Azure>,
    told: Arc<Told>,
    pub(crate) ticket: Ticket,
}

/// The cluster and its Azure.
pub(crate) struct Stage {
    pub(crate) azure: FakeAzure,
    pub(crate) place: World,
    pub(crate) context: Context,
    pub(crate) timing: Timing,
    pub(crate) rates: Rates,
}

impl Stage {
    pub(crate) async fn new() -> Self {
        Self::with(Settings::default(), 3).await
    }

    pub(crate) async fn with(settings: Settings, nodes: usize) -> Self {
        let azure = FakeAzure::start(settings).await.expect("a port");
        let options = WorldOptions {
            nodes,
            ..WorldOptions::default()
        };
        let place = World::build(&azure, &options);
        Self {
            context: context(&azure, &place),
            azure,
            place,
            timing: Timing {
                sweep: Duration::from_secs(600),
                gather: Some(Gather {
                    quiet: Duration::from_millis(60),
                    longest: Duration::from_millis(600),
                }),
            },
            rates: Rates::unlimited(),
        }
    }

    pub(crate) fn client(&self) -> Client {
        let who = self.azure.identities();
        let config = ClientConfig {
            endpoint: Some(self.azure.endpoint().into()),
            authority: Some(self.azure.endpoint().into()),
            credential: Credential::Secret {
                tenant: who.tenant.into(),
                client: who.client.into(),
                secret: who.secret.into(),
            },
            poll_pauses: [Duration::from_millis(5)].into(),
            rates: self.rates,
            ..ClientConfig::default()
        };
        Client::new(config).expect("a configuration that holds")
    }

    /// A process that starts.
    pub(crate) fn process(&self) -> Process {
        let provider = Azure::new(self.context.clone(), self.client(), self.timing);
        let engine = Engine::new(provider);
        let told: Arc<Told> = Arc::default();
        let tell = Arc::clone(&told);
        engine.attach(Arc::new(move |key| tell.of(key).notify_one()));
        Process {
            engine,
            told,
            ticket: Ticket::unlimited(),
        }
    }

    /// The cluster's nodes.
    pub(crate) fn nodes(&self) -> Arc<NodeSet> {
        let nodes = self.place.nodes.iter().enumerate();
        let nodes = nodes.map(|(index, address)| node(index + 1, address));
        Arc::new(NodeSet::new(nodes.collect()))
    }

    pub(crate) fn balancer(&self, scheme: Scheme) -> Option<Value> {
        let name = self.context.load_balancer(scheme);
        self.azure.state().load_balancer(&name)?.live.clone()
    }

    /// The names of the rules of a load balancer that are this Service's.
    pub(crate) fn rules_of(&self, scheme: Scheme, service: &Intent) -> Vec<String> {
        let group = names::group(&self.context.cluster, &Group::key_of(service));
        let live = self.balancer(scheme).unwrap_or_default();
        let rules = live["properties"]["loadBalancingRules"].as_array();
        let names = rules
            .into_iter()
            .flatten()
            .filter_map(|rule| rule["name"].as_str());
        let own = names.filter(|name| names::is_of(name, &group));
        own.map(str::to_owned).collect()
    }

    /// How many public addresses are there with our tag.
    pub(crate) fn addresses(&self) -> usize {
        let state = self.azure.state();
        let all = state.of(evenkeel_harness::fake_azure::Kind::PublicIp);
        all.filter(|one| one.tag(tag::CLUSTER).is_some()).count()
    }
}

pub(crate) fn context(azure: &FakeAzure, place: &World) -> Context {
    Context {
        subscription: azure.subscription().into(),
        resource_group: place.group.as_str().into(),
        virtual_network: place.network.as_str().into(),
        security_group: Some(place.security_group.as_str().into()),
        ..nowhere()
    }
}

/// The settings of a cluster that is at no place yet.
pub(crate) fn nowhere() -> Context {
    Context {
        cluster: samples::cluster(),
        subscription: "".into(),
        resource_group: "".into(),
        location: LOCATION.into(),
        virtual_network: "".into(),
        subnet: "nodes".into(),
        node_prefixes: vec!["10.20.0.0/20".parse().expect("a prefix")],
        load_balancer: None,
        security_group: None,
        tags: BTreeMap::new(),
        disable_outbound_snat: false,
        shared_probe: false,
        priorities: 1500..=3499,
        limits: Limits::default(),
    }
}

pub(crate) fn node(number: usize, address: &str) -> Node {
    Node {
        name: NodeName::new(format!("node-{number}")),
        provider_id: Some(format!("azure:///n{number}").into()),
        addresses: vec![address.parse().expect("an address")],
        zone: None,
        placement: Placement::Add,
    }
}

/// A Service with one port of its own, in the virtual network.
pub(crate) fn internal(number: usize) -> Intent {
    let mut intent = public(number);
    intent.options.scheme = Some(Scheme::Internal);
    intent
}

/// A Service with one port of its own, on the Internet.
pub(crate) fn public(number: usize) -> Intent {
    let mut intent = samples::service("x");
    intent.service = ServiceRef {
        key: ServiceKey::new("shop", format!("svc-{number}")),
        uid: ServiceUid::new(format!("0f6c1b52-7a0e-4c55-9a7b-{number:012x}")),
    };
    let port = 10_000 + u16::try_from(number).expect("few");
    intent.ports = vec![samples::port(port, evenkeel_core::ports::Protocol::Tcp)];
    intent.ports[0].node_port = Some(20_000 + port);
    intent
}

/// The Service with an annotation of Azure's.
pub(crate) fn annotated(mut intent: Intent, key: &str, value: &str) -> Intent {
    let key = format!("service.beta.kubernetes.io/azure-{key}");
    intent.annotations.insert(key.into(), value.into());
    intent
}

pub(crate) fn serve(intent: &Intent) -> (GroupKey, Ask) {
    let group = Group::single(samples::cluster(), intent.clone());
    (group.key.clone(), Ask::Serve(group))
}

pub(crate) fn release(intent: &Intent) -> (GroupKey, Ask) {
    (Group::key_of(intent), Ask::Release)
}

/// Every report, by group.
pub(crate) type Reports = BTreeMap<GroupKey, Report>;

impl Process {
    pub(crate) fn request(&self, stage: &Stage, (key, ask): &(GroupKey, Ask)) -> Request {
        Request {
            key: key.clone(),
            ask: ask.clone(),
            nodes: stage.nodes(),
            endpoints: Arc::new(EndpointSet::unknown()),
            approval: None,
            paused: false,
            look: false,
            ticket: self.ticket.clone(),
            now: Timestamp::UNIX_EPOCH,
        }
    }

    /// One run.
    pub(crate) async fn run(&self, stage: &Stage, ask: &(GroupKey, Ask)) -> Report {
        self.engine.run(self.request(stage, ask), &NoJournal).await
    }

    /// Runs all at once, each until nothing is left to do, or only failures are.
    pub(crate) async fn settle(
        &self,
        stage: &Stage,
        asks: impl IntoIterator<Item = (GroupKey, Ask)>,
    ) -> Reports {
        let asks: Vec<_> = asks.into_iter().collect();
        let all = asks.iter().map(|ask| async move {
            let settled = tokio::time::timeout(PATIENCE, self.settle_one(stage, ask)).await;
            let report = settled.unwrap_or_else(|_| panic!("{} does not settle", ask.0));
            (ask.0.clone(), report)
        });
        join_all(all).await.into_iter().collect()
    }

    async fn settle_one(&self, stage: &Stage, ask: &(GroupKey, Ask)) -> Report {
        let told = self.told.of(&ask.0);
        let mut failed = 0;
        for _ in 0..MANY {
            let report = self.run(stage, ask).await;
            if !report.failures.is_empty() {
                failed += 1;
                if failed >= ATTEMPTS {
                    return report;
                }
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            let waits = &report.waits;
            if waits.iter().any(|wait| wait.until != Until::Told) {
                tokio::time::sleep(PAUSE).await;
            } else if !waits.is_empty() {
                told.notified().await;
            } else {
                return report;
            }
        }
        panic!("{} runs and runs", ask.0);
    }

    /// The same, and all must be well.
    pub(crate) async fn settled(
        &self,
        stage: &Stage,
        asks: impl IntoIterator<Item = (GroupKey, Ask)>,
    ) -> Reports {
        let reports = self.settle(stage, asks).await;
        for (key, report) in &reports {
            assert!(
                report.settled() && report.problems.is_none(),
                "{key}: {report:#?}\n{}",
                stage.azure.calls()
            );
        }
        reports
    }
}

/// The bytes of what is not ours in a resource: every child whose name does not begin as ours do.
pub(crate) fn foreign(body: &Value) -> Value {
    let mut body = body.clone();
    for (_, list) in body["properties"].as_object_mut().into_iter().flatten() {
        if let Some(children) = list.as_array_mut() {
            children.retain(|child| {
                !child["name"]
                    .as_str()
                    .is_some_and(|name| name.starts_with("ek-"))
            });
        }
    }
    json!(body)
}
