//! What rows play on: one world for all, a namespace for each. Writes Services, and restarts parts.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use evenkeel_e2e::aws::AwsWorld;
use evenkeel_e2e::look::{LIMIT, ingress};
use evenkeel_e2e::{World, WorldOptions, own_pool};
use evenkeel_harness::binaries::Kubernetes;
use evenkeel_harness::control_plane::{Options, TestNamespace};
use evenkeel_harness::nodes::{NodesKind, NodesOptions, PodAnswer, http_get, namespaces_possible};
use evenkeel_harness::wait::eventually;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::account;
use crate::aws_side::AwsSide;
use crate::door::Door;
use crate::holding::{Holding, KINDS};

/// What classes and finalizers of ours begin with.
const OURS: &str = "evenkeel.dev/";
/// The port of a Service that names none.
pub(crate) const PORT: u16 = 8080;
/// The label that takes a node out of load balancers.
pub(crate) const EXCLUDE: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

/// How many pools there are: each has 254 addresses or so, and one row has 500 Services.
const POOLS: usize = 3;
/// Enough nodes for one without pods beside two with one.
const NODES: usize = 3;

/// How many requests of a row are under way at a time.
pub(crate) const AT_ONCE: usize = 16;
/// How long changes of nodes are gathered is no row's subject; it is waited for some fifty times. The lead is that of rows with toys: here
/// it outlasts an API server that a busy machine takes long to start again.
const OPTIONS: [&str; 4] = ["--node-debounce", "500ms", "--lease-duration", "2m"];

/// The world and the namespace of the row that runs.
pub(crate) struct Stage {
    pub(crate) world: World,
    pub(crate) namespace: String,
    /// The controller's way to the API server.
    pub(crate) door: Door,
    /// The cloud, where it is not the data plane.
    aws: Option<AwsSide>,
    takes_classless: bool,
}

impl Stage {
    pub(crate) async fn build(kubernetes: Kubernetes) -> Result<Self> {
        let real = namespaces_possible();
        println!(
            "nodes: {}",
            match &real {
                Ok(()) => "network namespaces, each with a real kube-proxy".to_owned(),
                Err(reason) =>
                    format!("addresses of 127.0.0.0/8 with a stand-in for kube-proxy: {reason}"),
            }
        );
        let nodes = NodesOptions {
            kind: NodesKind::Auto,
            count: NODES,
            dual_stack: real.is_ok() && has_ipv6(),
            ..NodesOptions::default()
        };
        let mut pools: Vec<_> = std::iter::repeat_with(own_pool).take(POOLS).collect();
        if has_ipv6() {
            // The only one that every machine has and that needs no set-up.
            pools.push(Ipv6Addr::LOCALHOST.to_string());
        }
        let options = WorldOptions {
            plane: Options {
                kubernetes,
                dual_stack: true,
                ..Options::default()
            },
            nodes: Some(nodes),
            pools,
            run: OPTIONS.map(str::to_owned).to_vec(),
            data_plane: true,
            controller: false,
            cloud: None,
        };
        Self::of(World::start(options).await?, None).await
    }

    /// The same with nodes that are instances of AWS; without pods.
    pub(crate) async fn build_on_aws(kubernetes: Kubernetes) -> Result<Self> {
        let plane = Options {
            kubernetes,
            dual_stack: true,
            ..Options::default()
        };
        let AwsWorld {
            world,
            aws,
            site,
            nodes: joined,
        } = AwsWorld::without_controller(plane, NODES, &OPTIONS).await?;
        Self::of(world, Some(AwsSide { aws, site, joined })).await
    }

    async fn of(mut world: World, aws: Option<AwsSide>) -> Result<Self> {
        let door = Door::open(&world.plane).await?;
        let kubeconfig = world.plane.directory().join("controller.kubeconfig");
        let token = account::token(&world.plane).await?;
        std::fs::write(&kubeconfig, door.kubeconfig(&token).to_string())?;
        world.kubeconfig = Some(kubeconfig);
        world.start_controller().await?;
        Ok(Self {
            world,
            namespace: String::new(),
            door,
            aws,
            takes_classless: false,
        })
    }

    /// Takes everything down.
    pub(crate) async fn stop(self) -> Result<()> {
        self.world.stop().await?;
        self.aws.map_or(Ok(()), |side| side.aws.check())
    }

    /// The cloud, for rows that have to do with it what a user would not; None with the data plane.
    pub(crate) fn aws(&self) -> Option<&AwsSide> {
        self.aws.as_ref()
    }

    /// Adds a node, by this name where names are ours to choose; returns its name.
    pub(crate) async fn add_node(&mut self, name: &str) -> Result<String> {
        match &mut self.aws {
            Some(side) => side.add_node().await,
            None => {
                self.world.nodes()?.add_node(name).await?;
                Ok(name.to_owned())
            }
        }
    }

    pub(crate) async fn remove_node(&mut self, name: &str) -> Result<()> {
        match &mut self.aws {
            Some(side) => side.remove_node(name).await,
            None => self.world.nodes()?.remove_node(name).await,
        }
    }

    /// The provider whose load balancers are checked.
    pub(crate) fn provider(&self) -> &'static str {
        match &self.aws {
            Some(_) => "aws",
            None => "local",
        }
    }

    /// Its class and its finalizer.
    pub(crate) fn ours(&self) -> String {
        format!("{OURS}{}", self.provider())
    }

    /// All that there is in the cloud, in the data plane's form.
    pub(crate) async fn objects(&self) -> Result<Value> {
        match &self.aws {
            Some(side) => side.objects().await,
            None => self.world.objects().await,
        }
    }

    /// Goes to a namespace of its own.
    pub(crate) async fn enter(&mut self) -> Result<TestNamespace> {
        let namespace = self.world.plane.namespace("row").await?;
        self.namespace = namespace.name().to_owned();
        Ok(namespace)
    }

    /// Takes everything of the row away, and sets right what it bent. Nothing of it may be left in the data plane.
    pub(crate) async fn clear(&mut self, passed: bool) -> Result<()> {
        if !passed {
            // It may have ended anywhere.
            for process in [&self.world.controller, &self.world.data_plane]
                .into_iter()
                .flatten()
            {
                process.resume()?;
            }
        }
        self.door.reset();
        self.world.plane.start_api_server().await?;
        if self.aws.is_none() && self.world.data_plane.is_none() {
            self.world.start_data_plane().await?;
        }
        if self.world.controller.is_none() {
            self.world.start_controller().await?;
            self.takes_classless = false;
        }
        self.restore_nodes().await?;
        let services = self.services().list(&ListParams::default()).await?;
        stream::iter(&services)
            .map(|service| self.take_away(service))
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>()
            .await?;
        for service in &services {
            self.gone(&service.name_any()).await?;
        }
        let objects = self.objects().await?;
        for service in &services {
            let left = Holding::of(&objects, &service.uid().context("a UID")?);
            ensure!(left.is_empty(), "{} left {left:?}", service.name_any());
        }
        if self.takes_classless {
            self.restart(false).await?;
        }
        Ok(())
    }

    /// Asks for the deletion of a Service; nobody but us holds it up.
    async fn take_away(&self, service: &Service) -> Result<()> {
        let name = service.name_any();
        let (ours, foreign): (Vec<_>, Vec<_>) = service
            .finalizers()
            .iter()
            .partition(|name| **name == self.ours());
        if !foreign.is_empty() {
            self.patch(&name, json!({"metadata": {"finalizers": ours}}))
                .await?;
        }
        self.delete(&name).await
    }

    /// Makes every node a target again; returns when the controller knows.
    async fn restore_nodes(&self) -> Result<()> {
        let nodes = self.nodes()?;
        for name in &nodes {
            let whole = json!({
                "metadata": {"labels": {EXCLUDE: null}},
                "spec": {"taints": null, "unschedulable": null},
            });
            self.patch_node(name, whole).await?;
        }
        eventually("all nodes to be targets again", LIMIT, || async {
            let eligible = self.world.metric("evenkeel_node_set_size{").await?;
            ensure!(
                eligible == nodes.len() as f64,
                "{eligible} of {}",
                nodes.len()
            );
            Ok(())
        })
        .await
    }

    /// The names of the nodes.
    pub(crate) fn nodes(&self) -> Result<BTreeSet<String>> {
        Ok(match &self.aws {
            Some(side) => side.nodes(),
            None => self.world.nodes()?.nodes().into_iter().collect(),
        })
    }

    /// Restarts the controller; it takes Services without a class or leaves them alone.
    pub(crate) async fn restart(&mut self, takes_classless: bool) -> Result<()> {
        if let Some(process) = self.world.controller.take() {
            process.stop()?;
        }
        self.world.run = OPTIONS.map(str::to_owned).to_vec();
        if takes_classless {
            let more = ["--default-provider", self.provider()];
            self.world.run.extend(more.map(str::to_owned));
        }
        self.world.start_controller().await?;
        self.takes_classless = takes_classless;
        Ok(())
    }

    pub(crate) fn services(&self) -> Api<Service> {
        self.world.services(&self.namespace)
    }

    pub(crate) async fn get(&self, name: &str) -> Result<Service> {
        Ok(self.services().get(name).await?)
    }

    /// Creates a Service of our class with one port; `more` is merged into it.
    pub(crate) async fn create(&self, name: &str, more: Value) -> Result<Service> {
        let mut service = json!({
            "metadata": {"name": name},
            "spec": {
                "type": "LoadBalancer",
                "loadBalancerClass": self.ours(),
                "selector": {"app": name},
                "ports": [{"name": "http", "port": PORT, "targetPort": "http"}],
            },
        });
        merge(&mut service, more);
        let service = serde_json::from_value(service)?;
        Ok(self
            .services()
            .create(&PostParams::default(), &service)
            .await?)
    }

    /// The same, and waits until it is served.
    pub(crate) async fn serve(&self, name: &str, more: Value) -> Result<Service> {
        self.create(name, more).await?;
        self.served(name).await
    }

    pub(crate) async fn patch(&self, name: &str, patch: Value) -> Result<Service> {
        let patch = Patch::Merge(patch);
        Ok(self
            .services()
            .patch(name, &PatchParams::default(), &patch)
            .await?)
    }

    pub(crate) async fn patch_status(&self, name: &str, patch: Value) -> Result<Service> {
        let patch = Patch::Merge(patch);
        Ok(self
            .services()
            .patch_status(name, &PatchParams::default(), &patch)
            .await?)
    }

    /// A patch that the API server must refuse as invalid.
    pub(crate) async fn refused(&self, name: &str, patch: Value) -> Result<()> {
        let patch = Patch::Merge(patch);
        match self
            .services()
            .patch(name, &PatchParams::default(), &patch)
            .await
        {
            Err(kube::Error::Api(status)) if status.code == 422 => Ok(()),
            Err(error) => bail!("the API server says {error}, not 422"),
            Ok(_) => bail!("the API server takes it"),
        }
    }

    pub(crate) async fn delete(&self, name: &str) -> Result<()> {
        self.services()
            .delete(name, &DeleteParams::default())
            .await?;
        Ok(())
    }

    pub(crate) async fn gone(&self, name: &str) -> Result<()> {
        self.world.gone(&self.namespace, name).await
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
                "finalizers {:?}, status {:?}",
                service.finalizers(),
                service.status
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

    /// Waits until what the data plane holds for a Service is as `check` says.
    pub(crate) async fn held(
        &self,
        service: &Service,
        what: &str,
        check: impl Fn(&Holding) -> bool,
    ) -> Result<Holding> {
        eventually(what, LIMIT, || async {
            let holding = self.holding_of(service).await?;
            ensure!(check(&holding), "it holds {holding:?}");
            Ok(holding)
        })
        .await
    }

    pub(crate) async fn holding_of(&self, service: &Service) -> Result<Holding> {
        let uid = service.uid().context("a UID")?;
        Ok(Holding::of(&self.objects().await?, &uid))
    }

    /// Whatever was to happen to anything before has happened when a later Service is served.
    pub(crate) async fn settle(&self) -> Result<()> {
        self.serve("later", json!({})).await?;
        self.delete("later").await?;
        self.gone("later").await
    }

    /// Nothing was written to a Service since, nothing told of it, nothing made for it.
    pub(crate) async fn untouched(&self, since: &Service) -> Result<()> {
        let name = since.name_any();
        let now = self.get(&name).await?;
        ensure!(
            now.resource_version() == since.resource_version(),
            "{name} was written: {now:?}"
        );
        let events = self.events(&name).await?;
        ensure!(events.is_empty(), "{name} has the events {events:?}");
        let holding = self.holding_of(since).await?;
        ensure!(holding.is_empty(), "for {name} there is {holding:?}");
        Ok(())
    }

    pub(crate) async fn events(&self, name: &str) -> Result<Vec<(String, String)>> {
        self.world.events(&self.namespace, name).await
    }

    pub(crate) async fn event(&self, name: &str, reason: &str) -> Result<String> {
        self.world.event(&self.namespace, name, reason).await
    }

    pub(crate) async fn condition(
        &self,
        name: &str,
        kind: &str,
        status: &str,
    ) -> Result<evenkeel_e2e::look::Condition> {
        let kind = format!("evenkeel.dev/{kind}");
        self.world
            .condition(&self.namespace, name, &kind, status)
            .await
    }

    /// Does something that may not make a cloud write, tell an event or change the addresses.
    pub(crate) async fn changes_nothing(
        &self,
        name: &str,
        patches: impl IntoIterator<Item = Value>,
    ) -> Result<()> {
        let service = self.get(name).await?;
        let before = self.holding_of(&service).await?.generations();
        let events = self.events(name).await?;
        for patch in patches {
            let shown = patch.to_string();
            self.patch(name, patch).await.with_context(|| shown)?;
        }
        self.settle().await?;
        self.same(&service, &before).await?;
        let now = self.events(name).await?;
        ensure!(now == events, "events were {events:?}, now {now:?}");
        Ok(())
    }

    /// The data plane was not written for a Service, and its addresses are the same.
    pub(crate) async fn same(
        &self,
        service: &Service,
        before: &std::collections::BTreeMap<String, u64>,
    ) -> Result<()> {
        let now = self.holding_of(service).await?.generations();
        ensure!(
            now == *before,
            "the data plane was written: {before:?}, now {now:?}"
        );
        let live = self.get(&service.name_any()).await?;
        ensure!(
            ips(&live) == ips(service),
            "addresses were {:?}, now {:?}",
            ips(service),
            ips(&live)
        );
        Ok(())
    }

    /// Runs pods with the label `app: NAME`, and waits until they are Ready. None where nothing would reach them.
    pub(crate) async fn pods(&self, name: &str, replicas: usize) -> Result<BTreeSet<String>> {
        if self.aws.is_some() {
            return Ok(BTreeSet::new());
        }
        self.world.deploy(&self.namespace, name, replicas).await
    }

    /// Waits for an answer on a port of a Service, where traffic is forwarded.
    pub(crate) async fn answered(&self, service: &Service, port: u16) -> Result<()> {
        if self.aws.is_some() {
            return Ok(());
        }
        let to = address(service, port)?;
        eventually(format!("an answer of {to}"), LIMIT, || self.world.ask(to)).await?;
        Ok(())
    }

    pub(crate) async fn patch_node(&self, name: &str, patch: Value) -> Result<()> {
        let nodes: Api<Node> = Api::all(self.world.client());
        nodes
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await?;
        Ok(())
    }

    /// Kills the data plane: every cloud call fails.
    pub(crate) fn kill_data_plane(&mut self) -> Result<()> {
        self.world.data_plane.take().context("it runs")?.kill()?;
        Ok(())
    }

    /// Takes a Service's objects out of the data plane behind the controller's back.
    pub(crate) async fn remove_objects(&self, holding: &Holding) -> Result<()> {
        if let Some(side) = &self.aws {
            return side.remove(holding).await;
        }
        for (kind, path) in KINDS {
            for object in holding.kind(kind) {
                let name = object["name"].as_str().context("a name")?;
                let cluster = object["marks"]["cluster"].as_str().context("a cluster")?;
                let mut stream = UnixStream::connect(&self.world.socket).await?;
                let request = format!(
                    "DELETE /v1/{path}/{name} HTTP/1.1\r\nhost: dataplane\r\nx-evenkeel-cluster: {cluster}\r\nconnection: close\r\n\r\n"
                );
                stream.write_all(request.as_bytes()).await?;
                let mut answer = String::new();
                stream.read_to_string(&mut answer).await?;
                ensure!(answer.starts_with("HTTP/1.1 2"), "{path}/{name}: {answer}");
            }
        }
        Ok(())
    }

    /// An address of the pool that nobody has asked for: the pool gives out low ones first.
    pub(crate) fn pool_address(&self, last: u8) -> Result<IpAddr> {
        let pool = self.world.pools.first().context("a pool")?;
        let (network, _) = pool.split_once('/').context("a prefix")?;
        let start = network.rsplit_once('.').context("an IPv4 prefix")?.0;
        Ok(format!("{start}.{last}").parse()?)
    }
}

/// Asks an address of this machine from another one of this machine: whether a pod answers within two seconds.
pub(crate) async fn answers(from: IpAddr, to: SocketAddr) -> bool {
    answer(from, to).await.is_ok()
}

/// The same: what the pod says.
pub(crate) async fn answer(from: IpAddr, to: SocketAddr) -> Result<PodAnswer> {
    let ask = async {
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(from, 0))?;
        let stream = socket.connect(to).await?;
        http_get(stream, "conformance", "/").await
    };
    let answer = tokio::time::timeout(Duration::from_secs(2), ask).await??;
    ensure!(answer.status == 200, "status {}", answer.status);
    PodAnswer::parse(&answer.body).context("no pod's answer")
}

/// Whether this machine has IPv6, so that there can be nodes and load balancers of both families.
pub(crate) fn has_ipv6() -> bool {
    std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
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

pub(crate) fn conditions(service: &Service) -> Vec<Condition> {
    let status = service.status.as_ref();
    status
        .and_then(|status| status.conditions.clone())
        .unwrap_or_default()
}

pub(crate) fn has_condition(service: &Service, type_: &str, status: &str) -> bool {
    conditions(service)
        .iter()
        .any(|condition| condition.type_ == type_ && condition.status == status)
}

pub(crate) fn is_served(service: &Service) -> bool {
    !ingress(service).is_empty()
        && has_condition(service, "evenkeel.dev/Serving", "True")
        && has_condition(service, "evenkeel.dev/Provisioning", "False")
}

pub(crate) fn is_ours(service: &Service) -> bool {
    service
        .finalizers()
        .iter()
        .any(|name| name.starts_with(OURS))
}

/// The published addresses, or the names that stand for them.
pub(crate) fn ips(service: &Service) -> Vec<String> {
    ingress(service)
        .into_iter()
        .filter_map(|entry| entry.ip.or(entry.hostname))
        .collect()
}

/// The node port of a port.
pub(crate) fn node_port(service: &Service, port: u16) -> Option<i32> {
    let ports = service.spec.as_ref()?.ports.as_ref()?;
    ports
        .iter()
        .find(|one| one.port == i32::from(port))?
        .node_port
}

/// The published address with a port.
pub(crate) fn address(service: &Service, port: u16) -> Result<SocketAddr> {
    let ip = ips(service).into_iter().next().context("no address")?;
    Ok(SocketAddr::new(ip.parse()?, port))
}
