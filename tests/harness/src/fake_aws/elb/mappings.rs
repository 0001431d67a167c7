//! Where a load balancer stands: its zones with their subnets and addresses. Decides.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::{Value, json};

use super::super::asked::Parameters as _;
use super::super::ec2::interfaces::{self, Interface};
use super::super::ec2::network::Subnet;
use super::super::refusal::{Refusal, invalid, misconfigured, refuse};
use super::super::state::State;
use super::super::turn::Turn;
use super::load_balancers::LoadBalancer;

/// A zone of a load balancer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    /// `eu-west-1a`
    pub zone: String,
    /// Its subnet there.
    pub subnet: String,
    /// The Elastic IP that was asked for.
    pub allocation: Option<String>,
    /// The address of that.
    pub public: Option<Ipv4Addr>,
    /// The private address that was asked for.
    pub private: Option<Ipv4Addr>,
    /// The IPv6 address that was asked for.
    pub ipv6: Option<Ipv6Addr>,
    /// The prefix for source NAT that was asked for.
    pub source_nat_prefix: Option<String>,
    /// Its interface there; empty until it has one.
    pub interface: String,
}

impl Zone {
    pub(super) fn show(&self) -> Value {
        let mut address = serde_json::Map::new();
        let mut put = |key: &str, value: Option<String>| {
            if let Some(value) = value {
                address.insert(key.to_owned(), json!(value));
            }
        };
        put("IpAddress", self.public.map(|one| one.to_string()));
        put("AllocationId", self.allocation.clone());
        put(
            "PrivateIPv4Address",
            self.private.map(|one| one.to_string()),
        );
        put("IPv6Address", self.ipv6.map(|one| one.to_string()));
        let addresses = (!address.is_empty()).then_some(Value::Object(address));
        json!({
            "ZoneName": self.zone,
            "SubnetId": self.subnet,
            "LoadBalancerAddresses": addresses.into_iter().collect::<Value>(),
            "SourceNatIpv6Prefixes": self.source_nat_prefix.iter().collect::<Vec<_>>(),
        })
    }

    /// What was asked for, to compare.
    pub(super) fn wish(&self) -> impl PartialEq + use<> {
        (
            self.subnet.clone(),
            self.allocation.clone(),
            self.private,
            self.ipv6,
            self.source_nat_prefix.clone(),
        )
    }
}

/// The subnet of a VPC in which an address lies.
pub(super) fn subnet_of<'a>(state: &'a State, vpc: &str, address: IpAddr) -> Option<&'a Subnet> {
    let mut subnets = state.subnets.values().filter(|subnet| subnet.vpc == vpc);
    subnets.find(|subnet| match address {
        IpAddr::V4(address) => subnet.has(address),
        IpAddr::V6(address) => subnet.has_ipv6(address),
    })
}

/// Whether an address lies in a VPC's blocks.
pub(super) fn in_vpc(state: &State, vpc: &str, address: IpAddr) -> bool {
    let Some(vpc) = state.vpcs.get(vpc) else {
        return false;
    };
    match address {
        IpAddr::V4(address) => {
            let bits = 32 - u32::from(vpc.block.1);
            u32::from(address) >> bits == u32::from(vpc.block.0) >> bits
        }
        IpAddr::V6(address) => vpc
            .ipv6
            .is_some_and(|block| u128::from(block) >> 72 == u128::from(address) >> 72),
    }
}

/// The zones that a call asks for: `Subnets` or `SubnetMappings`, of CreateLoadBalancer or SetSubnets.
///
/// ELB API reference, CreateLoadBalancer, SubnetMappings: "You can specify only one subnet per Availability Zone. You must specify either
/// subnets or subnet mappings, but not both. [...] You can specify one Elastic IP address per subnet if you need static IP addresses for
/// your internet-facing load balancer. For internal load balancers, you can specify one private IP address per subnet from the IPv4 range
/// of the subnet." Errors: SubnetNotFound, InvalidConfigurationRequest.
pub(super) fn read(
    turn: &Turn<'_>,
    scheme: &str,
    address_type: &str,
) -> Result<Vec<Zone>, Refusal> {
    let (subnets, mappings) = (
        turn.asked.texts("Subnets"),
        turn.asked.list("SubnetMappings"),
    );
    if subnets.is_empty() == mappings.is_empty() {
        return Err(invalid(
            "You must specify either subnets or subnet mappings",
        ));
    }
    let plain = subnets.iter().map(|id| json!({"SubnetId": id}));
    let all: Vec<Value> = plain.chain(mappings.iter().cloned()).collect();
    let mut zones = Vec::<Zone>::new();
    for mapping in &all {
        let zone = one(turn.state, mapping, scheme, address_type)?;
        if zones.iter().any(|other| other.zone == zone.zone) {
            return Err(misconfigured(
                "A load balancer cannot be attached to multiple subnets in the same Availability Zone",
            ));
        }
        zones.push(zone);
    }
    let vpcs: BTreeSet<_> = zones
        .iter()
        .filter_map(|zone| Some(&turn.state.subnets.get(&zone.subnet)?.vpc))
        .collect();
    if vpcs.len() > 1 {
        return Err(misconfigured("All subnets must belong to the same VPC"));
    }
    Ok(zones)
}

fn one(state: &State, mapping: &Value, scheme: &str, address_type: &str) -> Result<Zone, Refusal> {
    let id = mapping.text("SubnetId").unwrap_or_default();
    let subnet = state.subnets.get(id);
    let subnet = subnet.ok_or_else(|| {
        refuse(
            "SubnetNotFound",
            format!("The subnet ID '{id}' does not exist"),
        )
    })?;
    let allocation = mapping.text("AllocationId");
    let private = mapping.text("PrivateIPv4Address");
    if scheme != "internet-facing" && allocation.is_some() {
        return Err(misconfigured(
            "Elastic IP addresses are for internet-facing load balancers",
        ));
    }
    if scheme != "internal" && private.is_some() {
        return Err(misconfigured(
            "Private IPv4 addresses are for internal load balancers",
        ));
    }
    let public = match allocation {
        None => None,
        // AllocationIdNotFound, errors of CreateLoadBalancer.
        Some(id) => Some(
            state
                .addresses
                .get(id)
                .ok_or_else(|| {
                    refuse(
                        "AllocationIdNotFound",
                        format!("The allocation IDs '{id}' do not exist"),
                    )
                })?
                .public,
        ),
    };
    let private: Option<Ipv4Addr> = match private {
        None => None,
        Some(text) => {
            let address = text.parse().ok().filter(|address| subnet.has(*address));
            Some(address.ok_or_else(|| {
                misconfigured(format!(
                    "The private IPv4 address '{text}' is not in the range of the subnet '{id}'"
                ))
            })?)
        }
    };
    let dual = address_type == "dualstack";
    if dual && subnet.ipv6.is_none() {
        // Network Load Balancer guide, "IP address type": dualstack needs subnets with an IPv6 CIDR block. InvalidSubnet.
        return Err(refuse(
            "InvalidSubnet",
            format!("The subnet '{id}' does not have an associated IPv6 CIDR block"),
        ));
    }
    let ipv6: Option<Ipv6Addr> = match mapping.text("IPv6Address") {
        None => None,
        Some(text) => {
            let address = text
                .parse()
                .ok()
                .filter(|address| dual && subnet.has_ipv6(*address));
            Some(address.ok_or_else(|| {
                misconfigured(format!(
                    "The IPv6 address '{text}' is not one for the subnet '{id}' and {address_type}"
                ))
            })?)
        }
    };
    let prefix = mapping.text("SourceNatIpv6Prefix");
    if let Some(prefix) = prefix.filter(|prefix| *prefix != "auto_assigned") {
        // SubnetMapping: "Specify an IPv6 prefix (/80 netmask) from the subnet CIDR block or auto_assigned".
        let address = prefix
            .strip_suffix("/80")
            .and_then(|text| text.parse().ok());
        if !address.is_some_and(|address| subnet.has_ipv6(address)) {
            return Err(misconfigured(format!(
                "The prefix '{prefix}' is no /80 of the subnet '{id}'"
            )));
        }
    }
    Ok(Zone {
        zone: subnet.zone.clone(),
        subnet: id.to_owned(),
        allocation: allocation.map(str::to_owned),
        public,
        private,
        ipv6,
        source_nat_prefix: prefix.map(str::to_owned),
        interface: String::new(),
    })
}

/// What all of these are in.
pub(super) fn vpc(state: &State, zones: &[Zone]) -> String {
    let subnet = zones
        .first()
        .and_then(|zone| state.subnets.get(&zone.subnet));
    subnet.map(|subnet| subnet.vpc.clone()).unwrap_or_default()
}

/// Takes an interface with its addresses in a zone: ResourceInUse, errors of CreateLoadBalancer ("A specified resource is in use"), of an
/// Elastic IP or a private address; InvalidSubnet ("The specified subnet is out of available addresses"). Network Load Balancer guide,
/// "Considerations": an internet-facing load balancer needs eight free addresses a subnet, an internal one one.
pub(super) fn take(
    turn: &mut Turn<'_>,
    zone: &mut Zone,
    balancer: &LoadBalancer,
) -> Result<(), Refusal> {
    let subnet = turn.state.subnets.get(&zone.subnet);
    let crowded = subnet.is_some_and(|subnet| subnet.free() < needed(balancer));
    let full = is_full(turn, &balancer.vpc);
    interfaces::let_go(turn, |one| {
        let here = one.subnet == zone.subnet;
        (zone.allocation.is_some() && one.allocation == zone.allocation)
            || (here && (crowded || Some(one.address) == zone.private))
            || (full && one.vpc == balancer.vpc)
    });
    if is_full(turn, &balancer.vpc) {
        return Err(misconfigured(format!(
            "You've reached the limit on the number of network interfaces of load balancers in VPC '{}'",
            balancer.vpc
        )));
    }
    let id = turn.ids.ec2("eni");
    let out = |subnet: &Subnet| {
        refuse(
            "InvalidSubnet",
            format!(
                "Not enough IP space available in {}. ELB requires at least 8 free IP addresses in each subnet.",
                subnet.id
            ),
        )
    };
    let Some(subnet) = turn.state.subnets.get_mut(&zone.subnet) else {
        return Ok(());
    };
    if subnet.free() < needed(balancer) {
        return Err(out(subnet));
    }
    let address = match zone.private {
        Some(address) if subnet.taken.insert(address) => address,
        Some(address) => {
            return Err(refuse(
                "ResourceInUse",
                format!("The private IPv4 address '{address}' is in use"),
            ));
        }
        None => subnet.take().ok_or_else(|| out(subnet))?,
    };
    if let Some(allocation) = &zone.allocation
        && let Some(elastic) = turn.state.addresses.get_mut(allocation)
    {
        if elastic.interface.is_some() {
            return Err(refuse(
                "ResourceInUse",
                format!("The allocation IDs '{allocation}' are not available for use"),
            ));
        }
        elastic.interface = Some(id.clone());
    }
    let (_, name) = balancer.arn.split_once("loadbalancer/").unwrap_or_default();
    let interface = Interface {
        id: id.clone(),
        description: format!("ELB {name}"),
        vpc: balancer.vpc.clone(),
        subnet: zone.subnet.clone(),
        zone: zone.zone.clone(),
        address,
        allocation: zone.allocation.clone(),
        groups: balancer.security_groups.clone(),
        released_at: None,
    };
    turn.state.interfaces.insert(id.clone(), interface);
    zone.interface = id;
    Ok(())
}

/// How many free addresses a subnet needs.
fn needed(balancer: &LoadBalancer) -> u32 {
    match &*balancer.scheme {
        "internet-facing" => 8,
        _ => 1,
    }
}

/// Network Load Balancer guide, "Quotas for your Network Load Balancers": "Network Load Balancer ENIs per VPC"; each has one in each of its
/// zones. AWS does not say with which error it refuses: the one here is both CreateLoadBalancer's and SetSubnets'.
fn is_full(turn: &Turn<'_>, vpc: &str) -> bool {
    let there = turn.state.interfaces.values();
    there.filter(|one| one.vpc == vpc).count() >= turn.settings.quotas.interfaces
}

/// Gives an interface back.
pub(super) fn release(turn: &mut Turn<'_>, zone: &Zone) {
    interfaces::release(turn, &zone.interface);
}
