//! Being somebody who is not root, as controllers and people mostly are. Writes: a directory.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;
use evenkeel_harness::evenkeel::evenkeel_binary;
use evenkeel_harness::supervise::Janitor;

/// A user, and a group, that owns nothing: the one of `deploy/`.
pub const NOBODY: u32 = 65532;

/// Whether this process may become [`NOBODY`].
///
/// # Errors
/// Why not, in one line.
pub fn nobody_possible() -> Result<(), String> {
    let tried = Command::new("setpriv")
        .args(["--reuid", &NOBODY.to_string(), "--clear-groups", "true"])
        .output()
        .map_err(|error| format!("setpriv: {error}"))?;
    match tried.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&tried.stderr).trim().to_owned()),
    }
}

/// A copy of the program that everybody may run, in a directory that everybody may enter and that goes with the janitor.
///
/// # Errors
/// When there is no room for it.
pub fn program_for_everybody(janitor: &Janitor) -> Result<PathBuf> {
    let directory = janitor.directory("everybody", None)?;
    std::fs::set_permissions(&directory, Permissions::from_mode(0o755))?;
    let program = directory.join("evenkeel");
    std::fs::copy(evenkeel_binary()?, &program)?;
    Ok(program)
}
