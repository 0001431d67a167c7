//! What EC2 answers, in our words (Decides).

use std::{collections::BTreeSet, sync::Arc};

use evenkeel_core::net::Cidr;
use serde::Deserialize;

use crate::model::{CloudId, Pairs, Rule, RuleProtocol, Source, facts::Subnet};

/// EC2's lists: `<xSet><item>…</item></xSet>`.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Items<T> {
    #[serde(default = "Vec::new")]
    pub(crate) item: Vec<T>,
}

impl<T> Default for Items<T> {
    fn default() -> Self {
        Self { item: Vec::new() }
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Tag {
    key: String,
    value: String,
}

fn pairs(tags: Items<Tag>) -> Pairs {
    let tags = tags.item.into_iter();
    tags.map(|tag| (tag.key.into(), tag.value.into())).collect()
}

fn is_associated(state: &str) -> bool {
    matches!(state, "associated" | "associating")
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct VpcsReply {
    #[serde(rename = "vpcSet")]
    pub(crate) vpcs: Items<VpcReply>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct VpcReply {
    cidr_block: Option<Cidr>,
    cidr_block_association_set: Items<Association>,
    ipv6_cidr_block_association_set: Items<Association>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Association {
    #[serde(alias = "ipv6CidrBlock")]
    cidr_block: String,
    #[serde(alias = "ipv6CidrBlockState")]
    cidr_block_state: State,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct State {
    state: String,
}

impl Association {
    fn prefix(&self) -> Option<Cidr> {
        let associated = is_associated(&self.cidr_block_state.state);
        associated.then(|| self.cidr_block.parse().ok()).flatten()
    }
}

impl VpcReply {
    pub(crate) fn prefixes(&self) -> Vec<Cidr> {
        let more = self
            .cidr_block_association_set
            .item
            .iter()
            .chain(&self.ipv6_cidr_block_association_set.item)
            .filter_map(Association::prefix);
        let mut all: Vec<_> = self.cidr_block.into_iter().chain(more).collect();
        all.sort_by_key(|prefix| prefix.net());
        all.dedup();
        all
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct SubnetsReply {
    #[serde(rename = "subnetSet")]
    pub(crate) subnets: Items<SubnetReply>,
    pub(crate) next_token: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct SubnetReply {
    subnet_id: String,
    vpc_id: String,
    availability_zone: String,
    cidr_block: Option<Cidr>,
    ipv6_cidr_block_association_set: Items<Association>,
    available_ip_address_count: u32,
    outpost_arn: Option<String>,
    tag_set: Items<Tag>,
}

impl SubnetReply {
    /// Its locale where the subnet itself tells it; empty otherwise.
    pub(crate) fn subnet(self) -> Subnet {
        let ipv6 = self.ipv6_cidr_block_association_set.item;
        let outpost = self.outpost_arn.is_some_and(|arn| !arn.is_empty());
        Subnet {
            id: self.subnet_id.into(),
            vpc: self.vpc_id.into(),
            zone: self.availability_zone.into(),
            locale: if outpost { "outpost" } else { "" }.into(),
            prefix: self.cidr_block,
            ipv6: ipv6.iter().filter_map(Association::prefix).collect(),
            free_addresses: self.available_ip_address_count,
            public: None,
            tags: pairs(self.tag_set),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct RouteTablesReply {
    #[serde(rename = "routeTableSet")]
    pub(crate) route_tables: Items<RouteTableReply>,
    pub(crate) next_token: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct RouteTableReply {
    route_set: Items<Route>,
    association_set: Items<RouteAssociation>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Route {
    gateway_id: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RouteAssociation {
    subnet_id: Option<String>,
    main: bool,
}

impl RouteTableReply {
    /// Whether some route leads to an internet gateway.
    pub(crate) fn is_public(&self) -> bool {
        let gateways = self
            .route_set
            .item
            .iter()
            .filter_map(|route| route.gateway_id.as_deref());
        gateways
            .into_iter()
            .any(|gateway| gateway.starts_with("igw"))
    }

    /// Whether it serves the subnets that have no table of their own.
    pub(crate) fn is_main(&self) -> bool {
        self.association_set.item.iter().any(|one| one.main)
    }

    /// The subnets that it serves by name.
    pub(crate) fn subnets(&self) -> impl Iterator<Item = &str> {
        let all = self.association_set.item.iter();
        all.filter_map(|one| one.subnet_id.as_deref())
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ZonesReply {
    #[serde(rename = "availabilityZoneInfo")]
    pub(crate) zones: Items<ZoneReply>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ZoneReply {
    #[serde(rename = "zoneName")]
    pub(crate) name: String,
    #[serde(rename = "zoneType")]
    pub(crate) kind: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct GroupsReply {
    #[serde(rename = "securityGroupInfo")]
    pub(crate) groups: Items<GroupReply>,
    pub(crate) next_token: Option<String>,
}

/// A security group as EC2 described it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct GroupReply {
    group_id: String,
    group_name: String,
    ip_permissions: Items<Permission>,
    tag_set: Items<Tag>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Permission {
    ip_protocol: String,
    from_port: Option<i32>,
    to_port: Option<i32>,
    ip_ranges: Items<Range>,
    ipv6_ranges: Items<Range6>,
    prefix_list_ids: Items<PrefixList>,
    groups: Items<Pair>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Range {
    cidr_ip: String,
    description: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Range6 {
    cidr_ipv6: String,
    description: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PrefixList {
    prefix_list_id: String,
    description: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Pair {
    group_id: String,
    description: String,
}

impl GroupReply {
    pub(crate) fn id(&self) -> CloudId {
        CloudId::from(&*self.group_id)
    }

    pub(crate) fn name(&self) -> Arc<str> {
        (*self.group_name).into()
    }

    pub(crate) fn tags(&self) -> Pairs {
        pairs(self.tag_set.clone())
    }

    /// Its ingress rules, ungrouped.
    pub(crate) fn rules(&self) -> BTreeSet<Rule> {
        self.described_rules().map(|(rule, _)| rule).collect()
    }

    /// Those of its ingress rules that have this description.
    pub(crate) fn rules_described(&self, description: &str) -> BTreeSet<Rule> {
        let rules = self.described_rules();
        rules
            .filter(|(_, text)| *text == description)
            .map(|(rule, _)| rule)
            .collect()
    }

    /// The same, each with its description.
    pub(crate) fn described_rules(&self) -> impl Iterator<Item = (Rule, &str)> {
        self.ip_permissions.item.iter().flat_map(Permission::rules)
    }
}

impl Permission {
    /// Its rules, each with its description.
    fn rules(&self) -> impl Iterator<Item = (Rule, &str)> {
        let cidr = |text: &String| text.parse().ok().map(Source::Cidr);
        let ranges = self.ip_ranges.item.iter();
        let ranges = ranges.map(move |range| (cidr(&range.cidr_ip), &range.description));
        let ranges6 = self.ipv6_ranges.item.iter();
        let ranges6 = ranges6.map(move |range| (cidr(&range.cidr_ipv6), &range.description));
        let lists = self.prefix_list_ids.item.iter().map(|list| {
            let source = Source::PrefixList((*list.prefix_list_id).into());
            (Some(source), &list.description)
        });
        let groups = self.groups.item.iter().map(|pair| {
            let source = Source::Group(CloudId::from(&*pair.group_id));
            (Some(source), &pair.description)
        });
        let sources = ranges.chain(ranges6).chain(lists).chain(groups);
        sources.filter_map(|(source, description)| {
            let rule = Rule {
                protocol: protocol(&self.ip_protocol),
                from: self.from_port.unwrap_or(-1),
                to: self.to_port.unwrap_or(-1),
                source: source?,
            };
            Some((rule, &**description))
        })
    }
}

fn protocol(text: &str) -> RuleProtocol {
    match text {
        "tcp" | "6" => RuleProtocol::Tcp,
        "udp" | "17" => RuleProtocol::Udp,
        "icmp" | "1" => RuleProtocol::Icmp,
        "icmpv6" | "58" => RuleProtocol::Icmpv6,
        other => RuleProtocol::Other(other.into()),
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct NewGroupReply {
    #[serde(rename = "groupId")]
    pub(crate) id: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct InstancesReply {
    reservation_set: Items<Reservation>,
    pub(crate) next_token: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Reservation {
    instances_set: Items<InstanceReply>,
}

impl InstancesReply {
    pub(crate) fn instances(self) -> impl Iterator<Item = InstanceReply> {
        let reservations = self.reservation_set.item.into_iter();
        reservations
            .flat_map(|reservation| reservation.instances_set.item)
            .filter(|instance| !instance.is_gone())
    }
}

/// An instance as EC2 described it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct InstanceReply {
    instance_id: String,
    vpc_id: Option<String>,
    instance_state: InstanceState,
    /// Of the instance as a whole: those of its primary interface.
    group_set: Items<GroupName>,
    network_interface_set: Items<Interface>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct InstanceState {
    name: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct GroupName {
    group_id: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Interface {
    attachment: Attachment,
    group_set: Items<GroupName>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Attachment {
    device_index: u32,
}

impl InstanceReply {
    pub(crate) fn id(&self) -> Arc<str> {
        (*self.instance_id).into()
    }

    pub(crate) fn vpc(&self) -> Option<Arc<str>> {
        self.vpc_id.as_deref().map(Arc::from)
    }

    fn is_gone(&self) -> bool {
        self.instance_state.name == "terminated"
    }

    /// The security groups of its primary interface, ascending.
    pub(crate) fn groups(&self) -> BTreeSet<CloudId> {
        let primary = |interface: &&Interface| interface.attachment.device_index == 0;
        let interfaces = &self.network_interface_set.item;
        let groups = match interfaces.iter().find(primary) {
            Some(interface) => &interface.group_set,
            None => &self.group_set,
        };
        let ids = groups.item.iter().map(|group| &group.group_id);
        ids.map(|id| CloudId::from(&**id)).collect()
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct InterfacesReply {
    #[serde(rename = "networkInterfaceSet")]
    pub(crate) interfaces: Items<InterfaceReply>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct InterfaceReply {
    #[serde(rename = "networkInterfaceId")]
    pub(crate) id: String,
    pub(crate) description: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct PrefixListsReply {
    #[serde(rename = "prefixListSet")]
    pub(crate) prefix_lists: Items<PrefixListReply>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct PrefixListReply {
    #[serde(rename = "prefixListId")]
    pub(crate) id: String,
    #[serde(rename = "maxEntries")]
    pub(crate) entries: u32,
}

#[cfg(test)]
mod tests;
