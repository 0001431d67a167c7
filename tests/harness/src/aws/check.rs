//! Holds the parameters of a request to AWS's model: names, required ones, enumerations, lengths, ranges, patterns. Decides.

use serde_json::Value;

use super::decode::join;
use super::model::{Model, Shape, Type};

/// All that AWS's model forbids.
pub(super) fn check(model: &Model, input: Option<&Shape>, parameters: &Value) -> Vec<String> {
    let mut checker = Checker {
        model,
        problems: Vec::new(),
    };
    match input {
        Some(shape) => checker.value(shape, parameters, ""),
        None if parameters.as_object().is_none_or(serde_json::Map::is_empty) => {}
        None => checker
            .problems
            .push("the operation takes no parameters".to_owned()),
    }
    checker.problems
}

struct Checker<'a> {
    model: &'a Model,
    problems: Vec<String>,
}

impl Checker<'_> {
    fn value(&mut self, shape: &Shape, value: &Value, path: &str) {
        match (shape.kind, value) {
            // The decoder has told what is wrong with it.
            (_, Value::Null) => {}
            (Type::Structure, Value::Object(members)) => {
                for name in shape
                    .required
                    .iter()
                    .filter(|name| !members.contains_key(*name))
                {
                    self.tell(&join(path, name), "is required");
                }
                for (name, value) in members {
                    let path = join(path, name);
                    let known = shape.members.get(name);
                    match known.and_then(|reference| self.model.shape(reference)) {
                        Some(inner) => self.value(inner, value, &path),
                        None => self.tell(&path, "unknown parameter"),
                    }
                }
            }
            (Type::List, Value::Array(items)) => {
                self.size(shape, items.len(), "items", path);
                let inner = shape
                    .member
                    .as_ref()
                    .and_then(|member| self.model.shape(member));
                for (index, item) in items.iter().enumerate() {
                    if let Some(inner) = inner {
                        self.value(inner, item, &format!("{path}[{index}]"));
                    }
                }
            }
            (Type::Map, Value::Object(entries)) => {
                self.size(shape, entries.len(), "entries", path);
                let shape_of =
                    |reference: &Option<_>| reference.as_ref().and_then(|r| self.model.shape(r));
                let (keys, values) = (shape_of(&shape.key), shape_of(&shape.value));
                for (key, value) in entries {
                    if let (Some(keys), Some(values)) = (keys, values) {
                        self.value(keys, &Value::String(key.clone()), &join(path, key));
                        self.value(values, value, &join(path, key));
                    }
                }
            }
            (Type::String, Value::String(text)) => self.text(shape, text, path),
            (Type::Integer | Type::Long, Value::Number(number)) if number.is_i64() => {
                self.range(shape, number.as_f64().unwrap_or_default(), path);
            }
            (Type::Double | Type::Float, Value::Number(number)) => {
                self.range(shape, number.as_f64().unwrap_or_default(), path);
            }
            (Type::Boolean, Value::Bool(_))
            | (Type::Timestamp, Value::String(_) | Value::Number(_))
            | (Type::Blob, Value::String(_)) => {}
            (kind, _) => {
                let kind = format!("is no {kind:?}").to_lowercase();
                self.tell(path, &kind);
            }
        }
    }

    fn text(&mut self, shape: &Shape, text: &str, path: &str) {
        if let Some(values) = &shape.values
            && !values.iter().any(|value| value == text)
        {
            self.tell(path, &format!("{text:?} is none of {}", values.join(", ")));
        }
        self.size(shape, text.chars().count(), "characters", path);
        if let Some(pattern) = shape.pattern()
            && !pattern.is_match(text)
        {
            self.tell(path, &format!("{text:?} does not match {pattern}"));
        }
    }

    fn size(&mut self, shape: &Shape, size: usize, unit: &str, path: &str) {
        #[expect(clippy::cast_precision_loss, reason = "no request is that long")]
        let number = size as f64;
        if shape.min.is_some_and(|min| number < min) || shape.max.is_some_and(|max| number > max) {
            let limits = limits(shape);
            self.tell(path, &format!("{size} {unit}, allowed are {limits}"));
        }
    }

    fn range(&mut self, shape: &Shape, number: f64, path: &str) {
        if shape.min.is_some_and(|min| number < min) || shape.max.is_some_and(|max| number > max) {
            let limits = limits(shape);
            self.tell(path, &format!("{number}, allowed are {limits}"));
        }
    }

    fn tell(&mut self, path: &str, what: &str) {
        self.problems.push(format!("{path}: {what}"));
    }
}

fn limits(shape: &Shape) -> String {
    let text = |limit: Option<f64>| limit.map(|limit| limit.to_string()).unwrap_or_default();
    format!("{}..{}", text(shape.min), text(shape.max))
}
