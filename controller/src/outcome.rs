//! What a run means for one Service: conditions, events, what may be published (Decides).
//!
//! Events are told once: when something begins, when it ends well, and once per distinct trouble; while a Service is
//! not as asked its trouble is told again before the API server forgets it. The trouble's text is that of the condition
//! `Degraded`, so that whoever reads the one has read the other.

use evenkeel_core::{
    condition::{ConditionType, FailureView, Reason, StateView, conditions},
    digest::Digest,
    engine::Report,
    failure::Failure,
    ids::ServiceRef,
    problem::{PortError, Problem, Problems, Warning},
    published::Published,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::metrics::State;

#[cfg(test)]
mod tests;

/// Reasons of events, in upstream's words, which tools look for.
pub mod event {
    /// Work begins.
    pub const ENSURING: &str = "EnsuringLoadBalancer";
    /// It ended well.
    pub const ENSURED: &str = "EnsuredLoadBalancer";
    /// Something failed.
    pub const FAILED: &str = "SyncLoadBalancerFailed";
    /// There is no node to send traffic to.
    pub const NO_NODES: &str = "UnAvailableLoadBalancer";
    /// A release begins.
    pub const DELETING: &str = "DeletingLoadBalancer";
    /// A release has ended.
    pub const DELETED: &str = "DeletedLoadBalancer";
    /// Somebody took our finalizer off.
    pub const FINALIZER_LOST: &str = "FinalizerLost";
}

/// The API server forgets events after an hour (`--event-ttl`); what still holds is told again before.
const RENEW: SignedDuration = SignedDuration::from_mins(30);

/// An event to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Whether something is wrong.
    pub warning: bool,
    /// CamelCase and stable.
    pub reason: &'static str,
    /// For people; where something is wrong it ends with what to do.
    pub note: String,
}

impl Notice {
    /// Something to know.
    pub fn normal(reason: &'static str, note: impl Into<String>) -> Self {
        Self {
            warning: false,
            reason,
            note: note.into(),
        }
    }

    /// Something wrong.
    pub fn warning(reason: &'static str, note: impl Into<String>) -> Self {
        Self {
            warning: true,
            reason,
            note: note.into(),
        }
    }
}

impl From<Warning> for Notice {
    fn from(warning: Warning) -> Self {
        Self::warning(warning.reason, warning.message)
    }
}

/// What a Service was told so far.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// Troubles that hold, by reason and text: when they were last told.
    troubles: Vec<(&'static str, Digest, Timestamp)>,
    /// Work was begun of which the good end was not told yet.
    ensuring: bool,
    /// The good end was told, or the load balancer was there when we came.
    ensured: bool,
    /// A release was begun.
    releasing: bool,
    /// Addresses were published and could be used when the cloud was last read.
    serving: bool,
    /// Since when it is not as asked.
    pending: Option<Timestamp>,
}

/// What a run found out, for one Service.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The Service.
    pub service: &'a ServiceRef,
    /// What the engine did and has to tell.
    pub report: &'a Report,
    /// Why what the Service asks cannot be used.
    pub problems: Option<&'a Problems>,
    /// What its owner should know of what it asks.
    pub warnings: &'a [Warning],
    /// Its ports that nobody can serve.
    pub port_errors: &'a [PortError],
    /// It is to be served, and no node is a target of anything new.
    pub no_nodes: bool,
    /// It is on its way out: its load balancer is being given back.
    pub leaving: bool,
    /// The run has not ended yet.
    pub running: bool,
}

/// What to publish and to tell.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Our conditions.
    pub conditions: Vec<Condition>,
    /// Ports that are not served, and why.
    pub port_errors: Vec<PortError>,
    /// Events.
    pub notices: Vec<Notice>,
    /// Where the Service stands.
    pub state: State,
    /// It serves now and did not when it was last looked at; how long that took.
    pub provisioned: Option<SignedDuration>,
}

impl Told {
    /// The event of a beginning, to be told when a first write is made; None when this is no new beginning. `changed` says
    /// that the Service's owner asks something else: changes of nodes are no news.
    pub fn beginning(&self, changed: bool) -> Option<Notice> {
        let news = !self.ensuring && (changed || !self.ensured);
        news.then(|| Notice::normal(event::ENSURING, "Setting up what the Service asks."))
    }

    /// A first write was made.
    pub fn began(&mut self) {
        self.ensuring = true;
    }

    /// The event of a release, to be told when a first write is made.
    pub fn releasing(&self) -> Option<Notice> {
        (!self.releasing).then(|| Notice::normal(event::DELETING, "Giving the load balancer back."))
    }

    /// A first write of a release was made.
    pub fn began_release(&mut self) {
        self.releasing = true;
    }

    /// The event of a release that has ended.
    pub fn released(&self) -> Notice {
        Notice::normal(
            event::DELETED,
            "The load balancer was given back; nothing of this Service is left.",
        )
    }

    /// The Service is not as asked, from now on if it was until now.
    pub fn waits(&mut self, now: Timestamp) {
        self.pending.get_or_insert(now);
    }

    /// Since when the Service is not as asked.
    pub fn pending(&self) -> Option<Timestamp> {
        self.pending
    }

    /// The Service was published as serving before this process began.
    pub fn was_serving(&mut self) {
        self.serving = true;
        self.ensured = true;
    }

    /// The troubles to tell now: new ones, and those told long ago that still hold.
    pub fn troubles(&mut self, holding: Vec<(Notice, bool)>, now: Timestamp) -> Vec<Notice> {
        let mut known: Vec<(&'static str, Digest, Timestamp)> = Vec::new();
        let mut tell = Vec::new();
        for (notice, renew) in holding {
            let digest = Digest::of(notice.note.as_str());
            let same = |(reason, other, _): &&(&'static str, Digest, Timestamp)| {
                *reason == notice.reason && *other == digest
            };
            if known.iter().any(|known| same(&known)) {
                continue;
            }
            let told = self.troubles.iter().find(same).map(|(.., at)| *at);
            let told = told.filter(|told| !renew || now.duration_since(*told) < RENEW);
            known.push((notice.reason, digest, told.unwrap_or(now)));
            if told.is_none() {
                tell.push(notice);
            }
        }
        self.troubles = known;
        tell
    }
}

/// Works out what a run means for one Service. `previous` are the conditions it has.
pub fn outcome(
    told: &mut Told,
    view: &View<'_>,
    previous: &[Condition],
    now: Timestamp,
) -> Outcome {
    let report = view.report;
    let problems = view.problems.or(report.problems.as_ref());
    let refusals: Vec<Problem> = report
        .refusals
        .iter()
        .map(|refusal| refusal.problem.clone())
        .collect();
    let port_errors = port_errors(view);
    let warnings = warnings(view);
    let waits: Vec<String> = report.waits.iter().map(|wait| wait.what.clone()).collect();
    let failure = worst(&report.failures);

    let served = told.serving;
    // Where the cloud could not be read, what was true is the best that is known.
    let serving = report
        .published
        .as_ref()
        .map_or(served, |published| serves(published, view.service));
    told.serving = serving;

    let state = StateView {
        serving,
        problems,
        refusals: &refusals,
        port_errors: &port_errors,
        warnings: &warnings,
        failure: failure.map(|failure| FailureView {
            class: failure.class,
            message: &failure.message,
        }),
        waits: &waits,
        working: view.running || !report.withheld.is_empty(),
        paused: report.paused,
    };
    let conditions = conditions(&state, previous, now);

    let mut notices = told.troubles(troubles(&conditions, &state), now);
    let as_asked =
        serving && !view.running && !view.leaving && report.settled() && problems.is_none();
    if as_asked {
        if told.ensuring {
            notices.push(Notice::normal(
                event::ENSURED,
                ensured(report.published.as_ref(), view.service),
            ));
        }
        told.ensuring = false;
        told.ensured = true;
    }
    let since = *told.pending.get_or_insert(now);
    if as_asked {
        told.pending = None;
    }
    Outcome {
        state: if view.leaving {
            State::Releasing
        } else {
            standing(&state, as_asked)
        },
        provisioned: (serving && !served).then(|| now.duration_since(since)),
        conditions,
        port_errors,
        notices,
    }
}

/// Whether clients of this Service have an address and a port.
fn serves(published: &Published, service: &ServiceRef) -> bool {
    !published.ingress.is_empty() && published.ports.iter().any(|port| port.service == *service)
}

/// The ports of a Service that are not served, and why.
pub fn port_errors(view: &View<'_>) -> Vec<PortError> {
    let others = view
        .report
        .port_errors
        .iter()
        .filter(|error| error.service == *view.service);
    let refused = view.report.refusals.iter().filter_map(|refusal| {
        let (_, port) = refusal
            .port
            .as_ref()
            .filter(|(uid, _)| *uid == view.service.uid)?;
        Some(PortError {
            service: view.service.clone(),
            port: *port,
            reason: refusal.problem.reason,
            message: format!("{}. {}", refusal.problem.message, refusal.problem.advice).into(),
        })
    });
    let mut errors: Vec<_> = view
        .port_errors
        .iter()
        .chain(others)
        .cloned()
        .chain(refused)
        .collect();
    errors.sort_by_key(|error| error.port);
    errors.dedup();
    errors
}

fn warnings(view: &View<'_>) -> Vec<Warning> {
    let mut warnings: Vec<_> = view
        .warnings
        .iter()
        .chain(&view.report.warnings)
        .cloned()
        .collect();
    if view.no_nodes {
        warnings.push(Warning::new(
            event::NO_NODES,
            "There is no node to send traffic to; the address stays. Add a node, or see why the others are left out.",
        ));
    }
    warnings
}

/// The failure that says most: what only a person can end comes first.
fn worst(failures: &[Failure]) -> Option<&Failure> {
    failures
        .iter()
        .find(|failure| failure.class.is_hopeless())
        .or(failures.first())
}

/// Everything that is wrong, each with whether it is told again while it holds.
fn troubles(conditions: &[Condition], state: &StateView<'_>) -> Vec<(Notice, bool)> {
    let mut troubles = Vec::new();
    let obstacle =
        state.problems.is_some() || !state.refusals.is_empty() || state.failure.is_some();
    let degraded = conditions
        .iter()
        .find(|condition| condition.type_ == ConditionType::Degraded.as_str());
    if let Some(degraded) = degraded.filter(|_| obstacle) {
        troubles.push((
            Notice::warning(reason(state), degraded.message.clone()),
            true,
        ));
    }
    troubles.extend(
        state
            .port_errors
            .iter()
            .map(|error| (Notice::warning(error.reason, error.to_string()), true)),
    );
    troubles.extend(
        state
            .warnings
            .iter()
            .map(|warning| (warning.clone().into(), false)),
    );
    troubles
}

/// The reason of the event of what stands in the way, in the order in which conditions choose.
fn reason(state: &StateView<'_>) -> &'static str {
    if let Some(problems) = state.problems {
        return problems.reason();
    }
    if let Some(refusal) = state.refusals.first() {
        return refusal.reason;
    }
    match state.failure.map(|failure| Reason::of_class(failure.class)) {
        Some(Reason::Of(reason)) => reason,
        _ => event::FAILED,
    }
}

fn ensured(published: Option<&Published>, service: &ServiceRef) -> String {
    let published = published.cloned().unwrap_or_default();
    let addresses: Vec<_> = published
        .ingress
        .iter()
        .map(|ingress| match ingress {
            evenkeel_core::published::Ingress::Ip { ip, .. } => ip.to_string(),
            evenkeel_core::published::Ingress::Hostname(name) => name.clone(),
        })
        .collect();
    let ports = published
        .ports
        .iter()
        .filter(|port| port.service == *service);
    let ports: Vec<_> = ports.map(|port| port.port.to_string()).collect();
    format!(
        "The load balancer serves {} on {}.",
        addresses.join(", "),
        ports.join(", ")
    )
}

fn standing(state: &StateView<'_>, as_asked: bool) -> State {
    if as_asked {
        State::Active
    } else if state.problems.is_some() && !state.serving {
        State::Rejected
    } else if state.problems.is_some() || !state.refusals.is_empty() || state.failure.is_some() {
        State::Degraded
    } else {
        State::Claimed
    }
}
