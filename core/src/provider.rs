//! The provider trait: what a cloud must be able to decide, read and write.
//!
//! The typed trait is [`Provider`]. Several providers run in one process, so [`crate::engine::Engine`] wraps one and is
//! its boxed twin; nothing outside the engine knows the associated types.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    sync::Arc,
};

use async_trait::async_trait;
use jiff::Timestamp;
use serde::Serialize;

use crate::{
    endpoints::{EndpointSet, Judged},
    error::CloudError,
    failure::Failures,
    group::Group,
    holder::Ledger,
    ids::{GroupKey, ServiceUid},
    nodes::NodeSet,
    plan::Plan,
    problem::{PortError, Problems, Warning},
    published::Published,
    ticket::Ticket,
};

/// What a group shall have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Want<D> {
    /// This.
    Exists(D),
    /// What it has: the group is rejected. Everything stays, only targets follow the nodes.
    Frozen,
    /// The same, but for what serves these members, who have left a group that is rejected: that goes.
    FrozenWithout(BTreeSet<ServiceUid>),
    /// Nothing: its Services are gone, or no longer ours.
    Nothing,
    /// Nothing to do with us any more: the Services are gone and the objects, which say so themselves, stay.
    Released,
}

/// The answer of [`Provider::desired`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict<D> {
    /// It can be served, at least in part.
    Accepted {
        /// What shall be.
        desired: D,
        /// What a user should know all the same.
        warnings: Vec<Warning>,
        /// The ports that cannot be served.
        port_errors: Vec<PortError>,
    },
    /// Nothing can be served, for all these reasons.
    Rejected(Problems),
}

/// The input of [`Provider::plan`].
pub struct PlanInput<'a, P: Provider + ?Sized> {
    /// Which group.
    pub key: &'a GroupKey,
    /// What shall be.
    pub want: &'a Want<P::Desired>,
    /// What is.
    pub seen: &'a P::Observed,
    /// Whether `seen` was read in this run. A removal of something that others might need first asks for a fresh read
    /// with [`crate::plan::Until::FreshRead`].
    pub fresh: bool,
    /// The provider's nodes.
    pub nodes: &'a NodeSet,
    /// The nodes that `seen` follows, where a run before this one left them in peace. For an observation that does not say
    /// what the targets are: what has come and gone since.
    pub followed: Option<&'a NodeSet>,
    /// The endpoints of the group's Services, for providers that follow them.
    pub endpoints: &'a EndpointSet,
    /// Steps that failed and are held back. The loop holds the same steps back; a plan may choose another way.
    pub failures: &'a Failures,
    /// The digests that owners approved, with spaces between.
    pub approval: Option<&'a str>,
    /// The time.
    pub now: Timestamp,
}

// Derived Copy would ask the same of P.
impl<P: Provider + ?Sized> Clone for PlanInput<'_, P> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<P: Provider + ?Sized> Copy for PlanInput<'_, P> {}

impl<'a, P: Provider + ?Sized> PlanInput<'a, P> {
    /// The same for a provider of the same types: one that stands behind this one, or before it.
    pub fn passed_on<Q>(self) -> PlanInput<'a, Q>
    where
        Q: Provider<Desired = P::Desired, Observed = P::Observed> + ?Sized,
    {
        PlanInput {
            key: self.key,
            want: self.want,
            seen: self.seen,
            fresh: self.fresh,
            nodes: self.nodes,
            followed: self.followed,
            endpoints: self.endpoints,
            failures: self.failures,
            approval: self.approval,
            now: self.now,
        }
    }
}

/// Everything a cloud has of one cluster, in the largest pages it gives.
#[derive(Clone, Debug)]
pub struct Snapshot<O> {
    /// What each group has, by [`GroupKey::identity`].
    pub groups: BTreeMap<String, SnapshotPart<O>>,
}

impl<O> Default for Snapshot<O> {
    fn default() -> Self {
        Self {
            groups: BTreeMap::new(),
        }
    }
}

/// What a snapshot has of one group.
#[derive(Clone, Debug)]
pub struct SnapshotPart<O> {
    /// The observation; details that no bulk call lists may be missing, and `plan` must bear that.
    pub observed: O,
    /// `namespace/name` as the marks tell it, for people.
    pub service: String,
    /// How many objects.
    pub objects: usize,
}

/// Wakes a group: something it waits for has happened.
pub type Wake = Arc<dyn Fn(&GroupKey) + Send + Sync>;

/// A cloud that can hold load balancers.
///
/// # The laws
/// A rehearsal settles, and equals the execution. A step can be repeated. A run can be cut after any call and started
/// again. `Nothing` removes all that is ours and nothing that is not. No frontend or target of an unchanged port goes
/// before its successor is there. The order of inputs changes nothing. An unchanged world causes no call.
#[async_trait]
pub trait Provider: Send + Sync + 'static {
    /// What shall be: typed cloud objects, without targets (those follow the nodes, or the endpoints).
    type Desired: Clone + Debug + PartialEq + Serialize + Send + Sync + 'static;
    /// What is: the objects the group owns, and the shared facts they rest on.
    type Observed: Clone + Debug + PartialEq + Send + Sync + 'static;
    /// One write.
    type Step: Clone + Debug + PartialEq + Serialize + Send + Sync + 'static;
    /// What a write did.
    type Effect: Clone + Debug + PartialEq + Send + Sync + 'static;

    /// The provider's name, as in class names and finalizers: `local`.
    fn name(&self) -> &'static str;

    /// Decides what a group shall have. Pure: no await, no clock, no randomness.
    fn desired(&self, group: &Group) -> Verdict<Self::Desired>;

    /// Decides the writes possible now. Pure.
    fn plan(&self, input: PlanInput<'_, Self>) -> Plan<Self::Step>;

    /// Foretells the effect of a step, with placeholders where only the cloud knows. An object that takes time is foretold
    /// as it will be when it is ready. Pure.
    fn predict(&self, step: &Self::Step, seen: &Self::Observed) -> Self::Effect;

    /// The only change of what was observed. Pure.
    fn absorb(&self, seen: &mut Self::Observed, effect: Self::Effect);

    /// Makes what was observed small, without a loss: nobody looks at it until [`Provider::unfold`]. Pure.
    fn fold(&self, _seen: &mut Self::Observed) {}

    /// Takes back what [`Provider::fold`] did. Pure.
    fn unfold(&self, _seen: &mut Self::Observed) {}

    /// What can be told to the world. Pure.
    fn published(&self, key: &GroupKey, seen: &Self::Observed) -> Published;

    /// Everything the group has, whole, as a document for programs: the same words as in the provider's facts (see
    /// [`crate::record`]). Null where the provider has no such words. Pure.
    fn objects(&self, _seen: &Self::Observed) -> serde_json::Value {
        serde_json::Value::Null
    }

    /// Whether what was observed is stamped to stay when its Services are deleted. Pure.
    fn retained(&self, _seen: &Self::Observed) -> bool {
        false
    }

    /// Whether targets of the group are its Services' endpoints, so that it has to be told of them. `seen` is what is there, where
    /// that is known: of what is rejected nothing else tells. None: nothing tells. Pure.
    fn follows_endpoints(
        &self,
        _want: &Want<Self::Desired>,
        _seen: Option<&Self::Observed>,
    ) -> Option<bool> {
        Some(false)
    }

    /// Reads what a group owns and the facts it rests on. Nothing owned is an empty observation, never an error.
    ///
    /// # Errors
    /// When the cloud cannot be asked.
    async fn observe(
        &self,
        key: &GroupKey,
        want: &Want<Self::Desired>,
    ) -> Result<Self::Observed, CloudError>;

    /// Reads everything of this cluster, in the largest pages there are.
    ///
    /// # Errors
    /// When the cloud cannot be asked.
    async fn snapshot(&self) -> Result<Snapshot<Self::Observed>, CloudError>;

    /// Does one step. The only place that writes. Harmless to repeat: creating what exists and is ours is success, as is
    /// destroying what is gone.
    ///
    /// # Errors
    /// When the write failed or may have failed; a write whose fate is unknown is a Conflict, and a fresh read tells.
    async fn apply(
        &self,
        key: &GroupKey,
        step: &Self::Step,
        seen: &Self::Observed,
        ticket: &Ticket,
    ) -> Result<Self::Effect, CloudError>;

    /// Reads how the targets of those pods stand that wait for it ([`crate::endpoints::Endpoint::waits`]): each of them, as the cloud says now
    /// and nothing remembered. Asked only while one waits.
    ///
    /// # Errors
    /// When the cloud cannot be asked.
    async fn judge(
        &self,
        _key: &GroupKey,
        _endpoints: &EndpointSet,
        _now: Timestamp,
    ) -> Result<Vec<Judged>, CloudError> {
        Ok(Vec::new())
    }

    /// Where the cloud is asked and as whom, for people and without secrets: `account 123456789012, region eu-west-1`. None where there is
    /// nothing to tell.
    ///
    /// # Errors
    /// When the cloud cannot be asked.
    async fn identity(&self) -> Result<Option<String>, CloudError> {
        Ok(None)
    }

    /// Takes the means to wake a group, for providers that finish work behind the caller's back. Called once, before
    /// anything else.
    fn attach(&self, _wake: Wake) {}

    /// Takes what tells this cluster from another with the same identity, for providers whose objects both may reach, and the right to
    /// write. Called once, before anything else, where somebody runs who goes on writing.
    fn hold(&self, _ledger: Arc<dyn Ledger>, _ticket: Ticket) {}

    /// How many steps of one group may run at a time.
    fn parallelism(&self) -> usize {
        8
    }
}
