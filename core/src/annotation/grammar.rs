//! What may be written as the value of an annotation, as data (Decides).
//!
//! Tables of keys name a [`Grammar`]; the functions that read are in [`super::value`].

use std::{collections::BTreeMap, fmt, net::IpAddr, sync::Arc};

use super::value::{self, TRAFFIC_PORT};
use crate::{intent::HealthCheckPort, net::Cidr, problem::Problem};

/// What may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grammar {
    /// `true` or `false`, in any case.
    Bool,
    /// The same as Go reads it: also `1`, `t`, `T`, `0`, `f`, `F`, and no other case than `TRUE`, `True` and `true`.
    GoBool,
    /// A whole number within these limits.
    Int {
        /// The smallest.
        min: u32,
        /// The largest.
        max: u32,
    },
    /// A time in seconds within these limits: `30`, `30s`, `5m`, `1h`.
    Seconds {
        /// The shortest.
        min: u32,
        /// The longest.
        max: u32,
    },
    /// One of these words, in any case.
    Word(&'static [&'static str]),
    /// One of these words, to the letter.
    Exactly(&'static [&'static str]),
    /// Entries separated by commas.
    List,
    /// The same, where an entry may stand several times.
    Repeated,
    /// `key=value` pairs separated by commas.
    Map,
    /// The same, where a backslash takes the next character as it is: `\,` is a comma.
    Escaped,
    /// CIDRs separated by commas.
    Cidrs,
    /// An IP address.
    Address,
    /// IP addresses, at most one per family, and names of reserved ones, separated by commas.
    Addresses,
    /// A port number, or `traffic-port`.
    PortOrTraffic,
    /// An absolute path.
    Path,
    /// Lower-case letters, digits and hyphens.
    Name,
    /// The digest of a plan.
    Digest,
    /// Any text.
    Text,
}

/// A value that was read. Displays in canonical form, which reads as the same value again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Of [`Grammar::Bool`] and [`Grammar::GoBool`].
    Bool(bool),
    /// Of [`Grammar::Int`], and of [`Grammar::Seconds`] in seconds.
    Number(u32),
    /// Of [`Grammar::Word`] and [`Grammar::Exactly`]: as the table spells it.
    Word(&'static str),
    /// Of [`Grammar::List`] and [`Grammar::Repeated`].
    List(Vec<Arc<str>>),
    /// Of [`Grammar::Map`].
    Map(BTreeMap<Arc<str>, Arc<str>>),
    /// Of [`Grammar::Escaped`].
    Escaped(BTreeMap<Arc<str>, Arc<str>>),
    /// Of [`Grammar::Cidrs`].
    Cidrs(Vec<Cidr>),
    /// Of [`Grammar::Address`].
    Address(IpAddr),
    /// Of [`Grammar::Addresses`].
    Addresses(Addresses),
    /// Of [`Grammar::PortOrTraffic`].
    Port(HealthCheckPort),
    /// Of [`Grammar::Path`], [`Grammar::Name`], [`Grammar::Digest`], [`Grammar::Text`].
    Text(Arc<str>),
}

/// Addresses by value and by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// At most one of each family, in the order they were written.
    pub addresses: Vec<IpAddr>,
    /// Names of addresses reserved in the cloud, in the order they were written.
    pub names: Vec<Arc<str>>,
}

impl Grammar {
    /// Reads a value.
    ///
    /// # Errors
    /// The problem with the value.
    pub fn parse(self, key: &str, value: &str) -> Result<Value, Problem> {
        Ok(match self {
            Self::Bool => Value::Bool(value::boolean(key, value)?),
            Self::GoBool => Value::Bool(value::go_boolean(key, value)?),
            Self::Int { min, max } => Value::Number(value::integer(key, value, min, max)?),
            Self::Seconds { min, max } => Value::Number(value::seconds(key, value, min, max)?),
            Self::Word(words) => Value::Word(value::word(key, value, words)?),
            Self::Exactly(words) => Value::Word(value::exactly(key, value, words)?),
            Self::List => Value::List(value::list(key, value)?),
            Self::Repeated => Value::List(value::repeated(key, value)?),
            Self::Map => Value::Map(value::map(key, value)?),
            Self::Escaped => Value::Escaped(value::escaped(key, value)?),
            Self::Cidrs => Value::Cidrs(value::cidrs(key, value)?),
            Self::Address => Value::Address(value::address(key, value)?),
            Self::Addresses => Value::Addresses(value::addresses(key, value)?),
            Self::PortOrTraffic => Value::Port(value::port_or_traffic(key, value)?),
            Self::Path => Value::Text(value::path(key, value)?),
            Self::Name => Value::Text(value::name(key, value)?),
            Self::Digest => Value::Text(value::digest(key, value)?),
            Self::Text => Value::Text(value.trim().into()),
        })
    }
}

impl fmt::Display for Grammar {
    /// What may be written, for the reference.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool | Self::GoBool => f.write_str("true or false"),
            Self::Int { min, max } => write!(f, "a number from {min} to {max}"),
            Self::Seconds { min, max } => {
                write!(f, "a time from {min} to {max} seconds: 30, 30s, 5m or 1h")
            }
            Self::Word(words) | Self::Exactly(words) => write!(f, "one of {}", words.join(", ")),
            Self::List | Self::Repeated => f.write_str("a list: a,b"),
            Self::Map => f.write_str("pairs: key=value,key=value"),
            Self::Escaped => f.write_str("pairs: key=value,key=value, with \\, for a comma"),
            Self::Cidrs => f.write_str("a list of CIDRs"),
            Self::Address => f.write_str("an IP address"),
            Self::Addresses => {
                f.write_str("a list of IP addresses, at most one per family, or of names")
            }
            Self::PortOrTraffic => write!(f, "a port number from 1 to 65535, or {TRAFFIC_PORT}"),
            Self::Path => f.write_str("an absolute path"),
            Self::Name => f.write_str("a name of lower-case letters, digits and hyphens"),
            Self::Digest => f.write_str("the digest that the plan prints"),
            Self::Text => f.write_str("any text"),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => value.fmt(f),
            Self::Number(value) => value.fmt(f),
            Self::Word(value) => f.write_str(value),
            Self::List(entries) => f.write_str(&entries.join(",")),
            Self::Map(pairs) => {
                let pairs: Vec<_> = pairs
                    .iter()
                    .map(|(key, value)| format!("{key}={value}"))
                    .collect();
                f.write_str(&pairs.join(","))
            }
            Self::Escaped(pairs) => {
                let escape = |text: &str| text.replace('\\', "\\\\").replace(',', "\\,");
                let pairs: Vec<_> = pairs
                    .iter()
                    .map(|(key, value)| format!("{}={}", escape(key), escape(value)))
                    .collect();
                f.write_str(&pairs.join(","))
            }
            Self::Cidrs(cidrs) => f.write_str(&join(cidrs, ",")),
            Self::Address(address) => address.fmt(f),
            Self::Addresses(Addresses { addresses, names }) => {
                let addresses = addresses.iter().map(ToString::to_string);
                let all: Vec<_> = addresses
                    .chain(names.iter().map(ToString::to_string))
                    .collect();
                f.write_str(&all.join(","))
            }
            Self::Port(HealthCheckPort::Traffic) => f.write_str(TRAFFIC_PORT),
            Self::Port(HealthCheckPort::Number(port)) => port.fmt(f),
            Self::Text(text) => f.write_str(text),
        }
    }
}

fn join<T: fmt::Display>(values: &[T], separator: &str) -> String {
    let values: Vec<_> = values.iter().map(ToString::to_string).collect();
    values.join(separator)
}
