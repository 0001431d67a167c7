//! moto and ministack as processes on 127.0.0.1. Writes: processes, a temporary directory.
//!
//! Each is started once for all tests of a process and ends with it. The settings are those without which they would listen on every
//! address of the machine, or take tens of milliseconds and megabytes for machine images that nobody asks for.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use http::Request;
use http_body_util::Full;
use hyper::body::Bytes;
use tokio::sync::OnceCell;

use crate::service::Service;
use crate::supervise::{Builder, Supervised};
use crate::venv::Venv;
use crate::wire;

/// The changes of moto: a directory that Python runs.
const MOTO_AS_AWS: [(&str, &str); 10] = [
    (
        "__main__.py",
        include_str!("../../aws/moto_as_aws/__main__.py"),
    ),
    ("access.py", include_str!("../../aws/moto_as_aws/access.py")),
    (
        "control.py",
        include_str!("../../aws/moto_as_aws/control.py"),
    ),
    (
        "listeners.py",
        include_str!("../../aws/moto_as_aws/listeners.py"),
    ),
    (
        "load_balancers.py",
        include_str!("../../aws/moto_as_aws/load_balancers.py"),
    ),
    ("pages.py", include_str!("../../aws/moto_as_aws/pages.py")),
    (
        "patching.py",
        include_str!("../../aws/moto_as_aws/patching.py"),
    ),
    (
        "security_groups.py",
        include_str!("../../aws/moto_as_aws/security_groups.py"),
    ),
    (
        "subnets.py",
        include_str!("../../aws/moto_as_aws/subnets.py"),
    ),
    (
        "target_groups.py",
        include_str!("../../aws/moto_as_aws/target_groups.py"),
    ),
];

/// Which emulator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// moto with AWS's behaviour for Network Load Balancers (`aws/moto_as_aws`): real state, references, most refusals; keys of
    /// [`super::Aws::create_user_with_policy`] are held to their policies, conditions and resources too.
    Moto,
    /// moto as it comes, to see what depends on our changes.
    PlainMoto,
    /// ministack: a second parser, quick, with hardly any checks. Never assert health or the order of deletions here.
    Ministack,
    /// ministack that checks signatures and the actions of policies; one account for all. See [`super::Aws::create_user`].
    MinistackWithAuth,
}

impl Kind {
    /// Whether a header says whose account is asked.
    pub(super) fn takes_account_header(self) -> bool {
        matches!(self, Self::Moto | Self::PlainMoto)
    }

    fn ready_path(self) -> &'static str {
        match self {
            Self::Moto | Self::PlainMoto => "/moto-api/",
            Self::Ministack | Self::MinistackWithAuth => "/_ministack/ready",
        }
    }
}

/// A running emulator. Dropping it ends it.
#[derive(Debug)]
pub struct Emulator {
    service: Service,
}

static MOTO: OnceCell<Emulator> = OnceCell::const_new();
static PLAIN_MOTO: OnceCell<Emulator> = OnceCell::const_new();
static MINISTACK: OnceCell<Emulator> = OnceCell::const_new();
static MINISTACK_WITH_AUTH: OnceCell<Emulator> = OnceCell::const_new();

impl Emulator {
    /// The one that all tests of this process share, started at the first call.
    ///
    /// # Errors
    /// When it cannot be installed or started, or is not ready in time: with the end of its log.
    pub async fn shared(kind: Kind) -> Result<&'static Self> {
        let cell = match kind {
            Kind::Moto => &MOTO,
            Kind::PlainMoto => &PLAIN_MOTO,
            Kind::Ministack => &MINISTACK,
            Kind::MinistackWithAuth => &MINISTACK_WITH_AUTH,
        };
        cell.get_or_try_init(|| Self::start(kind)).await
    }

    /// One of its own, for tests that end it.
    ///
    /// # Errors
    /// As [`Emulator::shared`].
    pub async fn start(kind: Kind) -> Result<Self> {
        let service = Service::start(
            &super::PROGRAMS,
            &format!("{kind:?}"),
            kind.ready_path(),
            |venv, port, directory| {
                Ok(match kind {
                    Kind::Moto => {
                        let changes = directory.join("moto_as_aws");
                        std::fs::create_dir(&changes)?;
                        for (name, text) in MOTO_AS_AWS {
                            std::fs::write(changes.join(name), text)?;
                        }
                        moto(Supervised::builder(venv.python()).arg(changes), port)
                    }
                    Kind::PlainMoto => moto(Supervised::builder(venv.program("moto_server")), port),
                    Kind::Ministack => ministack(venv, port, directory),
                    Kind::MinistackWithAuth => ministack(venv, port, directory).env("AUTH", "true"),
                })
            },
        )
        .await?;
        let emulator = Self { service };
        // Both load their services at the first request, which takes a second: not in a test's time.
        for (service, version, operation) in [
            (
                "elasticloadbalancing",
                "2015-12-01",
                "DescribeAccountLimits",
            ),
            ("ec2", "2016-11-15", "DescribeRegions"),
        ] {
            warm(emulator.address(), service, version, operation).await?;
        }
        Ok(emulator)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.service.address
    }

    /// The process's number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.service.pid()
    }

    /// Fails if the process has ended by itself, with the end of its log.
    ///
    /// # Errors
    /// As said.
    pub fn check(&self) -> Result<()> {
        self.service.check()
    }
}

fn moto(builder: Builder, port: u16) -> Builder {
    builder
        .args(["-H", "127.0.0.1", "-p", &port.to_string()])
        // Else every region gets hundreds of machine images.
        .env("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
        // It asks the real AWS nothing, and must not be told to.
        .env("AWS_EC2_METADATA_DISABLED", "true")
}

fn ministack(venv: &Venv, port: u16, directory: &std::path::Path) -> Builder {
    Supervised::builder(venv.program("ministack"))
        // Else it listens on all addresses, and a second time for devices.
        .env("BIND_HOST", "127.0.0.1")
        .env("IOT_MTLS_ENABLED", "0")
        .env("SFTP_ENABLED", "0")
        .env("GATEWAY_PORT", port.to_string())
        .env("LOG_LEVEL", "WARNING")
        .env("SERVICES", "ec2,elasticloadbalancing,sts,iam,tagging,acm")
        // For its file with the process's number.
        .env("TMPDIR", directory)
}

/// A first request; what it answers does not matter.
pub(super) async fn warm(
    address: SocketAddr,
    service: &str,
    version: &str,
    operation: &str,
) -> Result<()> {
    let credential = format!("test/20260101/us-east-1/{service}/aws4_request");
    let request = Request::post("/")
        .header("Host", address.to_string())
        .header("Content-Type", "application/x-www-form-urlencoded")
        .header("X-Amz-Date", "20260101T000000Z")
        .header(
            "Authorization",
            format!("AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders=host;x-amz-date, Signature=0"),
        )
        .body(Full::<Bytes>::from(format!("Action={operation}&Version={version}")))?;
    wire::send(address, request)
        .await
        .context("the first request")?;
    Ok(())
}
