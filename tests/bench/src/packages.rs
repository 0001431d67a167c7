//! HAProxy and nginx, as Debian packages them. Reads: PATH. Writes: the cache directory.
//!
//! What is installed is used; else the package is downloaded by apt and unpacked into the cache. Nothing is installed, nothing is
//! started as a service, and no right is needed.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};
use evenkeel_harness::{binaries::cache_root, progress::Progress};

/// HAProxy.
#[derive(Clone, Debug)]
pub struct HaProxy {
    /// The program.
    pub program: PathBuf,
    /// What it says its version is.
    pub version: String,
}

/// nginx with its stream module.
#[derive(Clone, Debug)]
pub struct Nginx {
    /// The program.
    pub program: PathBuf,
    /// The module, which Debian packages by itself.
    pub module: PathBuf,
    /// What it says its version is.
    pub version: String,
}

impl HaProxy {
    /// Finds or fetches it.
    ///
    /// # Errors
    /// When it cannot be had: says what to install.
    pub fn ensure(progress: &Progress) -> Result<Self> {
        let [program] = find(&["haproxy"], ["usr/sbin/haproxy"], progress)?;
        // "HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://haproxy.org/"
        let version = version(&program, "version ")?;
        Ok(Self { program, version })
    }
}

impl Nginx {
    /// Finds or fetches it.
    ///
    /// # Errors
    /// When it cannot be had: says what to install.
    pub fn ensure(progress: &Progress) -> Result<Self> {
        let files = [
            "usr/sbin/nginx",
            "usr/lib/nginx/modules/ngx_stream_module.so",
        ];
        let [program, module] = find(&["nginx", "libnginx-mod-stream"], files, progress)?;
        // "nginx version: nginx/1.22.1"
        let version = version(&program, "nginx/")?;
        Ok(Self {
            program,
            module,
            version,
        })
    }
}

/// The files of the packages: those that are installed, if all are, else from the cache, filled if need be.
fn find<const N: usize>(
    packages: &[&str],
    files: [&str; N],
    progress: &Progress,
) -> Result<[PathBuf; N]> {
    let below = |root: &Path| files.map(|file| root.join(file));
    let there = |paths: &[PathBuf; N]| paths.iter().all(|path| path.is_file());
    let installed = below(Path::new("/"));
    if there(&installed) {
        return Ok(installed);
    }
    let name = packages.join("+");
    let root = cache_root()?.join("packages");
    let cached = below(&root.join(&name));
    if there(&cached) {
        return Ok(cached);
    }
    let task = progress.task(
        format!("fetching the packages {}", packages.join(", ")),
        None,
    );
    fetch(packages, &root, &name).with_context(|| {
        let all = packages.join(" ");
        format!("{name} is not here and cannot be fetched: install it (apt-get install {all})")
    })?;
    task.done();
    ensure!(there(&cached), "the packages of {name} lack {files:?}");
    Ok(cached)
}

/// Downloads packages and unpacks them together; what stands under `name` is complete.
fn fetch(packages: &[&str], root: &Path, name: &str) -> Result<()> {
    std::fs::create_dir_all(root)
        .with_context(|| format!("cannot make the directory {}", root.display()))?;
    let work = tempfile::Builder::new()
        .prefix(".fetch-")
        .tempdir_in(root)?;
    let unpacked = work.path().join("unpacked");
    std::fs::create_dir(&unpacked)?;
    run(Command::new("apt-get")
        .args(["--quiet", "--quiet", "download"])
        .args(packages)
        .current_dir(work.path()))?;
    for entry in std::fs::read_dir(work.path())? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            run(Command::new("dpkg-deb").arg("-x").arg(&path).arg(&unpacked))?;
        }
    }
    let place = root.join(name);
    match std::fs::rename(&unpacked, &place) {
        Ok(()) => Ok(()),
        // Somebody else was quicker.
        Err(_) if place.is_dir() => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot make {}", place.display())),
    }
}

fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().display().to_string();
    let output = command
        .output()
        .with_context(|| format!("cannot run {program}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{program}: {}", said.trim());
    }
    Ok(())
}

/// The word after `before` in what the program says with `-v`.
fn version(program: &Path, before: &str) -> Result<String> {
    let output = Command::new(program).arg("-v").output().with_context(|| {
        format!(
            "cannot run {}: install the libraries it needs",
            program.display()
        )
    })?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    said.split_once(before)
        .and_then(|(_, rest)| rest.split_whitespace().next())
        .map(ToOwned::to_owned)
        .with_context(|| format!("{} -v says no version: {said}", program.display()))
}
