//! Network Load Balancers on AWS.
//!
//! ```text
//! desired     annotations, names   -> model::Desired     what a group shall have
//! observe, snapshot                -> model::Observed    what it has: reads, through client
//! plan        plan/*               -> model::Step        the writes possible now
//! predict, apply                   -> model::Effect      what a write will do, and the writes, through client
//! ```

pub mod annotations;
pub mod apply;
pub mod call;
pub mod client;
pub mod desired;
pub mod errors;
pub mod facts;
mod gates;
mod holder;
pub mod index;
pub mod limiter;
pub mod model;
pub mod names;
mod nodes;
pub mod observe;
pub mod plan;
pub mod predict;
pub mod quotas;
pub mod record;
pub mod snapshot;

use std::{ops::RangeInclusive, sync::Arc, time::Duration};

use async_trait::async_trait;
use evenkeel_core::{
    Timestamp,
    endpoints::{EndpointSet, Judged},
    error::CloudError,
    group::Group,
    holder::Ledger,
    ids::{Cluster, GroupKey},
    nodes::NodeRules,
    plan::Plan,
    provider::{PlanInput, Provider, Snapshot, Verdict, Want},
    published::Published,
    ticket::Ticket,
};

use crate::{
    apply::{Held, Otherwise},
    client::Client,
    facts::FactsDesk,
    holder::Holder,
    index::Index,
    model::{Desired, Effect, Observed, Pairs, Step, TargetType},
    quotas::Quotas,
    record::GroupObjects,
};

/// The provider's name, as in class names and finalizers.
pub const NAME: &str = "aws";

/// What this provider needs of a node: `aws:///eu-west-1a/i-0abc`. Connections of a target that leaves end in peace.
pub const NODE_RULES: NodeRules = NodeRules {
    provider_id_scheme: Some("aws"),
    needs_address: false,
    drains: true,
};

/// What the decisions rest on besides Services, nodes and what is seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// The cluster whose Services are served.
    pub cluster: Cluster,
    /// Tags for every object, from the operator; a Service's own go before them.
    pub tags: Pairs,
    /// The security policy of TLS listeners where a Service names none.
    pub ssl_policy: Arc<str>,
    /// The API server's `--service-node-port-range`.
    pub node_ports: RangeInclusive<u16>,
    /// How long a load balancer that was replaced serves on: until nobody has its addresses from DNS any more.
    pub linger: Duration,
    /// How many of everything the account may have.
    pub quotas: Quotas,
    /// How old the look at the whole region may be for one who looks at a group: drift that it shows is found so soon.
    pub sweep: Duration,
}

/// How old a look at the whole region may be at most.
pub const SWEEP: Duration = Duration::from_secs(600);

/// Two times the time to live of a load balancer's DNS name, which is 60 seconds.
pub const LINGER: Duration = Duration::from_secs(120);

/// The security policy of TLS listeners unless the operator names another: TLS 1.2 and 1.3. AWS's own default is of 2016.
pub const SSL_POLICY: &str = "ELBSecurityPolicy-TLS13-1-2-2021-06";

impl Context {
    /// Everything but the cluster as it is by default.
    pub fn new(cluster: Cluster) -> Self {
        Self {
            cluster,
            tags: Pairs::new(),
            ssl_policy: SSL_POLICY.into(),
            node_ports: 30_000..=32_767,
            linger: LINGER,
            quotas: Quotas::default(),
            sweep: SWEEP,
        }
    }
}

/// Network Load Balancers.
#[derive(Debug)]
pub struct Aws {
    context: Context,
    client: Client,
    index: Index,
    facts: FactsDesk,
    held: Held,
    holder: Holder,
    otherwise: Otherwise,
}

impl Aws {
    /// A provider that asks this client. Makes no call.
    pub fn new(context: Context, client: Client) -> Self {
        Self {
            context,
            client,
            index: Index::default(),
            facts: FactsDesk::default(),
            held: Held::default(),
            holder: Holder::default(),
            otherwise: Otherwise::default(),
        }
    }

    /// The client, for health checks and diagnosis.
    pub fn client(&self) -> &Client {
        &self.client
    }
}

#[async_trait]
impl Provider for Aws {
    type Desired = Desired;
    type Observed = Observed;
    type Step = Step;
    type Effect = Effect;

    fn name(&self) -> &'static str {
        NAME
    }

    fn desired(&self, group: &Group) -> Verdict<Desired> {
        desired::desired(&self.context, group)
    }

    fn plan(&self, input: PlanInput<'_, Self>) -> Plan<Step> {
        let used = self.index.used(&input.key.identity());
        plan::plan_knowing(&self.context, input, &self.facts.known(), used)
    }

    fn predict(&self, step: &Step, _: &Observed) -> Effect {
        predict::predict(step)
    }

    fn absorb(&self, seen: &mut Observed, effect: Effect) {
        predict::absorb(seen, effect);
    }

    fn fold(&self, seen: &mut Observed) {
        seen.fold();
    }

    fn unfold(&self, seen: &mut Observed) {
        seen.unfold();
    }

    fn published(&self, key: &GroupKey, seen: &Observed) -> Published {
        seen.published(key)
    }

    fn objects(&self, seen: &Observed) -> serde_json::Value {
        serde_json::to_value(GroupObjects::of(&self.context, seen)).unwrap_or_default()
    }

    fn retained(&self, seen: &Observed) -> bool {
        seen.retained()
    }

    fn follows_endpoints(&self, want: &Want<Desired>, seen: Option<&Observed>) -> Option<bool> {
        let there = seen.map(Observed::has_pods);
        match want {
            Want::Exists(desired) => {
                let asked = desired.target_groups.iter();
                let asked = asked
                    .map(|group| group.target_type)
                    .any(TargetType::is_pods);
                // What of a member that cannot be read is there, only a look tells.
                let nothing = desired.unknown.is_empty().then_some(false);
                if asked { Some(true) } else { there.or(nothing) }
            }
            Want::Frozen | Want::FrozenWithout(_) => there,
            Want::Nothing | Want::Released => Some(false),
        }
    }

    async fn observe(&self, key: &GroupKey, want: &Want<Desired>) -> Result<Observed, CloudError> {
        observe::observe(self, key, want).await
    }

    async fn snapshot(&self) -> Result<Snapshot<Observed>, CloudError> {
        snapshot::snapshot(self).await
    }

    async fn judge(
        &self,
        key: &GroupKey,
        endpoints: &EndpointSet,
        now: Timestamp,
    ) -> Result<Vec<Judged>, CloudError> {
        gates::judge(self, key, endpoints, now).await
    }

    fn hold(&self, ledger: Arc<dyn Ledger>, ticket: Ticket) {
        self.holder.begin(ledger, ticket);
    }

    async fn identity(&self) -> Result<Option<String>, CloudError> {
        self.client.identity().await.map(Some)
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
}
