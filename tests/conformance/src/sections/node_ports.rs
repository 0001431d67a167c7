//! Node ports switched off, on, and off again.

use anyhow::{Result, ensure};
use evenkeel_e2e::look::ingress;
use serde_json::json;

use crate::holding::Holding;
use crate::row::{Row, row};
use crate::stage::{PORT, Stage, ips, node_port};

pub(crate) const ROWS: &[Row] = &[
    row!(
        70,
        "allocation off where node ports are needed: rejected with a clear message, no cloud object",
        off
    ),
    row!(
        72,
        "then allocation on: from rejected to served, or ports allocated and the address identical",
        on_again,
        toy: super::toy_asks::pass_through_allocated
    ),
    row!(
        73,
        "allocation on to off: node ports remain, nothing changes",
        turned_off
    ),
    row!(
        74,
        "one of two node ports zeroed: that port in error, the other serves",
        one_zeroed
    ),
];

async fn off(stage: &mut Stage) -> Result<()> {
    let service = stage
        .create(
            "web",
            json!({"spec": {"allocateLoadBalancerNodePorts": false}}),
        )
        .await?;
    let told = stage.condition("web", "Serving", "False").await?;
    ensure!(
        told.message.contains("allocateLoadBalancerNodePorts: true"),
        "{told}"
    );
    let told = stage.condition("web", "Degraded", "True").await?;
    ensure!(told.reason == "NodePortRequired", "{told}");
    stage.event("web", "NodePortRequired").await?;
    let holding = stage.holding_of(&service).await?;
    ensure!(holding.is_empty(), "{holding:?}");
    Ok(())
}

async fn on_again(stage: &mut Stage) -> Result<()> {
    stage
        .create(
            "web",
            json!({"spec": {"allocateLoadBalancerNodePorts": false}}),
        )
        .await?;
    stage.condition("web", "Degraded", "True").await?;
    let patched = stage
        .patch(
            "web",
            json!({"spec": {"allocateLoadBalancerNodePorts": true}}),
        )
        .await?;
    ensure!(
        node_port(&patched, PORT).is_some_and(|port| port > 0),
        "{:?}",
        patched.spec
    );
    stage.served("web").await?;
    stage.condition("web", "Degraded", "False").await?;
    Ok(())
}

async fn turned_off(stage: &mut Stage) -> Result<()> {
    let service = stage.serve("web", json!({})).await?;
    stage.event("web", "EnsuredLoadBalancer").await?;
    stage
        .changes_nothing(
            "web",
            [json!({"spec": {"allocateLoadBalancerNodePorts": false}})],
        )
        .await?;
    let now = stage.get("web").await?;
    ensure!(
        node_port(&now, PORT) == node_port(&service, PORT) && ingress(&now) == ingress(&service),
        "{now:?}"
    );
    Ok(())
}

async fn one_zeroed(stage: &mut Stage) -> Result<()> {
    stage.pods("web", 1).await?;
    let ports = json!([{"name": "a", "port": PORT, "targetPort": "http"}, {"name": "b", "port": 8081, "targetPort": "http"}]);
    let service = stage
        .serve("web", json!({"spec": {"ports": ports}}))
        .await?;
    stage.answered(&service, PORT).await?;
    let before = stage.holding_of(&service).await?;
    stage
        .patch(
            "web",
            json!({"spec": {"allocateLoadBalancerNodePorts": false}}),
        )
        .await?;
    let ports = json!([
        {"name": "a", "port": PORT, "targetPort": "http", "nodePort": node_port(&service, PORT)},
        {"name": "b", "port": 8081, "targetPort": "http", "nodePort": 0},
    ]);
    let patched = stage
        .patch("web", json!({"spec": {"ports": ports}}))
        .await?;
    ensure!(
        node_port(&patched, 8081).unwrap_or_default() == 0,
        "{:?}",
        patched.spec
    );
    let now = stage
        .until("web", "an error on that port only", |service| {
            let ports = ingress(service)
                .pop()
                .and_then(|entry| entry.ports)
                .unwrap_or_default();
            let errors: Vec<_> = ports
                .iter()
                .filter(|port| port.error.is_some())
                .map(|port| port.port)
                .collect();
            errors == [8081]
        })
        .await?;
    ensure!(ips(&now) == ips(&service), "{:?}", ips(&now));
    let of_port = |holding: &Holding| {
        let mut served = holding.served();
        served.retain(|(port, _)| *port == format!("{PORT}/TCP"));
        served
    };
    let after = stage.holding_of(&service).await?;
    ensure!(of_port(&after) == of_port(&before), "{after:?}");
    stage.answered(&service, PORT).await
}
