//! The Node objects of a cloud's machines, and kube-proxy's health on them. Writes: Node objects, sockets.
//!
//! A machine's own address is nobody's on this machine. So a node has one of 127.0.0.0/8, at which port 10256 answers, or does not.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Context as _, Result, bail};
use evenkeel_harness::aws;
use k8s_openapi::api::core::v1::Node;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

/// The port of kube-proxy's own health.
const PORT: u16 = 10256;

/// What a healthy kube-proxy says there.
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// A machine that is a node.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The node's name.
    pub name: String,
    /// `topology.kubernetes.io/zone`.
    pub zone: String,
    /// `spec.providerID`.
    pub provider_id: String,
}

impl From<&aws::Node> for Machine {
    fn from(node: &aws::Node) -> Self {
        Self {
            name: node.private_dns_name.clone(),
            zone: node.zone.clone(),
            provider_id: node.provider_id(),
        }
    }
}

/// The nodes of a cluster on a cloud.
pub struct CloudNodes {
    client: Client,
    /// By the node's name.
    health: BTreeMap<String, Health>,
    answers: bool,
}

impl CloudNodes {
    /// None yet. Whether kube-proxy's health will answer on them.
    pub(crate) fn new(client: Client, answers: bool) -> Self {
        Self {
            client,
            health: BTreeMap::new(),
            answers,
        }
    }

    /// Makes the Node object as a machine's kubelet and the cloud's node controller make it, Ready from the start. Returns its address.
    ///
    /// # Errors
    /// When the API server refuses, or this machine has no address left.
    pub async fn join(&mut self, machine: impl Into<Machine>) -> Result<IpAddr> {
        let machine = machine.into();
        let health = Health::start(self.answers).await?;
        let address = health.address;
        let nodes = Api::<Node>::all(self.client.clone());
        let name = &machine.name;
        let object = json!({
            "metadata": {"name": name, "labels": {
                "kubernetes.io/hostname": name,
                "topology.kubernetes.io/zone": machine.zone,
            }},
            "spec": {"providerID": machine.provider_id},
            "status": {
                "addresses": [
                    {"type": "InternalIP", "address": address},
                    {"type": "Hostname", "address": name},
                ],
                "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "set by the test",
                    "lastHeartbeatTime": "2026-01-01T00:00:00Z", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
            },
        });
        let object = serde_json::from_value(object)?;
        nodes.create(&PostParams::default(), &object).await?;
        self.health.insert(name.clone(), health);
        // The API server taints every new node as not ready and leaves it to a controller, which does not run, to look again.
        let untaint = Patch::Merge(json!({"spec": {"taints": null}}));
        let untainted = nodes.patch(name, &PatchParams::default(), &untaint).await;
        untainted.context("untaint the Node object")?;
        Ok(address)
    }

    /// Deletes the Node object.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn leave(&mut self, name: &str) -> Result<()> {
        let nodes = Api::<Node>::all(self.client.clone());
        nodes.delete(name, &DeleteParams::default()).await?;
        self.health.remove(name);
        Ok(())
    }
}

/// Port 10256 of a node's address, which is no other node's as long as this value lives.
struct Health {
    address: IpAddr,
    _serving: AbortOnDropHandle<()>,
}

impl Health {
    async fn start(answers: bool) -> Result<Self> {
        let (address, listener) = listener().await?;
        Ok(Self {
            address,
            _serving: AbortOnDropHandle::new(tokio::spawn(serve(listener, answers))),
        })
    }
}

/// The port at an address that nobody has yet: the socket is the claim.
async fn listener() -> Result<(IpAddr, TcpListener)> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    for _ in 0..=u16::MAX {
        // Nodes of other worlds are in 127.80.0.0/16, load balancers from 127.128.0.0 on.
        let [high, low] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let address = IpAddr::from(Ipv4Addr::new(127, 81, high, low));
        match TcpListener::bind((address, PORT)).await {
            Ok(listener) => return Ok((address, listener)),
            Err(error) if error.kind() == ErrorKind::AddrInUse => {}
            Err(error) => return Err(error).with_context(|| format!("listen on {address}:{PORT}")),
        }
    }
    bail!("every address of 127.81.0.0/16 is a node's; end other test runs of this machine")
}

async fn serve(listener: TcpListener, answers: bool) {
    if !answers {
        // Whoever connects never hears a word.
        std::future::pending::<()>().await;
    }
    loop {
        let Ok((mut stream, _)) = listener.accept().await else {
            continue;
        };
        // Whoever asks writes one short request; one who goes away has no need of the answer.
        let _ = stream.read(&mut [0; 512]).await;
        let _ = stream.write_all(ANSWER).await;
    }
}
