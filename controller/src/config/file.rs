//! The configuration file: a flat map of options (Decides; it is read elsewhere).

use evenkeel_core::{
    annotation::nearest,
    problem::{Problem, Problems},
};
use serde_json::{Map, Value};

use super::sources::{File, OPTIONS, RECORDS, Sources};

/// Reads the options of a file, and finds every key that is none.
pub(super) fn read(file: &File, problems: &mut Problems) -> Sources {
    let mut sources = Sources::default();
    let name = file.path.display().to_string();
    // `n` and `off` are words, not booleans.
    let options = serde_saphyr::options! { strict_booleans: true };
    let map = match serde_saphyr::from_str_with_options::<Option<Map<String, Value>>>(
        &file.text, options,
    ) {
        Ok(map) => map.unwrap_or_default(),
        Err(error) => {
            let why = error.to_string();
            let why = why.lines().next().unwrap_or_default();
            let message = format!("must be a YAML map of options ({why})");
            problems.push(Problem::new(
                "--config",
                name,
                message,
                "Correct the file; its keys are the names of the flags.",
            ));
            return sources;
        }
    };
    for (key, value) in &map {
        let place = format!("{key} in {name}");
        match OPTIONS.iter().find(|(option, _)| option == key) {
            Some((option, many)) => {
                let read = if RECORDS.contains(option) {
                    records(&place, value)
                } else {
                    texts(&place, value, *many)
                };
                if let Some(texts) = problems.take(read) {
                    for text in texts {
                        sources.add(option, &place, &text);
                    }
                }
            }
            None => problems.push(unknown(&place, key)),
        }
    }
    sources
}

fn unknown(place: &str, key: &str) -> Problem {
    let advice = match nearest(key, OPTIONS.iter().map(|(option, _)| *option)) {
        Some(near) => format!("Did you mean {near}?"),
        None => "Remove it; the keys are the names of the flags of evenkeel run.".to_owned(),
    };
    Problem::new(place, key, "is no option", advice)
}

/// The values of a key as if they were typed: a scalar, a list of scalars, or a map as `key=value` pairs.
fn texts(place: &str, value: &Value, many: bool) -> Result<Vec<String>, Problem> {
    let wrong = |allowed: &str| {
        let advice = if many {
            "Write it as [first, second]."
        } else {
            "Write it as key: value."
        };
        Problem::new(
            place,
            value.to_string(),
            format!("must be {allowed}"),
            advice,
        )
    };
    match value {
        Value::Array(list) if many => list
            .iter()
            .map(|one| scalar(one).ok_or_else(|| wrong("a list of single values")))
            .collect(),
        Value::Object(map) if many => map
            .iter()
            .map(|(key, one)| {
                scalar(one)
                    .map(|one| format!("{key}={one}"))
                    .ok_or_else(|| wrong("a map of single values"))
            })
            .collect(),
        Value::Null => Ok(Vec::new()),
        single => {
            let allowed = if many {
                "a value or a list of values"
            } else {
                "a single value"
            };
            scalar(single)
                .map(|text| vec![text])
                .ok_or_else(|| wrong(allowed))
        }
    }
}

/// The values of a key that holds records: each a text, or a map that says the same. The key that a record begins with is
/// `addresses`.
fn records(place: &str, value: &Value) -> Result<Vec<String>, Problem> {
    const FIRST: &str = "addresses";
    let wrong = |value: &Value| {
        Problem::new(
            place,
            value.to_string(),
            "must be a list of texts, or of maps whose values are single or lists of single ones",
            "Write it as [192.0.2.9, {addresses: 192.0.2.0/28, name: office, namespaces: [shop, blog]}].",
        )
    };
    // A comma would begin another option, or another record.
    let single = |value: &Value| scalar(value).filter(|text| !text.contains(','));
    let text = |value: &Value| match value {
        Value::Array(list) => {
            let parts: Option<Vec<String>> = list.iter().map(single).collect();
            Some(parts?.join("+"))
        }
        value => single(value),
    };
    let record = |value: &Value| match value {
        Value::Object(map) => {
            let mut parts = vec![map.get(FIRST).map_or(Some(String::new()), &text)?];
            for (key, value) in map.iter().filter(|(key, _)| *key != FIRST) {
                parts.push(format!("{key}={}", text(value)?));
            }
            Some(parts.join(","))
        }
        single => scalar(single),
    };
    let list = match value {
        Value::Null => &[],
        Value::Array(list) => list.as_slice(),
        single => std::slice::from_ref(single),
    };
    list.iter()
        .map(|value| record(value).ok_or_else(|| wrong(value)))
        .collect()
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}
