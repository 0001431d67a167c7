//! The laws that every provider obeys, held to this one's decisions on a cloud in memory: what `absorb` makes of each step.
//!
//! Reads and writes pass the tap as one call each, so every step is broken in every way.

mod asks;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use evenkeel_aws::{
    Context, desired, model,
    model::{
        CloudId, Desired, Effect, Facts, Object as Named, Observed, Pairs, Step, Told,
        facts::{Instance, Subnet},
    },
    plan, predict,
};
use evenkeel_core::{
    endpoints::EndpointSet,
    error::{CloudError, ErrorClass, ProviderFault},
    group::Group,
    ids::{Cluster, GroupKey, NodeName},
    intent::Intent,
    nodes::Node,
    plan::Plan,
    ports::Protocol,
    provider::{PlanInput, Provider, Snapshot, SnapshotPart, Verdict, Want},
    published::Published,
    ticket::Ticket,
};
use evenkeel_laws::{
    rig::{Frontend, Object, Picture, Rig, World},
    samples,
    tap::{Call, Fault, Tap},
};

evenkeel_laws::all_laws!(Memory, "proptest-regressions/laws_in_memory.txt");

/// What the cloud has, by cluster and group.
#[derive(Default)]
struct State {
    facts: Arc<Facts>,
    groups: BTreeMap<(Arc<str>, String), Observed>,
    made: u32,
}

#[derive(Default)]
struct Cloud(Mutex<State>);

impl Cloud {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn picture(&self) -> Picture {
        let mut picture = Picture::default();
        for ((cluster, _), group) in &self.state().groups {
            if *cluster == samples::cluster().uid {
                frontends(group, &mut picture);
            }
        }
        picture
    }

    /// Does a step as AWS would, which finds what is there already.
    fn step(&self, cluster: &Arc<str>, key: &GroupKey, step: &Step) -> Result<Effect, CloudError> {
        let mut state = self.state();
        state.made += 1;
        let number = state.made;
        if let Step::AdmitNodes(instances) = step {
            let facts = Arc::make_mut(&mut state.facts);
            for id in instances {
                let group = Instance::Group {
                    group: "sg-nodes".into(),
                    note: None,
                };
                facts.instances.insert(id.clone(), group);
            }
        }
        let identities = state.groups.iter().map(|((_, identity), group)| {
            let openings = group.openings();
            (Arc::from(identity.as_str()), openings)
        });
        let openings = identities.filter(|(_, openings)| !openings.is_empty());
        let openings = openings.collect();
        let facts = Arc::make_mut(&mut state.facts);
        facts.openings = openings;
        match step {
            Step::OpenNodes { groups, rules, .. } => {
                for group in groups {
                    let group = facts.node_groups.entry(group.clone()).or_default();
                    group.open(rules);
                }
            }
            Step::CloseNodes(rules) => {
                let group = facts.node_groups.values_mut();
                group.for_each(|group| group.close(rules));
            }
            _ => {}
        }
        let facts = state.facts.clone();
        let group = state
            .groups
            .entry((cluster.clone(), key.identity()))
            .or_default();
        group.facts = facts.clone();
        let (there, dns): (Option<CloudId>, _) = match step {
            Step::CreateSecurityGroup { name, .. } => (
                group.security_groups.get(name).map(|it| it.id.clone()),
                None,
            ),
            Step::CreateLoadBalancer(new) => {
                let dns = format!("{}-{number}.elb.example", new.name);
                let found = group.load_balancers.get(&new.name);
                let dns = found
                    .and_then(|lb| lb.dns_name.clone())
                    .unwrap_or(dns.into());
                (found.map(|it| it.arn.clone()), Some(dns))
            }
            Step::CreateTargetGroup(new) => (
                group.target_groups.get(&new.name).map(|it| it.arn.clone()),
                None,
            ),
            Step::CreateListener(new) => {
                let at = (new.load_balancer.clone(), new.port);
                (group.listeners.get(&at).map(|it| it.arn.clone()), None)
            }
            Step::Delete(Named::TargetGroup(name))
                if group
                    .listeners
                    .values()
                    .any(|listener| listener.target_group.as_ref() == Some(name)) =>
            {
                let error = CloudError::new(ErrorClass::Transient, "DeleteTargetGroup", "in use");
                return Err(error);
            }
            _ => (None, None),
        };
        let told = match step {
            Step::AdmitNodes(_) | Step::OpenNodes { .. } | Step::CloseNodes(_) => {
                Told::Facts(facts)
            }
            Step::CreateSecurityGroup { .. }
            | Step::CreateLoadBalancer(_)
            | Step::CreateTargetGroup(_)
            | Step::CreateListener(_) => Told::Created {
                id: there
                    .clone()
                    .unwrap_or_else(|| CloudId::new(format!("id-{number}"))),
                dns_name: dns,
            },
            _ => Told::Nothing,
        };
        let effect = Effect {
            step: step.clone(),
            told,
        };
        if there.is_none() {
            predict::absorb(group, effect.clone());
        }
        Ok(effect)
    }
}

fn frontends(group: &Observed, picture: &mut Picture) {
    for ((lb, port), listener) in &group.listeners {
        let (Some(marks), Some(to)) = (&listener.marks, &listener.target_group) else {
            continue;
        };
        let Some(lb) = group.load_balancers.get(lb) else {
            continue;
        };
        // Clients are told one name; the one that nobody is told of yet, or no longer, is none of their business.
        if group
            .current()
            .is_none_or(|(_, current)| current.arn != lb.arn)
        {
            continue;
        }
        let targets = group
            .target_groups
            .get(to)
            .and_then(|to| to.targets.as_ref());
        let nodes: BTreeSet<NodeName> = targets
            .into_iter()
            .flatten()
            .map(|(target, _)| NodeName::new(target.id.replacen("i-", "node-", 1)))
            .collect();
        let frontend = Frontend {
            member: marks.member(),
            port: evenkeel_core::ports::PortKey {
                port: *port,
                protocol: Protocol::Tcp,
            },
            address: lb.dns_name.as_deref().unwrap_or_default().to_owned(),
        };
        picture.frontends.insert(frontend, nodes);
    }
}

/// The provider with its cloud.
struct InMemory {
    context: Context,
    cloud: Arc<Cloud>,
    tap: Tap,
}

struct Broken(CloudError);

impl From<Fault> for Broken {
    fn from(fault: Fault) -> Self {
        let (class, text) = match fault {
            // A call in memory is never late; `Rig::faults` leaves that out.
            Fault::Unreachable | Fault::KilledBefore | Fault::Late => {
                (ErrorClass::Transient, "refused")
            }
            Fault::Throttled => (ErrorClass::Throttled { after: None }, "rate exceeded"),
            Fault::Rejected => (ErrorClass::Rejected, "not allowed"),
            Fault::Conflict | Fault::LostAnswer | Fault::KilledAfter => {
                (ErrorClass::Conflict, "nobody knows")
            }
            Fault::Expired => (ErrorClass::Denied, "the credentials have expired"),
        };
        let error = CloudError::new(class, "call", text);
        Self(if fault == Fault::Expired {
            error.of_provider(ProviderFault::CredentialsExpired)
        } else {
            error
        })
    }
}

impl InMemory {
    async fn read<T>(
        &self,
        operation: &str,
        target: &str,
        read: impl FnOnce() -> T,
    ) -> Result<T, CloudError> {
        let call = Call::read(operation, target);
        let read = async { Ok::<T, Broken>(read()) };
        let result = self.tap.call(call, read).await;
        result.map_err(|Broken(error)| match error.class {
            ErrorClass::Conflict => CloudError::new(ErrorClass::Transient, "read", "lost"),
            _ => error,
        })
    }
}

#[async_trait]
impl Provider for InMemory {
    type Desired = Desired;
    type Observed = Observed;
    type Step = Step;
    type Effect = Effect;

    fn name(&self) -> &'static str {
        evenkeel_aws::NAME
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
        let at = (self.context.cluster.uid.clone(), key.identity());
        self.read("Describe", &key.identity(), || {
            let state = self.cloud.state();
            let mut seen = state.groups.get(&at).cloned().unwrap_or_default();
            seen.facts = state.facts.clone();
            seen
        })
        .await
    }

    async fn snapshot(&self) -> Result<Snapshot<Observed>, CloudError> {
        self.read("DescribeAll", "*", || {
            let state = self.cloud.state();
            let ours = state.groups.iter().filter(|((cluster, _), group)| {
                *cluster == self.context.cluster.uid && !group.is_empty()
            });
            let part = |((_, identity), group): (&(Arc<str>, String), &Observed)| {
                let part = SnapshotPart {
                    observed: in_bulk(group, &state.facts),
                    service: identity.clone(),
                    objects: group.len(),
                };
                (identity.clone(), part)
            };
            Snapshot {
                groups: ours.map(part).collect(),
            }
        })
        .await
    }

    async fn apply(
        &self,
        key: &GroupKey,
        step: &Step,
        _: &Observed,
        _: &Ticket,
    ) -> Result<Effect, CloudError> {
        let call = Call::write(in_a_word(step), target(step));
        let effect = async {
            let effect = self.cloud.step(&self.context.cluster.uid, key, step);
            self.tap.saw(self.cloud.picture());
            effect.map_err(Broken)
        };
        let result = self.tap.call(call, effect).await;
        result.map_err(|Broken(error)| error)
    }
}

/// What a bulk look has: no listeners, no attributes. It has the targets, because the laws have no second tier that reads them.
fn in_bulk(group: &Observed, facts: &Arc<Facts>) -> Observed {
    let mut seen = Observed {
        facts: facts.clone(),
        ..group.clone()
    };
    seen.listeners.clear();
    for lb in seen.load_balancers.values_mut() {
        lb.listeners_known = false;
        lb.attributes = None;
    }
    for group in seen.target_groups.values_mut() {
        group.attributes = None;
    }
    seen
}

fn in_a_word(step: &Step) -> String {
    let text = format!("{step:?}");
    let end = text.find(|char: char| !char.is_alphanumeric());
    text[..end.unwrap_or(text.len())].to_owned()
}

/// What a step is about, without what it makes of it.
fn target(step: &Step) -> String {
    match step {
        Step::CreateLoadBalancer(new) => new.name.to_string(),
        Step::CreateTargetGroup(new) => new.name.to_string(),
        Step::CreateListener(new) | Step::SetListener(new) => {
            format!("{} {}", new.load_balancer, new.port)
        }
        Step::Register { target_group, .. }
        | Step::Deregister { target_group, .. }
        | Step::SetHealthCheck { target_group, .. } => target_group.to_string(),
        Step::CreateSecurityGroup { name, .. } => name.to_string(),
        Step::Authorize { group, .. } | Step::Revoke { group, .. } => group.to_string(),
        Step::Delete(object) | Step::Tag { object, .. } | Step::SetAttributes { object, .. } => {
            format!("{object:?}")
        }
        other => format!("{other:?}"),
    }
}

struct Memory;

struct MemoryWorld {
    cloud: Arc<Cloud>,
    tap: Tap,
}

fn facts() -> Facts {
    let subnet = |(id, zone, role): (&str, &str, &str)| {
        let tags: Pairs = [(Arc::from(format!("kubernetes.io/role/{role}")), "1".into())]
            .into_iter()
            .collect();
        let subnet = Subnet {
            id: id.into(),
            vpc: "vpc-1".into(),
            zone: zone.into(),
            locale: "availability-zone".into(),
            free_addresses: 100,
            tags,
            ..Subnet::default()
        };
        (Arc::from(id), subnet)
    };
    let subnets = [
        ("subnet-a", "az1", "internal-elb"),
        ("subnet-p", "az1", "elb"),
    ];
    Facts {
        vpc: "vpc-1".into(),
        subnets: subnets.into_iter().map(subnet).collect(),
        // All groups share what is known of nodes: who is first has them admitted, which no rehearsal of another foretells.
        instances: (1..=200).map(admitted).collect(),
        backend_group: Some("sg-back".into()),
        admitted: ["sg-nodes".into()].into(),
        ..Facts::default()
    }
}

fn admitted(number: u8) -> (Arc<str>, Instance) {
    let group = Instance::Group {
        group: "sg-nodes".into(),
        note: None,
    };
    (format!("i-{number}").into(), group)
}

#[async_trait]
impl Rig for Memory {
    type Provider = InMemory;
    type World = MemoryWorld;

    async fn world(&self) -> MemoryWorld {
        let cloud = Cloud::default();
        cloud.state().facts = Arc::new(facts());
        MemoryWorld {
            cloud: Arc::new(cloud),
            tap: Tap::default(),
        }
    }

    fn normalise(&self, seen: Observed) -> Observed {
        asks::normal(seen)
    }

    fn node(&self, number: u8) -> Node {
        Node {
            provider_id: Some(format!("aws:///az1/i-{number}").into()),
            zone: Some("az1".into()),
            ..samples::node(number)
        }
    }

    fn service(&self, name: &str) -> Intent {
        asks::service(name)
    }

    fn change(&self, intent: &mut Intent) {
        asks::change(intent);
    }

    fn break_annotation(&self, intent: &mut Intent) {
        asks::annotate(intent, "healthcheck-interval", "soon");
    }

    fn replace(&self, intent: &mut Intent) -> bool {
        asks::annotate(intent, "scheme", "internal");
        true
    }

    fn add_unservable_port(&self, intent: &mut Intent) -> bool {
        asks::add_sctp(intent, self.another_port());
        true
    }
}

#[async_trait]
impl World for MemoryWorld {
    type Provider = InMemory;

    async fn provider(&self) -> InMemory {
        let mut context = Context::new(samples::cluster());
        context.linger = Duration::ZERO;
        InMemory {
            context,
            cloud: Arc::clone(&self.cloud),
            tap: self.tap.clone(),
        }
    }

    fn tap(&self) -> &Tap {
        &self.tap
    }

    async fn objects(&self) -> Vec<Object> {
        let state = self.cloud.state();
        let mut objects = Vec::new();
        for group in state.groups.values() {
            let own = asks::normal(group.clone());
            let mut object = |kind: &str, name: String, marks: &model::Marks, body: String| {
                objects.push(Object {
                    kind: kind.to_owned(),
                    group: Some(marks.group.to_string()),
                    member: Some(marks.member.to_string())
                        .filter(|member| **member != *marks.group || !member.contains('/')),
                    body,
                    cluster: Some(marks.cluster.to_string()),
                    name,
                });
            };
            for (name, it) in &own.load_balancers {
                object(
                    "load balancer",
                    name.to_string(),
                    &it.marks,
                    format!("{it:?}"),
                );
            }
            for (name, it) in &own.security_groups {
                object(
                    "security group",
                    name.to_string(),
                    &it.marks,
                    format!("{it:?}"),
                );
            }
            for (name, it) in &own.target_groups {
                object(
                    "target group",
                    name.to_string(),
                    &it.marks,
                    format!("{it:?}"),
                );
            }
            for ((lb, port), it) in &own.listeners {
                if let Some(marks) = &it.marks {
                    object("listener", format!("{lb} {port}"), marks, format!("{it:?}"));
                }
            }
        }
        objects
    }

    async fn picture(&self) -> Picture {
        self.cloud.picture()
    }

    async fn advance(&self) {
        for group in self.cloud.state().groups.values_mut() {
            asks::ready(group);
        }
        self.tap.saw(self.cloud.picture());
    }

    async fn plant_neighbours(&self) {
        // A cluster restored from a copy of ours has the same Services, to the UID.
        let twin = Cluster::new("2d9f6c1e-0000-4000-8000-00000000c002", "harbour");
        let group = Group::single(twin.clone(), samples::service("checkout"));
        let context = Context::new(twin.clone());
        let Verdict::Accepted { desired, .. } = desired::desired(&context, &group) else {
            return;
        };
        let mut seen = Observed {
            facts: self.cloud.state().facts.clone(),
            ..Observed::default()
        };
        let nodes = evenkeel_core::nodes::NodeSet::new(vec![Memory.node(1)]);
        let want = Want::Exists(desired);
        for _ in 0..4 {
            let plan = plan::plan(
                &context,
                PlanInput {
                    key: &group.key,
                    want: &want,
                    seen: &seen,
                    fresh: true,
                    nodes: &nodes,
                    followed: None,
                    endpoints: &EndpointSet::unknown(),
                    failures: &evenkeel_core::failure::Failures::default(),
                    approval: None,
                    now: evenkeel_core::Timestamp::UNIX_EPOCH,
                },
            );
            for planned in plan.steps {
                let effect = predict::predict(&planned.step);
                predict::absorb(&mut seen, effect);
            }
        }
        let at = (twin.uid, group.key.identity());
        self.cloud.state().groups.insert(at, seen);
    }
}
