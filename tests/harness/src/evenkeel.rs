//! Our own binary, built when needed and run against a control plane. Writes: cargo's target directory, a process.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::control_plane::ControlPlane;
use crate::progress::Progress;
use crate::random;
use crate::supervise::{Janitor, Supervised};
use crate::wait::eventually;

/// How long `evenkeel run` may take until it is ready: a second, and much longer beside builds.
const READY_DEADLINE: Duration = Duration::from_secs(60);

/// How long a build may take before it is told: one with nothing to do is quicker.
const SILENCE: Duration = Duration::from_secs(2);

/// Pause between two looks at the build.
const INTERVAL: Duration = Duration::from_millis(20);

static BINARY: Mutex<Option<PathBuf>> = Mutex::new(None);

/// The workspace's `evenkeel` program: `EVENKEEL_BIN` if set, otherwise built by cargo (quick when nothing changed; once per process).
///
/// # Errors
/// When `EVENKEEL_BIN` names no file, or the build fails: with the compiler's errors.
pub fn evenkeel_binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("EVENKEEL_BIN").filter(|value| !value.is_empty()) {
        let path = PathBuf::from(path);
        ensure!(
            path.is_file(),
            "EVENKEEL_BIN is {}: there is no such file; name the program, or unset it to have it built",
            path.display()
        );
        return Ok(path);
    }
    let mut known = BINARY
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(path) = &*known {
        return Ok(path.clone());
    }
    let path = build(&[])?;
    *known = Some(path.clone());
    Ok(path)
}

/// The same as it is shipped: optimised, which takes minutes to build. For benches.
///
/// # Errors
/// When the build fails: with the compiler's errors.
pub fn evenkeel_release_binary() -> Result<PathBuf> {
    build(&["--release"])
}

fn build(profile: &[&str]) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let janitor = Arc::new(Janitor::start()?);
    let output = janitor.directory("cargo", None)?.join("output");
    let foreign = std::env::vars_os()
        .map(|(variable, _)| variable)
        .filter(|variable| is_of_this_package(variable));
    let mut build = Supervised::builder("env")
        .args(foreign.flat_map(|variable| ["-u".into(), variable]))
        .arg(cargo)
        // The whole workspace is selected because its features then are those that its tests are built with: libraries are not
        // built a second time.
        .args(["build", "--workspace", "--bin", "evenkeel"])
        .args(profile)
        .args(["--message-format", "json-render-diagnostics"])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."))
        .log_file(&output)
        .janitor(janitor)
        .spawn()?;
    let started = Instant::now();
    let mut task = None;
    let status = loop {
        if let Some(status) = build.try_wait()? {
            break status;
        }
        if started.elapsed() >= SILENCE {
            let task = task.get_or_insert_with(|| Progress::new().task("building evenkeel", None));
            let text = std::fs::read_to_string(&output)?;
            let crates = text.matches("   Compiling ").count();
            task.at(crates as u64, &format!("{crates} crates"));
        }
        sleep(INTERVAL);
    };
    if !status.success() {
        let text = std::fs::read_to_string(&output)?;
        let errors: Vec<_> = text.lines().filter(|line| !line.starts_with('{')).collect();
        bail!("cannot build evenkeel:\n{}", errors.join("\n"));
    }
    if let Some(task) = task {
        task.done();
    }
    executable(&std::fs::read_to_string(&output)?)
        .context("cargo built evenkeel but did not say where it is")
}

/// Whether cargo set a variable for the package whose test or program this is. Build scripts look at some of them: left in place
/// they would have ring, and all that stands on it, built anew in turn for us and for whoever calls cargo from a shell.
fn is_of_this_package(variable: &OsStr) -> bool {
    let variable = variable.to_string_lossy();
    [
        "CARGO_MANIFEST_",
        "CARGO_PKG_",
        "CARGO_BIN_",
        "CARGO_CRATE_",
        "CARGO_PRIMARY_",
        "OUT_DIR",
    ]
    .iter()
    .any(|prefix| variable.starts_with(prefix))
}

/// The path of the program in cargo's messages, one JSON object a line.
fn executable(messages: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == "evenkeel")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
}

/// Our binary, as a process.
#[derive(Debug)]
pub struct Evenkeel;

impl Evenkeel {
    /// Starts `evenkeel run --kubeconfig ADMIN ARGS…`, logging into the control plane's log directory. With `admin`, the
    /// address that `args` have it listen on for health and metrics, waits until `/readyz` there says 200.
    ///
    /// # Errors
    /// When it cannot be built or started, ends early or is not ready in time: with the end of its log.
    pub async fn run<S: AsRef<OsStr>>(
        plane: &ControlPlane,
        args: impl IntoIterator<Item = S>,
        admin: Option<SocketAddr>,
    ) -> Result<Supervised> {
        Self::run_as(plane.kubeconfig(), plane.log_dir(), args, admin).await
    }

    /// The same with another user's kubeconfig and log directory.
    ///
    /// # Errors
    /// As [`Evenkeel::run`].
    pub async fn run_as<S: AsRef<OsStr>>(
        kubeconfig: &Path,
        log_dir: &Path,
        args: impl IntoIterator<Item = S>,
        admin: Option<SocketAddr>,
    ) -> Result<Supervised> {
        Self::run_in(kubeconfig, log_dir, &[], args, admin).await
    }

    /// The same with more in its environment, such as the credentials of a cloud.
    ///
    /// # Errors
    /// As [`Evenkeel::run`].
    pub async fn run_in<S: AsRef<OsStr>>(
        kubeconfig: &Path,
        log_dir: &Path,
        environment: &[(String, String)],
        args: impl IntoIterator<Item = S>,
        admin: Option<SocketAddr>,
    ) -> Result<Supervised> {
        let binary = tokio::task::spawn_blocking(evenkeel_binary).await??;
        let log = log_dir.join(format!("evenkeel-{}.log", random::hex(3)));
        let builder = Supervised::builder(binary)
            .arg("run")
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .args(args)
            .log_file(log);
        let mut process = environment
            .iter()
            .fold(builder, |builder, (name, value)| builder.env(name, value))
            .spawn()?;
        if let Some(admin) = admin {
            await_ready(&mut process, admin).await?;
        }
        Ok(process)
    }
}

async fn await_ready(process: &mut Supervised, admin: SocketAddr) -> Result<()> {
    let process = std::cell::RefCell::new(process);
    let ready = eventually("evenkeel to be ready", READY_DEADLINE, || async {
        if let Err(error) = process.borrow_mut().check() {
            return Ok(Err(error));
        }
        let status = get_status(admin, "/readyz").await?;
        ensure!(status == 200, "/readyz says {status}");
        Ok(Ok(()))
    })
    .await;
    let process = process.into_inner();
    ready.with_context(|| format!("the end of evenkeel's log:\n{}", process.log_tail(15)))?
}

/// The status of a GET without anything around it.
async fn get_status(address: SocketAddr, path: &str) -> Result<u16> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(64 * 1024).read_to_end(&mut answer).await?;
    let text = String::from_utf8_lossy(&answer);
    let status = text
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3))
        .and_then(|code| code.parse().ok());
    status.with_context(|| format!("{address} does not speak HTTP"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_found_among_cargos_messages() {
        let messages = r#"
            {"reason":"compiler-artifact","target":{"name":"evenkeel","kind":["lib"]},"executable":null}
            {"reason":"compiler-artifact","target":{"name":"other"},"executable":"/t/debug/other"}
            {"reason":"compiler-artifact","target":{"name":"evenkeel","kind":["bin"]},"executable":"/t/debug/evenkeel"}
            {"reason":"build-finished","success":true}"#;
        assert_eq!(
            executable(messages),
            Some(PathBuf::from("/t/debug/evenkeel"))
        );
        assert_eq!(executable("{}"), None);
    }

    #[tokio::test]
    async fn the_status_is_read() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let length = stream.read(&mut request).await.unwrap();
            stream
                .write_all(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
                .await
                .unwrap();
            String::from_utf8_lossy(&request[..length]).into_owned()
        });
        assert_eq!(get_status(address, "/readyz").await.unwrap(), 503);
        assert!(
            server
                .await
                .unwrap()
                .starts_with("GET /readyz HTTP/1.1\r\n")
        );
    }
}
