//! Address families.

use std::net::IpAddr;

use anyhow::{Context as _, Result, ensure};
use evenkeel_e2e::look::{LIMIT, ingress};
use evenkeel_harness::nodes::NodesKind;
use evenkeel_harness::wait::eventually;
use k8s_openapi::api::core::v1::Service;
use serde_json::{Value, json};

use crate::row::{Row, row};
use crate::stage::{PORT, Stage, has_ipv6, ips};

const ROWS: &[Row] = &[
    row!(
        90,
        "IPv4, IPv6, both in either order: an address per family, in order",
        each_family
    ),
    row!(
        91,
        "secondary family added, removed: only that family's frontend changes",
        secondary
    ),
];

const WITHOUT_IPV6: &[Row] = &[
    row!(90, "IPv4, IPv6, both in either order: an address per family, in order", not with local: "this machine has no IPv6"),
    row!(91, "secondary family added, removed: only that family's frontend changes", not with local: "this machine has no IPv6"),
];

/// The rows that this machine can check.
pub(crate) fn rows() -> &'static [Row] {
    if has_ipv6() { ROWS } else { WITHOUT_IPV6 }
}

/// The families of the published addresses.
pub(super) fn published(service: &Service) -> Result<Vec<&'static str>> {
    let family = |ip: &String| match ip.parse() {
        Ok(IpAddr::V4(_)) => Ok("IPv4"),
        Ok(IpAddr::V6(_)) => Ok("IPv6"),
        Err(error) => Err(error).context(ip.clone()),
    };
    ips(service).iter().map(family).collect()
}

pub(super) fn families(policy: &str, families: &[&str]) -> Value {
    json!({"spec": {"ipFamilyPolicy": policy, "ipFamilies": families}})
}

async fn each_family(stage: &mut Stage) -> Result<()> {
    stage.pods("web", 2).await?;
    for (policy, asked) in [
        ("SingleStack", &["IPv4"][..]),
        ("SingleStack", &["IPv6"]),
        ("RequireDualStack", &["IPv4", "IPv6"]),
        ("RequireDualStack", &["IPv6", "IPv4"]),
    ] {
        let service = stage.serve("web", families(policy, asked)).await?;
        ensure!(
            published(&service)? == asked,
            "asked for {asked:?}, published {:?}",
            ingress(&service)
        );
        let holding = stage.holding_of(&service).await?;
        ensure!(
            holding.kind("leases").len() == asked.len()
                && holding.kind("listeners").len() == asked.len(),
            "asked for {asked:?}, holds {holding:?}"
        );
        for ip in ips(&service) {
            let to = (ip.parse::<IpAddr>()?, PORT).into();
            // Nodes of 127.0.0.0/8 have no IPv6 address to go on to.
            if stage.world.nodes()?.kind() == NodesKind::Namespaces || ip.contains('.') {
                eventually("an answer", LIMIT, || stage.world.ask(to))
                    .await
                    .with_context(|| format!("{asked:?}: {to}"))?;
            }
        }
        stage.delete("web").await?;
        stage.gone("web").await?;
    }
    Ok(())
}

async fn secondary(stage: &mut Stage) -> Result<()> {
    let service = stage
        .serve("web", families("SingleStack", &["IPv4"]))
        .await?;
    let (first, before) = (
        ips(&service),
        stage.holding_of(&service).await?.generations(),
    );
    stage
        .patch("web", families("RequireDualStack", &["IPv4", "IPv6"]))
        .await?;
    let both = stage
        .until("web", "an address of each family", |service| {
            ips(service).len() == 2
        })
        .await?;
    ensure!(
        published(&both)? == ["IPv4", "IPv6"] && ips(&both)[0] == first[0],
        "{:?}, was {first:?}",
        ips(&both)
    );
    let now = stage.holding_of(&service).await?.generations();
    ensure!(
        now.len() == 2 * before.len() && before.iter().all(|(name, of)| now.get(name) == Some(of)),
        "the first family was written: {before:?}, now {now:?}"
    );
    stage
        .patch("web", json!({"spec": {"ipFamilyPolicy": "SingleStack"}}))
        .await?;
    stage
        .held(&service, "the second family to go", |holding| {
            holding.generations().len() == before.len()
        })
        .await?;
    let one = stage
        .until("web", "the second address to go", |service| {
            ips(service).len() == 1
        })
        .await?;
    ensure!(ips(&one) == first, "{:?}, was {first:?}", ips(&one));
    stage.same(&service, &before).await
}
