//! Child processes that end when we end, however we end, together with what they started. Writes.
//!
//! Every process gets a process group of its own, so that Ctrl-C in a terminal reaches us alone and we end the
//! rest in order. A [`Janitor`] knows the group before the program runs: first a shell waits in the
//! process's place, then the janitor is told, then the shell is let go and becomes the program. If we
//! die in between, the shell reads the end of its input and ends by itself.

mod janitor;
#[cfg(test)]
mod tests;

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

pub use janitor::{CleanupGuard, Janitor};

/// Pause between two looks at a process that is about to end.
const INTERVAL: Duration = Duration::from_millis(10);

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

/// A running child process and its process group. Dropping it is the same as [`Supervised::stop`].
#[derive(Debug)]
pub struct Supervised {
    name: String,
    child: Child,
    pid: Pid,
    status: Option<ExitStatus>,
    grace: Duration,
    log_file: Option<PathBuf>,
    // Declared last, dropped last: clean-up comes after the end of the process.
    janitor: Arc<Janitor>,
}

impl Supervised {
    /// What to start: a path, or a name that is looked up on `PATH`.
    pub fn builder(program: impl AsRef<OsStr>) -> Builder {
        Builder {
            program: program.as_ref().to_owned(),
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

    /// The program's file name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process's number, which is its process group's number too.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// The janitor that watches it.
    #[must_use]
    pub fn janitor(&self) -> &Arc<Janitor> {
        &self.janitor
    }

    /// The exit status if the process has ended. What it left running in its group is then ended too.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn try_wait(&mut self) -> Result<Option<ExitStatus>> {
        if self.status.is_none() && self.has_ended()? {
            // Not reaped yet, so that the number still belongs to this group.
            self.signal(Signal::KILL)?;
            self.janitor.forget(self.pid())?;
            self.status = Some(self.child.wait()?);
        }
        Ok(self.status)
    }

    /// Waits at most `deadline` for the process to end by itself.
    ///
    /// # Errors
    /// When it has not ended then: the process goes on.
    pub fn wait(&mut self, deadline: Duration) -> Result<ExitStatus> {
        let end = Instant::now() + deadline;
        loop {
            if let Some(status) = self.try_wait()? {
                return Ok(status);
            }
            if Instant::now() >= end {
                bail!("{} did not end within {deadline:?}", self.name);
            }
            sleep(INTERVAL);
        }
    }

    /// Fails if the process has ended, with its status and the end of its log.
    ///
    /// # Errors
    /// As said.
    pub fn check(&mut self) -> Result<()> {
        let Some(status) = self.try_wait()? else {
            return Ok(());
        };
        let name = &self.name;
        match &self.log_file {
            Some(path) => bail!(
                "{name} ended ({}); the end of its log {}:\n{}",
                describe(status),
                path.display(),
                self.log_tail(15)
            ),
            None => bail!("{name} ended ({})", describe(status)),
        }
    }

    /// The last lines of the log file, or a remark in their place.
    #[must_use]
    pub fn log_tail(&self, lines: usize) -> String {
        let Some(path) = &self.log_file else {
            return "(no log file)".to_owned();
        };
        tail(path, lines).unwrap_or_else(|error| format!("({}: {error})", path.display()))
    }

    /// Ends the process and its group in good order: TERM, the grace time, KILL. Then cleans up, if the janitor is its own.
    ///
    /// # Errors
    /// When the system refuses to signal it.
    pub fn stop(mut self) -> Result<ExitStatus> {
        self.end(Signal::TERM)
    }

    /// SIGKILL to the process and its group, as in a crash; waits until it is gone. No clean-up yet: that comes with the drop.
    ///
    /// # Errors
    /// When the system refuses to signal it.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.end(Signal::KILL)
    }

    /// SIGTERM to the process and its group, without waiting.
    ///
    /// # Errors
    /// When the system refuses to signal it.
    pub fn terminate(&self) -> Result<()> {
        self.signal(Signal::TERM)
    }

    /// Freezes the process and its group (SIGSTOP): it keeps its ports and answers nobody.
    ///
    /// # Errors
    /// When the system refuses to signal it.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets a paused process go on.
    ///
    /// # Errors
    /// When the system refuses to signal it.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        if self.status.is_some() {
            return Ok(());
        }
        match kill_process_group(self.pid, signal) {
            // macOS says EPERM of a group in which only the ended process is left.
            Ok(()) | Err(rustix::io::Errno::SRCH | rustix::io::Errno::PERM) => Ok(()),
            Err(error) => Err(error).with_context(|| format!("cannot signal {}", self.name)),
        }
    }

    fn has_ended(&self) -> Result<bool> {
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let status = waitid(WaitId::Pid(self.pid), look)
            .with_context(|| format!("cannot look at {}", self.name))?;
        Ok(status.is_some())
    }

    fn end(&mut self, signal: Signal) -> Result<ExitStatus> {
        if let Some(status) = self.try_wait()? {
            return Ok(status);
        }
        self.signal(signal)?;
        self.signal(Signal::CONT)?;
        let deadline = Instant::now() + self.grace;
        while !self.has_ended()? {
            if Instant::now() >= deadline {
                self.signal(Signal::KILL)?;
            }
            sleep(INTERVAL);
        }
        self.try_wait()?.context("the process ended and did not")
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        // What cannot be ended here is ended by the janitor.
        let _ = self.end(Signal::TERM);
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

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}

/// The last lines of a file; reads no more than its last 64 KiB.
pub(crate) fn tail(path: &Path, lines: usize) -> io::Result<String> {
    let mut file = File::open(path)?;
    let start = file.metadata()?.len().saturating_sub(64 * 1024);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<_> = text.lines().collect();
    Ok(all[all.len().saturating_sub(lines)..].join("\n"))
}
