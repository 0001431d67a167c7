//! Network Load Balancers (Decides).

use std::{
    collections::BTreeSet,
    fmt,
    net::{Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use evenkeel_core::intent::Scheme;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{CloudId, Marks, Pairs, Security};

/// The load balancer that a group shall have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LoadBalancer {
    /// A name that was asked for. None: ours (see [`crate::names`]). Counts when it is created.
    pub name: Option<Arc<str>>,
    /// The scheme that was asked for. None: a live load balancer keeps its own.
    pub scheme: Option<Scheme>,
    /// The scheme of a new one where none was asked for.
    pub default_scheme: Scheme,
    /// Its addresses. None was asked for: a live load balancer keeps its own, a new one has IPv4.
    pub address_type: Option<AddressType>,
    /// Where it stands.
    pub subnets: Subnets,
    /// Addresses of its own, one per subnet.
    pub addresses: ZoneAddresses,
    /// `EnablePrefixForIpv6SourceNat`, where it was asked for.
    pub source_nat: Option<bool>,
    /// Who may connect.
    pub security: Security,
    /// Whether the front-end rules hold for traffic through AWS PrivateLink too, where it was asked for; AWS's default is on.
    pub private_link_rules: Option<bool>,
    /// The attributes that differ from AWS's defaults, or were asked for.
    pub attributes: Pairs,
    /// Tags of the operator and of the user, on every object of the group.
    pub tags: Pairs,
    /// Whose it is.
    pub marks: Marks,
}

impl LoadBalancer {
    /// The scheme of a new one.
    pub fn new_scheme(&self) -> Scheme {
        self.scheme.unwrap_or(self.default_scheme)
    }
}

/// `IpAddressType`.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum AddressType {
    /// IPv4 only.
    #[default]
    Ipv4,
    /// IPv4 and IPv6.
    Dualstack,
}

impl AddressType {
    /// As AWS writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ipv4 => "ipv4",
            Self::Dualstack => "dualstack",
        }
    }
}

impl fmt::Display for AddressType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which subnets a load balancer stands in, at most one per zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Subnets {
    /// Found by their tags and routes when it is created; a live load balancer keeps its own.
    Discovered,
    /// These, by id or by the tag `Name`, in this order. A name that stands k times means k subnets of that name.
    Listed(Vec<Arc<str>>),
}

/// Addresses asked for, at most one of each kind per subnet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ZoneAddresses {
    /// Elastic IPs by allocation id, in the order of the subnets.
    pub allocations: Vec<Arc<str>>,
    /// Private IPv4 addresses, each for the subnet that holds it.
    pub private: Vec<Ipv4Addr>,
    /// IPv6 addresses, each for the subnet that holds it.
    pub ipv6: Vec<Ipv6Addr>,
    /// Prefixes for source NAT, in the order of the subnets: `auto_assigned` or an IPv6 /80.
    pub source_nat_prefixes: Vec<Arc<str>>,
}

/// A subnet with the addresses that the load balancer has there.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct SubnetMapping {
    /// `subnet-…`.
    pub subnet: Arc<str>,
    /// An Elastic IP.
    pub allocation: Option<Arc<str>>,
    /// A private IPv4 address.
    pub private: Option<Ipv4Addr>,
    /// An IPv6 address.
    pub ipv6: Option<Ipv6Addr>,
    /// A prefix for source NAT.
    pub source_nat_prefix: Option<Arc<str>>,
}

/// `State.Code`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Phase {
    /// Being set up, for minutes. Listeners, tags and attributes can be written.
    Provisioning,
    /// Takes traffic.
    Active,
    /// Takes traffic and lacks what it needs to scale.
    Impaired,
    /// Could not be set up.
    Failed,
}

/// A load balancer that is there, or is foretold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenLoadBalancer {
    /// Its ARN.
    pub arn: CloudId,
    /// Its state.
    pub phase: Phase,
    /// What AWS says of a state that is not well.
    pub phase_reason: Option<Arc<str>>,
    /// Its DNS name, in lower case; known from the reply of the create call. None in a rehearsal.
    pub dns_name: Option<Arc<str>>,
    /// Create-only.
    pub scheme: Scheme,
    /// Its addresses.
    pub address_type: AddressType,
    /// The VPC.
    pub vpc: Arc<str>,
    /// Where it stands, by subnet id.
    pub subnets: Vec<SubnetMapping>,
    /// Its security groups by id. None at all: it can never get one.
    pub security_groups: BTreeSet<CloudId>,
    /// As [`LoadBalancer::private_link_rules`].
    pub private_link_rules: Option<bool>,
    /// As [`LoadBalancer::source_nat`].
    pub source_nat: bool,
    /// When it was made.
    pub created_at: Option<Timestamp>,
    /// Its attributes that were read or written; None: they were not read, and no tag says that any was set.
    pub attributes: Option<Pairs>,
    /// Whether its listeners are known; a bulk look has none.
    pub listeners_known: bool,
    /// Whose it is.
    pub marks: Marks,
    /// All of its tags, those of others too.
    pub tags: Pairs,
}
