//! Finds upstream's etcd, kube-apiserver and friends, or builds them. Reads and Writes: the cache directory, child processes.
//!
//! No package registry carries a ready kube-apiserver. In this order: `KUBEBUILDER_ASSETS`, then `PATH` (right
//! version only); our cache; upstream's envtest archive (only with `EVENKEEL_ENVTEST=1`); `go build` from
//! upstream's modules into the cache. Several processes may ask at once: one fetches or builds while the others
//! wait for it. Only what was asked for is fetched or built.

mod cache;
mod envtest;
mod go;
#[cfg(test)]
mod tests;
mod version;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::progress::Progress;
use cache::Cache;

pub use cache::cache_root;
pub(crate) use cache::lock_directory;
pub use version::{ETCD_VERSION, KUBERNETES_VERSION, Kubernetes, OLDER_KUBERNETES_VERSION};

/// A program of upstream's. The order is the order in which they are built: what is needed first comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tool {
    /// etcd
    Etcd,
    /// kube-apiserver
    ApiServer,
    /// kube-controller-manager
    ControllerManager,
    /// kubectl
    Kubectl,
    /// kube-proxy
    KubeProxy,
}

impl Tool {
    /// The program's file name.
    #[must_use]
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
            Self::Kubectl => "kubectl",
            Self::KubeProxy => "kube-proxy",
        }
    }
}

/// Where the programs are that were asked for.
#[derive(Clone, Debug, Default)]
pub struct Binaries {
    paths: BTreeMap<Tool, PathBuf>,
}

impl Binaries {
    /// The program's path.
    ///
    /// # Errors
    /// When it was not asked for.
    pub fn path(&self, tool: Tool) -> Result<&Path> {
        self.paths
            .get(&tool)
            .map(PathBuf::as_path)
            .with_context(|| {
                format!(
                    "{} was not asked for: name it in the call of `ensure`",
                    tool.file_name()
                )
            })
    }
}

/// Finds or makes the tools named. Blocks, for minutes when they must be built: not to be called on an async worker.
///
/// # Errors
/// When a tool is found nowhere and cannot be built: the error says what to install.
pub fn ensure(tools: &[Tool], progress: &Progress) -> Result<Binaries> {
    Finder::from_environment(Kubernetes::Current)?.ensure(tools, progress)
}

/// The same, with the API server and the controller manager of another Kubernetes.
///
/// # Errors
/// As [`ensure`].
pub fn ensure_of(kubernetes: Kubernetes, tools: &[Tool], progress: &Progress) -> Result<Binaries> {
    let of_its_own = |tool: &Tool| matches!(tool, Tool::ApiServer | Tool::ControllerManager);
    let (own, others): (Vec<_>, Vec<_>) = match kubernetes {
        Kubernetes::Current => (Vec::new(), tools.to_vec()),
        Kubernetes::Older => tools.iter().partition(|tool| of_its_own(tool)),
    };
    let mut found = ensure(&others, progress)?;
    if !own.is_empty() {
        let own = Finder::from_environment(kubernetes)?.ensure(&own, progress)?;
        found.paths.extend(own.paths);
    }
    Ok(found)
}

/// Where to look. All of it comes from the environment, except in tests.
struct Finder {
    /// `KUBEBUILDER_ASSETS`
    assets: Option<PathBuf>,
    /// `PATH`
    search: OsString,
    cache: Cache,
    /// `EVENKEEL_ENVTEST=1`: the address of upstream's list of archives.
    envtest_index: Option<String>,
    go: PathBuf,
}

impl Finder {
    fn from_environment(kubernetes: Kubernetes) -> Result<Self> {
        let envtest = std::env::var_os("EVENKEEL_ENVTEST").is_some_and(|value| value == "1");
        Ok(Self {
            assets: std::env::var_os("KUBEBUILDER_ASSETS")
                .filter(|value| !value.is_empty())
                .map(PathBuf::from),
            search: std::env::var_os("PATH").unwrap_or_default(),
            cache: Cache::from_environment(kubernetes)?,
            envtest_index: envtest.then(|| envtest::INDEX.to_owned()),
            go: PathBuf::from("go"),
        })
    }

    fn ensure(&self, tools: &[Tool], progress: &Progress) -> Result<Binaries> {
        let mut found = Binaries::default();
        let mut refused = BTreeMap::new();
        for tool in tools {
            match self.installed(*tool, progress) {
                Ok(path) => {
                    found.paths.insert(*tool, path);
                }
                Err(reasons) => {
                    refused.insert(*tool, reasons);
                }
            }
        }
        let missing = self.take_from_cache(tools, &mut found);
        if missing.is_empty() {
            return Ok(found);
        }
        // Only now, because nobody asks why as long as the cache has it.
        for reason in missing
            .iter()
            .filter_map(|tool| refused.get(tool))
            .flatten()
        {
            progress.note(reason);
        }
        let _lock = self.cache.lock(progress)?;
        // Whoever held the lock before may have made what we miss.
        let missing = self.take_from_cache(&missing, &mut found);
        if let Some(index) = &self.envtest_index {
            envtest::fetch(index, &missing, &self.cache, progress);
        }
        let missing = self.take_from_cache(&missing, &mut found);
        if !missing.is_empty() {
            go::build(&self.go, &missing, &self.cache, progress)?;
            self.take_from_cache(&missing, &mut found);
        }
        Ok(found)
    }

    /// A program that somebody else installed, if its version is right; or why each one found is not.
    fn installed(&self, tool: Tool, progress: &Progress) -> Result<PathBuf, BTreeSet<String>> {
        let name = tool.file_name();
        let assets = self
            .assets
            .iter()
            .map(|path| (path.clone(), "KUBEBUILDER_ASSETS"));
        let search = std::env::split_paths(&self.search).map(|path| (path, "PATH"));
        let mut refused = BTreeSet::new();
        for (directory, source) in assets.chain(search) {
            let path = directory.join(name);
            if !path.is_file() {
                continue;
            }
            match version::accept(self.cache.kubernetes(), tool, &path) {
                Ok(version) => {
                    let path_text = path.display();
                    progress.note(&format!("{name} {version} from {source}: {path_text}"));
                    return Ok(path);
                }
                Err(error) => {
                    refused.insert(format!("{name} from {source} is not used: {error:#}"));
                }
            }
        }
        Err(refused)
    }

    /// Moves from `tools` to `found` what the cache has; returns the rest, in building order.
    fn take_from_cache(&self, tools: &[Tool], found: &mut Binaries) -> Vec<Tool> {
        let mut missing = Vec::new();
        for tool in tools {
            if found.paths.contains_key(tool) {
                continue;
            }
            match self.cache.get(*tool) {
                Some(path) => {
                    found.paths.insert(*tool, path);
                }
                None => missing.push(*tool),
            }
        }
        missing.sort();
        missing.dedup();
        missing
    }
}
