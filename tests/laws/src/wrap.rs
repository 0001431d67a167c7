//! A provider around a provider that does some things otherwise, and the rig for it: one that does every step twice. Broken ones
//! are made the same way.

use async_trait::async_trait;
use evenkeel_core::{
    error::{CloudError, ErrorClass},
    group::Group,
    ids::{Cluster, GroupKey},
    intent::Intent,
    nodes::Node,
    plan::{Change, Plan},
    provider::{PlanInput, Provider, Snapshot, Verdict, Wake, Want},
    published::Published,
    ticket::Ticket,
};
use std::time::Duration;

use crate::{
    rig::{Abilities, Object, Picture, Rig, World},
    tap::{Fault, Tap},
};

/// A rig whose provider is wrapped into another.
pub struct Over<'r, R: Rig, Q> {
    rig: &'r R,
    wrap: fn(R::Provider) -> Q,
    patience: Duration,
}

impl<'r, R: Rig, Q> Over<'r, R, Q> {
    /// The rig with its provider wrapped.
    pub fn new(rig: &'r R, wrap: fn(R::Provider) -> Q) -> Self {
        Self {
            rig,
            wrap,
            patience: rig.patience(),
        }
    }

    /// The same with another patience: shorter, where the wrapped provider is expected to exhaust it.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }
}

/// The world of an [`Over`].
pub struct OverWorld<W: World, Q> {
    world: W,
    wrap: fn(W::Provider) -> Q,
}

type Observed<R> = <<R as Rig>::Provider as Provider>::Observed;

#[async_trait]
impl<R: Rig, Q: Provider<Observed = Observed<R>>> Rig for Over<'_, R, Q> {
    type Provider = Q;
    type World = OverWorld<R::World, Q>;

    async fn world(&self) -> Self::World {
        OverWorld {
            world: self.rig.world().await,
            wrap: self.wrap,
        }
    }
    fn abilities(&self) -> Abilities {
        self.rig.abilities()
    }
    fn normalise(&self, seen: Observed<R>) -> Observed<R> {
        self.rig.normalise(seen)
    }
    fn normalise_change(&self, change: Change) -> Change {
        self.rig.normalise_change(change)
    }
    fn cluster(&self) -> Cluster {
        self.rig.cluster()
    }
    fn service(&self, name: &str) -> Intent {
        self.rig.service(name)
    }
    fn another_port(&self) -> u16 {
        self.rig.another_port()
    }
    fn node(&self, number: u8) -> Node {
        self.rig.node(number)
    }
    fn change(&self, intent: &mut Intent) {
        self.rig.change(intent);
    }
    fn break_annotation(&self, intent: &mut Intent) {
        self.rig.break_annotation(intent);
    }
    fn replace(&self, intent: &mut Intent) -> bool {
        self.rig.replace(intent)
    }
    fn add_unservable_port(&self, intent: &mut Intent) -> bool {
        self.rig.add_unservable_port(intent)
    }
    fn ask_the_refused(&self, intent: &mut Intent) -> bool {
        self.rig.ask_the_refused(intent)
    }
    fn retain(&self, intent: &mut Intent) {
        self.rig.retain(intent);
    }
    fn fault_points(&self, calls: usize) -> Vec<usize> {
        self.rig.fault_points(calls)
    }
    fn faults(&self) -> Vec<Fault> {
        self.rig.faults()
    }
    fn ways(&self) -> u32 {
        self.rig.ways()
    }
    fn patience(&self) -> Duration {
        self.patience
    }
}

#[async_trait]
impl<W: World, Q: Provider> World for OverWorld<W, Q> {
    type Provider = Q;

    async fn provider(&self) -> Q {
        (self.wrap)(self.world.provider().await)
    }
    fn tap(&self) -> &Tap {
        self.world.tap()
    }
    async fn objects(&self) -> Vec<Object> {
        self.world.objects().await
    }
    async fn picture(&self) -> Picture {
        self.world.picture().await
    }
    async fn advance(&self) {
        self.world.advance().await;
    }
    async fn plant_neighbours(&self) {
        self.world.plant_neighbours().await;
    }
    async fn plant_in_the_way(&self, key: &GroupKey) -> bool {
        self.world.plant_in_the_way(key).await
    }
}

/// What a provider does otherwise than the one it wraps. Without a method it does the same.
#[async_trait]
pub trait Tweak<P: Provider>: Default + Send + Sync + 'static {
    /// Instead of [`Provider::desired`].
    fn desired(&self, inner: &P, group: &Group) -> Verdict<P::Desired> {
        inner.desired(group)
    }
    /// Instead of [`Provider::plan`].
    fn plan(&self, inner: &P, input: PlanInput<'_, P>) -> Plan<P::Step> {
        inner.plan(input)
    }
    /// Instead of [`Provider::predict`].
    fn predict(&self, inner: &P, step: &P::Step, seen: &P::Observed) -> P::Effect {
        inner.predict(step, seen)
    }
    /// Instead of [`Provider::retained`].
    fn retained(&self, inner: &P, seen: &P::Observed) -> bool {
        inner.retained(seen)
    }
    /// Instead of [`Provider::observe`].
    ///
    /// # Errors
    /// As there.
    async fn observe(
        &self,
        inner: &P,
        key: &GroupKey,
        want: &Want<P::Desired>,
    ) -> Result<P::Observed, CloudError> {
        inner.observe(key, want).await
    }
    /// Instead of [`Provider::apply`].
    ///
    /// # Errors
    /// As there.
    async fn apply(
        &self,
        inner: &P,
        key: &GroupKey,
        step: &P::Step,
        seen: &P::Observed,
        ticket: &Ticket,
    ) -> Result<P::Effect, CloudError> {
        inner.apply(key, step, seen, ticket).await
    }
}

/// A provider that does some things otherwise.
pub struct Tweaked<P, T> {
    inner: P,
    tweak: T,
}

impl<P: Provider, T: Tweak<P>> Tweaked<P, T> {
    /// Around this one.
    pub fn new(inner: P) -> Self {
        Self::with(inner, T::default())
    }

    /// Around this one, with this tweak.
    pub fn with(inner: P, tweak: T) -> Self {
        Self { inner, tweak }
    }
}

#[async_trait]
impl<P: Provider, T: Tweak<P>> Provider for Tweaked<P, T> {
    type Desired = P::Desired;
    type Observed = P::Observed;
    type Step = P::Step;
    type Effect = P::Effect;

    fn name(&self) -> &'static str {
        self.inner.name()
    }
    fn desired(&self, group: &Group) -> Verdict<P::Desired> {
        self.tweak.desired(&self.inner, group)
    }
    fn plan(&self, input: PlanInput<'_, Self>) -> Plan<P::Step> {
        let PlanInput {
            key,
            want,
            seen,
            fresh,
            nodes,
            followed,
            endpoints,
            failures,
            approval,
            now,
        } = input;
        let input = PlanInput {
            key,
            want,
            seen,
            fresh,
            nodes,
            followed,
            endpoints,
            failures,
            approval,
            now,
        };
        self.tweak.plan(&self.inner, input)
    }
    fn predict(&self, step: &P::Step, seen: &P::Observed) -> P::Effect {
        self.tweak.predict(&self.inner, step, seen)
    }
    fn absorb(&self, seen: &mut P::Observed, effect: P::Effect) {
        self.inner.absorb(seen, effect);
    }
    fn published(&self, key: &GroupKey, seen: &P::Observed) -> Published {
        self.inner.published(key, seen)
    }
    fn objects(&self, seen: &P::Observed) -> serde_json::Value {
        self.inner.objects(seen)
    }
    fn retained(&self, seen: &P::Observed) -> bool {
        self.tweak.retained(&self.inner, seen)
    }
    fn follows_endpoints(
        &self,
        want: &Want<P::Desired>,
        seen: Option<&P::Observed>,
    ) -> Option<bool> {
        self.inner.follows_endpoints(want, seen)
    }
    async fn observe(
        &self,
        key: &GroupKey,
        want: &Want<P::Desired>,
    ) -> Result<P::Observed, CloudError> {
        self.tweak.observe(&self.inner, key, want).await
    }
    async fn snapshot(&self) -> Result<Snapshot<P::Observed>, CloudError> {
        self.inner.snapshot().await
    }
    async fn apply(
        &self,
        key: &GroupKey,
        step: &P::Step,
        seen: &P::Observed,
        ticket: &Ticket,
    ) -> Result<P::Effect, CloudError> {
        self.tweak.apply(&self.inner, key, step, seen, ticket).await
    }
    fn attach(&self, wake: Wake) {
        self.inner.attach(wake);
    }
    fn parallelism(&self) -> usize {
        self.inner.parallelism()
    }
}

/// Does every step twice.
#[derive(Clone, Copy, Debug, Default)]
pub struct Twice;

#[async_trait]
impl<P: Provider> Tweak<P> for Twice {
    async fn apply(
        &self,
        inner: &P,
        key: &GroupKey,
        step: &P::Step,
        seen: &P::Observed,
        ticket: &Ticket,
    ) -> Result<P::Effect, CloudError> {
        let first = inner.apply(key, step, seen, ticket).await?;
        match inner.apply(key, step, seen, ticket).await {
            Ok(_) => Ok(first),
            // A change of a version that is gone may be refused: whoever is told so looks again.
            Err(error) if error.class == ErrorClass::Conflict => Err(error),
            Err(error) => Err(
                CloudError::new(error.class, "second time", error.to_string()).with_source(error),
            ),
        }
    }
}
