//! An ordinary user's way to real network namespaces: the whole demo runs again inside a user namespace of its own.
//! Writes: a process.
#![expect(clippy::print_stdout, reason = "showing is the purpose")]

use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result};
use evenkeel_harness::binaries::{self, Tool};
use evenkeel_harness::evenkeel::evenkeel_binary;
use evenkeel_harness::nodes::namespaces_possible;
use evenkeel_harness::progress::Progress;

/// Set for the demo that runs inside, so that it does not try again.
const INSIDE: &str = "EVENKEEL_DEMO_INSIDE";

/// What prepares the new namespaces: `ip netns` keeps its names below /run, and loopback begins down.
const PREPARE: &str = "mount -t tmpfs tmpfs /run && ip link set lo up && exec \"$@\"";

/// The command line that enters the namespaces of a demo that stays up, when it runs in its own.
pub(crate) fn way_in() -> Option<String> {
    std::env::var_os(INSIDE)?;
    Some(format!(
        "nsenter --preserve-credentials -U -n -m -t {}",
        std::process::id()
    ))
}

/// Fetches or builds what is needed, while the network is there; then, where network namespaces need a user namespace, runs the
/// demo inside one and returns its exit code.
///
/// # Errors
/// When a part can be neither found nor built.
pub(crate) fn enter_if_needed() -> Result<Option<ExitCode>> {
    if std::env::var_os(INSIDE).is_some() {
        return Ok(None);
    }
    let progress = Progress::new();
    binaries::ensure(
        &[
            Tool::Etcd,
            Tool::ApiServer,
            Tool::ControllerManager,
            Tool::Kubectl,
        ],
        &progress,
    )?;
    let evenkeel = evenkeel_binary()?;
    let possible = namespaces_possible();
    let privileged = possible.is_ok();
    if privileged || user_namespace_works() {
        // A new network namespace reaches no registry: kube-proxy is found or built before.
        binaries::ensure(&[Tool::KubeProxy], &progress)?;
    }
    if privileged || !user_namespace_works() {
        return Ok(None);
    }
    let status = Command::new("unshare")
        .args(["-Urnm", "sh", "-c", PREPARE, "sh"])
        .arg(std::env::current_exe().context("where am I")?)
        .args(std::env::args_os().skip(1))
        .env(INSIDE, "1")
        .env("EVENKEEL_BIN", evenkeel)
        .status()
        .context("cannot run unshare")?;
    if status.signal().is_some() {
        println!("the demo was ended by {status}");
    }
    Ok(Some(ExitCode::from(
        u8::try_from(status.code().unwrap_or(1)).unwrap_or(1),
    )))
}

/// Whether this user may make a user namespace with a network and mounts of its own, and `nft` works in it.
fn user_namespace_works() -> bool {
    Command::new("unshare")
        .args(["-Urnm", "sh", "-c", "mount -t tmpfs tmpfs /run && ip link set lo up && ip netns add probe && nft list ruleset"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
