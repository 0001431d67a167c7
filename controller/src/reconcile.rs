//! One group of Services, from what Kubernetes says to what it is told back (Reads and Writes through its parts).
//!
//! ```text
//! roster    who is in the group, who leaves it, on whom another's hand is
//! ask       what that asks of the provider: serve, keep, or release
//! prepare   our finalizer before the first write; a fresh look before a release
//! engine    the provider makes it so, as far as it goes now
//! publish   status and events of those who stay
//! release   our hand off those who leave, once nothing of theirs is there
//! retry     when to come back
//! ```
//!
//! A group is worked on once at a time. Nothing here is remembered beyond the process: whatever is lost with it is found
//! again by looking.

mod census;
mod endpoints;
mod following;
pub(crate) mod foresee;
mod gates;
mod memory;
mod nodes;
mod probing;
mod publish;
mod release;
mod roster;
mod snapshot;
mod work;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, Once, PoisonError},
    time::{Duration, Instant},
};

use evenkeel_core::{
    claim::{Claim, ClaimRules, claim},
    error::chain,
    ids::{Cluster, GroupKey, ProviderName, ServiceRef, ServiceUid},
    ticket::Ticket,
};
use k8s_openapi::api::core::v1::Service;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, info, info_span, warn};

use crate::{
    clock::Clock,
    metrics::Metrics,
    providers::{Installed, Measures},
    publish::{Publisher, WriteError, events::Events},
    queue::{Next, Shared, Turn, Why},
    standing::ControllerStanding,
    sweep::sweep,
    watch::{
        endpoints::EndpointCache, item::Item, nodes::NodeCache, pods::PodCache,
        services::ServiceCache,
    },
};
use census::Census;
use gates::PodWatch;
use memory::Memory;
use nodes::NodeNews;
use roster::{Member, Roster};
use work::Run;

/// What a reconciler is made of.
pub(crate) struct Parts {
    pub(crate) cluster: Cluster,
    pub(crate) rules: ClaimRules,
    pub(crate) providers: Vec<Installed>,
    pub(crate) publisher: Publisher,
    pub(crate) events: Events,
    pub(crate) metrics: Metrics,
    pub(crate) standing: Arc<ControllerStanding>,
    pub(crate) ticket: Ticket,
    pub(crate) resync: Duration,
    pub(crate) started: Instant,
    pub(crate) clock: Clock,
}

/// Works on groups.
pub(crate) struct Reconciler {
    cluster: Cluster,
    rules: ClaimRules,
    providers: BTreeMap<ProviderName, Installed>,
    publisher: Publisher,
    events: Events,
    metrics: Metrics,
    standing: Arc<ControllerStanding>,
    ticket: Ticket,
    resync: Duration,
    started: Instant,
    clock: Clock,
    first: Once,
    queue: Arc<Shared<GroupKey>>,
    services: Mutex<ServiceCache>,
    nodes: Mutex<NodeCache>,
    node_news: Mutex<NodeNews>,
    /// The nodes are to be listed anew, for labels that nobody has looked at before.
    labels_missing: Notify,
    memories: Mutex<HashMap<(GroupKey, ProviderName), Memory>>,
    /// The groups in which a Service may still have something. Our finalizer stays until there is none.
    holdings: Mutex<HashMap<ServiceUid, Vec<(ProviderName, GroupKey)>>>,
    /// Where those are served, as their status says, of whom something may still be elsewhere.
    arrived: Mutex<HashMap<ServiceUid, (ProviderName, GroupKey)>>,
    /// Foreign hands that were told of.
    hands: Mutex<HashMap<ServiceUid, String>>,
    census: Mutex<Census>,
    endpoints: Mutex<EndpointCache>,
    /// Done when somebody's targets are endpoints.
    follows_endpoints: CancellationToken,
    pods: Mutex<PodCache>,
    /// A first list of the pods of a namespace is there, or is refused.
    pods_heard: Notify,
    pod_watches: PodWatches,
    kube_proxy_asked: Mutex<following::Asked>,
    /// Providers that have not answered the last look at the whole of them.
    unseen: Mutex<BTreeSet<ProviderName>>,
}

/// The namespaces whose pods are to be watched, from who needs it to who does it.
type PodWatches = (
    mpsc::UnboundedSender<PodWatch>,
    Mutex<Option<mpsc::UnboundedReceiver<PodWatch>>>,
);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Reconciler {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts {
            cluster,
            rules,
            providers,
            publisher,
            events,
            metrics,
            standing,
            ticket,
            resync,
            started,
            clock,
        } = parts;
        let (begun, to_watch) = mpsc::unbounded_channel();
        let queue = Arc::new(Shared::new(clock.clone()));
        for provider in &providers {
            let queue = queue.clone();
            let wake = move |group: &GroupKey| queue.ask(group.clone(), Why::WORK);
            provider.engine.attach(Arc::new(wake));
        }
        Self {
            services: Mutex::new(ServiceCache::new(rules.clone())),
            cluster,
            rules,
            providers: providers
                .into_iter()
                .map(|provider| (provider.name.clone(), provider))
                .collect(),
            publisher,
            events,
            metrics,
            standing,
            ticket,
            resync,
            started,
            clock,
            first: Once::new(),
            queue,
            nodes: Mutex::default(),
            node_news: Mutex::default(),
            labels_missing: Notify::new(),
            memories: Mutex::default(),
            holdings: Mutex::default(),
            arrived: Mutex::default(),
            hands: Mutex::default(),
            census: Mutex::default(),
            endpoints: Mutex::default(),
            follows_endpoints: CancellationToken::new(),
            pods: Mutex::default(),
            pods_heard: Notify::new(),
            pod_watches: (begun, Mutex::new(Some(to_watch))),
            kube_proxy_asked: Mutex::default(),
            unseen: Mutex::default(),
        }
    }

    pub(crate) fn queue(&self) -> &Arc<Shared<GroupKey>> {
        &self.queue
    }

    pub(crate) fn services(&self) -> MutexGuard<'_, ServiceCache> {
        lock(&self.services)
    }

    pub(crate) fn nodes(&self) -> MutexGuard<'_, NodeCache> {
        lock(&self.nodes)
    }

    /// Brings the gauges up to date.
    pub(crate) fn refresh_gauges(&self) {
        self.metrics.set_queue_depth(self.queue.depth());
        lock(&self.census).tell(self.providers.keys(), &self.metrics, self.clock.now());
    }

    /// What the providers' own processes measure.
    pub(crate) fn measures(&self) -> Vec<Measures> {
        let providers = self.providers.values();
        providers
            .filter_map(|provider| provider.measures.clone())
            .collect()
    }

    /// Takes the first look at a provider, and sorts what is there. One that could not be asked is looked at again.
    pub(crate) async fn first_look(&self, name: &ProviderName) {
        let Some(provider) = self.providers.get(name) else {
            return;
        };
        // So too where this is cut.
        lock(&self.unseen).insert(name.clone());
        let looked = provider.engine.inventory().await;
        self.looked(name, looked.as_ref().map(|_| ()));
        let found = match looked {
            Ok(found) => found,
            Err(error) => {
                warn!(
                    provider = name.as_str(),
                    error.class = error.class.as_str(),
                    error = chain(&error),
                    "the provider cannot be looked at yet"
                );
                return;
            }
        };
        lock(&self.unseen).remove(name);
        info!(
            provider = name.as_str(),
            load_balancers = found.len(),
            "looked at the provider"
        );
        let swept = {
            let services = self.services();
            sweep(
                name,
                found,
                services.all().map(|(service, group)| (&**service, group)),
            )
        };
        self.metrics.set_orphans(name.as_str(), swept.orphans.len());
        for orphan in &swept.orphans {
            warn!(
                provider = name.as_str(),
                identity = orphan.identity,
                service = orphan.service,
                objects = orphan.objects,
                "a load balancer of this cluster has no Service any more; it is left alone: delete it by hand when nobody needs it"
            );
            self.tell_of_orphan(name, orphan);
        }
        for (group, owner) in swept.left {
            let key = (group.clone(), name.clone());
            lock(&self.memories).entry(key).or_default().hold(&owner);
            self.hold(&owner, name, &group);
            self.queue.ask(group, Why::WORK);
        }
    }

    /// Works on one group.
    pub(crate) async fn reconcile(&self, turn: Turn<GroupKey>) -> Next {
        let Turn { key, why, waited } = turn;
        self.metrics.waited_in_queue(waited);
        let members = self.services().members(&key);
        let mut roster = Roster::of(members, &self.rules);
        self.tell_of_hands(&roster);
        let mut next = Next::Rest;
        for (name, provider) in &self.providers {
            let memory = lock(&self.memories).remove(&(key.clone(), name.clone()));
            let mut group = roster.take(name);
            if let Some(memory) = &memory {
                group.moving = self.moving(memory.departed(&group), name, &key);
            }
            if memory.is_none() && group.is_empty() {
                continue;
            }
            let span = info_span!(
                "reconcile",
                service.namespace = key.namespace(),
                service.name = key.name(),
                provider = name.as_str()
            );
            let run = Run {
                all: self,
                provider,
                key: &key,
                group,
            };
            let (memory, this) = match memory {
                Some(memory) if !why.work => run.uphold(memory).instrument(span).await,
                memory => {
                    run.work(memory.unwrap_or_default(), why)
                        .instrument(span)
                        .await
                }
            };
            next = next.sooner(this);
            if let Some(memory) = memory {
                lock(&self.memories).insert((key.clone(), name.clone()), memory);
            }
        }
        self.first.call_once(|| {
            let duration_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
            info!(duration_ms, "first reconcile after the start");
        });
        next
    }

    fn tell_of_hands(&self, roster: &Roster) {
        let mut hands = lock(&self.hands);
        for (service, hand) in &roster.foreign {
            let text = hand.to_string();
            if hands.insert(service.uid.clone(), text.clone()).as_ref() != Some(&text) {
                info!(service.namespace = %service.key.namespace, service.name = %service.key.name, "left alone: {text}");
                self.events.tell(service, hand.warning().into());
            }
        }
    }

    /// Takes in what a read or a write of ours showed. Returns whether it asks for something else than was known.
    fn learn(&self, item: Item<Service>) -> bool {
        let wakes = self.services().known(item);
        let mut changed = false;
        for (key, why) in wakes.into_iter().filter(|(_, why)| why.changed) {
            changed = true;
            self.queue.ask(key, why);
        }
        changed
    }

    /// Reads a Service anew. Returns whether it is another than was known.
    async fn refresh(&self, service: &ServiceRef) -> Result<bool, WriteError> {
        let before = self
            .services()
            .get(&service.key)
            .and_then(|known| known.metadata.resource_version.clone());
        match self.publisher.read(service).await? {
            Some(item) => {
                let moved = item.meta.resource_version != before;
                Ok(self.learn(item) || moved)
            }
            None => {
                for (key, why) in self.services().absent(service) {
                    self.queue.ask(key, why);
                }
                Ok(true)
            }
        }
    }

    fn hold(&self, service: &ServiceRef, provider: &ProviderName, group: &GroupKey) {
        let mut holdings = lock(&self.holdings);
        let groups = holdings.entry(service.uid.clone()).or_default();
        let place = (provider.clone(), group.clone());
        if !groups.contains(&place) {
            groups.push(place);
        }
    }

    /// Of those who have left a group: who is in another one of the provider's by now, and is not served there yet. What
    /// such a Service asks is served in both until then.
    fn moving(
        &self,
        departed: Vec<ServiceRef>,
        provider: &ProviderName,
        from: &GroupKey,
    ) -> Vec<Member> {
        let mut moving = Vec::new();
        for service in departed {
            let services = self.services();
            let (Some(known), Some(to)) =
                (services.get(&service.key), services.group(&service.key))
            else {
                continue;
            };
            let Claim::Ours(rule) = claim(known, &self.rules) else {
                continue;
            };
            let same = known.metadata.uid.as_deref() == Some(service.uid.as_str());
            let arrived = lock(&self.arrived)
                .get(&service.uid)
                .is_some_and(|(name, group)| name == provider && group == to);
            if !same || rule.provider != *provider || to == from || arrived {
                continue;
            }
            moving.push(Member::new(known.clone(), &rule));
            let to = to.clone();
            drop(services);
            // It may have been served there before anybody knew that something of it is here.
            self.queue.ask(to, Why::WORK);
        }
        moving
    }

    /// A Service is served in this group, and its status says so. Where something of it is in others, they may let it go.
    fn arrived(&self, service: &ServiceRef, provider: &ProviderName, group: &GroupKey) {
        if !self.held_elsewhere(service, provider, group) {
            return;
        }
        let place = (provider.clone(), group.clone());
        let before = lock(&self.arrived).insert(service.uid.clone(), place.clone());
        if before != Some(place) {
            self.wake_others(service, group);
        }
    }

    /// Asks for the other groups in which something of a Service may be.
    fn wake_others(&self, service: &ServiceRef, group: &GroupKey) {
        let holdings = lock(&self.holdings);
        let others = holdings.get(&service.uid).into_iter().flatten();
        for (_, other) in others.filter(|(_, other)| other != group) {
            self.queue.ask(other.clone(), Why::WORK);
        }
    }

    /// Nothing of the Service is in this group any more. Whoever waits for that is woken.
    fn let_go(&self, service: &ServiceRef, provider: &ProviderName, group: &GroupKey) {
        let mut holdings = lock(&self.holdings);
        if let Some(groups) = holdings.get_mut(&service.uid) {
            groups.retain(|(name, other)| name != provider || other != group);
            if groups.len() <= 1 {
                lock(&self.arrived).remove(&service.uid);
            }
            if groups.is_empty() {
                holdings.remove(&service.uid);
            }
        }
        drop(holdings);
        let now = self.services().group(&service.key).cloned();
        if let Some(now) = now.filter(|now| now != group) {
            self.queue.ask(now, Why::WORK);
        }
    }

    /// Whether something of the Service may be in another group of the provider.
    fn held_elsewhere(
        &self,
        service: &ServiceRef,
        provider: &ProviderName,
        group: &GroupKey,
    ) -> bool {
        let holdings = lock(&self.holdings);
        let groups = holdings.get(&service.uid);
        groups.is_some_and(|groups| {
            groups
                .iter()
                .any(|(name, other)| name == provider && other != group)
        })
    }
}
