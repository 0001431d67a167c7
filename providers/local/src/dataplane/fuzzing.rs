//! The insides that fuzz targets drive, with what must hold whatever comes in. No interface: it may change at any time.
//!
//! Every function panics when a promise is broken. The targets are in the directory `fuzz`; the same functions run over
//! their corpus in `cargo test`.

use std::{fmt::Debug, net::SocketAddr, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use serde::{Deserialize, Serialize};

use super::{
    disk,
    pool::Pool,
    proxy_header,
    route::{self, Route},
    store::{Change, Expect, Kind, Request, Store},
    strict,
};
use crate::api::{ApiError, Marks, Protocol, Put, code};

/// Between two requests of a sequence.
const BETWEEN_REQUESTS: &[u8] = b"\n---\n";

fn pools() -> Arc<[Pool]> {
    let pools = ["127.77.0.0/29", "fd77::1-fd77::3"];
    Pool::parse_all(&pools).expect("pools").into()
}

/// A sequence of requests to the API, one after the other, each a request line, headers, an empty line and a body.
///
/// A request that is refused changes nothing and says why. What a `PUT` was accepted for is there afterwards, reads
/// back equal, and is nothing new the second time; what was deleted is gone. Every change can be taken back, and what
/// is there in the end survives a restart. Returns how many requests were accepted.
pub fn api(bytes: &[u8]) -> usize {
    let mut accepted = 0;
    let mut store = Store::new(pools());
    let mut rest = bytes;
    while !rest.is_empty() {
        let (request, after) = split(rest, BETWEEN_REQUESTS);
        if let Some(request) = understood(request) {
            accepted += usize::from(carry_out(&mut store, request));
        }
        rest = after;
    }
    survives(&store);
    accepted
}

/// The contents of a state file.
///
/// What is refused is refused with a reason. What loads, saves, and loads again as the same; and goes on working.
/// Returns whether it loads.
pub fn state(bytes: &[u8]) -> bool {
    let mut store = match disk::parse(bytes, &pools()) {
        Ok(store) => store,
        Err(disk::Problem::FromFuture(_)) => return false,
        Err(disk::Problem::Damaged(problem)) => {
            assert!(!problem.is_empty());
            return false;
        }
    };
    survives(&store);
    let marks = Marks {
        cluster: "a-cluster".into(),
        group: "g".into(),
        service: "shop/checkout".into(),
        member: "g".into(),
        retain: false,
        labels: Default::default(),
    };
    let put = |body: serde_json::Value| serde_json::to_vec(&body).expect("JSON");
    for (kind, spec) in [
        (Kind::Lease, serde_json::json!({"family": "IPv4"})),
        (
            Kind::BackendSet,
            serde_json::json!({"targets": [], "drain_seconds": 0}),
        ),
    ] {
        let body = put(serde_json::json!({"marks": marks, "spec": spec}));
        let request =
            route::put(kind, "another".into(), Expect::default(), &body).expect("it is good");
        carry_out(&mut store, request);
    }
    survives(&store);
    true
}

/// The PROXY protocol header for a client and the address that it connected to.
#[must_use]
pub fn proxy_header(client: SocketAddr, local: SocketAddr) -> Vec<u8> {
    proxy_header::encode(Protocol::Tcp, client, local)
}

/// What stands before the first separator, and after it.
fn split<'a>(bytes: &'a [u8], separator: &[u8]) -> (&'a [u8], &'a [u8]) {
    let at = bytes
        .windows(separator.len())
        .position(|window| window == separator);
    match at {
        Some(at) => (&bytes[..at], &bytes[at + separator.len()..]),
        None => (bytes, &[]),
    }
}

/// The change that a request asks for; None for what HTTP or the API refuses, and for what only reads.
fn understood(bytes: &[u8]) -> Option<Request> {
    let (head, body) = split(bytes, b"\n\n");
    let mut lines = head.split(|byte| *byte == b'\n');
    let (method, uri) = split(lines.next()?, b" ");
    let (method, uri) = (Method::from_bytes(method).ok()?, Uri::try_from(uri).ok()?);
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = split(line, b": ");
        headers.append(
            HeaderName::from_bytes(name).ok()?,
            HeaderValue::from_bytes(value).ok()?,
        );
    }
    let request = match route::route(&method, &uri, &headers) {
        Ok(Route::Put { kind, name, expect }) => route::put(kind, name, expect, body),
        Ok(Route::Delete {
            kind,
            name,
            cluster,
            expect,
        }) => Ok(Request::Delete {
            kind,
            name,
            cluster,
            expect,
        }),
        Ok(_) => return None,
        Err((status, error)) => {
            assert!(status.is_client_error(), "{status} {error}");
            Err(error)
        }
    };
    request.map_err(|error| explained(&error)).ok()
}

/// Nobody is refused without being told why, and no caller is told that it is the data plane's fault.
fn explained(error: &ApiError) {
    let status = route::status(error);
    let full = error.code == code::POOL_EXHAUSTED;
    assert!(full || status.is_client_error(), "{status} {error}");
    assert!(!error.message.is_empty());
}

/// Says whether it was accepted.
fn carry_out(store: &mut Store, request: Request) -> bool {
    let before = store.clone();
    let change = match store.apply(request.clone()) {
        Ok(change) => change,
        Err(error) => {
            explained(&error);
            same(store, &before);
            return false;
        }
    };
    store.check().expect("what was accepted is consistent");
    is_as_asked(store, &request);

    // A caller that did not get the answer asks again, by and by without expectations.
    let after = store.clone();
    assert_eq!(
        store.apply(without_expectations(request)),
        Ok(Change::Nothing)
    );
    same(store, &after);

    let mut undone = store.clone();
    undone.undo(change);
    assert_eq!(undone.leases, before.leases);
    assert_eq!(undone.backend_sets, before.backend_sets);
    assert_eq!(undone.listeners, before.listeners);
    true
}

fn without_expectations(mut request: Request) -> Request {
    match &mut request {
        Request::PutLease { expect, .. }
        | Request::PutBackendSet { expect, .. }
        | Request::PutListener { expect, .. }
        | Request::Delete { expect, .. } => *expect = Expect::default(),
    }
    request
}

fn is_as_asked(store: &Store, request: &Request) {
    match request {
        Request::PutLease { name, put, .. } => {
            let lease = &store.leases[name];
            reads_back(&lease.marks, &lease.spec.asked, put);
            if let Some(address) = put.spec.address {
                assert_eq!(lease.spec.address, address);
            }
        }
        Request::PutBackendSet { name, put, .. } => {
            let set = &store.backend_sets[name];
            reads_back(&set.marks, &set.spec.spec(), put);
        }
        Request::PutListener { name, put, .. } => {
            let listener = &store.listeners[name];
            reads_back(&listener.marks, &listener.spec, put);
        }
        Request::Delete { kind, name, .. } => assert!(!match kind {
            Kind::Lease => store.leases.contains_key(name),
            Kind::BackendSet => store.backend_sets.contains_key(name),
            Kind::Listener => store.listeners.contains_key(name),
        }),
    }
}

/// What is stored, sent as JSON and read strictly, is what was asked.
fn reads_back<Spec>(marks: &Marks, spec: &Spec, put: &Put<Spec>)
where
    Spec: Clone + Debug + PartialEq + Serialize + for<'de> Deserialize<'de>,
{
    let stored = Put {
        marks: marks.clone(),
        spec: spec.clone(),
    };
    let text = serde_json::to_vec(&stored).expect("JSON");
    assert_eq!(strict::parse::<Put<Spec>>(&text).as_ref(), Ok(put));
}

fn same(one: &Store, other: &Store) {
    assert_eq!(one.next_generation, other.next_generation);
    assert_eq!(one.leases, other.leases);
    assert_eq!(one.backend_sets, other.backend_sets);
    assert_eq!(one.listeners, other.listeners);
}

fn survives(store: &Store) {
    let text = |store: &Store| {
        let mut text = Vec::new();
        disk::write(&mut text, store).expect("a Vec takes everything");
        text
    };
    let saved = text(store);
    let loaded = disk::parse(&saved, &pools()).expect("what was saved loads");
    same(&loaded, store);
    assert_eq!(text(&loaded), saved);
}
