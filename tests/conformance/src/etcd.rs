//! What the API server stores, read and written behind its back through etcd's JSON gateway. Reads and Writes.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::ByteString;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Stores an object as JSON: the API server reads what it finds, and writes its own format only itself.
///
/// # Errors
/// When etcd does not take it.
pub(crate) async fn put(etcd: SocketAddr, key: &str, object: &Value) -> Result<()> {
    let pair = json!({"key": bytes(key), "value": bytes(&object.to_string())});
    ask(etcd, "/v3/kv/put", &pair).await?;
    Ok(())
}

/// Forgets all history, so that a watch from an old version is told that it is gone.
///
/// # Errors
/// When etcd does not.
pub(crate) async fn compact(etcd: SocketAddr) -> Result<()> {
    let any = json!({"key": bytes("/"), "count_only": true});
    let now = ask(etcd, "/v3/kv/range", &any).await?;
    let revision = now["header"]["revision"].clone();
    ask(
        etcd,
        "/v3/kv/compaction",
        &json!({"revision": revision, "physical": true}),
    )
    .await?;
    Ok(())
}

async fn ask(etcd: SocketAddr, path: &str, body: &Value) -> Result<Value> {
    let mut stream = TcpStream::connect(etcd).await?;
    let body = body.to_string();
    let request = format!(
        "POST {path} HTTP/1.0\r\nhost: etcd\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
    ensure!(head.contains(" 200 "), "{path}: {answer}");
    Ok(serde_json::from_str(body)?)
}

/// Bytes in JSON, as etcd and Kubernetes write them.
fn bytes(text: &str) -> ByteString {
    ByteString(text.as_bytes().to_vec())
}
