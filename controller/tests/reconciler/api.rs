//! The line between the controller and the API server: it counts what the controller sends, holds requests back that a
//! test names, and hides what happens to Services from its watch.

use std::{
    convert::Infallible,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::{Result, ensure};
use axum::{
    Router,
    body::{Body, to_bytes},
    extract::Request,
    http::StatusCode,
    response::Response,
};
use evenkeel_harness::wait::eventually;
use futures::StreamExt as _;
use kube::Client;
use tokio::sync::watch;

use crate::scene::LIMIT;

/// What the controller sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) method: String,
    pub(crate) path: String,
    /// What a patch is: `application/json-patch+json`, `application/apply-patch+yaml`.
    pub(crate) kind: String,
    /// The answer, once it is there.
    pub(crate) code: Option<u16>,
    number: u64,
}

impl Sent {
    fn is_patch(&self, service: &str, kind: &str) -> bool {
        let path = format!("/services/{service}/status");
        self.method == "PATCH" && self.path.ends_with(&path) && self.kind.contains(kind)
    }

    /// Whether it publishes the status of a Service.
    pub(crate) fn publishes(&self, service: &str) -> bool {
        self.is_patch(service, "apply-patch")
    }

    /// Whether it adds our finalizer to a Service, or takes our hand off it.
    pub(crate) fn claims_or_releases(&self, service: &str) -> bool {
        self.is_patch(service, "json-patch")
    }

    /// Whether it reads one Service.
    pub(crate) fn reads(&self, service: &str) -> bool {
        self.method == "GET" && self.path.ends_with(&format!("/services/{service}"))
    }
}

type Hold = Arc<dyn Fn(&Sent) -> bool + Send + Sync>;

#[derive(Clone, Default)]
struct Gate {
    hold: Option<Hold>,
    /// Watches of Services end, and none is answered.
    blind: bool,
    /// The next watch of Services is told that it missed too much.
    gap: bool,
}

#[derive(Default)]
struct State {
    sent: Mutex<Vec<Sent>>,
    gate: watch::Sender<Gate>,
    number: AtomicU64,
}

/// The line. Clones are the same line.
#[derive(Clone, Default)]
pub(crate) struct Line(Arc<State>);

impl Line {
    /// A client whose requests take this line.
    pub(crate) fn client(&self, client: Client) -> Client {
        let line = self.clone();
        let ends = Router::new().fallback(move |request: Request| {
            let (line, client) = (line.clone(), client.clone());
            async move { line.carry(&client, request).await }
        });
        Client::new(ends, "default")
    }

    /// What was sent since the last reset, but for reads of lists and watches.
    pub(crate) fn sent(&self) -> Vec<Sent> {
        self.log().clone()
    }

    /// How often a status was published, and how often a finalizer was written.
    pub(crate) fn writes(&self, service: &str) -> (usize, usize) {
        let sent = self.log();
        let count = |is: &dyn Fn(&Sent) -> bool| sent.iter().filter(|sent| is(sent)).count();
        (
            count(&|sent| sent.publishes(service)),
            count(&|sent| sent.claims_or_releases(service)),
        )
    }

    /// Every write to a Service.
    pub(crate) fn all_writes(&self) -> Vec<Sent> {
        let sent = self.sent().into_iter();
        sent.filter(|sent| sent.method != "GET" && sent.path.contains("/services/"))
            .collect()
    }

    /// Forgets what was sent.
    pub(crate) fn reset(&self) {
        self.log().clear();
    }

    /// Holds the requests back that `hold` names, until [`Line::hold_none`].
    pub(crate) fn hold(&self, hold: impl Fn(&Sent) -> bool + Send + Sync + 'static) {
        self.0
            .gate
            .send_modify(|gate| gate.hold = Some(Arc::new(hold)));
    }

    /// Lets go what is held back.
    pub(crate) fn hold_none(&self) {
        self.0.gate.send_modify(|gate| gate.hold = None);
    }

    /// From now on the controller's watch shows nothing of Services.
    pub(crate) fn hide_services(&self) {
        self.0.gate.send_modify(|gate| gate.blind = true);
    }

    /// The watch goes on where it was; with `gap` it has to list anew, and what was between is never seen.
    pub(crate) fn show_services(&self, gap: bool) {
        self.0.gate.send_modify(|gate| {
            gate.blind = false;
            gate.gap = gap;
        });
    }

    /// Waits until something was sent, answered or not.
    pub(crate) async fn until_sent(&self, what: &str, is: impl Fn(&Sent) -> bool) -> Result<Sent> {
        eventually(what, LIMIT, || async {
            let found = self.log().iter().rev().find(|sent| is(sent)).cloned();
            ensure!(found.is_some(), "there are {:?}", self.sent());
            Ok(found.expect("checked"))
        })
        .await
    }

    /// Waits until something was answered.
    pub(crate) async fn until_answered(
        &self,
        what: &str,
        is: impl Fn(&Sent) -> bool,
    ) -> Result<Sent> {
        self.until_sent(what, |sent| sent.code.is_some() && is(sent))
            .await
    }

    async fn carry(&self, client: &Client, request: Request) -> Result<Response, Infallible> {
        let (parts, body) = request.into_parts();
        let query = parts.uri.query().unwrap_or_default();
        let of_services = parts.uri.path() == "/api/v1/services";
        if of_services && query.contains("watch=true") {
            return Ok(self.watch(client, parts).await);
        }
        let kind = parts.headers.get("content-type");
        let number = self.0.number.fetch_add(1, Ordering::Relaxed);
        let sent = Sent {
            number,
            method: parts.method.to_string(),
            path: parts.uri.path().to_owned(),
            kind: kind
                .and_then(|kind| kind.to_str().ok())
                .unwrap_or_default()
                .to_owned(),
            code: None,
        };
        self.log().push(sent.clone());
        let mut gate = self.0.gate.subscribe();
        // The sender lives as long as the line.
        let _ = gate
            .wait_for(|gate| !gate.hold.as_ref().is_some_and(|hold| hold(&sent)))
            .await;
        let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
        let response = send(client, Request::from_parts(parts, body.to_vec())).await;
        if let Some(logged) = self.log().iter_mut().find(|sent| sent.number == number) {
            logged.code = Some(response.status().as_u16());
        }
        Ok(response)
    }

    async fn watch(&self, client: &Client, parts: axum::http::request::Parts) -> Response {
        let mut gate = self.0.gate.subscribe();
        let _ = gate.wait_for(|gate| !gate.blind).await;
        // A list, also a streaming one, names no version to go on from.
        let goes_on = parts
            .uri
            .query()
            .is_some_and(|query| !query.contains("sendInitialEvents"));
        if goes_on && gate.borrow().gap {
            self.0.gate.send_modify(|gate| gate.gap = false);
            let expired = r#"{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"too old resource version","reason":"Expired","code":410}}"#;
            return Response::new(Body::from(format!("{expired}\n")));
        }
        let response = send(client, Request::from_parts(parts, Vec::new())).await;
        let (head, body) = response.into_parts();
        let open = (body.into_data_stream(), gate);
        let stream = futures::stream::unfold(open, |(mut body, mut gate)| async move {
            let frame = tokio::select! {
                biased;
                _ = gate.wait_for(|gate| gate.blind) => None,
                frame = body.next() => frame,
            };
            frame.map(|frame| (frame, (body, gate)))
        });
        Response::from_parts(head, Body::from_stream(stream))
    }

    fn log(&self) -> MutexGuard<'_, Vec<Sent>> {
        self.0.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn send(client: &Client, request: Request<Vec<u8>>) -> Response {
    match client.send(request.map(Into::into)).await {
        Ok(response) => response.map(Body::new),
        Err(error) => {
            let mut response = Response::new(Body::from(error.to_string()));
            *response.status_mut() = StatusCode::BAD_GATEWAY;
            response
        }
    }
}
