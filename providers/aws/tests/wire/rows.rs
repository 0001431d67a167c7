//! The golden rows that can be seen at the wire alone: what AWS answers, what others do in between, and what its routes say.

use anyhow::{Context as _, Result};
use evenkeel_core::{
    error::{ErrorClass, ProviderFault},
    intent::Intent,
    problem::reason,
};
use evenkeel_harness::aws::{At, Fault};
use serde_json::{Value, json};

use super::stage::{Stage, service, settled};

fn annotate(mut intent: Intent, suffix: &str, value: &str) -> Intent {
    let key = format!("service.beta.kubernetes.io/aws-load-balancer-{suffix}");
    intent.annotations.insert(key.into(), value.into());
    intent
}

/// One call by another client than ours.
async fn by_hand(stage: &Stage, service: &str, operation: &str, asked: Value) -> Result<Value> {
    let client = stage.aws.client();
    client.call(service, operation, asked).await
}

#[tokio::test]
async fn row_019_a_name_that_another_service_has() -> Result<()> {
    let stage = Stage::with_nodes(1).await?;
    let first = annotate(service("first", &[80]), "name", "shop");
    settled(&stage.serve(&first).await.0);
    let before = stage.state().await?;
    let second = annotate(service("second", &[80]), "name", "shop");
    let (report, asked) = stage.serve(&second).await;
    let failure = report.failures.first().context("it failed")?;
    assert_eq!(
        failure.reason,
        Some(reason::OWNERSHIP_CONFLICT),
        "{failure:?}"
    );
    assert_eq!(asked.of_operation("elbv2:CreateListener"), 0, "{asked}");
    assert_eq!(asked.of_operation("elbv2:ModifyListener"), 0, "{asked}");
    let after = stage.state().await?;
    assert_eq!(before.load_balancers(), after.load_balancers());
    stage.aws.check()
}

#[tokio::test]
async fn row_032_the_main_route_table_counts_where_a_subnet_has_none() -> Result<()> {
    let stage = Stage::with_nodes(1).await?;
    let world = &stage.world;
    let filters = json!({"Filters": [{"Name": "vpc-id", "Values": [world.vpc_id]}]});
    let tables = by_hand(&stage, "ec2", "DescribeRouteTables", filters).await?;
    let associations: Vec<&Value> = tables["RouteTables"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|table| table["Associations"].as_array().into_iter().flatten())
        .collect();
    let main = associations
        .iter()
        .find(|one| one["Main"] == true)
        .context("a main table")?;
    let gateway = tables
        .to_string()
        .split('"')
        .find(|word| word.starts_with("igw-"))
        .map(str::to_owned)
        .context("a gateway")?;
    // Private subnets have a table without a way out, public ones none of their own.
    let own = json!({"VpcId": world.vpc_id});
    let own = by_hand(&stage, "ec2", "CreateRouteTable", own).await?;
    for subnet in &world.private_subnets {
        let to = json!({"RouteTableId": own["RouteTable"]["RouteTableId"], "SubnetId": subnet});
        by_hand(&stage, "ec2", "AssociateRouteTable", to).await?;
    }
    for association in associations
        .iter()
        .filter(|one| one["SubnetId"].is_string())
    {
        let id = json!({"AssociationId": association["RouteTableAssociationId"]});
        by_hand(&stage, "ec2", "DisassociateRouteTable", id).await?;
    }
    let out = json!({
        "RouteTableId": main["RouteTableId"], "DestinationCidrBlock": "0.0.0.0/0", "GatewayId": gateway,
    });
    by_hand(&stage, "ec2", "CreateRoute", out).await?;
    // No subnet has a role: their routes tell.
    let roles = ["kubernetes.io/role/elb", "kubernetes.io/role/internal-elb"];
    let every: Vec<_> = [&world.public_subnets[..], &world.private_subnets[..]].concat();
    let tags = json!({"Resources": every, "Tags": roles.map(|role| json!({"Key": role}))});
    by_hand(&stage, "ec2", "DeleteTags", tags).await?;

    for (scheme, expected) in [
        ("internet-facing", &world.public_subnets),
        ("internal", &world.private_subnets),
    ] {
        let intent = annotate(service(scheme, &[80]), "scheme", scheme);
        settled(&stage.serve(&intent).await.0);
        let state = stage.state().await?;
        let lb = state
            .load_balancers()
            .iter()
            .find(|lb| lb["Scheme"] == scheme);
        let zones = &lb.context("a load balancer")?["AvailabilityZones"];
        let mut subnets: Vec<_> = zones
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|zone| zone["SubnetId"].as_str())
            .collect();
        subnets.sort_unstable();
        let mut expected: Vec<_> = expected.iter().map(String::as_str).collect();
        expected.sort_unstable();
        assert_eq!(subnets, expected, "{scheme}");
    }
    stage.aws.check()
}

#[tokio::test]
async fn row_123_a_rule_by_hand_on_the_nodes_stays() -> Result<()> {
    let stage = Stage::with_nodes(2).await?;
    let group = &stage.world.node_security_group;
    let rule = json!({
        "GroupId": group,
        "IpPermissions": [{
            "IpProtocol": "tcp", "FromPort": 30080, "ToPort": 30080, "IpRanges": [{"CidrIp": "198.51.100.0/24"}],
        }],
    });
    by_hand(&stage, "ec2", "AuthorizeSecurityGroupIngress", rule).await?;
    let there = async |stage: &Stage| -> Result<bool> {
        let state = stage.state().await?;
        let rules = state.ingress_rules(group);
        Ok(rules
            .iter()
            .any(|rule| rule["CidrIpv4"] == "198.51.100.0/24"))
    };
    let shop = service("shop", &[30_080 - 30_000]);
    settled(&stage.serve(&shop).await.0);
    assert!(there(&stage).await?);
    settled(&stage.look(&shop).await.0);
    assert!(there(&stage).await?);
    assert!(stage.release(&shop).await.0.gone);
    assert!(there(&stage).await?);
    stage.aws.check()
}

#[tokio::test]
async fn row_131_many_targets_in_few_calls() -> Result<()> {
    let stage = Stage::with_nodes(450).await?;
    let mark = stage.aws.calls().mark();
    settled(&stage.serve(&service("shop", &[80])).await.0);
    let calls = stage.aws.calls().since(mark);
    let mut sizes: Vec<_> = calls
        .iter()
        .filter(|call| call.operation == "RegisterTargets")
        .filter_map(|call| call.parameters["Targets"].as_array().map(Vec::len))
        .collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [50, 200, 200]);
    let state = stage.state().await?;
    let targets = state.target_groups()[0]["Targets"].as_array();
    assert_eq!(targets.map(Vec::len), Some(450));
    stage.aws.check()
}

#[tokio::test]
async fn row_143_protection_that_was_switched_on_in_aws() -> Result<()> {
    let stage = Stage::with_nodes(1).await?;
    let shop = service("shop", &[80]);
    settled(&stage.serve(&shop).await.0);
    let state = stage.state().await?;
    let arn = &state.load_balancers()[0]["LoadBalancerArn"];
    let protection = |on: &str| {
        let attribute = json!({"Key": "deletion_protection.enabled", "Value": on});
        json!({"LoadBalancerArn": arn, "Attributes": [attribute]})
    };
    let modify = "ModifyLoadBalancerAttributes";
    by_hand(&stage, "elbv2", modify, protection("true")).await?;
    let (report, asked) = stage.release(&shop).await;
    assert!(!report.gone, "{report:#?}");
    let failure = report.failures.first().context("it is refused")?;
    assert_eq!(failure.class, ErrorClass::Rejected);
    assert!(
        failure
            .message
            .contains("to false in AWS; then it is deleted"),
        "{failure:?}"
    );
    let switched = asked.of_operation("elbv2:ModifyLoadBalancerAttributes");
    assert_eq!(switched, 0, "{asked}");
    let state = stage.state().await?;
    assert_eq!(state.load_balancers().len(), 1, "{state}");
    // Nothing of it was taken away.
    let listeners = state.load_balancers()[0]["Listeners"].as_array();
    assert_eq!(listeners.map(Vec::len), Some(1), "{state}");
    assert_eq!(state.target_groups().len(), 1, "{state}");
    stage.aws.check()
}

/// Gives a Service up where AWS says once that something is still used: that is one failed call, and the next run goes on.
async fn still_used(at: At, code: &str) -> Result<()> {
    let stage = Stage::with_nodes(1).await?;
    let shop = service("shop", &[80]);
    settled(&stage.serve(&shop).await.0);
    let injected = stage.aws.inject(&at, Fault::answer(code, "still used"));
    let name = at.operation.to_string();
    let (report, asked) = stage.release(&shop).await;
    injected.check(1).await?;
    assert!(!report.gone, "{report:#?}");
    let failure = report.failures.first().context("it failed")?;
    assert_eq!(failure.class, ErrorClass::Transient, "{failure:?}");
    assert_eq!(asked.of_operation(&name), 1, "nobody waits there: {asked}");
    let (report, _) = stage.release(&shop).await;
    assert!(report.gone, "{report:#?}");
    assert!(stage.state().await?.target_groups().is_empty());
    stage.aws.check()
}

#[tokio::test]
async fn row_145_a_target_group_that_is_still_used() -> Result<()> {
    still_used(At::first("elbv2", "DeleteTargetGroup"), "ResourceInUse").await
}

#[tokio::test]
async fn row_146_a_security_group_that_is_still_used() -> Result<()> {
    still_used(
        At::first("ec2", "DeleteSecurityGroup"),
        "DependencyViolation",
    )
    .await
}

#[tokio::test]
async fn row_150_too_many_calls() -> Result<()> {
    let stage = Stage::with_nodes(1).await?;
    let shop = service("shop", &[80]);
    let create = At::first("elbv2", "CreateLoadBalancer");
    let injected = stage.aws.inject(&create, Fault::Throttled);
    let (report, asked) = stage.serve(&shop).await;
    injected.check(1).await?;
    // No try of the SDK's beside ours.
    assert_eq!(asked.of_operation("elbv2:CreateLoadBalancer"), 1, "{asked}");
    let failure = report.failures.first().context("it failed")?;
    assert!(
        matches!(failure.class, ErrorClass::Throttled { .. }),
        "{failure:?}"
    );
    settled(&stage.serve(&shop).await.0);
    stage.aws.check()
}

#[tokio::test]
async fn row_152_credentials_that_have_expired() -> Result<()> {
    for (service_name, operation, code) in [
        ("ec2", "DescribeSubnets", "RequestExpired"),
        ("elbv2", "DescribeTargetGroups", "ExpiredToken"),
        ("elbv2", "CreateLoadBalancer", "ExpiredToken"),
        ("ec2", "AuthorizeSecurityGroupIngress", "RequestExpired"),
    ] {
        let stage = Stage::with_nodes(1).await?;
        let at = At::first(service_name, operation);
        let expired = Fault::answer(
            code,
            "The security token included in the request is expired",
        );
        let injected = stage.aws.inject(&at, expired);
        let (report, _) = stage.serve(&service("shop", &[80])).await;
        injected.check(1).await?;
        let failure = report.failures.first().context("it failed")?;
        // Told of the provider once, and not of each Service.
        assert_eq!(
            failure.of_provider,
            Some(ProviderFault::CredentialsExpired),
            "{operation}: {failure:?}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn row_155_one_that_goes_while_tags_are_read() -> Result<()> {
    // AWS names it, or does not.
    for named in [true, false] {
        let mut stage = Stage::with_nodes(1).await?;
        let names = ["first", "second", "third"];
        for name in names {
            settled(&stage.serve(&service(name, &[80])).await.0);
        }
        let state = stage.state().await?;
        let arn = state.load_balancers()[1]["LoadBalancerArn"].as_str();
        let message = match named {
            true => format!("Load balancers '[{}]' not found", arn.context("an ARN")?),
            false => "One or more load balancers not found".to_owned(),
        };
        let tags = At::first("elbv2", "DescribeTags");
        let gone = Fault::answer("LoadBalancerNotFound", &message);
        let injected = stage.aws.inject(&tags, gone);
        stage.restart().await?;
        injected.check(1).await?;
        for name in names {
            let (report, _) = stage.serve(&service(name, &[80])).await;
            assert!(report.failures.is_empty(), "{name}, {named}: {report:#?}");
        }
        let state = stage.state().await?;
        assert_eq!(state.load_balancers().len(), names.len(), "{state}");
        stage.aws.check()?;
    }
    Ok(())
}
