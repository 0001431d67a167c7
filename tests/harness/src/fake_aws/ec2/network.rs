//! What the network is made of: VPCs, subnets, gateways, routes, prefix lists. Decides.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};

/// A VPC.
#[derive(Clone, Debug)]
pub struct Vpc {
    /// `vpc-...`
    pub id: String,
    /// Its IPv4 block: the first address and the length of the prefix.
    pub block: (Ipv4Addr, u8),
    /// Its IPv6 /56, if it has one.
    pub ipv6: Option<Ipv6Addr>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

/// A subnet.
#[derive(Clone, Debug)]
pub struct Subnet {
    /// `subnet-...`
    pub id: String,
    /// Its VPC.
    pub vpc: String,
    /// `eu-west-1a`
    pub zone: String,
    /// Its IPv4 block.
    pub block: (Ipv4Addr, u8),
    /// Its IPv6 /64, if it has one.
    pub ipv6: Option<Ipv6Addr>,
    /// The addresses that are taken.
    pub taken: BTreeSet<Ipv4Addr>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

/// VPC guide, "Subnet sizing for IPv4": "The first four IP addresses and the last IP address in each subnet CIDR block are not available
/// for your use".
const RESERVED: u32 = 5;

impl Subnet {
    fn size(&self) -> u32 {
        1 << (32 - u32::from(self.block.1))
    }

    /// `AvailableIpAddressCount`.
    #[must_use]
    pub fn free(&self) -> u32 {
        let taken = u32::try_from(self.taken.len()).unwrap_or(u32::MAX);
        (self.size() - RESERVED).saturating_sub(taken)
    }

    /// Whether an address lies in its IPv4 block, and may be used there.
    #[must_use]
    pub fn has(&self, address: Ipv4Addr) -> bool {
        let first = u32::from(self.block.0);
        let place = u32::from(address).wrapping_sub(first);
        (4..self.size() - 1).contains(&place)
    }

    /// Whether an address lies in its IPv6 block.
    #[must_use]
    pub fn has_ipv6(&self, address: Ipv6Addr) -> bool {
        self.ipv6
            .is_some_and(|block| block.segments()[..4] == address.segments()[..4])
    }

    /// Takes the lowest free address.
    pub(in super::super) fn take(&mut self) -> Option<Ipv4Addr> {
        let first = u32::from(self.block.0) + 4;
        let end = u32::from(self.block.0) + self.size() - 1;
        // Most of the time those in a row from the first are taken.
        let after = self.taken.last().map_or(first, |last| u32::from(*last) + 1);
        let candidates = (after..end).chain(first..after.min(end));
        let free = candidates
            .map(Ipv4Addr::from)
            .find(|address| !self.taken.contains(address))?;
        self.taken.insert(free);
        Some(free)
    }
}

/// An internet gateway.
#[derive(Clone, Debug)]
pub struct Gateway {
    /// `igw-...`
    pub id: String,
    /// The VPC that it is attached to.
    pub vpc: Option<String>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

/// A route table.
#[derive(Clone, Debug)]
pub struct RouteTable {
    /// `rtb-...`
    pub id: String,
    /// Its VPC.
    pub vpc: String,
    /// Destinations with the gateways that they lead to; `local` is the VPC itself.
    pub routes: Vec<(String, String)>,
    /// Subnets by their associations' ids; none is the VPC's main association.
    pub associations: BTreeMap<String, Option<String>>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

/// A managed prefix list.
#[derive(Clone, Debug)]
pub struct PrefixList {
    /// `pl-...`
    pub id: String,
    /// Its name.
    pub name: String,
    /// How many entries it may have: as many rules it counts for in a security group.
    pub most: i64,
    /// Its blocks.
    pub entries: Vec<String>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}
