//! Limits on connections: who is over them waits, and nobody else notices.

use std::net::SocketAddr;

use evenkeel_local::api::{Listener, ListenerSpec, Put};

use crate::support::*;

/// A listener of another Service.
fn of_another(spec: ListenerSpec) -> Put<ListenerSpec> {
    let mut put = body(spec);
    put.marks.service = "shop/cart".into();
    put.marks.member = "uid-2".into();
    put
}

/// Connects with nobody to answer yet: the kernel takes the connection into the backlog.
fn waiting(front: SocketAddr) -> tokio::task::JoinHandle<Talk> {
    tokio::spawn(Talk::open(front))
}

#[tokio::test]
async fn the_limit_of_a_service_holds_over_its_ports_and_for_nobody_else() {
    let (_directory, plane, address) = plane().await;
    let client = &plane.client;
    let server = Server::start("a").await;
    let (one, two, other) = (free_port(address), free_port(address), free_port(address));
    let limited = |port, most| ListenerSpec {
        max_connections: most,
        ..listener(port)
    };
    let front = client
        .expose(backend_set(&[&server]), limited(one, Some(2)))
        .await;
    let second = SocketAddr::new(front.ip(), two);
    let put = async |name: &str, put| {
        let path = format!("/v1/listeners/{name}");
        client.put(&path, &put).await.object::<Listener>()
    };
    put("second", body(limited(two, Some(2)))).await;
    put("other", of_another(limited(other, Some(2)))).await;

    let first = Talk::open(front).await;
    let mut kept = Talk::open(second).await;
    let (third, fourth) = (waiting(front), waiting(second));
    let held = async |port: u16| {
        let labels = format!(
            "namespace=\"shop\",service=\"checkout\",address=\"{}\",port=\"{port}\",protocol=\"TCP\",reason=\"service_limit\"",
            front.ip()
        );
        let name = format!("evenkeel_dataplane_connections_held_total{{{labels}}}");
        client.metric(&name).await
    };
    until("both to be held", async || {
        (held(one).await == 1 && held(two).await == 1).then_some(())
    })
    .await;
    let elsewhere = SocketAddr::new(front.ip(), other);
    let mut others = [Talk::open(elsewhere).await, Talk::open(elsewhere).await];
    for talk in &mut others {
        assert!(talk.works().await, "another Service has a limit of its own");
    }
    assert!(kept.works().await);
    assert!(!third.is_finished() && !fourth.is_finished());

    // One ends and one of the two gets its place; a higher limit lets the other in.
    drop(first);
    let served = || usize::from(third.is_finished()) + usize::from(fourth.is_finished());
    until("a place", async || (served() == 1).then_some(())).await;
    put("listener", body(limited(one, Some(3)))).await;
    put("second", body(limited(two, Some(3)))).await;
    for talk in [third, fourth] {
        assert!(talk.await.expect("a turn").works().await);
    }
    plane.stop().await;
}

#[tokio::test]
async fn a_service_with_many_connections_leaves_room_for_one_with_few() {
    let directory = tempfile::tempdir().expect("a directory");
    let address = address();
    let mut config = config(directory.path(), &[&address.to_string()]);
    config.max_connections = Some(10);
    let plane = Plane::start(config).await;
    let client = &plane.client;
    let server = Server::start("a").await;
    let front = client
        .expose(backend_set(&[&server]), listener(free_port(address)))
        .await;
    let mut busy = Vec::new();
    for _ in 0..10 {
        busy.push(Talk::open(front).await);
    }
    // Alone it had them all. With another Service there, the last tenth is kept.
    drop(busy.pop());
    let port = free_port(address);
    let path = "/v1/listeners/other";
    client.put(path, &of_another(listener(port))).await.done();
    let over = waiting(front);
    let mut few = Talk::open(SocketAddr::new(front.ip(), port)).await;
    assert!(few.works().await);
    for talk in &mut busy {
        assert!(talk.works().await);
    }
    assert!(!over.is_finished());
    busy.clear();
    assert!(over.await.expect("a turn").works().await);
    plane.stop().await;
}
