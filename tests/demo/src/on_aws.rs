//! The application on AWS, as moto plays it. Writes: processes, an emulator.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, ensure};
use evenkeel_e2e::World;
use evenkeel_e2e::aws::AwsWorld;
use evenkeel_harness::aws::{Counts, Mark, State};
use k8s_openapi::api::core::v1::LoadBalancerIngress;
use serde_json::Value;

use crate::on_cloud::Scene;

impl Scene for AwsWorld {
    type Mark = Mark;

    const PROVIDER: &'static str = "aws";
    const CLOUD: &'static str = "AWS";
    const MADE: &'static str = "a Network Load Balancer";
    const WRONG: &'static str = "service.beta.kubernetes.io/aws-load-balancer-scheme=sideways";

    fn world(&self) -> &World {
        &self.world
    }

    fn mark(&self) -> Mark {
        self.aws.calls().mark()
    }

    fn calls(&self, since: Mark) -> (usize, String) {
        let calls = self.aws.calls().since(since);
        (calls.len(), Counts::of(&calls).to_string())
    }

    async fn lines(&self) -> Result<Vec<String>> {
        Ok(what_there_is(&self.aws.state().await?))
    }

    async fn published(&self, entry: &LoadBalancerIngress) -> Result<String> {
        let state = self.aws.state().await?;
        let balancer = state.load_balancers().first().context("no load balancer")?;
        let hostname = entry.hostname.clone().context("no host name")?;
        ensure!(balancer["DNSName"] == *hostname, "another name");
        Ok(hostname)
    }

    async fn targets(&self, expected: usize) -> Result<String> {
        targets(&self.aws.state().await?, expected)
    }

    async fn add_node(&mut self) -> Result<()> {
        self.add_node().await.map(drop)
    }

    async fn left(&self) -> Result<usize> {
        let state = self.aws.state().await?;
        Ok(state.load_balancers().len() + state.target_groups().len())
    }

    async fn stop(self) -> Result<()> {
        self.stop().await
    }
}

/// How many targets the only target group has.
fn targets(state: &State, expected: usize) -> Result<String> {
    let [group] = state.target_groups() else {
        anyhow::bail!("{} target groups", state.target_groups().len());
    };
    let targets = group["Targets"].as_array().map_or(0, Vec::len);
    ensure!(targets == expected, "{targets} of {expected}");
    Ok(format!("{targets} instances"))
}

/// A line for each object, as a client that is not ours sees it.
fn what_there_is(state: &State) -> Vec<String> {
    let text = |object: &Value, fields: &[&str]| {
        fields.iter().fold(String::new(), |mut line, field| {
            let value = &object[*field];
            let _ = write!(
                line,
                " {}",
                value
                    .as_str()
                    .map_or_else(|| value.to_string(), str::to_owned)
            );
            line
        })
    };
    let mut lines = Vec::new();
    for balancer in state.load_balancers() {
        lines.push(format!(
            "load balancer{}",
            text(balancer, &["LoadBalancerName", "Type", "Scheme"])
        ));
        for listener in balancer["Listeners"].as_array().into_iter().flatten() {
            lines.push(format!("listener{}", text(listener, &["Protocol", "Port"])));
        }
    }
    for group in state.target_groups() {
        let fields = [
            "TargetGroupName",
            "TargetType",
            "Protocol",
            "HealthCheckProtocol",
            "HealthCheckPort",
        ];
        lines.push(format!("target group{}", text(group, &fields)));
    }
    for group in state.security_groups() {
        if !group["Tags"]["evenkeel.dev/cluster"].is_null() {
            lines.push(format!("security group{}", text(group, &["GroupName"])));
        }
    }
    lines
}
