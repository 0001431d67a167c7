//! A Python program that listens on a port of 127.0.0.1 and says when it is ready. Writes: a process, a temporary directory.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use http::Request;
use http_body_util::Full;
use hyper::body::Bytes;
use serde_json::Value;

use crate::ports::HeldPort;
use crate::progress::Progress;
use crate::supervise::{Builder, Janitor, Supervised};
use crate::venv::{Recipe, Venv};
use crate::wait::eventually;
use crate::wire;

/// They take about a second; a machine with many builds beside them has taken more than a minute.
const READY_DEADLINE: Duration = Duration::from_secs(180);

/// How often a start is tried when somebody else took the port.
const STARTS: u32 = 3;

/// The process. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Service {
    name: String,
    process: Mutex<Supervised>,
    pub(crate) address: SocketAddr,
    // After the process: the port is given back when nobody listens on it.
    _port: HeldPort,
}

impl Service {
    /// Starts what `builder` makes of the environment of `recipe`, a port and a directory of its own, and waits for a 200 of `ready_path`.
    pub(crate) async fn start(
        recipe: &'static Recipe,
        name: &str,
        ready_path: &str,
        builder: impl Fn(&Venv, u16, &std::path::Path) -> Result<Builder>,
    ) -> Result<Self> {
        let venv = tokio::task::spawn_blocking(|| recipe.ensure(&Progress::new())).await??;
        let mut attempt = 1;
        loop {
            let started = Self::start_once(recipe, name, ready_path, &venv, &builder).await;
            match started {
                Err(error)
                    if attempt < STARTS
                        && format!("{error:#}")
                            .to_lowercase()
                            .contains("address already in use") =>
                {
                    attempt += 1;
                }
                result => return result.with_context(|| format!("cannot start {name}")),
            }
        }
    }

    /// Starts a client that is not ours: a script that takes its port as its only argument.
    pub(crate) async fn client(recipe: &'static Recipe, name: &str, script: &str) -> Result<Self> {
        Self::start(recipe, name, "/", |venv, port, directory| {
            let file = directory.join("client.py");
            std::fs::write(&file, script)?;
            Ok(Supervised::builder(venv.python())
                .arg(file)
                .arg(port.to_string()))
        })
        .await
    }

    /// Asks such a client, which answers `{"ok": ..}` or `{"error": {"code": .., "message": ..}}`: the inner error is that.
    pub(crate) async fn ask(&self, path: &str, body: &Value) -> Result<Result<Value, Value>> {
        match wire::json(self.address, "POST", path, Some(body)).await {
            Ok(mut answer) => Ok(match answer.get_mut("error") {
                Some(error) => Err(error.take()),
                None => Ok(answer["ok"].take()),
            }),
            Err(error) => {
                // If it has ended, its log says more.
                self.check()?;
                Err(error)
            }
        }
    }

    async fn start_once(
        recipe: &Recipe,
        name: &str,
        ready_path: &str,
        venv: &Venv,
        builder: impl Fn(&Venv, u16, &std::path::Path) -> Result<Builder>,
    ) -> Result<Self> {
        let janitor = Arc::new(Janitor::start()?);
        let directory = janitor.directory(recipe.name, None)?;
        let mut port = HeldPort::new().context("no free port on 127.0.0.1")?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port.port()));
        port.hand_over();
        let process = builder(venv, port.port(), &directory)?
            .env("PYTHONUNBUFFERED", "1")
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .current_dir(&directory)
            .log_file(log_file(name, &directory)?)
            .janitor(janitor)
            .spawn()?;
        let service = Self {
            name: name.to_owned(),
            process: Mutex::new(process),
            address,
            _port: port,
        };
        service.await_ready(ready_path).await?;
        Ok(service)
    }

    async fn await_ready(&self, path: &str) -> Result<()> {
        let ready = eventually(&self.name, READY_DEADLINE, || async {
            // The outer error ends the waiting at once.
            if let Err(error) = self.check() {
                return Ok(Err(error));
            }
            let request = Request::get(path)
                .header("Host", self.address.to_string())
                .body(Full::<Bytes>::default())?;
            let reply = wire::send(self.address, request).await?;
            anyhow::ensure!(reply.status() == 200, "{path} says {}", reply.status());
            Ok(Ok(()))
        })
        .await;
        let tail = || format!("the end of its log:\n{}", self.lock().log_tail(15));
        ready.with_context(tail)?
    }

    /// The process's number.
    pub(crate) fn pid(&self) -> u32 {
        self.lock().pid()
    }

    /// Fails if the process has ended by itself, with the end of its log.
    pub(crate) fn check(&self) -> Result<()> {
        self.lock().check()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Supervised> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// In the directory that goes with the process, or where `EVENKEEL_LOGS` has it stay.
fn log_file(name: &str, directory: &std::path::Path) -> Result<PathBuf> {
    let kept = std::env::var_os("EVENKEEL_LOGS").filter(|value| !value.is_empty());
    let parent = match kept {
        Some(kept) => PathBuf::from(kept).join(directory.file_name().unwrap_or_default()),
        None => directory.to_owned(),
    };
    std::fs::create_dir_all(&parent)
        .with_context(|| format!("cannot make the log directory {}", parent.display()))?;
    Ok(parent.join(format!("{name}.log")))
}
