//! What is remembered of one group of one provider, for as long as the process lives (Decides).

use evenkeel_core::ids::ServiceRef;
use jiff::Timestamp;

use super::roster::{Group, Leaving, Member};
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
    /// Nearly always one. There is a memory per group, of ten thousand: no maps, which take room for many at once.
    services: Vec<Known>,
    /// When somebody else's writing was last made good.
    pub(super) repaired: Option<Timestamp>,
    /// Since when it goes well and has not ended: since the first run that only waits.
    pub(super) waiting_since: Option<Timestamp>,
    /// When a release began.
    pub(super) leaving_since: Option<Timestamp>,
}

/// What is remembered of a Service.
#[derive(Debug)]
struct Known {
    service: ServiceRef,
    /// Something of it may be there.
    holds: bool,
    /// It had our finalizer when it was last looked at.
    finalized: bool,
    /// None before the first telling.
    told: Option<Told>,
    wanted: Option<Wanted>,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            retry: Retry::default(),
            planned: Next::Rest,
            services: Vec::new(),
            repaired: None,
            waiting_since: None,
            leaving_since: None,
        }
    }
}

impl Memory {
    fn known(&mut self, service: &ServiceRef) -> &mut Known {
        let place = self
            .services
            .iter()
            .position(|known| known.service.uid == service.uid);
        let place = place.unwrap_or_else(|| {
            self.services.reserve_exact(1);
            self.services.push(Known {
                service: service.clone(),
                holds: false,
                finalized: false,
                told: None,
                wanted: None,
            });
            self.services.len() - 1
        });
        &mut self.services[place]
    }

    /// Whether something of somebody may be there.
    pub(super) fn served(&self) -> bool {
        self.services.iter().any(|known| known.holds)
    }

    /// Something of this Service may be there from now on.
    pub(super) fn hold(&mut self, service: &ServiceRef) {
        self.known(service).holds = true;
    }

    /// Those that may have something in the group and are not in it any more.
    pub(super) fn departed(&self, group: &Group) -> Vec<ServiceRef> {
        let departed = self
            .services
            .iter()
            .filter(|known| known.holds && !stays(known, group));
        departed.map(|known| known.service.clone()).collect()
    }

    /// Nothing of this Service is there any more.
    pub(super) fn let_go(&mut self, service: &ServiceRef) {
        self.services
            .retain(|known| known.service.uid != service.uid);
    }

    /// A Service has our finalizer. Returns false when it had it before.
    pub(super) fn finalized(&mut self, service: &ServiceRef) -> bool {
        !std::mem::replace(&mut self.known(service).finalized, true)
    }

    /// Those of whom something is published and who are not in the group any more.
    pub(super) fn published_and_departed(&self, group: &Group) -> Vec<ServiceRef> {
        let departed = self.services.iter().filter(|known| {
            known.wanted.is_some() && !stays(known, group) && !leaves(known, group)
        });
        departed.map(|known| known.service.clone()).collect()
    }

    /// What a Service was told. `serving` says that it was published as serving, should this be the first time we meet it.
    pub(super) fn told(&mut self, service: &ServiceRef, serving: bool) -> &mut Told {
        self.known(service).told.get_or_insert_with(|| {
            let mut told = Told::default();
            if serving {
                told.was_serving();
            }
            told
        })
    }

    /// What was last published of a Service.
    pub(super) fn published(&self, service: &ServiceRef) -> Option<&Wanted> {
        let known = self
            .services
            .iter()
            .find(|known| known.service.uid == service.uid);
        known?.wanted.as_ref()
    }

    /// Remembers what is being published.
    pub(super) fn publishes(&mut self, service: &ServiceRef, wanted: Wanted) {
        self.known(service).wanted = Some(wanted);
    }

    /// What holds and has to be told again by now.
    pub(super) fn renewals(&mut self, now: Timestamp) -> Vec<(ServiceRef, Notice)> {
        let mut renewals = Vec::new();
        for known in &mut self.services {
            let notices = known.told.iter_mut().flat_map(|told| told.renewals(now));
            renewals.extend(notices.map(|notice| (known.service.clone(), notice)));
        }
        renewals
    }

    /// When something has to be told again.
    pub(super) fn next_renewal(&self) -> Option<Timestamp> {
        let told = self.services.iter().filter_map(|known| known.told.as_ref());
        told.filter_map(Told::next_renewal).min()
    }

    /// What to tell when the first write of a run is made.
    pub(super) fn news(&mut self, group: &Group, changed: bool) -> Vec<(ServiceRef, Notice)> {
        let mut news = Vec::new();
        for member in &group.staying {
            let serving = super::publish::says_serving(&member.service);
            if let Some(notice) = self.told(&member.reference, serving).beginning(changed) {
                news.push((member.reference.clone(), notice));
            }
        }
        for leaving in &group.leaving {
            let told = self.told(&leaving.reference, false);
            if let Some(notice) = told.releasing() {
                news.push((leaving.reference.clone(), notice));
            }
        }
        news
    }

    /// The first write was made, and that was told.
    pub(super) fn began(&mut self, news: &[(ServiceRef, Notice)]) {
        for (service, notice) in news {
            let told = self.told(service, false);
            if notice.reason == event::DELETING {
                told.began_release();
            } else {
                told.began();
            }
        }
    }
}

fn stays(known: &Known, group: &Group) -> bool {
    let is = |member: &Member| member.reference.uid == known.service.uid;
    group.staying.iter().chain(&group.moving).any(is)
}

fn leaves(known: &Known, group: &Group) -> bool {
    let is = |leaving: &Leaving| leaving.reference.uid == known.service.uid;
    group.leaving.iter().any(is)
}
