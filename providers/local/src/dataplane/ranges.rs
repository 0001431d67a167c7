//! Which addresses may come, asked for every UDP datagram. Decides: no IO.

use std::net::IpAddr;

use ipnet::IpNet;

/// A set of prefixes that is searched in the logarithm of their number.
#[derive(Debug)]
pub(crate) struct Ranges(Vec<IpNet>);

impl Ranges {
    /// The prefixes without those that lie in another, in order.
    pub(crate) fn new(ranges: &Vec<IpNet>) -> Self {
        let mut ranges = IpNet::aggregate(ranges);
        ranges.sort_by_key(IpNet::network);
        Self(ranges)
    }

    pub(crate) fn has(&self, address: IpAddr) -> bool {
        // IPv4 addresses come before all of IPv6, and no prefix holds addresses of both.
        let after = self.0.partition_point(|range| range.network() <= address);
        after > 0 && self.0[after - 1].contains(&address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_in_one_of_many_is_found() {
        let many = (0..=255)
            .flat_map(|third| (0..32).map(move |step| format!("10.1.{third}.{}/31", 8 * step)));
        let texts: Vec<String> = many
            .chain(
                [
                    "10.1.7.3/32",
                    "192.0.2.77/24",
                    "192.0.2.0/25",
                    "fd00::/8",
                    "::1/128",
                ]
                .map(String::from),
            )
            .collect();
        let prefixes: Vec<IpNet> = texts
            .iter()
            .map(|text| text.parse().expect("a prefix"))
            .collect();
        let ranges = Ranges::new(&prefixes);
        let mut found = 0;
        for address in
            (0..=255u8).flat_map(|third| (0..=255u8).map(move |last| [10, 1, third, last]))
        {
            let address = IpAddr::from(address);
            let want = prefixes.iter().any(|prefix| prefix.contains(&address));
            assert_eq!(ranges.has(address), want, "{address}");
            found += usize::from(want);
        }
        assert_eq!(found, 256 * 64 + 1);
        for (address, want) in [
            ("0.0.0.0", false),
            ("10.0.255.255", false),
            ("10.2.0.0", false),
            ("192.0.2.0", true),
            ("192.0.2.255", true),
            ("192.0.3.0", false),
            ("255.255.255.255", false),
            ("::", false),
            ("::1", true),
            ("::2", false),
            ("fcff::1", false),
            ("fd12::1", true),
            ("fe00::", false),
        ] {
            assert_eq!(
                ranges.has(address.parse().expect("an address")),
                want,
                "{address}"
            );
        }
        assert!(!Ranges::new(&vec![]).has(IpAddr::from([127, 0, 0, 1])));
    }
}
