//! Programs in Python: an environment in the cache, made once. Reads and Writes: the cache directory; runs python3 and pip.
//!
//! `<cache>/<name>/<hash of what goes in>/venv`. Everything is pinned by hash. An environment cannot be moved, so
//! it is made in its place, and a file beside it says that it is complete; who makes it holds the lock.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};

use crate::binaries::{cache_root, lock_directory};
use crate::progress::Progress;
use crate::supervise::{Janitor, Supervised};

/// The oldest Python that they run on.
const OLDEST_PYTHON: (u32, u32) = (3, 11);

/// Pause between two looks at pip's output.
const INTERVAL: Duration = Duration::from_millis(200);

/// A complete environment.
#[derive(Clone, Debug)]
pub(crate) struct Venv {
    directory: PathBuf,
}

impl Venv {
    /// Its Python.
    pub(crate) fn python(&self) -> PathBuf {
        self.directory.join("venv/bin/python")
    }

    /// A program that a package brought.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.directory.join("venv/bin").join(name)
    }

    /// The directory with the models of requests.
    pub(crate) fn models(&self) -> PathBuf {
        self.directory.join("models")
    }

    fn is_complete(&self) -> bool {
        // The link to the system's Python leads nowhere after that was replaced.
        self.directory.join("complete").is_file() && self.python().is_file()
    }
}

/// What goes into an environment.
#[derive(Debug)]
pub(crate) struct Recipe {
    /// Names its directory in the cache.
    pub(crate) name: &'static str,
    /// What is installed: "the AWS emulators".
    pub(crate) what: &'static str,
    /// What pip installs, with the hashes of all archives.
    pub(crate) requirements: &'static str,
    /// A script that writes models of requests into [`Venv::models`], where there is one.
    pub(crate) models: Option<&'static str>,
}

impl Recipe {
    /// The environment, made if it is not there: some 20 seconds. Blocks: not to be called on an async worker.
    ///
    /// # Errors
    /// When there is no Python, or pip cannot install: the error says what to do.
    pub(crate) fn ensure(&self, progress: &Progress) -> Result<Venv> {
        let venv = Venv {
            directory: cache_root()?.join(self.name).join(self.fingerprint()),
        };
        if venv.is_complete() {
            return Ok(venv);
        }
        let installs = format!("installs {}", self.what);
        let _lock = lock_directory(&venv.directory, &installs, progress)?;
        // Whoever held the lock before may have made it.
        if !venv.is_complete() {
            make(self, &venv, Path::new("python3"), progress)?;
        }
        Ok(venv)
    }

    /// Of everything that decides what the environment is.
    fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        let system = [std::env::consts::OS, std::env::consts::ARCH];
        let parts = [Some(self.requirements), self.models];
        for part in parts.into_iter().flatten().chain(system) {
            hash.update(part.len().to_le_bytes());
            hash.update(part);
        }
        hash.finalize()
            .iter()
            .take(6)
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}

fn make(recipe: &Recipe, venv: &Venv, python: &Path, progress: &Progress) -> Result<()> {
    check_python(recipe.what, python)?;
    let janitor = Arc::new(Janitor::start()?);
    let scratch = janitor.directory("pip", None)?;
    let log = scratch.join("log");
    let requirements = scratch.join("requirements.txt");
    std::fs::write(&requirements, recipe.requirements)?;
    let _ = std::fs::remove_dir_all(venv.directory.join("venv"));
    let packages = recipe
        .requirements
        .lines()
        .filter(|line| line.contains("=="))
        .count();
    let mut task = progress.task(format!("installing {}", recipe.what), Some(packages as u64));
    let mut run = |program: &Path, args: &[&std::ffi::OsStr]| -> Result<()> {
        let mut process = Supervised::builder(program)
            .args(args)
            .log_file(&log)
            .janitor(janitor.clone())
            .spawn()?;
        let status = loop {
            if let Some(status) = process.try_wait()? {
                break status;
            }
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            let done = text.matches("\nCollecting ").count();
            task.at(done as u64, &format!("{done} packages"));
            sleep(INTERVAL);
        };
        if !status.success() {
            bail!(
                "cannot install {} ({status}); pip must reach PyPI or a mirror of it (PIP_INDEX_URL); the end of its output:\n{}",
                recipe.what,
                process.log_tail(15)
            );
        }
        Ok(())
    };
    let place = venv.directory.join("venv");
    run(python, &["-m".as_ref(), "venv".as_ref(), place.as_ref()])?;
    run(
        &venv.python(),
        &[
            "-m".as_ref(),
            "pip".as_ref(),
            "install".as_ref(),
            "--disable-pip-version-check".as_ref(),
            "--require-hashes".as_ref(),
            "--only-binary=:all:".as_ref(),
            "-r".as_ref(),
            requirements.as_ref(),
        ],
    )?;
    if let Some(models) = recipe.models {
        std::fs::create_dir_all(venv.models())?;
        let script = scratch.join("models.py");
        std::fs::write(&script, models)?;
        run(&venv.python(), &[script.as_ref(), venv.models().as_ref()])?;
    }
    std::fs::write(venv.directory.join("complete"), "")?;
    task.done();
    Ok(())
}

/// One error for everything that may be wrong with Python.
fn check_python(what: &str, python: &Path) -> Result<()> {
    let (major, minor) = OLDEST_PYTHON;
    let advice = format!(
        "{what} need Python {major}.{minor} or later with its module venv: install it (Debian: apt-get install python3-venv)"
    );
    let program = "import sys, venv, ensurepip; print(sys.version_info[0], sys.version_info[1])";
    let output = Command::new(python)
        .args(["-c", program])
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{advice}. `{}` does not run", python.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut numbers = text.split_whitespace().map(str::parse);
    let version = match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Some((major, minor)),
        _ => None,
    };
    if version.is_none_or(|version| version < OLDEST_PYTHON) {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!(
            "{advice}. `{}` says {:?} {}",
            python.display(),
            text.trim(),
            errors.trim()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_or_old_python_is_told_with_the_remedy() {
        for (python, expected) in [
            ("/nonexistent/python3", "does not run"),
            ("/bin/echo", "says"),
        ] {
            let error = format!(
                "{:#}",
                check_python("the AWS emulators", Path::new(python)).unwrap_err()
            );
            assert!(error.contains("need Python 3.11 or later"), "{error}");
            assert!(
                error.contains(expected) && error.contains("install it"),
                "{error}"
            );
        }
    }

    #[test]
    fn everything_is_pinned_by_hash() {
        for (recipe, expected) in [
            (&crate::aws::PROGRAMS, "moto==5.2.5"),
            (&crate::aws::PROGRAMS, "ministack==1.5.33"),
            (&crate::aws::PROGRAMS, "microburst==0.10.0"),
            (&crate::fake_azure::PROGRAMS, "azure-mgmt-network==28.0.0"),
        ] {
            let all = recipe.requirements;
            let pins = all.lines().filter(|line| line.contains("=="));
            for (pin, next) in pins.zip(all.split("==").skip(1)) {
                assert!(next.contains("--hash=sha256:"), "{pin}");
            }
            assert!(all.contains(expected), "{expected}");
        }
    }
}
