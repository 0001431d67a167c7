//! A subscription with a public and an internal load balancer.

use anyhow::{Result, ensure};
use evenkeel_harness::fake_azure::{FakeAzure, LOCATION, Settings, World, WorldOptions};
use http::Method;
use serde_json::{Value, json};

use crate::{Answer, Ask};

pub(crate) struct Scene {
    pub(crate) azure: FakeAzure,
    pub(crate) world: World,
}

impl Scene {
    /// The world alone.
    pub(crate) async fn empty(settings: Settings) -> Result<Self> {
        let azure = FakeAzure::start(settings).await?;
        let world = World::build(&azure, &WorldOptions::default());
        Ok(Self { azure, world })
    }

    /// The addresses `a` and `b`, the load balancers `lb` (with `a`) and `ilb`, and a rule in `nsg1`.
    pub(crate) async fn new(settings: Settings) -> Result<Self> {
        let scene = Self::empty(settings).await?;
        for (path, body) in [
            ("publicIPAddresses/a", scene.public_ip()),
            ("publicIPAddresses/b", scene.public_ip()),
            ("loadBalancers/lb", scene.load_balancer()),
            ("loadBalancers/ilb", scene.internal()),
            ("networkSecurityGroups/nsg1", scene.security_group()),
        ] {
            scene.make(path, body).await?;
        }
        Ok(scene)
    }

    /// By the test's own door.
    pub(crate) async fn make(&self, path: &str, body: Value) -> Result<()> {
        let id = self.id(path);
        let (status, answer) = self.azure.ask(Method::PUT, &id, Some(body)).await;
        ensure!([200, 201].contains(&status), "{path}: {status} {answer}");
        Ok(())
    }

    pub(crate) fn id(&self, path: &str) -> String {
        format!(
            "/subscriptions/{}/resourceGroups/{}/providers/Microsoft.Network/{path}",
            self.azure.subscription(),
            self.world.group
        )
    }

    pub(crate) fn public_ip(&self) -> Value {
        json!({
            "location": LOCATION, "sku": {"name": "Standard"},
            "properties": {"publicIPAllocationMethod": "Static", "publicIPAddressVersion": "IPv4"},
        })
    }

    /// `lb`: one frontend, one pool by IP, one probe, one rule.
    pub(crate) fn load_balancer(&self) -> Value {
        let part = |part: &str| json!({"id": self.id(&format!("loadBalancers/lb/{part}"))});
        json!({
            "location": LOCATION, "sku": {"name": "Standard"},
            "properties": {
                "frontendIPConfigurations": [
                    {"name": "web", "properties": {"publicIPAddress": {"id": self.id("publicIPAddresses/a")}}},
                ],
                "backendAddressPools": [{
                    "name": "nodes",
                    "properties": {
                        "virtualNetwork": {"id": self.world.network},
                        "loadBalancerBackendAddresses": [
                            {"name": "n1", "properties": {"ipAddress": self.world.nodes[0]}},
                            {"name": "n2", "properties": {"ipAddress": self.world.nodes[1]}},
                        ],
                    },
                }],
                "probes": [
                    {"name": "web", "properties": {"protocol": "Tcp", "port": 31080, "intervalInSeconds": 5, "probeThreshold": 2}},
                ],
                "loadBalancingRules": [{
                    "name": "web",
                    "properties": {
                        "protocol": "Tcp", "frontendPort": 80, "backendPort": 31080,
                        "frontendIPConfiguration": part("frontendIPConfigurations/web"),
                        "backendAddressPool": part("backendAddressPools/nodes"),
                        "probe": part("probes/web"),
                    },
                }],
            },
        })
    }

    /// `ilb`: one frontend in `nodes`, nothing else.
    pub(crate) fn internal(&self) -> Value {
        json!({
            "location": LOCATION, "sku": {"name": "Standard"},
            "properties": {
                "frontendIPConfigurations": [{"name": "db", "properties": {"subnet": {"id": self.world.subnet}}}],
            },
        })
    }

    pub(crate) fn security_group(&self) -> Value {
        json!({
            "location": LOCATION,
            "properties": {"securityRules": [{
                "name": "web",
                "properties": {
                    "protocol": "Tcp", "access": "Allow", "priority": 500, "direction": "Inbound",
                    "sourceAddressPrefix": "Internet", "sourcePortRange": "*",
                    "destinationAddressPrefixes": ["10.20.0.0/20"], "destinationPortRanges": ["31080"],
                },
            }]},
        })
    }

    /// As whoever is tested asks.
    pub(crate) async fn put(&self, path: &str, body: &Value) -> Result<Answer> {
        Ask::new("PUT", &self.id(path))
            .json(body)
            .send(&self.azure)
            .await
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Answer> {
        Ask::new("GET", &self.id(path)).send(&self.azure).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Result<Answer> {
        Ask::new("DELETE", &self.id(path)).send(&self.azure).await
    }

    /// Follows what an answer names.
    pub(crate) async fn poll(&self, answer: &Answer) -> Result<Answer> {
        let operation = answer.header("azure-asyncoperation").unwrap_or_default();
        Ask::new("GET", operation).send(&self.azure).await
    }
}
