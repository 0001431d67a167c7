//! The directory in which built programs are kept, shared by all processes of a user. Reads and Writes it.
//!
//! `<cache>/control-plane/<versions>-<hash of go.mod, go.sum and platform>/<program>`. A program appears in its
//! place by a rename, so what is there is complete. Who makes one holds the lock; the kernel frees it when the
//! holder ends, however that happens.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

use super::Tool;
use super::version::{ETCD_VERSION, Kubernetes};
use crate::progress::Progress;

/// The cache directory of one set of versions.
pub(super) struct Cache {
    kubernetes: Kubernetes,
    directory: PathBuf,
}

/// The right to add to the cache; ends with this value.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

/// Where programs are kept that were built or fetched: `EVENKEEL_CACHE`, else `XDG_CACHE_HOME/evenkeel`, else `HOME/.cache/evenkeel`.
///
/// # Errors
/// When none of these variables is set.
pub fn cache_root() -> Result<PathBuf> {
    let variable = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    variable("EVENKEEL_CACHE")
        .or_else(|| variable("XDG_CACHE_HOME").map(|path| path.join("evenkeel")))
        .or_else(|| variable("HOME").map(|path| path.join(".cache/evenkeel")))
        .context("no place to keep built programs: set EVENKEEL_CACHE to a directory")
}

/// Makes a directory of the cache and waits until nobody else adds to it; says so while it waits. `what` completes "another process that …".
///
/// # Errors
/// When it cannot be written.
pub(crate) fn lock_directory(directory: &Path, what: &str, progress: &Progress) -> Result<Lock> {
    std::fs::create_dir_all(directory).with_context(|| {
        format!(
            "cannot make the cache directory {}: set EVENKEEL_CACHE to one that can be written",
            directory.display()
        )
    })?;
    let path = directory.join("lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    let locked = match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => {
            let task = progress.task(format!("waiting for another process that {what}"), None);
            let locked = file.lock();
            task.done();
            locked
        }
        Err(TryLockError::Error(error)) => Err(error),
    };
    locked.with_context(|| format!("cannot lock {}", path.display()))?;
    Ok(Lock { _file: file })
}

impl Cache {
    pub(super) fn from_environment(kubernetes: Kubernetes) -> Result<Self> {
        Ok(Self::in_directory(&cache_root()?, kubernetes))
    }

    pub(super) fn in_directory(root: &Path, kubernetes: Kubernetes) -> Self {
        let etcd = match kubernetes {
            Kubernetes::Current => format!("-etcd-{ETCD_VERSION}"),
            Kubernetes::Older => String::new(),
        };
        let key = format!(
            "k8s-{}{etcd}-{}",
            kubernetes.version(),
            fingerprint(kubernetes)
        );
        Self {
            kubernetes,
            directory: root.join("control-plane").join(key),
        }
    }

    /// Whose programs it has.
    pub(super) fn kubernetes(&self) -> Kubernetes {
        self.kubernetes
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The program's path if it is there.
    pub(super) fn get(&self, tool: Tool) -> Option<PathBuf> {
        let path = self.directory.join(tool.file_name());
        path.is_file().then_some(path)
    }

    /// Waits until nobody else adds to the cache, and says so while it waits.
    pub(super) fn lock(&self, progress: &Progress) -> Result<Lock> {
        lock_directory(
            &self.directory,
            "makes the control plane's programs",
            progress,
        )
    }

    /// Moves a finished program, which lies in the cache's own file system, into its place.
    pub(super) fn install(&self, tool: Tool, made: &Path) -> Result<()> {
        let place = self.directory.join(tool.file_name());
        std::fs::rename(made, &place)
            .with_context(|| format!("cannot move {} to {}", made.display(), place.display()))
    }
}

/// Of everything that decides what the programs are: the modules with their checksums, and the platform.
fn fingerprint(kubernetes: Kubernetes) -> String {
    let mut hash = Sha256::new();
    for part in [
        kubernetes.go_mod(),
        kubernetes.go_sum(),
        std::env::consts::OS,
        std::env::consts::ARCH,
    ] {
        hash.update(part.len().to_le_bytes());
        hash.update(part);
    }
    hash.finalize()
        .iter()
        .take(6)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
