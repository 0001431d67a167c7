//! Data planes that follow each other while clients come and go, and some that die on the way.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
};

use tokio::task::JoinSet;

use super::*;

/// Clients that connect, talk and leave without a pause until they are stopped.
pub struct Load {
    stop: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
    clients: JoinSet<Vec<&'static str>>,
}

impl Load {
    pub fn start(fronts: &[SocketAddr], clients: usize) -> Self {
        let (stop, served) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicUsize::new(0)),
        );
        let mut set = JoinSet::new();
        for client in 0..clients {
            let (stop, served) = (Arc::clone(&stop), Arc::clone(&served));
            let front = fronts[client % fronts.len()];
            set.spawn(async move {
                let mut failures = Vec::new();
                while !stop.load(Relaxed) {
                    let Some(mut talk) = Talk::try_open(front).await else {
                        failures.push("not connected");
                        continue;
                    };
                    if talk.works().await {
                        served.fetch_add(1, Relaxed);
                    } else {
                        failures.push("broken");
                    }
                }
                failures
            });
        }
        Self {
            stop,
            served,
            clients: set,
        }
    }

    /// Waits until so many more were served.
    pub async fn goes_on(&self, count: usize) {
        let enough = self.served.load(Relaxed) + count;
        until("clients are served", async || {
            (self.served.load(Relaxed) >= enough).then_some(())
        })
        .await;
    }

    /// How many were served; none may have failed.
    pub async fn end(self) -> usize {
        self.stop.store(true, Relaxed);
        let failures = within("the clients' end", self.clients.join_all())
            .await
            .concat();
        assert_eq!(failures, [""; 0], "of {}", self.served.load(Relaxed));
        self.served.load(Relaxed)
    }
}

/// A data plane with two ports, one server and its files.
pub async fn two_ports() -> (tempfile::TempDir, String, Server, Process, [SocketAddr; 2]) {
    two_ports_of(&[]).await
}

/// The same with these variables of [`child`] set.
pub async fn two_ports_of(
    variables: &[(&str, String)],
) -> (tempfile::TempDir, String, Server, Process, [SocketAddr; 2]) {
    let directory = tempfile::tempdir().expect("a directory");
    let address = address();
    let pool = address.to_string();
    let server = Server::start("a").await;
    let process = Process::start_with(directory.path(), &pool, variables).await;
    let mut set = backend_set(&[&server]);
    // Slow enough that a target would stay unknown for long.
    set.health_check = Some(tcp_check(60_000));
    let first = process
        .client
        .expose(set, listener(free_port(address)))
        .await;
    let port = free_port(address);
    process
        .client
        .create("/v1/listeners/second", &body(listener(port)))
        .await
        .done();
    healthy(&process.client).await;
    let second = SocketAddr::new(first.ip(), port);
    (directory, pool, server, process, [first, second])
}

pub async fn healthy(client: &Client) {
    until("the target is healthy", async || {
        let set = client.backend_set("set").await;
        (set.status.targets[0].health == Health::Healthy).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn six_upgrades_under_load_lose_nobody() {
    let (directory, pool, _server, mut process, fronts) = two_ports().await;
    let load = Load::start(&fronts, 16);
    let mut old = Vec::new();
    for number in 0..6 {
        load.goes_on(200).await;
        let long = Talk::open(fronts[0]).await;
        let before: Objects = process.client.get("/v1/objects").await.object();
        let next = Process::take_over(directory.path(), &pool).await;
        old.push((std::mem::replace(&mut process, next), long));

        let after: Objects = process.client.get("/v1/objects").await.object();
        assert_eq!(
            after.backend_sets, before.backend_sets,
            "also what is believed of the target"
        );
        assert_same(&before, after);
        // The new one is the master of everything.
        let name = format!("/v1/backendsets/more-{number}");
        let more = process.client.create(&name, &body(backend_set(&[]))).await;
        assert_eq!(more.status, 201);
    }
    load.goes_on(200).await;
    let served = load.end().await;
    assert!(served >= 7 * 200, "{served}");

    for (process, long) in &mut old {
        assert!(long.works().await, "an old connection goes on");
        process.runs();
    }
    for (mut process, long) in old {
        drop(long);
        process.ended().await;
    }
    assert!(process.client.socket.exists());
    assert!(Talk::open(fronts[1]).await.works().await);
}
