//! The pods that wait at a readiness gate of ours (Decides).
//!
//! A namespace is watched while a Service in it has pods as targets. Kept are only pods with a gate of ours, and of these only what
//! decides about it. Before a first list nothing is known; where the API server refuses it no pod has a gate.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use evenkeel_core::{
    endpoints::{Endpoints, PodFacts, with_gates},
    ids::ServiceKey,
};
use kube::runtime::watcher::Event;
use tokio_util::sync::CancellationToken;

use super::item::Item;

#[cfg(test)]
mod tests;

/// What is known of the pods of a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// Nothing yet.
    Awaited,
    /// All of them.
    Listed,
    /// The API server does not let us see them.
    Refused,
}

/// The cache.
#[derive(Debug, Default)]
pub struct PodCache {
    namespaces: HashMap<Arc<str>, Namespace>,
}

#[derive(Debug)]
struct Namespace {
    /// The Services whose targets are pods.
    services: HashSet<ServiceKey>,
    pods: HashMap<Arc<str>, Kept>,
    known: Known,
    /// The pods that a list in progress has named so far.
    listing: Option<HashSet<Arc<str>>>,
    /// Done when nobody needs the watch any more.
    ended: CancellationToken,
}

#[derive(Debug)]
struct Kept {
    facts: PodFacts,
    version: Option<u64>,
}

impl PodCache {
    /// A Service has pods as targets. Returns how long a watch of its namespace shall last, where it is to begin now.
    pub fn follow(&mut self, service: &ServiceKey) -> Option<CancellationToken> {
        let mut begun = None;
        let namespace = self
            .namespaces
            .entry(service.namespace.clone())
            .or_insert_with(|| {
                let ended = CancellationToken::new();
                begun = Some(ended.clone());
                Namespace {
                    services: HashSet::new(),
                    pods: HashMap::new(),
                    known: Known::Awaited,
                    listing: None,
                    ended,
                }
            });
        namespace.services.insert(service.clone());
        begun
    }

    /// A Service has none any more. Returns whether it had.
    pub fn forget(&mut self, service: &ServiceKey) -> bool {
        let Some(namespace) = self.namespaces.get_mut(&service.namespace) else {
            return false;
        };
        let had = namespace.services.remove(service);
        if namespace.services.is_empty() {
            namespace.ended.cancel();
            self.namespaces.remove(&service.namespace);
        }
        had
    }

    /// What is known of the pods of a namespace.
    pub fn known(&self, namespace: &str) -> Known {
        self.namespaces
            .get(namespace)
            .map_or(Known::Awaited, |namespace| namespace.known)
    }

    /// What the endpoints of a Service are in the light of its pods.
    pub fn enlighten(&self, service: &ServiceKey, endpoints: &mut Endpoints) {
        if let Some(namespace) = self.namespaces.get(&service.namespace) {
            with_gates(endpoints, service, |pod| {
                namespace.pods.get(pod).map(|kept| &kept.facts)
            });
        }
    }

    /// A pod with a gate of ours.
    pub fn get(&self, namespace: &str, pod: &str) -> Option<&PodFacts> {
        let kept = self.namespaces.get(namespace)?.pods.get(pod)?;
        Some(&kept.facts)
    }

    /// The pods whose gate for a Service is not open.
    pub fn waiting(&self, service: &ServiceKey) -> Vec<(Arc<str>, PodFacts)> {
        let namespace = self.namespaces.get(&service.namespace);
        let pods = namespace.into_iter().flat_map(|namespace| &namespace.pods);
        let waits = |facts: &PodFacts| {
            facts
                .gate(&service.name)
                .is_some_and(|gate| !gate.is_open())
        };
        pods.filter(|(_, kept)| waits(&kept.facts))
            .map(|(name, kept)| (Arc::clone(name), kept.facts.clone()))
            .collect()
    }

    /// The watch of a namespace is refused.
    pub fn refused(&mut self, namespace: &str) -> bool {
        match self.namespaces.get_mut(namespace) {
            // What was known holds until somebody may look again.
            Some(of) if of.known == Known::Awaited => {
                of.known = Known::Refused;
                true
            }
            _ => false,
        }
    }

    /// What the watch of a namespace says. Returns the Services for which something has changed.
    pub fn event(&mut self, namespace: &str, event: Event<Item<PodFacts>>) -> Vec<ServiceKey> {
        let Some(of) = self.namespaces.get_mut(namespace) else {
            return Vec::new();
        };
        let names = match event {
            Event::Init => {
                of.listing = Some(HashSet::new());
                Vec::new()
            }
            Event::InitApply(item) => {
                if let (Some(listing), Some(name)) = (&mut of.listing, &item.meta.name) {
                    listing.insert(name.as_str().into());
                }
                of.put(item)
            }
            Event::Apply(item) => of.put(item),
            Event::Delete(item) => {
                let name = item.meta.name.unwrap_or_default();
                of.remove(&name)
            }
            Event::InitDone => {
                let listed = of.listing.take().unwrap_or_default();
                let gone: Vec<_> = of.pods.keys().cloned().collect();
                let gone = gone.iter().filter(|name| !listed.contains(*name));
                let mut names: Vec<_> = gone.flat_map(|name| of.remove(name)).collect();
                if of.known != Known::Listed {
                    of.known = Known::Listed;
                    names.extend(of.services.iter().map(|service| service.name.clone()));
                }
                names
            }
        };
        let mut changed: Vec<_> = of
            .services
            .iter()
            .filter(|service| names.contains(&service.name))
            .cloned()
            .collect();
        changed.sort();
        changed
    }

    /// What a write of ours showed.
    pub fn wrote(&mut self, namespace: &str, item: Item<PodFacts>) {
        if let Some(of) = self.namespaces.get_mut(namespace) {
            of.put(item);
        }
    }
}

impl Namespace {
    /// Returns the names of the Services for which something has changed.
    fn put(&mut self, item: Item<PodFacts>) -> Vec<Arc<str>> {
        let name = item.meta.name.unwrap_or_default();
        // One that cannot be read stays what it was.
        let Ok(facts) = item.body else {
            return Vec::new();
        };
        let version = item
            .meta
            .resource_version
            .and_then(|version| version.parse().ok());
        let before = self.pods.get(name.as_str());
        if before.is_some_and(|before| version < before.version) {
            return Vec::new();
        }
        if facts.gates.is_empty() {
            return self.remove(&name);
        }
        if before.is_some_and(|before| before.facts == facts) {
            return Vec::new();
        }
        let mut names = named(&facts);
        names.extend(
            before
                .map(|before| named(&before.facts))
                .into_iter()
                .flatten(),
        );
        self.pods.insert(name.into(), Kept { facts, version });
        names
    }

    fn remove(&mut self, name: &str) -> Vec<Arc<str>> {
        let gone = self.pods.remove(name);
        gone.map(|gone| named(&gone.facts)).unwrap_or_default()
    }
}

fn named(facts: &PodFacts) -> Vec<Arc<str>> {
    let gates = facts.gates.iter();
    gates.map(|gate| Arc::clone(&gate.service)).collect()
}
