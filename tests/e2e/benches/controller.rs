//! What the controller costs: size of the binary, start to first reconcile, memory and API writes with many Services and
//! nodes. Printed, never asserted as times: machines differ. Run with `cargo bench -p evenkeel-e2e --bench controller`;
//! `EVENKEEL_BENCH_SERVICES` and `EVENKEEL_BENCH_NODES` change the scale (1,000 each).
#![expect(clippy::print_stdout, reason = "printing figures is the purpose")]

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use evenkeel_harness::{
    control_plane::{ControlPlane, Options},
    evenkeel::evenkeel_release_binary,
    nodes::http_get,
    supervise::Supervised,
    wait::eventually,
};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::core::v1::{Node, Service};
use kube::{
    Api, ResourceExt as _,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use serde_json::json;
use tokio::net::{TcpStream, UnixStream};

const LIMIT: Duration = Duration::from_secs(900);

fn main() -> Result<()> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(bench())
}

fn scale(variable: &str) -> usize {
    std::env::var(variable)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(1000)
}

async fn bench() -> Result<()> {
    let (services, nodes) = (
        scale("EVENKEEL_BENCH_SERVICES"),
        scale("EVENKEEL_BENCH_NODES"),
    );
    let binary = evenkeel_release_binary()?;
    let size = std::fs::metadata(&binary)?.len();
    row(
        "release binary",
        format!("{:.1} MB (goal: under 20)", size as f64 / 1e6),
    );

    let plane = ControlPlane::start(Options {
        controller_manager: false,
        node_port_range: Some("1024-32767".to_owned()),
        ..Options::default()
    })
    .await?;
    create_nodes(&plane, nodes).await?;
    create_services(&plane, services).await?;

    let directory = plane.directory().join("bench");
    std::fs::create_dir_all(&directory)?;
    let socket = directory.join("dataplane.sock");
    let state = directory.join("state");
    let data_plane = Supervised::builder(&binary)
        .arg("dataplane")
        .arg("--socket")
        .arg(&socket)
        .arg("--state-dir")
        .arg(&state)
        .args(["--pool", "127.77.0.0/18"])
        .log_file(plane.log_dir().join("bench-dataplane.log"))
        .spawn()?;
    eventually("the data plane", Duration::from_secs(20), || async {
        Ok(UnixStream::connect(&socket).await?)
    })
    .await?;

    let begin = Instant::now();
    let run = Run::start(&binary, &plane, &socket, &state)?;
    run.until("the first Service to be served", 1).await?;
    row(
        "start to first Service served",
        format!("{:.2} s", begin.elapsed().as_secs_f64()),
    );
    run.until("all Services to be served", services).await?;
    row(
        &format!("{services} Services on {nodes} nodes served after"),
        format!("{:.1} s", begin.elapsed().as_secs_f64()),
    );
    run.memory("evenkeel run, first start")?;
    row(
        "memory of the data plane",
        memory(data_plane.pid())?.to_string(),
    );
    run.cpu("CPU of evenkeel run")?;
    let before = versions(&plane).await?;
    run.stop()?;

    let begin = Instant::now();
    let run = Run::start(&binary, &plane, &socket, &state)?;
    run.until("the first reconcile after a restart", 1).await?;
    row(
        "restart to first reconcile",
        format!("{:.2} s (goal: under 1)", begin.elapsed().as_secs_f64()),
    );
    run.until("all reconciles after a restart", services)
        .await?;
    row(
        &format!("restart to all {services} reconciled"),
        format!("{:.1} s", begin.elapsed().as_secs_f64()),
    );
    run.memory("evenkeel run, after a restart (goal: under 48 MiB)")?;
    run.cpu("CPU of evenkeel run after a restart")?;
    let after = versions(&plane).await?;
    let written = before
        .iter()
        .filter(|(name, version)| after.get(*name) != Some(version))
        .count();
    row("Services written by the restart", written.to_string());
    run.stop()?;
    data_plane.stop()?;
    Ok(())
}

fn row(what: &str, figure: String) {
    println!("{what:<55} {figure}");
}

async fn create_nodes(plane: &ControlPlane, count: usize) -> Result<()> {
    let api: Api<Node> = Api::all(plane.client());
    stream::iter(0..count)
        .map(|n| {
            let api = api.clone();
            async move {
                let name = format!("node-{n:04}");
                let node = json!({"metadata": {"name": name}, "spec": {"providerID": format!("evenkeel://{name}")}});
                api.create(&PostParams::default(), &serde_json::from_value(node)?).await?;
                // Nobody listens there: the figures are the controller's, not the traffic's.
                let address = Ipv4Addr::new(127, 90, (n / 250) as u8, (n % 250 + 1) as u8);
                let status = json!({"status": {
                    "addresses": [{"type": "InternalIP", "address": address.to_string()}],
                    "conditions": [{"type": "Ready", "status": "True"}],
                }});
                api.patch_status(&name, &PatchParams::default(), &Patch::Merge(status)).await?;
                anyhow::Ok(())
            }
        })
        .buffer_unordered(32)
        .try_collect()
        .await
}

async fn create_services(plane: &ControlPlane, count: usize) -> Result<()> {
    let api: Api<Service> = Api::namespaced(plane.client(), "default");
    stream::iter(0..count)
        .map(|n| {
            let api = api.clone();
            async move {
                let service = json!({
                    "metadata": {"name": format!("web-{n:04}")},
                    "spec": {
                        "type": "LoadBalancer",
                        "loadBalancerClass": "evenkeel.dev/local",
                        "selector": {"app": "web"},
                        "ports": [{"port": 8080}],
                    },
                });
                api.create(&PostParams::default(), &serde_json::from_value(service)?)
                    .await?;
                anyhow::Ok(())
            }
        })
        .buffer_unordered(32)
        .try_collect()
        .await
}

/// Resource versions by name: what was written differs.
async fn versions(plane: &ControlPlane) -> Result<BTreeMap<String, Option<String>>> {
    let api: Api<Service> = Api::namespaced(plane.client(), "default");
    let all = api.list(&ListParams::default()).await?;
    Ok(all
        .iter()
        .map(|service| (service.name_any(), service.resource_version()))
        .collect())
}

/// A running controller.
struct Run {
    process: Supervised,
    admin: SocketAddr,
}

impl Run {
    fn start(binary: &Path, plane: &ControlPlane, socket: &Path, state: &Path) -> Result<Self> {
        let admin = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let process = Supervised::builder(binary)
            .args([
                "run",
                "--provider",
                "local",
                "--local-start-dataplane",
                "never",
            ])
            .arg("--kubeconfig")
            .arg(plane.kubeconfig())
            .arg("--local-socket")
            .arg(socket)
            .arg("--local-state-dir")
            .arg(state)
            .args(["--listen", &admin.to_string()])
            .log_file(plane.log_dir().join("bench-evenkeel.log"))
            .spawn()?;
        Ok(Self { process, admin })
    }

    /// Waits until the controller has reconciled this many Services without a failure.
    async fn until(&self, what: &str, count: usize) -> Result<()> {
        eventually(what, LIMIT, || async {
            let stream = TcpStream::connect(self.admin).await?;
            let metrics = http_get(stream, "evenkeel", "/metrics").await?.body;
            let done: f64 = metrics
                .lines()
                .filter(|line| line.starts_with("evenkeel_reconcile_total{"))
                .filter(|line| line.contains("result=\"ok\"") || line.contains("result=\"noop\""))
                .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
                .sum();
            ensure!(done as usize >= count, "{done} of {count}");
            Ok(())
        })
        .await
        .with_context(|| self.process.log_tail(20))
    }

    fn memory(&self, what: &str) -> Result<()> {
        row(
            &format!("memory of {what}"),
            memory(self.process.pid())?.to_string(),
        );
        Ok(())
    }

    fn cpu(&self, what: &str) -> Result<()> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.pid()))?;
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .context("no stat")?
            .split_whitespace()
            .collect();
        let ticks: f64 = fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
        row(what, format!("{:.1} s", ticks / 100.0));
        Ok(())
    }

    fn stop(self) -> Result<()> {
        self.process.stop()?;
        Ok(())
    }
}

/// Resident memory of a process.
struct Memory {
    now: String,
    peak: String,
}

impl std::fmt::Display for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} now, {} peak", self.now, self.peak)
    }
}

fn memory(pid: u32) -> Result<Memory> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let mib = |key: &str| {
        let line = status.lines().find(|line| line.starts_with(key));
        let kib: f64 = line
            .and_then(|l| l.split_whitespace().nth(1)?.parse().ok())
            .unwrap_or(f64::NAN);
        format!("{:.1} MiB", kib / 1024.0)
    };
    Ok(Memory {
        now: mib("VmRSS:"),
        peak: mib("VmHWM:"),
    })
}
