//! Which versions we run, and whether a program that somebody else installed is one of them. Reads: runs `--version`.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

use super::Tool;

/// The version of Kubernetes that the tests run on; stands in controlplane/go.mod too (a test compares).
pub const KUBERNETES_VERSION: &str = "1.37.2";
/// The version of etcd that the tests run on; stands in controlplane/go.mod too (a test compares).
pub const ETCD_VERSION: &str = "3.7.0";
/// An older version of Kubernetes, for what is to hold there too; stands in controlplane/older/go.mod too (a test compares).
pub const OLDER_KUBERNETES_VERSION: &str = "1.34.4";

/// Which Kubernetes a control plane is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kubernetes {
    /// The one that the tests run on.
    #[default]
    Current,
    /// An older one. Only its API server and controller manager are used.
    Older,
}

impl Kubernetes {
    /// Its version.
    #[must_use]
    pub fn version(self) -> &'static str {
        match self {
            Self::Current => KUBERNETES_VERSION,
            Self::Older => OLDER_KUBERNETES_VERSION,
        }
    }

    /// The modules that it is built from.
    pub(super) fn go_mod(self) -> &'static str {
        match self {
            Self::Current => include_str!("../../controlplane/go.mod"),
            Self::Older => include_str!("../../controlplane/older/go.mod"),
        }
    }

    /// Their checksums.
    pub(super) fn go_sum(self) -> &'static str {
        match self {
            Self::Current => include_str!("../../controlplane/go.sum"),
            Self::Older => include_str!("../../controlplane/older/go.sum"),
        }
    }
}

/// The oldest etcd that this Kubernetes is tested with upstream, as minor version of 3.
const OLDEST_ETCD_MINOR: u32 = 6;

/// The program's version if it may be used.
///
/// # Errors
/// When it does not run, says no version, or the wrong one.
pub(super) fn accept(kubernetes: Kubernetes, tool: Tool, path: &Path) -> Result<String> {
    let args: &[&str] = match tool {
        Tool::Kubectl => &["version", "--client"],
        _ => &["--version"],
    };
    let output = Command::new(path)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {}", path.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = find_version(&text)
        .with_context(|| format!("{} told no version", path.display()))?
        .to_owned();
    judge(kubernetes, tool, &version)?;
    Ok(version)
}

fn judge(kubernetes: Kubernetes, tool: Tool, version: &str) -> Result<()> {
    let (major, minor) = major_minor(version).context("no version")?;
    if tool == Tool::Etcd {
        ensure!(
            major == 3 && minor >= OLDEST_ETCD_MINOR,
            "its version is {version}, 3.{OLDEST_ETCD_MINOR} or later 3.x is needed"
        );
        return Ok(());
    }
    let needed = major_minor(kubernetes.version());
    if Some((major, minor)) != needed {
        let (major, minor) = needed.context("no version")?;
        bail!("its version is {version}, {major}.{minor} is needed");
    }
    Ok(())
}

/// The first word that reads like a version: `v1.37.2`, `3.7.0`.
fn find_version(text: &str) -> Option<&str> {
    text.split_ascii_whitespace()
        .map(|word| word.trim_start_matches('v'))
        .find(|word| major_minor(word).is_some())
}

pub(super) fn major_minor(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.');
    let major = parts.next()?.parse().ok()?;
    let minor = parts.next()?.parse().ok()?;
    Some((major, minor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_and_judged() {
        let cases = [
            (Tool::ApiServer, "Kubernetes v1.37.2\n", Ok("1.37.2")),
            (
                Tool::ApiServer,
                "Kubernetes v1.37.0-rc.1\n",
                Ok("1.37.0-rc.1"),
            ),
            (
                Tool::ApiServer,
                "Kubernetes v1.36.9\n",
                Err("its version is 1.36.9, 1.37 is needed"),
            ),
            (
                Tool::Kubectl,
                "Client Version: v1.37.1\nKustomize Version: v5.8.0\n",
                Ok("1.37.1"),
            ),
            (
                Tool::Etcd,
                "etcd Version: 3.7.0\nGit SHA: 1234\nGo Version: go1.26.8\n",
                Ok("3.7.0"),
            ),
            (Tool::Etcd, "etcd Version: 3.6.4\n", Ok("3.6.4")),
            (
                Tool::Etcd,
                "etcd Version: 3.5.30\n",
                Err("its version is 3.5.30, 3.6 or later 3.x is needed"),
            ),
        ];
        for (tool, text, want) in cases {
            let version = find_version(text).unwrap();
            let got = judge(Kubernetes::Current, tool, version).map(|()| version);
            let got = got
                .as_ref()
                .map(|version| *version)
                .map_err(ToString::to_string);
            assert_eq!(got, want.map_err(str::to_owned), "{text}");
        }
        assert_eq!(find_version("usage: etcd [flags]"), None);
    }

    #[test]
    fn the_go_module_names_the_same_versions() {
        for (kubernetes, line) in [
            (
                Kubernetes::Current,
                format!("k8s.io/kubernetes v{KUBERNETES_VERSION}"),
            ),
            (
                Kubernetes::Current,
                format!("go.etcd.io/etcd/server/v3 v{ETCD_VERSION}"),
            ),
            (
                Kubernetes::Older,
                format!("k8s.io/kubernetes v{OLDER_KUBERNETES_VERSION}"),
            ),
        ] {
            let module = kubernetes.go_mod();
            assert!(
                module.contains(&line),
                "{kubernetes:?}: go.mod does not say {line}"
            );
        }
    }
}
