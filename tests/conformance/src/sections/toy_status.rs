//! Create and status, where the cloud differs, lags or fails.

use std::time::Duration;

use anyhow::{Result, ensure};
use evenkeel_e2e::look::{LIMIT, ingress};
use evenkeel_harness::wait::eventually;
use evenkeel_laws::tap::Fault;
use evenkeel_laws::toys::own::ways::{Gives, Ways};
use k8s_openapi::api::core::v1::Service;
use serde_json::json;

use crate::row::{Row, row};
use crate::stage::{conditions, has_condition};
use crate::toy_stage::{ToyStage, ways, writes_of};

pub(crate) const ROWS: &[Row] = &[
    row!(19, "ip, host name, both, two ips: published as they are, in a stable order, written once", toy: published),
    row!(20, "host name in upper case: published in lower case", toy: upper_case),
    row!(22, "host name only: no ipMode", toy: host_name_only),
    row!(25, "provisioning: looked at again at a fixed delay, no Warning, no address until ready", toy: provisioning),
    row!(26, "create fails: Warning with the cause, no address, tried again after 5, 10, 20 to 300 s", toy: create_fails),
    row!(124, "100 identical failures: one event object, the latest cause visible", toy: hundred_failures),
];

/// What is published of an address: ips with modes, and host names, in order.
fn entries(service: &Service) -> Vec<(Option<String>, Option<String>, Option<String>)> {
    let entries = ingress(service).into_iter();
    entries
        .map(|entry| (entry.ip, entry.ip_mode, entry.hostname))
        .collect()
}

/// The writes of a Service's addresses so far, by who wrote what of the status: the time of the last is kept per manager.
async fn published(stage: &mut ToyStage) -> Result<()> {
    let other = "198.51.100.7";
    let ip = |ip: &str| (Some(ip.to_owned()), Some("Proxy".to_owned()), None);
    let name = |name: &str| (None, None, Some(name.to_owned()));
    let kinds = [
        (Gives::Ip, vec![ip("192.0.2.1")]),
        (
            Gives::Hostname("lb.example.com".into()),
            vec![name("lb.example.com")],
        ),
        (
            Gives::Both("lb.example.com".into()),
            vec![ip("192.0.2.1"), name("lb.example.com")],
        ),
        (
            Gives::TwoIps(other.parse()?),
            vec![ip("192.0.2.1"), ip(other)],
        ),
    ];
    for (gives, want) in kinds {
        stage.run_with(Ways {
            gives: gives.clone(),
            ..ways()
        });
        let mut writes = stage.watch_addresses("web").await?;
        stage.create("web", json!({})).await?;
        let service = stage.served("web").await?;
        ensure!(
            entries(&service) == want,
            "{gives:?}: {:?}, not {want:?}",
            entries(&service)
        );
        // The cloud is looked at anew; what it says is the same.
        stage.tap.reset();
        stage.clock.put_forward(Duration::from_secs(1000));
        stage.called(&service, 1).await?;
        stage.settle().await?;
        let seen = writes.seen(&stage.get("web").await?).await?;
        ensure!(seen.len() == 1, "{gives:?}: addresses were {seen:?}");
        stage.delete("web").await?;
        stage.gone("web").await?;
        stage.crash().await;
    }
    Ok(())
}

async fn upper_case(stage: &mut ToyStage) -> Result<()> {
    stage.run_with(Ways {
        gives: Gives::Hostname("LB-7.Example.COM".into()),
        ..ways()
    });
    let service = stage.serve("web", json!({})).await?;
    ensure!(
        entries(&service) == [(None, None, Some("lb-7.example.com".to_owned()))],
        "{:?}",
        entries(&service)
    );
    Ok(())
}

async fn host_name_only(stage: &mut ToyStage) -> Result<()> {
    stage.run_with(Ways {
        gives: Gives::Hostname("lb.example.com".into()),
        ..ways()
    });
    let service = stage.serve("web", json!({})).await?;
    ensure!(
        ingress(&service)
            .iter()
            .all(|entry| entry.ip_mode.is_none()),
        "{:?}",
        ingress(&service)
    );
    Ok(())
}

async fn provisioning(stage: &mut ToyStage) -> Result<()> {
    const SOON: Duration = Duration::from_secs(20);
    stage.configure = |config| config.workers = 1;
    stage.run_with(Ways {
        soon: SOON,
        ..ways()
    });
    stage.stop_time();
    let service = stage.create("web", json!({})).await?;
    stage
        .until("web", "the first status", |service| {
            has_condition(service, "evenkeel.dev/Provisioning", "True")
        })
        .await?;
    for look in 1..=8 {
        let before = stage.calls(&service).len();
        stage.clock.put_forward(SOON / 2);
        stage.settle().await?;
        ensure!(
            stage.calls(&service).len() == before,
            "look {look} came before its time: {:?}",
            stage.calls(&service)
        );
        stage.clock.put_forward(SOON / 2);
        stage.called(&service, before + 1).await?;
        stage.settle().await?;
        let made = stage.calls(&service).split_off(before);
        ensure!(made.len() == 1, "look {look} made {made:?}");
        let now = stage.get("web").await?;
        ensure!(ingress(&now).is_empty(), "{:?}", ingress(&now));
    }
    stage.let_time_pass();
    for wave in 0..4 {
        if !ingress(&stage.get("web").await?).is_empty() {
            break;
        }
        let before = stage.calls(&service).len();
        stage.clock.put_forward(SOON);
        stage.called(&service, before + 1).await?;
        stage.settle().await?;
        ensure!(wave < 3, "it is not served: {:?}", stage.calls(&service));
    }
    stage.served("web").await?;
    let warnings = stage.warnings("web").await?;
    ensure!(warnings.is_empty(), "{warnings:?}");
    Ok(())
}

async fn create_fails(stage: &mut ToyStage) -> Result<()> {
    stage.configure = |config| {
        config.workers = 1;
        // A look that is due anyway would be a try before its time.
        config.resync = Duration::from_secs(24 * 60 * 60);
    };
    stage.run();
    let fails = writes_of("web");
    stage
        .tap
        .fail_where(move |call| fails(call).then_some(Fault::Unreachable));
    let service = stage.create("web", json!({})).await?;
    stage.wrote(&service).await?;
    let note = stage.event("web", "SyncLoadBalancerFailed").await?;
    ensure!(note.contains("Unreachable"), "{note}");
    for seconds in [5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 300.0] {
        stage.settle().await?;
        let before = stage.writes(&service).len();
        // A fifth of the delay is left to chance; what this takes itself passes, too.
        let early = f64::max(seconds * 0.8 - 4.0, 0.0);
        stage.clock.put_forward(Duration::from_secs_f64(early));
        stage.settle().await?;
        ensure!(
            stage.writes(&service).len() == before,
            "it was tried again before {early} s of {seconds} s had passed"
        );
        let rest = seconds * 1.2 + 1.0 - early;
        stage.clock.put_forward(Duration::from_secs_f64(rest));
        eventually(format!("the try after {seconds} s"), LIMIT, || async {
            let made = stage.writes(&service).len();
            ensure!(made > before, "there were {made} writes");
            Ok(())
        })
        .await?;
    }
    let now = stage.get("web").await?;
    ensure!(
        ingress(&now).is_empty() && has_condition(&now, "evenkeel.dev/Serving", "False"),
        "{:?}",
        now.status
    );
    stage.tap.fail_none();
    stage.clock.put_forward(Duration::from_secs(400));
    stage.served("web").await?;
    Ok(())
}

async fn hundred_failures(stage: &mut ToyStage) -> Result<()> {
    stage.configure = |config| config.workers = 1;
    stage.run();
    let fails = writes_of("web");
    stage
        .tap
        .fail_where(move |call| fails(call).then_some(Fault::Unreachable));
    let service = stage.create("web", json!({})).await?;
    let failed = |number: usize| {
        let (stage, service) = (&*stage, &service);
        async move {
            eventually(format!("failure {number}"), LIMIT, || async {
                // Time passes by jumps over the longest delay; while a try still runs that does nothing.
                stage.clock.put_forward(Duration::from_secs(400));
                let made = stage.writes(service).len();
                ensure!(made >= number, "there were {made}");
                Ok(())
            })
            .await
        }
    };
    stage.wrote(&service).await?;
    stage.event("web", "SyncLoadBalancerFailed").await?;
    for number in 2..=100 {
        failed(number).await?;
    }
    stage.settle().await?;
    let failures = |events: Vec<crate::toy_stage::Told>| -> Vec<_> {
        let mut events = events;
        events.retain(|event| event.reason == "SyncLoadBalancerFailed");
        events
    };
    let events = failures(stage.events("web").await?);
    ensure!(
        events.len() == 1,
        "100 failures are {} event objects: {events:?}",
        events.len()
    );
    let fails = writes_of("web");
    stage
        .tap
        .fail_where(move |call| fails(call).then_some(Fault::Throttled));
    failed(101).await?;
    stage
        .until("web", "the latest cause", |service| {
            conditions(service).iter().any(|condition| {
                condition.type_ == "evenkeel.dev/Degraded"
                    && condition.message.contains("Throttled")
            })
        })
        .await?;
    Ok(())
}
