//! What goes wrong at the wire, and what is there in the end.

use std::time::Duration;

use anyhow::{Context as _, Result};
use evenkeel_core::{
    error::{ErrorClass, ProviderFault},
    problem::reason,
};
use evenkeel_harness::aws::{At, Fault, State};
use serde_json::json;

use super::stage::{Stage, service, settled};

/// More runs than any fault here takes to get over.
const RUNS: usize = 6;

/// How many security groups of ours there are.
fn ours(state: &State) -> usize {
    let groups = state.security_groups().iter();
    groups
        .filter(|group| {
            let name = group["GroupName"].as_str();
            name.is_some_and(|name| name.starts_with("ek-"))
        })
        .count()
}

/// Each write of a life is broken in each way: in the end all is there once, and then nothing.
#[tokio::test]
async fn a_write_that_fails_or_is_lost() -> Result<()> {
    let stage = Stage::with_nodes(2).await?;
    let first = service("first", &[80]);
    settled(&stage.serve(&first).await.0);
    let faults = [
        Fault::Reset,
        Fault::ErrorBefore,
        Fault::ErrorAfter,
        Fault::ReplyLost,
        Fault::Throttled,
    ];
    let makes = [
        ("ec2", "CreateSecurityGroup"),
        ("ec2", "AuthorizeSecurityGroupIngress"),
        ("elbv2", "CreateTargetGroup"),
        ("elbv2", "RegisterTargets"),
        ("elbv2", "CreateLoadBalancer"),
        ("elbv2", "CreateListener"),
    ];
    let breaks = [
        ("elbv2", "DeleteLoadBalancer"),
        ("elbv2", "DeleteTargetGroup"),
        ("ec2", "DeleteSecurityGroup"),
    ];
    for (number, fault) in faults.iter().enumerate() {
        for (made, broken) in makes.iter().zip(breaks.iter().cycle()) {
            let what = format!("{fault:?} at {made:?}, then at {broken:?}");
            let service = service(&format!("s{number}-{}", made.1.to_lowercase()), &[8080]);

            let injected = stage.aws.inject(&At::first(made.0, made.1), fault.clone());
            let mut report = stage.serve(&service).await.0;
            for _ in 0..RUNS {
                if report.settled() {
                    break;
                }
                report = stage.look(&service).await.0;
            }
            injected.check(1).await?;
            assert!(report.settled(), "{what}: {report:#?}");
            let state = stage.state().await?;
            assert_eq!(state.load_balancers().len(), 2, "{what}: {state}");
            assert_eq!(state.target_groups().len(), 2, "{what}: {state}");
            assert_eq!(ours(&state), 3, "{what}: {state}");

            let injected = stage
                .aws
                .inject(&At::first(broken.0, broken.1), fault.clone());
            let mut report = stage.release(&service).await.0;
            for _ in 0..RUNS {
                if report.gone {
                    break;
                }
                report = stage.release(&service).await.0;
            }
            injected.check(1).await?;
            assert!(report.gone, "{what}: {report:#?}");
            let state = stage.state().await?;
            assert_eq!(state.load_balancers().len(), 1, "{what}: {state}");
            assert_eq!(state.target_groups().len(), 1, "{what}: {state}");
            assert_eq!(ours(&state), 2, "{what}: {state}");
        }
    }
    stage.aws.check()
}

/// Targets that AWS refuses do not keep the others out.
#[tokio::test]
async fn a_target_that_is_refused() -> Result<()> {
    let stage = Stage::with_nodes(3).await?;
    let service = service("shop", &[80]);
    let refused = &stage.world.nodes[1].instance_id;
    let message = format!(
        "The following targets are not in a running state and cannot be registered: '{refused}'"
    );
    let register = At::first("elbv2", "RegisterTargets");
    let injected = stage
        .aws
        .inject(&register, Fault::answer("InvalidTarget", &message));
    let (report, asked) = stage.serve(&service).await;
    injected.check(1).await?;
    assert_eq!(asked.of_operation("elbv2:RegisterTargets"), 2, "{asked}");
    let total = report.published.and_then(|published| published.targets);
    assert_eq!(
        total.map(|targets| targets.total),
        Some(2),
        "two are registered"
    );
    stage.aws.check()
}

/// What is not allowed is named, once for what all Services need.
#[tokio::test]
async fn a_denial() -> Result<()> {
    let stage = Stage::with_nodes(1).await?;
    let denied = "User: arn:aws:sts::123456789012:assumed-role/ek/x is not authorized to perform: \
        elasticloadbalancing:CreateLoadBalancer on resource: arn:aws:elasticloadbalancing:eu-west-1:123456789012:loadbalancer/net/a/*";
    let create = At::first("elbv2", "CreateLoadBalancer");
    let injected = stage
        .aws
        .inject(&create, Fault::answer("AccessDenied", denied));
    let (report, _) = stage.serve(&service("shop", &[80])).await;
    injected.check(1).await?;
    let failure = report.failures.first().context("it failed")?;
    assert_eq!(
        (failure.class, failure.of_provider),
        (ErrorClass::Denied, None)
    );
    assert!(
        failure
            .message
            .contains("not allowed: elasticloadbalancing:CreateLoadBalancer on arn:aws:"),
        "{failure:?}"
    );

    let look = At::first("ec2", "DescribeSecurityGroups");
    let stage = Stage::with_nodes(1).await?;
    let injected = stage.aws.inject(
        &look,
        Fault::answer("UnauthorizedOperation", "You are not authorized"),
    );
    let (report, _) = stage.serve(&service("shop", &[80])).await;
    injected.check(1).await?;
    let failure = report.failures.first().context("it failed")?;
    assert_eq!(
        failure.of_provider,
        Some(ProviderFault::PermissionDenied),
        "{failure:?}"
    );
    assert!(
        failure.message.contains("ec2:DescribeSecurityGroups"),
        "{failure:?}"
    );
    Ok(())
}

/// Where nobody answers it is the provider's fault, and nothing was done.
#[tokio::test]
async fn nobody_answers() -> Result<()> {
    let stage = Stage::with_nodes(1).await?;
    let long = Fault::Refused(Duration::from_secs(3600));
    let _injected = stage
        .aws
        .inject(&At::first("ec2", "DescribeInstances"), long);
    let service = service("shop", &[80]);
    // The first call is cut, those after it are refused.
    stage.serve(&service).await;
    let (report, _) = stage.serve(&service).await;
    let failure = report.failures.first().context("it failed")?;
    assert_eq!(
        failure.of_provider,
        Some(ProviderFault::Unreachable),
        "{failure:?}"
    );
    assert_eq!(failure.class, ErrorClass::Transient);
    Ok(())
}

/// A load balancer of the name that a Service asks for, made by somebody else, is left alone: with other settings, and with the
/// very same.
#[tokio::test]
async fn a_name_that_is_taken() -> Result<()> {
    let stage = Stage::with_nodes(1).await?;
    let theirs = json!({
        "Name": "theirs",
        "Type": "network",
        "Scheme": "internal",
        "Subnets": [stage.world.private_subnets[0]],
    });
    stage
        .aws
        .client()
        .call("elbv2", "CreateLoadBalancer", theirs)
        .await?;
    let mut service = service("shop", &[80]);
    let name = "service.beta.kubernetes.io/aws-load-balancer-name";
    service.annotations.insert(name.into(), "theirs".into());
    let (report, _) = stage.serve(&service).await;
    let failure = report.failures.first().context("it failed")?;
    assert_eq!(failure.class, ErrorClass::Rejected, "{failure:?}");
    assert_eq!(
        failure.reason,
        Some(reason::OWNERSHIP_CONFLICT),
        "{failure:?}"
    );
    let state = stage.state().await?;
    assert_eq!(state.load_balancers().len(), 1, "{state}");
    Ok(())
}

/// What is deleted by hand is made anew once somebody looks.
#[tokio::test]
async fn deleted_by_hand() -> Result<()> {
    let stage = Stage::with_nodes(1).await?;
    let service = service("shop", &[80]);
    settled(&stage.serve(&service).await.0);
    let state = stage.state().await?;
    let arn = &state.load_balancers()[0]["LoadBalancerArn"];
    let gone = json!({"LoadBalancerArn": arn});
    stage
        .aws
        .client()
        .call("elbv2", "DeleteLoadBalancer", gone)
        .await?;
    let (report, _) = stage.look(&service).await;
    settled(&report);
    let state = stage.state().await?;
    assert_eq!(state.load_balancers().len(), 1, "{state}");
    assert_eq!(state.target_groups().len(), 1, "{state}");
    stage.aws.check()
}

/// AWS lets go of things in its own time: nothing is given up, and nobody waits in a worker.
#[tokio::test]
async fn what_is_still_in_use() -> Result<()> {
    let stage = Stage::with_nodes(1).await?;
    let service = service("shop", &[80]);
    settled(&stage.serve(&service).await.0);
    let delete = At::first("elbv2", "DeleteTargetGroup").times(2);
    let groups = stage.aws.inject(
        &delete,
        Fault::answer("ResourceInUse", "in use by a listener"),
    );
    let delete = At::first("ec2", "DeleteSecurityGroup").times(2);
    let security = stage.aws.inject(
        &delete,
        Fault::answer("DependencyViolation", "has a dependent object"),
    );
    let mut classes = Vec::new();
    for _ in 0..RUNS {
        let (report, _) = stage.release(&service).await;
        if report.gone {
            break;
        }
        classes.extend(report.failures.iter().map(|failure| failure.class));
    }
    assert!(
        !classes.is_empty() && classes.iter().all(|class| *class == ErrorClass::Transient),
        "{classes:?}"
    );
    groups.check(2).await?;
    security.check(2).await?;
    assert!(stage.state().await?.target_groups().is_empty());
    stage.aws.check()
}

/// An encoded denial that we may not decode says at least what was asked, and what would help.
#[tokio::test]
async fn a_denial_that_nobody_may_read() -> Result<()> {
    let stage = Stage::with_nodes(1).await?;
    let encoded = "You are not authorized to perform this operation. Encoded authorization failure message: 4GIOHlTkIaWHQD0Q";
    let create = At::first("ec2", "CreateSecurityGroup").times(2);
    let injected = stage
        .aws
        .inject(&create, Fault::answer("UnauthorizedOperation", encoded));
    let (report, _) = stage.serve(&service("shop", &[80])).await;
    injected.check(2).await?;
    let failure = report.failures.first().context("it failed")?;
    assert_eq!(failure.class, ErrorClass::Denied);
    assert!(
        failure.message.contains("ec2:CreateSecurityGroup")
            && failure.message.contains("sts:DecodeAuthorizationMessage"),
        "{failure:?}"
    );
    assert!(!failure.message.contains("4GIOHlTkIaWHQD0Q"), "{failure:?}");
    Ok(())
}

/// Whoever has lost the lead makes no write.
#[tokio::test]
async fn without_the_right_to_write() -> Result<()> {
    let stage = Stage::with_nodes(1).await?;
    let (_, asked) = stage.without_a_ticket(&service("shop", &[80])).await;
    assert_eq!(asked.writes, 0, "{asked}");
    assert!(stage.state().await?.target_groups().is_empty());
    Ok(())
}

/// Instances that EC2 does not know are left out, and the others admitted and registered in calls of 200.
#[tokio::test]
async fn many_nodes_and_some_that_are_unknown() -> Result<()> {
    let mut stage = Stage::with_nodes(205).await?;
    stage.add_strangers(3);
    let service = service("shop", &[80]);
    let (report, asked) = stage.serve(&service).await;
    let total = report.published.and_then(|published| published.targets);
    assert!(
        total.is_some_and(|targets| targets.total >= 205),
        "{total:?}"
    );
    assert!(asked.of_operation("elbv2:RegisterTargets") >= 2, "{asked}");
    let state = stage.state().await?;
    let rules = state.ingress_rules(&stage.world.node_security_group);
    let from_group = rules
        .iter()
        .filter(|rule| rule.get("ReferencedGroupInfo").is_some());
    assert!(from_group.count() >= 3, "{rules:?}");
    Ok(())
}
