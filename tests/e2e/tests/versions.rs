//! `evenkeel run` meets a data plane of another version: it replaces an older one, under a connection, and leaves a newer one.
//!
//! The other versions are copies of the program in which the digits of its version are others, and nothing else.

use std::fs::Permissions;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use evenkeel_e2e::alone::{DataPlane, Home};
use evenkeel_e2e::look::{LIMIT, ingress};
use evenkeel_harness::control_plane::{ControlPlane, Options};
use evenkeel_harness::evenkeel::{Evenkeel, evenkeel_binary};
use evenkeel_harness::nodes::{Nodes, NodesOptions, Origin};
use evenkeel_harness::supervise::{Janitor, Supervised};
use evenkeel_harness::wait::eventually;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::Api;
use kube::api::PostParams;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

const NAMESPACE: &str = "default";
const PORT: u16 = 8080;

#[tokio::test(flavor = "multi_thread")]
async fn an_older_data_plane_is_replaced_under_a_connection_and_a_newer_one_is_left() -> Result<()>
{
    let plane = ControlPlane::start(Options::default()).await?;
    let nodes = Nodes::start(plane.kubeconfig(), NodesOptions::default()).await?;
    let janitor = Janitor::start()?;
    let home = Home::new(&plane)?;
    let program = tokio::task::spawn_blocking(evenkeel_binary).await??;
    deploy(&plane, &nodes).await?;

    let older = other_version(&janitor, &program, '0')?;
    let mut former = start(&home, &older, plane.log_dir()).await?;
    let as_it_is = ["--local-start-dataplane", "missing"].map(str::to_owned);
    let args = [&home.args[..], &as_it_is].concat();
    let controller = Evenkeel::run(&plane, &args, Some(home.admin)).await?;
    let front = address(&plane)
        .await
        .with_context(|| controller.log_tail(20))?;
    answers(&nodes, front).await?;
    let mut held = nodes.connect(&Origin::Here, front).await?;
    held.write_all(b"GET /stream HTTP/1.1\r\nHost: web\r\n\r\n")
        .await?;
    flows(&mut held).await?;
    controller.stop()?;
    let before = DataPlane::find(&home.socket, &janitor).await?;
    ensure!(before.pid == u64::from(former.pid()), "{before:?}");

    let controller = Evenkeel::run(&plane, &home.args, Some(home.admin)).await?;
    let ours = DataPlane::find(&home.socket, &janitor).await?;
    let log = controller.log_tail(50);
    ensure!(ours.pid != before.pid, "{ours:?}: {log}");
    ensure!(ours.version == version(&program)?, "{ours:?}");
    ensure!(log.contains("ours takes over"), "{log}");
    answers(&nodes, front).await.context("by ours")?;
    // Some may be on its way since before; so much comes only through the former one.
    for _ in 0..20 {
        flows(&mut held).await.context("through the former one")?;
    }
    ensure!(former.try_wait()?.is_none(), "it ended with a connection");
    drop(held);
    let status = former.wait(LIMIT)?;
    ensure!(status.success(), "{status}: {}", former.log_tail(20));
    controller.stop()?;
    ours.kill()?;

    let newer = other_version(&janitor, &program, '9')?;
    let future = start(&home, &newer, plane.log_dir()).await?;
    let controller = Evenkeel::run(&plane, &home.args, Some(home.admin)).await?;
    answers(&nodes, front).await.context("by the newer one")?;
    let left = DataPlane::find(&home.socket, &janitor).await?;
    let log = controller.log_tail(50);
    ensure!(left.pid == u64::from(future.pid()), "{left:?}: {log}");
    ensure!(log.contains("is left as it is"), "{log}");
    controller.stop()?;
    future.stop()?;
    nodes.stop().await
}

/// A pod and a Service for it.
async fn deploy(plane: &ControlPlane, nodes: &Nodes) -> Result<()> {
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "web", "labels": {"app": "web"}},
        "spec": {
            "nodeName": nodes.nodes()[0],
            "containers": [{"name": "web", "image": "web", "ports": [{"containerPort": PORT}]}],
        },
    }))?;
    let service: Service = serde_json::from_value(json!({
        "metadata": {"name": "shop"},
        "spec": {
            "type": "LoadBalancer",
            "loadBalancerClass": "evenkeel.dev/local",
            "selector": {"app": "web"},
            "ports": [{"port": PORT}],
        },
    }))?;
    let new = PostParams::default();
    let pods: Api<Pod> = Api::namespaced(plane.client(), NAMESPACE);
    pods.create(&new, &pod).await?;
    let services: Api<Service> = Api::namespaced(plane.client(), NAMESPACE);
    services.create(&new, &service).await?;
    Ok(())
}

async fn address(plane: &ControlPlane) -> Result<SocketAddr> {
    let services: Api<Service> = Api::namespaced(plane.client(), NAMESPACE);
    eventually("an address", LIMIT, || async {
        let entry = ingress(&services.get("shop").await?).pop();
        let ip = entry.and_then(|entry| entry.ip).context("there is none")?;
        Ok(SocketAddr::new(ip.parse::<IpAddr>()?, PORT))
    })
    .await
}

async fn answers(nodes: &Nodes, front: SocketAddr) -> Result<()> {
    eventually("an answer", LIMIT, || async {
        Ok(nodes.ask(&Origin::Here, front).await?)
    })
    .await
    .map(|_| ())
}

async fn flows(stream: &mut TcpStream) -> Result<()> {
    let mut line = [0; 256];
    let read = tokio::time::timeout(LIMIT, stream.read(&mut line)).await??;
    ensure!(read > 0, "the connection was closed");
    Ok(())
}

/// Starts a data plane at home, as whoever had that version did.
async fn start(home: &Home, program: &Path, logs: &Path) -> Result<Supervised> {
    std::fs::create_dir_all(&home.directory)?;
    let mut process = Supervised::builder(program)
        .arg("dataplane")
        .arg("--socket")
        .arg(&home.socket)
        .arg("--state-dir")
        .arg(&home.directory)
        .args(["--pool", &home.pool])
        .log_file(logs.join("other-version.log"))
        .spawn()?;
    let up = eventually("its socket", LIMIT, || async {
        UnixStream::connect(&home.socket).await?;
        Ok(())
    })
    .await;
    process.check()?;
    up?;
    Ok(process)
}

/// The version that a program says it has, with its commit.
fn version(program: &Path) -> Result<String> {
    let output = Command::new(program).arg("--version").output()?;
    let text = String::from_utf8(output.stdout)?;
    let version = text.trim().strip_prefix("evenkeel ");
    Ok(version.with_context(|| format!("{text:?}"))?.to_owned())
}

/// A copy of the program in whose version every digit is this one.
fn other_version(janitor: &Janitor, program: &Path, digit: char) -> Result<PathBuf> {
    let ours = version(program)?;
    let (numbers, commit) = ours.split_once(' ').context("no commit")?;
    let numbers = numbers.replace(|c: char| c.is_ascii_digit(), &digit.to_string());
    let other = format!("{numbers} {commit}");
    let copy = janitor.directory("version", None)?.join("evenkeel");
    let replaced = Command::new("sed")
        .env("LC_ALL", "C")
        .arg(format!("s/{ours}/{other}/g"))
        .arg(program)
        .stdout(std::fs::File::create(&copy)?)
        .status()?;
    ensure!(replaced.success(), "sed: {replaced}");
    std::fs::set_permissions(&copy, Permissions::from_mode(0o755))?;
    let told = version(&copy)?;
    ensure!(told == other && told != ours, "the copy says {told}");
    Ok(copy)
}
