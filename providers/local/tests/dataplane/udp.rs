//! UDP: flows, where they go, and how they leave a target that has gone.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use evenkeel_local::api::{
    BackendSetSpec, Family, Health, Lease, LeaseSpec, Listener, ListenerPhase, ListenerSpec,
    Protocol, Target, TargetStatus,
};
use tokio::{net::UdpSocket, task::JoinHandle};

use crate::support::*;

mod unreachable;

/// A server that answers each datagram with its name and the datagram.
pub struct Echo {
    name: String,
    address: SocketAddr,
    heard: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Echo {
    pub async fn start(name: &str) -> Self {
        Self::on(name, "127.0.0.1:0".parse().expect("an address")).await
    }

    async fn on(name: &str, address: SocketAddr) -> Self {
        let socket = until("a port to serve on", async || {
            UdpSocket::bind(address).await.ok()
        })
        .await;
        let address = socket.local_addr().expect("bound");
        let heard = Arc::new(AtomicUsize::new(0));
        let (own, count) = (name.to_owned(), Arc::clone(&heard));
        let task = tokio::spawn(async move {
            let mut buffer = vec![0; 1 << 16];
            loop {
                let (length, client) = socket.recv_from(&mut buffer).await.expect("a datagram");
                count.fetch_add(1, Ordering::Relaxed);
                let mut answer = own.clone().into_bytes();
                answer.extend(&buffer[..length]);
                // The largest question has no room for a name in its answer.
                answer.truncate(65_507);
                // Whoever asked may be gone.
                let _ = socket.send_to(&answer, client).await;
            }
        });
        Self {
            name: name.to_owned(),
            address,
            heard,
            task,
        }
    }

    fn target(&self) -> Target {
        Target {
            node: format!("node-{}", self.name),
            address: self.address.ip(),
            port: self.address.port(),
        }
    }

    /// Ends it: its port refuses from now on.
    async fn stop(mut self) -> SocketAddr {
        self.task.abort();
        let _ = (&mut self.task).await;
        self.address
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A client with a port of its own, connected: what comes from another address is not heard.
pub struct Asker(pub UdpSocket);

impl Asker {
    pub async fn new(front: SocketAddr) -> Self {
        let any: IpAddr = if front.is_ipv4() {
            IpAddr::from([127, 0, 0, 1])
        } else {
            Ipv6Addr::LOCALHOST.into()
        };
        let socket = UdpSocket::bind((any, 0)).await.expect("a port");
        socket.connect(front).await.expect("connected");
        Self(socket)
    }

    pub async fn say(&self, what: &[u8]) {
        // A closed port tells so with the next call.
        let _ = self.0.send(what).await;
    }

    /// What comes back within a short while.
    async fn hear(&self) -> Option<Vec<u8>> {
        let mut buffer = vec![0; 1 << 16];
        let length =
            tokio::time::timeout(Duration::from_millis(300), self.0.recv(&mut buffer)).await;
        let length = length.ok()?.ok()?;
        buffer.truncate(length);
        Some(buffer)
    }

    /// Who answers, if anybody does at once.
    pub async fn try_ask(&self) -> Option<String> {
        self.say(b" here").await;
        let answer = String::from_utf8(self.hear().await?).expect("text");
        Some(
            answer
                .strip_suffix(" here")
                .expect("our own words")
                .to_owned(),
        )
    }

    /// Who answers, as a client asks that repeats its question.
    pub async fn ask(&self) -> String {
        until("an answer", async || self.try_ask().await).await
    }
}

pub fn udp(port: u16) -> ListenerSpec {
    ListenerSpec {
        protocol: Protocol::Udp,
        ..listener(port)
    }
}

pub fn set(servers: &[&Echo]) -> BackendSetSpec {
    BackendSetSpec {
        targets: servers.iter().map(|server| server.target()).collect(),
        ..backend_set(&[])
    }
}

async fn flows(plane: &Plane) -> u64 {
    plane.client.listener("listener").await.status.connections
}

async fn counted(plane: &Plane, name: &str, front: SocketAddr) -> u64 {
    plane
        .client
        .metric_of(Protocol::Udp, name, front, None)
        .await
}

async fn refused(plane: &Plane, front: SocketAddr, reason: &str) -> u64 {
    plane
        .client
        .metric_of(
            Protocol::Udp,
            "connections_refused_total",
            front,
            Some(reason),
        )
        .await
}

async fn until_healthy(client: &Client, count: usize) {
    until("targets are healthy", async || {
        let targets = client.backend_set("set").await.status.targets;
        let healthy = |target: &&TargetStatus| target.health == Health::Healthy;
        (targets.iter().filter(healthy).count() == count).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn clients_spread_over_the_targets_and_each_stays_with_its_own() {
    let (_directory, plane, address) = plane().await;
    let servers = [Echo::start("a").await, Echo::start("b").await];
    let front = plane
        .client
        .expose(set(&servers.each_ref()), udp(free_port(address)))
        .await;
    let mut count = BTreeMap::new();
    let mut askers = Vec::new();
    for _ in 0..100 {
        let asker = Asker::new(front).await;
        let server = asker.ask().await;
        *count.entry(server.clone()).or_insert(0) += 1;
        askers.push((asker, server));
    }
    assert_eq!(count, [("a".into(), 50), ("b".into(), 50)].into());
    for (asker, server) in &askers {
        assert_eq!(asker.ask().await, *server);
    }
    assert_eq!(flows(&plane).await, 100);
    assert_eq!(
        counted(&plane, "connections_accepted_total", front).await,
        100,
        "a flow for each client"
    );
    // Answers that came late may have been asked for twice.
    let heard: usize = servers
        .iter()
        .map(|server| server.heard.load(Ordering::Relaxed))
        .sum();
    for name in ["received_datagrams_total", "sent_datagrams_total"] {
        assert_eq!(counted(&plane, name, front).await, heard as u64, "{name}");
    }
    assert_eq!(
        counted(&plane, "received_bytes_total", front).await,
        5 * heard as u64
    );
    assert_eq!(
        counted(&plane, "sent_bytes_total", front).await,
        6 * heard as u64
    );
    assert_eq!(counted(&plane, "dropped_datagrams_total", front).await, 0);
    plane.stop().await;
}

#[tokio::test]
async fn udp_and_tcp_share_a_number_and_go_their_own_ways() {
    let (_directory, plane, address) = plane().await;
    let client = &plane.client;
    let (tcp, echo) = (Server::start("tcp").await, Echo::start("udp").await);
    let port = free_port(address);
    let front = client.expose(backend_set(&[&tcp]), listener(port)).await;
    client
        .create("/v1/backendsets/udp", &body(set(&[&echo])))
        .await
        .done();
    let beside = ListenerSpec {
        backend_set: "udp".into(),
        ..udp(port)
    };
    client
        .create("/v1/listeners/udp", &body(beside.clone()))
        .await
        .done();
    assert_eq!(
        client.listener("udp").await.status.phase,
        ListenerPhase::Ready
    );
    let asker = Asker::new(front).await;
    let mut talk = Talk::open(front).await;
    assert_eq!(
        (asker.ask().await, talk.server.as_str()),
        ("udp".into(), "tcp")
    );

    let answer = client.create("/v1/listeners/third", &body(beside)).await;
    assert_eq!((answer.status, answer.code().as_str()), (409, "PortTaken"));
    client.delete("/v1/listeners/udp").await.done();
    assert!(talk.works().await, "the other protocol's listener went");
    let late = Asker::new(front).await;
    assert_eq!(late.try_ask().await, None, "and its port is closed");
    plane.stop().await;
}

#[tokio::test]
async fn udp_works_over_ipv6() {
    let directory = tempfile::tempdir().expect("a directory");
    let plane = Plane::start(config(directory.path(), &["::1"])).await;
    let client = &plane.client;
    let lease = LeaseSpec {
        family: Family::V6,
        address: None,
        pool: None,
        ports: Default::default(),
    };
    let lease: Lease = client
        .create("/v1/leases/lease", &body(lease))
        .await
        .object();
    // One target of each family: the way to a target is another one than the way to the client.
    let (six, four) = (
        Echo::on("six", "[::1]:0".parse().expect("an address")).await,
        Echo::start("four").await,
    );
    client
        .create("/v1/backendsets/set", &body(set(&[&six, &four])))
        .await
        .done();
    let made: Listener = client
        .create(
            "/v1/listeners/listener",
            &body(udp(free_port(Ipv6Addr::LOCALHOST))),
        )
        .await
        .object();
    assert_eq!(made.status.phase, ListenerPhase::Ready);
    let front = SocketAddr::new(lease.status.address, made.spec.port);
    let askers = [Asker::new(front).await, Asker::new(front).await];
    let answers: BTreeSet<String> = [askers[0].ask().await, askers[1].ask().await].into();
    assert_eq!(answers, ["four".to_owned(), "six".to_owned()].into());
    plane.stop().await;
}

#[tokio::test]
async fn the_largest_datagram_passes_whole() {
    let (_directory, plane, address) = plane().await;
    let server = Echo::start("").await;
    let front = plane
        .client
        .expose(set(&[&server]), udp(free_port(address)))
        .await;
    let asker = Asker::new(front).await;
    for length in [0, 1, 1_472, 9_000, 65_507] {
        let question: Vec<u8> = (0..length).map(|at: u32| at as u8).collect();
        let answer = until("an answer", async || {
            asker.say(&question).await;
            asker.hear().await
        })
        .await;
        assert!(
            answer == question,
            "{length} bytes came back as {}",
            answer.len()
        );
    }
    plane.stop().await;
}

#[tokio::test]
async fn source_ranges_hold_for_every_datagram() {
    let (_directory, plane, address) = plane().await;
    let client = &plane.client;
    let server = Echo::start("a").await;
    let port = free_port(address);
    let ranges = |ranges: &[&str]| ListenerSpec {
        source_ranges: Some(
            ranges
                .iter()
                .map(|range| range.parse().expect("a range"))
                .collect(),
        ),
        ..udp(port)
    };
    let front = client
        .expose(set(&[&server]), ranges(&["10.0.0.0/8"]))
        .await;
    let asker = Asker::new(front).await;
    assert_eq!(asker.try_ask().await, None);
    let count = refused(&plane, front, "source_range").await;
    assert_eq!((count, flows(&plane).await), (1, 0));

    let change = async |spec: ListenerSpec| {
        client
            .put("/v1/listeners/listener", &body(spec))
            .await
            .done();
    };
    change(ranges(&["10.0.0.0/8", "127.0.0.1/32"])).await;
    assert_eq!(asker.ask().await, "a");
    assert_eq!(flows(&plane).await, 1);
    change(ranges(&[])).await;
    assert_eq!(asker.try_ask().await, None, "a flow that was let in before");
    assert_eq!(flows(&plane).await, 0);
    change(udp(port)).await;
    assert_eq!(asker.ask().await, "a");
    plane.stop().await;
}

#[tokio::test]
async fn a_target_that_refuses_loses_its_flows_and_serves_again_later() {
    let (_directory, plane, address) = plane().await;
    let (a, b) = (Echo::start("a").await, Echo::start("b").await);
    let front = plane
        .client
        .expose(set(&[&a, &b]), udp(free_port(address)))
        .await;
    let asker = Asker::new(front).await;
    let (stays, goes) = match asker.ask().await.as_str() {
        "a" => (b, a),
        _ => (a, b),
    };
    let gone = goes.stop().await;
    assert_eq!(asker.ask().await, stays.name);
    let failures = counted(&plane, "connect_failures_total", front).await;
    assert!(failures > 0, "the refusal is counted");

    // The only one there is gets another chance each time.
    let only = stays.stop().await;
    assert_eq!(asker.try_ask().await, None);
    let back = Echo::on("back", only).await;
    assert_eq!(asker.ask().await, "back");
    let again = Echo::on("again", gone).await;
    drop(back);
    assert_eq!(asker.ask().await, "again");
    drop(again);
    plane.stop().await;
}

#[tokio::test]
async fn a_removed_target_drains_and_then_loses_its_flows() {
    let (_directory, plane, address) = plane().await;
    let client = &plane.client;
    let (a, b) = (Echo::start("a").await, Echo::start("b").await);
    let front = client.expose(set(&[&a]), udp(free_port(address))).await;
    let (old, quiet) = (Asker::new(front).await, Asker::new(front).await);
    assert_eq!(
        (old.ask().await, quiet.ask().await),
        ("a".into(), "a".into())
    );

    let drain = async |drain_seconds| {
        let spec = BackendSetSpec {
            drain_seconds,
            ..set(&[&b])
        };
        client.put("/v1/backendsets/set", &body(spec)).await.done();
    };
    drain(600).await;
    assert_eq!(old.ask().await, "a", "it drains");
    assert_eq!(
        Asker::new(front).await.ask().await,
        "b",
        "new flows go elsewhere"
    );
    assert_eq!(
        client.backend_set("set").await.status.draining,
        [a.target()]
    );

    client
        .put("/v1/backendsets/set", &body(set(&[&a, &b])))
        .await
        .done();
    drain(0).await;
    assert_eq!(old.ask().await, "b", "the next datagram finds another");
    client
        .drained("set", "also the flow of a client that says nothing ends")
        .await;
    assert_eq!(quiet.ask().await, "b");
    plane.stop().await;
}

#[tokio::test]
async fn an_unhealthy_target_loses_its_flows_at_once_whether_it_is_in_the_set_or_has_left() {
    for has_left in [false, true] {
        let (_directory, plane, address) = plane().await;
        let client = &plane.client;
        // The health of each target is a TCP port beside it, on an address that is nobody else's.
        let own = || SocketAddr::new(crate::support::address().into(), 0);
        let (a, b) = (Echo::on("a", own()).await, Echo::on("b", own()).await);
        let (on_a, on_b) = (
            Server::on("a", a.address).await,
            Server::on("b", b.address).await,
        );
        let checked = |set: BackendSetSpec| BackendSetSpec {
            health_check: Some(tcp_check(100)),
            drain_seconds: 600,
            ..set
        };
        let front = client
            .expose(checked(set(&[&a])), udp(free_port(address)))
            .await;
        until_healthy(client, 1).await;
        let asker = Asker::new(front).await;
        assert_eq!(asker.ask().await, "a");
        let next = if has_left { set(&[&b]) } else { set(&[&a, &b]) };
        client
            .put("/v1/backendsets/set", &body(checked(next)))
            .await
            .done();
        until_healthy(client, if has_left { 1 } else { 2 }).await;
        assert_eq!(asker.ask().await, "a", "it is well; has left: {has_left}");

        // The target itself still answers: only its health says that it must not be used.
        on_a.stop().await;
        until("the flow moves", async || {
            (asker.ask().await == "b").then_some(())
        })
        .await;
        drop(on_b);
        plane.stop().await;
    }
}

#[tokio::test]
async fn a_flow_ends_when_it_is_idle() {
    let (_directory, plane, address) = plane().await;
    let server = Echo::start("a").await;
    let spec = ListenerSpec {
        idle_timeout_seconds: Some(1),
        ..udp(free_port(address))
    };
    let front = plane.client.expose(set(&[&server]), spec).await;
    let asker = Asker::new(front).await;
    assert_eq!(asker.ask().await, "a");
    assert_eq!(flows(&plane).await, 1);
    until("it ends", async || (flows(&plane).await == 0).then_some(())).await;
    assert_eq!(asker.ask().await, "a", "and begins anew");
    assert_eq!(
        counted(&plane, "connections_accepted_total", front).await,
        2
    );
    plane.stop().await;
}

#[tokio::test]
async fn the_table_is_bounded_and_silent_flows_make_place() {
    let directory = tempfile::tempdir().expect("a directory");
    let address = address();
    let mut config = config(directory.path(), &[&address.to_string()]);
    // Half of them are for flows.
    config.max_connections = Some(8);
    let plane = Plane::start(config).await;
    let server = Echo::start("a").await;
    // It listens and never answers.
    let silent = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let front = plane
        .client
        .expose(set(&[&server]), udp(free_port(address)))
        .await;
    let mut askers = Vec::new();
    for _ in 0..4 {
        let asker = Asker::new(front).await;
        assert_eq!(asker.ask().await, "a");
        askers.push(asker);
    }
    let fifth = Asker::new(front).await;
    assert_eq!(fifth.try_ask().await, None, "those who are served stay");
    for asker in &askers {
        assert_eq!(asker.ask().await, "a");
    }
    assert_eq!(flows(&plane).await, 4);
    assert!(counted(&plane, "dropped_datagrams_total", front).await > 0);

    let change = async |target: Target| {
        let spec = BackendSetSpec {
            targets: vec![target],
            drain_seconds: 0,
            ..set(&[])
        };
        plane
            .client
            .put("/v1/backendsets/set", &body(spec))
            .await
            .done();
    };
    let silent_address = silent.local_addr().expect("bound");
    change(Target {
        node: "silent".into(),
        address: silent_address.ip(),
        port: silent_address.port(),
    })
    .await;
    for asker in &askers {
        asker.say(b" lost").await;
    }
    let mut buffer = [0; 8];
    for _ in &askers {
        within("the silent target hears", silent.recv(&mut buffer))
            .await
            .expect("a datagram");
    }
    until("a flow that nobody answers makes place", async || {
        fifth.say(b" here").await;
        let heard = tokio::time::timeout(Duration::from_millis(200), silent.recv(&mut buffer));
        heard.await.is_ok().then_some(())
    })
    .await;
    assert_eq!(flows(&plane).await, 4);
    plane.stop().await;
}

#[tokio::test]
async fn a_proxy_header_stands_in_front_of_every_datagram() {
    let (_directory, plane, address) = plane().await;
    let server = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let own = server.local_addr().expect("bound");
    let spec = BackendSetSpec {
        targets: vec![Target {
            node: "a".into(),
            address: own.ip(),
            port: own.port(),
        }],
        ..set(&[])
    };
    let port = free_port(address);
    let listener = ListenerSpec {
        proxy_protocol: true,
        ..udp(port)
    };
    let front = plane.client.expose(spec, listener).await;
    let asker = Asker::new(front).await;
    let me = asker.0.local_addr().expect("bound");
    for question in [&b"one"[..], b"two"] {
        asker.say(question).await;
        let mut buffer = [0; 64];
        let length = within("a datagram", server.recv(&mut buffer))
            .await
            .expect("it comes");
        let mut want = b"\r\n\r\n\0\r\nQUIT\n\x21\x12\0\x0c\x7f\0\0\x01".to_vec();
        want.extend(address.octets());
        want.extend(me.port().to_be_bytes());
        want.extend(port.to_be_bytes());
        want.extend(question);
        assert_eq!(buffer[..length], want);
    }
    // A change holds for the flows that are there.
    plane
        .client
        .put("/v1/listeners/listener", &body(udp(port)))
        .await
        .done();
    asker.say(b"three").await;
    let mut buffer = [0; 64];
    let length = within("a datagram", server.recv(&mut buffer))
        .await
        .expect("it comes");
    assert_eq!(&buffer[..length], b"three");
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_in_use_is_told_and_never_shared() {
    let (_directory, plane, address) = plane().await;
    let client = &plane.client;
    let server = Echo::start("a").await;
    // One that would share it with anybody of this user.
    let squatter =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None).expect("a socket");
    squatter.set_reuse_port(true).expect("it may");
    let any = SocketAddr::new(address.into(), 0);
    squatter.bind(&any.into()).expect("a port");
    let port = squatter
        .local_addr()
        .expect("bound")
        .as_socket()
        .expect("IPv4");
    let (set, wish) = (set(&[&server]), udp(port.port()));
    client.opens_once_free(port, squatter, set, wish).await;
    assert_eq!(Asker::new(port).await.ask().await, "a");
    plane.stop().await;
}

#[tokio::test]
async fn without_a_target_datagrams_are_counted_and_lost() {
    let (_directory, plane, address) = plane().await;
    let front = plane
        .client
        .expose(BackendSetSpec::default(), udp(free_port(address)))
        .await;
    let asker = Asker::new(front).await;
    assert_eq!(asker.try_ask().await, None);
    let count = refused(&plane, front, "no_target").await;
    assert_eq!((count, flows(&plane).await), (1, 0));
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ports_are_handed_over_and_no_datagram_of_a_client_is_lost() {
    let directory = tempfile::tempdir().expect("a directory");
    let address = address();
    let mut config = config(directory.path(), &[&address.to_string()]);
    // Nothing is opened a second time while this runs.
    config.bind_retry = Duration::from_secs(3_600);
    let plane = Plane::start(config.clone()).await;
    let server = Echo::start("a").await;
    let front = plane
        .client
        .expose(set(&[&server]), udp(free_port(address)))
        .await;
    let asker = Asker::new(front).await;
    assert_eq!(asker.ask().await, "a");
    let before = server.heard.load(Ordering::Relaxed);
    let asking = tokio::spawn(async move {
        let mut asked = 0;
        while asked < 2_000 {
            asker.say(b" here").await;
            asked += 1;
            if asked % 20 == 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        (asker, asked)
    });
    config.take_over = true;
    let next = Plane::start(config).await;
    plane.ended().await;
    assert_eq!(
        next.client.listener("listener").await.status.phase,
        ListenerPhase::Ready
    );
    let (_asker, asked) = within("all is asked", asking).await.expect("no panic");
    until("everything is heard", async || {
        (server.heard.load(Ordering::Relaxed) - before == asked).then_some(())
    })
    .await;
    assert_eq!(Asker::new(front).await.ask().await, "a");
    next.stop().await;
}

/// Asks until told to stop, each time with other words of its own. How often it was answered.
async fn chat(asker: Asker, number: usize, stop: Arc<AtomicBool>) -> usize {
    let (own, mut answered) = (format!("{number}/"), 0);
    for turn in 0.. {
        if stop.load(Ordering::Relaxed) {
            return answered;
        }
        asker.say(format!(" {own}{turn}").as_bytes()).await;
        let Some(answer) = asker.hear().await else {
            continue;
        };
        let answer = String::from_utf8(answer).expect("text");
        let (name, words) = answer.split_once(' ').expect("a name and our words");
        assert!(["a", "b"].contains(&name), "{answer}");
        assert!(words.starts_with(&own), "{own} heard {words}");
        answered += 1;
    }
    unreachable!("turns do not end")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_handover_no_answer_goes_to_another_client() {
    let directory = tempfile::tempdir().expect("a directory");
    let address = address();
    let mut config = config(directory.path(), &[&address.to_string()]);
    let mut plane = Plane::start(config.clone()).await;
    let (a, b) = (Echo::start("a").await, Echo::start("b").await);
    let front = plane
        .client
        .expose(set(&[&a, &b]), udp(free_port(address)))
        .await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut chats = Vec::new();
    for number in 0..12 {
        let asker = Asker::new(front).await;
        chats.push(tokio::spawn(chat(asker, number, Arc::clone(&stop))));
    }
    for turn in 0..4 {
        until("every client has a flow", async || {
            (flows(&plane).await == 12).then_some(())
        })
        .await;
        config = successor(&config);
        config.version = format!("turn {turn}");
        let next = Plane::start(config.clone()).await;
        std::mem::replace(&mut plane, next).ended().await;
    }
    stop.store(true, Ordering::Relaxed);
    for chat in chats {
        let answered = within("its end", chat).await.expect("its own answers");
        assert!(answered > 0);
    }
    plane.stop().await;
}
