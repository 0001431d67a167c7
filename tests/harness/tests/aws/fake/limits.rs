//! How many there may be, and how often may be asked.

use std::time::Duration;

use anyhow::Result;
use evenkeel_harness::aws::Aws;
use evenkeel_harness::fake_aws::{Buckets, Quotas, Settings};
use serde_json::{Value, json};

use super::{Stage, world};
use crate::scene::{forward, with};
use crate::through_proxy;

fn with_quotas(quotas: Quotas) -> Settings {
    Settings {
        quotas,
        ..Settings::default()
    }
}

#[tokio::test]
async fn there_may_be_so_many() -> Result<()> {
    let stage = Stage::new(Settings::default()).await?;
    let scene = &stage.scene;
    stage.fake().set(|settings| {
        settings.quotas = Quotas {
            load_balancers: 1,
            target_groups: 2,
            listeners: 1,
            interfaces: 3,
            certificates: 0,
            security_groups: 4,
            rules: 2,
            security_groups_per_interface: 1,
            ..Quotas::default()
        };
    });
    let range = |last: u8| json!({"CidrIp": format!("10.0.0.{last}/32")});
    let rules = |ranges: Value| {
        json!({
            "GroupId": scene.security_group,
            "IpPermissions": [{"IpProtocol": "tcp", "FromPort": 1, "ToPort": 1, "IpRanges": ranges}],
        })
    };
    for (service, operation, parameters, expected) in [
        (
            "elbv2",
            "CreateLoadBalancer",
            with(scene.create_load_balancer(), "Name", json!("second")),
            "TooManyLoadBalancers",
        ),
        (
            "elbv2",
            "CreateTargetGroup",
            with(scene.create_group(), "Name", json!("third")),
            "TooManyTargetGroups",
        ),
        (
            "elbv2",
            "CreateListener",
            with(scene.create_listener(), "Port", json!(81)),
            "TooManyListeners",
        ),
        (
            "elbv2",
            "SetSecurityGroups",
            json!({"LoadBalancerArn": scene.load_balancer, "SecurityGroups": [scene.security_group, scene.world.node_security_group]}),
            "InvalidConfigurationRequest",
        ),
        (
            "ec2",
            "AuthorizeSecurityGroupIngress",
            rules(json!([range(1), range(2), range(3)])),
            "RulesPerSecurityGroupLimitExceeded",
        ),
        (
            "ec2",
            "AuthorizeSecurityGroupIngress",
            rules(json!([range(1), range(2)])),
            "",
        ),
    ] {
        let found = stage
            .refusal(service, operation, parameters.clone())
            .await?;
        assert_eq!(found, expected, "{operation} {parameters}");
    }
    let group = |name: &str| json!({"GroupName": name, "Description": "one more", "VpcId": scene.world.vpc_id});
    assert_eq!(
        stage
            .refusal("ec2", "CreateSecurityGroup", group("one"))
            .await?,
        ""
    );
    let found = stage
        .refusal("ec2", "CreateSecurityGroup", group("two"))
        .await?;
    assert_eq!(found, "SecurityGroupLimitExceeded");
    Ok(())
}

/// Nine nodes over three zones, and a listener.
#[tokio::test]
async fn targets_are_counted_by_group_zone_and_load_balancer() -> Result<()> {
    let quotas = |targets_per_group, targets_per_zone, targets_per_load_balancer| Quotas {
        targets_per_group,
        targets_per_zone,
        targets_per_load_balancer,
        ..Quotas::default()
    };
    for (quotas, cross_zone, fit) in [
        (quotas(4, 500, 3000), "false", 4),
        (quotas(1000, 500, 5), "false", 5),
        // In zones a, b, c, a, b, c, a: the third in a is one too many.
        (quotas(1000, 2, 3000), "false", 6),
        (quotas(1000, 2, 3000), "true", 2),
    ] {
        let mut stage = Stage::new(with_quotas(quotas)).await?;
        stage.scene.world.add_nodes(stage.aws.client(), 6).await?;
        let mut nodes = stage.scene.world.nodes.clone();
        nodes.sort_by(|one, other| one.zone.cmp(&other.zone));
        stage.scene.world.nodes = (0..9).map(|n| nodes[n % 3 * 3 + n / 3].clone()).collect();
        let across = json!({
            "LoadBalancerArn": stage.scene.load_balancer,
            "Attributes": [{"Key": "load_balancing.cross_zone.enabled", "Value": cross_zone}],
        });
        stage.call("ModifyLoadBalancerAttributes", across).await?;
        for node in 0..9 {
            let found = stage.register(node, 30_080).await?;
            let expected = if node < fit { "" } else { "TooManyTargets" };
            assert_eq!(found, expected, "node {node}, {quotas:?}");
            if node == fit {
                break;
            }
        }
        assert_eq!(stage.health().await?.len(), fit, "refused as a whole");
    }
    Ok(())
}

/// A group may have more targets than a load balancer can take: that shows when a listener is made.
#[tokio::test]
async fn a_listener_brings_no_more_targets_than_fit() -> Result<()> {
    let quotas = Quotas {
        targets_per_load_balancer: 1,
        ..Quotas::default()
    };
    let stage = Stage::new(with_quotas(quotas)).await?;
    let second = with(stage.scene.create_group(), "Name", json!("second"));
    let second = stage.call("CreateTargetGroup", second).await?;
    let second = second["TargetGroups"][0]["TargetGroupArn"]
        .as_str()
        .unwrap_or_default();
    let targets = with(stage.targets(0, 1), "TargetGroupArn", json!(second));
    stage.call("RegisterTargets", targets).await?;
    assert_eq!(stage.register(0, 1).await?, "");
    let listener = with(stage.scene.create_listener(), "Port", json!(81));
    let listener = with(listener, "DefaultActions", forward(second));
    let found = stage.refusal("elbv2", "CreateListener", listener).await?;
    assert_eq!(found, "TooManyTargets");
    let state = stage.aws.state().await?;
    let listeners = &state.load_balancers()[0]["Listeners"];
    assert_eq!(listeners.as_array().map(Vec::len), Some(1), "none was made");
    Ok(())
}

/// As often as each call of `asked` passes, up to `most`.
async fn passed(
    aws: &Aws,
    service: &str,
    operation: &str,
    asked: Value,
    most: usize,
) -> Result<(usize, String)> {
    let sdk = through_proxy(aws)?;
    for number in 0..most {
        if let Some(code) = sdk.refusal(service, operation, asked.clone()).await? {
            return Ok((number, code));
        }
    }
    Ok((most, String::new()))
}

#[tokio::test]
async fn buckets_are_emptied_and_filled() -> Result<()> {
    let aws = Aws::fake(Settings::default()).await?;
    world(&aws, 1).await?;
    let fake = aws.as_fake().expect("a fake");
    fake.set(|settings| settings.buckets = Some(Buckets::documented()));
    let throttled = |count: usize| (count, "Throttling".to_owned());
    let describe = async || passed(&aws, "elbv2", "DescribeLoadBalancers", json!({}), 100).await;
    assert_eq!(describe().await?, throttled(40));
    assert_eq!(describe().await?, throttled(0));
    // A write draws on the same bucket.
    let other =
        json!({"TargetGroupArn": "arn:aws:elasticloadbalancing:eu-west-1:1:targetgroup/none/0"});
    let found = passed(&aws, "elbv2", "DeleteTargetGroup", other, 1).await?;
    assert_eq!(found, throttled(0));
    fake.advance(Duration::from_millis(1500)).await;
    assert_eq!(describe().await?, throttled(15));
    fake.advance(Duration::from_secs(3600)).await;
    assert_eq!(describe().await?, throttled(40));
    // Each call of EC2 has a bucket of its own, and those that ask for everything a smaller one.
    for (operation, asked, count) in [
        ("DescribeInstances", json!({}), 50),
        ("DescribeSubnets", json!({}), 100),
    ] {
        let found = passed(&aws, "ec2", operation, asked, 150).await?;
        assert_eq!(
            found,
            (count, "RequestLimitExceeded".to_owned()),
            "{operation}"
        );
    }
    let call = aws.calls().all().pop().expect("a call");
    assert_eq!(call.status, Some(503));
    // A test's own reads take nothing.
    aws.state().await?;
    Ok(())
}

#[tokio::test]
async fn registrations_have_a_bucket_besides() -> Result<()> {
    let stage = Stage::new(Settings::default()).await?;
    stage
        .fake()
        .set(|settings| settings.buckets = Some(Buckets::documented()));
    let targets = stage.targets(0, 1);
    let (count, code) =
        passed(&stage.aws, "elbv2", "RegisterTargets", targets.clone(), 100).await?;
    assert_eq!((count, &*code), (20, "Throttling"));
    let found = passed(&stage.aws, "elbv2", "DeregisterTargets", targets, 1).await?;
    assert_eq!(found.0, 0, "one bucket for both");
    assert_eq!(
        stage
            .refusal("elbv2", "DescribeTargetGroups", json!({}))
            .await?,
        ""
    );
    Ok(())
}
