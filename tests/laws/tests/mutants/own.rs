//! Broken kinds of the toy with an object per Service.

use std::{
    collections::BTreeSet,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use evenkeel_core::{
    error::{CloudError, ErrorClass},
    group::Group,
    ids::{GroupKey, ResourceId},
    plan::{Action, Plan, Until},
    provider::{PlanInput, Provider, Verdict, Want},
    ticket::Ticket,
};
use evenkeel_laws::toys::annotations::Pool;
use evenkeel_laws::{
    toys::own::{
        Own,
        cloud::{Marks, Spec},
        model::{Desired, Effect, Observed, Step},
        names,
    },
    wrap::Tweak,
};

/// Does nothing.
#[derive(Default)]
pub(crate) struct Idle;
impl Tweak<Own> for Idle {
    fn plan(&self, _: &Own, _: PlanInput<'_, Own>) -> Plan<Step> {
        Plan::empty()
    }
}

/// Waits for somebody who does not exist.
#[derive(Default)]
pub(crate) struct Waits;
impl Tweak<Own> for Waits {
    fn plan(&self, _: &Own, _: PlanInput<'_, Own>) -> Plan<Step> {
        let mut plan = Plan::empty();
        plan.wait(ResourceId::new("lb"), "better times", Until::Told);
        plan
    }
}

/// Foretells that a change changes nothing.
#[derive(Default)]
pub(crate) struct PredictsNothing;
impl Tweak<Own> for PredictsNothing {
    fn predict(&self, inner: &Own, step: &Step, seen: &Observed) -> Effect {
        match step {
            Step::Change { marks, .. } => {
                Effect::Is(marks.id.clone(), seen.objects[&marks.id].clone().into())
            }
            _ => inner.predict(step, seen),
        }
    }
}

/// Foretells listeners that are never ready, and does not wait for them.
#[derive(Default)]
pub(crate) struct PredictsOtherwise;
impl Tweak<Own> for PredictsOtherwise {
    fn predict(&self, inner: &Own, step: &Step, seen: &Observed) -> Effect {
        match inner.predict(step, seen) {
            Effect::Is(id, mut object) => {
                object.ready_in = u8::from(matches!(object.spec, Spec::Listener { .. }));
                Effect::Is(id, object)
            }
            gone => gone,
        }
    }
    fn plan(&self, inner: &Own, input: PlanInput<'_, Own>) -> Plan<Step> {
        let mut plan = inner.plan(input);
        plan.waits
            .retain(|wait| !wait.id.as_str().starts_with("listener"));
        plan
    }
}

/// Takes what is gone already for an error.
#[derive(Default)]
pub(crate) struct FailsTheSecondTime(Mutex<BTreeSet<String>>);
#[async_trait]
impl Tweak<Own> for FailsTheSecondTime {
    async fn apply(
        &self,
        inner: &Own,
        key: &GroupKey,
        step: &Step,
        seen: &Observed,
        ticket: &Ticket,
    ) -> Result<Effect, CloudError> {
        if let Step::Destroy { id } = step {
            let name = seen
                .objects
                .get(id)
                .map(|object| object.name.clone())
                .unwrap_or_default();
            if !self.0.lock().expect("nobody panics").insert(name) {
                return Err(CloudError::new(
                    ErrorClass::Rejected,
                    "Delete",
                    "there is no such object",
                ));
            }
        }
        inner.apply(key, step, seen, ticket).await
    }
}

/// Chooses the pool by the port that happens to come first.
#[derive(Default)]
pub(crate) struct HeedsTheOrder;
impl Tweak<Own> for HeedsTheOrder {
    fn desired(&self, inner: &Own, group: &Group) -> Verdict<Desired> {
        let mut verdict = inner.desired(group);
        if let Verdict::Accepted { desired, .. } = &mut verdict {
            let first = group.first().ports[0].key.port;
            desired.pool = if first == 18080 {
                Pool::East
            } else {
                Pool::West
            };
        }
        verdict
    }
}

/// Never believes what it has not just read.
#[derive(Default)]
pub(crate) struct LooksAgain;
impl Tweak<Own> for LooksAgain {
    fn plan(&self, inner: &Own, input: PlanInput<'_, Own>) -> Plan<Step> {
        let mut plan = inner.plan(input);
        if !input.fresh {
            plan.wait(ResourceId::new("lb"), "a fresh look", Until::FreshRead);
        }
        plan
    }
}

/// Wants something else every time it is asked.
#[derive(Default)]
pub(crate) struct ChangesItsMind(AtomicU64);
impl Tweak<Own> for ChangesItsMind {
    fn desired(&self, inner: &Own, group: &Group) -> Verdict<Desired> {
        let mut verdict = inner.desired(group);
        if let Verdict::Accepted { desired, .. } = &mut verdict {
            desired.retain = self.0.fetch_add(1, Ordering::Relaxed) % 2 == 1;
        }
        verdict
    }
}

/// Makes a spare of every target set, by another name every time.
#[derive(Default)]
pub(crate) struct Leaks(AtomicU64);
#[async_trait]
impl Tweak<Own> for Leaks {
    async fn apply(
        &self,
        inner: &Own,
        key: &GroupKey,
        step: &Step,
        seen: &Observed,
        ticket: &Ticket,
    ) -> Result<Effect, CloudError> {
        if let Step::Create {
            marks,
            spec: spec @ Spec::TargetSet { .. },
        } = step
        {
            let name = names::object(inner.cluster(), key, &marks.id);
            let spare = format!("{name}-{}", self.0.fetch_add(1, Ordering::Relaxed));
            let marks = Marks {
                group: format!("{} spare", marks.group),
                ..marks.clone()
            };
            inner.client().create(&spare, &marks, spec).await?;
        }
        inner.apply(key, step, seen, ticket).await
    }
}

/// Does not know what is to be retained.
#[derive(Default)]
pub(crate) struct ForgetsToRetain;
impl Tweak<Own> for ForgetsToRetain {
    fn retained(&self, _: &Own, _: &Observed) -> bool {
        false
    }
}

/// Empties a target set before it fills it again.
#[derive(Default)]
pub(crate) struct EmptiesFirst;
impl Tweak<Own> for EmptiesFirst {
    fn plan(&self, inner: &Own, input: PlanInput<'_, Own>) -> Plan<Step> {
        let mut plan = inner.plan(input);
        for planned in &mut plan.steps {
            if let Step::Change {
                marks,
                spec: Spec::TargetSet { targets, .. },
            } = &mut planned.step
                && !input.seen.objects[&marks.id].spec.is_empty_set()
            {
                targets.clear();
            }
        }
        plan
    }
}

/// Destroys a listener that shall change, and creates it anew.
#[derive(Default)]
pub(crate) struct DestroysFirst;
impl Tweak<Own> for DestroysFirst {
    fn plan(&self, inner: &Own, input: PlanInput<'_, Own>) -> Plan<Step> {
        let mut plan = inner.plan(input);
        for planned in &mut plan.steps {
            if let Step::Change {
                marks,
                spec: Spec::Listener { .. },
            } = &planned.step
            {
                planned.step = Step::Destroy {
                    id: marks.id.clone(),
                };
            }
        }
        plan
    }
}

/// Does nothing at all for a Service that is rejected.
#[derive(Default)]
pub(crate) struct NodesWait;
impl Tweak<Own> for NodesWait {
    fn plan(&self, inner: &Own, input: PlanInput<'_, Own>) -> Plan<Step> {
        if *input.want == Want::Frozen {
            Plan::empty()
        } else {
            inner.plan(input)
        }
    }
}

/// Takes down what is rejected.
#[derive(Default)]
pub(crate) struct TearsDown;
impl Tweak<Own> for TearsDown {
    fn plan(&self, inner: &Own, input: PlanInput<'_, Own>) -> Plan<Step> {
        match input.want {
            Want::Frozen => inner.plan(PlanInput {
                want: &Want::Nothing,
                ..input
            }),
            _ => inner.plan(input),
        }
    }
}

/// Leaves target sets behind.
#[derive(Default)]
pub(crate) struct DeletesHalf;
impl Tweak<Own> for DeletesHalf {
    fn plan(&self, inner: &Own, input: PlanInput<'_, Own>) -> Plan<Step> {
        let mut plan = inner.plan(input);
        if *input.want == Want::Nothing {
            plan.steps
                .retain(|planned| planned.change.kind != "target set");
        }
        plan
    }
}

/// Takes everything for its own that has the right group, whatever the cluster.
#[derive(Default)]
pub(crate) struct IgnoresMarks;
#[async_trait]
impl Tweak<Own> for IgnoresMarks {
    async fn observe(
        &self,
        inner: &Own,
        key: &GroupKey,
        want: &Want<Desired>,
    ) -> Result<Observed, CloudError> {
        let twin = inner.cluster().uid.replace("c001", "c002");
        let mut seen = Observed::of(inner.client().list(&twin, Some(&key.identity())).await?);
        seen.objects.extend(inner.observe(key, want).await?.objects);
        Ok(seen)
    }
}

/// Approves what it asks approval for.
#[derive(Default)]
pub(crate) struct ApprovesItself;
impl Tweak<Own> for ApprovesItself {
    fn plan(&self, inner: &Own, input: PlanInput<'_, Own>) -> Plan<Step> {
        let plan = inner.plan(input);
        let digest = plan
            .refusals
            .iter()
            .find_map(|refusal| refusal.approval.clone());
        match &digest {
            Some(digest) => inner.plan(PlanInput {
                approval: Some(digest),
                ..input
            }),
            None => plan,
        }
    }
}

/// Puts something new into every step, so that no failure is recognised.
#[derive(Default)]
pub(crate) struct RepeatsTheHopeless(AtomicU64);
impl Tweak<Own> for RepeatsTheHopeless {
    fn plan(&self, inner: &Own, input: PlanInput<'_, Own>) -> Plan<Step> {
        let mut plan = inner.plan(input);
        for planned in &mut plan.steps {
            if let Step::Create { marks, .. } = &mut planned.step {
                marks.service = format!(
                    "{} {}",
                    marks.service,
                    self.0.fetch_add(1, Ordering::Relaxed)
                );
            }
        }
        plan
    }
}

/// Once refused, does nothing more for anybody.
#[derive(Default)]
pub(crate) struct Sulks(AtomicBool);
#[async_trait]
impl Tweak<Own> for Sulks {
    async fn apply(
        &self,
        inner: &Own,
        key: &GroupKey,
        step: &Step,
        seen: &Observed,
        ticket: &Ticket,
    ) -> Result<Effect, CloudError> {
        if self.0.load(Ordering::Relaxed) {
            return Err(CloudError::new(
                ErrorClass::Transient,
                "sulk",
                "it has been refused before",
            ));
        }
        let result = inner.apply(key, step, seen, ticket).await;
        if matches!(&result, Err(error) if error.class == ErrorClass::Rejected) {
            self.0.store(true, Ordering::Relaxed);
        }
        result
    }
}

/// Repairs what it sees while it looks.
#[derive(Default)]
pub(crate) struct WritesWhenItLooks;
#[async_trait]
impl Tweak<Own> for WritesWhenItLooks {
    async fn observe(
        &self,
        inner: &Own,
        key: &GroupKey,
        want: &Want<Desired>,
    ) -> Result<Observed, CloudError> {
        let seen = inner.observe(key, want).await?;
        for object in seen.objects.values() {
            if let Some(marks) = &object.marks {
                inner.client().change(object, marks, &object.spec).await?;
            }
        }
        inner.observe(key, want).await
    }
}

/// Calls what it removes a change.
#[derive(Default)]
pub(crate) struct CallsARemovalAChange;
impl Tweak<Own> for CallsARemovalAChange {
    fn plan(&self, inner: &Own, input: PlanInput<'_, Own>) -> Plan<Step> {
        let mut plan = inner.plan(input);
        for planned in &mut plan.steps {
            if planned.change.action == Action::Destroy {
                planned.change.action = Action::Change;
            }
        }
        plan
    }
}
