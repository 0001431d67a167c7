//! Updates: what follows a change of the Service, and what does not.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result, ensure};
use evenkeel_e2e::look::{LIMIT, ingress};
use evenkeel_harness::wait::eventually;
use k8s_openapi::api::core::v1::Service;
use serde_json::{Value, json};

use crate::holding::Holding;
use crate::row::{Row, row};
use crate::stage::{PORT, Stage, address, ips, node_port};

pub(crate) const ROWS: &[Row] = &[
    row!(
        33,
        "NodePort Service becomes LoadBalancer: nodePort stays, backend uses it",
        from_node_port
    ),
    row!(
        34,
        "nodePort changed: backend follows, address identical",
        node_port_changed
    ),
    row!(
        35,
        "port+1: listener moved, nodePort and address identical, old listener gone",
        port_moved
    ),
    row!(
        37,
        "endpoints 1, 0, 1: no cloud write; no answer at 0, answers at 1",
        scaled
    ),
    row!(
        38,
        "second port added, first removed: add before remove, the other never interrupted",
        ports_swapped
    ),
    row!(
        39,
        "reorder, rename, targetPort, selector, labels, appProtocol: no cloud write",
        nothing_to_do
    ),
    row!(
        45,
        "SCTP added to a live load balancer: old ports serve, error on SCTP only",
        sctp
    ),
    row!(
        46,
        "affinity None, ClientIP, None: attribute follows, and so do clients of several nodes",
        super::affinity::follows
    ),
    row!(47, "affinity timeout without support: one Warning, load balancer works", super::affinity::no_timeout, not with local: "it keeps every timeout that the API server allows; row 46 checks it"),
    row!(
        48,
        "unrelated annotation changed 100 times: no cloud write, no event",
        unrelated_annotation
    ),
    row!(49, "provider annotation changed: applied once", annotation),
    row!(
        50,
        "update fails in the cloud: old configuration stays, Degraded; recovery clears it",
        failing_update,
        toy: super::toy_asks::update_fails
    ),
    row!(
        51,
        "loadBalancerIP free, taken, no IP, wrong family: used, Degraded, Rejected, Rejected",
        asked_address
    ),
];

fn one_port(port: u16, node_port: Option<i32>) -> Value {
    json!({"spec": {"ports": [{"name": "http", "port": port, "targetPort": "http", "nodePort": node_port}]}})
}

/// Another node port: from the band that the API server gives out last, so that most are free.
async fn another_node_port(stage: &Stage, name: &str, port: u16) -> Result<i32> {
    for candidate in 30_000..30_080 {
        let patched = stage.patch(name, one_port(port, Some(candidate))).await;
        match patched {
            Ok(_) => return Ok(candidate),
            Err(error) if format!("{error:#}").contains("already allocated") => {}
            Err(error) => return Err(error),
        }
    }
    anyhow::bail!("no node port is free")
}

async fn from_node_port(stage: &mut Stage) -> Result<()> {
    let spec = json!({"type": "NodePort", "loadBalancerClass": null});
    let made = stage.create("web", json!({"spec": spec})).await?;
    let allocated = node_port(&made, PORT).context("a node port")?;
    stage
        .patch(
            "web",
            json!({"spec": {"type": "LoadBalancer", "loadBalancerClass": stage.ours()}}),
        )
        .await?;
    let service = stage.served("web").await?;
    ensure!(
        node_port(&service, PORT) == Some(allocated),
        "{:?}",
        service.spec
    );
    let holding = stage.holding_of(&service).await?;
    ensure!(
        holding.target_ports() == [u64::try_from(allocated)?].into(),
        "{allocated}: {holding:?}"
    );
    Ok(())
}

async fn node_port_changed(stage: &mut Stage) -> Result<()> {
    stage.pods("web", 1).await?;
    let service = stage.serve("web", json!({})).await?;
    let published = ingress(&service);
    let port = another_node_port(stage, "web", PORT).await?;
    ensure!(node_port(&service, PORT) != Some(port), "it is the same");
    let expected = BTreeSet::from([u64::try_from(port)?]);
    stage
        .held(&service, "the backend to follow", |holding| {
            holding.target_ports() == expected
        })
        .await?;
    let now = stage.served("web").await?;
    ensure!(
        ingress(&now) == published,
        "{:?}, was {published:?}",
        ingress(&now)
    );
    // Through the new node port.
    stage.answered(&now, PORT).await
}

async fn port_moved(stage: &mut Stage) -> Result<()> {
    stage.pods("web", 1).await?;
    let service = stage.serve("web", json!({})).await?;
    let allocated = node_port(&service, PORT);
    let patched = stage.patch("web", one_port(PORT + 1, allocated)).await?;
    ensure!(
        node_port(&patched, PORT + 1) == allocated,
        "{:?}",
        patched.spec
    );
    let moved = BTreeSet::from([u64::from(PORT + 1)]);
    stage
        .held(&service, "the listener to move", |holding| {
            holding.ports() == moved
        })
        .await?;
    let now = stage
        .until("web", "the new port to be published", |service| {
            ingress(service)
                .pop()
                .and_then(|entry| entry.ports)
                .is_some_and(|ports| {
                    ports.len() == 1
                        && ports[0].port == i32::from(PORT + 1)
                        && ports[0].error.is_none()
                })
        })
        .await?;
    ensure!(
        ips(&now) == ips(&service),
        "{:?}, was {:?}",
        ips(&now),
        ips(&service)
    );
    stage.answered(&now, PORT + 1).await?;
    if stage.aws().is_none() {
        let old = address(&service, PORT)?;
        ensure!(
            tokio::net::TcpStream::connect(old).await.is_err(),
            "{old} is still open"
        );
    }
    Ok(())
}

async fn scaled(stage: &mut Stage) -> Result<()> {
    stage.pods("web", 1).await?;
    let service = stage.serve("web", json!({})).await?;
    let before = stage.holding_of(&service).await?.generations();
    let to = address(&service, PORT)?;
    eventually("an answer", LIMIT, || stage.world.ask(to)).await?;
    stage.pods("web", 0).await?;
    eventually("no answer", LIMIT, || async {
        let answer = stage.world.ask(to).await;
        ensure!(answer.is_err(), "{answer:?}");
        Ok(())
    })
    .await?;
    stage.pods("web", 1).await?;
    eventually("an answer again", LIMIT, || stage.world.ask(to)).await?;
    stage.settle().await?;
    stage.same(&service, &before).await
}

async fn ports_swapped(stage: &mut Stage) -> Result<()> {
    stage.pods("web", 1).await?;
    let port = |name: &str, port: u16| json!({"name": name, "port": port, "targetPort": "http"});
    let ports = |first: Value, second: Value| json!({"spec": {"ports": [first, second]}});
    let service = stage
        .serve("web", ports(port("kept", PORT), port("old", 8081)))
        .await?;
    stage.answered(&service, PORT).await?;
    let kept = format!("{PORT}/TCP");
    let of_kept = |holding: &Holding| {
        let mut served = holding.served();
        served.retain(|(port, _)| *port == kept);
        served
    };
    let before = of_kept(&stage.holding_of(&service).await?);
    let over = AtomicBool::new(false);
    let (uid, stage) = (service.clone(), &*stage);
    let asks = async {
        let mut answered = 0_u32;
        while !over.load(Ordering::Relaxed) && stage.aws().is_none() {
            let to = address(&service, PORT)?;
            stage
                .world
                .ask(to)
                .await
                .context("the port that stays was interrupted")?;
            answered += 1;
        }
        anyhow::Ok(answered)
    };
    let looks = async {
        while !over.load(Ordering::Relaxed) {
            let holding = stage.holding_of(&uid).await?;
            let open = holding.ports();
            ensure!(of_kept(&holding) == before, "{holding:?}");
            ensure!(
                open.contains(&8081) || open.contains(&8082),
                "the old one went before the new one came"
            );
        }
        anyhow::Ok(())
    };
    let swap = async {
        stage
            .patch("web", ports(port("kept", PORT), port("new", 8082)))
            .await?;
        let expected = BTreeSet::from([u64::from(PORT), 8082]);
        let swapped = stage
            .held(&service, "the swap", |holding| holding.ports() == expected)
            .await;
        over.store(true, Ordering::Relaxed);
        swapped
    };
    let (answered, _, _) = tokio::try_join!(asks, looks, swap)?;
    ensure!(
        answered > 0 || stage.aws().is_some(),
        "nothing was asked meanwhile"
    );
    Ok(())
}

async fn nothing_to_do(stage: &mut Stage) -> Result<()> {
    let ports = json!([{"name": "a", "port": PORT, "targetPort": "http"}, {"name": "b", "port": 8081, "targetPort": "http"}]);
    let service = stage
        .serve("web", json!({"spec": {"ports": ports}}))
        .await?;
    stage.event("web", "EnsuredLoadBalancer").await?;
    let port = |name: &str, number: u16| json!({"name": name, "port": number, "targetPort": "http", "nodePort": node_port(&service, number)});
    let with = |mut port: Value, field: &str, value: Value| {
        port[field] = value;
        port
    };
    let listed = |ports: Vec<Value>| json!({"spec": {"ports": ports}});
    let patches = [
        listed(vec![port("b", 8081), port("a", PORT)]),
        listed(vec![port("renamed", 8081), port("a", PORT)]),
        listed(vec![
            with(port("renamed", 8081), "targetPort", json!(9090)),
            port("a", PORT),
        ]),
        listed(vec![
            with(
                port("renamed", 8081),
                "appProtocol",
                json!("kubernetes.io/h2c"),
            ),
            port("a", PORT),
        ]),
        json!({"spec": {"selector": {"app": "other"}}}),
        json!({"metadata": {"labels": {"team": "shop"}}}),
    ];
    stage.changes_nothing("web", patches).await
}

async fn sctp(stage: &mut Stage) -> Result<()> {
    stage.pods("web", 1).await?;
    let service = stage.serve("web", json!({})).await?;
    stage.answered(&service, PORT).await?;
    let before = stage.holding_of(&service).await?.served();
    let ports = json!([
        {"name": "http", "port": PORT, "targetPort": "http", "nodePort": node_port(&service, PORT)},
        {"name": "sctp", "port": 9000, "protocol": "SCTP"},
    ]);
    stage
        .patch("web", json!({"spec": {"ports": ports}}))
        .await?;
    let errors = |service: &Service| -> Vec<(String, bool)> {
        let ports = ingress(service)
            .pop()
            .and_then(|entry| entry.ports)
            .unwrap_or_default();
        ports
            .into_iter()
            .map(|port| (port.protocol, port.error.is_some()))
            .collect()
    };
    let expected = [("TCP".to_owned(), false), ("SCTP".to_owned(), true)];
    let now = stage
        .until("web", "an error on SCTP only", |service| {
            errors(service) == expected
        })
        .await?;
    ensure!(ips(&now) == ips(&service), "{:?}", ips(&now));
    let after = stage.holding_of(&service).await?;
    ensure!(after.served() == before, "{after:?}");
    stage.answered(&service, PORT).await
}

async fn unrelated_annotation(stage: &mut Stage) -> Result<()> {
    stage.serve("web", json!({})).await?;
    stage.event("web", "EnsuredLoadBalancer").await?;
    let patches =
        (0..100).map(|n| json!({"metadata": {"annotations": {"example.com/n": n.to_string()}}}));
    stage.changes_nothing("web", patches).await
}

async fn annotation(stage: &mut Stage) -> Result<()> {
    let service = stage.serve("web", json!({})).await?;
    let before = stage.holding_of(&service).await?.generations();
    let writes = stage.world.metric("evenkeel_writes_total").await?;
    stage
        .patch(
            "web",
            json!({"metadata": {"annotations": {"evenkeel.dev/drain": "7"}}}),
        )
        .await?;
    let drains = |holding: &Holding| {
        holding
            .only("backend_sets")
            .is_ok_and(|set| set["spec"]["drain_seconds"] == 7)
    };
    stage
        .held(&service, "the annotation to be applied", drains)
        .await?;
    // AWS takes the tag that says whose the attribute is, the attribute, and the load balancer's mark that all of it is done.
    let (expected, kinds) = match stage.aws() {
        Some(_) => (3.0, &["backend_sets", "leases"][..]),
        None => (1.0, &["backend_sets"][..]),
    };
    eventually("the writes to be counted", LIMIT, || async {
        let made = stage.world.metric("evenkeel_writes_total").await? - writes;
        ensure!(made == expected, "{made} writes, not {expected}");
        Ok(())
    })
    .await?;
    let after = stage.holding_of(&service).await?.generations();
    let mut changed: Vec<_> = after
        .iter()
        .filter(|(name, generation)| before.get(*name) != Some(generation))
        .filter_map(|(name, _)| name.split_once('/'))
        .map(|(kind, _)| kind)
        .collect();
    changed.sort_unstable();
    ensure!(changed == kinds, "{changed:?}");
    stage.settle().await?;
    stage.same(&service, &after).await
}

async fn failing_update(stage: &mut Stage) -> Result<()> {
    let service = stage.serve("web", json!({})).await?;
    let before = stage.holding_of(&service).await?;
    stage.kill_data_plane()?;
    stage
        .patch("web", one_port(PORT + 1, node_port(&service, PORT)))
        .await?;
    stage.condition("web", "Degraded", "True").await?;
    let now = stage.get("web").await?;
    ensure!(ips(&now) == ips(&service), "{:?}", ips(&now));
    stage.world.start_data_plane().await?;
    let addresses = |holding: &Holding| -> Vec<_> {
        let leases = holding.kind("leases").iter();
        let parts = leases.map(|lease| (lease["name"].clone(), lease["status"]["address"].clone()));
        parts.collect()
    };
    let same_addresses = |holding: &Holding| addresses(holding) == addresses(&before);
    let expected = BTreeSet::from([u64::from(PORT + 1)]);
    stage
        .held(&service, "the update", |holding| {
            holding.ports() == expected && same_addresses(holding)
        })
        .await?;
    stage.condition("web", "Degraded", "False").await?;
    let now = stage.served("web").await?;
    ensure!(ips(&now) == ips(&service), "{:?}", ips(&now));
    Ok(())
}

async fn asked_address(stage: &mut Stage) -> Result<()> {
    if stage.aws().is_some() {
        return asked_elastic_ips(stage).await;
    }
    let free = stage.pool_address(200)?;
    let asked = |address: &str| json!({"spec": {"loadBalancerIP": address}});
    let service = stage.serve("free", asked(&free.to_string())).await?;
    ensure!(
        ips(&service) == [free.to_string()],
        "{:?}, asked for {free}",
        ips(&service)
    );

    let taken = stage.create("taken", asked(&free.to_string())).await?;
    let told = stage.condition("taken", "Degraded", "True").await?;
    ensure!(told.message.contains(&free.to_string()), "{told}");
    ensure!(
        ips(&stage.get("taken").await?).is_empty()
            && stage.holding_of(&taken).await?.ports().is_empty()
    );

    for (name, address) in [("text", "not-an-ip"), ("family", "fd00::1")] {
        let made = stage.create(name, asked(address)).await?;
        let told = stage.condition(name, "Degraded", "True").await?;
        ensure!(
            told.message.contains("spec.loadBalancerIP") && told.message.contains(address),
            "{told}"
        );
        ensure!(
            stage.holding_of(&made).await?.is_empty(),
            "something was made for {name}"
        );
    }
    // A live one keeps its address, whatever is asked of it by mistake.
    let before = stage.holding_of(&service).await?.generations();
    for address in [
        "not-an-ip",
        "fd00::1",
        &stage.pool_address(201)?.to_string(),
    ] {
        stage.patch("free", asked(address)).await?;
        stage
            .until("free", "the objection", |service| {
                crate::stage::conditions(service).iter().any(|one| {
                    one.type_ == "evenkeel.dev/Degraded"
                        && one.status == "True"
                        && one.message.contains(address)
                })
            })
            .await?;
        stage.same(&service, &before).await?;
    }
    Ok(())
}

/// AWS has an address in each zone: Elastic IPs, asked for by annotation.
async fn asked_elastic_ips(stage: &Stage) -> Result<()> {
    let side = stage.aws().context("AWS")?;
    let free: BTreeSet<_> = side.elastic_ips().await?.into_iter().collect();
    let names = free
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(",");
    let asked = json!({"metadata": {"annotations": {"evenkeel.dev/static-address": names}}});
    let service = stage.serve("free", asked.clone()).await?;
    let used = side.used_elastic_ips().await?;
    ensure!(used == free, "{used:?}, asked for {free:?}");

    let taken = stage.create("taken", asked).await?;
    let told = stage.condition("taken", "Degraded", "True").await?;
    ensure!(free.iter().any(|id| told.message.contains(id)), "{told}");
    ensure!(
        ips(&stage.get("taken").await?).is_empty()
            && stage.holding_of(&taken).await?.ports().is_empty()
    );

    for (name, address) in [("text", "not-an-ip"), ("family", "fd00::1")] {
        let spec = json!({"spec": {"loadBalancerIP": address}});
        let made = stage.create(name, spec).await?;
        let told = stage.condition(name, "Degraded", "True").await?;
        ensure!(
            told.message.contains("spec.loadBalancerIP") && told.message.contains(address),
            "{told}"
        );
        let holding = stage.holding_of(&made).await?;
        ensure!(holding.is_empty(), "for {name} there is {holding:?}");
    }
    // A live one keeps its addresses, whatever is asked of it by mistake.
    let before = stage.holding_of(&service).await?.generations();
    let mistake =
        json!({"metadata": {"annotations": {"evenkeel.dev/static-address": "eipalloc?"}}});
    stage.patch("free", mistake).await?;
    let told = stage.condition("free", "Degraded", "True").await?;
    ensure!(told.message.contains("eipalloc?"), "{told}");
    stage.same(&service, &before).await
}
