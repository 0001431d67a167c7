//! Following the nodes: changes are gathered, and what vanished all at once is confirmed (Reads and Writes through its
//! parts).
//!
//! While nodes are held, two things may give them up. One is a second list, read from the API server with no
//! resourceVersion, so that it is not answered from what a cache has. The other is an operator, by an annotation on the
//! controller's own object, which is asked for every few seconds: it need not be there, and need not be readable. A replica
//! that waits for the lead does all this too, so that a change of the leader lets go of nothing that is held.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use evenkeel_core::{
    ids::ProviderName,
    nodes::{NodeFacts, Placement, ProxyHealth},
};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client, ResourceExt as _, api::ListParams};
use tokio::sync::Notify;
use tracing::{debug, info, warn};

use super::{Reconciler, lock};
use crate::{
    brake::{Held, RELEASE},
    clock::Clock,
    config::HomeConfig,
    outcome::Notice,
    providers::Installed,
    proxy_health,
    publish::events::About,
    standing::{condition, reason},
    watch::{item::Item, nodes::Debounce},
};

/// How often the operator's word is looked for while nodes are held; and how often this process looks whether it leads.
const POLL: Duration = Duration::from_secs(3);

/// How soon more nodes are told what they lack, where they are too many to be told at once.
const SKIPPED_AGAIN: Duration = Duration::from_secs(1);

/// How soon a second list that could not be read is tried again.
const LIST_AGAIN: Duration = Duration::from_secs(10);

/// How soon nodes on which kube-proxy's health did not answer are asked again.
const ASK_AGAIN: Duration = Duration::from_secs(30);

/// How long a read may take: the changes of the nodes wait for it.
const PATIENCE: Duration = Duration::from_secs(10);

/// The largest page of a list.
const PAGE: u32 = 500;

impl Reconciler {
    /// Asks nodes whether kube-proxy's health answers, until one says so: it is probed by nothing new before that.
    pub(crate) async fn ask_kube_proxy(&self) {
        let asks = |provider: &&Installed| provider.probes_kube_proxy;
        let Some(provider) = self.providers.values().find(asks) else {
            return;
        };
        {
            let mut last = lock(&self.kube_proxy_asked);
            let now = self.clock.instant();
            match *last {
                Asked::Answered => return,
                Asked::At(at) if now.saturating_duration_since(at) < ASK_AGAIN => return,
                _ => *last = Asked::At(now),
            }
        }
        // Not of the set that stands: whoever comes first is asked before it is a target.
        let addresses: Vec<_> = {
            let nodes = self.nodes();
            let targets = |node: &&NodeFacts| provider.nodes.place(node) == Placement::Add;
            let targets = nodes.facts().filter(targets);
            targets
                .filter_map(|node| node.addresses.first().copied())
                .collect()
        };
        match proxy_health::ask(addresses).await {
            // There is nobody to ask; the next node is asked as soon as it comes.
            None => *lock(&self.kube_proxy_asked) = Asked::Never,
            Some(found) => {
                if found == ProxyHealth::Answers {
                    *lock(&self.kube_proxy_asked) = Asked::Answered;
                }
                if self.nodes().found_proxy_health(found) {
                    info!(
                        ?found,
                        "kube-proxy's health was asked for on port 10256 of the nodes"
                    );
                    self.settle_nodes();
                }
            }
        }
    }

    /// Follows the nodes from the first list on: works the sets out anew when `changed` was quiet for a while, and
    /// confirms what vanished. Never ends.
    pub(crate) async fn follow_nodes(
        &self,
        client: &Client,
        home: &HomeConfig,
        debounce: Debounce,
        changed: &Notify,
    ) {
        let now = self.clock.instant();
        let mut follower = Follower {
            all: self,
            client,
            home,
            debounce,
            told: BTreeMap::new(),
            tells: false,
            poll: now,
            list: now,
        };
        loop {
            follower.turn(changed).await;
        }
    }
}

/// What became of asking for kube-proxy's health.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Asked {
    /// Nobody was there to be asked.
    #[default]
    Never,
    /// Not answered, last at this time.
    At(Instant),
    /// It answers; what it answers is for the load balancers' probes.
    Answered,
}

struct Follower<'a> {
    all: &'a Reconciler,
    client: &'a Client,
    home: &'a HomeConfig,
    debounce: Debounce,
    /// Whether this process tells what there is to tell.
    tells: bool,
    /// What is held, as it was told.
    told: BTreeMap<ProviderName, Held>,
    /// When the operator's word is looked for again.
    poll: Instant,
    /// Before this no second list is read.
    list: Instant,
}

impl Follower<'_> {
    /// Waits for the next thing to do, and does it.
    async fn turn(&mut self, changed: &Notify) {
        if self.all.may_tell() {
            if !self.tells {
                self.tells = true;
                // Whatever the nodes lack was not told yet.
                self.all.settle_nodes();
            }
            self.tell().await;
        }
        let clock = &self.all.clock;
        let lead = (!self.tells).then(|| clock.instant() + POLL);
        let list = self.all.nodes().second_list_due();
        let list = list.map(|due| due.max(self.list));
        let poll = list.is_some().then_some(self.poll);
        let skipped = lock(&self.all.node_news).unskipped;
        let skipped = skipped.then(|| clock.instant() + SKIPPED_AGAIN);
        tokio::select! {
            () = changed.notified() => self.debounce.touch(clock.instant()),
            () = until(clock, self.debounce.due()) => {
                self.debounce.clear();
                self.all.ask_kube_proxy().await;
                self.all.settle_nodes();
            }
            () = until(clock, list) => self.list_again().await,
            () = until(clock, poll) => self.ask_operator().await,
            () = until(clock, skipped) => self.all.settle_nodes(),
            () = until(clock, lead) => {}
        }
    }

    /// Reads a second list, and gives up what it does not have either.
    async fn list_again(&mut self) {
        let began = self.all.clock.instant();
        match patiently(self.nodes()).await {
            Ok(found) => {
                let rules = self.all.node_rules();
                let given_up = self.all.nodes().confirm(&found, rules, began);
                warn!(
                    nodes = found.len(),
                    given_up, "a second list was read to confirm the nodes that vanished"
                );
                self.list = began;
                self.all.settle_nodes();
            }
            Err(error) => {
                warn!(
                    error = format!("{error:#}"),
                    "the nodes that vanished cannot be confirmed yet; they are held, and it is tried again"
                );
                self.list = self.all.clock.instant() + LIST_AGAIN;
            }
        }
    }

    async fn nodes(&self) -> Result<Vec<NodeFacts>> {
        let api: Api<Item<NodeFacts>> = Api::all(self.client.clone());
        // No resourceVersion: the server answers with what is stored, not with what it remembers.
        let mut page = ListParams::default().limit(PAGE);
        let mut found = Vec::new();
        loop {
            let list = api.list(&page).await?;
            for item in list.items {
                match item.body {
                    Ok(facts) => found.push(facts),
                    // It is there, and nobody can say as what.
                    Err(error) => bail!(
                        "the Node {} cannot be read: {error}",
                        item.meta.name.unwrap_or_default()
                    ),
                }
            }
            match list.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => page.continue_token = Some(token),
                None => return Ok(found),
            }
        }
    }

    /// Gives up what an operator names.
    async fn ask_operator(&mut self) {
        let digest = self
            .own_object()
            .await
            .and_then(|(_, annotations)| annotations.get(RELEASE).cloned());
        self.poll = self.all.clock.instant() + POLL;
        let Some(digest) = digest else { return };
        let given_up = self.all.nodes().release(&digest);
        if given_up > 0 {
            warn!(given_up, digest, "an operator gives up nodes that vanished");
            self.all.settle_nodes();
        }
    }

    /// Tells what there is to tell beside the controller's own object.
    async fn tell(&mut self) {
        let mut notices = std::mem::take(&mut lock(&self.all.node_news).untold);
        let held: BTreeMap<_, _> = self
            .all
            .nodes_held()
            .into_iter()
            .map(|held| (held.provider.clone(), held))
            .collect();
        for (provider, held) in &held {
            let told = self.told.get(provider);
            // One event per hold: who comes and goes meanwhile is in the condition.
            if told.is_none_or(|told| told.since != held.since) {
                let text = held.message(&self.home.namespace, &self.home.instance);
                notices.push(Notice::warning(reason::NODES_HELD, text));
            }
        }
        for provider in self.told.keys().filter(|told| !held.contains_key(*told)) {
            let text = format!("No nodes of the provider {provider} are held any more.");
            notices.push(Notice::normal(condition::NODES_TRUSTED, text));
        }
        self.told = held;
        if notices.is_empty() {
            return;
        }
        let about = About {
            kind: "ConfigMap",
            namespace: Some(self.home.namespace.as_str().into()),
            name: self.home.instance.as_str().into(),
            uid: self
                .own_object()
                .await
                .and_then(|(uid, _)| uid.map(|uid| uid.as_str().into())),
        };
        for notice in notices {
            self.all.events.tell_of(about.clone(), notice);
        }
    }

    /// The UID and the annotations of the controller's own object; None when it is not there or may not be read.
    async fn own_object(&self) -> Option<(Option<String>, BTreeMap<String, String>)> {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.home.namespace);
        let read = async { Ok(api.get_metadata_opt(&self.home.instance).await?) };
        match patiently(read).await {
            Ok(object) => object.map(|object| (object.uid(), object.annotations().clone())),
            Err(error) => {
                debug!(
                    error = format!("{error:#}"),
                    "the controller's own object cannot be read"
                );
                None
            }
        }
    }
}

async fn patiently<T>(read: impl Future<Output = Result<T>>) -> Result<T> {
    let read = tokio::time::timeout(PATIENCE, read).await;
    read.context("the API server did not answer in time")?
}

/// Waits until a time; for ever where there is none.
async fn until(clock: &Clock, due: Option<Instant>) {
    match due {
        Some(due) => clock.sleep_until(due).await,
        None => std::future::pending().await,
    }
}
