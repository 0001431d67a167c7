//! Reading annotation values, one function per grammar (Decides).
//!
//! Each function reads one value of one key and gives the value, or the one [`Problem`] that says all that is wrong
//! with it. No input makes them panic. Spaces around values and entries are allowed.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use super::{Addresses, field, nearest};
use crate::{intent::HealthCheckPort, net::Cidr, problem::Problem};

#[cfg(test)]
mod tests;

/// The word for the port that gets the traffic.
pub const TRAFFIC_PORT: &str = "traffic-port";
/// The longest path that is taken.
const LONGEST_PATH: usize = 1024;
/// The longest name that is taken: a DNS label.
const LONGEST_NAME: usize = 63;
/// Values are quoted up to this length in problems; a condition is no place for a whole file.
const LONGEST_QUOTE: usize = 120;

/// A value as problems quote it: cut when it is long.
pub fn quote(value: &str) -> String {
    match value.char_indices().nth(LONGEST_QUOTE) {
        None => value.to_owned(),
        Some((end, _)) => format!("{}…", &value[..end]),
    }
}

fn problem(
    key: &str,
    value: &str,
    message: impl Into<String>,
    advice: impl Into<String>,
) -> Problem {
    Problem::new(field(key), quote(value), message, advice)
}

/// `true` or `false`, in any case.
///
/// # Errors
/// The problem with anything else.
pub fn boolean(key: &str, value: &str) -> Result<bool, Problem> {
    Ok(word(key, value, &["true", "false"])? == "true")
}

/// `true` or `false` as Go's `strconv.ParseBool` reads it.
///
/// # Errors
/// The problem with anything else.
pub fn go_boolean(key: &str, value: &str) -> Result<bool, Problem> {
    match value.trim() {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        other => exactly(key, other, &["true", "false"]).map(|word| word == "true"),
    }
}

/// One of these words, whatever the case; the result is as the table spells it.
///
/// # Errors
/// The problem with anything else, with the word that was probably meant.
pub fn word(key: &str, value: &str, words: &[&'static str]) -> Result<&'static str, Problem> {
    let value = value.trim();
    match words.iter().find(|word| word.eq_ignore_ascii_case(value)) {
        Some(word) => Ok(word),
        None => exactly(key, value, words),
    }
}

/// One of these words, to the letter.
///
/// # Errors
/// The problem with anything else, with the word that was probably meant.
pub fn exactly(key: &str, value: &str, words: &[&'static str]) -> Result<&'static str, Problem> {
    let value = value.trim();
    if let Some(word) = words.iter().find(|word| **word == value) {
        return Ok(word);
    }
    let advice = match (nearest(value, words.iter().copied()), words) {
        (Some(near), _) => format!("Did you mean {near:?}?"),
        (None, [only]) => format!("Write {only}, or remove the annotation."),
        (None, _) => "Write one of them, or remove the annotation.".to_owned(),
    };
    let allowed = match words {
        [only] => format!("must be {only}"),
        _ => format!("must be one of {}", words.join(", ")),
    };
    Err(problem(key, value, allowed, advice))
}

/// A whole number within limits.
///
/// # Errors
/// The problem with anything else, with the nearest number that is allowed.
pub fn integer(key: &str, value: &str, min: u32, max: u32) -> Result<u32, Problem> {
    let value = value.trim();
    let allowed = format!("must be a number from {min} to {max}");
    let Some(number) = digits(value) else {
        return Err(problem(
            key,
            value,
            allowed,
            format!("Write a whole number, such as {min}."),
        ));
    };
    within(number, min, max)
        .map_err(|near| problem(key, value, allowed, format!("The nearest is {near}.")))
}

/// A time in seconds: `30`, `30s`, `5m`, `1h`, within limits.
///
/// # Errors
/// The problem with anything else, with the nearest time that is allowed.
pub fn seconds(key: &str, value: &str, min: u32, max: u32) -> Result<u32, Problem> {
    let value = value.trim();
    let allowed =
        format!("must be a time from {min} to {max} seconds, written as 30, 30s, 5m or 1h");
    let units = [("s", 1), ("m", 60), ("h", 3600)];
    let (number, factor) = units
        .iter()
        .find_map(|(unit, factor)| Some((value.strip_suffix(unit)?.trim_end(), *factor)))
        .unwrap_or((value, 1));
    let Some(number) = digits(number) else {
        return Err(problem(
            key,
            value,
            allowed,
            format!("Write whole seconds, such as {}.", 30.clamp(min, max)),
        ));
    };
    within(number.saturating_mul(factor), min, max)
        .map_err(|near| problem(key, value, allowed, format!("The nearest is {near}.")))
}

/// A number of decimal digits only; one that is too large for us is the largest there is.
fn digits(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(text.parse().unwrap_or(u64::MAX))
}

/// The number, or the nearest limit as the error.
fn within(number: u64, min: u32, max: u32) -> Result<u32, u32> {
    match u32::try_from(number) {
        Ok(number) if number < min => Err(min),
        Ok(number) if number <= max => Ok(number),
        _ => Err(max),
    }
}

/// The entries between commas; blank ones do not count.
fn entries(value: &str) -> impl Iterator<Item = &str> {
    value
        .split(',')
        .map(str::trim)
        .filter(|entry| !entry.is_empty())
}

/// Entries separated by commas, in their order, each once.
///
/// # Errors
/// The problem with a value without any entry.
pub fn list(key: &str, value: &str) -> Result<Vec<Arc<str>>, Problem> {
    let mut list: Vec<Arc<str>> = Vec::new();
    for entry in repeated(key, value)? {
        if !list.contains(&entry) {
            list.push(entry);
        }
    }
    Ok(list)
}

/// Entries separated by commas, in their order, as often as they stand there.
///
/// # Errors
/// The problem with a value without any entry.
pub fn repeated(key: &str, value: &str) -> Result<Vec<Arc<str>>, Problem> {
    let list: Vec<Arc<str>> = entries(value).map(Arc::from).collect();
    if list.is_empty() {
        let advice = "Write at least one entry, or remove the annotation.";
        return Err(problem(key, value, "must be a list such as a,b", advice));
    }
    Ok(list)
}

/// `key=value` pairs separated by commas. A value may be empty and may contain `=`.
///
/// # Errors
/// The problem with entries that are no pairs, and with a key that has two values.
pub fn map(key: &str, value: &str) -> Result<BTreeMap<Arc<str>, Arc<str>>, Problem> {
    pairs(key, value, list(key, value)?)
}

/// The same, where a backslash takes the next character as it is: `\,` is a comma in a key or value.
///
/// # Errors
/// As [`map`].
pub fn escaped(key: &str, value: &str) -> Result<BTreeMap<Arc<str>, Arc<str>>, Problem> {
    let mut entries = vec![String::new()];
    let mut characters = value.chars();
    while let Some(character) = characters.next() {
        let entry = entries.last_mut().expect("there is always one");
        match character {
            ',' => entries.push(String::new()),
            '\\' => entry.push(characters.next().unwrap_or('\\')),
            _ => entry.push(character),
        }
    }
    let entries = entries.iter().map(|entry| entry.trim());
    let entries: Vec<Arc<str>> = entries
        .filter(|entry| !entry.is_empty())
        .map(Arc::from)
        .collect();
    pairs(key, value, entries)
}

fn pairs(
    key: &str,
    value: &str,
    entries: Vec<Arc<str>>,
) -> Result<BTreeMap<Arc<str>, Arc<str>>, Problem> {
    let mut map: BTreeMap<Arc<str>, Arc<str>> = BTreeMap::new();
    let mut wrong = Vec::new();
    if entries.is_empty() {
        wrong.push("there is none".to_owned());
    }
    for entry in entries {
        let pair = entry
            .split_once('=')
            .map(|(name, value)| (name.trim(), value.trim()));
        match pair {
            Some((name, value)) if !name.is_empty() => match map.get(name) {
                Some(known) if **known != *value => wrong.push(format!("{name:?} has two values")),
                _ => drop(map.insert(name.into(), value.into())),
            },
            _ => wrong.push(format!("{:?} is no pair", quote(&entry))),
        }
    }
    if wrong.is_empty() {
        return Ok(map);
    }
    let message = format!(
        "must be pairs such as team=shop,stage=test, but {}",
        shorten(&wrong)
    );
    Err(problem(
        key,
        value,
        message,
        "Write each as key=value, and each key once.",
    ))
}

/// CIDRs separated by commas: canonical, sorted, each once.
///
/// # Errors
/// The problem with all entries that are none.
pub fn cidrs(key: &str, value: &str) -> Result<Vec<Cidr>, Problem> {
    let mut cidrs = Vec::new();
    let mut wrong = Vec::new();
    let mut advice = "Write each as address/length, such as 10.0.0.0/8.".to_owned();
    for entry in list(key, value)? {
        match entry.parse::<Cidr>() {
            Ok(cidr) => cidrs.push(cidr),
            Err(_) => {
                if let Some(single) = single(&entry) {
                    advice = format!("Write a single address as {single}.");
                }
                wrong.push(format!("{:?} is not", quote(&entry)));
            }
        }
    }
    if !wrong.is_empty() {
        let message = format!("must be a list of CIDRs, but {}", shorten(&wrong));
        return Err(problem(key, value, message, advice));
    }
    cidrs.sort_unstable();
    cidrs.dedup();
    Ok(cidrs)
}

/// The prefix that holds one address, when the text is an address.
pub fn single(text: &str) -> Option<Cidr> {
    let address: IpAddr = text.trim().parse().ok()?;
    Some(Cidr::new(address.into()))
}

/// An IP address.
///
/// # Errors
/// The problem with anything else.
pub fn address(key: &str, value: &str) -> Result<IpAddr, Problem> {
    let value = value.trim();
    let advice = "Write it as 192.0.2.10 or 2001:db8::10, without a prefix length.";
    value
        .parse()
        .map_err(|_| problem(key, value, "must be an IP address", advice))
}

/// Addresses, at most one per family, and names of reserved ones, separated by commas.
///
/// # Errors
/// The problem with entries that are neither, and with a second address of one family.
pub fn addresses(key: &str, value: &str) -> Result<Addresses, Problem> {
    let mut all = Addresses::default();
    let mut wrong = Vec::new();
    for entry in list(key, value)? {
        match entry.parse::<IpAddr>() {
            Ok(address) => match all
                .addresses
                .iter()
                .find(|a| a.is_ipv4() == address.is_ipv4())
            {
                Some(first) if *first == address => {}
                Some(first) => wrong.push(format!("{address} is of the same family as {first}")),
                None => all.addresses.push(address),
            },
            Err(_) if is_reserved_name(&entry) => all.names.push(entry),
            Err(_) => wrong.push(format!("{:?} is neither", quote(&entry))),
        }
    }
    if wrong.is_empty() {
        return Ok(all);
    }
    let message = format!(
        "must be IP addresses, at most one per family, or names, but {}",
        shorten(&wrong)
    );
    Err(problem(
        key,
        value,
        message,
        "Write an address as 192.0.2.10 or 2001:db8::10.",
    ))
}

/// Names, ARNs and resource paths; not what looks like an address that was mistyped.
fn is_reserved_name(text: &str) -> bool {
    let like_v4 = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || b"./".contains(&byte));
    let like_v6 = text.contains(':')
        && text
            .bytes()
            .all(|byte| byte.is_ascii_hexdigit() || b":./%".contains(&byte));
    let clean = text
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"._-:/".contains(&byte));
    clean && !like_v4 && !like_v6
}

/// A port number, or `traffic-port`.
///
/// # Errors
/// The problem with anything else.
pub fn port_or_traffic(key: &str, value: &str) -> Result<HealthCheckPort, Problem> {
    let value = value.trim();
    if value.eq_ignore_ascii_case(TRAFFIC_PORT) {
        return Ok(HealthCheckPort::Traffic);
    }
    let message = format!("must be a port number from 1 to 65535, or {TRAFFIC_PORT}");
    let advice = match (digits(value), nearest(value, [TRAFFIC_PORT])) {
        (Some(number), _) => match within(number, 1, u32::from(u16::MAX)) {
            Ok(port) => {
                return Ok(HealthCheckPort::Number(
                    u16::try_from(port).expect("it is within limits"),
                ));
            }
            Err(near) => format!("The nearest is {near}."),
        },
        (None, Some(near)) => format!("Did you mean {near:?}?"),
        (None, None) => {
            "Write the number of the port; names of ports are not known to a load balancer."
                .to_owned()
        }
    };
    Err(problem(key, value, message, advice))
}

/// An absolute path of printable ASCII characters without spaces.
///
/// # Errors
/// The problem with anything else.
pub fn path(key: &str, value: &str) -> Result<Arc<str>, Problem> {
    let value = value.trim();
    let printable = value.bytes().all(|byte| byte.is_ascii_graphic());
    if value.starts_with('/') && printable && value.len() <= LONGEST_PATH {
        return Ok(value.into());
    }
    let advice =
        if printable && !value.is_empty() && value.len() < LONGEST_PATH && !value.contains("://") {
            format!("Did you mean {:?}?", quote(&format!("/{value}")))
        } else {
            "Write a path such as /healthz.".to_owned()
        };
    let message = format!(
        "must start with / and have at most {LONGEST_PATH} printable ASCII characters, none of them a space"
    );
    Err(problem(key, value, message, advice))
}

/// A name like that of a Service: lower-case letters, digits and hyphens, at most 63, a letter or digit at both ends.
///
/// # Errors
/// The problem with anything else.
pub fn name(key: &str, value: &str) -> Result<Arc<str>, Problem> {
    let value = value.trim();
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends = value.bytes().next().is_some_and(plain) && value.bytes().last().is_some_and(plain);
    if ends && value.len() <= LONGEST_NAME && value.bytes().all(|byte| plain(byte) || byte == b'-')
    {
        return Ok(value.into());
    }
    let message = format!(
        "must be at most {LONGEST_NAME} lower-case letters, digits and hyphens, with a letter or digit at both ends"
    );
    let near = value.to_ascii_lowercase();
    let advice = if near != value && name(key, &near).is_ok() {
        format!("Did you mean {near:?}?")
    } else {
        "Write a name such as public-edge.".to_owned()
    };
    Err(problem(key, value, message, advice))
}

/// The digest of a plan, in lower case: 8 to 32 hexadecimal digits.
///
/// # Errors
/// The problem with anything else.
pub fn digest(key: &str, value: &str) -> Result<Arc<str>, Problem> {
    let value = value.trim();
    if (8..=32).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(value.to_ascii_lowercase().into());
    }
    let message = "must be the digest of a plan: 8 to 32 hexadecimal digits";
    Err(problem(
        key,
        value,
        message,
        "Copy the digest from the refusal, or remove the annotation.",
    ))
}

/// The first few of a list of faults.
fn shorten(wrong: &[String]) -> String {
    const SHOWN: usize = 5;
    let more = wrong.len().saturating_sub(SHOWN);
    let mut text = wrong[..wrong.len() - more].join(", ");
    if more > 0 {
        text.push_str(&format!(" (and {more} more)"));
    }
    text
}
