//! What a group has, and what it means (Decides).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use evenkeel_core::{
    ids::{GroupKey, ServiceKey, ServiceRef},
    nodes::NodeSelector,
    ports::{PortKey, Protocol},
    published::{Ingress, Published, PublishedPort, TargetHealth},
};
use jiff::Timestamp;

use super::{
    Facts, FoldedTargets, ListenerProtocol, Marks, Object, Opening, SeenListener, SeenLoadBalancer,
    SeenSecurityGroup, SeenTargetGroup, TargetState, opening,
};
use crate::names::{self, tag};

/// A listener's place: the name of its load balancer, and the port number.
pub type ListenerKey = (Arc<str>, u16);

/// A load balancer that was seen, with its name.
pub type NamedLoadBalancer<'a> = (&'a Arc<str>, &'a SeenLoadBalancer);

/// What a group has, by name. While a load balancer is being replaced there are two, each with its own target groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// What all groups rest on.
    pub facts: Arc<Facts>,
    /// Load balancers by name.
    pub load_balancers: BTreeMap<Arc<str>, SeenLoadBalancer>,
    /// Front-end security groups by name.
    pub security_groups: BTreeMap<Arc<str>, SeenSecurityGroup>,
    /// Target groups by name.
    pub target_groups: BTreeMap<Arc<str>, SeenTargetGroup>,
    /// Listeners by load balancer and port.
    pub listeners: BTreeMap<ListenerKey, SeenListener>,
    /// Targets of the target groups of these names, while nobody plans.
    pub folded: BTreeMap<Arc<str>, FoldedTargets>,
}

impl Observed {
    /// How many objects of the group there are.
    pub fn len(&self) -> usize {
        self.load_balancers.len()
            + self.security_groups.len()
            + self.target_groups.len()
            + self.listeners.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether this is one of them.
    pub fn has(&self, object: &Object) -> bool {
        match object {
            Object::LoadBalancer(name) => self.load_balancers.contains_key(name),
            Object::SecurityGroup(name) => self.security_groups.contains_key(name),
            Object::TargetGroup(name) => self.target_groups.contains_key(name),
            Object::Listener(name, port) => self.listeners.contains_key(&(Arc::clone(name), *port)),
        }
    }

    /// Folds the targets, for the time until the next plan.
    pub fn fold(&mut self) {
        for (name, group) in &mut self.target_groups {
            if let Some(targets) = group.targets.take() {
                let targets = FoldedTargets::of(&targets);
                self.folded.insert(Arc::clone(name), targets);
            }
        }
    }

    /// The opposite.
    pub fn unfold(&mut self) {
        for (name, targets) in std::mem::take(&mut self.folded) {
            if let Some(group) = self.target_groups.get_mut(&name) {
                group.targets = Some(targets.unfold());
            }
        }
    }

    /// Whether pods are targets of any target group.
    pub fn has_pods(&self) -> bool {
        let mut groups = self.target_groups.values();
        groups.any(|group| group.target_type.is_pods())
    }

    /// Whether the objects are stamped to stay when their Services are deleted.
    pub fn retained(&self) -> bool {
        self.load_balancers.values().any(|lb| lb.marks.retain)
    }

    /// The openings that its target groups list.
    pub fn openings(&self) -> BTreeSet<Opening> {
        self.target_groups
            .values()
            .flat_map(SeenTargetGroup::openings)
            .collect()
    }

    /// The load balancer whose name clients are told: a successor's only when its predecessor is superseded or gone.
    pub fn current(&self) -> Option<NamedLoadBalancer<'_>> {
        let waits = |lb: &SeenLoadBalancer| {
            self.load_balancers
                .values()
                .any(|other| lb.succeeds(other) && other.superseded().is_none())
        };
        self.load_balancers
            .iter()
            .min_by_key(|(_, lb)| (lb.superseded(), waits(lb), lb.created_at))
    }

    /// The listeners of the load balancer of this name, by port.
    pub fn listeners_of(
        &self,
        load_balancer: &Arc<str>,
    ) -> impl Iterator<Item = (u16, &SeenListener)> {
        let at = |port| (Arc::clone(load_balancer), port);
        self.listeners
            .range(at(0)..=at(u16::MAX))
            .map(|((_, port), listener)| (*port, listener))
    }

    /// Whether a listener forwards to the target group of this name, as far as is known.
    pub fn is_used(&self, name: &str, group: &SeenTargetGroup) -> bool {
        self.listeners
            .values()
            .any(|listener| listener.target_group.as_deref() == Some(name))
            || self
                .load_balancers
                .values()
                .any(|lb| !lb.listeners_known && group.load_balancers.contains(&lb.arn))
    }

    /// What can be told to the world.
    pub fn published(&self, key: &GroupKey) -> Published {
        let Some((name, lb)) = self.current() else {
            return Published::default();
        };
        let groups = || {
            self.target_groups
                .values()
                .filter(|group| group.load_balancers.contains(&lb.arn))
        };
        let mut ports: Vec<PublishedPort> = if lb.listeners_known {
            self.listeners_of(name)
                .filter_map(|(port, listener)| Some((port, listener, listener.marks.as_ref()?)))
                .flat_map(|(port, listener, marks)| {
                    published_ports(port, transports(listener.protocol), marks, key)
                })
                .collect()
        } else {
            groups()
                .filter_map(|group| Some((group.listener_port()?, group)))
                .flat_map(|(port, group)| {
                    published_ports(port, group.protocol.transports(), &group.marks, key)
                })
                .collect()
        };
        ports.sort();
        ports.dedup();
        let health = groups().map(SeenTargetGroup::health);
        let targets = health.reduce(|sum, health| {
            let (sum, health) = (sum?, health?);
            Some(TargetHealth {
                healthy: sum.healthy + health.healthy,
                total: sum.total + health.total,
            })
        });
        Published {
            ingress: lb
                .dns_name
                .iter()
                .map(|dns| Ingress::hostname(dns))
                .collect(),
            ports,
            targets: targets.flatten(),
            pools: Vec::new(),
        }
    }
}

impl SeenLoadBalancer {
    /// Since when its successor serves; None where it has none that does.
    pub fn superseded(&self) -> Option<Timestamp> {
        let since = self.tags.get(tag::SUPERSEDED)?;
        // A time that somebody spoilt is long ago: what is superseded does not come back.
        Some(since.parse().unwrap_or(Timestamp::UNIX_EPOCH))
    }

    /// Whether it has no security group: whoever its targets admit may connect.
    pub fn is_open(&self) -> bool {
        self.security_groups.is_empty()
    }

    /// Whether it takes the place of this one.
    pub fn succeeds(&self, other: &Self) -> bool {
        self.tags
            .get(tag::SUCCEEDS)
            .is_some_and(|arn| **arn == *other.arn.as_str())
    }
}

impl SeenTargetGroup {
    /// The NodePort of its targets, as its tag tells it; else the one it was created with.
    pub fn node_port(&self) -> u16 {
        let noted = self.tags.get(tag::NODE_PORT);
        noted
            .and_then(|port| port.parse().ok())
            .unwrap_or(self.port)
    }

    /// The openings that its tag lists.
    pub fn openings(&self) -> BTreeSet<Opening> {
        opening::listed(&self.tags)
    }

    /// Which of the nodes are its targets, as its tags tell it.
    pub fn nodes(&self) -> NodeSelector {
        let terms = names::listed(&self.tags, tag::NODE_LABELS);
        NodeSelector::of_terms(terms.iter().map(|term| &**term))
    }

    /// The port of the listener that it was made for, as its logical id tells it.
    pub fn listener_port(&self) -> Option<u16> {
        self.marks.id.as_str().rsplit('/').next()?.parse().ok()
    }

    /// Whether any target is registered, as far as is known.
    pub fn has_targets(&self) -> bool {
        let known = self.targets.as_ref();
        known.is_some_and(|known| known.values().any(|state| state.is_registered()))
    }

    /// How many targets there are, and how many are healthy; None where they were not read.
    fn health(&self) -> Option<TargetHealth> {
        let targets = self.targets.as_ref()?;
        let count = |counts: fn(TargetState) -> bool| {
            let number = targets.values().filter(|state| counts(**state)).count();
            u32::try_from(number).unwrap_or(u32::MAX)
        };
        Some(TargetHealth {
            healthy: count(|state| state == TargetState::Healthy),
            total: count(TargetState::is_registered),
        })
    }
}

impl TargetState {
    /// Whether the target is there to stay. One that drains is as good as gone, and can be registered again.
    pub fn is_registered(self) -> bool {
        self != Self::Draining
    }
}

fn transports(protocol: ListenerProtocol) -> &'static [Protocol] {
    match protocol {
        ListenerProtocol::Tcp | ListenerProtocol::Tls => &[Protocol::Tcp],
        ListenerProtocol::Udp => &[Protocol::Udp],
        ListenerProtocol::TcpUdp => &[Protocol::Tcp, Protocol::Udp],
    }
}

fn published_ports(
    port: u16,
    protocols: &'static [Protocol],
    marks: &Marks,
    key: &GroupKey,
) -> impl Iterator<Item = PublishedPort> {
    let (namespace, name) = marks
        .service
        .split_once('/')
        .unwrap_or((key.namespace(), &marks.service));
    let service = ServiceRef {
        key: ServiceKey::new(namespace, name),
        uid: marks.member(),
    };
    protocols.iter().map(move |protocol| PublishedPort {
        service: service.clone(),
        port: PortKey {
            port,
            protocol: *protocol,
        },
    })
}
