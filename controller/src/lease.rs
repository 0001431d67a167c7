//! The lead: which replica may write (Reads and Writes one Lease).
//!
//! [`Lead`] is what the rest of the process sees: the terms under which clouds and the API server are written, and
//! whether this process leads, waits, or has lost. [`Keeper`] asks [`decide`] what to do about the Lease and does it. It
//! runs on the machine's own clock: a lease is real time. A lead that is lost is not sought again: the process ends, and
//! whoever starts it starts it anew.

mod decide;
mod explain;
mod record;
#[cfg(test)]
mod tests;

use std::{
    pin::Pin,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};
use evenkeel_core::ticket::{Term, Ticket};
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api, Client,
    api::{PostParams, WatchEvent, WatchParams},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use self::{
    decide::{Election, Loss, Pace, Step, Taking},
    explain::{Call, Explained},
    record::Record,
};
use crate::{
    clock::Clock,
    config::HomeConfig,
    metrics::{LeadChange, Metrics},
    publish::FIELD_MANAGER,
};

/// The server ends a watch after this long, and it is taken up again.
const WATCH_SECONDS: u32 = 60;

/// Watches are not begun more often than this.
const WATCH_PAUSE: Duration = Duration::from_secs(1);

/// How long the API server may take to hear that the lead is given away. Whoever waits for it would wait for the end of
/// the lease otherwise.
const RELEASE: Duration = Duration::from_secs(2);

/// How often a release is written anew, when another write came between.
const RELEASE_TRIES: usize = 3;

/// The role of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// Nobody keeps the Lease.
    Idle,
    /// The Lease has not been read yet.
    Unknown,
    /// Another leads.
    Waits,
    /// This one leads.
    Leads,
    /// It gave the lead away.
    Released,
    /// It lost the lead.
    Lost,
}

/// The lead, as the rest of the process sees it. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Lead {
    identity: String,
    /// The right to write.
    writes: Term,
    /// The right to tell what was written: it lasts a little longer.
    words: Term,
    role: watch::Sender<Role>,
}

impl Lead {
    /// The lead of one who competes with others.
    pub(crate) fn sought(identity: String) -> Self {
        Self {
            identity,
            writes: Term::new(),
            words: Term::new(),
            role: watch::Sender::new(Role::Idle),
        }
    }

    /// The lead of one who does not.
    pub(crate) fn alone(identity: String) -> Self {
        Self {
            identity,
            writes: Term::endless(),
            words: Term::endless(),
            role: watch::Sender::new(Role::Leads),
        }
    }

    /// The name of this process among the replicas.
    pub(crate) fn identity(&self) -> &str {
        &self.identity
    }

    /// The right to write.
    pub(crate) fn ticket(&self) -> Ticket {
        self.writes.ticket()
    }

    /// The right to tell what was written.
    pub(crate) fn words(&self) -> Ticket {
        self.words.ticket()
    }

    /// Waits until the Lease has been read. Returns whether another leads.
    pub(crate) async fn known(&self) -> bool {
        let unknown = |role| matches!(role, Role::Idle | Role::Unknown);
        self.until(|role| !unknown(role)).await == Role::Waits
    }

    /// Waits until this process leads.
    pub(crate) async fn gained(&self) {
        self.until(|role| role == Role::Leads).await;
    }

    /// Waits until the lead has been given away, if it was ever sought.
    pub(crate) async fn released(&self) {
        self.until(|role| matches!(role, Role::Idle | Role::Released))
            .await;
    }

    /// Whether this process leads now.
    pub(crate) fn leads(&self) -> bool {
        *self.role.borrow() == Role::Leads
    }

    /// Whether the lead was lost.
    pub(crate) fn is_lost(&self) -> bool {
        *self.role.borrow() == Role::Lost
    }

    /// No write begins any more. Done when none is under way; what was done may be told for as long as `last_words`.
    pub(crate) async fn close(&self, last_words: Duration) {
        self.writes.revoke();
        self.writes.idle().await;
        if self.leads() {
            self.words.renew(Instant::now() + last_words);
        }
    }

    async fn until(&self, reached: impl Fn(Role) -> bool) -> Role {
        let mut role = self.role.subscribe();
        let reached = role.wait_for(|role| reached(*role)).await;
        *reached.expect("the sender is in our hands")
    }

    fn renew(&self, ends: Instant) {
        self.writes.renew(ends);
        self.words.renew(ends);
    }

    fn lose(&self) {
        self.writes.revoke();
        self.words.revoke();
        self.role.send_replace(Role::Lost);
    }
}

/// A name for this process that no other replica has, and no earlier process of this pod: `<pod>_<uuid>`.
pub(crate) fn identity() -> String {
    let host = std::env::var("HOSTNAME")
        .ok()
        .filter(|name| !name.is_empty());
    let host = host.or_else(|| {
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
        Some(name.trim().to_owned())
    });
    let host = host.as_deref().unwrap_or("evenkeel");
    let random = fastrand::u128(..);
    format!(
        "{host}_{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        random >> 96,
        (random >> 80) & 0xffff,
        (random >> 64) & 0xfff,
        0x8000 | ((random >> 48) & 0x3fff),
        random & 0xffff_ffff_ffff
    )
}

/// Writes are ours.
fn by_us() -> PostParams {
    PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    }
}

type News = Pin<Box<dyn Stream<Item = Result<Option<Record>, kube::Error>> + Send>>;

/// Keeps the Lease.
pub(crate) struct Keeper {
    lead: Lead,
    api: Api<Lease>,
    namespace: String,
    name: String,
    pace: Pace,
    clock: Clock,
    metrics: Metrics,
    election: Election,
    /// What went wrong last: told once.
    trouble: Option<String>,
    /// Who leads, as was told.
    told: Option<String>,
}

impl Keeper {
    /// A keeper of the configured Lease.
    pub(crate) fn new(
        client: Client,
        home: &HomeConfig,
        lead: Lead,
        clock: Clock,
        metrics: Metrics,
    ) -> Self {
        let pace = Pace::of(home.lease);
        Self {
            api: Api::namespaced(client, &home.namespace),
            namespace: home.namespace.clone(),
            name: home.instance.clone(),
            election: Election::new(lead.identity(), pace),
            pace,
            lead,
            clock,
            metrics,
            trouble: None,
            told: None,
        }
    }

    /// Seeks the lead and keeps it, until told to give it away.
    ///
    /// # Errors
    /// When it was lost. By then nothing of this process can begin a write any more.
    pub(crate) async fn keep(mut self, give_away: CancellationToken) -> Result<()> {
        self.lead.role.send_replace(Role::Unknown);
        let mut news = self.news();
        // When the watch is asked again after an error.
        let mut listen = Instant::now();
        loop {
            let step = self.election.decide(Instant::now());
            match step {
                Step::Lost(loss) => return Err(self.lost(&loss)),
                Step::Wait(until) => {
                    self.tell_of_others();
                    tokio::select! {
                        biased;
                        () = give_away.cancelled() => break,
                        heard = async { tokio::time::sleep_until(listen.into()).await; news.next().await } => match heard {
                            Some(Ok(seen)) => self.election.told(seen, Instant::now()),
                            Some(Err(error)) => {
                                listen = Instant::now() + self.pace.retry;
                                self.watch_failed(&error);
                            }
                            None => news = self.news(),
                        },
                        () = tokio::time::sleep_until(until.into()) => {}
                    }
                }
                step => {
                    tokio::select! {
                        biased;
                        () = give_away.cancelled() => break,
                        () = self.act(step) => {}
                    }
                }
            }
        }
        self.give_away().await;
        self.lead.role.send_replace(Role::Released);
        Ok(())
    }

    /// Changes of the Lease, and first what it is; None when it is not there any more. Never ends.
    fn news(&self) -> News {
        let parameters = WatchParams::default()
            .fields(&format!("metadata.name={}", self.name))
            .timeout(WATCH_SECONDS);
        let api = self.api.clone();
        let watches = stream::unfold(None, move |last: Option<Instant>| {
            let (api, parameters) = (api.clone(), parameters.clone());
            async move {
                if let Some(last) = last {
                    tokio::time::sleep_until((last + WATCH_PAUSE).into()).await;
                }
                let began = Instant::now();
                // From whatever is there, which needs no list.
                let watch = api.watch(&parameters, "0").await;
                let watch = stream::once(std::future::ready(watch)).try_flatten();
                Some((watch, Some(began)))
            }
        });
        let news = watches.flatten().filter_map(|event| {
            let news = match event {
                Ok(WatchEvent::Added(lease) | WatchEvent::Modified(lease)) => {
                    Some(Ok(Some(Record::of(lease))))
                }
                Ok(WatchEvent::Deleted(_)) => Some(Ok(None)),
                Ok(WatchEvent::Bookmark(_)) => None,
                Ok(WatchEvent::Error(status)) => Some(Err(kube::Error::Api(status))),
                Err(error) => Some(Err(error)),
            };
            std::future::ready(news)
        });
        Box::pin(news)
    }

    /// One call to the API server. It never lasts beyond the end of our own term.
    async fn act(&mut self, step: Step) {
        let began = Instant::now();
        let longest = self.election.ends().map_or(self.pace.answer, |ends| {
            self.pace.answer.min(ends.saturating_duration_since(began))
        });
        let call = Call::of(&step);
        let answer = tokio::time::timeout(longest, self.call(&step)).await;
        let error = match answer {
            Ok(Ok(seen)) => {
                self.trouble = None;
                return self.answered(call, seen, began);
            }
            // Somebody else was faster, or wrote something beside.
            Ok(Err(kube::Error::Api(status))) if status.code == 409 => {
                return self.election.conflicted();
            }
            // It went between our look and our write.
            Ok(Err(kube::Error::Api(status))) if status.code == 404 && call == Call::Update => {
                return self.election.conflicted();
            }
            Ok(Err(error)) => Explained::of(&error, call, &self.namespace),
            Err(_) => Explained::silent(longest),
        };
        self.election.failed(Instant::now());
        self.trouble(error.to_string());
    }

    async fn call(&self, step: &Step) -> Result<Option<Record>, kube::Error> {
        let (us, lease, now) = (self.lead.identity(), self.pace.lease, self.clock.now());
        let written = match step {
            Step::Create(_) => {
                let new = Record::new(&self.namespace, &self.name).held_by(us, lease, now);
                self.api.create(&by_us(), &new.into_lease()).await?
            }
            Step::Take { seen, .. } | Step::Renew { seen } => {
                self.replace(seen.clone().held_by(us, lease, now)).await?
            }
            Step::Look | Step::Wait(_) | Step::Lost(_) => {
                let found = self.api.get_opt(&self.name).await?;
                return Ok(found.map(Record::of));
            }
        };
        Ok(Some(Record::of(written)))
    }

    async fn replace(&self, record: Record) -> Result<Lease, kube::Error> {
        self.api
            .replace(&self.name, &by_us(), &record.into_lease())
            .await
    }

    fn answered(&mut self, call: Call, seen: Option<Record>, began: Instant) {
        let now = Instant::now();
        if call == Call::Get {
            self.election.read(seen, now);
            return;
        }
        let Some(written) = seen else {
            return;
        };
        let former = self.election.holder().map(str::to_owned);
        let gained = self.election.wrote(written, began);
        if let Some(ends) = self.election.ends() {
            self.lead.renew(ends);
        }
        let Some(taking) = gained else {
            return;
        };
        if taking == Taking::Unreleased {
            self.lead
                .writes
                .hold_destroys(Instant::now() + self.pace.deadline);
        }
        self.metrics.lead(match taking {
            Taking::Free => LeadChange::Gained,
            Taking::Unreleased => LeadChange::TakenOver,
        });
        match taking {
            Taking::Free => info!(
                identity = self.lead.identity(),
                "this process leads: it writes from now on"
            ),
            Taking::Unreleased => warn!(
                identity = self.lead.identity(),
                former,
                destroys_wait_s = self.pace.deadline.as_secs_f32(),
                "this process leads: the former leader fell silent; nothing is destroyed until its last writes are surely over"
            ),
        }
        self.lead.role.send_replace(Role::Leads);
    }

    /// Says once who leads.
    fn tell_of_others(&mut self) {
        let Some(holder) = self.election.holder() else {
            return;
        };
        if self.lead.leads() {
            return;
        }
        if self.told.as_deref() != Some(holder) {
            info!(
                holder,
                "another replica leads; this one stands by, and writes nothing"
            );
            self.told = Some(holder.to_owned());
        }
        self.lead.role.send_if_modified(|role| {
            let first = *role == Role::Unknown;
            if first {
                *role = Role::Waits;
            }
            first
        });
    }

    fn trouble(&mut self, text: String) {
        if self.trouble.as_ref() == Some(&text) {
            return;
        }
        warn!(
            error = text,
            "the Lease {}/{} cannot be had; it is tried again", self.namespace, self.name
        );
        self.trouble = Some(text);
    }

    fn watch_failed(&mut self, error: &kube::Error) {
        match error {
            kube::Error::Api(status) if status.code == 403 => {
                self.trouble(Explained::of(error, Call::Watch, &self.namespace).to_string());
            }
            error => debug!(%error, "the watch of the Lease was interrupted"),
        }
    }

    fn lost(&self, loss: &Loss) -> anyhow::Error {
        self.lead.lose();
        self.metrics.lead(LeadChange::Lost);
        anyhow!(
            "the lead is lost: {loss} (Lease {}/{}). Nothing is written any more; another replica goes on. Start this one again to have \
             it stand by",
            self.namespace,
            self.name
        )
    }

    /// Takes our name off the Lease, so that another replica need not wait for its end.
    async fn give_away(&mut self) {
        let released = tokio::time::timeout(RELEASE, async {
            for _ in 0..RELEASE_TRIES {
                let there = self.api.get_opt(&self.name).await?;
                let ours = |record: &Record| record.holder.as_deref() == Some(self.lead.identity());
                // Also where the answer to our taking it was lost.
                let Some(record) = there.map(Record::of).filter(ours) else {
                    return Ok(false);
                };
                match self.replace(record.released(self.clock.now())).await {
                    Err(kube::Error::Api(status)) if status.code == 409 => {}
                    done => return done.map(|_| true),
                }
            }
            Ok(false)
        })
        .await;
        if self.lead.leads() {
            self.metrics.lead(LeadChange::GivenAway);
        }
        match released {
            Ok(Ok(true)) => info!("the lead is given away"),
            Ok(Ok(false)) => {}
            _ if !self.lead.leads() => {}
            Ok(Err(error)) => {
                let error = Explained::of(&error, Call::Update, &self.namespace);
                warn!(%error, "the lead could not be given away; another replica waits for its end");
            }
            Err(_) => warn!(
                "the lead could not be given away: the API server does not answer; another replica waits for its end"
            ),
        }
    }
}
