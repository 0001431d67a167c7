//! A resource group and its network written down: the `cloud` part of a document of facts, and the words for objects in plans (Decides;
//! [`look`] Reads).
//!
//! Load balancers, addresses, the security group and the network are as Azure sends them, in its words: whose an object is is told by its
//! tags and names, as it is when Azure is asked.

mod world;

use std::{collections::BTreeMap, sync::Arc};

use evenkeel_core::{
    error::CloudError,
    problem::{Problem, Problems},
    record::{Cloud, Document, Recorded},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use world::World;

use crate::{
    Azure, Context, Timing,
    client::{Client, ClientConfig},
    index,
    model::Observed,
    path, public_ips,
    shared::{Balancer, SecurityGroup, json},
};

/// A document of facts for this provider.
pub type AzureFacts = Document<AzureCloud>;

/// A resource of Azure's, as it sends it.
pub type Resource = Map<String, Value>;

/// Where a cluster is on Azure, and what is there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AzureCloud {
    /// Where the cluster is.
    pub place: PlaceRecord,
    /// The nodes' virtual network, with its subnets.
    pub virtual_network: Resource,
    /// The load balancers of the resource group.
    #[serde(default)]
    pub load_balancers: Vec<Resource>,
    /// The nodes' network security group. Without it there is none that we may write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_security_group: Option<Resource>,
    /// The public IP addresses: our own, and those that Services name. One that is not here is not there.
    #[serde(default)]
    pub public_ip_addresses: Vec<Resource>,
}

impl Cloud for AzureCloud {
    const KIND: &'static str = "AzureFacts";
}

/// Where a cluster is on Azure.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PlaceRecord {
    /// The subscription of the network's resources.
    pub subscription: String,
    /// The resource group of the load balancers, and of public IP addresses where no annotation names another.
    pub resource_group: String,
    /// The region, `westeurope`.
    pub location: String,
    /// Name of the subnet of internal frontends where no annotation names another.
    pub subnet: String,
    /// Prefixes of the subnets of the nodes. None: those of the whole network.
    #[serde(default)]
    pub node_prefixes: Vec<String>,
    /// Name of a load balancer to use. None: one of our own of each kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_balancer: Option<String>,
}

impl PlaceRecord {
    fn of(context: &Context) -> Self {
        let prefixes = context.node_prefixes.iter();
        Self {
            subscription: context.subscription.to_string(),
            resource_group: context.resource_group.to_string(),
            location: context.location.to_string(),
            subnet: context.subnet.to_string(),
            node_prefixes: prefixes.map(ToString::to_string).collect(),
            load_balancer: context.load_balancer.as_ref().map(ToString::to_string),
        }
    }
}

impl AzureCloud {
    /// The settings for this place: what it says goes before what they say.
    ///
    /// # Errors
    /// Everything in it that has no meaning, by the path of the field.
    pub fn place(&self, mut context: Context) -> Result<Context, Problems> {
        let mut problems = Problems::none();
        let mut prefixes = Vec::new();
        for (index, prefix) in self.place.node_prefixes.iter().enumerate() {
            match prefix.parse() {
                Ok(prefix) => prefixes.push(prefix),
                Err(_) => problems.push(Problem::new(
                    format!("cloud.place.nodePrefixes[{index}]"),
                    prefix,
                    "is no prefix",
                    "Write it as 10.20.0.0/20.",
                )),
            }
        }
        let network = id_of(&self.virtual_network, "cloud.virtualNetwork", &mut problems);
        let security = self.network_security_group.as_ref();
        let security =
            security.and_then(|group| id_of(group, "cloud.networkSecurityGroup", &mut problems));
        problems.check()?;
        let place = &self.place;
        context.subscription = place.subscription.as_str().into();
        context.resource_group = place.resource_group.as_str().into();
        context.location = place.location.as_str().into();
        context.subnet = place.subnet.as_str().into();
        context.node_prefixes = prefixes;
        context.load_balancer = place.load_balancer.as_deref().map(Arc::from);
        context.virtual_network = network.unwrap_or_default();
        context.security_group = security;
        Ok(context)
    }
}

fn id_of(resource: &Resource, at: &str, problems: &mut Problems) -> Option<Arc<str>> {
    let id = resource.get("id").and_then(Value::as_str);
    if id.is_none_or(|id| path(id).is_err()) {
        problems.push(Problem::new(
            format!("{at}.id"),
            id.unwrap_or_default(),
            "is no id of a resource",
            "Write it as /subscriptions/…/resourceGroups/…/providers/Microsoft.Network/….",
        ));
    }
    id.map(Arc::from)
}

/// The provider with a place that was written down in the place of Azure. It makes no call.
///
/// # Errors
/// Everything in it that has no meaning, by the path of the field.
pub fn recorded(context: Context, cloud: &AzureCloud) -> Result<Recorded<Azure, World>, Problems> {
    let context = cloud.place(context)?;
    let world = World::new(cloud, &Arc::new(context.clone()))?;
    // Nobody is asked by it.
    let client = Client::new(ClientConfig::default())
        .map_err(|error| Problem::new("client", "", error.message, "Please report this."))?;
    let azure = Azure::new(context, client, Timing::default());
    Ok(Recorded::new(azure, world))
}

/// Reads all that plans may rest on.
///
/// # Errors
/// When Azure does not answer.
pub async fn look(azure: &Azure) -> Result<AzureCloud, CloudError> {
    let context = &azure.context;
    let get = async |id: &str| -> Result<Option<Resource>, CloudError> {
        let found = azure.client.get(&path(id)?).await?;
        Ok(found.as_ref().map(whole))
    };
    let list = async |group: Option<&str>, kind: &str| -> Result<Vec<Resource>, CloudError> {
        let path = index::collection(context, group, kind)?;
        let found = azure.client.list(&path).await?;
        Ok(found.iter().map(whole).collect())
    };
    let security = match &context.security_group {
        Some(id) => get(id).await?,
        None => None,
    };
    Ok(AzureCloud {
        place: PlaceRecord::of(context),
        virtual_network: get(&context.virtual_network).await?.unwrap_or_default(),
        load_balancers: list(Some(&context.resource_group), "loadBalancers").await?,
        network_security_group: security,
        public_ip_addresses: list(None, "publicIPAddresses").await?,
    })
}

fn whole(document: &json::Document) -> Resource {
    match document.whole() {
        Value::Object(fields) => fields,
        _ => Resource::new(),
    }
}

/// Everything that one group of Services has, in Azure's words.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "AzureObjects")]
pub struct GroupObjects {
    /// Its public IP addresses, and those that it was given.
    pub public_ip_addresses: Vec<AddressRecord>,
    /// Its parts of load balancers: frontends, rules, probes.
    pub load_balancers: Vec<PartRecord>,
    /// Its rules of the network security group, without priorities.
    pub security_rules: Vec<Value>,
}

/// A public IP address.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AddressRecord {
    /// Its id.
    pub id: String,
    /// Its address; missing: known after apply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_address: Option<String>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// The label of its name in DNS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain_name_label: Option<String>,
}

/// A part of a load balancer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PartRecord {
    /// The load balancer's name.
    pub name: String,
    /// Its properties that are lists, with what is the group's.
    pub properties: BTreeMap<String, Vec<Value>>,
}

impl GroupObjects {
    /// All that a group has.
    pub fn of(context: &Arc<Context>, seen: &Observed) -> Self {
        let text = |value: &Arc<str>| value.to_string();
        let addresses = seen.public_ips.iter().map(|(id, ip)| AddressRecord {
            id: text(id),
            ip_address: ip
                .address
                .filter(|ip| !ip.is_unspecified())
                .map(|ip| ip.to_string()),
            tags: ip
                .tags
                .iter()
                .map(|(key, to)| (text(key), text(to)))
                .collect(),
            domain_name_label: ip.dns_label.as_ref().map(text),
        });
        let parts = seen.balancers.iter();
        let parts = parts.filter(|(_, side)| !side.part.is_empty());
        Self {
            public_ip_addresses: addresses.collect(),
            load_balancers: parts
                .map(|(scheme, side)| PartRecord {
                    name: context.load_balancer(*scheme),
                    properties: Balancer::new(Arc::clone(context), *scheme).words_of(&side.part),
                })
                .collect(),
            security_rules: seen
                .security
                .as_ref()
                .map(|security| SecurityGroup::words_of(&security.access))
                .unwrap_or_default(),
        }
    }
}

/// What an address's record says.
pub(crate) fn address(resource: &Resource) -> Option<index::Address> {
    let text = Value::Object(resource.clone()).to_string();
    public_ips::read(&json::Document::read(&text, &[]).ok()?)
}
