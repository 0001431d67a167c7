//! Tags of EC2's objects. Decides.
//!
//! EC2 user guide, "Tag your Amazon EC2 resources", "Tag restrictions": 50 tags, no key that begins with `aws:`. EC2 API reference,
//! CreateTags: "Adds or overwrites only the specified tags [...]. Each tag consists of a key and optional value."

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::super::asked::Parameters as _;
use super::super::refusal::{Answer, Refusal, bad_value, refuse};
use super::super::state::State;
use super::super::turn::Turn;

/// The tags that a Create operation is to give to what it makes.
pub(in super::super) fn of_new(
    turn: &Turn<'_>,
    resource: &str,
) -> Result<BTreeMap<String, String>, Refusal> {
    let mut tags = BTreeMap::new();
    for specification in turn.asked.list("TagSpecifications") {
        // TagSpecification: "The type of resource to tag on creation." One that the call does not make is InvalidParameterValue.
        let given = specification.text("ResourceType").unwrap_or_default();
        if given != resource {
            return Err(bad_value(format!(
                "'{given}' is not a valid taggable resource type for this operation."
            )));
        }
        for tag in specification.list("Tags") {
            let key = tag.required("Key").to_owned();
            let value = tag.required("Value").to_owned();
            if tags.insert(key.clone(), value).is_some() {
                return Err(bad_value(format!("Duplicate tag key '{key}' specified.")));
            }
        }
    }
    check(&tags, turn.settings.quotas.tags)?;
    Ok(tags)
}

fn check(tags: &BTreeMap<String, String>, most: usize) -> Result<(), Refusal> {
    if tags.len() > most {
        // Client error codes, TagLimitExceeded.
        return Err(refuse(
            "TagLimitExceeded",
            format!("The maximum number of Tags for a resource is {most}"),
        ));
    }
    for (key, value) in tags {
        if key.starts_with("aws:") || value.starts_with("aws:") {
            return Err(bad_value(format!(
                "Tag keys starting with 'aws:' are reserved for internal use: '{key}'"
            )));
        }
        if key.is_empty() || key.chars().count() > 128 || value.chars().count() > 256 {
            return Err(bad_value(format!("Tag '{key}' is too long, or has no key")));
        }
    }
    Ok(())
}

fn tags_of<'a>(
    state: &'a mut State,
    id: &str,
) -> Result<&'a mut BTreeMap<String, String>, Refusal> {
    let kind = id.split('-').next().unwrap_or_default();
    let found = match kind {
        "vpc" => state.vpcs.get_mut(id).map(|one| &mut one.tags),
        "subnet" => state.subnets.get_mut(id).map(|one| &mut one.tags),
        "rtb" => state.route_tables.get_mut(id).map(|one| &mut one.tags),
        "igw" => state.gateways.get_mut(id).map(|one| &mut one.tags),
        "eipalloc" => state.addresses.get_mut(id).map(|one| &mut one.tags),
        "i" => state.instances.get_mut(id).map(|one| &mut one.tags),
        "sg" => state.security_groups.get_mut(id).map(|one| &mut one.tags),
        "pl" => state.prefix_lists.get_mut(id).map(|one| &mut one.tags),
        _ => None,
    };
    let code = match kind {
        "vpc" => "InvalidVpcID.NotFound",
        "subnet" => "InvalidSubnetID.NotFound",
        "rtb" => "InvalidRouteTableID.NotFound",
        "igw" => "InvalidInternetGatewayID.NotFound",
        "eipalloc" => "InvalidAllocationID.NotFound",
        "i" => "InvalidInstanceID.NotFound",
        "sg" => "InvalidSecurityGroupID.NotFound",
        "pl" => "InvalidPrefixListID.NotFound",
        // Client error codes: "The specified ID for the resource you are trying to tag is not valid."
        _ => "InvalidID",
    };
    found.ok_or_else(|| refuse(code, format!("The ID '{id}' does not exist")))
}

pub(in super::super) fn create(turn: &mut Turn<'_>) -> Answer {
    let most = turn.settings.quotas.tags;
    for id in turn.asked.texts("Resources") {
        let tags = tags_of(turn.state, id)?;
        for tag in turn.asked.list("Tags") {
            let value = tag.text("Value").unwrap_or_default();
            tags.insert(tag.required("Key").to_owned(), value.to_owned());
        }
        check(tags, most)?;
    }
    Ok(json!({}))
}

/// EC2 API reference, DeleteTags: "If you specify a tag key without a tag value, we delete any tag with this key regardless of its value.
/// If you specify a tag key with an empty string as the tag value, we delete the tag only if its value is an empty string." Without tags
/// all go but those of AWS's own.
pub(in super::super) fn delete(turn: &mut Turn<'_>) -> Answer {
    for id in turn.asked.texts("Resources") {
        let tags = tags_of(turn.state, id)?;
        let given: &[Value] = turn.asked.list("Tags");
        tags.retain(|key, value| {
            let meant = |tag: &Value| {
                tag.required("Key") == key && tag.text("Value").is_none_or(|meant| meant == value)
            };
            !(given.is_empty() || given.iter().any(meant))
        });
    }
    Ok(json!({}))
}
