//! What takes time, and what was when.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use evenkeel_harness::aws::{Call, Fault, Watcher};
use evenkeel_harness::fake_aws::{Cause, Settings, Settle, Times};
use futures::FutureExt as _;
use serde_json::json;

use tokio::sync::Semaphore;

use super::Stage;

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn typical() -> Settings {
    Settings {
        times: Times::typical(),
        ..Settings::default()
    }
}

async fn phase(stage: &Stage) -> Result<String> {
    let found = stage.call("DescribeLoadBalancers", json!({})).await?;
    let state = &found["LoadBalancers"][0]["State"]["Code"];
    Ok(state.as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn a_load_balancer_is_provisioning_for_a_time_or_for_some_reads() -> Result<()> {
    let stage = Stage::new(typical()).await?;
    assert_eq!(phase(&stage).await?, "provisioning");
    stage.fake().advance(seconds(149)).await;
    assert_eq!(phase(&stage).await?, "provisioning");
    stage.fake().advance(seconds(1)).await;
    assert_eq!(phase(&stage).await?, "active");

    let mut settings = Settings::default();
    settings.times.provisioning = Settle::calls(2);
    let stage = Stage::new(settings).await?;
    for expected in ["provisioning", "provisioning", "active"] {
        // What a test reads for itself does not count.
        stage.aws.state().await?;
        assert_eq!(phase(&stage).await?, expected);
    }
    Ok(())
}

/// Registered, checked, healthy, failing, well again, draining, gone: at the intervals of the target group.
#[tokio::test]
async fn the_life_of_a_target() -> Result<()> {
    let stage = Stage::new(typical()).await?;
    let check = json!({
        "TargetGroupArn": stage.scene.group,
        "HealthCheckIntervalSeconds": 10, "HealthyThresholdCount": 3, "UnhealthyThresholdCount": 2,
    });
    stage.call("ModifyTargetGroup", check).await?;
    assert_eq!(stage.register(0, 30_080).await?, "");
    let instance = &stage.scene.world.nodes[0].instance_id;
    let registering = "initial Elb.RegistrationInProgress";
    let checking = "initial Elb.InitialHealthChecking";
    let failing = "unhealthy Target.FailedHealthChecks";
    // The load balancer is provisioned for 150 seconds, and the target registered for 30.
    for (wait, expected) in [
        (0, registering),
        (179, registering),
        (1, checking),
        (29, checking),
        (1, "healthy"),
    ] {
        stage.fake().advance(seconds(wait)).await;
        assert_eq!(stage.health().await?, [expected], "after {wait} seconds");
    }
    stage.fake().set_answers(instance, false);
    for (wait, expected) in [(19, "healthy"), (1, failing)] {
        stage.fake().advance(seconds(wait)).await;
        assert_eq!(stage.health().await?, [expected]);
    }
    stage.fake().set_answers(instance, true);
    for (wait, expected) in [(29, failing), (1, "healthy")] {
        stage.fake().advance(seconds(wait)).await;
        assert_eq!(stage.health().await?, [expected]);
    }
    let draining = "draining Target.DeregistrationInProgress";
    let leave = stage.targets(0, 30_080);
    stage.call("DeregisterTargets", leave.clone()).await?;
    assert_eq!(stage.health().await?, [draining]);
    // Whoever comes back while draining begins anew.
    stage.call("RegisterTargets", leave.clone()).await?;
    assert_eq!(stage.health().await?, [registering]);
    stage.call("DeregisterTargets", leave).await?;
    stage.fake().advance(seconds(299)).await;
    assert_eq!(stage.health().await?, [draining]);
    stage.fake().advance(seconds(1)).await;
    assert!(stage.health().await?.is_empty());
    let asked = stage.call("DescribeTargetHealth", stage.targets(0, 30_080));
    let health = &asked.await?["TargetHealthDescriptions"][0]["TargetHealth"];
    assert_eq!(health["Reason"], "Target.NotRegistered", "{health}");
    Ok(())
}

#[tokio::test]
async fn targets_that_get_no_traffic_are_unused() -> Result<()> {
    let stage = Stage::new(Settings::default()).await?;
    let world = &stage.scene.world;
    assert_eq!(stage.register(0, 1).await?, "");
    assert_eq!(stage.health().await?, ["healthy"]);
    // A zone that the load balancer does not stand in.
    let zones =
        json!({"LoadBalancerArn": stage.scene.load_balancer, "Subnets": [world.public_subnets[1]]});
    stage.call("SetSubnets", zones).await?;
    assert_eq!(stage.health().await?, ["unused Target.NotInUse"]);
    let across = |on: &str| {
        json!({
            "LoadBalancerArn": stage.scene.load_balancer,
            "Attributes": [{"Key": "load_balancing.cross_zone.enabled", "Value": on}],
        })
    };
    stage
        .call("ModifyLoadBalancerAttributes", across("true"))
        .await?;
    assert_eq!(stage.health().await?, ["healthy"]);
    let stop = json!({"InstanceIds": [world.nodes[0].instance_id]});
    stage
        .aws
        .client()
        .call("ec2", "StopInstances", stop)
        .await?;
    assert_eq!(stage.health().await?, ["unused Target.InvalidState"]);
    assert_eq!(stage.register(0, 2).await?, "InvalidTarget");
    let gone = json!({"ListenerArn": stage.scene.listener});
    stage.call("DeleteListener", gone).await?;
    assert_eq!(stage.health().await?, ["unused Target.NotInUse"]);
    // What drains nowhere is gone at once, and so is what is terminated.
    let end = json!({"InstanceIds": [world.nodes[0].instance_id]});
    stage
        .aws
        .client()
        .call("ec2", "TerminateInstances", end)
        .await?;
    assert!(stage.health().await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn what_was_in_use_is_held_for_a_while() -> Result<()> {
    let by_calls = Times {
        target_group_release: Settle::calls(2),
        interface_release: Settle::calls(2),
        ..Times::none()
    };
    for (times, refused) in [(Times::typical(), 1), (by_calls, 2)] {
        let stage = Stage::new(Settings {
            times,
            ..Settings::default()
        })
        .await?;
        let gone = json!({"LoadBalancerArn": stage.scene.load_balancer});
        stage.call("DeleteLoadBalancer", gone).await?;
        let group = json!({"TargetGroupArn": stage.scene.group});
        let security = json!({"GroupId": stage.scene.security_group});
        for (service, operation, parameters, code, wait) in [
            ("elbv2", "DeleteTargetGroup", group, "ResourceInUse", 5),
            (
                "ec2",
                "DeleteSecurityGroup",
                security,
                "DependencyViolation",
                55,
            ),
        ] {
            for _ in 0..refused {
                let found = stage
                    .refusal(service, operation, parameters.clone())
                    .await?;
                assert_eq!(found, code, "{times:?}");
            }
            if refused == 1 {
                stage.fake().advance(seconds(wait)).await;
            }
            let found = stage
                .refusal(service, operation, parameters.clone())
                .await?;
            assert_eq!(found, "", "{operation}, {times:?}");
        }
    }
    Ok(())
}

/// Who holds a group is to be seen while it is held.
#[tokio::test]
async fn the_interfaces_of_a_load_balancer_are_seen_until_they_are_gone() -> Result<()> {
    let stage = Stage::new(typical()).await?;
    let interfaces = async || -> Result<Vec<String>> {
        let filters = json!([{"Name": "group-id", "Values": [stage.scene.security_group]}]);
        let found = stage
            .sdk
            .call(
                "ec2",
                "DescribeNetworkInterfaces",
                json!({"Filters": filters}),
            )
            .await?;
        let all = found["NetworkInterfaces"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let description = |one: &serde_json::Value| one["Description"].as_str().map(str::to_owned);
        Ok(all.iter().filter_map(description).collect())
    };
    let before = interfaces().await?;
    assert_eq!(before.len(), 3);
    assert!(before[0].starts_with("ELB net/front/"), "{before:?}");
    let gone = json!({"LoadBalancerArn": stage.scene.load_balancer});
    stage.call("DeleteLoadBalancer", gone).await?;
    stage.fake().advance(seconds(59)).await;
    assert_eq!(interfaces().await?, before);
    stage.fake().advance(seconds(1)).await;
    assert!(interfaces().await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn every_moment_that_was_is_known() -> Result<()> {
    let stage = Stage::new(typical()).await?;
    stage.register(0, 1).await?;
    // One step, in which much happens.
    stage.fake().advance(seconds(3600)).await;
    let gone = stage.targets(0, 1);
    stage.call("DeregisterTargets", gone).await?;
    stage.fake().advance(seconds(3600)).await;
    let history = stage.fake().history();

    let mut seen = Vec::new();
    history.walk(|moment| {
        if let Some(group) = moment.target_group("tcp") {
            let states = moment
                .health(group)
                .into_iter()
                .map(|(_, health)| health.state);
            let states: Vec<_> = states.collect();
            if seen.last() != Some(&states) {
                seen.push(states);
            }
        }
        false
    });
    let expected: [&[&str]; 5] = [&[], &["initial"], &["healthy"], &["draining"], &[]];
    assert_eq!(seen, expected);
    let healthy = |moment: &evenkeel_harness::fake_aws::Moment<'_>| {
        moment
            .target_group("tcp")
            .is_some_and(|group| moment.healthy(group) > 0)
    };
    assert!(history.ever(healthy));
    history.always("a listener has a load balancer", |moment| {
        let mut listeners = moment.state.listeners.values();
        listeners.all(|one| {
            moment
                .state
                .load_balancers
                .get(&one.load_balancer)
                .is_some()
        })
    })?;
    let broken = history.never("healthy", healthy).expect_err("it was");
    assert!(broken.to_string().contains("by time"), "{broken}");
    let by_call = Cause::Call("elbv2:RegisterTargets".to_owned());
    assert!(history.ever(|moment| *moment.cause == by_call));
    Ok(())
}

/// Holds each call once it has taken effect, before its caller hears of it.
#[derive(Debug)]
struct Gate {
    /// Has one more for each call that has come.
    come: Semaphore,
    /// Each call takes one to go on.
    open: Semaphore,
}

#[async_trait]
impl Watcher for Gate {
    async fn arrived(&self, _: &Call) -> Option<Fault> {
        None
    }

    async fn took_effect(&self, _: &Call) {
        self.come.add_permits(1);
        self.open.acquire().await.expect("the gate").forget();
    }
}

/// The clock waits for the reply, not only for the effect; the test itself may look meanwhile.
#[tokio::test]
async fn time_does_not_move_while_a_request_is_under_way() -> Result<()> {
    let stage = Stage::new(Settings::default()).await?;
    let gate = Arc::new(Gate {
        come: Semaphore::new(0),
        open: Semaphore::new(0),
    });
    let watcher: Arc<dyn Watcher> = gate.clone();
    stage.aws.watch(watcher)?;
    let before = stage.fake().now();
    let mut move_on = std::pin::pin!(stage.fake().advance(seconds(10)));
    let asked = stage.register(0, 1);
    let meanwhile = async {
        gate.come.acquire().await?.forget();
        assert!(move_on.as_mut().now_or_never().is_none(), "it waits");
        let state = stage.aws.state().await?;
        assert_eq!(state.target_groups().len(), 2);
        assert_eq!(stage.fake().now(), before);
        gate.open.add_permits(1);
        anyhow::Ok(())
    };
    let (found, looked) = futures::join!(asked, meanwhile);
    looked.context("while the request is under way")?;
    assert_eq!(found?, "");
    move_on.await;
    assert_eq!(stage.fake().now(), before + seconds(10));
    Ok(())
}
