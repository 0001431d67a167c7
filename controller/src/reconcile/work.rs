//! The pipeline of one group and one provider, top to bottom (Reads and Writes through its parts).

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use evenkeel_core::{
    claim::owned_by,
    endpoints::EndpointSet,
    engine::{Ask, Report, Request},
    error::chain,
    ids::{GroupKey, ServiceRef},
    nodes::NodeSet,
    published::Ingress,
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Service;
use tracing::warn;

use super::{
    Reconciler, lock,
    memory::Memory,
    roster::{Group, ask},
};
use crate::{
    clock,
    journal::Log,
    metrics::{Ended, Stage},
    outcome::{Notice, event},
    providers::Installed,
    publish::{WriteError, patch::current_ingress},
    queue::{Next, Why},
};

/// A cloud that takes longer than this gets its Services a status before it has ended: nobody should look at a Service
/// that says nothing. What takes less is told once, when it has ended.
const SLOW: Duration = Duration::from_secs(3);

/// Work on one group of one provider.
pub(super) struct Run<'a> {
    pub(super) all: &'a Reconciler,
    pub(super) provider: &'a Installed,
    pub(super) key: &'a GroupKey,
    pub(super) group: Group,
}

/// What became of a preparation.
enum Prepared {
    /// The group may be worked on.
    Ready,
    /// It is not what it was: it was asked for anew.
    Stale,
}

impl Run<'_> {
    /// From what is asked to what is told back.
    pub(super) async fn work(self, mut memory: Memory, why: Why) -> (Option<Memory>, Next) {
        let (started, now) = (Instant::now(), self.all.clock.now());
        let look = memory.retry.begin(why, now);
        let Some(ask) = ask(self.key, &self.all.cluster, &self.group, memory.served()) else {
            return self.forget(memory, now).await;
        };
        match self.prepare(&ask, &mut memory).await {
            Ok(Prepared::Ready) => {}
            Ok(Prepared::Stale) => return (Some(memory), Next::Rest),
            Err(error) => {
                warn!(
                    error = chain(&error),
                    "the Service could not be prepared; it is tried again"
                );
                return self.rest(memory, &Report::default(), true, look, now);
            }
        }
        let mut lap = self.lap(Stage::Prepare, started);
        for member in self
            .group
            .staying
            .iter()
            .filter(|member| matches!(ask, Ask::Serve(_)) || self.owns(&member.service))
        {
            memory.hold(&member.reference);
            self.all
                .hold(&member.reference, &self.provider.name, self.key);
        }
        let releasing = matches!(ask, Ask::Release);
        let nodes = self.all.nodes().set(&self.provider.name);
        let followed = self.endpoints(&ask).await;
        let inputs = (nodes.clone(), followed.endpoints.clone());
        let again = matches!(ask, Ask::Serve(_)).then(|| ask.clone());
        let mut report = self
            .converge(ask, inputs.clone(), look, why, &mut memory, now)
            .await;
        if let Some(ask) = again.filter(|_| report.untold) {
            // What took another's place serves, and what it replaced serves until the world knows.
            let now = self.all.clock.now();
            if !self.publish(&report, &nodes, &mut memory, now).await {
                let next = self
                    .converge(ask, inputs.clone(), false, why, &mut memory, now)
                    .await;
                report = after(report, next);
            }
        }
        if let Some(ask) = self.without_those_who_left(&report, &memory) {
            let next = self
                .converge(ask, inputs.clone(), look, why, &mut memory, now)
                .await;
            report = after(report, next);
        }
        lap = self.lap(Stage::Converge, lap);
        self.hear(&report);
        self.tell_of_nodes(&report, &nodes);
        self.begin_to_follow(&report);
        self.need_labels(&report, &nodes);
        let now = self.all.clock.now();
        let hushed = hushed(&report, &mut memory, now);
        let mut trouble = report.untold || followed.missing;
        trouble |= self.write_gates(&report, now).await;
        if hushed.is_some() {
            for member in &self.group.staying {
                let serving = super::publish::says_serving(&member.service);
                memory.told(&member.reference, serving).waits(now);
            }
            self.count_targets(&report);
        } else {
            trouble |= self.publish(&report, &nodes, &mut memory, now).await;
        }
        lap = self.lap(Stage::Publish, lap);
        trouble |= self
            .release(&report, releasing, hushed.is_some(), &mut memory, now)
            .await;
        self.lap(Stage::Release, lap);
        self.all.metrics.reconciled(
            self.provider.name.as_str(),
            ended(&report, trouble),
            started.elapsed(),
        );
        if releasing && report.gone && !trouble {
            return (None, Next::Rest);
        }
        let (mut memory, mut next) = self.rest(memory, &report, trouble, look, now);
        if let Some(left) = hushed {
            let told = Next::At(self.all.clock.instant() + left, Why::WORK);
            next = next.sooner(told);
            if let Some(memory) = &mut memory {
                // Whoever sees meanwhile whether what is published stands must not forget it.
                memory.planned = memory.planned.sooner(told);
            }
        }
        (memory, next)
    }

    /// A part of the run has ended. Returns when the next one began.
    fn lap(&self, stage: Stage, since: Instant) -> Instant {
        let now = Instant::now();
        self.all.metrics.stage_ended(stage, now - since);
        now
    }

    /// What is asked in place of what is rejected, so that those who left are let go all the same. None where nobody left.
    fn without_those_who_left(&self, report: &Report, memory: &Memory) -> Option<Ask> {
        let problems = report.problems.as_ref()?;
        let leaving = self.group.leaving.iter();
        let mut gone: BTreeSet<_> = leaving
            .map(|leaving| leaving.reference.uid.clone())
            .collect();
        let departed = memory.departed(&self.group).into_iter();
        gone.extend(departed.map(|service| service.uid));
        (!gone.is_empty()).then(|| Ask::KeepWithout(problems.clone(), gone))
    }

    /// Nothing is made before our finalizer is there; nothing is given back on an old state.
    async fn prepare(&self, ask: &Ask, memory: &mut Memory) -> Result<Prepared, WriteError> {
        let mut stale = false;
        if matches!(ask, Ask::Serve(_)) {
            for member in &self.group.staying {
                match self
                    .all
                    .publisher
                    .add_finalizer(&member.service, &self.provider.name)
                    .await
                {
                    Ok(None) => {
                        memory.finalized(&member.reference);
                    }
                    Ok(Some(written)) => {
                        if !memory.finalized(&member.reference) {
                            self.finalizer_lost(&member.reference);
                        }
                        stale |= self.all.learn(written);
                    }
                    Err(WriteError::Gone | WriteError::Changed(_)) => {
                        stale |= self.reread(&member.reference).await?
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        for leaving in self
            .group
            .leaving
            .iter()
            .filter(|leaving| !leaving.deleting)
        {
            // A deletion is never taken back; a type is.
            stale |= match self.all.publisher.read(&leaving.reference).await? {
                Some(item) => self.all.learn(item),
                None => self.all.refresh(&leaving.reference).await?,
            };
        }
        Ok(if stale {
            Prepared::Stale
        } else {
            Prepared::Ready
        })
    }

    /// Whether the status of everybody who is served here names these addresses.
    fn tells(&self, addresses: &[Ingress]) -> bool {
        let now: BTreeSet<_> = addresses.iter().map(Ingress::address).collect();
        self.group.staying.iter().all(|member| {
            let service = &member.reference;
            // The status of one who moves here is that of where it was.
            let moves = || {
                self.all
                    .held_elsewhere(service, &self.provider.name, self.key)
            };
            let Some(known) = self.latest(service, false) else {
                return true;
            };
            let told = current_ingress(&known).iter().filter_map(|entry| {
                let address = entry.ip.as_deref().or(entry.hostname.as_deref())?;
                Some(address.to_owned())
            });
            told.collect::<BTreeSet<_>>() == now || moves()
        })
    }

    /// Nothing is asked, and nothing was made. What was published of those who went is taken back.
    async fn forget(self, memory: Memory, now: Timestamp) -> (Option<Memory>, Next) {
        self.provider.engine.forget(self.key);
        self.all
            .nodes()
            .need_labels(&self.provider.name, self.key, &BTreeSet::new());
        for service in memory.published_and_departed(&self.group) {
            if let Err(error) = self
                .all
                .publisher
                .release(&service, &self.provider.name, false)
                .await
            {
                warn!(
                    error = chain(&error),
                    "what was published could not be taken back; it is tried again"
                );
                return self.rest(memory, &Report::default(), true, false, now);
            }
            lock(&self.all.census).gone(&service.uid);
        }
        (None, Next::Rest)
    }

    /// Whether the provider's finalizer is on a Service.
    fn owns(&self, service: &Service) -> bool {
        owned_by(service).contains(&self.provider.name)
    }

    /// A write was refused for what the Service is now. Whatever it is has been asked for when this returns true.
    pub(super) async fn reread(&self, service: &ServiceRef) -> Result<bool, WriteError> {
        if self.all.refresh(service).await? {
            self.all.queue.ask(self.key.clone(), Why::WORK);
            return Ok(true);
        }
        Err(WriteError::Changed(
            "the API server refuses what we write, though the Service is what we know".to_owned(),
        ))
    }

    fn finalizer_lost(&self, service: &ServiceRef) {
        self.all.metrics.finalizer_lost();
        let note = "Somebody removed our finalizer while the load balancer exists; it was added again. Delete the Service, or \
                    change its type, to have the load balancer given back.";
        self.all
            .events
            .tell(service, Notice::warning(event::FINALIZER_LOST, note));
    }

    /// Has the provider make it so. Where that takes long, those who have no status yet get one meanwhile.
    async fn converge(
        &self,
        ask: Ask,
        (nodes, endpoints): (Arc<NodeSet>, Arc<EndpointSet>),
        look: bool,
        why: Why,
        memory: &mut Memory,
        now: Timestamp,
    ) -> Report {
        let approval = match &ask {
            Ask::Serve(group) => group.approvals(),
            Ask::Keep(_) | Ask::KeepWithout(..) | Ask::Release => None,
        };
        // What is rejected only follows the nodes, and a deletion never waits for an annotation.
        let paused = matches!(&ask, Ask::Serve(group) if group.members.iter().any(|member| member.options.paused));
        let request = Request {
            key: self.key.clone(),
            ask,
            nodes: nodes.clone(),
            endpoints,
            approval,
            paused,
            look,
            ticket: self.all.ticket.clone(),
            now,
        };
        let news = memory.news(&self.group, why.changed);
        let announce = || {
            for (service, notice) in &news {
                self.all.events.tell(service, notice.clone());
            }
        };
        let tells = |addresses: &[Ingress]| self.tells(addresses);
        let journal = Log::new(
            &self.provider.name,
            &self.all.metrics,
            memory.retry.attempts(),
            &announce,
            &tells,
        );
        let report = {
            let mut run = std::pin::pin!(self.provider.engine.run(request, &journal));
            tokio::select! {
                report = &mut run => report,
                () = self.all.clock.sleep(SLOW) => {
                    self.publish_first(&nodes, memory).await;
                    run.await
                }
            }
        };
        if journal.began() {
            memory.began(&news);
        }
        report
    }

    /// When the group is worked on again.
    fn rest(
        &self,
        mut memory: Memory,
        report: &Report,
        trouble: bool,
        looked: bool,
        now: Timestamp,
    ) -> (Option<Memory>, Next) {
        let at = memory.retry.ended(
            report,
            trouble,
            looked,
            self.all.resync,
            now,
            clock::chance(),
        );
        let wait = Duration::try_from(at.duration_since(self.all.clock.now())).unwrap_or_default();
        memory.planned = Next::At(self.all.clock.instant() + wait, Why::WORK);
        let next = memory.planned.sooner(self.renewal(&memory));
        (Some(memory), next)
    }
}

/// What two runs did, and how the second ended.
fn after(first: Report, mut next: Report) -> Report {
    next.applied.splice(..0, first.applied);
    next.drifted.splice(..0, first.drifted);
    next.repaired |= first.repaired;
    next.reads += first.reads;
    next
}

/// What goes well is told when it has ended: for how long it need not be told yet. What takes long is told of, and what
/// does not go well is told at once.
fn hushed(report: &Report, memory: &mut Memory, now: Timestamp) -> Option<Duration> {
    let well = report.problems.is_none()
        && report.failures.is_empty()
        && report.refusals.is_empty()
        && !report.paused;
    if !well || report.waits.is_empty() {
        memory.waiting_since = None;
        return None;
    }
    let since = *memory.waiting_since.get_or_insert(now);
    let waited = Duration::try_from(now.duration_since(since)).unwrap_or_default();
    SLOW.checked_sub(waited).filter(|left| !left.is_zero())
}

fn ended(report: &Report, trouble: bool) -> Ended {
    let hopeless = |report: &Report| {
        report
            .failures
            .iter()
            .all(|failure| failure.class.is_hopeless())
    };
    if trouble || !report.waits.is_empty() || !hopeless(report) {
        Ended::Retry
    } else if report.problems.is_some()
        || !report.refusals.is_empty()
        || !report.failures.is_empty()
    {
        Ended::Terminal
    } else if report.applied.is_empty() {
        Ended::Noop
    } else {
        Ended::Ok
    }
}
