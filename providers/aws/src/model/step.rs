//! The writes, and what they did (Decides).
//!
//! A step says all that `absorb` needs to know of its effect, except what only AWS can tell: that is [`Told`]. So the
//! effect of a write and its rehearsal are absorbed by the same code.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use evenkeel_core::{intent::Scheme, net::IpFamily};
use serde::Serialize;

use super::{
    AddressType, CloudId, Facts, HealthCheck, ListenerProtocol, Marks, Opening, Pairs, Rule,
    SubnetMapping, Target, TargetProtocol, TargetType, Tls,
};

/// An object of a group, by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Object {
    /// A load balancer.
    LoadBalancer(Arc<str>),
    /// A front-end security group.
    SecurityGroup(Arc<str>),
    /// A target group.
    TargetGroup(Arc<str>),
    /// A listener, by load balancer and port.
    Listener(Arc<str>, u16),
}

impl Object {
    /// What kind of object, in AWS's words.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::LoadBalancer(_) => "load balancer",
            Self::SecurityGroup(_) => "security group",
            Self::TargetGroup(_) => "target group",
            Self::Listener(..) => "listener",
        }
    }
}

/// One write: one call of AWS's API, save where it says otherwise.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Step {
    /// Makes the cluster's backend group. Once for all groups.
    CreateBackendGroup,
    /// Lets the backend group reach these instances: finds their security groups and adds the rules that are missing there.
    /// Reads, and writes once per node group.
    AdmitNodes(BTreeSet<Arc<str>>),
    /// Adds the rules of openings to node groups: one `AuthorizeSecurityGroupIngress` for each that lacks any.
    OpenNodes {
        /// What target groups of the group of Services list, or are about to.
        openings: BTreeSet<Opening>,
        /// The node groups.
        groups: BTreeSet<CloudId>,
        /// The rules of the openings.
        rules: BTreeSet<Rule>,
    },
    /// Removes rules of openings from every node group, where a fresh look at all target groups shows that no other group of Services
    /// refers to them: one `RevokeSecurityGroupIngress` for each node group that has any.
    CloseNodes(BTreeSet<Rule>),
    /// `CreateSecurityGroup`.
    CreateSecurityGroup {
        /// Its name.
        name: Arc<str>,
        /// Whose it is.
        marks: Marks,
        /// All tags, the marks among them.
        tags: Pairs,
    },
    /// `AuthorizeSecurityGroupIngress`.
    Authorize {
        /// The group's name.
        group: Arc<str>,
        /// The rules to add.
        rules: BTreeSet<Rule>,
    },
    /// `RevokeSecurityGroupIngress`.
    Revoke {
        /// The group's name.
        group: Arc<str>,
        /// The rules to remove.
        rules: BTreeSet<Rule>,
    },
    /// `CreateLoadBalancer`.
    CreateLoadBalancer(Box<NewLoadBalancer>),
    /// `SetSubnets`, with all of them.
    SetSubnets {
        /// The load balancer's name.
        load_balancer: Arc<str>,
        /// All subnets.
        subnets: Vec<SubnetMapping>,
        /// `EnablePrefixForIpv6SourceNat`, where it shall change.
        source_nat: Option<bool>,
    },
    /// `SetSecurityGroups`, with all of them.
    SetSecurityGroups {
        /// The load balancer's name.
        load_balancer: Arc<str>,
        /// All groups.
        groups: BTreeSet<CloudId>,
        /// `EnforceSecurityGroupInboundRulesOnPrivateLinkTraffic`, where it is asked for.
        private_link_rules: Option<bool>,
    },
    /// `SetIpAddressType`.
    SetAddressType {
        /// The load balancer's name.
        load_balancer: Arc<str>,
        /// The new one.
        address_type: AddressType,
    },
    /// `CreateTargetGroup`.
    CreateTargetGroup(Box<NewTargetGroup>),
    /// `ModifyTargetGroup`.
    SetHealthCheck {
        /// The target group's name.
        target_group: Arc<str>,
        /// All of it.
        health_check: HealthCheck,
    },
    /// `RegisterTargets`, in calls of 200.
    Register {
        /// The target group's name.
        target_group: Arc<str>,
        /// The targets to add.
        targets: BTreeSet<Target>,
    },
    /// `DeregisterTargets`, in calls of 200.
    Deregister {
        /// The target group's name.
        target_group: Arc<str>,
        /// The targets to remove.
        targets: BTreeSet<Target>,
    },
    /// `CreateListener`, then `AddListenerCertificates` for each further certificate.
    CreateListener(Box<NewListener>),
    /// `ModifyListener`.
    SetListener(Box<NewListener>),
    /// `AddListenerCertificates` and `RemoveListenerCertificates`, one call per certificate.
    SetCertificates {
        /// The load balancer's name.
        load_balancer: Arc<str>,
        /// The listener's port.
        port: u16,
        /// ARNs to add.
        add: Vec<Arc<str>>,
        /// ARNs to remove.
        remove: Vec<Arc<str>>,
    },
    /// `ModifyLoadBalancerAttributes`, `ModifyTargetGroupAttributes`, `ModifyListenerAttributes`.
    SetAttributes {
        /// Of what.
        object: Object,
        /// The attributes to write.
        attributes: Pairs,
    },
    /// `AddTags` and `RemoveTags`, or EC2's `CreateTags` and `DeleteTags`: at most one call each.
    Tag {
        /// What.
        object: Object,
        /// Tags to write.
        set: Pairs,
        /// Keys to remove.
        remove: BTreeSet<Arc<str>>,
    },
    /// `DeleteListener`, `DeleteLoadBalancer`, `DeleteTargetGroup`, `DeleteSecurityGroup`.
    Delete(Object),
}

/// A load balancer to create.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NewLoadBalancer {
    /// Its name.
    pub name: Arc<str>,
    /// Its scheme.
    pub scheme: Scheme,
    /// Its addresses.
    pub address_type: AddressType,
    /// Where it shall stand.
    pub subnets: Vec<SubnetMapping>,
    /// Its security groups.
    pub security_groups: BTreeSet<CloudId>,
    /// `EnablePrefixForIpv6SourceNat`.
    pub source_nat: Option<bool>,
    /// Whose it is.
    pub marks: Marks,
    /// All tags, the marks among them.
    pub tags: Pairs,
}

/// A target group to create.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NewTargetGroup {
    /// Its name.
    pub name: Arc<str>,
    /// What is spoken to the targets.
    pub protocol: TargetProtocol,
    /// The NodePort; of pods the target port.
    pub port: u16,
    /// What its targets are.
    pub target_type: TargetType,
    /// The family of its targets' addresses.
    pub family: IpFamily,
    /// How targets are judged.
    pub health_check: HealthCheck,
    /// Whose it is.
    pub marks: Marks,
    /// All tags, the marks among them.
    pub tags: Pairs,
}

/// A listener to create, or to be what this says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NewListener {
    /// The name of its load balancer.
    pub load_balancer: Arc<str>,
    /// Its port.
    pub port: u16,
    /// What is spoken by clients.
    pub protocol: ListenerProtocol,
    /// The name of its target group.
    pub target_group: Arc<str>,
    /// Of a TLS listener.
    pub tls: Option<Tls>,
    /// Whose it is.
    pub marks: Marks,
    /// All tags, the marks among them.
    pub tags: Pairs,
}

/// What a write did.
#[derive(Clone, Debug, PartialEq)]
pub struct Effect {
    /// The write.
    pub step: Step,
    /// What AWS said.
    pub told: Told,
}

/// What only AWS can tell of a write.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    /// Nothing.
    Nothing,
    /// What the new object is called, and for a load balancer its DNS name.
    Created {
        /// ARN or group id.
        id: CloudId,
        /// Of a load balancer.
        dns_name: Option<Arc<str>>,
    },
    /// Of [`Step::CreateBackendGroup`] and the steps that change node groups: the facts as they are now. All groups share one value,
    /// because a copy for each would be large.
    Facts(Arc<Facts>),
    /// Of a step that is only rehearsed, and whose object takes time or is shared by all groups: it is ready.
    Ready,
    /// Targets that AWS would not take, each with its reason; the others are registered.
    NotTaken(BTreeMap<Target, Arc<str>>),
}
