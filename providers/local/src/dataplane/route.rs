//! What a request asks for. Decides: no IO.

use http::{HeaderMap, Method, StatusCode, Uri, header::IF_MATCH, header::IF_NONE_MATCH};

use super::{
    store::{Expect, Kind, Request},
    strict,
};
use crate::{
    api::{ApiError, HANDOVER_VERSION, Handover, Marks, code, header},
    moment::Moment,
};

/// Which objects are asked about; nothing said is all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Which {
    /// UID of the cluster that owns them.
    pub(crate) cluster: Option<String>,
    /// Identity of the group that owns them.
    pub(crate) group: Option<String>,
}

impl Which {
    /// Whether an object with these marks is asked about.
    pub(crate) fn has(&self, marks: &Marks) -> bool {
        let is =
            |asked: &Option<String>, mark: &str| asked.as_deref().is_none_or(|asked| asked == mark);
        is(&self.cluster, &marks.cluster) && is(&self.group, &marks.group)
    }
}

/// A request without its body.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Route {
    Health,
    Metrics(Which),
    Handover,
    Objects(Which),
    Snapshot(Which),
    Get {
        kind: Kind,
        name: String,
    },
    Put {
        kind: Kind,
        name: String,
        expect: Expect,
    },
    Delete {
        kind: Kind,
        name: String,
        cluster: String,
        expect: Expect,
    },
}

/// A refusal with the status of its answer.
pub(crate) type Refusal = (StatusCode, ApiError);

/// The status that goes with an error.
pub(crate) fn status(error: &ApiError) -> StatusCode {
    match error.code.as_str() {
        code::INVALID => StatusCode::BAD_REQUEST,
        code::FOREIGN => StatusCode::FORBIDDEN,
        code::NOT_FOUND => StatusCode::NOT_FOUND,
        code::EXISTS
        | code::IN_USE
        | code::PORT_TAKEN
        | code::ADDRESS_TAKEN
        | code::NAMESPACE_LIMIT => StatusCode::CONFLICT,
        code::CHANGED => StatusCode::PRECONDITION_FAILED,
        code::ADDRESS_NOT_IN_POOL
        | code::NO_SUCH_POOL
        | code::NAMESPACE_NOT_SERVED
        | code::BAD_REFERENCE
        | code::IMMUTABLE => StatusCode::UNPROCESSABLE_ENTITY,
        code::POOL_EXHAUSTED => StatusCode::INSUFFICIENT_STORAGE,
        code::BUSY => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Reads method, path, query and headers.
pub(crate) fn route(method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<Route, Refusal> {
    let segments: Vec<&str> = uri.path().trim_start_matches('/').split('/').collect();
    match segments[..] {
        ["v1", "health"] => only_get(method, uri).map(|()| Route::Health),
        ["v1", "metrics"] => {
            allow(method, &[Method::GET])?;
            Ok(Route::Metrics(which(uri).map_err(refuse)?))
        }
        ["v1", "handover"] => {
            allow(method, &[Method::POST])?;
            no_query(uri).map_err(refuse)?;
            Ok(Route::Handover)
        }
        ["v1", "objects"] => {
            allow(method, &[Method::GET])?;
            Ok(Route::Objects(which(uri).map_err(refuse)?))
        }
        ["v1", "snapshot"] => {
            allow(method, &[Method::GET])?;
            Ok(Route::Snapshot(which(uri).map_err(refuse)?))
        }
        ["v1", kind, name] => {
            let Some(kind) = Kind::from_path(kind) else {
                return Err(no_path(uri));
            };
            allow(method, &[Method::GET, Method::PUT, Method::DELETE])?;
            no_query(uri).map_err(refuse)?;
            let name = name.to_owned();
            if *method == Method::GET {
                return Ok(Route::Get { kind, name });
            }
            let expect = expectation(headers).map_err(refuse)?;
            if *method == Method::PUT {
                return Ok(Route::Put { kind, name, expect });
            }
            let cluster = text(headers, header::CLUSTER)
                .map_err(refuse)?
                .filter(|cluster| !cluster.is_empty());
            let Some(cluster) = cluster else {
                return Err(refuse(invalid(
                    header::CLUSTER,
                    "the header is missing; send the UID of the object's cluster",
                )));
            };
            Ok(Route::Delete {
                kind,
                name,
                cluster: cluster.to_owned(),
                expect,
            })
        }
        _ => Err(no_path(uri)),
    }
}

/// Reads what a data plane that takes over says.
pub(crate) fn handover(body: &[u8]) -> Result<Handover, ApiError> {
    let asked: Handover = strict::parse(body)?;
    if asked.version != HANDOVER_VERSION {
        return Err(ApiError::new(
            code::INVALID,
            format!(
                "version: {} is not allowed, this data plane hands over in version {HANDOVER_VERSION}; stop it, which ends \
                 its connections, and start the other one",
                asked.version
            ),
        )
        .at("version"));
    }
    // A name and no path: it lies beside our own socket.
    if asked.socket.is_empty()
        || asked.socket.contains(['/', '\0'])
        || asked.socket.starts_with('.')
    {
        return Err(invalid(
            "socket",
            "it must be the name of a socket beside the API's; send one",
        ));
    }
    Ok(asked)
}

/// Joins a `PUT` and its body.
pub(crate) fn put(
    kind: Kind,
    name: String,
    expect: Expect,
    body: &[u8],
) -> Result<Request, ApiError> {
    Ok(match kind {
        Kind::Lease => Request::PutLease {
            name,
            put: strict::parse(body)?,
            expect,
        },
        Kind::BackendSet => Request::PutBackendSet {
            name,
            put: strict::parse(body)?,
            expect,
        },
        Kind::Listener => Request::PutListener {
            name,
            put: strict::parse(body)?,
            expect,
        },
    })
}

fn refuse(error: ApiError) -> Refusal {
    (status(&error), error)
}

fn invalid(field: &str, message: impl Into<String>) -> ApiError {
    ApiError::new(code::INVALID, format!("{field}: {}", message.into())).at(field)
}

fn no_path(uri: &Uri) -> Refusal {
    let message = format!(
        "there is no `{}`; the paths are /v1/health, /v1/metrics, /v1/objects and /v1/KIND/NAME with KIND one of leases, \
         backendsets, listeners",
        uri.path().chars().take(200).collect::<String>()
    );
    refuse(ApiError::new(code::NOT_FOUND, message))
}

fn allow(method: &Method, allowed: &[Method]) -> Result<(), Refusal> {
    if allowed.contains(method) {
        return Ok(());
    }
    let allowed: Vec<&str> = allowed.iter().map(Method::as_str).collect();
    let message = format!(
        "the method {method} is not one of this path's; use {}",
        allowed.join(", ")
    );
    Err((
        StatusCode::METHOD_NOT_ALLOWED,
        ApiError::new(code::INVALID, message),
    ))
}

fn only_get(method: &Method, uri: &Uri) -> Result<(), Refusal> {
    allow(method, &[Method::GET])?;
    no_query(uri).map_err(refuse)
}

fn no_query(uri: &Uri) -> Result<(), ApiError> {
    match uri.query() {
        None | Some("") => Ok(()),
        Some(_) => Err(invalid("query", "this path takes no query; remove it")),
    }
}

fn which(uri: &Uri) -> Result<Which, ApiError> {
    let refused = || {
        let allowed = "it can only be cluster=UID and group=IDENTITY, each once; correct it, or remove it to see everything";
        invalid("query", allowed)
    };
    let mut which = Which::default();
    for pair in uri
        .query()
        .unwrap_or("")
        .split('&')
        .filter(|pair| !pair.is_empty())
    {
        let (key, value) = pair.split_once('=').ok_or_else(refused)?;
        let place = match key {
            "cluster" => &mut which.cluster,
            "group" => &mut which.group,
            _ => return Err(refused()),
        };
        // UIDs and names of Kubernetes are plain characters, so there is nothing to decode.
        if value.is_empty()
            || value.contains(['=', '%', '+'])
            || place.replace(value.to_owned()).is_some()
        {
            return Err(refused());
        }
    }
    Ok(which)
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, ApiError> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value
            .to_str()
            .map(Some)
            .map_err(|_| invalid(name, "the value is not visible ASCII; correct it")),
        (Some(_), Some(_)) => Err(invalid(name, "the header is there twice; send it once")),
    }
}

/// When the caller gives up, if it ever does.
pub(crate) fn deadline(headers: &HeaderMap) -> Result<Option<Moment>, ApiError> {
    let Some(value) = text(headers, header::DEADLINE)? else {
        return Ok(None);
    };
    let milliseconds = value.parse().map_err(|_| {
        let allowed = "it is milliseconds of the monotonic clock; send a whole number";
        invalid(
            header::DEADLINE,
            format!("`{value}` is not allowed, {allowed}"),
        )
    })?;
    Ok(Some(Moment::of_milliseconds(milliseconds)))
}

fn expectation(headers: &HeaderMap) -> Result<Expect, ApiError> {
    let absent = match text(headers, IF_NONE_MATCH.as_str())? {
        None => false,
        Some("*") => true,
        Some(other) => {
            return Err(invalid(
                "If-None-Match",
                format!("`{other}` is not allowed; send *"),
            ));
        }
    };
    let generation = match text(headers, IF_MATCH.as_str())? {
        None => None,
        Some(value) => {
            let bare = value
                .strip_prefix('"')
                .and_then(|value| value.strip_suffix('"'))
                .unwrap_or(value);
            let wrong = || {
                invalid(
                    "If-Match",
                    format!("`{value}` is not allowed; send the generation that was read"),
                )
            };
            Some(bare.parse().map_err(|_| wrong())?)
        }
    };
    if absent && generation.is_some() {
        return Err(invalid(
            "If-Match",
            "it contradicts If-None-Match; send one of the two",
        ));
    }
    Ok(Expect { absent, generation })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn ask(
        method: &str,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Route, (u16, Option<String>)> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_str(value).expect("a header"));
        }
        let method = method.parse().expect("a method");
        route(&method, &path.parse().expect("a path"), &map)
            .map_err(|(status, error)| (status.as_u16(), error.field))
    }

    #[test]
    fn requests_are_understood() {
        let name = || "a-1".to_owned();
        let expect = |absent, generation| Expect { absent, generation };
        for (method, path, headers, want) in [
            ("GET", "/v1/health", &[][..], Route::Health),
            ("GET", "/v1/metrics", &[], Route::Metrics(Which::default())),
            ("POST", "/v1/handover", &[], Route::Handover),
            ("GET", "/v1/objects", &[], Route::Objects(Which::default())),
            (
                "GET",
                "/v1/snapshot",
                &[],
                Route::Snapshot(Which::default()),
            ),
            (
                "GET",
                "/v1/objects?cluster=u-1",
                &[],
                Route::Objects(Which {
                    cluster: Some("u-1".into()),
                    group: None,
                }),
            ),
            (
                "GET",
                "/v1/objects?cluster=u-1&group=shop/edge",
                &[],
                Route::Objects(Which {
                    cluster: Some("u-1".into()),
                    group: Some("shop/edge".into()),
                }),
            ),
            (
                "GET",
                "/v1/leases/a-1",
                &[],
                Route::Get {
                    kind: Kind::Lease,
                    name: name(),
                },
            ),
            (
                "PUT",
                "/v1/backendsets/a-1",
                &[("if-none-match", "*")],
                Route::Put {
                    kind: Kind::BackendSet,
                    name: name(),
                    expect: expect(true, None),
                },
            ),
            (
                "PUT",
                "/v1/listeners/a-1",
                &[("if-match", "7")],
                Route::Put {
                    kind: Kind::Listener,
                    name: name(),
                    expect: expect(false, Some(7)),
                },
            ),
            (
                "DELETE",
                "/v1/listeners/a-1",
                &[("x-evenkeel-cluster", "c"), ("if-match", "\"7\"")],
                Route::Delete {
                    kind: Kind::Listener,
                    name: name(),
                    cluster: "c".into(),
                    expect: expect(false, Some(7)),
                },
            ),
        ] {
            assert_eq!(ask(method, path, headers), Ok(want), "{method} {path}");
        }
    }

    #[test]
    fn wrong_requests_are_refused() {
        for (method, path, headers, status, field) in [
            ("GET", "/", &[][..], 404, None),
            ("GET", "/v2/health", &[], 404, None),
            ("GET", "/v1/pools/a", &[], 404, None),
            ("GET", "/v1/leases", &[], 404, None),
            ("GET", "/v1/leases/a/b", &[], 404, None),
            ("POST", "/v1/leases/a", &[], 405, None),
            ("DELETE", "/v1/objects", &[], 405, None),
            ("GET", "/v1/handover", &[], 405, None),
            ("POST", "/v1/handover?now", &[], 400, Some("query")),
            ("GET", "/v1/objects?clutser=x", &[], 400, Some("query")),
            ("GET", "/v1/objects?cluster=", &[], 400, Some("query")),
            ("GET", "/v1/leases/a?x=1", &[], 400, Some("query")),
            (
                "DELETE",
                "/v1/leases/a",
                &[],
                400,
                Some("x-evenkeel-cluster"),
            ),
            (
                "DELETE",
                "/v1/leases/a",
                &[("x-evenkeel-cluster", "a"), ("x-evenkeel-cluster", "b")],
                400,
                Some("x-evenkeel-cluster"),
            ),
            (
                "PUT",
                "/v1/leases/a",
                &[("if-none-match", "7")],
                400,
                Some("If-None-Match"),
            ),
            (
                "PUT",
                "/v1/leases/a",
                &[("if-match", "-1")],
                400,
                Some("If-Match"),
            ),
            (
                "PUT",
                "/v1/leases/a",
                &[("if-match", "1"), ("if-none-match", "*")],
                400,
                Some("If-Match"),
            ),
        ] {
            let want = Err((status, field.map(String::from)));
            assert_eq!(ask(method, path, headers), want, "{method} {path}");
        }
    }

    proptest! {
        #[test]
        fn no_request_makes_the_router_panic(
            method in "[A-Z]{1,9}", path in "/(v1/)?[ -~]{0,40}", value in prop::collection::vec(any::<u8>(), 0..9)
        ) {
            let mut headers = HeaderMap::new();
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                for name in ["if-match", "if-none-match", header::CLUSTER] {
                    headers.insert(name, value.clone());
                }
            }
            let (Ok(method), Ok(uri)) = (method.parse(), path.parse()) else { return Ok(()) };
            if let Err((status, _)) = route(&method, &uri, &headers) {
                prop_assert!(status.is_client_error());
            }
        }
    }
}
