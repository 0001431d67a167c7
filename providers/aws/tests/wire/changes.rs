//! What others did between two runs, or at the same time.

use anyhow::{Context as _, Result};
use evenkeel_core::{intent::Intent, problem::reason};
use serde_json::{Value, json};

use super::stage::{Stage, service, settled};

fn annotate(mut intent: Intent, suffix: &str, value: &str) -> Intent {
    let key = format!("service.beta.kubernetes.io/aws-load-balancer-{suffix}");
    intent.annotations.insert(key.into(), value.into());
    intent
}

async fn by_hand(stage: &Stage, operation: &str, asked: Value) -> Result<Value> {
    stage.aws.client().call("ec2", operation, asked).await
}

/// With groups of the user's all settings are the same, and AWS answers the second create with the load balancer of the first.
#[tokio::test]
async fn two_services_that_ask_for_one_name_at_once() -> Result<()> {
    let stage = Stage::with_nodes(1).await?;
    let groups = stage.world.node_security_group.clone();
    let asking = |name: &str, port: u16| {
        let named = annotate(service(name, &[port]), "name", "shop");
        annotate(named, "security-groups", &groups)
    };
    settled(&stage.serve(&asking("first", 80)).await.0);
    let (report, asked) = stage.serve(&asking("second", 443)).await;
    let failure = report.failures.first().context("it failed")?;
    assert_eq!(
        failure.reason,
        Some(reason::OWNERSHIP_CONFLICT),
        "{failure:?}"
    );
    assert_eq!(asked.of_operation("elbv2:CreateListener"), 0, "{asked}");
    stage.aws.check()
}

#[tokio::test]
async fn a_given_group_of_another_vpc_is_refused_before_any_write() -> Result<()> {
    let stage = Stage::with_nodes(1).await?;
    let vpc = by_hand(&stage, "CreateVpc", json!({"CidrBlock": "10.99.0.0/16"})).await?;
    let group = json!({"GroupName": "strange", "Description": "x", "VpcId": vpc["Vpc"]["VpcId"]});
    let group = by_hand(&stage, "CreateSecurityGroup", group).await?;
    let id = group["GroupId"].as_str().context("an id")?;
    let shop = annotate(service("shop", &[80]), "security-groups", id);
    let (report, asked) = stage.serve(&shop).await;
    let refusal = report.refusals.first().context("it is refused")?;
    let told = refusal.problem.to_string();
    assert!(told.contains("neither the id nor the tag Name"), "{told}");
    assert_eq!(asked.writes, 0, "{asked}");
    stage.aws.check()
}

#[tokio::test]
async fn a_subnet_that_was_just_given_its_name_is_found() -> Result<()> {
    let stage = Stage::with_nodes(1).await?;
    let subnets = &stage.world.public_subnets;
    let asking = |list: &str| annotate(service("shop", &[80]), "subnets", list);
    settled(&stage.serve(&asking(&subnets[0])).await.0);
    let name = json!({"Resources": [subnets[1]], "Tags": [{"Key": "Name", "Value": "edge"}]});
    by_hand(&stage, "CreateTags", name).await?;
    let (report, _) = stage.serve(&asking(&format!("{},edge", subnets[0]))).await;
    settled(&report);
    let state = stage.state().await?;
    let zones = state.load_balancers()[0]["AvailabilityZones"].as_array();
    assert_eq!(zones.map(Vec::len), Some(2), "{state}");
    stage.aws.check()
}
