//! The load balancer itself, as the first member of its group asks for it (Decides).

use std::{net::IpAddr, str::FromStr, sync::Arc};

use evenkeel_core::{
    annotation::{field, key as neutral, value::quote},
    claim::Profile,
    group::Group,
    ids::ResourceId,
    intent::{Intent, ReclaimPolicy, Scheme},
    problem::{Problem, Warning, reason},
};

use ipnet::Ipv6Net;

use super::{
    attributes::{self, ACCESS_LOG, ACCESS_LOG_BUCKET, ACCESS_LOG_PREFIX, Blank, CROSS_ZONE},
    security,
};
use crate::{
    Context,
    annotations::{Asked, key},
    model::{AddressType, LoadBalancer, Pairs, Subnets, ZoneAddresses},
    names::{self, tag},
};

/// The keys of what all members share: the first member's count.
const SHARED_KEYS: &[&str] = &[
    key::SCHEME,
    key::INTERNAL,
    key::NAME,
    key::IP_ADDRESS_TYPE,
    key::SUBNETS,
    key::EIP_ALLOCATIONS,
    key::PRIVATE_IPV4_ADDRESSES,
    key::IPV6_ADDRESSES,
    key::SOURCE_NAT,
    key::SOURCE_NAT_PREFIXES,
    key::ATTRIBUTES,
    key::CROSS_ZONE,
    key::ACCESS_LOG_ENABLED,
    key::ACCESS_LOG_BUCKET,
    key::ACCESS_LOG_PREFIX,
    key::TAGS,
    key::SECURITY_GROUPS,
    key::BACKEND_RULES,
    key::PRIVATE_LINK_RULES,
];

/// AWS allows 50 tags on an object. Ours, with those that remember something: see [`names::tag`].
const MOST_TAGS: usize = 50 - 13;

/// Tags that tell a controller whose an object is, ours and those of others; and AWS's own.
const RESERVED_TAGS: &[&str] = &[
    tag::PREFIX,
    "aws:",
    "elbv2.k8s.aws/",
    "service.k8s.aws/",
    "ingress.k8s.aws/",
];

/// What the first member asks for; the rules of the front-end group are filled in by the caller.
pub(super) fn load_balancer(
    context: &Context,
    group: &Group,
    asked: &mut Asked<'_>,
) -> LoadBalancer {
    let intent = asked.intent;
    let scheme = scheme(asked);
    let default_scheme = match intent.profile {
        Profile::Lbc => Scheme::Internal,
        Profile::Neutral | Profile::Ccm | Profile::Azure => Scheme::InternetFacing,
    };
    let address_type = asked.word(key::IP_ADDRESS_TYPE).map(|word| match word {
        "dualstack" => AddressType::Dualstack,
        _ => AddressType::Ipv4,
    });
    let dualstack = address_type == Some(AddressType::Dualstack);
    let subnets = match asked.list(key::SUBNETS) {
        Some(subnets) => Subnets::Listed(subnets),
        None => Subnets::Discovered,
    };
    let source_nat = asked.switch(key::SOURCE_NAT);
    if source_nat == Some(true) && !dualstack {
        asked.wrong(
            key::SOURCE_NAT,
            "needs a dualstack load balancer",
            format!(
                "Set {} to dualstack, or remove the annotation.",
                key::IP_ADDRESS_TYPE
            ),
        );
    }
    let place = Place {
        scheme: scheme.unwrap_or(default_scheme),
        dualstack,
        source_nat: source_nat == Some(true),
        subnets: match &subnets {
            Subnets::Listed(listed) => Some(listed.len()),
            Subnets::Discovered => None,
        },
    };
    let retain = intent.options.reclaim_policy == ReclaimPolicy::Retain;
    LoadBalancer {
        name: name(asked),
        scheme,
        default_scheme,
        address_type,
        addresses: addresses(asked, &place),
        subnets,
        source_nat,
        security: security::given(asked),
        private_link_rules: asked.switch(key::PRIVATE_LINK_RULES),
        attributes: load_balancer_attributes(asked),
        tags: tags(context, asked),
        marks: names::group_marks(
            &group.cluster,
            &group.key,
            retain,
            ResourceId::new(names::LOAD_BALANCER),
        ),
    }
}

/// Where another member asks for something else than the first, which counts.
pub(super) fn warn_of_other_wishes(first: &Intent, asked: &mut Asked<'_>) {
    let other = asked.intent;
    let written = |intent: &Intent, key: &str| {
        let value = intent.annotations.get(key).map(|value| value.trim());
        value.filter(|value| !value.is_empty()).map(str::to_owned)
    };
    let differs = |key: &&&str| {
        let wish = written(other, key);
        wish.is_some() && wish != written(first, key)
    };
    let mut keys: Vec<&str> = SHARED_KEYS.iter().filter(differs).copied().collect();
    let (theirs, ours) = (&other.options, &first.options);
    let asks_scheme = theirs.scheme.is_some() && theirs.scheme != ours.scheme;
    let asks_address = !(theirs.addresses.is_empty() && theirs.address_names.is_empty())
        && (&theirs.addresses, &theirs.address_names) != (&ours.addresses, &ours.address_names);
    let asks_tags = !theirs.tags.is_empty() && theirs.tags != ours.tags;
    let asks_policy = theirs.reclaim_policy != ReclaimPolicy::default()
        && theirs.reclaim_policy != ours.reclaim_policy;
    for (asks, key) in [
        (asks_scheme, neutral::SCHEME),
        (asks_address, neutral::STATIC_ADDRESS),
        (asks_tags, neutral::TAGS),
        (asks_policy, neutral::RECLAIM_POLICY),
    ] {
        if asks {
            keys.push(key);
        }
    }
    for key in keys {
        asked.warn(
            key,
            format_args!(
                "has no effect on {}, because {} of the same group decides what all members share. Write the same there, or \
                 remove it here.",
                other.service, first.service
            ),
        );
    }
}

/// The scheme that is asked for: the neutral key, else the newer key, else the older one.
fn scheme(asked: &mut Asked<'_>) -> Option<Scheme> {
    let newer = asked.word(key::SCHEME).map(|word| match word {
        "internal" => Scheme::Internal,
        _ => Scheme::InternetFacing,
    });
    let wishes = [
        (neutral::SCHEME, asked.intent.options.scheme),
        (key::SCHEME, newer),
        (key::INTERNAL, older_scheme(asked)),
    ];
    let mut wishes = wishes
        .into_iter()
        .filter_map(|(key, wish)| Some((key, wish?)));
    let (winner, scheme) = wishes.next()?;
    for (key, other) in wishes {
        if other != scheme {
            asked.warn(
                key,
                format_args!("has no effect, because {winner} says otherwise and wins. Remove one of the two."),
            );
        }
    }
    Some(scheme)
}

fn older_scheme(asked: &mut Asked<'_>) -> Option<Scheme> {
    let written = asked.keys.raw(key::INTERNAL)?;
    let internal = if asked.intent.profile == Profile::Ccm {
        // As the cloud controller manager reads it.
        written != "false"
    } else if written == "0.0.0.0/0" {
        asked.warn(
            key::INTERNAL,
            "0.0.0.0/0 is how early versions of Kubernetes wrote true. Write true.",
        );
        true
    } else {
        asked.bool(key::INTERNAL)?
    };
    Some(if internal {
        Scheme::Internal
    } else {
        Scheme::InternetFacing
    })
}

/// The name that is asked for, by the rules of `CreateLoadBalancer`.
fn name(asked: &mut Asked<'_>) -> Option<Arc<str>> {
    let name = asked.text(key::NAME)?;
    let plain = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let ends = name.starts_with('-') || name.ends_with('-');
    if name.len() > 32 || !plain || ends || name.starts_with("internal-") {
        asked.wrong(
            key::NAME,
            "must be at most 32 letters, digits and hyphens, must not begin or end with a hyphen, and must not begin with internal-",
            "Write another name, or remove the annotation for one made of the Service's.",
        );
        return None;
    }
    Some(name)
}

/// What decides which addresses can be had.
struct Place {
    scheme: Scheme,
    dualstack: bool,
    source_nat: bool,
    /// How many subnets are listed; None: they are found later.
    subnets: Option<usize>,
}

fn addresses(asked: &mut Asked<'_>, place: &Place) -> ZoneAddresses {
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
        let prefix = |text: &str| {
            text.parse::<Ipv6Net>()
                .is_ok_and(|net| net.prefix_len() == 80)
        };
        let good = text == "auto_assigned" || prefix(text);
        good.then(|| Self(text.into())).ok_or(())
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

/// The attributes, with what the older keys of their own say.
fn load_balancer_attributes(asked: &mut Asked<'_>) -> Pairs {
    let mut attributes = attributes::read(
        asked,
        key::ATTRIBUTES,
        attributes::LOAD_BALANCER,
        Blank::IsValue,
    );
    let mut set = |attribute: &str, value: Arc<str>| attributes.insert(attribute.into(), value);
    let word = |value: bool| Arc::from(if value { "true" } else { "false" });
    if let Some(value) = asked.bool(key::CROSS_ZONE) {
        set(CROSS_ZONE, word(value));
    }
    let logs = asked.bool(key::ACCESS_LOG_ENABLED);
    if let Some(value) = logs {
        set(ACCESS_LOG, word(value));
    }
    for (key, attribute) in [
        (key::ACCESS_LOG_BUCKET, ACCESS_LOG_BUCKET),
        (key::ACCESS_LOG_PREFIX, ACCESS_LOG_PREFIX),
    ] {
        let Some(value) = asked.text(key) else {
            continue;
        };
        // A switched off log keeps nothing, and AWS would check the bucket all the same.
        if logs == Some(true) {
            set(attribute, value);
        } else {
            asked.warn(
                key,
                format_args!(
                    "has no effect without {} true. Set it, or remove this one.",
                    key::ACCESS_LOG_ENABLED
                ),
            );
        }
    }
    let is = |attribute: &str, value: &str| {
        attributes
            .get(attribute)
            .is_some_and(|found| **found == *value)
    };
    let bucket = attributes
        .get(ACCESS_LOG_BUCKET)
        .is_some_and(|bucket| !bucket.is_empty());
    if is(ACCESS_LOG, "true") && !bucket {
        let by_key = logs == Some(true);
        asked.wrong(
            if by_key {
                key::ACCESS_LOG_ENABLED
            } else {
                key::ATTRIBUTES
            },
            "needs the bucket of the log",
            format!(
                "Add {}.",
                if by_key {
                    key::ACCESS_LOG_BUCKET
                } else {
                    ACCESS_LOG_BUCKET
                }
            ),
        );
    }
    attributes
}

/// Tags for every object: the operator's, and before them the Service's own.
fn tags(context: &Context, asked: &mut Asked<'_>) -> Pairs {
    let theirs = asked.map(key::TAGS).unwrap_or_default();
    let mut tags = context.tags.clone();
    for (key, of_key) in [
        (key::TAGS, &theirs),
        (neutral::TAGS, &asked.intent.options.tags),
    ] {
        for (name, value) in of_key {
            if let Some(message) = wrong_tag(name, value) {
                asked.problems.push(Problem::new(
                    field(key),
                    quote(&format!("{name}={value}")),
                    message,
                    "Write another tag, or remove this one.",
                ));
            }
            tags.insert(Arc::clone(name), Arc::clone(value));
        }
    }
    if tags.len() > MOST_TAGS {
        asked.problems.push(Problem::new(
            field(if theirs.is_empty() { neutral::TAGS } else { key::TAGS }),
            tags.len().to_string(),
            format!("must be at most {MOST_TAGS} tags with those of the operator: AWS allows 50 on an object, and evenkeel needs the others"),
            "Remove some.",
        ));
    }
    tags
}

/// What is wrong with a tag, by the rules of AWS and by ours.
fn wrong_tag(name: &str, value: &str) -> Option<String> {
    if let Some(prefix) = RESERVED_TAGS
        .iter()
        .find(|prefix| name.starts_with(**prefix))
    {
        return Some(format!(
            "must not begin with {prefix}, by which owners are told apart"
        ));
    }
    let allowed = |text: &str| {
        text.chars()
            .all(|c| c.is_alphanumeric() || c == ' ' || "_.:/=+-@".contains(c))
    };
    let lengths = name.chars().count() <= 128 && value.chars().count() <= 256;
    (!lengths || !allowed(name) || !allowed(value)).then(|| {
        "must be at most 128 characters, with a value of at most 256, all letters, digits, spaces or one of _.:/=+-@".to_owned()
    })
}
