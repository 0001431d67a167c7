//! Status and events of the Services of a group (Writes to the API server).

use evenkeel_core::{
    claim::{Claim, claim, leaving},
    condition::ConditionType,
    engine::Report,
    error::chain,
    ids::{ResourceId, ServiceRef},
    nodes::NodeSet,
    plan::{Until, Wait},
    problem::{PortError, Problems, Warning, reason},
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{LoadBalancerIngress, Service};
use std::{sync::Arc, time::Duration};
use tracing::{info, warn};

use super::{lock, memory::Memory, work::Run};
use crate::{
    outcome::{Notice, View, outcome, port_errors},
    publish::{
        WriteError,
        patch::{
            Wanted, current_conditions, current_ingress, ingress, serves_wholly, status_patch,
        },
    },
    queue::{Next, Why},
    view::standing::Trouble,
};

/// Somebody who writes what we write is not fought: it is made good at most this often.
const REPAIR: Duration = Duration::from_secs(60);

/// Whether a status says that the Service is served.
pub(super) fn says_serving(service: &Service) -> bool {
    let serving = ConditionType::Serving.as_str();
    current_conditions(service)
        .iter()
        .any(|condition| condition.type_ == serving && condition.status == "True")
}

/// What one Service has to be told beside the report.
struct Asks<'a> {
    reference: &'a ServiceRef,
    problems: Option<&'a Problems>,
    warnings: &'a [Warning],
    port_errors: &'a [PortError],
    no_nodes: bool,
    leaving: bool,
    running: bool,
}

impl Run<'_> {
    /// Publishes what a run means for those who stay. Returns whether that failed for somebody.
    pub(super) async fn publish(
        &self,
        report: &Report,
        nodes: &NodeSet,
        memory: &mut Memory,
        now: Timestamp,
    ) -> bool {
        self.count_targets(report);
        let mut trouble = false;
        for index in 0..self.group.staying.len() {
            trouble |= self
                .tell(&self.asks(index, nodes, false), report, memory, now)
                .await;
        }
        trouble
    }

    /// Counts the targets of the group, and notes its pools.
    pub(super) fn count_targets(&self, report: &Report) {
        let published = report.published.as_ref();
        let targets = published.and_then(|published| published.targets);
        let pools = published.map_or(&[][..], |published| &published.pools);
        let mut census = lock(&self.all.census);
        census.targets(&self.provider.name, self.key, targets);
        census.pools(&self.provider.name, self.key, pools);
    }

    /// Publishes that work goes on, where nothing of ours is published yet.
    pub(super) async fn publish_first(&self, nodes: &NodeSet, memory: &mut Memory) {
        for (index, member) in self.group.staying.iter().enumerate() {
            if current_conditions(&member.service).is_empty() {
                self.tell(
                    &self.asks(index, nodes, true),
                    &Report::default(),
                    memory,
                    self.all.clock.now(),
                )
                .await;
            }
        }
    }

    /// Tells one who leaves what stands in the way.
    pub(super) async fn publish_leaving(
        &self,
        reference: &ServiceRef,
        report: &Report,
        memory: &mut Memory,
        now: Timestamp,
    ) -> bool {
        let asks = Asks {
            reference,
            problems: None,
            warnings: &[],
            port_errors: &[],
            no_nodes: false,
            leaving: true,
            running: false,
        };
        self.tell(&asks, report, memory, now).await
    }

    fn asks(&self, index: usize, nodes: &NodeSet, running: bool) -> Asks<'_> {
        let member = &self.group.staying[index];
        let reading = member.reading.as_ref();
        Asks {
            reference: &member.reference,
            problems: reading.err(),
            warnings: reading
                .map(|reading| reading.warnings.as_slice())
                .unwrap_or_default(),
            port_errors: reading
                .map(|reading| reading.port_errors.as_slice())
                .unwrap_or_default(),
            no_nodes: reading.is_ok()
                && !self.is_served_by_endpoints(member)
                && self.has_no_nodes(nodes),
            leaving: false,
            running,
        }
    }

    async fn tell(
        &self,
        asks: &Asks<'_>,
        report: &Report,
        memory: &mut Memory,
        now: Timestamp,
    ) -> bool {
        let Some(service) = self.latest(asks.reference, asks.leaving) else {
            return false;
        };
        let told = memory.told(asks.reference, says_serving(&service));
        let mut view = View {
            service: asks.reference,
            provider: &self.provider.name,
            standing: self.all.standing.place(),
            report,
            problems: asks.problems,
            warnings: asks.warnings,
            port_errors: asks.port_errors,
            no_nodes: asks.no_nodes,
            leaving: asks.leaving,
            running: asks.running,
        };
        // One who moves here is served where it was until it is served here, and its status says so.
        let kept = self
            .still_elsewhere(&view, &service)
            .then(|| served_elsewhere(report));
        view.report = kept.as_ref().unwrap_or(report);
        let report = view.report;
        let outcome = outcome(told, &view, current_conditions(&service), now);
        let pending = told.pending();
        let addresses = match &report.published {
            Some(published) if !asks.leaving => {
                ingress(&service, asks.reference, published, &outcome.port_errors)
            }
            // An address that was given back may be a stranger's at once.
            Some(published) => {
                let left = ingress(&service, asks.reference, published, &[]);
                let stays = |entry: &&LoadBalancerIngress| {
                    left.iter()
                        .any(|left| left.ip == entry.ip && left.hostname == entry.hostname)
                };
                current_ingress(&service)
                    .iter()
                    .filter(stays)
                    .cloned()
                    .collect()
            }
            // What could not be read stays as it was published.
            None => memory.published(asks.reference).map_or_else(
                || current_ingress(&service).to_vec(),
                |last| last.ingress.clone(),
            ),
        };
        let wanted = Wanted {
            ingress: addresses,
            conditions: outcome.conditions,
        };
        if !asks.leaving {
            memory.publishes(asks.reference, wanted.clone());
        }
        let trouble = self.write(&service, asks.reference, &wanted).await;
        if kept.is_none() && report.published.is_some() && self.says(asks, &wanted) {
            self.all
                .arrived(asks.reference, &self.provider.name, self.key);
        }
        for notice in outcome.notices {
            info!(service.namespace = %asks.reference.key.namespace, service.name = %asks.reference.key.name, reason = notice.reason, "{}", notice.note);
            self.all.events.tell(asks.reference, notice);
        }
        if let Some(took) = outcome.provisioned {
            self.all
                .metrics
                .provisioned(self.provider.name.as_str(), took.unsigned_abs());
        }
        lock(&self.all.census).troubled(
            &asks.reference.uid,
            Trouble::of(report, asks.problems, asks.warnings, &outcome.port_errors),
        );
        lock(&self.all.census).service(
            &asks.reference.uid,
            &self.provider.name,
            outcome.state,
            pending,
        );
        trouble
    }

    /// Whether something of a Service is in another group that serves it, and this one does not serve it wholly yet.
    fn still_elsewhere(&self, view: &View<'_>, service: &Service) -> bool {
        let wholly = |published| {
            let errors = port_errors(view);
            serves_wholly(&ingress(service, view.service, published, &errors))
        };
        !view.leaving
            && self
                .all
                .held_elsewhere(view.service, &self.provider.name, self.key)
            && !view.report.published.as_ref().is_some_and(wholly)
    }

    /// Whether the addresses of one who stays are what its status says.
    fn says(&self, asks: &Asks<'_>, wanted: &Wanted) -> bool {
        let known = self.latest(asks.reference, asks.leaving);
        !asks.leaving && known.is_some_and(|known| current_ingress(&known) == wanted.ingress)
    }

    /// Writes a status, if need be. Returns whether that failed.
    async fn write(&self, service: &Service, reference: &ServiceRef, wanted: &Wanted) -> bool {
        let error = match self.all.publisher.write_status(service, wanted).await {
            Ok(None) => return false,
            Ok(Some(written)) => {
                self.all.learn(written);
                return false;
            }
            Err(WriteError::Gone | WriteError::Changed(_)) => match self.reread(reference).await {
                Ok(_) => return false,
                Err(error) => error,
            },
            Err(error) => error,
        };
        warn!(
            error = chain(&error),
            "the status could not be published; it is tried again"
        );
        true
    }

    /// The Service as it is known now. None when it is gone, or is another's business by now: then it was asked for
    /// anew.
    pub(super) fn latest(&self, reference: &ServiceRef, leaves: bool) -> Option<Arc<Service>> {
        let services = self.all.services();
        let known = services.get(&reference.key)?;
        let name = &self.provider.name;
        let ours = if leaves {
            leaving(known, &self.all.rules).contains(name)
        } else {
            matches!(claim(known, &self.all.rules), Claim::Ours(rule) if rule.provider == *name)
        };
        let same = known.metadata.uid.as_deref() == Some(reference.uid.as_str());
        (ours && same && services.group(&reference.key) == Some(self.key)).then(|| known.clone())
    }

    /// What is published must stand: what somebody else changed is made good, but not for ever and a day.
    pub(super) async fn uphold(self, mut memory: Memory) -> (Option<Memory>, Next) {
        let now = self.all.clock.now();
        let mut next = memory.planned;
        for (service, notice) in memory.renewals(now) {
            self.all.events.tell(&service, notice);
        }
        for member in &self.group.staying {
            let Some(wanted) = memory.published(&member.reference).cloned() else {
                continue;
            };
            if status_patch(&member.service, &wanted).is_none() {
                continue;
            }
            let repaired = memory.repaired.filter(|at| {
                now.duration_since(*at) < SignedDuration::try_from(REPAIR).unwrap_or_default()
            });
            if let Some(repaired) = repaired {
                let since = Duration::try_from(now.duration_since(repaired)).unwrap_or_default();
                next = next.sooner(Next::At(
                    self.all.clock.instant() + REPAIR.saturating_sub(since),
                    Why::PUBLISHED,
                ));
                self.all.events.tell(&member.reference, contested());
                continue;
            }
            info!(service.name = %member.reference.key.name, "what was published was changed by somebody else; publishing it again");
            memory.repaired = Some(now);
            if self
                .write(&member.service, &member.reference, &wanted)
                .await
            {
                next = next.sooner(Next::At(self.all.clock.instant() + REPAIR, Why::PUBLISHED));
            }
        }
        next = next.sooner(self.renewal(&memory));
        (Some(memory), next)
    }
}

/// What a run says of one who moves here and is not served here yet.
fn served_elsewhere(report: &Report) -> Report {
    let mut report = report.clone();
    report.published = None;
    report.waits.push(Wait {
        id: ResourceId::new("lb"),
        what: "the group that the Service moves to, to serve it; the one it was in serves it until then"
            .to_owned(),
        until: Until::Told,
    });
    report
}

fn contested() -> Notice {
    Notice::warning(
        reason::OWNERSHIP_CONFLICT,
        "Somebody else keeps writing this Service's status.loadBalancer; it is made good once a minute. Look for the writer with \
         `kubectl get service NAME -o yaml --show-managed-fields` and stop it.",
    )
}
