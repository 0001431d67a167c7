//! What another client than ours sees of a world: every object, and what clients meet (Decides).

use std::collections::{BTreeMap, BTreeSet};

use evenkeel_azure::names::{self, tag};
use evenkeel_core::{
    ids::{Cluster, GroupKey, NodeName, ServiceUid},
    net::IpFamily,
};
use evenkeel_harness::fake_azure::{Kind, Resource, State, World as Region};
use evenkeel_laws::{
    rig::{Frontend, Object, Picture},
    samples,
};
use serde_json::{Value, json};

use super::{TWIN, services};

/// The text at this key; empty where there is none.
fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn children<'a>(body: &'a Value, list: &str) -> impl Iterator<Item = &'a Value> {
    body["properties"][list].as_array().into_iter().flatten()
}

fn last(value: &Value) -> &str {
    text(value, "id").rsplit('/').next().unwrap_or_default()
}

/// Every group that a law has, with its members: what stands in names is a hash of them.
fn groups() -> Vec<(GroupKey, Vec<ServiceUid>)> {
    let names: Vec<String> = services().collect();
    let uids = || names.iter().map(|name| samples::service_ref(name).uid);
    let front = GroupKey::Shared {
        namespace: samples::NAMESPACE.into(),
        name: "front".into(),
    };
    let own = names.iter().map(|name| {
        let service = samples::service_ref(name);
        (GroupKey::Service(service.clone()), vec![service.uid])
    });
    own.chain([(front, uids().collect())]).collect()
}

/// Whose a child is, by its name: cluster, group, member.
fn whose(name: &str) -> (Option<String>, Option<String>, Option<ServiceUid>) {
    let ours = samples::cluster();
    let twin = Cluster::new(TWIN, "harbour");
    for cluster in [ours, twin] {
        if !names::is_of(name, &names::cluster(&cluster)) {
            continue;
        }
        let uid = Some(cluster.uid.to_string());
        for (key, members) in groups() {
            if !names::is_of(name, &names::group(&cluster, &key)) {
                continue;
            }
            let mut members = members.into_iter();
            let member =
                members.find(|member| names::is_of(name, &names::member(&cluster, &key, member)));
            return (uid, Some(key.identity()), member);
        }
        return (uid, None, None);
    }
    (None, None, None)
}

/// What clients meet: rules of our load balancers with an address, and behind a public one with a security rule that lets clients in.
pub(super) fn picture(state: &State) -> Picture {
    let mut picture = Picture::default();
    let cluster = &*samples::cluster().uid;
    let balancers = state.of(Kind::LoadBalancer);
    for lb in balancers.filter(|lb| lb.tag(tag::CLUSTER) == Some(cluster)) {
        let Some(body) = &lb.live else { continue };
        for rule in children(body, "loadBalancingRules") {
            let properties = &rule["properties"];
            let (_, _, member) = whose(text(rule, "name"));
            let frontend = lb.child(
                "frontendIPConfigurations",
                last(&properties["frontendIPConfiguration"]),
            );
            let (Some(member), Some(frontend)) = (member, frontend) else {
                continue;
            };
            let public = &frontend["properties"]["publicIPAddress"];
            let address = match public.is_null() {
                true => text(&frontend["properties"], "privateIPAddress").to_owned(),
                false => {
                    let found = state.public_ip(last(public));
                    let address = found.and_then(|ip| ip.live.as_ref());
                    let address = address.map(|ip| text(&ip["properties"], "ipAddress").to_owned());
                    address.unwrap_or_default()
                }
            };
            let number = |key: &str| {
                let number = properties[key].as_u64();
                number
                    .and_then(|number| u16::try_from(number).ok())
                    .unwrap_or_default()
            };
            if address.is_empty() || !public.is_null() && !lets_in(state, number("backendPort")) {
                continue;
            }
            let Some(port) = port_of(text(rule, "name")) else {
                continue;
            };
            let pool = lb.child(
                "backendAddressPools",
                last(&properties["backendAddressPool"]),
            );
            let frontend = Frontend {
                member,
                port,
                address,
            };
            picture.frontends.insert(frontend, nodes(pool));
        }
    }
    picture
}

fn port_of(name: &str) -> Option<evenkeel_core::ports::PortKey> {
    let cluster = samples::cluster();
    groups().into_iter().find_map(|(key, members)| {
        members
            .iter()
            .find_map(|member| names::port_of(name, &names::member(&cluster, &key, member)))
    })
}

fn nodes(pool: Option<&Value>) -> BTreeSet<NodeName> {
    let pool = pool.map_or(
        &Value::Null,
        |pool| &pool["properties"]["loadBalancerBackendAddresses"],
    );
    let addresses = pool.as_array().into_iter().flatten();
    addresses
        .map(|one| NodeName::new(text(one, "name")))
        .collect()
}

/// Whether a rule of the nodes' security group admits everyone at a port.
fn lets_in(state: &State, port: u16) -> bool {
    let group = state.of(Kind::SecurityGroup).next();
    let body = group.and_then(|group| group.live.as_ref());
    let rules = body
        .into_iter()
        .flat_map(|body| children(body, "securityRules"));
    rules.map(|rule| &rule["properties"]).any(|rule| {
        let ports = rule["destinationPortRanges"].as_array();
        let mut ports = ports.into_iter().flatten().filter_map(Value::as_str);
        text(rule, "access") == "Allow"
            && text(rule, "sourceAddressPrefix") == "Internet"
            && ports.any(|one| one == port.to_string())
    })
}

/// Every object that is written: addresses, load balancers and the security group; of these two the part of each group is one object, and
/// what is no group's are others.
pub(super) fn objects(state: &State, region: &Region) -> Vec<Object> {
    let mut objects = Vec::new();
    for ip in state.of(Kind::PublicIp) {
        let mut body = ip.goal.clone();
        body["properties"]["ipAddress"] = Value::Null;
        objects.push(Object {
            kind: "public IP address".to_owned(),
            group: ip.tag(tag::GROUP).map(str::to_owned),
            member: None,
            body: same(&body, region),
            cluster: ip.tag(tag::CLUSTER).map(str::to_owned),
            name: ip.name().to_owned(),
        });
    }
    for lb in state.of(Kind::LoadBalancer) {
        objects.push(balancer(lb, region));
        let lists = [
            "frontendIPConfigurations",
            "backendAddressPools",
            "loadBalancingRules",
            "probes",
        ];
        objects.extend(parts(lb, &lists, region));
    }
    for group in state.of(Kind::SecurityGroup) {
        objects.extend(parts(group, &["securityRules"], region));
    }
    objects
}

/// Whether a child is of all groups of our cluster.
fn is_shared(child: &Value) -> bool {
    let (cluster, group, _) = whose(text(child, "name"));
    group.is_none() && cluster.as_deref() == Some(&*samples::cluster().uid)
}

/// With the members of a pool in their order.
fn sorted(child: &Value) -> Value {
    let mut child = child.clone();
    let members = &mut child["properties"]["loadBalancerBackendAddresses"];
    if let Some(members) = members.as_array_mut() {
        members.sort_by_key(ToString::to_string);
    }
    child
}

/// The load balancer with what all groups share, without their parts.
fn balancer(lb: &Resource, region: &Region) -> Object {
    let mut body = lb.goal.clone();
    let mut shared = Vec::new();
    for list in ["backendAddressPools", "probes"] {
        shared.extend(
            children(&lb.goal, list)
                .filter(|child| is_shared(child))
                .map(sorted),
        );
    }
    body["properties"] = json!(shared);
    Object {
        kind: "load balancer".to_owned(),
        group: None,
        member: None,
        body: same(&body, region),
        cluster: lb.tag(tag::CLUSTER).map(str::to_owned),
        name: lb.name().to_owned(),
    }
}

fn parts(of: &Resource, lists: &[&str], region: &Region) -> Vec<Object> {
    let mut parts = BTreeMap::new();
    for list in lists {
        for child in children(&of.goal, list) {
            if is_shared(child) {
                continue;
            }
            let (cluster, group, _) = whose(text(child, "name"));
            let mut body = child.clone();
            let properties = &mut body["properties"];
            if text(properties, "privateIPAllocationMethod") == "Dynamic" {
                properties["privateIPAddress"] = Value::Null;
            }
            // Of two rules who came first is chance.
            properties["priority"] = Value::Null;
            let name = match &group {
                Some(group) => group.clone(),
                None => format!("{list}/{}", text(child, "name")),
            };
            let (_, bodies) = parts
                .entry((cluster, name))
                .or_insert_with(|| (group, Vec::new()));
            bodies.push(same(&body, region));
        }
    }
    let object = |((cluster, name), (group, bodies)): ((_, String), (_, Vec<String>))| {
        let mut bodies = bodies;
        bodies.sort();
        Object {
            kind: "part".to_owned(),
            group,
            member: None,
            body: bodies.join("\n"),
            cluster,
            name: format!("{}/{name}", of.name()),
        }
    };
    parts.into_iter().map(object).collect()
}

/// The same in every world: ids of subscriptions, and what names have of them.
fn same(body: &Value, region: &Region) -> String {
    let subscription = region.subnet.split('/').nth(2).unwrap_or_default();
    let frontend = names::frontend("", Some(&region.subnet), IpFamily::V4);
    let text = json!(body)
        .to_string()
        .replace(subscription, "subscription");
    text.replace(&*frontend, "-subnet-v4")
}
