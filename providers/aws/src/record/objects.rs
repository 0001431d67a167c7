//! Load balancers, target groups and security groups in words, and back (Decides).

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use evenkeel_core::{
    Timestamp,
    intent::Scheme,
    net::IpFamily,
    problem::{Problem, Problems},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Texts,
    nodes::{self, NodeGroupRecord},
};
use crate::{
    Context,
    desired::attributes::{listener_attributes, load_balancer_attributes, target_group_attributes},
    model::{
        AddressType, CloudId, HealthCheck, ListenerProtocol, Marks, Observed, Pairs, Phase,
        ProbePort, ProbeProtocol, Rule, RuleProtocol, SeenListener, SeenLoadBalancer,
        SeenSecurityGroup, SeenTargetGroup, Source, SubnetMapping, Target, TargetProtocol,
        TargetState, TargetType, Tls,
    },
    names,
};

/// Everything that one group of Services has. An id that begins with `known after apply` is given by AWS when the object is made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "AwsObjects")]
pub struct GroupObjects {
    /// Load balancers; two while one takes the place of the other.
    pub load_balancers: Vec<LoadBalancerRecord>,
    /// Target groups.
    pub target_groups: Vec<TargetGroupRecord>,
    /// Front-end security groups.
    pub security_groups: Vec<SecurityGroupRecord>,
    /// The security group that all load balancers of the cluster have and that its nodes admit; missing where this group's load
    /// balancers do not have it. Made for the first of them, it stays for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend_security_group: Option<SecurityGroupRecord>,
    /// The security groups of the nodes that admit the load balancers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub node_security_groups: Vec<NodeGroupRecord>,
}

/// A Network Load Balancer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LoadBalancerRecord {
    /// Its name.
    pub name: String,
    /// Its ARN.
    pub arn: String,
    /// Its DNS name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns_name: Option<String>,
    /// Whether it can be reached from the internet.
    pub scheme: Scheme,
    /// Its addresses.
    pub ip_address_type: AddressType,
    /// Its state.
    #[serde(default)]
    pub state: LoadBalancerState,
    /// What AWS says of a state that is not well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_reason: Option<String>,
    /// When it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_time: Option<Timestamp>,
    /// Where it stands.
    pub subnet_mappings: Vec<MappingRecord>,
    /// Its security groups by id.
    #[serde(default)]
    pub security_groups: Vec<String>,
    /// Whether its security groups' rules hold for traffic through AWS PrivateLink; missing: as AWS has it, they do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private_link_rules: Option<bool>,
    /// Whether sources are translated with an IPv6 prefix.
    #[serde(default)]
    pub ipv6_source_nat: bool,
    /// Its attributes. Those that are not here have AWS's defaults.
    #[serde(default)]
    pub attributes: Texts,
    /// Its tags.
    pub tags: Texts,
    /// Its listeners.
    #[serde(default)]
    pub listeners: Vec<ListenerRecord>,
}

/// The state of a load balancer, in AWS's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LoadBalancerState {
    /// It is being set up.
    Provisioning,
    /// It takes traffic.
    #[default]
    Active,
    /// It takes traffic and lacks what it needs to scale.
    ActiveImpaired,
    /// It could not be set up.
    Failed,
}

/// A subnet of a load balancer, with its addresses there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MappingRecord {
    /// `subnet-…`.
    pub subnet: String,
    /// The allocation id of an Elastic IP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allocation: Option<String>,
    /// A private IPv4 address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private_ipv4: Option<Ipv4Addr>,
    /// An IPv6 address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<Ipv6Addr>,
    /// A prefix for the translation of sources.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_nat_prefix: Option<String>,
}

/// A listener.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListenerRecord {
    /// The port.
    pub port: u16,
    /// Its ARN.
    pub arn: String,
    /// What clients speak.
    pub protocol: ListenerProtocol,
    /// The name of the target group that it forwards to; missing where that is none of the controller's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_group: Option<String>,
    /// Of a TLS listener.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsRecord>,
    /// Its attributes. Those that are not here have AWS's defaults.
    #[serde(default)]
    pub attributes: Texts,
    /// Its tags.
    pub tags: Texts,
}

/// What a TLS listener has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TlsRecord {
    /// ARN of the default certificate.
    pub certificate: String,
    /// ARNs of further ones.
    #[serde(default)]
    pub further_certificates: Vec<String>,
    /// The security policy.
    pub ssl_policy: String,
    /// The ALPN policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alpn_policy: Option<String>,
}

/// A target group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TargetGroupRecord {
    /// Its name.
    pub name: String,
    /// Its ARN.
    pub arn: String,
    /// What targets are spoken to in.
    pub protocol: TargetProtocol,
    /// The port that it was made with.
    pub port: u16,
    /// What its targets are.
    pub target_type: TargetType,
    /// The family of its targets' addresses.
    pub ip_family: IpFamily,
    /// How targets are judged.
    pub health_check: HealthCheckRecord,
    /// The ARNs of the load balancers that forward to it.
    #[serde(default)]
    pub load_balancers: Vec<String>,
    /// Its attributes. Those that are not here have AWS's defaults.
    #[serde(default)]
    pub attributes: Texts,
    /// Its targets.
    #[serde(default)]
    pub targets: Vec<TargetRecord>,
    /// Its tags.
    pub tags: Texts,
}

/// A health check, whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HealthCheckRecord {
    /// How.
    pub protocol: ProbeProtocol,
    /// `traffic-port`, or a number.
    pub port: String,
    /// The path of a request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The status codes of a healthy target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matcher: Option<String>,
    /// Seconds between two probes.
    pub interval_seconds: u32,
    /// Seconds after which a probe has failed.
    pub timeout_seconds: u32,
    /// Probes in a row that make a target healthy.
    pub healthy_threshold: u32,
    /// Probes in a row that make it unhealthy.
    pub unhealthy_threshold: u32,
}

/// A target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TargetRecord {
    /// An instance id, or a pod's address.
    pub id: String,
    /// Where it is reached.
    pub port: u16,
    /// Its health.
    #[serde(default)]
    pub state: TargetHealthState,
}

/// The health of a target, in AWS's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TargetHealthState {
    /// Registered, and not judged yet.
    Initial,
    /// Gets traffic.
    #[default]
    Healthy,
    /// Gets none while another is healthy.
    Unhealthy,
    /// Registered, and in no use.
    Unused,
    /// Leaving.
    Draining,
    /// AWS does not say.
    Unavailable,
}

/// A security group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecurityGroupRecord {
    /// `sg-…`.
    pub id: String,
    /// Its name, which is not its tag `Name`.
    #[serde(default)]
    pub name: String,
    /// Its tags.
    #[serde(default, skip_serializing_if = "Texts::is_empty")]
    pub tags: Texts,
    /// Its ingress rules. They matter of groups that are the controller's own or the nodes'.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<RuleRecord>,
}

/// An ingress rule with one source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RuleRecord {
    /// `tcp`, `udp`, `icmp`, `icmpv6`, or as AWS writes it; `-1` for all.
    pub protocol: String,
    /// The first port, or the type with ICMP; -1 for all.
    #[serde(default = "all")]
    pub from_port: i32,
    /// The last port, or the code with ICMP; -1 for all.
    #[serde(default = "all")]
    pub to_port: i32,
    /// A prefix, a prefix list (`pl-…`) or a security group (`sg-…`).
    pub source: String,
    /// Its description: the controller's own rules in the nodes' groups are known by it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
}

fn all() -> i32 {
    -1
}

pub(super) fn texts(pairs: &Pairs) -> Texts {
    let text = |(key, value): (&Arc<str>, &Arc<str>)| (key.to_string(), value.to_string());
    pairs.iter().map(text).collect()
}

fn pairs(texts: &Texts) -> Pairs {
    let pair = |(key, value): (&String, &String)| (key.as_str().into(), value.as_str().into());
    texts.iter().map(pair).collect()
}

fn text(text: &Option<Arc<str>>) -> Option<String> {
    text.as_deref().map(str::to_owned)
}

fn shared(text: &Option<String>) -> Option<Arc<str>> {
    text.as_deref().map(Arc::from)
}

/// What is known of attributes, and what AWS has for the others.
fn whole(
    known: &Option<Pairs>,
    others: impl Iterator<Item = (&'static str, &'static str)>,
) -> Texts {
    let others = others.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let mut all: Texts = others.collect();
    all.extend(known.iter().flat_map(texts));
    all
}

impl GroupObjects {
    /// All that a group has and rests on, with the attributes that nobody set too.
    pub fn of(context: &Context, seen: &Observed) -> Self {
        let load_balancers = seen.load_balancers.iter();
        let target_groups = seen.target_groups.iter();
        let security_groups = seen.security_groups.iter();
        Self {
            load_balancers: load_balancers
                .map(|(name, lb)| LoadBalancerRecord::of(name, lb, seen))
                .collect(),
            target_groups: target_groups
                .map(|(name, group)| TargetGroupRecord::of(name, group))
                .collect(),
            security_groups: security_groups
                .map(|(name, group)| SecurityGroupRecord {
                    id: group.id.to_string(),
                    name: name.to_string(),
                    tags: texts(&group.tags),
                    rules: group.rules.iter().map(RuleRecord::of).collect(),
                })
                .collect(),
            backend_security_group: nodes::backend_group(context, seen),
            node_security_groups: nodes::node_groups(context, seen),
        }
    }
}

impl LoadBalancerRecord {
    fn of(name: &Arc<str>, lb: &SeenLoadBalancer, seen: &Observed) -> Self {
        let mapping = |mapping: &SubnetMapping| MappingRecord {
            subnet: mapping.subnet.to_string(),
            allocation: text(&mapping.allocation),
            private_ipv4: mapping.private,
            ipv6: mapping.ipv6,
            source_nat_prefix: text(&mapping.source_nat_prefix),
        };
        let mut subnet_mappings: Vec<_> = lb.subnets.iter().map(mapping).collect();
        subnet_mappings.sort_by(|one, other| one.subnet.cmp(&other.subnet));
        let listeners = seen.listeners_of(name);
        Self {
            name: name.to_string(),
            arn: lb.arn.to_string(),
            dns_name: text(&lb.dns_name),
            scheme: lb.scheme,
            ip_address_type: lb.address_type,
            state: match lb.phase {
                Phase::Provisioning => LoadBalancerState::Provisioning,
                Phase::Active => LoadBalancerState::Active,
                Phase::Impaired => LoadBalancerState::ActiveImpaired,
                Phase::Failed => LoadBalancerState::Failed,
            },
            state_reason: text(&lb.phase_reason),
            created_time: lb.created_at,
            subnet_mappings,
            security_groups: lb.security_groups.iter().map(CloudId::to_string).collect(),
            // AWS's default is on.
            private_link_rules: (!lb.is_open()).then(|| lb.private_link_rules.unwrap_or(true)),
            ipv6_source_nat: lb.source_nat,
            attributes: whole(&lb.attributes, load_balancer_attributes(lb.scheme)),
            tags: texts(&lb.tags),
            listeners: listeners
                .map(|(port, listener)| ListenerRecord::of(port, listener))
                .collect(),
        }
    }

    /// The load balancer, whose owner its tags tell.
    pub(super) fn seen(&self, vpc: &Arc<str>, marks: Marks) -> SeenLoadBalancer {
        let mapping = |mapping: &MappingRecord| SubnetMapping {
            subnet: mapping.subnet.as_str().into(),
            allocation: shared(&mapping.allocation),
            private: mapping.private_ipv4,
            ipv6: mapping.ipv6,
            source_nat_prefix: shared(&mapping.source_nat_prefix),
        };
        let mut subnets: Vec<_> = self.subnet_mappings.iter().map(mapping).collect();
        subnets.sort();
        SeenLoadBalancer {
            arn: self.arn.as_str().into(),
            phase: match self.state {
                LoadBalancerState::Provisioning => Phase::Provisioning,
                LoadBalancerState::Active => Phase::Active,
                LoadBalancerState::ActiveImpaired => Phase::Impaired,
                LoadBalancerState::Failed => Phase::Failed,
            },
            phase_reason: shared(&self.state_reason),
            dns_name: shared(&self.dns_name),
            scheme: self.scheme,
            address_type: self.ip_address_type,
            vpc: Arc::clone(vpc),
            subnets,
            security_groups: self
                .security_groups
                .iter()
                .map(|id| CloudId::from(id.as_str()))
                .collect(),
            private_link_rules: self.private_link_rules,
            source_nat: self.ipv6_source_nat,
            created_at: self.created_time,
            attributes: Some(pairs(&self.attributes)),
            listeners_known: true,
            marks,
            tags: pairs(&self.tags),
        }
    }

    /// Whose it is.
    pub(super) fn marks(&self, cluster: &str) -> Option<Marks> {
        marks(&self.tags, cluster)
    }
}

impl ListenerRecord {
    fn of(port: u16, listener: &SeenListener) -> Self {
        Self {
            port,
            arn: listener.arn.to_string(),
            protocol: listener.protocol,
            target_group: text(&listener.target_group),
            tls: listener.tls.as_ref().map(|tls| TlsRecord {
                certificate: tls.certificate.to_string(),
                further_certificates: tls.further.iter().map(ToString::to_string).collect(),
                ssl_policy: tls.policy.to_string(),
                alpn_policy: text(&tls.alpn),
            }),
            attributes: whole(&listener.attributes, listener_attributes(listener.protocol)),
            tags: texts(&listener.tags),
        }
    }

    /// The listener; it is a group's own only where its tags say so.
    pub(super) fn seen(&self, cluster: &str, group: &str) -> SeenListener {
        let marks = marks(&self.tags, cluster).filter(|marks| *marks.group == *group);
        SeenListener {
            arn: self.arn.as_str().into(),
            protocol: self.protocol,
            target_group: shared(&self.target_group),
            tls: self.tls.as_ref().map(|tls| Tls {
                certificate: tls.certificate.as_str().into(),
                further: tls
                    .further_certificates
                    .iter()
                    .map(|arn| arn.as_str().into())
                    .collect(),
                policy: tls.ssl_policy.as_str().into(),
                alpn: shared(&tls.alpn_policy),
            }),
            attributes: Some(pairs(&self.attributes)),
            marks,
            tags: pairs(&self.tags),
        }
    }
}

impl TargetGroupRecord {
    fn of(name: &Arc<str>, group: &SeenTargetGroup) -> Self {
        let target = |target: &Target, state: TargetState| TargetRecord {
            id: target.id.to_string(),
            port: target.port,
            state: match state {
                TargetState::Initial => TargetHealthState::Initial,
                TargetState::Healthy => TargetHealthState::Healthy,
                TargetState::Unhealthy => TargetHealthState::Unhealthy,
                TargetState::Unused => TargetHealthState::Unused,
                TargetState::Draining => TargetHealthState::Draining,
                TargetState::Unavailable => TargetHealthState::Unavailable,
            },
        };
        let check = &group.health_check;
        let targets = group.targets.iter().flatten();
        Self {
            name: name.to_string(),
            arn: group.arn.to_string(),
            protocol: group.protocol,
            port: group.port,
            target_type: group.target_type,
            ip_family: group.family,
            health_check: HealthCheckRecord {
                protocol: check.protocol,
                port: check.port.to_string(),
                path: text(&check.path),
                matcher: text(&check.matcher),
                interval_seconds: check.interval,
                timeout_seconds: check.timeout,
                healthy_threshold: check.healthy,
                unhealthy_threshold: check.unhealthy,
            },
            load_balancers: group
                .load_balancers
                .iter()
                .map(CloudId::to_string)
                .collect(),
            attributes: whole(
                &group.attributes,
                target_group_attributes(group.protocol, group.target_type),
            ),
            targets: targets.map(|(one, state)| target(one, *state)).collect(),
            tags: texts(&group.tags),
        }
    }

    /// The target group. What is wrong with it goes to `problems`.
    pub(super) fn seen(&self, at: &str, marks: Marks, problems: &mut Problems) -> SeenTargetGroup {
        let check = &self.health_check;
        let port = match check.port.as_str() {
            "traffic-port" => Some(ProbePort::Traffic),
            number => number.parse().ok().map(ProbePort::Number),
        };
        if port.is_none() {
            problems.push(Problem::new(
                format!("{at}.healthCheck.port"),
                &check.port,
                "must be traffic-port or the number of a port",
                "Correct the value.",
            ));
        }
        let target = |target: &TargetRecord| {
            let state = match target.state {
                TargetHealthState::Initial => TargetState::Initial,
                TargetHealthState::Healthy => TargetState::Healthy,
                TargetHealthState::Unhealthy => TargetState::Unhealthy,
                TargetHealthState::Unused => TargetState::Unused,
                TargetHealthState::Draining => TargetState::Draining,
                TargetHealthState::Unavailable => TargetState::Unavailable,
            };
            let target = Target {
                id: target.id.as_str().into(),
                port: target.port,
            };
            (target, state)
        };
        let load_balancers: BTreeSet<_> = self
            .load_balancers
            .iter()
            .map(|arn| CloudId::from(arn.as_str()))
            .collect();
        SeenTargetGroup {
            arn: self.arn.as_str().into(),
            protocol: self.protocol,
            port: self.port,
            target_type: self.target_type,
            family: self.ip_family,
            health_check: HealthCheck {
                protocol: check.protocol,
                port: port.unwrap_or(ProbePort::Traffic),
                path: shared(&check.path),
                matcher: shared(&check.matcher),
                interval: check.interval_seconds,
                timeout: check.timeout_seconds,
                healthy: check.healthy_threshold,
                unhealthy: check.unhealthy_threshold,
            },
            load_balancers: load_balancers.into_iter().collect(),
            attributes: Some(pairs(&self.attributes)),
            targets: Some(self.targets.iter().map(target).collect()),
            since: BTreeSet::new(),
            not_taken: BTreeMap::new(),
            marks,
            tags: pairs(&self.tags),
        }
    }

    /// Whose it is.
    pub(super) fn marks(&self, cluster: &str) -> Option<Marks> {
        marks(&self.tags, cluster)
    }
}

impl SecurityGroupRecord {
    /// Its tags.
    pub(super) fn tags(&self) -> Pairs {
        pairs(&self.tags)
    }

    /// Its id.
    pub(super) fn id(&self) -> CloudId {
        self.id.as_str().into()
    }

    /// Its rules, each with its description. What is wrong with them goes to `problems`.
    pub(super) fn rules(&self, at: &str, problems: &mut Problems) -> Vec<(Rule, &str)> {
        let mut rules = Vec::new();
        for (index, rule) in self.rules.iter().enumerate() {
            let read = rule.rule(&format!("{at}.rules[{index}]"));
            if let Some(read) = problems.take(read) {
                rules.push((read, rule.description.as_str()));
            }
        }
        rules
    }

    /// The group as a front-end group.
    pub(super) fn seen(&self, marks: Marks, rules: BTreeSet<Rule>) -> SeenSecurityGroup {
        SeenSecurityGroup {
            id: self.id(),
            rules,
            marks,
            tags: self.tags(),
        }
    }
}

impl RuleRecord {
    /// The rule in words, without a description.
    pub(super) fn of(rule: &Rule) -> Self {
        Self {
            protocol: rule.protocol.as_str().to_owned(),
            from_port: rule.from,
            to_port: rule.to,
            source: rule.source.to_string(),
            description: String::new(),
        }
    }

    fn rule(&self, at: &str) -> Result<Rule, Problem> {
        let source = if self.source.contains('/') {
            let cidr = self.source.parse().map_err(|_| {
                let message = "must be a prefix, a prefix list or a security group";
                let advice = "Write it as 10.0.0.0/8, pl-0a1b2c3d or sg-0a1b2c3d.";
                Problem::new(format!("{at}.source"), &self.source, message, advice)
            })?;
            Source::Cidr(cidr)
        } else if self.source.starts_with("pl-") {
            Source::PrefixList(self.source.as_str().into())
        } else {
            Source::Group(self.source.as_str().into())
        };
        Ok(Rule {
            protocol: match self.protocol.as_str() {
                "tcp" | "6" => RuleProtocol::Tcp,
                "udp" | "17" => RuleProtocol::Udp,
                "icmp" | "1" => RuleProtocol::Icmp,
                "icmpv6" | "58" => RuleProtocol::Icmpv6,
                other => RuleProtocol::Other(other.into()),
            },
            from: self.from_port,
            to: self.to_port,
            source,
        })
    }
}

/// The marks that tags tell of an object of this cluster.
fn marks(tags: &Texts, cluster: &str) -> Option<Marks> {
    names::marks(&pairs(tags)).filter(|marks| *marks.cluster == *cluster)
}
