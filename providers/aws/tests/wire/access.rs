//! Who asks, where, and what is found out about that.

use anyhow::{Context as _, Result};
use evenkeel_aws::client::{Config, Endpoints, Role};
use evenkeel_core::{
    error::{CloudError, ProviderFault},
    provider::Provider as _,
};

use super::stage::{Stage, config, provider};

async fn refusal(stage: &Stage, config: Config) -> Result<CloudError> {
    let found = provider(&stage.world, config).snapshot().await;
    found.err().context("it was refused")
}

/// A role is taken on once, and its keys sign all calls after it.
#[tokio::test]
async fn a_role_is_taken_on() -> Result<()> {
    let stage = Stage::with_nodes(1).await?;
    let mark = stage.aws.calls().mark();
    let role = Role {
        arn: format!("arn:aws:iam::{}:role/evenkeel", stage.aws.account()).into(),
        external_id: Some("shop".into()),
    };
    let config = Config {
        role: Some(role),
        ..config(&stage.aws, &stage.world)
    };
    provider(&stage.world, config).snapshot().await?;
    let calls = stage.aws.calls().since(mark);
    let (first, rest) = calls.split_first().context("calls were made")?;
    assert_eq!(first.name(), "sts:AssumeRole");
    assert_eq!(first.parameters["ExternalId"], "shop", "{first:?}");
    assert!(rest.len() > 4);
    for call in rest {
        assert_ne!(call.access_key, first.access_key, "{call:?}");
        assert_ne!(call.operation, "AssumeRole", "the keys are kept");
    }
    stage.aws.check()
}

/// Each API can have a URL of its own.
#[tokio::test]
async fn endpoints_of_their_own() -> Result<()> {
    let stage = Stage::with_nodes(1).await?;
    let mark = stage.aws.calls().mark();
    let whole = config(&stage.aws, &stage.world);
    let apart = Config {
        // Nobody listens there.
        endpoint: Some("http://127.0.0.1:9".into()),
        endpoints: Endpoints {
            elb: whole.endpoint.clone(),
            ec2: whole.endpoint.clone(),
            sts: None,
        },
        ..whole
    };
    provider(&stage.world, apart).snapshot().await?;
    let asked = stage.aws.calls().count_since(mark);
    assert!(asked.of_operation("ec2:DescribeSubnets") == 1, "{asked}");
    assert!(
        asked.of_operation("elbv2:DescribeLoadBalancers") == 1,
        "{asked}"
    );
    Ok(())
}

/// What is missing or wrong is one fault of the provider's, and says what to configure.
#[tokio::test]
async fn what_is_not_configured() -> Result<()> {
    let stage = Stage::with_nodes(1).await?;
    let right = config(&stage.aws, &stage.world);
    for (wrong, says) in [
        (
            Config {
                vpc: Some("vpc-0000000000000000f".into()),
                ..right.clone()
            },
            "there is no VPC `vpc-0000000000000000f`",
        ),
        (
            Config {
                node: None,
                ..right.clone()
            },
            "the VPC is not known",
        ),
        (
            Config {
                node: Some("aws:///eu-west-1a/i-0123456789abcdef0".into()),
                ..right.clone()
            },
            "the VPC is not known",
        ),
        (
            Config {
                endpoint: Some("http://127.0.0.1:9".into()),
                ..right
            },
            "AWS cannot be reached",
        ),
    ] {
        let error = refusal(&stage, wrong).await?;
        assert_eq!(
            error.of_provider,
            Some(ProviderFault::Unreachable),
            "{error}"
        );
        assert!(error.message.contains(says), "{error}");
    }
    Ok(())
}
