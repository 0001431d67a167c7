//! What a data plane is started with, checked at the door. Decides: no IO.
//!
//! Every problem is found in one pass and names the field, its value and what is allowed, so that a user
//! corrects a command line once and not field by field.

use std::{fmt, path::PathBuf, time::Duration};

use super::pool::Pool;

/// Longest path of a Unix socket: `sun_path` has 108 bytes with its final zero (unix(7)), and the socket is
/// made under a longer name first.
const MAX_SOCKET_PATH: usize = 107 - super::lock::PENDING_SUFFIX.len();

/// What a data plane is started with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Path of the API's Unix socket.
    pub socket: PathBuf,
    /// Path of the state file; its directory also holds the backup and the lock.
    pub state: PathBuf,
    /// Where addresses are taken from, in the order in which they are used up.
    pub pools: Vec<Pool>,
    /// Most connections open at one time, over all listeners; further ones wait in the listeners' backlogs.
    /// Never more than the limit of open files allows, which is also what None means.
    pub max_connections: Option<usize>,
    /// Threads that accept TCP connections and move their bytes; by default one per processor that the process may use.
    pub threads: usize,
    /// How long a target has to accept a connection before the next one is tried.
    pub connect_timeout: Duration,
    /// Time between two attempts to open a port that could not be opened.
    pub bind_retry: Duration,
    /// Time between two looks at whether session affinity must be saved: what a process that is killed forgets.
    pub affinity_interval: Duration,
    /// Longest time from a request on the socket to its answer.
    pub request_timeout: Duration,
    /// How long open connections may go on after a shutdown was asked for; they end sooner when all are done.
    pub stop_grace: Duration,
    /// Whether a data plane that answers on the socket is asked to hand over its ports and end; else that is an error.
    pub take_over: bool,
    /// How long open connections may go on after a successor has taken over; they end sooner when all are done.
    pub handover_grace: Duration,
    /// What the API says is its version.
    pub version: String,
}

impl Config {
    /// A configuration with this data plane's defaults.
    #[must_use]
    pub fn new(socket: impl Into<PathBuf>, state: impl Into<PathBuf>, pools: Vec<Pool>) -> Self {
        Self {
            socket: socket.into(),
            state: state.into(),
            pools,
            max_connections: None,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            connect_timeout: Duration::from_secs(2),
            bind_retry: Duration::from_secs(3),
            affinity_interval: Duration::from_secs(10),
            request_timeout: Duration::from_secs(10),
            stop_grace: Duration::from_secs(2),
            take_over: false,
            handover_grace: Duration::from_secs(600),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// A configuration from what a user wrote: paths and pools as text.
    ///
    /// # Errors
    /// All problems at once, those of the pools' texts included.
    pub fn parse<S: AsRef<str>>(
        socket: impl Into<PathBuf>,
        state: impl Into<PathBuf>,
        pools: &[S],
        max_connections: Option<usize>,
    ) -> Result<Self, ConfigError> {
        let (pools, mut problems) = match Pool::parse_all(pools) {
            Ok(pools) => (pools, Vec::new()),
            Err(error) => (Vec::new(), error.problems),
        };
        let config = Self {
            max_connections,
            ..Self::new(socket, state, pools)
        };
        if let Err(error) = config.check() {
            problems.extend(error.problems);
        }
        ConfigError::unless_empty(problems)?;
        Ok(config)
    }

    /// Finds everything that is wrong with this configuration.
    ///
    /// # Errors
    /// All problems at once.
    pub fn check(&self) -> Result<(), ConfigError> {
        let mut problems = Vec::new();
        let socket = self.socket.as_os_str().as_encoded_bytes();
        if self.socket.file_name().is_none() || socket.len() > MAX_SOCKET_PATH {
            problems.push(ConfigProblem::new(
                "socket",
                self.socket.display(),
                format!("a path of at most {MAX_SOCKET_PATH} bytes that ends in a file name; choose a shorter one"),
            ));
        }
        if self.state.file_name().is_none() {
            problems.push(ConfigProblem::new(
                "state",
                self.state.display(),
                "a path that ends in a file name, for example dataplane.json in a directory that survives reboots",
            ));
        }
        for (index, pool) in self.pools.iter().enumerate() {
            if let Some((option, allowed)) = pool.beside(&self.pools[..index]) {
                let field = format!("pools[{index}]{option}");
                problems.push(ConfigProblem::new(field, pool, allowed));
            }
        }
        if self.max_connections == Some(0) {
            problems.push(ConfigProblem::new(
                "max_connections",
                0,
                "1 or more; leave it out for what the system allows",
            ));
        }
        if self.threads == 0 {
            problems.push(ConfigProblem::new(
                "threads",
                0,
                "1 or more; leave it out for one per processor",
            ));
        }
        for (field, value) in [
            ("connect_timeout", self.connect_timeout),
            ("bind_retry", self.bind_retry),
            ("affinity_interval", self.affinity_interval),
            ("request_timeout", self.request_timeout),
        ] {
            if value.is_zero() {
                problems.push(ConfigProblem::new(
                    field,
                    "0s",
                    "more than 0; leave it out for the default",
                ));
            }
        }
        ConfigError::unless_empty(problems)
    }
}

/// One wrong value of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblem {
    /// The field, with its index in a list (`pools[1]`).
    pub field: String,
    /// Its value, as it was given.
    pub value: String,
    /// What is allowed, ending with what to do.
    pub allowed: String,
}

impl ConfigProblem {
    pub(crate) fn new(
        field: impl Into<String>,
        value: impl ToString,
        allowed: impl Into<String>,
    ) -> Self {
        Self {
            field: field.into(),
            value: value.to_string(),
            allowed: allowed.into(),
        }
    }
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: `{}` is not allowed; allowed is {}",
            self.field, self.value, self.allowed
        )
    }
}

/// Everything that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct ConfigError {
    /// The problems, in the order of the fields; never empty.
    pub problems: Vec<ConfigProblem>,
}

impl ConfigError {
    pub(crate) fn unless_empty(problems: Vec<ConfigProblem>) -> Result<(), Self> {
        if problems.is_empty() {
            Ok(())
        } else {
            Err(Self { problems })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pools(texts: &[&str]) -> Vec<Pool> {
        texts
            .iter()
            .map(|text| Pool::parse(text).expect("a pool"))
            .collect()
    }

    #[test]
    fn a_good_configuration_has_no_problem() {
        let config = Config::new(
            "/run/evenkeel/dataplane.sock",
            "/var/lib/evenkeel/state.json",
            pools(&["127.77.0.0/24"]),
        );
        assert_eq!(config.check(), Ok(()));
    }

    #[test]
    fn what_a_user_wrote_is_read_or_refused_as_a_whole() {
        let config =
            Config::parse("a.sock", "a.json", &["127.77.0.9", "::1"], Some(7)).expect("it is good");
        assert_eq!((config.pools.len(), config.max_connections), (2, Some(7)));
        let error = Config::parse("a.sock", "", &["127.77.0.9", "x", "y/8"], Some(0))
            .expect_err("four problems");
        let fields: Vec<_> = error
            .problems
            .iter()
            .map(|problem| problem.field.as_str())
            .collect();
        assert_eq!(fields, ["pools[1]", "pools[2]", "state", "max_connections"]);
        let text = error.to_string();
        assert_eq!(text.lines().count(), 4, "{text}");
        assert!(text.contains("pools[1]: `x` is not allowed"), "{text}");
    }

    #[test]
    fn all_problems_come_at_once() {
        let mut config = Config::new(
            format!("/run/{}", "x".repeat(200)),
            "/",
            pools(&["127.77.0.0/24", "::1", "127.77.0.9-127.77.1.9"]),
        );
        config.max_connections = Some(0);
        config.threads = 0;
        config.connect_timeout = Duration::ZERO;
        let problems = config.check().expect_err("six problems").problems;
        let fields: Vec<_> = problems
            .iter()
            .map(|problem| problem.field.as_str())
            .collect();
        assert_eq!(
            fields,
            [
                "socket",
                "state",
                "pools[2]",
                "max_connections",
                "threads",
                "connect_timeout"
            ]
        );
        assert!(
            problems[2]
                .to_string()
                .contains("shares some with 127.77.0.0/24"),
            "{}",
            problems[2]
        );
    }
}
