//! Backends for tests of the provider `aws`: emulators that others wrote, the wire between them and whoever is tested, and a client that
//! is not ours.
//!
//! ```text
//! whoever is tested -> proxy -> (microburst ->) moto, ministack or our own fake <- boto3 <- the test's assertions
//! ```
//!
//! The proxy records and counts every call ([`CallLog`]), checks it against AWS's own model of its requests, and breaks those it is told
//! to break ([`Fault`]). Each [`Aws`] has a region and an account of its own, so tests run side by side on one emulator. Nothing but
//! 127.0.0.1 is dialled, except by pip, once. Reads and Writes: processes, the cache directory.

mod calls;
mod check;
mod client;
mod control;
mod decode;
mod door;
pub mod drift;
mod emulator;
pub(crate) mod envelope;
mod faults;
mod iam;
pub(crate) mod identify;
mod lease;
mod metadata;
mod microburst;
pub(crate) mod model;
mod proxy;
mod state;
mod world;

use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use tokio::sync::OnceCell;

pub use crate::cloud::calls::{Counts, Mark};
pub use calls::{Call, CallLog, Operation};
pub use client::{AwsError, Client};
pub use door::{Door, Seen};
pub use emulator::{Emulator, Kind};
pub use faults::{At, Fault, Injected};
pub use iam::{AccessKey, Session, everything};
pub use metadata::{Given, Metadata};
pub use microburst::Microburst;
pub use proxy::Watcher;
pub use state::State;
pub use world::{Node, World, WorldOptions};

use client::Boto3;
use control::Prepared;
use lease::Lease;
use model::Models;
use proxy::{Proxy, Upstream};

use crate::fake_aws::{FakeAws, Settings, Way};
use crate::venv::Recipe;

/// The emulators, the fault proxy and boto3: 200 MB.
pub(crate) static PROGRAMS: Recipe = Recipe {
    name: "aws",
    what: "the AWS emulators",
    requirements: include_str!("../aws/requirements.txt"),
    // Writes them out of botocore.
    models: Some(include_str!("../aws/models.py")),
};

/// How many of the fake's seconds pass in one where [`Aws::of_environment`] says that it is AWS: a load balancer is provisioned in a quarter of
/// one.
const HASTE: u32 = 600;

static MODELS: OnceCell<Models> = OnceCell::const_new();

/// One test's corner of AWS: a region and an account of its own on an emulator that all tests of the process share.
///
/// Dropping it panics when a request was seen that AWS's model forbids and nobody looked at [`Aws::violations`]: such a request
/// may have been lost in a retry, and the test would pass.
#[derive(Debug)]
pub struct Aws {
    lease: Lease,
    proxy: Proxy,
    client: Client,
    microburst: Option<&'static Microburst>,
    /// Goes back when this is dropped.
    prepared: Option<Prepared>,
    fake: Option<Fake>,
}

/// Our own AWS, with the way by which the client that is not ours asks it.
#[derive(Debug)]
struct Fake {
    aws: Arc<FakeAws>,
    _back: Proxy,
}

impl Aws {
    /// moto with AWS's behaviour for Network Load Balancers: the backend of most tests.
    ///
    /// # Errors
    /// When an emulator cannot be installed or started; the error says what to do.
    pub async fn moto() -> Result<Self> {
        Self::on(Kind::Moto).await
    }

    /// moto in a region of the caller's choice, of another partition maybe.
    ///
    /// # Errors
    /// As [`Aws::moto`].
    pub async fn moto_in(region: &'static str) -> Result<Self> {
        let kind = Kind::Moto;
        let emulator = Emulator::shared(kind).await?;
        Self::through(kind, Lease::of(region), emulator.address(), None).await
    }

    /// Our own AWS, which has time, quotas, rates and late reads. See [`Aws::as_fake`].
    ///
    /// # Errors
    /// As [`Aws::moto`].
    pub async fn fake(settings: Settings) -> Result<Self> {
        let models = MODELS.get_or_try_init(Models::load).await?;
        let lease = Lease::take(Kind::Moto);
        let aws = Arc::new(FakeAws::new(lease.region, &lease.account, settings));
        let by = |way| Upstream::Fake(Arc::clone(&aws), way);
        let back = Proxy::start(models, by(Way::Back)).await?;
        Ok(Self {
            proxy: Proxy::start(models, by(Way::Front)).await?,
            client: Client::new(Boto3::shared().await?, back.address(), &lease),
            lease,
            microburst: None,
            prepared: None,
            fake: Some(Fake { aws, _back: back }),
        })
    }

    /// The backend that `EVENKEEL_AWS` names: `fake`, or `moto` as without it. The fake has AWS's times, in haste, and is a little late.
    ///
    /// # Errors
    /// As [`Aws::moto`]; when it names another.
    pub async fn of_environment() -> Result<Self> {
        match std::env::var("EVENKEEL_AWS").as_deref() {
            Ok("fake") => {
                let aws = Self::fake(Settings::hastened(HASTE)).await?;
                if let Some(fake) = aws.as_fake() {
                    fake.run_ahead_at(HASTE);
                }
                Ok(aws)
            }
            Ok("moto" | "") | Err(_) => Self::moto().await,
            Ok(other) => bail!("EVENKEEL_AWS={other}: it is `moto` or `fake`"),
        }
    }

    /// The fake, where this is one.
    #[must_use]
    pub fn as_fake(&self) -> Option<&Arc<FakeAws>> {
        self.fake.as_ref().map(|fake| &fake.aws)
    }

    /// A corner of the emulator named.
    ///
    /// # Errors
    /// As [`Aws::moto`].
    pub async fn on(kind: Kind) -> Result<Self> {
        let emulator = Emulator::shared(kind).await?;
        Self::through(kind, Lease::take(kind), emulator.address(), None).await
    }

    /// moto behind microburst: needed only for [`Aws::inject_by_microburst`], because microburst takes 450 MiB.
    ///
    /// # Errors
    /// As [`Aws::moto`].
    pub async fn moto_behind_microburst() -> Result<Self> {
        let microburst = Microburst::shared().await?;
        let lease = Lease::take(Kind::Moto);
        Self::through(Kind::Moto, lease, microburst.address(), Some(microburst)).await
    }

    async fn through(
        kind: Kind,
        lease: Lease,
        upstream: std::net::SocketAddr,
        microburst: Option<&'static Microburst>,
    ) -> Result<Self> {
        let models = MODELS.get_or_try_init(Models::load).await?;
        // The client asks the emulator itself: what it does is neither counted nor broken.
        let direct = Emulator::shared(kind).await?.address();
        let client = Client::new(Boto3::shared().await?, direct, &lease);
        let account = kind.takes_account_header().then(|| lease.account.clone());
        let upstream = Upstream::Emulator {
            address: upstream,
            account,
        };
        Ok(Self {
            proxy: Proxy::start(models, upstream).await?,
            client,
            lease,
            microburst,
            prepared: None,
            fake: None,
        })
    }

    /// Where whoever is tested finds AWS: `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        self.proxy.url()
    }

    /// The region of this corner.
    #[must_use]
    pub fn region(&self) -> &str {
        self.lease.region
    }

    /// The account of this corner: twelve digits.
    #[must_use]
    pub fn account(&self) -> &str {
        &self.lease.account
    }

    /// The access key to come with: its holder may do everything.
    #[must_use]
    pub fn access_key(&self) -> AccessKey {
        self.lease.access_key()
    }

    /// The environment in which every AWS SDK finds this corner, and nothing else: no profile, no metadata service.
    #[must_use]
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let key = self.access_key();
        vec![
            ("AWS_ENDPOINT_URL", self.endpoint()),
            ("AWS_REGION", self.region().to_owned()),
            ("AWS_ACCESS_KEY_ID", key.id),
            ("AWS_SECRET_ACCESS_KEY", key.secret),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
            ("AWS_CONFIG_FILE", "/dev/null".to_owned()),
            ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null".to_owned()),
        ]
    }

    /// What went over the wire, in order.
    #[must_use]
    pub fn calls(&self) -> &CallLog {
        self.proxy.calls()
    }

    /// The client that is not ours.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// All load balancers, listeners, target groups with health, security groups and so on of the region, as boto3 sees them.
    ///
    /// # Errors
    /// When the emulator fails.
    pub async fn state(&self) -> Result<State> {
        self.client.dump().await
    }

    /// Breaks the calls that `at` names, by our own proxy.
    #[must_use = "a fault that nobody looks at may never have fired"]
    pub fn inject(&self, at: &At, fault: Fault) -> Injected {
        self.proxy.inject(at, fault)
    }

    /// The same by microburst, whose replies are made from AWS's own models.
    ///
    /// # Errors
    /// When this is not [`Aws::moto_behind_microburst`], or microburst has no such fault.
    pub async fn inject_by_microburst(&self, at: &At, fault: &Fault) -> Result<Injected> {
        let microburst = self
            .microburst
            .context("microburst is not in the way: start with Aws::moto_behind_microburst")?;
        let label = microburst.add_rule(at, fault).await?;
        Ok(self.proxy.label(at, &label, microburst))
    }

    /// Has somebody look at every call on its way.
    ///
    /// # Errors
    /// When somebody does already.
    pub fn watch(&self, watcher: Arc<dyn Watcher>) -> Result<()> {
        self.proxy.watch(watcher)
    }

    /// The requests so far that AWS's model forbids; looking at them makes them known.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        self.proxy.take_violations()
    }

    /// Fails if a request was seen that AWS's model forbids.
    ///
    /// # Errors
    /// With all of them.
    pub fn check(&self) -> Result<()> {
        let violations = self.violations();
        if violations.is_empty() {
            return Ok(());
        }
        bail!(
            "AWS's model forbids what was sent:\n{}",
            violations.join("\n")
        )
    }
}

impl Drop for Aws {
    fn drop(&mut self) {
        if let Some(prepared) = self.prepared.take() {
            prepared.give_back();
        }
        if std::thread::panicking() {
            return;
        }
        let violations = self.violations();
        assert!(
            violations.is_empty(),
            "AWS's model forbids what was sent:\n{}",
            violations.join("\n")
        );
    }
}
