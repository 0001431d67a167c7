//! Whether kube-proxy's health answers on the nodes (Reads).
//!
//! A load balancer that probes a port nobody serves takes every node out. So a node or three are asked before that probe
//! is used for anything new. A 503 is an answer too: that node is about to leave, and says so.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use evenkeel_core::nodes::ProxyHealth;
use futures::{StreamExt as _, stream::FuturesUnordered};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// The port of kube-proxy's own health (its `--healthz-bind-address`, by default on all addresses).
const PORT: u16 = 10256;

/// How many nodes are asked. One may be down, or behind a firewall of its own.
const NODES: usize = 3;

/// How long a node may take: it is in the next rack.
const PATIENCE: Duration = Duration::from_secs(1);

/// Asks the first few of these nodes. None when there is nobody to ask.
pub(crate) async fn ask(nodes: impl IntoIterator<Item = IpAddr>) -> Option<ProxyHealth> {
    ask_port(nodes, PORT).await
}

async fn ask_port(nodes: impl IntoIterator<Item = IpAddr>, port: u16) -> Option<ProxyHealth> {
    let mut asked: FuturesUnordered<_> = nodes
        .into_iter()
        .take(NODES)
        .map(|node| tokio::time::timeout(PATIENCE, answers(SocketAddr::new(node, port))))
        .collect();
    if asked.is_empty() {
        return None;
    }
    while let Some(answer) = asked.next().await {
        if matches!(answer, Ok(Ok(true))) {
            return Some(ProxyHealth::Answers);
        }
    }
    Some(ProxyHealth::Silent)
}

/// Whether what listens there speaks of health.
async fn answers(node: SocketAddr) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(node).await?;
    let request = format!(
        "GET /healthz HTTP/1.1\r\nHost: {node}\r\nUser-Agent: evenkeel\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut status = [0; "HTTP/1.1 200".len()];
    stream.read_exact(&mut status).await?;
    Ok(status.starts_with(b"HTTP/1.") && (status.ends_with(b" 200") || status.ends_with(b" 503")))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::net::TcpListener;

    use super::*;

    /// Whoever connects is answered this.
    async fn node(answer: &'static str) -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("binds");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 16];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        address
    }

    #[tokio::test]
    async fn an_answer_about_health_is_one_and_anything_else_is_none() {
        for (answer, want) in [
            ("HTTP/1.1 200 OK\r\n\r\n", ProxyHealth::Answers),
            (
                "HTTP/1.1 503 Service Unavailable\r\n\r\n",
                ProxyHealth::Answers,
            ),
            ("HTTP/1.1 404 Not Found\r\n\r\n", ProxyHealth::Silent),
            ("SSH-2.0-OpenSSH_9.9\r\n", ProxyHealth::Silent),
            ("", ProxyHealth::Silent),
        ] {
            let node = node(answer).await;
            assert_eq!(
                ask_port([node.ip()], node.port()).await,
                Some(want),
                "{answer}"
            );
        }
        assert_eq!(ask_port([], 1).await, None);
    }

    #[tokio::test]
    async fn one_node_that_answers_is_enough() {
        let up = node("HTTP/1.1 200 OK\r\n\r\n").await;
        // On Linux every address of 127.0.0.0/8 is this machine, and nobody listens there.
        let down = [2, 3].map(|last| IpAddr::from([127, 0, 0, last]));
        let nodes = [down[0], down[1], up.ip()];
        assert_eq!(ask_port(nodes, up.port()).await, Some(ProxyHealth::Answers));
        assert_eq!(ask_port(down, up.port()).await, Some(ProxyHealth::Silent));
    }
}
