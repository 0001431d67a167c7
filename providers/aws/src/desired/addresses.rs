//! Addresses of a load balancer's own, one per subnet (Decides).
//!
//! The neutral key names Elastic IPs by allocation id, and private addresses by value. Which subnet an address is for is found out with the
//! subnets, in the plan.

use std::{net::IpAddr, str::FromStr, sync::Arc};

use evenkeel_core::{
    annotation::{Asked, field, key as neutral, value::quote},
    intent::Scheme,
    problem::{Problem, Warning, reason},
};
use ipnet::Ipv6Net;

use crate::{annotations::key, model::ZoneAddresses};

/// What decides which addresses can be had.
pub(super) struct Place {
    /// The scheme of a new one.
    pub(super) scheme: Scheme,
    /// Whether it has IPv6 addresses too.
    pub(super) dualstack: bool,
    /// Whether sources are translated by prefix.
    pub(super) source_nat: bool,
    /// How many subnets are listed; None: they are found later.
    pub(super) subnets: Option<usize>,
}

/// The addresses that are asked for; what cannot be had goes to `asked`.
pub(super) fn addresses(asked: &mut Asked<'_>, place: &Place) -> ZoneAddresses {
    let options = &asked.intent.options;
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    if options.address_of_field {
        asked.warnings.push(Warning::new(
            reason::UNSUPPORTED_FEATURE,
            format!(
                "spec.loadBalancerIP has no effect: a Network Load Balancer has an address in each zone. Name them with {}, {} or {}.",
                neutral::STATIC_ADDRESS,
                key::EIP_ALLOCATIONS,
                key::PRIVATE_IPV4_ADDRESSES
            ),
        ));
    } else {
        for address in &options.addresses {
            match address {
                IpAddr::V4(address) => v4.push(*address),
                IpAddr::V6(address) => v6.push(*address),
            }
        }
    }
    ZoneAddresses {
        allocations: allocations(asked, place),
        private: Wish::read(asked, key::PRIVATE_IPV4_ADDRESSES, v4, "an IPv4 address").checked(
            asked,
            place,
            place.scheme == Scheme::Internal,
            "are for an internal load balancer",
            "Set the scheme to internal, or name Elastic IPs by their allocation ids (eipalloc-…).",
        ),
        ipv6: Wish::read(asked, key::IPV6_ADDRESSES, v6, "an IPv6 address").checked(
            asked,
            place,
            place.dualstack,
            "are for a dualstack load balancer",
            "Set service.beta.kubernetes.io/aws-load-balancer-ip-address-type to dualstack.",
        ),
        source_nat_prefixes: Wish::read(asked, key::SOURCE_NAT_PREFIXES, Vec::new(), "auto_assigned or an IPv6 /80")
            .checked(
                asked,
                place,
                place.dualstack && place.source_nat,
                "are for a dualstack load balancer with source NAT by prefix",
                "Set service.beta.kubernetes.io/aws-load-balancer-enable-prefix-for-ipv6-source-nat to on.",
            )
            .into_iter()
            .map(|prefix: SourceNatPrefix| prefix.0)
            .collect(),
    }
}

/// Elastic IPs: the names of the neutral key, else those of the cloud's.
fn allocations(asked: &mut Asked<'_>, place: &Place) -> Vec<Arc<str>> {
    let mut names = Vec::new();
    for name in &asked.intent.options.address_names {
        match name.parse() {
            Ok(allocation) => names.push(allocation),
            Err(()) => {
                asked.problems.push(Problem::new(
                    field(neutral::STATIC_ADDRESS),
                    quote(name),
                    "is no name of an address on AWS",
                    "Write the allocation id of an Elastic IP such as eipalloc-0a1b2c3d, or a private address.",
                ));
                return Vec::new();
            }
        }
    }
    Wish::read(
        asked,
        key::EIP_ALLOCATIONS,
        names,
        "an allocation id such as eipalloc-0a1b2c3d",
    )
    .checked(
        asked,
        place,
        place.scheme == Scheme::InternetFacing,
        "are for an internet-facing load balancer",
        "Set the scheme to internet-facing, or name private addresses.",
    )
    .into_iter()
    .map(|allocation: Allocation| allocation.0)
    .collect()
}

/// An allocation id.
struct Allocation(Arc<str>);

impl FromStr for Allocation {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let id = text.strip_prefix("eipalloc-").ok_or(())?;
        let plain = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
        plain.then(|| Self(text.into())).ok_or(())
    }
}

/// A prefix for source NAT.
struct SourceNatPrefix(Arc<str>);

impl FromStr for SourceNatPrefix {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if text == "auto_assigned" {
            return Ok(Self(text.into()));
        }
        let net: Ipv6Net = text.parse().map_err(|_| ())?;
        // As AWS writes it, so that what it answers compares equal.
        let canonical = (net.prefix_len() == 80).then(|| net.trunc().to_string());
        canonical.map(|text| Self(text.into())).ok_or(())
    }
}

/// Addresses that are asked for, and by which key.
struct Wish<T> {
    key: &'static str,
    written: String,
    values: Vec<T>,
}

impl<T: FromStr> Wish<T> {
    /// Those of the neutral key where there are any, else those of the cloud's key.
    fn read(asked: &mut Asked<'_>, key: &'static str, neutral_values: Vec<T>, what: &str) -> Self {
        if !neutral_values.is_empty() {
            let options = &asked.intent.options;
            let addresses = options.addresses.iter().map(ToString::to_string);
            let names = options.address_names.iter().map(ToString::to_string);
            return Self {
                key: neutral::STATIC_ADDRESS,
                written: addresses.chain(names).collect::<Vec<_>>().join(","),
                values: neutral_values,
            };
        }
        let entries = asked.list(key).unwrap_or_default();
        let (mut values, mut wrong) = (Vec::new(), Vec::new());
        for entry in &entries {
            match entry.parse() {
                Ok(value) => values.push(value),
                Err(_) => wrong.push(format!("{entry:?}")),
            }
        }
        if !wrong.is_empty() {
            asked.wrong(
                key,
                format!(
                    "must be a list of which each entry is {what}, but {} is not",
                    quote(&wrong.join(", "))
                ),
                "Write one per subnet.",
            );
            values.clear();
        }
        Self {
            key,
            written: entries.join(","),
            values,
        }
    }

    /// The values, where there may be any, one per subnet; that of addresses found by containment is checked against the subnets later.
    fn checked(
        self,
        asked: &mut Asked<'_>,
        place: &Place,
        allowed: bool,
        message: &str,
        advice: &str,
    ) -> Vec<T> {
        let count = self.values.len();
        if count == 0 {
            return self.values;
        }
        let problem = |message: String, advice: &str| {
            Problem::new(field(self.key), quote(&self.written), message, advice)
        };
        if !allowed {
            asked.problems.push(problem(message.to_owned(), advice));
        }
        if let Some(subnets) = place.subnets
            && subnets != count
        {
            let message = format!("has {count} where {subnets} subnets are listed");
            asked.problems.push(problem(
                message,
                "Write one for each subnet, or remove the annotation.",
            ));
        }
        self.values
    }
}
