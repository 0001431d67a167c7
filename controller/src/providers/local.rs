//! A data plane for the `local` provider, started when none answers (Writes: a process, its log file).
//!
//! It is a process of its own, in a process group of its own, and belongs to nobody: it goes on when we end. Whoever
//! started it, it is watched by its socket alone, and another is started when it no longer answers.

use std::{
    fs::{self, File},
    os::unix::process::CommandExt as _,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result};
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::config::LocalConfig;

/// Time between two looks at a data plane that answers. A look is one connection to a Unix socket.
const LOOK: Duration = Duration::from_secs(1);

/// How long a data plane that was started may take to answer, before another is tried.
const START: Duration = Duration::from_secs(10);

/// Time between two looks at a data plane that was just started.
const SOON: Duration = Duration::from_millis(20);

/// The log of data planes that we start, in the state directory.
const LOG_FILE: &str = "dataplane.log";

/// Waits until a data plane answers, and starts one if need be. Gives up after one start: the provider's errors say so on
/// every Service, and [`keep`] goes on.
pub async fn ensure(config: &LocalConfig) {
    if !answers(config).await {
        start(config).await;
    }
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
                () = start(&config) => {}
            }
        }
    }
}

async fn answers(config: &LocalConfig) -> bool {
    UnixStream::connect(&config.socket).await.is_ok()
}

/// Starts a data plane and waits until it answers or has ended.
async fn start(config: &LocalConfig) {
    match spawn(config) {
        Ok(mut process) => {
            let answered = tokio::time::timeout(START, async {
                while !answers(config).await {
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

fn spawn(config: &LocalConfig) -> Result<tokio::process::Child> {
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
