//! Frontends: a public address or a place in a subnet. Decides.

use std::net::IpAddr;

use serde_json::{Value, json};

use crate::fake_azure::addresses::{first_free, is_reserved, ranges, taken};
use crate::fake_azure::json::{Parts as _, child, children, name_of, same};
use crate::fake_azure::public_ips::check_ready;
use crate::fake_azure::refusal::{Answer, forbidden, malformed, refuse, unresolved};
use crate::fake_azure::show::Around;
use crate::fake_azure::turn::{Turn, normal};

/// Checks all frontends and gives those in subnets their addresses.
pub(super) fn settle(
    turn: &Turn<'_>,
    id: &str,
    old: Option<&Value>,
    goal: &mut Value,
) -> Answer<()> {
    let all = children(goal, "frontendIPConfigurations").to_vec();
    let limit = turn.settings.quotas.frontends;
    if all.len() > limit {
        // As users report it.
        return Err(refuse(
            "LoadBalancerFrontendIPConfigurationCountLimitReached",
            format!("A load balancer cannot have more than {limit} FrontendIPConfigurations."),
        ));
    }
    if all.is_empty() && !turn.settings.empty_load_balancers {
        // Unverified: the cloud provider for Kubernetes deletes a load balancer rather than write one without frontends.
        return Err(forbidden(
            "LoadBalancerHasNoFrontend",
            format!("Load balancer {id} has no frontend IP configuration."),
        ));
    }
    let public = |one: &Value| !one.has("/properties/subnet");
    if all.iter().any(public) && !all.iter().all(public) {
        // "Azure Load Balancer components": a load balancer is public or internal.
        return Err(forbidden(
            "LoadBalancerMixesPublicAndInternalFrontends",
            format!("Load balancer {id} has both public and internal frontend IP configurations."),
        ));
    }
    let around = Around::of(turn.state);
    let mut attached = Vec::new();
    let mut own: Vec<(IpAddr, String)> = Vec::new();
    let mut settled = Vec::new();
    for mut one in all {
        let at = format!("{id}/frontendIPConfigurations/{}", name_of(&one));
        check_kind(&one, &at)?;
        match one
            .text("/properties/publicIPAddress/id")
            .map(str::to_owned)
        {
            Some(address) => {
                if attached.contains(&address.to_lowercase()) {
                    // As users report it.
                    return Err(refuse(
                        "PublicIPReferencedByMultipleIPConfigs",
                        format!(
                            "Public ip address {address} is referenced by multiple ipconfigs in resource {id}."
                        ),
                    ));
                }
                check_public(turn, &around, id, goal, &one, &address)?;
                attached.push(address.to_lowercase());
            }
            None if one.has("/properties/subnet") => {
                let before =
                    old.and_then(|old| child(old, "frontendIPConfigurations", name_of(&one)));
                place(turn, id, &at, before, &mut one, &mut own)?;
            }
            None => {}
        }
        settled.push(one);
    }
    goal["properties"]["frontendIPConfigurations"] = json!(settled);
    Ok(())
}

fn check_kind(one: &Value, at: &str) -> Answer<()> {
    let kinds = ["publicIPAddress", "subnet", "publicIPPrefix"];
    let given: Vec<_> = kinds
        .into_iter()
        .filter(|kind| one.has(&format!("/properties/{kind}")))
        .collect();
    match given.as_slice() {
        [] => {
            return Err(forbidden(
                "FrontendIPConfigHasNeitherSubnetNorPublicIP",
                format!(
                    "Frontend IP Configuration {at} must reference either a Subnet, Public IP Address or Public IP Prefix."
                ),
            ));
        }
        [only] => {
            if one.text(&format!("/properties/{only}/id")).is_none() {
                return Err(malformed(
                    "MissingJsonReferenceId",
                    format!("Value for reference id is missing in {at}."),
                ));
            }
        }
        // As users report it: terraform-provider-azurerm#1622.
        _ => {
            return Err(refuse(
                "FrontendIPConfigHasBothSubnetAndPublicIP",
                format!(
                    "Frontend IP Configuration {at} must not reference both a Subnet and a Public IP Address."
                ),
            ));
        }
    }
    if given != ["subnet"] {
        // API, `FrontendIPConfiguration`: zones are those of the address itself where it is public (PSRule.Rules.Azure#2814).
        if !one.list("/zones").is_empty() {
            return Err(forbidden(
                "FrontendIPConfigZonesAreOfInternalFrontends",
                format!("Frontend IP Configuration {at} is public and cannot have zones."),
            ));
        }
        if one.has("/properties/privateIPAddress") {
            return Err(forbidden(
                "FrontendIPConfigPrivateAddressNeedsSubnet",
                format!(
                    "Frontend IP Configuration {at} is public and cannot have a private address."
                ),
            ));
        }
    }
    Ok(())
}

fn check_public(
    turn: &Turn<'_>,
    around: &Around,
    id: &str,
    goal: &Value,
    one: &Value,
    address: &str,
) -> Answer<()> {
    let at = format!("{id}/frontendIPConfigurations/{}", name_of(one));
    let Some(found) = turn.state.resources.get(&address.to_lowercase()) else {
        return Err(unresolved(address, &at));
    };
    if normal(found.location()) != normal(goal.text("/location").unwrap_or_default()) {
        return Err(unresolved(address, &at));
    }
    check_ready(found, id)?;
    if found.goal.text("/sku/name") != goal.text("/sku/name") {
        // "Azure Load Balancer error codes": "Both Public IP SKU and Load Balancer SKU must match."
        return Err(refuse(
            "DifferentSkuLoadBalancersAndPublicIPAddressNotAllowed",
            format!("Load balancer {id} and public IP address {address} must have the same SKU."),
        ));
    }
    let user = around.users.get(&found.id.to_lowercase());
    let own = format!("{}/", id.to_lowercase());
    if let Some(user) = user
        && !user.to_lowercase().starts_with(&own)
    {
        // As users report it.
        return Err(refuse(
            "PublicIPAddressInUse",
            format!(
                "Resource {at} is referencing public IP address {address} that is already allocated to resource {user}."
            ),
        ));
    }
    Ok(())
}

/// Virtual Network, "Private IP addresses": Dynamic takes the first free one, Static has to be free and in the subnet.
fn place(
    turn: &Turn<'_>,
    id: &str,
    at: &str,
    before: Option<&Value>,
    one: &mut Value,
    own: &mut Vec<(IpAddr, String)>,
) -> Answer<()> {
    let subnet_id = one
        .text("/properties/subnet/id")
        .unwrap_or_default()
        .to_owned();
    let Some(subnet) = turn.state.resources.get(&subnet_id.to_lowercase()) else {
        return Err(unresolved(&subnet_id, at));
    };
    let mut all = taken(turn.state, &subnet_id, id);
    all.extend(own.iter().cloned());
    let v6 = one.text("/properties/privateIPAddressVersion") == Some("IPv6");
    let asked = one.text("/properties/privateIPAddress").map(str::to_owned);
    let address = match one.text("/properties/privateIPAllocationMethod") {
        Some("Static") => {
            let Some(asked) = asked else {
                return Err(forbidden(
                    "PrivateIPAddressMissing",
                    format!("{at} is Static and has no privateIPAddress."),
                ));
            };
            check_static(&subnet.goal, &subnet_id, at, &asked, v6, &all)?
        }
        _ => {
            // What it has it keeps, in the same subnet.
            let kept = before
                .filter(|before| {
                    let old = before.text("/properties/subnet/id").unwrap_or_default();
                    same(old, &subnet_id)
                })
                .and_then(|before| before.text("/properties/privateIPAddress"))
                .and_then(|kept| kept.parse().ok())
                .filter(|kept: &IpAddr| kept.is_ipv6() == v6);
            match kept {
                Some(kept) => kept,
                None => first_free(&subnet.goal, &subnet_id, v6, &all)?,
            }
        }
    };
    own.push((address, at.to_owned()));
    one["properties"]["privateIPAddress"] = json!(address.to_string());
    Ok(())
}

/// The codes are those that users report; the texts of some are shortened.
fn check_static(
    subnet: &Value,
    subnet_id: &str,
    at: &str,
    asked: &str,
    v6: bool,
    taken: &[(IpAddr, String)],
) -> Answer<IpAddr> {
    let Ok(address) = asked.parse::<IpAddr>() else {
        return Err(malformed(
            "InvalidIPAddressInRequest",
            format!("Static IP address {asked} of {at} is invalid."),
        ));
    };
    let ranges = ranges(subnet);
    let range = ranges.iter().find(|range| range.contains(&address));
    let Some(range) = range.filter(|_| address.is_ipv6() == v6) else {
        return Err(refuse(
            "PrivateIPAddressNotInSubnet",
            format!(
                "Private static IP address {asked} does not belong to the range of subnet prefix {subnet_id}."
            ),
        ));
    };
    if is_reserved(range, address) {
        return Err(refuse(
            "PrivateIPAddressInReservedRange",
            format!(
                "Private static IP address {asked} falls within reserved IP range of subnet prefix {range}."
            ),
        ));
    }
    if let Some((_, owner)) = taken.iter().find(|(other, _)| *other == address) {
        return Err(refuse(
            "PrivateIPAddressIsAllocated",
            format!(
                "IP configuration {at} is using the private IP address {asked} which is already allocated to resource {owner}."
            ),
        ));
    }
    Ok(address)
}
