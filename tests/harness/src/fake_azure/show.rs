//! What reads show: a resource with what only Azure writes. Decides.
//!
//! Recorded bodies have it so: the ETag of the resource at each child, `provisioningState` everywhere, references back.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value, json};

use super::addresses::is_interface;
use super::ids::ArmId;
use super::json::{Parts as _, children, name_of};
use super::security_groups;
use super::state::{Kind, Resource, State};

/// The collections of a load balancer.
pub(super) const COLLECTIONS: [&str; 7] = [
    "frontendIPConfigurations",
    "backendAddressPools",
    "loadBalancingRules",
    "probes",
    "inboundNatRules",
    "inboundNatPools",
    "outboundRules",
];

/// What is known of other resources when some are shown.
#[derive(Debug, Default)]
pub(super) struct Around {
    /// The frontend or interface that has a public address, by the address's key.
    pub(super) users: HashMap<String, String>,
    /// The interfaces in a pool, by the pool's key.
    members: HashMap<String, Vec<String>>,
}

impl Around {
    pub(super) fn of(state: &State) -> Self {
        let mut around = Self::default();
        for resource in state.resources.values() {
            match resource.kind {
                Kind::LoadBalancer => {
                    // What is in effect counts until the change is over.
                    for body in resource.live.iter().chain([&resource.goal]) {
                        for frontend in children(body, "frontendIPConfigurations") {
                            if let Some(id) = frontend.text("/properties/publicIPAddress/id") {
                                let user = format!(
                                    "{}/frontendIPConfigurations/{}",
                                    resource.id,
                                    name_of(frontend)
                                );
                                around.users.insert(id.to_lowercase(), user);
                            }
                        }
                    }
                }
                Kind::Other if is_interface(&resource.id) => around.interface(resource),
                _ => {}
            }
        }
        around
    }

    fn interface(&mut self, resource: &Resource) {
        for configuration in children(&resource.goal, "ipConfigurations") {
            let id = format!(
                "{}/ipConfigurations/{}",
                resource.id,
                name_of(configuration)
            );
            if let Some(address) = configuration.text("/properties/publicIPAddress/id") {
                self.users.insert(address.to_lowercase(), id.clone());
            }
            for pool in configuration.list("/properties/loadBalancerBackendAddressPools") {
                let pool = pool.text("/id").unwrap_or_default().to_lowercase();
                self.members.entry(pool).or_default().push(id.clone());
            }
        }
    }

    /// Whether interfaces are in a pool.
    pub(super) fn has_interfaces(&self, pool: &str) -> bool {
        self.members.contains_key(&pool.to_lowercase())
    }
}

/// The keys of a load balancer's public addresses.
pub(super) fn public_ips_of(body: &Value) -> Vec<String> {
    let frontends = children(body, "frontendIPConfigurations").iter();
    frontends
        .filter_map(|one| one.text("/properties/publicIPAddress/id"))
        .map(str::to_lowercase)
        .collect()
}

/// A resource as a read shows it.
pub(super) fn resource(state: &State, one: &Resource, around: &Around) -> Value {
    let kind = ArmId::parse(&one.id).map_or_else(String::new, |id| id.full_kind());
    let mut shown = json!({
        "name": one.name(), "id": one.id, "etag": one.etag, "type": kind,
    });
    let fields = one.goal.as_object().cloned().unwrap_or_default();
    for (name, value) in fields {
        shown[name] = value;
    }
    match one.kind {
        Kind::Group => {
            return json!({"id": one.id, "name": one.name(), "location": one.location(), "properties": {"provisioningState": "Succeeded"}});
        }
        Kind::LoadBalancer => load_balancer(one, &mut shown, around),
        Kind::SecurityGroup => security_groups::show(one, &mut shown),
        Kind::PublicIp => public_ip(one, &mut shown, around),
        Kind::Other => other(state, one, &mut shown),
    }
    let properties = &mut shown["properties"];
    properties["provisioningState"] = json!(one.phase.text());
    if one.kind != Kind::Other {
        properties["resourceGuid"] = json!(one.guid);
    }
    shown
}

fn public_ip(one: &Resource, shown: &mut Value, around: &Around) {
    if let Some(user) = around.users.get(&one.id.to_lowercase()) {
        shown["properties"]["ipConfiguration"] = json!({"id": user});
    }
}

/// A virtual network shows its subnets, which are seeded one by one.
fn other(state: &State, one: &Resource, shown: &mut Value) {
    if !shown["type"]
        .as_str()
        .is_some_and(|kind| kind.ends_with("/virtualNetworks"))
    {
        return;
    }
    let begin = format!("{}/subnets/", one.id.to_lowercase());
    let subnets = state.resources.iter();
    let subnets: Vec<_> = subnets
        .filter(|(key, _)| key.starts_with(&begin))
        .map(|(_, subnet)| resource(state, subnet, &Around::default()))
        .collect();
    shown["properties"]["subnets"] = json!(subnets);
}

fn load_balancer(one: &Resource, shown: &mut Value, around: &Around) {
    let back = references_back(one);
    for collection in COLLECTIONS {
        let all = shown["properties"][collection].as_array_mut();
        for child in all.into_iter().flatten() {
            let id = format!("{}/{collection}/{}", one.id, name_of(child));
            let mut properties = Map::new();
            properties.insert("provisioningState".to_owned(), json!(one.phase.text()));
            let own = child["properties"].as_object().cloned();
            properties.extend(own.unwrap_or_default());
            for (name, ids) in back.get(&id.to_lowercase()).into_iter().flatten() {
                let ids: Vec<_> = ids.iter().map(|id| json!({"id": id})).collect();
                properties.insert((*name).to_owned(), json!(ids));
            }
            if let Some(members) = around.members.get(&id.to_lowercase()) {
                let members: Vec<_> = members.iter().map(|id| json!({"id": id})).collect();
                properties.insert("backendIPConfigurations".to_owned(), json!(members));
            }
            child["properties"] = Value::Object(properties);
            child["id"] = json!(id);
            child["etag"] = json!(one.etag);
            child["type"] = json!(format!("Microsoft.Network/loadBalancers/{collection}"));
        }
    }
}

/// Which rules refer to a child, by its key and by the kind of rule.
fn references_back(one: &Resource) -> HashMap<String, BTreeMap<&'static str, Vec<String>>> {
    let mut back: HashMap<String, BTreeMap<&'static str, Vec<String>>> = HashMap::new();
    for collection in [
        "loadBalancingRules",
        "inboundNatRules",
        "inboundNatPools",
        "outboundRules",
    ] {
        for rule in children(&one.goal, collection) {
            let id = format!("{}/{collection}/{}", one.id, name_of(rule));
            let properties = &rule["properties"];
            let single = ["frontendIPConfiguration", "backendAddressPool", "probe"];
            let single = single.iter().map(|name| &properties[name]);
            let several = properties.list("/frontendIPConfigurations").iter();
            for reference in single.chain(several) {
                if let Some(to) = reference.text("/id") {
                    let of = back.entry(to.to_lowercase()).or_default();
                    of.entry(collection).or_default().push(id.clone());
                }
            }
        }
    }
    back
}
