//! A run of addresses of one family, written as a prefix, a range or a single address. Decides: no IO.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;

use crate::api::Family;

/// What is allowed where a run is written.
pub(super) const ALLOWED: &str = "a prefix (127.77.0.0/24), a range (127.77.0.10-127.77.0.20) or an address (127.77.0.9), IPv4 or \
                                  IPv6, of addresses that this machine can listen on";

/// All addresses from the first to the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) family: Family,
    pub(super) first: u128,
    pub(super) last: u128,
    text: String,
}

impl Run {
    /// Reads a prefix, a range or a single address. What is wrong is told as what is allowed.
    ///
    /// Of an IPv4 prefix up to /30 the network and broadcast addresses are left out, and of an IPv6 prefix up to
    /// /126 the first address, which is the subnet's router anycast address (RFC 4291, 2.6.1). A range has all of
    /// its addresses.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (family, first, last) = if let Some((first, last)) = text.split_once('-') {
            let [first, last] = [first, last].map(|end| end.trim().parse::<IpAddr>());
            let (Ok(first), Ok(last)) = (first, last) else {
                return Err(ALLOWED.into());
            };
            if Family::of(first) != Family::of(last) || first > last {
                return Err(
                    "a range whose ends are of one family, the lower first; swap or correct them"
                        .into(),
                );
            }
            (Family::of(first), number(first), number(last))
        } else if text.contains('/') {
            let net = text.parse::<IpNet>().map_err(|_| ALLOWED)?;
            if net.addr() != net.network() {
                return Err(format!(
                    "a prefix without host bits ({}), a range or a single address ({})",
                    net.trunc(),
                    net.addr()
                ));
            }
            let (first, last) = (number(net.network()), number(net.broadcast()));
            match net {
                IpNet::V4(v4) if v4.prefix_len() <= 30 => (Family::V4, first + 1, last - 1),
                IpNet::V6(v6) if v6.prefix_len() <= 126 => (Family::V6, first + 1, last),
                _ => (Family::of(net.addr()), first, last),
            }
        } else {
            let address = text.parse::<IpAddr>().map_err(|_| ALLOWED)?;
            (Family::of(address), number(address), number(address))
        };
        if let Some(what) = [first, last]
            .into_iter()
            .find_map(|end| unusable(address(family, end)))
        {
            return Err(format!(
                "addresses of one machine, not {what}; choose others"
            ));
        }
        Ok(Self {
            family,
            first,
            last,
            text: text.to_owned(),
        })
    }

    pub(super) fn contains(&self, address: IpAddr) -> bool {
        self.family == Family::of(address) && (self.first..=self.last).contains(&number(address))
    }

    pub(super) fn overlaps(&self, other: &Self) -> bool {
        self.family == other.family && self.first <= other.last && other.first <= self.last
    }

    /// Its addresses, the lowest first, without those of the runs to skip.
    pub(super) fn addresses<'a>(&'a self, skip: &'a [Self]) -> impl Iterator<Item = IpAddr> + 'a {
        let mut next = Some(self.first);
        std::iter::from_fn(move || {
            let mut candidate = next?;
            // A skipped run is left in one stride, however long it is.
            while let Some(skipped) = skip
                .iter()
                .find(|run| run.contains(address(self.family, candidate)))
            {
                candidate = skipped.last.checked_add(1)?;
                if candidate > self.last {
                    return None;
                }
            }
            next = candidate
                .checked_add(1)
                .filter(|candidate| *candidate <= self.last);
            Some(address(self.family, candidate))
        })
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Why an address can never be listened on or sent to, if so.
pub(crate) fn unusable(address: IpAddr) -> Option<&'static str> {
    match address {
        _ if address.is_unspecified() => Some("the unspecified address"),
        _ if address.is_multicast() => Some("multicast"),
        IpAddr::V4(v4) if v4.is_broadcast() => Some("broadcast"),
        // The data plane's sockets are IPv6-only; a mapped address would be the IPv4 address under another name.
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => Some("an IPv4-mapped IPv6 address"),
        _ => None,
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

/// The address of a number that a run of this family has.
fn address(family: Family, number: u128) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::from(
            u32::try_from(number).expect("a number of the IPv4 family fits into 32 bits"),
        )
        .into(),
        Family::V6 => Ipv6Addr::from(number).into(),
    }
}
