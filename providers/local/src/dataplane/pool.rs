//! Which address a lease gets. Decides: no IO.
//!
//! A pool is a run of addresses, written as a prefix, a range or a single address. An address is taken from the
//! first pool that has a free one, and there the lowest free one, so that what is handed out does not depend on
//! the order of anything but the requests.

use std::{
    collections::BTreeSet,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;

use super::config::{ConfigError, ConfigProblem};
use crate::api::{ApiError, Family, LeaseSpec, code};

const FIELD: &str = "pools";
const ALLOWED: &str = "a prefix (127.77.0.0/24), a range (127.77.0.10-127.77.0.20) or an address (127.77.0.9), IPv4 or \
                       IPv6, of addresses that this machine can listen on";

/// A run of addresses of one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    family: Family,
    first: u128,
    last: u128,
    text: String,
}

impl Pool {
    /// Reads a prefix, a range or a single address.
    ///
    /// Of an IPv4 prefix up to /30 the network and broadcast addresses are left out, and of an IPv6 prefix up to
    /// /126 the first address, which is the subnet's router anycast address (RFC 4291, 2.6.1). A range has all of
    /// its addresses.
    ///
    /// # Errors
    /// Says what is wrong with the text and what is allowed.
    pub fn parse(text: &str) -> Result<Self, ConfigProblem> {
        let text = text.trim();
        let wrong = |allowed: String| ConfigProblem::new(FIELD, text, allowed);
        let (family, first, last) = if let Some((first, last)) = text.split_once('-') {
            let [first, last] = [first, last].map(|end| end.trim().parse::<IpAddr>());
            let (Ok(first), Ok(last)) = (first, last) else {
                return Err(wrong(ALLOWED.into()));
            };
            if Family::of(first) != Family::of(last) || first > last {
                return Err(wrong(
                    "a range whose ends are of one family, the lower first; swap or correct them"
                        .into(),
                ));
            }
            (Family::of(first), number(first), number(last))
        } else if text.contains('/') {
            let net = text.parse::<IpNet>().map_err(|_| wrong(ALLOWED.into()))?;
            if net.addr() != net.network() {
                return Err(wrong(format!(
                    "a prefix without host bits ({}), a range or a single address ({})",
                    net.trunc(),
                    net.addr()
                )));
            }
            let (first, last) = (number(net.network()), number(net.broadcast()));
            match net {
                IpNet::V4(v4) if v4.prefix_len() <= 30 => (Family::V4, first + 1, last - 1),
                IpNet::V6(v6) if v6.prefix_len() <= 126 => (Family::V6, first + 1, last),
                _ => (Family::of(net.addr()), first, last),
            }
        } else {
            let address = text.parse::<IpAddr>().map_err(|_| wrong(ALLOWED.into()))?;
            (Family::of(address), number(address), number(address))
        };
        let pool = Self {
            family,
            first,
            last,
            text: text.to_owned(),
        };
        if let Some(what) = [first, last]
            .into_iter()
            .find_map(|end| unusable(address(family, end)))
        {
            return Err(wrong(format!(
                "addresses of one machine, not {what}; choose others"
            )));
        }
        Ok(pool)
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
                Err(problem) => problems.push(ConfigProblem {
                    field: format!("{FIELD}[{index}]"),
                    ..problem
                }),
            }
        }
        ConfigError::unless_empty(problems)?;
        Ok(pools)
    }

    /// True when an address lies in both pools.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.family == other.family && self.first <= other.last && other.first <= self.last
    }

    /// True when the address can be handed out from this pool.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.family == Family::of(address) && (self.first..=self.last).contains(&number(address))
    }

    fn lowest_free(&self, held: &BTreeSet<IpAddr>) -> Option<IpAddr> {
        let [first, last] = [self.first, self.last].map(|end| address(self.family, end));
        let mut candidate = self.first;
        for taken in held.range(first..=last) {
            if number(*taken) > candidate {
                break;
            }
            candidate = candidate.checked_add(1)?;
        }
        (candidate <= self.last).then(|| address(self.family, candidate))
    }
}

impl fmt::Display for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Chooses the address of a new lease.
pub(crate) fn allocate(
    pools: &[Pool],
    held: &BTreeSet<IpAddr>,
    asked: &LeaseSpec,
) -> Result<IpAddr, ApiError> {
    let pools: Vec<&Pool> = pools
        .iter()
        .filter(|pool| pool.family == asked.family)
        .collect();
    let family = asked.family;
    if let Some(address) = asked.address {
        if !pools.iter().any(|pool| pool.contains(address)) {
            return Err(ApiError::new(
                code::ADDRESS_NOT_IN_POOL,
                format!("{address} lies in none of the {family} pools ({}); ask for one that does, or for none", names(&pools)),
            )
            .at("spec.address"));
        }
        if held.contains(&address) {
            return Err(ApiError::new(
                code::ADDRESS_TAKEN,
                format!("{address} is held by another lease; ask for another address, or delete that lease"),
            )
            .at("spec.address"));
        }
        return Ok(address);
    }
    pools.iter().find_map(|pool| pool.lowest_free(held)).ok_or_else(|| {
        let count = held.iter().filter(|address| pools.iter().any(|pool| pool.contains(**address))).count();
        ApiError::new(
            code::POOL_EXHAUSTED,
            if pools.is_empty() {
                format!("the data plane has no {family} pool; start it with one")
            } else {
                format!(
                    "all {count} addresses of the {family} pools ({}) are held; delete a lease or start the data plane with a larger pool",
                    names(&pools)
                )
            },
        )
    })
}

fn names(pools: &[&Pool]) -> String {
    if pools.is_empty() {
        return "there is none".into();
    }
    pools
        .iter()
        .map(|pool| pool.text.as_str())
        .collect::<Vec<_>>()
        .join(", ")
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

fn address(family: Family, number: u128) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::from(
            u32::try_from(number).expect("a number of the IPv4 family fits into 32 bits"),
        )
        .into(),
        Family::V6 => Ipv6Addr::from(number).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pools(texts: &[&str]) -> Vec<Pool> {
        texts
            .iter()
            .map(|text| Pool::parse(text).expect("a pool"))
            .collect()
    }

    fn held(addresses: &[&str]) -> BTreeSet<IpAddr> {
        addresses
            .iter()
            .map(|text| text.parse().expect("an address"))
            .collect()
    }

    fn ask(family: Family, address: Option<&str>) -> LeaseSpec {
        LeaseSpec {
            family,
            address: address.map(|text| text.parse().expect("an address")),
        }
    }

    #[test]
    fn a_pool_hands_out_its_usable_addresses() {
        for (text, first, last) in [
            ("127.77.0.0/24", "127.77.0.1", "127.77.0.254"),
            ("127.77.0.0/30", "127.77.0.1", "127.77.0.2"),
            ("127.77.0.4/31", "127.77.0.4", "127.77.0.5"),
            ("127.77.0.4/32", "127.77.0.4", "127.77.0.4"),
            ("127.77.0.4", "127.77.0.4", "127.77.0.4"),
            (" 127.77.0.10 - 127.77.0.20 ", "127.77.0.10", "127.77.0.20"),
            ("fd00:77::/64", "fd00:77::1", "fd00:77::ffff:ffff:ffff:ffff"),
            ("fd00:77::8/127", "fd00:77::8", "fd00:77::9"),
            ("::1/128", "::1", "::1"),
            ("fd00::a-fd00::c", "fd00::a", "fd00::c"),
        ] {
            let pool = Pool::parse(text).expect(text);
            assert_eq!(
                address(pool.family, pool.first).to_string(),
                first,
                "{text}"
            );
            assert_eq!(address(pool.family, pool.last).to_string(), last, "{text}");
        }
    }

    #[test]
    fn a_bad_pool_is_refused_with_what_is_allowed() {
        for (text, says) in [
            ("", "a prefix"),
            ("127.77.0.0/33", "a prefix"),
            ("127.77.0.1/24", "127.77.0.0/24"),
            ("127.77.0.9-127.77.0.1", "the lower first"),
            ("127.77.0.9-::1", "one family"),
            ("127.77.0.9-", "a prefix"),
            ("localhost", "a prefix"),
            ("224.0.0.0/8", "multicast"),
            ("0.0.0.0-0.0.0.9", "unspecified"),
            ("255.255.255.255", "broadcast"),
            ("::ffff:127.0.0.1", "IPv4-mapped"),
        ] {
            let problem = Pool::parse(text).expect_err(text);
            assert!(problem.allowed.contains(says), "{text}: {problem}");
            assert_eq!(problem.value, text);
        }
        let error = Pool::parse_all(&["x", "127.77.0.0/24", "y"]).expect_err("two problems");
        let fields: Vec<_> = error
            .problems
            .iter()
            .map(|problem| problem.field.as_str())
            .collect();
        assert_eq!(fields, ["pools[0]", "pools[2]"]);
    }

    #[test]
    fn the_lowest_free_address_is_taken() {
        for (name, texts, taken, family, want) in [
            (
                "empty",
                &["127.77.0.0/30"][..],
                &[][..],
                Family::V4,
                Ok("127.77.0.1"),
            ),
            (
                "next",
                &["127.77.0.0/30"],
                &["127.77.0.1"],
                Family::V4,
                Ok("127.77.0.2"),
            ),
            (
                "a gap",
                &["127.77.0.0/29"],
                &["127.77.0.1", "127.77.0.3"],
                Family::V4,
                Ok("127.77.0.2"),
            ),
            (
                "held elsewhere",
                &["127.77.0.8/30"],
                &["127.77.0.1"],
                Family::V4,
                Ok("127.77.0.9"),
            ),
            (
                "second pool",
                &["127.77.0.4", "127.77.0.9"],
                &["127.77.0.4"],
                Family::V4,
                Ok("127.77.0.9"),
            ),
            (
                "other family",
                &["127.77.0.4", "fd00::/64"],
                &["127.77.0.4"],
                Family::V6,
                Ok("fd00::1"),
            ),
            (
                "full",
                &["127.77.0.4"],
                &["127.77.0.4"],
                Family::V4,
                Err("all 1 addresses"),
            ),
            (
                "full at the end",
                &["255.255.255.254"],
                &["255.255.255.254"],
                Family::V4,
                Err("all 1 addresses"),
            ),
            (
                "no pool",
                &["127.77.0.4"],
                &[],
                Family::V6,
                Err("has no IPv6 pool"),
            ),
        ] {
            let got = allocate(&pools(texts), &held(taken), &ask(family, None));
            match (got, want) {
                (Ok(address), Ok(want)) => assert_eq!(address.to_string(), want, "{name}"),
                (Err(error), Err(want)) => {
                    assert_eq!(error.code, code::POOL_EXHAUSTED, "{name}");
                    assert!(error.message.contains(want), "{name}: {error}");
                }
                (got, want) => panic!("{name}: {got:?}, expected {want:?}"),
            }
        }
    }

    #[test]
    fn an_asked_address_is_honoured_or_refused() {
        for (asked, want) in [
            ("127.77.0.2", Ok(())),
            ("127.77.0.1", Err(code::ADDRESS_TAKEN)),
            ("127.77.0.3", Err(code::ADDRESS_NOT_IN_POOL)),
            ("10.0.0.1", Err(code::ADDRESS_NOT_IN_POOL)),
        ] {
            let got = allocate(
                &pools(&["127.77.0.0/30"]),
                &held(&["127.77.0.1"]),
                &ask(Family::V4, Some(asked)),
            );
            assert_eq!(
                got.map(|_| ()).map_err(|error| error.code),
                want.map_err(String::from),
                "{asked}"
            );
        }
    }
}
