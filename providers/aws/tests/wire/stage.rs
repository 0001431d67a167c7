//! A cluster in a corner of AWS, and an engine that serves its Services there.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use evenkeel_aws::{
    Aws, Context, NAME,
    client::{Client, Config, Keys},
    limiter::Rates,
};
use evenkeel_core::{
    Timestamp,
    converge::NoJournal,
    endpoints::EndpointSet,
    engine::{AnyProvider, Ask, Engine, Report, Request},
    group::Group,
    ids::{Cluster, GroupKey, NodeName, ServiceKey, ServiceRef, ServiceUid},
    intent::{Affinity, Intent, Options, PortIntent, SourceRanges, TargetPort, TrafficPolicy},
    net::IpFamily,
    nodes::{Labels, Node, NodeLabels, NodeSet, Placement},
    plan::Until,
    ports::{PortKey, Protocol},
    ticket::Ticket,
};
use evenkeel_harness::aws::{self, Counts, State, World, WorldOptions};

/// The cluster's identity.
pub(crate) const CLUSTER: &str = "2d9f6c1e-0000-4000-8000-00000000a001";

/// A controller, whatever its provider.
pub(crate) type Controller = Box<dyn AnyProvider>;

/// Makes a controller of the provider.
pub(crate) type Wrap = fn(Aws) -> Controller;

/// The provider as it is.
pub(crate) fn as_it_is(aws: Aws) -> Controller {
    Box::new(Engine::new(aws))
}

/// A cluster with its controller.
pub(crate) struct Stage {
    pub(crate) aws: aws::Aws,
    pub(crate) world: World,
    pub(crate) engine: Controller,
    pub(crate) wrap: Wrap,
    pub(crate) nodes: Arc<NodeSet>,
    pub(crate) endpoints: Arc<EndpointSet>,
}

impl Stage {
    /// A cluster with nodes.
    pub(crate) async fn with_nodes(nodes: usize) -> Result<Self> {
        let options = WorldOptions {
            nodes,
            ..WorldOptions::default()
        };
        Self::on(options).await
    }

    /// A cluster in such a VPC.
    pub(crate) async fn on(options: WorldOptions) -> Result<Self> {
        Self::in_aws(super::backend().await?, options).await
    }

    /// The same on a backend of the caller's choice.
    pub(crate) async fn in_aws(aws: aws::Aws, options: WorldOptions) -> Result<Self> {
        let world = World::build(aws.client(), &options).await?;
        Ok(Self {
            engine: as_it_is(provider(&world, config(&aws, &world))),
            wrap: as_it_is,
            nodes: Arc::new(node_set(&world)),
            endpoints: Arc::new(EndpointSet::unknown()),
            aws,
            world,
        })
    }

    /// As after a restart: nothing is remembered.
    pub(crate) async fn restart(&mut self) -> Result<()> {
        self.restart_cold();
        self.engine.inventory().await?;
        Ok(())
    }

    /// As after a restart, and every look at a Service looks at the whole region and all tags too.
    pub(crate) fn sweep_at_every_look(&mut self) {
        let context = Context {
            sweep: Duration::ZERO,
            ..Context::new(cluster(&self.world))
        };
        let client = Client::new(config(&self.aws, &self.world));
        self.engine = (self.wrap)(Aws::new(context, client));
    }

    /// As after a restart whose first look is yet to come.
    pub(crate) fn restart_cold(&mut self) {
        self.engine = (self.wrap)(provider(&self.world, config(&self.aws, &self.world)));
    }

    /// Nodes that join.
    pub(crate) async fn join(&mut self, count: usize) -> Result<()> {
        self.world.add_nodes(self.aws.client(), count).await?;
        self.nodes = Arc::new(node_set(&self.world));
        Ok(())
    }

    /// The nodes of these numbers are of the pool `edge`, and no others.
    pub(crate) fn pool(&mut self, numbers: &[usize]) {
        let nodes = node_set(&self.world);
        let edge: Labels = [("pool".into(), "edge".into())].into();
        let of = numbers.iter().map(|number| {
            let name = NodeName::new(&*self.world.nodes[*number].private_dns_name);
            (name, Arc::new(edge.clone()))
        });
        let labels = NodeLabels::of(["pool".into()].into(), of.collect());
        self.nodes = Arc::new(nodes.with_labels(Arc::new(labels)));
    }

    /// Nodes whose instances AWS does not know.
    pub(crate) fn add_strangers(&mut self, count: usize) {
        let mut nodes = self.nodes.nodes().to_vec();
        for number in 0..count {
            nodes.push(Node {
                name: NodeName::new(format!("stranger-{number}")),
                provider_id: Some(format!("aws:///{}/i-{number:017x}", self.world.zones[0]).into()),
                addresses: Vec::new(),
                zone: None,
                placement: Placement::Add,
            });
        }
        self.nodes = Arc::new(NodeSet::new(nodes));
    }

    /// A run of one who has lost the lead.
    pub(crate) async fn without_a_ticket(&self, intent: &Intent) -> (Report, Counts) {
        let ended = Ticket::until(Instant::now(), Arc::default());
        self.run_with(&key(intent), serve(intent), false, ended)
            .await
    }

    /// One run, with what it asked. Where it lets others go first, the next one ends it.
    pub(crate) async fn run(&self, key: &GroupKey, ask: Ask, look: bool) -> (Report, Counts) {
        self.run_with(key, ask, look, Ticket::unlimited()).await
    }

    async fn run_with(
        &self,
        key: &GroupKey,
        ask: Ask,
        look: bool,
        ticket: Ticket,
    ) -> (Report, Counts) {
        let mark = self.aws.calls().mark();
        let request = Request {
            look,
            ticket,
            ..self.request(key, ask)
        };
        let mut report = self.engine.run(request.clone(), &NoJournal).await;
        if report.waits.iter().any(|wait| wait.until == Until::Turn) {
            let next = Request {
                look: false,
                ..request
            };
            let next = self.engine.run(next, &NoJournal).await;
            report = Report {
                applied: [report.applied, next.applied].concat(),
                ..next
            };
        }
        (report, self.aws.calls().count_since(mark))
    }

    /// What a run is asked.
    pub(crate) fn request(&self, key: &GroupKey, ask: Ask) -> Request {
        Request {
            key: key.clone(),
            ask,
            nodes: Arc::clone(&self.nodes),
            endpoints: Arc::clone(&self.endpoints),
            approval: None,
            paused: false,
            look: false,
            ticket: Ticket::unlimited(),
            now: "2026-11-01T00:00:00Z".parse::<Timestamp>().expect("a time"),
        }
    }

    /// Serves a Service until all is done; what all runs asked.
    pub(crate) async fn serve(&self, intent: &Intent) -> (Report, Counts) {
        self.run(&key(intent), serve(intent), false).await
    }

    /// Looks at a Service whose world has not changed as far as we know.
    pub(crate) async fn look(&self, intent: &Intent) -> (Report, Counts) {
        self.run(&key(intent), serve(intent), true).await
    }

    /// Gives a Service up.
    pub(crate) async fn release(&self, intent: &Intent) -> (Report, Counts) {
        self.run(&key(intent), Ask::Release, false).await
    }

    pub(crate) async fn state(&self) -> Result<State> {
        self.aws.state().await
    }
}

/// A provider for the cluster.
pub(crate) fn provider(world: &World, config: Config) -> Aws {
    Aws::new(Context::new(cluster(world)), Client::new(config))
}

/// What finds this corner of AWS, and nothing else.
pub(crate) fn config(aws: &aws::Aws, world: &World) -> Config {
    let access = aws.access_key();
    Config {
        region: Some(aws.region().into()),
        node: world.nodes.first().map(|node| node.provider_id().into()),
        endpoint: Some(aws.endpoint().into()),
        keys: Some(Keys {
            id: access.id.into(),
            secret: access.secret.into(),
            token: None,
        }),
        instance_metadata: false,
        rates: Rates::unlimited(),
        ..Config::default()
    }
}

pub(crate) fn cluster(world: &World) -> Cluster {
    Cluster::new(CLUSTER, &*world.cluster)
}

fn node_set(world: &World) -> NodeSet {
    let nodes = world.nodes.iter().map(|node| Node {
        name: NodeName::new(&*node.private_dns_name),
        provider_id: Some(node.provider_id().into()),
        addresses: Vec::new(),
        zone: Some((*node.zone).into()),
        placement: Placement::Add,
    });
    NodeSet::new(nodes.collect())
}

pub(crate) fn key(intent: &Intent) -> GroupKey {
    GroupKey::Service(intent.service.clone())
}

pub(crate) fn serve(intent: &Intent) -> Ask {
    let cluster = Cluster::new(CLUSTER, "kestrel");
    Ask::Serve(Group::single(cluster, intent.clone()))
}

/// A plain Service with these TCP ports.
pub(crate) fn service(name: &str, ports: &[u16]) -> Intent {
    let port = |number: &u16| PortIntent {
        key: PortKey {
            port: *number,
            protocol: Protocol::Tcp,
        },
        name: None,
        node_port: Some(30_000 + number % 2_768),
        target_port: TargetPort::Number(*number),
        app_protocol: None,
    };
    Intent {
        service: ServiceRef {
            key: ServiceKey::new("shop", name),
            uid: ServiceUid::new(format!("uid-{name}")),
        },
        profile: Default::default(),
        ports: ports.iter().map(port).collect(),
        families: vec![IpFamily::V4],
        traffic_policy: TrafficPolicy::Cluster,
        affinity: Affinity::None,
        source_ranges: SourceRanges::All,
        allocate_node_ports: true,
        options: Options::default(),
        annotations: BTreeMap::new(),
    }
}

/// What a report must say when all is done.
pub(crate) fn settled(report: &Report) {
    assert!(
        report.settled() && report.problems.is_none() && report.port_errors.is_empty(),
        "{report:#?}"
    );
}

/// The provider's name is part of finalizers, and never changes.
#[test]
fn the_name() {
    assert_eq!(NAME, "aws");
}
