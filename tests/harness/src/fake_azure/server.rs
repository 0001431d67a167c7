//! The wire: HTTP on 127.0.0.1, where calls are written down and broken. Reads and Writes sockets.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Response};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use serde_json::Value;
use tokio::sync::mpsc;

use super::calls::Call;
use super::faults::{Fault, Met};
use super::json::Parts as _;
use super::refusal::{Refusal, refuse, refuse_with};
use super::requests::{Asked, Reply, Request};
use super::turn::End;
use super::{Core, Way};
use crate::cloud::listener::{Answer, Cut, Listener, Socket};

/// The longest request that is read, in bytes. Azure Resource Manager takes 4 MB.
const BODY_LIMIT: usize = 4 * 1024 * 1024;

/// Opens a door.
pub(super) async fn open(
    core: &Arc<Core>,
    way: Way,
    refusals: mpsc::UnboundedReceiver<Duration>,
) -> Result<Listener> {
    let core = Arc::clone(core);
    Listener::open(refusals, move |socket, request| {
        let core = Arc::clone(&core);
        async move { pass(&core, way, &socket, request).await }
    })
    .await
}

async fn pass(
    core: &Arc<Core>,
    way: Way,
    socket: &Socket,
    request: http::Request<Incoming>,
) -> Answer {
    let Some(request) = read(request).await? else {
        // "Azure Resource Manager limits": 4 MB. Its status; the code is unverified.
        let refusal = refuse_with(413, "RequestEntityTooLarge", "The request is too large.");
        return Ok(response(Reply::refusal(&refusal)));
    };
    let reply = match way {
        Way::Back => core.answer(way, &request, End::default()).await,
        Way::Front => front(core, socket, &request).await?,
    };
    Ok(response(reply))
}

/// The whole request; none where it is too large.
async fn read(request: http::Request<Incoming>) -> Result<Option<Request>, Cut> {
    let (head, body) = request.into_parts();
    let body = match Limited::new(body, BODY_LIMIT).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => return Ok(None),
        Err(_) => return Err(Cut),
    };
    let query = head.uri.query().unwrap_or_default();
    let query: BTreeMap<_, _> = form_urlencoded::parse(query.as_bytes())
        .into_owned()
        .collect();
    let host = head.headers.get(HOST).and_then(|host| host.to_str().ok());
    Ok(Some(Request {
        method: head.method,
        path: unescaped(head.uri.path()),
        query,
        base: format!("http://{}", host.unwrap_or_default()),
        headers: head.headers,
        body,
    }))
}

/// A path without percent signs. In a form `+` is a blank, in a path it is not.
fn unescaped(path: &str) -> String {
    let form = path.replace('+', "%2B");
    form_urlencoded::parse(form.as_bytes())
        .map(|(name, value)| match value.is_empty() {
            true => name.into_owned(),
            false => format!("{name}={value}"),
        })
        .collect::<Vec<_>>()
        .join("&")
}

fn response(reply: Reply) -> Response<Full<Bytes>> {
    let body = reply
        .body
        .map(|body| Bytes::from(body.to_string()))
        .unwrap_or_default();
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = http::StatusCode::from_u16(reply.status).expect("a status");
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/json; charset=utf-8"),
    );
    for (name, value) in reply.headers {
        headers.insert(name, HeaderValue::from_str(&value).expect("a header"));
    }
    response
}

/// A write that has no reply yet.
struct Flight<'a> {
    core: &'a Core,
    key: Option<String>,
}

impl<'a> Flight<'a> {
    /// Begins it; says what else is under way at the same resource.
    fn begin(core: &'a Core, request: &Request) -> (Self, Option<String>) {
        let key = match request.asked() {
            Asked::One(id) if request.method != Method::GET => Some(id.top().key()),
            _ => None,
        };
        let beside = key.as_deref().and_then(|key| core.take_off(key, request));
        (Self { core, key }, beside)
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        if let Some(key) = &self.key {
            self.core.land(key);
        }
    }
}

async fn front(core: &Arc<Core>, socket: &Socket, request: &Request) -> Result<Reply, Cut> {
    let kind = request.kind();
    let (_flight, beside) = Flight::begin(core, request);
    let text = |name: &str| request.header(name).map(str::to_owned);
    let is_write = request.method != Method::GET && kind != "TOKEN";
    let call = Call {
        kind: kind.clone(),
        path: request.path.clone(),
        if_match: text("if-match"),
        request_id: text("x-ms-client-request-id"),
        body: match is_write {
            true => serde_json::from_slice(&request.body).ok(),
            false => None,
        },
        status: None,
        error: None,
        fault: None,
        beside,
    };
    let place = core.calls.arrived(call.clone());
    let mut met = core.faults.on(&kind);
    let watcher = core.watcher.get().filter(|_| met.is_none());
    if let Some(watcher) = watcher {
        let fault = watcher.arrived(&call).await;
        met = fault.map(Met::for_good);
    }
    if let Some(met) = &met {
        core.calls
            .change(place, |call| call.fault = Some(met.to_string()));
    }
    let carried_out = async {
        if let Some(watcher) = watcher {
            watcher.carried_out(&call).await;
        }
    };
    let reply = broken(core, socket, request, met, carried_out).await?;
    core.calls.change(place, |call| {
        call.status = Some(reply.status);
        call.error = reply.body.as_ref().and_then(code);
    });
    Ok(reply)
}

/// The innermost code of an error.
fn code(body: &Value) -> Option<String> {
    let outer = body.text("/error/code").or_else(|| body.text("/error"));
    let inner = body.text("/error/details/0/code").or(outer);
    inner.map(str::to_owned)
}

async fn broken(
    core: &Arc<Core>,
    socket: &Socket,
    request: &Request,
    met: Option<Met>,
    carried_out: impl Future<Output = ()>,
) -> Result<Reply, Cut> {
    let Some(Met {
        fault,
        mut released,
    }) = met
    else {
        let reply = core.answer(Way::Front, request, End::default()).await;
        carried_out.await;
        return Ok(reply);
    };
    let mut hold = async || {
        if released.wait_for(|released| *released).await.is_err() {
            // Nobody can release it any more.
            pending::<Infallible>().await;
        }
    };
    let mut end = End::default();
    match &fault {
        Fault::Refused(duration) => {
            // Ends this connection with all others.
            let _ = core.refuse.send(*duration);
            pending::<Infallible>().await;
        }
        Fault::Reset => return Err(socket.reset()),
        Fault::ErrorBefore => return Ok(refused(request, &internal_error())),
        Fault::Throttled { after } => {
            let refusal = Refusal {
                retry_after: Some(*after),
                ..refuse_with(
                    429,
                    "TooManyRequests",
                    format!("Please try again after '{after}' seconds."),
                )
            };
            return Ok(refused(request, &refusal));
        }
        Fault::Answer {
            status,
            code,
            message,
            details,
        } => {
            let refusal = Refusal {
                details: details.clone(),
                ..refuse_with(*status, code.clone(), message.clone())
            };
            return Ok(refused(request, &refusal));
        }
        Fault::HoldBefore => hold().await,
        Fault::FailsLate { code, message } => {
            end.fails = Some(refuse(code.clone(), message.clone()));
        }
        Fault::Superseded => end.superseded = true,
        Fault::OperationLost => end.lost = true,
        Fault::ErrorAfter | Fault::ReplyLost | Fault::Slow(_) | Fault::HoldAfter => {}
    }
    let reply = core.answer(Way::Front, request, end).await;
    carried_out.await;
    match fault {
        Fault::ErrorAfter => return Ok(refused(request, &internal_error())),
        Fault::ReplyLost => return Err(socket.reset()),
        Fault::Slow(duration) => tokio::time::sleep(duration).await,
        Fault::HoldAfter => hold().await,
        _ => {}
    }
    Ok(reply)
}

fn internal_error() -> Refusal {
    refuse_with(500, "InternalServerError", "An error occurred.")
}

fn refused(request: &Request, refusal: &Refusal) -> Reply {
    match request.asked() {
        Asked::Token => super::login::refusal(refusal),
        _ => Reply::refusal(refusal),
    }
}
