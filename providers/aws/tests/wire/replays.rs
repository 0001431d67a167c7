//! Outages that others had, played again on our fake, which knows every moment that there was.
//!
//! Each fails if the rule that keeps us from it is taken out; which one that is, each says.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use evenkeel_aws::{Aws, Context, client::Client};
use evenkeel_core::{
    engine::{AnyProvider, Ask, Engine, Report},
    error::ErrorClass,
    group::Group,
    ids::{Cluster, GroupKey, ServiceUid},
    intent::Intent,
    nodes::NodeSet,
};
use evenkeel_harness::{
    aws::{At, Fault},
    fake_aws::{FakeAws, Moment, Settle, State, Times, ec2::security_groups::Source},
};
use serde_json::json;

use super::stage::{CLUSTER, Stage, config, service, settled};

const SOON: Duration = Duration::from_secs(60);

fn annotate(mut intent: Intent, suffix: &str, value: &str) -> Intent {
    let key = format!("service.beta.kubernetes.io/aws-load-balancer-{suffix}");
    intent.annotations.insert(key.into(), value.into());
    intent
}

fn fake(stage: &Stage) -> &FakeAws {
    stage.aws.as_fake().expect("these tests run on our fake")
}

/// A controller of a cluster in the same place, which has the same name and remembers nothing.
fn engine_of(stage: &Stage, uid: &str) -> Engine<Aws> {
    let context = Context::new(Cluster::new(uid, &*stage.world.cluster));
    let client = Client::new(config(&stage.aws, &stage.world));
    Engine::new(Aws::new(context, client))
}

/// One look at a Service of that cluster.
async fn look_as(stage: &Stage, uid: &str, intent: &Intent) -> Report {
    let cluster = Cluster::new(uid, &*stage.world.cluster);
    let key = GroupKey::Service(intent.service.clone());
    let ask = Ask::Serve(Group::single(cluster, intent.clone()));
    stage.run(&key, ask, true).await.0
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

/// Two controllers, of which one has lost the lead and does not know what the other did: it gives up a Service whose health checks use a
/// port that the other's Service uses too. `plan::openings`: a rule goes only when, by a fresh look, nobody lists it.
#[tokio::test]
async fn a_stale_cache_that_would_revoke_live_rules() -> Result<()> {
    const PORT: i64 = 9000;
    let mut stage = Stage::with_nodes(2).await?;
    let checked = |name: &str| {
        let intent = annotate(service(name, &[80]), "healthcheck-protocol", "http");
        annotate(intent, "healthcheck-port", &PORT.to_string())
    };
    let (first, second) = (checked("first"), checked("second"));
    settled(&stage.serve(&first).await.0);
    // Another controller, of which the first one knows nothing.
    let other = engine_of(&stage, CLUSTER);
    let stale = std::mem::replace(&mut stage.engine, other);
    settled(&stage.serve(&second).await.0);
    let nodes = stage.world.node_security_group.clone();
    let is_open = |moment: &Moment<'_>| lets_in(moment, &nodes, PORT);
    assert!(fake(&stage).history().ever(is_open), "the scene is set");
    let mut began = false;
    stage.engine = stale;
    let report = stage.release(&first).await.0;
    // From the moment on at which the second one has targets, the way to its health checks is open.
    let history = fake(&stage).history();
    history.walk(|moment| {
        let mut groups = moment.state.target_groups.values();
        let served = groups.any(|group| group.name.contains("second") && !group.targets.is_empty());
        began |= served;
        assert!(
            !served || is_open(moment),
            "closed at {} by {}",
            moment.at,
            moment.cause
        );
        false
    });
    assert!(began && report.gone, "{report:#?}");
    assert!(stage.release(&second).await.0.gone);
    let left = fake(&stage).state();
    let group = left
        .security_groups
        .get(&nodes)
        .context("the nodes' group")?;
    let open = group
        .ingress
        .iter()
        .any(|rule| (rule.from..=rule.to).contains(&PORT));
    assert!(!open, "nobody needs it any more: {group:?}");
    stage.aws.check()
}

/// A list of nodes that comes back empty, or full of others whom AWS does not know. `plan::targets`: a target group that has targets is never
/// emptied (`follow`), and a new one begins with those that the others have (`wanted`).
#[tokio::test]
async fn all_nodes_gone_from_a_list() -> Result<()> {
    let mut stage = Stage::with_nodes(3).await?;
    let shop = service("shop", &[80]);
    settled(&stage.serve(&shop).await.0);
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
    assert_eq!(state.listeners.len(), 2);
    for group in state.target_groups.values() {
        assert_eq!(group.targets.len(), 3, "{group:?}");
    }
    stage.add_strangers(2);
    for _ in 0..2 {
        stage.serve(&both).await;
        stage.look(&both).await;
    }
    stage.nodes = whole;
    settled(&stage.look(&both).await.0);
    let history = fake(&stage).history();
    let mut served = false;
    history.walk(|moment| {
        let group = moment.state.target_groups.get(&first);
        let targets = group.map(|group| group.targets.len());
        assert!(
            !served || targets == Some(3),
            "{targets:?} at {} by {}",
            moment.at,
            moment.cause
        );
        served |= targets == Some(3);
        false
    });
    assert!(served);
    stage.aws.check()
}

/// The controller ends while a Service is given up, and is started again: it finds what is left and ends that, and makes nothing anew.
/// `plan::delete`: what goes is told by what is there, not by what is remembered.
#[tokio::test]
async fn a_delete_during_a_restart() -> Result<()> {
    for (service_name, operation) in [
        ("elbv2", "DeleteLoadBalancer"),
        ("elbv2", "DeleteTargetGroup"),
        ("ec2", "DeleteSecurityGroup"),
    ] {
        for fault in [Fault::HoldBefore, Fault::HoldAfter] {
            let mut stage = Stage::with_nodes(2).await?;
            fake(&stage).set(|settings| {
                settings.times = Times {
                    target_group_release: Settle::calls(1),
                    interface_release: Settle::calls(1),
                    ..Times::none()
                };
            });
            let shop = service("shop", &[80, 443]);
            settled(&stage.serve(&shop).await.0);
            let made = fake(&stage).history().len();
            let held = stage.aws.inject(&At::first(service_name, operation), fault);
            let mut tries = 0;
            while held.fired() == 0 {
                tries += 1;
                assert!(tries < 10, "{operation} is not called");
                tokio::select! {
                    // Dropped where it is: the process is gone.
                    waited = held.wait(SOON) => waited?,
                    _ = stage.release(&shop) => {}
                }
            }
            stage.restart().await?;
            let mut report = stage.release(&shop).await.0;
            for _ in 0..10 {
                if report.gone {
                    break;
                }
                report = stage.release(&shop).await.0;
            }
            assert!(report.gone, "{operation}: {report:#?}");
            let left = fake(&stage).state();
            assert!(
                left.load_balancers.is_empty() && left.listeners.is_empty(),
                "{operation}"
            );
            assert!(left.target_groups.is_empty(), "{operation}");
            assert!(left.interfaces.is_empty(), "{operation}");
            let mut moments = 0;
            fake(&stage).history().walk(|moment| {
                moments += 1;
                let cause = moment.cause.to_string();
                assert!(
                    moments <= made || !cause.contains(":Create"),
                    "{operation}: {cause}"
                );
                false
            });
            stage.aws.check()?;
        }
    }
    Ok(())
}

/// The account is full: the load balancer cannot be made when the rest is there. Nothing is made twice, nothing is left when the Service goes,
/// and all is there when the account has room.
#[tokio::test]
async fn a_create_that_failed_after_the_security_group() -> Result<()> {
    for given_up in [false, true] {
        let mut stage = Stage::with_nodes(2).await?;
        let before = fake(&stage).state().security_groups.len();
        fake(&stage).set(|settings| settings.quotas.load_balancers = 0);
        let shop = service("shop", &[80]);
        for _ in 0..3 {
            let (report, _) = stage.serve(&shop).await;
            let failure = report.failures.first().context("it failed")?;
            assert_eq!(failure.class, ErrorClass::Quota, "{failure:?}");
            stage.look(&shop).await;
        }
        // What was made and not told is found.
        stage.restart().await?;
        stage.serve(&shop).await;
        if given_up {
            assert!(stage.release(&shop).await.0.gone);
            let left = fake(&stage).state();
            assert!(left.target_groups.is_empty());
            // The cluster's own group may stay for the next Service.
            assert!(
                left.security_groups.len() <= before + 1,
                "{:?}",
                left.security_groups
            );
        } else {
            fake(&stage).set(|settings| settings.quotas.load_balancers = 1);
            // What failed for a limit is tried again slowly; who starts anew tries at once.
            stage.restart().await?;
            settled(&stage.serve(&shop).await.0);
        }
        fake(&stage).history().always("one of each", |moment| {
            let state = moment.state;
            state.target_groups.len() <= 1 && state.security_groups.len() <= before + 2
        })?;
        stage.aws.check()?;
    }
    Ok(())
}

/// A Service that cannot be served, and nodes that AWS does not know, keep nobody else from being served.
#[tokio::test]
async fn a_broken_binding_that_blocks_others() -> Result<()> {
    let mut stage = Stage::with_nodes(3).await?;
    let broken = annotate(
        service("broken", &[443]),
        "ssl-cert",
        "arn:aws:acm:eu-west-1:1:certificate/none",
    );
    let good: Vec<_> = (0..4).map(|n| service(&format!("s{n}"), &[80])).collect();
    stage.add_strangers(1);
    let all = futures::future::join(
        stage.serve(&broken),
        futures::future::join_all(good.iter().map(|one| stage.serve(one))),
    );
    let ((report, _), reports) = all.await;
    assert!(!report.failures.is_empty(), "{report:#?}");
    for (report, _) in &reports {
        assert!(report.failures.is_empty(), "{report:#?}");
    }
    stage.join(1).await?;
    for one in &good {
        stage.serve(one).await;
    }
    let state = fake(&stage).state();
    for one in &good {
        let name = &one.service.key.name;
        let group = state
            .target_groups
            .find(|group| group.name.contains(&**name))
            .context("a target group")?;
        assert_eq!(group.targets.len(), 4, "{group:?}");
    }
    // The broken one holds nothing up when it goes, either.
    assert!(stage.release(&broken).await.0.gone);
    stage.aws.check()
}

/// Two clusters of one name in one account and VPC, with a Service of one name: neither ever changes what is the other's. `index::look`: ours
/// is what carries this cluster's UID.
#[tokio::test]
async fn two_clusters_with_one_name() -> Result<()> {
    let mut stage = Stage::with_nodes(2).await?;
    let shop = service("shop", &[80]);
    settled(&stage.serve(&shop).await.0);
    let first = fake(&stage).state();
    let mark = fake(&stage).history().len();

    let other = "2d9f6c1e-0000-4000-8000-00000000b002";
    // The same names; the UID is as another API server gives it.
    let mut theirs = service("shop", &[80]);
    theirs.service.uid = ServiceUid::new("uid-of-the-other-cluster");
    for _ in 0..2 {
        stage.engine = engine_of(&stage, other);
        // What is found and has no Service any more goes: so nothing may be found that is the first one's.
        for found in stage.engine.inventory().await? {
            assert_eq!(found.identity, theirs.service.uid.as_str(), "{found:?}");
        }
        settled(&look_as(&stage, other, &theirs).await);
    }
    let both = fake(&stage).state();
    assert_eq!(both.load_balancers.len(), 2);
    assert!(stage.release(&theirs).await.0.gone);

    let mut moments = 0;
    fake(&stage).history().walk(|moment| {
        moments += 1;
        if moments <= mark {
            return false;
        }
        for (arn, was) in first.load_balancers.iter() {
            let is = moment.state.load_balancers.get(arn);
            assert_eq!(
                format!("{is:?}"),
                format!("{:?}", Some(was)),
                "by {}",
                moment.cause
            );
        }
        for (arn, was) in first.listeners.iter() {
            let is = moment.state.listeners.get(arn);
            assert_eq!(
                format!("{is:?}"),
                format!("{:?}", Some(was)),
                "by {}",
                moment.cause
            );
        }
        for (arn, was) in first.target_groups.iter() {
            let is = moment.state.target_groups.get(arn);
            assert_eq!(
                format!("{is:?}"),
                format!("{:?}", Some(was)),
                "by {}",
                moment.cause
            );
        }
        for (id, was) in first.security_groups.iter() {
            let is = moment.state.security_groups.get(id).expect("it stays");
            let kept = was.ingress.iter().all(|rule| is.ingress.contains(rule));
            assert!(kept && is.tags == was.tags, "{id} by {}", moment.cause);
        }
        false
    });
    // And the first one has nothing to mend.
    stage.restart().await?;
    let (report, asked) = stage.look(&shop).await;
    settled(&report);
    assert_eq!(asked.writes, 0, "{asked}");
    stage.aws.check()
}

/// What somebody else made in the same VPC stays as it is, whatever we do.
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
