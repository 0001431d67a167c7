//! Filters of EC2's Describe operations, and what is asked for by id. Decides.
//!
//! EC2 user guide, "Filtering": values of one filter are alternatives, filters are joined by "and"; values are case-sensitive and may
//! hold `*` and `?`. EC2 API reference, `Filters` of each operation: the names. What is not among them is `InvalidParameterValue`,
//! client error codes: "The filter 'x' is invalid".

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::Value;

use super::super::asked::Parameters as _;
use super::super::refusal::{Refusal, bad_value, refuse};

/// EC2 user guide, "Filtering": at most 200 values a filter.
const VALUES: usize = 200;

/// The filters of a call.
#[derive(Debug)]
pub(in super::super) struct Filters {
    all: Vec<(String, Vec<Regex>)>,
}

impl Filters {
    /// The filters of a call, of which `known` can be answered. Those of tags always can.
    pub(in super::super) fn of(asked: &Value, known: &[&str]) -> Result<Self, Refusal> {
        let mut all = Vec::new();
        for filter in asked.list("Filters") {
            let name = filter.required("Name");
            let is_tag = name == "tag-key" || name.starts_with("tag:");
            if !is_tag && !known.contains(&name) {
                return Err(bad_value(format!("The filter '{name}' is invalid")));
            }
            let values = filter.texts("Values");
            if values.len() > VALUES {
                return Err(refuse(
                    "FilterLimitExceeded",
                    format!(
                        "The maximum number of filter values specified on a single call is {VALUES}"
                    ),
                ));
            }
            all.push((name.to_owned(), values.into_iter().map(pattern).collect()));
        }
        Ok(Self { all })
    }

    /// Whether an object passes: `value` says what it has under a filter's name.
    pub(in super::super) fn pass(
        &self,
        tags: &BTreeMap<String, String>,
        value: impl Fn(&str) -> Vec<String>,
    ) -> bool {
        self.all.iter().all(|(name, patterns)| {
            let found = match name.strip_prefix("tag:") {
                Some(key) => tags.get(key).cloned().into_iter().collect(),
                None if name == "tag-key" => tags.keys().cloned().collect(),
                None => value(name),
            };
            found
                .iter()
                .any(|found| patterns.iter().any(|pattern| pattern.is_match(found)))
        })
    }
}

fn pattern(value: &str) -> Regex {
    let escaped = regex::escape(value)
        .replace("\\*", ".*")
        .replace("\\?", ".");
    Regex::new(&format!("(?s)^{escaped}$")).expect("an escaped text is an expression")
}

/// The ids that are asked for: all must be there, and well formed.
pub(in super::super) struct Wanted<'a> {
    /// The parameter.
    pub(in super::super) name: &'a str,
    /// What an id begins with.
    pub(in super::super) prefix: &'a str,
    /// The codes for what is no id, and what is not there.
    pub(in super::super) malformed: &'static str,
    pub(in super::super) missing: &'static str,
    /// What the text calls it.
    pub(in super::super) noun: &'a str,
}

impl Wanted<'_> {
    /// The ids; `None` where all are meant.
    pub(in super::super) fn ids<'v>(
        &self,
        asked: &'v Value,
        there: impl Fn(&str) -> bool,
    ) -> Result<Option<Vec<&'v str>>, Refusal> {
        let ids = asked.texts(self.name);
        if ids.is_empty() {
            return Ok(None);
        }
        for id in &ids {
            self.check(id)?;
        }
        let missing: Vec<_> = ids.iter().filter(|id| !there(id)).copied().collect();
        match missing[..] {
            [] => Ok(Some(ids)),
            [one] => Err(refuse(
                self.missing,
                format!("The {} ID '{one}' does not exist", self.noun),
            )),
            _ => Err(refuse(
                self.missing,
                format!(
                    "The {} IDs '{}' do not exist",
                    self.noun,
                    missing.join(", ")
                ),
            )),
        }
    }

    /// Fails if this is no id of the kind.
    pub(in super::super) fn check(&self, id: &str) -> Result<(), Refusal> {
        match super::super::ids::is_ec2_id(id, self.prefix) {
            true => Ok(()),
            false => Err(refuse(
                self.malformed,
                format!("Invalid id: \"{id}\" (expecting \"{}-...\")", self.prefix),
            )),
        }
    }
}
