//! A client stays with its target: over changes, over restarts, and no longer than it should.

use std::{collections::BTreeSet, fs, net::Ipv4Addr, net::SocketAddr, time::Duration};

use evenkeel_local::api::{BackendSetSpec, Snapshot};

use crate::support::*;

/// Clients enough that they are not all at one of three targets by chance.
const CLIENTS: u8 = 12;

fn client(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 3, 1, number + 1)
}

fn sticky(servers: &[&Server], seconds: u32) -> BackendSetSpec {
    BackendSetSpec {
        affinity_seconds: Some(seconds),
        ..backend_set(servers)
    }
}

/// Who answers each of the clients.
async fn answers(front: SocketAddr) -> Vec<String> {
    let mut answers = Vec::new();
    for number in 0..CLIENTS {
        answers.push(Talk::open_from(client(number), front).await.server);
    }
    answers
}

async fn servers() -> [Server; 3] {
    [
        Server::start("a").await,
        Server::start("b").await,
        Server::start("c").await,
    ]
}

#[tokio::test]
async fn clients_stay_and_are_spread() {
    let (_directory, plane, address) = plane().await;
    let [a, b, c] = servers().await;
    let all = [&a, &b, &c];
    let front = plane
        .client
        .expose(sticky(&all, 600), listener(free_port(address)))
        .await;
    let first = answers(front).await;
    assert_eq!(first.iter().collect::<BTreeSet<_>>().len(), 3, "{first:?}");
    assert_eq!(answers(front).await, first);
    let told: Snapshot = plane.client.get("/v1/snapshot").await.object();
    assert_eq!(told.backend_sets[0].affinity_seconds, Some(600));
    let clients = "evenkeel_dataplane_affinity_clients";
    assert_eq!(plane.client.metric(clients).await, u64::from(CLIENTS));

    // Switching it off and on again touches no open connection.
    let mut open = Talk::open_from(client(0), front).await;
    let put = async |spec| {
        let answer = plane.client.put("/v1/backendsets/set", &body(spec)).await;
        answer.done()
    };
    put(backend_set(&all)).await;
    let mut seen = BTreeSet::new();
    for _ in 0..3 {
        seen.insert(Talk::open_from(client(0), front).await.server);
    }
    assert!(seen.len() > 1, "{seen:?}");
    assert_eq!(plane.client.metric(clients).await, 0);
    put(sticky(&all, 60)).await;
    assert!(open.works().await);
    plane.stop().await;
}

#[tokio::test]
async fn only_clients_of_a_target_that_leaves_move() {
    let (_directory, plane, address) = plane().await;
    let [a, b, c] = servers().await;
    let front = plane
        .client
        .expose(sticky(&[&a, &b, &c], 600), listener(free_port(address)))
        .await;
    let put = async |servers: &[&Server]| {
        let spec = body(sticky(servers, 600));
        plane.client.put("/v1/backendsets/set", &spec).await.done()
    };
    let first = answers(front).await;
    put(&[&c, &a]).await;
    let second = answers(front).await;
    for (before, now) in first.iter().zip(&second) {
        assert!(
            now != "b" && (before == "b" || before == now),
            "{first:?} {second:?}"
        );
    }
    // The one that comes back is given nobody back.
    put(&[&a, &b, &c]).await;
    assert_eq!(answers(front).await, second);

    // One that stops to answer loses its clients too.
    c.stop().await;
    let third = answers(front).await;
    for (before, now) in second.iter().zip(&third) {
        assert!(
            now != "c" && (before == "c" || before == now),
            "{second:?} {third:?}"
        );
    }
    assert_eq!(answers(front).await, third);
    plane.stop().await;
}

#[tokio::test]
async fn an_unhealthy_target_loses_the_clients_that_come_then() {
    let (_directory, plane, address) = plane().await;
    let [a, b, _] = servers().await;
    let spec = BackendSetSpec {
        health_check: Some(tcp_check(100)),
        ..sticky(&[&a, &b], 600)
    };
    let front = plane
        .client
        .expose(spec, listener(free_port(address)))
        .await;
    let healthy = async |want: usize| {
        until("targets to be judged", async || {
            let targets = plane.client.backend_set("set").await.status.targets;
            let healthy = targets
                .iter()
                .filter(|target| target.health == evenkeel_local::api::Health::Healthy);
            (healthy.count() == want).then_some(())
        })
        .await;
    };
    healthy(2).await;
    let first = answers(front).await;
    let place = a.address;
    a.stop().await;
    healthy(1).await;
    let here = Talk::open_from(client(0), front).await.server;
    assert_eq!(here, "b");
    let _a = Server::on("a", place).await;
    healthy(2).await;
    let last = answers(front).await;
    assert_eq!(last[0], "b", "who moved stays");
    assert_eq!(
        last[1..],
        first[1..],
        "who did not come in between finds its target again"
    );
    plane.stop().await;
}

#[tokio::test]
async fn a_restart_keeps_the_affinity() {
    let directory = tempfile::tempdir().expect("a directory");
    let pool = address();
    let config = || {
        let mut config = config(directory.path(), &[&pool.to_string()]);
        config.affinity_interval = Duration::from_millis(20);
        config
    };
    let file = directory.path().join("state.json.affinity");
    let [a, b, c] = servers().await;
    let plane = Plane::start(config()).await;
    let checked = BackendSetSpec {
        health_check: Some(tcp_check(100)),
        ..sticky(&[&a, &b, &c], 600)
    };
    let front = plane
        .client
        .expose(checked, listener(free_port(pool)))
        .await;
    let first = answers(front).await;
    plane.stop().await;

    // Right after the start nothing was probed yet.
    let plane = Plane::start(config()).await;
    assert_eq!(answers(front).await, first);
    // What a process that is killed had saved by itself.
    fs::remove_file(&file).expect("the file");
    Talk::open_from(client(0), front).await;
    let saved = until("the file", async || fs::read(&file).ok()).await;
    plane.stop().await;

    fs::write(&file, saved).expect("written");
    let plane = Plane::start(config()).await;
    assert_eq!(answers(front).await, first);
    plane.stop().await;

    for text in ["{\"version\":1,\"sets", "{\"version\":2,\"sets\":{}}", ""] {
        fs::write(&file, text).expect("written");
        let plane = Plane::start(config()).await;
        let anew = answers(front).await;
        assert_eq!(
            anew.iter().collect::<BTreeSet<_>>().len(),
            3,
            "{text}: {anew:?}"
        );
        assert_eq!(answers(front).await, anew, "{text}");
        plane.stop().await;
    }
}

#[tokio::test]
async fn a_successor_keeps_the_affinity() {
    let directory = tempfile::tempdir().expect("a directory");
    let pool = address();
    let mut config = config(directory.path(), &[&pool.to_string()]);
    // What is known after a handover was saved by it.
    config.affinity_interval = Duration::from_secs(3_600);
    let [a, b, c] = servers().await;
    let mut plane = Plane::start(config.clone()).await;
    let front = plane
        .client
        .expose(sticky(&[&a, &b, &c], 600), listener(free_port(pool)))
        .await;
    let first = answers(front).await;
    for turn in 0..3 {
        // Counting alone, a target that serves so many would be the last choice.
        let mut open = Vec::new();
        for _ in 0..4 {
            open.push(Talk::open_from(client(0), front).await);
        }
        config = successor(&config);
        config.version = format!("turn {turn}");
        let next = Plane::start(config.clone()).await;
        let old = std::mem::replace(&mut plane, next);
        assert_eq!(answers(front).await, first, "{turn}");
        for talk in &mut open {
            assert!(talk.works().await, "{turn}");
        }
        drop(open);
        old.ended().await;
    }
    plane.stop().await;
}

#[tokio::test]
async fn a_short_timeout_ends() {
    let (_directory, plane, address) = plane().await;
    let [a, b, _] = servers().await;
    let front = plane
        .client
        .expose(sticky(&[&a, &b], 1), listener(free_port(address)))
        .await;
    // Open connections make the other target the better choice, but for affinity.
    let mut open = Vec::new();
    for _ in 0..4 {
        open.push(Talk::open_from(client(0), front).await);
    }
    let one = open[0].server.clone();
    assert!(open.iter().all(|talk| talk.server == one));
    until("the client to be placed anew", async || {
        // Asking more often would renew it.
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        let now = Talk::open_from(client(0), front).await.server;
        (now != one).then_some(())
    })
    .await;
    plane.stop().await;
}
