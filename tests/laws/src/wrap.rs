//! A provider around a provider: one that does every step twice, and the rig for it. Broken ones are made the same way.

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
    tap::Tap,
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

/// A provider that does every step twice.
pub struct Twice<P>(P);

impl<P> Twice<P> {
    /// Around this one.
    pub fn new(provider: P) -> Self {
        Self(provider)
    }
}

#[async_trait]
impl<P: Provider> Provider for Twice<P> {
    type Desired = P::Desired;
    type Observed = P::Observed;
    type Step = P::Step;
    type Effect = P::Effect;

    fn name(&self) -> &'static str {
        self.0.name()
    }
    fn desired(&self, group: &Group) -> Verdict<P::Desired> {
        self.0.desired(group)
    }
    fn plan(&self, input: PlanInput<'_, Self>) -> Plan<P::Step> {
        self.0.plan(inner(input))
    }
    fn predict(&self, step: &P::Step, seen: &P::Observed) -> P::Effect {
        self.0.predict(step, seen)
    }
    fn absorb(&self, seen: &mut P::Observed, effect: P::Effect) {
        self.0.absorb(seen, effect);
    }
    fn published(&self, key: &GroupKey, seen: &P::Observed) -> Published {
        self.0.published(key, seen)
    }
    fn retained(&self, seen: &P::Observed) -> bool {
        self.0.retained(seen)
    }
    async fn observe(
        &self,
        key: &GroupKey,
        want: &Want<P::Desired>,
    ) -> Result<P::Observed, CloudError> {
        self.0.observe(key, want).await
    }
    async fn snapshot(&self) -> Result<Snapshot<P::Observed>, CloudError> {
        self.0.snapshot().await
    }
    async fn apply(
        &self,
        key: &GroupKey,
        step: &P::Step,
        seen: &P::Observed,
        ticket: &Ticket,
    ) -> Result<P::Effect, CloudError> {
        let first = self.0.apply(key, step, seen, ticket).await?;
        match self.0.apply(key, step, seen, ticket).await {
            Ok(_) => Ok(first),
            // A change of a version that is gone may be refused: whoever is told so looks again.
            Err(error) if error.class == ErrorClass::Conflict => Err(error),
            Err(error) => Err(
                CloudError::new(error.class, "second time", error.to_string()).with_source(error),
            ),
        }
    }
    fn attach(&self, wake: Wake) {
        self.0.attach(wake);
    }
    fn parallelism(&self) -> usize {
        self.0.parallelism()
    }
}

/// The input of a wrapper's plan as its inner provider takes it.
pub fn inner<P, Q>(input: PlanInput<'_, Q>) -> PlanInput<'_, P>
where
    P: Provider,
    Q: Provider<Desired = P::Desired, Observed = P::Observed>,
{
    let PlanInput {
        key,
        want,
        seen,
        fresh,
        nodes,
        failures,
        approval,
        now,
    } = input;
    PlanInput {
        key,
        want,
        seen,
        fresh,
        nodes,
        failures,
        approval,
        now,
    }
}
