//! What the annotations of a Service are called here (Decides).
//!
//! The keys are those of the cloud provider of Azure, so that a Service can move here as it is. A neutral key (`evenkeel.dev/…`) wins
//! over one of these for the same thing. What a key does, is decided beside the object that it is about, in [`crate::desired`].

use std::sync::Arc;

use evenkeel_core::{
    annotation::{Reader, field, value::quote},
    intent::Intent,
    problem::{Problem, Problems, Warning, reason},
};

pub mod key;
mod table;
#[cfg(test)]
mod tests;

pub use table::TABLE;

/// What most of the keys begin with.
pub const PREFIX: &str = "service.beta.kubernetes.io/azure-";

/// What the keys of single ports begin with.
pub const PORT_PREFIX: &str = "service.beta.kubernetes.io/port_";

/// A key that the documentation of the cloud provider lists and nobody reads any more.
const SHARED_SECURITY_RULE: &str = "service.beta.kubernetes.io/azure-shared-securityrule";

/// The annotations of one Service, and where what is wrong with them goes.
pub(crate) struct Asked<'a> {
    /// The Service.
    pub(crate) intent: &'a Intent,
    /// Its annotations.
    pub(crate) keys: Reader<'a>,
    /// What cannot be used.
    pub(crate) problems: Problems,
    /// What its owner should know.
    pub(crate) warnings: Vec<Warning>,
}

impl<'a> Asked<'a> {
    /// The annotations of a Service.
    pub(crate) fn new(intent: &'a Intent) -> Self {
        Self {
            intent,
            keys: TABLE.reader(&intent.annotations),
            problems: Problems::none(),
            warnings: Vec::new(),
        }
    }

    /// Keeps a value that could be read, and the problem of one that could not.
    pub(crate) fn take<T>(&mut self, read: Result<Option<T>, Problem>) -> Option<T> {
        self.problems.take(read).flatten()
    }

    /// Whether a key says true.
    pub(crate) fn says(&mut self, key: &str) -> bool {
        self.take(self.keys.bool(key)).unwrap_or_default()
    }

    /// A number.
    pub(crate) fn number(&mut self, key: &str) -> Option<u32> {
        self.take(self.keys.number(key))
    }

    /// A text.
    pub(crate) fn text(&mut self, key: &str) -> Option<Arc<str>> {
        self.take(self.keys.text(key))
    }

    /// A list.
    pub(crate) fn list(&mut self, key: &str) -> Option<Vec<Arc<str>>> {
        self.take(self.keys.list(key))
    }

    /// Pairs.
    pub(crate) fn map(&mut self, key: &str) -> crate::model::Pairs {
        self.take(self.keys.map(key)).unwrap_or_default()
    }

    /// A value that cannot be used, quoted as it was written.
    pub(crate) fn wrong(
        &mut self,
        key: &str,
        message: impl Into<String>,
        advice: impl Into<String>,
    ) {
        let written = quote(self.keys.raw(key).unwrap_or_default());
        self.problems
            .push(Problem::new(field(key), written, message, advice));
    }

    /// A value that asks for what we do not do.
    pub(crate) fn unsupported(&mut self, key: &str, message: &str) {
        let written = quote(self.keys.raw(key).unwrap_or_default());
        let problem = Problem::new(field(key), written, message, "Remove the annotation.");
        self.problems
            .push(problem.with_reason(reason::UNSUPPORTED_FEATURE));
    }

    /// A key with something that its owner should know.
    pub(crate) fn warn(&mut self, key: &str, message: impl std::fmt::Display) {
        let warning = Warning::new(
            reason::INVALID_CONFIGURATION,
            format!("{}: {message}", field(key)),
        );
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }

    /// The keys that nobody knows, and those that nobody reads.
    pub(crate) fn warn_of_keys_without_effect(&mut self) {
        let annotations = &self.intent.annotations;
        let unread = field(SHARED_SECURITY_RULE);
        let unknown = TABLE.unknown(annotations).into_iter();
        self.warnings
            .extend(unknown.filter(|warning| !warning.message.starts_with(&unread)));
        if annotations.contains_key(SHARED_SECURITY_RULE) {
            self.warn(SHARED_SECURITY_RULE, "nobody reads it any more. Remove it.");
        }
        if self.keys.raw(key::MODE).is_some() {
            self.warn(
                key::MODE,
                "is for load balancers of the SKU Basic and has no effect. Remove it.",
            );
        }
    }
}
