//! Who wrote what, and when.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use evenkeel_harness::wait::eventually;

use crate::stage::LIMIT;

#[derive(Clone, Debug)]
struct Entry {
    writer: String,
    what: String,
    destroys: bool,
    began: Instant,
    /// None while it is under way.
    ended: Option<Instant>,
}

/// All writes. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger(Arc<Mutex<Vec<Entry>>>);

/// A write under way; over when this is dropped, however that comes.
pub(crate) struct Writing {
    ledger: Ledger,
    number: usize,
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.ledger.entries()[self.number].ended = Some(Instant::now());
    }
}

impl Ledger {
    fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn begin(&self, writer: &str, what: impl Into<String>, destroys: bool) -> Writing {
        let mut entries = self.entries();
        entries.push(Entry {
            writer: writer.to_owned(),
            what: what.into(),
            destroys,
            began: Instant::now(),
            ended: None,
        });
        Writing {
            ledger: self.clone(),
            number: entries.len() - 1,
        }
    }

    /// Everybody who wrote.
    pub(crate) fn writers(&self) -> BTreeSet<String> {
        self.entries()
            .iter()
            .map(|entry| entry.writer.clone())
            .collect()
    }

    /// Waits for a write of this one that begins after then; returns when it began.
    pub(crate) async fn written_by(&self, writer: &str, after: Instant) -> Result<Instant> {
        eventually(format!("a write by {writer}"), LIMIT, || async {
            let entries = self.entries();
            let mut later = entries.iter().filter(|entry| entry.began > after);
            let found = later.find(|entry| entry.writer == writer);
            found.map(|entry| entry.began).context("none yet")
        })
        .await
    }

    /// Waits until a writer has been at work for so long, and demands that it destroyed nothing in that time, and something
    /// after it.
    pub(crate) async fn nothing_destroyed(
        &self,
        writer: &str,
        from: Instant,
        time: Duration,
    ) -> Result<()> {
        eventually(format!("{writer} to destroy something"), LIMIT, || async {
            let entries = self.entries();
            let mut its = entries
                .iter()
                .filter(|entry| entry.writer == writer && entry.destroys);
            let first = its.next().context("nothing yet")?;
            Ok(ensure_late(first, from, time))
        })
        .await?
    }

    /// No write of anybody begins while one of another is under way, and nobody who was followed writes again.
    pub(crate) fn one_at_a_time(&self) -> Result<()> {
        let mut entries = self.entries().clone();
        entries.sort_by_key(|entry| entry.began);
        let mut reigns: Vec<(String, Instant, usize)> = Vec::new();
        for entry in &entries {
            let ended = entry.ended.context("a write never ended")?;
            if let Some((writer, last, writes)) = reigns.last_mut() {
                if *writer == entry.writer {
                    *last = ended.max(*last);
                    *writes += 1;
                    continue;
                }
                ensure!(
                    entry.began >= *last,
                    "{} began {} while {writer} was writing",
                    entry.writer,
                    entry.what
                );
            }
            ensure!(
                reigns.iter().all(|(writer, ..)| *writer != entry.writer),
                "{} began {} after another had followed it",
                entry.writer,
                entry.what
            );
            reigns.push((entry.writer.clone(), ended, 1));
        }
        for (writer, _, writes) in &reigns {
            println!("{writer}: {writes} writes");
        }
        ensure!(reigns.len() > 4, "hardly anything happened: {reigns:?}");
        Ok(())
    }
}

fn ensure_late(first: &Entry, from: Instant, time: Duration) -> Result<()> {
    let after = first.began - from;
    ensure!(after >= time, "{} after {after:?}", first.what);
    println!("nothing was destroyed for {after:?}");
    Ok(())
}
