//! The conditions of a Service (Decides).
//!
//! Three of ours, in the shape that KEP-4631 drafts, and one of upstream's:
//!
//! ```text
//! Provisioning        Serving                 meaning
//! True  InProgress    False Provisioning      first creation
//! True  InProgress    True  Serving           updating, the old configuration still serves
//! False Complete      True  Serving           in sync
//! False <why>         False Unsupported, Infrastructure   it cannot be done, or failed; the message says why
//! ```
//!
//! `Degraded` says with an event's reason what keeps the load balancer from being as asked. `LoadBalancerPortsError`
//! is there while a port is not served. Only these are produced; conditions of others are the caller's to keep. A message that reports a fault ends with
//! what to do next.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::{
    error::ErrorClass,
    problem::{PortError, Problem, Problems, Warning, reason},
};

#[cfg(test)]
mod tests;

/// A condition that we publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConditionType {
    /// Whether clients are served.
    Serving,
    /// Whether work goes on.
    Provisioning,
    /// Whether the load balancer is not as asked and does not get there by itself soon.
    Degraded,
    /// Upstream's: whether a port is not served.
    PortsError,
}

impl ConditionType {
    /// All of them, in the order they are published.
    pub const ALL: [Self; 4] = [
        Self::Serving,
        Self::Provisioning,
        Self::Degraded,
        Self::PortsError,
    ];

    /// `type` of the condition.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Serving => "evenkeel.dev/Serving",
            Self::Provisioning => "evenkeel.dev/Provisioning",
            Self::Degraded => "evenkeel.dev/Degraded",
            Self::PortsError => "LoadBalancerPortsError",
        }
    }
}

/// `reason` of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Clients are served.
    Serving,
    /// Not served yet.
    Provisioning,
    /// What is asked cannot be served.
    Unsupported,
    /// What it rests on does not allow it, or failed.
    Infrastructure,
    /// Work goes on.
    InProgress,
    /// All is done.
    Complete,
    /// The user asked for a pause.
    Paused,
    /// Everything is as asked.
    AsDesired,
    /// Every port is served.
    AllPortsServed,
    /// A cloud call failed.
    SyncLoadBalancerFailed,
    /// The cloud limits the rate of calls.
    Throttled,
    /// The reason of a problem or of an error of a port: one of [`reason`].
    Of(&'static str),
}

impl Reason {
    /// CamelCase and stable.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Serving => "Serving",
            Self::Provisioning => "Provisioning",
            Self::Unsupported => "Unsupported",
            Self::Infrastructure => "Infrastructure",
            Self::InProgress => "InProgress",
            Self::Complete => "Complete",
            Self::Paused => "Paused",
            Self::AsDesired => "AsDesired",
            Self::AllPortsServed => "AllPortsServed",
            Self::SyncLoadBalancerFailed => "SyncLoadBalancerFailed",
            Self::Throttled => "Throttled",
            Self::Of(reason) => reason,
        }
    }

    /// What a failed cloud call is reported as, in conditions and events.
    pub fn of_class(class: ErrorClass) -> Self {
        match class {
            ErrorClass::Denied => Self::Of(reason::PERMISSION_DENIED),
            ErrorClass::Quota => Self::Of(reason::QUOTA_EXCEEDED),
            ErrorClass::Rejected => Self::Of(reason::INVALID_CONFIGURATION),
            ErrorClass::Throttled { .. } => Self::Throttled,
            ErrorClass::Conflict | ErrorClass::Transient => Self::SyncLoadBalancerFailed,
        }
    }
}

/// A cloud call that failed, as a Service's owner is told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailureView<'a> {
    /// Its class.
    pub class: ErrorClass,
    /// A better reason than the class has.
    pub reason: Option<&'static str>,
    /// The provider as a whole cannot be asked: where that is told in full, as `the ConfigMap kube-system/evenkeel`.
    pub of_provider: Option<&'a str>,
    /// What happened, free of secrets and of what differs from try to try, such as ids of requests.
    pub message: &'a str,
}

impl FailureView<'_> {
    /// What it is reported as, in conditions and events.
    pub fn reason(&self) -> Reason {
        self.reason
            .map_or_else(|| Reason::of_class(self.class), Reason::Of)
    }
}

/// All that the conditions of one Service depend on. The default is one that is not served yet and waits for nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct StateView<'a> {
    /// Addresses are published and clients can use them.
    pub serving: bool,
    /// What the Service asks cannot be used: what is there stays as it is.
    pub problems: Option<&'a Problems>,
    /// What the facts do not allow, or nobody approved.
    pub refusals: &'a [Problem],
    /// Ports that are not served, while others are.
    pub port_errors: &'a [PortError],
    /// What the owner should know though all is done.
    pub warnings: &'a [Warning],
    /// The cloud call that failed last, when nothing succeeded since.
    pub failure: Option<FailureView<'a>>,
    /// What the work waits for, as clauses: `load balancer lb is provisioning`.
    pub waits: &'a [String],
    /// Work is left that nothing holds up: more steps, or a first look.
    pub working: bool,
    /// The user asked that nothing be written.
    pub paused: bool,
}

/// What a condition says, before its time is known.
struct Verdict {
    type_: ConditionType,
    status: bool,
    reason: Reason,
    message: String,
}

/// Our conditions of a Service, in the order of [`ConditionType::ALL`].
///
/// `previous` are the conditions the Service has, of ours and others. A condition keeps its time while its status is the same.
pub fn conditions(state: &StateView<'_>, previous: &[Condition], now: Timestamp) -> Vec<Condition> {
    let known = |type_: ConditionType| {
        previous
            .iter()
            .find(|condition| condition.type_ == type_.as_str())
    };
    let verdicts = [
        Some(serving(state)),
        Some(provisioning(state)),
        Some(degraded(state)),
        // Without an error upstream's condition need not be there; where it is, it must not stay true for ever.
        ports_error(state, known(ConditionType::PortsError).is_some()),
    ];
    let publish = |verdict: Verdict| {
        let status = if verdict.status { "True" } else { "False" };
        let since = known(verdict.type_)
            .filter(|known| known.status == status)
            .map_or(Time(now), |known| known.last_transition_time.clone());
        Condition {
            last_transition_time: since,
            message: verdict.message,
            observed_generation: None,
            reason: verdict.reason.as_str().to_owned(),
            status: status.to_owned(),
            type_: verdict.type_.as_str().to_owned(),
        }
    };
    verdicts.into_iter().flatten().map(publish).collect()
}

/// Whether two lists say the same in the conditions that are ours, whatever their times and order.
pub fn same(a: &[Condition], b: &[Condition]) -> bool {
    ConditionType::ALL.iter().all(|type_| {
        let find = |all: &'_ [Condition]| {
            all.iter()
                .position(|condition| condition.type_ == type_.as_str())
        };
        match (find(a), find(b)) {
            (None, None) => true,
            (Some(a_at), Some(b_at)) => {
                let (a, b) = (&a[a_at], &b[b_at]);
                (&a.status, &a.reason, &a.message) == (&b.status, &b.reason, &b.message)
            }
            _ => false,
        }
    })
}

/// What stops the work: the one cause that everything else follows from.
fn obstacle(state: &StateView<'_>) -> Option<(Reason, String)> {
    if let Some(problems) = state.problems.filter(|problems| !problems.is_empty()) {
        return Some((
            Reason::Of(problems.reason()),
            join_problems(problems.iter()),
        ));
    }
    if let Some(first) = state.refusals.first() {
        return Some((Reason::Of(first.reason), join_problems(state.refusals)));
    }
    let failure = state.failure?;
    let message = match failure.of_provider {
        Some(place) => format!(
            "{} No Service of this provider can be changed until that is over; see {place}.",
            sentence(failure.message)
        ),
        None => format!("{} {}", sentence(failure.message), next_step(failure.class)),
    };
    Some((failure.reason(), message))
}

/// With one full stop at its end.
fn sentence(text: &str) -> String {
    format!("{}.", text.trim_end_matches('.'))
}

/// What to do about a failed call.
fn next_step(class: ErrorClass) -> &'static str {
    match class {
        ErrorClass::Rejected => {
            "Change what the cloud rejects; an edit of the Service is tried at once."
        }
        ErrorClass::Denied => "Grant the permission; it is tried again every few minutes.",
        ErrorClass::Throttled { .. } => {
            "It is tried again when the cloud allows; nothing is to be done."
        }
        ErrorClass::Quota => {
            "Raise the limit or free what is unused; it is tried again every few minutes."
        }
        ErrorClass::Conflict | ErrorClass::Transient => {
            "It is tried again by itself; look into it if it stays."
        }
    }
}

/// Whether the work goes on by itself in spite of a failure.
fn goes_on(state: &StateView<'_>) -> bool {
    let stopped =
        state.problems.is_some_and(|problems| !problems.is_empty()) || !state.refusals.is_empty();
    !stopped
        && state
            .failure
            .is_some_and(|failure| !failure.class.is_hopeless())
}

fn serving(state: &StateView<'_>) -> Verdict {
    let verdict = |status, reason, message: String| Verdict {
        type_: ConditionType::Serving,
        status,
        reason,
        message,
    };
    if state.serving {
        let message = match obstacle(state) {
            Some(_) => "The load balancer serves as it was last configured.",
            None => "The load balancer serves.",
        };
        return verdict(true, Reason::Serving, message.to_owned());
    }
    let rejected = state.problems.is_some_and(|problems| !problems.is_empty());
    match obstacle(state) {
        Some((_, message)) if rejected => verdict(false, Reason::Unsupported, message),
        Some((_, message)) => verdict(false, Reason::Infrastructure, message),
        None if state.paused => verdict(false, Reason::Paused, PAUSED.to_owned()),
        None => verdict(false, Reason::Provisioning, progress(state)),
    }
}

/// What a paused Service is told.
const PAUSED: &str =
    "Nothing is written for this Service. Remove the annotation evenkeel.dev/paused to go on.";

fn provisioning(state: &StateView<'_>) -> Verdict {
    let verdict = |status, reason, message: String| Verdict {
        type_: ConditionType::Provisioning,
        status,
        reason,
        message,
    };
    if state.paused {
        return verdict(false, Reason::Paused, PAUSED.to_owned());
    }
    match obstacle(state) {
        Some((_, message)) if goes_on(state) => verdict(true, Reason::InProgress, message),
        Some((reason, message)) => verdict(false, reason, message),
        None if state.working || !state.waits.is_empty() || !state.serving => {
            verdict(true, Reason::InProgress, progress(state))
        }
        None => verdict(
            false,
            Reason::Complete,
            "Everything is as asked.".to_owned(),
        ),
    }
}

/// What goes on.
fn progress(state: &StateView<'_>) -> String {
    if state.waits.is_empty() {
        "The load balancer is being set up.".to_owned()
    } else {
        format!("Waiting: {}.", join(state.waits).trim_end_matches('.'))
    }
}

fn degraded(state: &StateView<'_>) -> Verdict {
    let verdict = |status, reason, message: String| Verdict {
        type_: ConditionType::Degraded,
        status,
        reason,
        message,
    };
    if let Some((reason, message)) = obstacle(state) {
        return verdict(true, reason, message);
    }
    if let Some(first) = state.port_errors.first() {
        return verdict(true, Reason::Of(first.reason), join(state.port_errors));
    }
    let message = match state.warnings {
        [] => "Nothing stands in the way.".to_owned(),
        warnings => format!("Nothing stands in the way. To know: {}", join(warnings)),
    };
    verdict(false, Reason::AsDesired, message)
}

fn ports_error(state: &StateView<'_>, is_there: bool) -> Option<Verdict> {
    let verdict = |status, reason, message: String| Verdict {
        type_: ConditionType::PortsError,
        status,
        reason,
        message,
    };
    match state.port_errors.first() {
        Some(first) => Some(verdict(
            true,
            Reason::Of(first.reason),
            join(state.port_errors),
        )),
        None if is_there => Some(verdict(
            false,
            Reason::AllPortsServed,
            "Every port is served.".to_owned(),
        )),
        None => None,
    }
}

/// How many of a list are told in full.
const SHOWN: usize = 5;

/// The first few problems in full, and of the others the fields: whoever mends the first must not meet the next.
fn join_problems<'a>(all: impl IntoIterator<Item = &'a Problem>) -> String {
    let mut first: Vec<_> = all.into_iter().collect();
    let rest = first.split_off(first.len().min(SHOWN));
    let mut text = join(first);
    if !rest.is_empty() {
        let fields: Vec<_> = rest.iter().map(|problem| problem.field.as_str()).collect();
        text.push_str(&format!(
            " And {} more, in {}; see to these, too.",
            rest.len(),
            fields.join(", ")
        ));
    }
    text
}

/// The first few of a list, and how many more there are.
fn join<T: ToString>(all: impl IntoIterator<Item = T>) -> String {
    let mut texts: Vec<_> = all.into_iter().map(|one| one.to_string()).collect();
    let more = texts.len().saturating_sub(SHOWN);
    texts.truncate(SHOWN);
    let mut text = String::new();
    for part in &texts {
        if !text.is_empty() {
            text.push_str(if text.ends_with(['.', '?']) {
                " "
            } else {
                "; "
            });
        }
        text.push_str(part);
    }
    if more > 0 {
        text.push_str(&format!(" And {more} more; see to these first."));
    }
    text
}
