//! `evenkeel run` by itself, with the data plane that it starts. Reads a socket; writes signals.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use evenkeel_harness::control_plane::ControlPlane;
use evenkeel_harness::nodes::http_get;
use evenkeel_harness::ports::HeldPort;
use evenkeel_harness::supervise::Janitor;
use serde_json::Value;
use tokio::net::UnixStream;

/// Addresses that no other data plane on this machine hands out at the same time.
fn pool() -> String {
    let process = std::process::id();
    format!("127.{}.{}.0/24", 192 + process % 62, process / 62 % 256)
}

/// Where one `evenkeel run` is at home.
#[derive(Debug)]
pub struct Home {
    /// The state of its data plane.
    pub directory: PathBuf,
    /// The socket of its data plane.
    pub socket: PathBuf,
    /// The pool of its data plane.
    pub pool: String,
    /// Where it serves health and metrics.
    pub admin: SocketAddr,
    /// Its arguments.
    pub args: Vec<String>,
    /// Of `admin`.
    _port: HeldPort,
}

impl Home {
    /// A home in the directory of a control plane.
    ///
    /// # Errors
    /// When no port is left.
    pub fn new(plane: &ControlPlane) -> Result<Self> {
        let directory = plane.directory().join("alone");
        let (socket, pool) = (directory.join("dataplane.sock"), pool());
        let mut port = HeldPort::new().context("no free port on 127.0.0.1")?;
        let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, port.port()));
        port.hand_over();
        let pairs = [
            ("--provider", "local".to_owned()),
            ("--listen", admin.to_string()),
            ("--local-socket", socket.display().to_string()),
            ("--local-state-dir", directory.display().to_string()),
            ("--local-pool", pool.clone()),
        ];
        let args = pairs
            .into_iter()
            .flat_map(|(flag, value)| [flag.to_owned(), value])
            .collect();
        Ok(Self {
            directory,
            socket,
            pool,
            admin,
            args,
            _port: port,
        })
    }
}

/// A data plane that is no child of ours. The janitor ends it, should we not come to it.
#[derive(Debug)]
pub struct DataPlane {
    /// Its process id.
    pub pid: u64,
    /// Its version, with the commit.
    pub version: String,
    socket: PathBuf,
}

impl DataPlane {
    /// The one that answers on a socket.
    ///
    /// # Errors
    /// When none does.
    pub async fn find(socket: &Path, janitor: &Janitor) -> Result<Self> {
        let stream = UnixStream::connect(socket).await?;
        let answer = http_get(stream, "dataplane", "/v1/health").await?;
        let health: Value = serde_json::from_str(&answer.body)?;
        let pid = health["pid"].as_u64().context("no pid")?;
        let version = health["version"].as_str().context("no version")?;
        let found = Self {
            pid,
            version: version.to_owned(),
            socket: socket.to_owned(),
        };
        janitor.clean_up(["sh", "-c", &found.kill_command()])?;
        Ok(found)
    }

    /// Ends the process if it is still the one that was found.
    fn kill_command(&self) -> String {
        let (pid, socket) = (self.pid, self.socket.display());
        format!(
            "! tr '\\0' ' ' </proc/{pid}/cmdline 2>/dev/null | grep -qF '{socket}' || kill -KILL {pid}"
        )
    }

    /// Kills it.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub fn kill(&self) -> Result<()> {
        let status = Command::new("sh")
            .args(["-c", &self.kill_command()])
            .status()?;
        ensure!(status.success(), "{status}");
        Ok(())
    }
}
