//! Writes that are accepted before they are done.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use evenkeel_azure::client::ResourcePath;
use evenkeel_core::{
    error::{CloudError, ErrorClass},
    ticket::Ticket,
};
use evenkeel_harness::fake_azure::{At, Fault, Pace, Role, Settings, Settle, Times};
use http::Method;

use super::stage::{Stage, public_ip};

const PUT: &str = "PUT publicIPAddresses";

fn slow(looks: u32) -> Settings {
    let pace = Pace::Operation(Settle::calls(looks));
    Settings {
        times: Times {
            load_balancer: pace,
            public_ip: pace,
            deletion: pace,
            ..Times::recorded()
        },
        ..Settings::default()
    }
}

async fn put(stage: &Stage) -> Result<ResourcePath, CloudError> {
    let path = stage.path("publicIPAddresses/a").expect("an id");
    let ticket = Ticket::unlimited();
    let made = stage.client.put(&path, public_ip(), None, &ticket).await?;
    assert!(made.property("ipAddress").is_some(), "{made:?}");
    Ok(path)
}

#[tokio::test]
async fn they_are_asked_after_until_they_are_over() -> Result<()> {
    let stage = Stage::new(slow(3)).await?;
    let path = put(&stage).await?;
    let counts = stage.azure.calls().count_since_start();
    assert_eq!(counts, (4, 1), "polls and reads");
    stage.client.delete(&path, &Ticket::unlimited()).await?;
    assert_eq!(stage.client.get(&path).await?, None);
    // A load balancer too, where it takes time.
    stage.put("a").await?;
    assert_eq!(stage.tag().as_deref(), Some("a"));
    Ok(())
}

/// Polls and reads of addresses so far.
trait Asked {
    fn count_since_start(&self) -> (usize, usize);
}

impl Asked for evenkeel_harness::fake_azure::CallLog {
    fn count_since_start(&self) -> (usize, usize) {
        let all = self.all();
        let of = |kind: &str| all.iter().filter(|call| call.kind == kind).count();
        (of("POLL"), of("GET publicIPAddresses"))
    }
}

#[tokio::test]
async fn no_sooner_than_azure_says() -> Result<()> {
    let settings = Settings {
        poll_after: Some(1),
        ..slow(1)
    };
    let stage = Stage::new(settings).await?;
    let began = Instant::now();
    put(&stage).await?;
    // The first poll says to come again in a second.
    assert!(began.elapsed() >= Duration::from_secs(1));
    assert_eq!(stage.azure.calls().count_since_start().0, 2);
    Ok(())
}

#[tokio::test]
async fn those_that_fail_late_say_why() -> Result<()> {
    for (code, class) in [
        ("PublicIPCountLimitReached", ErrorClass::Quota),
        ("InternalServerError", ErrorClass::Conflict),
        ("SubnetIsFull", ErrorClass::Quota),
        ("SomethingNew", ErrorClass::Transient),
    ] {
        let stage = Stage::new(slow(1)).await?;
        let fault = Fault::FailsLate {
            code: code.to_owned(),
            message: "Why it failed.".to_owned(),
        };
        let fails = stage.azure.inject(&At::first(PUT), fault);
        let error = put(&stage).await.expect_err(code);
        fails.check(1)?;
        assert_eq!((error.class, error.code.as_deref()), (class, Some(code)));
        assert!(error.message.starts_with("Why it failed"), "{error}");
        // What was left half done is mended by the same write.
        put(&stage).await?;
    }
    Ok(())
}

#[tokio::test]
async fn those_that_another_write_took_the_place_of_are_conflicts() -> Result<()> {
    let stage = Stage::new(slow(1)).await?;
    let fails = stage.azure.inject(&At::first(PUT), Fault::Superseded);
    let error = put(&stage).await.expect_err("superseded");
    fails.check(1)?;
    assert_eq!(error.class, ErrorClass::Conflict);
    let code = Some("CanceledAndSupersededDueToAnotherOperation");
    assert_eq!(error.code.as_deref(), code);
    // The same by a writer that there is.
    let stage = Stage::new(slow(50)).await?;
    let (path, body) = (stage.path("loadBalancers/lb")?, stage.load_balancer("a"));
    let polled = stage
        .azure
        .inject(&At::first("POLL"), Fault::Slow(Duration::ZERO));
    let theirs = async {
        polled.wait(super::stage::SOON).await?;
        let body = serde_json::from_str(&stage.load_balancer("theirs"))?;
        let id = path.to_string();
        Ok(stage.azure.ask(Method::PUT, &id, Some(body)).await.0)
    };
    let ticket = Ticket::unlimited();
    let (ours, theirs): (_, Result<u16>) =
        tokio::join!(stage.client.put(&path, body, None, &ticket), theirs);
    assert!(matches!(theirs?, 200 | 201));
    let error = ours.expect_err("superseded");
    assert_eq!(
        (error.class, error.code.as_deref()),
        (ErrorClass::Conflict, code)
    );
    assert!(error.message.contains("another hand"), "{error}");
    Ok(())
}

#[tokio::test]
async fn those_that_nobody_finds_are_known_by_the_resource() -> Result<()> {
    for looks in [0, 3] {
        let stage = Stage::new(slow(looks)).await?;
        let lost = stage.azure.inject(&At::first(PUT), Fault::OperationLost);
        let path = put(&stage).await?;
        lost.check(1)?;
        let kind = "DELETE publicIPAddresses";
        let lost = stage.azure.inject(&At::first(kind), Fault::OperationLost);
        stage.client.delete(&path, &Ticket::unlimited()).await?;
        lost.check(1)?;
        assert_eq!(stage.client.get(&path).await?, None);
    }
    Ok(())
}

/// A role that knows nothing of operations.
#[tokio::test]
async fn those_that_may_not_be_read_are_known_by_the_resource() -> Result<()> {
    let settings = Settings {
        polls_need_role: true,
        ..slow(2)
    };
    let stage = Stage::new(settings).await?;
    let group = format!(
        "/subscriptions/{}/resourceGroups/rg1",
        stage.azure.subscription()
    );
    let role = Role::none().with(&group, &["Microsoft.Network/publicIPAddresses/*"]);
    stage.azure.set(|settings| settings.role = Some(role));
    let path = put(&stage).await?;
    stage.client.delete(&path, &Ticket::unlimited()).await?;
    assert_eq!(stage.client.get(&path).await?, None);
    Ok(())
}

#[tokio::test]
async fn whatever_happens_to_a_poll_the_write_ends_well() -> Result<()> {
    for fault in [
        Fault::Reset,
        Fault::ErrorBefore,
        Fault::ErrorAfter,
        Fault::ReplyLost,
        Fault::Refused(Duration::from_millis(50)),
        Fault::Throttled { after: 1 },
        Fault::answer(404, "OperationNotFound", "It is not found."),
        Fault::answer(400, "SomethingNew", "It is something new."),
    ] {
        let stage = Stage::new(slow(2)).await?;
        let broken = stage.azure.inject(&At::first("POLL"), fault.clone());
        put(&stage).await.with_context(|| format!("{fault:?}"))?;
        broken.check(1)?;
    }
    Ok(())
}

#[tokio::test]
async fn those_that_never_end_are_looked_at_anew() -> Result<()> {
    let stage = Stage::with(slow(u32::MAX), |config| {
        config.write_timeout = Duration::from_millis(50);
    })
    .await?;
    let error = put(&stage).await.expect_err("it never ends");
    assert_eq!(error.class, ErrorClass::Conflict);
    assert!(error.message.contains("still changes"), "{error}");
    Ok(())
}
