//! Worlds for the laws: a cluster's corner of an emulator, the line to it, and what the laws want to know of both.

mod line;
mod provider;
mod sight;

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use evenkeel_aws::{
    client::{Config, Keys},
    limiter::Rates,
    model::Observed,
    names::{self, tag},
};
use evenkeel_core::{
    ids::GroupKey,
    intent::{Intent, Scheme},
    nodes::Node,
};
use evenkeel_harness::{
    aws::{Aws, World as Place, WorldOptions},
    fake_aws::{Settings, Settle},
};
use evenkeel_laws::{
    rig::{Object, Picture, Rig, World},
    samples,
    tap::{Fault, Tap},
};
use serde_json::json;

use crate::asks;
use line::Line;
use provider::Clustered;

/// The UID of a cluster that is not ours.
const TWIN: &str = "2d9f6c1e-0000-4000-8000-00000000c002";

/// More than any law has.
const NODES: usize = 8;

/// How many calls of a run are broken, one after the other.
const POINTS: usize = 1;

/// The same of the first run of a law.
const FIRST_POINTS: usize = 8;

/// The rig of one test.
#[derive(Debug, Default)]
pub(crate) struct AwsRig {
    /// How many runs were broken so far.
    turns: AtomicUsize,
    /// How many calls.
    broken: AtomicUsize,
    /// Whether each call is broken in one way, and the next one in another.
    breaks_in_turn: bool,
    /// Whether every process begins with all nodes admitted.
    nodes_admitted: bool,
    /// Whether AWS is our fake, and does not find what was made a moment ago.
    late: bool,
}

impl AwsRig {
    /// One in whose worlds the first write to each new object does not find it.
    pub(crate) fn whose_writes_are_late() -> Self {
        Self {
            late: true,
            ..Self::that_breaks_in_turn()
        }
    }

    /// One that breaks each call in one way, and the next one in another.
    pub(crate) fn that_breaks_in_turn() -> Self {
        Self {
            breaks_in_turn: true,
            ..Self::default()
        }
    }

    /// One whose processes begin with all nodes admitted.
    pub(crate) fn with_nodes_admitted() -> Self {
        Self {
            nodes_admitted: true,
            ..Self::default()
        }
    }
}

#[async_trait]
impl Rig for AwsRig {
    type Provider = Clustered;
    type World = AwsWorld;

    async fn world(&self) -> AwsWorld {
        AwsWorld::start(self.nodes_admitted, self.late).await
    }

    fn normalise(&self, seen: Observed) -> Observed {
        asks::normal(seen)
    }

    /// Known by its number: each world has instances of its own.
    fn node(&self, number: u8) -> Node {
        Node {
            provider_id: Some(provider::numbered(number.into())),
            ..samples::node(number)
        }
    }

    fn service(&self, name: &str) -> Intent {
        asks::service(name)
    }

    fn change(&self, intent: &mut Intent) {
        asks::change(intent);
    }

    fn break_annotation(&self, intent: &mut Intent) {
        asks::annotate(intent, "healthcheck-interval", "soon");
    }

    fn replace(&self, intent: &mut Intent) -> bool {
        asks::annotate(intent, "scheme", "internal");
        true
    }

    fn add_unservable_port(&self, intent: &mut Intent) -> bool {
        asks::add_sctp(intent, self.another_port());
        true
    }

    /// A few of each run, and other ones each time; more of the first.
    fn fault_points(&self, calls: usize) -> Vec<usize> {
        let turn = self.turns.fetch_add(1, Ordering::Relaxed);
        let points = if turn == 0 { FIRST_POINTS } else { POINTS };
        let point = |number: usize| (turn * 5 + 3 + number * calls.div_ceil(points)) % calls;
        let points: BTreeSet<_> = (0..points.min(calls)).map(point).collect();
        points.into_iter().collect()
    }

    /// One for each call that is broken, and another one each time.
    fn faults(&self) -> Vec<Fault> {
        let broken = self.broken.fetch_add(1, Ordering::Relaxed);
        match self.breaks_in_turn {
            true => vec![Fault::ALL[broken % Fault::ALL.len()]],
            false => Fault::ALL.to_vec(),
        }
    }

    fn ways(&self) -> u32 {
        4
    }

    /// A world is processes and sockets, and the machine may be busy.
    fn patience(&self) -> Duration {
        Duration::from_secs(60)
    }

    fn ask_the_refused(&self, intent: &mut Intent) -> bool {
        // Of no account of ours.
        let certificate = "arn:aws:acm:eu-west-1:999999999999:certificate/not-there";
        asks::annotate(intent, "ssl-cert", certificate);
        true
    }
}

/// A cluster's corner of the emulator.
pub(crate) struct AwsWorld {
    aws: Arc<Aws>,
    place: Arc<Place>,
    line: Arc<Line>,
    nodes_admitted: bool,
}

impl AwsWorld {
    async fn start(nodes_admitted: bool, late: bool) -> Self {
        let options = WorldOptions {
            // As the nodes' tags name it.
            cluster: samples::cluster().name.to_string(),
            zones: 2,
            nodes: NODES,
            dual_stack: false,
        };
        let world = match late {
            true => late_world(&options).await,
            false => Aws::moto_in_world(&options).await,
        };
        let (aws, place) = world.unwrap_or_else(|error| panic!("{error:#}"));
        let (aws, place) = (Arc::new(aws), Arc::new(place));
        let line = Arc::new(Line::new(&aws, &place));
        let watching = aws.watch(Arc::<Line>::clone(&line));
        watching.expect("nobody else watches");
        Self {
            aws,
            place,
            line,
            nodes_admitted,
        }
    }

    fn config(&self) -> Config {
        let access = self.aws.access_key();
        Config {
            region: Some(self.aws.region().into()),
            node: Some(self.place.nodes[0].provider_id().into()),
            endpoint: Some(self.aws.endpoint().into()),
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

    /// Has another client than ours make something.
    async fn plant(&self, service: &str, operation: &str, parameters: serde_json::Value) {
        let made = self.aws.client().call(service, operation, parameters).await;
        made.unwrap_or_else(|error| panic!("{error:#}"));
    }
}

#[async_trait]
impl World for AwsWorld {
    type Provider = Clustered;

    async fn provider(&self) -> Clustered {
        self.line.next_process();
        self.line.quiet().await;
        let provider = Clustered::new(self.config(), &self.place);
        if self.nodes_admitted {
            provider.admit_nodes().await;
        }
        provider
    }

    fn tap(&self) -> &Tap {
        self.line.tap()
    }

    async fn objects(&self) -> Vec<Object> {
        let state = self.aws.quick_state().await.expect("the state");
        sight::objects(&state, &self.place, self.aws.region())
    }

    async fn picture(&self) -> Picture {
        let state = self.aws.quick_state().await.expect("the state");
        sight::picture(&state, &self.place)
    }

    /// The emulator has nothing that takes time; somebody may have to listen again.
    async fn advance(&self) {
        let address = self.aws.endpoint();
        let address = address.trim_start_matches("http://").parse::<SocketAddr>();
        self.line.reachable(address.expect("an address")).await;
    }

    /// What a cluster restored from a copy of ours has, whose Services are the same to the UID, and what nobody has.
    async fn plant_neighbours(&self) {
        let tags = twin_tags("uid-checkout", "shop/checkout");
        let group = json!({
            "Name": "ek-shop-checkout-twin", "Protocol": "TCP", "Port": 30080, "VpcId": self.place.vpc_id,
            "TargetType": "instance", "Tags": tags,
        });
        self.plant("elbv2", "CreateTargetGroup", group).await;
        let theirs = json!({
            "Name": "ek-shop-checkout-copy", "Type": "network", "Scheme": "internal",
            "Subnets": [self.place.private_subnets[0]], "Tags": tags,
        });
        self.plant("elbv2", "CreateLoadBalancer", theirs).await;
        let nobodys = json!({
            "GroupName": "by-hand", "Description": "by hand", "VpcId": self.place.vpc_id,
        });
        self.plant("ec2", "CreateSecurityGroup", nobodys).await;
    }

    async fn plant_in_the_way(&self, key: &GroupKey) -> bool {
        let name =
            names::load_balancer(&samples::cluster().uid, key, Scheme::InternetFacing, false);
        let theirs = json!({
            "Name": name, "Type": "network", "Scheme": "internal",
            "Subnets": [self.place.private_subnets[0]],
            "Tags": twin_tags("uid-other", "shop/other"),
        });
        self.plant("elbv2", "CreateLoadBalancer", theirs).await;
        true
    }
}

async fn late_world(options: &WorldOptions) -> anyhow::Result<(Aws, Place)> {
    let aws = Aws::fake(Settings {
        write_lag: Settle::calls(1),
        ..Settings::default()
    })
    .await?;
    let place = Place::build(aws.client(), options).await?;
    Ok((aws, place))
}

fn twin_tags(uid: &str, service: &str) -> serde_json::Value {
    let tags = [
        (tag::CLUSTER, TWIN),
        (tag::CLUSTER_NAME, "harbour"),
        (tag::GROUP, uid),
        (tag::SERVICE, service),
        (tag::MEMBER, uid),
        (tag::RESOURCE, names::LOAD_BALANCER),
    ];
    tags.map(|(key, value)| json!({"Key": key, "Value": value}))
        .into_iter()
        .collect()
}
