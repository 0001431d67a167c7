//! Clients and targets that misbehave, towards a data plane in a process of its own: the others are served meanwhile,
//! of the same listener and of another one, and memory stays bounded.
//!
//! Memory is compared within one run: what many cost against what half of them cost.

use std::{net::SocketAddr, time::Duration};

use evenkeel_local::api::{BackendSetSpec, Family, LeaseSpec, ListenerSpec, Target};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use crate::{CONNECTIONS, Process, support::*};

/// A data plane with two listeners: the one that is abused, and a neighbour.
struct Scene {
    process: Process,
    abused: SocketAddr,
    neighbour: SocketAddr,
    _servers: [Server; 1],
    _directory: tempfile::TempDir,
}

impl Scene {
    /// Targets of the abused listener beside a good one, and what that listener asks.
    async fn new(odd: &[SocketAddr], options: ListenerSpec, connections: Option<usize>) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let (first, second) = (address(), address());
        let pools = format!("{first},{second}");
        let variables = connections.map(|most| (CONNECTIONS, most.to_string()));
        let process = Process::start_with(directory.path(), &pools, variables.as_slice()).await;
        let server = Server::start("good").await;
        let client = &process.client;
        let mut set = backend_set(&[&server]);
        set.targets.extend(odd.iter().map(|at| Target {
            node: "odd".into(),
            address: at.ip(),
            port: at.port(),
        }));
        let abused = ListenerSpec {
            port: free_port(first),
            ..options
        };
        let abused = client.expose(set, abused).await;
        let lease = LeaseSpec {
            address: Some(second.into()),
            ..LeaseSpec::of(Family::V4)
        };
        client
            .create("/v1/leases/second", &body(lease))
            .await
            .done();
        let good: BackendSetSpec = backend_set(&[&server]);
        client
            .create("/v1/backendsets/second", &body(good))
            .await
            .done();
        let neighbour = ListenerSpec {
            lease: "second".into(),
            backend_set: "second".into(),
            ..listener(free_port(second))
        };
        let neighbour_at = SocketAddr::new(second.into(), neighbour.port);
        client
            .create("/v1/listeners/second", &body(neighbour))
            .await
            .done();
        Self {
            process,
            abused,
            neighbour: neighbour_at,
            _servers: [server],
            _directory: directory,
        }
    }

    /// New clients of both listeners are served.
    async fn others_are_served(&self, when: &str) {
        for front in [self.abused, self.neighbour] {
            let mut talk = Talk::open(front).await;
            assert!(talk.works().await, "{when}: {front}");
        }
    }

    async fn open(&self) -> u64 {
        self.process
            .client
            .listener("listener")
            .await
            .status
            .connections
    }

    async fn until_open(&self, want: u64) {
        until(&format!("{want} connections"), async || {
            (self.open().await == want).then_some(())
        })
        .await;
    }

    /// Bytes of memory that the process occupies.
    fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.child.id()));
        let status = status.expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
        kilobytes.expect("a size").parse::<u64>().expect("a number") * 1_024
    }
}

fn plain() -> ListenerSpec {
    listener(1)
}

/// A target that sends without an end, or says nothing at all, to each of its clients.
async fn odd_target(sends: bool) -> (SocketAddr, tokio::task::JoinHandle<()>) {
    let socket = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = socket.local_addr().expect("bound");
    let task = tokio::spawn(async move {
        let mut clients = JoinSet::new();
        loop {
            let (mut stream, _) = socket.accept().await.expect("a client");
            clients.spawn(async move {
                let _ = stream.write_all(b"odd\n").await;
                while sends && stream.write_all(&[b'a'; 1 << 14]).await.is_ok() {}
                std::future::pending::<()>().await;
            });
        }
    });
    (address, task)
}

/// Connections until so many went to the odd target; those that went to the good one end.
async fn odd_connections(front: SocketAddr, count: usize) -> Vec<Talk> {
    let mut odd = Vec::new();
    let mut good = Vec::new();
    while odd.len() < count {
        let talk = Talk::open(front).await;
        // The good target's connections stay open until then: the next one goes to the less busy target.
        if talk.server == "odd" {
            odd.push(talk)
        } else {
            good.push(talk)
        }
    }
    odd
}

#[tokio::test]
async fn slow_readers() {
    let (endless, task) = odd_target(true).await;
    let scene = Scene::new(&[endless], plain(), None).await;
    let sent = async || {
        scene
            .process
            .client
            .listener_metric("sent_bytes_total", scene.abused, None)
            .await
    };
    let before = scene.memory();
    // They read their greeting and no more.
    let readers = odd_connections(scene.abused, 40).await;
    let mut last = 0;
    // Until the buffers of the kernel are full on both sides.
    until("nothing more is taken from the target", async || {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = sent().await;
        (std::mem::replace(&mut last, now) == now).then_some(())
    })
    .await;
    let cost = scene.memory().saturating_sub(before) / readers.len() as u64;
    assert!(
        cost < 256 << 10,
        "{cost} bytes of memory for each slow reader"
    );
    scene.others_are_served("with slow readers").await;
    // One that reads on gets more.
    let mut reader = readers.into_iter().next().expect("one");
    let mut some = vec![0; 1 << 20];
    within("what was waiting", reader.stream.read_exact(&mut some))
        .await
        .expect("more");
    task.abort();
}

#[tokio::test]
async fn clients_that_send_one_byte_at_a_time() {
    // A tenth of a second stands for a second, and an idle timeout of a second for a longer one.
    let options = ListenerSpec {
        idle_timeout_seconds: Some(1),
        ..plain()
    };
    let scene = Scene::new(&[], options, None).await;
    let mut slow = JoinSet::new();
    for _ in 0..100 {
        let mut talk = Talk::open(scene.abused).await;
        slow.spawn(async move {
            for byte in b'a'..b'u' {
                talk.stream.write_all(&[byte]).await.expect("written");
                talk.stream.flush().await.expect("written");
                let back = within("an echo", talk.stream.read_u8())
                    .await
                    .expect("a byte");
                assert_eq!(back, byte);
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
    }
    let mut served = 0;
    while !slow.is_empty() {
        scene
            .others_are_served("with clients that send a byte at a time")
            .await;
        served += 1;
        while let Some(ended) = slow.try_join_next() {
            ended.expect("it was never idle for a second");
        }
    }
    assert!(served >= 20, "{served} times meanwhile");
}

#[tokio::test]
#[expect(
    clippy::print_stdout,
    reason = "what it cost, and where a limit made it smaller"
)]
async fn ten_thousand_connections_opened_and_left() {
    // Each costs this process two files, as it does the data plane; both keep some for themselves.
    let hard = getrlimit(Resource::Nofile).maximum;
    let raised = Rlimit {
        current: hard,
        maximum: hard,
    };
    setrlimit(Resource::Nofile, raised).expect("the limit that is allowed");
    let possible = hard.map_or(u64::MAX, |files| files.saturating_sub(1_500) / 2);
    let many = possible.min(10_000);
    if many < 10_000 {
        println!("{many} connections instead of 10,000: the hard limit of open files is {hard:?}");
    }
    let scene = Scene::new(&[], plain(), None).await;
    let first = scene.memory();
    let mut talks = Vec::new();
    let mut costs = Vec::new();
    for half in 1..=2 {
        let before = scene.memory();
        while talks.len() as u64 * 2 < many * half {
            talks.push(Talk::open(scene.abused).await);
        }
        costs.push(scene.memory().saturating_sub(before) / (many / 2));
        scene.others_are_served("with idle connections").await;
    }
    let open = talks.len() as u64;
    println!(
        "{open} idle connections: {costs:?} bytes each of the first and the second half, {first} without any"
    );
    assert!(costs[1] <= 2 * costs[0].max(2_048), "{costs:?} bytes each");
    assert!(
        costs.iter().all(|cost| *cost < 16 << 10),
        "{costs:?} bytes each"
    );
    assert!(scene.open().await >= open);
    for talk in talks.iter_mut().step_by(997) {
        assert!(talk.works().await, "it was only idle");
    }

    drop(talks);
    scene.until_open(0).await;
    scene.others_are_served("after idle connections").await;
}

#[tokio::test]
async fn a_target_that_accepts_and_never_answers() {
    // It accepts in the kernel, and nobody takes the connections up: no greeting comes.
    let socket = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let scene = Scene::new(&[socket.local_addr().expect("bound")], plain(), None).await;
    let mut clients = Vec::new();
    for _ in 0..60 {
        clients.push(
            TcpStream::connect(scene.abused)
                .await
                .expect("a connection"),
        );
    }
    // Of the same listener's clients, those of the other target are served, and the rest are left waiting.
    let mut greeted = Vec::new();
    until("half of the clients are greeted", async || {
        let mut byte = [0];
        for mut stream in std::mem::take(&mut clients) {
            match stream.try_read(&mut byte) {
                Ok(1) => {
                    stream.write_all(b"x").await.expect("written");
                    greeted.push(stream);
                }
                Ok(_) => panic!("a connection was closed"),
                Err(_) => clients.push(stream),
            }
        }
        (greeted.len() == 30).then_some(())
    })
    .await;
    for mut stream in greeted {
        let mut rest = [0; 5];
        within("the greeting and an echo", stream.read_exact(&mut rest))
            .await
            .expect("read");
        assert_eq!(&rest, b"ood\nx");
    }
    let mut talk = Talk::open(scene.neighbour).await;
    assert!(talk.works().await);
}

#[tokio::test]
async fn peers_that_close_half_and_stay() {
    let (silent, task) = odd_target(false).await;
    let options = ListenerSpec {
        idle_timeout_seconds: Some(1),
        ..plain()
    };
    let scene = Scene::new(&[silent], options, None).await;
    // The client says that it has no more to say, and the target never does.
    let mut half = odd_connections(scene.abused, 30).await;
    for talk in &mut half {
        talk.stream.shutdown().await.expect("half closed");
    }
    scene
        .others_are_served("with half-closed connections")
        .await;
    // They do not stay for ever.
    for talk in half {
        talk.closed().await;
    }
    scene.until_open(0).await;
    task.abort();
}

#[tokio::test]
async fn a_flood_at_the_limit_of_connections() {
    let scene = Scene::new(&[], plain(), Some(8)).await;
    let limit = scene
        .process
        .client
        .metric("evenkeel_dataplane_connections_limit")
        .await;
    assert_eq!(limit, 8);
    // Many more than may be open, again and again.
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut flood = JoinSet::new();
    for _ in 0..100 {
        let (front, stopped) = (scene.abused, stopped.clone());
        flood.spawn(async move {
            let mut served = 0;
            while !*stopped.borrow() {
                served += usize::from(Talk::open(front).await.works().await);
            }
            served
        });
    }
    let memory = scene.memory();
    for _ in 0..20 {
        scene.others_are_served("in the flood").await;
        let open = scene.open().await
            + scene
                .process
                .client
                .listener("second")
                .await
                .status
                .connections;
        // Those that are being closed are counted a moment longer by one of the two.
        assert!(open <= 9, "{open} are open");
    }
    let grown = scene.memory().saturating_sub(memory);
    assert!(grown < 16 << 20, "{grown} bytes for clients that wait");
    stop.send_replace(true);
    let served = flood.join_all().await;
    assert!(
        served.iter().all(|served| *served > 0),
        "somebody was left out: {served:?}"
    );
    scene.until_open(0).await;
}
