//! A target that has vanished with its machine, on a network of the test's own: it does not even refuse.

use std::{
    env,
    io::{Write as _, stderr},
    process::Command,
};

use super::*;

/// Set where the network is.
const INSIDE: &str = "EVENKEEL_TEST_INSIDE";

/// Behind the interface is nobody, which is known soon.
const NETWORK: &str = r#"
set -e
ip link set lo up
ip link add far type veth peer name end
ip link set end up
ip link set far up
ip address add 198.51.100.1/24 dev far
ip address add 2001:db8::1/64 dev far nodad
echo 10 > /proc/sys/net/ipv4/neigh/far/retrans_time_ms
echo 10 > /proc/sys/net/ipv6/neigh/far/retrans_time_ms
exec "$@"
"#;

/// Something in a network of its own.
fn inside() -> Command {
    let mut command = Command::new("unshare");
    command.arg("--net");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["sh", "-c", NETWORK, "sh"]);
    command
}

/// Runs the test of this name where the network is, if there can be one.
fn run_inside(test: &str) {
    match inside().arg("true").output() {
        Ok(tried) if tried.status.success() => {}
        tried => {
            let reason = match tried {
                Ok(tried) => String::from_utf8_lossy(&tried.stderr).trim().to_owned(),
                Err(error) => error.to_string(),
            };
            // Not `eprintln!`, which the test runner shows only for tests that fail.
            let _ = writeln!(stderr(), "SKIPPED (needs namespaces): {test}: {reason}");
            return;
        }
    }
    let output = inside()
        .arg(env::current_exe().expect("this binary"))
        .args([test, "--exact", "--nocapture"])
        .env(INSIDE, "yes")
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("1 passed"), "{said}");
}

#[test]
fn flows_leave_a_machine_that_cannot_be_reached() {
    if env::var_os(INSIDE).is_none() {
        return run_inside("udp::unreachable::flows_leave_a_machine_that_cannot_be_reached");
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        for gone in ["198.51.100.9:9", "[2001:db8::9]:9"] {
            leaves(gone.parse().expect("an address")).await;
        }
    });
}

async fn leaves(gone: SocketAddr) {
    let (_directory, plane, address) = plane().await;
    let server = Echo::start("a").await;
    let mut both = set(&[&server]);
    both.targets.push(Target {
        node: "gone".into(),
        address: gone.ip(),
        port: gone.port(),
    });
    let front = plane.client.expose(both, udp(free_port(address))).await;
    // Spread evenly, one of them meets the one that is gone.
    for _ in 0..2 {
        assert_eq!(Asker::new(front).await.ask().await, "a");
    }
    let failures = counted(&plane, "connect_failures_total", front).await;
    assert!(failures > 0, "{gone}");
    plane.stop().await;
}
