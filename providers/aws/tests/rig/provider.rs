//! The provider, in a world that has instances of its own.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use evenkeel_aws::{
    Aws, Context,
    client::{Client, Config},
    model::{Desired, Effect, Observed, Step},
};
use evenkeel_core::{
    error::CloudError,
    group::Group,
    ids::{GroupKey, ServiceKey, ServiceRef, ServiceUid},
    nodes::NodeSet,
    plan::Plan,
    provider::{PlanInput, Provider, Snapshot, Verdict, Want},
    published::Published,
    ticket::Ticket,
};
use evenkeel_harness::aws::World as Place;
use evenkeel_laws::samples;

/// What stands before a node's number in `spec.providerID`.
const NUMBERED: &str = "aws:///numbered/";

/// `spec.providerID` of the node of this number, in every world.
pub(super) fn numbered(number: usize) -> Arc<str> {
    format!("{NUMBERED}{number}").into()
}

/// The provider with the instances of its world.
pub(crate) struct Clustered {
    inner: Aws,
    instances: Vec<Arc<str>>,
}

impl Clustered {
    pub(super) fn new(config: Config, place: &Place) -> Self {
        let mut context = Context::new(samples::cluster());
        context.linger = Duration::ZERO;
        let instances = place.nodes.iter().map(|node| node.provider_id().into());
        Self {
            inner: Aws::new(context, Client::new(config)),
            instances: instances.collect(),
        }
    }

    /// Has all nodes admitted.
    pub(super) async fn admit_nodes(&self) {
        let group = Group::single(samples::cluster(), samples::service("first"));
        let ids = self.instances.iter().filter_map(|id| id.rsplit('/').next());
        let ids = ids.map(Arc::from).collect();
        for step in [Step::CreateBackendGroup, Step::AdmitNodes(ids)] {
            let (seen, ticket) = (Observed::default(), Ticket::unlimited());
            let done = self.inner.apply(&group.key, &step, &seen, &ticket).await;
            done.unwrap_or_else(|error| panic!("{error}"));
        }
    }

    /// The nodes as this world has them.
    fn here(&self, nodes: &NodeSet) -> NodeSet {
        let here = nodes.nodes().iter().cloned().map(|mut node| {
            let id = node.provider_id.as_deref().unwrap_or_default();
            let number: Option<usize> = id
                .strip_prefix(NUMBERED)
                .and_then(|number| number.parse().ok());
            let number = number.expect("a node by its number");
            node.provider_id = Some(Arc::clone(&self.instances[number - 1]));
            node
        });
        let here = NodeSet::new(here.collect()).with_proxy_health(nodes.proxy_health());
        match nodes.labels() {
            Some(labels) => here.with_labels(labels.clone()),
            None => here,
        }
    }
}

#[async_trait]
impl Provider for Clustered {
    type Desired = Desired;
    type Observed = Observed;
    type Step = Step;
    type Effect = Effect;

    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn desired(&self, group: &Group) -> Verdict<Desired> {
        self.inner.desired(group)
    }

    fn plan(&self, input: PlanInput<'_, Self>) -> Plan<Step> {
        let nodes = self.here(input.nodes);
        let followed = input.followed.map(|nodes| self.here(nodes));
        self.inner.plan(PlanInput {
            nodes: &nodes,
            followed: followed.as_ref(),
            ..input.passed_on()
        })
    }

    fn predict(&self, step: &Step, seen: &Observed) -> Effect {
        self.inner.predict(step, seen)
    }

    fn absorb(&self, seen: &mut Observed, effect: Effect) {
        self.inner.absorb(seen, effect);
    }

    fn published(&self, key: &GroupKey, seen: &Observed) -> Published {
        self.inner.published(key, seen)
    }

    fn retained(&self, seen: &Observed) -> bool {
        self.inner.retained(seen)
    }

    async fn observe(&self, key: &GroupKey, want: &Want<Desired>) -> Result<Observed, CloudError> {
        self.inner.observe(key, want).await
    }

    /// With the targets, which are else read in their turn: the laws have no second look that is slower.
    async fn snapshot(&self) -> Result<Snapshot<Observed>, CloudError> {
        let mut found = self.inner.snapshot().await?;
        for (identity, part) in &mut found.groups {
            let key = key(identity, &part.service);
            let seen = self.inner.observe(&key, &Want::Frozen).await?;
            for (name, group) in &mut part.observed.target_groups {
                let looked = seen.target_groups.get(name);
                group.targets = looked.and_then(|group| group.targets.clone());
            }
        }
        Ok(found)
    }

    async fn apply(
        &self,
        key: &GroupKey,
        step: &Step,
        seen: &Observed,
        ticket: &Ticket,
    ) -> Result<Effect, CloudError> {
        self.inner.apply(key, step, seen, ticket).await
    }
}

fn key(identity: &str, service: &str) -> GroupKey {
    GroupKey::shared(identity).unwrap_or_else(|| {
        let (namespace, name) = service.split_once('/').unwrap_or(("", service));
        GroupKey::Service(ServiceRef {
            key: ServiceKey::new(namespace, name),
            uid: ServiceUid::new(identity),
        })
    })
}
