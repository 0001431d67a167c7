//! UDP, and TCP beside it on one port.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use evenkeel_e2e::look::ingress;
use k8s_openapi::api::core::v1::Service;
use serde_json::{Value, json};

use crate::holding::Holding;
use crate::row::{Row, row};
use crate::stage::{Stage, ips, node_port};

/// A port that anybody may listen on, and the next.
const DNS: u16 = 5353;

pub(crate) const ROWS: &[Row] = &[
    row!(
        36,
        "port+1 with UDP: listener moved, nodePort and address identical, old listener gone",
        udp_port_moved
    ),
    row!(
        40,
        "TCP to UDP on one port: listener replaced, ports[] updated, address kept",
        protocol_changed
    ),
    row!(
        41,
        "53/TCP and 53/UDP on one nodePort: two listeners, both with that backend",
        two_protocols
    ),
    row!(
        42,
        "the same, UDP removed, then swapped: only the removed listener goes",
        protocol_removed
    ),
];

fn ports(protocols: &[&str], number: u16, node_port: Option<i32>) -> Value {
    let port = |protocol: &&str| {
        json!({
            "name": protocol.to_lowercase(), "port": number, "protocol": protocol, "nodePort": node_port,
        })
    };
    json!({"spec": {"ports": protocols.iter().map(port).collect::<Vec<_>>()}})
}

/// The published ports, those in error left out.
fn told(service: &Service) -> BTreeSet<(i32, String)> {
    let ports = ingress(service).into_iter().flat_map(|entry| entry.ports);
    ports
        .flatten()
        .filter(|port| port.error.is_none())
        .map(|port| (port.port, port.protocol))
        .collect()
}

/// Waits until exactly these protocols are published on a port, and are what there is, all on one node port. The address is the same.
async fn serves(
    stage: &Stage,
    before: &Service,
    protocols: &[&str],
    number: u16,
    node_port: i32,
) -> Result<Holding> {
    let behind = BTreeSet::from([u64::try_from(node_port)?]);
    let protocols = || protocols.iter().copied();
    let listeners: BTreeSet<_> = protocols()
        .map(|protocol| (format!("{number}/{protocol}"), behind.clone()))
        .collect();
    let published: BTreeSet<_> = protocols()
        .map(|protocol| (i32::from(number), protocol.to_owned()))
        .collect();
    let holding = stage
        .held(before, &format!("{listeners:?}"), |holding| {
            holding.served() == listeners
        })
        .await?;
    let now = stage
        .until("web", &format!("{published:?}"), |service| {
            told(service) == published
        })
        .await?;
    ensure!(
        ips(&now) == ips(before),
        "{:?}, was {:?}",
        ips(&now),
        ips(before)
    );
    Ok(holding)
}

/// A Service with these protocols on a port, on one node port.
async fn serving(stage: &Stage, protocols: &[&str]) -> Result<(Service, i32, Holding)> {
    let service = stage.serve("web", ports(protocols, DNS, None)).await?;
    let used = node_port(&service, DNS).context("a node port")?;
    let holding = serves(stage, &service, protocols, DNS, used).await?;
    Ok((service, used, holding))
}

async fn udp_port_moved(stage: &mut Stage) -> Result<()> {
    let (service, used, _) = serving(stage, &["UDP"]).await?;
    let moved = ports(&["UDP"], DNS + 1, Some(used));
    stage.patch("web", moved).await?;
    serves(stage, &service, &["UDP"], DNS + 1, used).await?;
    Ok(())
}

async fn protocol_changed(stage: &mut Stage) -> Result<()> {
    let (service, used, _) = serving(stage, &["TCP"]).await?;
    stage.patch("web", ports(&["UDP"], DNS, Some(used))).await?;
    serves(stage, &service, &["UDP"], DNS, used).await?;
    Ok(())
}

async fn two_protocols(stage: &mut Stage) -> Result<()> {
    serving(stage, &["TCP", "UDP"]).await?;
    Ok(())
}

async fn protocol_removed(stage: &mut Stage) -> Result<()> {
    let (service, used, both) = serving(stage, &["TCP", "UDP"]).await?;
    stage.patch("web", ports(&["TCP"], DNS, Some(used))).await?;
    let one = serves(stage, &service, &["TCP"], DNS, used).await?;
    // AWS has one listener for both, which becomes another one.
    if stage.aws().is_none() {
        let (before, after) = (both.generations(), one.generations());
        let mut listeners = after
            .iter()
            .filter(|(name, _)| name.starts_with("listeners/"));
        ensure!(
            listeners.all(|(name, generation)| before.get(name) == Some(generation)),
            "it was written: {before:?}, now {after:?}"
        );
    }
    stage.patch("web", ports(&["UDP"], DNS, Some(used))).await?;
    serves(stage, &service, &["UDP"], DNS, used).await?;
    Ok(())
}
