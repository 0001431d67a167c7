//! Load balancers: one object that is written whole, and its pools, which can be written alone. Decides.
//!
//! API, "Load Balancers - Create Or Update": a PUT replaces all; what it lacks is gone.

mod frontends;
mod pools;
mod rules;
mod unique;

use std::collections::HashMap;

use serde_json::{Value, json};

use super::json::{Parts as _, child, children, name_of, or_default, same};
use super::refusal::{Answer, forbidden, malformed, refuse, unresolved};
use super::roles;
use super::show::{Around, COLLECTIONS};
use super::state::{Kind, Resource};
use super::turn::{Turn, Written, absent, check_common, check_name, normal, there};

pub(super) fn put(turn: &mut Turn<'_>, body: &Value) -> Answer<Written> {
    let before = turn.begin()?;
    check_common(turn, body, before.as_ref())?;
    let limit = turn.settings.quotas.load_balancers;
    if before.is_none() && turn.state.of(Kind::LoadBalancer).count() >= limit {
        return Err(forbidden(
            "LoadBalancerCountLimitReached",
            format!(
                "Cannot create more than {limit} load balancers for this subscription in this region."
            ),
        ));
    }
    let mut goal = body.clone();
    fill(&mut goal);
    check_sku(&goal, before.as_ref())?;
    let pace = turn.settings.times.load_balancer;
    write(turn, before, goal, pace)
}

/// Checks the whole and has it become so.
fn write(
    turn: &mut Turn<'_>,
    before: Option<Resource>,
    mut goal: Value,
    pace: super::settings::Pace,
) -> Answer<Written> {
    let id = before
        .as_ref()
        .map_or_else(|| turn.id.top().to_string(), |before| before.id.clone());
    let old = before.as_ref().map(|before| &before.goal);
    for collection in COLLECTIONS {
        check_names(&id, &goal, collection)?;
    }
    pools::settle(turn, &id, old, &mut goal)?;
    frontends::settle(turn, &id, old, &mut goal)?;
    rules::check(turn, &id, &goal)?;
    unique::check(turn, &id, &goal)?;
    turn.attached(old, Some(&goal));
    Ok(turn.commit(Kind::LoadBalancer, before, goal, pace))
}

pub(super) fn delete(turn: &mut Turn<'_>) -> Answer<Written> {
    let found = turn.begin()?;
    let found = there(found, turn.id)?;
    let around = Around::of(turn.state);
    for pool in children(&found.goal, "backendAddressPools") {
        let pool = format!("{}/backendAddressPools/{}", found.id, name_of(pool));
        if around.has_interfaces(&pool) {
            // As users report it, of a scale set.
            return Err(refuse(
                "LoadBalancerInUseByVirtualMachineScaleSet",
                format!(
                    "Cannot delete load balancer {} since its child resources {pool} are in use by virtual machine scale set.",
                    found.id
                ),
            ));
        }
    }
    turn.attached(Some(&found.goal), None);
    let pace = turn.settings.times.deletion;
    let written = turn.delete(found, pace);
    Ok(written)
}

/// API, "Load Balancer Backend Address Pools - Create Or Update" and "- Delete". Either changes the load balancer's ETag (the cloud provider
/// for Kubernetes, `.agents/references/etag-cache.md`).
pub(super) fn put_pool(turn: &mut Turn<'_>, body: &Value) -> Answer<Written> {
    let found = turn.begin()?;
    let found = there(found, &turn.id.top())?;
    let name = turn.id.name().to_owned();
    check_name(&name)?;
    let mut goal = found.goal.clone();
    let mut pool = body.clone();
    pool["name"] = json!(name);
    let exists = child(&goal, "backendAddressPools", &name).is_some();
    replace(&mut goal, &name, Some(pool));
    fill(&mut goal);
    let pace = turn.settings.times.pool;
    let mut written = write(turn, Some(found), goal, pace)?;
    written.status = if exists { 200 } else { 201 };
    Ok(written)
}

pub(super) fn delete_pool(turn: &mut Turn<'_>) -> Answer<Written> {
    let found = turn.begin()?;
    let found = there(found, &turn.id.top())?;
    let name = turn.id.name().to_owned();
    if child(&found.goal, "backendAddressPools", &name).is_none() {
        return Err(absent(turn.id));
    }
    let pool = format!("{}/backendAddressPools/{name}", found.id);
    for collection in ["loadBalancingRules", "outboundRules"] {
        for rule in children(&found.goal, collection) {
            let used = rule.text("/properties/backendAddressPool/id");
            if used.is_some_and(|used| same(used, &pool)) {
                return Err(forbidden(
                    "InUseBackendAddressPoolCannotBeDeleted",
                    format!(
                        "Backend address pool {pool} is in use by {}/{collection}/{} and cannot be deleted.",
                        found.id,
                        name_of(rule)
                    ),
                ));
            }
        }
    }
    if Around::of(turn.state).has_interfaces(&pool) {
        return Err(forbidden(
            "InUseBackendAddressPoolCannotBeDeleted",
            format!("Backend address pool {pool} is in use by network interfaces."),
        ));
    }
    let mut goal = found.goal.clone();
    replace(&mut goal, &name, None);
    let pace = turn.settings.times.pool;
    let mut written = write(turn, Some(found), goal, pace)?;
    written.status = 202;
    written.shown = None;
    Ok(written)
}

fn replace(goal: &mut Value, name: &str, pool: Option<Value>) {
    let pools = goal["properties"]["backendAddressPools"].as_array_mut();
    let pools = pools.expect("a list by default");
    let at = pools.iter().position(|one| same(name_of(one), name));
    match (at, pool) {
        (Some(at), Some(pool)) => pools[at] = pool,
        (Some(at), None) => {
            pools.remove(at);
        }
        (None, Some(pool)) => pools.push(pool),
        (None, None) => {}
    }
}

/// The rights that a body needs beside that of writing: the actions' descriptions in "Azure permissions for Networking".
pub(super) fn check_links(turn: &Turn<'_>, body: &Value) -> Answer<()> {
    let role = turn.settings.role.as_ref();
    let link = |id: Option<&str>, verb: &str| match id {
        Some(id) => roles::check_link(role, turn.id, id, verb),
        None => Ok(()),
    };
    for frontend in children(body, "frontendIPConfigurations") {
        link(
            frontend.text("/properties/publicIPAddress/id"),
            "join/action",
        )?;
        link(frontend.text("/properties/subnet/id"), "join/action")?;
        link(
            frontend.text("/properties/publicIPPrefix/id"),
            "join/action",
        )?;
    }
    let pools = children(body, "backendAddressPools").iter();
    for pool in pools.chain([body]) {
        let verb = "joinLoadBalancer/action";
        link(pool.text("/properties/virtualNetwork/id"), verb)?;
        for address in pool.list("/properties/loadBalancerBackendAddresses") {
            link(address.text("/properties/virtualNetwork/id"), verb)?;
        }
    }
    Ok(())
}

/// Azure's defaults, as recorded answers show them.
fn fill(goal: &mut Value) {
    let location = normal(goal.text("/location").unwrap_or_default());
    goal["location"] = json!(location);
    if let Some(goal) = goal.as_object_mut() {
        for name in ["id", "name", "type", "etag"] {
            goal.remove(name);
        }
    }
    // API, `LoadBalancerSku`; "SKU comparison": Basic where none is given.
    or_default(goal, "sku", json!({"name": "Basic"}));
    or_default(&mut goal["sku"], "tier", json!("Regional"));
    or_default(goal, "properties", json!({}));
    for collection in COLLECTIONS {
        or_default(&mut goal["properties"], collection, json!([]));
        let all = goal["properties"][collection].as_array_mut();
        for child in all.into_iter().flatten() {
            if let Some(child) = child.as_object_mut() {
                for name in ["id", "type", "etag"] {
                    child.remove(name);
                }
            }
            or_default(child, "properties", json!({}));
            let properties = &mut child["properties"];
            match collection {
                "loadBalancingRules" => fill_rule(properties),
                "probes" => {
                    // API, `intervalInSeconds`: "The default value is 15".
                    or_default(properties, "intervalInSeconds", json!(15));
                    or_default(properties, "numberOfProbes", json!(2));
                    or_default(properties, "probeThreshold", json!(1));
                    let behaviour = json!("AllProbedDown");
                    or_default(properties, "noHealthyBackendsBehavior", behaviour);
                }
                "frontendIPConfigurations" => {
                    or_default(properties, "privateIPAllocationMethod", json!("Dynamic"));
                    // Recorded: a reference is shown as its id.
                    for name in ["publicIPAddress", "subnet", "publicIPPrefix"] {
                        if let Some(id) = properties.text(&format!("/{name}/id")) {
                            properties[name] = json!({"id": id});
                        }
                    }
                }
                "outboundRules" => {
                    or_default(properties, "allocatedOutboundPorts", json!(0));
                    or_default(properties, "idleTimeoutInMinutes", json!(4));
                    or_default(properties, "enableTcpReset", json!(false));
                }
                _ => {}
            }
        }
    }
}

fn fill_rule(properties: &mut Value) {
    for (name, value) in [
        ("enableFloatingIP", json!(false)),
        ("enableTcpReset", json!(false)),
        ("disableOutboundSnat", json!(false)),
        ("idleTimeoutInMinutes", json!(4)),
        ("loadDistribution", json!("Default")),
        ("backendPort", json!(0)),
        // Not in the API's description, but in recorded answers.
        ("enableDestinationServiceEndpoint", json!(false)),
        ("allowBackendPortConflict", json!(false)),
    ] {
        or_default(properties, name, value);
    }
    let pool = properties["backendAddressPool"].clone();
    let pools = properties.list("/backendAddressPools").to_vec();
    match (pool.is_null(), pools.is_empty()) {
        (false, true) => properties["backendAddressPools"] = json!([pool]),
        (true, false) => properties["backendAddressPool"] = pools[0].clone(),
        _ => {}
    }
}

fn check_sku(goal: &Value, before: Option<&Resource>) -> Answer<()> {
    let sku = goal.text("/sku/name").unwrap_or_default();
    if let Some(before) = before
        && before.goal.text("/sku/name") != Some(sku)
    {
        return Err(forbidden(
            "LoadBalancerSkuCannotChange",
            format!("The sku of {} cannot change.", before.id),
        ));
    }
    match sku {
        "Standard" => Ok(()),
        // "Upgrading from Basic Load Balancer": retired on 30 September 2025.
        "Basic" => Err(forbidden(
            "BasicSkuLoadBalancerRetired",
            "Basic SKU load balancers can no longer be created or changed.",
        )),
        other => Err(forbidden(
            "LoadBalancerSkuUnknown",
            format!("The fake does not know the sku {other}."),
        )),
    }
}

/// `DuplicateResourceName`: "has two child resources with the same name", as users report it.
fn check_names(id: &str, goal: &Value, collection: &str) -> Answer<()> {
    let mut seen = std::collections::BTreeSet::new();
    for child in children(goal, collection) {
        let name = name_of(child);
        if name.is_empty() {
            return Err(malformed(
                "MissingJsonReferenceId",
                format!("A child of {id}/{collection} has no name."),
            ));
        }
        check_name(name)?;
        if !seen.insert(name.to_lowercase()) {
            return Err(malformed(
                "DuplicateResourceName",
                format!("Resource {id} has two child resources with the same name ({name})."),
            ));
        }
    }
    Ok(())
}

/// The children of a load balancer by their keys.
struct Index<'a> {
    id: &'a str,
    children: HashMap<String, &'a Value>,
}

impl<'a> Index<'a> {
    fn of(id: &'a str, goal: &'a Value) -> Self {
        let all = COLLECTIONS.into_iter().flat_map(|collection| {
            let all = children(goal, collection).iter();
            all.map(move |child| {
                let at = format!("{id}/{collection}/{}", name_of(child));
                (at.to_lowercase(), child)
            })
        });
        Self {
            id,
            children: all.collect(),
        }
    }

    /// A reference to a child of the same load balancer: it has to be in the same body.
    fn resolve(&self, collection: &str, reference: &Value, by: &str) -> Answer<&'a Value> {
        let Some(to) = reference.text("/id") else {
            return Err(malformed(
                "MissingJsonReferenceId",
                format!("Value for reference id is missing in {by}."),
            ));
        };
        let begin = format!("{}/{collection}/", self.id);
        let within = to
            .get(..begin.len())
            .is_some_and(|start| same(start, &begin));
        let found = self.children.get(&to.to_lowercase()).copied();
        found.filter(|_| within).ok_or_else(|| unresolved(to, by))
    }
}
