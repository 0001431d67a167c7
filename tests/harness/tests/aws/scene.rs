//! A load balancer as the tests of the emulators need it.

use anyhow::{Context as _, Result};
use evenkeel_harness::aws::{Client, World, WorldOptions};
use serde_json::{Value, json};

/// A world with a load balancer, its target group and listener, and another target group for UDP.
pub(crate) struct Scene {
    pub(crate) world: World,
    pub(crate) load_balancer: String,
    pub(crate) group: String,
    pub(crate) udp_group: String,
    pub(crate) listener: String,
    pub(crate) security_group: String,
}

/// The value at a pointer, as text.
pub(crate) async fn arn(
    client: &Client,
    operation: &str,
    parameters: Value,
    pointer: &str,
) -> Result<String> {
    let service = if operation.contains("Security") {
        "ec2"
    } else {
        "elbv2"
    };
    let reply = client.call(service, operation, parameters).await?;
    let found = reply.pointer(pointer).and_then(Value::as_str);
    Ok(found
        .with_context(|| format!("{operation}: {reply}"))?
        .to_owned())
}

pub(crate) fn forward(group: &str) -> Value {
    json!([{"Type": "forward", "TargetGroupArn": group}])
}

impl Scene {
    pub(crate) fn create_load_balancer(&self) -> Value {
        json!({
            "Name": "front", "Type": "network", "Subnets": self.world.public_subnets, "SecurityGroups": [self.security_group],
        })
    }

    pub(crate) fn create_group(&self) -> Value {
        json!({"Name": "tcp", "Protocol": "TCP", "Port": 80, "VpcId": self.world.vpc_id})
    }

    pub(crate) fn create_listener(&self) -> Value {
        json!({
            "LoadBalancerArn": self.load_balancer, "Protocol": "TCP", "Port": 80, "DefaultActions": forward(&self.group),
        })
    }

    pub(crate) async fn build(client: &Client) -> Result<Self> {
        let world = World::build(client, &WorldOptions::default()).await?;
        let group = json!({"GroupName": "front", "Description": "front", "VpcId": world.vpc_id});
        let udp = json!({"Name": "udp", "Protocol": "UDP", "Port": 53, "VpcId": world.vpc_id});
        let mut scene = Self {
            security_group: arn(client, "CreateSecurityGroup", group, "/GroupId").await?,
            udp_group: arn(
                client,
                "CreateTargetGroup",
                udp,
                "/TargetGroups/0/TargetGroupArn",
            )
            .await?,
            load_balancer: String::new(),
            group: String::new(),
            listener: String::new(),
            world,
        };
        let parameters = scene.create_load_balancer();
        scene.load_balancer = arn(
            client,
            "CreateLoadBalancer",
            parameters,
            "/LoadBalancers/0/LoadBalancerArn",
        )
        .await?;
        let parameters = scene.create_group();
        scene.group = arn(
            client,
            "CreateTargetGroup",
            parameters,
            "/TargetGroups/0/TargetGroupArn",
        )
        .await?;
        let parameters = scene.create_listener();
        scene.listener = arn(
            client,
            "CreateListener",
            parameters,
            "/Listeners/0/ListenerArn",
        )
        .await?;
        Ok(scene)
    }
}

pub(crate) fn with(mut parameters: Value, key: &str, value: Value) -> Value {
    parameters[key] = value;
    parameters
}
