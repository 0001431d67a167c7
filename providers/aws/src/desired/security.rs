//! Who may connect: given security groups, or the rules of one of our own (Decides).
//!
//! The front-end group has a rule for each Service port and each prefix, canonical, so that what EC2 answers compares equal. How
//! traffic goes on to the nodes is the backend group's matter: no Service changes it.

use std::{collections::BTreeSet, sync::Arc};

use evenkeel_core::{
    annotation::{Asked, field, key as neutral},
    intent::{Intent, SourceRanges},
    net::{Cidr, IpFamily},
    ports::{PortKey, Protocol},
    problem::{Problem, Warning, reason},
};

use crate::{
    annotations::key,
    model::{Rule, RuleProtocol, Security, Source, TargetGroup},
    quotas::{Quota, Quotas},
};

/// What a key has to say where there are no security groups.
const NO_GROUPS: &str = "has no effect on a load balancer without security groups. Remove it.";

/// Given groups, a group of our own without rules yet, or none at all.
pub(super) fn given(asked: &mut Asked<'_>, quotas: &Quotas) -> Security {
    let backend = asked.bool(key::BACKEND_RULES);
    if asked.bool(key::DISABLE_SECURITY_GROUP) == Some(true) {
        if asked.list(key::SECURITY_GROUPS).is_some() {
            asked.wrong(
                key::DISABLE_SECURITY_GROUP,
                format!("contradicts {}", key::SECURITY_GROUPS),
                "Remove one of the two.",
            );
        }
        let rules_of_groups = [
            (backend.is_some(), key::BACKEND_RULES),
            (
                asked.keys.raw(key::PRIVATE_LINK_RULES).is_some(),
                key::PRIVATE_LINK_RULES,
            ),
        ];
        for (asks, key) in rules_of_groups {
            if asks {
                asked.warn(key, NO_GROUPS);
            }
        }
        return Security::Absent(BTreeSet::new());
    }
    let Some(groups) = asked.list(key::SECURITY_GROUPS) else {
        if backend.is_some() {
            asked.warn(
                key::BACKEND_RULES,
                format_args!(
                    "has no effect without {}: the nodes admit a group of the cluster's own. Remove it.",
                    key::SECURITY_GROUPS
                ),
            );
        }
        return Security::Managed(BTreeSet::new());
    };
    let backend = backend.unwrap_or(false);
    let most = quotas.of(Quota::GroupsPerInterface);
    if groups.len() + usize::from(backend) > most {
        asked.wrong(
            key::SECURITY_GROUPS,
            format!(
                "must be at most {most} groups, the cluster's backend group among them: {}",
                Quota::GroupsPerInterface
            ),
            format!(
                "Remove some, or {}.",
                Quota::GroupsPerInterface.how_to_raise()
            ),
        );
    }
    Security::Given { groups, backend }
}

/// Who may connect to the ports of one Service.
pub(super) struct Clients {
    sources: Vec<Source>,
    /// Whether everyone may.
    all: bool,
    icmp: bool,
}

impl Clients {
    /// Reads what a Service says.
    pub(super) fn read(asked: &mut Asked<'_>, security: &Security, dualstack: bool) -> Self {
        let intent = asked.intent;
        let prefix_lists = prefix_lists(asked);
        let icmp = asked.switch(key::ICMP).unwrap_or(false);
        if let Security::Given { .. } = security {
            warn_of_given_groups(asked, !prefix_lists.is_empty(), icmp);
        }
        if let Security::Absent(_) = security
            && icmp
        {
            asked.warn(key::ICMP, NO_GROUPS);
        }
        Self {
            all: intent.source_ranges == SourceRanges::All && prefix_lists.is_empty(),
            sources: sources(asked, intent, prefix_lists, dualstack),
            icmp,
        }
    }

    /// Who may connect, where not everyone may.
    pub(super) fn given(&self) -> Option<BTreeSet<Source>> {
        (!self.all).then(|| self.sources.iter().cloned().collect())
    }

    /// Refuses what nodes cannot tell, where no security group of the load balancer does.
    pub(super) fn check(
        &self,
        asked: &mut Asked<'_>,
        security: &Security,
        target_group: &TargetGroup,
        dualstack: bool,
    ) {
        if self.all || !matches!(security, Security::Absent(_)) {
            return;
        }
        let why = if !target_group.preserves_clients() {
            "the nodes see the load balancer's address instead of the client's. Switch on the attribute preserve_client_ip.enabled"
        } else if dualstack {
            "a dualstack load balancer puts its own address before the nodes for clients of the other family. Make it one with IPv4 addresses"
        } else {
            return;
        };
        let (fact, advice) = why.split_once(". ").unwrap_or((why, ""));
        let problem = Problem::new(
            "spec.loadBalancerSourceRanges",
            "",
            format!("cannot be enforced without security groups: {fact}"),
            format!(
                "{advice}, remove the ranges, or remove {}.",
                key::DISABLE_SECURITY_GROUP
            ),
        );
        let problem = problem.with_reason(reason::SOURCE_RANGES_NOT_ENFORCED);
        if !asked.problems.iter().any(|known| *known == problem) {
            asked.problems.push(problem);
        }
    }

    /// The rules that let them reach these ports.
    pub(super) fn rules(&self, ports: &[PortKey]) -> BTreeSet<Rule> {
        let mut rules = BTreeSet::new();
        for source in &self.sources {
            for port in ports {
                let number = i32::from(port.port);
                rules.insert(Rule {
                    protocol: match port.protocol {
                        Protocol::Udp => RuleProtocol::Udp,
                        Protocol::Tcp | Protocol::Sctp => RuleProtocol::Tcp,
                    },
                    from: number,
                    to: number,
                    source: source.clone(),
                });
            }
            if let Source::Cidr(cidr) = source
                && self.icmp
            {
                // "Fragmentation needed" of ICMP, "packet too big" of ICMPv6.
                let (protocol, from, to) = match cidr.family() {
                    IpFamily::V4 => (RuleProtocol::Icmp, 3, 4),
                    IpFamily::V6 => (RuleProtocol::Icmpv6, 2, 0),
                };
                rules.insert(Rule {
                    protocol,
                    from,
                    to,
                    source: source.clone(),
                });
            }
        }
        rules
    }
}

fn prefix_lists(asked: &mut Asked<'_>) -> Vec<Arc<str>> {
    let lists = asked.list(key::PREFIX_LISTS).unwrap_or_default();
    let good = |list: &Arc<str>| {
        list.strip_prefix("pl-")
            .is_some_and(|id| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric()))
    };
    if !lists.iter().all(good) {
        asked.wrong(
            key::PREFIX_LISTS,
            "must be ids of managed prefix lists",
            "Write each as pl-0a1b2c3d.",
        );
    }
    lists
}

/// Ranges of a family that the load balancer does not have let nobody in, and cost rules.
fn sources(
    asked: &mut Asked<'_>,
    intent: &Intent,
    prefix_lists: Vec<Arc<str>>,
    dualstack: bool,
) -> Vec<Source> {
    let everyone = |text: &str| text.parse::<Cidr>().expect("a prefix");
    let mut ranges = match &intent.source_ranges {
        SourceRanges::All if prefix_lists.is_empty() => {
            vec![everyone("0.0.0.0/0"), everyone("::/0")]
        }
        SourceRanges::All => Vec::new(),
        SourceRanges::Only(ranges) => ranges.clone(),
    };
    if !dualstack {
        let closed = ranges.iter().any(|range| range.family() == IpFamily::V6);
        if closed && intent.source_ranges != SourceRanges::All {
            let warning = format!(
                "spec.loadBalancerSourceRanges, or {}: IPv6 ranges have no effect, because the load balancer has IPv4 addresses only. \
                 Set {} to dualstack, or remove them.",
                field(neutral::SOURCE_RANGES),
                key::IP_ADDRESS_TYPE
            );
            asked
                .warnings
                .push(Warning::new(reason::INVALID_CONFIGURATION, warning));
        }
        ranges.retain(|range| range.family() == IpFamily::V4);
    }
    let lists = prefix_lists.into_iter().map(Source::PrefixList);
    ranges.into_iter().map(Source::Cidr).chain(lists).collect()
}

/// What given groups allow is theirs to say.
fn warn_of_given_groups(asked: &mut Asked<'_>, prefix_lists: bool, icmp: bool) {
    let advice = format!(
        "has no effect beside {}, whose groups decide who may connect. Add the rules there, or remove one of the two.",
        key::SECURITY_GROUPS
    );
    if prefix_lists {
        asked.warn(key::PREFIX_LISTS, &advice);
    }
    if icmp {
        asked.warn(key::ICMP, &advice);
    }
    if asked.intent.source_ranges != SourceRanges::All {
        asked.warnings.push(Warning::new(
            reason::SOURCE_RANGES_NOT_ENFORCED,
            format!(
                "spec.loadBalancerSourceRanges, or {}: {advice}",
                field(neutral::SOURCE_RANGES)
            ),
        ));
    }
}
