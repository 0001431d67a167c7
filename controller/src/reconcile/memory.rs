//! What is remembered of one group of one provider, for as long as the process lives (Decides).

use std::collections::{BTreeMap, BTreeSet};

use evenkeel_core::ids::{ServiceRef, ServiceUid};
use jiff::Timestamp;

use super::roster::Group;
use crate::{
    outcome::{Notice, Told, event},
    publish::patch::Wanted,
    queue::Next,
    retry::Retry,
};

/// What is remembered of a group.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) retry: Retry,
    /// When it is worked on again.
    pub(super) planned: Next,
    /// The Services that may have something in it.
    members: BTreeMap<ServiceUid, ServiceRef>,
    told: BTreeMap<ServiceUid, Told>,
    wanted: BTreeMap<ServiceUid, (ServiceRef, Wanted)>,
    /// The Services that had our finalizer when they were last looked at.
    finalized: BTreeSet<ServiceUid>,
    /// When somebody else's writing was last made good.
    pub(super) repaired: Option<Timestamp>,
    /// When a release began.
    pub(super) leaving_since: Option<Timestamp>,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            retry: Retry::default(),
            planned: Next::Rest,
            members: BTreeMap::new(),
            told: BTreeMap::new(),
            wanted: BTreeMap::new(),
            finalized: BTreeSet::new(),
            repaired: None,
            leaving_since: None,
        }
    }
}

impl Memory {
    /// Whether something of somebody may be there.
    pub(super) fn served(&self) -> bool {
        !self.members.is_empty()
    }

    /// Something of this Service may be there from now on.
    pub(super) fn hold(&mut self, service: ServiceRef) {
        self.members.insert(service.uid.clone(), service);
    }

    /// Those that may have something in the group and are not in it any more.
    pub(super) fn departed(&self, group: &Group) -> Vec<ServiceRef> {
        let stays = |uid: &ServiceUid| {
            group
                .staying
                .iter()
                .any(|member| member.reference.uid == *uid)
        };
        self.members
            .values()
            .filter(|service| !stays(&service.uid))
            .cloned()
            .collect()
    }

    /// Nothing of this Service is there any more.
    pub(super) fn let_go(&mut self, service: &ServiceRef) {
        self.members.remove(&service.uid);
        self.told.remove(&service.uid);
        self.wanted.remove(&service.uid);
        self.finalized.remove(&service.uid);
    }

    /// A Service has our finalizer. Returns false when it had it before.
    pub(super) fn finalized(&mut self, service: &ServiceUid) -> bool {
        self.finalized.insert(service.clone())
    }

    /// Those of whom something is published and who are not in the group any more.
    pub(super) fn published_and_departed(&self, group: &Group) -> Vec<ServiceRef> {
        let here = |uid: &ServiceUid| {
            group
                .staying
                .iter()
                .any(|member| member.reference.uid == *uid)
                || group
                    .leaving
                    .iter()
                    .any(|leaving| leaving.reference.uid == *uid)
        };
        self.wanted
            .iter()
            .filter(|(uid, _)| !here(uid))
            .map(|(_, (service, _))| service.clone())
            .collect()
    }

    /// What a Service was told. `serving` says that it was published as serving, should this be the first time we meet it.
    pub(super) fn told(&mut self, service: &ServiceUid, serving: bool) -> &mut Told {
        self.told.entry(service.clone()).or_insert_with(|| {
            let mut told = Told::default();
            if serving {
                told.was_serving();
            }
            told
        })
    }

    /// What was last published of a Service.
    pub(super) fn published(&self, service: &ServiceUid) -> Option<&Wanted> {
        self.wanted.get(service).map(|(_, wanted)| wanted)
    }

    /// Remembers what is being published.
    pub(super) fn publishes(&mut self, service: &ServiceRef, wanted: Wanted) {
        self.wanted
            .insert(service.uid.clone(), (service.clone(), wanted));
    }

    /// What to tell when the first write of a run is made.
    pub(super) fn news(&mut self, group: &Group, changed: bool) -> Vec<(ServiceRef, Notice)> {
        let mut news = Vec::new();
        for member in &group.staying {
            let serving = super::publish::says_serving(&member.service);
            if let Some(notice) = self.told(&member.reference.uid, serving).beginning(changed) {
                news.push((member.reference.clone(), notice));
            }
        }
        for leaving in &group.leaving {
            let told = self.told(&leaving.reference.uid, false);
            if let Some(notice) = told.releasing() {
                news.push((leaving.reference.clone(), notice));
            }
        }
        news
    }

    /// The first write was made, and that was told.
    pub(super) fn began(&mut self, news: &[(ServiceRef, Notice)]) {
        for (service, notice) in news {
            let told = self.told(&service.uid, false);
            if notice.reason == event::DELETING {
                told.began_release();
            } else {
                told.began();
            }
        }
    }
}
