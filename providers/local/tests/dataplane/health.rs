//! Health checks against real servers.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use evenkeel_local::api::{BackendSetSpec, Health, HealthCheck, HealthCheckKind, Target};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::watch,
    task::JoinHandle,
};

use crate::support::*;

async fn health(client: &Client) -> Vec<(String, Health, Option<String>)> {
    let status = client.backend_set("set").await.status;
    status
        .targets
        .into_iter()
        .map(|target| (target.target.node, target.health, target.reason))
        .collect()
}

async fn until_health(client: &Client, want: &[(&str, Health)]) -> Vec<Option<String>> {
    until(&format!("{want:?}"), async || {
        let now = health(client).await;
        let same = now
            .iter()
            .map(|(node, health, _)| (node.as_str(), *health))
            .eq(want.iter().copied());
        same.then(|| now.into_iter().map(|(.., reason)| reason).collect())
    })
    .await
}

#[tokio::test]
async fn an_unhealthy_target_gets_no_new_connections_and_keeps_its_old_ones() {
    let (_directory, plane, address) = plane().await;
    let client = &plane.client;
    let (a, b) = (Server::start("a").await, Server::start("b").await);
    // The check looks at a port of its own, so that a target can be unhealthy while its connections live.
    let probed = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let probed_at = probed.local_addr().expect("bound");
    let check = HealthCheck {
        port: Some(probed_at.port()),
        ..tcp_check(100)
    };
    let set = BackendSetSpec {
        health_check: Some(check),
        ..backend_set(&[&a, &b])
    };
    let front = client
        .expose(set.clone(), listener(free_port(address)))
        .await;
    until_health(client, &[("a", Health::Healthy), ("b", Health::Healthy)]).await;
    assert_eq!(
        client.metric("evenkeel_dataplane_health_probes").await,
        1,
        "two targets of one node share a probe"
    );
    let mut talk = Talk::open(front).await;

    drop(probed);
    let reasons = until_health(
        client,
        &[("a", Health::Unhealthy), ("b", Health::Unhealthy)],
    )
    .await;
    assert_eq!(
        reasons,
        [Some("refused".to_owned()), Some("refused".to_owned())]
    );
    assert!(
        Talk::try_open(front).await.is_none(),
        "no target is healthy"
    );
    assert!(talk.works().await, "an open connection lives on");

    let _probed = until("the port again", async || {
        TcpListener::bind(probed_at).await.ok()
    })
    .await;
    until_health(client, &[("a", Health::Healthy), ("b", Health::Healthy)]).await;
    assert!(Talk::open(front).await.works().await);

    client
        .put(
            "/v1/backendsets/set",
            &body(BackendSetSpec {
                health_check: None,
                ..set
            }),
        )
        .await
        .done();
    assert_eq!(
        client.metric("evenkeel_dataplane_health_probes").await,
        0,
        "nobody wants it any more"
    );
    plane.stop().await;
}

#[tokio::test]
async fn a_dead_target_leaves_and_comes_back() {
    let (_directory, plane, address) = plane().await;
    let client = &plane.client;
    let (a, b) = (Server::start("a").await, Server::start("b").await);
    let (b_at, both) = (b.address, backend_set(&[&a, &b]));
    let set = BackendSetSpec {
        health_check: Some(tcp_check(100)),
        ..both
    };
    let front = client
        .expose(set.clone(), listener(free_port(address)))
        .await;
    until_health(client, &[("a", Health::Healthy), ("b", Health::Healthy)]).await;

    b.stop().await;
    until_health(client, &[("a", Health::Healthy), ("b", Health::Unhealthy)]).await;
    for _ in 0..4 {
        assert_eq!(Talk::open(front).await.server, "a");
    }
    // New settings start from what is known, so that a dead target does not get traffic again.
    let slower = BackendSetSpec {
        health_check: Some(HealthCheck {
            timeout_ms: 999,
            ..tcp_check(100)
        }),
        ..set
    };
    client
        .put("/v1/backendsets/set", &body(slower))
        .await
        .done();
    let now = health(client).await;
    assert_eq!(now[1].1, Health::Unhealthy);

    let _b = Server::on("b", b_at).await;
    until_health(client, &[("a", Health::Healthy), ("b", Health::Healthy)]).await;
    plane.stop().await;
}

#[tokio::test]
async fn http_checks_want_200() {
    let (_directory, plane, address) = plane().await;
    let client = &plane.client;
    let a = Server::start("a").await;
    let (say, said) = watch::channel("200 OK");
    let socket = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = socket.local_addr().expect("bound").port();
    let (asked, mut was_asked) = watch::channel(String::new());
    let web = tokio::spawn(async move {
        loop {
            let (mut stream, _) = socket.accept().await.expect("a probe");
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") && stream.read_buf(&mut head).await.unwrap_or(0) > 0
            {
            }
            asked.send_replace(String::from_utf8_lossy(&head).into_owned());
            let answer = format!("HTTP/1.1 {}\r\ncontent-length: 0\r\n\r\n", *said.borrow());
            // A probe may give up first.
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    let kind = HealthCheckKind::Http {
        path: "/healthz?full=1".into(),
    };
    let check = HealthCheck {
        kind,
        port: Some(port),
        ..tcp_check(100)
    };
    let set = BackendSetSpec {
        health_check: Some(check),
        ..backend_set(&[&a])
    };
    client.expose(set, listener(free_port(address))).await;

    until_health(client, &[("a", Health::Healthy)]).await;
    let head = was_asked.borrow_and_update().clone();
    assert!(
        head.starts_with("GET /healthz?full=1 HTTP/1.1\r\n"),
        "{head}"
    );
    assert!(
        head.to_lowercase()
            .contains(&format!("host: 127.0.0.1:{port}")),
        "{head}"
    );
    for (status, want, reason) in [
        (
            "503 Service Unavailable",
            Health::Unhealthy,
            Some("status 503"),
        ),
        ("200 OK", Health::Healthy, None),
        ("302 Found", Health::Unhealthy, Some("status 302")),
    ] {
        say.send_replace(status);
        let reasons = until_health(client, &[("a", want)]).await;
        assert_eq!(reasons[0].as_deref(), reason, "{status}");
    }
    web.abort();
    plane.stop().await;
}

/// How a target behaves after it accepted a connection.
#[derive(Clone, Copy, Debug)]
enum Says {
    /// This, and then it keeps the connection open.
    This(&'static str),
    /// This, a byte at a time.
    Slowly(&'static str),
    /// This, and then it closes.
    Last(&'static str),
    /// This head, and then bytes without an end.
    Endless(&'static str),
    Nothing,
}

/// A target that behaves so towards everybody, and counts what it could send.
struct Odd {
    address: SocketAddr,
    sent: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Odd {
    async fn start(says: Says) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = socket.local_addr().expect("bound");
        let sent = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&sent);
        let task = tokio::spawn(async move {
            let mut all = tokio::task::JoinSet::new();
            loop {
                let (mut stream, _) = socket.accept().await.expect("a probe");
                let count = Arc::clone(&count);
                all.spawn(async move {
                    let mut head = [0; 1_024];
                    let _ = stream.read(&mut head).await?;
                    match says {
                        Says::Nothing => {}
                        Says::This(text) | Says::Last(text) => {
                            stream.write_all(text.as_bytes()).await?;
                        }
                        Says::Slowly(text) => {
                            for byte in text.bytes() {
                                stream.write_all(&[byte]).await?;
                                tokio::time::sleep(Duration::from_millis(5)).await;
                            }
                        }
                        Says::Endless(text) => {
                            stream.write_all(text.as_bytes()).await?;
                            let mut sent = 0;
                            while stream.write_all(&[b'a'; 4_096]).await.is_ok() {
                                sent += 4_096;
                                count.fetch_max(sent, Ordering::Relaxed);
                            }
                        }
                    }
                    if !matches!(says, Says::Last(_)) {
                        // Until the probe goes away.
                        let _ = stream.read(&mut head).await;
                    }
                    std::io::Result::Ok(())
                });
            }
        });
        Self {
            address,
            sent,
            task,
        }
    }
}

impl Drop for Odd {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test]
async fn odd_answers_are_judged_by_their_head_and_in_time() {
    use Says::{Endless, Last, Nothing, Slowly, This};
    let (_directory, plane, _) = plane().await;
    let good = (Health::Healthy, None);
    let bad = |reason| (Health::Unhealthy, Some(reason));
    // Its head takes about 100 ms, and the checks below wait for 1,000 or for 60.
    let slow = "HTTP/1.1 200 OK\r\n\r\n12345";
    for (name, says, timeout_ms, http, tcp) in [
        (
            "HTTP/1.0",
            Last("HTTP/1.0 200 OK\r\n\r\nok"),
            1_000,
            good,
            good,
        ),
        (
            "no body told",
            This("HTTP/1.1 200 OK\r\n\r\n"),
            1_000,
            good,
            good,
        ),
        (
            "a body that ends too early",
            Last("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok"),
            1_000,
            good,
            good,
        ),
        (
            "a body without an end",
            Endless("HTTP/1.1 200 OK\r\n\r\n"),
            1_000,
            good,
            good,
        ),
        (
            "to be continued",
            This("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"),
            1_000,
            good,
            good,
        ),
        ("slow but in time", Slowly(slow), 1_000, good, good),
        ("too slow", Slowly(slow), 60, bad("timeout"), good),
        (
            "no content",
            This("HTTP/1.1 204 No Content\r\n\r\n"),
            1_000,
            bad("status 204"),
            good,
        ),
        (
            "elsewhere",
            This("HTTP/1.1 301 Moved\r\nlocation: http://127.0.0.1/\r\ncontent-length: 0\r\n\r\n"),
            1_000,
            bad("status 301"),
            good,
        ),
        (
            "not found",
            This("HTTP/1.1 404 Not Found\r\n\r\n"),
            1_000,
            bad("status 404"),
            good,
        ),
        (
            "broken",
            This("HTTP/1.1 500 Oh\r\n\r\n"),
            1_000,
            bad("status 500"),
            good,
        ),
        ("silent", Nothing, 200, bad("timeout"), good),
        (
            "half a head",
            This("HTTP/1.1 200 OK\r\nserver: "),
            200,
            bad("timeout"),
            good,
        ),
        ("closes", Last(""), 1_000, bad("no HTTP answer"), good),
        (
            "closes in its head",
            Last("HTTP/1.1 200"),
            1_000,
            bad("no HTTP answer"),
            good,
        ),
        (
            "another protocol",
            This("SSH-2.0-OpenSSH_9.6\r\n\r\n"),
            1_000,
            bad("no HTTP answer"),
            good,
        ),
        (
            "a head without an end",
            Endless("HTTP/1.1 200 OK\r\na: "),
            1_000,
            bad("no HTTP answer"),
            good,
        ),
    ] {
        let odd = Odd::start(says).await;
        let target = Target {
            node: "odd".into(),
            address: odd.address.ip(),
            port: odd.address.port(),
        };
        let path = "/healthz".into();
        for (kind, want) in [
            (HealthCheckKind::Http { path }, http),
            (HealthCheckKind::Tcp, tcp),
        ] {
            let set = BackendSetSpec {
                targets: vec![target.clone()],
                health_check: Some(HealthCheck {
                    kind,
                    timeout_ms,
                    ..tcp_check(100)
                }),
                drain_seconds: 0,
                affinity_seconds: None,
            };
            let client = &plane.client;
            client.put("/v1/backendsets/set", &body(set)).await.done();
            let seen = until("a verdict", async || {
                let seen = health(client).await.remove(0);
                (seen.1 != Health::Initial).then_some((seen.1, seen.2))
            })
            .await;
            assert_eq!((seen.0, seen.1.as_deref()), want, "{name}");
            // An unchanged target and a new check would be believed at once.
            client.delete("/v1/backendsets/set").await.done();
        }
        // What is not read fills buffers: the kernel's on both sides and the probe's own, which is bounded.
        let sent = odd.sent.load(Ordering::Relaxed);
        assert!(sent < 16 << 20, "{name}: {sent} bytes were taken");
    }
    plane.stop().await;
}

#[tokio::test]
async fn a_flapping_target_stays_out_and_serves_as_a_last_resort() {
    let (_directory, plane, address) = plane().await;
    let client = &plane.client;
    let (a, b) = (Server::start("a").await, Server::start("b").await);
    let probed = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let probed_at = probed.local_addr().expect("bound");
    let set = |servers: &[&Server]| BackendSetSpec {
        health_check: Some(HealthCheck {
            fall: 1,
            ..tcp_check(300)
        }),
        ..backend_set(servers)
    };
    // `a` is probed where its server listens, the other target where the test opens and closes a port.
    let mut both = set(&[&a, &b]);
    both.targets[1].port = probed_at.port();
    let front = client
        .expose(both.clone(), listener(free_port(address)))
        .await;
    let mut open = Some(probed);
    for _ in 0..4 {
        until_health(client, &[("a", Health::Healthy), ("b", Health::Healthy)]).await;
        drop(open.take());
        until_health(client, &[("a", Health::Healthy), ("b", Health::Unhealthy)]).await;
        let again = until("the port again", async || {
            TcpListener::bind(probed_at).await.ok()
        });
        open = Some(again.await);
    }
    drop(open);
    let b = Server::on("b", probed_at).await;
    let reason = |want: &'static str| async move {
        until(want, async || {
            let now = health(client).await.remove(1);
            (now.1 == Health::Unhealthy && now.2.as_deref() == Some(want)).then_some(())
        })
        .await;
    };
    reason("flapping").await;
    for _ in 0..4 {
        assert_eq!(Talk::open(front).await.server, "a");
    }
    let metric = |name: &str| {
        format!(
            "evenkeel_dataplane_{name}{{namespace=\"shop\",service=\"checkout\",node=\"b\",target=\"{probed_at}\"}}"
        )
    };
    assert_eq!(client.metric(&metric("target_flapping")).await, 1);
    assert_eq!(client.metric(&metric("target_healthy")).await, 0);

    // Nobody else is left.
    both.targets.remove(0);
    client.put("/v1/backendsets/set", &body(both)).await.done();
    assert_eq!(Talk::open(front).await.server, "b");
    // And in the end it was good for long enough.
    until_health(client, &[("b", Health::Healthy)]).await;
    assert_eq!(client.metric(&metric("target_flapping")).await, 0);
    drop((a, b));
    plane.stop().await;
}
