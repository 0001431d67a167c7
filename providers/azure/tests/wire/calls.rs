//! Reads and writes that go well, and what every call has.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use evenkeel_azure::client::ResourcePath;
use evenkeel_core::{
    error::ErrorClass,
    ticket::{Term, Ticket},
};
use evenkeel_harness::fake_azure::{At, Casing, Fault, Pace, Settings, Settle, Times};

use super::stage::{Stage, public_ip};

#[tokio::test]
async fn what_is_not_there_is_none() -> Result<()> {
    let stage = Stage::new(Settings::default()).await?;
    let nothing = stage.path("loadBalancers/lb")?;
    assert_eq!(stage.client.get(&nothing).await?, None);
    let nowhere = stage.id("loadBalancers/lb").replace("rg1", "no-such");
    let nowhere = ResourcePath::parse(&nowhere).context("an id")?;
    assert_eq!(stage.client.get(&nowhere).await?, None);
    let subscription = stage.azure.subscription();
    let all = ResourcePath::collection(&subscription, Some("no-such"), "publicIPAddresses");
    let all = stage.client.list(&all.context("a path")?).await?;
    assert!(all.is_empty());
    stage.client.delete(&nothing, &Ticket::unlimited()).await?;
    stage.client.delete(&nowhere, &Ticket::unlimited()).await?;
    let foreign = stage
        .id("loadBalancers/lb")
        .replace(&subscription, "00000000-no");
    let foreign = ResourcePath::parse(&foreign).context("an id")?;
    let error = stage
        .client
        .get(&foreign)
        .await
        .expect_err("another subscription");
    assert_eq!(error.code.as_deref(), Some("SubscriptionNotFound"));
    Ok(())
}

#[tokio::test]
async fn a_write_is_of_what_was_read() -> Result<()> {
    let stage = Stage::new(Settings::default()).await?;
    let first = stage.put("a").await?;
    let path = stage.path("loadBalancers/lb")?;
    let read = stage.client.get(&path).await?.context("it is there")?;
    assert_eq!(read.etag().as_deref(), Some(&*first));
    assert_eq!(read.list("frontendIPConfigurations").len(), 1);
    let ticket = Ticket::unlimited();
    let mark = stage.azure.calls().mark();
    let body = stage.load_balancer("b");
    let second = stage.client.put(&path, body, Some(&first), &ticket).await?;
    let calls = stage.azure.calls().since(mark);
    // The first answer says that it is done: nothing else is asked.
    assert_eq!(calls.len(), 1, "{calls:?}");
    assert_eq!(calls[0].if_match.as_deref(), Some(&*first));
    assert_eq!(stage.tag().as_deref(), Some("b"));
    assert_ne!(second.etag().as_deref(), Some(&*first));
    let body = stage.load_balancer("c");
    let error = stage.client.put(&path, body, Some(&first), &ticket).await;
    let error = error.expect_err("it is another by now");
    assert_eq!(error.class, ErrorClass::Conflict);
    assert_eq!(
        error.code.as_deref(),
        Some("PreconditionFailedEtagMismatch")
    );
    assert_eq!(stage.tag().as_deref(), Some("b"));
    Ok(())
}

#[tokio::test]
async fn a_public_address_is_there_with_its_address_and_then_gone() -> Result<()> {
    let stage = Stage::new(Settings::default()).await?;
    let (path, ticket) = (stage.path("publicIPAddresses/a")?, Ticket::unlimited());
    let mark = stage.azure.calls().mark();
    let made = stage.client.put(&path, public_ip(), None, &ticket).await?;
    ensure!(made.property("ipAddress").is_some(), "{made:?}");
    let counts = stage.azure.calls().count_since(mark);
    for (kind, expected) in [
        ("PUT publicIPAddresses", 1),
        ("POLL", 1),
        ("GET publicIPAddresses", 1),
    ] {
        assert_eq!(counts.of_operation(kind), expected, "{counts}");
    }
    let mark = stage.azure.calls().mark();
    stage.client.delete(&path, &ticket).await?;
    assert_eq!(stage.client.get(&path).await?, None);
    let counts = stage.azure.calls().count_since(mark);
    assert_eq!(
        (
            counts.of_operation("DELETE publicIPAddresses"),
            counts.of_operation("POLL")
        ),
        (1, 1)
    );
    Ok(())
}

#[tokio::test]
async fn collections_are_read_to_their_last_page() -> Result<()> {
    let settings = Settings {
        page: 2,
        casing: Casing::UpperGroups,
        ..Settings::default()
    };
    let stage = Stage::new(settings).await?;
    let ticket = Ticket::unlimited();
    for name in ["a", "b", "c", "d", "e"] {
        let path = stage.path(&format!("publicIPAddresses/{name}"))?;
        stage.client.put(&path, public_ip(), None, &ticket).await?;
    }
    let subscription = stage.azure.subscription();
    for group in [Some("RG1"), None] {
        let mark = stage.azure.calls().mark();
        let path = ResourcePath::collection(&subscription, group, "publicIPAddresses");
        let all = stage.client.list(&path.context("a path")?).await?;
        let names = all.iter().filter_map(|one| one.field("name"));
        assert_eq!(names.collect::<Vec<_>>(), ["a", "b", "c", "d", "e"]);
        // Ids are the same in any case.
        let id = all[0].field("id").context("an id")?;
        let id = ResourcePath::parse(id.as_str().context("a text")?);
        assert_eq!(id, Some(stage.path("publicIPAddresses/a")?));
        let pages = stage.azure.calls().count_since(mark);
        assert_eq!(pages.of_operation("LIST publicIPAddresses"), 3, "{pages}");
    }
    Ok(())
}

#[tokio::test]
async fn odd_names_arrive_as_they_are() -> Result<()> {
    let stage = Stage::new(Settings::default()).await?;
    for name in [
        "a b",
        "a?api-version=1",
        "a#b",
        "a%2Fb",
        "a%2e%2e",
        "ä+ö",
        "a;b=c&d",
    ] {
        let path = stage.path(&format!("loadBalancers/{name}"))?;
        let mark = stage.azure.calls().mark();
        assert_eq!(stage.client.get(&path).await?, None, "{name}");
        let calls = stage.azure.calls().since(mark);
        let call = calls
            .iter()
            .find(|call| call.kind != "TOKEN")
            .context("a call")?;
        assert_eq!(call.path, path.to_string());
    }
    Ok(())
}

#[tokio::test]
async fn every_request_has_a_number_of_its_own() -> Result<()> {
    let stage = Stage::new(Settings::default()).await?;
    let path = stage.path("loadBalancers/lb")?;
    for _ in 0..5 {
        stage.client.get(&path).await?;
    }
    let calls = stage.azure.calls().all();
    let calls = calls.into_iter().filter(|call| call.kind != "TOKEN");
    let numbers: BTreeSet<String> = calls.filter_map(|call| call.request_id).collect();
    assert_eq!(numbers.len(), 5);
    assert!(
        numbers.iter().all(|number| number.len() == 36),
        "{numbers:?}"
    );
    Ok(())
}

#[tokio::test]
async fn who_may_not_write_asks_nothing() -> Result<()> {
    let stage = Stage::new(Settings::default()).await?;
    let term = Term::new();
    term.revoke();
    let path = stage.path("loadBalancers/lb")?;
    let body = stage.load_balancer("a");
    let put = stage.client.put(&path, body, None, &term.ticket()).await;
    let delete = stage.client.delete(&path, &term.ticket()).await;
    for error in [put.expect_err("no right"), delete.expect_err("no right")] {
        assert_eq!(error.class, ErrorClass::Conflict, "{error}");
    }
    assert!(stage.azure.calls().all().is_empty());
    Ok(())
}

/// A write waits for its answer as long as the right to write is prolonged, and no longer.
#[tokio::test]
async fn a_write_waits_no_longer_than_its_right() -> Result<()> {
    let stage = Stage::new(Settings::default()).await?;
    let term = Term::new();
    term.renew(Instant::now() + Duration::from_secs(1));
    let held = stage
        .azure
        .inject(&At::first("PUT loadBalancers"), Fault::HoldAfter);
    let path = stage.path("loadBalancers/lb")?;
    let body = stage.load_balancer("a");
    let error = stage.client.put(&path, body, None, &term.ticket()).await;
    assert_eq!(
        error.expect_err("its right has ended").class,
        ErrorClass::Conflict
    );
    held.check(1)?;
    // Prolonged before it ends, and answered after it would have.
    let term = Term::new();
    let first = Instant::now() + Duration::from_secs(2);
    term.renew(first);
    let held = stage
        .azure
        .inject(&At::first("PUT loadBalancers"), Fault::HoldAfter);
    let body = stage.load_balancer("b");
    let ticket = term.ticket();
    let answered = async {
        held.wait(super::stage::SOON).await?;
        term.renew(Instant::now() + super::stage::SOON);
        tokio::time::sleep_until((first + Duration::from_millis(50)).into()).await;
        held.release();
        anyhow::Ok(())
    };
    let (put, answered) = tokio::join!(stage.client.put(&path, body, None, &ticket), answered);
    answered?;
    put?;
    Ok(())
}

#[tokio::test]
async fn who_loses_the_right_waits_for_no_operation() -> Result<()> {
    let settings = Settings {
        times: Times {
            load_balancer: Pace::Operation(Settle::after(Duration::from_secs(3600))),
            ..Times::recorded()
        },
        ..Settings::default()
    };
    let stage = Arc::new(Stage::new(settings).await?);
    let term = Term::endless();
    let (path, body) = (stage.path("loadBalancers/lb")?, stage.load_balancer("a"));
    let polled = stage
        .azure
        .inject(&At::first("POLL"), Fault::Slow(Duration::ZERO));
    let ticket = term.ticket();
    let revoked = async {
        polled.wait(super::stage::SOON).await?;
        term.revoke();
        anyhow::Ok(())
    };
    let (put, revoked) = tokio::join!(stage.client.put(&path, body, None, &ticket), revoked);
    revoked?;
    assert_eq!(
        put.expect_err("the right is gone").class,
        ErrorClass::Conflict
    );
    Ok(())
}
