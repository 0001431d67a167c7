//! What a plan foretells goes over the wire, call by call and wave by wave, and is there then; and a plan writes nothing: whatever Services
//! ask for.
//!
//! Lives of Services are drawn at random, always the same ones. Before each turn three plans are made, by the controller that runs, by
//! one without a memory, and from facts alone; then the turn is taken.

mod any;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use evenkeel_aws::{
    Aws, Context,
    client::Client,
    model::{Effect, Observed, Phase, Step, TargetState, facts::Instance, step::Object},
    record,
};
use evenkeel_core::{
    converge::NoJournal,
    endpoints::{Endpoint, EndpointSet, Use},
    engine::{AnyProvider as _, Ask, Engine, Rehearsal, Request},
    group::Group,
    intent::Intent,
    plan::Plan,
    provider::{PlanInput, Provider},
};
use evenkeel_laws::wrap::{Tweak, Tweaked};
use proptest::{
    strategy::{Strategy as _, ValueTree as _},
    test_runner::TestRunner,
};
use serde_json::{Value, json};

use super::stage::{Stage, cluster, config};
use any::{Drift, Life, any_life};

/// How many lives. Each has four turns.
const LIVES: usize = 16;

/// How many operations they write with, at least, of the 26 that there are.
const OPERATIONS: usize = 20;

/// More runs than any turn takes.
const RUNS: usize = 12;

/// The calls that steps stand for, wave by wave.
type Waves = Vec<Vec<String>>;

/// Writes down what is foretold.
#[derive(Clone, Debug, Default)]
struct Foretold(Arc<Mutex<Waves>>);

impl Foretold {
    /// What was foretold since.
    fn take(&self) -> Waves {
        let mut waves = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        waves.retain(|wave| !wave.is_empty());
        waves.iter_mut().for_each(|wave| wave.sort());
        waves
    }
}

/// A provider of AWS, live or written down.
trait OfAws: Provider<Step = Step, Observed = Observed, Effect = Effect> {}

impl<P: Provider<Step = Step, Observed = Observed, Effect = Effect>> OfAws for P {}

impl<P: OfAws> Tweak<P> for Foretold {
    fn plan(&self, inner: &P, input: PlanInput<'_, P>) -> Plan<Step> {
        let mut waves = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waves.push(Vec::new());
        let seen = &ready(input.seen.clone());
        inner.plan(PlanInput { seen, ..input })
    }

    fn predict(&self, inner: &P, step: &Step, seen: &Observed) -> P::Effect {
        let mut waves = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let wave = waves.last_mut().expect("planned before");
        wave.extend(calls(step, seen).into_iter().map(str::to_owned));
        inner.predict(step, seen)
    }
}

/// A plan supposes that what takes time is ready when it was made. Here it is: a run need not wait for it, and so writes in the order
/// of the plan.
fn ready(mut seen: Observed) -> Observed {
    for lb in seen.load_balancers.values_mut() {
        lb.phase = Phase::Active;
    }
    for group in seen.target_groups.values_mut() {
        let targets = group.targets.iter_mut().flatten();
        targets.for_each(|(_, state)| *state = TargetState::Healthy);
    }
    seen
}

/// The calls that a step stands for.
fn calls(step: &Step, seen: &Observed) -> Vec<&'static str> {
    const AUTHORIZE: &str = "ec2:AuthorizeSecurityGroupIngress";
    const REVOKE: &str = "ec2:RevokeSecurityGroupIngress";
    let facts = &seen.facts;
    match step {
        Step::CreateBackendGroup | Step::CreateSecurityGroup { .. } => {
            vec!["ec2:CreateSecurityGroup"]
        }
        Step::AdmitNodes(instances) => {
            // Instances of which nothing is known are of the only group that the nodes here have.
            let closed = |id: &Arc<str>| match facts.instances.get(id) {
                Some(Instance::Group { group, .. }) => !facts.admitted.contains(group),
                _ => facts.admitted.is_empty(),
            };
            vec![AUTHORIZE; usize::from(instances.iter().any(closed))]
        }
        Step::OpenNodes { groups, rules, .. } => {
            let lacks = |group: &&_| {
                let there = facts.node_groups.get(*group);
                there.is_none_or(|there| !rules.is_subset(&there.rules))
            };
            vec![AUTHORIZE; groups.iter().filter(lacks).count()]
        }
        Step::CloseNodes(rules) => {
            let has = |group: &&evenkeel_aws::model::NodeGroup| !group.openings.is_disjoint(rules);
            vec![REVOKE; facts.node_groups.values().filter(has).count()]
        }
        Step::Authorize { .. } => vec![AUTHORIZE],
        Step::Revoke { .. } => vec![REVOKE],
        Step::CreateLoadBalancer(_) => vec!["elbv2:CreateLoadBalancer"],
        Step::SetSubnets { .. } => vec!["elbv2:SetSubnets"],
        Step::SetSecurityGroups { .. } => vec!["elbv2:SetSecurityGroups"],
        Step::SetAddressType { .. } => vec!["elbv2:SetIpAddressType"],
        Step::CreateTargetGroup(_) => vec!["elbv2:CreateTargetGroup"],
        Step::SetHealthCheck { .. } => vec!["elbv2:ModifyTargetGroup"],
        Step::Register { targets, .. } => {
            vec!["elbv2:RegisterTargets"; targets.len().div_ceil(200)]
        }
        Step::Deregister { targets, .. } => {
            vec!["elbv2:DeregisterTargets"; targets.len().div_ceil(200)]
        }
        Step::CreateListener(new) => {
            let further = new.tls.as_ref().map_or(0, |tls| tls.further.len());
            [
                vec!["elbv2:CreateListener"],
                vec!["elbv2:AddListenerCertificates"; further],
            ]
            .concat()
        }
        Step::SetListener(_) => vec!["elbv2:ModifyListener"],
        Step::SetCertificates { add, remove, .. } => [
            vec!["elbv2:AddListenerCertificates"; add.len()],
            vec!["elbv2:RemoveListenerCertificates"; remove.len()],
        ]
        .concat(),
        Step::SetAttributes { object, .. } => match object {
            Object::LoadBalancer(_) => vec!["elbv2:ModifyLoadBalancerAttributes"],
            Object::TargetGroup(_) => vec!["elbv2:ModifyTargetGroupAttributes"],
            Object::Listener(..) => vec!["elbv2:ModifyListenerAttributes"],
            Object::SecurityGroup(_) => Vec::new(),
        },
        Step::Tag {
            object,
            set,
            remove,
        } => {
            let (sets, removes) = match object {
                Object::SecurityGroup(_) => ("ec2:CreateTags", "ec2:DeleteTags"),
                _ => ("elbv2:AddTags", "elbv2:RemoveTags"),
            };
            let both = [(sets, set.is_empty()), (removes, remove.is_empty())];
            let made = both.into_iter().filter(|(_, nothing)| !nothing);
            made.map(|(call, _)| call).collect()
        }
        Step::Delete(object) => match object {
            Object::LoadBalancer(_) => vec!["elbv2:DeleteLoadBalancer"],
            Object::TargetGroup(_) => vec!["elbv2:DeleteTargetGroup"],
            Object::Listener(..) => vec!["elbv2:DeleteListener"],
            Object::SecurityGroup(_) => vec!["ec2:DeleteSecurityGroup"],
        },
    }
}

/// A cluster with a controller that tells what it foretells.
struct Scene {
    stage: Stage,
    running: (Engine<Tweaked<Aws, Foretold>>, Foretold),
}

impl Scene {
    async fn new() -> Result<Self> {
        let stage = Stage::with_nodes(2).await?;
        let running = telling(|| {
            Aws::new(
                context(&stage),
                Client::new(config(&stage.aws, &stage.world)),
            )
        });
        Ok(Self { stage, running })
    }

    /// What is asked of these; of none, that what they had goes.
    fn request(
        &self,
        life: &Life,
        turn: Option<&Vec<Intent>>,
        approval: Option<Arc<str>>,
    ) -> Request {
        let first = &life.turns[0][0];
        let group = |members: &Vec<Intent>| Group {
            members: members.clone(),
            key: Group::key_of(first),
            ..Group::single(cluster(&self.stage.world), first.clone())
        };
        let ask = turn.map_or(Ask::Release, |members| Ask::Serve(group(members)));
        Request {
            endpoints: self.endpoints(turn),
            approval,
            look: true,
            ..self.stage.request(&Group::key_of(first), ask)
        }
    }

    /// A pod beside each node, for each port.
    fn endpoints(&self, turn: Option<&Vec<Intent>>) -> Arc<EndpointSet> {
        let pods: Vec<_> = self
            .stage
            .world
            .nodes
            .iter()
            .map(|node| {
                let (network, _) = node.private_ip.rsplit_once('.').expect("four numbers");
                Endpoint {
                    address: format!("{network}.200").parse().expect("an address"),
                    port: 8080,
                    use_: Use::Add,
                    zone: Some((*node.zone).into()),
                    pod: Some(format!("pod-{}", node.instance_id).into()),
                    waits: None,
                }
            })
            .collect();
        let of = |member: &Intent| {
            let ports = member.ports.iter().map(|port| (port.key, pods.clone()));
            (member.service.uid.clone(), ports.collect())
        };
        Arc::new(EndpointSet::new(
            turn.into_iter().flatten().map(of).collect(),
        ))
    }

    /// The three plans, which are one, and make no write.
    async fn plan(&self, request: &Request) -> Result<(Rehearsal, Waves)> {
        let calls = self.stage.aws.calls();
        let mark = calls.mark();
        self.running.1.take();
        let rehearsal = self.running.0.rehearse(request).await?;
        let waves = self.running.1.take();
        let live = || {
            Aws::new(
                context(&self.stage),
                Client::new(config(&self.stage.aws, &self.stage.world)),
            )
        };
        let (cold, told) = telling(live);
        let again = cold.rehearse(request).await?;
        ensure!(
            (&again.waves, &told.take()) == (&rehearsal.waves, &waves),
            "without a memory: {again:#?} instead of {rehearsal:#?}"
        );
        let cloud = serde_json::to_string(&record::look(&live()).await?)?;
        let recorded = record::recorded(context(&self.stage), &serde_json::from_str(&cloud)?)?;
        ensure!(
            calls.count_since(mark).writes == 0,
            "a plan writes: {:?}",
            calls.since(mark)
        );
        let mark = calls.mark();
        let (offline, told) = telling(|| recorded);
        let facts = offline.rehearse(request).await?;
        ensure!(
            (&facts, &told.take()) == (&again, &waves),
            "from facts: {facts:#?} instead of {again:#?}"
        );
        ensure!(
            calls.since(mark).is_empty(),
            "facts are not enough: {:?}",
            calls.since(mark)
        );
        Ok((rehearsal, waves))
    }

    /// Plans, runs until all is done, and compares.
    async fn turn(&self, life: &Life, turn: Option<&Vec<Intent>>) -> Result<Vec<String>> {
        let mut request = self.request(life, turn, None);
        let (mut rehearsal, mut waves) = self.plan(&request).await?;
        if let Some(approval) = &rehearsal.approval {
            request.approval = Some(approval.as_str().into());
            (rehearsal, waves) = self.plan(&request).await?;
        }
        let mark = self.stage.aws.calls().mark();
        for run in 0.. {
            ensure!(run < RUNS, "it does not end");
            let report = self.running.0.run(request.clone(), &NoJournal).await;
            ensure!(report.failures.is_empty(), "{report:#?}");
            if report.applied.is_empty() {
                break;
            }
        }
        let made = self.stage.aws.calls().since(mark);
        let mut made: Vec<_> = made
            .iter()
            .filter(|call| !call.is_read())
            .map(|call| call.name())
            .collect();
        let written = made.clone();
        for (number, wave) in waves.iter().enumerate() {
            let mut now: Vec<_> = made.drain(..wave.len().min(made.len())).collect();
            now.sort();
            ensure!(
                now == *wave,
                "wave {number} is {now:?}, and this was planned: {waves:#?} {:#?}",
                rehearsal.waves
            );
        }
        ensure!(
            made.is_empty(),
            "{made:?} beside {waves:#?} {:#?}",
            rehearsal.waves
        );
        let now = self.running.0.rehearse(&request).await?;
        let (is, was_foretold) = (masked(now.objects), masked(rehearsal.objects));
        ensure!(
            now.waves.is_empty() && is == was_foretold && is.is_object(),
            "there is {is:#} and not {was_foretold:#}, {:#?}",
            now.waves
        );
        Ok(written)
    }

    /// Does something by hand to what is there, where there is such a thing.
    async fn drift(&self, drift: Drift) -> Result<()> {
        let fake = self.stage.aws.as_fake().context("our fake")?;
        let state = fake.state();
        let (service, operation, asked) = match drift {
            Drift::Listener => {
                let Some(listener) = state.listeners.values().next() else {
                    return Ok(());
                };
                (
                    "elbv2",
                    "DeleteListener",
                    json!({"ListenerArn": listener.arn}),
                )
            }
            Drift::Target => {
                let Some(group) = state.target_groups.find(|group| !group.targets.is_empty())
                else {
                    return Ok(());
                };
                let target = group.targets.keys().next().context("a target")?;
                let targets = json!([{"Id": target.id, "Port": target.port}]);
                (
                    "elbv2",
                    "DeregisterTargets",
                    json!({"TargetGroupArn": group.arn, "Targets": targets}),
                )
            }
            Drift::Rule => {
                let Some(group) = state
                    .security_groups
                    .find(|group| group.tags.contains_key("evenkeel.dev/group"))
                else {
                    return Ok(());
                };
                let rule = json!([{"IpProtocol": "tcp", "FromPort": 9, "ToPort": 9, "IpRanges": [{"CidrIp": "10.9.0.0/16"}]}]);
                (
                    "ec2",
                    "AuthorizeSecurityGroupIngress",
                    json!({"GroupId": group.id, "IpPermissions": rule}),
                )
            }
            Drift::HealthCheck => {
                let Some(group) = state.target_groups.values().next() else {
                    return Ok(());
                };
                (
                    "elbv2",
                    "ModifyTargetGroup",
                    json!({"TargetGroupArn": group.arn, "HealthyThresholdCount": 9}),
                )
            }
            Drift::Tag => {
                let Some(lb) = state.load_balancers.values().next() else {
                    return Ok(());
                };
                let keys = json!(["evenkeel.dev/cluster-name"]);
                (
                    "elbv2",
                    "RemoveTags",
                    json!({"ResourceArns": [lb.arn], "TagKeys": keys}),
                )
            }
        };
        self.stage
            .aws
            .client()
            .call(service, operation, asked)
            .await?;
        Ok(())
    }

    /// Every turn; returns what was written.
    async fn live(&self, life: &Life) -> Result<Vec<String>> {
        let mut writes = Vec::new();
        for (number, (turn, drift)) in life.turns.iter().zip(&life.drifts).enumerate() {
            let made = self.turn(life, Some(turn)).await;
            writes.extend(made.with_context(|| format!("turn {number}"))?);
            if let Some(drift) = drift {
                self.drift(*drift).await?;
            }
        }
        writes.extend(self.turn(life, None).await.context("when it goes")?);
        let state = self.stage.aws.as_fake().context("our fake")?.state();
        ensure!(
            state.load_balancers.is_empty() && state.target_groups.is_empty(),
            "something is left"
        );
        Ok(writes)
    }
}

/// Without what AWS alone gives: ids, ARNs, names of hosts, times, states.
fn masked(mut value: Value) -> Value {
    match &mut value {
        Value::String(text) => {
            let given = ["known after apply", "arn:", "sg-"];
            if given.iter().any(|start| text.starts_with(start)) {
                *text = "given".to_owned();
            }
        }
        Value::Array(all) => all.iter_mut().for_each(|one| *one = masked(one.take())),
        Value::Object(fields) => {
            fields.retain(|name, _| !["createdTime", "dnsName", "state"].contains(&&**name));
            fields
                .values_mut()
                .for_each(|one| *one = masked(one.take()));
        }
        _ => {}
    }
    value
}

/// An engine of a provider that tells what it foretells.
fn telling<P: OfAws>(provider: impl FnOnce() -> P) -> (Engine<Tweaked<P, Foretold>>, Foretold) {
    let foretold = Foretold::default();
    let tweaked = Tweaked::with(provider(), foretold.clone());
    (Engine::new(tweaked), foretold)
}

/// Nobody waits for names that were replaced, and every look is at the whole region: drift is found at once.
fn context(stage: &Stage) -> Context {
    Context {
        linger: Duration::ZERO,
        sweep: Duration::ZERO,
        ..Context::new(cluster(&stage.world))
    }
}

#[tokio::test]
async fn what_a_plan_foretells_goes_over_the_wire() -> Result<()> {
    // The same lives in every run.
    let mut runner = TestRunner::deterministic();
    let mut written = BTreeMap::<String, usize>::new();
    for number in 0..LIVES {
        let scene = Scene::new().await?;
        let life = any_life(&scene.stage.world).new_tree(&mut runner);
        let life = life.map_err(anyhow::Error::msg)?.current();
        let made = scene.live(&life).await;
        for call in made.with_context(|| format!("life {number}: {life}"))? {
            *written.entry(call).or_default() += 1;
        }
        scene.stage.aws.check()?;
    }
    // Else little would have been compared.
    ensure!(written.len() >= OPERATIONS, "{written:#?}");
    Ok(())
}
