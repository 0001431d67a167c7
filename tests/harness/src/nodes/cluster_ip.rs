//! A ClusterIP for processes that stand outside of the cluster. Writes: forwards bytes through a node.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Service;
use kube::Api;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use super::agent::Agent;
use super::network::Origin;

/// A port on 127.0.0.1 that leads to a ClusterIP until this is dropped.
#[derive(Debug)]
pub struct ClusterIpForward {
    address: SocketAddr,
    _task: AbortOnDropHandle<()>,
}

impl ClusterIpForward {
    /// Where to dial.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// See [`super::Nodes::forward_cluster_ip`]. To be called on the pool's own threads.
pub(crate) async fn forward_cluster_ip(
    agent: Arc<Agent>,
    namespace: &str,
    service: &str,
    port: u16,
) -> Result<ClusterIpForward> {
    let services: Api<Service> = Api::namespaced(agent.client.clone(), namespace);
    let spec = services
        .get(service)
        .await
        .with_context(|| format!("Service {namespace}/{service}"))?
        .spec
        .unwrap_or_default();
    let ip = spec
        .cluster_ip
        .as_deref()
        .and_then(|ip| ip.parse::<IpAddr>().ok());
    let ip = ip.with_context(|| format!("Service {namespace}/{service} has no ClusterIP"))?;
    let ports: Vec<_> = spec.ports.iter().flatten().map(|p| p.port).collect();
    ensure!(
        ports.contains(&port.into()),
        "Service {namespace}/{service} has no port {port}: its ports are {ports:?}"
    );
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let to = SocketAddr::new(ip, port);
    let task = tokio::spawn(async move {
        loop {
            let Ok((mut outside, _)) = listener.accept().await else {
                continue;
            };
            let agent = agent.clone();
            tokio::spawn(async move {
                let Some(node) = agent.state().nodes.keys().next().cloned() else {
                    return;
                };
                if let Ok(mut inside) = agent.network.connect(&Origin::Node(node), to).await {
                    let _ = tokio::io::copy_bidirectional(&mut outside, &mut inside).await;
                }
            });
        }
    });
    Ok(ClusterIpForward {
        address,
        _task: AbortOnDropHandle::new(task),
    })
}
