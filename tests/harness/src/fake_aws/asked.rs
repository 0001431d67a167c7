//! The parameters of a request, which AWS's model has checked, by name. Decides.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// Parameters, whole or a part of them.
pub(super) trait Parameters {
    /// A text that was given.
    fn text(&self, name: &str) -> Option<&str>;
    /// A text that AWS's model requires.
    fn required(&self, name: &str) -> &str {
        self.text(name).unwrap_or_default()
    }
    /// A number that was given.
    fn number(&self, name: &str) -> Option<i64>;
    /// A flag that was given.
    fn flag(&self, name: &str) -> Option<bool>;
    /// The items of a list; none where it was not given.
    fn list(&self, name: &str) -> &[Value];
    /// The texts of a list.
    fn texts(&self, name: &str) -> Vec<&str> {
        self.list(name).iter().filter_map(Value::as_str).collect()
    }
}

impl Parameters for Value {
    fn text(&self, name: &str) -> Option<&str> {
        self[name].as_str()
    }

    fn number(&self, name: &str) -> Option<i64> {
        self[name].as_i64()
    }

    fn flag(&self, name: &str) -> Option<bool> {
        self[name].as_bool()
    }

    fn list(&self, name: &str) -> &[Value] {
        self[name].as_array().map(Vec::as_slice).unwrap_or_default()
    }
}

/// Pairs as AWS writes them: `[{"Key": ..., "Value": ...}]`.
pub(super) fn pairs(pairs: &BTreeMap<String, String>) -> Value {
    let pair = |(key, value)| json!({"Key": key, "Value": value});
    pairs.iter().map(pair).collect()
}
