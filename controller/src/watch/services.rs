//! The Services we may have to do with, and the groups they are in (Decides).
//!
//! Stored are only those that ask for a load balancer of ours, and those we still owe a release. What we write ourselves is
//! put in at once, so that no decision rests on a state older than our own last write; an event that is older than what is
//! known is dropped.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use evenkeel_core::{
    annotation::{NEUTRAL, key},
    claim::{Claim, ClaimRules, claim, leaving, owned_by},
    ids::{GroupKey, ServiceKey, ServiceRef, ServiceUid},
};
use k8s_openapi::api::core::v1::Service;
use kube::runtime::watcher::Event;

use super::item::Item;
use crate::queue::Why;

#[cfg(test)]
mod tests;

/// Groups to work on, and why.
pub type Wakes = Vec<(GroupKey, Why)>;

#[derive(Clone, Debug)]
struct Entry {
    service: Arc<Service>,
    group: GroupKey,
}

/// The cache.
#[derive(Debug)]
pub struct ServiceCache {
    rules: ClaimRules,
    entries: HashMap<ServiceKey, Entry>,
    groups: HashMap<GroupKey, Vec<ServiceKey>>,
    /// The keys that a list in progress has named so far.
    listing: Option<HashSet<ServiceKey>>,
}

impl ServiceCache {
    /// An empty cache.
    pub fn new(rules: ClaimRules) -> Self {
        Self {
            rules,
            entries: HashMap::new(),
            groups: HashMap::new(),
            listing: None,
        }
    }

    /// What a watch says. Returns the groups to work on, and true when a list is complete.
    pub fn event(&mut self, event: Event<Item<Service>>) -> (Wakes, bool) {
        match event {
            Event::Init => {
                self.listing = Some(HashSet::new());
                (Vec::new(), false)
            }
            Event::InitApply(item) => {
                if let (Some(listing), Some(key)) = (&mut self.listing, key_of(&item)) {
                    listing.insert(key);
                }
                // A list may be older than what we wrote, or of a server that was restored: it is believed either way, and
                // what is newer follows.
                (self.put(item, false), false)
            }
            Event::Apply(item) => (self.put(item, true), false),
            Event::Delete(item) => {
                let gone = key_of(&item).filter(|key| {
                    let known = self.entries.get(key);
                    known.is_some_and(|known| known.service.metadata.uid == item.meta.uid)
                });
                (gone.map(|key| self.forget(&key)).unwrap_or_default(), false)
            }
            Event::InitDone => {
                let listed = self.listing.take().unwrap_or_default();
                let gone: Vec<_> = self
                    .entries
                    .keys()
                    .filter(|key| !listed.contains(key))
                    .cloned()
                    .collect();
                (gone.iter().flat_map(|key| self.forget(key)).collect(), true)
            }
        }
    }

    /// The state that a write or a read of ours showed.
    pub fn known(&mut self, item: Item<Service>) -> Wakes {
        self.put(item, true)
    }

    /// A read of ours found no such Service any more.
    pub fn absent(&mut self, service: &ServiceRef) -> Wakes {
        let known = self
            .get(&service.key)
            .and_then(|known| known.metadata.uid.as_deref());
        if known == Some(service.uid.as_str()) {
            self.forget(&service.key)
        } else {
            Vec::new()
        }
    }

    /// The group that a Service is in.
    pub fn group(&self, key: &ServiceKey) -> Option<&GroupKey> {
        self.entries.get(key).map(|entry| &entry.group)
    }

    /// A Service.
    pub fn get(&self, key: &ServiceKey) -> Option<&Arc<Service>> {
        self.entries.get(key).map(|entry| &entry.service)
    }

    /// The Services of a group.
    pub fn members(&self, group: &GroupKey) -> Vec<Arc<Service>> {
        let keys = self.groups.get(group).into_iter().flatten();
        keys.filter_map(|key| self.get(key)).cloned().collect()
    }

    /// Every group that has a Service.
    pub fn groups(&self) -> impl Iterator<Item = &GroupKey> {
        self.groups.keys()
    }

    /// Every Service with its group.
    pub fn all(&self) -> impl Iterator<Item = (&Arc<Service>, &GroupKey)> {
        self.entries
            .values()
            .map(|entry| (&entry.service, &entry.group))
    }

    fn put(&mut self, item: Item<Service>, in_order: bool) -> Wakes {
        let Some(key) = key_of(&item) else {
            return Vec::new();
        };
        // Named in the log already; what was known of it stays, so that nothing is torn down.
        let Ok(service) = item.body else {
            return Vec::new();
        };
        let known = self.entries.get(&key).cloned();
        if in_order
            && known
                .as_ref()
                .is_some_and(|known| is_older(&service, &known.service))
        {
            return Vec::new();
        }
        let now = claim(&service, &self.rules);
        if now == Claim::NotOurs && leaving(&service, &self.rules).is_empty() {
            return self.forget(&key);
        }
        let before = known.as_ref().map(|known| &known.group);
        let group = group_of(&service, before);
        let mut wakes = Vec::new();
        match &known {
            Some(known) if known.group == group => {
                if let Some(why) = difference(&known.service, &service, &self.rules) {
                    wakes.push((group.clone(), why));
                }
            }
            Some(known) => {
                wakes.push((known.group.clone(), Why::CHANGED));
                wakes.push((group.clone(), Why::CHANGED));
            }
            None => wakes.push((group.clone(), Why::CHANGED)),
        }
        self.leave_group(&key);
        let members = self.groups.entry(group.clone()).or_default();
        members.reserve_exact(1);
        members.push(key.clone());
        self.entries.insert(
            key,
            Entry {
                service: Arc::new(service),
                group,
            },
        );
        wakes
    }

    fn forget(&mut self, key: &ServiceKey) -> Wakes {
        self.leave_group(key);
        self.entries
            .remove(key)
            .map(|entry| vec![(entry.group, Why::CHANGED)])
            .unwrap_or_default()
    }

    fn leave_group(&mut self, key: &ServiceKey) {
        if let Some(entry) = self.entries.get(key)
            && let Some(members) = self.groups.get_mut(&entry.group)
        {
            members.retain(|member| member != key);
            if members.is_empty() {
                self.groups.remove(&entry.group);
            }
        }
    }
}

fn key_of(item: &Item<Service>) -> Option<ServiceKey> {
    Some(ServiceKey::new(
        item.meta.namespace.as_deref()?,
        item.meta.name.as_deref()?,
    ))
}

/// The identity of a Service that the API server has.
pub fn reference(service: &Service) -> ServiceRef {
    let text = |text: &Option<String>| text.as_deref().unwrap_or_default().to_owned();
    ServiceRef {
        key: ServiceKey::new(
            text(&service.metadata.namespace),
            text(&service.metadata.name),
        ),
        uid: ServiceUid::new(text(&service.metadata.uid)),
    }
}

/// The group that the raw annotation names. One that cannot be read moves nobody: the Service stays where it was.
fn group_of(service: &Service, before: Option<&GroupKey>) -> GroupKey {
    let reference = reference(service);
    let annotations = service.metadata.annotations.clone().unwrap_or_default();
    match NEUTRAL.reader(&annotations).text(key::GROUP) {
        Ok(Some(name)) => GroupKey::Shared {
            namespace: reference.key.namespace,
            name,
        },
        Ok(None) => GroupKey::Service(reference),
        Err(_) => match before {
            Some(shared @ GroupKey::Shared { .. }) => shared.clone(),
            _ => GroupKey::Service(reference),
        },
    }
}

/// Whether a state comes before another of the same object. Versions of one object grow; of two objects of one name
/// nothing is known.
fn is_older(service: &Service, than: &Service) -> bool {
    let version = |service: &Service| {
        service
            .metadata
            .resource_version
            .as_deref()?
            .parse::<u64>()
            .ok()
    };
    service.metadata.uid == than.metadata.uid
        && matches!((version(service), version(than)), (Some(this), Some(other)) if this < other)
}

/// What is different, as far as it means work.
fn difference(before: &Service, now: &Service, rules: &ClaimRules) -> Option<Why> {
    let meta = |service: &Service| {
        let meta = &service.metadata;
        (
            meta.uid.clone(),
            meta.annotations.clone(),
            meta.labels.clone(),
            meta.deletion_timestamp.is_some(),
        )
    };
    let lost = || {
        let now = owned_by(now);
        owned_by(before)
            .iter()
            .any(|owner| rules.enabled.contains(owner) && !now.contains(owner))
    };
    if before.spec != now.spec
        || meta(before) != meta(now)
        || lost()
        || claim(before, rules) != claim(now, rules)
    {
        return Some(Why::CHANGED);
    }
    (before.status != now.status).then_some(Why::PUBLISHED)
}
