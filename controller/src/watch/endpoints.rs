//! The EndpointSlices of the Services whose targets they are (Decides).
//!
//! One watch tells of every slice of the cluster; kept are those of Services that somebody asked for. What is known of a
//! Service begins with a list of its own, because the watch says nothing of what was there before. After a list of the watch that
//! has no word of a slice any more, its Service is listed anew: an answer that came back short must not take the targets
//! away.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use evenkeel_core::{
    endpoints::{Endpoints, SliceFacts, endpoints},
    ids::ServiceKey,
};
use k8s_openapi::{api::core::v1::Service, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::runtime::watcher::Event;

use super::item::Item;

#[cfg(test)]
mod tests;

/// Namespace and name of a slice.
type SliceName = (Arc<str>, Arc<str>);

/// The cache.
#[derive(Debug, Default)]
pub struct EndpointCache {
    services: HashMap<ServiceKey, Entry>,
    /// The Service of each slice that is kept.
    owners: HashMap<SliceName, ServiceKey>,
    /// The slices that a list in progress has named so far.
    listing: Option<HashSet<SliceName>>,
}

/// What is known of one Service.
#[derive(Debug, Default)]
struct Entry {
    slices: HashMap<Arc<str>, Known>,
    /// Whether a list said all that is there, and no doubt has come since.
    sure: bool,
    /// The slices that went while a list is awaited, and in which version: the list may be older.
    gone: HashMap<Arc<str>, Option<u64>>,
}

#[derive(Debug)]
struct Known {
    facts: SliceFacts,
    version: Option<u64>,
}

impl EndpointCache {
    /// Somebody follows the endpoints of a Service. Returns whether a list of its slices is needed for that.
    pub fn want(&mut self, service: &ServiceKey) -> bool {
        !self.services.entry(service.clone()).or_default().sure
    }

    /// Whether somebody follows the endpoints of a Service.
    pub fn wants(&self, service: &ServiceKey) -> bool {
        self.services.contains_key(service)
    }

    /// Nobody does any more.
    pub fn forget(&mut self, service: &ServiceKey) {
        if self.services.remove(service).is_some() {
            self.owners.retain(|_, owner| owner != service);
        }
    }

    /// The endpoints of a Service; None when they are not known for sure.
    pub fn of(&self, service: &ServiceKey, object: &Service) -> Option<Endpoints> {
        let entry = self.services.get(service).filter(|entry| entry.sure)?;
        let slices = entry.slices.values().map(|known| &known.facts);
        Some(endpoints(object, slices))
    }

    /// What the watch says. Returns the Services whose endpoints are others now, or are in doubt.
    pub fn event(&mut self, event: Event<Item<SliceFacts>>) -> Vec<ServiceKey> {
        match event {
            Event::Init => {
                self.listing = Some(HashSet::new());
                Vec::new()
            }
            Event::InitApply(item) => {
                if let Some(listing) = &mut self.listing {
                    listing.insert(name_of(&item.meta));
                }
                self.put(item)
            }
            Event::Apply(item) => self.put(item),
            Event::Delete(item) => {
                let (name, version) = (name_of(&item.meta), version_of(&item.meta));
                self.remove(&name, version).into_iter().collect()
            }
            Event::InitDone => self.doubt_the_unnamed(),
        }
    }

    /// The slices of a Service, as a list of them alone has them. What the watch said may be newer than its version.
    pub fn listed(
        &mut self,
        service: &ServiceKey,
        version: Option<u64>,
        items: Vec<Item<SliceFacts>>,
    ) {
        let Some(entry) = self.services.get_mut(service) else {
            return;
        };
        let named: HashSet<Arc<str>> = items.iter().map(|item| name_of(&item.meta).1).collect();
        let gone = std::mem::take(&mut entry.gone);
        entry.sure = true;
        let lost: Vec<_> = entry
            .slices
            .iter()
            .filter(|(name, known)| !named.contains(*name) && known.version <= version)
            .map(|(name, _)| Arc::clone(name))
            .collect();
        for name in lost {
            self.remove(&(Arc::clone(&service.namespace), name), version);
        }
        for item in items {
            let went = gone.get(&name_of(&item.meta).1);
            if went.is_none_or(|went| *went <= version) {
                self.put(item);
            }
        }
    }

    fn put(&mut self, item: Item<SliceFacts>) -> Vec<ServiceKey> {
        let name = name_of(&item.meta);
        // One that cannot be read stays what it was.
        let Ok(facts) = item.body else {
            return Vec::new();
        };
        let service = facts
            .service
            .as_ref()
            .map(|service| ServiceKey::new(Arc::clone(&name.0), Arc::clone(service)));
        let mut changed = Vec::new();
        if self
            .owners
            .get(&name)
            .is_some_and(|owner| service.as_ref() != Some(owner))
        {
            changed.extend(self.remove(&name, version_of(&item.meta)));
        }
        let Some(service) = service else {
            return changed;
        };
        let Some(entry) = self.services.get_mut(&service) else {
            return changed;
        };
        let version = version_of(&item.meta);
        if let Some(known) = entry.slices.get_mut(&name.1) {
            if version < known.version {
                return changed;
            }
            known.version = version;
            if known.facts == facts {
                return changed;
            }
            known.facts = facts;
        } else {
            entry.gone.remove(&name.1);
            entry
                .slices
                .insert(Arc::clone(&name.1), Known { facts, version });
            self.owners.insert(name, service.clone());
        }
        if entry.sure {
            changed.push(service);
        }
        changed
    }

    fn remove(&mut self, name: &SliceName, version: Option<u64>) -> Option<ServiceKey> {
        let Some(service) = self.owners.remove(name) else {
            // It may be in a list that is under way.
            for (service, entry) in &mut self.services {
                if !entry.sure && service.namespace == name.0 {
                    entry.gone.insert(Arc::clone(&name.1), version);
                }
            }
            return None;
        };
        let entry = self.services.get_mut(&service)?;
        entry.slices.remove(&name.1);
        if !entry.sure {
            entry.gone.insert(Arc::clone(&name.1), version);
        }
        entry.sure.then_some(service)
    }

    /// A list of the watch is complete: those of whose slices it has no word are to be listed anew.
    fn doubt_the_unnamed(&mut self) -> Vec<ServiceKey> {
        let listed = self.listing.take().unwrap_or_default();
        let doubted: HashSet<ServiceKey> = self
            .owners
            .iter()
            .filter(|(name, _)| !listed.contains(*name))
            .map(|(_, service)| service.clone())
            .collect();
        for service in &doubted {
            if let Some(entry) = self.services.get_mut(service) {
                entry.sure = false;
            }
        }
        doubted.into_iter().collect()
    }
}

fn name_of(meta: &ObjectMeta) -> SliceName {
    let text = |text: &Option<String>| Arc::from(text.as_deref().unwrap_or_default());
    (text(&meta.namespace), text(&meta.name))
}

fn version_of(meta: &ObjectMeta) -> Option<u64> {
    meta.resource_version.as_deref()?.parse().ok()
}
