//! A controller in miniature: it asks an engine for a scene until nothing is left to do, and knows how to be killed.
//!
//! It keeps what Kubernetes keeps (the Services, the groups not yet released, the approvals) and loses, when it restarts, what a
//! process loses. Time is a value that it moves on itself: past the hold of a hopeless write, and as far as a wait asks.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use evenkeel_core::{
    Timestamp,
    converge::Journal,
    endpoints::EndpointSet,
    engine::{AnyProvider, Ask, Engine, Report, Request},
    error::CloudError,
    failure::{Failure, HOLD},
    ids::GroupKey,
    plan::{Change, Until},
    ticket::Ticket,
};
use tokio::sync::Notify;

use crate::{
    rig::{Rig, World},
    scene::Scene,
};

/// How often a group that keeps failing is tried, with time enough in between for every hold to end.
const ATTEMPTS: usize = 6;

/// More runs of one group than any way to a settled state needs.
const MAX_RUNS: usize = 200;

/// How long to wait between two looks at a world whose work is done elsewhere.
const POLL: Duration = Duration::from_millis(5);

/// How many looks are taken before any time is spent on waiting, and how many turns other tasks get in each.
const QUICK_LOOKS: usize = 8;
const TURNS: usize = 16;

/// Why a run did not end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The process was killed, as the tap was told.
    Killed,
    /// It should have, and did not.
    Stuck(String),
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Killed => f.write_str("the process was killed"),
            Self::Stuck(why) => f.write_str(why),
        }
    }
}

impl From<Stop> for String {
    fn from(stop: Stop) -> Self {
        stop.to_string()
    }
}

/// Groups that somebody woke.
#[derive(Debug, Default)]
struct Told {
    keys: Mutex<BTreeSet<GroupKey>>,
    notify: Notify,
}

impl Told {
    fn keys(&self) -> MutexGuard<'_, BTreeSet<GroupKey>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sees whether a step begins after the right to write has ended.
struct Witness<'a> {
    ticket: Ticket,
    late: &'a AtomicUsize,
}

impl Journal for Witness<'_> {
    fn begins(&self, _: &GroupKey, _: &Change) {
        if self.ticket.remaining().is_err() {
            self.late.fetch_add(1, Ordering::Relaxed);
        }
    }
    fn ended(&self, _: &GroupKey, _: &Change, _: Result<(), &CloudError>) {}
    fn observed(&self, _: &GroupKey, _: Result<(), &CloudError>) {}
}

/// The controller in miniature.
pub struct Operator<'r, R: Rig> {
    /// What it drives.
    pub rig: &'r R,
    /// The cloud.
    pub world: R::World,
    /// What the cluster asks now.
    pub scene: Scene,
    /// The digests approved, by group.
    pub approvals: BTreeMap<GroupKey, Arc<str>>,
    /// The time.
    pub now: Timestamp,
    /// The right to write.
    pub ticket: Ticket,
    /// What each group reported last.
    pub reports: BTreeMap<GroupKey, Report>,
    /// Every write reported, in order.
    pub applied: Vec<Change>,
    /// Every failure reported, in order.
    pub failed: Vec<Failure>,
    /// Steps begun after the right to write had ended.
    pub late: AtomicUsize,
    /// Groups that have been served and are not known to be gone.
    pub(crate) owned: BTreeSet<GroupKey>,
    /// Groups whose owner has approved something in this scene.
    approved: BTreeSet<GroupKey>,
    /// Whether time stands still.
    pub frozen_clock: bool,
    engine: Option<Engine<R::Provider>>,
    told: Arc<Told>,
}

impl<'r, R: Rig> Operator<'r, R> {
    /// A controller over a fresh cloud, with nothing to serve.
    pub async fn new(rig: &'r R) -> Self {
        let world = rig.world().await;
        let mut operator = Self {
            rig,
            world,
            scene: Scene::default(),
            approvals: BTreeMap::new(),
            now: Timestamp::UNIX_EPOCH,
            ticket: Ticket::unlimited(),
            reports: BTreeMap::new(),
            applied: Vec::new(),
            failed: Vec::new(),
            late: AtomicUsize::new(0),
            owned: BTreeSet::new(),
            approved: BTreeSet::new(),
            frozen_clock: false,
            engine: None,
            told: Arc::default(),
        };
        operator.restart().await;
        operator
    }

    /// A controller that has settled one scene after the other.
    ///
    /// # Errors
    /// When one of them does not settle.
    pub async fn after(rig: &'r R, scenes: &[Scene]) -> Result<Self, String> {
        let mut operator = Self::new(rig).await;
        for scene in scenes {
            operator.play(scene).await?;
        }
        Ok(operator)
    }

    /// Ends the process and starts another: all memory is lost.
    pub async fn restart(&mut self) {
        self.engine = None;
        self.told = Arc::default();
        self.reports.clear();
        self.world.tap().revive();
        let engine = Engine::new(self.world.provider().await);
        let told = self.told.clone();
        engine.attach(Arc::new(move |key| {
            told.keys().insert(key.clone());
            told.notify.notify_one();
        }));
        self.engine = Some(engine);
    }

    /// Takes the first look of every group from one inventory, as a process that starts does.
    ///
    /// # Errors
    /// When the process is killed, or the cloud cannot be asked.
    pub async fn inventory(&self) -> Result<(), Stop> {
        self.bounded("an inventory", self.engine().inventory())
            .await?
            .map(drop)
            .map_err(|error| Stop::Stuck(format!("the inventory failed: {error}")))
    }

    /// The provider.
    pub fn provider(&self) -> &R::Provider {
        self.engine().provider()
    }

    /// The engine.
    pub fn engine(&self) -> &Engine<R::Provider> {
        self.engine.as_ref().expect("made by restart")
    }

    /// Every group with what is asked of it now: those of the scene, and those that must be released.
    pub fn asks(&mut self) -> BTreeMap<GroupKey, Ask> {
        let mut asks = self.scene.asks(&self.rig.cluster());
        self.owned.extend(asks.keys().cloned());
        for key in &self.owned {
            asks.entry(key.clone()).or_insert(Ask::Release);
        }
        asks
    }

    /// The request for a group.
    pub fn request(&self, key: &GroupKey, ask: Ask) -> Request {
        Request {
            key: key.clone(),
            ask,
            nodes: self.scene.node_set(),
            endpoints: Arc::new(EndpointSet::unknown()),
            approval: self.approvals.get(key).cloned(),
            paused: false,
            look: false,
            ticket: self.ticket.clone(),
            now: self.now,
        }
    }

    /// One run of one group.
    ///
    /// # Errors
    /// When the process is killed, or the run does not end.
    pub async fn run(&mut self, request: Request) -> Result<Report, Stop> {
        let (key, ticket) = (request.key.clone(), request.ticket.clone());
        self.told.keys().remove(&key);
        let report = self
            .bounded(
                &format!("a run of {key}"),
                self.engine().run(
                    request,
                    &Witness {
                        ticket,
                        late: &self.late,
                    },
                ),
            )
            .await?;
        self.applied.extend(report.applied.iter().cloned());
        self.failed.extend(report.failures.iter().cloned());
        if report.gone {
            self.owned.remove(&key);
        }
        self.reports.insert(key, report.clone());
        Ok(report)
    }

    /// Leads to a scene, and demands that it settles without failures and waits.
    ///
    /// # Errors
    /// When it does not.
    pub async fn play(&mut self, scene: &Scene) -> Result<(), String> {
        self.set(scene);
        self.settle().await?;
        self.expect_clean()
    }

    /// What the cluster asks from now on.
    pub fn set(&mut self, scene: &Scene) {
        self.scene = scene.clone();
        self.approved.clear();
    }

    /// Runs every group once, as far as it goes; a process that is killed is started again.
    ///
    /// # Errors
    /// When a run does not end.
    pub async fn once(&mut self) -> Result<(), String> {
        for (key, ask) in self.asks() {
            let request = self.request(&key, ask);
            match self.run(request).await {
                Ok(_) => {}
                Err(Stop::Killed) => self.restart().await,
                Err(Stop::Stuck(why)) => return Err(why),
            }
        }
        Ok(())
    }

    /// Runs every group until nothing is left to do or only failures are left.
    ///
    /// # Errors
    /// When the process is killed, or something waits for ever.
    pub async fn settle(&mut self) -> Result<(), Stop> {
        let keys = self.asks().into_keys().collect();
        self.settle_only(keys).await
    }

    /// The same for some groups.
    ///
    /// # Errors
    /// When the process is killed, or something waits for ever.
    pub async fn settle_only(&mut self, groups: BTreeSet<GroupKey>) -> Result<(), Stop> {
        let mut due = groups.clone();
        let mut waiting: BTreeSet<GroupKey> = BTreeSet::new();
        let mut attempts: BTreeMap<GroupKey, usize> = BTreeMap::new();
        let mut runs: BTreeMap<GroupKey, usize> = BTreeMap::new();
        loop {
            let asks = self.asks();
            for (key, ask) in asks {
                if !due.remove(&key) {
                    continue;
                }
                let count = runs.entry(key.clone()).or_default();
                *count += 1;
                if *count > MAX_RUNS {
                    return Err(Stop::Stuck(format!(
                        "{key} has not settled: {}",
                        self.tell(&key)
                    )));
                }
                waiting.remove(&key);
                let request = self.request(&key, ask);
                let report = self.run(request).await?;
                if self.approve(&key, &report)? {
                    due.insert(key);
                } else if !report.failures.is_empty() {
                    let tried = attempts.entry(key.clone()).or_default();
                    *tried += 1;
                    if *tried < ATTEMPTS {
                        due.insert(key);
                    }
                } else if report.waits.iter().any(|wait| wait.until != Until::Told) {
                    due.insert(key);
                } else if !report.waits.is_empty() {
                    waiting.insert(key);
                }
            }
            self.world.advance().await;
            // Time enough for every hold and every wait.
            if !self.frozen_clock {
                self.now += HOLD + HOLD;
            }
            due.extend(self.told(&groups));
            if due.is_empty() {
                let Some(key) = waiting.first().cloned() else {
                    return Ok(());
                };
                due.extend(self.wait_to_be_told(&groups).await?.ok_or_else(|| {
                    Stop::Stuck(format!(
                        "{key} waits to be told, and nobody tells it: {}",
                        self.tell(&key)
                    ))
                })?);
            }
        }
    }

    /// Those of these groups that were told since they ran. A group that is gone may still be told, and nobody cares.
    fn told(&self, groups: &BTreeSet<GroupKey>) -> BTreeSet<GroupKey> {
        let mut told = self.told.keys();
        told.retain(|key| self.owned.contains(key));
        told.intersection(groups).cloned().collect()
    }

    /// The groups that were told, or None when nobody is.
    async fn wait_to_be_told(
        &self,
        groups: &BTreeSet<GroupKey>,
    ) -> Result<Option<BTreeSet<GroupKey>>, Stop> {
        let told = async {
            for look in 0_usize.. {
                self.world.advance().await;
                // What is in this process needs a turn or two; anything else needs time.
                for _ in 0..TURNS {
                    tokio::task::yield_now().await;
                    let told = self.told(groups);
                    if !told.is_empty() {
                        return told;
                    }
                }
                if look >= QUICK_LOOKS {
                    let _ = tokio::time::timeout(POLL, self.told.notify.notified()).await;
                }
            }
            unreachable!("looks for ever")
        };
        tokio::select! {
            biased;
            () = self.world.tap().killed() => Err(Stop::Killed),
            told = tokio::time::timeout(self.rig.patience(), told) => Ok(told.ok()),
        }
    }

    /// Settles, however often the process is killed.
    ///
    /// # Errors
    /// When something waits for ever.
    pub async fn persist(&mut self, take_inventory: bool) -> Result<(), String> {
        for _ in 0..MAX_RUNS {
            match self.settle().await {
                Ok(()) => return Ok(()),
                Err(Stop::Stuck(why)) => return Err(why),
                Err(Stop::Killed) => {
                    self.restart().await;
                    // An inventory that fails leaves every group to look for itself.
                    if take_inventory && self.inventory().await == Err(Stop::Killed) {
                        self.restart().await;
                    }
                }
            }
        }
        Err("the process is killed again and again".to_owned())
    }

    /// Approves what a group is refused for want of approval. True when that is news.
    fn approve(&mut self, key: &GroupKey, report: &Report) -> Result<bool, Stop> {
        let asked = report
            .refusals
            .iter()
            .find_map(|refusal| refusal.approval.as_deref());
        let Some(digest) = asked.filter(|_| self.scene.approving) else {
            return Ok(false);
        };
        // Owners approve once: a digest that changes half-way leaves a replacement half done.
        if !self.approved.insert(key.clone()) {
            return Err(Stop::Stuck(format!(
                "{key} asks for approval {digest}, after {:?}",
                self.approvals.get(key)
            )));
        }
        self.approvals.insert(key.clone(), digest.into());
        Ok(true)
    }

    async fn bounded<T>(&self, what: &str, work: impl Future<Output = T>) -> Result<T, Stop> {
        tokio::select! {
            biased;
            () = self.world.tap().killed() => Err(Stop::Killed),
            done = tokio::time::timeout(self.rig.patience(), work) => {
                done.map_err(|_| Stop::Stuck(format!("{what} does not end")))
            }
        }
    }

    pub(crate) fn tell(&self, key: &GroupKey) -> String {
        self.reports.get(key).map_or_else(
            || "never run".to_owned(),
            |report| {
                format!(
                    "waits {:?}, failures {:?}, refusals {:?}, problems {:?}",
                    report.waits, report.failures, report.refusals, report.problems
                )
            },
        )
    }
}
