//! What the steps act on: the running parts, and where the application stands.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use anyhow::{Context as _, Result};
use evenkeel_e2e::{World, WorldOptions};
use evenkeel_harness::nodes::{Nodes, NodesKind, NodesOptions};
use k8s_openapi::api::core::v1::Service;
use kube::Api;

use crate::show::Show;

/// How many nodes.
pub(crate) const NODES: usize = 3;
/// The namespace of the application.
pub(crate) const SHOP: &str = "shop";
/// Its front end.
pub(crate) const FRONT: &str = "frontend";

/// The running parts, and where the application stands.
pub(crate) struct Scene {
    pub(crate) world: World,
    /// The port of the front end: 80 where this user may open it.
    pub(crate) front_port: u16,
}

impl Scene {
    /// Starts everything, telling what it started.
    pub(crate) async fn set_up(show: &mut Show) -> Result<Self> {
        show.step("Real parts are started");
        let nodes = NodesOptions {
            kind: NodesKind::Auto,
            count: NODES,
            ..NodesOptions::default()
        };
        let world = World::start(WorldOptions {
            nodes: Some(nodes),
            ..WorldOptions::default()
        })
        .await?;
        let version = world.client().apiserver_version().await?.git_version;
        show.check(
            "etcd, kube-apiserver and kube-controller-manager are up",
            anyhow::Ok(version),
        );
        let nodes = world.nodes()?;
        let form = match (nodes.kind(), nodes.fallback_reason()) {
            (NodesKind::Namespaces, _) => {
                "network namespaces, each with a real kube-proxy (nftables)".to_owned()
            }
            (_, reason) => format!(
                "addresses in 127.0.0.0/8 with a small forwarder ({})",
                reason.unwrap_or("asked for")
            ),
        };
        show.check(&format!("{NODES} nodes are Ready"), anyhow::Ok(form));
        show.check(
            "the data plane answers on its socket",
            world.objects().await.map(|_| ""),
        );
        show.check(
            "the controller is ready",
            anyhow::Ok(format!("health and metrics on http://{}", world.admin)),
        );
        let front_port = match TcpListener::bind((Ipv4Addr::new(127, 0, 0, 99), 80)) {
            Ok(_) => 80,
            Err(error) => {
                show.note(format!(
                    "port 80 cannot be opened here ({error}): the front end uses 8080 instead"
                ));
                8080
            }
        };
        Ok(Self { world, front_port })
    }

    pub(crate) fn services(&self) -> Api<Service> {
        self.world.services(SHOP)
    }

    pub(crate) fn nodes(&self) -> Result<&Nodes> {
        self.world.nodes().context("the demo has nodes")
    }

    /// The front end's published address.
    pub(crate) async fn address(&self) -> Result<SocketAddr> {
        self.world.address(SHOP, FRONT, self.front_port).await
    }
}
