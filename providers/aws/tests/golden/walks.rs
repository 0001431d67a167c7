//! Random ways: whatever is asked in whatever order, cut anywhere and seen in whatever depth.
//!
//! Two observations go along: what the cloud has, and what the plan is told of it, which may be a bulk look. Each step is held to the
//! cloud's own rules before it is done.

use std::collections::BTreeSet;

use evenkeel_aws::model::{Desired, Object, Observed, Source, Step, TargetState};
use evenkeel_aws::{desired::desired, names, plan, predict};
use evenkeel_core::{
    failure::Failures,
    nodes::{Node, NodeReason, NodeSet, Placement},
    plan::{Action, Plan, Until},
    provider::{PlanInput, Verdict, Want},
};
use proptest::prelude::*;
use serde_json::json;

use super::{
    rig::*,
    stage::{Stage, labelled, node},
};

/// More waves than any plan needs.
const MANY: usize = 24;

/// What a Service asks.
#[derive(Clone, Debug)]
struct Wish {
    ports: Vec<(u16, bool, u16)>,
    local: bool,
    keys: Vec<(&'static str, &'static str)>,
    ranges: Vec<&'static str>,
}

impl Wish {
    fn asking(&self) -> Asking {
        let ports: Vec<String> = self
            .ports
            .iter()
            .map(|(port, udp, node_port)| {
                let protocol = if *udp { "UDP" } else { "TCP" };
                format!("p{port}:{port}/{protocol}>{node_port}")
            })
            .collect();
        let ports: Vec<&str> = ports.iter().map(String::as_str).collect();
        let mut asking = service(&ports);
        if self.local {
            asking = asking.local(32_000);
        }
        if !self.ranges.is_empty() {
            asking = asking.spec("loadBalancerSourceRanges", json!(self.ranges));
        }
        for (key, value) in &self.keys {
            asking = asking.aws(key, value);
        }
        asking
    }

    fn want(&self) -> Want<Desired> {
        match desired(&context(), &self.asking().group()) {
            Verdict::Accepted { desired, .. } => Want::Exists(desired),
            Verdict::Rejected(_) => Want::Frozen,
        }
    }
}

const CERTIFICATES: [&str; 3] = [
    "arn:aws:acm:eu-west-1:123456789012:certificate/a",
    "arn:aws:acm:eu-west-1:123456789012:certificate/a,arn:aws:acm:eu-west-1:123456789012:certificate/b",
    "arn:aws:acm:eu-west-1:123456789012:certificate/c,arn:aws:acm:eu-west-1:123456789012:certificate/b",
];

fn any_wish() -> impl Strategy<Value = Wish> {
    let port = (any::<bool>(), 0u16..2);
    let ports = prop::collection::btree_map(prop::sample::select(vec![53u16, 80, 443]), port, 1..4)
        .prop_map(|ports| {
            ports
                .into_iter()
                .map(|(port, (udp, variant))| (port, udp, 30_000 + port + variant * 1_000))
                .collect::<Vec<_>>()
        });
    let choice = |key: &'static str, values: &[&'static str]| {
        let values: Vec<_> = values.iter().map(|value| (key, *value)).collect();
        prop::option::of(prop::sample::select(values))
    };
    let keys = (
        choice("scheme", &["internal", "internet-facing"]),
        choice("subnets", &["s-a", "s-a,s-b", "s-p,s-b", "s-q"]),
        choice("ssl-cert", &CERTIFICATES),
        choice(
            "attributes",
            &[
                "load_balancing.cross_zone.enabled=true",
                "zonal_shift.config.enabled=true,load_balancing.cross_zone.enabled=false",
            ],
        ),
        choice(
            "target-group-attributes",
            &[
                "deregistration_delay.timeout_seconds=60",
                "stickiness.enabled=true,stickiness.type=source_ip",
            ],
        ),
        choice("additional-resource-tags", &["Team=a", "Team=b,Unit=c d"]),
        choice("security-groups", &["sg-9", "web-sg"]),
        choice("inbound-sg-rules-on-private-link-traffic", &["on", "off"]),
        choice(
            "target-node-labels",
            &["pool=edge", "pool=core", "pool=edge,fast=1"],
        ),
    )
        .prop_map(|keys| {
            let (a, b, c, d, e, f, g, h, i) = keys;
            [a, b, c, d, e, f, g, h, i].into_iter().flatten().collect()
        });
    let ranges = prop::collection::vec(
        prop::sample::select(vec!["10.0.0.0/8", "192.168.0.0/16", "203.0.113.7/32"]),
        0..3,
    );
    (ports, any::<bool>(), keys, ranges).prop_map(|(ports, local, keys, ranges)| Wish {
        ports,
        local,
        keys,
        ranges,
    })
}

fn any_nodes() -> impl Strategy<Value = NodeSet> {
    let placement = prop_oneof![
        4 => Just(Placement::Add),
        1 => Just(Placement::KeepIfPresent(NodeReason::MarkedByAutoscaler)),
        1 => Just(Placement::Remove(NodeReason::BeingDeleted)),
    ];
    let labels = prop::sample::select(vec![
        "pool=edge",
        "pool=edge,fast=1",
        "pool=core",
        "other=1",
    ]);
    prop::collection::btree_map(1usize..6, (placement, labels), 0..5).prop_map(|nodes| {
        let labels: Vec<_> = nodes
            .iter()
            .map(|(number, (_, labels))| (*number, *labels))
            .collect();
        let placed = |(number, (placement, _))| Node {
            placement,
            ..node(number)
        };
        NodeSet::new(nodes.into_iter().map(placed).collect()).with_labels(labelled(&labels))
    })
}

/// What is asked, on which nodes, whether the owner approves, after how many steps something else comes, and whether the process
/// that follows begins with a bulk look.
type Turn = (Option<Wish>, NodeSet, bool, usize, bool);

fn any_turn() -> impl Strategy<Value = Turn> {
    (
        prop::option::weighted(0.9, any_wish()),
        any_nodes(),
        any::<bool>(),
        prop_oneof![0usize..12, Just(1_000)],
        any::<bool>(),
    )
}

/// A cloud, and what the plan is told of it.
struct Walk {
    stage: Stage,
    cloud: Observed,
    followed: Option<NodeSet>,
}

impl Walk {
    fn new() -> Self {
        let mut stage = Stage::of(&plain());
        stage.facts().given_groups = [
            ("web-sg".into(), vec!["sg-4".into()]),
            ("sg-9".into(), vec!["sg-9".into()]),
        ]
        .into_iter()
        .collect();
        Self {
            cloud: stage.seen.clone(),
            stage,
            followed: None,
        }
    }

    fn plan(&self) -> Plan<Step> {
        let stage = &self.stage;
        plan::plan(
            &stage.context,
            PlanInput {
                key: &stage.key,
                want: &stage.want,
                seen: &stage.seen,
                fresh: stage.fresh,
                nodes: &stage.nodes,
                followed: self.followed.as_ref(),
                endpoints: &stage.endpoints,
                failures: &Failures::default(),
                approval: stage.approval.as_deref(),
                now: stage.now,
            },
        )
    }

    /// A process starts: it knows nothing, or what a bulk look tells.
    fn start(&mut self, bulk: bool) {
        self.stage.seen = self.cloud.clone();
        self.stage.fresh = true;
        self.followed = None;
        if bulk {
            self.stage.look_in_bulk();
        }
    }

    fn do_step(&mut self, step: &Step) -> Result<(), TestCaseError> {
        lawful(step, &self.cloud)?;
        for seen in [&mut self.cloud, &mut self.stage.seen] {
            let effect = predict::predict(step);
            predict::absorb(seen, effect);
        }
        Ok(())
    }

    /// Goes on for at most so many steps. True when nothing was left to do.
    fn go(&mut self, approves: bool, mut steps: usize) -> Result<bool, TestCaseError> {
        for _ in 0..MANY {
            let plan = self.plan();
            for refusal in &plan.refusals {
                if approves && refusal.approval.is_some() {
                    self.stage.approval.clone_from(&refusal.approval);
                }
            }
            if plan.steps.is_empty() {
                let looks = plan.waits.iter().any(|wait| wait.until == Until::FreshRead);
                if looks && !self.stage.fresh {
                    self.start(false);
                    continue;
                }
                if approves
                    && plan
                        .refusals
                        .iter()
                        .any(|refusal| refusal.approval.is_some())
                {
                    continue;
                }
                return Ok(true);
            }
            for planned in plan.steps {
                if steps == 0 {
                    return Ok(false);
                }
                steps -= 1;
                let breaks = planned.change.action == Action::Destroy
                    || matches!(planned.step, Step::Revoke { .. });
                if breaks && self.stage.want != Want::Nothing {
                    prop_assert!(self.stage.fresh, "{:#?} without a fresh look", planned.step);
                    self.breaks_nothing(&planned.step)?;
                }
                if planned.change.gives_up.is_some() {
                    prop_assert!(self.stage.approval.is_some(), "{:#?}", planned.change);
                }
                self.do_step(&planned.step)?;
            }
        }
        Err(TestCaseError::fail(format!(
            "it does not end: {:#?}",
            self.plan()
        )))
    }

    /// Nothing that serves what is asked for goes.
    fn breaks_nothing(&self, step: &Step) -> Result<(), TestCaseError> {
        let Want::Exists(desired) = &self.stage.want else {
            return Ok(());
        };
        match step {
            Step::Delete(Object::LoadBalancer(name)) => {
                let (current, _) = self.cloud.current().expect("there is one");
                prop_assert_ne!(name, current);
            }
            Step::Delete(Object::Listener(_, port)) => {
                let wanted = desired.listeners.iter().any(|want| want.port == *port);
                prop_assert!(!wanted, "the listener on {} is asked for", port);
            }
            _ => {}
        }
        Ok(())
    }

    /// What is there is what was asked for.
    fn serves(&self, desired: &Desired) -> Result<(), TestCaseError> {
        let (name, lb) = self.cloud.current().expect("it was made");
        let ports: BTreeSet<u16> = self
            .cloud
            .listeners_of(name)
            .map(|(port, _)| port)
            .collect();
        let wanted: BTreeSet<u16> = desired.listeners.iter().map(|want| want.port).collect();
        prop_assert_eq!(ports, wanted);
        let nodes = &self.stage.nodes;
        let labels = nodes.labels().expect("of all nodes");
        for group in &desired.target_groups {
            let name = names::target_group(
                &cluster().uid,
                &self.stage.key,
                name,
                &group.id,
                group.target_type,
                group.family,
            );
            let found = &self.cloud.target_groups[&name];
            prop_assert_eq!(&found.health_check, &group.health_check);
            let targets = found.targets.as_ref().expect("the cloud knows");
            prop_assert!(targets.keys().all(|target| target.port == group.node_port));
            let ids: BTreeSet<&str> = targets.keys().map(|target| &*target.id).collect();
            let chosen = |node: &&Node| {
                let labels = labels.get(&node.name).expect("of all nodes");
                group.nodes.chooses(labels)
            };
            let usable: BTreeSet<_> = nodes
                .eligible()
                .filter(chosen)
                .filter_map(|node| node.provider_id.as_deref()?.rsplit('/').next())
                .collect();
            prop_assert!(usable.is_subset(&ids), "{:?} of {:?}", ids, usable);
            for (key, value) in &group.attributes {
                let is = found.attributes.as_ref().and_then(|known| known.get(key));
                let default = evenkeel_aws::desired::attributes::target_group_default(
                    key,
                    group.protocol,
                    group.target_type,
                );
                prop_assert_eq!(is.map(|is| &**is).or(default), Some(&**value), "{}", key);
            }
        }
        prop_assert!(!lb.security_groups.is_empty());
        Ok(())
    }
}

/// What AWS would say to a step.
fn lawful(step: &Step, cloud: &Observed) -> Result<(), TestCaseError> {
    let lb = |name| cloud.load_balancers.get(name);
    let group = |name| cloud.target_groups.get(name);
    let own = |name| cloud.security_groups.get(name);
    match step {
        Step::CreateSecurityGroup { name, .. } => prop_assert!(own(name).is_none()),
        Step::Authorize { group, rules } => {
            let found = own(group).expect("it is there");
            prop_assert!(!rules.is_empty() && found.rules.is_disjoint(rules));
            prop_assert!(found.rules.len() + rules.len() <= 60);
            prop_assert!(
                rules
                    .iter()
                    .all(|rule| matches!(rule.source, Source::Cidr(_)))
            );
        }
        Step::Revoke { group, rules } => {
            let found = own(group).expect("it is there");
            prop_assert!(!rules.is_empty() && rules.is_subset(&found.rules));
        }
        Step::CreateLoadBalancer(new) => {
            prop_assert!(lb(&new.name).is_none(), "the name is taken");
            prop_assert!(!new.subnets.is_empty() && !new.security_groups.is_empty());
        }
        Step::SetSubnets {
            load_balancer,
            subnets,
            ..
        } => {
            let found = lb(load_balancer).expect("it is there");
            prop_assert!(!subnets.is_empty());
            let zone = |id| &cloud.facts.subnets[id].zone;
            for new in subnets {
                let swapped = found.subnets.iter().any(|held| {
                    held.subnet != new.subnet && zone(&held.subnet) == zone(&new.subnet)
                });
                prop_assert!(!swapped, "a zone changes its subnet in one step");
            }
        }
        Step::SetSecurityGroups {
            load_balancer,
            groups,
            ..
        } => {
            let found = lb(load_balancer).expect("it is there");
            prop_assert!(!found.security_groups.is_empty() && !groups.is_empty());
        }
        Step::SetAddressType { load_balancer, .. } => prop_assert!(lb(load_balancer).is_some()),
        Step::CreateTargetGroup(new) => prop_assert!(group(&new.name).is_none()),
        Step::SetHealthCheck { target_group, .. } => prop_assert!(group(target_group).is_some()),
        Step::Register {
            target_group,
            targets,
        } => {
            prop_assert!(group(target_group).is_some() && !targets.is_empty());
        }
        Step::Deregister {
            target_group,
            targets,
        } => {
            let found = group(target_group).expect("it is there");
            let known = found.targets.as_ref().expect("the cloud knows");
            let left = known
                .iter()
                .filter(|(target, state)| state.is_registered() && !targets.contains(target));
            prop_assert!(left.count() > 0, "{} would be emptied", target_group);
        }
        Step::CreateListener(new) => {
            prop_assert!(lb(&new.load_balancer).is_some());
            prop_assert!(group(&new.target_group).is_some());
            let at = (new.load_balancer.clone(), new.port);
            prop_assert!(!cloud.listeners.contains_key(&at));
        }
        Step::SetListener(new) => {
            let at = (new.load_balancer.clone(), new.port);
            let found = cloud.listeners.get(&at).expect("it is there");
            let forwards_to = group(&new.target_group).expect("it is there");
            let before = found
                .target_group
                .as_deref()
                .and_then(|name| cloud.target_groups.get(name));
            let served = |group: &evenkeel_aws::model::SeenTargetGroup| {
                let targets = group.targets.as_ref().expect("the cloud knows");
                targets.values().any(|state| *state == TargetState::Healthy)
            };
            let lost = before.is_some_and(served) && !served(forwards_to);
            prop_assert!(
                !lost || cloud.target_groups.is_empty(),
                "it moves where nobody answers"
            );
        }
        Step::SetCertificates {
            load_balancer,
            port,
            add,
            remove,
        } => {
            let found = &cloud.listeners[&(load_balancer.clone(), *port)];
            let tls = found.tls.as_ref().expect("it speaks TLS");
            prop_assert!(!remove.contains(&tls.certificate), "the default one stays");
            prop_assert!(!add.is_empty() || !remove.is_empty());
        }
        Step::SetAttributes { attributes, .. } => prop_assert!(!attributes.is_empty()),
        Step::Tag { set, remove, .. } => prop_assert!(!set.is_empty() || !remove.is_empty()),
        Step::Delete(Object::LoadBalancer(name)) => prop_assert!(lb(name).is_some()),
        Step::Delete(Object::Listener(name, port)) => {
            prop_assert!(cloud.listeners.contains_key(&(name.clone(), *port)));
        }
        Step::Delete(Object::TargetGroup(name)) => {
            let used = cloud
                .listeners
                .values()
                .any(|listener| listener.target_group.as_ref() == Some(name));
            prop_assert!(group(name).is_some() && !used);
        }
        Step::Delete(Object::SecurityGroup(name)) => {
            let found = own(name).expect("it is there");
            let used = cloud
                .load_balancers
                .values()
                .any(|lb| lb.security_groups.contains(&found.id));
            prop_assert!(!used);
        }
        Step::CreateBackendGroup | Step::AdmitNodes(_) | Step::CloseNodes(_) => {}
        Step::OpenNodes { groups, rules, .. } => {
            prop_assert!(!groups.is_empty() && !rules.is_empty());
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 192,
        failure_persistence: Some(Box::new(proptest::test_runner::FileFailurePersistence::Direct(
            "proptest-regressions/walks.txt",
        ))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn whatever_is_asked_settles_serves_and_goes(turns in prop::collection::vec(any_turn(), 1..6)) {
        let mut walk = Walk::new();
        let mut done = false;
        for (wish, nodes, approves, steps, bulk) in turns {
            let before = std::mem::replace(&mut walk.stage.nodes, nodes);
            // The process went on, or another one begins.
            if bulk {
                walk.start(true);
            } else if walk.stage.fresh || !done {
                walk.start(false);
            } else {
                walk.followed = Some(before);
            }
            match &wish {
                Some(wish) => walk.stage.want = wish.want(),
                None => {
                    walk.start(false);
                    walk.stage.want = Want::Nothing;
                }
            }
            walk.stage.approval = None;
            done = walk.go(approves, steps)?;
        }
        // In the end everything is looked at, and whoever owns it approves.
        walk.start(false);
        if let Want::Exists(desired) = walk.stage.want.clone() {
            for _ in 0..3 {
                prop_assert!(walk.go(true, 1_000)?);
                walk.stage.later(120);
            }
            let plan = walk.plan();
            prop_assert_eq!(plan.steps, vec![]);
            prop_assert_eq!(plan.waits, vec![]);
            if plan.refusals.is_empty() {
                walk.serves(&desired)?;
            }
            walk.start(true);
            let plan = walk.plan();
            prop_assert_eq!(plan.steps, vec![]);
            prop_assert_eq!(plan.waits, vec![]);
        }
        walk.start(false);
        walk.stage.want = Want::Nothing;
        prop_assert!(walk.go(false, 1_000)?);
        prop_assert!(walk.cloud.is_empty(), "{:#?}", walk.cloud);
    }
}
