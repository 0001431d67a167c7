//! A place for clusters: resource groups, a virtual network, a security group, nodes. Decides.

use serde_json::{Value, json};

use super::FakeAzure;

/// What stands in a world.
#[derive(Clone, Debug)]
pub struct WorldOptions {
    /// How many nodes, each with an interface in the subnet `nodes`; the first has 10.20.0.4.
    pub nodes: usize,
    /// Whether subnets and nodes have IPv6 too.
    pub dual_stack: bool,
    /// What of IPv4 the virtual network and its subnet of nodes have, where it is not 10.20.0.0/16: nodes whose addresses answer on this
    /// machine have those of its loopback.
    pub range: Option<&'static str>,
}

impl Default for WorldOptions {
    fn default() -> Self {
        Self {
            nodes: 2,
            dual_stack: false,
            range: None,
        }
    }
}

/// Ids and names of what stands there.
#[derive(Clone, Debug)]
pub struct World {
    /// `rg1`: the load balancers', the addresses' and the security group's.
    pub group: String,
    /// `rg-net`: the virtual network's.
    pub network_group: String,
    /// `rg-ips`: an empty one.
    pub other_group: String,
    /// The id of `vnet1`.
    pub network: String,
    /// The id of the subnet `nodes`, 10.20.0.0/20.
    pub subnet: String,
    /// The id of the subnet `ilb-apps`, 10.20.32.0/24.
    pub other_subnet: String,
    /// The id of `nsg1`, which has no rules.
    pub security_group: String,
    /// The id of `edge-prefix`, 20.60.0.0/30.
    pub prefix: String,
    /// The nodes' addresses.
    pub nodes: Vec<String>,
}

/// Where everything is.
pub const LOCATION: &str = "westeurope";

impl World {
    /// Builds it, at once, by no call.
    #[must_use]
    pub fn build(azure: &FakeAzure, options: &WorldOptions) -> Self {
        let of = |group: &str, rest: &str| {
            format!(
                "/subscriptions/{}/resourceGroups/{group}/providers/{rest}",
                azure.subscription()
            )
        };
        let (group, network_group, other_group) = ("rg1", "rg-net", "rg-ips");
        for group in [group, network_group, other_group] {
            azure.seed_group(group, LOCATION);
        }
        let network = of(network_group, "Microsoft.Network/virtualNetworks/vnet1");
        let range = |v4: &str, v6: &str| match options.dual_stack {
            true => json!([v4, v6]),
            false => json!([v4]),
        };
        let mut spaces = range("10.20.0.0/16", "fd00:20::/48");
        if let (Some(more), Some(spaces)) = (options.range, spaces.as_array_mut()) {
            spaces.push(json!(more));
        }
        azure.seed(
            &network,
            json!({"location": LOCATION, "properties": {"addressSpace": {"addressPrefixes": spaces}}}),
        );
        let security_group = of(group, "Microsoft.Network/networkSecurityGroups/nsg1");
        azure.seed(
            &security_group,
            json!({"location": LOCATION, "properties": {"securityRules": []}}),
        );
        let subnet = |name: &str, v4: &str, v6: &str| {
            let id = format!("{network}/subnets/{name}");
            let mut properties = json!({"networkSecurityGroup": {"id": security_group}});
            match options.dual_stack {
                true => properties["addressPrefixes"] = range(v4, v6),
                false => properties["addressPrefix"] = json!(v4),
            }
            azure.seed(&id, json!({"properties": properties}));
            id
        };
        let nodes_subnet = subnet(
            "nodes",
            options.range.unwrap_or("10.20.0.0/20"),
            "fd00:20:0:1::/64",
        );
        let other_subnet = subnet("ilb-apps", "10.20.32.0/24", "fd00:20:0:2::/64");
        let prefix = of(group, "Microsoft.Network/publicIPPrefixes/edge-prefix");
        azure.seed(
            &prefix,
            json!({
                "location": LOCATION, "sku": {"name": "Standard", "tier": "Regional"},
                "properties": {"publicIPAddressVersion": "IPv4", "prefixLength": 30, "ipPrefix": "20.60.0.0/30"},
            }),
        );
        let mut world = Self {
            group: group.to_owned(),
            network_group: network_group.to_owned(),
            other_group: other_group.to_owned(),
            network,
            subnet: nodes_subnet,
            other_subnet,
            security_group,
            prefix,
            nodes: Vec::new(),
        };
        for _ in 0..options.nodes {
            world.add_node(azure);
        }
        world
    }

    /// The cloud provider's configuration file for a cluster in this world, with a service principal: `azure.json`.
    #[must_use]
    pub fn azure_json(&self, azure: &FakeAzure) -> Value {
        let who = azure.identities();
        let name = |id: &str| id.rsplit('/').next().unwrap_or_default().to_owned();
        json!({
            "cloud": "AzurePublicCloud",
            "resourceManagerEndpoint": azure.endpoint(),
            "tenantId": who.tenant,
            "subscriptionId": azure.subscription(),
            "aadClientId": who.client,
            "aadClientSecret": who.secret,
            "resourceGroup": self.group,
            "location": LOCATION,
            "vnetName": name(&self.network),
            "vnetResourceGroup": self.network_group,
            "subnetName": name(&self.subnet),
            "securityGroupName": name(&self.security_group),
            "loadBalancerSku": "standard",
            "loadBalancerBackendPoolConfigurationType": "nodeIP",
        })
    }

    /// One more node; returns its address.
    pub fn add_node(&mut self, azure: &FakeAzure) -> String {
        let number = self.nodes.len();
        let address = format!("10.20.{}.{}", (number + 4) / 256, (number + 4) % 256);
        self.add_node_at(azure, &address);
        address
    }

    /// One more node, which has this address; returns its name.
    pub fn add_node_at(&mut self, azure: &FakeAzure, address: &str) -> String {
        let name = format!("n{}", self.nodes.len() + 1);
        let id = format!(
            "/subscriptions/{}/resourceGroups/{}/providers/Microsoft.Network/networkInterfaces/{name}",
            azure.subscription(),
            self.group,
        );
        azure.seed(&id, interface(&self.subnet, address));
        self.nodes.push(address.to_owned());
        name
    }
}

fn interface(subnet: &str, address: &str) -> Value {
    json!({
        "location": LOCATION,
        "properties": {"ipConfigurations": [{
            "name": "ipconfig1",
            "properties": {
                "primary": true, "privateIPAddress": address, "privateIPAllocationMethod": "Dynamic", "subnet": {"id": subnet},
            },
        }]},
    })
}
