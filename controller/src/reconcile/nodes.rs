//! What a change of the nodes means for the groups, and who is told of it (Decides, and tells).
//!
//! Targets are no news to the owner of a Service until they are: a change of nodes that reaches a few load balancers is
//! told beside each of their Services (`UpdatedLoadBalancer`, when it was applied); one that reaches many is told once,
//! beside the controller's own object. A node that lacks what every enabled provider needs is told so itself. Only who
//! leads tells: what it finds when it begins to lead, not what has been before.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use evenkeel_core::{
    digest::Digest,
    engine::Report,
    ids::{GroupKey, NodeName, ProviderName},
    nodes::{NodeFacts, NodeReason, NodeRules, NodeSet, Placement},
};
use tokio::sync::Notify;
use tracing::{info, warn};

use super::{Reconciler, lock, work::Run};
use crate::{
    brake::{Held, Moment},
    outcome::Notice,
    publish::events::About,
    queue::Why,
};

/// The targets of a load balancer follow a change of the nodes.
const UPDATED: &str = "UpdatedLoadBalancer";

/// A node lacks what it needs to be a target.
const SKIPPED: &str = "NodeSkipped";

/// A change that reaches more load balancers than this is told once, not beside every Service.
const FEW: usize = 20;

/// How many nodes are told in one pass what they lack; the others are told in the next ones. All nodes lack a providerID
/// where nobody sets them.
const SKIPPED_AT_ONCE: usize = 20;

/// What has been told of the nodes, and what is to be told.
#[derive(Debug, Default)]
pub(super) struct NodeNews {
    /// Nodes that were told what they lack.
    skipped: HashSet<(NodeName, Option<Arc<str>>, NodeReason)>,
    /// Groups that a change reaches and that have not taken it in: the version that they are to have, and whether
    /// anything was written for it.
    reached: HashMap<(ProviderName, GroupKey), (Digest, bool)>,
    /// What is to be told beside the controller's own object.
    pub(super) untold: Vec<Notice>,
    /// Some nodes wait to be told what they lack.
    pub(super) unskipped: bool,
}

impl Reconciler {
    /// The nodes that vanished all at once and are held until somebody confirms it.
    pub(crate) fn nodes_held(&self) -> Vec<Held> {
        self.nodes().held()
    }

    /// Whether this process may tell: another one tells otherwise.
    pub(super) fn may_tell(&self) -> bool {
        self.ticket.remaining().is_ok()
    }

    /// What every provider needs of a node.
    pub(super) fn node_rules(&self) -> impl Iterator<Item = (&ProviderName, &NodeRules)> {
        let providers = self.providers.values();
        providers.map(|provider| (&provider.name, &provider.nodes))
    }

    /// Works the sets of nodes out anew, and asks for every group of a provider whose set is another one now.
    pub(crate) fn settle_nodes(&self) {
        let now = Moment {
            at: self.clock.instant(),
            time: self.clock.now(),
        };
        let mut nodes = self.nodes();
        let before = nodes.held();
        let known: BTreeMap<_, _> = self
            .node_rules()
            .filter_map(|(name, _)| Some((name.clone(), nodes.given(name)?)))
            .collect();
        let changed = nodes.settle(self.node_rules(), now);
        let took = self.clock.instant().duration_since(now.at);
        self.metrics.nodes_settled(took);
        let held = nodes.held();
        let skipped = self.skipped(nodes.facts());
        let sets: BTreeMap<_, _> = self
            .node_rules()
            .map(|(name, _)| (name.clone(), nodes.set(name)))
            .collect();
        drop(nodes);
        self.tell_held(&before, &held);
        self.tell_skipped(skipped);
        if changed.is_empty() {
            return;
        }
        self.metrics.clear_nodes_skipped();
        for (name, set) in &sets {
            self.measure(name, set, changed.contains(name));
        }
        let groups: Vec<_> = self.services().groups().cloned().collect();
        self.reaches(&groups, &changed, &known, &sets);
        let (relabelled, changed): (Vec<_>, Vec<_>) = changed.into_iter().partition(|name| {
            let (known, set) = (known.get(name), sets.get(name));
            known.is_some_and(|known| set.is_some_and(|set| known.differs_in_labels_only(set)))
        });
        for group in groups {
            let looks = |name| self.nodes().looks_at_labels(name, &group);
            if !changed.is_empty() || relabelled.iter().any(looks) {
                self.queue.ask(group, Why::WORK);
            }
        }
    }

    /// Told when labels of nodes are looked at that nobody has looked at before.
    pub(crate) fn labels_missing(&self) -> &Notify {
        &self.labels_missing
    }

    fn measure(&self, name: &ProviderName, set: &NodeSet, changed: bool) {
        let eligible = set.eligible().count();
        self.metrics.set_nodes(name.as_str(), eligible);
        let mut skipped: HashMap<_, usize> = HashMap::new();
        for (_, reason) in set.left_out() {
            *skipped.entry(reason).or_default() += 1;
        }
        if changed {
            let skipped = skipped.values().sum::<usize>();
            info!(
                provider = name.as_str(),
                eligible, skipped, "the nodes changed"
            );
        }
        for (reason, nodes) in skipped {
            self.metrics.set_nodes_skipped(name.as_str(), reason, nodes);
        }
    }

    /// Says what is held: in the log, in the metric and in the condition of the controller's own object.
    fn tell_held(&self, before: &[Held], held: &[Held]) {
        for (name, _) in self.node_rules() {
            let of = |all: &[Held]| all.iter().find(|held| held.provider == *name).cloned();
            let (before, held) = (of(before), of(held));
            let nodes = held.as_ref().map_or(0, |held| held.missing.len());
            self.metrics.set_nodes_held(name.as_str(), nodes);
            self.standing.nodes(name, held.as_ref());
            match (before, held) {
                (before, Some(held)) if before.as_ref() != Some(&held) => warn!(
                    provider = name.as_str(),
                    missing = held.missing.len(),
                    of = held.of,
                    digest = held.digest,
                    "{held}; they are held until a second list confirms it, or an operator does"
                ),
                (Some(_), None) => {
                    warn!(provider = name.as_str(), "no nodes are held any more");
                }
                _ => {}
            }
        }
    }

    /// Remembers whom a change reaches, so that it is told when it was applied. The first list is no change.
    fn reaches(
        &self,
        groups: &[GroupKey],
        changed: &[ProviderName],
        known: &BTreeMap<ProviderName, Arc<NodeSet>>,
        sets: &BTreeMap<ProviderName, Arc<NodeSet>>,
    ) {
        let mut news = lock(&self.node_news);
        news.reached.clear();
        if !self.may_tell() {
            return;
        }
        for name in changed {
            let (Some(set), Some(known)) = (sets.get(name), known.get(name)) else {
                continue;
            };
            // A set knows those that are no targets too: a node of another cloud that comes is no news here.
            if set.kept().eq(known.kept()) {
                continue;
            }
            let (targets, before) = (set.eligible().count(), known.eligible().count());
            if groups.len() <= FEW {
                let reached = groups.iter().map(|group| (name.clone(), group.clone()));
                news.reached
                    .extend(reached.map(|key| (key, (set.version(), false))));
            } else if targets > 0 {
                let note = format!(
                    "The targets of {} load balancers follow the nodes of the provider {name}: {targets} of them, {before} before.",
                    groups.len()
                );
                news.untold.push(Notice::normal(UPDATED, note));
            }
        }
    }

    /// The nodes that no enabled provider takes because they lack something, each with what and for whom. One that its
    /// cloud has not seen to yet lacks nothing that it should have.
    fn skipped<'a>(
        &'a self,
        facts: impl Iterator<Item = &'a NodeFacts>,
    ) -> Vec<(NodeFacts, BTreeMap<NodeReason, Vec<ProviderName>>)> {
        let lacks = |facts: &NodeFacts| {
            let mut lacks: BTreeMap<_, Vec<_>> = BTreeMap::new();
            for (name, rules) in self.node_rules() {
                match rules.place(facts) {
                    Placement::Remove(reason) if reason.is_lack() => {
                        lacks.entry(reason).or_default().push(name.clone());
                    }
                    _ => return None,
                }
            }
            Some(lacks)
        };
        facts
            .filter(|facts| !facts.uninitialized)
            .filter_map(|facts| Some((facts, lacks(facts)?)))
            .map(|(facts, lacks)| (facts.clone(), lacks))
            .collect()
    }

    /// Tells nodes what they lack: once per node and reason, for as long as it holds.
    fn tell_skipped(&self, skipped: Vec<(NodeFacts, BTreeMap<NodeReason, Vec<ProviderName>>)>) {
        if !self.may_tell() {
            return;
        }
        let mut news = lock(&self.node_news);
        let before = std::mem::take(&mut news.skipped);
        news.unskipped = false;
        let mut told = 0;
        for (facts, lacks) in skipped {
            for (reason, providers) in lacks {
                let key = (facts.name.clone(), facts.uid.clone(), reason);
                if !before.contains(&key) {
                    if told == SKIPPED_AT_ONCE {
                        news.unskipped = true;
                        continue;
                    }
                    told += 1;
                    let about = About {
                        kind: "Node",
                        namespace: None,
                        name: facts.name.as_str().into(),
                        uid: facts.uid.clone(),
                    };
                    self.events.tell_of(about, lack(&facts, reason, &providers));
                }
                news.skipped.insert(key);
            }
        }
    }
}

/// What a node lacks, and what to do about it.
fn lack(facts: &NodeFacts, reason: NodeReason, providers: &[ProviderName]) -> Notice {
    let providers: Vec<_> = providers.iter().map(ProviderName::as_str).collect();
    let providers = providers.join(", ");
    let what = match (reason, facts.provider_id.as_deref()) {
        (NodeReason::NoProviderId, None) => {
            "spec.providerID is not set. Run the cloud's node controller (cloud-controller-manager), which sets it".to_owned()
        }
        (NodeReason::NoProviderId, Some(id)) => format!(
            "spec.providerID is {id:?}, which is another cloud's. Enable the provider of that cloud, or label the node \
             node.kubernetes.io/exclude-from-external-load-balancers"
        ),
        _ => format!(
            "status.addresses has {}. See `kubectl get node {} -o wide`, and why its kubelet or cloud-controller-manager reports none",
            reason.as_str(),
            facts.name
        ),
    };
    let note = format!("No target of load balancers of {providers}: {what}.");
    Notice::warning(SKIPPED, note)
}

impl Run<'_> {
    /// Has the labels kept that decide about the group's targets.
    pub(super) fn need_labels(&self, report: &Report, used: &NodeSet) {
        // A cloud that could not be read says nothing of what is looked at.
        if report.published.is_none() {
            return;
        }
        let name = &self.provider.name;
        let mut nodes = self.all.nodes();
        if nodes.need_labels(name, self.key, &report.node_labels) {
            self.all.labels_missing.notify_one();
        }
        // Whoever did not look at labels before was not asked for when they changed.
        if !report.node_labels.is_empty() && nodes.set(name).version() != used.version() {
            self.all.queue.ask(self.key.clone(), Why::WORK);
        }
    }

    /// Tells the Services of a group that a change of the nodes was applied, where it reaches few.
    pub(super) fn tell_of_nodes(&self, report: &Report, nodes: &NodeSet) {
        let key = (self.provider.name.clone(), self.key.clone());
        let mut news = lock(&self.all.node_news);
        // A run that began before the change knows nothing of it.
        let Some((_, wrote)) = news
            .reached
            .get_mut(&key)
            .filter(|(version, _)| *version == nodes.version())
        else {
            return;
        };
        *wrote |= !report.applied.is_empty();
        if !report.settled() {
            return;
        }
        let wrote = *wrote;
        news.reached.remove(&key);
        let targets = nodes.eligible().count();
        if !wrote || targets == 0 {
            return;
        }
        let note = format!("The targets follow the nodes: {targets} of them.");
        for member in &self.group.staying {
            let notice = Notice::normal(UPDATED, note.as_str());
            self.all.events.tell(&member.reference, notice);
        }
    }

    /// Whether there is no node to send traffic to. Nodes that are held serve on where they are targets; only a load
    /// balancer that is known to have none has a reason to complain.
    pub(super) fn has_no_nodes(&self, nodes: &NodeSet) -> bool {
        let held = || {
            nodes
                .left_out()
                .any(|(_, reason)| reason == NodeReason::HeldByBrake)
        };
        let targets = || lock(&self.all.census).targets_of(&self.provider.name, self.key);
        nodes.eligible().next().is_none()
            && !(held() && targets().is_none_or(|targets| targets.total > 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_told_the_field_the_value_and_what_to_do() {
        let facts = |id: Option<&str>| {
            let mut facts = NodeFacts::from_resource(&Default::default());
            facts.name = NodeName::from("node-a");
            facts.provider_id = id.map(Arc::from);
            facts
        };
        for (reason, id, want) in [
            (
                NodeReason::NoProviderId,
                None,
                "spec.providerID is not set. Run the cloud's",
            ),
            (
                NodeReason::NoProviderId,
                Some("kind://a"),
                "spec.providerID is \"kind://a\", which is another cloud's. Enable",
            ),
            (
                NodeReason::NoAddress,
                None,
                "status.addresses has no InternalIP address. See `kubectl get node node-a",
            ),
        ] {
            let notice = lack(&facts(id), reason, &["aws".into(), "gcp".into()]);
            assert!(notice.warning && notice.reason == "NodeSkipped");
            let want = format!("No target of load balancers of aws, gcp: {want}");
            assert!(notice.note.starts_with(&want), "{}", notice.note);
        }
    }
}
