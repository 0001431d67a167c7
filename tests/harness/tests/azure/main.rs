//! The fake of Azure: what it promises is shown, and that it refuses what Azure refuses.

mod client;
mod kept;
mod login;
mod refused;
mod roles;
mod scene;
mod time;
mod wire;

use std::time::Duration;

use anyhow::{Context as _, Result};
use evenkeel_harness::fake_azure::FakeAzure;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How long anything here may take on a machine that builds beside it.
const SOON: Duration = Duration::from_secs(60);

/// An answer.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Value,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(header, _)| header == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The innermost code of a refusal.
    fn code(&self) -> &str {
        let error = &self.body["error"];
        let inner = error["details"][0]["code"].as_str();
        inner
            .or(error["code"].as_str())
            .or(error.as_str())
            .unwrap_or_default()
    }
}

/// A request, written by hand.
#[derive(Clone, Debug)]
struct Ask {
    method: &'static str,
    target: String,
    headers: Vec<(&'static str, String)>,
    body: String,
}

impl Ask {
    fn new(method: &'static str, path: &str) -> Self {
        let path = path.trim_start_matches("http://");
        let path = path.find('/').map_or(path, |at| &path[at..]);
        let version = if path.contains('?') {
            ""
        } else {
            "?api-version=2024-03-01"
        };
        Self {
            method,
            target: format!("{path}{version}"),
            headers: Vec::new(),
            body: String::new(),
        }
    }

    fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    fn json(mut self, body: &Value) -> Self {
        self.body = body.to_string();
        self.header("Content-Type", "application/json")
    }

    fn text(mut self, kind: &str, body: &str) -> Self {
        self.body = body.to_owned();
        self.header("Content-Type", kind)
    }

    /// With a token that holds.
    async fn send(self, azure: &FakeAzure) -> Result<Answer> {
        let token = format!("Bearer {}", azure.token());
        self.header("Authorization", &token).send_bare(azure).await
    }

    async fn send_bare(self, azure: &FakeAzure) -> Result<Answer> {
        let endpoint = azure.endpoint();
        let address = endpoint.trim_start_matches("http://");
        let mut stream = TcpStream::connect(address).await?;
        let headers = self.headers.iter();
        let headers: String = headers
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        let Self {
            method,
            target,
            body,
            ..
        } = &self;
        let request = format!(
            "{method} {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        let (head, body) = text
            .split_once("\r\n\r\n")
            .context("the connection ended without a reply")?;
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1));
        let status = status.context("not HTTP")?.parse()?;
        let headers = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()));
        Ok(Answer {
            status,
            headers: headers.collect(),
            body: serde_json::from_str(body).unwrap_or_default(),
        })
    }
}
