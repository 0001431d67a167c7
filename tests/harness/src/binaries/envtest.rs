//! Upstream's ready programs: the archives that `setup-envtest` fetches too. Reads the network (only when asked to),
//! Writes the cache.
//!
//! They hold etcd, kube-apiserver and kubectl. The list of archives carries their SHA-512. Whatever fails here is
//! said in one line, and the programs are built instead.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use sha2::{Digest as _, Sha512};

use super::Tool;
use super::cache::Cache;
use super::version::{Kubernetes, major_minor};
use crate::progress::Progress;
use crate::supervise::Janitor;

/// Upstream's list of archives with their addresses and checksums.
pub(super) const INDEX: &str =
    "https://raw.githubusercontent.com/kubernetes-sigs/controller-tools/HEAD/envtest-releases.yaml";

/// What the archives hold.
const CONTENT: [Tool; 3] = [Tool::Etcd, Tool::ApiServer, Tool::Kubectl];

/// Seconds until we give up to reach the server.
const CONNECT_TIMEOUT: &str = "3";

/// Puts what it can of `tools` into the cache. The caller holds the cache's lock.
pub(super) fn fetch(index: &str, tools: &[Tool], cache: &Cache, progress: &Progress) {
    let wanted: Vec<_> = tools
        .iter()
        .copied()
        .filter(|tool| CONTENT.contains(tool))
        .collect();
    if wanted.is_empty() {
        return;
    }
    match try_fetch(index, &wanted, cache, progress) {
        Ok(version) => progress.note(&format!(
            "Kubernetes {version} from upstream's envtest archive"
        )),
        Err(error) => progress.note(&format!(
            "upstream's envtest archive is not used: {error:#}"
        )),
    }
}

fn try_fetch(index: &str, tools: &[Tool], cache: &Cache, progress: &Progress) -> Result<String> {
    let janitor = Janitor::start()?;
    let scratch = janitor.directory("envtest", Some(cache.directory().to_owned()))?;
    let list = scratch.join("list");
    download(index, &list)?;
    let platform = platform()?;
    let kubernetes = cache.kubernetes();
    let archive =
        choose(kubernetes, &std::fs::read_to_string(&list)?, &platform).with_context(|| {
            format!(
                "none of version {}'s minor for {platform}",
                kubernetes.version()
            )
        })?;

    let task = progress.task(format!("downloading {}", archive.address), None);
    let file = scratch.join("archive.tar.gz");
    download(&archive.address, &file)?;
    let hash = sha512(&std::fs::read(&file)?);
    ensure!(
        hash == archive.sha512,
        "the SHA-512 of {} is {hash}, upstream's list says {}",
        archive.address,
        archive.sha512
    );
    unpack(&file, &scratch)?;
    for tool in tools {
        let path: PathBuf = [
            scratch.as_path(),
            Path::new("controller-tools/envtest"),
            Path::new(tool.file_name()),
        ]
        .iter()
        .collect();
        super::version::accept(kubernetes, *tool, &path)?;
        cache.install(*tool, &path)?;
    }
    task.done();
    Ok(archive.version)
}

/// One archive of the list.
#[derive(Debug, PartialEq, Eq)]
struct Archive {
    version: String,
    address: String,
    sha512: String,
}

/// The archive of the newest patch version of our minor version. The list is YAML of a fixed shape: a key
/// with the archive's name, and below it the keys `hash` and `selfLink`.
fn choose(kubernetes: Kubernetes, list: &str, platform: &str) -> Option<Archive> {
    let ours = major_minor(kubernetes.version())?;
    let suffix = format!("-{platform}.tar.gz:");
    let lines: Vec<_> = list.lines().map(str::trim).collect();
    let mut best: Option<(u32, Archive)> = None;
    for (number, line) in lines.iter().enumerate() {
        let Some(version) = line
            .strip_prefix("envtest-v")
            .and_then(|rest| rest.strip_suffix(suffix.as_str()))
        else {
            continue;
        };
        let patch = version
            .split('.')
            .nth(2)
            .and_then(|patch| patch.parse().ok());
        let (Some(patch), true) = (patch, major_minor(version) == Some(ours)) else {
            continue;
        };
        let below = lines.iter().skip(number + 1).take(2);
        let mut address = None;
        let mut sha512 = None;
        for line in below {
            match line.split_once(": ") {
                Some(("selfLink", value)) => address = Some(value.to_owned()),
                Some(("hash", value)) => sha512 = Some(value.to_owned()),
                _ => {}
            }
        }
        let (Some(address), Some(sha512)) = (address, sha512) else {
            continue;
        };
        if best.as_ref().is_none_or(|(other, _)| *other < patch) {
            let version = version.to_owned();
            best = Some((
                patch,
                Archive {
                    version,
                    address,
                    sha512,
                },
            ));
        }
    }
    best.map(|(_, archive)| archive)
}

fn platform() -> Result<String> {
    let os = match std::env::consts::OS {
        "macos" => "darwin",
        "linux" => "linux",
        other => bail!("there is none for {other}"),
    };
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "powerpc64" => "ppc64le",
        other => other,
    };
    Ok(format!("{os}-{arch}"))
}

fn download(address: &str, file: &Path) -> Result<()> {
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--fail", "--location"])
        .args(["--connect-timeout", CONNECT_TIMEOUT, "--output"])
        .arg(file)
        .arg(address)
        .stdin(Stdio::null())
        .output()
        .context("cannot run curl")?;
    if !output.status.success() {
        bail!(
            "{address}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

fn unpack(archive: &Path, directory: &Path) -> Result<()> {
    let output = Command::new("tar")
        .arg("-xzf")
        .arg(archive)
        .arg("-C")
        .arg(directory)
        .stdin(Stdio::null())
        .output()
        .context("cannot run tar")?;
    if !output.status.success() {
        bail!("tar: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

pub(super) fn sha512(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in Sha512::digest(bytes) {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_patch_of_our_minor_version_is_chosen() {
        let entry = |version: &str, platform: &str| {
            format!(
                "  v{version}:\n    envtest-v{version}-{platform}.tar.gz:\n      hash: {version}-hash\n      selfLink: https://example.com/{version}-{platform}\n"
            )
        };
        let list = ["1.37.0", "1.37.10", "1.37.9", "1.36.20", "1.38.0"]
            .map(|version| entry(version, "linux-amd64"))
            .concat()
            + &entry("1.37.11", "linux-arm64");
        let list = format!("releases:\n{list}");
        let choice = choose(Kubernetes::Current, &list, "linux-amd64").unwrap();
        assert_eq!(
            choice,
            Archive {
                version: "1.37.10".to_owned(),
                address: "https://example.com/1.37.10-linux-amd64".to_owned(),
                sha512: "1.37.10-hash".to_owned(),
            }
        );
        assert_eq!(choose(Kubernetes::Current, &list, "darwin-arm64"), None);
    }
}
