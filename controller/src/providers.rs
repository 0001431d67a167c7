//! The providers that this program has, by name (wiring only).

pub mod aws;
pub mod azure;
pub mod local;

use std::sync::Arc;

use evenkeel_core::{
    engine::{AnyProvider, Engine},
    error::CloudError,
    ids::{Cluster, ProviderName},
    nodes::NodeRules,
    problem::Problems,
    record::Recorded,
};
use evenkeel_local::{
    Local, LocalConfig,
    client::Client,
    record::{LocalCloud, World},
};
use futures::future::BoxFuture;
use tracing::debug;

use crate::config::Config;

/// What a provider's own process measures, as OpenMetrics text; None where it does not answer.
pub type Measures = Arc<dyn Fn() -> BoxFuture<'static, Option<String>> + Send + Sync>;

/// A provider that runs.
#[derive(Clone)]
pub struct Installed {
    /// Its name.
    pub name: ProviderName,
    /// The provider, with a memory.
    pub engine: Arc<dyn AnyProvider>,
    /// What it needs of a node.
    pub nodes: NodeRules,
    /// Whether it may have its load balancers probe kube-proxy's health, so that a node is asked before whether that answers.
    pub probes_kube_proxy: bool,
    /// Whether targets may be endpoints of a Service.
    pub follows_endpoints: bool,
    /// Where it is a process of our own: what that measures.
    pub measures: Option<Measures>,
}

impl std::fmt::Debug for Installed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Installed")
            .field("name", &self.name)
            .field("nodes", &self.nodes)
            .finish_non_exhaustive()
    }
}

/// The providers of a configuration. Makes no call.
///
/// # Errors
/// What is wrong with the configuration of one.
pub fn install(config: &Config, cluster: &Cluster) -> Result<Vec<Installed>, CloudError> {
    let mut installed = Vec::new();
    for name in &config.rules.enabled {
        if name.as_str() == evenkeel_aws::NAME {
            installed.push(aws::install(config, cluster));
        }
        if let (evenkeel_azure::NAME, Some(azure)) = (name.as_str(), &config.azure) {
            installed.push(azure::install(config, azure, cluster)?);
        }
        if name.as_str() == evenkeel_local::NAME {
            let local = LocalConfig::new(&config.local.socket, cluster.clone());
            installed.push(Installed {
                measures: Some(data_plane(&local)),
                ..installed_local(Arc::new(Engine::new(Local::new(local))))
            });
        }
    }
    debug_assert_eq!(
        installed.len(),
        config.rules.enabled.len(),
        "a known provider was not installed"
    );
    Ok(installed)
}

fn installed_local(engine: Arc<dyn AnyProvider>) -> Installed {
    Installed {
        measures: None,
        probes_kube_proxy: true,
        follows_endpoints: false,
        name: evenkeel_local::NAME.into(),
        engine,
        nodes: evenkeel_local::NODE_RULES,
    }
}

/// The `local` provider of a configuration. Makes no call.
pub fn connect_local(config: &Config, cluster: &Cluster) -> Local {
    Local::new(LocalConfig::new(&config.local.socket, cluster.clone()))
}

/// The same with a data plane that was written down in the place of one that runs. It makes no call ever.
///
/// # Errors
/// What is wrong with the data plane as it was written down.
pub fn recorded_local(cluster: &Cluster, cloud: &LocalCloud) -> Result<Installed, Problems> {
    let world = World::new(cloud, &cluster.uid)?;
    let local = Local::new(LocalConfig::new("", cluster.clone()));
    let engine = Engine::new(Recorded::new(local, world));
    Ok(installed_local(Arc::new(engine)))
}

/// What the data plane measures.
fn data_plane(config: &LocalConfig) -> Measures {
    let LocalConfig {
        socket,
        cluster,
        call_timeout,
    } = config.clone();
    let client = Arc::new(Client::new(socket, cluster.uid, call_timeout));
    Arc::new(move || {
        let client = client.clone();
        Box::pin(async move {
            let measured = client.metrics().await;
            measured
                .inspect_err(|error| debug!(%error, "the data plane's metrics cannot be read"))
                .ok()
        })
    })
}
