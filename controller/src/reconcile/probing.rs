//! Providers that cannot be asked, and what was told long ago (Reads clouds; asks for groups).

use std::{collections::BTreeSet, time::Duration};

use evenkeel_core::{
    engine::{Found, Report},
    error::CloudError,
    ids::{GroupKey, ProviderName, ServiceKey},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::{Reconciler, lock, memory::Memory, work::Run};
use crate::{
    outcome::{Notice, drifted, event},
    queue::{Next, Why},
    watch::services::reference,
};

/// How often a provider that cannot be asked is tried: one look for all of its Services.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

impl Reconciler {
    /// Looks at the providers that cannot be asked, until told to stop; of the others it asks once who is asking them.
    pub(crate) async fn probe(&self, stop: &CancellationToken) {
        loop {
            let identified = async {
                self.identify().await;
                self.clock.sleep(LOOK_AGAIN).await;
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = identified => {}
            }
            let mut again: BTreeSet<_> = self.standing.faulty().into_iter().collect();
            again.extend(lock(&self.unseen).iter().cloned());
            for provider in again {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = self.first_look(&provider) => {}
                }
            }
        }
    }

    /// Tells where the providers are asked and as whom: a wrong account is nowhere else to be seen.
    async fn identify(&self) {
        for name in self.standing.unidentified() {
            let Some(provider) = self.providers.get(&name) else {
                continue;
            };
            match provider.engine.identity().await {
                Ok(who) => {
                    if let Some(who) = &who {
                        info!(provider = name.as_str(), "the provider answers: {who}");
                    }
                    self.standing.identified(&name, who);
                }
                // Whatever is wrong is told by those who need the provider.
                Err(error) => {
                    debug!(provider = name.as_str(), %error, "who asks the provider is not known");
                }
            }
        }
    }

    /// Somebody looked at a whole provider.
    pub(super) fn looked(&self, provider: &ProviderName, result: Result<(), &CloudError>) {
        self.go_on(self.standing.looked(provider, result));
    }

    fn go_on(&self, held_up: BTreeSet<GroupKey>) {
        for group in held_up {
            self.queue.ask(group, Why::WORK);
        }
    }

    /// Tells a Service of the load balancer that an earlier one of the same name has left.
    pub(super) fn tell_of_orphan(&self, provider: &ProviderName, orphan: &Found) {
        let Some((namespace, name)) = orphan.service.split_once('/') else {
            return;
        };
        let namesake = self
            .services()
            .get(&ServiceKey::new(namespace, name))
            .cloned();
        if let Some(namesake) = namesake {
            let note = format!(
                "The load balancer of an earlier Service of this name is still there at the provider {provider}, marked {}. It is \
                 left alone, and this Service gets its own. Delete it by hand when nobody needs it any more.",
                orphan.identity
            );
            let about = reference(&namesake);
            self.events
                .tell(&about, Notice::warning(event::ORPHANED, note));
        }
    }
}

impl Run<'_> {
    /// Takes in what a run says of the provider as a whole, and of what somebody else had changed.
    pub(super) fn hear(&self, report: &Report) {
        let standing = &self.all.standing;
        self.all
            .go_on(standing.ran(&self.provider.name, self.key, report));
        let provider = self.provider.name.as_str();
        if report.repaired {
            self.all.metrics.drift_repaired(provider);
        }
        for change in &report.drifted {
            self.all.metrics.drift_detected(provider, change.kind);
        }
        let Some(notice) = drifted(report) else {
            return;
        };
        for member in &self.group.staying {
            info!(service.name = %member.reference.key.name, reason = notice.reason, "{}", notice.note);
            self.all.events.tell(&member.reference, notice.clone());
        }
    }

    /// When something is to be told again though nothing has happened.
    pub(super) fn renewal(&self, memory: &Memory) -> Next {
        memory.next_renewal().map_or(Next::Rest, |at| {
            let left = at.duration_since(self.all.clock.now());
            let left = Duration::try_from(left).unwrap_or_default();
            Next::At(self.all.clock.instant() + left, Why::PUBLISHED)
        })
    }
}
