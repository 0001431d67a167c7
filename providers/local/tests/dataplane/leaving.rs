//! UDP flows whose listener was deleted.

use evenkeel_local::api::{BackendSetSpec, Listener, ListenerPhase, ListenerSpec};

use crate::{
    support::*,
    udp::{Asker, Echo, set, udp},
};

/// The port of a deleted listener is closed for all but the clients that it had; they stay with their target while it drains.
async fn a_deleted_listener_drains() {
    let (_directory, plane, address) = plane().await;
    let client = &plane.client;
    let (old, new) = (Echo::start("old").await, Echo::start("new").await);
    let port = free_port(address);
    let front = client.expose(set(&[&old]), udp(port)).await;
    let askers = [Asker::new(front).await, Asker::new(front).await];
    for asker in &askers {
        assert_eq!(asker.ask().await, "old");
    }
    client.delete("/v1/listeners/listener").await.done();
    for asker in &askers {
        assert_eq!(asker.ask().await, "old", "it drains");
    }
    let late = Asker::new(front).await;
    late.say(b"hello").await;
    let refused = within("a refusal", late.0.recv(&mut [0; 16])).await;
    assert_eq!(
        refused.expect_err("it is closed").kind(),
        std::io::ErrorKind::ConnectionRefused
    );

    // A new listener has the port for everybody else.
    client
        .create("/v1/backendsets/new", &body(set(&[&new])))
        .await
        .done();
    let beside = ListenerSpec {
        backend_set: "new".into(),
        ..udp(port)
    };
    let made: Listener = client
        .create("/v1/listeners/new", &body(beside))
        .await
        .object();
    assert_eq!(made.status.phase, ListenerPhase::Ready);
    assert_eq!(late.ask().await, "new");
    assert_eq!(askers[0].ask().await, "old", "it drains beside it");

    // Without a target the flow is over, and its client finds the new listener.
    let none = BackendSetSpec {
        drain_seconds: 0,
        ..set(&[])
    };
    client.put("/v1/backendsets/set", &body(none)).await.done();
    for asker in &askers {
        until("the new listener's answer", async || {
            (asker.try_ask().await? == "new").then_some(())
        })
        .await;
    }
    plane.stop().await;
}

#[tokio::test]
async fn a_deleted_listener_drains_on_one_thread() {
    a_deleted_listener_drains().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_deleted_listener_drains_on_several_threads() {
    a_deleted_listener_drains().await;
}

#[tokio::test]
async fn the_flows_of_a_deleted_listener_end_with_its_time_to_drain() {
    let (_directory, plane, address) = plane().await;
    let server = Echo::start("a").await;
    let port = free_port(address);
    for seconds in [0, 1] {
        let drains = BackendSetSpec {
            drain_seconds: seconds,
            ..set(&[&server])
        };
        let front = plane.client.expose(drains, udp(port)).await;
        let asker = Asker::new(front).await;
        asker.ask().await;
        plane.client.delete("/v1/listeners/listener").await.done();
        until("the flow to end", async || {
            asker.try_ask().await.is_none().then_some(())
        })
        .await;
        plane.client.delete("/v1/backendsets/set").await.done();
        plane.client.delete("/v1/leases/lease").await.done();
    }
    plane.stop().await;
}
