//! The proxy records and counts calls, and refuses what AWS's model forbids.

use anyhow::Result;
use evenkeel_harness::aws::{Aws, Counts, World, WorldOptions};
use serde_json::json;

use crate::{create_target_group, post, send, signature, through_proxy};

#[tokio::test]
async fn requests_that_the_model_forbids_are_refused_and_remembered() -> Result<()> {
    let aws = Aws::moto().await?;
    let group =
        "Action=CreateTargetGroup&Version=2015-12-01&Name=a&Protocol=TCP&Port=80&VpcId=vpc-1";
    let targets = "Action=RegisterTargets&Version=2015-12-01&TargetGroupArn=a";
    let security = "Action=CreateSecurityGroup&Version=2016-11-15&GroupName=a&VpcId=vpc-1";
    for (service, form, expected) in [
        (
            "elasticloadbalancing",
            format!("{group}&TargetTyp=ip"),
            "TargetTyp: unknown parameter",
        ),
        (
            "elasticloadbalancing",
            group.replace("TCP", "SCTP"),
            "Protocol: \"SCTP\" is none of HTTP",
        ),
        (
            "elasticloadbalancing",
            group.replace("=80", "=70000"),
            "Port: 70000, allowed are 1..65535",
        ),
        (
            "elasticloadbalancing",
            group.replace("=80", "=http"),
            "Port: \"http\" is no integer",
        ),
        (
            "elasticloadbalancing",
            format!("{group}&HealthCheckEnabled=yes"),
            "HealthCheckEnabled: \"yes\" is no boolean",
        ),
        (
            "elasticloadbalancing",
            format!("{group}&HealthCheckIntervalSeconds=3"),
            "HealthCheckIntervalSeconds: 3, allowed are 5..300",
        ),
        (
            "elasticloadbalancing",
            format!("{group}&Tags.member.1.Key=%2A"),
            "Tags[0].Key: \"*\" does not match",
        ),
        (
            "elasticloadbalancing",
            format!("{targets}&Targets.member.1.Port=80"),
            "Targets[0].Id: is required",
        ),
        (
            "elasticloadbalancing",
            format!("{targets}&Targets.1.Id=i-1"),
            "Targets.1: lists are numbered as Targets.member.1",
        ),
        (
            "elasticloadbalancing",
            format!("{targets}&Targets.member.2.Id=i-1"),
            "Targets: the list has no item 1",
        ),
        (
            "elasticloadbalancing",
            targets.to_owned(),
            "Targets: is required",
        ),
        (
            "ec2",
            format!("{security}&Description=a"),
            "Description: unknown parameter",
        ),
        ("ec2", security.to_owned(), "Description: is required"),
        (
            "ec2",
            format!("{security}&GroupDescription=a&TagSpecifications.1.ResourceType=vpc"),
            "TagSpecifications: unknown parameter",
        ),
        (
            "ec2",
            format!("{security}&GroupDescription=a&TagSpecification.1.ResourceType=balloon"),
            "\"balloon\" is none of",
        ),
        (
            "elasticloadbalancing",
            group.replace("2015", "2016"),
            "Version: must be 2015-12-01",
        ),
        (
            "elasticloadbalancing",
            group.replace("CreateTarget", "CreatTarget"),
            "elbv2 has no operation \"CreatTargetGroup\"",
        ),
        (
            "balloons",
            group.to_owned(),
            "no model of the service \"balloons\"",
        ),
    ] {
        let (status, body) = post(&aws, service, &form).await?;
        assert_eq!(status, 400, "{form}: {body}");
        let violations = aws.violations();
        assert_eq!(violations.len(), 1, "{form}: {violations:?}");
        assert!(violations[0].contains(expected), "{form}: {violations:?}");
        // The caller sees it too, whatever the envelope.
        assert!(
            body.contains(expected.split('"').next().unwrap_or_default()),
            "{form}: {body}"
        );
    }
    let state = aws.state().await?;
    assert!(
        state.target_groups().is_empty(),
        "nothing reached moto: {state}"
    );
    aws.check()
}

/// The tagging API speaks JSON; web identities come without a signature.
#[tokio::test]
async fn requests_of_other_forms_are_understood() -> Result<()> {
    let aws = Aws::moto().await?;
    let headers = format!(
        "{}Content-Type: application/x-amz-json-1.1\r\nX-Amz-Target: ResourceGroupsTaggingAPI_20170126.GetResources\r\n",
        signature(&aws, "tagging")
    );
    for (body, expected) in [
        (r#"{"ResourcesPerPage": 100}"#, None),
        (
            r#"{"ResourcePerPage": 100}"#,
            Some("ResourcePerPage: unknown parameter"),
        ),
        (
            r#"{"ResourcesPerPage": "100"}"#,
            Some("ResourcesPerPage: is no integer"),
        ),
        (
            r#"{"TagFilters": [{"Values": ["a"], "Key": ""}]}"#,
            Some("TagFilters[0].Key: 0 characters, allowed are 1..128"),
        ),
        ("{", Some("the body is not JSON")),
    ] {
        let (status, reply) = send(&aws, &headers, body).await?;
        assert_eq!(
            status,
            if expected.is_none() { 200 } else { 400 },
            "{reply}"
        );
        let violations = aws.violations().join("\n");
        assert!(
            violations.contains(expected.unwrap_or_default()),
            "{body}: {violations}"
        );
        assert_eq!(
            violations.is_empty(),
            expected.is_none(),
            "{body}: {violations}"
        );
    }
    let role = "arn:aws:iam::123456789012:role/evenkeel";
    let form = format!(
        "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn={role}&RoleSessionName=evenkeel&WebIdentityToken=a.b.c"
    );
    let content = "Content-Type: application/x-www-form-urlencoded\r\n";
    let (status, reply) = send(&aws, content, &form).await?;
    assert_eq!(status, 200, "{reply}");
    assert!(reply.contains("<SecretAccessKey>"), "{reply}");
    let (status, reply) = send(&aws, content, "hello=world").await?;
    assert_eq!(status, 400, "{reply}");
    assert_eq!(
        aws.violations(),
        ["the request is neither signed nor a form"]
    );
    let counts = Counts::of(&aws.calls().all());
    assert_eq!((counts.reads, counts.writes), (6, 0), "{}", aws.calls());
    Ok(())
}

#[tokio::test]
async fn a_forbidden_request_that_nobody_looked_at_fails_the_test() -> Result<()> {
    let test = tokio::spawn(async {
        let aws = Aws::moto().await?;
        post(&aws, "ec2", "Action=DescribeVpcs&Version=2016-11-15&Vpc=a").await?;
        anyhow::Ok(())
    });
    let error = test.await.unwrap_err();
    assert!(error.is_panic(), "{error}");
    let text = error
        .into_panic()
        .downcast::<String>()
        .map_or_else(|_| String::new(), |text| *text);
    assert!(
        text.contains("ec2:DescribeVpcs {}: Vpc: unknown parameter"),
        "{text}"
    );
    Ok(())
}

/// No false alarm: boto3 builds a whole world and a load balancer by way of the proxy.
#[tokio::test]
async fn what_an_sdk_sends_passes_is_recorded_and_counted() -> Result<()> {
    let aws = Aws::moto().await?;
    let sdk = through_proxy(&aws)?;
    let world = World::build(&sdk, &WorldOptions::default()).await?;
    let mark = aws.calls().mark();
    let parameters = json!({
        "Name": "front", "Type": "network", "Scheme": "internal", "Subnets": world.private_subnets,
        "Tags": [{"Key": "evenkeel.dev/owner", "Value": "shop/checkout ä"}],
    });
    let made = sdk
        .call("elbv2", "CreateLoadBalancer", parameters.clone())
        .await?;
    sdk.call("elbv2", "DescribeLoadBalancers", json!({"PageSize": 400}))
        .await?;
    sdk.call(
        "resourcegroupstaggingapi",
        "GetResources",
        json!({"ResourceTypeFilters": ["elasticloadbalancing"]}),
    )
    .await?;
    sdk.refusal(
        "elbv2",
        "DeleteTargetGroup",
        json!({"TargetGroupArn": "arn:aws:none"}),
    )
    .await?;
    let filters = json!([{"Name": "vpc-id", "Values": [world.vpc_id]}]);
    sdk.call(
        "ec2",
        "DescribeSubnets",
        json!({"Filters": filters, "MaxResults": 1000}),
    )
    .await?;

    let calls = aws.calls().since(mark);
    let names: Vec<_> = calls.iter().map(|call| call.name()).collect();
    assert_eq!(
        names,
        [
            "elbv2:CreateLoadBalancer",
            "elbv2:DescribeLoadBalancers",
            "resourcegroupstaggingapi:GetResources",
            "elbv2:DeleteTargetGroup",
            "ec2:DescribeSubnets"
        ]
    );
    let counts = aws.calls().count_since(mark);
    assert_eq!((counts.reads, counts.writes), (3, 2), "{counts}");
    assert_eq!(calls[0].parameters, parameters);
    assert_eq!(calls[1].parameters, json!({"PageSize": 400}));
    assert_eq!(calls[4].parameters["Filters"], filters);
    assert_eq!(
        (calls[0].region.as_str(), calls[0].status),
        (aws.region(), Some(200))
    );
    assert_eq!(
        (calls[3].status, calls[3].error.as_deref()),
        (Some(400), Some("TargetGroupNotFound"))
    );
    assert_eq!(calls[0].access_key, aws.access_key().id);

    // The world was built in the account and region that the assertions read.
    let state = aws.state().await?;
    let found = state.load_balancer("front")?;
    assert_eq!(
        found["LoadBalancerArn"],
        made["LoadBalancers"][0]["LoadBalancerArn"]
    );
    assert_eq!(found["Tags"]["evenkeel.dev/owner"], "shop/checkout ä");
    let arn = found["LoadBalancerArn"].as_str().unwrap_or_default();
    assert!(
        arn.contains(&format!(
            "{}:{}:loadbalancer/net/front",
            aws.region(),
            aws.account()
        )),
        "{arn}"
    );
    aws.check()
}

#[tokio::test]
async fn tests_side_by_side_do_not_see_each_other() -> Result<()> {
    let (one, other) = (Aws::moto().await?, Aws::moto().await?);
    let small = WorldOptions::default();
    let large = WorldOptions {
        nodes: 7,
        dual_stack: true,
        ..WorldOptions::default()
    };
    let worlds = tokio::try_join!(
        World::build(one.client(), &small),
        World::build(other.client(), &large),
    )?;
    assert_eq!((worlds.0.nodes.len(), worlds.1.nodes.len()), (3, 7));
    post(
        &one,
        "elasticloadbalancing",
        &create_target_group("mine", &worlds.0.vpc_id),
    )
    .await?;
    assert_eq!(one.state().await?.target_groups().len(), 1);
    assert_eq!(other.state().await?.target_groups().len(), 0);
    assert_eq!(other.calls().all().len(), 0);
    Ok(())
}

#[tokio::test]
async fn a_world_is_what_a_cluster_finds() -> Result<()> {
    let aws = Aws::moto().await?;
    let options = WorldOptions {
        nodes: 4,
        dual_stack: true,
        ..WorldOptions::default()
    };
    let mut world = World::build(aws.client(), &options).await?;
    let state = aws.state().await?;
    for (subnets, role) in [
        (&world.public_subnets, "kubernetes.io/role/elb"),
        (&world.private_subnets, "kubernetes.io/role/internal-elb"),
    ] {
        for (id, zone) in subnets.iter().zip(&world.zones) {
            let subnet = state
                .subnets()
                .iter()
                .find(|subnet| subnet["SubnetId"] == **id)
                .unwrap();
            assert_eq!(subnet["AvailabilityZone"], **zone);
            assert_eq!(
                (
                    &subnet["Tags"][role],
                    &subnet["Tags"]["kubernetes.io/cluster/kestrel"]
                ),
                (&json!("1"), &json!("shared"))
            );
            assert_eq!(
                subnet["Ipv6CidrBlockAssociationSet"]
                    .as_array()
                    .unwrap()
                    .len(),
                1,
                "{subnet}"
            );
        }
    }
    let nodes = world.add_nodes(aws.client(), 2).await?;
    let zones: Vec<_> = world.nodes.iter().map(|node| node.zone.clone()).collect();
    for zone in &world.zones {
        assert_eq!(
            zones.iter().filter(|other| *other == zone).count(),
            2,
            "{zones:?}"
        );
    }
    assert!(
        nodes[0]
            .provider_id()
            .starts_with(&format!("aws:///{}/i-", nodes[0].zone))
    );
    let ids: Vec<_> = world.nodes.iter().map(|node| &node.instance_id).collect();
    let reply = aws
        .client()
        .call("ec2", "DescribeInstances", json!({"InstanceIds": ids}))
        .await?;
    let groups = reply.pointer("/Reservations/0/Instances/0/NetworkInterfaces/0/Groups/0/GroupId");
    assert_eq!(groups, Some(&json!(world.node_security_group)), "{reply}");
    let refused = aws
        .client()
        .refusal(
            "ec2",
            "DeleteSecurityGroup",
            json!({"GroupId": world.node_security_group}),
        )
        .await?;
    assert_eq!(refused.as_deref(), Some("DependencyViolation"));
    Ok(())
}
