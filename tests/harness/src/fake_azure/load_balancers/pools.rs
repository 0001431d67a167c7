//! Backend pools, by IP or by network interface. Decides.
//!
//! "Backend pool management": "IP based" pools name addresses of one virtual network; pools of network interfaces are filled by these.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::{Value, json};

use crate::fake_azure::json::{Parts as _, child, children, name_of, same};
use crate::fake_azure::refusal::{Answer, forbidden, malformed, unresolved};
use crate::fake_azure::show::Around;
use crate::fake_azure::turn::Turn;

/// The addresses of a pool.
pub(super) fn addresses(pool: &Value) -> Vec<IpAddr> {
    let all = pool.list("/properties/loadBalancerBackendAddresses").iter();
    all.filter_map(|one| one.text("/properties/ipAddress")?.parse().ok())
        .collect()
}

/// Checks all pools, and fills in what a PUT left out.
pub(super) fn settle(
    turn: &Turn<'_>,
    id: &str,
    old: Option<&Value>,
    goal: &mut Value,
) -> Answer<()> {
    let around = Around::of(turn.state);
    let mut pools = children(goal, "backendAddressPools").to_vec();
    for pool in &mut pools {
        let at = format!("{id}/backendAddressPools/{}", name_of(pool));
        let before = old.and_then(|old| child(old, "backendAddressPools", name_of(pool)));
        let omitted = !pool.has("/properties/loadBalancerBackendAddresses");
        if omitted
            && turn.settings.keeps_omitted_addresses
            && let Some(before) = before
        {
            pool["properties"]["loadBalancerBackendAddresses"] =
                before["properties"]["loadBalancerBackendAddresses"].clone();
        }
        check(turn, &around, &at, pool)?;
        let addresses = pool
            .list("/properties/loadBalancerBackendAddresses")
            .to_vec();
        pool["properties"]["loadBalancerBackendAddresses"] = json!(addresses);
    }
    goal["properties"]["backendAddressPools"] = json!(pools);
    // "A load balancer's backends can't be ... backend pool ... of interfaces removed while in use".
    let gone = old.map_or(&[][..], |old| children(old, "backendAddressPools"));
    for pool in gone {
        let name = name_of(pool);
        let at = format!("{id}/backendAddressPools/{name}");
        if child(goal, "backendAddressPools", name).is_none() && around.has_interfaces(&at) {
            return Err(forbidden(
                "InUseBackendAddressPoolCannotBeDeleted",
                format!("Backend address pool {at} is in use by network interfaces."),
            ));
        }
    }
    Ok(())
}

fn check(turn: &Turn<'_>, around: &Around, at: &str, pool: &Value) -> Answer<()> {
    let all = pool.list("/properties/loadBalancerBackendAddresses");
    let of_pool = pool.text("/properties/virtualNetwork/id");
    if let Some(network) = of_pool {
        check_network(turn, network, at)?;
    }
    if all.is_empty() {
        return Ok(());
    }
    if around.has_interfaces(at) {
        // "Backend pool management", "Limitations": a pool is of one kind.
        return Err(forbidden(
            "BackendAddressPoolMixesAddressesAndInterfaces",
            format!("{at} has network interfaces and cannot have IP addresses."),
        ));
    }
    let limit = turn.settings.quotas.pool;
    if all.len() > limit {
        return Err(forbidden(
            "BackendAddressPoolSizeLimitReached",
            format!("{at} cannot have more than {limit} addresses."),
        ));
    }
    let (mut names, mut seen, mut networks) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for one in all {
        let name = name_of(one);
        if name.is_empty() {
            return Err(malformed(
                "MissingJsonReferenceId",
                format!("A backend address of {at} has no name."),
            ));
        }
        if !names.insert(name.to_lowercase()) {
            return Err(malformed(
                "DuplicateResourceName",
                format!("Resource {at} has two child resources with the same name ({name})."),
            ));
        }
        let text = one.text("/properties/ipAddress").unwrap_or_default();
        let Ok(address) = text.parse::<IpAddr>() else {
            return Err(malformed(
                "InvalidIPAddressInRequest",
                format!("IP address {text:?} of {at}/{name} is invalid."),
            ));
        };
        if !seen.insert(address) {
            return Err(forbidden(
                "BackendAddressPoolHasAddressTwice",
                format!("{at} has the address {address} twice."),
            ));
        }
        let own = one.text("/properties/virtualNetwork/id");
        if let (Some(own), Some(of_pool)) = (own, of_pool)
            && !same(own, of_pool)
        {
            return Err(several_networks(at));
        }
        // API, `virtualNetwork` of the pool and of its addresses: one of both says it.
        let Some(network) = own.or(of_pool) else {
            return Err(malformed(
                "MissingJsonReferenceId",
                format!("{at}/{name} has no virtual network, nor has its pool."),
            ));
        };
        check_network(turn, network, at)?;
        networks.insert(network.to_lowercase());
        check_range(turn, network, at, address)?;
    }
    match networks.len() {
        1 => Ok(()),
        _ => Err(several_networks(at)),
    }
}

/// "Load balancer limits": a pool's addresses are of a "single virtual network".
fn several_networks(at: &str) -> crate::fake_azure::refusal::Refusal {
    forbidden(
        "BackendAddressPoolSpansVirtualNetworks",
        format!("{at} has addresses of more than one virtual network."),
    )
}

fn check_network(turn: &Turn<'_>, network: &str, at: &str) -> Answer<()> {
    match turn.state.resources.get(&network.to_lowercase()) {
        Some(_) => Ok(()),
        None => Err(unresolved(network, at)),
    }
}

/// "Backend pool management": the addresses are the virtual network's.
fn check_range(turn: &Turn<'_>, network: &str, at: &str, address: IpAddr) -> Answer<()> {
    let found = turn.state.resources.get(&network.to_lowercase());
    let ranges = found.map_or(&[][..], |found| {
        found.goal.list("/properties/addressSpace/addressPrefixes")
    });
    let mut ranges = ranges
        .iter()
        .filter_map(|range| range.as_str()?.parse::<ipnet::IpNet>().ok());
    if ranges.any(|range| range.contains(&address)) {
        return Ok(());
    }
    Err(forbidden(
        "BackendAddressNotInVirtualNetwork",
        format!("The address {address} of {at} is not in the virtual network {network}."),
    ))
}
