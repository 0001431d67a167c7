//! Whether a document has the form that its schema says, with everything that is wrong at once (Decides).
//!
//! A schema is what [`super::schema`] makes of our types; of JSON Schema that much is understood, and no more.

use serde_json::{Map, Value};

use crate::{
    annotation::nearest,
    problem::{Problem, Problems},
};

/// The longest value that a message shows.
const SHOWN: usize = 60;

/// Checks a document.
///
/// # Errors
/// Everything that is wrong with it, by the path of the field: `cloud.subnets[2].zone`.
pub fn check(document: &Value, schema: &Value) -> Result<(), Problems> {
    let checker = Checker { root: schema };
    let mut problems = Problems::none();
    checker.visit(String::new(), document, schema, &mut problems);
    problems.check()
}

struct Checker<'a> {
    root: &'a Value,
}

impl<'a> Checker<'a> {
    fn visit(&self, at: String, value: &Value, schema: &'a Value, problems: &mut Problems) {
        let schema = self.resolved(schema);
        let Some(schema) = schema.as_object() else {
            return;
        };
        if let Some(Value::Array(options)) = schema.get("anyOf").or_else(|| schema.get("oneOf")) {
            self.visit_options(at, value, options, problems);
            return;
        }
        if let Some(words) = words(schema) {
            if !words.contains(&value) {
                problems.push(none_of(&at, value, &words));
            }
            return;
        }
        let kinds = kinds(schema);
        if !kinds.is_empty() && !kinds.iter().any(|kind| is(value, kind)) {
            let message = format!(
                "must be {}",
                kinds
                    .iter()
                    .map(|kind| article(kind))
                    .collect::<Vec<_>>()
                    .join(" or ")
            );
            problems.push(Problem::new(
                at,
                shown(value),
                message,
                "Correct the value.",
            ));
            return;
        }
        match value {
            Value::Object(map) => self.visit_map(&at, map, schema, problems),
            Value::Array(list) => {
                for (index, one) in list.iter().enumerate() {
                    if let Some(items) = schema.get("items") {
                        self.visit(format!("{at}[{index}]"), one, items, problems);
                    }
                }
            }
            Value::Number(number) => {
                let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
                let number = number.as_f64().unwrap_or(f64::NAN);
                let (least, most) = (bound("minimum"), bound("maximum"));
                if least.is_some_and(|least| number < least)
                    || most.is_some_and(|most| number > most)
                {
                    let side = |bound: Option<f64>, none: &str| {
                        bound.map_or(none.to_owned(), |bound| bound.to_string())
                    };
                    let message = format!(
                        "must be from {} to {}",
                        side(least, "any"),
                        side(most, "any")
                    );
                    problems.push(Problem::new(
                        at,
                        shown(value),
                        message,
                        "Correct the value.",
                    ));
                }
            }
            _ => {}
        }
    }

    fn resolved(&self, schema: &'a Value) -> &'a Value {
        let mut schema = schema;
        while let Some(path) = schema.get("$ref").and_then(Value::as_str) {
            match self.root.pointer(path.trim_start_matches('#')) {
                Some(target) => schema = target,
                None => return &Value::Null,
            }
        }
        schema
    }

    /// One of several forms: words, or that which the value is nearest to.
    fn visit_options(
        &self,
        at: String,
        value: &Value,
        options: &'a [Value],
        problems: &mut Problems,
    ) {
        let resolved: Vec<&Value> = options.iter().map(|option| self.resolved(option)).collect();
        let all_words: Option<Vec<&Value>> = resolved
            .iter()
            .map(|option| option.as_object().and_then(words))
            .collect::<Option<Vec<_>>>()
            .map(|all| all.into_iter().flatten().collect());
        if let Some(words) = all_words {
            if !words.contains(&value) {
                problems.push(none_of(&at, value, &words));
            }
            return;
        }
        let mut best: Option<Problems> = None;
        for option in options {
            let mut found = Problems::none();
            self.visit(at.clone(), value, option, &mut found);
            if found.is_empty() {
                return;
            }
            let fewer = best
                .as_ref()
                .is_none_or(|best| found.iter().count() < best.iter().count());
            // What is only not null has nothing to tell.
            let null = self.resolved(option).get("type").and_then(Value::as_str) == Some("null");
            if fewer && !null {
                best = Some(found);
            }
        }
        problems.extend(best.unwrap_or_default());
    }

    fn visit_map(
        &self,
        at: &str,
        map: &Map<String, Value>,
        schema: &'a Map<String, Value>,
        problems: &mut Problems,
    ) {
        let none = Map::new();
        let known = schema
            .get("properties")
            .and_then(Value::as_object)
            .unwrap_or(&none);
        let inner = |key: &str| match at {
            "" => key.to_owned(),
            at => format!("{at}.{key}"),
        };
        for (key, value) in map {
            if let Some(property) = schema
                .get("properties")
                .and_then(|properties| properties.get(key))
            {
                self.visit(inner(key), value, property, problems);
                continue;
            }
            match schema.get("additionalProperties") {
                Some(Value::Bool(false)) => {
                    let advice = match nearest(key, known.keys().map(String::as_str)) {
                        Some(near) => format!("Did you mean {near}?"),
                        None => {
                            let known: Vec<_> = known.keys().map(String::as_str).collect();
                            format!("Remove it; there are {}.", known.join(", "))
                        }
                    };
                    problems.push(Problem::new(inner(key), key, "is no field", advice));
                }
                Some(others) => self.visit(inner(key), value, others, problems),
                None => {}
            }
        }
        let required = schema.get("required").and_then(Value::as_array);
        for key in required.into_iter().flatten().filter_map(Value::as_str) {
            if !map.contains_key(key) {
                problems.push(Problem::new(inner(key), "", "is missing", "Write it."));
            }
        }
    }
}

/// The values that a schema allows, where it names them.
fn words(schema: &Map<String, Value>) -> Option<Vec<&Value>> {
    if let Some(Value::Array(words)) = schema.get("enum") {
        return Some(words.iter().collect());
    }
    schema.get("const").map(|word| vec![word])
}

fn kinds(schema: &Map<String, Value>) -> Vec<&str> {
    match schema.get("type") {
        Some(Value::String(kind)) => vec![kind],
        Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

fn is(value: &Value, kind: &str) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => true,
    }
}

fn article(kind: &str) -> &'static str {
    match kind {
        "null" => "nothing",
        "boolean" => "true or false",
        "integer" => "a whole number",
        "number" => "a number",
        "string" => "a text",
        "array" => "a list",
        _ => "a map",
    }
}

fn none_of(at: &str, value: &Value, words: &[&Value]) -> Problem {
    let texts: Vec<String> = words.iter().map(|word| shown(word)).collect();
    let near = nearest(&shown(value), texts.iter().map(String::as_str));
    let advice = match near {
        Some(near) => format!("Did you mean {near}?"),
        None => "Write one of these.".to_owned(),
    };
    let message = match &texts[..] {
        [one] => format!("must be {one}"),
        all => format!("must be one of {}", all.join(", ")),
    };
    Problem::new(at, shown(value), message, advice)
}

/// A value for people, and not too much of it.
fn shown(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
