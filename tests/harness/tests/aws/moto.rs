//! Worlds of moto that tests need by the thousand.

use anyhow::Result;
use evenkeel_harness::aws::{Aws, WorldOptions};
use serde_json::{Value, json};

use crate::scene::{Scene, arn, with};

/// What moto tells at once is what boto3 reads call by call.
#[tokio::test]
async fn the_quick_state_is_the_state() -> Result<()> {
    let aws = Aws::moto().await?;
    let client = aws.client();
    let scene = Scene::build(client).await?;
    let target = json!([{"Id": scene.world.nodes[0].instance_id, "Port": 30080}]);
    let targets = json!({"TargetGroupArn": scene.group, "Targets": target});
    client.call("elbv2", "RegisterTargets", targets).await?;
    let tags = json!({"ResourceArns": [scene.listener], "Tags": [{"Key": "a", "Value": "b"}]});
    client.call("elbv2", "AddTags", tags).await?;
    let permission = json!({
        "IpProtocol": "tcp", "FromPort": 30080, "ToPort": 30080,
        "UserIdGroupPairs": [{"GroupId": scene.world.node_security_group, "Description": "from nodes"}],
    });
    let rules = json!({"GroupId": scene.security_group, "IpPermissions": [permission]});
    client
        .call("ec2", "AuthorizeSecurityGroupIngress", rules)
        .await?;
    let (slow, quick) = (aws.state().await?, aws.quick_state().await?);
    let same = |quick: &[Value], slow: &[Value], id: &str| {
        assert_eq!(quick.len(), slow.len());
        for item in quick {
            let other = slow.iter().find(|other| other[id] == item[id]).unwrap();
            for (key, value) in item.as_object().unwrap() {
                // boto3 leaves out what AWS leaves empty.
                let other = other.get(key).unwrap_or(&Value::Null);
                let empty = [json!([]), json!({}), Value::Null];
                let both_empty = empty.contains(value) && empty.contains(other);
                let nested = key == "Listeners" || key == "ReferencedGroupInfo";
                assert!(
                    value == other || both_empty || nested,
                    "{id} {key}: {value}, {other}"
                );
            }
        }
    };
    same(
        quick.load_balancers(),
        slow.load_balancers(),
        "LoadBalancerArn",
    );
    same(
        quick.target_groups(),
        slow.target_groups(),
        "TargetGroupArn",
    );
    same(quick.security_groups(), slow.security_groups(), "GroupId");
    same(
        quick.security_group_rules(),
        slow.security_group_rules(),
        "SecurityGroupRuleId",
    );
    let listeners = |state: &evenkeel_harness::aws::State| -> Result<Vec<Value>> {
        Ok(state.load_balancer("front")?["Listeners"]
            .as_array()
            .cloned()
            .unwrap_or_default())
    };
    same(&listeners(&quick)?, &listeners(&slow)?, "ListenerArn");
    let [rule] = quick.ingress_rules(&scene.security_group)[..] else {
        panic!("{quick}")
    };
    assert_eq!(
        rule["ReferencedGroupInfo"]["GroupId"],
        scene.world.node_security_group
    );
    Ok(())
}

#[tokio::test]
async fn a_world_that_was_used_is_as_new() -> Result<()> {
    let options = WorldOptions {
        cluster: "used".to_owned(),
        ..WorldOptions::default()
    };
    let (aws, world) = Aws::moto_in_world(&options).await?;
    let client = aws.client();
    let before = aws.state().await?;
    let group = json!({"GroupName": "front", "Description": "front", "VpcId": world.vpc_id});
    let group = arn(client, "CreateSecurityGroup", group, "/GroupId").await?;
    let permission = json!({"IpProtocol": "tcp", "FromPort": 1, "ToPort": 2, "UserIdGroupPairs": [{"GroupId": group}]});
    let rules = json!({"GroupId": world.node_security_group, "IpPermissions": [permission]});
    client
        .call("ec2", "AuthorizeSecurityGroupIngress", rules)
        .await?;
    let mapping =
        json!([{"SubnetId": world.public_subnets[0], "AllocationId": world.allocation_id}]);
    let balancer = json!({"Name": "front", "Type": "network", "SubnetMappings": mapping, "SecurityGroups": [group]});
    client
        .call("elbv2", "CreateLoadBalancer", balancer.clone())
        .await?;
    let target_group = json!({"Name": "tcp", "Protocol": "TCP", "Port": 80, "VpcId": world.vpc_id});
    client
        .call("elbv2", "CreateTargetGroup", target_group)
        .await?;
    world.set_load_balancer_state(client, "failed").await?;
    assert_ne!(aws.state().await?, before);
    let place = (aws.region().to_owned(), aws.account().to_owned());
    drop(aws);

    let (aws, again) = Aws::moto_in_world(&options).await?;
    assert_eq!(
        (
            aws.region().to_owned(),
            aws.account().to_owned(),
            &again.vpc_id
        ),
        (place.0, place.1, &world.vpc_id)
    );
    assert_eq!(aws.state().await?, before);
    let without_group = with(balancer, "SecurityGroups", json!([]));
    aws.client()
        .call("elbv2", "CreateLoadBalancer", without_group)
        .await?;
    let (other, elsewhere) = Aws::moto_in_world(&options).await?;
    assert_ne!(elsewhere.vpc_id, world.vpc_id, "the first is in use");
    drop(other);
    Ok(())
}
