//! The `azure` provider of a configuration (wiring).

use std::sync::Arc;

use evenkeel_azure::{
    Azure, Timing,
    client::Client,
    record::{self, AzureCloud},
};
use evenkeel_core::{
    engine::{AnyProvider, Engine},
    error::CloudError,
    ids::Cluster,
    problem::{Problem, Problems},
};
use tracing::info;

use super::Installed;
use crate::config::{AzureConfig, Config};

/// Where load balancers are looked at more often than everything: how many of these looks there are to one.
const LOOKS_PER_SWEEP: u32 = 4;

/// The provider, with a memory. Makes no call.
///
/// # Errors
/// What is wrong with the configuration.
pub(super) fn install(
    all: &Config,
    config: &AzureConfig,
    cluster: &Cluster,
) -> Result<Installed, CloudError> {
    if !config.said.ignored.is_empty() {
        info!(
            fields = config.said.ignored.join(", "),
            "azure.json says what changes nothing here"
        );
    }
    let azure = connect(all, config, cluster)?;
    Ok(installed(Arc::new(Engine::new(azure))))
}

/// The provider with a place that was written down in the place of Azure. It makes no call ever.
///
/// # Errors
/// What is wrong with the place as it was written down.
pub fn recorded(
    all: &Config,
    cluster: &Cluster,
    cloud: &AzureCloud,
) -> Result<Installed, Problems> {
    let none = || {
        Problem::new(
            "cloud.place",
            "",
            "does not say it all",
            "Have `evenkeel facts` write the file.",
        )
    };
    let config = all.azure.as_ref().ok_or_else(none)?;
    let recorded = record::recorded(config.context(cluster), cloud)?;
    Ok(installed(Arc::new(Engine::new(recorded))))
}

fn installed(engine: Arc<dyn AnyProvider>) -> Installed {
    Installed {
        name: evenkeel_azure::NAME.into(),
        engine,
        nodes: evenkeel_azure::NODE_RULES,
        probes_kube_proxy: true,
        follows_endpoints: false,
        measures: None,
    }
}

/// The provider of a configuration. Makes no call.
///
/// # Errors
/// When what the configuration needs to prove who it is cannot be read, or the client cannot be built.
pub fn connect(all: &Config, config: &AzureConfig, cluster: &Cluster) -> Result<Azure, CloudError> {
    let timing = Timing {
        sweep: all
            .resync
            .saturating_mul(LOOKS_PER_SWEEP)
            .min(Timing::default().sweep),
        ..Timing::default()
    };
    let client = Client::new(config.client.clone())?;
    Ok(Azure::new(config.context(cluster), client, timing))
}
