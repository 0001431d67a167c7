//! Connections: where they go, how they end, who may come.

use std::{collections::BTreeMap, sync::atomic::Ordering, time::Duration};

use evenkeel_local::api::{BackendSetSpec, Family, Lease, LeaseSpec, ListenerSpec};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::support::*;

#[tokio::test]
async fn connections_spread_evenly_over_the_targets() {
    let (_directory, plane, address) = plane().await;
    let servers = [
        Server::start("a").await,
        Server::start("b").await,
        Server::start("c").await,
    ];
    let set = backend_set(&servers.each_ref());
    let front = plane.client.expose(set, listener(free_port(address))).await;

    for hold in [false, true] {
        let mut held = Vec::new();
        let mut count = BTreeMap::new();
        for _ in 0..60 {
            let talk = Talk::open(front).await;
            *count.entry(talk.server.clone()).or_insert(0) += 1;
            if hold {
                held.push(talk);
            } else {
                drop(talk);
                // The next one comes when this one is over, as with short requests.
                until("the connection is over", async || {
                    (plane.client.listener("listener").await.status.connections == 0).then_some(())
                })
                .await;
            }
        }
        assert_eq!(
            count.into_values().collect::<Vec<_>>(),
            [20, 20, 20],
            "held: {hold}"
        );
        if hold {
            assert_eq!(
                plane.client.listener("listener").await.status.connections,
                60
            );
        }
    }
    let accepted = plane
        .client
        .listener_metric("connections_accepted_total", front, None)
        .await;
    assert_eq!(accepted, 120);
    plane.stop().await;
}

#[tokio::test]
async fn many_connections_at_once_spread_evenly() {
    let (_directory, plane, address) = plane().await;
    let servers = [
        Server::start("a").await,
        Server::start("b").await,
        Server::start("c").await,
    ];
    let front = plane
        .client
        .expose(
            backend_set(&servers.each_ref()),
            listener(free_port(address)),
        )
        .await;
    let talks = futures::future::join_all((0..150).map(|_| Talk::open(front))).await;
    let served: Vec<usize> = servers
        .iter()
        .map(|server| server.served.load(Ordering::Relaxed))
        .collect();
    assert_eq!(served, [50, 50, 50]);
    drop(talks);
    plane.stop().await;
}

#[tokio::test]
async fn half_closed_connections_work_and_bytes_are_counted() {
    let (_directory, plane, address) = plane().await;
    let server = Server::start("a").await;
    let front = plane
        .client
        .expose(backend_set(&[&server]), listener(free_port(address)))
        .await;

    let stream = TcpStream::connect(front).await.expect("a connection");
    let (mut read, mut write) = stream.into_split();
    let question = vec![b'x'; 2_000_000];
    let sent = question.clone();
    let writing = tokio::spawn(async move {
        write.write_all(&sent).await.expect("written");
        write.shutdown().await.expect("half closed");
    });
    let mut answer = Vec::new();
    within("the answer", read.read_to_end(&mut answer))
        .await
        .expect("read");
    writing.await.expect("written");
    let mut expected = b"a\n".to_vec();
    expected.extend(question);
    expected.extend(b"bye");
    assert!(
        answer == expected,
        "{} bytes came back, {} were expected",
        answer.len(),
        expected.len()
    );

    let metric = |name| plane.client.listener_metric(name, front, None);
    assert_eq!(metric("received_bytes_total").await, 2_000_000);
    assert_eq!(metric("sent_bytes_total").await, 2_000_005);
    plane.stop().await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_a_busy_one_is_not() {
    let (_directory, plane, address) = plane().await;
    let server = Server::start("a").await;
    let spec = ListenerSpec {
        idle_timeout_seconds: Some(1),
        ..listener(free_port(address))
    };
    let front = plane.client.expose(backend_set(&[&server]), spec).await;

    let idle = Talk::open(front).await;
    let mut busy = Talk::open(front).await;
    let closed = tokio::spawn(idle.closed());
    // As long as the idle one lives, and then for longer than it was allowed.
    let mut beats = 0;
    while !closed.is_finished() || beats < 15 {
        assert!(busy.works().await, "a busy connection stays");
        tokio::time::sleep(Duration::from_millis(100)).await;
        beats += 1;
    }
    closed.await.expect("closed");
    assert!(busy.works().await);
    plane.stop().await;
}

#[tokio::test]
async fn source_ranges_are_checked_before_anything_is_sent() {
    let (_directory, plane, address) = plane().await;
    let server = Server::start("a").await;
    let only = |ranges: &[&str]| {
        Some(
            ranges
                .iter()
                .map(|range| range.parse().expect("a range"))
                .collect(),
        )
    };
    let spec = ListenerSpec {
        source_ranges: only(&["10.0.0.0/8"]),
        ..listener(free_port(address))
    };
    let front = plane
        .client
        .expose(backend_set(&[&server]), spec.clone())
        .await;

    assert!(
        Talk::try_open(front).await.is_none(),
        "127.0.0.1 is not in 10.0.0.0/8"
    );
    let spec = ListenerSpec {
        source_ranges: only(&["10.0.0.0/8", "127.0.0.0/8"]),
        ..spec
    };
    plane
        .client
        .put("/v1/listeners/listener", &body(spec.clone()))
        .await
        .done();
    let mut inside = Talk::open(front).await;

    let spec = ListenerSpec {
        source_ranges: only(&[]),
        ..spec
    };
    plane
        .client
        .put("/v1/listeners/listener", &body(spec.clone()))
        .await
        .done();
    assert!(
        Talk::try_open(front).await.is_none(),
        "an empty list lets nobody in"
    );
    assert!(inside.works().await, "who is inside stays");

    plane
        .client
        .put(
            "/v1/listeners/listener",
            &body(ListenerSpec {
                source_ranges: None,
                ..spec
            }),
        )
        .await
        .done();
    assert!(Talk::open(front).await.works().await);
    assert_eq!(server.served.load(Ordering::Relaxed), 2);
    let refused = "connections_refused_total";
    let refused = plane
        .client
        .listener_metric(refused, front, Some("source_range"));
    assert_eq!(refused.await, 2);
    plane.stop().await;
}

#[tokio::test]
async fn a_target_that_refuses_is_passed_over_and_without_targets_clients_are_refused() {
    let (_directory, plane, address) = plane().await;
    let (good, gone) = (Server::start("good").await, Server::start("gone").await);
    let front = plane
        .client
        .expose(backend_set(&[&good, &gone]), listener(free_port(address)))
        .await;
    let dead = backend_set(&[&gone]);
    gone.stop().await;
    for _ in 0..6 {
        assert_eq!(Talk::open(front).await.server, "good");
    }
    for (name, set) in [
        ("dead", dead),
        (
            "empty",
            BackendSetSpec {
                drain_seconds: 0,
                ..Default::default()
            },
        ),
    ] {
        plane
            .client
            .put("/v1/backendsets/set", &body(set))
            .await
            .done();
        assert!(Talk::try_open(front).await.is_none(), "{name}");
    }
    plane.stop().await;
}

#[tokio::test]
async fn the_proxy_header_comes_first() {
    let (_directory, plane, address) = plane().await;
    let socket = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = socket.local_addr().expect("bound").port();
    let target = evenkeel_local::api::Target {
        node: "a".into(),
        address: "127.0.0.1".parse().expect("an address"),
        port,
    };
    let set = BackendSetSpec {
        targets: vec![target],
        health_check: None,
        drain_seconds: 0,
        affinity_seconds: None,
    };
    let spec = ListenerSpec {
        proxy_protocol: true,
        ..listener(free_port(address))
    };
    let front = plane.client.expose(set, spec).await;

    let mut client = TcpStream::connect(front).await.expect("a connection");
    client.write_all(b"hello").await.expect("written");
    let (mut server, _) = within("the target is reached", socket.accept())
        .await
        .expect("a connection");
    let mut seen = [0; 28 + 5];
    within("the header", server.read_exact(&mut seen))
        .await
        .expect("read");
    assert_eq!(seen[..16], *b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c");
    assert_eq!(seen[16..20], [127, 0, 0, 1]);
    assert_eq!(seen[20..24], address.octets());
    assert_eq!(
        seen[24..26],
        client.local_addr().expect("bound").port().to_be_bytes()
    );
    assert_eq!(seen[26..28], front.port().to_be_bytes());
    assert_eq!(seen[28..], *b"hello");
    plane.stop().await;
}

#[tokio::test]
async fn at_the_limit_of_connections_clients_wait_their_turn() {
    let directory = tempfile::tempdir().expect("a directory");
    let address = address();
    let mut config = config(directory.path(), &[&address.to_string()]);
    config.max_connections = Some(2);
    let plane = Plane::start(config).await;
    let server = Server::start("a").await;
    let front = plane
        .client
        .expose(backend_set(&[&server]), listener(free_port(address)))
        .await;

    let (first, mut second) = (Talk::open(front).await, Talk::open(front).await);
    let third = tokio::spawn(Talk::open(front));
    let fourth = tokio::spawn(Talk::open(front));
    assert!(second.works().await);
    assert_eq!(server.served.load(Ordering::Relaxed), 2, "the others wait");
    drop(first);
    drop(second);
    for waiting in [third, fourth] {
        assert!(waiting.await.expect("a turn").works().await);
    }
    plane.stop().await;
}

#[tokio::test]
#[expect(clippy::print_stderr, reason = "a test that cannot run says so")]
async fn ipv6_works() {
    if TcpListener::bind("[::1]:0").await.is_err() {
        eprintln!("skipped: this machine has no IPv6 loopback address");
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let plane = Plane::start(config(directory.path(), &["::1"])).await;
    let server = Server::on("six", "[::1]:0".parse().expect("an address")).await;
    let spec = LeaseSpec::of(Family::V6);
    let lease: Lease = plane
        .client
        .create("/v1/leases/lease", &body(spec))
        .await
        .object();
    assert_eq!(lease.status.address.to_string(), "::1");
    plane
        .client
        .create("/v1/backendsets/set", &body(backend_set(&[&server])))
        .await
        .done();
    let port = free_port(lease.status.address);
    let spec = ListenerSpec {
        source_ranges: Some(vec!["::1/128".parse().expect("a range")]),
        ..listener(port)
    };
    plane
        .client
        .create("/v1/listeners/listener", &body(spec))
        .await
        .done();
    let mut talk = Talk::open((lease.status.address, port).into()).await;
    assert_eq!(talk.server, "six");
    assert!(talk.works().await);
    plane.stop().await;
}
