//! What the decisions rest on besides Services, nodes and what is seen (Decides).

use std::{ops::RangeInclusive, sync::Arc};

use evenkeel_core::{
    ids::Cluster,
    intent::Scheme,
    naming::{Charset, Naming},
    net::Cidr,
};

use crate::model::Pairs;

/// Load balancers: 1 to 80 letters, digits, hyphens, periods and underscores.
const NAMES: Naming = Naming::new(80, Charset::Mixed, 10);

/// The priorities of our security rules: below those that people write by hand, above those of other controllers.
pub const PRIORITIES: RangeInclusive<u16> = 1_500..=3_499;

/// What the operator says of the cluster's place on Azure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// The cluster whose Services are served.
    pub cluster: Cluster,
    /// The subscription of the network's resources.
    pub subscription: Arc<str>,
    /// The resource group of the load balancers, and of public IP addresses where no annotation names another.
    pub resource_group: Arc<str>,
    /// The region, `westeurope`.
    pub location: Arc<str>,
    /// Id of the virtual network that the nodes are in.
    pub virtual_network: Arc<str>,
    /// Name of the subnet of internal frontends where no annotation names another.
    pub subnet: Arc<str>,
    /// Prefixes of the subnets of the nodes: what security rules open where packets arrive with the address of a node.
    pub node_prefixes: Vec<Cidr>,
    /// Name of a load balancer to use; the internal one is `{name}-internal`. None: one of our own of each kind.
    pub load_balancer: Option<Arc<str>>,
    /// Id of the nodes' network security group, where its rules are ours to write.
    pub security_group: Option<Arc<str>>,
    /// Tags for every public IP address and for load balancers that we make, from the operator.
    pub tags: Pairs,
    /// Rules give no outbound connections, because something else does.
    pub disable_outbound_snat: bool,
    /// With policy Cluster one probe of kube-proxy's health for all Services, whatever their annotations say.
    pub shared_probe: bool,
    /// Priorities of our security rules.
    pub priorities: RangeInclusive<u16>,
    /// What Azure allows.
    pub limits: Limits,
}

/// Limits of Azure's that are counted before a write ("Networking limits").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Rules per network interface, over all load balancers that it is behind: as many as all nodes have.
    pub rules: usize,
    /// Frontend IP configurations of a load balancer.
    pub frontends: usize,
    /// Rules of a network security group.
    pub security_rules: usize,
}

impl Limits {
    /// The names of all.
    pub const NAMES: [&str; 3] = ["rules", "frontends", "security-rules"];

    /// One by its name.
    pub fn named(&mut self, name: &str) -> Option<&mut usize> {
        match name {
            "rules" => Some(&mut self.rules),
            "frontends" => Some(&mut self.frontends),
            "security-rules" => Some(&mut self.security_rules),
            _ => None,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            rules: 300,
            frontends: 600,
            security_rules: 1000,
        }
    }
}

impl Context {
    /// The name of the load balancer of this kind.
    pub fn load_balancer(&self, scheme: Scheme) -> String {
        match (&self.load_balancer, scheme) {
            (Some(name), Scheme::InternetFacing) => name.to_string(),
            (Some(name), Scheme::Internal) => format!("{name}-internal"),
            (None, scheme) => {
                let kind = match scheme {
                    Scheme::InternetFacing => "public",
                    Scheme::Internal => "internal",
                };
                NAMES.name(&["ek"], &[&self.cluster.name, kind], &[&self.cluster.uid])
            }
        }
    }

    /// The id of the load balancer of this kind.
    pub fn load_balancer_id(&self, scheme: Scheme) -> String {
        let name = self.load_balancer(scheme);
        self.network_id(&self.resource_group, "loadBalancers", &name)
    }

    /// The id of a public IP address.
    pub fn public_ip_id(&self, resource_group: &str, name: &str) -> Arc<str> {
        self.network_id(resource_group, "publicIPAddresses", name)
            .into()
    }

    fn network_id(&self, resource_group: &str, kind: &str, name: &str) -> String {
        let subscription = &self.subscription;
        format!(
            "/subscriptions/{subscription}/resourceGroups/{resource_group}/providers/Microsoft.Network/{kind}/{name}"
        )
    }
}
