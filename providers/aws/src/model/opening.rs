//! What node groups admit beside the NodePorts and kube-proxy's health (Decides).
//!
//! An opening is a rule of each node group, with a description that says whose it is. Several load balancers may rest on one: each target
//! group lists its openings in a tag, in the call that creates it or before it uses them, and a rule that no tag refers to goes.

use std::{collections::BTreeSet, fmt, str::FromStr};

use evenkeel_core::{net::IpFamily, ports::Protocol};
use serde::Serialize;

use super::{Facts, Pairs, ProbePort, Rule, RuleProtocol, Source, TargetProtocol};
use crate::names::{self, tag};

/// Ports of the nodes, and who may reach them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Opening {
    /// Who.
    pub from: Origin,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The first port.
    pub first: u16,
    /// The last port.
    pub last: u16,
}

/// Whose packets an opening admits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Origin {
    /// Of load balancers that have the cluster's backend group.
    LoadBalancers,
    /// Of load balancers that have no security group, which may have any address of the VPC of this family.
    Vpc(IpFamily),
    /// Of the clients of such a load balancer, where it preserves their addresses. Its Service says which these are.
    Clients(IpFamily),
}

impl Opening {
    /// One port, for the cluster's load balancers.
    pub fn port(protocol: Protocol, port: u16) -> Self {
        Self::ports(protocol, port, port)
    }

    /// Several ports in a row, for the cluster's load balancers.
    pub fn ports(protocol: Protocol, first: u16, last: u16) -> Self {
        Self {
            from: Origin::LoadBalancers,
            protocol,
            first,
            last,
        }
    }

    /// What pods need that listen on a port, and are probed there or elsewhere: targets of UDP are probed over TCP.
    pub fn of_pods(protocol: TargetProtocol, port: u16, probed: ProbePort) -> BTreeSet<Self> {
        let probed_here = probed == ProbePort::Traffic;
        let mut protocols = Vec::new();
        if protocol != TargetProtocol::Udp || probed_here {
            protocols.push(Protocol::Tcp);
        }
        if protocol.has_udp() {
            protocols.push(Protocol::Udp);
        }
        let all = protocols.into_iter();
        all.map(|protocol| Self::port(protocol, port)).collect()
    }

    /// Its rules, as far as facts tell: None while there is no backend group, and where a Service says who its clients are.
    pub fn rules(&self, facts: &Facts) -> Option<BTreeSet<Rule>> {
        match self.from {
            Origin::LoadBalancers => {
                let group = facts.backend_group.clone()?;
                Some(self.rules_from([Source::Group(group)]))
            }
            Origin::Vpc(family) => Some(self.rules_from(facts.vpc_sources(family))),
            Origin::Clients(_) => None,
        }
    }

    /// A rule for each source.
    pub fn rules_from(&self, sources: impl IntoIterator<Item = Source>) -> BTreeSet<Rule> {
        let sources = sources.into_iter();
        sources.map(|source| self.rule(source)).collect()
    }

    /// Whether a rule may be this one's.
    pub fn covers(&self, rule: &Rule, facts: &Facts) -> bool {
        let source = match (self.from, &rule.source) {
            // What is not known may be so.
            (Origin::LoadBalancers, Source::Group(group)) => {
                let backend = facts.backend_group.as_ref();
                backend.is_none_or(|backend| backend == group)
            }
            (Origin::Vpc(family) | Origin::Clients(family), Source::Cidr(cidr)) => {
                cidr.family() == family
            }
            (Origin::Clients(_), Source::PrefixList(_)) => true,
            _ => false,
        };
        source && *rule == self.rule(rule.source.clone())
    }

    fn rule(&self, source: Source) -> Rule {
        Rule {
            protocol: match self.protocol {
                Protocol::Udp => RuleProtocol::Udp,
                Protocol::Tcp | Protocol::Sctp => RuleProtocol::Tcp,
            },
            from: self.first.into(),
            to: self.last.into(),
            source,
        }
    }
}

/// As its tag has it: `tcp/8081`, `udp/9000-9010`, `vpc/tcp/10256`, `clients6/tcp/30080`.
impl fmt::Display for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = match self.protocol {
            Protocol::Udp => "udp",
            Protocol::Tcp | Protocol::Sctp => "tcp",
        };
        f.write_str(self.from.prefix())?;
        write!(f, "{protocol}/{}", self.first)?;
        if self.last != self.first {
            write!(f, "-{}", self.last)?;
        }
        Ok(())
    }
}

const ORIGINS: [Origin; 4] = [
    Origin::Vpc(IpFamily::V4),
    Origin::Vpc(IpFamily::V6),
    Origin::Clients(IpFamily::V4),
    Origin::Clients(IpFamily::V6),
];

impl Origin {
    fn prefix(self) -> &'static str {
        match self {
            Self::LoadBalancers => "",
            Self::Vpc(IpFamily::V4) => "vpc/",
            Self::Vpc(IpFamily::V6) => "vpc6/",
            Self::Clients(IpFamily::V4) => "clients/",
            Self::Clients(IpFamily::V6) => "clients6/",
        }
    }
}

/// The text is not one that [`Opening`] writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is no opening such as tcp/8081")]
pub struct NotAnOpening;

impl FromStr for Opening {
    type Err = NotAnOpening;

    fn from_str(text: &str) -> Result<Self, NotAnOpening> {
        let from = ORIGINS
            .into_iter()
            .find(|from| text.starts_with(from.prefix()))
            .unwrap_or(Origin::LoadBalancers);
        let text = &text[from.prefix().len()..];
        let (protocol, ports) = text.split_once('/').ok_or(NotAnOpening)?;
        let protocol = match protocol {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            _ => return Err(NotAnOpening),
        };
        let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
        let number = |text: &str| text.parse().map_err(|_| NotAnOpening);
        Ok(Self {
            from,
            ..Self::ports(protocol, number(first)?, number(last)?)
        })
    }
}

/// The openings that a target group's tags list.
pub fn listed(tags: &Pairs) -> BTreeSet<Opening> {
    names::listed(tags, tag::OPENINGS)
        .iter()
        .filter_map(|text| text.parse().ok())
        .collect()
}

/// The tags that list openings.
pub fn list(openings: &BTreeSet<Opening>) -> Pairs {
    let texts: Vec<String> = openings.iter().map(Opening::to_string).collect();
    names::list(tag::OPENINGS, texts.iter().map(|text| &**text))
}

/// A node group that admits the cluster's backend group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeGroup {
    /// All of its ingress rules.
    pub rules: BTreeSet<Rule>,
    /// Those that are openings, as their description tells.
    pub openings: BTreeSet<Rule>,
}

impl NodeGroup {
    /// Takes rules that were added for openings.
    pub fn open(&mut self, rules: &BTreeSet<Rule>) {
        let added = rules.difference(&self.rules).cloned();
        self.openings.extend(added);
        self.rules.extend(rules.iter().cloned());
    }

    /// Takes out rules of openings that were removed.
    pub fn close(&mut self, rules: &BTreeSet<Rule>) {
        self.rules
            .retain(|rule| !(rules.contains(rule) && self.openings.contains(rule)));
        self.openings.retain(|rule| !rules.contains(rule));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openings_are_read_as_they_are_written() {
        for (text, opening) in [
            ("tcp/8081", Opening::port(Protocol::Tcp, 8081)),
            ("udp/9000-9010", Opening::ports(Protocol::Udp, 9000, 9010)),
            (
                "vpc/tcp/10256",
                Opening {
                    from: Origin::Vpc(IpFamily::V4),
                    ..Opening::port(Protocol::Tcp, 10_256)
                },
            ),
            (
                "clients6/udp/30053",
                Opening {
                    from: Origin::Clients(IpFamily::V6),
                    ..Opening::port(Protocol::Udp, 30_053)
                },
            ),
        ] {
            assert_eq!(opening.to_string(), text);
            assert_eq!(text.parse(), Ok(opening));
        }
        for text in ["", "tcp", "sctp/1", "tcp/x", "tcp/1-70000"] {
            assert_eq!(text.parse::<Opening>(), Err(NotAnOpening), "{text}");
        }
    }
}
