//! A real control plane: etcd, kube-apiserver and, unless told otherwise, kube-controller-manager. Writes: processes, a temporary directory.
//!
//! Ports are the kernel's choice on 127.0.0.1. Everything lives in one temporary directory and ends with the
//! value, and also with our process, however that ends. Authorization is RBAC; the administrator has a random
//! token. There is no scheduler and no kubelet: see [`crate::nodes`].

mod access;
mod backup;
mod credentials;
mod namespace;
mod options;
mod programs;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client};
use tokio::sync::OnceCell;

use crate::binaries::{self, Binaries, Tool};
use crate::ports::HeldPort;
use crate::random;
use crate::supervise::{Janitor, Supervised};
use crate::wait::eventually;
use credentials::{ServiceAccountKey, write_secret};
use programs::Places;

pub use namespace::TestNamespace;
pub use options::Options;

/// It takes some four seconds; a machine that builds beside it needs longer.
const READY_DEADLINE: Duration = Duration::from_secs(180);

/// How often a start is tried when somebody else took one of our ports.
const STARTS: u32 = 3;

/// A running control plane. Dropping it ends it and removes its data.
#[derive(Debug)]
pub struct ControlPlane {
    processes: Mutex<Processes>,
    directory: PathBuf,
    log_dir: PathBuf,
    binaries: Binaries,
    api_args: Vec<String>,
    api_port: u16,
    etcd_port: u16,
    token: String,
    kubeconfig: PathBuf,
    // Declared last, dropped last: the directory goes after the processes.
    janitor: Arc<Janitor>,
}

/// In the order in which they end.
#[derive(Debug)]
struct Processes {
    controller_manager: Option<Supervised>,
    api_server: Option<Supervised>,
    etcd: Supervised,
    ports: Vec<HeldPort>,
}

static SHARED: OnceCell<ControlPlane> = OnceCell::const_new();

impl ControlPlane {
    /// Finds or builds the programs, starts them and waits until the API server is ready.
    ///
    /// # Errors
    /// When a program is missing and cannot be built, or ends early, or is not ready in time; with the end of its log.
    pub async fn start(options: Options) -> Result<Self> {
        let mut attempt = 1;
        loop {
            match Self::start_once(&options).await {
                Err(error)
                    if attempt < STARTS
                        && format!("{error:#}").contains("address already in use") =>
                {
                    attempt += 1;
                }
                result => return result.context("cannot start a control plane"),
            }
        }
    }

    /// The control plane that all tests of this process share, started at the first call with the default options. It ends with the process.
    ///
    /// Tests keep apart by namespaces of their own ([`ControlPlane::namespace`]). Who stops the API server, or
    /// needs cluster-wide objects under fixed names, starts a control plane of their own.
    ///
    /// # Errors
    /// As [`ControlPlane::start`].
    pub async fn shared() -> Result<&'static Self> {
        SHARED
            .get_or_try_init(|| Self::start(Options::default()))
            .await
    }

    async fn start_once(options: &Options) -> Result<Self> {
        let mut tools = vec![Tool::Etcd, Tool::ApiServer];
        if options.controller_manager {
            tools.push(Tool::ControllerManager);
        }
        let (progress, kubernetes) = (options.progress, options.kubernetes);
        let binaries =
            tokio::task::spawn_blocking(move || binaries::ensure_of(kubernetes, &tools, &progress))
                .await??;

        let janitor = Arc::new(Janitor::start()?);
        let directory = janitor.directory("control-plane", None)?;
        let log_dir = log_directory(options, &directory)?;
        let token = random::hex(16);
        let tokens = format!("{token},admin,admin,system:masters\n");
        write_secret(&directory.join("tokens.csv"), &tokens)?;
        let key = ServiceAccountKey::create(&directory)?;
        if let Some(backup) = &options.restore {
            backup::restore(backup, &directory)?;
        }

        let mut ports = (0..3)
            .map(|_| HeldPort::new())
            .collect::<std::io::Result<Vec<_>>>()
            .context("no free port on 127.0.0.1")?;
        let places = Places {
            directory: &directory,
            etcd_client: ports[0].port(),
            etcd_peer: ports[1].port(),
            api: ports[2].port(),
        };
        let api_port = places.api;
        let etcd_port = places.etcd_client;
        let api_args = programs::api_server(&places, &key, options);
        ports.iter_mut().for_each(HeldPort::hand_over);
        let run = |tool: Tool, args: &[String]| -> Result<Supervised> {
            spawn(&binaries, tool, args, &log_dir, &janitor)
        };
        // The API server waits for etcd by itself.
        let etcd = run(Tool::Etcd, &programs::etcd(&places, options))?;
        let api_server = run(Tool::ApiServer, &api_args)?;
        let plane = Self {
            processes: Mutex::new(Processes {
                controller_manager: None,
                api_server: Some(api_server),
                etcd,
                ports,
            }),
            kubeconfig: directory.join("kubeconfig"),
            directory,
            log_dir,
            binaries,
            api_args,
            api_port,
            etcd_port,
            token,
            janitor,
        };
        plane.write_kubeconfig_for(&plane.token, &plane.kubeconfig)?;
        plane.await_ready().await?;
        if options.controller_manager {
            let args = programs::controller_manager(&plane.kubeconfig, options);
            let process = spawn(
                &plane.binaries,
                Tool::ControllerManager,
                &args,
                &plane.log_dir,
                &plane.janitor,
            )?;
            plane.lock().controller_manager = Some(process);
        }
        Ok(plane)
    }

    /// Creates a namespace `PREFIX-RANDOM`, which is deleted when the value is dropped.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn namespace(&self, prefix: &str) -> Result<TestNamespace> {
        TestNamespace::create(prefix, self.client(), self.config()?).await
    }

    /// Ends the API server in good order; its data stay. Its port refuses connections and stays ours.
    ///
    /// # Errors
    /// When it cannot be ended.
    pub fn stop_api_server(&self) -> Result<()> {
        let mut processes = self.lock();
        if let Some(process) = processes.api_server.take() {
            process.stop()?;
        }
        for port in &mut processes.ports {
            if port.port() == self.api_port {
                port.hold_again()
                    .context("the API server's port was taken")?;
            }
        }
        Ok(())
    }

    /// Starts the API server again, on the same port and data, and waits until it is ready. Does nothing if it runs.
    ///
    /// # Errors
    /// As [`ControlPlane::start`].
    pub async fn start_api_server(&self) -> Result<()> {
        {
            let mut processes = self.lock();
            if processes.api_server.is_none() {
                for port in &mut processes.ports {
                    port.hand_over();
                }
                let process = spawn(
                    &self.binaries,
                    Tool::ApiServer,
                    &self.api_args,
                    &self.log_dir,
                    &self.janitor,
                )?;
                processes.api_server = Some(process);
            }
        }
        self.await_ready().await
    }

    /// Freezes the API server: connections stay open, nothing is answered.
    ///
    /// # Errors
    /// When it does not run.
    pub fn pause(&self) -> Result<()> {
        self.running_api_server(Supervised::pause)
    }

    /// Lets a frozen API server go on.
    ///
    /// # Errors
    /// When it does not run.
    pub fn resume(&self) -> Result<()> {
        self.running_api_server(Supervised::resume)
    }

    fn running_api_server(&self, act: impl Fn(&Supervised) -> Result<()>) -> Result<()> {
        match &self.lock().api_server {
            Some(process) => act(process),
            None => bail!("the API server is stopped: call start_api_server first"),
        }
    }

    /// Fails if one of the processes has ended by itself, with the end of its log.
    ///
    /// # Errors
    /// As said.
    pub fn check(&self) -> Result<()> {
        let mut processes = self.lock();
        let Processes {
            controller_manager,
            api_server,
            etcd,
            ..
        } = &mut *processes;
        // etcd first: the others end when it is gone.
        etcd.check()?;
        for process in [api_server, controller_manager].into_iter().flatten() {
            process.check()?;
        }
        Ok(())
    }

    async fn await_ready(&self) -> Result<()> {
        let ready = eventually("the API server", READY_DEADLINE, || async {
            // The outer error ends the waiting at once.
            if let Err(error) = self.check() {
                return Ok(Err(error));
            }
            let client = Client::try_from(self.config()?)?;
            client
                .request_text(http::Request::get("/readyz").body(Vec::new())?)
                .await?;
            let namespaces = Api::<Namespace>::all(client);
            // Made by the API server itself, a moment after it says that it is ready. Its UID names the cluster.
            namespaces.get("kube-system").await?;
            namespaces.get("default").await?;
            Ok(Ok(()))
        })
        .await;
        ready.with_context(|| self.api_server_log())??;
        Ok(())
    }

    fn api_server_log(&self) -> String {
        match &self.lock().api_server {
            Some(process) => format!(
                "the API server is not ready; the end of its log {}:\n{}",
                self.log_dir.display(),
                process.log_tail(15)
            ),
            None => "the API server does not run".to_owned(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Processes> {
        self.processes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        let processes = self
            .processes
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        // The data go with the processes: there is nothing to end in good order.
        let all = [&mut processes.controller_manager, &mut processes.api_server];
        for process in all.into_iter().flatten() {
            let _ = process.kill();
        }
        let _ = processes.etcd.kill();
    }
}

fn log_directory(options: &Options, directory: &Path) -> Result<PathBuf> {
    let kept = std::env::var_os("EVENKEEL_LOGS").filter(|value| !value.is_empty());
    let log_dir = match options.log_dir.clone().or(kept.map(PathBuf::from)) {
        // Several control planes may log into one directory.
        Some(parent) => parent.join(directory.file_name().unwrap_or_default()),
        None => directory.join("logs"),
    };
    std::fs::create_dir_all(&log_dir)
        .with_context(|| format!("cannot make the log directory {}", log_dir.display()))?;
    Ok(log_dir)
}

fn spawn(
    binaries: &Binaries,
    tool: Tool,
    args: &[String],
    log_dir: &Path,
    janitor: &Arc<Janitor>,
) -> Result<Supervised> {
    Supervised::builder(binaries.path(tool)?)
        .args(args)
        .log_file(log_dir.join(format!("{}.log", tool.file_name())))
        .janitor(janitor.clone())
        .spawn()
}
