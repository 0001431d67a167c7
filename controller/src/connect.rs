//! To the cluster: the kubeconfig, and the cluster's identity (Reads).

use std::{path::Path, time::Duration};

use anyhow::{Context as _, Result, anyhow, bail};
use backon::{BackoffBuilder as _, ExponentialBuilder};
use evenkeel_core::{error::chain, ids::Cluster};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client,
    config::{Config, KubeConfigOptions, Kubeconfig, KubeconfigError},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// The namespace whose UID is the cluster's identity: it is made with the cluster and never deleted.
const IDENTITY: &str = "kube-system";

/// How long an answer may take that is no watch. Watches keep their connections open as long as they say themselves.
const CONNECT: Duration = Duration::from_secs(10);

/// A client of the cluster's API server. Makes no call yet.
///
/// # Errors
/// What is wrong with the kubeconfig, where it is, and what to do.
pub(crate) async fn client(path: Option<&Path>, context: Option<&str>) -> Result<Client> {
    let mut config = match kubeconfig(path)? {
        Some((place, kubeconfig)) => from_kubeconfig(&place, kubeconfig, context).await?,
        None if context.is_some() => bail!(
            "--context: {:?} is named, and there is no kubeconfig; name one with --kubeconfig or KUBECONFIG",
            context.unwrap_or_default()
        ),
        None => Config::incluster().map_err(|error| {
            anyhow!(
                "no cluster: KUBECONFIG is not set, ~/.kube/config does not exist, and this is no pod with a service account \
                 ({}). Name a kubeconfig with --kubeconfig FILE",
                chain(&error)
            )
        })?,
    };
    config.connect_timeout = Some(CONNECT);
    // Retries are ours: a group that failed is told so, and comes back when its time has come.
    config.default_retry = false;
    Client::try_from(config).map_err(|error| {
        anyhow!(
            "the kubeconfig cannot be used: {}. Correct its certificates, keys or proxy",
            once(&error)
        )
    })
}

/// The kubeconfig as kubectl finds it, and where it is; None when there is none and none was named.
fn kubeconfig(path: Option<&Path>) -> Result<Option<(String, Kubeconfig)>> {
    if let Some(path) = path {
        let place = format!("--kubeconfig: {}", path.display());
        let read = Kubeconfig::read_from(path).map_err(|error| explain(&place, &error))?;
        return Ok(Some((place, read)));
    }
    if let Some(paths) = std::env::var_os("KUBECONFIG").filter(|paths| !paths.is_empty()) {
        let place = format!("KUBECONFIG: {}", paths.to_string_lossy());
        let read = Kubeconfig::from_env().map_err(|error| explain(&place, &error))?;
        return Ok(read.map(|read| (place, read)));
    }
    let Some(home) = std::env::var_os("HOME").filter(|home| !home.is_empty()) else {
        return Ok(None);
    };
    let path = Path::new(&home).join(".kube/config");
    if !path.exists() {
        return Ok(None);
    }
    let place = path.display().to_string();
    let read = Kubeconfig::read_from(&path).map_err(|error| explain(&place, &error))?;
    Ok(Some((place, read)))
}

async fn from_kubeconfig(
    place: &str,
    kubeconfig: Kubeconfig,
    context: Option<&str>,
) -> Result<Config> {
    let contexts: Vec<_> = kubeconfig
        .contexts
        .iter()
        .map(|context| context.name.clone())
        .collect();
    if let Some(named) = context.or(kubeconfig.current_context.as_deref())
        && !contexts.iter().any(|context| context == named)
    {
        let what = if context.is_some() {
            "--context"
        } else {
            "current-context"
        };
        bail!(
            "{place}: {what} is {named:?}, which is not in the file; {}",
            match contexts.as_slice() {
                [] => "it has no contexts: is this a kubeconfig?".to_owned(),
                all => format!("choose one of {} with --context", all.join(", ")),
            }
        );
    }
    let options = KubeConfigOptions {
        context: context.map(str::to_owned),
        ..KubeConfigOptions::default()
    };
    Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .map_err(|error| explain(place, &error))
}

/// What is wrong and what to do, in one sentence each.
fn explain(place: &str, error: &KubeconfigError) -> anyhow::Error {
    let next = match error {
        KubeconfigError::CurrentContextNotSet => "name one with --context",
        KubeconfigError::ReadConfig(..) => "name a file that can be read",
        KubeconfigError::Parse(_) => "correct the YAML, or name another file",
        KubeconfigError::MissingClusterUrl | KubeconfigError::ParseClusterUrl(_) => {
            "correct `server` of the cluster"
        }
        KubeconfigError::LoadClusterOfContext(_) => {
            "add the cluster, or choose another context with --context"
        }
        KubeconfigError::LoadCertificateAuthority(_) | KubeconfigError::ParseCertificates(_) => {
            "correct `certificate-authority` of the cluster"
        }
        KubeconfigError::LoadClientCertificate(_) | KubeconfigError::LoadClientKey(_) => {
            "correct `client-certificate` and `client-key` of the user"
        }
        _ => "correct the file, or name another",
    };
    anyhow!("{place}: {}; {next}", once(error))
}

/// An error with its sources, in one line, each said once: kube's errors repeat theirs.
fn once(error: &(dyn std::error::Error + 'static)) -> String {
    error
        .to_string()
        .lines()
        .next()
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// Reads who the cluster is, again and again until it answers. None when told to stop.
pub(crate) async fn identity(
    client: &Client,
    name: &str,
    stop: &CancellationToken,
) -> Option<Cluster> {
    let mut pauses = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(250))
        .with_max_delay(Duration::from_secs(10))
        .with_jitter()
        .without_max_times()
        .build();
    let mut said = false;
    loop {
        let asked = tokio::select! {
            () = stop.cancelled() => return None,
            asked = read_identity(client) => asked,
        };
        match asked {
            Ok(uid) => {
                info!(
                    cluster.uid = uid,
                    cluster.name = name,
                    "this is the cluster"
                );
                return Some(Cluster::new(uid, name));
            }
            Err(error) if !said => {
                said = true;
                warn!(
                    error = format!("{error:#}"),
                    "the cluster cannot be asked who it is; it is tried again"
                );
            }
            Err(_) => {}
        }
        tokio::select! {
            () = stop.cancelled() => return None,
            () = tokio::time::sleep(pauses.next().unwrap_or(CONNECT)) => {}
        }
    }
}

async fn read_identity(client: &Client) -> Result<String> {
    let namespaces = Api::<Namespace>::all(client.clone());
    let asked = namespaces.get(IDENTITY);
    let namespace = tokio::time::timeout(CONNECT, asked)
        .await
        .context("the API server does not answer")?;
    let namespace = namespace.map_err(|error| anyhow!(chain(&error)))?;
    namespace
        .metadata
        .uid
        .with_context(|| format!("the namespace {IDENTITY} has no UID"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const GOOD: &str = "
apiVersion: v1
kind: Config
current-context: dev
contexts: [{name: dev, context: {cluster: dev, user: dev}}]
clusters: [{name: dev, cluster: {server: 'https://127.0.0.1:6443'}}]
users: [{name: dev, user: {token: secret}}]
";

    async fn attempt(text: Option<&str>, context: Option<&str>) -> Result<(), String> {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("kubeconfig");
        if let Some(text) = text {
            fs::write(&path, text).expect("writes");
        }
        let result = client(Some(&path), context).await;
        result
            .map(drop)
            .map_err(|error| format!("{error:#}").replace(&path.display().to_string(), "PATH"))
    }

    #[tokio::test]
    async fn a_good_kubeconfig_makes_a_client() {
        assert_eq!(attempt(Some(GOOD), None).await, Ok(()));
        assert_eq!(attempt(Some(GOOD), Some("dev")).await, Ok(()));
    }

    #[tokio::test]
    async fn what_is_wrong_is_said_with_the_path_and_what_to_do() {
        for (name, text, context, parts) in [
            (
                "no file",
                None,
                None,
                vec!["PATH", "No such file", "name a file"],
            ),
            (
                "no YAML",
                Some("{"),
                None,
                vec!["PATH", "YAML", "correct the YAML"],
            ),
            (
                "a list",
                Some("[1, 2]"),
                None,
                vec!["PATH", "correct the YAML"],
            ),
            (
                "empty",
                Some(""),
                None,
                vec!["PATH", "current context", "--context"],
            ),
            (
                "another context",
                Some(GOOD),
                Some("prod"),
                vec!["PATH", "\"prod\"", "choose one of dev"],
            ),
            (
                "no such cluster",
                Some(&*GOOD.replace("clusters: [{name: dev", "clusters: [{name: other")),
                None,
                vec!["PATH", "cluster", "add the cluster"],
            ),
            (
                "no server",
                Some(&*GOOD.replace("server", "srv")),
                None,
                vec!["PATH", "url", "`server`"],
            ),
            (
                "a bad server",
                Some(&*GOOD.replace("https://127.0.0.1:6443", "https://[")),
                None,
                vec!["PATH", "`server`"],
            ),
            (
                "no certificate",
                Some(&*GOOD.replace("6443'", "6443', certificate-authority: /does/not/exist")),
                None,
                vec!["PATH", "/does/not/exist", "`certificate-authority`"],
            ),
            (
                "no key",
                Some(&*GOOD.replace(
                    "{token: secret}",
                    "{client-certificate-data: '!', client-key-data: '!'}",
                )),
                None,
                vec!["client"],
            ),
        ] {
            let error = attempt(text, context).await.expect_err(name);
            for part in parts {
                assert!(error.contains(part), "{name}: {part:?} is not in {error:?}");
            }
            assert!(!error.contains("secret"), "{name}: {error}");
        }
    }
}
