//! A toy whose Services all share one object, which is written whole, one write at a time.
//!
//! ```text
//! annotations  pool, idle, tier; beside it, for both toys       (Decides)
//! model        Desired, Observed, Step, Effect; a group's part     (Decides)
//! names        what parts are called                               (Decides)
//! desired      Group -> Desired, or every Problem                  (Decides)
//! observe      a group's part, and where its claim stands          (Reads)
//! plan         Desired + Observed -> the claim to hand in          (Decides)
//! predict      the effect of a claim; absorbing it                 (Decides)
//! apply        handing it in                                       (Writes)
//! commit       how claims become the object's next body            (Decides)
//! snapshot     everything of this cluster                          (Reads)
//! client       the calls, in our types, and their errors           (Reads, Writes)
//! cloud        the cloud itself, in memory
//! rig          how the laws meet this toy
//! ```

use super::annotations;
pub mod apply;
pub mod client;
pub mod cloud;
pub mod commit;
pub mod desired;
pub mod model;
pub mod names;
pub mod observe;
pub mod plan;
pub mod predict;
pub mod rig;
pub mod snapshot;

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use evenkeel_core::{
    error::CloudError,
    group::Group,
    ids::{Cluster, GroupKey},
    plan::Plan,
    provider::{PlanInput, Provider, Snapshot, Verdict, Wake, Want},
    published::Published,
    shared::Writer,
    ticket::Ticket,
};
use tokio::task::AbortHandle;

use self::{
    client::Client,
    commit::Balancer,
    model::{Desired, Effect, Observed, Step},
};

/// The provider.
pub struct Shared {
    cluster: Cluster,
    writer: Arc<Writer<Balancer>>,
    wake: Arc<OnceLock<Wake>>,
    work: AbortHandle,
}

impl Shared {
    /// The provider of this cluster over this client. Its writer works in the current runtime until it is dropped.
    pub fn start(cluster: Cluster, client: Client) -> Self {
        let wake: Arc<OnceLock<Wake>> = Arc::default();
        let forward = wake.clone();
        let balancer = Balancer::new(cluster.clone(), client);
        let (writer, work) = Writer::new(
            balancer,
            Arc::new(move |key| {
                if let Some(wake) = forward.get() {
                    wake(key);
                }
            }),
        );
        Self {
            cluster,
            writer,
            wake,
            work: tokio::spawn(work).abort_handle(),
        }
    }
}

impl Shared {
    /// The cluster it serves.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The writer of the shared object.
    pub fn writer(&self) -> &Writer<Balancer> {
        &self.writer
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.work.abort();
    }
}

#[async_trait]
impl Provider for Shared {
    type Desired = Desired;
    type Observed = Observed;
    type Step = Step;
    type Effect = Effect;

    fn name(&self) -> &'static str {
        "shared"
    }
    fn desired(&self, group: &Group) -> Verdict<Desired> {
        desired::desired(group)
    }
    fn plan(&self, input: PlanInput<'_, Self>) -> Plan<Step> {
        plan::plan(&self.cluster, input)
    }
    fn predict(&self, step: &Step, seen: &Observed) -> Effect {
        predict::predict(step, seen)
    }
    fn absorb(&self, seen: &mut Observed, effect: Effect) {
        predict::absorb(seen, effect);
    }
    fn published(&self, _key: &GroupKey, seen: &Observed) -> Published {
        seen.published()
    }
    fn retained(&self, seen: &Observed) -> bool {
        seen.part.as_ref().is_some_and(|part| part.retain)
    }
    async fn observe(&self, key: &GroupKey, _want: &Want<Desired>) -> Result<Observed, CloudError> {
        observe::observe(&self.writer, &self.cluster, key).await
    }
    async fn snapshot(&self) -> Result<Snapshot<Observed>, CloudError> {
        snapshot::snapshot(&self.writer, &self.cluster).await
    }
    async fn apply(
        &self,
        key: &GroupKey,
        step: &Step,
        _seen: &Observed,
        ticket: &Ticket,
    ) -> Result<Effect, CloudError> {
        apply::apply(&self.writer, key, step, ticket)
    }
    fn attach(&self, wake: Wake) {
        // Called once; a second wake would have nobody to tell.
        let _ = self.wake.set(wake);
    }
    fn parallelism(&self) -> usize {
        1
    }
}
