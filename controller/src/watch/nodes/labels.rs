//! The labels of nodes that some group looks at (Decides).
//!
//! Which labels those are is known only when a group was planned, and of no others is anything kept. So a name that is new is known
//! of no node: the nodes are listed once more for it. From the end of that list on the watch keeps it up to date.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};

use evenkeel_core::{
    ids::{GroupKey, NodeName, ProviderName},
    nodes::{Labels, NodeLabels},
};

/// What is kept.
#[derive(Debug, Default)]
pub(super) struct KeptLabels {
    /// Who looks at what.
    needs: BTreeMap<(ProviderName, GroupKey), BTreeSet<Arc<str>>>,
    /// All of that.
    wanted: BTreeSet<Arc<str>>,
    /// What was wanted when the list in progress began.
    listing: Option<BTreeSet<Arc<str>>>,
    /// What is known of every node.
    known: BTreeSet<Arc<str>>,
    of: BTreeMap<NodeName, Arc<Labels>>,
    /// Equal labels are one value.
    shared: HashSet<Arc<Labels>>,
    /// As it was told last, while it holds.
    told: Option<Arc<NodeLabels>>,
}

impl KeptLabels {
    /// A group looks at these. Returns whether the nodes must be listed for that.
    pub(super) fn need(
        &mut self,
        provider: &ProviderName,
        group: &GroupKey,
        keys: &BTreeSet<Arc<str>>,
    ) -> bool {
        let place = (provider.clone(), group.clone());
        if self.needs.get(&place).unwrap_or(&BTreeSet::new()) == keys {
            return false;
        }
        if keys.is_empty() {
            self.needs.remove(&place);
        } else {
            self.needs.insert(place, keys.clone());
        }
        let before = std::mem::take(&mut self.wanted);
        self.wanted = self.needs.values().flatten().cloned().collect();
        if !before.is_subset(&self.wanted) {
            self.drop_unwanted();
        }
        !self.wanted.is_subset(&before)
    }

    fn drop_unwanted(&mut self) {
        let wanted = self.wanted.clone();
        self.known.retain(|key| wanted.contains(key));
        let all = std::mem::take(&mut self.of);
        self.shared.clear();
        for (node, labels) in all {
            let kept = labels.iter().filter(|(key, _)| wanted.contains(*key));
            let kept = kept.map(|(key, value)| (key.clone(), value.clone()));
            self.keep(node, kept.collect());
        }
        self.told = None;
    }

    /// A list of the nodes begins.
    pub(super) fn list_begins(&mut self) {
        self.listing = Some(self.wanted.clone());
    }

    /// A list of the nodes is complete, and these are all.
    pub(super) fn listed(&mut self, is_there: impl Fn(&NodeName) -> bool) {
        self.of.retain(|node, _| is_there(node));
        let listed = self.listing.take().unwrap_or_default();
        self.known = listed.intersection(&self.wanted).cloned().collect();
        self.told = None;
    }

    /// A node has these labels. Returns whether those that are kept are others now.
    pub(super) fn put(&mut self, node: &NodeName, labels: &BTreeMap<String, String>) -> bool {
        if self.wanted.is_empty() {
            return false;
        }
        let wanted = self.wanted.iter();
        let kept: Labels = wanted
            .filter_map(|key| Some((key.clone(), labels.get(&**key)?.as_str().into())))
            .collect();
        let before = self.of.get(node).map(|labels| &**labels);
        if before.unwrap_or(&Labels::new()) == &kept {
            return false;
        }
        self.keep(node.clone(), kept);
        self.told = None;
        true
    }

    fn keep(&mut self, node: NodeName, labels: Labels) {
        if labels.is_empty() {
            self.of.remove(&node);
            return;
        }
        let labels = match self.shared.get(&labels) {
            Some(known) => known.clone(),
            None => {
                let labels = Arc::new(labels);
                self.shared.insert(labels.clone());
                labels
            }
        };
        self.of.insert(node, labels);
    }

    /// A node is gone.
    pub(super) fn remove(&mut self, node: &NodeName) {
        if self.of.remove(node).is_some() {
            self.told = None;
        }
    }

    /// What the sets of nodes are told.
    pub(super) fn tell(&mut self) -> Arc<NodeLabels> {
        if let Some(told) = &self.told {
            return told.clone();
        }
        let known = self.known.clone();
        let of = if known.is_empty() {
            BTreeMap::new()
        } else {
            self.of.clone()
        };
        self.shared.retain(|labels| Arc::strong_count(labels) > 1);
        let told = Arc::new(NodeLabels::of(known, of));
        self.told = Some(told.clone());
        told
    }

    /// Whether a group looks at any.
    pub(super) fn concern(&self, provider: &ProviderName, group: &GroupKey) -> bool {
        !self.needs.is_empty() && self.needs.contains_key(&(provider.clone(), group.clone()))
    }
}

#[cfg(test)]
mod tests {
    use evenkeel_core::nodes::NodeSelector;

    use super::*;

    fn keys(keys: &[&str]) -> BTreeSet<Arc<str>> {
        keys.iter().copied().map(Arc::from).collect()
    }

    fn group(name: &str) -> GroupKey {
        GroupKey::Shared {
            namespace: "shop".into(),
            name: name.into(),
        }
    }

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let pairs = pairs.iter();
        pairs
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    const EDGE: &[(&str, &str)] = &[("pool", "edge"), ("arch", "arm64")];

    /// Lists these nodes.
    fn list(kept: &mut KeptLabels, nodes: &[(&str, &[(&str, &str)])]) {
        kept.list_begins();
        for (node, pairs) in nodes {
            kept.put(&NodeName::from(*node), &labels(pairs));
        }
        kept.listed(|name| nodes.iter().any(|(node, _)| *node == name.as_str()));
    }

    #[test]
    fn nothing_is_kept_where_nobody_looks() {
        let mut kept = KeptLabels::default();
        list(&mut kept, &[("a", EDGE), ("b", EDGE)]);
        assert!(!kept.put(&NodeName::from("a"), &labels(&[("pool", "core")])));
        assert!(kept.of.is_empty() && kept.shared.is_empty());
        assert!(kept.tell().is_empty());
    }

    #[test]
    fn a_label_is_known_once_the_nodes_were_listed_for_it() {
        let aws = ProviderName::from("aws");
        let mut kept = KeptLabels::default();
        list(&mut kept, &[("a", EDGE)]);
        let pool = NodeSelector::of_terms(["pool=edge"]);
        assert!(kept.need(&aws, &group("x"), &keys(&["pool"])));
        assert!(!kept.tell().tell(&pool));
        // An event of one node says nothing of the others.
        assert!(kept.put(&NodeName::from("a"), &labels(EDGE)));
        assert!(!kept.tell().tell(&pool));
        // Neither does a list that had begun before.
        kept.list_begins();
        assert!(kept.need(&aws, &group("y"), &keys(&["arch"])));
        kept.listed(|_| true);
        assert!(kept.tell().tell(&pool));
        assert!(!kept.tell().tell(&NodeSelector::of_terms(["arch"])));
        list(&mut kept, &[("a", EDGE), ("b", EDGE), ("c", &[])]);
        let told = kept.tell();
        assert!(told.tell(&NodeSelector::of_terms(["arch", "pool"])));
        let of = |name: &str| told.get(&NodeName::from(name));
        assert!(Arc::ptr_eq(of("a").expect("kept"), of("b").expect("kept")));
        assert_eq!(of("c"), None);
        assert_eq!(kept.shared.len(), 1);
        assert!(Arc::ptr_eq(&told, &kept.tell()));

        assert!(
            !kept.need(&aws, &group("z"), &keys(&["arch"])),
            "known already"
        );
        assert!(kept.concern(&aws, &group("z")) && !kept.concern(&aws, &group("other")));
    }

    #[test]
    fn what_nobody_looks_at_any_more_is_forgotten() {
        let aws = ProviderName::from("aws");
        let mut kept = KeptLabels::default();
        kept.need(&aws, &group("x"), &keys(&["pool"]));
        kept.need(&aws, &group("y"), &keys(&["arch"]));
        list(
            &mut kept,
            &[("a", EDGE), ("b", &[("pool", "core"), ("arch", "arm64")])],
        );
        assert_eq!(kept.shared.len(), 2);
        assert!(!kept.need(&aws, &group("x"), &keys(&[])));
        assert_eq!(kept.shared.len(), 1, "they differ in nothing that is kept");
        assert!(!kept.put(
            &NodeName::from("a"),
            &labels(&[("pool", "b"), ("arch", "arm64")])
        ));
        kept.remove(&NodeName::from("b"));
        assert_eq!(kept.tell().get(&NodeName::from("b")), None);
        assert!(!kept.need(&aws, &group("y"), &keys(&[])));
        assert!(kept.of.is_empty() && kept.shared.is_empty() && kept.needs.is_empty());
        assert!(kept.tell().is_empty());
    }
}
