//! How the controller itself stands: what is wrong with it as a whole, and not with any one Service (Decides;
//! [`publishing`] writes).
//!
//! A provider that cannot be asked (expired credentials, nobody answers) is one condition on the controller's own object,
//! one event there and one metric; its Services say in their conditions where to look. What counts is carried by the
//! error itself ([`ProviderFault`]). The first answer of the provider ends it, and whoever was held up is tried at once.

pub mod publishing;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use evenkeel_core::{
    engine::Report,
    error::{CloudError, ProviderFault},
    failure::Failure,
    ids::{GroupKey, ProviderName},
};
use tokio::sync::Notify;

use crate::{
    brake::Held, clock::Clock, config::HomeConfig, controller_object::ControllerCondition,
    metrics::Metrics,
};

/// Types of conditions of the controller's own object.
pub mod condition {
    /// Whether the provider can be asked.
    pub const PROVIDER_READY: &str = "ProviderReady";
    /// Whether what the list of nodes says is acted on.
    pub const NODES_TRUSTED: &str = "NodesTrusted";
    /// Whether the API server lets the controller do what it has to do.
    pub const API_READY: &str = "ApiReady";
}

/// Their reasons, beside those of [`ProviderFault`].
pub mod reason {
    /// The provider answers.
    pub const ANSWERS: &str = "Answers";
    /// The provider was not asked yet, or did not say.
    pub const NOT_ASKED: &str = "NotAsked";
    /// Nodes vanished all at once.
    pub const NODES_HELD: &str = "NodesHeld";
    /// The nodes are what the list says.
    pub const AS_LISTED: &str = "AsListed";
    /// The API server refuses a call for want of a right.
    pub const FORBIDDEN: &str = "Forbidden";
    /// No call was refused.
    pub const ALLOWED: &str = "Allowed";
}

/// What is said of a provider of which there is no more to tell.
pub const ANSWERS: &str = "The provider answers.";

/// How the controller itself stands.
#[derive(Debug)]
pub struct ControllerStanding {
    home: HomeConfig,
    place: String,
    state: Mutex<State>,
    changed: Notify,
    clock: Clock,
    metrics: Metrics,
}

#[derive(Debug, Default)]
struct State {
    /// By type and provider.
    facts: BTreeMap<(&'static str, ProviderName), Fact>,
    /// The groups that a provider's fault held up.
    held_up: BTreeMap<ProviderName, BTreeSet<GroupKey>>,
    /// Where the providers are asked and as whom; nothing of those that cannot be asked.
    identities: BTreeMap<ProviderName, String>,
    /// Calls that the API server refused, with what it said.
    forbidden: BTreeMap<&'static str, String>,
}

/// A condition, with its words as events have them.
#[derive(Clone, Debug)]
struct Fact {
    type_: &'static str,
    reason: &'static str,
    condition: ControllerCondition,
}

impl Fact {
    fn is_bad(&self) -> bool {
        self.condition.status == "False"
    }
}

/// What somebody heard of a provider as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Heard {
    /// It answered.
    Answer,
    /// It cannot be asked.
    Fault(ProviderFault, String),
}

impl Heard {
    /// What a run says; None when it says nothing of the provider as a whole.
    fn of_report(report: &Report) -> Option<Self> {
        let of_provider = |failure: &Failure| {
            let fault = failure.of_provider?;
            let said = format!("{}: {}", failure.operation, failure.message);
            Some(Self::Fault(fault, said))
        };
        let asked = report.reads > 0 || !report.applied.is_empty();
        report
            .failures
            .iter()
            .find_map(of_provider)
            .or_else(|| (asked && report.published.is_some()).then_some(Self::Answer))
    }

    /// What a look at the whole provider says.
    fn of_look(result: Result<(), &CloudError>) -> Option<Self> {
        match result {
            Ok(()) => Some(Self::Answer),
            Err(error) => {
                let said = format!("{}: {}", error.operation, error.message);
                error.of_provider.map(|fault| Self::Fault(fault, said))
            }
        }
    }
}

impl ControllerStanding {
    /// Of a controller that runs these providers and has heard of none of them.
    pub fn new(
        home: HomeConfig,
        providers: impl IntoIterator<Item = ProviderName>,
        clock: Clock,
        metrics: Metrics,
    ) -> Self {
        let standing = Self {
            place: format!("the ConfigMap {}/{}", home.namespace, home.instance),
            home,
            state: Mutex::default(),
            changed: Notify::new(),
            clock,
            metrics,
        };
        for provider in providers {
            let nobody = "The provider has not been asked yet.".to_owned();
            standing.put(
                condition::PROVIDER_READY,
                &provider,
                "Unknown",
                reason::NOT_ASKED,
                nobody,
            );
        }
        standing
    }

    /// Where all this is told: `the ConfigMap kube-system/evenkeel`.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// What holds, sorted by type and provider.
    pub fn conditions(&self) -> Vec<ControllerCondition> {
        let state = self.state();
        let facts = state.facts.values();
        facts.map(|fact| fact.condition.clone()).collect()
    }

    /// A run has ended. Returns the groups that may go on, now that the provider answers.
    pub fn ran(
        &self,
        provider: &ProviderName,
        group: &GroupKey,
        report: &Report,
    ) -> BTreeSet<GroupKey> {
        let heard = Heard::of_report(report);
        if let Some(Heard::Fault(..)) = heard {
            let mut state = self.state();
            let held_up = state.held_up.entry(provider.clone()).or_default();
            held_up.insert(group.clone());
        }
        self.hear(provider, heard)
    }

    /// Somebody looked at a whole provider. Returns the groups that may go on, now that it answers.
    pub fn looked(
        &self,
        provider: &ProviderName,
        result: Result<(), &CloudError>,
    ) -> BTreeSet<GroupKey> {
        self.hear(provider, Heard::of_look(result))
    }

    fn hear(&self, provider: &ProviderName, heard: Option<Heard>) -> BTreeSet<GroupKey> {
        match heard {
            None => BTreeSet::new(),
            Some(Heard::Answer) => {
                self.answers(provider);
                self.state().held_up.remove(provider).unwrap_or_default()
            }
            Some(Heard::Fault(fault, said)) => {
                self.state().identities.remove(provider);
                // The first text of a fault stays: the next call would only word it differently. Whose mark it is may change.
                let names = fault == ProviderFault::AnotherCluster;
                if names || !self.is_faulty(provider, fault) {
                    let message = fault_message(provider, fault, &said);
                    self.put(
                        condition::PROVIDER_READY,
                        provider,
                        "False",
                        fault.as_str(),
                        message,
                    );
                }
                BTreeSet::new()
            }
        }
    }

    /// The providers that answer, and of which it is not known where they are asked and as whom.
    pub fn unidentified(&self) -> Vec<ProviderName> {
        let state = self.state();
        let unknown = state.facts.iter().filter(|((type_, provider), fact)| {
            *type_ == condition::PROVIDER_READY
                && fact.condition.status == "True"
                && !state.identities.contains_key(provider)
        });
        unknown.map(|((_, provider), _)| provider.clone()).collect()
    }

    /// Where a provider that answers is asked, and as whom; None: there is nothing to tell.
    pub fn identified(&self, provider: &ProviderName, who: Option<String>) {
        if !self.unidentified().contains(provider) {
            return;
        }
        let who = who.unwrap_or_default();
        self.state().identities.insert(provider.clone(), who);
        self.answers(provider);
    }

    fn answers(&self, provider: &ProviderName) {
        let message = match self.state().identities.get(provider).map(String::as_str) {
            None | Some("") => ANSWERS.to_owned(),
            Some(who) => format!("The provider answers: {who}."),
        };
        let (type_, reason) = (condition::PROVIDER_READY, reason::ANSWERS);
        self.put(type_, provider, "True", reason, message);
    }

    fn is_faulty(&self, provider: &ProviderName, fault: ProviderFault) -> bool {
        let key = (condition::PROVIDER_READY, provider.clone());
        self.state()
            .facts
            .get(&key)
            .is_some_and(|fact| fact.is_bad() && fact.reason == fault.as_str())
    }

    /// The providers that cannot be asked.
    pub fn faulty(&self) -> Vec<ProviderName> {
        let state = self.state();
        let faulty = state
            .facts
            .iter()
            .filter(|((type_, _), fact)| *type_ == condition::PROVIDER_READY && fact.is_bad());
        faulty.map(|((_, provider), _)| provider.clone()).collect()
    }

    /// Nodes of a provider are held, or none any more.
    pub fn nodes(&self, provider: &ProviderName, held: Option<&Held>) {
        let (status, reason, message) = match held {
            Some(held) => (
                "False",
                reason::NODES_HELD,
                held.message(&self.home.namespace, &self.home.instance),
            ),
            None => (
                "True",
                reason::AS_LISTED,
                "The nodes are what the list says.".to_owned(),
            ),
        };
        self.put(condition::NODES_TRUSTED, provider, status, reason, message);
    }

    /// The API server allowed a call, or refused it for want of a right and said so. `call` is as RBAC names it:
    /// `patch services/status`.
    pub fn api(&self, call: &'static str, refused: Option<&str>) {
        let text = {
            let mut state = self.state();
            match refused {
                None if state.forbidden.remove(call).is_none() => return,
                None => {}
                Some(said) => {
                    if state.forbidden.contains_key(call) {
                        return;
                    }
                    state.forbidden.insert(call, said.to_owned());
                }
            }
            let calls: Vec<_> = state.forbidden.keys().copied().collect();
            let said = state.forbidden.values().next().cloned();
            said.map(|said| (calls.join(", "), said))
        };
        // Of the whole controller.
        let nobody = ProviderName::from("");
        self.metrics.set_api_ready(text.is_none());
        match text {
            Some((calls, said)) => {
                let message = format!(
                    "The API server does not allow: {calls} ({}). Give the controller's service account these rights, as \
                     deploy/manifests does; it is tried again by itself.",
                    said.trim_end_matches('.')
                );
                let (type_, status) = (condition::API_READY, "False");
                self.put(type_, &nobody, status, reason::FORBIDDEN, message);
            }
            None => {
                let message = "The API server allows what is needed.".to_owned();
                let (type_, status) = (condition::API_READY, "True");
                self.put(type_, &nobody, status, reason::ALLOWED, message);
            }
        }
    }

    fn put(
        &self,
        type_: &'static str,
        provider: &ProviderName,
        status: &str,
        reason: &'static str,
        message: String,
    ) {
        if type_ == condition::PROVIDER_READY && status != "Unknown" {
            self.metrics
                .set_provider_ready(provider.as_str(), status == "True");
        }
        let key = (type_, provider.clone());
        let mut state = self.state();
        let before = state.facts.get(&key).map(|fact| &fact.condition);
        if before.is_some_and(|known| known.reason == reason && known.message == message) {
            return;
        }
        let since = before
            .filter(|known| known.status == status)
            .map_or_else(|| self.clock.now(), |known| known.last_transition_time);
        let now = ControllerCondition {
            type_: type_.to_owned(),
            provider: provider.to_string(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message,
            last_transition_time: since,
        };
        let fact = Fact {
            type_,
            reason,
            condition: now,
        };
        state.facts.insert(key, fact);
        drop(state);
        self.changed.notify_one();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What happened, what it means, and what to do.
fn fault_message(provider: &ProviderName, fault: ProviderFault, said: &str) -> String {
    let advice = match fault {
        ProviderFault::CredentialsExpired => "Give the controller valid credentials",
        ProviderFault::PermissionDenied => "Grant the controller what it needs",
        ProviderFault::Unreachable => "See that the provider runs and can be reached from here",
        ProviderFault::AnotherCluster => "Only one may have them",
    };
    format!(
        "The provider {provider} cannot be asked: {}. Load balancers stay as they are, and nothing new is made. {advice}; it is \
         tried again by itself.",
        said.trim_end_matches('.')
    )
}
