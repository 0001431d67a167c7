//! A small shell process that ends what we started and cleans up behind us, when we can no longer do so. Writes.
//!
//! It holds a pipe whose other end only we hold; the kernel closes that end however we end: return, panic,
//! Ctrl-C, SIGKILL. Then it ends the process groups it was told of and runs the clean-up commands. It lives in a process
//! group of its own, so that Ctrl-C in a terminal does not reach it. No `unsafe` is needed, and nothing
//! but a POSIX shell.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use crate::random;

const SCRIPT: &str = include_str!("janitor.sh");

/// The shell process. Dropping it is the same as [`Janitor::finish`].
#[derive(Debug)]
pub struct Janitor {
    child: Child,
    pipes: Mutex<Option<(ChildStdin, BufReader<ChildStdout>)>>,
}

impl Janitor {
    /// Starts a janitor that watches nothing yet.
    ///
    /// # Errors
    /// When `/bin/sh` cannot be started.
    pub fn start() -> Result<Self> {
        let mut child = Command::new("/bin/sh")
            .args(["-c", SCRIPT, "evenkeel-janitor"])
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start /bin/sh, which cleans up behind tests")?;
        let stdin = child.stdin.take().context("the janitor has no input")?;
        let stdout = child.stdout.take().context("the janitor has no output")?;
        Ok(Self {
            child,
            pipes: Mutex::new(Some((stdin, BufReader::new(stdout)))),
        })
    }

    /// How long a process group has between TERM and KILL when we are gone. Two seconds unless told otherwise.
    ///
    /// # Errors
    /// When the janitor is gone.
    pub fn grace(&self, grace: Duration) -> Result<()> {
        self.tell(&format!("grace {}", grace.as_millis().div_ceil(100)))
    }

    /// Runs `command` (program and arguments) after all watched processes have ended: the last one registered first.
    ///
    /// When this returns the command will run, even if we are killed next. So register it before making what it removes.
    ///
    /// # Errors
    /// When an argument is not UTF-8 or holds a line break, or the janitor is gone.
    pub fn clean_up<S: AsRef<OsStr>>(&self, command: impl IntoIterator<Item = S>) -> Result<()> {
        let words = command
            .into_iter()
            .map(|word| quote(word.as_ref()))
            .collect::<Result<Vec<_>>>()?;
        ensure!(
            !words.is_empty(),
            "the clean-up command is empty: name a program"
        );
        self.tell(&format!("clean {}", words.join(" ")))
    }

    /// Makes a directory `evenkeel-PREFIX-RANDOM` in `parent` (the system's temporary directory if `None`) that only
    /// we can read and that is removed with everything in it at the end.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn directory(&self, prefix: &str, parent: Option<PathBuf>) -> Result<PathBuf> {
        let path = parent
            .unwrap_or_else(std::env::temp_dir)
            .join(format!("evenkeel-{prefix}-{}", random::hex(6)));
        self.clean_up([OsStr::new("rm"), OsStr::new("-rf"), path.as_os_str()])?;
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("cannot make the directory {}", path.display()))?;
        Ok(path)
    }

    /// Ends the process group when we end.
    pub(super) fn watch(&self, group: u32) -> Result<()> {
        self.tell(&format!("watch {group}"))
    }

    /// The process group has ended; its number may soon belong to somebody else.
    pub(super) fn forget(&self, group: u32) -> Result<()> {
        self.tell(&format!("forget {group}"))
    }

    /// Ends what is still watched, runs the clean-up commands and waits until they have ended.
    pub fn finish(self) {
        drop(self);
    }

    fn tell(&self, line: &str) -> Result<()> {
        let mut pipes = self.pipes.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((stdin, stdout)) = pipes.as_mut() else {
            bail!("the janitor has already finished");
        };
        let mut answer = String::new();
        stdin
            .write_all(format!("{line}\n").as_bytes())
            .and_then(|()| stdout.read_line(&mut answer))
            .context("the shell process that cleans up behind tests is gone")?;
        ensure!(
            answer == "ok\n",
            "the shell process that cleans up behind tests answered {answer:?} to {line:?}"
        );
        Ok(())
    }
}

impl Drop for Janitor {
    fn drop(&mut self) {
        *self.pipes.get_mut().unwrap_or_else(PoisonError::into_inner) = None;
        // It ignores what we could do about a failure, and so do we.
        let _ = self.child.wait();
    }
}

/// One word for the shell, whatever it holds.
fn quote(word: &OsStr) -> Result<String> {
    let word = word
        .to_str()
        .with_context(|| format!("{} is not UTF-8", word.display()))?;
    ensure!(!word.contains('\n'), "{word:?} holds a line break");
    Ok(format!("'{}'", word.replace('\'', r"'\''")))
}

/// Clean-up commands that run when this value is dropped and also when our process is killed.
///
/// For things that are no process and no directory, such as a network namespace.
#[derive(Debug)]
pub struct CleanupGuard {
    janitor: Janitor,
}

impl CleanupGuard {
    /// Registers commands (program and arguments each); the last one runs first. Call it before making what they remove.
    ///
    /// # Errors
    /// As [`Janitor::clean_up`].
    pub fn new<S: AsRef<OsStr>>(commands: Vec<Vec<S>>) -> Result<Self> {
        let guard = Self {
            janitor: Janitor::start()?,
        };
        for command in commands {
            guard.add(command)?;
        }
        Ok(guard)
    }

    /// Registers one more command, which runs before those registered earlier.
    ///
    /// # Errors
    /// As [`Janitor::clean_up`].
    pub fn add<S: AsRef<OsStr>>(&self, command: Vec<S>) -> Result<()> {
        self.janitor.clean_up(command)
    }

    /// Runs the commands now and waits for them.
    pub fn run(self) {
        self.janitor.finish();
    }
}
