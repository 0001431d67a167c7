//! Events: what happened, told beside the Service (Writes to the API server).
//!
//! A repeated event is one object whose count grows, so that a fault that lasts does not fill the API server. An event
//! that cannot be written is counted and forgotten: nothing ever waits for one, or fails for one.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use evenkeel_core::{
    digest::Digest,
    error::chain,
    ids::{ServiceRef, ServiceUid},
};
use jiff::Timestamp;
use k8s_openapi::{
    api::{core::v1::ObjectReference, events::v1::Event},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::{clock::Clock, metrics::Metrics, outcome::Notice};

/// Who reports.
const REPORTER: &str = "evenkeel.dev/controller";

/// What may wait to be written. More than that in one moment helps nobody.
const WAITING: usize = 1024;

/// The API server takes notes of at most 1 kB.
const LONGEST_NOTE: usize = 1024;

/// The end of a note that was cut.
const CUT: &str = "… The condition has the whole text.";

/// As long as a series goes on; the API server forgets an event an hour after its last write.
const SERIES: Duration = Duration::from_secs(50 * 60);

/// Series that are remembered.
const MOST_SERIES: usize = 4096;

/// How long what still waits at the end may take to be written.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Takes events.
#[derive(Clone, Debug)]
pub struct Events {
    sender: mpsc::Sender<(ServiceRef, Notice)>,
    metrics: Metrics,
}

/// Writes what [`Events`] takes.
pub struct Writer {
    receiver: mpsc::Receiver<(ServiceRef, Notice)>,
    client: Client,
    metrics: Metrics,
    clock: Clock,
    series: HashMap<(ServiceUid, &'static str, Digest), Series>,
}

#[derive(Debug)]
struct Series {
    name: String,
    count: i32,
    last: Instant,
}

/// A taker and its writer.
pub fn channel(client: Client, metrics: Metrics, clock: Clock) -> (Events, Writer) {
    let (sender, receiver) = mpsc::channel(WAITING);
    let writer = Writer {
        receiver,
        client,
        metrics: metrics.clone(),
        clock,
        series: HashMap::new(),
    };
    (Events { sender, metrics }, writer)
}

impl Events {
    /// Tells.
    pub fn tell(&self, service: &ServiceRef, notice: Notice) {
        if self.sender.try_send((service.clone(), notice)).is_err() {
            self.metrics.event_failed();
        }
    }
}

impl Writer {
    /// Writes until told to stop, then for a moment what still waits.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some((service, notice)) = self.receiver.recv() => self.write(&service, notice).await,
                else => break,
            }
        }
        let last_words = async {
            while let Ok((service, notice)) = self.receiver.try_recv() {
                self.write(&service, notice).await;
            }
        };
        // What is not written by then is lost with the process.
        let _ = tokio::time::timeout(LAST_WORDS, last_words).await;
    }

    async fn write(&mut self, service: &ServiceRef, notice: Notice) {
        let now = self.clock.instant();
        let key = (
            service.uid.clone(),
            notice.reason,
            Digest::of(notice.note.as_str()),
        );
        if self.series.len() >= MOST_SERIES {
            self.series.clear();
        }
        self.series
            .retain(|_, series| now.duration_since(series.last) < SERIES);
        let api = Api::<Event>::namespaced(self.client.clone(), &service.key.namespace);
        let time = self.clock.now();
        let repeated = match self.series.get_mut(&key) {
            Some(series) => {
                series.count += 1;
                series.last = now;
                let patch =
                    json!({"series": {"count": series.count, "lastObservedTime": MicroTime(time)}});
                api.patch(&series.name, &PatchParams::default(), &Patch::Merge(patch))
                    .await
            }
            None => Err(kube::Error::Api(Box::default())),
        };
        let written = match repeated {
            Ok(_) => Ok(()),
            // Not there, or not there any more.
            Err(kube::Error::Api(_)) => {
                let event = event(service, &notice, time);
                let name = event.metadata.name.clone().unwrap_or_default();
                self.series.insert(
                    key,
                    Series {
                        name,
                        count: 1,
                        last: now,
                    },
                );
                api.create(&PostParams::default(), &event).await.map(drop)
            }
            Err(error) => Err(error),
        };
        if let Err(error) = written {
            self.metrics.event_failed();
            debug!(service.namespace = %service.key.namespace, service.name = %service.key.name, error = chain(&error), "an event could not be written");
        }
    }
}

fn event(service: &ServiceRef, notice: &Notice, time: Timestamp) -> Event {
    let instance = std::env::var("HOSTNAME")
        .ok()
        .filter(|name| !name.is_empty());
    Event {
        action: Some(notice.reason.to_owned()),
        event_time: Some(MicroTime(time)),
        metadata: ObjectMeta {
            name: Some(format!("{}.{:x}", service.key.name, time.as_nanosecond())),
            namespace: Some(service.key.namespace.to_string()),
            ..ObjectMeta::default()
        },
        note: Some(cut(&notice.note)),
        reason: Some(notice.reason.to_owned()),
        regarding: Some(ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Service".to_owned()),
            name: Some(service.key.name.to_string()),
            namespace: Some(service.key.namespace.to_string()),
            uid: Some(service.uid.to_string()),
            ..ObjectReference::default()
        }),
        reporting_controller: Some(REPORTER.to_owned()),
        reporting_instance: Some(instance.unwrap_or_else(|| REPORTER.to_owned())),
        type_: Some(if notice.warning { "Warning" } else { "Normal" }.to_owned()),
        ..Event::default()
    }
}

/// A note that the API server takes.
fn cut(note: &str) -> String {
    if note.len() <= LONGEST_NOTE {
        return note.to_owned();
    }
    let end = (0..=LONGEST_NOTE - CUT.len())
        .rev()
        .find(|end| note.is_char_boundary(*end))
        .unwrap_or(0);
    format!("{}{CUT}", &note[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_notes_are_cut_between_characters_and_fit() {
        assert_eq!(cut("short"), "short");
        for letter in ["x", "é", "漢"] {
            let note = cut(&letter.repeat(2000));
            assert!(
                (1000..=1024).contains(&note.len()) && note.ends_with(CUT),
                "{} bytes",
                note.len()
            );
        }
    }
}
