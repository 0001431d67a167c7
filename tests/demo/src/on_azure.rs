//! The application on Azure, as our fake plays it. Writes: processes, a fake.

use anyhow::{Context as _, Result, ensure};
use evenkeel_e2e::World;
use evenkeel_e2e::azure::AzureWorld;
use evenkeel_harness::fake_azure::{Kind, Mark, Resource};
use k8s_openapi::api::core::v1::LoadBalancerIngress;

use crate::on_cloud::Scene;

impl Scene for AzureWorld {
    type Mark = Mark;

    const PROVIDER: &'static str = "azure";
    const CLOUD: &'static str = "Azure";
    const MADE: &'static str = "its part of a Standard Load Balancer";
    const WRONG: &'static str = "service.beta.kubernetes.io/azure-load-balancer-internal=sideways";

    fn world(&self) -> &World {
        &self.world
    }

    fn mark(&self) -> Mark {
        self.azure.calls().mark()
    }

    fn calls(&self, since: Mark) -> (usize, String) {
        let calls = self.azure.calls();
        (
            calls.since(since).len(),
            calls.count_since(since).to_string(),
        )
    }

    async fn lines(&self) -> Result<Vec<String>> {
        let state = self.azure.state();
        let public_ips = state.of(Kind::PublicIp).map(|one| {
            let address = one.goal["properties"]["ipAddress"].as_str();
            format!(
                "public IP address {} {}",
                one.name(),
                address.unwrap_or("-")
            )
        });
        let balancers = state
            .of(Kind::LoadBalancer)
            .flat_map(|one| named(one, "load balancer", &CHILDREN));
        let security_groups = state
            .of(Kind::SecurityGroup)
            .flat_map(|one| named(one, "network security group", &["securityRules"]));
        Ok(public_ips.chain(balancers).chain(security_groups).collect())
    }

    async fn published(&self, entry: &LoadBalancerIngress) -> Result<String> {
        let address = entry.ip.clone().context("no address")?;
        let state = self.azure.state();
        let mut all = state.of(Kind::PublicIp);
        ensure!(
            all.any(|one| one.goal["properties"]["ipAddress"] == *address),
            "{address} is no public IP address of Azure's"
        );
        Ok(address)
    }

    async fn targets(&self, expected: usize) -> Result<String> {
        let state = self.azure.state();
        let balancer = state.of(Kind::LoadBalancer).next();
        let pools = balancer
            .and_then(|one| one.live.as_ref())
            .context("no load balancer")?;
        let pools = pools["properties"]["backendAddressPools"].as_array();
        let members = pools.into_iter().flatten().flat_map(|pool| {
            let members = &pool["properties"]["loadBalancerBackendAddresses"];
            members.as_array().into_iter().flatten()
        });
        let members = members.count();
        ensure!(members == expected, "{members} of {expected}");
        Ok(format!("{members} addresses of nodes"))
    }

    async fn add_node(&mut self) -> Result<()> {
        self.add_node().await.map(drop)
    }

    async fn left(&self) -> Result<usize> {
        let state = self.azure.state();
        Ok(state.of(Kind::LoadBalancer).count() + state.of(Kind::PublicIp).count())
    }

    async fn stop(self) -> Result<()> {
        self.stop().await
    }
}

/// The parts of a load balancer that a Service has.
const CHILDREN: [&str; 3] = ["frontendIPConfigurations", "loadBalancingRules", "probes"];

/// A line for a resource, and one for each child of these collections.
fn named(one: &Resource, kind: &str, collections: &[&str]) -> Vec<String> {
    let mut lines = vec![format!("{kind} {}", one.name())];
    for collection in collections {
        let names = one.names(collection);
        lines.extend(names.iter().map(|name| format!("  {collection} {name}")));
    }
    lines
}
