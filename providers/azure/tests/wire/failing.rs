//! Calls that fail: what is known of their fate, and what is said of it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use evenkeel_azure::client::{Client, ResourcePath};
use evenkeel_core::{
    error::{ErrorClass, ProviderFault},
    ticket::Ticket,
};
use evenkeel_harness::fake_azure::{At, Fault, Role, Settings};

use super::stage::{Stage, config, public_ip};

const PUT: &str = "PUT loadBalancers";

#[tokio::test]
async fn a_write_whose_fate_is_unknown_is_a_conflict() -> Result<()> {
    for (fault, there) in [
        (Fault::Reset, false),
        (Fault::ErrorBefore, false),
        (Fault::ErrorAfter, true),
        (Fault::ReplyLost, true),
        (Fault::Slow(Duration::from_secs(30)), true),
        (Fault::HoldBefore, false),
    ] {
        let mut stage = Stage::with(Settings::default(), |config| {
            config.call_timeout = Duration::from_secs(2);
        })
        .await?;
        let broken = stage.azure.inject(&At::first(PUT), fault.clone());
        let error = stage.put("a").await.expect_err("it is broken");
        let error = error.downcast::<evenkeel_core::error::CloudError>()?;
        broken.check(1)?;
        assert_eq!(error.class, ErrorClass::Conflict, "{fault:?}: {error}");
        assert_eq!(error.of_provider, None, "{fault:?}: {error}");
        // Made once, whatever happened.
        let counts = stage.azure.calls().all();
        assert_eq!(counts.iter().filter(|call| call.kind == PUT).count(), 1);
        assert_eq!(stage.tag().is_some(), there, "{fault:?}");
        // And the next one goes well, however long it takes.
        stage.client = Client::new(config(&stage.azure))?;
        stage.put("b").await?;
        assert_eq!(stage.tag().as_deref(), Some("b"));
    }
    Ok(())
}

#[tokio::test]
async fn a_read_that_fails_is_tried_again_by_the_loop_above() -> Result<()> {
    for fault in [
        Fault::Reset,
        Fault::ErrorBefore,
        Fault::ReplyLost,
        Fault::Slow(Duration::from_secs(30)),
    ] {
        let stage = Stage::with(Settings::default(), |config| {
            config.call_timeout = Duration::from_secs(2);
        })
        .await?;
        let path = stage.path("loadBalancers/lb")?;
        let broken = stage
            .azure
            .inject(&At::first("GET loadBalancers"), fault.clone());
        let error = stage.client.get(&path).await.expect_err("it is broken");
        broken.check(1)?;
        assert_eq!(error.class, ErrorClass::Transient, "{fault:?}: {error}");
        assert_eq!(stage.client.get(&path).await?, None);
    }
    Ok(())
}

#[tokio::test]
async fn where_nobody_answers_nothing_was_sent() -> Result<()> {
    let stage = Stage::new(Settings::default()).await?;
    let path = stage.path("loadBalancers/lb")?;
    stage.client.get(&path).await?;
    // Nobody listens from this call on.
    let refused = Fault::Refused(super::stage::SOON);
    let refused = stage.azure.inject(&At::first("GET loadBalancers"), refused);
    stage.client.get(&path).await.expect_err("it is cut");
    refused.check(1)?;
    let error = stage.put("a").await.expect_err("nobody listens");
    let error = error.downcast::<evenkeel_core::error::CloudError>()?;
    assert_eq!(error.class, ErrorClass::Transient, "{error}");
    assert_eq!(error.of_provider, Some(ProviderFault::Unreachable));
    Ok(())
}

#[tokio::test]
async fn throttled_writes_wait_and_reads_go_on() -> Result<()> {
    let stage = Stage::new(Settings::default()).await?;
    let throttled = stage
        .azure
        .inject(&At::first(PUT), Fault::Throttled { after: 3 });
    let began = Instant::now();
    let error = stage.put("a").await.expect_err("throttled");
    throttled.check(1)?;
    let error = error.downcast::<evenkeel_core::error::CloudError>()?;
    let after = Some(Duration::from_secs(3));
    assert_eq!(error.class, ErrorClass::Throttled { after });
    let path = stage.path("loadBalancers/lb")?;
    let reads = async {
        assert_eq!(stage.client.get(&path).await?, None);
        let calls = stage.azure.calls().all();
        // The read went before the write that waits.
        assert_eq!(calls.iter().filter(|call| call.kind == PUT).count(), 1);
        anyhow::Ok(())
    };
    let (reads, put) = tokio::join!(reads, stage.put("b"));
    reads?;
    put?;
    assert!(began.elapsed() >= Duration::from_secs(3));
    Ok(())
}

/// It comes as 429 too, and is no throttling: <https://github.com/Azure/azure-rest-api-specs> and others who met it.
#[tokio::test]
async fn an_error_that_passes_holds_nobody_back() -> Result<()> {
    let stage = Stage::new(Settings::default()).await?;
    let id = stage.id("publicIPAddresses/a");
    let fault = Fault::Answer {
        status: 429,
        code: "RetryableError".to_owned(),
        message: "A retryable error occurred.".to_owned(),
        details: vec![(
            "ReferencedResourceNotProvisioned".to_owned(),
            format!(
                "Cannot proceed with operation because resource {id} is not in Succeeded state."
            ),
        )],
    };
    let broken = stage.azure.inject(&At::first(PUT), fault);
    let error = stage.put("a").await.expect_err("not provisioned");
    broken.check(1)?;
    let error = error.downcast::<evenkeel_core::error::CloudError>()?;
    assert_eq!(error.class, ErrorClass::Transient);
    assert_eq!(
        error.code.as_deref(),
        Some("ReferencedResourceNotProvisioned")
    );
    assert!(error.message.contains(&id), "{error}");
    stage.put("b").await?;
    Ok(())
}

#[tokio::test]
async fn a_missing_right_and_a_locked_group_are_named() -> Result<()> {
    let stage = Stage::new(Settings::default()).await?;
    let group = format!(
        "/subscriptions/{}/resourceGroups/rg1",
        stage.azure.subscription()
    );
    let all = Role::none().with(&group, &["Microsoft.Network/*"]);
    let write = "Microsoft.Network/publicIPAddresses/write";
    let (path, ticket) = (stage.path("publicIPAddresses/a")?, Ticket::unlimited());
    let role = Role::none().with(&group, &["Microsoft.Network/publicIPAddresses/read"]);
    for (role, expected) in [
        (role, "give the controller's identity a role"),
        (
            all.denied_by(&group, "AKS lock"),
            "locked node resource group of AKS Automatic",
        ),
    ] {
        stage.azure.set(|settings| settings.role = Some(role));
        let put = stage.client.put(&path, public_ip(), None, &ticket);
        let error = put.await.expect_err("denied");
        assert_eq!(error.class, ErrorClass::Denied);
        assert_eq!(error.of_provider, None);
        assert!(error.message.contains(write), "{error}");
        assert!(error.message.contains(expected), "{error}");
        assert!(error.request_id.is_some(), "{error}");
        assert_eq!(stage.client.get(&path).await?, None, "reading is allowed");
    }
    stage
        .azure
        .set(|settings| settings.role = Some(Role::none()));
    let error = stage.client.get(&path).await.expect_err("denied");
    assert_eq!(error.of_provider, Some(ProviderFault::PermissionDenied));
    Ok(())
}

#[tokio::test]
async fn what_is_no_call_of_ours_is_not_made() -> Result<()> {
    let stage = Stage::new(Settings::default()).await?;
    let ticket = Ticket::unlimited();
    let network = ResourcePath::parse(&stage.world.network).context("an id")?;
    let put = stage
        .client
        .put(&network, "{}".to_owned(), None, &ticket)
        .await;
    assert_eq!(put.expect_err("none of ours").class, ErrorClass::Rejected);
    let all = stage.path("loadBalancers")?;
    stage
        .client
        .delete(&all, &ticket)
        .await
        .expect_err("a collection");
    stage.client.get(&all).await.expect_err("a collection");
    let one = stage.path("loadBalancers/lb")?;
    stage.client.list(&one).await.expect_err("no collection");
    assert!(stage.azure.calls().all().is_empty());
    Ok(())
}
