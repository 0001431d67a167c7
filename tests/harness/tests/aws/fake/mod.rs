//! Our own fake: what it has beyond the emulators. What both have is in `alike`.

mod held;
mod late;
mod limits;
mod strict;
mod time;

use anyhow::Result;
use evenkeel_harness::aws::{Aws, Client, World, WorldOptions};
use evenkeel_harness::fake_aws::{FakeAws, Settings};
use serde_json::{Value, json};

use crate::scene::Scene;
use crate::through_proxy;

/// A fake with something in it, and a client that comes as anybody does.
struct Stage {
    aws: Aws,
    scene: Scene,
    sdk: Client,
}

impl Stage {
    async fn new(settings: Settings) -> Result<Self> {
        let aws = Aws::fake(settings).await?;
        Ok(Self {
            scene: Scene::build(aws.client()).await?,
            sdk: through_proxy(&aws)?,
            aws,
        })
    }

    fn fake(&self) -> &FakeAws {
        self.aws.as_fake().expect("a fake")
    }

    async fn call(&self, operation: &str, parameters: Value) -> Result<Value> {
        let service = match operation.contains("Security") && operation != "SetSecurityGroups" {
            true => "ec2",
            false => "elbv2",
        };
        self.sdk.call(service, operation, parameters).await
    }

    /// The code with which a call is refused; empty where it is not.
    async fn refusal(&self, service: &str, operation: &str, parameters: Value) -> Result<String> {
        let refused = self.sdk.refusal(service, operation, parameters).await?;
        Ok(refused.unwrap_or_default())
    }

    async fn register(&self, node: usize, port: u16) -> Result<String> {
        let targets = self.targets(node, port);
        self.refusal("elbv2", "RegisterTargets", targets).await
    }

    fn targets(&self, node: usize, port: u16) -> Value {
        let id = &self.scene.world.nodes[node].instance_id;
        json!({"TargetGroupArn": self.scene.group, "Targets": [{"Id": id, "Port": port}]})
    }

    /// State and reason of each target.
    async fn health(&self) -> Result<Vec<String>> {
        let group = json!({"TargetGroupArn": self.scene.group});
        let found = self.call("DescribeTargetHealth", group).await?;
        let all = found["TargetHealthDescriptions"].as_array().cloned();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let one = |target: &Value| {
            let health = &target["TargetHealth"];
            match health["Reason"].is_null() {
                true => text(&health["State"]),
                false => format!("{} {}", text(&health["State"]), text(&health["Reason"])),
            }
        };
        Ok(all.unwrap_or_default().iter().map(one).collect())
    }
}

async fn world(aws: &Aws, nodes: usize) -> Result<World> {
    let options = WorldOptions {
        nodes,
        ..WorldOptions::default()
    };
    World::build(aws.client(), &options).await
}
