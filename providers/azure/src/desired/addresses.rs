//! Which load balancer, and where its addresses come from (Decides).

use std::{net::IpAddr, sync::Arc};

use evenkeel_core::{
    annotation::{Asked, field, key as neutral, value::quote},
    group::Group,
    intent::{ReclaimPolicy, Scheme},
    net::{Cidr, IpFamily},
    problem::{Problem, reason},
};

use super::{base, is_internal, tags};
use crate::{
    Context,
    annotations::key,
    model::{NewPublicIp, Pairs, Source},
    names::{self, tag},
};

/// Where nobody on the Internet is: private, carrier-grade NAT, Azure's own host address, link-local, loopback, documentation, and
/// what is no unicast.
const NOT_PUBLIC: &[&str] = &[
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "168.63.129.16/32",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "224.0.0.0/3",
    "::/8",
    "fc00::/7",
    "fe80::/10",
    "ff00::/8",
];

/// Public, as the type promises, unless something is said.
pub(super) fn scheme(asked: &mut Asked<'_>) -> Scheme {
    let internal = asked.says(key::INTERNAL);
    asked.intent.options.scheme.unwrap_or(if internal {
        Scheme::Internal
    } else {
        Scheme::InternetFacing
    })
}

/// Where the address of each family comes from.
pub(super) fn sources(
    context: &Context,
    group: &Group,
    asked: &mut Asked<'_>,
    scheme: Scheme,
) -> Vec<(IpFamily, Source)> {
    let families = asked.intent.families.clone();
    let addresses = families
        .iter()
        .map(|family| address(asked, *family, families.len()))
        .collect::<Vec<_>>();
    if is_internal(scheme) {
        return internal(context, asked, &families, &addresses);
    }
    if asked.keys.raw(key::INTERNAL_SUBNET).is_some() {
        asked.warn(
            key::INTERNAL_SUBNET,
            format_args!(
                "has no effect on a public address. Remove it, or set {} to true.",
                key::INTERNAL
            ),
        );
    }
    let resource_group = resource_group(context, asked);
    let tags = tags::tags(context, group, asked);
    let ip_tags = asked.map(key::IP_TAGS).unwrap_or_default();
    let dns_label = dns_label(asked);
    let further = further_addresses(asked);
    let mut sources = Vec::new();
    for (index, family) in families.iter().enumerate() {
        let source = given(context, asked, &resource_group, index, *family).or_else(|| {
            let address = addresses[index]?;
            check_public(asked, address);
            // A prefix goes before an address.
            (prefix(asked, *family, families.len()).is_none() || is_neutral_address(asked))
                .then_some(Source::Address(address))
        });
        let source = source.unwrap_or_else(|| {
            let prefix = prefix(asked, *family, families.len());
            let name =
                names::public_ip(&base(context, group), *family, prefix.as_deref(), &ip_tags);
            Source::Managed(NewPublicIp {
                id: context.public_ip_id(&resource_group, &name),
                family: *family,
                tags: with_further(&tags, &further, index),
                dns_label: dns_label.clone(),
                prefix,
                ip_tags: ip_tags.clone(),
            })
        });
        sources.push((*family, source));
    }
    only_for_managed(asked, &sources, &further);
    sources
}

fn internal(
    context: &Context,
    asked: &mut Asked<'_>,
    families: &[IpFamily],
    addresses: &[Option<IpAddr>],
) -> Vec<(IpFamily, Source)> {
    let name = asked.text(key::INTERNAL_SUBNET);
    if let Some(name) = &name
        && !is_name(name)
    {
        asked.wrong(
            key::INTERNAL_SUBNET,
            "is no name of a subnet",
            "Write its name, without its network's.",
        );
    }
    let name = name.unwrap_or_else(|| Arc::clone(&context.subnet));
    for public in [
        key::PIP_NAME,
        key::PIP_NAME_IPV6,
        key::PREFIX_ID,
        key::PREFIX_ID_IPV6,
        key::DNS_LABEL,
    ] {
        if asked.keys.raw(public).is_some() {
            asked.warn(public, "has no effect on an internal address. Remove it.");
        }
    }
    if asked.intent.options.reclaim_policy == ReclaimPolicy::Retain {
        cannot_retain(
            asked,
            "an internal one has nothing that could be stamped with it",
        );
    }
    if !asked.intent.options.address_names.is_empty() {
        asked.problems.push(Problem::new(
            field(neutral::STATIC_ADDRESS),
            asked.intent.options.address_names.join(","),
            "must be an address of the subnet for an internal load balancer",
            "Write the address.",
        ));
    }
    let of = |index: usize| Source::Subnet {
        name: Arc::clone(&name),
        address: addresses[index],
    };
    families
        .iter()
        .enumerate()
        .map(|(index, family)| (*family, of(index)))
        .collect()
}

/// The address that is asked for: the neutral key's, else that of Azure's keys, else that of the Service's field.
fn address(asked: &mut Asked<'_>, family: IpFamily, families: usize) -> Option<IpAddr> {
    let of_options = asked
        .intent
        .options
        .addresses
        .iter()
        .find(|ip| IpFamily::of(**ip) == family)
        .copied();
    if is_neutral_address(asked) {
        return of_options;
    }
    let own = match family {
        IpFamily::V4 => key::IPV4,
        IpFamily::V6 => key::IPV6,
    };
    let any = asked
        .keys
        .raw(key::IPV4)
        .or(asked.keys.raw(key::IPV6))
        .is_some();
    let address = asked.take(asked.keys.address(own));
    if let Some(address) = address
        && IpFamily::of(address) != family
    {
        asked.wrong(
            own,
            format!("must be an {family} address"),
            "Write it under the key of its family.",
        );
        return None;
    }
    let other = if own == key::IPV4 {
        key::IPV6
    } else {
        key::IPV4
    };
    if families == 1 && asked.keys.raw(other).is_some() {
        asked.warn(
            other,
            "is of a family that is not in spec.ipFamilies. Remove it, or add the family.",
        );
    }
    if any { address } else { of_options }
}

fn is_neutral_address(asked: &Asked<'_>) -> bool {
    let options = &asked.intent.options;
    !options.addresses.is_empty() && !options.address_of_field
}

/// The public IP address that is named.
fn given(
    context: &Context,
    asked: &mut Asked<'_>,
    resource_group: &str,
    index: usize,
    family: IpFamily,
) -> Option<Source> {
    let families = asked.intent.families.len();
    let names = &asked.intent.options.address_names;
    let (key, name) = match names.get(index) {
        Some(name) => (neutral::STATIC_ADDRESS, Arc::clone(name)),
        None => of_family(asked, [key::PIP_NAME, key::PIP_NAME_IPV6], family, families)?,
    };
    if name.starts_with("/subscriptions/") && is_id(&name, "publicIPAddresses") {
        return Some(Source::Named(name));
    }
    if !is_name(&name) {
        asked.problems.push(Problem::new(
            field(key),
            quote(&name),
            "is no name of a public IP address",
            format!(
                "Write its name; its resource group goes into {}.",
                key::RESOURCE_GROUP
            ),
        ));
        return None;
    }
    Some(Source::Named(context.public_ip_id(resource_group, &name)))
}

/// The value of the key of a family: with one family IPv6 reads the plain key too.
fn of_family(
    asked: &mut Asked<'_>,
    [plain, v6]: [&'static str; 2],
    family: IpFamily,
    families: usize,
) -> Option<(&'static str, Arc<str>)> {
    let keys: &[&'static str] = match (family, families) {
        (IpFamily::V4, _) => &[plain],
        (IpFamily::V6, 1) => &[v6, plain],
        (IpFamily::V6, _) => &[v6],
    };
    keys.iter().find_map(|key| Some((*key, asked.text(key)?)))
}

fn prefix(asked: &mut Asked<'_>, family: IpFamily, families: usize) -> Option<Arc<str>> {
    let (key, id) = of_family(
        asked,
        [key::PREFIX_ID, key::PREFIX_ID_IPV6],
        family,
        families,
    )?;
    if !is_id(&id, "publicIPPrefixes") {
        asked.wrong(
            key,
            "must be the id of a public IP prefix",
            "Write it as /subscriptions/…/resourceGroups/…/providers/Microsoft.Network/publicIPPrefixes/….",
        );
        return None;
    }
    Some(id)
}

fn resource_group(context: &Context, asked: &mut Asked<'_>) -> Arc<str> {
    let Some(name) = asked.text(key::RESOURCE_GROUP) else {
        return Arc::clone(&context.resource_group);
    };
    if !is_resource_group(&name) {
        asked.wrong(
            key::RESOURCE_GROUP,
            "is no name of a resource group: at most 90 letters, digits and _.()-, without a full stop at the end",
            "Write the group's name.",
        );
    }
    name
}

fn dns_label(asked: &mut Asked<'_>) -> Option<Arc<str>> {
    let label = asked.text(key::DNS_LABEL)?;
    let letter = label.starts_with(|char: char| char.is_ascii_lowercase());
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !letter
        || !(3..=63).contains(&label.len())
        || !label.bytes().all(allowed)
        || label.ends_with('-')
    {
        asked.wrong(
            key::DNS_LABEL,
            "must be 3 to 63 lower-case letters, digits and hyphens, with a letter first and no hyphen last",
            "Write a label such as webprod.",
        );
    }
    Some(label)
}

fn further_addresses(asked: &mut Asked<'_>) -> Vec<IpAddr> {
    let mut addresses = Vec::new();
    for entry in asked.list(key::FURTHER_IPS).unwrap_or_default() {
        match entry.parse() {
            Ok(address) => addresses.push(address),
            Err(_) => asked.wrong(
                key::FURTHER_IPS,
                format!(
                    "must be a list of addresses, but {:?} is none",
                    quote(&entry)
                ),
                "Write them as 192.0.2.10,192.0.2.11.",
            ),
        }
    }
    addresses
}

fn with_further(tags: &Pairs, further: &[IpAddr], index: usize) -> Pairs {
    let mut tags = tags.clone();
    // Once is enough: the first family's address tells of them.
    if index == 0 && !further.is_empty() {
        let listed: Vec<_> = further.iter().map(ToString::to_string).collect();
        tags.insert(tag::FURTHER_ADDRESSES.into(), listed.join(" ").into());
    }
    tags
}

/// What is noted on a public IP address needs one that is ours.
fn only_for_managed(asked: &mut Asked<'_>, sources: &[(IpFamily, Source)], further: &[IpAddr]) {
    if matches!(sources.first(), Some((_, Source::Managed(_)))) {
        return;
    }
    if !further.is_empty() {
        asked.wrong(
            key::FURTHER_IPS,
            "needs a public IP address that is ours, to be remembered there",
            "Remove it, or the address that is chosen.",
        );
    }
    if asked.intent.options.reclaim_policy == ReclaimPolicy::Retain {
        cannot_retain(
            asked,
            "an address that is somebody else's stays anyway, and what is in the load balancer cannot be stamped with it",
        );
    }
    for key in [key::PIP_TAGS, key::IP_TAGS, key::DNS_LABEL] {
        if asked.keys.raw(key).is_some() {
            asked.warn(
                key,
                "has no effect on an address that is somebody else's. Remove it.",
            );
        }
    }
}

fn cannot_retain(asked: &mut Asked<'_>, why: &str) {
    let problem = Problem::new(
        field(neutral::RECLAIM_POLICY),
        "Retain",
        format!("needs a public IP address that is ours: {why}"),
        "Remove it.",
    );
    asked
        .problems
        .push(problem.with_reason(reason::UNSUPPORTED_FEATURE));
}

fn check_public(asked: &mut Asked<'_>, address: IpAddr) {
    let mut prefixes = NOT_PUBLIC
        .iter()
        .filter_map(|prefix| prefix.parse::<Cidr>().ok());
    if !prefixes.any(|prefix| prefix.contains(address)) {
        return;
    }
    let place = match (asked.intent.options.address_of_field, address) {
        _ if is_neutral_address(asked) => field(neutral::STATIC_ADDRESS),
        (_, IpAddr::V4(_)) if asked.keys.raw(key::IPV4).is_some() => field(key::IPV4),
        (_, IpAddr::V6(_)) if asked.keys.raw(key::IPV6).is_some() => field(key::IPV6),
        _ => "spec.loadBalancerIP".to_owned(),
    };
    asked.problems.push(Problem::new(
        place,
        address.to_string(),
        "is no public address",
        format!(
            "Write that of a public IP address, or set {} to true.",
            key::INTERNAL
        ),
    ));
}

/// A name of a resource of Microsoft.Network's: it goes into a URL.
fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    let first = name
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_alphanumeric());
    let last = name
        .bytes()
        .last()
        .is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    first && last && name.len() <= 80 && name.bytes().all(allowed)
}

fn is_resource_group(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.()-".contains(&byte);
    (1..=90).contains(&name.len()) && !name.ends_with('.') && name.bytes().all(allowed)
}

/// The id of a resource of Microsoft.Network's.
fn is_id(id: &str, kind: &str) -> bool {
    let parts: Vec<_> = id.split('/').collect();
    match parts.as_slice() {
        ["", a, subscription, b, group, c, d, of_kind, name] => {
            a.eq_ignore_ascii_case("subscriptions")
                && subscription.len() == 36
                && subscription
                    .bytes()
                    .all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
                && b.eq_ignore_ascii_case("resourceGroups")
                && is_resource_group(group)
                && c.eq_ignore_ascii_case("providers")
                && d.eq_ignore_ascii_case("Microsoft.Network")
                && of_kind.eq_ignore_ascii_case(kind)
                && is_name(name)
        }
        _ => false,
    }
}
