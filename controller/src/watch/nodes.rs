//! The nodes' facts, and one shared set of targets per provider (Decides).
//!
//! A provider's set passes its [`Brake`] before anybody sees it: nodes that vanished all at once are in it until that is
//! confirmed.

mod debounce;
mod labels;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Instant,
};

use evenkeel_core::{
    ids::{GroupKey, NodeName, ProviderName},
    nodes::{NodeFacts, NodeRules, NodeSet, ProxyHealth, node_set},
};
use kube::runtime::watcher::Event;

pub use debounce::Debounce;

use labels::KeptLabels;

use super::item::Item;
use crate::brake::{Brake, Held, Moment};

/// The cache.
#[derive(Debug, Default)]
pub struct NodeCache {
    facts: HashMap<NodeName, NodeFacts>,
    listing: Option<HashSet<NodeName>>,
    brakes: BTreeMap<ProviderName, Brake>,
    sets: BTreeMap<ProviderName, Arc<NodeSet>>,
    labels: KeptLabels,
    proxy_health: ProxyHealth,
}

/// What an event of a watch did to the nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Did {
    /// Nothing that matters.
    Nothing,
    /// Something that may matter changed.
    Changed,
    /// A list is complete.
    Listed,
}

impl NodeCache {
    /// What a watch says.
    pub fn event(&mut self, event: Event<Item<NodeFacts>>) -> Did {
        let changed = match event {
            Event::Init => {
                self.listing = Some(HashSet::new());
                self.labels.list_begins();
                false
            }
            Event::InitApply(item) => {
                if let Some(listing) = &mut self.listing {
                    listing.insert(name_of(&item));
                }
                self.put(item)
            }
            Event::Apply(item) => self.put(item),
            Event::Delete(item) => {
                let name = name_of(&item);
                self.labels.remove(&name);
                self.facts.remove(&name).is_some()
            }
            Event::InitDone => {
                let listed = self.listing.take().unwrap_or_default();
                self.facts.retain(|name, _| listed.contains(name));
                self.labels.listed(|name| listed.contains(name));
                return Did::Listed;
            }
        };
        if changed { Did::Changed } else { Did::Nothing }
    }

    fn put(&mut self, item: Item<NodeFacts>) -> bool {
        let name = name_of(&item);
        // A node that cannot be read stays what it was.
        let Ok(facts) = item.body else {
            return false;
        };
        let labels = item.meta.labels.unwrap_or_default();
        let relabelled = self.labels.put(&name, &labels);
        if self.facts.get(&name) == Some(&facts) {
            return relabelled;
        }
        self.facts.insert(name, facts);
        true
    }

    /// A group looks at these labels of the nodes. Returns whether the nodes must be listed for that, because nobody did before.
    pub fn need_labels(
        &mut self,
        provider: &ProviderName,
        group: &GroupKey,
        keys: &BTreeSet<Arc<str>>,
    ) -> bool {
        self.labels.need(provider, group, keys)
    }

    /// Whether a group looks at labels of the nodes.
    pub fn looks_at_labels(&self, provider: &ProviderName, group: &GroupKey) -> bool {
        self.labels.concern(provider, group)
    }

    /// Works out the sets anew; returns the providers whose set is another one now.
    pub fn settle<'a>(
        &mut self,
        rules: impl IntoIterator<Item = (&'a ProviderName, &'a NodeRules)>,
        now: Moment,
    ) -> Vec<ProviderName> {
        let mut changed = Vec::new();
        for (provider, rules) in rules {
            let found = node_set(self.facts.values(), rules);
            let brake = self.brakes.entry(provider.clone()).or_default();
            let set = brake.settle(found, now);
            let set = match self.proxy_health {
                ProxyHealth::Answers => set,
                silent => Arc::new(NodeSet::clone(&set).with_proxy_health(silent)),
            };
            let labels = self.labels.tell();
            let set = match labels.is_empty() {
                true => set,
                false => Arc::new(NodeSet::clone(&set).with_labels(labels)),
            };
            let before = self.sets.get(provider);
            if before.is_none_or(|before| before.version() != set.version()) {
                self.sets.insert(provider.clone(), set);
                changed.push(provider.clone());
            }
        }
        changed
    }

    /// What was found out about kube-proxy's health on the nodes; it counts from the next [`NodeCache::settle`] on.
    /// Returns whether that is news.
    pub fn found_proxy_health(&mut self, found: ProxyHealth) -> bool {
        let before = std::mem::replace(&mut self.proxy_health, found);
        before != found
    }

    /// What is known of the nodes.
    pub fn facts(&self) -> impl Iterator<Item = &NodeFacts> {
        self.facts.values()
    }

    /// The nodes that are held, of all providers.
    pub fn held(&self) -> Vec<Held> {
        let brakes = self.brakes.iter();
        brakes
            .filter_map(|(provider, brake)| brake.held(provider))
            .collect()
    }

    /// When a second list is due that may confirm what vanished.
    pub fn second_list_due(&self) -> Option<Instant> {
        self.brakes.values().filter_map(Brake::due).min()
    }

    /// A second list was read, not from a cache and begun at `began`. Returns how many nodes it gives up, with the next
    /// [`NodeCache::settle`].
    pub fn confirm<'a>(
        &mut self,
        list: &[NodeFacts],
        rules: impl IntoIterator<Item = (&'a ProviderName, &'a NodeRules)>,
        began: Instant,
    ) -> usize {
        let mut given_up = 0;
        for (provider, rules) in rules {
            if let Some(brake) = self.brakes.get_mut(provider) {
                given_up += brake.confirm(&node_set(list, rules), began);
            }
        }
        given_up
    }

    /// An operator named what may be given up. Returns how many nodes that are, with the next [`NodeCache::settle`].
    pub fn release(&mut self, digest: &str) -> usize {
        let brakes = self.brakes.iter_mut();
        brakes
            .map(|(provider, brake)| brake.release(provider, digest))
            .sum()
    }

    /// A provider's nodes; none before the first [`NodeCache::settle`].
    pub fn set(&self, provider: &ProviderName) -> Arc<NodeSet> {
        self.given(provider)
            .unwrap_or_else(|| Arc::new(NodeSet::empty()))
    }

    /// A provider's nodes; None before the first [`NodeCache::settle`].
    pub fn given(&self, provider: &ProviderName) -> Option<Arc<NodeSet>> {
        self.sets.get(provider).cloned()
    }
}

fn name_of(item: &Item<NodeFacts>) -> NodeName {
    NodeName::from(item.meta.name.as_deref().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(name: &str, address: &str, ready: &str) -> Item<NodeFacts> {
        serde_json::from_value(json!({
            "metadata": {"name": name},
            "status": {"addresses": [{"type": "InternalIP", "address": address}], "conditions": [{"type": "Ready", "status": ready}]},
        }))
        .expect("has a name")
    }

    fn now() -> Moment {
        Moment {
            at: Instant::now(),
            time: jiff::Timestamp::UNIX_EPOCH,
        }
    }

    const RULES: NodeRules = NodeRules {
        provider_id_scheme: None,
        needs_address: true,
        drains: true,
    };

    #[test]
    fn only_what_matters_is_a_change() {
        let mut cache = NodeCache::default();
        assert_eq!(
            cache.event(Event::Apply(node("a", "10.0.0.1", "True"))),
            Did::Changed
        );
        assert_eq!(
            cache.event(Event::Apply(node("a", "10.0.0.1", "False"))),
            Did::Nothing,
            "readiness"
        );
        assert_eq!(
            cache.event(Event::Apply(node("a", "10.0.0.2", "False"))),
            Did::Changed,
            "its address"
        );
        assert_eq!(
            cache.event(Event::Delete(node("b", "10.0.0.3", "True"))),
            Did::Nothing,
            "was not known"
        );
        assert_eq!(
            cache.event(Event::Delete(node("a", "10.0.0.2", "True"))),
            Did::Changed
        );
    }

    #[test]
    fn a_set_is_shared_until_it_differs() {
        let local = ProviderName::from("local");
        let mut cache = NodeCache::default();
        cache.event(Event::Init);
        cache.event(Event::InitApply(node("a", "10.0.0.1", "True")));
        assert_eq!(cache.event(Event::InitDone), Did::Listed);
        assert_eq!(
            cache.settle([(&local, &RULES)], now()),
            std::slice::from_ref(&local)
        );
        let first = cache.set(&local);
        assert_eq!(first.eligible().count(), 1);
        assert_eq!(cache.settle([(&local, &RULES)], now()), []);
        assert!(Arc::ptr_eq(&first, &cache.set(&local)));
        cache.event(Event::Apply(node("b", "10.0.0.2", "True")));
        assert_eq!(
            cache.settle([(&local, &RULES)], now()),
            std::slice::from_ref(&local)
        );
        cache.event(Event::Init);
        cache.event(Event::InitApply(node("b", "10.0.0.2", "True")));
        cache.event(Event::InitDone);
        cache.settle([(&local, &RULES)], now());
        assert_eq!(
            cache.set(&local).nodes().len(),
            1,
            "what a list does not name is gone"
        );
    }

    #[test]
    fn labels_are_part_of_a_set_where_somebody_looks_at_them() {
        let local = ProviderName::from("local");
        let group = GroupKey::Shared {
            namespace: "shop".into(),
            name: "edge".into(),
        };
        let labelled = |pool: &str| {
            let mut node = node("a", "10.0.0.1", "True");
            node.meta.labels = Some([("pool".to_owned(), pool.to_owned())].into());
            node
        };
        let mut cache = NodeCache::default();
        cache.event(Event::Apply(labelled("core")));
        cache.settle([(&local, &RULES)], now());
        assert_eq!(cache.event(Event::Apply(labelled("edge"))), Did::Nothing);
        assert!(cache.set(&local).labels().is_none());

        assert!(cache.need_labels(&local, &group, &BTreeSet::from(["pool".into()])));
        cache.event(Event::Init);
        cache.event(Event::InitApply(labelled("edge")));
        assert_eq!(cache.event(Event::InitDone), Did::Listed);
        let before = cache.set(&local);
        assert_eq!(
            cache.settle([(&local, &RULES)], now()),
            std::slice::from_ref(&local)
        );
        let set = cache.set(&local);
        assert!(before.differs_in_labels_only(&set));
        let pool = |set: &NodeSet| {
            let labels = set.labels().expect("of the pool").get(&"a".into());
            labels.and_then(|labels| labels.get("pool").cloned())
        };
        assert_eq!(pool(&set).as_deref(), Some("edge"));
        assert_eq!(cache.settle([(&local, &RULES)], now()), []);
        assert!(Arc::ptr_eq(&set, &cache.set(&local)));
        assert_eq!(cache.event(Event::Apply(labelled("core"))), Did::Changed);
        cache.settle([(&local, &RULES)], now());
        assert_eq!(pool(&cache.set(&local)).as_deref(), Some("core"));

        assert!(!cache.need_labels(&local, &group, &BTreeSet::new()));
        cache.settle([(&local, &RULES)], now());
        assert!(cache.set(&local).labels().is_none());
    }

    #[test]
    fn a_list_that_came_back_short_empties_no_set() {
        let local = ProviderName::from("local");
        let names = ["a", "b", "c", "d"];
        let mut cache = NodeCache::default();
        cache.event(Event::Init);
        for name in names {
            cache.event(Event::InitApply(node(name, "10.0.0.1", "True")));
        }
        cache.event(Event::InitDone);
        cache.settle([(&local, &RULES)], now());
        cache.event(Event::Init);
        cache.event(Event::InitDone);
        cache.settle([(&local, &RULES)], now());
        assert_eq!(cache.set(&local).kept().count(), 4);
        let held = cache.held();
        assert_eq!((held.len(), held[0].missing.len()), (1, 4));
        assert!(cache.second_list_due().is_some());

        let later = now().at + crate::brake::CONFIRM;
        let facts = |name| node(name, "10.0.0.1", "True").body.expect("facts");
        assert_eq!(
            cache.confirm(&names.map(facts), [(&local, &RULES)], later),
            0
        );
        assert_eq!(cache.release("another"), 0);
        assert_eq!(cache.release(&held[0].digest), 4);
        cache.settle([(&local, &RULES)], now());
        assert_eq!(cache.set(&local).kept().count(), 0);
        assert_eq!(cache.held(), []);
    }
}
