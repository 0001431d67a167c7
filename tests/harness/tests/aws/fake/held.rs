//! What AWS holds back: what was released for a while, what is over the quota of a VPC, what is not set up yet or never will be.

use std::time::Duration;

use anyhow::Result;
use evenkeel_harness::fake_aws::{Quotas, Settings, Settle, Times};
use serde_json::{Value, json};

use super::Stage;
use crate::scene::with;

fn held_for(calls: u32) -> Settings {
    let held = Settle::calls(calls);
    Settings {
        times: Times {
            target_group_release: held,
            interface_release: held,
            ..Times::none()
        },
        ..Settings::default()
    }
}

/// An internal load balancer in the first private subnet.
fn internal(stage: &Stage, name: &str, address: Option<&str>) -> Value {
    let mut mapping = json!({"SubnetId": stage.scene.world.private_subnets[0]});
    if let Some(address) = address {
        mapping["PrivateIPv4Address"] = json!(address);
    }
    json!({"Name": name, "Type": "network", "Scheme": "internal", "SubnetMappings": [mapping]})
}

async fn create(stage: &Stage, asked: &Value) -> Result<String> {
    let made = stage.refusal("elbv2", "CreateLoadBalancer", asked.clone());
    made.await
}

async fn delete(stage: &Stage, name: &str) -> Result<()> {
    let found = stage
        .call("DescribeLoadBalancers", json!({"Names": [name]}))
        .await?;
    let arn = &found["LoadBalancers"][0]["LoadBalancerArn"];
    let gone = json!({"LoadBalancerArn": arn});
    stage.call("DeleteLoadBalancer", gone).await?;
    Ok(())
}

/// Each release is waited for, at the same time too.
#[tokio::test]
async fn a_target_group_is_held_after_each_release() -> Result<()> {
    let stage = Stage::new(held_for(2)).await?;
    let group = json!({"TargetGroupArn": stage.scene.group});
    let remove = async || {
        stage
            .refusal("elbv2", "DeleteTargetGroup", group.clone())
            .await
    };
    let mut listener = stage.scene.listener.clone();
    for wait in [Duration::ZERO, Duration::from_secs(60)] {
        let gone = json!({"ListenerArn": listener});
        stage.call("DeleteListener", gone).await?;
        for _ in 0..2 {
            assert_eq!(remove().await?, "ResourceInUse");
        }
        let again = stage.call("CreateListener", stage.scene.create_listener());
        let arn = again.await?["Listeners"][0]["ListenerArn"].clone();
        listener = arn.as_str().unwrap_or_default().to_owned();
        stage.fake().advance(wait).await;
    }
    let gone = json!({"ListenerArn": listener});
    stage.call("DeleteListener", gone).await?;
    for expected in ["ResourceInUse", "ResourceInUse", ""] {
        assert_eq!(remove().await?, expected);
    }
    Ok(())
}

#[tokio::test]
async fn a_private_address_is_free_again() -> Result<()> {
    let stage = Stage::new(held_for(2)).await?;
    let asked = |name: &str| internal(&stage, name, Some("10.40.128.200"));
    assert_eq!(create(&stage, &asked("first")).await?, "");
    assert_eq!(create(&stage, &asked("second")).await?, "ResourceInUse");
    delete(&stage, "first").await?;
    for expected in ["ResourceInUse", "ResourceInUse", ""] {
        assert_eq!(create(&stage, &asked("second")).await?, expected);
    }
    Ok(())
}

/// The scene's load balancer has three.
#[tokio::test]
async fn a_vpc_has_so_many_interfaces() -> Result<()> {
    let quotas = Quotas {
        interfaces: 4,
        ..Quotas::default()
    };
    let settings = Settings {
        quotas,
        ..held_for(1)
    };
    let stage = Stage::new(settings).await?;
    let full = "InvalidConfigurationRequest";
    assert_eq!(create(&stage, &internal(&stage, "first", None)).await?, "");
    assert_eq!(
        create(&stage, &internal(&stage, "second", None)).await?,
        full
    );
    delete(&stage, "first").await?;
    // It is gone, and its interface is not yet.
    assert_eq!(
        create(&stage, &internal(&stage, "second", None)).await?,
        full
    );
    assert_eq!(create(&stage, &internal(&stage, "second", None)).await?, "");

    let subnets = |zones: usize| {
        let subnets = &stage.scene.world.public_subnets[..zones];
        json!({"LoadBalancerArn": stage.scene.load_balancer, "Subnets": subnets})
    };
    stage.call("SetSubnets", subnets(2)).await?;
    stage.fake().set(|settings| settings.quotas.interfaces = 3);
    // The first counts as the one call that is refused.
    for expected in [full, full] {
        let found = stage.refusal("elbv2", "SetSubnets", subnets(3)).await?;
        assert_eq!(found, expected);
    }
    stage.fake().set(|settings| settings.quotas.interfaces = 4);
    assert_eq!(stage.refusal("elbv2", "SetSubnets", subnets(3)).await?, "");
    Ok(())
}

#[tokio::test]
#[should_panic(expected = "AWS grants nobody 200 rules in each of 6 security groups")]
async fn some_quotas_nobody_has() {
    let quotas = Quotas {
        rules: 200,
        security_groups_per_interface: 6,
        ..Quotas::default()
    };
    let settings = Settings {
        quotas,
        ..Settings::default()
    };
    let _ = Stage::new(settings).await;
}

/// No node of a load balancer checks targets before it is there.
#[tokio::test]
async fn nothing_is_healthy_behind_what_is_provisioning() -> Result<()> {
    for health_checks in [false, true] {
        let mut settings = Settings::default();
        settings.times.provisioning = Settle::calls(2);
        settings.times.health_checks = health_checks;
        let stage = Stage::new(settings).await?;
        assert_eq!(stage.register(0, 30_080).await?, "");
        for _ in 0..2 {
            stage.fake().advance(Duration::from_secs(3600)).await;
            assert_eq!(
                stage.health().await?,
                ["initial Elb.RegistrationInProgress"]
            );
            stage.call("DescribeLoadBalancers", json!({})).await?;
        }
        if health_checks {
            // The first check is made when it has become active, an hour ago or not.
            assert_eq!(stage.health().await?, ["initial Elb.InitialHealthChecking"]);
            stage.fake().advance(Duration::from_secs(3600)).await;
        }
        assert_eq!(stage.health().await?, ["healthy"]);
    }
    Ok(())
}

#[tokio::test]
async fn a_load_balancer_may_fail() -> Result<()> {
    let mut settings = Settings::default();
    settings.times.provisioning = Settle::after(Duration::from_secs(60));
    settings
        .fails
        .insert("doomed".to_owned(), "no room".to_owned());
    let stage = Stage::new(settings).await?;
    let doomed = with(stage.scene.create_load_balancer(), "Name", json!("doomed"));
    assert_eq!(create(&stage, &doomed).await?, "");
    let states = async || -> Result<Vec<String>> {
        let names = json!({"Names": ["doomed", "front"]});
        let found = stage.call("DescribeLoadBalancers", names).await?;
        let mut all = Vec::new();
        for one in found["LoadBalancers"].as_array().into_iter().flatten() {
            all.push(format!("{} {}", one["LoadBalancerName"], one["State"]));
        }
        all.sort();
        Ok(all)
    };
    let both = |doomed: &str, front: &str| {
        let state = |name: &str, state: &str| format!("\"{name}\" {{\"Code\":{state}}}");
        vec![state("doomed", doomed), state("front", front)]
    };
    assert_eq!(
        states().await?,
        both("\"provisioning\"", "\"provisioning\"")
    );
    stage.fake().advance(Duration::from_secs(60)).await;
    let failed = "\"failed\",\"Reason\":\"no room\"";
    assert_eq!(states().await?, both(failed, "\"active\""));
    Ok(())
}

/// What was is told by how AWS behaved then.
#[tokio::test]
async fn a_change_of_behaviour_changes_nothing_that_was() -> Result<()> {
    let stage = Stage::new(Settings::default()).await?;
    stage.register(0, 1).await?;
    stage
        .fake()
        .set(|settings| settings.times = Times::typical());
    let mut seen = Vec::new();
    stage.fake().history().walk(|moment| {
        let health = |group| {
            moment
                .health(group)
                .into_iter()
                .map(|(_, health)| health.state)
        };
        seen.extend(moment.target_group("tcp").into_iter().flat_map(health));
        false
    });
    assert_eq!(seen, ["healthy", "initial"]);
    Ok(())
}
