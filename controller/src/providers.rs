//! The providers that this program has, by name (wiring only).

pub mod local;

use std::sync::Arc;

use evenkeel_core::{
    engine::{AnyProvider, Engine},
    ids::{Cluster, ProviderName},
    nodes::NodeRules,
};
use evenkeel_local::{Local, LocalConfig};

use crate::config::Config;

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
}

impl std::fmt::Debug for Installed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Installed")
            .field("name", &self.name)
            .field("nodes", &self.nodes)
            .finish_non_exhaustive()
    }
}

/// The providers of a configuration.
pub fn install(config: &Config, cluster: &Cluster) -> Vec<Installed> {
    let mut installed = Vec::new();
    for name in &config.rules.enabled {
        if name.as_str() == evenkeel_local::NAME {
            let local = Local::new(LocalConfig::new(&config.local.socket, cluster.clone()));
            installed.push(Installed {
                probes_kube_proxy: true,
                name: name.clone(),
                engine: Arc::new(Engine::new(local)),
                nodes: evenkeel_local::NODE_RULES,
            });
        }
    }
    debug_assert_eq!(
        installed.len(),
        config.rules.enabled.len(),
        "a known provider was not installed"
    );
    installed
}
