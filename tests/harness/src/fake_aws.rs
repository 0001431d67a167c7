//! An AWS of our own that is as strict as AWS: time, quotas, rates, late reads and refusals, which emulators lack. Decides; the wire in front
//! is that of [`crate::aws`], so the real SDK asks it over HTTP and every request is held to AWS's own model.
//!
//! Each rule says in a comment which sentence of AWS's it is. What AWS does not document is in [`Settings`]. [`FakeAws::history`] knows every
//! moment that there was.
//!
//! The fake has a clock of its own, which a test moves ([`FakeAws::advance`]): never while a request is under way, from when it has come
//! through the wire until its reply is on the way back. One clock is an exception: it runs ([`FakeAws::run_at`]), with that of a program
//! whose time nobody can stop, and passes while requests are on the wire, as on AWS. Then too each request is answered at one moment.

mod asked;
mod buckets;
pub mod ec2;
pub mod elb;
mod history;
mod ids;
mod operations;
mod others;
mod paging;
mod quotas;
mod refusal;
mod running;
mod settings;
mod state;
mod turn;
mod wire;
mod young;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::Response;
use hyper::body::Bytes;
use jiff::Timestamp;
use tokio::sync::{OwnedRwLockReadGuard, RwLock};

use crate::aws::envelope;
use crate::aws::identify::Identified;
use crate::cloud::replica::Replica;
use buckets::Levels;
use ids::{Ids, Place};
use operations::Operation;
use refusal::{Answer, refuse};
use running::Running;
use turn::{Ask, Patience, Turn};
use young::Young;

pub use crate::cloud::{Settle, history::Cause};
pub use crate::table::Table;
pub use buckets::{Bucket, Buckets, Taken};
pub use history::{History, Moment};
pub use quotas::Quotas;
pub use settings::{Settings, Times};
pub use state::State;

/// When the fake's clock begins.
const BEGIN: &str = "2026-01-01T00:00:00Z";

/// A region of an account.
#[derive(Debug)]
pub struct FakeAws {
    place: Place,
    inner: Mutex<Inner>,
    /// Read by each request while it is under way, written by the clock.
    under_way: Arc<RwLock<()>>,
}

/// A request is under way.
pub(crate) type UnderWay = OwnedRwLockReadGuard<()>;

#[derive(Debug)]
struct Inner {
    now: Timestamp,
    running: Option<Running>,
    settings: Settings,
    state: State,
    /// Late reads. EC2 API reference, "Eventual consistency in the Amazon EC2 API": "the result of an API command you run that affects your
    /// Amazon EC2 resources might not be immediately visible to all subsequent commands you run." AWS documents no bound.
    replica: Replica<State>,
    ids: Ids,
    patience: Patience,
    young: Young,
    levels: Levels,
    history: History,
}

#[expect(
    clippy::disallowed_methods,
    reason = "the edge: whoever is tested goes by this clock"
)]
fn wall() -> Timestamp {
    Timestamp::now()
}

/// By which way a request comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// As anybody's: throttled, and maybe late in what it reads.
    Front,
    /// A test's own: it sees all at once, and takes no tokens.
    Back,
}

impl FakeAws {
    pub(crate) fn new(region: &str, account: &str, settings: Settings) -> Self {
        settings.quotas.check();
        let place = Place {
            region: region.to_owned(),
            account: account.to_owned(),
        };
        let inner = Inner {
            now: BEGIN.parse().expect("a time"),
            running: None,
            history: History::new(settings.clone()),
            settings,
            state: State::default(),
            replica: Replica::default(),
            ids: Ids::default(),
            patience: Patience::default(),
            young: Young::default(),
            levels: Levels::default(),
        };
        Self {
            place,
            inner: Mutex::new(inner),
            under_way: Arc::default(),
        }
    }

    /// What time it is.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let mut inner = self.lock();
        inner.catch_up();
        inner.now
    }

    /// Has time pass by itself from now on, so many seconds in each one on the wall, as it does for those who ask ([`crate::pace`]).
    ///
    /// It passes while requests are under way too: theirs does, by the clock on the wall, and the two would part if this one stood still:
    /// buckets would fill more slowly than who draws from them counts on.
    pub fn run_at(&self, factor: u32) {
        self.run(factor, factor);
    }

    /// The same where those who ask go by the clock on the wall: what takes minutes on AWS is over in a moment for them.
    pub fn run_ahead_at(&self, factor: u32) {
        self.run(factor, 1);
    }

    fn run(&self, factor: u32, theirs: u32) {
        let mut inner = self.lock();
        inner.running = Some(Running::from(inner.now, wall(), factor, theirs));
    }

    /// Who took tokens out of the buckets so far, in order; without buckets nobody.
    #[must_use]
    pub fn taken(&self) -> Vec<Taken> {
        self.lock().levels.taken().to_vec()
    }

    /// Lets time pass, once no request is under way. Those that come meanwhile wait.
    pub async fn advance(&self, by: Duration) {
        let _alone = self.under_way.write().await;
        self.lock().advance(by);
    }

    /// Changes how AWS behaves from now on; what was remains as it was.
    pub fn set(&self, change: impl FnOnce(&mut Settings)) {
        let mut inner = self.lock();
        inner.catch_up();
        change(&mut inner.settings);
        inner.settings.quotas.check();
        let settings = inner.settings.clone();
        inner.history.behave(settings);
        inner.commit(Cause::Time);
    }

    /// Whether an instance answers health checks from now on.
    pub fn set_answers(&self, instance: &str, answers: bool) {
        let mut inner = self.lock();
        let now = inner.now;
        if let Some(one) = inner.state.instances.get_mut(instance) {
            one.answers = (answers, now);
        }
        inner.commit(Cause::Time);
    }

    /// What is there now.
    #[must_use]
    pub fn state(&self) -> State {
        let mut inner = self.lock();
        inner.catch_up();
        inner.state.clone()
    }

    /// What somebody says of the state, who lets nobody else at it meanwhile.
    pub fn look<T>(&self, say: impl FnOnce(&State) -> T) -> T {
        let mut inner = self.lock();
        inner.catch_up();
        say(&inner.state)
    }

    /// How many targets of a target group are in each state, by its ARN.
    #[must_use]
    pub fn health(&self, group: &str) -> BTreeMap<&'static str, usize> {
        let mut inner = self.lock();
        inner.catch_up();
        let group = inner.state.target_groups.get(group);
        group.map_or_else(BTreeMap::new, |group| {
            elb::health::count(&inner.state, &inner.settings, inner.now, group)
        })
    }

    /// Everything that was.
    #[must_use]
    pub fn history(&self) -> History {
        self.lock().history.clone()
    }

    /// A request has come through the wire: the test does not move the clock until this is dropped.
    pub(crate) async fn begin(&self) -> UnderWay {
        Arc::clone(&self.under_way).read_owned().await
    }

    /// Answers a request that AWS's model allows.
    pub(crate) fn answer(&self, way: Way, asked: &Identified<'_>) -> Response<Bytes> {
        let answer = match asked.region == self.place.region || asked.region.is_empty() {
            true => self.lock().answer(&self.place, way, asked),
            false => Err(refuse(
                "SignatureDoesNotMatch",
                format!(
                    "Credential should be scoped to a valid region, not '{}'",
                    asked.region
                ),
            )),
        };
        match answer {
            Ok(answer) => {
                wire::reply(asked.model, &asked.operation, &answer).unwrap_or_else(|wrong| {
                    let message = format!("the fake answers what AWS cannot: {wrong}");
                    envelope::error(asked.model, 500, "InternalFailure", &message)
                })
            }
            Err(refusal) => {
                envelope::error(asked.model, refusal.status, refusal.code, &refusal.message)
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn answer(&mut self, place: &Place, way: Way, request: &Identified<'_>) -> Answer {
        let (service, name) = (&*request.model.service, &*request.operation);
        self.catch_up();
        if let (Way::Front, Some(buckets)) = (way, &self.settings.buckets) {
            self.levels.take(buckets, request, self.now)?;
        }
        let late = self.settings.write_lag;
        let late = (way == Way::Front && late != Settle::AT_ONCE).then_some(late);
        let operation = operations::find(service, name).ok_or_else(|| {
            refuse(
                "InvalidAction",
                format!("The fake does not know the action {service}:{name}"),
            )
        })?;
        if let (Some(late), Operation::Write(_)) = (late, operation) {
            let asked = &request.parameters;
            self.young.check((service, name), asked, late, self.now)?;
        }
        let answer = match operation {
            Operation::Read(read) => {
                let late = way == Way::Front && self.settings.lag != Settle::AT_ONCE;
                let state = match late {
                    true => self.replica.read(self.settings.lag, self.now),
                    false => &self.state,
                };
                read(&Ask {
                    state,
                    asked: &request.parameters,
                    now: self.now,
                    settings: &self.settings,
                    place,
                })
            }
            Operation::Write(write) => write(&mut Turn {
                state: &mut self.state,
                asked: &request.parameters,
                now: self.now,
                wall: self.running.map_or_else(wall, |running| running.wall()),
                settings: &self.settings,
                place,
                ids: &mut self.ids,
                patience: &mut self.patience,
            }),
        };
        match &answer {
            Ok(answer) if way == Way::Front && name == "DescribeLoadBalancers" => {
                elb::load_balancers::were_read(&mut self.state, answer, self.now);
            }
            Ok(_) if late.is_some() => self.young.made(self.state.made(), self.now),
            Ok(_) => {}
            Err(_) => self.state.undo(),
        }
        self.commit(Cause::Call(format!("{service}:{name}")));
        answer
    }

    /// Writes down what has changed.
    fn commit(&mut self, cause: Cause) {
        let changes = Arc::new(self.state.take_changes());
        let by_time = cause == Cause::Time;
        if !changes.is_empty() {
            self.replica.written(Arc::clone(&changes), self.now);
            if self.settings.lag == Settle::AT_ONCE {
                self.replica.read(Settle::AT_ONCE, self.now);
            }
        }
        if self.settings.history && (by_time || !changes.is_empty()) {
            self.history.add(self.now, cause, changes);
        }
    }

    fn catch_up(&mut self) {
        if let Some(running) = self.running {
            self.advance(running.now().duration_since(self.now).unsigned_abs());
        }
    }

    /// Lets time pass, from one moment at which something changes by itself to the next.
    fn advance(&mut self, by: Duration) {
        let end = self.now + by;
        while self.now < end {
            // Whoever keeps no history sees only the end.
            let next = self
                .settings
                .history
                .then(|| elb::moments::next(&self.state, &self.settings, self.now));
            self.now = next.flatten().filter(|next| *next < end).unwrap_or(end);
            elb::targets::forget_drained(&mut self.state, self.now);
            ec2::interfaces::forget_released(&mut self.state, &self.settings, self.now);
            self.commit(Cause::Time);
        }
    }
}
