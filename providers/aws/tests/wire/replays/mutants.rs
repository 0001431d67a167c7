//! The provider without one of its rules, and the replay that fails then: a replay that nothing can fail shows nothing.

use std::{
    collections::BTreeSet,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Result;
use async_trait::async_trait;
use evenkeel_aws::{
    Aws,
    model::{Effect, Observed, Pairs, SeenSecurityGroup, Step, Target, Told, step::Object},
    names,
};
use evenkeel_core::{
    engine::Engine,
    error::{CloudError, ErrorClass},
    ids::{Cluster, GroupKey, ResourceId},
    plan::{Action, Change, Plan},
    provider::{PlanInput, Provider as _, Want},
    ticket::Ticket,
};
use evenkeel_laws::wrap::{Tweak, Tweaked};

use super::{CLUSTER, Controller, Wrap};

/// A controller without a rule.
fn without<T: Tweak<Aws>>(aws: Aws) -> Controller {
    Box::new(Engine::new(Tweaked::<_, T>::new(aws)))
}

/// Plays a replay with a controller that lacks its rule: it fails, and for that reason.
async fn fails<F: Future<Output = Result<()>>>(replay: fn(Wrap) -> F, wrap: Wrap, says: &str) {
    let error = replay(wrap).await.expect_err("the rule was taken out");
    let text = format!("{error:#}");
    assert!(text.contains(says), "{text}");
}

/// A change for a step that no plan has.
fn change(of: &str) -> Change {
    Change::new(
        Action::Change,
        "target group",
        ResourceId::new(of),
        "a mutant's",
    )
}

/// Rules go by what is remembered: no fresh look.
#[derive(Default)]
struct ByMemory;

#[async_trait]
impl Tweak<Aws> for ByMemory {
    async fn apply(
        &self,
        inner: &Aws,
        key: &GroupKey,
        step: &Step,
        seen: &Observed,
        ticket: &Ticket,
    ) -> Result<Effect, CloudError> {
        let Step::CloseNodes(rules) = step else {
            return inner.apply(key, step, seen, ticket).await;
        };
        for id in seen.facts.node_groups.keys() {
            let cluster = Cluster::new(CLUSTER, "kestrel");
            let group = SeenSecurityGroup {
                id: id.clone(),
                rules: rules.clone(),
                marks: names::group_marks(&cluster, key, false, ResourceId::new("nodes")),
                tags: Pairs::new(),
            };
            let mut seen = seen.clone();
            seen.security_groups.insert("nodes".into(), group);
            let revoke = Step::Revoke {
                group: "nodes".into(),
                rules: rules.clone(),
            };
            inner.apply(key, &revoke, &seen, ticket).await?;
        }
        Ok(inner.predict(step, seen))
    }
}

#[tokio::test]
async fn a_stale_cache_without_the_fresh_look() {
    let says = "open for who is served";
    fails(super::stale_cache, without::<ByMemory>, says).await;
}

/// Targets are the nodes of the list, and nobody else.
#[derive(Default)]
struct ByTheList;

impl Tweak<Aws> for ByTheList {
    fn plan(&self, inner: &Aws, input: PlanInput<'_, Aws>) -> Plan<Step> {
        let mut plan = inner.plan(input);
        let listed = |target: &Target| {
            let mut nodes = input.nodes.nodes().iter();
            nodes.any(|node| {
                let id = node.provider_id.as_deref().unwrap_or_default();
                id.ends_with(&*target.id)
            })
        };
        for (name, group) in &input.seen.target_groups {
            let known = group.targets.iter().flatten().map(|(target, _)| target);
            let targets: BTreeSet<Target> = known.filter(|one| !listed(one)).cloned().collect();
            if !targets.is_empty() {
                let target_group = Arc::clone(name);
                let step = Step::Deregister {
                    target_group,
                    targets,
                };
                plan.step(step, change("tg"));
            }
        }
        plan
    }
}

#[tokio::test]
async fn all_nodes_gone_where_the_last_targets_go() {
    fails(
        super::nodes_gone,
        without::<ByTheList>,
        "0 of 3 nodes serve",
    )
    .await;
}

/// A new target group has the nodes of the list, and not those that the others have.
#[derive(Default)]
struct NewByTheList;

impl Tweak<Aws> for NewByTheList {
    fn plan(&self, inner: &Aws, input: PlanInput<'_, Aws>) -> Plan<Step> {
        let mut plan = inner.plan(input);
        if input.nodes.nodes().is_empty() {
            plan.steps
                .retain(|planned| !matches!(planned.step, Step::Register { .. }));
        }
        plan
    }
}

#[tokio::test]
async fn all_nodes_gone_where_a_new_port_goes_by_the_list() {
    let says = "0 of 3 nodes serve";
    fails(super::nodes_gone, without::<NewByTheList>, says).await;
}

/// What goes is what this process knows that it made.
#[derive(Default)]
struct AsRemembered {
    made: Mutex<BTreeSet<Arc<str>>>,
}

#[async_trait]
impl Tweak<Aws> for AsRemembered {
    fn plan(&self, inner: &Aws, input: PlanInput<'_, Aws>) -> Plan<Step> {
        let mut plan = inner.plan(input);
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        plan.steps.retain(|planned| match &planned.step {
            Step::Delete(
                Object::LoadBalancer(name)
                | Object::TargetGroup(name)
                | Object::SecurityGroup(name),
            ) => made.contains(name),
            _ => true,
        });
        plan
    }

    async fn apply(
        &self,
        inner: &Aws,
        key: &GroupKey,
        step: &Step,
        seen: &Observed,
        ticket: &Ticket,
    ) -> Result<Effect, CloudError> {
        let name = match step {
            Step::CreateLoadBalancer(new) => Some(&new.name),
            Step::CreateTargetGroup(new) => Some(&new.name),
            Step::CreateSecurityGroup { name, .. } => Some(name),
            _ => None,
        };
        if let Some(name) = name {
            let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
            made.insert(Arc::clone(name));
        }
        inner.apply(key, step, seen, ticket).await
    }
}

#[tokio::test]
async fn a_delete_during_a_restart_that_goes_by_memory() {
    let says = "something is left after DeleteLoadBalancer";
    fails(super::delete_during_restart, without::<AsRemembered>, says).await;
}

/// What goes is the load balancer, and what was its.
#[derive(Default)]
struct ByTheLoadBalancer;

impl Tweak<Aws> for ByTheLoadBalancer {
    fn plan(&self, inner: &Aws, input: PlanInput<'_, Aws>) -> Plan<Step> {
        let goes = matches!(input.want, Want::Nothing);
        match goes && input.seen.load_balancers.is_empty() {
            true => Plan::empty(),
            false => inner.plan(input),
        }
    }
}

#[tokio::test]
async fn a_create_that_failed_where_only_load_balancers_go() {
    let says = "something is left";
    fails(super::create_failed, without::<ByTheLoadBalancer>, says).await;
}

/// While something has failed, nothing else is done.
#[derive(Default)]
struct OneAfterTheOther;

impl Tweak<Aws> for OneAfterTheOther {
    fn plan(&self, inner: &Aws, input: PlanInput<'_, Aws>) -> Plan<Step> {
        let mut plan = inner.plan(input);
        let failures = input.failures;
        if failures.iter().next().is_some() {
            plan.steps
                .retain(|planned| failures.holds(&planned.step).is_some());
        }
        plan
    }
}

#[tokio::test]
async fn a_broken_binding_where_a_failure_stops_all() {
    let says = "broken lacks a node";
    fails(super::broken_binding, without::<OneAfterTheOther>, says).await;
}

/// All targets are taken, or none.
#[derive(Default)]
struct AllOrNone;

#[async_trait]
impl Tweak<Aws> for AllOrNone {
    async fn apply(
        &self,
        inner: &Aws,
        key: &GroupKey,
        step: &Step,
        seen: &Observed,
        ticket: &Ticket,
    ) -> Result<Effect, CloudError> {
        let effect = inner.apply(key, step, seen, ticket).await?;
        match (&effect.told, step) {
            (
                Told::NotTaken(_),
                Step::Register {
                    target_group,
                    targets,
                },
            ) => {
                let back = Step::Deregister {
                    target_group: Arc::clone(target_group),
                    targets: targets.clone(),
                };
                inner.apply(key, &back, seen, ticket).await?;
                let class = ErrorClass::Rejected;
                Err(CloudError::new(class, "RegisterTargets", "one is refused"))
            }
            _ => Ok(effect),
        }
    }
}

#[tokio::test]
async fn a_broken_binding_where_one_node_keeps_all_others_out() {
    fails(super::broken_binding, without::<AllOrNone>, "it is blocked").await;
}

/// What AWS would not take is asked for in every plan.
#[derive(Default)]
struct AgainAndAgain;

impl Tweak<Aws> for AgainAndAgain {
    fn plan(&self, inner: &Aws, input: PlanInput<'_, Aws>) -> Plan<Step> {
        let mut seen = input.seen.clone();
        for group in seen.target_groups.values_mut() {
            group.not_taken.clear();
        }
        inner.plan(PlanInput {
            seen: &seen,
            ..input
        })
    }
}

#[tokio::test]
async fn a_broken_binding_that_is_asked_for_again_and_again() {
    let says = "has not settled";
    fails(super::broken_binding, without::<AgainAndAgain>, says).await;
}
