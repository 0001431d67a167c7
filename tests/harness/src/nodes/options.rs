//! What a pool is to be like, and which form it gets. Reads: whether namespaces can be made here.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use super::agent::Agent;
use super::loopback::Loopback;
use super::namespaces::Namespaces;
use super::namespaces_possible;
use super::network::Network;
use crate::binaries::{self, Tool};
use crate::progress::Progress;

/// How nodes are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodesKind {
    /// Network namespaces and real kube-proxies; see [`namespaces_possible`].
    Namespaces,
    /// Addresses in 127.0.0.0/8 and a forwarder; IPv4 only.
    Loopback,
    /// Namespaces where possible, else loopback; [`super::Nodes::fallback_reason`] says why.
    Auto,
}

/// What to start.
#[derive(Debug, Clone)]
pub struct NodesOptions {
    /// The form.
    pub kind: NodesKind,
    /// How many nodes to begin with: `PREFIX-1`, `PREFIX-2` and so on.
    pub count: usize,
    /// The first part of their names.
    pub prefix: String,
    /// Gives nodes and pods an IPv6 address beside the IPv4 one. Namespaces only; the API server must be dual-stack, too.
    pub dual_stack: bool,
    /// The kube-proxy to run; `None` finds or builds one ([`binaries::ensure`]), which can take minutes the first time.
    pub kube_proxy: Option<PathBuf>,
    /// Where a build shows its progress.
    pub progress: Progress,
}

impl Default for NodesOptions {
    fn default() -> Self {
        Self {
            kind: NodesKind::Auto,
            count: 2,
            prefix: "node".to_owned(),
            dual_stack: false,
            kube_proxy: None,
            progress: Progress::quiet(),
        }
    }
}

/// The form that runs, never `Auto`; and why `Auto` became loopback.
pub(crate) fn choose_kind(asked: NodesKind) -> Result<(NodesKind, Option<String>)> {
    match asked {
        NodesKind::Loopback => Ok((NodesKind::Loopback, None)),
        NodesKind::Namespaces => match namespaces_possible() {
            Ok(()) => Ok((NodesKind::Namespaces, None)),
            Err(reason) => bail!("nodes in network namespaces are not possible here: {reason}"),
        },
        NodesKind::Auto => Ok(match namespaces_possible() {
            Ok(()) => (NodesKind::Namespaces, None),
            Err(reason) => (NodesKind::Loopback, Some(reason)),
        }),
    }
}

/// The network of a pool, and the agent that will work on it. To be called on the pool's own threads.
pub(crate) async fn build(
    kind: NodesKind,
    kubeconfig: Kubeconfig,
    options: NodesOptions,
) -> Result<Arc<Agent>> {
    let config =
        Config::from_custom_kubeconfig(kubeconfig.clone(), &KubeConfigOptions::default()).await?;
    let client = Client::try_from(config)?;
    let network: Arc<dyn Network> = match kind {
        NodesKind::Namespaces => {
            let kube_proxy = match options.kube_proxy {
                Some(path) => path,
                None => tokio::task::spawn_blocking(move || {
                    let found = binaries::ensure(&[Tool::KubeProxy], &options.progress)?;
                    found.path(Tool::KubeProxy).map(std::path::Path::to_owned)
                })
                .await
                .context("the search for kube-proxy panicked")??,
            };
            Arc::new(Namespaces::start(&kubeconfig, kube_proxy, options.dual_stack).await?)
        }
        NodesKind::Loopback | NodesKind::Auto => Arc::new(Loopback::start(&client)?),
    };
    Ok(Arc::new(Agent::new(client, network)))
}
