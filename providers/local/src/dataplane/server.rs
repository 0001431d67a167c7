//! The API over HTTP. Reads and writes: the socket. What requests mean is decided in `route` and `strict`, what they
//! do in `engine`.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::Request,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use tokio::sync::{Semaphore, mpsc};

use super::{
    engine::{Answer, Engine, busy},
    handover::give::Asked,
    metrics,
    pool::Pool,
    route::{self, Refusal, Route},
    store,
};
use crate::api::{ApiError, Handover, Info, MAX_BODY_BYTES, code};

/// What the handler needs.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) engine: Engine,
    pub(crate) pools: Arc<[Pool]>,
    pub(crate) timeout: Duration,
    pub(crate) version: Arc<str>,
    /// Where data planes go that want to take over.
    pub(crate) successors: mpsc::Sender<Asked>,
    /// One of them at a time.
    pub(crate) turn: Arc<Semaphore>,
}

impl Api {
    /// Every request goes one way, so that every answer is ours.
    pub(crate) fn router(self) -> Router {
        Router::new().fallback(move |request: Request| {
            let api = self.clone();
            async move {
                let limit = api.timeout;
                match tokio::time::timeout(limit, api.handle(request)).await {
                    Ok(Ok(response)) => response,
                    Ok(Err((status, error))) => json(status, &error),
                    Err(_) => json(StatusCode::SERVICE_UNAVAILABLE, &busy()),
                }
            }
        })
    }

    async fn handle(&self, request: Request) -> Result<Response, Refusal> {
        let (head, body) = request.into_parts();
        let deadline = || route::deadline(&head.headers).map_err(refuse);
        match route::route(&head.method, &head.uri, &head.headers)? {
            Route::Health => Ok(json(StatusCode::OK, &self.info().await.map_err(refuse)?)),
            Route::Metrics(which) => {
                let facts = self
                    .engine
                    .read(move |view| metrics::Facts::of(view, &which));
                let text = metrics::render(facts.await.map_err(refuse)?);
                let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
                let kind = HeaderValue::from_static(kind);
                Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
            }
            Route::Handover => {
                let asked = route::handover(&read_body(body).await?).map_err(refuse)?;
                self.hand_over(asked).map_err(refuse)?;
                Ok(StatusCode::ACCEPTED.into_response())
            }
            Route::Objects(which) => {
                let objects = self
                    .engine
                    .read(move |view| view.objects(&which))
                    .await
                    .map_err(refuse)?;
                Ok(json(StatusCode::OK, &objects))
            }
            Route::Snapshot(which) => {
                let snapshot = self
                    .engine
                    .read(move |view| view.snapshot(&which))
                    .await
                    .map_err(refuse)?;
                Ok(json(StatusCode::OK, &snapshot))
            }
            Route::Get { kind, name } => {
                let found = {
                    let name = name.clone();
                    self.engine
                        .read(move |view| view.object(kind, &name))
                        .await
                        .map_err(refuse)?
                };
                match found {
                    Some(object) => Ok(json(StatusCode::OK, &object)),
                    None => Err(refuse(ApiError::new(
                        code::NOT_FOUND,
                        format!(
                            "there is no {kind} `{}`; create it with PUT",
                            name.chars().take(128).collect::<String>()
                        ),
                    ))),
                }
            }
            Route::Put { kind, name, expect } => {
                let deadline = deadline()?;
                let bytes = read_body(body).await?;
                let request = route::put(kind, name, expect, &bytes).map_err(refuse)?;
                let answer = self.engine.change(request, deadline).await;
                match answer.map_err(refuse)? {
                    Answer::Put {
                        object,
                        created: true,
                    } => Ok(json(StatusCode::CREATED, &object)),
                    Answer::Put {
                        object,
                        created: false,
                    } => Ok(json(StatusCode::OK, &object)),
                    Answer::Deleted => Err(refuse(ApiError::new(
                        code::CHANGED,
                        format!(
                            "the {kind} was deleted at the same time; read it again and decide anew"
                        ),
                    ))),
                }
            }
            Route::Delete {
                kind,
                name,
                cluster,
                expect,
            } => {
                let request = store::Request::Delete {
                    kind,
                    name,
                    cluster,
                    expect,
                };
                let answer = self.engine.change(request, deadline()?).await;
                answer.map_err(refuse)?;
                Ok(StatusCode::NO_CONTENT.into_response())
            }
        }
    }

    fn hand_over(&self, asked: Handover) -> Result<(), ApiError> {
        let taken = || {
            let message =
                "another data plane is taking over already; start again when that is over";
            ApiError::new(code::BUSY, message)
        };
        let permit = Arc::clone(&self.turn)
            .try_acquire_owned()
            .map_err(|_| taken())?;
        let asked = Asked {
            socket: asked.socket,
            by: asked.by,
            permit,
        };
        self.successors.try_send(asked).map_err(|_| busy())
    }

    async fn info(&self) -> Result<Info, ApiError> {
        let counters = self
            .engine
            .read(|view| view.runtime.traffic.totals.by_name())
            .await?;
        Ok(Info {
            version: self.version.to_string(),
            pid: std::process::id(),
            pools: self.pools.iter().map(ToString::to_string).collect(),
            counters,
        })
    }
}

async fn read_body(body: Body) -> Result<Vec<u8>, Refusal> {
    use http_body_util::LengthLimitError;

    to_bytes(body, MAX_BODY_BYTES).await.map(Into::into).map_err(|error| {
        let too_large = std::error::Error::source(&error).is_some_and(|source| source.is::<LengthLimitError>());
        if too_large {
            let message = format!("the body is larger than {MAX_BODY_BYTES} bytes; send fewer targets or source ranges");
            (StatusCode::PAYLOAD_TOO_LARGE, ApiError::new(code::INVALID, message))
        } else {
            refuse(ApiError::new(code::INVALID, "the body ended too early; send it whole"))
        }
    })
}

fn refuse(error: ApiError) -> Refusal {
    (route::status(&error), error)
}

fn json(status: StatusCode, body: &impl Serialize) -> Response {
    (status, axum::Json(body)).into_response()
}
