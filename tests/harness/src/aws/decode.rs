//! Turns the form of a request into its parameters, by AWS's model. Decides.
//!
//! `Targets.member.1.Id=i-1` becomes `{"Targets": [{"Id": "i-1"}]}`. What the model does not know, and numbers that are none, are
//! told; the rest is left to [`super::check`].

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::model::{Model, Protocol, Reference, Shape, Type};

/// The keys of a form, split at their dots.
#[derive(Debug, Default)]
struct Tree {
    value: Option<String>,
    children: BTreeMap<String, Tree>,
}

impl Tree {
    fn insert(&mut self, key: &str, value: String) {
        let place = key.split('.').fold(self, |tree, part| {
            tree.children.entry(part.to_owned()).or_default()
        });
        place.value = Some(value);
    }
}

/// The parameters of a form without `Action` and `Version`, and what is wrong with it.
pub(super) fn decode(
    model: &Model,
    input: Option<&Shape>,
    form: &[(String, String)],
) -> (Value, Vec<String>) {
    let mut tree = Tree::default();
    for (key, value) in form {
        if key != "Action" && key != "Version" {
            tree.insert(key, value.clone());
        }
    }
    let mut decoder = Decoder {
        model,
        problems: Vec::new(),
    };
    let parameters = match input {
        Some(shape) => decoder.value(shape, &tree, ""),
        None => {
            for name in tree.children.keys() {
                decoder.problems.push(format!("{name}: unknown parameter"));
            }
            json!({})
        }
    };
    (parameters, decoder.problems)
}

struct Decoder<'a> {
    model: &'a Model,
    problems: Vec<String>,
}

impl Decoder<'_> {
    fn value(&mut self, shape: &Shape, tree: &Tree, path: &str) -> Value {
        match shape.kind {
            Type::Structure => self.structure(shape, tree, path),
            Type::List => self.list(shape, tree, path),
            Type::Map => self.map(shape, tree, path),
            _ => self.scalar(shape, tree, path),
        }
    }

    fn structure(&mut self, shape: &Shape, tree: &Tree, path: &str) -> Value {
        let mut found = Map::new();
        let mut left: Vec<_> = tree.children.keys().collect();
        for (name, reference) in &shape.members {
            let wire = self.wire_name(name, reference);
            let (Some(child), Some(inner)) =
                (tree.children.get(&wire), self.model.shape(reference))
            else {
                continue;
            };
            left.retain(|key| **key != wire);
            let value = self.value(inner, child, &join(path, name));
            found.insert(name.clone(), value);
        }
        for name in left {
            let name = join(path, name);
            self.problems.push(format!("{name}: unknown parameter"));
        }
        if tree.value.is_some() {
            self.problems
                .push(format!("{path}: a structure, not a value"));
        }
        Value::Object(found)
    }

    /// EC2's own names: `queryName`, else the location name, else the member's, with a capital.
    fn wire_name(&self, name: &str, reference: &Reference) -> String {
        let located = reference.location_name.as_deref().unwrap_or(name);
        match self.model.protocol {
            Protocol::Ec2 => match &reference.query_name {
                Some(name) => name.clone(),
                None => capitalised(located),
            },
            _ => located.to_owned(),
        }
    }

    fn list(&mut self, shape: &Shape, tree: &Tree, path: &str) -> Value {
        let empty = Tree::default();
        let items = match self.model.protocol {
            Protocol::Ec2 => tree,
            _ => {
                for name in tree.children.keys().filter(|name| *name != "member") {
                    let name = join(path, name);
                    self.problems
                        .push(format!("{name}: lists are numbered as {path}.member.1"));
                }
                tree.children.get("member").unwrap_or(&empty)
            }
        };
        // An empty list is written as an empty value.
        if tree.value.as_deref().is_some_and(|value| !value.is_empty()) {
            self.problems.push(format!("{path}: a list, not a value"));
        }
        let inner = shape
            .member
            .as_ref()
            .and_then(|member| self.model.shape(member));
        let mut found = Vec::new();
        for number in 1..=items.children.len() {
            match (items.children.get(&number.to_string()), inner) {
                (Some(item), Some(inner)) => {
                    found.push(self.value(inner, item, &format!("{path}[{}]", number - 1)));
                }
                _ => {
                    self.problems
                        .push(format!("{path}: the list has no item {number}"));
                    break;
                }
            }
        }
        Value::Array(found)
    }

    fn map(&mut self, shape: &Shape, tree: &Tree, path: &str) -> Value {
        let mut found = Map::new();
        let entries = tree.children.get("entry").map(|entry| &entry.children);
        let inner = shape
            .value
            .as_ref()
            .and_then(|value| self.model.shape(value));
        for entry in entries.into_iter().flat_map(BTreeMap::values) {
            let key = entry.children.get("key").and_then(|key| key.value.clone());
            match (key, entry.children.get("value"), inner) {
                (Some(key), Some(value), Some(inner)) => {
                    let value = self.value(inner, value, &join(path, &key));
                    found.insert(key, value);
                }
                _ => self
                    .problems
                    .push(format!("{path}: an entry lacks its key or value")),
            }
        }
        Value::Object(found)
    }

    fn scalar(&mut self, shape: &Shape, tree: &Tree, path: &str) -> Value {
        for name in tree.children.keys() {
            let name = join(path, name);
            self.problems.push(format!("{name}: unknown parameter"));
        }
        let text = tree.value.clone().unwrap_or_default();
        let parsed = match shape.kind {
            Type::Integer | Type::Long => text.parse::<i64>().ok().map(Value::from),
            Type::Double | Type::Float => text.parse::<f64>().ok().map(Value::from),
            Type::Boolean => match text.as_str() {
                "true" => Some(Value::Bool(true)),
                "false" => Some(Value::Bool(false)),
                _ => None,
            },
            _ => Some(Value::String(text.clone())),
        };
        parsed.unwrap_or_else(|| {
            let kind = format!("{:?}", shape.kind).to_lowercase();
            self.problems.push(format!("{path}: {text:?} is no {kind}"));
            Value::Null
        })
    }
}

pub(super) fn join(path: &str, name: &str) -> String {
    match path {
        "" => name.to_owned(),
        _ => format!("{path}.{name}"),
    }
}

fn capitalised(name: &str) -> String {
    let mut letters = name.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => String::new(),
    }
}
