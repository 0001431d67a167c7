//! Public addresses: found again wherever they are.

use std::time::Duration;

use evenkeel_core::{engine::AnyProvider, intent::Scheme};
use evenkeel_harness::fake_azure::Casing;

use crate::stage::{Stage, annotated, public, release, serve};

#[tokio::test]
async fn an_address_in_another_resource_group_is_found_again_when_the_annotation_is_gone() {
    let stage = Stage::new().await;
    let there = annotated(public(1), "load-balancer-resource-group", "rg-ips");
    stage.process().settled(&stage, [serve(&there)]).await;
    let state = stage.azure.state();
    let id = &state
        .of(evenkeel_harness::fake_azure::Kind::PublicIp)
        .next()
        .expect("one")
        .id;
    assert!(id.contains("/rg-ips/"), "{id}");

    // A process that knows nothing, and a Service whose annotations say nothing.
    let process = stage.process();
    let found = process.engine.inventory().await.expect("an inventory");
    assert!(
        found.iter().any(|one| one.service == "shop/svc-1"),
        "{found:?}"
    );
    process.settled(&stage, [release(&there)]).await;
    assert_eq!(stage.addresses(), 0);
    assert_eq!(stage.balancer(Scheme::InternetFacing), None);
}

#[tokio::test]
async fn ids_in_another_case_are_the_same_ids() {
    for casing in [Casing::UpperGroups, Casing::Lower] {
        let stage = Stage::new().await;
        stage.azure.set(|settings| settings.casing = casing);
        stage.process().settled(&stage, [serve(&public(1))]).await;
        let mark = stage.azure.calls().mark();
        let process = stage.process();
        process.settled(&stage, [serve(&public(1))]).await;
        let counts = stage.azure.calls().count_since(mark);
        assert_eq!(counts.writes, 0, "{casing:?}: {}", stage.azure.calls());
        process.settled(&stage, [release(&public(1))]).await;
        assert_eq!(stage.addresses(), 0, "{casing:?}");
    }
}

#[tokio::test]
async fn an_address_that_cannot_be_deleted_at_once_is_deleted_later() {
    let stage = Stage::new().await;
    let _time = stage.azure.keep_time(50);
    stage.azure.set(|settings| {
        settings.times.release = evenkeel_harness::cloud::Settle {
            after: Duration::from_secs(1),
            calls: 2,
        };
    });
    let process = stage.process();
    process.settled(&stage, [serve(&public(1))]).await;
    process.settled(&stage, [release(&public(1))]).await;
    assert_eq!(stage.addresses(), 0);
}
