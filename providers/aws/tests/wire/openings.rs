//! What node groups admit beside the NodePorts, as another client than ours sees it.

use anyhow::{Context as _, Result};
use evenkeel_core::intent::Intent;
use serde_json::{Value, json};

use super::stage::{Stage, service, settled};

fn annotate(mut intent: Intent, suffix: &str, value: &str) -> Intent {
    let key = format!("service.beta.kubernetes.io/aws-load-balancer-{suffix}");
    intent.annotations.insert(key.into(), value.into());
    intent
}

/// The rules of the node group with a description, as `tcp 8081`, and from where.
async fn described(stage: &Stage) -> Result<Vec<(String, String)>> {
    let state = stage.state().await?;
    let rules = state.ingress_rules(&stage.world.node_security_group);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut found: Vec<_> = rules
        .into_iter()
        .filter(|rule| text(&rule["Description"]).starts_with("evenkeel.dev/opening of cluster"))
        .map(|rule| {
            let ports = format!("{} {}", text(&rule["IpProtocol"]), rule["FromPort"]);
            let from = match rule["CidrIpv4"].as_str() {
                Some(prefix) => prefix.to_owned(),
                None => "group".to_owned(),
            };
            (ports, from)
        })
        .collect();
    found.sort();
    Ok(found)
}

fn pairs(rules: &[(&str, &str)]) -> Vec<(String, String)> {
    let pairs = rules.iter();
    pairs
        .map(|(ports, from)| ((*ports).to_owned(), (*from).to_owned()))
        .collect()
}

/// One rule serves all that are probed at its port, and goes with the last of them; one that somebody else made stays.
#[tokio::test]
async fn a_probed_port_is_open_for_as_long_as_anybody_probes_it() -> Result<()> {
    let mut stage = Stage::with_nodes(2).await?;
    let probed = |name| annotate(service(name, &[80]), "healthcheck-port", "8081");
    let (first, second) = (
        probed("first"),
        annotate(service("second", &[443]), "healthcheck-port", "8081"),
    );
    let (report, asked) = stage.serve(&first).await;
    settled(&report);
    // The front-end group, the NodePorts, and the port itself.
    assert_eq!(
        asked.of_operation("ec2:AuthorizeSecurityGroupIngress"),
        3,
        "{asked}"
    );
    assert_eq!(described(&stage).await?, pairs(&[("tcp 8081", "group")]));
    let (report, asked) = stage.serve(&second).await;
    settled(&report);
    assert_eq!(
        asked.of_operation("ec2:AuthorizeSecurityGroupIngress"),
        1,
        "{asked}"
    );
    let by_hand = json!({"GroupId": stage.world.node_security_group, "IpPermissions": [
        {"IpProtocol": "tcp", "FromPort": 8082, "ToPort": 8082, "IpRanges": [{"CidrIp": "10.0.0.0/8"}]},
    ]});
    let client = stage.aws.client();
    client
        .call("ec2", "AuthorizeSecurityGroupIngress", by_hand)
        .await?;
    let (report, asked) = stage.release(&first).await;
    settled(&report);
    assert_eq!(
        asked.of_operation("ec2:RevokeSecurityGroupIngress"),
        0,
        "{asked}"
    );
    assert_eq!(described(&stage).await?, pairs(&[("tcp 8081", "group")]));
    // Who does not remember finds out what is whose.
    stage.restart().await?;
    let (report, _) = stage.serve(&second).await;
    settled(&report);
    assert_eq!(described(&stage).await?, pairs(&[("tcp 8081", "group")]));
    // Another port is opened before the old one is closed.
    let moved = annotate(second, "healthcheck-port", "9000");
    settled(&stage.serve(&moved).await.0);
    settled(&stage.look(&moved).await.0);
    assert_eq!(described(&stage).await?, pairs(&[("tcp 9000", "group")]));
    settled(&stage.release(&moved).await.0);
    assert_eq!(described(&stage).await?, []);
    let state = stage.state().await?;
    let left = state.ingress_rules(&stage.world.node_security_group);
    assert!(
        left.iter().any(|rule| rule["FromPort"] == 8082),
        "{left:#?}"
    );
    stage.aws.check()
}

/// Without security groups the nodes say who may connect.
#[tokio::test]
async fn a_load_balancer_without_security_groups() -> Result<()> {
    let mut stage = Stage::with_nodes(2).await?;
    let open = annotate(service("open", &[80]), "disable-nlb-sg", "true");
    let open = annotate(open, "scheme", "internet-facing");
    let (report, asked) = stage.serve(&open).await;
    settled(&report);
    assert_eq!(
        asked.of_operation("ec2:CreateSecurityGroup"),
        1,
        "the cluster's: {asked}"
    );
    let state = stage.state().await?;
    let lb = state.load_balancers().first().context("one")?;
    let groups = lb["SecurityGroups"].as_array();
    assert!(groups.is_none_or(Vec::is_empty), "{lb:#}");
    let admitted = described(&stage).await?;
    assert!(
        admitted.contains(&("tcp 30080".to_owned(), "0.0.0.0/0".to_owned())),
        "{admitted:?}"
    );
    stage.restart().await?;
    let (report, asked) = stage.serve(&open).await;
    settled(&report);
    assert_eq!(asked.writes, 0, "{asked}");
    assert_eq!(described(&stage).await?, admitted);
    settled(&stage.release(&open).await.0);
    assert_eq!(described(&stage).await?, []);
    stage.aws.check()
}
