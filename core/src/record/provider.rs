//! A provider whose cloud is a document (Decides).

use async_trait::async_trait;

use crate::{
    error::{CloudError, ErrorClass},
    group::Group,
    ids::GroupKey,
    plan::Plan,
    provider::{PlanInput, Provider, Snapshot, Verdict, Want},
    published::Published,
    ticket::Ticket,
};

/// A cloud that was written down, for the provider `P`.
pub trait Record<P: Provider>: Send + Sync + 'static {
    /// What a look at a group would find. Pure.
    fn observe(&self, key: &GroupKey, want: &Want<P::Desired>) -> P::Observed;

    /// What a look at everything would find. Pure.
    fn snapshot(&self) -> Snapshot<P::Observed>;
}

/// A provider that decides as `P` does, and looks into a record where that asks its cloud. It never writes.
#[derive(Debug)]
pub struct Recorded<P, R> {
    provider: P,
    record: R,
}

impl<P: Provider, R: Record<P>> Recorded<P, R> {
    /// A provider with a record for its cloud.
    pub fn new(provider: P, record: R) -> Self {
        Self { provider, record }
    }
}

#[async_trait]
impl<P: Provider, R: Record<P>> Provider for Recorded<P, R> {
    type Desired = P::Desired;
    type Observed = P::Observed;
    type Step = P::Step;
    type Effect = P::Effect;

    fn name(&self) -> &'static str {
        self.provider.name()
    }

    fn desired(&self, group: &Group) -> Verdict<P::Desired> {
        self.provider.desired(group)
    }

    fn plan(&self, input: PlanInput<'_, Self>) -> Plan<P::Step> {
        self.provider.plan(input.passed_on())
    }

    fn predict(&self, step: &P::Step, seen: &P::Observed) -> P::Effect {
        self.provider.predict(step, seen)
    }

    fn absorb(&self, seen: &mut P::Observed, effect: P::Effect) {
        self.provider.absorb(seen, effect);
    }

    fn published(&self, key: &GroupKey, seen: &P::Observed) -> Published {
        self.provider.published(key, seen)
    }

    fn objects(&self, seen: &P::Observed) -> serde_json::Value {
        self.provider.objects(seen)
    }

    fn retained(&self, seen: &P::Observed) -> bool {
        self.provider.retained(seen)
    }

    fn follows_endpoints(
        &self,
        want: &Want<P::Desired>,
        seen: Option<&P::Observed>,
    ) -> Option<bool> {
        self.provider.follows_endpoints(want, seen)
    }

    async fn observe(
        &self,
        key: &GroupKey,
        want: &Want<P::Desired>,
    ) -> Result<P::Observed, CloudError> {
        Ok(self.record.observe(key, want))
    }

    async fn snapshot(&self) -> Result<Snapshot<P::Observed>, CloudError> {
        Ok(self.record.snapshot())
    }

    async fn apply(
        &self,
        _: &GroupKey,
        _: &P::Step,
        _: &P::Observed,
        _: &Ticket,
    ) -> Result<P::Effect, CloudError> {
        Err(CloudError::new(
            ErrorClass::Rejected,
            "apply",
            "the cloud is a document, which is not written to; run the controller where the cloud can be reached",
        ))
    }
}
