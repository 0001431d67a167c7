//! Outages that others had, played again on our fake, which knows every moment that there was.
//!
//! Each says which rule keeps us from it. `mutants` takes these rules out, one at a time, and shows that the replay fails then.

mod mutants;

use std::{cell::Cell, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, ensure};
use evenkeel_aws::{Aws, Context, client::Client};
use evenkeel_core::{
    engine::{Ask, Report},
    error::ErrorClass,
    group::Group,
    ids::{Cluster, GroupKey, ServiceUid},
    intent::Intent,
    nodes::NodeSet,
};
use evenkeel_harness::{
    aws::{At, Fault},
    fake_aws::{
        FakeAws, Moment, Settle, State, Times,
        ec2::security_groups::{SecurityGroup, Source},
        elb::target_groups::TargetGroup,
    },
};
use serde_json::json;

use super::stage::{CLUSTER, Controller, Stage, Wrap, as_it_is, config, service, settled};

const SOON: Duration = Duration::from_secs(60);

/// How long AWS takes to let go of a target group.
const LETTING_GO: Duration = Duration::from_secs(5);

fn annotate(mut intent: Intent, suffix: &str, value: &str) -> Intent {
    let key = format!("service.beta.kubernetes.io/aws-load-balancer-{suffix}");
    intent.annotations.insert(key.into(), value.into());
    intent
}

fn fake(stage: &Stage) -> &FakeAws {
    stage.aws.as_fake().expect("these tests run on our fake")
}

/// A cluster whose controllers are these.
async fn stage_of(wrap: Wrap, nodes: usize) -> Result<Stage> {
    let mut stage = Stage::with_nodes(nodes).await?;
    stage.wrap = wrap;
    stage.restart_cold();
    Ok(stage)
}

/// A controller of a cluster in the same place, which has the same name and remembers nothing.
fn another(stage: &Stage, uid: &str) -> Controller {
    let context = Context::new(Cluster::new(uid, &*stage.world.cluster));
    let client = Client::new(config(&stage.aws, &stage.world));
    (stage.wrap)(Aws::new(context, client))
}

/// One look at a Service of that cluster.
async fn look_as(stage: &Stage, uid: &str, intent: &Intent) -> Report {
    let cluster = Cluster::new(uid, &*stage.world.cluster);
    let key = GroupKey::Service(intent.service.clone());
    let ask = Ask::Serve(Group::single(cluster, intent.clone()));
    stage.run(&key, ask, true).await.0
}

/// Fails unless all is done.
fn done(report: &Report) -> Result<()> {
    let all = report.settled() && report.problems.is_none() && report.port_errors.is_empty();
    ensure!(all, "not all is done: {report:#?}");
    Ok(())
}

/// Whether the nodes let a security group in at a port.
fn lets_in(moment: &Moment<'_>, nodes: &str, port: i64) -> bool {
    let group = moment.state.security_groups.get(nodes);
    group.is_some_and(|group| {
        let mut rules = group.ingress.iter();
        rules.any(|rule| {
            (rule.from..=rule.to).contains(&port) && matches!(rule.source, Source::Group(_))
        })
    })
}

#[tokio::test]
async fn a_stale_cache_that_would_revoke_live_rules() -> Result<()> {
    stale_cache(as_it_is).await
}

/// Two controllers, of which one has lost the lead and does not know what the other did: it gives up a Service whose health checks use a
/// port that the other's Service uses too. `plan::openings` and `Step::CloseNodes`: a rule goes only when, by a fresh look, nobody lists it.
async fn stale_cache(wrap: Wrap) -> Result<()> {
    const PORT: i64 = 9000;
    let mut stage = stage_of(wrap, 2).await?;
    let checked = |name: &str| {
        let intent = annotate(service(name, &[80]), "healthcheck-protocol", "http");
        annotate(intent, "healthcheck-port", &PORT.to_string())
    };
    let (first, second) = (checked("first"), checked("second"));
    done(&stage.serve(&first).await.0)?;
    // Another controller, of which the first one knows nothing.
    let other = another(&stage, CLUSTER);
    let stale = std::mem::replace(&mut stage.engine, other);
    done(&stage.serve(&second).await.0)?;
    let nodes = stage.world.node_security_group.clone();
    let is_open = |moment: &Moment<'_>| lets_in(moment, &nodes, PORT);
    ensure!(fake(&stage).history().ever(is_open), "the scene is not set");
    stage.engine = stale;
    let report = stage.release(&first).await.0;
    // From the moment on at which the second one has targets, the way to its health checks is open.
    let began = Cell::new(false);
    let history = fake(&stage).history();
    history.always("open for who is served", |moment| {
        let mut groups = moment.state.target_groups.values();
        let served = groups.any(|group| group.name.contains("second") && !group.targets.is_empty());
        began.set(began.get() || served);
        !served || is_open(moment)
    })?;
    ensure!(began.get() && report.gone, "{report:#?}");
    ensure!(stage.release(&second).await.0.gone, "the second one stays");
    let left = fake(&stage).state();
    let group = left
        .security_groups
        .get(&nodes)
        .context("the nodes' group")?;
    let open = group
        .ingress
        .iter()
        .any(|rule| (rule.from..=rule.to).contains(&PORT));
    ensure!(!open, "nobody needs it any more: {group:?}");
    stage.aws.check()
}

#[tokio::test]
async fn all_nodes_gone_from_a_list() -> Result<()> {
    nodes_gone(as_it_is).await
}

/// A list of nodes that comes back empty, or full of others whom AWS does not know. `plan::targets`: a target group that has targets is never
/// emptied (`follow`), and a new one begins with those that the others have (`wanted`).
async fn nodes_gone(wrap: Wrap) -> Result<()> {
    let mut stage = stage_of(wrap, 3).await?;
    let shop = service("shop", &[80]);
    done(&stage.serve(&shop).await.0)?;
    let first = fake(&stage).state();
    let first = first.target_groups.values().next().context("a group")?;
    let first = first.arn.clone();
    let whole = std::mem::replace(&mut stage.nodes, Arc::new(NodeSet::new(Vec::new())));
    stage.serve(&shop).await;
    stage.look(&shop).await;
    // So does a controller that has just started.
    stage.restart().await?;
    stage.serve(&shop).await;
    stage.look(&shop).await;
    // A port that is asked for meanwhile is served by the same nodes.
    let both = service("shop", &[80, 81]);
    stage.serve(&both).await;
    stage.look(&both).await;
    let state = fake(&stage).state();
    for group in state.target_groups.values() {
        ensure!(
            group.targets.len() == 3,
            "{} of 3 nodes serve: {group:?}",
            group.targets.len()
        );
    }
    ensure!(state.listeners.len() == 2, "{:?}", state.listeners);
    stage.add_strangers(2);
    for _ in 0..2 {
        stage.serve(&both).await;
        stage.look(&both).await;
    }
    stage.nodes = whole;
    done(&stage.look(&both).await.0)?;
    let served = Cell::new(false);
    fake(&stage).history().always("3 nodes serve", |moment| {
        let group = moment.state.target_groups.get(&first);
        let all = group.is_some_and(|group| group.targets.len() == 3);
        served.set(served.get() || all);
        all || !served.get()
    })?;
    ensure!(served.get(), "nobody was ever served");
    stage.aws.check()
}

#[tokio::test]
async fn a_delete_during_a_restart() -> Result<()> {
    delete_during_restart(as_it_is).await
}

/// The controller ends while a Service is given up, and is started again: it finds what is left and ends that, and makes nothing anew.
/// `plan::delete`: what goes is told by what is there, not by what is remembered.
async fn delete_during_restart(wrap: Wrap) -> Result<()> {
    for (service_name, operation) in [
        ("elbv2", "DeleteLoadBalancer"),
        ("elbv2", "DeleteTargetGroup"),
        ("ec2", "DeleteSecurityGroup"),
    ] {
        for fault in [Fault::HoldBefore, Fault::HoldAfter] {
            let mut stage = stage_of(wrap, 2).await?;
            fake(&stage).set(|settings| {
                settings.times = Times {
                    target_group_release: Settle::after(LETTING_GO),
                    interface_release: Settle::after(2 * LETTING_GO),
                    ..Times::none()
                };
            });
            let shop = service("shop", &[80, 443]);
            done(&stage.serve(&shop).await.0)?;
            let made = fake(&stage).history().len();
            let held = stage.aws.inject(&At::first(service_name, operation), fault);
            let mut tries = 0;
            while held.fired() == 0 {
                tries += 1;
                ensure!(tries < 10, "{operation} is not called");
                tokio::select! {
                    // Dropped where it is: the process is gone.
                    waited = held.wait(SOON) => waited?,
                    _ = stage.release(&shop) => fake(&stage).advance(LETTING_GO).await,
                }
            }
            stage.restart().await?;
            let mut report = stage.release(&shop).await.0;
            for _ in 0..10 {
                if report.gone {
                    break;
                }
                fake(&stage).advance(LETTING_GO).await;
                report = stage.release(&shop).await.0;
            }
            ensure!(report.gone, "{operation}: {report:#?}");
            let left = fake(&stage).state();
            let nothing = left.load_balancers.is_empty()
                && left.listeners.is_empty()
                && left.target_groups.is_empty()
                && left.interfaces.is_empty();
            ensure!(nothing, "something is left after {operation}: {left:?}");
            let moments = Cell::new(0);
            fake(&stage)
                .history()
                .never("anything made anew", |moment| {
                    moments.set(moments.get() + 1);
                    moments.get() > made && moment.cause.to_string().contains(":Create")
                })?;
            stage.aws.check()?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_create_that_failed_after_the_security_group() -> Result<()> {
    create_failed(as_it_is).await
}

/// The account is full: the load balancer cannot be made when the rest is there. Nothing is made twice, nothing is left when the Service goes,
/// and all is there when the account has room. `plan::delete`: what was made goes whether or not there is a load balancer.
async fn create_failed(wrap: Wrap) -> Result<()> {
    for given_up in [false, true] {
        let mut stage = stage_of(wrap, 2).await?;
        let before = fake(&stage).state().security_groups.len();
        fake(&stage).set(|settings| settings.quotas.load_balancers = 0);
        let shop = service("shop", &[80]);
        for _ in 0..3 {
            let (report, _) = stage.serve(&shop).await;
            let failure = report.failures.first().context("it failed")?;
            ensure!(failure.class == ErrorClass::Quota, "{failure:?}");
            stage.look(&shop).await;
        }
        // What was made and not told is found.
        stage.restart().await?;
        stage.serve(&shop).await;
        if given_up {
            ensure!(stage.release(&shop).await.0.gone, "it stays");
            let left = fake(&stage).state();
            // The cluster's own group may stay for the next Service.
            let nothing = left.target_groups.is_empty() && left.security_groups.len() <= before + 1;
            ensure!(nothing, "something is left: {left:?}");
        } else {
            fake(&stage).set(|settings| settings.quotas.load_balancers = 1);
            // What failed for a limit is tried again slowly; who starts anew tries at once.
            stage.restart().await?;
            done(&stage.serve(&shop).await.0)?;
        }
        fake(&stage).history().always("one of each", |moment| {
            let state = moment.state;
            state.target_groups.len() <= 1 && state.security_groups.len() <= before + 2
        })?;
        stage.aws.check()?;
    }
    Ok(())
}

#[tokio::test]
async fn a_broken_binding_that_blocks_others() -> Result<()> {
    broken_binding(as_it_is).await
}

/// A port whose certificate is none keeps no other port from its nodes, and nodes that AWS does not know keep no other node. `plan::exists`:
/// what failed keeps nothing else from being planned; `plan::targets` and `Step::Register`: what AWS would not take is left out, and not
/// asked for again and again.
async fn broken_binding(wrap: Wrap) -> Result<()> {
    let mut stage = stage_of(wrap, 3).await?;
    let certificate = "arn:aws:acm:eu-west-1:1:certificate/none";
    let broken = annotate(service("broken", &[80, 443]), "ssl-cert", certificate);
    let broken = annotate(broken, "ssl-ports", "443");
    let good: Vec<_> = (0..4).map(|n| service(&format!("s{n}"), &[80])).collect();
    stage.add_strangers(1);
    let all = futures::future::join(
        stage.serve(&broken),
        futures::future::join_all(good.iter().map(|one| stage.serve(one))),
    );
    let ((report, _), reports) = all.await;
    ensure!(!report.failures.is_empty(), "{report:#?}");
    for (report, _) in &reports {
        ensure!(report.failures.is_empty(), "it is blocked: {report:#?}");
    }
    // Another look asks again for what was not taken, and for nothing else.
    for one in &good {
        let mark = stage.aws.calls().mark();
        stage.look(one).await;
        for call in stage.aws.calls().since(mark) {
            let more = call.parameters["Targets"]
                .as_array()
                .is_some_and(|all| all.len() > 1);
            ensure!(!more, "others are registered again: {call}");
        }
    }
    stage.join(1).await?;
    stage.serve(&broken).await;
    for one in &good {
        stage.serve(one).await;
    }
    let state = fake(&stage).state();
    for one in good.iter().chain([&broken]) {
        let name = &one.service.key.name;
        let served = |group: &&TargetGroup| group.name.contains(&**name) && group.port == 30_080;
        let mut groups = state.target_groups.values();
        let group = groups.find(served).context("a target group")?;
        ensure!(group.targets.len() == 4, "{name} lacks a node: {group:?}");
    }
    // The broken one holds nothing up when it goes, either.
    ensure!(stage.release(&broken).await.0.gone, "it stays");
    stage.aws.check()
}

#[tokio::test]
async fn two_clusters_with_one_name() -> Result<()> {
    two_clusters(as_it_is).await
}

/// Two clusters of one name in one account and VPC, with a Service of one name: neither ever changes what is the other's. `index::look`: ours
/// is what carries this cluster's UID.
async fn two_clusters(wrap: Wrap) -> Result<()> {
    let mut stage = stage_of(wrap, 2).await?;
    let shop = service("shop", &[80]);
    done(&stage.serve(&shop).await.0)?;
    let first = fake(&stage).state();
    let mark = fake(&stage).history().len();

    let other = "2d9f6c1e-0000-4000-8000-00000000b002";
    // The same names; the UID is as another API server gives it.
    let mut theirs = service("shop", &[80]);
    theirs.service.uid = ServiceUid::new("uid-of-the-other-cluster");
    for _ in 0..2 {
        stage.engine = another(&stage, other);
        // What is found and has no Service any more goes: so nothing may be found that is the first one's.
        for found in stage.engine.inventory().await? {
            let is_own = found.identity == theirs.service.uid.as_str();
            ensure!(is_own, "it is taken for its own: {found:?}");
        }
        done(&look_as(&stage, other, &theirs).await)?;
    }
    let both = fake(&stage).state();
    ensure!(both.load_balancers.len() == 2, "{:?}", both.load_balancers);
    ensure!(stage.release(&theirs).await.0.gone, "it stays");

    let moments = Cell::new(0);
    let alike = |is: String, was: String| is == was;
    fake(&stage).history().always("as they were", |moment| {
        moments.set(moments.get() + 1);
        let state = moment.state;
        let kept = |group: &SecurityGroup| {
            let is = state.security_groups.get(&group.id);
            is.is_some_and(|is| {
                let mut rules = group.ingress.iter();
                rules.all(|rule| is.ingress.contains(rule)) && is.tags == group.tags
            })
        };
        moments.get() <= mark
            || first.load_balancers.iter().all(|(arn, was)| {
                let is = state.load_balancers.get(arn);
                alike(format!("{is:?}"), format!("{:?}", Some(was)))
            }) && first.listeners.iter().all(|(arn, was)| {
                let is = state.listeners.get(arn);
                alike(format!("{is:?}"), format!("{:?}", Some(was)))
            }) && first.target_groups.iter().all(|(arn, was)| {
                let is = state.target_groups.get(arn);
                alike(format!("{is:?}"), format!("{:?}", Some(was)))
            }) && first.security_groups.values().all(kept)
    })?;
    // And the first one has nothing to mend.
    stage.restart().await?;
    let (report, asked) = stage.look(&shop).await;
    done(&report)?;
    ensure!(asked.writes == 0, "{asked}");
    stage.aws.check()
}

/// What somebody else made in the same VPC stays as it is, whatever we do. `index::look`: what carries no mark of ours is not seen.
#[tokio::test]
async fn what_others_made_is_never_touched() -> Result<()> {
    let mut stage = Stage::with_nodes(2).await?;
    let client = stage.aws.client();
    let vpc = &stage.world.vpc_id;
    let group = json!({"GroupName": "theirs", "Description": "theirs", "VpcId": vpc});
    let group = client.call("ec2", "CreateSecurityGroup", group).await?;
    let balancer = json!({
        "Name": "theirs", "Type": "network", "Subnets": stage.world.public_subnets, "SecurityGroups": [group["GroupId"]],
    });
    client.call("elbv2", "CreateLoadBalancer", balancer).await?;
    let target_group = json!({"Name": "theirs", "Protocol": "TCP", "Port": 80, "VpcId": vpc});
    client
        .call("elbv2", "CreateTargetGroup", target_group)
        .await?;
    let before = fake(&stage).state();
    let mark = fake(&stage).history().len();
    let shop = service("shop", &[80]);
    settled(&stage.serve(&shop).await.0);
    stage.restart().await?;
    settled(&stage.look(&shop).await.0);
    assert!(stage.release(&shop).await.0.gone);
    let theirs = |state: &State| {
        let balancer = state.load_balancers.find(|one| one.name == "theirs");
        let target_group = state.target_groups.find(|one| one.name == "theirs");
        let group = state.security_groups.find(|one| one.name == "theirs");
        format!("{balancer:?} {target_group:?} {group:?}")
    };
    let (was, mut moments) = (theirs(&before), 0);
    fake(&stage).history().walk(|moment| {
        moments += 1;
        assert!(
            moments <= mark || theirs(moment.state) == was,
            "by {}",
            moment.cause
        );
        false
    });
    stage.aws.check()
}
