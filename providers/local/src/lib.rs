//! evenkeel's own L4 load balancer for one machine: the data plane process and the provider that drives it.
//!
//! ```text
//! desired     annotations, names   -> model::Desired     what a group shall have
//! observe, snapshot                -> model::Observed    what it has: reads, through client
//! plan        plan/*               -> model::Step        the writes possible now
//! predict, apply                   -> model::Effect      what a write will do, and the writes, through client
//! ```
//!
//! [`dataplane`] is the cloud: its own process, with the API of [`api`] on a Unix socket. The provider knows it by that
//! API only.

pub mod annotations;
pub mod api;
pub mod apply;
pub mod client;
pub mod dataplane;
pub mod desired;
pub mod errors;
pub mod model;
mod moment;
pub mod names;
pub mod observe;
pub mod plan;
pub mod predict;
pub mod record;
pub mod snapshot;
mod waiting;

use std::{path::PathBuf, time::Duration};

use async_trait::async_trait;
use evenkeel_core::{
    error::CloudError,
    group::Group,
    ids::{Cluster, GroupKey},
    nodes::NodeRules,
    plan::Plan,
    provider::{PlanInput, Provider, Snapshot, Verdict, Wake, Want},
    published::Published,
    ticket::Ticket,
};

use crate::{
    client::Client,
    model::{Desired, Effect, Observed, Step},
    waiting::Waiting,
};

/// The provider's name, as in class names and finalizers.
pub const NAME: &str = "local";

/// What this provider needs of a node: an address. Connections of a target that leaves end in peace.
pub const NODE_RULES: NodeRules = NodeRules {
    provider_id_scheme: None,
    needs_address: true,
    drains: true,
};

/// What the provider is made with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalConfig {
    /// The Unix socket of the data plane.
    pub socket: PathBuf,
    /// The cluster whose Services are served.
    pub cluster: Cluster,
    /// The longest a call may take.
    pub call_timeout: Duration,
}

impl LocalConfig {
    /// A configuration with the default timeout.
    pub fn new(socket: impl Into<PathBuf>, cluster: Cluster) -> Self {
        Self {
            socket: socket.into(),
            cluster,
            call_timeout: client::CALL_TIMEOUT,
        }
    }
}

/// Load balancers on this machine.
#[derive(Debug)]
pub struct Local {
    cluster: Cluster,
    client: Client,
    waiting: Waiting,
}

impl Local {
    /// A provider that speaks to the data plane on a socket. Makes no call.
    pub fn new(config: LocalConfig) -> Self {
        let LocalConfig {
            socket,
            cluster,
            call_timeout,
        } = config;
        Self {
            client: Client::new(socket, cluster.uid.clone(), call_timeout),
            cluster,
            waiting: Waiting::default(),
        }
    }

    /// The client, for health checks and diagnosis.
    pub fn client(&self) -> &Client {
        &self.client
    }
}

#[async_trait]
impl Provider for Local {
    type Desired = Desired;
    type Observed = Observed;
    type Step = Step;
    type Effect = Effect;

    fn name(&self) -> &'static str {
        NAME
    }

    fn desired(&self, group: &Group) -> Verdict<Desired> {
        desired::desired(group)
    }

    fn plan(&self, input: PlanInput<'_, Self>) -> Plan<Step> {
        plan::plan(input)
    }

    fn predict(&self, step: &Step, seen: &Observed) -> Effect {
        predict::predict(step, seen)
    }

    fn absorb(&self, seen: &mut Observed, effect: Effect) {
        predict::absorb(seen, effect);
    }

    fn published(&self, key: &GroupKey, seen: &Observed) -> Published {
        seen.published(key)
    }

    fn objects(&self, seen: &Observed) -> serde_json::Value {
        serde_json::to_value(record::GroupObjects::of(seen)).unwrap_or_default()
    }

    fn retained(&self, seen: &Observed) -> bool {
        seen.retained()
    }

    async fn observe(&self, key: &GroupKey, _: &Want<Desired>) -> Result<Observed, CloudError> {
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
        ticket: &Ticket,
    ) -> Result<Effect, CloudError> {
        let result = apply::apply(&self.client, step, seen, ticket).await;
        self.waiting.hear(key, &result);
        result
    }

    fn attach(&self, wake: Wake) {
        self.waiting.attach(wake);
    }
}
