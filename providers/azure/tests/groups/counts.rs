//! How little is asked of Azure.

use std::sync::Arc;

use evenkeel_azure::Timing;
use evenkeel_core::{converge::NoJournal, engine::AnyProvider, intent::Scheme};
use evenkeel_harness::fake_azure::{At, Counts, Fault};
use futures::future::join_all;

use crate::stage::{Process, Stage, internal, public, release, serve};

const PUT_BALANCER: &str = "PUT loadBalancers";
const PUT_SECURITY: &str = "PUT networkSecurityGroups";

/// A process that has looked around, in a cluster whose writes are paced as they are paced in earnest.
async fn warm() -> (Stage, Process) {
    let mut stage = Stage::new().await;
    stage.timing = Timing::default();
    let process = stage.process();
    process.engine.inventory().await.expect("an inventory");
    (stage, process)
}

fn few(counts: &Counts, kind: &str, most: usize) {
    assert!(counts.of_operation(kind) <= most, "{counts}");
}

#[tokio::test]
async fn a_hundred_internal_services_take_three_writes() {
    let (stage, process) = warm().await;
    let mark = stage.azure.calls().mark();
    let all: Vec<_> = (1..=100).map(internal).collect();
    process.settled(&stage, all.iter().map(serve)).await;
    let counts = stage.azure.calls().count_since(mark);
    few(&counts, PUT_BALANCER, 3);
    assert_eq!(counts.writes, counts.of_operation(PUT_BALANCER), "{counts}");
    // Looking whether one is there before the first write; nothing else is read.
    assert!(counts.reads <= 3, "{counts}");

    let mark = stage.azure.calls().mark();
    process.settled(&stage, all.iter().map(release)).await;
    let counts = stage.azure.calls().count_since(mark);
    assert!(counts.writes <= 3, "{counts}");
    assert_eq!(stage.balancer(Scheme::Internal), None);
}

#[tokio::test]
async fn a_hundred_public_services_take_ten_writes_of_each_shared_object() {
    let (stage, process) = warm().await;
    let mark = stage.azure.calls().mark();
    process
        .settled(&stage, (1..=100).map(public).map(|one| serve(&one)))
        .await;
    let counts = stage.azure.calls().count_since(mark);
    few(&counts, PUT_BALANCER, 10);
    few(&counts, PUT_SECURITY, 10);
    assert_eq!(
        counts.of_operation("PUT publicIPAddresses"),
        100,
        "{counts}"
    );
}

#[tokio::test]
async fn a_change_of_nodes_takes_one_write_and_no_event_takes_a_call() {
    let (mut stage, process) = warm().await;
    let all: Vec<_> = (1..=30).map(internal).collect();
    process.settled(&stage, all.iter().map(serve)).await;

    let mark = stage.azure.calls().mark();
    let runs = all.iter().map(|one| {
        let request = process.request(&stage, &serve(one));
        process.engine.run(request, &NoJournal)
    });
    for report in join_all(runs).await {
        assert!(report.settled() && report.reads == 0, "{report:#?}");
    }
    assert_eq!(stage.azure.calls().since(mark), []);

    stage.place.add_node(&stage.azure);
    let mark = stage.azure.calls().mark();
    process.settled(&stage, all.iter().map(serve)).await;
    let counts = stage.azure.calls().count_since(mark);
    assert!((1..=2).contains(&counts.writes), "{counts}");
    assert_eq!(counts.reads, 0, "{counts}");
    let live = stage.balancer(Scheme::Internal).expect("it is there");
    let pool = &live["properties"]["backendAddressPools"][0]["properties"];
    let members = pool["loadBalancerBackendAddresses"].as_array();
    assert_eq!(members.map(Vec::len), Some(4), "{live}");
}

#[tokio::test]
async fn a_sweep_takes_three_reads_whatever_the_number_of_services() {
    let (mut stage, process) = warm().await;
    let all: Vec<_> = (1..=10)
        .map(internal)
        .chain((11..=20).map(public))
        .collect();
    process.settled(&stage, all.iter().map(serve)).await;

    let mark = stage.azure.calls().mark();
    process.engine.inventory().await.expect("an inventory");
    let counts = stage.azure.calls().count_since(mark);
    assert_eq!((counts.reads, counts.writes), (3, 0), "{counts}");

    // All groups of a new process, from its first look on, and those of one whose look is old.
    stage.timing.sweep = std::time::Duration::ZERO;
    for first_look in [true, false] {
        let process = Arc::new(stage.process());
        let mark = stage.azure.calls().mark();
        if first_look {
            process.engine.inventory().await.expect("an inventory");
        }
        let runs = all.iter().map(|one| {
            let request = process.request(&stage, &serve(one));
            process.engine.run(request, &NoJournal)
        });
        for report in join_all(runs).await {
            assert!(report.settled(), "{report:#?}");
        }
        let counts = stage.azure.calls().count_since(mark);
        assert_eq!(counts.writes, 0, "{counts}");
        // The subnets are read once by a process.
        assert!(counts.reads <= 4 + 3, "{counts}");
    }
}

#[tokio::test]
async fn nodes_that_are_refused_are_tried_as_often_as_one_group_would() {
    let (mut stage, process) = warm().await;
    let all: Vec<_> = (1..=30).map(internal).collect();
    process.settled(&stage, all.iter().map(serve)).await;
    stage.place.add_node(&stage.azure);
    let refused = Fault::answer(400, "InvalidRequestFormat", "not so");
    let refused = stage
        .azure
        .inject(&At::first(PUT_BALANCER).times(1000), refused);
    let reports = process.settle(&stage, all.iter().map(serve)).await;
    assert!(reports.values().all(|report| !report.failures.is_empty()));
    assert!(refused.fired() <= 2, "{}", refused.fired());
}
