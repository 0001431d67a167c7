//! The file that Azure's own cloud controller is configured with, `azure.json` (Decides).
//!
//! A cluster on Azure has it, on each node or in a Secret; from there comes what the cluster's place is and who may write there. It
//! is JSON or YAML, with names in any case. What is about other things than load balancers is named once, and left alone; what asks
//! for something that is not built is a problem, because to leave it out would change what users have.

mod identity;
mod read;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use evenkeel_core::problem::Problems;

pub use identity::{Environment, identity};

use crate::{
    client::{ClientConfig, Cloud},
    model::Pairs,
};

/// What the file says. What it does not say is None, or what the cloud controller takes then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AzureJson {
    /// `cloud`.
    pub cloud: Cloud,
    /// `resourceManagerEndpoint`.
    pub endpoint: Option<Arc<str>>,
    /// `tenantId`.
    pub tenant: Option<Arc<str>>,
    /// `networkResourceTenantID`: whose tokens are needed where the network's resources are another tenant's.
    pub network_tenant: Option<Arc<str>>,
    /// `subscriptionId`: of the virtual network.
    pub subscription: Option<Arc<str>>,
    /// `networkResourceSubscriptionID`: of load balancers, public addresses and the security group.
    pub network_subscription: Option<Arc<str>>,
    /// `resourceGroup`, in small letters.
    pub resource_group: Option<Arc<str>>,
    /// `location`.
    pub location: Option<Arc<str>>,
    /// `vnetName`.
    pub network: Option<Arc<str>>,
    /// `vnetResourceGroup`.
    pub network_group: Option<Arc<str>>,
    /// `subnetName`.
    pub subnet: Option<Arc<str>>,
    /// `securityGroupName`.
    pub security_group: Option<Arc<str>>,
    /// `securityGroupResourceGroup`.
    pub security_group_group: Option<Arc<str>>,
    /// `loadBalancerName`.
    pub load_balancer: Option<Arc<str>>,
    /// `loadBalancerResourceGroup`.
    pub load_balancer_group: Option<Arc<str>>,
    /// `loadBalancerBackendPoolConfigurationType`.
    pub pools: Pools,
    /// `disableOutboundSNAT`.
    pub disable_outbound_snat: bool,
    /// `excludeMasterFromStandardLB`.
    pub exclude_control_plane: bool,
    /// `clusterServiceLoadBalancerHealthProbeMode` is `shared`.
    pub shared_probe: bool,
    /// `clusterServiceSharedLoadBalancerHealthProbePort`.
    pub shared_probe_port: u16,
    /// `clusterServiceSharedLoadBalancerHealthProbePath`.
    pub shared_probe_path: Arc<str>,
    /// `tags` and `tagsMap`; of two of one name that of the map.
    pub tags: Pairs,
    /// `systemTags`: beginnings of the names of tags that are never removed. None: none ever is.
    pub system_tags: Option<Vec<Arc<str>>>,
    /// `preConfiguredBackendPoolLoadBalancerTypes`: whose members somebody else manages.
    pub configured_pools: ConfiguredPools,
    /// `maximumLoadBalancerRuleCount`.
    pub most_rules: usize,
    /// `enableIPTagMutationForExistingPublicIP`.
    pub ip_tags_change: bool,
    /// Who we are, as far as the file says.
    pub who: Who,
    /// Names in the file that nothing here goes by, for the log.
    pub ignored: Vec<String>,
}

/// What the members of a load balancer's pools are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pools {
    /// `nodeIPConfiguration`: the nodes' network interfaces. Pools like that are recognised, and are not what we make.
    #[default]
    Interfaces,
    /// `nodeIP`: the nodes' addresses, as in ours.
    Addresses,
}

/// Of which load balancers the members of the pools are somebody else's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConfiguredPools {
    /// Of none.
    #[default]
    None,
    /// `internal`.
    Internal,
    /// `external`.
    External,
    /// `all`.
    All,
}

/// What the file says of who we are.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Who {
    /// `aadClientId`.
    pub client: Option<Arc<str>>,
    /// `aadClientSecret`.
    pub secret: Option<Arc<str>>,
    /// `aadClientCertPath`.
    pub certificate: Option<Arc<str>>,
    /// `useManagedIdentityExtension`.
    pub managed: bool,
    /// `userAssignedIdentityID`.
    pub user_assigned: Option<Arc<str>>,
    /// `useFederatedWorkloadIdentityExtension`.
    pub workload: bool,
    /// `aadFederatedTokenFile`.
    pub token_file: Option<Arc<str>>,
}

impl Default for AzureJson {
    fn default() -> Self {
        Self {
            cloud: Cloud::Public,
            endpoint: None,
            tenant: None,
            network_tenant: None,
            subscription: None,
            network_subscription: None,
            resource_group: None,
            location: None,
            network: None,
            network_group: None,
            subnet: None,
            security_group: None,
            security_group_group: None,
            load_balancer: None,
            load_balancer_group: None,
            pools: Pools::default(),
            disable_outbound_snat: false,
            exclude_control_plane: true,
            shared_probe: false,
            shared_probe_port: 10_256,
            shared_probe_path: "/healthz".into(),
            tags: Pairs::new(),
            system_tags: None,
            configured_pools: ConfiguredPools::default(),
            most_rules: 250,
            ip_tags_change: false,
            who: Who::default(),
            ignored: Vec::new(),
        }
    }
}

impl AzureJson {
    /// Reads a file; `place` is its name in problems.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn read(text: &str, place: &str) -> Result<Self, Problems> {
        read::read(text, place)
    }

    /// The subscription of load balancers, public addresses and the security group.
    pub fn subscription_of_network(&self) -> Option<&Arc<str>> {
        self.network_subscription
            .as_ref()
            .or(self.subscription.as_ref())
    }

    /// The resource group of load balancers.
    pub fn group_of_load_balancers(&self) -> Option<&Arc<str>> {
        self.load_balancer_group
            .as_ref()
            .or(self.resource_group.as_ref())
    }

    /// The id of the nodes' virtual network, where the file names it.
    pub fn network_id(&self) -> Option<String> {
        let group = self.network_group.as_ref().or(self.resource_group.as_ref());
        id(
            self.subscription.as_ref(),
            group,
            "virtualNetworks",
            self.network.as_ref(),
        )
    }

    /// The id of the subnet of internal frontends, where the file names it.
    pub fn subnet_id(&self) -> Option<String> {
        let (network, subnet) = (self.network_id()?, self.subnet.as_ref()?);
        Some(format!("{network}/subnets/{subnet}"))
    }

    /// The id of the nodes' network security group, where the file names it.
    pub fn security_group_id(&self) -> Option<String> {
        let group = self
            .security_group_group
            .as_ref()
            .or(self.resource_group.as_ref());
        let subscription = self.subscription_of_network();
        id(
            subscription,
            group,
            "networkSecurityGroups",
            self.security_group.as_ref(),
        )
    }

    /// A client as the file and the environment say.
    ///
    /// # Errors
    /// What is missing of who we are; see [`identity`].
    pub fn client(&self, environment: Environment<'_>) -> Result<ClientConfig, Problems> {
        let authority = environment("AZURE_AUTHORITY_HOST");
        let authority = authority.map(|url| Arc::from(url.trim_end_matches('/')));
        Ok(ClientConfig {
            cloud: self.cloud,
            endpoint: self.endpoint.clone(),
            authority: authority.filter(|url: &Arc<str>| !url.is_empty()),
            credential: identity(self, environment)?,
            ..ClientConfig::default()
        })
    }
}

fn id(
    subscription: Option<&Arc<str>>,
    group: Option<&Arc<str>>,
    kind: &str,
    name: Option<&Arc<str>>,
) -> Option<String> {
    let (subscription, group, name) = (subscription?, group?, name?);
    Some(format!(
        "/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.Network/{kind}/{name}"
    ))
}
