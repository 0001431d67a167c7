//! Calls are written down, and broken where they shall be.

use std::time::Duration;

use anyhow::{Context as _, Result};
use evenkeel_harness::fake_azure::{At, Fault, Settings};
use serde_json::json;

use crate::scene::Scene;
use crate::{Ask, SOON};

#[tokio::test]
async fn calls_are_counted_by_kind() -> Result<()> {
    let scene = Scene::new(Settings::default()).await?;
    assert!(scene.azure.calls().all().is_empty(), "a test's own are not");
    let mark = scene.azure.calls().mark();
    scene.get("loadBalancers/lb").await?;
    scene.get("loadBalancers").await?;
    scene.get("loadBalancers/lb/probes/web").await?;
    let put = scene.put("publicIPAddresses/c", &scene.public_ip()).await?;
    scene.poll(&put).await?;
    scene.delete("publicIPAddresses/c").await?;
    let counts = scene.azure.calls().count_since(mark);
    assert_eq!(
        counts.to_string(),
        "4 reads, 2 writes: 1 DELETE publicIPAddresses, 1 GET loadBalancers, 1 GET loadBalancers/probes, 1 LIST loadBalancers, 1 POLL, 1 PUT publicIPAddresses"
    );
    let all = At::all_of(&scene.azure.calls().all());
    assert_eq!(all[4].to_string(), "call 1 of POLL");
    Ok(())
}

#[tokio::test]
async fn a_call_is_broken_in_each_way() -> Result<()> {
    let scene = Scene::new(Settings::default()).await?;
    let at = At::first("PUT publicIPAddresses");
    // What the caller sees, and whether the call has its effect.
    for (index, (fault, status, effect)) in [
        (Fault::Reset, None, false),
        (Fault::Refused(Duration::from_millis(50)), None, false),
        (Fault::ErrorBefore, Some(500), false),
        (Fault::ErrorAfter, Some(500), true),
        (Fault::ReplyLost, None, true),
        (Fault::Slow(Duration::from_millis(1)), Some(201), true),
        (Fault::Throttled { after: 17 }, Some(429), false),
        (
            Fault::answer(403, "RequestDisallowedByPolicy", "no"),
            Some(403),
            false,
        ),
        (Fault::OperationLost, Some(201), true),
        (Fault::Superseded, Some(201), false),
    ]
    .into_iter()
    .enumerate()
    {
        let path = format!("publicIPAddresses/c{index}");
        let injected = scene.azure.inject(&at, fault.clone());
        let answer = scene.put(&path, &scene.public_ip()).await.ok();
        assert_eq!(
            answer.as_ref().map(|answer| answer.status),
            status,
            "{fault:?}"
        );
        injected.check(1)?;
        let there = scene
            .azure
            .state()
            .public_ip(&format!("c{index}"))
            .is_some();
        assert_eq!(there, effect, "{fault:?}");
        match (&fault, answer) {
            (Fault::Throttled { .. }, Some(answer)) => {
                assert_eq!(answer.header("retry-after"), Some("17"));
            }
            (Fault::OperationLost, Some(answer)) => {
                assert_eq!(scene.poll(&answer).await?.status, 404);
            }
            (Fault::Superseded, Some(answer)) => {
                let poll = scene.poll(&answer).await?;
                assert_eq!(poll.body["status"], "Canceled");
            }
            (Fault::Refused(_), _) => {
                let again = async || scene.get("publicIPAddresses/a").await;
                evenkeel_harness::wait::eventually("the door", SOON, again).await?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// What failed late is repaired by the next PUT.
#[tokio::test]
async fn a_write_fails_late_and_is_repaired() -> Result<()> {
    let scene = Scene::new(Settings::default()).await?;
    let fault = Fault::FailsLate {
        code: "InternalServerError".to_owned(),
        message: "An error occurred.".to_owned(),
    };
    let injected = scene.azure.inject(&At::first("PUT loadBalancers"), fault);
    let mut other = scene.load_balancer();
    other["properties"]["loadBalancingRules"] = json!([]);
    let put = scene.put("loadBalancers/lb", &other).await?;
    assert_eq!(put.status, 200);
    let failed = scene.poll(&put).await?;
    assert_eq!(failed.body["status"], "Failed");
    assert_eq!(failed.code(), "InternalServerError");
    let state = scene.azure.state();
    let lb = state.load_balancer("lb").context("there")?;
    assert_eq!(lb.names("loadBalancingRules"), ["web"], "not in effect");
    let state = |answer: &crate::Answer| answer.body["properties"]["provisioningState"].clone();
    assert_eq!(state(&scene.get("loadBalancers/lb").await?), "Failed");
    scene.put("loadBalancers/lb", &other).await?;
    assert_eq!(state(&scene.get("loadBalancers/lb").await?), "Succeeded");
    injected.check(1)
}

/// A call that is held stands still until it is let go, and what comes beside it is seen.
#[tokio::test]
async fn a_call_is_held() -> Result<()> {
    let scene = Scene::new(Settings::default()).await?;
    let held = scene
        .azure
        .inject(&At::first("PUT loadBalancers"), Fault::HoldBefore);
    let body = scene.load_balancer();
    let beside = async {
        held.wait(SOON).await?;
        let path = scene.id("loadBalancers/lb");
        Ask::new("DELETE", &path).send(&scene.azure).await?;
        held.release();
        anyhow::Ok(())
    };
    let (put, beside) = tokio::join!(scene.put("loadBalancers/lb", &body), beside);
    beside?;
    assert_eq!(put?.status, 201, "it was gone meanwhile");
    let calls = scene.azure.calls().all();
    assert_eq!(calls[1].beside.as_deref(), Some("PUT loadBalancers"));
    Ok(())
}

#[tokio::test]
#[should_panic(expected = "Azure's description forbids")]
async fn a_forbidden_request_that_nobody_looked_at_fails_the_test() {
    let scene = Scene::new(Settings::default()).await.unwrap();
    let mut body = scene.load_balancer();
    body["etag"] = json!("x");
    let answer = scene.put("loadBalancers/lb", &body).await.unwrap();
    assert_eq!(answer.status, 400);
}
