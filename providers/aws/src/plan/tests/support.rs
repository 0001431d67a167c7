//! A group on a cloud in memory.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use evenkeel_core::{
    Timestamp,
    failure::Failures,
    ids::{Cluster, GroupKey, NodeName, ServiceKey, ServiceRef, ServiceUid},
    intent::Scheme,
    net::IpFamily,
    nodes::{Node, NodeSet, Placement},
    plan::{Plan, Planned},
    ports::{PortKey, Protocol},
    provider::{PlanInput, Want},
};

use crate::{
    Context,
    model::{
        Desired, Facts, HealthCheck, Listener, ListenerProtocol, LoadBalancer, Observed, Pairs,
        ProbePort, ProbeProtocol, Rule, RuleProtocol, Security, Source, Step, Subnets, TargetGroup,
        TargetProtocol, TargetType, ZoneAddresses,
        facts::{Instance, Subnet},
    },
    names, plan, predict,
};

/// More waves than any plan needs.
const MANY: usize = 16;

pub(in crate::plan) fn cluster() -> Cluster {
    Cluster::new("uid-of-kube-system", "c1")
}

pub(in crate::plan) fn service() -> ServiceRef {
    ServiceRef {
        key: ServiceKey::new("shop", "checkout"),
        uid: ServiceUid::from("uid-checkout"),
    }
}

pub(in crate::plan) fn key() -> GroupKey {
    GroupKey::Service(service())
}

/// One group on its cloud.
pub(in crate::plan) struct Stage {
    pub(in crate::plan) context: Context,
    pub(in crate::plan) want: Want<Desired>,
    pub(in crate::plan) seen: Observed,
    pub(in crate::plan) nodes: NodeSet,
    pub(in crate::plan) followed: Option<NodeSet>,
    pub(in crate::plan) fresh: bool,
    pub(in crate::plan) approval: Option<String>,
    pub(in crate::plan) failures: Failures,
    pub(in crate::plan) now: Timestamp,
}

impl Stage {
    /// A cluster that has made load balancers before: its nodes admit its backend group.
    pub(in crate::plan) fn warm(count: usize) -> Self {
        let mut stage = Self::cold(count);
        let mut facts = facts();
        facts.backend_group = Some("sg-back".into());
        facts.admitted.insert("sg-nodes".into());
        for number in 1..=count {
            let group = Instance::Group {
                group: "sg-nodes".into(),
                note: None,
            };
            facts
                .instances
                .insert(format!("i-{number:04}").into(), group);
        }
        stage.seen.facts = Arc::new(facts);
        stage
    }

    /// A cluster that has none yet.
    pub(in crate::plan) fn cold(count: usize) -> Self {
        Self {
            context: Context::new(cluster()),
            want: Want::Nothing,
            seen: Observed {
                facts: Arc::new(facts()),
                ..Observed::default()
            },
            nodes: nodes(count),
            followed: None,
            fresh: true,
            approval: None,
            failures: Failures::default(),
            now: "2026-01-01T00:00:00Z".parse().expect("a time"),
        }
    }

    pub(in crate::plan) fn want(&mut self, desired: Desired) {
        self.want = Want::Exists(desired);
    }

    pub(in crate::plan) fn facts(&mut self) -> &mut Facts {
        Arc::make_mut(&mut self.seen.facts)
    }

    pub(in crate::plan) fn plan(&self) -> Plan<Step> {
        plan::plan(
            &self.context,
            PlanInput {
                key: &key(),
                want: &self.want,
                seen: &self.seen,
                fresh: self.fresh,
                nodes: &self.nodes,
                followed: self.followed.as_ref(),
                failures: &self.failures,
                approval: self.approval.as_deref(),
                now: self.now,
            },
        )
    }

    pub(in crate::plan) fn wave(&mut self) -> Vec<Step> {
        let plan = self.plan();
        let steps: Vec<Step> = plan
            .steps
            .into_iter()
            .map(|Planned { step, .. }| step)
            .collect();
        let effects: Vec<_> = steps
            .iter()
            .map(|step| predict::predict(step, &self.seen))
            .collect();
        for effect in effects {
            predict::absorb(&mut self.seen, effect);
        }
        steps
    }

    /// Wave after wave until there is nothing to do.
    pub(in crate::plan) fn settle(&mut self) -> Vec<Vec<Step>> {
        let mut waves = Vec::new();
        for _ in 0..MANY {
            let wave = self.wave();
            if wave.is_empty() {
                return waves;
            }
            waves.push(wave);
        }
        panic!("the plan does not end: {waves:#?}");
    }

    /// Only so many steps, as if the process died after them.
    pub(in crate::plan) fn some_steps(&mut self, mut count: usize) {
        while count > 0 {
            let plan = self.plan();
            if plan.steps.is_empty() {
                return;
            }
            for Planned { step, .. } in plan.steps {
                if count == 0 {
                    return;
                }
                count -= 1;
                let effect = predict::predict(&step, &self.seen);
                predict::absorb(&mut self.seen, effect);
            }
        }
    }

    /// What a bulk look has: no listeners, no targets, no attributes.
    pub(in crate::plan) fn look_in_bulk(&mut self) {
        self.fresh = false;
        self.seen.listeners.clear();
        for lb in self.seen.load_balancers.values_mut() {
            lb.listeners_known = false;
            lb.attributes = None;
        }
        for group in self.seen.target_groups.values_mut() {
            group.targets = None;
            group.attributes = None;
        }
    }
}

/// Nodes of these numbers from 1, in two zones.
pub(in crate::plan) fn nodes(count: usize) -> NodeSet {
    NodeSet::new((1..=count).map(node).collect())
}

pub(in crate::plan) fn node(number: usize) -> Node {
    let zone = if number % 2 == 1 { "az1" } else { "az2" };
    Node {
        name: NodeName::new(format!("node-{number}")),
        provider_id: Some(format!("aws:///{zone}/i-{number:04}").into()),
        addresses: Vec::new(),
        zone: Some(zone.into()),
        placement: Placement::Add,
    }
}

/// A VPC with two internal and two public subnets in two zones.
pub(in crate::plan) fn facts() -> Facts {
    let role = |role: &str| -> Pairs {
        [(format!("kubernetes.io/role/{role}").into(), "1".into())]
            .into_iter()
            .collect()
    };
    let subnets = [
        ("s-a", "az1", "10.0.0.0/24", role("internal-elb")),
        ("s-b", "az2", "10.0.1.0/24", role("internal-elb")),
        ("s-p", "az1", "10.0.2.0/24", role("elb")),
        ("s-q", "az2", "10.0.3.0/24", role("elb")),
    ];
    Facts {
        vpc: "vpc-1".into(),
        subnets: subnets
            .into_iter()
            .map(|(id, zone, prefix, tags)| (id.into(), subnet(id, zone, prefix, tags)))
            .collect(),
        ..Facts::default()
    }
}

pub(in crate::plan) fn subnet(id: &str, zone: &str, prefix: &str, tags: Pairs) -> Subnet {
    Subnet {
        id: id.into(),
        vpc: "vpc-1".into(),
        zone: zone.into(),
        locale: "availability-zone".into(),
        prefix: Some(prefix.parse().expect("a prefix")),
        ipv6: Vec::new(),
        free_addresses: 100,
        public: None,
        tags,
    }
}

/// A port as a Service has it.
#[derive(Clone, Copy)]
pub(in crate::plan) struct Port {
    pub(in crate::plan) number: u16,
    pub(in crate::plan) protocol: TargetProtocol,
    pub(in crate::plan) node_port: u16,
}

pub(in crate::plan) fn port(number: u16) -> Port {
    Port {
        number,
        protocol: TargetProtocol::Tcp,
        node_port: 30_000 + number % 1_000,
    }
}

pub(in crate::plan) fn desired(ports: impl IntoIterator<Item = Port>) -> Desired {
    let ports: Vec<Port> = ports.into_iter().collect();
    let target_group = |port: &Port| {
        let id = names::target_group_id(port.protocol, port.number);
        TargetGroup {
            id: id.clone(),
            port: port.number,
            protocol: port.protocol,
            target_type: TargetType::Instance,
            family: IpFamily::V4,
            node_port: port.node_port,
            health_check: tcp_check(),
            probe_by_default: false,
            attributes: Pairs::new(),
            marks: names::member_marks(&cluster(), &key(), &service(), false, id),
        }
    };
    let listener = |port: &Port| {
        let id = names::listener_id(port.number);
        let (protocol, serves): (_, &[Protocol]) = match port.protocol {
            TargetProtocol::Tcp | TargetProtocol::Tls => (ListenerProtocol::Tcp, &[Protocol::Tcp]),
            TargetProtocol::Udp => (ListenerProtocol::Udp, &[Protocol::Udp]),
            TargetProtocol::TcpUdp => (ListenerProtocol::TcpUdp, &[Protocol::Tcp, Protocol::Udp]),
        };
        Listener {
            id: id.clone(),
            port: port.number,
            protocol,
            serves: serves
                .iter()
                .map(|protocol| PortKey {
                    port: port.number,
                    protocol: *protocol,
                })
                .collect(),
            target_group: names::target_group_id(port.protocol, port.number),
            tls: None,
            attributes: Pairs::new(),
            marks: names::member_marks(&cluster(), &key(), &service(), false, id),
        }
    };
    let rule = |port: &Port| rule(port.number, "0.0.0.0/0");
    Desired {
        load_balancer: LoadBalancer {
            name: None,
            scheme: None,
            default_scheme: Scheme::Internal,
            address_type: None,
            subnets: Subnets::Discovered,
            addresses: ZoneAddresses::default(),
            source_nat: None,
            security: Security::Managed(ports.iter().map(rule).collect()),
            private_link_rules: None,
            attributes: Pairs::new(),
            tags: Pairs::new(),
            marks: names::group_marks(&cluster(), &key(), false, names::LOAD_BALANCER.into()),
        },
        listeners: ports.iter().map(listener).collect(),
        target_groups: ports.iter().map(target_group).collect(),
        unknown: BTreeSet::new(),
        shared_unknown: false,
        members: vec![service()],
    }
}

pub(in crate::plan) fn rule(port: u16, prefix: &str) -> Rule {
    Rule {
        protocol: RuleProtocol::Tcp,
        from: port.into(),
        to: port.into(),
        source: Source::Cidr(prefix.parse().expect("a prefix")),
    }
}

pub(in crate::plan) fn tcp_check() -> HealthCheck {
    HealthCheck {
        protocol: ProbeProtocol::Tcp,
        port: ProbePort::Traffic,
        path: None,
        matcher: None,
        interval: 10,
        timeout: 10,
        healthy: 3,
        unhealthy: 3,
    }
}

pub(in crate::plan) fn pairs<const N: usize>(
    pairs: [(&str, &str); N],
) -> BTreeMap<Arc<str>, Arc<str>> {
    pairs
        .into_iter()
        .map(|(key, value)| (key.into(), value.into()))
        .collect()
}
