//! The state file. Reads and writes.
//!
//! One JSON document with a version, replaced as a whole: the new one is written beside it, forced to disk and
//! renamed over it, and what it replaces stays as the backup. A crash at any point leaves a complete file. A file
//! that cannot be understood is put aside, never overwritten, and the backup is used; when that fails too the data
//! plane does not start, because starting empty would give away addresses that are in use.
//!
//! Version 2 has the nodes of backend sets as numbered lists, each once, so that the file of a thousand Services on a
//! thousand nodes takes a megabyte to write and not seventy. Version 1, with all targets in each set, is read too.

use std::{
    collections::{BTreeSet, HashMap},
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::{
    files::{suffixed, write_whole},
    pool::Pool,
    store::{
        Held, Store, Stored, Table, Text, Written,
        lists::Lists,
        targets::{KeptSet, Node, Targets},
    },
};
use crate::api::{BackendSetSpec, ListenerSpec, Marks};

/// The version that is written. It grows when an older data plane could not read the file; older ones are read.
const VERSION: u64 = 2;

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

/// A file with backend sets as they are in this version.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Read<Set> {
    #[serde(rename = "version")]
    _version: u64,
    next_generation: u64,
    leases: Vec<Stored<Held>>,
    /// None before version 2.
    #[serde(default)]
    lists: Vec<(u64, Vec<Node>)>,
    backend_sets: Vec<Set>,
    listeners: Vec<Stored<ListenerSpec>>,
}

/// A backend set with its targets by reference.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Set {
    name: String,
    marks: Marks,
    generation: u64,
    /// The number of the list of its nodes.
    list: u64,
    /// One port for all of them, or one for each.
    ports: Vec<u16>,
    /// All but its targets.
    spec: BackendSetSpec,
}

impl Set {
    fn of(stored: &Stored<KeptSet>, list: u64) -> Self {
        let KeptSet { targets, rest } = &stored.spec;
        Self {
            name: stored.name.clone(),
            marks: stored.marks.clone(),
            generation: stored.generation,
            list,
            ports: targets.ports().to_vec(),
            spec: rest.clone(),
        }
    }

    fn resolve(self, lists: &HashMap<u64, Arc<[Node]>>) -> Result<Stored<KeptSet>, String> {
        let Self {
            name,
            marks,
            generation,
            list,
            ports,
            spec: rest,
        } = self;
        let nodes = lists
            .get(&list)
            .ok_or_else(|| format!("backend set `{name}`: there is no list {list}"))?;
        let targets = Targets::new(Arc::clone(nodes), ports).filter(|_| rest.targets.is_empty());
        let targets = targets.ok_or_else(|| {
            format!("backend set `{name}`: its ports are not those of the nodes of list {list}")
        })?;
        Ok(Stored {
            name,
            marks,
            generation,
            spec: KeptSet { targets, rest },
            text: Text::default(),
        })
    }
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

/// Writes a table as a list, one object per line, and returns the lists that its objects name.
fn write_table<T>(
    to: &mut impl Write,
    name: &str,
    table: &Table<T>,
    make: impl Fn(&Stored<T>) -> serde_json::Result<Written>,
) -> io::Result<BTreeSet<u64>> {
    let mut lists = BTreeSet::new();
    write!(to, ",\n\"{name}\":[")?;
    for (index, stored) in table.values().enumerate() {
        let written = stored.text.get_or_make(|| make(stored))?;
        lists.extend(written.list);
        to.write_all(if index == 0 { b"\n" } else { b",\n" })?;
        to.write_all(written.text.as_bytes())?;
    }
    to.write_all(b"]")?;
    Ok(lists)
}

fn plain<T: Serialize>(stored: &Stored<T>) -> serde_json::Result<Written> {
    Ok(Written {
        text: serde_json::to_string(stored)?.into(),
        list: None,
    })
}

/// Objects as the contents of a state file.
pub(crate) fn write(to: &mut impl Write, store: &Store) -> io::Result<()> {
    let Store {
        next_generation,
        leases,
        backend_sets,
        listeners,
        lists,
        ..
    } = store;
    let set = |stored: &Stored<KeptSet>| {
        let list = lists.number(stored.spec.targets.nodes());
        Ok(Written {
            text: serde_json::to_string(&Set::of(stored, list))?.into(),
            list: Some(list),
        })
    };
    write!(
        to,
        "{{\"version\":{VERSION},\"next_generation\":{next_generation}"
    )?;
    write_table(to, "leases", leases, plain)?;
    let used = write_table(to, "backend_sets", backend_sets, set)?;
    write_table(to, "listeners", listeners, plain)?;
    to.write_all(b",\n\"lists\":")?;
    lists.keep(&used, |lists| {
        serde_json::to_writer(&mut *to, &lists.iter().collect::<Vec<_>>())
    })?;
    to.write_all(b"}\n")
}

/// The contents of a state file as objects.
pub(crate) fn parse(bytes: &[u8], pools: &Arc<[Pool]>) -> Result<Store, Problem> {
    let not_json = |error: serde_json::Error| Problem::Damaged(error.to_string());
    let head: Head = serde_json::from_slice(bytes).map_err(not_json)?;
    match head.version {
        1 => {
            let read: Read<Stored<BackendSetSpec>> =
                serde_json::from_slice(bytes).map_err(not_json)?;
            let lists = Lists::default();
            let mut store = read.store(pools, |set, _| {
                Ok(Stored {
                    name: set.name,
                    marks: set.marks,
                    generation: set.generation,
                    spec: KeptSet::of(set.spec, &lists),
                    text: Text::default(),
                })
            })?;
            store.lists = lists;
            Ok(store)
        }
        VERSION => {
            let read: Read<Set> = serde_json::from_slice(bytes).map_err(not_json)?;
            read.store(pools, Set::resolve)
        }
        version => Err(Problem::FromFuture(version)),
    }
}

impl<Set> Read<Set> {
    fn store(
        self,
        pools: &Arc<[Pool]>,
        resolve: impl Fn(Set, &HashMap<u64, Arc<[Node]>>) -> Result<Stored<KeptSet>, String>,
    ) -> Result<Store, Problem> {
        let count = self.lists.len();
        let lists = self.lists.into_iter();
        let lists: HashMap<u64, Arc<[Node]>> = lists
            .map(|(number, nodes)| (number, nodes.into()))
            .collect();
        if lists.len() != count {
            return Err(Problem::Damaged("a list is there twice".to_owned()));
        }
        // There is no way to count that far.
        if lists.keys().any(|number| *number > u64::from(u32::MAX)) {
            return Err(Problem::Damaged(
                "the number of a list is too high".to_owned(),
            ));
        }
        let sets = self
            .backend_sets
            .into_iter()
            .map(|set| resolve(set, &lists));
        let sets = sets
            .collect::<Result<Vec<_>, _>>()
            .map_err(Problem::Damaged)?;
        let mut store = Store::new(Arc::clone(pools));
        store.lists = Lists::numbered(lists);
        store.next_generation = self.next_generation;
        store.leases = table("lease", self.leases).map_err(Problem::Damaged)?;
        store.backend_sets = table("backend set", sets).map_err(Problem::Damaged)?;
        store.listeners = table("listener", self.listeners).map_err(Problem::Damaged)?;
        store.check().map_err(Problem::Damaged)?;
        Ok(store)
    }
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
        write_whole(&pending, |writer| write(writer, store))?;
        let replaced = self.replace_by(&pending);
        if replaced.is_err() {
            // It takes room, and is gone where only the last sync failed.
            let _ = fs::remove_file(&pending);
        }
        replaced
    }

    fn replace_by(&self, pending: &Path) -> io::Result<()> {
        let backup = self.beside("bak");
        match fs::remove_file(&backup) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // A link keeps the path itself occupied at every moment, which renaming it away would not.
        match fs::hard_link(&self.path, &backup) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::rename(pending, &self.path)?;
        File::open(self.directory())?.sync_all()
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        suffixed(&self.path, &format!(".{suffix}"))
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
        api::{Family, LeaseSpec, Marks, Put, Target},
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
            spec: LeaseSpec::of(Family::V4),
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
        let future = whole.replace("\"version\":2", "\"version\":3");
        let stray = whole.replacen("\"lists\"", "\"more\":1,\"lists\"", 1);
        let twice = whole.replace("\"name\":\"b\"", "\"name\":\"a\"");
        for (name, text) in [
            ("torn", torn),
            ("empty", String::new()),
            ("from the future", future),
            ("with more than is understood", stray),
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

    /// A store with sets `x` and `y` on nodes `a` and `b`, `y` with a port of its own per node.
    fn with_sets() -> Store {
        let mut store = Store::new(pools());
        add(&mut store, "lease");
        let address = |last| std::net::IpAddr::from([127, 0, 0, last]);
        for (name, ports) in [("x", [1, 1]), ("y", [1, 2]), ("none", [0, 0])] {
            let targets = [("a", 1), ("b", 2)].into_iter().zip(ports);
            let targets = targets.filter(|(_, port)| *port > 0);
            let put = Put {
                marks: store.leases["lease"].marks.clone(),
                spec: BackendSetSpec {
                    targets: targets
                        .map(|((node, last), port)| Target {
                            node: node.into(),
                            address: address(last),
                            port,
                        })
                        .collect(),
                    drain_seconds: 7,
                    ..BackendSetSpec::default()
                },
            };
            store
                .apply(Request::PutBackendSet {
                    name: name.into(),
                    put,
                    expect: Expect::default(),
                })
                .expect("a set");
        }
        store
    }

    fn text(store: &Store) -> String {
        let mut bytes = Vec::new();
        write(&mut bytes, store).expect("written");
        String::from_utf8(bytes).expect("text")
    }

    #[test]
    fn a_file_of_version_1_is_read_and_written_as_version_2() {
        let store = with_sets();
        let sets = store.backend_sets.values();
        let sets: Vec<_> = sets
            .map(|set| Stored {
                name: set.name.clone(),
                marks: set.marks.clone(),
                generation: set.generation,
                spec: set.spec.spec(),
                text: Text::default(),
            })
            .collect();
        let leases: Vec<_> = store.leases.values().collect();
        let old = serde_json::json!({
            "version": 1, "next_generation": store.next_generation, "leases": leases, "backend_sets": sets, "listeners": [],
        });
        let read = parse(old.to_string().as_bytes(), &pools()).expect("version 1");
        assert_eq!(read.backend_sets, store.backend_sets);
        let new = text(&read);
        assert_eq!(new.matches("127.0.0.2").count(), 1, "{new}");
        let again = parse(new.as_bytes(), &pools()).expect("version 2");
        assert_eq!(again.backend_sets, store.backend_sets);
        assert_eq!(again.next_generation, store.next_generation);
        // What is written again is the same, also from texts that are kept.
        assert_eq!(text(&read), new);
    }

    #[test]
    fn a_file_torn_anywhere_is_refused() {
        let whole = text(&with_sets());
        let end = whole.trim_end().len();
        for length in 0..end {
            let torn = &whole.as_bytes()[..length];
            assert!(
                matches!(parse(torn, &pools()), Err(Problem::Damaged(_))),
                "{length}"
            );
        }
        parse(&whole.as_bytes()[..end], &pools()).expect("all but the last line's end");
    }

    #[test]
    fn lists_that_do_not_fit_are_damage() {
        let whole = text(&with_sets());
        for (name, from, to) in [
            ("a missing list", "\"list\":1", "\"list\":9"),
            ("too many ports", "\"ports\":[1,2]", "\"ports\":[1,2,3]"),
            ("no ports", "\"ports\":[1]", "\"ports\":[]"),
            ("a list twice", "[[1,", "[[1,[]],[1,"),
        ] {
            let changed = whole.replacen(from, to, 1);
            assert_ne!(changed, whole, "{name}");
            assert!(
                matches!(
                    parse(changed.as_bytes(), &pools()),
                    Err(Problem::Damaged(_))
                ),
                "{name}"
            );
        }
    }
}
