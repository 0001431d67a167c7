//! The file of remembered clients, beside the state file. Reads and writes.
//!
//! It is a convenience: one that is missing, torn or of a newer version costs clients their targets and nothing else, so the
//! data plane starts without it and says so. It is replaced as a whole, at intervals while it changes and at the end; a
//! process that is killed loses the last interval. Times are those of the wall clock, so that a timeout goes on while nobody runs.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read as _, Write as _},
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::Record;
use crate::dataplane::{
    engine::Engine,
    files::{suffixed, write_whole},
};

/// The version that is written and read. It grows when an older data plane could not read the file.
const VERSION: u64 = 1;
/// Largest file that is read: as many clients as are ever remembered, with the longest addresses.
const MAX_BYTES: u64 = 128 << 20;

/// What one set remembers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) targets: Vec<SocketAddr>,
    pub(crate) records: Vec<Record>,
}

/// What all sets remember, by their names.
pub(crate) type Memories = BTreeMap<String, Memory>;

/// Which sets remember clients, with the revision of each: equal ones mean that nothing changed.
pub(crate) type Revisions = Vec<(String, u64)>;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u64,
    sets: BTreeMap<String, Set>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Set {
    targets: Vec<SocketAddr>,
    /// Each with the index of its target, and the Unix time of its last connection.
    clients: Vec<(IpAddr, u32, u64)>,
}

#[derive(Deserialize)]
struct Head {
    version: u64,
}

/// The file.
#[derive(Clone, Debug)]
pub(crate) struct MemoryFile {
    path: PathBuf,
}

impl MemoryFile {
    /// The file that stands beside this state file.
    pub(crate) fn beside(state: &Path) -> Self {
        Self {
            path: suffixed(state, ".affinity"),
        }
    }

    /// What was remembered. Nothing where the file cannot be used, which the log says.
    pub(crate) fn load(&self) -> Memories {
        self.read(now()).unwrap_or_else(|problem| {
            tracing::warn!(
                file = %self.path.display(), problem,
                "the file of session affinity is not used; clients get their targets anew"
            );
            Memories::new()
        })
    }

    /// Replaces the file; where nobody asks for affinity there is none.
    pub(crate) fn save(&self, memories: Memories) -> io::Result<()> {
        if memories.is_empty() && !self.path.exists() {
            return Ok(());
        }
        self.write(memories, now())
    }

    fn read(&self, now: Duration) -> Result<Memories, String> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Memories::new()),
            Err(error) => return Err(error.to_string()),
        };
        let mut bytes = Vec::new();
        file.take(MAX_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| error.to_string())?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(format!("it has more than {MAX_BYTES} bytes"));
        }
        let damaged = |error: serde_json::Error| format!("it is damaged: {error}");
        let Head { version } = serde_json::from_slice(&bytes).map_err(damaged)?;
        if version != VERSION {
            return Err(format!(
                "it has version {version}, this data plane reads version {VERSION}"
            ));
        }
        let document: Document = serde_json::from_slice(&bytes).map_err(damaged)?;
        let memory = |(name, set): (String, Set)| {
            let records = set
                .clients
                .into_iter()
                .map(|(client, target, used)| Record {
                    client,
                    target,
                    // A clock that was set back makes no client older than it is.
                    age: now.saturating_sub(Duration::from_secs(used)),
                });
            let records = records.collect();
            let targets = set.targets;
            (name, Memory { targets, records })
        };
        Ok(document.sets.into_iter().map(memory).collect())
    }

    fn write(&self, memories: Memories, now: Duration) -> io::Result<()> {
        let set = |(name, memory): (String, Memory)| {
            let client = |record: Record| {
                let used = now.saturating_sub(record.age).as_secs();
                (record.client, record.target, used)
            };
            let clients = memory.records.into_iter().map(client).collect();
            let targets = memory.targets;
            (name, Set { targets, clients })
        };
        let document = Document {
            version: VERSION,
            sets: memories.into_iter().map(set).collect(),
        };
        let pending = suffixed(&self.path, ".new");
        write_whole(&pending, |writer| {
            serde_json::to_writer(&mut *writer, &document)?;
            writer.write_all(b"\n")
        })?;
        fs::rename(&pending, &self.path)
    }

    /// Saves what is remembered at this moment, for a data plane that takes over.
    pub(crate) async fn save_now(&self, engine: &Engine) {
        let Ok(memories) = engine.read(|view| view.runtime.memories()).await else {
            return;
        };
        let file = self.clone();
        let written = tokio::task::spawn_blocking(move || file.save(memories)).await;
        if let Err(error) = written.map_err(io::Error::other).flatten() {
            tracing::warn!(
                file = %self.path.display(), %error,
                "session affinity is not handed over; clients may get new targets"
            );
        }
    }

    /// Saves what is remembered whenever it has changed, until `stop`. The last save is the caller's.
    pub(crate) async fn keep(self, engine: Engine, every: Duration, stop: CancellationToken) {
        let mut turn = interval(every);
        turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut saved = Revisions::new();
        let mut told = false;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = turn.tick() => {}
            }
            let known = saved.clone();
            let changed = engine
                .read(move |view| view.runtime.memories_since(&known))
                .await;
            // An engine that is busy is asked again with the next turn.
            let Ok(Some((revisions, memories))) = changed else {
                continue;
            };
            let file = self.clone();
            let written = tokio::task::spawn_blocking(move || file.save(memories)).await;
            match written.map_err(io::Error::other).flatten() {
                Ok(()) => (saved, told) = (revisions, false),
                Err(error) if !told => {
                    told = true;
                    tracing::warn!(
                        file = %self.path.display(), %error,
                        "the file of session affinity cannot be written; a restart would give clients new targets"
                    );
                }
                Err(_) => {}
            }
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the edge: times outlive the process in this file"
)]
fn now() -> Duration {
    // Before 1970 there is no data plane.
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const NOW: Duration = Duration::from_secs(1_800_000_000);

    fn memories() -> Memories {
        let record = |client: &str, target, seconds| Record {
            client: client.parse().expect("an address"),
            target,
            age: Duration::from_secs(seconds),
        };
        let memory = Memory {
            targets: vec![
                "10.0.0.1:30080".parse().expect("a target"),
                "[fd00::1]:30080".parse().expect("a target"),
            ],
            records: vec![record("192.0.2.1", 0, 5), record("2001:db8::1", 1, 0)],
        };
        [("set".to_owned(), memory)].into()
    }

    fn file() -> (tempfile::TempDir, MemoryFile) {
        let directory = tempfile::tempdir().expect("a directory");
        let file = MemoryFile::beside(&directory.path().join("state.json"));
        (directory, file)
    }

    #[test]
    fn what_is_saved_is_loaded_older_by_the_time_between() {
        let (directory, file) = file();
        file.write(memories(), NOW).expect("saved");
        let path = directory.path().join("state.json.affinity");
        let mode = fs::metadata(&path).expect("the file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let between = Duration::from_secs(60);
        let mut want = memories();
        for record in &mut want.get_mut("set").expect("the set").records {
            record.age += between;
        }
        assert_eq!(file.read(NOW + between).expect("loaded"), want);
        // A clock that was set back.
        let back = file.read(NOW - between).expect("loaded");
        assert!(
            back["set"]
                .records
                .iter()
                .all(|record| record.age.is_zero())
        );
    }

    #[test]
    fn a_file_that_cannot_be_used_is_no_reason_not_to_start() {
        let (_directory, file) = file();
        file.write(memories(), NOW).expect("saved");
        let whole = fs::read_to_string(&file.path).expect("the file");
        for (name, text, says) in [
            ("torn", whole[..whole.len() / 2].to_owned(), "damaged"),
            ("empty", String::new(), "damaged"),
            (
                "from the future",
                "{\"version\":2,\"clients\":[]}".to_owned(),
                "version 2",
            ),
            (
                "with more in it",
                whole.replace("\"clients\"", "\"extra\":1,\"clients\""),
                "unknown field `extra`",
            ),
            (
                "with a name for an address",
                whole.replace("192.0.2.1", "localhost"),
                "invalid IP address",
            ),
        ] {
            fs::write(&file.path, text).expect("written");
            let problem = file.read(NOW).expect_err(name);
            assert!(problem.contains(says), "{name}: {problem}");
            assert_eq!(file.load(), Memories::new(), "{name}");
        }
        fs::remove_file(&file.path).expect("removed");
        assert_eq!(file.read(NOW), Ok(Memories::new()), "missing");
    }

    #[test]
    fn a_failed_save_keeps_the_old_file() {
        let (_directory, file) = file();
        file.write(memories(), NOW).expect("saved");
        fs::create_dir(suffixed(&file.path, ".new")).expect("an obstacle, also for root");
        file.write(Memories::new(), NOW)
            .expect_err("it cannot be written");
        assert_eq!(file.read(NOW), Ok(memories()));
    }
}
