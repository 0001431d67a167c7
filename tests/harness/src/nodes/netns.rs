//! Network namespaces without a helper process. Reads and Writes: the kernel's network, through `ip` and `setns`.
//!
//! A socket belongs for ever to the namespace of the thread that made it. So a short-lived thread enters the
//! namespace, makes the socket and hands it out; whoever serves or dials on it may stand anywhere. A thread that
//! entered a namespace never comes back to a pool: it ends, and nobody runs in the wrong network by accident.

use std::io::{self, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};

/// Where `ip netns` keeps its namespaces.
const FOLDER: &str = "/run/netns";

/// Where sockets are made: in the network of this process, or in a named namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Here,
    Netns(String),
}

impl Place {
    /// Runs `work` in a thread of its own that stands in this place.
    ///
    /// # Errors
    /// When the namespace is gone or may not be entered, and the errors of `work`.
    pub(crate) fn run<T, F>(&self, work: F) -> io::Result<T>
    where
        T: Send + 'static,
        F: FnOnce() -> io::Result<T> + Send + 'static,
    {
        let Self::Netns(name) = self else {
            return work();
        };
        let path = netns_path(name);
        let thread = std::thread::Builder::new()
            .name("netns".into())
            .spawn(move || {
                let namespace = std::fs::File::open(&path)?;
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
                work()
            })?;
        thread
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the thread in the namespace panicked")))
    }

    /// A TCP listener of this place, ready for this runtime.
    pub(crate) fn listen(&self, address: SocketAddr) -> io::Result<TcpListener> {
        let listener = self.run(move || std::net::TcpListener::bind(address))?;
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener)
    }

    /// A UDP socket of this place, ready for this runtime.
    pub(crate) fn udp(&self, address: SocketAddr) -> io::Result<UdpSocket> {
        let socket = self.run(move || std::net::UdpSocket::bind(address))?;
        socket.set_nonblocking(true)?;
        UdpSocket::from_std(socket)
    }

    /// Dials from this place, from the given source address if there is one. Sets no deadline: the caller does.
    pub(crate) async fn connect(
        &self,
        to: SocketAddr,
        source: Option<IpAddr>,
    ) -> io::Result<TcpStream> {
        let socket = self.run(move || {
            if to.is_ipv4() {
                TcpSocket::new_v4()
            } else {
                TcpSocket::new_v6()
            }
        })?;
        if let Some(source) = source {
            socket.bind(SocketAddr::new(source, 0))?;
        }
        socket.connect(to).await
    }

    /// A command that will run in this place.
    pub(crate) fn command(&self, program: &Path) -> Command {
        match self {
            Self::Here => Command::new(program),
            Self::Netns(name) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", name]).arg(program);
                command
            }
        }
    }

    /// Sets a sysctl of this place; `key` is its path below `/proc/sys`, for example `net/ipv4/ip_forward`.
    pub(crate) fn set_sysctl(&self, key: &str, value: &str) -> anyhow::Result<()> {
        let path = Path::new("/proc/sys").join(key);
        let (file, text) = (path.clone(), value.to_owned());
        self.run(move || std::fs::write(file, text))
            .with_context(|| {
                format!(
                    "cannot set {} to {value} in a network namespace",
                    path.display()
                )
            })
    }
}

fn netns_path(name: &str) -> PathBuf {
    Path::new(FOLDER).join(name)
}

/// Runs many `ip` commands with one process; `netns` is where, `None` is the network of this process.
///
/// # Errors
/// With the text of `ip`, which names the line that failed. The lines before it have taken effect.
pub(crate) fn ip(netns: Option<&str>, lines: &[String]) -> anyhow::Result<()> {
    let mut command = Command::new("ip");
    if let Some(name) = netns {
        command.args(["-n", name]);
    }
    command
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .context("cannot run `ip`; install iproute2")?;
    let script = lines.join("\n") + "\n";
    child
        .stdin
        .take()
        .expect("stdin is piped")
        .write_all(script.as_bytes())?;
    let output = child.wait_with_output()?;
    if !output.status.success() {
        let what = String::from_utf8_lossy(&output.stderr);
        bail!(
            "`ip{}` failed: {}\n{script}",
            netns.map(|n| format!(" -n {n}")).unwrap_or_default(),
            what.trim()
        );
    }
    Ok(())
}

/// Whether the **namespaces** form of the pool works here: as root, or inside `unshare -Urnm` (see [`crate::nodes`]).
///
/// Tries it: makes a namespace with a veth pair and lists its nftables rules, then takes it away.
///
/// # Errors
/// Says what is missing and what to do about it, in one line.
pub fn namespaces_possible() -> Result<(), String> {
    if cfg!(not(target_os = "linux")) {
        return Err("network namespaces are a feature of Linux".into());
    }
    for (program, argument, package) in [("ip", "-V", "iproute2"), ("nft", "-v", "nftables")] {
        let found = Command::new(program)
            .arg(argument)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if !found.is_ok_and(|status| status.success()) {
            return Err(format!(
                "the program `{program}` is missing; install the package {package}"
            ));
        }
    }
    let name = format!("ek{}-try", super::random_tag());
    let tried = try_namespace(&name);
    let _ = Command::new("ip")
        .args(["netns", "delete", &name])
        .stderr(Stdio::null())
        .status();
    tried.map_err(|error| {
        let cause = format!("{error:#}").lines().next().unwrap_or_default().to_owned();
        format!(
            "network namespaces cannot be made ({cause}); run as root or inside `unshare -Urnm sh -c 'mount -t tmpfs tmpfs /run && ip link set lo up && exec \"$@\"' sh COMMAND`"
        )
    })
}

/// For tests: whether namespaces are possible; if not, says so in one line by the test's name, also when output is captured.
pub fn namespaces_or_skip(test: &str) -> bool {
    let Err(reason) = namespaces_possible() else {
        return true;
    };
    // Not `eprintln!`, which the test runner shows only for tests that fail.
    let _ = writeln!(io::stderr(), "SKIPPED (needs namespaces): {test}: {reason}");
    false
}

fn try_namespace(name: &str) -> anyhow::Result<()> {
    ip(None, &[format!("netns add {name}")])?;
    ip(
        Some(name),
        &[
            "link set lo up".into(),
            "link add name try0 type veth peer name try1".into(),
        ],
    )?;
    let place = Place::Netns(name.to_owned());
    place.set_sysctl("net/ipv4/ip_forward", "1")?;
    let nft = place
        .command(Path::new("nft"))
        .args(["list", "tables"])
        .output()
        .context("cannot run `ip netns exec`")?;
    if !nft.status.success() {
        bail!(
            "nft in a namespace: {}",
            String::from_utf8_lossy(&nft.stderr).trim()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn sockets_belong_to_the_namespace_they_were_made_in() {
        if !namespaces_or_skip("sockets_belong_to_the_namespace_they_were_made_in") {
            return;
        }
        let name = format!("ek{}-s", crate::nodes::random_tag());
        ip(None, &[format!("netns add {name}")]).unwrap();
        ip(Some(&name), &["link set lo up".into()]).unwrap();
        let place = Place::Netns(name.clone());
        let listener = place.listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let inside = place.connect(address, None).await;
        let outside = Place::Here.connect(address, None).await;
        ip(None, &[format!("netns delete {name}")]).unwrap();
        assert!(inside.is_ok(), "{inside:?}");
        assert!(outside.is_err(), "reached a listener of another namespace");
        assert!(
            place.udp("127.0.0.1:0".parse().unwrap()).is_err(),
            "entered a deleted namespace"
        );
    }
}
