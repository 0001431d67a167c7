//! A network of a test's own: `eth0` is the machine's interface, and a client is at its other end.
//!
//! The test runs itself again in new user, network, mount and process namespaces. When that ends, however it ends, nothing of
//! them is left.

use std::{
    collections::BTreeSet,
    env,
    fs::File,
    io::{self, BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpStream},
    os::fd::AsFd as _,
    process::{Child, Command, Output, Stdio},
    sync::mpsc::{self, Receiver},
    time::Duration,
};

use rustix::thread::{
    CapabilitySet, LinkNameSpaceType, capabilities, move_into_link_name_space, set_capabilities,
};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufStream};

use super::{Client, Talk, within};

/// Set where the test runs again.
const INSIDE: &str = "EVENKEEL_TEST_INSIDE";

/// The client's namespace.
const CLIENT: &str = "client";

const NAMESPACES: [&str; 3] = ["-Urnmpf", "--kill-child", "--mount-proc"];

/// Runs a test in a network of its own; its name is the whole one, with the module.
pub(super) fn in_a_network(test: &str, scenario: impl Future<Output = ()>) {
    if env::var(INSIDE).is_ok() {
        make();
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        return runtime.block_on(scenario);
    }
    let tried = Command::new("unshare")
        .args(NAMESPACES)
        .args(["ip", "link", "add", "try", "type", "veth"])
        .output();
    if let Some(reason) = refused(tried) {
        // Not `eprintln!`, which the test runner shows only for tests that fail.
        let _ = writeln!(io::stderr(), "SKIPPED (needs namespaces): {test}: {reason}");
        return;
    }
    let ran = Command::new("unshare")
        .args(NAMESPACES)
        // `ip netns` keeps its namespaces there.
        .args(["sh", "-c", "mount -t tmpfs tmpfs /run && exec \"$@\"", "sh"])
        .arg(env::current_exe().expect("this binary"))
        .args([test, "--exact", "--nocapture"])
        .env(INSIDE, "yes")
        .stdin(Stdio::null())
        .output()
        .expect("it was possible just now");
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&ran.stdout),
        String::from_utf8_lossy(&ran.stderr)
    );
    assert!(ran.status.success(), "{text}");
    assert!(
        text.contains("1 passed"),
        "no test is called {test}: {text}"
    );
}

fn refused(tried: io::Result<Output>) -> Option<String> {
    match tried {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Some(format!("unshare: {error}; install util-linux")),
    }
}

fn make() {
    ip("link set lo up");
    ip("link add eth0 type veth peer name far");
    ip("netns add client");
    ip("link set far netns client");
    ip("link set eth0 up");
    ip("address add 192.0.2.250/24 dev eth0");
    ip("address add 2001:db8::250/64 dev eth0 nodad");
    ip("-n client link set lo up");
    ip("-n client link set far up");
    ip("-n client address add 192.0.2.100/24 dev far");
    ip("-n client address add 2001:db8::100/64 dev far nodad");
}

/// Runs `ip`.
#[track_caller]
pub(super) fn ip(arguments: &str) -> Vec<u8> {
    let ran = Command::new("ip").args(arguments.split(' ')).output();
    let ran = ran.expect("iproute2");
    let error = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "ip {arguments}: {error}");
    ran.stdout
}

/// What `ip` tells of the addresses of an interface, without those that every link has.
#[track_caller]
fn told(interface: &str) -> Vec<Value> {
    let text = ip(&format!("-j address show dev {interface}"));
    let told: Value = serde_json::from_slice(&text).expect("JSON");
    let all = told[0]["addr_info"].as_array().expect("addresses");
    let global = all.iter().filter(|one| one["scope"] == "global");
    global.cloned().collect()
}

/// The addresses of an interface, with their prefixes.
#[track_caller]
pub(super) fn addresses(interface: &str) -> BTreeSet<String> {
    let told = told(interface).into_iter();
    told.map(|one| {
        let address = one["local"].as_str().expect("an address");
        format!("{address}/{}", one["prefixlen"])
    })
    .collect()
}

/// All that is told of one address.
#[track_caller]
pub(super) fn details(interface: &str, address: &str) -> Value {
    let found = told(interface)
        .into_iter()
        .find(|one| one["local"] == address);
    found.unwrap_or_else(|| panic!("{interface} has no {address}"))
}

/// Connects from the client's end.
pub(super) async fn open_from_client(front: SocketAddr) -> Talk {
    let connecting = tokio::task::spawn_blocking(move || {
        // A thread that has moved must end, and not be anybody else's.
        let thread = std::thread::spawn(move || {
            let namespace = File::open(format!("/run/netns/{CLIENT}"))?;
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
            TcpStream::connect_timeout(&front, Duration::from_secs(20))
        });
        thread.join().expect("no panic")
    });
    let stream = connecting.await.expect("no panic");
    let stream = stream.unwrap_or_else(|error| panic!("{front}: {error}"));
    stream.set_nonblocking(true).expect("a mode");
    let stream = tokio::net::TcpStream::from_std(stream).expect("a stream");
    let mut stream = BufStream::new(stream);
    let mut server = String::new();
    within("the server's name", stream.read_line(&mut server))
        .await
        .expect("a line");
    Talk {
        server: server.trim().to_owned(),
        stream,
    }
}

/// Asks for something, and says whether it was answered. Nobody has to be there.
pub(super) async fn ask_once(client: &Client, method: &str, path: &str, body: &[u8]) -> bool {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let asking = async {
        let mut stream = tokio::net::UnixStream::connect(&client.socket).await?;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: d\r\nconnection: close\r\nx-evenkeel-cluster: cluster-1\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(body).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        io::Result::Ok(answer)
    };
    let answer = within(path, asking).await.unwrap_or_default();
    if let Some(status) = answer.strip_prefix("HTTP/1.1 ") {
        assert!(status.starts_with('2'), "{method} {path}: {answer}");
    }
    !answer.is_empty()
}

/// Takes the right to change the network from this thread, and from those that it starts.
pub(in super::super) fn give_up_rights() {
    let mut sets = capabilities(None).expect("what we may");
    let kept = CapabilitySet::all() - CapabilitySet::NET_ADMIN;
    sets.effective &= kept;
    sets.permitted &= kept;
    sets.inheritable &= kept;
    set_capabilities(None, sets).expect("less is always allowed");
}

/// `ip monitor`, which writes down every address that comes or goes.
pub(super) struct Monitor {
    process: Child,
    lines: Receiver<String>,
}

impl Monitor {
    pub(super) fn start() -> Self {
        let mut process = Command::new("ip")
            .args(["-o", "monitor", "address"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("iproute2");
        let out = BufReader::new(process.stdout.take().expect("it is piped"));
        let (to, lines) = mpsc::channel();
        // It ends with the process.
        std::thread::spawn(move || {
            out.lines()
                .map_while(Result::ok)
                .try_for_each(|line| to.send(line))
        });
        let monitor = Self { process, lines };
        // It listens when it has heard of something.
        while monitor
            .lines
            .recv_timeout(Duration::from_millis(10))
            .is_err()
        {
            ip("address add 203.0.113.1/32 dev lo");
            ip("address del 203.0.113.1/32 dev lo");
        }
        monitor
    }

    /// What came and went on `eth0`.
    pub(super) fn end(mut self) -> Vec<String> {
        ip("address add 203.0.113.2/32 dev lo");
        let mut lines = Vec::new();
        loop {
            let line = self.lines.recv_timeout(Duration::from_secs(30));
            let line = line.expect("it hears of that");
            if line.contains("203.0.113.2") {
                break;
            }
            lines.push(line);
        }
        self.process.kill().expect("it runs");
        self.process.wait().expect("its end");
        lines.retain(|line| line.contains("eth0"));
        lines
    }
}
