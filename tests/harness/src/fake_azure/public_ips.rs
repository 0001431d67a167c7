//! Public addresses. Decides.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Value, json};

use super::addresses::Addresses;
use super::json::{Parts as _, or_default, same};
use super::refusal::{Answer, Refusal, forbidden, refuse, unresolved};
use super::show::Around;
use super::state::{Kind, Resource, State};
use super::turn::{Turn, Written, check_common, normal, there};

/// What cannot change once the address is there. API, `PublicIPAddressPropertiesFormat`; "PublicIPAddressInUseCannotUpdate", as users report
/// it of an address that is attached.
const IMMUTABLE: [&str; 6] = [
    "/sku/name",
    "/properties/publicIPAllocationMethod",
    "/properties/publicIPAddressVersion",
    "/properties/publicIPPrefix/id",
    "/properties/ipTags",
    "/zones",
];

pub(super) fn put(turn: &mut Turn<'_>, body: &Value) -> Answer<Written> {
    let before = turn.begin()?;
    check_common(turn, body, before.as_ref())?;
    let mut goal = body.clone();
    fill(&mut goal, before.as_ref());
    check(turn, &goal)?;
    match &before {
        None => {
            let limit = turn.settings.quotas.public_ips;
            if turn.state.of(Kind::PublicIp).count() >= limit {
                return Err(refuse(
                    "PublicIPCountLimitReached",
                    format!(
                        "Cannot create more than {limit} public IP addresses for this subscription in this region."
                    ),
                ));
            }
        }
        Some(before) => unchanged(turn, before, &goal)?,
    }
    let pace = turn.settings.times.public_ip;
    Ok(turn.commit(Kind::PublicIp, before, goal, pace))
}

/// Azure's defaults; the address stays.
fn fill(goal: &mut Value, before: Option<&Resource>) {
    let location = normal(goal.text("/location").unwrap_or_default());
    goal["location"] = json!(location);
    if let Some(goal) = goal.as_object_mut() {
        for name in ["id", "name", "type", "etag"] {
            goal.remove(name);
        }
    }
    or_default(goal, "sku", json!({"name": "Basic"}));
    or_default(&mut goal["sku"], "tier", json!("Regional"));
    or_default(goal, "properties", json!({}));
    let properties = &mut goal["properties"];
    or_default(properties, "publicIPAllocationMethod", json!("Dynamic"));
    or_default(properties, "publicIPAddressVersion", json!("IPv4"));
    or_default(properties, "idleTimeoutInMinutes", json!(4));
    or_default(properties, "ipTags", json!([]));
    or_default(
        properties,
        "ddosSettings",
        json!({"protectionMode": "VirtualNetworkInherited"}),
    );
    if let Some(address) = before.and_then(|before| before.goal.text("/properties/ipAddress")) {
        or_default(properties, "ipAddress", json!(address));
    }
    if let Some(label) = properties
        .text("/dnsSettings/domainNameLabel")
        .map(str::to_owned)
    {
        // "FQDN: concatenation of the domainNameLabel and the regionalized DNS zone": the API's text.
        properties["dnsSettings"]["fqdn"] = json!(format!("{label}.{location}.cloudapp.azure.com"));
    }
}

fn check(turn: &Turn<'_>, goal: &Value) -> Answer<()> {
    let text = |pointer: &str| goal.text(pointer).unwrap_or_default();
    // "Upgrade a Basic public IP address": retired on 30 September 2025.
    if text("/sku/name") != "Standard" {
        return Err(forbidden(
            "BasicSkuPublicIpRetired",
            "Basic SKU public IP addresses can no longer be created.",
        ));
    }
    // "Public IP addresses": Standard is static.
    if text("/properties/publicIPAllocationMethod") != "Static" {
        return Err(refuse(
            "StandardSkuPublicIPAddressesMustBeStatic",
            "Standard sku publicIp must have AllocationMethod set to Static.",
        ));
    }
    // API, `idleTimeoutInMinutes`; "Configure TCP reset and idle timeout": 4 to 30 minutes for a public address.
    let idle = goal.number("/properties/idleTimeoutInMinutes");
    if idle.is_none_or(|idle| !(4..=30).contains(&idle)) {
        return Err(forbidden(
            "PublicIPAddressIdleTimeoutOutOfRange",
            format!("Idle timeout must be between 4 and 30 minutes, not {idle:?}."),
        ));
    }
    for zone in goal.list("/zones") {
        if !["1", "2", "3"].iter().any(|known| zone == known) {
            return Err(refuse(
                "InvalidAvailabilityZone",
                format!("The zone(s) {zone} is not supported. Supported zones: 1, 2, 3."),
            ));
        }
    }
    if let Some(label) = goal.text("/properties/dnsSettings/domainNameLabel") {
        check_label(turn, label, text("/properties/dnsSettings/fqdn"))?;
    }
    let Some(prefix) = goal.text("/properties/publicIPPrefix/id") else {
        return Ok(());
    };
    let Some(found) = turn.state.resources.get(&prefix.to_lowercase()) else {
        return Err(unresolved(prefix, &turn.id.to_string()));
    };
    // "Public IP address prefix": an address takes the prefix's version.
    if found
        .goal
        .text("/properties/publicIPAddressVersion")
        .unwrap_or("IPv4")
        != text("/properties/publicIPAddressVersion")
    {
        return Err(forbidden(
            "PublicIPAddressVersionMismatchWithPrefix",
            format!("{prefix} is of another version."),
        ));
    }
    if let Some(free) = free_of_prefix(turn.state, found, &turn.id.key())
        && free.is_none()
    {
        return Err(forbidden(
            "PublicIPPrefixIsFull",
            format!("{prefix} has no address left."),
        ));
    }
    Ok(())
}

/// The label's rule and both texts are as users report them.
fn check_label(turn: &Turn<'_>, label: &str, fqdn: &str) -> Answer<()> {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let fits = (3..=63).contains(&label.len())
        && label.starts_with(|c: char| c.is_ascii_lowercase())
        && label.ends_with(inner)
        && label.chars().all(|c| inner(c) || c == '-');
    if !fits {
        return Err(refuse(
            "InvalidDomainNameLabel",
            format!(
                "The domain name label {label} is invalid. It must conform to the following regular expression: ^[a-z][a-z0-9-]{{1,61}}[a-z0-9]$."
            ),
        ));
    }
    let own = turn.id.key();
    let used = turn.state.of(Kind::PublicIp).any(|other| {
        other.id.to_lowercase() != own
            && other.goal.text("/properties/dnsSettings/fqdn") == Some(fqdn)
    });
    match used {
        true => Err(refuse(
            "DnsRecordInUse",
            format!("DNS record {fqdn} is already used by another public IP."),
        )),
        false => Ok(()),
    }
}

fn unchanged(turn: &Turn<'_>, before: &Resource, goal: &Value) -> Answer<()> {
    let user = Around::of(turn.state).users.get(&turn.id.key()).cloned();
    for pointer in IMMUTABLE {
        let (old, new) = (before.goal.pointer(pointer), goal.pointer(pointer));
        let equal = match (old, new) {
            (Some(Value::String(old)), Some(Value::String(new))) => same(old, new),
            (old, new) => old == new,
        };
        if equal {
            continue;
        }
        let id = &before.id;
        return Err(match &user {
            Some(user) => refuse(
                "PublicIPAddressInUseCannotUpdate",
                format!(
                    "Public IP address {id} is in use by {user} and its {pointer} cannot be updated."
                ),
            ),
            None => forbidden(
                "PublicIPAddressPropertyCannotChange",
                format!("{pointer} of {id} cannot change."),
            ),
        });
    }
    let address = "/properties/ipAddress";
    if before.goal.pointer(address) != goal.pointer(address) {
        return Err(forbidden(
            "PublicIPAddressCannotBeChosen",
            format!("{address} is given by Azure."),
        ));
    }
    Ok(())
}

pub(super) fn delete(turn: &mut Turn<'_>) -> Answer<Written> {
    let found = turn.begin()?;
    let found = there(found, turn.id)?;
    let key = turn.id.key();
    let user = Around::of(turn.state).users.get(&key).cloned();
    let settle = turn.settings.times.release;
    let held = user.is_none() && !turn.patience.is_over(&key, settle, turn.now);
    if user.is_some() || held {
        // As users report it.
        let user = user.unwrap_or_else(|| "a load balancer that was changed".to_owned());
        return Err(refuse(
            "PublicIPAddressCannotBeDeleted",
            format!(
                "Public IP address {} can not be deleted since it is still allocated to resource {user}. In order to delete the public IP, disassociate/detach the Public IP address from the resource.",
                found.id
            ),
        ));
    }
    let pace = turn.settings.times.deletion;
    Ok(turn.delete(found, pace))
}

/// The first free address of a prefix with a range; none inside where all are taken.
fn free_of_prefix(state: &State, prefix: &Resource, without: &str) -> Option<Option<IpAddr>> {
    let range: IpNet = prefix.goal.text("/properties/ipPrefix")?.parse().ok()?;
    let taken: Vec<IpAddr> = state
        .of(Kind::PublicIp)
        .filter(|one| one.id.to_lowercase() != without)
        .filter_map(|one| one.goal.text("/properties/ipAddress")?.parse().ok())
        .collect();
    // "Public IP address prefix": a prefix has no reserved addresses.
    let all: Box<dyn Iterator<Item = IpAddr>> = match range {
        IpNet::V4(range) => {
            let all = u32::from(range.network())..=u32::from(range.broadcast());
            Box::new(all.map(|address| IpAddr::V4(address.into())))
        }
        IpNet::V6(range) => {
            let all = u128::from(range.network())..=u128::from(range.broadcast());
            Box::new(all.map(|address| IpAddr::V6(address.into())))
        }
    };
    let mut all = all;
    Some(all.find(|address| !taken.contains(address)))
}

/// Gives an address to whoever has none. Recorded: it is there once the operation is over.
pub(super) fn give_address(state: &State, addresses: &mut Addresses, one: &mut Resource) {
    let properties = &one.goal["properties"];
    if properties.has("/ipAddress") {
        return;
    }
    let prefix = properties.text("/publicIPPrefix/id").map(str::to_lowercase);
    let prefix = prefix.and_then(|key| state.resources.get(&key));
    let of_prefix = prefix.and_then(|prefix| free_of_prefix(state, prefix, &one.id.to_lowercase()));
    let v6 = properties.text("/publicIPAddressVersion") == Some("IPv6");
    let address = of_prefix.flatten().unwrap_or_else(|| addresses.next(v6));
    one.goal["properties"]["ipAddress"] = json!(address.to_string());
}

/// Whether a frontend may take an address now.
pub(super) fn check_ready(one: &Resource, by: &str) -> Answer<()> {
    if one.phase.text() == "Succeeded" {
        return Ok(());
    }
    // As users report it: 429, though nothing is throttled.
    Err(Refusal {
        status: 429,
        details: vec![(
            "ReferencedResourceNotProvisioned".to_owned(),
            format!(
                "Cannot proceed with operation because resource {} used by resource {by} is not in Succeeded state. Resource is in {} state and the last operation that updated/is updating the resource is PutPublicIpAddressOperation.",
                one.id,
                one.phase.text()
            ),
        )],
        ..refuse("RetryableError", "A retryable error occurred.")
    })
}
