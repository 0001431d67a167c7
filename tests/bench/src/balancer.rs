//! The balancers, each as a process with the same listeners, targets, health checks, threads and limits. Writes: processes, files
//! in a temporary directory.

mod haproxy;
mod nginx;
mod ours;

use std::{
    ffi::OsStr,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result};
use evenkeel_harness::supervise::{Builder, Janitor, Supervised};

use crate::{
    load,
    system::{Cpus, Usage, usage},
    target::{DATAGRAM_PORT, ECHO_PORTS},
};

/// How long a balancer may take until it forwards.
const START: Duration = Duration::from_secs(20);

/// Time between two health checks of a target, and how long one may take.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);
/// Successes and failures in a row that change a target's health.
const CHECK_RISE: u8 = 1;
const CHECK_FALL: u8 = 3;

/// Where balancers and targets are: addresses of their own on loopback, chosen by the process id so that two runs rarely meet.
#[derive(Clone, Debug)]
pub struct Plan {
    third: u8,
    /// The targets.
    pub targets: Vec<IpAddr>,
    /// The processors of a balancer.
    pub cpus: Cpus,
    /// The limit of open files.
    pub files: u64,
    /// Where configuration and logs are.
    pub directory: PathBuf,
    janitor: Arc<Janitor>,
}

impl Plan {
    /// Two targets, and a directory that goes with the last copy of this.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn new(cpus: Cpus, files: u64) -> Result<Self> {
        let third = (std::process::id() % 250) as u8;
        let janitor = Janitor::start()?;
        let directory = janitor.directory("bench", None)?;
        Ok(Self {
            third,
            targets: [17, 18].map(|last| address(third, last)).to_vec(),
            cpus,
            files,
            directory,
            janitor: Arc::new(janitor),
        })
    }

    /// How many connections a balancer can hold: each takes two files.
    #[must_use]
    pub fn connections(&self) -> u64 {
        /// For listeners, health checks and whatever else.
        const RESERVE: u64 = 1_000;
        self.files.saturating_sub(RESERVE) / 2
    }

    /// The process of a balancer, on its processors.
    fn process(&self, program: &Path) -> Builder {
        let builder = match self.cpus.list() {
            Some(list) => Supervised::builder("taskset")
                .args(["-c", &list])
                .arg(program),
            None => Supervised::builder(program),
        };
        builder.janitor(Arc::clone(&self.janitor))
    }

    fn write(&self, file: &str, text: &str) -> Result<PathBuf> {
        let path = self.directory.join(file);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    fn log(&self, name: &str) -> PathBuf {
        self.directory.join(name).with_extension("log")
    }
}

fn address(third: u8, last: u8) -> IpAddr {
    Ipv4Addr::new(127, 118, third, last).into()
}

/// A running balancer. Dropping it ends it.
#[derive(Debug)]
pub struct Balancer {
    process: Supervised,
    address: IpAddr,
    refusal: Option<String>,
}

impl Balancer {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.process.name()
    }

    /// Where a port of it is.
    #[must_use]
    pub fn at(&self, port: u16) -> SocketAddr {
        (self.address, port).into()
    }

    /// Its echo ports.
    #[must_use]
    pub fn echo(&self) -> Vec<SocketAddr> {
        ECHO_PORTS.map(|port| self.at(port)).to_vec()
    }

    /// Its UDP port, or why it has none.
    ///
    /// # Errors
    /// What it said when it was asked for one.
    pub fn datagram(&self) -> std::result::Result<SocketAddr, &str> {
        match &self.refusal {
            Some(why) => Err(why),
            None => Ok(self.at(DATAGRAM_PORT)),
        }
    }

    /// What it has used and uses.
    ///
    /// # Errors
    /// When it has ended.
    pub fn usage(&self) -> Result<Usage> {
        usage(self.process.pid())
    }

    /// Fails when it has ended, with the end of its log.
    ///
    /// # Errors
    /// As said.
    pub fn check(&mut self) -> Result<()> {
        self.process.check()
    }
}

/// Asks `ready` again and again; fails early when the process has ended, and with its log when time is up.
fn await_ready(process: &mut Supervised, ready: impl Fn() -> Result<()>) -> Result<()> {
    let end = std::time::Instant::now() + START;
    loop {
        process.check()?;
        let Err(error) = ready() else { return Ok(()) };
        if std::time::Instant::now() >= end {
            let log = process.log_tail(20);
            let name = process.name();
            return Err(error.context(format!("{name} does not forward; its log ends:\n{log}")));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether bytes come back through every echo port.
fn forwards(address: IpAddr) -> Result<()> {
    let echo = ECHO_PORTS.map(|port| SocketAddr::new(address, port));
    load::Idle::open(&echo, echo.len()).map(drop)
}

/// Whether a datagram comes back.
fn answers_datagrams(address: IpAddr) -> Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_read_timeout(Some(Duration::from_millis(200)))?;
    socket.connect((address, DATAGRAM_PORT))?;
    socket.send(b"there?")?;
    socket.recv(&mut [0; 16])?;
    Ok(())
}

/// Whether the system knows a program by this name.
pub fn is_on_path(program: impl AsRef<OsStr>) -> bool {
    let search = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&search).any(|directory| directory.join(program.as_ref()).is_file())
}
