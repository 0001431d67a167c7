//! What both backends of the lifecycle suite, moto as it is changed and our own fake, refuse and take again as AWS does.

use anyhow::{Context as _, Result};
use evenkeel_harness::aws::{World, WorldOptions};
use serde_json::{Value, json};

use super::backend;
use crate::scene::{Scene, arn, forward, with};
use crate::through_proxy;

#[tokio::test]
async fn it_refuses_what_aws_refuses() -> Result<()> {
    let aws = backend().await?;
    let client = aws.client();
    let scene = Scene::build(client).await?;
    let (balancer, group, listener) = (&scene.load_balancer, &scene.group, &scene.listener);
    let protect = json!([{"Key": "deletion_protection.enabled", "Value": "true"}]);
    let parameters = json!({"LoadBalancerArn": balancer, "Attributes": protect});
    client
        .call("elbv2", "ModifyLoadBalancerAttributes", parameters)
        .await?;
    let other = json!({"Name": "other", "Type": "network", "Subnets": scene.world.private_subnets});
    let other = arn(
        client,
        "CreateLoadBalancer",
        other,
        "/LoadBalancers/0/LoadBalancerArn",
    )
    .await?;
    let tls = with(
        with(scene.create_listener(), "Port", json!(443)),
        "Protocol",
        json!("TLS"),
    );
    let no_instance = json!([{"Id": "i-0123456789abcdef0", "Port": 80}]);
    let small = json!({"VpcId": scene.world.vpc_id, "CidrBlock": "10.40.255.240/28", "AvailabilityZone": scene.world.zones[0]});
    let small = client.call("ec2", "CreateSubnet", small).await?;
    let small = small["Subnet"]["SubnetId"]
        .as_str()
        .context("no subnet")?
        .to_owned();
    let full = json!({"ImageId": "ami-0abcdef1234567890", "MinCount": 4, "MaxCount": 4, "SubnetId": small});
    client.call("ec2", "RunInstances", full).await?;
    let two_in_a_zone = json!([
        scene.world.public_subnets[0],
        scene.world.private_subnets[0]
    ]);
    for (operation, parameters, expected) in [
        (
            "CreateLoadBalancer",
            with(scene.create_load_balancer(), "Scheme", json!("internal")),
            "DuplicateLoadBalancerName",
        ),
        (
            "CreateLoadBalancer",
            json!({"Name": "b", "Type": "network", "Subnets": two_in_a_zone}),
            "InvalidConfigurationRequest",
        ),
        (
            "CreateLoadBalancer",
            json!({"Name": "b", "Type": "network", "Subnets": ["subnet-0"]}),
            "SubnetNotFound",
        ),
        (
            "CreateLoadBalancer",
            json!({"Name": "b", "Type": "network", "Subnets": [small]}),
            "InvalidSubnet",
        ),
        (
            "CreateLoadBalancer",
            json!({"Name": "b", "Type": "network", "SubnetMappings": [{"SubnetId": scene.world.public_subnets[0], "AllocationId": "eipalloc-0"}]}),
            "AllocationIdNotFound",
        ),
        (
            "CreateLoadBalancer",
            with(
                with(scene.create_load_balancer(), "Name", json!("b")),
                "SecurityGroups",
                json!(["sg-0"]),
            ),
            "InvalidSecurityGroup",
        ),
        (
            "DeleteLoadBalancer",
            json!({"LoadBalancerArn": balancer}),
            "OperationNotPermitted",
        ),
        (
            "SetSecurityGroups",
            json!({"LoadBalancerArn": other, "SecurityGroups": [scene.security_group]}),
            "InvalidConfigurationRequest",
        ),
        (
            "DescribeLoadBalancers",
            json!({"Names": ["front", "back"]}),
            "LoadBalancerNotFound",
        ),
        (
            "CreateTargetGroup",
            with(scene.create_group(), "Port", json!(81)),
            "DuplicateTargetGroupName",
        ),
        (
            "CreateTargetGroup",
            with(
                with(scene.create_group(), "Name", json!("b")),
                "HealthCheckProtocol",
                json!("UDP"),
            ),
            "ValidationError",
        ),
        (
            "RegisterTargets",
            json!({"TargetGroupArn": group, "Targets": no_instance}),
            "InvalidTarget",
        ),
        (
            "ModifyTargetGroupAttributes",
            json!({"TargetGroupArn": scene.udp_group, "Attributes": [{"Key": "preserve_client_ip.enabled", "Value": "false"}]}),
            "InvalidConfigurationRequest",
        ),
        (
            "ModifyTargetGroupAttributes",
            json!({"TargetGroupArn": group, "Attributes": [{"Key": "no.such", "Value": "1"}]}),
            "ValidationError",
        ),
        (
            "CreateListener",
            with(scene.create_listener(), "Protocol", json!("UDP")),
            "DuplicateListener",
        ),
        (
            "CreateListener",
            with(scene.create_listener(), "LoadBalancerArn", json!(other)),
            "TargetGroupAssociationLimit",
        ),
        (
            "CreateListener",
            with(
                with(scene.create_listener(), "Port", json!(81)),
                "DefaultActions",
                forward(&scene.udp_group),
            ),
            "IncompatibleProtocols",
        ),
        ("CreateListener", tls.clone(), "ValidationError"),
        (
            "CreateListener",
            with(
                tls.clone(),
                "Certificates",
                json!([{"CertificateArn": "arn:aws:acm:eu-west-1:1:certificate/0"}]),
            ),
            "CertificateNotFound",
        ),
        (
            "CreateListener",
            with(
                with(tls, "SslPolicy", json!("Best")),
                "Certificates",
                json!([{"CertificateArn": scene.world.certificate_arn}]),
            ),
            "SSLPolicyNotFound",
        ),
        (
            "ModifyListenerAttributes",
            json!({"ListenerArn": listener, "Attributes": [{"Key": "tcp.idle_timeout.seconds", "Value": "5"}]}),
            "ValidationError",
        ),
        (
            "DeleteTargetGroup",
            json!({"TargetGroupArn": group}),
            "ResourceInUse",
        ),
        (
            "DescribeTags",
            json!({"ResourceArns": [balancer, format!("{balancer}0")]}),
            "LoadBalancerNotFound",
        ),
    ] {
        let refused = client
            .refusal("elbv2", operation, parameters.clone())
            .await?;
        assert_eq!(
            refused.as_deref(),
            Some(expected),
            "{operation} {parameters}"
        );
    }
    let refused = client
        .refusal(
            "ec2",
            "DeleteSecurityGroup",
            json!({"GroupId": scene.security_group}),
        )
        .await?;
    assert_eq!(refused.as_deref(), Some("DependencyViolation"));
    Ok(())
}

#[tokio::test]
async fn it_takes_again_what_aws_takes_again() -> Result<()> {
    let aws = backend().await?;
    let client = aws.client();
    let scene = Scene::build(client).await?;
    for (operation, parameters, pointer, expected) in [
        (
            "CreateLoadBalancer",
            scene.create_load_balancer(),
            "/LoadBalancers/0/LoadBalancerArn",
            &scene.load_balancer,
        ),
        (
            "CreateTargetGroup",
            scene.create_group(),
            "/TargetGroups/0/TargetGroupArn",
            &scene.group,
        ),
        (
            "CreateListener",
            scene.create_listener(),
            "/Listeners/0/ListenerArn",
            &scene.listener,
        ),
    ] {
        assert_eq!(
            arn(client, operation, parameters, pointer).await?,
            *expected
        );
    }
    let gone = json!({"TargetGroupArn": scene.group, "Targets": [{"Id": "i-0123456789abcdef0", "Port": 1}]});
    client.call("elbv2", "DeregisterTargets", gone).await?;
    let twice = json!({"LoadBalancerArn": scene.load_balancer});
    client
        .call("elbv2", "DeleteLoadBalancer", twice.clone())
        .await?;
    client.call("elbv2", "DeleteLoadBalancer", twice).await?;
    Ok(())
}

#[tokio::test]
async fn targets_are_kept_by_port_and_their_health_is_what_the_test_says() -> Result<()> {
    let aws = backend().await?;
    let client = aws.client();
    let scene = Scene::build(client).await?;
    let node = &scene.world.nodes[0];
    let target = |port: u16| json!({"Id": node.instance_id, "Port": port});
    for (operation, targets) in [
        (
            "RegisterTargets",
            json!([target(30001), target(30002), target(30003)]),
        ),
        ("DeregisterTargets", json!([target(30002)])),
    ] {
        client
            .call(
                "elbv2",
                operation,
                json!({"TargetGroupArn": scene.group, "Targets": targets}),
            )
            .await?;
    }
    let udp = json!({"TargetGroupArn": scene.udp_group, "Targets": [target(30053)]});
    client.call("elbv2", "RegisterTargets", udp).await?;
    let health = async |name: &str| -> Result<Vec<(u64, String)>> {
        let state = aws.state().await?;
        let targets = state.target_group(name)?["Targets"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let part = |target: &Value| {
            let state = target["TargetHealth"]["State"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            (target["Target"]["Port"].as_u64().unwrap_or_default(), state)
        };
        Ok(targets.iter().map(part).collect())
    };
    let of = |state: &str| vec![(30001, state.to_owned()), (30003, state.to_owned())];
    assert_eq!(health("tcp").await?, of("healthy"));
    assert_eq!(
        health("udp").await?,
        [(30053, "unused".to_owned())],
        "no listener forwards to it"
    );
    for state in ["initial", "unhealthy", "healthy"] {
        scene.world.set_health(client, node, state).await?;
        assert_eq!(health("tcp").await?, of(state));
    }
    scene
        .world
        .set_load_balancer_state(client, "provisioning")
        .await?;
    assert_eq!(
        aws.state().await?.load_balancer("front")?["State"]["Code"],
        "provisioning"
    );
    Ok(())
}

#[tokio::test]
async fn listeners_change_protocol_certificate_and_policy() -> Result<()> {
    let aws = backend().await?;
    let client = aws.client();
    let scene = Scene::build(client).await?;
    let listener = async || -> Result<Value> {
        Ok(aws.state().await?.load_balancer("front")?["Listeners"][0].clone())
    };
    let found = listener().await?;
    assert_eq!(
        (&found["SslPolicy"], &found["AlpnPolicy"]),
        (&Value::Null, &Value::Null),
        "of TLS alone"
    );
    assert_eq!(found["Attributes"]["tcp.idle_timeout.seconds"], "350");
    let certificate = json!([{"CertificateArn": scene.world.certificate_arn}]);
    let parameters = json!({
        "ListenerArn": scene.listener, "Protocol": "TLS", "Certificates": certificate,
        "SslPolicy": "ELBSecurityPolicy-TLS13-1-2-2021-06", "AlpnPolicy": ["HTTP2Preferred"],
    });
    client.call("elbv2", "ModifyListener", parameters).await?;
    let found = listener().await?;
    assert_eq!(
        (&found["Protocol"], &found["Certificates"]),
        (&json!("TLS"), &certificate)
    );
    assert_eq!(
        (&found["SslPolicy"], &found["AlpnPolicy"][0]),
        (
            &json!("ELBSecurityPolicy-TLS13-1-2-2021-06"),
            &json!("HTTP2Preferred")
        )
    );
    let parameters = json!({"ListenerArn": scene.listener, "Protocol": "UDP", "Port": 53, "DefaultActions": forward(&scene.udp_group)});
    client.call("elbv2", "ModifyListener", parameters).await?;
    let found = listener().await?;
    assert_eq!(
        (&found["Protocol"], &found["Port"], &found["Certificates"]),
        (&json!("UDP"), &json!(53), &Value::Null)
    );
    Ok(())
}

#[tokio::test]
async fn rules_of_security_groups_come_back_whole_and_canonical() -> Result<()> {
    let aws = backend().await?;
    let client = aws.client();
    let scene = Scene::build(client).await?;
    let permission = |port: u16| json!({"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "IpRanges": [{"CidrIp": "100.68.0.18/18"}]});
    let parameters =
        json!({"GroupId": scene.security_group, "IpPermissions": [permission(80), permission(81)]});
    let reply = client
        .call("ec2", "AuthorizeSecurityGroupIngress", parameters)
        .await?;
    assert_eq!(
        reply["SecurityGroupRules"].as_array().map(Vec::len),
        Some(2),
        "{reply}"
    );
    let parameters =
        json!({"GroupId": scene.security_group, "IpPermissions": [permission(82), permission(80)]});
    let refused = client
        .refusal("ec2", "AuthorizeSecurityGroupIngress", parameters)
        .await?;
    assert_eq!(refused.as_deref(), Some("InvalidPermission.Duplicate"));
    let state = aws.state().await?;
    let rules = state.ingress_rules(&scene.security_group);
    assert_eq!(rules.len(), 2, "all or nothing: {rules:?}");
    assert!(
        rules.iter().all(|rule| rule["CidrIpv4"] == "100.68.0.0/18"),
        "{rules:?}"
    );

    let from_nodes = |description: &str| {
        let pair = json!({"GroupId": scene.world.node_security_group, "Description": description});
        let permission =
            json!({"IpProtocol": "tcp", "FromPort": 1, "ToPort": 2, "UserIdGroupPairs": [pair]});
        json!({"GroupId": scene.security_group, "IpPermissions": [permission]})
    };
    client
        .call("ec2", "AuthorizeSecurityGroupIngress", from_nodes("one"))
        .await?;
    let again = client
        .refusal("ec2", "AuthorizeSecurityGroupIngress", from_nodes("two"))
        .await?;
    assert_eq!(again.as_deref(), Some("InvalidPermission.Duplicate"));
    let state = aws.state().await?;
    let rules = state.ingress_rules(&scene.security_group);
    let described = rules.iter().filter(|rule| rule["Description"] == "one");
    assert_eq!(described.count(), 1, "{rules:?}");
    client
        .call("ec2", "RevokeSecurityGroupIngress", from_nodes("another"))
        .await?;
    let left = aws.state().await?;
    assert_eq!(left.ingress_rules(&scene.security_group).len(), 2);
    Ok(())
}

/// More load balancers than moto would put on a page, and pages as small as asked for.
#[tokio::test]
async fn pages_are_as_long_as_on_aws() -> Result<()> {
    let aws = backend().await?;
    let world = World::build(
        aws.client(),
        &WorldOptions {
            nodes: 0,
            ..WorldOptions::default()
        },
    )
    .await?;
    for number in 0..60 {
        let parameters = json!({"Name": format!("lb-{number}"), "Type": "network", "Subnets": [world.public_subnets[0]]});
        aws.client()
            .call("elbv2", "CreateLoadBalancer", parameters)
            .await?;
    }
    let sdk = through_proxy(&aws)?;
    for (parameters, pages) in [(json!({}), 1), (json!({"PageSize": 25}), 3)] {
        let mark = aws.calls().mark();
        let found = sdk
            .call("elbv2", "DescribeLoadBalancers", parameters)
            .await?;
        assert_eq!(found["LoadBalancers"].as_array().map(Vec::len), Some(60));
        let counts = aws.calls().count_since(mark);
        assert_eq!(
            counts.of_operation("elbv2:DescribeLoadBalancers"),
            pages,
            "{counts}"
        );
    }
    let filters = json!([{"Name": "vpc-id", "Values": [world.vpc_id]}]);
    for (most, pages) in [(1000, 1), (5, 2)] {
        let mark = aws.calls().mark();
        let parameters = json!({"Filters": filters, "MaxResults": most});
        let found = sdk.call("ec2", "DescribeSubnets", parameters).await?;
        let counts = aws.calls().count_since(mark);
        assert_eq!(
            found["Subnets"].as_array().map(Vec::len),
            Some(6),
            "{found}"
        );
        assert_eq!(
            counts.of_operation("ec2:DescribeSubnets"),
            pages,
            "{counts}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn addresses_are_shown_held_and_given_back() -> Result<()> {
    let aws = backend().await?;
    let client = aws.client();
    let world = World::build(client, &WorldOptions::default()).await?;
    let mapping = |zone: usize, allocation: Option<&str>| match allocation {
        Some(id) => json!({"SubnetId": world.public_subnets[zone], "AllocationId": id}),
        None => json!({"SubnetId": world.public_subnets[zone]}),
    };
    let allocation = Some(world.allocation_id.as_str());
    let parameters = |name: &str| json!({"Name": name, "Type": "network", "SubnetMappings": [mapping(0, allocation)]});
    let balancer = arn(
        client,
        "CreateLoadBalancer",
        parameters("front"),
        "/LoadBalancers/0/LoadBalancerArn",
    )
    .await?;
    let release = json!({"AllocationId": world.allocation_id});
    let second = client
        .refusal("elbv2", "CreateLoadBalancer", parameters("second"))
        .await?;
    assert_eq!(second.as_deref(), Some("ResourceInUse"));
    let held = client
        .refusal("ec2", "ReleaseAddress", release.clone())
        .await?;
    assert_eq!(held.as_deref(), Some("InvalidIPAddress.InUse"));

    let address = async |zone: usize| -> Result<Value> {
        let state = aws.state().await?;
        Ok(
            state.load_balancer("front")?["AvailabilityZones"][zone]["LoadBalancerAddresses"][0]
                .clone(),
        )
    };
    assert_eq!(address(0).await?["AllocationId"], world.allocation_id);
    let more = json!({"LoadBalancerArn": balancer, "SubnetMappings": [mapping(0, allocation), mapping(1, None)]});
    client.call("elbv2", "SetSubnets", more).await?;
    assert_eq!(address(0).await?["AllocationId"], world.allocation_id);
    assert_eq!(address(1).await?, Value::Null);

    client
        .call(
            "elbv2",
            "DeleteLoadBalancer",
            json!({"LoadBalancerArn": balancer}),
        )
        .await?;
    client.call("ec2", "ReleaseAddress", release).await?;
    assert!(aws.state().await?.addresses().is_empty());
    Ok(())
}

#[tokio::test]
async fn tags_are_found_limited_and_gone_with_their_owner() -> Result<()> {
    let aws = backend().await?;
    let client = aws.client();
    let scene = Scene::build(client).await?;
    let arns = [&scene.load_balancer, &scene.group, &scene.listener];
    let tags = |count: usize| {
        (0..count)
            .map(|number| json!({"Key": format!("k{number}"), "Value": "v"}))
            .collect::<Vec<_>>()
    };
    client
        .call(
            "elbv2",
            "AddTags",
            json!({"ResourceArns": arns, "Tags": tags(50)}),
        )
        .await?;
    let one_more = json!({"ResourceArns": arns, "Tags": [{"Key": "another", "Value": "v"}]});
    let refused = client.refusal("elbv2", "AddTags", one_more).await?;
    assert_eq!(refused.as_deref(), Some("TooManyTags"));
    let many = vec![&scene.group; 21];
    let refused = client
        .refusal("elbv2", "DescribeTags", json!({"ResourceArns": many}))
        .await?;
    assert_eq!(refused.as_deref(), Some("ValidationError"));

    let filter = json!({"TagFilters": [{"Key": "k49", "Values": ["v"]}]});
    let found = async || -> Result<Vec<String>> {
        let reply = client
            .call("resourcegroupstaggingapi", "GetResources", filter.clone())
            .await?;
        let list = reply["ResourceTagMappingList"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let mut arns: Vec<_> = list
            .iter()
            .filter_map(|item| item["ResourceARN"].as_str().map(str::to_owned))
            .collect();
        arns.sort();
        Ok(arns)
    };
    let mut expected = arns.map(String::clone).to_vec();
    expected.sort();
    assert_eq!(found().await?, expected, "listeners too");
    client
        .call(
            "elbv2",
            "DeleteLoadBalancer",
            json!({"LoadBalancerArn": scene.load_balancer}),
        )
        .await?;
    assert_eq!(found().await?, std::slice::from_ref(&scene.group));
    let gone = client
        .refusal(
            "elbv2",
            "DescribeTags",
            json!({"ResourceArns": [scene.listener]}),
        )
        .await?;
    assert!(gone.is_some());
    // Nothing holds the rest any more.
    client
        .call(
            "elbv2",
            "DeleteTargetGroup",
            json!({"TargetGroupArn": scene.group}),
        )
        .await?;
    client
        .call(
            "ec2",
            "DeleteSecurityGroup",
            json!({"GroupId": scene.security_group}),
        )
        .await?;
    Ok(())
}

#[tokio::test]
async fn listeners_have_many_certificates_and_one_default() -> Result<()> {
    let aws = backend().await?;
    let client = aws.client();
    let scene = Scene::build(client).await?;
    let request = json!({"DomainName": "second.example.org"});
    let second = client.call("acm", "RequestCertificate", request).await?["CertificateArn"].clone();
    let first = json!(scene.world.certificate_arn);
    let list = |certificate: &Value| json!([{"CertificateArn": certificate}]);
    let mut tls = with(scene.create_listener(), "Port", json!(443));
    tls["Protocol"] = json!("TLS");
    tls["Certificates"] = list(&first);
    let listener = arn(client, "CreateListener", tls, "/Listeners/0/ListenerArn").await?;
    let change =
        |certificate: &Value| json!({"ListenerArn": listener, "Certificates": list(certificate)});
    for _ in 0..2 {
        client
            .call("elbv2", "AddListenerCertificates", change(&second))
            .await?;
    }
    let all = async || -> Result<Vec<(Value, Value)>> {
        let state = aws.state().await?;
        let listeners = state.load_balancer("front")?["Listeners"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let tls = listeners
            .iter()
            .find(|listener| listener["Port"] == 443)
            .context("no listener")?;
        assert_eq!(tls["SslPolicy"], "ELBSecurityPolicy-2016-08");
        let certificates = tls["AllCertificates"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let mut all: Vec<_> = certificates
            .iter()
            .map(|item| (item["CertificateArn"].clone(), item["IsDefault"].clone()))
            .collect();
        // In no order that AWS tells.
        all.sort_by_key(|(_, default)| *default == false);
        Ok(all)
    };
    let expected = vec![(first.clone(), json!(true)), (second.clone(), json!(false))];
    assert_eq!(all().await?, expected, "added once");
    let refused = client
        .refusal("elbv2", "RemoveListenerCertificates", change(&first))
        .await?;
    assert_eq!(refused.as_deref(), Some("OperationNotPermitted"));
    client
        .call("elbv2", "RemoveListenerCertificates", change(&second))
        .await?;
    client
        .call("elbv2", "ModifyListener", change(&second))
        .await?;
    assert_eq!(all().await?, [(second, json!(true))]);
    Ok(())
}
