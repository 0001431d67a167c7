//! What holds whatever is asked in whatever order, on rehearsals that are cut anywhere.

use std::collections::BTreeMap;

use evenkeel_core::{
    Timestamp,
    claim::Profile,
    endpoints::EndpointSet,
    failure::Failures,
    group::Group,
    ids::{Cluster, GroupKey, NodeName, ServiceKey, ServiceRef, ServiceUid},
    intent::{Affinity, Intent, Options, PortIntent, SourceRanges, TargetPort, TrafficPolicy},
    net::IpFamily,
    nodes::{Node, NodeReason, NodeSet, Placement},
    plan::{Action, Plan},
    ports::{PortKey, Protocol},
    provider::{PlanInput, Provider, Verdict, Want},
};
use evenkeel_local::{
    Local, LocalConfig,
    model::{Desired, Kind, Observed, Step, id},
};
use proptest::prelude::*;

/// More waves than any plan needs.
const MANY: usize = 16;

fn cluster() -> Cluster {
    Cluster::new("cluster-uid", "harbour")
}

fn service() -> ServiceRef {
    ServiceRef {
        key: ServiceKey::new("shop", "checkout"),
        uid: ServiceUid::from("uid-checkout"),
    }
}

fn any_intent() -> impl Strategy<Value = Intent> {
    let port = (
        prop_oneof![Just(80u16), Just(443), Just(8080)],
        prop::bool::weighted(0.9),
        prop::option::weighted(0.9, 30_000u16..30_003),
    );
    let ports = prop::collection::btree_map(
        port.prop_map(|(number, tcp, node_port)| ((number, tcp), node_port)),
        Just(()),
        1..4,
    );
    let families = prop_oneof![
        Just(vec![IpFamily::V4]),
        Just(vec![IpFamily::V6]),
        Just(vec![IpFamily::V4, IpFamily::V6]),
        Just(vec![IpFamily::V6, IpFamily::V4]),
    ];
    let policy = prop_oneof![
        Just(TrafficPolicy::Cluster),
        Just(TrafficPolicy::Local {
            health_check_node_port: Some(32_000)
        }),
        // Rejected.
        Just(TrafficPolicy::Local {
            health_check_node_port: None
        }),
    ];
    let address = |text: &str| text.parse().expect("an address");
    let addresses = prop_oneof![
        2 => Just(vec![]),
        1 => Just(vec![address("127.0.0.9")]),
        1 => Just(vec![address("127.0.0.10")]),
        1 => Just(vec![address("127.0.0.9"), address("::9")]),
        1 => Just(vec![address("::10")]),
    ];
    (
        ports,
        families,
        policy,
        addresses,
        prop::option::of(0u32..3),
        prop_oneof![
            Just(Affinity::None),
            Just(Affinity::ClientIp {
                timeout_seconds: 60
            })
        ],
    )
        .prop_map(
            |(ports, families, traffic_policy, addresses, drain, affinity)| {
                let port = |((number, tcp), node_port): (&(u16, bool), &Option<u16>)| PortIntent {
                    key: PortKey {
                        port: *number,
                        protocol: if *tcp { Protocol::Tcp } else { Protocol::Udp },
                    },
                    name: None,
                    node_port: *node_port,
                    target_port: TargetPort::Number(*number),
                    app_protocol: None,
                };
                let numbers: BTreeMap<(u16, bool), Option<u16>> = ports.into_keys().collect();
                Intent {
                    service: service(),
                    profile: Profile::Neutral,
                    ports: numbers.iter().map(port).collect(),
                    families,
                    traffic_policy,
                    affinity,
                    source_ranges: SourceRanges::All,
                    allocate_node_ports: true,
                    options: Options {
                        addresses,
                        drain_seconds: drain,
                        ..Options::default()
                    },
                    annotations: BTreeMap::new(),
                }
            },
        )
}

fn any_nodes() -> impl Strategy<Value = NodeSet> {
    let placement = prop_oneof![
        4 => Just(Placement::Add),
        1 => Just(Placement::KeepIfPresent(NodeReason::MarkedByAutoscaler)),
        1 => Just(Placement::Remove(NodeReason::BeingDeleted)),
    ];
    let node = (1u8..6, placement).prop_map(|(number, placement)| (number, placement));
    prop::collection::btree_map(node, Just(()), 0..5).prop_map(|nodes| {
        let nodes: BTreeMap<u8, Placement> = nodes.into_keys().collect();
        let node = |(number, placement): (u8, Placement)| Node {
            name: NodeName::new(format!("node-{number}")),
            provider_id: None,
            addresses: vec![std::net::IpAddr::from([10, 0, 0, number])],
            zone: None,
            placement,
        };
        NodeSet::new(nodes.into_iter().map(node).collect())
    })
}

/// What is asked, on which nodes, whether the owner approves, and after how many waves of it something else comes.
type Turn = (Option<Intent>, NodeSet, bool, usize);

fn any_turn() -> impl Strategy<Value = Turn> {
    (
        prop::option::weighted(0.9, any_intent()),
        any_nodes(),
        any::<bool>(),
        0..MANY,
    )
}

struct Stage {
    provider: Local,
    key: GroupKey,
    seen: Observed,
}

impl Stage {
    fn new() -> Self {
        Self {
            provider: Local::new(LocalConfig::new("/nonexistent/dataplane.sock", cluster())),
            key: GroupKey::Service(service()),
            seen: Observed::default(),
        }
    }

    fn want(&self, intent: Option<&Intent>) -> Want<Desired> {
        let Some(intent) = intent else {
            return Want::Nothing;
        };
        match self
            .provider
            .desired(&Group::single(cluster(), intent.clone()))
        {
            Verdict::Accepted { desired, .. } => Want::Exists(desired),
            Verdict::Rejected(_) => Want::Frozen,
        }
    }

    fn plan(&self, want: &Want<Desired>, nodes: &NodeSet, approval: Option<&str>) -> Plan<Step> {
        self.provider.plan(PlanInput {
            key: &self.key,
            want,
            seen: &self.seen,
            fresh: true,
            nodes,
            followed: None,
            endpoints: &EndpointSet::unknown(),
            failures: &Failures::default(),
            approval,
            now: Timestamp::UNIX_EPOCH,
        })
    }

    /// Does at most so many waves. True when nothing was left to do; every wave keeps the promises.
    fn run(
        &mut self,
        want: &Want<Desired>,
        nodes: &NodeSet,
        approves: bool,
        waves: usize,
    ) -> Result<bool, TestCaseError> {
        let mut approval: Option<String> = None;
        for _ in 0..waves {
            let mut plan = self.plan(want, nodes, approval.as_deref());
            let asked = plan
                .refusals
                .iter()
                .find_map(|refusal| refusal.approval.clone());
            if approves && let Some(digest) = asked {
                prop_assert_eq!(&approval, &None, "one approval is enough");
                approval = Some(digest);
                plan = self.plan(want, nodes, approval.as_deref());
            }
            if plan.steps.is_empty() {
                return Ok(true);
            }
            let before = self.seen.clone();
            for planned in &plan.steps {
                if planned.change.gives_up.is_some() {
                    prop_assert!(
                        approval.is_some(),
                        "given up without approval: {:?}",
                        planned.change
                    );
                }
                let effect = self.provider.predict(&planned.step, &before);
                self.provider.absorb(&mut self.seen, effect);
            }
            consistent(&self.seen)?;
            if *want != Want::Nothing {
                for (name, set) in &before.backend_sets {
                    let emptied = self
                        .seen
                        .backend_sets
                        .get(name)
                        .is_some_and(|now| now.spec.members.is_empty());
                    prop_assert!(
                        !emptied || set.spec.members.is_empty(),
                        "{} was emptied",
                        name
                    );
                }
                let breaks = plan
                    .steps
                    .iter()
                    .any(|planned| planned.change.action == Action::Destroy);
                let makes = plan
                    .steps
                    .iter()
                    .any(|planned| planned.change.action != Action::Destroy);
                prop_assert!(
                    !(breaks && makes),
                    "make and break in one wave: {:#?}",
                    plan.steps
                );
            }
        }
        Ok(self.plan(want, nodes, approval.as_deref()).steps.is_empty())
    }

    /// All that matters, whatever way led here: no names, no turns.
    fn essence(&self) -> Vec<String> {
        let seen = &self.seen;
        let lease = |name: &str| {
            seen.leases
                .get(name)
                .map(|lease| id(Kind::Lease, name, &lease.marks).to_string())
        };
        let mut all: Vec<String> = seen
            .leases
            .iter()
            .map(|(name, lease)| {
                format!(
                    "{:?} {:?}",
                    self::name(Kind::Lease, name, &lease.marks),
                    lease.spec
                )
            })
            .collect();
        all.extend(
            seen.backend_sets
                .values()
                .map(|set| format!("{:?} {:?}", set.marks, set.spec)),
        );
        all.extend(seen.listeners.values().map(|listener| {
            format!(
                "{:?} on {:?} {} {}",
                listener.marks,
                lease(&listener.spec.lease),
                listener.spec.port,
                listener.spec.backend_set
            )
        }));
        all.sort();
        all
    }
}

fn name(kind: Kind, name: &str, marks: &evenkeel_local::api::Marks) -> String {
    id(kind, name, marks).to_string()
}

/// What the data plane would refuse: a listener that refers to what is not there, two on one port of an address.
fn consistent(seen: &Observed) -> Result<(), TestCaseError> {
    let mut ports = std::collections::BTreeSet::new();
    for (name, listener) in &seen.listeners {
        prop_assert!(
            seen.leases.contains_key(&listener.spec.lease),
            "{} has no lease",
            name
        );
        prop_assert!(
            seen.backend_sets.contains_key(&listener.spec.backend_set),
            "{} has no set",
            name
        );
        prop_assert!(
            ports.insert((
                &listener.spec.lease,
                listener.spec.protocol,
                listener.spec.port
            )),
            "{} is not alone on its port",
            name
        );
    }
    Ok(())
}

proptest! {
    #[test]
    fn every_way_settles_and_leads_to_the_same_end(turns in prop::collection::vec(any_turn(), 0..6), last in any_intent(), nodes in any_nodes()) {
        let mut stage = Stage::new();
        for (intent, nodes, approves, waves) in &turns {
            let want = stage.want(intent.as_ref());
            stage.run(&want, nodes, *approves, *waves)?;
        }
        let want = stage.want(Some(&last));
        prop_assert!(stage.run(&want, &nodes, true, MANY)?, "it does not settle");
        if let Want::Exists(_) = want && nodes.eligible().next().is_some() {
            let mut direct = Stage::new();
            prop_assert!(direct.run(&want, &nodes, false, MANY)?);
            // Nodes that may stay, stay where they were.
            if nodes.kept().count() == nodes.eligible().count() {
                prop_assert_eq!(stage.essence(), direct.essence());
            }
        }
        prop_assert!(stage.run(&Want::Nothing, &nodes, false, MANY)?);
        prop_assert!(stage.seen.is_empty(), "left over: {:#?}", stage.seen);
    }

    #[test]
    fn the_order_of_nodes_and_ports_changes_nothing(intent in any_intent(), nodes in any_nodes()) {
        let stage = Stage::new();
        let mut turned = intent.clone();
        turned.ports.reverse();
        let (want, same) = (stage.want(Some(&intent)), stage.want(Some(&turned)));
        prop_assert_eq!(&want, &same);
        let reversed = NodeSet::new(nodes.nodes().iter().rev().cloned().collect());
        prop_assert_eq!(stage.plan(&want, &nodes, None), stage.plan(&same, &reversed, None));
    }
}
