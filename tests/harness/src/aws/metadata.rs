//! Where instances and pods get keys: the metadata service of an instance (version 2: nothing without a token) and the agent of EKS
//! Pod Identity, on 127.0.0.1. Reads and Writes sockets there.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use super::iam::Session;

/// The only token of the metadata service.
const TOKEN: &str = "harness-token";

/// The hardware address of the instance's only interface.
const MAC: &str = "06:00:00:00:00:01";

/// What an instance knows of itself, and what it and its pods are given.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// The region.
    pub region: String,
    /// The VPC.
    pub vpc: String,
    /// The keys, and how long they hold from when they are asked for; None: there are none.
    pub session: Option<(Session, SignedDuration)>,
    /// What a pod has to show.
    pub pod_token: String,
}

#[derive(Debug, Default)]
struct State {
    given: Given,
    seen: Vec<String>,
}

/// Both services on one port. Dropping it ends them.
#[derive(Debug)]
pub struct Metadata {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    _task: AbortOnDropHandle<()>,
}

impl Metadata {
    /// Starts them.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn start(given: Given) -> Result<Self> {
        let state = Arc::new(Mutex::new(State {
            given,
            seen: Vec::new(),
        }));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(serve(listener, Arc::clone(&state)));
        Ok(Self {
            address,
            state,
            _task: AbortOnDropHandle::new(task),
        })
    }

    /// For `AWS_EC2_METADATA_SERVICE_ENDPOINT`.
    #[must_use]
    pub fn instance(&self) -> String {
        format!("http://{}", self.address)
    }

    /// For `AWS_CONTAINER_CREDENTIALS_FULL_URI`.
    #[must_use]
    pub fn pod(&self) -> String {
        format!("http://{}/v1/credentials", self.address)
    }

    /// Gives something else from now on.
    pub fn give(&self, session: Option<(Session, SignedDuration)>) {
        self.lock().given.session = session;
    }

    /// What was asked, in order: `PUT /latest/api/token`.
    #[must_use]
    pub fn seen(&self) -> Vec<String> {
        self.lock().seen.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(listener: TcpListener, state: Arc<Mutex<State>>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let state = Arc::clone(&state);
                let service = service_fn(move |request| {
                    let reply = answer(&mut lock(&state), &request);
                    async move { Ok::<_, Infallible>(reply) }
                });
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                connections.spawn(async move {
                    // It ends when the client wants.
                    let _ = connection.await;
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

fn answer(state: &mut State, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    state.seen.push(format!("{} {path}", request.method()));
    let header = |name: &str| {
        request
            .headers()
            .get(name)
            .and_then(|value| value.to_str().ok())
    };
    let (status, body) = reply(&state.given, request.method(), path, &header);
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    // How long the token holds.
    let ttl = http::HeaderValue::from_static("21600");
    response
        .headers_mut()
        .insert("x-aws-ec2-metadata-token-ttl-seconds", ttl);
    response
}

fn reply<'a>(
    given: &Given,
    method: &Method,
    path: &str,
    header: &dyn Fn(&str) -> Option<&'a str>,
) -> (StatusCode, String) {
    let none = |status| (status, String::new());
    if path == "/v1/credentials" {
        return match &given.session {
            _ if header("authorization") != Some(&given.pod_token) => {
                none(StatusCode::UNAUTHORIZED)
            }
            None => none(StatusCode::INTERNAL_SERVER_ERROR),
            Some(session) => (StatusCode::OK, credentials(session)),
        };
    }
    if method == Method::PUT && path == "/latest/api/token" {
        return (StatusCode::OK, TOKEN.to_owned());
    }
    if header("x-aws-ec2-metadata-token") != Some(TOKEN) {
        return none(StatusCode::UNAUTHORIZED);
    }
    let Some(path) = path.strip_prefix("/latest/meta-data/") else {
        return none(StatusCode::NOT_FOUND);
    };
    let interface = format!("network/interfaces/macs/{MAC}/vpc-id");
    let body = match (path, &given.session) {
        ("placement/region", _) => given.region.clone(),
        ("network/interfaces/macs/", _) => format!("{MAC}/"),
        ("iam/security-credentials/", Some(_)) => "node".to_owned(),
        ("iam/security-credentials/node", Some(session)) => credentials(session),
        (path, _) if path == interface => given.vpc.clone(),
        _ => return none(StatusCode::NOT_FOUND),
    };
    (StatusCode::OK, body)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the edge: whoever is given keys compares their end with the clock"
)]
fn credentials((session, holds): &(Session, SignedDuration)) -> String {
    let ends = Timestamp::now() + *holds;
    json!({
        "Code": "Success",
        "LastUpdated": "2026-01-01T00:00:00Z",
        "Type": "AWS-HMAC",
        "AccessKeyId": session.id,
        "SecretAccessKey": session.secret,
        "Token": session.token,
        "Expiration": ends.to_string(),
    })
    .to_string()
}
