//! Health checks against real servers.

use evenkeel_local::api::{BackendSetSpec, Health, HealthCheck, HealthCheckKind};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::watch,
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
