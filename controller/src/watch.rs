//! What Kubernetes says: Services, Nodes and what else is needed, watched (Reads).
//!
//! One watch per kind, by streaming list where the server has it and by pages where not. An object that cannot be
//! read is named in the log, counted, and stops nothing. While the API server is away the caches stay as they are and
//! the watch is tried again; when it is back they catch up by themselves.

pub mod endpoints;
pub mod item;
pub mod nodes;
pub mod pods;
pub mod services;

use std::{pin::pin, time::Duration};

use anyhow::Result;
use backon::{BackoffBuilder as _, ExponentialBuilder};
use evenkeel_core::error::chain;
use futures::StreamExt as _;
use kube::{
    Api, Client,
    runtime::watcher::{self, Event, watcher},
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::metrics::Metrics;
use item::{Item, Trim};

/// The server ends a watch after this long and it is taken up again; a connection that died without a word is noticed
/// a few seconds later.
const WATCH_SECONDS: u32 = 60;

/// The largest page of a list.
const PAGE: u32 = 500;

/// Watches all objects of a kind, for ever: tells every event, in order. Lists them anew when `again` says so.
///
/// # Errors
/// When the watch ends by itself, which it never should.
pub async fn watch<T: Trim>(
    client: Client,
    metrics: &Metrics,
    stop: &CancellationToken,
    again: &Notify,
    mut tell: impl FnMut(Event<Item<T>>),
) -> Result<()> {
    let api = Api::all(client);
    watch_of(api, metrics, stop, again, |heard| {
        if let Ok(event) = heard {
            tell(event);
        }
    })
    .await
}

/// The same of those objects that an API is about. Tells also what the API server says where it does not allow the watch; it is tried again.
///
/// # Errors
/// As [`watch`].
pub async fn watch_of<T: Trim>(
    api: Api<Item<T>>,
    metrics: &Metrics,
    stop: &CancellationToken,
    again: &Notify,
    mut tell: impl FnMut(Result<Event<Item<T>>, String>),
) -> Result<()> {
    let paged = watcher::Config::default()
        .timeout(WATCH_SECONDS)
        .page_size(PAGE);
    let paged = match T::LABELS {
        Some(labels) => paged.labels(labels),
        None => paged,
    };
    let mut config = paged.clone().streaming_lists();
    let mut away = Away::new(T::PLURAL);
    'streams: loop {
        let mut stream = pin!(watcher(api.clone(), config.clone()));
        loop {
            let next = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                () = again.notified() => continue 'streams,
                next = stream.next() => next,
            };
            match next {
                Some(Ok(event)) => {
                    // A stream that begins says Init before anything was answered by a list in pages.
                    if !matches!(event, Event::Init) {
                        away.back();
                    }
                    report_unreadable(&event, metrics);
                    tell(Ok(event));
                }
                Some(Err(error)) if config != paged && cannot_stream(&error) => {
                    info!(
                        resource = T::PLURAL,
                        "the API server has no streaming lists; listing in pages"
                    );
                    config = paged.clone();
                    continue 'streams;
                }
                Some(Err(error)) => {
                    metrics.watch_failed(T::PLURAL);
                    if let Some(refusal) = refusal(&error) {
                        tell(Err(refusal));
                    }
                    let pause = away.failed(&error);
                    tokio::select! {
                        () = stop.cancelled() => return Ok(()),
                        () = tokio::time::sleep(pause) => {}
                    }
                }
                None => anyhow::bail!("the watch of {} ended by itself", T::PLURAL),
            }
        }
    }
}

/// Whether the server says that it does not know streaming lists. They are behind the gate `WatchList`, which is off in
/// 1.33 and may be switched off later; then the answer is 422 (`sendInitialEvents is forbidden for watch unless the
/// WatchList feature gate is enabled`).
fn cannot_stream(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::WatchStartFailed(kube::Error::Api(status)) => {
            matches!(status.code, 400 | 422)
        }
        _ => false,
    }
}

/// What the server says where it does not allow a watch.
fn refusal(error: &watcher::Error) -> Option<String> {
    let (watcher::Error::InitialListFailed(kube::Error::Api(status))
    | watcher::Error::WatchStartFailed(kube::Error::Api(status))) = error
    else {
        return None;
    };
    matches!(status.code, 401 | 403).then(|| status.message.clone())
}

fn report_unreadable<T: Trim>(event: &Event<Item<T>>, metrics: &Metrics) {
    let (Event::Apply(item) | Event::InitApply(item)) = event else {
        return;
    };
    if let Err(why) = &item.body {
        metrics.object_unreadable(T::PLURAL);
        let meta = &item.meta;
        warn!(
            resource = T::PLURAL,
            namespace = meta.namespace.as_deref().unwrap_or_default(),
            name = meta.name.as_deref().unwrap_or_default(),
            error = why,
            "an object cannot be read and is left as it was; compare it with the API's reference"
        );
    }
}

/// A watch that does not come about: how long to wait, and saying so once.
struct Away {
    resource: &'static str,
    pauses: backon::ExponentialBackoff,
    since: Option<tokio::time::Instant>,
}

impl Away {
    fn new(resource: &'static str) -> Self {
        Self {
            resource,
            pauses: Self::pauses(),
            since: None,
        }
    }

    fn pauses() -> backon::ExponentialBackoff {
        ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(250))
            .with_max_delay(Duration::from_secs(10))
            .with_jitter()
            .without_max_times()
            .build()
    }

    fn failed(&mut self, error: &(impl std::error::Error + 'static)) -> Duration {
        let error = chain(error);
        if self.since.is_none() {
            self.since = Some(tokio::time::Instant::now());
            warn!(
                resource = self.resource,
                error,
                "the API server cannot be watched; load balancers stay as they are, and it is tried again"
            );
        } else {
            debug!(
                resource = self.resource,
                error, "the API server still cannot be watched"
            );
        }
        self.pauses.next().unwrap_or(Duration::from_secs(10))
    }

    fn back(&mut self) {
        if let Some(since) = self.since.take() {
            self.pauses = Self::pauses();
            let away = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
            info!(
                resource = self.resource,
                duration_ms = away,
                "the API server can be watched again"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    #[test]
    fn only_a_refusal_of_the_parameters_means_no_streaming_lists() {
        let api = |code, reason: &str| {
            kube::Error::Api(Box::new(Status::failure("", reason).with_code(code)))
        };
        for (error, want) in [
            (watcher::Error::WatchStartFailed(api(422, "Invalid")), true),
            (
                watcher::Error::WatchStartFailed(api(400, "BadRequest")),
                true,
            ),
            (
                watcher::Error::WatchStartFailed(api(403, "Forbidden")),
                false,
            ),
            (
                watcher::Error::WatchStartFailed(api(503, "ServiceUnavailable")),
                false,
            ),
            (watcher::Error::WatchFailed(api(422, "Invalid")), false),
            (watcher::Error::NoResourceVersion, false),
        ] {
            assert_eq!(cannot_stream(&error), want, "{error}");
        }
    }
}
