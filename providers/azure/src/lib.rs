//! Standard Load Balancers on Azure.
//!
//! ```text
//! desired     annotations, names   -> model::Desired     what a group shall have
//! observe     writers, index, facts -> model::Observed   what it has, and where its claims stand
//! plan        plan/*               -> model::Step        the writes possible now
//! predict                          -> model::Effect      what a write will do; absorbing it
//! apply       step + ticket        -> model::Effect      addresses are written, claims handed in
//! snapshot                         -> every group        for restarts, drift, and what nobody owns
//! writers     claims               -> one write          of each load balancer, of the security group
//! index       bulk reads that all groups share
//! facts       the subnets of the nodes' network
//! client      the wire
//! record      a document <-> a place that plans are made for without Azure
//! shared                           -> core's SharedObject: claims become the next body of a load balancer, of a security group
//! errors                           -> core's CloudError: what to do about an answer of Azure's
//! ```
//!
//! # A group
//! Is one Service, or the Services of a namespace that share an address because they name one `evenkeel.dev/group`. Objects of its
//! own are public IP addresses, marked with tags. Everything else of it is a claim on objects that the whole cluster shares:
//!
//! | object | what a group claims ([`model::Fragment`], [`model::Access`]) |
//! | --- | --- |
//! | the public, the internal load balancer | frontend IP configurations, load balancing rules, probes |
//! | its backend pools, one per family | nothing: the nodes are a claim of their own, under [`names::nodes_key`] |
//! | the network security group | security rules of its own |
//!
//! # A merge
//! Both objects are carried as the raw JSON that Azure sent ([`shared::json`]): a child that no claim is about is the same bytes in the
//! next body, a child that already is what is claimed too. Whose a child is stands in its name: `ek-<cluster>-<group>-…`, see
//! [`names`]. What several groups use, probes of kube-proxy's health and pools, stays while a rule refers to it. Removals ride in the
//! same PUT as what is added. A load balancer that is ours goes with its last frontend; one that somebody else made never loses its
//! last frontend. Limits are counted before the write ([`SharedObject::excess`]); a refused fragment is found by the names in
//! Azure's answer ([`SharedObject::blamed`]). The entity tag of what was read is the `If-Match` of the write
//! ([`shared::json::Document::etag`]), and what only Azure writes is left out of it ([`shared::json::Document::put`]).
//!
//! # On the way
//! A claim that was handed in is not in the live object yet. So what is observed carries where each claim stands, and a plan waits
//! for it: nothing is said to be gone while a claim for it is on the way, and one that came too late is called back.
//!
//! [`SharedObject::excess`]: evenkeel_core::shared::SharedObject::excess
//! [`SharedObject::blamed`]: evenkeel_core::shared::SharedObject::blamed

pub mod annotations;
pub mod apply;
pub mod azure_json;
pub mod call;
pub mod client;
mod context;
pub mod desired;
pub mod errors;
mod facts;
mod index;
mod limiter;
pub mod model;
pub mod names;
pub mod observe;
pub mod plan;
pub mod predict;
mod public_ips;
pub mod record;
pub mod shared;
pub mod snapshot;
mod writers;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use evenkeel_core::{
    error::{CloudError, ErrorClass},
    group::Group,
    ids::{GroupKey, ServiceRef},
    nodes::NodeRules,
    plan::Plan,
    provider::{PlanInput, Provider, Snapshot, Verdict, Wake, Want},
    published::Published,
    shared::Gather,
    ticket::Ticket,
};

pub use context::{Context, Limits, PRIORITIES};

use client::{Client, ResourcePath};
use facts::FactsDesk;
use index::{Index, SWEEP};
use model::{Desired, Effect, Observed, Step};
use writers::Writers;

/// The provider's name, as in class names and finalizers.
pub const NAME: &str = "azure";

/// What this provider needs of a node: `azure:///subscriptions/…/virtualMachines/…`, and an address, because the pools are of addresses.
pub const NODE_RULES: NodeRules = NodeRules {
    provider_id_scheme: Some("azure"),
    needs_address: true,
    drains: false,
};

/// What is waited for so that less is asked of Azure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How old the look at everything may be for one who looks at a group: drift that it shows is found so soon.
    pub sweep: Duration,
    /// How long claims are gathered before a write. None: each is written as soon as the write before it is over.
    pub gather: Option<Gather>,
}

impl Default for Timing {
    /// Claims that come in a wave meet in one write, and one that comes alone hardly waits: a write takes some seconds.
    fn default() -> Self {
        Self {
            sweep: SWEEP,
            gather: Some(Gather {
                quiet: Duration::from_millis(300),
                longest: Duration::from_secs(2),
            }),
        }
    }
}

/// Standard Load Balancers.
pub struct Azure {
    context: Arc<Context>,
    client: Arc<Client>,
    timing: Timing,
    writers: Writers,
    index: Index,
    facts: FactsDesk,
    /// The members of shared groups, as they were last decided about: names of rules tell them only to who knows them.
    members: Mutex<BTreeMap<GroupKey, Vec<ServiceRef>>>,
}

impl fmt::Debug for Azure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Azure")
            .field("context", &self.context)
            .field("timing", &self.timing)
            .finish_non_exhaustive()
    }
}

impl Azure {
    /// A provider that asks this client. Makes no call; its writers work in the runtime that it is first used in.
    pub fn new(context: Context, client: Client, timing: Timing) -> Self {
        let (context, client) = (Arc::new(context), Arc::new(client));
        Self {
            writers: Writers::new(&context, &client, timing.gather),
            context,
            client,
            timing,
            index: Index::default(),
            facts: FactsDesk::default(),
            members: Mutex::default(),
        }
    }

    /// The client, for health checks and diagnosis.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// What its decisions rest on.
    pub fn context(&self) -> &Context {
        &self.context
    }

    fn know_members(&self, group: &Group) {
        if matches!(group.key, GroupKey::Service(_)) {
            return;
        }
        let known = group.members.iter().map(|intent| intent.service.clone());
        let all = known.chain(group.unknown.iter().cloned()).collect();
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        members.insert(group.key.clone(), all);
    }

    fn members_of(&self, key: &GroupKey) -> Vec<ServiceRef> {
        if let GroupKey::Service(service) = key {
            return vec![service.clone()];
        }
        let members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        members.get(key).cloned().unwrap_or_default()
    }
}

/// The path of an id.
fn path(id: &str) -> Result<ResourcePath, CloudError> {
    ResourcePath::parse(id).ok_or_else(|| no_path(id))
}

fn no_path(id: &str) -> CloudError {
    CloudError::new(
        ErrorClass::Rejected,
        "path",
        format!("{id:?} is no id of a resource; correct the name in it"),
    )
}

#[async_trait]
impl Provider for Azure {
    type Desired = Desired;
    type Observed = Observed;
    type Step = Step;
    type Effect = Effect;

    fn name(&self) -> &'static str {
        NAME
    }

    fn desired(&self, group: &Group) -> Verdict<Desired> {
        self.know_members(group);
        desired::desired(&self.context, group)
    }

    fn plan(&self, input: PlanInput<'_, Self>) -> Plan<Step> {
        plan::plan(&self.context, input)
    }

    fn predict(&self, step: &Step, seen: &Observed) -> Effect {
        predict::predict(step, seen)
    }

    fn absorb(&self, seen: &mut Observed, effect: Effect) {
        predict::absorb(seen, effect);
    }

    fn published(&self, key: &GroupKey, seen: &Observed) -> Published {
        seen.published(&self.context.cluster, key, &self.members_of(key))
    }

    fn objects(&self, seen: &Observed) -> serde_json::Value {
        let objects = record::GroupObjects::of(&self.context, seen);
        serde_json::to_value(objects).unwrap_or_default()
    }

    fn retained(&self, seen: &Observed) -> bool {
        seen.retained()
    }

    async fn observe(&self, key: &GroupKey, want: &Want<Desired>) -> Result<Observed, CloudError> {
        observe::observe(self, key, want).await
    }

    async fn snapshot(&self) -> Result<Snapshot<Observed>, CloudError> {
        snapshot::snapshot(self).await
    }

    async fn apply(
        &self,
        key: &GroupKey,
        step: &Step,
        seen: &Observed,
        ticket: &Ticket,
    ) -> Result<Effect, CloudError> {
        apply::apply(self, key, step, seen, ticket).await
    }

    async fn identity(&self) -> Result<Option<String>, CloudError> {
        self.client.identity().await.map(Some)
    }

    fn attach(&self, wake: Wake) {
        self.writers.attach(wake);
    }
}
