//! Everything the demo needs, started in order: control plane, nodes and pods, data plane, controller. Writes: processes.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use evenkeel_harness::control_plane::{ControlPlane, Options};
use evenkeel_harness::evenkeel::{Evenkeel, evenkeel_binary};
use evenkeel_harness::nodes::{Nodes, NodesKind, NodesOptions};
use evenkeel_harness::progress::Progress;
use evenkeel_harness::supervise::Supervised;
use evenkeel_harness::wait::eventually;
use kube::Client;
use tokio::net::UnixStream;

use crate::show::Show;

/// How many nodes.
pub(crate) const NODES: usize = 3;

/// The running parts. Dropped in the order of the fields: what uses goes before what is used.
pub(crate) struct Scene {
    pub(crate) controller: Option<Supervised>,
    data_plane: Supervised,
    pub(crate) nodes: Nodes,
    pub(crate) plane: ControlPlane,
    pub(crate) client: Client,
    pub(crate) namespace: String,
    pub(crate) socket: PathBuf,
    pub(crate) admin: SocketAddr,
    /// The port of the front end: 80 where this user may open it.
    pub(crate) front_port: u16,
    state: PathBuf,
    pool: String,
}

impl Scene {
    /// Starts everything, telling what it starts.
    pub(crate) async fn set_up(show: &mut Show) -> Result<Self> {
        show.step("Real parts are started");
        let plane = ControlPlane::start(Options {
            progress: Progress::new(),
            ..Options::default()
        })
        .await?;
        let client = plane.client();
        let version = client.apiserver_version().await?.git_version;
        show.check(
            "etcd, kube-apiserver and kube-controller-manager are up",
            anyhow::Ok(version),
        );

        let options = NodesOptions {
            kind: NodesKind::Auto,
            count: NODES,
            ..NodesOptions::default()
        };
        let nodes = Nodes::start(plane.kubeconfig(), options).await?;
        let form = match (nodes.kind(), nodes.fallback_reason()) {
            (NodesKind::Namespaces, _) => {
                "network namespaces, each with a real kube-proxy (nftables)".to_owned()
            }
            (_, reason) => format!(
                "addresses in 127.0.0.0/8 with a small forwarder ({})",
                reason.unwrap_or("asked for")
            ),
        };
        show.check(&format!("{NODES} nodes are Ready"), anyhow::Ok(form));

        // The data plane stands where this process stands, so its address is one of this network.
        let pool = "127.77.0.0/24".to_owned();
        let directory = plane.directory().join("evenkeel");
        std::fs::create_dir_all(&directory)?;
        let (socket, state) = (directory.join("dataplane.sock"), directory.join("state"));
        let data_plane = start_data_plane(&plane, &socket, &state, &pool).await?;
        show.check("the data plane answers on its socket", anyhow::Ok(""));

        let front_port = match TcpListener::bind((Ipv4Addr::new(127, 77, 0, 250), 80)) {
            Ok(_) => 80,
            Err(error) => {
                show.note(format!(
                    "port 80 cannot be opened here ({error}): the front end uses 8080 instead"
                ));
                8080
            }
        };
        let admin = free_address()?;
        let mut scene = Self {
            controller: None,
            data_plane,
            nodes,
            plane,
            client,
            namespace: "shop".to_owned(),
            socket,
            admin,
            front_port,
            state,
            pool,
        };
        scene.start_controller().await?;
        show.check(
            "the controller is ready",
            anyhow::Ok(format!("health and metrics on http://{admin}")),
        );
        Ok(scene)
    }

    /// Starts `evenkeel run`.
    pub(crate) async fn start_controller(&mut self) -> Result<()> {
        let args = [
            "--provider".into(),
            "local".into(),
            "--listen".into(),
            self.admin.to_string().into(),
            "--local-start-dataplane".into(),
            "never".into(),
            "--local-socket".into(),
            self.socket.clone().into_os_string(),
            "--local-state-dir".into(),
            self.state.clone().into_os_string(),
            "--local-pool".into(),
            self.pool.clone().into(),
        ];
        self.controller = Some(Evenkeel::run(&self.plane, args, Some(self.admin)).await?);
        Ok(())
    }

    /// The controller's log, for a failure that wants explaining.
    pub(crate) fn controller_log(&self) -> String {
        self.controller
            .as_ref()
            .map(|controller| controller.log_tail(20))
            .unwrap_or_default()
    }

    /// Takes everything down, what uses before what is used.
    pub(crate) async fn take_down(self) -> Result<()> {
        let Self {
            controller,
            data_plane,
            nodes,
            plane,
            ..
        } = self;
        if let Some(controller) = controller {
            controller.stop()?;
        }
        data_plane.stop()?;
        nodes.stop().await?;
        drop(plane);
        Ok(())
    }
}

async fn start_data_plane(
    plane: &ControlPlane,
    socket: &PathBuf,
    state: &PathBuf,
    pool: &str,
) -> Result<Supervised> {
    let mut process = Supervised::builder(evenkeel_binary()?)
        .arg("dataplane")
        .arg("--socket")
        .arg(socket)
        .arg("--state-dir")
        .arg(state)
        .args(["--pool", pool])
        .log_file(plane.log_dir().join("dataplane.log"))
        .spawn()?;
    let up = eventually(
        "the data plane's socket",
        Duration::from_secs(20),
        || async {
            UnixStream::connect(socket)
                .await
                .context("nobody answers")?;
            Ok(())
        },
    )
    .await;
    process.check()?;
    up.with_context(|| process.log_tail(15))?;
    Ok(process)
}

/// A free port of the kernel's choice.
fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
