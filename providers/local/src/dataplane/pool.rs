//! Where addresses come from, as it is written down. Decides: no IO.
//!
//! A pool is its addresses, and what holds for them after commas: `192.0.2.10-192.0.2.20+192.0.2.30,name=office,
//! namespaces=shop+blog`. Plain `127.77.0.0/24` is a pool too. `host` stands for the machine's own addresses, which
//! are looked up when one is needed. Which address a lease gets is decided in `allocate`.

use std::{collections::BTreeSet, fmt, net::IpAddr};

use evenkeel_core::annotation::nearest;

use self::run::{ALLOWED, Run};
use super::config::{ConfigError, ConfigProblem};
use crate::api::Family;

mod run;
#[cfg(test)]
mod tests;

pub(crate) use run::unusable;

const FIELD: &str = "pools";

/// The word for the machine's own addresses.
const HOST: &str = "host";

/// The options that may follow the addresses.
const OPTIONS: [&str; 8] = [
    "add-to",
    "name",
    "reserved",
    "namespaces",
    "per-namespace-limit",
    "shared",
    "interface",
    "family",
];

/// What is allowed where an interface is named.
const INTERFACE: &str =
    "the name of an interface, of 1 to 15 characters (eth0); `ip link` lists them";

/// Longest name of an interface: `IFNAMSIZ` has 16 bytes with its final zero (netdevice(7)).
const MAX_INTERFACE: usize = 15;

/// An address of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostAddress {
    pub(crate) interface: String,
    pub(crate) address: IpAddr,
    pub(crate) loopback: bool,
}

/// Addresses to hand out, and to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    text: String,
    name: Option<String>,
    source: Source,
    reserved: Vec<Run>,
    /// Empty: everyone.
    pub(crate) namespaces: BTreeSet<String>,
    pub(crate) per_namespace: Option<usize>,
    pub(crate) shared: bool,
    interfaces: Vec<String>,
    add_to: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    Runs(Vec<Run>),
    /// The machine's own addresses; of both families without a word.
    Host(Option<Family>),
}

impl Pool {
    /// Reads a pool: its addresses, and options after commas.
    ///
    /// # Errors
    /// Everything that is wrong with the text, each with what is allowed.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let text = text.trim();
        let mut problems = Vec::new();
        let mut wrong = |field: &str, value: &str, allowed: String| {
            let field = match field {
                "" => FIELD.to_owned(),
                option => format!("{FIELD}.{option}"),
            };
            problems.push(ConfigProblem::new(field, value, allowed));
        };
        let mut parts = text.split(',').map(str::trim);
        let addresses = parts.next().unwrap_or_default();
        let host = addresses == HOST;
        let source = if host {
            Source::Host(None)
        } else if addresses.contains('=') {
            wrong(
                "",
                addresses,
                format!(
                    "a pool that begins with its addresses, before any option: {ALLOWED}, or {HOST}"
                ),
            );
            Source::Runs(Vec::new())
        } else {
            Source::Runs(runs("", addresses, &mut wrong))
        };
        let mut pool = Self {
            text: text.to_owned(),
            name: None,
            source,
            reserved: Vec::new(),
            namespaces: BTreeSet::new(),
            per_namespace: None,
            shared: host,
            interfaces: Vec::new(),
            add_to: None,
        };
        let mut given = BTreeSet::new();
        for part in parts {
            let (option, value) = part.split_once('=').unwrap_or((part, ""));
            let (option, value) = (option.trim(), value.trim());
            if !OPTIONS.contains(&option) {
                let hint = match nearest(option, OPTIONS) {
                    Some(near) => format!("; did you mean {near}?"),
                    None => String::new(),
                };
                let allowed = format!("one of the options {}{hint}", OPTIONS.join(", "));
                wrong("", part, allowed);
            } else if !given.insert(option) {
                let allowed = "each option once; list several values with +".to_owned();
                wrong(option, value, allowed);
            } else if let Err(allowed) = pool.option(option, value, &mut wrong) {
                wrong(option, value, allowed);
            }
        }
        if !host && !pool.interfaces.is_empty() {
            wrong(
                "interface",
                &pool.interfaces.join("+"),
                format!("nothing here: only {HOST} has interfaces; remove it"),
            );
        }
        if let Some(interface) = &pool.add_to {
            if !cfg!(target_os = "linux") {
                let allowed = "nothing here: only on Linux are addresses added; add them yourself, and remove it";
                wrong("add-to", interface, allowed.to_owned());
            } else if let Some(allowed) = not_to_be_added(&pool.source) {
                wrong("add-to", interface, allowed);
            }
        }
        if let Source::Runs(runs) = &pool.source {
            let outside = |reserved: &&Run| {
                !runs.iter().any(|run| {
                    run.overlaps(reserved)
                        && run.first <= reserved.first
                        && reserved.last <= run.last
                })
            };
            // A pool whose addresses cannot be read has been told so.
            for reserved in pool
                .reserved
                .iter()
                .filter(|_| !runs.is_empty())
                .filter(outside)
            {
                let allowed =
                    format!("addresses of the pool itself ({addresses}); correct one of the two");
                wrong("reserved", &reserved.to_string(), allowed);
            }
        }
        ConfigError::unless_empty(problems)?;
        Ok(pool)
    }

    /// Takes one option. What is wrong with its value as a whole is returned as what is allowed.
    fn option(
        &mut self,
        option: &str,
        value: &str,
        wrong: &mut impl FnMut(&str, &str, String),
    ) -> Result<(), String> {
        match option {
            "name" => {
                if !is_label(value) {
                    return Err(
                        "1 to 63 lower-case letters, digits and hyphens, with none of those at its ends"
                            .into(),
                    );
                }
                self.name = Some(value.to_owned());
            }
            "reserved" => self.reserved = runs(option, value, wrong),
            "namespaces" => {
                for namespace in value.split('+').map(str::trim) {
                    if is_label(namespace) {
                        self.namespaces.insert(namespace.to_owned());
                    } else {
                        wrong(
                            option,
                            namespace,
                            "names of namespaces, joined by + (shop+blog)".into(),
                        );
                    }
                }
            }
            "per-namespace-limit" => match value.parse() {
                Ok(limit) if limit > 0 => self.per_namespace = Some(limit),
                _ => return Err("a number from 1; leave it out for no limit".into()),
            },
            "shared" => {
                self.shared = match value {
                    "true" => true,
                    "false" => false,
                    _ => return Err("true or false".into()),
                }
            }
            "interface" => {
                for interface in value.split('+').map(str::trim) {
                    if is_interface(interface) {
                        self.interfaces.push(interface.to_owned());
                    } else {
                        wrong(option, interface, INTERFACE.into());
                    }
                }
            }
            "add-to" => {
                if !is_interface(value) || value.contains('+') {
                    return Err(INTERFACE.into());
                }
                self.add_to = Some(value.to_owned());
            }
            "family" => match (&mut self.source, value) {
                (Source::Host(family), "IPv4") => *family = Some(Family::V4),
                (Source::Host(family), "IPv6") => *family = Some(Family::V6),
                (Source::Host(_), _) => return Err("IPv4 or IPv6".into()),
                (Source::Runs(_), _) => {
                    return Err(format!(
                        "nothing here: the addresses have their family, only {HOST} has both; remove it"
                    ));
                }
            },
            _ => unreachable!("every option of the list is read"),
        }
        Ok(())
    }

    /// Reads several pools.
    ///
    /// # Errors
    /// Every problem of every text, with its index.
    pub fn parse_all<S: AsRef<str>>(texts: &[S]) -> Result<Vec<Self>, ConfigError> {
        let mut pools = Vec::new();
        let mut problems = Vec::new();
        for (index, text) in texts.iter().enumerate() {
            match Self::parse(text.as_ref()) {
                Ok(pool) => pools.push(pool),
                Err(error) => problems.extend(error.problems.into_iter().map(|problem| {
                    let option = problem.field.strip_prefix(FIELD).unwrap_or_default();
                    ConfigProblem {
                        field: format!("{FIELD}[{index}]{option}"),
                        ..problem
                    }
                })),
            }
        }
        ConfigError::unless_empty(problems)?;
        Ok(pools)
    }

    /// What is wrong with this pool beside the ones before it.
    pub(crate) fn beside(&self, others: &[Self]) -> Option<(&'static str, String)> {
        let overlaps = |other: &&Self| match (&self.source, &other.source) {
            (Source::Runs(ours), Source::Runs(theirs)) => ours
                .iter()
                .any(|run| theirs.iter().any(|their| run.overlaps(their))),
            // An address of the machine that another pool lists is that pool's.
            _ => false,
        };
        if let Some(other) = others.iter().find(overlaps) {
            return Some((
                "",
                format!(
                    "addresses that no other pool has; it shares some with {}, remove one of the two",
                    other.label()
                ),
            ));
        }
        let twin = |other: &&Self| self.name.is_some() && self.name == other.name;
        others.iter().find(twin).map(|other| {
            let allowed = format!(
                "a name that no other pool has; {} has it, choose another",
                other.addresses_text()
            );
            (".name", allowed)
        })
    }

    /// What people call it: its name, else its addresses.
    #[must_use]
    pub fn label(&self) -> &str {
        self.name
            .as_deref()
            .unwrap_or_else(|| self.addresses_text())
    }

    fn addresses_text(&self) -> &str {
        self.text.split(',').next().unwrap_or_default().trim()
    }

    /// Its name, by which it can be asked for.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The interface that its addresses are added to while they are held.
    pub(crate) fn add_to(&self) -> Option<&str> {
        self.add_to.as_deref()
    }

    /// Whether it stands for the machine's own addresses.
    pub(crate) fn is_host(&self) -> bool {
        matches!(self.source, Source::Host(_))
    }

    /// Whether it can have addresses of a family at all.
    pub(crate) fn has_family(&self, family: Family) -> bool {
        match &self.source {
            Source::Runs(runs) => runs.iter().any(|run| run.family == family),
            Source::Host(only) => only.is_none_or(|only| only == family),
        }
    }

    /// True when the address can be handed out from this pool, on this machine.
    pub(crate) fn contains(&self, address: IpAddr, host: &[HostAddress]) -> bool {
        match &self.source {
            Source::Runs(runs) => runs.iter().any(|run| run.contains(address)),
            Source::Host(_) => self.own(host).any(|own| own == address),
        }
    }

    /// Its addresses of a family in the order in which they are handed out, without the reserved ones.
    pub(crate) fn addresses<'a>(
        &'a self,
        family: Family,
        host: &'a [HostAddress],
    ) -> Box<dyn Iterator<Item = IpAddr> + 'a> {
        match &self.source {
            Source::Runs(runs) => Box::new(
                runs.iter()
                    .filter(move |run| run.family == family)
                    .flat_map(|run| run.addresses(&self.reserved)),
            ),
            Source::Host(_) => Box::new(
                self.own(host)
                    .filter(move |address| Family::of(*address) == family)
                    .filter(|address| !self.reserved.iter().any(|run| run.contains(*address))),
            ),
        }
    }

    /// The machine's addresses that are of this pool, in the order of the interfaces. Loopback is only meant when it is
    /// named, and an address that is valid on one link only cannot be told to anybody.
    fn own<'a>(&'a self, host: &'a [HostAddress]) -> impl Iterator<Item = IpAddr> + 'a {
        let family = match self.source {
            Source::Host(family) => family,
            Source::Runs(_) => None,
        };
        host.iter()
            .filter(move |own| match &self.interfaces[..] {
                [] => !own.loopback,
                named => named.contains(&own.interface),
            })
            .map(|own| own.address)
            .filter(move |address| family.is_none_or(|family| family == Family::of(*address)))
            .filter(|address| !is_link_local(*address) && unusable(*address).is_none())
    }
}

impl fmt::Display for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn runs(option: &str, text: &str, wrong: &mut impl FnMut(&str, &str, String)) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for part in text.split('+').map(str::trim) {
        match Run::parse(part) {
            Ok(run) => match runs.iter().find(|other| other.overlaps(&run)) {
                Some(other) => {
                    let allowed = format!(
                        "each address once; {other} has some of these, remove one of the two"
                    );
                    wrong(option, part, allowed);
                }
                None => runs.push(run),
            },
            Err(allowed) => wrong(option, part, allowed),
        }
    }
    runs
}

/// Why the addresses of a pool are not to be added to an interface, if so.
fn not_to_be_added(source: &Source) -> Option<String> {
    let runs = match source {
        Source::Host(_) => {
            return Some(format!(
                "nothing here: the addresses of {HOST} are on their interfaces; remove it"
            ));
        }
        Source::Runs(runs) => runs,
    };
    let own = |run: &&Run| {
        ["127.0.0.0/8", "::1", "fe80::/10"]
            .map(known)
            .iter()
            .any(|own| own.overlaps(run))
    };
    let own = runs.iter().find(own)?;
    Some(format!(
        "nothing where addresses are valid on this machine or on one link only ({own}); remove it, or take those out of the pool"
    ))
}

fn known(text: &str) -> Run {
    Run::parse(text).expect("is written here, and right")
}

fn is_interface(name: &str) -> bool {
    (1..=MAX_INTERFACE).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_graphic() && b != b'/')
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

/// A name as Kubernetes has them (RFC 1123 label).
fn is_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
        && !text.starts_with('-')
        && !text.ends_with('-')
}
