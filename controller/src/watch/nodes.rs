//! The nodes' facts, and one shared set of targets per provider (Decides; the following of changes waits).

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use evenkeel_core::{
    ids::{NodeName, ProviderName},
    nodes::{NodeFacts, NodeRules, NodeSet, node_set},
};
use kube::runtime::watcher::Event;

use super::item::Item;

/// The cache.
#[derive(Debug, Default)]
pub struct NodeCache {
    facts: HashMap<NodeName, NodeFacts>,
    listing: Option<HashSet<NodeName>>,
    sets: BTreeMap<ProviderName, Arc<NodeSet>>,
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
                false
            }
            Event::InitApply(item) => {
                if let Some(listing) = &mut self.listing {
                    listing.insert(name_of(&item));
                }
                self.put(item)
            }
            Event::Apply(item) => self.put(item),
            Event::Delete(item) => self.facts.remove(&name_of(&item)).is_some(),
            Event::InitDone => {
                let listed = self.listing.take().unwrap_or_default();
                self.facts.retain(|name, _| listed.contains(name));
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
        if self.facts.get(&name) == Some(&facts) {
            return false;
        }
        self.facts.insert(name, facts);
        true
    }

    /// Works out the sets anew; returns the providers whose set is another one now.
    pub fn settle<'a>(
        &mut self,
        rules: impl IntoIterator<Item = (&'a ProviderName, &'a NodeRules)>,
    ) -> Vec<ProviderName> {
        let mut changed = Vec::new();
        for (provider, rules) in rules {
            let set = node_set(self.facts.values(), rules);
            if self
                .sets
                .get(provider)
                .is_none_or(|known| known.version() != set.version())
            {
                self.sets.insert(provider.clone(), Arc::new(set));
                changed.push(provider.clone());
            }
        }
        changed
    }

    /// A provider's nodes; none before the first [`NodeCache::settle`].
    pub fn set(&self, provider: &ProviderName) -> Arc<NodeSet> {
        self.sets
            .get(provider)
            .cloned()
            .unwrap_or_else(|| Arc::new(NodeSet::empty()))
    }
}

fn name_of(item: &Item<NodeFacts>) -> NodeName {
    NodeName::from(item.meta.name.as_deref().unwrap_or_default())
}

/// When changes that come in bursts are acted on: after a quiet moment, and never later than a limit.
#[derive(Clone, Debug)]
pub struct Debounce {
    quiet: Duration,
    longest: Duration,
    pending: Option<(Instant, Instant)>,
}

impl Debounce {
    /// Acts after `quiet` without a change, and at most `longest` after the first.
    pub fn new(quiet: Duration, longest: Duration) -> Self {
        Self {
            quiet,
            longest,
            pending: None,
        }
    }

    /// Something changed.
    pub fn touch(&mut self, now: Instant) {
        let first = self.pending.map_or(now, |(first, _)| first);
        self.pending = Some((first, now));
    }

    /// When to act; None when nothing changed.
    pub fn due(&self) -> Option<Instant> {
        self.pending
            .map(|(first, last)| (last + self.quiet).min(first + self.longest))
    }

    /// It was acted on.
    pub fn clear(&mut self) {
        self.pending = None;
    }
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
            cache.settle([(&local, &RULES)]),
            std::slice::from_ref(&local)
        );
        let first = cache.set(&local);
        assert_eq!(first.eligible().count(), 1);
        assert_eq!(cache.settle([(&local, &RULES)]), []);
        assert!(Arc::ptr_eq(&first, &cache.set(&local)));
        cache.event(Event::Apply(node("b", "10.0.0.2", "True")));
        assert_eq!(
            cache.settle([(&local, &RULES)]),
            std::slice::from_ref(&local)
        );
        cache.event(Event::Init);
        cache.event(Event::InitApply(node("b", "10.0.0.2", "True")));
        cache.event(Event::InitDone);
        cache.settle([(&local, &RULES)]);
        assert_eq!(
            cache.set(&local).nodes().len(),
            1,
            "what a list does not name is gone"
        );
    }

    #[test]
    fn a_burst_is_gathered_but_not_for_ever() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut debounce = Debounce::new(Duration::from_secs(2), Duration::from_secs(10));
        assert_eq!(debounce.due(), None);
        debounce.touch(at(0));
        assert_eq!(debounce.due(), Some(at(2)));
        for second in 1..=9 {
            debounce.touch(at(second));
        }
        assert_eq!(
            debounce.due(),
            Some(at(10)),
            "not later than ten seconds after the first"
        );
        debounce.clear();
        assert_eq!(debounce.due(), None);
        debounce.touch(at(60));
        assert_eq!(debounce.due(), Some(at(62)));
    }
}
