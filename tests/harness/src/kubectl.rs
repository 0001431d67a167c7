//! The real kubectl, as somebody would type it at a control plane. Writes: a process, files in the control plane's directory.
//!
//! Its home is the control plane's directory, so that no setting or cache of the machine's user plays a part. What it prints, output
//! and errors in the order in which they come, is kept for who wants to show it.

use std::cell::RefCell;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::binaries::{self, Tool};
use crate::control_plane::ControlPlane;
use crate::progress::Progress;
use crate::supervise::{Janitor, Supervised};
use crate::wait::eventually;

/// How long a command may take. `kubectl delete` waits until the object's finalizers are gone.
const LIMIT: Duration = Duration::from_secs(60);

/// `kubectl edit` sets the terminal as it was before the editor ran. Of a process group in the background, which every supervised
/// process is, the kernel stops whoever does that, unless the signal is ignored.
const IGNORE_TTOU: &str = r#"trap "" TTOU && exec "$@""#;

/// kubectl for one namespace of one control plane.
#[derive(Debug)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
    directory: PathBuf,
    namespace: String,
    janitor: Arc<Janitor>,
    runs: AtomicU32,
}

/// A command that has ended.
#[derive(Clone, Debug)]
pub struct Ran {
    /// The command as it is typed into a shell.
    pub command: String,
    /// All that it printed.
    pub output: String,
    /// How it ended.
    pub status: ExitStatus,
}

impl Kubectl {
    /// Finds or builds the program, which can take minutes the first time.
    ///
    /// # Errors
    /// When it can be neither found nor built, or the control plane's directory cannot be written.
    pub async fn new(plane: &ControlPlane, namespace: &str, progress: Progress) -> Result<Self> {
        let found =
            tokio::task::spawn_blocking(move || binaries::ensure(&[Tool::Kubectl], &progress))
                .await??;
        let directory = plane.directory().join(format!("kubectl-{namespace}"));
        std::fs::create_dir_all(&directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
        Ok(Self {
            program: found.path(Tool::Kubectl)?.to_owned(),
            kubeconfig: plane.kubeconfig().to_owned(),
            directory,
            namespace: namespace.to_owned(),
            janitor: plane.janitor().clone(),
            runs: AtomicU32::new(0),
        })
    }

    /// The program.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Runs `kubectl -n NAMESPACE ARGS…`; a command that fails is no error here, but see [`Ran::ok`].
    ///
    /// # Errors
    /// When it cannot be started, or has not ended within a minute.
    pub async fn run(&self, args: &[&str]) -> Result<Ran> {
        self.run_in(&[], args).await
    }

    /// The same with a command line as the editor that `kubectl edit` opens.
    ///
    /// # Errors
    /// As [`Kubectl::run`].
    pub async fn run_with_editor(&self, editor: &str, args: &[&str]) -> Result<Ran> {
        self.run_in(&[("KUBE_EDITOR", editor)], args).await
    }

    async fn run_in(&self, shown: &[(&str, &str)], args: &[&str]) -> Result<Ran> {
        let args = [&["-n", &self.namespace], args].concat();
        let command = typed(shown, &args);
        let number = self.runs.fetch_add(1, Ordering::Relaxed);
        let output = self.directory.join(format!("{number}.log"));
        let mut process = Supervised::builder("/bin/sh")
            .args(["-c", IGNORE_TTOU, "kubectl"])
            .arg(&self.program)
            .args(&args)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("HOME", &self.directory)
            // An editor with quotes in it is run by this shell.
            .env("SHELL", "/bin/sh")
            .janitor(self.janitor.clone())
            .log_file(&output);
        for (name, value) in shown {
            process = process.env(name, value);
        }
        let process = RefCell::new(process.spawn()?);
        let status = eventually(format!("`{command}` to end"), LIMIT, || async {
            process.borrow_mut().try_wait()?.context("it still runs")
        })
        .await?;
        let output = std::fs::read_to_string(&output)
            .with_context(|| format!("cannot read {}", output.display()))?;
        Ok(Ran {
            command,
            output: output.trim_end().to_owned(),
            status,
        })
    }
}

impl Ran {
    /// The same, if the command succeeded.
    ///
    /// # Errors
    /// When it failed: with what it printed.
    pub fn ok(self) -> Result<Self> {
        ensure!(
            self.status.success(),
            "`{}` failed: {}",
            self.command,
            self.output
        );
        Ok(self)
    }
}

/// A command line as somebody would type it.
fn typed(environment: &[(&str, &str)], args: &[&str]) -> String {
    let set = environment
        .iter()
        .map(|(name, value)| format!("{name}={}", quoted(value)));
    let args = args.iter().map(quoted);
    let words: Vec<_> = set
        .chain(std::iter::once("kubectl".to_owned()))
        .chain(args)
        .collect();
    words.join(" ")
}

/// A word as a shell reads it back.
fn quoted(word: impl Display) -> String {
    let word = word.to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=.,:/@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word;
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_shown_as_they_are_typed() {
        for (environment, args, want) in [
            (
                vec![],
                vec!["get", "services", "--tcp=80:8080"],
                "kubectl get services --tcp=80:8080",
            ),
            (
                vec![],
                vec!["patch", "-p", r#"{"spec": {}}"#],
                r#"kubectl patch -p '{"spec": {}}'"#,
            ),
            (vec![], vec!["label", ""], "kubectl label ''"),
            (
                vec![("KUBE_EDITOR", "sed -i s/a/b/")],
                vec!["edit", "it's"],
                r"KUBE_EDITOR='sed -i s/a/b/' kubectl edit 'it'\''s'",
            ),
        ] {
            assert_eq!(typed(&environment, &args), want);
        }
    }
}
