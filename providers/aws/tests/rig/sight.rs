//! What another client than ours sees of a world: every object, and what clients meet (Decides).

use std::collections::BTreeSet;

use evenkeel_aws::names::{BACKEND_GROUP, tag};
use evenkeel_core::{
    ids::{NodeName, ServiceUid},
    ports::{PortKey, Protocol},
};
use evenkeel_harness::aws::{State, World as Place};
use evenkeel_laws::{
    rig::{Frontend, Object, Picture},
    samples,
};
use serde_json::{Value, json};

/// The text at this key; empty where there is none.
fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn items<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value[key].as_array().into_iter().flatten()
}

/// What clients meet: listeners of the load balancer that they are told of, where its security groups let them in; and the targets
/// that its packets reach.
pub(super) fn picture(state: &State, place: &Place) -> Picture {
    let mut picture = Picture::default();
    let ours: Vec<_> = state
        .load_balancers()
        .iter()
        .filter(|lb| text(&lb["Tags"], tag::CLUSTER) == &*samples::cluster().uid)
        .collect();
    for lb in ours.iter().filter(|lb| is_told(lb, &ours)) {
        let reached = reaches_nodes(state, place, lb);
        for listener in items(lb, "Listeners").filter(|one| lets_in(state, lb, one)) {
            let to = items(listener, "DefaultActions").next();
            let to = to.map(|action| text(action, "TargetGroupArn"));
            let groups = state.target_groups().iter();
            let nodes = groups
                .filter(|group| reached && Some(text(group, "TargetGroupArn")) == to)
                .flat_map(|group| targets(group, place))
                .map(|(node, _)| node);
            let frontend = Frontend {
                member: ServiceUid::new(text(&listener["Tags"], tag::MEMBER)),
                port: PortKey {
                    port: number(listener, "Port"),
                    protocol: Protocol::Tcp,
                },
                address: text(lb, "DNSName").to_owned(),
            };
            picture.frontends.insert(frontend, nodes.collect());
        }
    }
    picture
}

fn number(value: &Value, key: &str) -> u16 {
    let number = value[key]
        .as_u64()
        .and_then(|number| number.try_into().ok());
    number.unwrap_or_default()
}

/// Whether clients are told of this load balancer: not of a successor before the switch, and not of a predecessor after it.
fn is_told(lb: &Value, ours: &[&Value]) -> bool {
    let superseded = |lb: &Value| lb["Tags"].get(tag::SUPERSEDED).is_some();
    let before = text(&lb["Tags"], tag::SUCCEEDS);
    let waits = ours
        .iter()
        .any(|other| text(other, "LoadBalancerArn") == before && !superseded(other));
    !superseded(lb) && !waits
}

fn groups_of(lb: &Value) -> BTreeSet<&str> {
    items(lb, "SecurityGroups")
        .filter_map(Value::as_str)
        .collect()
}

/// Whether a rule of the load balancer's security groups admits everyone at a listener's port.
fn lets_in(state: &State, lb: &Value, listener: &Value) -> bool {
    let port = listener["Port"].as_i64();
    groups_of(lb)
        .iter()
        .flat_map(|group| state.ingress_rules(group))
        .any(|rule| {
            text(rule, "CidrIpv4") == "0.0.0.0/0"
                && text(rule, "IpProtocol") == "tcp"
                && rule["FromPort"].as_i64() <= port
                && rule["ToPort"].as_i64() >= port
        })
}

/// Whether the nodes' security group admits what comes from the load balancer.
fn reaches_nodes(state: &State, place: &Place, lb: &Value) -> bool {
    let from = groups_of(lb);
    state
        .ingress_rules(&place.node_security_group)
        .iter()
        .any(|rule| {
            let group = text(&rule["ReferencedGroupInfo"], "GroupId");
            text(rule, "IpProtocol") == "tcp" && from.contains(group)
        })
}

/// The nodes that a target group sends to, and at which port.
fn targets(group: &Value, place: &Place) -> Vec<(NodeName, i64)> {
    let registered = items(group, "Targets")
        .filter(|target| text(&target["TargetHealth"], "State") != "draining");
    registered
        .map(|target| {
            let id = text(&target["Target"], "Id");
            let at = place.nodes.iter().position(|node| node.instance_id == id);
            let number = at.expect("an instance of this world") + 1;
            let name = NodeName::new(format!("node-{number}"));
            (name, target["Target"]["Port"].as_i64().unwrap_or_default())
        })
        .collect()
}

/// Every object but those that all groups share: the nodes' groups and what the nodes admit are the cluster's, and stay.
pub(super) fn objects(state: &State, place: &Place, region: &str) -> Vec<Object> {
    let names = Names::new(state, place, region);
    let mut objects = Vec::new();
    for lb in state.load_balancers() {
        objects.push(names.object("load balancer", text(lb, "LoadBalancerName"), lb));
        for listener in items(lb, "Listeners") {
            let name = format!("{} {}", text(lb, "LoadBalancerName"), listener["Port"]);
            objects.push(names.object("listener", &name, listener));
        }
    }
    for group in state.target_groups() {
        let mut seen = group.clone();
        seen["Targets"] = targets(group, place)
            .iter()
            .map(|(node, port)| json!(format!("{node}:{port}")))
            .collect();
        objects.push(names.object("target group", text(group, "TargetGroupName"), &seen));
    }
    for group in state.security_groups() {
        let shared = text(group, "GroupId") == place.node_security_group
            || text(group, "GroupName") == "default"
            || text(&group["Tags"], tag::RESOURCE) == BACKEND_GROUP;
        if shared {
            continue;
        }
        let rules = state.ingress_rules(text(group, "GroupId")).into_iter();
        let rules = rules.map(|rule| {
            let mut rule = rule.clone();
            rule["SecurityGroupRuleId"] = Value::Null;
            rule
        });
        let mut seen = group.clone();
        seen["Rules"] = rules.collect();
        objects.push(names.object("security group", text(group, "GroupName"), &seen));
    }
    objects
}

/// What AWS chose, and a word for it that is the same in every world.
struct Names(Vec<(String, String)>);

impl Names {
    fn new(state: &State, place: &Place, region: &str) -> Self {
        let mut names = Vec::new();
        let mut name = |id: &str, name: String| {
            if !id.is_empty() {
                names.push((id.to_owned(), name));
            }
        };
        for lb in state.load_balancers() {
            let lb_name = text(lb, "LoadBalancerName");
            for listener in items(lb, "Listeners") {
                let port = &listener["Port"];
                name(text(listener, "ListenerArn"), format!("{lb_name}:{port}"));
            }
            name(text(lb, "LoadBalancerArn"), lb_name.to_owned());
            name(text(lb, "DNSName"), format!("dns of {lb_name}"));
        }
        for group in state.target_groups() {
            let group_name = text(group, "TargetGroupName");
            name(text(group, "TargetGroupArn"), group_name.to_owned());
        }
        for group in state.security_groups() {
            // That one's name has the VPC in it.
            let group_name = match text(&group["Tags"], tag::RESOURCE) {
                BACKEND_GROUP => BACKEND_GROUP,
                _ => text(group, "GroupName"),
            };
            name(text(group, "GroupId"), group_name.to_owned());
        }
        let subnets = place.public_subnets.iter().chain(&place.private_subnets);
        for (number, subnet) in subnets.enumerate() {
            name(subnet, format!("subnet {number}"));
        }
        name(&place.vpc_id, "vpc".to_owned());
        for (number, zone) in place.zones.iter().enumerate() {
            name(zone, format!("zone {number}"));
        }
        name(region, "region".to_owned());
        Self(names)
    }

    /// Puts names in the place of ids, and lists in their order: AWS has them in that of its ids.
    fn rename(&self, value: &mut Value) {
        match value {
            Value::String(text) => {
                for (id, name) in &self.0 {
                    *text = text.replace(id, name);
                }
            }
            Value::Array(items) => {
                items.iter_mut().for_each(|item| self.rename(item));
                items.sort_by_cached_key(Value::to_string);
            }
            Value::Object(members) => members.values_mut().for_each(|value| self.rename(value)),
            _ => {}
        }
    }

    fn object(&self, kind: &str, name: &str, seen: &Value) -> Object {
        let mut body = seen.clone();
        let tags = &mut body["Tags"];
        let mark = |key: &str| tags.get(key).and_then(Value::as_str).map(str::to_owned);
        let (cluster, group, member) = (mark(tag::CLUSTER), mark(tag::GROUP), mark(tag::MEMBER));
        if kind == "target group" && cluster.is_some() {
            // The port of its creation is nobody's any more.
            let port = mark(tag::NODE_PORT).unwrap_or_else(|| seen["Port"].to_string());
            tags[tag::NODE_PORT] = json!(port);
            body["Port"] = Value::Null;
        }
        if let Some(tags) = body["Tags"].as_object_mut() {
            // Times and ids, and what is left of a successor when its predecessor is gone.
            tags.remove(tag::SUCCEEDS);
            tags.remove(tag::SUPERSEDED);
        }
        // Those are objects of their own.
        body["Listeners"] = Value::Null;
        // The fake tells it by the clock on the wall.
        if body.get("CreatedTime").is_some() {
            body["CreatedTime"] = Value::Null;
        }
        self.rename(&mut body);
        // The members of a shared group have objects of their own, and share others.
        let member = member.filter(|uid| group.as_ref() != Some(uid) || !uid.contains('/'));
        Object {
            kind: kind.to_owned(),
            group,
            member,
            body: body.to_string(),
            cluster,
            name: name.to_owned(),
        }
    }
}
