//! The control plane itself: it starts, does what the real one does, goes away and comes back, and leaves nothing behind.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use evenkeel_harness::binaries::{self, Tool};
use evenkeel_harness::control_plane::{ControlPlane, Options};
use evenkeel_harness::progress::Progress;
use evenkeel_harness::wait::eventually;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{Namespace, Pod, Secret, Service, ServiceAccount};
use kube::Api;
use kube::api::{ListParams, PostParams};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

const DEADLINE: Duration = Duration::from_secs(60);

fn from_json<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("the literal is a valid object")
}

fn load_balancer(name: &str) -> Service {
    from_json(json!({
        "metadata": {"name": name},
        "spec": {
            "type": "LoadBalancer",
            "selector": {"app": "web"},
            "ports": [{"port": 80, "targetPort": 8080}],
        },
    }))
}

/// Numbers of the processes whose command line names `path`.
fn processes_that_name(path: &Path) -> Vec<u32> {
    let path = path.to_str().unwrap();
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(path)
        })
        .collect()
}

#[tokio::test]
async fn a_load_balancer_service_gets_its_node_port() -> Result<()> {
    let plane = ControlPlane::shared().await?;
    let client = plane.client();
    let names: Vec<_> = Api::<Namespace>::all(client.clone())
        .list(&ListParams::default())
        .await?
        .items
        .into_iter()
        .filter_map(|namespace| namespace.metadata.name)
        .collect();
    for name in ["default", "kube-system"] {
        assert!(names.iter().any(|other| other == name), "{names:?}");
    }

    let namespace = plane.namespace("service").await?;
    let services = Api::<Service>::namespaced(client, namespace.name());
    let service = services
        .create(&PostParams::default(), &load_balancer("web"))
        .await?;
    let port = service.spec.and_then(|spec| spec.ports?.first()?.node_port);
    assert!(
        (30000..=32767).contains(&port.unwrap_or_default()),
        "{port:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_deployment_yields_pods_and_a_namespace_goes() -> Result<()> {
    let plane = ControlPlane::shared().await?;
    let namespace = plane.namespace("deployment").await?;
    let name = namespace.name().to_owned();
    let deployments = Api::<Deployment>::namespaced(plane.client(), &name);
    let deployment = from_json(json!({
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "web", "image": "none"}]},
            },
        },
    }));
    deployments
        .create(&PostParams::default(), &deployment)
        .await?;
    let pods = Api::<Pod>::namespaced(plane.client(), &name);
    eventually("two pods", DEADLINE, || async {
        let count = pods.list(&ListParams::default()).await?.items.len();
        ensure!(count == 2, "there are {count}");
        Ok(())
    })
    .await?;

    drop(namespace);
    let namespaces = Api::<Namespace>::all(plane.client());
    eventually("the namespace to go", DEADLINE, || async {
        match namespaces.get_opt(&name).await? {
            None => Ok(()),
            Some(left) => bail!("it is {:?}", left.status.and_then(|status| status.phase)),
        }
    })
    .await
}

#[tokio::test]
async fn a_service_account_is_known_and_has_no_rights() -> Result<()> {
    let plane = ControlPlane::shared().await?;
    let namespace = plane.namespace("account").await?;
    let accounts = Api::<ServiceAccount>::namespaced(plane.client(), namespace.name());
    let account = from_json(json!({"metadata": {"name": "visitor"}}));
    accounts.create(&PostParams::default(), &account).await?;
    let request: TokenRequest = from_json(json!({"spec": {"audiences": []}}));
    let answer = accounts
        .create_token_request("visitor", &PostParams::default(), &request)
        .await?;
    let token = answer
        .status
        .and_then(|status| status.token)
        .context("no token")?;

    let directory = tempfile::tempdir()?;
    let kubeconfig = directory.path().join("kubeconfig");
    plane.write_kubeconfig_for(&token, &kubeconfig)?;
    let read = kube::config::Kubeconfig::read_from(&kubeconfig)?;
    let config = kube::Config::from_custom_kubeconfig(read, &Default::default()).await?;
    for client in [
        plane.client_with_token(&token),
        kube::Client::try_from(config)?,
    ] {
        let secrets = Api::<Secret>::namespaced(client, namespace.name());
        match secrets.list(&ListParams::default()).await {
            // 403 and not 401: the token's signature was checked with our key.
            Err(kube::Error::Api(status)) => assert_eq!(status.code, 403, "{status:?}"),
            other => bail!("expected a refusal, got {other:?}"),
        }
    }
    let stranger = Api::<Secret>::all(plane.client_with_token("nobody's"));
    match stranger.list(&ListParams::default()).await {
        Err(kube::Error::Api(status)) => assert_eq!(status.code, 401, "{status:?}"),
        other => bail!("expected a refusal, got {other:?}"),
    }
    Ok(())
}

#[tokio::test]
async fn the_api_server_goes_away_and_comes_back() -> Result<()> {
    let options = Options {
        controller_manager: false,
        dual_stack: true,
        node_port_range: Some("1024-2047".to_owned()),
        advertise_address: Some("192.0.2.1".parse()?),
        ..Options::default()
    };
    let plane = ControlPlane::start(options).await?;
    let services = Api::<Service>::namespaced(plane.client(), "default");
    let service: Service = from_json(json!({
        "metadata": {"name": "web"},
        "spec": {"type": "LoadBalancer", "ipFamilyPolicy": "RequireDualStack", "ports": [{"port": 80}]},
    }));
    let created = services.create(&PostParams::default(), &service).await?;
    let spec = created.spec.clone().context("no spec")?;
    let port = spec.ports.unwrap_or_default()[0]
        .node_port
        .unwrap_or_default();
    assert!((1024..=2047).contains(&port), "{port}");
    assert_eq!(spec.cluster_ips.unwrap_or_default().len(), 2);

    plane.stop_api_server()?;
    let refused = services.get("web").await.unwrap_err();
    assert!(matches!(refused, kube::Error::Service(_)), "{refused:?}");
    assert!(plane.pause().is_err(), "there is nothing to freeze");
    plane.start_api_server().await?;
    let kept = services.get("web").await?;
    assert_eq!(kept.metadata.uid, created.metadata.uid);

    plane.pause()?;
    let answer = tokio::time::timeout(Duration::from_millis(500), services.get("web")).await;
    assert!(answer.is_err(), "a frozen API server answered: {answer:?}");
    plane.resume()?;
    services.get("web").await?;

    let directory = plane.directory().to_owned();
    assert_eq!(processes_that_name(&directory).len(), 2);
    drop(plane);
    assert_eq!(processes_that_name(&directory), [0_u32; 0]);
    assert!(!directory.exists(), "{} is left", directory.display());
    Ok(())
}

#[tokio::test]
async fn a_wrong_argument_is_reported_at_once_with_the_log() {
    let options = Options {
        controller_manager: false,
        extra_apiserver_args: vec!["--no-such-flag".to_owned()],
        ..Options::default()
    };
    let started = Instant::now();
    let error = format!("{:#}", ControlPlane::start(options).await.unwrap_err());
    assert!(
        error.contains("kube-apiserver ended (exit status 1)"),
        "{error}"
    );
    assert!(error.contains("unknown flag: --no-such-flag"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(60), "it waited");
}

#[test]
fn what_was_built_is_found_again() -> Result<()> {
    let tools = [Tool::Etcd, Tool::ApiServer, Tool::ControllerManager];
    let first = binaries::ensure(&tools, &Progress::new())?;
    let started = Instant::now();
    let second = binaries::ensure(&tools, &Progress::new())?;
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    for tool in tools {
        assert_eq!(first.path(tool)?, second.path(tool)?);
    }
    Ok(())
}

/// Set in the process that is to be killed: where it tells the directory of its control plane.
const VICTIM: &str = "EVENKEEL_TEST_PLANE";

/// Not a test by itself: the process that [`a_killed_test_leaves_no_control_plane`] kills.
#[tokio::test]
async fn victim() -> Result<()> {
    let Some(file) = std::env::var_os(VICTIM).map(PathBuf::from) else {
        return Ok(());
    };
    let plane = ControlPlane::shared().await?;
    let new = file.with_extension("new");
    std::fs::write(&new, plane.directory().to_str().context("not UTF-8")?)?;
    std::fs::rename(&new, &file)?;
    std::future::pending().await
}

#[tokio::test]
async fn a_killed_test_leaves_no_control_plane() -> Result<()> {
    // The victim's deadline is for its start, not for the building of what it starts.
    binaries::ensure(&[Tool::Etcd, Tool::ApiServer], &Progress::new())?;
    let scratch = tempfile::tempdir()?;
    let file = scratch.path().join("directory");
    let mut victim = Command::new(std::env::current_exe()?)
        .args(["--exact", "victim", "--nocapture"])
        .env(VICTIM, &file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let told = eventually("the victim's control plane", 4 * DEADLINE, || async {
        Ok(std::fs::read_to_string(&file)?)
    })
    .await;
    let running = told
        .as_ref()
        .map_or(0, |path| processes_that_name(Path::new(path)).len());
    victim.kill()?;
    victim.wait()?;
    let directory = PathBuf::from(told?);
    assert_eq!(running, 3);
    eventually("its end", DEADLINE, || async {
        let left = processes_that_name(&directory);
        ensure!(left.is_empty(), "processes {left:?} are left");
        ensure!(!directory.exists(), "{} is left", directory.display());
        Ok(())
    })
    .await
}
