//! Changes while connections are open: what a change does not name stays as it is.

use std::net::TcpListener as StdListener;

use evenkeel_local::api::{
    BackendSetSpec, Family, LeaseSpec, ListenerPhase, ListenerSpec, failure,
};

use crate::support::*;

#[tokio::test]
async fn an_open_connection_outlives_the_changes_around_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let (address, other) = (address(), address());
    let pools = [address.to_string(), other.to_string()];
    let plane = Plane::start(config(directory.path(), &[&pools[0], &pools[1]])).await;
    let client = &plane.client;
    let (a, b) = (Server::start("a").await, Server::start("b").await);
    let port = free_port(address);
    let front = client.expose(backend_set(&[&a]), listener(port)).await;
    let mut talk = Talk::open(front).await;

    let lease = LeaseSpec::of(Family::V4);
    client.create("/v1/leases/other", &body(lease)).await.done();
    let neighbour = ListenerSpec {
        lease: "other".into(),
        ..listener(free_port(other))
    };
    client
        .create("/v1/listeners/neighbour", &body(neighbour.clone()))
        .await
        .done();
    assert!(talk.works().await, "a neighbour came");

    client
        .put("/v1/backendsets/set", &body(backend_set(&[&a, &b])))
        .await
        .done();
    assert!(talk.works().await, "a target came");

    let changed = ListenerSpec {
        idle_timeout_seconds: Some(600),
        proxy_protocol: true,
        ..neighbour
    };
    client
        .put("/v1/listeners/neighbour", &body(changed))
        .await
        .done();
    assert!(talk.works().await, "a neighbour changed");

    client.delete("/v1/listeners/neighbour").await.done();
    client.delete("/v1/leases/other").await.done();
    assert!(talk.works().await, "a neighbour went");

    client
        .create("/v1/backendsets/second", &body(backend_set(&[&b])))
        .await
        .done();
    let moved = ListenerSpec {
        backend_set: "second".into(),
        ..listener(port)
    };
    client
        .put("/v1/listeners/listener", &body(moved))
        .await
        .done();
    assert_eq!(Talk::open(front).await.server, "b");
    assert!(talk.works().await, "the listener got another set");

    client.delete("/v1/backendsets/set").await.done();
    assert!(talk.works().await, "its own set went and drains");
    assert_eq!(talk.server, "a");
    plane.stop().await;
}

#[tokio::test]
async fn a_removed_target_drains_and_then_closes() {
    let (_directory, plane, address) = plane().await;
    let client = &plane.client;
    let (a, b) = (Server::start("a").await, Server::start("b").await);
    let drain = |set: BackendSetSpec, drain_seconds| {
        body(BackendSetSpec {
            drain_seconds,
            ..set
        })
    };
    let front = client
        .expose(backend_set(&[&a]), listener(free_port(address)))
        .await;
    let mut talk = Talk::open(front).await;

    client
        .put("/v1/backendsets/set", &drain(backend_set(&[&b]), 600))
        .await
        .done();
    assert_eq!(
        client.backend_set("set").await.status.draining,
        [a.target()]
    );
    assert!(talk.works().await, "it drains");
    assert_eq!(
        Talk::open(front).await.server,
        "b",
        "new connections go elsewhere"
    );

    client
        .put("/v1/backendsets/set", &drain(backend_set(&[&a, &b]), 600))
        .await
        .done();
    assert_eq!(client.backend_set("set").await.status.draining, []);
    assert!(talk.works().await, "it came back");

    client
        .put("/v1/backendsets/set", &drain(backend_set(&[&b]), 1))
        .await
        .done();
    talk.closed().await;
    client.drained("set", "nothing drains any more").await;
    plane.stop().await;
}

#[tokio::test]
async fn a_deleted_listener_refuses_at_once_and_drains() {
    let (_directory, plane, address) = plane().await;
    let client = &plane.client;
    let server = Server::start("a").await;
    let port = free_port(address);
    let front = client.expose(backend_set(&[&server]), listener(port)).await;
    let mut talk = Talk::open(front).await;

    client.delete("/v1/listeners/listener").await.done();
    assert!(Talk::try_open(front).await.is_none(), "the port is closed");
    assert!(talk.works().await, "the open connection drains");
    client.delete("/v1/backendsets/set").await.done();
    client.delete("/v1/leases/lease").await.done();
    assert!(talk.works().await, "also when everything else is gone");

    let set = BackendSetSpec {
        drain_seconds: 1,
        ..backend_set(&[&server])
    };
    let front = client.expose(set, listener(port)).await;
    let short = Talk::open(front).await;
    client.delete("/v1/listeners/listener").await.done();
    short.closed().await;
    assert!(
        talk.works().await,
        "each has the time that held when it was removed"
    );
    plane.stop().await;
}

#[tokio::test]
async fn a_port_in_use_is_told_and_opened_once_it_is_free() {
    let (_directory, plane, address) = plane().await;
    let client = &plane.client;
    let server = Server::start("a").await;
    let squatter = StdListener::bind((address, 0)).expect("a port");
    let port = squatter.local_addr().expect("bound");
    let (set, wish) = (backend_set(&[&server]), listener(port.port()));
    client.opens_once_free(port, squatter, set, wish).await;
    assert!(Talk::open(port).await.works().await);
    plane.stop().await;
}

#[tokio::test]
async fn a_port_moves_from_one_listener_to_the_next_at_once() {
    let (_directory, plane, address) = plane().await;
    let client = &plane.client;
    let server = Server::start("a").await;
    let port = free_port(address);
    let front = client.expose(backend_set(&[&server]), listener(port)).await;
    let mut talk = Talk::open(front).await;
    let answer = client
        .create("/v1/listeners/next", &body(listener(port)))
        .await;
    assert_eq!((answer.status, answer.code().as_str()), (409, "PortTaken"));

    client.delete("/v1/listeners/listener").await.done();
    client
        .create("/v1/listeners/next", &body(listener(port)))
        .await
        .done();
    assert_eq!(
        client.listener("next").await.status.phase,
        ListenerPhase::Ready
    );
    assert!(Talk::open(front).await.works().await);
    assert!(talk.works().await, "the old listener's connection drains");
    plane.stop().await;
}

#[tokio::test]
async fn an_address_that_is_not_here_is_told() {
    let directory = tempfile::tempdir().expect("a directory");
    // A documentation address (RFC 5737), which no interface has.
    let plane = Plane::start(config(directory.path(), &["203.0.113.7"])).await;
    let client = &plane.client;
    client
        .create("/v1/leases/lease", &body(LeaseSpec::of(Family::V4)))
        .await
        .done();
    client
        .create("/v1/backendsets/set", &body(BackendSetSpec::default()))
        .await
        .done();
    client
        .create("/v1/listeners/listener", &body(listener(8_080)))
        .await
        .done();
    let ListenerPhase::Failed { code, message } = client.listener("listener").await.status.phase
    else {
        panic!("the address is not local");
    };
    assert_eq!(code, failure::ADDRESS_NOT_LOCAL);
    assert!(message.contains("ip address add 203.0.113.7"), "{message}");
    plane.stop().await;
}
