//! Backups of a control plane, as an administrator makes them of etcd. Writes: directories.
//!
//! A control plane that is restored from one has everything that the other had, the UIDs and the Leases too, and an address of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result};

use super::ControlPlane;

impl ControlPlane {
    /// Copies what etcd has at this moment. The copy goes with this control plane.
    ///
    /// # Errors
    /// When etcd does not run, or there is no room.
    pub fn backup(&self) -> Result<PathBuf> {
        static BACKUPS: AtomicU32 = AtomicU32::new(0);
        let number = BACKUPS.fetch_add(1, Ordering::Relaxed);
        let to = self.directory.join(format!("backup-{number}"));
        // Stopped where it is, it has on disk what a crash would leave, which it can start from.
        let processes = self.lock();
        processes.etcd.pause()?;
        let copied = copy(&data_of(&self.directory), &to);
        processes.etcd.resume()?;
        copied.map(|()| to)
    }
}

/// Where etcd has its data.
pub(super) fn data_of(directory: &Path) -> PathBuf {
    directory.join("etcd")
}

/// Puts a backup where a new etcd has its data.
pub(super) fn restore(backup: &Path, directory: &Path) -> Result<()> {
    copy(backup, &data_of(directory))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let failed = || format!("copying {} to {}", from.display(), to.display());
    fs::create_dir_all(to).with_context(failed)?;
    for entry in fs::read_dir(from).with_context(failed)? {
        let (from, to) = {
            let entry = entry?;
            (entry.path(), to.join(entry.file_name()))
        };
        if from.is_dir() {
            copy(&from, &to)?;
        } else {
            fs::copy(&from, &to).with_context(failed)?;
        }
    }
    Ok(())
}
