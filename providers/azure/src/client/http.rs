//! HTTP: one pool of connections, TLS with rustls and ring as everywhere in this program, the system's authorities, proxies as the
//! environment says (Reads, Writes).
//!
//! Each request is made once and is never sent on to another place: there is nobody here who follows a redirection.

use std::{
    error::Error,
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use evenkeel_core::error::CloudError;
use http::{HeaderMap, HeaderValue, Method, Uri, header::USER_AGENT};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::{
        legacy::{
            self,
            connect::{HttpConnector, proxy::Tunnel},
        },
        proxy::matcher::Matcher,
    },
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use tokio::net::TcpStream;
use tower::Service;

use crate::errors;

/// The longest a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// For how long an idle connection is kept. Azure closes them later, so that a call rarely meets a dead one.
const IDLE: Duration = Duration::from_secs(15);

/// The longest answer that is read, in bytes. A page of a list may be large, but not so large.
const ANSWER_LIMIT: usize = 64 * 1024 * 1024;

/// Who asks.
const AGENT: &str = concat!("evenkeel/", env!("CARGO_PKG_VERSION"));

type BoxError = Box<dyn Error + Send + Sync>;

/// What is asked.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) url: Uri,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// What is answered.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

impl Reply {
    /// A header, as text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// `Retry-After`, which Azure gives in seconds.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        let seconds = self.header("retry-after")?.trim().parse().ok()?;
        Some(Duration::from_secs(seconds))
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// There was no connection: nothing was sent.
    Connect(BoxError),
    /// The connection broke, or what came was no text.
    Broken(BoxError),
}

/// A client of HTTP.
#[derive(Clone, Debug)]
pub(super) struct Http(legacy::Client<HttpsConnector<Door>, Full<Bytes>>);

impl Http {
    /// Reads whom to trust, and connects to nobody.
    pub(super) async fn new(authorities: Option<&Path>) -> Result<Self, CloudError> {
        let mut trusted = RootCertStore::empty();
        if let Ok(system) =
            tokio::task::spawn_blocking(rustls_native_certs::load_native_certs).await
        {
            trusted.add_parsable_certificates(system.certs);
        }
        if let Some(file) = authorities {
            add(&mut trusted, file).await?;
        }
        let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| errors::not_configured("connect", error.to_string()))?
            .with_root_certificates(trusted)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(Door::new());
        let client = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(connector);
        Ok(Self(client))
    }

    /// Makes a request, and reads the whole answer.
    pub(super) async fn send(&self, asked: Request) -> Result<Reply, Failure> {
        let mut request = http::Request::new(Full::new(asked.body));
        *request.method_mut() = asked.method;
        *request.uri_mut() = asked.url;
        *request.headers_mut() = asked.headers;
        let agent = HeaderValue::from_static(AGENT);
        request.headers_mut().insert(USER_AGENT, agent);
        let answer = self.0.request(request).await;
        let answer = answer.map_err(|error| match error.is_connect() {
            true => Failure::Connect(error.into()),
            false => Failure::Broken(error.into()),
        })?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, ANSWER_LIMIT).collect().await;
        let body = body.map_err(Failure::Broken)?.to_bytes();
        let body = String::from_utf8(body.into());
        Ok(Reply {
            status: head.status.as_u16(),
            headers: head.headers,
            body: body.map_err(|error| Failure::Broken(error.into()))?,
        })
    }
}

/// The certificates of a file; all mistakes in it are the operator's to mend.
async fn add(trusted: &mut RootCertStore, file: &Path) -> Result<(), CloudError> {
    let wrong = |what: String| {
        let what = format!(
            "the certificates of authorities in {} cannot be read: {what}; name a file in PEM with --ca-file",
            file.display()
        );
        errors::not_configured("connect", what)
    };
    let text = tokio::fs::read(file).await;
    let text = text.map_err(|error| wrong(error.to_string()))?;
    let mut found = false;
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        let added = trusted.add(certificate);
        added.map_err(|error| wrong(error.to_string()))?;
        found = true;
    }
    match found {
        true => Ok(()),
        false => Err(wrong("there is none in it".to_owned())),
    }
}

/// The way out: straight, or through the proxy that the environment names. Without TLS there are only hosts nearby, which need none.
#[derive(Clone, Debug)]
struct Door {
    straight: HttpConnector,
    proxies: Arc<Matcher>,
}

impl Door {
    fn new() -> Self {
        let mut straight = HttpConnector::new();
        straight.enforce_http(false);
        straight.set_nodelay(true);
        straight.set_connect_timeout(Some(CONNECT_TIMEOUT));
        Self {
            straight,
            proxies: Arc::new(Matcher::from_env()),
        }
    }
}

impl Service<Uri> for Door {
    type Response = TokioIo<TcpStream>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.straight.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let by = match to.scheme_str() {
            Some("https") => self.proxies.intercept(&to),
            _ => None,
        };
        let Some(by) = by else {
            let straight = self.straight.call(to);
            return Box::pin(async move { Ok(straight.await?) });
        };
        if by.uri().scheme_str() != Some("http") {
            let wrong = "a proxy is spoken to without TLS: give its address as http://HOST:PORT";
            return Box::pin(async move { Err(wrong.into()) });
        }
        let mut tunnel = Tunnel::new(by.uri().clone(), self.straight.clone());
        if let Some(auth) = by.basic_auth() {
            tunnel = tunnel.with_auth(auth.clone());
        }
        let through = tunnel.call(to);
        Box::pin(async move { Ok(through.await?) })
    }
}
