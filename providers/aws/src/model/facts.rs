//! What the objects of all groups rest on: the VPC, its subnets, the backend group, what is known of the nodes (Decides).
//!
//! Facts are read once and shared by all groups; a group that finds them wanting asks for a fresh look.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use evenkeel_core::net::{Cidr, IpFamily};

use super::{CloudId, NodeGroup, Opening, Pairs, Rule, Source};

/// The facts of one region and VPC.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The VPC's id.
    pub vpc: Arc<str>,
    /// The prefixes associated with the VPC, of both families.
    pub vpc_prefixes: Vec<Cidr>,
    /// Every subnet of the VPC, and those of others that a Service names by id, by id.
    pub subnets: BTreeMap<Arc<str>, Subnet>,
    /// The security groups that Services name, by what they wrote (an id or a tag `Name`): their ids, ascending; empty when
    /// there is none.
    pub given_groups: BTreeMap<Arc<str>, Vec<CloudId>>,
    /// The cluster's backend group, once there is one.
    pub backend_group: Option<CloudId>,
    /// What is known of instances, by instance id.
    pub instances: BTreeMap<Arc<str>, Instance>,
    /// The node groups that admit the backend group whole, by security group id.
    pub admitted: BTreeSet<CloudId>,
    /// What node groups admit that admit the backend group, by security group id.
    pub node_groups: BTreeMap<CloudId, NodeGroup>,
    /// The openings that the target groups of each group of Services list, by [`evenkeel_core::ids::GroupKey::identity`]. A
    /// group that has none is not here.
    pub openings: BTreeMap<Arc<str>, BTreeSet<Opening>>,
    /// How many rules a prefix list counts for: its maximum number of entries, by id. One that is not here counts as one.
    pub prefix_lists: BTreeMap<Arc<str>, u32>,
}

impl Facts {
    /// The VPC's prefixes of a family, as sources of rules.
    pub fn vpc_sources(&self, family: IpFamily) -> impl Iterator<Item = Source> {
        let prefixes = self.vpc_prefixes.iter().copied();
        prefixes
            .filter(move |prefix| prefix.family() == family)
            .map(Source::Cidr)
    }
}

/// A subnet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subnet {
    /// `subnet-…`.
    pub id: Arc<str>,
    /// Its VPC.
    pub vpc: Arc<str>,
    /// The name of its zone: `eu-west-1a`.
    pub zone: Arc<str>,
    /// `availability-zone`, `local-zone`, `wavelength-zone`; `outpost` for a subnet on one.
    pub locale: Arc<str>,
    /// Its IPv4 prefix.
    pub prefix: Option<Cidr>,
    /// Its associated IPv6 prefixes.
    pub ipv6: Vec<Cidr>,
    /// `AvailableIpAddressCount`.
    pub free_addresses: u32,
    /// Whether its route table leads to an internet gateway; None: route tables were not read, because role tags decide.
    pub public: Option<bool>,
    /// Its tags.
    pub tags: Pairs,
}

/// What is known of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Instance {
    /// The security group that admits what reaches it.
    Group {
        /// The group of its primary network interface.
        group: CloudId,
        /// Where there were several, why this one, for people.
        note: Option<Arc<str>>,
    },
    /// AWS does not know it.
    Unknown,
    /// It has several groups and nothing tells which one is the node's.
    Ambiguous,
}

/// The rules by which a node group admits the backend group: every NodePort, and kube-proxy's health.
pub fn node_rules(backend_group: &CloudId, node_ports: std::ops::RangeInclusive<u16>) -> Vec<Rule> {
    use super::RuleProtocol;
    let (first, last) = (i32::from(*node_ports.start()), i32::from(*node_ports.end()));
    let rule = |protocol, from, to| Rule {
        protocol,
        from,
        to,
        source: Source::Group(backend_group.clone()),
    };
    vec![
        rule(RuleProtocol::Tcp, first, last),
        rule(RuleProtocol::Udp, first, last),
        rule(RuleProtocol::Tcp, 10_256, 10_256),
    ]
}
