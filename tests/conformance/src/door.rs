//! The controller's way to the API server: what it asks is written down, and a row may refuse, hold or change it. Reads and Writes.
//!
//! Plain HTTP on 127.0.0.1, forwarded as it is to the real API server, with the caller's own token. While the API server is away, a
//! connection ends without an answer.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result};
use evenkeel_harness::control_plane::ControlPlane;
use futures::{Stream, StreamExt as _, stream};
use http::{HeaderMap, Method, Request, Response, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyDataStream, BodyExt as _, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

type BoxError = Box<dyn Error + Send + Sync>;
type Answer = Response<UnsyncBoxBody<Bytes, BoxError>>;

/// A request of the controller.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) body: String,
}

/// What a request does to what, as permissions name it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Access {
    pub(crate) verb: &'static str,
    pub(crate) group: String,
    /// With the subresource: `services/status`.
    pub(crate) resource: String,
    /// Empty for what has none, and for all.
    pub(crate) namespace: String,
    /// Of an object, or of the only one that is listed; empty is all.
    pub(crate) name: String,
}

impl Call {
    /// Whether it changes something.
    pub(crate) fn is_write(&self) -> bool {
        self.method != Method::GET
    }

    pub(crate) fn is_watch(&self) -> bool {
        self.query
            .split('&')
            .any(|pair| matches!(pair, "watch=true" | "watch=1" | "watch"))
    }

    /// Whether it patches the status of a Service.
    pub(crate) fn patches(&self, namespace: &str, name: &str) -> bool {
        self.method == Method::PATCH
            && self.path == format!("/api/v1/namespaces/{namespace}/services/{name}/status")
    }

    /// Whether it puts our finalizer on a Service.
    pub(crate) fn adds_finalizer(&self, namespace: &str, name: &str) -> bool {
        self.patches(namespace, name)
            && self.body.contains("/metadata/finalizers")
            && self.body.contains(r#""op":"add""#)
    }

    /// Whether it publishes an address of a Service.
    pub(crate) fn publishes(&self, namespace: &str, name: &str) -> bool {
        self.patches(namespace, name)
            && self.query.contains("force=true")
            && [r#""ip":"#, r#""hostname":"#]
                .iter()
                .any(|key| self.body.contains(key))
    }

    pub(crate) fn access(&self) -> Access {
        let mut parts = self.path.split('/').filter(|part| !part.is_empty());
        let group = match parts.next() {
            Some("apis") => parts.next().unwrap_or_default(),
            _ => "",
        };
        let mut rest: Vec<_> = parts.skip(1).collect();
        let mut namespace = "";
        if rest.len() > 2 && rest[0] == "namespaces" {
            namespace = rest[1];
            rest.drain(..2);
        }
        let selected = self.query.split('&').find_map(|pair| {
            let selector = pair.strip_prefix("fieldSelector=metadata.name")?;
            selector.strip_prefix("%3D").or(selector.strip_prefix('='))
        });
        let text = |index: usize| rest.get(index).copied().unwrap_or_default();
        let resource = match text(2) {
            "" => text(0).to_owned(),
            sub => format!("{}/{sub}", text(0)),
        };
        let verb = match self.method.as_str() {
            "GET" if self.is_watch() => "watch",
            "GET" if text(1).is_empty() => "list",
            "GET" => "get",
            "POST" => "create",
            "PUT" => "update",
            "PATCH" => "patch",
            "DELETE" => "delete",
            _ => "other",
        };
        Access {
            verb,
            group: group.to_owned(),
            resource,
            namespace: namespace.to_owned(),
            name: selected.unwrap_or(text(1)).to_owned(),
        }
    }
}

/// A place where a request waits until the row lets it go on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gate {
    reached: CancellationToken,
    open: CancellationToken,
}

impl Gate {
    /// Waits until a request is there.
    pub(crate) async fn reached(&self) {
        self.reached.cancelled().await;
    }

    pub(crate) fn open(&self) {
        self.open.cancel();
    }
}

/// What is done to a request.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// It is answered with this status, and not forwarded.
    Refuse(u16),
    /// It is forwarded later.
    Hold(Gate),
}

struct Rule {
    applies: Box<dyn Fn(&Call) -> bool + Send>,
    act: Act,
    left: usize,
}

#[derive(Default)]
struct State {
    calls: Vec<Call>,
    accesses: BTreeSet<Access>,
    rules: Vec<Rule>,
    /// In every line of an answer: what is replaced by what.
    rewrite: Vec<(String, String)>,
    /// How often it was.
    rewritten: usize,
    /// Ends the answers under way.
    cut: CancellationToken,
}

struct Shared {
    upstream: Client,
    state: Mutex<State>,
}

/// The door. Dropping it ends its connections.
pub(crate) struct Door {
    address: SocketAddr,
    shared: Arc<Shared>,
    serving: JoinHandle<Infallible>,
}

impl Drop for Door {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Door {
    pub(crate) async fn open(plane: &ControlPlane) -> Result<Self> {
        let mut config = plane.config()?;
        // Who asks is said by the request; what fails is the controller's to try again.
        config.auth_info = kube::config::AuthInfo::default();
        config.default_retry = false;
        let shared = Arc::new(Shared {
            upstream: Client::try_from(config)?,
            state: Mutex::default(),
        });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let serving = tokio::spawn(serve(listener, shared.clone()));
        Ok(Self {
            address,
            shared,
            serving,
        })
    }

    /// A kubeconfig that leads through the door.
    pub(crate) fn kubeconfig(&self, token: &str) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "door", "cluster": {"server": format!("http://{}", self.address)}}],
            "users": [{"name": "user", "user": {"token": token}}],
            "contexts": [{"name": "door", "context": {"cluster": "door", "user": "user"}}],
            "current-context": "door",
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }

    /// Does something to the next requests, so many, that `applies` says yes to.
    pub(crate) fn next(
        &self,
        times: usize,
        act: Act,
        applies: impl Fn(&Call) -> bool + Send + 'static,
    ) {
        let applies = Box::new(applies);
        self.state().rules.push(Rule {
            applies,
            act,
            left: times,
        });
    }

    /// How many refusals and the like are still to come.
    pub(crate) fn left(&self) -> usize {
        self.state().rules.iter().map(|rule| rule.left).sum()
    }

    /// Replaces text in every line that comes from the API server, in answers that begin from now on; what is watched is watched anew.
    pub(crate) fn rewrite(&self, pairs: &[(&str, &str)]) {
        let owned = pairs
            .iter()
            .map(|(from, to)| ((*from).to_owned(), (*to).to_owned()));
        self.state().rewrite = owned.collect();
        self.cut();
    }

    /// How often text was replaced since.
    pub(crate) fn rewritten(&self) -> usize {
        self.state().rewritten
    }

    /// Breaks every answer under way: that is what watches are.
    pub(crate) fn cut(&self) {
        std::mem::take(&mut self.state().cut).cancel();
    }

    /// Now, as a place in the list of requests.
    pub(crate) fn mark(&self) -> usize {
        self.state().calls.len()
    }

    /// The requests since.
    pub(crate) fn since(&self, mark: usize) -> Vec<Call> {
        self.state().calls[mark..].to_vec()
    }

    /// What the controller has done to what, ever.
    pub(crate) fn accesses(&self) -> BTreeSet<Access> {
        self.state().accesses.clone()
    }

    /// Only forwards again.
    pub(crate) fn reset(&self) {
        let mut state = self.state();
        for rule in state.rules.drain(..) {
            if let Act::Hold(gate) = rule.act {
                gate.open();
            }
        }
        state.calls.clear();
        state.rewritten = 0;
        if !std::mem::take(&mut state.rewrite).is_empty() {
            std::mem::take(&mut state.cut).cancel();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn pass(self: Arc<Self>, request: Request<Incoming>) -> Result<Answer> {
        let (mut head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let call = Call {
            method: head.method.clone(),
            path: head.uri.path().to_owned(),
            query: head.uri.query().unwrap_or_default().to_owned(),
            body: String::from_utf8_lossy(&body).into_owned(),
        };
        let (act, rewrite, cut) = {
            let mut state = self.state();
            let mut rules = state.rules.iter_mut();
            let rule = rules.find(|rule| rule.left > 0 && (rule.applies)(&call));
            let act = rule.map(|rule| {
                rule.left -= 1;
                rule.act.clone()
            });
            state.accesses.insert(call.access());
            state.calls.push(call);
            (act, state.rewrite.clone(), state.cut.clone())
        };
        match act {
            Some(Act::Refuse(code)) => return refusal(code),
            Some(Act::Hold(gate)) => {
                gate.reached.cancel();
                gate.open.cancelled().await;
            }
            None => {}
        }
        of_this_connection(&mut head.headers);
        head.headers.remove(header::HOST);
        let answer = self
            .upstream
            .send(Request::from_parts(head, Body::from(body.to_vec())))
            .await?;
        let (mut head, body) = answer.into_parts();
        of_this_connection(&mut head.headers);
        if !rewrite.is_empty() {
            head.headers.remove(header::CONTENT_LENGTH);
        }
        let replace = (!rewrite.is_empty()).then_some(move |text: String| {
            let new = rewrite
                .iter()
                .fold(text.clone(), |text, (from, to)| text.replace(from, to));
            if new != text {
                self.state().rewritten += 1;
            }
            new
        });
        let frames = lines(BodyDataStream::new(body), replace, cut);
        let body = StreamBody::new(frames.map(|data| data.map(Frame::data)));
        Ok(Response::from_parts(head, UnsyncBoxBody::new(body)))
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) -> Infallible {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let shared = shared.clone();
                let service = service_fn(move |request| {
                    let shared = shared.clone();
                    async move { shared.pass(request).await.map_err(BoxError::from) }
                });
                connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
            // How a connection ended is its client's business.
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Takes out what is between neighbours.
fn of_this_connection(headers: &mut HeaderMap) {
    for name in [header::CONNECTION, header::TRANSFER_ENCODING] {
        headers.remove(name);
    }
}

/// The answer that an API server gives with a status.
fn refusal(code: u16) -> Result<Answer> {
    let reason = match code {
        403 => "Forbidden",
        404 => "NotFound",
        409 => "Conflict",
        410 => "Expired",
        _ => "InternalError",
    };
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code, "reason": reason,
        "message": "refused by the row",
    });
    let body =
        Full::new(Bytes::from(status.to_string())).map_err(|never: Infallible| match never {});
    Response::builder()
        .status(code)
        .header(header::CONTENT_TYPE, "application/json")
        .body(UnsyncBoxBody::new(body))
        .context("a refusal")
}

/// The data of an answer, whole lines where they are replaced; an error once it is cut.
fn lines(
    data: impl Stream<Item = Result<Bytes, kube::Error>> + Send + Unpin + 'static,
    replace: Option<impl Fn(String) -> String + Send + 'static>,
    cut: CancellationToken,
) -> impl Stream<Item = Result<Bytes, BoxError>> + Send {
    struct Flow<S, R> {
        data: S,
        replace: Option<R>,
        cut: CancellationToken,
        rest: Vec<u8>,
        over: bool,
    }
    let flow = Flow {
        data,
        replace,
        cut,
        rest: Vec::new(),
        over: false,
    };
    stream::unfold(flow, async |mut flow| {
        while !flow.over {
            let next = tokio::select! {
                next = flow.data.next() => next,
                () = flow.cut.cancelled() => Some(Err(kube::Error::Service("cut by the row".into()))),
            };
            let data = match next {
                Some(Ok(data)) => data,
                Some(Err(error)) => {
                    flow.over = true;
                    flow.rest.clear();
                    return Some((Err(error.into()), flow));
                }
                None => {
                    flow.over = true;
                    break;
                }
            };
            let Some(replace) = &flow.replace else {
                return Some((Ok(data), flow));
            };
            flow.rest.extend_from_slice(&data);
            if let Some(end) = flow.rest.iter().rposition(|byte| *byte == b'\n') {
                let rest = flow.rest.split_off(end + 1);
                let whole = replace(text(std::mem::replace(&mut flow.rest, rest)));
                return Some((Ok(whole.into()), flow));
            }
        }
        let replace = flow.replace.as_ref().filter(|_| !flow.rest.is_empty())?;
        let last = replace(text(std::mem::take(&mut flow.rest)));
        Some((Ok(last.into()), flow))
    })
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(method: Method, path: &str, query: &str) -> Call {
        Call {
            method,
            path: path.to_owned(),
            query: query.to_owned(),
            body: String::new(),
        }
    }

    #[test]
    fn a_request_is_an_access() {
        let access = |verb, group: &str, namespace: &str, resource: &str, name: &str| Access {
            verb,
            group: group.to_owned(),
            resource: resource.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        for (method, path, query, expected) in [
            (
                Method::GET,
                "/api/v1/services",
                "watch=true&timeoutSeconds=60",
                access("watch", "", "", "services", ""),
            ),
            (
                Method::GET,
                "/api/v1/nodes",
                "limit=500",
                access("list", "", "", "nodes", ""),
            ),
            (
                Method::GET,
                "/api/v1/namespaces/kube-system",
                "",
                access("get", "", "", "namespaces", "kube-system"),
            ),
            (
                Method::PATCH,
                "/api/v1/namespaces/shop/services/web/status",
                "",
                access("patch", "", "shop", "services/status", "web"),
            ),
            (
                Method::POST,
                "/apis/events.k8s.io/v1/namespaces/shop/events",
                "",
                access("create", "events.k8s.io", "shop", "events", ""),
            ),
            (
                Method::GET,
                "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases",
                "watch=true&fieldSelector=metadata.name%3Devenkeel",
                access(
                    "watch",
                    "coordination.k8s.io",
                    "kube-system",
                    "leases",
                    "evenkeel",
                ),
            ),
        ] {
            let call = call(method, path, query);
            assert_eq!(call.access(), expected);
        }
    }

    #[tokio::test]
    async fn lines_are_rewritten_wherever_they_are_split() {
        let parts = ["{\"a\":", "1}\n{\"a\"", ":1}", "\n{\"a\":1}"];
        let data = stream::iter(parts.map(|part| Ok(Bytes::from(part))));
        let replace = |text: String| text.replace("\"a\":1", "\"a\":2");
        let out: Vec<_> = lines(data, Some(replace), CancellationToken::new())
            .map(|data| String::from_utf8_lossy(&data.unwrap()).into_owned())
            .collect()
            .await;
        assert_eq!(out.concat(), "{\"a\":2}\n{\"a\":2}\n{\"a\":2}");
    }

    #[tokio::test]
    async fn a_cut_is_an_error_and_the_end() {
        let cut = CancellationToken::new();
        let mut out = std::pin::pin!(lines(
            stream::pending(),
            None::<fn(String) -> String>,
            cut.clone()
        ));
        cut.cancel();
        assert!(out.next().await.unwrap().is_err());
        assert!(out.next().await.is_none());
    }
}
