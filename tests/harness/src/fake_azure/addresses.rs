//! Addresses: which are free, which are whose. Decides.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde_json::Value;

use super::json::{self, Parts as _, same};
use super::refusal::{Answer, refuse};
use super::state::{Kind, State};

/// The public addresses that Azure has: 20.50.0.0/16 and 2603:1020::/64.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    given: u32,
    given_v6: u128,
}

impl Addresses {
    /// The next one, of no prefix.
    pub(super) fn next(&mut self, v6: bool) -> IpAddr {
        match v6 {
            true => {
                self.given_v6 += 1;
                let first = u128::from(Ipv6Addr::new(0x2603, 0x1020, 0, 0, 0, 0, 0, 0xf));
                IpAddr::V6(Ipv6Addr::from(first + self.given_v6))
            }
            false => {
                self.given += 1;
                let first = u32::from(Ipv4Addr::new(20, 50, 1, 9));
                IpAddr::V4(Ipv4Addr::from(first + self.given))
            }
        }
    }
}

/// A subnet's ranges.
pub(super) fn ranges(subnet: &Value) -> Vec<IpNet> {
    let one = subnet.text("/properties/addressPrefix").into_iter();
    let many = subnet.list("/properties/addressPrefixes").iter();
    one.chain(many.filter_map(Value::as_str))
        .filter_map(|range| range.parse().ok())
        .collect()
}

/// Virtual Network FAQ: "Azure reserves the first four addresses and the last address, for a total of five IP addresses within each subnet."
pub(super) fn is_reserved(range: &IpNet, address: IpAddr) -> bool {
    let offset = |address: IpAddr| match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    };
    let (first, last) = (offset(range.network()), offset(range.broadcast()));
    let address = offset(address);
    address < first + 4 || address == last
}

/// Who has a private address of a subnet: ids of frontends and interfaces, without those of one load balancer.
pub(super) fn taken(state: &State, subnet: &str, without: &str) -> Vec<(IpAddr, String)> {
    let mut taken = Vec::new();
    let mut add = |owner: String, properties: &Value| {
        let at = properties.text("/subnet/id").unwrap_or_default();
        let address = properties.text("/privateIPAddress").unwrap_or_default();
        if same(at, subnet)
            && let Ok(address) = address.parse()
        {
            taken.push((address, owner));
        }
    };
    for resource in state.resources.values() {
        if resource.id.eq_ignore_ascii_case(without) {
            continue;
        }
        let collection = match resource.kind {
            Kind::LoadBalancer => "frontendIPConfigurations",
            Kind::Other if is_interface(&resource.id) => "ipConfigurations",
            _ => continue,
        };
        for child in json::children(&resource.goal, collection) {
            let owner = format!("{}/{collection}/{}", resource.id, json::name_of(child));
            add(owner, &child["properties"]);
        }
    }
    taken
}

/// Whether this is a network interface, of a machine or of a scale set's.
pub(super) fn is_interface(id: &str) -> bool {
    let kind = id.rsplit('/').nth(1);
    kind.is_some_and(|kind| same(kind, "networkInterfaces"))
}

/// The first free address of a subnet.
pub(super) fn first_free(
    subnet: &Value,
    id: &str,
    v6: bool,
    taken: &[(IpAddr, String)],
) -> Answer<IpAddr> {
    for range in ranges(subnet) {
        let found = match range {
            IpNet::V4(range) if !v6 => {
                let all = u32::from(range.network())..=u32::from(range.broadcast());
                let mut all = all.map(|address| IpAddr::V4(Ipv4Addr::from(address)));
                all.find(|address| is_free(&IpNet::V4(range), *address, taken))
            }
            IpNet::V6(range) if v6 => {
                let all = u128::from(range.network())..=u128::from(range.broadcast());
                let mut all = all.map(|address| IpAddr::V6(Ipv6Addr::from(address)));
                all.find(|address| is_free(&IpNet::V6(range), *address, taken))
            }
            _ => None,
        };
        if let Some(found) = found {
            return Ok(found);
        }
    }
    // As users report it.
    Err(refuse(
        "SubnetIsFull",
        format!("Subnet {id} does not have enough capacity for 1 IP addresses."),
    ))
}

fn is_free(range: &IpNet, address: IpAddr, taken: &[(IpAddr, String)]) -> bool {
    !is_reserved(range, address) && taken.iter().all(|(other, _)| *other != address)
}
