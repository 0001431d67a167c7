//! Health, readiness, metrics and where the Services stand, over HTTP (Reads what others left here).
//!
//! Ready means that the caches are filled and every provider was asked once: then all that is asked of this process is
//! under way. It stays ready while the API server or a cloud is away, because a restart would not help.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context as _, Result};
use axum::{
    Json, Router,
    extract::{Query, State},
    http::{StatusCode, header::CONTENT_TYPE},
    response::IntoResponse,
    routing::get,
};
use futures::future::{BoxFuture, join_all};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    metrics::Metrics,
    providers::Measures,
    view::standing::{Scope, Standings},
};

/// What has to be there before the process is ready.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Mutex<BTreeMap<String, bool>>>);

impl Readiness {
    /// Adds something that is missing.
    pub fn expect(&self, what: impl Into<String>) {
        self.set(what.into(), false);
    }

    /// It is there.
    pub fn reached(&self, what: impl Into<String>) {
        self.set(what.into(), true);
    }

    fn set(&self, what: String, there: bool) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(what, there);
    }

    /// What is missing.
    pub fn missing(&self) -> Vec<String> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter()
            .filter(|(_, there)| !**there)
            .map(|(what, _)| what.clone())
            .collect()
    }
}

/// Where the Services of a scope stand; None before anything is known.
pub type Tell = Arc<dyn Fn(Scope) -> BoxFuture<'static, Option<Standings>> + Send + Sync>;

/// What the server tells.
#[derive(Clone)]
pub struct Admin {
    /// Whether the process is ready.
    pub readiness: Readiness,
    /// The metrics.
    pub metrics: Metrics,
    /// Brings gauges up to date before they are read.
    pub refresh: Arc<dyn Fn() + Send + Sync>,
    /// What processes beside this one measure.
    pub others: Arc<dyn Fn() -> Vec<Measures> + Send + Sync>,
    /// Where the Services stand; None before anything is known.
    pub standings: Tell,
}

/// Takes the address.
///
/// # Errors
/// When it cannot be had.
pub async fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("--listen: {address} cannot be listened on; choose another address, or `off`")
    })
}

/// Answers until told to stop.
///
/// # Errors
/// When the server ends by itself.
pub async fn serve(listener: TcpListener, admin: Admin, stop: CancellationToken) -> Result<()> {
    let router = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/status", get(status))
        .with_state(admin);
    axum::serve(listener, router)
        .with_graceful_shutdown(stop.cancelled_owned())
        .await
        .context("the HTTP server for health and metrics")
}

async fn ready(State(admin): State<Admin>) -> impl IntoResponse {
    let missing = admin.readiness.missing();
    if missing.is_empty() {
        return (StatusCode::OK, "ok\n".to_owned());
    }
    (
        StatusCode::SERVICE_UNAVAILABLE,
        format!("waiting for {}\n", missing.join(", ")),
    )
}

async fn status(State(admin): State<Admin>, Query(scope): Query<Scope>) -> impl IntoResponse {
    match (admin.standings)(scope).await {
        Some(standings) => Json(standings).into_response(),
        None => {
            let why = "nothing is known yet; ask again\n";
            (StatusCode::SERVICE_UNAVAILABLE, why).into_response()
        }
    }
}

async fn metrics(State(admin): State<Admin>) -> impl IntoResponse {
    (admin.refresh)();
    let others = join_all((admin.others)().into_iter().map(|measures| measures())).await;
    match admin.metrics.encode() {
        Ok(text) => (
            StatusCode::OK,
            [(
                CONTENT_TYPE,
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
            )],
            join(text, others.into_iter().flatten()),
        ),
        Err(error) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            [(CONTENT_TYPE, "text/plain")],
            error.to_string(),
        ),
    }
}

/// The last line of an OpenMetrics text.
const END: &str = "# EOF\n";

/// Several texts as one.
fn join(first: String, others: impl Iterator<Item = String>) -> String {
    let mut all = first.trim_end_matches(END).to_owned();
    for other in others {
        all.push_str(other.trim_end_matches(END));
    }
    all.push_str(END);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_texts_have_one_end() {
        for (others, want) in [
            (vec![], "a 1\n# EOF\n"),
            (
                vec!["b 2\n# EOF\n", "c 3\n# EOF\n"],
                "a 1\nb 2\nc 3\n# EOF\n",
            ),
        ] {
            let others = others.into_iter().map(str::to_owned);
            assert_eq!(join("a 1\n# EOF\n".to_owned(), others), want);
        }
    }

    #[test]
    fn readiness_names_what_is_missing() {
        let readiness = Readiness::default();
        readiness.expect("services");
        readiness.expect("nodes");
        assert_eq!(readiness.missing(), ["nodes", "services"]);
        readiness.reached("nodes");
        assert_eq!(readiness.missing(), ["services"]);
        readiness.reached("services");
        assert!(readiness.missing().is_empty());
    }
}
