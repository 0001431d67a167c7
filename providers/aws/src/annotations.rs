//! What the annotations of a Service are called here (Decides).
//!
//! The keys are those of the two controllers that people come from, the cloud controller manager (`ccm`) and the AWS load
//! balancer controller (`lbc`), so that a Service can move here as it is. A neutral key (`evenkeel.dev/…`) wins over one of
//! these for the same thing. What a key does, is decided beside the object that it is about, in [`crate::desired`].

use std::sync::Arc;

use evenkeel_core::{
    annotation::{Reader, field, value::quote},
    intent::Intent,
    problem::{Problem, Problems, Warning, reason},
};

mod foreign;
pub mod key;
mod table;
#[cfg(test)]
mod tests;

pub use table::TABLE;

/// What most of the keys begin with.
pub const PREFIX: &str = "service.beta.kubernetes.io/aws-load-balancer-";

/// What the keys of weighted forwarding begin with.
pub const ACTIONS_PREFIX: &str = "service.beta.kubernetes.io/actions.";

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

    /// A bool.
    pub(crate) fn bool(&mut self, key: &str) -> Option<bool> {
        self.take(self.keys.bool(key))
    }

    /// A number.
    pub(crate) fn number(&mut self, key: &str) -> Option<u32> {
        self.take(self.keys.number(key))
    }

    /// A word.
    pub(crate) fn word(&mut self, key: &str) -> Option<&'static str> {
        self.take(self.keys.word(key))
    }

    /// `on` or `off`.
    pub(crate) fn switch(&mut self, key: &str) -> Option<bool> {
        self.word(key).map(|word| word == "on")
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
    pub(crate) fn map(&mut self, key: &str) -> Option<crate::model::Pairs> {
        self.take(self.keys.map(key))
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

    /// The keys that nobody knows, and those that are not for a Network Load Balancer.
    pub(crate) fn warn_of_keys_without_effect(&mut self) {
        let annotations = &self.intent.annotations;
        let unknown = TABLE.unknown(annotations).into_iter();
        self.warnings.extend(unknown.filter(|warning| {
            !foreign::CLASSIC
                .iter()
                .any(|classic| warning.message.starts_with(&field(classic.key)))
        }));
        self.warnings.extend(foreign::warnings(annotations));
    }
}
