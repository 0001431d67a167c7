//! Strict reading of JSON bodies. Decides: no IO.
//!
//! Beside what serde refuses, an error here names the field with its whole path (`spec.targets[3].port`) and an
//! unknown field its nearest spelling. serde's own errors are text, so a small deserializer with a structured
//! error walks the value.

use std::fmt;

use serde::{
    Deserialize, Serialize,
    de::{
        self, DeserializeSeed, Deserializer, Error as _, IntoDeserializer, MapAccess, SeqAccess,
        Unexpected, Visitor,
    },
    forward_to_deserialize_any,
};
use serde_json::Value;

use crate::api::{ApiError, code};

/// Reads a body as `T`, or says which field is wrong.
pub(crate) fn parse<T: for<'de> Deserialize<'de> + Serialize>(body: &[u8]) -> Result<T, ApiError> {
    let value: Value = serde_json::from_slice(body).map_err(|error| {
        ApiError::new(
            code::INVALID,
            format!("the body is not JSON: {error}; send a JSON object"),
        )
    })?;
    let typed = T::deserialize(Strict(value.clone())).map_err(WrongField::into_api_error)?;
    // serde accepts stray fields beside the tag of a variant without fields. What was sent and does not come
    // back was not understood.
    let understood = serde_json::to_value(&typed).map_err(|error| {
        ApiError::new(
            code::INVALID,
            format!("the body cannot be stored: {error}; send values that JSON can hold"),
        )
    })?;
    match stray_field(&value, &understood) {
        Some(mut path) => {
            path.reverse();
            let path = path.join(".");
            Err(ApiError::new(
                code::INVALID,
                format!("unknown field `{path}` here; remove it"),
            )
            .at(path))
        }
        None => Ok(typed),
    }
}

/// True for values that may be left out when they are written, and so prove nothing.
fn is_blank(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Array(values) => values.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Number(_) | Value::String(_) => false,
    }
}

/// The path, innermost first, of a field that is in `sent` and not in `understood`.
fn stray_field(sent: &Value, understood: &Value) -> Option<Vec<String>> {
    match (sent, understood) {
        (Value::Object(sent), Value::Object(understood)) => sent.iter().find_map(|(key, value)| {
            let mut path = match understood.get(key) {
                Some(twin) => stray_field(value, twin)?,
                None if is_blank(value) => return None,
                None => Vec::new(),
            };
            path.push(key.clone());
            Some(path)
        }),
        (Value::Array(sent), Value::Array(understood)) => sent
            .iter()
            .zip(understood)
            .enumerate()
            .find_map(|(index, (value, twin))| {
                let mut path = stray_field(value, twin)?;
                path.push(index.to_string());
                Some(path)
            }),
        _ => None,
    }
}

/// What is wrong, and where: the path is innermost first.
#[derive(Debug)]
struct WrongField {
    path: Vec<Step>,
    what: Wrong,
}

#[derive(Debug)]
enum Step {
    Key(String),
    Index(usize),
}

#[derive(Debug)]
enum Wrong {
    Unknown {
        field: String,
        expected: &'static [&'static str],
    },
    Missing(&'static str),
    Other(String),
}

impl WrongField {
    fn inside(mut self, step: Step) -> Self {
        self.path.push(step);
        self
    }

    fn into_api_error(mut self) -> ApiError {
        let own = match &self.what {
            Wrong::Unknown { field, .. } => Some(field.clone()),
            Wrong::Missing(field) => Some((*field).to_owned()),
            Wrong::Other(_) => None,
        };
        if let Some(field) = own {
            self.path.insert(0, Step::Key(field));
        }
        let mut path = String::new();
        for step in self.path.iter().rev() {
            match step {
                Step::Key(key) if path.is_empty() => path.push_str(key),
                Step::Key(key) => path.extend([".", key]),
                Step::Index(index) => path.push_str(&format!("[{index}]")),
            }
        }
        let message = match self.what {
            Wrong::Unknown { field, expected } => {
                let help = match nearest(&field, expected) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "remove it".to_owned(),
                };
                format!(
                    "unknown field `{path}`; {help} Allowed here: {}",
                    expected.join(", ")
                )
            }
            Wrong::Missing(_) => format!("the field `{path}` is missing; add it"),
            Wrong::Other(text) if path.is_empty() => {
                format!("the body is wrong: {text}; correct it")
            }
            Wrong::Other(text) => format!("`{path}` is wrong: {text}; correct it"),
        };
        let error = ApiError::new(code::INVALID, message);
        if path.is_empty() {
            error
        } else {
            error.at(path)
        }
    }
}

/// The candidate that a misspelt word most likely meant.
fn nearest(word: &str, candidates: &[&'static str]) -> Option<&'static str> {
    candidates
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), *candidate))
        // A third of the letters wrong is still a slip, more is another word.
        .filter(|(distance, candidate)| *distance <= candidate.len().max(3) / 3)
        .min()
        .map(|(_, candidate)| candidate)
}

impl fmt::Display for WrongField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.what)
    }
}

impl std::error::Error for WrongField {}

impl de::Error for WrongField {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self {
            path: Vec::new(),
            what: Wrong::Other(message.to_string()),
        }
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self {
            path: Vec::new(),
            what: Wrong::Unknown {
                field: field.to_owned(),
                expected,
            },
        }
    }

    fn missing_field(field: &'static str) -> Self {
        Self {
            path: Vec::new(),
            what: Wrong::Missing(field),
        }
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let help = nearest(variant, expected)
            .map(|near| format!(" (did you mean `{near}`?)"))
            .unwrap_or_default();
        Self::custom(format!(
            "`{variant}` is none of {}{help}",
            expected.join(", ")
        ))
    }
}

struct Strict(Value);

impl<'de> Deserializer<'de> for Strict {
    type Error = WrongField;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WrongField> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(value),
            Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(value), ..) => visitor.visit_u64(value),
                (_, Some(value), _) => visitor.visit_i64(value),
                (.., Some(value)) => visitor.visit_f64(value),
                _ => Err(WrongField::custom(format!(
                    "{number} is no number that can be kept"
                ))),
            },
            Value::String(value) => visitor.visit_string(value),
            Value::Array(values) => visitor.visit_seq(Elements(values.into_iter().enumerate())),
            Value::Object(fields) => visitor.visit_map(Fields {
                rest: fields.into_iter(),
                open: None,
            }),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WrongField> {
        if self.0.is_null() {
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, WrongField> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, WrongField> {
        match self.0 {
            // A derived struct would also accept its fields in order, without their names.
            Value::Array(_) => Err(WrongField::invalid_type(Unexpected::Seq, &visitor)),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, WrongField> {
        match self.0 {
            Value::String(name) => visitor.visit_enum(name.into_deserializer()),
            _ => self.deserialize_any(visitor),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq
        tuple tuple_struct map identifier ignored_any
    }
}

struct Elements(std::iter::Enumerate<std::vec::IntoIter<Value>>);

impl<'de> SeqAccess<'de> for Elements {
    type Error = WrongField;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, WrongField> {
        self.0
            .next()
            .map(|(index, value)| {
                seed.deserialize(Strict(value))
                    .map_err(|error| error.inside(Step::Index(index)))
            })
            .transpose()
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

struct Fields {
    rest: serde_json::map::IntoIter,
    open: Option<(String, Value)>,
}

impl<'de> MapAccess<'de> for Fields {
    type Error = WrongField;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, WrongField> {
        let Some((key, value)) = self.rest.next() else {
            return Ok(None);
        };
        let found = seed.deserialize(key.as_str().into_deserializer())?;
        self.open = Some((key, value));
        Ok(Some(found))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(
        &mut self,
        seed: V,
    ) -> Result<V::Value, WrongField> {
        let Some((key, value)) = self.open.take() else {
            return Err(WrongField::custom("a value was read before its key"));
        };
        seed.deserialize(Strict(value))
            .map_err(|error| error.inside(Step::Key(key)))
    }
}

#[cfg(test)]
mod tests;
