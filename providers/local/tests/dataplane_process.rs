//! The data plane as a process of its own: killed without a word, and short of file descriptors.
//!
//! The process is this test binary again, told by a variable to be a data plane.

#![allow(unreachable_pub, reason = "the modules of a test are all private")]
#![allow(
    dead_code,
    reason = "the support is shared with another test binary, and each uses a part of it"
)]

use std::{
    env,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use evenkeel_local::{
    api::{Health, Info, Listener, ListenerPhase, Objects, failure},
    dataplane::serve,
};
use rustix::process::{Resource, Rlimit, setrlimit};
use tokio::net::UnixStream;

#[path = "dataplane/support.rs"]
mod support;
use support::*;

#[path = "dataplane_process/abuse.rs"]
mod abuse;
#[cfg(target_os = "linux")]
#[path = "dataplane_process/interfaces.rs"]
mod interfaces;
#[path = "dataplane_process/kill.rs"]
mod kill;
#[path = "dataplane_process/takeover.rs"]
mod takeover;

const DIRECTORY: &str = "EVENKEEL_TEST_DIRECTORY";
const POOL: &str = "EVENKEEL_TEST_POOL";
const FILES: &str = "EVENKEEL_TEST_FILES";
const CONNECTIONS: &str = "EVENKEEL_TEST_CONNECTIONS";
const TAKE_OVER: &str = "EVENKEEL_TEST_TAKE_OVER";
const UNPRIVILEGED: &str = "EVENKEEL_TEST_UNPRIVILEGED";

/// Not a test: what the child process runs.
#[test]
#[ignore = "it is the data plane that the other tests start"]
fn child() {
    let Ok(directory) = env::var(DIRECTORY) else {
        return;
    };
    if let Ok(files) = env::var(FILES) {
        let limit = Some(files.parse().expect("a number"));
        setrlimit(
            Resource::Nofile,
            Rlimit {
                current: limit,
                maximum: limit,
            },
        )
        .expect("a lower limit");
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
        let mut process = Self::spawn(directory, pool, &[(TAKE_OVER, "yes".to_owned())]);
        let (client, pid) = (process.client.clone(), process.child.id());
        until("the new one answers", async || {
            process.runs();
            // The old one says that it is busy when it is asked in the middle of it.
            let answer = client.get("/v1/health").await;
            (answer.status == 200 && answer.object::<Info>().pid == pid).then_some(())
        })
        .await;
        process
    }

    fn spawn(directory: &Path, pool: &str, variables: &[(&str, String)]) -> Self {
        let mut command = Command::new(env::current_exe().expect("this binary"));
        command
            .args(["child", "--exact", "--ignored", "--quiet"])
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        command
            .env(DIRECTORY, directory)
            .env(POOL, pool)
            .env_remove(FILES)
            .env_remove(CONNECTIONS)
            .env_remove(TAKE_OVER)
            .env_remove(UNPRIVILEGED)
            .envs(variables.iter().map(|(name, value)| (name, value)));
        let child = command.spawn().expect("a process");
        let client = Client {
            socket: directory.join("dataplane.sock"),
        };
        Self { child, client }
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
    let mut after: Objects = process.client.get("/v1/objects").await.object();
    assert_eq!(after.listeners[0].status.phase, ListenerPhase::Ready);
    after.listeners[0].status = before.listeners[0].status.clone();
    assert_eq!(after, before);
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
