//! Group commit: bursts, restarts, refused claims, other hands in between.

use std::{collections::BTreeSet, time::Duration};

use evenkeel_azure::names;
use evenkeel_core::{
    engine::{AnyProvider, Ask},
    group::Group,
    intent::{Intent, Scheme},
    limiter::Rate,
    problem::{Problem, Problems},
    shared::Gather,
    ticket::Ticket,
};
use evenkeel_harness::{
    cloud::Settle,
    fake_azure::{At, Fault, Kind, Pace, Settings},
};
use http::Method;
use serde_json::{Value, json};

use crate::stage::{Stage, annotated, foreign, internal, public, release, serve};

/// A load balancer that somebody else made, with a field that nobody describes.
async fn theirs(stage: &Stage, name: &str) {
    let id = stage.context.load_balancer_id(Scheme::InternetFacing);
    assert!(id.ends_with(name), "{id}");
    let address = stage.context.public_ip_id("rg1", "theirs");
    stage.azure.seed(
        &address,
        json!({
            "location": "westeurope", "sku": {"name": "Standard", "tier": "Regional"},
            "properties": {"publicIPAllocationMethod": "Static", "publicIPAddressVersion": "IPv4", "ipAddress": "20.50.7.7", "idleTimeoutInMinutes": 4, "ipTags": []},
        }),
    );
    let frontend = json!({"id": format!("{id}/frontendIPConfigurations/theirs")});
    let pool = json!({"id": format!("{id}/backendAddressPools/theirs")});
    let body = json!({
        "location": "westeurope", "sku": {"name": "Standard", "tier": "Regional"}, "tags": {"made-by": "somebody else"},
        "properties": {
            "frontendIPConfigurations": [{"name": "theirs", "properties": {"privateIPAllocationMethod": "Dynamic", "publicIPAddress": {"id": &*address}}}],
            "backendAddressPools": [{"name": "theirs", "properties": {}}],
            "probes": [],
            "loadBalancingRules": [{"name": "theirs", "properties": {
                "frontendIPConfiguration": frontend, "backendAddressPool": pool, "protocol": "Tcp", "frontendPort": 9, "backendPort": 9,
                "enableFloatingIP": false, "idleTimeoutInMinutes": 4, "disableOutboundSnat": true, "loadDistribution": "Default",
                "enableTcpReset": false,
            }}],
            "inboundNatRules": [], "inboundNatPools": [],
            "outboundRules": [{"name": "theirs", "properties": {
                "frontendIPConfigurations": [frontend], "backendAddressPool": pool, "protocol": "All", "idleTimeoutInMinutes": 4,
                "enableTcpReset": true, "allocatedOutboundPorts": 1000,
            }}],
        },
    });
    let (status, answer) = stage.azure.ask(Method::PUT, &id, Some(body)).await;
    assert_eq!(status, 201, "{answer}");
}

/// A cluster that shares the load balancer of somebody else, where writes take time.
async fn shared(nodes: usize) -> Stage {
    let mut stage = Stage::with(Settings::default(), nodes).await;
    stage.context.load_balancer = Some("shared-lb".into());
    theirs(&stage, "shared-lb").await;
    let slow = Settle::after(Duration::from_secs(4));
    stage
        .azure
        .set(|settings| settings.times.load_balancer = Pace::Operation(slow));
    stage
}

/// What is somebody else's, at every moment there was.
fn foreign_bytes(stage: &Stage) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    let id = stage
        .context
        .load_balancer_id(Scheme::InternetFacing)
        .to_lowercase();
    stage.azure.history().walk(|moment| {
        if let Some(found) = moment.state.resources.get(&id)
            && let Some(live) = &found.live
        {
            all.insert(foreign(live).to_string());
        }
        // Until the last one.
        false
    });
    all
}

fn never_two_in_flight(stage: &Stage) {
    assert_eq!(stage.azure.superseded(), Vec::<String>::new());
    for call in stage.azure.calls().all() {
        assert_eq!(call.beside, None, "{call}");
    }
}

#[tokio::test]
async fn in_a_burst_of_300_no_two_writes_are_in_flight_and_foreign_bytes_are_equal() {
    let mut stage = shared(3).await;
    // Addresses come in after a burst at our rate, ten times as fast as in earnest; claims are gathered five times as fast.
    stage.rates.writes = Rate {
        per_second: 80.0,
        burst: 150.0,
    };
    stage.timing.gather = Some(Gather {
        quiet: Duration::from_millis(60),
        longest: Duration::from_millis(400),
    });
    // Theirs is one of the 300 that a node may have.
    stage.context.limits.rules = 301;
    let _time = stage.azure.keep_time(20);
    let process = stage.process();
    process.engine.inventory().await.expect("an inventory");
    let mark = stage.azure.calls().mark();
    let all: Vec<_> = (1..=300).map(public).collect();
    stage
        .azure
        .set(|settings| settings.quotas.rules_per_interface = 301);
    process.settled(&stage, all.iter().map(serve)).await;
    let counts = stage.azure.calls().count_since(mark);
    assert!(counts.of_operation("PUT loadBalancers") <= 25, "{counts}");
    assert!(
        counts.of_operation("PUT networkSecurityGroups") <= 25,
        "{counts}"
    );
    assert_eq!(
        counts.of_operation("PUT publicIPAddresses"),
        300,
        "{counts}"
    );
    never_two_in_flight(&stage);
    let bytes = foreign_bytes(&stage);
    assert_eq!(bytes.len(), 1, "{bytes:#?}");

    process.settled(&stage, all.iter().map(release)).await;
    never_two_in_flight(&stage);
    assert_eq!(foreign_bytes(&stage).len(), 1);
    let live = stage
        .balancer(Scheme::InternetFacing)
        .expect("theirs stays");
    assert_eq!(
        live["properties"]["loadBalancingRules"]
            .as_array()
            .map(Vec::len),
        Some(1)
    );
    assert_eq!(stage.addresses(), 0);
}

/// The names of our rules that are live at a moment.
fn rules_of(body: &Value) -> BTreeSet<&str> {
    let rules = body["properties"]["loadBalancingRules"].as_array();
    let names = rules.into_iter().flatten();
    names.filter_map(|rule| rule["name"].as_str()).collect()
}

#[tokio::test]
async fn after_a_restart_half_compiled_with_one_rejected_no_write_lacks_a_live_rule() {
    let stage = Stage::new().await;
    let all: Vec<_> = (1..=40).map(internal).collect();
    stage.process().settled(&stage, all.iter().map(serve)).await;
    let before = stage.balancer(Scheme::Internal).expect("it is there");
    let live: BTreeSet<&str> = rules_of(&before);
    assert_eq!(live.len(), 40);

    // A new process: half of the Services are not compiled yet, one is rejected, others changed meanwhile, and some are new.
    for inventory in [false, true] {
        let process = stage.process();
        if inventory {
            process.engine.inventory().await.expect("an inventory");
        }
        let mark = stage.azure.calls().mark();
        let broken = annotated(all[0].clone(), "load-balancer-tcp-idle-timeout", "soon");
        let mut asks = vec![serve(&broken)];
        let idle = if inventory { "11" } else { "12" };
        let changed = |one: &Intent| annotated(one.clone(), "load-balancer-tcp-idle-timeout", idle);
        asks.extend(all[1..20].iter().map(changed).map(|one| serve(&one)));
        let from = if inventory { 61 } else { 51 };
        asks.extend((from..from + 5).map(internal).map(|one| serve(&one)));
        let unread = Group::key_of(&all[20]);
        let problem = Problem::new(
            "spec.ports",
            "",
            "cannot be read",
            "Write it as the API documents it.",
        );
        asks.push((unread, Ask::Keep(Problems::from(problem))));
        let reports = process.settle(&stage, asks).await;
        let rejected = &reports[&Group::key_of(&broken)];
        assert!(rejected.problems.is_some(), "{rejected:#?}");

        let writes: Vec<_> = stage.azure.calls().since(mark);
        let puts = writes
            .iter()
            .filter(|call| call.kind == "PUT loadBalancers");
        let mut count = 0;
        for put in puts {
            count += 1;
            let body = put.body.as_ref().expect("a body");
            let there = rules_of(body);
            assert!(
                there.is_superset(&live),
                "{:?} lack in {put}",
                live.difference(&there)
            );
        }
        assert!(count > 0, "nothing was written");
    }
}

#[tokio::test]
async fn one_poisoned_claim_in_40_stops_nobody() {
    let stage = Stage::new().await;
    let process = stage.process();
    process.engine.inventory().await.expect("an inventory");
    let mut all: Vec<_> = (1..=40).map(internal).collect();
    // A node has that address.
    all[7] = annotated(all[7].clone(), "load-balancer-ipv4", &stage.place.nodes[0]);
    let mark = stage.azure.calls().mark();
    let reports = process.settle(&stage, all.iter().map(serve)).await;
    for (number, service) in all.iter().enumerate() {
        let report = &reports[&Group::key_of(service)];
        assert_eq!(report.settled(), number != 7, "{number}: {report:#?}");
        let rules = stage.rules_of(Scheme::Internal, service);
        assert_eq!(rules.len(), usize::from(number != 7), "{number}");
    }
    let puts = stage.azure.calls().since(mark);
    let puts = puts.iter().filter(|call| call.kind == "PUT loadBalancers");
    let good = puts
        .clone()
        .filter(|call| call.status.is_some_and(|status| status < 300));
    assert!(good.count() <= 4, "{}", stage.azure.calls());
    let refused = &reports[&Group::key_of(&all[7])];
    let told = refused.failures.first().map(|failure| &*failure.message);
    assert!(
        told.is_some_and(|told| told.contains("10.20.0.4")),
        "{refused:#?}"
    );
}

#[tokio::test]
async fn another_hand_between_read_and_write_loses_nothing() {
    let stage = shared(2).await;
    let _time = stage.azure.keep_time(20);
    let process = stage.process();
    process.settled(&stage, [serve(&public(1))]).await;
    // The cloud's own controller adds a rule of its own; we know of nothing.
    let id = stage.context.load_balancer_id(Scheme::InternetFacing);
    let (_, mut body) = stage.azure.ask(Method::GET, &id, None).await;
    let rules = body["properties"]["loadBalancingRules"]
        .as_array_mut()
        .expect("rules");
    let mut rule = rules[0].clone();
    rule["name"] = json!("a0123-TCP-90");
    rule["id"] = json!(format!("{id}/loadBalancingRules/a0123-TCP-90"));
    // What Azure sends of a rule and its description does not know.
    let properties = rule["properties"].as_object_mut().expect("an object");
    properties.retain(|name, _| {
        ![
            "allowBackendPortConflict",
            "enableDestinationServiceEndpoint",
        ]
        .contains(&&**name)
    });
    rule["properties"]["frontendPort"] = json!(90);
    rule["properties"]["backendPort"] = json!(90);
    rules.push(rule);
    let (status, answer) = stage.azure.ask(Method::PUT, &id, Some(body)).await;
    assert!(status < 300, "{answer}");
    tokio::time::timeout(Duration::from_secs(20), async {
        while !rules_of(&stage.balancer(Scheme::InternetFacing).unwrap_or_default())
            .contains("a0123-TCP-90")
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("their rule is there");

    let mark = stage.azure.calls().mark();
    process.settled(&stage, [serve(&public(2))]).await;
    let calls = stage.azure.calls().since(mark);
    assert!(
        calls.iter().any(|call| call.status == Some(412)),
        "nobody met: {}",
        stage.azure.calls()
    );
    let live = stage.balancer(Scheme::InternetFacing).expect("it is there");
    let names = rules_of(&live);
    assert!(
        names.contains("a0123-TCP-90") && names.contains("theirs") && names.len() == 4,
        "{names:?}"
    );
}

#[tokio::test]
async fn a_leader_that_is_lost_in_the_middle_of_a_write_loses_nothing() {
    for fault in [Fault::HoldBefore, Fault::HoldAfter] {
        let stage = Stage::new().await;
        let first = stage.process();
        first.settled(&stage, [serve(&internal(1))]).await;
        let held = stage
            .azure
            .inject(&At::first("PUT loadBalancers"), fault.clone());
        let request = first.run(&stage, &serve(&internal(2))).await;
        assert!(!request.waits.is_empty(), "{request:#?}");
        held.wait(Duration::from_secs(20))
            .await
            .expect("it is held");
        // The next one reads what is there, changes everything, and the late write of the first arrives then.
        let second = stage.process();
        let asks = [internal(2), internal(3)].map(|one| serve(&one));
        second.settled(&stage, asks).await;
        held.release();
        drop(first);
        let third = stage.process();
        let asks = [internal(1), internal(2), internal(3)].map(|one| serve(&one));
        third.settled(&stage, asks).await;
        for number in 1..=3 {
            let rules = stage.rules_of(Scheme::Internal, &internal(number));
            assert_eq!(
                rules.len(),
                1,
                "{number} after {fault:?}: {}",
                stage.azure.calls()
            );
        }
        let never = stage
            .azure
            .history()
            .never("a rule of the first is missing", |moment| {
                let lb = moment.state.of(Kind::LoadBalancer).next();
                let group = names::group(&stage.context.cluster, &Group::key_of(&internal(1)));
                let has =
                    |live: &Value| rules_of(live).iter().any(|name| names::is_of(name, &group));
                lb.and_then(|lb| lb.live.as_ref())
                    .is_some_and(|live| !has(live))
            });
        never.expect("it never was");
    }
}

#[tokio::test]
async fn without_the_right_to_write_nothing_is_written() {
    let stage = Stage::new().await;
    let mut process = stage.process();
    process.ticket = Ticket::until(std::time::Instant::now(), Default::default());
    let report = process.settle(&stage, [serve(&internal(1))]).await;
    assert!(report.values().all(|report| !report.settled()));
    let counts = stage.azure.calls().count_since(stage.azure.calls().mark());
    assert_eq!(counts.writes, 0);
    assert_eq!(stage.balancer(Scheme::Internal), None);
}
