//! What somebody else does by hand to what a Service has. Writes, through boto3.
//!
//! [`Drift::ALL`] are those that a controller has to find and put right; [`Strangers`] is what it must leave alone.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::{Client, State, World};

/// One thing done by hand to what a Service has. It asks for the ports 80 and 443, and for an attribute and a tag of each object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drift {
    /// The listener on port 443 is deleted.
    ListenerDeleted,
    /// The listener on port 443 forwards to the target group of port 80.
    ListenerMoved,
    /// So is everything on port 443.
    TargetGroupDeleted,
    /// A node is no target any more.
    TargetRemoved,
    /// No node is.
    TargetsRemoved,
    /// A node is one at another port too.
    TargetAdded,
    /// Targets are probed more slowly.
    HealthCheckChanged,
    /// Clients may connect to one port more.
    RuleAdded,
    /// Clients may not connect to port 80.
    RuleRemoved,
    /// The load balancer is without the group that lets clients in.
    GroupDetached,
    /// The nodes do not let the load balancers in.
    NodeRuleRemoved,
    /// An attribute of the load balancer is another.
    LoadBalancerAttribute,
    /// Of a target group.
    TargetGroupAttribute,
    /// Of a listener.
    ListenerAttribute,
    /// The load balancer lacks a tag that the Service asks for.
    LoadBalancerTag,
    /// A target group lacks a mark.
    TargetGroupMark,
    /// So does a listener.
    ListenerMark,
    /// A tag of the security group is another.
    SecurityGroupTag,
}

impl Drift {
    /// All of them.
    pub const ALL: [Self; 18] = [
        Self::ListenerDeleted,
        Self::ListenerMoved,
        Self::TargetGroupDeleted,
        Self::TargetRemoved,
        Self::TargetsRemoved,
        Self::TargetAdded,
        Self::HealthCheckChanged,
        Self::RuleAdded,
        Self::RuleRemoved,
        Self::GroupDetached,
        Self::NodeRuleRemoved,
        Self::LoadBalancerAttribute,
        Self::TargetGroupAttribute,
        Self::ListenerAttribute,
        Self::LoadBalancerTag,
        Self::TargetGroupMark,
        Self::ListenerMark,
        Self::SecurityGroupTag,
    ];

    /// The kind of object that differs, its logical id, and the field; nothing where the object itself is missing.
    #[must_use]
    pub fn tells(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::ListenerDeleted => ("listener", "ls/443", ""),
            Self::ListenerMoved => ("listener", "ls/443", "target group"),
            Self::TargetGroupDeleted => ("target group", "tg/TCP/443", ""),
            Self::TargetRemoved | Self::TargetsRemoved | Self::TargetAdded => {
                ("target group", "tg/TCP/80", "targets")
            }
            Self::HealthCheckChanged => ("target group", "tg/TCP/80", "health check"),
            Self::RuleAdded | Self::RuleRemoved => ("security group", "sg", "rule"),
            Self::GroupDetached => ("load balancer", "lb", "security groups"),
            Self::NodeRuleRemoved => ("node admission", "nodes", ""),
            Self::LoadBalancerAttribute => ("load balancer", "lb", "attribute"),
            Self::TargetGroupAttribute => ("target group", "tg/TCP/80", "attribute"),
            Self::ListenerAttribute => ("listener", "ls/80", "attribute"),
            Self::LoadBalancerTag => ("load balancer", "lb", "tag"),
            Self::TargetGroupMark => ("target group", "tg/TCP/80", "tag"),
            Self::ListenerMark => ("listener", "ls/80", "tag"),
            Self::SecurityGroupTag => ("security group", "sg", "tag"),
        }
    }

    /// The annotations that the Service needs, and their values.
    #[must_use]
    pub fn annotations() -> [(&'static str, &'static str); 4] {
        const PREFIX: [&str; 4] = [
            "service.beta.kubernetes.io/aws-load-balancer-attributes",
            "service.beta.kubernetes.io/aws-load-balancer-target-group-attributes",
            "service.beta.kubernetes.io/aws-load-balancer-listener-attributes.TCP-80",
            "service.beta.kubernetes.io/aws-load-balancer-additional-resource-tags",
        ];
        [
            (PREFIX[0], "load_balancing.cross_zone.enabled=true"),
            (PREFIX[1], "deregistration_delay.timeout_seconds=60"),
            (PREFIX[2], "tcp.idle_timeout.seconds=600"),
            (PREFIX[3], "team=shop"),
        ]
    }

    /// Does it to what the Service `namespace/name` has.
    ///
    /// # Errors
    /// When something is not there, or AWS refuses.
    pub async fn make(self, client: &Client, service: &str, world: &World) -> Result<()> {
        let state = client.dump().await?;
        let has = Has::find(&state, service)?;
        let elb =
            async |operation: &str, asked: Value| client.call("elbv2", operation, asked).await;
        let ec2 = async |operation: &str, asked: Value| client.call("ec2", operation, asked).await;
        let attribute = |of: &str, arn: &str, key: &str, value: &str| json!({(of): arn, "Attributes": [{"Key": key, "Value": value}]});
        let (http, https) = (has.target_group(80)?, has.target_group(443)?);
        let (port_80, port_443) = (has.listener(80)?, has.listener(443)?);
        let (lb, sg) = (has.load_balancer, has.security_group);
        match self {
            Self::ListenerDeleted => elb("DeleteListener", json!({"ListenerArn": port_443})).await,
            Self::ListenerMoved => {
                let (to, own) = (http.arn, https.arn);
                // AWS has no target group in the actions of two listeners of one load balancer against it.
                anyhow::ensure!(to != own);
                let actions = json!([{"Type": "forward", "TargetGroupArn": to}]);
                let asked = json!({"ListenerArn": port_443, "DefaultActions": actions});
                elb("ModifyListener", asked).await
            }
            Self::TargetGroupDeleted => {
                elb("DeleteListener", json!({"ListenerArn": port_443})).await?;
                elb("DeleteTargetGroup", json!({"TargetGroupArn": https.arn})).await
            }
            Self::TargetRemoved => {
                let targets = json!([http.targets.first().context("a target")?]);
                let asked = json!({"TargetGroupArn": http.arn, "Targets": targets});
                elb("DeregisterTargets", asked).await
            }
            Self::TargetsRemoved => {
                let asked = json!({"TargetGroupArn": http.arn, "Targets": http.targets});
                elb("DeregisterTargets", asked).await
            }
            Self::TargetAdded => {
                let targets = json!([{"Id": world.nodes[0].instance_id, "Port": 31_999}]);
                let asked = json!({"TargetGroupArn": http.arn, "Targets": targets});
                elb("RegisterTargets", asked).await
            }
            Self::HealthCheckChanged => {
                let asked = json!({"TargetGroupArn": http.arn, "HealthCheckIntervalSeconds": 45});
                elb("ModifyTargetGroup", asked).await
            }
            Self::RuleAdded => {
                let asked = json!({"GroupId": sg, "IpPermissions": [from_anywhere(22)]});
                ec2("AuthorizeSecurityGroupIngress", asked).await
            }
            Self::RuleRemoved => {
                let asked = json!({"GroupId": sg, "IpPermissions": [from_anywhere(80)]});
                ec2("RevokeSecurityGroupIngress", asked).await
            }
            Self::GroupDetached => {
                let asked = json!({"LoadBalancerArn": lb, "SecurityGroups": [has.backend_group]});
                elb("SetSecurityGroups", asked).await
            }
            Self::NodeRuleRemoved => {
                let rule = json!([{
                    "IpProtocol": "tcp", "FromPort": 30_000, "ToPort": 32_767,
                    "UserIdGroupPairs": [{"GroupId": has.backend_group}],
                }]);
                let asked = json!({"GroupId": world.node_security_group, "IpPermissions": rule});
                ec2("RevokeSecurityGroupIngress", asked).await
            }
            Self::LoadBalancerAttribute => {
                let key = "load_balancing.cross_zone.enabled";
                let asked = attribute("LoadBalancerArn", lb, key, "false");
                elb("ModifyLoadBalancerAttributes", asked).await
            }
            Self::TargetGroupAttribute => {
                let key = "deregistration_delay.timeout_seconds";
                let asked = attribute("TargetGroupArn", http.arn, key, "7");
                elb("ModifyTargetGroupAttributes", asked).await
            }
            Self::ListenerAttribute => {
                let key = "tcp.idle_timeout.seconds";
                let asked = attribute("ListenerArn", port_80, key, "77");
                elb("ModifyListenerAttributes", asked).await
            }
            Self::LoadBalancerTag => {
                let asked = json!({"ResourceArns": [lb], "TagKeys": ["team"]});
                elb("RemoveTags", asked).await
            }
            Self::TargetGroupMark => {
                let asked = json!({"ResourceArns": [http.arn], "TagKeys": ["evenkeel.dev/group"]});
                elb("RemoveTags", asked).await
            }
            Self::ListenerMark => {
                let asked = json!({"ResourceArns": [port_80], "TagKeys": ["evenkeel.dev/service"]});
                elb("RemoveTags", asked).await
            }
            Self::SecurityGroupTag => {
                let tags = json!([{"Key": "team", "Value": "other"}]);
                ec2("CreateTags", json!({"Resources": [sg], "Tags": tags})).await
            }
        }
        .map(drop)
    }
}

fn from_anywhere(port: u16) -> Value {
    json!({
        "IpProtocol": "tcp", "FromPort": port, "ToPort": port, "IpRanges": [{"CidrIp": "0.0.0.0/0"}],
    })
}

/// What a Service has.
struct Has<'a> {
    load_balancer: &'a str,
    security_group: &'a str,
    backend_group: &'a str,
    listeners: Vec<(u64, &'a str)>,
    target_groups: Vec<TargetGroup<'a>>,
}

#[derive(Clone)]
struct TargetGroup<'a> {
    resource: &'a str,
    arn: &'a str,
    targets: Vec<Value>,
}

impl<'a> Has<'a> {
    fn find(state: &'a State, service: &str) -> Result<Self> {
        let theirs = |item: &&Value| item["Tags"]["evenkeel.dev/service"] == service;
        let lb = state.load_balancers().iter().find(theirs);
        let lb = lb.context("a load balancer of the Service")?;
        let mut groups = state.security_groups().iter();
        let own = groups.clone().find(theirs).context("a security group")?;
        let backend = groups.find(|group| group["Tags"]["evenkeel.dev/resource"] == "backend-sg");
        let target_group = |group: &'a Value| {
            let targets = group["Targets"].as_array().into_iter().flatten();
            Ok(TargetGroup {
                resource: text(&group["Tags"], "evenkeel.dev/resource")?,
                arn: text(group, "TargetGroupArn")?,
                targets: targets.map(|target| target["Target"].clone()).collect(),
            })
        };
        let listeners = lb["Listeners"].as_array().into_iter().flatten();
        let listener = |one: &'a Value| {
            let port = one["Port"].as_u64().context("a port")?;
            Ok((port, text(one, "ListenerArn")?))
        };
        Ok(Self {
            load_balancer: text(lb, "LoadBalancerArn")?,
            security_group: text(own, "GroupId")?,
            backend_group: text(backend.context("the backend group")?, "GroupId")?,
            listeners: listeners.map(listener).collect::<Result<_>>()?,
            target_groups: state
                .target_groups()
                .iter()
                .filter(theirs)
                .map(target_group)
                .collect::<Result<_>>()?,
        })
    }

    fn listener(&self, port: u64) -> Result<&'a str> {
        let found = self.listeners.iter().find(|(its, _)| *its == port);
        found.map(|(_, arn)| *arn).context("a listener")
    }

    fn target_group(&self, port: u16) -> Result<TargetGroup<'a>> {
        let id = format!("tg/TCP/{port}");
        let found = self.target_groups.iter().find(|one| one.resource == id);
        found.cloned().context("a target group")
    }
}

fn text<'a>(value: &'a Value, key: &str) -> Result<&'a str> {
    let found = value[key].as_str();
    found.with_context(|| format!("no {key} in {value}"))
}

/// What others have beside a Service's own, and on it: none of it is ever to change.
#[derive(Clone, Debug, PartialEq)]
pub struct Strangers(Vec<Value>);

/// A tag that nobody of ours gives.
const THEIRS: &str = "owner";

impl Strangers {
    /// Makes them: a load balancer with a target group and a security group of its own; on what the Service has a listener on port 9999, and
    /// on each object a tag; attributes that it does not ask for; rules in the groups of the nodes and of the cluster.
    ///
    /// # Errors
    /// When something is not there, or AWS refuses.
    pub async fn make(client: &Client, service: &str, world: &World) -> Result<()> {
        let state = client.dump().await?;
        let has = Has::find(&state, service)?;
        let elb =
            async |operation: &str, asked: Value| client.call("elbv2", operation, asked).await;
        let ec2 = async |operation: &str, asked: Value| client.call("ec2", operation, asked).await;
        let vpc = &world.vpc_id;

        let group = json!({"GroupName": "theirs", "Description": "theirs", "VpcId": vpc});
        let group = ec2("CreateSecurityGroup", group).await?;
        let balancer = json!({
            "Name": "theirs", "Type": "network", "Subnets": world.public_subnets, "SecurityGroups": [group["GroupId"]],
        });
        elb("CreateLoadBalancer", balancer).await?;
        let target_group = json!({"Name": "theirs", "Protocol": "TCP", "Port": 80, "VpcId": vpc});
        let made = elb("CreateTargetGroup", target_group).await?;
        let arn = &made["TargetGroups"][0]["TargetGroupArn"];
        let targets = json!([{"Id": world.nodes[0].instance_id, "Port": 9999}]);
        elb(
            "RegisterTargets",
            json!({"TargetGroupArn": arn, "Targets": targets}),
        )
        .await?;
        let actions = json!([{"Type": "forward", "TargetGroupArn": arn}]);
        let listener = json!({
            "LoadBalancerArn": has.load_balancer, "Protocol": "TCP", "Port": 9999, "DefaultActions": actions,
        });
        elb("CreateListener", listener).await?;

        let http = has.target_group(80)?;
        let tags = json!([{"Key": THEIRS, "Value": "them"}]);
        for arn in [has.load_balancer, http.arn, has.listener(80)?] {
            elb("AddTags", json!({"ResourceArns": [arn], "Tags": tags})).await?;
        }
        let groups = json!([
            has.security_group,
            has.backend_group,
            world.node_security_group
        ]);
        ec2("CreateTags", json!({"Resources": groups, "Tags": tags})).await?;
        let attribute = json!([{"Key": "stickiness.enabled", "Value": "true"}]);
        let asked = json!({"TargetGroupArn": http.arn, "Attributes": attribute});
        elb("ModifyTargetGroupAttributes", asked).await?;
        for group in [&*world.node_security_group, has.backend_group] {
            let asked = json!({"GroupId": group, "IpPermissions": [from_anywhere(2222)]});
            ec2("AuthorizeSecurityGroupIngress", asked).await?;
        }
        Ok(())
    }

    /// Finds them, byte for byte.
    #[must_use]
    pub fn find(state: &State) -> Self {
        let ours = |item: &Value| !item["Tags"]["evenkeel.dev/cluster"].is_null();
        let all = [
            state.load_balancers(),
            state.target_groups(),
            state.security_groups(),
            state.subnets(),
            state.addresses(),
        ];
        let mut found = Vec::new();
        for item in all.into_iter().flatten() {
            let mut item = item.clone();
            if ours(&item) {
                let listeners = item["Listeners"].as_array().into_iter().flatten();
                let listeners = listeners.filter(|listener| !ours(listener)).cloned();
                found.extend(listeners);
                let sticky = &item["Attributes"]["stickiness.enabled"];
                if !item["Tags"][THEIRS].is_null() {
                    found.push(json!([item["Tags"][THEIRS], sticky]));
                }
            } else {
                // Rules are compared by themselves: what lets our load balancers in is ours.
                if let Some(item) = item.as_object_mut() {
                    item.remove("IpPermissions");
                }
                found.push(item);
            }
        }
        let rules = state.security_group_rules().iter();
        found.extend(rules.filter(|rule| rule["FromPort"] == 2222).cloned());
        found.sort_by_cached_key(Value::to_string);
        Self(found)
    }
}

/// What is in a region, without what differs each time that it is made: ids, order, and how healthy targets are.
#[must_use]
pub fn alike(state: &State) -> Vec<Value> {
    let all = [
        state.load_balancers(),
        state.target_groups(),
        state.security_groups(),
        state.security_group_rules(),
    ];
    let items = all.into_iter().flatten().cloned();
    let mut items: Vec<_> = items.map(without_ids).collect();
    items.sort_by_cached_key(Value::to_string);
    items
}

fn without_ids(value: Value) -> Value {
    const MADE_ANEW: [&str; 6] = [
        "ListenerArn",
        "TargetGroupArn",
        "SecurityGroupRuleId",
        "SecurityGroupRuleArn",
        "TargetHealth",
        "AdministrativeOverride",
    ];
    match value {
        Value::Array(items) => {
            let mut items: Vec<_> = items.into_iter().map(without_ids).collect();
            items.sort_by_cached_key(Value::to_string);
            Value::Array(items)
        }
        Value::Object(fields) => fields
            .into_iter()
            .filter(|(key, _)| !MADE_ANEW.contains(&&**key))
            .map(|(key, value)| (key, without_ids(value)))
            .collect(),
        other => other,
    }
}
