//! A provider for tests, over a cloud that is a map: each annotation of a Service is an object, and `targets` are the
//! nodes. Tests say what fails, what reads show, and how the plan misbehaves.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use futures::FutureExt as _;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;

use crate::{
    claim::ClassRule,
    converge::NoJournal,
    endpoints::{EndpointSet, Judged, Lack},
    engine::{AnyProvider as _, Ask, Engine, Report, Request},
    error::{CloudError, ErrorClass},
    group::Group,
    ids::{Cluster, GroupKey, NodeName, ProviderName, ResourceId},
    intent,
    nodes::{Node, NodeSet, Placement},
    plan::{Action, Change, Plan, Until},
    problem::{Problem, Problems},
    provider::{PlanInput, Provider, Snapshot, SnapshotPart, Verdict, Wake, Want},
    published::{Ingress, Published},
    ticket::Ticket,
};

/// Objects by name.
pub(crate) type Objects = BTreeMap<String, String>;

/// The object that says that all stays when the Service goes.
pub(crate) const RETAIN: &str = "retain";
/// The object that follows the nodes.
pub(crate) const TARGETS: &str = "targets";
/// An annotation that cannot be read.
pub(crate) const BROKEN: &str = "broken";

/// The cloud.
#[derive(Debug, Default)]
pub(crate) struct Cloud {
    /// What is there.
    pub(crate) objects: Objects,
    /// What reads show, where that is not what is there.
    pub(crate) shown: Option<Objects>,
    /// What writes to these objects end with.
    pub(crate) refuses: BTreeMap<String, ErrorClass>,
    /// What reads end with.
    pub(crate) unreadable: Option<ErrorClass>,
    /// Reads made.
    pub(crate) reads: usize,
    /// Names of the objects written, in order.
    pub(crate) writes: Vec<String>,
    /// Plans made.
    pub(crate) plans: usize,
    /// How often pods were judged.
    pub(crate) judged: usize,
    /// Whether their targets are healthy.
    pub(crate) healthy: bool,
    /// The nodes that the last plan was told were followed before.
    pub(crate) followed: Option<String>,
}

/// How the plan misbehaves.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Manners {
    /// It takes the steps that failed out by itself.
    pub(crate) holds_back: bool,
    /// Effects do not change what is seen.
    pub(crate) forgets_effects: bool,
    /// It does one thing, and lets others go first.
    pub(crate) lets_others: bool,
    /// It waits to be told while anything is left.
    pub(crate) waits: bool,
    /// A write has its effect and never ends.
    pub(crate) hangs: bool,
    /// Each write wakes the group before it ends.
    pub(crate) wakes: bool,
}

/// The provider.
#[derive(Clone, Default)]
pub(crate) struct Scripted {
    cloud: Arc<Mutex<Cloud>>,
    wake: Arc<Mutex<Option<Wake>>>,
    pub(crate) manners: Manners,
}

impl Scripted {
    pub(crate) fn new(manners: Manners) -> Self {
        Self {
            manners,
            ..Self::default()
        }
    }

    pub(crate) fn cloud(&self) -> MutexGuard<'_, Cloud> {
        self.cloud.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the group, as work behind its back does.
    pub(crate) fn wake(&self) {
        let wake = self.wake.lock().unwrap_or_else(PoisonError::into_inner);
        wake.as_ref().expect("it is attached")(&key());
    }
}

/// One write.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) enum Step {
    Put(String, String),
    Delete(String),
}

impl Step {
    fn name(&self) -> &str {
        match self {
            Self::Put(name, _) | Self::Delete(name) => name,
        }
    }
}

fn apply_to(objects: &mut Objects, step: &Step) {
    match step {
        Step::Put(name, value) => drop(objects.insert(name.clone(), value.clone())),
        Step::Delete(name) => drop(objects.remove(name)),
    }
}

fn plan_step(plan: &mut Plan<Step>, step: Step) {
    let action = match step {
        Step::Put(..) => Action::Create,
        Step::Delete(_) => Action::Destroy,
    };
    let change = Change::new(action, "object", ResourceId::from(step.name()), "");
    plan.step(step, change);
}

fn targets(nodes: &NodeSet) -> String {
    let names: Vec<&str> = nodes.eligible().map(|node| node.name.as_str()).collect();
    names.join(" ")
}

#[async_trait]
impl Provider for Scripted {
    type Desired = Objects;
    type Observed = Objects;
    type Step = Step;
    type Effect = Step;

    fn name(&self) -> &'static str {
        "scripted"
    }

    fn desired(&self, group: &Group) -> Verdict<Objects> {
        let annotations = &group.first().annotations;
        if annotations.contains_key(BROKEN) {
            let problem = Problem::new("metadata.annotations", "", "cannot be read", "Mend it.");
            return Verdict::Rejected(Problems::from(problem));
        }
        let own = annotations.iter().filter(|(key, _)| !key.contains('/'));
        Verdict::Accepted {
            desired: own
                .map(|(key, value)| (key.to_string(), value.to_string()))
                .collect(),
            warnings: vec![],
            port_errors: vec![],
        }
    }

    fn plan(&self, input: PlanInput<'_, Self>) -> Plan<Step> {
        self.cloud().followed = input.followed.map(targets);
        self.cloud().plans += 1;
        let mut plan = Plan::empty();
        let seen = input.seen;
        let follow = (TARGETS.to_owned(), targets(input.nodes));
        let wanted: Objects = match input.want {
            Want::Exists(desired) => desired.clone().into_iter().chain([follow]).collect(),
            Want::Frozen | Want::FrozenWithout(_) if seen.contains_key(TARGETS) => [follow].into(),
            Want::Frozen | Want::FrozenWithout(_) | Want::Nothing | Want::Released => {
                Objects::new()
            }
        };
        for (name, value) in &wanted {
            if seen.get(name) != Some(value) {
                plan_step(&mut plan, Step::Put(name.clone(), value.clone()));
            }
        }
        if self.manners.holds_back {
            input.failures.hold_back(&mut plan);
        }
        if self.manners.lets_others && plan.steps.len() > 1 {
            plan.steps.truncate(1);
            plan.wait("object".into(), "others", Until::Turn);
        }
        if matches!(input.want, Want::Exists(_) | Want::Nothing) && plan.steps.is_empty() {
            let surplus: Vec<_> = seen
                .keys()
                .filter(|name| !wanted.contains_key(*name))
                .collect();
            if !surplus.is_empty() && self.manners.waits {
                plan.wait("object".into(), "somebody", Until::Told);
            } else if input.fresh || *input.want == Want::Nothing {
                for name in surplus {
                    plan_step(&mut plan, Step::Delete(name.clone()));
                }
            } else if !surplus.is_empty() {
                plan.wait("object".into(), "a fresh read", Until::FreshRead);
            }
        }
        plan
    }

    fn predict(&self, step: &Step, _: &Objects) -> Step {
        step.clone()
    }

    fn absorb(&self, seen: &mut Objects, effect: Step) {
        if !self.manners.forgets_effects {
            apply_to(seen, &effect);
        }
    }

    fn published(&self, _: &GroupKey, seen: &Objects) -> Published {
        Published {
            ingress: seen.keys().map(|name| Ingress::hostname(name)).collect(),
            ..Published::default()
        }
    }

    fn retained(&self, seen: &Objects) -> bool {
        seen.contains_key(RETAIN)
    }

    async fn observe(&self, _: &GroupKey, _: &Want<Objects>) -> Result<Objects, CloudError> {
        let mut cloud = self.cloud();
        cloud.reads += 1;
        match cloud.unreadable {
            Some(class) => Err(CloudError::new(class, "read", "cannot be read")),
            None => Ok(cloud.shown.clone().unwrap_or_else(|| cloud.objects.clone())),
        }
    }

    async fn judge(
        &self,
        _: &GroupKey,
        endpoints: &EndpointSet,
        _: Timestamp,
    ) -> Result<Vec<Judged>, CloudError> {
        let mut cloud = self.cloud();
        cloud.judged += 1;
        if let Some(class) = cloud.unreadable {
            return Err(CloudError::new(class, "judge", "unreadable"));
        }
        let lack = || Lack {
            reason: "Initial".into(),
            message: "it is being checked".into(),
        };
        let mut all = Vec::new();
        for (service, ports) in endpoints.services() {
            for endpoint in ports.values().flatten() {
                let waits = endpoint.waits.as_ref();
                all.extend(waits.map(|waiting| Judged {
                    service: service.clone(),
                    pod: endpoint.pod.clone().unwrap_or_default(),
                    uid: Arc::clone(&waiting.uid),
                    since: waiting.since,
                    lacks: (!cloud.healthy).then(lack),
                }));
            }
        }
        Ok(all)
    }

    async fn snapshot(&self) -> Result<Snapshot<Objects>, CloudError> {
        let observed = self.cloud().objects.clone();
        let part = SnapshotPart {
            service: "shop/checkout".into(),
            objects: observed.len(),
            observed,
        };
        Ok(Snapshot {
            groups: [(key().identity(), part)].into(),
        })
    }

    async fn apply(
        &self,
        _: &GroupKey,
        step: &Step,
        _: &Objects,
        _: &Ticket,
    ) -> Result<Step, CloudError> {
        {
            let mut cloud = self.cloud();
            cloud.writes.push(step.name().to_owned());
            if let Some(class) = cloud.refuses.get(step.name()) {
                return Err(CloudError::new(*class, "write", "is refused"));
            }
            apply_to(&mut cloud.objects, step);
        }
        if self.manners.hangs {
            std::future::pending::<()>().await;
        }
        if self.manners.wakes {
            self.wake();
        }
        Ok(step.clone())
    }

    fn attach(&self, wake: Wake) {
        *self.wake.lock().unwrap_or_else(PoisonError::into_inner) = Some(wake);
    }
}

/// The Service `shop/checkout` with these annotations.
pub(crate) fn serve(annotations: &[(&str, &str)]) -> Ask {
    let annotations: BTreeMap<_, _> = annotations.iter().copied().collect();
    let service = json!({
        "metadata": {"namespace": "shop", "name": "checkout", "uid": "uid", "annotations": annotations},
        "spec": {"type": "LoadBalancer", "ports": [{"port": 80, "protocol": "TCP", "nodePort": 30080}]},
    });
    let service = serde_json::from_value(service).expect("a Service");
    let reading = intent::read(
        &service,
        &ClassRule::neutral(ProviderName::from("scripted")),
    );
    let intent = reading.expect("it is valid").intent;
    Ask::Serve(Group::single(Cluster::new("cluster-uid", "test"), intent))
}

/// The key of [`serve`]'s group.
pub(crate) fn key() -> GroupKey {
    match serve(&[]) {
        Ask::Serve(group) => group.key,
        Ask::Keep(_) | Ask::KeepWithout(..) | Ask::Release => unreachable!("it is served"),
    }
}

/// These nodes, all of them targets.
pub(crate) fn nodes(names: &[&str]) -> Arc<NodeSet> {
    let node = |name: &&str| Node {
        name: NodeName::from(*name),
        provider_id: None,
        addresses: vec![],
        zone: None,
        placement: Placement::Add,
    };
    Arc::new(NodeSet::new(names.iter().map(node).collect()))
}

/// So many minutes after the beginning.
pub(crate) fn minute(minute: i64) -> Timestamp {
    Timestamp::from_second(minute * 60).expect("a time")
}

/// A request at the beginning, with one node.
pub(crate) fn request(ask: Ask) -> Request {
    Request {
        key: key(),
        ask,
        nodes: nodes(&["a"]),
        endpoints: Arc::new(EndpointSet::unknown()),
        approval: None,
        paused: false,
        look: false,
        ticket: Ticket::unlimited(),
        now: minute(0),
    }
}

/// Runs a request to its end.
pub(crate) fn run(engine: &Engine<Scripted>, request: Request) -> Report {
    let ran = engine.run(request, &NoJournal).now_or_never();
    ran.expect("the scripted cloud answers at once")
}
