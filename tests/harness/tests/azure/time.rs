//! What takes time, what is superseded, what reads miss, how often may be asked, and what was when.

use std::time::Duration;

use anyhow::Result;
use evenkeel_harness::fake_azure::{
    Buckets, Casing, Cause, Overlap, Pace, Phase, Settings, Settle, Times,
};
use http::Method;
use serde_json::{Value, json};

use crate::scene::Scene;
use crate::{Answer, Ask};

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn text<'a>(answer: &'a Answer, pointer: &str) -> &'a str {
    let found = answer.body.pointer(pointer).and_then(Value::as_str);
    found.unwrap_or_default()
}

const STATE: &str = "/properties/provisioningState";

/// As recorded: see `Times::recorded`.
#[tokio::test]
async fn writes_answer_as_recorded() -> Result<()> {
    let scene = Scene::empty(Settings::default()).await?;
    let made = scene.put("publicIPAddresses/a", &scene.public_ip()).await?;
    assert_eq!((made.status, text(&made, STATE)), (201, "Updating"));
    assert_eq!(made.body["properties"]["ipAddress"], Value::Null);
    assert_eq!(made.header("azure-asyncnotification"), Some("Enabled"));
    assert_eq!(made.header("etag"), None, "only a GET has it");
    assert_eq!(
        scene.poll(&made).await?.body,
        json!({"status": "Succeeded"})
    );
    let there = scene.get("publicIPAddresses/a").await?;
    assert_eq!(text(&there, "/properties/ipAddress"), "20.50.1.10");
    assert_eq!(there.header("etag"), Some(text(&there, "/etag")));
    assert!(text(&there, "/etag").starts_with("W/\""));

    let made = scene
        .put("loadBalancers/lb", &scene.load_balancer())
        .await?;
    assert_eq!((made.status, text(&made, STATE)), (201, "Succeeded"));
    assert_eq!(
        scene.poll(&made).await?.body,
        json!({"status": "Succeeded"})
    );
    for (pointer, expected) in [
        (
            "/properties/loadBalancingRules/0/properties/idleTimeoutInMinutes",
            json!(4),
        ),
        (
            "/properties/loadBalancingRules/0/properties/loadDistribution",
            json!("Default"),
        ),
        (
            "/properties/loadBalancingRules/0/properties/allowBackendPortConflict",
            json!(false),
        ),
        (
            "/properties/loadBalancingRules/0/etag",
            made.body["etag"].clone(),
        ),
        (
            "/properties/probes/0/properties/loadBalancingRules/0/id",
            json!(scene.id("loadBalancers/lb/loadBalancingRules/web")),
        ),
        (
            "/properties/frontendIPConfigurations/0/properties/loadBalancingRules/0/id",
            json!(scene.id("loadBalancers/lb/loadBalancingRules/web")),
        ),
        (
            "/properties/backendAddressPools/0/type",
            json!("Microsoft.Network/loadBalancers/backendAddressPools"),
        ),
        ("/properties/outboundRules", json!([])),
        ("/sku/tier", json!("Regional")),
    ] {
        assert_eq!(made.body.pointer(pointer), Some(&expected), "{pointer}");
    }
    let again = scene
        .put("loadBalancers/lb", &scene.load_balancer())
        .await?;
    assert_eq!((again.status, &again.body), (200, &made.body), "no change");
    assert_eq!(again.header("azure-asyncoperation"), None);

    let gone = scene.delete("loadBalancers/lb").await?;
    assert_eq!((gone.status, &gone.body), (202, &Value::Null));
    assert!(
        gone.header("location")
            .is_some_and(|at| at.contains("/operationResults/"))
    );
    assert_eq!(
        scene.poll(&gone).await?.body,
        json!({"status": "Succeeded"})
    );
    assert_eq!(scene.get("loadBalancers/lb").await?.status, 404);
    assert_eq!(scene.delete("loadBalancers/lb").await?.status, 204);
    Ok(())
}

/// A PUT is the whole: what it lacks is gone; and what it changes has another ETag, beside it too.
#[tokio::test]
async fn a_put_replaces_all_and_changes_etags() -> Result<()> {
    let scene = Scene::new(Settings::default()).await?;
    let etag = async |path: &str| -> Result<String> {
        Ok(text(&scene.get(path).await?, "/etag").to_owned())
    };
    let before = (
        etag("loadBalancers/lb").await?,
        etag("publicIPAddresses/a").await?,
        etag("publicIPAddresses/b").await?,
    );
    let mut other = scene.load_balancer();
    other["properties"]["loadBalancingRules"] = json!([]);
    other["properties"]["frontendIPConfigurations"][0]["properties"]["publicIPAddress"]["id"] =
        json!(scene.id("publicIPAddresses/b"));
    let put = Ask::new("PUT", &scene.id("loadBalancers/lb")).json(&other);
    let answer = put.header("If-Match", &before.0).send(&scene.azure).await?;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let state = scene.azure.state();
    let lb = state.load_balancer("lb").expect("there");
    assert!(lb.names("loadBalancingRules").is_empty());
    let after = (
        etag("loadBalancers/lb").await?,
        etag("publicIPAddresses/a").await?,
        etag("publicIPAddresses/b").await?,
    );
    assert!(
        before.0 != after.0 && before.1 != after.1 && before.2 != after.2,
        "{before:?} {after:?}"
    );
    let b = scene.get("publicIPAddresses/b").await?;
    assert_eq!(
        text(&b, "/properties/ipConfiguration/id"),
        scene.id("loadBalancers/lb/frontendIPConfigurations/web")
    );
    // A pool's own PUT changes the load balancer's ETag too.
    let pool = json!({"properties": {
        "virtualNetwork": {"id": scene.world.network},
        "loadBalancerBackendAddresses": [{"name": "n1", "properties": {"ipAddress": scene.world.nodes[0]}}],
    }});
    let put = scene
        .put("loadBalancers/lb/backendAddressPools/nodes", &pool)
        .await?;
    assert_eq!(put.status, 200, "{}", put.body);
    assert_ne!(etag("loadBalancers/lb").await?, after.0);
    // An IP-based pool without its list is emptied.
    let bare = json!({"properties": {"virtualNetwork": {"id": scene.world.network}}});
    scene
        .put("loadBalancers/lb/backendAddressPools/nodes", &bare)
        .await?;
    let state = scene.azure.state();
    let pool = state
        .load_balancer("lb")
        .and_then(|lb| lb.child("backendAddressPools", "nodes"));
    let list = pool.and_then(|pool| pool.pointer("/properties/loadBalancerBackendAddresses"));
    assert_eq!(list, Some(&json!([])));
    Ok(())
}

#[tokio::test]
async fn operations_take_time_and_reads() -> Result<()> {
    let scene = Scene::new(Settings::default()).await?;
    scene
        .azure
        .set(|settings| settings.times = Times::typical());
    let mut other = scene.load_balancer();
    other["tags"] = json!({"a": "b"});
    let put = scene.put("loadBalancers/lb", &other).await?;
    assert_eq!((put.status, text(&put, STATE)), (200, "Updating"));
    scene.azure.advance(seconds(3)).await;
    assert_eq!(
        scene.poll(&put).await?.body,
        json!({"status": "InProgress"})
    );
    assert_eq!(
        text(&scene.get("loadBalancers/lb").await?, STATE),
        "Updating"
    );
    scene.azure.advance(seconds(1)).await;
    assert_eq!(scene.poll(&put).await?.body, json!({"status": "Succeeded"}));

    scene.azure.set(|settings| {
        settings.times.load_balancer = Pace::Operation(Settle::calls(2));
        settings.poll_after = Some(7);
    });
    other["tags"] = json!({"a": "c"});
    let put = scene.put("loadBalancers/lb", &other).await?;
    for expected in ["InProgress", "InProgress", "Succeeded"] {
        let poll = scene.poll(&put).await?;
        assert_eq!(text(&poll, "/status"), expected);
        let after = (expected == "InProgress").then_some("7");
        assert_eq!(poll.header("retry-after"), after);
    }
    Ok(())
}

/// Two writers: the second cancels the first, and what that one would have changed is lost.
#[tokio::test]
async fn the_second_write_takes_the_place_of_the_first() -> Result<()> {
    let scene = Scene::new(Settings::default()).await?;
    scene
        .azure
        .set(|settings| settings.times = Times::typical());
    let mut tagged = scene.load_balancer();
    tagged["tags"] = json!({"a": "b"});
    let first = scene.put("loadBalancers/lb", &tagged).await?;
    let pool = json!({"properties": {
        "virtualNetwork": {"id": scene.world.network},
        "loadBalancerBackendAddresses": [{"name": "n1", "properties": {"ipAddress": scene.world.nodes[0]}}],
    }});
    let mark = scene.azure.calls().mark();
    let second = scene
        .put("loadBalancers/lb/backendAddressPools/nodes", &pool)
        .await?;
    assert_eq!(second.status, 200, "{}", second.body);
    let beside = &scene.azure.calls().since(mark)[0].beside;
    assert_eq!(beside.as_deref(), Some("PUT loadBalancers"));
    let canceled = scene.poll(&first).await?;
    assert_eq!(text(&canceled, "/status"), "Canceled");
    assert_eq!(
        canceled.code(),
        "CanceledAndSupersededDueToAnotherOperation"
    );
    assert_eq!(scene.azure.superseded().len(), 1);
    scene.azure.advance(seconds(4)).await;
    let lb = scene.get("loadBalancers/lb").await?;
    assert_eq!(lb.body["tags"], Value::Null, "lost");

    scene
        .azure
        .set(|settings| settings.overlap = Overlap::Refused);
    scene.put("loadBalancers/lb", &tagged).await?;
    let refused = scene.delete("loadBalancers/lb").await?;
    assert_eq!(
        (refused.status, refused.code()),
        (409, "AnotherOperationInProgress")
    );
    Ok(())
}

#[tokio::test]
async fn an_address_on_its_way_is_no_frontend_yet_and_one_let_go_is_held() -> Result<()> {
    let scene = Scene::empty(Settings::default()).await?;
    scene.azure.set(|settings| {
        settings.times.public_ip = Pace::Operation(Settle::after(seconds(3)));
        settings.times.release = Settle::calls(2);
    });
    scene.put("publicIPAddresses/a", &scene.public_ip()).await?;
    let early = scene
        .put("loadBalancers/lb", &scene.load_balancer())
        .await?;
    assert_eq!(
        (early.status, early.code()),
        (429, "ReferencedResourceNotProvisioned")
    );
    assert_eq!(early.header("retry-after"), None, "nothing is throttled");
    scene.azure.advance(seconds(3)).await;
    assert_eq!(
        scene
            .put("loadBalancers/lb", &scene.load_balancer())
            .await?
            .status,
        201
    );
    scene.delete("loadBalancers/lb").await?;
    for status in [400, 400, 202] {
        assert_eq!(scene.delete("publicIPAddresses/a").await?.status, status);
    }
    Ok(())
}

#[tokio::test]
async fn reads_may_be_late() -> Result<()> {
    let scene = Scene::new(Settings::default()).await?;
    scene.azure.set(|settings| settings.lag = Settle::calls(1));
    scene.put("publicIPAddresses/c", &scene.public_ip()).await?;
    for status in [404, 200] {
        assert_eq!(scene.get("publicIPAddresses/c").await?.status, status);
    }
    Ok(())
}

#[tokio::test]
async fn calls_are_limited_and_headers_say_what_is_left() -> Result<()> {
    let scene = Scene::new(Settings::default()).await?;
    let first = scene.get("loadBalancers/lb").await?;
    assert_eq!(
        first.header("x-ms-ratelimit-remaining-subscription-global-reads"),
        Some("16499")
    );
    scene
        .azure
        .set(|settings| settings.buckets = Some(Buckets::documented().times(0.01)));
    let put = async || scene.put("publicIPAddresses/a", &scene.public_ip()).await;
    for left in ["1", "0"] {
        assert_eq!(
            put()
                .await?
                .header("x-ms-ratelimit-remaining-subscription-writes"),
            Some(left)
        );
    }
    let throttled = put().await?;
    assert_eq!(
        (throttled.status, throttled.code()),
        (429, "SubscriptionRequestsThrottled")
    );
    assert_eq!(throttled.header("retry-after"), Some("10"));
    assert_eq!(
        scene.get("loadBalancers/lb").await?.status,
        200,
        "reads apart"
    );
    scene.azure.advance(seconds(10)).await;
    assert_eq!(put().await?.status, 200);
    Ok(())
}

#[tokio::test]
async fn ids_have_no_case_and_lists_have_pages() -> Result<()> {
    let scene = Scene::new(Settings::default()).await?;
    let lower = scene.id("loadBalancers/lb").to_lowercase();
    let found = Ask::new("GET", &lower).send(&scene.azure).await?;
    assert_eq!(text(&found, "/id"), scene.id("loadBalancers/lb"));
    for (casing, expected) in [
        (
            Casing::UpperGroups,
            scene.id("loadBalancers/lb").replace("/rg1/", "/RG1/"),
        ),
        (Casing::Lower, lower.clone()),
    ] {
        scene.azure.set(|settings| settings.casing = casing);
        let found = scene.get("loadBalancers/lb").await?;
        assert_eq!(text(&found, "/id"), expected);
        assert!(text(&found, "/properties/probes/0/id").starts_with(&expected));
    }
    scene.azure.set(|settings| settings.page = 1);
    let subscription = scene.azure.subscription();
    let all =
        format!("/subscriptions/{subscription}/providers/Microsoft.Network/publicIPAddresses");
    let first = Ask::new("GET", &all).send(&scene.azure).await?;
    assert_eq!(first.body["value"].as_array().map(Vec::len), Some(1));
    let next = text(&first, "/nextLink").to_owned();
    assert!(next.starts_with(&scene.azure.endpoint()), "{next}");
    let second = Ask::new("GET", &next).send(&scene.azure).await?;
    assert_eq!(second.body["value"].as_array().map(Vec::len), Some(1));
    assert_eq!(second.body["nextLink"], Value::Null);
    // By tag, over all groups.
    let path = scene.id("publicIPAddresses/b");
    let tags = json!({"tags": {"cluster": "prod eu"}});
    assert_eq!(
        scene.azure.ask(Method::PATCH, &path, Some(tags)).await.0,
        200
    );
    let filter = "$filter=tagName%20eq%20'cluster'%20and%20tagValue%20eq%20'prod%20eu'";
    let path = format!("/subscriptions/{subscription}/resources?api-version=2021-04-01&{filter}");
    let found = Ask::new("GET", &path).send(&scene.azure).await?;
    assert_eq!(
        found.body["value"].as_array().map(Vec::len),
        Some(1),
        "{}",
        found.body
    );
    assert_eq!(text(&found, "/value/0/name"), "b");
    Ok(())
}

#[tokio::test]
async fn every_moment_that_was_is_known() -> Result<()> {
    let scene = Scene::new(Settings::default()).await?;
    scene
        .azure
        .set(|settings| settings.times = Times::typical());
    let mut none = scene.load_balancer();
    none["properties"]["loadBalancingRules"] = json!([]);
    scene.put("loadBalancers/lb", &none).await?;
    scene.azure.advance(seconds(60)).await;
    scene
        .put("loadBalancers/lb", &scene.load_balancer())
        .await?;
    scene.azure.advance(seconds(60)).await;
    let history = scene.azure.history();
    let mut seen = Vec::new();
    history.walk(|moment| {
        if let Some(lb) = moment.state.load_balancer("lb") {
            let now = (
                lb.names("loadBalancingRules").len(),
                lb.phase == Phase::Updating,
            );
            if seen.last() != Some(&now) {
                seen.push(now);
            }
        }
        false
    });
    // In effect is what an operation has brought about.
    let expected = [(1, false), (1, true), (0, false), (0, true), (1, false)];
    assert_eq!(seen, expected);
    assert!(history.ever(|moment| *moment.cause == Cause::Call("PUT loadBalancers".to_owned())));
    let broken = history.always("a rule", |moment| {
        let lb = moment.state.load_balancer("lb");
        lb.is_none_or(|lb| !lb.names("loadBalancingRules").is_empty())
    });
    let broken = broken.expect_err("there was none for a while");
    assert!(broken.to_string().contains("by time"), "{broken}");
    Ok(())
}
