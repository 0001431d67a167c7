//! What runs "in" a pod: a small server on every container port. Writes: answers on the sockets it is handed.
//!
//! TCP speaks HTTP and answers every path with three lines (pod, node, client as seen); `/stream` writes a line
//! every 100 ms for as long as both sides live, so that a test can hold a connection and see it cut or kept.
//! UDP answers every datagram with the same three lines and the datagram itself.
//! The sockets know the network namespace they were made in, so the server needs no process of its own there.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::http;

/// How long `/stream` waits between two lines.
pub const STREAM_INTERVAL: Duration = Duration::from_millis(100);
/// How long a stopping server waits for requests in flight before it cuts them.
const GRACE: Duration = Duration::from_secs(1);

/// Who answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) pod: String,
    pub(crate) node: String,
}

/// What a pod said about itself and its client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodAnswer {
    /// `metadata.name` of the pod that answered.
    pub pod: String,
    /// The node it runs on.
    pub node: String,
    /// The client's address as the pod saw it.
    pub client: SocketAddr,
}

impl PodAnswer {
    /// Reads the three lines that every pod answers with; text after them is ignored.
    ///
    /// `None` when the text is not a pod's answer.
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let mut value = |name: &str| {
            lines
                .next()?
                .strip_prefix(name)?
                .strip_prefix(": ")
                .map(str::to_owned)
        };
        Some(Self {
            pod: value("pod")?,
            node: value("node")?,
            client: value("client")?.parse().ok()?,
        })
    }
}

fn answer(identity: &Identity, client: SocketAddr) -> String {
    format!(
        "pod: {}\nnode: {}\nclient: {client}\n",
        identity.pod, identity.node
    )
}

/// The servers of one pod. Dropping it cuts every connection; [`PodServer::stop`] is the polite way.
pub(crate) struct PodServer {
    closing: CancellationToken,
    cut: CancellationToken,
    tasks: TaskTracker,
}

impl PodServer {
    /// Serves on all the sockets until stopped or dropped.
    pub(crate) fn start(identity: Identity, tcp: Vec<TcpListener>, udp: Vec<UdpSocket>) -> Self {
        let server = Self {
            closing: CancellationToken::new(),
            cut: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        let identity = Arc::new(identity);
        for listener in tcp {
            let context = Context {
                identity: identity.clone(),
                closing: server.closing.clone(),
                cut: server.cut.clone(),
                tasks: server.tasks.clone(),
            };
            server.tasks.spawn(accept(listener, context));
        }
        for socket in udp {
            let (identity, closing) = (identity.clone(), server.closing.clone());
            server.tasks.spawn(async move {
                closing.run_until_cancelled(echo(socket, identity)).await;
            });
        }
        server
    }

    /// Closes the listeners, lets requests in flight end, and closes every connection.
    pub(crate) async fn stop(self) {
        self.closing.cancel();
        self.tasks.close();
        if tokio::time::timeout(GRACE, self.tasks.wait())
            .await
            .is_err()
        {
            self.cut.cancel();
            self.tasks.wait().await;
        }
    }
}

impl Drop for PodServer {
    fn drop(&mut self) {
        self.closing.cancel();
        self.cut.cancel();
    }
}

#[derive(Clone)]
struct Context {
    identity: Arc<Identity>,
    closing: CancellationToken,
    cut: CancellationToken,
    tasks: TaskTracker,
}

async fn accept(listener: TcpListener, context: Context) {
    while let Some(accepted) = context.closing.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((stream, client)) => {
                let connection = context.clone();
                context.tasks.spawn(async move {
                    let cut = connection.cut.clone();
                    cut.run_until_cancelled(serve(stream, client, connection))
                        .await;
                });
            }
            // Out of descriptors, or a connection that was reset while it waited: the next one may do better.
            Err(error) => {
                tracing::debug!(%error, pod = context.identity.pod, "accept failed");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

/// One connection; every error is the client's going away, which is no news.
async fn serve(stream: TcpStream, client: SocketAddr, context: Context) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let request = context
            .closing
            .run_until_cancelled(http::read_request(&mut stream))
            .await?
            .ok()??;
        if request.path == "/stream" {
            return context
                .closing
                .run_until_cancelled(endless(stream, client, &context.identity))
                .await;
        }
        let keep_alive = request.keep_alive && !context.closing.is_cancelled();
        let body = answer(&context.identity, client);
        let bytes = http::response(
            200,
            &[("Content-Type", "text/plain; charset=utf-8")],
            &body,
            keep_alive,
        );
        stream.write_all(&bytes).await.ok()?;
        stream.flush().await.ok()?;
        if !keep_alive {
            return stream.shutdown().await.ok();
        }
    }
}

async fn endless(mut stream: BufReader<TcpStream>, client: SocketAddr, identity: &Identity) {
    let head =
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n";
    let first = format!("{head}{}", answer(identity, client));
    let mut pace = tokio::time::interval(STREAM_INTERVAL);
    let mut line = 0_u64;
    if stream.write_all(first.as_bytes()).await.is_err() {
        return;
    }
    loop {
        pace.tick().await;
        line += 1;
        if stream
            .write_all(format!("line: {line}\n").as_bytes())
            .await
            .is_err()
            || stream.flush().await.is_err()
        {
            return;
        }
    }
}

async fn echo(socket: UdpSocket, identity: Arc<Identity>) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        // An error here is an ICMP message about an answer sent earlier: it says nothing about the next datagram.
        let Ok((length, client)) = socket.recv_from(&mut buffer).await else {
            continue;
        };
        let mut bytes = answer(&identity, client).into_bytes();
        bytes.extend_from_slice(&buffer[..length]);
        let _ = socket.send_to(&bytes, client).await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncBufReadExt, AsyncReadExt};

    use super::*;

    fn identity() -> Identity {
        Identity {
            pod: "web-1".into(),
            node: "node-1".into(),
        }
    }

    async fn server() -> (PodServer, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (
            PodServer::start(identity(), vec![listener], vec![]),
            address,
        )
    }

    #[tokio::test]
    async fn a_pod_says_who_it_is_and_whom_it_sees() {
        let (_server, address) = server().await;
        let stream = TcpStream::connect(address).await.unwrap();
        let me = stream.local_addr().unwrap();
        let answer = http::http_get(stream, "web", "/any/path").await.unwrap();
        let want = PodAnswer {
            pod: "web-1".into(),
            node: "node-1".into(),
            client: me,
        };
        assert_eq!(
            (answer.status, PodAnswer::parse(&answer.body)),
            (200, Some(want))
        );
        assert_eq!(answer.headers["connection"], "close");
        assert_eq!(PodAnswer::parse("pod: x\nnode: y\n"), None);
    }

    #[tokio::test]
    async fn a_connection_stays_open_when_asked() {
        let (_server, address) = server().await;
        let mut stream = BufReader::new(TcpStream::connect(address).await.unwrap());
        for _ in 0..2 {
            stream
                .write_all(b"GET / HTTP/1.1\r\nConnection: keep-alive\r\n\r\n")
                .await
                .unwrap();
            let mut line = String::new();
            while !line.starts_with("client:") {
                line.clear();
                assert_ne!(
                    stream.read_line(&mut line).await.unwrap(),
                    0,
                    "closed after an answer"
                );
            }
        }
    }

    #[tokio::test]
    async fn stopping_ends_streams_and_refuses_new_connections() {
        let (server, address) = server().await;
        let mut stream = BufReader::new(TcpStream::connect(address).await.unwrap());
        stream
            .write_all(b"GET /stream HTTP/1.1\r\n\r\n")
            .await
            .unwrap();
        let mut line = String::new();
        while line.trim_end() != "line: 3" {
            line.clear();
            assert_ne!(
                stream.read_line(&mut line).await.unwrap(),
                0,
                "the stream ended by itself"
            );
        }
        server.stop().await;
        let mut rest = String::new();
        stream.read_to_string(&mut rest).await.unwrap();
        assert!(
            TcpStream::connect(address).await.is_err(),
            "still listening"
        );
    }

    #[tokio::test]
    async fn datagrams_come_back_with_the_answer_before_them() {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let _server = PodServer::start(identity(), vec![], vec![socket]);
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        client.send_to(b"ping", address).await.unwrap();
        let mut buffer = [0; 512];
        let (length, _) = client.recv_from(&mut buffer).await.unwrap();
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        let answer = PodAnswer::parse(&text).unwrap();
        assert_eq!(
            (answer.pod.as_str(), answer.client),
            ("web-1", client.local_addr().unwrap())
        );
        assert!(text.ends_with("\nping"), "{text}");
    }
}
