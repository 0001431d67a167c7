//! One request and its answer: turn, token, deadline, right to write, log (Reads, Writes).

use std::time::Instant;

use evenkeel_core::{
    error::{CloudError, ErrorClass},
    ticket::Ticket,
};
use http::{
    HeaderMap, HeaderValue, Method, Uri,
    header::{AUTHORIZATION, CONTENT_TYPE, IF_MATCH},
};
use hyper::body::Bytes;

use super::{
    Client,
    http::{Failure, Reply, Request},
};
use crate::{
    call::{Call, Verb},
    errors,
};

/// What a write is made with.
#[derive(Clone, Debug)]
pub(super) struct Write<'a> {
    /// None removes.
    pub(super) body: Option<Bytes>,
    /// The entity tag of what is written anew.
    pub(super) matching: Option<&'a str>,
    pub(super) ticket: &'a Ticket,
}

impl Client {
    /// Makes a call that changes nothing. The answer may be an error.
    pub(super) async fn read(&self, call: &'static Call, url: Uri) -> Result<Reply, CloudError> {
        self.exchange(call, url, None).await
    }

    /// Makes a call that may change something. The answer may be an error.
    pub(super) async fn write(
        &self,
        call: &'static Call,
        url: Uri,
        write: Write<'_>,
    ) -> Result<Reply, CloudError> {
        // Who may not write need not wait for a turn to learn it.
        write.ticket.remaining()?;
        self.exchange(call, url, Some(write)).await
    }

    async fn exchange(
        &self,
        call: &'static Call,
        url: Uri,
        write: Option<Write<'_>>,
    ) -> Result<Reply, CloudError> {
        let http = self.http().await?;
        let ticket = write.as_ref().map(|write| write.ticket);
        let request = request(call, url, write.as_ref())?;
        let mut again = true;
        loop {
            self.limiter.turn(call).await;
            let bearer = self.tokens.bearer(http).await?;
            let mut request = request.clone();
            let id = request_id();
            request.headers.insert(AUTHORIZATION, bearer.clone());
            request.headers.insert("x-ms-client-request-id", id.clone());
            let began = Instant::now();
            let sent = self.within(call, ticket, http.send(request)).await;
            let took = began.elapsed();
            let reply = match sent
                .and_then(|sent| sent.map_err(|failure| unanswered(call, failure)))
            {
                Ok(reply) => reply,
                Err(error) => {
                    tracing::debug!(
                        call = call.operation, client_request_id = ?id, duration_ms = took.as_millis(), %error,
                        "Azure gave no answer"
                    );
                    return Err(error);
                }
            };
            tracing::debug!(
                call = call.operation,
                status = reply.status,
                cloud.request_id = reply.header("x-ms-request-id"),
                client_request_id = ?id,
                duration_ms = took.as_millis(),
                "Azure answered"
            );
            let headers = reply.headers.iter();
            let texts =
                headers.filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
            self.limiter.left(call, texts);
            // Nothing was done with a token that is not taken. There may be a better one.
            if reply.status == 401 && again {
                self.tokens.forget(&bearer);
                again = false;
                continue;
            }
            return Ok(reply);
        }
    }

    /// Waits for an answer: no longer than a call may take, and for that of a write no longer than the right to write lasts.
    async fn within<T>(
        &self,
        call: &Call,
        ticket: Option<&Ticket>,
        asked: impl Future<Output = T>,
    ) -> Result<T, CloudError> {
        let end = Instant::now() + self.config.call_timeout;
        let mut asked = std::pin::pin!(asked);
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(errors::from_silence(call.operation, call.access()));
            }
            let right = ticket.map(Ticket::remaining).transpose()?.flatten();
            let slice = right.map_or(left, |right| right.min(left));
            // The right may have been prolonged meanwhile.
            if let Ok(answer) = tokio::time::timeout(slice, asked.as_mut()).await {
                return Ok(answer);
            }
        }
    }

    /// Has the limiter know of an error.
    pub(super) fn noted(&self, call: &'static Call, error: CloudError) -> CloudError {
        if let ErrorClass::Throttled { after } = error.class {
            self.limiter.throttled(call, after);
        }
        tracing::debug!(call = call.operation, cloud.code = error.code, %error, "Azure did not do it");
        error
    }
}

fn request(call: &Call, url: Uri, write: Option<&Write<'_>>) -> Result<Request, CloudError> {
    let mut headers = HeaderMap::new();
    let body = write.and_then(|write| write.body.clone());
    if body.is_some() {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    if let Some(etag) = write.and_then(|write| write.matching) {
        let etag = HeaderValue::try_from(etag);
        let etag = etag.map_err(|error| errors::not_understood(call, error.into()))?;
        headers.insert(IF_MATCH, etag);
    }
    Ok(Request {
        method: match call.verb {
            Verb::Get | Verb::List | Verb::Ask => Method::GET,
            Verb::Put => Method::PUT,
            Verb::Delete => Method::DELETE,
        },
        url,
        headers,
        body: body.unwrap_or_default(),
    })
}

fn unanswered(call: &Call, failure: Failure) -> CloudError {
    match failure {
        Failure::Connect(source) => errors::from_connect(call, source),
        Failure::Broken(source) => errors::from_break(call, source),
    }
}

/// A number of our own for a request, by which Azure's support finds it: a GUID.
fn request_id() -> HeaderValue {
    let drawn = fastrand::u128(..);
    let [a, b, c, d, e] = [
        drawn >> 96,
        (drawn >> 80) & 0xffff,
        (drawn >> 64) & 0xffff,
        (drawn >> 48) & 0xffff,
        drawn & 0xffff_ffff_ffff,
    ];
    let text = format!("{a:08x}-{b:04x}-{c:04x}-{d:04x}-{e:012x}");
    HeaderValue::try_from(text).expect("digits and hyphens")
}
