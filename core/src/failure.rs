//! Failures that are remembered, so that a hopeless write is not repeated for ever (Decides).

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::{
    digest::Digest,
    error::{CloudError, ErrorClass, FailureReason, ProviderFault, chain},
    plan::{Change, Plan, Planned},
    shared,
};

/// How long a hopeless write is held back while nothing changes. Quotas are raised and permissions granted
/// without the Service changing, so it is tried again in the end.
pub const HOLD: SignedDuration = SignedDuration::from_mins(10);

/// A step that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// What it was going to do.
    pub change: Change,
    /// What to do about it.
    pub class: ErrorClass,
    /// A better reason for condition and event than the class has.
    pub reason: Option<&'static str>,
    /// Set where the fault is the provider's as a whole.
    pub of_provider: Option<ProviderFault>,
    /// The call that failed and the cloud's code, for logs and for people.
    pub operation: &'static str,
    /// The cloud's code, where it gave one.
    pub code: Option<String>,
    /// For people.
    pub message: String,
    /// The error with all its sources, for the log.
    pub detail: String,
    /// The digest of the desired state it was part of.
    pub desired: Digest,
    /// When it last failed.
    pub at: Timestamp,
    /// How often in a row, as far as it was remembered: what a new run may try again is counted anew.
    pub times: u32,
}

impl Failure {
    /// The memory of an error.
    pub fn new(change: Change, error: &CloudError, desired: Digest, at: Timestamp) -> Self {
        Self {
            change,
            class: error.class,
            reason: error.reason.map(FailureReason::as_str),
            of_provider: error.of_provider,
            operation: error.operation,
            code: error.code.as_deref().map(str::to_owned),
            message: error.message.clone(),
            detail: chain(error),
            desired,
            at,
            times: 1,
        }
    }
}

/// The failures of one group, by the digest of the step that failed.
#[derive(Clone, Debug, Default)]
pub struct Failures(BTreeMap<Digest, Failure>);

impl Failures {
    /// Forgets what a new run may try again: everything but hopeless writes for the same desired state that are
    /// not old yet. What was the provider's fault says nothing of the write.
    pub fn begin(&mut self, desired: Digest, now: Timestamp) {
        self.0.retain(|_, failure| {
            failure.class.is_hopeless()
                && failure.of_provider.is_none()
                && failure.desired == desired
                && now.duration_since(failure.at) < HOLD
        });
    }

    /// Remembers that a step failed.
    pub fn record<S: Serialize>(&mut self, step: &S, failure: Failure) {
        let known = self.0.entry(Digest::of(step)).or_insert_with(|| Failure {
            times: 0,
            ..failure.clone()
        });
        let times = known.times + 1;
        *known = Failure { times, ..failure };
    }

    /// Whether this step failed and is held back.
    pub fn holds<S: Serialize>(&self, step: &S) -> Option<&Failure> {
        // Nearly always, and then the digests of all steps need not be worked out.
        if self.0.is_empty() {
            return None;
        }
        self.0.get(&Digest::of(step))
    }

    /// Forgets every failure of a class: a conflict is forgotten once the world was looked at again.
    pub fn forget(&mut self, class: ErrorClass) {
        self.0.retain(|_, failure| failure.class != class);
    }

    /// Forgets what was hopeless while nothing changed. What was refused of a shared object stays: its writer tells when that changes, and
    /// what has happened may be of another object.
    pub fn forget_hopeless(&mut self) {
        self.0.retain(|_, failure| {
            !failure.class.is_hopeless() || failure.operation == shared::WRITE
        });
    }

    /// Takes the steps that are held back out of a plan, and returns what failed about them: what is still in the way.
    pub fn hold_back<S: Serialize>(&self, plan: &mut Plan<S>) -> Vec<Failure> {
        let mut held = Vec::new();
        plan.steps
            .retain(|Planned { step, .. }| match self.holds(step) {
                None => true,
                Some(failure) => {
                    held.push(failure.clone());
                    false
                }
            });
        held
    }

    /// All of them, in a stable order.
    pub fn iter(&self) -> impl Iterator<Item = &Failure> {
        self.0.values()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
