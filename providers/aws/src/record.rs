//! A region and VPC written down: the `cloud` part of a document of facts, and the words for objects in plans (Decides).
//!
//! ```text
//! objects   load balancers, target groups, security groups in words, and back
//! nodes     the cluster's backend group, and the groups of its nodes
//! look      a live account -> AwsCloud                     (Reads)
//! world     AwsCloud -> what a look at a group would find
//! ```
//!
//! All is as AWS has it, in AWS's words: what is ours, what admits what, and whose an object is are told by tags, rules and
//! descriptions, as they are when AWS is asked.

mod look;
mod nodes;
mod objects;
mod world;

use std::collections::BTreeMap;

use evenkeel_core::{
    problem::Problems,
    record::{Cloud, Document, Recorded},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use look::look;
pub use nodes::NodeGroupRecord;
pub use objects::{
    GroupObjects, HealthCheckRecord, ListenerRecord, LoadBalancerRecord, LoadBalancerState,
    MappingRecord, RuleRecord, SecurityGroupRecord, TargetGroupRecord, TargetHealthState,
    TargetRecord, TlsRecord,
};
pub use world::World;

use crate::{
    Aws, Context,
    client::{Client, Config},
};

/// A document of facts for this provider.
pub type AwsFacts = Document<AwsCloud>;

/// Tags or attributes.
pub type Texts = BTreeMap<String, String>;

/// A region and VPC.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AwsCloud {
    /// The region: `eu-west-1`.
    pub region: String,
    /// The VPC of the nodes.
    pub vpc: VpcRecord,
    /// Its subnets, and those of other VPCs that a Service names by id.
    #[serde(default)]
    pub subnets: Vec<SubnetRecord>,
    /// The security groups of the VPC: those that Services name by id or by their tag `Name`, those of the nodes, and the
    /// controller's own. One that is not here is not there.
    #[serde(default)]
    pub security_groups: Vec<SecurityGroupRecord>,
    /// Which security groups the nodes' instances have. An instance that is not here is looked up when it becomes a target, and its
    /// group is opened for the load balancers then.
    #[serde(default)]
    pub instances: Vec<InstanceRecord>,
    /// The managed prefix lists that Services name. One that is not here counts for one rule.
    #[serde(default)]
    pub prefix_lists: Vec<PrefixListRecord>,
    /// What the region has that is not the controller's, of what there may be so many of. Without it nobody has counted, and these
    /// quotas keep nothing from being planned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub others: Option<UsageRecord>,
    /// The controller's load balancers with their listeners.
    #[serde(default)]
    pub load_balancers: Vec<LoadBalancerRecord>,
    /// The controller's target groups.
    #[serde(default)]
    pub target_groups: Vec<TargetGroupRecord>,
}

impl Cloud for AwsCloud {
    const KIND: &'static str = "AwsFacts";
}

/// How much of the region's quotas others use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UsageRecord {
    /// Network Load Balancers.
    pub load_balancers: usize,
    /// Network interfaces of those in the VPC: one for each zone.
    pub interfaces: usize,
    /// Target groups.
    pub target_groups: usize,
}

/// The provider with a region that was written down in the place of AWS. It makes no call.
///
/// # Errors
/// Everything in the region that has no meaning, by the path of the field.
pub fn recorded(context: Context, cloud: &AwsCloud) -> Result<Recorded<Aws, World>, Problems> {
    let world = World::new(cloud, &context)?;
    let aws = Aws::new(context, Client::new(Config::default()));
    world.is_known_to(&aws.index, cloud.others);
    Ok(Recorded::new(aws, world))
}

/// The VPC.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VpcRecord {
    /// `vpc-…`.
    pub id: String,
    /// Its prefixes, of both families.
    pub cidrs: Vec<String>,
}

/// A subnet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SubnetRecord {
    /// `subnet-…`.
    pub id: String,
    /// Its VPC [default: the one of the nodes].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vpc: Option<String>,
    /// Its availability zone: `eu-west-1a`.
    pub zone: String,
    /// What kind of zone that is: `availability-zone`, `local-zone`, `wavelength-zone`; `outpost` for a subnet on one.
    #[serde(default = "availability_zone")]
    pub locale: String,
    /// Its IPv4 prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cidr: Option<String>,
    /// Its IPv6 prefixes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ipv6_cidrs: Vec<String>,
    /// How many addresses are free; a load balancer needs eight.
    #[serde(default = "plenty")]
    pub free_addresses: u32,
    /// Whether its route table leads to an internet gateway. It decides where no tag tells which subnets are for load balancers.
    #[serde(default)]
    pub public: bool,
    /// Its tags.
    #[serde(default, skip_serializing_if = "Texts::is_empty")]
    pub tags: Texts,
}

/// The kind of an ordinary zone.
fn availability_zone() -> String {
    "availability-zone".to_owned()
}

/// As many as an empty /24 has.
fn plenty() -> u32 {
    251
}

/// An instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InstanceRecord {
    /// `i-…`.
    pub id: String,
    /// The security groups of its primary network interface. Of several the one is the node's that has the tag
    /// `kubernetes.io/cluster/NAME`.
    pub security_groups: Vec<String>,
}

/// A managed prefix list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PrefixListRecord {
    /// `pl-…`.
    pub id: String,
    /// Its maximum number of entries: for so many rules it counts.
    pub max_entries: u32,
}
