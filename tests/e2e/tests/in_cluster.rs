//! `deploy/local`: the API server takes it as it is, and its containers, as they stand there, serve.
//!
//! No container engine: a container is its command line in a mount namespace of its own, with the user, the capabilities, the
//! read-only root and the volumes that its pod gives it, and the service account's token where a kubelet puts it.
#![expect(clippy::print_stderr, reason = "a test that cannot run here says so")]

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use evenkeel_e2e::look::LIMIT;
use evenkeel_e2e::user::{NOBODY as USER, program_for_everybody};
use evenkeel_e2e::{World, WorldOptions, own_pool};
use evenkeel_harness::kubectl::Kubectl;
use evenkeel_harness::nodes::{NodesKind, NodesOptions};
use evenkeel_harness::progress::Progress;
use evenkeel_harness::supervise::{Janitor, Supervised};
use evenkeel_harness::wait::eventually;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{ConfigMap, Container, Pod, PodSpec, Service, ServiceAccount};
use kube::Api;
use kube::api::{ListParams, PostParams};
use serde_json::json;

const MANIFESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/local");
const HOME: &str = "evenkeel-system";
const NAME: &str = "evenkeel";

/// What a container runtime does between the manifest and the program: volumes, a root that cannot be written, user, capabilities.
const RUNTIME: &str = r#"
set -e
state=$1 configuration=$2 account=$3 capabilities=$4 user=$5
shift 5
mount -t tmpfs tmpfs /etc
mkdir /etc/evenkeel
mount --bind "$configuration" /etc/evenkeel
mount -t tmpfs tmpfs /run
mkdir -p /run/secrets/kubernetes.io
mkdir /run/secrets/kubernetes.io/serviceaccount
mount --bind "$account" /run/secrets/kubernetes.io/serviceaccount
mount -t tmpfs tmpfs /var/lib
mkdir /var/lib/evenkeel
mount --bind "$state" /var/lib/evenkeel
for path in / /etc /run /var/lib /etc/evenkeel /run/secrets/kubernetes.io/serviceaccount; do
    mount -o remount,bind,ro "$path"
done
exec setpriv --reuid "$user" --regid "$user" --clear-groups --no-new-privs --inh-caps "$capabilities" \
    --ambient-caps "$capabilities" --bounding-set "$capabilities" "$@"
"#;

fn containers_possible() -> Result<(), String> {
    let tried = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "setpriv", "--reuid"])
        .args([&USER.to_string(), "--clear-groups", "true"])
        .output()
        .map_err(|error| error.to_string())?;
    if tried.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&tried.stderr).trim().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_pod_on_a_chosen_node_serves_low_ports_with_one_capability() -> Result<()> {
    if let Err(reason) = containers_possible() {
        eprintln!(
            "SKIPPED (needs root): one_pod_on_a_chosen_node_serves_low_ports_with_one_capability: {reason}"
        );
        return Ok(());
    }
    let world = World::start(WorldOptions {
        nodes: Some(NodesOptions {
            kind: NodesKind::Loopback,
            ..NodesOptions::default()
        }),
        data_plane: false,
        controller: false,
        // As the node has one.
        pools: vec![own_pool().replace(".0/24", ".7")],
        ..WorldOptions::default()
    })
    .await?;
    let kubectl = Kubectl::new(&world.plane, HOME, Progress::new()).await?;
    kubectl.run(&["apply", "-k", MANIFESTS]).await?.ok()?;
    let spec = admitted(&world).await?;

    let host = Host::new(&world).await?;
    let data_plane = host.start(&spec, "dataplane")?;
    let controller = host.start(&spec, "evenkeel")?;
    ensure!(
        Rights::of(&data_plane).await? == Rights::of_capabilities(NET_BIND_SERVICE),
        "of the data plane"
    );
    ensure!(
        Rights::of(&controller).await? == Rights::of_capabilities(0),
        "of the controller"
    );

    let pods = world.deploy("default", "web", 2).await?;
    let services = world.services("default");
    for (name, port) in [("web", 80), ("more", 81)] {
        let service = json!({
            "metadata": {"name": name},
            "spec": {
                "type": "LoadBalancer",
                "loadBalancerClass": "evenkeel.dev/local",
                "selector": {"app": "web"},
                "ports": [{"port": port, "targetPort": "http"}],
            },
        });
        let service: Service = serde_json::from_value(service)?;
        services.create(&PostParams::default(), &service).await?;
    }
    let logs = || {
        format!(
            "the controller:\n{}\nthe data plane:\n{}",
            controller.log_tail(20),
            data_plane.log_tail(20)
        )
    };
    let address = world
        .address("default", "web", 80)
        .await
        .with_context(logs)?;
    world.answered_by(address, &pods).await.with_context(logs)?;
    let more = world.address("default", "more", 81).await;
    let more = more.with_context(logs)?;
    ensure!(more.ip() == address.ip(), "{more} beside {address}");
    world.answered_by(more, &pods).await.with_context(logs)?;

    // The containers of a pod restart each for itself.
    controller.stop()?;
    world
        .ask_often(address, 10)
        .await
        .context("while the controller restarts")?;
    let controller = host.start(&spec, "evenkeel")?;

    // An upgrade replaces the pod; what it knew is on the host.
    data_plane.stop()?;
    controller.stop()?;
    let _data_plane = host.start(&spec, "dataplane")?;
    eventually("traffic, before a controller is back", LIMIT, || {
        world.ask(address)
    })
    .await?;
    let _controller = host.start(&spec, "evenkeel")?;
    world.answered_by(address, &pods).await?;
    ensure!(
        world.address("default", "web", 80).await? == address,
        "the address changed"
    );
    drop((_data_plane, _controller));
    world.stop().await
}

/// What the Deployment makes of itself: a pod that was let in, and waits for its node to be named.
async fn admitted(world: &World) -> Result<PodSpec> {
    let pods: Api<Pod> = Api::namespaced(world.client(), HOME);
    let pod = eventually("the pod to be let in", LIMIT, || async {
        let found = pods.list(&ListParams::default()).await?.items.pop();
        found.context("there is none")
    })
    .await?;
    let spec = pod.spec.context("no spec")?;
    ensure!(spec.host_network == Some(true), "not on the host's network");
    ensure!(
        spec.node_name.is_none(),
        "it runs on a node that nobody chose"
    );
    let deployments: Api<Deployment> = Api::namespaced(world.client(), HOME);
    let deployment = deployments.get(NAME).await?.spec;
    let strategy = deployment.strategy.and_then(|strategy| strategy.type_);
    ensure!(
        strategy.as_deref() == Some("Recreate"),
        "strategy {strategy:?}"
    );
    Ok(spec)
}

/// What the chosen node has: the image, the directory of the state, and the volumes that a kubelet makes.
struct Host {
    program: PathBuf,
    state: PathBuf,
    configuration: PathBuf,
    account: PathBuf,
    logs: PathBuf,
    api_port: u16,
    _janitor: Janitor,
}

impl Host {
    async fn new(world: &World) -> Result<Self> {
        let janitor = Janitor::start()?;
        let program = program_for_everybody(&janitor)?;
        let root = program.parent().context("no directory")?;
        let host = Self {
            state: root.join("state"),
            configuration: root.join("configuration"),
            account: root.join("account"),
            logs: world.plane.log_dir().to_owned(),
            api_port: world.plane.server_port(),
            program,
            _janitor: janitor,
        };
        // As the Dockerfile does. Where that is impossible the ambient set, which no container has, stands in for it.
        let marked = Command::new("setcap")
            .arg("cap_net_bind_service=p")
            .arg(&host.program)
            .output();
        if !marked.is_ok_and(|marked| marked.status.success()) {
            eprintln!("without setcap: the program's own capability is not part of this run");
        }
        for directory in [&host.state, &host.configuration, &host.account] {
            std::fs::create_dir(directory)?;
        }
        // As the book says.
        chown(&host.state, Some(USER), Some(USER))?;
        std::fs::set_permissions(&host.state, Permissions::from_mode(0o750))?;
        host.write_configuration(world).await?;
        host.write_account(world).await?;
        Ok(host)
    }

    /// The ConfigMap, with the addresses set.
    async fn write_configuration(&self, world: &World) -> Result<()> {
        let maps: Api<ConfigMap> = Api::namespaced(world.client(), HOME);
        let map = maps.get("evenkeel-configuration").await?;
        for (file, text) in map.data.context("no data")? {
            let placeholder = "addresses: [192.0.2.10]";
            ensure!(
                text.contains(placeholder),
                "{file} has no {placeholder}:\n{text}"
            );
            let pools = format!("addresses: [{}]", world.pools.join(", "));
            std::fs::write(
                self.configuration.join(file),
                text.replace(placeholder, &pools),
            )?;
        }
        Ok(())
    }

    /// What a kubelet mounts for the service account.
    async fn write_account(&self, world: &World) -> Result<()> {
        let accounts: Api<ServiceAccount> = Api::namespaced(world.client(), HOME);
        let token = accounts
            .create_token_request(NAME, &PostParams::default(), &TokenRequest::default())
            .await?;
        let token = token.status.and_then(|status| status.token);
        std::fs::write(self.account.join("token"), token.context("no token")?)?;
        std::fs::write(self.account.join("namespace"), HOME)?;
        let certificate = world.plane.directory().join("certificates/apiserver.crt");
        std::fs::copy(certificate, self.account.join("ca.crt"))?;
        Ok(())
    }

    /// Starts a container of the pod.
    fn start(&self, pod: &PodSpec, name: &str) -> Result<Supervised> {
        let container = pod.containers.iter().find(|found| found.name == name);
        let container = container.with_context(|| format!("no container {name}"))?;
        check_mounts(pod, container)?;
        let user = pod
            .security_context
            .as_ref()
            .and_then(|context| context.run_as_user);
        let user = user.context("no user")?.to_string();
        let capabilities = capabilities(container)?;
        Supervised::builder("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c"])
            .args([RUNTIME, name])
            .arg(&self.state)
            .arg(&self.configuration)
            .arg(&self.account)
            .args([&capabilities, &user])
            .arg(&self.program)
            .args(container.args.iter().flatten())
            .env("KUBERNETES_SERVICE_HOST", "127.0.0.1")
            .env("KUBERNETES_SERVICE_PORT", self.api_port.to_string())
            .log_file(self.logs.join(format!("container-{name}.log")))
            .spawn()
    }
}

/// The runtime above mounts what the manifests ask for, and nothing else.
fn check_mounts(pod: &PodSpec, container: &Container) -> Result<()> {
    let mut mounts: Vec<_> = container
        .volume_mounts
        .iter()
        .flatten()
        .map(|mount| (mount.name.as_str(), mount.mount_path.as_str()))
        // The token's is admission's own.
        .filter(|(_, path)| !path.starts_with("/var/run/secrets"))
        .collect();
    mounts.sort_unstable();
    let want = [
        ("configuration", "/etc/evenkeel"),
        ("state", "/var/lib/evenkeel"),
    ];
    ensure!(mounts == want, "mounts {mounts:?}");
    let volumes = pod.volumes.iter().flatten();
    let paths: Vec<_> = volumes
        .filter_map(|volume| volume.host_path.as_ref())
        .map(|path| path.path.as_str())
        .collect();
    ensure!(
        paths == ["/var/lib/evenkeel"],
        "paths of the host: {paths:?}"
    );
    Ok(())
}

/// A container's capabilities in the words of setpriv.
fn capabilities(container: &Container) -> Result<String> {
    let context = container
        .security_context
        .as_ref()
        .context("no securityContext")?;
    ensure!(context.read_only_root_filesystem == Some(true));
    ensure!(context.allow_privilege_escalation == Some(false));
    let sets = context.capabilities.as_ref().context("no capabilities")?;
    ensure!(sets.drop == Some(vec!["ALL".to_owned()]), "{sets:?}");
    let added = sets.add.iter().flatten();
    let added = added.map(|name| format!(",+{}", name.to_lowercase()));
    Ok(format!("-all{}", added.collect::<String>()))
}

/// The bit of CAP_NET_BIND_SERVICE (capability.h: number 10).
const NET_BIND_SERVICE: u64 = 1 << 10;

/// What a process may do.
#[derive(Debug, PartialEq, Eq)]
struct Rights {
    user: String,
    effective: u64,
    bounding: u64,
    no_new_privileges: bool,
}

impl Rights {
    fn of_capabilities(capabilities: u64) -> Self {
        Self {
            user: USER.to_string(),
            effective: capabilities,
            bounding: capabilities,
            no_new_privileges: true,
        }
    }

    /// As the kernel tells it, once the program runs: it raises what it may itself.
    async fn of(process: &Supervised) -> Result<Self> {
        eventually("the program to run", LIMIT, || async {
            let status = std::fs::read_to_string(format!("/proc/{}/status", process.pid()))?;
            let field = |name: &str| {
                let line = status.lines().find_map(|line| line.strip_prefix(name));
                line.and_then(|rest| rest.split_whitespace().next())
                    .with_context(|| format!("no {name}"))
            };
            ensure!(field("Name:")? == "evenkeel", "it is {}", field("Name:")?);
            let threads: usize = field("Threads:")?.parse()?;
            ensure!(threads > 1, "it has just begun");
            Ok(Self {
                user: field("Uid:")?.to_owned(),
                effective: u64::from_str_radix(field("CapEff:")?, 16)?,
                bounding: u64::from_str_radix(field("CapBnd:")?, 16)?,
                no_new_privileges: field("NoNewPrivs:")? == "1",
            })
        })
        .await
        .with_context(|| process.log_tail(20))
    }
}
