//! The line between provider and data plane: a proxy on a Unix socket that counts calls, breaks them, and translates the
//! addresses that all worlds share into those of its own.

use std::{
    io, mem,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use evenkeel_laws::{
    samples,
    tap::{Call, Fault, Tap},
};
use evenkeel_local::api::{self, ApiError, Objects, code};
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::{Bytes, Incoming},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{UnixListener, UnixStream},
    task::JoinHandle,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{ADDRESSES, picture};

/// The line.
pub(super) struct Line {
    /// Ends the connections of the present process when it is replaced.
    connections: Arc<Mutex<CancellationToken>>,
    own: Arc<str>,
    _ends: DropGuard,
    accepting: JoinHandle<()>,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// What every call needs.
#[derive(Clone)]
struct Ends {
    dataplane: PathBuf,
    own: Arc<str>,
    tap: Tap,
    late: Arc<Mutex<Vec<Late>>>,
}

/// A write whose caller has given up, on its way behind others.
struct Late {
    /// Calls that come before it.
    behind: u8,
    method: http::Method,
    path: String,
    headers: Vec<(String, String)>,
    body: Bytes,
}

impl Line {
    pub(super) fn start(socket: &Path, dataplane: &Path, own: String, tap: Tap) -> Self {
        let listener = UnixListener::bind(socket).expect("a socket");
        let end = CancellationToken::new();
        let connections = Arc::new(Mutex::new(end.child_token()));
        let own: Arc<str> = own.into();
        let ends = Ends {
            dataplane: dataplane.to_owned(),
            own: Arc::clone(&own),
            tap,
            late: Arc::default(),
        };
        let token = Arc::clone(&connections);
        let accepting = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                let cut = token.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let ends = ends.clone();
                tokio::spawn(async move {
                    let service = service_fn(|request| ends.call(request));
                    let connection = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service);
                    tokio::select! {
                        () = cut.cancelled() => {}
                        // A connection that breaks is what some faults are.
                        _ = connection => {}
                    }
                });
            }
        });
        Self {
            connections,
            own,
            _ends: end.drop_guard(),
            accepting,
        }
    }

    /// Objects of the data plane with their addresses as the provider knows them.
    pub(super) fn as_provider(&self, objects: &Objects) -> Objects {
        let json = serde_json::to_string(objects)
            .expect("JSON")
            .replace(&*self.own, ADDRESSES);
        serde_json::from_str(&json).expect("objects")
    }

    /// Ends every connection, and with it what was on its way.
    pub(super) fn cut(&self) {
        let mut connections = self
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        connections.cancel();
        *connections = CancellationToken::new();
    }
}

impl Ends {
    /// One call. An error breaks the connection without an answer.
    async fn call(&self, request: Request<Incoming>) -> io::Result<Response<Full<Bytes>>> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        let path = head
            .uri
            .path_and_query()
            .map_or("/", |path| path.as_str())
            .to_owned();
        let reads = head.method == http::Method::GET;
        let call = if reads {
            Call::read("GET", &path)
        } else {
            Call::write(head.method.as_str(), &path)
        };
        let fault = self.tap.arrive(call).await;
        self.let_late_ones_arrive().await?;
        match fault {
            None | Some(Fault::LostAnswer | Fault::KilledAfter) => {}
            Some(Fault::KilledBefore) => match self.tap.die().await {},
            // There are no credentials here that could expire.
            Some(Fault::Unreachable | Fault::Expired) => {
                return Ok(refusal(StatusCode::INTERNAL_SERVER_ERROR, code::STORAGE));
            }
            Some(Fault::Throttled) => {
                return Ok(refusal(StatusCode::TOO_MANY_REQUESTS, "SlowDown"));
            }
            Some(Fault::Conflict) => {
                return Ok(refusal(StatusCode::PRECONDITION_FAILED, code::CHANGED));
            }
            Some(Fault::Rejected) => return Ok(refusal(StatusCode::BAD_REQUEST, code::INVALID)),
            Some(Fault::Late) => {
                if !reads {
                    let late = Late {
                        behind: 1,
                        method: head.method,
                        path,
                        headers: kept(&head.headers),
                        body,
                    };
                    self.late().push(late);
                }
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
        let headers = kept(&head.headers);
        let (status, answer) = self.pass(&head.method, &path, &headers, body).await?;
        match fault {
            Some(Fault::KilledAfter) => match self.tap.die().await {},
            Some(_) => Err(io::ErrorKind::ConnectionReset.into()),
            None => {
                let mut response = Response::new(Full::new(self.translated(answer, true)));
                *response.status_mut() = status;
                Ok(response)
            }
        }
    }

    /// Passes a call on.
    async fn pass(
        &self,
        method: &http::Method,
        path: &str,
        headers: &[(String, String)],
        body: Bytes,
    ) -> io::Result<(StatusCode, Bytes)> {
        let body = self.translated(body, false);
        let answer = send(&self.dataplane, method.as_str(), path, headers, body).await?;
        if *method != http::Method::GET {
            let objects = objects(&self.dataplane).await;
            self.tap.saw(picture(&objects, &samples::cluster()));
        }
        Ok(answer)
    }

    /// Passes on the late calls whose turn it is. By now the time is over that their callers gave them.
    async fn let_late_ones_arrive(&self) -> io::Result<()> {
        let (due, mut rest): (Vec<_>, Vec<_>) = mem::take(&mut *self.late())
            .into_iter()
            .partition(|late| late.behind == 0);
        for late in &mut rest {
            late.behind -= 1;
        }
        self.late().extend(rest);
        for mut late in due {
            for (name, value) in &mut late.headers {
                if name == api::header::DEADLINE {
                    *value = "0".to_owned();
                }
            }
            self.pass(&late.method, &late.path, &late.headers, late.body)
                .await?;
        }
        Ok(())
    }

    fn late(&self) -> MutexGuard<'_, Vec<Late>> {
        self.late.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn translated(&self, body: Bytes, back: bool) -> Bytes {
        let text = String::from_utf8(body.into()).expect("JSON is text");
        let (from, to) = if back {
            (&*self.own, ADDRESSES)
        } else {
            (ADDRESSES, &*self.own)
        };
        text.replace(from, to).into()
    }
}

fn refusal(status: StatusCode, code: &str) -> Response<Full<Bytes>> {
    let error = ApiError::new(code, "broken on purpose; try again");
    let mut response = Response::new(Full::new(serde_json::to_vec(&error).expect("JSON").into()));
    *response.status_mut() = status;
    response
}

/// The headers that mean something to the data plane.
fn kept(headers: &HeaderMap) -> Vec<(String, String)> {
    [
        header::IF_MATCH.as_str(),
        header::IF_NONE_MATCH.as_str(),
        header::CONTENT_TYPE.as_str(),
        api::header::CLUSTER,
        api::header::DEADLINE,
    ]
    .into_iter()
    .filter_map(|name| {
        Some((
            name.to_owned(),
            headers.get(name)?.to_str().ok()?.to_owned(),
        ))
    })
    .collect()
}

/// Everything the data plane has.
pub(super) async fn objects(dataplane: &Path) -> Objects {
    let (status, body) = send(dataplane, "GET", "/v1/objects", &[], Bytes::new())
        .await
        .expect("an answer");
    assert!(status.is_success(), "{status}");
    serde_json::from_slice(&body).expect("objects")
}

/// One call to the data plane itself.
pub(super) async fn send(
    dataplane: &Path,
    method: &str,
    path: &str,
    headers: &[(String, String)],
    body: Bytes,
) -> io::Result<(StatusCode, Bytes)> {
    let stream = UnixStream::connect(dataplane).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    let connection = tokio::spawn(connection);
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "dataplane");
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let request = request.body(Full::new(body)).expect("a request");
    let response = sender
        .send_request(request)
        .await
        .map_err(io::Error::other)?;
    let status = response.status();
    let body = response
        .into_body()
        .collect()
        .await
        .map_err(io::Error::other)?
        .to_bytes();
    connection.abort();
    Ok((status, body))
}
