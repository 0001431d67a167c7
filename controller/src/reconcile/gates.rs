//! Pods that wait at a readiness gate until the load balancer finds them healthy (Reads, and Writes their gates).
//!
//! While a Service has pods as targets, the pods of its namespace are watched. What is written is written once: to a gate that says so already
//! nothing is, and an open one is never closed. When a Service has no pods as targets any more, or is gone, nobody is left to wait for.

use std::{sync::Arc, time::Duration};

use evenkeel_core::{
    endpoints::{Endpoints, GateCondition, PodFacts},
    engine::Report,
    error::chain,
    ids::ServiceKey,
};
use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use kube::runtime::watcher::Event;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{Reconciler, lock, work::Run};
use crate::{
    publish::WriteError,
    watch::{item::Item, pods::Known},
};

/// How long the first list of the pods of a namespace may take: the group waits for it.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many gates are written at a time.
const AT_A_TIME: usize = 8;

/// A namespace whose pods are to be watched, and for how long.
pub(crate) type PodWatch = (Arc<str>, CancellationToken);

impl Reconciler {
    /// The namespaces whose pods are to be watched, as they come. To be taken once.
    pub(crate) fn pod_watches(&self) -> Option<mpsc::UnboundedReceiver<PodWatch>> {
        lock(&self.pod_watches.1).take()
    }

    /// What the watch of the pods of a namespace says: asks for the groups that it is about.
    pub(crate) fn hear_of_pods(
        &self,
        namespace: &str,
        heard: Result<Event<Item<PodFacts>>, String>,
    ) {
        let changed = match heard {
            Ok(event) => {
                let complete = matches!(event, Event::InitDone);
                let changed = lock(&self.pods).event(namespace, event);
                if complete {
                    self.publisher.pods_watched(None);
                    self.pods_heard.notify_waiters();
                }
                changed
            }
            Err(why) => {
                self.publisher.pods_watched(Some(&why));
                if lock(&self.pods).refused(namespace) {
                    warn!(
                        namespace,
                        error = why,
                        "pods may not be watched, so that none waits at a readiness gate; grant what deploy/aws/rbac.yaml grants"
                    );
                    self.pods_heard.notify_waiters();
                }
                Vec::new()
            }
        };
        for service in changed {
            self.ask_where_served(&service);
        }
    }

    /// What is known of the pods of a namespace, once a first list is there.
    async fn pods_known(&self, namespace: &str) -> Known {
        let told = async {
            loop {
                let heard = self.pods_heard.notified();
                let known = lock(&self.pods).known(namespace);
                if known != Known::Awaited {
                    return known;
                }
                heard.await;
            }
        };
        let told = tokio::time::timeout(PATIENCE, told).await;
        told.unwrap_or(Known::Awaited)
    }
}

impl Run<'_> {
    /// Has the pods of a Service followed. Returns false where nothing is known of them yet.
    pub(super) async fn follow_pods(&self, service: &ServiceKey) -> bool {
        let begun = lock(&self.all.pods).follow(service);
        if let Some(ended) = begun {
            // Whoever takes them is there as long as the process is.
            let _ = self
                .all
                .pod_watches
                .0
                .send((service.namespace.clone(), ended));
        }
        self.all.pods_known(&service.namespace).await != Known::Awaited
    }

    /// What the endpoints of a Service are in the light of its pods.
    pub(super) fn enlighten(&self, service: &ServiceKey, endpoints: &mut Endpoints) {
        lock(&self.all.pods).enlighten(service, endpoints);
    }

    /// Writes the gates of those who were judged. Returns whether one could not be written.
    pub(super) async fn write_gates(&self, report: &Report, now: Timestamp) -> bool {
        if report.judged.is_empty() {
            return false;
        }
        let mut writes = Vec::new();
        {
            let pods = lock(&self.all.pods);
            let members = self.group.served();
            for judged in &report.judged {
                let member = members
                    .iter()
                    .find(|member| member.reference.uid == judged.service);
                let Some(service) = member.map(|member| &member.reference.key) else {
                    continue;
                };
                let facts = pods.get(&service.namespace, &judged.pod);
                // Another by now: it is judged in its turn.
                let Some(facts) = facts.filter(|facts| facts.uid == judged.uid) else {
                    continue;
                };
                let condition = GateCondition::of(judged.lacks.as_ref(), &service.name);
                writes.push(Write {
                    service: service.clone(),
                    pod: Arc::clone(&judged.pod),
                    facts: facts.clone(),
                    condition,
                });
            }
        }
        self.write_all(writes, now).await
    }

    /// Nobody will say anything about the pods that wait for a Service any more: they need not wait.
    pub(super) async fn let_pods_go(&self, service: &ServiceKey) {
        let waiting = lock(&self.all.pods).waiting(service);
        let condition = GateCondition::without_targets(&service.name);
        let writes = waiting.into_iter().map(|(pod, facts)| Write {
            service: service.clone(),
            pod,
            facts,
            condition: condition.clone(),
        });
        let writes = writes.collect();
        self.write_all(writes, self.all.clock.now()).await;
        lock(&self.all.pods).forget(service);
    }

    async fn write_all(&self, mut writes: Vec<Write>, now: Timestamp) -> bool {
        writes.retain(Write::is_needed);
        stream::iter(writes)
            .map(|write| self.write_one(write, now))
            .buffer_unordered(AT_A_TIME)
            .fold(false, async |any, failed| any || failed)
            .await
    }

    /// Returns whether it failed.
    async fn write_one(&self, write: Write, now: Timestamp) -> bool {
        let Write {
            service,
            pod,
            facts,
            condition,
        } = write;
        let written = self
            .all
            .publisher
            .write_gate(&service, (&pod, &facts), &condition, now)
            .await;
        match written {
            Ok(written) => {
                lock(&self.all.pods).wrote(&service.namespace, written);
                false
            }
            // Gone, or another of its name: the watch tells.
            Err(WriteError::Gone | WriteError::Changed(_)) => false,
            Err(error) => {
                warn!(
                    pod = &*pod,
                    error = chain(&error),
                    "the readiness gate of a pod could not be written; it is tried again"
                );
                true
            }
        }
    }
}

/// What a gate of a pod shall say.
struct Write {
    service: ServiceKey,
    pod: Arc<str>,
    facts: PodFacts,
    condition: GateCondition,
}

impl Write {
    fn is_needed(&self) -> bool {
        let gate = self.facts.gate(&self.service.name);
        gate.is_some_and(|gate| !gate.is_open() && gate.condition.as_ref() != Some(&self.condition))
    }
}
