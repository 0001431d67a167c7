//! The loop: look, plan, do, look at what the doing did, until there is nothing to do; and its twin that only
//! rehearses.
//!
//! Neither sleeps: what is waited for is returned to the caller, who comes back when told or when it is time.

#[cfg(test)]
mod holding;
#[cfg(test)]
mod settling;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt, stream};
use jiff::Timestamp;
use serde::Serialize;

use crate::{
    digest::Digest,
    endpoints::EndpointSet,
    error::{CloudError, ErrorClass},
    failure::{Failure, Failures},
    ids::{GroupKey, ResourceId},
    nodes::NodeSet,
    plan::{Action, Change, Plan, Planned, Refusal, Until, Wait},
    problem::Warning,
    provider::{PlanInput, Provider, Want},
    published::Ingress,
    ticket::Ticket,
};

/// More waves than any plan needs. A plan that has not settled by then contradicts itself, which is our bug; the loop ends
/// rather than write for ever.
const MAX_WAVES: usize = 64;

/// How often one run looks again after a conflict, before it leaves the rest to the next run.
const MAX_CONFLICTS: usize = 3;

/// When a group is looked at again whose cloud did not show yet what was just done there.
const LAG: Duration = Duration::from_secs(5);

/// Told about every write, before and after: for logs and metrics.
pub trait Journal: Send + Sync {
    /// A write is about to be made.
    fn begins(&self, key: &GroupKey, change: &Change);
    /// It ended.
    fn ended(&self, key: &GroupKey, change: &Change, result: Result<(), &CloudError>);
    /// The group was read from the cloud.
    fn observed(&self, key: &GroupKey, result: Result<(), &CloudError>);
    /// Whether the world is told of these addresses. While it is told of others nothing is removed of what is served: an
    /// address that was given back may be a stranger's at once.
    fn tells(&self, _: &GroupKey, _: &[Ingress]) -> bool {
        true
    }
}

/// A journal that keeps nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoJournal;

impl Journal for NoJournal {
    fn begins(&self, _: &GroupKey, _: &Change) {}
    fn ended(&self, _: &GroupKey, _: &Change, _: Result<(), &CloudError>) {}
    fn observed(&self, _: &GroupKey, _: Result<(), &CloudError>) {}
}

/// The failure of a read, as it is remembered and reported.
pub(crate) fn unreadable(error: &CloudError, desired: Digest, now: Timestamp) -> Failure {
    Failure::new(observe_change(), error, desired, now)
}

/// The input of one run.
pub struct Round<'a, P: Provider + ?Sized> {
    /// The group.
    pub key: &'a GroupKey,
    /// What shall be.
    pub want: &'a Want<P::Desired>,
    /// The provider's nodes.
    pub nodes: &'a NodeSet,
    /// The nodes that were followed when the caller last saw what it knows.
    pub followed: Option<&'a NodeSet>,
    /// The endpoints of the group's Services, where they are followed.
    pub endpoints: &'a EndpointSet,
    /// The digests that owners approved, with spaces between.
    pub approval: Option<&'a str>,
    /// The time.
    pub now: Timestamp,
}

impl<P: Provider + ?Sized> Round<'_, P> {
    fn plan(
        &self,
        provider: &P,
        seen: &P::Observed,
        fresh: bool,
        failures: &Failures,
    ) -> Plan<P::Step> {
        provider.plan(PlanInput {
            key: self.key,
            want: self.want,
            seen,
            fresh,
            nodes: self.nodes,
            followed: self.followed,
            endpoints: self.endpoints,
            failures,
            approval: self.approval,
            now: self.now,
        })
    }
}

/// How a run ended.
#[derive(Debug)]
pub struct Ran<P: Provider + ?Sized> {
    /// What is there now, as far as it could be read.
    pub seen: Option<P::Observed>,
    /// Whether `seen` stands for the cloud: false after a step whose fate is unknown.
    pub trusted: bool,
    /// Writes made.
    pub applied: Vec<Change>,
    /// What is waited for.
    pub waits: Vec<Wait>,
    /// What is refused.
    pub refusals: Vec<Refusal>,
    /// What a user should know of how it was done.
    pub warnings: Vec<Warning>,
    /// The names of the labels of nodes that the plan looks at.
    pub node_labels: BTreeSet<Arc<str>>,
    /// What failed, in this run or before, and is still in the way.
    pub failures: Vec<Failure>,
    /// Removals wait until the world is told of the addresses there are now.
    pub untold: bool,
    /// Reads made.
    pub reads: usize,
}

/// What the caller knows already.
#[derive(Clone, Debug)]
pub struct Known<O> {
    /// What was seen.
    pub seen: O,
    /// Whether it was read just now, for this run.
    pub fresh: bool,
}

/// Makes a group what it shall be, as far as it goes now.
///
/// # Flow
/// 1. Reads, unless the caller knows what is there.
/// 2. Plans. Steps that failed before and are hopeless are held back.
/// 3. Applies the wave in parallel, absorbs the effects, plans again; until there are no steps.
/// 4. For `Nothing`, reads once more: gone is what a fresh read proves.
///
/// # Guarantees
/// A failed step stops only what depends on it: its dependants lack their input and are never planned. A conflict makes the run
/// look again. No step is tried twice in one run, but for those that met a conflict: what was done and is not shown by a later
/// read is waited for.
///
/// # Errors
/// Failures are never returned as an error: the rest of the group goes on. [`Ran::failures`] has those still in the way;
/// `failures` remembers more, for the next run.
pub async fn converge<P: Provider + ?Sized>(
    provider: &P,
    round: Round<'_, P>,
    known: Option<Known<P::Observed>>,
    failures: &mut Failures,
    ticket: &Ticket,
    journal: &dyn Journal,
) -> Ran<P> {
    let desired = Digest::of(round.want);
    let (known, mut fresh) = match known {
        None => (None, false),
        Some(Known { seen, fresh }) => (Some(seen), fresh),
    };
    let mut ran = Ran {
        seen: known,
        trusted: true,
        applied: Vec::new(),
        waits: Vec::new(),
        refusals: Vec::new(),
        warnings: Vec::new(),
        node_labels: BTreeSet::new(),
        failures: Vec::new(),
        untold: false,
        reads: 0,
    };
    let mut conflicts = 0;
    let mut done = Done::default();
    for wave in 0.. {
        if ran.seen.is_none() {
            match read(provider, &round, journal, &mut ran).await {
                Ok(()) => {
                    fresh = true;
                    ran.trusted = true;
                }
                Err(error) => {
                    note(
                        failures,
                        &"observe",
                        observe_change(),
                        &error,
                        desired,
                        round.now,
                    );
                    ran.trusted = false;
                    ran.failures = failures.iter().cloned().collect();
                    return ran;
                }
            }
        }
        let seen = ran.seen.take().expect("read above");
        let mut plan = round.plan(provider, &seen, fresh, failures);
        let held = failures.hold_back(&mut plan);
        let again = done.take_out(&mut plan, ran.reads);
        hold_destroys(&mut plan, ticket.destroys_wait());
        let untold = hold_until_told(provider, &round, &seen, journal, &mut plan);
        if plan.steps.is_empty() && !fresh && needs_fresh(round.want, &plan, &held) {
            continue;
        }
        let others_first = lets_others(&plan) && held.is_empty() && again.is_none() && !untold;
        if !others_first {
            plan.waits.retain(|wait| wait.until != Until::Turn);
        }
        if plan.steps.is_empty() || wave >= MAX_WAVES {
            ran.failures = in_the_way(provider, &round, &seen, fresh, failures, held);
            if !plan.steps.is_empty() || again.contradicts {
                ran.failures.push(unsettled(desired, round.now));
            }
            ran.untold = untold;
            ran.waits = plan.waits;
            ran.waits.extend(again.waits);
            ran.refusals = plan.refusals;
            ran.warnings = plan.warnings;
            ran.node_labels = plan.node_labels;
            ran.seen = Some(seen);
            return ran;
        }
        // After a wave what is seen is what the effects say, which is as good as a read only until something is to be proved.
        if matches!(round.want, Want::Nothing) {
            fresh = false;
        }
        let results = {
            let seen = &seen;
            stream::iter(plan.steps)
                .map(|planned| async move {
                    let _writing = match ticket.begin() {
                        Ok(writing) => writing,
                        Err(error) => return (planned, Err(error)),
                    };
                    journal.begins(round.key, &planned.change);
                    let result = provider.apply(round.key, &planned.step, seen, ticket).await;
                    journal.ended(round.key, &planned.change, result.as_ref().map(|_| ()));
                    (planned, result)
                })
                .buffered(provider.parallelism().max(1))
                .collect::<Vec<_>>()
                .await
        };
        let mut seen = seen;
        let mut stale = false;
        for (planned, result) in results {
            match result {
                Ok(effect) => {
                    provider.absorb(&mut seen, effect);
                    done.add(&planned.step, ran.reads);
                    ran.applied.push(planned.change);
                }
                Err(error) => {
                    stale |= error.class == ErrorClass::Conflict;
                    // Whatever failed may have had its effect all the same: the next run reads.
                    ran.trusted = false;
                    note(
                        failures,
                        &planned.step,
                        planned.change,
                        &error,
                        desired,
                        round.now,
                    );
                }
            }
        }
        if stale && conflicts < MAX_CONFLICTS && ticket.remaining().is_ok() {
            conflicts += 1;
            failures.forget(ErrorClass::Conflict);
            continue;
        }
        if others_first && ran.trusted {
            ran.failures = in_the_way(provider, &round, &seen, fresh, failures, held);
            ran.waits = plan.waits;
            ran.refusals = plan.refusals;
            ran.warnings = plan.warnings;
            ran.node_labels = plan.node_labels;
            ran.seen = Some(seen);
            return ran;
        }
        ran.seen = Some(seen);
    }
    unreachable!("the loop returns")
}

/// Turns the steps that destroy something into waits, for as long as late writes of a former leader may come.
fn hold_destroys<S>(plan: &mut Plan<S>, left: Option<Duration>) {
    let Some(left) = left else {
        return;
    };
    let waits = &mut plan.waits;
    plan.steps.retain(|Planned { change, .. }| {
        if matches!(change.action, Action::Create | Action::Change) {
            return true;
        }
        waits.push(Wait {
            id: change.id.clone(),
            what: format!(
                "the last writes of a former leader to be over, before {} {} is removed",
                change.kind, change.id
            ),
            until: Until::After(left),
        });
        false
    });
}

/// Whether other groups go first once the steps are done.
fn lets_others<S>(plan: &Plan<S>) -> bool {
    !plan.steps.is_empty() && plan.waits.iter().any(|wait| wait.until == Until::Turn)
}

/// Takes the removals out of a plan while the world is told of other addresses than there are. Returns whether there were any.
fn hold_until_told<P: Provider + ?Sized>(
    provider: &P,
    round: &Round<'_, P>,
    seen: &P::Observed,
    journal: &dyn Journal,
    plan: &mut Plan<P::Step>,
) -> bool {
    let removes = |planned: &Planned<P::Step>| planned.change.action == Action::Destroy;
    if !matches!(round.want, Want::Exists(_)) || !plan.steps.iter().any(removes) {
        return false;
    }
    let now = provider.published(round.key, seen).ingress;
    if now.is_empty() || journal.tells(round.key, &now) {
        return false;
    }
    plan.steps.retain(|planned| !removes(planned));
    true
}

/// Whether a plan without steps still needs a fresh read: it asks for one, or absence has to be proved. While something is
/// waited for or could not be removed nothing is absent yet.
fn needs_fresh<D, S>(want: &Want<D>, plan: &Plan<S>, held: &[Failure]) -> bool {
    let asked = |wait: &Wait| wait.until == Until::FreshRead;
    let absent = plan.waits.is_empty() && held.is_empty();
    plan.waits.iter().any(asked) || (matches!(want, Want::Nothing) && absent)
}

/// The steps done in one run, each with the number of reads before it.
#[derive(Default)]
struct Done(BTreeMap<Digest, usize>);

/// What came of steps that are planned though they were done.
#[derive(Default)]
struct Again {
    /// The cloud was read since, and does not show them yet.
    waits: Vec<Wait>,
    /// Their own effects do not satisfy the plan.
    contradicts: bool,
}

impl Again {
    fn is_none(&self) -> bool {
        self.waits.is_empty() && !self.contradicts
    }
}

impl Done {
    fn add<S: Serialize>(&mut self, step: &S, reads: usize) {
        self.0.insert(Digest::of(step), reads);
    }

    /// Takes the steps out of a plan that were done in this run. Many clouds show what was done only after a while;
    /// doing it over and over until they do would be a storm.
    fn take_out<S: Serialize>(&self, plan: &mut Plan<S>, reads: usize) -> Again {
        let mut again = Again::default();
        if self.0.is_empty() {
            return again;
        }
        plan.steps.retain(|Planned { step, change }| {
            let Some(before) = self.0.get(&Digest::of(step)) else {
                return true;
            };
            if reads > *before {
                again.waits.push(Wait {
                    id: change.id.clone(),
                    what: format!(
                        "the cloud to show what was done to {} {}",
                        change.kind, change.id
                    ),
                    until: Until::After(LAG),
                });
            } else {
                again.contradicts = true;
            }
            false
        });
        again
    }
}

/// The failures still in the way: of the steps that were held back, and of those that would be planned had they not failed. A
/// plan may take steps that failed into account by itself, so that the loop never sees them.
fn in_the_way<P: Provider + ?Sized>(
    provider: &P,
    round: &Round<'_, P>,
    seen: &P::Observed,
    fresh: bool,
    failures: &Failures,
    mut held: Vec<Failure>,
) -> Vec<Failure> {
    if failures.is_empty() {
        return held;
    }
    let mut unaware = round.plan(provider, seen, fresh, &Failures::default());
    for failure in failures.hold_back(&mut unaware) {
        if !held.contains(&failure) {
            held.push(failure);
        }
    }
    held
}

fn unsettled(desired: Digest, now: Timestamp) -> Failure {
    let error = CloudError::new(
        ErrorClass::Transient,
        "plan",
        "the plan did not settle; please report this with the log",
    );
    let change = Change::new(
        Action::Change,
        "load balancer",
        ResourceId::new("lb"),
        "has not settled",
    );
    Failure::new(change, &error, desired, now)
}

async fn read<P: Provider + ?Sized>(
    provider: &P,
    round: &Round<'_, P>,
    journal: &dyn Journal,
    ran: &mut Ran<P>,
) -> Result<(), CloudError> {
    let result = provider.observe(round.key, round.want).await;
    journal.observed(round.key, result.as_ref().map(|_| ()));
    ran.reads += 1;
    ran.seen = Some(result?);
    Ok(())
}

fn note<S: Serialize>(
    failures: &mut Failures,
    step: &S,
    change: Change,
    error: &CloudError,
    desired: Digest,
    now: Timestamp,
) {
    failures.record(step, Failure::new(change, error, desired, now));
}

fn observe_change() -> Change {
    Change::new(
        Action::Change,
        "load balancer",
        ResourceId::new("lb"),
        "could not be read",
    )
}

/// What a rehearsal foretells.
#[derive(Clone, Debug, PartialEq)]
pub struct Rehearsed<O> {
    /// The steps, wave by wave.
    pub waves: Vec<Vec<Change>>,
    /// What would be waited for in the end.
    pub waits: Vec<Wait>,
    /// What would be refused.
    pub refusals: Vec<Refusal>,
    /// What a user should know of how it would be done.
    pub warnings: Vec<Warning>,
    /// The names of the labels of nodes that the plan looks at.
    pub node_labels: BTreeSet<Arc<str>>,
    /// What would be there.
    pub seen: O,
    /// False when the plan did not end: our bug.
    pub settled: bool,
}

/// The same loop with predicted effects: no reads, no writes.
pub fn rehearse<P: Provider + ?Sized>(
    provider: &P,
    round: Round<'_, P>,
    mut seen: P::Observed,
    failures: &Failures,
) -> Rehearsed<P::Observed> {
    let mut waves = Vec::new();
    for _ in 0..MAX_WAVES {
        let mut plan = round.plan(provider, &seen, true, failures);
        failures.hold_back(&mut plan);
        if plan.steps.is_empty() {
            return Rehearsed {
                waves,
                waits: plan.waits,
                refusals: plan.refusals,
                warnings: plan.warnings,
                node_labels: plan.node_labels,
                seen,
                settled: true,
            };
        }
        let effects: Vec<_> = plan
            .steps
            .iter()
            .map(|planned| provider.predict(&planned.step, &seen))
            .collect();
        for effect in effects {
            provider.absorb(&mut seen, effect);
        }
        waves.push(
            plan.steps
                .into_iter()
                .map(|planned| planned.change)
                .collect(),
        );
    }
    Rehearsed {
        waves,
        waits: Vec::new(),
        refusals: Vec::new(),
        warnings: Vec::new(),
        node_labels: BTreeSet::new(),
        seen,
        settled: false,
    }
}
