//! A real kube-proxy in the namespace of a node. Writes: starts and ends the process, which programs nftables there.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use kube::config::Kubeconfig;
use serde_json::json;

use super::http::http_get;
use super::namespaces::cluster_range;
use super::netns::Place;
use crate::supervise::{Janitor, Supervised};

/// How long a kube-proxy may take until its health port answers 200; seconds on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(60);

/// What all kube-proxies of a pool have in common.
pub(crate) struct KubeProxySettings {
    pub(crate) program: PathBuf,
    pub(crate) kubeconfig: Kubeconfig,
    /// Where their files go.
    pub(crate) folder: PathBuf,
    pub(crate) dual_stack: bool,
}

/// The process; dropping it ends it.
pub(crate) struct KubeProxy {
    child: Supervised,
    node: String,
}

impl KubeProxy {
    /// Starts the program for a node in a namespace.
    pub(crate) fn start(
        settings: &KubeProxySettings,
        node: &str,
        netns: &str,
        janitor: &Arc<Janitor>,
    ) -> anyhow::Result<Self> {
        let file = |kind: &str| settings.folder.join(format!("{node}.{kind}"));
        let credentials = file("kubeconfig");
        std::fs::write(&credentials, serde_json::to_vec(&settings.kubeconfig)?)?;
        let config = file("kube-proxy");
        let text = configuration(node, &credentials, settings.dual_stack);
        std::fs::write(&config, serde_json::to_vec_pretty(&text)?)?;
        let child = Supervised::builder(&settings.program)
            .arg("--config")
            .arg(&config)
            .netns(netns)
            .log_file(file("log"))
            .janitor(janitor.clone())
            .spawn()
            .with_context(|| format!("kube-proxy of node {node}"))?;
        Ok(Self {
            child,
            node: node.to_owned(),
        })
    }

    /// Waits until the health port says 200.
    ///
    /// # Errors
    /// When the process ends or stays unhealthy, with the end of its log.
    pub(crate) async fn wait_healthy(&mut self, address: SocketAddr) -> anyhow::Result<()> {
        let deadline = tokio::time::Instant::now() + START_LIMIT;
        loop {
            let asked = tokio::time::timeout(Duration::from_secs(2), async {
                http_get(
                    Place::Here.connect(address, None).await?,
                    "node",
                    "/healthz",
                )
                .await
            });
            let seen = match asked.await {
                Ok(Ok(answer)) if answer.status == 200 => return Ok(()),
                Ok(Ok(answer)) => answer.body,
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no answer within 2 s".to_owned(),
            };
            self.child
                .check()
                .with_context(|| format!("node {}", self.node))?;
            if tokio::time::Instant::now() > deadline {
                let log = self.child.log_tail(15);
                bail!(
                    "kube-proxy of node {} stays unhealthy ({seen}); the end of its log:\n{log}",
                    self.node
                );
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// `conntrack` is all zeros so that it does not try to set sysctls that belong to the whole machine.
fn configuration(node: &str, kubeconfig: &Path, dual_stack: bool) -> serde_json::Value {
    let any = if dual_stack { "[::]" } else { "0.0.0.0" };
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "hostnameOverride": node,
        "clusterCIDR": cluster_range(dual_stack),
        "clientConnection": {"kubeconfig": kubeconfig},
        "healthzBindAddress": format!("{any}:10256"),
        "metricsBindAddress": "127.0.0.1:10249",
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        // A tenth of the default: tests wait for rules all the time.
        "nftables": {"minSyncPeriod": "100ms", "syncPeriod": "30s"},
    })
}
