//! Reads that do not show the last writes.

use std::time::Duration;

use anyhow::Result;
use evenkeel_harness::fake_aws::{Settings, Settle};
use serde_json::json;

use super::Stage;

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
