//! The configuration file: a flat map of options (Decides; it is read elsewhere).

use evenkeel_core::{
    annotation::nearest,
    problem::{Problem, Problems},
};
use serde_json::{Map, Value};

use super::sources::{File, OPTIONS, Sources};

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
                if let Some(texts) = problems.take(texts(&place, value, *many)) {
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

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}
