//! Events: what happened, told beside the object (Writes to the API server).
//!
//! A repeated event is one object whose count grows, so that a fault that lasts does not fill the API server. What is
//! wrong has a name made of what it says, so that the next process finds it and goes on counting. An event that cannot
//! be written is counted and forgotten: nothing ever waits for one, or fails for one.
//!
//! Events are of `events.k8s.io/v1`, which `kubectl` sees through the core API: their series gives age and count.
//! `kubectl describe` sorts by a time that events of this API do not have, and so shows them in the order of their
//! names: those of what happened in the order of time, then those of what is wrong.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use evenkeel_core::{digest::Digest, error::chain, ids::ServiceRef};
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

/// What an event is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct About {
    /// Its kind, in the API group `v1`.
    pub kind: &'static str,
    /// Its namespace; None where it is in none.
    pub namespace: Option<Arc<str>>,
    /// Its name.
    pub name: Arc<str>,
    /// Its UID: without it `kubectl describe` does not find the event. None where it is not known.
    pub uid: Option<Arc<str>>,
}

impl About {
    /// The namespace of its events. Those of objects without one go where everybody looks for them.
    fn events_in(&self) -> &str {
        self.namespace.as_deref().unwrap_or("default")
    }
}

impl From<&ServiceRef> for About {
    fn from(service: &ServiceRef) -> Self {
        Self {
            kind: "Service",
            namespace: Some(service.key.namespace.clone()),
            name: service.key.name.clone(),
            uid: Some(service.uid.as_str().into()),
        }
    }
}

/// Takes events.
#[derive(Clone, Debug)]
pub struct Events {
    sender: mpsc::Sender<(About, Notice)>,
    metrics: Metrics,
}

/// Writes what [`Events`] takes.
pub struct Writer {
    receiver: mpsc::Receiver<(About, Notice)>,
    client: Client,
    metrics: Metrics,
    clock: Clock,
    series: HashMap<Key, Series>,
}

/// What makes two events the same.
type Key = (About, &'static str, Digest);

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
    /// Tells of a Service.
    pub fn tell(&self, service: &ServiceRef, notice: Notice) {
        self.tell_of(service.into(), notice);
    }

    /// Tells of any object.
    pub fn tell_of(&self, about: About, notice: Notice) {
        if self.sender.try_send((about, notice)).is_err() {
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
                Some((about, notice)) = self.receiver.recv() => self.write(about, notice).await,
                else => break,
            }
        }
        let last_words = async {
            while let Ok((about, notice)) = self.receiver.try_recv() {
                self.write(about, notice).await;
            }
        };
        // What is not written by then is lost with the process.
        let _ = tokio::time::timeout(LAST_WORDS, last_words).await;
    }

    async fn write(&mut self, about: About, notice: Notice) {
        let name = format!("{} {}/{}", about.kind, about.events_in(), about.name);
        if let Err(error) = self.try_write(about, notice).await {
            self.metrics.event_failed();
            debug!(
                error = chain(&error),
                "an event of {name} could not be written"
            );
        }
    }

    async fn try_write(&mut self, about: About, notice: Notice) -> Result<(), kube::Error> {
        let api = Api::<Event>::namespaced(self.client.clone(), about.events_in());
        let (instant, now) = (self.clock.instant(), self.clock.now());
        if self.series.len() >= MOST_SERIES {
            self.series.clear();
        }
        self.series
            .retain(|_, series| instant.duration_since(series.last) < SERIES);
        let event = event(&about, &notice, now);
        let key = (about, notice.reason, Digest::of(notice.note.as_str()));
        if let Some(mut series) = self.series.remove(&key) {
            series.last = instant;
            series.count = series.count.saturating_add(notice.times);
            if repeat(&api, &series.name, series.count, now).await? {
                self.series.insert(key, series);
                return Ok(());
            }
        }
        let name = event.metadata.name.clone().unwrap_or_default();
        let count = match api.create(&PostParams::default(), &event).await {
            Ok(_) => notice.times,
            // Somebody told it before us: the process before this one.
            Err(kube::Error::Api(status)) if status.code == 409 => {
                // A patch of nothing writes nothing and shows what is there: the right to read events is not needed.
                let there = api
                    .patch(&name, &PatchParams::default(), &Patch::Merge(json!({})))
                    .await?;
                let before = there.series.map_or(1, |series| series.count);
                let count = before.saturating_add(notice.times);
                repeat(&api, &name, count, now).await?;
                count
            }
            Err(error) => return Err(error),
        };
        let series = Series {
            name,
            count,
            last: instant,
        };
        self.series.insert(key, series);
        Ok(())
    }
}

/// Counts an event that is there. Returns whether it is.
async fn repeat(
    api: &Api<Event>,
    name: &str,
    count: i32,
    now: Timestamp,
) -> Result<bool, kube::Error> {
    let patch = json!({"series": {"count": count.max(2), "lastObservedTime": MicroTime(now)}});
    match api
        .patch(name, &PatchParams::default(), &Patch::Merge(patch))
        .await
    {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
        Err(error) => Err(error),
    }
}

fn event(about: &About, notice: &Notice, time: Timestamp) -> Event {
    let instance = std::env::var("HOSTNAME")
        .ok()
        .filter(|name| !name.is_empty());
    Event {
        action: Some(notice.reason.to_owned()),
        event_time: Some(MicroTime(time)),
        metadata: ObjectMeta {
            name: Some(name(about, notice, time)),
            namespace: Some(about.events_in().to_owned()),
            ..ObjectMeta::default()
        },
        note: Some(cut(&notice.note)),
        reason: Some(notice.reason.to_owned()),
        regarding: Some(ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some(about.kind.to_owned()),
            name: Some(about.name.to_string()),
            namespace: about.namespace.as_deref().map(str::to_owned),
            uid: about.uid.as_deref().map(str::to_owned),
            ..ObjectReference::default()
        }),
        reporting_controller: Some(REPORTER.to_owned()),
        reporting_instance: Some(instance.unwrap_or_else(|| REPORTER.to_owned())),
        type_: Some(if notice.warning { "Warning" } else { "Normal" }.to_owned()),
        ..Event::default()
    }
}

/// The name of an event. What is wrong is the same event whoever finds it; what happened is one each time. The words for
/// what is wrong come after those for a time, in hexadecimal digits.
fn name(about: &About, notice: &Notice, time: Timestamp) -> String {
    let which = if notice.warning {
        let uid = about.uid.as_deref().unwrap_or_default();
        let said = Digest::of(&(uid, notice.reason, notice.note.as_str()));
        format!("warning-{said}")
    } else {
        format!("{:x}", time.as_nanosecond())
    };
    format!("{}.{which}", about.name)
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
    fn what_is_wrong_has_one_name_and_comes_after_what_happened() {
        let about = |uid: &str| About {
            kind: "Service",
            namespace: Some("shop".into()),
            name: "checkout".into(),
            uid: Some(uid.into()),
        };
        let at = |seconds: i64| Timestamp::from_second(1_800_000_000 + seconds).expect("a time");
        let wrong = |uid, reason, note, seconds| {
            name(&about(uid), &Notice::warning(reason, note), at(seconds))
        };
        let same = wrong("u1", "R", "no answer", 0);
        assert_eq!(wrong("u1", "R", "no answer", 60), same);
        for other in [
            wrong("u2", "R", "no answer", 0),
            wrong("u1", "S", "no answer", 0),
            wrong("u1", "R", "another", 0),
        ] {
            assert_ne!(other, same);
        }
        let happened = |seconds| name(&about("u1"), &Notice::normal("R", "n"), at(seconds));
        assert!(happened(0) < happened(1) && happened(1) < same);
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c);
        assert!(same.chars().all(allowed), "{same}");
    }

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
