//! Worlds for the laws: an Azure of their own each, the line to it, and what the laws want to know of both.

mod line;
mod sight;

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use evenkeel_azure::{
    Azure, Context, Limits, Timing,
    client::{Client, ClientConfig, Credential, Rates},
    model::{Observed, Place, SeenBalancer},
    names::{self, tag},
};
use evenkeel_core::{
    ids::{Cluster, GroupKey},
    intent::{Intent, Scheme},
    net::IpFamily,
    nodes::Node,
    ports::Protocol,
};
use evenkeel_harness::fake_azure::{FakeAzure, LOCATION, Settings, World as Region, WorldOptions};
use evenkeel_laws::{
    rig::{Abilities, Object, Picture, Rig, World},
    samples,
    tap::{Fault, Tap},
};
use http::Method;
use serde_json::{Value, json};

use line::Line;

/// The UID of a cluster that is not ours.
const TWIN: &str = "2d9f6c1e-0000-4000-8000-00000000c002";

/// More than any law has.
const NODES: usize = 9;

/// Services that laws have by name, and how many by number.
const NAMED: [&str; 5] = ["checkout", "search", "cart", "news", "stock"];
const NUMBERED: usize = 100;

/// The Services of all laws.
fn services() -> impl Iterator<Item = String> {
    let named = NAMED.into_iter().map(str::to_owned);
    named.chain((0..NUMBERED).map(|number| format!("svc-{number}")))
}

/// The rig of one test.
#[derive(Debug)]
pub(crate) struct AzureRig {
    scheme: Scheme,
    /// How many calls of a run are broken, one after the other.
    points: usize,
    /// How many runs were broken so far.
    turns: AtomicUsize,
    /// How many calls.
    broken: AtomicUsize,
}

impl AzureRig {
    pub(crate) fn of(scheme: Scheme) -> Self {
        Self {
            scheme,
            points: 3,
            turns: AtomicUsize::new(0),
            broken: AtomicUsize::new(0),
        }
    }
}

fn annotate(intent: &mut Intent, suffix: &str, value: &str) {
    let key = format!("service.beta.kubernetes.io/azure-{suffix}");
    intent.annotations.insert(key.into(), value.into());
}

#[async_trait]
impl Rig for AzureRig {
    type Provider = Azure;
    type World = AzureWorld;

    async fn world(&self) -> AzureWorld {
        AzureWorld::start(self.scheme).await
    }

    fn abilities(&self) -> Abilities {
        Abilities {
            shared_writer: self.scheme == Scheme::Internal,
            // There is nothing of an internal one that could be stamped.
            retain: self.scheme == Scheme::InternetFacing,
            ..Abilities::default()
        }
    }

    fn normalise(&self, mut seen: Observed) -> Observed {
        let blank = |family| match family {
            IpFamily::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpFamily::V6 => IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
        };
        for side in seen.balancers.values_mut() {
            (side.claim, side.members_claim) = (None, None);
            for frontend in side.part.frontends.values_mut() {
                frontend.given = frontend.given.map(|_| blank(frontend.family));
                if let Place::Subnet { address, .. } = &frontend.place
                    && address.is_none()
                {
                    frontend.given = Some(blank(frontend.family));
                }
            }
        }
        seen.balancers
            .retain(|_, side| *side != SeenBalancer::default());
        for ip in seen.public_ips.values_mut() {
            ip.address = Some(blank(ip.family));
            let last = |id: Arc<str>| Arc::from(id.rsplit('/').next().unwrap_or_default());
            ip.attached = ip.attached.take().map(last);
        }
        if let Some(security) = &mut seen.security {
            security.claim = None;
        }
        seen
    }

    fn service(&self, name: &str) -> Intent {
        let mut intent = samples::service(name);
        intent.options.scheme = Some(self.scheme);
        let number = services().position(|known| known == name);
        let first = 20_000 + 20 * u16::try_from(number.expect("a Service of a law")).expect("few");
        for (index, port) in (0..).zip(&mut intent.ports) {
            // No two Services have one NodePort.
            port.node_port = Some(first + 5 * index);
        }
        intent
    }

    fn node(&self, number: u8) -> Node {
        let address = IpAddr::V4(Ipv4Addr::new(10, 20, 0, number + 3));
        Node {
            addresses: vec![address],
            ..samples::node(number)
        }
    }

    fn change(&self, intent: &mut Intent) {
        annotate(intent, "load-balancer-tcp-idle-timeout", "15");
        annotate(intent, "load-balancer-health-probe-protocol", "http");
        annotate(intent, "load-balancer-health-probe-request-path", "/ready");
    }

    fn break_annotation(&self, intent: &mut Intent) {
        annotate(intent, "load-balancer-tcp-idle-timeout", "soon");
    }

    /// Not from inside: an address that was given up there may be given again, and its loss is the same loss.
    fn replace(&self, intent: &mut Intent) -> bool {
        let replaces = self.scheme == Scheme::InternetFacing;
        if replaces {
            intent.options.scheme = Some(Scheme::Internal);
        }
        replaces
    }

    fn add_unservable_port(&self, intent: &mut Intent) -> bool {
        // One more than Azure has.
        let mut port = samples::port(65_535, Protocol::Tcp);
        port.node_port = Some(19_999);
        intent.ports.push(port);
        true
    }

    /// The address of a node.
    fn ask_the_refused(&self, intent: &mut Intent) -> bool {
        annotate(intent, "load-balancer-ipv4", "10.20.0.4");
        self.scheme == Scheme::Internal
    }

    /// A few of each run, and other ones each time.
    fn fault_points(&self, calls: usize) -> Vec<usize> {
        let turn = self.turns.fetch_add(1, Ordering::Relaxed);
        let points = match turn {
            0 => calls,
            _ => self.points.min(calls),
        };
        let point = |number: usize| (turn * 5 + 3 + number * calls.div_ceil(points)) % calls;
        let points: std::collections::BTreeSet<_> = (0..points).map(point).collect();
        points.into_iter().collect()
    }

    /// One for each call that is broken, and another one each time.
    fn faults(&self) -> Vec<Fault> {
        let broken = self.broken.fetch_add(1, Ordering::Relaxed);
        vec![Fault::ALL[broken % Fault::ALL.len()]]
    }

    fn ways(&self) -> u32 {
        12
    }

    /// A world is sockets, and the machine may be busy.
    fn patience(&self) -> Duration {
        Duration::from_secs(60)
    }
}

/// A subscription with a cluster in it.
pub(crate) struct AzureWorld {
    azure: Arc<FakeAzure>,
    region: Region,
    line: Arc<Line>,
    scheme: Scheme,
}

impl AzureWorld {
    async fn start(scheme: Scheme) -> Self {
        let azure = FakeAzure::start(Settings::default()).await;
        let azure = Arc::new(azure.unwrap_or_else(|error| panic!("{error:#}")));
        let options = WorldOptions {
            nodes: NODES,
            ..WorldOptions::default()
        };
        let region = Region::build(&azure, &options);
        let line = Arc::new(Line::new(&azure));
        let watching = azure.watch(Arc::<Line>::clone(&line));
        watching.expect("nobody else watches");
        Self {
            azure,
            region,
            line,
            scheme,
        }
    }

    fn context(&self) -> Context {
        Context {
            cluster: samples::cluster(),
            subscription: self.azure.subscription().into(),
            resource_group: self.region.group.as_str().into(),
            location: LOCATION.into(),
            virtual_network: self.region.network.as_str().into(),
            subnet: "nodes".into(),
            node_prefixes: vec!["10.20.0.0/20".parse().expect("a prefix")],
            load_balancer: None,
            security_group: Some(self.region.security_group.as_str().into()),
            tags: BTreeMap::new(),
            disable_outbound_snat: false,
            shared_probe: false,
            priorities: 1500..=3499,
            limits: Limits::default(),
        }
    }

    fn client(&self) -> Client {
        let who = self.azure.identities();
        let config = ClientConfig {
            endpoint: Some(self.azure.endpoint().into()),
            authority: Some(self.azure.endpoint().into()),
            credential: Credential::Secret {
                tenant: who.tenant.into(),
                client: who.client.into(),
                secret: who.secret.into(),
            },
            poll_pauses: [Duration::from_millis(1)].into(),
            rates: Rates::unlimited(),
            ..ClientConfig::default()
        };
        Client::new(config).expect("a configuration that holds")
    }

    /// Has somebody else make something.
    async fn plant(&self, id: &str, body: Value) {
        let (status, answer) = self.azure.ask(Method::PUT, id, Some(body)).await;
        assert!(status < 300, "{answer}");
        self.azure.ask(Method::GET, id, None).await;
    }

    fn network(&self, kind: &str, name: &str) -> String {
        format!(
            "/subscriptions/{}/resourceGroups/rg1/providers/Microsoft.Network/{kind}/{name}",
            self.azure.subscription()
        )
    }

    fn public_ip(tags: &Value) -> Value {
        json!({
            "location": LOCATION, "sku": {"name": "Standard", "tier": "Regional"}, "tags": tags,
            "properties": {"publicIPAllocationMethod": "Static", "publicIPAddressVersion": "IPv4"},
        })
    }
}

#[async_trait]
impl World for AzureWorld {
    type Provider = Azure;

    async fn provider(&self) -> Azure {
        self.line.next_process();
        let timing = Timing {
            gather: None,
            ..Timing::default()
        };
        Azure::new(self.context(), self.client(), timing)
    }

    fn tap(&self) -> &Tap {
        self.line.tap()
    }

    async fn objects(&self) -> Vec<Object> {
        sight::objects(&self.azure.state(), &self.region)
    }

    async fn picture(&self) -> Picture {
        sight::picture(&self.azure.state())
    }

    /// Nothing takes time; somebody may have to listen again.
    async fn advance(&self) {
        let address = self.azure.endpoint();
        let address = address.trim_start_matches("http://").to_owned();
        while tokio::net::TcpStream::connect(&address).await.is_err() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// What a cluster restored from a copy of ours has, whose Services are the same to the UID, and what nobody has.
    async fn plant_neighbours(&self) {
        let twin = Cluster::new(TWIN, "harbour");
        let key = GroupKey::Service(samples::service_ref("checkout"));
        let group = names::group(&twin, &key);
        let name = format!("{group}-v4");
        let id = self.network("publicIPAddresses", &name);
        let tags =
            json!({tag::CLUSTER: TWIN, tag::GROUP: key.identity(), tag::SERVICE: "shop/checkout"});
        self.plant(&id, Self::public_ip(&tags)).await;
        let lb = self.network("loadBalancers", "by-hand");
        self.plant(
            &lb,
            json!({
                "location": LOCATION, "sku": {"name": "Standard", "tier": "Regional"},
                "properties": {"frontendIPConfigurations": [
                    {"name": name, "properties": {"publicIPAddress": {"id": id}}},
                ]},
            }),
        )
        .await;
        for (index, name) in [format!("{group}-allow-tcp-v4-abcdef"), "by-hand".to_owned()]
            .iter()
            .enumerate()
        {
            let id = format!("{}/securityRules/{name}", self.region.security_group);
            self.plant(
                &id,
                json!({"properties": {
                    "access": "Allow", "direction": "Inbound", "priority": 3000 + index, "protocol": "Tcp",
                    "sourceAddressPrefix": "Internet", "sourcePortRange": "*",
                    "destinationAddressPrefix": "10.20.0.0/20", "destinationPortRange": "9",
                }}),
            )
            .await;
        }
    }

    async fn plant_in_the_way(&self, key: &GroupKey) -> bool {
        if self.scheme == Scheme::Internal {
            return false;
        }
        let group = names::group(&samples::cluster(), key);
        let name = names::public_ip(&group, IpFamily::V4, None, &BTreeMap::new());
        let tags = json!({tag::CLUSTER: TWIN, tag::GROUP: "uid-other", tag::SERVICE: "shop/other"});
        let id = self.network("publicIPAddresses", &name);
        self.plant(&id, Self::public_ip(&tags)).await;
        true
    }
}
