//! Which addresses are added to interfaces, and which are taken away. Decides: no IO.
//!
//! What comes in: the addresses that pools want on an interface, those that are held, the record of those that were added,
//! and what interfaces have. An address is ours when it is on record and, where the kernel keeps the mark that
//! we leave on it, carries that mark. Nothing else is ever taken away: not an address that somebody set before us, nor one that
//! somebody set in the place of ours.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
};

use serde::{Deserialize, Serialize};

/// An address of an interface.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct InterfaceAddress {
    pub(crate) address: IpAddr,
    pub(crate) interface: String,
}

impl fmt::Display for InterfaceAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.address, self.interface)
    }
}

/// The prefix length of an address that stands for itself alone, as those that are added do.
pub(crate) fn host_prefix(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// An interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) up: bool,
}

/// An address that was found on an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) at: InterfaceAddress,
    pub(crate) prefix: u8,
    /// Whether it carries our mark.
    pub(crate) marked: bool,
}

/// What the machine has of what was asked about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) links: BTreeMap<String, Link>,
    pub(crate) found: Vec<Found>,
    /// Whether the kernel keeps marks.
    pub(crate) keeps_marks: bool,
}

impl Seen {
    fn has(&self, address: IpAddr, interface: &str) -> bool {
        let at = |found: &Found| found.at.address == address && found.at.interface == interface;
        self.found.iter().any(at)
    }
}

/// What is asked of interfaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Held addresses of pools that add them, each with the interface.
    pub(crate) wanted: BTreeMap<IpAddr, String>,
    /// All held addresses.
    pub(crate) held: BTreeSet<IpAddr>,
}

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) add: BTreeSet<InterfaceAddress>,
    pub(crate) remove: BTreeSet<InterfaceAddress>,
    /// On record, and not there or not ours.
    pub(crate) forget: BTreeSet<InterfaceAddress>,
    /// Why a wanted address is not where it should be.
    pub(crate) faults: BTreeMap<IpAddr, Fault>,
}

/// Why an address is not on its interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// There is no such interface.
    Missing { interface: String },
    /// The interface is down.
    Down { interface: String },
    /// Another interface has the address, not by us.
    Elsewhere { interface: String, found: Found },
    /// The system does not let us.
    Forbidden { interface: String },
    /// The interface has IPv6 switched off.
    Ipv6Off { interface: String },
    /// It cannot be written down that the address is ours.
    NoRecord { interface: String, why: String },
    /// Anything else that the system said.
    Refused { interface: String, why: String },
}

/// Decides what is to be done.
pub(crate) fn decide(asked: &Asked, record: &BTreeSet<InterfaceAddress>, seen: &Seen) -> Decision {
    let ours = |found: &Found| {
        record.contains(&found.at)
            && found.prefix == host_prefix(found.at.address)
            && (found.marked || !seen.keeps_marks)
    };
    let mut decision = Decision::default();
    for (address, interface) in &asked.wanted {
        let interface = interface.clone();
        let foreign = |found: &&Found| found.at.address == *address && !ours(found);
        let fault = match seen.links.get(&interface) {
            None => Fault::Missing { interface },
            Some(Link { up: false, .. }) => Fault::Down { interface },
            Some(_) if seen.has(*address, &interface) => continue,
            Some(_) => match seen.found.iter().find(foreign) {
                Some(found) => Fault::Elsewhere {
                    interface,
                    found: found.clone(),
                },
                None => {
                    decision.add.insert(InterfaceAddress {
                        address: *address,
                        interface,
                    });
                    continue;
                }
            },
        };
        decision.faults.insert(*address, fault);
    }
    for at in record {
        let there = seen
            .found
            .iter()
            .any(|found| found.at == *at && ours(found));
        let stays = match asked.wanted.get(&at.address) {
            // It moves to another interface: there first, from here then.
            Some(interface) => *interface == at.interface || !seen.has(at.address, interface),
            // The pools changed; who holds the address keeps it.
            None => asked.held.contains(&at.address),
        };
        if !there {
            decision.forget.insert(at.clone());
        } else if !stays {
            decision.remove.insert(at.clone());
        }
    }
    decision
}

#[cfg(test)]
mod tests;
