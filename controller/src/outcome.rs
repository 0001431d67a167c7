//! What a run means for one Service: conditions, events, what may be published (Decides).
//!
//! Events are told once: when something begins, when it ends well, and once per distinct trouble. While a Service is not
//! as asked, why it is not is told again before the API server forgets it (`telling`). The trouble's text is that of
//! the condition `Degraded`, so that whoever reads the one has read the other. A fault of the provider as a whole is told
//! in one place ([`crate::standing`]), and each Service's conditions say where.

use evenkeel_core::{
    condition::{ConditionType, FailureView, Reason, StateView, conditions},
    engine::Report,
    failure::Failure,
    ids::{ProviderName, ServiceRef},
    plan::Change,
    problem::{PortError, Problem, Problems, Warning},
    published::Published,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::metrics::State;

mod telling;
#[cfg(test)]
mod tests;

pub(crate) use telling::RENEW;
use telling::{Holding, Tellings};

/// Reasons of events, in upstream's words where it has one, which tools look for.
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
    /// Somebody changed the load balancer behind our back, and it is as asked again.
    pub const DRIFT_REPAIRED: &str = "DriftRepaired";
    /// Somebody changed the load balancer behind our back, and not all of it could be put right.
    pub const DRIFT_DETECTED: &str = "DriftDetected";
    /// The load balancer of an earlier Service of the same name is still there.
    pub const ORPHANED: &str = "OrphanedLoadBalancer";
    /// The user asked that nothing be written.
    pub const PAUSED: &str = "Paused";
}

/// An event to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Whether something is wrong.
    pub warning: bool,
    /// CamelCase and stable.
    pub reason: &'static str,
    /// For people; where something is wrong it ends with what to do.
    pub note: String,
    /// How often it happened since it was last told.
    pub times: i32,
}

impl Notice {
    /// Something to know.
    pub fn normal(reason: &'static str, note: impl Into<String>) -> Self {
        Self {
            warning: false,
            reason,
            note: note.into(),
            times: 1,
        }
    }

    /// Something wrong.
    pub fn warning(reason: &'static str, note: impl Into<String>) -> Self {
        Self {
            warning: true,
            reason,
            note: note.into(),
            times: 1,
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
    /// What holds and is told again.
    tellings: Tellings,
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
    /// Who serves it.
    pub provider: &'a ProviderName,
    /// Where faults of the controller itself are told: `the ConfigMap kube-system/evenkeel`.
    pub standing: &'a str,
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

    /// What is to be told again by now, though nothing has happened.
    pub fn renewals(&mut self, now: Timestamp) -> Vec<Notice> {
        self.tellings.renewals(now)
    }

    /// When something is to be told again.
    pub fn next_renewal(&self) -> Option<Timestamp> {
        self.tellings.next()
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
    let of_provider = format!("The provider {} cannot be asked", view.provider);

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
            reason: failure.reason,
            of_provider: failure.of_provider.map(|_| view.standing),
            message: match failure.of_provider {
                Some(_) => &of_provider,
                None => &failure.message,
            },
        }),
        waits: &waits,
        working: view.running || !report.withheld.is_empty(),
        paused: report.paused,
    };
    let conditions = conditions(&state, previous, now);

    let mut holding = troubles(&conditions, &state);
    holding.extend(standstill(&conditions, &state, view.leaving));
    let mut notices = told.tellings.told(holding, now);
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

/// The failure that says most: what stops everybody, then what only a person can end.
fn worst(failures: &[Failure]) -> Option<&Failure> {
    failures
        .iter()
        .find(|failure| failure.of_provider.is_some())
        .or_else(|| failures.iter().find(|failure| failure.class.is_hopeless()))
        .or(failures.first())
}

/// The text of a condition.
fn message(conditions: &[Condition], type_: ConditionType) -> String {
    let found = conditions
        .iter()
        .find(|condition| condition.type_ == type_.as_str());
    found.map_or_else(String::new, |found| found.message.clone())
}

/// Everything that is wrong.
fn troubles(conditions: &[Condition], state: &StateView<'_>) -> Vec<Holding> {
    let mut troubles = Vec::new();
    // What is everybody's trouble is one event in one place.
    let failed = state
        .failure
        .is_some_and(|failure| failure.of_provider.is_none());
    if state.problems.is_some() || !state.refusals.is_empty() || failed {
        let degraded = message(conditions, ConditionType::Degraded);
        troubles.push(Holding::told_again(Notice::warning(
            reason(state),
            degraded,
        )));
    }
    troubles.extend(
        state
            .port_errors
            .iter()
            .map(|error| Holding::told_again(Notice::warning(error.reason, error.to_string()))),
    );
    troubles.extend(state.warnings.iter().map(|warning| {
        let notice = Notice::from(warning.clone());
        // Without a node there is an address, and nobody behind it.
        if warning.reason == event::NO_NODES {
            Holding::told_again(notice)
        } else {
            Holding::told_once(notice)
        }
    }));
    troubles
}

/// Why nothing is wrong and all is not done either.
fn standstill(conditions: &[Condition], state: &StateView<'_>, leaving: bool) -> Option<Holding> {
    let obstacle =
        state.problems.is_some() || !state.refusals.is_empty() || state.failure.is_some();
    if obstacle {
        return None;
    }
    if state.paused {
        let note = message(conditions, ConditionType::Provisioning);
        return (state.working || !state.serving)
            .then(|| Holding::told_again(Notice::normal(event::PAUSED, note)));
    }
    if !leaving && state.serving {
        return None;
    }
    let (reason, what) = if leaving {
        (event::DELETING, "given back")
    } else {
        (event::ENSURING, "set up")
    };
    let waits = match state.waits {
        [] => String::new(),
        waits => format!(" Waiting: {}.", waits.join("; ").trim_end_matches('.')),
    };
    let note = format!(
        "The load balancer is still being {what}.{waits} It goes on by itself; look at the provider's own console if it stays."
    );
    Some(Holding::told_later(Notice::normal(reason, note)))
}

/// What to tell of what somebody else had changed: each object with the fields that differed. None where nothing was.
pub fn drifted(report: &Report) -> Option<Notice> {
    const SHOWN: usize = 5;
    let drifted = &report.drifted;
    let mut what: Vec<_> = drifted.iter().take(SHOWN).map(difference).collect();
    if drifted.len() > SHOWN {
        what.push(format!("{} more", drifted.len() - SHOWN));
    }
    let what = what.join("; ");
    let advice = "Find out who changes it; to work on it by hand, set evenkeel.dev/paused first.";
    match (drifted.is_empty(), report.failures.is_empty()) {
        (true, _) => None,
        (false, true) => Some(Notice::normal(
            event::DRIFT_REPAIRED,
            format!(
                "The load balancer was not what it had been made, and was repaired: {what}. {advice}"
            ),
        )),
        (false, false) => Some(Notice::warning(
            event::DRIFT_DETECTED,
            format!(
                "The load balancer is not what it had been made, and not all of it could be repaired: {what}. The condition Degraded \
                 says why. {advice}"
            ),
        )),
    }
}

/// `change target group tg/TCP/80 (targets: 2 -> +i-0abc)`.
fn difference(change: &Change) -> String {
    const SHOWN: usize = 3;
    let what = format!("{} {} {}", change.action.as_str(), change.kind, change.id);
    let or_none = |text: &str| if text.is_empty() { "none" } else { text }.to_owned();
    let reasons = change.reasons.iter().take(SHOWN).map(|reason| {
        let (from, to) = (or_none(&reason.from), or_none(&reason.to));
        format!("{}: {from} -> {to}", reason.field)
    });
    let mut fields: Vec<_> = reasons.collect();
    if change.reasons.len() > SHOWN {
        fields.push(format!("{} more", change.reasons.len() - SHOWN));
    }
    match fields.is_empty() {
        true => what,
        false => format!("{what} ({})", fields.join(", ")),
    }
}

/// The reason of the event of what stands in the way, in the order in which conditions choose.
fn reason(state: &StateView<'_>) -> &'static str {
    if let Some(problems) = state.problems {
        return problems.reason();
    }
    if let Some(refusal) = state.refusals.first() {
        return refusal.reason;
    }
    match state.failure.map(|failure| failure.reason()) {
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
