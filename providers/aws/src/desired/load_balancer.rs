//! The load balancer itself, as the first member of its group asks for it (Decides).

use std::sync::Arc;

use evenkeel_core::{
    annotation::{Asked, key as neutral},
    claim::Profile,
    group::Group,
    ids::ResourceId,
    intent::{Intent, ReclaimPolicy, Scheme},
};

use super::{
    addresses::{self, Place},
    attributes::{self, ACCESS_LOG, ACCESS_LOG_BUCKET, ACCESS_LOG_PREFIX, Blank, CROSS_ZONE},
    security, tags,
};
use crate::{
    Context,
    annotations::key,
    model::{AddressType, LoadBalancer, Pairs, Security, Subnets},
    names,
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
    key::DISABLE_SECURITY_GROUP,
    key::PRIVATE_LINK_RULES,
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
    let security = security::given(asked, &context.quotas);
    let private_link_rules = match security {
        Security::Absent(_) => None,
        _ => asked.switch(key::PRIVATE_LINK_RULES),
    };
    let retain = intent.options.reclaim_policy == ReclaimPolicy::Retain;
    LoadBalancer {
        name: name(asked),
        scheme,
        default_scheme,
        address_type,
        addresses: addresses::addresses(asked, &place),
        subnets,
        source_nat,
        security,
        private_link_rules,
        attributes: load_balancer_attributes(asked),
        tags: tags::tags(context, asked),
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
