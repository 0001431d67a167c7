//! Source ranges: who may connect.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Result, ensure};
use evenkeel_e2e::look::LIMIT;
use evenkeel_harness::nodes::NodesKind;
use evenkeel_harness::wait::eventually;
use k8s_openapi::api::core::v1::Service;
use serde_json::{Value, json};

use super::families::families;
use crate::holding::Holding;
use crate::row::{Row, row};
use crate::stage::{PORT, Stage, address, answers, has_ipv6, ips};

const ANNOTATION: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";

pub(crate) const ROWS: &[Row] = &[
    row!(
        52,
        "none to two /32: only those allowed, probes still pass",
        two_clients
    ),
    row!(
        53,
        "to two halves of the address space: everyone allowed",
        two_halves
    ),
    row!(
        54,
        "to 255.0.0.0/32: nobody allowed, address identical",
        nobody
    ),
    row!(
        55,
        "to none: everyone allowed, IPv6 too on dual stack",
        everyone_again
    ),
    row!(56, "field and annotation: the field only", field_wins),
    row!(
        57,
        "annotation only, spaces around commas: honoured",
        annotation_only
    ),
    row!(
        58,
        "spaces, host bits, duplicates, overlaps: normalised, no endless difference",
        normalised
    ),
    row!(
        59,
        "IPv6 range on an IPv4 Service only: IPv4 denied, Warning",
        other_family
    ),
];

fn ranges(ranges: &[&str]) -> Value {
    json!({"spec": {"loadBalancerSourceRanges": ranges}})
}

/// Waits until exactly these of three clients get an answer; where nobody can ask, until the ranges have exactly these.
async fn lets_in(stage: &Stage, service: &Service, expected: [bool; 3]) -> Result<()> {
    const CLIENTS: [Ipv4Addr; 3] = [
        Ipv4Addr::new(127, 0, 0, 11),
        Ipv4Addr::new(127, 0, 0, 12),
        Ipv4Addr::new(127, 0, 0, 13),
    ];
    eventually("exactly the allowed clients to get in", LIMIT, || async {
        let mut let_in = [false; 3];
        if stage.aws().is_some() {
            let ranges = stage.holding_of(service).await?.source_ranges()?;
            let_in = CLIENTS.map(|client| admits(ranges.as_deref(), client));
        } else {
            let to = address(service, PORT)?;
            for (client, address) in let_in.iter_mut().zip(CLIENTS) {
                *client = answers(address.into(), to).await;
            }
        }
        ensure!(
            let_in == expected,
            "let in: {let_in:?}, expected {expected:?}"
        );
        Ok(())
    })
    .await
}

/// Whether ranges have a client; None are all.
fn admits(ranges: Option<&[String]>, client: Ipv4Addr) -> bool {
    let Some(ranges) = ranges else { return true };
    ranges.iter().any(|range| {
        let Some((network, length)) = range.split_once('/') else {
            return false;
        };
        let (Ok(network), Ok(length)) = (network.parse::<Ipv4Addr>(), length.parse::<u32>()) else {
            return false;
        };
        let beyond = 32_u32.saturating_sub(length);
        let first = |address: Ipv4Addr| u32::from(address).checked_shr(beyond);
        first(network) == first(client)
    })
}

async fn open(stage: &Stage) -> Result<Service> {
    stage.pods("web", 1).await?;
    let service = stage.serve("web", json!({})).await?;
    lets_in(stage, &service, [true; 3]).await?;
    Ok(service)
}

async fn two_clients(stage: &mut Stage) -> Result<()> {
    let service = open(stage).await?;
    stage
        .patch("web", ranges(&["127.0.0.11/32", "127.0.0.12/32"]))
        .await?;
    lets_in(stage, &service, [true, true, false]).await?;
    let healthy = |holding: &Holding| {
        let set = holding
            .only("backend_sets")
            .map(|set| set["status"]["targets"].clone());
        set.is_ok_and(|targets| {
            targets.as_array().is_some_and(|all| {
                !all.is_empty() && all.iter().all(|one| one["health"] == "healthy")
            })
        })
    };
    if stage.aws().is_none() {
        stage.held(&service, "healthy targets", healthy).await?;
    }
    Ok(())
}

async fn two_halves(stage: &mut Stage) -> Result<()> {
    let service = open(stage).await?;
    stage.patch("web", ranges(&["127.0.0.11/32"])).await?;
    lets_in(stage, &service, [true, false, false]).await?;
    stage
        .patch("web", ranges(&["0.0.0.0/1", "128.0.0.0/1"]))
        .await?;
    lets_in(stage, &service, [true; 3]).await
}

async fn nobody(stage: &mut Stage) -> Result<()> {
    let service = open(stage).await?;
    stage.patch("web", ranges(&["255.0.0.0/32"])).await?;
    lets_in(stage, &service, [false; 3]).await?;
    let now = stage.served("web").await?;
    ensure!(ips(&now) == ips(&service), "{:?}", ips(&now));
    Ok(())
}

async fn everyone_again(stage: &mut Stage) -> Result<()> {
    let service = open(stage).await?;
    stage.patch("web", ranges(&["255.0.0.0/32"])).await?;
    lets_in(stage, &service, [false; 3]).await?;
    stage
        .patch("web", json!({"spec": {"loadBalancerSourceRanges": null}}))
        .await?;
    lets_in(stage, &service, [true; 3]).await?;
    if has_ipv6() && stage.aws().is_none() {
        stage.delete("web").await?;
        stage.gone("web").await?;
        everyone_again_on_both(stage).await?;
    }
    Ok(())
}

/// Both addresses are closed to all, then open to all.
async fn everyone_again_on_both(stage: &Stage) -> Result<()> {
    let service = stage
        .serve("web", families("RequireDualStack", &["IPv4", "IPv6"]))
        .await?;
    let closed = |holding: &Holding| {
        let listeners = holding.kind("listeners");
        listeners.len() == 2
            && listeners
                .iter()
                .all(|listener| !listener["spec"]["source_ranges"].is_null())
    };
    let open = |holding: &Holding| {
        let listeners = holding.kind("listeners");
        listeners.len() == 2
            && listeners
                .iter()
                .all(|listener| listener["spec"]["source_ranges"].is_null())
    };
    stage.patch("web", ranges(&["255.0.0.0/32"])).await?;
    stage
        .held(&service, "both listeners to close", closed)
        .await?;
    both_answer(stage, &service, false).await?;
    stage
        .patch("web", json!({"spec": {"loadBalancerSourceRanges": null}}))
        .await?;
    stage.held(&service, "both listeners to open", open).await?;
    both_answer(stage, &service, true).await
}

/// Waits until every address answers, or none does.
async fn both_answer(stage: &Stage, service: &Service, expected: bool) -> Result<()> {
    let nodes = stage.world.nodes()?;
    for ip in ips(service) {
        if nodes.kind() != NodesKind::Namespaces && ip.contains(':') {
            // Nodes of 127.0.0.0/8 have no IPv6 address to go on to.
            continue;
        }
        let to = (ip.parse::<IpAddr>()?, PORT).into();
        eventually("exactly the allowed clients to get in", LIMIT, || async {
            let answer = stage.world.ask(to).await;
            let answer = answer.map_err(|error| format!("{error:#}"));
            ensure!(answer.is_ok() == expected, "{to}: {answer:?}");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

async fn field_wins(stage: &mut Stage) -> Result<()> {
    let both = json!({
        "metadata": {"annotations": {ANNOTATION: "192.0.2.0/24"}},
        "spec": {"loadBalancerSourceRanges": ["198.51.100.0/24"]},
    });
    let service = stage.serve("web", both).await?;
    let set = stage.holding_of(&service).await?.source_ranges()?;
    ensure!(set == Some(vec!["198.51.100.0/24".to_owned()]), "{set:?}");
    Ok(())
}

async fn annotation_only(stage: &mut Stage) -> Result<()> {
    let listed =
        json!({"metadata": {"annotations": {ANNOTATION: "192.0.2.0/24 , 198.51.100.0/24"}}});
    let service = stage.serve("web", listed).await?;
    let set = stage.holding_of(&service).await?.source_ranges()?;
    let expected = ["192.0.2.0/24", "198.51.100.0/24"].map(str::to_owned);
    ensure!(set == Some(expected.to_vec()), "{set:?}");
    Ok(())
}

async fn normalised(stage: &mut Stage) -> Result<()> {
    let field = ranges(&["10.0.0.0/8 ", "10.0.0.0/8", "10.1.0.0/16", " 192.0.2.0/24"]);
    // Host bits are refused in the field by newer API servers, so they come by an annotation.
    let listed = " 10.0.0.1/8 ,10.0.0.0/8,10.1.0.0/16, 192.0.2.0/24";
    let annotation = json!({"metadata": {"annotations": {"evenkeel.dev/source-ranges": listed}}});
    let needed = ["10.0.0.0/8", "192.0.2.0/24"];
    let mut tidy = Vec::new();
    for (name, untidy) in [("field", field), ("annotation", annotation)] {
        let service = stage.serve(name, untidy).await?;
        let holding = stage.holding_of(&service).await?;
        let set = holding.source_ranges()?.unwrap_or_default();
        let unique: BTreeSet<_> = set.iter().map(String::as_str).collect();
        ensure!(
            unique.len() == set.len()
                && needed.iter().all(|range| unique.contains(range))
                && unique
                    .iter()
                    .all(|one| needed.contains(one) || *one == "10.1.0.0/16"),
            "{name}: {set:?}"
        );
        tidy.push((service, holding.generations()));
    }
    // Another look finds nothing to do.
    stage.world.kill_controller()?;
    stage.world.start_controller().await?;
    stage.settle().await?;
    for (service, generations) in &tidy {
        stage.same(service, generations).await?;
    }
    Ok(())
}

async fn other_family(stage: &mut Stage) -> Result<()> {
    let service = open(stage).await?;
    stage.patch("web", ranges(&["2001:db8::/32"])).await?;
    lets_in(stage, &service, [false; 3]).await?;
    eventually("a warning", LIMIT, || async {
        let events = stage.events("web").await?;
        ensure!(
            events
                .iter()
                .any(|(_, note)| note.contains("spec.loadBalancerSourceRanges")),
            "there are {events:?}"
        );
        Ok(())
    })
    .await?;
    let set = stage.holding_of(&service).await?.source_ranges()?;
    ensure!(set.is_some(), "everyone is let in");
    Ok(())
}
