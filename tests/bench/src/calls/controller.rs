//! The process that is measured: `evenkeel run --provider aws`, from outside. Writes: a process.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use evenkeel_e2e::World;
use evenkeel_harness::{nodes::http_get, supervise::Supervised};
use tokio::net::TcpStream;

use crate::system::{self, Cost};

/// As good as no limit of calls: that is for AWS. No count depends on it.
pub const UNLIMITED: &str = "elb=10000,register=10000,modify=10000,ec2-read=10000,ec2-write=10000";

/// How long it may take until it is ready.
const READY_DEADLINE: Duration = Duration::from_secs(60);

/// Between two questions whether it is ready: what the answer is uncertain by.
const INTERVAL: Duration = Duration::from_millis(5);

/// The process. Dropping it ends it.
#[derive(Debug)]
pub struct Controller {
    process: Supervised,
    /// From its start until `/readyz` said so.
    pub ready: Duration,
}

impl Controller {
    /// Starts it with its own defaults but for these arguments and this environment, and waits until it is ready.
    ///
    /// # Errors
    /// When it does not get ready: with the end of its log.
    pub async fn start(
        program: &Path,
        world: &World,
        args: &[&str],
        environment: &[(&str, String)],
    ) -> Result<Self> {
        let cloud = world.cloud.as_ref().context("a world without a cloud")?;
        let admin = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let builder = Supervised::builder(program)
            .arg("run")
            .arg("--kubeconfig")
            .arg(world.plane.kubeconfig())
            .args(["--provider", cloud.provider])
            .args(&cloud.args)
            .args(args)
            .args(["--listen", &admin.to_string()])
            .log_file(world.plane.log_dir().join("evenkeel.log"));
        let of_cloud = cloud.environment.iter();
        let builder = of_cloud.fold(builder, |builder, (name, value)| builder.env(name, value));
        let mut process = environment
            .iter()
            .fold(builder, |builder, (name, value)| builder.env(name, value))
            .spawn()?;
        let began = Instant::now();
        while !is_ready(admin).await {
            process.check()?;
            ensure!(
                began.elapsed() < READY_DEADLINE,
                "not ready in {READY_DEADLINE:?}: {}",
                process.log_tail(20)
            );
            tokio::time::sleep(INTERVAL).await;
        }
        Ok(Self {
            ready: began.elapsed(),
            process,
        })
    }

    /// What it has cost so far.
    ///
    /// # Errors
    /// When it has ended.
    pub fn cost(&mut self) -> Result<Cost> {
        self.process.check()?;
        system::cost(self.process.pid())
    }

    /// Fails when it has ended: with the end of its log.
    ///
    /// # Errors
    /// When it has ended.
    pub fn check(&mut self) -> Result<()> {
        self.process.check()
    }

    /// The end of its log.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log_tail(20)
    }

    /// Ends it in good order.
    ///
    /// # Errors
    /// When it cannot be ended.
    pub fn stop(self) -> Result<()> {
        self.process.stop()?;
        Ok(())
    }
}

async fn is_ready(admin: SocketAddr) -> bool {
    let Ok(stream) = TcpStream::connect(admin).await else {
        return false;
    };
    let answer = http_get(stream, "evenkeel", "/readyz").await;
    answer.is_ok_and(|answer| answer.status == 200)
}
