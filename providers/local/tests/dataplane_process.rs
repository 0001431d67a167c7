//! The data plane as a process of its own: killed without a word, stopped, and short of file descriptors and disk.
//!
//! The process is this test binary again, told by a variable to be a data plane.

#![allow(unreachable_pub, reason = "the modules of a test are all private")]
#![allow(
    dead_code,
    reason = "the support is shared with another test binary, and each uses a part of it"
)]

use std::{
    env,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use evenkeel_local::{
    api::{Health, Info, Listener, ListenerPhase, Objects, failure},
    dataplane::serve,
};
use rustix::process::{Resource, Rlimit, Signal, setrlimit};
use tokio::{io::AsyncWriteExt, net::UnixStream};

#[path = "dataplane/support.rs"]
mod support;
use support::*;

#[path = "dataplane_process/abuse.rs"]
mod abuse;
#[path = "dataplane_process/disk.rs"]
mod disk;
#[cfg(target_os = "linux")]
#[path = "dataplane_process/interfaces.rs"]
mod interfaces;
#[path = "dataplane_process/kill.rs"]
mod kill;
#[path = "dataplane_process/mortal.rs"]
mod mortal;
#[path = "dataplane_process/stall.rs"]
mod stall;
#[path = "dataplane_process/takeover.rs"]
mod takeover;

const DIRECTORY: &str = "EVENKEEL_TEST_DIRECTORY";
const POOL: &str = "EVENKEEL_TEST_POOL";
const FILES: &str = "EVENKEEL_TEST_FILES";
const CONNECTIONS: &str = "EVENKEEL_TEST_CONNECTIONS";
const TAKE_OVER: &str = "EVENKEEL_TEST_TAKE_OVER";
const UNPRIVILEGED: &str = "EVENKEEL_TEST_UNPRIVILEGED";
const FILE_SIZE: &str = "EVENKEEL_TEST_FILE_SIZE";
const DIES: &str = "EVENKEEL_TEST_DIES";
const VARIABLES: [&str; 6] = [FILES, CONNECTIONS, TAKE_OVER, UNPRIVILEGED, FILE_SIZE, DIES];

/// Not a test: what the child process runs.
#[test]
#[ignore = "it is the data plane that the other tests start"]
fn child() {
    let Ok(directory) = env::var(DIRECTORY) else {
        return;
    };
    if let Ok(files) = env::var(FILES) {
        let limit = Some(files.parse().expect("a number"));
        let limit = Rlimit {
            current: limit,
            maximum: limit,
        };
        setrlimit(Resource::Nofile, limit).expect("a lower limit");
    }
    if let Ok(size) = env::var(FILE_SIZE) {
        disk::limit_files(size.parse().expect("a number"));
    }
    if let Ok(step) = env::var(DIES) {
        mortal::die_at(step);
    }
    let pools = env::var(POOL).expect("pools");
    // A comma is between pools, and so another sign is between the options of one.
    let pools: Vec<String> = pools
        .split(',')
        .map(|pool| pool.replace('|', ","))
        .collect();
    let pools: Vec<&str> = pools.iter().map(String::as_str).collect();
    let mut config = config(Path::new(&directory), &pools);
    #[cfg(target_os = "linux")]
    if env::var(UNPRIVILEGED).is_ok() {
        interfaces::give_up_rights();
    }
    let connections = env::var(CONNECTIONS).map(|most| most.parse().expect("a number"));
    config.max_connections = Some(connections.unwrap_or(10_000));
    config.bind_retry = Duration::from_millis(200);
    config.take_over = env::var(TAKE_OVER).is_ok();
    config.handover_grace = Duration::from_secs(60);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime
        .block_on(serve(config, std::future::pending()))
        .expect("a data plane");
}

/// A data plane in a process; killed when dropped.
struct Process {
    child: Child,
    client: Client,
}

impl Process {
    async fn start(directory: &Path, pool: &str, files: Option<u64>) -> Self {
        let files = files.map(|files| (FILES, files.to_string()));
        Self::start_with(directory, pool, files.as_slice()).await
    }

    /// Starts one with these variables of [`child`] set.
    async fn start_with(directory: &Path, pool: &str, variables: &[(&str, String)]) -> Self {
        let mut process = Self::spawn(directory, pool, variables);
        let socket = process.client.socket.clone();
        until("the API answers", async || {
            process.runs();
            UnixStream::connect(&socket).await.ok()
        })
        .await;
        process
    }

    /// Starts one that takes over, and waits until it has.
    async fn take_over(directory: &Path, pool: &str) -> Self {
        Self::take_over_with(directory, pool, &[]).await
    }

    /// The same with these variables of [`child`] set.
    async fn take_over_with(directory: &Path, pool: &str, variables: &[(&str, String)]) -> Self {
        let mut process = Self::spawn(directory, pool, &taking_over(variables));
        let pid = process.child.id();
        until("the new one answers", async || {
            process.runs();
            (process.answering().await? == pid).then_some(())
        })
        .await;
        process
    }

    /// The process that answers on the socket; None where it is busy or dies.
    async fn answering(&self) -> Option<u32> {
        let mut stream = UnixStream::connect(&self.client.socket).await.ok()?;
        let ask = b"GET /v1/health HTTP/1.1\r\nhost: dataplane\r\nconnection: close\r\n\r\n";
        stream.write_all(ask).await.ok()?;
        let (status, info) = kill::answer(&mut stream).await?;
        let info: Info = (status == 200).then(|| serde_json::from_value(info).ok())??;
        Some(info.pid)
    }

    fn spawn(directory: &Path, pool: &str, variables: &[(&str, String)]) -> Self {
        // A write past a limit is then an error and no signal.
        let mut command = Command::new("sh");
        command
            .args(["-c", "trap '' XFSZ && exec \"$@\"", "sh"])
            .arg(env::current_exe().expect("this binary"))
            .args(["child", "--exact", "--ignored", "--quiet"])
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        for name in VARIABLES {
            command.env_remove(name);
        }
        command
            .env(DIRECTORY, directory)
            .env(POOL, pool)
            .envs(variables.iter().map(|(name, value)| (name, value)));
        let child = command.spawn().expect("a process");
        let client = Client {
            socket: directory.join("dataplane.sock"),
        };
        Self { child, client }
    }

    /// Waits until it was killed.
    async fn died(&mut self) {
        let status = until("its death", async || {
            self.child.try_wait().expect("its state")
        })
        .await;
        assert_eq!(status.signal(), Some(Signal::KILL.as_raw()), "{status}");
    }

    fn runs(&mut self) {
        let ended = self.child.try_wait().expect("its state");
        assert_eq!(ended, None, "the data plane ended");
    }

    /// Waits until it has ended well by itself.
    async fn ended(&mut self) {
        let status = until("the old one's end", async || {
            self.child.try_wait().expect("its state")
        })
        .await;
        assert!(status.success(), "{status}");
    }

    /// Kills it without a word.
    fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The variables of a data plane that takes over.
fn taking_over<'a>(variables: &[(&'a str, String)]) -> Vec<(&'a str, String)> {
    let take_over = (TAKE_OVER, "yes".to_owned());
    variables.iter().cloned().chain([take_over]).collect()
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

#[tokio::test]
async fn a_killed_data_plane_comes_back_as_it_was() {
    let directory = tempfile::tempdir().expect("a directory");
    let address = address();
    let pool = address.to_string();
    let server = Server::start("a").await;
    let process = Process::start(directory.path(), &pool, None).await;
    let front = process
        .client
        .expose(backend_set(&[&server]), listener(free_port(address)))
        .await;
    let talk = Talk::open(front).await;
    let before: Objects = process.client.get("/v1/objects").await.object();
    let socket = process.client.socket.clone();
    process.kill();
    talk.closed().await;
    assert!(socket.exists(), "the dead one's socket is left behind");

    let process = Process::start(directory.path(), &pool, None).await;
    assert_same(&before, process.client.get("/v1/objects").await.object());
    assert!(Talk::open(front).await.works().await);
}

#[tokio::test]
async fn without_file_descriptors_clients_wait_and_are_served_later() {
    let directory = tempfile::tempdir().expect("a directory");
    let address = address();
    let server = Server::start("a").await;
    let process = Process::start(directory.path(), &address.to_string(), Some(64)).await;
    let client = &process.client;
    let front = client
        .expose(backend_set(&[&server]), listener(free_port(address)))
        .await;
    let limit = client.metric("evenkeel_dataplane_connections_limit").await;
    assert_eq!(limit, 16, "more was configured than 64 files allow");

    let mut api = client.connect().await;
    // Callers of the API who say nothing take the files away.
    let mut callers = Vec::new();
    for _ in 0..64 {
        callers.push(
            UnixStream::connect(&client.socket)
                .await
                .expect("the socket"),
        );
    }
    let mut talks = Vec::new();
    until("the shortage is told", async || {
        talks.push(tokio::spawn(Talk::open(front)));
        let listener: Listener = api.ask("GET", "/v1/listeners/listener", &[], vec![]).await.object();
        matches!(listener.status.phase, ListenerPhase::Failed { code, .. } if code == failure::TOO_MANY_FILES)
            .then_some(())
    })
    .await;
    drop(callers);
    for talk in talks {
        assert!(talk.await.expect("served in the end").works().await);
    }
    until("the listener is well again", async || {
        (client.listener("listener").await.status.phase == ListenerPhase::Ready).then_some(())
    })
    .await;
}
