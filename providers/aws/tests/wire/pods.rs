//! Pods as targets at the wire: what their readiness gates cost, and what AWS says about zones.

use std::sync::Arc;

use anyhow::Result;
use evenkeel_core::{
    endpoints::{Endpoint, EndpointSet, Use, Waiting},
    intent::Intent,
    ports::{PortKey, Protocol},
};
use evenkeel_harness::aws::{At, Fault};

use super::stage::{Stage, service, settled};

/// A Service whose targets are pods.
fn pods() -> Intent {
    let mut intent = service("shop", &[80]);
    let key = "service.beta.kubernetes.io/aws-load-balancer-nlb-target-type";
    intent.annotations.insert(key.into(), "ip".into());
    intent
}

/// An address beside that of a node, within the VPC.
fn address(stage: &Stage, last: u8) -> String {
    let node = &stage.world.nodes[0].private_ip;
    let (prefix, _) = node.rsplit_once('.').expect("four numbers");
    format!("{prefix}.{last}")
}

/// Endpoints at these addresses; those that wait got ready long ago.
fn endpoints(addresses: &[String], waits: bool) -> Arc<EndpointSet> {
    let one = |address: &String| Endpoint {
        address: address.parse().expect("an address"),
        port: 8080,
        use_: if waits { Use::Await } else { Use::Add },
        zone: None,
        pod: Some(format!("web-{address}").into()),
        waits: waits.then(|| Waiting {
            uid: "u1".into(),
            since: "2026-10-31T00:00:00Z".parse().expect("a time"),
        }),
    };
    let key = PortKey {
        port: 80,
        protocol: Protocol::Tcp,
    };
    let all = [(key, addresses.iter().map(one).collect())].into();
    Arc::new(EndpointSet::new([(pods().service.uid, all)].into()))
}

/// While a pod waits each run costs one read for each target group, and else none.
#[tokio::test]
async fn a_pod_that_waits_costs_one_read() -> Result<()> {
    const HEALTH: &str = "elbv2:DescribeTargetHealth";
    let mut stage = Stage::with_nodes(1).await?;
    let shop = pods();
    let addresses = [address(&stage, 200)];
    stage.endpoints = endpoints(&addresses, true);
    let (report, asked) = stage.serve(&shop).await;
    settled(&report);
    assert_eq!(asked.of_operation(HEALTH), 1, "{asked}");
    assert_eq!(report.judged.len(), 1);
    let (report, asked) = stage.serve(&shop).await;
    let all = asked.reads + asked.writes;
    assert_eq!((asked.of_operation(HEALTH), all), (1, 1), "{asked}");
    assert_eq!(report.judged[0].lacks, None, "both backends are in no time");
    assert_eq!(report.judge_again, None);
    stage.endpoints = endpoints(&addresses, false);
    let (report, asked) = stage.serve(&shop).await;
    let all = asked.reads + asked.writes;
    assert_eq!((report.judged.len(), all), (0, 0), "{asked}");
    stage.aws.check()
}

/// An address in a prefix of the VPC that has no subnet is outside, says AWS. It is believed, and that is remembered.
#[tokio::test]
async fn an_address_that_needs_a_zone() -> Result<()> {
    let mut stage = Stage::with_nodes(1).await?;
    let shop = pods();
    let [odd, even] = [address(&stage, 200), address(&stage, 201)];
    let message = format!(
        "The Availability Zone is required for IP address '{odd}' because it is not in the VPC"
    );
    let register = At::first("elbv2", "RegisterTargets");
    let injected = stage
        .aws
        .inject(&register, Fault::answer("ValidationError", &message));
    stage.endpoints = endpoints(&[odd.clone(), even.clone()], false);
    let (report, asked) = stage.serve(&shop).await;
    injected.check(1).await?;
    settled(&report);
    assert_eq!(asked.of_operation("elbv2:RegisterTargets"), 2, "{asked}");
    let total = report.published.and_then(|published| published.targets);
    assert_eq!(total.map(|targets| targets.total), Some(2));
    // AWS wants the zone again where it goes, and is told at once.
    stage.endpoints = endpoints(&[even], false);
    let (report, asked) = stage.serve(&shop).await;
    settled(&report);
    assert_eq!(asked.of_operation("elbv2:DeregisterTargets"), 1, "{asked}");
    stage.aws.check()
}
