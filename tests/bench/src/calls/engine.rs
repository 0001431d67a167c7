//! The process that is measured, from inside: an engine with the provider, and nothing else. Reads orders from standard input,
//! writes to AWS, answers on standard output.

use std::{collections::BTreeMap, io::Write as _, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, anyhow, ensure};
use evenkeel_aws::{
    Aws, Context,
    client::{Client, Config, Keys},
    limiter::Rates,
};
use evenkeel_core::{
    Timestamp,
    converge::NoJournal,
    endpoints::EndpointSet,
    engine::{AnyProvider as _, Ask, Engine, Report, Request},
    group::Group,
    ids::{Cluster, GroupKey, NodeName, ServiceKey, ServiceRef, ServiceUid},
    intent::{Affinity, Intent, Options, PortIntent, SourceRanges, TargetPort, TrafficPolicy},
    net::IpFamily,
    nodes::{NodeSet, Placement},
    ports::{PortKey, Protocol},
    ticket::Ticket,
};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde::{Deserialize, Serialize};

use crate::system::{Cost, own_cost};

/// How many Services the controller works at together by default.
const WORKERS: usize = 8;

/// The UID of the cluster's namespace kube-system.
const CLUSTER: &str = "2d9f6c1e-0000-4000-8000-00000000a001";

/// What the process is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Order {
    /// Begin, here; told first.
    Begin(Place),
    /// These are the cluster's nodes.
    Nodes(Vec<Node>),
    /// Take the first look of all groups from one look at everything.
    Inventory,
    /// Serve Services until all is done.
    Serve {
        /// The Services.
        services: Vec<Service>,
        /// Look at what is there, though nothing is known to have changed.
        look: bool,
    },
    /// Give Services up until nothing is left.
    Release(Vec<Service>),
}

/// A corner of AWS.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Place {
    /// The cluster's name.
    pub cluster: String,
    /// The region.
    pub region: String,
    /// Where all APIs are.
    pub endpoint: String,
    /// The access key's id.
    pub key: String,
    /// Its secret.
    pub secret: String,
}

/// A node of the cluster.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Node {
    /// The name of the Node object.
    pub name: String,
    /// `spec.providerID`.
    pub provider_id: String,
    /// The zone.
    pub zone: String,
}

/// A plain Service.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// How many ports.
    pub ports: usize,
    /// Whether it has an annotation that is not about load balancers.
    pub annotated: bool,
}

impl Service {
    /// One without an annotation.
    pub fn new(name: impl Into<String>, ports: usize) -> Self {
        Self {
            name: name.into(),
            ports,
            annotated: false,
        }
    }

    fn intent(&self) -> Intent {
        let port = |number: u16| PortIntent {
            key: PortKey {
                port: 8_000 + number,
                protocol: Protocol::Tcp,
            },
            name: None,
            node_port: Some(30_000 + number),
            target_port: TargetPort::Number(8_000 + number),
        };
        let annotation = (Arc::from("example.org/owner"), Arc::from("shop"));
        Intent {
            service: ServiceRef {
                key: ServiceKey::new("shop", &*self.name),
                uid: ServiceUid::new(format!("uid-{}", self.name)),
            },
            profile: Default::default(),
            ports: (0..).take(self.ports).map(port).collect(),
            families: vec![IpFamily::V4],
            traffic_policy: TrafficPolicy::Cluster,
            affinity: Affinity::None,
            source_ranges: SourceRanges::All,
            allocate_node_ports: true,
            options: Options::default(),
            annotations: match self.annotated {
                true => BTreeMap::from([annotation]),
                false => BTreeMap::new(),
            },
        }
    }
}

/// What it says to an order: what it has cost so far, or what went wrong.
pub type Answer = Result<Cost, String>;

/// Does what it is told until standard input ends.
///
/// # Errors
/// When standard input or output is not what it should be.
pub fn main() -> Result<()> {
    // As many threads as the controller has.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let mut controller = None;
    for line in std::io::stdin().lines() {
        let done = match serde_json::from_str(&line?)? {
            Order::Begin(place) => {
                controller = Some(Controller::new(place));
                Ok(())
            }
            order => {
                let controller = controller.as_mut().context("not told where to begin")?;
                runtime.block_on(controller.obey(order))
            }
        };
        let answer: Answer = match done {
            Ok(()) => Ok(own_cost()?),
            Err(error) => Err(format!("{error:#}")),
        };
        let mut out = std::io::stdout().lock();
        writeln!(out, "{}", serde_json::to_string(&answer)?)?;
        out.flush()?;
    }
    Ok(())
}

struct Controller {
    place: Place,
    cluster: Cluster,
    nodes: Arc<NodeSet>,
    /// Made when the nodes are known, of which one tells the VPC.
    engine: Option<Engine<Aws>>,
}

impl Controller {
    fn new(place: Place) -> Self {
        Self {
            cluster: Cluster::new(CLUSTER, &*place.cluster),
            place,
            nodes: Arc::new(NodeSet::new(Vec::new())),
            engine: None,
        }
    }

    async fn obey(&mut self, order: Order) -> Result<()> {
        match order {
            Order::Begin(_) => Err(anyhow!("has begun")),
            Order::Nodes(nodes) => {
                let first = nodes.first().map(|node| node.provider_id.as_str().into());
                self.engine.get_or_insert_with(|| {
                    let context = Context::new(self.cluster.clone());
                    let client = Client::new(config(&self.place, first));
                    Engine::new(Aws::new(context, client))
                });
                self.nodes = Arc::new(NodeSet::new(nodes.into_iter().map(node).collect()));
                Ok(())
            }
            Order::Inventory => {
                self.engine()?.inventory().await?;
                Ok(())
            }
            Order::Serve { services, look } => {
                self.each(&services, async |service| {
                    let intent = service.intent();
                    let ask = Ask::Serve(Group::single(self.cluster.clone(), intent));
                    let report = self.run(service, ask, look).await?;
                    let served = report.settled()
                        && report.problems.is_none()
                        && report.port_errors.is_empty();
                    ensure!(served, "{} is not served: {report:#?}", service.name);
                    Ok(())
                })
                .await
            }
            Order::Release(services) => {
                self.each(&services, async |service| {
                    let report = self.run(service, Ask::Release, false).await?;
                    ensure!(report.gone, "{} is not gone: {report:#?}", service.name);
                    Ok(())
                })
                .await
            }
        }
    }

    fn engine(&self) -> Result<&Engine<Aws>> {
        self.engine.as_ref().context("not told of nodes")
    }

    /// As many at a time as the controller takes.
    async fn each<'a>(
        &self,
        services: &'a [Service],
        act: impl AsyncFn(&'a Service) -> Result<()>,
    ) -> Result<()> {
        stream::iter(services)
            .map(|service| act(service))
            .buffer_unordered(WORKERS)
            .try_collect()
            .await
    }

    async fn run(&self, service: &Service, ask: Ask, look: bool) -> Result<Report> {
        let request = Request {
            key: GroupKey::Service(service.intent().service),
            ask,
            nodes: Arc::clone(&self.nodes),
            endpoints: Arc::new(EndpointSet::unknown()),
            approval: None,
            paused: false,
            look,
            ticket: Ticket::unlimited(),
            // Nothing that is counted goes by the time of day.
            now: Timestamp::UNIX_EPOCH,
        };
        Ok(self.engine()?.run(request, &NoJournal).await)
    }
}

fn config(place: &Place, node: Option<Arc<str>>) -> Config {
    Config {
        region: Some(place.region.as_str().into()),
        node,
        endpoint: Some(place.endpoint.as_str().into()),
        keys: Some(Keys {
            id: place.key.as_str().into(),
            secret: place.secret.as_str().into(),
            token: None,
        }),
        instance_metadata: false,
        // An emulator on a busy machine is slow, and a call made again would be counted again.
        call_timeout: Duration::from_secs(120),
        rates: Rates::unlimited(),
        ..Config::default()
    }
}

fn node(node: Node) -> evenkeel_core::nodes::Node {
    evenkeel_core::nodes::Node {
        name: NodeName::new(&*node.name),
        provider_id: Some(node.provider_id.into()),
        addresses: Vec::new(),
        zone: Some(node.zone.into()),
        placement: Placement::Add,
    }
}
