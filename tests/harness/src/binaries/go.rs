//! Builds the programs from upstream's modules with the user's Go. Writes: the cache, Go's own caches.
//!
//! `go install k8s.io/kubernetes/cmd/...@version` does not work: that module's go.mod points at directories it does not
//! carry. So a module of our own (controlplane/go.mod, no Go source) replaces them and names the programs as tools.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::Tool;
use super::cache::Cache;
use super::version::{self, Kubernetes};
use crate::progress::Progress;
use crate::supervise::{Janitor, Supervised};

/// The oldest Go that builds them; stands in go.mod too.
const OLDEST_GO: (u32, u32) = (1, 26);

/// Pause between two looks at the build's output.
const INTERVAL: Duration = Duration::from_millis(200);

/// Builds `tools`, one after the other, into the cache. The caller holds the cache's lock.
pub(super) fn build(go: &Path, tools: &[Tool], cache: &Cache, progress: &Progress) -> Result<()> {
    check_version(go, tools)?;
    // In the cache, so that the programs can be renamed into their places; through a janitor, so that an
    // interrupted build leaves no hundreds of megabytes behind.
    let janitor = Arc::new(Janitor::start()?);
    let scratch = janitor.directory("build", Some(cache.directory().to_owned()))?;
    let kubernetes = cache.kubernetes();
    std::fs::write(scratch.join("go.mod"), kubernetes.go_mod())?;
    std::fs::write(scratch.join("go.sum"), kubernetes.go_sum())?;
    progress.note(&format!(
        "Kubernetes {} is built from upstream's modules, once (some minutes the first time); it is kept in {}",
        kubernetes.version(),
        cache.directory().display()
    ));
    for tool in tools {
        build_one(go, kubernetes, *tool, &scratch, &janitor, progress)?;
        cache.install(*tool, &scratch.join("out"))?;
    }
    Ok(())
}

fn build_one(
    go: &Path,
    kubernetes: Kubernetes,
    tool: Tool,
    scratch: &Path,
    janitor: &Arc<Janitor>,
    progress: &Progress,
) -> Result<()> {
    let name = tool.file_name();
    let log = scratch.join(format!("{name}.log"));
    let mut task = progress.task(format!("building {name}"), Some(expected_packages(tool)));
    let mut build = Supervised::builder(go)
        .args([
            "build",
            "-v",
            "-mod=readonly",
            "-trimpath",
            "-buildvcs=false",
        ])
        .args(["-ldflags", &linker_flags(kubernetes)])
        .args(["-o", "out", package(tool)])
        .env("CGO_ENABLED", "0")
        .env("GOFLAGS", "")
        .env("GOWORK", "off")
        .env("GOTOOLCHAIN", "local")
        .current_dir(scratch)
        .log_file(&log)
        .janitor(janitor.clone())
        .spawn()?;
    let status = loop {
        let output = std::fs::read_to_string(&log).unwrap_or_default();
        let downloads = output.matches("go: downloading ").count() as u64;
        let packages = output.lines().count() as u64 - downloads;
        let detail = match (packages, downloads) {
            (0, 0) => String::new(),
            (0, _) => format!("{downloads} modules downloaded"),
            _ => format!("{packages} packages compiled"),
        };
        task.at(packages, &detail);
        if let Some(status) = build.try_wait()? {
            break status;
        }
        sleep(INTERVAL);
    };
    if !status.success() {
        bail!(
            "cannot build {name} with `go build` ({status}); the end of its output:\n{}",
            build.log_tail(15)
        );
    }
    task.done();
    Ok(())
}

fn package(tool: Tool) -> &'static str {
    match tool {
        Tool::Etcd => "go.etcd.io/etcd/server/v3",
        Tool::ApiServer => "k8s.io/kubernetes/cmd/kube-apiserver",
        Tool::ControllerManager => "k8s.io/kubernetes/cmd/kube-controller-manager",
        Tool::Kubectl => "k8s.io/kubernetes/cmd/kubectl",
        Tool::KubeProxy => "k8s.io/kubernetes/cmd/kube-proxy",
    }
}

/// How many packages a build compiles that comes after those of the tools before it; only the bar depends on it.
fn expected_packages(tool: Tool) -> u64 {
    match tool {
        Tool::Etcd => 565,
        Tool::ApiServer => 1616,
        Tool::ControllerManager => 363,
        Tool::Kubectl => 193,
        Tool::KubeProxy => 42,
    }
}

/// Without the version in it the server calls itself v0.0.0, and clients stumble.
fn linker_flags(kubernetes: Kubernetes) -> String {
    let version = kubernetes.version();
    let (major, minor) = version::major_minor(version).unwrap_or_default();
    let set = |name: &str, value: &str| format!(" -X k8s.io/component-base/version.{name}={value}");
    format!(
        "-s -w{}{}{}{}",
        set("gitVersion", &format!("v{version}")),
        set("gitMajor", &major.to_string()),
        set("gitMinor", &minor.to_string()),
        set("gitTreeState", "clean"),
    )
}

/// One error for everything that may be wrong with Go.
fn check_version(go: &Path, tools: &[Tool]) -> Result<()> {
    let (major, minor) = OLDEST_GO;
    let names: Vec<_> = tools.iter().map(|tool| tool.file_name()).collect();
    let advice = format!(
        "{} must be built with Go {major}.{minor} or later: install it (https://go.dev/dl), \
         or set KUBEBUILDER_ASSETS to a directory that has these programs, \
         or set EVENKEEL_ENVTEST=1 to let upstream's ready ones be downloaded where they exist",
        names.join(", ")
    );
    let output = Command::new(go)
        .args(["env", "GOVERSION"])
        .env("GOTOOLCHAIN", "local")
        .current_dir("/")
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{advice}. `{}` does not run", go.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let found = text.trim().trim_start_matches("go");
    if version::major_minor(found).is_none_or(|version| version < OLDEST_GO) {
        bail!(
            "{advice}. `{} env GOVERSION` says {:?}",
            go.display(),
            text.trim()
        );
    }
    Ok(())
}
