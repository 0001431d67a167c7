//! Broken kinds of the toy whose Services share one object.

use async_trait::async_trait;
use evenkeel_core::{
    error::CloudError,
    ids::{GroupKey, ServiceKey, ServiceRef, ServiceUid},
    plan::Plan,
    provider::{PlanInput, Provider, Want},
    shared::{Claim, Standing},
    ticket::Ticket,
};
use evenkeel_laws::{
    toys::shared::{
        Shared,
        commit::part_of,
        model::{Effect, Observed, Step},
    },
    wrap::Tweak,
};

/// Foretells that a claim changes nothing.
#[derive(Default)]
pub(crate) struct PredictsNothing;
impl Tweak<Shared> for PredictsNothing {
    fn predict(&self, _: &Shared, _: &Step, seen: &Observed) -> Effect {
        Effect::Live(seen.part.clone())
    }
}

/// Takes what nobody has claimed yet for gone.
#[derive(Default)]
pub(crate) struct TakesUnknownForGone;
#[async_trait]
impl Tweak<Shared> for TakesUnknownForGone {
    async fn apply(
        &self,
        inner: &Shared,
        key: &GroupKey,
        step: &Step,
        seen: &Observed,
        ticket: &Ticket,
    ) -> Result<Effect, CloudError> {
        let live = inner.writer().live(false).await?;
        for part in live
            .parts
            .values()
            .filter_map(|raw| part_of(raw, inner.cluster()))
        {
            let (namespace, name) = part.service.split_once('/').expect("namespace/name");
            let service = ServiceRef {
                key: ServiceKey::new(namespace, name),
                uid: ServiceUid::new(part.group.as_str()),
            };
            let other = GroupKey::Service(service);
            if inner.writer().view(&other).is_none() && other != *key {
                inner.writer().claim(other, Claim::Gone, ticket)?;
            }
        }
        inner.apply(key, step, seen, ticket).await
    }
}

/// Takes down what is rejected.
#[derive(Default)]
pub(crate) struct TakesBrokenForGone;
impl Tweak<Shared> for TakesBrokenForGone {
    fn plan(&self, inner: &Shared, input: PlanInput<'_, Shared>) -> Plan<Step> {
        match input.want {
            Want::Frozen => inner.plan(PlanInput {
                want: &Want::Nothing,
                ..input
            }),
            _ => inner.plan(input),
        }
    }
}

/// Waits for the shared write where it hands its claim in.
#[derive(Default)]
pub(crate) struct WaitsInTheRun;
#[async_trait]
impl Tweak<Shared> for WaitsInTheRun {
    async fn apply(
        &self,
        inner: &Shared,
        key: &GroupKey,
        step: &Step,
        seen: &Observed,
        ticket: &Ticket,
    ) -> Result<Effect, CloudError> {
        let effect = inner.apply(key, step, seen, ticket).await?;
        while matches!(inner.writer().view(key), Some((_, Standing::Queued))) {
            tokio::task::yield_now().await;
        }
        Ok(effect)
    }
}

/// Approves what it asks approval for.
#[derive(Default)]
pub(crate) struct ApprovesItself;
impl Tweak<Shared> for ApprovesItself {
    fn plan(&self, inner: &Shared, input: PlanInput<'_, Shared>) -> Plan<Step> {
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
