//! An Azure of our own: Azure Resource Manager with Microsoft.Network as of 2024-03-01, as strict as the real one, in the test's process and
//! behind HTTP on 127.0.0.1. Nobody has written an emulator of it.
//!
//! Each rule says in a comment where it is known from: the API's description, a page of Azure's documentation (by title), recorded traffic, or
//! those who met it; what nobody documents is in [`Settings`] or refused through `refusal::forbidden` with a code of our own. Bodies
//! are held to `azure/schema.json`. The fake has a clock of its own, which a test moves ([`FakeAzure::advance`]) and which stands still while
//! a request is under way. [`FakeAzure::history`] knows every moment that there was.

mod addresses;
mod buckets;
mod calls;
mod client;
mod faults;
mod ids;
mod json;
mod load_balancers;
mod login;
mod public_ips;
mod quotas;
mod refusal;
mod requests;
mod roles;
mod schema;
mod security_groups;
mod server;
mod settings;
mod show;
mod state;
mod turn;
mod watcher;
mod world;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use http::{HeaderMap, HeaderValue, Method};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::{RwLock, mpsc, watch};
use tokio_util::task::AbortOnDropHandle;

use crate::cloud::listener::Listener;
use crate::cloud::replica::Replica;
use crate::venv::Recipe;
use addresses::Addresses;
use buckets::Levels;
use faults::{Faults, Met};
use ids::{ArmId, Ids};
use login::Login;
use requests::{Asked, NETWORK_VERSION, Reply, Request};
use turn::{End, Patience};

pub use crate::cloud::calls::{Counts, Mark};
pub use crate::cloud::{Settle, history::Cause};
pub use buckets::Buckets;
pub use calls::{Call, CallLog};
pub use client::{AzureError, Client};
pub use faults::{At, Fault, Injected};
pub use login::Identities;
pub use quotas::Quotas;
pub use roles::Role;
pub use settings::{Casing, Overlap, Pace, Settings, Times};
pub use state::{History, Kind, Moment, Operation, Phase, Resource, State, Status};
pub use watcher::Watcher;
pub use world::{LOCATION, World, WorldOptions};

/// The client that is not ours: 45 MB.
pub(crate) static PROGRAMS: Recipe = Recipe {
    name: "azure",
    what: "the Azure client",
    requirements: include_str!("../azure/requirements.txt"),
    models: None,
};

/// How often a clock that keeps time is moved.
const TICK: Duration = Duration::from_millis(10);

/// When the fake's clock begins.
const BEGIN: &str = "2026-01-01T00:00:00Z";

static SUBSCRIPTIONS: AtomicUsize = AtomicUsize::new(1);

/// A subscription of a tenant. Dropping it ends its servers.
///
/// Dropping it panics when a request was seen that Azure's description forbids and nobody looked at [`FakeAzure::violations`]: such a
/// request may have been lost in a retry, and the test would pass.
#[derive(Debug)]
pub struct FakeAzure {
    core: Arc<Core>,
    front: Listener,
    back: Listener,
    /// A door that is never shut.
    _open: mpsc::UnboundedSender<Duration>,
}

/// What both doors share.
#[derive(Debug)]
struct Core {
    inner: Mutex<Inner>,
    /// Read by each request while it is under way, written by the clock.
    under_way: RwLock<()>,
    calls: CallLog,
    faults: Faults,
    /// For how long nobody shall listen.
    refuse: mpsc::UnboundedSender<Duration>,
    watcher: OnceLock<Arc<dyn Watcher>>,
    /// Writes without a reply, by the resource's key.
    flying: Mutex<BTreeMap<String, Vec<String>>>,
}

#[derive(Debug)]
struct Inner {
    subscription: String,
    now: Timestamp,
    settings: Settings,
    state: State,
    /// Late reads. "Azure Resource Manager ... propagation": a GET after a PUT may be served by another region's cache ("the resource group
    /// or resource ... could not be found" after a creation; "Troubleshoot Azure resource not found errors"). Azure documents no bound.
    replica: Replica<State>,
    ids: Ids,
    addresses: Addresses,
    patience: Patience,
    levels: Levels,
    login: Login,
    history: History,
    superseded: Vec<String>,
    violations: Vec<String>,
}

#[expect(
    clippy::disallowed_methods,
    reason = "the edge: whoever is given a token compares its end with the clock"
)]
fn wall() -> Timestamp {
    Timestamp::now()
}

/// By which way a request comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// As anybody's: with a token, counted, throttled, within a role, and maybe late in what it reads.
    Front,
    /// A test's own: it needs none of these.
    Back,
}

impl FakeAzure {
    /// Starts one, with nothing in it: see [`World::build`].
    ///
    /// # Errors
    /// When no port is free.
    pub async fn start(settings: Settings) -> Result<Self> {
        let number = SUBSCRIPTIONS.fetch_add(1, Ordering::Relaxed);
        let (refuse, refusals) = mpsc::unbounded_channel();
        let (open, never) = mpsc::unbounded_channel();
        let core = Arc::new(Core {
            inner: Mutex::new(Inner {
                subscription: format!("00000000-0000-0000-0000-{number:012}"),
                now: BEGIN.parse().expect("a time"),
                settings,
                state: State::default(),
                replica: Replica::default(),
                ids: Ids::default(),
                addresses: Addresses::default(),
                patience: Patience::default(),
                levels: Levels::default(),
                login: Login::default(),
                history: History::new(()),
                superseded: Vec::new(),
                violations: Vec::new(),
            }),
            under_way: RwLock::default(),
            calls: CallLog::default(),
            faults: Faults::default(),
            refuse,
            watcher: OnceLock::new(),
            flying: Mutex::default(),
        });
        Ok(Self {
            front: server::open(&core, Way::Front, refusals).await?,
            back: server::open(&core, Way::Back, never).await?,
            core,
            _open: open,
        })
    }

    /// Where whoever is tested finds Azure Resource Manager, Microsoft Entra's tokens (`/TENANT/oauth2/v2.0/token`) and the instance metadata
    /// service (`/metadata/identity/oauth2/token`): `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        self.front.url()
    }

    /// The subscription's id.
    #[must_use]
    pub fn subscription(&self) -> String {
        self.lock().subscription.clone()
    }

    /// A token that holds, without asking for one.
    #[must_use]
    pub fn token(&self) -> String {
        let mut inner = self.lock();
        let Inner { login, ids, .. } = &mut *inner;
        login.issue(ids)
    }

    /// Ends all tokens that were given: 401 `ExpiredAuthenticationToken` from now on.
    pub fn expire_tokens(&self) {
        self.lock().login.expire();
    }

    /// Who may have tokens.
    #[must_use]
    pub fn identities(&self) -> Identities {
        self.lock().login.identities.clone()
    }

    /// Changes who may have tokens from now on.
    pub fn set_identities(&self, change: impl FnOnce(&mut Identities)) {
        change(&mut self.lock().login.identities);
    }

    /// What time it is.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.lock().now
    }

    /// Lets time pass, once no request is under way. Those that come meanwhile wait.
    pub async fn advance(&self, by: Duration) {
        self.core.advance(by).await;
    }

    /// Has the fake's clock go so many times as fast as the wall's, until what is returned is dropped: for programs that wait by the wall.
    #[must_use = "the clock stands still again when this is dropped"]
    pub fn keep_time(&self, speed: u32) -> AbortOnDropHandle<()> {
        let core = Arc::clone(&self.core);
        AbortOnDropHandle::new(tokio::spawn(async move {
            let mut last = tokio::time::Instant::now();
            loop {
                tokio::time::sleep(TICK).await;
                let now = tokio::time::Instant::now();
                core.advance((now - last) * speed).await;
                last = now;
            }
        }))
    }

    /// Changes how Azure behaves from now on.
    pub fn set(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.lock().settings);
    }

    /// What is there now.
    #[must_use]
    pub fn state(&self) -> State {
        let mut inner = self.lock();
        inner.finish_due();
        inner.state.clone()
    }

    /// Everything that was.
    #[must_use]
    pub fn history(&self) -> History {
        let mut inner = self.lock();
        inner.finish_due();
        inner.history.clone()
    }

    /// What went over the wire, in order.
    #[must_use]
    pub fn calls(&self) -> &CallLog {
        &self.core.calls
    }

    /// Breaks the calls that `at` names.
    #[must_use = "a fault that nobody looks at may never have fired"]
    pub fn inject(&self, at: &At, fault: Fault) -> Injected {
        let (release, released) = watch::channel(false);
        self.core.faults.add(at, Met { fault, released }, release)
    }

    /// Has every call by the door of whoever is tested looked at from now on.
    ///
    /// # Errors
    /// When somebody looks already.
    pub fn watch(&self, watcher: Arc<dyn Watcher>) -> Result<()> {
        let set = self.core.watcher.set(watcher);
        set.map_err(|_| anyhow!("somebody looks at every call already"))
    }

    /// Which writes took the place of others that were not over, by either door.
    #[must_use]
    pub fn superseded(&self) -> Vec<String> {
        self.lock().superseded.clone()
    }

    /// The requests so far that Azure's description forbids; looking at them makes them known.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().violations)
    }

    /// Fails if a request was seen that Azure's description forbids.
    ///
    /// # Errors
    /// With all of them.
    pub fn check(&self) -> Result<()> {
        let violations = self.violations();
        if violations.is_empty() {
            return Ok(());
        }
        bail!(
            "Azure's description forbids what was sent:\n{}",
            violations.join("\n")
        )
    }

    /// The client that is not ours. It comes by the test's own door: what it does is neither counted nor broken.
    ///
    /// # Errors
    /// When it cannot be installed or started; the error says what to do.
    pub async fn client(&self) -> Result<Client> {
        Client::new(self.back.url(), self.subscription(), String::new()).await
    }

    /// The same by the door of whoever is tested.
    ///
    /// # Errors
    /// As [`FakeAzure::client`].
    pub async fn client_in_front(&self) -> Result<Client> {
        Client::new(self.front.url(), self.subscription(), self.token()).await
    }

    /// One request by the test's own door, without HTTP: status and body. `path` is an id, or a collection's. What it writes is in effect
    /// when this returns, unless it takes time on the fake's clock.
    pub async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        let version = ("api-version".to_owned(), NETWORK_VERSION.to_owned());
        let request = Request {
            method,
            path: path.to_owned(),
            query: BTreeMap::from([version]),
            headers,
            body: body.map(|body| body.to_string().into()).unwrap_or_default(),
            base: self.back.url(),
        };
        let reply = self.core.answer(Way::Back, &request, End::default()).await;
        self.lock().finish_due();
        (reply.status, reply.body.unwrap_or_default())
    }

    /// Has a resource group be there.
    pub fn seed_group(&self, name: &str, location: &str) {
        let id = format!(
            "/subscriptions/{}/resourceGroups/{name}",
            self.subscription()
        );
        self.insert(&id, Kind::Group, json!({"location": location}));
    }

    /// Has a resource be there as it is, whatever the rules say: virtual networks, subnets, interfaces, machines, scale sets, and what is
    /// older than the rules. Shown is what `body` has, with id, name, type and ETag.
    ///
    /// # Panics
    /// When `id` is none.
    pub fn seed(&self, id: &str, body: Value) {
        let parsed = ArmId::parse(id).expect("an id");
        let kind = match parsed.full_kind().as_str() {
            "Microsoft.Network/loadBalancers" => Kind::LoadBalancer,
            "Microsoft.Network/publicIPAddresses" => Kind::PublicIp,
            "Microsoft.Network/networkSecurityGroups" => Kind::SecurityGroup,
            _ => Kind::Other,
        };
        self.insert(&parsed.to_string(), kind, body);
    }

    fn insert(&self, id: &str, kind: Kind, mut goal: Value) {
        if goal["properties"].is_null() {
            goal["properties"] = json!({});
        }
        let mut inner = self.lock();
        let resource = Resource {
            kind,
            id: id.to_owned(),
            etag: inner.ids.etag(),
            phase: Phase::Succeeded,
            live: Some(goal.clone()),
            goal,
            operation: None,
            guid: inner.ids.guid(),
        };
        inner.state.resources.insert(id.to_lowercase(), resource);
        inner.commit(Cause::Time);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.core.lock()
    }
}

impl Drop for FakeAzure {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let violations = self.violations();
        assert!(
            violations.is_empty(),
            "Azure's description forbids what was sent:\n{}",
            violations.join("\n")
        );
    }
}

impl Core {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn advance(&self, by: Duration) {
        let _alone = self.under_way.write().await;
        self.lock().advance(by);
    }

    async fn answer(&self, way: Way, request: &Request, end: End) -> Reply {
        let _under_way = self.under_way.read().await;
        let mut inner = self.lock();
        if request.asked() == Asked::Token {
            let Inner { login, ids, .. } = &mut *inner;
            return login.answer(request, ids);
        }
        inner.answer(way, request, end)
    }

    /// A write begins; says what else is under way at the same resource.
    fn take_off(&self, key: &str, request: &Request) -> Option<String> {
        let running = {
            let mut inner = self.lock();
            inner.finish_due();
            let found = inner.state.resources.get(key);
            let operation = found.and_then(|found| found.operation.as_deref());
            let operation = operation.and_then(|id| inner.state.operations.get(id));
            operation.map(|operation| operation.call.clone())
        };
        let mut flying = self.flying();
        let beside = flying.entry(key.to_owned()).or_default();
        let first = beside.first().cloned();
        beside.push(request.kind());
        first.or(running)
    }

    fn land(&self, key: &str) {
        let mut flying = self.flying();
        if let Some(beside) = flying.get_mut(key) {
            beside.pop();
            if beside.is_empty() {
                flying.remove(key);
            }
        }
    }

    fn flying(&self) -> MutexGuard<'_, BTreeMap<String, Vec<String>>> {
        self.flying.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Brings to their end what is over by now.
    fn finish_due(&mut self) {
        turn::finish_due(
            &mut self.state,
            &mut self.addresses,
            &mut self.ids,
            self.now,
        );
        self.commit(Cause::Time);
    }

    /// Writes down what has changed.
    fn commit(&mut self, cause: Cause) {
        let changes = Arc::new(self.state.take_changes());
        if changes.is_empty() {
            return;
        }
        self.replica.written(Arc::clone(&changes), self.now);
        if self.settings.lag == Settle::AT_ONCE {
            self.replica.read(Settle::AT_ONCE, self.now);
        }
        if self.settings.history {
            self.history.add(self.now, cause, changes);
        }
    }

    /// Lets time pass, from one moment at which an operation is over to the next.
    fn advance(&mut self, by: Duration) {
        let end = self.now + by;
        loop {
            self.finish_due();
            if self.now >= end {
                return;
            }
            let coming = self.state.operations.values();
            let next = coming
                .filter(|operation| operation.is_under_way())
                .map(|operation| operation.began + operation.settle.after)
                .filter(|moment| *moment > self.now)
                .min();
            self.now = next.map_or(end, |next| next.min(end));
        }
    }
}
