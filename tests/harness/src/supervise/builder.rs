//! What a supervised process is to be, and its start. Writes.

use std::ffi::{OsStr, OsString};
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal};

use super::{Janitor, Supervised};

/// Waits for the go-ahead, then becomes the program.
const GATE: &str = r#"read -r go && exec "$@" </dev/null"#;

/// What to start, and what to clean up after it.
#[derive(Debug)]
pub struct Builder {
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    current_dir: Option<PathBuf>,
    log_file: Option<PathBuf>,
    netns: Option<String>,
    grace: Duration,
    janitor: Option<Arc<Janitor>>,
    cleanup: Vec<Vec<OsString>>,
}

impl Builder {
    pub(super) fn new(program: &OsStr) -> Self {
        Self {
            program: program.to_owned(),
            args: Vec::new(),
            env: Vec::new(),
            current_dir: None,
            log_file: None,
            netns: None,
            grace: Duration::from_secs(2),
            janitor: None,
            cleanup: Vec::new(),
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args
            .extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets an environment variable beside the inherited ones.
    #[must_use]
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env
            .push((key.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// The working directory; ours otherwise.
    #[must_use]
    pub fn current_dir(mut self, path: impl AsRef<Path>) -> Self {
        self.current_dir = Some(path.as_ref().to_owned());
        self
    }

    /// Appends output and errors to this file; otherwise they are thrown away.
    #[must_use]
    pub fn log_file(mut self, path: impl AsRef<Path>) -> Self {
        self.log_file = Some(path.as_ref().to_owned());
        self
    }

    /// Runs in this network namespace (`ip netns exec`).
    #[must_use]
    pub fn netns(mut self, name: impl Into<String>) -> Self {
        self.netns = Some(name.into());
        self
    }

    /// Time between TERM and KILL at the end; two seconds otherwise.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Shares a janitor: its clean-up commands run after all its processes have ended. A janitor of its own otherwise.
    #[must_use]
    pub fn janitor(mut self, janitor: Arc<Janitor>) -> Self {
        self.janitor = Some(janitor);
        self
    }

    /// Runs a command when the janitor finishes, that is after the process has ended: the last one registered first.
    #[must_use]
    pub fn cleanup_command<S: AsRef<OsStr>>(
        mut self,
        command: impl IntoIterator<Item = S>,
    ) -> Self {
        self.cleanup.push(
            command
                .into_iter()
                .map(|word| word.as_ref().to_owned())
                .collect(),
        );
        self
    }

    /// Removes a directory with everything in it when the janitor finishes.
    #[must_use]
    pub fn cleanup_remove_dir(self, path: impl AsRef<Path>) -> Self {
        let path = path.as_ref().as_os_str().to_owned();
        self.cleanup_command([OsString::from("rm"), OsString::from("-rf"), path])
    }

    /// Starts the process.
    ///
    /// # Errors
    /// When the program is not there, or its log file cannot be written.
    pub fn spawn(self) -> Result<Supervised> {
        let program = find_program(&self.program)?;
        let name = program
            .file_name()
            .unwrap_or(program.as_os_str())
            .to_string_lossy()
            .into_owned();
        let janitor = match self.janitor {
            Some(janitor) => janitor,
            None => {
                let janitor = Janitor::start()?;
                janitor.grace(self.grace)?;
                Arc::new(janitor)
            }
        };
        for command in &self.cleanup {
            janitor.clean_up(command)?;
        }

        let mut command = Command::new("/bin/sh");
        command.args(["-c", GATE, "sh"]);
        if let Some(namespace) = &self.netns {
            command
                .arg(find_program(OsStr::new("ip"))?)
                .args(["netns", "exec", namespace]);
        }
        command
            .arg(&program)
            .args(&self.args)
            .envs(self.env)
            .process_group(0)
            .stdin(Stdio::piped());
        if let Some(directory) = &self.current_dir {
            command.current_dir(directory);
        }
        match &self.log_file {
            Some(path) => {
                let log = OpenOptions::new()
                    .create(true)
                    .append(true)
                    .open(path)
                    .with_context(|| format!("cannot write the log file {}", path.display()))?;
                command.stdout(log.try_clone()?).stderr(log);
            }
            None => {
                command.stdout(Stdio::null()).stderr(Stdio::null());
            }
        }
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let gate = child.stdin.take();
        let pid = Pid::from_child(&child);
        let mut supervised = Supervised {
            name,
            child,
            pid,
            status: None,
            grace: self.grace,
            log_file: self.log_file,
            janitor,
        };
        // From here on an error drops `supervised`, which ends the shell that waits.
        supervised.janitor.watch(supervised.pid())?;
        let go = gate
            .context("the process has no input")
            .and_then(|mut gate| {
                gate.write_all(b"go\n")
                    .with_context(|| format!("cannot start {}", supervised.name))
            });
        if let Err(error) = go {
            supervised.end(Signal::KILL)?;
            return Err(error);
        }
        Ok(supervised)
    }
}

/// Where the program is; the shell would only say so in the log.
fn find_program(program: &OsStr) -> Result<PathBuf> {
    let path = Path::new(program);
    if path.components().count() > 1 {
        return match path.is_file() {
            true => Ok(path.to_owned()),
            false => bail!("there is no program {}", path.display()),
        };
    }
    let search = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&search)
        .map(|directory| directory.join(program))
        .find(|candidate| candidate.is_file())
        .with_context(|| {
            format!(
                "there is no program {} on PATH: install it",
                program.display()
            )
        })
}
