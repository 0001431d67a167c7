//! The state file. Reads and writes.
//!
//! One JSON document with a version, replaced as a whole: the new one is written beside it, forced to disk and
//! renamed over it, and what it replaces stays as the backup. A crash at any point leaves a complete file. A file
//! that cannot be understood is put aside, never overwritten, and the backup is used; when that fails too the data
//! plane does not start, because starting empty would give away addresses that are in use.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::{
    pool::Pool,
    store::{Held, Store, Stored, Table},
};
use crate::api::{BackendSetSpec, ListenerSpec};

/// The version that is written and read. It grows when an older data plane could not read the file.
const VERSION: u64 = 1;

/// Why a state file is not used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unusable {
    #[error("{} cannot be read: {source}", .path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{} is damaged: {problem}", .path.display())]
    Damaged { path: PathBuf, problem: String },
    #[error("{} has version {found}, this data plane reads version {VERSION}; start a newer one", .path.display())]
    FromFuture { path: PathBuf, found: u64 },
}

/// Why no state could be loaded.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The directory of the file cannot be made or written.
    #[error("the state directory {} cannot be used: {source}; choose another or correct its permissions", .path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file of the data plane that runs cannot be used.
    #[error("{0}; the data plane that runs goes on")]
    Live(String),
    /// Neither the file nor its backup can be used.
    #[error(
        "{file}; the backup cannot be used either: {backup}; repair one of them, or move both away to start without any state"
    )]
    Lost {
        /// What is wrong with the file.
        file: String,
        /// What is wrong with the backup.
        backup: String,
    },
}

/// The state file and its companions.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    path: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Read {
    #[serde(rename = "version")]
    _version: u64,
    next_generation: u64,
    leases: Vec<Stored<Held>>,
    backend_sets: Vec<Stored<BackendSetSpec>>,
    listeners: Vec<Stored<ListenerSpec>>,
}

#[derive(Deserialize)]
struct Head {
    version: u64,
}

/// What is wrong with the contents of a state file.
#[derive(Debug)]
pub(crate) enum Problem {
    Damaged(String),
    FromFuture(u64),
}

impl Problem {
    fn of(self, path: &Path) -> Unusable {
        let path = path.to_owned();
        match self {
            Self::Damaged(problem) => Unusable::Damaged { path, problem },
            Self::FromFuture(found) => Unusable::FromFuture { path, found },
        }
    }
}

/// Writes a table as a list, one object per line.
fn write_table<T: Serialize>(to: &mut impl Write, name: &str, table: &Table<T>) -> io::Result<()> {
    write!(to, ",\n\"{name}\":[")?;
    for (index, stored) in table.values().enumerate() {
        let text = stored
            .text
            .get_or_make(|| serde_json::to_string(&**stored))?;
        to.write_all(if index == 0 { b"\n" } else { b",\n" })?;
        to.write_all(text.as_bytes())?;
    }
    to.write_all(b"]")
}

impl Disk {
    /// A state file at this path; makes its directory.
    pub(crate) fn open(path: &Path) -> Result<Self, StateError> {
        let disk = Self {
            path: path.to_owned(),
        };
        let directory = disk.directory();
        fs::create_dir_all(directory).map_err(|source| StateError::Directory {
            path: directory.to_owned(),
            source,
        })?;
        Ok(disk)
    }

    /// Loads the objects: from the file, from its backup, or none when neither exists.
    pub(crate) fn load(&self, pools: &Arc<[Pool]>) -> Result<Store, StateError> {
        let backup = self.beside("bak");
        let problem = match read(&self.path, pools) {
            Ok(Some(store)) => return Ok(store),
            Ok(None) if !backup.exists() => return Ok(Store::new(Arc::clone(pools))),
            Ok(None) => format!("{} is missing", self.path.display()),
            Err(problem) => problem.to_string(),
        };
        let store = match read(&backup, pools) {
            Ok(Some(store)) => store,
            Ok(None) => {
                let backup = format!("{} is missing", backup.display());
                return Err(StateError::Lost {
                    file: problem,
                    backup,
                });
            }
            Err(backup) => {
                return Err(StateError::Lost {
                    file: problem,
                    backup: backup.to_string(),
                });
            }
        };
        let refused = self.beside("refused");
        if self.path.exists() {
            fs::rename(&self.path, &refused).map_err(|source| StateError::Directory {
                path: self.directory().to_owned(),
                source,
            })?;
        }
        tracing::error!(
            file = %self.path.display(), backup = %backup.display(), kept_as = %refused.display(), problem,
            "the state file is not used, the last good copy is; the latest change may be missing"
        );
        // The backup is the only good copy now: it becomes the file, so that the next save does not lose it.
        fs::copy(&backup, &self.path).map_err(|source| StateError::Directory {
            path: self.directory().to_owned(),
            source,
        })?;
        Ok(store)
    }

    /// Loads the objects of the data plane that runs, and touches nothing.
    pub(crate) fn load_live(&self, pools: &Arc<[Pool]>) -> Result<Store, StateError> {
        match read(&self.path, pools) {
            Ok(store) => Ok(store.unwrap_or_else(|| Store::new(Arc::clone(pools)))),
            Err(problem) => Err(StateError::Live(problem.to_string())),
        }
    }

    /// Replaces the file by these objects. When it fails the file holds the old objects, or, should only the last
    /// sync fail, possibly the new ones.
    pub(crate) fn save(&self, store: &Store) -> io::Result<()> {
        let pending = self.beside("new");
        let backup = self.beside("bak");
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&pending)?;
        let mut writer = BufWriter::with_capacity(1 << 16, file);
        write(&mut writer, store)?;
        let file = writer
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        match fs::remove_file(&backup) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // A link keeps the path itself occupied at every moment, which renaming it away would not.
        match fs::hard_link(&self.path, &backup) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::rename(&pending, &self.path)?;
        File::open(self.directory())?.sync_all()
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".");
        name.push(suffix);
        name.into()
    }

    fn directory(&self) -> &Path {
        match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        }
    }
}

fn read(path: &Path, pools: &Arc<[Pool]>) -> Result<Option<Store>, Unusable> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(Unusable::Unreadable {
                path: path.to_owned(),
                source,
            });
        }
    };
    parse(&bytes, pools)
        .map(Some)
        .map_err(|problem| problem.of(path))
}

/// The contents of a state file as objects.
pub(crate) fn parse(bytes: &[u8], pools: &Arc<[Pool]>) -> Result<Store, Problem> {
    let not_json = |error: serde_json::Error| Problem::Damaged(error.to_string());
    let head: Head = serde_json::from_slice(bytes).map_err(not_json)?;
    if head.version != VERSION {
        return Err(Problem::FromFuture(head.version));
    }
    let read: Read = serde_json::from_slice(bytes).map_err(not_json)?;
    let mut store = Store::new(Arc::clone(pools));
    store.next_generation = read.next_generation;
    store.leases = table("lease", read.leases).map_err(Problem::Damaged)?;
    store.backend_sets = table("backend set", read.backend_sets).map_err(Problem::Damaged)?;
    store.listeners = table("listener", read.listeners).map_err(Problem::Damaged)?;
    store.check().map_err(Problem::Damaged)?;
    Ok(store)
}

/// Objects as the contents of a state file.
pub(crate) fn write(to: &mut impl Write, store: &Store) -> io::Result<()> {
    let Store {
        next_generation,
        leases,
        backend_sets,
        listeners,
        ..
    } = store;
    write!(
        to,
        "{{\"version\":{VERSION},\"next_generation\":{next_generation}"
    )?;
    write_table(to, "leases", leases)?;
    write_table(to, "backend_sets", backend_sets)?;
    write_table(to, "listeners", listeners)?;
    to.write_all(b"}\n")
}

fn table<T>(kind: &str, objects: Vec<Stored<T>>) -> Result<Table<T>, String> {
    let mut table = Table::new();
    for object in objects {
        if let Some(twin) = table.insert(object.name.clone(), Arc::new(object)) {
            return Err(format!("{kind} `{}` is there twice", twin.name));
        }
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::{Family, LeaseSpec, Marks, Put},
        dataplane::store::{Expect, Request},
    };

    fn pools() -> Arc<[Pool]> {
        vec![Pool::parse("127.77.0.0/24").expect("a pool")].into()
    }

    fn add(store: &mut Store, name: &str) {
        let marks = Marks {
            cluster: "c".into(),
            group: "g".into(),
            service: "shop/checkout".into(),
            member: "g".into(),
            retain: false,
            labels: Default::default(),
        };
        let put = Put {
            marks,
            spec: LeaseSpec {
                family: Family::V4,
                address: None,
            },
        };
        store
            .apply(Request::PutLease {
                name: name.into(),
                put,
                expect: Expect::default(),
            })
            .expect("a lease");
    }

    /// A directory in which leases `a`, then `a` and `b`, were saved.
    fn saved() -> (tempfile::TempDir, Disk, Store) {
        let directory = tempfile::tempdir().expect("a directory");
        let disk = Disk::open(&directory.path().join("deep/state.json")).expect("a disk");
        let mut store = disk.load(&pools()).expect("an empty store");
        for name in ["a", "b"] {
            add(&mut store, name);
            disk.save(&store).expect("saved");
        }
        (directory, disk, store)
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let (_directory, disk, store) = saved();
        let loaded = disk.load(&pools()).expect("a store");
        assert_eq!(loaded.leases, store.leases);
        assert_eq!(loaded.next_generation, store.next_generation);
    }

    #[test]
    fn a_bad_file_is_put_aside_and_the_backup_used() {
        let (_keep, good, _) = saved();
        let whole = fs::read_to_string(&good.path).expect("the file");
        let torn = whole[..whole.len() / 2].to_owned();
        let future = whole.replace("\"version\":1", "\"version\":2");
        let twice = whole.replace("\"name\":\"b\"", "\"name\":\"a\"");
        for (name, text) in [
            ("torn", torn),
            ("empty", String::new()),
            ("from the future", future),
            ("twice", twice),
        ] {
            let (_directory, disk, _) = saved();
            fs::write(&disk.path, &text).expect("written");
            let store = disk
                .load(&pools())
                .unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(store.leases.keys().collect::<Vec<_>>(), ["a"], "{name}");
            assert_eq!(
                fs::read_to_string(disk.beside("refused")).expect("put aside"),
                text,
                "{name}"
            );
            // A crash right after must find the same.
            assert_eq!(
                disk.load(&pools()).expect("again").leases,
                store.leases,
                "{name}"
            );
        }
    }

    #[test]
    fn without_a_good_copy_nothing_starts() {
        let (_directory, disk, _) = saved();
        fs::write(&disk.path, "{\"version\":7}").expect("written");
        fs::write(disk.beside("bak"), "{").expect("written");
        let error = disk.load(&pools()).expect_err("no good copy").to_string();
        assert!(error.contains("has version 7"), "{error}");
        assert!(error.contains("state.json.bak is damaged"), "{error}");
        assert_eq!(
            fs::read_to_string(&disk.path).expect("still there"),
            "{\"version\":7}"
        );
    }

    #[test]
    fn a_failed_save_keeps_the_old_file() {
        let (_directory, disk, store) = saved();
        // A directory in the place of the file to be written makes every save fail, also for root.
        fs::create_dir(disk.beside("new")).expect("a directory");
        let mut more = store.clone();
        add(&mut more, "c");
        disk.save(&more).expect_err("the file cannot be written");
        assert_eq!(disk.load(&pools()).expect("a store").leases, store.leases);
    }
}
