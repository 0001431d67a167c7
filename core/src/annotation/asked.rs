//! What a Service asks by its annotations, and where what is wrong with them goes (Decides).
//!
//! A provider reads key by key, beside the object that each is about; nothing ends the reading, so that all mistakes are told at
//! once.

use std::{collections::BTreeMap, fmt::Display, sync::Arc};

use super::{KeyTable, Read, Reader, field, value::quote};
use crate::{
    intent::Intent,
    problem::{Problem, Problems, Warning, reason},
};

/// The annotations of one Service, and where what is wrong with them goes.
///
/// # Panics
/// Methods that read panic as those of [`Reader`] do.
#[derive(Clone, Debug)]
pub struct Asked<'a> {
    /// The Service.
    pub intent: &'a Intent,
    /// Its annotations.
    pub keys: Reader<'a>,
    /// What cannot be used.
    pub problems: Problems,
    /// What its owner should know.
    pub warnings: Vec<Warning>,
    table: &'static KeyTable,
}

impl<'a> Asked<'a> {
    /// The annotations of a Service that stand in a provider's table.
    pub fn new(table: &'static KeyTable, intent: &'a Intent) -> Self {
        Self {
            intent,
            keys: table.reader(&intent.annotations),
            problems: Problems::none(),
            warnings: Vec::new(),
            table,
        }
    }

    /// Keeps a value that could be read, and the problem of one that could not.
    pub fn take<T>(&mut self, read: Read<T>) -> Option<T> {
        self.problems.take(read).flatten()
    }

    /// A bool.
    pub fn bool(&mut self, key: &str) -> Option<bool> {
        self.take(self.keys.bool(key))
    }

    /// Whether a key says true.
    pub fn says(&mut self, key: &str) -> bool {
        self.bool(key).unwrap_or_default()
    }

    /// A number.
    pub fn number(&mut self, key: &str) -> Option<u32> {
        self.take(self.keys.number(key))
    }

    /// A word.
    pub fn word(&mut self, key: &str) -> Option<&'static str> {
        self.take(self.keys.word(key))
    }

    /// `on` or `off`.
    pub fn switch(&mut self, key: &str) -> Option<bool> {
        self.word(key).map(|word| word == "on")
    }

    /// A text.
    pub fn text(&mut self, key: &str) -> Option<Arc<str>> {
        self.take(self.keys.text(key))
    }

    /// A list.
    pub fn list(&mut self, key: &str) -> Option<Vec<Arc<str>>> {
        self.take(self.keys.list(key))
    }

    /// Pairs.
    pub fn map(&mut self, key: &str) -> Option<BTreeMap<Arc<str>, Arc<str>>> {
        self.take(self.keys.map(key))
    }

    /// A value that cannot be used, quoted as it was written.
    pub fn wrong(&mut self, key: &str, message: impl Into<String>, advice: impl Into<String>) {
        let problem = self.problem(key, message, advice);
        self.problems.push(problem);
    }

    /// A value that asks for what we do not do.
    pub fn unsupported(
        &mut self,
        key: &str,
        message: impl Into<String>,
        advice: impl Into<String>,
    ) {
        let problem = self.problem(key, message, advice);
        self.problems
            .push(problem.with_reason(reason::UNSUPPORTED_FEATURE));
    }

    fn problem(&self, key: &str, message: impl Into<String>, advice: impl Into<String>) -> Problem {
        let written = quote(self.keys.raw(key).unwrap_or_default());
        Problem::new(field(key), written, message, advice)
    }

    /// A key with something that its owner should know.
    pub fn warn(&mut self, key: &str, message: impl Display) {
        let warning = Warning::new(
            reason::INVALID_CONFIGURATION,
            format!("{}: {message}", field(key)),
        );
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }

    /// Warns of the keys that nobody knows, but for those that the provider itself has something to say about.
    pub fn warn_of_unknown(&mut self, but_for: impl Fn(&str) -> bool) {
        let keys = self.intent.annotations.keys().map(|key| &**key);
        let others: BTreeMap<&str, ()> = keys
            .filter(|key| !but_for(key))
            .map(|key| (key, ()))
            .collect();
        self.warnings.extend(self.table.unknown(&others));
    }
}
