//! A data plane for the `local` provider, started when none answers (Writes: a process, its log file).
//!
//! It is a process of its own, in a process group of its own, and belongs to nobody: it goes on when we end. Whoever
//! started it, it is watched by its socket alone, and another is started when it no longer answers. One of an older build
//! that answers when we start is asked to hand over its ports to one of ours; once, so that two controllers of different
//! builds cannot take them from each other for ever.

use std::{
    fs::{self, File},
    os::unix::process::CommandExt as _,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result};
use evenkeel_local::{api::Info, client::Client};
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    config::{LocalConfig, Start},
    version::VERSION,
};

/// Time between two looks at a data plane that answers. A look is one connection to a Unix socket.
const LOOK: Duration = Duration::from_secs(1);

/// How long a data plane that was started may take to answer, before another is tried.
const START: Duration = Duration::from_secs(10);

/// Time between two looks at a data plane that was just started.
const SOON: Duration = Duration::from_millis(20);

/// The log of data planes that we start, in the state directory.
const LOG_FILE: &str = "dataplane.log";

/// Waits until a data plane answers, and starts one if need be, also in the place of an older one. Gives up after one
/// start: the provider's errors say so on every Service, and [`keep`] goes on.
pub async fn ensure(config: &LocalConfig) {
    if !answers(config).await {
        return start(config, Begin::Free).await;
    }
    if config.start != Start::Auto {
        return;
    }
    match runs(config).await {
        Some(info) if replaces(VERSION, &info.version) => {
            info!(
                theirs = info.version,
                ours = VERSION,
                pid = info.pid,
                "another build of the data plane runs; ours takes over"
            );
            start(config, Begin::TakeOver).await;
        }
        Some(info) if info.version != VERSION => warn!(
            theirs = info.version,
            ours = VERSION,
            pid = info.pid,
            "the data plane that runs is not of our version and is left as it is; `evenkeel dataplane --take-over` would replace it"
        ),
        _ => {}
    }
}

/// Whether a data plane of our version takes the place of one of theirs: an older one, or another build of the same.
/// Never of a newer one, and not where one of the two cannot be told.
fn replaces(ours: &str, theirs: &str) -> bool {
    match (numbers(ours), numbers(theirs)) {
        (Some(our), Some(their)) => our > their || (our == their && ours != theirs),
        _ => false,
    }
}

fn numbers(version: &str) -> Option<[u32; 3]> {
    let numbers = version.split([' ', '-', '+']).next()?.split('.');
    let numbers: Vec<u32> = numbers
        .map(|number| number.parse().ok())
        .collect::<Option<_>>()?;
    numbers.try_into().ok()
}

/// How a data plane that we start begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begin {
    /// Where none runs.
    Free,
    /// In the place of the one that runs.
    TakeOver,
}

/// Who runs.
async fn runs(config: &LocalConfig) -> Option<Info> {
    let client = Client::new(&config.socket, Arc::from(""), LOOK);
    client.info().await.ok()
}

/// Looks after the data plane until told to stop.
pub async fn keep(config: LocalConfig, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
        if !answers(&config).await {
            warn!(socket = %config.socket.display(), "the data plane does not answer; starting another");
            tokio::select! {
                () = stop.cancelled() => return,
                () = start(&config, Begin::Free) => {}
            }
        }
    }
}

async fn answers(config: &LocalConfig) -> bool {
    UnixStream::connect(&config.socket).await.is_ok()
}

/// Starts a data plane and waits until it answers or has ended.
async fn start(config: &LocalConfig, begin: Begin) {
    match spawn(config, begin) {
        Ok(mut process) => {
            let pid = process.id();
            let answered = tokio::time::timeout(START, async {
                while match begin {
                    Begin::Free => !answers(config).await,
                    Begin::TakeOver => runs(config).await.map(|info| info.pid) != pid,
                } {
                    if let Ok(Some(status)) = process.try_wait() {
                        return Err(status);
                    }
                    tokio::time::sleep(SOON).await;
                }
                Ok(())
            });
            let log = config.state_dir.join(LOG_FILE);
            match answered.await {
                Ok(Ok(())) => {
                    info!(pid = process.id(), log = %log.display(), "started a data plane; it goes on when this process ends")
                }
                Ok(Err(status)) => {
                    warn!(%status, log = %log.display(), "the data plane ended at once; its log says why")
                }
                Err(_) => {
                    warn!(pid = process.id(), log = %log.display(), "the data plane does not answer yet; its log may say why")
                }
            }
        }
        Err(error) => {
            warn!(
                error = format!("{error:#}"),
                "a data plane cannot be started; start `evenkeel dataplane` yourself"
            );
            tokio::time::sleep(LOOK).await;
        }
    }
}

fn spawn(config: &LocalConfig, begin: Begin) -> Result<tokio::process::Child> {
    let program = std::env::current_exe().context("the path of this program is unknown")?;
    for directory in [Some(config.state_dir.as_path()), config.socket.parent()]
        .into_iter()
        .flatten()
    {
        fs::create_dir_all(directory).with_context(|| {
            format!(
                "{} cannot be made; make it, or choose another directory",
                directory.display()
            )
        })?;
    }
    let path = config.state_dir.join(LOG_FILE);
    let log = File::options()
        .create(true)
        .append(true)
        .open(&path)
        .with_context(|| {
            format!(
                "{} cannot be written; make it writable, or choose another --local-state-dir",
                path.display()
            )
        })?;
    let mut command = Command::new(&program);
    command
        .arg("dataplane")
        .arg("--socket")
        .arg(&config.socket)
        .arg("--state-dir")
        .arg(&config.state_dir)
        .args(config.pools.iter().flat_map(|pool| ["--pool", pool]))
        .args((begin == Begin::TakeOver).then_some("--take-over"))
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        // What ends us by the terminal or the group does not end it.
        .process_group(0);
    // A child of tokio's is reaped when it ends, also after this handle is dropped, and lives on when we end.
    tokio::process::Command::from(command)
        .kill_on_drop(false)
        .spawn()
        .with_context(|| format!("{} cannot be run", program.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_data_plane_is_replaced_and_a_newer_one_never() {
        for (ours, theirs, want) in [
            ("0.2.0 (commit a)", "0.2.0 (commit a)", false),
            ("0.2.0 (commit a)", "0.1.9 (commit a)", true),
            ("0.10.0 (commit a)", "0.9.0 (commit b)", true),
            ("0.2.0 (commit a)", "0.2.0 (commit b)", true),
            ("0.2.0 (commit a)", "0.2.0", true),
            ("0.2.0 (commit a)", "0.3.0 (commit a)", false),
            ("0.2.0 (commit a)", "1.0.0-rc.1 (commit a)", false),
            ("0.2.0 (commit a)", "unknown", false),
            ("0.2.0 (commit a)", "", false),
        ] {
            assert_eq!(replaces(ours, theirs), want, "{ours} after {theirs}");
        }
    }
}
