//! The brake on mass removal: nodes that vanish all at once are held until somebody confirms it (Decides).
//!
//! A fault of the control plane (a restored backup, a list that came back short, a component that deletes Node objects)
//! looks like the loss of every machine, while the machines serve on. So when most of a provider's targets vanish within
//! a minute, those that are not given up yet stay what they are: targets where they are targets, and nothing new. They
//! go when a second list, read a minute later and not from a cache, does not have them either, or when an operator says so.
//!
//! Vanished means: there is no Node object, or it lost its address or its providerID. What somebody said of a node (a
//! label, a taint, a deletion that is under way) is believed at once: it was said of this node, cannot be a list that
//! came back short, and a target that leaves early enough drains in peace. Whether the machine behind a Node object still
//! runs cannot be known without asking its cloud, which this does not do; health checks know.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use evenkeel_core::{
    digest::Digest,
    ids::{NodeName, ProviderName},
    nodes::{Node, NodeReason, NodeSet, Placement},
};
use jiff::Timestamp;

#[cfg(test)]
mod tests;

/// Losses within this time count as one. A second list is believed when it was read this long after the loss: a control
/// plane that restarts, or nodes that register anew, are back by then.
pub const CONFIRM: Duration = Duration::from_secs(60);

/// Fewer lost nodes than this are no mass.
const FEWEST: usize = 3;

/// How many nodes a text names.
const NAMED: usize = 5;

/// The annotation by which an operator gives up held nodes, on the controller's own object.
pub const RELEASE: &str = "evenkeel.dev/release-nodes";

/// A time, on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// For measuring.
    pub at: Instant,
    /// For telling.
    pub time: Timestamp,
}

/// Nodes that are held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Whose targets they are.
    pub provider: ProviderName,
    /// The nodes, sorted.
    pub missing: Vec<NodeName>,
    /// How many targets the provider has, with them.
    pub of: usize,
    /// Since when some are held.
    pub since: Timestamp,
    /// What an operator names to give up these nodes, and no others: it is another one when other nodes are held, and when
    /// the same are held another time.
    pub digest: String,
}

impl Held {
    /// What happened and what to do about it; `namespace` and `name` are those of the controller's own object.
    pub fn message(&self, namespace: &str, name: &str) -> String {
        format!(
            "{self}. They stay targets where they are targets, and nothing new is sent to them, until a list that is read {} s later \
             shows the same. If they are really gone, give them up at once with `kubectl annotate configmap -n {namespace} {name} \
             --overwrite {RELEASE}={}`; else look into what deletes Node objects.",
            CONFIRM.as_secs(),
            self.digest,
        )
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named: Vec<_> = self
            .missing
            .iter()
            .take(NAMED)
            .map(NodeName::as_str)
            .collect();
        write!(
            f,
            "{} of the {} nodes of the provider {} vanished at once: {}",
            self.missing.len(),
            self.of,
            self.provider,
            named.join(", ")
        )?;
        match self.missing.len().checked_sub(NAMED) {
            Some(more) if more > 0 => write!(f, " and {more} more"),
            _ => Ok(()),
        }
    }
}

/// A node that vanished and is held.
#[derive(Clone, Debug)]
struct Missing {
    /// As it was.
    node: Node,
    /// When it was last known to be there.
    lost: Instant,
}

/// The brake of one provider.
#[derive(Clone, Debug, Default)]
pub struct Brake {
    /// What the groups have; None before the first list, which is believed.
    given: Option<Arc<NodeSet>>,
    held: BTreeMap<NodeName, Missing>,
    since: Option<Timestamp>,
    /// Nodes that vanished a short time ago and were let go.
    gone: BTreeMap<NodeName, Instant>,
}

impl Brake {
    /// What the groups are given for what was found.
    pub fn settle(&mut self, found: NodeSet, now: Moment) -> Arc<NodeSet> {
        if let Some(given) = self.given.clone() {
            self.compare(&given, &found, now);
        }
        let set = self.with_held(found);
        let same = |given: &&Arc<NodeSet>| given.version() == set.version();
        let set = match self.given.as_ref().filter(same) {
            Some(given) => given.clone(),
            None => Arc::new(set),
        };
        self.given = Some(set.clone());
        set
    }

    /// Takes in what vanished since, and what is back.
    fn compare(&mut self, given: &NodeSet, found: &NodeSet, now: Moment) {
        let there: HashMap<&NodeName, &Node> = found
            .nodes()
            .iter()
            .map(|node| (&node.name, node))
            .collect();
        let vanished = |name: &NodeName| vanished(there.get(name).copied());
        self.held.retain(|name, _| vanished(name));
        self.gone
            .retain(|name, lost| vanished(name) && now.at.duration_since(*lost) < CONFIRM);
        let targets = given
            .kept()
            .filter(|node| node.placement != Placement::KeepIfPresent(NodeReason::HeldByBrake));
        let (mut all, mut lost) = (self.gone.len(), Vec::new());
        for node in targets {
            all += 1;
            if vanished(&node.name) {
                lost.push(node.clone());
            }
        }
        let lately = lost.len() + self.gone.len();
        let mass = lately >= FEWEST && lately * 2 > all;
        if !self.held.is_empty() || (mass && !lost.is_empty()) {
            let missing = |node| Missing { node, lost: now.at };
            self.held.extend(
                lost.into_iter()
                    .map(|node| (node.name.clone(), missing(node))),
            );
        } else {
            self.gone
                .extend(lost.into_iter().map(|node| (node.name, now.at)));
        }
        self.since = (!self.held.is_empty()).then(|| self.since.unwrap_or(now.time));
    }

    /// What was found, with the held nodes as they were.
    fn with_held(&self, found: NodeSet) -> NodeSet {
        if self.held.is_empty() {
            return found;
        }
        let there = found.nodes().iter();
        let mut nodes: Vec<Node> = there
            .filter(|node| !self.held.contains_key(&node.name))
            .cloned()
            .collect();
        nodes.extend(self.held.values().map(|missing| Node {
            placement: Placement::KeepIfPresent(NodeReason::HeldByBrake),
            ..missing.node.clone()
        }));
        NodeSet::new(nodes)
    }

    /// When a second list is due: a minute after the first loss that is held. None when nothing is held.
    pub fn due(&self) -> Option<Instant> {
        let lost = self.held.values().map(|missing| missing.lost).min();
        lost.map(|lost| lost + CONFIRM)
    }

    /// A second list was read, not from a cache and begun at `began`. Returns how many nodes it gives up: those that were
    /// lost long enough before. One that it has was there at that moment, and its minute begins anew.
    pub fn confirm(&mut self, found: &NodeSet, began: Instant) -> usize {
        let there: HashMap<&NodeName, &Node> = found
            .nodes()
            .iter()
            .map(|node| (&node.name, node))
            .collect();
        let before = self.held.len();
        self.held.retain(|name, missing| {
            if !vanished(there.get(name).copied()) {
                missing.lost = began;
                return true;
            }
            missing.lost + CONFIRM > began
        });
        before - self.held.len()
    }

    /// An operator named a digest. Returns how many nodes that gives up: all that are held if it is theirs, else none.
    pub fn release(&mut self, provider: &ProviderName, digest: &str) -> usize {
        match self.held(provider) {
            Some(held) if held.digest == digest => std::mem::take(&mut self.held).len(),
            _ => 0,
        }
    }

    /// What is held.
    pub fn held(&self, provider: &ProviderName) -> Option<Held> {
        let since = self.since.filter(|_| !self.held.is_empty())?;
        let nodes: BTreeSet<_> = self
            .held
            .values()
            .map(|missing| (&missing.node.name, &missing.node.provider_id))
            .collect();
        Some(Held {
            provider: provider.clone(),
            missing: self.held.keys().cloned().collect(),
            of: self.given.as_ref().map_or(0, |given| given.kept().count()),
            since,
            digest: Digest::of(&(provider, since, nodes)).short(),
        })
    }
}

/// Whether a node that was a target is not to be found any more, though nobody said anything of it.
fn vanished(found: Option<&Node>) -> bool {
    match found.map(|node| &node.placement) {
        None => true,
        Some(Placement::Remove(reason)) => reason.is_lack(),
        Some(Placement::Add | Placement::KeepIfPresent(_)) => false,
    }
}
