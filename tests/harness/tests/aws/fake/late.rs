//! Reads that do not show the last writes.

use std::time::Duration;

use anyhow::Result;
use evenkeel_harness::fake_aws::{Settings, Settle};
use serde_json::json;

use super::Stage;
use crate::scene::with;

#[tokio::test]
async fn a_read_may_not_show_the_last_write() -> Result<()> {
    for (lag, missed) in [
        (Settle::after(Duration::from_secs(5)), 1),
        (Settle::calls(2), 2),
    ] {
        let stage = Stage::new(Settings {
            lag,
            ..Settings::default()
        })
        .await?;
        let group = json!({"Name": "late", "Protocol": "TCP", "Port": 80, "VpcId": stage.scene.world.vpc_id});
        stage.fake().advance(Duration::from_secs(60)).await;
        for _ in 0..2 {
            // Whatever the world needed to be seen.
            stage.call("DescribeTargetGroups", json!({})).await?;
        }
        stage.call("CreateTargetGroup", group).await?;
        let named = json!({"Names": ["late"]});
        for _ in 0..missed {
            let found = stage
                .refusal("elbv2", "DescribeTargetGroups", named.clone())
                .await?;
            assert_eq!(found, "TargetGroupNotFound", "{lag:?}");
        }
        // It is there all the same: for writes, and for who looks from behind.
        assert!(stage.aws.state().await?.target_group("late").is_ok());
        if missed == 1 {
            stage.fake().advance(Duration::from_secs(5)).await;
        }
        let found = stage
            .refusal("elbv2", "DescribeTargetGroups", named)
            .await?;
        assert_eq!(found, "", "{lag:?}");
    }
    Ok(())
}

/// A write does not find what was made a moment ago, and neither makes a second one of it nor takes it for gone.
#[tokio::test]
async fn a_write_may_not_find_what_was_just_made() -> Result<()> {
    for (late, refused) in [
        (Settle::after(Duration::from_secs(5)), 1),
        (Settle::calls(2), 2),
    ] {
        let stage = Stage::new(Settings {
            write_lag: late,
            ..Settings::default()
        })
        .await?;
        let scene = &stage.scene;
        // What somebody else made is there.
        let listener = with(scene.create_listener(), "Port", json!(81));
        let made = stage.call("CreateListener", listener.clone()).await?;
        let arn = &made["Listeners"][0]["ListenerArn"];
        let group =
            json!({"GroupName": "late", "Description": "late", "VpcId": scene.world.vpc_id});
        let group = stage.sdk.call("ec2", "CreateSecurityGroup", group).await?;
        let group = &group["GroupId"];
        let again = stage.call("CreateListener", listener).await?;
        assert_eq!(again["Listeners"][0]["ListenerArn"], *arn);
        let opening = json!({"IpProtocol": "tcp", "FromPort": 1, "ToPort": 1, "IpRanges": [{"CidrIp": "10.0.0.0/8"}]});
        let writes = [
            (
                "elbv2",
                "ModifyListener",
                json!({"ListenerArn": arn}),
                "ListenerNotFound",
            ),
            (
                "ec2",
                "AuthorizeSecurityGroupIngress",
                json!({"GroupId": group, "IpPermissions": [opening]}),
                "InvalidGroup.NotFound",
            ),
        ];
        for (service, operation, asked, code) in &writes {
            for _ in 0..refused {
                let found = stage.refusal(service, operation, asked.clone()).await?;
                assert_eq!(found, *code, "{late:?}");
            }
        }
        if refused == 1 {
            stage.fake().advance(Duration::from_secs(5)).await;
        }
        for (service, operation, asked, _) in writes {
            let found = stage.refusal(service, operation, asked).await?;
            assert_eq!(found, "", "{operation}, {late:?}");
        }
    }
    Ok(())
}

/// What is late comes in the order in which it was written, and what was deleted is seen for as long.
#[tokio::test]
async fn what_was_deleted_is_seen_for_a_while() -> Result<()> {
    let stage = Stage::new(Settings::default()).await?;
    stage
        .fake()
        .set(|settings| settings.lag = Settle::after(Duration::from_secs(5)));
    let gone = json!({"LoadBalancerArn": stage.scene.load_balancer});
    stage.call("DeleteLoadBalancer", gone).await?;
    let found = stage.call("DescribeLoadBalancers", json!({})).await?;
    assert_eq!(found["LoadBalancers"].as_array().map(Vec::len), Some(1));
    assert!(stage.aws.state().await?.load_balancers().is_empty());
    stage.fake().advance(Duration::from_secs(5)).await;
    let found = stage.call("DescribeLoadBalancers", json!({})).await?;
    assert_eq!(found["LoadBalancers"].as_array().map(Vec::len), Some(0));
    Ok(())
}
