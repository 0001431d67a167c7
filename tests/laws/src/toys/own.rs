//! A toy with objects of its own for every Service: an address, a target set per node port, a listener per port.
//!
//! ```text
//! annotations  pool, idle, tier; beside it, for both toys       (Decides)
//! model        Desired, Observed, Step, Effect                 (Decides)
//! names        what objects are called                         (Decides)
//! desired      Group -> Desired, or every Problem              (Decides)
//! observe      what a group owns                               (Reads)
//! plan         Desired + Observed -> the writes possible now   (Decides)
//! predict      the effect of a step; absorbing it              (Decides)
//! apply        one write                                       (Writes)
//! snapshot     everything of this cluster                      (Reads)
//! client       the calls, in our types, and their errors       (Reads, Writes)
//! ways         what the cloud can do, and how                (Decides)
//! cloud        the cloud itself, in memory
//! rig          how the laws meet this toy
//! ```

use super::annotations;
pub mod apply;
pub mod client;
pub mod cloud;
pub mod desired;
pub mod model;
pub mod names;
pub mod observe;
pub mod plan;
pub mod predict;
pub mod rig;
pub mod snapshot;
pub mod ways;

use async_trait::async_trait;
use evenkeel_core::{
    error::CloudError,
    group::Group,
    ids::{Cluster, GroupKey},
    plan::Plan,
    provider::{PlanInput, Provider, Snapshot, Verdict, Want},
    published::Published,
    ticket::Ticket,
};

use self::{
    client::Client,
    model::{Desired, Effect, Observed, Step},
};

/// The provider.
#[derive(Clone, Debug)]
pub struct Own {
    cluster: Cluster,
    client: Client,
}

impl Own {
    /// The provider of this cluster over this client.
    pub fn new(cluster: Cluster, client: Client) -> Self {
        Self { cluster, client }
    }

    /// The cluster it serves.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Its client.
    pub fn client(&self) -> &Client {
        &self.client
    }
}

#[async_trait]
impl Provider for Own {
    type Desired = Desired;
    type Observed = Observed;
    type Step = Step;
    type Effect = Effect;

    fn name(&self) -> &'static str {
        "own"
    }
    fn desired(&self, group: &Group) -> Verdict<Desired> {
        desired::desired(group, self.client.ways())
    }
    fn plan(&self, input: PlanInput<'_, Self>) -> Plan<Step> {
        plan::plan(&self.cluster, self.client.ways(), input)
    }
    fn predict(&self, step: &Step, seen: &Observed) -> Effect {
        predict::predict(step, seen)
    }
    fn absorb(&self, seen: &mut Observed, effect: Effect) {
        predict::absorb(seen, effect);
    }
    fn published(&self, _key: &GroupKey, seen: &Observed) -> Published {
        seen.published(self.client.ways())
    }
    fn retained(&self, seen: &Observed) -> bool {
        seen.retained()
    }
    async fn observe(&self, key: &GroupKey, _want: &Want<Desired>) -> Result<Observed, CloudError> {
        observe::observe(&self.client, &self.cluster, key).await
    }
    async fn snapshot(&self) -> Result<Snapshot<Observed>, CloudError> {
        snapshot::snapshot(&self.client, &self.cluster).await
    }
    async fn apply(
        &self,
        key: &GroupKey,
        step: &Step,
        seen: &Observed,
        _ticket: &Ticket,
    ) -> Result<Effect, CloudError> {
        // Every step is one short call, and the loop asks the ticket before each.
        apply::apply(&self.client, &self.cluster, key, step, seen).await
    }
}
