//! Child processes that end when we end, however we end, together with what they started. Writes.
//!
//! Every process gets a process group of its own, so that Ctrl-C in a terminal reaches us alone and we end the
//! rest in order. A [`Janitor`] knows the group before the program runs: first a shell waits in the
//! process's place, then the janitor is told, then the shell is let go and becomes the program. If we
//! die in between, the shell reads the end of its input and ends by itself.

mod builder;
mod janitor;
#[cfg(test)]
mod tests;

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

pub use builder::Builder;
pub use janitor::{CleanupGuard, Janitor};

/// Pause between two looks at a process that is about to end.
const INTERVAL: Duration = Duration::from_millis(10);

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
        Builder::new(program.as_ref())
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
