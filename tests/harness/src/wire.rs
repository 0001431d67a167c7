//! One HTTP request on a fresh connection to a local process. Writes.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;

/// How long a reply may take: nothing here takes that long, and a test that hangs says nothing.
const DEADLINE: Duration = Duration::from_secs(120);

/// Sends a request and reads the whole reply.
pub(crate) async fn send(
    address: SocketAddr,
    request: Request<Full<Bytes>>,
) -> Result<Response<Bytes>> {
    tokio::time::timeout(DEADLINE, exchange(address, request))
        .await
        .with_context(|| format!("{address} does not answer"))?
}

async fn exchange(address: SocketAddr, request: Request<Full<Bytes>>) -> Result<Response<Bytes>> {
    let stream = TcpStream::connect(address)
        .await
        .with_context(|| format!("cannot connect to {address}"))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
    let (head, body) = sender.send_request(request).await?.into_parts();
    let body = body.collect().await?.to_bytes();
    Ok(Response::from_parts(head, body))
}

/// Sends JSON, if any, and reads JSON.
pub(crate) async fn json(
    address: SocketAddr,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> Result<Value> {
    let body = body.map(Value::to_string).unwrap_or_default();
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("Host", address.to_string())
        .header("Content-Type", "application/json")
        .body(Full::from(body))?;
    let reply = send(address, request)
        .await
        .with_context(|| format!("{method} {path}"))?;
    let text = String::from_utf8_lossy(reply.body());
    ensure!(
        reply.status().is_success(),
        "{method} {path} says {}: {text}",
        reply.status()
    );
    serde_json::from_str(&text)
        .with_context(|| format!("{method} {path} does not answer JSON: {text}"))
}
