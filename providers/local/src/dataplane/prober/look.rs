//! One look at a target. Reads the network.

use std::{fmt, io, net::SocketAddr, time::Duration};

use http_body_util::Empty;
use hyper::{Request, body::Bytes};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

use super::Key;
use crate::api::HealthCheckKind;

/// Why a look failed, in a few words.
#[derive(Debug)]
pub(super) enum Failure {
    /// Nothing, or not enough, came in time.
    Timeout,
    Refused,
    Unreachable,
    /// An answer that is not 200.
    Status(u16),
    /// What came was no answer, or the connection was closed before one.
    NoHttpAnswer,
    Other(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout => f.write_str("timeout"),
            Self::Refused => f.write_str("refused"),
            Self::Unreachable => f.write_str("unreachable"),
            Self::Status(status) => write!(f, "status {status}"),
            Self::NoHttpAnswer => f.write_str("no HTTP answer"),
            Self::Other(text) => f.write_str(text),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::TimedOut => Self::Timeout,
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Self::Unreachable,
            _ => Self::Other(error.to_string()),
        }
    }
}

/// Looks once, for at most the check's timeout.
pub(super) async fn look(key: &Key) -> Result<(), Failure> {
    let limit = Duration::from_millis(key.check.timeout_ms.into());
    timeout(limit, ask(key))
        .await
        .unwrap_or(Err(Failure::Timeout))
}

async fn ask(key: &Key) -> Result<(), Failure> {
    let address = SocketAddr::new(key.address, key.port);
    let stream = TcpStream::connect(address).await?;
    let HealthCheckKind::Http { path } = &key.check.kind else {
        return Ok(());
    };
    let request = Request::get(path)
        .header("host", address.to_string())
        .header("user-agent", "evenkeel-health-check")
        .header("connection", "close")
        .body(Empty::<Bytes>::new())
        .map_err(|_| Failure::Other("bad path".to_owned()))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|_| Failure::NoHttpAnswer)?;
    // The connection is driven only for as long as the answer's head is awaited; its body is not read.
    let answer = sender.send_request(request);
    tokio::pin!(answer);
    let answer = tokio::select! {
        answer = &mut answer => answer,
        // A server that closes right after its answer ends the connection before the answer is looked at.
        _ = connection => answer.await,
    };
    match answer {
        Ok(answer) if answer.status() == 200 => Ok(()),
        Ok(answer) => Err(Failure::Status(answer.status().as_u16())),
        Err(_) => Err(Failure::NoHttpAnswer),
    }
}
