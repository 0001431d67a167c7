//! What a plan shows is what a run does, and a plan writes nothing: whatever Services say, and whatever the network is like.
//!
//! The cloud is in memory, gives ids of its own and takes its time, neither of which a rehearsal knows.

mod generated;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use evenkeel_aws::{
    Context, NAME, desired,
    model::{
        CloudId, Desired, Effect, Facts, Observed, Phase, Step, TargetState, Told,
        facts::{Instance, Subnet},
    },
    plan, predict,
};
use evenkeel_core::{
    Timestamp,
    converge::NoJournal,
    endpoints::EndpointSet,
    engine::{AnyProvider, Ask, Engine, Request},
    error::CloudError,
    group::Group,
    ids::{GroupKey, NodeName},
    nodes::{Node, NodeReason, NodeSet, Placement},
    plan::{Change, Plan},
    provider::{PlanInput, Provider, Snapshot, Verdict, Want},
    published::Published,
    ticket::Ticket,
};
use futures::FutureExt as _;
use proptest::prelude::*;
use serde_json::Value;

use generated::{any_annotations, any_profile, any_spec, cluster, read};

/// More runs than anything needs to be done.
const RUNS: usize = 12;

#[derive(Default)]
struct State {
    facts: Arc<Facts>,
    groups: BTreeMap<String, Observed>,
    writes: usize,
}

/// The provider with its cloud.
struct Live {
    context: Context,
    state: Mutex<State>,
}

impl Live {
    fn new(facts: Facts) -> Self {
        Self {
            context: Context {
                linger: Duration::ZERO,
                ..Context::new(cluster())
            },
            state: Mutex::new(State {
                facts: Arc::new(facts),
                ..State::default()
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What takes time has come to its end.
    fn advance(&self) {
        for group in self.state().groups.values_mut() {
            for lb in group.load_balancers.values_mut() {
                lb.phase = Phase::Active;
            }
            for group in group.target_groups.values_mut() {
                for state in group.targets.iter_mut().flatten() {
                    *state.1 = TargetState::Healthy;
                }
            }
        }
    }
}

/// What a rehearsal calls an object, and what the cloud does.
const FORETOLD: &str = "known after apply: ";
const REAL: &str = "real: ";

fn real(id: &CloudId) -> CloudId {
    CloudId::new(id.as_str().replace(FORETOLD, REAL))
}

/// Whether a step changes what all groups share.
fn is_shared(step: &Step) -> bool {
    matches!(
        step,
        Step::CreateBackendGroup
            | Step::AdmitNodes(_)
            | Step::OpenNodes { .. }
            | Step::CloseNodes(_)
    )
}

/// What the cloud tells where a rehearsal foretells this.
fn told(told: Told, step: &Step, known: &Facts) -> Told {
    match told {
        Told::Created { id, .. } => {
            let is_lb = matches!(step, Step::CreateLoadBalancer(_));
            Told::Created {
                id: real(&id),
                dns_name: is_lb.then(|| "lb.elb.example".into()),
            }
        }
        Told::Ready if is_shared(step) => {
            let mut facts = known.clone();
            predict::foretell(step, &mut facts);
            facts.backend_group = facts.backend_group.as_ref().map(real);
            facts.admitted = facts.admitted.iter().map(real).collect();
            let groups = std::mem::take(&mut facts.node_groups).into_iter();
            facts.node_groups = groups.map(|(id, group)| (real(&id), group)).collect();
            for instance in facts.instances.values_mut() {
                if let Instance::Group { group, .. } = instance {
                    *group = real(group);
                }
            }
            Told::Facts(Arc::new(facts))
        }
        // Targets are judged after a while.
        _ => Told::Nothing,
    }
}

#[async_trait]
impl Provider for Live {
    type Desired = Desired;
    type Observed = Observed;
    type Step = Step;
    type Effect = Effect;

    fn name(&self) -> &'static str {
        NAME
    }

    fn desired(&self, group: &Group) -> Verdict<Desired> {
        desired::desired(&self.context, group)
    }

    fn plan(&self, input: PlanInput<'_, Self>) -> Plan<Step> {
        plan::plan(&self.context, input.passed_on())
    }

    fn predict(&self, step: &Step, _: &Observed) -> Effect {
        predict::predict(step)
    }

    fn absorb(&self, seen: &mut Observed, effect: Effect) {
        predict::absorb(seen, effect);
    }

    fn published(&self, key: &GroupKey, seen: &Observed) -> Published {
        seen.published(key)
    }

    fn retained(&self, seen: &Observed) -> bool {
        seen.retained()
    }

    async fn observe(&self, key: &GroupKey, _: &Want<Desired>) -> Result<Observed, CloudError> {
        let state = self.state();
        let mut seen = state
            .groups
            .get(&key.identity())
            .cloned()
            .unwrap_or_default();
        seen.facts = Arc::clone(&state.facts);
        Ok(seen)
    }

    async fn snapshot(&self) -> Result<Snapshot<Observed>, CloudError> {
        Ok(Snapshot::default())
    }

    async fn apply(
        &self,
        key: &GroupKey,
        step: &Step,
        _: &Observed,
        _: &Ticket,
    ) -> Result<Effect, CloudError> {
        let mut state = self.state();
        state.writes += 1;
        let facts = Arc::clone(&state.facts);
        let group = state.groups.entry(key.identity()).or_default();
        group.facts = facts;
        let foretold = predict::predict(step);
        let effect = Effect {
            told: told(foretold.told, step, &group.facts),
            step: step.clone(),
        };
        predict::absorb(group, effect.clone());
        state.facts = Arc::clone(&group.facts);
        Ok(effect)
    }
}

/// A network, with subnets of all kinds.
fn any_network() -> impl Strategy<Value = Facts> {
    let subnet = (
        prop::sample::select(vec!["az1", "az2", "az3"]),
        any::<bool>(),
        prop::option::of(prop::sample::select(vec!["elb", "internal-elb"])),
        prop::sample::select(vec![3u32, 100]),
    );
    prop::collection::vec(subnet, 0..6).prop_map(|subnets| {
        let subnets = subnets.into_iter().enumerate();
        let subnet = |(number, (zone, public, role, free)): (usize, (&str, bool, _, u32))| {
            let role: Option<&str> = role;
            let tags = role.map(|role| (format!("kubernetes.io/role/{role}").into(), "1".into()));
            let subnet = Subnet {
                id: format!("subnet-{number}").into(),
                vpc: "vpc-1".into(),
                zone: zone.into(),
                locale: "availability-zone".into(),
                prefix: format!("10.0.{number}.0/24").parse().ok(),
                free_addresses: free,
                public: Some(public),
                tags: tags.into_iter().collect(),
                ..Subnet::default()
            };
            (Arc::clone(&subnet.id), subnet)
        };
        Facts {
            vpc: "vpc-1".into(),
            vpc_prefixes: vec!["10.0.0.0/16".parse().expect("a prefix")],
            subnets: subnets.map(subnet).collect(),
            ..Facts::default()
        }
    })
}

fn any_nodes() -> impl Strategy<Value = NodeSet> {
    let placement = prop_oneof![
        4 => Just(Placement::Add),
        1 => Just(Placement::KeepIfPresent(NodeReason::MarkedByAutoscaler)),
        1 => Just(Placement::Remove(NodeReason::ExcludedByLabel)),
    ];
    let node = (prop::sample::select(vec!["az1", "az2"]), placement);
    prop::collection::vec(node, 0..4).prop_map(|nodes| {
        let nodes = nodes.into_iter().enumerate();
        let node = |(number, (zone, placement)): (usize, (&str, Placement))| Node {
            name: NodeName::new(format!("node-{number}")),
            provider_id: Some(format!("aws:///{zone}/i-{number}").into()),
            addresses: Vec::new(),
            zone: Some(zone.into()),
            placement,
        };
        NodeSet::new(nodes.map(node).collect())
    })
}

/// Changes as both sides tell them, in any order: steps of one wave are independent. How many targets there are when some leave is not
/// told: a run waits until those that came are healthy, and meanwhile others may have come too.
fn texts(changes: &[Change]) -> Vec<String> {
    let text = |change: &Change| {
        let mut change = change.clone();
        for reason in &mut change.reasons {
            if reason.field == "targets" {
                reason.from.clear();
            }
        }
        change.to_string().replace(FORETOLD, REAL)
    };
    let mut all: Vec<_> = changes.iter().map(text).collect();
    all.sort();
    all
}

/// Plans, runs until all is done, and compares.
fn compare(engine: &Engine<Live>, request: &Request) -> Result<(), TestCaseError> {
    let live = engine.provider();
    live.advance();
    let before = live.state().writes;
    let rehearsal = engine
        .rehearse(request)
        .now_or_never()
        .expect("it answers at once")
        .expect("it answers");
    prop_assert_eq!(live.state().writes, before, "a plan writes nothing");
    let mut applied = Vec::new();
    for _ in 0..RUNS {
        let look = Request {
            look: true,
            ..request.clone()
        };
        let report = engine
            .run(look, &NoJournal)
            .now_or_never()
            .expect("it answers at once");
        prop_assert!(report.failures.is_empty(), "{report:#?}");
        let done = report.applied.is_empty();
        applied.extend(report.applied);
        live.advance();
        if done {
            break;
        }
    }
    let planned = rehearsal.waves.concat();
    prop_assert_eq!(texts(&planned), texts(&applied));
    prop_assert_eq!(
        live.state().writes - before,
        planned.len(),
        "each step is one write"
    );
    Ok(())
}

proptest! {
    #[test]
    fn the_steps_of_a_plan_are_the_steps_of_a_run(
        facts in any_network(), nodes in (any_nodes(), any_nodes()),
        services in ((any_annotations(), any_spec()), (any_annotations(), any_spec())), profile in any_profile(),
    ) {
        let engine = Engine::new(Live::new(facts));
        let intent = |(annotations, spec): &(BTreeMap<String, String>, Value)| read("checkout", annotations, spec, profile);
        let intents = [intent(&services.0), intent(&services.1)];
        let Some(first) = intents.iter().flatten().next() else {
            return Ok(());
        };
        let key = GroupKey::Service(first.service.clone());
        let request = |ask: Ask, nodes: &NodeSet| Request {
            key: key.clone(),
            ask,
            nodes: Arc::new(nodes.clone()),
            endpoints: Arc::new(EndpointSet::unknown()),
            approval: None,
            paused: false,
            look: false,
            ticket: Ticket::unlimited(),
            now: Timestamp::UNIX_EPOCH,
        };
        // It is made, becomes another one, and goes.
        for (intent, nodes) in intents.iter().zip([&nodes.0, &nodes.1]) {
            if let Some(intent) = intent {
                let group = Group::single(cluster(), intent.clone());
                compare(&engine, &request(Ask::Serve(group), nodes))?;
            }
        }
        compare(&engine, &request(Ask::Release, &nodes.1))?;
    }
}
