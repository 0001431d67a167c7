//! Nodes as instances, and their admission of the backend group (Decides).
//!
//! A node is known to AWS by its instance id, which ends its provider id: `aws:///eu-west-1a/i-0abc`. A node of another kind
//! (EKS hybrid, `mi-…`) is no instance and no target. The instances of one node set are worked out once, because a thousand
//! groups ask for the same.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use evenkeel_core::{
    digest::Digest,
    ids::{NodeName, ResourceId},
    nodes::{Labels, Node, NodeLabels, NodeSelector, NodeSet, Placement},
    plan::{Action, Change, Plan},
    problem::{Warning, reason},
    provider::Want,
};

use super::View;
use crate::{
    model::{
        Desired, Facts, Observed, Security, SeenLoadBalancer, Step, TargetGroup, TargetType,
        facts::Instance,
    },
    names,
};

/// How many nodes a message names.
const SHOWN: usize = 5;

/// How many nodes stand in each zone.
pub(super) type Zones = BTreeMap<Arc<str>, usize>;

/// The instances of a node set.
#[derive(Debug, Default)]
pub(super) struct Instances {
    /// By instance id, ascending.
    pub(super) members: Vec<Member>,
    /// Nodes that are no instances and would be targets.
    pub(super) skipped: Vec<NodeName>,
    /// How many of those that may be added stand in each zone.
    zones: Zones,
    /// What is known of the nodes' labels.
    pub(super) labels: Option<Arc<NodeLabels>>,
}

impl Instances {
    /// How many of those that may be added stand in each zone, of all that one of these chooses.
    pub(super) fn zones_of(&self, choices: &BTreeSet<&NodeSelector>) -> Cow<'_, Zones> {
        if choices.iter().any(|chosen| chosen.is_all()) {
            return Cow::Borrowed(&self.zones);
        }
        let added = |member: &&Member| {
            member.use_ == Use::Add && choices.iter().any(|chosen| member.is_chosen(chosen))
        };
        Cow::Owned(zones(self.members.iter().filter(added)))
    }

    /// Whether it is known which of them are chosen.
    pub(super) fn tell(&self, chosen: &NodeSelector) -> bool {
        chosen.is_all()
            || self
                .labels
                .as_ref()
                .is_some_and(|labels| labels.tell(chosen))
    }

    /// Whether there may be a node among the chosen that can be added to targets.
    pub(super) fn has_targets(&self, chosen: &NodeSelector) -> bool {
        let known = self.tell(chosen);
        let mut members = self.members.iter();
        members.any(|member| member.use_ == Use::Add && (!known || member.is_chosen(chosen)))
    }
}

/// One instance.
#[derive(Debug)]
pub(super) struct Member {
    /// Its id.
    pub(super) id: Arc<str>,
    /// Its zone, where it is known.
    pub(super) zone: Option<Arc<str>>,
    /// What may be done with it.
    pub(super) use_: Use,
    /// Its labels, as far as somebody looks at them.
    labels: Option<Arc<Labels>>,
}

impl Member {
    /// A target that is no node: a pod, by a text of its own.
    pub(super) fn pod(id: Arc<str>, zone: Option<Arc<str>>) -> Self {
        Self {
            id,
            zone,
            use_: Use::Add,
            labels: None,
        }
    }

    /// Whether it is among the chosen.
    pub(super) fn is_chosen(&self, chosen: &NodeSelector) -> bool {
        let labels = self.labels.as_ref();
        chosen.is_all() || labels.is_some_and(|labels| chosen.chooses(labels))
    }
}

/// What may be done with an instance as a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// It is a target.
    Add,
    /// It is one where it is one already.
    Keep,
    /// It is none.
    Remove,
}

/// The node sets that were asked for last: nearly always those of now and those of before.
static LAST: Mutex<Vec<(Digest, Arc<Instances>)>> = Mutex::new(Vec::new());

/// How many of them.
const REMEMBERED: usize = 4;

/// The instances of a node set.
pub(super) fn instances(nodes: &NodeSet) -> Arc<Instances> {
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    let known = last.iter().find(|(version, _)| *version == nodes.version());
    if let Some((_, instances)) = known {
        return Arc::clone(instances);
    }
    let instances = Arc::new(read(nodes));
    last.insert(0, (nodes.version(), Arc::clone(&instances)));
    last.truncate(REMEMBERED);
    instances
}

fn read(nodes: &NodeSet) -> Instances {
    let mut members: BTreeMap<Arc<str>, Member> = BTreeMap::new();
    let mut skipped = Vec::new();
    let labels = nodes.labels();
    for node in nodes.nodes() {
        let use_ = match node.placement {
            Placement::Add => Use::Add,
            Placement::KeepIfPresent(_) => Use::Keep,
            Placement::Remove(_) => Use::Remove,
        };
        let Some((id, zone)) = node.provider_id.as_deref().and_then(instance_of) else {
            if use_ != Use::Remove {
                skipped.push(node.name.clone());
            }
            continue;
        };
        let zone = zone_of(node, zone);
        let member = Member {
            id: id.into(),
            zone,
            use_,
            labels: labels.and_then(|labels| labels.get(&node.name)).cloned(),
        };
        members.insert(Arc::clone(&member.id), member);
    }
    let members: Vec<Member> = members.into_values().collect();
    Instances {
        zones: zones(members.iter().filter(|member| member.use_ == Use::Add)),
        members,
        skipped,
        labels: labels.cloned(),
    }
}

fn zones<'a>(members: impl Iterator<Item = &'a Member>) -> Zones {
    let mut zones = Zones::new();
    for zone in members.filter_map(|member| member.zone.as_ref()) {
        *zones.entry(Arc::clone(zone)).or_default() += 1;
    }
    zones
}

fn zone_of(node: &Node, told: Option<&str>) -> Option<Arc<str>> {
    node.zone.clone().or_else(|| told.map(Arc::from))
}

/// The instance id at the end of a provider id, and the zone before it: `aws:///zone/i-0abc`, `aws:////i-0abc`, `i-0abc`.
fn instance_of(provider_id: &str) -> Option<(&str, Option<&str>)> {
    let (before, id) = provider_id.rsplit_once('/').unwrap_or(("", provider_id));
    let zone = before.rsplit('/').next().filter(|zone| !zone.is_empty());
    (id.len() > 2 && id.starts_with("i-")).then_some((id, zone))
}

/// Whether it is ours to have the nodes admit the load balancers of a group: through the cluster's backend group, or without any.
pub(super) fn behind_backend(seen: &Observed, want: &Want<Desired>) -> bool {
    let asked = match want {
        // Else the member that says what its security groups are cannot be read.
        Want::Exists(desired) if !desired.shared_unknown => Some(desired),
        _ => None,
    };
    let Some(desired) = asked else {
        let backend = seen.facts.backend_group.as_ref();
        return backend.is_some_and(|backend| {
            seen.load_balancers
                .values()
                .any(|lb| lb.is_open() || lb.security_groups.contains(backend))
        });
    };
    let wanted = match &desired.load_balancer.security {
        Security::Managed(_) | Security::Absent(_) => true,
        Security::Given { backend, .. } => *backend,
    };
    wanted || seen.load_balancers.values().any(SeenLoadBalancer::is_open)
}

/// The instances that may be targets and whose groups are not known to admit the backend group.
pub(super) fn unadmitted(facts: &Facts, nodes: &Instances) -> BTreeSet<Arc<str>> {
    let strange = |member: &&Member| match facts.instances.get(&member.id) {
        Some(Instance::Group { group, .. }) => !facts.admitted.contains(group),
        Some(Instance::Unknown | Instance::Ambiguous) => false,
        None => true,
    };
    let members = nodes.members.iter();
    members
        .filter(|member| member.use_ == Use::Add)
        .filter(strange)
        .map(|member| Arc::clone(&member.id))
        .collect()
}

/// Makes the backend group where it is missing and, after a fresh look, has every node admit it whose group is not known to.
pub(super) fn open(plan: &mut Plan<Step>, view: View<'_>) {
    tell_skipped(plan, view);
    let facts = &view.seen.facts;
    if !view.behind_backend {
        return;
    }
    if facts.backend_group.is_none() {
        create_backend_group(plan);
        return;
    }
    if !view.input.fresh {
        return;
    }
    let ambiguous = |member: &&Member| {
        member.use_ == Use::Add && facts.instances.get(&member.id) == Some(&Instance::Ambiguous)
    };
    let outside: Vec<&str> = view
        .nodes
        .members
        .iter()
        .filter(ambiguous)
        .map(|member| &*member.id)
        .collect();
    if !outside.is_empty() {
        plan.warnings.push(Warning::new(
            reason::INVALID_CONFIGURATION,
            format!(
                "instances with several security groups, of which none is tagged kubernetes.io/cluster/{}: {}. None of their \
                 groups was opened for the load balancer. Tag the group of the nodes.",
                view.context.cluster.name,
                some(&outside),
            ),
        ));
    }
    if !view.unadmitted.is_empty() {
        admit(plan, view, view.unadmitted.clone());
    }
}

/// The kind of [`Step::AdmitNodes`] and [`Step::OpenNodes`] in a plan.
pub(super) const ADMISSION: &str = "node admission";

/// Whether nodes cannot be admitted until somebody changes something.
pub(super) fn admission_failed(view: View<'_>) -> bool {
    let mut failures = view.input.failures.iter();
    failures.any(|failure| failure.change.kind == ADMISSION && failure.class.is_hopeless())
}

/// Has these instances admit the backend group, in one step with those that are already to.
pub(super) fn admit(plan: &mut Plan<Step>, view: View<'_>, mut instances: BTreeSet<Arc<str>>) {
    // Without the backend group there is nothing to admit: the next wave sees it.
    if view.seen.facts.backend_group.is_none() {
        return;
    }
    let planned = plan
        .steps
        .iter()
        .position(|planned| matches!(planned.step, Step::AdmitNodes(_)));
    if let Some(index) = planned
        && let Step::AdmitNodes(others) = plan.steps.remove(index).step
    {
        instances.extend(others);
    }
    let detail = match instances.len() {
        1 => "of 1 instance".to_owned(),
        count => format!("of {count} instances"),
    };
    let id = ResourceId::new(names::NODES);
    plan.step(
        Step::AdmitNodes(instances),
        Change::new(Action::Change, ADMISSION, id, detail),
    );
}

fn create_backend_group(plan: &mut Plan<Step>) {
    plan.step(
        Step::CreateBackendGroup,
        Change::new(
            Action::Create,
            "security group",
            ResourceId::new(names::BACKEND_GROUP),
            "the cluster's, that every node group admits",
        ),
    );
}

fn tell_skipped(plan: &mut Plan<Step>, view: View<'_>) {
    let of_nodes = |group: &TargetGroup| group.target_type == TargetType::Instance;
    if let Want::Exists(desired) = view.input.want
        && !desired.target_groups.iter().any(of_nodes)
    {
        return;
    }
    let skipped: Vec<&str> = view.nodes.skipped.iter().map(NodeName::as_str).collect();
    if !skipped.is_empty() {
        plan.warnings.push(Warning::new(
            reason::UNSUPPORTED_FEATURE,
            format!(
                "nodes that are no EC2 instances get no traffic: {}. Their spec.providerID does not end in an instance id.",
                some(&skipped)
            ),
        ));
    }
}

/// The first few of many.
pub(super) fn some(all: &[&str]) -> String {
    let mut text = all[..all.len().min(SHOWN)].join(", ");
    if all.len() > SHOWN {
        text.push_str(&format!(" and {} more", all.len() - SHOWN));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instance_ids_end_provider_ids() {
        for (provider_id, want) in [
            ("aws:///eu-west-1a/i-1", Some(("i-1", Some("eu-west-1a")))),
            ("aws:////i-2", Some(("i-2", None))),
            ("i-3", Some(("i-3", None))),
            ("eks-hybrid:///eu-west-1/harbour/mi-4", None),
            ("aws:///eu-west-1a/", None),
            ("aws:///eu-west-1a/i-", None),
            ("", None),
        ] {
            assert_eq!(instance_of(provider_id), want, "{provider_id}");
        }
    }
}
