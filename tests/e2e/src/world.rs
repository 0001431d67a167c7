//! The running parts, started in order and stopped in the opposite one. Writes: processes.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use evenkeel_harness::control_plane::{ControlPlane, Options};
use evenkeel_harness::evenkeel::{Evenkeel, evenkeel_binary};
use evenkeel_harness::nodes::{Nodes, NodesOptions, http_get};
use evenkeel_harness::ports::HeldPort;
use evenkeel_harness::supervise::Supervised;
use evenkeel_harness::wait::eventually;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::DeleteParams;
use kube::{Api, Client};
use tokio::net::UnixStream;
use tokio::process::Command;

use crate::look::LIMIT;

/// How long a data plane may take until it answers.
const START: Duration = Duration::from_secs(60);

/// What a world is to be like.
#[derive(Clone, Debug)]
pub struct WorldOptions {
    /// The control plane.
    pub plane: Options,
    /// The nodes; None for a world whose test makes Node objects itself.
    pub nodes: Option<NodesOptions>,
    /// Pools of the data plane.
    pub pools: Vec<String>,
    /// Further arguments of `evenkeel run`.
    pub run: Vec<String>,
    /// Whether the data plane runs from the start.
    pub data_plane: bool,
    /// Whether the controller runs from the start.
    pub controller: bool,
    /// The cloud that the controller serves Services in; None for the provider `local`.
    pub cloud: Option<Cloud>,
}

/// A cloud's provider in the place of `local`.
#[derive(Clone, Debug)]
pub struct Cloud {
    /// Its name.
    pub provider: &'static str,
    /// Arguments of `evenkeel run`, and of every other command that asks the cloud.
    pub args: Vec<String>,
    /// The environment of these commands: credentials.
    pub environment: Vec<(String, String)>,
}

impl Default for WorldOptions {
    fn default() -> Self {
        Self {
            plane: Options::default(),
            nodes: Some(NodesOptions::default()),
            pools: vec![own_pool()],
            run: Vec::new(),
            data_plane: true,
            controller: true,
            cloud: None,
        }
    }
}

/// Addresses that no other world uses: worlds of other processes, and of other tests of this one, may run at the same time.
pub fn own_pool() -> String {
    static WORLDS: AtomicU32 = AtomicU32::new(0);
    let number = std::process::id() * 4 + WORLDS.fetch_add(1, Ordering::Relaxed);
    // Nodes on loopback are below 127.128.0.0.
    format!("127.{}.{}.0/24", 128 + number / 256 % 64, number % 256)
}

/// The running parts. Dropped in the order of the fields: what uses goes before what is used.
pub struct World {
    /// `evenkeel run`; None while it is stopped.
    pub controller: Option<Supervised>,
    /// `evenkeel dataplane`; None while it is stopped.
    pub data_plane: Option<Supervised>,
    /// Data planes that handed over, until their connections have ended.
    former: Vec<Supervised>,
    /// Nodes and pods.
    pub nodes: Option<Nodes>,
    /// The API server and what belongs to it.
    pub plane: ControlPlane,
    /// The data plane's socket.
    pub socket: PathBuf,
    /// Where the controller serves health and metrics.
    pub admin: SocketAddr,
    /// Pools of the data plane.
    pub pools: Vec<String>,
    /// Who the controller is, from its next start on; None is the administrator.
    pub kubeconfig: Option<PathBuf>,
    /// The cloud that the controller serves Services in, from its next start on; None for the provider `local`.
    pub cloud: Option<Cloud>,
    /// Further arguments of `evenkeel run`, from its next start on.
    pub run: Vec<String>,
    state: PathBuf,
    /// Of `admin`, which is nobody else's while the controller does not run either.
    port: HeldPort,
}

impl World {
    /// Starts all parts.
    ///
    /// # Errors
    /// When one does not come up: with the end of its log.
    pub async fn start(options: WorldOptions) -> Result<Self> {
        let plane = ControlPlane::start(options.plane).await?;
        let nodes = match options.nodes {
            Some(nodes) => Some(Nodes::start(plane.kubeconfig(), nodes).await?),
            None => None,
        };
        let directory = plane.directory().join("evenkeel");
        std::fs::create_dir_all(&directory)?;
        let port = HeldPort::new().context("no free port on 127.0.0.1")?;
        let mut world = Self {
            controller: None,
            data_plane: None,
            former: Vec::new(),
            nodes,
            socket: directory.join("dataplane.sock"),
            admin: SocketAddr::from((Ipv4Addr::LOCALHOST, port.port())),
            port,
            state: directory.join("state"),
            plane,
            pools: options.pools,
            kubeconfig: None,
            cloud: options.cloud,
            run: options.run,
        };
        if options.data_plane {
            world.start_data_plane().await?;
        }
        if options.controller {
            world.start_controller().await?;
        }
        Ok(world)
    }

    /// A client with every right.
    pub fn client(&self) -> Client {
        self.plane.client()
    }

    /// The nodes of a world that has some.
    ///
    /// # Errors
    /// When it was started without.
    pub fn nodes(&self) -> Result<&Nodes> {
        self.nodes.as_ref().context("this world has no nodes")
    }

    /// Starts `evenkeel dataplane`, and waits until it answers.
    ///
    /// # Errors
    /// When it does not: with the end of its log.
    pub async fn start_data_plane(&mut self) -> Result<()> {
        let mut process = self.launch_data_plane(&[])?;
        let up = eventually("the data plane's socket", START, || async {
            UnixStream::connect(&self.socket)
                .await
                .context("nobody answers")?;
            Ok(())
        })
        .await;
        process.check()?;
        up.with_context(|| process.log_tail(15))?;
        self.data_plane = Some(process);
        Ok(())
    }

    /// Starts another `evenkeel dataplane`, which takes over the ports of the one that runs, and waits until it is the one that answers.
    ///
    /// # Errors
    /// When it does not: with the end of its log.
    pub async fn upgrade_data_plane(&mut self) -> Result<()> {
        let mut process = self.launch_data_plane(&["--take-over"])?;
        let new = process.pid();
        let up = eventually("the new data plane", START, || async {
            let stream = UnixStream::connect(&self.socket).await?;
            let health = http_get(stream, "dataplane", "/v1/health").await?.body;
            let health: serde_json::Value = serde_json::from_str(&health)?;
            ensure!(health["pid"] == new, "{health}, not {new}, answers");
            Ok(())
        })
        .await;
        process.check()?;
        up.with_context(|| process.log_tail(15))?;
        self.former.extend(self.data_plane.replace(process));
        Ok(())
    }

    fn launch_data_plane(&self, further: &[&str]) -> Result<Supervised> {
        Supervised::builder(evenkeel_binary()?)
            .arg("dataplane")
            .args(further)
            .arg("--socket")
            .arg(&self.socket)
            .arg("--state-dir")
            .arg(&self.state)
            .args(self.pools.iter().flat_map(|pool| ["--pool", pool]))
            .log_file(self.plane.log_dir().join("dataplane.log"))
            .spawn()
    }

    /// Starts `evenkeel run`, and waits until it is ready.
    ///
    /// # Errors
    /// When it does not get ready: with the end of its log.
    pub async fn start_controller(&mut self) -> Result<()> {
        self.launch(Some(self.admin)).await
    }

    /// Starts `evenkeel run`, which may never get ready.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn launch_controller(&mut self) -> Result<()> {
        self.launch(None).await
    }

    async fn launch(&mut self, ready: Option<SocketAddr>) -> Result<()> {
        self.clear_lease().await;
        self.port.hand_over();
        let kubeconfig = self.kubeconfig.as_deref();
        let kubeconfig = kubeconfig.unwrap_or_else(|| self.plane.kubeconfig());
        let logs = self.plane.log_dir();
        self.controller = Some(self.run(kubeconfig, logs, self.admin, ready).await?);
        Ok(())
    }

    async fn run(
        &self,
        kubeconfig: &Path,
        logs: &Path,
        admin: SocketAddr,
        ready: Option<SocketAddr>,
    ) -> Result<Supervised> {
        let environment = self.cloud.iter().flat_map(|cloud| &cloud.environment);
        let environment: Vec<_> = environment.cloned().collect();
        let mut args: Vec<OsString> = vec!["--listen".into(), admin.to_string().into()];
        match &self.cloud {
            Some(cloud) => {
                args.extend(["--provider".into(), cloud.provider.into()]);
                args.extend(cloud.args.iter().map(OsString::from));
            }
            None => args.extend(local_arguments(&self.socket, &self.state, &self.pools)),
        }
        args.extend(self.run.iter().map(OsString::from));
        Evenkeel::run_in(kubeconfig, logs, &environment, args, ready).await
    }

    /// Deletes the Lease of a controller before this one. The world knows that it is dead, and nobody has to wait for its end.
    async fn clear_lease(&self) {
        let given = |flag: &str, default: &str| {
            let mut arguments = self.run.iter().skip_while(|argument| *argument != flag);
            arguments.nth(1).cloned().unwrap_or(default.to_owned())
        };
        let namespace = given("--namespace", "kube-system");
        let leases = Api::<Lease>::namespaced(self.client(), &namespace);
        // Where there is none, or nobody to ask, the controller sees to that itself.
        let _ = leases
            .delete(&given("--instance", "evenkeel"), &DeleteParams::default())
            .await;
    }

    /// Starts one more replica of the controller, which reaches the API server by this kubeconfig and logs into a file in this
    /// directory, and waits until it is ready.
    ///
    /// # Errors
    /// When it does not get ready: with the end of its log.
    pub async fn start_replica(&self, kubeconfig: &Path, logs: &Path) -> Result<Supervised> {
        // Held until the replica listens on it.
        let mut port = HeldPort::new().context("no free port on 127.0.0.1")?;
        let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, port.port()));
        port.hand_over();
        self.run(kubeconfig, logs, admin, Some(admin)).await
    }

    /// Runs a command as somebody with a kubeconfig and credentials, who has the controller's configuration from the cluster. Returns the exit
    /// code and what it said.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn evenkeel(&self, args: &[&str]) -> Result<(Option<i32>, String)> {
        let program = tokio::task::spawn_blocking(evenkeel_binary).await??;
        let cloud = self.cloud.as_ref().context("a cloud")?;
        let mut command = Command::new(program);
        command
            .args(args)
            .env("KUBECONFIG", self.plane.kubeconfig())
            .envs(cloud.environment.iter().cloned())
            .kill_on_drop(true);
        let ran = tokio::time::timeout(LIMIT, command.output()).await;
        let ran = ran.with_context(|| format!("{args:?} does not end"))??;
        let said = [ran.stdout, ran.stderr].concat();
        Ok((ran.status.code(), String::from_utf8(said)?))
    }

    /// Kills the controller, as a crash would.
    ///
    /// # Errors
    /// When there is no process to kill.
    pub fn kill_controller(&mut self) -> Result<()> {
        self.controller
            .take()
            .context("the controller does not run")?
            .kill()?;
        Ok(())
    }

    /// The end of the controller's log, for a failure that wants explaining.
    pub fn controller_log(&self) -> String {
        self.controller
            .as_ref()
            .map(|controller| controller.log_tail(25))
            .unwrap_or_default()
    }

    /// Takes everything down, what uses before what is used.
    ///
    /// # Errors
    /// When a part does not end.
    pub async fn stop(self) -> Result<()> {
        let Self {
            controller,
            data_plane,
            former,
            nodes,
            plane,
            ..
        } = self;
        for process in [controller, data_plane].into_iter().flatten().chain(former) {
            process.stop()?;
        }
        if let Some(nodes) = nodes {
            nodes.stop().await?;
        }
        drop(plane);
        Ok(())
    }
}

/// The arguments of `evenkeel run` for a data plane that runs already.
fn local_arguments(socket: &Path, state: &Path, pools: &[String]) -> Vec<OsString> {
    let mut args: Vec<OsString> = ["--provider", "local", "--local-start-dataplane", "never"]
        .map(OsString::from)
        .into();
    args.extend(["--local-socket".into(), socket.into()]);
    args.extend(["--local-state-dir".into(), state.into()]);
    args.extend(
        pools
            .iter()
            .flat_map(|pool| ["--local-pool".into(), pool.into()]),
    );
    args
}
