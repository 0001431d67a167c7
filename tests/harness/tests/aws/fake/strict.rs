//! What AWS refuses and emulators take.

use anyhow::Result;
use evenkeel_harness::aws::{Aws, World, WorldOptions};
use evenkeel_harness::fake_aws::Settings;
use serde_json::{Value, json};

use super::Stage;
use crate::scene::with;
use crate::through_proxy;

#[tokio::test]
async fn what_does_not_fit_is_refused() -> Result<()> {
    let stage = Stage::new(Settings::default()).await?;
    let scene = &stage.scene;
    let world = &scene.world;
    let (public, private) = (&world.public_subnets, &world.private_subnets);
    let balancer = |mapping: Value| json!({"Name": "b", "Type": "network", "Scheme": "internal", "SubnetMappings": [mapping]});
    let subnets =
        |subnets: Value| json!({"LoadBalancerArn": scene.load_balancer, "Subnets": subnets});
    let id = &world.nodes[0].instance_id;
    let targets = |targets: Value| json!({"TargetGroupArn": scene.group, "Targets": targets});
    let filter = |name: &str| json!({"Filters": [{"Name": name, "Values": ["a"]}]});
    for (service, operation, parameters, expected) in [
        // A zone's subnet is not exchanged in one call.
        (
            "elbv2",
            "SetSubnets",
            subnets(json!([private[0], public[1], public[2]])),
            "InvalidConfigurationRequest",
        ),
        ("elbv2", "SetSubnets", subnets(json!([public[1]])), ""),
        (
            "elbv2",
            "SetSubnets",
            subnets(json!([private[0], public[1]])),
            "",
        ),
        // Addresses go with schemes and subnets.
        (
            "elbv2",
            "CreateLoadBalancer",
            balancer(json!({"SubnetId": private[0], "AllocationId": world.allocation_id})),
            "InvalidConfigurationRequest",
        ),
        (
            "elbv2",
            "CreateLoadBalancer",
            balancer(json!({"SubnetId": private[0], "PrivateIPv4Address": "10.40.144.9"})),
            "InvalidConfigurationRequest",
        ),
        (
            "elbv2",
            "CreateLoadBalancer",
            balancer(json!({"SubnetId": private[0], "PrivateIPv4Address": "10.40.128.200"})),
            "",
        ),
        (
            "elbv2",
            "CreateLoadBalancer",
            with(
                balancer(json!({"SubnetId": private[0], "PrivateIPv4Address": "10.40.128.200"})),
                "Name",
                json!("c"),
            ),
            "ResourceInUse",
        ),
        (
            "elbv2",
            "CreateLoadBalancer",
            with(
                balancer(json!({"SubnetId": private[0]})),
                "IpAddressType",
                json!("dualstack"),
            ),
            "InvalidSubnet",
        ),
        (
            "elbv2",
            "CreateLoadBalancer",
            with(
                balancer(json!({"SubnetId": private[0]})),
                "Name",
                json!("internal-b"),
            ),
            "ValidationError",
        ),
        (
            "elbv2",
            "CreateLoadBalancer",
            with(
                balancer(json!({"SubnetId": private[0]})),
                "Tags",
                json!([{"Key": "a", "Value": "1"}, {"Key": "a", "Value": "2"}]),
            ),
            "DuplicateTagKeys",
        ),
        // Health checks.
        (
            "elbv2",
            "ModifyTargetGroup",
            json!({"TargetGroupArn": scene.group, "HealthCheckPath": "/x"}),
            "ValidationError",
        ),
        (
            "elbv2",
            "ModifyTargetGroup",
            json!({"TargetGroupArn": scene.group, "HealthCheckIntervalSeconds": 5}),
            "ValidationError",
        ),
        (
            "elbv2",
            "ModifyTargetGroup",
            json!({"TargetGroupArn": scene.group, "HealthCheckProtocol": "HTTP", "Matcher": {"HttpCode": "600"}}),
            "ValidationError",
        ),
        // One wrong target refuses all.
        (
            "elbv2",
            "RegisterTargets",
            targets(json!([{"Id": id, "Port": 1}, {"Id": "i-0123456789abcdef0", "Port": 1}])),
            "InvalidTarget",
        ),
        (
            "elbv2",
            "RegisterTargets",
            targets(json!([{"Id": "10.40.128.9", "Port": 1}])),
            "ValidationError",
        ),
        (
            "elbv2",
            "DescribeLoadBalancers",
            json!({"Marker": "page two"}),
            "ValidationError",
        ),
        ("elbv2", "DescribeListeners", json!({}), "ValidationError"),
        (
            "elbv2",
            "AddTags",
            json!({"ResourceArns": [scene.group], "Tags": [{"Key": "aws:a", "Value": "b"}]}),
            "ValidationError",
        ),
        (
            "ec2",
            "DescribeSubnets",
            filter("colour"),
            "InvalidParameterValue",
        ),
        (
            "ec2",
            "DescribeSubnets",
            json!({"NextToken": "two", "MaxResults": 5}),
            "InvalidParameterValue",
        ),
        (
            "ec2",
            "DescribeInstances",
            json!({"InstanceIds": ["i-1"]}),
            "InvalidInstanceID.Malformed",
        ),
        (
            "ec2",
            "DescribeInstances",
            json!({"InstanceIds": [id, "i-0123456789abcdef0"]}),
            "InvalidInstanceID.NotFound",
        ),
        (
            "ec2",
            "DescribeInstances",
            json!({"InstanceIds": [id], "MaxResults": 5}),
            "InvalidParameterCombination",
        ),
        (
            "ec2",
            "CreateSecurityGroup",
            json!({"GroupName": "FRONT", "Description": "d", "VpcId": world.vpc_id}),
            "InvalidGroup.Duplicate",
        ),
        (
            "ec2",
            "CreateSecurityGroup",
            json!({"GroupName": "sg-front", "Description": "d", "VpcId": world.vpc_id}),
            "InvalidParameterValue",
        ),
        (
            "ec2",
            "DeleteSubnet",
            json!({"SubnetId": public[1]}),
            "DependencyViolation",
        ),
        (
            "ec2",
            "TerminateInstances",
            json!({"InstanceIds": ["i-0123456789abcdef0"]}),
            "InvalidInstanceID.NotFound",
        ),
        ("ec2", "DescribeImages", json!({}), "InvalidAction"),
    ] {
        let found = stage
            .refusal(service, operation, parameters.clone())
            .await?;
        assert_eq!(found, expected, "{operation} {parameters}");
    }
    assert!(stage.health().await?.is_empty(), "all of a call or nothing");
    Ok(())
}

/// With UDP, both families need prefixes for source NAT.
#[tokio::test]
async fn dualstack_and_datagrams() -> Result<()> {
    let aws = Aws::fake(Settings::default()).await?;
    let options = WorldOptions {
        dual_stack: true,
        ..WorldOptions::default()
    };
    let world = World::build(aws.client(), &options).await?;
    let sdk = through_proxy(&aws)?;
    let group = json!({"Name": "udp", "Protocol": "UDP", "Port": 53, "VpcId": world.vpc_id});
    let group =
        sdk.call("elbv2", "CreateTargetGroup", group).await?["TargetGroups"][0]["TargetGroupArn"]
            .clone();
    for (prefixes, expected) in [("off", Some("InvalidConfigurationRequest")), ("on", None)] {
        let balancer = json!({
            "Name": format!("lb-{prefixes}"), "Type": "network", "Subnets": world.public_subnets,
            "IpAddressType": "dualstack", "EnablePrefixForIpv6SourceNat": prefixes,
        });
        let made = sdk.call("elbv2", "CreateLoadBalancer", balancer).await?;
        let listener = json!({
            "LoadBalancerArn": made["LoadBalancers"][0]["LoadBalancerArn"], "Protocol": "UDP", "Port": 53,
            "DefaultActions": [{"Type": "forward", "TargetGroupArn": group}],
        });
        let refused = sdk.refusal("elbv2", "CreateListener", listener).await?;
        assert_eq!(refused.as_deref(), expected, "{prefixes}");
    }
    Ok(())
}

/// What comes and goes between two pages moves nothing else.
#[tokio::test]
async fn pages_neither_repeat_nor_skip() -> Result<()> {
    let stage = Stage::new(Settings::default()).await?;
    let create = async |number: usize| {
        let name = json!(format!("g{number}"));
        stage
            .call(
                "CreateTargetGroup",
                with(stage.scene.create_group(), "Name", name),
            )
            .await
    };
    for number in 0..30 {
        create(number).await?;
    }
    let all = |page: &Value| -> Vec<String> {
        let groups = page["TargetGroups"].as_array().into_iter().flatten();
        groups
            .filter_map(|group| group["TargetGroupArn"].as_str().map(str::to_owned))
            .collect()
    };
    // boto3 pages by itself: one page at a time is asked for by hand.
    let first = crate::post(
        &stage.aws,
        "elasticloadbalancing",
        "Action=DescribeTargetGroups&Version=2015-12-01&PageSize=10",
    )
    .await?;
    assert_eq!(first.0, 200, "{}", first.1);
    let text = |body: &str, tag: &str| -> Vec<String> {
        let begin = format!("<{tag}>");
        let parts = body.split(&begin).skip(1);
        parts
            .filter_map(|part| part.split('<').next().map(str::to_owned))
            .collect()
    };
    let mut seen = text(&first.1, "TargetGroupArn");
    assert_eq!(seen.len(), 10);
    // One at the end of the first page goes, and others come.
    let last = seen.iter().rfind(|arn| **arn != stage.scene.group);
    let gone = json!({"TargetGroupArn": last});
    stage.call("DeleteTargetGroup", gone).await?;
    create(30).await?;
    let mut marker = text(&first.1, "NextMarker");
    while let Some(next) = marker.pop() {
        let form =
            format!("Action=DescribeTargetGroups&Version=2015-12-01&PageSize=10&Marker={next}");
        let (status, body) = crate::post(&stage.aws, "elasticloadbalancing", &form).await?;
        assert_eq!(status, 200, "{body}");
        seen.extend(text(&body, "TargetGroupArn"));
        marker = text(&body, "NextMarker");
    }
    let there = all(&stage.call("DescribeTargetGroups", json!({})).await?);
    let count = |arn: &String| seen.iter().filter(|other| *other == arn).count();
    assert!(seen.iter().all(|arn| count(arn) == 1), "none twice");
    let missed: Vec<_> = there.iter().filter(|arn| count(arn) == 0).collect();
    assert!(
        missed.len() <= 1,
        "only what came meanwhile may be missed: {missed:?}"
    );
    Ok(())
}

#[tokio::test]
async fn another_region_is_somebody_elses() -> Result<()> {
    let stage = Stage::new(Settings::default()).await?;
    let form = "Action=DescribeLoadBalancers&Version=2015-12-01";
    let (status, _) = crate::post(&stage.aws, "elasticloadbalancing", form).await?;
    assert_eq!(status, 200);
    let headers = "X-Amz-Date: 20260101T000000Z\r\nContent-Type: application/x-www-form-urlencoded\r\nAuthorization: AWS4-HMAC-SHA256 \
        Credential=k/20260101/mars-north-1/elasticloadbalancing/aws4_request, SignedHeaders=host, Signature=0\r\n";
    let (status, body) = crate::send(&stage.aws, headers, form).await?;
    assert!(
        status == 400 && body.contains("SignatureDoesNotMatch"),
        "{body}"
    );
    Ok(())
}
