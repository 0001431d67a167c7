//! A provider with a memory: the boxed twin of [`Provider`] that the controller and the command line use.
//!
//! The engine remembers per group what it wanted, what it saw and what failed. An event that changes nothing in the
//! desired state and in the nodes makes no call; a group that was rejected keeps what it has while its targets follow
//! the nodes; a restart takes its first look from one snapshot.

mod gates;
#[cfg(test)]
mod holding;
#[cfg(test)]
mod looking;
#[cfg(test)]
mod pausing;
#[cfg(test)]
mod telling;
#[cfg(test)]
mod turning;
#[cfg(test)]
mod waking;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::{
    converge::{Journal, Known, Round, converge, rehearse, unreadable},
    digest::Digest,
    endpoints::{EndpointSet, Judged},
    error::CloudError,
    failure::{Failure, Failures, HOLD},
    group::Group,
    holder::Ledger,
    ids::{GroupKey, ServiceRef, ServiceUid},
    nodes::NodeSet,
    plan::{Change, Refusal, Until, Wait, approval_digest},
    problem::{PortError, Problems, Warning},
    provider::{Provider, Verdict, Wake, Want},
    published::Published,
    ticket::Ticket,
};

/// What is asked for a group.
#[derive(Clone, Debug)]
pub enum Ask {
    /// Serve these members.
    Serve(Group),
    /// The members are there, and none of them can be read: keep what is, and let the targets follow the nodes.
    Keep(Problems),
    /// The same, and these members have left: what serves them goes.
    KeepWithout(Problems, BTreeSet<ServiceUid>),
    /// The members are gone, or no longer ours.
    Release,
}

/// One request to the engine.
#[derive(Clone, Debug)]
pub struct Request {
    /// The group.
    pub key: GroupKey,
    /// What is asked.
    pub ask: Ask,
    /// The provider's nodes.
    pub nodes: Arc<NodeSet>,
    /// The endpoints of the group's Services, where [`AnyProvider::follows_endpoints`] asks for them.
    pub endpoints: Arc<EndpointSet>,
    /// The digests that owners approved, with spaces between.
    pub approval: Option<Arc<str>>,
    /// Plan, but write nothing.
    pub paused: bool,
    /// Look at the cloud even if nothing is known to have changed.
    pub look: bool,
    /// The right to write.
    pub ticket: Ticket,
    /// The time.
    pub now: Timestamp,
}

/// What the engine did and what there is to tell.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// Why the group is rejected; what it has stays.
    pub problems: Option<Problems>,
    /// What a user should know.
    pub warnings: Vec<Warning>,
    /// Ports that are not served.
    pub port_errors: Vec<PortError>,
    /// What can be published; None when the cloud could not be read.
    pub published: Option<Published>,
    /// The names of the labels of nodes that decide about its targets.
    pub node_labels: BTreeSet<Arc<str>>,
    /// Writes made.
    pub applied: Vec<Change>,
    /// They were made though nothing else was asked and all had been done: somebody else had changed what was there.
    pub repaired: bool,
    /// What was found so: the writes that put it right, and those that failed to.
    pub drifted: Vec<Change>,
    /// Whether the group is paused, so that nothing was written.
    pub paused: bool,
    /// Writes that would be made, were the group not paused.
    pub withheld: Vec<Change>,
    /// What is waited for.
    pub waits: Vec<Wait>,
    /// What is refused.
    pub refusals: Vec<Refusal>,
    /// What failed and is still in the way.
    pub failures: Vec<Failure>,
    /// What goes waits until the world is told of the addresses in `published`. Run again once it is.
    pub untold: bool,
    /// For a release: a fresh read has shown that nothing is left.
    pub gone: bool,
    /// Reads of the cloud.
    pub reads: usize,
    /// Targets are endpoints: the group has to be told of them.
    #[serde(skip)]
    pub follows_endpoints: bool,
    /// How the targets of those pods stand that wait for it. That somebody waits keeps nothing from being done.
    #[serde(skip)]
    pub judged: Vec<Judged>,
    /// When those that wait on are to be judged again.
    #[serde(skip)]
    pub judge_again: Option<Duration>,
}

impl Report {
    /// Whether everything asked for is there, as far as it can be.
    pub fn settled(&self) -> bool {
        self.waits.is_empty()
            && self.failures.is_empty()
            && self.refusals.is_empty()
            && self.withheld.is_empty()
    }
}

/// A rehearsal for people: what would be done, and what would be the result.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Rehearsal {
    /// Why the group is rejected.
    pub problems: Option<Problems>,
    /// What a user should know.
    pub warnings: Vec<Warning>,
    /// Ports that would not be served.
    pub port_errors: Vec<PortError>,
    /// The steps, wave by wave.
    pub waves: Vec<Vec<Change>>,
    /// What would be waited for in the end.
    pub waits: Vec<Wait>,
    /// What would be refused.
    pub refusals: Vec<Refusal>,
    /// What would be published.
    pub published: Published,
    /// The digest to approve, where steps give something up.
    pub approval: Option<String>,
    /// Everything there would be in the end ([`Provider::objects`]).
    pub objects: serde_json::Value,
}

/// A group found in the cloud.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Found {
    /// [`GroupKey::identity`].
    pub identity: String,
    /// `namespace/name` as the marks tell it.
    pub service: String,
    /// How many objects.
    pub objects: usize,
    /// Of a shared group: the Services that it serves.
    pub members: Vec<ServiceRef>,
}

/// A provider, whatever its types.
#[async_trait]
pub trait AnyProvider: Send + Sync {
    /// The provider's name.
    fn name(&self) -> &'static str;

    /// Makes a group what is asked, as far as it goes now. One run per group at a time is the caller's duty.
    async fn run(&self, request: Request, journal: &dyn Journal) -> Report;

    /// Whether a group has to be told of its Services' endpoints. None: nothing tells before it has run.
    fn follows_endpoints(&self, _key: &GroupKey, _ask: &Ask) -> Option<bool> {
        Some(false)
    }

    /// Foretells what `run` would do. Reads, and never writes.
    ///
    /// # Errors
    /// When the cloud cannot be asked.
    async fn rehearse(&self, request: &Request) -> Result<Rehearsal, CloudError>;

    /// Reads everything of this cluster at once, and keeps it as the first look of every group that has not run yet.
    ///
    /// # Errors
    /// When the cloud cannot be asked.
    async fn inventory(&self) -> Result<Vec<Found>, CloudError>;

    /// Where the cloud is asked and as whom, for people; None where there is nothing to tell.
    ///
    /// # Errors
    /// When the cloud cannot be asked.
    async fn identity(&self) -> Result<Option<String>, CloudError> {
        Ok(None)
    }

    /// Takes the means to wake a group. A group that is woken looks at the cloud in its next run.
    fn attach(&self, wake: Wake);

    /// Takes what tells this cluster from another with the same identity, and the right to write.
    fn hold(&self, _ledger: Arc<dyn Ledger>, _ticket: Ticket) {}

    /// Forgets a group whose Services are gone.
    fn forget(&self, key: &GroupKey);
}

/// What the engine remembers of one group.
struct Memory<P: Provider> {
    want: Want<P::Desired>,
    nodes: Arc<NodeSet>,
    /// The version of the endpoints.
    endpoints: Digest,
    approval: Option<Arc<str>>,
    paused: bool,
    /// What is there, folded, where the last run left it in peace or let others go first; anything else is read again.
    seen: Option<P::Observed>,
    failures: Failures,
    /// What its plan said besides.
    noticed: Vec<Warning>,
    /// What the last run reported, when it left nothing to do.
    quiet: Option<Quiet>,
    /// It let others go first while it put right what somebody else had changed.
    repairs: bool,
}

/// What a run reported that left nothing to do.
struct Quiet {
    report: Report,
    /// Until when that holds by itself: as long as all that is in the way is held back.
    until: Option<Timestamp>,
}

impl Quiet {
    fn of(report: &Report, done: bool) -> Option<Self> {
        if done {
            return Some(Self {
                report: report.clone(),
                until: None,
            });
        }
        let held = |failure: &Failure| failure.class.is_hopeless() && failure.of_provider.is_none();
        // What could not be read may be readable by now.
        let all = report.waits.is_empty()
            && !report.untold
            && report.published.is_some()
            && report.failures.iter().all(held);
        let first = report.failures.iter().map(|failure| failure.at).min()?;
        all.then(|| Self {
            report: report.clone(),
            until: first.checked_add(HOLD).ok(),
        })
    }

    fn holds(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

/// One group of the engine.
struct Slot<P: Provider> {
    /// None while a run lasts, and after one that was cut.
    memory: Option<Memory<P>>,
    /// Somebody woke the group while it ran.
    woken: bool,
}

impl<P: Provider> Slot<P> {
    /// Something has happened that the group did not see.
    fn wake(&mut self) {
        match &mut self.memory {
            Some(memory) => memory.look_again(),
            None => self.woken = true,
        }
    }
}

impl<P: Provider> Memory<P> {
    fn look_again(&mut self) {
        self.seen = None;
        self.quiet = None;
        // What has happened may be what was in the way.
        self.failures.forget_hopeless();
    }
}

type Slots<P> = HashMap<GroupKey, Slot<P>>;

/// When a group is looked at again whose run ended before the fresh read that it needs.
const FRESH_READ: Duration = Duration::from_secs(5);

/// How long a first look may stand for the cloud, counted from the first run after the inventory.
const FIRST_LOOK: SignedDuration = SignedDuration::from_mins(10);

/// What an inventory has of the groups that have not run yet.
struct FirstLooks<O> {
    since: Option<Timestamp>,
    groups: BTreeMap<String, O>,
}

impl<O> FirstLooks<O> {
    fn new(groups: BTreeMap<String, O>) -> Self {
        Self {
            since: None,
            groups,
        }
    }

    fn take(&mut self, key: &GroupKey, now: Timestamp) -> Option<O> {
        if self.groups.is_empty() {
            return None;
        }
        let since = *self.since.get_or_insert(now);
        if now.duration_since(since) >= FIRST_LOOK {
            self.groups.clear();
        }
        self.groups.remove(&key.identity())
    }
}

/// A provider with a memory.
pub struct Engine<P: Provider> {
    provider: P,
    /// Every group that has run.
    slots: Arc<Mutex<Slots<P>>>,
    first_looks: Mutex<FirstLooks<P::Observed>>,
}

impl<P: Provider> Engine<P> {
    /// A provider that remembers nothing yet.
    pub fn new(provider: P) -> Self {
        Self {
            provider,
            slots: Arc::default(),
            first_looks: Mutex::new(FirstLooks::new(BTreeMap::new())),
        }
    }

    /// The provider itself.
    pub fn provider(&self) -> &P {
        &self.provider
    }

    /// Takes out what is remembered of a group while its run lasts: a run that is cut leaves no memory, and the next one
    /// looks. The first look of an inventory is only for a group that has not run since; any later it is old.
    fn take(&self, key: &GroupKey, now: Timestamp) -> (Option<Memory<P>>, Option<P::Observed>) {
        let first_look = lock(&self.first_looks).take(key, now);
        let mut slots = lock(&self.slots);
        match slots.get_mut(key) {
            Some(slot) => {
                slot.woken = false;
                (slot.memory.take(), None)
            }
            None => {
                let slot = Slot {
                    memory: None,
                    woken: false,
                };
                slots.insert(key.clone(), slot);
                (None, first_look)
            }
        }
    }

    fn keep(&self, key: GroupKey, mut memory: Memory<P>) {
        let mut slots = lock(&self.slots);
        if slots.get(&key).is_some_and(|slot| slot.woken) {
            memory.look_again();
        }
        let slot = Slot {
            memory: Some(memory),
            woken: false,
        };
        slots.insert(key, slot);
    }

    /// The wanted state, and the part of the report that only depends on it.
    fn judge(&self, ask: &Ask) -> (Want<P::Desired>, Report) {
        let mut report = Report::default();
        let want = match ask {
            Ask::Release => Want::Nothing,
            Ask::Keep(problems) => {
                report.problems = Some(problems.clone());
                Want::Frozen
            }
            Ask::KeepWithout(problems, gone) => {
                report.problems = Some(problems.clone());
                Want::FrozenWithout(gone.clone())
            }
            Ask::Serve(group) => match self.provider.desired(group) {
                Verdict::Rejected(problems) => {
                    report.problems = Some(problems);
                    Want::Frozen
                }
                Verdict::Accepted {
                    desired,
                    warnings,
                    port_errors,
                } => {
                    report.warnings = warnings;
                    report.port_errors = port_errors;
                    Want::Exists(desired)
                }
            },
        };
        (want, report)
    }

    /// A run but for the pods that wait.
    async fn run_group(&self, request: Request, journal: &dyn Journal) -> Report {
        let Request {
            key,
            ask,
            nodes,
            endpoints,
            approval,
            paused,
            look,
            ticket,
            now,
        } = request;
        let (mut want, mut report) = self.judge(&ask);
        let (memory, first_look) = self.take(&key, now);
        let unchanged = memory.as_ref().is_some_and(|m| {
            m.want == want
                && m.nodes.version() == nodes.version()
                && m.endpoints == endpoints.version()
                && m.approval == approval
                && m.paused == paused
        });
        let was_done = unchanged
            && memory.as_ref().is_some_and(|memory| {
                let quiet = memory.quiet.as_ref();
                memory.repairs || quiet.is_some_and(|quiet| quiet.until.is_none())
            });
        let memory = match memory {
            Some(memory)
                if unchanged
                    && !look
                    && memory.quiet.as_ref().is_some_and(|quiet| quiet.holds(now)) =>
            {
                let mut warnings = report.warnings;
                warnings.extend(memory.noticed.iter().cloned());
                let told = Report {
                    problems: report.problems,
                    warnings,
                    port_errors: report.port_errors,
                    applied: Vec::new(),
                    repaired: false,
                    drifted: Vec::new(),
                    reads: 0,
                    ..memory
                        .quiet
                        .as_ref()
                        .map(|quiet| quiet.report.clone())
                        .unwrap_or_default()
                };
                self.keep(key, memory);
                return told;
            }
            other => other,
        };
        let (seen, followed, mut failures) = match memory {
            None => (first_look, None, Failures::default()),
            // Who pauses does so to work by hand: what was seen before does not stand any more.
            Some(memory) if memory.paused && !paused => (None, None, memory.failures),
            Some(memory) => (memory.seen, Some(memory.nodes), memory.failures),
        };
        let mut seen = seen.filter(|_| !look);
        if let Some(seen) = &mut seen {
            self.provider.unfold(seen);
        }

        let mut known = seen.map(|seen| Known { seen, fresh: false });
        if want == Want::Nothing || (paused && known.is_none()) {
            // Retaining is stamped on the cloud object: a deletion may not depend on parsing annotations. Without that
            // read nothing is known to be ours to destroy.
            let looked = self.provider.observe(&key, &want).await;
            journal.observed(&key, looked.as_ref().map(|_| ()));
            report.reads = 1;
            match looked {
                Ok(seen) => known = Some(Known { seen, fresh: true }),
                Err(error) => {
                    let failure = unreadable(&error, Digest::of(&want), now);
                    report.failures.push(failure);
                    let memory = Memory {
                        want,
                        nodes,
                        endpoints: endpoints.version(),
                        approval,
                        paused,
                        seen: None,
                        failures,
                        noticed: Vec::new(),
                        quiet: None,
                        repairs: false,
                    };
                    self.keep(key, memory);
                    return report;
                }
            }
        }
        if want == Want::Nothing
            && known
                .as_ref()
                .is_some_and(|known| self.provider.retained(&known.seen))
        {
            want = Want::Released;
        }
        failures.begin(Digest::of(&want), now);

        let round = Round {
            key: &key,
            want: &want,
            nodes: &nodes,
            followed: followed.as_deref(),
            endpoints: &endpoints,
            approval: approval.as_deref(),
            now,
        };
        report.paused = paused;
        let noticed;
        let seen = match (paused, known) {
            (true, Some(Known { seen, .. })) => {
                report.published = Some(self.provider.published(&key, &seen));
                let rehearsed = rehearse(&self.provider, round, seen.clone(), &failures);
                report.withheld = rehearsed.waves.into_iter().flatten().collect();
                report.waits = rehearsed.waits;
                report.refusals = rehearsed.refusals;
                report.node_labels = rehearsed.node_labels;
                noticed = rehearsed.warnings;
                Some(seen)
            }
            (_, known) => {
                let ran = converge(
                    &self.provider,
                    round,
                    known,
                    &mut failures,
                    &ticket,
                    journal,
                )
                .await;
                report.applied = ran.applied;
                report.waits = ran.waits;
                report.refusals = ran.refusals;
                report.node_labels = ran.node_labels;
                noticed = ran.warnings;
                report.failures = ran.failures;
                report.untold = ran.untold;
                report.reads += ran.reads;
                report.published = ran
                    .seen
                    .as_ref()
                    .map(|seen| self.provider.published(&key, seen));
                ran.seen.filter(|_| ran.trusted)
            }
        };
        report.warnings.extend(noticed.iter().cloned());
        report.follows_endpoints =
            self.provider.follows_endpoints(&want, seen.as_ref()) == Some(true);
        report.repaired = was_done && !report.applied.is_empty();
        // What could not be read tells nothing.
        if was_done && report.published.is_some() && !paused {
            let failed = report.failures.iter().map(|failure| &failure.change);
            report.drifted = report.applied.iter().chain(failed).cloned().collect();
        }
        let done = report.waits.is_empty()
            && report.failures.is_empty()
            && !report.untold
            && seen.is_some();
        report.gone = matches!(want, Want::Nothing | Want::Released) && done && report.settled();
        if report.gone {
            self.forget(&key);
        } else {
            let lets_others = report.waits.iter().any(|wait| wait.until == Until::Turn);
            let mut seen = seen.filter(|_| done || lets_others);
            if let Some(seen) = &mut seen {
                self.provider.fold(seen);
            }
            let memory = Memory {
                // Whether it is retained is asked each time anew.
                want: if want == Want::Released {
                    Want::Nothing
                } else {
                    want
                },
                nodes,
                endpoints: endpoints.version(),
                approval,
                paused,
                seen,
                failures,
                noticed,
                quiet: Quiet::of(&report, done),
                repairs: was_done && lets_others,
            };
            self.keep(key, memory);
        }
        report
    }
}

#[async_trait]
impl<P: Provider> AnyProvider for Engine<P> {
    fn name(&self) -> &'static str {
        self.provider.name()
    }

    async fn identity(&self) -> Result<Option<String>, CloudError> {
        self.provider.identity().await
    }

    async fn run(&self, request: Request, journal: &dyn Journal) -> Report {
        let (key, endpoints, now) = (
            request.key.clone(),
            Arc::clone(&request.endpoints),
            request.now,
        );
        let mut report = self.run_group(request, journal).await;
        gates::judge(&self.provider, &key, &endpoints, now, &mut report).await;
        report
    }

    fn follows_endpoints(&self, key: &GroupKey, ask: &Ask) -> Option<bool> {
        let (want, _) = self.judge(ask);
        if let Some(slot) = lock(&self.slots).get(key) {
            let seen = slot.memory.as_ref().and_then(|memory| memory.seen.as_ref());
            return self.provider.follows_endpoints(&want, seen);
        }
        let looks = lock(&self.first_looks);
        let seen = looks.groups.get(&key.identity());
        self.provider.follows_endpoints(&want, seen)
    }

    async fn rehearse(&self, request: &Request) -> Result<Rehearsal, CloudError> {
        let (mut want, report) = self.judge(&request.ask);
        let seen = self.provider.observe(&request.key, &want).await?;
        if want == Want::Nothing && self.provider.retained(&seen) {
            want = Want::Released;
        }
        let round = Round {
            key: &request.key,
            want: &want,
            nodes: &request.nodes,
            followed: None,
            endpoints: &request.endpoints,
            approval: request.approval.as_deref(),
            now: request.now,
        };
        let rehearsed = rehearse(&self.provider, round, seen, &Failures::default());
        let given_up: Vec<Change> = rehearsed
            .waves
            .iter()
            .flatten()
            .filter(|change| change.gives_up.is_some())
            .cloned()
            .collect();
        let asked = rehearsed
            .refusals
            .iter()
            .find_map(|refusal| refusal.approval.clone());
        Ok(Rehearsal {
            problems: report.problems,
            warnings: [report.warnings, rehearsed.warnings].concat(),
            port_errors: report.port_errors,
            published: self.provider.published(&request.key, &rehearsed.seen),
            approval: asked.or_else(|| (!given_up.is_empty()).then(|| approval_digest(&given_up))),
            objects: self.provider.objects(&rehearsed.seen),
            waves: rehearsed.waves,
            waits: rehearsed.waits,
            refusals: rehearsed.refusals,
        })
    }

    async fn inventory(&self) -> Result<Vec<Found>, CloudError> {
        let snapshot = self.provider.snapshot().await?;
        // Who has run knows better, or must look again.
        let ran: HashSet<String> = lock(&self.slots).keys().map(GroupKey::identity).collect();
        let mut found = Vec::with_capacity(snapshot.groups.len());
        let mut looks = BTreeMap::new();
        for (identity, part) in snapshot.groups {
            let members = match GroupKey::shared(&identity) {
                Some(key) => {
                    let ports = self.provider.published(&key, &part.observed).ports;
                    let members: BTreeSet<_> = ports.into_iter().map(|port| port.service).collect();
                    members.into_iter().collect()
                }
                None => Vec::new(),
            };
            found.push(Found {
                members,
                identity: identity.clone(),
                service: part.service,
                objects: part.objects,
            });
            if !ran.contains(&identity) {
                looks.insert(identity, part.observed);
            }
        }
        *lock(&self.first_looks) = FirstLooks::new(looks);
        Ok(found)
    }

    fn attach(&self, wake: Wake) {
        let slots = self.slots.clone();
        self.provider.attach(Arc::new(move |key| {
            if let Some(slot) = lock(&slots).get_mut(key) {
                slot.wake();
            }
            wake(key);
        }));
    }

    fn hold(&self, ledger: Arc<dyn Ledger>, ticket: Ticket) {
        self.provider.hold(ledger, ticket);
    }

    fn forget(&self, key: &GroupKey) {
        lock(&self.first_looks).groups.remove(&key.identity());
        lock(&self.slots).remove(key);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// When a group should be looked at again by itself: the earliest of its waits. None when it will be told.
pub fn next_look(report: &Report) -> Option<Duration> {
    report
        .waits
        .iter()
        .filter_map(|wait| match wait.until {
            Until::After(after) => Some(after),
            // Left over where the run could not read: nobody will tell.
            Until::FreshRead => Some(FRESH_READ),
            Until::Turn => Some(Duration::ZERO),
            Until::Told => None,
        })
        .chain(report.judge_again)
        .min()
}
