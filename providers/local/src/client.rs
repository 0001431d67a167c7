//! The calls we make to the data plane, in the types of its API (Reads and writes).
//!
//! One HTTP/1.1 connection per call: a Unix socket connects in microseconds, and a connection that was kept could
//! turn out dead only after a write was sent on it. Nothing is retried here.

mod seen;
#[cfg(test)]
mod tests;

use std::{path::PathBuf, pin::pin, sync::Arc, time::Duration};

use evenkeel_core::{error::CloudError, ids::GroupKey, ticket::Ticket};
use futures::future::{Either, select};
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio::net::UnixStream;

use self::seen::Interner;
use crate::{
    api::{self, Handover, Info, Object, Objects, Put, Snapshot},
    errors::{self, Access},
    model::Kind,
    moment::Moment,
};

/// The longest a call may take. The data plane answers in milliseconds and gives up by itself after ten seconds.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// The largest answer that is read: a thousand Services take about a megabyte.
const MAX_ANSWER_BYTES: usize = 256 << 20;

const NOT_UNDERSTOOD: &str = "the data plane answered something that is not understood; run the data plane and the controller of one version";

/// The data plane, at the other end of a Unix socket.
#[derive(Debug)]
pub struct Client {
    socket: PathBuf,
    cluster: Arc<str>,
    timeout: Duration,
    members: Interner,
}

/// What a write expects to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Nothing of that name, or the very same object.
    Absent,
    /// The object of this generation.
    Generation(u64),
}

impl Client {
    /// A client for the objects of one cluster.
    pub fn new(socket: impl Into<PathBuf>, cluster: Arc<str>, timeout: Duration) -> Self {
        Self {
            socket: socket.into(),
            cluster,
            timeout,
            members: Interner::default(),
        }
    }

    /// Who runs.
    ///
    /// # Errors
    /// When the data plane does not answer.
    pub async fn info(&self) -> Result<Info, CloudError> {
        self.read("GET health", "/v1/health".into()).await
    }

    /// Everything of the cluster, or of one of its groups.
    ///
    /// # Errors
    /// When the data plane does not answer.
    pub async fn objects(&self, group: Option<&GroupKey>) -> Result<Objects, CloudError> {
        let mut path = format!("/v1/objects?cluster={}", encoded(&self.cluster));
        if let Some(group) = group {
            path.push_str(&format!("&group={}", group.identity()));
        }
        self.read("GET objects", path).await
    }

    /// Everything of the cluster, in the fewest bytes.
    ///
    /// # Errors
    /// When the data plane does not answer.
    pub async fn snapshot(&self) -> Result<Snapshot, CloudError> {
        let path = format!("/v1/snapshot?cluster={}", encoded(&self.cluster));
        self.read("GET snapshot", path).await
    }

    /// What is measured of the cluster's objects, as OpenMetrics text.
    ///
    /// # Errors
    /// When the data plane does not answer.
    pub async fn metrics(&self) -> Result<String, CloudError> {
        let (operation, access) = ("GET metrics", Access::Read);
        let path = format!("/v1/metrics?cluster={}", encoded(&self.cluster));
        let request = self.request(Method::GET, path, &[], Bytes::new());
        let (status, body) = self.call(operation, access, self.timeout, request).await?;
        if !status.is_success() {
            return Err(errors::from_answer(operation, access, status, &body));
        }
        String::from_utf8(body.into()).map_err(|error| {
            errors::from_exchange(operation, access, NOT_UNDERSTOOD, Some(error.into()))
        })
    }

    /// The object of this name, if there is one.
    ///
    /// # Errors
    /// When the data plane does not answer.
    pub async fn get<Spec, Status>(
        &self,
        kind: Kind,
        name: &str,
    ) -> Result<Option<Object<Spec, Status>>, CloudError>
    where
        Spec: DeserializeOwned,
        Status: DeserializeOwned,
    {
        let operation = operation("GET", kind);
        let request = self.request(
            Method::GET,
            format!("/v1/{}/{name}", path(kind)),
            &[],
            Bytes::new(),
        );
        let (status, body) = self
            .call(operation, Access::Read, self.timeout, request)
            .await?;
        if status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        answer(operation, Access::Read, status, &body).map(Some)
    }

    /// Creates or changes an object, and returns it as it is then.
    ///
    /// # Errors
    /// When the data plane refuses, or its answer is lost: then the error is a Conflict, and only a fresh read knows.
    pub async fn put<Spec, Status>(
        &self,
        kind: Kind,
        name: &str,
        put: &Put<Spec>,
        expect: Expect,
        ticket: &Ticket,
    ) -> Result<Object<Spec, Status>, CloudError>
    where
        Spec: Serialize + DeserializeOwned,
        Status: DeserializeOwned,
    {
        let operation = operation("PUT", kind);
        let expect = match expect {
            Expect::Absent => (header::IF_NONE_MATCH.as_str(), "*".to_owned()),
            Expect::Generation(generation) => (header::IF_MATCH.as_str(), generation.to_string()),
        };
        let body = serde_json::to_vec(put).expect("the types of the API can be written as JSON");
        let allowed = self.allowed(ticket)?;
        let request = self.request(
            Method::PUT,
            format!("/v1/{}/{name}", path(kind)),
            &[expect, deadline(allowed)],
            body.into(),
        );
        let (status, body) = self
            .call(operation, Access::Write, allowed, request)
            .await?;
        answer(operation, Access::Write, status, &body)
    }

    /// Deletes the object of this generation. Gone already is success.
    ///
    /// # Errors
    /// As for [`Client::put`].
    pub async fn delete(
        &self,
        kind: Kind,
        name: &str,
        generation: u64,
        ticket: &Ticket,
    ) -> Result<(), CloudError> {
        let operation = operation("DELETE", kind);
        let allowed = self.allowed(ticket)?;
        let headers = [
            (header::IF_MATCH.as_str(), generation.to_string()),
            (api::header::CLUSTER, self.cluster.to_string()),
            deadline(allowed),
        ];
        let request = self.request(
            Method::DELETE,
            format!("/v1/{}/{name}", path(kind)),
            &headers,
            Bytes::new(),
        );
        let (status, body) = self
            .call(operation, Access::Write, allowed, request)
            .await?;
        if status.is_success() {
            return Ok(());
        }
        Err(errors::from_answer(operation, Access::Write, status, &body))
    }

    /// Asks the data plane to hand everything over to another one.
    ///
    /// # Errors
    /// When it refuses or does not answer.
    pub async fn hand_over(&self, handover: &Handover) -> Result<(), CloudError> {
        let operation = "POST handover";
        let body =
            serde_json::to_vec(handover).expect("the types of the API can be written as JSON");
        let request = self.request(Method::POST, "/v1/handover".into(), &[], body.into());
        let (status, body) = self
            .call(operation, Access::Write, self.timeout, request)
            .await?;
        if status.is_success() {
            return Ok(());
        }
        Err(errors::from_answer(operation, Access::Write, status, &body))
    }

    async fn read<T: DeserializeOwned>(
        &self,
        operation: &'static str,
        path: String,
    ) -> Result<T, CloudError> {
        let request = self.request(Method::GET, path, &[], Bytes::new());
        let (status, body) = self
            .call(operation, Access::Read, self.timeout, request)
            .await?;
        answer(operation, Access::Read, status, &body)
    }

    /// A write may take no longer than the right to write lasts.
    fn allowed(&self, ticket: &Ticket) -> Result<Duration, CloudError> {
        Ok(ticket
            .remaining()?
            .map_or(self.timeout, |left| left.min(self.timeout)))
    }

    fn request(
        &self,
        method: Method,
        path: String,
        headers: &[(&str, String)],
        body: Bytes,
    ) -> Request<Full<Bytes>> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            // HTTP/1.1 wants a host, and a Unix socket has none.
            .header(header::HOST, "dataplane")
            .header(header::CONNECTION, "close");
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        request
            .body(Full::new(body))
            .expect("names, UIDs and numbers make valid requests")
    }

    /// Makes one call and reads the whole answer.
    async fn call(
        &self,
        operation: &'static str,
        access: Access,
        timeout: Duration,
        request: Request<Full<Bytes>>,
    ) -> Result<(StatusCode, Bytes), CloudError> {
        let slow = |access| {
            let what = format!("the data plane did not answer within {timeout:?}");
            errors::from_exchange(operation, access, what, None)
        };
        let deadline = tokio::time::Instant::now() + timeout;
        // Until the request is sent nothing can have happened, whatever kind of call it is.
        let stream = tokio::time::timeout_at(deadline, UnixStream::connect(&self.socket))
            .await
            .map_err(|_| slow(Access::Read))?
            .map_err(|error| errors::from_connect(operation, &self.socket, error))?;
        tokio::time::timeout_at(deadline, exchange(stream, request))
            .await
            .map_err(|_| slow(access))?
            .map_err(|error| {
                errors::from_exchange(
                    operation,
                    access,
                    "the connection to the data plane broke before the whole answer was there",
                    Some(error),
                )
            })
    }
}

/// Sends a request and reads the whole answer, while the connection is driven beside it.
async fn exchange(
    stream: UnixStream,
    request: Request<Full<Bytes>>,
) -> Result<(StatusCode, Bytes), Box<dyn std::error::Error + Send + Sync>> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let answered = pin!(async move {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES)
            .collect()
            .await?
            .to_bytes();
        Ok((status, body))
    });
    match select(answered, pin!(connection)).await {
        Either::Left((answer, _)) => answer,
        // A connection that has ended has handed over all it received.
        Either::Right((ended, answered)) => {
            let answer = answered.await;
            ended?;
            answer
        }
    }
}

fn answer<T: DeserializeOwned>(
    operation: &'static str,
    access: Access,
    status: StatusCode,
    body: &[u8],
) -> Result<T, CloudError> {
    if !status.is_success() {
        return Err(errors::from_answer(operation, access, status, body));
    }
    serde_json::from_slice(body).map_err(|error| {
        errors::from_exchange(operation, access, NOT_UNDERSTOOD, Some(error.into()))
    })
}

fn path(kind: Kind) -> &'static str {
    match kind {
        Kind::Lease => "leases",
        Kind::BackendSet => "backendsets",
        Kind::Listener => "listeners",
    }
}

fn operation(method: &'static str, kind: Kind) -> &'static str {
    match (method, kind) {
        ("PUT", Kind::Lease) => "PUT leases",
        ("PUT", Kind::BackendSet) => "PUT backendsets",
        ("PUT", Kind::Listener) => "PUT listeners",
        ("DELETE", Kind::Lease) => "DELETE leases",
        ("DELETE", Kind::BackendSet) => "DELETE backendsets",
        ("DELETE", Kind::Listener) => "DELETE listeners",
        (_, Kind::Lease) => "GET leases",
        (_, Kind::BackendSet) => "GET backendsets",
        (_, Kind::Listener) => "GET listeners",
    }
}

/// The header that says when a write is given up. Taken before the call begins, so the data plane gives up first.
fn deadline(allowed: Duration) -> (&'static str, String) {
    let deadline = Moment::now().plus(allowed).milliseconds();
    (api::header::DEADLINE, deadline.to_string())
}

/// A value as a query may carry it (RFC 3986, 2.3: everything but unreserved characters is encoded).
fn encoded(value: &str) -> String {
    value
        .bytes()
        .fold(String::with_capacity(value.len()), |mut encoded, byte| {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                    encoded.push(byte.into())
                }
                _ => encoded.push_str(&format!("%{byte:02X}")),
            }
            encoded
        })
}
