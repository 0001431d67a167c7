//! What the steps act on: the running parts, and where the application stands.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

use anyhow::{Context as _, Result};
use evenkeel_e2e::{World, WorldOptions};
use evenkeel_harness::kubectl::{Kubectl, Ran};
use evenkeel_harness::nodes::{Nodes, NodesKind, NodesOptions, Origin};
use evenkeel_harness::progress::Progress;
use k8s_openapi::api::core::v1::{Namespace, Service};
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};

use crate::balancer::Balancer;
use crate::manifest;
use crate::show::Show;

/// How many nodes.
pub(crate) const NODES: usize = 3;
/// The namespace of the application.
pub(crate) const SHOP: &str = "shop";
/// Its front end.
pub(crate) const FRONT: &str = "frontend";
/// The namespace of the Services that teach something by themselves.
pub(crate) const LESSONS: &str = "lessons";
/// The port of their Services, which every user may open.
pub(crate) const PORT: u16 = 8080;

/// The running parts, and where the application stands.
pub(crate) struct Scene {
    pub(crate) world: World,
    /// kubectl for the lessons' namespace.
    pub(crate) kubectl: Kubectl,
    /// The port of the front end: 80 where this user may open it.
    pub(crate) front_port: u16,
    /// Why it is not 80.
    pub(crate) no_port_80: Option<String>,
}

impl Scene {
    /// Starts everything.
    pub(crate) async fn start() -> Result<Self> {
        let nodes = NodesOptions {
            kind: NodesKind::Auto,
            count: NODES,
            ..NodesOptions::default()
        };
        let world = World::start(WorldOptions {
            nodes: Some(nodes),
            // `kubectl create` and `kubectl expose` can name no class.
            run: ["--default-provider", "local"].map(str::to_owned).into(),
            ..WorldOptions::default()
        })
        .await?;
        let kubectl = Kubectl::new(&world.plane, LESSONS, Progress::new()).await?;
        let namespaces: Api<Namespace> = Api::all(world.client());
        for name in [SHOP, LESSONS] {
            let namespace = serde_json::from_value(json!({"metadata": {"name": name}}))?;
            namespaces
                .create(&PostParams::default(), &namespace)
                .await?;
        }
        let refused = TcpListener::bind((Ipv4Addr::new(127, 0, 0, 99), 80)).err();
        Ok(Self {
            world,
            kubectl,
            front_port: if refused.is_none() { 80 } else { PORT },
            no_port_80: refused.map(|error| error.to_string()),
        })
    }

    pub(crate) fn nodes(&self) -> Result<&Nodes> {
        self.world.nodes().context("the demo has nodes")
    }

    /// The application's Services.
    pub(crate) fn shop(&self) -> Api<Service> {
        self.world.services(SHOP)
    }

    /// The front end's published address.
    pub(crate) async fn front(&self) -> Result<SocketAddr> {
        self.world.address(SHOP, FRONT, self.front_port).await
    }

    /// A Service of the lessons.
    pub(crate) async fn lesson(&self, service: &str) -> Result<Service> {
        Ok(self.world.services(LESSONS).get(service).await?)
    }

    /// The published address of a Service of the lessons.
    pub(crate) async fn address(&self, service: &str) -> Result<SocketAddr> {
        self.world.address(LESSONS, service, PORT).await
    }

    /// Applies objects to the lessons' namespace.
    pub(crate) async fn apply(&self, objects: &[Value]) -> Result<String> {
        let applied = manifest::apply(&self.world.client(), LESSONS, objects).await?;
        Ok(applied.join(", "))
    }

    /// Types a kubectl command that must succeed, and shows it.
    pub(crate) async fn kubectl(&self, show: &Show, args: &[&str]) -> Result<Ran> {
        let ran = self.kubectl.run(args).await?.ok()?;
        show.command(&ran);
        Ok(ran)
    }

    /// The NodePort of a Service of the lessons.
    pub(crate) async fn node_port(&self, service: &str) -> Result<u16> {
        let spec = self.lesson(service).await?.spec.context("no spec")?;
        let port = spec.ports.iter().flatten().find_map(|port| port.node_port);
        Ok(u16::try_from(port.context("it has no NodePort")?)?)
    }

    /// A node's port.
    pub(crate) fn at(&self, node: &str, port: u16) -> Result<SocketAddr> {
        Ok(SocketAddr::new(self.nodes()?.node_address(node)?, port))
    }

    /// The address that the client outside of the cluster has towards `to`.
    pub(crate) async fn client_address(&self, to: SocketAddr) -> Result<IpAddr> {
        let stream = self.nodes()?.connect(&Origin::Client, to).await?;
        Ok(stream.local_addr()?.ip())
    }

    /// Many requests from a place, one after another: how often each pod answered.
    pub(crate) async fn ask_often(
        &self,
        from: &Origin,
        to: SocketAddr,
        times: usize,
    ) -> Result<BTreeMap<String, usize>> {
        let mut answers = BTreeMap::new();
        for _ in 0..times {
            let answer = self.nodes()?.ask(from, to).await?;
            *answers.entry(answer.pod).or_default() += 1;
        }
        Ok(answers)
    }

    /// What the data plane has for a Service.
    pub(crate) async fn balancer(&self, service: &Service) -> Result<Balancer> {
        let uid = service.metadata.uid.as_deref().context("no UID")?;
        Ok(Balancer::of(&self.world.objects().await?, uid))
    }
}
