//! Options of the `local` provider and its data plane (Decides).

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use evenkeel_core::problem::{Problem, Problems};
use evenkeel_local::dataplane;

use super::{
    sources::{Given, Sources},
    word,
};

/// Where addresses come from when nobody says: every one of them works on Linux without any set-up.
const DEFAULT_POOL: &str = "127.77.0.0/24";

/// The file of the data plane's state, in its directory.
const STATE_FILE: &str = "dataplane.json";

/// Where a pod finds the name of its namespace.
const POD_NAMESPACE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// What the process finds around it, for defaults.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Whether it is root.
    pub root: bool,
    /// `XDG_RUNTIME_DIR`.
    pub runtime_dir: Option<PathBuf>,
    /// `XDG_STATE_HOME`.
    pub state_home: Option<PathBuf>,
    /// `HOME`.
    pub home: Option<PathBuf>,
    /// The namespace of the pod that this process runs in.
    pub pod_namespace: Option<String>,
    /// Where programs put what may be lost.
    pub temporary: PathBuf,
    /// Files that options name, and variables.
    pub outside: Outside,
}

/// What is read for checks of options: files that they name, and the variables of a cloud's own tools.
#[derive(Clone, Copy)]
pub struct Outside {
    read: fn(&Path) -> io::Result<String>,
    variable: fn(&str) -> Option<String>,
}

impl Outside {
    /// Of this process.
    pub fn of_this_process() -> Self {
        Self {
            read: |path| std::fs::read_to_string(path),
            variable: |name| std::env::var(name).ok(),
        }
    }

    #[cfg(test)]
    pub(super) fn of(
        read: fn(&Path) -> io::Result<String>,
        variable: fn(&str) -> Option<String>,
    ) -> Self {
        Self { read, variable }
    }

    pub(super) fn read(&self, path: &Path) -> io::Result<String> {
        (self.read)(path)
    }

    pub(super) fn variable(&self, name: &str) -> Option<String> {
        (self.variable)(name)
    }
}

impl Default for Outside {
    /// There is nothing.
    fn default() -> Self {
        Self {
            read: |_| Err(io::ErrorKind::NotFound.into()),
            variable: |_| None,
        }
    }
}

impl fmt::Debug for Outside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Outside")
    }
}

impl Surroundings {
    /// What is around this process.
    pub fn look() -> Self {
        let path = |name: &str| {
            std::env::var_os(name)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
        };
        Self {
            root: rustix::process::geteuid().is_root(),
            runtime_dir: path("XDG_RUNTIME_DIR"),
            state_home: path("XDG_STATE_HOME"),
            home: path("HOME"),
            pod_namespace: std::fs::read_to_string(POD_NAMESPACE)
                .ok()
                .map(|name| name.trim().to_owned())
                .filter(|name| !name.is_empty()),
            temporary: std::env::temp_dir(),
            outside: Outside::of_this_process(),
        }
    }

    fn socket(&self) -> PathBuf {
        let directory = match (self.root, &self.runtime_dir) {
            (true, _) => Path::new("/run").to_owned(),
            (false, Some(directory)) => directory.clone(),
            (false, None) => self.temporary.clone(),
        };
        directory.join("evenkeel/dataplane.sock")
    }

    fn state_dir(&self) -> PathBuf {
        if self.root {
            return PathBuf::from("/var/lib/evenkeel");
        }
        match (&self.state_home, &self.home) {
            (Some(directory), _) => directory.join("evenkeel"),
            (None, Some(home)) => home.join(".local/state/evenkeel"),
            (None, None) => self.temporary.join("evenkeel"),
        }
    }
}

/// What the `local` provider and its data plane run with.
#[derive(Clone, Debug, PartialEq)]
pub struct LocalConfig {
    /// The data plane's socket.
    pub socket: PathBuf,
    /// The directory of its state and log.
    pub state_dir: PathBuf,
    /// Where addresses come from, as they were written; each of them parses.
    pub pools: Vec<String>,
    /// Whether a data plane is started when none answers.
    pub start: Start,
}

/// Whether a data plane is started when none answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Yes, and again when it dies; and one of an older build is replaced.
    Auto,
    /// Yes, and again when it dies; one that runs is left as it is.
    Missing,
    /// No: somebody else does that.
    Never,
}

impl LocalConfig {
    pub(super) fn read(sources: &Sources, around: &Surroundings, problems: &mut Problems) -> Self {
        let socket = sources
            .text("local-socket")
            .map_or_else(|| around.socket(), PathBuf::from);
        let state_dir = sources
            .text("local-state-dir")
            .map_or_else(|| around.state_dir(), PathBuf::from);
        let given = sources.texts("local-pool");
        let default = [Given {
            place: "--local-pool".to_owned(),
            text: DEFAULT_POOL.to_owned(),
        }];
        let given = if given.is_empty() { &default } else { given };
        let mut pools = Vec::new();
        for Given { place, text } in given {
            match dataplane::Pool::parse(text) {
                Ok(pool) => pools.push(pool),
                Err(wrong) => {
                    for problem in wrong.problems {
                        // `pools.reserved` is an option of the pool.
                        let place = match problem.field.split_once('.') {
                            Some((_, option)) => format!("{option} of {place}"),
                            None => place.clone(),
                        };
                        problems.push(problem_at(&place, &problem.value, &problem.allowed));
                    }
                }
            }
        }
        let starts = [
            ("auto", Start::Auto),
            ("missing", Start::Missing),
            ("never", Start::Never),
        ];
        let start =
            word(sources, "local-start-dataplane", &starts, problems).unwrap_or(Start::Auto);
        let config = Self {
            pools: given.iter().map(|given| given.text.clone()).collect(),
            socket,
            state_dir,
            start,
        };
        if let Err(wrong) = config.dataplane_with(pools).check() {
            for problem in wrong.problems {
                let place = match problem.field.as_str() {
                    "socket" => "--local-socket",
                    "state" => "--local-state-dir",
                    _ => "--local-pool",
                };
                problems.push(problem_at(place, &problem.value, &problem.allowed));
            }
        }
        config
    }

    /// What the data plane is started with.
    pub fn dataplane(&self) -> dataplane::Config {
        let pools = self
            .pools
            .iter()
            .map(|text| dataplane::Pool::parse(text).expect("was checked when it was read"));
        self.dataplane_with(pools.collect())
    }

    fn dataplane_with(&self, pools: Vec<dataplane::Pool>) -> dataplane::Config {
        dataplane::Config::new(&self.socket, self.state_dir.join(STATE_FILE), pools)
    }
}

/// The data plane's own words say what is allowed and end with what to do.
fn problem_at(place: &str, value: &str, allowed: &str) -> Problem {
    Problem::new(
        place,
        value,
        format!("is not allowed; allowed is {allowed}"),
        "",
    )
}
