//! Network security groups and their rules. Decides.

use std::collections::BTreeMap;

use ipnet::IpNet;
use serde_json::{Value, json};

use super::json::{Parts as _, child, children, name_of, or_default, same};
use super::refusal::{Answer, forbidden, malformed, refuse};
use super::settings::Settings;
use super::state::{Kind, Resource};
use super::turn::{Turn, Written, absent, check_common, check_name, normal, there};

pub(super) fn put(turn: &mut Turn<'_>, body: &Value) -> Answer<Written> {
    let before = turn.begin()?;
    check_common(turn, body, before.as_ref())?;
    let mut goal = body.clone();
    goal["location"] = json!(normal(goal.text("/location").unwrap_or_default()));
    if let Some(goal) = goal.as_object_mut() {
        for name in ["id", "name", "type", "etag"] {
            goal.remove(name);
        }
    }
    or_default(&mut goal, "properties", json!({}));
    write(turn, before, goal)
}

/// API, "Security Rules - Create Or Update": one rule of a group.
pub(super) fn put_rule(turn: &mut Turn<'_>, body: &Value) -> Answer<Written> {
    let found = turn.begin()?;
    let found = there(found, &turn.id.top())?;
    let name = turn.id.name().to_owned();
    let mut goal = found.goal.clone();
    let mut rule = body.clone();
    rule["name"] = json!(name);
    let exists = child(&goal, "securityRules", &name).is_some();
    let rules = goal["properties"]["securityRules"].as_array_mut();
    let rules = rules.expect("a list by default");
    rules.retain(|one| !same(name_of(one), &name));
    rules.push(rule);
    let mut written = write(turn, Some(found), goal)?;
    written.status = if exists { 200 } else { 201 };
    Ok(written)
}

pub(super) fn delete_rule(turn: &mut Turn<'_>) -> Answer<Written> {
    let found = turn.begin()?;
    let found = there(found, &turn.id.top())?;
    let name = turn.id.name().to_owned();
    if child(&found.goal, "securityRules", &name).is_none() {
        return Err(absent(turn.id));
    }
    let mut goal = found.goal.clone();
    let rules = goal["properties"]["securityRules"].as_array_mut();
    let rules = rules.expect("a list by default");
    rules.retain(|one| !same(name_of(one), &name));
    let mut written = write(turn, Some(found), goal)?;
    written.status = 202;
    written.shown = None;
    Ok(written)
}

pub(super) fn delete(turn: &mut Turn<'_>) -> Answer<Written> {
    let found = turn.begin()?;
    let found = there(found, turn.id)?;
    let used = turn.state.of(Kind::Other).find(|one| {
        let group = one.goal.text("/properties/networkSecurityGroup/id");
        group.is_some_and(|group| same(group, &found.id))
    });
    if let Some(user) = used {
        // As users report it.
        return Err(refuse(
            "InUseNetworkSecurityGroupCannotBeDeleted",
            format!(
                "Network security group {} cannot be deleted because it is in use by the following resources: {}.",
                found.id, user.id
            ),
        ));
    }
    let pace = turn.settings.times.deletion;
    Ok(turn.delete(found, pace))
}

fn write(turn: &mut Turn<'_>, before: Option<Resource>, mut goal: Value) -> Answer<Written> {
    let id = before
        .as_ref()
        .map_or_else(|| turn.id.top().to_string(), |before| before.id.clone());
    or_default(&mut goal["properties"], "securityRules", json!([]));
    let rules = goal["properties"]["securityRules"].as_array_mut();
    for rule in rules.into_iter().flatten() {
        fill(rule);
    }
    check(turn.settings, &id, &goal)?;
    let pace = turn.settings.times.security_group;
    Ok(turn.commit(Kind::SecurityGroup, before, goal, pace))
}

/// Recorded: lists that were not sent are shown empty.
fn fill(rule: &mut Value) {
    if let Some(rule) = rule.as_object_mut() {
        for name in ["id", "type", "etag"] {
            rule.remove(name);
        }
    }
    or_default(rule, "properties", json!({}));
    for name in [
        "sourceAddressPrefixes",
        "destinationAddressPrefixes",
        "sourcePortRanges",
        "destinationPortRanges",
    ] {
        or_default(&mut rule["properties"], name, json!([]));
    }
}

fn check(settings: &Settings, id: &str, goal: &Value) -> Answer<()> {
    let rules = children(goal, "securityRules");
    let quotas = &settings.quotas;
    if rules.len() > quotas.security_rules {
        return Err(forbidden(
            "SecurityRuleCountLimitReached",
            format!(
                "Network security group {id} cannot have more than {} rules.",
                quotas.security_rules
            ),
        ));
    }
    let mut names = BTreeMap::new();
    let mut priorities = BTreeMap::new();
    let mut prefixes = [0, 0];
    for rule in rules {
        let name = name_of(rule);
        if name.is_empty() {
            return Err(malformed(
                "MissingJsonReferenceId",
                format!("A security rule of {id} has no name."),
            ));
        }
        check_name(name)?;
        if names.insert(name.to_lowercase(), ()).is_some() {
            return Err(malformed(
                "DuplicateResourceName",
                format!("Resource {id} has two child resources with the same name ({name})."),
            ));
        }
        let at = format!("{id}/securityRules/{name}");
        check_rule(&at, rule)?;
        let direction = rule.text("/properties/direction").unwrap_or_default();
        let priority = rule.number("/properties/priority").unwrap_or_default();
        if let Some(other) = priorities.insert((direction, priority), name) {
            // As users report it.
            return Err(refuse(
                "SecurityRuleConflict",
                format!(
                    "Security rule {name} conflicts with rule {other}. Rules cannot have the same Priority and Direction."
                ),
            ));
        }
        for (count, side) in prefixes.iter_mut().zip(["source", "destination"]) {
            *count += rule
                .list(&format!("/properties/{side}AddressPrefixes"))
                .len()
                .max(1);
        }
    }
    if prefixes
        .iter()
        .any(|count| *count > quotas.security_prefixes)
    {
        // As users report it: cloud-provider-azure#2725.
        return Err(refuse(
            "SecurityRuleAddressesOrPortsPerSecurityGroupLimitReached",
            format!(
                "Network security group {id} cannot have more than {} addresses or ports specified in its rules.",
                quotas.security_prefixes
            ),
        ));
    }
    Ok(())
}

fn check_rule(at: &str, rule: &Value) -> Answer<()> {
    // API, `priority`: "The value can be between 100 and 4096." The text is as users report it.
    let priority = rule.number("/properties/priority").unwrap_or_default();
    if !(100..=4096).contains(&priority) {
        return Err(refuse(
            "SecurityRuleInvalidPriority",
            format!(
                "Security rule has invalid Priority. Value provided: {priority} Allowed range 100-4096. Rule: {at}."
            ),
        ));
    }
    // API, `description`: "Restricted to 140 chars."
    if rule
        .text("/properties/description")
        .is_some_and(|text| text.chars().count() > 140)
    {
        return Err(forbidden(
            "SecurityRuleDescriptionTooLong",
            format!("The description of {at} is longer than 140 characters."),
        ));
    }
    for side in ["source", "destination"] {
        let single = rule.text(&format!("/properties/{side}AddressPrefix"));
        let many = rule.list(&format!("/properties/{side}AddressPrefixes"));
        let groups = rule.list(&format!("/properties/{side}ApplicationSecurityGroups"));
        let given = [single.is_some(), !many.is_empty(), !groups.is_empty()];
        one_of(at, &format!("{side} address"), &given)?;
        if let Some(single) = single {
            check_prefix(at, single, true)?;
        }
        let mut seen = std::collections::BTreeSet::new();
        for prefix in many {
            let prefix = prefix.as_str().unwrap_or_default();
            check_prefix(at, prefix, false)?;
            if !seen.insert(prefix) {
                return Err(forbidden(
                    "SecurityRuleAddressPrefixTwice",
                    format!("{at} has the {side} address {prefix} twice."),
                ));
            }
        }
        let single = rule.text(&format!("/properties/{side}PortRange"));
        let many = rule.list(&format!("/properties/{side}PortRanges"));
        let given = [single.is_some(), !many.is_empty()];
        one_of(at, &format!("{side} port"), &given)?;
        let many = many.iter().filter_map(Value::as_str);
        for range in single.into_iter().chain(many) {
            check_ports(at, range)?;
        }
    }
    Ok(())
}

/// azure-rest-api-specs#1591: "the user must supply one or the other".
fn one_of(at: &str, what: &str, given: &[bool]) -> Answer<()> {
    match given.iter().filter(|given| **given).count() {
        1 => Ok(()),
        0 => Err(forbidden(
            "SecurityRuleIncomplete",
            format!("{at} has no {what}."),
        )),
        _ => Err(forbidden(
            "SecurityRuleGivesBothOneAndSeveral",
            format!("{at} has both one {what} and a list of them."),
        )),
    }
}

/// Tags of services are allowed alone, not in lists (terraform-provider-azurerm#5617).
fn check_prefix(at: &str, prefix: &str, alone: bool) -> Answer<()> {
    let is_address = prefix.parse::<IpNet>().is_ok() || prefix.parse::<std::net::IpAddr>().is_ok();
    if is_address {
        return Ok(());
    }
    // "Virtual network service tags": `Storage`, `Storage.WestEurope`, `AzureFrontDoor.Backend`.
    let word = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_uppercase())
            && part.chars().all(|c| c.is_ascii_alphanumeric())
    };
    let is_tag = prefix == "*" || prefix.split('.').all(word);
    if is_tag && alone {
        return Ok(());
    }
    if is_tag {
        return Err(refuse(
            "SecurityRuleParameterContainsUnsupportedValue",
            format!(
                "Security rule parameter for rule with Id {at} cannot specify existing VIRTUALNETWORK, INTERNET, AZURELOADBALANCER, '*' or system tags. Unsupported value used: {prefix}."
            ),
        ));
    }
    Err(refuse(
        "SecurityRuleInvalidAddressPrefix",
        format!("Security rule {at} has invalid Address prefix. Value provided: {prefix}"),
    ))
}

/// API, `destinationPortRange`: "Integer or range between 0 and 65535. Asterisk '*' can also be used to match all ports."
fn check_ports(at: &str, range: &str) -> Answer<()> {
    let number = |text: &str| text.parse::<u16>().ok();
    let fits = range == "*"
        || number(range).is_some()
        || range.split_once('-').is_some_and(|(first, last)| {
            matches!((number(first), number(last)), (Some(first), Some(last)) if first <= last)
        });
    if fits {
        return Ok(());
    }
    Err(refuse(
        "SecurityRuleInvalidPortRange",
        format!(
            "Security rule has invalid Port range. Value provided: {range}. Value should be an integer OR integer range with '-' delimiter. Valid range 0-65535. Rule: {at}."
        ),
    ))
}

/// "Network security groups", "Default security rules".
pub(super) fn show(one: &Resource, shown: &mut Value) {
    let rule = |name: &str, priority: i64, access: &str, direction: &str, from: &str, to: &str| {
        json!({
            "name": name,
            "properties": {
                "protocol": "*", "priority": priority, "access": access, "direction": direction,
                "sourceAddressPrefix": from, "destinationAddressPrefix": to,
                "sourcePortRange": "*", "destinationPortRange": "*",
                "sourceAddressPrefixes": [], "destinationAddressPrefixes": [], "sourcePortRanges": [], "destinationPortRanges": [],
            },
        })
    };
    let network = "VirtualNetwork";
    shown["properties"]["defaultSecurityRules"] = json!([
        rule(
            "AllowVnetInBound",
            65_000,
            "Allow",
            "Inbound",
            network,
            network
        ),
        rule(
            "AllowAzureLoadBalancerInBound",
            65_001,
            "Allow",
            "Inbound",
            "AzureLoadBalancer",
            "*"
        ),
        rule("DenyAllInBound", 65_500, "Deny", "Inbound", "*", "*"),
        rule(
            "AllowVnetOutBound",
            65_000,
            "Allow",
            "Outbound",
            network,
            network
        ),
        rule(
            "AllowInternetOutBound",
            65_001,
            "Allow",
            "Outbound",
            "*",
            "Internet"
        ),
        rule("DenyAllOutBound", 65_500, "Deny", "Outbound", "*", "*"),
    ]);
    for collection in ["securityRules", "defaultSecurityRules"] {
        let all = shown["properties"][collection].as_array_mut();
        for child in all.into_iter().flatten() {
            child["id"] = json!(format!("{}/{collection}/{}", one.id, name_of(child)));
            child["etag"] = json!(one.etag);
            child["type"] = json!(format!(
                "Microsoft.Network/networkSecurityGroups/{collection}"
            ));
            child["properties"]["provisioningState"] = json!(one.phase.text());
        }
    }
}
