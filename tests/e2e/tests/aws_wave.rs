//! Nodes that go and come under many Services: which calls are made first, by the program as it is run.

use anyhow::{Context as _, Result, ensure};
use evenkeel_e2e::{aws::AwsWorld, look::LIMIT};
use evenkeel_harness::wait::eventually;
use k8s_openapi::api::core::v1::Service;
use kube::api::PostParams;
use serde_json::json;

const NAMESPACE: &str = "default";
const SERVICES: usize = 4;

/// A node that left goes from the targets of all Services before the one that takes its place comes to those of any.
#[tokio::test(flavor = "multi_thread")]
async fn removals_go_before_additions() -> Result<()> {
    // One at a time, so that the order is that of the queue; and nodes that change together are one change.
    let args = ["--workers", "1", "--node-debounce", "3s"];
    let mut world = AwsWorld::start(4, &args).await?;
    for number in 0..SERVICES {
        let service: Service = serde_json::from_value(json!({
            "metadata": {"name": format!("shop-{number}")},
            "spec": {
                "type": "LoadBalancer",
                "loadBalancerClass": "evenkeel.dev/aws",
                "ports": [{"port": 80}],
            },
        }))?;
        let services = world.world.services(NAMESPACE);
        services.create(&PostParams::default(), &service).await?;
    }
    for number in 0..SERVICES {
        let name = format!("shop-{number}");
        for (kind, status) in [("Serving", "True"), ("Provisioning", "False")] {
            let kind = format!("evenkeel.dev/{kind}");
            world
                .world
                .condition(NAMESPACE, &name, &kind, status)
                .await?;
        }
    }

    let mark = world.aws.calls().mark();
    let old = world.site.nodes.first().context("a node")?.clone();
    world.remove_node(&old).await?;
    world.add_node().await?;
    let (gone, come) = ("elbv2:DeregisterTargets", "elbv2:RegisterTargets");
    let moves = || {
        let mut writes = world.writes_since(mark);
        writes.retain(|name| name == gone || name == come);
        writes
    };
    eventually("all Services to follow", LIMIT, async || {
        let moves = moves();
        ensure!(moves.len() >= 2 * SERVICES, "{moves:?}");
        Ok(())
    })
    .await?;
    assert_eq!(moves(), [[gone; SERVICES], [come; SERVICES]].concat());
    world.stop().await
}
