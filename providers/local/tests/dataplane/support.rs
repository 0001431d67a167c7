//! A data plane, its API and servers behind it, each ended with the test that took it.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener as StdListener},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicUsize, Ordering},
    },
    time::Duration,
};

use evenkeel_local::{
    api::{
        ApiError, BackendSet, BackendSetSpec, Family, HealthCheck, HealthCheckKind, Info, Lease,
        LeaseSpec, Listener, ListenerPhase, ListenerSpec, Marks, Objects, Protocol, Put, Target,
        failure,
    },
    dataplane::{Config, Error, Pool, serve},
};
use http_body_util::{BodyExt, Full};
use hyper::{
    Request,
    body::Bytes,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream},
    net::{TcpListener, TcpSocket, TcpStream, UnixStream},
    sync::oneshot,
    task::JoinHandle,
};

/// Far more than anything here takes.
const DEADLINE: Duration = Duration::from_secs(30);

/// Asks again and again until there is an answer.
pub async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(DEADLINE, asking)
        .await
        .unwrap_or_else(|_| panic!("{what}: it did not come about"))
}

/// Waits for something that must happen.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future)
        .await
        .unwrap_or_else(|_| panic!("{what}: it did not happen"))
}

/// A loopback address that nobody else on this machine uses: it carries the process id and a count.
pub fn address() -> Ipv4Addr {
    static COUNT: AtomicU8 = AtomicU8::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    assert!(count < 120, "a test binary has 120 addresses");
    let [.., high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 100 + count, high, low)
}

/// A port of the address that is free.
pub fn free_port(address: impl Into<IpAddr>) -> u16 {
    let socket = StdListener::bind((address.into(), 0)).expect("a free port");
    socket.local_addr().expect("bound").port()
}

pub fn marks(cluster: &str) -> Marks {
    Marks {
        cluster: cluster.into(),
        group: "uid-1".into(),
        service: "shop/checkout".into(),
        member: "uid-1".into(),
        retain: false,
        labels: Default::default(),
    }
}

pub fn body<Spec: Serialize>(spec: Spec) -> Put<Spec> {
    Put {
        marks: marks("cluster-1"),
        spec,
    }
}

pub fn backend_set(servers: &[&Server]) -> BackendSetSpec {
    BackendSetSpec {
        targets: servers.iter().map(|server| server.target()).collect(),
        health_check: None,
        drain_seconds: 30,
        affinity_seconds: None,
    }
}

pub fn tcp_check(interval_ms: u32) -> HealthCheck {
    HealthCheck {
        kind: HealthCheckKind::Tcp,
        port: None,
        interval_ms,
        timeout_ms: 1_000,
        rise: 1,
        fall: 2,
    }
}

pub fn listener(port: u16) -> ListenerSpec {
    ListenerSpec {
        lease: "lease".into(),
        port,
        protocol: Protocol::Tcp,
        backend_set: "set".into(),
        source_ranges: None,
        proxy_protocol: false,
        idle_timeout_seconds: None,
        access_log: false,
        max_connections: None,
    }
}

/// An answer of the API.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub bytes: Bytes,
}

impl Answer {
    #[track_caller]
    pub fn object<T: DeserializeOwned>(self) -> T {
        assert!(matches!(self.status, 200 | 201), "{self:?}");
        serde_json::from_slice(&self.bytes).expect("an object")
    }

    /// The code of a refusal.
    #[track_caller]
    pub fn code(&self) -> String {
        assert!(self.status >= 400, "{self:?}");
        serde_json::from_slice::<ApiError>(&self.bytes)
            .expect("an error")
            .code
    }

    #[track_caller]
    pub fn done(self) -> Self {
        assert!(self.status < 300, "{self:?}");
        self
    }
}

/// The API of a data plane; every request takes its own connection.
#[derive(Clone, Debug)]
pub struct Client {
    pub socket: PathBuf,
}

/// One connection to the API.
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    task: JoinHandle<hyper::Result<()>>,
}

impl Connection {
    pub async fn ask(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "dataplane");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request
            .body(Full::new(Bytes::from(body)))
            .expect("a request");
        within("the connection", self.sender.ready())
            .await
            .expect("an open connection");
        let answer = within(path, self.sender.send_request(request))
            .await
            .expect("an answer");
        let status = answer.status().as_u16();
        let bytes = answer
            .into_body()
            .collect()
            .await
            .expect("the body")
            .to_bytes();
        Answer { status, bytes }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Client {
    pub async fn connect(&self) -> Connection {
        let stream = UnixStream::connect(&self.socket).await.expect("the socket");
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("HTTP");
        Connection {
            sender,
            task: tokio::spawn(connection),
        }
    }

    pub async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Answer {
        self.connect().await.ask(method, path, headers, body).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], Vec::new()).await
    }

    pub async fn put(&self, path: &str, body: &impl Serialize) -> Answer {
        self.ask("PUT", path, &[], serde_json::to_vec(body).expect("JSON"))
            .await
    }

    pub async fn create(&self, path: &str, body: &impl Serialize) -> Answer {
        self.ask(
            "PUT",
            path,
            &[("if-none-match", "*")],
            serde_json::to_vec(body).expect("JSON"),
        )
        .await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.ask(
            "DELETE",
            path,
            &[("x-evenkeel-cluster", "cluster-1")],
            Vec::new(),
        )
        .await
    }

    pub async fn listener(&self, name: &str) -> Listener {
        self.get(&format!("/v1/listeners/{name}")).await.object()
    }

    pub async fn backend_set(&self, name: &str) -> BackendSet {
        self.get(&format!("/v1/backendsets/{name}")).await.object()
    }

    /// Waits until no target of a backend set drains any more.
    pub async fn drained(&self, name: &str, what: &str) {
        until(what, async || {
            let draining = self.backend_set(name).await.status.draining;
            draining.is_empty().then_some(())
        })
        .await;
    }

    pub async fn metric(&self, line: &str) -> u64 {
        let text =
            String::from_utf8(self.get("/v1/metrics").await.done().bytes.to_vec()).expect("text");
        let value = text
            .lines()
            .find_map(|found| found.strip_prefix(line)?.strip_prefix(' '));
        value
            .unwrap_or_else(|| panic!("no {line} in\n{text}"))
            .parse()
            .expect("a number")
    }

    /// A metric of a TCP listener of the Service of [`marks`].
    pub async fn listener_metric(
        &self,
        name: &str,
        address: SocketAddr,
        reason: Option<&str>,
    ) -> u64 {
        self.metric_of(Protocol::Tcp, name, address, reason).await
    }

    /// A metric of a listener of the Service of [`marks`].
    pub async fn metric_of(
        &self,
        protocol: Protocol,
        name: &str,
        address: SocketAddr,
        reason: Option<&str>,
    ) -> u64 {
        let (ip, port) = (address.ip(), address.port());
        let reason = reason.map(|reason| format!(",reason=\"{reason}\""));
        let line = format!(
            "evenkeel_dataplane_{name}{{namespace=\"shop\",service=\"checkout\",address=\"{ip}\",port=\"{port}\",protocol=\"{protocol}\"{}}}",
            reason.unwrap_or_default()
        );
        self.metric(&line).await
    }

    /// Makes lease `lease`, set `set` and listener `listener`, and returns where to connect.
    pub async fn expose(&self, set: BackendSetSpec, listener: ListenerSpec) -> SocketAddr {
        let lease: Lease = self
            .create("/v1/leases/lease", &body(LeaseSpec::of(Family::V4)))
            .await
            .object();
        self.create("/v1/backendsets/set", &body(set)).await.done();
        let made: Listener = self
            .create("/v1/listeners/listener", &body(listener))
            .await
            .object();
        assert_eq!(made.status.phase, ListenerPhase::Ready);
        SocketAddr::new(lease.status.address, made.spec.port)
    }

    /// A listener on a port that another socket has says so, and serves as soon as that is gone.
    pub async fn opens_once_free<S>(
        &self,
        port: SocketAddr,
        taken_by: S,
        set: BackendSetSpec,
        listener: ListenerSpec,
    ) {
        let lease = body(LeaseSpec::of(Family::V4));
        self.create("/v1/leases/lease", &lease).await.done();
        self.create("/v1/backendsets/set", &body(set)).await.done();
        let listener: Listener = self
            .create("/v1/listeners/listener", &body(listener))
            .await
            .object();
        let ListenerPhase::Failed { code, message } = listener.status.phase else {
            panic!("the port is taken");
        };
        assert_eq!(code, failure::PORT_IN_USE);
        let place = format!("port {} of {}", port.port(), port.ip());
        assert!(message.contains(&place), "{message}");
        drop(taken_by);
        until("the port is opened", async || {
            (self.listener("listener").await.status.phase == ListenerPhase::Ready).then_some(())
        })
        .await;
    }
}

/// A running data plane.
#[derive(Debug)]
pub struct Plane {
    pub client: Client,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<(), Error>>,
}

/// The configuration of a data plane whose files are in the directory.
pub fn config(directory: &Path, pools: &[&str]) -> Config {
    let mut config = Config::new(
        directory.join("dataplane.sock"),
        directory.join("state.json"),
        Pool::parse_all(pools).expect("pools"),
    );
    config.bind_retry = Duration::from_millis(200);
    config.stop_grace = Duration::from_millis(100);
    config
}

/// The configuration of a data plane that takes over from one with this configuration.
pub fn successor(config: &Config) -> Config {
    let mut config = config.clone();
    config.take_over = true;
    config.version = "the next".into();
    config
}

/// Everything is as it was, and every port open.
#[track_caller]
pub fn assert_same(before: &Objects, mut after: Objects) {
    for (after, before) in after.listeners.iter_mut().zip(&before.listeners) {
        assert_eq!(after.status.phase, ListenerPhase::Ready, "{}", after.name);
        // It counts the connections of one process.
        after.status = before.status.clone();
    }
    assert_eq!(after, *before);
}

impl Plane {
    /// Starts one and waits until it answers, also in the place of one that has another version.
    pub async fn start(config: Config) -> Self {
        let version = config.version.clone();
        let mut plane = Self::spawn(config);
        let client = plane.client.clone();
        let up = until("the API answers", async || {
            UnixStream::connect(&client.socket).await.ok()?;
            let answer = client.get("/v1/health").await;
            (answer.status == 200 && answer.object::<Info>().version == version).then_some(())
        });
        tokio::select! {
            () = up => {}
            ended = &mut plane.task => panic!("the data plane ended: {ended:?}"),
        }
        plane
    }

    pub fn spawn(config: Config) -> Self {
        let (stop, stopped) = oneshot::channel::<()>();
        let client = Client {
            socket: config.socket.clone(),
        };
        let task = tokio::spawn(serve(config, async {
            let _ = stopped.await;
        }));
        Self {
            client,
            stop: Some(stop),
            task,
        }
    }

    /// Waits until it has ended well by itself.
    pub async fn ended(mut self) {
        within("its end", &mut self.task)
            .await
            .expect("no panic")
            .expect("a good end");
    }

    pub fn has_ended(&self) -> bool {
        self.task.is_finished()
    }

    /// Ends it in good order.
    pub async fn stop(mut self) {
        drop(self.stop.take());
        within("stop", &mut self.task)
            .await
            .expect("no panic")
            .expect("a good end");
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A server that says its name to every client, then repeats what it hears, and says `bye` at the end.
#[derive(Debug)]
pub struct Server {
    pub name: String,
    pub address: SocketAddr,
    pub served: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Server {
    pub async fn start(name: &str) -> Self {
        Self::on(name, "127.0.0.1:0".parse().expect("an address")).await
    }

    pub async fn on(name: &str, address: SocketAddr) -> Self {
        let socket = until("a port to serve on", async || {
            TcpListener::bind(address).await.ok()
        })
        .await;
        let address = socket.local_addr().expect("bound");
        let served = Arc::new(AtomicUsize::new(0));
        let (own, count) = (name.to_owned(), Arc::clone(&served));
        let task = tokio::spawn(async move {
            let mut clients = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = socket.accept().await.expect("a client");
                count.fetch_add(1, Ordering::Relaxed);
                clients.spawn(talk(stream, own.clone()));
            }
        });
        Self {
            name: name.to_owned(),
            address,
            served,
            task,
        }
    }

    pub fn target(&self) -> Target {
        Target {
            node: self.name.clone(),
            address: self.address.ip(),
            port: self.address.port(),
        }
    }

    /// Ends it with all of its connections.
    pub async fn stop(mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn talk(mut stream: TcpStream, name: String) -> std::io::Result<()> {
    stream.write_all(format!("{name}\n").as_bytes()).await?;
    let mut buffer = vec![0; 4_096];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return stream.write_all(b"bye").await,
            count => stream.write_all(&buffer[..count]).await?,
        }
    }
}

/// A client's connection through the data plane.
#[derive(Debug)]
pub struct Talk {
    pub server: String,
    pub stream: BufStream<TcpStream>,
}

impl Talk {
    /// Connects and learns who answers; None when the connection is refused or closed without a word.
    pub async fn try_open(address: SocketAddr) -> Option<Self> {
        let opening = async {
            let mut stream = BufStream::new(TcpStream::connect(address).await.ok()?);
            let mut server = String::new();
            let count = stream.read_line(&mut server).await.ok()?;
            (count > 0).then(|| Self {
                server: server.trim().to_owned(),
                stream,
            })
        };
        within("a connection or its refusal", opening).await
    }

    pub async fn open(address: SocketAddr) -> Self {
        Self::try_open(address).await.expect("a connection")
    }

    /// The same from an address of one's own choice.
    pub async fn open_from(client: Ipv4Addr, address: SocketAddr) -> Self {
        let opening = async {
            let socket = TcpSocket::new_v4()?;
            socket.bind((client, 0).into())?;
            let mut stream = BufStream::new(socket.connect(address).await?);
            let mut server = String::new();
            stream.read_line(&mut server).await?;
            std::io::Result::Ok(Self {
                server: server.trim().to_owned(),
                stream,
            })
        };
        within("a connection", opening).await.expect("a connection")
    }

    /// Sends something and gets it back; false when the connection is gone.
    pub async fn works(&mut self) -> bool {
        let asking = async {
            self.stream.write_all(b"hello").await?;
            self.stream.flush().await?;
            let mut back = [0; 5];
            self.stream
                .read_exact(&mut back)
                .await
                .map(|_| back == *b"hello")
        };
        within("an echo", asking).await.unwrap_or(false)
    }

    /// Waits until the other side closes.
    pub async fn closed(mut self) {
        let mut rest = Vec::new();
        // A reset is a close too.
        let _ = within(
            "the end of the connection",
            self.stream.read_to_end(&mut rest),
        )
        .await;
        assert_eq!(rest, b"", "nothing was asked, so nothing may come");
    }
}

/// A data plane with one address that has one server exposed: its directory, itself, the server, and where to connect.
pub async fn exposed(
    change: impl FnOnce(&mut Config),
) -> (tempfile::TempDir, Config, Plane, Server, SocketAddr) {
    let directory = tempfile::tempdir().expect("a directory");
    let address = address();
    let mut config = config(directory.path(), &[&address.to_string()]);
    change(&mut config);
    let plane = Plane::start(config.clone()).await;
    let server = Server::start("a").await;
    let front = plane
        .client
        .expose(backend_set(&[&server]), listener(free_port(address)))
        .await;
    (directory, config, plane, server, front)
}

/// A data plane with one address, and its directory.
pub async fn plane() -> (tempfile::TempDir, Plane, Ipv4Addr) {
    let directory = tempfile::tempdir().expect("a directory");
    let address = address();
    let plane = Plane::start(config(directory.path(), &[&address.to_string()])).await;
    (directory, plane, address)
}
