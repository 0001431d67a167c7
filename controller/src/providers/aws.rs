//! The `aws` provider of a configuration (wiring; Reads one node where the configuration leaves something to be found).

use std::{path::PathBuf, sync::Arc};

use evenkeel_aws::{
    Aws, Context,
    client::{self, Client},
    record::{self, AwsCloud},
};
use evenkeel_core::{
    engine::{AnyProvider, Engine},
    ids::Cluster,
    problem::Problems,
};
use k8s_openapi::api::core::v1::Node;
use kube::{Api, api::ListParams};
use tracing::{debug, warn};

use super::Installed;
use crate::config::Config;

/// Where load balancers are looked at more often than the whole region: how many of these looks there are to one.
const LOOKS_PER_SWEEP: u32 = 4;

/// How many nodes are looked at for one that is an instance of EC2: nodes of other kinds are few where there is any.
const NODES_LOOKED_AT: u32 = 100;

/// The provider, with a memory. Makes no call.
pub(super) fn install(config: &Config, cluster: &Cluster) -> Installed {
    installed(Arc::new(Engine::new(connect(config, cluster))))
}

/// The provider of a configuration. Makes no call.
pub fn connect(all: &Config, cluster: &Cluster) -> Aws {
    let Config {
        aws: config, cloud, ..
    } = all;
    // What all of AWS's tools go by.
    let bundle = || std::env::var_os("AWS_CA_BUNDLE").filter(|file| !file.is_empty());
    let authorities = cloud
        .ca_file
        .clone()
        .or_else(|| bundle().map(PathBuf::from));
    let context = context(all, cluster);
    let text = |text: &Option<String>| text.as_deref().map(Arc::from);
    let client = Client::new(client::Config {
        region: text(&config.region),
        vpc: text(&config.vpc),
        node: text(&config.node),
        endpoint: text(&config.endpoint),
        role: text(&config.role).map(|arn| client::Role {
            arn,
            external_id: text(&config.external_id),
        }),
        rates: config.rates,
        fips: cloud.fips,
        authorities: authorities.map(Into::into),
        ..client::Config::default()
    });
    Aws::new(context, client)
}

/// The provider with a region that was written down in the place of AWS. It makes no call ever.
///
/// # Errors
/// What is wrong with the region as it was written down.
pub fn recorded(
    config: &Config,
    cluster: &Cluster,
    cloud: &AwsCloud,
) -> Result<Installed, Problems> {
    let recorded = record::recorded(context(config, cluster), cloud)?;
    Ok(installed(Arc::new(Engine::new(recorded))))
}

fn installed(engine: Arc<dyn AnyProvider>) -> Installed {
    Installed {
        name: evenkeel_aws::NAME.into(),
        engine,
        nodes: evenkeel_aws::NODE_RULES,
        probes_kube_proxy: true,
        follows_endpoints: true,
        measures: None,
    }
}

/// What decisions rest on, as the options say.
fn context(all: &Config, cluster: &Cluster) -> Context {
    let config = &all.aws;
    Context {
        tags: config.tags.clone(),
        ssl_policy: config.ssl_policy.as_str().into(),
        node_ports: config.node_ports.clone(),
        quotas: config.quotas,
        sweep: all
            .resync
            .saturating_mul(LOOKS_PER_SWEEP)
            .min(evenkeel_aws::SWEEP),
        ..Context::new(cluster.clone())
    }
}

/// Takes down one of the cluster's nodes, where the configuration leaves region or VPC to be found: a node tells both.
pub async fn find_node(config: &mut Config, client: &kube::Client) {
    let named = config.aws.region.is_some() && config.aws.vpc.is_some();
    let runs = config
        .rules
        .enabled
        .iter()
        .any(|name| name.as_str() == evenkeel_aws::NAME);
    if named || !runs {
        return;
    }
    let few = ListParams::default().limit(NODES_LOOKED_AT);
    let scheme = evenkeel_aws::NODE_RULES
        .provider_id_scheme
        .unwrap_or(evenkeel_aws::NAME);
    match Api::<Node>::all(client.clone()).list(&few).await {
        Ok(nodes) => {
            let ids = nodes
                .items
                .into_iter()
                .filter_map(|node| node.spec?.provider_id);
            config.aws.node = ids
                .into_iter()
                .find(|id| id.split(':').next() == Some(scheme));
            debug!(node = config.aws.node, "a node that tells region and VPC");
        }
        Err(error) => warn!(
            %error,
            "no node could be asked for region and VPC; set --aws-region and --aws-vpc-id where AWS's environment does not tell them"
        ),
    }
}
