//! `evenkeel run` as somebody types it beside a cluster on the same machine: an ordinary user, a kubeconfig, nothing else set up.
//! The nodes have addresses that this machine reaches, as those of kind and k3d have on Linux.
//! Needs network namespaces and root, to be able to become somebody else; where they are impossible the run says so.
#![expect(clippy::print_stderr, reason = "a test that cannot run here says so")]

use std::collections::BTreeSet;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use evenkeel_e2e::alone::DataPlane;
use evenkeel_e2e::look::LIMIT;
use evenkeel_e2e::user::{NOBODY, nobody_possible, program_for_everybody};
use evenkeel_e2e::{World, WorldOptions};
use evenkeel_harness::nodes::{NodesKind, NodesOptions, namespaces_possible};
use evenkeel_harness::supervise::{Janitor, Supervised};
use evenkeel_harness::wait::eventually;
use k8s_openapi::api::core::v1::Service;
use kube::api::{DeleteParams, PostParams};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn with_nothing_but_a_kubeconfig_services_have_addresses_on_this_machine() -> Result<()> {
    if let Err(reason) = namespaces_possible().and_then(|()| nobody_possible()) {
        eprintln!(
            "SKIPPED (needs namespaces and root): with_nothing_but_a_kubeconfig_services_have_addresses_on_this_machine: {reason}"
        );
        return Ok(());
    }
    let world = World::start(WorldOptions {
        nodes: Some(NodesOptions {
            kind: NodesKind::Namespaces,
            ..NodesOptions::default()
        }),
        data_plane: false,
        controller: false,
        ..WorldOptions::default()
    })
    .await?;
    let pods = world.deploy("default", "web", 2).await?;
    let janitor = Janitor::start()?;
    let user = User::new(&world, &janitor)?;
    let controller = user.run(&world, &[])?;

    // The default pool is everybody's on this machine, so the ports are this process's own.
    let port = 20_000 + u16::try_from(std::process::id() % 5_000)?;
    create(&world, "plain", port, json!({})).await?;
    let wish = json!({"evenkeel.dev/static-address": "127.77.0.77"});
    create(&world, "stable", port + 5_000, wish).await?;
    let checked = async {
        let plain = world.address("default", "plain", port).await?;
        ensure!(
            plain.ip().to_string().starts_with("127.77.0."),
            "{plain} is not of the default pool"
        );
        answers(&world, plain, &pods).await?;
        let stable = world.address("default", "stable", port + 5_000).await?;
        ensure!(stable.ip().to_string() == "127.77.0.77", "{stable}");
        answers(&world, stable, &pods).await
    };
    let checked = checked.await.with_context(|| controller.log_tail(20));
    // What `run` has started outlives it.
    let data_plane = user.data_plane(&janitor).await?;
    checked?;
    for name in ["plain", "stable"] {
        let services = world.services("default");
        services.delete(name, &DeleteParams::default()).await?;
        world.gone("default", name).await?;
    }
    controller.stop()?;
    data_plane.kill()?;

    // One address for all, as where the machine has no more: each port of it is one Service's.
    let controller = user.run(&world, &["--local-pool", "127.0.0.1,shared=true"])?;
    for (name, port) in [("first", port), ("second", port + 5_000)] {
        create(&world, name, port, json!({})).await?;
    }
    let checked = async {
        for (name, port) in [("first", port), ("second", port + 5_000)] {
            let address = world.address("default", name, port).await?;
            ensure!(address.ip().to_string() == "127.0.0.1", "{address}");
            answers(&world, address, &pods).await?;
        }
        anyhow::Ok(())
    };
    let checked = checked.await.with_context(|| controller.log_tail(20));
    let data_plane = user.data_plane(&janitor).await?;
    checked?;
    controller.stop()?;
    data_plane.kill()?;
    world.stop().await
}

async fn answers(
    world: &World,
    address: std::net::SocketAddr,
    pods: &BTreeSet<String>,
) -> Result<()> {
    world.answered_by(address, pods).await.map(|_| ())
}

/// A Service without a class, as most charts write it.
async fn create(world: &World, name: &str, port: u16, annotations: Value) -> Result<()> {
    let service = json!({
        "metadata": {"name": name, "annotations": annotations},
        "spec": {
            "type": "LoadBalancer",
            "selector": {"app": "web"},
            "ports": [{"port": port, "targetPort": "http"}],
        },
    });
    let service: Service = serde_json::from_value(service)?;
    let services = world.services("default");
    services.create(&PostParams::default(), &service).await?;
    Ok(())
}

/// Somebody with a home and a session.
struct User {
    program: PathBuf,
    home: PathBuf,
    session: PathBuf,
    kubeconfig: PathBuf,
}

impl User {
    fn new(world: &World, janitor: &Janitor) -> Result<Self> {
        let program = program_for_everybody(janitor)?;
        let home = program.with_file_name("home");
        let user = Self {
            session: home.join("session"),
            kubeconfig: home.join("kubeconfig"),
            program,
            home,
        };
        std::fs::create_dir(&user.home)?;
        std::fs::create_dir(&user.session)?;
        let config = std::fs::read_to_string(world.plane.kubeconfig())?;
        let certificate = world.plane.directory().join("certificates/apiserver.crt");
        let readable = user.home.join("apiserver.crt");
        std::fs::copy(&certificate, &readable)?;
        let config = config.replace(
            &certificate.display().to_string(),
            &readable.display().to_string(),
        );
        std::fs::write(&user.kubeconfig, config)?;
        for path in [&user.home, &user.session, &user.kubeconfig, &readable] {
            chown(path, Some(NOBODY), Some(NOBODY))?;
        }
        Ok(user)
    }

    /// Types the command of the book. Only the address of the controller's own HTTP server differs, of which there is one per machine.
    fn run(&self, world: &World, further: &[&str]) -> Result<Supervised> {
        let number = NOBODY.to_string();
        Supervised::builder("env")
            .arg("-i")
            .arg("PATH=/usr/bin:/bin")
            .args(variables(&[
                ("HOME", &self.home),
                ("XDG_RUNTIME_DIR", &self.session),
                ("KUBECONFIG", &self.kubeconfig),
            ]))
            .args(["setpriv", "--reuid", &number, "--regid", &number])
            .args(["--clear-groups", "--no-new-privs", "--bounding-set=-all"])
            .arg(&self.program)
            .args(["run", "--provider", "local", "--default-provider", "local"])
            .args(["--listen", &world.admin.to_string()])
            .args(further)
            .log_file(world.plane.log_dir().join("laptop.log"))
            .spawn()
    }

    /// The data plane that `run` has started, and which is no child of ours: the janitor ends it, should nobody else do.
    async fn data_plane(&self, janitor: &Janitor) -> Result<DataPlane> {
        let socket = self.session.join("evenkeel/dataplane.sock");
        eventually("the data plane", LIMIT, || {
            DataPlane::find(&socket, janitor)
        })
        .await
    }
}

fn variables(all: &[(&str, &Path)]) -> Vec<String> {
    all.iter()
        .map(|(name, value)| format!("{name}={}", value.display()))
        .collect()
}
