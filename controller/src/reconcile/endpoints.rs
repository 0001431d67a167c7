//! The endpoints of Services whose targets they are (Reads).
//!
//! Only a provider tells whether targets are endpoints. The first Service of which one says so begins the watch; each begins
//! with a list of its own slices, and so does each of which the watch had a doubt.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::Context as _;
use evenkeel_core::{
    endpoints::{EndpointSet, SliceFacts},
    engine::{Ask, Report},
    ids::ServiceKey,
};
use kube::runtime::watcher::Event;
use tracing::warn;

use super::{Reconciler, lock, roster::Member, work::Run};
use crate::{queue::Why, watch::item::Item};

/// How long a list may take: the group waits for it.
const PATIENCE: Duration = Duration::from_secs(10);

/// The endpoints that a run goes by.
#[derive(Clone, Debug)]
pub(super) struct Followed {
    pub(super) endpoints: Arc<EndpointSet>,
    /// Those of some Service could not be read: its targets stay, and it is tried again.
    pub(super) missing: bool,
}

impl Reconciler {
    /// What the watch of EndpointSlices says: asks for the groups that it is about.
    pub(crate) fn hear_of_endpoints(&self, event: Event<Item<SliceFacts>>) {
        let changed = lock(&self.endpoints).event(event);
        for service in changed {
            self.ask_where_served(&service);
        }
    }

    /// Asks for every group in which a Service is, or in which something of it may be.
    pub(super) fn ask_where_served(&self, key: &ServiceKey) {
        let (group, uid) = {
            let services = self.services();
            let uid = services
                .get(key)
                .and_then(|known| known.metadata.uid.clone());
            (services.group(key).cloned(), uid)
        };
        let others: Vec<_> = {
            let holdings = lock(&self.holdings);
            let of_service =
                uid.and_then(|uid| holdings.get(&evenkeel_core::ids::ServiceUid::new(uid)));
            let groups = of_service.into_iter().flatten();
            groups.map(|(_, group)| group.clone()).collect()
        };
        for group in group.into_iter().chain(others) {
            self.queue.ask(group, Why::WORK);
        }
    }

    /// Waits until somebody's targets are endpoints.
    pub(crate) async fn endpoints_are_followed(&self) {
        self.follows_endpoints.cancelled().await;
    }
}

impl Run<'_> {
    /// The endpoints of those who are served, where the provider follows them.
    pub(super) async fn endpoints(&self, ask: &Ask) -> Followed {
        let none = || Followed {
            endpoints: Arc::new(EndpointSet::unknown()),
            missing: false,
        };
        if !self.provider.follows_endpoints {
            return none();
        }
        for leaving in &self.group.leaving {
            self.forget_endpoints(&leaving.reference.key).await;
        }
        let members = self.group.served();
        let follows = match ask {
            Ask::Release => Some(false),
            ask => self.provider.engine.follows_endpoints(self.key, ask),
        };
        // Where nothing tells it stays as it was.
        if !follows.unwrap_or_else(|| self.follows(&members)) {
            for member in &members {
                self.forget_endpoints(&member.reference.key).await;
            }
            return none();
        }
        let mut missing = false;
        let mut services = BTreeMap::new();
        for member in members {
            let key = &member.reference.key;
            if let Err(error) = self.list_endpoints(key).await {
                missing = true;
                warn!(
                    service.name = %key.name,
                    error = format!("{error:#}"),
                    "the endpoints of the Service cannot be read; its targets stay as they are, and it is tried again"
                );
            }
            if !self.follow_pods(key).await {
                missing = true;
                warn!(
                    service.name = %key.name,
                    "the pods of the Service could not be listed yet; its targets stay as they are, and it is tried again"
                );
                continue;
            }
            let found = lock(&self.all.endpoints).of(key, &member.service);
            if let Some(mut found) = found {
                self.enlighten(key, &mut found);
                services.insert(member.reference.uid.clone(), found);
            }
        }
        Followed {
            endpoints: Arc::new(EndpointSet::new(services)),
            missing,
        }
    }

    /// Only what there is told that targets are endpoints: they are followed from now on.
    pub(super) fn begin_to_follow(&self, report: &Report) {
        let members = self.group.served();
        if !report.follows_endpoints || self.follows(&members) {
            return;
        }
        let mut cache = lock(&self.all.endpoints);
        for member in members {
            cache.want(&member.reference.key);
        }
        self.all.queue.ask(self.key.clone(), Why::WORK);
    }

    /// Whether the endpoints of these are followed.
    fn follows(&self, members: &[&Member]) -> bool {
        let cache = lock(&self.all.endpoints);
        members
            .iter()
            .any(|member| cache.wants(&member.reference.key))
    }

    /// Whether the targets of one who stays are endpoints, and not nodes.
    pub(super) fn is_served_by_endpoints(&self, member: &Member) -> bool {
        lock(&self.all.endpoints).wants(&member.reference.key)
    }

    /// The targets of a Service are no endpoints, at least not here.
    async fn forget_endpoints(&self, service: &ServiceKey) {
        let elsewhere = self.all.services().group(service).cloned();
        let wanted = lock(&self.all.endpoints).wants(service);
        lock(&self.all.endpoints).forget(service);
        if wanted && elsewhere.is_none_or(|group| group == *self.key) {
            self.let_pods_go(service).await;
        }
    }

    async fn list_endpoints(&self, service: &ServiceKey) -> anyhow::Result<()> {
        if !lock(&self.all.endpoints).want(service) {
            return Ok(());
        }
        // The watch is to tell of all that happens after the list.
        self.all.follows_endpoints.cancel();
        let list = tokio::time::timeout(PATIENCE, self.all.publisher.slices(service)).await;
        let (version, slices) = list.context("the API server did not answer in time")??;
        lock(&self.all.endpoints).listed(service, version, slices);
        Ok(())
    }
}
