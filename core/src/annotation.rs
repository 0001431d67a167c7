//! Annotations: tables of keys, and reading them (Decides).
//!
//! A [`KeyTable`] says of each key what may be written, what holds without it, and one example. It drives the
//! reading, the reference for users and the warnings about unknown keys, so that the three cannot drift apart. The
//! neutral keys (`evenkeel.dev/…`) are in [`NEUTRAL`]; every provider declares those of its cloud in the same way.
//! The grammars of values are in [`Grammar`], the functions that read them in [`value`].
//!
//! A blank value is the same as no annotation: templates write one where a setting is absent.

use std::{borrow::Borrow, collections::BTreeMap, net::IpAddr, sync::Arc};

mod asked;
mod family;
mod grammar;
pub mod key;
mod neutral;
mod spelling;
#[cfg(test)]
mod tests;
pub mod value;

pub use asked::Asked;
pub use family::is_family;
pub use grammar::{Addresses, Grammar, Value};
pub use neutral::NEUTRAL;
pub use spelling::nearest;

use crate::{
    intent::HealthCheckPort,
    net::Cidr,
    problem::{Problem, Warning, reason},
};

/// Prefix of the neutral keys.
pub const PREFIX: &str = "evenkeel.dev/";

/// The neutral keys with everything a reference needs, in the order of the reference.
pub fn reference() -> impl Iterator<Item = &'static KeyDoc> {
    NEUTRAL.keys.iter()
}

/// The field that problems of an annotation name.
pub fn field(key: &str) -> String {
    format!("metadata.annotations[{key}]")
}

/// One key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyDoc {
    /// The whole key, with its prefix. `{n}` in it stands for any port number, `{P}` for any protocol.
    pub key: &'static str,
    /// What may be written.
    pub grammar: Grammar,
    /// What holds without the annotation, for people.
    pub default: &'static str,
    /// What it does, in one line.
    pub doc: &'static str,
    /// A value that may be written, in its canonical form.
    pub example: &'static str,
}

/// All keys under some prefixes.
#[derive(Clone, Copy, Debug)]
pub struct KeyTable {
    /// Keys that start with one of these and are not in the table are unknown.
    pub prefixes: &'static [&'static str],
    /// The keys.
    pub keys: &'static [KeyDoc],
}

impl KeyTable {
    /// What the table says about a key.
    pub fn doc(&self, key: &str) -> Option<&'static KeyDoc> {
        self.keys
            .iter()
            .find(|doc| family::parts(doc.key, key).is_some())
    }

    /// Whether a key stands under one of the prefixes.
    pub fn covers(&self, key: &str) -> bool {
        self.prefixes.iter().any(|prefix| key.starts_with(prefix))
    }

    /// A warning for every key under our prefixes that is not in the table, with the key that was probably meant.
    pub fn unknown<K: Borrow<str> + Ord, V>(&self, annotations: &BTreeMap<K, V>) -> Vec<Warning> {
        annotations
            .keys()
            .map(K::borrow)
            .filter(|key| self.covers(key) && self.doc(key).is_none())
            .map(|key| self.unknown_key(key))
            .collect()
    }

    fn unknown_key(&self, key: &str) -> Warning {
        let prefix = self
            .prefixes
            .iter()
            .filter(|prefix| key.starts_with(**prefix))
            .max_by_key(|prefix| prefix.len())
            .unwrap_or(&"");
        let tail = |known: &'static str| known.strip_prefix(prefix);
        let near = nearest(
            &key[prefix.len()..],
            self.keys.iter().filter_map(|doc| tail(doc.key)),
        );
        let advice = match near {
            Some(near) if is_family(near) => format!(
                "Did you mean {prefix}{near}, where {{n}} is a port number and {{P}} a protocol in capitals?"
            ),
            Some(near) => format!("Did you mean {prefix}{near}?"),
            None => "Remove it, or look it up in the reference of annotations.".to_owned(),
        };
        Warning::new(
            reason::UNKNOWN_ANNOTATION,
            format!(
                "{}: unknown key under {prefix}, it has no effect. {advice}",
                field(key)
            ),
        )
    }

    /// A reader of these annotations by this table.
    pub fn reader<'a, K, V>(&'static self, annotations: &'a BTreeMap<K, V>) -> Reader<'a>
    where
        K: Borrow<str> + Ord,
        V: AsRef<str>,
    {
        let ours = |(key, value): (&'a K, &'a V)| {
            let (key, value) = (key.borrow(), value.as_ref().trim());
            (self.doc(key).is_some() && !value.is_empty()).then_some((key, value))
        };
        Reader {
            table: self,
            values: annotations.iter().filter_map(ours).collect(),
        }
    }
}

/// What the methods of [`Reader`] give: None when the key is absent or its value blank.
pub type Read<T> = Result<Option<T>, Problem>;

/// Reads annotations as their table says.
///
/// # Errors
/// Each method gives the [`Problem`] of a value that the table does not allow.
///
/// # Panics
/// Each method panics when the table does not list the key, or lists it with another kind of grammar: a mistake in
/// the caller's source, which shows whatever the annotations are.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    table: &'static KeyTable,
    values: BTreeMap<&'a str, &'a str>,
}

impl<'a> Reader<'a> {
    /// The value as it was written, without spaces around it.
    pub fn raw(&self, key: &str) -> Option<&'a str> {
        self.values.get(key).copied()
    }

    /// The value as its grammar reads it.
    pub fn value(&self, key: &str) -> Read<Value> {
        let Some(doc) = self.table.doc(key) else {
            panic!("the table does not list {key}");
        };
        self.raw(key)
            .map(|value| doc.grammar.parse(key, value))
            .transpose()
    }

    /// The keys of a family that are there, each with what stands for the placeholders.
    pub fn family(&self, family: &str) -> Vec<(&'a str, Vec<&'a str>)> {
        self.values
            .keys()
            .filter_map(|key| Some((*key, family::parts(family, key)?)))
            .collect()
    }

    fn typed<T>(&self, key: &str, pick: impl FnOnce(Value) -> Option<T>) -> Read<T> {
        let pick = |value| {
            pick(value).unwrap_or_else(|| panic!("the table lists {key} with another grammar"))
        };
        Ok(self.value(key)?.map(pick))
    }

    /// `true` or `false`.
    pub fn bool(&self, key: &str) -> Read<bool> {
        self.typed(key, |value| match value {
            Value::Bool(value) => Some(value),
            _ => None,
        })
    }

    /// A number, or a number of seconds.
    pub fn number(&self, key: &str) -> Read<u32> {
        self.typed(key, |value| match value {
            Value::Number(value) => Some(value),
            _ => None,
        })
    }

    /// One of the words of the table.
    pub fn word(&self, key: &str) -> Read<&'static str> {
        self.typed(key, |value| match value {
            Value::Word(value) => Some(value),
            _ => None,
        })
    }

    /// What a word of the table stands for; `choices` must have every word of the table.
    pub fn choice<T: Copy>(&self, key: &str, choices: &[(&str, T)]) -> Read<T> {
        let meaning = |word: &str| {
            choices
                .iter()
                .find(|choice| choice.0 == word)
                .map(|choice| choice.1)
        };
        let word = self.word(key)?;
        Ok(word
            .map(|word| meaning(word).unwrap_or_else(|| panic!("no meaning for {word} of {key}"))))
    }

    /// The entries of a list, in their order, each once.
    pub fn list(&self, key: &str) -> Read<Vec<Arc<str>>> {
        self.typed(key, |value| match value {
            Value::List(value) => Some(value),
            _ => None,
        })
    }

    /// The pairs of a map.
    pub fn map(&self, key: &str) -> Read<BTreeMap<Arc<str>, Arc<str>>> {
        self.typed(key, |value| match value {
            Value::Map(value) | Value::Escaped(value) => Some(value),
            _ => None,
        })
    }

    /// Prefixes: canonical, sorted, each once.
    pub fn cidrs(&self, key: &str) -> Read<Vec<Cidr>> {
        self.typed(key, |value| match value {
            Value::Cidrs(value) => Some(value),
            _ => None,
        })
    }

    /// An address.
    pub fn address(&self, key: &str) -> Read<IpAddr> {
        self.typed(key, |value| match value {
            Value::Address(value) => Some(value),
            _ => None,
        })
    }

    /// Addresses, and names of reserved ones.
    pub fn addresses(&self, key: &str) -> Read<Addresses> {
        self.typed(key, |value| match value {
            Value::Addresses(value) => Some(value),
            _ => None,
        })
    }

    /// A port number, or the port that gets the traffic.
    pub fn port(&self, key: &str) -> Read<HealthCheckPort> {
        self.typed(key, |value| match value {
            Value::Port(value) => Some(value),
            _ => None,
        })
    }

    /// A path, a name, or any other text.
    pub fn text(&self, key: &str) -> Read<Arc<str>> {
        self.typed(key, |value| match value {
            Value::Text(value) => Some(value),
            _ => None,
        })
    }
}
