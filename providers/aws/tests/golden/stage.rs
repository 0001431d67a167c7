//! A group on a cloud in memory, which is what `predict` and `absorb` make of its steps.

use std::{collections::BTreeMap, sync::Arc};

use evenkeel_aws::{
    Context,
    model::Used,
    model::{
        Desired, Facts, Observed, Pairs, SeenListener, SeenLoadBalancer, SeenTargetGroup, Step,
        Target, TargetState,
        facts::{Instance, Subnet},
    },
    names::tag,
    plan, predict,
};
use evenkeel_core::{
    Timestamp,
    digest::Digest,
    endpoints::EndpointSet,
    error::{CloudError, ErrorClass},
    failure::{Failure, Failures},
    ids::{GroupKey, NodeName},
    nodes::{Labels, Node, NodeLabels, NodeReason, NodeSet, Placement},
    plan::{Change, Plan, Planned},
    provider::{PlanInput, Want},
};

use super::rig::{Asking, context};

/// More waves than any plan needs.
const MANY: usize = 16;

/// One group on its cloud.
#[derive(Clone)]
pub(crate) struct Stage {
    pub(crate) context: Context,
    pub(crate) key: GroupKey,
    pub(crate) want: Want<Desired>,
    pub(crate) seen: Observed,
    pub(crate) nodes: NodeSet,
    pub(crate) endpoints: EndpointSet,
    pub(crate) followed: Option<NodeSet>,
    pub(crate) used: Option<Used>,
    pub(crate) fresh: bool,
    pub(crate) approval: Option<String>,
    pub(crate) failures: Failures,
    pub(crate) now: Timestamp,
}

impl Stage {
    /// A Service in a cluster that has made load balancers before: its backend group is there, and its nodes admit it.
    pub(crate) fn of(asking: &Asking) -> Self {
        let mut stage = Self::cold(asking);
        let facts = stage.facts();
        facts.backend_group = Some("sg-back".into());
        facts.admitted.insert("sg-nodes".into());
        facts
            .node_groups
            .insert("sg-nodes".into(), Default::default());
        for number in 1..=1_000 {
            let group = Instance::Group {
                group: "sg-nodes".into(),
                note: None,
            };
            facts.instances.insert(instance(number), group);
        }
        stage
    }

    /// A Service in a cluster that has made none.
    pub(crate) fn cold(asking: &Asking) -> Self {
        let mut stage = Self {
            context: context(),
            key: asking.group().key,
            want: Want::Nothing,
            seen: Observed::default(),
            nodes: nodes(3),
            endpoints: EndpointSet::unknown(),
            followed: None,
            used: None,
            fresh: true,
            approval: None,
            failures: Failures::default(),
            now: "2026-01-01T00:00:00Z".parse().expect("a time"),
        };
        *stage.facts() = facts();
        stage.ask(asking);
        stage
    }

    /// One that has what it asks for.
    pub(crate) fn made(asking: &Asking) -> Self {
        let mut stage = Self::of(asking);
        stage.settle();
        assert_eq!(stage.plan().refusals, []);
        stage
    }

    /// Asks for this now.
    pub(crate) fn ask(&mut self, asking: &Asking) {
        self.want = Want::Exists(asking.gets().desired);
    }

    pub(crate) fn facts(&mut self) -> &mut Facts {
        Arc::make_mut(&mut self.seen.facts)
    }

    pub(crate) fn desired(&mut self) -> &mut Desired {
        match &mut self.want {
            Want::Exists(desired) => desired,
            other => panic!("nothing is asked for: {other:?}"),
        }
    }

    /// The group's only load balancer.
    #[track_caller]
    pub(crate) fn load_balancer(&mut self) -> &mut SeenLoadBalancer {
        assert_eq!(self.seen.load_balancers.len(), 1);
        let mut all = self.seen.load_balancers.values_mut();
        all.next().expect("there is one")
    }

    /// The group's only target group of this listener port.
    #[track_caller]
    pub(crate) fn target_group(&mut self, port: u16) -> &mut SeenTargetGroup {
        let mut of_port: Vec<_> = self
            .seen
            .target_groups
            .values_mut()
            .filter(|group| group.listener_port() == Some(port))
            .collect();
        assert_eq!(of_port.len(), 1, "target groups of {port}");
        of_port.remove(0)
    }

    #[track_caller]
    pub(crate) fn targets(&mut self, port: u16) -> &mut BTreeMap<Target, TargetState> {
        self.target_group(port).targets.as_mut().expect("read")
    }

    #[track_caller]
    pub(crate) fn listener(&self, port: u16) -> &SeenListener {
        let mut of_port = self.seen.listeners.iter();
        let found = of_port.find(|((_, number), _)| *number == port);
        found.unwrap_or_else(|| panic!("no listener on {port}")).1
    }

    pub(crate) fn plan(&self) -> Plan<Step> {
        plan::plan_knowing(
            &self.context,
            PlanInput {
                key: &self.key,
                want: &self.want,
                seen: &self.seen,
                fresh: self.fresh,
                nodes: &self.nodes,
                followed: self.followed.as_ref(),
                endpoints: &self.endpoints,
                failures: &self.failures,
                approval: self.approval.as_deref(),
                now: self.now,
            },
            &self.seen.facts,
            self.used,
        )
    }

    /// Does the steps of one plan.
    pub(crate) fn wave(&mut self) -> Vec<(Step, Change)> {
        let steps = self.plan().steps;
        let effects: Vec<_> = steps
            .iter()
            .map(|planned| predict::predict(&planned.step))
            .collect();
        for effect in effects {
            predict::absorb(&mut self.seen, effect);
        }
        let parts = |Planned { step, change }| (step, change);
        steps.into_iter().map(parts).collect()
    }

    /// Wave after wave until there is nothing to do.
    #[track_caller]
    pub(crate) fn settle(&mut self) -> Waves {
        let mut waves = Waves::default();
        for _ in 0..MANY {
            let wave = self.wave();
            if wave.is_empty() {
                return waves;
            }
            waves.0.push(wave);
        }
        panic!("the plan does not end: {:#?}", waves.words());
    }

    /// Only so many steps, as if the process died after them.
    pub(crate) fn some_steps(&mut self, mut count: usize) {
        while count > 0 {
            let steps = self.plan().steps;
            if steps.is_empty() {
                return;
            }
            for Planned { step, .. } in steps.into_iter().take(count) {
                count -= 1;
                let effect = predict::predict(&step);
                predict::absorb(&mut self.seen, effect);
            }
        }
    }

    /// What a bulk look has: no listeners, no targets, no attributes.
    pub(crate) fn look_in_bulk(&mut self) {
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

    /// What is refused, in words.
    pub(crate) fn refused(&self) -> Vec<String> {
        let refusals = self.plan().refusals.into_iter();
        refusals
            .map(|refusal| refusal.problem.to_string())
            .collect()
    }

    /// What is warned of, in words.
    pub(crate) fn told(&self) -> Vec<String> {
        let warnings = self.plan().warnings;
        warnings.iter().map(ToString::to_string).collect()
    }

    /// Nothing is done, and exactly one warning has this in it.
    #[track_caller]
    pub(crate) fn only_tells(&self, part: &str) {
        let plan = self.plan();
        assert_eq!(plan.steps, []);
        assert_eq!(plan.refusals, []);
        let told = self.told();
        assert_eq!(told.len(), 1, "{told:#?}");
        assert!(told[0].contains(part), "{told:#?}");
    }

    /// Approves what is asked for.
    #[track_caller]
    pub(crate) fn approve(&mut self) {
        let mut refusals = self.plan().refusals.into_iter();
        let digest = refusals.find_map(|refusal| refusal.approval);
        self.approval = Some(digest.expect("an approval is asked for"));
    }

    /// The step of the plan that is this in words was tried and failed, and is held back.
    #[track_caller]
    pub(crate) fn fails(&mut self, words: &str, class: ErrorClass) {
        let mut steps = self.plan().steps.into_iter();
        let failed = steps.find(|planned| in_words(&planned.step).starts_with(words));
        let Planned { step, change } = failed.expect("it is planned");
        let operation = match step {
            Step::Authorize { .. } => "AuthorizeSecurityGroupIngress",
            _ => "another",
        };
        let error = CloudError::new(class, operation, "no");
        let failure = Failure::new(change, &error, Digest::of(&self.want), self.now);
        self.failures.record(&step, failure);
    }

    /// Lets time pass.
    pub(crate) fn later(&mut self, seconds: i64) {
        self.now = self
            .now
            .checked_add(jiff::SignedDuration::from_secs(seconds))
            .expect("a time");
    }
}

/// Waves of steps.
#[derive(Default)]
pub(crate) struct Waves(pub(crate) Vec<Vec<(Step, Change)>>);

impl Waves {
    /// The number of steps.
    pub(crate) fn count(&self) -> usize {
        self.0.iter().map(Vec::len).sum()
    }

    pub(crate) fn steps(&self) -> impl Iterator<Item = &Step> {
        self.0.iter().flatten().map(|(step, _)| step)
    }

    /// The steps of each wave in a few words, sorted.
    pub(crate) fn words(&self) -> Vec<Vec<String>> {
        let words = |wave: &Vec<(Step, Change)>| {
            let mut words: Vec<String> = wave.iter().map(|(step, _)| in_words(step)).collect();
            words.sort();
            words
        };
        self.0.iter().map(words).collect()
    }
}

/// A step in a few words: `Register tg/TCP/80 i-0001:30080`, without names that are made of hashes.
pub(crate) fn in_words(step: &Step) -> String {
    let targets = |targets: &std::collections::BTreeSet<Target>| {
        let targets = targets
            .iter()
            .map(|target| format!("{}:{}", target.id, target.port));
        targets.collect::<Vec<_>>().join(" ")
    };
    match step {
        Step::CreateLoadBalancer(_) => "CreateLoadBalancer".to_owned(),
        Step::CreateSecurityGroup { .. } => "CreateSecurityGroup".to_owned(),
        Step::CreateTargetGroup(new) => format!("CreateTargetGroup {}", new.marks.id),
        Step::CreateListener(new) => format!("CreateListener {}:{}", new.protocol, new.port),
        Step::SetListener(new) => format!("SetListener {}:{}", new.protocol, new.port),
        Step::Register { targets: them, .. } => format!("Register {}", targets(them)),
        Step::Deregister { targets: them, .. } => format!("Deregister {}", targets(them)),
        Step::SetSubnets { subnets, .. } => {
            let ids: Vec<&str> = subnets.iter().map(|place| &*place.subnet).collect();
            format!("SetSubnets {}", ids.join(","))
        }
        Step::SetSecurityGroups { groups, .. } => {
            let ids: Vec<&str> = groups.iter().map(|id| id.as_str()).collect();
            format!("SetSecurityGroups {}", ids.join(","))
        }
        Step::SetAddressType { address_type, .. } => format!("SetAddressType {address_type}"),
        Step::SetHealthCheck { health_check, .. } => format!("SetHealthCheck {health_check}"),
        Step::SetAttributes { object, attributes } => {
            format!("SetAttributes {} {}", object.kind(), pairs(attributes))
        }
        Step::Tag {
            object,
            set,
            remove,
        } => {
            let mut set = set.clone();
            let settled = set.remove(tag::SETTLED).is_some();
            if settled && set.is_empty() && remove.is_empty() {
                return "Settled".to_owned();
            }
            let settled = if settled { ", settled" } else { "" };
            let remove: String = remove.iter().map(|key| format!(" -{key}")).collect();
            format!("Tag {} {}{remove}{settled}", object.kind(), pairs(&set))
        }
        Step::SetCertificates { add, remove, .. } => {
            let named = |arns: &[Arc<str>], sign| -> String {
                let ends = arns.iter().map(|arn| arn.rsplit('/').next().unwrap_or(arn));
                ends.map(|end| format!(" {sign}{end}")).collect()
            };
            format!("SetCertificates{}{}", named(add, '+'), named(remove, '-'))
        }
        Step::Authorize { rules, .. } => format!("Authorize {}", list(rules)),
        Step::Revoke { rules, .. } => format!("Revoke {}", list(rules)),
        Step::Delete(object) => format!("Delete {}", object.kind()),
        Step::CreateBackendGroup => "CreateBackendGroup".to_owned(),
        Step::AdmitNodes(instances) => format!("AdmitNodes {}", instances.len()),
        Step::OpenNodes {
            openings, groups, ..
        } => format!("OpenNodes {} in {}", list(openings), list(groups)),
        Step::CloseNodes(rules) => format!("CloseNodes {}", list(rules)),
    }
}

fn list<T: ToString>(items: &std::collections::BTreeSet<T>) -> String {
    let items: Vec<String> = items.iter().map(ToString::to_string).collect();
    items.join(", ")
}

fn pairs(pairs: &Pairs) -> String {
    super::rig::pairs(pairs).join(" ")
}

/// The id of the instance of this number.
pub(crate) fn instance(number: usize) -> Arc<str> {
    format!("i-{number:04}").into()
}

/// So many nodes, in two zones.
pub(crate) fn nodes(count: usize) -> NodeSet {
    NodeSet::new((1..=count).map(node).collect())
}

/// The node of this number, odd ones in `az1`.
pub(crate) fn node(number: usize) -> Node {
    let zone = if number % 2 == 1 { "az1" } else { "az2" };
    Node {
        name: NodeName::new(format!("node-{number}")),
        provider_id: Some(format!("aws:///{zone}/{}", instance(number)).into()),
        addresses: Vec::new(),
        zone: Some(zone.into()),
        placement: Placement::Add,
    }
}

/// All labels of the nodes of these numbers, written `pool=edge,fast=1`.
pub(crate) fn labelled(nodes: &[(usize, &str)]) -> Arc<NodeLabels> {
    let of = nodes.iter().map(|(number, labels)| {
        let pairs = labels.split(',').filter_map(|pair| pair.split_once('='));
        let labels: Labels = pairs
            .map(|(key, value)| (key.into(), value.into()))
            .collect();
        (node(*number).name, Arc::new(labels))
    });
    Arc::new(NodeLabels::all(of.collect()))
}

/// A node that leaves.
pub(crate) fn leaving(number: usize) -> Node {
    Node {
        placement: Placement::Remove(NodeReason::BeingDeleted),
        ..node(number)
    }
}

/// The VPC of the rows: two internal and two public subnets in two zones.
fn facts() -> Facts {
    let subnets = [
        ("s-a", "az1", "10.0.0.0/24", "internal-elb"),
        ("s-b", "az2", "10.0.1.0/24", "internal-elb"),
        ("s-p", "az1", "10.0.2.0/24", "elb"),
        ("s-q", "az2", "10.0.3.0/24", "elb"),
    ];
    let subnet = |(id, zone, prefix, role): (&str, &str, &str, &str)| {
        let role = format!("kubernetes.io/role/{role}");
        let mut subnet = subnet(id, zone, &[(&role, "1")]);
        subnet.prefix = Some(prefix.parse().expect("a prefix"));
        (Arc::from(id), subnet)
    };
    Facts {
        vpc: "vpc-1".into(),
        vpc_prefixes: vec!["10.0.0.0/16".parse().expect("a prefix")],
        subnets: subnets.into_iter().map(subnet).collect(),
        ..Facts::default()
    }
}

/// A subnet with room and these tags.
pub(crate) fn subnet(id: &str, zone: &str, tags: &[(&str, &str)]) -> Subnet {
    Subnet {
        id: id.into(),
        vpc: "vpc-1".into(),
        zone: zone.into(),
        locale: "availability-zone".into(),
        prefix: None,
        ipv6: Vec::new(),
        free_addresses: 100,
        public: None,
        tags: tags
            .iter()
            .map(|(key, value)| ((*key).into(), (*value).into()))
            .collect(),
    }
}
